#include "danaus/model/onnx/importer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "danaus/model/builder.h"
#include "danaus/model/element.h"
#include "danaus/model/text.h"

// An ONNX graph to an operator graph, by following what each value *is*, not how an exporter spelled it. The nodes are
// visited once, in order; every value is one of
//   Known     constants, and what is computed from constants and shapes alone
//   Vectors   one vector per token, a node of our graph, laid out in some way (layout.h)
//   Sampled   some function of such a vector, known by its results on a few sample vectors
//   Rotated, RotaryTerm, Scores   halfway through a rotary embedding or an attention
//   Outside   everything else
// Sizes that the file leaves open are set to small numbers (batch 2, tokens 5, and so on), and inputs that say by their
// names that they are masks or positions to ones and to 0, 1, 2 ... So shape arithmetic, masks and rotary tables are
// plain numbers, however they are computed: a mask is causal if its numbers say so, a table is rotary if its numbers
// are cosines. A chain of arithmetic is a gelu or a norm if it does to the samples what a gelu or a norm does.
// What is not understood is listed by name; its operands become outputs of our graph, its results inputs.

namespace danaus::model::onnx {
namespace {

constexpr std::int64_t kBatch = 2;
constexpr std::array<std::int64_t, 6> kOpenSizes = {5, 7, 11, 13, 17, 19};  // of the names of sizes, in file order

}  // namespace

bool is_plumbing(std::string_view operation) {
  constexpr std::string_view kNames[] = {"Cast",   "CastLike", "Concat",   "Constant", "ConstantOfShape", "Dropout",
                                         "Expand", "Flatten",  "Identity", "Range",    "Reshape",         "Shape",
                                         "Size",   "Slice",    "Split",    "Squeeze",  "Transpose",       "Unsqueeze"};
  return std::find(std::begin(kNames), std::end(kNames), operation) != std::end(kNames);
}

Result<void> Importer::define(std::string_view name, Value made, std::uint64_t offset) {
  if (name.empty()) return {};
  const Id id = static_cast<Id>(values_.size());
  if (!ids_.emplace(name, id).second)
    return fail(Error("onnx.duplicate-value", Failure::bad_input,
                      fmt::format("two nodes or tensors make the value '{}'", printable(name)))
                    .at_offset(offset)
                    .in_file(file_.name));
  Entry entry;
  entry.name = name;
  entry.value = std::move(made);
  entry.is_output = output_names_.contains(name);
  values_.push_back(std::move(entry));
  return {};
}

std::optional<Importer::Id> Importer::operand(const OnnxNode& node, std::size_t number) const {
  if (number >= node.inputs.size() || node.inputs[number].empty()) return std::nullopt;
  return ids_.at(node.inputs[number]);
}

std::shared_ptr<const Array> Importer::array(std::optional<Id> id) {
  if (!id) return nullptr;
  Known* known = std::get_if<Known>(&value(*id));
  if (known == nullptr) return nullptr;
  if (!known->array && known->tensor != nullptr) {
    const std::int64_t elements = static_cast<std::int64_t>(
        std::min<std::uint64_t>(known->tensor->elements(), static_cast<std::uint64_t>(kLargestArray) + 1));
    if (elements > budget_) return nullptr;
    std::optional<Array> read = to_array(*known->tensor);
    if (!read) return nullptr;
    used_.insert(known->tensor);
    budget_ -= elements;
    if (known->transposed) {
      Array turned = *read;
      std::swap(turned.shape[0], turned.shape[1]);
      const std::size_t rows = static_cast<std::size_t>(read->shape[0]),
                        columns = static_cast<std::size_t>(read->shape[1]);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < columns; ++column)
          turned.values[column * rows + row] = read->values[row * columns + column];
      }
      read = std::move(turned);
    }
    known->array = std::make_shared<const Array>(std::move(*read));
  }
  return known->array;
}

/// The number of a constant whose elements are all the same.
std::optional<double> Importer::scalar(std::optional<Id> id) {
  const std::shared_ptr<const Array> numbers = array(id);
  if (!numbers || numbers->values.empty()) return std::nullopt;
  for (const double number : numbers->values) {
    if (number != numbers->values[0]) return std::nullopt;
  }
  return numbers->values[0];
}

