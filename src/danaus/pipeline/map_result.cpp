// The figures of a row from a program and its two timings: the full one, and that of the linear operators.

#include "danaus/pipeline/map_result.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/core/parallel.h"
#include "danaus/machine/plan.h"
#include "danaus/program/image.h"

namespace danaus::pipeline {
namespace {

std::vector<Structure> structures_of(const Graph& graph) {
  std::vector<Structure> structures;
  for (const Node& node : graph.nodes) {
    if (node.kind == NodeKind::linear) structures.push_back(node.structure);
  }
  return structures;
}

/// Multiply-accumulates per token of what the program executes; of n experts k.
std::uint64_t executed_macs(const Graph& graph) {
  std::uint64_t macs = 0;
  std::map<NodeId, std::uint64_t> of_experts;  // all of a router's
  for (const Node& node : graph.nodes) {
    if (node.kind != NodeKind::linear || node.idle) continue;
    (node.guard ? of_experts[node.guard->gates] : macs) += node.structure.parameters();
  }
  for (const auto& [router, all] : of_experts) {
    const Node& gates = graph.at(router);
    macs += all * graph.configs[index(gates.configs[0])].k / gates.size;
  }
  return macs;
}

/// Weights that are written once: those of copies as well.
std::uint64_t programmed_weights(const program::Program& program, std::uint64_t parameters) {
  const program::Images images(program);
  for (const program::Copy& copy : program.copies) {
    for (const program::Patch& patch : images.of(copy.of)) parameters += std::uint64_t{patch.rows} * patch.columns;
  }
  return parameters;
}

// Arrays that hold weights: passes may end with some that hold nothing.
std::uint32_t used_arrays(const program::Program& program) {
  if (!program.chip.is_dealt()) return program.chip.arrays;
  std::uint32_t arrays = static_cast<std::uint32_t>(program.copies.size());
  for (std::size_t p = 0; p < program.patches.size(); ++p)
    arrays += p == 0 || program.patches[p].array != program.patches[p - 1].array ? 1 : 0;
  return arrays;
}

// What the chips have to do with the program: shares, reload and programming.
void add_system(MapResult& result, const ProgramFacts& facts, const chip::Chip& chip, std::uint64_t tokens) {
  const program::ChipShape& shape = facts.shape;
  result.arrays = facts.arrays;
  result.tiles = shape.tiles();
  if (shape.is_dealt()) {
    // All passes share the same tiles.
    const std::uint64_t all_tiles = std::uint64_t{shape.chips} * shape.tiles_per_chip();
    result.tiles = static_cast<std::uint32_t>(std::min<std::uint64_t>(shape.tiles(), all_tiles));
    result.arrays_per_chip = shape.arrays_per_chip;
    result.chips_used = std::min(shape.chips, (shape.arrays + shape.arrays_per_chip - 1) / shape.arrays_per_chip);
  }
  const machine::Reload& reload = result.timing.reload;
  const std::uint32_t on_one_chip = shape.is_dealt() ? std::min(shape.arrays, shape.arrays_per_chip) : shape.arrays;
  result.programming_time_us = reload.passes * chip::programming_time_us(chip, on_one_chip);
  result.programming_energy_uj = chip::programming_energy_uj(chip, facts.programmed_weights);
  const double energy_pj = result.timing.energy.total() / static_cast<double>(tokens);
  constexpr double kPjPerUj = 1e6;
  if (reload.passes == 1 && energy_pj > 0)
    result.break_even_tokens = result.programming_energy_uj * kPjPerUj / energy_pj;
  const double cycles =
      static_cast<double>(reload.writes) * chip.programming.iterations;  // of a cell: all passes use it
  if (reload.passes > 1 && chip.programming.endurance > 0 && cycles > 0)
    result.tokens_until_worn_out = chip.programming.endurance * static_cast<double>(tokens) / cycles;
}

}  // namespace

std::uint32_t arrays_at_work(const program::ChipShape& shape, std::uint32_t arrays) {
  const std::uint64_t most = std::uint64_t{shape.chips} * shape.arrays_per_chip;
  return most == 0 ? arrays : static_cast<std::uint32_t>(std::min<std::uint64_t>(most, arrays));
}

ProgramFacts facts_of(const program::Program& program, const program::VerifyReport& proof, const Work& work) {
  ProgramFacts facts;
  facts.shape = program.chip;
  const std::vector<Structure> structures = structures_of(program.intent);
  for (const Structure& structure : structures) facts.parameters += structure.parameters();
  facts.structure = common(structures, family_of);
  facts.blocks = common(structures, blocks_of);
  facts.macs = executed_macs(program.intent);
  facts.programmed_weights = programmed_weights(program, facts.parameters);
  facts.arrays = used_arrays(program);
  facts.copies = static_cast<std::uint32_t>(program.copies.size());
  facts.largest_adc_bits = machine::most_adc_bits(program.intent);
  facts.commands = program.code.size();
  facts.proof_tokens = proof.proof_tokens;
  facts.buffer_used = proof.buffer_used;
  facts.kv_regions = static_cast<std::uint32_t>(program.kv.size());
  facts.work = work;
  facts.demand = demand_of(program);
  return facts;
}

chip::Equipment equipment_of(const ProgramFacts& facts, const chip::Chip& chip) {
  const std::uint64_t bits = chip.input.bits;  // an element of a tile's buffer is as wide as the converters' input
  return {.buffer_bytes = facts.shape.passes() * ((facts.buffer_used * bits + 7) / 8),
          .largest_adc_bits = facts.largest_adc_bits,
          .kv_regions = facts.kv_regions};
}

Result<MapResult> map_result(const ProgramFacts& facts, const chip::Chip& chip, const std::string& map,
                             const RunOptions& options, machine::Timing full, const machine::Timing& linear) {
  MapResult result;
  result.map = map;
  result.structure = facts.structure;
  result.blocks = facts.blocks;
  result.parameters = facts.parameters;
  result.macs = facts.macs;
  result.copies = facts.copies;
  result.adc_bits = facts.largest_adc_bits;
  result.commands = facts.commands;
  result.proof_tokens = facts.proof_tokens;
  const chip::Equipment equipment = equipment_of(facts, chip);
  result.buffer_bytes = static_cast<std::uint32_t>(equipment.buffer_bytes);
  const std::uint64_t tokens = std::max(1u, options.emit.tokens);
  result.activations = full.counts.activations / tokens;
  result.conversions = full.counts.conversions / tokens;
  result.adc_rounds = linear.critical_rounds / tokens;
  // Decode is one token; prefill and encode are from the first to the last command.
  result.linear_latency_ns = chip::to_nanoseconds(linear.total);
  result.latency_ns = chip::to_nanoseconds(full.total);
  if (full.total > 0) result.throughput_tokens_per_s = 1e9 * static_cast<double>(tokens) / result.latency_ns;
  result.timing = std::move(full);
  add_system(result, facts, chip, tokens);
  if (options.find_bounds) {
    DANAUS_TRY(bound, bound_of(facts.demand, chip,
                               {.arrays = arrays_at_work(facts.shape, result.arrays),
                                .tiles = result.tiles,
                                .chips = facts.shape.chips},
                               result.timing));
    result.bound = bound;
  }
  const std::uint64_t cells = std::uint64_t{facts.shape.rows} * facts.shape.cols;
  result.utilisation =
      static_cast<double>(result.parameters) / (static_cast<double>(result.arrays) * static_cast<double>(cells));
  result.passes = {facts.work};
  DANAUS_TRY(area, chip::system_area(chip, facts.shape.arrays, equipment));
  result.area = area;
  return result;
}

Result<std::optional<RoutingCost>> routing_cost(const program::Program& program, const chip::Chip& chip,
                                                const RunOptions& options, const machine::Timing& first,
                                                Progress& progress) {
  const std::vector<Node>& nodes = program.intent.nodes;
  const auto router = std::find_if(nodes.begin(), nodes.end(),
                                   [](const Node& node) { return node.kind == NodeKind::route && !node.idle; });
  if (router == nodes.end()) return std::nullopt;
  std::vector<machine::Routing> routings;
  for (std::uint32_t draw = 1; draw < options.routings; ++draw)
    routings.push_back({.seed = options.seed + draw, .first = {}});
  const std::size_t draws = routings.size();
  const std::uint32_t k = program.intent.configs[index(router->configs[0])].k;
  // Neighbours from everywhere, but not more choices than one cares to wait for.
  constexpr std::uint32_t kMostChoices = 32;
  const std::uint32_t distance = std::max(k, (router->size + kMostChoices - 1) / kMostChoices);
  for (std::uint32_t expert = 0; expert < router->size; expert += distance)
    routings.push_back({.seed = 0, .first = expert});
  std::vector<Result<machine::Timing>> timings(routings.size(), machine::Timing{});
  progress.begin("time other experts", 0);
  parallel_for(routings.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t n = begin; n < end; ++n)
      timings[n] = machine::simulate(program, chip, {.routing = routings[n], .any_converters = true, .trace = {}});
  });
  progress.end();
  RoutingCost cost;
  cost.draws = static_cast<std::uint32_t>(draws + 1);
  const auto add = [&](const machine::Timing& timing, bool is_draw) {
    const double latency_ns = chip::to_nanoseconds(timing.total), energy_nj = timing.energy.total() / 1000;
    if (is_draw) {
      cost.expected_latency_ns += latency_ns / cost.draws;
      cost.expected_energy_nj += energy_nj / cost.draws;
    }
    cost.worst_seen_latency_ns = std::max(cost.worst_seen_latency_ns, latency_ns);
    cost.worst_seen_energy_nj = std::max(cost.worst_seen_energy_nj, energy_nj);
  };
  add(first, true);
  for (std::size_t n = 0; n < timings.size(); ++n) {
    if (!timings[n]) return fail(timings[n].error());
    add(*timings[n], n < draws);
  }
  return cost;
}

}  // namespace danaus::pipeline
