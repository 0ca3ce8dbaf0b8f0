#include "danaus/compile/place/dense-diagonal/index_sets.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "danaus/compile/activation.h"
#include "danaus/compile/compile.h"
#include "example_graph.h"

namespace danaus::compile {
namespace {

using Numbers = std::vector<std::uint32_t>;
using Column = std::function<std::uint32_t(std::uint32_t slots, std::uint32_t row, std::uint32_t index)>;

std::uint32_t rotated(std::uint32_t slots, std::uint32_t row, std::uint32_t index) { return (row + index) % slots; }
std::uint32_t exclusive(std::uint32_t, std::uint32_t row, std::uint32_t index) { return row ^ index; }

/// Slots of the diagonal `live` that must not fire together with slot n while those of `mask` are in the array: by n.
std::vector<std::vector<bool>> conflicts(std::uint32_t slots, std::uint32_t mask, std::uint32_t live,
                                         const Column& column) {
  std::vector<std::vector<bool>> filled(slots, std::vector<bool>(slots));
  for (std::uint32_t i = 0; i < slots; ++i) {
    if ((mask >> i & 1) == 0) continue;
    for (std::uint32_t row = 0; row < slots; ++row) filled[row][column(slots, row, i)] = true;
  }
  std::vector<std::vector<bool>> conflict(slots, std::vector<bool>(slots));
  for (std::uint32_t a = 0; a < slots; ++a) {
    for (std::uint32_t b = 0; b < slots; ++b)
      conflict[a][b] = a != b && (filled[a][column(slots, b, live)] || filled[b][column(slots, a, live)]);
  }
  return conflict;
}

/// Whether `colours` colours are enough for the slots from `slot` on, by trying all.
bool colourable(const std::vector<std::vector<bool>>& conflict, Numbers& colour_of, std::uint32_t slot,
                std::uint32_t colours, std::uint32_t used) {
  if (slot == conflict.size()) return true;
  for (std::uint32_t colour = 0; colour < std::min(used + 1, colours); ++colour) {
    bool is_free = true;
    for (std::uint32_t other = 0; other < slot; ++other)
      is_free = is_free && !(conflict[slot][other] && colour_of[other] == colour);
    colour_of[slot] = colour;
    if (is_free && colourable(conflict, colour_of, slot + 1, colours, std::max(used, colour + 1))) return true;
  }
  return false;
}

/// Steps of a chip that drives any rows and reads any columns, summed over the diagonals of the mask.
std::uint32_t steps_of_free_choice(std::uint32_t slots, std::uint32_t mask, const Column& column) {
  std::uint32_t sum = 0;
  for (std::uint32_t live = 0; live < slots; ++live) {
    if ((mask >> live & 1) == 0) continue;
    const auto conflict = conflicts(slots, mask, live, column);
    std::uint32_t steps = 1;
    Numbers colours(slots);
    while (!colourable(conflict, colours, 0, steps, 0)) ++steps;
    sum += steps;
  }
  return sum;
}

/// Steps of the compiler's own activations, blocks of one cell, summed over the diagonals of the mask.
std::uint32_t steps_of_windows(std::uint32_t slots, std::uint32_t mask) {
  std::vector<program::Patch> patches;
  for (std::uint32_t i = 0; i < slots; ++i) {
    if ((mask >> i & 1) == 0) continue;
    for (std::uint32_t row = 0; row < slots; ++row) {
      program::Patch patch;
      patch.node = NodeId{i};
      patch.row = static_cast<std::uint16_t>(row);
      patch.column = static_cast<std::uint16_t>(row ^ i);
      patch.rows = patch.columns = 1;
      patches.push_back(patch);
    }
  }
  std::uint32_t sum = 0;
  for (std::size_t first = 0; first < patches.size(); first += slots) {
    std::vector<const program::Patch*> candidates;
    std::vector<PatchAddresses> addresses;
    for (std::uint32_t n = 0; n < slots; ++n) {
      candidates.push_back(&patches[first + n]);
      addresses.push_back({.source = n, .destination = 100 + n});
    }
    sum += static_cast<std::uint32_t>(
        find_activations(patches, candidates, addresses, std::vector<bool>(slots), slots, slots).size());
  }
  return sum;
}

std::uint32_t mask_of(const Numbers& indices) {
  std::uint32_t mask = 0;
  for (const std::uint32_t i : indices) mask |= 1u << i;
  return mask;
}

/// The least of `steps` over all masks, by number of diagonals.
Numbers least_steps(std::uint32_t slots, const std::function<std::uint32_t(std::uint32_t mask)>& steps) {
  Numbers least(slots + 1, std::numeric_limits<std::uint32_t>::max());
  least[0] = 0;
  for (std::uint32_t mask = 1; mask < 1u << slots; ++mask) {
    std::uint32_t& best = least[static_cast<std::size_t>(std::popcount(mask))];
    best = std::min(best, steps(mask));
  }
  return least;
}

}  // namespace

// By hand for D = 4, three of four diagonals: with 0, 1 and 2 in the array, slots n and n xor d of diagonal 0 exclude
// each other for d = 1 and d = 2, which is a ring of four: two steps. Rotated by 0, 1 and 2: n and n + 1, n - 1 and
// n + 2 exclude each other, all of them. Of diagonal 1 with both neighbours there, n + 1 and n - 1: two steps.
TEST_CASE("three of four diagonals") {
  CHECK(steps_of_free_choice(4, 0b111, exclusive) == 2 + 2 + 2);
  CHECK(steps_of_free_choice(4, 0b111, rotated) == 4 + 2 + 4);
  CHECK(steps_of_windows(4, 0b111) == 6);
}

TEST_CASE("the least steps of all sets of rotated and of exclusive diagonals") {
  const auto of = [](std::uint32_t slots, const Column& column) {
    return least_steps(slots, [&](std::uint32_t mask) { return steps_of_free_choice(slots, mask, column); });
  };
  CHECK(of(4, rotated) == Numbers{0, 1, 4, 10, 16});
  CHECK(of(4, exclusive) == Numbers{0, 1, 4, 6, 16});
  // Means of 1, 2, 2.67, 3.5, 3.6, 5.33, 7.43 and 8 steps, and of 1, 2, 2, 2, 3.6, 4, 4 and 8.
  CHECK(of(8, rotated) == Numbers{0, 1, 4, 8, 14, 18, 32, 52, 64});
  CHECK(of(8, exclusive) == Numbers{0, 1, 4, 6, 8, 18, 24, 28, 64});
}

TEST_CASE("no set takes fewer steps than that of the table, as the compiler counts them") {
  for (const std::uint32_t slots : {1u, 2u, 4u, 8u, 16u}) {
    CAPTURE(slots);
    const Numbers least = least_steps(slots, [&](std::uint32_t mask) { return steps_of_windows(slots, mask); });
    for (std::uint32_t count = 1; count <= slots; ++count) {
      CAPTURE(count);
      const Numbers indices = index_set(slots, count);
      CHECK(indices.size() == count);
      CHECK(std::is_sorted(indices.begin(), indices.end()));
      CHECK(std::adjacent_find(indices.begin(), indices.end()) == indices.end());
      CHECK(indices.back() < slots);
      CHECK(steps_of_windows(slots, mask_of(indices)) == least[count]);
    }
  }
  CHECK(index_set(8, 4) == Numbers{0, 1, 2, 4});
  CHECK(index_set(32, 3) == Numbers{0, 1, 2});
}

// 24 diagonals of 4 blocks of 64 x 64: six full arrays, or eight with three diagonals each, which take two steps
// instead of four; twelve with two, or 24 with one, which fires at once.
TEST_CASE("more arrays than the fewest take fewer steps") {
  Graph graph;
  const NodeId x = test::add_node(graph, "x", NodeKind::input, {}, 1024);
  test::add_linear(graph, "a", x, 1024, 16, 16, 4);
  test::add_linear(graph, "b", x, 1024, 16, 16, 4);
  test::add_linear(graph, "c", x, 1024, 16, 16, 4);
  for (const auto& [least_arrays, arrays, steps] :
       {std::tuple{0u, 6u, 4u}, std::tuple{8u, 8u, 2u}, std::tuple{12u, 12u, 2u}, std::tuple{24u, 24u, 1u},
        std::tuple{1000u, 24u, 1u}}) {
    CAPTURE(least_arrays);
    const Result<Placement> placement =
        (*find_strategy("dense-diagonal"))->place(graph, {.least_arrays = least_arrays});
    REQUIRE(placement.has_value());
    CHECK(placement->arrays == arrays);
    for (std::uint32_t array = 0; array < arrays; ++array) {
      std::vector<program::Patch> own;
      std::copy_if(placement->patches.begin(), placement->patches.end(), std::back_inserter(own),
                   [&](const program::Patch& patch) { return index(patch.array) == array; });
      std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<const program::Patch*>> diagonals;
      for (const program::Patch& patch : own)
        diagonals[{index(patch.node) * 2 + patch.stage, patch.in_first / 256u}].push_back(&patch);
      CHECK(diagonals.size() == 24 / arrays);
      for (const auto& [key, candidates] : diagonals) {
        std::vector<PatchAddresses> addresses;
        for (const program::Patch* patch : candidates)
          addresses.push_back({.source = patch->in_first, .destination = 10000 + patch->in_first});
        CHECK(find_activations(own, candidates, addresses, std::vector<bool>(candidates.size()), 256, 256).size() ==
              steps);
      }
    }
  }
}

}  // namespace danaus::compile
