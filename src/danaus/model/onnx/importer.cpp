#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>

#include "danaus/core/internal_error.h"
#include "danaus/model/builder.h"
#include "danaus/model/element.h"
#include "danaus/model/onnx/array.h"
#include "danaus/model/onnx/graph_writer.h"
#include "danaus/model/onnx/layout.h"
#include "danaus/model/onnx/onnx.h"
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

namespace danaus::model {
namespace {

using Shape64 = std::vector<std::int64_t>;

constexpr std::int64_t kBatch = 2;
constexpr std::array<std::int64_t, 6> kOpenSizes = {5, 7, 11, 13, 17, 19};  // of the names of sizes, in file order
constexpr std::int64_t kWork = std::int64_t{1} << 27;  // elements that may be written while folding
constexpr std::int64_t kLargestVector = 1 << 24;       // graph validation has the same limit
constexpr std::string_view kTiedHead = "lm head (tied)";
constexpr std::size_t kSampleLength = 8;
constexpr std::size_t kSampleGroups = 3;

using Samples = std::array<double, kSampleLength * kSampleGroups>;
/// Three vectors: usual size, so small that an epsilon of a norm shows, and mixed.
constexpr Samples kSamples = {-3.7,   -1.9,    -0.6,   -0.11,  0.23,    0.8,     1.7,    4.1,     //
                              0.0031, -0.0017, 0.0008, 0.0022, -0.0029, -0.0004, 0.0013, -0.0036, //
                              0.05,   -2.6,    1.2,    -0.9,   3.3,     -0.02,   -1.4,   0.6};

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
bool is_plumbing(std::string_view operation) {
  constexpr std::string_view kNames[] = {"Cast",   "CastLike", "Concat",   "Constant", "ConstantOfShape", "Dropout",
                                         "Expand", "Flatten",  "Identity", "Range",    "Reshape",         "Shape",
                                         "Size",   "Slice",    "Split",    "Squeeze",  "Transpose",       "Unsqueeze"};
  return std::find(std::begin(kNames), std::end(kNames), operation) != std::end(kNames);
}

bool same_base(const Vectors& a, const Vectors& b) {
  return a.stream == b.stream && a.offset == b.offset && a.layout == b.layout;
}

double group_mean(const Samples& samples, std::size_t group) {
  double sum = 0;
  for (std::size_t n = 0; n < kSampleLength; ++n) sum += samples[group * kSampleLength + n];
  return sum / kSampleLength;
}

bool close(const Samples& a, const Samples& b, double tolerance) {
  for (std::size_t n = 0; n < a.size(); ++n) {
    if (!(std::abs(a[n] - b[n]) <= tolerance * (1 + std::abs(b[n])))) return false;
  }
  return true;
}

/// The activation that a function is. The tolerance takes in constants of half precision and the tanh form of gelu,
/// which is within 5e-4 of it.
std::optional<NodeKind> activation_of(const Samples& samples) {
  Samples silu = {}, gelu = {}, relu = {};
  for (std::size_t n = 0; n < samples.size(); ++n) {
    const double x = kSamples[n];
    silu[n] = x / (1 + std::exp(-x));
    gelu[n] = 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    relu[n] = std::max(x, 0.0);
  }
  constexpr double kTolerance = 1e-3;
  if (close(samples, silu, kTolerance)) return NodeKind::silu;
  if (close(samples, gelu, kTolerance)) return NodeKind::gelu;
  if (close(samples, relu, kTolerance)) return NodeKind::relu;
  return std::nullopt;
}

struct NormForm {
  Config::Norm kind = Config::Norm::layer;
  double epsilon = 0;
};

/// The norm without gain that a function is, its epsilon solved from the small sample vector.
std::optional<NormForm> norm_of(const Samples& samples) {
  for (const Config::Norm kind : {Config::Norm::layer, Config::Norm::rms}) {
    Samples centred = {};
    std::array<double, kSampleGroups> variance = {};
    for (std::size_t group = 0; group < kSampleGroups; ++group) {
      const double mean = kind == Config::Norm::layer ? group_mean(kSamples, group) : 0;
      for (std::size_t n = group * kSampleLength; n < (group + 1) * kSampleLength; ++n) {
        centred[n] = kSamples[n] - mean;
        variance[group] += centred[n] * centred[n] / kSampleLength;
      }
    }
    const std::size_t probe = kSampleLength;  // the first element of the small vector
    const double sigma = centred[probe] / samples[probe];
    const double epsilon = sigma * sigma - variance[1];
    if (!(epsilon > -1e-15 && epsilon < 1)) continue;
    Samples expected = {};
    for (std::size_t n = 0; n < expected.size(); ++n)
      expected[n] = centred[n] / std::sqrt(variance[n / kSampleLength] + std::max(epsilon, 0.0));
    if (close(samples, expected, 1e-6)) return NormForm{kind, static_cast<float>(std::max(epsilon, 1e-30))};
  }
  return std::nullopt;
}

/// c when the function is c x.
std::optional<double> factor_of(const Samples& samples) {
  const double factor = samples[0] / kSamples[0];
  Samples expected = {};
  for (std::size_t n = 0; n < expected.size(); ++n) expected[n] = factor * kSamples[n];
  if (!std::isfinite(factor) || factor == 0 || !close(samples, expected, 1e-12)) return std::nullopt;
  return factor;
}

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
  std::set<const Tensor*> outside_;  ///< matrices that are looked up or not mapped
  std::vector<DigitalMatrix> digital_;  ///< the same with why, in the order in which they are found
  std::set<const Tensor*> used_;
  std::int64_t vocabulary_ = 0, context_ = 0;
  const Tensor* embedding_ = nullptr;
};

// ---------------------------------------------------------------------------------------------------------------------
// Values

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
      const std::size_t rows = static_cast<std::size_t>(read->shape[0]), columns = static_cast<std::size_t>(read->shape[1]);
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

// ---------------------------------------------------------------------------------------------------------------------
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
      for (std::int64_t place = 1; !part.empty(); part.remove_suffix(1), place *= 10) sum += (part.back() - '0') * place;
    } else if (part.find("batch") != std::string_view::npos) {
      sum += kBatch;
    } else if (part.find("total") != std::string_view::npos) {
      sum += kOpenSizes[0];
    } else if (part.find("past") == std::string_view::npos) {  // nothing is past: the first token is the first
      const std::map<std::string, std::int64_t, std::less<>>::const_iterator found = open_sizes_.find(part);
      if (found == open_sizes_.end() && (!may_name || open_sizes_.size() == kOpenSizes.size())) return std::nullopt;
      sum += found != open_sizes_.end()
                 ? found->second
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
      Array numbers{.shape = *sizes, .values = std::vector<double>(static_cast<std::size_t>(*elements), 1),
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

// ---------------------------------------------------------------------------------------------------------------------
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

void Importer::leave(std::uint32_t number, std::string reason) {
  left_.emplace(number, std::move(reason));
}

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
      if (std::optional<Vectors> found = resolve(*sampled, node_name(values_[id].producer.value_or(current_)))) value(id) = *found;
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
  constexpr std::string_view kSameShape[] = {"Softmax", "LogSoftmax", "LayerNormalization", "Gelu", "Elu", "LeakyRelu",
                                             "HardSwish", "Mish", "Softplus", "Clip", "Cast", "Softsign", "Selu",
                                             "HardSigmoid", "RMSNormalization", "Swish"};
  if (a && (unary_function(op) || std::find(std::begin(kSameShape), std::end(kSameShape), op) != std::end(kSameShape))) {
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

// ---------------------------------------------------------------------------------------------------------------------
// Constants, shapes and layouts

/// A node whose operands are all known, or that asks for a shape.
bool Importer::fold_node(const OnnxNode& node) {
  const std::string_view op = node.operation;
  if (op == "Constant") {
    Known known;
    for (const OnnxAttribute& attribute : node.attributes) {
      if (attribute.name == "value" && attribute.tensor) {
        known.tensor = &*attribute.tensor;
        return result(node, known);
      }
      Array numbers;
      if (attribute.name == "value_int" && attribute.integer) {
        numbers = {.shape = {}, .values = {static_cast<double>(*attribute.integer)}, .whole = true};
      } else if (attribute.name == "value_float" && attribute.real) {
        numbers = {.shape = {}, .values = {static_cast<double>(*attribute.real)}, .whole = false};
      } else if (attribute.name == "value_ints") {
        numbers.values.assign(attribute.integers.begin(), attribute.integers.end());
        numbers.shape = {numbers.elements()};
        numbers.whole = true;
      } else if (attribute.name == "value_floats") {
        numbers.values.assign(attribute.reals.begin(), attribute.reals.end());
        numbers.shape = {numbers.elements()};
      } else {
        continue;
      }
      known.array = std::make_shared<const Array>(std::move(numbers));
      return result(node, known);
    }
    return refuse("a constant that is not a tensor of numbers");
  }
  if (op == "Shape" || op == "Size") {
    const std::optional<Id> id = operand(node, 0);
    const std::optional<Shape64> sizes = id ? shape(*id) : std::nullopt;
    if (!sizes) return false;
    Array numbers;
    numbers.whole = true;
    if (op == "Size") {
      numbers.values = {static_cast<double>(array_elements(*sizes, kLargestShape).value_or(0))};
    } else {
      const std::int64_t rank = static_cast<std::int64_t>(sizes->size());
      const OnnxAttribute *start = node.find("start"), *end = node.find("end");
      const auto bound = [&](const OnnxAttribute* attribute, std::int64_t otherwise) {
        std::int64_t place = attribute != nullptr && attribute->integer ? *attribute->integer : otherwise;
        if (place < -rank) place = -rank;
        return std::clamp<std::int64_t>(place < 0 ? place + rank : place, 0, rank);
      };
      for (std::int64_t d = bound(start, 0); d < bound(end, rank); ++d)
        numbers.values.push_back(static_cast<double>((*sizes)[static_cast<std::size_t>(d)]));
      numbers.shape = {numbers.elements()};
    }
    return result(node, Known{.array = std::make_shared<const Array>(std::move(numbers))});
  }
  if (op == "Transpose") {
    const Known* known = get<Known>(operand(node, 0));
    const OnnxAttribute* perm = node.find("perm");
    if (known != nullptr && known->tensor != nullptr && known->tensor->shape.size() == 2 &&
        (perm == nullptr || perm->integers == std::vector<std::int64_t>{1, 0})) {
      Known turned = *known;
      turned.transposed = !turned.transposed;
      turned.array = nullptr;
      return result(node, turned);
    }
  }
  if (op == "Gather") {
    // Rows of a table at known positions, without reading all of it.
    const Known* table = get<Known>(operand(node, 0));
    const OnnxAttribute* axis = node.find("axis");
    const std::shared_ptr<const Array> rows = array(operand(node, 1));
    if (table != nullptr && table->tensor != nullptr && !table->array && !table->transposed &&
        table->tensor->shape.size() == 2 && is_real(table->tensor->type) && rows &&
        (axis == nullptr || axis->integer.value_or(0) == 0)) {
      const std::uint64_t length = table->tensor->shape[1];
      const double count = static_cast<double>(table->tensor->shape[0]);
      Shape64 sizes = rows->shape;
      sizes.push_back(static_cast<std::int64_t>(std::min<std::uint64_t>(length, kLargestVector + 1)));
      const std::optional<std::int64_t> elements = array_elements(sizes);
      if (!elements || *elements > budget_) return false;
      budget_ -= *elements;
      Array numbers{.shape = sizes, .values = {}, .whole = false};
      std::vector<float> row(static_cast<std::size_t>(length));
      for (const double wanted : rows->values) {
        const double place = wanted < 0 ? wanted + count : wanted;
        if (!(place >= 0 && place < count)) return false;
        dequantise_rows(*table->tensor, static_cast<std::uint64_t>(place), 1, row);
        numbers.values.insert(numbers.values.end(), row.begin(), row.end());
      }
      leave_outside(*table->tensor, "table: rows are looked up by position", false);
      context_ = std::max(context_, static_cast<std::int64_t>(
                                        std::min<std::uint64_t>(table->tensor->shape[0], kLargestVector)));
      return result(node, Known{.array = std::make_shared<const Array>(std::move(numbers))});
    }
  }
  std::vector<std::shared_ptr<const Array>> operands;
  std::vector<const Array*> pointers;
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    if (id && get<Known>(*id) == nullptr) return false;
  }
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    operands.push_back(array(id));
    if (id && !operands.back()) return false;
    pointers.push_back(operands.back().get());
  }
  std::optional<std::vector<Array>> made = fold(node, pointers, budget_);
  if (!made) return false;
  for (Array& numbers : *made) results_.push_back(Known{.array = std::make_shared<const Array>(std::move(numbers))});
  return results_.size() <= node.outputs.size();
}

/// Reshape, Transpose and the like of a vector, also of one that is halfway through an attention.
bool Importer::rearrange(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  if (!id) return false;
  Vectors vectors;
  Scores scores;
  const Scores* from_scores = get<Scores>(id);
  if (from_scores != nullptr) {
    scores = *from_scores;
  } else if (const Vectors* from = get<Vectors>(id)) {
    vectors = *from;
  } else {
    const Outside* outside = get<Outside>(id);
    // Of values from outside only the file's own inputs: what a digital node makes may be laid out in any way.
    const bool is_rows = outside != nullptr && outside->kind == Outside::Kind::rows && outside->shape &&
                         !values_[*id].producer;
    if (get<Known>(id) != nullptr || (outside != nullptr && !is_rows)) return false;
    const std::optional<Vectors> made = as_vectors(*id);
    if (!made) return false;
    vectors = *made;
  }
  const Layout& layout = from_scores != nullptr ? scores.layout : vectors.layout;
  const Shape64 sizes = shape_of(layout);
  const std::int64_t rank = static_cast<std::int64_t>(sizes.size());
  std::optional<Layout> made;
  const std::string_view op = node.operation;
  const std::shared_ptr<const Array> second = array(operand(node, 1));
  if (operand(node, 1) && !second) return refuse("its shape operand is not known");
  if (op == "Transpose") {
    Shape64 order;
    if (const OnnxAttribute* perm = node.find("perm")) {
      order = perm->integers;
    } else {
      for (std::int64_t d = rank; d-- > 0;) order.push_back(d);
    }
    made = transpose(layout, order);
  } else if (op == "Slice") {
    if (from_scores != nullptr) return refuse("a piece of attention scores");
    std::vector<std::shared_ptr<const Array>> bounds;
    std::vector<const Array*> operands;
    for (std::size_t n = 0; n < node.inputs.size(); ++n) {
      bounds.push_back(n == 0 ? nullptr : array(operand(node, n)));
      if (n > 0 && operand(node, n) && !bounds.back()) return refuse("its bounds are not known");
      operands.push_back(bounds.back().get());
    }
    const std::optional<std::vector<SlicedAxis>> axes = sliced_axes(node, sizes, operands);
    made = layout;
    for (std::size_t d = 0; axes && made && d < axes->size(); ++d) {
      const SlicedAxis& axis = (*axes)[d];
      if (axis.step != 1) return refuse("a piece with gaps");
      made = slice(*made, d, axis.first, axis.count, vectors.offset);
    }
    if (!axes || !made) return refuse("it picks single tokens");
  } else if (op == "Expand") {
    if (!second) return false;
    Shape64 wanted;
    for (const double size : second->values) {
      if (!(size >= 1 && size <= static_cast<double>(kLargestArray))) return refuse("the size of its result is not known");
      wanted.push_back(static_cast<std::int64_t>(size));
    }
    if (from_scores != nullptr && wanted != sizes) return refuse("attention scores that are repeated");
    made = expand(layout, wanted);
  } else {
    // Reshape, Flatten, Squeeze, Unsqueeze: the same elements in the same order.
    std::optional<Shape64> wanted;
    if (op == "Reshape" && second) {
      wanted = reshaped(sizes, *second);
    } else if (op == "Flatten") {
      const OnnxAttribute* axis = node.find("axis");
      std::int64_t cut = axis != nullptr && axis->integer ? *axis->integer : 1;
      if (cut < 0) cut += rank;
      if (cut < 0 || cut > rank) return false;
      wanted = Shape64{1, 1};
      for (std::int64_t d = 0; d < rank; ++d) (*wanted)[d < cut ? 0 : 1] *= sizes[static_cast<std::size_t>(d)];
    } else if (op == "Unsqueeze" || op == "Squeeze") {
      const OnnxAttribute* attribute = node.find("axes");
      const std::size_t count = second ? second->values.size() : attribute != nullptr ? attribute->integers.size() : 0;
      if (count > 8) return false;
      const std::int64_t full = op == "Unsqueeze" ? rank + static_cast<std::int64_t>(count) : rank;
      const std::optional<std::vector<std::int64_t>> axes = axes_of(node, second.get(), full);
      if (!axes && (op == "Unsqueeze" || count != 0)) return false;
      wanted.emplace();
      std::size_t next = 0;
      for (std::int64_t d = 0; d < full; ++d) {
        const bool is_named = axes && std::find(axes->begin(), axes->end(), d) != axes->end();
        if (op == "Unsqueeze") {
          wanted->push_back(is_named ? 1 : sizes[next++]);
        } else if (axes ? !is_named : sizes[static_cast<std::size_t>(d)] != 1) {
          wanted->push_back(sizes[static_cast<std::size_t>(d)]);
        }
      }
    }
    if (wanted) made = reshape(layout, *wanted);
  }
  if (!made) return refuse("it mixes tokens with elements of the vectors");
  if (from_scores != nullptr) {
    scores.layout = std::move(*made);
    return result(node, scores);
  }
  vectors.layout = std::move(*made);
  return result(node, vectors);
}

/// Pieces of a vector put together: the rotated halves of a rotary embedding, or new entries behind a cache.
bool Importer::concat(const OnnxNode& node) {
  const OnnxAttribute* attribute = node.find("axis");
  std::vector<Id> parts;
  bool has_past = false;
  for (std::size_t n = 0; n < node.inputs.size(); ++n) {
    const std::optional<Id> id = operand(node, n);
    if (!id) return false;
    const std::optional<Shape64> sizes = shape(*id);
    if (sizes && std::find(sizes->begin(), sizes->end(), 0) != sizes->end()) {
      has_past = true;  // a cache that is still empty
    } else {
      parts.push_back(*id);
    }
  }
  if (parts.size() == 1 && has_past) {
    const Vectors* only = get<Vectors>(parts[0]);
    if (only == nullptr) return alias(parts[0]);
    Vectors made = *only;
    made.is_cached = true;
    return result(node, made);
  }
  if (parts.size() != 2 || attribute == nullptr || !attribute->integer) return false;
  const Vectors *first = get<Vectors>(parts[0]), *second = get<Vectors>(parts[1]);
  if (first == nullptr || second == nullptr || first->layout != second->layout || first->stream != second->stream ||
      first->layout.empty())
    return refuse("values that are joined");
  const std::int64_t rank = static_cast<std::int64_t>(first->layout.size());
  const Axis& last = first->layout.back();
  if ((*attribute->integer != -1 && *attribute->integer != rank - 1) || last.size() > 1 ||
      (last.size() == 1 && (last[0].kind != Factor::Kind::element || last[0].stride != 1)))
    return refuse("values that are joined");
  const std::int64_t half = size_of(last);
  if (first->scale != -second->scale || second->scale != 1 || first->offset != second->offset + half)
    return refuse("values that are joined");
  Rotated made;
  made.base = *second;
  made.base.layout.back() = {{Factor::Kind::element, 2 * half, 1}};
  return result(node, made);
}

bool Importer::split(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const Vectors* from = get<Vectors>(id);
  if (from == nullptr) return false;
  const OnnxAttribute* attribute = node.find("axis");
  const std::int64_t rank = static_cast<std::int64_t>(from->layout.size());
  std::int64_t axis = attribute != nullptr && attribute->integer ? *attribute->integer : 0;
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return false;
  const std::shared_ptr<const Array> second = array(operand(node, 1));
  if (operand(node, 1) && !second) return refuse("its sizes are not known");
  const Vectors whole = *from;
  const std::optional<std::vector<std::int64_t>> sizes =
      split_sizes(node, second.get(), size_of(whole.layout[static_cast<std::size_t>(axis)]));
  if (!sizes) return false;
  std::int64_t first = 0;
  for (const std::int64_t size : *sizes) {
    Vectors part = whole;
    const std::optional<Layout> layout =
        slice(whole.layout, static_cast<std::size_t>(axis), first, size, part.offset);
    if (!layout) return refuse("it separates tokens");
    part.layout = *layout;
    first += size;
    results_.push_back(std::move(part));
  }
  return true;
}

bool Importer::gather(const OnnxNode& node) {
  const std::optional<Id> id = operand(node, 0);
  const Known* table = get<Known>(id);
  const OnnxAttribute* attribute = node.find("axis");
  std::int64_t axis = attribute != nullptr && attribute->integer ? *attribute->integer : 0;
  if (table != nullptr) {
    if (table->tensor != nullptr && table->tensor->shape.size() == 2 && is_real(table->tensor->type) && axis == 0) {
      leave_outside(*table->tensor, "embedding: a row is looked up", false);
      const std::int64_t rows =
          static_cast<std::int64_t>(std::min<std::uint64_t>(table->tensor->shape[0], kLargestVector));
      if (rows > vocabulary_) {
        vocabulary_ = rows;
        embedding_ = table->tensor;
      }
      return refuse("embedding: a row is looked up");
    }
    return refuse("a look-up");
  }
  const Vectors* from = get<Vectors>(id);
  const std::shared_ptr<const Array> places = array(operand(node, 1));
  if (from == nullptr || !places || places->elements() != 1) return false;
  const std::int64_t rank = static_cast<std::int64_t>(from->layout.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return false;
  Vectors made = *from;
  const double size = static_cast<double>(size_of(made.layout[static_cast<std::size_t>(axis)]));
  const double place = places->values[0] < 0 ? places->values[0] + size : places->values[0];
  if (!(place >= 0 && place < size)) return false;
  const std::optional<Layout> layout = slice(made.layout, static_cast<std::size_t>(axis),
                                             static_cast<std::int64_t>(place), 1, made.offset);
  if (!layout) return refuse("it picks single tokens");
  made.layout = *layout;
  if (places->shape.empty()) made.layout.erase(made.layout.begin() + axis);
  return result(node, made);
}

// ---------------------------------------------------------------------------------------------------------------------
// Linear operators

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
    const std::string reason = is_pooled                ? "used once per sequence"
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

// ---------------------------------------------------------------------------------------------------------------------
// Attention

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

bool is_only(const Axis& axis, Factor::Kind kind) {
  return std::all_of(axis.begin(), axis.end(), [&](const Factor& factor) { return factor.kind == kind; });
}

Axis with_kind(Axis axis, Factor::Kind kind) {
  for (Factor& factor : axis) factor.kind = kind;
  return axis;
}

bool is_head_axis(const Axis& axis) {
  return axis.empty() || (axis.size() == 1 && axis[0].kind == Factor::Kind::element && axis[0].stride == 1);
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
                               static_cast<std::uint32_t>(kv_heads), !scores.is_causal);
  made.layout.assign(scores.layout.begin(), scores.layout.end() - 1);
  made.layout.push_back(elements);
  return result(node, made);
}

// ---------------------------------------------------------------------------------------------------------------------
// Norms, activations, arithmetic

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
  made.stream =
      writer_.norm(operator_name(gain->tensor), *writer_.node_of(sum.stream, 0, gain->count, {}),
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
  made.stream = writer_.activation(node_name(current_), node.operation == "Swish" ? NodeKind::silu : NodeKind::gelu,
                                   *from);
  return result(node, made);
}

bool is_function(const Value& value) {
  return std::holds_alternative<Vectors>(value) || std::holds_alternative<Sampled>(value);
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
    return result(node, Known{.array = std::make_shared<const Array>(
                                  Array{.shape = sizes,
                                        .values = std::vector<double>(static_cast<std::size_t>(*elements)),
                                        .whole = true})});
  }
  const Outside* outside = get<Outside>(id);
  if (outside != nullptr && outside->kind == Outside::Kind::rows && !as_vectors(*id)) return false;
  if (!is_function(value(*id))) return false;
  if (const Vectors* vectors = get<Vectors>(id); vectors != nullptr && node.operation == "Neg") {
    Vectors made = *vectors;
    made.scale = -made.scale;
    return result(node, made);
  }
  Sampled made;
  if (const Sampled* sampled = get<Sampled>(id)) {
    made = *sampled;
  } else {
    made.base = *get<Vectors>(id);
    for (std::size_t n = 0; n < made.samples.size(); ++n) made.samples[n] = made.base.scale * kSamples[n];
    made.base.scale = 1;
  }
  for (double& sample : made.samples) sample = f(sample);
  return result(node, made);
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
  Sampled made;
  if (const Sampled* sampled = get<Sampled>(id)) {
    made = *sampled;
  } else {
    made.base = *get<Vectors>(id);
    for (std::size_t n = 0; n < made.samples.size(); ++n) made.samples[n] = made.base.scale * kSamples[n];
    made.base.scale = 1;
  }
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
  const bool is_vector = !known_sizes->empty() && array_elements(*known_sizes, kLargestShape) == length && length == known_sizes->back();
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
      const double angle = static_cast<double>(token) * std::pow(theta, -2.0 * static_cast<double>(element % pairs) /
                                                                            static_cast<double>(size));
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
  made.stream = writer_.rope(node_name(current_) + ".rope", *from, static_cast<std::uint32_t>(size), theta,
                             Config::Pairs::half);
  return result(node, made);
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
  made.stream = writer_.combine(node_name(current_), op == "Add" ? NodeKind::add : NodeKind::mul, *left_node,
                                *right_node);
  return result(node, made);
}

