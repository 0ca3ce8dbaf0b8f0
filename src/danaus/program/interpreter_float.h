#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/program/interpreter_data.h"
#include "danaus/program/program.h"

/// Programs executed in double precision.
namespace danaus::program {

/// The operations of a scalar. FieldArithmetic has the same members.
class FloatArithmetic {
 public:
  using Scalar = double;

  Scalar add(Scalar a, Scalar b) const { return a + b; }
  Scalar multiply(Scalar a, Scalar b) const { return a * b; }
  /// silu, gelu (exact, by erf), gelu_tanh or relu.
  Scalar activate(NodeKind kind, Scalar x) const;
  /// (mean, 1/sigma) of config.n elements from their sum and sum of squares; rms has mean 0.
  std::pair<Scalar, Scalar> statistics(const Config& config, Scalar sum, Scalar squares) const;
  /// What a norm multiplies by, 1/sigma; depends on the configuration so that the proof can tell norms apart.
  Scalar norm_scale(const Config&, Scalar inverse_sigma) const { return inverse_sigma; }
  Scalar normalise(Scalar x, Scalar mean, Scalar scale, Scalar gain) const { return (x - mean) * scale * gain; }
  /// Rotates the pair-th pair of a head by position * theta^(-2 pair / size) (Su et al., RoFormer, 2021).
  std::pair<Scalar, Scalar> rotate(const Config& config, std::uint64_t position, std::uint32_t pair, Scalar a,
                                   Scalar b) const;
  /// Softmax over the config.k largest logits (the first ones among equals), zero elsewhere.
  void route(const Config& config, std::uint32_t token, std::span<const Scalar> logits, std::span<Scalar> gates) const;
  /// context = softmax(query . keys / sqrt(size)) . values; keys and values: entries of query.size() elements.
  void attend(std::span<const Scalar> query, std::span<const Scalar> keys, std::span<const Scalar> values,
              std::span<Scalar> context) const;
};

/// Where the numbers of a float execution come from.
struct FloatSource {
  /// Weight from stage input to stage output; padding is asked for too and should be 0.
  std::function<double(NodeId node, std::uint32_t stage, std::uint32_t in, std::uint32_t out)> weight;
  std::function<double(std::string_view name, std::uint32_t element)> constant;
  std::function<double(NodeId node, std::uint32_t token, std::uint32_t element)> input;
  /// Entries that KV regions hold at the start; needed only if a region starts above 0.
  std::function<double(KvId region, bool value, std::uint32_t entry, std::uint32_t element)> prior;
};

/// Executes the whole program, all tokens. One vector per token: the outputs of the graph, one after the other.
/// Errors: those of verify (static checks, undefined reads, dead data). Neither weights nor values are compared with
/// anything.
Result<std::vector<std::vector<double>>> execute(const Program& program, const FloatSource& source);

}  // namespace danaus::program
