// List scheduling in steps. In a step, what is ready and finds its resource idle starts; the clock moves on to the
// earliest end; what ends then may make its readers ready. Where the simulator scans one list of everything that is
// ready, in the order in which it became ready, there is a queue per resource here, and the number of an operation's
// becoming ready (`order`) says where it is in that list. Running operations of equal length end in the order in which
// they started, so the earliest end is always at the front of a few queues.

#include "danaus/machine/list/list_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <memory>
#include <tuple>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"
#include "danaus/machine/list/operations.h"
#include "danaus/machine/list/tiers.h"

namespace danaus::machine::list {
namespace {

using chip::Picoseconds;

constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();

std::size_t index_of(Kind kind) { return static_cast<std::size_t>(kind); }

/// The operations of a path by kind: durations are the same for all of a kind.
struct PathCounts {
  std::uint32_t mvms = 0, communications = 0, attentions = 0;
  Picoseconds digital = 0;
};

/// An operation that is ready.
struct Ready {
  std::uint64_t order = 0;
  std::uint32_t sequence = 0, segment = 0, token = 0, operation = 0;
  PathCounts before;  // of what it waited for
};

/// The simulator serves the first sequence and its first token first; ties in the order of becoming ready.
bool is_later(const Ready& a, const Ready& b) {
  return std::tie(a.sequence, a.token, a.order) > std::tie(b.sequence, b.token, b.order);
}

struct Running {
  Picoseconds end = 0;
  std::uint64_t step = 0;   // in which it started
  std::uint64_t start = 0;  // number of the start
  std::uint64_t place = 0;  // mvm: that of its tile, see Tile::first_order
  Ready ready;
};

/// Operations that wait for one tile.
class Tile {
 public:
  void push(const Ready& ready) {
    heap_.push_back({(std::uint64_t{ready.sequence} << 32) | ready.token, gone_ + waiting_.size()});
    std::push_heap(heap_.begin(), heap_.end(), Later());
    waiting_.push_back({ready, false});
  }
  bool empty() const { return heap_.empty(); }
  /// When the oldest waiting operation became ready: where the simulator meets this tile in its list.
  std::uint64_t first_order() const { return waiting_.front().ready.order; }

  Ready pop() {
    std::pop_heap(heap_.begin(), heap_.end(), Later());
    Waiting& waiting = waiting_[heap_.back().number - gone_];
    heap_.pop_back();
    waiting.started = true;
    const Ready ready = waiting.ready;
    for (; !waiting_.empty() && waiting_.front().started; ++gone_) waiting_.pop_front();
    return ready;
  }

  std::uint32_t running = 0;
  bool is_listed = false;  ///< among the tiles to look at in the next step

 private:
  struct Waiting {
    Ready ready;
    bool started;
  };
  struct Entry {
    std::uint64_t key;     // sequence, token
    std::uint64_t number;  // of arrival
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const {
      return std::tie(a.key, a.number) > std::tie(b.key, b.number);
    }
  };
  std::vector<Entry> heap_;
  std::deque<Waiting> waiting_;  // in the order of arrival
  std::uint64_t gone_ = 0;       // before the first of them
};

/// Units that take the first by (sequence, token).
struct Pool {
  std::uint64_t free = 0;
  std::vector<Ready> heap;

