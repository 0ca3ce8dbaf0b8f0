// A scoreboard on an event queue. Iterations are opened in sequential order; opening one finds the predecessors of each
// of its commands. A command whose predecessors have completed waits for its resource; each resource takes its oldest
// waiting command.
//
// At one instant: completions and released resources, then commands of zero length and newly opened iterations to a
// fixed point, then the rest. The critical path needs no history: a command inherits the breakdown of whatever released
// it last (the predecessor, or the command that freed its resource at that instant) and adds its own time, so every
// breakdown sums to its time.

#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <deque>
#include <queue>
#include <span>
#include <unordered_map>
#include <variant>

#include "danaus/core/internal_error.h"
#include "danaus/machine/experts.h"
#include "danaus/machine/hazards.h"
#include "danaus/machine/instances.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/pool.h"
#include "danaus/machine/reload.h"
#include "danaus/machine/timing.h"

namespace danaus::machine {
namespace {

constexpr std::size_t kWindowIterations = 64;
constexpr std::uint64_t kWindowCommands = 1u << 22;
constexpr std::size_t kMostState = 1u << 27;  // runs, readers and edges: 8 to 12 bytes each

struct Path {
  Breakdown time;
  std::uint64_t rounds = 0;
};

// A ready or running instance.
struct Live {
  Path path;  // until it was released; its own time included once its own work is done
  Picoseconds ready = 0, start = 0;
  std::uint32_t step = kNone;  // of Plan::later_steps, once the first one has ended
};

struct Edge {
  std::uint32_t to = 0;
  std::uint32_t next = kNone;
  bool for_end = false;  // counts for end_after, not for start_after
};

struct Iteration {
  const Segment* segment = nullptr;
  std::uint32_t number = 0;
  std::uint32_t first = 0;  // ordinal
  std::uint32_t remaining = 0;
};

struct AttendInstance {
  std::uint32_t resource = 0;
  Cost cost;
};

struct RegionState {
  std::uint64_t entries = 0;
  std::vector<std::uint32_t> appends;  // that may not have completed
};

// The work of an instance is done.
struct QueuedEvent {
  Picoseconds time = 0;
  std::uint32_t ordinal = 0;
  auto operator<=>(const QueuedEvent&) const = default;
};

struct ResourceState {
  std::uint32_t running = 0;
  std::uint32_t waiting = kNone;      // heap of keys in the pool of heaps
  std::uint32_t released_by = kNone;  // live entry of the command that released it; meaningful at that instant
  Picoseconds busy = 0;
};

class Machine {
 public:
  Machine(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options, Progress& progress,
          Plan plan)
      : program_(program),
        chip_(chip),
        options_(options),
        progress_(progress),
        plan_(std::move(plan)),
        most_open_(std::max(kWindowCommands, 2 * std::uint64_t{plan_.largest_segment})),
        instances_(window_size(), plan_.commands),
        hazards_(instances_),
        resources_(plan_.resources.size()),
        regions_(program.kv.size()),
        experts_(program.intent, options.routing) {
    for (std::size_t region = 0; region < regions_.size(); ++region)
      regions_[region].entries = program.kv[region].start;
    counts_ = plan_.counts;
    for (const Segment& segment : plan_.segments) {
      if (segment.is_loop || measured_ == nullptr || !measured_->is_loop) measured_ = &segment;
    }
    if (measured_ != nullptr) token_end_.resize(measured_->is_loop ? measured_->loop.n : 1);
  }

  Result<Timing> run() {
    progress_.begin("simulate", plan_.iterations);
    Result<void> executed = execute();
    progress_.end();
    if (!executed) return fail(std::move(executed).error());
    const Reload reload = reload_of(program_, chip_, plan_, options_.routing);
    if (reload.time >= chip::kLongestTime - total_) return fail(too_long());
    return timing(reload);
  }

