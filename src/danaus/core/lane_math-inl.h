// Logarithm, exponential, sine and cosine of SIMD lanes, single precision. Only IEEE additions, multiplications and
// integer operations, so that a lane has the same bits on every SIMD target (-ffp-contract=off keeps them apart).
// The polynomials are least-maximum fits of the relative error on the reduced interval, made for danaus.
//
// For sources that Highway compiles once per target: include it after <hwy/highway.h>, inside of such a source.

// The guard that lets each target have its own copy.
#if defined(DANAUS_CORE_LANE_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef DANAUS_CORE_LANE_MATH_INL_H
#undef DANAUS_CORE_LANE_MATH_INL_H
#else
#define DANAUS_CORE_LANE_MATH_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace danaus::lane_math::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Natural logarithm of positive normal numbers, relative error below 2e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V log_lanes(D d, V x) {
  const hn::RebindToSigned<D> di;
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)): 0x3f3504f3 are the bits of sqrt(1/2).
  const auto bits = hn::BitCast(di, x);
  const auto exponent = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f3504f3)));
  const V f = hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(exponent))), hn::Set(d, 1.0f));
  V p = hn::Set(d, 0.0870043057f);
  p = hn::Add(hn::Mul(p, f), hn::Set(d, -0.1426748622f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.1491476922f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, -0.1657758477f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.1996306370f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, -0.2500133704f));
  p = hn::Add(hn::Mul(p, f), hn::Set(d, 0.3333391074f));
  const V square = hn::Mul(f, f);
  const V small = hn::Sub(hn::Mul(hn::Mul(square, f), p), hn::Mul(hn::Set(d, 0.5f), square));
  const V e = hn::ConvertTo(d, exponent);
  // ln 2 in two parts, the first of them short, so that its product with an exponent is exact.
  const V low = hn::Add(small, hn::Mul(e, hn::Set(d, -2.12194440e-4f)));
  return hn::Add(hn::Add(low, f), hn::Mul(e, hn::Set(d, 0.693359375f)));
}

/// e^x for |x| <= 87, relative error below 2e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_lanes(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const V e = hn::ConvertTo(d, n);
  const V r = hn::Sub(hn::Sub(x, hn::Mul(e, hn::Set(d, 0.693359375f))), hn::Mul(e, hn::Set(d, -2.12194440e-4f)));
  V p = hn::Set(d, 0.0013814613f);
  p = hn::Add(hn::Mul(p, r), hn::Set(d, 0.0083687098f));
  p = hn::Add(hn::Mul(p, r), hn::Set(d, 0.0416683874f));
  p = hn::Add(hn::Mul(p, r), hn::Set(d, 0.1666652069f));
  p = hn::Add(hn::Mul(p, r), hn::Set(d, 0.4999999345f));
  const V value = hn::Add(hn::Add(hn::Mul(hn::Mul(r, r), p), r), hn::Set(d, 1.0f));
  return hn::Mul(value, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127)))));
}

/// Sine and cosine for |x| <= pi / 4, relative error below 2e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void sin_cos_lanes(D d, V x, V& sine, V& cosine) {
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, -1.9515283e-4f);
  p = hn::Add(hn::Mul(p, z), hn::Set(d, 8.3321608e-3f));
  p = hn::Add(hn::Mul(p, z), hn::Set(d, -0.16666655f));
  sine = hn::Add(hn::Mul(hn::Mul(p, z), x), x);
  V q = hn::Set(d, 2.4433157e-5f);
  q = hn::Add(hn::Mul(q, z), hn::Set(d, -1.3887316e-3f));
  q = hn::Add(hn::Mul(q, z), hn::Set(d, 4.1666646e-2f));
  q = hn::Add(hn::Mul(q, z), hn::Set(d, -0.5f));
  cosine = hn::Add(hn::Mul(q, z), hn::Set(d, 1.0f));
}

}  // namespace danaus::lane_math::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
