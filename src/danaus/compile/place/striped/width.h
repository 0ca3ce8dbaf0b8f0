#pragma once

#include <cstdint>
#include <span>

#include "danaus/compile/compile.h"

/// How wide the slivers of a striped stage are: for the placement and for closed forms of what it costs.
namespace danaus::compile {

/// Blocks of one size in a stage; those with the same input are one wide block.
struct JoinedBlocks {
  std::uint32_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t count = 0;
};

std::uint64_t sliver_count(std::span<const JoinedBlocks> blocks, std::uint64_t width);

/// Narrow slivers drive rows once for every few columns: that is for one token that waits, not for many that follow
/// each other, nor for energy. In columns.
std::uint32_t least_sliver_width(const PlaceOptions& options);

/// In columns, for a stage that may be spread over `arrays`; PlaceOptions::sliver is not asked.
std::uint32_t sliver_width(std::span<const JoinedBlocks> blocks, std::uint64_t arrays, const PlaceOptions& options);

}  // namespace danaus::compile
