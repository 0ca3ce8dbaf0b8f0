#include "danaus/model/onnx/array.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "danaus/model/element.h"

// An evaluator for the part of ONNX that exporters use around a model: arithmetic on shapes, masks, positions.
// Every operator checks its operands and says "not known" instead of guessing; results are bounded in size.

namespace danaus::model::onnx {
namespace {

using Shape64 = std::vector<std::int64_t>;
using Results = std::optional<std::vector<Array>>;

/// Axis counted from the front; nothing when there is none.
std::optional<std::int64_t> axis_of(double axis, std::int64_t rank) {
  if (!(axis >= static_cast<double>(-rank) && axis < static_cast<double>(rank))) return std::nullopt;
  const std::int64_t whole = static_cast<std::int64_t>(axis);
  return whole < 0 ? whole + rank : whole;
}

/// Elements before an axis, along it, behind it.
struct Strides {
  std::int64_t before = 1, along = 1, behind = 1;
};
Strides strides_of(const Shape64& shape, std::int64_t axis) {
  Strides strides;
  for (std::int64_t d = 0; d < static_cast<std::int64_t>(shape.size()); ++d) {
    std::int64_t& target = d < axis ? strides.before : d == axis ? strides.along : strides.behind;
    target *= shape[static_cast<std::size_t>(d)];
  }
  return strides;
}

std::int64_t rank_of(const Array& array) { return static_cast<std::int64_t>(array.shape.size()); }
double& at(Array& array, std::int64_t n) { return array.values[static_cast<std::size_t>(n)]; }
double at(const Array& array, std::int64_t n) { return array.values[static_cast<std::size_t>(n)]; }

class Folder {
 public:
  Folder(const OnnxNode& node, const std::vector<const Array*>& operands, std::int64_t& budget)
      : node_(node), operands_(operands), budget_(budget) {}
  Results run();

 private:
  bool has(std::size_t number) const { return number < operands_.size() && operands_[number] != nullptr; }
  const Array& operand(std::size_t number) const { return *operands_[number]; }
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const {
    const OnnxAttribute* attribute = node_.find(name);
    return attribute != nullptr && attribute->integer ? *attribute->integer : otherwise;
  }
  /// A new array; nothing when it is too large.
  std::optional<Array> make(Shape64 shape, bool whole) {
    const std::optional<std::int64_t> elements = array_elements(shape);
    if (!elements || *elements > budget_) return std::nullopt;
    budget_ -= *elements;
    Array array;
    array.shape = std::move(shape);
    array.values.resize(static_cast<std::size_t>(*elements));
    array.whole = whole;
    return array;
  }
  static Results one(std::optional<Array> array) {
    if (!array) return std::nullopt;
    std::vector<Array> results;
    results.push_back(std::move(*array));
    return results;
  }
  static Results one(Array array) { return one(std::optional<Array>(std::move(array))); }

  Results elementwise();
  Results where();
  Results reshape(Shape64 shape);
  Results transpose();
  Results unsqueeze();
  Results squeeze();
  Results expand(const Shape64& wanted);
  Results concat();
  Results slice();
  Results gather();
  Results split();
  Results range();
  Results constant_of_shape();
  Results triangle();
  Results cumulative_sum();
  Results reduce();
  Results matrix_product();

