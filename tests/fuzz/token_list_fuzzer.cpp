#include <cstddef>
#include <cstdint>
#include <string_view>

#include "danaus/pipeline/token_list.h"

// JSON of token ids: an error, or ids.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool list = pipeline::parse_token_list(text, "fuzz.json").has_value();
  const bool lists = pipeline::parse_token_lists(text, "fuzz.json").has_value();
  if (list && lists && text.find_first_of("0123456789") != std::string_view::npos) __builtin_trap();
  return 0;
}
