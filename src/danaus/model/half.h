#pragma once

#include <bit>
#include <cstdint>

namespace danaus::model {

/// bfloat16 is the upper half of a binary32.
inline float bfloat16_to_float(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

/// IEEE 754 binary16 to binary32. Exact: every binary16 value, subnormals included, is a binary32 value; a NaN stays a
/// NaN.
inline float half_to_float(std::uint16_t bits) {
  // No branch and one floating-point operation for all, so that a loop over this can use SIMD: a subnormal number gets
  // the leading 1 that it lacks, which is subtracted again.
  constexpr std::uint32_t kSmallestNormal = (127 - 14) << 23;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t subtracted = exponent == 0 ? kSmallestNormal : 0;
  const std::uint32_t bias = exponent == 0x1f ? (0xffu - 0x1fu) << 23 : (127u - 15u) << 23;
  const std::uint32_t magnitude = (std::uint32_t{bits & 0x7fffu} << 13) + (exponent == 0 ? kSmallestNormal : bias);
  const float value = std::bit_cast<float>(magnitude) - std::bit_cast<float>(subtracted);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | (std::uint32_t{bits & 0x8000u} << 16));
}

}  // namespace danaus::model
