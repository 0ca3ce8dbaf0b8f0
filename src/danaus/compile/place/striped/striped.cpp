// Striped: all arrays work on every stage. What is read in one stage (operators with one source count as one) is cut
// into column slivers as narrow as the number of arrays asks for, and dealt out one to an array; slivers that are never
// read together share arrays. In steps:
//   1. Blocks with the same input are joined into one wide block; blocks higher than an array are cut in rows.
//   2. A stage of C columns on N arrays with A converters needs r = ceil(C / (N A)) rounds. Its slivers are r A columns
//      wide, rounded up to a power of two (odd widths leave gaps), and wider while there are more slivers than arrays.
//   3. An array is cut into banks as wide as the widest sliver. Slivers of one height and width share shelves, as wide
//      as a bank. Shelves, tallest first, go into the emptiest bank of the array with the fewest shelves of their
//      class: so every class is spread evenly over arrays and tiles.
//   4. Stages deal their slivers, those with the most first. The slivers of a stage, in the order of their blocks, are
//      cut into shares for the tiles, in proportion to the slots that these have left and at the borders of blocks
//      where one is near; within a tile the array with the most slots left takes the next one. So a block is in one
//      tile, and blocks of equal place in their operators are in the same tile or near: what crosses the chip is the
//      transposition between the two stages of an operator. On a chip of many tiles, where all of them would have to
//      say something to each other, a stage fills as few tiles as hold it instead, those with the most slots left.
//   5. On a mesh an array that is far is worth less than the way to it. The stages, in the order of execution, are cut
//      into regions of whole operators; each has arrays of its own, as steps 2 to 4 say, one region after the other
//      along a Hilbert curve through the tiles. The number of regions is that with the least sum, over stages, of the
//      time of the activations of an array, the way across the region's tiles, there and back, and the messages of a
//      tile to all others. It is found with bounds: before stages are dealt, the activations of an array are known as
//      no fewer than its part of the slivers; numbers are laid out, those with the least bound first, until no bound is
//      below what was found.
// More arrays than the cells ask for are only taken when shelves do not fit, or when they are asked for.
#include "danaus/compile/place/striped/striped.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/compile/place/pieces.h"
#include "danaus/compile/place/striped/width.h"
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
  std::vector<Sliver> wide;          ///< joined blocks
  std::vector<JoinedBlocks> blocks;  ///< the same by their sizes
  std::uint64_t columns = 0;
  std::uint64_t cells = 0;
  std::uint32_t dac_bits = 0, adc_bits = 0;
  std::uint32_t transposing = 0;  ///< operators whose next stage's blocks all read some of what each block writes
  bool begins_unit = false;       ///< the first stage of its operators
  std::uint32_t sliver = 0;       ///< width that was asked for; 0 = to be found
  std::uint32_t width = 0;        ///< of its slivers
  std::vector<Sliver> slivers;
};

using SizeClass = std::pair<std::uint32_t, std::uint32_t>;  // height, width

