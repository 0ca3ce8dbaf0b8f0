// Voltage drop along the wires against figures of two other simulators for a fixed small case: CrossSim 3.2.0 (a
// circuit solver, tolerance 1e-10) and the closed form of IBM's aihwkit 1.2.0.

#include "danaus/machine/analog/ir_drop.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace {

using namespace danaus::machine;

constexpr std::uint32_t kRows = 6, kCols = 4;
constexpr double kInput[kRows] = {0.9, -0.35, 0.1, 0.62, -1, 0.27};
constexpr double kLargest = 1e-3;  // siemens: 1 kohm

double weight(std::uint32_t out, std::uint32_t in) { return (static_cast<double>((7 * out + 3 * in) % 13) - 6) / 6; }

/// The product on a pair of arrays, in units of the largest weight.
std::array<double, kCols> product(double wire_ohm, double terminal_ohm, double smallest) {
  std::array<double, kCols> result = {};
  for (const double sign : {1.0, -1.0}) {
    std::vector<double> siemens;
    for (std::uint32_t i = 0; i < kRows; ++i) {
      for (std::uint32_t j = 0; j < kCols; ++j)
        siemens.push_back(smallest + (kLargest - smallest) * std::max(sign * weight(j, i), 0.0));
    }
    const std::vector<double> transfer = transfer_matrix({kRows, kCols, siemens, wire_ohm, terminal_ohm});
    for (std::uint32_t i = 0; i < kRows; ++i) {
      for (std::uint32_t j = 0; j < kCols; ++j)
        result[j] += sign * transfer[i * kCols + j] * kInput[i] / (kLargest - smallest);
    }
  }
  return result;
}

void check(const std::array<double, kCols>& found, const std::array<double, kCols>& expected, double digits = 6e-8) {
  for (std::size_t j = 0; j < kCols; ++j) CHECK(std::abs(found[j] - expected[j]) < digits);
}

}  // namespace

TEST_CASE("nodal solution: the figures of CrossSim") {
  check(product(10, 0, 0), {-1.4874450, -0.3283657, 0.6502774, -0.2454344});
  check(product(1, 0, 0), {-1.5834511, -0.3551130, 0.6606969, -0.2658307});
  check(product(10, 0, kLargest / 10), {-1.4670728, -0.3210696, 0.6461486, -0.2413523});
}

TEST_CASE("nodal solution: limits") {
  const std::array<double, kCols> exact = {-1.595, -2.15 / 6, 3.97 / 6, -1.61 / 6};
  check(product(0, 0, 0), exact);
  check(product(0, 0, kLargest / 10), exact);
  check(product(1e-6, 0, 0), exact);
  // A single cell is a chain of resistors: the wire's segment and the terminal at each end.
  const std::vector<double> cell = {1e-3};
  CHECK(transfer_matrix({1, 1, cell, 10, 40})[0] == doctest::Approx(1 / (1000.0 + 2 * 50)).epsilon(1e-12));
  CHECK(transfer_matrix({1, 1, cell, 0, 40})[0] == doctest::Approx(1 / (1000.0 + 2 * 40)).epsilon(1e-12));
  // Ideal wires behind terminals: currents of a column share its terminal.
  const std::vector<double> column = {1e-3, 1e-3};
  // Row 0 at 1 V, row 1 at 0 V, each through 25 ohm; the column's node sees 1025 ohm to 1 V, 1025 ohm and 25 ohm to 0.
  const double voltage = (1 / 1025.0) / (2 / 1025.0 + 1 / 25.0);
  CHECK(transfer_matrix({2, 1, column, 0, 25})[0] == doctest::Approx(voltage / 25).epsilon(1e-12));
}

TEST_CASE("nodal solution: wide and tall arrays, rows that float") {
  std::vector<double> siemens, transposed(kRows * kCols);
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t j = 0; j < kCols; ++j) siemens.push_back(kLargest * std::abs(weight(j, i)));
  }
  // Reciprocity: the array mirrored so that columns drive and rows sense has the same transfer.
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t j = 0; j < kCols; ++j)
      transposed[(kCols - 1 - j) * kRows + (kRows - 1 - i)] = siemens[i * kCols + j];
  }
  const std::vector<double> tall = transfer_matrix({kRows, kCols, siemens, 10, 5});
  const std::vector<double> wide = transfer_matrix({kCols, kRows, transposed, 10, 5});
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t j = 0; j < kCols; ++j)
      CHECK(wide[(kCols - 1 - j) * kRows + (kRows - 1 - i)] == doctest::Approx(tall[i * kCols + j]).epsilon(1e-9));
  }
  // A floating row takes no current from outside, but connects columns: less arrives than when it is driven with 0 V...
  const std::vector<std::uint8_t> driven = {1, 0, 1, 1, 0, 1};
  const std::vector<double> some = transfer_matrix({kRows, kCols, siemens, 10, 5}, driven);
  bool differs = false;
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t j = 0; j < kCols; ++j) {
      if (driven[i] == 0) CHECK(some[i * kCols + j] == 0);
      if (driven[i] != 0) differs = differs || std::abs(some[i * kCols + j] / tall[i * kCols + j] - 1) > 1e-6;
    }
  }
  CHECK(differs);
  // ...and one without cells is as if it were not there.
  std::vector<double> without = siemens;
  for (const std::uint32_t i : {1u, 4u}) std::fill_n(without.begin() + i * kCols, kCols, 0.0);
  const std::vector<double> open = transfer_matrix({kRows, kCols, without, 10, 5}, driven);
  const std::vector<double> grounded = transfer_matrix({kRows, kCols, without, 10, 5});
  for (std::size_t n = 0; n < open.size(); ++n) CHECK(open[n] == doctest::Approx(grounded[n]).epsilon(1e-12));
}

TEST_CASE("closed form: the figures of aihwkit") {
  // One segment has 0.35 ohm, the largest conductance is 5 uS.
  const ClosedForm form = ClosedForm::of(kRows, 5, 0.35);
  std::array<double, kCols> result = {};
  for (std::uint32_t j = 0; j < kCols; ++j) {
    double sum = 0, absolute = 0, weighted = 0;
    for (std::uint32_t i = 0; i < kRows; ++i) {
      const double part = weight(j, i) * kInput[i];
      sum += part;
      absolute += std::abs(part);
      weighted += part * ClosedForm::row_weight(i, kRows);
    }
    result[j] = form.apply(sum, absolute, weighted);
  }
  // It computes in single precision. The drops are up to 1.4e-5; every other order of the rows is off by 5e-7 and more.
  check(result, {-1.5949895, -0.3583322, 0.6616526, -0.2683316}, 2e-7);
  CHECK(ClosedForm::of(256, 25, 0.35).a_scale == doctest::Approx(256 * 25e-6 * 0.35));
}
