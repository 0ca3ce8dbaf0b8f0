// DenseMap: as few arrays as possible. Pieces of one size (height, width) share shelves: `height` rows over the whole width
// of an array. The shelves are packed into arrays first, tallest first (exact for heights that divide each other), which
// fixes the number of arrays; then the pieces are dealt onto the slots, stage by stage, round robin over the arrays. Pieces that are live
// together land in different arrays as long as there are enough of them, so that they need not wait for each other;
// pieces with the same input (Q/K/V, gate/up) share a shelf, so that one activation can serve them.
#include "danaus/compile/place/dense/dense.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "danaus/compile/place/pieces.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

struct Shelf {
  std::uint32_t row = 0;
  std::uint32_t used = 0;  ///< slots filled from the left
};

/// The shelves of one piece size, array by array; arrays without a free slot leave the ring.
struct SizeClass {
  std::uint32_t height = 0, width = 0, per_shelf = 0;
  std::uint32_t pieces = 0;
  struct Host {
    std::uint32_t array = 0;
    std::vector<Shelf> shelves;
    std::uint32_t next = 0;  ///< ring of hosts with free slots
  };
  std::vector<Host> hosts;
  std::uint32_t cursor = 0;  ///< the host before the next one to try
};

/// Pieces that read the same input in the same stage: rows can be shared.
struct Bundle {
  std::uint64_t stage = 0;
  std::uint32_t input = 0;
  std::vector<Piece> pieces;
};

/// What an array does in the stage that is being dealt.
struct Live {
  std::uint64_t stage = 0;  ///< last stage that put a piece here ...
  std::uint32_t input = 0;  ///< ... and the input that it reads
};

bool clashes(const Live& live, const Bundle& bundle) { return live.stage == bundle.stage && live.input != bundle.input; }

/// The shelf of a host with room for `slots` more pieces, the fullest such; null if there is none.
Shelf* find_shelf(SizeClass& size, SizeClass::Host& host, std::uint32_t slots) {
  Shelf* best = nullptr;
  for (Shelf& shelf : host.shelves) {
    if (shelf.used + slots <= size.per_shelf && (best == nullptr || shelf.used > best->used)) best = &shelf;
  }
  return best;
}

/// Goes round the ring from the cursor to the first host with room in one shelf and nothing else live; without such a
/// host, to the first one with room. Returns false when no shelf has room for all.
bool deal(SizeClass& size, const Bundle& bundle, std::vector<Live>& live, std::vector<program::Patch>& patches) {
  const auto slots = static_cast<std::uint32_t>(bundle.pieces.size());
  if (size.hosts.empty()) return false;
  std::uint32_t before = size.cursor, fallback_before = 0;
  bool found = false, fallback = false;
  do {
    SizeClass::Host& host = size.hosts[size.hosts[before].next];
    if (find_shelf(size, host, slots) != nullptr) {
      if (!clashes(live[host.array], bundle)) {
        found = true;
        break;
      }
      if (!fallback) {
        fallback = true;
        fallback_before = before;
      }
    }
    before = size.hosts[before].next;
  } while (before != size.cursor);
  if (!found) {
    if (!fallback) return false;
    before = fallback_before;
  }
  const std::uint32_t chosen = size.hosts[before].next;
  SizeClass::Host& host = size.hosts[chosen];
  Shelf& shelf = *find_shelf(size, host, slots);
  for (const Piece& piece : bundle.pieces) patches.push_back(patch_for(piece, host.array, shelf.row, shelf.used++ * size.width));
  live[host.array] = {.stage = bundle.stage, .input = bundle.input};
  const bool full = std::all_of(host.shelves.begin(), host.shelves.end(),
                                [&](const Shelf& candidate) { return candidate.used == size.per_shelf; });
  if (full) {
    // Out of the ring; the cursor stays before the next host.
    size.hosts[before].next = host.next;
    size.cursor = before;
  } else {
    size.cursor = chosen;
  }
  return true;
}

}  // namespace

