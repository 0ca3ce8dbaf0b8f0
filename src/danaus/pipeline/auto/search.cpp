// All that ties the units to each other is how many arrays the striped ones share: with that number fixed, costs and
// uses add up over the units, and the best choice is a multiple-choice knapsack (optimise). So there is an outer loop
// over the number, geometric between the fewest and the most arrays that make sense. For the bound, intervals between
// two neighbouring numbers are relaxed: times of the larger one, arrays of the smaller one left to the units of their
// own. For a pipeline the time is the longest busy time of a resource: bisected, a knapsack each.

#include "danaus/pipeline/auto/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "danaus/core/internal_error.h"

namespace danaus::pipeline {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

enum Budget : std::size_t { kShared, kOwn, kEnergy, kError, kTime, kBusy, kPieces, kBudgets };

/// The rest of what a choice costs in the sum of the goal.
double unit_cost(const SearchGoal& goal, const UnitCost& cost) {
  return goal.time_weight * cost.time_ps + goal.energy_weight * cost.energy_pj +
         goal.array_weight * (cost.shared + cost.own);
}

/// The options of a unit that may be best: no other one is better in everything.
struct Pruned {
  optimise::Item item;
  std::vector<std::uint32_t> numbers;  ///< in CostModel::options
};

void prune(Pruned& pruned) {
  std::vector<std::size_t> order(pruned.numbers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::vector<optimise::Option>& options = pruned.item.options;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return options[a].cost < options[b].cost; });
  std::vector<std::size_t> kept;
  for (const std::size_t n : order) {
    const bool worse = std::any_of(kept.begin(), kept.end(), [&](std::size_t better) {
      for (std::size_t b = 0; b < kBudgets; ++b) {
        if (options[better].uses[b] > options[n].uses[b]) return false;
      }
      return true;
    });
    if (!worse) kept.push_back(n);
  }
  std::sort(kept.begin(), kept.end());
  Pruned left;
  for (const std::size_t n : kept) {
    left.item.options.push_back(options[n]);
    left.numbers.push_back(pruned.numbers[n]);
  }
  pruned = std::move(left);
}

class Search {
 public:
  Search(const CostModel& costs, const Candidates& candidates, const SearchGoal& goal, const SearchLimits& limits,
         const SearchOptions& options)
      : costs_(costs), candidates_(candidates), goal_(goal), limits_(limits), options_(options) {}

  SearchResult run() {
    const std::vector<std::uint32_t> numbers = shared_numbers();
    result_.bound = kInfinite;
    for (std::size_t n = 0; n < numbers.size(); ++n) {
      if (!result_.best.empty() && is_stopped()) {
        result_.bound = -kInfinite;  // what was not looked at may be better
        break;
      }
      goal_.pipelined ? bisect(numbers[n]) : solve_between(n == 0 ? 0 : numbers[n - 1], numbers[n]);
    }
    if (goal_.pipelined || !options_.find_bound) result_.bound = 0;
    std::stable_sort(result_.best.begin(), result_.best.end(),
                     [](const Assignment& a, const Assignment& b) { return a.cost < b.cost; });
    return std::move(result_);
  }

 private:
  bool is_stopped() {
    if (options_.stop && options_.stop()) result_.stopped = true;
    return result_.stopped;
  }

  double error_of_option(const Unit& unit, std::size_t option) const {
    const UnitOption& chosen = costs_.options(unit)[option];
    double error = 0;
    for (std::size_t n = 0; n < unit.operators.size(); ++n)
      error += candidates_.all[chosen.candidates[n]].errors[unit.operators[n]];
    return error;
  }

  /// From what the smallest choices fill to what the largest ones do, or the limit.
  std::vector<std::uint32_t> shared_numbers() const {
    double least = 0, most = 0;
    std::vector<double> uniform(candidates_.all.size());
    for (const Unit& unit : costs_.units()) {
      double smallest = kInfinite, largest = 0;
      for (std::size_t o = 0; o < costs_.options(unit).size(); ++o) {
        const UnitOption& option = costs_.options(unit)[o];
        if (option.map != UnitMap::striped || option.sliver != 0) continue;
        const double shared = costs_.cost(unit, o, 1).shared;
        smallest = std::min(smallest, shared);
        largest = std::max(largest, shared);
        const std::vector<std::uint32_t>& chosen = option.candidates;
        if (std::equal(chosen.begin() + 1, chosen.end(), chosen.begin())) uniform[chosen.front()] += shared;
      }
      least += smallest;
      most += largest;
    }
    const double end = std::max(1.0, std::min(limits_.arrays, 2 * most));
    std::vector<double> numbers = {std::min(least, end), std::min(most, end), end};
    constexpr double kSteps = 8;
    const double begin = std::max(1.0, std::min(least, end));
    for (double step = 1; step < kSteps; ++step) numbers.push_back(begin * std::pow(end / begin, step / kSteps));
    for (const double number : uniform) numbers.push_back(number);
    std::vector<std::uint32_t> whole;
    for (const double number : numbers) {
      if (number <= end)
        whole.push_back(static_cast<std::uint32_t>(std::max(1.0, std::min(std::ceil(number - 1e-6), end))));
    }
    std::sort(whole.begin(), whole.end());
    whole.erase(std::unique(whole.begin(), whole.end()), whole.end());
    return whole;
  }

