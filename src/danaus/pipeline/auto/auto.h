#pragma once

#include <optional>
#include <string_view>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/machine/timing.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/auto/auto_options.h"
#include "danaus/pipeline/run.h"
#include "danaus/program/program.h"

/// --map auto: structure, mapping and sliver width of every operator, and copies, under limits.
namespace danaus::pipeline {

/// The step of the progress in which RunOptions::stop is asked.
inline constexpr std::string_view kChooseStep = "choose";

struct AutoResult {
  program::Program program;  ///< compiled and timed, not yet proved
  AutoReport report;
  machine::Timing timing;
  std::optional<machine::Timing> linear_timing;  ///< of the linear operators alone, if it came with the other
};

/// The best of every single mapping of the structures and of the best mixtures that the search finds, as the machine
/// times them; a single mapping is left out only where a bound or a limit says that it cannot be the best. The same for
/// any number of threads, unless a time budget or RunOptions::stop ends it early. Errors: auto.infeasible,
/// auto.unsupported, auto.stopped, those of make_candidates, and those of emit when nothing can be emitted.
Result<AutoResult> choose_automatically(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                                        Progress& progress);

}  // namespace danaus::pipeline