std::vector<Stage> stages_of(const Graph& graph, const PlaceOptions& options) {
  std::vector<Stage> stages;
  const std::vector<NodeId> nodes = linear_nodes(graph, options);
  for (std::size_t first = 0; first < nodes.size();) {
    std::size_t last = first + 1;
    while (last < nodes.size() && reads_with(graph, nodes[last - 1], nodes[last])) ++last;
    for (std::uint32_t number = 0; number < 2; ++number) {
      Stage stage;
      stage.sliver = options.slivers.empty() ? options.sliver : options.slivers[index(nodes[first])];
      stage.begins_unit = number == 0;
      std::map<std::tuple<InputSpace, std::uint32_t, std::uint32_t>, std::size_t> joined;  // by first input and rows
      for (std::size_t n = first; n < last; ++n) {
        const Structure& structure = graph.at(nodes[n]).structure;
        if (number >= structure.stages()) continue;
        const Config& config = graph.configs[index(graph.at(nodes[n]).configs[number])];
        stage.dac_bits = std::max<std::uint32_t>(stage.dac_bits, config.dac_bits);
        stage.adc_bits = std::max<std::uint32_t>(stage.adc_bits, config.adc_bits);
        if (number + 1 < structure.stages() && structure.k > 1) ++stage.transposing;
        for (const Piece& piece : cut(graph, nodes[n], static_cast<std::uint8_t>(number), options,
                                      structure.kind == Structure::Kind::dense)) {
          stage.columns += piece.columns;
          stage.cells += std::uint64_t{piece.rows} * piece.columns;
          // Second stages have an input of their own for every operator.
          const bool shared = number == 0;
          const auto [found, is_new] =
              joined.try_emplace({input_space(graph, nodes[n]), piece.in_first, piece.rows}, stage.wide.size());
          if (!shared || is_new) {
            stage.wide.push_back({.rows = piece.rows, .columns = piece.columns, .parts = {piece}});
          } else {
            Sliver& wide = stage.wide[found->second];
            wide.columns += piece.columns;
            wide.parts.push_back(piece);
          }
        }
      }
      if (stage.wide.empty()) continue;
      std::map<SizeClass, std::uint64_t> sizes;
      for (const Sliver& wide : stage.wide) ++sizes[{wide.rows, wide.columns}];
      for (const auto& [size, count] : sizes)
        stage.blocks.push_back({.rows = size.first, .columns = size.second, .count = count});
      stages.push_back(std::move(stage));
    }
    first = last;
  }
  if (options.mesh != nullptr) {
    std::uint32_t most_bits = 0;
    for (const Stage& stage : stages) most_bits = std::max(most_bits, stage.adc_bits);
    for (Stage& stage : stages) stage.adc_bits = chip::converter_bits(*options.mesh, stage.adc_bits, most_bits);
  }
  return stages;
}

std::uint64_t sliver_count(const Stage& stage, std::uint32_t width) { return sliver_count(stage.blocks, width); }

std::uint32_t sliver_width(const Stage& stage, std::uint64_t arrays, const PlaceOptions& options) {
  return stage.sliver != 0 ? std::min(stage.sliver, options.cols) : sliver_width(stage.blocks, arrays, options);
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

/// Every tile of a stage sends every other one a message between the operator's stages. On more tiles than these it is
/// better that a stage needs fewer of them than that each block stays at its place.
constexpr std::uint32_t kMostShared = 16;

std::uint32_t tiles_of(std::uint32_t arrays, const PlaceOptions& options) {
  return (arrays + options.arrays_per_tile - 1) / options.arrays_per_tile;
}

/// The slots of every class on `arrays` arrays; nothing if the shelves do not fit. An array is cut into banks, as wide
/// as shelves; every class is spread over the arrays. Where it has fewer shelves they are spread over the tiles, or on
/// many tiles kept together.
bool lay_shelves(const std::map<SizeClass, std::uint64_t, std::greater<>>& classes, std::uint32_t arrays,
                 std::uint32_t bank_columns, const PlaceOptions& options,
                 std::map<SizeClass, std::vector<Slots>>& slots) {
  slots.clear();
  const std::uint32_t banks = options.cols / bank_columns;
  std::vector<std::uint32_t> used(std::size_t{arrays} * banks);  // rows
  const auto lowest_bank = [&](std::uint32_t array) {
    const auto first = used.begin() + std::ptrdiff_t{array} * banks;
    return static_cast<std::uint32_t>(std::min_element(first, first + banks) - first);
  };
  for (const auto& [size, count] : classes) {
    const auto [height, width] = size;
    const std::uint32_t per_shelf = bank_columns / width;
    std::vector<Slots>& of_class = slots[size];
    of_class.resize(arrays);
    // Arrays by (shelves of this class, rows used, place in the tile, number).
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>> queue;
    const auto enter = [&](std::uint32_t shelves, std::uint32_t array) {
      const std::uint32_t rows = used[std::size_t{array} * banks + lowest_bank(array)];
      const std::uint32_t place = tiles_of(arrays, options) > kMostShared ? 0 : array % options.arrays_per_tile;
      if (rows + height <= options.rows) queue.emplace(shelves, rows, place, array);
    };
    for (std::uint32_t array = 0; array < arrays; ++array) enter(0, array);
    for (std::uint64_t left = count; left > 0;) {
      if (queue.empty()) return false;
      const auto [shelves, rows, place, array] = *queue.begin();
      queue.erase(queue.begin());
      const std::uint32_t bank = lowest_bank(array);
      const auto here = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, per_shelf));
      for (std::uint32_t slot = here; slot-- > 0;)
        of_class[array].emplace_back(rows, bank * bank_columns + slot * width);
      left -= here;
      used[std::size_t{array} * banks + bank] += height;
      enter(shelves + 1, array);
    }
  }
  return true;
}

