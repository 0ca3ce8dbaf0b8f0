#pragma once

#include "danaus/compile/compile.h"

namespace danaus::compile {

inline constexpr std::string_view dense_diagonal_help =
    "whole diagonals of blocks per array, stepped through block by block (DenseMap as published)";
inline constexpr bool dense_diagonal_dense_operator = false;
inline constexpr bool dense_diagonal_uses_converters = false;

Result<Placement> place_dense_diagonal(const Graph& graph, const PlaceOptions& options);

}  // namespace danaus::compile
