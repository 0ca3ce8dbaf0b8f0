#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/core/internal_error.h"
#include "danaus/program/interpreter_data.h"

namespace danaus::program {

/// Evaluates an operator graph token by token, straight from its definition: what a program must compute.
///
/// Lazy: a token is evaluated up to the node that is asked for. A value is dropped when all nodes that use it are
/// evaluated, with two exceptions: outputs, gates, keys and values stay; and with `keep_stage_inputs` the inputs of a
/// linear stage stay until `used` has been called for all of its weights.
template <typename Arithmetic>
class Reference {
 public:
  using Scalar = typename Arithmetic::Scalar;

  struct Options {
    std::uint32_t tokens = 1;
    std::uint32_t start = 0;        ///< entries in every KV region before the first token
    std::uint32_t other_start = 0;  ///< the same for regions of span `other`
    bool keep_stage_inputs = false;
  };

  Reference(const Graph& graph, const Arithmetic& arithmetic, StageWeights<Scalar>& weights,
            const ExecutionData<Scalar>& data, const Options& options)
      : graph_(graph),
        arithmetic_(arithmetic),
        weights_(weights),
        data_(data),
        options_(options),
        tokens_(options.tokens),
        uses_(graph.nodes.size(), 0) {
    for (const Node& node : graph.nodes) {
      if (node.kind == NodeKind::attend) ++uses_[index(node.sources[1])], ++uses_[index(node.sources[2])];
      if (node.idle) continue;
      for (const NodeId source : node.sources) ++uses_[index(source)];
      if (node.kind == NodeKind::linear && options.keep_stage_inputs) ++uses_[index(node.sources[0])];
      if (node.guard) ++uses_[index(node.guard->gates)];
    }
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) uses_[n] += graph.nodes[n].kind == NodeKind::route ? 1 : 0;
    for (const NodeId output : graph.outputs) ++uses_[index(output)];
  }

  std::span<const Scalar> value(std::uint32_t token, NodeId node) {
    advance(token, index(node));
    return tokens_[token].values[index(node)];
  }

  /// Inputs of a stage, padding included and gathered where the operator is; empty if they were dropped because all
  /// weights were used.
  std::span<const Scalar> stage_input(std::uint32_t token, NodeId node, std::uint32_t stage) {
    advance(token, index(node));
    const Node& linear = graph_.at(node);
    Token& state = tokens_[token];
    if (stage == 1) return state.between[index(node)];
    if (state.unused[index(node) * 2] == 0) return {};
    const std::vector<Scalar>& padded = state.padded[index(node)];
    return padded.empty() ? state.values[index(linear.sources[0])] : padded;
  }

  /// So many weights of a stage have been used.
  void used(std::uint32_t token, NodeId node, std::uint32_t stage, std::uint64_t weights) {
    Token& state = tokens_[token];
    std::uint64_t& unused = state.unused[index(node) * 2 + stage];
    if (unused == 0) return;
    unused -= std::min(unused, weights);
    if (unused != 0) return;
    if (stage == 1) {
      state.between[index(node)] = std::vector<Scalar>();
    } else {
      state.padded[index(node)] = std::vector<Scalar>();
      release(state, index(graph_.at(node).sources[0]));
    }
  }

 private:
  struct Token {
    std::uint32_t frontier = 0;                ///< nodes evaluated so far
    std::vector<std::vector<Scalar>> values;   ///< per node
    std::vector<std::vector<Scalar>> padded;   ///< per linear node with padded or gathered inputs
    std::vector<std::vector<Scalar>> between;  ///< per linear node of two stages: what the second one reads
    std::vector<std::uint64_t> unused;         ///< node * 2 + stage: weights not used yet
    std::vector<std::uint32_t> uses;           ///< per node: uses to come
  };

