// One pass over the code: splits it into segments, checks every id against the program's tables, works out each
// command's resource and cost (equal costs are stored once) and adds up the event counts, since a command of a loop
// runs n times.

#include "danaus/machine/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>
#include <unordered_map>

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

std::uint64_t bytes_of(std::uint32_t bits) { return (bits + 7) / 8; }

struct CostHash {
  std::size_t operator()(const Cost& cost) const {
    std::uint64_t hash = 0;
    for (const Picoseconds part : {cost.input, cost.settle, cost.adc, cost.network, cost.link, cost.digital,
                                   cost.attention, static_cast<Picoseconds>(cost.rounds)})
      hash = (hash ^ static_cast<std::uint64_t>(part)) * 0x9e3779b97f4a7c15u ^ (hash >> 29);
    return static_cast<std::size_t>(hash);
  }
};

// Events of the activations of one mvm configuration; energies are these times constants.
struct ConfigCounts {
  std::uint64_t activations = 0, rows = 0, cells = 0, columns = 0;
};

class Planner {
 public:
  Planner(const Program& program, const Chip& chip, const SimulateOptions& options)
      : program_(program), chip_(chip), linear_only_(options.linear_only), experts_(program.intent, options.routing) {}

  Result<Plan> run() {
    DANAUS_CHECK(check_shape());
    tiles_ = program_.chip.tiles();
    side_ = chip::mesh_side(program_.chip.is_dealt() ? program_.chip.tiles_per_chip() : tiles_);
    incoming_.resize(program_.chip.is_dealt() ? program_.chip.chips : 0);
    DANAUS_CHECK(check_regions());
    DANAUS_CHECK(count_copies());
    add_fixed_resources();
    config_counts_.resize(program_.intent.configs.size());
    plan_.steps.resize(program_.code.size());
    DANAUS_CHECK(split());
    for (const Segment& segment : plan_.segments) {
      repeat_ = segment.loop.n;
      for (std::uint32_t offset = 0; offset < segment.count; ++offset) {
        position_ = segment.first + offset;
        const program::Command command = program::decode_unchecked(program_.code[position_]);
        if (const program::When* when = std::get_if<program::When>(&command)) {
          DANAUS_CHECK(plan(*when));
          repeat_ = times_taken(segment, *when);
        } else if (std::holds_alternative<program::End>(command)) {
          plan_.steps[position_] = {0, kNone};
          repeat_ = segment.loop.n;
        } else {
          DANAUS_CHECK(std::visit([&](const auto& concrete) { return plan(concrete); }, command));
          plan_.counts.commands += repeat_;
        }
      }
    }
    if (work_ > kMostWork) return fail(too_long(fmt::format("its commands read and write {} elements", work_)));
    DANAUS_CHECK(add_energy());
    for (const Picoseconds time : incoming_) plan_.busiest_incoming_link = std::max(plan_.busiest_incoming_link, time);
    collect_last_uses();
    return std::move(plan_);
  }

 private:
  template <typename... Arguments>
  tl::unexpected<Error> invalid(fmt::format_string<Arguments...> text, Arguments&&... arguments) const {
    return fail(invalid_command(program_, position_, fmt::format(text, std::forward<Arguments>(arguments)...)));
  }

  static Error too_long(std::string what) {
    return Error("machine.too-long", Failure::unsupported, fmt::format("the program is too long to simulate: {}", what))
        .with_hint(fmt::format("at most {} commands in {} iterations are executed; simulate fewer tokens",
                               kMostCommands, kMostIterations));
  }

