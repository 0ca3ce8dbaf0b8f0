// Two steps. The outline is one pass over the code: it splits the code into segments, checks every id against the
// program's tables, finds each command's resource and puts commands whose costs and counts are the same function of the
// chip together as one work. The plan goes over the works, few even in large programs, and puts in the chip's
// constants.

#include "danaus/machine/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <span>
#include <unordered_map>

#include "danaus/core/internal_error.h"
#include "danaus/machine/experts.h"
#include "danaus/machine/index_map.h"

namespace danaus::machine {
namespace {

using chip::Chip;
using program::Program;

constexpr std::uint64_t kMostCommands = 2'000'000'000;
constexpr std::uint64_t kMostIterations = 1u << 24;
constexpr double kMostWork = 1e12;  // elements read and written
constexpr std::uint32_t kUnlimited = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint32_t kMostArrays = 1u << 24;  // the width of the fields of a record
constexpr std::uint32_t kMostBits = 64;
constexpr std::uint32_t kMostElements = 1u << 24;
constexpr std::uint32_t kMostLinks = 1u << 24;  // 8 bytes each
constexpr std::size_t kMostRanges = 1u << 22;   // 8 bytes each

std::uint64_t bytes_of(std::uint32_t bits) { return (bits + 7) / 8; }

Error too_long(const std::string& what) {
  return Error("machine.too-long", Failure::unsupported, fmt::format("the program is too long to simulate: {}", what))
      .with_hint(fmt::format("at most {} commands in {} iterations are executed; simulate fewer tokens", kMostCommands,
                             kMostIterations));
}

Error too_many_links(const std::string& what) {
  return Error("machine.too-large", Failure::unsupported, what).with_hint("set network.contention = \"port\"");
}

/// Messages take the links of their ways.
bool has_wormhole_switching(const Chip& chip) {
  return chip.network.topology == chip::Topology::mesh && chip.network.switching == chip::Switching::wormhole;
}

bool has_link_contention(const Chip& chip) {
  return chip.network.topology == chip::Topology::mesh && chip.network.contention == chip::Contention::links;
}

/// What tells works apart: the fields of a command that its costs and counts depend on.
using Key = std::array<std::uint64_t, 5>;
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t hash = 0;
    for (const std::uint64_t part : key) hash = (hash ^ part) * 0x9e3779b97f4a7c15u ^ (hash >> 29);
    return static_cast<std::size_t>(hash);
  }
};

/// Costs of a move, from Work::cost on: what its messages take of their mesh and, with wormhole switching, their way
/// after that; for other chips the link, its latency (and the meshes beyond without link contention), and the same
/// there.
constexpr std::uint32_t kMesh = 0, kArrival = 1, kLink = 2, kLinkLatency = 3, kBeyond = 4, kArrivalBeyond = 5;
constexpr std::uint32_t kMoveCosts = 6;

// Events of the activations of one mvm configuration; energies are these times constants.
struct ConfigCounts {
  std::uint64_t activations = 0, rows = 0, cells = 0, columns = 0;
};

class Outliner {
 public:
  Outliner(const Program& program, const Chip& chip)
      : program_(program),
        tiles_(program.chip.tiles()),
        mesh_(chip::mesh_side(program.chip.is_dealt() ? program.chip.tiles_per_chip() : tiles_)) {
    outline_.double_buffer = chip.adc.double_buffer;
    outline_.pooled = chip::are_converters_pooled(chip);
    outline_.link_contention = has_link_contention(chip);
    outline_.wormhole = has_wormhole_switching(chip);
    outline_.mesh = mesh_;
  }

  Result<Outline> run() {
    DANAUS_CHECK(count_links());
    DANAUS_CHECK(check_regions());
    DANAUS_CHECK(count_copies());
    add_fixed_resources();
    outline_.steps.resize(program_.code.size());
    DANAUS_CHECK(split());
    for (const Segment& segment : outline_.segments) {
      for (std::uint32_t offset = 0; offset < segment.count; ++offset) {
        position_ = segment.first + offset;
        const program::Command command = program::decode_unchecked(program_.code[position_]);
        repeat_ = branch_ == kNone ? segment.loop.n : 1;
        if (std::holds_alternative<program::End>(command)) {
          branch_ = kNone;
        } else {
          DANAUS_CHECK(std::visit([&](const auto& concrete) { return add(concrete); }, command));
        }
      }
    }
    collect_last_uses();
    return std::move(outline_);
  }

 private:
  template <typename... Arguments>
  tl::unexpected<Error> invalid(fmt::format_string<Arguments...> text, Arguments&&... arguments) const {
    return fail(invalid_command(program_, position_, fmt::format(text, std::forward<Arguments>(arguments)...)));
  }

  Result<void> count_links() {
    if (!outline_.link_contention) return {};
    const std::uint64_t links = mesh_.links() * program_.chip.chips;
    if (links > kMostLinks)
      return fail(
          too_many_links(fmt::format("the meshes have {} links and ports, at most {} are kept", links, kMostLinks)));
    outline_.mesh_links = static_cast<std::uint32_t>(links);
    return {};
  }

  Result<void> count_copies() {
    if (program_.copies.empty()) return {};
    copies_.resize(program_.chip.arrays);
    for (const program::Copy& copy : program_.copies) {
      if (index(copy.array) >= program_.chip.arrays || index(copy.of) >= program_.chip.arrays ||
          program_.chip.passes() > 1) {
        return fail(Error("machine.invalid", Failure::bad_input,
                          fmt::format("array {} cannot be a copy of array {}", index(copy.array), index(copy.of)))
                        .with_hint("check the program with `danaus verify`"));
      }
      ++copies_[index(copy.of)];
    }
    if (outline_.pooled) {
      return fail(Error("machine.shared-copies", Failure::unsupported,
                        "the program has copies of arrays, which is not modelled for converters that serve several "
                        "activations at a time: which copy works decides whose converters are taken")
                      .with_hint("set adc.sharing = \"column\", or compile the program without --replicate"));
    }
    return {};
  }