  void push(const Ready& ready) {
    heap.push_back(ready);
    std::push_heap(heap.begin(), heap.end(), is_later);
  }
  bool can_start() const { return free > 0 && !heap.empty(); }
  Ready pop() {
    std::pop_heap(heap.begin(), heap.end(), is_later);
    const Ready ready = heap.back();
    heap.pop_back();
    --free;
    return ready;
  }
};

/// A part of a pass of one sequence, all tokens.
struct Segment {
  std::uint32_t sequence = 0, pass = 0, part = 0;
  std::uint32_t tokens = 0;
  const Part* operations = nullptr;
  std::uint32_t stride = 0, shared_stride = 0;  // per token
  std::vector<std::uint16_t> missing;           // operands of each operation
  std::vector<std::uint16_t> sharing;           // readers of each shared buffer that have not started
  std::uint64_t left = 0;                       // operations that have not ended
  std::uint64_t attention_left = 0;             // results that the attention waits for
  std::uint64_t attention_bytes = 0;            // freed when it starts
  std::uint64_t sample_readers = 0;             // of the token that was chosen before it, which have not started
};

class Scheduler {
 public:
  Scheduler(const Operations& operations, const Mapping& mapping, const Transformer& transformer, const Work& work,
            const chip::Chip& chip, const Options& options, Progress& progress)
      : operations_(operations),
        transformer_(transformer),
        work_(work),
        one_tier_at_a_time_(chip.system.one_tier_at_a_time),
        durations_(durations(transformer, chip, options)),
        tiles_(mapping.tiles),
        progress_(progress) {
    constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
    digital_.free = chip.digital.units == 0 ? kUnlimited : chip.digital.units;
    attention_.free = chip.attention.units == 0 ? kUnlimited : chip.attention.units;
  }

  void run() {
    for (std::uint32_t sequence = 0; sequence < work_.sequences; ++sequence) begin_part(sequence, 0, 0, {});
    while (true) {
      start_what_can();
      const Picoseconds next = earliest_end();
      if (next == kNever) break;
      now_ = next;
      end_what_does();
      peak_bytes_ = std::max(peak_bytes_, live_bytes_);
      ++step_;
      constexpr std::uint64_t kReportSteps = 1u << 14;
      if (step_ % kReportSteps == 0) progress_.update(ended_);
    }
  }

  Picoseconds total() const { return now_; }
  const Counts& counts() const { return counts_; }
  double flops() const { return flops_; }
  std::uint64_t peak_bytes() const { return peak_bytes_; }
  Path path() const {
    Path path;
    path.mvms = last_.mvms;
    path.mvm = last_.mvms * durations_[index_of(Kind::mvm)];
    path.communication = last_.communications * durations_[index_of(Kind::communication)];
    path.attention = last_.attentions * durations_[index_of(Kind::attention)];
    path.digital = last_.digital;
    path.wait = now_ - path.total();
    return path;
  }

 private:
  using Durations = std::array<Picoseconds, kKinds>;

  static Durations durations(const Transformer& transformer, const chip::Chip& chip, const Options& options) {
    Durations times{};
    const auto set = [&times](Kind kind, double ns) { times[index_of(kind)] = chip::to_picoseconds(ns); };
    set(Kind::mvm, chip.array.settle_ns);
    set(Kind::communication, chip.network.hop_ns);
    if (options.linear_only) return times;
    set(Kind::add, chip.digital.add_ns);
    set(Kind::norm, chip.digital.moments_ns + chip.digital.stat_ns + chip.digital.norm_ns);
    set(Kind::activation, transformer.gelu ? chip.digital.gelu_ns : chip.digital.relu_ns);
    set(Kind::sample, chip.digital.sample_ns);
    set(Kind::attention, chip.attention.softmax_ns);
    return times;
  }

  const TokenPart& part_of(const Segment& segment, std::uint32_t token) const {
    return segment.operations->of(token, segment.tokens);
  }
  const Operation& operation_of(const Ready& ready) const {
    return part_of(*segments_[ready.segment], ready.token).operations[ready.operation];
  }
  /// The attention that ends a segment is no operation of a token.
  static constexpr std::uint32_t kAttention = kNone;

  std::uint32_t new_segment() {
    if (free_segments_.empty()) {
      segments_.push_back(std::make_unique<Segment>());
      return static_cast<std::uint32_t>(segments_.size() - 1);
    }
    const std::uint32_t segment = free_segments_.back();
    free_segments_.pop_back();
    return segment;
  }