  Result<void> check_shape() const {
    const program::ChipShape& shape = program_.chip;
    struct Pair {
      std::string_view name;
      std::uint64_t program, chip;
    };
    for (const Pair& pair : {Pair{"rows", shape.rows, chip_.array.rows}, Pair{"columns", shape.cols, chip_.array.cols},
                             Pair{"converters per array", shape.adcs, chip_.adc.per_array},
                             Pair{"arrays per tile", shape.arrays_per_tile, chip_.network.arrays_per_tile}}) {
      if (pair.program != pair.chip) {
        return fail(Error("machine.shape", Failure::bad_input,
                          fmt::format("the program is for {} {}, the chip '{}' has {}", pair.program, pair.name,
                                      chip_.name, pair.chip))
                        .with_hint("simulate with the chip the program was compiled for, or compile it again"));
      }
    }
    const std::uint32_t share = chip::arrays_per_chip(chip_, shape.arrays);
    if (shape.is_dealt() && (shape.chips != chip_.system.chips || shape.arrays_per_chip != share)) {
      return fail(Error("machine.shape", Failure::bad_input,
                        fmt::format("the program is dealt to {} chips of {} arrays; '{}' is {} of {}", shape.chips,
                                    shape.arrays_per_chip, chip_.name, chip_.system.chips, share))
                      .with_hint("simulate with the chip the program was compiled for, or compile it again"));
    }
    if (!shape.is_dealt() && chip_.system.chips != 1) {
      return fail(Error("machine.shape", Failure::bad_input,
                        fmt::format("the program is for one chip, '{}' is {}", chip_.name, chip_.system.chips))
                      .with_hint("compile it again with --chips"));
    }
    const std::uint32_t most = chip_.system.arrays != 0 && !shape.is_dealt() ? chip_.system.arrays : kMostArrays;
    if (shape.arrays > most) {
      return fail(
          Error("machine.shape", Failure::bad_input,
                fmt::format("the program uses {} arrays, the chip '{}' has {}", shape.arrays, chip_.name, most)));
    }
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
      plan_.segments.push_back(segment);
      plan_.largest_segment = std::max(plan_.largest_segment, segment.count);
      plan_.commands += std::uint64_t{segment.count} * segment.loop.n;  // below 2^64: both factors are below 2^32 ...
      plan_.iterations += segment.loop.n;
      plan_.commands = std::min(plan_.commands, kMostCommands + 1);  // ... and the sum stays small
    };
    if (program_.code.size() >= kNone) return fail(too_long("it has 2^32 or more commands"));
    for (position_ = 0; position_ < program_.code.size(); ++position_) {
      if (halted) return invalid("nothing may follow halt");
      Result<program::Command> command = program::decode(program_.code[position_]);
      if (!command) return fail(invalid_record(command.error()));
      if (const program::When* when = std::get_if<program::When>(&*command)) {
        if (in_branch) return invalid("branches do not nest");
        in_branch = true;
        plan_.branches.push_back(
            {.begin = position_, .end = position_, .gates = when->gates, .element = when->element});
        ++(in_loop ? loop : straight).count;
      } else if (in_branch && std::holds_alternative<program::End>(*command)) {
        in_branch = false;
        plan_.branches.back().end = position_;
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
    if (plan_.commands > kMostCommands || plan_.iterations > kMostIterations) {
      return fail(too_long(plan_.commands > kMostCommands ? fmt::format("more than {} commands", kMostCommands)
                                                          : fmt::format("{} iterations", plan_.iterations)));
    }
    return {};
  }

  Error invalid_record(const Error& reason) const {
    return Error("machine.invalid", Failure::bad_input, fmt::format("command {}: {}", position_, reason.message))
        .with_hint("check it with `danaus verify`");
  }

  void add_fixed_resources() {
    plan_.resources.push_back({Resource::Kind::free, kUnlimited});  // resource 0: what needs nothing
    // A unit beside each KV region, or a chip's units for the regions on its tiles.
    const std::uint32_t units = chip_.attention.units;
    const auto regions = static_cast<std::uint32_t>(program_.kv.size());
    const std::uint32_t pools = units == 0 ? regions : regions == 0 ? 0 : program_.chip.chips;
    const auto first = static_cast<std::uint32_t>(plan_.resources.size());
    plan_.resources.resize(first + pools, {Resource::Kind::attention, units == 0 ? 1 : units});
    for (std::uint32_t region = 0; region < regions; ++region)
      plan_.region_resource.push_back(first + (units == 0 ? region : program_.chip.chip_of(program_.kv[region].tile)));
    fixed_resources_ = static_cast<std::uint32_t>(plan_.resources.size());
  }

  // The resource of an array, of a tile's vector units or of its outgoing port.
  std::uint32_t resource(Resource::Kind kind, std::uint32_t number, std::uint32_t capacity) {
    const std::uint32_t named = named_.index_of(std::uint64_t{static_cast<std::uint8_t>(kind)} << 32 | number);
    if (fixed_resources_ + named == plan_.resources.size()) plan_.resources.push_back({kind, capacity});
    return fixed_resources_ + named;
  }

  std::uint32_t cost_number(const Cost& cost) {
    if (plan_.costs.empty() || !(plan_.costs[last_cost_] == cost)) {
      const auto [found, is_new] = cost_numbers_.try_emplace(cost, static_cast<std::uint32_t>(plan_.costs.size()));
      if (is_new) plan_.costs.push_back(cost);
      last_cost_ = found->second;
    }
    return last_cost_;
  }

  void set_step(std::uint32_t resource_number, const Cost& cost) {
    plan_.steps[position_] = {resource_number, cost_number(cost)};
  }

  std::uint32_t add_later_step(std::uint32_t resource_number, const Cost& cost, std::uint32_t then) {
    plan_.later_steps.push_back({resource_number, cost_number(cost), then});
    return static_cast<std::uint32_t>(plan_.later_steps.size() - 1);
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
      if (last_use_[tile] != kNone) plan_.last_uses.emplace_back(last_use_[tile], tile);
    }
    std::sort(plan_.last_uses.begin(), plan_.last_uses.end());
  }

