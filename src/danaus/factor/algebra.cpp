// All of factor that calls OpenBLAS. Row-major matrices are handed to LAPACK, which knows columns only, as their
// transposes: the lower triangle becomes the upper one.

#include "danaus/factor/algebra.h"

#include <cblas.h>

#include <algorithm>
#include <mutex>
#include <type_traits>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"

extern "C" {
void dpotrf_(const char* triangle, const blasint* n, double* a, const blasint* stride, blasint* info);
void dpotri_(const char* triangle, const blasint* n, double* a, const blasint* stride, blasint* info);
}

namespace danaus::factor {
namespace {

static_assert(std::is_same_v<blasint, int>);

CBLAS_TRANSPOSE blas(Transpose transpose) { return transpose == Transpose::yes ? CblasTrans : CblasNoTrans; }

}  // namespace

int blas_size(std::size_t size) {
  ensure(size <= 0x7fffffff, "sizes of matrices fit 31 bits");
  return static_cast<int>(size);
}

void use_one_blas_thread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

void multiply(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n, std::size_t k, float scale,
              View<const float> a, View<const float> b, float keep, View<float> c) {
  use_one_blas_thread();
  cblas_sgemm(CblasRowMajor, blas(transpose_a), blas(transpose_b), blas_size(m), blas_size(n), blas_size(k), scale,
              a.data, blas_size(a.stride), b.data, blas_size(b.stride), keep, c.data, blas_size(c.stride));
}

void multiply(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n, std::size_t k, double scale,
              View<const double> a, View<const double> b, double keep, View<double> c) {
  use_one_blas_thread();
  cblas_dgemm(CblasRowMajor, blas(transpose_a), blas(transpose_b), blas_size(m), blas_size(n), blas_size(k), scale,
              a.data, blas_size(a.stride), b.data, blas_size(b.stride), keep, c.data, blas_size(c.stride));
}

std::vector<float> product(std::size_t m, std::size_t n, std::size_t k, const float* a, const float* b) {
  std::vector<float> c(m * n);
  constexpr std::size_t kRows = 96;
  parallel_for(m, kRows, [&](std::size_t first, std::size_t last) {
    multiply(Transpose::no, Transpose::no, last - first, n, k, 1.0f, {a + first * k, k}, {b, n}, 0.0f,
             {c.data() + first * n, n});
  });
  return c;
}

bool cholesky(std::size_t n, double* a) {
  use_one_blas_thread();
  const blasint size = blas_size(n);
  blasint info = 0;
  dpotrf_("U", &size, a, &size, &info);
  for (std::size_t row = 0; row < n; ++row) std::fill(a + row * n + row + 1, a + (row + 1) * n, 0.0);
  return info == 0;
}

bool invert(std::size_t n, double* a) {
  if (!cholesky(n, a)) return false;
  const blasint size = blas_size(n);
  blasint info = 0;
  dpotri_("U", &size, a, &size, &info);
  for (std::size_t row = 0; row < n; ++row) {
    for (std::size_t column = row + 1; column < n; ++column) a[row * n + column] = a[column * n + row];
  }
  return info == 0;
}

void divide_rows(Transpose transposed, std::size_t m, std::size_t n, View<const float> lower, View<float> x) {
  use_one_blas_thread();
  cblas_strsm(CblasRowMajor, CblasRight, CblasLower, blas(transposed), CblasNonUnit, blas_size(m), blas_size(n), 1.0f,
              lower.data, blas_size(lower.stride), x.data, blas_size(x.stride));
}

void divide_rows(Transpose transposed, std::size_t m, std::size_t n, View<const double> lower, View<double> x) {
  use_one_blas_thread();
  cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, blas(transposed), CblasNonUnit, blas_size(m), blas_size(n), 1.0,
              lower.data, blas_size(lower.stride), x.data, blas_size(x.stride));
}

}  // namespace danaus::factor