  /// The knapsack for `shared` arrays, of which `reserved` are taken from the limit. With `most_busy` no resource may
  /// be busy for longer.
  std::optional<Assignment> solve(std::uint32_t shared, std::uint32_t reserved, double most_time, double& bound) {
    const bool has_time = limits_.time_ps < kInfinite || goal_.pipelined;
    optimise::Problem problem;
    std::vector<Pruned> all;
    for (const Unit& unit : costs_.units()) {
      Pruned pruned;
      const std::vector<UnitOption>& options = costs_.options(unit);
      for (std::uint32_t o = 0; o < options.size(); ++o) {
        const double error = error_of_option(unit, o);
        if (error == kNotAllowed) continue;
        const UnitCost cost = costs_.cost(unit, o, shared);
        double own = cost.own, busy = 0;
        if (options[o].map == UnitMap::striped) {
          busy = cost.busy_ps;
        } else if (cost.busy_ps * goal_.sections > most_time) {
          if (!limits_.copies) continue;
          own *= std::ceil(cost.busy_ps * goal_.sections / most_time);
        }
        const double energy =
            cost.energy_pj + limits_.energy_pj_per_array * own + limits_.energy_pj_per_ps * cost.time_ps;
        pruned.item.options.push_back(
            {.cost = unit_cost(goal_, cost),
             .uses = {cost.shared, limits_.arrays < kInfinite ? own : 0, limits_.energy_pj < kInfinite ? energy : 0,
                      error, has_time ? cost.time_ps : 0, busy, limits_.pieces < kInfinite ? cost.pieces : 0}});
        pruned.numbers.push_back(o);
      }
      if (pruned.numbers.empty()) {
        bound = kInfinite;
        return std::nullopt;
      }
      prune(pruned);
      all.push_back(std::move(pruned));
    }
    for (const Pruned& pruned : all) problem.items.push_back(pruned.item);
    problem.budgets.resize(kBudgets);
    problem.budgets[kShared] = shared;
    problem.budgets[kOwn] = std::max(0.0, limits_.arrays - reserved);
    problem.budgets[kEnergy] = std::max(0.0, limits_.energy_pj - limits_.energy_pj_per_array * reserved);
    problem.budgets[kError] = candidates_.most_error;
    problem.budgets[kTime] = std::min(limits_.time_ps, goal_.pipelined ? most_time * goal_.slots : kInfinite);
    problem.budgets[kBusy] = most_time * shared;
    problem.budgets[kPieces] = limits_.pieces;
    const optimise::Solution solution =
        optimise::solve(problem, {.seed = options_.seed, .restarts = 2, .moves = 0, .stop = options_.stop});
    result_.stopped = result_.stopped || solution.stopped;
    bound = solution.bound;
    if (options_.watch) options_.watch({.shared_arrays = shared, .problem = problem, .solution = solution});
    if (!solution.feasible) return std::nullopt;
    Assignment assignment{.options = {}, .shared_arrays = shared, .cost = 0};
    for (std::size_t u = 0; u < all.size(); ++u) assignment.options.push_back(all[u].numbers[solution.chosen[u]]);
    return assignment;
  }

  /// As few shared arrays as hold the cells, if more of them do not help.
  void add(Assignment assignment) {
    double cells = 0;
    for (std::size_t u = 0; u < costs_.units().size(); ++u)
      cells += costs_.cost(costs_.units()[u], assignment.options[u], assignment.shared_arrays).shared;
    Assignment fewer = assignment;
    fewer.shared_arrays = static_cast<std::uint32_t>(std::ceil(cells - 1e-6));
    assignment.cost = cost_of(costs_, goal_, assignment);
    fewer.cost = cost_of(costs_, goal_, fewer);
    constexpr double kWorthIt = 1.002;
    if (fewer.cost <= kWorthIt * assignment.cost) assignment = std::move(fewer);
    if (std::find(result_.best.begin(), result_.best.end(), assignment) == result_.best.end())
      result_.best.push_back(std::move(assignment));
  }

  void solve_between(std::uint32_t before, std::uint32_t shared) {
    double bound = kInfinite;
    const bool limited = limits_.arrays < kInfinite;
    const bool reserves = limited || limits_.energy_pj_per_array > 0;
    std::optional<Assignment> found = solve(shared, reserves ? shared : 0, kInfinite, bound);
    if (found) add(std::move(*found));
    if (options_.find_bound && reserves && before + 1 < shared) {
      double relaxed = kInfinite;
      solve(shared, before + 1, kInfinite, relaxed);
      bound = std::min(bound, relaxed);
    }
    result_.bound = std::min(result_.bound, bound);
  }

