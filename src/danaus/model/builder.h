#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// A node with what all kinds have.
Node make_node(std::string name, NodeKind kind, std::vector<NodeId> sources, std::uint32_t size);

/// Makes a Model node by node and, where there are weights, checks each against the tensors of the file.
/// The first error is kept and returned by finish(); later calls do nothing useful but are harmless.
///
/// Every tensor must be accounted for: used by a node, listed by matrix_outside, or named by outside. A tensor that is
/// left over means that the file computes something else than the graph, so finish() refuses it. Errors:
/// model.missing-tensor, model.tensor-shape, model.tensor-type, model.duplicate-tensor, model.unsupported-tensor,
/// graph.*.
class GraphBuilder {
 public:
  /// `tensors`: all tensors of the file(s); nothing for a shape without weights.
  GraphBuilder(Shape shape, std::optional<std::vector<Tensor>> tensors);

  bool failed() const { return error_.has_value(); }
  bool has_tensor(std::string_view name) const { return by_name_.contains(name); }
  /// A tensor that the file has.
  const Tensor& tensor(std::string_view name) const { return model_.tensors[by_name_.find(name)->second]; }
  std::uint32_t size_of(NodeId node) const { return model_.graph.at(node).size; }
  void set_layer(std::uint32_t layer) { layer_ = layer; }

  ConfigId config(const Config& config);
  NodeId input(std::string name, std::uint32_t size);
  /// A piece of a tensor that several operators share: its shape is `shape`, the operator's outputs begin at `first`.
  struct Piece {
    std::string_view tensor;
    std::vector<std::uint64_t> shape;
    std::uint64_t first = 0;
    bool transposed = false;
  };
  /// W x with W = tensor `weight` of shape {out, size of source}.
  NodeId linear(std::string name, std::string_view weight, NodeId source, std::uint32_t out);
  /// W x with W = a piece of a tensor (see WeightView).
  NodeId linear(std::string name, const Piece& weight, NodeId source, std::uint32_t out);
  NodeId bias(const std::string& tensor, NodeId source);
  /// x + a piece of a vector; `name` is the node's and the constant's.
  NodeId bias(const std::string& name, const Piece& addend, NodeId source);
  NodeId norm(std::string name, NodeId source, ConfigId config, const std::string& gain);
  NodeId rope(std::string name, NodeId source, ConfigId config);
  /// Heads as in the shape; every attend node has kv_heads KV regions of its own, in order. Span::other: key and value
  /// are made from another input (cross-attention).
  NodeId attend(std::string name, NodeId query, NodeId key, NodeId value, Span span);
  /// Mixture of experts. Gates: softmax over the config.k largest of the logits, zero elsewhere.
  NodeId route(std::string name, NodeId logits, ConfigId config);
  /// Nodes made from now on are computed only where element `expert` of the gates is not zero, until clear_guard().
  void set_guard(NodeId gates, std::uint32_t expert) { guard_ = Guard{.gates = gates, .element = expert}; }
  void clear_guard() { guard_.reset(); }
  /// base + gate * x for the gate of the current guard; `base` is the blend of the expert before, or what all are added
  /// to.
  NodeId blend(std::string name, NodeId base, NodeId x);
  /// add or mul.
  NodeId combine(NodeKind kind, std::string name, NodeId a, NodeId b);
  /// The shape's activation; its kind ends the name: prefix + "silu".
  NodeId activation(std::string_view prefix, NodeId source);
  void output(NodeId node);

  /// A matrix {rows, cols} that stays digital and that the file must have; `name` is listed. Null without weights.
  const Tensor* matrix_outside(std::string name, std::string_view tensor, std::uint64_t rows, std::uint64_t cols,
                               std::string reason);
  /// A vector that is used before or behind the graph; nothing without weights.
  std::optional<ConstantView> constant_outside(const std::string& tensor, std::uint32_t count);
  /// A digital matrix that is not a tensor of its own (a tied head).
  void list_outside(std::string name, std::uint64_t rows, std::uint64_t cols, std::string reason);
  /// A tensor that the file may have and the graph does not use; all but vectors are listed.
  void outside(std::string_view tensor, const std::string& reason);
  /// The same for all tensors whose names begin so.
  void outside_beginning(std::string_view prefix, const std::string& reason);

  /// What the file says of the way from tokens to an input node and from the output to logits.
  void embedding(Embedding embedding);
  void head(Head head);

  /// The model, its graph validated.
  Result<Model> finish() &&;

 private:
  NodeId push(Node node);
  /// Records where a constant's elements are.
  void constant(const std::string& name, const Piece& vector, std::uint32_t count);
  /// Marks a tensor as used and checks its shape; nothing without weights or after an error.
  const Tensor* use(std::string_view name, const std::vector<std::uint64_t>& shape);
  void leave_outside(std::size_t number, const std::string& reason);

  Shape shape_;
  Model model_;
  bool has_weights_ = false;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::vector<bool> used_;
  std::uint32_t layer_ = 0;
  std::uint32_t next_region_ = 0;
  std::optional<Guard> guard_;
  std::optional<Error> error_;
};

/// The text that a model's digest covers beside its shape: name, type, shape and offset of every tensor, and file
/// sizes.
std::string describe(const std::vector<Tensor>& tensors);

/// {rows, cols} for error messages.
std::string shape_text(const std::vector<std::uint64_t>& shape);

}  // namespace danaus::model