  void begin_part(std::uint32_t sequence, std::uint32_t pass, std::uint32_t part, const PathCounts& before) {
    const std::uint32_t number = new_segment();
    Segment& segment = *segments_[number];
    const bool sampled = part == 0 && pass > 0;
    segment.sequence = sequence;
    segment.pass = pass;
    segment.part = part;
    segment.tokens = work_.passes[pass].tokens;
    segment.operations = sampled ? &operations_.after_sample : &operations_.parts[part];
    const TokenPart& any = segment.operations->tokens;
    const TokenPart& last = part_of(segment, segment.tokens - 1);
    segment.stride = static_cast<std::uint32_t>(std::max(any.operations.size(), last.operations.size()));
    segment.shared_stride = static_cast<std::uint32_t>(std::max(any.shared.size(), last.shared.size()));
    segment.missing.assign(std::size_t{segment.tokens} * segment.stride, 0);
    segment.sharing.assign(std::size_t{segment.tokens} * segment.shared_stride, 0);
    segment.left = 0;
    segment.attention_left = 0;
    segment.attention_bytes = 0;
    segment.sample_readers = 0;
    for (std::uint32_t token = 0; token < segment.tokens; ++token) {
      const TokenPart& mine = part_of(segment, token);
      std::uint16_t* missing = &segment.missing[std::size_t{token} * segment.stride];
      for (const Operation& operation : mine.operations) *missing++ = static_cast<std::uint16_t>(operation.operands);
      for (std::size_t n = 0; n < mine.shared.size(); ++n)
        segment.sharing[std::size_t{token} * segment.shared_stride + n] =
            static_cast<std::uint16_t>(mine.shared[n].readers);
      segment.left += mine.operations.size();
      segment.attention_left += mine.to_attention;
      segment.attention_bytes += mine.attention_freed_bytes;
      if (sampled) segment.sample_readers += mine.roots.size();
      add_work(mine);
      for (const std::uint32_t root : mine.roots) make_ready(number, token, root, before);
    }
    if (segment.attention_left > 0) {
      ++segment.left;
      ++counts_.attentions;
      flops_ += attention_flops(work_.passes[pass]);
    }
  }

  void add_work(const TokenPart& part) {
    counts_.mvms += part.counts.mvms;
    counts_.communications += part.counts.communications;
    counts_.adds += part.counts.adds;
    counts_.norms += part.counts.norms;
    counts_.activations += part.counts.activations;
    counts_.samples += part.counts.samples;
    flops_ += part.flops;
  }

  double attention_flops(const Pass& pass) const {
    const double length = pass.attended, size = transformer_.hidden;
    const bool cached = pass.tokens < pass.attended;
    const double pairs = length * length;
    const double products = cached ? length : transformer_.decoder ? (pairs + length) / 2 : pairs;
    const double scores = 2 * products * size + 1 + products + 2 * products + (products - length);
    return scores + 2 * size * (cached ? length : pairs);
  }

  void make_ready(std::uint32_t segment_number, std::uint32_t token, std::uint32_t operation_number,
                  const PathCounts& before) {
    const Segment& segment = *segments_[segment_number];
    const Ready ready{.order = order_++,
                      .sequence = segment.sequence,
                      .segment = segment_number,
                      .token = token,
                      .operation = operation_number,
                      .before = before};
    if (operation_number == kAttention) {
      attention_.push(ready);
      return;
    }
    const Operation& operation = part_of(segment, token).operations[operation_number];
    if (operation.kind == Kind::communication) {
      messages_.push_back(ready);
    } else if (operation.kind == Kind::mvm) {
      tiles_[operation.tile].push(ready);
      list_tile(operation.tile);
    } else {
      digital_.push(ready);
    }
  }

  void list_tile(std::uint32_t tile) {
    if (tiles_[tile].is_listed || tiles_[tile].running > 0) return;
    tiles_[tile].is_listed = true;
    listed_tiles_.push_back(tile);
  }

  void start_what_can() {
    for (const Ready& ready : messages_) start(ready, Kind::communication, 0);
    messages_.clear();
    for (const std::uint32_t number : listed_tiles_) {
      Tile& tile = tiles_[number];
      tile.is_listed = false;
      if (tile.empty()) continue;
      const std::uint64_t place = tile.first_order();
      do {
        ++tile.running;
        start(tile.pop(), Kind::mvm, place);
      } while (!one_tier_at_a_time_ && !tile.empty());
    }
    listed_tiles_.clear();
    while (digital_.can_start()) {
      const Ready ready = digital_.pop();
      start(ready, operation_of(ready).kind, 0);
    }
    while (attention_.can_start()) start(attention_.pop(), Kind::attention, 0);
  }