  std::uint32_t copies_of(ArrayId array) const { return copies_.empty() ? 0 : copies_[index(array)]; }

  Result<void> check_regions() const {
    for (std::size_t number = 0; number < program_.kv.size(); ++number) {
      const program::KvRegion& region = program_.kv[number];
      const bool good = index(region.tile) < tiles_ && region.queries <= kMostElements &&
                        region.size <= kMostElements && std::uint64_t{region.queries} * region.size <= kMostElements &&
                        region.start <= region.capacity;
      if (!good) {
        return fail(
            Error("machine.invalid", Failure::bad_input,
                  fmt::format("KV region {}: no such tile, too large, or more entries than its capacity", number))
                .with_hint("check the program with `danaus verify`"));
      }
    }
    return {};
  }

  // Segments: straight code and loops in turn. Nothing after halt.
  Result<void> split() {
    Segment straight;
    bool in_loop = false, in_branch = false;
    bool halted = false;
    Segment loop;
    const auto close = [&](const Segment& segment) {
      if (segment.count == 0 && !segment.is_loop) return;
      outline_.segments.push_back(segment);
      outline_.largest_segment = std::max(outline_.largest_segment, segment.count);
      outline_.commands +=
          std::uint64_t{segment.count} * segment.loop.n;  // below 2^64: both factors are below 2^32 ...
      outline_.iterations += segment.loop.n;
      outline_.commands = std::min(outline_.commands, kMostCommands + 1);  // ... and the sum stays small
    };
    if (program_.code.size() >= kNone) return fail(too_long("it has 2^32 or more commands"));
    for (position_ = 0; position_ < program_.code.size(); ++position_) {
      if (halted) return invalid("nothing may follow halt");
      Result<program::Command> command = program::decode(program_.code[position_]);
      if (!command) return fail(invalid_record(command.error()));
      if (const program::When* when = std::get_if<program::When>(&*command)) {
        if (in_branch) return invalid("branches do not nest");
        in_branch = true;
        outline_.branches.push_back(
            {.begin = position_, .end = position_, .gates = when->gates, .element = when->element, .iterations = 1});
        if (in_loop) outline_.branches.back().iterations = loop.loop.n;
        ++(in_loop ? loop : straight).count;
      } else if (in_branch && std::holds_alternative<program::End>(*command)) {
        in_branch = false;
        outline_.branches.back().end = position_;
        ++(in_loop ? loop : straight).count;
      } else if (const program::Repeat* repeat = std::get_if<program::Repeat>(&*command)) {
        if (in_loop || in_branch) return invalid("loops do not nest, and none begins in a branch");
        close(straight);
        in_loop = true;
        loop = Segment{position_ + 1, 0, *repeat, true};
      } else if (std::holds_alternative<program::End>(*command)) {
        if (!in_loop) return invalid("end without rep");
        close(loop);
        in_loop = false;
        straight = Segment{position_ + 1, 0, {}, false};
      } else if (std::holds_alternative<program::Halt>(*command)) {
        if (in_loop || in_branch) return invalid("halt inside a loop or branch");
        close(straight);
        halted = true;
      } else {
        ++(in_loop ? loop : straight).count;
      }
    }
    if (!halted) {
      return fail(Error("machine.invalid", Failure::bad_input, "the program does not end with halt")
                      .with_hint("check it with `danaus verify`"));
    }
    if (outline_.commands > kMostCommands || outline_.iterations > kMostIterations) {
      return fail(too_long(outline_.commands > kMostCommands ? fmt::format("more than {} commands", kMostCommands)
                                                             : fmt::format("{} iterations", outline_.iterations)));
    }
    return {};
  }

  Error invalid_record(const Error& reason) const {
    return Error("machine.invalid", Failure::bad_input, fmt::format("command {}: {}", position_, reason.message))
        .with_hint("check it with `danaus verify`");
  }

  void add_fixed_resources() {
    outline_.resources.push_back({});
    for (const program::KvRegion& region : program_.kv) {
      outline_.region_resource.push_back(static_cast<std::uint32_t>(outline_.resources.size()));
      outline_.resources.push_back({Resource::Kind::attention, program_.chip.chip_of(region.tile)});
    }
    fixed_resources_ = static_cast<std::uint32_t>(outline_.resources.size());
  }

  // The resource of an array, of a tile's vector units or of its outgoing port.
  std::uint32_t resource(Resource::Kind kind, std::uint32_t number, std::uint32_t chip, std::uint32_t units = 1) {
    const std::uint32_t named = named_.index_of(std::uint64_t{static_cast<std::uint8_t>(kind)} << 32 | number);
    if (fixed_resources_ + named == outline_.resources.size())
      outline_.resources.push_back({kind, chip, units, number});
    return fixed_resources_ + named;
  }

  // The number of the command's work: a new one, or that of a command that costs and counts the same. `fields` are
  // those of the work that differ between commands of its kind.
  template <typename Fill>
  std::uint32_t work_of(const Work& work, const Key& fields, Fill fill) {
    Key key = fields;
    key[0] |= std::uint64_t{static_cast<std::uint8_t>(work.kind)} << 60;
    key[4] |= std::uint64_t{branch_} << 32;
    std::uint32_t& number = last_works_[static_cast<std::size_t>(work.kind)];
    if (number == kNone || last_keys_[static_cast<std::size_t>(work.kind)] != key) {
      const auto [found, is_new] = works_.try_emplace(key, static_cast<std::uint32_t>(outline_.works.size()));
      number = found->second;
      last_keys_[static_cast<std::size_t>(work.kind)] = key;
      if (is_new) add_work(work, fill);
    }
    outline_.works[number].times += repeat_;
    return number;
  }

