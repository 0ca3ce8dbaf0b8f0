// Any bytes as a sensitivity file: an error, or rules with costs that can be added up.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "danaus/pipeline/auto/sensitivity.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<std::vector<pipeline::SensitivityRule>> rules = pipeline::parse_sensitivity(text, "fuzz.toml");
  if (!rules) return 0;
  for (const pipeline::SensitivityRule& rule : *rules) {
    if (rule.pattern.empty()) std::abort();
    for (const auto& [name, cost] : rule.costs)
      if (!std::isfinite(cost) || cost < 0) std::abort();
  }
  return 0;
}
