#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/model/onnx/array.h"
#include "danaus/model/onnx/graph_writer.h"
#include "danaus/model/onnx/layout.h"
#include "danaus/model/onnx/onnx.h"
#include "danaus/model/onnx/samples.h"

namespace danaus::model::onnx {

using Shape64 = std::vector<std::int64_t>;

constexpr std::int64_t kLargestVector = 1 << 24;       ///< graph validation has the same limit
constexpr std::int64_t kWork = std::int64_t{1} << 27;  ///< elements that may be written while folding
constexpr std::string_view kTiedHead = "lm head (tied)";

struct Outside {
  enum class Kind : std::uint8_t { other, looked_up, rows };
  std::optional<Shape64> shape;
  Kind kind = Kind::other;  ///< rows: one vector per token; looked_up: rows of an embedding and their sums
  bool is_pooled = false;   ///< one vector per sequence
};

struct Known {
  const Tensor* tensor = nullptr;
  bool transposed = false;  ///< a matrix, turned
  std::shared_ptr<const Array> array;
};

struct Vectors {
  StreamId stream{};
  std::int64_t offset = 0;  ///< of the first element of the layout
  Layout layout;
  double scale = 1;
  bool is_cached = false;  ///< earlier tokens were put in front
};

struct Sampled {
  Vectors base;
  bool is_reduced = false;  ///< one number per token
  Samples samples = {};
};

/// The halves of every head exchanged, the new first one negated.
struct Rotated {
  Vectors base;
};

/// A vector, or its rotated form, times a table of one number per token and element of a head.
struct RotaryTerm {
  Vectors base;
  bool is_rotated = false;
  std::shared_ptr<const Array> table;
};

struct Scores {
  Vectors query, key;
  Layout layout;
  double scale = 1;
  std::int64_t kv_heads = 1;
  bool is_causal = false;
  bool is_softmaxed = false;
};

using Value = std::variant<Outside, Known, Vectors, Sampled, Rotated, RotaryTerm, Scores>;

/// Nodes that only rearrange: not worth a line among what stays digital when all they touch is outside anyway.
bool is_plumbing(std::string_view operation);
bool same_base(const Vectors& a, const Vectors& b);
/// Axes of tokens, of keys, or of elements alone; an axis of size 1 is any of them.
bool is_only(const Axis& axis, Factor::Kind kind);
/// One run over elements that lie side by side: the last axis of a head.
bool is_head_axis(const Axis& axis);

/// Follows the values of a graph, node by node, and writes what it understands.
class Importer {
 public:
  explicit Importer(const OnnxFile& file) : file_(file) {}
  Result<Model> run();

 private:
  using Id = std::uint32_t;

  // Values
  Result<void> define(std::string_view name, Value value, std::uint64_t offset);
  std::optional<Id> operand(const OnnxNode& node, std::size_t number) const;
  Value& value(Id id) { return values_[id].value; }
  template <typename Kind>
  const Kind* get(std::optional<Id> id) const {
    return id ? std::get_if<Kind>(&values_[*id].value) : nullptr;
  }
  std::shared_ptr<const Array> array(std::optional<Id> id);
  std::optional<double> scalar(std::optional<Id> id);
  std::optional<Shape64> shape(Id id) const;
  std::optional<Vector> vector(std::optional<Id> id, std::int64_t size, double factor = 1);
  Tensor owned(std::string name, const std::vector<float>& values, std::vector<std::uint64_t> shape) const;

  // Inputs of the file
  Result<void> take_inputs();
  std::optional<std::int64_t> open_size(std::string_view symbol, bool may_name);
  std::optional<Shape64> bound_shape(const OnnxValue& type, bool is_input);

