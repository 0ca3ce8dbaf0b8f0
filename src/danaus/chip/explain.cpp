// The equations of cost.cpp for people. Every result is computed by cost.cpp; only the words and the numbers that are
// put in are written here, and a test evaluates the numbers again.

#include "danaus/chip/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "danaus/chip/cost.h"
#include "danaus/chip/sharing.h"

namespace danaus::chip {
namespace {

std::string ns(Picoseconds time) { return fmt::format("{:g} ns", to_nanoseconds(time)); }
std::string pj(double energy) { return fmt::format("{:.5g} pJ", energy); }
std::string um2(double area) { return fmt::format("{:.5g} um2", area); }
std::string mm2(double area) { return fmt::format("{:.4g} mm2", area / 1e6); }

/// A figure that the chip may refuse.
template <typename Unit>
std::string figure(const Result<double>& value, Unit unit) {
  return value ? unit(*value) : fmt::format("refused: {}", value.error().message);
}

/// "T = symbols", "= numbers", "= result" below each other.
class Page {
 public:
  explicit Page(std::string title) : text_(std::move(title) + "\n") {}

  void equation(std::string_view name, std::string_view symbols, std::string_view numbers, std::string_view result) {
    text_ += fmt::format("\n{:<9} = {}\n", name, symbols);
    if (!numbers.empty()) text_ += fmt::format("{:<9} = {}\n", "", numbers);
    text_ += fmt::format("{:<9} = {}\n", "", result);
  }
  void line(std::string_view text) { text_ += fmt::format("{}\n", text); }
  void gap() { text_ += "\n"; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string_view name_of(AdcKind kind) {
  switch (kind) {
    case AdcKind::sar:
      return "sar";
    case AdcKind::ramp:
      return "ramp";
    case AdcKind::flash:
      return "flash";
    case AdcKind::fixed:
      return "fixed";
  }
  return "";
}

std::string_view name_of(InputKind kind) {
  switch (kind) {
    case InputKind::pwm:
      return "pwm";
    case InputKind::bit_serial:
      return "bit-serial";
    case InputKind::voltage:
      return "voltage";
    case InputKind::fixed:
      return "fixed";
  }
  return "";
}

std::string_view name_of(Switching switching) {
  switch (switching) {
    case Switching::circuit:
      return "circuit";
    case Switching::wormhole:
      return "wormhole";
  }
  return "";
}

/// How long a message on a mesh occupies its port, or its way.
std::string_view hold_of(Switching switching) {
  return switching == Switching::wormhole ? "until its last bits have left, for t_port" : "until it has arrived, for T";
}

/// A product with the whole array: the operating point of most pages.
struct WholeArray {
  std::uint32_t rows, columns, rounds, adc_bits, dac_bits;
  explicit WholeArray(const Chip& chip)
      : rows(chip.array.rows),
        columns(chip.array.cols),
        rounds((chip.array.cols + chip.adc.per_array - 1) / chip.adc.per_array),
        adc_bits(chip::adc_bits(chip, chip.array.rows)),
        dac_bits(chip.input.bits) {}
};

bool is_serial(const Chip& chip) { return chip.input.kind == InputKind::bit_serial; }

std::string explain_input(const Chip& chip) {
  Page page(fmt::format("Inputs of chip '{}' (input.kind = {}, {} bits)", chip.name, name_of(chip.input.kind),
                        chip.input.bits));
  const std::string time = ns(input_time(chip, chip.input.bits));
  switch (chip.input.kind) {
    case InputKind::pwm:
      page.equation("t_input", "2^(input.bits - 1) * input.clock_ns",
                    fmt::format("2^({} - 1) * {:g} ns", chip.input.bits, chip.input.clock_ns), time);
      break;
    case InputKind::bit_serial:
      page.equation("t_bit", "input.bit_ns", "", fmt::format("{:g} ns", chip.input.bit_ns));
      page.equation("t_input", "input.bits * t_bit", fmt::format("{} * {:g} ns", chip.input.bits, chip.input.bit_ns),
                    time);
      break;
    case InputKind::voltage:
    case InputKind::fixed:
      page.equation("t_input", "input.time_ns", "", time);
      break;
  }
  page.equation("e_row", is_serial(chip) ? "input.bits * input.row_energy_pj" : "input.row_energy_pj",
                is_serial(chip) ? fmt::format("{} * {:g} pJ", chip.input.bits, chip.input.row_energy_pj) : "",
                pj((is_serial(chip) ? chip.input.bits : 1) * chip.input.row_energy_pj));
  page.gap();
  page.line("Per driven row; without sample-and-hold once for every round of conversions.");
  return page.take();
}

void add_bits(Page& page, const Chip& chip) {
  const std::uint32_t rows = chip.array.rows;
  const std::string bits = fmt::format("{} bits", adc_bits(chip, rows));
  switch (chip.adc.rule) {
    case AdcRule::fixed:
      page.equation("b", "adc.bits", "", bits);
      if (chip.adc.second_bits != 0)
        page.line(fmt::format("            second stages: adc.second_bits = {}", chip.adc.second_bits));
      break;
    case AdcRule::calibrated:
      page.equation("b", "the table of --adc-bits FILE, which has a rule for every stage", "", "not known here");
      page.line(fmt::format("            this page goes on with adc.bits = {}, which such programs do not use",
                            adc_bits(chip, rows)));
      break;
    case AdcRule::rows:
      page.equation("b", "max(4, ceil(log2(rows summed)))", fmt::format("max(4, ceil(log2({})))", rows), bits);
      break;
    case AdcRule::lossless: {
      const std::uint32_t input_bits = is_serial(chip) ? 1 : chip.input.bits;
      page.equation("b", "ceil(log2(rows summed)) + ceil(8 / array.slices) + input bits - 1",
                    fmt::format("ceil(log2({})) + ceil(8 / {}) + {} - 1", rows, chip.array.slices, input_bits), bits);
      break;
    }
  }
}

void add_conversion_time(Page& page, const Chip& chip, std::uint32_t bits) {
  const std::string time = ns(conversion_time(chip, bits));
  switch (chip.adc.kind) {
    case AdcKind::sar:
      page.equation("t_conv", "(b + 1) * adc.step_ns", fmt::format("({} + 1) * {:g} ns", bits, chip.adc.step_ns), time);
      break;
    case AdcKind::ramp:
      page.equation("t_conv", "2^b * adc.lsb_ns", fmt::format("2^{} * {:g} ns", bits, chip.adc.lsb_ns), time);
      break;
    case AdcKind::flash:
    case AdcKind::fixed:
      page.equation("t_conv", "adc.time_ns", "", time);
      break;
  }
}

/// Both branches of the figure of merit, energy and area.
void add_regression(Page& page, const Chip& chip, std::uint32_t bits) {
  const Result<double> energy = conversion_energy_pj(chip, bits);
  const Result<double> area = converter_area_um2(chip, bits);
  const Picoseconds time = conversion_time(chip, bits);
  if (!energy || !area || time == 0) {
    page.gap();
    page.line(fmt::format("energy and area are {}", figure(energy ? area : energy, pj)));
    return;
  }
  const double rate = 1e12 / static_cast<double>(time);
  const double node = chip.adc.node_nm;
  page.equation("f", "1 / t_conv", "", fmt::format("{:.5g} samples/s", rate));
  const FigureOfMerit merit = figure_of_merit(bits, rate);
  page.equation("F_rate", "213.781 - 2.87190 * ln f", fmt::format("213.781 - 2.87190 * ln {:.5g}", rate),
                fmt::format("{:.4f} dB", merit.rate_limited));
  page.equation("F_noise", "128.307 + 3.22051 * ceil(b)", fmt::format("128.307 + 3.22051 * {}", bits),
                fmt::format("{:.4f} dB", merit.noise_limited));
  page.equation("F", "min(F_rate, F_noise)", "",
                fmt::format("{:.4f} dB: limited by {}", merit.value(),
                            merit.rate_limited < merit.noise_limited ? "the sampling rate" : "thermal noise"));
  page.equation("SNDR", "20 * log10(2) * b + 10 * log10(1.5)",
                fmt::format("20 * log10(2) * {} + 10 * log10(1.5)", bits), fmt::format("{:.4f} dB", merit.sndr));
  const double best = regression_energy_pj(bits, node, rate);
  if (chip.adc.energy_pj < 0) {
    page.equation("e_best", "0.5 * 10^((SNDR - F) / 10) * exp(24.5794 + 1.88004 * ln node - 2.82913 * ln b)",
                  fmt::format("0.5 * 10^(({:.4f} - {:.4f}) / 10) * exp(24.5794 + 1.88004 * ln {:g} - 2.82913 * ln {})",
                              merit.sndr, merit.value(), node, bits),
                  pj(best));
    page.equation("e_adc", "adc.calibration * e_best", fmt::format("{:g} * {:.5g} pJ", chip.adc.calibration, best),
                  pj(*energy));
    if (chip.adc.calibration_high > 0)
      page.equation("e_high", "adc.calibration_high * e_best",
                    fmt::format("{:g} * {:.5g} pJ", chip.adc.calibration_high, best),
                    pj(chip.adc.calibration_high * best));
  }
  if (chip.adc.area_um2 < 0)
    page.equation("a_adc", "exp(1.34619 + 0.993279 * ln node + 0.180715 * ln f + 0.299124 * ln e_best)",
                  fmt::format("exp(1.34619 + 0.993279 * ln {:g} + 0.180715 * ln {:.5g} + 0.299124 * ln {:.5g})", node,
                              rate, best),
                  um2(*area));
}

/// Which columns a converter has.
std::string wiring_of(const Chip& chip) {
  switch (chip.adc.sharing) {
    case AdcSharing::array:
      return "adc.sharing = \"array\": a switch between the columns of an array and its converters; adc.wiring is not "
             "used";
    case AdcSharing::group:
      return fmt::format(
          "adc.sharing = \"group\": a switch between the columns of {} arrays and their converters; adc.wiring is not "
          "used",
          chip.adc.group_arrays);
    case AdcSharing::column:
      break;
  }
  const std::uint32_t converters = chip.adc.per_array;
  if (chip.adc.wiring == Wiring::interleaved)
    return fmt::format("adc.wiring = \"interleaved\": column c is wired to converter c mod {}", converters);
  return fmt::format("adc.wiring = \"blocked\": column c is wired to converter c div {}",
                     (chip.array.cols + converters - 1) / converters);
}

std::string explain_adc(const Chip& chip) {
  const std::uint32_t bits = adc_bits(chip, chip.array.rows);
  Page page(fmt::format("One conversion on chip '{}' (adc.kind = {}, {} ADCs per array, {:g} nm), all {} rows summed",
                        chip.name, name_of(chip.adc.kind), chip.adc.per_array, chip.adc.node_nm, chip.array.rows));
  add_bits(page, chip);
  add_conversion_time(page, chip, bits);
  if (chip.adc.energy_pj < 0 || chip.adc.area_um2 < 0) add_regression(page, chip, bits);
  if (chip.adc.energy_pj >= 0)
    page.equation("e_adc", "adc.calibration * adc.energy",
                  fmt::format("{:g} * {:g} pJ", chip.adc.calibration, chip.adc.energy_pj),
                  figure(conversion_energy_pj(chip, bits), pj));
  if (chip.adc.area_um2 >= 0) page.equation("a_adc", "adc.area", "", um2(chip.adc.area_um2));
  page.gap();
  page.line(wiring_of(chip));
  if (chip.adc.static_precision)
    page.line(
        "adc.precision = \"static\": all conversions of a program take the time and energy of its stage with the most "
        "bits");
  page.gap();
  page.line(fmt::format("{:>12}{:>8}{:>14}{:>14}{:>14}", "rows summed", "bits", "time", "energy", "area"));
  for (const std::uint32_t rows : {16u, 32u, 64u, 128u, 256u}) {
    if (rows > chip.array.rows) break;
    const std::uint32_t own = adc_bits(chip, rows);
    const Result<double> energy = conversion_energy_pj(chip, own), area = converter_area_um2(chip, own);
    page.line(fmt::format("{:>12}{:>8}{:>14}{:>14}{:>14}", rows, own, ns(conversion_time(chip, own)),
                          energy ? fmt::format("{:.4g} pJ", *energy) : "refused",
                          area ? fmt::format("{:.4g} um2", *area) : "refused"));
  }
  page.gap();
  if (chip.adc.energy_pj < 0 || chip.adc.area_um2 < 0)
    page.line(
        "The regression is over 215 published converters and answers with a best case. It is refused below 4 bits\n"
        "and above 10 GS/s unless adc.allow_extrapolation is set. adc.calibration multiplies the energy alone.");
  return page.take();
}

void add_activation_time(Page& page, const Chip& chip, const WholeArray& whole) {
  const double settle = chip.array.settle_ns;
  const std::uint64_t conversions = std::uint64_t{whole.rounds} * chip.array.slices;
  const Picoseconds window = is_serial(chip) ? to_picoseconds(chip.input.bit_ns) : input_time(chip, whole.dac_bits);
  const double t_input = to_nanoseconds(window), t_conv = to_nanoseconds(converter_time(chip, whole.adc_bits));
  page.equation("rounds",
                fmt::format("{}: ceil(columns / adc.per_array)",
                            has_switch(chip) ? "read columns over converters" : "most read columns on one converter"),
                fmt::format("ceil({} / {})", whole.columns, chip.adc.per_array), fmt::format("{}", whole.rounds));
  page.equation("n", "conversions in turn: rounds * array.slices",
                fmt::format("{} * {}", whole.rounds, chip.array.slices), fmt::format("{}", conversions));
  page.equation(is_serial(chip) ? "t_bit" : "t_input", "explain cost input", "", ns(window));
  page.equation("t_settle", "array.settle_ns", "", fmt::format("{:g} ns", settle));
  page.equation("t_conv",
                fmt::format("explain cost adc, {} bits{}", whole.adc_bits,
                            has_switch(chip) ? "; and the switch: t_adc + adc.share_ns" : ""),
                has_switch(chip) ? fmt::format("{:g} + {:g} ns", to_nanoseconds(conversion_time(chip, whole.adc_bits)),
                                               chip.adc.share_ns)
                                 : "",
                ns(converter_time(chip, whole.adc_bits)));
  const std::string window_name = is_serial(chip) ? "t_bit" : "t_input";
  std::string symbols, numbers;
  if (chip.adc.double_buffer && is_serial(chip)) {
    const bool converters_set_pace = static_cast<double>(conversions) * t_conv >= t_input + settle;
    symbols = converters_set_pace ? "t_bit + t_settle + input.bits * n * t_conv"
                                  : "input.bits * (t_bit + t_settle) + n * t_conv";
    numbers =
        converters_set_pace
            ? fmt::format("{:g} + {:g} + {} * {} * {:g} ns", t_input, settle, whole.dac_bits, conversions, t_conv)
            : fmt::format("{} * ({:g} + {:g}) + {} * {:g} ns", whole.dac_bits, t_input, settle, conversions, t_conv);
  } else if (chip.adc.sample_hold) {
    symbols = window_name + " + t_settle + n * t_conv";
    numbers = fmt::format("{:g} + {:g} + {} * {:g}", t_input, settle, conversions, t_conv);
  } else {
    symbols = fmt::format("n * max({}, t_conv) + t_settle", window_name);
    numbers = fmt::format("{} * max({:g}, {:g}) + {:g}", conversions, t_input, t_conv, settle);
  }
  if (!(chip.adc.double_buffer && is_serial(chip))) {
    if (is_serial(chip)) {
      symbols = fmt::format("input.bits * ({})", symbols);
      numbers = fmt::format("{} * ({})", whole.dac_bits, numbers);
    }
    numbers += " ns";
  }
  page.equation("T", symbols, numbers, ns(activation_time(chip, whole.dac_bits, whole.adc_bits, whole.rounds)));
  if (chip.adc.double_buffer)
    page.line("            adc.double_buffer: the array takes the next input while these columns are converted");
  if (chip.adc.sharing == AdcSharing::group) {
    const std::uint32_t converters = chip.adc.per_array * chip.adc.group_arrays;
    page.line(fmt::format("            adc.sharing: with the converters of {} arrays that are idle {} rounds would do",
                          chip.adc.group_arrays, (whole.columns + converters - 1) / converters));
  }
}

void add_activation_energy(Page& page, const Chip& chip, const WholeArray& whole) {
  const Result<ActivationEnergy> energy = activation_energy_parts(chip, whole.dac_bits, whole.adc_bits);
  if (!energy) {
    page.gap();
    page.line(fmt::format("energy is refused: {}", energy.error().message));
    return;
  }
  const std::uint64_t windows = input_windows(chip, whole.rounds);
  const std::uint32_t repeats = is_serial(chip) ? whole.dac_bits : 1;
  const std::string serial = is_serial(chip) ? "input.bits * " : "";
  const std::string serial_number = is_serial(chip) ? fmt::format("{} * ", repeats) : "";
  const std::string held = chip.adc.sample_hold ? "" : "n * ";
  const std::string held_number = chip.adc.sample_hold ? "" : fmt::format("{} * ", windows);
  const double row_pj = static_cast<double>(windows) * whole.rows * energy->row_pj;
  page.equation("E_rows", fmt::format("{}{}rows * input.row_energy_pj", serial, held),
                fmt::format("{}{}{} * {:g} pJ", serial_number, held_number, whole.rows, chip.input.row_energy_pj),
                pj(row_pj));
  const bool draws = chip.array.idle_columns_draw && !chip.adc.sample_hold;
  const double cells =
      double{1} * whole.rows * whole.columns * (chip.array.idle_columns_draw ? static_cast<double>(windows) : 1.0);
  page.equation("E_cells",
                fmt::format("{}{}rows * {} * array.slices * array.cell_energy_pj", serial, draws ? held : "",
                            chip.array.idle_columns_draw ? "array.cols" : "columns"),
                fmt::format("{}{}{} * {} * {} * {:g} pJ", serial_number, draws ? held_number : "", whole.rows,
                            whole.columns, chip.array.slices, chip.array.cell_energy_pj),
                pj(cells * energy->cell_pj));
  const Result<double> conversion = conversion_energy_pj(chip, whole.adc_bits);
  const bool shares = has_switch(chip);
  page.equation(
      "E_adc",
      fmt::format("{}columns * array.slices * (e_adc + e_sample + e_shift_add{})", serial, shares ? " + e_share" : ""),
      fmt::format("{}{} * {} * ({:.5g} + {:g} + {:g}{}) pJ", serial_number, whole.columns, chip.array.slices,
                  conversion.value_or(0), chip.adc.sample_hold_energy_pj, chip.adc.shift_add_energy_pj,
                  shares ? fmt::format(" + {:g}", chip.adc.share_energy_pj) : ""),
      pj(whole.columns * energy->column_pj));
  page.equation("E_fixed", "array.activation_energy_pj", "", pj(energy->activation_pj));
  const Result<double> total =
      activation_energy_pj(chip, whole.rows, whole.columns, whole.dac_bits, whole.adc_bits, whole.rounds);
  page.equation("E", "E_rows + E_cells + E_adc + E_fixed", "", figure(total, pj));
  if (chip.adc.calibration_high > 0)
    page.line(fmt::format("            {} with the converters at adc.calibration_high",
                          pj(*total + whole.columns * (energy->column_high_pj - energy->column_pj))));
}

void add_array_area(Page& page, const Chip& chip, std::uint32_t bits) {
  const Result<ArrayArea> area = array_area(chip, bits);
  if (!area) {
    page.gap();
    page.line(fmt::format("area is refused: {}", area.error().message));
    return;
  }
  const Chip::Array& array = chip.array;
  page.equation("A_cells", "rows * cols * slices * devices_per_weight * cell_area_um2",
                fmt::format("{} * {} * {} * {} * {:g} um2", array.rows, array.cols, array.slices,
                            array.devices_per_weight, array.cell_area_um2),
                um2(area->cells));
  page.equation("A_rows", "rows * input.row_area_um2",
                fmt::format("{} * {:g} um2", array.rows, chip.input.row_area_um2), um2(area->row_drivers));
  page.equation("A_adc", fmt::format("adc.per_array * a_adc, {} bits", bits),
                fmt::format("{} * {:.5g} um2", chip.adc.per_array, area->converters / chip.adc.per_array),
                um2(area->converters));
  page.equation("A_sample", "cols * slices * adc.sample_hold_area_um2",
                fmt::format("{} * {} * {:g} um2", array.cols, array.slices, chip.adc.sample_hold_area_um2),
                um2(area->sample_holds));
  if (has_switch(chip)) {
    const bool is_group = chip.adc.sharing == AdcSharing::group;
    page.equation("A_switch",
                  fmt::format("cols * adc.per_array{} * adc.share_area_um2", is_group ? " * adc.group_arrays" : ""),
                  fmt::format("{} * {}{} * {:g} um2", array.cols, chip.adc.per_array,
                              is_group ? fmt::format(" * {}", chip.adc.group_arrays) : "", chip.adc.share_area_um2),
                  um2(area->switches));
  }
  page.equation("A_control", "chip.control_area_um2_per_array", "", um2(area->control));
  page.equation("A_array",
                fmt::format("A_cells + A_rows + A_adc + A_sample{} + A_control", has_switch(chip) ? " + A_switch" : ""),
                "", mm2(area->total()));
}

/// What silicon took for the same product.
void add_measured(Page& page, const Chip& chip, const WholeArray& whole) {
  const Chip::Measured& measured = chip.measured;
  if (measured.product_ns == 0 && measured.product_nj == 0 && measured.product_mm2 == 0) return;
  page.gap();
  page.line(fmt::format("{:<9}{:>12}{:>12}{:>9}", "", "here", "measured", "ratio"));
  const auto row = [&](std::string_view name, double here, double silicon, std::string_view unit) {
    if (silicon == 0) return;
    page.line(fmt::format("{:<9}{:>12}{:>12}{:>9}", name, fmt::format("{:.4g} {}", here, unit),
                          fmt::format("{:.4g} {}", silicon, unit), fmt::format("{:.3f}", here / silicon)));
  };
  row("time", to_nanoseconds(activation_time(chip, whole.dac_bits, whole.adc_bits, whole.rounds)), measured.product_ns,
      "ns");
  if (const Result<double> energy =
          activation_energy_pj(chip, whole.rows, whole.columns, whole.dac_bits, whole.adc_bits, whole.rounds))
    row("energy", *energy / 1000, measured.product_nj, "nJ");
  if (const Result<ArrayArea> area = array_area(chip, whole.adc_bits))
    row("area", area->total() / 1e6, measured.product_mm2, "mm2");
  page.line(fmt::format("Which of them is a prediction and which was fitted: danaus show chips {}", chip.name));
}

std::string explain_activation(const Chip& chip) {
  const WholeArray whole(chip);
  Page page(fmt::format("One product with a whole array of {}x{} weights on chip '{}'", whole.rows, whole.columns,
                        chip.name));
  add_activation_time(page, chip, whole);
  add_activation_energy(page, chip, whole);
  add_array_area(page, chip, whole.adc_bits);
  add_measured(page, chip, whole);
  return page.take();
}

std::string explain_area(const Chip& chip) {
  constexpr std::uint32_t kArrays = 1000;
  const WholeArray whole(chip);
  Page page(
      fmt::format("Area of chip '{}' with {} arrays as an example, 1024 bytes of buffer per tile and 12 KV regions",
                  chip.name, kArrays));
  add_array_area(page, chip, whole.adc_bits);
  const std::uint32_t per_tile = chip.network.arrays_per_tile;
  const std::uint32_t tiles = (kArrays + per_tile - 1) / per_tile;
  page.equation("tiles", "ceil(arrays / network.arrays_per_tile)", fmt::format("ceil({} / {})", kArrays, per_tile),
                fmt::format("{}", tiles));
  const Equipment equipment{.buffer_bytes = 1024, .largest_adc_bits = whole.adc_bits, .kv_regions = 12};
  const Result<Area> area = chip::area(chip, kArrays, equipment);
  if (!area) return page.take();
  page.equation("A_digital",
                chip.digital.hub ? "digital.units * digital.area_um2" : "tiles * digital.units * digital.area_um2",
                fmt::format("{}{} * {:g} um2", chip.digital.hub ? "" : fmt::format("{} * ", tiles), chip.digital.units,
                            chip.digital.area_um2),
                mm2(area->digital_mm2 * 1e6));
  page.equation("A_attend",
                chip.attention.units != 0 ? "attention.units * attention.area_um2" : "KV regions * attention.area_um2",
                fmt::format("{:g} * {:g} um2", attention_units(chip, equipment.kv_regions), chip.attention.area_um2),
                mm2(area->attention_mm2 * 1e6));
  const std::uint64_t bytes = chip.buffer.bytes_per_tile != 0 ? chip.buffer.bytes_per_tile : equipment.buffer_bytes;
  page.equation("A_buffer", "tiles * bytes * buffer.area_um2_per_byte",
                fmt::format("{} * {} * {:g} um2", tiles, bytes, chip.buffer.area_um2_per_byte),
                mm2(area->buffers_mm2 * 1e6));
  page.equation(
      "A_network", chip.network.topology == Topology::ideal ? "0 (ideal)" : "tiles * network.router_area_um2",
      chip.network.topology == Topology::ideal ? "" : fmt::format("{} * {:g} um2", tiles, chip.network.router_area_um2),
      mm2(area->network_mm2 * 1e6));
  page.equation("A", "arrays * A_array + A_digital + A_attend + A_buffer + A_network", "",
                mm2(area->total_mm2() * 1e6));
  page.gap();
  page.line("Several chips have this N times, each with its share of the arrays, and chip.link_area_um2 for its link.");
  return page.take();
}

std::string explain_message(const Chip& chip) {
  const Chip::Network& network = chip.network;
  constexpr std::uint32_t kElements = 256;
  const bool flat = network.topology == Topology::flat;
  const std::uint32_t hops = flat ? 1 : 4;
  const std::uint32_t bits = kElements * 8 + network.header_bits;
  if (network.topology == Topology::ideal) {
    Page page(fmt::format("Messages on chip '{}' (ideal network)", chip.name));
    page.equation("T", "0", "", "0 ns: an ideal network takes no time and no energy, whatever the message and the way");
    page.equation("E", "0", "", "0 pJ");
    return page.take();
  }
  Page page(fmt::format("A message of {} 8-bit elements{} on chip '{}' ({})", kElements,
                        flat ? "" : fmt::format(" over {} hops", hops), chip.name, flat ? "flat" : "mesh"));
  page.equation("bits", "elements * 8 + network.header_bits",
                fmt::format("{} * 8 + {}", kElements, network.header_bits), fmt::format("{}", bits));
  const std::string time = ns(message_time(chip, kElements, 8, hops));
  if (flat) {
    page.equation("T", "network.hop_ns", "", time);
  } else {
    const Picoseconds port = message_port_time(chip, kElements, 8);
    page.equation("t_port", "ceil(bits / network.link_bits) * network.clock_ns",
                  fmt::format("ceil({} / {}) * {:g} ns", bits, network.link_bits, network.clock_ns), ns(port));
    page.equation("T", "hops * network.hop_ns + t_port",
                  fmt::format("{} * {:g} + {:g} ns", hops, network.hop_ns, to_nanoseconds(port)), time);
  }
  page.equation("E", "bits * hops * network.energy_pj_per_bit_hop",
                fmt::format("{} * {} * {:g} pJ", bits, hops, network.energy_pj_per_bit_hop),
                pj(message_energy_pj(chip, kElements, 8, hops)));
  page.gap();
  if (flat) {
    page.line("Every message takes one hop, any number at a time.");
    return page.take();
  }
  page.line(fmt::format(
      "Nothing within a tile. A multicast takes the hops of the farthest member and counts every link of its\n"
      "tree once. A message occupies the outgoing port of its tile {}\n"
      "(network.switching = {}). Messages that meet: danaus explain cost network",
      hold_of(network.switching), name_of(network.switching)));
  for (const std::uint64_t elements : {std::uint64_t{32}, std::uint64_t{256}, std::uint64_t{1024}}) {
    for (const std::uint32_t far : {1u, 4u})
      page.line(fmt::format("{:>5} elements over {} {}: {}, {:.4g} pJ", elements, far, far == 1 ? "hop " : "hops",
                            ns(message_time(chip, elements, 8, far)), message_energy_pj(chip, elements, 8, far)));
  }
  return page.take();
}

// Tiles 0 to 3 of a row send to tiles 4 to 7: the link between tiles 3 and 4 is part of all four ways.
std::string explain_network(const Chip& chip) {
  const Chip::Network& network = chip.network;
  constexpr std::uint32_t kElements = 256, kHops = 4, kMessages = 4;
  if (network.topology != Topology::mesh) {
    const bool flat = network.topology == Topology::flat;
    Page page(fmt::format("Messages that meet on chip '{}' ({} network)", chip.name, flat ? "flat" : "ideal"));
    page.gap();
    page.line(
        "Messages do not wait for each other: there is no mesh. network.contention and network.switching do nothing.");
    return page.take();
  }
  const bool links = network.contention == Contention::links;
  Page page(fmt::format(
      "{} messages of {} 8-bit elements over {} hops with a common link, on chip '{}' (network.contention = {},\n"
      "network.switching = {})",
      kMessages, kElements, kHops, chip.name, links ? "links" : "port", name_of(network.switching)));
  const Picoseconds port = message_port_time(chip, kElements, 8), time = message_time(chip, kElements, 8, kHops);
  page.equation("T", "hops * network.hop_ns + t_port",
                fmt::format("{} * {:g} + {:g} ns", kHops, network.hop_ns, to_nanoseconds(port)), ns(time));
  const std::string here = ", this chip";
  page.equation("T_port", "T: each tile has a port of its own", fmt::format("1 * {:g} ns", to_nanoseconds(time)),
                ns(time) + (links ? "" : here));
  if (network.switching == Switching::wormhole) {
    page.equation("T_links", "(messages - 1) * t_port + T",
                  fmt::format("{} * {:g} + {:g} ns", kMessages - 1, to_nanoseconds(port), to_nanoseconds(time)),
                  ns((kMessages - 1) * port + time) + (links ? here : ""));
  } else {
    page.equation("T_links", "messages * T", fmt::format("{} * {:g} ns", kMessages, to_nanoseconds(time)),
                  ns(kMessages * time) + (links ? here : ""));
  }
  page.gap();
  page.line(fmt::format(
      "network.contention = port: a message occupies the port of its tile {}. Any\n"
      "number of messages of different tiles share a link without waiting, which is optimistic.\n"
      "network.contention = links: with the port it takes all links of its way, along the row first, then along the\n"
      "column, or of the tree of a multicast, all at once and as long; a deal those of all its messages. The two\n"
      "directions between two tiles are two links. A message that finds a link taken waits and holds none; of those\n"
      "whose links are free the oldest goes first, so younger ones may pass one that waits.",
      hold_of(network.switching)));
  page.line(
      network.switching == Switching::wormhole
          ? "network.switching = wormhole: port and links are free again when the last bits have left, as in a "
            "network\n"
            "of routers with buffers, which are not modelled; circuit keeps them until the message has arrived."
          : "network.switching = circuit: no buffers in the routers, which is pessimistic for a network that passes\n"
            "parts of messages on; wormhole frees port and links when the last bits have left, after t_port.");
  page.line("Active energy is the same.");
  return page.take();
}

std::string explain_link(const Chip& chip) {
  const Chip::System& system = chip.system;
  Page page(fmt::format("A message of 256 8-bit elements from one chip '{}' to another", chip.name));
  constexpr std::uint64_t kBits = 256 * 8;
  const std::uint64_t bits = kBits + chip.network.header_bits;
  page.equation("t_link", "bits / chip.link_gbps",
                system.link_gbps == 0 ? "infinitely fast" : fmt::format("{} / {:g} ns", bits, system.link_gbps),
                ns(link_time(chip, bits)));
  page.equation("T", "t_link + chip.link_latency_ns, beside the meshes",
                fmt::format("{:g} + {:g} ns", to_nanoseconds(link_time(chip, bits)), system.link_latency_ns),
                ns(link_time(chip, bits) + to_picoseconds(system.link_latency_ns)));
  page.equation("E", "bits * chip.link_energy_pj_per_bit, beside the meshes",
                fmt::format("{} * {:g} pJ", bits, system.link_energy_pj_per_bit),
                pj(static_cast<double>(bits) * system.link_energy_pj_per_bit));
  page.equation("A", "chip.link_area_um2 per chip", "", mm2(system.link_area_um2));
  page.gap();
  page.line(
      "Each chip has one link to a switch, at its first tile. A message crosses the mesh of its chip, waits for the\n"
      "link, takes it for t_link, and crosses the mesh of the other chip; a multicast takes the link once per chip.\n"
      "Links into a chip are never waited for.");
  return page.take();
}

std::string explain_digital(const Chip& chip) {
  const Chip::Digital& digital = chip.digital;
  constexpr std::uint32_t kLength = 1024;
  const std::uint32_t turns = digital.lanes == 0 ? 1 : (kLength + digital.lanes - 1) / digital.lanes;
  Page page(fmt::format("A vector operation of {} elements on chip '{}' ({} unit{} per {})", kLength, chip.name,
                        digital.units == 0 ? "unlimited" : fmt::format("{}", digital.units),
                        digital.units == 1 ? "" : "s", digital.hub ? "chip" : "tile"));
  if (digital.lanes == 0) {
    page.equation("T", "digital.OPERATION_ns, whatever the length", "", "see below");
  } else {
    page.equation("T", "ceil(length / digital.lanes) * digital.OPERATION_ns",
                  fmt::format("ceil({} / {}) * OPERATION_ns", kLength, digital.lanes),
                  fmt::format("{} * OPERATION_ns", turns));
  }
  if (digital.energy_per_operation)
    page.equation("E", "digital.OPERATION_pj, whatever the length", "", "see below");
  else
    page.equation("E", "length * digital.OPERATION_pj", fmt::format("{} * OPERATION_pj", kLength), "see below");
  page.gap();
  struct Operation {
    std::string_view name;
    double time_ns, energy_pj;
  };
  for (const Operation& op :
       {Operation{"add", digital.add_ns, digital.add_pj}, Operation{"mul", digital.mul_ns, digital.mul_pj},
        Operation{"silu", digital.silu_ns, digital.silu_pj}, Operation{"gelu", digital.gelu_ns, digital.gelu_pj},
        Operation{"relu", digital.relu_ns, digital.relu_pj}, Operation{"rope", digital.rope_ns, digital.rope_pj},
        Operation{"moments", digital.moments_ns, digital.moments_pj},
        Operation{"stat", digital.stat_ns, digital.stat_pj}, Operation{"norm", digital.norm_ns, digital.norm_pj},
        Operation{"route", digital.route_ns, digital.route_pj}}) {
    page.line(fmt::format("{:<9}{:>5} * {:g} ns = {:g} ns, {} * {:g} pJ = {}", op.name, turns, op.time_ns,
                          turns * op.time_ns, digital.energy_per_operation ? 1 : kLength, op.energy_pj,
                          pj((digital.energy_per_operation ? 1 : kLength) * op.energy_pj)));
  }
  page.gap();
  page.line(
      "A norm is moments, stat and norm. A gather counts as an add. A command waits until one of the units is free.");
  return page.take();
}

std::string explain_attention(const Chip& chip) {
  const Chip::Attention& attention = chip.attention;
  constexpr double kQueries = 1, kSize = 64, kEntries = 512;
  const double macs = 2 * kQueries * kSize * kEntries, bytes = 2 * kSize * kEntries;
  Page page(
      fmt::format("Attention of 1 query of 64 elements over 512 entries on chip '{}' ({})", chip.name,
                  attention.units == 0 ? "one unit beside each KV region" : fmt::format("{} units", attention.units)));
  page.equation("macs", "2 * queries * size * entries", "2 * 1 * 64 * 512", fmt::format("{:g}", macs));
  page.equation("bytes", "2 * size * entries", "2 * 64 * 512", fmt::format("{:g}", bytes));
  const double compute = attention.macs_per_ns > 0 ? macs / attention.macs_per_ns : 0;
  const double read = attention.kv_bytes_per_ns > 0 ? bytes / attention.kv_bytes_per_ns : 0;
  const auto quotient = [](double amount, double rate) {
    return rate > 0 ? fmt::format("{:g} / {:g}", amount, rate) : std::string("0 (infinitely fast)");
  };
  page.equation("T", "max(macs / attention.macs_per_ns, bytes / attention.kv_bytes_per_ns) + attention.softmax_ns",
                fmt::format("max({}, {}) + {:g} ns", quotient(macs, attention.macs_per_ns),
                            quotient(bytes, attention.kv_bytes_per_ns), attention.softmax_ns),
                ns(to_picoseconds(std::max(compute, read) + attention.softmax_ns)));
  page.equation("E", "macs * attention.energy_pj_per_mac + bytes * attention.kv_energy_pj_per_byte",
                fmt::format("{:g} * {:g} + {:g} * {:g} pJ", macs, attention.energy_pj_per_mac, bytes,
                            attention.kv_energy_pj_per_byte),
                pj(macs * attention.energy_pj_per_mac + bytes * attention.kv_energy_pj_per_byte));
  page.equation("T_append", "attention.append_ns", "", fmt::format("{:g} ns", attention.append_ns));
  page.equation("E_append", "2 * size * attention.kv_energy_pj_per_byte",
                fmt::format("2 * 64 * {:g} pJ", attention.kv_energy_pj_per_byte),
                pj(2 * kSize * attention.kv_energy_pj_per_byte));
  return page.take();
}

std::string explain_buffer(const Chip& chip) {
  Page page(fmt::format(
      "The buffers of chip '{}' ({} per tile)", chip.name,
      chip.buffer.bytes_per_tile == 0 ? "as much as needed" : fmt::format("{} bytes", chip.buffer.bytes_per_tile)));
  page.equation("E", "bytes read or written * buffer.energy_pj_per_byte",
                fmt::format("256 * {:g} pJ", chip.buffer.energy_pj_per_byte),
                pj(256 * chip.buffer.energy_pj_per_byte) + " for 256 bytes");
  page.equation("A", "tiles * bytes per tile * buffer.area_um2_per_byte",
                fmt::format("1 * 1024 * {:g} um2", chip.buffer.area_um2_per_byte),
                um2(1024 * chip.buffer.area_um2_per_byte) + " for 1024 bytes on one tile");
  page.gap();
  page.line(
      "An element has a byte; activations and messages move as many bits as their converters and configuration\n"
      "have, in whole bytes. Reading and writing take no time of their own.");
  return page.take();
}

std::string explain_passive(const Chip& chip) {
  constexpr std::uint32_t kArrays = 1000, kRegions = 12;
  const std::uint32_t tiles = (kArrays + chip.network.arrays_per_tile - 1) / chip.network.arrays_per_tile;
  Page page(fmt::format("Idle power of chip '{}' with {} arrays and {} KV regions as an example", chip.name, kArrays,
                        kRegions));
  const double pools = chip.digital.hub ? 1 : tiles;
  const double power = passive_mw(chip, kArrays, tiles, 1, kRegions);
  page.equation("P_arrays", "arrays * chip.passive_mw_per_array",
                fmt::format("{} * {:g} mW", kArrays, chip.system.passive_mw_per_array),
                fmt::format("{:g} mW", kArrays * chip.system.passive_mw_per_array));
  page.equation("P_digital",
                chip.digital.hub ? "digital.units * digital.passive_mw" : "tiles * digital.units * digital.passive_mw",
                fmt::format("{}{} * {:g} mW", chip.digital.hub ? "" : fmt::format("{} * ", tiles), chip.digital.units,
                            chip.digital.passive_mw),
                fmt::format("{:g} mW", pools * chip.digital.units * chip.digital.passive_mw));
  page.equation("P_attend", "attention units * attention.passive_mw + attention.kv_passive_mw",
                fmt::format("{:g} * {:g} + {:g} mW", attention_units(chip, kRegions), chip.attention.passive_mw,
                            chip.attention.kv_passive_mw),
                fmt::format("{:g} mW", attention_units(chip, kRegions) * chip.attention.passive_mw +
                                           chip.attention.kv_passive_mw));
  page.equation("E", "(P_arrays + P_digital + P_attend) * latency", fmt::format("{:g} mW * 1000 ns", power),
                pj(power * 1000) + " in a microsecond");
  page.gap();
  page.line(
      "It is drawn whether anything works or not, and reported apart from the active energy. Idle chips draw it too.");
  return page.take();
}

std::string explain_program(const Chip& chip) {
  const Chip::Programming& programming = chip.programming;
  Page page(fmt::format("Writing one array of chip '{}'", chip.name));
  page.equation("T", "rows * iterations * (pulse_ns + verify_ns), times ceil(arrays of a chip / arrays_at_a_time)",
                fmt::format("{} * {} * ({:g} + {:g}) ns{}", chip.array.rows, programming.iterations,
                            programming.pulse_ns, programming.verify_ns,
                            programming.arrays_at_a_time == 0
                                ? ", all arrays in parallel"
                                : fmt::format(", {} arrays in parallel", programming.arrays_at_a_time)),
                fmt::format("{:.5g} us", programming_time_us(chip, 1)));
  const std::uint64_t weights = std::uint64_t{chip.array.rows} * chip.array.cols;
  page.equation("E", "weights * slices * devices_per_weight * iterations * energy_pj",
                fmt::format("{} * {} * {} * {} * {:g} pJ", weights, chip.array.slices, chip.array.devices_per_weight,
                            programming.iterations, programming.energy_pj),
                fmt::format("{:.5g} uJ", programming_energy_uj(chip, weights)));
  const WholeArray whole(chip);
  if (const Result<double> product =
          activation_energy_pj(chip, whole.rows, whole.columns, whole.dac_bits, whole.adc_bits, whole.rounds);
      product && *product > 0)
    page.equation("even", "E / E of one product with the array (explain cost activation)",
                  fmt::format("{:.5g} uJ / {:.5g} pJ", programming_energy_uj(chip, weights), *product),
                  fmt::format("{:.4g} products; run -v has the tokens of a model",
                              programming_energy_uj(chip, weights) * 1e6 / *product));
  page.gap();
  page.line(programming.endurance > 0
                ? fmt::format("A cell survives endurance / iterations = {:g} / {} = {:.4g} writes.",
                              programming.endurance, programming.iterations,
                              programming.endurance / std::max(1u, programming.iterations))
                : std::string("The chip file has no figure for the endurance of a cell (program.endurance)."));
  return page.take();
}

std::string explain_reload(const Chip& chip) {
  Page page(fmt::format("Writing the weights of chip '{}' while a model runs (--reload)", chip.name));
  page.gap();
  page.line(
      "A model that needs more arrays than the chips have is cut into passes of whole operators in the order of\n"
      "execution. A pass is written before it is used; nothing overlaps. In decode every token needs every pass;\n"
      "in prefill and encode all tokens go through a pass before the next is written, so the passes are written\n"
      "once. Bringing the weights to the chip is not counted.");
  page.gap();
  return page.take() + explain_program(chip);
}

/// What a chip that schedules by list has instead of the equations of a topic; empty where they hold for it, too.
std::string explain_list(const Chip& chip, std::string_view topic) {
  if (chip.system.scheduling != Scheduling::list) return "";
  constexpr std::array<std::string_view, 3> kOfProducts = {"input", "adc", "activation"};
  constexpr std::array<std::string_view, 5> kOfPrograms = {"link", "buffer", "area", "program", "reload"};
  if (std::find(kOfProducts.begin(), kOfProducts.end(), topic) != kOfProducts.end()) {
    Page page(fmt::format(
        "Chip '{}' schedules whole operations by list: it has no figures of its own for inputs and converters.\n"
        "One product of a vector with an array, both included:",
        chip.name));
    page.equation("T", "array.settle_ns", "", fmt::format("{:g} ns", chip.array.settle_ns));
    page.equation("E", "array.activation_energy_pj", "", pj(chip.array.activation_energy_pj));
    return page.take();
  }
  if (std::find(kOfPrograms.begin(), kOfPrograms.end(), topic) != kOfPrograms.end())
    return fmt::format(
        "Chip '{}' schedules whole operations by list: it has no areas, no links, no costs of buffers and\n"
        "no writing of weights.\n",
        chip.name);
  return "";
}

struct Entry {
  CostTopic topic;
  std::string (*explain)(const Chip&);
};
constexpr Entry kEntries[] = {
    {{"input", "applying inputs to rows: time and energy"}, explain_input},
    {{"adc", "one conversion: bits, time, the regression of energy and area"}, explain_adc},
    {{"activation", "one product with a whole array: time, energy, area, and what silicon took"}, explain_activation},
    {{"message", "a message on the network of tiles"}, explain_message},
    {{"network", "messages that meet on the network of tiles"}, explain_network},
    {{"link", "a message from chip to chip"}, explain_link},
    {{"digital", "vector operations: adds, norms, activations"}, explain_digital},
    {{"attention", "reading a context, appending to it"}, explain_attention},
    {{"buffer", "reading and writing the buffers"}, explain_buffer},
    {{"passive", "idle power"}, explain_passive},
    {{"area", "an array and a chip"}, explain_area},
    {{"program", "writing the weights once, break-even, endurance"}, explain_program},
    {{"reload", "a model larger than the chips, written in passes"}, explain_reload},
};

}  // namespace

const std::vector<CostTopic>& cost_topics() {
  static const std::vector<CostTopic> topics = [] {
    std::vector<CostTopic> result;
    for (const Entry& entry : kEntries) result.push_back(entry.topic);
    return result;
  }();
  return topics;
}

std::string explain_cost(const Chip& chip, std::string_view topic) {
  for (const Entry& entry : kEntries) {
    if (entry.topic.name != topic) continue;
    std::string text = explain_list(chip, topic);
    return text.empty() ? entry.explain(chip) : text;
  }
  return "";
}

}  // namespace danaus::chip
