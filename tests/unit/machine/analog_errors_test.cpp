// What the analog machine refuses.
#include <cmath>
#include <limits>
#include <vector>

#include "danaus/machine/analog/analog_machine.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

program::Program one_operator(const std::string& range, const std::string& rows = "r0+4") {
  return parse_good("danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 1 tile 1 buffer 16\ncfg 0 mvm dac 8 adc 8 " +
                    range + "\ninput x 4\nnode w linear x 3x4 dense\noutput w\nat x 0+4 t0 0\nat w 0+3 t0 4\n" +
                    "patch a0 0,0 4x3 w.W in 0 out 0\ncode\nmvm a0 " + rows + " c0+3 0 -> 4 set k0\nhalt\n");
}

std::string refusal(const Result<void>& result) { return result ? "" : result.error().id; }

Result<AnalogMachine> create(const program::Program& program, Settings settings = {}) {
  return AnalogMachine::create({{&program}}, small_chip(std::move(settings)), 1);
}

TEST_CASE("numbers that are none") {
  const program::Program program = one_operator("l1");
  Result<AnalogMachine> machine = create(program);
  REQUIRE(machine);
  std::vector<float> weights(12, 0.5f), x(4, 1.0f), y(3);
  weights[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(refusal(machine->write(NodeId{1}, {{weights, {}}})) == "analog.non-finite");
  weights[7] = 0.25f;
  REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
  x[2] = std::numeric_limits<float>::infinity();
  CHECK(refusal(machine->multiply(NodeId{1}, x, {{0}}, y)) == "analog.non-finite");
  x[2] = 0;
  CHECK(refusal(machine->multiply(NodeId{1}, x, {{0}}, y)).empty());
}

TEST_CASE("ranges from data need data") {
  const program::Program program = one_operator("cal-shared");
  const std::vector<float> weights(12, 0.5f), x(4, 1.0f);
  std::vector<float> y(3);
  for (const Settings& settings : {Settings{}, Settings{{"noise.input_scale", "tensor"}}}) {
    Result<AnalogMachine> machine = create(program, settings);
    REQUIRE(machine);
    REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
    CHECK(refusal(machine->multiply(NodeId{1}, x, {{0}}, y)) == "analog.not-calibrated");
    REQUIRE(machine->calibrate(NodeId{1}, x, 1));
    CHECK(refusal(machine->multiply(NodeId{1}, x, {{0}}, y)).empty());
  }
}

TEST_CASE("activations and settings that cannot be executed") {
  const Result<AnalogMachine> twice = create(one_operator("l1", "r0+2x2^1"));
  REQUIRE(!twice);
  CHECK(twice.error().id == "analog.activation");
  const Result<AnalogMachine> slices = create(one_operator("l1"), {{"noise.weight_bits", "0"}, {"array.slices", "2"}});
  REQUIRE(!slices);
  CHECK(slices.error().id == "analog.unsupported");
}

TEST_CASE("inputs and weights of zero, and no tokens") {
  const program::Program program = one_operator("l1");
  Result<AnalogMachine> machine = create(program);
  REQUIRE(machine);
  const std::vector<float> weights(12, 0.0f), x(4, 0.0f);
  std::vector<float> y(3, 7.0f);
  REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
  REQUIRE(machine->multiply(NodeId{1}, x, {{0}}, y));
  CHECK(y == std::vector<float>(3, 0.0f));
  CHECK(machine->multiply(NodeId{1}, {}, {}, {}));
  CHECK(machine->statistics().size() == 1);
  CHECK(machine->statistics()[0].adc.conversions == 3);
  CHECK(machine->statistics()[0].adc.zero == 3);
}

// Slices of a weight, and a pair that is subtracted digitally, are further conversions of the same product.
TEST_CASE("slices and digital subtraction give the product, too") {
  const program::Program program = one_operator("lossless");
  const std::vector<float> weights = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12}, x = {1, -0.5f, 0.25f, 0.75f};
  std::vector<std::vector<float>> answers;
  for (const Settings& settings :
       {Settings{}, Settings{{"array.slices", "2"}}, Settings{{"array.slices", "4"}},
        Settings{{"noise.subtract", "digital"}}, Settings{{"noise.subtract", "digital"}, {"array.slices", "3"}},
        Settings{{"input.kind", "bit-serial"}, {"input.bit_ns", "1"}}}) {
    Result<AnalogMachine> machine = create(program, settings);
    REQUIRE(machine);
    REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
    std::vector<float> y(3);
    REQUIRE(machine->multiply(NodeId{1}, x, {{0}}, y));
    answers.push_back(y);
    CHECK(y == answers[0]);
  }
  CHECK(std::fabs(answers[0][0] - (1 + 1 + 0.75f - 3)) < 0.05f);  // of codes of 8 bits
}

}  // namespace
}  // namespace danaus::machine
