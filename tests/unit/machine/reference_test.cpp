// Random programs against a scheduler written from the rules alone: elements one by one, all pairs of commands, every
// instant a scan over everything. It shares no code with the machine but the commands' own types and the cost functions
// of `chip`.

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "danaus/chip/cost.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

using Element = std::pair<std::uint32_t, std::int64_t>;  // tile, address

struct Executed {
  std::uint32_t command = 0, iteration = 0;
  std::set<Element> reads, writes;
  bool add = false;
  int context_of = -1, append_to = -1;
  std::set<std::string> resources;
  Picoseconds duration = 0;
  std::vector<std::pair<std::set<std::string>, Picoseconds>> then;  // further steps: (resources, duration)
  // Pooled converters: columns without one, the time of each, and when those that have had one end.
  std::string pool;
  std::uint32_t columns = 0;
  Picoseconds each = 0;
  bool holds_array = false, converting = false;
  std::vector<Picoseconds> column_ends;
  std::vector<std::size_t> start_after, end_after;
  std::size_t opened = 0;  // number of its iteration, counted over all loops
  Picoseconds start = -1, work_end = -1, end = -1;
  Picoseconds first_start = -1;
};

class Reference {
 public:
  static constexpr std::size_t kWindow = 64;  // iterations open at a time
  Reference(const program::Program& program, const chip::Chip& chip) : program_(program), chip_(chip) {
    unroll();
    find_dependences();
    schedule();
  }
  std::vector<Executed> executed;

 private:
  std::int64_t at(std::uint32_t base) const { return static_cast<std::int64_t>(registers_[base]); }

  void place(std::set<Element>& set, std::uint32_t tile, const program::Place& p, std::uint32_t length,
             std::uint32_t count) {
    for (std::int64_t q = 0; q < count; ++q) {
      for (std::int64_t e = 0; e < length; ++e)
        set.insert({tile, p.offset + at(p.base) + e * p.element_stride + q * p.run_stride});
    }
  }
  void vector(std::set<Element>& set, std::uint32_t tile, const program::Address& a, std::uint32_t length) {
    for (std::int64_t e = 0; e < length; ++e) set.insert({tile, a.offset + at(a.base) + e});
  }

  std::uint32_t tiles_each() const {  // of a share
    const std::uint32_t each = program_.chip.arrays_per_chip, tile = program_.chip.arrays_per_tile;
    return (each + tile - 1) / tile;
  }
  std::uint32_t mesh_tiles() const { return tiles_each() != 0 ? tiles_each() : program_.chip.tiles(); }
  std::uint32_t chip_of(std::uint32_t tile) const {
    return tiles_each() == 0 ? 0 : tile / tiles_each() % program_.chip.chips;
  }
  std::uint32_t in_chip(std::uint32_t tile) const { return tiles_each() == 0 ? tile : tile % tiles_each(); }
  std::string physical(std::uint32_t tile) const {
    return std::to_string(chip_of(tile)) + " " + std::to_string(in_chip(tile));
  }

  // Step by step along the row, then along the column.
  void walk(std::set<std::string>& links, std::uint32_t chip, std::uint32_t from, std::uint32_t to) const {
    if (chip_.network.contention != chip::Contention::links) return;
    std::uint32_t side = 1;
    while (side * side < mesh_tiles()) ++side;
    int x = static_cast<int>(from % side), y = static_cast<int>(from / side);
    const int to_x = static_cast<int>(to % side), to_y = static_cast<int>(to / side);
    while (x != to_x || y != to_y) {
      std::string link = "mesh " + std::to_string(chip) + " " + std::to_string(x) + " " + std::to_string(y) + " to ";
      if (x != to_x) {
        x += x < to_x ? 1 : -1;
      } else {
        y += y < to_y ? 1 : -1;
      }
      links.insert(link + std::to_string(x) + " " + std::to_string(y));
    }
  }