 private:
  Result<void> execute() {
    while (true) {
      DANAUS_CHECK(settle());
      start_waiting();
      forget_completed();
      if (events_.empty()) break;
      now_ = events_.top().time;
      if (now_ >= chip::kLongestTime) return fail(too_long());
      while (!events_.empty() && events_.top().time == now_) {
        const QueuedEvent event = events_.top();
        events_.pop();
        const std::uint32_t resource = resource_of(event.ordinal);  // before its next step
        work_done(event.ordinal);
        release_resource(resource, event.ordinal);
      }
    }
    ensure(open_.empty() && segment_ == plan_.segments.size(), "every command of a program completes");
    return {};
  }

  static Error too_long() {
    return Error("machine.too-long", Failure::unsupported, "the program takes more than 28 hours on the chip")
        .with_hint("check the times in the chip file");
  }

  // Instances: no more than the window and the program need.
  std::size_t window_size() const {
    const std::uint64_t whole_window = kWindowIterations * std::uint64_t{std::max(1u, plan_.largest_segment)};
    return static_cast<std::size_t>(std::min({most_open_, whole_window, std::max<std::uint64_t>(1, plan_.commands)}));
  }

  // ---- one instant ----

  // Completions, opened iterations and commands of zero length, to a fixed point.
  Result<void> settle() {
    while (true) {
      if (!completing_.empty()) {
        const std::uint32_t ordinal = completing_.front();
        completing_.pop_front();
        complete(ordinal);
      } else if (may_open()) {
        DANAUS_CHECK(open_iteration());
      } else if (!zero_length_.empty()) {
        const std::uint32_t ordinal = zero_length_.top();
        zero_length_.pop();
        run_zero_length(ordinal);
      } else {
        return {};
      }
    }
  }

  void start_waiting() {
    for (const std::uint32_t number : touched_) {
      ResourceState& resource = resources_[number];
      while (resource.waiting != kNone && resource.running < plan_.resources[number].capacity)
        start(pop_waiting(resource), number);
    }
    touched_.clear();
  }

  // What completed at this instant was kept for those that it released.
  void forget_completed() {
    for (const std::uint32_t live : completed_) live_.give_back(live);
    completed_.clear();
  }

  void make_ready(std::uint32_t ordinal, const Path& path) {
    Instance& instance = instances_[ordinal];
    instance.live = live_.take();
    live_[instance.live] = Live{path, now_, now_, kNone};
    queue(ordinal);
  }

  // Its resource, or the queue for it.
  void queue(std::uint32_t ordinal) {
    const std::uint32_t resource = resource_of(ordinal);
    if (cost_of(ordinal).duration() == 0 && resources_[resource].running < plan_.resources[resource].capacity) {
      zero_length_.push(ordinal);
    } else {
      push_waiting(resource, ordinal);
    }
  }

  void run_zero_length(std::uint32_t ordinal) {
    inherit_release(ordinal, resource_of(ordinal));
    begin(ordinal);
    work_done(ordinal);
  }

  void begin(std::uint32_t ordinal) {
    Live& live = live_[instances_[ordinal].live];
    if (live.step == kNone) live.start = now_;
  }

  void start(std::uint32_t ordinal, std::uint32_t number) {
    inherit_release(ordinal, number);
    begin(ordinal);
    const Picoseconds duration = cost_of(ordinal).duration();
    ResourceState& resource = resources_[number];
    ++resource.running;
    resource.busy += duration;
    events_.push({now_ + duration, ordinal});
  }

  // A step of the instance's own work is done. After the last one it completes, unless it must wait to commit.
  void work_done(std::uint32_t ordinal) {
    Instance& instance = instances_[ordinal];
    Live& live = live_[instance.live];
    const Cost& cost = cost_of(ordinal);
    live.path.time.input += cost.input;
    live.path.time.settle += cost.settle;
    live.path.time.adc += cost.adc;
    live.path.time.network += cost.network;
    live.path.time.link += cost.link;
    live.path.time.digital += cost.digital;
    live.path.time.attention += cost.attention;
    live.path.rounds += cost.rounds;
    if (const std::uint32_t next = step_of(ordinal).then; next != kNone) {
      live.step = next;
      live.ready = now_;
      queue(ordinal);
      return;
    }
    if (--instance.end_after == 0) completing_.push_back(ordinal);
  }

