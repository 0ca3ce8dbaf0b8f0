#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/graph.h"

/// The seam between training and the library that differentiates. An engine is a shared library beside the program,
/// which is opened when it is needed: nothing else of danaus depends on that library, not even at its start.
namespace danaus::tune {

/// Type of the elements that the products of matrices take; everything else is in single precision.
enum class Precision : std::uint8_t {
  single,
  bfloat  ///< bfloat16
};

/// A list of numbers that training changes.
struct Parameter {
  std::string name;  ///< of the operator with ".R", ".L" or ".W", or of the constant
  std::vector<float> values;
  double rate = 0;  ///< its largest learning rate
};

/// A linear operator: of the teacher dense, of the student as its structure says.
struct NetworkOperator {
  std::vector<float> weights;  ///< the teacher's {out, in}
  Structure structure;         ///< the student's
  /// Numbers of parameters: right and, with two stages, left, in the layout of factor::Factors without trimming. None:
  /// the student has the teacher's weights.
  std::optional<std::size_t> right, left;
  std::vector<std::uint32_t> selection;  ///< gathered blocks: the inputs of all blocks
  bool staged = false;  ///< blocks are applied stage by stage; otherwise they are multiplied out once per step
};

/// Teacher and student: one graph, two sets of weights.
struct Network {
  Graph graph;                                      ///< of one input, without experts and cross-attention
  std::vector<NetworkOperator> operators;           ///< in the order of the graph's linear nodes
  std::vector<std::vector<float>> constants;        ///< by node: the teacher's gain or addend
  std::vector<std::optional<std::size_t>> trained;  ///< by node: the parameter that is the student's constant
  std::vector<NodeId> features;                     ///< values inside the network that are compared, too
  std::vector<float> head;                          ///< decoders: {vocab, size of the output}
  std::vector<float> head_bias;                     ///< {vocab} or empty
  /// Parameters {vocab, size of the output} that are the student's embedding and lm head, which may be one; none: both
  /// are the teacher's.
  std::optional<std::size_t> trained_embedding, trained_head;
  std::vector<std::size_t> sizes;  ///< of all parameters
};

/// What one thread computes at once: sequences of one length, one after the other.
struct Shard {
  std::size_t sequences = 0;
  std::size_t length = 0;
  std::vector<float> vectors;      ///< what the teacher's embedding makes of the tokens, {sequences * length, size}
  std::vector<std::uint32_t> ids;  ///< of the tokens {sequences * length}
  std::uint64_t number = 0;        ///< of the shard in the whole training: draws of noise are keyed by it
};

/// The loss: the sum of these parts, each times its weight; a part with weight 0 is not computed.
struct LossParts {
  double output = 0;        ///< ||student - teacher||^2 / ||teacher||^2 of the last hidden states
  double embedding = 0;     ///< 1 - cosine of the pooled embeddings, the mean over the sequences
  double features = 0;      ///< as `output`, the mean over the features
  double distillation = 0;  ///< KL(teacher || student) of the next token's probabilities, the mean over the tokens
  double language = 0;      ///< -ln p(next token) of the student, the mean over the tokens
  LossParts& operator+=(const LossParts& other) {
    output += other.output;
    embedding += other.embedding;
    features += other.features;
    distillation += other.distillation;
    language += other.language;
    return *this;
  }
  LossParts operator/(double count) const {
    return {output / count, embedding / count, features / count, distillation / count, language / count};
  }
};

/// How the last hidden states of a sequence become its embedding.
enum class Pooling : std::uint8_t { mean, first, last, max };

/// What arrays and converters do to the student in training, so that it learns to live with it. 0: nothing of the kind.
/// Operators are then computed stage by stage, as an array does; derivatives go straight through rounding.
struct Noise {
  std::uint32_t input_bits = 0;   ///< of the DACs; full scale is the largest input of the token
  std::uint32_t output_bits = 0;  ///< of the ADCs; one full scale for a stage, a few root mean squares of its currents
  double weights = 0;  ///< spread of the weights, in the largest weight of their output; drawn for each shard
  std::uint64_t seed = 1;
  bool any() const { return input_bits != 0 || output_bits != 0 || weights != 0; }
};

/// What an engine is asked for.
struct EngineOptions {
  Precision precision = Precision::single;
  Pooling pooling = Pooling::mean;
  Noise noise;
  /// Layers apart: each layer of the student reads what the teacher's layer reads, so that its loss is its own.
  bool layer_wise = false;
  /// Runs body(0) ... body(count - 1) on some threads and returns when all are done.
  std::function<void(std::size_t count, const std::function<void(std::size_t)>& body)> for_each;
};

/// Computes losses and gradients. The same bits for any thread count: a shard is computed by one thread, and what the
/// shards give is added up in their order.
class Engine {
 public:
  virtual ~Engine() = default;
  /// The losses, the mean over the shards, and the gradients of their weighted sum with respect to every parameter.
  virtual Result<LossParts> gradients(std::span<const Shard> shards, const LossParts& weights,
                                      std::span<const Parameter> parameters,
                                      std::span<std::vector<float>> gradients) = 0;
  /// The losses alone.
  virtual Result<LossParts> losses(std::span<const Shard> shards, const LossParts& weights,
                                   std::span<const Parameter> parameters) = 0;
  /// The last hidden states {tokens, size} of the student, or of the teacher.
  virtual Result<std::vector<float>> outputs(const Shard& shard, bool student,
                                             std::span<const Parameter> parameters) = 0;
  /// The library and what it runs on, for the provenance of results.
  virtual std::string description() const = 0;
};

/// Takes the weights out of `network` as it converts them. Errors: tune.engine-failed (the library reports an error).
Result<std::unique_ptr<Engine>> make_engine(Network network, EngineOptions options);

/// Whether there is an engine, and products of bfloat16 that are faster than those in single precision.
bool has_engine();
bool has_fast_bfloat();

}  // namespace danaus::tune
