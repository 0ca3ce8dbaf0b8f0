// All iterations of a program that fits the sequencer's window open before anything runs, so no dependence is dropped
// because its command has already completed: the graph is the same whatever the times are. A replay is the scheduler on
// that graph. Its critical path is a list of steps, each with the one that it was released by, walked back at the end.

#include "danaus/machine/dependence_graph.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/machine/reload.h"
#include "danaus/machine/scheduler.h"
#include "danaus/machine/totals.h"

namespace danaus::machine {
namespace {

constexpr std::uint64_t kMostNodes = 1u << 20;
constexpr std::size_t kMostEdges = 1u << 24;

bool opens_at_once(const Outline& outline) {
  return outline.branches.empty() && outline.iterations <= kWindowIterations && outline.commands <= kMostNodes &&
         std::all_of(outline.segments.begin(), outline.segments.end(), [](const Segment& segment) {
           return segment.count > 0 && !(segment.loop.serial && segment.loop.n > 1);
         });
}

}  // namespace

Result<std::optional<DependenceGraph>> DependenceGraph::make(const program::Program& program, const chip::Chip& chip) {
  DependenceGraph graph;
  DANAUS_TRY(outline, make_outline(program, chip));
  graph.outline_ = std::move(outline);
  if (!opens_at_once(graph.outline_)) return std::nullopt;
  DANAUS_CHECK(graph.build(program));
  if (graph.successors_.size() > kMostEdges) return std::nullopt;
  return graph;
}

Result<void> DependenceGraph::build(const program::Program& program) {
  struct Edge {
    std::uint32_t from = 0, to = 0;
  };
  std::vector<Edge> edges;
  InstanceTable instances(outline_.commands, outline_.commands);
  Sequencer sequencer(program, outline_, {}, instances);
  // Attention that costs the same: the kind of region, what is done, the entries.
  std::map<std::tuple<std::uint32_t, std::uint32_t, bool, std::uint64_t>, std::uint32_t> attention_costs;
  nodes_.reserve(outline_.commands);
  const Segment* measured = measured_segment(outline_);
  while (!sequencer.is_at_end()) {
    const Segment& segment = sequencer.segment();
    if (&segment == measured && sequencer.iteration() == 0) {
      measured_first_ = instances.next();
      measured_count_ = segment.count;
      measured_iterations_ = segment.loop.n;
    }
    sequencer.begin_iteration();
    for (std::uint32_t offset = 0; offset < segment.count; ++offset) {
      const std::uint32_t ordinal = instances.append();
      DANAUS_TRY(executes, sequencer.issue(ordinal, edges.size()));
      ensure(executes, "without branches every command is executed");
      const Step& step = outline_.steps[sequencer.position()];
      Node node{.resource = step.resource, .cost = step.cost, .then = step.then};
      if (const Sequencer::Attention* attention = sequencer.attention()) {
        const program::KvRegion& region = program.kv[attention->region];
        node.resource = outline_.region_resource[attention->region];
        const auto [found, is_new] = attention_costs.try_emplace(
            std::tuple(region.queries, region.size, attention->append, attention->append ? 0 : attention->entries),
            static_cast<std::uint32_t>(attention_.size()));
        if (is_new) attention_.push_back(*attention);
        node.cost = outline_.costs + found->second;
      }
      node.start_after = static_cast<std::uint32_t>(sequencer.start_after().size());
      node.end_after = 1 + static_cast<std::uint32_t>(sequencer.end_after().size());
      nodes_.push_back(node);
      for (const std::uint32_t before : sequencer.start_after()) edges.push_back({before, ordinal});
      for (const std::uint32_t before : sequencer.end_after()) edges.push_back({before, ordinal | kForEnd});
      if (edges.size() > kMostEdges) break;
    }
    if (edges.size() > kMostEdges) break;
    sequencer.end_iteration();
  }
  attention_counts_ = sequencer.counts();
  // By `from`, the newest first: they were found in the order of `to`.
  first_successor_.assign(nodes_.size() + 1, 0);
  for (const Edge& edge : edges) ++first_successor_[edge.from + 1];
  for (std::size_t node = 0; node < nodes_.size(); ++node) first_successor_[node + 1] += first_successor_[node];
  successors_.resize(edges.size());
  std::vector<std::uint32_t> next(first_successor_.begin() + 1, first_successor_.end());
  for (const Edge& edge : edges) successors_[--next[edge.from]] = edge.to;
  outline_.steps = {};
  outline_.last_uses = {};
  return {};
}

/// One schedule of a graph.
class Replay : private Scheduler<Replay, std::uint32_t> {
  friend class Scheduler<Replay, std::uint32_t>;

