#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace danaus::machine {

/// Numbers 64-bit keys in the order of their first use: 0, 1, 2, ... Open addressing; 4 bytes per slot plus 8 per key,
/// so that sparse key spaces (pages of a million buffers) cost what is used of them.
class IndexMap {
 public:
  /// The number of the key; a new key gets the next number.
  std::uint32_t index_of(std::uint64_t key) {
    if (2 * (keys_.size() + 1) > slots_.size()) grow();
    std::size_t slot = first_slot(key);
    while (slots_[slot] != kEmpty) {
      if (keys_[slots_[slot]] == key) return slots_[slot];
      slot = (slot + 1) & (slots_.size() - 1);
    }
    slots_[slot] = static_cast<std::uint32_t>(keys_.size());
    keys_.push_back(key);
    return slots_[slot];
  }

  std::uint32_t size() const { return static_cast<std::uint32_t>(keys_.size()); }
  std::uint64_t key(std::uint32_t index) const { return keys_[index]; }

 private:
  static constexpr std::uint64_t kGroup = 16;
  static constexpr std::uint32_t kEmpty = std::numeric_limits<std::uint32_t>::max();

  // Fibonacci hashing of groups of 16 neighbouring keys, which then share a cache line.
  std::size_t first_slot(std::uint64_t key) const {
    const std::uint64_t group = (key / kGroup) * 0x9e3779b97f4a7c15u;  // the high bits are well mixed
    const int group_bits = std::countr_zero(slots_.size() / kGroup);
    return static_cast<std::size_t>(group >> (64 - group_bits)) * kGroup + key % kGroup;
  }

  void grow() {
    slots_.assign(slots_.empty() ? 64 : 2 * slots_.size(), kEmpty);
    for (std::uint32_t index = 0; index < size(); ++index) {
      std::size_t slot = first_slot(keys_[index]);
      while (slots_[slot] != kEmpty) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = index;
    }
  }

  std::vector<std::uint64_t> keys_;
  std::vector<std::uint32_t> slots_;
};

}  // namespace danaus::machine
