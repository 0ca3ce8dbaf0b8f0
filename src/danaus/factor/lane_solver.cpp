// Truncated SVD of many small slices at once, one slice per SIMD lane, single precision.
//
//   Gram matrix G = A^T A of the narrow side -> Householder tridiagonalisation G = Q T Q^T -> the r + 1 largest
//   eigenvalues by bisection on Sturm counts -> their vectors by inverse iteration with partial pivoting -> V = Q Z.
//   Then one step on A itself, which undoes the squared condition number of the Gram matrix: U = orthonormalised A V,
//   V = A^T U (the best V for that U). M = U V^T, each term balanced so that both factors carry sqrt(sigma).
//
// The result is checked on A: with R = A - M, the energy that M misses against the optimum is at most
// ||R V||_F^2 / (sigma_r^2 - sigma_{r+1}^2) for U orthonormal (quadratic residual bound of the Ritz values of A A^T).
//
// Every operation is an IEEE multiplication, addition, division or square root on one lane in a fixed order, so a lane
// has the same bits on every SIMD target. (Multiplications and additions stay apart: -ffp-contract=off.)

#include "danaus/factor/slice_solver.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/factor/lane_solver.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace danaus::factor::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;

constexpr float kEpsilon = 1.1920929e-7f;

std::size_t lanes() { return hn::Lanes(D()); }
V load(const float* at) { return hn::Load(D(), at); }
void store(V value, float* at) { hn::Store(value, D(), at); }
V splat(float value) { return hn::Set(D(), value); }

/// Row i of a lower triangle that is stored row by row.
std::size_t triangle(std::size_t i) { return i * (i + 1) / 2; }

/// The slices and the scratch of one group, all arrays of lane vectors.
struct Work {
  std::size_t tall, narrow, rank;
  std::size_t columns;   // row length of `slices`: narrow in whole tiles
  float* slices;         // tall x columns, row-major; zero beyond `narrow`
  float* tall_factor;    // rank x tall
  float* narrow_factor;  // rank x narrow
  float* gram;           // lower triangle, n (n + 1) / 2; afterwards the Householder vectors
  float* diagonal;       // n
  float* side;           // n: side[i] couples i - 1 and i
  float* side2;          // n: its square, never zero
  float* tau;            // n: 2 / ||u||^2 of Householder vector i
  float* product;        // n
  float* pivot;          // n: reciprocal pivots of the factorised T - lambda
  float* upper1;         // n
  float* upper2;         // n
  float* factor;         // n
  float* swapped;        // n: 1 where rows were exchanged
  float* eigenvalue;     // rank + 1 upper ends of the brackets
  float* vectors;        // rank x n
  float* row_sums;       // 3 x tall: per row ||A||^2, ||R||^2, ||R V||^2

  explicit Work(const LaneGroup& group)
      : tall(group.tall), narrow(group.narrow), rank(group.rank), columns((group.narrow + 3) / 4 * 4) {
    float* memory = group.work.data();
    const auto take = [&memory](std::size_t count) {
      float* const part = memory;
      memory += count * lanes();
      return part;
    };
    slices = take(tall * columns);
    tall_factor = take(rank * tall);
    narrow_factor = take(rank * narrow);
    gram = take(triangle(narrow));
    for (float** array : {&diagonal, &side, &side2, &tau, &product, &pivot, &upper1, &upper2, &factor, &swapped})
      *array = take(narrow);
    eigenvalue = take(rank + 1);
    vectors = take(rank * narrow);
    row_sums = take(3 * tall);
  }
};

