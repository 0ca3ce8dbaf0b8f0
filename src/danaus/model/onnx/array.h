#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/model/onnx/onnx.h"

namespace danaus::model::onnx {

/// A small tensor whose elements are known while a graph is imported: shape arithmetic, masks, tables.
/// Integers and truth values are kept as double too: sizes of tensors are exact, the extremes that Slice uses for "to
/// the end" only have to be large.
struct Array {
  std::vector<std::int64_t> shape;
  std::vector<double> values;
  bool whole = false;  ///< integers or truth values: quotients are truncated

  std::int64_t elements() const { return static_cast<std::int64_t>(values.size()); }
  bool operator==(const Array&) const = default;
};

/// The most elements that an array may have.
constexpr std::int64_t kLargestArray = 1 << 22;

/// The most elements that a shape is followed for: products of sizes stay far from overflowing.
constexpr std::int64_t kLargestShape = std::int64_t{1} << 40;

/// Number of elements of a shape; nothing when a size is negative or they are more than `limit`.
std::optional<std::int64_t> array_elements(std::span<const std::int64_t> shape, std::int64_t limit = kLargestArray);

/// The elements of a tensor; nothing when they are too many.
std::optional<Array> to_array(const Tensor& tensor);

/// The shape that two shapes broadcast to; nothing when they do not.
std::optional<std::vector<std::int64_t>> broadcast(std::span<const std::int64_t> a, std::span<const std::int64_t> b);

/// The element of `array` at an index of a shape that it broadcasts to; `index` may have more dimensions.
double element_at(const Array& array, std::span<const std::int64_t> index);

/// Calls `visit` for every index of a shape, the last dimension fastest.
void for_every_index(std::span<const std::int64_t> shape,
                     const std::function<void(std::span<const std::int64_t>)>& visit);

/// f(x) of a unary operator of ONNX by name, f(a, b) of a binary one; nothing for others. `whole`: of both operands.
std::function<double(double)> unary_function(std::string_view operation);
std::function<double(double, double)> binary_function(std::string_view operation, bool whole);

/// The axes of an operator, from its attribute or its operand, counted from the front; nothing when there are none or
/// they are no axes of that rank.
std::optional<std::vector<std::int64_t>> axes_of(const OnnxNode& node, const Array* operand, std::int64_t rank);

/// Sizes of the pieces of a Split along an axis of `size`; nothing when they do not add up.
std::optional<std::vector<std::int64_t>> split_sizes(const OnnxNode& node, const Array* operand, std::int64_t size);

/// What a Slice takes of an axis: `count` places from `first` on, `step` apart.
struct SlicedAxis {
  std::int64_t first = 0, step = 1, count = 0;
};
/// All axes of a Slice of something of that shape; `operands` as for fold, the first is not looked at. Nothing when
/// its bounds are not known or do not fit.
std::optional<std::vector<SlicedAxis>> sliced_axes(const OnnxNode& node, std::span<const std::int64_t> shape,
                                                   const std::vector<const Array*>& operands);

/// The shape that Reshape makes of a shape of so many elements ("0" keeps a size, "-1" takes the rest).
std::optional<std::vector<std::int64_t>> reshaped(std::span<const std::int64_t> shape, const Array& wanted);

/// Executes a node on known operands (nullptr: left out). One array per result, except that all but Split have one.
/// Nothing when the operator is not known here, the operands do not fit it, or `budget`, which sinks with every
/// element written, is used up.
std::optional<std::vector<Array>> fold(const OnnxNode& node, const std::vector<const Array*>& operands,
                                       std::int64_t& budget);

}  // namespace danaus::model::onnx
