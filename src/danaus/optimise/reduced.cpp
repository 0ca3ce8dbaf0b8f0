// Budgets that even the largest uses keep are dropped; then options that exceed a budget even if every other item uses
// its least; then dominated options: sorted by (cost, uses), an option can only be dominated by an earlier one.

#include "danaus/optimise/reduced.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "danaus/core/internal_error.h"

namespace danaus::optimise {
namespace {

constexpr double kRounding = 1e-9;  ///< of a budget: how far sums in another order may be off, generously

void check(const Problem& problem) {
  for (const double budget : problem.budgets) ensure(!std::isnan(budget), "a budget is a number");
  for (const Item& item : problem.items)
    for (const Option& option : item.options) {
      ensure(std::isfinite(option.cost), "the cost of an option is finite");
      ensure(option.uses.size() == problem.budgets.size(), "an option says what it uses of every budget");
      for (const double use : option.uses) ensure(std::isfinite(use) && use >= 0, "uses are finite and not negative");
    }
}

using Lists = std::vector<std::vector<std::uint32_t>>;  ///< options of each item

/// The budgets that some choice of these options may exceed.
std::vector<std::size_t> binding_budgets(const Problem& problem, const Lists& options) {
  std::vector<std::size_t> binding;
  for (std::size_t budget = 0; budget < problem.budgets.size(); ++budget) {
    double most = 0;  // a float sum of larger terms is never smaller: this bounds the sum of every choice
    for (std::size_t i = 0; i < options.size(); ++i) {
      double largest = 0;
      for (const std::uint32_t option : options[i])
        largest = std::max(largest, problem.items[i].options[option].uses[budget]);
      most += largest;
    }
    if (most > problem.budgets[budget]) binding.push_back(budget);
  }
  return binding;
}

/// Without the options that exceed a budget even if every other item uses its least of it.
Lists options_that_fit(const Problem& problem) {
  Lists options(problem.items.size());
  for (std::size_t i = 0; i < options.size(); ++i) {
    options[i].resize(problem.items[i].options.size());
    std::iota(options[i].begin(), options[i].end(), 0U);
  }
  for (const std::size_t budget : binding_budgets(problem, options)) {
    const auto use = [&](std::size_t i, std::uint32_t option) { return problem.items[i].options[option].uses[budget]; };
    std::vector<double> least;
    for (std::size_t i = 0; i < options.size(); ++i) {
      double smallest = std::numeric_limits<double>::infinity();
      for (const std::uint32_t option : options[i]) smallest = std::min(smallest, use(i, option));
      least.push_back(smallest);
    }
    const double floor = std::accumulate(least.begin(), least.end(), 0.0), limit = problem.budgets[budget];
    for (std::size_t i = 0; i < options.size(); ++i) {
      const double room = limit - (floor - least[i]) + kRounding * std::abs(limit);
      std::erase_if(options[i], [&](std::uint32_t option) { return use(i, option) > room; });
    }
    if (std::any_of(options.begin(), options.end(), [](const auto& list) { return list.empty(); })) break;
  }
  return options;
}

/// The options that no other dominates, cheapest first.
std::vector<std::uint32_t> undominated(const Item& item, std::vector<std::uint32_t> options,
                                       const std::vector<std::size_t>& binding) {
  const auto use = [&](std::uint32_t option, std::size_t budget) { return item.options[option].uses[budget]; };
  std::stable_sort(options.begin(), options.end(), [&](std::uint32_t a, std::uint32_t b) {
    if (item.options[a].cost != item.options[b].cost) return item.options[a].cost < item.options[b].cost;
    for (const std::size_t budget : binding)
      if (use(a, budget) != use(b, budget)) return use(a, budget) < use(b, budget);
    return false;
  });
  std::vector<std::uint32_t> kept;
  for (const std::uint32_t option : options) {
    const bool dominated = std::any_of(kept.begin(), kept.end(), [&](std::uint32_t other) {
      return std::all_of(binding.begin(), binding.end(),
                         [&](std::size_t budget) { return use(other, budget) <= use(option, budget); });
    });
    if (!dominated) kept.push_back(option);
  }
  return kept;
}

}  // namespace

Reduced reduce(const Problem& problem) {
  check(problem);
  Reduced reduced;
  const Lists fitting = options_that_fit(problem);
  reduced.infeasible =
      std::any_of(problem.budgets.begin(), problem.budgets.end(), [](double budget) { return budget < 0; }) ||
      std::any_of(fitting.begin(), fitting.end(), [](const auto& list) { return list.empty(); });
  if (reduced.infeasible) return reduced;
  const std::vector<std::size_t> binding = binding_budgets(problem, fitting);
  for (const std::size_t budget : binding) reduced.budgets.push_back(problem.budgets[budget]);

  std::map<std::vector<double>, std::uint32_t> class_of_content;
  for (std::uint32_t i = 0; i < problem.items.size(); ++i) {
    const Item& item = problem.items[i];
    const std::vector<std::uint32_t> kept = undominated(item, fitting[i], binding);
    std::vector<double> content;
    for (const std::uint32_t option : kept) {
      content.push_back(option);
      content.push_back(item.options[option].cost);
      for (const std::size_t budget : binding) content.push_back(item.options[option].uses[budget]);
    }
    const std::uint32_t number =
        class_of_content.emplace(std::move(content), static_cast<std::uint32_t>(reduced.classes.size())).first->second;
    if (number == reduced.classes.size()) {
      Reduced::Class& made = reduced.classes.emplace_back();
      made.first = static_cast<std::uint32_t>(reduced.cost.size());
      for (const std::uint32_t option : kept) {
        reduced.cost.push_back(item.options[option].cost);
        for (const std::size_t budget : binding) reduced.uses.push_back(item.options[option].uses[budget]);
        reduced.original.push_back(option);
      }
      made.last = static_cast<std::uint32_t>(reduced.cost.size());
    }
    reduced.classes[number].items.push_back(i);
    reduced.class_of.push_back(number);
  }
  return reduced;
}

double cost_of(const Reduced& problem, const Choice& choice) {
  double cost = 0;
  for (const std::uint32_t option : choice) cost += problem.cost[option];
  return cost;
}

std::vector<double> uses_of(const Reduced& problem, const Choice& choice) {
  std::vector<double> uses(problem.budgets.size());
  for (const std::uint32_t option : choice)
    for (std::size_t n = 0; n < uses.size(); ++n) uses[n] += problem.uses_of(option)[n];
  return uses;
}

bool keeps_budgets(const Reduced& problem, const std::vector<double>& uses) {
  for (std::size_t n = 0; n < uses.size(); ++n)
    if (uses[n] > problem.budgets[n]) return false;
  return true;
}

}  // namespace danaus::optimise