Result<Placement> place_dense(const Graph& graph, const PlaceOptions& options) {
  // Bundles in the order in which the stages are executed. A stage of a group of operators with the same source is live at once.
  std::vector<Bundle> bundles;
  std::map<std::pair<std::uint32_t, std::uint32_t>, SizeClass, std::greater<>> sizes;  // tallest, then widest first
  const std::vector<NodeId> nodes = linear_nodes(graph);
  std::uint64_t stage_number = 0;
  for (std::size_t first = 0; first < nodes.size();) {
    std::size_t last = first + 1;
    while (last < nodes.size() && index(nodes[last]) == index(nodes[last - 1]) + 1 &&
           graph.at(nodes[last]).sources == graph.at(nodes[first]).sources)
      ++last;
    for (std::uint32_t stage = 0; stage < 2; ++stage) {
      ++stage_number;
      std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::size_t> same_input;  // first bundle of this stage's input
      for (std::size_t n = first; n < last; ++n) {
        const Structure& structure = graph.at(nodes[n]).structure;
        if (stage >= structure.stages()) continue;
        for (const Piece& piece : cut(graph, nodes[n], static_cast<std::uint8_t>(stage), options, structure.kind == Structure::Kind::dense)) {
          SizeClass& size = sizes[{piece.rows, piece.columns}];
          size.height = piece.rows;
          size.width = piece.columns;
          ++size.pieces;
          const bool shared = stage == 0;  // later stages have an input of their own for every operator
          const auto key = std::tuple(piece.in_first, piece.rows, piece.columns);
          const auto twin = shared ? same_input.find(key) : same_input.end();
          if (twin != same_input.end() && bundles[twin->second].pieces.size() < options.cols / piece.columns) {
            bundles[twin->second].pieces.push_back(piece);
          } else {
            const auto number = static_cast<std::uint32_t>(bundles.size());
            bundles.push_back({.stage = stage_number, .input = number, .pieces = {piece}});
            if (shared) same_input[key] = number;
          }
        }
      }
    }
    first = last;
  }

  // Shelves into arrays: first fit over heights in descending order. Arrays with the same free height are equal, so
  // keeping, per free height, the lowest array is enough; free heights are few.
  std::uint32_t arrays = 0;
  std::map<std::uint32_t, std::vector<std::uint32_t>> by_free_height;  // free rows -> arrays, last = next to use
  for (auto& [edge, size] : sizes) {
    size.per_shelf = options.cols / size.width;
    const std::uint32_t shelves = (size.pieces + size.per_shelf - 1) / size.per_shelf;
    for (std::uint32_t s = 0; s < shelves; ++s) {
      auto open = by_free_height.lower_bound(size.height);  // best fit
      while (open != by_free_height.end() && open->second.empty()) open = by_free_height.erase(open);
      std::uint32_t array = 0, free_height = 0;
      if (open == by_free_height.end()) {
        array = arrays++;
        free_height = options.rows;
      } else {
        free_height = open->first;
        array = open->second.back();
        open->second.pop_back();
      }
      if (size.hosts.empty() || size.hosts.back().array != array)
        size.hosts.push_back({.array = array, .shelves = {}});
      size.hosts.back().shelves.push_back({.row = options.rows - free_height});
      by_free_height[free_height - size.height].push_back(array);
    }
    for (std::uint32_t h = 0; h < size.hosts.size(); ++h)
      size.hosts[h].next = (h + 1) % static_cast<std::uint32_t>(size.hosts.size());
    size.cursor = static_cast<std::uint32_t>(size.hosts.size()) - 1;
  }

  std::vector<program::Patch> patches;
  std::vector<Live> live(arrays);
  for (const Bundle& bundle : bundles) {
    SizeClass& size = sizes[{bundle.pieces.front().rows, bundle.pieces.front().columns}];
    if (deal(size, bundle, live, patches)) continue;
    for (const Piece& piece : bundle.pieces) {  // no shelf has room for all: one by one
      const bool dealt = deal(size, {.stage = bundle.stage, .input = bundle.input, .pieces = {piece}}, live, patches);
      ensure(dealt, "there is a shelf slot for every piece");
    }
  }
  return finish(graph, std::move(patches), arrays, options);
}

}  // namespace danaus::compile
