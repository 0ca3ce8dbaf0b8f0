// Any bytes as a chip file: an error or a chip that is written and read back unchanged, every cost of which can be
// explained; its comments are read whatever they are.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "danaus/chip/chip.h"
#include "danaus/chip/cost.h"
#include "danaus/chip/explain.h"
#include "danaus/chip/sources.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const danaus::Result<danaus::chip::Chip> chip = danaus::chip::parse(text, "fuzz.toml");
  if (chip) {
    const danaus::Result<danaus::chip::Chip> again = danaus::chip::parse(danaus::chip::to_toml(*chip), "again.toml");
    if (!again || !(*again == *chip)) std::abort();
    if (danaus::chip::activation_time(*chip, chip->input.bits, chip->adc.bits, chip->array.cols) < 0) std::abort();
  }
  for (const danaus::chip::KeySource& key : danaus::chip::sources_of(text)) {
    if (key.key.size() > size + 64 || key.comment.size() > 4096 + size) std::abort();
  }
  if (chip) {
    for (const danaus::chip::CostTopic& topic : danaus::chip::cost_topics()) {
      if (danaus::chip::explain_cost(*chip, topic.name).empty()) std::abort();
    }
  }
  return 0;
}