  void add_work(std::uint64_t elements) { work_ += static_cast<double>(elements) * static_cast<double>(repeat_); }

  Result<void> check_window(const program::Window& window, std::uint32_t edge, std::string_view what) {
    if (window.length == 0 || window.count == 0 || window.first >= edge || window.cells() > edge)
      return invalid("the {} window does not fit an array of {}", what, edge);
    return {};
  }

  Result<void> plan(const program::Mvm& mvm) {
    const Graph& intent = program_.intent;
    if (index(mvm.array) >= program_.chip.arrays) return invalid("there is no array {}", index(mvm.array));
    if (index(mvm.config) >= intent.configs.size() || intent.configs[index(mvm.config)].kind != Config::Kind::mvm)
      return invalid("configuration {} is not one of an mvm", index(mvm.config));
    const Config& config = intent.configs[index(mvm.config)];
    if (config.dac_bits == 0 || config.adc_bits == 0 || config.dac_bits > kMostBits || config.adc_bits > kMostBits)
      return invalid("configuration {} has no or too many converter bits", index(mvm.config));
    DANAUS_CHECK(check_window(mvm.rows, chip_.array.rows, "row"));
    DANAUS_CHECK(check_window(mvm.columns, chip_.array.cols, "column"));
    const std::uint64_t rows = mvm.rows.cells();
    const std::uint64_t columns = mvm.columns.cells();
    const std::uint32_t rounds = rounds_of(mvm.columns, chip_.array.cols, chip_.adc.per_array);
    const chip::ActivationTime time = chip::activation_parts(chip_, config.dac_bits, config.adc_bits, rounds);
    const std::uint64_t repeats = chip_.input.kind == chip::InputKind::bit_serial ? config.dac_bits : 1;
    const std::uint64_t conversions = repeats * chip_.array.slices;
    Cost cost;
    cost.input = time.input;
    cost.settle = time.settle;
    cost.adc = time.adc;
    cost.rounds = conversions * rounds;
    set_activation(physical_array(mvm.array), 1 + copies_of(mvm.array), cost);
    use(index(program_.tile_of(mvm.array)));

    const std::uint64_t windows = chip::input_windows(chip_, rounds);
    const std::uint64_t cells = rows * (chip_.array.idle_columns_draw ? windows * chip_.array.cols : columns);
    Counts& counts = plan_.counts;
    counts.activations += repeat_;
    counts.conversions += repeat_ * columns * conversions;
    counts.adc_rounds += repeat_ * cost.rounds;
    counts.driven_rows += repeat_ * rows * windows;
    counts.active_cells += repeat_ * cells;
    counts.buffer_bytes +=
        repeat_ * (rows * bytes_of(config.dac_bits) + (mvm.add ? 2 : 1) * columns * bytes_of(config.adc_bits));
    ConfigCounts& configured = config_counts_[index(mvm.config)];
    configured.activations += repeat_;
    configured.rows += repeat_ * rows * windows;
    configured.cells += repeat_ * cells;
    configured.columns += repeat_ * columns;
    add_work(rows + columns);
    return {};
  }

