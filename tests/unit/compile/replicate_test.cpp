// Copies of busy arrays: how many of which, and where they lie.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
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
  // Tiles of 4: three arrays of 3 each need a tile of their own, and the room beside two of them is part of the budget.
  const Placement three = replicate(arrays(3), {30, 30, 30}, 8, 4);
  CHECK(copies_of(three) == Pairs{{1, 0}, {2, 0}, {5, 4}, {6, 4}, {9, 8}, {10, 8}});
  CHECK(three.arrays == 11);
  CHECK(copies_of(replicate(arrays(3), {30, 30, 30}, 7, 4)) == Pairs{{1, 0}, {3, 2}, {5, 4}});
  const Placement most = replicate(arrays(1), {1'000'000}, 100, 4);
  CHECK(copies_of(most) == Pairs{{1, 0}, {2, 0}, {3, 0}});
}

TEST_CASE("a later array goes where an earlier tile has room") {
  const Placement placement = replicate(arrays(3), {30, 30, 10}, 4, 4);
  CHECK(copies_of(placement) == Pairs{{1, 0}, {2, 0}, {5, 4}, {6, 4}});
  CHECK(placement.arrays == 7);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> places;  // sorted by array: the third is on the first tile
  for (const program::Patch& patch : placement.patches) places.emplace_back(index(patch.array), patch.in_first);
  CHECK(places == Pairs{{0, 0}, {3, 2}, {4, 1}});
}

TEST_CASE("how many arrays the first copies take") {
  CHECK(least_for_copies({50, 50, 50}, 16) == 3);
  CHECK(least_for_copies({80, 20, 40, 10}, 16) == 1);
  CHECK(least_for_copies({30, 30, 30}, 3) == 5);  // 0 1 - 3 4 - 6 7: two of them stay empty
  CHECK(least_for_copies({50, 50}, 1) == 0);
  CHECK(least_for_copies({0, 0}, 16) == 0);
  CHECK(least_for_copies({}, 16) == 0);
}

TEST_CASE("a placement grows by no more arrays than it was given, whatever is copied") {
  std::mt19937 random(20);
  const auto roll = [&](std::uint32_t least, std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(least, most)(random);
  };
  std::size_t with_copies = 0, without = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::uint32_t count = roll(1, 60), per_tile = roll(1, 17), budget = roll(0, 120);
    std::vector<std::int64_t> work;
    for (std::uint32_t array = 0; array < count; ++array) work.push_back(roll(0, 1) == 0 ? 90 : roll(0, 100));
    const Placement placement = replicate(arrays(count), work, budget, per_tile);
    REQUIRE(placement.arrays <= count + budget);
    // Every array once, on a tile with its copies.
    std::set<std::uint32_t> taken;
    std::set<std::uint32_t> originals;
    for (const program::Patch& patch : placement.patches) originals.insert(index(patch.array));
    REQUIRE(originals.size() == count);
    taken = originals;
    for (const program::Copy& copy : placement.copies) {
      REQUIRE(taken.insert(index(copy.array)).second);
      REQUIRE(originals.count(index(copy.of)) == 1);
      REQUIRE(index(copy.array) / per_tile == index(copy.of) / per_tile);
    }
    REQUIRE(*taken.rbegin() + 1 == placement.arrays);
    REQUIRE(std::is_sorted(placement.copies.begin(), placement.copies.end(),
                           [](const program::Copy& a, const program::Copy& b) { return a.array <= b.array; }));
    // The number that is named is enough for copies, and one less is not.
    const auto least = static_cast<std::uint32_t>(least_for_copies(work, per_tile));
    if (least == 0) {
      CHECK(placement.copies.empty());
      continue;
    }
    CHECK_FALSE(replicate(arrays(count), work, least, per_tile).copies.empty());
    CHECK(replicate(arrays(count), work, least - 1, per_tile) == arrays(count));
    (placement.copies.empty() ? without : with_copies) += 1;
  }
  CHECK(with_copies > 500);
  CHECK(without > 20);
}

}  // namespace danaus::compile
