#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "danaus/optimise/optimise.h"

/// splitmix64, number by number, as in tests/oracle/make_optimise_figures.py.
inline std::uint64_t mixed(std::initializer_list<std::uint64_t> numbers) {
  std::uint64_t state = 0;
  for (const std::uint64_t number : numbers) {
    state += number + 0x9E3779B97F4A7C15U;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9U;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBU;
    state ^= state >> 31;
  }
  return state;
}

/// `instance` of tests/oracle/make_optimise_figures.py: integers throughout.
inline danaus::optimise::Problem instance(int kind, std::uint64_t items, std::uint64_t options, std::size_t budgets,
                                          std::uint64_t tightness, std::uint64_t seed) {
  danaus::optimise::Problem problem;
  for (std::uint64_t i = 0; i < items; ++i) {
    const std::uint64_t key = kind == 1 ? i % 6 : i, size = i % 6 >= 4 ? 4 : 1;
    danaus::optimise::Item& item = problem.items.emplace_back();
    for (std::uint64_t o = 0; o < options; ++o) {
      const std::uint64_t rise = 900 * o / (options - 1), fall = 900 * (options - 1 - o) / (options - 1);
      danaus::optimise::Option& option = item.options.emplace_back();
      option.cost = static_cast<double>(size * (100 + rise + mixed({seed, key, o, 0}) % 150));
      for (std::uint64_t b = 0; b < budgets; ++b)
        option.uses.push_back(static_cast<double>(size * (100 + fall + mixed({seed, key, o, 1 + b}) % 300)));
      if (kind == 2)
        option.uses.back() = static_cast<double>(size * (100 + rise + mixed({seed, key, o, budgets}) % 600));
    }
  }
  for (std::size_t b = 0; b < budgets; ++b) {
    std::uint64_t least = 0, most = 0;
    for (const danaus::optimise::Item& item : problem.items) {
      const auto [low, high] = std::minmax_element(
          item.options.begin(), item.options.end(),
          [&](const danaus::optimise::Option& x, const danaus::optimise::Option& y) { return x.uses[b] < y.uses[b]; });
      least += static_cast<std::uint64_t>(low->uses[b]);
      most += static_cast<std::uint64_t>(high->uses[b]);
    }
    problem.budgets.push_back(static_cast<double>(least + (most - least) * tightness / 100));
  }
  return problem;
}

/// Whether `solution` is what it says: one option per item, sums right, budgets kept, bound not above the cost.
inline bool consistent(const danaus::optimise::Problem& problem, const danaus::optimise::Solution& solution) {
  if (!solution.feasible) return solution.chosen.empty();
  if (solution.chosen.size() != problem.items.size()) return false;
  double cost = 0;
  std::vector<double> uses(problem.budgets.size());
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    if (solution.chosen[i] >= problem.items[i].options.size()) return false;
    const danaus::optimise::Option& option = problem.items[i].options[solution.chosen[i]];
    cost += option.cost;
    for (std::size_t b = 0; b < uses.size(); ++b) uses[b] += option.uses[b];
  }
  for (std::size_t b = 0; b < uses.size(); ++b)
    if (uses[b] > problem.budgets[b]) return false;
  return cost == solution.cost && solution.bound <= solution.cost;
}
