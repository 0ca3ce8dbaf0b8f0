#pragma once

#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/compile/compile.h"
#include "danaus/core/error.h"
#include "danaus/core/graph.h"
#include "danaus/pipeline/run.h"

/// Does a placement fit the chips, and what to do if not.
namespace danaus::pipeline {

compile::PlaceOptions place_options_for(const chip::Chip& chip);
/// With what a run asks of a mapping.
compile::PlaceOptions place_options_for(const chip::Chip& chip, const RunOptions& options);

bool fits(const compile::Placement& placement, const chip::Chip& chip);

/// place.capacity: arrays needed, arrays that there are, and the first operator that does not fit.
Error capacity_error(const Graph& graph, const compile::Placement& placement, const chip::Chip& chip);

/// What --chips and --reload would take, each with its arithmetic.
std::vector<std::string> ways_out(const Graph& graph, const compile::Placement& placement,
                                  const compile::StrategyInfo& strategy, const chip::Chip& chip,
                                  const RunOptions& options);

/// How many arrays the other maps need, and which of them fit.
std::string other_maps(const model::Model& model, const chip::Chip& chip, const std::string& map,
                       const RunOptions& options);

/// Why options.copies gave a run with this map no copies, and how many it would take. Compiles without them to find
/// out.
Result<std::string> why_no_copies(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                  RunOptions options);

}  // namespace danaus::pipeline
