#pragma once

#include <cstdint>
#include <vector>

/// Which diagonals share an array that is not full, so that reading one of them takes the fewest steps.
namespace danaus::compile {

/// An array is a grid of D x D slots, D a power of two. Diagonal i has slot (n, n xor i) for every n < D: like rotated
/// diagonals (n, n + i mod D) the D of them fill the grid without a gap, and full grids take D steps either way. Two
/// slots of diagonal i, with n1 xor n2 = d, exclude each other if diagonal i xor d lies in the grid, too: one diagonal
/// for every d, where rotated ones have two, i + d and i - d. So grids that are not full take fewer steps: 7 of 8
/// diagonals 4 steps each instead of 7.4, 3 of 4 diagonals 2 instead of 3.3.
///
/// The set of `count` indices with the fewest steps for all its diagonals together, each read alone, ascending; the
/// steps are those that windows allow. Found by trying all sets for D <= 16 (a unit test does so again); for larger D,
/// that is blocks of less than a sixteenth of an array, the first `count` indices. 1 <= count <= slots.
std::vector<std::uint32_t> index_set(std::uint32_t slots, std::uint32_t count);

}  // namespace danaus::compile
