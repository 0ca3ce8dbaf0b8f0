#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace danaus::machine {

/// "No item" wherever an item is named by its number.
inline constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

/// Items named by 32-bit numbers, allocated in chunks (never moved, no doubling) and recycled.
template <typename Item>
class Pool {
 public:
  std::uint32_t take() {
    if (!free_.empty()) {
      const std::uint32_t number = free_.back();
      free_.pop_back();
      return number;
    }
    if (used_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<Item[]>(kChunk));
    return used_++;
  }
  void give_back(std::uint32_t number) { free_.push_back(number); }

  Item& operator[](std::uint32_t number) { return chunks_[number / kChunk][number % kChunk]; }
  std::size_t in_use() const { return used_ - free_.size(); }

 private:
  static constexpr std::uint32_t kChunk = 8192;
  std::vector<std::unique_ptr<Item[]>> chunks_;
  std::vector<std::uint32_t> free_;
  std::uint32_t used_ = 0;
};

}  // namespace danaus::machine
