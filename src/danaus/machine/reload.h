#pragma once

#include "danaus/chip/chip.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

namespace danaus::machine {

/// What it takes to program the passes of a program whose arrays are more than the chips have; nothing for one pass.
Reload reload_of(const program::Program& program, const chip::Chip& chip, const Outline& outline,
                 const Routing& routing);

}  // namespace danaus::machine
