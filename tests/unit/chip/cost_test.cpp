#include "danaus/chip/cost.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <iostream>
#include <string>

#include "danaus/chip/chip.h"

namespace {

using namespace danaus::chip;

Chip load_good(const std::string& name, const std::vector<std::pair<std::string, std::string>>& settings = {}) {
  const danaus::Result<Chip> chip = load(name, settings);
  if (!chip) FAIL(danaus::to_string(chip.error()));
  return *chip;
}

// A published table entry is right to its last printed digit.
bool prints_as(double value, double printed, double unit_of_last_digit) {
  return std::abs(value - printed) <= 0.5 * unit_of_last_digit * (1 + 1e-9);
}

}  // namespace

TEST_CASE("the converter regression reproduces its published table") {
  struct Row {
    double node, bits, energy;
    std::array<double, 5> area;  // um2 per converter at 1 GS/s over 1, 4, 8, 16, 32 converters
  };
  const std::array<Row, 10> table = {{{32, 3, 1.0940, {5221, 4064, 3586, 3164, 2791}},
                                      {32, 4, 0.9237, {4964, 3864, 3409, 3008, 2653}},
                                      {32, 5, 0.9363, {4984, 3879, 3423, 3020, 2664}},
                                      {32, 6, 1.0651, {5180, 4032, 3557, 3138, 2769}},
                                      {32, 8, 1.7137, {5972, 4648, 4101, 3618, 3192}},
                                      {14, 3, 0.2312, {1443, 1123, 991, 874, 771}},
                                      {14, 4, 0.1952, {1372, 1068, 942, 831, 733}},
                                      {14, 5, 0.1979, {1377, 1072, 946, 835, 736}},
                                      {14, 6, 0.2251, {1432, 1114, 983, 867, 765}},
                                      {14, 8, 0.3622, {1650, 1285, 1133, 1000, 882}}}};
  const std::array<double, 5> converters = {1, 4, 8, 16, 32};
  for (const Row& row : table) {
    CAPTURE(row.node);
    CAPTURE(row.bits);
    for (std::size_t n = 0; n < converters.size(); ++n) {
      const double rate = 1e9 / converters[n];
      const double energy = regression_energy_pj(row.bits, row.node, rate);
      CHECK(prints_as(energy, row.energy, 1e-4));
      CHECK(prints_as(regression_area_um2(row.bits, row.node, rate, energy), row.area[n], 1));
    }
  }
  // Ratios that hold for any node, and the rate limit above the corner (1.07 GS/s at 8 bits).
  const double e8 = regression_energy_pj(8, 22, 1e8);
  CHECK(prints_as(e8 / regression_energy_pj(5, 22, 1e8), 1.830, 1e-3));
  CHECK(prints_as(e8 / regression_energy_pj(4, 22, 1e8), 1.855, 1e-3));
  CHECK(prints_as(e8 / regression_energy_pj(6, 22, 1e8), 1.609, 1e-3));
  CHECK(prints_as(e8 / regression_energy_pj(3, 22, 1e8), 1.566, 1e-3));
  CHECK(regression_energy_pj(8, 22, 1.05e9) == e8);
  CHECK(regression_energy_pj(8, 22, 1.10e9) > e8);
}

TEST_CASE("the regression is refused below 4 bits and above 10 GS/s unless extrapolation is allowed") {
  Chip chip = load_good("pcm-14nm");
  CHECK(conversion_energy_pj(chip, 4).has_value());
  CHECK(converter_area_um2(chip, 4).has_value());
  REQUIRE_FALSE(conversion_energy_pj(chip, 3).has_value());
  CHECK(conversion_energy_pj(chip, 3).error().id == "chip.adc-bits");
  CHECK(converter_area_um2(chip, 3).error().id == "chip.adc-bits");
  CHECK(activation_energy_pj(chip, 8, 8, 8, 3, 1).error().id == "chip.adc-bits");
  CHECK(area(chip, 1, {.largest_adc_bits = 3}).error().id == "chip.adc-bits");

  chip.adc.step_ns = 0.01;
  CHECK(conversion_energy_pj(chip, 8).error().id == "chip.adc-rate");
  chip.adc.allow_extrapolation = true;
  CHECK(conversion_energy_pj(chip, 8).has_value());
  chip.adc.step_ns = 1;
  CHECK(prints_as(conversion_energy_pj(chip, 3).value(), 0.2312, 1e-4));

  chip.adc.allow_extrapolation = false;
  chip.adc.energy_pj = 0.5;
  chip.adc.calibration = 3;
  CHECK(conversion_energy_pj(chip, 3).value() == 1.5);  // a given number needs no regression
}

