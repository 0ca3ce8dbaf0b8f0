// DenseMap as it was published: the unit of placement is a diagonal. Pieces of one size see an array as a grid of
// slots; min(row slots, column slots) neighbours of a stage lie along one of its diagonals, and max(row slots, column
// slots) diagonals fill the array without a gap. The blocks of a diagonal have inputs and outputs of their own, and the
// rows of each cross the columns of other diagonals: the isolation rule makes them fire in steps, in a full array one
// after the other. Diagonals are dealt round robin, so that those of one stage lie in different arrays.
//
// The published diagonals are rotated: block n at n + i. A full array takes as many steps with any other disjoint
// diagonals. Arrays that are not to be full, because there are few diagonals or PlaceOptions::least_arrays asks for
// more arrays, have those of index_sets.h, which take fewer steps, on grids of powers of two. Rotations are addresses
// here, so that the published pairing of a second stage with the opposite index would cost nothing and gain nothing.
#include "danaus/compile/place/dense-diagonal/dense_diagonal.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <utility>

#include "danaus/compile/place/dense-diagonal/index_sets.h"
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

/// The slots of a size in an array: diagonals have `across` pieces, and `along` diagonals fill the array.
struct Grid {
  bool tall = false;  ///< at least as many slots below each other as side by side
  std::uint32_t across = 0, along = 0;
};

Grid grid_of(const Size& size, const PlaceOptions& options) {
  const std::uint32_t rows = options.rows / size.first, columns = options.cols / size.second;
  return {.tall = rows >= columns, .across = std::min(rows, columns), .along = std::max(rows, columns)};
}

/// Slots along the longer side of piece `n` of the diagonals that share an array, `count` of them: by turn, then n.
std::vector<std::vector<std::uint32_t>> slots_of_diagonals(const Grid& grid, std::uint32_t count) {
  std::vector<std::vector<std::uint32_t>> slots(count, std::vector<std::uint32_t>(grid.across));
  const bool in_squares = count < grid.along && std::has_single_bit(grid.across) && std::has_single_bit(grid.along);
  const std::uint32_t squares = in_squares ? grid.along / grid.across : 1;  // side by side, each with a set of its own
  for (std::uint32_t square = 0; square < std::min(squares, count); ++square) {
    const std::uint32_t in_square = (count - square + squares - 1) / squares;
    const std::vector<std::uint32_t> indices =
        in_squares ? index_set(grid.across, in_square) : std::vector<std::uint32_t>();
    for (std::uint32_t k = 0; k < in_square; ++k) {
      const std::uint32_t turn = k * squares + square;
      for (std::uint32_t n = 0; n < grid.across; ++n)
        slots[turn][n] = in_squares ? square * grid.across + (n ^ indices[k]) : (n + turn) % grid.along;
    }
  }
  return slots;
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
  const auto fewest_arrays = [&](const Size& size, const std::vector<Diagonal>& of_size) {
    return (of_size.size() + grid_of(size, options).along - 1) / grid_of(size, options).along;
  };
  std::uint64_t fewest = 0;
  for (const auto& [size, of_size] : diagonals) fewest += fewest_arrays(size, of_size);
  std::vector<program::Patch> patches;
  std::uint32_t arrays = 0;
  for (const auto& [size, of_size] : diagonals) {
    const auto [height, width] = size;
    const Grid grid = grid_of(size, options);
    const auto count = static_cast<std::uint32_t>(of_size.size());
    // Its part of the arrays that there have to be.
    const std::uint64_t own_fewest = fewest_arrays(size, of_size);
    const auto own_arrays = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(count, std::max(own_fewest, own_fewest * options.least_arrays / fewest)));
    const std::vector<std::vector<std::uint32_t>> slots =
        slots_of_diagonals(grid, (count + own_arrays - 1) / own_arrays);
    for (std::uint32_t number = 0; number < count; ++number) {
      const std::uint32_t array = arrays + number % own_arrays, turn = number / own_arrays;
      for (std::uint32_t n = 0; n < of_size[number].size(); ++n) {
        const std::uint32_t row = grid.tall ? slots[turn][n] : n, column = grid.tall ? n : slots[turn][n];
        patches.push_back(patch_for(of_size[number][n], array, row * height, column * width));
      }
    }
    arrays += own_arrays;
  }
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
