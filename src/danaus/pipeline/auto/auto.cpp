// In steps: structures and their errors (candidates), what they cost by closed forms (cost_model), mixtures by a
// knapsack (search); then the machine times the single mappings and the best mixtures, those first that the closed
// forms take for the best. A plan is not timed when its placement breaks a limit or a proved bound on its time is no
// better than what was measured already. The first timing tells what all plans have in common: the digital units' and
// the attention's share of time and energy, which the limit of the energy needs.

#include "danaus/pipeline/auto/auto.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/compile/place/striped/width.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/machine/dependence_graph.h"
#include "danaus/machine/timing.h"
#include "danaus/pipeline/auto/candidates.h"
#include "danaus/pipeline/auto/cost_model.h"
#include "danaus/pipeline/auto/search.h"
#include "danaus/pipeline/bound.h"
#include "danaus/pipeline/capacity.h"
#include "danaus/pipeline/map_result.h"

namespace danaus::pipeline {
namespace {

using compile::Objective;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// A structure and a map for every operator.
struct Plan {
  std::string name;
  std::vector<std::uint32_t> candidates;  ///< one per operator
  std::vector<compile::NodeMap> maps;
  Objective objective{};            ///< of striped maps
  std::uint32_t shared_arrays = 0;  ///< striped: at least
  double modelled = 0;              ///< by the closed forms, in the unit of the goal; 0 = they do not know this map
  std::optional<Assignment> assignment;
  bool is_frontier = false;   ///< of the search, whatever the limits are
  bool keeps_limits = false;  ///< all of them, so the search thinks
};

/// What the machine says of a plan.
struct Measured {
  program::Program program;
  machine::Timing timing;
  std::optional<machine::Timing> linear_timing;
  double figure = 0;  ///< of the objective
  double latency_ns = 0, energy_nj = 0, area_mm2 = 0;
  std::uint32_t arrays = 0;
};

/// What the closed forms say of a plan and what was measured, per token.
struct Point {
  double energy_pj = 0, time_ps = 0, arrays = 0;
  double measured_energy_pj = 0, measured_time_ps = 0;
};

/// A plan that others are told from.
struct Reference {
  std::string name;
  double excess = 0, figure = 0;
  Point point;
  /// Idle: the power of all arrays over the time of a token is a product, here linear around this plan.
  double pj_per_array = 0, pj_per_ps = 0;
  double energy_pj(const Point& of) const { return of.energy_pj + pj_per_array * of.arrays + pj_per_ps * of.time_ps; }
};

struct Reading {
  double closed = 0, measured = 0;
};
/// Where the closed forms are for a measurement of `most`, which is at `inside` or above it and below `outside`. Nearer
/// to the inside with every miss: the chord alone may come near from the outside for ever.
double closed_form_limit(double most, const Reading& inside, const std::optional<Reading>& outside, int misses) {
  const double parallel = std::max(0.0, inside.closed + most - inside.measured);
  if (!outside) return parallel;
  constexpr double kBelow = 0.998;
  const double below = kBelow * outside->closed;
  if (inside.closed >= outside->closed || inside.measured >= outside->measured) return std::min(parallel, below);
  const double share = std::ldexp((most - inside.measured) / (outside->measured - inside.measured), 1 - misses);
  return std::clamp(inside.closed + share * (outside->closed - inside.closed), 0.0, below);
}

/// Of the limit of arrays: less of it where the closed forms promised too much.
struct Share {
  static constexpr double kBelow = 0.99;
  double value = 1;
  double missed = 1;  ///< by the first plan of the latest round that did not keep to it
  void take(double ratio) {
    if (missed == 1) missed = ratio;
  }
  void apply() {
    if (missed < 1) value *= kBelow * missed;
    missed = 1;
  }
};

/// Stops when the user does or the time is over.
class Deadline {
 public:
  Deadline(double budget_s, std::function<bool()> stop) : budget_s_(budget_s), stop_(std::move(stop)) {}
  bool is_over() const {
    if (stop_ && stop_()) return true;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin_;
    return budget_s_ > 0 && passed.count() > budget_s_;
  }

 private:
  double budget_s_;
  std::function<bool()> stop_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What mixtures are placed for: the search says itself which slivers are wide to save energy.
Objective mixture_objective(Objective objective) {
  return objective == Objective::energy ? Objective::latency : objective;
}

std::string describe(const Structure& structure) {
  const std::string blocks = blocks_of(structure);
  return blocks.empty() ? family_of(structure) : family_of(structure) + " " + blocks;
}

class Chooser {
 public:
  Chooser(const model::Model& model, const chip::Chip& chip, const RunOptions& options, Candidates candidates,
          CostModel costs, Progress& progress)
      : model_(model),
        chip_(chip),
        options_(options),
        wanted_(options.automatic),
        candidates_(std::move(candidates)),
        costs_(std::move(costs)),
        progress_(progress),
        deadline_(wanted_.time_budget_s, options.stop) {
    limits_.arrays = chip.system.arrays == 0 ? kInfinite : static_cast<double>(chip::system_arrays(chip));
    if (wanted_.most_arrays) limits_.arrays = std::min(limits_.arrays, double{1} * *wanted_.most_arrays);
    // Of a chip with nothing beside its arrays, until a program says what it needs.
    if (wanted_.most_area_mm2) equipment_ = {.buffer_bytes = 0, .largest_adc_bits = fewest_bits(), .kv_regions = 0};
    const bool pipelined = options.emit.mode != compile::Mode::decode;
    goal_.pipelined = pipelined && options_.objective == Objective::latency;
    limits_.copies = goal_.pipelined && most_arrays() < kInfinite;
    limits_.pieces = kMostPieces;
    constexpr double kSlots = 2;  // of emit
    goal_.slots = options.emit.slots == 0 ? kSlots : options.emit.slots;
    if (options.emit.mode == compile::Mode::encode) {
      const auto layers = std::count_if(model.graph.nodes.begin(), model.graph.nodes.end(),
                                        [](const Node& node) { return node.kind == NodeKind::attend; });
      goal_.sections = static_cast<double>(std::max<std::ptrdiff_t>(1, layers));
    }
    switch (options_.objective) {
      case Objective::latency:
        break;
      case Objective::energy:
        goal_.time_weight = 0;
        goal_.energy_weight = 1;
        break;
      case Objective::area:
      case Objective::arrays:
        goal_.time_weight = kTieBreak;
        goal_.array_weight = 1;
        break;
    }
    report_.objective = options_.objective;
  }