  template <typename Fill>
  std::uint32_t add_work(Work work, Fill fill) {
    fill(work);
    work.branch = branch_;
    outline_.works.push_back(work);
    return static_cast<std::uint32_t>(outline_.works.size() - 1);
  }
  std::uint32_t new_costs(std::uint32_t count) {
    outline_.costs += count;
    return outline_.costs - count;
  }

  // Passes use the same arrays and tiles one after the other.
  std::uint32_t physical_array(ArrayId array) const {
    const program::ChipShape& shape = program_.chip;
    if (!shape.is_dealt()) return index(array);
    return static_cast<std::uint32_t>(index(array) % (std::uint64_t{shape.arrays_per_chip} * shape.chips));
  }
  std::uint32_t physical_tile(TileId tile) const {
    const program::ChipShape& shape = program_.chip;
    if (!shape.is_dealt()) return index(tile);
    return static_cast<std::uint32_t>(index(tile) % (std::uint64_t{shape.tiles_per_chip()} * shape.chips));
  }
  // Where a tile lies on the mesh of its chip.
  std::uint32_t mesh_place(TileId tile) const {
    return program_.chip.is_dealt() ? index(tile) % program_.chip.tiles_per_chip() : index(tile);
  }

  // The latest command that uses a tile's buffer, so far.
  void use(std::uint32_t tile) {
    if (tile >= last_use_.size()) last_use_.resize(tile + 1, kNone);
    last_use_[tile] = position_;
  }

  void collect_last_uses() {
    if (any_region_at_ != kNone) {
      position_ = any_region_at_;
      for (const program::KvRegion& region : program_.kv) {
        const std::uint32_t tile = index(region.tile);
        if (tile >= last_use_.size() || last_use_[tile] == kNone || last_use_[tile] < position_) use(tile);
      }
    }
    for (std::uint32_t tile = 0; tile < last_use_.size(); ++tile) {
      if (last_use_[tile] != kNone) outline_.last_uses.emplace_back(last_use_[tile], tile);
    }
    std::sort(outline_.last_uses.begin(), outline_.last_uses.end());
  }

  Result<void> check_window(const program::Window& window, std::uint32_t edge, std::string_view what) {
    if (window.length == 0 || window.count == 0 || window.first >= edge || window.cells() > edge)
      return invalid("the {} window does not fit an array of {}", what, edge);
    return {};
  }

  Result<void> add(const program::Mvm& mvm) {
    const Graph& intent = program_.intent;
    if (index(mvm.array) >= program_.chip.arrays) return invalid("there is no array {}", index(mvm.array));
    if (index(mvm.config) >= intent.configs.size() || intent.configs[index(mvm.config)].kind != Config::Kind::mvm)
      return invalid("configuration {} is not one of an mvm", index(mvm.config));
    const Config& config = intent.configs[index(mvm.config)];
    if (config.dac_bits == 0 || config.adc_bits == 0 || config.dac_bits > kMostBits || config.adc_bits > kMostBits)
      return invalid("configuration {} has no or too many converter bits", index(mvm.config));
    DANAUS_CHECK(check_window(mvm.rows, program_.chip.rows, "row"));
    DANAUS_CHECK(check_window(mvm.columns, program_.chip.cols, "column"));
    Work work{.kind = Work::Kind::mvm};
    work.config = mvm.config;
    work.add = mvm.add;
    work.rows = mvm.rows.cells();
    work.columns = mvm.columns;
    const Key key = {std::uint64_t{index(work.config)} << 1 | (work.add ? 1 : 0), work.rows,
                     std::uint64_t{mvm.columns.first} << 32 | mvm.columns.stride,
                     std::uint64_t{mvm.columns.length} << 32 | mvm.columns.count, 0};
    const std::uint32_t number = work_of(work, key, [&](Work& fresh) {
      fresh.cost = new_costs(outline_.double_buffer || outline_.pooled ? 2 : 1);
      fresh.elements = std::uint64_t{fresh.rows} + fresh.columns.cells();
    });
    const TileId tile = program_.tile_of(mvm.array);
    const std::uint32_t array = physical_array(mvm.array), chip = program_.chip.chip_of(tile);
    const std::uint32_t units = 1 + copies_of(mvm.array), cost = outline_.works[number].cost;
    Step& step = outline_.steps[position_];
    step = {resource(Resource::Kind::array, array, chip, units), cost};
    // With double buffering the converters of an array are a resource of their own: it takes the next input while they
    // work on the columns that are held. Without it the array waits for converters that others may use.
    if (outline_.double_buffer || outline_.pooled) {
      Step converting{resource(Resource::Kind::converters, array, chip, units), cost + 1};
      if (outline_.pooled) converting.columns = mvm.columns.cells();
      if (!outline_.double_buffer) converting.holds = step.resource;
      step.then = add_later_step(converting);
    }
    use(index(tile));
    return {};
  }