  void complete(std::uint32_t ordinal) {
    Instance& instance = instances_[ordinal];
    const std::uint32_t live = instance.live;
    Iteration& iteration = iteration_of(ordinal);
    if (options_.trace) options_.trace({position_of(iteration, ordinal), iteration.number, live_[live].start, now_});
    std::uint32_t edge = instance.successors;
    instance.successors = InstanceTable::kCompleted;
    while (edge != kNone) {
      const Edge done = edges_[edge];
      edges_.give_back(edge);
      edge = done.next;
      Instance& successor = instances_[done.to];
      if (!done.for_end) {
        if (--successor.start_after == 0) make_ready(done.to, live_[live].path);
      } else if (--successor.end_after == 0) {
        live_[successor.live].path = live_[live].path;  // this commit came last
        completing_.push_back(done.to);
      }
    }
    completed_.push_back(live);
    attends_.erase(ordinal);
    last_path_ = live_[live].path;
    total_ = now_;
    if (--iteration.remaining == 0) end_iteration(iteration);
  }

  // ---- resources ----

  // The step that the instance is at.
  const Step& step_of(std::uint32_t ordinal) {
    const std::uint32_t live = instances_[ordinal].live;
    if (live != kNone && live_[live].step != kNone) return plan_.later_steps[live_[live].step];
    return plan_.steps[position_of(iteration_of(ordinal), ordinal)];
  }

  std::uint32_t resource_of(std::uint32_t ordinal) {
    const Step& step = step_of(ordinal);
    return step.resource != kNone ? step.resource : attends_.at(ordinal).resource;
  }

  const Cost& cost_of(std::uint32_t ordinal) {
    const Step& step = step_of(ordinal);
    return step.cost != kNone ? plan_.costs[step.cost] : attends_.at(ordinal).cost;
  }

  void release_resource(std::uint32_t number, std::uint32_t ordinal) {
    ResourceState& resource = resources_[number];
    --resource.running;
    resource.released_by = instances_[ordinal].live;
    touched_.push_back(number);
    while (resource.waiting != kNone && is_zero_length(heaps_[resource.waiting].front()))
      zero_length_.push(pop_waiting(resource));
  }

  // A command that waited for its resource was released last by the command that freed it just now.
  void inherit_release(std::uint32_t ordinal, std::uint32_t number) {
    Live& live = live_[instances_[ordinal].live];
    if (live.ready == now_) return;
    live.path = live_[resources_[number].released_by].path;
  }

  // Waiting commands of a resource: those of zero length first, then by age.
  static std::uint64_t waiting_key(std::uint32_t ordinal, bool zero_length) {
    return (zero_length ? 0 : std::uint64_t{1} << 32) | ordinal;
  }
  static bool is_zero_length(std::uint64_t key) { return key >> 32 == 0; }

  void push_waiting(std::uint32_t number, std::uint32_t ordinal) {
    ResourceState& resource = resources_[number];
    if (resource.waiting == kNone) resource.waiting = heaps_.take();
    std::vector<std::uint64_t>& heap = heaps_[resource.waiting];
    heap.push_back(waiting_key(ordinal, cost_of(ordinal).duration() == 0));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
    touched_.push_back(number);
  }

  std::uint32_t pop_waiting(ResourceState& resource) {
    std::vector<std::uint64_t>& heap = heaps_[resource.waiting];
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const std::uint32_t ordinal = static_cast<std::uint32_t>(heap.back());
    heap.pop_back();
    if (heap.empty()) {
      heaps_.give_back(resource.waiting);
      resource.waiting = kNone;
    }
    return ordinal;
  }

  // ---- iterations ----

