// Lower bounds on time: the graph falls into sections that end where a value needs all of another one (norms, the
// choice of experts, the end). In a section every stage waits for something of each of its sources and something waits
// for it, so that before its first conversion there is a shortest way from the section's start (`early`), and after its
// last one a shortest way to the end (`tail`). Three arguments bound the end of a section:
//   1. a way through the section: every stage on it takes one activation of one round;
//   2. a way with all rounds of one stage: its conversions share the converters of all arrays;
//   3. all conversions of the section share all converters; an array that converts anything lost time before its first
//      conversion and after its last one, and drives inputs before either.
// Over many tokens, busy times per token bound the rate: arrays, converters, vector units, attention units.

#include "danaus/pipeline/bound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"
#include "danaus/machine/plan.h"

namespace danaus::pipeline {
namespace {

using chip::Picoseconds;

constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();

std::uint64_t ceil_divide(std::uint64_t count, std::uint64_t by) { return count / by + (count % by != 0); }

/// The integer time that is no less than a sum of products; what rounding could have added is taken off first.
Picoseconds at_least(double ps) {
  constexpr double kRounding = 1e-12;
  return static_cast<Picoseconds>(std::ceil(ps * (1 - kRounding)));
}

/// Sums that are linear in what experts do: of each router's experts the k with the least count.
class ExpertSum {
 public:
  explicit ExpertSum(const Graph& graph) : graph_(graph) {}
  void add(const std::optional<Guard>& guard, double value) {
    if (guard)
      of_experts_[index(guard->gates)][guard->element] += value;
    else
      always_ += value;
  }
  double total() const {
    double total = always_;
    for (const auto& [gates, experts] : of_experts_) {
      const Node& router = graph_.nodes[gates];
      std::vector<double> values(router.size - experts.size(), 0.0);  // experts that do nothing of this kind
      for (const auto& [element, value] : experts) values.push_back(value);
      std::sort(values.begin(), values.end());
      const std::uint32_t chosen = graph_.configs[index(router.configs[0])].k;
      for (std::uint32_t n = 0; n < std::min<std::size_t>(chosen, values.size()); ++n) total += values[n];
    }
    return total;
  }

 private:
  const Graph& graph_;
  double always_ = 0;
  std::map<std::uint32_t, std::map<std::uint32_t, double>> of_experts_;
};

/// Time of activations of one stage.
struct StageTime {
  Picoseconds before = 0;  ///< an array's first conversion: inputs and settling
  Picoseconds round = 0;   ///< a converter is busy with each round
  Picoseconds once = 0;    ///< an activation of one round
  Picoseconds way = 0;     ///< the least between its first input and the first of what needs it

