// Replication: the arrays that are busiest per token get copies. With c copies beside the original, an array that works
// w per token limits the throughput to (c + 1) / w. The least limit T that a number of copies can reach is found by
// bisection: an array needs ceil(w / T) - 1 of them. Copies lie beside their original on its tile, where its inputs and
// outputs are; where a tile has no room left, the original goes to the next one and the rest of the tile stays empty.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "danaus/compile/compile.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {

Placement replicate(Placement placement, const std::vector<std::int64_t>& work, std::uint32_t most_copies,
                    std::uint32_t arrays_per_tile) {
  ensure(work.size() == placement.arrays && placement.copies.empty(), "one amount of work per array, no copies yet");
  const auto arrays_for = [&](std::int64_t w, std::int64_t limit) {
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>((w + limit - 1) / limit, 1, arrays_per_tile));
  };
  const auto copies_for = [&](std::int64_t limit) {
    std::uint64_t copies = 0;
    for (const std::int64_t w : work) copies += arrays_for(w, limit) - 1;
    return copies;
  };
  const std::int64_t longest = work.empty() ? 0 : *std::max_element(work.begin(), work.end());
  if (longest == 0) return placement;
  std::int64_t low = 0, high = longest;  // copies_for(high) fit, low is too low
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (copies_for(middle) <= most_copies ? high : low) = middle;
  }
  std::vector<ArrayId> moved(placement.arrays);
  std::uint32_t next = 0;
  for (std::uint32_t array = 0; array < placement.arrays; ++array) {
    const std::uint32_t count = arrays_for(work[array], high);
    const std::uint32_t room = arrays_per_tile - next % arrays_per_tile;
    if (count > room) next += room;
    moved[array] = ArrayId{next};
    for (std::uint32_t copy = 1; copy < count; ++copy)
      placement.copies.push_back({.array = ArrayId{next + copy}, .of = ArrayId{next}});
    next += count;
  }
  placement.arrays = next;
  for (program::Patch& patch : placement.patches) patch.array = moved[index(patch.array)];
  return placement;
}

}  // namespace danaus::compile
