#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

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

/// The most time that messages took a link of a mesh; 0 without link contention. `busy(resource)`.
template <typename Busy>
Picoseconds busiest_mesh_link(const Outline& outline, Busy busy) {
  if (!outline.link_contention) return 0;
  // By link: more than by the one before it.
  std::vector<Picoseconds> more(outline.mesh_links + 1);
  for (std::uint32_t number = 0; number < outline.resources.size(); ++number) {
    const Resource& resource = outline.resources[number];
    for (std::uint32_t n = 0; n < resource.ranges; ++n) {
      const LinkRange& range = outline.ranges[resource.first_range + n];
      more[range.first] += busy(number);
      more[range.first + range.count] -= busy(number);
    }
  }
  Picoseconds busiest = 0, time = 0;
  const auto chip_links = static_cast<std::uint32_t>(outline.mesh.links());
  for (std::uint32_t link = 0; link < outline.mesh_links; ++link) {
    time += more[link];
    if (!outline.mesh.is_port(link % chip_links)) busiest = std::max(busiest, time);
  }
  return busiest;
}

/// The busy times of a finished schedule. `busy(resource)`.
template <typename Busy>
void add_busiest(const Outline& outline, const Plan& plan, Busy busy, Timing& timing) {
  timing.busiest_link = plan.busiest_incoming_link;
  timing.busiest_mesh_link = busiest_mesh_link(outline, busy);
  for (std::uint32_t number = 0; number < outline.resources.size(); ++number) {
    if (plan.shared[number] != number) continue;
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
