#include "danaus/model/onnx/layout.h"

#include <algorithm>

#include "danaus/model/onnx/array.h"

// Reshape flattens an array and cuts it anew: on factors, that is splitting and joining them in order. Nothing has to
// be known about how an exporter computed the shape.

namespace danaus::model::onnx {
namespace {

/// Leaves out factors of size 1 and joins neighbours that are one run of elements.
Axis tidy(const Axis& axis) {
  Axis joined;
  for (const Factor& factor : axis) {
    if (factor.size == 1) continue;
    if (!joined.empty() && joined.back().kind == Factor::Kind::element && factor.kind == Factor::Kind::element &&
        (joined.back().stride == factor.stride * factor.size)) {
      joined.back().size *= factor.size;
      joined.back().stride = factor.stride;
    } else {
      joined.push_back(factor);
    }
  }
  return joined;
}

}  // namespace

std::int64_t size_of(const Axis& axis) {
  std::int64_t size = 1;
  for (const Factor& factor : axis) size *= factor.size;
  return size;
}

std::vector<std::int64_t> shape_of(const Layout& layout) {
  std::vector<std::int64_t> shape;
  for (const Axis& axis : layout) shape.push_back(size_of(axis));
  return shape;
}

Layout rows_layout(std::span<const std::int64_t> shape) {
  Layout layout;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const bool is_last = d + 1 == shape.size();
    const std::int64_t run = static_cast<std::int64_t>(shape.size() - 2 - d);
    layout.push_back(is_last ? tidy({{Factor::Kind::element, shape[d], 1}})
                             : tidy({{Factor::Kind::token, shape[d], run}}));
  }
  return layout;
}

std::optional<Layout> reshape(const Layout& layout, std::span<const std::int64_t> shape) {
  std::vector<Factor> rest;  // reversed: the next one is at the back
  for (Layout::const_reverse_iterator axis = layout.rbegin(); axis != layout.rend(); ++axis)
    rest.insert(rest.end(), axis->rbegin(), axis->rend());
  Layout result;
  for (const std::int64_t wanted : shape) {
    if (wanted < 1) return std::nullopt;
    std::int64_t left = wanted;
    Axis axis;
    while (left > 1) {
      if (rest.empty()) return std::nullopt;
      Factor factor = rest.back();
      rest.pop_back();
      if (factor.size > left) {
        // Only elements of the vector may be cut: a cut run over tokens would not be one any more.
        if (factor.kind != Factor::Kind::element || factor.size % left != 0) return std::nullopt;
        const std::int64_t inner = factor.size / left;
        rest.push_back({factor.kind, inner, factor.stride});
        factor = {factor.kind, left, factor.stride * inner};
      }
      if (left % factor.size != 0) return std::nullopt;
      left /= factor.size;
      axis.push_back(factor);
    }
    result.push_back(tidy(axis));
  }
  if (!rest.empty()) return std::nullopt;
  return result;
}

std::optional<Layout> transpose(const Layout& layout, std::span<const std::int64_t> order) {
  if (order.size() != layout.size()) return std::nullopt;
  Layout result;
  std::vector<bool> used(layout.size());
  for (const std::int64_t axis : order) {
    if (axis < 0 || axis >= static_cast<std::int64_t>(layout.size()) || used[static_cast<std::size_t>(axis)])
      return std::nullopt;
    used[static_cast<std::size_t>(axis)] = true;
    result.push_back(layout[static_cast<std::size_t>(axis)]);
  }
  return result;
}

std::optional<Layout> slice(const Layout& layout, std::size_t axis, std::int64_t first, std::int64_t count,
                            std::int64_t& offset) {
  if (axis >= layout.size() || first < 0 || count < 1 || first > size_of(layout[axis]) - count) return std::nullopt;
  if (count == size_of(layout[axis])) return layout;
  if (layout[axis].size() != 1 || layout[axis][0].kind != Factor::Kind::element) return std::nullopt;
  Layout result = layout;
  const Factor factor = layout[axis][0];
  offset += first * factor.stride;
  result[axis] = tidy({{factor.kind, count, factor.stride}});
  return result;
}

std::optional<Layout> expand(const Layout& layout, std::span<const std::int64_t> shape) {
  if (shape.size() > layout.size() + 8) return std::nullopt;
  Layout result = layout;
  while (result.size() < shape.size()) result.insert(result.begin(), Axis());
  const std::size_t skipped = result.size() - shape.size();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    Axis& axis = result[skipped + d];
    const std::int64_t size = size_of(axis);
    if (shape[d] == size || shape[d] == 1) continue;
    if (size != 1 || shape[d] < 1) return std::nullopt;
    axis = {{Factor::Kind::element, shape[d], 0}};
  }
  if (!array_elements(shape_of(result), kLargestShape)) return std::nullopt;
  return result;
}

std::optional<std::int64_t> row_length(const Layout& layout) {
  if (layout.empty()) return std::nullopt;
  for (std::size_t d = 0; d + 1 < layout.size(); ++d) {
    for (const Factor& factor : layout[d]) {
      if (factor.kind != Factor::Kind::token) return std::nullopt;
    }
  }
  const Axis& last = layout.back();
  if (last.empty()) return 1;
  if (last.size() != 1 || last[0].kind != Factor::Kind::element || last[0].stride != 1) return std::nullopt;
  return last[0].size;
}

std::optional<std::int64_t> vector_length(const Layout& layout) {
  std::vector<Factor> elements;
  for (const Axis& axis : layout) {
    for (const Factor& factor : axis) {
      if (factor.kind == Factor::Kind::element && factor.stride != 0) elements.push_back(factor);
    }
  }
  std::sort(elements.begin(), elements.end(), [](const Factor& a, const Factor& b) { return a.stride < b.stride; });
  std::int64_t length = 1;
  for (const Factor& factor : elements) {
    if (factor.stride != length) return std::nullopt;
    length *= factor.size;
  }
  return length;
}

}  // namespace danaus::model::onnx