/// Brings the slices side by side into lanes: 4 x 4 transpositions where four slices are whole, else one by one.
void gather(const LaneGroup& group, const Work& w) {
  constexpr std::size_t kTogether = HWY_TARGET == HWY_SCALAR ? 1 : 4;
  const std::size_t n = lanes();
  const std::size_t height = group.transposed ? w.narrow : w.tall;
  const std::size_t width = group.transposed ? w.tall : w.narrow;
  const std::size_t down = group.transposed ? n : w.columns * n;    // from row to row of the matrix
  const std::size_t across = group.transposed ? w.columns * n : n;  // from column to column
  if (w.columns != w.narrow)
    for (std::size_t t = 0; t < w.tall; ++t)
      std::fill(w.slices + (t * w.columns + w.narrow) * n, w.slices + (t + 1) * w.columns * n, 0.0f);
  for (std::size_t lane = 0; lane < n; lane += kTogether) {
    SliceSource part[kTogether];
    std::size_t rows = height, columns = width;  // present in all of them
    for (std::size_t q = 0; q < kTogether; ++q) {
      if (lane + q < group.sources.size()) part[q] = group.sources[lane + q];
      rows = std::min(rows, part[q].rows);
      columns = std::min(columns, part[q].columns);
    }
    for (std::size_t a = 0; a < height; ++a) {
      float* const to = w.slices + a * down + lane;
      std::size_t c = 0;
#if HWY_TARGET != HWY_SCALAR
      if (a < rows) {
        const hn::FixedTag<float, 4> four;
        using Four = hn::Vec<decltype(four)>;
        const float* const p0 = part[0].first + a * group.row_stride;
        const float* const p1 = part[1].first + a * group.row_stride;
        const float* const p2 = part[2].first + a * group.row_stride;
        const float* const p3 = part[3].first + a * group.row_stride;
        for (; c + 4 <= columns; c += 4) {
          const Four v0 = hn::LoadU(four, p0 + c), v1 = hn::LoadU(four, p1 + c);
          const Four v2 = hn::LoadU(four, p2 + c), v3 = hn::LoadU(four, p3 + c);
          const Four low01 = hn::InterleaveLower(four, v0, v1), low23 = hn::InterleaveLower(four, v2, v3);
          const Four high01 = hn::InterleaveUpper(four, v0, v1), high23 = hn::InterleaveUpper(four, v2, v3);
          hn::Store(hn::ConcatLowerLower(four, low23, low01), four, to + c * across);
          hn::Store(hn::ConcatUpperUpper(four, low23, low01), four, to + (c + 1) * across);
          hn::Store(hn::ConcatLowerLower(four, high23, high01), four, to + (c + 2) * across);
          hn::Store(hn::ConcatUpperUpper(four, high23, high01), four, to + (c + 3) * across);
        }
      }
#endif
      for (; c < width; ++c)
        for (std::size_t q = 0; q < kTogether; ++q)
          to[c * across + q] = a < part[q].rows && c < part[q].columns ? part[q].first[a * group.row_stride + c] : 0.0f;
    }
  }
}

/// Multiplies lanes whose largest weight is not within [2^-8, 2^8] by an even power of two, so that no square or
/// product of squares leaves the range of float. False when some weight is not finite.
bool scale(const Work& w, int* shift) {
  const std::size_t n = lanes();
  const std::size_t size = w.tall * w.columns * n;
  V largest = hn::Zero(D()), poison = hn::Zero(D());
  for (std::size_t i = 0; i < size; i += n) {
    const V value = load(w.slices + i);
    largest = hn::Max(largest, hn::Abs(value));
    poison = hn::Add(poison, hn::Mul(value, hn::Zero(D())));  // infinity * 0 and NaN * 0 are NaN
  }
  if (!hn::AllTrue(D(), hn::Eq(poison, hn::Zero(D())))) return false;
  float* const factors = w.product;
  store(largest, factors);
  bool needed = false;
  for (std::size_t q = 0; q < n; ++q) {
    int exponent = 0;
    std::frexp(factors[q], &exponent);
    shift[q] = factors[q] == 0 || std::abs(exponent) < 8 ? 0 : -exponent / 2 * 2;
    needed = needed || shift[q] != 0;
    factors[q] = std::ldexp(1.0f, shift[q] / 2);  // applied twice: the whole power may be out of range
  }
  if (!needed) return true;
  const V factor = load(factors);
  for (std::size_t i = 0; i < size; i += n) store(hn::Mul(hn::Mul(load(w.slices + i), factor), factor), w.slices + i);
  return true;
}

/// A 4 x 2 tile of G: columns i..i+3 against j, j+1 of A, summed over rows [first, last).
void gram_tile(const Work& w, std::size_t first, std::size_t last, std::size_t i, std::size_t j) {
  const std::size_t n = lanes();
  V s00 = hn::Zero(D()), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
  const float* row = w.slices + first * w.columns * n;
  for (std::size_t t = first; t < last; ++t, row += w.columns * n) {
    const V b0 = load(row + j * n);
    const V b1 = load(row + (j + 1) * n);
    const V a0 = load(row + i * n);
    const V a1 = load(row + (i + 1) * n);
    s00 = hn::Add(s00, hn::Mul(a0, b0));
    s01 = hn::Add(s01, hn::Mul(a0, b1));
    s10 = hn::Add(s10, hn::Mul(a1, b0));
    s11 = hn::Add(s11, hn::Mul(a1, b1));
    const V a2 = load(row + (i + 2) * n);
    const V a3 = load(row + (i + 3) * n);
    s20 = hn::Add(s20, hn::Mul(a2, b0));
    s21 = hn::Add(s21, hn::Mul(a2, b1));
    s30 = hn::Add(s30, hn::Mul(a3, b0));
    s31 = hn::Add(s31, hn::Mul(a3, b1));
  }
  const auto put = [&](std::size_t a, std::size_t b, V sum) {
    if (a >= w.narrow || b > a) return;
    float* const at = w.gram + (triangle(a) + b) * n;
    store(first == 0 ? sum : hn::Add(load(at), sum), at);
  };
  put(i, j, s00);
  put(i, j + 1, s01);
  put(i + 1, j, s10);
  put(i + 1, j + 1, s11);
  put(i + 2, j, s20);
  put(i + 2, j + 1, s21);
  put(i + 3, j, s30);
  put(i + 3, j + 1, s31);
}