  const OnnxNode& node_;
  const std::vector<const Array*>& operands_;
  std::int64_t& budget_;
};

Results Folder::run() {
  const std::string_view op = node_.operation;
  if (op == "Range") return range();
  if (!has(0)) return std::nullopt;
  if (op == "Identity" || op == "Dropout") return one(operand(0));
  if (op == "Cast" || op == "CastLike") {
    Array result = operand(0);
    const std::int64_t to = integer("to", 0);
    if (op == "CastLike" && !has(1)) return std::nullopt;
    result.whole = op == "CastLike" ? operand(1).whole : !(to == 1 || to == 10 || to == 11 || to == 16);
    if (to == 9) {
      for (double& value : result.values) value = value != 0;
    } else if (result.whole) {
      for (double& value : result.values) value = std::trunc(value);
    }
    return one(std::move(result));
  }
  if (op == "Where") return where();
  if (op == "Reshape") {
    if (!has(1)) return std::nullopt;
    std::optional<Shape64> shape = reshaped(operand(0).shape, operand(1));
    return shape ? reshape(std::move(*shape)) : std::nullopt;
  }
  if (op == "Flatten") {
    const std::int64_t axis = integer("axis", 1);
    if (axis < -rank_of(operand(0)) || axis > rank_of(operand(0))) return std::nullopt;
    const Strides s = strides_of(operand(0).shape, axis < 0 ? axis + rank_of(operand(0)) : axis);
    return reshape({s.before, s.along * s.behind});
  }
  if (op == "Transpose") return transpose();
  if (op == "Unsqueeze") return unsqueeze();
  if (op == "Squeeze") return squeeze();
  if (op == "Expand") {
    if (!has(1)) return std::nullopt;
    Shape64 wanted;
    for (const double size : operand(1).values) {
      if (!(size >= 0 && size <= static_cast<double>(kLargestArray))) return std::nullopt;
      wanted.push_back(static_cast<std::int64_t>(size));
    }
    return expand(wanted);
  }
  if (op == "Concat") return concat();
  if (op == "Slice") return slice();
  if (op == "Gather") return gather();
  if (op == "Split") return split();
  if (op == "ConstantOfShape") return constant_of_shape();
  if (op == "Trilu") return triangle();
  if (op == "CumSum") return cumulative_sum();
  if (op == "MatMul") return matrix_product();
  if (op.starts_with("Reduce")) return reduce();
  return elementwise();
}

Results Folder::elementwise() {
  if (const std::function<double(double)> f = unary_function(node_.operation)) {
    const bool whole = node_.operation == "Not" || node_.operation == "IsNaN" ||
                       (operand(0).whole && (node_.operation == "Neg" || node_.operation == "Abs"));
    std::optional<Array> result = make(operand(0).shape, whole);
    if (result) std::transform(operand(0).values.begin(), operand(0).values.end(), result->values.begin(), f);
    return one(std::move(result));
  }
  if (!has(1) || operands_.size() != 2) return std::nullopt;
  const bool whole = operand(0).whole && operand(1).whole;
  const std::function<double(double, double)> f = binary_function(node_.operation, whole);
  const std::optional<Shape64> shape = broadcast(operand(0).shape, operand(1).shape);
  if (!f || !shape) return std::nullopt;
  constexpr std::string_view kTruths[] = {"Equal",          "Less", "LessOrEqual", "Greater",
                                          "GreaterOrEqual", "And",  "Or",          "Xor"};
  std::optional<Array> result =
      make(*shape, whole || std::find(std::begin(kTruths), std::end(kTruths), node_.operation) != std::end(kTruths));
  if (!result) return std::nullopt;
  std::size_t next = 0;
  for_every_index(*shape, [&](std::span<const std::int64_t> index) {
    result->values[next++] = f(element_at(operand(0), index), element_at(operand(1), index));
  });
  return one(std::move(result));
}

Results Folder::where() {
  if (!has(1) || !has(2)) return std::nullopt;
  std::optional<Shape64> shape = broadcast(operand(0).shape, operand(1).shape);
  if (shape) shape = broadcast(*shape, operand(2).shape);
  if (!shape) return std::nullopt;
  std::optional<Array> result = make(*shape, operand(1).whole);
  if (!result) return std::nullopt;
  std::size_t next = 0;
  for_every_index(*shape, [&](std::span<const std::int64_t> index) {
    result->values[next++] = element_at(operand(element_at(operand(0), index) != 0 ? 1 : 2), index);
  });
  return one(std::move(result));
}

Results Folder::reshape(Shape64 shape) {
  if (array_elements(shape) != operand(0).elements()) return std::nullopt;
  Array result = operand(0);
  result.shape = std::move(shape);
  return one(std::move(result));
}

Results Folder::transpose() {
  const Array& x = operand(0);
  const std::int64_t rank = rank_of(x);
  std::vector<std::int64_t> order;
  if (const OnnxAttribute* perm = node_.find("perm")) {
    order = perm->integers;
  } else {
    for (std::int64_t d = rank; d-- > 0;) order.push_back(d);
  }
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t d = 0; d < static_cast<std::int64_t>(sorted.size()); ++d) {
    if (sorted[static_cast<std::size_t>(d)] != d) return std::nullopt;
  }
  if (static_cast<std::int64_t>(order.size()) != rank) return std::nullopt;
  Shape64 shape;
  for (const std::int64_t d : order) shape.push_back(x.shape[static_cast<std::size_t>(d)]);
  std::optional<Array> result = make(shape, x.whole);
  if (!result) return std::nullopt;
  Shape64 source(order.size());
  std::size_t next = 0;
  for_every_index(shape, [&](std::span<const std::int64_t> index) {
    for (std::size_t d = 0; d < order.size(); ++d) source[static_cast<std::size_t>(order[d])] = index[d];
    result->values[next++] = element_at(x, source);
  });
  return one(std::move(result));
}

Results Folder::unsqueeze() {
  const Array& x = operand(0);
  const OnnxAttribute* attribute = node_.find("axes");
  const std::size_t added = has(1) ? operand(1).values.size() : attribute != nullptr ? attribute->integers.size() : 0;
  const std::int64_t rank = rank_of(x) + static_cast<std::int64_t>(std::min<std::size_t>(added, 16));
  const std::optional<std::vector<std::int64_t>> axes = axes_of(node_, has(1) ? &operand(1) : nullptr, rank);
  if (!axes || axes->size() != added) return std::nullopt;
  Shape64 shape;
  std::size_t next = 0;
  for (std::int64_t d = 0; d < rank; ++d)
    shape.push_back(std::find(axes->begin(), axes->end(), d) != axes->end() ? 1 : x.shape[next++]);
  return reshape(std::move(shape));
}

Results Folder::squeeze() {
  const Array& x = operand(0);
  const std::optional<std::vector<std::int64_t>> axes = axes_of(node_, has(1) ? &operand(1) : nullptr, rank_of(x));
  Shape64 shape;
  for (std::int64_t d = 0; d < rank_of(x); ++d) {
    const std::int64_t size = x.shape[static_cast<std::size_t>(d)];
    const bool goes = axes ? std::find(axes->begin(), axes->end(), d) != axes->end() : size == 1;
    if (goes && size != 1) return std::nullopt;
    if (!goes) shape.push_back(size);
  }
  return reshape(std::move(shape));
}

Results Folder::expand(const Shape64& wanted) {
  const std::optional<Shape64> shape = broadcast(operand(0).shape, wanted);
  if (!shape) return std::nullopt;
  std::optional<Array> result = make(*shape, operand(0).whole);
  if (!result) return std::nullopt;
  std::size_t next = 0;
  for_every_index(*shape,
                  [&](std::span<const std::int64_t> index) { result->values[next++] = element_at(operand(0), index); });
  return one(std::move(result));
}

Results Folder::concat() {
  const std::optional<std::int64_t> axis = axis_of(static_cast<double>(integer("axis", 0)), rank_of(operand(0)));
  if (!axis) return std::nullopt;
  Shape64 shape = operand(0).shape;
  std::int64_t& along = shape[static_cast<std::size_t>(*axis)];
  along = 0;
  bool whole = true;
  for (std::size_t number = 0; number < operands_.size(); ++number) {
    if (!has(number) || operand(number).shape.size() != shape.size()) return std::nullopt;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (d != static_cast<std::size_t>(*axis) && operand(number).shape[d] != shape[d]) return std::nullopt;
    }
    along += operand(number).shape[static_cast<std::size_t>(*axis)];
    whole = whole && operand(number).whole;
  }
  const Strides s = strides_of(shape, *axis);
  std::optional<Array> result = make(shape, whole);
  if (!result) return std::nullopt;
  std::int64_t written = 0;
  for (std::int64_t before = 0; before < s.before; ++before) {
    for (const Array* part : operands_) {
      const std::int64_t count = part->shape[static_cast<std::size_t>(*axis)] * s.behind;
      std::copy_n(part->values.begin() + before * count, count, result->values.begin() + written);
      written += count;
    }
  }
  return one(std::move(result));
}

