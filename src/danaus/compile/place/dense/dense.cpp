// DenseMap: as few arrays as possible. Pieces of one size (height, width) share shelves: rectangles of `height` rows
// and a multiple of `width` columns. Shelves are cut from what is free, tallest first (exact for heights that divide
// each other); what a shelf leaves free to its right and below goes to smaller pieces. That fixes the number of arrays.
// Then the pieces are dealt onto the slots, stage by stage, round robin over the arrays: pieces that are live together
// land in different arrays as long as there are enough of them, so that they need not wait for each other; pieces with
// the same input (Q/K/V, gate/up) share a shelf, so that one activation can serve them.
#include "danaus/compile/place/dense/dense.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "danaus/compile/injection.h"
#include "danaus/compile/place/pieces.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

struct Shelf {
  std::uint32_t row = 0;
  std::uint32_t column = 0;
  std::uint32_t slots = 0;
  std::uint32_t used = 0;  ///< slots filled from the left
};

/// A free rectangle of an array.
struct Room {
  std::uint32_t array = 0, row = 0, column = 0, height = 0, width = 0;
};

/// Free rectangles by height and width. Those that no piece fits into are forgotten.
class Rooms {
 public:
  Rooms(std::uint32_t least_height, std::uint32_t least_width)
      : least_height_(least_height), least_width_(least_width) {}

  void add(const Room& room) {
    if (room.height >= least_height_ && room.width >= least_width_) by_size_[{room.height, room.width}].push_back(room);
  }
  /// Takes out the lowest, then narrowest room for a piece; nothing if there is none.
  std::optional<Room> take(std::uint32_t height, std::uint32_t width) {
    for (auto entry = by_size_.lower_bound({height, width}); entry != by_size_.end(); ++entry) {
      if (entry->first.second < width) continue;
      const Room room = entry->second.back();
      entry->second.pop_back();
      if (entry->second.empty()) by_size_.erase(entry);
      return room;
    }
    return std::nullopt;
  }

 private:
  std::uint32_t least_height_, least_width_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<Room>> by_size_;
};

/// The shelves of one piece size, array by array; arrays without a free slot leave the ring.
struct SizeClass {
  std::uint32_t width = 0;
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
  std::uint64_t stage = 0;   ///< last stage that put a piece here ...
  std::uint32_t inputs = 0;  ///< ... how many different inputs it reads here ...
  std::uint32_t last = 0;    ///< ... and the last of them

  /// Inputs that this bundle would have to wait for.
  std::uint32_t waits_for(const Bundle& bundle) const {
    return stage != bundle.stage ? 0 : last == bundle.input ? inputs - 1 : inputs;
  }
  void add(const Bundle& bundle) {
    inputs = waits_for(bundle) + 1;
    stage = bundle.stage;
    last = bundle.input;
  }
};

/// The shelf of a host with room for `slots` more pieces, the fullest such; null if there is none.
Shelf* find_shelf(SizeClass::Host& host, std::uint32_t slots) {
  Shelf* best = nullptr;
  for (Shelf& shelf : host.shelves) {
    if (shelf.used + slots <= shelf.slots && (best == nullptr || shelf.used > best->used)) best = &shelf;
  }
  return best;
}

/// Goes round the ring from the cursor to the first host with room in one shelf where the bundle waits for nothing or,
/// without such a host, for the fewest others. Returns false when no shelf has room for all.
bool deal(SizeClass& size, const Bundle& bundle, std::vector<Live>& live, std::vector<program::Patch>& patches) {
  const auto slots = static_cast<std::uint32_t>(bundle.pieces.size());
  std::optional<std::uint32_t> best;  // the host before the best one
  std::uint32_t least = 0;
  std::uint32_t candidate = size.cursor;
  do {
    SizeClass::Host& host = size.hosts[size.hosts[candidate].next];
    const std::uint32_t waits = live[host.array].waits_for(bundle);
    if ((!best || waits < least) && find_shelf(host, slots) != nullptr) {
      best = candidate;
      least = waits;
      if (waits == 0) break;
    }
    candidate = size.hosts[candidate].next;
  } while (candidate != size.cursor);
  if (!best) return false;
  const std::uint32_t before = *best;
  const std::uint32_t chosen = size.hosts[before].next;
  SizeClass::Host& host = size.hosts[chosen];
  Shelf& shelf = *find_shelf(host, slots);
  for (const Piece& piece : bundle.pieces)
    patches.push_back(patch_for(piece, host.array, shelf.row,
                                shelf.column + DANAUS_BUG(4, shelf.used++, shelf.used++ / 2 * 2) * size.width));
  live[host.array].add(bundle);
  const bool full =
      std::all_of(host.shelves.begin(), host.shelves.end(), [](const Shelf& each) { return each.used == each.slots; });
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
  // Bundles in the order in which the stages are executed. A stage of a group of operators with the same source is live
  // at once.
  std::vector<Bundle> bundles;
  std::map<std::pair<std::uint32_t, std::uint32_t>, SizeClass, std::greater<>> sizes;  // tallest, then widest first
  const std::vector<NodeId> nodes = linear_nodes(graph, options);
  std::uint64_t stage_number = 0;
  for (std::size_t first = 0; first < nodes.size();) {
    std::size_t last = first + 1;
    while (last < nodes.size() && reads_with(graph, nodes[last - 1], nodes[last])) ++last;
    for (std::uint32_t stage = 0; stage < 2; ++stage) {
      ++stage_number;
      std::map<std::tuple<InputSpace, std::uint32_t, std::uint32_t, std::uint32_t>, std::size_t>
          same_input;  // first bundle of this stage's input
      for (std::size_t n = first; n < last; ++n) {
        const Structure& structure = graph.at(nodes[n]).structure;
        if (stage >= structure.stages()) continue;
        for (const Piece& piece : cut(graph, nodes[n], static_cast<std::uint8_t>(stage), options,
                                      structure.kind == Structure::Kind::dense)) {
          SizeClass& size = sizes[{piece.rows, piece.columns}];
          size.width = piece.columns;
          ++size.pieces;
          const bool shared = stage == 0;  // later stages have an input of their own for every operator
          const auto key = std::tuple(input_space(graph, nodes[n]), piece.in_first, piece.rows, piece.columns);
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

  std::uint32_t least_height = options.rows, least_width = options.cols;
  for (const auto& [edge, size] : sizes) {
    least_height = std::min(least_height, edge.first);
    least_width = std::min(least_width, edge.second);
  }
  Rooms rooms(least_height, least_width);
  std::uint32_t arrays = 0;
  for (auto& [edge, size] : sizes) {
    const auto [height, width] = edge;
    std::map<std::uint32_t, std::vector<Shelf>> shelves;  // by array
    for (std::uint32_t left = size.pieces; left > 0;) {
      std::optional<Room> room = rooms.take(height, width);
      if (!room) room = Room{.array = arrays++, .row = 0, .column = 0, .height = options.rows, .width = options.cols};
      const std::uint32_t slots = std::min(left, room->width / width);
      shelves[room->array].push_back({.row = room->row, .column = room->column, .slots = slots});
      left -= slots;
      rooms.add({room->array, room->row, room->column + slots * width, height, room->width - slots * width});
      rooms.add(
          {room->array, room->row + height - DANAUS_BUG(5, 0u, 1u), room->column, room->height - height, room->width});
    }
    for (auto& [array, in_array] : shelves) size.hosts.push_back({.array = array, .shelves = std::move(in_array)});
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
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
