#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace danaus::optimise {

/// One way to do an item.
struct Option {
  double cost = 0;           ///< finite; may be negative
  std::vector<double> uses;  ///< of each budget, >= 0 and finite
};

/// Exactly one of its options is chosen.
struct Item {
  std::vector<Option> options;
};

/// Multiple-choice knapsack: the cheapest choice of one option per item whose uses add up to no more than each budget.
struct Problem {
  std::vector<Item> items;
  std::vector<double> budgets;  ///< may be infinite
};

struct SolveOptions {
  std::uint64_t seed = 1;
  std::uint32_t restarts = 4;  ///< annealing runs, at least one
  std::uint64_t moves = 0;     ///< of one annealing run; 0 = by the size of the problem
  /// Asked now and then whether to stop with what there is; may be called by several threads at a time.
  std::function<bool()> stop = {};
};

struct Solution {
  bool feasible = false;              ///< false: no choice within the budgets was found, or there is none (see `bound`)
  std::vector<std::uint32_t> chosen;  ///< one option per item; empty when not feasible
  double cost = 0;                    ///< sum over the items, in their order
  /// No solution costs less (Lagrangian dual). The optimum itself if the cheapest options keep all budgets; infinite if
  /// it is proved that nothing keeps them.
  double bound = 0;
  bool stopped = false;  ///< `stop` ended the search early
};

/// Solves by annealing over the Lagrangian dual. The solution depends on the problem, the seed, restarts and moves
/// alone, not on threads; unless stopped. A choice keeps a budget if its uses, added in the order of the items, are <=
/// budget. Broken rules of the fields above are internal errors: the caller has checked them.
Solution solve(const Problem& problem, const SolveOptions& options);

}  // namespace danaus::optimise
