#include "danaus/model/element.h"

#include <array>
#include <cstring>
#include <limits>

#include "danaus/core/internal_error.h"
#include "danaus/model/half.h"

// Element types: names, storage and conversion to float.
// Files store little endian and at any alignment, so every number is put together from bytes. The quantised types keep
// blocks of 32 elements of one row: Q8_0 is a half scale d and 32 signed bytes q (value d*q); Q4_0 is d and 16 bytes,
// whose low nibbles are elements 0-15 and high nibbles 16-31 (value d*(q-8)); Q4_1 is d, a half minimum m and 16 such
// bytes (d*q+m).

namespace danaus::model {
namespace {

struct TypeInfo {
  std::string_view name;
  ElementLayout layout;
  bool real;
};

constexpr std::array<TypeInfo, 12> kTypes = {{{"F32", {1, 4}, true},
                                              {"F16", {1, 2}, true},
                                              {"BF16", {1, 2}, true},
                                              {"F64", {1, 8}, true},
                                              {"I8", {1, 1}, false},
                                              {"U8", {1, 1}, false},
                                              {"I16", {1, 2}, false},
                                              {"I32", {1, 4}, false},
                                              {"I64", {1, 8}, false},
                                              {"Q4_0", {32, 18}, true},
                                              {"Q4_1", {32, 20}, true},
                                              {"Q8_0", {32, 34}, true}}};
static_assert(static_cast<std::size_t>(ElementType::q8_0) + 1 == kTypes.size());

constexpr std::uint64_t kLargestCount = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

const TypeInfo& info_of(ElementType type) { return kTypes[static_cast<std::size_t>(type)]; }

template <typename Unsigned>
Unsigned little_endian(const std::byte* bytes) {
  Unsigned value = 0;
  for (std::size_t n = 0; n < sizeof(Unsigned); ++n) {
    value = static_cast<Unsigned>(value | static_cast<Unsigned>(std::to_integer<Unsigned>(bytes[n]) << (8 * n)));
  }
  return value;
}

float half_at(const std::byte* bytes) { return half_to_float(little_endian<std::uint16_t>(bytes)); }

/// One block of 4-bit elements: `scale` * (nibble - `zero`) + `minimum`.
void dequantise_nibbles(const std::byte* nibbles, float scale, int zero, float minimum, float* out) {
  for (std::size_t n = 0; n < 16; ++n) {
    const int pair = std::to_integer<int>(nibbles[n]);
    out[n] = static_cast<float>((pair & 15) - zero) * scale + minimum;
    out[n + 16] = static_cast<float>((pair >> 4) - zero) * scale + minimum;
  }
}

/// Writes the elements of one block.
void dequantise_block(ElementType type, const std::byte* block, float* out) {
  switch (type) {
    case ElementType::f32:
      *out = std::bit_cast<float>(little_endian<std::uint32_t>(block));
      return;
    case ElementType::f16:
      *out = half_at(block);
      return;
    case ElementType::bf16:
      *out = bfloat16_to_float(little_endian<std::uint16_t>(block));
      return;
    case ElementType::f64:
      *out = static_cast<float>(std::bit_cast<double>(little_endian<std::uint64_t>(block)));
      return;
    case ElementType::i8:
      *out = static_cast<float>(static_cast<std::int8_t>(*block));
      return;
    case ElementType::u8:
      *out = static_cast<float>(std::to_integer<std::uint8_t>(*block));
      return;
    case ElementType::i16:
      *out = static_cast<float>(static_cast<std::int16_t>(little_endian<std::uint16_t>(block)));
      return;
    case ElementType::i32:
      *out = static_cast<float>(static_cast<std::int32_t>(little_endian<std::uint32_t>(block)));
      return;
    case ElementType::i64:
      *out = static_cast<float>(static_cast<std::int64_t>(little_endian<std::uint64_t>(block)));
      return;
    case ElementType::q4_0:
      dequantise_nibbles(block + 2, half_at(block), 8, 0.0f, out);
      return;
    case ElementType::q4_1:
      dequantise_nibbles(block + 4, half_at(block), 0, half_at(block + 2), out);
      return;
    case ElementType::q8_0: {
      const float scale = half_at(block);
      for (std::size_t n = 0; n < 32; ++n) out[n] = static_cast<float>(static_cast<std::int8_t>(block[2 + n])) * scale;
      return;
    }
  }
}

}  // namespace

std::string_view name_of(ElementType type) { return info_of(type).name; }
ElementLayout layout_of(ElementType type) { return info_of(type).layout; }
bool is_real(ElementType type) { return info_of(type).real; }

std::optional<std::uint64_t> element_count(std::span<const std::uint64_t> shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : shape) {
    if (size == 0) return 0;
  }
  for (const std::uint64_t size : shape) {
    if (size > kLargestCount / count) return std::nullopt;
    count *= size;
  }
  return count;
}

std::optional<std::uint64_t> storage_bytes(ElementType type, std::span<const std::uint64_t> shape) {
  const std::optional<std::uint64_t> count = element_count(shape);
  const ElementLayout layout = layout_of(type);
  const std::uint64_t row = shape.empty() ? 1 : shape.back();
  if (!count || row % layout.block_elements != 0) return std::nullopt;
  const std::uint64_t blocks = *count / layout.block_elements;
  if (blocks > kLargestCount / layout.block_bytes) return std::nullopt;
  return blocks * layout.block_bytes;
}

std::uint64_t Tensor::elements() const { return element_count(shape).value_or(0); }

void dequantise_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t count, std::span<float> out) {
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  const ElementLayout layout = layout_of(tensor.type);
  ensure(row % layout.block_elements == 0, "a row of a tensor is whole blocks");
  ensure(row == 0 || count <= out.size() / row, "the output holds the rows");
  ensure(out.size() == count * row, "the output has the size of the rows");
  const std::uint64_t rows = row == 0 ? 0 : tensor.elements() / row;
  ensure(first <= rows && count <= rows - first, "the rows are in the tensor");
  const std::uint64_t row_bytes = row / layout.block_elements * layout.block_bytes;
  ensure(tensor.bytes.size() == rows * row_bytes, "a tensor's bytes are those of its shape");
  const std::byte* block = tensor.bytes.data() + first * row_bytes;
  for (std::uint64_t element = 0; element < out.size(); element += layout.block_elements) {
    dequantise_block(tensor.type, block, out.data() + element);
    block += layout.block_bytes;
  }
}

}  // namespace danaus::model