  Result<AutoResult> run() {
    std::vector<Plan> singles = single_mappings();
    std::stable_sort(singles.begin(), singles.end(),
                     [](const Plan& a, const Plan& b) { return a.modelled < b.modelled; });
    progress_.begin(kChooseStep, 0);
    // They tell what the closed forms leave out, too.
    try_plans(std::move(singles));
    try_plans(frontier(), kMostCommands);
    for (std::uint32_t round = 0; round < kRounds && !is_over(); ++round) {
      const std::string reference = reference_ ? reference_->name : "";
      std::vector<Plan> plans = mixtures();
      const bool is_empty = plans.empty();
      const bool fit = try_plans(std::move(plans));
      const bool is_same = reference == (reference_ ? reference_->name : "");
      if ((fit || is_empty) && is_same) break;
      misses_ = is_same ? misses_ + 1 : 1;
    }
    progress_.end();
    if (!best_) return fail(failure());
    finish();
    return AutoResult{.program = std::move(best_->program),
                      .report = std::move(report_),
                      .timing = std::move(best_->timing),
                      .linear_timing = std::move(best_->linear_timing)};
  }

 private:
  /// Mixtures of a round that are timed: more while all plans together have executed few commands, which takes a
  /// second or two.
  static constexpr std::uint32_t kMixtures = 2, kMostMixtures = 8;
  static constexpr std::uint64_t kMostCommands = 400'000;
  /// Of the search, each with limits narrower by what was missed or with what the best plan so far says.
  static constexpr std::uint32_t kRounds = 6;
  static constexpr std::uint32_t kRungs = 8, kMoreRungs = 32;  ///< of the frontier; more where plans are small
  static constexpr std::uint64_t kSmallPlans = 20'000;         ///< commands of all single mappings
  static constexpr std::size_t kAtATime = 2;                   ///< plans
  /// Plans that the closed forms take for so much slower than the best one are not timed, if that takes long.
  static constexpr double kHopeless = 1.25, kAnyPieces = 5e3;
  static constexpr double kTieBreak = 1e-12;
  /// Pieces of a plan beyond which it is not compiled: a program of gigabytes.
  static constexpr double kMostPieces = 6e5;

  bool is_over() {
    // At least one plan, unless the user himself wants to stop.
    if (!best_ && !(options_.stop && options_.stop())) return false;
    if (!deadline_.is_over()) return false;
    report_.stopped = true;
    return true;
  }

  std::uint32_t fewest_bits() const {
    std::uint32_t fewest = ~0u;
    for (const Candidate& candidate : candidates_.all) {
      for (const Config& config : candidate.graph.configs) {
        if (config.kind == Config::Kind::mvm) fewest = std::min<std::uint32_t>(fewest, config.adc_bits);
      }
    }
    return fewest;
  }

  /// Arrays that the limit of the area leaves room for.
  std::uint32_t arrays_of_area(const chip::Equipment& equipment) const {
    std::uint32_t low = 0, high = 1u << 24;
    while (high - low > 1) {
      const std::uint32_t middle = low + (high - low) / 2;
      const Result<chip::Area> area = chip::system_area(chip_, middle, equipment);
      (area && area->total_mm2() > *wanted_.most_area_mm2 ? high : low) = middle;
    }
    return low;
  }

  double error_of_plan(const Plan& plan) const {
    double error = 0;
    for (std::size_t o = 0; o < plan.candidates.size(); ++o) error += candidates_.all[plan.candidates[o]].errors[o];
    return error;
  }

  /// What `danaus run` could do with one structure for all and one map.
  std::vector<Plan> single_mappings() {
    std::vector<Plan> plans;
    std::set<std::vector<std::string>> seen;  // structures
    for (std::uint32_t c = 0; c < candidates_.all.size(); ++c) {
      const Candidate& candidate = candidates_.all[c];
      std::vector<std::string> structures;
      bool is_dense = true;
      for (const model::LinearOperator& linear : model_.linear) {
        const Structure& structure = candidate.graph.at(linear.node).structure;
        structures.push_back(to_string(structure));
        is_dense = is_dense && structure.kind == Structure::Kind::dense;
      }
      if (!seen.insert(std::move(structures)).second) continue;
      for (const compile::StrategyInfo& strategy : compile::strategies()) {
        if (strategy.dense_operator != is_dense) continue;
        add_single(c, strategy.name, options_.objective, plans);
        if (is_striped(strategy.name) && wanted_.most_latency_us && options_.objective != Objective::latency)
          add_single(c, strategy.name, Objective::latency, plans);
      }
    }
    return plans;
  }

  static bool is_striped(std::string_view strategy) { return strategy == "striped" || strategy == "linear-striped"; }