/// Where a sliver belongs in its stage: neighbours here should be neighbours on the chip. Blocks of a first stage are
/// ordered by their inputs, those of a last one by their outputs, both as fractions: so what one operator writes in a
/// place the next one reads there, whatever their numbers of blocks. Operators of the stage take turns.
std::tuple<double, NodeId, std::uint32_t, std::uint32_t> position_of(const Graph& graph, const Sliver& sliver) {
  const Piece& first = sliver.parts.front();
  const Structure& structure = graph.at(first.node).structure;
  // Correctly rounded, so equal fractions are equal numbers.
  const auto fraction = [](std::uint32_t part, std::uint32_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  if (structure.stages() == 1) return {fraction(first.out_first, structure.out), first.node, 0, first.in_first};
  const Block block = structure.block(first.stage, first.block);
  const double position = first.stage == 0 ? fraction(block.in_first, structure.stage_inputs(0))
                                           : fraction(block.out_first, structure.stage_outputs(1));
  return {position, first.node, first.out_first, first.in_first};
}

/// Arrays from `first` up to `end`.
struct Range {
  std::uint32_t first = 0, end = 0;
};

/// Deals slivers onto slots, stage by stage.
class Dealer {
 public:
  /// `tiles`: the arrays of each tile; neighbours are near each other.
  Dealer(const Graph& graph, std::map<SizeClass, std::vector<Slots>> slots, std::vector<Range> tiles)
      : graph_(graph),
        slots_(std::move(slots)),
        tile_arrays_(std::move(tiles)),
        arrays_(tile_arrays_.back().end),
        tiles_(static_cast<std::uint32_t>(tile_arrays_.size())),
        most_per_tile_(most_in(tile_arrays_)),
        last_turn_(arrays_),
        in_stage_(arrays_) {}

  /// What a stage takes.
  struct Dealt {
    std::uint32_t most = 0;  ///< slivers on one array
    std::uint32_t tiles = 0;
  };
  Dealt deal(std::vector<Sliver> stage, std::vector<program::Patch>& patches) {
    ++turn_;
    std::fill(in_stage_.begin(), in_stage_.end(), 0);
    std::stable_sort(stage.begin(), stage.end(),
                     [&](const Sliver& a, const Sliver& b) { return position_of(graph_, a) < position_of(graph_, b); });
    if (tiles_ > kMostShared) {
      fill_tiles(stage, patches);
    } else {
      share_out(stage, patches);
    }
    Dealt dealt;
    for (const Range& tile : tile_arrays_) {
      std::uint32_t most = 0;
      for (std::uint32_t array = tile.first; array < tile.end; ++array) most = std::max(most, in_stage_[array]);
      dealt.most = std::max(dealt.most, most);
      dealt.tiles += most > 0 ? 1 : 0;
    }
    return dealt;
  }

 private:
  void put(const Sliver& sliver, std::uint32_t array, std::vector<program::Patch>& patches) {
    fill(sliver, array, slots_.at({sliver.rows, sliver.columns})[array], patches);
    last_turn_[array] = turn_;
    ++in_stage_[array];
  }

  void share_out(const std::vector<Sliver>& stage, std::vector<program::Patch>& patches) {
    const std::vector<std::size_t> ends = shares(stage);
    std::uint32_t tile = 0;
    for (std::size_t n = 0; n < stage.size(); ++n) {
      while (n >= ends[tile]) ++tile;
      put(stage[n], choose(slots_.at({stage[n].rows, stage[n].columns}), tile), patches);
    }
  }

  /// Array after array, those with the most free slots first, of the whole chip.
  void fill_tiles(const std::vector<Sliver>& stage, std::vector<program::Patch>& patches) {
    std::map<SizeClass, std::vector<const Sliver*>, std::greater<>> by_size;
    for (const Sliver& sliver : stage) by_size[{sliver.rows, sliver.columns}].push_back(&sliver);
    for (const auto& [size, slivers] : by_size) {
      const std::vector<Slots>& of_class = slots_.at(size);
      for (std::size_t next = 0; next < slivers.size();) {
        std::vector<std::uint32_t> arrays;
        for (std::uint32_t array = 0; array < arrays_; ++array) {
          if (!of_class[array].empty() && last_turn_[array] != turn_) arrays.push_back(array);
        }
        std::stable_sort(arrays.begin(), arrays.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return of_class[a].size() > of_class[b].size(); });
        if (arrays.size() > slivers.size() - next) arrays.resize(slivers.size() - next);
        std::sort(arrays.begin(), arrays.end());
        for (const std::uint32_t array : arrays) put(*slivers[next++], array, patches);
        if (next < slivers.size()) ++turn_;  // all that have room had their turn: another one
      }
    }
  }

  static std::uint32_t most_in(const std::vector<Range>& tiles) {
    std::uint32_t most = 0;
    for (const Range& tile : tiles) most = std::max(most, tile.end - tile.first);
    return most;
  }

  /// Arrays of a tile.
  std::uint32_t first_of(std::uint32_t tile) const { return tile_arrays_[tile].first; }
  std::uint32_t end_of(std::uint32_t tile) const { return tile_arrays_[tile].end; }

  /// For every tile the first sliver that is not its own any more. A tile gets slivers in proportion to its free slots,
  /// at most one for an array if there are arrays enough, and whole blocks where that does not move a border far.
  std::vector<std::size_t> shares(const std::vector<Sliver>& stage) const {
    std::vector<std::uint64_t> free(tiles_), most(tiles_);
    std::set<SizeClass> classes;
    for (const Sliver& sliver : stage) classes.emplace(sliver.rows, sliver.columns);
    std::uint64_t all_free = 0, all_most = 0;
    for (std::uint32_t tile = 0; tile < tiles_; ++tile) {
      for (std::uint32_t array = first_of(tile); array < end_of(tile); ++array) {
        std::uint64_t of_array = 0;
        for (const SizeClass& size : classes) of_array += slots_.at(size)[array].size();
        free[tile] += of_array;
        most[tile] += of_array > 0 ? 1 : 0;
      }
      all_free += free[tile];
      all_most += most[tile];
    }
    if (all_most < stage.size()) {  // some arrays get two or more
      most = free;
      all_most = all_free;
    }
    std::vector<std::size_t> ends(tiles_);
    std::uint64_t free_before = 0;
    std::size_t begin = 0;
    for (std::uint32_t tile = 0; tile < tiles_; ++tile) {
      free_before += free[tile];
      all_most -= most[tile];
      const std::size_t left_for_later = stage.size() - std::min<std::size_t>(stage.size(), all_most);
      const std::size_t least = std::max(begin, left_for_later);
      const std::size_t greatest = std::min<std::size_t>(stage.size(), begin + most[tile]);
      std::size_t end =
          std::clamp<std::size_t>((stage.size() * free_before + all_free / 2) / all_free, least, greatest);
      for (std::size_t shift = 0; shift <= most_per_tile_ / 2; ++shift) {
        if (end >= least + shift && is_border(stage, end - shift)) {
          end -= shift;
          break;
        }
        if (end + shift <= greatest && is_border(stage, end + shift)) {
          end += shift;
          break;
        }
      }
      ends[tile] = begin = end;
    }
    ensure(begin == stage.size(), "all slivers have a tile");
    return ends;
  }

  /// Whether a block ends before sliver n.
  bool is_border(const std::vector<Sliver>& stage, std::size_t n) const {
    if (n == 0 || n == stage.size()) return true;
    const auto [a, a_node, a_out, a_in] = position_of(graph_, stage[n - 1]);
    const auto [b, b_node, b_out, b_in] = position_of(graph_, stage[n]);
    return a != b || a_node != b_node;
  }

  /// The array of the tile with the most free slots that has none of this stage; else of a tile nearby; else any.
  std::uint32_t choose(const std::vector<Slots>& of_class, std::uint32_t tile) const {
    for (const bool again : {false, true}) {
      for (std::uint32_t distance = 0; distance < tiles_; ++distance) {
        for (const bool up : {true, false}) {
          if (up ? tile + distance >= tiles_ : distance == 0 || tile < distance) continue;
          const std::uint32_t candidate = up ? tile + distance : tile - distance;
          std::uint32_t best = arrays_;
          for (std::uint32_t array = first_of(candidate); array < end_of(candidate); ++array) {
            if (of_class[array].empty() || (!again && last_turn_[array] == turn_)) continue;
            if (best == arrays_ || of_class[array].size() > of_class[best].size()) best = array;
          }
          if (best != arrays_) return best;
        }
      }
    }
    throw InternalError("there is a slot for every sliver");
  }

  static void fill(const Sliver& sliver, std::uint32_t array, Slots& slots, std::vector<program::Patch>& patches) {
    auto [row, column] = slots.back();
    slots.pop_back();
    for (const Piece& part : sliver.parts) {
      patches.push_back(patch_for(part, array, row, column));
      column += part.columns;
    }
  }

  const Graph& graph_;
  std::map<SizeClass, std::vector<Slots>> slots_;
  const std::vector<Range> tile_arrays_;
  const std::uint32_t arrays_, tiles_;
  const std::uint32_t most_per_tile_;
  std::vector<std::uint64_t> last_turn_;  ///< by array: the turn in which it got a sliver
  std::vector<std::uint32_t> in_stage_;   ///< by array: slivers of the stage
  std::uint64_t turn_ = 0;                ///< a stage has as many turns as it gives slivers to one array
};

