#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/structure.h"
#include "danaus/machine/analog/analog_machine.h"
#include "danaus/machine/analog/kernel.h"
#include "danaus/machine/analog/mvm_plan.h"

/// One stage of a linear operator on the analog machine: laid out, written, executed.
namespace danaus::machine {

/// Largest code of a signed converter or weight of so many bits: 2^(bits-1) - 1, at least 1.
inline float largest_code(std::uint32_t bits) {
  return bits <= 1 ? 1.0f : std::ldexp(1.0f, static_cast<int>(bits) - 1) - 1;
}

/// How a weight's code is spread over slices: digit n of base 2^digit_bits, with the weight's sign.
struct Slicing {
  std::uint32_t slices = 1, digit_bits = 0;
  float full_scale = 1;        ///< of the whole code
  float digit_full_scale = 1;  ///< of one slice

  /// weight_bits 0: weights are numbers in [-1, 1], in one slice.
  static Slicing of(std::uint32_t weight_bits, std::uint32_t slices);
  float digit(float code, std::uint32_t slice) const;
  float value(std::uint32_t slice) const { return std::ldexp(1.0f, static_cast<int>(slice * digit_bits)); }
};

/// Which devices of the pairs a sum is of.
enum class Side : std::uint8_t { difference, plus, minus };

/// The sums of one activation for the slots of a run: each is one conversion.
struct Term {
  std::uint32_t activation = 0;  ///< of the stage's plan
  std::uint32_t group = 0;       ///< of the activation
  std::uint32_t first = 0;       ///< column of the group
  std::uint32_t slice = 0;
  Side side = Side::difference;
  float value = 1;  ///< of the sum: significance of the slice, sign of the side
  float limit = 0;  ///< largest code of its conversions; 0 = lossless

  std::vector<kernel::InputRun> runs;
  std::vector<std::uint32_t> rows;  ///< of the array, in the order of the inputs
  std::uint32_t programmed = 0;     ///< the first rows: those of the group's cells; idle cells follow
  std::size_t panels = 0;           ///< first weight in Stage::panels
  std::size_t converters = 0;       ///< first in Stage::converters: one per panel
};

/// Neighbouring slots that are read together.
struct Run {
  std::uint32_t first = 0, count = 0;
  std::vector<Term> terms;  ///< in program order
  std::size_t panels() const { return (count + kernel::kPanel - 1) / kernel::kPanel; }
};

/// What is the same for all stages.
struct Environment {
  chip::Chip chip;
  std::uint64_t seed = 1;
  Slicing slicing;
  /// Undriven row leakage: what all cells of a column add up to, by array, slice and side; empty without it.
  std::vector<double> column_sums;
  std::size_t column_number(std::uint32_t array, std::uint32_t slice, Side side, std::uint32_t column) const {
    const std::size_t plane = std::size_t{slice} * 2 + (side == Side::minus ? 1 : 0);
    return (std::size_t{array} * slicing.slices * 2 + plane) * chip.array.cols + column;
  }
};

struct Stage {
  // Layout.
  const StagePlan* plan = nullptr;
  Structure structure;
  std::uint32_t number = 0;  ///< 0 or 1
  std::uint32_t inputs = 0, outputs = 0;
  std::uint32_t dac_bits = 8;
  Config::Range range = Config::Range::lossless;
  std::vector<std::uint32_t> output_of_slot;
  std::vector<Run> runs;

  std::size_t panel_size = 0, converter_count = 0;  ///< of what follows, once it is written

  // What the cells hold, in panels: rows of kPanel columns.
  std::vector<float> panels;
  std::vector<float> variance;            ///< of read noise, laid out like the panels; empty without
  std::vector<float> absolute, weighted;  ///< closed form of IR drop, likewise
  std::vector<kernel::Converters> converters;
  std::vector<double> driven_sums;  ///< of each converter: its driven cells, for undriven row leakage
  std::vector<double> column_sums;  ///< what this stage added to those of the environment
  std::vector<float> value;         ///< per output: of a unit of the digital sum

  // Ranges.
  std::optional<float> static_unit;  ///< value of one input code, input_scale = "tensor"
  bool is_written = false, is_calibrated = false;
  bool saw_nothing = false;  ///< accepted without data: a scale per vector instead of a static one

  StageStatistics statistics;

  bool takes_data() const { return range == Config::Range::cal_shared || range == Config::Range::cal_column; }
};

/// Inputs of a stage as its rows carry them.
struct Driven {
  std::size_t tokens = 0, stride = 0, planes = 1;
  std::vector<float> codes;              ///< planes x tokens x stride
  std::vector<float> squares, absolute;  ///< of the codes, where an effect needs them
  std::vector<float> unit;               ///< per token: value of one code
  float full_scale = 1;                  ///< largest code of a plane
};

/// g_max in units of codes of a slice.
double full_conductance(const Environment& environment);

/// Slots, runs and terms of a stage. Errors: analog.activation, analog.unsupported.
Result<Stage> lay_out(const program::Program& program, const StagePlan& plan, const Environment& environment);

/// Fills the panels from the weights of the stage's blocks, and sets the ranges that need no data.
/// Errors: analog.non-finite.
Result<void> write_stage(Stage& stage, std::span<const float> weights, Environment& environment);

/// Sets range (the sum that the largest code means) of the columns of a term.
void set_ranges(Stage& stage, const Run& run, const Term& term, const Environment& environment,
                std::span<const float> ranges);

/// x {tokens, count} padded with zeros to the stage's inputs, in codes. Counts converters' clipping.
/// Errors: analog.non-finite, analog.not-calibrated.
Result<Driven> drive(Stage& stage, std::span<const float> x, std::size_t tokens, const Environment& environment);

/// y {tokens, outputs}: all runs, converted and added up.
void execute_stage(Stage& stage, const Driven& driven, std::span<const std::uint64_t> tokens,
                   const Environment& environment, std::span<float> y);
/// y {tokens, outputs} without converters; sets the ranges that need data from the sums.
void calibrate_stage(Stage& stage, const Driven& driven, const Environment& environment, std::span<float> y);

}  // namespace danaus::machine
