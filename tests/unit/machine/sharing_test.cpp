// Converters that are shared and their precision, against schedules worked out by hand. The chip has arrays of 8 x 8
// with 2 converters, two arrays per tile; 10 ns until the columns are held, 1 ns per conversion.

#include "danaus/chip/cost.h"
#include "danaus/machine/plan.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

const Settings kArray = {{"adc.sharing", "array"}};
const Settings kGroup = {{"adc.sharing", "group"}, {"adc.group_arrays", "2"}};

Settings with(Settings settings, const Settings& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

std::vector<Picoseconds> ends_of(const program::Program& program, const chip::Chip& chip) {
  std::vector<Picoseconds> ends;
  for (const Event& event : events_of(program, chip)) ends.push_back(event.end);
  return ends;
}

}  // namespace

TEST_CASE("a switch in the array: rounds are columns over converters, whatever the wiring") {
  // Columns 0, 2, 4 and 6 are wired to converter 0.
  const program::Program program = code("mvm a0 r0+2 c0+1x4^2 0 -> 10 set k0\n");
  CHECK(simulate_good(program, small_chip()).total == 14 * kNs);
  const Timing timing = simulate_good(program, small_chip(kArray));
  CHECK(timing.total == 12 * kNs);
  CHECK(timing.counts.adc_rounds == 2);
  CHECK(timing.counts.conversions == 4);
  CHECK(simulate_good(program, small_chip(with(kArray, {{"adc.share_ns", "0.5"}}))).total == 13 * kNs);
  // Five columns on two converters: three rounds.
  CHECK(simulate_good(code("mvm a0 r0+2 c0+5 0 -> 10 set k0\n"), small_chip(kArray)).total == 13 * kNs);
  // Nothing holds the columns: each round drives the inputs again, 2 * max(4, 1) + 10.
  const Settings integrating = {{"adc.sample_hold", "false"}, {"input.time_ns", "4"}};
  CHECK(simulate_good(program, small_chip(with(kArray, integrating))).total == 18 * kNs);
  CHECK(simulate_good(program, small_chip(integrating)).total == 26 * kNs);
}

TEST_CASE("blocked wiring: neighbours wait for one converter, columns that lie apart do not") {
  // Converter 0 has the columns 0 to 3, converter 1 those from 4 on.
  const chip::Chip blocked = small_chip({{"adc.wiring", "blocked"}});
  const program::Program neighbours = code("mvm a0 r0+2 c0+4 0 -> 10 set k0\n");
  CHECK(simulate_good(neighbours, blocked).total == 14 * kNs);
  CHECK(simulate_good(neighbours, small_chip()).total == 12 * kNs);
  CHECK(simulate_good(code("mvm a0 r0+2 c2+4 0 -> 10 set k0\n"), blocked).total == 12 * kNs);
  CHECK(simulate_good(code("mvm a0 r0+2 c3+4 0 -> 10 set k0\n"), blocked).total == 13 * kNs);
  const program::Program apart = code("mvm a0 r0+2 c0+1x4^2 0 -> 10 set k0\n");
  CHECK(simulate_good(apart, blocked).total == 12 * kNs);
  CHECK(simulate_good(apart, small_chip()).total == 14 * kNs);
  CHECK(simulate_good(neighbours, small_chip(with(kArray, {{"adc.wiring", "blocked"}}))).total == 12 * kNs);
}

TEST_CASE("a group: an activation takes the converters of its neighbours, those of arrays in use") {
  const std::string eight = "mvm a0 r0+2 c0+8 0 -> 10 set k0\n";
  const std::string neighbour = "mvm a1 r0+2 c0+2 10 -> 40 set k0\n";  // waits for it
  CHECK(simulate_good(code(eight), small_chip(kGroup)).total == 14 * kNs);
  CHECK(ends_of(code(eight + neighbour), small_chip(kGroup)) == std::vector{12 * kNs, 23 * kNs});
  CHECK(ends_of(code(eight + neighbour), small_chip()) == std::vector{14 * kNs, 25 * kNs});
  // Array 2 is in another group.
  const std::string other = "mvm a2 r0+2 c0+2 0 -> 10 set k0\n";
  CHECK(ends_of(code(eight + other), small_chip(kGroup)) == std::vector{14 * kNs, 11 * kNs});
  CHECK(simulate_good(code(eight + neighbour), small_chip(with(kGroup, {{"adc.share_ns", "1"}}))).total == 26 * kNs);
}

TEST_CASE("finished converters are given on, to the oldest activation that has columns left") {
  // Both hold their columns at 10. Four converters: a0 takes all, at 11 one more while a1 gets three, at 12 a1 the
  // last.
  const program::Program program = code(
      "mvm a0 r0+2 c0+5 0 -> 10 set k0\n"
      "mvm a1 r0+2 c0+4 0 -> 20 set k0\n");
  CHECK(ends_of(program, small_chip(kGroup)) == std::vector{12 * kNs, 13 * kNs});
  // Wired, a1 is earlier: sharing can be slower for one, and for the whole if everything waits for that one.
  CHECK(ends_of(program, small_chip()) == std::vector{13 * kNs, 12 * kNs});
  const Timing timing = simulate_good(program, small_chip(kGroup));
  CHECK(timing.critical_path.settle == 10 * kNs);
  CHECK(timing.critical_path.adc == 3 * kNs);
  CHECK(timing.critical_rounds == 3);
  CHECK(timing.counts.conversions == 9);
  // a0 is held until its columns are converted: busy for 12 ns, a1 for 13.
  CHECK(timing.busiest_array == 13 * kNs);
}