  // Nodes
  Result<void> visit(std::uint32_t number);
  bool understand(const OnnxNode& node);
  bool fold_node(const OnnxNode& node);
  bool rearrange(const OnnxNode& node);
  bool concat(const OnnxNode& node);
  bool split(const OnnxNode& node);
  bool gather(const OnnxNode& node);
  bool matrix_product(const OnnxNode& node);
  bool gemm(const OnnxNode& node);
  bool linear(const OnnxNode& node, Id source, const Known& weight, bool is_turned, double factor);
  bool attention_scores(const OnnxNode& node, const Vectors& query, const Vectors& key);
  bool attention_context(const OnnxNode& node, const Scores& scores, const Vectors& values);
  bool softmax(const OnnxNode& node);
  bool where(const OnnxNode& node);
  bool mask(Scores& scores, const Array& numbers, bool is_condition, bool kept);
  bool norm(const OnnxNode& node);
  bool skip_norm(const OnnxNode& node);
  bool activate(const OnnxNode& node);
  bool unary(const OnnxNode& node);
  Sampled samples_of(Id id) const;
  bool mean(const OnnxNode& node);
  bool combine(const OnnxNode& node);
  bool combine_with_known(const OnnxNode& node, Id other, Id known, bool known_is_second);
  bool combine_samples(const OnnxNode& node, Id a, Id b);
  bool add_bias(const OnnxNode& node, Id id, const Vector& addend);
  bool rotary(const OnnxNode& node, const RotaryTerm& a, const RotaryTerm& b);
  bool is_head(const Tensor& weight, std::int64_t out) const;

  bool refuse(std::string reason) {
    reason_ = std::move(reason);
    return false;
  }
  bool result(const OnnxNode& node, Value made) {
    results_.push_back(std::move(made));
    return results_.size() <= node.outputs.size();
  }
  bool alias(Id id) {
    alias_ = id;
    return true;
  }

  // Between the file's graph and ours
  std::optional<Vectors> as_vectors(Id id, std::optional<std::int64_t> size = std::nullopt);
  std::optional<Vectors> resolve(const Sampled& sampled, const std::string& name);
  std::optional<NodeId> node_of(const Vectors& vectors, std::string_view part = {});
  std::optional<NodeId> row_node(const Vectors& vectors, std::string_view part = {});
  std::optional<NormForm> norm_form(const Sampled& sampled) const;
  std::optional<Samples> samples_of(const Value& value, const Vectors& base);
  void leave(std::uint32_t number, std::string reason);
  void leave_outside(const Tensor& matrix, std::string reason, bool is_turned);
  void demand(Id id, const std::string& reason);
  std::optional<Array> shape_only(Id id);
  std::vector<std::optional<Shape64>> infer(const OnnxNode& node);

  std::string node_name(std::uint32_t number) const;
  std::string operator_name(const Tensor& weight) const;
  static bool is_spoken(std::string_view tensor_name);

  struct Entry {
    std::string_view name;
    Value value;
    std::optional<std::uint32_t> producer;  ///< node
    std::uint32_t uses = 0;
    bool is_output = false;
  };

  const OnnxFile& file_;
  GraphWriter writer_;
  std::vector<Entry> values_;
  std::unordered_map<std::string_view, Id> ids_;
  std::unordered_map<std::string_view, const OnnxValue*> types_;
  std::unordered_map<std::string_view, std::uint32_t> use_counts_;
  std::unordered_map<std::string_view, std::vector<std::uint32_t>> users_;
  std::set<std::string_view> output_names_;
  std::map<std::string, std::int64_t, std::less<>> open_sizes_;
  std::optional<Shape64> token_shape_;
  std::int64_t budget_ = kWork;
  std::uint32_t current_ = 0;
  std::string reason_;
  std::vector<Value> results_;
  std::optional<Id> alias_;
  std::map<std::uint32_t, std::string> left_;  ///< node -> why it is digital
  std::set<const Tensor*> outside_;            ///< matrices that are looked up or not mapped
  std::vector<DigitalMatrix> digital_;         ///< the same with why, in the order in which they are found
  std::set<const Tensor*> used_;
  std::int64_t vocabulary_ = 0, context_ = 0;
  const Tensor* embedding_ = nullptr;
};

}  // namespace danaus::model::onnx