  Result<void> add(const program::Move& move) {
    const std::uint32_t from = index(move.from);
    if (from >= tiles_) return invalid("there is no tile {}", from);
    const Graph& intent = program_.intent;
    std::uint32_t bits = 8;
    if (index(move.config) != 0) {
      if (index(move.config) >= intent.configs.size() || intent.configs[index(move.config)].kind != Config::Kind::move)
        return invalid("configuration {} is not one of a move", index(move.config));
      bits = intent.configs[index(move.config)].bits;
    }
    const std::uint64_t elements = std::uint64_t{move.length} * move.count;
    if (elements == 0 || elements > program_.chip.buffer)
      return invalid("it moves {} elements, a buffer has {}", elements, program_.chip.buffer);
    if (!move.to_group && move.to >= tiles_) return invalid("there is no tile {}", move.to);
    if (move.to_group && move.to >= program_.groups.size()) return invalid("there is no group {}", move.to);
    const TileId target{move.to};
    const std::span<const TileId> members =
        move.to_group ? std::span<const TileId>(program_.groups[move.to].members) : std::span<const TileId>(&target, 1);
    if (move.deal && (!move.to_group || move.count != members.size()))
      return invalid("it deals {} runs to {} members", move.count, members.size());
    for (const TileId member : members) {
      if (index(member) >= tiles_) return invalid("there is no tile {}", index(member));
      use(index(member));
    }
    use(from);

    legs_.clear();
    links_.clear();
    links_beyond_.clear();
    if (move.deal) {
      for (std::uint32_t message = 0; message < members.size(); ++message)
        send(message, move.from, members.subspan(message, 1));
    } else {
      send(0, move.from, members);
    }
    Work work{.kind = Work::Kind::move};
    work.bits = bits;
    work.message = move.deal ? move.length : elements;
    const std::uint64_t written = move.deal ? elements : elements * members.size();
    const bool crosses = std::any_of(legs_.begin(), legs_.end(), [](const Leg& leg) { return leg.crosses; });
    const auto fill = [&](Work& fresh) {
      fresh.cost = new_costs(crosses ? kMoveCosts : kArrival + 1);
      fresh.elements = elements + written;
      fresh.first_leg = static_cast<std::uint32_t>(outline_.legs.size());
      fresh.legs = static_cast<std::uint32_t>(legs_.size());
      outline_.legs.insert(outline_.legs.end(), legs_.begin(), legs_.end());
    };
    std::uint32_t number = 0;
    if (legs_.size() == 1) {  // one message within a chip
      const Leg& leg = legs_.front();
      number = work_of(work, {bits, work.message, written, leg.farthest, leg.links}, fill);
    } else {
      number = add_work(work, fill);
      outline_.works[number].times = repeat_;
    }
    const std::uint32_t cost = outline_.works[number].cost;
    const std::uint32_t chip = program_.chip.chip_of(move.from);
    Step& step = outline_.steps[position_];
    const bool is_remote =
        std::any_of(legs_.begin(), legs_.end(), [](const Leg& leg) { return leg.is_own_chip && leg.farthest > 0; });
    // From the last step to the first.
    std::uint32_t then = kNone;
    if (crosses) {
      if (outline_.link_contention) {
        if (outline_.wormhole) then = add_later_step({0, cost + kArrivalBeyond, then});
        then = add_later_step({way(move, links_beyond_, true), cost + kBeyond, then});
      }
      then = add_later_step({0, cost + kLinkLatency, then});
      then = add_later_step({resource(Resource::Kind::link, chip, chip), cost + kLink, then});
    }
    if (outline_.wormhole && is_remote) then = add_later_step({0, cost + kArrival, then});
    if (!outline_.link_contention) {
      step = {is_remote ? resource(Resource::Kind::port, physical_tile(move.from), chip) : 0, cost + kMesh, then};
    } else {
      if (is_remote) links_.push_back({chip_links(chip) + mesh_.port(mesh_place(move.from)), 1});
      step = {way(move, links_, false), cost + kMesh, then};
      if (outline_.ranges.size() > kMostRanges)
        return fail(too_many_links(fmt::format("the ways of messages have more than {} straight parts", kMostRanges)));
    }
    return {};
  }

  std::uint32_t chip_links(std::uint32_t chip) const { return chip * static_cast<std::uint32_t>(mesh_.links()); }

  // The resource of all links that a move takes together, on its own mesh or on those beyond; 0 where there are none.
  // Moves with the same ends share it.
  std::uint32_t way(const program::Move& move, std::vector<LinkRange>& links, bool is_beyond) {
    if (links.empty()) return 0;
    const std::uint32_t kind = (move.to_group ? 1u : 0u) | (move.deal ? 2u : 0u) | (is_beyond ? 4u : 0u);
    const std::uint64_t ends = std::uint64_t{index(move.from)} << 32 | std::uint64_t{kind} << 24 | move.to;
    const std::size_t known = outline_.resources.size();
    const std::uint32_t number = resource(Resource::Kind::way, ways_.index_of(ends), program_.chip.chip_of(move.from));
    if (number < known) return number;
    join(links);
    outline_.resources[number].first_range = static_cast<std::uint32_t>(outline_.ranges.size());
    outline_.resources[number].ranges = static_cast<std::uint32_t>(links.size());
    outline_.ranges.insert(outline_.ranges.end(), links.begin(), links.end());
    return number;
  }

