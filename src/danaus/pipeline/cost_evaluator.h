#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {

/// The cost line for many points that differ in a few keys: what points share is made once.
///
/// A program is compiled for the *reduced chip*, which has only the keys that the compiler reads, everything else at
/// its default, so all chips with the same reduced chip share the program, its proof and its dependences by
/// construction. Per point there are two schedules of the dependences (one without
/// RunOptions::time_linear) and the multiplications.
class CostEvaluator {
 public:
  /// Programs and dependences are kept up to `most_bytes`, those that were used last.
  explicit CostEvaluator(std::size_t most_bytes = std::size_t{1} << 30);
  ~CostEvaluator();

  /// The result and the errors of `run` with options.project_weights = false, bit for bit; only `program_digest` is
  /// that of the program for the reduced chip. Models are told apart by their digests, policy files by their names.
  /// Thread-safe: those who want the same program at the same time wait for one of them to make it.
  Result<RunResult> evaluate(const model::Model& model, const chip::Chip& chip, const RunOptions& options);

  /// Programs that were compiled so far.
  std::uint64_t programs_made() const;

 private:
  class Cache;
  std::unique_ptr<Cache> cache_;
};

/// The keys of a chip that place and emit read; all else is default. `uses_converters`: as compile::StrategyInfo.
chip::Chip reduced_chip(const chip::Chip& chip, bool uses_converters);

}  // namespace danaus::pipeline
