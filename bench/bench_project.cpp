// Micro benchmark of the projection: one operator of a real shape on one thread; items are slices.

#include <benchmark/benchmark.h>

#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/factor/factor.h"

namespace {

/// Arguments: out, in, k, l, r.
void project_operator(benchmark::State& state) {
  const auto argument = [&state](std::size_t n) { return static_cast<std::uint32_t>(state.range(n)); };
  const danaus::Structure structure =
      danaus::Structure::blocks(argument(0), argument(1), argument(2), argument(3), argument(4));
  std::vector<float> weights(structure.dense_parameters());
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>(0.02 * danaus::random_gaussian(1, 0, i));
  danaus::set_thread_count(1);
  for (auto _ : state) benchmark::DoNotOptimize(danaus::factor::project(weights, structure));
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * structure.k * structure.l);
}

BENCHMARK(project_operator)
    ->Unit(benchmark::kMillisecond)
    ->Args({1024, 1024, 32, 32, 1})
    ->Args({4096, 1024, 32, 32, 1})
    ->Args({1024, 1024, 16, 16, 4})
    ->Args({4096, 1024, 4, 16, 16})
    ->Args({576, 576, 24, 24, 1})
    ->Args({1024, 1024, 1, 1, 64});

}  // namespace

BENCHMARK_MAIN();