  Picoseconds rounds(std::uint64_t count) const { return once + static_cast<Picoseconds>(count - 1) * round; }
};

StageTime stage_time(const chip::Chip& chip, const StageDemand& stage, std::uint32_t most_bits) {
  const std::uint32_t bits = chip::converter_bits(chip, stage.adc_bits, most_bits);
  const chip::ActivationTime one = chip::activation_parts(chip, stage.dac_bits, bits, 1);
  StageTime time;
  time.once = one.total();
  if (chip.adc.double_buffer) {
    // Serial bits overlap with the conversions of the one before: only the first one and one conversion are sure.
    const std::uint32_t repeats = chip.input.kind == chip::InputKind::bit_serial ? stage.dac_bits : 1;
    time.before = (one.input + one.settle) / std::max(1u, repeats);
    time.round = chip.array.slices * chip::converter_time(chip, bits);
  } else if (chip.adc.sample_hold) {
    time.before = one.input + one.settle;
    time.round = one.adc;
  } else {
    time.before = one.settle;  // every round has its own input window
    time.round = one.input + one.adc;
  }
  return time;
}

/// While an array drives its inputs, its converters do nothing: they have no columns of its activation before, and none
/// of another array.
bool wait_for_inputs(const chip::Chip& chip) {
  return !chip.adc.double_buffer && chip.adc.sharing != chip::AdcSharing::group;
}

/// Digital operations of a node: (time of one, elements, length of the shortest one, energy per element).
struct DigitalWork {
  double ns = 0, pj = 0;
  std::uint64_t elements = 0;
  std::uint32_t shortest = 1;
};

std::vector<DigitalWork> digital_work(const Graph& graph, const Node& node, const chip::Chip::Digital& digital) {
  const std::uint64_t size = node.size;
  switch (node.kind) {
    case NodeKind::add:
    case NodeKind::bias:
      return {{digital.add_ns, digital.add_pj, size, 1}};
    case NodeKind::mul:
      return {{digital.mul_ns, digital.mul_pj, size, 1}};
    case NodeKind::silu:
      return {{digital.silu_ns, digital.silu_pj, size, 1}};
    case NodeKind::gelu:
    case NodeKind::gelu_tanh:
      return {{digital.gelu_ns, digital.gelu_pj, size, 1}};
    case NodeKind::relu:
      return {{digital.relu_ns, digital.relu_pj, size, 1}};
    case NodeKind::rope: {
      const std::uint32_t head = std::max(1u, graph.configs[index(node.configs[0])].size);
      return {{digital.rope_ns, digital.rope_pj, size, std::min(head, node.size)}};
    }
    case NodeKind::norm:
      return {{digital.moments_ns, digital.moments_pj, size, 1},
              {digital.stat_ns, digital.stat_pj, 2, 2},
              {digital.norm_ns, digital.norm_pj, size, 1}};
    case NodeKind::route:
      return {{digital.route_ns, digital.route_pj, size, node.size}};
    case NodeKind::blend:
      return {{digital.mul_ns, digital.mul_pj, size, 1}, {digital.add_ns, digital.add_pj, size, 1}};
    case NodeKind::input:
    case NodeKind::linear:
    case NodeKind::attend:
      break;
  }
  return {};
}

Picoseconds steps(const chip::Chip& chip, double ns, std::uint64_t elements) {
  const std::uint64_t count = chip.digital.lanes == 0 ? 1 : ceil_divide(elements, chip.digital.lanes);
  return static_cast<Picoseconds>(count) * chip::to_picoseconds(ns);
}

/// From what a digital node reads to the first element of what it writes.
Picoseconds digital_delay(const Graph& graph, const Node& node, const chip::Chip& chip) {
  Picoseconds delay = 0;
  for (const DigitalWork& work : digital_work(graph, node, chip.digital)) delay += steps(chip, work.ns, work.shortest);
  return delay;
}

/// Reading the context of one head. `token` counts from 0.
Picoseconds context_time(const Demand& demand, const Node& node, const chip::Chip& chip, std::uint32_t token) {
  const program::KvRegion& region = demand.regions[index(node.kv_first)];
  std::uint64_t entries = region.start;
  if (node.span == Span::earlier) entries += token + 1;
  if (node.span == Span::all) entries += demand.tokens;
  return machine::attend_cost(chip, region, false, entries, false).duration();
}

/// The shortest time of one token.
class Sections {
 public:
  Sections(const Demand& demand, const chip::Chip& chip, const Used& used, bool linear_only, bool stages_wait = false)
      : demand_(demand),
        graph_(demand.graph),
        chip_(chip),
        converters_(std::uint64_t{used.arrays} * chip.adc.per_array),
        linear_only_(linear_only),
        early_(graph_.nodes.size()),
        tail_(graph_.nodes.size()),
        stage_early_(graph_.nodes.size()),
        section_(graph_.nodes.size(), kNone),
        blends_(graph_.nodes.size()) {
    picks_ = std::any_of(graph_.nodes.begin(), graph_.nodes.end(), [](const Node& node) {
      return node.kind == NodeKind::linear && node.structure.kind == Structure::Kind::gather;
    });
    groups_of_.resize(graph_.nodes.size());
    for (std::uint32_t g = 0; g < demand.groups.size(); ++g) {
      for (const DemandGroup::Member& member : demand.groups[g].members) {
        groups_of_[member.node].push_back(g);
        StageTime& time = times_[{member.node, member.stage}];
        time = stage_time(chip, member.demand, demand.most_adc_bits);
        time.way = stages_wait ? time.rounds(ceil_divide(demand.groups[g].conversions(), converters_)) : time.once;
      }
    }
  }

  Picoseconds run() {
    for (std::uint32_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (!ends_section(node) || node.idle || node.guard) continue;
      std::vector<std::uint32_t> members;
      for (const NodeId source : node.sources) collect(index(source), members);
      Picoseconds complete = close(std::move(members));
      for (const NodeId source : node.sources) complete = std::max(complete, early(index(source)));
      section_[n] = sections_++;
      early_[n] = complete + delay(node);
      end_ = std::max(end_, early_[n]);
    }
    std::vector<std::uint32_t> rest;
    for (std::uint32_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!graph_.nodes[n].idle && section_[n] == kNone) rest.push_back(n);
    }
    for (const std::uint32_t n : rest) section_[n] = sections_;
    return std::max(end_, close(std::move(rest)));
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;

