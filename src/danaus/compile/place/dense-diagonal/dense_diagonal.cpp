// DenseMap as it was published: the unit of placement is a diagonal. Pieces of one size see an array as a grid of
// slots; min(row slots, column slots) neighbours of a stage lie along one of its diagonals, which wraps around, so that
// max(row slots, column slots) diagonals fill the array without a gap. The blocks of a diagonal have inputs and outputs
// of their own, and the rows of each cross the columns of other diagonals: the isolation rule makes them fire one after
// the other. Diagonals are dealt round robin, so that those of one stage lie in different arrays. A diagonal rotates
// its outputs by its index; rotations are addresses here, so any index will do (the published pairing of a second stage
// with the opposite index would cost nothing and gain nothing).
#include "danaus/compile/place/dense-diagonal/dense_diagonal.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "danaus/compile/place/pieces.h"

namespace danaus::compile {
namespace {

using Size = std::pair<std::uint32_t, std::uint32_t>;  ///< rows, columns
using Diagonal = std::vector<Piece>;

/// Pieces of one size in the order of execution, in diagonals that no stage shares with another.
using Diagonals = std::map<Size, std::vector<Diagonal>, std::greater<>>;

void add_stage(const std::vector<Piece>& pieces, const PlaceOptions& options, Diagonals& diagonals) {
  std::map<Size, Diagonal> open;
  for (const Piece& piece : pieces) {
    const Size size(piece.rows, piece.columns);
    Diagonal& diagonal = open[size];
    diagonal.push_back(piece);
    if (diagonal.size() < std::min(options.rows / piece.rows, options.cols / piece.columns)) continue;
    diagonals[size].push_back(std::move(diagonal));
    diagonal.clear();
  }
  for (auto& [size, diagonal] : open) {
    if (!diagonal.empty()) diagonals[size].push_back(std::move(diagonal));
  }
}

}  // namespace

Result<Placement> place_dense_diagonal(const Graph& graph, const PlaceOptions& options) {
  Diagonals diagonals;
  for (const NodeId node : linear_nodes(graph, options)) {
    const Structure& structure = graph.at(node).structure;
    for (std::uint32_t stage = 0; stage < structure.stages(); ++stage)
      add_stage(cut(graph, node, static_cast<std::uint8_t>(stage), options, structure.kind == Structure::Kind::dense),
                options, diagonals);
  }
  std::vector<program::Patch> patches;
  std::uint32_t arrays = 0;
  for (const auto& [size, of_size] : diagonals) {
    const auto [height, width] = size;
    const std::uint32_t row_slots = options.rows / height, column_slots = options.cols / width;
    const auto count = static_cast<std::uint32_t>(of_size.size());
    const std::uint32_t per_array = std::max(row_slots, column_slots);
    const std::uint32_t own_arrays = (count + per_array - 1) / per_array;
    for (std::uint32_t number = 0; number < count; ++number) {
      const std::uint32_t array = arrays + number % own_arrays, turn = number / own_arrays;
      for (std::uint32_t n = 0; n < of_size[number].size(); ++n) {
        const std::uint32_t row = (row_slots < column_slots ? n : n + turn) % row_slots;
        const std::uint32_t column = (row_slots < column_slots ? n + turn : n) % column_slots;
        patches.push_back(patch_for(of_size[number][n], array, row * height, column * width));
      }
    }
    arrays += own_arrays;
  }
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