  // With double buffering the converters of an array are a resource of their own: it takes the next input while they
  // work on the columns that are held.
  void set_activation(std::uint32_t array, std::uint32_t capacity, const Cost& cost) {
    const std::uint32_t cells = resource(Resource::Kind::array, array, capacity);
    if (!chip_.adc.double_buffer) return set_step(cells, cost);
    Cost driving;
    driving.input = cost.input;
    driving.settle = cost.settle;
    Cost converting = cost;
    converting.input = converting.settle = 0;
    const std::uint32_t converters = resource(Resource::Kind::converters, array, capacity);
    plan_.steps[position_] = {cells, cost_number(driving), add_later_step(converters, converting, kNone)};
  }

  Result<void> plan(const program::Move& move) {
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

    Journey journey;
    if (move.deal) {
      for (const TileId member : members) send(journey, move.from, std::span(&member, 1), move.length, bits);
    } else {
      send(journey, move.from, members, elements, bits);
    }
    std::uint32_t then = kNone;
    if (journey.crosses) {
      journey.beyond.link = chip::to_picoseconds(chip_.system.link_latency_ns);
      then = add_later_step(0, journey.beyond, kNone);
      then = add_later_step(resource(Resource::Kind::link, program_.chip.chip_of(move.from), 1), journey.link, then);
    }
    const bool waits = journey.mesh.network != 0 && chip_.network.topology == chip::Topology::mesh;
    set_step(!waits ? 0 : resource(Resource::Kind::port, physical_tile(move.from), 1), journey.mesh);
    plan_.steps[position_].then = then;
    const std::uint64_t written = move.deal ? elements : elements * members.size();
    plan_.counts.buffer_bytes += repeat_ * (elements + written) * bytes_of(bits);
    add_work(elements + written);
    return {};
  }

  // What the messages of one move take on the mesh of their chip, on its link, and on the meshes beyond.
  struct Journey {
    Cost mesh, link, beyond;
    bool crosses = false;
    Picoseconds departure = 0;  // of the next message: they leave one after the other, the last to arrive ends the move
  };

  // One message, to one tile or as a multicast: a tree on the mesh of its chip, the link once per other chip, and a
  // tree on the mesh of each. The link is at the first tile of a chip.
  void send(Journey& journey, TileId from, std::span<const TileId> members, std::uint64_t elements,
            std::uint32_t bits_per_element) {
    constexpr std::uint32_t kGate = 0;
    const std::uint32_t own_chip = program_.chip.chip_of(from);
    const std::uint64_t bits = elements * bits_per_element + chip_.network.header_bits;
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
    bool is_message = crosses;
    std::uint64_t links = 0;
    std::vector<std::uint32_t> stops;
    for (std::size_t first = 0, last = 0; first < places.size(); first = last) {
      const std::uint32_t chip_number = places[first].first;
      const std::uint32_t source = chip_number == own_chip ? mesh_place(from) : kGate;
      std::uint32_t farthest = 0;
      stops.clear();
      for (; last < places.size() && places[last].first == chip_number; ++last) {
        stops.push_back(places[last].second);
        farthest = std::max(farthest, chip::mesh_hops_on(side_, source, stops.back()));
      }
      links += stops.size() == 1 ? farthest : tree_links(source, stops);
      is_message = is_message || farthest > 0;
      const Picoseconds time = chip::message_time(chip_, elements, bits_per_element, farthest);
      if (chip_number == own_chip) {
        extend(journey.mesh.network, journey.departure + time);
        if (farthest > 0)
          journey.departure = std::min(chip::kLongestTime,
                                       journey.departure + chip::message_port_time(chip_, elements, bits_per_element));
      } else {
        const Picoseconds crossing = chip::link_time(chip_, bits);
        journey.crosses = true;
        journey.link.link = std::min(chip::kLongestTime, journey.link.link + crossing);
        extend(journey.beyond.network, time);
        incoming_[chip_number] = add_times(incoming_[chip_number], crossing);
        plan_.counts.link_messages += repeat_;
        plan_.counts.link_bits += repeat_ * bits;
      }
    }
    if (!is_message) return;
    plan_.counts.messages += repeat_;
    plan_.counts.message_bits += repeat_ * bits;
    if (chip_.network.topology == chip::Topology::mesh) plan_.counts.bit_hops += repeat_ * bits * links;
    if (chip_.network.topology == chip::Topology::flat) plan_.counts.bit_hops += repeat_ * bits;
  }