std::optional<Shape64> Importer::shape(Id id) const {
  const Value& of = values_[id].value;
  if (const Outside* outside = std::get_if<Outside>(&of)) return outside->shape;
  if (const Vectors* vectors = std::get_if<Vectors>(&of)) return shape_of(vectors->layout);
  if (const Rotated* rotated = std::get_if<Rotated>(&of)) return shape_of(rotated->base.layout);
  if (const RotaryTerm* term = std::get_if<RotaryTerm>(&of)) return shape_of(term->base.layout);
  if (const Scores* scores = std::get_if<Scores>(&of)) return shape_of(scores->layout);
  if (const Sampled* sampled = std::get_if<Sampled>(&of)) {
    Shape64 sizes = shape_of(sampled->base.layout);
    if (sampled->is_reduced) sizes.back() = 1;
    return sizes;
  }
  const Known& known = std::get<Known>(of);
  if (known.array) return known.array->shape;
  Shape64 sizes(known.tensor->shape.begin(), known.tensor->shape.end());
  if (known.transposed) std::swap(sizes[0], sizes[1]);
  return array_elements(sizes, kLargestShape) ? std::optional(sizes) : std::nullopt;
}

Tensor Importer::owned(std::string name, const std::vector<float>& values, std::vector<std::uint64_t> sizes) const {
  const std::shared_ptr<std::vector<std::byte>> bytes =
      std::make_shared<std::vector<std::byte>>(values.size() * sizeof(float));
  std::memcpy(bytes->data(), values.data(), bytes->size());
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.shape = std::move(sizes);
  tensor.memory = bytes;
  tensor.bytes = *bytes;
  return tensor;
}

/// A constant as a vector of `size` elements: in place if the file has it so, otherwise (one number for all, computed,
/// scaled) in memory.
std::optional<Vector> Importer::vector(std::optional<Id> id, std::int64_t size, double factor) {
  const Known* known = get<Known>(id);
  if (known == nullptr || size < 1 || size > kLargestVector) return std::nullopt;
  const std::string name(values_[*id].name);
  const std::optional<Shape64> sizes = shape(*id);
  if (!sizes) return std::nullopt;
  for (std::size_t d = 0; d + 1 < sizes->size(); ++d) {
    if ((*sizes)[d] != 1) return std::nullopt;
  }
  const std::int64_t length = sizes->empty() ? 1 : sizes->back();
  if (length != size && length != 1) return std::nullopt;
  Vector made;
  made.name = is_spoken(name) ? name : node_name(current_) + ".constant";
  made.count = static_cast<std::uint32_t>(size);
  if (known->tensor != nullptr && length == size && factor == 1 && is_real(known->tensor->type)) {
    made.tensor = *known->tensor;
    used_.insert(known->tensor);
    return made;
  }
  const std::shared_ptr<const Array> numbers = array(id);
  if (!numbers) return std::nullopt;
  std::vector<float> elements(static_cast<std::size_t>(size));
  for (std::size_t n = 0; n < elements.size(); ++n)
    elements[n] = static_cast<float>(numbers->values[length == 1 ? 0 : n] * factor);
  if (known->tensor != nullptr) used_.insert(known->tensor);
  made.tensor = owned(made.name, elements, {static_cast<std::uint64_t>(size)});
  return made;
}

bool Importer::is_spoken(std::string_view tensor_name) {
  return !tensor_name.empty() && !tensor_name.starts_with("onnx::") && !tensor_name.starts_with("/") &&
         !tensor_name.starts_with("val_") && tensor_name.find_first_not_of("0123456789") != std::string_view::npos;
}

std::string Importer::node_name(std::uint32_t number) const {
  const OnnxNode& node = file_.nodes[number];
  if (!node.name.empty()) return printable(node.name);
  return fmt::format("{}_{}", printable(node.operation), number);
}

