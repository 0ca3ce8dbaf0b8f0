// Any bytes as a table of converter bits: an error, or a table that is the same when it is written and read.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "danaus/pipeline/adc_bits.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<pipeline::AdcBits> table = pipeline::parse_adc_bits(text, "fuzz.toml");
  if (!table) return 0;
  const Result<pipeline::AdcBits> again =
      table->rules.empty() ? table : pipeline::parse_adc_bits(to_toml(*table), "again.toml");
  if (!again || again->rules.size() != table->rules.size()) std::abort();
  for (std::size_t n = 0; n < table->rules.size(); ++n) {
    if (again->rules[n].bits != table->rules[n].bits || again->rules[n].pattern != table->rules[n].pattern)
      std::abort();
  }
  return 0;
}
