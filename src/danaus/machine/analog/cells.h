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
  /// Variance of the pair's current noise per squared unit of input, in squared codes; empty without read noise. A
  /// column's read noise has the variance sum of read_variance * input^2 (ReadNoise::output), or each cell draws its
  /// own.
  std::vector<float> read_variance;
  /// Per output column: the sum of |plus - minus| over the inputs right after programming and now, for the
  /// compensation of drift.
  std::vector<double> programmed_sum, present_sum;
};

/// What a stream of random numbers is for, its lowest byte. Readers have streams of their own (draws.h).
enum class Effect : std::uint8_t { stuck, programming, drift, flicker, idle };
/// Two different arguments never give the same stream: 32 bits of node (or array), 8 each of the others.
std::uint64_t stream_of(Effect effect, std::uint32_t node, std::uint32_t stage, std::uint32_t slice,
                        std::uint32_t device);
/// Number of an element in its stream: 32 bits of input (or row), 32 of output (or column).
constexpr std::uint64_t counter_of(std::uint32_t input, std::uint32_t output) {
  return std::uint64_t{input} << 32 | output;
}

/// Programs the cells and lets them age to noise.time_s: targets, stuck devices, programming noise, drift, 1/f noise.
/// `codes`: inputs x outputs finite numbers in [-full_scale, full_scale]; `slice`: which slice of the weight they are,
/// below 256. Equal for any cut of a stage into rectangles and on every SIMD target. One thread; safe to call from
/// many.
Conductances program_cells(const chip::Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice,
                           const CellKeys& keys, std::span<const float> codes, float full_scale);

/// Cells that hold no weight, as code 0 that was never programmed: without programming noise, drift and 1/f noise, only
/// stuck devices differ. (With pair = "offset" code 0 is the middle, not g_min.) Keyed by the place: elements are the
/// rows x columns of a part of an array.
Conductances idle_cells(const chip::Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice, std::uint32_t array,
                        std::uint32_t first_row, std::uint32_t rows, std::uint32_t first_column, std::uint32_t columns,
                        float full_scale);

/// The conductance g_min of one device in units of weight codes: what every device carries beside plus and minus.
double background_code(const chip::Chip::Noise& noise, float full_scale);
/// Microsiemens of one device per unit of weight code.
double code_unit_us(const chip::Chip::Noise& noise, float full_scale);

}  // namespace danaus::machine
