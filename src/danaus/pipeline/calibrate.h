#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"
#include "danaus/nn/moment_collector.h"
#include "danaus/pipeline/evaluate.h"

/// What the linear operators of a model see while it reads a text: what `danaus calibrate` collects, and `danaus
/// project
/// --calibrate` projects with.
namespace danaus::pipeline {

struct CalibrateOptions {
  EvaluateInput text;
  std::uint32_t window = 0;  ///< decoders: tokens that are seen at once; 0: the context, at most 512
  nn::TokenWeights weights;
  /// Of sums at a time; with less than all of them need, the text is read several times. At least one input's.
  std::uint64_t memory_bytes = std::uint64_t{4} << 30;
  double save_interval_s = 30;
};

/// What the weighting is called in moment files.
std::string weighting_text(const CalibrateOptions& options);

/// Reads the text and adds up the second moments of every input. `earlier`: what an interrupted run has saved; the
/// result has the same bits as if it had not been interrupted. `save` gets the set now and then and at the end; it may
/// replace the finished inputs by others with the same numbers (in a mapped file). Errors: those of token_sequences and
/// Transformer, calibrate.resume (`earlier` is of another model, text or weighting), and those of `save`.
Result<factor::MomentSet> calibrate(const model::Model& model, const std::string& path, const CalibrateOptions& options,
                                    std::optional<factor::MomentSet> earlier,
                                    const std::function<Result<void>(factor::MomentSet&)>& save, Progress& progress);

/// calibrate() in memory, without saving.
Result<factor::MomentSet> calibrate(const model::Model& model, const std::string& path, const CalibrateOptions& options,
                                    Progress& progress);

}  // namespace danaus::pipeline
