#pragma once

#include <cstdint>
#include <string>

#include "danaus/core/error.h"

namespace danaus::explore {

/// Every N-th point from the first on: shard i of N.
struct Shard {
  std::uint32_t number = 1, count = 1;  ///< 1 <= number <= count
  bool holds(std::uint64_t point) const { return point % count == number - 1; }
};
/// "2/4". Error explore.shard.
Result<Shard> parse_shard(const std::string& text);

}  // namespace danaus::explore