  void start(const Ready& ready, Kind kind, std::uint64_t place) {
    running_[index_of(kind)].push_back(
        {.end = now_ + durations_[index_of(kind)], .step = step_, .start = starts_++, .place = place, .ready = ready});
    Segment& segment = *segments_[ready.segment];
    if (kind == Kind::attention) {
      live_bytes_ -= segment.attention_bytes;
      return;
    }
    if (kind == Kind::communication) return;
    const TokenPart& part = part_of(segment, ready.token);
    const Operation& operation = part.operations[ready.operation];
    live_bytes_ -= operation.freed_bytes;
    if (operation.shared != kNone) {
      std::uint16_t& sharing = segment.sharing[std::size_t{ready.token} * segment.shared_stride + operation.shared];
      if (--sharing == 0) live_bytes_ -= part.shared[operation.shared].bytes;
    }
    if (operation.reads_sample && --segment.sample_readers == 0) live_bytes_ -= operations_.sample_bytes;
  }

  Picoseconds earliest_end() const {
    Picoseconds earliest = kNever;
    for (const std::deque<Running>& queue : running_) {
      if (!queue.empty()) earliest = std::min(earliest, queue.front().end);
    }
    return earliest;
  }

  void take_ended(Kind kind, std::vector<Running>& into) {
    std::deque<Running>& queue = running_[index_of(kind)];
    for (; !queue.empty() && queue.front().end == now_; queue.pop_front()) into.push_back(queue.front());
  }

  // In the simulator's order: messages; tiles; of the pools first what it saw running at the beginning of the step,
  // then what started in it, digital units before attention.
  void end_what_does() {
    ending_.clear();
    take_ended(Kind::communication, ending_);
    for (const Running& running : ending_) end(running, Kind::communication);

    ending_.clear();
    take_ended(Kind::mvm, ending_);
    const auto by_place = [](const Running& a, const Running& b) {
      return std::tie(a.place, a.ready.order) < std::tie(b.place, b.ready.order);
    };
    if (!std::is_sorted(ending_.begin(), ending_.end(), by_place)) std::sort(ending_.begin(), ending_.end(), by_place);
    for (const Running& running : ending_) end(running, Kind::mvm);

    ending_.clear();
    for (const Kind kind : {Kind::add, Kind::norm, Kind::activation, Kind::sample}) take_ended(kind, ending_);
    const std::ptrdiff_t digital = static_cast<std::ptrdiff_t>(ending_.size());
    take_ended(Kind::attention, ending_);
    const auto old_first = [this](const Running& a, const Running& b) {
      const bool a_is_new = a.step == step_, b_is_new = b.step == step_;
      if (a_is_new != b_is_new) return b_is_new;
      return a_is_new ? a.start < b.start : a.ready.order < b.ready.order;
    };
    std::sort(ending_.begin(), ending_.begin() + digital, old_first);
    std::sort(ending_.begin() + digital, ending_.end(), old_first);
    for (const bool is_new : {false, true}) {
      for (const Running& running : ending_) {
        if ((running.step == step_) != is_new) continue;
        const Kind kind = running.ready.operation == kAttention ? Kind::attention : operation_of(running.ready).kind;
        end(running, kind);
      }
    }
  }

  void end(const Running& running, Kind kind) {
    const Ready& ready = running.ready;
    PathCounts path = ready.before;
    ++ended_;
    switch (kind) {
      case Kind::mvm:
        ++path.mvms;
        break;
      case Kind::communication:
        ++path.communications;
        break;
      case Kind::attention:
        ++path.attentions;
        break;
      default:
        path.digital += durations_[index_of(kind)];
    }
    last_ = path;
    Segment& segment = *segments_[ready.segment];
    if (kind == Kind::attention) {
      ++attention_.free;
      live_bytes_ += std::uint64_t{operations_.attention_bytes} * segment.tokens;
      begin_part(segment.sequence, segment.pass, segment.part + 1, path);
    } else {
      end_operation(segment, ready, kind, path);
    }
    if (--segment.left == 0) free_segments_.push_back(ready.segment);
  }