void gram_matrix(const Work& w) {
  constexpr std::size_t kRows = 32;  // short sums keep rounding errors small and the rows in the cache
  for (std::size_t first = 0; first < w.tall; first += kRows)
    for (std::size_t i = 0; i < w.narrow; i += 4)
      for (std::size_t j = 0; j <= std::min(i + 3, w.narrow - 1); j += 2)
        gram_tile(w, first, std::min(w.tall, first + kRows), i, j);
}

/// product = A u for the leading m x m part of the lower triangle A.
void symmetric_product(const float* gram, const float* u, std::size_t m, float* product) {
  const std::size_t n = lanes();
  std::size_t i = 0;
  for (; i + 4 <= m; i += 4) {
    const float* const a0 = gram + triangle(i) * n;
    const float* const a1 = gram + triangle(i + 1) * n;
    const float* const a2 = gram + triangle(i + 2) * n;
    const float* const a3 = gram + triangle(i + 3) * n;
    const V u0 = load(u + i * n), u1 = load(u + (i + 1) * n), u2 = load(u + (i + 2) * n), u3 = load(u + (i + 3) * n);
    V s0 = hn::Zero(D()), s1 = s0, s2 = s0, s3 = s0;
    for (std::size_t k = 0; k < i * n; k += n) {
      const V uk = load(u + k);
      V pk = load(product + k);
      V a = load(a0 + k);
      s0 = hn::Add(s0, hn::Mul(a, uk));
      pk = hn::Add(pk, hn::Mul(a, u0));
      a = load(a1 + k);
      s1 = hn::Add(s1, hn::Mul(a, uk));
      pk = hn::Add(pk, hn::Mul(a, u1));
      a = load(a2 + k);
      s2 = hn::Add(s2, hn::Mul(a, uk));
      pk = hn::Add(pk, hn::Mul(a, u2));
      a = load(a3 + k);
      s3 = hn::Add(s3, hn::Mul(a, uk));
      pk = hn::Add(pk, hn::Mul(a, u3));
      store(pk, product + k);
    }
    const V a00 = load(a0 + i * n);
    const V a10 = load(a1 + i * n), a11 = load(a1 + (i + 1) * n);
    const V a20 = load(a2 + i * n), a21 = load(a2 + (i + 1) * n), a22 = load(a2 + (i + 2) * n);
    const V a30 = load(a3 + i * n), a31 = load(a3 + (i + 1) * n), a32 = load(a3 + (i + 2) * n),
            a33 = load(a3 + (i + 3) * n);
    const auto sum = [&](V s, V x0, V x1, V x2, V x3) {
      const V low = hn::Add(hn::Mul(x0, u0), hn::Mul(x1, u1));
      const V high = hn::Add(hn::Mul(x2, u2), hn::Mul(x3, u3));
      return hn::Add(s, hn::Add(low, high));
    };
    store(sum(s0, a00, a10, a20, a30), product + i * n);
    store(sum(s1, a10, a11, a21, a31), product + (i + 1) * n);
    store(sum(s2, a20, a21, a22, a32), product + (i + 2) * n);
    store(sum(s3, a30, a31, a32, a33), product + (i + 3) * n);
  }
  for (; i < m; ++i) {
    const float* const a0 = gram + triangle(i) * n;
    const V u0 = load(u + i * n);
    V s0 = hn::Zero(D());
    for (std::size_t k = 0; k < i * n; k += n) {
      const V a = load(a0 + k);
      s0 = hn::Add(s0, hn::Mul(a, load(u + k)));
      store(hn::Add(load(product + k), hn::Mul(a, u0)), product + k);
    }
    store(hn::Add(s0, hn::Mul(load(a0 + i * n), u0)), product + i * n);
  }
}

