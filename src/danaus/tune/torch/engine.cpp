// The engine on LibTorch. A step has three parts: the parameters are multiplied out to one matrix per operator (each
// operator its own small graph of derivatives), the shards compute their losses and the derivatives with respect to
// these matrices (each shard on one thread), and the sums of these go back through the small graphs.
//
// Products take bfloat16 where asked for; norms, activations, softmax and sums are in single precision.

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/tune/engine.h"
#include "danaus/tune/torch/entry.h"

namespace danaus::tune {
namespace {

using torch::Tensor;
using torch::indexing::Slice;

std::int64_t signed_size(std::size_t size) { return static_cast<std::int64_t>(size); }

Tensor tensor_of(std::span<const float> values, at::IntArrayRef shape) {
  return torch::from_blob(const_cast<float*>(values.data()), shape, torch::kFloat);
}

/// What an operator multiplies with: one matrix {out, in}, or the two stages of blocks.
struct Weights {
  Tensor whole;
  Tensor right;  ///< {k, l * r, in_block}
  Tensor left;   ///< {l, out_block, r * k}
  std::vector<Tensor> all() const {
    return whole.defined() ? std::vector<Tensor>{whole} : std::vector<Tensor>{right, left};
  }
};

/// y = x W^T, {rows, in} -> {rows, out}.
Tensor product(const Tensor& x, const Tensor& weights) {
  return at::linear(x.to(weights.scalar_type()), weights).to(torch::kFloat);
}

/// Blocks stage after stage: x {rows, in} -> {rows, out}.
Tensor staged_product(const Structure& s, const Tensor& x, const Weights& weights) {
  const std::int64_t rows = x.size(0), k = s.k, l = s.l, r = s.r, p = s.in_block;
  Tensor inputs = x.to(weights.right.scalar_type());
  if (k == 1 && l == 1 && s.in == s.in_block && s.out == s.out_block)
    return at::linear(at::linear(inputs, weights.right[0]), weights.left[0]).to(torch::kFloat);
  if (k * p != s.in) inputs = at::constant_pad_nd(inputs, {0, k * p - s.in});
  const Tensor middle =
      at::bmm(inputs.view({rows, k, p}).transpose(0, 1), weights.right.transpose(1, 2));  // {k, rows, l*r}
  const Tensor turned = middle.view({k, rows, l, r}).permute({2, 1, 3, 0}).reshape({l, rows, r * k});
  const Tensor blocks = at::bmm(turned, weights.left.transpose(1, 2));  // {l, rows, out_block}
  return blocks.permute({1, 0, 2}).reshape({rows, l * s.out_block}).narrow(1, 0, s.out).to(torch::kFloat);
}

/// `value`, with the derivatives of `x`.
Tensor straight_through(const Tensor& value, const Tensor& x) { return x + (value - x).detach(); }

/// Weights and converters of arrays that compute one stage of one operator for one shard.
class NoisyStage {
 public:
  NoisyStage(const Noise& noise, std::uint64_t shard, std::uint64_t stage)
      : noise_(noise), seed_((noise.seed * 0x9e3779b97f4a7c15u + shard) * 0xbf58476d1ce4e5b9u + stage) {}

  /// x {rows, inputs} as the DACs give it.
  Tensor input(const Tensor& x) {
    full_ = x.detach().abs().amax(1, true).clamp_min_(1e-30);
    if (noise_.input_bits == 0) return x;
    const Tensor step = full_ / codes(noise_.input_bits);
    return straight_through(at::round(x / step) * step, x);
  }

  /// Blocks of these inputs, x {k, rows, inputs}, times weights {k, outputs, inputs}, as the ADCs read it. Currents are
  /// relative to the full scales of the DACs and of the outputs' weights.
  Tensor multiply(const Tensor& x, const Tensor& weights) const {
    const Tensor largest = weights.detach().to(torch::kFloat).abs().amax(2, true).clamp_min_(1e-30);  // {k, outputs, 1}
    Tensor noisy = weights;
    if (noise_.weights != 0) {
      const at::Generator generator = at::detail::createCPUGenerator(seed_);
      const Tensor draws = at::normal(0.0, noise_.weights, weights.sizes(), generator);
      noisy = weights + (draws * largest).to(weights.scalar_type());
    }
    const Tensor y = at::bmm(x.to(noisy.scalar_type()), noisy.transpose(1, 2)).to(torch::kFloat);
    if (noise_.output_bits == 0) return y;
    const Tensor unit = largest.transpose(1, 2) * full_;  // {k, rows, outputs}
    const Tensor range = (y.detach() / unit).square().mean().sqrt().mul_(loading(noise_.output_bits)).clamp_min_(1e-30);
    const Tensor limit = unit * range, step = limit / codes(noise_.output_bits);
    const Tensor clipped = at::minimum(at::maximum(y, -limit), limit);
    return straight_through(at::round(clipped / step) * step, clipped);
  }

