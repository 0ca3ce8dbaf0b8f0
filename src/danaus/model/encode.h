#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "danaus/model/model.h"

namespace danaus::model {

/// Binary32 to IEEE 754 binary16, to the nearest, ties to even; beyond its range infinity.
std::uint16_t float_to_half(float value);

/// To bfloat16, likewise; a NaN stays a NaN.
std::uint16_t float_to_bfloat16(float value);

/// Whether encode() knows the type: F32, F16, BF16, Q8_0.
bool can_encode(ElementType type);

/// The bytes that rows of these values have in a file; `bytes` has their number. Q8_0 as the format's reference does
/// it: d is the largest of 32 values / 127, each value is rounded to the nearest multiple of it.
void encode(ElementType type, std::span<const float> values, std::span<std::byte> bytes);

}  // namespace danaus::model
