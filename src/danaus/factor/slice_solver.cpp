// Truncated SVD of one slice of any size in double precision: large slices, and small ones that the single-precision
// lanes could not settle.
//
//   Gram matrix of the narrow side (packed panels, register tiles) -> Householder tridiagonalisation, where the rank-2
//   update of one step and the matrix-vector product of the next share one pass over the matrix -> the r largest
//   eigenvalues by bisection, several at a time in SIMD lanes -> inverse iteration, each vector kept orthogonal to all
//   before it -> V. U = A V, sigma = its column lengths.
//
// SIMD runs along matrix rows, so every element is one sequential sum whatever the vector length; inner products run
// over eight fixed virtual lanes. Work is shared between threads by columns or rows of the result. So bits do not
// depend on the SIMD target or on the thread count.

#include "danaus/factor/slice_solver.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/factor/slice_solver.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace danaus::factor::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<double, 8>;
using V = hn::Vec<D>;

constexpr std::size_t kPanel = 16;  // columns of a packed panel

/// Adds the products of two panels (depth x 16 each) to a 16 x 16 tile.
void panel_product(const double* left, const double* right, std::size_t depth, double* tile, std::size_t stride) {
  const D d;
  const std::size_t n = hn::Lanes(d);
  for (std::size_t i = 0; i < kPanel; i += 4) {
    for (std::size_t j = 0; j < kPanel; j += 2 * n) {
      const std::size_t second = n < kPanel ? n : 0;
      double* const row0 = tile + i * stride + j;
      double* const row1 = row0 + stride;
      double* const row2 = row1 + stride;
      double* const row3 = row2 + stride;
      V s00 = hn::LoadU(d, row0), s01 = hn::LoadU(d, row0 + second);
      V s10 = hn::LoadU(d, row1), s11 = hn::LoadU(d, row1 + second);
      V s20 = hn::LoadU(d, row2), s21 = hn::LoadU(d, row2 + second);
      V s30 = hn::LoadU(d, row3), s31 = hn::LoadU(d, row3 + second);
      const double* a = left + i;
      const double* b = right + j;
      for (std::size_t t = 0; t < depth; ++t, a += kPanel, b += kPanel) {
        const V b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + second);
        const V a0 = hn::Set(d, a[0]), a1 = hn::Set(d, a[1]), a2 = hn::Set(d, a[2]), a3 = hn::Set(d, a[3]);
        s00 = hn::Add(s00, hn::Mul(a0, b0));
        s01 = hn::Add(s01, hn::Mul(a0, b1));
        s10 = hn::Add(s10, hn::Mul(a1, b0));
        s11 = hn::Add(s11, hn::Mul(a1, b1));
        s20 = hn::Add(s20, hn::Mul(a2, b0));
        s21 = hn::Add(s21, hn::Mul(a2, b1));
        s30 = hn::Add(s30, hn::Mul(a3, b0));
        s31 = hn::Add(s31, hn::Mul(a3, b1));
      }
      hn::StoreU(s00, d, row0), hn::StoreU(s01, d, row0 + second);
      hn::StoreU(s10, d, row1), hn::StoreU(s11, d, row1 + second);
      hn::StoreU(s20, d, row2), hn::StoreU(s21, d, row2 + second);
      hn::StoreU(s30, d, row3), hn::StoreU(s31, d, row3 + second);
    }
  }
}

