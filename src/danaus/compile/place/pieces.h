#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "danaus/compile/compile.h"

/// What all strategies share: blocks cut to the array, and the sorted placement.
namespace danaus::compile {

/// A block of a stage, or the part of it that fits into an array. Occupies `rows` inputs and `columns` outputs.
struct Piece {
  NodeId node{};
  std::uint8_t stage = 0;
  std::uint32_t block = 0;
  std::uint32_t in_first = 0;
  std::uint32_t rows = 0;
  std::uint32_t out_first = 0;
  std::uint32_t out_step = 1;
  std::uint32_t columns = 0;
};

/// The blocks of one stage in order, each cut into ceil(rows / m) x ceil(columns / m) tiles, row tiles of one column
/// tile next to each other. Equal tiles (sizes differ by at most one) or, with `full_tiles`, m x m tiles and a rest.
std::vector<Piece> cut(const Graph& graph, NodeId node, std::uint8_t stage, const PlaceOptions& options,
                       bool full_tiles);

/// Linear nodes of the graph that are to be placed, in order.
std::vector<NodeId> linear_nodes(const Graph& graph, const PlaceOptions& options);

/// Whether a linear node is executed together with one before it: both read the same value, and so do all between.
bool reads_with(const Graph& graph, NodeId before, NodeId node);

/// What the first stages of operators with one source have in common: equal numbers of stage inputs mean equal inputs
/// only in equal spaces. Gathered operators count in lists of their own.
using InputSpace = std::uint32_t;
InputSpace input_space(const Graph& graph, NodeId node);

program::Patch patch_for(const Piece& piece, std::uint32_t array, std::uint32_t row, std::uint32_t column);

/// Sorts the patches.
Placement finish(std::vector<program::Patch> patches, std::uint32_t arrays);

}  // namespace danaus::compile