 public:
  Replay(const DependenceGraph& graph, const Plan& plan)
      : Scheduler(graph.outline_, plan),
        graph_(graph),
        plan_(plan),
        waits_(graph.nodes_.size()),
        live_(graph.nodes_.size()) {
    for (std::size_t node = 0; node < waits_.size(); ++node)
      waits_[node] = {graph.nodes_[node].start_after, graph.nodes_[node].end_after};
    durations_.reserve(plan.costs.size());
    for (const Cost& cost : plan.costs) durations_.push_back(cost.duration());
    path_.reserve(graph.nodes_.size() + 1);
    path_.push_back({});
    token_end_.resize(graph.measured_iterations_);
  }

  Result<void> run() {
    DANAUS_CHECK(execute());
    ensure(completed_ == graph_.nodes_.size(), "every command of a program completes");
    return {};
  }

  /// Everything but counts, reload and energies.
  Timing timing() const {
    Timing result;
    result.total = total_;
    result.token_end = token_end_;
    for (std::uint32_t step = last_path_; step != 0; step = path_[step].before)
      add_to_path(plan_.costs[path_[step].cost], result.critical_path, result.critical_rounds);
    add_busiest(
        graph_.outline_, plan_, [&](std::uint32_t resource) { return busy(resource); }, result);
    return result;
  }

 private:
  /// A step that was done, and the one that released it; 0 = none.
  struct PathStep {
    std::uint32_t before = 0, cost = 0;
  };
  struct Waits {
    std::uint32_t start = 0, end = 0;  ///< commands that it still waits for
  };

  Live<std::uint32_t>& live(std::uint32_t ordinal) { return live_[ordinal]; }
  static std::uint32_t handle(std::uint32_t ordinal) { return ordinal; }
  std::uint32_t path(std::uint32_t handle) const { return live_[handle].path; }

  bool is_at_first_step(std::uint32_t ordinal) const { return live_[ordinal].step == kNone; }
  const Step& later_step(std::uint32_t ordinal) const { return graph_.outline_.later_steps[live_[ordinal].step]; }
  std::uint32_t resource_of(std::uint32_t ordinal) const {
    return plan_.shared[is_at_first_step(ordinal) ? graph_.nodes_[ordinal].resource : later_step(ordinal).resource];
  }
  std::uint32_t cost_of(std::uint32_t ordinal) const {
    return is_at_first_step(ordinal) ? graph_.nodes_[ordinal].cost : later_step(ordinal).cost;
  }
  std::uint32_t next_step(std::uint32_t ordinal) const {
    return is_at_first_step(ordinal) ? graph_.nodes_[ordinal].then : later_step(ordinal).then;
  }
  Picoseconds duration_of(std::uint32_t ordinal) const { return durations_[cost_of(ordinal)]; }
  std::uint32_t extended(std::uint32_t path, std::uint32_t ordinal) {
    path_.push_back({path, cost_of(ordinal)});
    return static_cast<std::uint32_t>(path_.size() - 1);
  }
  bool may_commit(std::uint32_t ordinal) { return --waits_[ordinal].end == 0; }