  void unroll() {
    std::vector<program::Command> commands;
    for (const program::Record& record : program_.code) commands.push_back(program::decode_unchecked(record));
    std::vector<std::uint32_t> entries;
    for (const program::KvRegion& region : program_.kv) entries.push_back(region.start);
    for (std::size_t position = 0; position < commands.size(); ++position) {
      const program::Repeat* loop = std::get_if<program::Repeat>(&commands[position]);
      std::size_t end = position + 1;
      if (loop != nullptr) {
        while (!std::holds_alternative<program::End>(commands[end])) ++end;
      }
      for (std::uint32_t iteration = 0; iteration < (loop != nullptr ? loop->n : 1); ++iteration) {
        const bool waits = loop != nullptr && loop->serial && iteration > 0;
        if (waits) serial_.emplace_back(iteration_first_, executed.size());
        iteration_first_ = executed.size();
        for (std::size_t b = 0; b < 3; ++b) {
          registers_[b + 1] = loop != nullptr ? std::uint64_t{iteration} * loop->step[b] : 0;
          if (loop != nullptr && loop->modulus[b] != 0) registers_[b + 1] %= loop->modulus[b];
        }
        for (std::size_t p = loop != nullptr ? position + 1 : position; p < end; ++p) {
          Executed one = execute(commands[p], entries);
          one.command = static_cast<std::uint32_t>(p);
          one.iteration = iteration;
          one.opened = opened_;
          if (one.duration >= 0) executed.push_back(one);
        }
        if (executed.size() > iteration_first_) ++opened_;
      }
      position = loop != nullptr ? end : position;
    }
  }

