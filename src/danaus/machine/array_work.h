#pragma once

#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/program/program.h"

namespace danaus::machine {

/// How long each array of a verified program is busy in one iteration of the longest loop that uses it: no throughput
/// of that loop is above the inverse. Activations in branches count as taken.
std::vector<chip::Picoseconds> array_work(const program::Program& program, const chip::Chip& chip);

}  // namespace danaus::machine
