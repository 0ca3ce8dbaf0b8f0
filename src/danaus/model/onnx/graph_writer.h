#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/model/model.h"

namespace danaus::model::onnx {

/// A vector of a tensor: elements first ... first + count - 1; `name` is what the graph calls it.
struct Vector {
  std::string name;
  Tensor tensor;
  std::uint64_t first = 0;
  std::uint32_t count = 0;
};

/// Number of a value that is, or can become, a node.
enum class StreamId : std::uint32_t {};

/// Writes the operator graph of an importer that finds it piece by piece.
/// A linear operator is written when it is used, because only then it is known which of its outputs belong together:
/// the parts of a fused query-key-value matrix become operators of their own.
class GraphWriter {
 public:
  /// A name that no node has, made of what is wanted: letters, digits, '.', '_', '-' and '/'.
  std::string unique_name(std::string_view wanted);

  StreamId input(std::string_view name, std::uint32_t size);
  /// W x [+ bias]; `name` without the suffix that pieces get.
  StreamId linear(std::string_view name, NodeId source, std::uint32_t out, const WeightView& weight);
  /// The same operator with a bias behind it; the operator must not have one yet.
  StreamId with_bias(StreamId linear, const Vector& bias);
  bool is_pending(StreamId stream) const;
  bool has_bias(StreamId stream) const;
  std::uint32_t size_of(StreamId stream) const;
  /// The node of elements [first, first + count); `part` names a piece. Nothing when that is not all of a node.
  std::optional<NodeId> node_of(StreamId stream, std::uint32_t first, std::uint32_t count, std::string_view part);

  StreamId bias(NodeId source, const Vector& addend);
  StreamId norm(std::string_view name, NodeId source, Config::Norm kind, double epsilon, const Vector& gain);
  StreamId activation(std::string_view name, NodeKind kind, NodeId source);
  StreamId combine(std::string_view name, NodeKind kind, NodeId a, NodeId b);
  StreamId rope(std::string_view name, NodeId source, std::uint32_t head_size, double theta, Config::Pairs pairs);
  StreamId attend(std::string_view name, NodeId query, NodeId key, NodeId value, std::uint32_t query_heads,
                  std::uint32_t kv_heads, Span span);
  /// A value that is used outside; inputs are there already.
  void output(NodeId node);

  const Node& at(NodeId node) const { return graph_.at(node); }

  /// Moves graph, operators and constants into the model, without what no output needs. Operators of one layer and
  /// source become neighbours. Sets the dimensions that follow from the graph. Errors: graph.*.
  Result<void> finish(Model& model) &&;

 private:
  struct Stream {
    std::uint32_t size = 0;
    std::optional<NodeId> node;  ///< otherwise a linear operator that is not written yet
    std::string name;
    NodeId source{};
    std::optional<WeightView> weight;
    std::optional<Vector> bias;
    std::map<std::pair<std::uint32_t, std::uint32_t>, NodeId> pieces;
  };
  NodeId push(Node node);
  StreamId stream_of(NodeId node);
  Stream& stream(StreamId id) { return streams_[static_cast<std::size_t>(id)]; }
  const Stream& stream(StreamId id) const { return streams_[static_cast<std::size_t>(id)]; }
  std::string constant(const Vector& vector);
  std::vector<std::uint32_t> layers() const;

  Graph graph_;
  std::vector<Stream> streams_;
  std::map<NodeId, WeightView> weights_;
  std::map<std::string, ConstantView> constants_;
  std::map<std::tuple<std::string, const std::byte*, std::uint64_t, std::uint32_t>, std::string> constant_names_;
  std::map<std::string, std::uint32_t, std::less<>> node_names_, used_constants_;  ///< name -> times wanted
  std::set<NodeId> outputs_;
};

}  // namespace danaus::model::onnx
