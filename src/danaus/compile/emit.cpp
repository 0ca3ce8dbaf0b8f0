// Graph + placement -> program.
//
// Every value has one offset that is the same in all tiles (its element n lies at offset + n wherever it is present),
// so that moves keep offsets, multicast is one record, and a mapping's permutations and rotations are nothing but the
// order of addresses. A value has a home: for every element the tile where its producer put it. Before a consumer runs,
// the elements it needs are moved from their homes to its tiles; what is at home there needs no move.
//
// Three address regions, told apart by the base register until the last step (relocate): constants (no register), the
// slots of tokens in flight (register 1) and the token stream (register 2: inputs, outputs and, for encoders, what
// waits for the next loop). Inside a region an offset is free again after the last use of its value.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "danaus/chip/cost.h"
#include "danaus/compile/activation.h"
#include "danaus/compile/arena.h"
#include "danaus/compile/compile.h"
#include "danaus/compile/injection.h"
#include "danaus/compile/wiring.h"
#include "danaus/core/config_table.h"
#include "danaus/core/internal_error.h"
#include "danaus/program/intent.h"

namespace danaus::compile {
namespace {

using program::Address;
using program::Patch;
using program::Place;

constexpr std::uint8_t kConstants = 0;  // base registers double as regions
constexpr std::uint8_t kSlot = 1;
constexpr std::uint8_t kStream = 2;
constexpr std::uint32_t kOffsets = 1u << 24;
constexpr std::uint32_t kLongestRun = 1u << 16;  // what a vec or a run of a move can span

/// Elements first .. first+length-1 have their home on this tile; at most kLongestRun, so that one command spans them.
struct Segment {
  std::uint32_t first = 0;
  std::uint32_t length = 0;
  TileId tile{};
};
using Layout = std::vector<Segment>;  ///< ascending, covers the value

/// A tile needs these elements of a value.
struct Need {
  TileId tile{};
  std::uint32_t first = 0;
  std::uint32_t last = 0;  ///< one past
};

struct Value {
  std::uint32_t offset = 0;
  std::uint8_t region = kSlot;
  std::uint32_t size = 0;      ///< elements that exist; needs beyond it are padding and get zeros
  std::uint32_t capacity = 0;  ///< elements reserved
  bool pooled = false;         ///< has padding that is written: its range serves only values of the same size
  Layout layout;

  Address at(std::uint32_t element) const { return {.offset = offset + element, .base = region}; }
};

/// Joins neighbouring segments on the same tile.
Layout joined(Layout layout) {
  std::sort(layout.begin(), layout.end(), [](const Segment& a, const Segment& b) { return a.first < b.first; });
  Layout result;
  for (const Segment& segment : layout) {
    if (!result.empty() && result.back().tile == segment.tile &&
        result.back().first + result.back().length == segment.first &&
        result.back().length + segment.length <= kLongestRun)
      result.back().length += segment.length;
    else
      result.push_back(segment);
  }
  return result;
}

/// The layout of a value from the home of each of its elements.
Layout runs_of(const std::vector<TileId>& homes) {
  Layout layout;
  for (std::uint32_t element = 0; element < homes.size(); ++element) {
    if (!layout.empty() && layout.back().tile == homes[element] && layout.back().length < kLongestRun)
      ++layout.back().length;
    else
      layout.push_back({element, 1, homes[element]});
  }
  return layout;
}

/// Which block of its stage a patch (part of) is.
std::uint32_t block_number(const Structure& structure, const Patch& patch) {
  return structure.block_of_input(patch.stage, patch.in_first);
}

/// Inputs of a gathered operator that a tile's blocks read, and where the tile puts them. Every tile has a layout of
/// its own: it gathers what its blocks read, one range after the other.
class GatheredInputs {
 public:
  struct Range {
    TileId tile{};
    std::uint32_t first = 0;  ///< stage inputs first .. last - 1
    std::uint32_t last = 0;
    std::uint32_t place = 0;  ///< of the first one, counted in the tile's gathered elements
    std::uint32_t end() const { return place + (last - first); }
  };

  explicit GatheredInputs(std::vector<Need> needs) {
    std::sort(needs.begin(), needs.end(),
              [](const Need& a, const Need& b) { return std::pair(a.tile, a.first) < std::pair(b.tile, b.first); });
    for (const Need& need : needs) {
      const bool same_tile = !ranges_.empty() && ranges_.back().tile == need.tile;
      if (same_tile && need.first <= ranges_.back().last)
        ranges_.back().last = std::max(ranges_.back().last, need.last);
      else
        ranges_.push_back({need.tile, need.first, need.last, same_tile ? ranges_.back().end() : 0});
      most_ = std::max(most_, ranges_.back().end());
    }
  }

  const std::vector<Range>& ranges() const { return ranges_; }
  /// Elements of the tile that gathers most.
  std::uint32_t most() const { return most_; }
  std::uint32_t place_of(TileId tile, std::uint32_t input) const {
    const auto after = std::upper_bound(
        ranges_.begin(), ranges_.end(), std::pair(tile, input),
        [](const auto& value, const Range& range) { return value < std::pair(range.tile, range.first); });
    ensure(after != ranges_.begin() && std::prev(after)->tile == tile && input < std::prev(after)->last,
           "a tile gathers what its blocks read");
    return std::prev(after)->place + (input - std::prev(after)->first);
  }

 private:
  std::vector<Range> ranges_;  ///< by tile and first input
  std::uint32_t most_ = 0;
};

/// The tile that holds an element of a layout.
TileId tile_at(const Layout& layout, std::uint32_t element) {
  const auto after =
      std::upper_bound(layout.begin(), layout.end(), element,
                       [](std::uint32_t value, const Segment& segment) { return value < segment.first; });
  ensure(after != layout.begin(), "a layout covers its value");
  return std::prev(after)->tile;
}

class Emitter {
 public:
  Emitter(const Graph& graph, const Placement& placement, const chip::Chip& chip, const EmitOptions& options)
      : graph_(graph), placement_(placement), chip_(chip), options_(options) {}

  Result<program::Program> run();

 private:
  // Preparation
  Result<void> prepare();
  Result<void> choose_nodes();
  std::uint32_t most_alike() const;
  Result<void> index_patches();

  // Values
  Value allocate(std::uint32_t size, std::uint32_t capacity, std::uint8_t region, bool pooled = false);
  void release(const Value& value);
  void release_after(std::size_t node);
  Value& value_of(NodeId node) { return values_[index(node)]; }
  /// Allocates the value of a node, in the stream where it outlives its loop.
  Value& define(NodeId node);

  // Commands
  void push(const program::Command& command);
  ConfigId move_config(std::uint32_t bits);
  GroupId group_of(std::vector<TileId> members);
  std::uint32_t hops_between(TileId from, TileId to) const;
  void deliver(const Value& value, std::vector<Need> needs, ConfigId config);
  void fill_padding(const Value& value, const Need& need);
  Address constant_at(const std::string& name, std::uint32_t first, std::uint32_t length, TileId tile);
  void vec(program::VecOp op, TileId tile, std::uint32_t length, std::array<Address, 3> sources, Address destination,
           ConfigId config = {});

  // Nodes
  void emit_input(NodeId id);
  Result<void> emit_linear_group(std::size_t first, std::size_t last);
  struct StageOperator;
  Result<void> emit_stage(std::vector<StageOperator>& operators, std::uint32_t stage);
  /// Picks the inputs of gathered blocks from the operator's input, which is on their tiles.
  void gather(StageOperator& op, std::vector<Need> needs);
  /// Collects the partial sums of every output on one tile, its home.
  void reduce(StageOperator& op, std::vector<TileId>& homes);
  /// Brings together what lies scattered, an array's width on one tile.
  void collect(Value& value);
  void emit_elementwise(NodeId id);
  void emit_norm(NodeId id);
  void emit_rope(NodeId id);
  void emit_attend_append(NodeId id);
  void emit_attend_context(NodeId id);
  void emit_route(NodeId id);
  void emit_blend(NodeId id);
  /// Opens and closes branches where the guard changes from node to node.
  void follow_guard(std::size_t node);
  void start_blend(std::size_t first_guarded);
  TileId region_tile(const Node& attend, std::uint32_t head);
  /// Where the placement puts an output of a linear operator.
  TileId tile_of_output(std::size_t linear, std::uint32_t element) const;
  void start_loop();
  void end_loop();
  Result<void> relocate();