 private:
  static double codes(std::uint32_t bits) { return std::ldexp(1.0, static_cast<int>(bits) - 1) - 1; }
  /// Full scale in root mean squares with about the least squared error for values of normal distribution.
  static double loading(std::uint32_t bits) { return 1 + 0.42 * bits; }

  const Noise& noise_;
  std::uint64_t seed_;
  Tensor full_;  ///< {rows, 1}
};

/// An operator stage by stage on noisy arrays: x {rows, in} -> {rows, out}. `number` is that of the operator.
Tensor noisy_product(const Structure& s, const Tensor& x, const Weights& weights, const Tensor& inputs,
                     const Noise& noise, std::uint64_t shard, std::uint64_t number) {
  const std::int64_t rows = x.size(0), k = s.k, l = s.l, r = s.r, p = s.in_block;
  NoisyStage first(noise, shard, 2 * number), second(noise, shard, 2 * number + 1);
  const Tensor driven = first.input(x);
  if (s.kind == Structure::Kind::dense) return first.multiply(driven.unsqueeze(0), weights.whole.unsqueeze(0))[0];
  if (s.kind == Structure::Kind::gather) {
    const Tensor gathered = driven.index_select(1, inputs).view({rows, k, p}).transpose(0, 1);
    const Tensor blocks =
        at::constant_pad_nd(weights.whole, {0, 0, 0, k * s.out_block - s.out}).view({k, s.out_block, p});
    return first.multiply(gathered, blocks).transpose(0, 1).reshape({rows, k * s.out_block}).narrow(1, 0, s.out);
  }
  const Tensor padded = k * p == s.in ? driven : at::constant_pad_nd(driven, {0, k * p - s.in});
  const Tensor middle = first.multiply(padded.view({rows, k, p}).transpose(0, 1), weights.right);  // {k, rows, l*r}
  const Tensor turned = second.input(middle.view({k, rows, l, r}).permute({1, 2, 3, 0}).reshape({rows, l * r * k}));
  const Tensor blocks = second.multiply(turned.view({rows, l, r * k}).transpose(0, 1), weights.left);
  return blocks.transpose(0, 1).reshape({rows, l * s.out_block}).narrow(1, 0, s.out);
}

/// The parameters of an operator multiplied out: {out, in}. Slice (i, j) of blocks is L_i[:, (rho, j)] R_j[(i, rho),
/// :].
Tensor multiplied_out(const Structure& s, const Tensor& right, const Tensor& left, const Tensor& selection) {
  const std::int64_t k = s.k, l = s.l, r = s.r, p = s.in_block, q = s.out_block;
  if (s.kind == Structure::Kind::dense) return right;
  if (s.kind == Structure::Kind::gather) {
    const Tensor blocks = at::constant_pad_nd(right, {0, 0, 0, k * q - s.out}).view({k, q, p});
    const Tensor whole = torch::zeros({k, q, s.in}).scatter(2, selection, blocks);
    return whole.view({k * q, s.in}).narrow(0, 0, s.out);
  }
  const Tensor lefts = left.view({l, q, r, k}).permute({0, 3, 1, 2}), rights = right.view({k, l, r, p}).transpose(0, 1);
  const Tensor slices = at::matmul(lefts, rights);  // {l, k, q, p}
  return slices.transpose(1, 2).reshape({l * q, k * p}).narrow(0, 0, s.out).narrow(1, 0, s.in);
}

/// Sizes of what a shard computes with.
struct Batch {
  std::int64_t sequences, length;
  std::int64_t rows() const { return sequences * length; }
};

Tensor normalised(const Config& config, const Tensor& x, const Tensor& gain) {
  if (config.norm == Config::Norm::layer) return at::layer_norm(x, {x.size(1)}, gain, Tensor(), config.epsilon);
  return x * at::rsqrt(x.square().mean(1, true) + config.epsilon) * gain;
}

/// Source: Su et al. 2021 (arXiv:2104.09864).
Tensor rotated(const Config& config, const Tensor& x, const Batch& batch) {
  const std::int64_t size = config.size, turned = config.turned(), half = turned / 2, heads = x.size(1) / size;
  const Tensor exponents = torch::arange(half, torch::kDouble) * (-2.0 / static_cast<double>(turned));
  const Tensor angles = torch::arange(batch.length, torch::kDouble).view({-1, 1}) * at::pow(config.theta, exponents);
  const bool is_adjacent = config.pairs == Config::Pairs::adjacent;
  const Tensor cosine = angles.cos().to(torch::kFloat).view({1, batch.length, 1, half});
  const Tensor sine = angles.sin().to(torch::kFloat).view({1, batch.length, 1, half});
  const Tensor whole = x.view({batch.sequences, batch.length, heads, size});
  const Tensor part = whole.narrow(3, 0, turned);
  const Tensor a = is_adjacent ? part.slice(3, 0, turned, 2) : part.narrow(3, 0, half);
  const Tensor b = is_adjacent ? part.slice(3, 1, turned, 2) : part.narrow(3, half, half);
  const Tensor first = a * cosine - b * sine, second = a * sine + b * cosine;
  const Tensor both = is_adjacent ? at::stack({first, second}, 4).flatten(3) : at::cat({first, second}, 3);
  return (turned == size ? both : at::cat({both, whole.narrow(3, turned, size - turned)}, 3)).reshape(x.sizes());
}

/// Query heads of one key head lie one after the other, so that nothing is copied for grouped queries. Written out: the
/// library's fused attention is several times slower backwards on short sequences.
Tensor attended(const Node& node, const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                torch::ScalarType type) {
  const std::int64_t b = batch.sequences, t = batch.length, d = node.head_size, heads = node.kv_heads;
  const std::int64_t group = node.query_heads / node.kv_heads;
  const auto entries = [&](const Tensor& x) {
    return x.to(type).view({b, t, heads, d}).transpose(1, 2).reshape({b * heads, t, d});
  };
  const Tensor queries = (q * (1 / std::sqrt(static_cast<double>(d))))
                             .to(type)
                             .view({b, t, heads, group, d})
                             .permute({0, 2, 3, 1, 4})
                             .reshape({b * heads, group * t, d});
  Tensor scores = at::bmm(queries, entries(k).transpose(1, 2)).to(torch::kFloat).view({b * heads, group, t, t});
  if (node.span == Span::earlier) scores = scores + torch::full({t, t}, -INFINITY).triu(1);
  const Tensor weights = at::softmax(scores, 3).to(type).view({b * heads, group * t, t});
  const Tensor context = at::bmm(weights, entries(v)).to(torch::kFloat);
  return context.view({b, heads, group, t, d}).permute({0, 3, 1, 2, 4}).reshape({b * t, heads * group * d});
}

struct Values {
  Tensor output;
  std::vector<Tensor> features;
  std::vector<Tensor> crossing;  ///< by node, of the teacher, layers apart
};

/// For each feature the values that are read after it: with the teacher's in their place, what follows does not see
/// what comes before.
std::vector<std::vector<std::size_t>> crossings_of(const Graph& graph, std::span<const NodeId> features) {
  std::vector<std::size_t> last_reader(graph.nodes.size());
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const NodeId source : graph.nodes[n].sources) last_reader[index(source)] = n;
  }
  std::vector<std::vector<std::size_t>> result;
  for (const NodeId feature : features) {
    result.emplace_back();
    for (std::size_t n = 0; n <= index(feature); ++n) {
      if (last_reader[n] > index(feature)) result.back().push_back(n);
    }
  }
  return result;
}

