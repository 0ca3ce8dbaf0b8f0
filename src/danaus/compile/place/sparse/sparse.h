#pragma once

#include "danaus/compile/compile.h"

namespace danaus::compile {

inline constexpr std::string_view sparse_help =
    "blocks along the array's diagonal, the whole array in one activation (SparseMap)";
inline constexpr bool sparse_dense_operator = false;
inline constexpr bool sparse_uses_converters = false;

Result<Placement> place_sparse(const Graph& graph, const PlaceOptions& options);

}  // namespace danaus::compile
