// Dantzig-Wolfe decomposition, the cutting plane method seen from its dual: the master program mixes whole choices
// ("columns") so that the mix keeps the budgets at the least cost,
//   min sum_k w_k cost_k + M sum_b a_b   with   sum_k w_k uses_kb / budget_b + s_b - a_b = 1,  sum_k w_k = 1,
// its prices ask every class for its best option, and what they choose is the next column. The master has budgets + 1
// rows, so its simplex works on dense matrices of that size, solved anew in every step. Every price vector asked gives
// a valid bound; the largest counts. `a` is overspending at a price M that no sensible trade reaches: a bound above the
// dearest choice proves that there is no solution.

#include "danaus/optimise/dual.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace danaus::optimise {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kOverspending = 1e6;  ///< M, in spreads of the cost (all dearest - all cheapest options)
constexpr double kTolerance = 1e-10;   ///< of the spread: reduced costs above -kTolerance count as zero
constexpr double kPivot = 1e-11;       ///< smaller elements of a column do not pivot
constexpr int kColumns = 1000;         ///< cuts at most; a few dozen are usual
constexpr int kPivots = 1000;          ///< of the master per cut at most, against cycling

/// One option per class, taken by all of its items.
struct Column {
  std::vector<std::uint32_t> option_of;  ///< [classes]
  double cost = 0;
  std::vector<double> entries;  ///< [budgets + 1]: uses / budget, and 1
};

class Master {
 public:
  Master(const Reduced& problem, double spread)
      : problem_(problem),
        rows_(problem.budgets.size() + 1),
        overspending_(kOverspending * spread),
        tolerance_(kTolerance * spread) {}

  /// The choice that is best at these prices, and its cost at them. Prices are per whole budget.
  Column ask(const std::vector<double>& prices, double& priced_cost) const {
    Column column;
    column.entries.assign(rows_, 0.0);
    column.entries.back() = 1;
    priced_cost = 0;
    std::vector<double> per_unit(rows_ - 1);
    for (std::size_t n = 0; n + 1 < rows_; ++n) per_unit[n] = prices[n] / problem_.budgets[n];
    for (const Reduced::Class& one : problem_.classes) {
      std::uint32_t best = one.first;
      double best_cost = kInfinity;
      for (std::uint32_t option = one.first; option < one.last; ++option) {
        double cost = problem_.cost[option];
        for (std::size_t n = 0; n + 1 < rows_; ++n) cost += per_unit[n] * problem_.uses_of(option)[n];
        if (cost < best_cost) {
          best_cost = cost;
          best = option;
        }
      }
      const double count = static_cast<double>(one.items.size());
      priced_cost += count * best_cost;
      column.cost += count * problem_.cost[best];
      for (std::size_t n = 0; n + 1 < rows_; ++n)
        column.entries[n] += count * problem_.uses_of(best)[n] / problem_.budgets[n];
      column.option_of.push_back(best);
    }
    return column;
  }

  /// The first column makes the first basis: itself, and a slack or overspending per budget.
  void add(Column column) {
    columns_.push_back(std::move(column));
    if (columns_.size() > 1) return;
    for (std::size_t n = 0; n + 1 < rows_; ++n)
      basis_.push_back({columns_[0].entries[n] <= 1 ? Kind::slack : Kind::overspending, n});
    basis_.push_back({Kind::column, 0});
  }

