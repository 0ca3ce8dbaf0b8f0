// The dense baseline: every operator in m x m tiles and a rest, one tile an array. The row tiles of a column tile are
// neighbours, so that most partial sums meet within a tile of arrays and need no network.
#include "danaus/compile/place/linear/linear.h"

#include "danaus/compile/place/pieces.h"

namespace danaus::compile {

Result<Placement> place_linear(const Graph& graph, const PlaceOptions& options) {
  std::vector<program::Patch> patches;
  std::uint32_t arrays = 0;
  for (const NodeId node : linear_nodes(graph, options)) {
    for (std::uint32_t stage = 0; stage < graph.at(node).structure.stages(); ++stage) {
      for (const Piece& piece : cut(graph, node, static_cast<std::uint8_t>(stage), options, true))
        patches.push_back(patch_for(piece, arrays++, 0, 0));
    }
  }
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