/// What messages cost a stage on so many tiles of a region, in picoseconds: the way across the region, in which stages
/// lie anywhere, to give and to take; the header and bits of a message to each other tile of the stage where blocks of
/// two stages exchange their elements.
double network_time(const Stage& stage, double tiles, double region_tiles, const chip::Chip& mesh) {
  const auto hop = static_cast<double>(chip::to_picoseconds(mesh.network.hop_ns));
  const double across = 2 * std::sqrt(region_tiles) * hop;
  if (stage.transposing == 0) return across;
  const double elements = static_cast<double>(stage.columns) / tiles;  // of a tile
  const double messages = std::min((tiles - 1) * stage.transposing, elements);
  if (messages <= 0) return across;
  const auto each = static_cast<double>(
      chip::message_port_time(mesh, static_cast<std::uint64_t>(std::ceil(elements / messages)), mesh.input.bits));
  const bool waits = mesh.network.switching == chip::Switching::circuit;
  return across + messages * (each + (waits ? across / 3 : 0));
}

/// Operators that are spread over the same arrays.
struct Region {
  std::vector<Stage> stages;
  std::uint32_t arrays = 0;
  std::map<SizeClass, std::vector<Slots>> slots;
};

/// Stages in order of execution, cut into `count` runs of whole units with about as many cells each.
std::vector<std::size_t> region_ends(const std::vector<Stage>& stages, std::uint64_t cells, std::size_t count) {
  std::vector<std::size_t> ends;
  std::uint64_t before = 0;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    if (s > 0 && stages[s].begins_unit && before * count >= cells * (ends.size() + 1)) ends.push_back(s);
    before += stages[s].cells;
  }
  ends.push_back(stages.size());
  return ends;
}

