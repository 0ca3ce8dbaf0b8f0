#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/program/interpreter_data.h"

/// The prime field of the proof run: p = 2^61 - 1, elements as integers 0 .. p-1. Sums and products are exact; what is
/// not a polynomial (norm statistics, activations, rotations, attention weights) is a keyed hash of operation,
/// parameters and operands.
namespace danaus::program {

namespace field {

__extension__ typedef unsigned __int128 Wide;

inline constexpr std::uint64_t kPrime = (std::uint64_t{1} << 61) - 1;

/// Any 64-bit number modulo p.
constexpr std::uint64_t reduce(std::uint64_t value) {
  const std::uint64_t folded = (value & kPrime) + (value >> 61);
  return folded >= kPrime ? folded - kPrime : folded;
}
/// Any number below 2^125 modulo p.
constexpr std::uint64_t reduce_wide(Wide value) {
  return reduce((static_cast<std::uint64_t>(value) & kPrime) + static_cast<std::uint64_t>(value >> 61));
}
constexpr std::uint64_t add(std::uint64_t a, std::uint64_t b) { return a + b >= kPrime ? a + b - kPrime : a + b; }
constexpr std::uint64_t subtract(std::uint64_t a, std::uint64_t b) { return a >= b ? a - b : a + kPrime - b; }
constexpr std::uint64_t multiply(std::uint64_t a, std::uint64_t b) { return reduce_wide(Wide{a} * b); }
std::uint64_t power(std::uint64_t base, std::uint64_t exponent);
/// Sum of a[i] * b[i].
std::uint64_t dot(const std::uint64_t* a, const std::uint64_t* b, std::size_t count);

/// A well-mixed function of its words (the finaliser of splitmix64, chained).
constexpr std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}
constexpr std::uint64_t hash(std::initializer_list<std::uint64_t> words) {
  std::uint64_t value = 0;
  for (const std::uint64_t word : words) value = mix(value ^ word);
  return value;
}

}  // namespace field

/// Starts of windows of open gates so that every gate is closed once while any other one is open, and how many gates
/// are open then: k of n, more if there were too many windows.
struct GateWindows {
  std::uint32_t count = 0;  ///< 0: no gate is ever closed
  std::uint32_t open = 0;
};
GateWindows gate_windows(std::uint32_t n, std::uint32_t k);

/// Arithmetic of the proof run (see FloatArithmetic for the contract).
class FieldArithmetic {
 public:
  using Scalar = std::uint64_t;

  /// Routes open all gates, so that every guarded command is executed; or, with `first_gate`, as many neighbours as
  /// `open_gates` says (at least k), beginning with first_gate + token, modulo their number.
  explicit FieldArithmetic(std::uint64_t seed, std::optional<std::uint32_t> first_gate = std::nullopt)
      : seed_(seed), first_gate_(first_gate) {}

  Scalar add(Scalar a, Scalar b) const { return field::add(a, b); }
  Scalar multiply(Scalar a, Scalar b) const { return field::multiply(a, b); }
  Scalar activate(NodeKind kind, Scalar x) const;
  std::pair<Scalar, Scalar> statistics(const Config& config, Scalar sum, Scalar squares) const;
  Scalar norm_scale(const Config& config, Scalar inverse_sigma) const;
  Scalar normalise(Scalar x, Scalar mean, Scalar scale, Scalar gain) const {
    return field::multiply(field::multiply(field::subtract(x, mean), scale), gain);
  }
  std::pair<Scalar, Scalar> rotate(const Config& config, std::uint64_t position, std::uint32_t pair, Scalar a,
                                   Scalar b) const;
  void route(const Config& config, std::uint32_t token, std::span<const Scalar> logits, std::span<Scalar> gates) const;
  void attend(std::span<const Scalar> query, std::span<const Scalar> keys, std::span<const Scalar> values,
              std::span<Scalar> context) const;

 private:
  std::uint64_t key(const Config& config) const;

  std::uint64_t seed_;
  std::optional<std::uint32_t> first_gate_;
};

/// Weights of the proof run: for every stage of every linear node either u[output] * v[input] (rank 1 in every block,
/// so that a block costs rows + columns) or an independent hash for every weight. Padding weights are not zero here, so
/// that a program that uses an output of padding is found.
class FieldWeights : public StageWeights<std::uint64_t> {
 public:
  FieldWeights(const Graph& graph, std::uint64_t seed, bool full) : graph_(graph), seed_(seed), full_(full) {}

  void multiply(NodeId node, std::uint32_t stage, std::uint32_t in_first, std::span<const std::uint64_t> x,
                std::uint32_t out_first, std::uint32_t out_step, std::span<std::uint64_t> y) override;

 private:
  struct Vectors {
    std::uint64_t stage = 0;  ///< node * 2 + stage
    std::vector<std::uint64_t> u, v;
  };
  const Vectors& vectors(NodeId node, std::uint32_t stage);

  const Graph& graph_;
  std::uint64_t seed_;
  bool full_;
  std::deque<Vectors> recent_;  ///< the stages used last, newest first: a program works on few operators at a time
};

/// Inputs, constants and KV entries of the proof run.
class FieldData : public ExecutionData<std::uint64_t> {
 public:
  explicit FieldData(std::uint64_t seed) : seed_(seed) {}
  void input(NodeId node, std::uint32_t token, std::uint32_t first, std::span<std::uint64_t> out) const override;
  void constant(std::string_view name, std::uint32_t first, std::span<std::uint64_t> out) const override;
  void prior(KvId region, bool value, std::uint32_t entry, std::span<std::uint64_t> out) const override;

 private:
  std::uint64_t seed_;
};

}  // namespace danaus::program
