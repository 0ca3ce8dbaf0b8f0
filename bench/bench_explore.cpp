// Cost points per second of processor time, on one thread: a model decodes one token on chips that differ in
// converters, bits, times and energies, evaluated one by one (pipeline::run) and with what they share made once
// (CostEvaluator), in the same run.
//
//   bench_explore [MODEL = bert-large] [points = 400]
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/cost_evaluator.h"

using namespace danaus;

namespace {

template <typename Value>
Value good(Result<Value> value) {
  if (value) return std::move(*value);
  fmt::print(stderr, "{}\n", to_string(value.error()));
  std::exit(1);
}

/// Chips of a study: all combinations are as likely.
std::vector<chip::Chip> chips(std::size_t count) {
  const chip::Chip base = good(chip::load("pcm-14nm"));
  std::vector<chip::Chip> result;
  for (std::size_t point = 0; point < count; ++point) {
    std::uint64_t key = 0;
    const auto pick = [&](std::vector<double> values) { return values[random_bits(1, point, key++) % values.size()]; };
    chip::Chip chip = base;
    chip.adc.per_array = static_cast<std::uint32_t>(pick({1, 2, 4, 8, 16, 32, 64, 128, 256}));
    chip.adc.rule = pick({0, 1}) == 0 ? chip::AdcRule::fixed : chip::AdcRule::rows;
    chip.adc.bits = static_cast<std::uint32_t>(pick({4, 5, 6, 7, 8}));
    chip.adc.kind = pick({0, 1}) == 0 ? chip::AdcKind::sar : chip::AdcKind::ramp;
    chip.adc.step_ns = pick({0.25, 0.5, 1, 2});
    chip.adc.calibration = pick({1, 10, 120});
    chip.array.settle_ns = pick({1, 10, 100});
    chip.array.cell_energy_pj = pick({0.001, 0.013, 0.1});
    chip.digital.add_ns = pick({1, 5, 10});
    chip.network.hop_ns = pick({1, 2, 4});
    chip.network.energy_pj_per_bit_hop = pick({0.01, 0.081});
    result.push_back(std::move(chip));
  }
  return result;
}

double seconds_of(const std::function<void()>& work) {
  const std::clock_t start = std::clock();  // of the processor: all of it is one thread
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

int main(int count, char** arguments) {
  set_thread_count(1);
  const model::Model model = good(model::load(count > 1 ? arguments[1] : "bert-large"));
  const std::vector<chip::Chip> study = chips(count > 2 ? std::stoul(arguments[2]) : 400);
  const std::size_t one_by_one = std::min<std::size_t>(study.size(), 10);
  fmt::print("{:22} {:>10} {:>14} {:>14} {:>10} {:>8}\n", "maps", "programs", "evaluator 1/s", "once made 1/s",
             "run 1/s", "ratio");
  for (const std::vector<std::string>& maps :
       {std::vector<std::string>{"linear"}, {"sparse"}, {"dense"}, {"linear", "sparse", "dense"}}) {
    pipeline::RunOptions options;
    options.maps = maps;
    options.project_weights = false;
    options.find_bounds = false;  // as explore
    pipeline::CostEvaluator evaluator;
    double total = 0;
    const auto all = [&] {
      for (const chip::Chip& chip : study) {
        for (const pipeline::MapResult& row : good(evaluator.evaluate(model, chip, options)).results)
          total += row.latency_ns;
      }
    };
    const double first = seconds_of(all), second = seconds_of(all);
    const double run = seconds_of([&] {
      for (std::size_t n = 0; n < one_by_one; ++n)
        total += good(pipeline::run(model, study[n], options, no_progress())).results.front().latency_ns;
    });
    std::string names;
    for (const std::string& map : maps) names += (names.empty() ? "" : ",") + map;
    const double points = static_cast<double>(study.size());
    const double run_rate = static_cast<double>(one_by_one) / run;
    fmt::print("{:22} {:>10} {:>14.0f} {:>14.0f} {:>10.1f} {:>8.0f}\n", names, evaluator.programs_made(),
               points / first, points / second, run_rate, points / first / run_rate);
    if (!(total > 0)) return 1;
  }
}