  void add_single(std::uint32_t candidate, std::string_view strategy, Objective objective, std::vector<Plan>& plans) {
    Plan plan{.name = fmt::format("{} {}", strategy, candidates_.all[candidate].name),
              .candidates = std::vector<std::uint32_t>(model_.linear.size(), candidate),
              .maps = std::vector<compile::NodeMap>(model_.linear.size(), {.strategy = strategy, .sliver = 0}),
              .objective = objective,
              .shared_arrays = 0,
              .modelled = 0,
              .assignment = assignment_of(candidate, strategy, objective),
              .is_frontier = false,
              .keeps_limits = false};
    if (objective != options_.objective) plan.name += fmt::format(" for {}", compile::name_of(objective));
    const double error = error_of_plan(plan);
    if (error > candidates_.most_error || error == kNotAllowed) {
      by_limits_ = by_limits_ || error != kNotAllowed;
      report_.tried.push_back(
          {.name = plan.name,
           .figure = {},
           .arrays = 0,
           .note = error == kNotAllowed ? "not allowed for all operators" : "more than the error limit"});
      return;
    }
    if (plan.assignment) plan.modelled = cost_of(costs_, goal_, *plan.assignment);
    plans.push_back(std::move(plan));
  }

  /// A single mapping as the search would say it. `dense` and its kin pack whole blocks on shared arrays.
  std::optional<Assignment> assignment_of(std::uint32_t candidate, std::string_view strategy,
                                          Objective objective) const {
    const bool is_own = strategy == "linear" || strategy == "sparse";
    std::uint32_t sliver = is_own ? 0 : chip_.array.cols;
    if (is_striped(strategy)) {
      compile::PlaceOptions own = place_options_for(chip_, options_), of_search = own;
      own.objective = objective;
      of_search.objective = mixture_objective(options_.objective);
      const std::uint32_t least = compile::least_sliver_width(own);
      if (least == compile::least_sliver_width(of_search)) {
        sliver = 0;
      } else if (least < chip_.array.cols) {
        return std::nullopt;  // the search has no such rule
      }
    }
    Assignment assignment;
    double shared = 0;
    for (const Unit& unit : costs_.units()) {
      const std::vector<UnitOption>& options = costs_.options(unit);
      const UnitOption wanted{.candidates = std::vector<std::uint32_t>(unit.operators.size(), candidate),
                              .map = is_own ? UnitMap::own : UnitMap::striped,
                              .sliver = sliver};
      const auto found = std::find(options.begin(), options.end(), wanted);
      if (found == options.end()) return std::nullopt;
      assignment.options.push_back(static_cast<std::uint32_t>(found - options.begin()));
      shared += costs_.cost(unit, assignment.options.back(), 1).shared;
    }
    assignment.shared_arrays = static_cast<std::uint32_t>(std::ceil(shared - 1e-6));
    return assignment;
  }

  /// Shared arrays that an assignment's cells fill.
  std::uint32_t filled(const Assignment& assignment) const {
    double shared = 0;
    for (std::size_t u = 0; u < costs_.units().size(); ++u)
      shared += costs_.cost(costs_.units()[u], assignment.options[u], std::max(1u, assignment.shared_arrays)).shared;
    return static_cast<std::uint32_t>(std::ceil(shared - 1e-6));
  }

  Plan mixture(Assignment assignment) {
    return {.name = fmt::format("mixture {}", ++mixtures_made_),
            .candidates = candidates_of(costs_, assignment),
            .maps = maps_of(costs_, candidates_, assignment),
            .objective = mixture_objective(options_.objective),
            .shared_arrays = assignment.shared_arrays > filled(assignment) ? assignment.shared_arrays : 0,
            .modelled = cost_of(costs_, goal_, assignment),
            .assignment = std::move(assignment),
            .is_frontier = true,
            .keeps_limits = false};
  }

  /// That there may be, as far as is known.
  double most_arrays() const {
    return equipment_ ? std::min<double>(limits_.arrays, arrays_of_area(*equipment_)) : limits_.arrays;
  }

  SearchOptions search_options(bool find_bound) {
    return {.seed = options_.seed,
            .find_bound = find_bound,
            .stop = [this] { return best_ && deadline_.is_over(); },
            .watch = {}};
  }

  /// The mixtures of the least latency on numbers of arrays that do not depend on the limits: what a narrow limit finds
  /// among them, a wider one finds as well.
  std::vector<Plan> frontier() {
    const bool is_fewest = options_.objective == Objective::area || options_.objective == Objective::arrays;
    if (options_.emit.mode != compile::Mode::decode) return {};
    if (is_fewest && !wanted_.most_latency_us && !wanted_.most_energy_nj) return {};
    const ArrayRange range = array_range(costs_);
    SearchLimits limits;
    limits.pieces = kMostPieces;
    std::vector<Plan> plans;
    const std::uint32_t rungs = commands_ < kSmallPlans ? kMoreRungs : kRungs;
    for (std::uint32_t rung = rungs + 1; rung-- > 0 && !is_over();) {
      const double share = double{1} * rung / rungs;
      limits.arrays = std::ceil(range.least * std::pow(range.most / std::max(range.least, 1e-6), share));
      if (limits.arrays > most_arrays()) continue;
      SearchResult found = search(costs_, candidates_, {}, limits, search_options(false));
      if (!found.best.empty()) plans.push_back(mixture(std::move(found.best.front())));
    }
    return plans;
  }

