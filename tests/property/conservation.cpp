// Conservation: every total that the timing machine reports is derived again from the trace of a random program on a
// chip with random prices, event by event, with the equations written out here. And bounds: where one resource limits
// everything, tokens follow each other exactly as fast as it can work.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "danaus/chip/cost.h"
#include "danaus/machine/timing.h"
#include "random_prices.h"
#include "random_program.h"

namespace danaus {
namespace {

using machine::Event;
using machine::Picoseconds;
using machine::Timing;

constexpr std::uint64_t kCases = 1000;
constexpr Picoseconds kNs = 1000;

struct Interval {
  Picoseconds start = 0, end = 0;
};

/// The most intervals that overlap at an instant.
std::int64_t most_at_once(const std::vector<Interval>& intervals) {
  std::vector<std::pair<Picoseconds, int>> changes;  // an end sorts before a start at the same time
  for (const Interval& interval : intervals) {
    if (interval.end == interval.start) continue;
    changes.emplace_back(interval.start, 1);
    changes.emplace_back(interval.end, -1);
  }
  std::sort(changes.begin(), changes.end());
  std::int64_t now = 0, most = 0;
  for (const auto& [time, change] : changes) most = std::max(most, now += change);
  return most;
}

/// Counts, energies and busy times from events alone.
class Recount {
 public:
  Recount(const program::Program& program, const chip::Chip& chip, std::vector<Event> events)
      : program_(program), chip_(chip), events_(std::move(events)) {
    find_segments();
    std::stable_sort(events_.begin(), events_.end(), [&](const Event& a, const Event& b) {
      return std::tuple(segment_[a.command], a.iteration, a.command) <
             std::tuple(segment_[b.command], b.iteration, b.command);
    });
    for (const program::KvRegion& region : program.kv) entries_.push_back(region.start);
    for (const Event& event : events_) {
      event_ = &event;
      std::visit([&](const auto& command) { count(command); }, program::decode_unchecked(program.code[event.command]));
      last_end = std::max(last_end, event.end);
    }
  }

  machine::Counts counts;
  machine::Energy energy;
  double adc_high = 0;
  Picoseconds last_end = 0;

  Picoseconds busiest_array() const {
    Picoseconds busiest = 0;
    for (const auto* resources : {&cells_, &converters_}) {
      for (const auto& [array, busy] : *resources) busiest = std::max(busiest, shared(busy, copies_of(array) + 1));
    }
    return busiest;
  }
  Picoseconds busiest_digital() const {
    Picoseconds busiest = 0;
    for (const auto& [pool, intervals] : digital_) {
      Picoseconds busy = 0;
      for (const Interval& interval : intervals) busy += interval.end - interval.start;
      busiest =
          std::max(busiest, chip_.digital.units == 0 ? shared(busy, 0xffffffff) : shared(busy, chip_.digital.units));
    }
    return busiest;
  }
  Picoseconds busiest_mesh_link() const {
    Picoseconds busiest = 0;
    for (const auto& [link, intervals] : mesh_links_) {
      Picoseconds busy = 0;
      for (const Interval& interval : intervals) busy += interval.end - interval.start;
      busiest = std::max(busiest, busy);
    }
    return busiest;
  }
  /// When each iteration of the last loop (of the last code, if there is none) was complete.
  std::vector<Picoseconds> token_ends() const {
    std::size_t last = loops_.size();
    for (std::size_t segment = 0; segment < loops_.size(); ++segment) {
      if (is_loop_[segment]) last = segment;
    }
    std::vector<Picoseconds> ends(last == loops_.size() ? 1 : loops_[last].n);
    for (const Event& event : events_) {
      if (last == loops_.size() || segment_[event.command] == last)
        ends[event.iteration] = std::max(ends[event.iteration], event.end);
    }
    return ends;
  }
  void check_exclusive() const {
    for (const auto& [array, intervals] : arrays_) CHECK(most_at_once(intervals) <= copies_of(array) + 1);
    for (const auto& [pool, intervals] : digital_)
      CHECK((chip_.digital.units == 0 || most_at_once(intervals) <= chip_.digital.units));
    for (const auto& [pool, intervals] : attention_)
      CHECK(most_at_once(intervals) <= std::max(1u, chip_.attention.units));
    for (const auto& [tile, intervals] : ports_) CHECK(most_at_once(intervals) <= 1);
    for (const auto& [link, intervals] : mesh_links_) CHECK(most_at_once(intervals) <= 1);
  }