/// Cuts the stages of a region into slivers and finds shelves for them on as few arrays as it can.
/// At least `least` of them.
void lay_out(Region& region, std::uint32_t least, const PlaceOptions& options) {
  std::uint64_t cells = 0;
  for (const Stage& stage : region.stages) cells += stage.cells;
  const std::uint64_t in_array = std::uint64_t{options.rows} * options.cols;
  region.arrays = std::max(least, static_cast<std::uint32_t>((cells + in_array - 1) / in_array));
  std::map<SizeClass, std::uint64_t, std::greater<>> classes;
  for (Stage& stage : region.stages) {
    stage.width = sliver_width(stage, region.arrays, options);
    stage.slivers = cut_columns(stage.wide, stage.width);
    for (const Sliver& sliver : stage.slivers) ++classes[{sliver.rows, sliver.columns}];
  }
  constexpr std::uint32_t kGrowth = 200;  // half a percent at a time
  std::uint32_t widest = 1;
  for (const auto& [size, count] : classes) widest = std::max(widest, size.second);
  const std::uint32_t bank = options.cols % std::bit_ceil(widest) == 0 ? std::bit_ceil(widest) : options.cols;
  // Banks waste a little where sizes do not divide each other, but a class is on many more arrays.
  const std::uint32_t fewest = region.arrays;
  const std::uint32_t most = options.objective == Objective::latency ? fewest + fewest / 16 : fewest;
  while (!lay_shelves(classes, region.arrays, bank, options, region.slots)) {
    region.arrays += region.arrays / kGrowth + 1;
    if (region.arrays > most) break;
  }
  if (region.arrays <= most) return;
  region.arrays = fewest;
  while (!lay_shelves(classes, region.arrays, bank, options, region.slots) &&
         !lay_shelves(classes, region.arrays, options.cols, options, region.slots))
    region.arrays += region.arrays / kGrowth + 1;
}