/// After its weights if they have a name that people gave, otherwise after its node.
std::string Importer::operator_name(const Tensor& weight) const {
  std::string_view name = weight.name;
  if (!is_spoken(name)) {
    const std::string full = node_name(current_);
    const std::size_t slash = full.rfind('/');
    return slash != std::string::npos && slash > 0 ? full.substr(0, slash) : full;
  }
  constexpr std::string_view kSuffix = ".weight";
  if (name.size() > kSuffix.size() && name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return std::string(name);
}

// Inputs of the file

/// The number that stands for an open size. Exporters join names with '+': "past_sequence_length + sequence_length".
std::optional<std::int64_t> Importer::open_size(std::string_view symbol, bool may_name) {
  std::int64_t sum = 0;
  while (true) {
    const std::size_t plus = symbol.find('+');
    std::string_view part = symbol.substr(0, plus);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (part.find_first_not_of("0123456789") == std::string_view::npos && part.size() <= 6) {
      for (std::int64_t place = 1; !part.empty(); part.remove_suffix(1), place *= 10)
        sum += (part.back() - '0') * place;
    } else if (part.find("batch") != std::string_view::npos) {
      sum += kBatch;
    } else if (part.find("total") != std::string_view::npos) {
      sum += kOpenSizes[0];
    } else if (part.find("past") == std::string_view::npos) {  // nothing is past: the first token is the first
      const std::map<std::string, std::int64_t, std::less<>>::const_iterator found = open_sizes_.find(part);
      if (found == open_sizes_.end() && (!may_name || open_sizes_.size() == kOpenSizes.size())) return std::nullopt;
      sum += found != open_sizes_.end() ? found->second
                                        : open_sizes_.emplace(part, kOpenSizes[open_sizes_.size()]).first->second;
    }
    if (plus == std::string_view::npos) return sum;
    symbol.remove_prefix(plus + 1);
  }
}

std::optional<Shape64> Importer::bound_shape(const OnnxValue& type, bool is_input) {
  if (!type.dimensions) return std::nullopt;
  Shape64 sizes;
  for (std::size_t d = 0; d < type.dimensions->size(); ++d) {
    const OnnxValue::Dimension& dimension = (*type.dimensions)[d];
    if (dimension.size) {
      sizes.push_back(*dimension.size);
    } else if (!dimension.symbol.empty()) {
      const std::optional<std::int64_t> size = open_size(dimension.symbol, is_input);
      if (!size) return std::nullopt;
      sizes.push_back(*size);
    } else if (is_input) {
      sizes.push_back(d == 0 && type.dimensions->size() > 1 ? kBatch : kOpenSizes[0]);
    } else {
      return std::nullopt;
    }
  }
  return array_elements(sizes, kLargestShape) ? std::optional(sizes) : std::nullopt;
}

Result<void> Importer::take_inputs() {
  for (const OnnxValue& input : file_.inputs) {
    if (ids_.contains(input.name)) continue;  // an initialiser with a default
    const std::optional<Shape64> sizes = bound_shape(input, true);
    const std::optional<std::int64_t> elements = sizes ? array_elements(*sizes) : std::nullopt;
    std::string low(input.name);
    std::transform(low.begin(), low.end(), low.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const bool is_mask = low.find("mask") != std::string::npos;
    const bool is_position = !input.is_real() && low.find("position") != std::string::npos;
    if (elements && *elements > 0 && *elements <= budget_ && (is_mask || is_position)) {
      // All tokens are there, and they stand in order.
      Array numbers{.shape = *sizes,
                    .values = std::vector<double>(static_cast<std::size_t>(*elements), 1),
                    .whole = !input.is_real()};
      if (is_mask && input.is_real()) std::fill(numbers.values.begin(), numbers.values.end(), 0);
      const std::int64_t length = sizes->empty() ? 1 : sizes->back();
      for (std::int64_t n = 0; is_position && n < *elements; ++n)
        numbers.values[static_cast<std::size_t>(n)] = static_cast<double>(n % length);
      budget_ -= *elements;
      DANAUS_CHECK(define(input.name, Known{.array = std::make_shared<const Array>(std::move(numbers))}, 0));
      continue;
    }
    const bool is_rows = input.is_real() && sizes && sizes->size() >= 2 && sizes->back() > 0;
    if (sizes && !token_shape_ && sizes->size() >= 2)
      token_shape_ = Shape64(sizes->begin(), input.is_real() ? sizes->end() - 1 : sizes->end());
    DANAUS_CHECK(define(
        input.name,
        Outside{.shape = sizes, .kind = is_rows ? Outside::Kind::rows : Outside::Kind::other, .is_pooled = false}, 0));
  }
  if (!token_shape_) token_shape_ = Shape64{kBatch, kOpenSizes[0]};
  return {};
}

// Between the file's graph and ours

/// The node of a value's vector, whatever the layout; nothing if no node holds just that.
std::optional<NodeId> Importer::node_of(const Vectors& vectors, std::string_view part) {
  const std::optional<std::int64_t> length = vector_length(vectors.layout);
  if (!length || *length > kLargestVector) return std::nullopt;
  return writer_.node_of(vectors.stream, static_cast<std::uint32_t>(vectors.offset),
                         static_cast<std::uint32_t>(*length), part);
}

/// The same when the vector is the last axis.
std::optional<NodeId> Importer::row_node(const Vectors& vectors, std::string_view part) {
  return row_length(vectors.layout) && vectors.scale == 1 ? node_of(vectors, part) : std::nullopt;
}

std::optional<NormForm> Importer::norm_form(const Sampled& sampled) const {
  if (sampled.is_reduced || !row_length(sampled.base.layout)) return std::nullopt;
  return norm_of(sampled.samples);
}

/// What a function of a vector is, as a node of our graph.
std::optional<Vectors> Importer::resolve(const Sampled& sampled, const std::string& name) {
  if (sampled.is_reduced) return std::nullopt;
  Vectors made = sampled.base;
  if (const std::optional<double> factor = factor_of(sampled.samples)) {
    made.scale = *factor;
    return made.scale == 1 ? std::optional(made) : std::nullopt;
  }
  const std::optional<NodeKind> activation = activation_of(sampled.samples);
  const std::optional<NormForm> form = norm_form(sampled);
  if (!activation && !form) return std::nullopt;
  const std::optional<NodeId> source = node_of(sampled.base);
  if (!source) return std::nullopt;
  if (activation) {
    made.stream = writer_.activation(name, *activation, *source);
  } else {
    const std::uint32_t size = writer_.at(*source).size;
    Vector ones;
    ones.name = name + ".ones";
    ones.count = size;
    ones.tensor = owned(ones.name, std::vector<float>(size, 1.0f), {size});
    made.stream = writer_.norm(name, *source, form->kind, form->epsilon, ones);
  }
  made.offset = 0;
  return made;
}

/// The value as one vector per token of our graph. A value from outside becomes an input; what is half understood goes
/// outside first. `size`: what the last axis must have. The value is that node from then on.
std::optional<Vectors> Importer::as_vectors(Id id, std::optional<std::int64_t> size) {
  if (const Vectors* vectors = get<Vectors>(id); vectors != nullptr && vectors->scale == 1) {
    if (size && (vectors->layout.empty() || size_of(vectors->layout.back()) != *size)) return std::nullopt;
    return *vectors;
  }
  if (const Sampled* sampled = get<Sampled>(id)) {
    if (std::optional<Vectors> found = resolve(*sampled, node_name(values_[id].producer.value_or(current_)))) {
      value(id) = *found;
      return as_vectors(id, size);
    }
  }
  std::optional<Shape64> sizes = shape(id);
  if (const Outside* outside = get<Outside>(id)) {
    if (outside->is_pooled) {
      refuse("one vector per sequence, not per token");
      return std::nullopt;
    }
    if (!sizes && size) {
      sizes = token_shape_;
      sizes->push_back(*size);
    }
  }
  if (!sizes || sizes->empty() || sizes->back() < 1 || sizes->back() > kLargestVector ||
      (size && sizes->back() != *size) || array_elements(*sizes, kLargestShape).value_or(0) == 0) {
    refuse("the size of its operand is not known or does not fit");
    return std::nullopt;
  }
  if (get<Vectors>(id) != nullptr) {
    demand(id, "a scale that is not part of an attention");
  } else if (get<Sampled>(id) != nullptr) {
    demand(id, "arithmetic that is neither an activation nor a norm");
  } else if (get<Outside>(id) == nullptr && get<Known>(id) == nullptr) {
    demand(id, "half of an attention or of a rotary embedding");
  }
  Vectors made;
  made.stream = writer_.input(printable(values_[id].name), static_cast<std::uint32_t>(sizes->back()));
  made.layout = rows_layout(*sizes);
  value(id) = made;
  return made;
}

void Importer::leave(std::uint32_t number, std::string reason) { left_.emplace(number, std::move(reason)); }

/// A matrix is not mapped; the first reason stands, but for an embedding that is the head too.
void Importer::leave_outside(const Tensor& matrix, std::string reason, bool is_turned) {
  const bool is_tied = reason == kTiedHead;
  if (!outside_.insert(&matrix).second && !is_tied) return;
  const std::uint64_t cols = matrix.shape.back(), rows = cols == 0 ? 0 : matrix.elements() / cols;
  digital_.push_back({.name = is_tied ? node_name(current_) : operator_name(matrix),
                      .reason = std::move(reason),
                      .rows = is_turned ? cols : rows,
                      .cols = is_turned ? rows : cols});
}

/// A value is used outside: what our graph knows of it becomes an output, what is half understood goes outside with the
/// nodes that made it.
void Importer::demand(Id first, const std::string& reason) {
  std::vector<Id> work = {first};
  std::set<Id> seen;
  while (!work.empty()) {
    const Id id = work.back();
    work.pop_back();
    if (!seen.insert(id).second) continue;
    if (const Sampled* sampled = get<Sampled>(id)) {
      if (std::optional<Vectors> found = resolve(*sampled, node_name(values_[id].producer.value_or(current_))))
        value(id) = *found;
    }
    if (get<Known>(id) != nullptr || get<Outside>(id) != nullptr) continue;
    if (const Vectors* vectors = get<Vectors>(id); vectors != nullptr && vectors->scale == 1) {
      std::optional<NodeId> node = node_of(*vectors);
      if (!node) node = writer_.node_of(vectors->stream, 0, writer_.size_of(vectors->stream), {});
      writer_.output(*node);
      continue;
    }
    const std::optional<std::uint32_t> producer = values_[id].producer;
    if (!producer) continue;
    if (!is_plumbing(file_.nodes[*producer].operation)) leave(*producer, reason);
    for (std::size_t n = 0; n < file_.nodes[*producer].inputs.size(); ++n) {
      if (const std::optional<Id> source = operand(file_.nodes[*producer], n)) work.push_back(*source);
    }
  }
}

/// Numbers do not matter, only the shape: constants as they are, others zero.
std::optional<Array> Importer::shape_only(Id id) {
  if (const std::shared_ptr<const Array> known = array(id)) return *known;
  const std::optional<Shape64> sizes = shape(id);
  const std::optional<std::int64_t> elements = sizes ? array_elements(*sizes) : std::nullopt;
  if (!elements || *elements > budget_) return std::nullopt;
  budget_ -= *elements;
  return Array{.shape = *sizes, .values = std::vector<double>(static_cast<std::size_t>(*elements)), .whole = false};
}

/// The shapes of the results of a node that stays outside.
std::vector<std::optional<Shape64>> Importer::infer(const OnnxNode& node) {
  std::vector<std::optional<Shape64>> shapes(node.outputs.size());
  for (std::size_t n = 0; n < node.outputs.size(); ++n) {
    const std::unordered_map<std::string_view, const OnnxValue*>::const_iterator type = types_.find(node.outputs[n]);
    if (type != types_.end()) shapes[n] = bound_shape(*type->second, false);
  }
  if (shapes.empty() || shapes[0] || !node.domain.empty()) return shapes;
  const auto shape_at = [&](std::size_t number) -> std::optional<Shape64> {
    const std::optional<Id> id = operand(node, number);
    return id ? shape(*id) : std::nullopt;
  };
  const std::optional<Shape64> a = shape_at(0), b = shape_at(1);
  const std::string_view op = node.operation;
  constexpr std::string_view kSameShape[] = {
      "Softmax",   "LogSoftmax",  "LayerNormalization", "Gelu", "Elu",  "LeakyRelu",
      "HardSwish", "Mish",        "Softplus",           "Clip", "Cast", "Softsign",
      "Selu",      "HardSigmoid", "RMSNormalization",   "Swish"};
  if (a &&
      (unary_function(op) || std::find(std::begin(kSameShape), std::end(kSameShape), op) != std::end(kSameShape))) {
    shapes[0] = a;
  } else if (op == "MatMul") {
    if (a && b && a->size() >= 2 && b->size() >= 2 && a->back() == (*b)[b->size() - 2]) {
      shapes[0] = broadcast(std::span(*a).first(a->size() - 2), std::span(*b).first(b->size() - 2));
      if (shapes[0]) {
        shapes[0]->push_back((*a)[a->size() - 2]);
        shapes[0]->push_back(b->back());
      }
    }
  } else if (op == "Gather") {
    const OnnxAttribute* axis = node.find("axis");
    const std::int64_t rank = a ? static_cast<std::int64_t>(a->size()) : 0;
    std::int64_t along = axis != nullptr && axis->integer ? *axis->integer : 0;
    if (along < 0) along += rank;
    if (a && b && along >= 0 && along < rank) {
      shapes[0] = Shape64(a->begin(), a->begin() + along);
      shapes[0]->insert(shapes[0]->end(), b->begin(), b->end());
      shapes[0]->insert(shapes[0]->end(), a->begin() + along + 1, a->end());
    }
  } else if (a && b && node.inputs.size() == 2 && binary_function(op, false)) {
    shapes[0] = broadcast(*a, *b);
  } else {
    std::vector<std::optional<Array>> operands;
    std::vector<const Array*> pointers;
    operands.reserve(node.inputs.size());
    for (std::size_t n = 0; n < node.inputs.size(); ++n) {
      const std::optional<Id> id = operand(node, n);
      operands.push_back(id ? shape_only(*id) : std::nullopt);
      if (id && !operands.back()) return shapes;
      pointers.push_back(operands.back() ? &*operands.back() : nullptr);
    }
    if (const std::optional<std::vector<Array>> made = fold(node, pointers, budget_)) {
      for (std::size_t n = 0; n < std::min(made->size(), shapes.size()); ++n) shapes[n] = (*made)[n].shape;
    }
  }
  for (std::optional<Shape64>& made : shapes) {
    if (made && !array_elements(*made, kLargestShape)) made.reset();
  }
  return shapes;
}

// The walk

bool Importer::understand(const OnnxNode& node) {
  const std::string_view op = node.operation;
  if (node.outputs.empty() || !node.captured.empty()) return refuse("a node with a body");
  const bool is_microsoft = node.domain == "com.microsoft";
  if (!node.domain.empty() && !is_microsoft) return refuse(fmt::format("an operation of {}", printable(node.domain)));
  if (op == "SimplifiedLayerNormalization" || op == "RMSNormalization" || op == "LayerNormalization") return norm(node);
  if (op == "Gelu" || (op == "Swish" && node.find("alpha") == nullptr)) return activate(node);
  if (is_microsoft) {
    if (op == "SkipLayerNormalization" || op == "SkipSimplifiedLayerNormalization") return skip_norm(node);
    if (op == "FastGelu" || op == "BiasGelu") return activate(node);
    return refuse(fmt::format("an operation of {}", printable(node.domain)));
  }
  const std::optional<Id> first = operand(node, 0);
  if (const Known* known = get<Known>(first); known != nullptr && known->tensor != nullptr) {
    // Weights stay where they are; one real type holds all that another one does, or is all that is left of it.
    const OnnxAttribute* to = node.find("to");
    const std::int64_t type = to != nullptr && to->integer ? *to->integer : 0;
    if (op == "Identity" || op == "Dropout" ||
        (op == "Cast" && is_real(known->tensor->type) && (type == 1 || type == 11)))
      return alias(*first);
  }
  if (fold_node(node)) return true;
  results_.clear();
  if (op == "Identity" || op == "Dropout" || op == "Cast" || op == "CastLike") {
    const OnnxAttribute* to = node.find("to");
    const std::int64_t type = to != nullptr && to->integer ? *to->integer : 1;
    const bool is_real_type = type == 1 || type == 10 || type == 11 || type == 16;
    if (!first || (op == "Cast" && !is_real_type)) return false;
    if (const Outside* outside = get<Outside>(first);
        op == "Cast" && outside != nullptr && outside->kind == Outside::Kind::other)
      return false;
    return alias(*first);
  }
  if (op == "MatMul") return matrix_product(node);
  if (op == "Gemm") return gemm(node);
  if (op == "Reshape" || op == "Transpose" || op == "Squeeze" || op == "Unsqueeze" || op == "Flatten" ||
      op == "Slice" || op == "Expand")
    return rearrange(node);
  if (op == "Concat") return concat(node);
  if (op == "Split") return split(node);
  if (op == "Gather") return gather(node);
  if (op == "Softmax") return softmax(node);
  if (op == "Where") return where(node);
  if (op == "ReduceMean") return mean(node);
  if (unary_function(op)) return unary(node);
  if (binary_function(op, false)) return combine(node);
  if (op.find("Quantize") != std::string_view::npos || op.find("Integer") != std::string_view::npos ||
      op.starts_with("QLinear"))
    return refuse("quantised to integers: export the model in floating point");
  return refuse("not an operation of the operator graph");
}

Result<void> Importer::visit(std::uint32_t number) {
  const OnnxNode& node = file_.nodes[number];
  current_ = number;
  for (const std::string_view name : node.inputs) {
    if (name.empty() || ids_.contains(name)) continue;
    return fail(Error("onnx.undefined-value", Failure::bad_input,
                      fmt::format("the node '{}' ({}) uses the value '{}', which nothing before it makes",
                                  node_name(number), printable(node.operation), printable(name)))
                    .at_offset(node.offset)
                    .in_file(file_.name));
  }
  reason_.clear();
  results_.clear();
  alias_.reset();
  const bool is_understood = understand(node);
  if (is_understood && alias_) {
    // Another name for the same value, which so keeps one identity; counts of uses are those of both names.
    Entry& entry = values_[*alias_];
    entry.uses += use_counts_[node.outputs[0]];
    entry.uses -= entry.uses > 0 ? 1 : 0;
    entry.is_output = entry.is_output || output_names_.contains(node.outputs[0]);
    if (!node.outputs[0].empty() && !ids_.emplace(node.outputs[0], *alias_).second)
      return define(node.outputs[0], Outside{}, node.offset);  // the error of a value that is made twice
    results_.clear();
    for (std::size_t n = 1; n < node.outputs.size(); ++n) DANAUS_CHECK(define(node.outputs[n], Outside{}, node.offset));
    return {};
  }
  if (!is_understood) {
    const std::vector<std::optional<Shape64>> shapes = infer(node);
    Outside made;
    bool touches_ours = false, is_looked_up = false;
    std::int64_t tokens = 0;
    std::vector<Id> sources;
    for (std::size_t n = 0; n < node.inputs.size(); ++n) {
      if (const std::optional<Id> id = operand(node, n)) sources.push_back(*id);
    }
    for (const std::string_view name : node.captured) {
      if (const auto found = ids_.find(name); found != ids_.end()) sources.push_back(found->second);
    }
    for (const Id id : sources) {
      if (get<Known>(id) != nullptr) {
        const Known& known = *get<Known>(id);
        is_looked_up =
            is_looked_up || (node.operation == "Gather" && known.tensor != nullptr && outside_.contains(known.tensor));
        continue;
      }
      const Outside* outside = get<Outside>(id);
      made.is_pooled = made.is_pooled || (outside != nullptr && outside->is_pooled);
      if (outside != nullptr && outside->kind == Outside::Kind::looked_up) is_looked_up = true;
      if (outside == nullptr || outside->kind == Outside::Kind::rows) {
        touches_ours = touches_ours || outside == nullptr;
        made.kind = Outside::Kind::rows;
        if (const std::optional<Shape64> sizes = shape(id); sizes && !sizes->empty() && sizes->back() > 0)
          tokens = std::max(tokens, array_elements(*sizes, kLargestShape).value_or(0) / sizes->back());
      }
    }
    if (made.kind == Outside::Kind::other && is_looked_up) made.kind = Outside::Kind::looked_up;
    if (touches_ours || !is_plumbing(node.operation)) {
      const bool is_all_outside = !touches_ours && reason_.empty();
      leave(number, is_all_outside    ? std::string("works on values from outside")
                    : reason_.empty() ? std::string("not understood here")
                                      : reason_);
    }
    const bool may_pool = node.operation.starts_with("Gather") || node.operation.starts_with("Reduce") ||
                          node.operation == "Slice" || node.operation == "Split";
    for (const Id id : sources) demand(id, fmt::format("part of what '{}' needs", node_name(number)));
    results_.clear();
    for (std::size_t n = 0; n < node.outputs.size(); ++n) {
      Outside each = made;
      each.shape = shapes[n];
      if (each.kind == Outside::Kind::rows && each.shape && may_pool) {
        const std::int64_t last = each.shape->empty() ? 1 : std::max<std::int64_t>(each.shape->back(), 1);
        if (array_elements(*each.shape, kLargestShape).value_or(0) / last < tokens) each.is_pooled = true;
      }
      results_.push_back(std::move(each));
    }
  }
  results_.resize(node.outputs.size(), Outside{});
  // An activation is complete as soon as it is one; a norm may still get its gain.
  if (const Sampled* sampled = std::get_if<Sampled>(&results_[0]);
      sampled != nullptr && !sampled->is_reduced && activation_of(sampled->samples)) {
    if (std::optional<Vectors> found = resolve(*sampled, node_name(number))) results_[0] = *found;
  }
  for (std::size_t n = 0; n < node.outputs.size(); ++n) {
    const std::size_t before = values_.size();
    DANAUS_CHECK(define(node.outputs[n], std::move(results_[n]), node.offset));
    if (values_.size() == before) continue;
    values_.back().producer = number;
    values_.back().uses = use_counts_[node.outputs[n]];
  }
  return {};
}

Result<Model> Importer::run() {
  for (const OnnxValue& output : file_.outputs) output_names_.insert(output.name);
  for (const OnnxValue& type : file_.values) types_.emplace(type.name, &type);
  for (const OnnxValue& type : file_.outputs) types_.emplace(type.name, &type);
  for (std::uint32_t number = 0; number < file_.nodes.size(); ++number) {
    for (const std::string_view name : file_.nodes[number].inputs) {
      ++use_counts_[name];
      users_[name].push_back(number);
    }
    for (const std::string_view name : file_.nodes[number].captured) ++use_counts_[name];
  }
  for (const Tensor& tensor : file_.tensors)
    DANAUS_CHECK(define(tensor.name, Known{.tensor = &tensor, .transposed = false, .array = nullptr}, 0));
  DANAUS_CHECK(take_inputs());
  for (std::uint32_t number = 0; number < file_.nodes.size(); ++number) DANAUS_CHECK(visit(number));
  for (const OnnxValue& output : file_.outputs) {
    const std::unordered_map<std::string_view, Id>::const_iterator found = ids_.find(output.name);
    if (found == ids_.end())
      return fail(Error("onnx.undefined-value", Failure::bad_input,
                        fmt::format("nothing makes the output '{}'", printable(output.name)))
                      .in_file(file_.name));
    const Vectors* vectors = get<Vectors>(found->second);
    if (vectors != nullptr && vectors->is_cached) continue;  // the cache of the next step is kept by attend
    demand(found->second, "its result leaves the graph");
  }

  Model model;
  model.name = printable(std::filesystem::path(file_.name).stem().string());
  model.family = Family::graph;
  for (const Tensor& tensor : file_.tensors) {
    if (!tensor.shape.empty()) model.tensors.push_back(tensor);
  }
  for (const OnnxNode& node : file_.nodes) {
    if (node.operation != "Constant" || node.outputs.empty()) continue;
    for (const OnnxAttribute& attribute : node.attributes) {
      if (!attribute.tensor || attribute.tensor->shape.empty()) continue;
      model.tensors.push_back(*attribute.tensor);
      model.tensors.back().name = node.outputs[0];
    }
  }
  DANAUS_CHECK(std::move(writer_).finish(model));
  if (model.linear.empty())
    return fail(
        Error("onnx.no-operators", Failure::unsupported,
              "the graph has no linear operator that danaus could map: no MatMul or Gemm of one vector per token "
              "with stored weights of real numbers")
            .in_file(file_.name)
            .with_hint("export the model in floating point and without If around it ('merged' decoders)"));
  for (const std::pair<const std::uint32_t, std::string>& node : left_) {
    const OnnxNode& of = file_.nodes[node.first];
    model.digital_nodes.push_back(
        {.name = node_name(node.first),
         .operation = of.domain.empty() ? printable(of.operation)
                                        : fmt::format("{}.{}", printable(of.domain), printable(of.operation)),
         .reason = node.second});
  }
  for (const Tensor& tensor : file_.tensors) {
    if (tensor.shape.size() < 2 || !is_real(tensor.type)) continue;
    if (used_.contains(&tensor) || outside_.contains(&tensor)) continue;
    std::string reason = "not used";
    const std::unordered_map<std::string_view, std::vector<std::uint32_t>>::const_iterator users =
        users_.find(tensor.name);
    if (users != users_.end()) {
      current_ = users->second.front();
      const std::map<std::uint32_t, std::string>::const_iterator left = left_.find(current_);
      reason = fmt::format("of '{}'{}", node_name(current_), left != left_.end() ? ": " + left->second : "");
    }
    leave_outside(tensor, reason, false);
  }
  model.digital = std::move(digital_);
  model.dimensions.vocab = static_cast<std::uint32_t>(vocabulary_);
  model.dimensions.context = static_cast<std::uint32_t>(context_);

  std::string text = "onnx\n";
  for (const Node& node : model.graph.nodes) {
    text += fmt::format("{} {} {} {}", node.name, name_of(node.kind), node.size, node.constant);
    for (const NodeId source : node.sources) text += fmt::format(" {}", index(source));
    const Config& config = model.graph.configs[index(node.configs[0])];
    text += fmt::format(" {} {} {} {} {} {}\n", config.epsilon, config.theta, config.size, node.query_heads,
                        node.kv_heads, name_of(node.span));
  }
  model.digest = digest_of(text + describe(model.tensors));
  return model;
}

}  // namespace danaus::model::onnx

namespace danaus::model {

Result<Model> model_from_onnx(const OnnxFile& file) { return onnx::Importer(file).run(); }

}  // namespace danaus::model
