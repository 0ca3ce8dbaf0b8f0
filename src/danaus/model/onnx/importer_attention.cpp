#include "danaus/model/onnx/importer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "danaus/model/element.h"
#include "danaus/model/text.h"

// Linear operators, and what becomes attention: products of queries and keys, masks, softmax, products with values,
// rotary embeddings (Su et al., RoFormer, 2021).

namespace danaus::model::onnx {
namespace {

/// Compares the leading axes (batch, heads) of query and key or value. Sets how many heads the second has; each may
/// serve several neighbouring query heads.
bool match_heads(std::span<const Axis> query, std::span<const Axis> key, std::int64_t head_size,
                 std::int64_t& kv_heads) {
  if (query.size() != key.size()) return false;
  std::vector<Factor> query_elements, key_elements;
  std::int64_t own = 1, shared = 1;
  for (std::size_t d = 0; d < query.size(); ++d) {
    Axis query_tokens, key_tokens;
    std::int64_t heads = 1, axis_own = 1, axis_shared = 1;
    for (const Factor& factor : query[d]) {
      if (factor.kind == Factor::Kind::element) {
        heads *= factor.size;
        query_elements.push_back(factor);
      } else {
        query_tokens.push_back(factor);
      }
    }
    for (const Factor& factor : key[d]) {
      if (factor.kind != Factor::Kind::element) {
        key_tokens.push_back(factor);
      } else if (factor.stride == 0) {
        axis_shared *= factor.size;
      } else {
        if (axis_shared != 1) return false;
        axis_own *= factor.size;
        key_elements.push_back(factor);
      }
    }
    if (query_tokens != key_tokens) return false;
    if (axis_own == 1 && axis_shared == 1) axis_shared = heads;  // broadcast
    if (axis_own * axis_shared != heads || (axis_own != 1 && shared != 1)) return false;
    own *= axis_own;
    shared *= axis_shared;
  }
  // Heads lie one after the other.
  for (const std::vector<Factor>* elements : {&query_elements, &key_elements}) {
    std::int64_t stride = head_size;
    for (std::vector<Factor>::const_reverse_iterator factor = elements->rbegin(); factor != elements->rend();
         ++factor) {
      if (factor->stride != stride) return false;
      stride *= factor->size;
    }
  }
  kv_heads = own;
  return true;
}

Axis with_kind(Axis axis, Factor::Kind kind) {
  for (Factor& factor : axis) factor.kind = kind;
  return axis;
}

}  // namespace

bool is_only(const Axis& axis, Factor::Kind kind) {
  return std::all_of(axis.begin(), axis.end(), [&](const Factor& factor) { return factor.kind == kind; });
}

bool is_head_axis(const Axis& axis) {
  return axis.empty() || (axis.size() == 1 && axis[0].kind == Factor::Kind::element && axis[0].stride == 1);
}

/// True when the operator makes the model's logits: it has as many outputs as the embedding has rows, and what it makes
/// leaves the graph.
bool Importer::is_head(const Tensor& weight, std::int64_t out) const {
  if (&weight == embedding_) return true;
  if (vocabulary_ == 0 || out != vocabulary_) return false;
  std::string_view name = file_.nodes[current_].outputs[0];
  for (int step = 0; step < 4; ++step) {
    if (output_names_.contains(name)) return true;
    const std::unordered_map<std::string_view, std::vector<std::uint32_t>>::const_iterator users = users_.find(name);
    if (users == users_.end() || users->second.size() != 1) return false;
    const OnnxNode& next = file_.nodes[users->second[0]];
    if (next.outputs.empty() || !(is_plumbing(next.operation) || next.operation == "Add" || next.operation == "Mul"))
      return false;
    name = next.outputs[0];
  }
  return false;
}

/// y = factor * W x. `is_turned`: outputs are the columns of the tensor.
bool Importer::linear(const OnnxNode& node, Id source_id, const Known& weight, bool is_turned, double factor) {
  if (weight.tensor == nullptr) return refuse("its weights are computed, not stored");
  const Tensor& tensor = *weight.tensor;
  std::vector<std::uint64_t> sizes = tensor.shape;
  while (sizes.size() > 2 && sizes.front() == 1) sizes.erase(sizes.begin());
  if (sizes.size() != 2 || !is_real(tensor.type)) return refuse("its weights are not a matrix of real numbers");
  const std::uint64_t out = is_turned ? sizes[1] : sizes[0], in = is_turned ? sizes[0] : sizes[1];
  if (out < 1 || in < 1 || out > kLargestVector || in > kLargestVector)
    return refuse(fmt::format("a matrix of {} x {} is too large or empty", out, in));
  const Outside* outside = get<Outside>(source_id);
  const bool is_pooled = outside != nullptr && outside->is_pooled;
  const bool head = !is_pooled && is_head(tensor, static_cast<std::int64_t>(out));
  if (is_pooled || head) {
    const std::string reason = is_pooled               ? "used once per sequence"
                               : &tensor == embedding_ ? std::string(kTiedHead)
                                                       : "lm head";
    leave_outside(tensor, reason, is_turned);
    return refuse(reason);
  }
  const std::optional<Vectors> source = as_vectors(source_id, static_cast<std::int64_t>(in));
  if (!source) return false;
  const std::optional<NodeId> from = row_node(*source);
  if (!from || writer_.at(*from).size != in) return refuse("its operand is not one vector per token");
  WeightView view{.tensor = tensor, .first = 0, .transposed = is_turned};
  if (factor != 1) {
    LinearOperator stored;
    stored.out = static_cast<std::uint32_t>(out);
    stored.in = static_cast<std::uint32_t>(in);
    stored.weight = view;
    if (out * in > static_cast<std::uint64_t>(kLargestArray)) return refuse("its weights are scaled by a factor");
    std::vector<float> scaled = read_weights(stored);
    for (float& number : scaled) number = static_cast<float>(number * factor);
    view = {.tensor = owned(tensor.name, scaled, {out, in}), .first = 0, .transposed = false};
  }
  used_.insert(&tensor);
  Vectors made = *source;
  made.is_cached = false;
  made.offset = 0;
  made.stream = writer_.linear(operator_name(tensor), *from, static_cast<std::uint32_t>(out), view);
  made.layout.back() = out == 1 ? Axis() : Axis{{Factor::Kind::element, static_cast<std::int64_t>(out), 1}};
  return result(node, made);
}

bool Importer::matrix_product(const OnnxNode& node) {
  const std::optional<Id> a = operand(node, 0), b = operand(node, 1);
  if (!a || !b || node.inputs.size() != 2) return false;
  if (const Known* weight = get<Known>(b)) return linear(node, *a, *weight, !weight->transposed, 1);
  if (const Scores* scores = get<Scores>(a)) {
    const std::optional<Vectors> values = as_vectors(*b);
    return values && attention_context(node, Scores(*scores), *values);
  }
  // The scale may have been put on the query and the key.
  for (const Id id : {*a, *b}) {
    if (get<Vectors>(id) == nullptr && get<Sampled>(id) == nullptr) return refuse("a product of two values");
    if (get<Sampled>(id) != nullptr && !as_vectors(id)) return false;
  }
  return attention_scores(node, *get<Vectors>(a), *get<Vectors>(b));
}

bool Importer::gemm(const OnnxNode& node) {
  const auto real = [&](std::string_view name) {
    const OnnxAttribute* attribute = node.find(name);
    return attribute != nullptr && attribute->real ? double{*attribute->real} : 1.0;
  };
  const auto truth = [&](std::string_view name) {
    const OnnxAttribute* attribute = node.find(name);
    return attribute != nullptr && attribute->integer.value_or(0) != 0;
  };
  const std::optional<Id> a = operand(node, 0), b = operand(node, 1), c = operand(node, 2);
  const Known* weight = get<Known>(b);
  if (!a || weight == nullptr) return refuse("a product of two values");
  if (truth("transA")) return refuse("its operand is turned: not one vector per token");
  std::optional<Vector> addend;
  if (c) {
    const std::optional<Shape64> sizes = shape(*b);
    if (!sizes || sizes->size() != 2) return refuse("its weights are not a matrix");
    addend = vector(c, (*sizes)[truth("transB") ? 0 : 1], real("beta"));
    if (!addend) return refuse("what it adds is not a constant vector");
  }
  if (!linear(node, *a, *weight, truth("transB") == weight->transposed, real("alpha"))) return false;
  if (addend) {
    Vectors& made = std::get<Vectors>(results_.back());
    made.stream = writer_.with_bias(made.stream, *addend);
  }
  return true;
}

/// Query {..., tokens, elements} times key {..., elements, tokens}.
bool Importer::attention_scores(const OnnxNode& node, const Vectors& query, const Vectors& key) {
  const std::size_t rank = query.layout.size();
  if (rank < 2 || key.layout.size() != rank) return refuse("a product of two values");
  const Axis &query_tokens = query.layout[rank - 2], &query_elements = query.layout[rank - 1];
  const Axis &key_elements = key.layout[rank - 2], &key_tokens = key.layout[rank - 1];
  Scores scores;
  if (!is_only(query_tokens, Factor::Kind::token) || !is_only(key_tokens, Factor::Kind::token) ||
      !is_head_axis(query_elements) || query_elements != key_elements ||
      !match_heads(std::span(query.layout).first(rank - 2), std::span(key.layout).first(rank - 2),
                   size_of(query_elements), scores.kv_heads))
    return refuse("a product of two values that is not query times key");
  if (query_tokens != key_tokens) return refuse("attention to other tokens (cross attention) is not supported");
  scores.query = query;
  scores.key = key;
  scores.scale = query.scale * key.scale;
  scores.is_causal = key.is_cached;
  scores.layout.assign(query.layout.begin(), query.layout.end() - 1);
  scores.layout.push_back(with_kind(key_tokens, Factor::Kind::key));
  return result(node, scores);
}

/// What a mask allows: everything, or no token that comes later. Numbers are added to the scores, conditions choose
/// between scores and a large negative number (`kept`: what a condition is where the score stays).
bool Importer::mask(Scores& scores, const Array& numbers, bool is_condition, bool kept) {
  const Shape64 sizes = shape_of(scores.layout);
  const std::optional<Shape64> joined = broadcast(sizes, numbers.shape);
  if (joined != sizes || numbers.elements() > budget_) return false;
  budget_ -= numbers.elements();
  const std::size_t rank = numbers.shape.size();
  const bool has_both = rank >= 2 && numbers.shape[rank - 1] > 1 && numbers.shape[rank - 2] > 1;
  bool allows_all = true, is_causal = has_both, is_mask = true;
  std::size_t next = 0;
  for_every_index(numbers.shape, [&](std::span<const std::int64_t> index) {
    const double number = numbers.values[next++];
    const bool is_allowed = is_condition ? (number != 0) == kept : std::abs(number) < 1e-6;
    if (!is_allowed && !is_condition && !(number <= -1e3)) is_mask = false;
    allows_all = allows_all && is_allowed;
    if (has_both) is_causal = is_causal && is_allowed == (index[rank - 1] <= index[rank - 2]);
  });
  if (!is_mask || (!allows_all && !is_causal)) return false;
  scores.is_causal = scores.is_causal || (is_causal && !allows_all);
  return true;
}

bool Importer::softmax(const OnnxNode& node) {
  const Scores* scores = get<Scores>(operand(node, 0));
  if (scores == nullptr) return refuse("a softmax that is not part of an attention");
  const OnnxAttribute* attribute = node.find("axis");
  const std::int64_t rank = static_cast<std::int64_t>(scores->layout.size());
  std::int64_t axis = attribute != nullptr && attribute->integer ? *attribute->integer
                      : file_.opset != 0 && file_.opset < 13     ? 1
                                                                 : -1;
  if (axis < 0) axis += rank;
  if (axis != rank - 1 || !is_only(scores->layout.back(), Factor::Kind::key) || scores->is_softmaxed)
    return refuse("a softmax over something else than the keys");
  Scores made = *scores;
  made.is_softmaxed = true;
  return result(node, made);
}

bool Importer::where(const OnnxNode& node) {
  const std::shared_ptr<const Array> condition = array(operand(node, 0));
  const std::optional<Id> yes = operand(node, 1), no = operand(node, 2);
  if (!condition || !yes || !no) return false;
  // A condition that is the same everywhere chooses one operand, if it has the shape of the result.
  if (const std::optional<double> choice = scalar(operand(node, 0))) {
    const Id chosen = *choice != 0 ? *yes : *no;
    const std::optional<Shape64> sizes = shape(chosen), other = shape(*choice != 0 ? *no : *yes);
    const std::optional<Shape64> joined = sizes ? broadcast(*sizes, condition->shape) : std::nullopt;
    if (joined && other && broadcast(*joined, *other) == sizes) return alias(chosen);
  }
  const bool is_kept = get<Scores>(yes) != nullptr;
  const Scores* scores = get<Scores>(is_kept ? yes : no);
  const std::optional<double> fill = scalar(is_kept ? no : yes);
  if (scores == nullptr || scores->is_softmaxed || !fill) return false;
  Scores made = *scores;
  if (!(*fill <= -1e3) || !mask(made, *condition, true, is_kept))
    return refuse("a mask that is neither causal nor empty");
  return result(node, made);
}

/// Attention weights times values {..., tokens, elements}.
bool Importer::attention_context(const OnnxNode& node, const Scores& scores, const Vectors& values) {
  const std::size_t rank = scores.layout.size();
  std::int64_t kv_heads = 0;
  if (!scores.is_softmaxed || rank < 2 || values.layout.size() != rank) return refuse("a product of two values");
  const Axis& keys = scores.layout[rank - 1];
  const Axis& elements = values.layout[rank - 1];
  if (!is_only(keys, Factor::Kind::key) || with_kind(values.layout[rank - 2], Factor::Kind::key) != keys ||
      !is_only(values.layout[rank - 2], Factor::Kind::token) ||
      !is_only(scores.layout[rank - 2], Factor::Kind::token) || !is_head_axis(elements) ||
      !match_heads(std::span(scores.layout).first(rank - 2), std::span(values.layout).first(rank - 2),
                   size_of(elements), kv_heads) ||
      kv_heads != scores.kv_heads)
    return refuse("values whose heads do not belong to those of the keys");
  const std::int64_t head_size = size_of(elements);
  const double expected = 1 / std::sqrt(static_cast<double>(head_size));
  if (!(std::abs(scores.scale - expected) <= 2e-3 * expected))
    return refuse(fmt::format("attention scores scaled by {}, not by 1/sqrt({})", scores.scale, head_size));
  const std::optional<NodeId> query = node_of(scores.query, "q"), key = node_of(scores.key, "k"),
                              value_node = node_of(values, "v");
  if (!query || !key || !value_node) return refuse("queries, keys or values are not vectors of their own");
  const std::int64_t query_size = writer_.at(*query).size;
  if (query_size % head_size != 0 || writer_.at(*key).size != kv_heads * head_size ||
      writer_.at(*value_node).size != kv_heads * head_size || (query_size / head_size) % kv_heads != 0)
    return refuse("queries, keys or values have other heads than the attention");
  const std::string name = node_name(current_);
  const std::size_t slash = name.rfind('/');
  Vectors made;
  made.stream = writer_.attend((slash != std::string::npos && slash > 0 ? name.substr(0, slash) : name) + ".attend",
                               *query, *key, *value_node, static_cast<std::uint32_t>(query_size / head_size),
                               static_cast<std::uint32_t>(kv_heads), scores.is_causal ? Span::earlier : Span::all);
  made.layout.assign(scores.layout.begin(), scores.layout.end() - 1);
  made.layout.push_back(elements);
  return result(node, made);
}

/// x * cosines + rotated(x) * sines: a rotary embedding if the tables say so (Su et al., RoFormer, 2021).
bool Importer::rotary(const OnnxNode& node, const RotaryTerm& a, const RotaryTerm& b) {
  const RotaryTerm& straight = a.is_rotated ? b : a;
  const RotaryTerm& turned = a.is_rotated ? a : b;
  if (straight.is_rotated || !turned.is_rotated || !same_base(straight.base, turned.base))
    return refuse("a sum of two products");
  const Layout& layout = straight.base.layout;
  const std::size_t rank = layout.size();
  const Shape64 sizes = shape_of(layout);
  if (rank < 2 || sizes[rank - 1] % 2 != 0) return refuse("a rotary embedding of odd size");
  const std::int64_t size = sizes[rank - 1], pairs = size / 2, tokens = sizes[rank - 2];
  if (!is_only(layout[rank - 2], Factor::Kind::token) || tokens < 2 || !is_head_axis(layout[rank - 1]) ||
      tokens * size > budget_)
    return refuse("a rotary embedding of another order of tokens and elements");
  budget_ -= tokens * size;
  Shape64 place(rank, 0);
  for (const RotaryTerm* term : {&straight, &turned}) {
    if (broadcast(sizes, term->table->shape) != sizes) return refuse("a rotary table of another shape");
    for (std::size_t d = 0; d + 2 < term->table->shape.size(); ++d) {
      const std::int64_t count = term->table->shape[d];  // the same positions for every sequence: ids are 0, 1, 2 ...
      if (count != 1 && !is_only(layout[rank - term->table->shape.size() + d], Factor::Kind::token))
        return refuse("a rotary table that differs from head to head");
    }
  }
  const auto look = [&](const RotaryTerm& term, std::int64_t token, std::int64_t element) {
    place[rank - 2] = token;
    place[rank - 1] = element;
    return element_at(*term.table, place);
  };
  double theta = 10000;
  if (pairs > 1) {
    const double angle = std::atan2(look(turned, 1, 1), look(straight, 1, 1));
    theta = std::pow(angle, -static_cast<double>(size) / 2);
    if (!(theta > 1 && theta < 1e12)) return refuse("a rotary embedding with other frequencies");
    if (std::abs(theta - std::round(theta)) < 1e-4 * theta) theta = std::round(theta);
  }
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t element = 0; element < size; ++element) {
      const double angle = static_cast<double>(token) *
                           std::pow(theta, -2.0 * static_cast<double>(element % pairs) / static_cast<double>(size));
      const double tolerance = 1e-3 + 1e-6 * static_cast<double>(token);  // tables in half precision
      if (!(std::abs(look(straight, token, element) - std::cos(angle)) <= tolerance &&
            std::abs(look(turned, token, element) - std::sin(angle)) <= tolerance))
        return refuse("a rotary embedding with other frequencies");
    }
  }
  const std::optional<NodeId> from = node_of(straight.base);
  if (!from || writer_.at(*from).size % size != 0) return refuse("a rotary embedding of a piece of a vector");
  Vectors made = straight.base;
  made.offset = 0;
  made.stream =
      writer_.rope(node_name(current_) + ".rope", *from, static_cast<std::uint32_t>(size), theta, Config::Pairs::half);
  return result(node, made);
}

}  // namespace danaus::model::onnx
