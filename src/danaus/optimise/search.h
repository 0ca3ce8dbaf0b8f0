#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "danaus/optimise/dual.h"
#include "danaus/optimise/reduced.h"

namespace danaus::optimise {

/// A choice with its sums, added up in the order of the items.
struct Found {
  bool feasible = false;
  double cost = 0;
  Choice choice;
};

/// `choice` with its sums.
Found found(const Reduced& problem, Choice choice);

/// The options of each class that can be part of a solution cheaper than `limit` (may be infinite): their cost at the
/// dual's prices exceeds the least of the class by less than limit - bound.
std::vector<std::vector<std::uint32_t>> candidates(const Reduced& problem, const Dual& dual, double limit);

/// Brings `choice` within the budgets, if that works, by the changes that cost least per overspending removed.
Found repair(const Reduced& problem, const Dual& dual, Choice choice);

/// Improves a feasible choice by the best change of one or two items, as long as there is one.
Found exchange(const Reduced& problem, const Dual& dual, Found start, const std::function<bool()>& stop);

struct Annealing {
  std::uint64_t seed = 1;
  std::uint64_t stream = 0;  ///< of random numbers
  std::uint64_t moves = 0;
};

/// Simulated annealing from `start` (feasible or not) over the candidates. Returns the best feasible choice met, or
/// `start`.
Found anneal(const Reduced& problem, const Dual& dual, const std::vector<std::vector<std::uint32_t>>& candidates,
             const Found& start, const Annealing& annealing, const std::function<bool()>& stop);

}  // namespace danaus::optimise