  void advance(std::uint32_t token, std::uint32_t node) {
    ensure(token < tokens_.size() && node < graph_.nodes.size(),
           "the reference is asked for a token and node that exist");
    Token& state = tokens_[token];
    if (state.values.empty()) {
      const std::size_t count = graph_.nodes.size();
      state.values.resize(count);
      state.padded.resize(count);
      state.between.resize(count);
      state.unused.resize(count * 2);
      state.uses = uses_;
    }
    while (state.frontier <= node) {
      const std::uint32_t next = state.frontier;
      const Node& following = graph_.nodes[next];
      if (!following.idle) evaluate(token, next);
      ++state.frontier;
      if (following.idle) continue;
      for (const NodeId source : following.sources) release(state, index(source));
    }
  }

  void release(Token& state, std::uint32_t node) {
    if (--state.uses[node] == 0) state.values[node] = std::vector<Scalar>();  // unlike {}, gives the memory back
  }

  void evaluate(std::uint32_t token, std::uint32_t number) {
    const Node& node = graph_.nodes[number];
    Token& state = tokens_[token];
    Scalar gate{};
    if (node.guard) {
      gate = state.values[index(node.guard->gates)][node.guard->element];
      if (gate == Scalar{}) {
        // Only a blend has a value then, and a linear operator reads its source no more.
        if (node.kind == NodeKind::blend) state.values[number] = state.values[index(node.sources[0])];
        if (node.kind == NodeKind::linear && options_.keep_stage_inputs) release(state, index(node.sources[0]));
        return;
      }
    }
    std::vector<Scalar> result(node.size);
    const auto source = [&](std::size_t s) -> const std::vector<Scalar>& {
      return state.values[index(node.sources[s])];
    };
    const Config& config = graph_.configs[index(node.configs[0])];
    switch (node.kind) {
      case NodeKind::input:
        data_.input(NodeId{number}, token, 0, result);
        break;
      case NodeKind::norm: {
        Scalar sum{}, squares{};
        for (const Scalar x : source(0)) {
          sum = arithmetic_.add(sum, x);
          squares = arithmetic_.add(squares, arithmetic_.multiply(x, x));
        }
        const auto [mean, inverse_sigma] = arithmetic_.statistics(config, sum, squares);
        constant(node.constant, result);
        const Scalar scale = arithmetic_.norm_scale(config, inverse_sigma);
        for (std::size_t e = 0; e < result.size(); ++e)
          result[e] = arithmetic_.normalise(source(0)[e], mean, scale, result[e]);
        break;
      }
      case NodeKind::bias:
        constant(node.constant, result);
        for (std::size_t e = 0; e < result.size(); ++e) result[e] = arithmetic_.add(source(0)[e], result[e]);
        break;
      case NodeKind::rope: {
        const std::uint64_t position = std::uint64_t{options_.start} + token;
        const std::uint32_t half = config.turned() / 2;
        result = source(0);
        for (std::uint32_t head = 0; head < node.size; head += config.size) {
          for (std::uint32_t pair = 0; pair < half; ++pair) {
            const bool adjacent = config.pairs == Config::Pairs::adjacent;
            const std::uint32_t a = head + (adjacent ? 2 * pair : pair);
            const std::uint32_t b = adjacent ? a + 1 : a + half;
            const auto [first, second] = arithmetic_.rotate(config, position, pair, source(0)[a], source(0)[b]);
            result[a] = first;
            result[b] = second;
          }
        }
        break;
      }
      case NodeKind::add:
        for (std::size_t e = 0; e < result.size(); ++e) result[e] = arithmetic_.add(source(0)[e], source(1)[e]);
        break;
      case NodeKind::mul:
        for (std::size_t e = 0; e < result.size(); ++e) result[e] = arithmetic_.multiply(source(0)[e], source(1)[e]);
        break;
      case NodeKind::silu:
      case NodeKind::gelu:
      case NodeKind::gelu_tanh:
      case NodeKind::relu:
        for (std::size_t e = 0; e < result.size(); ++e) result[e] = arithmetic_.activate(node.kind, source(0)[e]);
        break;
      case NodeKind::route:
        arithmetic_.route(config, token, source(0), result);
        break;
      case NodeKind::blend:
        for (std::size_t e = 0; e < result.size(); ++e)
          result[e] = arithmetic_.add(source(0)[e], arithmetic_.multiply(source(1)[e], gate));
        break;
      case NodeKind::linear:
        evaluate_linear(state, number, result);
        break;
      case NodeKind::attend:
        evaluate_attend(token, node, result);
        break;
    }
    state.values[number] = std::move(result);
  }

