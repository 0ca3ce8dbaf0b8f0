#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "danaus/optimise/optimise.h"

namespace danaus::optimise {

/// A problem without what cannot matter: budgets that no choice exceeds, options that no solution can take or that
/// another is never worse than. Items with the same options are one class.
struct Reduced {
  struct Class {
    std::uint32_t first = 0;  ///< its options are [first, last) of the arrays below, cheapest first
    std::uint32_t last = 0;
    std::vector<std::uint32_t> items;  ///< ascending
  };

  std::vector<Class> classes;           ///< in the order of their first items
  std::vector<std::uint32_t> class_of;  ///< [items]
  std::vector<double> budgets;          ///< kept ones, finite and > 0
  std::vector<double> cost;             ///< [options]
  std::vector<double> uses;             ///< [options][budgets]
  std::vector<std::uint32_t> original;  ///< [options]: index in the item
  bool infeasible = false;              ///< some item has no option left; the rest is then unset

  std::size_t items() const { return class_of.size(); }
  std::span<const double> uses_of(std::uint32_t option) const {
    return {uses.data() + std::size_t{option} * budgets.size(), budgets.size()};
  }
};

Reduced reduce(const Problem& problem);

/// An option of `Reduced` per item.
using Choice = std::vector<std::uint32_t>;

/// Sums in the order of the items.
double cost_of(const Reduced& problem, const Choice& choice);
std::vector<double> uses_of(const Reduced& problem, const Choice& choice);
bool keeps_budgets(const Reduced& problem, const std::vector<double>& uses);

}  // namespace danaus::optimise