// ---------------------------------------------------------------------------------------------------------------------
// The walk

bool Importer::understand(const OnnxNode& node) {
  const std::string_view op = node.operation;
  if (node.outputs.empty() || !node.captured.empty()) return refuse("a node with a body");
  const bool is_microsoft = node.domain == "com.microsoft";
  if (!node.domain.empty() && !is_microsoft) return refuse(fmt::format("an operation of {}", printable(node.domain)));
  if (op == "SimplifiedLayerNormalization" || op == "RMSNormalization" || op == "LayerNormalization")
    return norm(node);
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
        is_looked_up = is_looked_up || (node.operation == "Gather" && known.tensor != nullptr &&
                                        outside_.contains(known.tensor));
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
      leave(number, is_all_outside ? std::string("works on values from outside")
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
    return fail(Error("onnx.no-operators", Failure::unsupported,
                      "the graph has no linear operator that danaus could map: no MatMul or Gemm of one vector per token "
                      "with stored weights of real numbers")
                    .in_file(file_.name)
                    .with_hint("export the model in floating point and without If around it ('merged' decoders)"));
  for (const std::pair<const std::uint32_t, std::string>& node : left_) {
    const OnnxNode& of = file_.nodes[node.first];
    model.digital_nodes.push_back({.name = node_name(node.first),
                                   .operation = of.domain.empty()
                                                    ? printable(of.operation)
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
                        node.kv_heads, node.all_tokens);
  }
  model.digest = digest_of(text + describe(model.tensors));
  return model;
}

}  // namespace

Result<Model> model_from_onnx(const OnnxFile& file) { return Importer(file).run(); }

}  // namespace danaus::model
