#include "danaus/model/onnx/importer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "danaus/model/text.h"

// Norms, activations and element-wise arithmetic.

namespace danaus::model::onnx {
namespace {

bool is_function(const Value& value) {
  return std::holds_alternative<Vectors>(value) || std::holds_alternative<Sampled>(value);
}

}  // namespace

bool same_base(const Vectors& a, const Vectors& b) {
  return a.stream == b.stream && a.offset == b.offset && a.layout == b.layout;
}

bool Importer::norm(const OnnxNode& node) {
  const bool is_layer = node.operation == "LayerNormalization";
  const std::optional<Id> id = operand(node, 0);
  if (!id) return false;
  const OnnxAttribute *axis = node.find("axis"), *epsilon = node.find("epsilon");
  const std::optional<Shape64> gain_shape = operand(node, 1) ? shape(*operand(node, 1)) : std::nullopt;
  if (!gain_shape || gain_shape->size() != 1) return refuse("its gain is not a constant vector");
  const std::int64_t size = gain_shape->front();
  const std::optional<Vector> gain = vector(operand(node, 1), size);
  if (!gain) return refuse("its gain is not a constant vector");
  std::optional<Vector> addend;
  if (operand(node, 2)) {
    addend = vector(operand(node, 2), size);
    if (!addend) return refuse("its bias is not a constant vector");
  }
  const std::optional<Vectors> source = as_vectors(*id, size);
  if (!source) return false;
  const std::int64_t rank = static_cast<std::int64_t>(source->layout.size());
  const std::int64_t along = axis != nullptr && axis->integer ? *axis->integer : -1;
  const std::optional<NodeId> from = row_node(*source);
  if ((along != -1 && along != rank - 1) || !from || writer_.at(*from).size != size)
    return refuse("a norm over something else than the vector of a token");
  Vectors made = *source;
  made.stream = writer_.norm(operator_name(gain->tensor), *from, is_layer ? Config::Norm::layer : Config::Norm::rms,
                             epsilon != nullptr && epsilon->real ? double{*epsilon->real} : double{1e-5f}, *gain);
  made.offset = 0;
  if (addend) made.stream = writer_.bias(*writer_.node_of(made.stream, 0, gain->count, {}), *addend);
  return result(node, made);
}

/// Norm of a sum, as ONNX Runtime fuses them: result 0 is the norm, result 3 the sum.
bool Importer::skip_norm(const OnnxNode& node) {
  const bool is_layer = node.operation == "SkipLayerNormalization";
  const std::optional<Id> a = operand(node, 0), b = operand(node, 1), addend = operand(node, is_layer ? 4 : 3);
  const OnnxAttribute* epsilon = node.find("epsilon");
  if (!a || !b) return false;
  const std::optional<Shape64> gain_shape = operand(node, 2) ? shape(*operand(node, 2)) : std::nullopt;
  const std::int64_t size = gain_shape && gain_shape->size() == 1 ? gain_shape->front() : 0;
  const std::optional<Vector> gain = vector(operand(node, 2), size);
  if (!gain || addend) return refuse("its gain is not a constant vector, or it adds a bias first");
  std::optional<Vector> offset;
  if (is_layer && operand(node, 3)) {
    offset = vector(operand(node, 3), size);
    if (!offset) return refuse("its bias is not a constant vector");
  }
  const std::optional<Vectors> left = as_vectors(*a, size), right = as_vectors(*b, size);
  if (!left || !right || left->layout != right->layout) return false;
  const std::optional<NodeId> left_node = row_node(*left), right_node = row_node(*right);
  if (!left_node || !right_node || writer_.at(*left_node).size != size) return false;
  Vectors sum = *left;
  sum.offset = 0;
  sum.stream = writer_.combine(node_name(current_) + ".add", NodeKind::add, *left_node, *right_node);
  Vectors made = sum;
  made.stream = writer_.norm(operator_name(gain->tensor), *writer_.node_of(sum.stream, 0, gain->count, {}),
                             is_layer ? Config::Norm::layer : Config::Norm::rms,
                             epsilon != nullptr && epsilon->real ? double{*epsilon->real} : double{1e-12f}, *gain);
  if (offset) made.stream = writer_.bias(*writer_.node_of(made.stream, 0, gain->count, {}), *offset);
  results_.push_back(made);
  results_.push_back(Outside{});
  results_.push_back(Outside{});
  results_.push_back(sum);
  results_.resize(std::min<std::size_t>(results_.size(), node.outputs.size()));
  return true;
}

/// An activation that is one node of the file.
bool Importer::activate(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  if (!id) return false;
  const bool is_biased = node.operation == "BiasGelu" || (node.operation == "FastGelu" && operand(node, 1));
  std::optional<Vectors> source = as_vectors(*id);
  std::optional<NodeId> from = source ? node_of(*source) : std::nullopt;
  if (!from || source->scale != 1) return false;
  if (is_biased) {
    const std::optional<Vector> addend = vector(operand(node, 1), writer_.at(*from).size);
    if (!addend || !row_length(source->layout)) return refuse("what it adds is not a constant vector");
    from = writer_.node_of(writer_.bias(*from, *addend), 0, addend->count, {});
  }
  Vectors made = *source;
  made.offset = 0;
  const OnnxAttribute* form = node.find("approximate");
  const bool is_tanh = node.operation == "FastGelu" || (form != nullptr && form->text == "tanh");
  const NodeKind gelu = is_tanh ? NodeKind::gelu_tanh : NodeKind::gelu;
  made.stream = writer_.activation(node_name(current_), node.operation == "Swish" ? NodeKind::silu : gelu, *from);
  return result(node, made);
}

bool Importer::unary(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const std::function<double(double)> f = unary_function(node.operation);
  if (!id || !f) return false;
  if (const Scores* scores = get<Scores>(id); scores != nullptr && node.operation == "IsNaN") {
    // Softmax of a row that a mask leaves at least one entry of is a number.
    const Shape64 sizes = shape_of(scores->layout);
    const std::optional<std::int64_t> elements = array_elements(sizes);
    if (!scores->is_softmaxed || !elements || *elements > budget_) return false;
    budget_ -= *elements;
    return result(
        node,
        Known{.array = std::make_shared<const Array>(Array{
                  .shape = sizes, .values = std::vector<double>(static_cast<std::size_t>(*elements)), .whole = true})});
  }
  const Outside* outside = get<Outside>(id);
  if (outside != nullptr && outside->kind == Outside::Kind::rows && !as_vectors(*id)) return false;
  if (!is_function(value(*id))) return false;
  if (const Vectors* vectors = get<Vectors>(id); vectors != nullptr && node.operation == "Neg") {
    Vectors made = *vectors;
    made.scale = -made.scale;
    return result(node, made);
  }
  Sampled made = samples_of(*id);
  for (double& sample : made.samples) sample = f(sample);
  return result(node, made);
}

/// A function of vectors by its samples, those of the vectors themselves included.
Sampled Importer::samples_of(Id id) const {
  if (const Sampled* known = get<Sampled>(id)) return *known;
  Sampled made;
  made.base = *get<Vectors>(id);
  for (std::size_t n = 0; n < made.samples.size(); ++n) made.samples[n] = made.base.scale * kSamples[n];
  made.base.scale = 1;
  return made;
}

/// The mean of a vector; what a norm begins with.
bool Importer::mean(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const OnnxAttribute* keep = node.find("keepdims");
  if (!id || (keep != nullptr && keep->integer.value_or(1) == 0)) return false;
  const std::optional<Shape64> sizes = shape(*id);
  if (!sizes) return false;
  const std::shared_ptr<const Array> second = array(operand(node, 1));
  const std::optional<std::vector<std::int64_t>> axes =
      axes_of(node, second.get(), static_cast<std::int64_t>(sizes->size()));
  if (!axes || axes->size() != 1 || axes->front() != static_cast<std::int64_t>(sizes->size()) - 1)
    return refuse("a mean over something else than a vector");
  const Outside* outside = get<Outside>(id);
  if (outside != nullptr && outside->kind != Outside::Kind::other && !as_vectors(*id)) return false;
  if (!is_function(value(*id))) return false;
  Sampled made = samples_of(*id);
  if (made.is_reduced || !row_length(made.base.layout)) return refuse("a mean over something else than a vector");
  made.is_reduced = true;
  for (std::size_t group = 0; group < kSampleGroups; ++group) {
    const double average = group_mean(made.samples, group);
    std::fill_n(made.samples.begin() + static_cast<std::ptrdiff_t>(group * kSampleLength), kSampleLength, average);
  }
  return result(node, made);
}

/// The samples of a value as a function of `base`.
std::optional<Samples> Importer::samples_of(const Value& of, const Vectors& base) {
  if (const Sampled* sampled = std::get_if<Sampled>(&of))
    return same_base(sampled->base, base) ? std::optional(sampled->samples) : std::nullopt;
  const Vectors* vectors = std::get_if<Vectors>(&of);
  if (vectors == nullptr || !same_base(*vectors, base)) return std::nullopt;
  Samples samples = kSamples;
  for (double& sample : samples) sample *= vectors->scale;
  return samples;
}

bool Importer::combine_samples(const OnnxNode& node, Id a, Id b) {
  const auto base_of = [&](Id id) {
    Vectors base = get<Sampled>(id) != nullptr ? get<Sampled>(id)->base : *get<Vectors>(id);
    base.scale = 1;
    return base;
  };
  Sampled made;
  made.base = base_of(a);
  const std::optional<Samples> left = samples_of(value(a), made.base), right = samples_of(value(b), made.base);
  const std::function<double(double, double)> f = binary_function(node.operation, false);
  if (!left || !right || !f) return false;
  const Sampled *sampled_a = get<Sampled>(a), *sampled_b = get<Sampled>(b);
  made.is_reduced = sampled_a != nullptr && sampled_b != nullptr && sampled_a->is_reduced && sampled_b->is_reduced;
  for (std::size_t n = 0; n < left->size(); ++n) made.samples[n] = f((*left)[n], (*right)[n]);
  return result(node, made);
}

/// x + constant vector: behind a linear operator that nothing else uses it is the operator's own bias.
bool Importer::add_bias(const OnnxNode& node, Id id, const Vector& addend) {
  const std::optional<Vectors> source = as_vectors(id, addend.count);
  if (!source || row_length(source->layout) != std::int64_t{addend.count}) return false;
  Vectors made = *source;
  if (writer_.is_pending(source->stream) && !writer_.has_bias(source->stream) && source->offset == 0 &&
      writer_.size_of(source->stream) == addend.count && values_[id].uses == 1 && !values_[id].is_output) {
    made.stream = writer_.with_bias(source->stream, addend);
    return result(node, made);
  }
  const std::optional<NodeId> from = row_node(*source);
  if (!from) return false;
  made.offset = 0;
  made.stream = writer_.bias(*from, addend);
  return result(node, made);
}

/// One operand is a constant.
bool Importer::combine_with_known(const OnnxNode& node, Id other, Id known, bool known_is_second) {
  const std::string_view op = node.operation;
  const std::shared_ptr<const Array> numbers = array(known);
  const std::optional<double> number = scalar(known);
  const std::optional<Shape64> sizes = shape(other), known_sizes = shape(known);
  // The constant must not widen the value.
  if (!known_sizes || (sizes && broadcast(*sizes, *known_sizes) != sizes)) return false;
  if (!sizes && !(known_sizes->empty() || (known_sizes->size() == 1))) return false;

  if (const Scores* scores = get<Scores>(other)) {
    Scores made = *scores;
    if (number && (op == "Mul" || (op == "Div" && known_is_second)) && !made.is_softmaxed) {
      made.scale *= op == "Mul" ? *number : 1 / *number;
      return result(node, made);
    }
    if (numbers && !made.is_softmaxed && (op == "Add" || (op == "Max" && number))) {
      if (op == "Max") return *number <= -1e30 ? result(node, made) : refuse("attention scores that are clipped");
      if (!mask(made, *numbers, false, true)) return refuse("a mask that is neither causal nor empty");
      return result(node, made);
    }
    return refuse("arithmetic on attention scores");
  }

  const Outside* outside = get<Outside>(other);
  if (outside != nullptr) {
    if (outside->kind == Outside::Kind::other || outside->is_pooled) return false;
    if (outside->kind == Outside::Kind::looked_up && op != "Pow") return false;
    if (!as_vectors(other, known_sizes->empty() || known_sizes->back() == 1 ? std::nullopt
                                                                            : std::optional(known_sizes->back())))
      return false;
  }

  // A vector that the file stores is a bias or a gain, whatever its numbers are.
  const std::int64_t length = sizes && !sizes->empty() ? sizes->back() : 0;
  const bool is_vector =
      !known_sizes->empty() && array_elements(*known_sizes, kLargestShape) == length && length == known_sizes->back();
  const bool is_stored = is_vector && length > 1 && get<Known>(known)->tensor != nullptr;
  if (op == "Add" && is_vector && (is_stored || !number)) {
    const std::optional<Vector> addend = vector(known, length);
    return addend && add_bias(node, other, *addend);
  }
  if (const Sampled* sampled = get<Sampled>(other);
      sampled != nullptr && op == "Mul" && is_vector && (is_stored || !number)) {
    if (const std::optional<NormForm> form = norm_form(*sampled)) {
      Vectors made = sampled->base;
      const std::optional<NodeId> from = row_node(made);
      const std::optional<Vector> gain = vector(known, length);
      if (!from || !gain || writer_.at(*from).size != gain->count) return false;
      made.stream = writer_.norm(operator_name(gain->tensor), *from, form->kind, form->epsilon, *gain);
      made.offset = 0;
      return result(node, made);
    }
  }
  if (const Vectors* vectors = get<Vectors>(other); vectors != nullptr && number) {
    if (op == "Mul" || (op == "Div" && known_is_second)) {
      Vectors made = *vectors;
      made.scale *= op == "Mul" ? *number : 1 / *number;
      if (!std::isfinite(made.scale) || made.scale == 0) return refuse("a scale that is no number");
      return result(node, made);
    }
    if ((op == "Add" || (op == "Sub" && known_is_second)) && *number == 0) return alias(other);
  }
  if (is_function(value(other)) && number && binary_function(op, false)) {
    Sampled made;
    made.base = get<Sampled>(other) != nullptr ? get<Sampled>(other)->base : *get<Vectors>(other);
    made.base.scale = 1;
    const Samples samples = *samples_of(value(other), made.base);
    const std::function<double(double, double)> f = binary_function(op, false);
    for (std::size_t n = 0; n < samples.size(); ++n)
      made.samples[n] = known_is_second ? f(samples[n], *number) : f(*number, samples[n]);
    made.is_reduced = get<Sampled>(other) != nullptr && get<Sampled>(other)->is_reduced;
    return result(node, made);
  }
  if (op == "Mul" && numbers && !is_vector) {
    const Vectors* vectors = get<Vectors>(other);
    const Rotated* rotated = get<Rotated>(other);
    if ((vectors != nullptr && vectors->scale == 1) || rotated != nullptr)
      return result(node, RotaryTerm{.base = vectors != nullptr ? *vectors : rotated->base,
                                     .is_rotated = rotated != nullptr,
                                     .table = numbers});
  }
  if (op == "Add" && numbers && get<Vectors>(other) != nullptr) {
    // A table by position: a value from outside.
    Shape64 full = *known_sizes;
    const std::optional<Vectors> left = as_vectors(other, full.back());
    if (!left || !row_length(left->layout)) return false;
    const std::optional<NodeId> from = row_node(*left);
    if (!from || writer_.at(*from).size != full.back()) return false;
    const StreamId table = writer_.input(printable(values_[known].name), writer_.at(*from).size);
    Vectors made = *left;
    made.offset = 0;
    made.stream = writer_.combine(node_name(current_), NodeKind::add, *from,
                                  *writer_.node_of(table, 0, writer_.at(*from).size, {}));
    return result(node, made);
  }
  return refuse(op == "Mul" ? "a product with a constant vector" : "arithmetic with a constant");
}

bool Importer::combine(const OnnxNode& node) {
  const std::optional<Id> a = operand(node, 0), b = operand(node, 1);
  const std::string_view op = node.operation;
  if (!a || !b || node.inputs.size() != 2) return false;
  if (get<Known>(b) != nullptr) return combine_with_known(node, *a, *b, true);
  if (get<Known>(a) != nullptr) return combine_with_known(node, *b, *a, false);
  if (const RotaryTerm *left = get<RotaryTerm>(a), *right = get<RotaryTerm>(b);
      op == "Add" && left != nullptr && right != nullptr)
    return rotary(node, RotaryTerm(*left), RotaryTerm(*right));
  // Arithmetic on values from outside is wanted in our graph only where a value of ours takes part or tokens enter it.
  const auto is_ours = [&](Id id) {
    const Outside* outside = get<Outside>(id);
    return outside == nullptr || (outside->kind == Outside::Kind::rows && !outside->is_pooled);
  };
  const Outside *outside_a = get<Outside>(a), *outside_b = get<Outside>(b);
  if ((outside_a != nullptr && (outside_a->is_pooled || outside_a->kind == Outside::Kind::other)) ||
      (outside_b != nullptr && (outside_b->is_pooled || outside_b->kind == Outside::Kind::other)) ||
      (!is_ours(*a) && !is_ours(*b)))
    return false;
  if (get<Scores>(a) != nullptr || get<Scores>(b) != nullptr) return refuse("arithmetic on attention scores");
  const std::optional<Shape64> sizes_a = shape(*a), sizes_b = shape(*b);
  if (!is_function(value(*a)) && outside_a != nullptr &&
      !as_vectors(*a, sizes_b && !sizes_b->empty() ? std::optional(sizes_b->back()) : std::nullopt))
    return false;
  if (!is_function(value(*b)) && outside_b != nullptr &&
      !as_vectors(*b, sizes_a && !sizes_a->empty() ? std::optional(sizes_a->back()) : std::nullopt))
    return false;
  if (is_function(value(*a)) && is_function(value(*b)) && combine_samples(node, *a, *b)) return true;
  if (op != "Add" && op != "Mul") return refuse("arithmetic on two values");
  const std::optional<Vectors> left = as_vectors(*a), right = as_vectors(*b);
  if (!left || !right) return refuse("arithmetic on two values");
  const std::optional<NodeId> left_node = node_of(*left), right_node = node_of(*right);
  if (left->layout != right->layout || !left_node || !right_node ||
      writer_.at(*left_node).size != writer_.at(*right_node).size)
    return refuse("two values that are laid out differently");
  Vectors made = *left;
  made.offset = 0;
  made.stream =
      writer_.combine(node_name(current_), op == "Add" ? NodeKind::add : NodeKind::mul, *left_node, *right_node);
  return result(node, made);
}

}  // namespace danaus::model::onnx
