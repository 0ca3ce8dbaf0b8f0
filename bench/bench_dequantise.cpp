// Micro benchmark of the conversion of weights to float, type by type, on one thread; bytes are those of the floats.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>
#include <vector>

#include "danaus/model/element.h"

namespace {

using danaus::model::ElementType;

void dequantise(benchmark::State& state, ElementType type) {
  constexpr std::size_t kElements = std::size_t{1} << 16;  // in and out stay in the cache
  const danaus::model::ElementLayout layout = danaus::model::layout_of(type);
  std::vector<std::byte> blocks(kElements / layout.block_elements * layout.block_bytes);
  for (std::size_t n = 0; n < blocks.size(); ++n) blocks[n] = static_cast<std::byte>((n * 37 + n / 256) & 0x3f);
  std::vector<float> values(kElements);
  for (auto _ : state) {
    danaus::model::dequantise_blocks(type, blocks, values);
    benchmark::DoNotOptimize(values.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kElements * sizeof(float)));
}

}  // namespace

int main(int argc, char** argv) {
  for (std::size_t number = 0; number <= static_cast<std::size_t>(ElementType::q6_k); ++number) {
    const auto type = static_cast<ElementType>(number);
    if (danaus::model::is_real(type))
      benchmark::RegisterBenchmark(std::string(danaus::model::name_of(type)).c_str(), dequantise, type);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