Results Folder::slice() {
  const Array& x = operand(0);
  const std::optional<std::vector<SlicedAxis>> axes = sliced_axes(node_, x.shape, operands_);
  if (!axes) return std::nullopt;
  Shape64 shape;
  for (const SlicedAxis& axis : *axes) shape.push_back(axis.count);
  std::optional<Array> result = make(shape, x.whole);
  if (!result) return std::nullopt;
  Shape64 source(shape.size());
  std::size_t next = 0;
  for_every_index(shape, [&](std::span<const std::int64_t> index) {
    for (std::size_t d = 0; d < shape.size(); ++d) source[d] = (*axes)[d].first + index[d] * (*axes)[d].step;
    result->values[next++] = element_at(x, source);
  });
  return one(std::move(result));
}

Results Folder::gather() {
  const Array& x = operand(0);
  const std::optional<std::int64_t> axis = axis_of(static_cast<double>(integer("axis", 0)), rank_of(x));
  if (!has(1) || !axis) return std::nullopt;
  const Strides s = strides_of(x.shape, *axis);
  Shape64 shape(x.shape.begin(), x.shape.begin() + *axis);
  shape.insert(shape.end(), operand(1).shape.begin(), operand(1).shape.end());
  shape.insert(shape.end(), x.shape.begin() + *axis + 1, x.shape.end());
  std::optional<Array> result = make(shape, x.whole);
  if (!result) return std::nullopt;
  std::int64_t written = 0;
  for (std::int64_t before = 0; before < s.before; ++before) {
    for (const double wanted : operand(1).values) {
      const std::optional<std::int64_t> number = axis_of(wanted, s.along);
      if (!number) return std::nullopt;
      std::copy_n(x.values.begin() + (before * s.along + *number) * s.behind, s.behind,
                  result->values.begin() + written);
      written += s.behind;
    }
  }
  return one(std::move(result));
}

