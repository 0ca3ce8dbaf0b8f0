// SparseMap: floor(m / max(rows, columns)) blocks of one stage along the diagonal of an array, block n at
// (n*rows, n*columns), the rest zero. Rows and columns of different blocks meet only in unprogrammed cells, so the
// whole array fires at once.
#include "danaus/compile/place/sparse/sparse.h"

#include <algorithm>

#include "danaus/compile/injection.h"
#include "danaus/compile/place/pieces.h"

namespace danaus::compile {

Result<Placement> place_sparse(const Graph& graph, const PlaceOptions& options) {
  std::vector<program::Patch> patches;
  std::uint32_t arrays = 0;
  for (const NodeId node : linear_nodes(graph, options)) {
    const Structure& structure = graph.at(node).structure;
    for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
      const std::vector<Piece> pieces =
          cut(graph, node, static_cast<std::uint8_t>(stage), options, structure.kind == Structure::Kind::dense);
      std::uint32_t rows = 1, columns = 1;
      for (const Piece& piece : pieces) {
        rows = std::max(rows, piece.rows);
        columns = std::max(columns, piece.columns);
      }
      const std::uint32_t per_array = std::min(options.rows / rows, options.cols / columns);
      for (std::uint32_t number = 0; number < pieces.size(); ++number) {
        const std::uint32_t slot = number % per_array / DANAUS_BUG(3, 1u, 2u);
        patches.push_back(patch_for(pieces[number], arrays + number / per_array, slot * rows, slot * columns));
      }
      arrays += (static_cast<std::uint32_t>(pieces.size()) + per_array - 1) / per_array;
    }
  }
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
