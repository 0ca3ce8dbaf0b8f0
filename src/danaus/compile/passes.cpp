// Weight reload: a pass is what the cells hold at one time. Operators go into passes in the order in which they are
// executed, as many as fit; the strategy places each pass by itself. So every pass is programmed once per sweep through
// the model, also for strategies that spread an operator over all arrays. Operators with one source stay together.

#include <algorithm>
#include <span>
#include <utility>

#include "danaus/compile/compile.h"
#include "danaus/compile/place/pieces.h"

namespace danaus::compile {
namespace {

/// Neighbouring linear nodes that read the same value: executed together, stage by stage.
std::vector<std::vector<NodeId>> units_of(const Graph& graph) {
  std::vector<std::vector<NodeId>> units;
  for (const NodeId node : linear_nodes(graph, {})) {
    const bool joins = !units.empty() && reads_with(graph, units.back().back(), node);
    if (!joins) units.emplace_back();
    units.back().push_back(node);
  }
  return units;
}

}  // namespace

Result<Placement> place_in_passes(const Graph& graph, const StrategyInfo& strategy, PlaceOptions options,
                                  std::uint64_t arrays_at_a_time) {
  const std::vector<std::vector<NodeId>> units = units_of(graph);
  const auto place = [&](std::size_t first, std::size_t count) {
    options.nodes.clear();
    for (std::size_t unit = first; unit < first + count; ++unit)
      options.nodes.insert(options.nodes.end(), units[unit].begin(), units[unit].end());
    return strategy.place(graph, options);
  };
  Placement all;
  std::uint64_t begin = 0;   // first array of the pass
  std::size_t expected = 1;  // units in a pass: as in the one before, models repeat
  for (std::size_t first = 0; first < units.size();) {
    const std::size_t left = units.size() - first;
    // The most units that fit: steps that double away from the expected number, then halve between what fits and what
    // does not.
    std::size_t fits = 0, too_many = left + 1;
    Placement placement;
    std::size_t step = 1;
    for (std::size_t count = std::min(expected, left); fits + 1 < too_many;) {
      DANAUS_TRY(attempt, place(first, count));
      const bool is_last_resort = count == 1 && attempt.arrays > arrays_at_a_time;
      if (attempt.arrays <= arrays_at_a_time || is_last_resort) {
        placement = std::move(attempt);
        fits = count;
        if (is_last_resort) too_many = 2;  // larger than all arrays: several passes by itself
      } else {
        too_many = count;
      }
      const bool bracketed = fits != 0 && too_many <= left;
      if (bracketed) {
        count = fits + (too_many - fits) / 2;
      } else if (fits != 0) {
        count = std::min(left, fits + step);
      } else {
        count = too_many > step ? std::max<std::size_t>(1, too_many - step) : 1;
      }
      step *= 2;
    }
    for (program::Patch& patch : placement.patches) {
      patch.array = ArrayId{static_cast<std::uint32_t>(begin + index(patch.array))};
      all.patches.push_back(patch);
    }
    all.arrays = static_cast<std::uint32_t>(begin + placement.arrays);
    begin += (placement.arrays + arrays_at_a_time - 1) / arrays_at_a_time * arrays_at_a_time;
    first += fits;
    expected = fits;
  }
  return all;
}

}  // namespace danaus::compile