Results Folder::split() {
  const Array& x = operand(0);
  const std::optional<std::int64_t> axis = axis_of(static_cast<double>(integer("axis", 0)), rank_of(x));
  if (!axis) return std::nullopt;
  const Strides s = strides_of(x.shape, *axis);
  const std::optional<std::vector<std::int64_t>> sizes = split_sizes(node_, has(1) ? &operand(1) : nullptr, s.along);
  if (!sizes) return std::nullopt;
  std::vector<Array> results;
  std::int64_t first = 0;
  for (const std::int64_t size : *sizes) {
    Shape64 shape = x.shape;
    shape[static_cast<std::size_t>(*axis)] = size;
    std::optional<Array> part = make(shape, x.whole);
    if (!part) return std::nullopt;
    for (std::int64_t before = 0; before < s.before; ++before)
      std::copy_n(x.values.begin() + (before * s.along + first) * s.behind, size * s.behind,
                  part->values.begin() + before * size * s.behind);
    first += size;
    results.push_back(std::move(*part));
  }
  return results;
}

Results Folder::range() {
  if (!has(0) || !has(1) || !has(2) || operand(0).elements() != 1 || operand(1).elements() != 1 ||
      operand(2).elements() != 1)
    return std::nullopt;
  const double start = at(operand(0), 0), end = at(operand(1), 0), step = at(operand(2), 0);
  const double count = std::ceil((end - start) / step);
  if (!(std::abs(count) <= static_cast<double>(kLargestArray))) return std::nullopt;
  std::optional<Array> result = make({std::max<std::int64_t>(0, static_cast<std::int64_t>(count))}, operand(0).whole);
  if (!result) return std::nullopt;
  for (std::int64_t n = 0; n < result->elements(); ++n) at(*result, n) = start + static_cast<double>(n) * step;
  return one(std::move(result));
}

Results Folder::constant_of_shape() {
  Shape64 shape;
  for (const double size : operand(0).values) {
    if (!(size >= 0 && size <= static_cast<double>(kLargestArray))) return std::nullopt;
    shape.push_back(static_cast<std::int64_t>(size));
  }
  double fill = 0;
  bool whole = false;
  if (const OnnxAttribute* attribute = node_.find("value"); attribute != nullptr && attribute->tensor) {
    const std::optional<Array> value = to_array(*attribute->tensor);
    if (!value || value->elements() != 1) return std::nullopt;
    fill = at(*value, 0);
    whole = value->whole;
  }
  std::optional<Array> result = make(shape, whole);
  if (result) std::fill(result->values.begin(), result->values.end(), fill);
  return one(std::move(result));
}

