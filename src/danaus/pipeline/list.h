#pragma once

#include "danaus/pipeline/run.h"

/// Chips with chip.scheduling = "list": the model as that machine knows it, and its schedule as a result like others.
namespace danaus::pipeline {

bool schedules_by_list(const chip::Chip& chip);

/// Programs run on a scoreboard. Error pipeline.list-chip if the chip has none or has several tiers.
Result<void> check_runs_programs(const chip::Chip& chip);

/// What `run` does for such a chip. There is one map, linear. Errors: pipeline.list-map, pipeline.list-model (not the
/// encoder of BERT or the decoder of GPT-2), pipeline.list-mode, pipeline.list-option, list.*.
Result<RunResult> run_list(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                           Progress& progress);

}  // namespace danaus::pipeline