 private:
  static Picoseconds shared(Picoseconds busy, std::uint32_t units) { return (busy + units - 1) / units; }

  void find_segments() {
    std::uint32_t segment = 0;
    bool in_loop = false, in_branch = false;
    loops_.emplace_back();
    is_loop_.push_back(false);
    for (const program::Record& record : program_.code) {
      const program::Command command = program::decode_unchecked(record);
      if (const program::Repeat* repeat = std::get_if<program::Repeat>(&command)) {
        in_loop = true;
        ++segment;
        loops_.push_back(*repeat);
        is_loop_.push_back(true);
      }
      segment_.push_back(segment);
      if (std::holds_alternative<program::When>(command)) in_branch = true;
      if (!std::holds_alternative<program::End>(command)) continue;
      if (in_branch) {
        in_branch = false;
      } else if (in_loop) {
        in_loop = false;
        ++segment;
        loops_.emplace_back();
        is_loop_.push_back(false);
      }
    }
  }

  std::uint32_t copies_of(std::uint32_t array) const {
    return static_cast<std::uint32_t>(
        std::count_if(program_.copies.begin(), program_.copies.end(),
                      [&](const program::Copy& copy) { return index(copy.of) == array; }));
  }
  std::uint32_t physical_array(ArrayId array) const {
    const program::ChipShape& shape = program_.chip;
    return shape.is_dealt() ? index(array) % (shape.arrays_per_chip * shape.chips) : index(array);
  }
  std::uint32_t physical_tile(TileId tile) const {
    const program::ChipShape& shape = program_.chip;
    return shape.is_dealt() ? index(tile) % (shape.tiles_per_chip() * shape.chips) : index(tile);
  }

  void count(const program::Mvm& mvm) {
    const Config& config = program_.intent.configs[index(mvm.config)];
    std::map<std::uint32_t, std::uint64_t> by_adc;
    for (std::uint32_t run = 0; run < mvm.columns.count; ++run) {
      for (std::uint32_t column = 0; column < mvm.columns.length; ++column)
        ++by_adc[(mvm.columns.first + run * mvm.columns.stride + column) % program_.chip.cols % program_.chip.adcs];
    }
    std::uint64_t rounds = 0;
    for (const auto& [adc, columns] : by_adc) rounds = std::max(rounds, columns);
    const bool has_switch = chip_.adc.sharing == chip::AdcSharing::array;
    if (has_switch) rounds = (mvm.columns.cells() + program_.chip.adcs - 1) / program_.chip.adcs;
    std::uint32_t bits = config.adc_bits;
    for (const Node& node : program_.intent.nodes) {
      if (node.kind != NodeKind::linear || !chip_.adc.static_precision) continue;
      for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage)
        bits = std::max<std::uint32_t>(bits, program_.intent.configs[index(node.configs[stage])].adc_bits);
    }
    const bool serial = chip_.input.kind == chip::InputKind::bit_serial;
    const std::uint64_t s = serial ? config.dac_bits : 1, q = chip_.array.slices;
    const std::uint64_t n = rounds * q, w = chip_.adc.sample_hold ? 1 : n;
    const std::uint64_t rows = mvm.rows.cells(), columns = mvm.columns.cells();
    const std::uint64_t cells = chip_.array.idle_columns_draw ? w * rows * program_.chip.cols : rows * columns;
    ++counts.commands;
    ++counts.activations;
    counts.conversions += s * q * columns;
    counts.adc_rounds += s * n;
    counts.driven_rows += w * rows;
    counts.active_cells += cells;
    counts.buffer_bytes +=
        rows * ((config.dac_bits + 7) / 8) + (mvm.add ? 2 : 1) * columns * ((config.adc_bits + 7) / 8);

