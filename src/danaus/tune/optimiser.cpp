// Source of the equations: Kingma, Ba 2015 (arXiv:1412.6980), algorithm 1. The length of the gradient is a sum of
// squares in double precision, chunk by chunk in fixed order.

#include "danaus/tune/optimiser.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "danaus/core/parallel.h"

namespace danaus::tune {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.98, kEpsilon = 1e-8;
constexpr std::size_t kChunk = 1u << 15;

}  // namespace

double schedule(std::uint64_t step, std::uint64_t steps, std::uint64_t warm_up) {
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up + 1);
  const double done =
      static_cast<double>(step - warm_up) / static_cast<double>(std::max<std::uint64_t>(1, steps - warm_up));
  return (1 + std::cos(std::numbers::pi * std::min(1.0, done))) / 2;
}

Optimiser::Optimiser(std::span<const Parameter> parameters) {
  for (const Parameter& parameter : parameters) {
    means_.emplace_back(parameter.values.size());
    squares_.emplace_back(parameter.values.size());
  }
}

double Optimiser::apply(std::uint64_t step, double part, double most, std::span<const std::vector<float>> gradients,
                        std::span<Parameter> parameters) {
  double sum = 0;
  for (const std::vector<float>& gradient : gradients) {
    std::vector<double> sums((gradient.size() + kChunk - 1) / kChunk);
    parallel_for(gradient.size(), kChunk, [&](std::size_t first, std::size_t last) {
      double squares = 0;
      for (std::size_t n = first; n < last; ++n) squares += double{gradient[n]} * double{gradient[n]};
      sums[first / kChunk] = squares;
    });
    for (const double one : sums) sum += one;
  }
  const double length = std::sqrt(sum);
  if (!std::isfinite(length)) return length;
  const float scale = static_cast<float>(length > most ? most / length : 1);
  const double bias1 = 1 - std::pow(kBeta1, static_cast<double>(step + 1));
  const double bias2 = 1 - std::pow(kBeta2, static_cast<double>(step + 1));
  constexpr float kOld1 = static_cast<float>(kBeta1), kNew1 = static_cast<float>(1 - kBeta1);
  constexpr float kOld2 = static_cast<float>(kBeta2), kNew2 = static_cast<float>(1 - kBeta2);
  const float root = static_cast<float>(1 / std::sqrt(bias2)), epsilon = static_cast<float>(kEpsilon);
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const float rate = static_cast<float>(parameters[p].rate * part / bias1);
    const float* gradient = gradients[p].data();
    float *values = parameters[p].values.data(), *mean = means_[p].data(), *square = squares_[p].data();
    parallel_for(gradients[p].size(), kChunk, [&](std::size_t first, std::size_t last) {
      for (std::size_t n = first; n < last; ++n) {
        const float g = gradient[n] * scale;
        mean[n] = kOld1 * mean[n] + kNew1 * g;
        square[n] = kOld2 * square[n] + kNew2 * g * g;
        values[n] -= rate * mean[n] / (std::sqrt(square[n]) * root + epsilon);
      }
    });
  }
  return length;
}

}  // namespace danaus::tune
