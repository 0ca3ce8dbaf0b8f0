#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/compile/compile.h"
#include "danaus/core/random.h"
#include "example_graph.h"

namespace danaus::compile {
namespace {

/// The linear operators of BERT-large alone, 24 layers.
Graph bert_large_operators(std::uint32_t k) {
  Graph graph;
  for (int layer = 0; layer < 24; ++layer) {
    const std::string prefix = "l" + std::to_string(layer) + ".";
    const NodeId x = test::add_node(graph, prefix + "x", NodeKind::input, {}, 1024);
    for (const char* name : {"q", "k", "v"}) test::add_linear(graph, prefix + name, x, 1024, k, k, 1);
    const NodeId c = test::add_node(graph, prefix + "c", NodeKind::input, {}, 1024);
    const NodeId o = test::add_linear(graph, prefix + "o", c, 1024, k, k, 1);
    const NodeId up = test::add_linear(graph, prefix + "up", o, 4096, k, k, 1);
    test::add_linear(graph, prefix + "down", up, 1024, k, k, 1);
  }
  return graph;
}

Placement place(const char* strategy, const Graph& graph, const PlaceOptions& options = {}) {
  const Result<const StrategyInfo*> info = find_strategy(strategy);
  REQUIRE(info.has_value());
  Result<Placement> placement = (*info)->place(graph, options);
  REQUIRE(placement.has_value());
  return std::move(*placement);
}

std::uint64_t parameters(const Graph& graph) {
  std::uint64_t sum = 0;
  for (const Node& node : graph.nodes) {
    if (node.kind == NodeKind::linear) sum += node.structure.parameters();
  }
  return sum;
}

/// Every weight of every operator lies in exactly one cell, and no cell holds two.
void check_cover(const Graph& graph, const Placement& placement, const PlaceOptions& options) {
  std::vector<std::array<std::uint32_t, 3>> cells;
  std::vector<std::array<std::uint32_t, 4>> weights;
  for (const program::Patch& patch : placement.patches) {
    CHECK(index(patch.array) < placement.arrays);
    CHECK(patch.row + patch.rows <= options.rows);
    CHECK(patch.column + patch.columns <= options.cols);
    for (std::uint32_t i = 0; i < patch.rows; ++i) {
      for (std::uint32_t j = 0; j < patch.columns; ++j) {
        cells.push_back({index(patch.array), patch.row + i, patch.column + j});
        weights.push_back({index(patch.node), patch.stage, patch.in_first + i, patch.out_first + j * patch.out_step});
      }
    }
  }
  const auto all_differ = [](auto& numbers) {
    std::sort(numbers.begin(), numbers.end());
    return std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end();
  };
  CHECK(all_differ(cells));
  CHECK(all_differ(weights));
  CHECK(weights.size() == parameters(graph));
}

TEST_CASE("arrays of BERT-large, by hand: 24 layers") {
  // 4 operators of 4x4 tiles and 2 of 4x16 tiles of 256x256: 192 arrays a layer.
  CHECK(place("linear", bert_large_operators(0)).arrays == 4608);
  // k = l = 32: eight blocks of 32x32 an array, two of 32x128 or 128x32: 4*(4+4) + (4+16) + (16+4) = 72 arrays a layer.
  const Graph blocks = bert_large_operators(32);
  CHECK(place("sparse", blocks).arrays == 1728);
  // 14,155,776 weights need at least 216 arrays of 65,536 cells.
  CHECK(parameters(blocks) == 14'155'776);
  CHECK(place("dense", blocks).arrays == 216);
}

TEST_CASE("every weight has one cell, for awkward shapes and every strategy") {
  const std::vector<Structure> shapes = {Structure::dense(13, 29),           Structure::blocks(13, 29, 4, 3, 2),
                                         Structure::blocks(1, 17, 5, 1, 1),  Structure::blocks(31, 1, 1, 7, 1),
                                         Structure::blocks(64, 64, 8, 8, 1), Structure::blocks(40, 20, 1, 1, 5),
                                         Structure::padded_square(10, 40),   Structure::padded_square(10, 40).trim(),
                                         Structure::blocks(7, 5, 9, 9, 1),   Structure::blocks(100, 90, 2, 3, 7),
                                         Structure::gather(13, 29, 4, 6),    Structure::gather(64, 40, 64, 40),
                                         Structure::gather(41, 23, 7, 1),    Structure::gather(3, 97, 1, 90)};
  for (const StrategyInfo& strategy : strategies()) {
    for (const std::uint32_t edge : {8u, 17u, 32u}) {
      Graph graph;
      for (const Structure& structure : shapes) {
        const NodeId x =
            test::add_node(graph, "x" + std::to_string(graph.nodes.size()), NodeKind::input, {}, structure.in);
        for (int twin = 0; twin < 2; ++twin) {
          const NodeId id =
              test::add_node(graph, "w" + std::to_string(graph.nodes.size()), NodeKind::linear, {x}, structure.out);
          graph.at(id).structure = structure;
        }
      }
      const PlaceOptions options{.rows = edge, .cols = edge + 3, .arrays_per_tile = 4};
      check_cover(graph, place(std::string(strategy.name).c_str(), graph, options), options);
    }
  }
}

TEST_CASE("several strategies share a chip: every weight has one cell, each strategy its own arrays") {
  Graph graph = bert_large_operators(32);
  std::vector<NodeMap> maps;
  std::uint32_t number = 0;
  const std::vector<std::string_view> names = {"linear", "striped", "sparse", "striped", "dense"};
  for (const Node& node : graph.nodes) {
    if (node.kind == NodeKind::linear) maps.push_back({.strategy = names[maps.size() % names.size()]});
  }
  const PlaceOptions options;
  const Result<Placement> mixed = place_mixed(graph, maps, options);
  REQUIRE(mixed);
  check_cover(graph, *mixed, options);
  CHECK(std::is_sorted(mixed->patches.begin(), mixed->patches.end(),
                       [](const program::Patch& a, const program::Patch& b) { return a.array < b.array; }));
  std::map<std::string_view, std::set<std::uint32_t>> arrays;
  std::map<std::uint32_t, std::string_view> map_of;
  for (const Node& node : graph.nodes) {
    if (node.kind == NodeKind::linear) map_of[number] = maps[map_of.size()].strategy;
    ++number;
  }
  for (const program::Patch& patch : mixed->patches) arrays[map_of.at(index(patch.node))].insert(index(patch.array));
  std::set<std::uint32_t> all;
  std::size_t sum = 0;
  for (const auto& [name, own] : arrays) {
    all.insert(own.begin(), own.end());
    sum += own.size();
  }
  CHECK(arrays.size() == 4);
  CHECK(all.size() == sum);
  CHECK(mixed->arrays == sum);
}

TEST_CASE("a mixture of one strategy is that strategy") {
  const Graph graph = bert_large_operators(32);
  std::size_t operators = 0;
  for (const Node& node : graph.nodes) operators += node.kind == NodeKind::linear ? 1 : 0;
  for (const StrategyInfo& strategy : strategies())
    CHECK(place_mixed(graph, std::vector<NodeMap>(operators, {.strategy = strategy.name}), {}).value() ==
          place(std::string(strategy.name).c_str(), graph));
  CHECK(place_mixed(graph, std::vector<NodeMap>(operators, {.strategy = "striped", .sliver = 64}), {}).value() ==
        place("striped", graph, {.sliver = 64}));
}

TEST_CASE("striped takes as many arrays as it is told to") {
  const Graph graph = bert_large_operators(32);
  CHECK(place("striped", graph, {.adcs = 1}).arrays == 216);
  const Placement wide = place("striped", graph, {.adcs = 1, .least_arrays = 400});
  CHECK(wide.arrays == 400);
  check_cover(graph, wide, {.adcs = 1});
}

TEST_CASE("gathered operators of one source share no inputs") {
  // Two operators of one source, each of one block of 4 inputs and 2 outputs: dense operators could share rows and an
  // activation, gathered ones read inputs of their own, so each map puts them where they can fire at the same time.
  Graph graph;
  const NodeId x = test::add_node(graph, "x", NodeKind::input, {}, 8);
  for (const char* name : {"a", "b"}) {
    const NodeId id = test::add_node(graph, name, NodeKind::linear, {x}, 2);
    graph.at(id).structure = Structure::gather(2, 8, 2, 4);
    graph.at(id).structure.selection = draw_selection(graph.at(id).structure, 1, index(id));
  }
  const PlaceOptions options{.rows = 4, .cols = 2, .arrays_per_tile = 1, .adcs = 2};
  for (const char* map : {"sparse", "dense", "striped"}) {
    const Placement placement = place(map, graph, options);
    CHECK(placement.arrays == 2);
    REQUIRE(placement.patches.size() == 2);
    CHECK(placement.patches[0].array != placement.patches[1].array);
  }
}

TEST_CASE("dense keeps live blocks with different inputs apart when there are enough arrays") {
  const Graph graph = bert_large_operators(32);
  const Placement placement = place("dense", graph);
  std::map<std::tuple<std::uint32_t, std::uint32_t>, std::set<std::uint32_t>>
      arrays_of_stage;  // (node, stage) -> arrays
  for (const program::Patch& patch : placement.patches)
    CHECK(arrays_of_stage[{index(patch.node), patch.stage}].insert(index(patch.array)).second);
}

// Stages of bert-large with 32x32 blocks, columns: q, k, v together 3072 twice, o 1024 twice, up 1024 and 4096, down
// 1024 and 1024. On 216 arrays (the bound) of 8 converters, 1728 in all: 2 rounds, hence slivers of 16 columns, for
// 3072 and 3 rounds, 32 columns, for 4096; 1 round, 8 columns, for 1024.
TEST_CASE("striped cuts every stage into slivers for all arrays, none of which gets two if there is a way") {
  const Graph graph = bert_large_operators(32);
  const Placement placement = place("striped", graph);
  CHECK(placement.arrays == 216);
  // Operators with one source are one stage: by source and number of the stage, the places (row, column) in each array.
  using Places = std::set<std::pair<std::uint32_t, std::uint32_t>>;
  std::map<std::tuple<std::uint32_t, std::uint32_t>, std::map<std::uint32_t, Places>> places_of_stage;
  std::map<std::uint32_t, std::uint32_t> patches_of_width;
  for (const program::Patch& patch : placement.patches) {
    ++patches_of_width[patch.columns];
    const std::uint32_t source = index(graph.at(patch.node).sources[0]);
    places_of_stage[{source, patch.stage}][index(patch.array)].emplace(patch.row, patch.column);
  }
  CHECK(patches_of_width ==
        std::map<std::uint32_t, std::uint32_t>{{8, 24 * 5 * 128}, {16, 24 * 2 * 192}, {32, 24 * 128}});
  CHECK(places_of_stage.size() == 24 * 4 * 2);
  for (const auto& [stage, arrays] : places_of_stage) {
    CAPTURE(std::get<0>(stage));
    CAPTURE(std::get<1>(stage));
    for (const auto& [array, places] : arrays) CHECK(places.size() == 1);
  }
}

// Neighbours in a stage are neighbours on the chip: a block is on one tile, the same block of all stages on tiles next
// to each other.
TEST_CASE("striped keeps blocks together, and what one operator writes near where the next one reads it") {
  const Graph graph = bert_large_operators(32);
  const Placement placement = place("striped", graph);
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::set<std::uint32_t>> tiles_of_block;
  std::uint32_t split = 0;
  for (const program::Patch& patch : placement.patches) {
    const Structure& structure = graph.at(patch.node).structure;
    const std::uint32_t block =
        patch.stage == 0 ? patch.in_first / structure.in_block : patch.out_first / structure.out_block;
    const std::uint32_t tile = index(patch.array) / 16;
    tiles_of_block[{index(patch.node), patch.stage, block}].insert(tile);
    // 216 arrays are 13.5 tiles.
    const double expected = (block + 0.5) / 32 * 13.5;
    CHECK(std::abs(tile + 0.5 - expected) < 2);
  }
  for (const auto& [block, tiles] : tiles_of_block) split += tiles.size() > 1 ? 1 : 0;
  CHECK(split * 20 < tiles_of_block.size());
}

/// bert-large with 32x32 blocks, stage by stage: slivers on the arrays (power-of-two sizes: the bound), rounds by hand
/// for 3072, 3072, 1024, 1024, 1024, 4096, 1024, 1024 columns on 216 arrays.
TEST_CASE("rounds of striped bert-large, for any number of converters") {
  const Graph graph = bert_large_operators(32);
  struct Case {
    std::uint32_t adcs;
    std::uint32_t rounds;  ///< of a layer
  };
  // Rounds are powers of two where slivers are as wide: 2 + 2 + 1 + 1 + 1 + 4 + 1 + 1 with 8 converters (at least
  // 2 + 2 + 1 + 1 + 1 + 3 + 1 + 1), 4 + 4 + 2 + 2 + 2 + 8 + 2 + 2 with 4 (4 + 4 + 2 + 2 + 2 + 5 + 2 + 2).
  for (const Case& one : {Case{4, 26}, Case{8, 13}, Case{16, 9}, Case{32, 8}, Case{256, 8}}) {
    CAPTURE(one.adcs);
    const Placement placement = place("striped", graph, {.adcs = one.adcs});
    CHECK(placement.arrays == 216);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::map<std::uint32_t, std::uint32_t>> columns;
    for (const program::Patch& patch : placement.patches)
      columns[{index(graph.at(patch.node).sources[0]), patch.stage}][index(patch.array)] += patch.columns;
    std::uint32_t rounds = 0;
    for (const auto& [stage, arrays] : columns) {
      std::uint32_t most = 0;
      for (const auto& [array, count] : arrays) most = std::max(most, (count + one.adcs - 1) / one.adcs);
      rounds += most;
    }
    CHECK(rounds == 24 * one.rounds);
  }
}

TEST_CASE("what slivers are for decides how wide they are") {
  const Graph graph = bert_large_operators(32);
  const auto widest = [&](const PlaceOptions& options) {
    std::uint32_t columns = 0;
    for (const program::Patch& patch : place("striped", graph, options).patches)
      columns = std::max<std::uint32_t>(columns, patch.columns);
    return columns;
  };
  CHECK(widest({.adcs = 16}) == 32);
  CHECK(widest({.adcs = 16, .mode = Mode::encode}) == 32);
  CHECK(widest({.adcs = 16, .mode = Mode::prefill}) == 128);  // whole blocks of L
  CHECK(widest({.adcs = 16, .objective = Objective::energy}) == 128);
  CHECK(widest({.adcs = 16, .idle_columns_draw = true, .objective = Objective::energy}) == 32);
}

// 24 layers on 216 arrays: where a hop takes longer than all else, in regions of at least 32, that is 6 of 36 arrays
// for 4 layers each, 108 tiles in 11 x 11 (10 rows used).
TEST_CASE("on a mesh a stage spreads as far as the way is worth it") {
  const Graph graph = bert_large_operators(32);
  chip::Chip chip = *chip::load("unit");
  chip.network.topology = chip::Topology::mesh;
  for (const double hop_ns : {0.0, 1000.0}) {
    CAPTURE(hop_ns);
    chip.network.hop_ns = hop_ns;
    const PlaceOptions options{.arrays_per_tile = 2, .mesh = &chip};
    const Placement placement = place("striped", graph, options);
    if (hop_ns > 0) check_cover(graph, placement, options);
    CHECK(placement.arrays * 100 <= 216 * 108);
    std::set<std::uint32_t> arrays;  // of q, k, v of layer 0
    std::uint32_t left = 1000, right = 0, top = 1000, bottom = 0;
    for (const program::Patch& patch : placement.patches) {
      if (index(patch.node) > 3) continue;
      arrays.insert(index(patch.array));
      const std::uint32_t tile = index(patch.array) / 2, side = chip::mesh_side((placement.arrays + 1) / 2);
      left = std::min(left, tile % side), right = std::max(right, tile % side);
      top = std::min(top, tile / side), bottom = std::max(bottom, tile / side);
    }
    CHECK(arrays.size() <= (hop_ns > 0 ? 40 : 216));
    // 18 tiles: 4 x 5 at best.
    if (hop_ns > 0) CHECK(right - left + bottom - top <= 12);
    CHECK(place("striped", graph, {.objective = Objective::arrays, .mesh = &chip}).arrays == 216);
  }
}

TEST_CASE("the width of slivers can be given") {
  const Graph graph = bert_large_operators(32);
  const Placement whole = place("striped", graph, {.sliver = 256});
  CHECK(whole.arrays == 228);  // slivers of 96 columns: two on a shelf of 256
  const Placement narrow = place("striped", graph, {.sliver = 5});
  for (const program::Patch& patch : narrow.patches) CHECK(patch.columns <= 5);
}

// 24 layers of 72 arrays: q, k, v, o 2 stages of 4 arrays each, up and down 4 + 16 arrays each.
TEST_CASE("passes hold whole operators in the order of execution") {
  const Graph graph = bert_large_operators(32);
  for (const char* name : {"sparse", "dense"}) {
    CAPTURE(name);
    const StrategyInfo& strategy = **find_strategy(name);
    for (const std::uint64_t available :
         {std::uint64_t{1}, std::uint64_t{40}, std::uint64_t{80}, std::uint64_t{3000}}) {
      CAPTURE(available);
      const Placement placement = place_in_passes(graph, strategy, {}, available).value();
      if (available == 80) check_cover(graph, placement, {});
      CHECK(std::is_sorted(placement.patches.begin(), placement.patches.end(),
                           [](const program::Patch& a, const program::Patch& b) { return a.array < b.array; }));
      // Operators go on where the one before is: none returns to an earlier pass, and q, k, v of a layer are together
      // where they fit.
      std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> passes;  // of each node: first, last
      for (const program::Patch& patch : placement.patches) {
        const std::uint64_t pass = index(patch.array) / available;
        const auto found = passes.try_emplace(index(patch.node), pass, pass).first;
        found->second = {std::min(found->second.first, pass), std::max(found->second.second, pass)};
      }
      std::uint64_t last = 0;
      for (const auto& [node, range] : passes) {
        if (available >= 40) {
          CHECK(range.first == range.second);
          CHECK(range.first >= last);
        }
        last = range.second;
      }
    }
  }
  // Sparse on 80 arrays: a layer's 72 arrays, and 8 of q, k, v (24) do not fit with it: one layer a pass.
  CHECK(place_in_passes(graph, **find_strategy("sparse"), {}, 80)->arrays == 23 * 80 + 72);
}

TEST_CASE("placements round-trip as JSON") {
  const Graph graph = test::decoder_layer(8, 2, 1, 12, 2, 2, 1);
  const Placement placement = place("dense", graph, {.rows = 8, .cols = 8, .arrays_per_tile = 2});
  const std::string json = to_json(graph, placement);
  const Result<Placement> again = placement_from_json(graph, json, "p.json");
  REQUIRE(again.has_value());
  CHECK(*again == placement);
}

TEST_CASE("a damaged placement is refused with its place") {
  const Graph graph = test::decoder_layer(8, 2, 1, 12, 2, 2, 1);
  const auto id_of = [&](std::string_view text) { return placement_from_json(graph, text, "p.json").error().id; };
  CHECK(id_of("{") == "placement.syntax");
  CHECK(id_of("[]") == "placement.syntax");
  CHECK(id_of(R"({"schema": "danaus.placement/1", "arrays": -1, "patches": []})") == "placement.syntax");
  CHECK(id_of(R"({"schema": "danaus.placement/1", "arrays": 1, "patches": [{}]})") == "placement.patch");
  const Result<Placement> misspelt = placement_from_json(
      graph,
      R"({"schema": "danaus.placement/1", "arrays": 1, "patches": [{"array": 0, "row": 0, "column": 0, "rows": 4, "columns": 2,
               "operator": "oo", "stage": "R", "in": 0, "out": 0, "out_step": 2}]})",
      "p.json");
  REQUIRE(!misspelt.has_value());
  CHECK(misspelt.error().hint == "did you mean 'o'?");
}

TEST_CASE("an unknown mapping gets a spelling hint") {
  CHECK(find_strategy("spares").error().hint ==
        "did you mean 'sparse'? (mappings: dense, dense-diagonal, linear, linear-striped, sparse, striped)");
}

}  // namespace
}  // namespace danaus::compile
