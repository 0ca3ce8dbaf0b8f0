// Figures of other simulators for one small operator (case T): W[i][j] = (((7 i + 3 j) mod 13) - 6) / 6, 4 x 6.
// CrossSim 3.2.0 (sign-magnitude converters) and aihwkit 1.2.0 (C++ tile) where both are named, computed by running
// them.
#include <array>
#include <cmath>
#include <vector>

#include "danaus/machine/analog/analog_machine.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

constexpr std::array<float, 6> kInputs = {0.9f, -0.35f, 0.1f, 0.62f, -1.0f, 0.27f};

std::vector<float> case_weights() {
  std::vector<float> weights;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 6; ++j) weights.push_back(static_cast<float>((((7 * i + 3 * j) % 13) - 6) / 6.0));
  }
  return weights;
}

program::Program case_program(int dac, int adc, const std::string& range = "user") {
  return parse_good("danaus program 1\nchip rows 6 cols 4 adcs 4 arrays 1 tile 1 buffer 16\ncfg 0 mvm dac " +
                    std::to_string(dac) + " adc " + std::to_string(adc) + " " + range +
                    "\ninput x 6\nnode w linear x 4x6 dense\noutput w\nat x 0+6 t0 0\nat w 0+4 t0 6\n"
                    "patch a0 0,0 6x4 w.W in 0 out 0\ncode\nmvm a0 r0+6 c0+4 0 -> 6 set k0\nhalt\n");
}

/// Case T on a chip with these settings, weights and inputs between -1 and 1.
std::vector<float> answer(const program::Program& program, Settings settings) {
  Settings all = {{"array.rows", "6"}, {"array.cols", "4"}, {"adc.per_array", "4"}, {"noise.weight_scale", "matrix"}};
  all.insert(all.end(), settings.begin(), settings.end());
  const Result<chip::Chip> chip = chip::load("unit", all);
  if (!chip) FAIL(to_string(chip.error()));
  Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, *chip, 1);
  if (!machine) FAIL(to_string(machine.error()));
  const std::vector<float> weights = case_weights();
  REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
  std::vector<float> y(4);
  const Result<void> done = machine->multiply(NodeId{1}, kInputs, {{0}}, y);
  if (!done) FAIL(to_string(done.error()));
  return y;
}

void check(const std::vector<float>& y, const std::array<double, 4>& expected, double tolerance = 2e-6) {
  for (std::size_t n = 0; n < 4; ++n) {
    CAPTURE(n);
    CHECK(std::abs(static_cast<double>(y[n]) - expected[n]) <= tolerance);
  }
}

const std::pair<std::string, std::string> kContinuous = {"noise.weight_bits", "0"};

TEST_CASE("converters: case T as CrossSim and aihwkit compute it") {
  // The largest input is -1, so the input scale of the token is 1.
  check(answer(case_program(8, 8), {kContinuous, {"noise.adc_range_user", "3"}}),
        {-1.5826772, -0.3543307, 0.6614173, -0.2598425});
  check(answer(case_program(4, 4), {kContinuous, {"noise.adc_range_user", "2"}}),
        {-1.7142857, -0.2857143, 0.5714286, -0.2857143});
  check(answer(case_program(8, 3), {kContinuous, {"noise.adc_range_user", "2"}}),
        {-1.3333333, -0.6666667, 0.6666667, 0});
}

TEST_CASE("input converters alone: case T as CrossSim computes it") {
  // 24 bits over +-6 are finer than the figures' last digit.
  check(answer(case_program(8, 24), {kContinuous, {"noise.adc_range_user", "6"}}),
        {-1.5918635, -0.3608924, 0.6653544, -0.2703412});
}

// Eight levels per device and a pair of devices are signed codes of 4 bits.
TEST_CASE("cells of 3 bits: case T as CrossSim computes it") {
  check(answer(case_program(16, 24), {{"noise.weight_bits", "4"}, {"noise.adc_range_user", "6"}}),
        {-1.5385714, -0.4214286, 0.6314286, -0.2557143}, 1e-4);
}

// A range of 3 cells is 3 / 0.9 weights: a cell conducts g_max.
TEST_CASE("a finite on/off ratio: case T as CrossSim computes it") {
  check(answer(case_program(8, 6),
               {kContinuous, {"noise.adc_range_user", "3"}, {"noise.g_max_us", "1000"}, {"noise.g_min_us", "100"}}),
        {-1.6129032, -0.3225806, 0.6451613, -0.3225806});
}

TEST_CASE("serial input bits, a conversion for each: case T as CrossSim computes it") {
  check(answer(case_program(4, 6),
               {kContinuous, {"noise.adc_range_user", "3"}, {"input.kind", "bit-serial"}, {"input.bit_ns", "1"}}),
        // The last bit of the first output is -15.5 steps, a tie: CrossSim's rounding errors make it 15, we take the
        // even 16, so -1.5760369 becomes -1.5760369 - 4 / 7 * 3 / 31.
        {-1.6313364, -0.3041475, 0.6635945, -0.2488479});
}

TEST_CASE("wires with resistance: case T as CrossSim and a dense nodal solution compute it") {
  const Settings nodal = {kContinuous,
                          {"noise.adc_range_user", "6"},
                          {"noise.g_max_us", "1000"},
                          {"noise.g_min_us", "0"},
                          {"noise.ir_drop", "nodal"}};
  const auto with = [&](Settings more) {
    Settings all = nodal;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  check(answer(case_program(16, 24), with({{"noise.wire_ohm", "10"}})), {-1.4874450, -0.3283657, 0.6502774, -0.2454344},
        1e-4);
  check(answer(case_program(16, 24), with({{"noise.wire_ohm", "1"}})), {-1.5834511, -0.3551130, 0.6606969, -0.2658307},
        1e-4);
  check(answer(case_program(16, 24), with({{"noise.wire_ohm", "10"}, {"noise.g_min_us", "100"}})),
        {-1.4670728, -0.3210696, 0.6461486, -0.2413523}, 1e-4);
}

TEST_CASE("closed form of the voltage drop: case T as aihwkit computes it") {
  check(answer(case_program(16, 24), {kContinuous,
                                      {"noise.adc_range_user", "6"},
                                      {"noise.g_max_us", "5"},
                                      {"noise.g_min_us", "0"},
                                      {"noise.ir_drop", "closed"},
                                      {"noise.wire_ohm", "0.35"}}),
        {-1.5949895, -0.3583322, 0.6616526, -0.2683316}, 1e-4);
}

}  // namespace
}  // namespace danaus::machine
