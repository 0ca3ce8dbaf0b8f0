#pragma once

#include <cstddef>

/// Functions of vectors, in single precision with SIMD; y may be x.
namespace danaus::nn {

void silu(const float* x, float* y, std::size_t n);
/// Exact form; the error function within 2e-7.
void gelu(const float* x, float* y, std::size_t n);
void gelu_tanh(const float* x, float* y, std::size_t n);

/// x[e] = exp(x[e] - max) / sum of them, in place. A NaN makes all of them NaN.
void softmax(float* x, std::size_t n);
/// ln of the sum of exp(x[e]).
double log_sum_exp(const float* x, std::size_t n);

bool all_finite(const float* x, std::size_t n);

}  // namespace danaus::nn
