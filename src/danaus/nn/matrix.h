#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "danaus/model/model.h"

namespace danaus::nn {

/// c = scale * a * b^T on one thread: a {m, k}, b {n, k}, c {m, n}, row-major with these distances between rows.
void multiply_transposed(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride,
                         const float* b, std::size_t b_stride, float* c, std::size_t c_stride, float scale = 1);
/// c = a * b on one thread: a {m, k}, b {k, n}, c {m, n}.
void multiply(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride, const float* b,
              std::size_t b_stride, float* c, std::size_t c_stride);

/// y = W x for `tokens` vectors on all threads: weights {out, in}, x {tokens, in}, y {tokens, out} with `y_stride`
/// elements from one token to the next. The same bits for any thread count.
void multiply_tokens(std::size_t out, std::size_t in, const float* weights, std::span<const float> x,
                     std::size_t tokens, float* y, std::size_t y_stride);

/// The weights of an operator in float32: held, or converted strip by strip whenever they are used.
class FloatMatrix {
 public:
  /// The operator has weights.
  FloatMatrix(model::LinearOperator operation, bool resident);
  std::size_t out() const { return operation_.out; }
  std::size_t in() const { return operation_.in; }
  /// y = W x: x {tokens, in}, y {tokens, out}.
  void multiply(std::span<const float> x, std::size_t tokens, std::span<float> y) const;

 private:
  model::LinearOperator operation_;
  std::vector<float> weights_;  ///< empty unless resident
};

}  // namespace danaus::nn