/// A -= u q^T + q u^T on the leading m x m part of the lower triangle A.
void symmetric_update(float* gram, const float* u, const float* q, std::size_t m) {
  const std::size_t n = lanes();
  const auto reduced = [](V a, V ui, V qi, V uk, V qk) {
    return hn::Sub(a, hn::Add(hn::Mul(ui, qk), hn::Mul(qi, uk)));
  };
  std::size_t i = 0;
  for (; i + 2 <= m; i += 2) {
    float* const a0 = gram + triangle(i) * n;
    float* const a1 = gram + triangle(i + 1) * n;
    const V u0 = load(u + i * n), u1 = load(u + (i + 1) * n), q0 = load(q + i * n), q1 = load(q + (i + 1) * n);
    for (std::size_t k = 0; k <= i * n; k += n) {
      const V uk = load(u + k), qk = load(q + k);
      store(reduced(load(a0 + k), u0, q0, uk, qk), a0 + k);
      store(reduced(load(a1 + k), u1, q1, uk, qk), a1 + k);
    }
    float* const last = a1 + (i + 1) * n;
    store(reduced(load(last), u1, q1, u1, q1), last);
  }
  for (; i < m; ++i) {
    float* const a0 = gram + triangle(i) * n;
    const V ui = load(u + i * n), qi = load(q + i * n);
    for (std::size_t k = 0; k <= i * n; k += n) store(reduced(load(a0 + k), ui, qi, load(u + k), load(q + k)), a0 + k);
  }
}

/// Reduces G to the tridiagonal (diagonal, side); Householder vector i stays in row i of the triangle. Off-diagonal
/// parts below 1e-12 of the trace are dropped: far below the rounding of G.
void tridiagonalise(const Work& w, std::size_t size) {
  const std::size_t n = lanes();
  V trace = hn::Zero(D());
  for (std::size_t i = 0; i < size; ++i) trace = hn::Add(trace, load(w.gram + (triangle(i) + i) * n));
  const V tiny = hn::Mul(trace, splat(1e-12f));
  const V tiny2 = hn::Mul(tiny, tiny);
  store(hn::Zero(D()), w.side);
  for (std::size_t i = size - 1; i >= 1; --i) {
    float* const u = w.gram + triangle(i) * n;
    V rest = hn::Zero(D());
    for (std::size_t k = 0; k + 1 < i; ++k) {
      const V x = load(u + k * n);
      rest = hn::Add(rest, hn::Mul(x, x));
    }
    const V alpha = load(u + (i - 1) * n);
    const V norm2 = hn::Add(rest, hn::Mul(alpha, alpha));
    const M reflect = hn::Gt(rest, tiny2);
    const V beta = hn::IfThenElse(reflect, hn::Neg(hn::CopySign(hn::Sqrt(norm2), alpha)), alpha);
    // ||u||^2 / 2 = norm2 - alpha beta > rest / 2
    const V half = hn::Sub(norm2, hn::Mul(alpha, beta));
    const V tau = hn::IfThenElseZero(reflect, hn::Div(splat(1), hn::IfThenElse(reflect, half, splat(1))));
    store(hn::Sub(alpha, beta), u + (i - 1) * n);
    store(beta, w.side + i * n);
    store(tau, w.tau + i * n);
    store(load(u + i * n), w.diagonal + i * n);

    symmetric_product(w.gram, u, i, w.product);
    V dot = hn::Zero(D());
    for (std::size_t k = 0; k < i; ++k) dot = hn::Add(dot, hn::Mul(load(u + k * n), load(w.product + k * n)));
    const V shift = hn::Mul(hn::Mul(hn::Mul(dot, tau), tau), splat(0.5f));
    for (std::size_t k = 0; k < i; ++k) {
      const V p = hn::Mul(load(w.product + k * n), tau);
      store(hn::Sub(p, hn::Mul(shift, load(u + k * n))), w.product + k * n);
    }
    symmetric_update(w.gram, u, w.product, i);
  }
  store(load(w.gram), w.diagonal);
}

