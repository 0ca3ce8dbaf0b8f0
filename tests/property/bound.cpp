// No program is better than its bounds: random models, structures, mappings, chips with random prices, all modes. And
// programs that reach them exactly. The critical path of the same programs, command by command, against its sum.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "danaus/chip/cost.h"
#include "danaus/machine/timing.h"
#include "danaus/pipeline/bound.h"
#include "random_prices.h"
#include "random_program.h"

namespace danaus {
namespace {

constexpr std::uint64_t kCases = 3000;

pipeline::Used used_by(const program::Program& program) {
  const program::ChipShape& shape = program.chip;
  pipeline::Used used{.arrays = shape.arrays, .tiles = shape.tiles(), .chips = shape.chips};
  if (shape.arrays_per_chip == 0) return used;
  used.arrays = std::min(used.arrays, shape.chips * shape.arrays_per_chip);
  used.tiles = std::min(used.tiles, shape.chips * shape.tiles_per_chip());
  return used;
}

TEST_CASE("no program is better than its bounds") {
  int reached_time = 0, reached_energy = 0, close = 0, pooled = 0;
  std::set<std::string> maps;
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    test::Dice dice(number + 77777);
    const program::Program program = test::compile_case(random);
    chip::Chip chip = test::priced(random.chip, dice);
    if (program.copies.empty() && dice.coin()) chip = test::with_pooled_converters(chip, dice);
    pooled += chip::are_converters_pooled(chip) ? 1 : 0;
    const machine::Routing routing{.seed = number, .first = {}};
    machine::Breakdown path;
    std::uint64_t rounds = 0;
    const auto add = [&](const machine::PathStep& step) {
      path += step.time;
      rounds += step.rounds;
    };
    const Result<machine::Timing> full =
        machine::simulate(program, chip, {.routing = routing, .trace = {}, .critical_path = add});
    const Result<machine::Timing> linear =
        machine::simulate(program, chip, {.linear_only = true, .routing = routing, .trace = {}});
    REQUIRE_MESSAGE(full.has_value(), (full ? "" : to_string(full.error())));
    REQUIRE(linear.has_value());
    path.reload = full->reload.time;
    CHECK(path == full->critical_path);  // command by command
    CHECK(rounds == full->critical_rounds);
    const pipeline::Demand demand = pipeline::demand_of(program);
    const pipeline::Used used = used_by(program);
    const chip::Picoseconds least_linear = pipeline::least_time(demand, chip, used, true);
    const chip::Picoseconds least = pipeline::least_time(demand, chip, used, false);
    CHECK(least_linear <= linear->total);
    CHECK(least <= full->total);
    CHECK(least_linear <= least);
    const Result<pipeline::Bound> bound = pipeline::bound_of(demand, chip, used, *full);
    REQUIRE(bound.has_value());
    CHECK(bound->arrays <= program.chip.arrays);
    constexpr double kRounding = 1 + 1e-12;  // energies are sums of products
    CHECK(bound->energy_nj * 1000 <= full->energy.total() * kRounding);
    maps.insert(random.strategy);
    reached_time += least_linear == linear->total ? 1 : 0;
    reached_energy += bound->energy_nj * 1000 * kRounding >= full->energy.total() ? 1 : 0;
    close += 2 * least > full->total ? 1 : 0;
  }
  MESSAGE(reached_time << " times and " << reached_energy << " energies reach their bound, " << close
                       << " latencies are within twice of it");
  CHECK(maps.size() == 5);
  CHECK(pooled > static_cast<int>(kCases) / 10);
  CHECK(reached_time > 0);
  CHECK(close > static_cast<int>(kCases) / 20);
}

}  // namespace
}  // namespace danaus
