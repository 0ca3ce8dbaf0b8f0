// Several strategies on one chip. Each places its own operators from array 0 on; those of the next one come behind.
// Strategies know nothing of each other, so what a strategy promises holds for its part.

#include <algorithm>
#include <map>
#include <utility>

#include "danaus/compile/compile.h"
#include "danaus/compile/place/pieces.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {

Result<Placement> place_mixed(const Graph& graph, const std::vector<NodeMap>& maps, PlaceOptions options) {
  const std::vector<NodeId> nodes = linear_nodes(graph, {});
  ensure(maps.size() == nodes.size(), "one map for every linear node");
  std::map<std::string_view, std::vector<NodeId>> nodes_of;
  options.slivers.assign(graph.nodes.size(), 0);
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    nodes_of[maps[n].strategy].push_back(nodes[n]);
    options.slivers[index(nodes[n])] = maps[n].sliver;
  }
  Placement all;
  for (auto& [name, own] : nodes_of) {
    DANAUS_TRY(strategy, find_strategy(name));
    options.nodes = std::move(own);
    DANAUS_TRY(placement, strategy->place(graph, options));
    ensure(placement.copies.empty(), "strategies make no copies");
    for (program::Patch& patch : placement.patches) {
      patch.array = ArrayId{all.arrays + index(patch.array)};
      all.patches.push_back(patch);
    }
    all.arrays += placement.arrays;
  }
  return all;
}

}  // namespace danaus::compile