/// Brackets of the m-th and (m+1)-th largest eigenvalue (m from 1; the second only if it exists) by bisection.
/// Two at a time, because a Sturm sequence is one long chain of divisions. Gives the upper ends.
void bisect_pair(const Work& w, std::size_t size, std::size_t m, V bound, bool both) {
  constexpr int kSteps = 24;  // as many bits as the numbers have
  const std::size_t n = lanes();
  const hn::RebindToUnsigned<D> du;
  using U = hn::Vec<decltype(du)>;
  V low0 = hn::Zero(D()), high0 = bound, low1 = low0, high1 = bound;
  // Not more than size - m eigenvalues below x: x <= lambda_m.
  const U most0 = hn::Set(du, static_cast<std::uint32_t>(size - m));
  const U most1 = hn::Set(du, static_cast<std::uint32_t>(both ? size - m - 1 : size - m));
  const auto negative = [&du](V q) { return hn::ShiftRight<31>(hn::BitCast(du, q)); };
  for (int step = 0; step < kSteps; ++step) {
    const V x0 = hn::Mul(hn::Add(low0, high0), splat(0.5f));
    const V x1 = hn::Mul(hn::Add(low1, high1), splat(0.5f));
    const V first = load(w.diagonal);
    V q0 = hn::Sub(first, x0), q1 = hn::Sub(first, x1);
    U count0 = negative(q0), count1 = negative(q1);
    for (std::size_t i = n; i < size * n; i += n) {
      const V d = load(w.diagonal + i), e2 = load(w.side2 + i);
      q0 = hn::Sub(hn::Sub(d, x0), hn::Div(e2, q0));
      q1 = hn::Sub(hn::Sub(d, x1), hn::Div(e2, q1));
      count0 = hn::Add(count0, negative(q0));
      count1 = hn::Add(count1, negative(q1));
    }
    const M up0 = hn::RebindMask(D(), hn::Not(hn::Gt(count0, most0)));
    const M up1 = hn::RebindMask(D(), hn::Not(hn::Gt(count1, most1)));
    low0 = hn::IfThenElse(up0, x0, low0);
    high0 = hn::IfThenElse(up0, high0, x0);
    low1 = hn::IfThenElse(up1, x1, low1);
    high1 = hn::IfThenElse(up1, high1, x1);
  }
  store(high0, w.eigenvalue + (m - 1) * n);
  if (both) store(high1, w.eigenvalue + m * n);
}

/// The `count` largest eigenvalues of the tridiagonal, from above.
void eigenvalues(const Work& w, std::size_t size, std::size_t count) {
  const std::size_t n = lanes();
  V bound = hn::Zero(D());
  for (std::size_t i = 0; i < size; ++i) {
    const V before = hn::Abs(load(w.side + i * n));
    const V after = i + 1 < size ? hn::Abs(load(w.side + (i + 1) * n)) : hn::Zero(D());
    bound = hn::Max(bound, hn::Add(load(w.diagonal + i * n), hn::Add(before, after)));
    // Never zero, so that no Sturm quotient is 0 / 0.
    store(hn::Max(hn::Mul(before, before), splat(1e-37f)), w.side2 + i * n);
  }
  bound = hn::Mul(bound, splat(1.0f + 8 * kEpsilon));
  for (std::size_t m = 1; m <= count; m += 2) bisect_pair(w, size, m, bound, m + 1 <= count);
}

/// LU factors of T - shift with partial pivoting (three diagonals above, as rows may be exchanged).
void factorise(const Work& w, std::size_t size, V shift, V smallest) {
  const std::size_t n = lanes();
  const auto guarded = [&](V x) { return hn::IfThenElse(hn::Lt(hn::Abs(x), smallest), hn::CopySign(smallest, x), x); };
  V diagonal = hn::Sub(load(w.diagonal), shift);
  V next = size > 1 ? load(w.side + n) : hn::Zero(D());
  for (std::size_t i = 0; i + 1 < size; ++i) {
    const V below = load(w.side + (i + 1) * n);
    const V below_diagonal = hn::Sub(load(w.diagonal + (i + 1) * n), shift);
    const V below_next = i + 2 < size ? load(w.side + (i + 2) * n) : hn::Zero(D());
    const M swap = hn::Gt(hn::Abs(below), hn::Abs(diagonal));
    const V pivot = guarded(hn::IfThenElse(swap, below, diagonal));
    const V reciprocal = hn::Div(splat(1), pivot);
    const V factor = hn::Mul(hn::IfThenElse(swap, diagonal, below), reciprocal);
    const V upper1 = hn::IfThenElse(swap, below_diagonal, next);
    const V upper2 = hn::IfThenElseZero(swap, below_next);
    store(reciprocal, w.pivot + i * n);
    store(upper1, w.upper1 + i * n);
    store(upper2, w.upper2 + i * n);
    store(factor, w.factor + i * n);
    store(hn::IfThenElseZero(swap, splat(1)), w.swapped + i * n);
    diagonal = hn::Sub(hn::IfThenElse(swap, next, below_diagonal), hn::Mul(factor, upper1));
    next = hn::Sub(hn::IfThenZeroElse(swap, below_next), hn::Mul(factor, upper2));
  }
  store(hn::Div(splat(1), guarded(diagonal)), w.pivot + (size - 1) * n);
  store(hn::Zero(D()), w.upper1 + (size - 1) * n);
  store(hn::Zero(D()), w.upper2 + (size - 1) * n);
}