  /// Some operator picks its inputs: conversions and heads that nothing picks hold nothing up, so that of the three
  /// arguments only the first one holds.
  bool picks_ = false;

  /// Every element of its value needs all elements of its source.
  static bool ends_section(const Node& node) { return node.kind == NodeKind::norm || node.kind == NodeKind::route; }

  /// Picoseconds of all digital work on one way through a node.
  Picoseconds delay(const Node& node) const { return linear_only_ ? 0 : digital_delay(graph_, node, chip_); }
  Picoseconds early(std::uint32_t node) const { return graph_.nodes[node].idle ? 0 : early_[node]; }

  /// What an executed node waits for.
  std::vector<std::uint32_t> waits_for(const Node& node) const {
    std::vector<std::uint32_t> nodes;
    const bool query_only = node.kind == NodeKind::attend && !appends(graph_, node);
    for (std::size_t s = 0; s < (query_only ? 1 : node.sources.size()); ++s) nodes.push_back(index(node.sources[s]));
    return nodes;
  }

  // Nodes that lead here and are in no section yet.
  void collect(std::uint32_t from, std::vector<std::uint32_t>& members) {
    std::vector<std::uint32_t> open = {from};
    while (!open.empty()) {
      const std::uint32_t n = open.back();
      open.pop_back();
      if (graph_.nodes[n].idle || section_[n] != kNone) continue;
      section_[n] = sections_;
      members.push_back(n);
      for (const std::uint32_t source : waits_for(graph_.nodes[n])) open.push_back(source);
    }
  }

  /// The time before which not all of these nodes (one section) can be complete.
  Picoseconds close(std::vector<std::uint32_t> members) {
    std::sort(members.begin(), members.end());
    for (const std::uint32_t n : members) arrive(n);
    for (auto n = members.rbegin(); n != members.rend(); ++n) tail_[*n] = 0;
    for (auto n = members.rbegin(); n != members.rend(); ++n) leave(*n);
    Picoseconds complete = 0;
    for (const std::uint32_t n : members) {
      const Node& node = graph_.nodes[n];
      if (node.guard) continue;
      complete = std::max(complete, early_[n] + tail_[n]);
      if (node.kind == NodeKind::attend && !linear_only_ && !picks_) complete = std::max(complete, all_heads(n));
    }
    return picks_ ? complete : std::max(complete, share_converters(members));
  }

  void arrive(std::uint32_t n) {
    const Node& node = graph_.nodes[n];
    Picoseconds start = 0;
    if (node.guard) start = early_[index(node.guard->gates)];
    if (node.kind == NodeKind::blend) {
      early_[n] = blended(n);
      return;
    }
    for (const std::uint32_t source : waits_for(node)) start = std::max(start, early(source));
    if (node.kind == NodeKind::linear) {
      for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
        stage_early_[n][stage] = start;
        start += times_.at({n, stage}).way;
      }
    } else if (node.kind == NodeKind::attend) {
      if (!linear_only_) start += context_time(demand_, node, chip_, 0);
    } else {
      start += delay(node);
    }
    early_[n] = start;
  }

  /// A chain of blends that has all experts of a router has at least one that was chosen.
  struct Blend {
    NodeId gates{};
    std::uint32_t experts = 0;
    Picoseconds earliest = kNever;  ///< of their results
  };
  Picoseconds blended(std::uint32_t n) {
    const Node& node = graph_.nodes[n];
    const std::uint32_t base = index(node.sources[0]), expert = index(node.sources[1]);
    Blend& blend = blends_[n];
    if (graph_.nodes[base].kind == NodeKind::blend && blends_[base].gates == node.guard->gates) blend = blends_[base];
    blend.gates = node.guard->gates;
    ++blend.experts;
    const Picoseconds gates = early_[index(blend.gates)];
    blend.earliest = std::min(blend.earliest, std::max(early(expert), gates) + delay(node));
    const bool all = blend.experts == graph_.at(blend.gates).size;
    return std::max(early(base), all ? blend.earliest : 0);
  }