  Iteration& iteration_of(std::uint32_t ordinal) {
    if (ordinal >= open_.back().first) return open_.back();
    const auto after = std::upper_bound(open_.begin(), open_.end(), ordinal,
                                        [](std::uint32_t value, const Iteration& item) { return value < item.first; });
    return *(after - 1);
  }

  static std::uint32_t position_of(const Iteration& iteration, std::uint32_t ordinal) {
    return iteration.segment->first + (ordinal - iteration.first);
  }

  bool may_open() const {
    if (segment_ == plan_.segments.size()) return false;
    if (open_.empty()) return true;
    const Segment& segment = plan_.segments[segment_];
    if (segment.loop.serial && iteration_ > 0 && open_.back().remaining > 0) return false;
    return open_.size() < kWindowIterations && instances_.next() - open_.front().first + segment.count <= most_open_;
  }

  Result<void> open_iteration() {
    const Segment& segment = plan_.segments[segment_];
    open_.push_back({&segment, iteration_, instances_.next(), segment.count});
    if (iteration_ == 0) first_branch_ = next_branch_;
    next_branch_ = first_branch_;
    registers_ = {0, segment.register_value(1, iteration_), segment.register_value(2, iteration_),
                  segment.register_value(3, iteration_)};
    for (std::uint32_t offset = 0; offset < segment.count; ++offset) {
      position_ = segment.first + offset;
      const std::uint32_t ordinal = instances_.append();
      if (next_branch_ < plan_.branches.size() && position_ == plan_.branches[next_branch_].begin)
        enter_branch(plan_.branches[next_branch_++], ordinal);
      if (branch_ != nullptr && position_ == branch_->end) {
        branch_ = nullptr;
        skips_ = false;
        pass(ordinal);
      } else if (skips_ && position_ != branch_->begin) {
        pass(ordinal);
      } else {
        DANAUS_CHECK(open_command(ordinal));
      }
      if (iteration_ + 1 == segment.loop.n) forget_unused();
    }
    if (++iteration_ == segment.loop.n) {
      iteration_ = 0;
      ++segment_;
    }
    if (open_.back().remaining == 0) end_iteration(open_.back());
    return {};
  }

  Result<void> open_command(std::uint32_t ordinal) {
    hazards_.begin(ordinal);
    const program::Command command = program::decode_unchecked(program_.code[position_]);
    DANAUS_CHECK(std::visit([&](const auto& concrete) { return issue(concrete, ordinal); }, command));
    // The sequencer has to know the gate.
    if (branch_ != nullptr && ordinal != branch_ordinal_ && !instances_.is_completed(branch_ordinal_))
      hazards_.after(branch_ordinal_);
    hazards_.end();
    connect(ordinal);
    return {};
  }

  void enter_branch(const Branch& branch, std::uint32_t ordinal) {
    branch_ = &branch;
    branch_ordinal_ = ordinal;
    skips_ = !experts_.is_chosen(branch.gates, iteration_, branch.element);
  }

  // A command that is not executed is over at once; nothing depends on it.
  void pass(std::uint32_t ordinal) {
    instances_[ordinal].successors = InstanceTable::kCompleted;
    --open_.back().remaining;
  }

  // In the last iteration: buffers that nothing uses after this command.
  void forget_unused() {
    while (next_last_use_ < plan_.last_uses.size() && plan_.last_uses[next_last_use_].first <= position_)
      hazards_.forget(plan_.last_uses[next_last_use_++].second);
  }

  void connect(std::uint32_t ordinal) {
    Instance& instance = instances_[ordinal];
    instance.start_after = static_cast<std::uint32_t>(hazards_.start_after().size());
    instance.end_after = 1 + static_cast<std::uint32_t>(hazards_.end_after().size());
    for (const std::uint32_t before : hazards_.start_after()) add_edge(before, ordinal, false);
    for (const std::uint32_t before : hazards_.end_after()) add_edge(before, ordinal, true);
    if (instance.start_after == 0)
      make_ready(ordinal, last_path_);  // its predecessors are over: the opening released it
  }

