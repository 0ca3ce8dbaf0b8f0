// Copies of busy arrays: how many of which, and where they lie.
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "danaus/compile/compile.h"

namespace danaus::compile {
namespace {

/// A placement with one patch on each array.
Placement arrays(std::uint32_t count) {
  Placement placement{.arrays = count, .patches = {}, .copies = {}};
  for (std::uint32_t array = 0; array < count; ++array)
    placement.patches.push_back({.array = ArrayId{array}, .rows = 1, .columns = 1, .in_first = array});
  return placement;
}

using Pairs = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
Pairs copies_of(const Placement& placement) {
  Pairs pairs;
  for (const program::Copy& copy : placement.copies) pairs.emplace_back(index(copy.array), index(copy.of));
  return pairs;
}

}  // namespace

TEST_CASE("copies go to the busiest arrays") {
  // 80 20 40 10: three copies bring the longest down to 80/3 = 27 (2 copies), 40/2 (1 copy).
  const Placement placement = replicate(arrays(4), {80, 20, 40, 10}, 3, 16);
  CHECK(copies_of(placement) == Pairs{{1, 0}, {2, 0}, {5, 4}});
  CHECK(placement.arrays == 7);
  std::vector<std::uint32_t> places;
  for (const program::Patch& patch : placement.patches) places.push_back(index(patch.array));
  CHECK(places == std::vector<std::uint32_t>{0, 3, 4, 6});
}

TEST_CASE("a budget that does not reach the next limit is not spent") {
  CHECK(replicate(arrays(3), {50, 50, 50}, 2, 16) == arrays(3));  // two of three copies help nobody
  CHECK(replicate(arrays(3), {50, 50, 50}, 3, 16).copies.size() == 3);
  CHECK(replicate(arrays(3), {0, 0, 0}, 5, 16) == arrays(3));
  CHECK(replicate(arrays(0), {}, 5, 16) == arrays(0));
  CHECK(replicate(arrays(2), {9, 5}, 0, 16) == arrays(2));
}

TEST_CASE("an array and its copies share a tile") {
  // Tiles of 4: three arrays of 3 each need a tile of their own, and none gets a fifth.
  const Placement three = replicate(arrays(3), {30, 30, 30}, 6, 4);
  CHECK(copies_of(three) == Pairs{{1, 0}, {2, 0}, {5, 4}, {6, 4}, {9, 8}, {10, 8}});
  const Placement most = replicate(arrays(1), {1'000'000}, 100, 4);
  CHECK(copies_of(most) == Pairs{{1, 0}, {2, 0}, {3, 0}});
}

}  // namespace danaus::compile
