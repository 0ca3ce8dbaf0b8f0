// The table of index sets as masks: bit i stands for diagonal i.
#include "danaus/compile/place/dense-diagonal/index_sets.h"

#include <array>

#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

// By count - 1. For D = 2 and 4 the first indices are best.
constexpr std::array<std::uint32_t, 8> kBestOf8 = {0x01, 0x03, 0x13, 0x17, 0x1f, 0x3f, 0x7f, 0xff};
constexpr std::array<std::uint32_t, 16> kBestOf16 = {0x0001, 0x0003, 0x0103, 0x0113, 0x0117, 0x011f, 0x111f, 0x131f,
                                                     0xe88f, 0xe8af, 0x177f, 0x17ff, 0x1fff, 0x3fff, 0x7fff, 0xffff};

}  // namespace

std::vector<std::uint32_t> index_set(std::uint32_t slots, std::uint32_t count) {
  ensure(count >= 1 && count <= slots, "an array holds as many diagonals as slots");
  const std::uint32_t* const best = slots == 8 ? kBestOf8.data() : slots == 16 ? kBestOf16.data() : nullptr;
  std::vector<std::uint32_t> indices;
  for (std::uint32_t i = 0; indices.size() < count; ++i) {
    if (best == nullptr || (best[count - 1] >> i & 1) != 0) indices.push_back(i);
  }
  return indices;
}

}  // namespace danaus::compile