  void add_edge(std::uint32_t from, std::uint32_t to, bool for_end) {
    const std::uint32_t edge = edges_.take();
    edges_[edge] = {to, instances_[from].successors, for_end};
    instances_[from].successors = edge;
  }

  void end_iteration(const Iteration& ended) {
    if (ended.segment == measured_) token_end_[ended.number] = now_;
    while (!open_.empty() && open_.front().remaining == 0) {
      open_.pop_front();
      progress_.update(++closed_);
    }
    instances_.retire_before(open_.empty() ? instances_.next() : open_.front().first);
  }

  // ---- operands ----

  enum class Access : std::uint8_t { read, write, accumulate };

  void touch(std::uint32_t tile, std::uint64_t first, std::uint32_t count, Access access) {
    const std::uint32_t element = static_cast<std::uint32_t>(first);
    if (access == Access::read) {
      hazards_.read(tile, element, count);
    } else {
      hazards_.write(tile, element, count, access == Access::accumulate);
    }
  }

  // All elements of an operand, in runs of neighbours as long as the strides allow.
  Result<void> touch(TileId tile_id, const program::Place& place, std::uint32_t length, std::uint32_t count,
                     Access access) {
    const std::uint32_t tile = index(tile_id);
    const std::int64_t first = static_cast<std::int64_t>(place.offset + registers_[place.base]);
    const std::int64_t along_run = std::int64_t{place.element_stride} * (length - 1);
    const std::int64_t along_runs = std::int64_t{place.run_stride} * (count - 1);
    const std::int64_t lowest = first + std::min<std::int64_t>(0, along_run) + std::min<std::int64_t>(0, along_runs);
    const std::int64_t highest = first + std::max<std::int64_t>(0, along_run) + std::max<std::int64_t>(0, along_runs);
    if (lowest < 0 || highest >= std::int64_t{program_.chip.buffer}) {
      return fail(invalid_command(program_, position_,
                                  fmt::format("it addresses elements {} to {} of a buffer of {} in iteration {}",
                                              lowest, highest, program_.chip.buffer, iteration_)));
    }
    const bool neighbours = length == 1 || place.element_stride == 1;
    if (neighbours && (count == 1 || place.run_stride == std::int64_t{length})) {
      touch(tile, static_cast<std::uint64_t>(first), length * count, access);
    } else {
      for (std::int64_t run = 0; run < count; ++run) {
        const std::int64_t run_first = first + run * place.run_stride;
        if (neighbours) {
          touch(tile, static_cast<std::uint64_t>(run_first), length, access);
          continue;
        }
        for (std::int64_t element = 0; element < length; ++element)
          touch(tile, static_cast<std::uint64_t>(run_first + element * place.element_stride), 1, access);
      }
    }
    return check_state();
  }

  Result<void> touch(TileId tile, const program::Address& address, std::uint32_t length, Access access) {
    return touch(tile, program::Place{address.offset, 1, 0, address.base}, length, 1, access);
  }

  Result<void> check_state() const {
    if (hazards_.size() + edges_.in_use() <= kMostState) return {};
    return fail(
        Error("machine.too-large", Failure::unsupported,
              fmt::format("command {}: more than {} element histories and dependences to keep", position_, kMostState))
            .with_hint("simulate fewer tokens, or a program with fewer strided operands"));
  }

  Result<void> issue(const program::Mvm& mvm, std::uint32_t) {
    const TileId tile = program_.tile_of(mvm.array);
    DANAUS_CHECK(touch(tile, mvm.src, mvm.rows.length, mvm.rows.count, Access::read));
    return touch(tile, mvm.dst, mvm.columns.length, mvm.columns.count, mvm.add ? Access::accumulate : Access::write);
  }

  Result<void> issue(const program::Move& move, std::uint32_t) {
    DANAUS_CHECK(touch(move.from, move.src, move.length, move.count, Access::read));
    if (!move.to_group) return touch(TileId{move.to}, move.dst, move.length, move.count, Access::write);
    for (const TileId member : program_.groups[move.to].members)
      DANAUS_CHECK(touch(member, move.dst, move.length, move.deal ? 1 : move.count, Access::write));
    return {};
  }

