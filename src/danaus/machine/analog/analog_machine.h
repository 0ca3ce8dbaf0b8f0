#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/machine/analog/kernel.h"
#include "danaus/program/program.h"

/// What the arrays answer: the values of a program's activations, effect by effect (README.md).
namespace danaus::machine {

/// Weights of a linear operator: for each stage its blocks (core/structure.h) one after the other, each a row-major
/// (outputs x inputs) matrix, padding included.
struct OperatorWeights {
  std::array<std::span<const float>, 2> stages;
};

/// What the converters of a stage did since the last reset.
struct StageStatistics {
  NodeId node{};
  std::uint32_t stage = 0;
  std::uint32_t adc_bits = 0;        ///< most of its activations; 0 = lossless
  std::uint64_t inputs = 0;          ///< values that went through an input converter
  std::uint64_t clipped_inputs = 0;  ///< beyond its range (static input scale only)
  kernel::ConversionCounts adc;
};

class AnalogMachine {
 public:
  /// The activations of verified programs on a chip with its [noise]: of one, or of several that share a graph and a
  /// placement and execute different parts of it (encoder and decoder). No cell is written yet. Draws depend on `seed`
  /// and what they are for alone. Errors: analog.activation, analog.unsupported (effects that cannot be combined),
  /// analog.too-large (the cells need more memory than the machine has).
  static Result<AnalogMachine> create(std::span<const program::Program* const> programs, const chip::Chip& chip,
                                      std::uint64_t seed);
  AnalogMachine(AnalogMachine&&) noexcept;
  AnalogMachine& operator=(AnalogMachine&&) noexcept;
  ~AnalogMachine();

  /// Writes the weights of an operator into its cells and lets time pass until noise.time_s. Ranges of converters are
  /// those without data, until `calibrate`. May be called again. Errors: analog.non-finite.
  Result<void> write(NodeId node, const OperatorWeights& weights);

  /// Sets converter ranges (and static input scales) from vectors that the operator will see: x {tokens, in}. Returns y
  /// {tokens, out} as the cells give it, without analog-to-digital converters. Does nothing else for range modes that
  /// take no data. A converter that sees only zeros keeps the range `l1`. Errors: analog.non-finite.
  Result<std::vector<float>> calibrate(NodeId node, std::span<const float> x, std::size_t tokens);

  /// Operators that were written but never calibrated (experts that no token chose) take the ranges `l1` and a scale
  /// per vector from now on. Returns how many there are.
  std::size_t accept_uncalibrated();

  /// y {tokens, out} = what the arrays answer to x {tokens, in}; `tokens` are the numbers of the vectors, below 2^43:
  /// each has its own read noise. Same bits however tokens are split into calls, and for any thread count.
  /// Errors: analog.non-finite, analog.not-calibrated, analog.activation (no activation executes the operator).
  Result<void> multiply(NodeId node, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y);

  /// One stage of an operator alone: y {tokens, outputs of the stage} to x {tokens, inputs of the stage}, padding
  /// included. Without converters, as the cells give it; that sets the ranges of the stage like `calibrate`. Errors: as
  /// multiply.
  Result<std::vector<float>> answer_of_stage(NodeId node, std::uint32_t stage, std::span<const float> x,
                                             std::span<const std::uint64_t> tokens, bool has_converters);

  /// Of all stages that have converted something, in graph order.
  std::vector<StageStatistics> statistics() const;
  void reset_statistics();

 private:
  struct Implementation;
  explicit AnalogMachine(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace danaus::machine