  /// The best ones within the limits, as far as what the closed forms leave out is known.
  std::vector<Plan> mixtures() {
    array_share_.apply();
    SearchLimits limits = limits_;
    limits.arrays = std::floor(most_arrays() * array_share_.value);
    const bool is_decode = options_.emit.mode == compile::Mode::decode;
    if (wanted_.most_energy_nj && reference_) {
      const auto reading = [this](const Point& point) {
        return Reading{reference_->energy_pj(point), point.measured_energy_pj};
      };
      limits.energy_pj =
          closed_form_limit(*wanted_.most_energy_nj * 1000, reading(reference_->point),
                            too_much_energy_ ? std::optional(reading(*too_much_energy_)) : std::nullopt, misses_);
      limits.energy_pj_per_array = reference_->pj_per_array;
      limits.energy_pj_per_ps = reference_->pj_per_ps;
    }
    if (wanted_.most_latency_us && reference_ && is_decode) {
      const auto reading = [](const Point& point) { return Reading{point.time_ps, point.measured_time_ps}; };
      limits.time_ps = closed_form_limit(*wanted_.most_latency_us * 1e6, reading(reference_->point),
                                         too_slow_ ? std::optional(reading(*too_slow_)) : std::nullopt, misses_);
    }
    if (options_.objective == Objective::energy && reference_) {
      goal_.array_weight = reference_->pj_per_array;
      goal_.time_weight = reference_->pj_per_ps;
    }
    SearchResult found = search(costs_, candidates_, goal_, limits, search_options(true));
    // Limits that were narrowed bound nothing.
    if (array_share_.value == 1 && !too_much_energy_ && !too_slow_ && found.bound > 0 && found.bound < kInfinite) {
      const bool same = goal_.array_weight == bound_goal_.array_weight && goal_.time_weight == bound_goal_.time_weight;
      bound_ = bound_ > 0 && same ? std::min(bound_, found.bound) : found.bound;
      bound_goal_ = goal_;
    }
    std::vector<Plan> plans;
    for (Assignment& assignment : found.best) {
      const std::uint64_t expected = commands_ + plans.size() * commands_of_plan_;
      if (plans.size() >= (expected < kMostCommands ? kMostMixtures : kMixtures)) break;
      plans.push_back(mixture(std::move(assignment)));
      plans.back().is_frontier = false;
      plans.back().keeps_limits = true;
    }
    return plans;
  }

  std::vector<Structure> structures_of(const Plan& plan) const {
    std::vector<Structure> structures;
    for (std::size_t o = 0; o < plan.candidates.size(); ++o)
      structures.push_back(candidates_.all[plan.candidates[o]].graph.at(model_.linear[o].node).structure);
    return structures;
  }

  /// No program of these structures on so many arrays is faster.
  double least_latency_ns(const Graph& graph, std::uint32_t arrays) const {
    program::Program shell = *shell_;
    std::vector<Structure> structures;
    for (const Node& node : graph.nodes) {
      if (node.kind == NodeKind::linear) structures.push_back(node.structure);
    }
    shell.intent = compile::with_structures(shell.intent, structures, chip_);
    const std::uint32_t tiles =
        arrays / chip_.network.arrays_per_tile + chip_.system.chips + 1;  // shares may end with a part of a tile
    const Used used{.arrays = arrays, .tiles = tiles, .chips = std::max(1u, chip_.system.chips)};
    return static_cast<double>(least_time(demand_of(shell), chip_, used, false)) / 1000;
  }

  /// What came of a plan: measured, or why it was not.
  struct Attempt {
    std::optional<Measured> measured;
    std::uint32_t arrays = 0;
    std::string note;
    bool breaks_limit = false;
    double array_share = 1;  ///< of the arrays that the search has to do with for this limit
    std::optional<chip::Equipment> equipment;
    std::optional<Error> error;
  };

  /// By the closed forms, beside the best plan so far. ns
  std::optional<double> predicted(const Plan& plan) const {
    if (options_.objective != Objective::latency || !best_ || !best_plan_.assignment || !plan.assignment)
      return std::nullopt;
    if (goal_.pipelined) return plan.modelled * std::max(1u, options_.emit.tokens) / 1000;
    return best_->figure + (plan.modelled - best_plan_.modelled) / 1000;
  }

  /// Why a plan of the frontier is not what is looked for, by the closed forms; "" if it may be.
  std::string unlikely(const Plan& plan) const {
    if (!reference_) return "";
    constexpr double kUnlikely = 1.08;
    const Point point = point_of(*plan.assignment);
    const Point& reference = reference_->point;
    const double latency_ns = (reference.measured_time_ps + point.time_ps - reference.time_ps) / 1000;
    const double energy_nj =
        (reference.measured_energy_pj + reference_->energy_pj(point) - reference_->energy_pj(reference)) / 1000;
    double most_ns = wanted_.most_latency_us ? kUnlikely * *wanted_.most_latency_us * 1000 : kInfinite;
    double most_nj = wanted_.most_energy_nj ? kUnlikely * *wanted_.most_energy_nj : kInfinite;
    if (best_ && options_.objective == Objective::latency) most_ns = std::min(most_ns, kUnlikely * best_->figure);
    if (best_ && options_.objective == Objective::energy) most_nj = std::min(most_nj, kUnlikely * best_->figure);
    const bool is_fewest = options_.objective == Objective::area || options_.objective == Objective::arrays;
    if (best_ && is_fewest && point.arrays > best_->arrays)
      return fmt::format("{:.0f} arrays by the closed forms", point.arrays);
    if (latency_ns > most_ns) return fmt::format("about {:.4g} us by the closed forms", latency_ns / 1000);
    if (energy_nj > most_nj) return fmt::format("about {:.4g} nJ by the closed forms", energy_nj);
    return "";
  }