/// Columns [first, last) (whole vectors) of: A -= u q^T + q u^T on `rows` rows, product = A next.
void update_and_multiply(double* matrix, std::size_t stride, std::size_t rows, const double* u, const double* q,
                         const double* next, double* product, std::size_t first, std::size_t last) {
  const D d;
  const std::size_t n = hn::Lanes(d);
  for (std::size_t j = first; j < last; j += n) hn::StoreU(hn::Zero(d), d, product + j);
  const auto reduced = [](V a, V uk, V qk, V uj, V qj) {
    return hn::Sub(a, hn::Add(hn::Mul(uk, qj), hn::Mul(qk, uj)));
  };
  std::size_t k = 0;
  for (; k + 2 <= rows; k += 2) {
    double* const row0 = matrix + k * stride;
    double* const row1 = row0 + stride;
    const V u0 = hn::Set(d, u[k]), u1 = hn::Set(d, u[k + 1]);
    const V q0 = hn::Set(d, q[k]), q1 = hn::Set(d, q[k + 1]);
    const V w0 = hn::Set(d, next[k]), w1 = hn::Set(d, next[k + 1]);
    for (std::size_t j = first; j < last; j += n) {
      const V uj = hn::LoadU(d, u + j), qj = hn::LoadU(d, q + j);
      const V a0 = reduced(hn::LoadU(d, row0 + j), u0, q0, uj, qj);
      const V a1 = reduced(hn::LoadU(d, row1 + j), u1, q1, uj, qj);
      hn::StoreU(a0, d, row0 + j);
      hn::StoreU(a1, d, row1 + j);
      const V sum = hn::Add(hn::Add(hn::LoadU(d, product + j), hn::Mul(a0, w0)), hn::Mul(a1, w1));
      hn::StoreU(sum, d, product + j);
    }
  }
  for (; k < rows; ++k) {
    double* const row0 = matrix + k * stride;
    const V u0 = hn::Set(d, u[k]), q0 = hn::Set(d, q[k]), w0 = hn::Set(d, next[k]);
    for (std::size_t j = first; j < last; j += n) {
      const V a0 = reduced(hn::LoadU(d, row0 + j), u0, q0, hn::LoadU(d, u + j), hn::LoadU(d, q + j));
      hn::StoreU(a0, d, row0 + j);
      hn::StoreU(hn::Add(hn::LoadU(d, product + j), hn::Mul(a0, w0)), d, product + j);
    }
  }
}

/// Largest eigenvalues number first+1 .. first+8 (beyond `size` repeats the last) of the tridiagonal, by bisection
/// below `bound`.
void bisect_eight(const double* diagonal, const double* side2, std::size_t size, std::size_t first, double bound,
                  double* values) {
  constexpr int kSteps = 56;  // as many bits as the numbers have, and a few for the width of Gershgorin's disc
  const D d;
  const std::size_t n = hn::Lanes(d);
  for (std::size_t part = 0; part < 8; part += n) {
    double most_lanes[8];
    for (std::size_t q = 0; q < n; ++q)
      most_lanes[q] = static_cast<double>(size - std::min(size, first + part + q + 1));
    const V most = hn::LoadU(d, most_lanes);
    V low = hn::Zero(d), high = hn::Set(d, bound);
    for (int step = 0; step < kSteps; ++step) {
      const V x = hn::Mul(hn::Add(low, high), hn::Set(d, 0.5));
      V quotient = hn::Sub(hn::Set(d, diagonal[0]), x);
      V count = hn::IfThenElseZero(hn::Lt(quotient, hn::Zero(d)), hn::Set(d, 1));
      for (std::size_t i = 1; i < size; ++i) {
        quotient = hn::Sub(hn::Sub(hn::Set(d, diagonal[i]), x), hn::Div(hn::Set(d, side2[i]), quotient));
        count = hn::Add(count, hn::IfThenElseZero(hn::Lt(quotient, hn::Zero(d)), hn::Set(d, 1)));
      }
      const auto up = hn::Le(count, most);
      low = hn::IfThenElse(up, x, low);
      high = hn::IfThenElse(up, high, x);
    }
    hn::StoreU(high, d, values + part);
  }
}

/// Inner product over eight virtual lanes. Vectors are padded to whole lanes with zeros.
double dot(const double* a, const double* b, std::size_t size) {
  const D d;
  const std::size_t n = hn::Lanes(d);
  double sums[8] = {};
  // Each lane is its own sequential sum; a target with shorter vectors takes the eight lanes in turns.
  for (std::size_t part = 0; part < 8; part += n) {
    V sum = hn::Zero(d);
    for (std::size_t i = part; i < size; i += 8) sum = hn::Add(sum, hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)));
    hn::StoreU(sum, d, sums + part);
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// y += a x.
void add_multiple(double a, const double* x, double* y, std::size_t size) {
  const D d;
  const V factor = hn::Set(d, a);
  for (std::size_t i = 0; i < size; i += hn::Lanes(d))
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::Mul(factor, hn::LoadU(d, x + i))), d, y + i);
}