    const double times = static_cast<double>(s), per_weight = static_cast<double>(s * q);
    const double beside =
        chip_.adc.sample_hold_energy_pj + chip_.adc.shift_add_energy_pj + (has_switch ? chip_.adc.share_energy_pj : 0);
    energy.rows += times * static_cast<double>(w * rows) * chip_.input.row_energy_pj;
    energy.cells +=
        per_weight * static_cast<double>(cells) * chip_.array.cell_energy_pj + chip_.array.activation_energy_pj;
    energy.adc += per_weight * static_cast<double>(columns) * (2 * chip_.adc.energy_pj + beside);
    const double high = chip_.adc.calibration_high > 0 ? 5 : 2;
    adc_high += per_weight * static_cast<double>(columns) * (high * chip_.adc.energy_pj + beside);

    const double window = serial                                     ? chip_.input.bit_ns
                          : chip_.input.kind == chip::InputKind::pwm ? std::exp2(config.dac_bits - 1)
                                                                     : chip_.input.time_ns;
    const double conversion = (chip_.adc.kind == chip::AdcKind::sar    ? bits + 1.0
                               : chip_.adc.kind == chip::AdcKind::ramp ? std::exp2(bits)
                                                                       : chip_.adc.time_ns) +
                              (has_switch ? chip_.adc.share_ns : 0);
    const double all = static_cast<double>(n) * conversion, front = window + chip_.array.settle_ns;
    double driving = times * front, converting = times * all;
    if (!chip_.adc.sample_hold) {
      driving = times * (static_cast<double>(n) * std::max(window, conversion) + chip_.array.settle_ns);
      converting = 0;
    } else if (chip_.adc.double_buffer) {
      (all >= front ? driving : converting) /= times;
    }
    const std::uint32_t array = physical_array(mvm.array);
    const auto picoseconds = [](double ns) { return static_cast<Picoseconds>(std::llround(ns * 1000)); };
    const Picoseconds own = picoseconds(driving + converting);
    CHECK(event_->end - event_->start >= own);
    if (chip_.adc.double_buffer) {
      cells_[array] += picoseconds(driving);
      converters_[array] += picoseconds(converting);
      arrays_[array].push_back({event_->start, event_->start + picoseconds(driving)});
    } else {
      cells_[array] += own;
      arrays_[array].push_back({event_->start, event_->start + own});
    }
  }

  using Links = std::set<std::pair<std::uint32_t, std::uint32_t>>;
  /// Links of the XY tree from a place of a square mesh: along the row first, then along the columns.
  static Links tree(std::uint32_t side, std::uint32_t from, const std::vector<std::uint32_t>& to) {
    Links links;
    for (const std::uint32_t target : to) {
      std::uint32_t at = from;
      while (at % side != target % side) {
        const std::uint32_t next = at % side < target % side ? at + 1 : at - 1;
        links.emplace(at, next);
        at = next;
      }
      while (at != target) {
        const std::uint32_t next = at < target ? at + side : at - side;
        links.emplace(at, next);
        at = next;
      }
    }
    return links;
  }

  /// A message, the links of whose way on the mesh of a single chip are added to `taken`.
  void message(TileId from, const std::vector<TileId>& members, std::uint64_t bits, Links& taken) {
    const program::ChipShape& shape = program_.chip;
    const std::uint32_t tiles = shape.is_dealt() ? shape.tiles_per_chip() : shape.tiles();
    std::uint32_t side = 1;
    while (side * side < tiles) ++side;
    const auto place = [&](TileId tile) { return shape.is_dealt() ? index(tile) % tiles : index(tile); };
    std::map<std::uint32_t, std::vector<std::uint32_t>> by_chip;
    for (const TileId member : members) by_chip[shape.chip_of(member)].push_back(place(member));
    const std::uint32_t own = shape.chip_of(from);
    const std::uint64_t crossings = by_chip.size() - by_chip.count(own);
    if (crossings > 0) by_chip[own].push_back(0);  // the gate
    std::uint64_t links = 0;
    for (const auto& [number, places] : by_chip) {
      const Links way = tree(side, number == own ? place(from) : 0, places);
      links += way.size();
      taken.insert(way.begin(), way.end());
    }
    if (links == 0 && crossings == 0) return;
    ++counts.messages;
    counts.message_bits += bits;
    counts.link_messages += crossings;
    counts.link_bits += crossings * bits;
    if (chip_.network.topology == chip::Topology::mesh) {
      counts.bit_hops += bits * links;
      if (!shape.is_dealt()) ports_[index(from)].push_back({event_->start, event_->end});
    }
  }

