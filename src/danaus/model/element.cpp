#include "danaus/model/element.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "danaus/core/internal_error.h"
#include "danaus/model/half.h"

// Element types: names, storage and conversion to float.
// Files store little endian and at any alignment. A quantised type keeps blocks of 32 or 256 neighbours of a row; each
// is a struct here, in the order of its bytes, copied out of the file before it is read. With a scale d and a minimum m
// in half precision and small integers q a value is d*q, or d*q + m (Q4_1, Q5_1). Blocks of 256 (the K types) have a
// scale and perhaps a minimum of a few bits for every 16 or 32 elements, which d and m multiply first: (d*s)*q - (m*t).
// Every operation is rounded to single precision in this order, as the reference (gguf.quants of the Python package)
// does it, so that finite values have the same bits.

namespace danaus::model {
namespace {

static_assert(std::endian::native == std::endian::little, "model files are little endian");

struct Q4_0 {
  static constexpr std::uint32_t kElements = 32;
  std::uint16_t d;
  std::uint8_t q[16];  ///< low nibbles: elements 0 to 15, high nibbles: 16 to 31
  void write(float* out) const {
    const float scale = half_to_float(d);
    for (std::size_t n = 0; n < 16; ++n) out[n] = scale * static_cast<float>((q[n] & 15) - 8);
    for (std::size_t n = 0; n < 16; ++n) out[n + 16] = scale * static_cast<float>((q[n] >> 4) - 8);
  }
};

struct Q4_1 {
  static constexpr std::uint32_t kElements = 32;
  std::uint16_t d, m;
  std::uint8_t q[16];  ///< as Q4_0
  void write(float* out) const {
    const float scale = half_to_float(d), minimum = half_to_float(m);
    for (std::size_t n = 0; n < 16; ++n) out[n] = scale * static_cast<float>(q[n] & 15) + minimum;
    for (std::size_t n = 0; n < 16; ++n) out[n + 16] = scale * static_cast<float>(q[n] >> 4) + minimum;
  }
};

/// The fifth bits of 32 elements, each as 0 or 16.
std::array<std::uint8_t, 32> fifth_bits(const std::uint8_t (&high)[4]) {
  std::array<std::uint8_t, 32> bits;
  for (std::size_t n = 0; n < 32; ++n) bits[n] = static_cast<std::uint8_t>(((high[n / 8] >> (n % 8)) & 1) << 4);
  return bits;
}

struct Q5_0 {
  static constexpr std::uint32_t kElements = 32;
  std::uint16_t d;
  std::uint8_t high[4];  ///< bit n: bit 4 of element n
  std::uint8_t q[16];    ///< bits 0 to 3, as Q4_0
  void write(float* out) const {
    const float scale = half_to_float(d);
    const std::array<std::uint8_t, 32> fifth = fifth_bits(high);
    for (std::size_t n = 0; n < 16; ++n) out[n] = scale * static_cast<float>(((q[n] & 15) | fifth[n]) - 16);
    for (std::size_t n = 0; n < 16; ++n) out[n + 16] = scale * static_cast<float>(((q[n] >> 4) | fifth[n + 16]) - 16);
  }
};

struct Q5_1 {
  static constexpr std::uint32_t kElements = 32;
  std::uint16_t d, m;
  std::uint8_t high[4], q[16];  ///< as Q5_0
  void write(float* out) const {
    const float scale = half_to_float(d), minimum = half_to_float(m);
    const std::array<std::uint8_t, 32> fifth = fifth_bits(high);
    for (std::size_t n = 0; n < 16; ++n) out[n] = scale * static_cast<float>((q[n] & 15) | fifth[n]) + minimum;
    for (std::size_t n = 0; n < 16; ++n)
      out[n + 16] = scale * static_cast<float>((q[n] >> 4) | fifth[n + 16]) + minimum;
  }
};

struct Q8_0 {
  static constexpr std::uint32_t kElements = 32;
  std::uint16_t d;
  std::int8_t q[32];
  void write(float* out) const {
    const float scale = half_to_float(d);
    for (std::size_t n = 0; n < 32; ++n) out[n] = scale * static_cast<float>(q[n]);
  }
};

// The K types divide 256 elements into 8 runs of 32. A byte serves several runs: run 4*h + s (2 bits each) or 2*h + s
// (4 bits each) lies in bits of shift s of the bytes of part h.

struct Q2_K {
  static constexpr std::uint32_t kElements = 256;
  std::uint8_t scales[16];  ///< of every 16 elements: low nibble scale, high nibble minimum
  std::uint8_t q[64];
  std::uint16_t d, m;
  void write(float* out) const {
    const float scale = half_to_float(d), minimum = half_to_float(m);
    for (std::size_t group = 0; group < 16; ++group) {
      const float group_scale = scale * static_cast<float>(scales[group] & 15);
      const float group_minimum = minimum * static_cast<float>(scales[group] >> 4);
      const std::uint8_t* const bytes = q + group / 8 * 32 + group % 2 * 16;
      const int shift = static_cast<int>(group / 2 % 4 * 2);
      for (std::size_t n = 0; n < 16; ++n)
        out[group * 16 + n] = group_scale * static_cast<float>((bytes[n] >> shift) & 3) - group_minimum;
    }
  }
};

struct Q3_K {
  static constexpr std::uint32_t kElements = 256;
  std::uint8_t high[32];  ///< bit 'run' of byte n: bit 2 of element n of that run, inverted: 0 means minus 4
  std::uint8_t q[64];
  std::uint8_t scales[12];  ///< 16 of 6 bits: low 4 bits in nibbles of bytes 0 to 7, high 2 bits in bytes 8 to 11
  std::uint16_t d;
  void write(float* out) const {
    const float scale = half_to_float(d);
    for (std::size_t group = 0; group < 16; ++group) {
      const int low = (scales[group % 8] >> (group / 8 * 4)) & 15;
      const int two = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
      const float group_scale = scale * static_cast<float>((low | two << 4) - 32);
      const std::size_t run = group / 2, offset = group % 2 * 16;
      const std::uint8_t* const bytes = q + run / 4 * 32 + offset;
      const int shift = static_cast<int>(run % 4 * 2);
      for (std::size_t n = 0; n < 16; ++n) {
        const int third = (high[offset + n] >> run) & 1;
        out[group * 16 + n] = group_scale * static_cast<float>(((bytes[n] >> shift) & 3) + 4 * third - 4);
      }
    }
  }
};

/// Scales and minima of Q4_K and Q5_K: 8 of 6 bits each in 12 bytes. Runs 0 to 3: low 6 bits of bytes 0 to 3 (scale)
/// and 4 to 7 (minimum). Runs 4 to 7: nibbles of bytes 8 to 11, and above them the high 2 bits of bytes 0 to 7.
struct PackedScales {
  std::uint8_t bytes[12];
  int scale(std::size_t run) const {
    return run < 4 ? bytes[run] & 63 : (bytes[run + 4] & 15) | (bytes[run - 4] >> 6 << 4);
  }
  int minimum(std::size_t run) const {
    return run < 4 ? bytes[run + 4] & 63 : (bytes[run + 4] >> 4) | (bytes[run] >> 6 << 4);
  }
};

struct Q4_K {
  static constexpr std::uint32_t kElements = 256;
  std::uint16_t d, m;
  PackedScales scales;
  std::uint8_t q[128];
  void write(float* out) const {
    const float scale = half_to_float(d), minimum = half_to_float(m);
    for (std::size_t run = 0; run < 8; ++run) {
      const float run_scale = scale * static_cast<float>(scales.scale(run));
      const float run_minimum = minimum * static_cast<float>(scales.minimum(run));
      const std::uint8_t* const bytes = q + run / 2 * 32;
      float* const to = out + run * 32;
      if (run % 2 == 0) {
        for (std::size_t n = 0; n < 32; ++n) to[n] = run_scale * static_cast<float>(bytes[n] & 15) - run_minimum;
      } else {
        for (std::size_t n = 0; n < 32; ++n) to[n] = run_scale * static_cast<float>(bytes[n] >> 4) - run_minimum;
      }
    }
  }
};

struct Q5_K {
  static constexpr std::uint32_t kElements = 256;
  std::uint16_t d, m;
  PackedScales scales;
  std::uint8_t high[32];  ///< bit 'run' of byte n: bit 4 of element n of that run
  std::uint8_t q[128];
  void write(float* out) const {
    const float scale = half_to_float(d), minimum = half_to_float(m);
    for (std::size_t run = 0; run < 8; ++run) {
      const float run_scale = scale * static_cast<float>(scales.scale(run));
      const float run_minimum = minimum * static_cast<float>(scales.minimum(run));
      const std::uint8_t* const bytes = q + run / 2 * 32;
      const int shift = static_cast<int>(run % 2 * 4);
      for (std::size_t n = 0; n < 32; ++n) {
        const int whole = ((bytes[n] >> shift) & 15) | ((high[n] >> run) & 1) << 4;
        out[run * 32 + n] = run_scale * static_cast<float>(whole) - run_minimum;
      }
    }
  }
};

struct Q6_K {
  static constexpr std::uint32_t kElements = 256;
  std::uint8_t q[128];  ///< runs 4h, 4h+1: low nibbles of 64 bytes, runs 4h+2, 4h+3: high nibbles of the same
  std::uint8_t high[64];
  std::int8_t scales[16];
  std::uint16_t d;
  void write(float* out) const {
    const float scale = half_to_float(d);
    for (std::size_t group = 0; group < 16; ++group) {
      const float group_scale = scale * static_cast<float>(scales[group]);
      const std::size_t run = group / 2, offset = group % 2 * 16;
      const std::uint8_t* const bytes = q + run / 4 * 64 + run % 2 * 32 + offset;
      const std::uint8_t* const top = high + run / 4 * 32 + offset;
      const int shift = static_cast<int>(run % 4 / 2 * 4), top_shift = static_cast<int>(run % 4 * 2);
      for (std::size_t n = 0; n < 16; ++n) {
        const int whole = ((bytes[n] >> shift) & 15) | ((top[n] >> top_shift) & 3) << 4;
        out[group * 16 + n] = group_scale * static_cast<float>(whole - 32);
      }
    }
  }
};

template <typename Stored>
float plain_value(Stored stored) {
  return static_cast<float>(stored);
}

/// Converts elements that are stored one by one.
template <typename Stored, float (*value)(Stored)>
void convert_plain(const std::byte* bytes, std::uint64_t count, float* out) {
  for (std::uint64_t n = 0; n < count; ++n) {
    Stored stored;
    std::memcpy(&stored, bytes + n * sizeof(Stored), sizeof(Stored));
    out[n] = value(stored);
  }
}

template <typename Block>
void convert_blocks(const std::byte* bytes, std::uint64_t count, float* out) {
  for (std::uint64_t n = 0; n < count; ++n) {
    Block block;
    std::memcpy(&block, bytes + n * sizeof(Block), sizeof(Block));
    block.write(out + n * Block::kElements);
  }
}

struct TypeInfo {
  std::string_view name;
  ElementLayout layout;
  bool real;
  void (*convert)(const std::byte* bytes, std::uint64_t blocks, float* out);
};

template <typename Stored, float (*value)(Stored) = plain_value<Stored>>
constexpr TypeInfo plain(std::string_view name, bool real) {
  return {name, {1, sizeof(Stored)}, real, convert_plain<Stored, value>};
}

template <typename Block>
constexpr TypeInfo blocks(std::string_view name) {
  static_assert(std::is_trivially_copyable_v<Block> && std::has_unique_object_representations_v<Block>);
  return {name, {Block::kElements, sizeof(Block)}, true, convert_blocks<Block>};
}

constexpr std::array<TypeInfo, 19> kTypes = {plain<float>("F32", true),
                                             plain<std::uint16_t, half_to_float>("F16", true),
                                             plain<std::uint16_t, bfloat16_to_float>("BF16", true),
                                             plain<double>("F64", true),
                                             plain<std::int8_t>("I8", false),
                                             plain<std::uint8_t>("U8", false),
                                             plain<std::int16_t>("I16", false),
                                             plain<std::int32_t>("I32", false),
                                             plain<std::int64_t>("I64", false),
                                             blocks<Q4_0>("Q4_0"),
                                             blocks<Q4_1>("Q4_1"),
                                             blocks<Q8_0>("Q8_0"),
                                             blocks<Q5_0>("Q5_0"),
                                             blocks<Q5_1>("Q5_1"),
                                             blocks<Q2_K>("Q2_K"),
                                             blocks<Q3_K>("Q3_K"),
                                             blocks<Q4_K>("Q4_K"),
                                             blocks<Q5_K>("Q5_K"),
                                             blocks<Q6_K>("Q6_K")};
static_assert(static_cast<std::size_t>(ElementType::q6_k) + 1 == kTypes.size());

constexpr std::uint64_t kLargestCount = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

const TypeInfo& info_of(ElementType type) { return kTypes[static_cast<std::size_t>(type)]; }

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

void dequantise_blocks(ElementType type, std::span<const std::byte> blocks, std::span<float> out) {
  const TypeInfo& info = info_of(type);
  const std::uint64_t count = blocks.size() / info.layout.block_bytes;
  ensure(count * info.layout.block_bytes == blocks.size() && count * info.layout.block_elements == out.size(),
         "whole blocks fill the output");
  info.convert(blocks.data(), count, out.data());
}

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
  dequantise_blocks(tensor.type, tensor.bytes.subspan(first * row_bytes, count * row_bytes), out);
}

}  // namespace danaus::model
