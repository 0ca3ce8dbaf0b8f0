// Any bytes as a chip file: an error or a chip that is written and read back unchanged.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "danaus/chip/chip.h"
#include "danaus/chip/cost.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const danaus::Result<danaus::chip::Chip> chip = danaus::chip::parse(text, "fuzz.toml");
  if (chip) {
    const danaus::Result<danaus::chip::Chip> again = danaus::chip::parse(danaus::chip::to_toml(*chip), "again.toml");
    if (!again || !(*again == *chip)) std::abort();
    if (danaus::chip::activation_time(*chip, chip->input.bits, chip->adc.bits, chip->array.cols) < 0) std::abort();
  }
  return 0;
}
