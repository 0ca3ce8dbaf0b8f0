#include "danaus/model/element.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "danaus/core/internal_error.h"
#include "danaus/model/half.h"
#include "small_files.h"

using namespace danaus::model;
using small_files::Bytes;
using small_files::put;

namespace {

std::vector<float> values_of(ElementType type, std::vector<std::uint64_t> shape, const Bytes& bytes,
                             std::uint64_t first, std::uint64_t count) {
  Tensor tensor;
  tensor.type = type;
  tensor.shape = std::move(shape);
  tensor.bytes = bytes;
  std::vector<float> out(count * tensor.shape.back());
  dequantise_rows(tensor, first, count, out);
  return out;
}

}  // namespace

TEST_CASE("half precision: normal, subnormal, infinite, not a number") {
  CHECK(half_to_float(0x3c00) == 1.0f);
  CHECK(half_to_float(0xc000) == -2.0f);
  CHECK(half_to_float(0x3555) == 0x1.554p-2f);  // 0.333251953125
  CHECK(half_to_float(0x7bff) == 65504.0f);
  CHECK(half_to_float(0x0400) == 0x1p-14f);
  CHECK(half_to_float(0x0001) == 0x1p-24f);  // smallest subnormal
  CHECK(half_to_float(0x83ff) == -1023 * 0x1p-24f);
  CHECK(half_to_float(0x0000) == 0.0f);
  CHECK(std::signbit(half_to_float(0x8000)));
  CHECK(half_to_float(0xfc00) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(half_to_float(0x7e00)));
}

TEST_CASE("half precision: every value is sign * mantissa * 2^exponent") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const int mantissa = static_cast<int>(bits & 1023);
    if (exponent == 31) continue;
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    REQUIRE(double{half_to_float(static_cast<std::uint16_t>(bits))} == (bits >= 0x8000 ? -magnitude : magnitude));
  }
}

TEST_CASE("bfloat16 is the upper half of a float") {
  CHECK(bfloat16_to_float(0x3f80) == 1.0f);
  CHECK(bfloat16_to_float(0xc040) == -3.0f);
  CHECK(bfloat16_to_float(0x0001) == 0x1p-133f);
}

TEST_CASE("dequantise: plain types, by rows") {
  const Bytes f32 = small_files::floats({1.5f, -2.0f, 3.25f, 0x1p-140f, 5.0f, 6.0f});
  CHECK(values_of(ElementType::f32, {3, 2}, f32, 1, 2) == std::vector<float>{3.25f, 0x1p-140f, 5.0f, 6.0f});
  CHECK(values_of(ElementType::f32, {6}, f32, 0, 1) == std::vector<float>{1.5f, -2.0f, 3.25f, 0x1p-140f, 5.0f, 6.0f});

  Bytes bytes;
  for (const int half : {0x3c00, 0xbc00, 0x4200}) put(bytes, static_cast<std::uint16_t>(half));
  CHECK(values_of(ElementType::f16, {1, 3}, bytes, 0, 1) == std::vector<float>{1.0f, -1.0f, 3.0f});
  CHECK(values_of(ElementType::bf16, {3, 1}, bytes, 2, 1) == std::vector<float>{32.0f});

  bytes.clear();
  put(bytes, std::bit_cast<std::uint64_t>(-0.1));
  CHECK(values_of(ElementType::f64, {1}, bytes, 0, 1) == std::vector<float>{-0.1f});
  bytes.clear();
  put(bytes, std::uint64_t{0xfffffffffffffffe});
  CHECK(values_of(ElementType::i64, {1}, bytes, 0, 1) == std::vector<float>{-2.0f});
  CHECK(values_of(ElementType::i32, {2}, bytes, 0, 1) == std::vector<float>{-2.0f, -1.0f});
  CHECK(values_of(ElementType::i16, {4}, bytes, 0, 1) == std::vector<float>{-2.0f, -1.0f, -1.0f, -1.0f});
  CHECK(values_of(ElementType::i8, {8, 1}, bytes, 0, 1) == std::vector<float>{-2.0f});
  CHECK(values_of(ElementType::u8, {8, 1}, bytes, 0, 2) == std::vector<float>{254.0f, 255.0f});
}

TEST_CASE("dequantise: Q8_0") {
  Bytes bytes;
  put<std::uint16_t>(bytes, 0x3800);  // 0.5
  for (int n = 0; n < 32; ++n) put<std::uint8_t>(bytes, static_cast<std::uint8_t>(n * 8 - 128));
  const std::vector<float> values = values_of(ElementType::q8_0, {1, 32}, bytes, 0, 1);
  for (std::size_t n = 0; n < 32; ++n) CHECK(values[n] == 0.5f * static_cast<float>(static_cast<int>(n) * 8 - 128));
}

TEST_CASE("dequantise: Q4_0 and Q4_1, low nibbles first") {
  Bytes nibbles;
  for (unsigned n = 0; n < 16; ++n) put<std::uint8_t>(nibbles, static_cast<std::uint8_t>(n | ((15 - n) << 4)));
  Bytes q4_0;
  for (int row = 0; row < 2; ++row) {
    put(q4_0, static_cast<std::uint16_t>(row == 0 ? 0x4000 : 0xb400));  // 2, -0.25
    q4_0.insert(q4_0.end(), nibbles.begin(), nibbles.end());
  }
  const std::vector<float> first = values_of(ElementType::q4_0, {2, 32}, q4_0, 0, 1);
  const std::vector<float> second = values_of(ElementType::q4_0, {2, 32}, q4_0, 1, 1);
  Bytes q4_1;
  put<std::uint16_t>(q4_1, 0x4000);
  put<std::uint16_t>(q4_1, 0xc880);  // -9
  q4_1.insert(q4_1.end(), nibbles.begin(), nibbles.end());
  const std::vector<float> with_minimum = values_of(ElementType::q4_1, {32}, q4_1, 0, 1);
  for (int n = 0; n < 16; ++n) {
    const auto at = static_cast<std::size_t>(n);
    CHECK(first[at] == static_cast<float>(2 * (n - 8)));
    CHECK(first[at + 16] == static_cast<float>(2 * (7 - n)));
    CHECK(second[at] == static_cast<float>(n - 8) / -4.0f);
    CHECK(with_minimum[at] == static_cast<float>(2 * n - 9));
    CHECK(with_minimum[at + 16] == static_cast<float>(2 * (15 - n) - 9));
  }
}

TEST_CASE("dequantise refuses rows that are not there") {
  const Bytes bytes = small_files::floats({1, 2, 3, 4});
  CHECK_THROWS_AS(values_of(ElementType::f32, {2, 2}, bytes, 1, 2), danaus::InternalError);
  CHECK_THROWS_AS(values_of(ElementType::f32, {3, 2}, bytes, 0, 1), danaus::InternalError);  // bytes of another shape
}

TEST_CASE("sizes of shapes do not overflow") {
  using Shape = std::vector<std::uint64_t>;
  CHECK(element_count(Shape{}) == 1u);
  CHECK(element_count(Shape{3, 0, UINT64_MAX}) == 0u);
  CHECK(element_count(Shape{1ull << 62, 1}) == 1ull << 62);
  CHECK(!element_count(Shape{1ull << 32, 1ull << 31}));
  CHECK(!storage_bytes(ElementType::f32, Shape{1ull << 61}));
  CHECK(storage_bytes(ElementType::q4_1, Shape{3, 64}) == 3u * 2 * 20);
  CHECK(!storage_bytes(ElementType::q4_1, Shape{64, 3}));  // a row is not a whole block
}
