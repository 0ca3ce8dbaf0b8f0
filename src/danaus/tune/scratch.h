#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/tune/network.h"
#include "danaus/tune/tune.h"

/// Training a model from nothing: a file gives the shape, the tokenizer and the types of its tensors, the seed the
/// first weights. Decoders with rotary embedding (llama).
namespace danaus::tune {

/// The largest learning rate of all parameters.
inline constexpr double kScratchRate = 3e-3;

/// Errors: tune.unsupported (no lm head, learned positions, tensors that are none of those that are trained, pieces of
/// tensors, types that cannot be written).
Result<void> check_from_scratch(const model::Model& model);

/// All operators dense, their weights normally distributed with the deviation 1 / (2 sqrt(in)); gains 1, biases 0.
factor::FactorFile random_start(const model::Model& model, std::uint64_t seed);

/// Embedding and lm head become parameters of the student, normally distributed with the deviation 0.02; every
/// parameter gets the rate of a training from scratch, times `rate`.
void add_matrices(const model::Model& model, std::uint64_t seed, double rate, TrainingNetwork& made);
factor::Constants trained_matrices(const model::Model& model, std::span<const Parameter> parameters);

/// The file of `model` with the numbers of a training from scratch in the place of its own, in the types that its
/// tensors have. Errors: file.*.
Result<void> write_model(const std::filesystem::path& path, const model::Model& model, const Tuned& tuned);

}  // namespace danaus::tune