  void constant(const std::string& name, std::vector<Scalar>& out) const {
    if (name != "zero") data_.constant(name, 0, out);
  }

  void evaluate_linear(Token& state, std::uint32_t number, std::vector<Scalar>& result) {
    const Node& node = graph_.nodes[number];
    const Structure& structure = node.structure;
    const std::vector<Scalar>* x = &state.values[index(node.sources[0])];
    std::vector<Scalar> padded;
    if (structure.kind == Structure::Kind::gather) {
      padded.resize(structure.stage_inputs(0));
      gather_inputs<Scalar>(structure, *x, padded);
      x = &padded;
    } else if (structure.stage_inputs(0) > x->size()) {
      padded = *x;
      padded.resize(structure.stage_inputs(0));
      x = &padded;
    }
    std::vector<Scalar> between;
    for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
      std::vector<Scalar> y(structure.stage_outputs(stage));
      std::vector<Scalar> outputs;
      for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
        const Block block = structure.block(stage, b);
        outputs.assign(block.out_count, Scalar{});
        weights_.multiply(NodeId{number}, stage, block.in_first, std::span(*x).subspan(block.in_first, block.in_count),
                          block.out_first, block.out_step, outputs);
        for (std::uint32_t j = 0; j < block.out_count; ++j) y[block.out_first + j * block.out_step] = outputs[j];
      }
      if (stage + 1 == structure.stages()) {
        y.resize(node.size);  // without the outputs of padding
        result = std::move(y);
      } else {
        between = std::move(y);
        x = &between;
      }
      if (options_.keep_stage_inputs) state.unused[number * 2 + stage] = structure.stage_parameters(stage);
    }
    if (!options_.keep_stage_inputs) return;
    state.padded[number] = std::move(padded);
    state.between[number] = std::move(between);
  }

  void evaluate_attend(std::uint32_t token, const Node& node, std::vector<Scalar>& result) {
    const std::uint32_t size = node.head_size;
    const bool is_other = node.span == Span::other;
    const std::uint32_t start = is_other ? options_.other_start : options_.start;
    const std::uint32_t tokens = is_other ? 0 : node.span == Span::all ? options_.tokens : token + 1;
    const std::uint32_t needed = std::max(index(node.sources[1]), index(node.sources[2]));
    for (std::uint32_t other = 0; other < tokens; ++other) {
      if (other != token) advance(other, needed);
    }
    const std::size_t entries = std::size_t{start} + tokens;
    std::vector<Scalar> keys(entries * size), values(entries * size);
    const std::vector<Scalar>& queries = tokens_[token].values[index(node.sources[0])];
    const std::uint32_t group = node.query_heads / node.kv_heads;
    for (std::uint32_t head = 0; head < node.kv_heads; ++head) {
      for (std::uint32_t entry = 0; entry < entries; ++entry) {
        const std::span<Scalar> key(keys.data() + std::size_t{entry} * size, size);
        const std::span<Scalar> value(values.data() + std::size_t{entry} * size, size);
        if (entry < start) {
          const KvId region{index(node.kv_first) + head};
          data_.prior(region, false, entry, key);
          data_.prior(region, true, entry, value);
          continue;
        }
        const Token& other = tokens_[entry - start];
        std::copy_n(other.values[index(node.sources[1])].data() + std::size_t{head} * size, size, key.data());
        std::copy_n(other.values[index(node.sources[2])].data() + std::size_t{head} * size, size, value.data());
      }
      for (std::uint32_t query = head * group; query < (head + 1) * group; ++query) {
        const std::size_t first = std::size_t{query} * size;
        arithmetic_.attend(std::span(queries).subspan(first, size), keys, values,
                           std::span(result).subspan(first, size));
      }
    }
  }

  const Graph& graph_;
  const Arithmetic& arithmetic_;
  StageWeights<Scalar>& weights_;
  const ExecutionData<Scalar>& data_;
  Options options_;
  std::vector<Token> tokens_;
  std::vector<std::uint32_t> uses_;
};

}  // namespace danaus::program