/// `rows` rows (at most 4) of product = slice * vectors (narrow x width, width in whole lanes).
void multiply_rows(const float* slice, std::size_t narrow, std::size_t rows, const double* vectors, std::size_t width,
                   double* product) {
  const D d;
  const std::size_t n = hn::Lanes(d);
  // Absent rows repeat the first one and are not stored.
  const float* const a0 = slice;
  const float* const a1 = rows > 1 ? slice + narrow : slice;
  const float* const a2 = rows > 2 ? slice + 2 * narrow : slice;
  const float* const a3 = rows > 3 ? slice + 3 * narrow : slice;
  for (std::size_t j = 0; j < width; j += n) {
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (std::size_t c = 0; c < narrow; ++c) {
      const V x = hn::LoadU(d, vectors + c * width + j);
      s0 = hn::Add(s0, hn::Mul(hn::Set(d, static_cast<double>(a0[c])), x));
      s1 = hn::Add(s1, hn::Mul(hn::Set(d, static_cast<double>(a1[c])), x));
      s2 = hn::Add(s2, hn::Mul(hn::Set(d, static_cast<double>(a2[c])), x));
      s3 = hn::Add(s3, hn::Mul(hn::Set(d, static_cast<double>(a3[c])), x));
    }
    hn::StoreU(s0, d, product + j);
    if (rows > 1) hn::StoreU(s1, d, product + width + j);
    if (rows > 2) hn::StoreU(s2, d, product + 2 * width + j);
    if (rows > 3) hn::StoreU(s3, d, product + 3 * width + j);
  }
}

}  // namespace
}  // namespace danaus::factor::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "danaus/core/parallel.h"

namespace danaus::factor {
namespace {

HWY_EXPORT(panel_product);
HWY_EXPORT(update_and_multiply);
HWY_EXPORT(bisect_eight);
HWY_EXPORT(dot);
HWY_EXPORT(add_multiple);
HWY_EXPORT(multiply_rows);

using HWY_NAMESPACE::kPanel;
constexpr std::size_t kLanes = 8;

std::size_t padded(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

double inner(const double* a, const double* b, std::size_t size) { return HWY_DYNAMIC_DISPATCH(dot)(a, b, size); }

/// One chunk is not worth a task.
void share(std::size_t count, std::size_t chunk, const std::function<void(std::size_t, std::size_t)>& body) {
  if (count <= chunk) {
    body(0, count);
  } else {
    parallel_for(count, chunk, body);
  }
}

/// A symmetric matrix in full, rows padded with zeros to whole panels.
struct Square {
  std::size_t size = 0;
  std::size_t stride = 0;
  std::vector<double> elements;
  double* row(std::size_t i) { return elements.data() + i * stride; }
};

Square gram_matrix(std::span<const float> slice, std::size_t tall, std::size_t narrow) {
  constexpr std::size_t kDepth = 128;  // rows of A in a packed panel: two panels fit the first-level cache
  Square gram{narrow, padded(narrow, kPanel), {}};
  gram.elements.resize(gram.stride * gram.stride);
  const std::size_t panels = gram.stride / kPanel;
  std::vector<double> packed(gram.stride * std::min(kDepth, tall));
  for (std::size_t first = 0; first < tall; first += kDepth) {
    const std::size_t depth = std::min(kDepth, tall - first);
    share(panels, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t panel = begin; panel < end; ++panel) {
        double* const to = packed.data() + panel * kPanel * depth;
        const std::size_t columns = std::min(kPanel, narrow - panel * kPanel);
        for (std::size_t t = 0; t < depth; ++t) {
          const float* const from = slice.data() + (first + t) * narrow + panel * kPanel;
          for (std::size_t c = 0; c < kPanel; ++c) to[t * kPanel + c] = c < columns ? static_cast<double>(from[c]) : 0;
        }
      }
    });
    share(panels, 2, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i)
        for (std::size_t j = 0; j <= i; ++j) HWY_DYNAMIC_DISPATCH(panel_product)
      (packed.data() + i * kPanel * depth, packed.data() + j * kPanel * depth, depth, gram.row(i * kPanel) + j * kPanel,
       gram.stride);
    });
  }
  for (std::size_t i = 0; i < narrow; ++i)
    for (std::size_t j = 0; j < i; ++j) gram.row(j)[i] = gram.row(i)[j];
  return gram;
}

struct Tridiagonal {
  std::vector<double> diagonal;
  std::vector<double> side;  ///< side[i] couples i - 1 and i
  std::vector<double> tau;   ///< 2 / ||u||^2 of Householder vector i, which has i elements
};

