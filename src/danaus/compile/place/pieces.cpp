#include "danaus/compile/place/pieces.h"

#include <algorithm>
#include <tuple>

#include "danaus/compile/injection.h"

namespace danaus::compile {
namespace {

/// The borders of the tiles of a range of `count`, at most `edge` each.
std::vector<std::uint32_t> tile_borders(std::uint32_t count, std::uint32_t edge, bool full_tiles) {
  const std::uint32_t tiles = (count + edge - 1) / edge;
  std::vector<std::uint32_t> borders(tiles + 1);
  for (std::uint32_t t = 0; t <= tiles; ++t) {
    borders[t] = full_tiles ? std::min(count, t * edge)
                            : static_cast<std::uint32_t>((std::uint64_t{count} * t + tiles - 1) / tiles);
  }
  return borders;
}

}  // namespace

std::vector<Piece> cut(const Graph& graph, NodeId node, std::uint8_t stage, const PlaceOptions& options,
                       bool full_tiles) {
  const Structure& structure = graph.at(node).structure;
  std::vector<Piece> pieces;
  for (std::uint32_t number = 0; number < structure.block_count(stage); ++number) {
    const Block block = structure.block(stage, number);
    const std::vector<std::uint32_t> rows = tile_borders(block.in_count, options.rows, full_tiles);
    const std::vector<std::uint32_t> columns = tile_borders(block.out_count, options.cols, full_tiles);
    for (std::size_t c = 0; c + DANAUS_BUG(2, 1u, columns.size() > 2 ? 2u : 1u) < columns.size(); ++c) {
      for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
        pieces.push_back({.node = node,
                          .stage = stage,
                          .block = number,
                          .in_first = block.in_first + rows[r] + DANAUS_BUG(1, 0u, rows[r] > 0 ? 1u : 0u),
                          .rows = rows[r + 1] - rows[r],
                          .out_first = block.out_first + columns[c] * block.out_step,
                          .out_step = block.out_step,
                          .columns = columns[c + 1] - columns[c]});
      }
    }
  }
  return pieces;
}

std::vector<NodeId> linear_nodes(const Graph& graph, const PlaceOptions& options) {
  if (!options.nodes.empty()) return options.nodes;
  std::vector<NodeId> nodes;
  for (std::size_t number = 0; number < graph.nodes.size(); ++number) {
    if (graph.nodes[number].kind == NodeKind::linear) nodes.push_back(NodeId{static_cast<std::uint32_t>(number)});
  }
  return nodes;
}

bool reads_with(const Graph& graph, NodeId before, NodeId node) {
  const std::vector<NodeId>& sources = graph.at(before).sources;
  for (std::uint32_t between = index(before); between <= index(node); ++between) {
    const Node& other = graph.nodes[between];
    if (other.kind != NodeKind::linear || other.sources != sources) return false;
  }
  return true;
}

InputSpace input_space(const Graph& graph, NodeId node) {
  return graph.at(node).structure.kind == Structure::Kind::gather ? 1 + index(node) : 0;
}

program::Patch patch_for(const Piece& piece, std::uint32_t array, std::uint32_t row, std::uint32_t column) {
  // With one column the step says nothing; 1 is its canonical value and keeps every step within 16 bits.
  const auto narrow = [](std::uint32_t value) { return static_cast<std::uint16_t>(value); };
  return {.array = ArrayId{array},
          .node = piece.node,
          .row = narrow(row),
          .column = narrow(column),
          .rows = narrow(piece.rows),
          .columns = narrow(piece.columns),
          .in_first = piece.in_first,
          .out_first = piece.out_first,
          .in_step = 1,
          .out_step = piece.columns == 1 || DANAUS_BUG(6, false, true) ? std::uint16_t{1} : narrow(piece.out_step),
          .stage = piece.stage};
}

Placement finish(std::vector<program::Patch> patches, std::uint32_t arrays) {
  const auto position = [](const program::Patch& patch) { return std::tuple(patch.array, patch.row, patch.column); };
  std::sort(patches.begin(), patches.end(),
            [&](const program::Patch& a, const program::Patch& b) { return position(a) < position(b); });
  return Placement{.arrays = arrays, .patches = std::move(patches), .copies = {}};
}

}  // namespace danaus::compile