  Result<void> issue(const program::Vec& vec, std::uint32_t) {
    for (std::uint32_t source = 0; source < program::source_count(vec.op); ++source)
      DANAUS_CHECK(touch(vec.tile, vec.src[source], program::source_length(vec.op, source, vec.length), Access::read));
    return touch(vec.tile, vec.dst, program::result_length(vec.op, vec.length), Access::write);
  }

  // An append writes an entry of its own; a context waits for all entries so far.
  Result<void> issue(const program::Attend& attend, std::uint32_t ordinal) {
    const std::uint64_t number = index(attend.region) + registers_[attend.region_base];
    if (number >= regions_.size()) {
      return fail(invalid_command(program_, position_, fmt::format("there is no KV region {}", number)));
    }
    const program::KvRegion& region = program_.kv[number];
    RegionState& state = regions_[number];
    if (region.size == 0 || region.queries == 0)
      return fail(invalid_command(program_, position_, "the KV region has no size or no queries"));
    const std::uint32_t vector = attend.append ? region.size : region.queries * region.size;
    DANAUS_CHECK(touch(region.tile, attend.a, vector, Access::read));
    DANAUS_CHECK(touch(region.tile, attend.b, vector, attend.append ? Access::read : Access::write));
    if (attend.append) {
      if (++state.entries > region.capacity) {
        return fail(invalid_command(program_, position_,
                                    fmt::format("KV region {} holds {} entries", number, region.capacity)));
      }
      state.appends.push_back(ordinal);
      counts_.kv_bytes += 2 * std::uint64_t{region.size};
    } else {
      std::erase_if(state.appends, [&](std::uint32_t append) { return instances_.is_completed(append); });
      for (const std::uint32_t append : state.appends) hazards_.after(append);
      counts_.kv_bytes += 2 * std::uint64_t{region.size} * state.entries;
      counts_.attention_macs += 2 * std::uint64_t{vector} * state.entries;
    }
    counts_.buffer_bytes += 2 * std::uint64_t{vector};
    attends_[ordinal] = {plan_.region_resource[number],
                         attend_cost(chip_, region, attend.append, state.entries, options_.linear_only)};
    return check_state();
  }

  Result<void> issue(const program::When& when, std::uint32_t) { return touch(when.tile, when.gate, 1, Access::read); }
  Result<void> issue(const program::Repeat&, std::uint32_t) { return {}; }
  Result<void> issue(const program::End&, std::uint32_t) { return {}; }
  Result<void> issue(const program::Halt&, std::uint32_t) { return {}; }

  // ---- results ----

  // Nothing overlaps with the reload: it is added to what the scoreboard found.
  Timing timing(const Reload& reload) const {
    Timing result;
    result.total = total_ + reload.time;
    result.token_end = token_end_;
    result.counts = counts_;
    result.critical_path = last_path_.time;
    result.critical_rounds = last_path_.rounds;
    result.critical_path.reload = reload.time;
    result.reload = reload;
    ensure(result.critical_path.total() == result.total, "the critical path sums to the total time");
    result.energy = energy(result.total);
    result.adc_high = plan_.adc_high;
    result.energy.reload = reload.energy_pj;
    result.busiest_link = plan_.busiest_incoming_link;
    for (std::size_t number = 0; number < resources_.size(); ++number) {
      const Resource& resource = plan_.resources[number];
      const Picoseconds busy = resources_[number].busy;
      // Copies share the activations, and units their operations.
      const Picoseconds each = (busy + resource.capacity - 1) / std::max(1u, resource.capacity);
      if (resource.kind == Resource::Kind::array || resource.kind == Resource::Kind::converters)
        result.busiest_array = std::max(result.busiest_array, each);
      if (resource.kind == Resource::Kind::link) result.busiest_link = std::max(result.busiest_link, busy);
      if (resource.kind == Resource::Kind::digital) result.busiest_digital = std::max(result.busiest_digital, each);
    }
    return result;
  }

