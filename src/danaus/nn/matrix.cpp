// Products of matrices through the CBLAS interface of OpenBLAS. Every call runs on one thread; the outputs are cut into
// chunks whose borders depend on the sizes alone, and parallel_for shares those out. An output is one call's work, so
// its bits do not depend on the thread count (they may depend on how many tokens are multiplied at once).
// One or a few tokens read all weights for little arithmetic: matrix times vector, row by row.

#include "danaus/nn/matrix.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/algebra.h"
#include "danaus/nn/transformer.h"

namespace danaus::nn {
namespace {

using factor::blas_size;
using factor::use_one_blas_thread;

constexpr std::size_t kFewTokens = 3;            // so many are multiplied one by one
constexpr std::size_t kVectorChunk = 1u << 16;   // weights
constexpr std::size_t kStripWeights = 1u << 23;  // converted at once

}  // namespace

void multiply_transposed(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride,
                         const float* b, std::size_t b_stride, float* c, std::size_t c_stride, float scale) {
  use_one_blas_thread();
  if (m == 1) {
    cblas_sgemv(CblasRowMajor, CblasNoTrans, blas_size(n), blas_size(k), scale, b, blas_size(b_stride), a, 1, 0, c, 1);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas_size(m), blas_size(n), blas_size(k), scale, a,
              blas_size(a_stride), b, blas_size(b_stride), 0, c, blas_size(c_stride));
}

void multiply(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride, const float* b,
              std::size_t b_stride, float* c, std::size_t c_stride) {
  use_one_blas_thread();
  if (m == 1) {
    cblas_sgemv(CblasRowMajor, CblasTrans, blas_size(k), blas_size(n), 1, b, blas_size(b_stride), a, 1, 0, c, 1);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas_size(m), blas_size(n), blas_size(k), 1, a,
              blas_size(a_stride), b, blas_size(b_stride), 0, c, blas_size(c_stride));
}

void multiply_tokens(std::size_t out, std::size_t in, const float* weights, std::span<const float> x,
                     std::size_t tokens, float* y, std::size_t y_stride) {
  if (tokens == 0) return;
  if (tokens <= kFewTokens) {
    const std::size_t chunk = std::max<std::size_t>(16, kVectorChunk / in);
    parallel_for(out, chunk, [&](std::size_t first, std::size_t last) {
      for (std::size_t token = 0; token < tokens; ++token)
        multiply_transposed(1, last - first, in, x.data() + token * in, in, weights + first * in, in,
                            y + token * y_stride + first, y_stride);
    });
    return;
  }
  // Large enough that packing the tokens, which every call does anew, is small beside the product.
  const std::size_t chunk = std::clamp<std::size_t>((out / 8 + 15) / 16 * 16, 96, 512);
  parallel_for(out, chunk, [&](std::size_t first, std::size_t last) {
    multiply_transposed(tokens, last - first, in, x.data(), in, weights + first * in, in, y + first, y_stride);
  });
}

FloatMatrix::FloatMatrix(model::LinearOperator operation, bool resident) : operation_(std::move(operation)) {
  ensure(operation_.weight.has_value(), "the operator has weights");
  if (resident) weights_ = model::read_weights(operation_);
}

void FloatMatrix::multiply(std::span<const float> x, std::size_t tokens, std::span<float> y) const {
  ensure(x.size() == tokens * in() && y.size() == tokens * out(), "vectors have the sizes of the operator");
  if (!weights_.empty()) {
    multiply_tokens(out(), in(), weights_.data(), x, tokens, y.data(), out());
    return;
  }
  const std::size_t rows = std::clamp<std::size_t>(kStripWeights / in(), 1, out());
  std::vector<float> strip(rows * in());
  for (std::size_t first = 0; first < out(); first += rows) {
    const std::size_t count = std::min(rows, out() - first);
    model::read_weights(operation_, static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count),
                        std::span(strip).first(count * in()));
    multiply_tokens(count, in(), strip.data(), x, tokens, y.data() + first, out());
  }
}

std::string blas_description() {
  return fmt::format("{}, kernel {}, one thread per call", openblas_get_config(), openblas_get_corename());
}

}  // namespace danaus::nn
