// Vector functions with Highway, one source for all SIMD targets, chosen at run time.
//   silu       x / (1 + exp(-x))
//   gelu       x erfc(-x / sqrt 2) / 2, erfc by Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7)
//   gelu_tanh  x / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x^3): the same as x (1 + tanh u) / 2
// Sums of exponentials: single precision within blocks of 256, double precision between them.

#include "danaus/nn/elementwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/nn/elementwise.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace danaus::nn::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

/// exp with arguments kept where the result is a normal number; a NaN stays.
V bounded_exp(D d, V x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, hn::Clamp(x, hn::Set(d, -87.0f), hn::Set(d, 88.0f))));
}

/// y = f(x), the rest behind the last whole vector through a buffer.
template <typename Function>
void map(const float* x, float* y, std::size_t n, Function f) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t e = 0;
  for (; e + lanes <= n; e += lanes) hn::StoreU(f(d, hn::LoadU(d, x + e)), d, y + e);
  if (e == n) return;
  HWY_ALIGN float rest[HWY_MAX_BYTES / sizeof(float)] = {};
  std::copy(x + e, x + n, rest);
  hn::Store(f(d, hn::Load(d, rest)), d, rest);
  std::copy(rest, rest + (n - e), y + e);
}

void silu(const float* x, float* y, std::size_t n) {
  map(x, y, n, [](D d, V v) { return hn::Div(v, hn::Add(hn::Set(d, 1.0f), bounded_exp(d, hn::Neg(v)))); });
}

void gelu(const float* x, float* y, std::size_t n) {
  map(x, y, n, [](D d, V v) {
    const V z = hn::Mul(hn::Abs(v), hn::Set(d, 0.70710678f));
    const V t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(z, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f)));
    V series = hn::Set(d, 1.061405429f);
    for (const float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
      series = hn::MulAdd(series, t, hn::Set(d, coefficient));
    const V tail = hn::Mul(hn::Mul(series, t), bounded_exp(d, hn::Neg(hn::Mul(z, z))));  // erfc(z)
    const V twice = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 2.0f), tail));
    return hn::Mul(hn::Mul(v, hn::Set(d, 0.5f)), twice);
  });
}

void gelu_tanh(const float* x, float* y, std::size_t n) {
  map(x, y, n, [](D d, V v) {
    const V inner = hn::Mul(v, hn::MulAdd(hn::Mul(v, v), hn::Set(d, 0.044715f), hn::Set(d, 1.0f)));
    const V power = hn::Mul(inner, hn::Set(d, -1.5957691216f));  // -2 sqrt(2 / pi)
    return hn::Div(v, hn::Add(hn::Set(d, 1.0f), bounded_exp(d, power)));
  });
}

float largest(const float* x, std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t e = 0;
  float most = -std::numeric_limits<float>::infinity();
  if (n >= lanes) {
    V best = hn::LoadU(d, x);
    for (e = lanes; e + lanes <= n; e += lanes) best = hn::Max(best, hn::LoadU(d, x + e));
    most = hn::GetLane(hn::MaxOfLanes(d, best));
  }
  for (; e < n; ++e) most = std::max(most, x[e]);
  return most;
}

/// Sum of exp(x[e] - most), and these in `out` unless it is null.
double exponentials(const float* x, std::size_t n, float most, float* out) {
  constexpr std::size_t kBlock = 256;
  const D d;
  const V shift = hn::Set(d, most);
  double sum = 0;
  float block[kBlock];
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t count = std::min(kBlock, n - first);
    float* to = out == nullptr ? block : out + first;
    map(x + first, to, count, [&](D tag, V v) { return bounded_exp(tag, hn::Sub(v, shift)); });
    const std::size_t lanes = hn::Lanes(d);
    V partial = hn::Zero(d);
    std::size_t e = 0;
    for (; e + lanes <= count; e += lanes) partial = hn::Add(partial, hn::LoadU(d, to + e));
    float rest = hn::GetLane(hn::SumOfLanes(d, partial));
    for (; e < count; ++e) rest += to[e];
    sum += static_cast<double>(rest);
  }
  return sum;
}

void softmax(float* x, std::size_t n) {
  const float inverse = static_cast<float>(1 / exponentials(x, n, largest(x, n), x));
  map(x, x, n, [&](D tag, V v) { return hn::Mul(v, hn::Set(tag, inverse)); });
}

double log_sum_exp(const float* x, std::size_t n) {
  const float most = largest(x, n);
  return static_cast<double>(most) + std::log(exponentials(x, n, most, nullptr));
}

bool all_finite(const float* x, std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  // x - x is zero for every finite number and NaN otherwise.
  V sum = hn::Zero(d);
  std::size_t e = 0;
  for (; e + lanes <= n; e += lanes) {
    const V v = hn::LoadU(d, x + e);
    sum = hn::Add(sum, hn::Sub(v, v));
  }
  float rest = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; e < n; ++e) rest += x[e] - x[e];
  return rest == 0;
}

}  // namespace
}  // namespace danaus::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace danaus::nn {

HWY_EXPORT(silu);
HWY_EXPORT(gelu);
HWY_EXPORT(gelu_tanh);
HWY_EXPORT(softmax);
HWY_EXPORT(log_sum_exp);
HWY_EXPORT(all_finite);

void silu(const float* x, float* y, std::size_t n) { HWY_DYNAMIC_DISPATCH(silu)(x, y, n); }
void gelu(const float* x, float* y, std::size_t n) { HWY_DYNAMIC_DISPATCH(gelu)(x, y, n); }
void gelu_tanh(const float* x, float* y, std::size_t n) { HWY_DYNAMIC_DISPATCH(gelu_tanh)(x, y, n); }
void softmax(float* x, std::size_t n) { HWY_DYNAMIC_DISPATCH(softmax)(x, n); }
double log_sum_exp(const float* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(log_sum_exp)(x, n); }
bool all_finite(const float* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(all_finite)(x, n); }

}  // namespace danaus::nn
#endif
