#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// The inner loops of the analog machine, for the instruction set that the processor has.
namespace danaus::machine::kernel {

/// Columns that are computed together. Panels of fewer are padded with zeros.
inline constexpr std::size_t kPanel = 32;

/// Neighbouring inputs of a vector.
struct InputRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// sums[t * kPanel + c] = sum over k of x[t * stride + input(k)] * panel[k * kPanel + c] for c < kPanel, k ascending
/// through the runs, every output with one chain of (fused, where the processor has them) multiply-adds: the value does
/// not depend on how many tokens are computed together. Integers below 2^24 are exact.
void multiply_panel(const float* x, std::size_t stride, std::size_t tokens, std::span<const InputRun> runs,
                    const float* panel, std::size_t columns, float* sums);

/// Analog-to-digital converters of a panel's columns.
struct Converters {
  float per_lsb[kPanel];  ///< codes per unit of the sum
  float offset[kPanel];   ///< in codes
  float value[kPanel];    ///< what one code adds to the total
  float limit = 0;        ///< largest code
};
struct ConversionCounts {
  std::uint64_t conversions = 0, clipped = 0, zero = 0;
  ConversionCounts& operator+=(const ConversionCounts& other) {
    conversions += other.conversions;
    clipped += other.clipped;
    zero += other.zero;
    return *this;
  }
  bool operator==(const ConversionCounts&) const = default;
};
/// totals[t * kPanel + c] += value * code, code = sum * per_lsb + offset rounded half to even, at most the limit.
ConversionCounts convert_panel(const float* sums, std::size_t tokens, std::size_t columns, const Converters& converters,
                               double* totals);

/// codes[n] = x[n] * factor rounded half to even, between -limit and limit. Returns how many were beyond the limit.
std::uint64_t to_codes(std::span<const float> x, float factor, float limit, float* codes);
/// max |x|; not finite if an element is not.
float largest_magnitude(std::span<const float> x);

}  // namespace danaus::machine::kernel
