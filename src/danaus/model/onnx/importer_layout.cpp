#include "danaus/model/onnx/importer.h"

#include <fmt/format.h>

#include <algorithm>

#include "danaus/model/element.h"
#include "danaus/model/text.h"

// Nodes that compute with constants and shapes, and nodes that rearrange vectors.

namespace danaus::model::onnx {

/// A node whose operands are all known, or that asks for a shape.
bool Importer::fold_node(const OnnxNode& node) {
  const std::string_view op = node.operation;
  if (op == "Constant") {
    Known known;
    for (const OnnxAttribute& attribute : node.attributes) {
      if (attribute.name == "value" && attribute.tensor) {
        known.tensor = &*attribute.tensor;
        return result(node, known);
      }
      Array numbers;
      if (attribute.name == "value_int" && attribute.integer) {
        numbers = {.shape = {}, .values = {static_cast<double>(*attribute.integer)}, .whole = true};
      } else if (attribute.name == "value_float" && attribute.real) {
        numbers = {.shape = {}, .values = {static_cast<double>(*attribute.real)}, .whole = false};
      } else if (attribute.name == "value_ints") {
        numbers.values.assign(attribute.integers.begin(), attribute.integers.end());
        numbers.shape = {numbers.elements()};
        numbers.whole = true;
      } else if (attribute.name == "value_floats") {
        numbers.values.assign(attribute.reals.begin(), attribute.reals.end());
        numbers.shape = {numbers.elements()};
      } else {
        continue;
      }
      known.array = std::make_shared<const Array>(std::move(numbers));
      return result(node, known);
    }
    return refuse("a constant that is not a tensor of numbers");
  }
  if (op == "Shape" || op == "Size") {
    const std::optional<Id> id = operand(node, 0);
    const std::optional<Shape64> sizes = id ? shape(*id) : std::nullopt;
    if (!sizes) return false;
    Array numbers;
    numbers.whole = true;
    if (op == "Size") {
      numbers.values = {static_cast<double>(array_elements(*sizes, kLargestShape).value_or(0))};
    } else {
      const std::int64_t rank = static_cast<std::int64_t>(sizes->size());
      const OnnxAttribute *start = node.find("start"), *end = node.find("end");
      const auto bound = [&](const OnnxAttribute* attribute, std::int64_t otherwise) {
        std::int64_t place = attribute != nullptr && attribute->integer ? *attribute->integer : otherwise;
        if (place < -rank) place = -rank;
        return std::clamp<std::int64_t>(place < 0 ? place + rank : place, 0, rank);
      };
      for (std::int64_t d = bound(start, 0); d < bound(end, rank); ++d)
        numbers.values.push_back(static_cast<double>((*sizes)[static_cast<std::size_t>(d)]));
      numbers.shape = {numbers.elements()};
    }
    return result(node, Known{.array = std::make_shared<const Array>(std::move(numbers))});
  }
  if (op == "Transpose") {
    const Known* known = get<Known>(operand(node, 0));
    const OnnxAttribute* perm = node.find("perm");
    if (known != nullptr && known->tensor != nullptr && known->tensor->shape.size() == 2 &&
        (perm == nullptr || perm->integers == std::vector<std::int64_t>{1, 0})) {
      Known turned = *known;
      turned.transposed = !turned.transposed;
      turned.array = nullptr;
      return result(node, turned);
    }
  }
  if (op == "Gather") {
    // Rows of a table at known positions, without reading all of it.
    const Known* table = get<Known>(operand(node, 0));
    const OnnxAttribute* axis = node.find("axis");
    const std::shared_ptr<const Array> rows = array(operand(node, 1));
    if (table != nullptr && table->tensor != nullptr && !table->array && !table->transposed &&
        table->tensor->shape.size() == 2 && is_real(table->tensor->type) && rows &&
        (axis == nullptr || axis->integer.value_or(0) == 0)) {
      const std::uint64_t length = table->tensor->shape[1];
      const double count = static_cast<double>(table->tensor->shape[0]);
      Shape64 sizes = rows->shape;
      sizes.push_back(static_cast<std::int64_t>(std::min<std::uint64_t>(length, kLargestVector + 1)));
      const std::optional<std::int64_t> elements = array_elements(sizes);
      if (!elements || *elements > budget_) return false;
      budget_ -= *elements;
      Array numbers{.shape = sizes, .values = {}, .whole = false};
      std::vector<float> row(static_cast<std::size_t>(length));
      for (const double wanted : rows->values) {
        const double place = wanted < 0 ? wanted + count : wanted;
        if (!(place >= 0 && place < count)) return false;
        dequantise_rows(*table->tensor, static_cast<std::uint64_t>(place), 1, row);
        numbers.values.insert(numbers.values.end(), row.begin(), row.end());
      }
      leave_outside(*table->tensor, "table: rows are looked up by position", false);
      context_ = std::max(context_,
                          static_cast<std::int64_t>(std::min<std::uint64_t>(table->tensor->shape[0], kLargestVector)));
      return result(node, Known{.array = std::make_shared<const Array>(std::move(numbers))});
    }
  }
  std::vector<std::shared_ptr<const Array>> operands;
  std::vector<const Array*> pointers;
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    if (id && get<Known>(*id) == nullptr) return false;
  }
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    operands.push_back(array(id));
    if (id && !operands.back()) return false;
    pointers.push_back(operands.back().get());
  }
  std::optional<std::vector<Array>> made = fold(node, pointers, budget_);
  if (!made) return false;
  for (Array& numbers : *made) results_.push_back(Known{.array = std::make_shared<const Array>(std::move(numbers))});
  return results_.size() <= node.outputs.size();
}

