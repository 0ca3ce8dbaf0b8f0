// One walk over the code: the time of every activation goes to its array. An array that several loops use counts in the
// busiest of them.

#include "danaus/machine/array_work.h"

#include <algorithm>

#include "danaus/chip/cost.h"
#include "danaus/machine/plan.h"

namespace danaus::machine {

std::vector<chip::Picoseconds> array_work(const program::Program& program, const chip::Chip& chip) {
  std::vector<chip::Picoseconds> most(program.chip.arrays), here(program.chip.arrays);
  std::vector<ArrayId> used;  // since the last border of a loop
  const auto close = [&] {
    for (const ArrayId array : used) {
      most[index(array)] = std::max(most[index(array)], here[index(array)]);
      here[index(array)] = 0;
    }
    used.clear();
  };
  const std::uint32_t most_bits = most_adc_bits(program.intent);
  for (const program::Record& record : program.code) {
    const program::Command command = program::decode_unchecked(record);
    if (const program::Mvm* mvm = std::get_if<program::Mvm>(&command)) {
      const Config& config = program.intent.configs[index(mvm->config)];
      const std::uint32_t bits = chip::converter_bits(chip, config.adc_bits, most_bits);
      const std::uint32_t rounds = rounds_of(mvm->columns, chip);
      here[index(mvm->array)] += chip::activation_time(chip, config.dac_bits, bits, rounds);
      used.push_back(mvm->array);
    } else if (std::holds_alternative<program::Repeat>(command)) {
      close();
    }
  }
  close();
  return most;
}

}  // namespace danaus::machine
