#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/machine/analog/analog_machine.h"
#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/token_id.h"
#include "danaus/pipeline/adc_bits.h"

/// A model's linear operators on the analog machine: compiled for a chip by one of the maps, proved, written.
namespace danaus::pipeline {

/// The free scale of each channel between the two stages of an operator: R's rows times t, L's columns over t.
enum class ChannelScale : std::uint8_t {
  balanced,  ///< as the projection gives it: the square root of each singular value on both sides
  rms,       ///< every channel as large as the others on the calibration vectors
  automatic  ///< the better of the two on the calibration vectors, operator by operator; without calibration balanced
};

struct AnalogOptions {
  chip::Chip chip;
  std::string map;                       ///< empty: linear for dense operators, sparse for blocks
  std::optional<AdcBits> adc_bits = {};  ///< of adc.rule = "calibrated"
  std::uint64_t seed = 1;                ///< of the devices and of the proof
  bool share_inputs = true;              ///< operators with one input may share activations
  ChannelScale channel_scale = ChannelScale::automatic;
};

/// What the converters of one stage of one operator did.
struct AnalogStage {
  std::string name;  ///< of the operator, with ".R" and ".L" for two stages
  machine::StageStatistics statistics;
};

class AnalogBackend : public nn::LinearBackend {
 public:
  /// Compiles and proves the program(s) of the map and writes all weights: those of `operators`, one per linear
  /// operator in the order of model.linear, or the model's own. `model` must outlive it. Errors: those of placement,
  /// emit, proof and machine.
  static Result<std::unique_ptr<AnalogBackend>> create(const model::Model& model, const AnalogOptions& options,
                                                       std::optional<std::vector<factor::Factors>> operators,
                                                       Progress& progress);

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override;

  /// While calibrating, vectors set the ranges of the converters, and the answer is that of the cells alone.
  void set_calibrating(bool on);
  /// Operators that saw no calibration vector (experts) keep ranges without data. Returns how many.
  std::size_t accept_uncalibrated() { return machine_.accept_uncalibrated(); }

  /// Operators whose channels were made equally large.
  std::size_t rescaled() const { return rescaled_; }
  /// In graph order; only stages that converted something since the last reset.
  std::vector<AnalogStage> stages() const;
  void reset_statistics() { machine_.reset_statistics(); }

  const chip::Chip& chip() const { return chip_; }
  const std::string& map() const { return map_; }
  std::uint32_t arrays() const { return arrays_; }
  std::uint32_t proof_tokens() const { return proof_tokens_; }
  Digest program_digest() const { return program_digest_; }

 private:
  AnalogBackend(const model::Model& model, machine::AnalogMachine machine)
      : model_(model), machine_(std::move(machine)) {}
  Result<void> write(std::optional<std::vector<factor::Factors>> operators, Progress& progress);
  /// Sets ranges by x and answers; chooses the channels' scales on the way.
  Result<std::vector<float>> calibrate(std::size_t number, std::span<const float> x, std::size_t tokens);
  Result<void> rewrite(std::size_t number, const factor::Factors& factors);

  const model::Model& model_;
  machine::AnalogMachine machine_;
  chip::Chip chip_;
  std::string map_;
  std::uint32_t arrays_ = 0, proof_tokens_ = 0;
  Digest program_digest_;
  bool calibrating_ = false;
  ChannelScale channel_scale_ = ChannelScale::balanced;
  /// Per operator of two stages, until it is calibrated.
  std::vector<std::optional<factor::Factors>> uncalibrated_;
  std::size_t rescaled_ = 0;
};

/// Whether ranges of converters or inputs come from data.
bool needs_calibration(const chip::Chip& chip);

/// A run of `length` tokens that two lists of token ids have in common, as its place in the first; nothing if there is
/// none. Calibration text that is also evaluated would make the result look better than it is.
std::optional<std::size_t> common_run(std::span<const nn::TokenId> a, std::span<const nn::TokenId> b,
                                      std::size_t length);

}  // namespace danaus::pipeline