  // Each link once, whichever messages of a deal take it. In the order of numbers, those that follow each other as one.
  static void join(std::vector<LinkRange>& ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const LinkRange& a, const LinkRange& b) { return a.first < b.first; });
    std::size_t joined = 0;
    for (const LinkRange& range : ranges) {
      LinkRange& last = ranges[joined];
      if (range.first <= last.first + last.count) {
        last.count = std::max(last.first + last.count, range.first + range.count) - last.first;
      } else {
        ranges[++joined] = range;
      }
    }
    ranges.resize(joined + 1);
  }

  std::uint32_t add_later_step(const Step& step) {
    outline_.later_steps.push_back(step);
    return static_cast<std::uint32_t>(outline_.later_steps.size() - 1);
  }

  // One message, to one tile or as a multicast: a tree on the mesh of its chip, the link once per other chip, and a
  // tree on the mesh of each. The link is at the first tile of a chip.
  void send(std::uint32_t message, TileId from, std::span<const TileId> members) {
    constexpr std::uint32_t kGate = 0;
    const std::uint32_t own_chip = program_.chip.chip_of(from);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> places;  // (chip, place on its mesh)
    places.reserve(members.size() + 1);
    for (const TileId member : members) places.emplace_back(program_.chip.chip_of(member), mesh_place(member));
    std::sort(places.begin(), places.end());
    const auto is_here = [&](const auto& place) { return place.first == own_chip; };
    const bool crosses = !std::all_of(places.begin(), places.end(), is_here);
    if (crosses) {
      places.emplace_back(own_chip, kGate);
      std::sort(places.begin(), places.end());
    }
    std::vector<std::uint32_t> stops;
    for (std::size_t first = 0, last = 0; first < places.size(); first = last) {
      Leg leg{.message = message, .chip = places[first].first, .crosses = crosses};
      leg.is_own_chip = leg.chip == own_chip;
      const std::uint32_t source = leg.is_own_chip ? mesh_place(from) : kGate;
      stops.clear();
      for (; last < places.size() && places[last].first == leg.chip; ++last) {
        stops.push_back(places[last].second);
        leg.farthest = std::max(leg.farthest, chip::mesh_hops_on(mesh_.side(), source, stops.back()));
      }
      leg.links = leg.farthest;
      if (stops.size() > 1 || outline_.link_contention) add_tree(leg, mesh_.tree(source, stops));
      legs_.push_back(leg);
    }
  }

  void add_tree(Leg& leg, const std::vector<LinkRange>& tree) {
    leg.links = 0;
    for (const LinkRange& range : tree) leg.links += range.count;
    if (!outline_.link_contention) return;
    std::vector<LinkRange>& links = leg.is_own_chip ? links_ : links_beyond_;
    for (const LinkRange& range : tree) links.push_back({chip_links(leg.chip) + range.first, range.count});
  }

  Result<void> add(const program::Vec& vec) {
    if (index(vec.tile) >= tiles_) return invalid("there is no tile {}", index(vec.tile));
    Work work{.kind = Work::Kind::vec};
    work.op = vec.op;
    work.length = vec.length;
    const std::uint32_t number =
        work_of(work, {static_cast<std::uint64_t>(vec.op), vec.length, 0, 0, 0}, [&](Work& fresh) {
          fresh.cost = new_costs(1);
          fresh.elements = program::result_length(vec);
          for (std::uint32_t source = 0; source < program::source_count(vec.op); ++source)
            fresh.elements += program::fetched_length(vec, source);
        });
    outline_.steps[position_] = {
        resource(Resource::Kind::digital, physical_tile(vec.tile), program_.chip.chip_of(vec.tile)),
        outline_.works[number].cost};
    use(index(vec.tile));
    return {};
  }

  Result<void> add(const program::Attend& attend) {
    if (index(attend.region) >= program_.kv.size()) return invalid("there is no KV region {}", index(attend.region));
    outline_.steps[position_] = {kNone, kNone};
    const program::KvRegion& region = program_.kv[index(attend.region)];
    use(index(region.tile));
    if (attend.region_base != 0) any_region_at_ = position_;
    const std::uint64_t elements = 2 * (std::uint64_t{region.size} * (attend.append ? 1 : region.queries));
    work_of(Work{.kind = Work::Kind::attend}, {0, elements, 0, 0, 0}, [&](Work& fresh) { fresh.elements = elements; });
    return {};
  }

  // The gate is read where it lies; what follows in the branch waits for it.
  Result<void> add(const program::When& when) {
    const Graph& intent = program_.intent;
    if (index(when.tile) >= tiles_) return invalid("there is no tile {}", index(when.tile));
    if (index(when.gates) >= intent.nodes.size() || intent.at(when.gates).kind != NodeKind::route)
      return invalid("node {} is no route", index(when.gates));
    const Node& route = intent.at(when.gates);
    const std::uint32_t k = intent.configs[index(route.configs[0])].k;
    if (when.element >= route.size || k == 0 || k > route.size)
      return invalid("node {} has no gate {}", index(when.gates), when.element);
    const std::uint32_t number = work_of(Work{}, {0, route.size, 0, 0, 0}, [&](Work& fresh) {
      fresh.cost = new_costs(1);
      fresh.elements = 1 + std::uint64_t{route.size};
    });
    outline_.steps[position_] = {0, outline_.works[number].cost};
    use(index(when.tile));
    branch_ = next_branch_++;
    return {};
  }

  // Never called: split() and run() deal with these.
  Result<void> add(const program::Repeat&) { return invalid("misplaced rep"); }
  Result<void> add(const program::End&) { return invalid("misplaced end"); }
  Result<void> add(const program::Halt&) { return invalid("misplaced halt"); }

  const Program& program_;
  Outline outline_;
  const std::uint32_t tiles_;
  const Mesh mesh_;  // of a chip
  std::uint32_t position_ = 0;
  std::uint32_t branch_ = kNone, next_branch_ = 0;
  std::uint64_t repeat_ = 1;  // iterations that execute the command; 1 in a branch
  std::uint32_t fixed_resources_ = 0;
  IndexMap named_;
  std::unordered_map<Key, std::uint32_t, KeyHash> works_;
  static constexpr std::size_t kKinds = 5;
  std::array<Key, kKinds> last_keys_{};
  std::array<std::uint32_t, kKinds> last_works_{kNone, kNone, kNone, kNone, kNone};
  std::vector<Leg> legs_;                        // of the current move
  std::vector<LinkRange> links_, links_beyond_;  // of the current move, with link contention
  IndexMap ways_;                                // by the ends of a move
  std::vector<std::uint32_t> last_use_;          // by tile: a position
  std::uint32_t any_region_at_ = kNone;          // last attend whose region a register moves
  std::vector<std::uint32_t> copies_;            // by array; empty without any
};

class Planner {
 public:
  Planner(const Program& program, const Outline& outline, const Chip& chip, bool linear_only, const Routing& routing)
      : program_(program),
        outline_(outline),
        chip_(chip),
        linear_only_(linear_only),
        most_bits_(most_adc_bits(program.intent)),
        experts_(program.intent, routing),
        incoming_(program.chip.is_dealt() ? program.chip.chips : 0),
        config_counts_(program.intent.configs.size()) {}