/// Reshape, Transpose and the like of a vector, also of one that is halfway through an attention.
bool Importer::rearrange(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  if (!id) return false;
  Vectors vectors;
  Scores scores;
  const Scores* from_scores = get<Scores>(id);
  if (from_scores != nullptr) {
    scores = *from_scores;
  } else if (const Vectors* from = get<Vectors>(id)) {
    vectors = *from;
  } else {
    const Outside* outside = get<Outside>(id);
    // Of values from outside only the file's own inputs: what a digital node makes may be laid out in any way.
    const bool is_rows =
        outside != nullptr && outside->kind == Outside::Kind::rows && outside->shape && !values_[*id].producer;
    if (get<Known>(id) != nullptr || (outside != nullptr && !is_rows)) return false;
    const std::optional<Vectors> made = as_vectors(*id);
    if (!made) return false;
    vectors = *made;
  }
  const Layout& layout = from_scores != nullptr ? scores.layout : vectors.layout;
  const Shape64 sizes = shape_of(layout);
  const std::int64_t rank = static_cast<std::int64_t>(sizes.size());
  std::optional<Layout> made;
  const std::string_view op = node.operation;
  const std::shared_ptr<const Array> second = array(operand(node, 1));
  if (operand(node, 1) && !second) return refuse("its shape operand is not known");
  if (op == "Transpose") {
    Shape64 order;
    if (const OnnxAttribute* perm = node.find("perm")) {
      order = perm->integers;
    } else {
      for (std::int64_t d = rank; d-- > 0;) order.push_back(d);
    }
    made = transpose(layout, order);
  } else if (op == "Slice") {
    if (from_scores != nullptr) return refuse("a piece of attention scores");
    std::vector<std::shared_ptr<const Array>> bounds;
    std::vector<const Array*> operands;
    for (std::size_t n = 0; n < node.inputs.size(); ++n) {
      bounds.push_back(n == 0 ? nullptr : array(operand(node, n)));
      if (n > 0 && operand(node, n) && !bounds.back()) return refuse("its bounds are not known");
      operands.push_back(bounds.back().get());
    }
    const std::optional<std::vector<SlicedAxis>> axes = sliced_axes(node, sizes, operands);
    made = layout;
    for (std::size_t d = 0; axes && made && d < axes->size(); ++d) {
      const SlicedAxis& axis = (*axes)[d];
      if (axis.step != 1) return refuse("a piece with gaps");
      made = slice(*made, d, axis.first, axis.count, vectors.offset);
    }
    if (!axes || !made) return refuse("it picks single tokens");
  } else if (op == "Expand") {
    if (!second) return false;
    Shape64 wanted;
    for (const double size : second->values) {
      if (!(size >= 1 && size <= static_cast<double>(kLargestArray)))
        return refuse("the size of its result is not known");
      wanted.push_back(static_cast<std::int64_t>(size));
    }
    if (from_scores != nullptr && wanted != sizes) return refuse("attention scores that are repeated");
    made = expand(layout, wanted);
  } else {
    // Reshape, Flatten, Squeeze, Unsqueeze: the same elements in the same order.
    std::optional<Shape64> wanted;
    if (op == "Reshape" && second) {
      wanted = reshaped(sizes, *second);
    } else if (op == "Flatten") {
      const OnnxAttribute* axis = node.find("axis");
      std::int64_t cut = axis != nullptr && axis->integer ? *axis->integer : 1;
      if (cut < 0) cut += rank;
      if (cut < 0 || cut > rank) return false;
      wanted = Shape64{1, 1};
      for (std::int64_t d = 0; d < rank; ++d) (*wanted)[d < cut ? 0 : 1] *= sizes[static_cast<std::size_t>(d)];
    } else if (op == "Unsqueeze" || op == "Squeeze") {
      const OnnxAttribute* attribute = node.find("axes");
      const std::size_t count = second ? second->values.size() : attribute != nullptr ? attribute->integers.size() : 0;
      if (count > 8) return false;
      const std::int64_t full = op == "Unsqueeze" ? rank + static_cast<std::int64_t>(count) : rank;
      const std::optional<std::vector<std::int64_t>> axes = axes_of(node, second.get(), full);
      if (!axes && (op == "Unsqueeze" || count != 0)) return false;
      wanted.emplace();
      std::size_t next = 0;
      for (std::int64_t d = 0; d < full; ++d) {
        const bool is_named = axes && std::find(axes->begin(), axes->end(), d) != axes->end();
        if (op == "Unsqueeze") {
          wanted->push_back(is_named ? 1 : sizes[next++]);
        } else if (axes ? !is_named : sizes[static_cast<std::size_t>(d)] != 1) {
          wanted->push_back(sizes[static_cast<std::size_t>(d)]);
        }
      }
    }
    if (wanted) made = reshape(layout, *wanted);
  }
  if (!made) return refuse("it mixes tokens with elements of the vectors");
  if (from_scores != nullptr) {
    scores.layout = std::move(*made);
    return result(node, scores);
  }
  vectors.layout = std::move(*made);
  return result(node, vectors);
}