  Graph graph_;  ///< what this program executes of the model's graph: idle nodes and spans are set
  const Placement& placement_;
  const chip::Chip& chip_;
  const EmitOptions& options_;

  program::Program program_;
  std::optional<Guard> guard_;  ///< of the open branch
  std::uint32_t slots_ = 1;
  std::vector<Value> values_;                              ///< per node
  std::vector<std::uint32_t> phase_;                       ///< per node: which token loop executes it
  std::vector<std::uint32_t> last_use_;                    ///< per node: last node that reads it
  std::vector<bool> streams_;                              ///< per node: lives in the stream region
  std::vector<std::uint32_t> capacity_;                    ///< per node: size with the padding of its consumers
  std::vector<std::uint32_t> attend_of_;                   ///< per rope node: the attend node that reads it
  std::vector<std::size_t> array_begin_;                   ///< first patch of every array
  std::vector<std::vector<std::uint32_t>> stage_patches_;  ///< node*2 + stage -> patches
  Arena slot_arena_, stream_arena_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::uint32_t>>
      pool_;                                   ///< (size, capacity) -> free offsets
  std::vector<std::uint32_t> constants_used_;  ///< per tile
  std::map<TileId, Address> zeros_;            ///< per tile: the zero constant
  std::uint32_t most_padding_ = 0;
  std::map<std::vector<TileId>, GroupId> groups_;
  std::vector<std::size_t> relocations_;  ///< commands with an address outside the slots
  std::vector<std::size_t> loops_;        ///< positions of rep commands
  std::optional<Error> encoding_error_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Preparation

/// The part of the model that the mode executes, and what its attention sees.
Result<void> Emitter::choose_nodes() {
  const bool encodes = options_.mode == Mode::encode;
  const std::vector<bool> is_encoder = encoder_nodes(graph_);
  const bool has_encoder = std::find(is_encoder.begin(), is_encoder.end(), true) != is_encoder.end();
  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    Node& node = graph_.nodes[n];
    node.idle = has_encoder && is_encoder[n] != encodes;
    if (node.idle || node.kind != NodeKind::attend) continue;
    if (encodes && node.span == Span::earlier)
      return fail(
          Error("emit.mode", Failure::unsupported, "this model is a decoder: its attention sees earlier tokens only")
              .with_hint("use --mode prefill or --mode decode"));
    if (options_.mode == Mode::prefill && node.span == Span::all)
      return fail(Error("emit.mode", Failure::unsupported, "this model is an encoder: its attention sees all tokens")
                      .with_hint("use --mode encode or --mode decode"));
    if (options_.mode == Mode::decode && node.span == Span::all) node.span = Span::earlier;
  }
  return {};
}

Result<void> Emitter::prepare() {
  DANAUS_CHECK(choose_nodes());
  if (options_.tokens == 0) return fail(Error("emit.tokens", Failure::usage, "there must be at least one token"));
  if (options_.mode == Mode::decode && options_.kv < options_.tokens)
    return fail(Error("emit.kv", Failure::usage,
                      fmt::format("a KV length of {} cannot hold the {} token(s) that are decoded", options_.kv,
                                  options_.tokens))
                    .with_hint("the KV length includes the new tokens: raise --kv"));

  const std::size_t count = graph_.nodes.size();
  values_.resize(count);
  phase_.assign(count, 0);
  last_use_.assign(count, 0);
  streams_.assign(count, false);
  capacity_.assign(count, 0);
  attend_of_.assign(count, 0);
  std::uint32_t phase = 0;
  for (std::size_t n = 0; n < count; ++n) {
    const Node& node = graph_.nodes[n];
    const bool splits = node.kind == NodeKind::attend && node.span == Span::all && !node.idle;
    if (splits) ++phase;
    phase_[n] = phase;
    capacity_[n] = std::max(capacity_[n], node.size);
    if (node.kind == NodeKind::input) streams_[n] = true;
    if (node.kind == NodeKind::linear) {
      const Structure& structure = node.structure;
      const std::size_t source = index(node.sources[0]);
      capacity_[source] = std::max(capacity_[source], structure.inputs());
      capacity_[n] = std::max(capacity_[n], structure.stage_outputs(structure.stages() - 1));
      most_padding_ = std::max(most_padding_, structure.inputs() - structure.in);
    }
    if (node.guard) {
      last_use_[index(node.guard->gates)] = static_cast<std::uint32_t>(n);
      if (phase_[index(node.guard->gates)] != phase) streams_[index(node.guard->gates)] = true;
    }
    for (std::size_t s = 0; s < node.sources.size(); ++s) {
      const std::size_t source = index(node.sources[s]);
      last_use_[source] = static_cast<std::uint32_t>(n);
      // Keys and values are appended before the loop ends, everything else is read in the node's own loop.
      const std::uint32_t use = splits && s != 0 ? phase - 1 : phase;
      if (use != phase_[source]) streams_[source] = true;
      if (node.kind == NodeKind::attend) attend_of_[source] = static_cast<std::uint32_t>(n);
    }
  }
  // Inputs and outputs keep their places for good: what lies there is the program's contract with the outside.
  for (std::size_t n = 0; n < count; ++n) {
    if (graph_.nodes[n].kind == NodeKind::input) last_use_[n] = static_cast<std::uint32_t>(count);
  }
  for (const NodeId output : graph_.outputs) {
    streams_[index(output)] = true;
    last_use_[index(output)] = static_cast<std::uint32_t>(count);
  }
  slots_ = options_.slots != 0 ? options_.slots : options_.mode == Mode::decode ? 1 : 1 + most_alike();
  slots_ = std::min(slots_, options_.tokens);
  return {};
}

// An array and its copies work on so many tokens at a time.
std::uint32_t Emitter::most_alike() const {
  std::map<ArrayId, std::uint32_t> alike;
  std::uint32_t most = 1;
  for (const program::Copy& copy : placement_.copies) most = std::max(most, 1 + ++alike[copy.of]);
  return most;
}

Result<void> Emitter::index_patches() {
  for (std::size_t p = 0; p < placement_.patches.size(); ++p) {
    const Patch& patch = placement_.patches[p];
    const auto bad = [&](std::string_view what) {
      return fail(Error("emit.placement", Failure::bad_input,
                        fmt::format("patch {} of the placement (array {}, row {}, column {}): {}", p,
                                    index(patch.array), patch.row, patch.column, what)));
    };
    if (index(patch.array) >= placement_.arrays) return bad(fmt::format("there are only {} arrays", placement_.arrays));
    if (patch.rows == 0 || patch.columns == 0 || patch.row + patch.rows > chip_.array.rows ||
        patch.column + patch.columns > chip_.array.cols)
      return bad(fmt::format("{}x{} cells are empty or reach beyond the array", patch.rows, patch.columns));
    const Node& node = graph_.at(patch.node);
    const Structure& structure = node.structure;
    if (node.kind != NodeKind::linear || patch.stage >= structure.stages())
      return bad("it belongs to no stage of a linear operator");
    if (patch.in_first >= structure.stage_inputs(patch.stage)) return bad("its inputs are not inputs of the stage");
    const Block block = structure.block(patch.stage, block_number(structure, patch));
    const std::uint32_t step = patch.columns > 1 ? patch.out_step : block.out_step;
    if (patch.in_step != 1 || patch.in_first + patch.rows > block.in_first + block.in_count || step != block.out_step ||
        patch.out_first < block.out_first || (patch.out_first - block.out_first) % block.out_step != 0 ||
        (patch.out_first - block.out_first) / block.out_step + patch.columns > block.out_count)
      return bad(fmt::format("it does not lie within one block of {}", node.name));
    // Sorted by row within an array: only the neighbours that follow can lie on the same cells.
    for (std::size_t q = p + 1; q < placement_.patches.size(); ++q) {
      const Patch& next = placement_.patches[q];
      if (next.array != patch.array || next.row >= patch.row + patch.rows) break;
      if (next.column < patch.column + patch.columns && patch.column < next.column + next.columns)
        return fail(
            Error("emit.overlap", Failure::bad_input,
                  fmt::format("array {}: patches of the placement lie on top of each other", index(patch.array)))
                .note(fmt::format("patches {} and {} share the cell at row {}, column {}", p, q, next.row,
                                  std::max(patch.column, next.column))));
    }
  }
  array_begin_.assign(std::size_t{placement_.arrays} + 1, 0);
  stage_patches_.resize(graph_.nodes.size() * 2);
  for (const Patch& patch : placement_.patches) ++array_begin_[index(patch.array) + 1];
  std::partial_sum(array_begin_.begin(), array_begin_.end(), array_begin_.begin());
  for (std::uint32_t p = 0; p < placement_.patches.size(); ++p) {
    const Patch& patch = placement_.patches[p];
    stage_patches_[std::size_t{index(patch.node)} * 2 + patch.stage].push_back(p);
  }
  return {};
}

// ---------------------------------------------------------------------------------------------------------------------
// Values

Value Emitter::allocate(std::uint32_t size, std::uint32_t capacity, std::uint8_t region, bool pooled) {
  Value value{.offset = 0, .region = region, .size = size, .capacity = capacity, .pooled = pooled, .layout = {}};
  if (pooled && region == kSlot) {  // offsets of the stream are another region's
    std::vector<std::uint32_t>& free_offsets = pool_[{size, capacity}];
    if (!free_offsets.empty()) {
      value.offset = free_offsets.back();
      free_offsets.pop_back();
      return value;
    }
  }
  value.offset = (region == kStream ? stream_arena_ : slot_arena_).allocate(capacity);
  return value;
}

void Emitter::release(const Value& value) {
  if (value.pooled)
    pool_[{value.size, value.capacity}].push_back(value.offset);
  else
    (value.region == kStream ? stream_arena_ : slot_arena_).release(value.offset, value.capacity);
}

void Emitter::release_after(std::size_t node) {
  std::vector<NodeId> used = graph_.nodes[node].sources;
  if (graph_.nodes[node].guard) used.push_back(graph_.nodes[node].guard->gates);
  for (const NodeId source : used) {
    Value& value = value_of(source);
    if (DANAUS_BUG(22, last_use_[index(source)] != node, false) || value.capacity == 0) continue;
    if (!(value.pooled && value.region == kStream)) release(value);
    if (DANAUS_BUG(22, true, last_use_[index(source)] == node))
      value = Value{};  // a second source of the same node must not release it again
  }
}

Value& Emitter::define(NodeId id) {
  const Node& node = graph_.at(id);
  const std::uint32_t capacity = capacity_[index(id)];
  // Padded outputs are written to a sink behind the value; nothing else may ever lie there.
  const bool pads =
      node.kind == NodeKind::linear && node.structure.stage_outputs(node.structure.stages() - 1) > node.size;
  value_of(id) = allocate(node.size, capacity, streams_[index(id)] ? kStream : kSlot, pads);
  return value_of(id);
}

// ---------------------------------------------------------------------------------------------------------------------
// Commands

void Emitter::push(const program::Command& command) {
  struct Regions {
    bool outside = false;
    void see(std::uint8_t base) { outside = outside || base != kSlot; }
    void operator()(const program::Mvm& c) { see(c.src.base), see(c.dst.base); }
    void operator()(const program::Move& c) { see(c.src.base), see(c.dst.base); }
    void operator()(const program::Vec& c) {
      for (std::uint32_t s = 0; s < program::source_count(c.op); ++s) see(c.src[s].base);
      see(c.dst.base);
    }
    void operator()(const program::Attend& c) { see(c.a.base), see(c.b.base); }
    void operator()(const program::When& c) { see(c.gate.base); }
    void operator()(const program::Repeat&) {}
    void operator()(const program::End&) {}
    void operator()(const program::Halt&) {}
  } regions;
  std::visit([&](const auto& c) { regions(c); }, command);
  if (regions.outside) relocations_.push_back(program_.code.size());
  const Result<program::Record> record = program::encode(command);
  if (!record) {
    if (!encoding_error_) encoding_error_ = record.error();
    return;
  }
  program_.code.push_back(*record);
}

ConfigId Emitter::move_config(std::uint32_t bits) {
  if (bits == 8) return {};
  Config config;
  config.kind = Config::Kind::move;
  config.bits = static_cast<std::uint8_t>(bits);
  return entry_for(program_.intent.configs, config);
}

GroupId Emitter::group_of(std::vector<TileId> members) {
  const auto [entry, is_new] =
      groups_.try_emplace(std::move(members), GroupId{static_cast<std::uint32_t>(groups_.size())});
  if (is_new) program_.groups.push_back({entry->first});
  return entry->second;
}

Address Emitter::constant_at(const std::string& name, std::uint32_t first, std::uint32_t length, TileId tile) {
  std::uint32_t& used = constants_used_[index(tile)];
  program_.constants.push_back({.name = name, .first = first, .length = length, .tile = tile, .offset = used});
  used += length;
  return {.offset = used - length, .base = kConstants};
}

void Emitter::vec(program::VecOp op, TileId tile, std::uint32_t length, std::array<Address, 3> sources,
                  Address destination, ConfigId config) {
  push(program::Vec{.op = op, .tile = tile, .length = length, .src = sources, .dst = destination, .config = config});
}

void Emitter::fill_padding(const Value& value, const Need& need) {
  const auto [entry, is_new] = zeros_.try_emplace(need.tile);
  if (is_new) entry->second = constant_at("zero", 0, most_padding_, need.tile);
  for (std::uint32_t first = std::max(need.first, value.size); first < need.last; first += kLongestRun)
    push(program::Move{.from = need.tile,
                       .src = {.offset = entry->second.offset, .base = kConstants},
                       .length = std::min(need.last - first, kLongestRun),
                       .to = index(need.tile),
                       .dst = {.offset = value.offset + first, .base = value.region}});
}

/// On the mesh of a chip.
std::uint32_t Emitter::hops_between(TileId from, TileId to) const {
  const program::ChipShape& shape = program_.chip;
  const std::uint32_t tiles = shape.is_dealt() ? shape.tiles_per_chip() : shape.tiles();
  return chip::mesh_hops(index(from) % tiles, index(to) % tiles, tiles);
}

void Emitter::deliver(const Value& value, std::vector<Need> needs, ConfigId config) {
  // Per tile: ascending, disjoint ranges.
  std::sort(needs.begin(), needs.end(),
            [](const Need& a, const Need& b) { return std::pair(a.tile, a.first) < std::pair(b.tile, b.first); });
  std::vector<Need> merged;
  for (const Need& need : needs) {
    if (!merged.empty() && merged.back().tile == need.tile && need.first <= merged.back().last)
      merged.back().last = std::max(merged.back().last, need.last);
    else
      merged.push_back(need);
  }
  std::vector<std::uint32_t> borders;
  for (Need& need : merged) {
    if (DANAUS_BUG(23, need.last > value.size, false)) fill_padding(value, need);
    need.last = std::min(need.last, value.size);
    if (need.first >= need.last) continue;
    borders.push_back(need.first);
    borders.push_back(need.last);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  if (borders.empty()) return;

  // Who needs the elements between two neighbouring borders.
  std::vector<std::vector<TileId>> members(borders.size());
  for (const Need& need : merged) {
    if (need.first >= need.last) continue;
    auto border =
        static_cast<std::size_t>(std::lower_bound(borders.begin(), borders.end(), need.first) - borders.begin());
    for (; borders[border] < need.last; ++border) members[border].push_back(need.tile);
  }

  // Who sends what to whom, as runs. What lies apart goes apart: some of it is there earlier.
  std::multimap<std::pair<TileId, std::vector<TileId>>, std::vector<Segment>> messages;
  auto segment = value.layout.begin();
  for (std::size_t border = 0; border + 1 < borders.size();) {
    const std::vector<TileId>& tiles = members[border];
    const std::uint32_t first = borders[border];
    while (border + 1 < borders.size() && members[border] == tiles) ++border;
    const std::uint32_t last = borders[border];
    if (tiles.empty()) continue;

    while (segment->first + segment->length <= first) ++segment;
    std::map<TileId, std::vector<Segment>> sources;
    for (auto part = segment; part != value.layout.end() && part->first < last; ++part) {
      const std::uint32_t begin = std::max(part->first, first);
      const std::uint32_t end = std::min(part->first + part->length, last);
      sources[part->tile].push_back({begin, end - begin, part->tile});
    }
    for (const auto& [from, runs] : sources) {
      std::vector<TileId> targets;
      std::copy_if(tiles.begin(), tiles.end(), std::back_inserter(targets),
                   [source = from](TileId tile) { return tile != source; });
      if (DANAUS_BUG(12, false, targets.size() > 1)) targets.pop_back();
      if (targets.empty()) continue;
      messages.emplace(std::pair(from, std::move(targets)), runs);
    }
  }
  // A tile sends one after the other: what has far to go leaves first.
  using Message = std::pair<const std::pair<TileId, std::vector<TileId>>, std::vector<Segment>>;
  std::vector<std::pair<std::uint32_t, const Message*>> order;
  for (const Message& message : messages) {
    std::uint32_t hops = 0;
    for (const TileId target : message.first.second) hops = std::max(hops, hops_between(message.first.first, target));
    order.emplace_back(hops, &message);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    const TileId from_a = a.second->first.first, from_b = b.second->first.first;
    return from_a != from_b ? from_a < from_b : a.first > b.first;
  });
  for (const auto& [hops, message] : order) {
    const auto& [from, targets] = message->first;
    const std::vector<Segment>& runs = message->second;
    program::Move move;
    move.from = from;
    move.to_group = targets.size() > 1;
    move.to = move.to_group ? index(group_of(targets)) : index(targets.front());
    move.config = config;
    for (std::size_t run = 0; run < runs.size();) {
      // As many runs of one length and distance as there are, one command.
      std::size_t next = run + 1;
      const std::uint32_t stride = next < runs.size() ? runs[next].first - runs[run].first : 0;
      while (next < runs.size() && runs[next].length == runs[run].length &&
             runs[next].first - runs[next - 1].first == stride)
        ++next;
      move.length = runs[run].length - DANAUS_BUG(11, 0u, runs[run].length > 1 ? 1u : 0u);
      move.count = static_cast<std::uint32_t>(next - run);
      move.src = {.offset = value.offset + runs[run].first,
                  .run_stride = move.count > 1 ? static_cast<std::int32_t>(stride) : 0,
                  .base = value.region};
      move.dst = move.src;
      push(move);
      run = next;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Linear operators

/// One operator in one stage: what it reads and writes.
struct Emitter::StageOperator {
  NodeId node{};
  const Structure* structure = nullptr;
  ConfigId config{};
  Value in, out;
  std::optional<GatheredInputs> gathered;  ///< what `in` has of a gathered operator, tile by tile
  /// Where partial sums of rows-cut blocks gather, block by block, when `out` itself is strided; otherwise = out.
  Value sum;
  bool gathers = false;
  bool rows_cut = false;
  /// Rows-cut stages: per (first output, columns) the tiles with a partial sum and how many activations each took.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::pair<TileId, std::uint32_t>>> partial_sums;

  Block block_of(const Patch& patch) const { return structure->block(patch.stage, block_number(*structure, patch)); }
  /// Position of a patch's first output in `sum`.
  std::uint32_t sum_position(const Patch& patch) const {
    if (!gathers) return patch.out_first;
    const Block block = block_of(patch);
    return block_number(*structure, patch) * block.out_count + (patch.out_first - block.out_first) / block.out_step;
  }
  std::int32_t sum_step(const Patch& patch) const { return gathers ? 1 : patch.out_step; }
  /// PatchAddresses::setting.
  std::uint32_t setting() const { return std::uint32_t{index(config)} << 16 | in.region << 8 | sum.region; }
  /// Offset of a patch's first input in the buffer of its tile.
  std::uint32_t source(const Patch& patch, TileId tile) const {
    return in.offset + (gathered ? gathered->place_of(tile, patch.in_first) : patch.in_first);
  }
};

Result<void> Emitter::emit_linear_group(std::size_t first, std::size_t last) {
  std::vector<StageOperator> operators;
  for (std::size_t n = first; n < last; ++n) {
    const Node& node = graph_.nodes[n];
    operators.push_back({.node = NodeId{static_cast<std::uint32_t>(n)},
                         .structure = &node.structure,
                         .config = {},
                         .in = value_of(node.sources[0]),
                         .out = {},
                         .gathered = {},
                         .sum = {},
                         .partial_sums = {}});
  }
  for (std::uint32_t stage = 0; stage < 2; ++stage) {
    std::vector<StageOperator> active;
    for (const StageOperator& op : operators) {
      if (stage >= op.structure->stages()) continue;
      active.push_back(op);
      StageOperator& current = active.back();
      current.config = graph_.at(op.node).configs[DANAUS_BUG(25, stage, 0u)];
      const bool is_last = stage + 1 == op.structure->stages();
      current.out = is_last ? define(op.node)
                            : allocate(op.structure->stage_outputs(stage), op.structure->stage_outputs(stage), kSlot);
    }
    if (active.empty()) break;
    DANAUS_CHECK(emit_stage(active, stage));
    for (StageOperator& current : active) {
      if (stage > 0 || current.gathered) release(current.in);
      const bool is_last = stage + 1 == current.structure->stages();
      const bool is_read_whole = current.structure->kind != Structure::Kind::blocks || current.structure->k == 1;
      if (is_read_whole) collect(current.out);
      if (is_last) value_of(current.node).layout = current.out.layout;
      for (StageOperator& op : operators) {
        if (op.node == current.node) op.in = current.out;  // the next stage reads what this one wrote
      }
    }
  }
  return {};
}

Result<void> Emitter::emit_stage(std::vector<StageOperator>& operators, std::uint32_t stage) {
  const std::vector<Patch>& patches = placement_.patches;
  const auto patches_of = [&](const StageOperator& op) -> const std::vector<std::uint32_t>& {
    return stage_patches_[std::size_t{index(op.node)} * 2 + stage];
  };
  const bool shared_input = stage == 0;  // operators of a group have the same source

  // Inputs to the tiles of the arrays: gathered blocks pick theirs on the tile, from all.
  std::vector<Need> needs;
  std::vector<std::pair<std::size_t, std::vector<Need>>> gathers;  // by operator
  for (std::size_t o = 0; o < operators.size(); ++o) {
    StageOperator& op = operators[o];
    if (patches_of(op).empty())
      return fail(Error("emit.placement", Failure::bad_input,
                        fmt::format("the placement has no arrays for stage {} of {}", stage, graph_.at(op.node).name)));
    std::vector<Need> own;
    for (const std::uint32_t p : patches_of(op)) {
      const Patch& patch = patches[p];
      op.rows_cut = op.rows_cut || patch.rows < op.block_of(patch).in_count;
      own.push_back({program_.tile_of(patch.array), patch.in_first, patch.in_first + patch.rows});
    }
    if (op.structure->kind == Structure::Kind::gather) {
      for (const Need& need : own) needs.push_back({need.tile, 0, op.structure->in});
      gathers.emplace_back(o, std::move(own));
    } else {
      needs.insert(needs.end(), own.begin(), own.end());
    }
    op.gathers = op.rows_cut && op.structure->block(stage, 0).out_step != 1;
    op.sum = op.gathers ? allocate(op.out.size, op.out.capacity, kSlot) : op.out;
    if (!shared_input || o + 1 == operators.size()) {
      deliver(op.in, std::move(needs), move_config(chip_.input.bits));
      needs.clear();
    }
  }
  for (auto& [o, own] : gathers) gather(operators[o], std::move(own));

  // Activations, array by array, over the operators' patches merged in placement order.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> order;  // (patch, operator)
  for (std::uint32_t o = 0; o < operators.size(); ++o) {
    for (const std::uint32_t p : patches_of(operators[o])) order.emplace_back(p, o);
  }
  std::sort(order.begin(), order.end());
  const bool share = options_.share_inputs && shared_input;
  std::vector<const Patch*> candidates;
  std::vector<PatchAddresses> addresses;
  std::vector<bool> alone;
  std::vector<std::uint32_t> owners;
  for (std::size_t begin = 0; begin < order.size();) {
    const ArrayId array = patches[order[begin].first].array;
    std::size_t end = begin;
    while (end < order.size() && patches[order[end].first].array == array) ++end;
    const std::span<const Patch> in_array(patches.data() + array_begin_[index(array)],
                                          array_begin_[index(array) + 1] - array_begin_[index(array)]);
    for (std::uint32_t o = 0; o < operators.size(); ++o) {
      candidates.clear(), addresses.clear(), alone.clear(), owners.clear();
      for (std::size_t n = begin; n < end; ++n) {
        const auto [p, owner] = order[n];
        if (!share && owner != o) continue;
        const StageOperator& op = operators[owner];
        const Patch& patch = patches[p];
        candidates.push_back(&patch);
        addresses.push_back({.source = op.source(patch, program_.tile_of(array)),
                             .destination = op.sum.offset + op.sum_position(patch),
                             .destination_step = op.sum_step(patch),
                             .setting = op.setting()});
        alone.push_back(op.rows_cut);
        owners.push_back(owner);
      }
      if (candidates.empty()) continue;
      const std::vector<Activation> activations =
          find_activations(in_array, candidates, addresses, alone, chip_.array.rows, chip_.array.cols);
      for (const Activation& activation : activations) {
        StageOperator& op = operators[owners[activation.patches.front()]];
        program::Mvm command = activation.command;
        command.src.base = op.in.region;
        command.dst.base = op.sum.region;
        command.config = op.config;
        if (alone[activation.patches.front()]) {
          const Patch& patch = *candidates[activation.patches.front()];
          auto& tiles = op.partial_sums[{patch.out_first, patch.columns}];
          const TileId tile = program_.tile_of(array);
          const auto known =
              std::find_if(tiles.begin(), tiles.end(), [&](const auto& entry) { return entry.first == tile; });
          command.add = DANAUS_BUG(13, DANAUS_BUG(14, known != tiles.end(), true), false);
          if (known != tiles.end())
            ++known->second;
          else
            tiles.emplace_back(tile, 1u);
        }
        push(command);
      }
      if (share) break;  // all operators at once
    }
    begin = end;
  }

  // Homes of the outputs; outputs of padding go to sinks.
  for (StageOperator& op : operators) {
    const std::uint32_t size = op.out.size;
    const bool is_last = stage + 1 == op.structure->stages();
    std::vector<TileId> homes(size);
    for (const std::uint32_t p : patches_of(op)) {
      const Patch& patch = patches[p];
      const TileId tile = program_.tile_of(patch.array);
      if (DANAUS_BUG(24, is_last && patch.out_first + patch.columns > size, false)) {
        const std::uint32_t first = std::max(patch.out_first, size);
        const program::Sink sink{
            .tile = tile, .address = op.out.at(first), .length = patch.out_first + patch.columns - first};
        if (std::find(program_.sinks.begin(), program_.sinks.end(), sink) == program_.sinks.end())
          program_.sinks.push_back(sink);
      }
      for (std::uint32_t j = 0, element = patch.out_first; j < patch.columns && element < size;
           ++j, element += patch.out_step)
        homes[element] = tile;
    }
    if (op.rows_cut) reduce(op, homes);
    op.out.layout = runs_of(homes);
    if (op.gathers) release(op.sum);
  }
  return {};
}

void Emitter::gather(StageOperator& op, std::vector<Need> needs) {
  const Value x = op.in;
  const std::uint32_t list = program::list_of(*op.structure, program_.lists);
  op.gathered.emplace(std::move(needs));
  op.in = allocate(op.gathered->most(), op.gathered->most(), kSlot);
  for (const GatheredInputs::Range& range : op.gathered->ranges()) {
    for (std::uint32_t first = range.first; first < range.last; first += kLongestRun)
      push(program::gather(range.tile, std::min(range.last - first, kLongestRun), x.at(0), op.structure->in,
                           DANAUS_BUG(32, list, 0u), DANAUS_BUG(31, first, first - range.first),
                           op.in.at(range.place + (first - range.first))));
  }
}

void Emitter::reduce(StageOperator& op, std::vector<TileId>& homes) {
  // Partial sums are wider than activations: 16 bits on the network.
  const ConfigId config = move_config(16);
  for (const auto& [range, tiles] : op.partial_sums) {
    const auto [out_first, columns] = range;
    if (out_first >= op.out.size) continue;  // padding only
    TileId home = tiles.front().first;
    std::uint32_t most = 0;
    for (const auto& [tile, count] : tiles) {
      if (count > most || (count == most && tile < home)) home = tile, most = count;
    }
    const std::uint32_t step = op.gathers ? op.structure->block(0, 0).out_step : 1;
    const std::uint32_t length = op.gathers ? columns : std::min(columns, op.out.size - out_first);
    std::uint32_t position = out_first;
    if (op.gathers) {
      const std::uint32_t block = out_first % step;  // stage 0: output (e*k + j) belongs to block j
      position = block * op.structure->block(0, 0).out_count + out_first / step;
    }
    std::vector<Value> arrived;
    for (const auto& [tile, count] : tiles) {
      if (tile == home || DANAUS_BUG(15, false, tile == tiles.back().first)) continue;
      arrived.push_back(allocate(length, length, kSlot));
      const Address destination = arrived.back().at(0);
      push(program::Move{.from = tile,
                         .src = {.offset = op.sum.offset + position, .base = op.sum.region},
                         .length = length,
                         .to = index(home),
                         .dst = {.offset = destination.offset, .base = destination.base},
                         .config = config});
    }
    for (const Value& part : arrived)
      vec(program::VecOp::add, home, length, {op.sum.at(position), part.at(0), {}}, op.sum.at(position));
    for (const Value& part : arrived) release(part);
    if (op.gathers) {
      // From block order to the stage's order: a local copy, addresses only.
      push(program::Move{.from = home,
                         .src = {.offset = op.sum.offset + position, .base = op.sum.region},
                         .length = length,
                         .to = index(home),
                         .dst = {.offset = op.out.offset + out_first,
                                 .element_stride = length > 1 ? static_cast<std::int32_t>(DANAUS_BUG(28, step, 1u)) : 1,
                                 .base = op.out.region}});
    }
    for (std::uint32_t j = 0; j < length; ++j) homes[out_first + j * step] = home;
  }
}

// Blocks that read all inputs get them from every tile that has some, and where slivers are narrow each tile has some:
// a message from each to each. From few tiles it is a message to one of these, and from there a multicast.
void Emitter::collect(Value& value) {
  constexpr std::size_t kScattered = 128;  // fewer runs are no matter
  if (value.layout.size() < kScattered) return;
  const std::uint32_t width = chip_.array.cols;
  Layout collected;
  std::vector<Need> needs;
  for (std::uint32_t first = 0; first < value.size; first += width) {
    const std::uint32_t last = std::min(value.size, first + width);
    // Where most of it is already.
    std::map<TileId, std::uint32_t> present;
    auto segment = std::upper_bound(value.layout.begin(), value.layout.end(), first,
                                    [](std::uint32_t element, const Segment& each) { return element < each.first; });
    for (--segment; segment != value.layout.end() && segment->first < last; ++segment)
      present[segment->tile] += std::min(segment->first + segment->length, last) - std::max(segment->first, first);
    const TileId home = std::max_element(present.begin(), present.end(), [](const auto& a, const auto& b) {
                          return a.second < b.second;
                        })->first;
    needs.push_back({home, first, last});
    collected.push_back({first, last - first, home});
  }
  deliver(value, std::move(needs), move_config(chip_.input.bits));
  value.layout = joined(std::move(collected));
}

// ---------------------------------------------------------------------------------------------------------------------
// Digital nodes

void Emitter::emit_input(NodeId id) {
  // The input waits on the tiles of the first linear operator that needs it, a piece of an array's width on each.
  Value& value = define(id);
  std::vector<TileId> tiles;
  for (std::size_t n = index(id) + 1; n < graph_.nodes.size() && tiles.empty(); ++n) {
    if (graph_.nodes[n].kind != NodeKind::linear || graph_.nodes[n].idle) continue;
    for (const std::uint32_t p : stage_patches_[n * 2]) tiles.push_back(program_.tile_of(placement_.patches[p].array));
    std::sort(tiles.begin(), tiles.end());
    tiles.erase(std::unique(tiles.begin(), tiles.end()), tiles.end());
  }
  if (tiles.empty()) tiles.push_back(TileId{0});
  const std::uint32_t pieces = (value.size + chip_.array.cols - 1) / chip_.array.cols;
  for (std::uint32_t piece = 0; piece < pieces; ++piece) {
    const std::uint32_t first = piece * chip_.array.cols;
    const auto tile = static_cast<std::size_t>(std::uint64_t{piece} * tiles.size() / pieces);
    value.layout.push_back({first, std::min(chip_.array.cols, value.size - first), tiles[tile]});
  }
  value.layout = joined(std::move(value.layout));
  for (const Segment& segment : value.layout)
    program_.inputs.push_back({.node = id,
                               .first = segment.first,
                               .length = segment.length,
                               .tile = segment.tile,
                               .address = value.at(segment.first)});
}

void Emitter::emit_elementwise(NodeId id) {
  const Node& node = graph_.at(id);
  // Computed where the newest operand is: the residual stream travels with the layers.
  const NodeId owner = *std::max_element(node.sources.begin(), node.sources.end());
  const Layout layout = value_of(owner).layout;
  for (const NodeId source : node.sources) {
    if (source == owner) continue;
    std::vector<Need> needs;
    for (const Segment& segment : layout)
      needs.push_back({segment.tile, segment.first, segment.first + segment.length});
    deliver(value_of(source), std::move(needs), move_config(chip_.input.bits));
  }
  Value& value = define(id);
  value.layout = layout;
  program::VecOp op{};
  switch (node.kind) {
    case NodeKind::add:
    case NodeKind::bias:
      op = program::VecOp::add;
      break;
    case NodeKind::mul:
      op = program::VecOp::mul;
      break;
    case NodeKind::silu:
      op = program::VecOp::silu;
      break;
    case NodeKind::gelu:
      op = program::VecOp::gelu;
      break;
    case NodeKind::gelu_tanh:
      op = program::VecOp::gelu_tanh;
      break;
    case NodeKind::relu:
      op = program::VecOp::relu;
      break;
    default:
      ensure(false, "an elementwise node");
  }
  for (const Segment& segment : layout) {
    std::array<Address, 3> sources{};
    for (std::size_t s = 0; s < node.sources.size(); ++s)
      sources[s] = value_of(node.sources[DANAUS_BUG(21, s, std::size_t{0})]).at(segment.first);
    if (node.kind == NodeKind::bias)
      sources[1] = constant_at(node.constant, segment.first, segment.length, segment.tile);
    vec(op, segment.tile, segment.length, sources, value.at(segment.first));
  }
}

void Emitter::emit_norm(NodeId id) {
  const Node& node = graph_.at(id);
  const ConfigId config = node.configs[0];
  const Value source = value_of(node.sources[0]);
  const auto segments = static_cast<std::uint32_t>(source.layout.size());
  const ConfigId wide = move_config(16);

  // (sum, sum of squares) of every segment, gathered on the tile of the first one and added up in halves.
  Value pairs = allocate(2 * segments, 2 * segments, kSlot);
  const TileId hub = source.layout.front().tile;
  for (std::uint32_t s = 0; s < segments; ++s) {
    const Segment& segment = source.layout[s];
    vec(program::VecOp::moments, segment.tile, segment.length, {source.at(segment.first), {}, {}}, pairs.at(2 * s));
    pairs.layout.push_back({2 * s, 2, segment.tile});
  }
  pairs.layout = joined(std::move(pairs.layout));
  deliver(pairs, {{hub, 0, 2 * segments}}, wide);
  for (std::uint32_t count = DANAUS_BUG(16, segments, segments - (segments > 1 ? 1u : 0u)); count > 1;) {
    const std::uint32_t half = count / 2;
    vec(program::VecOp::add, hub, 2 * half, {pairs.at(0), pairs.at(2 * (count - half)), {}}, pairs.at(0));
    count -= half;
  }
  Value statistics = allocate(2, 2, kSlot);
  statistics.layout = {{0, 2, hub}};
  vec(program::VecOp::stat, hub, 2, {pairs.at(0), {}, {}}, statistics.at(0), config);
  std::vector<Need> needs;
  for (const Segment& segment : source.layout) needs.push_back({segment.tile, 0, 2});
  deliver(statistics, std::move(needs), wide);

  Value& value = define(id);
  value.layout = source.layout;
  for (const Segment& segment : source.layout) {
    const Address gain = constant_at(node.constant, DANAUS_BUG(17, segment.first, 0u), segment.length, segment.tile);
    vec(program::VecOp::norm, segment.tile, segment.length, {source.at(segment.first), statistics.at(0), gain},
        value.at(segment.first), config);
  }
  release(pairs);
  release(statistics);
}

TileId Emitter::tile_of_output(std::size_t linear, std::uint32_t element) const {
  const std::uint32_t stage = graph_.nodes[linear].structure.stages() - 1;
  for (const std::uint32_t p : stage_patches_[linear * 2 + stage]) {
    const Patch& patch = placement_.patches[p];
    const std::uint32_t distance = element - patch.out_first;
    if (element >= patch.out_first && distance % patch.out_step == 0 && distance / patch.out_step < patch.columns)
      return program_.tile_of(patch.array);
  }
  ensure(false, "every output of a placed operator has a patch");
  return {};
}

TileId Emitter::region_tile(const Node& attend, std::uint32_t head) {
  program::KvRegion& region = program_.kv[index(attend.kv_first) + head];
  if (region.size != 0) return region.tile;
  const std::uint32_t first = head * attend.head_size;
  NodeId key = attend.sources[1];
  region.queries = attend.query_heads / attend.kv_heads;
  region.size = attend.head_size;
  if (attend.span == Span::other) {
    // The programs of encoder and decoder have to agree, so only the placement counts.
    while (graph_.at(key).kind != NodeKind::linear && graph_.at(key).kind != NodeKind::input)
      key = graph_.at(key).sources[0];
    region.tile = graph_.at(key).kind == NodeKind::input ? TileId{0} : tile_of_output(index(key), first);
    region.capacity = appends(graph_, attend) ? options_.tokens : options_.encoder_tokens;
    region.start = appends(graph_, attend) ? 0 : options_.encoder_tokens;
    return region.tile;
  }
  // Where the key of this head is, or comes from when it is not computed yet.
  while (value_of(key).layout.empty()) key = graph_.at(key).sources[0];
  const bool decodes = options_.mode == Mode::decode;
  region.tile = tile_at(value_of(key).layout, first);
  region.capacity = (decodes ? options_.kv : options_.tokens) - DANAUS_BUG(27, 0u, 1u);
  region.start = decodes ? options_.kv - options_.tokens : 0;
  return region.tile;
}

/// The k largest of the logits, chosen where the first of them is.
void Emitter::emit_route(NodeId id) {
  const Node& node = graph_.at(id);
  const Value logits = value_of(node.sources[0]);
  const TileId hub = logits.layout.front().tile;
  deliver(logits, {{hub, 0, node.size}}, move_config(16));
  Value& value = define(id);
  value.layout = {{0, node.size, hub}};
  vec(program::VecOp::route, hub, node.size, {logits.at(0), {}, {}}, value.at(0), node.configs[0]);
}

void Emitter::follow_guard(std::size_t node) {
  const std::optional<Guard>& guard = graph_.nodes[node].guard;
  if (guard == guard_) return;
  if (guard_) push(program::End{});
  guard_ = guard;
  if (!guard) return;
  start_blend(node);
  const Value& gates = value_of(guard->gates);
  push(program::When{.tile = gates.layout.front().tile,
                     .gate = gates.at(DANAUS_BUG(30, guard->element, 0u)),
                     .gates = guard->gates,
                     .element = guard->element});
}

/// Blends add up in place, in a copy of the first one's base that is made before the first branch.
void Emitter::start_blend(std::size_t first_guarded) {
  std::size_t first = first_guarded;
  while (first < graph_.nodes.size() && graph_.nodes[first].kind != NodeKind::blend) ++first;
  if (first == graph_.nodes.size()) return;
  const NodeId base = graph_.nodes[first].sources[0];
  if (graph_.at(base).kind == NodeKind::blend) return;
  std::uint32_t capacity = 0;
  bool streams = false;
  for (std::size_t n = first, last = first; n < graph_.nodes.size(); ++n) {
    if (n != first && (graph_.nodes[n].kind != NodeKind::blend || index(graph_.nodes[n].sources[0]) != last)) continue;
    ensure(n == first || last_use_[last] == n, "only the next blend uses a blend");
    capacity = std::max(capacity, capacity_[n]);
    streams = streams || streams_[n];
    last = n;
  }
  const Value source = value_of(base);
  Value& sum = value_of(NodeId{static_cast<std::uint32_t>(first)});
  sum = allocate(source.size, capacity, streams ? kStream : kSlot);
  sum.layout = source.layout;
  for (const Segment& segment : source.layout) {
    const Address from = source.at(segment.first), to = sum.at(segment.first);
    push(program::Move{.from = segment.tile,
                       .src = {.offset = from.offset, .base = from.base},
                       .length = segment.length,
                       .to = index(segment.tile),
                       .dst = {.offset = to.offset, .base = to.base}});
  }
}

void Emitter::emit_blend(NodeId id) {
  const Node& node = graph_.at(id);
  Value& sum = value_of(id);
  if (graph_.at(node.sources[0]).kind == NodeKind::blend) {
    sum = value_of(node.sources[0]);
    value_of(node.sources[0]) = Value{};
  }
  const Value addend = value_of(node.sources[1]);
  const Value gates = value_of(node.guard->gates);
  const std::uint32_t gate = node.guard->element;
  std::vector<Need> needs, gate_needs;
  for (const Segment& segment : sum.layout) {
    needs.push_back({segment.tile, segment.first, segment.first + segment.length});
    gate_needs.push_back({segment.tile, gate, gate + 1});
  }
  deliver(addend, std::move(needs), move_config(chip_.input.bits));
  deliver(gates, std::move(gate_needs), move_config(16));
  const Value scaled = allocate(node.size, node.size, kSlot);
  for (const Segment& segment : sum.layout) {
    vec(program::VecOp::scale, segment.tile, segment.length,
        {addend.at(segment.first), gates.at(DANAUS_BUG(29, gate, 0u)), {}}, scaled.at(segment.first));
    vec(program::VecOp::add, segment.tile, segment.length, {sum.at(segment.first), scaled.at(segment.first), {}},
        sum.at(segment.first));
  }
  release(scaled);
}

void Emitter::emit_rope(NodeId id) {
  // Computed on the tile of the KV region that reads it, head by head.
  const Node& node = graph_.at(id);
  const Node& attend = graph_.nodes[attend_of_[index(id)]];
  const std::uint32_t size = attend.head_size;
  const std::uint32_t heads = node.size / size;
  const std::uint32_t per_region = heads / attend.kv_heads;
  std::vector<Need> needs;
  Layout layout;
  for (std::uint32_t region = 0; region < attend.kv_heads; ++region) {
    const TileId tile = region_tile(attend, region);
    const std::uint32_t first = region * per_region * size;
    needs.push_back({tile, first, first + per_region * size});
    layout.push_back({first, per_region * size, tile});
  }
  deliver(value_of(node.sources[0]), std::move(needs), move_config(chip_.input.bits));
  Value& value = define(id);
  const Value source = value_of(node.sources[0]);
  for (const Segment& segment : layout) {
    for (std::uint32_t first = segment.first; first < segment.first + segment.length; first += size)
      vec(program::VecOp::rope, segment.tile, size, {source.at(DANAUS_BUG(18, first, segment.first)), {}, {}},
          value.at(first), node.configs[0]);
  }
  value.layout = joined(std::move(layout));
}

void Emitter::emit_attend_append(NodeId id) {
  const Node& node = graph_.at(id);
  const Value key = value_of(node.sources[1]);
  const Value value = value_of(node.sources[2]);
  std::vector<Need> needs;
  for (std::uint32_t head = 0; head < node.kv_heads; ++head)
    needs.push_back({region_tile(node, head), head * node.head_size, (head + 1) * node.head_size});
  deliver(key, needs, move_config(chip_.input.bits));
  deliver(value, needs, move_config(chip_.input.bits));
  for (std::uint32_t head = 0; head < node.kv_heads; ++head)
    push(program::Attend{.region = KvId{index(node.kv_first) + head},
                         .append = true,
                         .a = key.at(DANAUS_BUG(20, head, node.kv_heads - 1 - head) * node.head_size),
                         .b = value.at(head * node.head_size)});
}

void Emitter::emit_attend_context(NodeId id) {
  const Node& node = graph_.at(id);
  const Value query = value_of(node.sources[0]);
  const std::uint32_t width = node.query_heads / node.kv_heads * node.head_size;
  std::vector<Need> needs;
  Layout layout;
  for (std::uint32_t head = 0; head < node.kv_heads; ++head) {
    const TileId tile = region_tile(node, head);
    needs.push_back({tile, head * width, (head + 1) * width});
    layout.push_back({head * width, width, tile});
  }
  deliver(query, std::move(needs), move_config(chip_.input.bits));
  Value& value = define(id);
  for (std::uint32_t head = 0; head < node.kv_heads; ++head)
    push(program::Attend{.region = KvId{index(node.kv_first) + head},
                         .append = false,
                         .a = query.at(head * width),
                         .b = value.at(head * width)});
  value.layout = joined(std::move(layout));
}

// ---------------------------------------------------------------------------------------------------------------------
// Loops and the whole program

void Emitter::start_loop() {
  loops_.push_back(program_.code.size());
  push(program::Repeat{.n = options_.tokens, .serial = options_.mode == Mode::decode});
}

void Emitter::end_loop() { push(program::End{}); }

/// Fixes the places of the three regions: slots from 0, then the constants, then the stream.
Result<void> Emitter::relocate() {
  const std::uint32_t slot = slot_arena_.peak();
  const std::uint32_t stream = stream_arena_.peak();
  const std::uint32_t constants =
      constants_used_.empty() ? 0 : *std::max_element(constants_used_.begin(), constants_used_.end());
  const std::uint64_t stream_base = std::uint64_t{slot} * slots_ + constants;
  const std::uint64_t total = stream_base + std::uint64_t{stream} * options_.tokens;
  if (total > kOffsets)
    return fail(Error("emit.address-range", Failure::does_not_fit,
                      fmt::format("the buffer of a tile would need {} elements, addresses reach {}", total, kOffsets))
                    .note(fmt::format("{} slot(s) of {}, constants {}, {} token(s) of {}", slots_, slot, constants,
                                      options_.tokens, stream))
                    .with_hint("use fewer --tokens or --slots"));
  // Every pass has addresses of its own in the tiles that it shares with the others.
  const std::uint64_t bytes = program_.chip.passes() * ((total * chip_.input.bits + 7) / 8);
  if (chip_.buffer.bytes_per_tile != 0 && bytes > chip_.buffer.bytes_per_tile)
    return fail(
        Error("emit.buffer", Failure::does_not_fit,
              fmt::format("a tile needs a buffer of {} bytes, the chip has {}", bytes, chip_.buffer.bytes_per_tile))
            .note(fmt::format("{} slot(s) of {} elements, constants {}, {} token(s) of {}", slots_, slot, constants,
                              options_.tokens, stream))
            .with_hint(
                placement_.copies.empty()
                    ? "raise buffer.bytes_per_tile, or use fewer --tokens or --slots"
                    : "raise buffer.bytes_per_tile, or use fewer --tokens or --slots, or a smaller --replicate"));
  program_.chip.buffer = static_cast<std::uint32_t>(std::max<std::uint64_t>(total, 1));
  const std::array<std::uint32_t, 4> region_base = {slot * slots_, 0, static_cast<std::uint32_t>(stream_base), 0};

  for (const std::size_t position : loops_) {
    program::Repeat loop = std::get<program::Repeat>(program::decode_unchecked(program_.code[position]));
    if (loop.n > 1) {
      if (slots_ > 1) loop.step[0] = slot, loop.modulus[0] = slot * slots_;
      loop.step[1] = DANAUS_BUG(26, stream, 0u);
    }
    DANAUS_TRY(record, program::encode(loop));
    program_.code[position] = record;
  }
  const auto move_address = [&](auto& address) { address.offset += region_base[address.base]; };
  for (const std::size_t position : relocations_) {
    program::Command command = program::decode_unchecked(program_.code[position]);
    if (program::Mvm* mvm = std::get_if<program::Mvm>(&command)) {
      move_address(mvm->src), move_address(mvm->dst);
    } else if (program::Move* move = std::get_if<program::Move>(&command)) {
      move_address(move->src), move_address(move->dst);
    } else if (program::Vec* operation = std::get_if<program::Vec>(&command)) {
      for (std::uint32_t s = 0; s < program::source_count(operation->op); ++s) move_address(operation->src[s]);
      move_address(operation->dst);
    } else if (program::When* when = std::get_if<program::When>(&command)) {
      move_address(when->gate);
    } else if (program::Attend* attend = std::get_if<program::Attend>(&command)) {
      move_address(attend->a), move_address(attend->b);
    }
    DANAUS_TRY(record, program::encode(command));
    program_.code[position] = record;
  }
  for (program::Location& location : program_.inputs) move_address(location.address);
  for (program::Location& location : program_.outputs) move_address(location.address);
  for (program::Sink& sink : program_.sinks) move_address(sink.address);
  for (program::Constant& constant : program_.constants) constant.offset += region_base[kConstants];
  return {};
}

Result<program::Program> Emitter::run() {
  DANAUS_CHECK(prepare());
  program_.chip = {.rows = chip_.array.rows,
                   .cols = chip_.array.cols,
                   .adcs = chip_.adc.per_array,
                   .arrays = placement_.arrays,
                   .arrays_per_tile = chip_.network.arrays_per_tile,
                   .buffer = 0,
                   .chips = chip_.system.chips,
                   .arrays_per_chip = chip::arrays_per_chip(chip_, placement_.arrays)};
  program_.chip_digest = chip::digest_of(chip_);
  program_.model_digest = options_.model_digest;
  program_.notes.push_back({"chip", chip::to_toml(chip_)});
  if (!options_.model_name.empty()) program_.notes.push_back({"model", options_.model_name});
  program_.intent = graph_;
  program_.lists = program::selections_of(graph_);
  std::uint32_t regions = 0;
  for (const Node& node : graph_.nodes) {
    if (node.kind == NodeKind::attend) regions = std::max(regions, index(node.kv_first) + node.kv_heads);
  }
  program_.kv.resize(regions);
  for (const Node& node : graph_.nodes) {
    if (node.kind != NodeKind::attend || computes_context(node) || appends(graph_, node)) continue;
    for (std::uint32_t head = 0; head < node.kv_heads; ++head)
      program_.kv[index(node.kv_first) + head] = {.queries = node.query_heads / node.kv_heads, .size = node.head_size};
  }
  constants_used_.resize(program_.chip.tiles());
  DANAUS_CHECK(index_patches());
  program_.code.reserve(placement_.patches.size() + placement_.patches.size() / 4);

  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    if (graph_.nodes[n].kind == NodeKind::input && !graph_.nodes[n].idle)
      emit_input(NodeId{static_cast<std::uint32_t>(n)});
  }
  start_loop();
  for (std::size_t n = 0; n < graph_.nodes.size();) {
    const NodeId id{static_cast<std::uint32_t>(n)};
    std::size_t next = n + 1;
    if (graph_.nodes[n].idle) {
      // Keys and values of cross-attention: the encoder leaves them to the decoder.
      if (graph_.nodes[n].kind == NodeKind::attend && appends(graph_, graph_.nodes[n])) {
        emit_attend_append(id);
        release_after(n);
      }
      n = next;
      continue;
    }
    follow_guard(n);
    switch (graph_.nodes[n].kind) {
      case NodeKind::input:
        break;
      case NodeKind::linear:
        while (next < graph_.nodes.size() && graph_.nodes[next].kind == NodeKind::linear &&
               graph_.nodes[next].sources == graph_.nodes[n].sources &&
               graph_.nodes[next].guard == graph_.nodes[n].guard && !graph_.nodes[next].idle)
          ++next;
        DANAUS_CHECK(emit_linear_group(n, next));
        break;
      case NodeKind::norm:
        emit_norm(id);
        break;
      case NodeKind::rope:
        emit_rope(id);
        break;
      case NodeKind::attend:
        if (DANAUS_BUG(19, false, true)) emit_attend_context(id);
        if (appends(graph_, graph_.nodes[n])) emit_attend_append(id);
        if (graph_.nodes[n].span == Span::all) {
          end_loop();
          start_loop();
        }
        emit_attend_context(id);
        break;
      case NodeKind::route:
        emit_route(id);
        break;
      case NodeKind::blend:
        emit_blend(id);
        break;
      default:
        emit_elementwise(id);
    }
    for (std::size_t done = n; done < next; ++done) release_after(done);
    n = next;
  }
  if (guard_) push(program::End{});
  end_loop();
  push(program::Halt{});
  for (const NodeId output : graph_.outputs) {
    if (graph_.at(output).idle) continue;
    const Value& value = value_of(output);
    for (const Segment& segment : value.layout)
      program_.outputs.push_back({.node = output,
                                  .first = segment.first,
                                  .length = segment.length,
                                  .tile = segment.tile,
                                  .address = value.at(segment.first)});
  }
  if (encoding_error_)
    return fail(Error("emit.encoding", Failure::unsupported,
                      "the placement needs a command that cannot be encoded: " + encoding_error_->message)
                    .with_hint("choose fewer or smaller --blocks"));
  DANAUS_CHECK(relocate());
  return std::move(program_);
}

}  // namespace

std::string_view name_of(Mode mode) {
  switch (mode) {
    case Mode::decode:
      return "decode";
    case Mode::prefill:
      return "prefill";
    case Mode::encode:
      return "encode";
  }
  return "";
}

Result<program::Program> emit(const Graph& graph, Placement placement, const chip::Chip& chip,
                              const EmitOptions& options) {
  Result<program::Program> program = Emitter(graph, placement, chip, options).run();
  if (program) {
    program->patches = std::move(placement.patches);
    program->copies = std::move(placement.copies);
    wire_columns(*program, chip);
  }
  return program;
}

namespace {

/// How the converters' range is set. `automatic` means the range that needs no data: whoever has data says so.
Config::Range range_of(const chip::Chip& chip) {
  if (chip.adc.rule == chip::AdcRule::lossless) return Config::Range::lossless;
  switch (chip.noise.adc_range) {
    case chip::AdcRange::automatic:
    case chip::AdcRange::l1:
      return Config::Range::l1;
    case chip::AdcRange::full:
      return Config::Range::full;
    case chip::AdcRange::cal_shared:
      return Config::Range::cal_shared;
    case chip::AdcRange::cal_column:
      return Config::Range::cal_column;
    case chip::AdcRange::user:
      return Config::Range::user;
    case chip::AdcRange::lossless:
      return Config::Range::lossless;
  }
  return Config::Range::lossless;
}

}  // namespace

Graph with_structures(const Graph& graph, const std::vector<Structure>& structures, const chip::Chip& chip) {
  Graph result = graph;
  std::size_t number = 0;
  for (Node& node : result.nodes) {
    if (node.kind != NodeKind::linear) continue;
    ensure(number < structures.size(), "one structure for every linear node");
    node.structure = structures[number++];
    for (std::uint32_t stage = 0; stage < 2; ++stage) {
      node.configs[stage] = {};
      if (stage >= node.structure.stages()) continue;
      Config config;
      config.dac_bits = static_cast<std::uint8_t>(chip.input.bits);
      config.adc_bits = static_cast<std::uint8_t>(
          chip::adc_bits(chip, std::min(chip.array.rows, node.structure.block(stage, 0).in_count), stage));
      config.range = range_of(chip);
      node.configs[stage] = entry_for(result.configs, config);
    }
  }
  return result;
}

}  // namespace danaus::compile
