#include "danaus/compile/arena.h"

#include <iterator>

namespace danaus::compile {

std::uint32_t Arena::allocate(std::uint32_t size) {
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    const auto [offset, length] = *hole;
    const bool grows = length < size && offset + length == peak_;  // the last hole may grow beyond the peak
    if (length < size && !grows) continue;
    free_.erase(hole);
    if (grows)
      peak_ = offset + size;
    else if (length > size)
      free_.emplace(offset + size, length - size);
    return offset;
  }
  const std::uint32_t offset = peak_;
  peak_ += size;
  return offset;
}

void Arena::release(std::uint32_t offset, std::uint32_t size) {
  auto hole = free_.emplace(offset, size).first;
  if (const auto next = std::next(hole); next != free_.end() && hole->first + hole->second == next->first) {
    hole->second += next->second;
    free_.erase(next);
  }
  if (hole != free_.begin()) {
    const auto before = std::prev(hole);
    if (before->first + before->second == hole->first) {
      before->second += hole->second;
      free_.erase(hole);
    }
  }
}

}  // namespace danaus::compile