/// Reduces the matrix; Householder vector i replaces its row i (elements from i on are zero).
Tridiagonal tridiagonalise(Square& matrix) {
  constexpr std::size_t kColumns = 512;
  const std::size_t size = matrix.size;
  Tridiagonal t{std::vector<double>(size), std::vector<double>(size), std::vector<double>(size)};
  double trace = 0;
  for (std::size_t i = 0; i < size; ++i) trace += matrix.row(i)[i];
  const double tiny = trace * 1e-30;
  const std::vector<double> zeros(matrix.stride);
  std::vector<double> product(matrix.stride), q(matrix.stride);
  const double* previous = zeros.data();  // the vector of the update that is still to be made
  for (std::size_t i = size; i-- > 0;) {
    double* const u = matrix.row(i);
    if (i + 1 < size) {
      HWY_DYNAMIC_DISPATCH(add_multiple)(-previous[i], q.data(), u, matrix.stride);
      HWY_DYNAMIC_DISPATCH(add_multiple)(-q[i], previous, u, matrix.stride);
    }
    t.diagonal[i] = u[i];
    std::fill(u + i, u + matrix.stride, 0.0);
    if (i == 0) break;
    const double alpha = u[i - 1];
    u[i - 1] = 0;
    const double rest = inner(u, u, matrix.stride);
    double beta = alpha;
    if (rest > tiny * tiny) {
      beta = -std::copysign(std::sqrt(rest + alpha * alpha), alpha);
      t.tau[i] = 1 / (rest + alpha * (alpha - beta));
    }
    u[i - 1] = alpha - beta;
    t.side[i] = beta;
    share(padded(i, kLanes), kColumns, [&](std::size_t first, std::size_t last) {
      HWY_DYNAMIC_DISPATCH(update_and_multiply)
      (matrix.elements.data(), matrix.stride, i, previous, q.data(), u, product.data(), first, last);
    });
    const double shift = inner(u, product.data(), padded(i, kLanes)) * t.tau[i] * t.tau[i] * 0.5;
    for (std::size_t k = 0; k < i; ++k) q[k] = product[k] * t.tau[i] - shift * u[k];
    std::fill(q.begin() + static_cast<std::ptrdiff_t>(i), q.end(), 0.0);
    previous = u;
  }
  return t;
}

std::vector<double> largest_eigenvalues(const Tridiagonal& t, std::size_t count) {
  const std::size_t size = t.diagonal.size();
  std::vector<double> side2(size);
  double bound = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const double before = std::abs(t.side[i]);
    const double after = i + 1 < size ? std::abs(t.side[i + 1]) : 0;
    bound = std::max(bound, t.diagonal[i] + before + after);
    side2[i] = std::max(before * before, 1e-300);  // never zero, so that no Sturm quotient is 0 / 0
  }
  std::vector<double> values(padded(count, kLanes));
  share(values.size() / kLanes, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) HWY_DYNAMIC_DISPATCH(bisect_eight)
    (t.diagonal.data(), side2.data(), size, part * kLanes, bound * (1 + 1e-15), values.data() + part * kLanes);
  });
  return values;
}

/// T - shift factorised with partial pivoting.
class ShiftedTridiagonal {
 public:
  ShiftedTridiagonal(const Tridiagonal& t, double shift, double smallest) : rows_(t.diagonal.size()) {
    const auto guarded = [smallest](double x) { return std::abs(x) < smallest ? std::copysign(smallest, x) : x; };
    const std::size_t size = rows_.size();
    double diagonal = t.diagonal[0] - shift;
    double next = size > 1 ? t.side[1] : 0;
    for (std::size_t i = 0; i + 1 < size; ++i) {
      const double below = t.side[i + 1];
      const double below_diagonal = t.diagonal[i + 1] - shift;
      const double below_next = i + 2 < size ? t.side[i + 2] : 0;
      Row& row = rows_[i];
      row.swapped = std::abs(below) > std::abs(diagonal);
      row.pivot = guarded(row.swapped ? below : diagonal);
      row.factor = (row.swapped ? diagonal : below) / row.pivot;
      row.upper1 = row.swapped ? below_diagonal : next;
      row.upper2 = row.swapped ? below_next : 0;
      diagonal = (row.swapped ? next : below_diagonal) - row.factor * row.upper1;
      next = (row.swapped ? 0 : below_next) - row.factor * row.upper2;
    }
    rows_.back().pivot = guarded(diagonal);
  }

  void forward(double* x) const {
    for (std::size_t i = 0; i + 1 < rows_.size(); ++i) {
      if (rows_[i].swapped) std::swap(x[i], x[i + 1]);
      x[i + 1] -= rows_[i].factor * x[i];
    }
  }

  void backward(double* x) const {
    double after = 0, after2 = 0;
    for (std::size_t i = rows_.size(); i-- > 0;) {
      x[i] = (x[i] - rows_[i].upper1 * after - rows_[i].upper2 * after2) / rows_[i].pivot;
      after2 = after;
      after = x[i];
    }
  }

