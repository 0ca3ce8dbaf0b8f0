// The front by comparison with all others: points come in one by one, and the front stays small.

#include "danaus/explore/pareto.h"

#include <algorithm>

namespace danaus::explore {
namespace {

bool has_all(const std::vector<Objective>& objectives, const Row& row) {
  return row.feasible && std::all_of(objectives.begin(), objectives.end(), [&](const Objective& objective) {
           return row.outcome.values[objective.metric].has_value();
         });
}

}  // namespace

bool dominates(const std::vector<Objective>& objectives, const MetricValues& a, const MetricValues& b) {
  bool better = false;
  for (const Objective& objective : objectives) {
    const double first = *a[objective.metric], second = *b[objective.metric];
    if (first == second) continue;
    if ((first < second) != (objective.direction == Direction::least)) return false;
    better = true;
  }
  return better;
}

bool Front::add(const Row& row) {
  if (!has_all(objectives_, row)) return false;
  for (const Row& other : rows_)
    if (dominates(objectives_, other.outcome.values, row.outcome.values)) return false;
  std::erase_if(rows_,
                [&](const Row& other) { return dominates(objectives_, row.outcome.values, other.outcome.values); });
  rows_.push_back(row);
  return true;
}

std::vector<std::size_t> pareto_front(const std::vector<Objective>& objectives, std::span<const Row> rows) {
  std::vector<std::size_t> front;
  for (std::size_t n = 0; n < rows.size(); ++n) {
    if (!has_all(objectives, rows[n])) continue;
    const MetricValues& values = rows[n].outcome.values;
    const auto beaten = [&](std::size_t other) { return dominates(objectives, rows[other].outcome.values, values); };
    if (std::any_of(front.begin(), front.end(), beaten)) continue;
    std::erase_if(front, [&](std::size_t other) { return dominates(objectives, values, rows[other].outcome.values); });
    front.push_back(n);
  }
  return front;
}

}  // namespace danaus::explore
