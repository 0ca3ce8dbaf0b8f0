#include "danaus/compile/activation.h"

#include <doctest/doctest.h>

#include <array>

#include "danaus/compile/arena.h"

namespace danaus::compile {
namespace {

using program::Patch;

TEST_CASE("windows: the longest run with which cells and addresses fit") {
  // SparseMap's R: columns 0..7 hold two blocks of four outputs with stride 4 between outputs, 1 between blocks.
  const std::array<std::uint32_t, 8> cells = {0, 1, 2, 3, 4, 5, 6, 7};
  const std::array<std::uint32_t, 8> addresses = {10, 14, 18, 22, 11, 15, 19, 23};
  const std::optional<WindowAndPlace> found = factor_window(cells, addresses);
  REQUIRE(found.has_value());
  CHECK(found->window == program::Window{.first = 0, .length = 4, .count = 2, .stride = 4});
  CHECK(found->place == program::Place{.offset = 10, .element_stride = 4, .run_stride = 1});

  const std::array<std::uint32_t, 4> gaps = {0, 1, 4, 5};
  const std::array<std::uint32_t, 4> neighbours = {3, 4, 5, 6};
  CHECK(factor_window(gaps, neighbours)->window == program::Window{.first = 0, .length = 2, .count = 2, .stride = 4});
  const std::array<std::uint32_t, 4> uneven = {0, 1, 2, 5};
  CHECK(!factor_window(uneven, neighbours).has_value());
  const std::array<std::uint32_t, 1> one = {7};
  const std::array<std::uint32_t, 1> there = {9};
  CHECK(factor_window(one, there)->place == program::Place{.offset = 9});
}

/// Activations of these patches, all candidates, with inputs and outputs at offset 0 and 100.
std::vector<Activation> activations(const std::vector<Patch>& patches) {
  std::vector<const Patch*> candidates;
  std::vector<PatchAddresses> addresses;
  for (const Patch& patch : patches) {
    candidates.push_back(&patch);
    addresses.push_back(
        {.source = patch.in_first, .destination = 100 + patch.out_first, .destination_step = patch.out_step});
  }
  return find_activations(patches, candidates, addresses, std::vector<bool>(patches.size()), 8, 8);
}

TEST_CASE("blocks on a diagonal fire together") {
  const std::vector<Patch> patches = {
      {.row = 0, .column = 0, .rows = 4, .columns = 2, .in_first = 0, .out_first = 0, .out_step = 2},
      {.row = 4, .column = 2, .rows = 4, .columns = 2, .in_first = 4, .out_first = 1, .out_step = 2}};
  const std::vector<Activation> found = activations(patches);
  REQUIRE(found.size() == 1);
  CHECK(program::to_text(program::Command(found[0].command)) == "mvm a0 r0+8 c0+2x2^2 0 -> 100*2^1 set k0");
}

TEST_CASE("a programmed cell of a third patch between them forbids it") {
  const std::vector<Patch> patches = {
      {.row = 0, .column = 0, .rows = 4, .columns = 2, .in_first = 0, .out_first = 0, .out_step = 2},
      {.row = 4, .column = 2, .rows = 4, .columns = 2, .in_first = 4, .out_first = 1, .out_step = 2},
      {.node = NodeId{1}, .row = 0, .column = 2, .rows = 4, .columns = 2, .in_first = 0, .out_first = 0}};
  std::vector<const Patch*> candidates = {&patches[0], &patches[1]};
  const std::vector<PatchAddresses> addresses = {{0, 100, 2, 0}, {4, 101, 2, 0}};
  CHECK(find_activations(patches, candidates, addresses, {false, false}, 8, 8).size() == 2);
}

TEST_CASE("blocks over the same rows fire together when they want the same values, and wait when they do not") {
  std::vector<Patch> patches = {{.row = 0, .column = 0, .rows = 4, .columns = 4, .in_first = 0, .out_first = 0},
                                {.row = 0, .column = 4, .rows = 4, .columns = 4, .in_first = 0, .out_first = 4}};
  CHECK(activations(patches).size() == 1);
  patches[1].in_first = 4;
  CHECK(activations(patches).size() == 2);
}

TEST_CASE("patches with different regions or configurations wait for each other") {
  // As a stage whose operators' outputs lie in different regions, or are converted with different bits.
  const std::vector<Patch> patches = {{.row = 0, .column = 0, .rows = 4, .columns = 4, .in_first = 0, .out_first = 0},
                                      {.row = 0, .column = 4, .rows = 4, .columns = 4, .in_first = 0, .out_first = 4}};
  const std::vector<const Patch*> candidates = {&patches[0], &patches[1]};
  std::vector<PatchAddresses> addresses = {{0, 100, 1, 0}, {0, 104, 1, 0}};
  CHECK(find_activations(patches, candidates, addresses, {false, false}, 8, 8).size() == 1);
  addresses[1].setting = 1;
  CHECK(find_activations(patches, candidates, addresses, {false, false}, 8, 8).size() == 2);
}

TEST_CASE("an arena reuses what is free and grows its last hole") {
  Arena arena;
  const std::uint32_t a = arena.allocate(10), b = arena.allocate(5), c = arena.allocate(7);
  CHECK(a == 0);
  CHECK(b == 10);
  CHECK(c == 15);
  arena.release(b, 5);
  CHECK(arena.allocate(6) == 22);  // the hole of 5 is too small
  CHECK(arena.allocate(5) == 10);
  arena.release(22, 6);
  CHECK(arena.allocate(9) == 22);  // the hole at the end grows
  CHECK(arena.peak() == 31);
  arena.release(a, 10);
  arena.release(c, 7);
  arena.release(10, 5);
  CHECK(arena.allocate(22) == 0);  // three holes have become one
}

}  // namespace
}  // namespace danaus::compile
