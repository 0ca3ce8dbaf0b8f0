// Map auto on random models, chips, prices and limits: its programs are proved, keep to the limits, are the same for
// any number of threads, and are never slower than a single mapping of the same structures that keeps to them.
#include <doctest/doctest.h>

#include <algorithm>

#include "danaus/core/parallel.h"
#include "danaus/pipeline/run.h"
#include "random_prices.h"
#include "random_program.h"

namespace danaus {
namespace {

using compile::Objective;
using pipeline::MapResult;

constexpr std::uint64_t kCases = 300;

double figure_of(const MapResult& result, Objective objective) {
  switch (objective) {
    case Objective::latency:
      return result.latency_ns;
    case Objective::energy:
      return result.timing.energy.total();
    case Objective::area:
      return result.area.total_mm2();
    case Objective::arrays:
      return result.arrays;
  }
  return 0;
}

TEST_CASE("auto is proved, keeps to its limits, and is no worse than any single mapping that does") {
  int chosen = 0, mixed = 0, strictly = 0, refused = 0;
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    const test::Case random = test::random_case(number);
    test::Dice dice(number + 4242);
    chip::Chip chip = test::priced(random.chip, dice);
    chip.system.arrays = 0;
    chip.system.chips = 1;
    pipeline::RunOptions options;
    options.emit.mode = random.emit.mode;
    options.emit.tokens = random.emit.tokens;
    options.emit.kv = random.emit.kv;
    options.emit.encoder_tokens = random.emit.encoder_tokens;
    options.policy.compression = dice.pick(std::vector{2.0, 4.0, 8.0});
    options.policy.kind = dice.coin()   ? factor::Policy::Kind::monarch
                          : dice.coin() ? factor::Policy::Kind::gather
                                        : factor::Policy::Kind::lowrank;
    options.policy.group = dice.roll(1, 16);
    options.find_bounds = false;
    options.objective = dice.pick(
        std::vector{Objective::latency, Objective::latency, Objective::energy, Objective::area, Objective::arrays});

    std::vector<MapResult> singles;
    for (const compile::StrategyInfo& strategy : compile::strategies()) {
      options.maps = {std::string(strategy.name)};
      Result<pipeline::RunResult> run = pipeline::run(random.model, chip, options, no_progress());
      CHECK_MESSAGE((run || run.error().id != "pipeline.proof"), strategy.name);
      if (run) singles.push_back(std::move(run->results.front()));
    }
    if (singles.empty()) continue;  // this model has no such mode

    options.maps = {"auto"};
    std::uint32_t least_arrays = ~0u, most_arrays = 0;
    for (const MapResult& single : singles) {
      least_arrays = std::min(least_arrays, single.arrays);
      most_arrays = std::max(most_arrays, single.arrays);
    }
    if (dice.coin()) options.automatic.most_arrays = dice.roll(least_arrays, most_arrays);
    const Result<pipeline::RunResult> run = pipeline::run(random.model, chip, options, no_progress());
    if (!run) {
      CHECK_MESSAGE(run.error().id == "auto.infeasible", to_string(run.error()));
      CHECK(options.automatic.most_arrays.has_value());
      ++refused;
    }
    for (const MapResult& single : singles) {
      const bool keeps = !options.automatic.most_arrays || single.arrays <= *options.automatic.most_arrays;
      if (!keeps) continue;
      REQUIRE_MESSAGE(run.has_value(), single.map);
      const MapResult& result = run->results.front();
      CHECK_MESSAGE(figure_of(result, options.objective) <= figure_of(single, options.objective) * (1 + 1e-12),
                    single.map);
    }
    if (!run) continue;
    ++chosen;
    const MapResult& result = run->results.front();
    REQUIRE(result.automatic.has_value());
    CHECK(result.proof_tokens > 0);
    const double nanojoules = result.timing.energy.total() / 1000 / std::max(1u, options.emit.tokens);
    CHECK(result.automatic->figure ==
          doctest::Approx(options.objective == Objective::energy ? nanojoules : figure_of(result, options.objective)));
    CHECK(result.automatic->choices.size() == random.model.linear.size());
    if (options.automatic.most_arrays) CHECK(result.arrays <= *options.automatic.most_arrays);
    const std::vector<pipeline::Choice>& choices = result.automatic->choices;
    mixed += std::any_of(choices.begin(), choices.end(), [&](const pipeline::Choice& choice) {
      return choice.candidate != choices.front().candidate || choice.map != choices.front().map;
    });
    strictly += std::all_of(singles.begin(), singles.end(), [&](const MapResult& single) {
      return (options.automatic.most_arrays && single.arrays > *options.automatic.most_arrays) ||
             figure_of(result, options.objective) < figure_of(single, options.objective) * (1 - 1e-9);
    });
    if (number % 4 == 0) {
      set_thread_count(1);
      const Result<pipeline::RunResult> alone = pipeline::run(random.model, chip, options, no_progress());
      set_thread_count(2);
      const Result<pipeline::RunResult> pair = pipeline::run(random.model, chip, options, no_progress());
      set_thread_count(0);
      REQUIRE(alone.has_value());
      CHECK(*alone == *pair);
    }
  }
  MESSAGE(chosen, " chosen, ", mixed, " mixed, ", strictly, " better than every single mapping, ", refused, " refused");
  CHECK(chosen > static_cast<int>(kCases / 3));
  CHECK(mixed > 0);
  CHECK(strictly > 0);
}

}  // namespace
}  // namespace danaus
