// A scoreboard over a window of the program. Iterations are opened in sequential order; opening one finds the
// predecessors of each of its commands. A command whose predecessors have completed is ready, and the scheduler runs
// it.
//
// The critical path needs no history: a command inherits the breakdown of whatever released it last (the predecessor,
// or the command that freed its resource at that instant) and adds its own time, so every breakdown sums to its time.

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "danaus/core/internal_error.h"
#include "danaus/machine/instances.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/pool.h"
#include "danaus/machine/reload.h"
#include "danaus/machine/scheduler.h"
#include "danaus/machine/sequencer.h"
#include "danaus/machine/timing.h"
#include "danaus/machine/totals.h"

namespace danaus::machine {
namespace {

struct Path {
  Breakdown time;
  std::uint64_t rounds = 0;
  std::uint32_t last = kNone;  // in the history, if it is kept
};

// A step with the one before it on its path.
struct PastStep {
  std::uint32_t before = kNone;
  PathStep step;
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

class Machine : private Scheduler<Machine, Path> {
  friend class Scheduler<Machine, Path>;

 public:
  Machine(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options, Progress& progress,
          const Outline& outline, const Plan& plan)
      : Scheduler(outline, plan),
        program_(program),
        chip_(chip),
        options_(options),
        progress_(progress),
        outline_(outline),
        plan_(plan),
        most_open_(most_open(outline)),
        instances_(window_size(), outline.commands),
        sequencer_(program, outline, options.routing, instances_) {
    measured_ = measured_segment(outline);
    if (measured_ != nullptr) token_end_.resize(measured_->loop.n);
  }

  Result<Timing> run() {
    progress_.begin("simulate", outline_.iterations);
    Result<void> executed = execute();
    progress_.end();
    if (!executed) return fail(std::move(executed).error());
    ensure(open_.empty() && sequencer_.is_at_end(), "every command of a program completes");
    tell_path();
    return finished(program_, chip_, plan_, reload_of(program_, chip_, outline_, options_.routing), timing());
  }

 private:
  // Instances: no more than the window and the program need.
  std::size_t window_size() const {
    const std::uint64_t whole_window = kWindowIterations * std::uint64_t{std::max(1u, outline_.largest_segment)};
    return static_cast<std::size_t>(
        std::min({most_open_, whole_window, std::max<std::uint64_t>(1, outline_.commands)}));
  }

  // ---- for the scheduler ----

  Live<Path>& live(std::uint32_t ordinal) { return live_[instances_[ordinal].live]; }
  std::uint32_t handle(std::uint32_t ordinal) { return instances_[ordinal].live; }
  const Path& path(std::uint32_t handle) { return live_[handle].path; }

  // The step that the instance is at.
  const Step& step_of(std::uint32_t ordinal) {
    const std::uint32_t live = instances_[ordinal].live;
    if (live_[live].step != kNone) return outline_.later_steps[live_[live].step];
    return outline_.steps[position_of(iteration_of(ordinal), ordinal)];
  }
  std::uint32_t resource_of(std::uint32_t ordinal) {
    const Step& step = step_of(ordinal);
    return plan_.shared[step.resource != kNone ? step.resource : attends_.at(ordinal).resource];
  }
  const Cost& cost_of(std::uint32_t ordinal) {
    const Step& step = step_of(ordinal);
    return step.cost != kNone ? plan_.costs[step.cost] : attends_.at(ordinal).cost;
  }
  std::uint32_t next_step(std::uint32_t ordinal) { return step_of(ordinal).then; }
  Picoseconds duration_of(std::uint32_t ordinal) { return cost_of(ordinal).duration(); }
  Path extended(Path path, std::uint32_t ordinal) {
    const Cost& cost = cost_of(ordinal);
    add_to_path(cost, path.time, path.rounds);
    if (options_.critical_path && cost != Cost{}) {
      const Iteration& iteration = iteration_of(ordinal);
      PastStep past{.before = path.last,
                    .step = {.command = position_of(iteration, ordinal), .iteration = iteration.number, .time = {}}};
      add_to_path(cost, past.step.time, past.step.rounds);
      path.last = static_cast<std::uint32_t>(history_.size());
      history_.push_back(past);
    }
    return path;
  }
  bool may_commit(std::uint32_t ordinal) { return --instances_[ordinal].end_after == 0; }

  void complete(std::uint32_t ordinal) {
    Instance& instance = instances_[ordinal];
    const std::uint32_t live = instance.live;
    Iteration& iteration = iteration_of(ordinal);
    if (options_.trace)
      options_.trace({position_of(iteration, ordinal), iteration.number, live_[live].start, now(),
                      live_[live].step_start, live_[live].step_end});
    std::uint32_t edge = instance.successors;
    instance.successors = InstanceTable::kCompleted;
    while (edge != kNone) {
      const Edge done = edges_[edge];
      edges_.give_back(edge);
      edge = done.next;
      Instance& successor = instances_[done.to];
      if (!done.for_end) {
        if (--successor.start_after == 0) release(done.to, live_[live].path);
      } else if (--successor.end_after == 0) {
        live_[successor.live].path = live_[live].path;  // this commit came last
        commit(done.to);
      }
    }
    completed_.push_back(live);
    attends_.erase(ordinal);
    last_path_ = live_[live].path;
    total_ = now();
    if (--iteration.remaining == 0) close_iteration(iteration);
  }

