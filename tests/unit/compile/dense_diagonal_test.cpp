#include <doctest/doctest.h>

#include <map>
#include <set>

#include "danaus/compile/compile.h"
#include "example_graph.h"

namespace danaus::compile {
namespace {

Placement place_diagonals(const Graph& graph, const PlaceOptions& options = {}) {
  const Result<const StrategyInfo*> info = find_strategy("dense-diagonal");
  REQUIRE(info.has_value());
  CHECK_FALSE((*info)->dense_operator);
  Result<Placement> placement = (*info)->place(graph, options);
  REQUIRE(placement.has_value());
  return std::move(*placement);
}

Graph one_operator(std::uint32_t out, std::uint32_t in, std::uint32_t k, std::uint32_t l) {
  Graph graph;
  const NodeId x = test::add_node(graph, "x", NodeKind::input, {}, in);
  test::add_linear(graph, "w", x, out, k, l, 1);
  return graph;
}

}  // namespace

// 1024 x 1024 in blocks of 32: two stages of 32 blocks, 4 diagonals of 8 each. 8 diagonals fill one array.
TEST_CASE("the diagonals of a square operator fill an array") {
  const Placement placement = place_diagonals(one_operator(1024, 1024, 32, 32));
  CHECK(placement.arrays == 1);
  REQUIRE(placement.patches.size() == 64);
  std::set<std::pair<int, int>> cells;
  std::map<std::pair<int, int>, std::set<int>> diagonals;  // (stage, number of the diagonal) -> its indices
  for (const program::Patch& patch : placement.patches) {
    const int row = patch.row / 32, column = patch.column / 32;
    cells.insert({row, column});
    // Stage 0 reads 32 inputs per block, stage 1 as well: the block is in_first / 32.
    diagonals[{patch.stage, static_cast<int>(patch.in_first) / 256}].insert((row - column + 8) % 8);
  }
  CHECK(cells.size() == 64);
  CHECK(diagonals.size() == 8);
  for (const auto& [diagonal, indices] : diagonals)
    CHECK(indices.size() == 1);  // its blocks are on one wrapped diagonal
}

// Two operators make 16 diagonals and two arrays; those of a stage alternate.
TEST_CASE("the diagonals of a stage lie in different arrays") {
  Graph graph = one_operator(1024, 1024, 32, 32);
  test::add_linear(graph, "v", NodeId{0}, 1024, 32, 32, 1);
  const Placement placement = place_diagonals(graph);
  CHECK(placement.arrays == 2);
  std::map<std::uint32_t, std::set<std::uint32_t>> arrays_of_stage;
  for (const program::Patch& patch : placement.patches)
    arrays_of_stage[index(patch.node) * 2 + patch.stage].insert(index(patch.array));
  for (const auto& [stage, arrays] : arrays_of_stage) CHECK(arrays.size() == 2);
}

// Blocks that are not square: 64 x 16 in an array of 4 x 16 slots; no two patches may overlap.
TEST_CASE("diagonals of oblong blocks do not overlap") {
  for (const auto& [k, l] : {std::pair{16u, 64u}, std::pair{64u, 16u}}) {
    const Placement placement = place_diagonals(one_operator(1024, 1024, k, l), {.rows = 256, .cols = 256});
    std::map<std::uint32_t, std::set<std::pair<int, int>>> used;
    for (const program::Patch& patch : placement.patches) {
      CHECK(patch.row + patch.rows <= 256);
      CHECK(patch.column + patch.columns <= 256);
      for (int r = 0; r < patch.rows; r += 16) {
        for (int c = 0; c < patch.columns; c += 16)
          CHECK(used[index(patch.array)].insert({patch.row + r, patch.column + c}).second);
      }
    }
  }
}

}  // namespace danaus::compile