  Attempt attempt(const Plan& plan) const {
    Attempt result;
    const auto out = [&result](const Error& error) {
      result.note = error.message;
      result.error = error;
      return std::move(result);
    };
    double own = 0, pieces = 0, shared = 0;
    for (std::size_t u = 0; plan.assignment && u < costs_.units().size(); ++u) {
      const UnitCost cost = costs_.cost(costs_.units()[u], plan.assignment->options[u], plan.assignment->shared_arrays);
      own += cost.own;
      shared += cost.shared;
      pieces += cost.pieces;
    }
    if (own + shared > limits_.arrays + 1e-6) {
      result.arrays = static_cast<std::uint32_t>(std::ceil(own + shared - 1e-6));
      result.note = "more than the limit of arrays";
      result.breaks_limit = true;
      return result;
    }
    if (plan.is_frontier) result.note = unlikely(plan);
    if (!result.note.empty()) {
      result.arrays = static_cast<std::uint32_t>(std::ceil(own + shared - 1e-6));
      return result;
    }
    if (pieces > kMostPieces) {
      result.note = fmt::format("{:.2g} pieces are too many to compile", pieces);
      return result;
    }
    const std::optional<double> latency = predicted(plan);
    if (pieces > kAnyPieces && latency && *latency > kHopeless * best_->figure) {
      result.note = fmt::format("about {:.4g} us by the closed forms", *latency / 1000);
      return result;
    }
    const Graph graph = compile::with_structures(model_.graph, structures_of(plan), chip_);
    compile::PlaceOptions place_options = place_options_for(chip_, options_);
    place_options.objective = plan.objective;
    place_options.least_arrays = plan.shared_arrays;
    Result<compile::Placement> placement = compile::place_mixed(graph, plan.maps, place_options);
    if (!placement) return out(placement.error());
    result.arrays = placement->arrays;
    if (placement->arrays > limits_.arrays) {
      result.note = "more than the limit of arrays";
      result.breaks_limit = true;
      result.array_share = limits_.arrays / placement->arrays;
      return result;
    }
    std::uint32_t copies = options_.copies;
    if (const double most = most_arrays(); most < kInfinite) {
      const auto left = static_cast<std::uint32_t>(std::max(0.0, most - placement->arrays));
      copies = limits_.copies && copies == 0 ? left : std::min(copies, left);
    }
    const std::uint32_t originals = placement->arrays;
    Result<program::Program> program = program::Program();
    for (std::uint32_t attempts = 1;; ++attempts) {
      compile::Placement copied = *placement;
      if (copies > 0) {
        RunOptions options = options_;
        options.copies = copies;
        Result<compile::Placement> more = with_copies(graph, std::move(copied), model_, chip_, options);
        if (!more) return out(more.error());
        copied = std::move(*more);
      }
      result.arrays = copied.arrays;
      if (best_ && options_.objective == Objective::latency) {
        const double least_ns = least_latency_ns(graph, result.arrays);
        if (least_ns >= best_->figure) {
          result.note = fmt::format("at least {:.4g} us, as is proved", least_ns / 1000);
          return result;
        }
      }
      program = emit_program(graph, std::move(copied), model_, chip_, options_);
      if (!program) return out(program.error());
      if (!wanted_.most_area_mm2) break;
      result.equipment = equipment_of(*program);
      const Result<chip::Area> area = chip::system_area(chip_, program->chip.arrays, *result.equipment);
      if (!area) return out(area.error());
      if (area->total_mm2() <= *wanted_.most_area_mm2) break;
      if (copies == 0) {
        result.note = fmt::format("{:.4g} mm2 are more than the limit", area->total_mm2());
        result.breaks_limit = true;
        result.array_share = *wanted_.most_area_mm2 / area->total_mm2();
        return result;
      }
      // As many copies as there is room for beside what this program needs, then none.
      constexpr std::uint32_t kAttempts = 3;
      const std::uint32_t room = arrays_of_area(*result.equipment);
      const std::uint32_t fewer = room > originals ? std::min(copies - 1, room - originals) : 0;
      copies = attempts + 1 < kAttempts ? fewer : 0;
    }
    Result<Measured> measured = measure(std::move(*program));
    if (!measured) return out(measured.error());
    result.measured = std::move(*measured);
    return result;
  }

  /// Attempts plans, two at a time whatever the number of threads: so what is known when one begins is always the same.
  /// No more begin when as many commands were executed. False if a mixture did not keep to the limits although the
  /// search thought so.
  bool try_plans(std::vector<Plan> plans, std::uint64_t most_commands = ~std::uint64_t{0}) {
    bool fit = true;
    std::erase_if(plans, [this](const Plan& plan) {
      return !tried_.insert({plan.candidates, signature(plan), plan.objective, plan.shared_arrays}).second;
    });
    for (std::size_t first = 0; first < plans.size() && commands_ < most_commands && !is_over(); first += kAtATime) {
      const std::size_t count = std::min(kAtATime, plans.size() - first);
      std::vector<Attempt> attempts(count);
      parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t n = begin; n < end; ++n) attempts[n] = attempt(plans[first + n]);
      });
      for (std::size_t n = 0; n < count; ++n) fit = settle(std::move(plans[first + n]), std::move(attempts[n])) && fit;
      progress_.update(++batches_);
    }
    return fit;
  }

  bool settle(Plan plan, Attempt attempt) {
    if (attempt.equipment) equipment_ = attempt.equipment;
    if (attempt.measured) return judge(std::move(plan), std::move(*attempt.measured));
    report_.tried.push_back(
        {.name = plan.name, .figure = {}, .arrays = attempt.arrays, .note = std::move(attempt.note)});
    by_limits_ = by_limits_ || attempt.breaks_limit;
    if (attempt.error && !first_error_) first_error_ = std::move(attempt.error);
    if (plan.keeps_limits && attempt.array_share < 1) array_share_.take(attempt.array_share);
    return !attempt.breaks_limit;
  }

  static std::vector<std::pair<std::string_view, std::uint32_t>> signature(const Plan& plan) {
    std::vector<std::pair<std::string_view, std::uint32_t>> signature;
    for (const compile::NodeMap& map : plan.maps)
      signature.emplace_back(map.strategy == "linear-striped" ? "striped" : map.strategy, map.sliver);
    return signature;
  }