  /// Hands the way to the section's end on to what the node reads. Experts that may not be chosen are no way.
  void leave(std::uint32_t n) {
    const Node& node = graph_.nodes[n];
    Picoseconds inside = 0;
    if (node.kind == NodeKind::linear) {
      for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) inside += times_.at({n, stage}).way;
    } else if (node.kind == NodeKind::attend) {
      inside = linear_only_ ? 0 : context_time(demand_, node, chip_, 0);
    } else {
      inside = delay(node);
    }
    const std::vector<std::uint32_t> sources = waits_for(node);
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const std::uint32_t source = sources[s];
      if (graph_.nodes[source].idle || section_[source] != section_[n]) continue;
      const bool skips = node.kind == NodeKind::blend && s == 0;
      if (node.guard && !skips && graph_.nodes[source].guard != node.guard) continue;
      tail_[source] = std::max(tail_[source], tail_[n] + (skips ? 0 : inside));
    }
  }

  /// Heads on fewer units than there are.
  Picoseconds all_heads(std::uint32_t n) const {
    const Node& node = graph_.nodes[n];
    if (chip_.attention.units == 0) return 0;
    const std::uint64_t units = std::uint64_t{chip_.attention.units} * chip_.system.chips;
    const Picoseconds one = context_time(demand_, node, chip_, 0);
    return early_[n] + static_cast<Picoseconds>(ceil_divide(node.kv_heads, units) - 1) * one + tail_[n];
  }

  Picoseconds share_converters(const std::vector<std::uint32_t>& members) const {
    Picoseconds complete = 0;
    ExpertSum busy(graph_);
    Picoseconds first = kNever, last = kNever, alone = kNever;
    std::vector<bool> seen(demand_.groups.size());
    for (const std::uint32_t n : members) {
      for (const std::uint32_t g : groups_of_[n]) {
        if (seen[g]) continue;
        seen[g] = true;
        const DemandGroup& group = demand_.groups[g];
        Picoseconds before = kNever, after = kNever, once = kNever, round = kNever;
        std::uint64_t conversions = 0;
        for (const DemandGroup::Member& member : group.members) {
          if (section_[member.node] != section_[n]) continue;  // what reads the same value may be needed only later
          conversions += member.demand.conversions;
          const StageTime& time = times_.at({member.node, member.stage});
          const Picoseconds early = stage_early_[member.node][member.stage];
          const Picoseconds tail = tail_of(member);
          busy.add(group.guard, static_cast<double>(member.demand.conversions) * static_cast<double>(time.round));
          before = std::min(before, early);
          after = std::min(after, tail);
          once = std::min(once, time.once);
          round = std::min(round, time.round);
          first = std::min(first, early + time.before);
          last = std::min(last, tail + (wait_for_inputs(chip_) ? time.before : 0));
          alone = std::min(alone, early + time.before + tail);
        }
        if (group.guard) continue;
        const std::uint64_t rounds = ceil_divide(conversions, converters_);
        complete = std::max(complete, before + StageTime{0, round, once, 0}.rounds(rounds) + after);
      }
    }
    if (first == kNever) return complete;
    return std::max(complete,
                    std::min(first + last, alone) + at_least(busy.total() / static_cast<double>(converters_)));
  }

  /// From the end of a stage to the end of the section.
  Picoseconds tail_of(const DemandGroup::Member& member) const {
    Picoseconds tail = tail_[member.node];
    for (std::uint32_t stage = member.stage + 1; stage < graph_.nodes[member.node].structure.stages(); ++stage)
      tail += times_.at({member.node, stage}).way;
    return tail;
  }

  const Demand& demand_;
  const Graph& graph_;
  const chip::Chip& chip_;
  const std::uint64_t converters_;
  const bool linear_only_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, StageTime> times_;  // by node and stage
  std::vector<std::vector<std::uint32_t>> groups_of_;                   // by node
  std::vector<Picoseconds> early_;  // by node: before the first element of its value
  std::vector<Picoseconds> tail_;   // by node: from its value to the end of its section
  std::vector<std::array<Picoseconds, 2>> stage_early_;
  std::vector<std::uint32_t> section_;
  std::vector<Blend> blends_;
  std::uint32_t sections_ = 0;
  Picoseconds end_ = 0;
};

