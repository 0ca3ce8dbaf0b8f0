#include "danaus/model/onnx/graph_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "danaus/core/config_table.h"
#include "danaus/core/internal_error.h"
#include "danaus/model/builder.h"

// Nodes as they are found, then one pass that drops what nothing needs, brings operators with the same source together
// and counts layers by their attention.

namespace danaus::model::onnx {
namespace {

std::string good_name(std::string_view wanted) {
  constexpr std::size_t kLongest = 200;  // room for a suffix
  while (!wanted.empty() && wanted.front() == '/') wanted.remove_prefix(1);
  std::string name(wanted.substr(0, kLongest));
  for (char& c : name) {
    if (!is_good_name(std::string_view(&c, 1))) c = '_';
  }
  return name.empty() ? "value" : name;
}

std::string unique_in(std::map<std::string, std::uint32_t, std::less<>>& taken, std::string_view wanted) {
  std::string name = good_name(wanted);
  const std::string plain = name;
  while (taken.contains(name)) name = fmt::format("{}.{}", plain, ++taken[plain] + 1);
  taken.emplace(name, 0);
  return name;
}

}  // namespace

std::string GraphWriter::unique_name(std::string_view wanted) { return unique_in(node_names_, wanted); }

NodeId GraphWriter::push(Node node) {
  graph_.nodes.push_back(std::move(node));
  return NodeId{static_cast<std::uint32_t>(graph_.nodes.size() - 1)};
}

StreamId GraphWriter::stream_of(NodeId node) {
  Stream made;
  made.size = graph_.at(node).size;
  made.node = node;
  streams_.push_back(std::move(made));
  return StreamId{static_cast<std::uint32_t>(streams_.size() - 1)};
}

std::string GraphWriter::constant(const Vector& vector) {
  std::string& name = constant_names_[{vector.tensor.name, vector.tensor.bytes.data(), vector.first, vector.count}];
  if (name.empty()) {
    name = unique_in(used_constants_, vector.name == "zero" ? "zero_" : vector.name);
    constants_[name] = {.name = name, .tensor = vector.tensor, .first = vector.first, .count = vector.count};
  }
  return name;
}

StreamId GraphWriter::input(std::string_view name, std::uint32_t size) {
  return stream_of(push(make_node(unique_name(name), NodeKind::input, {}, size)));
}

StreamId GraphWriter::linear(std::string_view name, NodeId source, std::uint32_t out, const WeightView& weight) {
  Stream made;
  made.size = out;
  made.name = name;
  made.source = source;
  made.weight = weight;
  streams_.push_back(std::move(made));
  return StreamId{static_cast<std::uint32_t>(streams_.size() - 1)};
}

StreamId GraphWriter::with_bias(StreamId linear, const Vector& bias) {
  ensure(is_pending(linear) && !has_bias(linear) && bias.count == size_of(linear), "a bias belongs to an operator");
  Stream made = stream(linear);
  made.bias = bias;
  made.pieces.clear();
  streams_.push_back(std::move(made));
  return StreamId{static_cast<std::uint32_t>(streams_.size() - 1)};
}

bool GraphWriter::is_pending(StreamId id) const { return !stream(id).node; }
bool GraphWriter::has_bias(StreamId id) const { return stream(id).bias.has_value(); }
std::uint32_t GraphWriter::size_of(StreamId id) const { return stream(id).size; }

std::optional<NodeId> GraphWriter::node_of(StreamId id, std::uint32_t first, std::uint32_t count,
                                           std::string_view part) {
  Stream& from = stream(id);
  if (from.node) return first == 0 && count == from.size ? from.node : std::nullopt;
  const std::map<std::pair<std::uint32_t, std::uint32_t>, NodeId>::const_iterator found =
      from.pieces.find({first, count});
  if (found != from.pieces.end()) return found->second;
  const bool is_whole = count == from.size;
  const std::string suffix = is_whole        ? ""
                             : !part.empty() ? fmt::format(".{}", part)
                                             : fmt::format(".{}-{}", first, first + count - 1);
  Node node = make_node(unique_name(from.name + suffix), NodeKind::linear, {from.source}, count);
  node.structure = Structure::dense(count, graph_.at(from.source).size);
  NodeId result = push(std::move(node));
  WeightView view = *from.weight;
  view.first += first;
  weights_.emplace(result, view);
  if (from.bias) {
    Vector addend = *from.bias;
    addend.first += first;
    addend.count = count;
    addend.name += suffix;
    Node added = make_node(unique_name(addend.name), NodeKind::bias, {result}, count);
    added.constant = constant(addend);
    result = push(std::move(added));
  }
  from.pieces.emplace(std::pair(first, count), result);
  return result;
}

StreamId GraphWriter::bias(NodeId source, const Vector& addend) {
  Node node = make_node(unique_name(addend.name), NodeKind::bias, {source}, graph_.at(source).size);
  node.constant = constant(addend);
  return stream_of(push(std::move(node)));
}

StreamId GraphWriter::norm(std::string_view name, NodeId source, Config::Norm kind, double epsilon,
                           const Vector& gain) {
  Node node = make_node(unique_name(name), NodeKind::norm, {source}, graph_.at(source).size);
  node.configs[0] = entry_for(
      graph_.configs, {.kind = Config::Kind::norm, .norm = kind, .n = graph_.at(source).size, .epsilon = epsilon});
  node.constant = constant(gain);
  return stream_of(push(std::move(node)));
}

StreamId GraphWriter::activation(std::string_view name, NodeKind kind, NodeId source) {
  return stream_of(push(make_node(unique_name(name), kind, {source}, graph_.at(source).size)));
}

StreamId GraphWriter::combine(std::string_view name, NodeKind kind, NodeId a, NodeId b) {
  return stream_of(push(make_node(unique_name(name), kind, {a, b}, graph_.at(a).size)));
}

StreamId GraphWriter::rope(std::string_view name, NodeId source, std::uint32_t head_size, double theta,
                           Config::Pairs pairs) {
  Node node = make_node(unique_name(name), NodeKind::rope, {source}, graph_.at(source).size);
  node.configs[0] =
      entry_for(graph_.configs, {.kind = Config::Kind::rope, .size = head_size, .theta = theta, .pairs = pairs});
  return stream_of(push(std::move(node)));
}

StreamId GraphWriter::attend(std::string_view name, NodeId query, NodeId key, NodeId value, std::uint32_t query_heads,
                             std::uint32_t kv_heads, Span span) {
  Node node = make_node(unique_name(name), NodeKind::attend, {query, key, value}, graph_.at(query).size);
  node.query_heads = query_heads;
  node.kv_heads = kv_heads;
  node.head_size = graph_.at(query).size / query_heads;
  node.span = span;
  return stream_of(push(std::move(node)));
}

void GraphWriter::output(NodeId node) {
  if (graph_.at(node).kind != NodeKind::input) outputs_.insert(node);
}

/// The layer of every node: the operators whose results an attention reads belong to it, the others to the attention
/// before them.
std::vector<std::uint32_t> GraphWriter::layers() const {
  std::vector<std::uint32_t> layer(graph_.nodes.size());
  std::vector<bool> is_set(graph_.nodes.size());
  std::uint32_t attentions = 0;
  for (std::uint32_t number = 0; number < graph_.nodes.size(); ++number) {
    if (!is_set[number]) layer[number] = attentions == 0 ? 0 : attentions - 1;
    if (graph_.nodes[number].kind != NodeKind::attend) continue;
    layer[number] = attentions;
    for (const NodeId source : graph_.nodes[number].sources) {
      NodeId walk = source;
      while (!is_set[index(walk)]) {
        is_set[index(walk)] = true;
        layer[index(walk)] = attentions;
        const Node& node = graph_.at(walk);
        if (node.sources.size() != 1 || node.kind == NodeKind::linear) break;
        walk = node.sources[0];
      }
    }
    ++attentions;
  }
  return layer;
}

Result<void> GraphWriter::finish(Model& model) && {
  const std::size_t count = graph_.nodes.size();
  std::vector<bool> needed(count);
  for (const NodeId output : outputs_) needed[index(output)] = true;
  for (std::size_t number = count; number-- > 0;) {
    if (!needed[number]) continue;
    for (const NodeId source : graph_.nodes[number].sources) needed[index(source)] = true;
  }
  const std::vector<std::uint32_t> layer = layers();

  // Operators are moved up to the first one of their layer with the same source: their only source is there already.
  std::map<std::pair<NodeId, std::uint32_t>, std::vector<std::uint32_t>> siblings;
  for (std::uint32_t number = 0; number < count; ++number) {
    const Node& node = graph_.nodes[number];
    if (needed[number] && node.kind == NodeKind::linear) siblings[{node.sources[0], layer[number]}].push_back(number);
  }
  std::vector<std::uint32_t> order;
  for (std::uint32_t number = 0; number < count; ++number) {
    const Node& node = graph_.nodes[number];
    if (!needed[number]) continue;
    if (node.kind != NodeKind::linear) {
      order.push_back(number);
      continue;
    }
    std::vector<std::uint32_t>& group = siblings[{node.sources[0], layer[number]}];
    order.insert(order.end(), group.begin(), group.end());
    group.clear();
  }

  std::vector<NodeId> place(count);
  std::set<std::string_view> constants;
  std::uint32_t regions = 0;
  Graph& graph = model.graph;
  graph.configs = graph_.configs;
  for (const std::uint32_t number : order) {
    place[number] = NodeId{static_cast<std::uint32_t>(graph.nodes.size())};
    Node node = graph_.nodes[number];
    for (NodeId& source : node.sources) source = place[index(source)];
    if (node.kind == NodeKind::attend) {
      node.kv_first = KvId{regions};
      regions += node.kv_heads;
    } else if (node.kind == NodeKind::linear) {
      LinearOperator operation;
      operation.node = place[number];
      operation.name = node.name;
      operation.layer = layer[number];
      operation.out = node.size;
      operation.in = node.structure.in;
      operation.weight = weights_.at(NodeId{number});
      model.linear.push_back(std::move(operation));
    }
    graph.nodes.push_back(std::move(node));
  }
  for (const Node& node : graph.nodes) {
    if (node.constant.empty()) continue;
    const std::map<std::string, ConstantView>::const_iterator view = constants_.find(node.constant);
    if (constants.insert(node.constant).second) model.constants.push_back(view->second);
  }
  for (const NodeId output : outputs_) graph.outputs.push_back(place[index(output)]);

  Dimensions& d = model.dimensions;
  std::set<NodeId> of_attention;
  for (const Node& node : graph.nodes) {
    if (node.kind != NodeKind::attend) continue;
    if (d.layers++ == 0) {
      d.heads = node.query_heads;
      d.kv_heads = node.kv_heads;
      d.head_size = node.head_size;
    }
    for (NodeId walk : node.sources) {
      while (graph.at(walk).kind != NodeKind::linear && graph.at(walk).sources.size() == 1)
        walk = graph.at(walk).sources[0];
      of_attention.insert(walk);
    }
  }
  if (!model.linear.empty()) d.hidden = model.linear.front().in;
  for (const LinearOperator& operation : model.linear) {
    if (operation.in == d.hidden && !of_attention.contains(operation.node)) d.ffn = std::max(d.ffn, operation.out);
  }
  return validate(graph);
}

}  // namespace danaus::model::onnx
