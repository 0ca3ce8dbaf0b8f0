// Striped: all arrays work on every stage. What is read in one stage (operators with one source count as one) is cut
// into column slivers as narrow as the number of arrays asks for, and dealt out one to an array; slivers that are never
// read together share arrays. In steps:
//   1. Blocks with the same input are joined into one wide block; blocks higher than an array are cut in rows.
//   2. A stage of C columns on N arrays with A converters needs r = ceil(C / (N A)) rounds. Its slivers are r A columns
//      wide, rounded up to a power of two (odd widths leave gaps), and wider while there are more slivers than arrays.
//   3. Slivers of one height and width share shelves, as wide as the array. Shelves, tallest first, go onto the array
//   with
//      the fewest shelves of their class among those with the most room: so every class is spread over the arrays.
//   4. Stages deal their slivers, those with the most first: an array without a sliver of this stage yet, of these the
//   one
//      with the most slots left in the class.
// More arrays than the cells ask for are only taken when shelves do not fit.
#include "danaus/compile/place/striped/striped.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "danaus/compile/place/pieces.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

/// Neighbouring columns with the same rows and input.
struct Sliver {
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  std::vector<Piece> parts;
};

/// What is read at the same time.
struct Stage {
  std::vector<Sliver> wide;  ///< joined blocks
  std::uint64_t columns = 0;
  std::uint32_t width = 0;  ///< of its slivers
  std::vector<Sliver> slivers;
};

using SizeClass = std::pair<std::uint32_t, std::uint32_t>;  // height, width

std::vector<Stage> stages_of(const Graph& graph, const PlaceOptions& options) {
  std::vector<Stage> stages;
  const std::vector<NodeId> nodes = linear_nodes(graph, options);
  for (std::size_t first = 0; first < nodes.size();) {
    std::size_t last = first + 1;
    while (last < nodes.size() && index(nodes[last]) == index(nodes[last - 1]) + 1 &&
           graph.at(nodes[last]).sources == graph.at(nodes[first]).sources)
      ++last;
    for (std::uint32_t number = 0; number < 2; ++number) {
      Stage stage;
      std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> joined;  // by first input and rows
      for (std::size_t n = first; n < last; ++n) {
        const Structure& structure = graph.at(nodes[n]).structure;
        if (number >= structure.stages()) continue;
        for (const Piece& piece : cut(graph, nodes[n], static_cast<std::uint8_t>(number), options,
                                      structure.kind == Structure::Kind::dense)) {
          stage.columns += piece.columns;
          // Second stages have an input of their own for every operator.
          const bool shared = number == 0;
          const auto [found, is_new] = joined.try_emplace({piece.in_first, piece.rows}, stage.wide.size());
          if (!shared || is_new) {
            stage.wide.push_back({.rows = piece.rows, .columns = piece.columns, .parts = {piece}});
          } else {
            Sliver& wide = stage.wide[found->second];
            wide.columns += piece.columns;
            wide.parts.push_back(piece);
          }
        }
      }
      if (!stage.wide.empty()) stages.push_back(std::move(stage));
    }
    first = last;
  }
  return stages;
}

std::uint64_t sliver_count(const Stage& stage, std::uint32_t width) {
  std::uint64_t count = 0;
  for (const Sliver& wide : stage.wide) count += (wide.columns + width - 1) / width;
  return count;
}

std::uint32_t sliver_width(const Stage& stage, std::uint64_t arrays, const PlaceOptions& options) {
  if (options.sliver != 0) return std::min(options.sliver, options.cols);
  const std::uint64_t converters = arrays * options.adcs;
  const std::uint64_t rounds = (stage.columns + converters - 1) / converters;
  std::uint64_t width = std::bit_ceil(rounds * options.adcs);
  while (width < options.cols && sliver_count(stage, static_cast<std::uint32_t>(width)) > arrays) width *= 2;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(width, options.cols));
}

/// Cuts joined blocks into slivers of `width` columns and a rest.
std::vector<Sliver> cut_columns(const std::vector<Sliver>& wide_blocks, std::uint32_t width) {
  std::vector<Sliver> slivers;
  for (const Sliver& wide : wide_blocks) {
    Sliver sliver{.rows = wide.rows, .columns = 0, .parts = {}};
    for (Piece rest : wide.parts) {
      while (rest.columns > 0) {
        const std::uint32_t columns = std::min(rest.columns, width - sliver.columns);
        Piece part = rest;
        part.columns = columns;
        sliver.parts.push_back(part);
        sliver.columns += columns;
        rest.out_first += columns * rest.out_step;
        rest.columns -= columns;
        if (sliver.columns < width) continue;
        slivers.push_back(std::move(sliver));
        sliver = {.rows = wide.rows, .columns = 0, .parts = {}};
      }
    }
    if (sliver.columns > 0) slivers.push_back(std::move(sliver));
  }
  return slivers;
}