/// The least time per token that the busiest kind of resource is busy, in ps.
double busy_per_token(const Demand& demand, const chip::Chip& chip, const Used& used, bool linear_only) {
  const Graph& graph = demand.graph;
  ExpertSum driving(graph), converting(graph), digital(graph);
  for (const DemandGroup& group : demand.groups) {
    Picoseconds before = kNever;
    for (const DemandGroup::Member& member : group.members) {
      const StageTime time = stage_time(chip, member.demand, demand.most_adc_bits);
      before = std::min(before, time.before);
      converting.add(group.guard, static_cast<double>(member.demand.conversions) * static_cast<double>(time.round));
    }
    const std::uint64_t activations = ceil_divide(group.conversions(), demand.columns);
    driving.add(group.guard, static_cast<double>(activations) * static_cast<double>(before));
  }
  const double drives = driving.total(), converts = converting.total() / chip.adc.per_array;
  const double arrays = used.arrays;
  double busy = (wait_for_inputs(chip) ? drives + converts : std::max(drives, converts)) / arrays;
  if (linear_only) return busy;

  double attention = 0;
  for (const Node& node : graph.nodes) {
    if (node.idle) continue;
    for (const DigitalWork& work : digital_work(graph, node, chip.digital))
      digital.add(node.guard, static_cast<double>(steps(chip, work.ns, work.elements)));
    if (node.kind != NodeKind::attend || !computes_context(node)) continue;
    double tokens = 0;
    for (std::uint32_t token = 0; token < demand.tokens; ++token)
      tokens += static_cast<double>(context_time(demand, node, chip, token));
    attention += tokens / demand.tokens * node.kv_heads;
  }
  if (chip.digital.units != 0)
    busy = std::max(busy,
                    digital.total() / (double{1} * chip.digital.units * (chip.digital.hub ? used.chips : used.tiles)));
  const double units = chip.attention.units != 0 ? double{1} * chip.attention.units * chip.system.chips
                                                 : static_cast<double>(std::max<std::size_t>(1, demand.regions.size()));
  return std::max(busy, attention / units);
}

/// Energy of one token without attention and passive power, in pJ.
Result<double> energy_per_token(const Demand& demand, const chip::Chip& chip) {
  ExpertSum energy(demand.graph);
  const double windows = static_cast<double>(chip::input_windows(chip, 1));
  for (const DemandGroup& group : demand.groups) {
    double row_pj = INFINITY, cell_pj = INFINITY, activation_pj = 0, cells = 0;
    for (const DemandGroup::Member& member : group.members) {
      DANAUS_TRY(parts, chip::activation_energy_parts(
                            chip, member.demand.dac_bits,
                            chip::converter_bits(chip, member.demand.adc_bits, demand.most_adc_bits)));
      energy.add(group.guard, static_cast<double>(member.demand.conversions) * parts.column_pj);
      row_pj = std::min(row_pj, parts.row_pj);
      cell_pj = std::min(cell_pj, parts.cell_pj);
      activation_pj = parts.activation_pj;
      cells += static_cast<double>(member.demand.cells);
    }
    const double drives = static_cast<double>(group.drives(demand.columns)) * windows;
    if (chip.array.idle_columns_draw) cells = drives * demand.columns;
    const std::uint64_t activations = ceil_divide(group.conversions(), demand.columns);
    energy.add(group.guard, drives * row_pj + cells * cell_pj + static_cast<double>(activations) * activation_pj);
  }
  for (const Node& node : demand.graph.nodes) {
    if (node.idle) continue;
    for (const DigitalWork& work : digital_work(demand.graph, node, chip.digital))
      energy.add(node.guard, work.pj * (chip.digital.energy_per_operation ? 1.0 : static_cast<double>(work.elements)));
  }
  return energy.total();
}

StageDemand stage_demand(const Graph& graph, const Node& node, std::uint32_t stage, std::uint32_t rows) {
  StageDemand demand;
  const Structure& structure = node.structure;
  for (std::uint32_t number = 0; number < structure.block_count(stage); ++number) {
    const Block block = structure.block(stage, number);
    demand.conversions += block.out_count * ceil_divide(block.in_count, rows);
    demand.cells += std::uint64_t{block.in_count} * block.out_count;
  }
  demand.inputs = structure.stage_inputs(stage);
  const Config& config = graph.configs[index(node.configs[stage])];
  demand.dac_bits = config.dac_bits;
  demand.adc_bits = config.adc_bits;
  return demand;
}

}  // namespace

std::uint64_t DemandGroup::conversions() const {
  std::uint64_t conversions = 0;
  for (const Member& member : members) conversions += member.demand.conversions;
  return conversions;
}

std::uint64_t DemandGroup::drives(std::uint32_t columns_of_array) const {
  // First stages read one value: a driven row may serve all of them. Second stages have an input each.
  std::uint64_t cells = 0, inputs = 0;
  for (const Member& member : members) {
    cells += member.demand.cells;
    inputs = member.stage == 0 ? std::max(inputs, member.demand.inputs) : inputs + member.demand.inputs;
  }
  return std::max(inputs, ceil_divide(cells, columns_of_array));
}

