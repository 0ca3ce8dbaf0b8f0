#pragma once

#include "danaus/compile/compile.h"

namespace danaus::compile {

inline constexpr std::string_view linear_help = "the dense operator in full array tiles, partial sums added digitally";
inline constexpr bool linear_dense_operator = true;
inline constexpr bool linear_uses_converters = false;

Result<Placement> place_linear(const Graph& graph, const PlaceOptions& options);

}  // namespace danaus::compile
