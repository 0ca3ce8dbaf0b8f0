#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "danaus/model/model.h"

namespace danaus::model {

/// How an element type is stored: `block_elements` neighbours of a row share `block_bytes` bytes.
struct ElementLayout {
  std::uint32_t block_elements = 1;
  std::uint32_t block_bytes = 0;
};
ElementLayout layout_of(ElementType type);

/// True for the types that weights can have: floating point and block-quantised.
bool is_real(ElementType type);

/// Number of elements of a shape; nothing when it does not fit 63 bits.
std::optional<std::uint64_t> element_count(std::span<const std::uint64_t> shape);

/// Bytes that a tensor occupies; nothing when they do not fit 63 bits or a row is not a whole number of blocks.
std::optional<std::uint64_t> storage_bytes(ElementType type, std::span<const std::uint64_t> shape);

/// Converts whole blocks of a type, one after the other.
void dequantise_blocks(ElementType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace danaus::model