  Executed execute(const program::Command& command, std::vector<std::uint32_t>& entries) {
    Executed one;
    one.duration = -1;
    if (const program::Mvm* mvm = std::get_if<program::Mvm>(&command)) {
      // Tiles lie share by share; a chip holds `each` arrays, and passes return to the first chip.
      const program::ChipShape& shape = program_.chip;
      const std::uint32_t each = shape.arrays_per_chip != 0 ? shape.arrays_per_chip : 1u << 24;
      const std::uint32_t share = index(mvm->array) / each, in_share = index(mvm->array) % each;
      const std::uint32_t tile = share * tiles_each() + in_share / shape.arrays_per_tile;
      place(one.reads, tile, mvm->src, mvm->rows.length, mvm->rows.count);
      place(one.writes, tile, mvm->dst, mvm->columns.length, mvm->columns.count);
      one.add = mvm->add;
      one.resources = {"array " + std::to_string(share % shape.chips) + " " + std::to_string(in_share)};
      std::map<std::uint32_t, std::uint32_t> read;
      std::uint32_t rounds = 0;
      for (std::uint32_t q = 0; q < mvm->columns.count; ++q) {
        for (std::uint32_t e = 0; e < mvm->columns.length; ++e)
          rounds = std::max(
              rounds,
              ++read[(mvm->columns.first + q * mvm->columns.stride + e) % program_.chip.cols % program_.chip.adcs]);
      }
      one.duration = chip::activation_time(chip_, 8, 8, rounds);
      const std::uint32_t columns = mvm->columns.cells(), adcs = program_.chip.adcs;
      const bool is_group = chip_.adc.sharing == chip::AdcSharing::group;
      const bool is_switched = chip_.adc.sharing == chip::AdcSharing::array && !chip_.adc.double_buffer;
      if (is_switched) one.duration = chip::activation_time(chip_, 8, 8, (columns + adcs - 1) / adcs);
      if (chip_.adc.double_buffer || is_group) {
        const Picoseconds conversion = chip::to_picoseconds(chip_.adc.time_ns + (is_group ? chip_.adc.share_ns : 0));
        one.duration = chip::to_picoseconds(chip_.input.time_ns + chip_.array.settle_ns);
        const std::uint32_t group = is_group ? in_share / chip_.adc.group_arrays : in_share;
        const std::string name = "converters " + std::to_string(share % shape.chips) + " " + std::to_string(group);
        if (chip_.adc.sharing == chip::AdcSharing::column) {
          one.then.emplace_back(std::set{name}, rounds * conversion);
        } else {
          one.pool = name;
          one.columns = columns;
          one.each = conversion;
          one.holds_array = !chip_.adc.double_buffer;
          pools_[name].insert(*one.resources.begin());
        }
      }
    } else if (const program::Move* move = std::get_if<program::Move>(&command)) {
      place(one.reads, index(move->from), move->src, move->length, move->count);
      std::vector<std::uint32_t> targets = {move->to};
      if (move->to_group) {
        targets.clear();
        for (const TileId member : program_.groups[move->to].members) targets.push_back(index(member));
      }
      const std::uint64_t elements = std::uint64_t{move->length} * move->count;
      std::map<std::uint32_t, std::uint32_t> farthest;  // by chip
      std::set<std::string> links, links_beyond;
      for (const std::uint32_t target : targets) {
        place(one.writes, target, move->dst, move->length, move->count);
        const bool here = chip_of(target) == chip_of(index(move->from));
        const std::uint32_t hops =
            chip::mesh_hops(here ? in_chip(index(move->from)) : 0, in_chip(target), mesh_tiles());
        walk(here ? links : links_beyond, chip_of(target), here ? in_chip(index(move->from)) : 0, in_chip(target));
        std::uint32_t& most = farthest[chip_of(target)];
        most = std::max(most, hops);
      }
      std::uint32_t own = farthest[chip_of(index(move->from))];
      farthest.erase(chip_of(index(move->from)));
      if (!farthest.empty()) {
        own = std::max(own, chip::mesh_hops(in_chip(index(move->from)), 0, mesh_tiles()));
        walk(links, chip_of(index(move->from)), in_chip(index(move->from)), 0);
        Picoseconds beyond = 0;
        for (const auto& [number, hops] : farthest)
          beyond = std::max(beyond, chip::message_time(chip_, elements, 8, hops));
        const double bits = static_cast<double>(8 * elements + chip_.network.header_bits);
        const Picoseconds crossing = chip::to_picoseconds(bits / chip_.system.link_gbps);
        one.then.emplace_back(std::set{"link " + std::to_string(chip_of(index(move->from)))},
                              static_cast<Picoseconds>(farthest.size()) * crossing);
        const Picoseconds latency = chip::to_picoseconds(chip_.system.link_latency_ns);
        if (links_beyond.empty()) {
          one.then.emplace_back(links_beyond, latency + beyond);
        } else {
          one.then.emplace_back(std::set<std::string>{}, latency);
          one.then.emplace_back(links_beyond, beyond);
        }
      }
      one.duration = chip::message_time(chip_, elements, 8, own);
      one.resources = links;
      if (one.duration > 0) one.resources.insert("port " + physical(index(move->from)));
      if (chip_.network.switching == chip::Switching::wormhole) {
        // What it takes is free when it has left; the rest of its way takes nothing.
        const Picoseconds leaving = chip::message_port_time(chip_, elements, 8);
        for (std::size_t n = 0; n < one.then.size(); ++n) {
          if (!links_beyond.empty() && one.then[n].first == links_beyond) {
            one.then.insert(one.then.begin() + static_cast<std::ptrdiff_t>(n) + 1,
                            {std::set<std::string>{}, one.then[n].second - leaving});
            one.then[n].second = leaving;
            break;
          }
        }
        if (one.duration > 0) {
          one.then.insert(one.then.begin(), {std::set<std::string>{}, one.duration - leaving});
          one.duration = leaving;
        }
      }
    } else if (const program::Vec* vec = std::get_if<program::Vec>(&command)) {
      for (std::uint32_t s = 0; s < program::source_count(vec->op); ++s)
        vector(one.reads, index(vec->tile), vec->src[s], program::source_length(*vec, s));
      vector(one.writes, index(vec->tile), vec->dst, program::result_length(*vec));
      one.resources = {"digital " + physical(index(vec->tile))};
      one.duration = vec->op == program::VecOp::relu ? 0 : chip::to_picoseconds(chip_.digital.add_ns);
    } else if (const program::Attend* attend = std::get_if<program::Attend>(&command)) {
      const std::uint32_t number = index(attend->region);
      const program::KvRegion& region = program_.kv[number];
      const std::uint32_t tile = index(region.tile);
      one.resources = {"attention " + std::to_string(number)};
      if (attend->append) {
        vector(one.reads, tile, attend->a, region.size);
        vector(one.reads, tile, attend->b, region.size);
        one.append_to = static_cast<int>(number);
        one.duration = chip::to_picoseconds(chip_.attention.append_ns);
        ++entries[number];
      } else {
        vector(one.reads, tile, attend->a, region.size * region.queries);
        vector(one.writes, tile, attend->b, region.size * region.queries);
        one.context_of = static_cast<int>(number);
        one.duration =
            chip::to_picoseconds(2.0 * region.size * region.queries * entries[number] / chip_.attention.macs_per_ns +
                                 chip_.attention.softmax_ns);
      }
    }
    return one;
  }