Results Folder::triangle() {
  const Array& x = operand(0);
  if (rank_of(x) < 2 || (has(1) && operand(1).elements() != 1)) return std::nullopt;
  const double diagonal = has(1) ? at(operand(1), 0) : 0;
  const bool upper = integer("upper", 1) != 0;
  std::optional<Array> result = make(x.shape, x.whole);
  if (!result) return std::nullopt;
  std::size_t next = 0;
  for_every_index(x.shape, [&](std::span<const std::int64_t> index) {
    const double distance = static_cast<double>(index[index.size() - 1] - index[index.size() - 2]);
    const bool kept = upper ? distance >= diagonal : distance <= diagonal;
    result->values[next] = kept ? x.values[next] : 0;
    ++next;
  });
  return one(std::move(result));
}

Results Folder::cumulative_sum() {
  const Array& x = operand(0);
  if (!has(1) || operand(1).elements() != 1 || integer("exclusive", 0) != 0 || integer("reverse", 0) != 0)
    return std::nullopt;
  const std::optional<std::int64_t> axis = axis_of(at(operand(1), 0), rank_of(x));
  std::optional<Array> result = axis ? make(x.shape, x.whole) : std::nullopt;
  if (!result) return std::nullopt;
  const Strides s = strides_of(x.shape, *axis);
  for (std::int64_t n = 0; n < x.elements(); ++n)
    at(*result, n) = at(x, n) + (n / s.behind % s.along == 0 ? 0 : at(*result, n - s.behind));
  return one(std::move(result));
}

Results Folder::reduce() {
  const Array& x = operand(0);
  const std::string_view kind = node_.operation.substr(6);
  std::optional<std::vector<std::int64_t>> axes = axes_of(node_, has(1) ? &operand(1) : nullptr, rank_of(x));
  if (!axes) {
    if (has(1) || node_.find("axes") != nullptr) return std::nullopt;
    axes.emplace(x.shape.size());
    std::iota(axes->begin(), axes->end(), 0);
  }
  Shape64 kept = x.shape, shape;
  for (const std::int64_t axis : *axes) kept[static_cast<std::size_t>(axis)] = 1;
  for (std::size_t d = 0; d < x.shape.size(); ++d) {
    const bool is_reduced = std::find(axes->begin(), axes->end(), static_cast<std::int64_t>(d)) != axes->end();
    if (!is_reduced || integer("keepdims", 1) != 0) shape.push_back(kept[d]);
  }
  const bool adds = kind == "Sum" || kind == "Mean";
  if (!(adds || kind == "Max" || kind == "Min" || kind == "Prod")) return std::nullopt;
  std::optional<Array> result = make(kept, x.whole);
  if (!result || x.values.empty()) return std::nullopt;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double start = adds ? 0 : kind == "Prod" ? 1 : kind == "Max" ? -kInfinity : kInfinity;
  std::fill(result->values.begin(), result->values.end(), start);
  std::size_t next = 0;
  for_every_index(x.shape, [&](std::span<const std::int64_t> index) {
    std::int64_t place = 0;
    for (std::size_t d = 0; d < kept.size(); ++d) place = place * kept[d] + (kept[d] == 1 ? 0 : index[d]);
    double& target = at(*result, place);
    const double value = x.values[next++];
    target = adds             ? target + value
             : kind == "Prod" ? target * value
             : kind == "Max"  ? std::max(target, value)
                              : std::min(target, value);
  });
  if (kind == "Mean") {
    const double share = static_cast<double>(result->elements()) / static_cast<double>(x.elements());
    for (double& value : result->values) value *= share;
  }
  result->shape = std::move(shape);
  return one(std::move(result));
}

