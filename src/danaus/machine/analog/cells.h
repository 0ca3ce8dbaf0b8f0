#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "danaus/chip/chip.h"

namespace danaus::machine {

/// Which weights a rectangle holds: element (i, j) is the weight from stage input in_first + i * in_step to stage
/// output out_first + j * out_step of a linear node's stage. Draws are keyed by it, never by the place on an array, so
/// that every mapping sees the same devices.
struct CellKeys {
  std::uint32_t node = 0, stage = 0;  ///< stage below 256
  std::uint32_t in_first = 0, in_step = 1, inputs = 0;
  std::uint32_t out_first = 0, out_step = 1, outputs = 0;
};

/// What the cells of one weight slice conduct now, in units of weight codes, row-major inputs x outputs.
///
/// A device that holds code c conducts g = g_min + c * unit, unit = (g_max - g_min) / full scale (pair = "offset":
/// / (2 * full scale)). `plus` and `minus` are (g - g_min) / unit of the two devices: g_min itself is left out
/// (background_code gives it) and cancels in the difference. With pair = "offset", `plus` is the one device, which
/// holds code + full scale, and `minus` is its exact reference, full scale. With every effect off, plus - minus is the
/// code, bit for bit, if codes are integers or the pair is one-sided.
struct Conductances {
  std::vector<float> plus, minus;
  /// Variance of the pair's current noise per squared unit of input, in squared codes; empty without read noise.
  std::vector<float> read_variance;
  /// Per output column: the sum of |plus - minus| over the inputs right after programming and now, for the
  /// compensation of drift.
  std::vector<double> programmed_sum, present_sum;
};

/// Programs the cells and lets them age to noise.time_s: targets, stuck devices, programming noise, drift, 1/f noise.
/// `codes`: inputs x outputs numbers in [-full_scale, full_scale]; `slice`: which slice of the weight they are, below
/// 256. Equal for any cut of a stage into rectangles, on every SIMD target and for any number of threads.
Conductances program_cells(const chip::Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice,
                           const CellKeys& keys, std::span<const float> codes, float full_scale);

/// The same for cells that hold no weight: never programmed, at g_min, so without programming noise, drift and 1/f
/// noise; only their stuck_high devices conduct more. Keyed by the place: elements are rows x columns of an array.
Conductances idle_cells(const chip::Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice, std::uint32_t array,
                        std::uint32_t first_row, std::uint32_t rows, std::uint32_t first_column, std::uint32_t columns,
                        float full_scale);

/// The conductance g_min of one device in units of weight codes: what every device carries beside plus and minus.
double background_code(const chip::Chip::Noise& noise, float full_scale);
/// Microsiemens per unit of weight code of one device.
double code_unit_us(const chip::Chip::Noise& noise, float full_scale);

/// Standard deviation of a column's read noise, in codes x inputs, is sqrt(sum of read_variance * input^2): the draw of
/// ReadNoise::output. The draws themselves are core/random.h's, keyed by the reader.

}  // namespace danaus::machine