  static bool overlap(const std::set<Element>& a, const std::set<Element>& b) {
    return std::any_of(a.begin(), a.end(), [&](const Element& element) { return b.contains(element); });
  }

  // All earlier commands, not only the last ones: more edges, the same order.
  void find_dependences() {
    for (std::size_t later = 0; later < executed.size(); ++later) {
      Executed& now = executed[later];
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const Executed& before = executed[earlier];
        const bool kv = now.context_of >= 0 && before.append_to == now.context_of;
        // Iterations open in order: what comes after a serial iteration waits for the one before it, too.
        const bool window = before.opened + kWindow <= now.opened;
        const bool barrier =
            std::any_of(serial_.begin(), serial_.end(), [&](const std::pair<std::size_t, std::size_t>& one) {
              return later >= one.second && earlier >= one.first && earlier < one.second;
            });
        const bool on_destination = overlap(now.writes, before.reads) || overlap(now.writes, before.writes);
        if (overlap(now.reads, before.writes) || kv || barrier || window || (!now.add && on_destination)) {
          now.start_after.push_back(earlier);
        } else if (on_destination) {
          now.end_after.push_back(earlier);
        }
      }
    }
  }

  void schedule() {
    Picoseconds now = 0;
    const auto ended = [&](std::size_t number) { return executed[number].end >= 0; };
    while (true) {
      std::set<std::string> taken;
      for (const Executed& one : executed) {
        if (one.converting && !one.holds_array) continue;
        if (one.start >= 0 && one.start < now && one.work_end > now)
          taken.insert(one.resources.begin(), one.resources.end());
      }
      const auto is_taken = [&](const std::string& resource) { return taken.contains(resource); };
      for (int phase = 0; phase < 2; ++phase) {  // zero length to a fixed point, then the rest
        bool changed = true;
        while (changed) {
          changed = false;
          for (Executed& one : executed) {
            if (one.start >= 0 && one.work_end <= now && !one.pool.empty() && !one.converting) {
              one.converting = true;
              one.work_end = kNever;
              if (one.holds_array) taken.insert(one.resources.begin(), one.resources.end());
              changed = true;
            } else if (one.end < 0 && one.start >= 0 && one.work_end <= now && !one.then.empty()) {
              // The next step is a command of its own, as old as the first, that is ready now.
              one.start = -1;
              one.resources = one.then.front().first;
              one.duration = one.then.front().second;
              one.then.erase(one.then.begin());
              changed = true;
            } else if (one.end < 0 && one.start >= 0 && one.work_end <= now &&
                       std::all_of(one.end_after.begin(), one.end_after.end(), ended)) {
              one.end = now;
              changed = true;
            }
          }
          if (changed) continue;
          for (Executed& one : executed) {
            if (phase == 1 && one.converting && one.columns > 0 && working(one.pool, now) < converters(one.pool)) {
              one.column_ends.push_back(now + one.each);
              if (--one.columns == 0) one.work_end = now + one.each;
              changed = true;
              break;
            }
            if (one.start >= 0 || (one.duration > 0) != (phase == 1)) continue;
            if (!std::all_of(one.start_after.begin(), one.start_after.end(), ended)) continue;
            if (std::any_of(one.resources.begin(), one.resources.end(), is_taken)) continue;
            one.start = now;
            if (one.first_start < 0) one.first_start = now;
            one.work_end = now + one.duration;
            if (one.duration > 0) taken.insert(one.resources.begin(), one.resources.end());
            changed = true;
            break;
          }
        }
      }
      Picoseconds next = -1;
      for (const Executed& one : executed) {
        if (one.start >= 0 && one.work_end > now && (next < 0 || one.work_end < next)) next = one.work_end;
        for (const Picoseconds end : one.column_ends) {
          if (end > now && end < next) next = end;
        }
      }
      if (next < 0) break;
      now = next;
    }
  }

  // Of the arrays of a group that the program uses.
  std::size_t converters(const std::string& pool) const { return pools_.at(pool).size() * program_.chip.adcs; }
  std::size_t working(const std::string& pool, Picoseconds now) const {
    std::size_t count = 0;
    for (const Executed& one : executed) {
      if (one.pool == pool)
        count += static_cast<std::size_t>(
            std::count_if(one.column_ends.begin(), one.column_ends.end(), [&](Picoseconds end) { return end > now; }));
    }
    return count;
  }

  static constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();
  const program::Program& program_;
  const chip::Chip& chip_;
  std::map<std::string, std::set<std::string>> pools_;  // arrays
  std::array<std::uint64_t, 4> registers_{};
  std::size_t iteration_first_ = 0, opened_ = 0;
  std::vector<std::pair<std::size_t, std::size_t>>
      serial_;  // [first, last) of an iteration that must end before the next opens
};

