#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/nn/metrics.h"
#include "danaus/nn/token_id.h"
#include "danaus/tune/engine.h"

/// End-to-end fine-tuning: factors of a model, all trained together so that the model with them (the student) says what
/// the model with its own weights (the teacher) says.
namespace danaus::tune {

/// How long, how fast and on what. What is 0 or empty is chosen; the choices are in the report.
struct Options {
  // The first of these that is not 0 says how long; none: one pass over the text.
  std::uint64_t steps = 0;
  std::uint64_t tokens = 0;
  double minutes = 0;  ///< measures the first steps and fixes the number of steps by that
  std::uint32_t batch_tokens = 1024;
  std::uint32_t shards = 2;  ///< parts of a batch that threads compute; the result depends on it, not on the threads
  std::vector<std::uint32_t>
      lengths;                 ///< of the sequences that a text is cut into; encoders 16, 32, 64 and 128, decoders 256
  double rate = 1;             ///< times the learning rate of every structure, see default_rate
  std::uint32_t warm_up = 50;  ///< steps; at most a tenth of all
  double most_gradient = 1;    ///< a longer gradient is shortened to that length
  bool from_scratch = false;   ///< see random_start(); the loss is that of language alone
  /// Layers apart: each reads what the teacher's layer reads and learns to say what it says. The loss is the sum of
  /// their relative errors; `weights` are not asked.
  bool layer_wise = false;
  /// Weights of the parts of the loss; all 0: encoders 1 for output, embedding and features, decoders 1 for
  /// distillation and 0.1 for language.
  LossParts weights;
  double features_until = 0.5;  ///< the weight of the features falls to 0 in this part of all steps
  Precision precision = Precision::bfloat;
  Noise noise;  ///< its seed is that of the training
  std::uint64_t seed = 1;
  std::filesystem::path checkpoint;  ///< empty: none
  double checkpoint_minutes = 5;
  std::uint64_t checkpoint_steps = 0;  ///< 0: by the clock alone
  bool resume = false;                 ///< go on with the checkpoint, if there is one
  std::uint32_t log_steps = 50;
};

/// Means over the steps since the last record.
struct Record {
  std::uint64_t step = 0;  ///< how many are done
  std::uint64_t steps = 0;
  std::uint64_t tokens = 0;
  double loss = 0;
  LossParts parts;
  double gradient = 0;  ///< its length before it is shortened
  double rate = 0;      ///< part of the largest learning rate
  double seconds = 0;   ///< of this run
  double seconds_left = 0;
};

/// What is trained on.
struct Text {
  bool encoder = false;
  std::vector<std::vector<nn::TokenId>> sequences;
  nn::Pooling pooling;  ///< encoders
};

struct Tuned {
  factor::FactorFile factors;  ///< of the operators that were given, and all gains and biases
  factor::Constants matrices;  ///< from scratch: the embedding and, if it is another matrix, the lm head
  std::uint64_t steps = 0, tokens = 0;
  std::uint64_t resumed_from = 0;        ///< steps of the checkpoint
  std::uint64_t text_tokens = 0;         ///< in the sequences that the text was cut into
  double seconds = 0;                    ///< of the steps of this run
  std::uint64_t computed_tokens = 0;     ///< by the steps of this run
  double first_loss = 0, last_loss = 0;  ///< of the first and the last record of this run
  std::string engine;
};

/// The largest learning rate of the parameters of a structure. An entry of the dense matrix is a sum of r products of
/// blocks, so that with the same rate of its factors it moves faster; measured in docs/tuning.md.
double default_rate(const Structure& structure);
/// That of gains and biases.
inline constexpr double kConstantRate = 1e-3;

/// Trains `start`, factors of some operators (all others stay as they are), and all gains and biases, from those of
/// `start` or else of the model. `record` gets a record now and then and at the end. Errors: tune.no-engine (danaus was
/// built without one), tune.engine-failed, tune.unsupported (experts, encoder-decoder models, no weights),
/// tune.little-text, tune.lengths, tune.factors, tune.diverged (the loss is no finite number), tune.checkpoint (it is
/// of another training, or damaged), nn.*, file.*, safetensors.*.
Result<Tuned> tune(const model::Model& model, const factor::FactorFile& start, const Text& text, const Options& options,
                   const std::function<Result<void>(const Record&)>& record, Progress& progress);

}  // namespace danaus::tune
