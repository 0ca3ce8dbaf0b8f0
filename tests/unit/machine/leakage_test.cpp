// Rows that are not driven and idle cells, against sums by hand.
#include <cmath>
#include <vector>

#include "danaus/machine/analog/analog_machine.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

/// w on rows 0-3 and v on rows 4-7 of the same columns, read one after the other.
program::Program two_operators() {
  return parse_good(
      "danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 1 tile 1 buffer 16\ncfg 0 mvm dac 8 adc 8 lossless\n"
      "input x 4\nnode w linear x 3x4 dense\nnode v linear x 3x4 dense\noutput w\noutput v\n"
      "at x 0+4 t0 0\nat w 0+3 t0 4\nat v 0+3 t0 8\n"
      "patch a0 0,0 4x3 w.W in 0 out 0\npatch a0 4,0 4x3 v.W in 0 out 0\n"
      "code\nmvm a0 r0+4 c0+3 0 -> 4 set k0\nmvm a0 r4+4 c0+3 0 -> 8 set k0\nhalt\n");
}

const std::vector<float> kFirst = {0.5f, -1, 0.25f, 1, 1, 0.75f, -0.5f, 0, -1, 0.125f, 1, 1};
const std::vector<float> kSecond = {1, 1, 1, 1, -1, 0, 0.5f, 0.5f, 0.25f, 0.25f, -1, -1};
const std::vector<float> kInputs = {1, -0.5f, 0.25f, 0.75f};

double code(float weight) { return std::nearbyint(static_cast<double>(weight) * 127); }

TEST_CASE("rows that are not driven leak what their cells conduct") {
  const program::Program program = two_operators();
  constexpr double kLeakage = 0.01;
  Result<AnalogMachine> machine = AnalogMachine::create(
      {{&program}}, small_chip({{"noise.weight_scale", "matrix"}, {"noise.undriven_row_leakage", "0.01"}}), 1);
  REQUIRE(machine);
  REQUIRE(machine->write(NodeId{1}, {{kFirst, {}}}));
  REQUIRE(machine->write(NodeId{2}, {{kFirst, {}}}));
  REQUIRE(machine->write(NodeId{2}, {{kSecond, {}}}));  // written anew: the first weights are gone
  for (const bool is_first : {true, false}) {
    std::vector<float> y(3);
    REQUIRE(machine->multiply(NodeId{is_first ? 1u : 2u}, kInputs, {{0}}, y));
    const std::vector<float>&driven = is_first ? kFirst : kSecond, &idle = is_first ? kSecond : kFirst;
    for (std::size_t column = 0; column < 3; ++column) {
      double sum = 0;
      for (std::size_t row = 0; row < 4; ++row) {
        sum += code(kInputs[row]) * code(driven[column * 4 + row]);
        sum += kLeakage * 127 * code(idle[column * 4 + row]);
      }
      CHECK(static_cast<double>(y[column]) == doctest::Approx(std::nearbyint(sum) / (127 * 127)).epsilon(1e-6));
    }
  }
}

/// The same operator as two blocks along the diagonal: rows of the other block are driven, too, and carry inputs.
program::Program diagonal() {
  return parse_good(
      "danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 2 tile 2 buffer 32\ncfg 0 mvm dac 8 adc 8 lossless\n"
      "input x 4\nnode w linear x 4x4 blocks 2x2:1\noutput w\nat x 0+4 t0 0\nat w 0+4 t0 12\n"
      "patch a0 0,0 2x2 w.R in 0 out 0*2\npatch a0 2,2 2x2 w.R in 2 out 1*2\n"
      "patch a1 0,0 2x2 w.L in 0 out 0\npatch a1 2,2 2x2 w.L in 2 out 2\n"
      "code\nmvm a0 r0+4 c0+4 0 -> 4 set k0\nmvm a1 r0+4 c0+4 8 -> 12 set k0\nhalt\n");
}

TEST_CASE("idle cells on driven rows conduct g_min, which the pair's difference cancels") {
  const program::Program program = diagonal();
  const std::vector<float> right = {1, -0.5f, 0.25f, 1, 1, 1, -1, 0.5f}, left = {1, 0, 0, 1, 1, 1, 1, -1};
  const auto answer = [&](Settings settings) {
    Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, small_chip(std::move(settings)), 1);
    REQUIRE(machine);
    REQUIRE(machine->write(NodeId{1}, {{right, left}}));
    std::vector<float> y(4);
    REQUIRE(machine->multiply(NodeId{1}, kInputs, {{0}}, y));
    return y;
  };
  const Settings finite = {{"noise.g_max_us", "100"}, {"noise.g_min_us", "10"}};
  const auto with = [&](Settings more) {
    more.insert(more.end(), finite.begin(), finite.end());
    return more;
  };
  const std::vector<float> exact = answer({});
  CHECK(answer(with({})) == exact);
  CHECK(answer(with({{"noise.idle_cells", "leak"}})) == exact);
  // A device that is stuck at g_max on an idle cell does not cancel.
  CHECK(answer(with({{"noise.idle_cells", "leak"}, {"noise.stuck_high", "0.5"}})) !=
        answer(with({{"noise.stuck_high", "0.5"}})));
  // Converted apart, the background fills the range: the columns carry g_min of all driven rows.
  const auto converted_apart = with({{"noise.idle_cells", "leak"}, {"noise.subtract", "digital"}});
  const std::vector<float> apart = answer(converted_apart);
  for (std::size_t n = 0; n < 4; ++n) CHECK(apart[n] == doctest::Approx(exact[n]).epsilon(0.01));
}

TEST_CASE("a current limit clips, and noise at the output has its deviation") {
  const program::Program program = two_operators();
  const auto answers = [&](Settings settings, std::size_t tokens) {
    Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, small_chip(std::move(settings)), 1);
    REQUIRE(machine);
    REQUIRE(machine->write(NodeId{1}, {{kFirst, {}}}));
    std::vector<float> x, y(tokens * 3);
    for (std::size_t t = 0; t < tokens; ++t) x.insert(x.end(), kInputs.begin(), kInputs.end());
    REQUIRE(machine->multiply(NodeId{1}, x, token_numbers(tokens), y));
    return y;
  };
  const std::vector<float> limited = answers({{"noise.weight_scale", "matrix"}, {"noise.current_limit", "0.5"}}, 1);
  for (const float value : limited) CHECK(std::fabs(value) <= 0.5f + 1e-4f);
  constexpr std::size_t kReads = 4000;
  const std::vector<float> noisy = answers({{"noise.weight_scale", "matrix"}, {"noise.output_sd", "0.1"}}, kReads);
  double mean = 0, square = 0;
  for (std::size_t t = 0; t < kReads; ++t) {
    mean += static_cast<double>(noisy[t * 3]) / kReads;
    square += static_cast<double>(noisy[t * 3]) * static_cast<double>(noisy[t * 3]) / kReads;
  }
  CHECK(std::sqrt(square - mean * mean) == doctest::Approx(0.1).epsilon(0.04));
}

}  // namespace
}  // namespace danaus::machine
