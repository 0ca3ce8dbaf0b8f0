#pragma once

#include <functional>
#include <vector>

#include "danaus/optimise/reduced.h"

namespace danaus::optimise {

/// The Lagrangian dual max over prices >= 0 of [sum over items of min over options (cost + prices * uses)] - prices *
/// budgets, which is the value of the linear relaxation.
struct Dual {
  std::vector<double> prices;  ///< of each budget, the best found
  double bound = 0;            ///< no solution costs less; infinite if there is no solution
  Choice rounded;              ///< the relaxed solution, shares of a class dealt to whole items; may exceed budgets
};

/// By cutting planes, to the end or until `stop`.
Dual solve_dual(const Reduced& problem, const std::function<bool()>& stop);

}  // namespace danaus::optimise
