#pragma once

#include <cstdint>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/machine/list/list_machine.h"

/// Which tile holds which part of the weights.
namespace danaus::machine::list {

/// A matrix in parts of array.rows x array.cols. Part (i, j) takes inputs i·rows … and gives outputs j·cols ….
struct Matrix {
  std::uint32_t in = 0, out = 0;
  std::uint32_t row_parts = 0, column_parts = 0;
  std::vector<std::uint32_t> tiles;  ///< part (i, j) at i · column_parts + j
  std::uint32_t parts() const { return row_parts * column_parts; }
};

struct Layer {
  Matrix query, key, value, output, up, down;
};

struct Mapping {
  std::uint32_t tiles = 0;  ///< of the chip
  std::uint64_t tiers = 0;  ///< that hold weights
  std::uint64_t parameters = 0;
  Matrix embedding, positions, head;  ///< decoder only
  std::vector<Layer> layers;
};

/// Part after part onto the tile with the fewest used tiers, of those the first. The parts of an embedding that give
/// the same outputs share a tile while it has tiers. Errors: list.capacity, list.too-large.
Result<Mapping> map_weights(const Transformer& transformer, const chip::Chip& chip);

}  // namespace danaus::machine::list
