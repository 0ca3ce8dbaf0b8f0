#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "danaus/compile/compile.h"
#include "danaus/optimise/optimise.h"
#include "danaus/pipeline/auto/candidates.h"
#include "danaus/pipeline/auto/cost_model.h"

/// The search of --map auto over the closed forms: which option each unit gets. docs/auto.md has the equations.
namespace danaus::pipeline {

/// What the search minimises: the sum over units of time_weight * time + energy_weight * energy + array_weight *
/// arrays. With `pipelined` the time is that of the busiest resource instead.
struct SearchGoal {
  double time_weight = 1, energy_weight = 0, array_weight = 0;
  bool pipelined = false;
  double sections = 1;  ///< pipelined: passes of all tokens, one after the other (layers of an encoder)
  double slots = 1;     ///< pipelined: tokens in flight
};

struct SearchLimits {
  double arrays = std::numeric_limits<double>::infinity();
  double energy_pj = std::numeric_limits<double>::infinity();  ///< of the closed forms
  /// Idle power, which counts within energy_pj: of an array more and of a picosecond more.
  double energy_pj_per_array = 0, energy_pj_per_ps = 0;
  double time_ps = std::numeric_limits<double>::infinity();  ///< likewise
  double pieces = std::numeric_limits<double>::infinity();   ///< of blocks
  bool copies = false;  ///< pipelined: arrays that are left over may repeat own ones
};

/// An option for each unit.
struct Assignment {
  std::vector<std::uint32_t> options;
  std::uint32_t shared_arrays = 0;  ///< that the striped units share
  double cost = 0;                  ///< of the goal
  bool operator==(const Assignment&) const = default;
};

struct SearchResult {
  std::vector<Assignment> best;  ///< the cheapest of every number of shared arrays that was tried, cheapest first
  /// No assignment within the limits costs less; of pipelines 0: there is none, as without SearchOptions::find_bound.
  double bound = 0;
  bool stopped = false;
};

/// An inner problem as the solver gets it, for oracles.
struct InnerProblem {
  std::uint32_t shared_arrays = 0;
  optimise::Problem problem;
  optimise::Solution solution;
};

struct SearchOptions {
  std::uint64_t seed = 1;
  bool find_bound = true;
  std::function<bool()> stop;
  std::function<void(const InnerProblem&)> watch;  ///< gets every problem that is solved
};

SearchResult search(const CostModel& costs, const Candidates& candidates, const SearchGoal& goal,
                    const SearchLimits& limits, const SearchOptions& options);

/// The fewest arrays that hold all units, and those that the largest options fill.
struct ArrayRange {
  double least = 0, most = 0;
};
ArrayRange array_range(const CostModel& costs);

/// What an assignment costs by the goal.
double cost_of(const CostModel& costs, const SearchGoal& goal, const Assignment& assignment);
/// The sum over its operators of the errors of their candidates.
double error_of(const CostModel& costs, const Candidates& candidates, const Assignment& assignment);

/// Where it puts the operators: one map per linear operator.
std::vector<compile::NodeMap> maps_of(const CostModel& costs, const Candidates& candidates,
                                      const Assignment& assignment);
/// Their structures.
std::vector<std::uint32_t> candidates_of(const CostModel& costs, const Assignment& assignment);

}  // namespace danaus::pipeline
