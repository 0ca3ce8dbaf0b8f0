// The nodal equations of an array with resistive wires, solved once for all inputs, and the cubic closed form.
//
// Unknowns are the voltages where a cell meets its row wire and its column wire. The network is linear and reciprocal:
// with the node admittances A, the current of column j per volt on row i is g_in g_out (A^-1)[end of column j][start of
// row i], g_in and g_out the conductances of the two terminals. A is symmetric and positive definite, so one sparse
// LDL^T factorisation serves all rows; right-hand sides are taken on the shorter side, some at a time, since reading
// the factor is what takes the time.

#include "danaus/machine/analog/ir_drop.h"

#define EIGEN_MPL2_ONLY
#include <Eigen/SparseCholesky>
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>

#include "danaus/core/internal_error.h"

namespace danaus::machine {
namespace {

/// Numbers of the nodes: without resistance, a wire is a single node.
struct Nodes {
  int rows, cols;
  bool wires;  ///< a node per cell
  int row(int i, int j) const { return wires ? i * cols + j : i; }
  int column(int i, int j) const { return row_count() + (wires ? i * cols + j : j); }
  int row_count() const { return wires ? rows * cols : rows; }
  int count() const { return row_count() + (wires ? rows * cols : cols); }
};

using Factors = Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>, Eigen::Lower>;

/// Right-hand sides that are solved at once: a cache line of each unknown.
constexpr int kTogether = 8;

/// Solves L D L^T x = b in place, in the order of the factorisation; values[unknown * kTogether + side].
void solve(const Factors& factors, const Eigen::VectorXd& diagonal, std::vector<double>& values) {
  const Eigen::SparseMatrix<double>& lower = factors.matrixL().nestedExpression();  // its diagonal of ones left out
  const int* const begin = lower.outerIndexPtr();
  const int* const index = lower.innerIndexPtr();
  const double* const entry = lower.valuePtr();
  const auto at = [&](int unknown) { return values.data() + static_cast<std::ptrdiff_t>(unknown) * kTogether; };
  const int count = static_cast<int>(lower.outerSize());
  for (int k = 0; k < count; ++k) {
    const double* const known = at(k);
    if (std::all_of(known, known + kTogether, [](double value) { return value == 0; })) continue;
    for (int n = begin[k]; n < begin[k + 1]; ++n) {
      double* const unknown = at(index[n]);
      for (int side = 0; side < kTogether; ++side) unknown[side] -= entry[n] * known[side];
    }
  }
  for (int k = count; k-- > 0;) {
    double sum[kTogether];
    double* const unknown = at(k);
    for (int side = 0; side < kTogether; ++side) sum[side] = unknown[side] / diagonal[k];
    for (int n = begin[k]; n < begin[k + 1]; ++n) {
      const double* const known = at(index[n]);
      for (int side = 0; side < kTogether; ++side) sum[side] -= entry[n] * known[side];
    }
    std::copy(sum, sum + kTogether, unknown);
  }
}

}  // namespace

std::vector<double> transfer_matrix(const WireGrid& grid, std::span<const std::uint8_t> driven) {
  const std::size_t cells = std::size_t{grid.rows} * grid.cols;
  ensure(grid.rows > 0 && grid.cols > 0 && grid.rows <= 4096 && grid.cols <= 4096 && grid.siemens.size() == cells,
         "transfer_matrix: not a matrix of an array");
  ensure(driven.empty() || driven.size() == grid.rows, "transfer_matrix: one flag per row is needed");
  ensure(std::all_of(grid.siemens.begin(), grid.siemens.end(), [](double g) { return std::isfinite(g) && g >= 0; }),
         "transfer_matrix: a conductance is negative or not finite");
  const auto is_driven = [&](int i) { return driven.empty() || driven[static_cast<std::size_t>(i)] != 0; };
  const Nodes nodes{static_cast<int>(grid.rows), static_cast<int>(grid.cols), grid.wire_ohm > 0};
  const auto cell = [&](int i, int j) {
    return grid.siemens[static_cast<std::size_t>(i) * grid.cols + static_cast<std::size_t>(j)];
  };

  std::vector<double> transfer(cells, 0.0);
  if (grid.wire_ohm + grid.terminal_ohm <= 0) {
    for (int i = 0; i < nodes.rows; ++i) {
      for (int j = 0; j < nodes.cols && is_driven(i); ++j)
        transfer[static_cast<std::size_t>(i) * grid.cols + static_cast<std::size_t>(j)] = cell(i, j);
    }
    return transfer;
  }

  const double terminal = 1 / (grid.wire_ohm + grid.terminal_ohm);
  std::vector<Eigen::Triplet<double>> entries;
  entries.reserve(cells * 10);
  const auto to_ground = [&](int node, double siemens) { entries.emplace_back(node, node, siemens); };
  const auto between = [&](int a, int b, double siemens) {
    entries.emplace_back(a, a, siemens);
    entries.emplace_back(b, b, siemens);
    entries.emplace_back(std::max(a, b), std::min(a, b), -siemens);  // the lower triangle is enough
  };
  for (int i = 0; i < nodes.rows; ++i) {
    bool connected = false;
    for (int j = 0; j < nodes.cols; ++j) {
      if (cell(i, j) > 0) {
        between(nodes.row(i, j), nodes.column(i, j), cell(i, j));
        connected = true;
      }
      if (nodes.wires && j > 0) between(nodes.row(i, j - 1), nodes.row(i, j), 1 / grid.wire_ohm);
      if (nodes.wires && i > 0) between(nodes.column(i - 1, j), nodes.column(i, j), 1 / grid.wire_ohm);
    }
    // A floating row without cells hangs on nothing: its voltage is fixed, so that the equations have one solution.
    if (is_driven(i) || !connected) to_ground(nodes.row(i, 0), terminal);
  }
  for (int j = 0; j < nodes.cols; ++j) to_ground(nodes.column(nodes.rows - 1, j), terminal);

  Eigen::SparseMatrix<double> admittance(nodes.count(), nodes.count());
  admittance.setFromTriplets(entries.begin(), entries.end());
  const Factors factors(admittance);
  ensure(factors.info() == Eigen::Success, "transfer_matrix: the nodal equations could not be factorised");

  const bool by_rows = nodes.rows <= nodes.cols;
  const int sides = by_rows ? nodes.rows : nodes.cols, others = by_rows ? nodes.cols : nodes.rows;
  const auto start_of_row = [&](int i) { return factors.permutationP().indices()[nodes.row(i, 0)]; };
  const auto end_of_column = [&](int j) { return factors.permutationP().indices()[nodes.column(nodes.rows - 1, j)]; };
  const Eigen::VectorXd diagonal = factors.vectorD();
  std::vector<double> values;
  for (int first = 0; first < sides; first += kTogether) {
    const int last = std::min(first + kTogether, sides);
    values.assign(static_cast<std::size_t>(nodes.count()) * kTogether, 0.0);
    const auto value = [&](int unknown, int side) -> double& {
      return values[static_cast<std::size_t>(unknown) * kTogether + static_cast<std::size_t>(side - first)];
    };
    for (int side = first; side < last; ++side)
      value(by_rows ? start_of_row(side) : end_of_column(side), side) = terminal * terminal;
    solve(factors, diagonal, values);
    for (int side = first; side < last; ++side) {
      for (int other = 0; other < others; ++other) {
        const int i = by_rows ? side : other, j = by_rows ? other : side;
        if (is_driven(i))
          transfer[static_cast<std::size_t>(i) * grid.cols + static_cast<std::size_t>(j)] =
              value(by_rows ? end_of_column(other) : start_of_row(other), side);
      }
    }
  }
  return transfer;
}

ClosedForm ClosedForm::of(std::uint32_t n, double g_max_us, double wire_ohm) {
  ClosedForm form;
  form.a_scale = n * g_max_us * 1e-6 * wire_ohm;
  return form;
}

double ClosedForm::row_weight(std::uint32_t j, std::uint32_t n) {
  const double rest = 1 - static_cast<double>(j) / n;
  return 1 - rest * rest;
}

double ClosedForm::apply(double sum, double absolute, double weighted) const {
  const double a = a_scale * absolute;
  return sum - scale * (0.5 * a - 0.2 * a * a + 0.05 * a * a * a) * weighted;
}

}  // namespace danaus::machine
