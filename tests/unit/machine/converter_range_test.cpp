// Ranges of converters from data, against a plain search with the exact error.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "danaus/core/random.h"
#include "danaus/machine/analog/converter_range.h"

namespace danaus::machine {
namespace {

double squared_error(const std::vector<float>& values, double range, double limit) {
  double sum = 0;
  for (const float value : values) {
    const double code = std::clamp(std::nearbyint(static_cast<double>(value) / range * limit), -limit, limit);
    sum += std::pow(static_cast<double>(value) - code * range / limit, 2);
  }
  return sum;
}

TEST_CASE("the range has nearly the least squared error that any range has") {
  for (const float limit : {1.0f, 3.0f, 7.0f, 15.0f, 31.0f, 127.0f, 2047.0f}) {
    for (const bool has_outliers : {false, true}) {
      CAPTURE(limit);
      CAPTURE(has_outliers);
      std::vector<float> values(5000);
      random_gaussians(9, has_outliers ? 1 : 0, 0, values);
      if (has_outliers) values[17] = 40;
      double least = HUGE_VAL;
      for (double range = 0.02; range < 45; range *= 1.01)
        least = std::min(least, squared_error(values, range, static_cast<double>(limit)));
      const double ours =
          squared_error(values, static_cast<double>(best_range(values, limit)), static_cast<double>(limit));
      CHECK(ours <= 1.1 * least);
    }
  }
}

TEST_CASE("ranges of columns follow their sizes, and a column of zeros has none") {
  std::vector<float> sums(2000 * 3);
  random_gaussians(4, 0, 0, sums);
  for (std::size_t row = 0; row < 2000; ++row) {
    sums[row * 3 + 1] *= 100;
    sums[row * 3 + 2] = 0;
  }
  std::vector<float> ranges(3);
  column_ranges(sums, 3, 15, ranges);
  CHECK(ranges[1] / ranges[0] == doctest::Approx(100).epsilon(0.1));
  CHECK(ranges[2] == 0);
  CHECK(best_range(std::vector<float>(10, 0.0f), 7) == 0);
  CHECK(best_range(std::vector<float>(10, 5.0f), 7) == doctest::Approx(5));
}

}  // namespace
}  // namespace danaus::machine
