// Micro benchmark of the draws of the analog machine on one thread: normal numbers, and cells programmed and aged.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/core/random.h"
#include "danaus/machine/analog/cells.h"

namespace {

void gaussians(benchmark::State& state) {
  std::vector<float> values(static_cast<std::size_t>(state.range(0)));
  std::uint64_t first = 0;
  for (auto _ : state) {
    danaus::random_gaussians(1, 2, first, values);
    benchmark::DoNotOptimize(values.data());
    benchmark::ClobberMemory();
    first += values.size();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(gaussians)->Arg(64)->Arg(256)->Arg(4096);

void program(benchmark::State& state, danaus::chip::DeviceKind device) {
  constexpr std::uint32_t kEdge = 256;
  danaus::chip::Chip::Noise noise;
  noise.device = device;
  noise.time_s = device == danaus::chip::DeviceKind::reram_cmo ? 3600 : 86400;
  std::vector<float> codes(std::size_t{kEdge} * kEdge);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<float>(static_cast<int>(i * 37 % 255) - 127);
  danaus::machine::CellKeys keys;
  keys.inputs = keys.outputs = kEdge;
  for (auto _ : state)
    benchmark::DoNotOptimize(danaus::machine::program_cells(noise, 1, 0, keys, codes, 127).plus.data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(codes.size()));
}
BENCHMARK_CAPTURE(program, ideal, danaus::chip::DeviceKind::ideal);
BENCHMARK_CAPTURE(program, pcm, danaus::chip::DeviceKind::pcm);
BENCHMARK_CAPTURE(program, pcm_hermes_two, danaus::chip::DeviceKind::pcm_hermes_two);
BENCHMARK_CAPTURE(program, reram_cmo, danaus::chip::DeviceKind::reram_cmo);
BENCHMARK_CAPTURE(program, sonos, danaus::chip::DeviceKind::sonos);

}  // namespace

BENCHMARK_MAIN();