  Result<Plan> run() {
    share_resources();
    count_taken();
    plan_.costs.resize(outline_.costs);
    double elements = 0;
    for (const Work& work : outline_.works) {
      const std::uint64_t times = work.branch == kNone ? work.times : work.times * taken_[work.branch];
      elements += static_cast<double>(work.elements) * static_cast<double>(times);
      if (work.kind != Work::Kind::when) plan_.counts.commands += times;
      switch (work.kind) {
        case Work::Kind::mvm:
          add_mvm(work, times);
          break;
        case Work::Kind::move:
          add_move(work, times);
          break;
        case Work::Kind::vec:
          add_vec(work, times);
          break;
        case Work::Kind::when:
          plan_.counts.buffer_bytes += times;
          break;
        case Work::Kind::attend:
          break;  // when its operands are known
      }
    }
    if (elements > kMostWork) return fail(too_long(fmt::format("its commands read and write {} elements", elements)));
    DANAUS_CHECK(add_energy());
    for (const Picoseconds time : incoming_) plan_.busiest_incoming_link = std::max(plan_.busiest_incoming_link, time);
    return std::move(plan_);
  }

 private:
  // Vector units of a hub and attention units of a chip stand for those of its tiles and regions. Where messages take
  // no time they need no port.
  void share_resources() {
    plan_.sharing = {.has_network = chip_.network.topology == chip::Topology::mesh &&
                                    (chip::to_picoseconds(chip_.network.hop_ns) > 0 ||
                                     chip::to_picoseconds(chip_.network.clock_ns) > 0),
                     .hub = chip_.digital.hub,
                     .vector_units = chip_.digital.units,
                     .attention_units = chip_.attention.units};
    if (outline_.pooled) {
      plan_.sharing.pool_arrays = chip_.adc.sharing == chip::AdcSharing::group ? chip_.adc.group_arrays : 1;
      plan_.sharing.pool_converters = chip_.adc.per_array;
    }
    const Sharing& sharing = plan_.sharing;
    std::vector<std::uint32_t> hubs(program_.chip.chips, kNone), attention(program_.chip.chips, kNone);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> pools;  // by chip and place on it
    plan_.shared.resize(outline_.resources.size());
    plan_.capacity.resize(outline_.resources.size());
    for (std::uint32_t number = 0; number < outline_.resources.size(); ++number) {
      const Resource& resource = outline_.resources[number];
      std::uint32_t& stands_for_it = plan_.shared[number];
      stands_for_it = number;
      plan_.capacity[number] = resource.kind == Resource::Kind::free ? kUnlimited : resource.units;
      std::vector<std::uint32_t>* pool = nullptr;
      if (resource.kind == Resource::Kind::digital) {
        plan_.capacity[number] = sharing.vector_units == 0 ? kUnlimited : sharing.vector_units;
        if (sharing.hub) pool = &hubs;
      } else if (resource.kind == Resource::Kind::attention && sharing.attention_units != 0) {
        plan_.capacity[number] = sharing.attention_units;
        pool = &attention;
      } else if (resource.kind == Resource::Kind::converters && outline_.pooled) {
        // Those of arrays that the program does not use are off.
        const std::uint32_t on_chip =
            program_.chip.is_dealt() ? resource.number % program_.chip.arrays_per_chip : resource.number;
        stands_for_it = pools.try_emplace({resource.chip, on_chip / sharing.pool_arrays}, number).first->second;
        plan_.capacity[number] = 0;
        plan_.capacity[stands_for_it] += sharing.pool_converters;
      } else if (resource.kind == Resource::Kind::port && !sharing.has_network) {
        stands_for_it = 0;
      } else if (resource.kind == Resource::Kind::way) {
        plan_.capacity[number] = kUnlimited;  // its links hold messages back
        if (!sharing.has_network) stands_for_it = 0;
      }
      if (pool == nullptr) continue;
      std::uint32_t& first = (*pool)[resource.chip];
      if (first == kNone) first = number;
      stands_for_it = first;
    }
  }

  // How often each branch is taken.
  void count_taken() {
    for (const Branch& branch : outline_.branches) {
      std::uint64_t times = 0;
      for (std::uint32_t token = 0; token < branch.iterations; ++token)
        times += experts_.is_chosen(branch.gates, token, branch.element) ? 1 : 0;
      taken_.push_back(times);
    }
  }

  void add_mvm(const Work& work, std::uint64_t times) {
    const Config& config = program_.intent.configs[index(work.config)];
    const std::uint64_t rows = work.rows, columns = work.columns.cells();
    const std::uint32_t rounds = rounds_of(work.columns, chip_);
    const std::uint32_t bits = chip::converter_bits(chip_, config.adc_bits, most_bits_);
    const chip::ActivationTime time = chip::activation_parts(chip_, config.dac_bits, bits, rounds);
    const std::uint64_t repeats = chip_.input.kind == chip::InputKind::bit_serial ? config.dac_bits : 1;
    const std::uint64_t conversions = repeats * chip_.array.slices;
    Cost& driving = plan_.costs[work.cost];
    driving.input = time.input;
    driving.settle = time.settle;
    Cost& converting = plan_.costs[outline_.double_buffer || outline_.pooled ? work.cost + 1 : work.cost];
    const std::uint64_t one_after_the_other = conversions * rounds;
    // Of a pool each column takes a converter for itself.
    converting.adc = outline_.pooled ? chip::activation_parts(chip_, config.dac_bits, bits, 1).adc : time.adc;
    converting.rounds = outline_.pooled ? conversions : one_after_the_other;

    const std::uint64_t windows = chip::input_windows(chip_, rounds);
    const std::uint64_t cells = rows * (chip_.array.idle_columns_draw ? windows * chip_.array.cols : columns);
    Counts& counts = plan_.counts;
    counts.activations += times;
    counts.conversions += times * columns * conversions;
    counts.adc_rounds += times * one_after_the_other;
    counts.driven_rows += times * rows * windows;
    counts.active_cells += times * cells;
    counts.buffer_bytes +=
        times * (rows * bytes_of(config.dac_bits) + (work.add ? 2 : 1) * columns * bytes_of(config.adc_bits));
    ConfigCounts& configured = config_counts_[index(work.config)];
    configured.activations += times;
    configured.rows += times * rows * windows;
    configured.cells += times * cells;
    configured.columns += times * columns;
  }

