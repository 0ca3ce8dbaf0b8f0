// Replication: the arrays that are busiest per token get copies. With c copies beside the original, an array that works
// w per token limits the throughput to (c + 1) / w; for the limit T it needs ceil(w / T) - 1 of them. Copies lie beside
// their original on its tile, where its inputs and outputs are: an array and its copies are a group, and each group
// goes to the first tile that has room for it. Room that no later group fills stays empty and is part of the budget.
// The least limit whose layout keeps to the budget is found by bisection.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "danaus/compile/compile.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

/// An array and its copies.
std::uint32_t group_size(std::int64_t work, std::int64_t limit, std::uint32_t arrays_per_tile) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>((work + limit - 1) / limit, 1, arrays_per_tile));
}

struct Layout {
  std::vector<std::uint64_t> first;  ///< per array of the placement: its new number, copies follow
  std::uint64_t arrays = 0;          ///< empty ones among them included
};

Layout lay_out(const std::vector<std::int64_t>& work, std::int64_t limit, std::uint32_t arrays_per_tile) {
  Layout layout;
  layout.first.reserve(work.size());
  std::vector<std::uint32_t> used;                              // per tile
  std::vector<std::size_t> first_tile(arrays_per_tile + 1, 0);  // per size of a group: none before has room for it
  for (const std::int64_t w : work) {
    const std::uint32_t size = group_size(w, limit, arrays_per_tile);
    std::size_t& tile = first_tile[size];
    while (tile < used.size() && arrays_per_tile - used[tile] < size) ++tile;
    if (tile == used.size()) used.push_back(0);
    layout.first.push_back(std::uint64_t{tile} * arrays_per_tile + used[tile]);
    used[tile] += size;
    layout.arrays = std::max(layout.arrays, layout.first.back() + size);
  }
  return layout;
}

std::int64_t longest_of(const std::vector<std::int64_t>& work) {
  return work.empty() ? 0 : *std::max_element(work.begin(), work.end());
}

}  // namespace

Placement replicate(Placement placement, const std::vector<std::int64_t>& work, std::uint32_t most_more,
                    std::uint32_t arrays_per_tile) {
  ensure(work.size() == placement.arrays && placement.copies.empty(), "one amount of work per array, no copies yet");
  const std::uint64_t most = std::uint64_t{placement.arrays} + most_more;
  std::int64_t low = 0, high = longest_of(work);  // the layout for high keeps to the budget: without copies it does
  if (high == 0) return placement;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (lay_out(work, middle, arrays_per_tile).arrays <= most ? high : low) = middle;
  }
  const Layout layout = lay_out(work, high, arrays_per_tile);
  for (std::size_t array = 0; array < work.size(); ++array) {
    const auto original = static_cast<std::uint32_t>(layout.first[array]);
    for (std::uint32_t copy = 1; copy < group_size(work[array], high, arrays_per_tile); ++copy)
      placement.copies.push_back({.array = ArrayId{original + copy}, .of = ArrayId{original}});
  }
  placement.arrays = static_cast<std::uint32_t>(layout.arrays);
  for (program::Patch& patch : placement.patches)
    patch.array = ArrayId{static_cast<std::uint32_t>(layout.first[index(patch.array)])};
  std::sort(placement.copies.begin(), placement.copies.end(),
            [](const program::Copy& a, const program::Copy& b) { return a.array < b.array; });
  std::stable_sort(placement.patches.begin(), placement.patches.end(),  // within an array they are sorted
                   [](const program::Patch& a, const program::Patch& b) { return a.array < b.array; });
  return placement;
}

std::uint64_t least_for_copies(const std::vector<std::int64_t>& work, std::uint32_t arrays_per_tile) {
  const std::int64_t longest = longest_of(work);
  if (longest <= 1 || arrays_per_tile == 1) return 0;
  return lay_out(work, longest - 1, arrays_per_tile).arrays - work.size();
}

}  // namespace danaus::compile