  void end_operation(Segment& segment, const Ready& ready, Kind kind, const PathCounts& path) {
    const TokenPart& part = part_of(segment, ready.token);
    const Operation& operation = part.operations[ready.operation];
    if (kind == Kind::mvm) {
      --tiles_[operation.tile].running;
      if (!tiles_[operation.tile].empty()) list_tile(operation.tile);
    } else if (kind != Kind::communication) {
      ++digital_.free;
    }
    if (!operation.is_kept || segment.sequence + 1 == work_.sequences) live_bytes_ += operation.written_bytes;
    std::uint16_t* missing = &segment.missing[std::size_t{ready.token} * segment.stride];
    for (std::uint32_t n = 0; n < operation.readers; ++n) {
      const std::uint32_t reader = part.readers[operation.first_reader + n];
      if (--missing[reader] == 0) make_ready(ready.segment, ready.token, reader, path);
    }
    if (operation.to_attention && --segment.attention_left == 0) make_ready(ready.segment, 0, kAttention, path);
    if (kind == Kind::sample) {
      const bool is_last = segment.pass + 1 == work_.passes.size();
      // Nobody reads the last token either.
      if (!is_last || segment.sequence + 1 == work_.sequences) live_bytes_ += operations_.sample_bytes;
      if (!is_last) begin_part(segment.sequence, segment.pass + 1, 0, path);
    }
  }

  const Operations& operations_;
  const Transformer& transformer_;
  const Work& work_;
  const bool one_tier_at_a_time_;
  const Durations durations_;

  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<std::uint32_t> free_segments_;
  std::vector<Tile> tiles_;
  std::vector<std::uint32_t> listed_tiles_;  // idle ones that something may wait for
  std::vector<Ready> messages_;              // ready, to start in the next step
  Pool digital_, attention_;
  std::array<std::deque<Running>, kKinds> running_;
  std::vector<Running> ending_;

