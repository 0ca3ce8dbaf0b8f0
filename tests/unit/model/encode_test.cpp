// Floats to the types of tensors: against the reader of the same types and against figures by hand.

#include "danaus/model/encode.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "danaus/model/half.h"

namespace danaus::model {
namespace {

TEST_CASE("encode: every half comes back, and what lies between goes to the nearest, ties to even") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::uint16_t half = static_cast<std::uint16_t>(bits);
    if ((bits & 0x7fffu) > 0x7c00u) {
      CHECK(std::isnan(half_to_float(float_to_half(half_to_float(half)))));
    } else if (float_to_half(half_to_float(half)) != half) {
      FAIL(bits);
    }
  }
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const std::uint16_t low = static_cast<std::uint16_t>(bits), high = static_cast<std::uint16_t>(bits + 1);
    const float middle = (half_to_float(low) + half_to_float(high)) / 2;  // exact
    const std::uint16_t even = bits % 2 == 0 ? low : high;
    if (float_to_half(middle) != even || float_to_half(-middle) != (even | 0x8000u) ||
        float_to_half(std::nextafter(middle, 0.0F)) != low || float_to_half(std::nextafter(middle, 1e6F)) != high)
      FAIL(bits);
  }
  CHECK(float_to_half(65519) == 0x7bff);
  CHECK(float_to_half(65520) == 0x7c00);
  CHECK(float_to_half(std::numeric_limits<float>::infinity()) == 0x7c00);
  CHECK(float_to_half(std::numeric_limits<float>::denorm_min()) == 0);
}

TEST_CASE("encode: Q8_0 as the reference does it") {
  std::vector<float> values(64, 0.0F);
  values[0] = 1.27F;
  values[1] = -0.014F;  // 1.4 units
  values[2] = 0.016F;   // 1.6
  values[31] = -1.27F;
  std::vector<std::byte> bytes(68);
  encode(ElementType::q8_0, values, bytes);
  const auto byte = [&](std::size_t n) { return static_cast<int>(static_cast<std::int8_t>(bytes[n])); };
  CHECK(byte(2) == 127);
  CHECK(byte(3) == -1);
  CHECK(byte(4) == 2);
  CHECK(byte(33) == -127);
  for (std::size_t n = 34; n < 68; ++n) CHECK(byte(n) == 0);
  Tensor tensor{"w", ElementType::q8_0, {1, 64}, bytes, nullptr, nullptr};
  std::vector<float> read(64);
  dequantise_rows(tensor, 0, 1, read);
  const float unit = half_to_float(float_to_half(1.27F / 127));
  CHECK(read[0] == 127 * unit);
  CHECK(read[1] == -unit);
  CHECK(read[2] == 2 * unit);
}

TEST_CASE("encode: F32, F16 and BF16 are read as they were written") {
  // 1/3 = 1.0101...b * 2^-2: 10 bits behind the point end in ...01|0101, 7 bits in ...10|1010 and round up.
  const std::vector<float> values = {1, -0.5F, 1.0F / 3, 6e-8F};
  const std::vector<float> halves = {1, -0.5F, 0x1.554p-2F, 0x1p-24F}, shorts = {1, -0.5F, 0x1.56p-2F, 0x1.02p-24F};
  const std::vector<std::pair<ElementType, std::vector<float>>> cases = {
      {ElementType::f32, values}, {ElementType::f16, halves}, {ElementType::bf16, shorts}};
  for (const auto& [type, expected] : cases) {
    CAPTURE(name_of(type));
    std::vector<std::byte> bytes(values.size() * (type == ElementType::f32 ? 4 : 2));
    encode(type, values, bytes);
    std::vector<float> read(values.size());
    dequantise_rows({"w", type, {values.size()}, bytes, nullptr, nullptr}, 0, 1, read);
    CHECK(read == expected);
  }
  CHECK_FALSE(can_encode(ElementType::q4_k));
}

}  // namespace
}  // namespace danaus::model
