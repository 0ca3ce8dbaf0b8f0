#include "danaus/model/builder.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/model/element.h"
#include "danaus/model/text.h"

// Node by node construction of a model, with the bookkeeping that is the same for every family and every importer:
// which tensor each linear node, gain and bias is, whether it has the right shape, and whether a tensor of the file was
// forgotten.

namespace danaus::model {
namespace {

/// A tensor's name without the ".weight" that most end with.
std::string plain_name(std::string_view tensor) {
  constexpr std::string_view kSuffix = ".weight";
  return std::string(tensor.ends_with(kSuffix) ? tensor.substr(0, tensor.size() - kSuffix.size()) : tensor);
}

}  // namespace

Node make_node(std::string name, NodeKind kind, std::vector<NodeId> sources, std::uint32_t size) {
  Node node;
  node.name = std::move(name);
  node.kind = kind;
  node.sources = std::move(sources);
  node.size = size;
  return node;
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("{{{}}}", fmt::join(shape, ", "));
}

std::string describe(const std::vector<Tensor>& tensors) {
  std::string text;
  std::set<std::pair<std::string, std::uint64_t>> files;
  for (const Tensor& tensor : tensors) {
    const std::byte* start = tensor.bytes.data();
    std::uint64_t offset = 0;
    if (tensor.file) {
      if (start != nullptr) offset = static_cast<std::uint64_t>(start - tensor.file->bytes().data());
      files.emplace(tensor.file->name(), tensor.file->bytes().size());
    }
    text += fmt::format("{} {} {} {}\n", tensor.name, name_of(tensor.type), shape_text(tensor.shape), offset);
  }
  for (const std::pair<std::string, std::uint64_t>& file : files) text += fmt::format("file {}\n", file.second);
  return text;
}

GraphBuilder::GraphBuilder(Shape shape, std::optional<std::vector<Tensor>> tensors) : shape_(std::move(shape)) {
  model_.name = shape_.name;
  model_.family = shape_.family;
  model_.dimensions = shape_.dimensions;
  if (shape_.window != 0 && shape_.window < shape_.dimensions.context) {
    // As long as the text fits the window, attention over all tokens is the same.
    model_.dimensions.context = shape_.window;
    model_.notes.push_back(fmt::format(
        "the context is {} tokens, the attention window: the model can go on to {}, where a token no longer sees the "
        "first ones",
        shape_.window, shape_.dimensions.context));
  }
  if (!tensors) return;
  has_weights_ = true;
  model_.tensors = std::move(*tensors);
  used_.resize(model_.tensors.size());
  for (std::size_t number = 0; number < model_.tensors.size(); ++number) {
    const Tensor& tensor = model_.tensors[number];
    if (!by_name_.emplace(tensor.name, number).second && !error_) {
      error_ = Error("model.duplicate-tensor", Failure::bad_input,
                     fmt::format("two tensors are called '{}'", printable(tensor.name)));
    }
  }
}

const Tensor* GraphBuilder::use(std::string_view name, const std::vector<std::uint64_t>& shape) {
  if (!has_weights_ || error_) return nullptr;
  const std::map<std::string, std::size_t, std::less<>>::const_iterator found = by_name_.find(name);
  if (found == by_name_.end()) {
    error_ = Error("model.missing-tensor", Failure::bad_input,
                   fmt::format("the tensor '{}' with shape {} is missing", printable(name), shape_text(shape)))
                 .with_hint("the file is incomplete or its dimensions do not belong to its tensors");
    return nullptr;
  }
  const Tensor& tensor = model_.tensors[found->second];
  if (tensor.shape != shape) {
    error_ = Error("model.tensor-shape", Failure::bad_input,
                   fmt::format("the tensor '{}' has shape {}, the model's dimensions need {}", printable(name),
                               shape_text(tensor.shape), shape_text(shape)));
    return nullptr;
  }
  if (!is_real(tensor.type)) {
    error_ = Error("model.tensor-type", Failure::bad_input,
                   fmt::format("the tensor '{}' has the integer type {}, weights are real numbers", printable(name),
                               name_of(tensor.type)));
    return nullptr;
  }
  used_[found->second] = true;
  return &tensor;
}

NodeId GraphBuilder::push(Node node) {
  node.guard = guard_;
  model_.graph.nodes.push_back(std::move(node));
  return NodeId{static_cast<std::uint32_t>(model_.graph.nodes.size() - 1)};
}

ConfigId GraphBuilder::config(const Config& config) {
  model_.graph.configs.push_back(config);
  return ConfigId{static_cast<std::uint16_t>(model_.graph.configs.size() - 1)};
}

NodeId GraphBuilder::input(std::string name, std::uint32_t size) {
  return push(make_node(std::move(name), NodeKind::input, {}, size));
}

NodeId GraphBuilder::linear(std::string name, std::string_view weight, NodeId source, std::uint32_t out) {
  return linear(std::move(name), {.tensor = weight, .shape = {out, model_.graph.at(source).size}}, source, out);
}

NodeId GraphBuilder::linear(std::string name, const Piece& weight, NodeId source, std::uint32_t out) {
  LinearOperator operation;
  operation.name = name;
  operation.layer = layer_;
  operation.out = out;
  operation.in = model_.graph.at(source).size;
  if (const Tensor* tensor = use(weight.tensor, weight.shape)) {
    const std::uint64_t columns = weight.shape.back();
    const std::uint64_t rows = tensor->elements() / columns;
    ensure(weight.transposed ? rows == operation.in && weight.first + out <= columns
                             : columns == operation.in && weight.first + out <= rows,
           "a piece of a tensor lies within it");
    operation.weight = WeightView{.tensor = *tensor, .first = weight.first, .transposed = weight.transposed};
  }
  Node node = make_node(std::move(name), NodeKind::linear, {source}, out);
  node.structure = Structure::dense(out, operation.in);
  operation.node = push(std::move(node));
  model_.linear.push_back(std::move(operation));
  return model_.linear.back().node;
}

void GraphBuilder::constant(const std::string& name, const Piece& vector, std::uint32_t count) {
  const Tensor* tensor = use(vector.tensor, vector.shape);
  if (tensor == nullptr) return;
  ensure(vector.first + count <= tensor->elements(), "a piece of a vector lies within it");
  model_.constants.push_back({.name = name, .tensor = *tensor, .first = vector.first, .count = count});
}

NodeId GraphBuilder::bias(const std::string& tensor, NodeId source) {
  return bias(tensor, {.tensor = tensor, .shape = {model_.graph.at(source).size}}, source);
}

NodeId GraphBuilder::bias(const std::string& name, const Piece& addend, NodeId source) {
  Node node = make_node(name, NodeKind::bias, {source}, model_.graph.at(source).size);
  constant(name, addend, node.size);
  node.constant = name;
  return push(std::move(node));
}

NodeId GraphBuilder::norm(std::string name, NodeId source, ConfigId config, const std::string& gain) {
  Node node = make_node(std::move(name), NodeKind::norm, {source}, model_.graph.at(source).size);
  constant(gain, {.tensor = gain, .shape = {node.size}}, node.size);
  node.constant = gain;
  node.configs[0] = config;
  return push(std::move(node));
}

NodeId GraphBuilder::rope(std::string name, NodeId source, ConfigId config) {
  Node node = make_node(std::move(name), NodeKind::rope, {source}, model_.graph.at(source).size);
  node.configs[0] = config;
  return push(std::move(node));
}

NodeId GraphBuilder::attend(std::string name, NodeId query, NodeId key, NodeId value, Span span) {
  const Dimensions& d = shape_.dimensions;
  Node node = make_node(std::move(name), NodeKind::attend, {query, key, value}, d.heads * d.head_size);
  node.kv_first = KvId{next_region_};
  next_region_ += d.kv_heads;
  node.query_heads = d.heads;
  node.kv_heads = d.kv_heads;
  node.head_size = d.head_size;
  node.span = span;
  return push(std::move(node));
}

NodeId GraphBuilder::route(std::string name, NodeId logits, ConfigId config) {
  Node node = make_node(std::move(name), NodeKind::route, {logits}, model_.graph.at(logits).size);
  node.configs[0] = config;
  return push(std::move(node));
}

NodeId GraphBuilder::blend(std::string name, NodeId base, NodeId x) {
  ensure(guard_.has_value(), "a blend has a guard");
  return push(make_node(std::move(name), NodeKind::blend, {base, x}, model_.graph.at(base).size));
}

NodeId GraphBuilder::combine(NodeKind kind, std::string name, NodeId a, NodeId b) {
  ensure(kind == NodeKind::add || kind == NodeKind::mul, "only add and mul combine two nodes");
  return push(make_node(std::move(name), kind, {a, b}, model_.graph.at(a).size));
}

NodeId GraphBuilder::activation(std::string_view prefix, NodeId source) {
  return push(make_node(fmt::format("{}{}", prefix, name_of(shape_.activation)), shape_.activation, {source},
                        model_.graph.at(source).size));
}

void GraphBuilder::output(NodeId node) { model_.graph.outputs.push_back(node); }

const Tensor* GraphBuilder::matrix_outside(std::string name, std::string_view tensor, std::uint64_t rows,
                                           std::uint64_t cols, std::string reason) {
  list_outside(std::move(name), rows, cols, std::move(reason));
  return use(tensor, {rows, cols});
}

std::optional<ConstantView> GraphBuilder::constant_outside(const std::string& name, std::uint32_t count) {
  const Tensor* tensor = use(name, {count});
  if (tensor == nullptr) return std::nullopt;
  return ConstantView{.name = name, .tensor = *tensor, .first = 0, .count = count};
}

void GraphBuilder::embedding(Embedding embedding) { model_.embeddings.push_back(std::move(embedding)); }
void GraphBuilder::head(Head head) { model_.head = std::move(head); }

void GraphBuilder::list_outside(std::string name, std::uint64_t rows, std::uint64_t cols, std::string reason) {
  model_.digital.push_back({std::move(name), std::move(reason), rows, cols});
}

void GraphBuilder::leave_outside(std::size_t number, const std::string& reason) {
  if (used_[number]) return;
  used_[number] = true;
  const Tensor& tensor = model_.tensors[number];
  if (tensor.shape.size() < 2) return;
  const std::uint64_t cols = tensor.shape.back();
  list_outside(plain_name(tensor.name), cols == 0 ? 0 : tensor.elements() / cols, cols, reason);
}

void GraphBuilder::outside(std::string_view tensor, const std::string& reason) {
  const std::map<std::string, std::size_t, std::less<>>::const_iterator found = by_name_.find(tensor);
  if (found != by_name_.end()) leave_outside(found->second, reason);
}

void GraphBuilder::outside_beginning(std::string_view prefix, const std::string& reason) {
  for (std::map<std::string, std::size_t, std::less<>>::const_iterator entry = by_name_.lower_bound(prefix);
       entry != by_name_.end() && entry->first.starts_with(prefix); ++entry) {
    leave_outside(entry->second, reason);
  }
}

Result<Model> GraphBuilder::finish() && {
  if (error_) return fail(std::move(*error_));
  for (std::size_t number = 0; number < used_.size(); ++number) {
    if (used_[number]) continue;
    return fail(
        Error("model.unsupported-tensor", Failure::unsupported,
              fmt::format("the tensor '{}' has no place in a {} model as danaus knows it",
                          printable(model_.tensors[number].name), name_of(shape_.family)))
            .with_hint("ignoring it would compute something else; for the cost alone, write a shape file (.toml)"));
  }
  DANAUS_CHECK(validate(model_.graph));
  // The name is not part of the digest: a renamed file is the same model.
  shape_.name.clear();
  std::string description = to_toml(shape_) + describe(model_.tensors);
  if (shape_.embedding_scale != 1) description += fmt::format("embedding scale {}\n", shape_.embedding_scale);
  model_.digest = digest_of(description);
  return std::move(model_);
}

}  // namespace danaus::model