  // What the messages of a move take on the mesh of their chip, on its link, and on the meshes beyond. They leave one
  // after the other, and the last to arrive ends the move.
  void add_move(const Work& work, std::uint64_t times) {
    const std::uint64_t bits = work.message * work.bits + chip_.network.header_bits;
    Cost mesh, link, beyond;
    bool crosses = false;
    Picoseconds departure = 0;  // of the last message from its tile
    const Picoseconds at_port = chip::message_port_time(chip_, work.message, work.bits);
    const std::span<const Leg> legs(outline_.legs.data() + work.first_leg, work.legs);
    for (std::size_t first = 0, last = 0; first < legs.size(); first = last) {
      bool is_message = legs[first].crosses;
      std::uint64_t links = 0;
      for (; last < legs.size() && legs[last].message == legs[first].message; ++last) {
        const Leg& leg = legs[last];
        links += leg.links;
        is_message = is_message || leg.farthest > 0;
        const Picoseconds time = chip::message_time(chip_, work.message, work.bits, leg.farthest);
        if (leg.is_own_chip) {
          extend(mesh.network, departure + time);
          if (leg.farthest > 0) departure = std::min(chip::kLongestTime, departure + at_port);
        } else {
          const Picoseconds crossing = chip::link_time(chip_, bits);
          crosses = true;
          extend(link.link, link.link + crossing);
          extend(beyond.network, time);
          incoming_[leg.chip] = add_times(incoming_[leg.chip], crossing, times);
          plan_.counts.link_messages += times;
          plan_.counts.link_bits += times * bits;
        }
      }
      if (!is_message) continue;
      plan_.counts.messages += times;
      plan_.counts.message_bits += times * bits;
      if (chip_.network.topology == chip::Topology::mesh) plan_.counts.bit_hops += times * bits * links;
      if (chip_.network.topology == chip::Topology::flat) plan_.counts.bit_hops += times * bits;
    }
    const auto put = [&](std::uint32_t taken, std::uint32_t arrival, const Cost& cost, Picoseconds leaving) {
      plan_.costs[work.cost + taken] = cost;
      if (!outline_.wormhole || leaving >= cost.network) return;
      plan_.costs[work.cost + taken].network = leaving;
      plan_.costs[work.cost + arrival].network = cost.network - leaving;
    };
    put(kMesh, kArrival, mesh, departure);
    if (crosses) {
      Cost latency;
      latency.link = chip::to_picoseconds(chip_.system.link_latency_ns);
      if (outline_.link_contention) {
        put(kBeyond, kArrivalBeyond, beyond, at_port);
      } else {
        latency.network = beyond.network;  // one step
      }
      plan_.costs[work.cost + kLink] = link;
      plan_.costs[work.cost + kLinkLatency] = latency;
    }
    plan_.counts.buffer_bytes += times * work.elements * bytes_of(work.bits);
  }

  static void extend(Picoseconds& latest, Picoseconds time) {
    latest = std::min(chip::kLongestTime, std::max(latest, time));
  }

  // The sum so far and this many more times; 0 in a branch that is never taken.
  static Picoseconds add_times(Picoseconds sum, Picoseconds time, std::uint64_t count) {
    const auto times = static_cast<Picoseconds>(count);
    if (times == 0) return sum;
    return time > (chip::kLongestTime - sum) / times ? chip::kLongestTime : sum + times * time;
  }

  void add_vec(const Work& work, std::uint64_t times) {
    const chip::Chip::Digital& digital = chip_.digital;
    const std::array<double, kVecOps> ns = {digital.add_ns,  digital.mul_ns,   digital.silu_ns,    digital.gelu_ns,
                                            digital.relu_ns, digital.rope_ns,  digital.moments_ns, digital.stat_ns,
                                            digital.norm_ns, digital.route_ns, digital.mul_ns,     digital.gelu_ns,
                                            digital.add_ns};  // a gather passes the lanes like an addition
    const std::size_t op = static_cast<std::size_t>(work.op);
    if (!linear_only_) {
      const Picoseconds once = chip::to_picoseconds(ns[op]);
      const std::uint32_t steps = digital.lanes == 0 ? 1 : (work.length + digital.lanes - 1) / digital.lanes;
      plan_.costs[work.cost].digital = once > chip::kLongestTime / steps ? chip::kLongestTime : once * steps;
    }
    plan_.counts.vector_ops += times;
    plan_.counts.vector_elements += times * work.length;
    plan_.counts.op_elements[op] += times * (digital.energy_per_operation ? 1 : work.length);
    plan_.counts.buffer_bytes += times * work.elements;
  }

  Result<void> add_energy() {
    for (std::size_t number = 0; number < config_counts_.size(); ++number) {
      const ConfigCounts& counts = config_counts_[number];
      if (counts.activations == 0) continue;
      const Config& config = program_.intent.configs[number];
      const std::uint32_t bits = chip::converter_bits(chip_, config.adc_bits, most_bits_);
      DANAUS_TRY(energy, chip::activation_energy_parts(chip_, config.dac_bits, bits));
      plan_.energy.rows += static_cast<double>(counts.rows) * energy.row_pj;
      plan_.energy.cells += static_cast<double>(counts.cells) * energy.cell_pj +
                            static_cast<double>(counts.activations) * energy.activation_pj;
      plan_.energy.adc += static_cast<double>(counts.columns) * energy.column_pj;
      plan_.adc_high += static_cast<double>(counts.columns) * energy.column_high_pj;
    }
    return {};
  }

  const Program& program_;
  const Outline& outline_;
  const Chip& chip_;
  const bool linear_only_;
  const std::uint32_t most_bits_;  // of a stage
  Experts experts_;
  Plan plan_;
  std::vector<std::uint64_t> taken_;   // by branch: iterations
  std::vector<Picoseconds> incoming_;  // by chip: serialisation on the link from the switch
  std::vector<ConfigCounts> config_counts_;
};

}  // namespace

