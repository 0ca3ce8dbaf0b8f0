// A panel is 32 columns of weights, one row of them per input. The matrix product keeps a block of tokens x columns in
// registers and goes through the inputs once; every output is one chain in the order of the inputs, so its bits do not
// depend on the block that it is computed in (a library's GEMM gives no such promise).

#include "danaus/machine/analog/kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/machine/analog/kernel.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace danaus::machine::kernel::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

/// Vectors that make two columns of accumulators: kTokens * 2 of them fit the registers next to what is multiplied.
constexpr std::size_t kTokens = HWY_MAX_BYTES >= 64 ? 8 : 4;

/// kRows tokens x kVectors vectors of columns.
template <std::size_t kRows, std::size_t kVectors>
void multiply_block(const float* HWY_RESTRICT x, std::size_t stride, std::span<const InputRun> runs,
                    const float* HWY_RESTRICT panel, float* HWY_RESTRICT sums) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V total[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) total[row][v] = hn::Zero(d);
  }
  for (const InputRun& run : runs) {
    const float* input = x + run.first;
    for (std::uint32_t k = 0; k < run.count; ++k) {
      V weight[kVectors];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) weight[v] = hn::LoadU(d, panel + v * lanes);
      panel += kPanel;
#pragma GCC unroll 16
      for (std::size_t row = 0; row < kRows; ++row) {
        const V value = hn::Set(d, input[row * stride + k]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) total[row][v] = hn::MulAdd(value, weight[v], total[row][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(total[row][v], d, sums + row * kPanel + v * lanes);
  }
}

template <std::size_t kVectors>
void multiply_tokens(const float* x, std::size_t stride, std::size_t tokens, std::span<const InputRun> runs,
                     const float* panel, float* sums) {
  std::size_t token = 0;
  for (; token + kTokens <= tokens; token += kTokens)
    multiply_block<kTokens, kVectors>(x + token * stride, stride, runs, panel, sums + token * kPanel);
  if constexpr (kTokens > 4) {
    if (token + 4 <= tokens) {
      multiply_block<4, kVectors>(x + token * stride, stride, runs, panel, sums + token * kPanel);
      token += 4;
    }
  }
  for (; token < tokens; ++token)
    multiply_block<1, kVectors>(x + token * stride, stride, runs, panel, sums + token * kPanel);
}

void multiply(const float* x, std::size_t stride, std::size_t tokens, std::span<const InputRun> runs,
              const float* panel, std::size_t columns, float* sums) {
  const std::size_t lanes = hn::Lanes(D());
  std::size_t column = 0;
  for (; column + lanes < columns; column += 2 * lanes)
    multiply_tokens<2>(x, stride, tokens, runs, panel + column, sums + column);
  if (column < columns) multiply_tokens<1>(x, stride, tokens, runs, panel + column, sums + column);
}

ConversionCounts convert(const float* sums, std::size_t tokens, std::size_t columns, const Converters& converters,
                         double* totals) {
  // As many doubles as floats at a time: half a float vector each.
  const hn::CappedTag<double, 8> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const std::size_t lanes = hn::Lanes(df);
  const auto limit = hn::Set(df, converters.limit);
  const auto zero = hn::Zero(df);
  ConversionCounts counts;
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t column = 0; column < columns; column += lanes) {
      const auto valid = hn::FirstN(df, columns - column);
      const auto scaled =
          hn::Add(hn::Mul(hn::LoadU(df, sums + token * kPanel + column), hn::LoadU(df, converters.per_lsb + column)),
                  hn::LoadU(df, converters.offset + column));
      const auto code = hn::Round(scaled);
      counts.clipped += hn::CountTrue(df, hn::And(valid, hn::Gt(hn::Abs(code), limit)));
      counts.zero += hn::CountTrue(df, hn::And(valid, hn::Eq(code, zero)));
      const auto clipped = hn::Max(hn::Neg(limit), hn::Min(code, limit));
      const auto value = hn::PromoteTo(dd, hn::Mul(clipped, hn::LoadU(df, converters.value + column)));
      double* total = totals + token * kPanel + column;
      hn::StoreU(hn::Add(hn::LoadU(dd, total), value), dd, total);
    }
  }
  counts.conversions = tokens * columns;
  return counts;
}

std::uint64_t codes(std::span<const float> x, float factor, float limit, float* out) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V scale = hn::Set(d, factor), most = hn::Set(d, limit);
  std::uint64_t beyond = 0;
  std::size_t n = 0;
  for (; n + lanes <= x.size(); n += lanes) {
    const V code = hn::Round(hn::Mul(hn::LoadU(d, x.data() + n), scale));
    beyond += hn::CountTrue(d, hn::Gt(hn::Abs(code), most));
    hn::StoreU(hn::Max(hn::Neg(most), hn::Min(code, most)), d, out + n);
  }
  for (; n < x.size(); ++n) {
    const hn::CappedTag<float, 1> one;
    const auto code = hn::Round(hn::Set(one, x[n] * factor));
    const float value = hn::GetLane(code);
    beyond += value > limit || value < -limit ? 1u : 0u;
    out[n] = std::max(-limit, std::min(value, limit));
  }
  return beyond;
}

float magnitude(std::span<const float> x) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V most = hn::Zero(d), not_finite = hn::Zero(d);
  std::size_t n = 0;
  for (; n + lanes <= x.size(); n += lanes) {
    const V value = hn::LoadU(d, x.data() + n);
    most = hn::Max(most, hn::Abs(value));
    not_finite = hn::Add(not_finite, hn::Mul(value, hn::Zero(d)));  // NaN for infinities and NaN, else zero
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, most));
  float check = hn::GetLane(hn::SumOfLanes(d, not_finite));
  for (; n < x.size(); ++n) {
    result = std::max(result, x[n] < 0 ? -x[n] : x[n]);
    check += x[n] * 0.0f;
  }
  return check == 0 ? result : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace
}  // namespace danaus::machine::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace danaus::machine::kernel {

HWY_EXPORT(multiply);
HWY_EXPORT(convert);
HWY_EXPORT(codes);
HWY_EXPORT(magnitude);

void multiply_panel(const float* x, std::size_t stride, std::size_t tokens, std::span<const InputRun> runs,
                    const float* panel, std::size_t columns, float* sums) {
  HWY_DYNAMIC_DISPATCH(multiply)(x, stride, tokens, runs, panel, columns, sums);
}
ConversionCounts convert_panel(const float* sums, std::size_t tokens, std::size_t columns, const Converters& converters,
                               double* totals) {
  return HWY_DYNAMIC_DISPATCH(convert)(sums, tokens, columns, converters, totals);
}
std::uint64_t to_codes(std::span<const float> x, float factor, float limit, float* codes) {
  return HWY_DYNAMIC_DISPATCH(codes)(x, factor, limit, codes);
}
float largest_magnitude(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(magnitude)(x); }

}  // namespace danaus::machine::kernel
#endif
