#pragma once

#include <cstdint>

namespace danaus {

/// Counter-based random numbers (Philox4x32-10): a value is a function of (seed, stream, counter) alone, so it does not
/// depend on threads or visiting order.
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);
/// Uniform in [0, 1) with 53 bits.
double random_uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);
/// Standard normal by inverse CDF (Acklam's rational approximation with one Halley step).
double random_gaussian(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);

}  // namespace danaus