Demand demand_of(const program::Program& program) {
  Demand demand;
  demand.graph = program.intent;
  demand.regions = program.kv;
  demand.rows = program.chip.rows;
  demand.columns = program.chip.cols;
  demand.most_adc_bits = machine::most_adc_bits(program.intent);
  for (const program::Record& record : program.code) {
    const program::Command command = program::decode_unchecked(record);
    const program::Repeat* loop = std::get_if<program::Repeat>(&command);
    if (loop == nullptr) continue;
    demand.tokens = std::max(1u, loop->n);
    demand.serial = loop->serial;
    break;
  }
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint64_t>, std::size_t> numbers;
  for (std::uint32_t n = 0; n < demand.graph.nodes.size(); ++n) {
    const Node& node = demand.graph.nodes[n];
    if (node.kind != NodeKind::linear) continue;
    demand.parameters += node.structure.parameters();
    if (node.idle) continue;
    const std::uint64_t guard =
        node.guard ? 1 + (std::uint64_t{index(node.guard->gates)} << 32 | node.guard->element) : 0;
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
      const auto [found, is_new] = numbers.try_emplace({index(node.sources[0]), stage, guard}, demand.groups.size());
      if (is_new) demand.groups.push_back({.members = {}, .guard = node.guard});
      demand.groups[found->second].members.push_back({n, stage, stage_demand(demand.graph, node, stage, demand.rows)});
    }
  }
  return demand;
}

Picoseconds least_time(const Demand& demand, const chip::Chip& chip, const Used& used, bool linear_only) {
  const Picoseconds token = Sections(demand, chip, used, linear_only).run();
  if (demand.serial) return token * demand.tokens;
  const double busy = busy_per_token(demand, chip, used, linear_only) * demand.tokens;
  return std::max(token, at_least(busy));
}

Picoseconds stage_by_stage(const Demand& demand, const chip::Chip& chip, const Used& used) {
  const Picoseconds token = Sections(demand, chip, used, true, true).run();
  if (demand.serial) return token * demand.tokens;
  return std::max(token, at_least(busy_per_token(demand, chip, used, true) * demand.tokens));
}

StageBound stage_bound(const Demand& demand, const DemandGroup& group, const chip::Chip& chip, std::uint32_t arrays) {
  StageTime shortest{.before = 0, .round = kNever, .once = kNever, .way = 0};
  for (const DemandGroup::Member& member : group.members) {
    const StageTime time = stage_time(chip, member.demand, demand.most_adc_bits);
    shortest.once = std::min(shortest.once, time.once);
    shortest.round = std::min(shortest.round, time.round);
  }
  const std::uint64_t rounds = ceil_divide(group.conversions(), std::uint64_t{arrays} * chip.adc.per_array);
  return {.rounds = rounds, .time = shortest.rounds(rounds)};
}

Result<Bound> bound_of(const Demand& demand, const chip::Chip& chip, const Used& used, const machine::Timing& timing) {
  Bound bound;
  bound.arrays =
      static_cast<std::uint32_t>(ceil_divide(demand.parameters, std::uint64_t{demand.rows} * demand.columns));
  Used least = used;
  least.arrays = std::max(1u, bound.arrays);
  const Picoseconds latency = least_time(demand, chip, used, false);
  bound.linear_latency_ns = chip::to_nanoseconds(least_time(demand, chip, used, true));
  bound.fewest_arrays_linear_ns = chip::to_nanoseconds(least_time(demand, chip, least, true));
  bound.stage_by_stage_ns = chip::to_nanoseconds(stage_by_stage(demand, chip, used));
  bound.fewest_arrays_stage_by_stage_ns = chip::to_nanoseconds(stage_by_stage(demand, chip, least));
  bound.latency_ns = chip::to_nanoseconds(latency);
  if (latency > 0) bound.throughput_tokens_per_s = 1e9 * demand.tokens / bound.latency_ns;
  DANAUS_TRY(token_pj, energy_per_token(demand, chip));
  double energy_pj = token_pj * demand.tokens + timing.energy.attention;
  if (timing.total > 0)
    energy_pj += timing.energy.passive * (static_cast<double>(latency) / static_cast<double>(timing.total));
  bound.energy_nj = energy_pj / 1000;
  return bound;
}

}  // namespace danaus::pipeline
