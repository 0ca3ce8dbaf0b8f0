#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/machine/pool.h"

namespace danaus::machine {

/// A command in flight. Instances are numbered in sequential order ("ordinal"); only a window of them exists at a time.
struct Instance {
  std::uint32_t start_after = 0;     ///< earlier instances that must complete before it may start
  std::uint32_t end_after = 0;       ///< earlier instances that must complete before it may, plus 1 for its own work
  std::uint32_t successors = kNone;  ///< list of edges, newest first; kCompleted afterwards
  std::uint32_t live = kNone;        ///< its entry in the pool of ready and running instances
};

/// The window of instances: ordinals [oldest, next).
class InstanceTable {
 public:
  static constexpr std::uint32_t kCompleted = kNone - 1;

  /// `most` instances at a time, out of `total`.
  InstanceTable(std::size_t most, std::uint64_t total)
      : ring_(total <= most ? static_cast<std::size_t>(total) : std::bit_ceil(most)),
        mask_(total <= most ? kNone : static_cast<std::uint32_t>(ring_.size() - 1)) {}

  Instance& operator[](std::uint32_t ordinal) { return ring_[ordinal & mask_]; }
  std::uint32_t append() {
    (*this)[next_] = Instance{};
    return next_++;
  }
  void retire_before(std::uint32_t ordinal) { oldest_ = ordinal; }
  std::uint32_t next() const { return next_; }
  bool is_completed(std::uint32_t ordinal) const {
    return ordinal < oldest_ || ring_[ordinal & mask_].successors == kCompleted;
  }

 private:
  std::vector<Instance> ring_;
  std::uint32_t mask_;
  std::uint32_t oldest_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace danaus::machine
