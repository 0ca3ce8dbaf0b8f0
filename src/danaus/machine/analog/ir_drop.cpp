// The nodal equations of an array with resistive wires, solved once for all inputs, and the cubic closed form.
//
// Unknowns are the voltages where a cell meets its row wire and its column wire. The network is linear and reciprocal:
// with the node admittances A, the current of column j per volt on row i is g_in g_out (A^-1)[end of column j][start of
// row i], g_in and g_out the conductances of the two terminals. A is symmetric and positive definite, so one sparse
// LDL^T factorisation serves all rows; right-hand sides are taken on the shorter side.

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
  const Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>, Eigen::Lower> factors(admittance);
  ensure(factors.info() == Eigen::Success, "transfer_matrix: the nodal equations could not be factorised");

  const bool by_rows = nodes.rows <= nodes.cols;
  Eigen::VectorXd source = Eigen::VectorXd::Zero(nodes.count());
  for (int k = 0; k < (by_rows ? nodes.rows : nodes.cols); ++k) {
    if (by_rows && !is_driven(k)) continue;
    const int start = by_rows ? nodes.row(k, 0) : nodes.column(nodes.rows - 1, k);
    source[start] = terminal * terminal;
    const Eigen::VectorXd voltage = factors.solve(source);
    source[start] = 0;
    for (int other = 0; other < (by_rows ? nodes.cols : nodes.rows); ++other) {
      const int i = by_rows ? k : other, j = by_rows ? other : k;
      if (!is_driven(i)) continue;
      transfer[static_cast<std::size_t>(i) * grid.cols + static_cast<std::size_t>(j)] =
          voltage[by_rows ? nodes.column(nodes.rows - 1, other) : nodes.row(other, 0)];
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