/// Pieces of a vector put together: the rotated halves of a rotary embedding, or new entries behind a cache.
bool Importer::concat(const OnnxNode& node) {
  const OnnxAttribute* attribute = node.find("axis");
  std::vector<Id> parts;
  bool has_past = false;
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    if (!id) return false;
    const std::optional<Shape64> sizes = shape(*id);
    if (sizes && std::find(sizes->begin(), sizes->end(), 0) != sizes->end()) {
      has_past = true;  // a cache that is still empty
    } else {
      parts.push_back(*id);
    }
  }
  if (parts.size() == 1 && has_past) {
    const Vectors* only = get<Vectors>(parts[0]);
    if (only == nullptr) return alias(parts[0]);
    Vectors made = *only;
    made.is_cached = true;
    return result(node, made);
  }
  if (parts.size() != 2 || attribute == nullptr || !attribute->integer) return false;
  const Vectors *first = get<Vectors>(parts[0]), *second = get<Vectors>(parts[1]);
  if (first == nullptr || second == nullptr || first->layout != second->layout || first->stream != second->stream ||
      first->layout.empty())
    return refuse("values that are joined");
  const std::int64_t rank = static_cast<std::int64_t>(first->layout.size());
  const Axis& last = first->layout.back();
  if ((*attribute->integer != -1 && *attribute->integer != rank - 1) || last.size() > 1 ||
      (last.size() == 1 && (last[0].kind != Factor::Kind::element || last[0].stride != 1)))
    return refuse("values that are joined");
  const std::int64_t half = size_of(last);
  if (first->scale != -second->scale || second->scale != 1 || first->offset != second->offset + half)
    return refuse("values that are joined");
  Rotated made;
  made.base = *second;
  made.base.layout.back() = {{Factor::Kind::element, 2 * half, 1}};
  return result(node, made);
}

bool Importer::split(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const Vectors* from = get<Vectors>(id);
  if (from == nullptr) return false;
  const OnnxAttribute* attribute = node.find("axis");
  const std::int64_t rank = static_cast<std::int64_t>(from->layout.size());
  std::int64_t axis = attribute != nullptr && attribute->integer ? *attribute->integer : 0;
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return false;
  const std::shared_ptr<const Array> second = array(operand(node, 1));
  if (operand(node, 1) && !second) return refuse("its sizes are not known");
  const Vectors whole = *from;
  const std::optional<std::vector<std::int64_t>> sizes =
      split_sizes(node, second.get(), size_of(whole.layout[static_cast<std::size_t>(axis)]));
  if (!sizes) return false;
  std::int64_t first = 0;
  for (const std::int64_t size : *sizes) {
    Vectors part = whole;
    const std::optional<Layout> layout = slice(whole.layout, static_cast<std::size_t>(axis), first, size, part.offset);
    if (!layout) return refuse("it separates tokens");
    part.layout = *layout;
    first += size;
    results_.push_back(std::move(part));
  }
  return true;
}

bool Importer::gather(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const Known* table = get<Known>(id);
  const OnnxAttribute* attribute = node.find("axis");
  std::int64_t axis = attribute != nullptr && attribute->integer ? *attribute->integer : 0;
  if (table != nullptr) {
    if (table->tensor != nullptr && table->tensor->shape.size() == 2 && is_real(table->tensor->type) && axis == 0) {
      leave_outside(*table->tensor, "embedding: a row is looked up", false);
      const std::int64_t rows =
          static_cast<std::int64_t>(std::min<std::uint64_t>(table->tensor->shape[0], kLargestVector));
      if (rows > vocabulary_) {
        vocabulary_ = rows;
        embedding_ = table->tensor;
      }
      return refuse("embedding: a row is looked up");
    }
    return refuse("a look-up");
  }
  const Vectors* from = get<Vectors>(id);
  const std::shared_ptr<const Array> places = array(operand(node, 1));
  if (from == nullptr || !places || places->elements() != 1) return false;
  const std::int64_t rank = static_cast<std::int64_t>(from->layout.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return false;
  Vectors made = *from;
  const double size = static_cast<double>(size_of(made.layout[static_cast<std::size_t>(axis)]));
  const double place = places->values[0] < 0 ? places->values[0] + size : places->values[0];
  if (!(place >= 0 && place < size)) return false;
  const std::optional<Layout> layout =
      slice(made.layout, static_cast<std::size_t>(axis), static_cast<std::int64_t>(place), 1, made.offset);
  if (!layout) return refuse("it picks single tokens");
  made.layout = *layout;
  if (places->shape.empty()) made.layout.erase(made.layout.begin() + axis);
  return result(node, made);
}

}  // namespace danaus::model::onnx
