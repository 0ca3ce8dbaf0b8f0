// Bulk random numbers: Philox against Random123 and its published known answers, normal numbers against the normal
// distribution, and that nothing depends on the range asked for or on the SIMD target.

#include "danaus/core/random.h"

#include <Random123/philox.h>
#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <vector>

namespace {

using namespace danaus;

std::vector<float> gaussians(std::uint64_t seed, std::uint64_t stream, std::uint64_t first, std::size_t count) {
  std::vector<float> values(count);
  random_gaussians(seed, stream, first, values);
  return values;
}

std::vector<float> uniforms(std::uint64_t seed, std::uint64_t stream, std::uint64_t first, std::size_t count) {
  std::vector<float> values(count);
  random_uniforms(seed, stream, first, values);
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Word `number % 4` of block `number / 4`.
std::uint32_t reference_word(std::uint64_t seed, std::uint64_t stream, std::uint64_t number) {
  const std::uint64_t block = number / 4;
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
  const r123::Philox4x32::ctr_type counter = {{low(block), high(block), low(stream), high(stream)}};
  const r123::Philox4x32::key_type key = {{low(seed), high(seed)}};
  return r123::Philox4x32{}(counter, key)[number % 4];
}

constexpr std::uint64_t kFar = 0xfffffff000000003ull;

}  // namespace

TEST_CASE("words are those of Philox4x32-10") {
  // Known answers of Random123 1.14 (kat_vectors): counter and key all ones, and digits of pi.
  const auto top = [](std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; };
  const std::uint32_t zeros[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const std::vector<float> of_zeros = uniforms(0, 0, 0, 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(of_zeros[i] == top(zeros[i]));
  const std::uint32_t pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: only a block below 2^62 can be asked for by
  // its numbers, so the reference takes over from here.
  const r123::Philox4x32::ctr_type counter = {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
  const auto answer = r123::Philox4x32{}(counter, {{0xa4093822, 0x299f31d0}});
  for (std::size_t i = 0; i < 4; ++i) CHECK(answer[i] == pi[i]);
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{0x1fffffffaull}, kFar}) {
    const std::vector<float> values = uniforms(0x0123456789abcdefull, 0xfedcba9876543210ull, first, 131);
    for (std::size_t i = 0; i < values.size(); ++i)
      CHECK(values[i] == top(reference_word(0x0123456789abcdefull, 0xfedcba9876543210ull, first + i)));
  }
}

TEST_CASE("a normal number is that of Box and Muller for its words") {
  double worst = 0;
  for (std::uint64_t pair = 0; pair < 50'000; ++pair) {
    const float cell = static_cast<float>(reference_word(5, 9, 2 * pair) >> 1) + 0.5f;
    const double u = static_cast<double>(cell * 0x1p-31f);
    const std::uint32_t angular = reference_word(5, 9, 2 * pair + 1);
    const double angle = static_cast<double>(static_cast<std::int32_t>(angular << 2)) * 0x1p-31 * std::numbers::pi / 4;
    const double radius = std::sqrt(-2 * std::log(u)) * (angular >> 31 != 0 ? -1 : 1);
    double expected[2] = {radius * std::cos(angle), radius * std::sin(angle)};
    if ((angular >> 30 & 1) != 0) std::swap(expected[0], expected[1]);
    const std::vector<float> values = gaussians(5, 9, 2 * pair, 2);
    for (std::size_t i = 0; i < 2; ++i) worst = std::max(worst, std::abs(static_cast<double>(values[i]) - expected[i]));
  }
  CHECK(worst < 2e-6);
}

TEST_CASE("normal numbers: moments, distribution, tails") {
  constexpr std::size_t kCount = 20'000'000;
  const std::vector<float> values = gaussians(1, 2, 1, kCount);
  constexpr int kBins = 200;
  std::vector<double> bins(kBins + 2, 0.0);  // (-5, 5) and what lies outside
  double sum[5] = {0, 0, 0, 0, 0}, neighbours = 0, largest = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double x = static_cast<double>(values[i]);
    double power = 1;
    for (double& moment : sum) {
      moment += power;
      power *= x;
    }
    if (i > 0) neighbours += x * static_cast<double>(values[i - 1]);
    largest = std::max(largest, std::abs(x));
    const int bin = x < -5 ? 0 : x >= 5 ? kBins + 1 : 1 + static_cast<int>((x + 5) * 20);
    bins[static_cast<std::size_t>(bin)] += 1;
  }
  const double n = static_cast<double>(kCount);
  CHECK(std::abs(sum[1] / n) < 4 / std::sqrt(n));
  CHECK(std::abs(sum[2] / n - 1) < 4 * std::sqrt(2 / n));
  CHECK(std::abs(sum[3] / n) < 4 * std::sqrt(15 / n));
  CHECK(std::abs(sum[4] / n - 3) < 4 * std::sqrt(96 / n));
  CHECK(std::abs(neighbours / n) < 4 / std::sqrt(n));
  CHECK(largest > 5);  // 11 of 20 million are expected beyond
  CHECK(largest < 6.7);
  const auto distribution = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
  double chi_square = 0, cumulated = bins[0], greatest_gap = 0;
  int used = 0;
  for (int bin = 1; bin <= kBins; ++bin) {
    const double low = -5 + (bin - 1) / 20.0, high = -5 + bin / 20.0;
    const double expected = n * (distribution(high) - distribution(low));
    const double found = bins[static_cast<std::size_t>(bin)];
    cumulated += found;
    greatest_gap = std::max(greatest_gap, std::abs(cumulated / n - distribution(high)));
    if (expected < 20) continue;
    chi_square += (found - expected) * (found - expected) / expected;
    ++used;
  }
  CHECK(chi_square < used + 4 * std::sqrt(2.0 * used));
  CHECK(chi_square > used - 4 * std::sqrt(2.0 * used));
  CHECK(greatest_gap * std::sqrt(n) < 1.95);  // Kolmogorov and Smirnov, 0.1 %
}

TEST_CASE("numbers do not depend on the range asked for, but on seed and stream") {
  const std::vector<float> whole = gaussians(3, 4, 7, 1000);
  for (const std::size_t first : {0u, 1u, 2u, 3u, 5u, 31u, 64u, 999u}) {
    for (const std::size_t count : {0u, 1u, 3u, 4u, 33u, 64u, 65u, 500u}) {
      if (first + count > whole.size()) continue;
      const std::vector<float> part(whole.begin() + static_cast<std::ptrdiff_t>(first),
                                    whole.begin() + static_cast<std::ptrdiff_t>(first + count));
      CHECK(same_bits(gaussians(3, 4, 7 + first, count), part));
    }
  }
  CHECK_FALSE(same_bits(gaussians(4, 4, 7, 1000), whole));
  CHECK_FALSE(same_bits(gaussians(3, 5, 7, 1000), whole));
  CHECK_FALSE(same_bits(gaussians(3 + (std::uint64_t{1} << 32), 4, 7, 1000), whole));
  CHECK_FALSE(same_bits(gaussians(3, 4 + (std::uint64_t{1} << 32), 7, 1000), whole));
  CHECK_FALSE(same_bits(gaussians(3, 4, 7 + (std::uint64_t{1} << 34), 1000), whole));
}

TEST_CASE("every SIMD target gives the same bits") {
  const std::vector<float> normal = gaussians(11, 12, kFar, 10'007);
  const std::vector<float> uniform = uniforms(11, 12, 13, 1003);
  int tried = 0;
  for (std::int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    const std::int64_t target = targets & -targets;
    CAPTURE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    CHECK(same_bits(gaussians(11, 12, kFar, 10'007), normal));
    CHECK(same_bits(uniforms(11, 12, 13, 1003), uniform));
    ++tried;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
  MESSAGE(tried << " SIMD targets");
  CHECK(tried > 0);
}
