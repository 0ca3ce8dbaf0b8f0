#pragma once

// A slow, independent oracle: one-sided Jacobi SVD in double precision, and the optimum of the family (k, l, r) by it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "danaus/core/random.h"
#include "danaus/core/structure.h"

namespace oracle {

/// Singular values of a rows x columns matrix (row-major), largest first.
inline std::vector<double> singular_values(std::vector<double> a, std::size_t rows, std::size_t columns) {
  if (rows < columns) {
    std::vector<double> transposed(a.size());
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) transposed[j * rows + i] = a[i * columns + j];
    a.swap(transposed);
    std::swap(rows, columns);
  }
  bool rotated = true;
  for (int sweep = 0; sweep < 60 && rotated; ++sweep) {
    rotated = false;
    for (std::size_t p = 0; p < columns; ++p) {
      for (std::size_t q = p + 1; q < columns; ++q) {
        double pp = 0, qq = 0, pq = 0;
        for (std::size_t i = 0; i < rows; ++i) {
          pp += a[i * columns + p] * a[i * columns + p];
          qq += a[i * columns + q] * a[i * columns + q];
          pq += a[i * columns + p] * a[i * columns + q];
        }
        if (std::abs(pq) <= 1e-15 * std::sqrt(pp * qq)) continue;
        rotated = true;
        const double zeta = (qq - pp) / (2 * pq);
        const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (std::size_t i = 0; i < rows; ++i) {
          const double x = a[i * columns + p], y = a[i * columns + q];
          a[i * columns + p] = c * x - s * y;
          a[i * columns + q] = s * x + c * y;
        }
      }
    }
  }
  std::vector<double> sigma(columns);
  for (std::size_t j = 0; j < columns; ++j) {
    double sum = 0;
    for (std::size_t i = 0; i < rows; ++i) sum += a[i * columns + j] * a[i * columns + j];
    sigma[j] = std::sqrt(sum);
  }
  std::sort(sigma.begin(), sigma.end(), std::greater<>());
  return sigma;
}

/// Sum of the discarded sigma^2 over all slices.
inline double optimum(std::span<const float> weights, const danaus::Structure& s) {
  double sum = 0;
  for (std::size_t i = 0; i < s.l; ++i) {
    for (std::size_t j = 0; j < s.k; ++j) {
      std::vector<double> slice(std::size_t{s.out_block} * s.in_block);
      for (std::size_t a = 0; a < s.out_block; ++a)
        for (std::size_t c = 0; c < s.in_block; ++c)
          if (i * s.out_block + a < s.out && j * s.in_block + c < s.in)
            slice[a * s.in_block + c] = static_cast<double>(weights[(i * s.out_block + a) * s.in + j * s.in_block + c]);
      const std::vector<double> sigma = singular_values(slice, s.out_block, s.in_block);
      for (std::size_t m = s.r; m < sigma.size(); ++m) sum += sigma[m] * sigma[m];
    }
  }
  return sum;
}

inline std::vector<float> gaussian(std::size_t count, std::uint64_t stream, double scale = 1) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(scale * danaus::random_gaussian(11, stream, i));
  return values;
}

/// Weights as tests/oracle/make_activation_figures.py and make_gather_figures.py make them: exact in single precision.
inline std::vector<float> weights_of(std::uint64_t out, std::uint64_t in) {
  std::vector<float> weights;
  for (std::uint64_t row = 0; row < out; ++row) {
    for (std::uint64_t column = 0; column < in; ++column)
      weights.push_back(static_cast<float>((row * 7919 + column * 104729 + row * column * column * 31) % 1009) / 1024 -
                        0.5f);
  }
  return weights;
}

inline double squared_norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

inline double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

}  // namespace oracle