TEST_CASE("activation time: every kind of input and converter, worked by hand") {
  Chip chip;
  chip.array.settle_ns = 10;
  chip.input.kind = InputKind::pwm;
  chip.input.clock_ns = 1;
  chip.adc.kind = AdcKind::sar;
  chip.adc.step_ns = 1;
  CHECK(input_time(chip, 8) == 128'000);
  CHECK(input_time(chip, 1) == 1'000);
  CHECK(conversion_time(chip, 8) == 9'000);
  CHECK(conversion_time(chip, 5) == 6'000);
  CHECK(activation_parts(chip, 8, 8, 32) == ActivationTime{128'000, 10'000, 288'000});
  CHECK(activation_time(chip, 8, 8, 32) == 426'000);

  chip.adc.kind = AdcKind::ramp;
  chip.adc.lsb_ns = 0.3;
  CHECK(conversion_time(chip, 8) == 76'800);
  CHECK(conversion_time(chip, 5) == 9'600);
  CHECK(activation_time(chip, 8, 5, 4) == 128'000 + 10'000 + 4 * 9'600);

  // Without sample-and-hold the window repeats; the longer of window and conversion counts.
  chip.adc.sample_hold = false;
  CHECK(activation_time(chip, 8, 8, 4) == 4 * 128'000 + 10'000);
  CHECK(activation_parts(chip, 8, 8, 4) == ActivationTime{512'000, 10'000, 0});
  CHECK(activation_time(chip, 6, 8, 4) == 4 * 76'800 + 10'000);
  CHECK(activation_parts(chip, 6, 8, 4) == ActivationTime{128'000, 10'000, 4 * 44'800});

  // Bit-serial: everything once per bit.
  chip.input.kind = InputKind::bit_serial;
  chip.input.bit_ns = 100;
  CHECK(activation_time(chip, 8, 8, 4) == 8 * (4 * 100'000 + 10'000));
  chip.adc.sample_hold = true;
  CHECK(input_time(chip, 8) == 800'000);
  CHECK(activation_parts(chip, 8, 8, 4) == ActivationTime{800'000, 80'000, 8 * 4 * 76'800});
  CHECK(activation_time(chip, 8, 8, 4) == 8 * (100'000 + 10'000 + 4 * 76'800));

  chip.input.kind = InputKind::voltage;
  chip.input.time_ns = 2.5;
  chip.adc.kind = AdcKind::flash;
  chip.adc.time_ns = 1.25;
  CHECK(activation_time(chip, 8, 8, 3) == 2'500 + 10'000 + 3 * 1'250);
  chip.input.kind = InputKind::fixed;
  chip.adc.kind = AdcKind::fixed;
  CHECK(activation_time(chip, 8, 8, 3) == 2'500 + 10'000 + 3 * 1'250);
  chip.adc.sample_hold = false;
  CHECK(activation_time(chip, 8, 8, 3) == 3 * 2'500 + 10'000);
  chip.adc.sample_hold = true;

  // A weight of two columns is converted twice.
  chip.array.slices = 2;
  CHECK(activation_time(chip, 8, 8, 3) == 2'500 + 10'000 + 6 * 1'250);

  // Too long for 64 bits: saturates instead of overflowing.
  chip.adc.kind = AdcKind::ramp;
  chip.adc.lsb_ns = 1e9;
  CHECK(activation_time(chip, 8, 200, 1024) == kLongestTime);
  chip.adc.sample_hold = false;
  chip.input.kind = InputKind::bit_serial;
  CHECK(activation_time(chip, 255, 255, 0xffffffffu) == kLongestTime);
}

TEST_CASE("the unit chip: 10 ns and 1 ns per round") {
  const Chip chip = load_good("unit");
  CHECK(activation_time(chip, 8, 8, 1) == 11'000);
  CHECK(activation_time(chip, 8, 13, 8) == 18'000);
  CHECK(activation_energy_pj(chip, 256, 256, 8, 8, 8).value() == 0.0);
  CHECK(message_time(chip, 1000, 8, 30) == 0);
  CHECK(message_port_time(chip, 1000, 8) == 0);
  CHECK(message_energy_pj(chip, 1000, 8, 30) == 0.0);
  CHECK(area(chip, 100, {.buffer_bytes = 4096}).value().total_mm2() == 0.0);
  CHECK(programming_time_us(chip, 1) == 0.0);
}

TEST_CASE("converter bits by rule") {
  Chip chip;
  chip.adc.rule = AdcRule::rows;
  const std::array<std::pair<std::uint32_t, std::uint32_t>, 8> rows = {
      {{1, 4}, {16, 4}, {17, 5}, {32, 5}, {33, 6}, {64, 6}, {256, 8}, {257, 9}}};
  for (const auto& [summed, bits] : rows) CHECK(adc_bits(chip, summed) == bits);
  chip.adc.rule = AdcRule::fixed;
  chip.adc.bits = 7;
  CHECK(adc_bits(chip, 256) == 7);
  chip.adc.rule = AdcRule::lossless;  // log2(rows) + cell bits + input bits - 1
  chip.input.bits = 8;
  CHECK(adc_bits(chip, 256) == 8 + 8 + 8 - 1);
  chip.array.slices = 2;
  CHECK(adc_bits(chip, 256) == 8 + 4 + 8 - 1);
  chip.input.kind = InputKind::bit_serial;
  CHECK(adc_bits(chip, 256) == 8 + 4 + 1 - 1);
}

TEST_CASE("activation energy: sum of its parts") {
  Chip chip;
  chip.input.row_energy_pj = 2;
  chip.array.cell_energy_pj = 0.5;
  chip.array.activation_energy_pj = 100;
  chip.adc.energy_pj = 3;
  chip.adc.calibration = 2;
  chip.adc.sample_hold_energy_pj = 0.25;
  chip.adc.shift_add_energy_pj = 0.75;
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 3).value() == 4 * 2 + 4 * 6 * 0.5 + 6 * (6 + 1) + 100);
  chip.array.idle_columns_draw = true;
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 3).value() == 4 * 2 + 4 * 256 * 0.5 + 6 * (6 + 1) + 100);
  chip.array.slices = 2;
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 3).value() == 4 * 2 + 2 * 4 * 256 * 0.5 + 2 * 6 * (6 + 1) + 100);
  chip.array.slices = 1;
  chip.input.kind = InputKind::bit_serial;
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 3).value() == 8 * (4 * 2 + 4 * 256 * 0.5 + 6 * (6 + 1)) + 100);
}

TEST_CASE("messages on the mesh") {
  Chip chip;
  chip.network.topology = Topology::mesh;
  chip.network.hop_ns = 2;
  chip.network.clock_ns = 1;
  chip.network.link_bits = 64;
  chip.network.header_bits = 32;
  chip.network.energy_pj_per_bit_hop = 0.5;
  CHECK(message_time(chip, 4, 8, 1) == 2'000 + 1'000);   // 64 bits in one transfer
  CHECK(message_time(chip, 5, 8, 1) == 2'000 + 2'000);   // 72 bits
  CHECK(message_time(chip, 12, 8, 3) == 6'000 + 2'000);  // 128 bits
  CHECK(message_time(chip, 12, 8, 0) == 0);              // within the tile
  CHECK(message_port_time(chip, 12, 8) == 2'000);
  CHECK(message_energy_pj(chip, 12, 8, 3) == 128 * 3 * 0.5);

  CHECK(mesh_side(1) == 1);
  CHECK(mesh_side(9) == 3);
  CHECK(mesh_side(10) == 4);
  CHECK(mesh_side(4294967295u) == 65536);
  CHECK(mesh_hops(0, 8, 9) == 4);
  CHECK(mesh_hops(8, 0, 9) == 4);
  CHECK(mesh_hops(2, 3, 9) == 3);  // end of a row to the start of the next
  CHECK(mesh_hops(3, 4, 10) == 4);
  CHECK(mesh_hops(5, 5, 10) == 0);
}

TEST_CASE("area: sum of its parts") {
  Chip chip;
  chip.array.rows = 10;
  chip.array.cols = 20;
  chip.array.slices = 2;
  chip.array.devices_per_weight = 3;
  chip.array.cell_area_um2 = 5;
  chip.input.row_area_um2 = 7;
  chip.system.control_area_um2_per_array = 11;
  chip.adc.per_array = 4;
  chip.adc.area_um2 = 100;
  chip.adc.sample_hold_area_um2 = 2;
  chip.digital.units = 3;
  chip.digital.area_um2 = 1000;
  chip.network.arrays_per_tile = 4;
  chip.network.topology = Topology::mesh;
  chip.network.router_area_um2 = 500;
  chip.buffer.area_um2_per_byte = 1;
  const Area total = area(chip, 10, {.buffer_bytes = 64}).value();  // 10 arrays on 3 tiles
  CHECK(total.arrays_mm2 == doctest::Approx(10 * (10 * 40 * 3 * 5 + 10 * 7 + 11) * 1e-6));
  CHECK(total.adcs_mm2 == doctest::Approx(10 * (4 * 100 + 40 * 2) * 1e-6));
  CHECK(total.digital_mm2 == doctest::Approx(3 * 3 * 1000 * 1e-6));
  CHECK(total.network_mm2 == doctest::Approx(3 * 500 * 1e-6));
  CHECK(total.buffers_mm2 == doctest::Approx(3 * 64 * 1e-6));
  chip.digital.hub = true;
  chip.buffer.bytes_per_tile = 1000;
  CHECK(area(chip, 10, {.buffer_bytes = 64}).value().digital_mm2 == doctest::Approx(3 * 1000 * 1e-6));
  CHECK(area(chip, 10, {.buffer_bytes = 64}).value().buffers_mm2 == doctest::Approx(3 * 1000 * 1e-6));
}

TEST_CASE("programming: rows in series, arrays in parallel or in turns") {
  Chip chip = load_good("pcm-14nm");
  CHECK(programming_time_us(chip, 1000) == doctest::Approx(256 * 20 * 0.330));           // 1.7 ms
  CHECK(programming_energy_uj(chip, 65536) == doctest::Approx(65536 * 4 * 20 * 20e-6));  // 105 uJ per array
  chip.programming.arrays_at_a_time = 160;
  CHECK(programming_time_us(chip, 160) == doctest::Approx(256 * 20 * 0.330));
  CHECK(programming_time_us(chip, 1000) == doctest::Approx(7 * 256 * 20 * 0.330));
}

TEST_CASE("shares of several chips") {
  Chip chip;
  chip.network.arrays_per_tile = 16;
  CHECK(arrays_per_chip(chip, 4608) == 0);  // one chip, as many as needed
  chip.system.arrays = 1000;
  CHECK(arrays_per_chip(chip, 1000) == 0);
  CHECK(arrays_per_chip(chip, 1001) == 1000);  // passes
  chip.system.chips = 5;
  CHECK(system_arrays(chip) == 5000);
  CHECK(arrays_per_chip(chip, 1) == 1000);
  chip.system.arrays = 0;
  CHECK(system_arrays(chip) == 0);
  CHECK(arrays_per_chip(chip, 4608) == 928);  // 288 tiles, 57.6 a chip: 58 of 16
  CHECK(arrays_per_chip(chip, 0) == 16);
  chip.system.chips = 65536;
  chip.network.arrays_per_tile = 65536;
  CHECK(arrays_per_chip(chip, 1u << 24) == 65536);
}

TEST_CASE("links: serialisation at the rate, area per chip of a system") {
  Chip chip;
  CHECK(link_time(chip, 1000) == 0);  // infinitely fast
  chip.system.link_gbps = 128;
  CHECK(link_time(chip, 288) == 2250);  // 288 bits at 128 bits per ns
  chip.adc.area_um2 = 1000;
  chip.system.arrays = 10;
  chip.system.link_area_um2 = 5e6;
  const Area one = area(chip, 10, {}).value();
  CHECK(system_area(chip, 4, {}).value().total_mm2() == area(chip, 4, {}).value().total_mm2());
  CHECK(system_area(chip, 11, {}).value().total_mm2() == one.total_mm2());  // two passes on one chip: no link
  chip.system.chips = 3;
  const Area three = system_area(chip, 11, {}).value();
  CHECK(three.links_mm2 == 15);
  CHECK(three.total_mm2() == doctest::Approx(3 * one.total_mm2() + 15));
}

// HERMES (JSSC 2022) is measured silicon: one converter per column, integrating during the input window, 256x256, 8
// bits: 130 ns, 12.5 nJ and 0.634 mm2 per matrix-vector product. pcm-14nm is a sum of components from other sources;
// hermes-14nm is the same at that operating point.
TEST_CASE("hermes-14nm against the HERMES core") {
  const Chip chip = load_good("hermes-14nm");
  CHECK(chip.measured == Chip::Measured{130, 12.5, 0.634});
  const double time_ns = static_cast<double>(activation_time(chip, 8, 8, 1)) / 1000;
  const double energy_nj = activation_energy_pj(chip, 256, 256, 8, 8, 1).value() / 1000;
  MESSAGE("256x256 product: " << energy_nj << " nJ (12.5 measured), " << time_ns << " ns (130 measured)");
  // Time is a prediction: the 128 ns window plus settling, 6 % too long (the silicon overlaps settling with the
  // window).
  CHECK(time_ns == 138.0);
  // Energy: 256 columns of 120 times 0.3622 pJ and 0.02 pJ, 65536 cells of 0.013 pJ, 256 rows of 0.4 pJ. The factor 120
  // was derived from this core, so this closes the loop: 3 % too low.
  CHECK(energy_nj == doctest::Approx((256 * (120 * 0.36221 + 0.02) + 65536 * 0.013 + 256 * 0.4) / 1000).epsilon(1e-4));
  CHECK(energy_nj / 12.5 == doctest::Approx(0.967).epsilon(1e-3));
  // Without calibration, best-case converters: cells and drivers dominate and the sum is an order of magnitude too low.
  Chip best = chip;
  best.adc.calibration = 1;
  CHECK(activation_energy_pj(best, 256, 256, 8, 8, 1).value() / 1000 < 1.2);
  // Area: the components alone are a third of the core; the rest was fitted to be its control.
  const ArrayArea area = array_area(chip, 8).value();
  CHECK(area.total() / 1e6 == doctest::Approx(0.634).epsilon(1e-5));
  CHECK((area.total() - area.control) / 0.634e6 == doctest::Approx(0.308).epsilon(1e-3));
}

// The published macro: 32.2 TOPS/W and 4.0 TOPS/mm2 (at 1 V, where CiMLoop's clock is 4.66 ns). Both were fitted to, so
// this says only that the fit is what the file says.
TEST_CASE("sram-22nm meets the totals that it was fitted to") {
  const Chip chip = load_good("sram-22nm");
  CHECK(activation_time(chip, 8, 8, 8) == 8 * 6'900);
  const double energy_pj = activation_energy_pj(chip, 64, 128, 8, 8, 8).value();
  CHECK(2 * 64 * 128 / energy_pj == doctest::Approx(32.2).epsilon(0.01));
  const double clock_ns = 6.9 * std::pow(0.7, 1.1);
  const double area_mm2 = array_area(chip, 8).value().total() / 1e6;
  CHECK(2 * 64 * 16 / clock_ns / 1000 / area_mm2 == doctest::Approx(4.0).epsilon(0.01));
  CHECK(programming_time_us(chip, 1000) == doctest::Approx(64 * 0.0276));  // volatile cells: in a moment
  CHECK(programming_energy_uj(chip, 64 * 128) < 0.001);
}

// ISAAC: a read of 100 ns, its 128 columns converted during the next one, eight input bits: nine cycles.
TEST_CASE("isaac-32nm takes a cycle of 100 ns per input bit and one more") {
  const Chip chip = load_good("isaac-32nm");
  CHECK(static_cast<double>(activation_time(chip, 8, 8, 32)) == doctest::Approx(900'000).epsilon(1e-4));
  const double adc_pj = 8 * 128 * (1.67 + 0.001 + 0.021);
  const double energy_pj = activation_energy_pj(chip, 128, 32, 8, 8, 32).value();
  CHECK(energy_pj == doctest::Approx(adc_pj + 8 * 128 * 0.39 + 8 * 128 * 128 * 0.00183));
  // Half the columns: the converter would be done in half the time, but the array reads for 100 ns.
  CHECK(activation_parts(chip, 8, 8, 16) == ActivationTime{800'000, 0, 64 * 781});
}

TEST_CASE("double buffering: the longer of driving and converting sets the pace of serial inputs") {
  Chip chip;
  chip.array.settle_ns = 2;
  chip.input.kind = InputKind::bit_serial;
  chip.input.bit_ns = 8;
  chip.adc.kind = AdcKind::fixed;
  chip.adc.time_ns = 1;
  chip.adc.double_buffer = true;
  CHECK(activation_parts(chip, 4, 8, 3) == ActivationTime{32'000, 8'000, 3'000});    // 4 * 10, then 3
  CHECK(activation_parts(chip, 4, 8, 10) == ActivationTime{8'000, 2'000, 40'000});   // even: 10, then 4 * 10
  CHECK(activation_parts(chip, 4, 8, 50) == ActivationTime{8'000, 2'000, 200'000});  // 10, then 4 * 50
  chip.input.kind = InputKind::fixed;  // one window: nothing within an activation overlaps
  chip.input.time_ns = 8;
  CHECK(activation_parts(chip, 4, 8, 50) == ActivationTime{8'000, 2'000, 50'000});
}

TEST_CASE("what a switch before the converters costs") {
  Chip chip;
  chip.array.cols = 64;
  chip.array.slices = 2;
  chip.adc.kind = AdcKind::fixed;
  chip.adc.per_array = 4;
  chip.adc.time_ns = 3;
  chip.adc.energy_pj = 5;
  chip.adc.area_um2 = 100;
  chip.adc.share_ns = 0.25;
  chip.adc.share_energy_pj = 0.5;
  chip.adc.share_area_um2 = 2;
  chip.adc.group_arrays = 3;
  CHECK(converter_time(chip, 8) == 3'000);  // there is none
  CHECK(activation_energy_parts(chip, 8, 8).value().column_pj == 2 * 5.0);
  CHECK(array_area(chip, 8).value().switches == 0);
  chip.adc.sharing = AdcSharing::array;
  CHECK(converter_time(chip, 8) == 3'250);
  CHECK(conversion_time(chip, 8) == 3'000);  // the regression's rate is that of the converter alone
  CHECK(activation_parts(chip, 8, 8, 10).adc == 10 * 2 * 3'250);
  CHECK(activation_energy_parts(chip, 8, 8).value().column_pj == 2 * 5.5);
  CHECK(array_area(chip, 8).value().switches == 64 * 4 * 2);  // every column to every converter
  const double without = area(chip, 10, {}).value().adcs_mm2;
  chip.adc.sharing = AdcSharing::group;
  CHECK(array_area(chip, 8).value().switches == 64 * 12 * 2);
  CHECK(array_area(chip, 8).value().converters == 4 * 100);
  CHECK(area(chip, 10, {}).value().adcs_mm2 - without == doctest::Approx(10 * 64 * 8 * 2 / 1e6));
}

TEST_CASE("which converters are taken column by column") {
  Chip chip;
  CHECK_FALSE(are_converters_pooled(chip));
  chip.adc.double_buffer = true;
  CHECK_FALSE(are_converters_pooled(chip));
  chip.adc.sharing = AdcSharing::array;
  CHECK(are_converters_pooled(chip));
  chip.input.kind = InputKind::bit_serial;  // array and converters in step
  CHECK_FALSE(are_converters_pooled(chip));
  chip.input.kind = InputKind::fixed;
  chip.adc.double_buffer = false;  // an activation has them to itself
  CHECK_FALSE(are_converters_pooled(chip));
  chip.adc.sharing = AdcSharing::group;
  CHECK(are_converters_pooled(chip));
}

TEST_CASE("the bits of a conversion") {
  Chip chip;
  CHECK(converter_bits(chip, 5, 8) == 5);
  chip.adc.static_precision = true;
  CHECK(converter_bits(chip, 5, 8) == 8);
  CHECK(converter_bits(chip, 5, 0) == 5);  // of a program that does not say what its stages are
}

TEST_CASE("without sample-and-hold rows are driven once per round") {
  Chip chip;
  chip.array.slices = 2;
  chip.array.cell_energy_pj = 0.5;
  chip.input.row_energy_pj = 2;
  chip.adc.energy_pj = 3;
  CHECK(input_windows(chip, 5) == 1);
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 5).value() == 4 * 2 + 2 * 4 * 6 * 0.5 + 2 * 6 * 3);
  chip.adc.sample_hold = false;
  CHECK(input_windows(chip, 5) == 10);
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 5).value() == 10 * 4 * 2 + 2 * 4 * 6 * 0.5 + 2 * 6 * 3);
  chip.array.idle_columns_draw = true;  // all columns conduct in every window
  CHECK(activation_energy_pj(chip, 4, 6, 8, 8, 5).value() == 10 * 4 * 2 + 10 * 2 * 4 * 256 * 0.5 + 2 * 6 * 3);
}

TEST_CASE("the band of the converters' energy") {
  Chip chip;
  chip.adc.energy_pj = 3;
  chip.adc.shift_add_energy_pj = 1;
  CHECK(activation_energy_parts(chip, 8, 8).value().column_high_pj == 4);
  chip.adc.calibration = 2;
  chip.adc.calibration_high = 10;
  CHECK(activation_energy_parts(chip, 8, 8).value().column_pj == 7);
  CHECK(activation_energy_parts(chip, 8, 8).value().column_high_pj == 31);
  CHECK(load("pcm-14nm", {{"adc.calibration", "200"}}).error().id == "chip.range");  // above its high end
}

TEST_CASE("attention units have area and idle power") {
  Chip chip;
  chip.adc.area_um2 = 0;
  chip.attention.area_um2 = 2e6;
  chip.attention.passive_mw = 3;
  chip.attention.kv_passive_mw = 50;
  chip.digital.units = 2;
  chip.digital.passive_mw = 7;
  chip.system.passive_mw_per_array = 0.5;
  CHECK(area(chip, 4, {.kv_regions = 5}).value().attention_mm2 == 10);  // one unit beside each region
  CHECK(passive_mw(chip, 100, 10, 1, 5) == 100 * 0.5 + 10 * 2 * 7 + 5 * 3 + 50);
  CHECK(passive_mw(chip, 100, 10, 1, 0) == 100 * 0.5 + 10 * 2 * 7);  // no attention, no memory for it
  chip.system.chips = 2;
  CHECK(system_area(chip, 4, {.kv_regions = 5}).value().attention_mm2 == 10);
  CHECK(passive_mw(chip, 100, 10, 2, 5) == 2 * (100 * 0.5 + 10 * 2 * 7) + 5 * 3 + 2 * 50);
  chip.attention.units = 4;
  CHECK(area(chip, 4, {.kv_regions = 5}).value().attention_mm2 == 8);
  CHECK(system_area(chip, 4, {.kv_regions = 5}).value().attention_mm2 == 16);
  CHECK(passive_mw(chip, 100, 10, 2, 5) == 2 * (100 * 0.5 + 10 * 2 * 7) + 8 * 3 + 2 * 50);
  chip.digital.hub = true;
  CHECK(passive_mw(chip, 100, 10, 2, 5) == 2 * (100 * 0.5 + 2 * 7) + 8 * 3 + 2 * 50);
}
