// The capacity error with its arithmetic. Everything here is worked out from placements alone, so it is cheap beside
// compiling.

#include "danaus/pipeline/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/core/progress.h"
#include "danaus/machine/array_work.h"

namespace danaus::pipeline {
namespace {

std::uint64_t cells_of(const compile::Placement& placement) {
  std::uint64_t cells = 0;
  for (const program::Patch& patch : placement.patches) cells += std::uint64_t{patch.rows} * patch.columns;
  return cells;
}

std::string arrays_there_are(const chip::Chip& chip) {
  if (chip.system.chips == 1) return fmt::format("the chip has {}", chip.system.arrays);
  return fmt::format("{} chips of {} have {}", chip.system.chips, chip.system.arrays, chip::system_arrays(chip));
}

}  // namespace

compile::PlaceOptions place_options_for(const chip::Chip& chip) {
  return {.rows = chip.array.rows,
          .cols = chip.array.cols,
          .arrays_per_tile = chip.network.arrays_per_tile,
          .adcs = chip.adc.per_array,
          .idle_columns_draw = chip.array.idle_columns_draw,
          .mesh = chip.network.topology == chip::Topology::mesh ? &chip : nullptr};
}

compile::PlaceOptions place_options_for(const chip::Chip& chip, const RunOptions& options) {
  compile::PlaceOptions place_options = place_options_for(chip);
  place_options.least_arrays = options.least_arrays;
  place_options.sliver = options.sliver;
  place_options.mode = options.emit.mode;
  place_options.objective = options.objective;
  return place_options;
}

bool fits(const compile::Placement& placement, const chip::Chip& chip) {
  return chip.system.arrays == 0 || placement.arrays <= chip::system_arrays(chip);
}

Error capacity_error(const Graph& graph, const compile::Placement& placement, const chip::Chip& chip) {
  const std::uint64_t available = chip::system_arrays(chip);
  NodeId first_outside{0xffffffff};
  for (const program::Patch& patch : placement.patches) {
    if (index(patch.array) >= available) first_outside = std::min(first_outside, patch.node);
  }
  Error error("place.capacity", Failure::does_not_fit,
              fmt::format("the placement needs {} arrays, {}: a shortfall of {}", placement.arrays,
                          arrays_there_are(chip), placement.arrays - available));
  if (index(first_outside) < graph.nodes.size())
    error.notes.push_back(fmt::format("first operator that does not fit: {}", graph.at(first_outside).name));
  error.hint = "use more --chips, --reload, a larger chip.arrays, a denser --map, or a higher --compression";
  return error;
}

std::vector<std::string> ways_out(const Graph& graph, const compile::Placement& placement,
                                  const compile::StrategyInfo& strategy, const chip::Chip& chip,
                                  const RunOptions& options) {
  const std::uint32_t share = chip.system.arrays;
  const std::uint32_t chips = placement.arrays / share + (placement.arrays % share != 0);
  std::vector<std::string> notes;
  notes.push_back(fmt::format("--chips {0}: {0} x {1} = {2} arrays", chips, share, std::uint64_t{chips} * share));
  const std::uint64_t available = chip::system_arrays(chip);
  const Result<compile::Placement> passes =
      compile::place_in_passes(graph, strategy, place_options_for(chip, options), available);
  if (!passes) return notes;
  const std::uint64_t count = (passes->arrays + available - 1) / available;
  if (chip.programming.iterations == 0) {
    notes.push_back(
        fmt::format("--reload: {} passes; the chip file does not say what writing takes ([program])", count));
    return notes;
  }
  const double write_ms = chip::programming_time_us(chip, share) / 1000;
  notes.push_back(fmt::format(
      "--reload: {0} passes, at most {0} x {1:.4g} ms = {2:.4g} ms and {3:.4g} mJ to write them, in decode for every "
      "token",
      count, write_ms, static_cast<double>(count) * write_ms,
      chip::programming_energy_uj(chip, cells_of(*passes)) / 1000));
  return notes;
}

std::string other_maps(const model::Model& model, const chip::Chip& chip, const std::string& map,
                       const RunOptions& options) {
  std::string text = "other maps:";
  for (const compile::StrategyInfo& strategy : compile::strategies()) {
    if (strategy.name == map) continue;
    const Result<Graph> graph = structured_graph(model, chip, std::string(strategy.name), options);
    if (!graph) continue;
    const Result<compile::Placement> placement = strategy.place(*graph, place_options_for(chip, options));
    if (!placement) continue;
    text += fmt::format(" {} needs {} arrays and {};", strategy.name, placement->arrays,
                        fits(*placement, chip) ? "fits" : "does not fit");
  }
  text.pop_back();
  return text;
}

Result<std::string> why_no_copies(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                  RunOptions options) {
  options.copies = 0;
  DANAUS_TRY(program, compile_model(model, chip, map, options, no_progress()));
  const std::uint64_t arrays = program.chip.arrays;
  const std::uint64_t least =
      compile::least_for_copies(machine::array_work(program, chip), chip.network.arrays_per_tile);
  if (least == 0)
    return fmt::format("{}: no copies: a copy would have to be on its original's tile, a tile has one array", map);
  std::string text = fmt::format("{}: no copies: --replicate would have to be at least {}", map, least);
  if (!fits({.arrays = static_cast<std::uint32_t>(arrays + least), .patches = {}, .copies = {}}, chip))
    text += fmt::format(", and {} arrays are left over",
                        chip::system_arrays(chip) - std::min(arrays, chip::system_arrays(chip)));
  return text;
}

}  // namespace danaus::pipeline