  void complete(std::uint32_t ordinal) {
    const std::uint32_t path = live_[ordinal].path;
    for (std::uint32_t n = graph_.first_successor_[ordinal]; n < graph_.first_successor_[ordinal + 1]; ++n) {
      const std::uint32_t successor = graph_.successors_[n] & ~DependenceGraph::kForEnd;
      if (successor == graph_.successors_[n]) {
        if (--waits_[successor].start == 0) make_ready(successor, path);
      } else if (--waits_[successor].end == 0) {
        live_[successor].path = path;  // this commit came last
        commit(successor);
      }
    }
    const std::uint32_t token_node = ordinal - graph_.measured_first_;
    if (token_node < graph_.measured_count_ * graph_.measured_iterations_)
      token_end_[token_node / graph_.measured_count_] = now();
    ++completed_;
    last_path_ = path;
    total_ = now();
  }

  /// All of them open at the start.
  bool may_open() const { return !is_open_; }
  Result<void> open_iteration() {
    is_open_ = true;
    for (std::uint32_t node = 0; node < waits_.size(); ++node) {
      if (waits_[node].start == 0) make_ready(node, 0);
    }
    return {};
  }
  static void end_instant() {}

  const DependenceGraph& graph_;
  const Plan& plan_;
  std::vector<Waits> waits_;
  std::vector<Live<std::uint32_t>> live_;
  std::vector<Picoseconds> durations_;
  std::vector<PathStep> path_;
  bool is_open_ = false;
  std::size_t completed_ = 0;
  std::uint32_t last_path_ = 0;
  Picoseconds total_ = 0;
  std::vector<Picoseconds> token_end_;
};

Result<Timing> DependenceGraph::time(const program::Program& program, const chip::Chip& chip, bool linear_only) const {
  program::ChipShape shape = program.chip;
  shape.adcs = chip.adc.per_array;
  DANAUS_CHECK(check_shape(shape, chip));
  DANAUS_TRY(plan, make_plan(program, outline_, chip, linear_only, {}));
  for (const Sequencer::Attention& attention : attention_) {
    plan.costs.push_back(
        attend_cost(chip, program.kv[attention.region], attention.append, attention.entries, linear_only));
  }
  DANAUS_TRY(scheduled, schedule(plan));
  Timing timing = scheduled->timing;
  timing.counts = plan.counts;
  add_attention(attention_counts_, timing.counts);
  return finished(program, chip, plan, reload_of(program, chip, outline_, {}), std::move(timing));
}

Result<std::shared_ptr<const DependenceGraph::Schedule>> DependenceGraph::schedule(const Plan& plan) const {
  std::list<std::shared_ptr<const Schedule>>& recent = recent_->schedules;
  {
    const std::lock_guard lock(recent_->mutex);
    const auto found = std::find_if(recent.begin(), recent.end(), [&](const std::shared_ptr<const Schedule>& schedule) {
      return schedule->sharing == plan.sharing && schedule->costs == plan.costs;
    });
    if (found != recent.end()) {
      recent.splice(recent.begin(), recent, found);
      return recent.front();
    }
  }
  Replay replay(*this, plan);
  DANAUS_CHECK(replay.run());
  const auto fresh = std::make_shared<const Schedule>(Schedule{plan.costs, plan.sharing, replay.timing()});
  const std::lock_guard lock(recent_->mutex);
  recent.push_front(fresh);
  if (recent.size() > kMostRecent) recent.pop_back();
  return fresh;
}

std::size_t DependenceGraph::bytes() const {
  return sizeof(*this) + nodes_.size() * (sizeof(Node) + sizeof(std::uint32_t)) +
         successors_.size() * sizeof(std::uint32_t) + outline_.works.size() * sizeof(Work) +
         outline_.legs.size() * sizeof(Leg) + outline_.resources.size() * sizeof(Resource) +
         outline_.ranges.size() * sizeof(LinkRange) + outline_.later_steps.size() * sizeof(Step) +
         attention_.size() * sizeof(Sequencer::Attention);
}

}  // namespace danaus::machine