// A random program on 9 tiles; a small part of the buffer, so that commands collide.
std::string random_code(std::mt19937& random, std::uint32_t most_iterations) {
  const auto number = [&](std::uint32_t least, std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(least, most)(random);
  };
  const auto text = [](std::uint32_t n) { return std::to_string(n); };
  // Addresses around the edge of a page of the machine's history, 1024, with and without a register.
  const auto address = [&] { return text(1000 + number(0, 50)) + (number(0, 2) == 0 ? "@1" : ""); };
  std::string result;
  const std::uint32_t segments = number(1, 3);
  for (std::uint32_t segment = 0; segment < segments; ++segment) {
    const bool loop = number(0, 2) > 0;
    if (loop) {
      result += "rep " + text(number(1, most_iterations)) + (number(0, 3) == 0 ? " serial" : "") + " b1+" +
                text(number(0, 20)) + "%" + text(number(20, 60)) + "\n";
    }
    const std::uint32_t commands = number(1, 9);
    for (std::uint32_t command = 0; command < commands; ++command) {
      switch (number(0, 7)) {
        case 0: {
          const std::uint32_t stride = number(2, 9);
          result += "mvm a" + text(number(0, 5)) + " r0+3 c0+4 " + text(1000 + number(0, 30)) + "*" + text(stride) +
                    " -> " + text(1000 + number(0, 30)) + "*" + text(number(2, 5)) + " set k0\n";
          break;
        }
        case 1:
        case 2:
          result += "mvm a" + text(number(0, 5)) + " r0+" + text(number(2, 8)) + " c0+" + text(number(2, 8)) + " " +
                    address() + " -> " + address() + (number(0, 1) == 0 ? " add" : " set") + " k0\n";
          break;
        case 3: {
          std::string from = text(1000 + number(0, 50)) + "+" + text(number(2, 20));
          if (number(0, 1) == 0) from += "x2^" + text(number(0, 30));
          result += "move t" + text(number(0, 2)) + " " + from + " -> t" + text(number(0, 2)) + " " +
                    text(1000 + number(0, 50)) +
                    (from.find('x') != std::string::npos ? "^" + text(number(1, 40)) : "") + "\n";
          break;
        }
        case 4:
          result += "move t" + text(number(0, 2)) + " " + text(1000 + number(0, 50)) + "+" + text(number(2, 30)) +
                    " -> g" + text(number(0, 1)) + " " + text(1000 + number(0, 50)) + "\n";
          break;
        case 5:
          result += "vec t" + text(number(0, 2)) + (number(0, 1) == 0 ? " relu n" : " silu n") + text(number(2, 20)) +
                    " " + address() + " -> " + address() + " k0\n";
          break;
        case 6:
          result += "attend kv" + text(number(0, 1)) + " append " + address() + " " + address() + "\n";
          break;
        default:
          result += "attend kv" + text(number(0, 1)) + " context " + address() + " -> " + address() + "\n";
          break;
      }
    }
    if (loop) result += "end\n";
  }
  return result;
}