  void count(const program::Move& move) {
    const std::uint32_t width = move.config == ConfigId{} ? 8 : program_.intent.configs[index(move.config)].bits;
    const std::uint64_t elements = std::uint64_t{move.length} * move.count;
    std::vector<TileId> members = {TileId{move.to}};
    if (move.to_group) members = program_.groups[move.to].members;
    ++counts.commands;
    const std::uint64_t written = move.deal ? elements : elements * members.size();
    counts.buffer_bytes += (elements + written) * ((width + 7) / 8);
    Links taken;
    const std::size_t before = ports_[index(move.from)].size();
    if (!move.deal) {
      message(move.from, members, elements * width + chip_.network.header_bits, taken);
    } else {
      for (const TileId member : members)
        message(move.from, {member}, std::uint64_t{move.length} * width + chip_.network.header_bits, taken);
    }
    std::vector<Interval>& port = ports_[index(move.from)];
    const auto messages = static_cast<Picoseconds>(port.size() - before);
    if (messages > 1) port.resize(before + 1);  // one command, one use of the port
    // With wormhole switching until the last bit has left.
    Interval use = {event_->start, event_->end};
    if (chip_.network.switching == chip::Switching::wormhole) {
      const std::uint64_t each = move.deal ? move.length : elements;
      use.end = event_->start + messages * chip::message_port_time(chip_, each, width);
    }
    if (messages > 0 && chip_.network.topology == chip::Topology::mesh) port.back() = use;
    // With several chips the time of a message has parts on several meshes.
    if (program_.chip.is_dealt() || chip_.network.topology != chip::Topology::mesh) return;
    if (chip_.network.contention != chip::Contention::links) return;
    for (const auto& link : taken) mesh_links_[link].push_back(use);
  }

  void count(const program::Vec& vec) {
    const chip::Chip::Digital& d = chip_.digital;
    const double prices[] = {d.add_pj,  d.mul_pj,  d.silu_pj,  d.gelu_pj, d.relu_pj, d.rope_pj, d.moments_pj,
                             d.stat_pj, d.norm_pj, d.route_pj, d.mul_pj,  d.gelu_pj, d.add_pj};
    const auto op = static_cast<std::size_t>(vec.op);
    ++counts.commands;
    ++counts.vector_ops;
    counts.vector_elements += vec.length;
    counts.op_elements[op] += vec.length;
    for (std::uint32_t source = 0; source < program::source_count(vec.op); ++source)
      counts.buffer_bytes += program::fetched_length(vec, source);
    counts.buffer_bytes += program::result_length(vec);
    energy.digital += static_cast<double>(vec.length) * prices[op];
    const std::uint32_t pool = d.hub ? program_.chip.chip_of(vec.tile) : physical_tile(vec.tile);
    digital_[pool].push_back({event_->start, event_->end});
  }

  void count(const program::Attend& attend) {
    const program::Repeat& loop = loops_[segment_[event_->command]];
    std::uint64_t region = index(attend.region);
    if (attend.region_base != 0) {
      const std::uint64_t moved = std::uint64_t{event_->iteration} * loop.step[attend.region_base - 1];
      const std::uint64_t modulus = loop.modulus[attend.region_base - 1];
      region += modulus == 0 ? moved : moved % modulus;
    }
    const program::KvRegion& kv = program_.kv[region];
    ++counts.commands;
    if (attend.append) {
      ++entries_[region];
      counts.kv_bytes += 2 * std::uint64_t{kv.size};
      counts.buffer_bytes += 2 * std::uint64_t{kv.size};
    } else {
      counts.kv_bytes += 2 * std::uint64_t{kv.size} * entries_[region];
      counts.attention_macs += 2 * std::uint64_t{kv.queries} * kv.size * entries_[region];
      counts.buffer_bytes += 2 * std::uint64_t{kv.queries} * kv.size;
    }
    const std::uint64_t pool = chip_.attention.units == 0 ? region : program_.chip.chip_of(program_.kv[region].tile);
    attention_[pool].push_back({event_->start, event_->end});
  }

