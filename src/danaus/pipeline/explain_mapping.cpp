// The commands on the critical path, in order, are dealt to stages: an activation belongs to the stage of the patches
// that it reads, everything else to the stage of the next activation on the path, which had to wait for it.

#include "danaus/pipeline/explain_mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/machine/plan.h"
#include "danaus/pipeline/bound.h"
#include "danaus/pipeline/map_result.h"
#include "danaus/program/image.h"

namespace danaus::pipeline {
namespace {

using chip::Picoseconds;
using machine::Breakdown;

constexpr std::uint32_t kNone = 0xffffffff;

/// What the members are called together: what they share once, the ends with + between.
std::string name_of(const DemandGroup& group, const Graph& graph) {
  std::string name;
  for (const DemandGroup::Member& member : group.members) {
    const std::string own = without_layer(graph.nodes[member.node].name);
    if (name.empty()) {
      name = own;
      continue;
    }
    std::size_t shared = 0;
    for (std::size_t n = 0; n < std::min(name.size(), own.size()) && name[n] == own[n]; ++n) {
      if (own[n] == '.') shared = n + 1;
    }
    name += "+" + own.substr(shared);
  }
  const DemandGroup::Member& first = group.members.front();
  if (graph.nodes[first.node].structure.stages() == 1) return name;
  return name + (first.stage == 0 ? " R" : " L");
}

/// The stage that each activation of a program belongs to.
class Stages {
 public:
  Stages(const program::Program& program, const Demand& demand, const chip::Chip& chip, std::uint32_t arrays)
      : program_(program), demand_(demand), chip_(chip), arrays_(arrays) {
    std::map<std::pair<std::string, std::string>, std::uint32_t> numbers;
    for (const DemandGroup& group : demand.groups) {
      const std::string name = name_of(group, demand.graph);
      std::vector<Structure> structures;
      for (const DemandGroup::Member& member : group.members)
        structures.push_back(demand.graph.nodes[member.node].structure);
      std::string structure = common(structures, family_of);
      if (const std::string blocks = common(structures, blocks_of); !blocks.empty()) structure += " " + blocks;
      const auto [found, is_new] = numbers.try_emplace({name, structure}, static_cast<std::uint32_t>(stages.size()));
      if (is_new) {
        stages.push_back({});
        stages.back().name = name;
        stages.back().structure = structure;
        stages.back().conversions = group.conversions();
      }
      ExplainedStage& stage = stages[found->second];
      ++stage.layers;
      const StageBound bound = stage_bound(demand, group, chip, arrays);
      stage.bound_rounds = bound.rounds;
      stage.bound_ns += chip::to_nanoseconds(bound.time);
      for (const DemandGroup::Member& member : group.members) {
        stage_of_[{member.node, member.stage}] = {found->second, is_new};
        stage.adc_bits = std::max<std::uint32_t>(stage.adc_bits, member.demand.adc_bits);
      }
    }
    count_patches();
    count_activations();
  }

  /// Of the command at a position; kNone if it is no activation.
  std::uint32_t at(std::uint32_t position) const {
    const auto found = of_command_.find(position);
    return found == of_command_.end() ? kNone : found->second;
  }

  std::vector<ExplainedStage> stages;

 private:
  struct Place {
    std::uint32_t stage = 0;
    bool is_first_layer = false;
  };

  void count_patches() {
    std::vector<std::set<std::uint32_t>> arrays(stages.size());
    for (const program::Patch& patch : program_.patches) {
      const auto place = stage_of_.find({index(patch.node), patch.stage});
      if (place == stage_of_.end() || !place->second.is_first_layer) continue;  // idle
      ++stages[place->second.stage].patches;
      arrays[place->second.stage].insert(index(patch.array));
    }
    for (std::size_t s = 0; s < stages.size(); ++s) stages[s].arrays = static_cast<std::uint32_t>(arrays[s].size());
  }

  void count_activations() {
    struct Work {
      std::uint32_t activations = 0;
      std::uint64_t rounds = 0;
    };
    std::map<std::pair<std::uint32_t, std::uint32_t>, Work> work;  // by stage and array
    const program::Images images(program_);
    program::Activation activation;
    for (std::uint32_t position = 0; position < program_.code.size(); ++position) {
      const program::Command command = program::decode_unchecked(program_.code[position]);
      const program::Mvm* mvm = std::get_if<program::Mvm>(&command);
      if (mvm == nullptr) continue;
      ensure(activation.resolve(*mvm, images.of(mvm->array), program_.chip) && !activation.pieces().empty(),
             "an activation of a proved program reads patches");
      const program::Patch& patch = *activation.pieces().front().patch;
      const Place place = stage_of_.at({index(patch.node), patch.stage});
      of_command_[position] = place.stage;
      if (!place.is_first_layer) continue;
      ExplainedStage& stage = stages[place.stage];
      const auto columns = static_cast<std::uint32_t>(mvm->columns.cells());
      stage.least_columns = stage.activations == 0 ? columns : std::min(stage.least_columns, columns);
      stage.most_columns = std::max(stage.most_columns, columns);
      ++stage.activations;
      Work& own = work[{place.stage, index(mvm->array)}];
      ++own.activations;
      own.rounds += machine::rounds_of(mvm->columns, chip_);
      stage.most_activations = std::max(stage.most_activations, own.activations);
      stage.most_rounds = std::max(stage.most_rounds, own.rounds);
    }
  }