void solve_forward(const Work& w, std::size_t size, float* x) {
  const std::size_t n = lanes();
  V current = load(x);
  for (std::size_t i = 0; i + 1 < size; ++i) {
    const V below = load(x + (i + 1) * n);
    const M swap = hn::Gt(load(w.swapped + i * n), hn::Zero(D()));
    const V top = hn::IfThenElse(swap, below, current);
    store(top, x + i * n);
    current = hn::Sub(hn::IfThenElse(swap, current, below), hn::Mul(load(w.factor + i * n), top));
  }
  store(current, x + (size - 1) * n);
}

void solve_backward(const Work& w, std::size_t size, float* x) {
  const std::size_t n = lanes();
  V after = hn::Zero(D()), after2 = hn::Zero(D());
  for (std::size_t i = size; i-- > 0;) {
    const V right = hn::Sub(hn::Sub(load(x + i * n), hn::Mul(load(w.upper1 + i * n), after)),
                            hn::Mul(load(w.upper2 + i * n), after2));
    const V value = hn::Mul(right, load(w.pivot + i * n));
    store(value, x + i * n);
    after2 = after;
    after = value;
  }
}

V dot_product(const float* a, const float* b, std::size_t size) {
  const std::size_t n = lanes();
  V even = hn::Zero(D()), odd = hn::Zero(D());
  std::size_t i = 0;
  for (; i + 2 <= size; i += 2) {
    even = hn::Add(even, hn::Mul(load(a + i * n), load(b + i * n)));
    odd = hn::Add(odd, hn::Mul(load(a + (i + 1) * n), load(b + (i + 1) * n)));
  }
  if (i < size) even = hn::Add(even, hn::Mul(load(a + i * n), load(b + i * n)));
  return hn::Add(even, odd);
}

/// x -= (x . b) b for every row b of `basis`.
void orthogonalise(float* x, const float* basis, std::size_t count, std::size_t size) {
  const std::size_t n = lanes();
  for (std::size_t b = 0; b < count; ++b) {
    const float* const row = basis + b * size * n;
    const V overlap = dot_product(x, row, size);
    for (std::size_t i = 0; i < size * n; i += n) store(hn::Sub(load(x + i), hn::Mul(overlap, load(row + i))), x + i);
  }
}

/// Scales x to length 1 (zero stays zero) and gives the length that it had.
V normalise(float* x, std::size_t size) {
  const std::size_t n = lanes();
  V largest = hn::Zero(D());
  for (std::size_t i = 0; i < size * n; i += n) largest = hn::Max(largest, hn::Abs(load(x + i)));
  const M some = hn::Gt(largest, splat(1e-30f));
  const V shrink = hn::IfThenElseZero(some, hn::Div(splat(1), hn::IfThenElse(some, largest, splat(1))));
  V sum = hn::Zero(D());
  for (std::size_t i = 0; i < size * n; i += n) {
    const V value = hn::Mul(load(x + i), shrink);
    store(value, x + i);
    sum = hn::Add(sum, hn::Mul(value, value));
  }
  const V length = hn::Sqrt(sum);
  const V scale = hn::IfThenElseZero(some, hn::Div(splat(1), hn::IfThenElse(some, length, splat(1))));
  for (std::size_t i = 0; i < size * n; i += n) store(hn::Mul(load(x + i), scale), x + i);
  return hn::Mul(length, largest);
}