/// A generalised Hilbert curve through a rectangle of the mesh: from (x, y) along the vector a, then b (both parallel
/// to an axis). Neighbours on the curve are neighbours on the mesh, and what is near on the one is near on the other.
struct Vector {
  std::int32_t x = 0, y = 0;
  Vector operator+(const Vector& other) const { return {x + other.x, y + other.y}; }
  Vector operator-(const Vector& other) const { return {x - other.x, y - other.y}; }
  Vector half() const { return {x / 2, y / 2}; }
  std::int32_t length() const { return std::abs(x + y); }
  Vector unit() const { return {(x > 0) - (x < 0), (y > 0) - (y < 0)}; }
};
void follow_curve(Vector at, Vector a, Vector b, std::vector<Vector>& curve) {
  if (b.length() == 1 || a.length() == 1) {
    const Vector along = b.length() == 1 ? a : b;
    for (std::int32_t n = 0; n < along.length(); ++n, at = at + along.unit()) curve.push_back(at);
    return;
  }
  Vector half_a = a.half(), half_b = b.half();
  if (2 * a.length() > 3 * b.length()) {  // long: two in a row
    if (half_a.length() % 2 != 0 && a.length() > 2) half_a = half_a + a.unit();
    follow_curve(at, half_a, b, curve);
    follow_curve(at + half_a, a - half_a, b, curve);
    return;
  }
  if (half_b.length() % 2 != 0 && b.length() > 2) half_b = half_b + b.unit();
  follow_curve(at, half_b, half_a, curve);
  follow_curve(at + half_b, a, b - half_b, curve);
  follow_curve(at + (a - a.unit()) + (half_b - b.unit()), Vector{} - half_b, Vector{} - (a - half_a), curve);
}

program::ChipShape shape_of(std::uint32_t arrays, const PlaceOptions& options) {
  program::ChipShape shape;
  shape.arrays_per_tile = options.arrays_per_tile;
  if (options.mesh == nullptr) return shape;
  shape.chips = options.mesh->system.chips;
  shape.arrays_per_chip = chip::arrays_per_chip(*options.mesh, arrays);
  return shape;
}