  void count(const program::When&) { ++counts.buffer_bytes; }
  void count(const program::Repeat&) {}
  void count(const program::End&) {}
  void count(const program::Halt&) {}

  const program::Program& program_;
  const chip::Chip& chip_;
  std::vector<Event> events_;
  const Event* event_ = nullptr;
  std::vector<std::uint32_t> segment_;  // by position
  std::vector<program::Repeat> loops_;  // by segment
  std::vector<bool> is_loop_;           // by segment
  std::vector<std::uint64_t> entries_;  // by region
  std::map<std::uint32_t, Picoseconds> cells_, converters_;
  std::map<std::uint32_t, std::vector<Interval>> arrays_, digital_, ports_;
  std::map<std::uint64_t, std::vector<Interval>> attention_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<Interval>> mesh_links_;
};

bool near(double a, double b) { return std::abs(a - b) <= 1e-11 * std::max(std::abs(a), std::abs(b)); }

}  // namespace

TEST_CASE("totals are those of the trace") {
  int with_links = 0;
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    test::Dice dice(number + 1'000'000);
    const chip::Chip chip = test::priced(random.chip, dice);
    const program::Program program = test::compile_case(random);
    std::vector<Event> events;
    const machine::SimulateOptions options{.routing = {.seed = number, .first = {}},
                                           .trace = [&](const Event& event) { events.push_back(event); }};
    const Result<Timing> timing = machine::simulate(program, chip, options);
    REQUIRE_MESSAGE(timing.has_value(), (timing ? "" : to_string(timing.error())));
    Recount recount(program, chip, events);
    CHECK(timing->counts == recount.counts);
    CHECK(timing->total == recount.last_end + timing->reload.time);
    CHECK(timing->critical_path.total() == timing->total);
    CHECK(timing->busiest_array == recount.busiest_array());
    CHECK(timing->busiest_digital == recount.busiest_digital());
    recount.check_exclusive();
    if (!program.chip.is_dealt()) CHECK(timing->busiest_mesh_link == recount.busiest_mesh_link());
    CHECK(timing->busiest_mesh_link <= timing->total);
    with_links += timing->busiest_mesh_link > 0 ? 1 : 0;
    CHECK(near(timing->energy.rows, recount.energy.rows));
    CHECK(near(timing->energy.cells, recount.energy.cells));
    CHECK(near(timing->energy.adc, recount.energy.adc));
    CHECK(near(timing->adc_high, recount.adc_high));
    CHECK(near(timing->energy.digital, recount.energy.digital));
    const auto cost = [](std::uint64_t count, double each) { return static_cast<double>(count) * each; };
    const machine::Counts& counts = recount.counts;
    CHECK(near(timing->energy.network, cost(counts.bit_hops, chip.network.energy_pj_per_bit_hop)));
    CHECK(near(timing->energy.link, cost(counts.link_bits, chip.system.link_energy_pj_per_bit)));
    CHECK(near(timing->energy.attention, cost(counts.attention_macs, chip.attention.energy_pj_per_mac) +
                                             cost(counts.kv_bytes, chip.attention.kv_energy_pj_per_byte)));
    CHECK(near(timing->energy.buffer, cost(counts.buffer_bytes, chip.buffer.energy_pj_per_byte)));

    const program::ChipShape& shape = program.chip;
    const double chips = shape.is_dealt() ? shape.chips : 1;
    const double arrays = shape.is_dealt()          ? chips * shape.arrays_per_chip
                          : chip.system.arrays != 0 ? chip.system.arrays
                                                    : shape.arrays;
    const double tiles = shape.is_dealt() ? chips * shape.tiles_per_chip() : shape.tiles();
    const double units = (chip.digital.hub ? chips : tiles) * chip.digital.units;
    const double attention = program.kv.empty() ? 0.0 : 1.0;
    const double attention_units =
        chip.attention.units != 0 ? chips * chip.attention.units : static_cast<double>(program.kv.size());
    const double power_mw = arrays * chip.system.passive_mw_per_array + units * chip.digital.passive_mw +
                            attention_units * chip.attention.passive_mw +
                            attention * chips * chip.attention.kv_passive_mw;
    CHECK(near(timing->energy.passive, power_mw * static_cast<double>(timing->total) / 1000));
    CHECK(near(timing->energy.total(), timing->energy.rows + timing->energy.cells + timing->energy.adc +
                                           timing->energy.network + timing->energy.link + timing->energy.digital +
                                           timing->energy.attention + timing->energy.buffer + timing->energy.reload +
                                           timing->energy.passive));
    CHECK(timing->token_end == recount.token_ends());
  }
  MESSAGE(with_links << " of " << kCases << " programs take links");
  CHECK(with_links > 80);
}

