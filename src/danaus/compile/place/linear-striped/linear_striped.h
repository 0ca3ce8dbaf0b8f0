#pragma once

#include "danaus/compile/place/striped/striped.h"

namespace danaus::compile {

inline constexpr std::string_view linear_striped_help = "the dense operator, striped: the fair baseline of striped";
inline constexpr bool linear_striped_dense_operator = true;
inline constexpr bool linear_striped_uses_converters = true;

/// The algorithm does not ask what it places.
inline Result<Placement> place_linear_striped(const Graph& graph, const PlaceOptions& options) {
  return place_striped(graph, options);
}

}  // namespace danaus::compile
