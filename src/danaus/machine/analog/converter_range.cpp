// The squared error of a range comes from a histogram of the magnitudes: every bin is converted like a value in its
// middle, which is exact enough for steps wider than a bin; narrower steps add step^2 / 12.
#include "danaus/machine/analog/converter_range.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace danaus::machine {
namespace {

constexpr std::size_t kBins = 4096;
constexpr int kPerOctave = 16, kRanges = 10 * kPerOctave;
constexpr double kHopeless = 4;

double squared_error(const std::vector<std::uint64_t>& bins, double bin, double range, double limit) {
  const double step = range / limit;
  const double within = step < 4 * bin ? step * step / 12 : -1;
  double error = 0;
  for (std::size_t n = 0; n < bins.size(); ++n) {
    if (bins[n] == 0) continue;
    const double value = (static_cast<double>(n) + 0.5) * bin;
    const double code = std::min(std::nearbyint(value / step), limit);
    const double difference = value - code * step;
    const bool clips = value > range + step / 2;
    error += static_cast<double>(bins[n]) * (clips || within < 0 ? difference * difference : within);
  }
  return error;
}

}  // namespace

float best_range(std::span<const float> values, float limit) {
  float most = 0;
  for (const float value : values) most = std::max(most, std::fabs(value));
  if (most == 0) return 0;
  std::vector<std::uint64_t> bins(kBins);
  const float per_bin = static_cast<float>(kBins) / most;
  for (const float value : values) ++bins[std::min(static_cast<std::size_t>(std::fabs(value) * per_bin), kBins - 1)];
  double best = 0, least = HUGE_VAL;
  for (int n = 0; n < kRanges; ++n) {
    const double range =
        std::ldexp(static_cast<double>(most) * std::exp2(-(n % kPerOctave) / double{kPerOctave}), -(n / kPerOctave));
    const double error = squared_error(bins, static_cast<double>(most) / kBins, range, limit);
    if (error > kHopeless * least) break;  // far below the best range everything clips
    if (error >= least) continue;
    least = error;
    best = range;
  }
  return static_cast<float>(best);
}

void column_ranges(std::span<const float> sums, std::size_t columns, float limit, std::span<float> ranges) {
  const std::size_t rows = sums.size() / columns;
  std::vector<double> squares(columns);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double sum = static_cast<double>(sums[row * columns + c]);
      squares[c] += sum * sum;
    }
  }
  std::vector<float> scale(columns);
  for (std::size_t c = 0; c < columns; ++c)
    scale[c] = squares[c] == 0 ? 0 : static_cast<float>(std::sqrt(static_cast<double>(rows) / squares[c]));
  std::vector<float> shape(sums.begin(), sums.end());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < columns; ++c) shape[row * columns + c] *= scale[c];
  }
  const float range = best_range(shape, limit);
  for (std::size_t c = 0; c < columns; ++c) ranges[c] = scale[c] == 0 ? 0 : range / scale[c];
}

}  // namespace danaus::machine