Tensor relative_error(const Tensor& student, const Tensor& teacher) {
  return (student - teacher).square().sum() / teacher.square().sum();
}

class TorchEngine final : public Engine {
 public:
  TorchEngine(Network network, EngineOptions options)
      : graph_(std::move(network.graph)),
        features_(std::move(network.features)),
        trained_(std::move(network.trained)),
        trained_embedding_(network.trained_embedding),
        trained_head_(network.trained_head),
        options_(std::move(options)) {
    type_ = options_.precision == Precision::bfloat ? torch::kBFloat16 : torch::kFloat;
    const torch::NoGradGuard no_gradients;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (graph_.nodes[n].kind == NodeKind::linear) numbers_.push_back(n);
      const std::vector<float>& constant = network.constants[n];
      constants_.push_back(constant.empty() ? Tensor() : tensor_of(constant, {signed_size(constant.size())}).clone());
    }
    linear_of_node_.resize(graph_.nodes.size());
    for (std::size_t number = 0; number < numbers_.size(); ++number) linear_of_node_[numbers_[number]] = number;
    for (NetworkOperator& operation : network.operators) {
      const Structure& s = operation.structure;
      teacher_.push_back(tensor_of(operation.weights, {s.out, s.in}).to(type_, false, true));
      operation.weights = {};
      const bool two = s.kind == Structure::Kind::blocks;
      Operator entry{s, operation.right, operation.left, two && (operation.staged || options_.noise.any()), {}, {}};
      if (s.kind == Structure::Kind::gather) {
        const std::vector<std::int64_t> copy(operation.selection.begin(), operation.selection.end());
        entry.inputs = torch::tensor(copy);
        entry.selection =
            torch::tensor(copy).view({s.k, 1, s.in_block}).expand({s.k, s.out_block, s.in_block}).contiguous();
      }
      operators_.push_back(std::move(entry));
    }
    if (!network.head.empty()) {
      const std::int64_t size = graph_.at(graph_.outputs.front()).size;
      head_ = tensor_of(network.head, {signed_size(network.head.size()) / size, size}).to(type_, false, true);
      if (!network.head_bias.empty())
        head_bias_ = tensor_of(network.head_bias, {signed_size(network.head_bias.size())}).clone();
    }
    shapes_ = std::move(network.sizes);
    if (options_.layer_wise) crossings_ = crossings_of(graph_, features_);
  }

  Result<LossParts> gradients(std::span<const Shard> shards, const LossParts& weights,
                              std::span<const Parameter> parameters, std::span<std::vector<float>> gradients) override {
    return guarded([&] { return compute_gradients(shards, weights, parameters, gradients); });
  }

  Result<LossParts> losses(std::span<const Shard> shards, const LossParts& weights,
                           std::span<const Parameter> parameters) override {
    return guarded([&] {
      const torch::NoGradGuard no_gradients;
      const Student student = make_student(parameters, false);
      std::vector<LossParts> parts(shards.size());
      run(shards.size(), [&](std::size_t n) {
        const torch::NoGradGuard inner;
        parts[n] = shard_losses(shards[n], weights, student).parts;
      });
      return mean(parts);
    });
  }

  Result<std::vector<float>> outputs(const Shard& shard, bool student, std::span<const Parameter> parameters) override {
    return guarded([&] {
      const torch::NoGradGuard no_gradients;
      Tensor result;
      const Student made = student ? make_student(parameters, false) : Student();
      run(1, [&](std::size_t) {
        const torch::NoGradGuard inner;
        result = forward(shard, student ? &made : nullptr).output.contiguous();
      });
      return std::vector<float>(result.data_ptr<float>(), result.data_ptr<float>() + result.numel());
    });
  }

  std::string description() const override {
    return std::string("LibTorch ") + TORCH_VERSION + (type_ == torch::kFloat ? ", float32" : ", bfloat16 products");
  }

 private:
  struct Operator {
    Structure structure;
    std::optional<std::size_t> right, left;
    bool staged = false;
    Tensor selection;  ///< gather: inputs {k, out_block, in_block}
    Tensor inputs;     ///< and {k * in_block}
  };

  /// A student's weights as the shards use them (leaves of their graphs), and where they come from.
  struct Student {
    std::vector<Weights> operators;
    std::vector<Tensor> constants;                ///< by node
    Tensor embedding, head;                       ///< {vocab, size} if they are trained
    std::vector<Tensor> leaves;                   ///< what shards differentiate with respect to
    std::vector<std::size_t> owner;               ///< of each leaf: operator, or operators + parameter
    std::vector<Weights> sources;                 ///< by operator: the leaves with their graphs
    std::vector<std::vector<Tensor>> parameters;  ///< by operator
  };

  struct ShardResult {
    LossParts parts;
    std::vector<Tensor> gradients;  ///< of the leaves
  };

  /// Of what the next token's probabilities cost, with respect to what the head reads and to its weights.
  struct HeadGradients {
    Tensor output, weights;
  };

  template <typename Body>
  static auto guarded(const Body& body) -> Result<decltype(body())> {
    try {
      return body();
    } catch (const InternalError&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      const std::string text = error.what();
      return fail(Error("tune.engine-failed", Failure::internal, "LibTorch reports: " + text.substr(0, text.find('\n')))
                      .with_hint("please report this with the command line"));
    }
  }

  /// body(0) ... on the threads of the caller, each with a single thread of the library's own.
  void run(std::size_t count, const std::function<void(std::size_t)>& body) const {
    std::vector<std::exception_ptr> errors(count);
    options_.for_each(count, [&](std::size_t n) {
      try {
        at::set_num_threads(1);
        body(n);
      } catch (...) {
        errors[n] = std::current_exception();
      }
    });
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }

  static LossParts mean(std::span<const LossParts> parts) {
    LossParts sum;
    for (const LossParts& part : parts) sum += part;
    return sum / static_cast<double>(std::max<std::size_t>(1, parts.size()));
  }

  static Weights leaf_of(const Weights& source, torch::ScalarType type, bool train) {
    const auto leaf = [&](const Tensor& tensor) {
      return tensor.defined() ? tensor.detach().to(type, false, true).requires_grad_(train) : Tensor();
    };
    return {leaf(source.whole), leaf(source.right), leaf(source.left)};
  }

  Student make_student(std::span<const Parameter> parameters, bool train) const {
    Student student;
    student.operators.resize(operators_.size());
    student.sources.resize(operators_.size());
    student.parameters.resize(operators_.size());
    run(operators_.size(), [&](std::size_t n) {
      const Operator& operation = operators_[n];
      if (!operation.right) {
        student.operators[n].whole = teacher_[n];
        return;
      }
      const torch::AutoGradMode mode(train);
      const Structure& s = operation.structure;
      const bool two = s.kind == Structure::Kind::blocks;
      const std::int64_t columns = s.kind == Structure::Kind::dense ? s.in : s.in_block;
      const std::int64_t k = s.k, l = s.l, r = s.r;
      const Tensor right = two ? tensor_of(parameters[*operation.right].values, {k, l * r, columns})
                               : tensor_of(parameters[*operation.right].values, {s.out, columns});
      right.requires_grad_(train);
      student.parameters[n] = {right};
      Tensor left;
      if (two) {
        left = tensor_of(parameters[*operation.left].values, {l, s.out_block, r * k}).requires_grad_(train);
        student.parameters[n].push_back(left);
      }
      Weights& source = student.sources[n];
      if (operation.staged) {
        source.right = right, source.left = left;
      } else if (options_.noise.any()) {
        source.whole = right;
      } else {
        source.whole = multiplied_out(s, right, left, operation.selection);
      }
      student.operators[n] = leaf_of(source, type_, train);
    });
    for (std::size_t n = 0; n < operators_.size(); ++n) {
      if (!operators_[n].right) continue;
      for (const Tensor& leaf : student.operators[n].all()) student.leaves.push_back(leaf), student.owner.push_back(n);
    }
    std::vector<Tensor> shared(parameters.size());  // a constant may belong to several nodes, a matrix may be tied
    const auto leaf_of_parameter = [&](std::size_t parameter, std::int64_t columns) {
      Tensor& leaf = shared[parameter];
      if (!leaf.defined()) {
        const std::vector<float>& values = parameters[parameter].values;
        const std::int64_t size = signed_size(values.size());
        leaf = columns == 0 ? tensor_of(values, {size}) : tensor_of(values, {size / columns, columns});
        leaf = leaf.clone().requires_grad_(train);
        student.leaves.push_back(leaf);
        student.owner.push_back(operators_.size() + parameter);
      }
      return leaf;
    };
    student.constants = constants_;
    for (std::size_t node = 0; node < graph_.nodes.size(); ++node) {
      if (trained_[node]) student.constants[node] = leaf_of_parameter(*trained_[node], 0);
    }
    const std::int64_t size = graph_.at(graph_.outputs.front()).size;
    if (trained_embedding_) student.embedding = leaf_of_parameter(*trained_embedding_, size);
    if (trained_head_) student.head = leaf_of_parameter(*trained_head_, size);
    return student;
  }

  /// The graph, node by node. Without a student the teacher. With `read` the layers of the student read its values.
  Values forward(const Shard& shard, const Student* student, const Values* read = nullptr) const {
    const Batch batch{signed_size(shard.sequences), signed_size(shard.length)};
    std::vector<Tensor> values(graph_.nodes.size());
    Values result;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      const auto source = [&](std::size_t s) -> const Tensor& { return values[index(node.sources[s])]; };
      const Config& config = graph_.configs[index(node.configs[0])];
      const Tensor& constant = student != nullptr ? student->constants[n] : constants_[n];
      switch (node.kind) {
        case NodeKind::input:
          values[n] = student != nullptr && student->embedding.defined()
                          ? at::embedding(student->embedding, ids_of(shard))
                          : tensor_of(shard.vectors, {batch.rows(), node.size});
          break;
        case NodeKind::norm:
          values[n] = normalised(config, source(0), constant);
          break;
        case NodeKind::linear:
          values[n] = multiplied(linear_of_node_[n], source(0), student, shard.number);
          break;
        case NodeKind::bias:
          values[n] = source(0) + constant;
          break;
        case NodeKind::rope:
          values[n] = rotated(config, source(0), batch);
          break;
        case NodeKind::attend:
          values[n] = attended(node, source(0), source(1), source(2), batch, type_);
          break;
        case NodeKind::add:
          values[n] = source(0) + source(1);
          break;
        case NodeKind::mul:
          values[n] = source(0) * source(1);
          break;
        case NodeKind::silu:
          values[n] = at::silu(source(0));
          break;
        case NodeKind::gelu:
          values[n] = at::gelu(source(0));
          break;
        case NodeKind::gelu_tanh:
          values[n] = at::gelu(source(0), "tanh");
          break;
        case NodeKind::relu:
          values[n] = at::relu(source(0));
          break;
        case NodeKind::route:
        case NodeKind::blend:
          ensure(false, "networks with experts are not trained");
      }
      for (std::size_t feature = result.features.size(); feature < features_.size() && index(features_[feature]) == n;
           ++feature) {
        result.features.push_back(values[n]);
        if (read == nullptr) continue;
        for (const std::size_t crossing : crossings_[feature]) values[crossing] = read->crossing[crossing];
      }
    }
    result.output = values[index(graph_.outputs.front())];
    if (options_.layer_wise && student == nullptr) result.crossing = std::move(values);
    return result;
  }

  Tensor multiplied(std::size_t number, const Tensor& x, const Student* student, std::uint64_t shard) const {
    if (student == nullptr) return product(x, teacher_[number]);
    const Weights& weights = student->operators[number];
    if (options_.noise.any())
      return noisy_product(operators_[number].structure, x, weights, operators_[number].inputs, options_.noise, shard,
                           number);
    return weights.whole.defined() ? product(x, weights.whole)
                                   : staged_product(operators_[number].structure, x, weights);
  }

  Tensor pooled(const Tensor& hidden, const Shard& shard) const {
    const Tensor whole = hidden.view({signed_size(shard.sequences), signed_size(shard.length), hidden.size(1)});
    switch (options_.pooling) {
      case Pooling::first:
        return whole.select(1, 0);
      case Pooling::last:
        return whole.select(1, -1);
      case Pooling::max:
        return whole.amax(1);
      case Pooling::mean:
        break;
    }
    return whole.mean(1);
  }

  /// The losses of a shard; with gradients enabled also the derivatives of their weighted sum.
  ShardResult shard_losses(const Shard& shard, const LossParts& weights, const Student& student) const {
    Values teacher;
    if (weights.output != 0 || weights.embedding != 0 || weights.features != 0 || weights.distillation != 0) {
      const torch::NoGradGuard no_gradients;
      teacher = forward(shard, nullptr);
    }
    const Values found = forward(shard, &student, options_.layer_wise ? &teacher : nullptr);
    ShardResult result;
    Tensor loss = torch::zeros({});
    const auto add = [&](double weight, double& part, const Tensor& value) {
      part = value.item<double>();
      loss = loss + weight * value;
    };
    if (weights.output != 0) add(weights.output, result.parts.output, relative_error(found.output, teacher.output));
    if (weights.embedding != 0) {
      const Tensor cosines = at::cosine_similarity(pooled(found.output, shard), pooled(teacher.output, shard), 1);
      add(weights.embedding, result.parts.embedding, 1 - cosines.mean());
    }
    if (weights.features != 0 && !features_.empty()) {
      Tensor sum = torch::zeros({});
      for (std::size_t n = 0; n < features_.size(); ++n)
        sum = sum + relative_error(found.features[n], teacher.features[n]);
      add(weights.features, result.parts.features, sum / static_cast<double>(features_.size()));
    }
    HeadGradients from_head;
    if (weights.distillation != 0 || weights.language != 0)
      from_head = head_losses(shard, weights, found.output.detach(), teacher.output, student.head, result.parts);
    if (!torch::GradMode::is_enabled()) return result;
    std::vector<Tensor> ends, starts;
    if (loss.requires_grad()) ends.push_back(loss), starts.push_back(torch::ones({}));
    if (from_head.output.defined()) ends.push_back(found.output), starts.push_back(from_head.output);
    result.gradients = torch::autograd::grad(ends, student.leaves, starts, false, false, true);
    if (from_head.weights.defined()) {
      const auto own = std::find_if(student.leaves.begin(), student.leaves.end(),
                                    [&](const Tensor& leaf) { return leaf.is_same(student.head); });
      Tensor& sum = result.gradients[static_cast<std::size_t>(own - student.leaves.begin())];
      sum = sum.defined() ? sum + from_head.weights : from_head.weights;
    }
    return result;
  }

  /// Losses of the next token's probabilities, some tokens at a time, and their weighted sum's derivatives with respect
  /// to the outputs and, if the student has its own, to the weights of its head: with z = W h of the student, those
  /// with respect to z are (a + b) softmax(z) - a p_teacher - b [z is the next token].
  HeadGradients head_losses(const Shard& shard, const LossParts& weights, const Tensor& student, const Tensor& teacher,
                            const Tensor& own_head, LossParts& parts) const {
    constexpr std::int64_t kRows = 128;
    const torch::NoGradGuard no_gradients;
    const std::int64_t length = signed_size(shard.length), sequences = signed_size(shard.sequences);
    const std::int64_t count = sequences * (length - 1);
    const Tensor head = own_head.defined() ? own_head.detach().to(type_) : head_;
    HeadGradients gradients{torch::zeros_like(student), {}};
    if (own_head.defined()) gradients.weights = torch::zeros_like(own_head);
    const Tensor numbers =
        torch::arange(sequences * length).view({sequences, length}).narrow(1, 0, length - 1).reshape(-1);
    std::vector<std::int64_t> next(shard.ids.begin() + 1, shard.ids.end());
    next.push_back(0);
    const Tensor targets = torch::tensor(next).index_select(0, numbers);
    double distillation = 0, language = 0;
    for (std::int64_t first = 0; first < count; first += kRows) {
      const std::int64_t rows = std::min(kRows, count - first);
      const Tensor at_once = numbers.narrow(0, first, rows), wanted = targets.narrow(0, first, rows).view({rows, 1});
      const Tensor inputs = student.index_select(0, at_once);
      const Tensor logits = log_probabilities(inputs, head);
      Tensor slope = logits.exp().mul_(weights.distillation + weights.language);
      if (weights.distillation != 0) {
        const Tensor expected = log_probabilities(teacher.index_select(0, at_once), head_);
        const Tensor p = expected.exp();
        distillation += (p * (expected - logits)).sum().item<double>();
        slope.sub_(p, weights.distillation);
      }
      if (weights.language != 0) {
        language -= logits.gather(1, wanted).sum().item<double>();
        slope.scatter_add_(1, wanted, torch::full({rows, 1}, -weights.language));
      }
      const Tensor slopes = slope.to(type_);
      gradients.output.index_copy_(0, at_once, slopes.mm(head).to(torch::kFloat));
      if (own_head.defined()) gradients.weights += slopes.t().mm(inputs.to(type_)).to(torch::kFloat);
    }
    parts.distillation = distillation / static_cast<double>(count);
    parts.language = language / static_cast<double>(count);
    gradients.output.div_(static_cast<double>(count));
    if (own_head.defined()) gradients.weights.div_(static_cast<double>(count));
    return gradients;
  }

  static Tensor ids_of(const Shard& shard) {
    return torch::tensor(std::vector<std::int64_t>(shard.ids.begin(), shard.ids.end()));
  }

  Tensor log_probabilities(const Tensor& hidden, const Tensor& head) const {
    Tensor logits = product(hidden, head);
    if (head_bias_.defined()) logits += head_bias_;
    return at::log_softmax(logits, 1);
  }

  LossParts compute_gradients(std::span<const Shard> shards, const LossParts& weights,
                              std::span<const Parameter> parameters, std::span<std::vector<float>> gradients) const {
    const Student student = make_student(parameters, true);
    std::vector<ShardResult> results(shards.size());
    run(shards.size(), [&](std::size_t n) {
      const torch::AutoGradMode mode(true);
      results[n] = shard_losses(shards[n], weights, student);
    });
    // The sums over the shards, leaf by leaf, and back through what made the leaves.
    std::vector<Tensor> sums(student.leaves.size());
    run(sums.size(), [&](std::size_t leaf) {
      const torch::NoGradGuard no_gradients;
      for (const ShardResult& result : results) {
        const Tensor& one = result.gradients[leaf];
        if (!one.defined()) continue;
        if (!sums[leaf].defined()) {
          sums[leaf] = one.to(torch::kFloat, false, true);
        } else {
          sums[leaf] += one;
        }
      }
      if (!sums[leaf].defined()) sums[leaf] = torch::zeros_like(student.leaves[leaf], torch::kFloat);
      sums[leaf].div_(static_cast<double>(shards.size()));
    });
    for (std::size_t n = 0; n < parameters.size(); ++n) gradients[n].assign(parameters[n].values.size(), 0.0f);
    run(operators_.size(), [&](std::size_t n) {
      const Operator& operation = operators_[n];
      if (!operation.right) return;
      std::vector<Tensor> own;
      for (std::size_t leaf = 0; leaf < sums.size(); ++leaf) {
        if (student.owner[leaf] == n) own.push_back(sums[leaf]);
      }
      std::vector<Tensor> found = own;
      if (student.sources[n].whole.defined() && student.sources[n].whole.requires_grad() &&
          !student.sources[n].whole.is_leaf()) {
        const torch::AutoGradMode mode(true);
        found = torch::autograd::grad({student.sources[n].whole}, student.parameters[n], own);
      }
      copy_to(found[0], gradients[*operation.right]);
      if (operation.left) copy_to(found[1], gradients[*operation.left]);
    });
    for (std::size_t leaf = 0; leaf < sums.size(); ++leaf) {
      if (student.owner[leaf] >= operators_.size())
        copy_to(sums[leaf], gradients[student.owner[leaf] - operators_.size()]);
    }
    std::vector<LossParts> parts;
    for (const ShardResult& result : results) parts.push_back(result.parts);
    return mean(parts);
  }

  static void copy_to(const Tensor& from, std::vector<float>& to) {
    const Tensor flat = from.contiguous();
    ensure(flat.numel() == signed_size(to.size()), "a gradient has the size of its parameter");
    std::copy_n(flat.data_ptr<float>(), to.size(), to.begin());
  }

  Graph graph_;
  std::vector<NodeId> features_;
  std::vector<std::vector<std::size_t>> crossings_;  ///< by feature, layers apart
  std::vector<std::optional<std::size_t>> trained_;
  std::optional<std::size_t> trained_embedding_, trained_head_;
  EngineOptions options_;
  torch::ScalarType type_ = torch::kFloat;
  std::vector<std::size_t> numbers_, linear_of_node_, shapes_;
  std::vector<Tensor> constants_;  ///< by node
  std::vector<Operator> operators_;
  std::vector<Tensor> teacher_;
  Tensor head_, head_bias_;
};

}  // namespace
}  // namespace danaus::tune

extern "C" danaus::tune::MadeEngine* danaus_make_engine(danaus::tune::Network* network,
                                                        const danaus::tune::EngineOptions* options) {
  using namespace danaus;
  try {
    return new tune::MadeEngine(std::make_unique<tune::TorchEngine>(std::move(*network), *options));
  } catch (const std::exception& error) {
    return new tune::MadeEngine(
        fail(Error("tune.engine-failed", Failure::internal, std::string("LibTorch reports: ") + error.what())));
  }
}