  Result<Measured> measure(program::Program program) const {
    Measured measured;
    DANAUS_TRY(graph, machine::DependenceGraph::make(program, chip_));
    if (graph) {  // dependences are found once for both timings
      DANAUS_TRY(full, graph->time(program, chip_, false));
      measured.timing = std::move(full);
      if (options_.time_linear) {
        DANAUS_TRY(linear, graph->time(program, chip_, true));
        measured.linear_timing = std::move(linear);
      }
    } else {
      const machine::Routing routing{.seed = options_.seed, .first = {}};
      DANAUS_TRY(full, machine::simulate(program, chip_, {.routing = routing, .trace = {}}));
      measured.timing = std::move(full);
    }
    const machine::Timing& timing = measured.timing;
    measured.latency_ns = static_cast<double>(timing.total) / 1000;
    const double tokens = std::max(1u, options_.emit.tokens);
    measured.energy_nj = timing.energy.total() / 1000 / tokens;
    measured.arrays = program.chip.arrays;
    if (options_.objective == Objective::area || wanted_.most_area_mm2) {
      DANAUS_TRY(area, chip::system_area(chip_, program.chip.arrays, equipment_of(program)));
      measured.area_mm2 = area.total_mm2();
    }
    switch (options_.objective) {
      case Objective::latency:
        measured.figure = measured.latency_ns;
        break;
      case Objective::energy:
        measured.figure = measured.energy_nj;
        break;
      case Objective::area:
        measured.figure = measured.area_mm2;
        break;
      case Objective::arrays:
        measured.figure = measured.arrays;
        break;
    }
    measured.program = std::move(program);
    return measured;
  }

  chip::Equipment equipment_of(const program::Program& program) const {
    program::VerifyOptions check;
    check.proof = false;
    const program::VerifyReport report = program::verify(program, check);
    return pipeline::equipment_of(facts_of(program, report, work_of(program.intent, model_, options_)), chip_);
  }

  Point point_of(const Assignment& assignment) const {
    Point point;
    point.arrays = assignment.shared_arrays;
    for (std::size_t u = 0; u < costs_.units().size(); ++u) {
      const UnitCost cost = costs_.cost(costs_.units()[u], assignment.options[u], assignment.shared_arrays);
      point.energy_pj += cost.energy_pj;
      point.time_ps += cost.time_ps;
      point.arrays += cost.own;
    }
    return point;
  }

  Point point_of(const Plan& plan, const Measured& measured) const {
    Point point = point_of(*plan.assignment);
    point.measured_energy_pj = measured.energy_nj * 1000;
    point.measured_time_ps = measured.latency_ns * 1000;
    return point;
  }

  /// The reference is the plan that is nearest to the limits, of several that keep to them the best one.
  void calibrate(const Plan& plan, const Measured& measured) {
    double excess = std::max(1.0, measured.arrays / limits_.arrays);
    if (wanted_.most_energy_nj) excess = std::max(excess, measured.energy_nj / *wanted_.most_energy_nj);
    if (wanted_.most_area_mm2) excess = std::max(excess, measured.area_mm2 / *wanted_.most_area_mm2);
    if (wanted_.most_latency_us) excess = std::max(excess, measured.latency_ns / 1000 / *wanted_.most_latency_us);
    if (reference_ && std::tuple(reference_->excess, reference_->figure) <= std::tuple(excess, measured.figure)) return;
    const double passive_mw = costs_.passive_mw_per_array();
    const double tokens = std::max(1u, options_.emit.tokens);
    reference_ = {.name = plan.name,
                  .excess = excess,
                  .figure = measured.figure,
                  .point = point_of(plan, measured),
                  .pj_per_array = passive_mw * measured.latency_ns / tokens,  // mW ns = pJ
                  // Tokens of a pipeline do not wait for each other.
                  .pj_per_ps = options_.emit.mode == compile::Mode::decode ? passive_mw * measured.arrays / 1000 : 0};
  }

  static void keep_least(std::optional<Point>& least, const Point& point, double Point::*figure) {
    if (!least || point.*figure < (*least).*figure) least = point;
  }

  bool judge(Plan plan, Measured measured) {
    if (!shell_) {
      shell_ = program::Program();
      shell_->chip = measured.program.chip;
      shell_->intent = measured.program.intent;
      shell_->kv = measured.program.kv;
      for (const program::Record& record : measured.program.code) {
        if (std::holds_alternative<program::Repeat>(program::decode_unchecked(record))) shell_->code.push_back(record);
      }
    }
    commands_of_plan_ = measured.timing.counts.commands;
    commands_ += commands_of_plan_;
    if (plan.assignment) calibrate(plan, measured);
    Tried tried{.name = plan.name, .figure = measured.figure, .arrays = measured.arrays, .note = {}};
    bool keeps = true;
    if (measured.arrays > limits_.arrays) {
      tried.note = "more than the limit of arrays";
      keeps = false;
    }
    if (wanted_.most_energy_nj && measured.energy_nj > *wanted_.most_energy_nj) {
      if (plan.keeps_limits) keep_least(too_much_energy_, point_of(plan, measured), &Point::measured_energy_pj);
      tried.note = fmt::format("{:.4g} nJ are more than the limit", measured.energy_nj);
      keeps = false;
    }
    if (wanted_.most_area_mm2 && measured.area_mm2 > *wanted_.most_area_mm2) {
      tried.note = fmt::format("{:.4g} mm2 are more than the limit", measured.area_mm2);
      keeps = false;
    }
    if (wanted_.most_latency_us && measured.latency_ns > *wanted_.most_latency_us * 1000) {
      if (plan.keeps_limits) keep_least(too_slow_, point_of(plan, measured), &Point::measured_time_ps);
      tried.note = fmt::format("{:.4g} us are more than the limit", measured.latency_ns / 1000);
      keeps = false;
    }
    report_.tried.push_back(std::move(tried));
    by_limits_ = by_limits_ || !keeps;
    if (!keeps) return false;
    if (!best_ || std::tuple(measured.figure, measured.arrays) < std::tuple(best_->figure, best_->arrays)) {
      best_ = std::move(measured);
      best_plan_ = std::move(plan);
    }
    return true;
  }

