#pragma once

#include <cstddef>
#include <vector>

/// Dense linear algebra of the projections that see activations: OpenBLAS with its LAPACK, one thread per call, so that
/// bits depend on the processor but not on the thread count. Matrices are row-major.
namespace danaus::factor {

/// A part of a row-major matrix: `stride` elements from one row to the next.
template <typename Scalar>
struct View {
  Scalar* data = nullptr;
  std::size_t stride = 0;
};

enum class Transpose : bool { no, yes };

/// A size as OpenBLAS takes it; what does not fit is a broken invariant.
int blas_size(std::size_t size);
/// Each of OpenBLAS's calls runs on the thread that makes it. For everything that calls OpenBLAS, before it does.
void use_one_blas_thread();

/// c {m, n} = scale * op(a) {m, k} * op(b) {k, n} + keep * c, on one thread.
void multiply(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n, std::size_t k, float scale,
              View<const float> a, View<const float> b, float keep, View<float> c);
void multiply(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n, std::size_t k, double scale,
              View<const double> a, View<const double> b, double keep, View<double> c);

/// c {m, n} = a {m, k} * b {k, n} on all threads; all rows are neighbours.
std::vector<float> product(std::size_t m, std::size_t n, std::size_t k, const float* a, const float* b);

/// Cholesky factor G (lower, G G^T = a) in the lower triangle of a {n, n}; zeros above it. False if the matrix is not
/// positive definite.
bool cholesky(std::size_t n, double* a);
/// The symmetric inverse of a positive definite matrix {n, n}, whole. False if it is not positive definite.
bool invert(std::size_t n, double* a);

/// Rows of x {m, n} times the inverse of G (or of G^T), G lower {n, n}: x = x G^-1, in place, on one thread.
void divide_rows(Transpose transposed, std::size_t m, std::size_t n, View<const float> lower, View<float> x);
void divide_rows(Transpose transposed, std::size_t m, std::size_t n, View<const double> lower, View<double> x);

}  // namespace danaus::factor