  /// Simplex over the columns there are. Returns the prices per whole budget.
  std::vector<double> optimise() {
    std::vector<double> dual;
    for (int pivot = 0; pivot < kPivots; ++pivot) {
      std::vector<double> costs;
      for (const Variable& variable : basis_) costs.push_back(cost(variable));
      dual = solve(costs, true);
      Variable entering;
      double least = -tolerance_;
      const auto offer = [&](Variable variable) {
        double reduced = cost(variable);
        const std::vector<double> coefficients = entries(variable);
        for (std::size_t n = 0; n < rows_; ++n) reduced -= dual[n] * coefficients[n];
        if (reduced < least) {
          least = reduced;
          entering = variable;
        }
      };
      for (std::size_t n = 0; n + 1 < rows_; ++n) {
        offer({Kind::slack, n});
        offer({Kind::overspending, n});
      }
      for (std::size_t n = 0; n < columns_.size(); ++n) offer({Kind::column, n});
      if (least == -tolerance_) break;

      const std::vector<double> direction = solve(entries(entering), false),
                                levels = solve(std::vector<double>(rows_, 1.0), false);
      std::size_t leaving = rows_;
      double step = kInfinity;
      for (std::size_t n = 0; n < rows_; ++n) {
        if (direction[n] <= kPivot) continue;
        const double ratio = std::max(0.0, levels[n]) / direction[n];
        if (ratio < step) {
          step = ratio;
          leaving = n;
        }
      }
      if (leaving == rows_) break;  // only rounding can make the program seem unbounded
      basis_[leaving] = entering;
    }
    std::vector<double> prices(rows_ - 1);
    for (std::size_t n = 0; n + 1 < rows_; ++n) prices[n] = std::clamp(-dual[n], 0.0, overspending_);
    return prices;
  }

  double value() const {
    const std::vector<double> levels = solve(std::vector<double>(rows_, 1.0), false);
    double sum = 0;
    for (std::size_t n = 0; n < rows_; ++n) sum += levels[n] * cost(basis_[n]);
    return sum;
  }

  /// The mix of columns, each class's items shared among its options by largest remainders.
  Choice rounded() const {
    const std::vector<double> levels = solve(std::vector<double>(rows_, 1.0), false);
    Choice choice(problem_.items());
    std::vector<double> share(problem_.cost.size());
    for (std::size_t number = 0; number < problem_.classes.size(); ++number) {
      const Reduced::Class& one = problem_.classes[number];
      const double count = static_cast<double>(one.items.size());
      for (std::size_t n = 0; n < rows_; ++n)
        if (basis_[n].kind == Kind::column)
          share[columns_[basis_[n].index].option_of[number]] += std::max(0.0, levels[n]) * count;
      for (const std::uint32_t item : one.items) {  // the option that is owed most gets the next item
        const auto first = share.begin() + one.first, last = share.begin() + one.last;
        const auto most = std::max_element(first, last);
        *most -= 1;
        choice[item] = one.first + static_cast<std::uint32_t>(most - first);
      }
    }
    return choice;
  }

 private:
  enum class Kind { slack, overspending, column };
  struct Variable {
    Kind kind = Kind::slack;
    std::size_t index = 0;
  };

  double cost(const Variable& variable) const {
    if (variable.kind == Kind::column) return columns_[variable.index].cost;
    return variable.kind == Kind::slack ? 0.0 : overspending_;
  }

  std::vector<double> entries(const Variable& variable) const {
    if (variable.kind == Kind::column) return columns_[variable.index].entries;
    std::vector<double> unit(rows_);
    unit[variable.index] = variable.kind == Kind::slack ? 1 : -1;
    return unit;
  }

  /// x with (basis) x = right, or with its transpose, by Gaussian elimination with row pivots.
  std::vector<double> solve(std::vector<double> right, bool transposed) const {
    std::vector<std::vector<double>> matrix(rows_, std::vector<double>(rows_));
    for (std::size_t n = 0; n < rows_; ++n) {
      const std::vector<double> column = entries(basis_[n]);
      for (std::size_t row = 0; row < rows_; ++row) (transposed ? matrix[n][row] : matrix[row][n]) = column[row];
    }
    for (std::size_t k = 0; k < rows_; ++k) {
      std::size_t largest = k;
      for (std::size_t row = k + 1; row < rows_; ++row)
        if (std::abs(matrix[row][k]) > std::abs(matrix[largest][k])) largest = row;
      std::swap(matrix[k], matrix[largest]);
      std::swap(right[k], right[largest]);
      if (matrix[k][k] == 0) continue;
      for (std::size_t row = k + 1; row < rows_; ++row) {
        const double factor = matrix[row][k] / matrix[k][k];
        if (factor == 0) continue;
        for (std::size_t n = k; n < rows_; ++n) matrix[row][n] -= factor * matrix[k][n];
        right[row] -= factor * right[k];
      }
    }
    for (std::size_t k = rows_; k-- > 0;) {
      for (std::size_t n = k + 1; n < rows_; ++n) right[k] -= matrix[k][n] * right[n];
      right[k] = matrix[k][k] == 0 ? 0 : right[k] / matrix[k][k];
    }
    return right;
  }

