// Floats to the types of tensors, the way back of element.cpp.

#include "danaus/model/encode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "danaus/core/internal_error.h"

namespace danaus::model {
namespace {

constexpr std::size_t kBlock = 32, kBlockBytes = 34;

void encode_each(std::span<const float> values, std::span<std::byte> bytes, std::uint16_t (*convert)(float)) {
  ensure(bytes.size() == 2 * values.size(), "a tensor has the bytes of its elements");
  for (std::size_t n = 0; n < values.size(); ++n) {
    const std::uint16_t bits = convert(values[n]);
    std::memcpy(&bytes[2 * n], &bits, sizeof bits);
  }
}

void encode_q8_0(std::span<const float> values, std::span<std::byte> bytes) {
  ensure(values.size() % kBlock == 0 && bytes.size() == values.size() / kBlock * kBlockBytes,
         "a tensor has the bytes of its elements");
  for (std::size_t first = 0; first < values.size(); first += kBlock) {
    const std::span<const float> block = values.subspan(first, kBlock);
    const std::span<std::byte> target = bytes.subspan(first / kBlock * kBlockBytes, kBlockBytes);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::abs(value));
    const float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
    const std::uint16_t half = float_to_half(scale);
    std::memcpy(target.data(), &half, sizeof half);
    for (std::size_t n = 0; n < kBlock; ++n)
      target[2 + n] = static_cast<std::byte>(static_cast<std::int8_t>(std::round(block[n] * inverse)));
  }
}

}  // namespace

std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  constexpr std::uint32_t kSmallestNormal = (127 - 14) << 23, kInfinite = (127 + 16) << 23;
  if (magnitude >= kInfinite) return static_cast<std::uint16_t>(sign | 0x7c00u);
  // Subnormal numbers count in units of 2^-24; adding one half of 2^23 of them rounds in the sum's last place.
  if (magnitude < kSmallestNormal) {
    constexpr float kMagic = 0.5F;
    const float sum = std::bit_cast<float>(magnitude) + kMagic;
    return static_cast<std::uint16_t>(sign |
                                      (std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(kMagic)));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);  // a carry may make it infinite, rightly
  return static_cast<std::uint16_t>(sign | ((rounded - ((127u - 15u) << 23)) >> 13));
}

std::uint16_t float_to_bfloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

bool can_encode(ElementType type) {
  return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16 || type == ElementType::q8_0;
}

void encode(ElementType type, std::span<const float> values, std::span<std::byte> bytes) {
  switch (type) {
    case ElementType::f32:
      ensure(bytes.size() == values.size_bytes(), "a tensor has the bytes of its elements");
      std::memcpy(bytes.data(), values.data(), bytes.size());
      return;
    case ElementType::f16:
      return encode_each(values, bytes, float_to_half);
    case ElementType::bf16:
      return encode_each(values, bytes, float_to_bfloat16);
    case ElementType::q8_0:
      return encode_q8_0(values, bytes);
    default:
      ensure(false, "the type can be written");
  }
}

}  // namespace danaus::model