  Picoseconds now_ = 0;
  std::uint64_t order_ = 0, step_ = 0, starts_ = 0, ended_ = 0;
  std::uint64_t live_bytes_ = 0, peak_bytes_ = 0;
  PathCounts last_;
  Counts counts_;
  double flops_ = 0;
  Progress& progress_;
};

Result<void> check_chip(const chip::Chip& chip) {
  const auto refuse = [](std::string_view what, std::string_view setting) {
    return fail(Error("list.unsupported", Failure::unsupported,
                      fmt::format("list scheduling knows no {} (it is what the 3D-CiM simulator does)", what))
                    .with_hint(fmt::format("set {}, or chip.scheduling = \"scoreboard\"", setting)));
  };
  if (chip.network.topology == chip::Topology::mesh)
    return refuse("mesh of tiles", "network.topology = \"flat\" or \"ideal\"");
  if (!chip.digital.energy_per_operation)
    return refuse("energy per element of the vector units", "digital.energy_per = \"operation\"");
  if (chip.digital.lanes != 0) return refuse("lanes of the vector units", "digital.lanes = 0");
  if (chip.attention.macs_per_ns != 0)
    return refuse("time of attention that depends on its length", "attention.macs_per_ns = 0");
  if (chip.system.chips != 1) return refuse("system of several chips", "chip.chips = 1");
  return {};
}

/// How many there will be; refuses what takes too long or too much memory.
Result<std::uint64_t> count_operations(const Operations& operations, const Work& work) {
  constexpr std::uint64_t kMostOperations = 1ull << 32;
  constexpr std::uint64_t kMostBytes = 1ull << 29;  // what waits in queues takes a few times that
  std::uint64_t of_all_parts = 0, largest_part = 0;
  for (const Part& part : operations.parts) {
    const std::uint64_t size =
        std::max(part.tokens.operations.size(), part.last_token ? part.last_token->operations.size() : 0);
    of_all_parts += size;
    largest_part = std::max(largest_part, size);
  }
  std::uint64_t total = 0, state = 0;
  for (const Pass& pass : work.passes) {
    if (pass.tokens > kMostOperations / work.sequences / of_all_parts - total / work.sequences / of_all_parts)
      return fail(Error("list.too-large", Failure::unsupported,
                        fmt::format("this takes more than {} operations", kMostOperations))
                      .with_hint("use fewer tokens or sequences"));
    total += pass.tokens * of_all_parts * work.sequences;
    state = std::max(state, pass.tokens * largest_part * work.sequences);
  }
  constexpr std::uint64_t kBytesPerOperation = sizeof(std::uint16_t);
  if (state > kMostBytes / kBytesPerOperation)
    return fail(Error("list.too-large", Failure::unsupported,
                      fmt::format("this takes {} bytes of state, more than {}", state * kBytesPerOperation, kMostBytes))
                    .with_hint("use fewer tokens or sequences"));
  return total;
}

Energy energy_of(const Counts& counts, Picoseconds total, const Transformer& transformer, const Work& work,
                 const chip::Chip& chip) {
  const auto times = [](std::uint64_t count, double pj) { return static_cast<double>(count) * pj; };
  Energy energy;
  energy.mvms = times(counts.mvms, chip.array.activation_energy_pj);
  const double bits = static_cast<double>(chip.input.bits) * chip.array.cols;  // of a message: all columns of a tile
  energy.communications = times(counts.communications, chip.network.energy_pj_per_bit_hop * bits);
  energy.digital = times(counts.adds, chip.digital.add_pj) +
                   times(counts.norms, chip.digital.moments_pj + chip.digital.stat_pj + chip.digital.norm_pj) +
                   times(counts.activations, transformer.gelu ? chip.digital.gelu_pj : chip.digital.relu_pj) +
                   times(counts.samples, chip.digital.sample_pj);
  energy.attention = times(counts.attentions, chip.attention.context_pj);
  const double milliwatts = times(chip.digital.units, chip.digital.passive_mw) +
                            times(chip.attention.units, chip.attention.passive_mw) +
                            (work.kv_cache ? chip.attention.kv_passive_mw : 0);
  energy.passive = milliwatts * (static_cast<double>(total) / 1000);  // mW * ns = pJ
  return energy;
}

}  // namespace

Work one_pass(std::uint32_t tokens, std::uint32_t sequences) {
  return {.sequences = sequences, .passes = {{.tokens = tokens, .attended = tokens}}, .kv_cache = false};
}

Work generation(std::uint32_t prompt, std::uint32_t total, bool kv_cache, std::uint32_t sequences) {
  Work work{.sequences = sequences, .passes = {}, .kv_cache = kv_cache};
  for (std::uint32_t length = prompt; length < total; ++length)
    work.passes.push_back({.tokens = kv_cache && length > prompt ? 1 : length, .attended = length});
  return work;
}

Result<Schedule> schedule(const Transformer& transformer, const Work& work, const chip::Chip& chip,
                          const Options& options, Progress& progress) {
  DANAUS_CHECK(check_chip(chip));
  DANAUS_TRY(mapping, map_weights(transformer, chip));
  DANAUS_TRY(operations, operations_of(transformer, mapping, work.passes.front().tokens, chip));
  DANAUS_TRY(total, count_operations(operations, work));
  progress.begin("schedule", total);
  Scheduler scheduler(operations, mapping, transformer, work, chip, options, progress);
  scheduler.run();
  progress.end();

  Schedule schedule;
  schedule.total = scheduler.total();
  schedule.path = scheduler.path();
  schedule.counts = scheduler.counts();
  schedule.energy = energy_of(schedule.counts, schedule.total, transformer, work, chip);
  schedule.flops = scheduler.flops();
  schedule.peak_bytes = scheduler.peak_bytes();
  schedule.tiles = mapping.tiles;
  schedule.tiers = mapping.tiers;
  schedule.parameters = mapping.parameters;
  return schedule;
}

}  // namespace danaus::machine::list