  Energy energy(Picoseconds total) const {
    const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
    const chip::Chip::Digital& digital = chip_.digital;
    const std::array<double, kVecOps> element_pj = {
        digital.add_pj,     digital.mul_pj,  digital.silu_pj, digital.gelu_pj,  digital.relu_pj, digital.rope_pj,
        digital.moments_pj, digital.stat_pj, digital.norm_pj, digital.route_pj, digital.mul_pj,  digital.gelu_pj};
    Energy result = plan_.energy;
    result.network = number(counts_.bit_hops) * chip_.network.energy_pj_per_bit_hop;
    for (std::size_t op = 0; op < kVecOps; ++op) result.digital += number(counts_.op_elements[op]) * element_pj[op];
    result.link = number(counts_.link_bits) * chip_.system.link_energy_pj_per_bit;
    result.attention = number(counts_.attention_macs) * chip_.attention.energy_pj_per_mac +
                       number(counts_.kv_bytes) * chip_.attention.kv_energy_pj_per_byte;
    result.buffer = number(counts_.buffer_bytes) * chip_.buffer.energy_pj_per_byte;
    const program::ChipShape& shape = program_.chip;
    const double arrays = shape.is_dealt()           ? shape.arrays_per_chip
                          : chip_.system.arrays != 0 ? chip_.system.arrays
                                                     : shape.arrays;
    const double tiles = shape.is_dealt() ? shape.tiles_per_chip() : shape.tiles();
    const double chips = shape.is_dealt() ? shape.chips : 1;  // all of them, idle ones too
    const double passive_mw =
        chip::passive_mw(chip_, arrays, tiles, chips, static_cast<std::uint32_t>(program_.kv.size()));
    constexpr double kPjPerMwPs = 1e-3;
    result.passive = passive_mw * static_cast<double>(total) * kPjPerMwPs;
    return result;
  }

  const program::Program& program_;
  const chip::Chip& chip_;
  const SimulateOptions& options_;
  Progress& progress_;
  const Plan plan_;
  const std::uint64_t most_open_;  // commands in open iterations
  InstanceTable instances_;
  Hazards hazards_;
  Pool<Edge> edges_;
  Pool<Live> live_;
  std::vector<ResourceState> resources_;
  Pool<std::vector<std::uint64_t>> heaps_;
  std::vector<RegionState> regions_;
  std::unordered_map<std::uint32_t, AttendInstance> attends_;

  // The next iteration to open, and those that are open.
  std::size_t segment_ = 0;
  std::uint32_t iteration_ = 0;
  std::deque<Iteration> open_;
  std::uint64_t closed_ = 0;
  std::array<std::uint64_t, 4> registers_{};
  std::uint32_t position_ = 0;
  std::size_t next_last_use_ = 0;
  Experts experts_;
  std::size_t next_branch_ = 0, first_branch_ = 0;  // of the code, of the segment
  const Branch* branch_ = nullptr;                  // that contains the command
  std::uint32_t branch_ordinal_ = 0;
  bool skips_ = false;

  // This instant.
  Picoseconds now_ = 0;
  std::priority_queue<QueuedEvent, std::vector<QueuedEvent>, std::greater<>> events_;
  std::deque<std::uint32_t> completing_;
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> zero_length_;
  std::vector<std::uint32_t> touched_;    // resources that may have work to start
  std::vector<std::uint32_t> completed_;  // live entries to forget

  // Results.
  Counts counts_;
  Picoseconds total_ = 0;
  Path last_path_;  // of the latest completion
  const Segment* measured_ = nullptr;
  std::vector<Picoseconds> token_end_;
};

}  // namespace

Result<Timing> simulate(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options,
                        Progress& progress) {
  DANAUS_TRY(plan, make_plan(program, chip, options));
  return Machine(program, chip, options, progress, std::move(plan)).run();
}

}  // namespace danaus::machine
