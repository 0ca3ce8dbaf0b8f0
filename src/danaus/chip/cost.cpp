// The cost equations of the chip README, written out one by one. The converter regression is the published one of the
// Accelergy ADC plug-in (natural logarithms, node in nm, samples per second per converter).

#include "danaus/chip/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "danaus/chip/sharing.h"

namespace danaus::chip {
namespace {

constexpr double kUm2PerMm2 = 1e6;
constexpr std::uint32_t kWeightBits = 8;
constexpr std::uint32_t kFewestRegressionBits = 4;
constexpr double kFastestRegressionRate = 1e10;  // samples per second
constexpr std::uint32_t kMostBits = 62;          // beyond that every 2^bits saturates anyway

Picoseconds add(Picoseconds a, Picoseconds b) { return std::min(kLongestTime, a + b); }

// a and b are at most kLongestTime, so only the product can be too large.
Picoseconds multiply(std::uint64_t count, Picoseconds time) {
  if (time == 0 || count == 0) return 0;
  if (count > static_cast<std::uint64_t>(kLongestTime / time)) return kLongestTime;
  return static_cast<Picoseconds>(count) * time;
}

std::uint64_t power_of_two(std::uint32_t exponent) { return std::uint64_t{1} << std::min(exponent, kMostBits); }

std::uint32_t ceil_log2(std::uint32_t value) {
  return value <= 1 ? 0 : static_cast<std::uint32_t>(std::bit_width(value - 1));
}

// Serial input bits of one activation: the array, the converters and the row drivers work once per bit.
std::uint32_t repetitions(const Chip& chip, std::uint32_t dac_bits) {
  return chip.input.kind == InputKind::bit_serial ? dac_bits : 1;
}

std::uint64_t message_bits(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element) {
  return elements * bits_per_element + chip.network.header_bits;
}

// Samples per second of one converter; the regression must be allowed to speak about it.
Result<double> regression_rate(const Chip& chip, std::uint32_t bits) {
  if (bits < kFewestRegressionBits && !chip.adc.allow_extrapolation) {
    return fail(Error("chip.adc-bits", Failure::unsupported,
                      fmt::format("the converter regression does not cover {} bits; it starts at {}", bits,
                                  kFewestRegressionBits))
                    .with_hint("use at least 4 bits, give adc.energy and adc.area as numbers, or set "
                               "adc.allow_extrapolation = true"));
  }
  const Picoseconds time = conversion_time(chip, bits);
  const double rate = time > 0 ? 1e12 / static_cast<double>(time) : 0.0;
  if (time == 0 || (rate > kFastestRegressionRate && !chip.adc.allow_extrapolation)) {
    return fail(
        Error("chip.adc-rate", Failure::unsupported,
              fmt::format("the converter regression does not cover a conversion time of {} ps; it ends at 100 ps "
                          "(10 GS/s)",
                          time))
            .with_hint("give a longer conversion time, or adc.energy and adc.area as numbers"));
  }
  return rate;
}

}  // namespace

Picoseconds to_picoseconds(double ns) {
  const double ps = ns * 1000.0;
  if (!(ps < static_cast<double>(kLongestTime))) return kLongestTime;
  return std::llround(ps);
}

Picoseconds conversion_time(const Chip& chip, std::uint32_t adc_bits) {
  switch (chip.adc.kind) {
    case AdcKind::sar:
      return to_picoseconds((static_cast<double>(adc_bits) + 1) * chip.adc.step_ns);
    case AdcKind::ramp:
      return to_picoseconds(static_cast<double>(power_of_two(adc_bits)) * chip.adc.lsb_ns);
    case AdcKind::flash:
    case AdcKind::fixed:
      break;
  }
  return to_picoseconds(chip.adc.time_ns);
}

Picoseconds converter_time(const Chip& chip, std::uint32_t adc_bits) {
  const Picoseconds conversion = conversion_time(chip, adc_bits);
  return has_switch(chip) ? add(conversion, to_picoseconds(chip.adc.share_ns)) : conversion;
}

std::uint32_t converter_bits(const Chip& chip, std::uint32_t stage_bits, std::uint32_t most_bits) {
  return chip.adc.static_precision ? std::max(stage_bits, most_bits) : stage_bits;
}

bool are_converters_pooled(const Chip& chip) {
  // The bits of an input are converted between the windows of the next ones, with the array's converters in step.
  const bool is_serial = chip.input.kind == InputKind::bit_serial;
  return chip.adc.sharing == AdcSharing::group ||
         (chip.adc.sharing == AdcSharing::array && chip.adc.double_buffer && !is_serial);
}

Picoseconds input_time(const Chip& chip, std::uint32_t dac_bits) {
  switch (chip.input.kind) {
    case InputKind::pwm:
      return to_picoseconds(static_cast<double>(power_of_two(std::max(1u, dac_bits) - 1)) * chip.input.clock_ns);
    case InputKind::bit_serial:
      return multiply(dac_bits, to_picoseconds(chip.input.bit_ns));
    case InputKind::voltage:
    case InputKind::fixed:
      break;
  }
  return to_picoseconds(chip.input.time_ns);
}

std::uint32_t converter_of(const Chip& chip, std::uint32_t column) {
  const std::uint32_t converters = chip.adc.per_array;
  if (chip.adc.wiring == Wiring::interleaved) return column % converters;
  return column / ((chip.array.cols + converters - 1) / converters);
}

std::uint64_t input_windows(const Chip& chip, std::uint32_t rounds) {
  return chip.adc.sample_hold ? 1 : std::uint64_t{rounds} * chip.array.slices;
}

ActivationTime activation_parts(const Chip& chip, std::uint32_t dac_bits, std::uint32_t adc_bits,
                                std::uint32_t rounds) {
  const std::uint64_t conversions = std::uint64_t{rounds} * chip.array.slices;
  const std::uint32_t repeats = repetitions(chip, dac_bits);
  const bool serial = chip.input.kind == InputKind::bit_serial;
  const Picoseconds window = serial ? to_picoseconds(chip.input.bit_ns) : input_time(chip, dac_bits);
  const Picoseconds conversion = converter_time(chip, adc_bits);
  ActivationTime time;
  time.settle = multiply(repeats, to_picoseconds(chip.array.settle_ns));
  if (chip.adc.double_buffer) {
    // A bit is driven while the one before it is converted: the longer of the two sets the pace, the shorter shows
    // once, before the first conversion or after the last input.
    const Picoseconds settle = to_picoseconds(chip.array.settle_ns);
    const Picoseconds all = multiply(conversions, conversion);
    const bool converters_set_pace = all >= add(window, settle);
    const std::uint32_t inputs = converters_set_pace ? 1 : repeats;
    time.input = multiply(inputs, window);
    time.settle = multiply(inputs, settle);
    time.adc = converters_set_pace ? multiply(repeats, all) : all;
  } else if (chip.adc.sample_hold) {
    time.input = multiply(repeats, window);
    time.adc = multiply(repeats, multiply(conversions, conversion));
  } else {
    // Nothing holds the column's value: every round repeats the input window while its converters work.
    time.input = multiply(repeats, multiply(conversions, window));
    time.adc = multiply(repeats, multiply(conversions, std::max(window, conversion) - window));
  }
  return time;
}

Picoseconds activation_time(const Chip& chip, std::uint32_t dac_bits, std::uint32_t adc_bits, std::uint32_t rounds) {
  const ActivationTime time = activation_parts(chip, dac_bits, adc_bits, rounds);
  return add(add(time.input, time.settle), time.adc);
}

std::uint32_t adc_bits(const Chip& chip, std::uint32_t rows, std::uint32_t stage) {
  switch (chip.adc.rule) {
    case AdcRule::fixed:
    case AdcRule::calibrated:  // a program has the bits of its table; this is for what has no program
      break;
    case AdcRule::rows:
      return std::max(4u, ceil_log2(rows));
    case AdcRule::lossless: {
      const std::uint32_t cell_bits = (kWeightBits + chip.array.slices - 1) / chip.array.slices;
      const std::uint32_t input_bits = chip.input.kind == InputKind::bit_serial ? 1 : chip.input.bits;
      return ceil_log2(rows) + cell_bits + input_bits - 1;
    }
  }
  return stage == 1 && chip.adc.second_bits != 0 ? chip.adc.second_bits : chip.adc.bits;
}

FigureOfMerit figure_of_merit(double bits, double samples_per_s) {
  return {.rate_limited = 213.7806687348118 - 2.8719030399529957 * std::log(samples_per_s),
          .noise_limited = 128.3068287398817 + 3.220511510977561 * std::clamp(std::ceil(bits), 0.0, 20.0),
          .sndr = 20.0 * std::log10(2.0) * bits + 10.0 * std::log10(1.5)};
}

double regression_energy_pj(double bits, double node_nm, double samples_per_s) {
  const FigureOfMerit merit = figure_of_merit(bits, samples_per_s);
  return 0.5 * std::pow(10.0, -(merit.value() - merit.sndr) / 10.0) *
         std::exp(26.0496215686518 + 1.8800369206815004 * std::log(node_nm) - 2.8291256050594527 * std::log(bits) -
                  1.4702022133784405);
}

double regression_area_um2(double bits, double node_nm, double samples_per_s, double energy_pj) {
  static_cast<void>(bits);  // enters through the energy only
  return std::exp(1.3461916439910742 + 0.9932794744745022 * std::log(node_nm) +
                  0.18071538424508238 * std::log(samples_per_s) + 0.29912426192653485 * std::log(energy_pj));
}

Result<double> conversion_energy_pj(const Chip& chip, std::uint32_t bits) {
  if (chip.adc.energy_pj >= 0) return chip.adc.calibration * chip.adc.energy_pj;
  DANAUS_TRY(rate, regression_rate(chip, bits));
  return chip.adc.calibration * regression_energy_pj(bits, chip.adc.node_nm, rate);
}

Result<double> converter_area_um2(const Chip& chip, std::uint32_t bits) {
  if (chip.adc.area_um2 >= 0) return chip.adc.area_um2;
  DANAUS_TRY(rate, regression_rate(chip, bits));
  // The calibration factor is about energy: the area follows from the regression's own energy.
  return regression_area_um2(bits, chip.adc.node_nm, rate, regression_energy_pj(bits, chip.adc.node_nm, rate));
}

Result<ActivationEnergy> activation_energy_parts(const Chip& chip, std::uint32_t dac_bits, std::uint32_t bits) {
  DANAUS_TRY(conversion, conversion_energy_pj(chip, bits));
  const double repeats = repetitions(chip, dac_bits);
  const double slices = chip.array.slices;
  ActivationEnergy energy;
  energy.row_pj = repeats * chip.input.row_energy_pj;
  energy.cell_pj = repeats * slices * chip.array.cell_energy_pj;
  const double beside =
      chip.adc.sample_hold_energy_pj + chip.adc.shift_add_energy_pj + (has_switch(chip) ? chip.adc.share_energy_pj : 0);
  energy.column_pj = repeats * slices * (conversion + beside);
  energy.column_high_pj = energy.column_pj;
  if (chip.adc.calibration_high > 0) {
    Chip high = chip;
    high.adc.calibration = chip.adc.calibration_high;
    DANAUS_TRY(high_conversion, conversion_energy_pj(high, bits));
    energy.column_high_pj = repeats * slices * (high_conversion + beside);
  }
  energy.activation_pj = chip.array.activation_energy_pj;
  return energy;
}

Result<double> activation_energy_pj(const Chip& chip, std::uint32_t rows, std::uint32_t columns, std::uint32_t dac_bits,
                                    std::uint32_t bits, std::uint32_t rounds) {
  DANAUS_TRY(energy, activation_energy_parts(chip, dac_bits, bits));
  const auto windows = static_cast<double>(input_windows(chip, rounds));
  // Columns that are not converted in a window float like those that are not read at all.
  const double cells = double{1} * rows * (chip.array.idle_columns_draw ? windows * chip.array.cols : columns);
  return windows * rows * energy.row_pj + cells * energy.cell_pj + columns * energy.column_pj + energy.activation_pj;
}

Picoseconds message_time(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element, std::uint32_t hops) {
  if (chip.network.topology == Topology::ideal || hops == 0) return 0;
  if (chip.network.topology == Topology::flat) return to_picoseconds(chip.network.hop_ns);
  return add(multiply(hops, to_picoseconds(chip.network.hop_ns)), message_port_time(chip, elements, bits_per_element));
}

Picoseconds message_port_time(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element) {
  if (chip.network.topology != Topology::mesh) return 0;
  const std::uint64_t bits = message_bits(chip, elements, bits_per_element);
  const std::uint64_t flits = bits / chip.network.link_bits + (bits % chip.network.link_bits != 0);
  return multiply(flits, to_picoseconds(chip.network.clock_ns));
}

double message_energy_pj(const Chip& chip, std::uint64_t elements, std::uint32_t bits_per_element,
                         std::uint32_t link_hops) {
  if (chip.network.topology == Topology::ideal) return 0;
  return static_cast<double>(message_bits(chip, elements, bits_per_element)) * link_hops *
         chip.network.energy_pj_per_bit_hop;
}

std::uint32_t mesh_hops(std::uint32_t from, std::uint32_t to, std::uint32_t tiles) {
  return mesh_hops_on(mesh_side(tiles), from, to);
}

std::uint32_t mesh_hops_on(std::uint32_t side, std::uint32_t from, std::uint32_t to) {
  const auto distance = [](std::uint32_t a, std::uint32_t b) { return a > b ? a - b : b - a; };
  return distance(from % side, to % side) + distance(from / side, to / side);
}

std::uint32_t mesh_side(std::uint32_t tiles) {
  std::uint32_t side = static_cast<std::uint32_t>(std::sqrt(static_cast<double>(tiles)));
  while (std::uint64_t{side} * side < tiles) ++side;
  return std::max(1u, side);
}

double attention_units(const Chip& chip, std::uint32_t regions) {
  return chip.attention.units != 0 ? chip.attention.units : regions;
}

double passive_mw(const Chip& chip, double arrays, double tiles, double chips, std::uint32_t regions) {
  const double pools = chip.digital.hub ? 1 : tiles;
  const double units = attention_units(chip, regions) * (chip.attention.units != 0 ? chips : 1);
  const double memories = regions != 0 ? chips : 0;
  return chips * (arrays * chip.system.passive_mw_per_array + pools * chip.digital.units * chip.digital.passive_mw) +
         units * chip.attention.passive_mw + memories * chip.attention.kv_passive_mw;
}

Result<ArrayArea> array_area(const Chip& chip, std::uint32_t largest_adc_bits) {
  DANAUS_TRY(converter, converter_area_um2(chip, largest_adc_bits));
  const double rows = chip.array.rows;
  const double physical_columns = double{1} * chip.array.cols * chip.array.slices;
  // The slices of a weight take turns before the switch.
  const double crosspoints = !has_switch(chip)
                                 ? 0
                                 : double{1} * chip.array.cols * chip.adc.per_array *
                                       (chip.adc.sharing == AdcSharing::group ? chip.adc.group_arrays : 1);
  return ArrayArea{.cells = rows * physical_columns * chip.array.devices_per_weight * chip.array.cell_area_um2,
                   .row_drivers = rows * chip.input.row_area_um2,
                   .converters = chip.adc.per_array * converter,
                   .sample_holds = physical_columns * chip.adc.sample_hold_area_um2,
                   .switches = crosspoints * chip.adc.share_area_um2,
                   .control = chip.system.control_area_um2_per_array};
}

Result<Area> area(const Chip& chip, std::uint32_t arrays, const Equipment& equipment) {
  DANAUS_TRY(array, array_area(chip, equipment.largest_adc_bits));
  const std::uint32_t per_tile = chip.network.arrays_per_tile;
  const double tiles = arrays / per_tile + (arrays % per_tile != 0);
  const double bytes =
      static_cast<double>(chip.buffer.bytes_per_tile != 0 ? chip.buffer.bytes_per_tile : equipment.buffer_bytes);
  const double pools = chip.digital.hub ? 1.0 : tiles;
  Area result;
  result.arrays_mm2 = arrays * (array.cells + array.row_drivers + array.control) / kUm2PerMm2;
  result.adcs_mm2 = arrays * (array.converters + array.sample_holds + array.switches) / kUm2PerMm2;
  result.digital_mm2 = pools * chip.digital.units * chip.digital.area_um2 / kUm2PerMm2;
  result.attention_mm2 = attention_units(chip, equipment.kv_regions) * chip.attention.area_um2 / kUm2PerMm2;
  result.buffers_mm2 = tiles * bytes * chip.buffer.area_um2_per_byte / kUm2PerMm2;
  result.network_mm2 = chip.network.topology == Topology::ideal ? 0 : tiles * chip.network.router_area_um2 / kUm2PerMm2;
  return result;
}

Result<Area> system_area(const Chip& chip, std::uint32_t arrays, const Equipment& equipment) {
  const std::uint32_t share = arrays_per_chip(chip, arrays);
  DANAUS_TRY(one, area(chip, share == 0 ? arrays : share, equipment));
  if (share == 0) return one;
  const double chips = chip.system.chips;
  const double attention = chip.attention.units != 0 ? chips : 1;  // units beside regions are all regions' already
  return Area{.arrays_mm2 = chips * one.arrays_mm2,
              .adcs_mm2 = chips * one.adcs_mm2,
              .digital_mm2 = chips * one.digital_mm2,
              .attention_mm2 = attention * one.attention_mm2,
              .buffers_mm2 = chips * one.buffers_mm2,
              .network_mm2 = chips * one.network_mm2,
              .links_mm2 = chip.system.chips == 1 ? 0 : chips * chip.system.link_area_um2 / kUm2PerMm2};
}

std::uint32_t arrays_per_chip(const Chip& chip, std::uint32_t arrays) {
  const std::uint32_t limit = chip.system.arrays;
  if (chip.system.chips == 1 && (limit == 0 || arrays <= limit)) return 0;
  if (limit != 0) return limit;
  const std::uint64_t per_tile = chip.network.arrays_per_tile;
  const std::uint64_t in_a_row = std::uint64_t{chip.system.chips} * per_tile;  // a tile on every chip
  const std::uint64_t tiles = std::max<std::uint64_t>(1, (arrays + in_a_row - 1) / in_a_row);
  return static_cast<std::uint32_t>(tiles * per_tile);
}

std::uint64_t system_arrays(const Chip& chip) { return std::uint64_t{chip.system.arrays} * chip.system.chips; }

Picoseconds link_time(const Chip& chip, std::uint64_t bits) {
  if (chip.system.link_gbps == 0) return 0;
  return to_picoseconds(static_cast<double>(bits) / chip.system.link_gbps);
}

double programming_time_us(const Chip& chip, std::uint32_t arrays) {
  const double cycle_ns = chip.programming.pulse_ns + chip.programming.verify_ns;
  const std::uint32_t at_a_time = chip.programming.arrays_at_a_time;
  const double turns = at_a_time == 0 ? 1.0 : arrays / at_a_time + (arrays % at_a_time != 0);
  return turns * chip.array.rows * chip.programming.iterations * cycle_ns / 1000.0;
}

double programming_energy_uj(const Chip& chip, std::uint64_t weights) {
  const double devices = static_cast<double>(weights) * chip.array.slices * chip.array.devices_per_weight;
  return devices * chip.programming.iterations * chip.programming.energy_pj / 1e6;
}

}  // namespace danaus::chip
