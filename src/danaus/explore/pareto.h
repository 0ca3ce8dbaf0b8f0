#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "danaus/explore/database.h"
#include "danaus/explore/study.h"

namespace danaus::explore {

/// Whether a is at least as good as b in every objective and better in one.
bool dominates(const std::vector<Objective>& objectives, const MetricValues& a, const MetricValues& b);

/// Positions of the feasible rows that no feasible row dominates, in the order of the rows. Rows with equal figures are
/// all on the front. A row that lacks an objective's figure is not.
std::vector<std::size_t> pareto_front(const std::vector<Objective>& objectives, std::span<const Row> rows);

/// The front as points come in.
class Front {
 public:
  explicit Front(std::vector<Objective> objectives) : objectives_(std::move(objectives)) {}
  /// Whether the row is on the front now.
  bool add(const Row& row);
  std::size_t size() const { return rows_.size(); }
  const std::vector<Row>& rows() const { return rows_; }

 private:
  std::vector<Objective> objectives_;
  std::vector<Row> rows_;
};

}  // namespace danaus::explore
