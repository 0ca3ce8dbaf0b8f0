#pragma once

#include <string>
#include <utility>
#include <vector>

#include "danaus/core/graph.h"

/// Small graphs for the tests of the compiler, built by hand.
namespace danaus::test {

inline NodeId add_node(Graph& graph, std::string name, NodeKind kind, std::vector<NodeId> sources, std::uint32_t size) {
  Node node;
  node.name = std::move(name);
  node.kind = kind;
  node.sources = std::move(sources);
  node.size = size;
  graph.nodes.push_back(node);
  return NodeId{static_cast<std::uint32_t>(graph.nodes.size() - 1)};
}

inline NodeId add_linear(Graph& graph, std::string name, NodeId source, std::uint32_t out, std::uint32_t k,
                         std::uint32_t l, std::uint32_t r) {
  const NodeId id = add_node(graph, std::move(name), NodeKind::linear, {source}, out);
  const std::uint32_t in = graph.at(source).size;
  graph.at(id).structure = k == 0 ? Structure::dense(out, in) : Structure::blocks(out, in, k, l, r);
  return id;
}

/// A decoder layer: hidden `hidden`, `heads` query heads and `kv_heads` kv heads, gated feed-forward; every linear
/// operator is (k, l, r), or dense for k = 0. With hidden 8, heads 2, kv_heads 1, ffn 12 and (2, 2, 1) it is the
/// layer of tests/data/example-dense.txt.
inline Graph decoder_layer(std::uint32_t hidden, std::uint32_t heads, std::uint32_t kv_heads, std::uint32_t ffn,
                           std::uint32_t k, std::uint32_t l, std::uint32_t r) {
  Graph graph;
  const std::uint32_t head_size = hidden / heads;
  Config norm;
  norm.kind = Config::Kind::norm;
  norm.n = hidden;
  norm.epsilon = 1e-5;
  Config rope;
  rope.kind = Config::Kind::rope;
  rope.size = head_size;
  rope.theta = 10000;
  graph.configs.push_back(norm);
  graph.configs.push_back(rope);
  const auto add_norm = [&](const std::string& name, NodeId source) {
    const NodeId id = add_node(graph, name, NodeKind::norm, {source}, hidden);
    graph.at(id).constant = name + ".gain";
    graph.at(id).configs[0] = ConfigId{1};
    return id;
  };
  const auto add_rope = [&](const std::string& name, NodeId source) {
    const NodeId id = add_node(graph, name, NodeKind::rope, {source}, graph.at(source).size);
    graph.at(id).configs[0] = ConfigId{2};
    return id;
  };
  const NodeId x = add_node(graph, "x", NodeKind::input, {}, hidden);
  const NodeId n1 = add_norm("n1", x);
  const NodeId q = add_linear(graph, "q", n1, hidden, k, l, r);
  const NodeId key = add_linear(graph, "k", n1, kv_heads * head_size, k, l, r);
  const NodeId v = add_linear(graph, "v", n1, kv_heads * head_size, k, l, r);
  const NodeId qr = add_rope("qr", q);
  const NodeId kr = add_rope("kr", key);
  const NodeId c = add_node(graph, "c", NodeKind::attend, {qr, kr, v}, hidden);
  graph.at(c).query_heads = heads;
  graph.at(c).kv_heads = kv_heads;
  graph.at(c).head_size = head_size;
  const NodeId o = add_linear(graph, "o", c, hidden, k, l, r);
  const NodeId x2 = add_node(graph, "x2", NodeKind::add, {x, o}, hidden);
  const NodeId n2 = add_norm("n2", x2);
  const NodeId g = add_linear(graph, "g", n2, ffn, k, l, r);
  const NodeId u = add_linear(graph, "u", n2, ffn, k, l, r);
  const NodeId a = add_node(graph, "a", NodeKind::silu, {g}, ffn);
  const NodeId h = add_node(graph, "h", NodeKind::mul, {a, u}, ffn);
  const NodeId d = add_linear(graph, "d", h, hidden, k, l, r);
  const NodeId y = add_node(graph, "y", NodeKind::add, {x2, d}, hidden);
  graph.outputs = {y};
  return graph;
}

}  // namespace danaus::test