  Error failure() const {
    if (options_.stop && options_.stop())
      return Error("auto.stopped", Failure::interrupted, "stopped before anything was timed");
    if (!by_limits_ && first_error_) return *first_error_;
    Error error("auto.infeasible", Failure::does_not_fit, "no choice of structures and mappings keeps to the limits");
    for (const Tried& tried : report_.tried)
      error.notes.push_back(fmt::format("{}: {}{}", tried.name,
                                        tried.arrays == 0 ? "" : fmt::format("{} arrays, ", tried.arrays), tried.note));
    error.hint =
        "allow more (--max-arrays, --max-area-mm2, --max-energy-nj, --max-latency-us, --max-error), or more "
        "--candidates";
    return error;
  }

  // --- the report ---

  void finish() {
    report_.winner = best_plan_.name;
    report_.figure = best_->figure;
    const double unit = options_.objective == Objective::latency || options_.objective == Objective::energy ? 1000 : 1;
    if (bound_ > 0) goal_ = bound_goal_;
    report_.modelled = best_plan_.assignment ? cost_of(costs_, goal_, *best_plan_.assignment) / unit : 0;
    if (goal_.pipelined) report_.modelled *= std::max(1u, options_.emit.tokens);
    report_.optimum_bound = bound_ / unit;
    const auto add = [this](const char* name, double most, double used) {
      constexpr double kRounding = 1e-9;  // sums of errors in another order
      ensure(used <= most * (1 + kRounding), "a result of map auto keeps to its limits");
      report_.limits.push_back({name, most, used});
    };
    if (wanted_.most_arrays || chip_.system.arrays != 0) {
      double most = chip_.system.arrays == 0 ? kInfinite : static_cast<double>(chip::system_arrays(chip_));
      if (wanted_.most_arrays) most = std::min(most, double{1} * *wanted_.most_arrays);
      add("arrays", most, best_->arrays);
    }
    if (wanted_.most_area_mm2) add("mm2", *wanted_.most_area_mm2, best_->area_mm2);
    if (wanted_.most_energy_nj) add("nJ", *wanted_.most_energy_nj, best_->energy_nj);
    if (wanted_.most_latency_us) add("us", *wanted_.most_latency_us, best_->latency_ns / 1000);
    if (wanted_.most_error) add("error", *wanted_.most_error, candidates_.figure(error_of_plan(best_plan_)));
    add_choices();
  }

  /// Of each operator the least number of copies of the arrays that hold it.
  std::map<std::uint32_t, std::uint32_t> copies_of_nodes() const {
    std::map<std::uint32_t, std::uint32_t> of_array, of_node;
    for (const program::Copy& copy : best_->program.copies) ++of_array[index(copy.of)];
    for (const program::Patch& patch : best_->program.patches) {
      const auto found = of_array.find(index(patch.array));
      const std::uint32_t copies = found == of_array.end() ? 0 : found->second;
      const auto [entry, is_new] = of_node.try_emplace(index(patch.node), copies);
      entry->second = std::min(entry->second, copies);
    }
    return of_node;
  }

  void add_choices() {
    const std::map<std::uint32_t, std::uint32_t> copies = copies_of_nodes();
    const std::vector<Structure> structures = structures_of(best_plan_);
    for (std::size_t o = 0; o < model_.linear.size(); ++o) {
      const auto found = copies.find(index(model_.linear[o].node));
      const std::uint32_t candidate = best_plan_.candidates[o];
      report_.choices.push_back({.name = model_.linear[o].name,
                                 .candidate = candidates_.all[candidate].name,
                                 .structure = describe(structures[o]),
                                 .map = std::string(best_plan_.maps[o].strategy),
                                 .sliver = best_plan_.maps[o].sliver,
                                 .copies = found == copies.end() ? 0 : found->second,
                                 .error = candidates_.figure(candidates_.all[candidate].errors[o]),
                                 .reason = {}});
    }
    if (!best_plan_.assignment) {
      for (Choice& choice : report_.choices)
        choice.reason = fmt::format("{} was the fastest as measured", best_plan_.name);
      return;
    }
    for (std::size_t u = 0; u < costs_.units().size(); ++u) {
      const std::string reason = reason_for(u);
      for (const std::uint32_t o : costs_.units()[u].operators) report_.choices[o].reason = reason;
    }
  }

  std::string option_name(const UnitOption& option) const {
    std::vector<std::string> names;
    for (std::size_t n = 0; n < option.candidates.size(); ++n)
      names.push_back(candidates_.all[option.candidates[n]].name);
    if (std::all_of(names.begin(), names.end(), [&](const std::string& name) { return name == names.front(); }))
      names.resize(1);
    std::string text = fmt::format("{}", fmt::join(names, "+"));
    if (option.map == UnitMap::own) return text + " on arrays of its own";
    if (option.sliver == 0) return text + " striped";
    if (option.sliver >= chip_.array.cols) return text + " striped, whole blocks";
    return fmt::format("{} striped, slivers of {}", text, option.sliver);
  }