  const Reduced& problem_;
  std::size_t rows_;
  double overspending_;
  double tolerance_;
  std::vector<Column> columns_;
  std::vector<Variable> basis_;
};

/// The bound of these prices, added in the order of the items and, unless the prices are zero, lowered by more than
/// what rounding may have added.
double safe_bound(const Reduced& problem, const std::vector<double>& prices) {
  std::vector<double> best(problem.classes.size(), kInfinity);
  for (std::size_t number = 0; number < problem.classes.size(); ++number)
    for (std::uint32_t option = problem.classes[number].first; option < problem.classes[number].last; ++option) {
      double cost = problem.cost[option];
      for (std::size_t n = 0; n < prices.size(); ++n) cost += prices[n] * problem.uses_of(option)[n];
      best[number] = std::min(best[number], cost);
    }
  double sum = 0, magnitude = 0;
  for (const std::uint32_t number : problem.class_of) {
    sum += best[number];
    magnitude += std::abs(best[number]);
  }
  bool free = true;
  for (std::size_t n = 0; n < prices.size(); ++n) {
    sum -= prices[n] * problem.budgets[n];
    magnitude += prices[n] * problem.budgets[n];
    free = free && prices[n] == 0;
  }
  const double rounding = static_cast<double>(problem.items() + 8) * std::numeric_limits<double>::epsilon();
  return free ? sum : sum - magnitude * rounding;
}

}  // namespace

Dual solve_dual(const Reduced& problem, const std::function<bool()>& stop) {
  const std::size_t budgets = problem.budgets.size();
  double cheapest = 0, dearest = 0;
  for (const Reduced::Class& one : problem.classes) {  // options are sorted by cost
    cheapest += static_cast<double>(one.items.size()) * problem.cost[one.first];
    dearest += static_cast<double>(one.items.size()) * problem.cost[one.last - 1];
  }
  const double spread = dearest > cheapest ? dearest - cheapest : 1.0;
  Master master(problem, spread);
  std::vector<double> prices(budgets), best_prices(budgets);
  double best = -kInfinity;
  for (int number = 0; number < kColumns; ++number) {
    double priced_cost = 0;
    Column column = master.ask(prices, priced_cost);
    const double bound = priced_cost - std::accumulate(prices.begin(), prices.end(), 0.0);
    if (bound > best) {
      best = bound;
      best_prices = prices;
    }
    const bool first = number == 0;
    if (!first && master.value() - best <= kTolerance * spread * 10) break;
    master.add(std::move(column));
    if (first && budgets == 0) break;
    if (stop && stop()) break;
    prices = master.optimise();
  }
  Dual dual;
  for (std::size_t n = 0; n < budgets; ++n) dual.prices.push_back(best_prices[n] / problem.budgets[n]);
  dual.bound = safe_bound(problem, dual.prices);
  const std::vector<double> none(budgets);
  if (const double free = safe_bound(problem, none); free >= dual.bound) {  // no budget binds, but for rounding
    dual.prices = none;
    dual.bound = free;
  }
  dual.rounded = master.rounded();
  if (dual.bound > dearest + 1e-6 * spread) dual.bound = kInfinity;
  return dual;
}

}  // namespace danaus::optimise
