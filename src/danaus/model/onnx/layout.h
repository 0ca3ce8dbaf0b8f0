#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace danaus::model::onnx {

/// How the elements of one vector per token lie in a tensor: what Reshape, Transpose, Slice and Expand change.
/// A tensor's axis is a product of factors, slowest first: a run over tokens, or over elements of the vector in steps
/// of `stride` (0: the same elements again, as for key heads that several query heads share). Factors of size 1 are
/// left out.
struct Factor {
  enum class Kind : std::uint8_t { token, element, key };  ///< key: tokens again, as the columns of attention scores
  Kind kind = Kind::token;
  std::int64_t size = 1;
  std::int64_t stride = 1;  ///< tokens and keys: which run over tokens it is, the innermost 0
  bool operator==(const Factor&) const = default;
};
using Axis = std::vector<Factor>;
using Layout = std::vector<Axis>;

std::int64_t size_of(const Axis& axis);
std::vector<std::int64_t> shape_of(const Layout& layout);

/// Tensor of shape {..., n}: n elements for every token of the axes in front.
Layout rows_layout(std::span<const std::int64_t> shape);

/// Each nothing when the result is not such a tensor.
std::optional<Layout> reshape(const Layout& layout, std::span<const std::int64_t> shape);
std::optional<Layout> transpose(const Layout& layout, std::span<const std::int64_t> order);
/// Elements [first, first + count) along an axis; what they begin at is added to `offset`.
std::optional<Layout> slice(const Layout& layout, std::size_t axis, std::int64_t first, std::int64_t count,
                            std::int64_t& offset);
std::optional<Layout> expand(const Layout& layout, std::span<const std::int64_t> shape);

/// The number of elements when the last axis holds all of the vector in order and the others are tokens.
std::optional<std::int64_t> row_length(const Layout& layout);

/// The number of elements of the vector, whatever axes they lie on, when they are neighbours, each once (or shared).
std::optional<std::int64_t> vector_length(const Layout& layout);

}  // namespace danaus::model::onnx
