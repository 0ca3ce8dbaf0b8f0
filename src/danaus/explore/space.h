#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/explore/study.h"

namespace danaus::explore {

/// The values of all axes of a study, point by point. Point n depends on the study alone.
class Space {
 public:
  /// At most so many points: more would take longer to list than one cares to wait.
  static constexpr std::uint64_t kMostPoints = 1'000'000;

  /// grid: the full product, the last axis fastest, or its first `budget` points. random: `budget` different points of
  /// the product, or all. latin-hypercube: `budget` points, such that every axis, cut into as many equal parts, has one
  /// point in each part. Error explore.too-many-points, explore.missing-key (a sample needs a budget).
  static Result<Space> create(const Study& study);

  /// The number of points alone.
  static Result<std::uint64_t> size_of(const Study& study);

  std::uint64_t size() const { return size_; }
  /// Points of the full product; nothing if it is infinite or above 2^63.
  std::optional<std::uint64_t> product() const { return product_; }
  /// One value per axis.
  std::vector<Value> values(std::uint64_t point) const;

 private:
  std::vector<Axis> axes_;
  Sampling sampling_ = Sampling::grid;
  std::uint64_t seed_ = 1, size_ = 0;
  std::optional<std::uint64_t> product_;
  std::vector<std::uint64_t> drawn_;                      ///< random: positions in the product
  std::vector<std::vector<std::uint64_t>> permutations_;  ///< latin-hypercube: stratum of each point, per axis
};

}  // namespace danaus::explore
