// Google Benchmark of the solver of the multiple-choice knapsack on one thread: items x options x budgets, all items
// different or layers of six operators. The counter is the gap to the bound in percent.

#include <benchmark/benchmark.h>

#include "../tests/unit/optimise/instances.h"
#include "danaus/core/parallel.h"
#include "danaus/optimise/optimise.h"

namespace {

void solve(benchmark::State& state) {
  danaus::set_thread_count(1);
  const danaus::optimise::Problem problem =
      instance(static_cast<int>(state.range(0)), static_cast<std::uint64_t>(state.range(1)),
               static_cast<std::uint64_t>(state.range(2)), static_cast<std::size_t>(state.range(3)), 20, 1);
  double gap = 0;
  for (auto _ : state) {
    const danaus::optimise::Solution solution = danaus::optimise::solve(problem, {});
    gap = 100 * (solution.cost / solution.bound - 1);
  }
  state.counters["gap_percent"] = gap;
}
BENCHMARK(solve)
    ->ArgNames({"kind", "items", "options", "budgets"})
    ->ArgsProduct({{0, 1}, {144}, {20}, {1, 2, 3}})
    ->ArgsProduct({{0, 1}, {300}, {30}, {3}})
    ->ArgsProduct({{0, 1}, {3000}, {100}, {3}})
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
