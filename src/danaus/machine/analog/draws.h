#pragma once

#include <cstdint>

namespace danaus::machine {

/// What the random numbers of the readers are for; those of the cells have streams of their own (cells.cpp).
enum class Draw : std::uint8_t { read = 0x80, read_cell, output, adc_gain, adc_offset };

/// `which`: below 2^56.
inline std::uint64_t stream_of(Draw draw, std::uint64_t which) {
  return std::uint64_t{static_cast<std::uint8_t>(draw)} << 56 | which;
}

}  // namespace danaus::machine
