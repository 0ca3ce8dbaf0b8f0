#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace danaus::factor {

/// What is left of a group of outputs.
struct Elimination {
  std::vector<std::uint32_t> kept;  ///< inputs, ascending
  std::vector<float> weights;       ///< {rows, kept}: the least-squares fit of W to these inputs
  double squared_error = 0;         ///< tr((W - M) C (W - M)^T)
};

/// Optimal brain surgeon for one group of outputs: starts with all inputs and removes, until `keep` are left, those
/// whose loss costs the least, sum over rows of W[i,j]^2 / H[j,j], H the inverse of C over the remaining inputs; W is
/// updated so that it stays the exact least-squares fit. `weights` {rows, in} and `inverse` {in, in} (of C) in the same
/// units. `step` candidates at a time: within them the order is exact, of the others it is that of the step's
/// beginning.
Elimination eliminate(std::span<const float> weights, std::size_t rows, std::span<const float> inverse, std::size_t in,
                      std::size_t keep, std::size_t step);

}  // namespace danaus::factor
