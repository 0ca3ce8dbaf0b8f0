// The whole solver: reduce, bound, round and repair the relaxed solution, then anneal several times within what the
// bound leaves open, and improve each result by exchanges.

#include <algorithm>
#include <atomic>
#include <limits>

#include "danaus/core/parallel.h"
#include "danaus/optimise/dual.h"
#include "danaus/optimise/optimise.h"
#include "danaus/optimise/reduced.h"
#include "danaus/optimise/search.h"

namespace danaus::optimise {
namespace {

constexpr std::uint64_t kMovesPerOption = 20;
constexpr std::uint64_t kLeastMoves = 20'000, kMostMoves = 200'000;

bool better(const Found& a, const Found& b) {
  if (a.feasible != b.feasible) return a.feasible;
  return a.feasible && a.cost < b.cost;
}

/// Items of one class trade places so that their options ascend: of all equal solutions the one that is easiest to
/// read.
Found in_order(const Reduced& problem, Found one) {
  Choice sorted = one.choice;
  for (const Reduced::Class& of : problem.classes) {
    std::vector<std::uint32_t> options;
    for (const std::uint32_t item : of.items) options.push_back(sorted[item]);
    std::sort(options.begin(), options.end());
    for (std::size_t n = 0; n < options.size(); ++n) sorted[of.items[n]] = options[n];
  }
  Found ordered = found(problem, std::move(sorted));
  return ordered.feasible ? ordered : one;  // rounding of sums may make a difference
}

}  // namespace

Solution solve(const Problem& problem, const SolveOptions& options) {
  Solution solution;
  const Reduced reduced = reduce(problem);
  if (reduced.infeasible) {
    solution.bound = std::numeric_limits<double>::infinity();
    return solution;
  }
  std::atomic<bool> stopped = false;
  const std::function<bool()> stop = [&] {
    if (!stopped && options.stop && options.stop()) stopped = true;
    return stopped.load();
  };
  const Dual dual = solve_dual(reduced, stop);
  solution.bound = dual.bound;
  if (dual.bound == std::numeric_limits<double>::infinity()) {
    solution.stopped = stopped;
    return solution;
  }

  Found best = exchange(reduced, dual, repair(reduced, dual, dual.rounded), stop);
  const bool optimal = best.feasible && best.cost <= dual.bound;
  if (!optimal && !stop()) {
    const double limit = best.feasible ? best.cost : std::numeric_limits<double>::infinity();
    const std::vector<std::vector<std::uint32_t>> lists = candidates(reduced, dual, limit);
    std::uint64_t moves = options.moves;
    if (moves == 0) {
      for (const std::uint32_t number : reduced.class_of)
        moves += lists[number].size() > 1 ? kMovesPerOption * lists[number].size() : 0;
      moves = std::clamp(moves, kLeastMoves, kMostMoves);
    }
    std::vector<Found> results(std::max<std::uint32_t>(1, options.restarts));
    parallel_for(results.size(), 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t n = first; n < last; ++n)
        results[n] = exchange(reduced, dual, anneal(reduced, dual, lists, best, {options.seed, n, moves}, stop), stop);
    });
    for (Found& result : results)  // of equal ones the first restart
      if (better(result, best)) best = std::move(result);
  }
  solution.stopped = stopped;
  solution.feasible = best.feasible;
  if (!best.feasible) return solution;
  best = in_order(reduced, std::move(best));
  solution.cost = best.cost;
  solution.bound = std::min(solution.bound, solution.cost);  // a bound above a solution is rounding
  for (const std::uint32_t option : best.choice) solution.chosen.push_back(reduced.original[option]);
  return solution;
}

}  // namespace danaus::optimise
