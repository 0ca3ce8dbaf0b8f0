// Arithmetic modulo the Mersenne prime 2^61 - 1: since 2^61 = 1 (mod p), a number is reduced by adding its bits from 61
// up to its low 61 bits. Dot products add 122-bit products in 128 bits and fold every 32 terms, before the sum can
// overflow.
#include "danaus/program/field.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "danaus/core/digest.h"

namespace danaus::program {
namespace field {

std::uint64_t power(std::uint64_t base, std::uint64_t exponent) {
  std::uint64_t result = 1;
  for (; exponent != 0; exponent >>= 1, base = multiply(base, base)) {
    if (exponent & 1) result = multiply(result, base);
  }
  return result;
}

std::uint64_t dot(const std::uint64_t* a, const std::uint64_t* b, std::size_t count) {
  constexpr std::size_t kTerms = 32;  // 32 * 2^122 < 2^128
  std::uint64_t sum = 0;
  for (std::size_t first = 0; first < count; first += kTerms) {
    const std::size_t last = std::min(count, first + kTerms);
    Wide part = 0;
    for (std::size_t n = first; n < last; ++n) part += Wide{a[n]} * b[n];
    sum = add(sum, reduce_wide((part & kPrime) + (part >> 61)));
  }
  return sum;
}

namespace {

/// What a hash is for, so that equal operands of different operations give unrelated values.
enum Purpose : std::uint64_t {
  kActivation = 1,
  kMean,
  kInverseSigma,
  kNorm,
  kCosine,
  kSine,
  kGate,
  kAttention,
  kWeight,
  kOutputWeight,
  kInputWeight,
  kInput,
  kConstant,
  kPriorKey,
  kPriorValue
};

/// An element drawn from (seed, purpose, words ...).
std::uint64_t draw(std::uint64_t seed, Purpose purpose, std::initializer_list<std::uint64_t> words) {
  return reduce(hash({seed, purpose, hash(words)}));
}

/// Fills `out` with a stream of its own for (seed, purpose, words ...), from element `first` on.
void fill(std::uint64_t seed, Purpose purpose, std::initializer_list<std::uint64_t> words, std::uint64_t first,
          std::span<std::uint64_t> out) {
  const std::uint64_t stream = hash({seed, purpose, hash(words)});
  for (std::size_t n = 0; n < out.size(); ++n) out[n] = reduce(mix(stream ^ mix(first + n)));
}

}  // namespace
}  // namespace field

using namespace field;

std::uint64_t FieldArithmetic::key(const Config& config) const {
  switch (config.kind) {
    case Config::Kind::norm:
      return hash({1, static_cast<std::uint64_t>(config.norm), config.n, std::bit_cast<std::uint64_t>(config.epsilon)});
    case Config::Kind::rope:
      return hash({2, config.size, std::bit_cast<std::uint64_t>(config.theta), static_cast<std::uint64_t>(config.pairs),
                   config.turned()});
    case Config::Kind::route:
      return hash({3, config.k});
    default:
      return 0;
  }
}

std::uint64_t FieldArithmetic::activate(NodeKind kind, Scalar x) const {
  return draw(seed_, kActivation, {static_cast<std::uint64_t>(kind), x});
}

std::pair<std::uint64_t, std::uint64_t> FieldArithmetic::statistics(const Config& config, Scalar sum,
                                                                    Scalar squares) const {
  return {draw(seed_, kMean, {key(config), sum, squares}), draw(seed_, kInverseSigma, {key(config), sum, squares})};
}

std::uint64_t FieldArithmetic::norm_scale(const Config& config, Scalar inverse_sigma) const {
  return field::multiply(inverse_sigma, draw(seed_, kNorm, {key(config)}));
}

std::pair<std::uint64_t, std::uint64_t> FieldArithmetic::rotate(const Config& config, std::uint64_t position,
                                                                std::uint32_t pair, Scalar a, Scalar b) const {
  const Scalar cosine = draw(seed_, kCosine, {key(config), position, pair});
  const Scalar sine = draw(seed_, kSine, {key(config), position, pair});
  return {field::subtract(field::multiply(cosine, a), field::multiply(sine, b)),
          field::add(field::multiply(sine, a), field::multiply(cosine, b))};
}

GateWindows gate_windows(std::uint32_t n, std::uint32_t k) {
  constexpr std::uint32_t kMostWindows = 64;
  if (k >= n) return {};
  return {.count = std::min(n, kMostWindows), .open = std::max(k, n / kMostWindows)};
}

void FieldArithmetic::route(const Config& config, std::uint32_t token, std::span<const Scalar> logits,
                            std::span<Scalar> gates) const {
  std::uint64_t all = key(config);
  for (const Scalar logit : logits) all = hash({all, logit});
  const auto n = static_cast<std::uint32_t>(gates.size());
  const GateWindows windows = gate_windows(n, config.k);
  std::fill(gates.begin(), gates.end(), Scalar{});
  const bool some = first_gate_ && windows.count != 0;
  const std::uint64_t first = some ? (std::uint64_t{*first_gate_} + token) % windows.count * n / windows.count : 0;
  for (std::uint32_t e = 0; e < (some ? windows.open : n); ++e) {
    const std::size_t gate = (first + e) % n;
    gates[gate] = std::max<Scalar>(1, draw(seed_, kGate, {all, gate}));
  }
}

void FieldArithmetic::attend(std::span<const Scalar> query, std::span<const Scalar> keys,
                             std::span<const Scalar> values, std::span<Scalar> context) const {
  const std::size_t size = query.size();
  for (Scalar& element : context) element = 0;
  for (std::size_t first = 0; first < keys.size(); first += size) {
    const Scalar weight = draw(seed_, kAttention, {size, field::dot(query.data(), keys.data() + first, size)});
    for (std::size_t e = 0; e < size; ++e)
      context[e] = field::add(context[e], field::multiply(weight, values[first + e]));
  }
}

const FieldWeights::Vectors& FieldWeights::vectors(NodeId node, std::uint32_t stage) {
  constexpr std::size_t kRecent = 16;
  const std::uint64_t number = std::uint64_t{index(node)} * 2 + stage;
  for (const Vectors& known : recent_) {
    if (known.stage == number) return known;
  }
  if (recent_.size() == kRecent) recent_.pop_back();
  const Structure& structure = graph_.at(node).structure;
  Vectors& made = recent_.emplace_front();
  made.stage = number;
  made.u.resize(structure.stage_outputs(stage));
  made.v.resize(structure.stage_inputs(stage));
  fill(seed_, kOutputWeight, {number}, 0, made.u);
  fill(seed_, kInputWeight, {number}, 0, made.v);
  return made;
}

void FieldWeights::multiply(NodeId node, std::uint32_t stage, std::uint32_t in_first, std::span<const std::uint64_t> x,
                            std::uint32_t out_first, std::uint32_t out_step, std::span<std::uint64_t> y) {
  if (!full_) {
    const Vectors& rank_one = vectors(node, stage);
    const std::uint64_t scale = field::dot(rank_one.v.data() + in_first, x.data(), x.size());
    const std::uint64_t* u = rank_one.u.data() + out_first;
    // The product shifted left by 3 has its bits from 61 up, the part to be added, in the upper word.
    for (std::size_t j = 0; j < y.size(); ++j) {
      const Wide shifted = Wide{scale << 3} * u[j * out_step];
      y[j] = reduce((static_cast<std::uint64_t>(shifted) >> 3) + static_cast<std::uint64_t>(shifted >> 64) + y[j]);
    }
    return;
  }
  std::vector<std::uint64_t> column(x.size());
  for (std::size_t j = 0; j < y.size(); ++j) {
    fill(seed_, kWeight, {std::uint64_t{index(node)} * 2 + stage, out_first + j * out_step}, in_first, column);
    y[j] = field::add(y[j], field::dot(column.data(), x.data(), x.size()));
  }
}

void FieldData::input(NodeId node, std::uint32_t token, std::uint32_t first, std::span<std::uint64_t> out) const {
  fill(seed_, kInput, {index(node), token}, first, out);
}

void FieldData::constant(std::string_view name, std::uint32_t first, std::span<std::uint64_t> out) const {
  const Digest digest = digest_of(name);
  fill(seed_, kConstant, {digest.high, digest.low}, first, out);
}

void FieldData::prior(KvId region, bool value, std::uint32_t entry, std::span<std::uint64_t> out) const {
  fill(seed_, value ? kPriorValue : kPriorKey, {index(region), entry}, 0, out);
}

}  // namespace danaus::program