  /// The best option that was not taken, and why.
  std::string reason_for(std::size_t u) const {
    const Unit& unit = costs_.units()[u];
    const Assignment& assignment = *best_plan_.assignment;
    const std::vector<UnitOption>& options = costs_.options(unit);
    const auto error = [&](const UnitOption& option) {
      double sum = 0;
      for (std::size_t n = 0; n < unit.operators.size(); ++n)
        sum += candidates_.all[option.candidates[n]].errors[unit.operators[n]];
      return sum;
    };
    const UnitCost own = costs_.cost(unit, assignment.options[u], assignment.shared_arrays);
    const auto figure = [&](const UnitCost& cost) {
      return options_.objective == Objective::latency  ? cost.time_ps
             : options_.objective == Objective::energy ? cost.energy_pj
                                                       : cost.shared + cost.own;
    };
    std::optional<std::size_t> next;
    UnitCost next_cost;
    for (std::size_t o = 0; o < options.size(); ++o) {
      if (o == assignment.options[u] || error(options[o]) == kNotAllowed) continue;
      if (options[o].candidates == options[assignment.options[u]].candidates &&
          options[o].map == options[assignment.options[u]].map)
        continue;  // another width of the same slivers
      const UnitCost cost = costs_.cost(unit, o, assignment.shared_arrays);
      if (!next || figure(cost) < figure(next_cost)) {
        next = o;
        next_cost = cost;
      }
    }
    if (!next) return "there is nothing else to choose";
    const double scale = options_.objective == Objective::latency || options_.objective == Objective::energy ? 1000 : 1;
    const std::string_view figure_unit = options_.objective == Objective::latency  ? "ns"
                                         : options_.objective == Objective::energy ? "nJ"
                                                                                   : "arrays";
    const double difference = (figure(next_cost) - figure(own)) / scale;
    const std::string name = option_name(options[*next]);
    if (difference >= 0) return fmt::format("{} would take {:.4g} {} more", name, difference, figure_unit);
    // Better by itself: what it would take of the limits.
    std::vector<std::string> costs;
    const double arrays = next_cost.shared + next_cost.own - own.shared - own.own;
    if (const double most = most_arrays(); most < kInfinite && arrays > 0) {
      const std::size_t copies = best_->program.copies.size();
      costs.push_back(fmt::format("{:.4g} arrays, {} are left{}{}", arrays, std::max(0.0, most - best_->arrays),
                                  most < limits_.arrays ? " of the area" : "",
                                  copies > 0 ? fmt::format(" beside {} copies", copies) : ""));
    }
    if (wanted_.most_error && error(options[*next]) > error(options[assignment.options[u]])) {
      const double sum = error_of_plan(best_plan_);
      costs.push_back(
          fmt::format("the error: {:.4g} instead of {:.4g}, the limit is {:.4g}",
                      candidates_.figure(sum + error(options[*next]) - error(options[assignment.options[u]])),
                      candidates_.figure(sum), *wanted_.most_error));
    }
    if (wanted_.most_energy_nj && next_cost.energy_pj > own.energy_pj)
      costs.push_back(fmt::format("{:.4g} nJ, {:.4g} are left", (next_cost.energy_pj - own.energy_pj) / 1000,
                                  *wanted_.most_energy_nj - best_->energy_nj));
    if (wanted_.most_latency_us && next_cost.time_ps > own.time_ps)
      costs.push_back(fmt::format("{:.4g} ns, {:.4g} are left", (next_cost.time_ps - own.time_ps) / 1000,
                                  *wanted_.most_latency_us * 1000 - best_->latency_ns));
    return fmt::format("{} would save {:.4g} {}{}{}", name, -difference, figure_unit,
                       costs.empty() ? ", but not on the whole" : " but take ", fmt::join(costs, "; "));
  }

  const model::Model& model_;
  const chip::Chip& chip_;
  const RunOptions& options_;
  const AutoOptions& wanted_;
  Candidates candidates_;
  CostModel costs_;
  Progress& progress_;
  Deadline deadline_;
  SearchGoal goal_, bound_goal_;
  SearchLimits limits_;
  double bound_ = 0;  ///< of bound_goal_ within the limits, by the closed forms; 0 = none
  AutoReport report_;
  Share array_share_;  ///< that mixtures may plan with
  /// The nearest ones to the limits of those that mixtures of the search did not keep.
  std::optional<Point> too_much_energy_, too_slow_;
  int misses_ = 1;                            ///< rounds since the reference changed
  std::optional<chip::Equipment> equipment_;  ///< of the latest program, with a limit of the area
  std::uint32_t mixtures_made_ = 0;
  std::uint64_t batches_ = 0;
  std::uint64_t commands_ = 0, commands_of_plan_ = 0;  ///< executed by all plans and by the last one
  std::set<std::tuple<std::vector<std::uint32_t>, std::vector<std::pair<std::string_view, std::uint32_t>>, Objective,
                      std::uint32_t>>
      tried_;
  std::optional<program::Program> shell_;  ///< what a bound needs of a program: tokens and KV regions
  std::optional<Reference> reference_;
  std::optional<Measured> best_;
  Plan best_plan_;
  std::optional<Error> first_error_;
  bool by_limits_ = false;  ///< that something is out
};

}  // namespace

Result<AutoResult> choose_automatically(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                                        Progress& progress) {
  if (options.reload)
    return fail(Error("auto.unsupported", Failure::unsupported, "map auto does not choose for models that are reloaded")
                    .with_hint("leave --reload out, or name the mapping"));
  if (options.sliver != 0 || options.least_arrays != 0)
    return fail(Error("auto.unsupported", Failure::usage,
                      fmt::format("map auto chooses itself {}",
                                  options.sliver != 0 ? "how wide slivers are" : "how many arrays there are"))
                    .with_hint(options.sliver != 0
                                   ? "leave --sliver out, or name the mapping"
                                   : "leave --least-arrays out, give --max-arrays, or name the mapping"));
  if (options.adc_bits || chip.adc.rule == chip::AdcRule::calibrated)
    return fail(Error("auto.unsupported", Failure::unsupported,
                      "map auto does not read tables of converter bits: they are measured of one mapping")
                    .with_hint("set adc.rule = \"rows\" without --adc-bits, or name the mapping"));
  DANAUS_TRY(candidates, make_candidates(model, chip, options, progress));
  compile::PlaceOptions place_options = place_options_for(chip, options);
  place_options.objective = mixture_objective(options.objective);
  DANAUS_TRY(costs, CostModel::make(model, chip, candidates, place_options));
  return Chooser(model, chip, options, std::move(candidates), std::move(costs), progress).run();
}

}  // namespace danaus::pipeline