  void bisect(std::uint32_t shared) {
    // The longest time that can occur, and one below which none is looked for.
    double high = 0;
    for (const Unit& unit : costs_.units()) {
      double longest = 0;
      for (std::size_t o = 0; o < costs_.options(unit).size(); ++o) {
        const UnitCost cost = costs_.cost(unit, o, shared);
        longest = std::max({longest, cost.busy_ps * goal_.sections, cost.time_ps});
      }
      high += longest;
    }
    double low = 0;
    std::optional<Assignment> best;
    constexpr int kSteps = 16;
    for (int step = 0; step < kSteps && (step == 0 || high > low * 1.01); ++step) {
      const double middle = step == 0 ? high : low > 0 ? std::sqrt(low * high) : high / 8;
      double bound = 0;
      std::optional<Assignment> found = solve(shared, limits_.arrays < kInfinite ? shared : 0, middle, bound);
      if (found) {
        best = std::move(found);
        high = limits_.copies ? middle : std::min(middle, cost_of(costs_, goal_, *best));
      } else {
        if (step == 0) return;
        low = middle;
      }
      if (is_stopped()) break;
    }
    if (best) add(std::move(*best));
  }

  const CostModel& costs_;
  const Candidates& candidates_;
  const SearchGoal goal_;
  const SearchLimits limits_;
  const SearchOptions& options_;
  SearchResult result_;
};

}  // namespace

SearchResult search(const CostModel& costs, const Candidates& candidates, const SearchGoal& goal,
                    const SearchLimits& limits, const SearchOptions& options) {
  return Search(costs, candidates, goal, limits, options).run();
}

ArrayRange array_range(const CostModel& costs) {
  ArrayRange range;
  for (const Unit& unit : costs.units()) {
    double least = kInfinite, most = 0;
    for (std::size_t o = 0; o < costs.options(unit).size(); ++o) {
      const UnitCost cost = costs.cost(unit, o, 1);
      least = std::min(least, cost.shared + cost.own);
      most = std::max(most, cost.shared + cost.own);
    }
    range.least += least;
    range.most += most;
  }
  return range;
}

double cost_of(const CostModel& costs, const SearchGoal& goal, const Assignment& assignment) {
  double cost = 0, own = 0, shared = 0, time = 0;
  for (std::size_t u = 0; u < costs.units().size(); ++u) {
    const Unit& unit = costs.units()[u];
    const UnitCost own_cost = costs.cost(unit, assignment.options[u], assignment.shared_arrays);
    cost += unit_cost(goal, own_cost);
    time += own_cost.time_ps;
    if (costs.options(unit)[assignment.options[u]].map == UnitMap::own)
      own = std::max(own, own_cost.busy_ps);
    else
      shared += own_cost.busy_ps;
  }
  if (!goal.pipelined) return cost;
  return std::max({own * goal.sections, shared / std::max(1u, assignment.shared_arrays), time / goal.slots});
}

double error_of(const CostModel& costs, const Candidates& candidates, const Assignment& assignment) {
  double error = 0;
  const std::vector<std::uint32_t> chosen = candidates_of(costs, assignment);
  for (std::size_t o = 0; o < chosen.size(); ++o) error += candidates.all[chosen[o]].errors[o];
  return error;
}

std::vector<std::uint32_t> candidates_of(const CostModel& costs, const Assignment& assignment) {
  std::vector<std::uint32_t> chosen;
  for (std::size_t u = 0; u < costs.units().size(); ++u) {
    const Unit& unit = costs.units()[u];
    const UnitOption& option = costs.options(unit)[assignment.options[u]];
    chosen.insert(chosen.end(), option.candidates.begin(), option.candidates.end());
  }
  return chosen;
}

std::vector<compile::NodeMap> maps_of(const CostModel& costs, const Candidates& candidates,
                                      const Assignment& assignment) {
  std::vector<compile::NodeMap> maps;
  for (std::size_t u = 0; u < costs.units().size(); ++u) {
    const Unit& unit = costs.units()[u];
    const UnitOption& option = costs.options(unit)[assignment.options[u]];
    for (std::size_t n = 0; n < unit.nodes.size(); ++n) {
      const Structure& structure = candidates.all[option.candidates[n]].graph.at(unit.nodes[n]).structure;
      const std::string_view own = structure.kind == Structure::Kind::dense ? "linear" : "sparse";
      maps.push_back({.strategy = option.map == UnitMap::striped ? "striped" : own, .sliver = option.sliver});
    }
  }
  return maps;
}

}  // namespace danaus::pipeline