// Messages of all lengths between all of 16 tiles, many at a time: they wait for links, ports and each other's data.
std::string random_messages(std::mt19937& random) {
  const auto number = [&](std::uint32_t least, std::uint32_t most) {
    return std::to_string(std::uniform_int_distribution<std::uint32_t>(least, most)(random));
  };
  std::string result = "rep " + number(1, 3) + " b1+" + number(0, 100) + "\n";
  for (int message = 0; message < 30; ++message) {
    result += "move t" + number(0, 15) + " " + number(0, 900) + "+" + number(2, 60) + " -> " +
              (message % 5 == 0 ? "g" + number(0, 3) : "t" + number(0, 15)) + " " + number(1000, 1900) + "@1\n";
  }
  return result + "end\n";
}

}  // namespace

static Timing simulate_half(const program::Program& program, const chip::Chip& chip, bool linear_only) {
  const Result<Timing> timing = simulate(program, chip, {.linear_only = linear_only, .routing = {}, .trace = {}});
  if (!timing) FAIL(to_string(timing.error()));
  return *timing;
}

/// The machine runs every command at the time at which the reference does.
static void check_against_reference(const program::Program& program, const chip::Chip& chip) {
  const Reference reference(program, chip);
  const std::vector<Event> events = events_of(program, chip);
  REQUIRE(events.size() == reference.executed.size());
  // Segments come one after the other and tokens restart: look up by (command, iteration).
  std::map<std::pair<std::uint32_t, std::uint32_t>, Event> simulated;
  for (const Event& event : events) simulated[{event.command, event.iteration}] = event;
  for (const Executed& one : reference.executed) {
    CAPTURE(one.command);
    CAPTURE(one.iteration);
    const Event& event = simulated.at({one.command, one.iteration});
    REQUIRE(event.start == one.first_start);
    REQUIRE(event.end == one.end);
  }
}

TEST_CASE("random programs against a reference scheduler, and replays of their dependences") {
  int replays = 0;
  struct Kind {
    int programs;
    std::uint32_t most_iterations;
  };
  struct Dealt {
    std::uint32_t chips, each;
  };
  // One chip; several, with whole and with broken tiles; one in passes; two in passes.
  const Dealt dealings[] = {{1, 0}, {9, 2}, {4, 5}, {1, 4}, {2, 3}};
  for (const Kind& kind : {Kind{1000, 5}, Kind{10, 150}}) {  // the second beyond the sequencer's window
    chip::Chip chip = moves_chip({{"chip.link_gbps", "100"},
                                  {"chip.link_latency_ns", "3"},
                                  {"digital.relu_ns", "0"},
                                  {"attention.append_ns", "1"},
                                  {"attention.macs_per_ns", "4"},
                                  {"array.settle_ns", "3"}});
    std::mt19937 random(20260731 + kind.most_iterations);
    for (int round = 0; round < kind.programs; ++round) {
      const std::string commands = random_code(random, kind.most_iterations);
      const Dealt dealt = dealings[static_cast<std::size_t>(round) % std::size(dealings)];
      program::Program program = code(commands, 18);
      program.chip.buffer = 2000;
      for (program::KvRegion& region : program.kv) region.capacity = 10000;
      CAPTURE(commands);
      program.chip.chips = dealt.chips;
      program.chip.arrays_per_chip = dealt.each;
      chip.system.chips = dealt.chips;
      chip.system.arrays = dealt.each;
      chip.network.contention = round % 3 == 0 ? chip::Contention::port : chip::Contention::links;
      chip.network.switching = round % 4 < 2 ? chip::Switching::circuit : chip::Switching::wormhole;
      if (dealt.each % 2 != 0) {
        // Tiles of one array lie between those of two, so there are more of them; the groups' are there all the same.
        CHECK(program.chip.tiles() > 9);
      }
      CAPTURE(dealt.chips);
      CAPTURE(dealt.each);
      replays += check_replay(program, chip, round % 2 == 0, simulate_half(program, chip, round % 2 == 0)) ? 1 : 0;
      check_against_reference(program, chip);
    }
  }
  CHECK(replays > 500);
}

