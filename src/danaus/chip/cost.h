#pragma once

#include <cstdint>

#include "danaus/chip/chip.h"

/// Pure functions event -> time, energy, area (equations in README.md). Times in integer picoseconds; every elementary
/// time is rounded to nearest once, saturating at kLongestTime.
namespace danaus::chip {

/// About 28 hours: no chip is meant to take so long for anything, and sums of a few such times still fit 64 bits.
inline constexpr Picoseconds kLongestTime = 100'000'000'000'000'000;

/// Nanoseconds of a chip file as picoseconds.
Picoseconds to_picoseconds(double ns);

/// b-bit conversion.
Picoseconds conversion_time(const Chip& chip, std::uint32_t adc_bits);
/// How long it keeps a converter busy: with a switch before the converters (adc.sharing) its time, too.
Picoseconds converter_time(const Chip& chip, std::uint32_t adc_bits);
/// The resolution at which a stage is converted in a program whose stages need at most `most_bits`.
std::uint32_t converter_bits(const Chip& chip, std::uint32_t stage_bits, std::uint32_t most_bits);
/// Converters are taken column by column, by the array's next activation or by another array, as soon as they are free
/// (adc.sharing = group; array with a double buffer). Otherwise an activation has its array's converters to itself.
bool are_converters_pooled(const Chip& chip);
/// The converter that a column is wired to: c mod A, or with adc.wiring = blocked c div ceil(cols / A).
std::uint32_t converter_of(const Chip& chip, std::uint32_t column);
Picoseconds input_time(const Chip& chip, std::uint32_t dac_bits);
/// Input windows of one activation: 1, or one per conversion where nothing holds the columns (times serial input bits).
std::uint64_t input_windows(const Chip& chip, std::uint32_t rounds);
/// Where the time of one activation goes.
struct ActivationTime {
  Picoseconds input = 0, settle = 0, adc = 0;
  Picoseconds total() const { return input + settle + adc; }
  bool operator==(const ActivationTime&) const = default;
};
ActivationTime activation_parts(const Chip& chip, std::uint32_t dac_bits, std::uint32_t adc_bits, std::uint32_t rounds);
/// One activation: rounds = max over ADCs of the read columns wired to it; with a switch, read columns / ADCs.
Picoseconds activation_time(const Chip& chip, std::uint32_t dac_bits, std::uint32_t adc_bits, std::uint32_t rounds);

/// ADC bits for a stage (0 or 1) whose largest activation sums `rows` rows, by the chip's rule.
std::uint32_t adc_bits(const Chip& chip, std::uint32_t rows, std::uint32_t stage = 0);
/// Energy per conversion (calibration included; without sample-and-hold and shift-add) in pJ and area per converter in
/// um2. Errors of the regression: chip.adc-bits below 4 bits and chip.adc-rate above 10 GS/s, unless extrapolation is
/// allowed.
Result<double> conversion_energy_pj(const Chip& chip, std::uint32_t adc_bits);
Result<double> converter_area_um2(const Chip& chip, std::uint32_t adc_bits);
/// The published regression itself (node in nm, samples per second per converter).
/// Its figure of merit in dB: limited by the sampling rate for fast converters, by thermal noise for slow ones.
struct FigureOfMerit {
  double rate_limited = 0, noise_limited = 0;
  double sndr = 0;  ///< of an ideal converter of so many bits
  double value() const { return rate_limited < noise_limited ? rate_limited : noise_limited; }
};
FigureOfMerit figure_of_merit(double bits, double samples_per_s);
double regression_energy_pj(double bits, double node_nm, double samples_per_s);
double regression_area_um2(double bits, double node_nm, double samples_per_s, double energy_pj);

/// Energy of one activation in pJ, by part (calibrated converters, sample-and-hold and shift-add under `adc`).
struct ActivationEnergy {
  double row_pj = 0;     ///< per driven row and input window
  double cell_pj = 0;    ///< per weight that draws current: rows * columns, or rows * cols with idle_columns = "draw"
  double column_pj = 0;  ///< per read column
  double column_high_pj = 0;  ///< the same at adc.calibration_high; without a band as column_pj
  double activation_pj = 0;   ///< once
};
Result<ActivationEnergy> activation_energy_parts(const Chip& chip, std::uint32_t dac_bits, std::uint32_t adc_bits);
/// Energy of one activation in pJ: driven rows, read columns, rounds as for activation_time.
Result<double> activation_energy_pj(const Chip& chip, std::uint32_t rows, std::uint32_t columns, std::uint32_t dac_bits,
                                    std::uint32_t adc_bits, std::uint32_t rounds);
/// One message of `elements` elements over `hops` hops.
Picoseconds message_time(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element, std::uint32_t hops);
/// Time the outgoing port of a tile is busy with it (serialisation).
Picoseconds message_port_time(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element);
double message_energy_pj(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element,
                         std::uint32_t link_hops);

/// Square mesh, row-major: x = tile % side, y = tile / side, side = ceil(sqrt(tiles)).
std::uint32_t mesh_hops(std::uint32_t from, std::uint32_t to, std::uint32_t tiles);
std::uint32_t mesh_side(std::uint32_t tiles);
std::uint32_t mesh_hops_on(std::uint32_t side, std::uint32_t from, std::uint32_t to);

/// Arrays onto each of chip.chips chips when `arrays` are dealt out in order of number: chip.arrays or, where a chip
/// has as many as needed, equal shares of whole tiles. 0 = one chip holds all. More than chips * share need more
/// passes.
std::uint32_t arrays_per_chip(const Chip& chip, std::uint32_t arrays);
/// Arrays of all chips together; 0 = as many as needed.
std::uint64_t system_arrays(const Chip& chip);

/// A message on a chip's link: serialisation, during which the link is busy.
Picoseconds link_time(const Chip& chip, std::uint64_t bits);

/// Attention units: those of one chip or, with attention.units = 0, one for each of `regions` KV regions.
double attention_units(const Chip& chip, std::uint32_t regions);
/// Idle power of `chips` chips together: `arrays` arrays and `tiles` tiles on each, KV regions on all of them.
/// Unlimited digital units count as none.
double passive_mw(const Chip& chip, double arrays, double tiles, double chips, std::uint32_t regions);

/// One array with what belongs to it.
struct ArrayArea {  // um2
  double cells = 0, row_drivers = 0, converters = 0, sample_holds = 0, switches = 0, control = 0;
  double total() const { return cells + row_drivers + converters + sample_holds + switches + control; }
};
Result<ArrayArea> array_area(const Chip& chip, std::uint32_t largest_adc_bits);

struct Area {
  double arrays_mm2 = 0, adcs_mm2 = 0, digital_mm2 = 0, attention_mm2 = 0, buffers_mm2 = 0, network_mm2 = 0,
         links_mm2 = 0;
  double total_mm2() const {
    return arrays_mm2 + adcs_mm2 + digital_mm2 + attention_mm2 + buffers_mm2 + network_mm2 + links_mm2;
  }
  bool operator==(const Area&) const = default;
};
/// What a chip has to have beside its arrays.
struct Equipment {
  std::uint64_t buffer_bytes = 0;      ///< per tile, used when the chip says "as much as needed"
  std::uint32_t largest_adc_bits = 8;  ///< decides the area of a converter
  std::uint32_t kv_regions = 0;        ///< of all chips together
};
/// One chip without its link.
Result<Area> area(const Chip& chip, std::uint32_t arrays, const Equipment& equipment);
/// All chips onto which `arrays` arrays are dealt: idle ones and those of a full share count, too.
Result<Area> system_area(const Chip& chip, std::uint32_t arrays, const Equipment& equipment);

/// Programming all cells of `arrays` arrays of a chip once: row by row within an array, program.arrays_at_a_time arrays
/// in parallel.
double programming_time_us(const Chip& chip, std::uint32_t arrays);
double programming_energy_uj(const Chip& chip, std::uint64_t weights);

}  // namespace danaus::chip