Results Folder::matrix_product() {
  if (!has(1) || rank_of(operand(0)) < 2 || rank_of(operand(1)) < 2) return std::nullopt;
  const Array &a = operand(0), &b = operand(1);
  const std::size_t rank_a = a.shape.size(), rank_b = b.shape.size();
  const std::int64_t rows = a.shape[rank_a - 2], inner = a.shape[rank_a - 1], columns = b.shape[rank_b - 1];
  std::optional<Shape64> shape = broadcast(std::span(a.shape).first(rank_a - 2), std::span(b.shape).first(rank_b - 2));
  if (!shape || b.shape[rank_b - 2] != inner) return std::nullopt;
  shape->push_back(rows);
  shape->push_back(columns);
  std::optional<Array> result = make(*shape, a.whole && b.whole);
  if (!result || result->elements() > budget_ / std::max<std::int64_t>(inner, 1)) return std::nullopt;
  budget_ -= result->elements() * inner;
  Shape64 in_a, in_b;
  std::size_t next = 0;
  for_every_index(*shape, [&](std::span<const std::int64_t> index) {
    in_a.assign(index.begin(), index.end());
    in_b = in_a;
    double sum = 0;
    for (std::int64_t n = 0; n < inner; ++n) {
      in_a.back() = n;
      in_b[in_b.size() - 2] = n;
      sum += element_at(a, in_a) * element_at(b, in_b);
    }
    result->values[next++] = sum;
  });
  return one(std::move(result));
}

}  // namespace

std::optional<std::int64_t> array_elements(std::span<const std::int64_t> shape, std::int64_t limit) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size == 0) return 0;
  }
  for (const std::int64_t size : shape) {
    if (size < 0 || size > limit / count) return std::nullopt;
    count *= size;
  }
  return count;
}

std::optional<Array> to_array(const Tensor& tensor) {
  Array array;
  for (const std::uint64_t size : tensor.shape) {
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    array.shape.push_back(static_cast<std::int64_t>(size));
  }
  const std::optional<std::int64_t> elements = array_elements(array.shape);
  if (!elements) return std::nullopt;
  array.whole = !is_real(tensor.type);
  array.values.resize(static_cast<std::size_t>(*elements));
  if (*elements == 0) return array;
  if (tensor.type == ElementType::i64) {  // exact, unlike its float
    for (std::size_t n = 0; n < array.values.size(); ++n) {
      std::uint64_t bits = 0;
      for (std::size_t b = 0; b < 8; ++b) bits |= std::to_integer<std::uint64_t>(tensor.bytes[8 * n + b]) << (8 * b);
      array.values[n] = static_cast<double>(static_cast<std::int64_t>(bits));
    }
    return array;
  }
  std::vector<float> values(array.values.size());
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  dequantise_rows(tensor, 0, values.size() / row, values);
  std::copy(values.begin(), values.end(), array.values.begin());
  return array;
}

std::optional<std::vector<std::int64_t>> broadcast(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  std::vector<std::int64_t> shape(std::max(a.size(), b.size()));
  for (std::size_t n = 1; n <= shape.size(); ++n) {
    const std::int64_t from_a = n <= a.size() ? a[a.size() - n] : 1;
    const std::int64_t from_b = n <= b.size() ? b[b.size() - n] : 1;
    if (from_a != from_b && from_a != 1 && from_b != 1) return std::nullopt;
    shape[shape.size() - n] = from_a == 1 ? from_b : from_a;
  }
  return shape;
}

double element_at(const Array& array, std::span<const std::int64_t> index) {
  std::int64_t place = 0;
  const std::size_t skipped = index.size() - array.shape.size();
  for (std::size_t d = 0; d < array.shape.size(); ++d)
    place = place * array.shape[d] + (array.shape[d] == 1 ? 0 : index[skipped + d]);
  return at(array, place);
}

