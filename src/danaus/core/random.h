#pragma once

#include <cstdint>
#include <span>

namespace danaus {

/// Counter-based random numbers (Philox4x32-10): a value is a function of (seed, stream, counter) alone, so it does not
/// depend on threads or visiting order.
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);
/// Uniform in [0, 1) with 53 bits.
double random_uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);
/// Standard normal by inverse CDF (Acklam's rational approximation with one Halley step).
double random_gaussian(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);

/// out[i] = standard normal number first_counter + i of (seed, stream), many at a time: each depends on (seed, stream,
/// number) only, never on how a range is cut, and has the same bits on every SIMD target. Single precision with 32
/// random bits per number (|value| <= 6.7); not the numbers of random_gaussian. For a matrix whose element (r, c) has
/// number base + r * stride + c, call it once per row.
void random_gaussians(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, std::span<float> out);
/// Likewise uniform in [0, 1), 24 bits.
void random_uniforms(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, std::span<float> out);

}  // namespace danaus