TEST_CASE("without a double buffer an array waits for its own conversions, with one it drives the next input") {
  const std::string commands =
      "mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
      "mvm a0 r0+2 c0+8 2 -> 20 set k0\n"
      "mvm a1 r0+2 c0+1 20 -> 40 set k0\n";
  // 10 + 2, the same again, and an array in use that waits for both.
  CHECK(ends_of(code(commands), small_chip(kGroup)) == std::vector{12 * kNs, 24 * kNs, 35 * kNs});
  const Settings buffered = {{"adc.double_buffer", "true"}};
  CHECK(ends_of(code(commands), small_chip(with(kGroup, buffered))) == std::vector{12 * kNs, 22 * kNs, 33 * kNs});

  // A switch in the array and a double buffer: 1 ns of input, three columns each. The first takes two converters at 1
  // and one at 2, the second the other one at 2 and two at 3. Wired it waits for both until 3.
  const program::Program two = code(
      "mvm a0 r0+2 c0+3 0 -> 10 set k0\n"
      "mvm a0 r0+2 c0+3 2 -> 20 set k0\n");
  const Settings fast = {{"adc.double_buffer", "true"}, {"array.settle_ns", "1"}};
  CHECK(ends_of(two, small_chip(fast)) == std::vector{3 * kNs, 5 * kNs});
  CHECK(ends_of(two, small_chip(with(kArray, fast))) == std::vector{3 * kNs, 4 * kNs});
}

TEST_CASE("inputs and conversions that take no time") {
  const program::Program program = code(
      "mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
      "mvm a0 r0+2 c0+8 2 -> 20 set k0\n"
      "mvm a1 r0+2 c0+1 20 -> 40 set k0\n");
  const Settings no_input = {{"array.settle_ns", "0"}}, no_conversion = {{"adc.time_ns", "0"}};
  // The array is held, so the second begins when the first is over.
  CHECK(ends_of(program, small_chip(with(kGroup, no_input))) == std::vector{2 * kNs, 4 * kNs, 5 * kNs});
  CHECK(ends_of(program, small_chip(with(kGroup, no_conversion))) == std::vector{10 * kNs, 20 * kNs, 30 * kNs});
  CHECK(simulate_good(program, small_chip(with(kGroup, with(no_input, no_conversion)))).total == 0);
}

TEST_CASE("the slices of a weight keep a converter") {
  // Two slices: 2 ns per column; four columns on four converters.
  const program::Program program = code(
      "mvm a0 r0+2 c0+4 0 -> 10 set k0\n"
      "mvm a1 r0+2 c0+1 10 -> 40 set k0\n");
  CHECK(ends_of(program, small_chip(with(kGroup, {{"array.slices", "2"}}))) == std::vector{12 * kNs, 24 * kNs});
}

TEST_CASE("copies of arrays do not share converters") {
  program::Program program = code("mvm a0 r0+2 c0+2 0 -> 10 set k0\n");
  program.copies = {{.array = ArrayId{1}, .of = ArrayId{0}}};
  CHECK(simulate(program, small_chip(kGroup)).error().id == "machine.shared-copies");
  CHECK(simulate(program, small_chip(with(kArray, {{"adc.double_buffer", "true"}}))).error().id ==
        "machine.shared-copies");
  CHECK(simulate_good(program, small_chip(kArray)).total == 11 * kNs);
}

TEST_CASE("static precision: every conversion takes the time and energy of the stage that needs the most bits") {
  program::Program program = code(
      "mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
      "mvm a1 r0+2 c0+2 10 -> 20 set k2\n");
  Config narrow = program.intent.configs[0];
  narrow.adc_bits = 5;
  program.intent.configs.push_back(narrow);
  for (const std::uint16_t config : {std::uint16_t{0}, std::uint16_t{2}}) {
    Node node;
    node.kind = NodeKind::linear;
    node.structure = Structure::dense(8, 8);
    node.configs[0] = ConfigId{config};
    program.intent.nodes.push_back(node);
  }
  REQUIRE(most_adc_bits(program.intent) == 8);
  const Settings ramp = {{"adc.kind", "ramp"}, {"adc.lsb_ns", "1"}, {"adc.energy", "regression"}};
  const chip::Chip dynamic = small_chip(ramp);
  const chip::Chip fixed = small_chip(with(ramp, {{"adc.precision", "static"}}));
  // 10 + 2^8, 10 + 2^5.
  CHECK(simulate_good(program, dynamic).total == (20 + 256 + 32) * kNs);
  CHECK(simulate_good(program, fixed).total == (20 + 512) * kNs);
  const double eight = chip::conversion_energy_pj(dynamic, 8).value();
  const double five = chip::conversion_energy_pj(dynamic, 5).value();
  CHECK(simulate_good(program, dynamic).energy.adc == doctest::Approx(2 * eight + 2 * five).epsilon(1e-12));
  CHECK(simulate_good(program, fixed).energy.adc == doctest::Approx(4 * eight).epsilon(1e-12));
  CHECK(simulate_good(program, fixed).counts == simulate_good(program, dynamic).counts);
}

}  // namespace danaus::machine
