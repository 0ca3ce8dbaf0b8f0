#pragma once

#include <algorithm>

#include "danaus/chip/chip.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

namespace danaus::machine {

/// The work of one step on a path: its time by kind, and its converter rounds.
void add_to_path(const Cost& cost, Breakdown& time, std::uint64_t& rounds);

/// What attention and its bytes add to the counts of a plan.
void add_attention(const Counts& attention, Counts& counts);

/// Adds the reload and the energies to a timing that has the total, the counts and the critical path of the schedule:
/// nothing overlaps with the reload. Error machine.too-long.
Result<Timing> finished(const program::Program& program, const chip::Chip& chip, const Plan& plan, const Reload& reload,
                        Timing timing);

/// The busy times of a finished schedule. `busy(resource)`.
template <typename Busy>
void add_busiest(const Outline& outline, const Plan& plan, Busy busy, Timing& timing) {
  timing.busiest_link = plan.busiest_incoming_link;
  for (std::uint32_t number = 0; number < outline.resources.size(); ++number) {
    const Picoseconds time = busy(number);
    const std::int64_t capacity = plan.capacity[number];
    const Picoseconds each = (time + capacity - 1) / capacity;  // copies share the activations, units their operations
    switch (outline.resources[number].kind) {
      case Resource::Kind::array:
      case Resource::Kind::converters:
        timing.busiest_array = std::max(timing.busiest_array, each);
        break;
      case Resource::Kind::link:
        timing.busiest_link = std::max(timing.busiest_link, time);
        break;
      case Resource::Kind::digital:
        timing.busiest_digital = std::max(timing.busiest_digital, each);
        break;
      default:
        break;
    }
  }
}

}  // namespace danaus::machine
