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

    // Each limit between the least and the most of the single mappings, or none.
    options.maps = {"auto"};
    const double tokens = std::max(1u, options.emit.tokens);
    const auto drawn = [&](const auto& figure) {
      double least = figure(singles.front()), most = least;
      for (const MapResult& single : singles) {
        least = std::min(least, figure(single));
        most = std::max(most, figure(single));
      }
      return least + (most - least) * dice.roll(0, 100) / 100;
    };
    const auto arrays_of = [](const MapResult& single) { return double{1} * single.arrays; };
    const auto area_of = [](const MapResult& single) { return single.area.total_mm2(); };
    const auto energy_of = [&](const MapResult& single) { return single.timing.energy.total() / 1000 / tokens; };
    const auto latency_of = [](const MapResult& single) { return single.latency_ns / 1000; };
    if (dice.coin()) options.automatic.most_arrays = static_cast<std::uint32_t>(drawn(arrays_of));
    if (dice.roll(0, 3) == 0) options.automatic.most_area_mm2 = drawn(area_of);
    if (dice.roll(0, 3) == 0) options.automatic.most_energy_nj = drawn(energy_of);
    if (dice.roll(0, 3) == 0) options.automatic.most_latency_us = drawn(latency_of);
    const pipeline::AutoOptions& limits = options.automatic;
    const auto keeps_limits = [&](const MapResult& result) {
      return (!limits.most_arrays || result.arrays <= *limits.most_arrays) &&
             (!limits.most_area_mm2 || area_of(result) <= *limits.most_area_mm2) &&
             (!limits.most_energy_nj || energy_of(result) <= *limits.most_energy_nj) &&
             (!limits.most_latency_us || latency_of(result) <= *limits.most_latency_us);
    };
    const Result<pipeline::RunResult> run = pipeline::run(random.model, chip, options, no_progress());
    if (!run) {
      CHECK_MESSAGE(run.error().id == "auto.infeasible", to_string(run.error()));
      CHECK(limits != pipeline::AutoOptions{});
      ++refused;
    }
    for (const MapResult& single : singles) {
      if (!keeps_limits(single)) continue;
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
    CHECK(keeps_limits(result));
    const std::vector<pipeline::Choice>& choices = result.automatic->choices;
    mixed += std::any_of(choices.begin(), choices.end(), [&](const pipeline::Choice& choice) {
      return choice.candidate != choices.front().candidate || choice.map != choices.front().map;
    });
    strictly += std::all_of(singles.begin(), singles.end(), [&](const MapResult& single) {
      return !keeps_limits(single) ||
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