TEST_CASE("random programs on converters that are shared against a reference scheduler") {
  int pooled = 0, different = 0;
  std::mt19937 random(20270202);
  const std::pair<std::uint32_t, std::uint32_t> dealings[] = {{1, 0}, {9, 2}, {4, 5}, {2, 3}};  // chips, arrays of each
  for (int round = 0; round < 600; ++round) {
    // Activations mostly, with a vector operation here and there: they meet at the converters.
    std::string commands = "rep 3\n";
    for (int command = 0; command < 10; ++command) {
      const auto number = [&](std::uint32_t least, std::uint32_t most) {
        return std::to_string(std::uniform_int_distribution<std::uint32_t>(least, most)(random));
      };
      if (command % 5 == 4) {
        commands += "vec t" + number(0, 2) + " silu n4 " + number(100, 130) + " -> " + number(100, 130) + " k0\n";
      } else {
        commands += "mvm a" + number(0, 5) + " r0+" + number(2, 8) + " c0+" + number(1, 8) + " " + number(100, 130) +
                    " -> " + number(100, 130) + (round % 2 == 0 ? " add" : " set") + " k0\n";
      }
    }
    commands += "end\n";
    CAPTURE(commands);
    chip::Chip chip = moves_chip({{"array.settle_ns", "3"}, {"adc.share_ns", "0.5"}});
    chip.adc.sharing = round % 3 == 0 ? chip::AdcSharing::array : chip::AdcSharing::group;
    chip.adc.group_arrays = round % 5 == 0 ? 1 : 2;
    chip.adc.double_buffer = round % 4 >= 2;
    if (chip.adc.sharing == chip::AdcSharing::array) chip.adc.share_ns = 0;
    program::Program program = code(commands, 18);
    std::tie(program.chip.chips, program.chip.arrays_per_chip) = dealings[static_cast<std::size_t>(round / 7) % 4];
    chip.system.chips = program.chip.chips;
    chip.system.arrays = program.chip.arrays_per_chip;
    pooled += chip::are_converters_pooled(chip) ? 1 : 0;
    const Timing timing = simulate_good(program, chip);
    chip::Chip wired = chip;
    wired.adc.sharing = chip::AdcSharing::column;
    different += simulate_good(program, wired).total != timing.total ? 1 : 0;
    check_against_reference(program, chip);
  }
  CHECK(pooled > 400);
  CHECK(different > 300);
}

TEST_CASE("random messages that take links against a reference scheduler") {
  std::mt19937 random(20270101);
  int slower = 0;
  for (int round = 0; round < 300; ++round) {
    program::Program program = code("", 32);
    program.groups = {{{TileId{0}, TileId{5}, TileId{10}, TileId{15}}},
                      {{TileId{1}, TileId{2}, TileId{3}, TileId{13}}},
                      {{TileId{4}, TileId{7}}},
                      {{TileId{6}, TileId{9}, TileId{12}}}};
    program.chip.buffer = 3000;
    const std::string text = program::to_text(program);
    const std::string commands = random_messages(random);
    CAPTURE(commands);
    program = parse_good(text.substr(0, text.find("halt")) + commands + "halt\n");
    chip::Chip chip = moves_chip({{"chip.link_gbps", "100"}, {"chip.link_latency_ns", "3"}});
    program.chip.chips = chip.system.chips = round % 2 == 0 ? 1 : 2;
    program.chip.arrays_per_chip = chip.system.arrays = round % 2 == 0 ? 0 : 16;
    const Picoseconds port_total = simulate_good(program, chip).total;
    chip.network.contention = chip::Contention::links;
    if (round % 4 >= 2) chip.network.switching = chip::Switching::wormhole;
    slower += simulate_good(program, chip).total > port_total ? 1 : 0;
    check_against_reference(program, chip);
  }
  CHECK(slower > 100);
}

TEST_CASE("a page that falls into many runs keeps its histories") {
  // Strided writes cut a page into one run per element; every element keeps its own last writer and readers.
  std::string commands;
  for (std::uint32_t q = 0; q < 8; ++q) {
    commands += "mvm a0 r0+2 c0+8 " + std::to_string(10 + q) + " -> " + std::to_string(100 + q) + "*8 set k0\n";
    commands += "mvm a1 r0+8 c0+2 " + std::to_string(100 + q) + "*8 -> " + std::to_string(200 + 2 * q) + " set k0\n";
  }
  commands += "move t0 100+64 -> t1 0\n";
  const program::Program program = code(commands);
  check_against_reference(program, small_chip());
}

}  // namespace danaus::machine