/// Free slots of one class on one array: (row, first column) of the next ones, from the back.
using Slots = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// The slots of every class on `arrays` arrays; nothing if the shelves do not fit.
bool lay_shelves(const std::map<SizeClass, std::uint64_t, std::greater<>>& classes, std::uint32_t arrays,
                 const PlaceOptions& options, std::map<SizeClass, std::vector<Slots>>& slots) {
  slots.clear();
  std::vector<std::uint32_t> used(arrays);  // rows
  for (const auto& [size, count] : classes) {
    const auto [height, width] = size;
    const std::uint32_t per_shelf = options.cols / width;
    std::vector<Slots>& of_class = slots[size];
    of_class.resize(arrays);
    // Arrays by (shelves of this class, rows used, number).
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> queue;
    for (std::uint32_t array = 0; array < arrays; ++array) {
      if (used[array] + height <= options.rows) queue.emplace(0, used[array], array);
    }
    for (std::uint64_t left = count; left > 0;) {
      if (queue.empty()) return false;
      const auto [shelves, rows, array] = *queue.begin();
      queue.erase(queue.begin());
      const auto here = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, per_shelf));
      for (std::uint32_t slot = here; slot-- > 0;) of_class[array].emplace_back(rows, slot * width);
      left -= here;
      used[array] += height;
      if (used[array] + height <= options.rows) queue.emplace(shelves + 1, used[array], array);
    }
  }
  return true;
}

/// Deals slivers onto slots, stage by stage.
class Dealer {
 public:
  Dealer(std::map<SizeClass, std::vector<Slots>> slots, std::uint32_t arrays)
      : slots_(std::move(slots)), last_turn_(arrays) {
    for (const auto& [size, of_class] : slots_) {
      for (std::uint32_t array = 0; array < arrays; ++array) queue(size, array);
    }
  }

  void deal(const std::vector<Sliver>& stage, std::vector<program::Patch>& patches) {
    ++turn_;
    std::map<SizeClass, std::vector<const Sliver*>, std::greater<>> by_size;
    for (const Sliver& sliver : stage) by_size[{sliver.rows, sliver.columns}].push_back(&sliver);
    for (const auto& [size, slivers] : by_size) {
      Queue& arrays = queues_[size];
      std::vector<std::uint32_t> served;
      auto next = arrays.begin();
      const auto put_back = [&] {
        for (const std::uint32_t array : served) queue(size, array);
        served.clear();
      };
      for (const Sliver* sliver : slivers) {
        while (next != arrays.end() && last_turn_[next->second] == turn_) ++next;
        if (next == arrays.end()) {  // all that have room had their turn: another one
          ++turn_;
          put_back();
          next = arrays.begin();
        }
        ensure(next != arrays.end(), "there is a slot for every sliver");
        const std::uint32_t array = next->second;
        next = arrays.erase(next);
        fill(*sliver, array, slots_.at(size)[array], patches);
        last_turn_[array] = turn_;
        served.push_back(array);
      }
      put_back();
    }
  }

 private:
  /// Arrays with free slots of a class: the most slots first, then the lowest number.
  using Queue = std::set<std::pair<std::int64_t, std::uint32_t>>;

  void queue(const SizeClass& size, std::uint32_t array) {
    const auto free = static_cast<std::int64_t>(slots_.at(size)[array].size());
    if (free > 0) queues_[size].emplace(-free, array);
  }
  static void fill(const Sliver& sliver, std::uint32_t array, Slots& slots, std::vector<program::Patch>& patches) {
    auto [row, column] = slots.back();
    slots.pop_back();
    for (const Piece& part : sliver.parts) {
      patches.push_back(patch_for(part, array, row, column));
      column += part.columns;
    }
  }

  std::map<SizeClass, std::vector<Slots>> slots_;
  std::map<SizeClass, Queue> queues_;
  std::vector<std::uint64_t> last_turn_;  ///< by array: the turn in which it got a sliver
  std::uint64_t turn_ = 0;                ///< a stage has as many turns as it gives slivers to one array
};

}  // namespace

Result<Placement> place_striped(const Graph& graph, const PlaceOptions& options) {
  std::vector<Stage> stages = stages_of(graph, options);
  std::uint64_t cells = 0;
  for (const Stage& stage : stages) {
    for (const Sliver& wide : stage.wide) cells += std::uint64_t{wide.rows} * wide.columns;
  }
  const std::uint64_t in_array = std::uint64_t{options.rows} * options.cols;
  auto arrays = static_cast<std::uint32_t>((cells + in_array - 1) / in_array);
  std::map<SizeClass, std::uint64_t, std::greater<>> classes;
  for (Stage& stage : stages) {
    stage.width = sliver_width(stage, arrays, options);
    stage.slivers = cut_columns(stage.wide, stage.width);
    for (const Sliver& sliver : stage.slivers) ++classes[{sliver.rows, sliver.columns}];
  }
  std::map<SizeClass, std::vector<Slots>> slots;
  constexpr std::uint32_t kGrowth = 200;  // half a percent at a time
  while (!lay_shelves(classes, arrays, options, slots)) arrays += arrays / kGrowth + 1;

  std::vector<std::size_t> order(stages.size());
  for (std::size_t s = 0; s < order.size(); ++s) order[s] = s;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return stages[a].slivers.size() > stages[b].slivers.size(); });
  std::vector<program::Patch> patches;
  Dealer dealer(std::move(slots), arrays);
  for (const std::size_t stage : order) dealer.deal(stages[stage].slivers, patches);
  return finish(std::move(patches), arrays);
}

}  // namespace danaus::compile