  const program::Program& program_;
  const Demand& demand_;
  const chip::Chip& chip_;
  const std::uint32_t arrays_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Place> stage_of_;  // by node and stage
  std::map<std::uint32_t, std::uint32_t> of_command_;
};

struct Part {
  std::string_view name;
  Picoseconds time = 0;
};

std::vector<Part> parts_of(const Breakdown& time) {
  return {{"input window", time.input + time.settle},
          {"ADC", time.adc},
          {"network", time.network},
          {"link", time.link},
          {"digital", time.digital},
          {"attention", time.attention}};
}

std::string times(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string ns_text(double ns) { return fmt::format("{:.4g} ns", ns); }

/// What limits a stage, and what of it another placement could change.
void explain(ExplainedStage& stage, std::uint32_t arrays) {
  const std::vector<Part> parts = parts_of(stage.time);
  const auto largest =
      std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.time < b.time; });
  const Picoseconds total = stage.time.total();
  stage.limit = total == 0 ? "nothing" : std::string(largest->name);
  if (total == 0) return;
  const auto percent = [&](Picoseconds part) {
    return fmt::format("{:.0f} %", 100.0 * static_cast<double>(part) / static_cast<double>(total));
  };
  const double layers = stage.layers;
  const Picoseconds windows = stage.time.input + stage.time.settle;
  if (stage.windows > 0 && windows > 0)
    stage.reasons.push_back(fmt::format("input windows: {} x {} of {} a layer ({})",
                                        fmt::format("{:.3g}", static_cast<double>(stage.windows) / layers),
                                        ns_text(chip::to_nanoseconds(windows) / static_cast<double>(stage.windows)),
                                        ns_text(chip::to_nanoseconds(total) / layers), percent(windows)));
  if (stage.time.adc > 0)
    stage.reasons.push_back(fmt::format("converters: rounds of {} bits, {:.3g} a layer ({})", stage.adc_bits,
                                        static_cast<double>(stage.rounds) / layers, percent(stage.time.adc)));
  if (stage.most_activations > 1)
    stage.reasons.push_back(fmt::format("an array has up to {} of this stage, each with its own input window",
                                        times(stage.most_activations, "activation")));
  if (stage.arrays < arrays)
    stage.reasons.push_back(fmt::format("converters of {} of {} arrays are idle: they hold nothing of this stage",
                                        arrays - stage.arrays, arrays));
  if (stage.most_rounds > stage.bound_rounds)
    stage.reasons.push_back(
        fmt::format("the busiest array converts {}, {} would do if all {} arrays shared the {} conversions",
                    times(stage.most_rounds, "round"), stage.bound_rounds, arrays, stage.conversions));
  else
    stage.reasons.push_back(fmt::format("no placement on {} arrays needs fewer rounds", arrays));
  for (const Part& part : parts) {
    if (part.time == 0 || part.name == "input window" || part.name == "ADC") continue;
    stage.reasons.push_back(fmt::format("before it: {} {} a layer ({})", part.name,
                                        ns_text(chip::to_nanoseconds(part.time) / layers), percent(part.time)));
  }
}

}  // namespace

std::string without_layer(const std::string& name) {
  std::string text;
  bool replaced = false;
  for (std::size_t first = 0; first <= name.size();) {
    const std::size_t end = std::min(name.find('.', first), name.size());
    const std::string part = name.substr(first, end - first);
    const bool is_number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    text += (first == 0 ? "" : ".") + (is_number && !replaced ? "*" : part);
    replaced = replaced || is_number;
    first = end + 1;
  }
  return text;
}

Result<MappingExplanation> explain_mapping(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                           const RunOptions& options, Progress& progress) {
  std::optional<AutoReport> report;
  DANAUS_TRY(program, compile_model(model, chip, map, options, progress, &report));
  DANAUS_TRY(proof, prove(program, map, options.seed));
  const machine::Routing routing{.seed = options.seed, .first = {}};
  std::vector<machine::PathStep> path;
  DANAUS_TRY(full, machine::simulate(program, chip,
                                     {.routing = routing,
                                      .trace = {},
                                      .critical_path = [&](const machine::PathStep& step) { path.push_back(step); }},
                                     progress));
  DANAUS_TRY(linear,
             machine::simulate(program, chip, {.linear_only = true, .routing = routing, .trace = {}}, progress));
  const ProgramFacts facts = facts_of(program, proof, work_of(program.intent, model, options));
  DANAUS_TRY(result, map_result(facts, chip, map, options, std::move(full), linear));
  const RunResult head = describe_run(model, chip, options);

  MappingExplanation explanation{
      .model = model.name, .chip = chip, .kv = head.kv, .result = std::move(result), .stages = {}, .rest = {}};
  explanation.result.program_digest = program::digest_of(program);
  explanation.result.automatic = std::move(report);
  const std::uint32_t arrays = arrays_at_work(facts.shape, explanation.result.arrays);
  Stages stages(program, facts.demand, chip, arrays);
  for (const machine::PathStep& step : path) {
    explanation.rest += step.time;  // of the next stage, if there is one
    const std::uint32_t number = stages.at(step.command);
    if (number == kNone) continue;
    ExplainedStage& stage = stages.stages[number];
    stage.time += explanation.rest;
    explanation.rest = {};
    ++stage.windows;
    stage.rounds += step.rounds;
  }
  explanation.rest.reload += explanation.result.timing.critical_path.reload;
  for (ExplainedStage& stage : stages.stages) explain(stage, arrays);
  explanation.stages = std::move(stages.stages);
  return explanation;
}

}  // namespace danaus::pipeline
