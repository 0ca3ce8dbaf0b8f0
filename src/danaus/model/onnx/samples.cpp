#include "danaus/model/onnx/samples.h"

#include <algorithm>
#include <cmath>
#include <numbers>

// Compares a function with the ones that the operator graph has, at the sample vectors. Norms have a parameter: where
// the vector is small the epsilon decides the result, so it can be solved for.

namespace danaus::model::onnx {
namespace {

/// The largest difference relative to 1 + |b|; infinite if one is no number.
double distance(const Samples& a, const Samples& b) {
  double most = 0;
  for (std::size_t n = 0; n < a.size(); ++n) {
    const double difference = std::abs(a[n] - b[n]) / (1 + std::abs(b[n]));
    if (!(difference <= most)) most = std::isnan(difference) ? HUGE_VAL : difference;
  }
  return most;
}

bool close(const Samples& a, const Samples& b, double tolerance) { return distance(a, b) <= tolerance; }

}  // namespace

double group_mean(const Samples& samples, std::size_t group) {
  double sum = 0;
  for (std::size_t n = 0; n < kSampleLength; ++n) sum += samples[group * kSampleLength + n];
  return sum / kSampleLength;
}

std::optional<NodeKind> activation_of(const Samples& samples) {
  Samples silu = {}, gelu = {}, gelu_tanh = {}, relu = {};
  for (std::size_t n = 0; n < samples.size(); ++n) {
    const double x = kSamples[n];
    silu[n] = x / (1 + std::exp(-x));
    gelu[n] = 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    gelu_tanh[n] = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    relu[n] = std::max(x, 0.0);
  }
  constexpr double kTolerance = 1e-3;
  if (close(samples, silu, kTolerance)) return NodeKind::silu;
  // The forms of gelu are within the tolerance of each other: the nearer one.
  const double exact = distance(samples, gelu), approximate = distance(samples, gelu_tanh);
  if (std::min(exact, approximate) <= kTolerance) return exact <= approximate ? NodeKind::gelu : NodeKind::gelu_tanh;
  if (close(samples, relu, kTolerance)) return NodeKind::relu;
  return std::nullopt;
}

std::optional<NormForm> norm_of(const Samples& samples) {
  for (const Config::Norm kind : {Config::Norm::layer, Config::Norm::rms}) {
    Samples centred = {};
    std::array<double, kSampleGroups> variance = {};
    for (std::size_t group = 0; group < kSampleGroups; ++group) {
      const double mean = kind == Config::Norm::layer ? group_mean(kSamples, group) : 0;
      for (std::size_t n = group * kSampleLength; n < (group + 1) * kSampleLength; ++n) {
        centred[n] = kSamples[n] - mean;
        variance[group] += centred[n] * centred[n] / kSampleLength;
      }
    }
    const std::size_t probe = kSampleLength;  // the first element of the small vector
    const double sigma = centred[probe] / samples[probe];
    const double epsilon = sigma * sigma - variance[1];
    if (!(epsilon > -1e-15 && epsilon < 1)) continue;
    Samples expected = {};
    for (std::size_t n = 0; n < expected.size(); ++n)
      expected[n] = centred[n] / std::sqrt(variance[n / kSampleLength] + std::max(epsilon, 0.0));
    if (close(samples, expected, 1e-6)) return NormForm{kind, static_cast<float>(std::max(epsilon, 1e-30))};
  }
  return std::nullopt;
}

std::optional<double> factor_of(const Samples& samples) {
  const double factor = samples[0] / kSamples[0];
  Samples expected = {};
  for (std::size_t n = 0; n < expected.size(); ++n) expected[n] = factor * kSamples[n];
  if (!std::isfinite(factor) || factor == 0 || !close(samples, expected, 1e-12)) return std::nullopt;
  return factor;
}

}  // namespace danaus::model::onnx