Result<void> check_shape(const program::ChipShape& shape, const chip::Chip& chip) {
  struct Pair {
    std::string_view name;
    std::uint64_t program, chip;
  };
  for (const Pair& pair : {Pair{"rows", shape.rows, chip.array.rows}, Pair{"columns", shape.cols, chip.array.cols},
                           Pair{"converters per array", shape.adcs, chip.adc.per_array},
                           Pair{"arrays per tile", shape.arrays_per_tile, chip.network.arrays_per_tile}}) {
    if (pair.program != pair.chip) {
      return fail(Error("machine.shape", Failure::bad_input,
                        fmt::format("the program is for {} {}, the chip '{}' has {}", pair.program, pair.name,
                                    chip.name, pair.chip))
                      .with_hint("simulate with the chip the program was compiled for, or compile it again"));
    }
  }
  const std::uint32_t share = chip::arrays_per_chip(chip, shape.arrays);
  if (shape.is_dealt() && (shape.chips != chip.system.chips || shape.arrays_per_chip != share)) {
    return fail(Error("machine.shape", Failure::bad_input,
                      fmt::format("the program is dealt to {} chips of {} arrays; '{}' is {} of {}", shape.chips,
                                  shape.arrays_per_chip, chip.name, chip.system.chips, share))
                    .with_hint("simulate with the chip the program was compiled for, or compile it again"));
  }
  if (!shape.is_dealt() && chip.system.chips != 1) {
    return fail(Error("machine.shape", Failure::bad_input,
                      fmt::format("the program is for one chip, '{}' is {}", chip.name, chip.system.chips))
                    .with_hint("compile it again with --chips"));
  }
  const std::uint32_t most = chip.system.arrays != 0 && !shape.is_dealt() ? chip.system.arrays : kMostArrays;
  if (shape.arrays > most) {
    return fail(Error("machine.shape", Failure::bad_input,
                      fmt::format("the program uses {} arrays, the chip '{}' has {}", shape.arrays, chip.name, most)));
  }
  return {};
}

std::uint64_t most_open(const Outline& outline) {
  constexpr std::uint64_t kWindowCommands = 1u << 22;
  return std::max(kWindowCommands, 2 * std::uint64_t{outline.largest_segment});
}

const Segment* measured_segment(const Outline& outline) {
  const Segment* measured = nullptr;
  for (const Segment& segment : outline.segments) {
    if (segment.is_loop || measured == nullptr || !measured->is_loop) measured = &segment;
  }
  return measured;
}

Result<Outline> make_outline(const Program& program, const Chip& chip) { return Outliner(program, chip).run(); }

Result<Plan> make_plan(const Program& program, const Outline& outline, const Chip& chip, bool linear_only,
                       const Routing& routing) {
  ensure(chip.adc.double_buffer == outline.double_buffer && chip::are_converters_pooled(chip) == outline.pooled &&
             has_link_contention(chip) == outline.link_contention && has_wormhole_switching(chip) == outline.wormhole,
         "the outline has the steps of the chip");
  return Planner(program, outline, chip, linear_only, routing).run();
}

Cost attend_cost(const chip::Chip& chip, const program::KvRegion& region, bool append, std::uint64_t entries,
                 bool linear_only) {
  Cost cost;
  if (linear_only) return cost;
  const chip::Chip::Attention& attention = chip.attention;
  if (append) {
    cost.attention = chip::to_picoseconds(attention.append_ns);
  } else {
    const double macs = 2.0 * region.queries * region.size * static_cast<double>(entries);
    const double bytes = 2.0 * region.size * static_cast<double>(entries);
    const double compute_ns = attention.macs_per_ns > 0 ? macs / attention.macs_per_ns : 0;
    const double read_ns = attention.kv_bytes_per_ns > 0 ? bytes / attention.kv_bytes_per_ns : 0;
    cost.attention = chip::to_picoseconds(std::max(compute_ns, read_ns) + attention.softmax_ns);
  }
  return cost;
}

std::uint32_t rounds_of(const program::Window& columns, const chip::Chip& chip) {
  const std::uint32_t cols = chip.array.cols, adcs = chip.adc.per_array;
  const bool wraps = std::uint32_t{columns.first} + columns.length > cols;
  const bool dealt_in_turn = chip.adc.wiring == chip::Wiring::interleaved && columns.count == 1 && !wraps;
  if (chip.adc.sharing != chip::AdcSharing::column || dealt_in_turn) return (columns.cells() + adcs - 1) / adcs;
  std::vector<std::uint32_t> read(adcs);
  std::uint32_t most = 0;
  for (std::uint32_t run = 0; run < columns.count; ++run) {
    for (std::uint32_t element = 0; element < columns.length; ++element) {
      const std::uint32_t column = (columns.first + run * columns.stride + element) % cols;
      most = std::max(most, ++read[chip::converter_of(chip, column)]);
    }
  }
  return most;
}

std::uint32_t most_adc_bits(const Graph& intent) {
  std::uint32_t bits = 0;
  for (const Node& node : intent.nodes) {
    if (node.kind != NodeKind::linear) continue;
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage)
      bits = std::max<std::uint32_t>(bits, intent.configs[index(node.configs[stage])].adc_bits);
  }
  return bits;
}

Error takes_too_long() {
  return Error("machine.too-long", Failure::unsupported, "the program takes more than 28 hours on the chip")
      .with_hint("check the times in the chip file");
}

Error invalid_command(const program::Program& program, std::uint32_t position, const std::string& problem) {
  return Error("machine.invalid", Failure::bad_input,
               fmt::format("command {}: {}: {}", position,
                           program::to_text(program::decode_unchecked(program.code[position])), problem))
      .with_hint("check the program with `danaus verify`");
}

}  // namespace danaus::machine