/// The arrays in the order in which stages are spread over them: along the mesh's curve, that of one chip after the
/// other, or as they are numbered.
std::vector<std::uint32_t> walk(std::uint32_t arrays, const PlaceOptions& options) {
  std::vector<std::uint32_t> order;
  order.reserve(arrays);
  if (options.mesh == nullptr) {
    for (std::uint32_t array = 0; array < arrays; ++array) order.push_back(array);
    return order;
  }
  const std::uint32_t dealt = shape_of(arrays, options).arrays_per_chip;
  const std::uint32_t share = dealt == 0 ? arrays : dealt;
  const auto side = static_cast<std::int32_t>(chip::mesh_side(tiles_of(std::min(share, arrays), options)));
  std::vector<Vector> curve;
  follow_curve({}, {side, 0}, {0, side}, curve);
  for (std::uint64_t begin = 0; begin < arrays; begin += share) {
    const std::uint64_t end = std::min<std::uint64_t>(arrays, begin + share);
    for (const Vector& at : curve) {
      const std::uint64_t first =
          begin + (std::uint64_t(at.y) * std::uint64_t(side) + std::uint64_t(at.x)) * options.arrays_per_tile;
      for (std::uint64_t array = first; array < std::min(end, first + options.arrays_per_tile); ++array)
        order.push_back(static_cast<std::uint32_t>(array));
    }
  }
  return order;
}

/// One activation of an array with a sliver of such a stage, in picoseconds.
double activation_time(const Stage& stage, std::uint32_t width, const PlaceOptions& options) {
  std::uint64_t widest = 1;
  for (const JoinedBlocks& joined : stage.blocks) widest = std::max(widest, joined.columns);
  const auto columns = static_cast<std::uint32_t>(std::min<std::uint64_t>(width, widest));
  return static_cast<double>(chip::activation_time(*options.mesh, stage.dac_bits, stage.adc_bits,
                                                   (columns + options.adcs - 1) / options.adcs));
}

/// Arrays that the cells of all stages fill, or that are asked for.
double arrays_of(std::uint64_t cells, const PlaceOptions& options) {
  return std::max(static_cast<double>(options.least_arrays),
                  static_cast<double>(cells) / (static_cast<double>(options.rows) * options.cols));
}

/// What the stages take in so many regions if each is spread evenly over the arrays of its region, in picoseconds.
double least_time(const std::vector<Stage>& stages, std::uint64_t cells, std::size_t count,
                  const PlaceOptions& options) {
  double time = 0;
  for (std::size_t first = 0; const std::size_t end : region_ends(stages, cells, count)) {
    std::uint64_t of_region = 0;
    for (std::size_t s = first; s < end; ++s) of_region += stages[s].cells;
    const double arrays =
        std::max(1.0, std::ceil(arrays_of(cells, options) * static_cast<double>(of_region) /
                                static_cast<double>(std::max<std::uint64_t>(1, cells))));
    for (; first < end; ++first) {
      const Stage& stage = stages[first];
      const std::uint32_t width = sliver_width(stage, static_cast<std::uint64_t>(arrays), options);
      const auto slivers = static_cast<double>(sliver_count(stage, width));
      time += activation_time(stage, width, options) * std::ceil(slivers / arrays);
      time += network_time(stage, std::ceil(std::min(arrays, slivers) / options.arrays_per_tile),
                           std::ceil(arrays / options.arrays_per_tile), *options.mesh);
    }
  }
  return time;
}

/// All stages on arrays.
struct Layout {
  std::uint32_t arrays = 0;
  std::vector<program::Patch> patches;
  double time = 0;  ///< on a mesh: what the stages take, in picoseconds
};

