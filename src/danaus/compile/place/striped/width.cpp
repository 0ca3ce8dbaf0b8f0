// A stage of C columns on N arrays with A converters needs r = ceil(C / (N A)) rounds. Its slivers are r A columns
// wide, rounded up to a power of two (odd widths leave gaps), and wider while there are more slivers than arrays.

#include "danaus/compile/place/striped/width.h"

#include <algorithm>
#include <bit>

namespace danaus::compile {

std::uint64_t sliver_count(std::span<const JoinedBlocks> blocks, std::uint64_t width) {
  std::uint64_t count = 0;
  for (const JoinedBlocks& joined : blocks) count += joined.count * ((joined.columns + width - 1) / width);
  return count;
}

std::uint32_t least_sliver_width(const PlaceOptions& options) {
  constexpr std::uint32_t kSome = 32;
  switch (options.objective) {
    case Objective::latency:
      break;
    case Objective::energy:
      return options.idle_columns_draw ? kSome : options.cols;
    case Objective::area:
    case Objective::arrays:
      return 1;
  }
  switch (options.mode) {
    case Mode::decode:
      return 1;
    case Mode::prefill:
      return options.cols;
    case Mode::encode:
      return kSome;
  }
  return 1;
}

std::uint32_t sliver_width(std::span<const JoinedBlocks> blocks, std::uint64_t arrays, const PlaceOptions& options) {
  const std::uint32_t least = least_sliver_width(options);
  if (least >= options.cols) return options.cols;
  std::uint64_t columns = 0, widest = 1;
  for (const JoinedBlocks& joined : blocks) {
    columns += joined.count * joined.columns;
    widest = std::max(widest, joined.columns);
  }
  const std::uint64_t converters = arrays * options.adcs;
  const std::uint64_t rounds = (columns + converters - 1) / converters;
  // A sliver that is a whole block of 96 columns would leave gaps: 64 and 32 do not.
  std::uint64_t width = std::max<std::uint64_t>(
      std::min(std::bit_ceil(rounds * options.adcs), std::bit_floor(std::min<std::uint64_t>(widest, options.cols))),
      least);
  while (width < options.cols && sliver_count(blocks, width) > arrays) width *= 2;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(width, options.cols));
}

}  // namespace danaus::compile
