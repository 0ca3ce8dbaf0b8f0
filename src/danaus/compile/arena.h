#pragma once

#include <cstdint>
#include <map>

namespace danaus::compile {

/// Gives out offsets of one address range that all tiles have in common: first fit, freed neighbours are joined.
class Arena {
 public:
  std::uint32_t allocate(std::uint32_t size);
  void release(std::uint32_t offset, std::uint32_t size);
  /// Highest offset ever in use + 1: what the range needs.
  std::uint32_t peak() const { return peak_; }

 private:
  std::map<std::uint32_t, std::uint32_t> free_;  ///< offset -> size, below peak_
  std::uint32_t peak_ = 0;
};

}  // namespace danaus::compile
