// Chooses the member (k, l, r) of the family for every linear operator.
//
// By compression c the aim is dense parameters / c. Candidates: k a divisor of the input width or a power of two below
// it, l likewise for the outputs, r the two ranks nearest to the aim, at most the smaller side of a slice. Of those
// within 1/16 of the aim the best is: fewest arrays with blocks along diagonals (arrays_needed), then nearest to the
// aim, then smallest r, then smallest |k - l|, then smallest k. If none is that near: the nearest one below the aim,
// else the smallest.
//
// Gathered blocks have the outputs that were asked for and ceil(in / c) inputs.

#include "danaus/factor/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "danaus/core/internal_error.h"

namespace danaus::factor {
namespace {

std::uint64_t ceil_divide(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

/// Divisors of n and powers of two up to n, ascending.
std::vector<std::uint32_t> block_counts(std::uint32_t n) {
  std::vector<std::uint32_t> counts;
  for (std::uint32_t d = 1; std::uint64_t{d} * d <= n; ++d) {
    if (n % d != 0) continue;
    counts.push_back(d);
    counts.push_back(n / d);
  }
  for (std::uint64_t power = 1; power <= n; power *= 2) counts.push_back(static_cast<std::uint32_t>(power));
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

/// The rule at the head of this file; for low rank k = l = 1.
Structure by_compression(std::uint32_t out, std::uint32_t in, double compression, bool lowrank,
                         std::uint32_t array_edge) {
  constexpr double kNear = 1.0 / 16;
  constexpr std::uint64_t kMostChannels = std::uint64_t{1} << 24;  // as core's parse_structure
  const double aim = static_cast<double>(out) * static_cast<double>(in) / compression;
  // Class 0: near the aim, 1: below it, 2: above. Smaller is better throughout.
  using Rank = std::tuple<int, std::uint64_t, double, std::uint32_t, std::uint32_t, std::uint32_t>;
  std::optional<std::pair<Rank, Structure>> best;
  const std::vector<std::uint32_t> one = {1};
  for (const std::uint32_t k : lowrank ? one : block_counts(in)) {
    for (const std::uint32_t l : lowrank ? one : block_counts(out)) {
      const Structure unit = Structure::blocks(out, in, k, l, 1);
      const std::uint32_t most = std::min(unit.in_block, unit.out_block);
      const double ideal = aim / static_cast<double>(unit.parameters());
      const auto below = static_cast<std::uint32_t>(std::clamp(std::floor(ideal), 1.0, static_cast<double>(most)));
      for (const std::uint32_t r : {below, std::min(below + 1, most)}) {
        if (std::uint64_t{k} * l * r > kMostChannels) continue;
        const Structure candidate = Structure::blocks(out, in, k, l, r);
        const auto parameters = static_cast<double>(candidate.parameters());
        const double distance = std::abs(parameters - aim);
        const int kind = distance <= kNear * aim ? 0 : parameters < aim ? 1 : 2;
        const Rank rank{kind, kind == 0 ? arrays_needed(candidate, array_edge) : 0, distance, r, k < l ? l - k : k - l,
                        k};
        if (!best || rank < best->first) best = {rank, candidate};
      }
    }
  }
  ensure(best.has_value(), "k = l = r = 1 is always a candidate");
  // Operators too small for any saving stay as they are.
  return best->second.parameters() < best->second.dense_parameters() ? best->second : Structure::dense(out, in);
}

tl::unexpected<Error> conflict(std::string message, std::string hint) {
  return fail(Error("factor.policy-conflict", Failure::usage, std::move(message)).with_hint(std::move(hint)));
}

/// Blocks of `group` outputs and 1 / compression of the inputs.
Result<Structure> gathered(std::uint32_t out, std::uint32_t in, const Policy& policy) {
  if (!policy.blocks.empty())
    return conflict("gathered blocks are not counted as K x L", "use the options for their group and compression");
  if (policy.group == 0)
    return fail(Error("factor.group", Failure::usage, "a group of no outputs is not possible")
                    .with_hint("give the outputs of a gathered block, 1 or more, for example 32"));
  const double inputs = std::ceil(static_cast<double>(in) / policy.compression);
  const Result<Structure> structure = parse_structure(
      fmt::format("gather {}:{}", std::min(policy.group, out), std::clamp(static_cast<std::uint32_t>(inputs), 1u, in)),
      out, in);
  if (!structure)
    return fail(Error("factor.group", Failure::usage,
                      fmt::format("groups of {} are too small for an operator of {}x{}", policy.group, out, in))
                    .with_hint("the blocks of an operator read at most 2^24 elements together: make them larger"));
  return *structure;
}

struct BlockCounts {
  std::uint32_t k = 0, l = 0, r = 1;
};

/// "k[xl][:r]".
std::optional<BlockCounts> parse_blocks(std::string_view text) {
  const auto number = [&text](std::uint32_t& value) {
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value > 0;
  };
  BlockCounts counts;
  if (!number(counts.k)) return std::nullopt;
  counts.l = counts.k;
  if (text.starts_with('x')) {
    text.remove_prefix(1);
    if (!number(counts.l)) return std::nullopt;
  }
  if (text.starts_with(':')) {
    text.remove_prefix(1);
    if (!number(counts.r)) return std::nullopt;
  }
  return text.empty() ? std::optional(counts) : std::nullopt;
}

Result<Structure> from_blocks(std::uint32_t out, std::uint32_t in, const std::string& text) {
  const auto error = [&text](std::string message) {
    return Error("factor.blocks", Failure::usage, std::move(message))
        .with_hint(fmt::format(
            "'{}' should be k[xl][:r] with k input blocks, l output blocks, rank r: 32, 24x48 or 16:4", text));
  };
  const std::optional<BlockCounts> counts = parse_blocks(text);
  if (!counts) return fail(error(fmt::format("'{}' does not name blocks", text)));
  const Result<Structure> structure =
      parse_structure(fmt::format("blocks {}x{}:{}", counts->k, counts->l, counts->r), out, in);
  if (!structure) return fail(error(fmt::format("blocks {} are too many for an operator of {}x{}", text, out, in)));
  return *structure;
}

}  // namespace

std::uint64_t arrays_needed(const Structure& structure, std::uint32_t array_edge) {
  std::uint64_t arrays = 0;
  for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
    const Block block = structure.block(stage, 0);
    const std::uint64_t down = ceil_divide(block.in_count, array_edge);
    const std::uint64_t across = ceil_divide(block.out_count, array_edge);
    const std::uint64_t edge = std::max(ceil_divide(block.in_count, down), ceil_divide(block.out_count, across));
    arrays += ceil_divide(structure.block_count(stage) * down * across, array_edge / edge);
  }
  return arrays;
}

Result<Structure> choose_structure(std::uint32_t out, std::uint32_t in, const Policy& policy,
                                   std::uint32_t array_edge) {
  if (!(policy.compression >= 1) || !std::isfinite(policy.compression))
    return fail(Error("factor.compression", Failure::usage,
                      fmt::format("a compression of {} is not possible", policy.compression))
                    .with_hint("give the ratio of dense to block parameters, 1 or more, for example 8"));
  Result<Structure> chosen = Structure::dense(out, in);
  if (policy.pad_square) {
    if (policy.kind != Policy::Kind::monarch || !policy.blocks.empty())
      return conflict("padding to a square sets the blocks itself",
                      "use it with the structure monarch and without blocks");
    chosen = Structure::padded_square(out, in);
  } else if (policy.kind == Policy::Kind::dense) {
    if (!policy.blocks.empty())
      return conflict("a dense operator has no blocks", "leave out the blocks or choose monarch");
    return chosen;
  } else if (policy.kind == Policy::Kind::gather) {
    return gathered(out, in, policy);
  } else if (policy.blocks.empty()) {
    chosen = by_compression(out, in, policy.compression, policy.kind == Policy::Kind::lowrank, array_edge);
  } else {
    chosen = from_blocks(out, in, policy.blocks);
    if (!chosen) return chosen;
    if (policy.kind == Policy::Kind::lowrank && (chosen->k != 1 || chosen->l != 1))
      return conflict(fmt::format("low rank has one block, not {}", policy.blocks),
                      "write the rank R as 1:R, or choose monarch");
  }
  return policy.trim ? chosen->trim() : *chosen;
}

namespace {

/// Draws selections; equal shapes share one, except among operators that read one value, so that none of them gets the
/// inputs of another for nothing.
class Selections {
 public:
  Selections(const Graph& graph, std::uint64_t seed) : graph_(graph), seed_(seed) {}