Layout lay_out(const Graph& graph, const std::vector<Stage>& stages, std::uint64_t cells, std::size_t count,
               const PlaceOptions& options) {
  Layout layout;
  std::vector<Region> regions;
  std::uint64_t before = 0;  // cells
  for (std::size_t first = 0; const std::size_t end : region_ends(stages, cells, count)) {
    Region& region = regions.emplace_back();
    region.stages.assign(stages.begin() + static_cast<std::ptrdiff_t>(first),
                         stages.begin() + static_cast<std::ptrdiff_t>(end));
    std::uint64_t after = before;
    for (const Stage& stage : region.stages) after += stage.cells;
    // Its part of the arrays that there have to be.
    const auto share = [&](std::uint64_t part) {
      return static_cast<std::uint32_t>(static_cast<double>(options.least_arrays) * static_cast<double>(part) /
                                        static_cast<double>(std::max<std::uint64_t>(1, cells)));
    };
    lay_out(region, share(after) - share(before), options);
    before = after;
    layout.arrays += region.arrays;
    first = end;
  }

  const std::vector<std::uint32_t> order = walk(layout.arrays, options);
  const program::ChipShape shape = shape_of(layout.arrays, options);
  for (std::uint32_t first = 0; Region & region : regions) {
    // Its tiles; the ones at its ends may be shared with its neighbours.
    std::vector<Range> tiles;
    for (std::uint32_t n = 0; n < region.arrays; ++n) {
      const bool same =
          n > 0 && shape.tile_of(ArrayId{order[first + n]}) == shape.tile_of(ArrayId{order[first + n - 1]});
      if (!same) tiles.push_back({n, n});
      tiles.back().end = n + 1;
    }
    const auto region_tiles = static_cast<double>(tiles.size());
    std::stable_sort(region.stages.begin(), region.stages.end(),
                     [](const Stage& a, const Stage& b) { return a.slivers.size() > b.slivers.size(); });
    const std::size_t begin = layout.patches.size();
    Dealer dealer(graph, std::move(region.slots), std::move(tiles));
    for (Stage& stage : region.stages) {
      const Dealer::Dealt dealt = dealer.deal(std::move(stage.slivers), layout.patches);
      if (options.mesh == nullptr) continue;
      layout.time += dealt.most * activation_time(stage, stage.width, options) +
                     network_time(stage, dealt.tiles, region_tiles, *options.mesh);
    }
    for (std::size_t p = begin; p < layout.patches.size(); ++p)
      layout.patches[p].array = ArrayId{order[first + index(layout.patches[p].array)]};
    first += region.arrays;
  }
  return layout;
}

/// In the number of regions that takes the least time: the more of them, the fewer arrays convert for a stage, and the
/// shorter are the ways.
Layout best_layout(const Graph& graph, const std::vector<Stage>& stages, const PlaceOptions& options) {
  constexpr double kLeastArrays = 32;  // of a region: with fewer, what is left over in each counts
  constexpr std::size_t kMostPatches = 2'000'000;  // of all layouts: for the largest models the bounds have to do
  std::uint64_t cells = 0;
  for (const Stage& stage : stages) cells += stage.cells;
  const bool is_fewest = options.objective == Objective::area || options.objective == Objective::arrays;
  if (options.mesh == nullptr || is_fewest) return lay_out(graph, stages, cells, 1, options);
  const auto units = static_cast<std::size_t>(
      std::count_if(stages.begin(), stages.end(), [](const Stage& stage) { return stage.begins_unit; }));
  std::vector<std::pair<double, std::size_t>> bounds;  // with the number of regions
  for (std::size_t count = 1; count <= units; count += count / 6 + 1) {
    if (count > 1 && arrays_of(cells, options) < kLeastArrays * static_cast<double>(count)) break;
    bounds.emplace_back(least_time(stages, cells, count, options), count);
  }
  std::sort(bounds.begin(), bounds.end());
  Layout best;
  std::size_t patches = 0;
  for (const auto& [bound, count] : bounds) {
    const bool is_first = best.patches.empty();
    if (!is_first && (bound >= best.time || patches + best.patches.size() > kMostPatches)) break;
    Layout layout = lay_out(graph, stages, cells, count, options);
    patches += layout.patches.size();
    if (is_first || layout.time < best.time) best = std::move(layout);
  }
  return best;
}

}  // namespace

Result<Placement> place_striped(const Graph& graph, const PlaceOptions& options) {
  const std::vector<Stage> stages = stages_of(graph, options);
  if (stages.empty()) return Placement{};
  Layout layout = best_layout(graph, stages, options);
  return finish(std::move(layout.patches), layout.arrays);
}

}  // namespace danaus::compile