/// A pipelined prompt of a small transformer, as many slots as tokens, on a chip on which all but the settings is free.
program::Program prompt(std::uint32_t tokens, const chip::Chip& chip, const std::string& strategy) {
  model::Shape shape = model::shape_of(model::Family::llama);
  shape.name = "small";
  model::Dimensions& size = shape.dimensions;
  size.hidden = 32;
  size.ffn = 64;
  size.heads = size.kv_heads = 2;
  size.head_size = 16;
  size.layers = 2;
  size.vocab = 11;
  size.context = 64;
  REQUIRE_FALSE(model::complete(shape).has_value());
  const model::Model model = model::model_from_shape(shape).value();
  std::vector<Structure> structures;
  for (const model::LinearOperator& op : model.linear)
    structures.push_back(strategy == "linear" ? Structure::dense(op.out, op.in)
                                              : Structure::blocks(op.out, op.in, 4, 4, 1));
  test::Case random{
      .model = model,
      .graph = compile::with_structures(model.graph, structures, chip),
      .chip = chip,
      .strategy = strategy,
      .place = {.rows = chip.array.rows, .cols = chip.array.cols, .arrays_per_tile = chip.network.arrays_per_tile},
      .emit = {}};
  random.emit.mode = compile::Mode::prefill;
  random.emit.tokens = tokens;
  random.emit.slots = tokens;
  return test::compile_case(random);
}

chip::Chip free_chip(std::vector<std::pair<std::string, std::string>> settings) {
  std::vector<std::pair<std::string, std::string>> all = {{"array.rows", "16"},     {"array.cols", "16"},
                                                          {"adc.per_array", "4"},   {"network.arrays_per_tile", "4"},
                                                          {"array.settle_ns", "0"}, {"adc.time_ns", "0"}};
  all.insert(all.end(), settings.begin(), settings.end());
  const Result<chip::Chip> chip = chip::load("unit", all);
  REQUIRE_MESSAGE(chip.has_value(), (chip ? "" : to_string(chip.error())));
  return *chip;
}

constexpr std::uint32_t kTokens = 16;

struct Prompt {
  Timing timing, alone;          // of kTokens tokens, of one
  Picoseconds busiest_port = 0;  // over all tokens
};

Prompt run_prompt(const std::string& strategy, const std::vector<std::pair<std::string, std::string>>& settings) {
  const chip::Chip chip = free_chip(settings);
  const program::Program program = prompt(kTokens, chip, strategy);
  std::map<std::uint32_t, Picoseconds> ports;
  const auto trace = [&](const Event& event) {
    const program::Command command = program::decode_unchecked(program.code[event.command]);
    if (const program::Move* move = std::get_if<program::Move>(&command))
      ports[index(move->from)] += event.end - event.start;
  };
  Prompt result;
  result.timing = machine::simulate(program, chip, {.routing = {}, .trace = trace}).value();
  result.alone = machine::simulate(prompt(1, chip, strategy), chip).value();
  for (const auto& [tile, busy] : ports) result.busiest_port = std::max(result.busiest_port, busy);
  return result;
}

