// Read noise drawn once per column is the same as a draw for every cell: deviation, shape and independence.
#include <cmath>
#include <vector>

#include "danaus/core/random.h"
#include "danaus/machine/analog/analog_machine.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

constexpr std::size_t kRows = 256, kColumns = 4, kDraws = 20000;

/// {kDraws, kColumns}: the same vector read again and again.
std::vector<float> reads(const std::string& kind, const std::string& variance) {
  const program::Program program = parse_good(
      "danaus program 1\nchip rows 256 cols 4 adcs 4 arrays 1 tile 1 buffer 300\n"
      "cfg 0 mvm dac 8 adc 8 lossless\ninput x 256\nnode w linear x 4x256 dense\noutput w\n"
      "at x 0+256 t0 0\nat w 0+4 t0 256\npatch a0 0,0 256x4 w.W in 0 out 0\n"
      "code\nmvm a0 r0+256 c0+4 0 -> 256 set k0\nhalt\n");
  const Result<chip::Chip> chip = chip::load("unit", {{"array.rows", "256"},
                                                      {"array.cols", "4"},
                                                      {"adc.per_array", "4"},
                                                      {"noise.weight_scale", "matrix"},
                                                      {"noise.read_noise", kind},
                                                      {"noise.read_kind", variance}});
  if (!chip) FAIL(to_string(chip.error()));
  Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, *chip, 3);
  if (!machine) FAIL(to_string(machine.error()));
  std::vector<float> weights(kRows * kColumns), vector(kRows);
  random_gaussians(1, 0, 0, weights);
  random_gaussians(2, 0, 0, vector);
  REQUIRE(machine->write(NodeId{1}, {{weights, {}}}));
  std::vector<float> x, y(kDraws * kColumns);
  for (std::size_t n = 0; n < kDraws; ++n) x.insert(x.end(), vector.begin(), vector.end());
  const Result<void> done = machine->multiply(NodeId{1}, x, token_numbers(kDraws), y);
  if (!done) FAIL(to_string(done.error()));
  return y;
}

struct Moments {
  double deviation = 0, kurtosis = 0;
};
Moments moments(const std::vector<float>& y, std::size_t column) {
  double mean = 0, second = 0, fourth = 0;
  for (std::size_t n = 0; n < kDraws; ++n) mean += static_cast<double>(y[n * kColumns + column]) / kDraws;
  for (std::size_t n = 0; n < kDraws; ++n) {
    const double square = std::pow(static_cast<double>(y[n * kColumns + column]) - mean, 2);
    second += square / kDraws;
    fourth += square * square / kDraws;
  }
  return {std::sqrt(second), fourth / (second * second)};
}

double correlation(const std::vector<float>& y, std::size_t a, std::size_t b) {
  double sum_a = 0, sum_b = 0, sum_ab = 0;
  for (std::size_t n = 0; n < kDraws; ++n) {
    sum_a += static_cast<double>(y[n * kColumns + a]) / kDraws;
    sum_b += static_cast<double>(y[n * kColumns + b]) / kDraws;
  }
  for (std::size_t n = 0; n < kDraws; ++n)
    sum_ab += (static_cast<double>(y[n * kColumns + a]) - sum_a) * (static_cast<double>(y[n * kColumns + b]) - sum_b);
  return sum_ab / kDraws / (moments(y, a).deviation * moments(y, b).deviation);
}

TEST_CASE("read noise per column has the distribution of read noise per cell") {
  const double draws = static_cast<double>(kDraws);
  for (const std::string variance : {"constant", "root"}) {
    CAPTURE(variance);
    const std::vector<float> column = reads("output", variance), cell = reads("cell", variance);
    for (std::size_t c = 0; c < kColumns; ++c) {
      const Moments ours = moments(column, c), reference = moments(cell, c);
      // Three standard errors of both.
      CHECK(std::fabs(ours.deviation / reference.deviation - 1) <= 3 * std::sqrt(2 / (2 * draws)));
      CHECK(std::fabs(ours.kurtosis - 3) <= 3 * std::sqrt(24 / draws));
      CHECK(std::fabs(reference.kurtosis - 3) <= 3 * std::sqrt(24 / draws));
      for (std::size_t other = 0; other < c; ++other) {
        CHECK(std::fabs(correlation(column, c, other)) <= 4 / std::sqrt(draws));
        CHECK(std::fabs(correlation(cell, c, other)) <= 4 / std::sqrt(draws));
      }
    }
  }
}

}  // namespace
}  // namespace danaus::machine
