#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace danaus::machine {

/// The resistive network of one array: rows x cols cells between row wires and column wires. A row wire is driven at
/// column 0 through `terminal_ohm` and one segment of `wire_ohm`, then one segment from each cell to the next; a column
/// wire is sensed by a virtual ground below the last row, through one segment and `terminal_ohm`, likewise. Cells are
/// linear conductors, so currents are a matrix times the row voltages, however many rows are driven.
struct WireGrid {
  std::uint32_t rows = 0, cols = 0;
  std::span<const double> siemens;  ///< rows x cols, row-major, each >= 0
  double wire_ohm = 0, terminal_ohm = 0;
};

/// Current into the virtual ground of each column per volt on each row, rows x cols, siemens: what replaces the cells'
/// conductances. Rows with driven[i] == 0 (if `driven` is not empty) float: their terminal is open, their line of the
/// result is zero. Exact nodal solution by one sparse factorisation, 2 * rows * cols unknowns. Both resistances zero
/// gives the conductances themselves (of driven rows).
std::vector<double> transfer_matrix(const WireGrid& grid, std::span<const std::uint8_t> driven = {});

/// The cubic closed form of aihwkit's IR drop (src/rpucuda, "ir_drop"): with a = a_scale * sum_j |w_j| |x_j|,
///   y = sum_j w_j x_j - scale * (0.5 a - 0.2 a^2 + 0.05 a^3) * sum_j w_j x_j (1 - (1 - j / n)^2)
/// for one column of n rows, j = 0 ... n - 1, |w|, |x| <= 1. Three sums, so three matrix products.
struct ClosedForm {
  double scale = 1;
  double a_scale = 0;  ///< n * g_max * wire resistance
  /// `n` rows of cells of at most `g_max_us`, `wire_ohm` per segment.
  static ClosedForm of(std::uint32_t n, double g_max_us, double wire_ohm);
  /// Weight of row j in the third sum: 1 - (1 - j / n)^2.
  static double row_weight(std::uint32_t j, std::uint32_t n);
  /// `sum`: sum w x; `absolute`: sum |w| |x|; `weighted`: sum w x row_weight.
  double apply(double sum, double absolute, double weighted) const;
};

}  // namespace danaus::machine