 private:
  struct Row {
    double pivot = 0, upper1 = 0, upper2 = 0, factor = 0;
    bool swapped = false;
  };
  std::vector<Row> rows_;
};

/// Scales to length 1, through the largest element so that nothing overflows; zero stays zero.
void normalise(double* x, std::size_t size) {
  double largest = 0;
  for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, std::abs(x[i]));
  if (largest == 0) return;
  for (std::size_t i = 0; i < size; ++i) x[i] /= largest;
  const double length = std::sqrt(inner(x, x, size));
  for (std::size_t i = 0; i < size; ++i) x[i] /= length;
}

/// Orthonormal eigenvectors of T to its `count` largest eigenvalues, one per row.
std::vector<double> eigenvectors(const Tridiagonal& t, const std::vector<double>& values, std::size_t count) {
  constexpr int kIterations = 3;
  const std::size_t size = t.diagonal.size();
  const std::size_t stride = padded(size, kLanes);
  const std::vector<float> start = start_values(count, size);
  std::vector<double> vectors(count * stride);
  const double smallest = std::max(values[0] * 2.2e-16, 1e-200);
  for (std::size_t m = 0; m < count; ++m) {
    double* const x = vectors.data() + m * stride;
    for (std::size_t i = 0; i < size; ++i) x[i] = static_cast<double>(start[m * size + i]);
    const ShiftedTridiagonal shifted(t, values[m], smallest);
    for (int iteration = 0; iteration < kIterations; ++iteration) {
      if (iteration > 0) shifted.forward(x);
      shifted.backward(x);
      // Twice is enough: within a cluster of eigenvalues the first sweep may cancel nearly everything.
      for (int sweep = 0; sweep < 2; ++sweep) {
        normalise(x, stride);
        for (std::size_t b = 0; b < m; ++b) {
          const double* const other = vectors.data() + b * stride;
          HWY_DYNAMIC_DISPATCH(add_multiple)(-inner(x, other, stride), other, x, stride);
        }
      }
      normalise(x, stride);
    }
  }
  return vectors;
}

}  // namespace

SliceSolution solve_slice(std::span<const float> slice, std::size_t tall, std::size_t narrow, std::size_t rank) {
  Square gram = gram_matrix(slice, tall, narrow);
  double squared_norm = 0;
  for (std::size_t i = 0; i < narrow; ++i) squared_norm += gram.row(i)[i];
  const std::size_t count = std::min(rank, narrow);
  SliceSolution solution{std::vector<double>(rank * tall), std::vector<double>(rank * narrow), 0};
  if (squared_norm == 0) return solution;

  const Tridiagonal t = tridiagonalise(gram);
  const std::vector<double> values = largest_eigenvalues(t, count);
  std::vector<double> z = eigenvectors(t, values, count);
  const std::size_t stride = padded(narrow, kLanes);
  share(count, 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = 1; i < narrow; ++i) {
      const double* const u = gram.row(i);
      const std::size_t length = padded(i, kLanes);
      for (std::size_t m = begin; m < end; ++m) {
        double* const x = z.data() + m * stride;
        HWY_DYNAMIC_DISPATCH(add_multiple)(-inner(u, x, length) * t.tau[i], u, x, length);
      }
    }
  });

  const std::size_t width = padded(count, kLanes);
  std::vector<double> columns(narrow * width);
  for (std::size_t c = 0; c < narrow; ++c)
    for (std::size_t m = 0; m < count; ++m) columns[c * width + m] = z[m * stride + c];
  std::vector<double> product(tall * width);
  share(tall, 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t first = begin; first < end; first += 4) HWY_DYNAMIC_DISPATCH(multiply_rows)
    (slice.data() + first * narrow, narrow, std::min<std::size_t>(4, end - first), columns.data(), width,
     product.data() + first * width);
  });

  double kept = 0;
  for (std::size_t m = 0; m < count; ++m) {
    double sigma2 = 0;
    for (std::size_t i = 0; i < tall; ++i) sigma2 += product[i * width + m] * product[i * width + m];
    kept += sigma2;
    if (sigma2 == 0) continue;
    const double root = std::sqrt(std::sqrt(sigma2));
    for (std::size_t i = 0; i < tall; ++i) solution.tall_factor[m * tall + i] = product[i * width + m] / root;
    for (std::size_t c = 0; c < narrow; ++c) solution.narrow_factor[m * narrow + c] = z[m * stride + c] * root;
  }
  if (count < narrow) solution.discarded = std::max(0.0, squared_norm - kept);
  return solution;
}

}  // namespace danaus::factor

#endif  // HWY_ONCE