/// Eigenvectors of T to the largest `count` eigenvalues, then rotated back to eigenvectors of G.
void eigenvectors(const Work& w, std::span<const float> start) {
  constexpr int kIterations = 3;
  const std::size_t n = lanes();
  const std::size_t size = w.narrow;
  const V smallest = hn::Max(hn::Mul(load(w.eigenvalue), splat(kEpsilon)), splat(1e-30f));
  for (std::size_t m = 0; m < w.rank; ++m) {
    float* const x = w.vectors + m * size * n;
    for (std::size_t i = 0; i < size; ++i) store(splat(start[m * size + i]), x + i * n);
    factorise(w, size, load(w.eigenvalue + m * n), smallest);
    for (int iteration = 0; iteration < kIterations; ++iteration) {
      if (iteration > 0) solve_forward(w, size, x);
      solve_backward(w, size, x);
      normalise(x, size);
      orthogonalise(x, w.vectors, m, size);
      if (m > 0) normalise(x, size);
    }
  }
  for (std::size_t i = 1; i < size; ++i) {
    const float* const u = w.gram + triangle(i) * n;
    const V tau = load(w.tau + i * n);
    for (std::size_t m = 0; m < w.rank; ++m) {
      float* const x = w.vectors + m * size * n;
      const V overlap = hn::Mul(dot_product(u, x, i), tau);
      for (std::size_t k = 0; k < i * n; k += n) store(hn::Sub(load(x + k), hn::Mul(overlap, load(u + k))), x + k);
    }
  }
}

/// tall_factor = orthonormalised A V, narrow_factor = A^T tall_factor, then balanced.
void refine(const Work& w) {
  const std::size_t n = lanes();
  for (std::size_t m = 0; m < w.rank; ++m) {
    const float* const x = w.vectors + m * w.narrow * n;
    float* const u = w.tall_factor + m * w.tall * n;
    std::size_t t = 0;
    for (; t + 4 <= w.tall; t += 4) {
      const float* const a = w.slices + t * w.columns * n;
      V s0 = hn::Zero(D()), s1 = s0, s2 = s0, s3 = s0;
      for (std::size_t c = 0; c < w.narrow * n; c += n) {
        const V xc = load(x + c);
        s0 = hn::Add(s0, hn::Mul(load(a + c), xc));
        s1 = hn::Add(s1, hn::Mul(load(a + w.columns * n + c), xc));
        s2 = hn::Add(s2, hn::Mul(load(a + 2 * w.columns * n + c), xc));
        s3 = hn::Add(s3, hn::Mul(load(a + 3 * w.columns * n + c), xc));
      }
      store(s0, u + t * n);
      store(s1, u + (t + 1) * n);
      store(s2, u + (t + 2) * n);
      store(s3, u + (t + 3) * n);
    }
    for (; t < w.tall; ++t) {
      const float* const a = w.slices + t * w.columns * n;
      V s0 = hn::Zero(D());
      for (std::size_t c = 0; c < w.narrow * n; c += n) s0 = hn::Add(s0, hn::Mul(load(a + c), load(x + c)));
      store(s0, u + t * n);
    }
    normalise(u, w.tall);
    for (int sweep = 0; sweep < 2 && m > 0; ++sweep) {
      orthogonalise(u, w.tall_factor, m, w.tall);
      normalise(u, w.tall);
    }
  }
  for (std::size_t m = 0; m < w.rank; ++m) {
    float* const u = w.tall_factor + m * w.tall * n;
    float* const v = w.narrow_factor + m * w.narrow * n;
    for (std::size_t c = 0; c < w.narrow * n; c += n) store(hn::Zero(D()), v + c);
    std::size_t t = 0;
    for (; t + 4 <= w.tall; t += 4) {
      const float* const a = w.slices + t * w.columns * n;
      const V u0 = load(u + t * n), u1 = load(u + (t + 1) * n), u2 = load(u + (t + 2) * n), u3 = load(u + (t + 3) * n);
      for (std::size_t c = 0; c < w.narrow * n; c += n) {
        const V low = hn::Add(hn::Mul(load(a + c), u0), hn::Mul(load(a + w.columns * n + c), u1));
        const V high =
            hn::Add(hn::Mul(load(a + 2 * w.columns * n + c), u2), hn::Mul(load(a + 3 * w.columns * n + c), u3));
        store(hn::Add(load(v + c), hn::Add(low, high)), v + c);
      }
    }
    for (; t < w.tall; ++t) {
      const float* const a = w.slices + t * w.columns * n;
      const V u0 = load(u + t * n);
      for (std::size_t c = 0; c < w.narrow * n; c += n) store(hn::Add(load(v + c), hn::Mul(load(a + c), u0)), v + c);
    }
    const V root = hn::Sqrt(normalise(v, w.narrow));
    for (std::size_t c = 0; c < w.narrow * n; c += n) store(hn::Mul(load(v + c), root), v + c);
    for (std::size_t i = 0; i < w.tall * n; i += n) store(hn::Mul(load(u + i), root), u + i);
  }
}

