// One scale function for every unit: the largest step that leaves a value of at least 1.

#include "danaus/report/units.h"

#include <fmt/format.h>

#include <cmath>
#include <span>
#include <string_view>

namespace danaus::report {
namespace {

struct Step {
  double size;
  std::string_view unit;
};

std::string four_digits(double value) {
  const double magnitude = std::fabs(value);
  const int decimals = magnitude >= 999.95 ? 0 : magnitude >= 99.995 ? 1 : magnitude >= 9.9995 ? 2 : 3;
  return fmt::format("{:.{}f}", value, decimals);
}

/// `steps` from the largest to the smallest.
std::string scaled(double value, std::span<const Step> steps) {
  if (value == 0) return "0";
  for (const Step& step : steps) {
    // A value that rounds up to the next step belongs there.
    if (std::fabs(value) >= 0.99995 * step.size) return fmt::format("{} {}", four_digits(value / step.size), step.unit);
  }
  return fmt::format("{} {}", four_digits(value / steps.back().size), steps.back().unit);
}

}  // namespace

std::string format_count(std::uint64_t count) {
  if (count < 100'000) return fmt::format("{}", count);
  static constexpr Step kSteps[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  return scaled(static_cast<double>(count), kSteps);
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr Step kSteps[] = {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};
  return bytes < 1000 ? fmt::format("{} B", bytes) : scaled(static_cast<double>(bytes), kSteps);
}

std::string format_time(double nanoseconds) {
  static constexpr Step kSteps[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}};
  return scaled(nanoseconds, kSteps);
}

std::string format_energy(double nanojoules) {
  static constexpr Step kSteps[] = {{1e9, "J"}, {1e6, "mJ"}, {1e3, "uJ"}, {1, "nJ"}, {1e-3, "pJ"}};
  return scaled(nanojoules, kSteps);
}

std::string format_area(double square_millimetres) {
  static constexpr Step kSteps[] = {{1, "mm2"}, {1e-6, "um2"}};
  // A step of a million would leave six digits before the point; people read 0.512 mm2.
  if (std::fabs(square_millimetres) >= 0.01) return four_digits(square_millimetres) + " mm2";
  return scaled(square_millimetres, kSteps);
}

std::string format_rate(double per_second) {
  static constexpr Step kSteps[] = {{1e9, "G/s"}, {1e6, "M/s"}, {1e3, "k/s"}, {1, "/s"}};
  return scaled(per_second, kSteps);
}

std::string format_percent(double fraction) { return fmt::format("{:.1f} %", 100 * fraction); }

std::string format_ratio(double value, double reference) {
  return reference == 0 ? std::string() : fmt::format("{:.2f}x", value / reference);
}

}  // namespace danaus::report