void for_every_index(std::span<const std::int64_t> shape,
                     const std::function<void(std::span<const std::int64_t>)>& visit) {
  for (const std::int64_t size : shape) {
    if (size == 0) return;
  }
  std::vector<std::int64_t> index(shape.size());
  while (true) {
    visit(index);
    std::size_t d = shape.size();
    while (d > 0 && ++index[d - 1] == shape[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

std::function<double(double)> unary_function(std::string_view operation) {
  static constexpr std::pair<std::string_view, double (*)(double)> kFunctions[] = {
      {"Abs", [](double x) { return std::abs(x); }},
      {"Ceil", [](double x) { return std::ceil(x); }},
      {"Cos", [](double x) { return std::cos(x); }},
      {"Erf", [](double x) { return std::erf(x); }},
      {"Exp", [](double x) { return std::exp(x); }},
      {"Floor", [](double x) { return std::floor(x); }},
      {"IsNaN", [](double x) { return static_cast<double>(std::isnan(x)); }},
      {"Log", [](double x) { return std::log(x); }},
      {"Neg", [](double x) { return -x; }},
      {"Not", [](double x) { return static_cast<double>(x == 0); }},
      {"Reciprocal", [](double x) { return 1 / x; }},
      {"Relu", [](double x) { return std::max(x, 0.0); }},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"Sin", [](double x) { return std::sin(x); }},
      {"Sqrt", [](double x) { return std::sqrt(x); }},
      {"Tanh", [](double x) { return std::tanh(x); }}};
  for (const std::pair<std::string_view, double (*)(double)>& function : kFunctions) {
    if (function.first == operation) return function.second;
  }
  return nullptr;
}

std::function<double(double, double)> binary_function(std::string_view operation, bool whole) {
  if (operation == "Div" && whole) return [](double a, double b) { return b == 0 ? 0 : std::trunc(a / b); };
  static constexpr std::pair<std::string_view, double (*)(double, double)> kFunctions[] = {
      {"Add", [](double a, double b) { return a + b; }},
      {"And", [](double a, double b) { return static_cast<double>(a != 0 && b != 0); }},
      {"Div", [](double a, double b) { return a / b; }},
      {"Equal", [](double a, double b) { return static_cast<double>(a == b); }},
      {"Greater", [](double a, double b) { return static_cast<double>(a > b); }},
      {"GreaterOrEqual", [](double a, double b) { return static_cast<double>(a >= b); }},
      {"Less", [](double a, double b) { return static_cast<double>(a < b); }},
      {"LessOrEqual", [](double a, double b) { return static_cast<double>(a <= b); }},
      {"Max", [](double a, double b) { return std::max(a, b); }},
      {"Min", [](double a, double b) { return std::min(a, b); }},
      {"Mod", [](double a, double b) { return b == 0 ? 0 : a - b * std::floor(a / b); }},
      {"Mul", [](double a, double b) { return a * b; }},
      {"Or", [](double a, double b) { return static_cast<double>(a != 0 || b != 0); }},
      {"Pow", [](double a, double b) { return std::pow(a, b); }},
      {"Sub", [](double a, double b) { return a - b; }},
      {"Xor", [](double a, double b) { return static_cast<double>((a != 0) != (b != 0)); }}};
  for (const std::pair<std::string_view, double (*)(double, double)>& function : kFunctions) {
    if (function.first == operation) return function.second;
  }
  return nullptr;
}

std::optional<std::vector<std::int64_t>> axes_of(const OnnxNode& node, const Array* operand, std::int64_t rank) {
  std::vector<double> wanted;
  if (operand != nullptr) {
    wanted = operand->values;
  } else if (const OnnxAttribute* attribute = node.find("axes")) {
    wanted.assign(attribute->integers.begin(), attribute->integers.end());
  }
  if (wanted.empty() || wanted.size() > static_cast<std::size_t>(rank)) return std::nullopt;
  std::vector<std::int64_t> axes;
  for (const double number : wanted) {
    const std::optional<std::int64_t> axis = axis_of(number, rank);
    if (!axis || std::find(axes.begin(), axes.end(), *axis) != axes.end()) return std::nullopt;
    axes.push_back(*axis);
  }
  return axes;
}

std::optional<std::vector<std::int64_t>> split_sizes(const OnnxNode& node, const Array* operand, std::int64_t size) {
  std::vector<std::int64_t> sizes;
  const OnnxAttribute* attribute = node.find("split");
  const std::int64_t results = static_cast<std::int64_t>(node.outputs.size());
  if (operand != nullptr) {
    for (const double part : operand->values) {
      if (!(part >= 0 && part <= static_cast<double>(size))) return std::nullopt;
      sizes.push_back(static_cast<std::int64_t>(part));
    }
  } else if (attribute != nullptr) {
    sizes = attribute->integers;
  } else if (results > 0) {
    const std::int64_t part = (size + results - 1) / results;
    for (std::int64_t n = 0; n < results; ++n) sizes.push_back(std::min(part, size - std::min(size, n * part)));
  }
  std::int64_t sum = 0;
  for (const std::int64_t part : sizes) {
    if (part < 0 || part > size - sum) return std::nullopt;
    sum += part;
  }
  if (sum != size || static_cast<std::int64_t>(sizes.size()) != results) return std::nullopt;
  return sizes;
}

std::optional<std::vector<SlicedAxis>> sliced_axes(const OnnxNode& node, std::span<const std::int64_t> shape,
                                                   const std::vector<const Array*>& operands) {
  const auto numbers = [&](std::size_t number, std::string_view attribute_name) {
    if (number < operands.size() && operands[number] != nullptr) return operands[number]->values;
    const OnnxAttribute* attribute = node.find(attribute_name);  // before version 10
    return attribute == nullptr ? std::vector<double>()
                                : std::vector<double>(attribute->integers.begin(), attribute->integers.end());
  };
  const std::vector<double> starts = numbers(1, "starts"), ends = numbers(2, "ends");
  std::vector<double> axes = numbers(3, "axes"), steps = numbers(4, "steps");
  const std::int64_t rank = static_cast<std::int64_t>(shape.size());
  if (starts.empty() || starts.size() != ends.size() || starts.size() > shape.size()) return std::nullopt;
  if (axes.empty()) {
    for (std::size_t n = 0; n < starts.size(); ++n) axes.push_back(static_cast<double>(n));
  }
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (axes.size() != starts.size() || steps.size() != starts.size()) return std::nullopt;
  std::vector<SlicedAxis> result;
  for (const std::int64_t size : shape) result.push_back({.first = 0, .step = 1, .count = size});
  for (std::size_t n = 0; n < starts.size(); ++n) {
    const std::optional<std::int64_t> axis = axis_of(axes[n], rank);
    if (!axis || steps[n] == 0 || !(std::abs(steps[n]) <= static_cast<double>(kLargestArray))) return std::nullopt;
    const double size = static_cast<double>(shape[static_cast<std::size_t>(*axis)]);
    const double low = steps[n] > 0 ? 0 : -1, high = steps[n] > 0 ? size : size - 1;
    if (size == 0 || std::isnan(starts[n]) || std::isnan(ends[n])) return std::nullopt;
    const double start = std::clamp(starts[n] < 0 ? starts[n] + size : starts[n], 0.0, high);
    const double end = std::clamp(ends[n] < 0 ? ends[n] + size : ends[n], low, size);
    result[static_cast<std::size_t>(*axis)] = {
        .first = static_cast<std::int64_t>(start),
        .step = static_cast<std::int64_t>(steps[n]),
        .count = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil((end - start) / steps[n])))};
  }
  return result;
}

std::optional<std::vector<std::int64_t>> reshaped(std::span<const std::int64_t> shape, const Array& wanted) {
  const std::optional<std::int64_t> elements = array_elements(shape, kLargestShape);
  if (!elements || wanted.values.size() > 16) return std::nullopt;
  std::vector<std::int64_t> result;
  std::optional<std::size_t> rest;
  std::int64_t known = 1;
  for (std::size_t d = 0; d < wanted.values.size(); ++d) {
    const double size = wanted.values[d];
    if (size == -1) {
      if (rest) return std::nullopt;
      rest = d;
      result.push_back(1);
      continue;
    }
    if (!(size >= 0 && size <= static_cast<double>(kLargestShape)) || (size == 0 && d >= shape.size()))
      return std::nullopt;
    result.push_back(size == 0 ? shape[d] : static_cast<std::int64_t>(size));
    if (result.back() != 0 && known > kLargestShape / result.back()) return std::nullopt;
    known *= result.back();
  }
  if (rest) {
    if (known == 0 || *elements % known != 0) return std::nullopt;
    result[*rest] = *elements / known;
  }
  if (array_elements(result, kLargestShape) != elements) return std::nullopt;
  return result;
}

std::optional<std::vector<Array>> fold(const OnnxNode& node, const std::vector<const Array*>& operands,
                                       std::int64_t& budget) {
  if (!node.domain.empty() || node.outputs.empty()) return std::nullopt;
  return Folder(node, operands, budget).run();
}

}  // namespace danaus::model::onnx
