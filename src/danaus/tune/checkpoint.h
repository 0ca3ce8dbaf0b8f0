#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/tune/engine.h"
#include "danaus/tune/optimiser.h"

namespace danaus::tune {

/// Where a training is: everything that its next step depends on, beside what `training` names.
struct Progressed {
  std::uint64_t step = 0;   ///< steps that are done
  std::uint64_t steps = 0;  ///< of the whole training
};

/// Checkpoints are safetensors with three F32 tensors per parameter (<name>, <name>.mean, <name>.square) and metadata
/// "danaus.tune": JSON with step, steps, and `training`, a text that says what is trained, on what and how.
Result<void> write_checkpoint(const std::filesystem::path& path, const Progressed& progressed,
                              const std::string& training, std::span<const Parameter> parameters, Optimiser& optimiser);
/// Errors: tune.checkpoint (another training, or not a checkpoint), safetensors.*, file.*.
Result<Progressed> read_checkpoint(const std::filesystem::path& path, const std::string& training,
                                   std::span<Parameter> parameters, Optimiser& optimiser);

}  // namespace danaus::tune
