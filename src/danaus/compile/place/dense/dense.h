#pragma once

#include "danaus/compile/compile.h"

namespace danaus::compile {

inline constexpr std::string_view dense_help =
    "as few arrays as possible: blocks of all operators packed into shelves (DenseMap)";
inline constexpr bool dense_dense_operator = false;
inline constexpr bool dense_uses_converters = false;

Result<Placement> place_dense(const Graph& graph, const PlaceOptions& options);

}  // namespace danaus::compile