/// Norm of A, error of M as stored, and the bound on what M misses.
void check(const Work& w, LaneSolution& solution) {
  const std::size_t n = lanes();
  // sigma_m = ||u_m|| ||v_m||, and both have the same length.
  float* const weakest = w.tau;  // like `pivot` below, not needed any more
  for (std::size_t m = 0; m < w.rank; ++m) {
    const float* const v = w.narrow_factor + m * w.narrow * n;
    const V sigma = dot_product(v, v, w.narrow);
    store(sigma, w.product + m * n);
    store(m == 0 ? sigma : hn::Min(load(weakest), sigma), weakest);
  }
  for (std::size_t t = 0; t < w.tall; ++t) {
    const float* const a = w.slices + t * w.columns * n;
    float* const residual = w.pivot;
    V norm = hn::Zero(D()), error = hn::Zero(D());
    for (std::size_t c = 0; c < w.narrow * n; c += n) {
      const V value = load(a + c);
      V rest = value;
      for (std::size_t m = 0; m < w.rank; ++m)
        rest = hn::Sub(
            rest, hn::Mul(load(w.tall_factor + (m * w.tall + t) * n), load(w.narrow_factor + m * w.narrow * n + c)));
      store(rest, residual + c);
      norm = hn::Add(norm, hn::Mul(value, value));
      error = hn::Add(error, hn::Mul(rest, rest));
    }
    V leak = hn::Zero(D());
    for (std::size_t m = 0; m < w.rank; ++m) {
      const V part = dot_product(residual, w.narrow_factor + m * w.narrow * n, w.narrow);
      leak = hn::Add(leak, hn::Mul(hn::Mul(part, part), load(w.product + m * n)));
    }
    store(norm, w.row_sums + t * n);
    store(error, w.row_sums + (w.tall + t) * n);
    store(leak, w.row_sums + (2 * w.tall + t) * n);
  }
  // The computed eigenvalues are those of G up to this fraction of the largest.
  const double doubt = 4 * static_cast<double>(kEpsilon) * std::sqrt(static_cast<double>(w.narrow));
  for (std::size_t q = 0; q < n; ++q) {
    double sums[3] = {0, 0, 0};
    for (std::size_t which = 0; which < 3; ++which)
      for (std::size_t t = 0; t < w.tall; ++t)
        sums[which] += static_cast<double>(w.row_sums[(which * w.tall + t) * n + q]);
    solution.squared_norm[q] = sums[0];
    solution.squared_error[q] = sums[1];
    if (w.rank == w.narrow) {
      solution.excess[q] = sums[1];
      continue;
    }
    const double sigma = static_cast<double>(weakest[q]);
    const double slack = doubt * static_cast<double>(w.eigenvalue[q]);
    const double gap = sigma * sigma - static_cast<double>(w.eigenvalue[w.rank * n + q]) - slack;
    solution.excess[q] = gap > slack ? sums[2] / gap : std::numeric_limits<double>::infinity();
  }
}

std::size_t lane_count_here() { return lanes(); }

LaneSolution solve_here(const LaneGroup& group) {
  const Work work(group);
  LaneSolution solution;
  gather(group, work);
  solution.finite = scale(work, solution.shift);
  if (!solution.finite) return solution;
  gram_matrix(work);
  tridiagonalise(work, work.narrow);
  eigenvalues(work, work.narrow, std::min(work.rank + 1, work.narrow));
  eigenvectors(work, group.start);
  refine(work);
  check(work, solution);
  solution.tall_factor = work.tall_factor;
  solution.narrow_factor = work.narrow_factor;
  return solution;
}

}  // namespace
}  // namespace danaus::factor::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "danaus/core/random.h"

namespace danaus::factor {

HWY_EXPORT(lane_count_here);
HWY_EXPORT(solve_here);

std::size_t lane_count() { return HWY_DYNAMIC_DISPATCH(lane_count_here)(); }

std::size_t lane_work_size(std::size_t tall, std::size_t narrow, std::size_t rank) {
  const std::size_t columns = (narrow + 3) / 4 * 4;
  const std::size_t factors = rank * (tall + narrow);
  const std::size_t triangle = narrow * (narrow + 1) / 2;
  return lane_count() * (tall * columns + factors + triangle + 10 * narrow + rank + 1 + rank * narrow + 3 * tall);
}

std::vector<float> start_values(std::size_t count, std::size_t size) {
  constexpr std::uint64_t kSeed = 0x6d6f6e61726368;
  std::vector<float> values(count * size);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(2 * random_uniform(kSeed, 0, i) - 1);
  return values;
}

LaneSolution solve_lanes(const LaneGroup& group) { return HWY_DYNAMIC_DISPATCH(solve_here)(group); }

}  // namespace danaus::factor

#endif  // HWY_ONCE