  void release(std::uint32_t ordinal, const Path& path) {
    instances_[ordinal].live = live_.take();
    make_ready(ordinal, path);
  }

  // What completed at this instant was kept for those that it released.
  void end_instant() {
    for (const std::uint32_t live : completed_) live_.give_back(live);
    completed_.clear();
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
    if (sequencer_.is_at_end()) return false;
    if (open_.empty()) return true;
    const Segment& segment = sequencer_.segment();
    if (segment.loop.serial && sequencer_.iteration() > 0 && open_.back().remaining > 0) return false;
    return open_.size() < kWindowIterations && instances_.next() - open_.front().first + segment.count <= most_open_;
  }

  Result<void> open_iteration() {
    const Segment& segment = sequencer_.segment();
    open_.push_back({&segment, sequencer_.iteration(), instances_.next(), segment.count});
    sequencer_.begin_iteration();
    for (std::uint32_t offset = 0; offset < segment.count; ++offset) {
      const std::uint32_t ordinal = instances_.append();
      DANAUS_TRY(executes, sequencer_.issue(ordinal, edges_.in_use()));
      if (executes) {
        connect(ordinal);
      } else {
        pass(ordinal);
      }
    }
    sequencer_.end_iteration();
    if (open_.back().remaining == 0) close_iteration(open_.back());
    return {};
  }

  void connect(std::uint32_t ordinal) {
    if (const Sequencer::Attention* attention = sequencer_.attention()) {
      attends_[ordinal] = {outline_.region_resource[attention->region],
                           attend_cost(chip_, program_.kv[attention->region], attention->append, attention->entries,
                                       options_.linear_only)};
    }
    Instance& instance = instances_[ordinal];
    instance.start_after = static_cast<std::uint32_t>(sequencer_.start_after().size());
    instance.end_after = 1 + static_cast<std::uint32_t>(sequencer_.end_after().size());
    for (const std::uint32_t before : sequencer_.start_after()) add_edge(before, ordinal, false);
    for (const std::uint32_t before : sequencer_.end_after()) add_edge(before, ordinal, true);
    if (instance.start_after == 0) release(ordinal, last_path_);  // its predecessors are over: the opening released it
  }

  void add_edge(std::uint32_t from, std::uint32_t to, bool for_end) {
    const std::uint32_t edge = edges_.take();
    edges_[edge] = {to, instances_[from].successors, for_end};
    instances_[from].successors = edge;
  }

  // A command that is not executed is over at once; nothing depends on it.
  void pass(std::uint32_t ordinal) {
    instances_[ordinal].successors = InstanceTable::kCompleted;
    --open_.back().remaining;
  }

  void close_iteration(const Iteration& ended) {
    if (ended.segment == measured_) token_end_[ended.number] = now();
    while (!open_.empty() && open_.front().remaining == 0) {
      open_.pop_front();
      progress_.update(++closed_);
    }
    instances_.retire_before(open_.empty() ? instances_.next() : open_.front().first);
  }

  // ---- results ----

  void tell_path() const {
    std::vector<std::uint32_t> backwards;
    for (std::uint32_t n = last_path_.last; n != kNone; n = history_[n].before) backwards.push_back(n);
    for (auto n = backwards.rbegin(); n != backwards.rend(); ++n) options_.critical_path(history_[*n].step);
  }

  // Everything but the reload and energies.
  Timing timing() const {
    Timing result;
    result.total = total_;
    result.token_end = token_end_;
    result.counts = plan_.counts;
    add_attention(sequencer_.counts(), result.counts);
    result.critical_path = last_path_.time;
    result.critical_rounds = last_path_.rounds;
    add_busiest(
        outline_, plan_, [&](std::uint32_t resource) { return busy(resource); }, result);
    return result;
  }

  const program::Program& program_;
  const chip::Chip& chip_;
  const SimulateOptions& options_;
  Progress& progress_;
  const Outline& outline_;
  const Plan& plan_;
  const std::uint64_t most_open_;  // commands in open iterations
  InstanceTable instances_;
  Sequencer sequencer_;
  Pool<Edge> edges_;
  Pool<Live<Path>> live_;
  std::unordered_map<std::uint32_t, AttendInstance> attends_;
  std::deque<Iteration> open_;
  std::uint64_t closed_ = 0;
  std::vector<std::uint32_t> completed_;  // live entries to forget at the end of this instant

  std::vector<PastStep> history_;  // of all commands that take time, if the critical path is asked for

  // Results.
  Picoseconds total_ = 0;
  Path last_path_;  // of the latest completion
  const Segment* measured_ = nullptr;
  std::vector<Picoseconds> token_end_;
};

}  // namespace

Result<Timing> simulate(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options,
                        Progress& progress) {
  program::ChipShape shape = program.chip;
  if (options.any_converters) shape.adcs = chip.adc.per_array;
  DANAUS_CHECK(check_shape(shape, chip));
  DANAUS_TRY(outline, make_outline(program, chip));
  DANAUS_TRY(plan, make_plan(program, outline, chip, options.linear_only, options.routing));
  return Machine(program, chip, options, progress, outline, plan).run();
}

}  // namespace danaus::machine