  IndexList of(const model::LinearOperator& operation, const Structure& structure) {
    const std::array<std::uint32_t, 4> shape = {structure.out, structure.in, structure.out_block, structure.in_block};
    const std::uint32_t sibling = siblings_[graph_.at(operation.node).sources.front()]++;
    const auto [entry, is_new] = known_.try_emplace({sibling, shape});
    if (is_new) entry->second = draw_selection(structure, seed_, sibling);
    return entry->second;
  }

 private:
  using Shape = std::array<std::uint32_t, 4>;
  const Graph& graph_;
  std::uint64_t seed_;
  std::map<NodeId, std::uint32_t> siblings_;  ///< operators so far that read a value
  std::map<std::pair<std::uint32_t, Shape>, IndexList> known_;
};

}  // namespace

Result<std::vector<Structure>> choose_structures(const model::Model& model, const Policy& policy,
                                                 std::uint32_t array_edge) {
  ensure(array_edge > 0, "choose_structures: arrays have cells");
  std::vector<LayerRule> rules;
  if (!policy.file.empty()) {
    DANAUS_TRY(read, read_policy(policy.file, policy));
    rules = std::move(read);
  }
  std::vector<bool> used(rules.size());
  Selections selections(model.graph, policy.seed);
  std::vector<Structure> structures;
  for (const model::LinearOperator& operation : model.linear) {
    const LayerRule* decisive = nullptr;
    for (std::size_t n = 0; n < rules.size(); ++n) {
      if (!matches(rules[n].pattern, operation.name)) continue;
      used[n] = true;
      if (decisive == nullptr) decisive = &rules[n];
    }
    Result<Structure> structure =
        choose_structure(operation.out, operation.in, decisive != nullptr ? decisive->policy : policy, array_edge);
    if (!structure) {
      Error error = std::move(structure).error();
      error.notes.push_back(fmt::format("for the operator '{}' of {}x{}", operation.name, operation.out, operation.in));
      if (decisive != nullptr) {
        error.failure = Failure::bad_input;
        error.where.file = policy.file;
        error.where.line = decisive->line;
      }
      return fail(std::move(error));
    }
    structures.push_back(*structure);
    Structure& chosen = structures.back();
    if (chosen.kind == Structure::Kind::gather) chosen.selection = selections.of(operation, chosen);
  }
  for (std::size_t n = 0; n < rules.size(); ++n) {
    if (used[n]) continue;
    std::vector<std::string_view> names;
    for (const model::LinearOperator& operation : model.linear) names.push_back(operation.name);
    const std::string_view near = nearest(rules[n].pattern, names);
    return fail(Error("factor.policy-match", Failure::bad_input,
                      fmt::format("no linear operator of '{}' matches '{}'", model.name, rules[n].pattern))
                    .in_file(policy.file)
                    .at_line(rules[n].line)
                    .with_hint(near.empty() ? "names are listed by `danaus project --json`"
                                            : fmt::format("did you mean '{}'?", near)));
  }
  return structures;
}

}  // namespace danaus::factor
