#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "danaus/pipeline/reference.h"

// Any text is an error or a reference whose estimates are finite.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus::pipeline;
  const danaus::Result<Reference> reference =
      parse_reference(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.toml");
  if (!reference) return 0;
  const Estimate figures = estimate(*reference, {{.weights = 1e12, .kv = 1e9, .linear_macs = 1e15, .attention_macs = 1}});
  if (!(figures.latency_ns > 0 && figures.latency_ns < 1e30)) std::abort();
  return 0;
}