// 16 columns on 4 converters: 4 rounds of 8 ns. Four dependent stages in each of two layers: query, key and value;
// their output; gate and up; down. Partial sums do not wait for each other.
TEST_CASE("limited by converters: the busiest array sets the pace of a prompt") {
  const Prompt linear = run_prompt("linear", {{"adc.time_ns", "8"}});
  CHECK(linear.alone.total == 2 * 4 * 32 * kNs);
  CHECK(linear.timing.busiest_array == kTokens * 32 * kNs);
  CHECK(linear.timing.total == (2 * 4 + kTokens - 1) * 32 * kNs);
  CHECK(linear.timing.critical_path.adc == linear.timing.total);
  // Blocks along the diagonals, two stages: an array once per token, too.
  const Prompt sparse = run_prompt("sparse", {{"adc.time_ns", "8"}});
  CHECK(sparse.timing.busiest_array == kTokens * 32 * kNs);
  CHECK(sparse.timing.total == sparse.alone.total + (kTokens - 1) * 32 * kNs);
  // Several diagonals in an array: it is needed at several times of a token, so the bound is only one.
  const Prompt dense = run_prompt("dense", {{"adc.time_ns", "8"}});
  CHECK(dense.timing.total >= dense.timing.busiest_array);
}

TEST_CASE("limited by a hub's vector unit: all adds one after the other") {
  for (const std::string strategy : {"linear", "sparse", "dense"}) {
    CAPTURE(strategy);
    const Prompt prompt = run_prompt(strategy, {{"digital.location", "hub"}, {"digital.add_ns", "7"}});
    std::uint64_t adds = 0;  // 7 ns each, whatever the length
    const chip::Chip chip = free_chip({});
    for (const program::Record& record : danaus::prompt(kTokens, chip, strategy).code) {
      const program::Command command = program::decode_unchecked(record);
      const program::Vec* vec = std::get_if<program::Vec>(&command);
      adds += vec != nullptr && vec->op == program::VecOp::add ? 1 : 0;
    }
    CHECK(adds >= 4);  // two residuals in each layer
    CHECK(prompt.timing.total == static_cast<Picoseconds>(kTokens * adds) * 7 * kNs);
    CHECK(prompt.timing.busiest_digital == prompt.timing.total);
  }
}

TEST_CASE("limited by one attention unit: two layers of two heads, 9 ns each") {
  for (const std::string strategy : {"linear", "sparse", "dense"}) {
    const Prompt prompt = run_prompt(strategy, {{"attention.units", "1"}, {"attention.softmax_ns", "9"}});
    CHECK(prompt.timing.total == kTokens * 2 * 2 * 9 * kNs);
    CHECK(prompt.timing.critical_path.attention == prompt.timing.total);
  }
  // A unit beside each region: the layers of a token follow each other, tokens follow a layer apart.
  const Prompt beside = run_prompt("linear", {{"attention.softmax_ns", "9"}});
  CHECK(beside.timing.total == (2 + kTokens - 1) * 9 * kNs);
}

TEST_CASE("limited by the network: the busiest port sets the pace of a prompt") {
  const std::vector<std::pair<std::string, std::string>> mesh = {
      {"network.topology", "mesh"}, {"network.clock_ns", "3"}, {"network.hop_ns", "0"}};
  const Prompt linear = run_prompt("linear", mesh);
  CHECK(linear.busiest_port % kTokens == 0);
  CHECK(linear.timing.total == linear.alone.total + (kTokens - 1) * linear.busiest_port / kTokens);
  CHECK(linear.timing.critical_path.network == linear.timing.total);
  for (const std::string strategy : {"sparse", "dense"}) {
    const Prompt blocks = run_prompt(strategy, mesh);
    CHECK(blocks.timing.total >= blocks.busiest_port);
  }
}

}  // namespace danaus
