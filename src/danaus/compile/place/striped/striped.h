#pragma once

#include "danaus/compile/compile.h"

namespace danaus::compile {

inline constexpr std::string_view striped_help =
    "each stage cut into column slivers over all arrays, so that all converters work on it (decode)";
inline constexpr bool striped_dense_operator = false;
inline constexpr bool striped_uses_converters = true;

Result<Placement> place_striped(const Graph& graph, const PlaceOptions& options);

}  // namespace danaus::compile
