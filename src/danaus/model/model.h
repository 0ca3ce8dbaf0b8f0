#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/core/files.h"
#include "danaus/core/graph.h"

namespace danaus::model {

/// Types of elements in files; those with q are quantised in blocks, see element.cpp.
enum class ElementType : std::uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  u8,
  i16,
  i32,
  i64,
  q4_0,
  q4_1,
  q8_0,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k
};
std::string_view name_of(ElementType type);

/// A tensor inside a mapped file. Shapes are in row-major order, slowest dimension first (a matrix is {out, in}).
struct Tensor {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const MappedFile> file;
  std::shared_ptr<const std::vector<std::byte>> memory;  ///< owner of bytes that had to be converted; no file then
  std::uint64_t elements() const;
};

/// Converts rows [first, first + count) to float. A row runs along the last dimension: a matrix {out, in} has `out`
/// rows, a vector is one row. `out` has count * row length elements. Exact wherever the value is a float; F64, I32 and
/// I64 are rounded once, quantised types after every operation, in the order of the format's reference.
void dequantise_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t count, std::span<float> out);

enum class Family : std::uint8_t { llama, gpt2, bert, bart, matrices, graph };
std::string_view name_of(Family family);

/// Where in a tensor the weights of an operator of shape out x in are. The tensor is seen as a matrix: its last
/// dimension are the columns, all others together the rows (experts are one below the other). Plain: rows first ...
/// first + out - 1, `in` columns. Transposed: it has `in` rows, and output n is column first + n.
struct WeightView {
  Tensor tensor;
  std::uint64_t first = 0;
  bool transposed = false;
};

/// A linear operator of the graph and where its weights are (none for shape files).
struct LinearOperator {
  NodeId node{};
  std::string name;  ///< = the node's name
  std::uint32_t layer = 0;
  std::uint32_t out = 0;
  std::uint32_t in = 0;
  std::optional<WeightView> weight;
};

/// Converts an operator's weights to float, {out, in} row-major, on all threads, and gives the pages of the file back:
/// all of them, or those of outputs first ... first + count - 1 into `weights` (count * in elements).
std::vector<float> read_weights(const LinearOperator& operation);
void read_weights(const LinearOperator& operation, std::uint32_t first, std::uint32_t count, std::span<float> weights);

/// A named constant of the graph (gain, bias): elements first ... of a vector (or of a flattened tensor).
struct ConstantView {
  std::string name;
  Tensor tensor;
  std::uint64_t first = 0;
  std::uint32_t count = 0;
};

/// How the vectors of an input node are made from tokens (families with embeddings, models with weights):
/// row id of `tokens` times `scale`, plus row `position` of `positions`, plus row 0 of `types` (all text is of the
/// first kind), then the norm, if there is one. Rows are counted from WeightView::first.
struct Embedding {
  NodeId input{};
  std::uint32_t vocab = 0;  ///< rows of `tokens`
  std::uint32_t size = 0;   ///< elements of a row
  WeightView tokens;
  double scale = 1;
  std::optional<WeightView> positions;  ///< learned positions; rows before that of position 0 are skipped by `first`
  std::uint32_t position_count = 0;     ///< positions that have a row; 0: rotary embedding, any position
  std::optional<WeightView> types;
  std::optional<ConstantView> gain;  ///< of the norm; with `offset` where the norm is a layer norm
  std::optional<ConstantView> offset;
  Config norm;  ///< of the norm: kind, n, epsilon
};

/// The lm head: logits = weight * output + bias, weight {vocab, size} (models with weights that have one).
struct Head {
  std::string name;
  std::uint32_t vocab = 0;
  std::uint32_t size = 0;
  WeightView weight;
  std::optional<ConstantView> bias;
  bool tied = false;  ///< the weight is the token embedding
};

/// A matrix that is not mapped onto arrays and why ("embedding", "lm head (tied)", "pooler").
struct DigitalMatrix {
  std::string name;
  std::string reason;
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
};

/// A step of the file's own graph that is not part of the operator graph, and why (ONNX). What it computes comes in
/// through input nodes that are named after the file's values.
struct DigitalNode {
  std::string name;
  std::string operation;  ///< as the file calls it ("Tanh", "com.example.Thing")
  std::string reason;
};

struct Dimensions {
  std::uint32_t layers = 0;          ///< of the encoder, where there is a decoder too
  std::uint32_t decoder_layers = 0;  ///< layers with cross-attention
  std::uint32_t hidden = 0;
  std::uint32_t ffn = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_size = 0;
  std::uint32_t vocab = 0;
  std::uint32_t context = 0;
  std::uint32_t experts = 0;  ///< feed-forward parts of a layer between which a router chooses; 0: one, always used
  std::uint32_t experts_per_token = 0;
  bool operator==(const Dimensions&) const = default;
};

/// A model as the rest of danaus sees it: the operator graph with all linear nodes dense, its weights mapped in place.
/// Graph conventions: one input node "x"; llama layers are pre-norm (rms norm, q k v, rope, attend, o, add, norm, gate
/// up, silu, mul, down, add) and end with the final norm; bert layers are post-norm (q k v with bias, attend, o, bias,
/// add, norm, norm bias, up, bias, gelu, down, bias, add, norm, norm bias). A bag of matrices has one input and output
/// per matrix. A graph of a file (ONNX) has the file's order, with an input for every value from outside and an output
/// for every value that is used outside. Constants (gains, biases) are named as their tensors
/// ("blk.0.attn_norm.weight"), linear nodes as theirs without ".weight", those of a bag as the tensor, a piece of a
/// tensor as the tensor and which piece
/// ("blk.0.attn_qkv.q"). Nodes of one layer are neighbours; linear nodes with the same source (q/k/v, gate/up) are
/// neighbours.
struct Model {
  std::string name;
  Family family = Family::llama;
  Dimensions dimensions;
  Graph graph;
  std::vector<LinearOperator> linear;   ///< in graph order
  std::vector<ConstantView> constants;  ///< in graph order; empty for shapes
  std::vector<Embedding> embeddings;    ///< one per input node that takes tokens: "x", of a decoder with an encoder "y"
  std::optional<Head> head;
  std::vector<DigitalMatrix> digital;
  std::vector<DigitalNode> digital_nodes;  ///< in file order; only models that bring their own graph have any
  std::vector<std::string> notes;  ///< what a user has to know ("the context is cut to the attention window, ...")
  std::vector<Tensor> tensors;     ///< every tensor of the file(s); empty for shapes
  Digest digest;                   ///< of shape, names and (for files) the file's size and header
  bool has_weights() const { return !tensors.empty(); }
};

/// MODEL of the command line: a preset name, a shape .toml, a .gguf, a .safetensors, or a Hugging Face folder.
/// A .safetensors with a config.json beside it is that model, otherwise a bag of matrices.
/// Errors: model.unknown, model.unsupported-format, and those of the importers (shape.*, gguf.*, safetensors.*, hf.*,
/// model.*).
Result<Model> load(const std::string& name_or_path);
/// Names of the embedded shape presets, sorted.
std::vector<std::string_view> preset_names();

}  // namespace danaus::model