  static void extend(Picoseconds& latest, Picoseconds time) {
    latest = std::min(chip::kLongestTime, std::max(latest, time));
  }

  // The sum so far and one more time per iteration.
  Picoseconds add_times(Picoseconds sum, Picoseconds time) const {
    const auto times = static_cast<Picoseconds>(repeat_);  // 0 in a branch that is never taken
    if (times == 0) return sum;
    return time > (chip::kLongestTime - sum) / times ? chip::kLongestTime : sum + times * time;
  }

  // Links of the multicast tree: along the row of the source first, then up and down the columns of the members.
  std::uint64_t tree_links(std::uint32_t source, std::span<const std::uint32_t> stops) const {
    struct Position {
      std::uint32_t x, y;
      auto operator<=>(const Position&) const = default;
    };
    std::vector<Position> places;
    places.reserve(stops.size() + 1);
    places.push_back({source % side_, source / side_});
    for (const std::uint32_t stop : stops) places.push_back({stop % side_, stop / side_});
    const std::uint32_t source_y = places.front().y;
    std::sort(places.begin(), places.end());
    std::uint64_t links = places.back().x - places.front().x;
    for (std::size_t first = 0; first < places.size();) {
      std::size_t last = first;
      while (last + 1 < places.size() && places[last + 1].x == places[first].x) ++last;
      links += std::max(source_y, places[last].y) - std::min(source_y, places[first].y);
      first = last + 1;
    }
    return links;
  }

  Result<void> plan(const program::Vec& vec) {
    if (index(vec.tile) >= tiles_) return invalid("there is no tile {}", index(vec.tile));
    const chip::Chip::Digital& digital = chip_.digital;
    const std::array<double, kVecOps> ns = {digital.add_ns,  digital.mul_ns,   digital.silu_ns,    digital.gelu_ns,
                                            digital.relu_ns, digital.rope_ns,  digital.moments_ns, digital.stat_ns,
                                            digital.norm_ns, digital.route_ns, digital.mul_ns,     digital.gelu_ns};
    const std::size_t op = static_cast<std::size_t>(vec.op);
    Cost cost;
    if (!linear_only_) {
      const Picoseconds once = chip::to_picoseconds(ns[op]);
      const std::uint32_t times = digital.lanes == 0 ? 1 : (vec.length + digital.lanes - 1) / digital.lanes;
      cost.digital = once > chip::kLongestTime / times ? chip::kLongestTime : once * times;
    }
    const std::uint32_t units = digital.units == 0 ? kUnlimited : digital.units;
    const std::uint32_t pool = digital.hub ? program_.chip.chip_of(vec.tile) : physical_tile(vec.tile);
    set_step(resource(Resource::Kind::digital, pool, units), cost);
    use(index(vec.tile));
    std::uint64_t elements = program::result_length(vec.op, vec.length);
    for (std::uint32_t source = 0; source < program::source_count(vec.op); ++source)
      elements += program::source_length(vec.op, source, vec.length);
    plan_.counts.vector_ops += repeat_;
    plan_.counts.vector_elements += repeat_ * vec.length;
    plan_.counts.op_elements[op] += repeat_ * (digital.energy_per_operation ? 1 : vec.length);
    plan_.counts.buffer_bytes += repeat_ * elements;
    add_work(elements);
    return {};
  }

  Result<void> plan(const program::Attend& attend) {
    if (index(attend.region) >= program_.kv.size()) return invalid("there is no KV region {}", index(attend.region));
    plan_.steps[position_] = {kNone, kNone};
    const program::KvRegion& region = program_.kv[index(attend.region)];
    use(index(region.tile));
    if (attend.region_base != 0) any_region_at_ = position_;
    add_work(2 * (std::uint64_t{region.size} * (attend.append ? 1 : region.queries)));
    return {};
  }

