// One operator of 1024 x 1024 on 256 x 256 arrays, 64 vectors, converters of 8 bits: the analog machine next to the
// float product of OpenBLAS and to a bare multiplication by the machine's own kernel. Argument: threads.
#include <benchmark/benchmark.h>
#include <cblas.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/compile/compile.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/machine/analog/analog_machine.h"

namespace {

using danaus::machine::AnalogMachine;

constexpr std::uint32_t kEdge = 1024;
constexpr std::size_t kTokens = 64;

template <typename T>
T good(danaus::Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", danaus::to_string(result.error()).c_str());
  std::abort();
}

std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  danaus::random_gaussians(seed, 0, 0, values);
  return values;
}

AnalogMachine machine_for(const std::vector<std::pair<std::string, std::string>>& settings) {
  const danaus::chip::Chip chip = good(danaus::chip::load("unit", settings));
  danaus::Graph graph;
  graph.nodes.resize(2);
  graph.nodes[0].name = "x";
  graph.nodes[0].size = kEdge;
  graph.nodes[1].name = "w";
  graph.nodes[1].kind = danaus::NodeKind::linear;
  graph.nodes[1].sources = {danaus::NodeId{0}};
  graph.nodes[1].size = kEdge;
  graph.outputs = {danaus::NodeId{1}};
  graph = danaus::compile::with_structures(graph, {danaus::Structure::dense(kEdge, kEdge)}, chip);
  const auto* strategy = good(danaus::compile::find_strategy("linear"));
  danaus::compile::EmitOptions emit;
  emit.kv = 1;
  const danaus::program::Program program =
      good(danaus::compile::emit(graph, good(strategy->place(graph, {})), chip, emit));
  AnalogMachine machine = good(AnalogMachine::create({{&program}}, chip, 1));
  const std::vector<float> weights = random_floats(std::size_t{kEdge} * kEdge, 1);
  if (!machine.write(danaus::NodeId{1}, {{weights, {}}})) std::abort();
  return machine;
}

void openblas_sgemm(benchmark::State& state) {
  const auto threads = static_cast<std::size_t>(state.range(0));
  const std::vector<float> weights = random_floats(std::size_t{kEdge} * kEdge, 1),
                           x = random_floats(kTokens * kEdge, 2);
  std::vector<float> y(kTokens * kEdge);
  openblas_set_num_threads(static_cast<int>(threads));
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(kTokens), kEdge, kEdge, 1, x.data(), kEdge,
                weights.data(), kEdge, 0, y.data(), kEdge);
    benchmark::DoNotOptimize(y.data());
  }
}

void analog(benchmark::State& state, const std::vector<std::pair<std::string, std::string>>& settings) {
  AnalogMachine machine = machine_for(settings);
  const std::vector<float> x = random_floats(kTokens * kEdge, 2);
  std::vector<float> y(kTokens * kEdge);
  const std::vector<std::uint64_t> numbers(kTokens);  // the same draws again and again
  danaus::set_thread_count(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    if (!machine.multiply(danaus::NodeId{1}, x, numbers, y)) std::abort();
    benchmark::DoNotOptimize(y.data());
  }
}

const std::vector<std::pair<std::string, std::string>> kQuantised = {
    {"adc.rule", "fixed"}, {"adc.bits", "8"}, {"noise.adc_range", "l1"}};
const std::vector<std::pair<std::string, std::string>> kReadNoise = {
    {"adc.rule", "fixed"}, {"adc.bits", "8"}, {"noise.adc_range", "l1"}, {"noise.read_noise", "output"}};
const std::vector<std::pair<std::string, std::string>> kCellNoise = {
    {"adc.rule", "fixed"}, {"adc.bits", "8"}, {"noise.adc_range", "l1"}, {"noise.read_noise", "cell"}};

BENCHMARK(openblas_sgemm)->Unit(benchmark::kMillisecond)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(analog, quantised, kQuantised)->Unit(benchmark::kMillisecond)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(analog, read_noise, kReadNoise)->Unit(benchmark::kMillisecond)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(analog, read_noise_per_cell, kCellNoise)
    ->Unit(benchmark::kMillisecond)
    ->Arg(1)
    ->Iterations(2)
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