  // The gate is read where it lies; what follows in the branch waits for it.
  Result<void> plan(const program::When& when) {
    const Graph& intent = program_.intent;
    if (index(when.tile) >= tiles_) return invalid("there is no tile {}", index(when.tile));
    if (index(when.gates) >= intent.nodes.size() || intent.at(when.gates).kind != NodeKind::route)
      return invalid("node {} is no route", index(when.gates));
    const Node& route = intent.at(when.gates);
    const std::uint32_t k = intent.configs[index(route.configs[0])].k;
    if (when.element >= route.size || k == 0 || k > route.size)
      return invalid("node {} has no gate {}", index(when.gates), when.element);
    set_step(0, {});
    use(index(when.tile));
    plan_.counts.buffer_bytes += repeat_;
    add_work(1 + route.size);
    return {};
  }

  std::uint64_t times_taken(const Segment& segment, const program::When& when) {
    std::uint64_t times = 0;
    for (std::uint32_t token = 0; token < segment.loop.n; ++token)
      times += experts_.is_chosen(when.gates, token, when.element) ? 1 : 0;
    return times;
  }

  // Never called: split() and run() deal with these.
  Result<void> plan(const program::Repeat&) { return invalid("misplaced rep"); }
  Result<void> plan(const program::End&) { return invalid("misplaced end"); }
  Result<void> plan(const program::Halt&) { return invalid("misplaced halt"); }

  Result<void> add_energy() {
    for (std::size_t number = 0; number < config_counts_.size(); ++number) {
      const ConfigCounts& counts = config_counts_[number];
      if (counts.activations == 0) continue;
      const Config& config = program_.intent.configs[number];
      DANAUS_TRY(energy, chip::activation_energy_parts(chip_, config.dac_bits, config.adc_bits));
      plan_.energy.rows += static_cast<double>(counts.rows) * energy.row_pj;
      plan_.energy.cells += static_cast<double>(counts.cells) * energy.cell_pj +
                            static_cast<double>(counts.activations) * energy.activation_pj;
      plan_.energy.adc += static_cast<double>(counts.columns) * energy.column_pj;
      plan_.adc_high += static_cast<double>(counts.columns) * energy.column_high_pj;
    }
    return {};
  }

  const Program& program_;
  const Chip& chip_;
  const bool linear_only_;
  Experts experts_;
  std::uint32_t tiles_ = 0;
  std::uint32_t side_ = 1;             // of a chip's mesh
  std::vector<Picoseconds> incoming_;  // by chip: serialisation on the link from the switch
  Plan plan_;
  std::uint32_t position_ = 0;
  std::uint64_t repeat_ = 1;
  double work_ = 0;
  std::uint32_t fixed_resources_ = 0;
  std::uint32_t last_cost_ = 0;
  std::vector<std::uint32_t> last_use_;  // by tile: a position
  std::uint32_t any_region_at_ = kNone;  // last attend whose region a register moves
  std::vector<std::uint32_t> copies_;    // by array; empty without any
  IndexMap named_;
  std::unordered_map<Cost, std::uint32_t, CostHash> cost_numbers_;
  std::vector<ConfigCounts> config_counts_;
};

}  // namespace

Result<Plan> make_plan(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options) {
  return Planner(program, chip, options).run();
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

std::uint32_t rounds_of(const program::Window& columns, std::uint32_t cols, std::uint32_t adcs) {
  const bool wraps = std::uint32_t{columns.first} + columns.length > cols;
  if (columns.count == 1 && !wraps) return (columns.length + adcs - 1) / adcs;  // neighbours: dealt out in turn
  std::vector<std::uint32_t> read(adcs);
  std::uint32_t most = 0;
  for (std::uint32_t run = 0; run < columns.count; ++run) {
    for (std::uint32_t element = 0; element < columns.length; ++element) {
      const std::uint32_t column = (columns.first + run * columns.stride + element) % cols;
      most = std::max(most, ++read[column % adcs]);
    }
  }
  return most;
}

Error invalid_command(const program::Program& program, std::uint32_t position, const std::string& problem) {
  return Error("machine.invalid", Failure::bad_input,
               fmt::format("command {}: {}: {}", position,
                           program::to_text(program::decode_unchecked(program.code[position])), problem))
      .with_hint("check the program with `danaus verify`");
}

}  // namespace danaus::machine
