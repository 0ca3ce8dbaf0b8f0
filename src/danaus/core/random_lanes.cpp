// Many counter-based random numbers at a time: Philox4x32-10 with one block of four words per 64-bit lane, and normal
// numbers by Box and Muller's transformation, two from each pair of words.
//
// Number c is word c mod 4 of block c div 4, whatever range it is asked for with. Every operation is an integer one or
// an IEEE addition, multiplication or square root on one lane, so the bits are the same on every SIMD target.

#include "danaus/core/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/core/random_lanes.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <numbers>

#include "danaus/core/lane_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace danaus::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = lane_math::HWY_NAMESPACE;

constexpr int kRounds = 10;
constexpr std::uint32_t kFactor[2] = {0xD2511F53u, 0xCD9E8D57u};
constexpr std::uint32_t kKeyStep[2] = {0x9E3779B9u, 0xBB67AE85u};

/// Uniform in [0, 1) from the upper 24 bits of a word.
struct Uniform {
  template <class DF, class V32>
  static HWY_INLINE void convert(DF df, V32 first_word, V32 second_word, hn::Vec<DF>& first, hn::Vec<DF>& second) {
    const hn::RebindToSigned<DF> di;
    const auto number = [&](V32 word) HWY_ATTR {
      return hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(word))), hn::Set(df, 0x1p-24f));
    };
    first = number(first_word);
    second = number(second_word);
  }
};

/// Two normal numbers. The first word makes the radius sqrt(-2 ln u), u in the middle of one of 2^31 cells of (0, 1];
/// the second one the angle: 30 bits within an eighth of a turn to either side, one bit exchanges sine and cosine (a
/// mirror image, which is as good as a quarter turn), one bit adds half a turn.
struct Gaussian {
  template <class DF, class V32>
  static HWY_INLINE void convert(DF df, V32 radial, V32 angular, hn::Vec<DF>& first, hn::Vec<DF>& second) {
    using VF = hn::Vec<DF>;
    const hn::RebindToSigned<DF> di;
    const hn::RebindToUnsigned<DF> du;
    const VF u = hn::Mul(hn::Add(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<1>(radial))), hn::Set(df, 0.5f)),
                         hn::Set(df, 0x1p-31f));
    const VF radius = hn::Sqrt(hn::Mul(hn::Set(df, -2.0f), math::log_lanes(df, u)));
    constexpr auto kAngle = static_cast<float>(std::numbers::pi / 4 * 0x1p-31);
    const VF angle = hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftLeft<2>(angular))), hn::Set(df, kAngle));
    VF sine, cosine;
    math::sin_cos_lanes(df, angle, sine, cosine);
    const VF turned = hn::BitCast(df, hn::Xor(hn::BitCast(du, radius), hn::And(angular, hn::Set(du, 0x80000000u))));
    const auto exchange = hn::RebindMask(df, hn::Lt(hn::BitCast(di, hn::ShiftLeft<1>(angular)), hn::Zero(di)));
    first = hn::Mul(turned, hn::IfThenElse(exchange, sine, cosine));
    second = hn::Mul(turned, hn::IfThenElse(exchange, cosine, sine));
  }
};

#if HWY_TARGET == HWY_SCALAR

constexpr std::size_t kMostNumbers = 4;
std::size_t numbers_at_a_time() { return 4; }

/// The numbers of one block.
template <class Kind>
HWY_INLINE void numbers_of(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, float* out) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
  std::uint32_t word[4] = {low(block), high(block), low(stream), high(stream)};
  std::uint32_t key[2] = {low(seed), high(seed)};
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kFactor[0]} * word[0], product1 = std::uint64_t{kFactor[1]} * word[2];
    word[0] = high(product1) ^ word[1] ^ key[0];
    word[2] = high(product0) ^ word[3] ^ key[1];
    word[1] = low(product1);
    word[3] = low(product0);
    for (int i = 0; i < 2; ++i) key[i] += kKeyStep[i];
  }
  const hn::CappedTag<float, 1> df;
  const hn::RebindToUnsigned<decltype(df)> du;
  for (int pair = 0; pair < 4; pair += 2) {
    hn::Vec<decltype(df)> first, second;
    Kind::convert(df, hn::Set(du, word[pair]), hn::Set(du, word[pair + 1]), first, second);
    out[pair] = hn::GetLane(first);
    out[pair + 1] = hn::GetLane(second);
  }
}

#else

using D64 = hn::CappedTag<std::uint64_t, 8>;  // one block per lane
using D32 = hn::Repartition<std::uint32_t, D64>;
using DF = hn::Repartition<float, D64>;
using V64 = hn::Vec<D64>;
using V32 = hn::Vec<D32>;
using VF = hn::Vec<DF>;

constexpr std::size_t kMostNumbers = 32;
std::size_t numbers_at_a_time() { return 4 * hn::Lanes(D64()); }

/// Lower halves of `even` in the even 32-bit lanes, of `odd` in the odd ones.
HWY_INLINE V32 side_by_side(V64 even, V64 odd) {
  const D32 d32;
  return hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(odd)), hn::BitCast(d32, even));
}

/// The numbers of as many blocks as D64 has lanes. Words live in the lower halves of 64-bit lanes; what is in the upper
/// halves does not matter to the next multiplication.
template <class Kind>
HWY_INLINE void numbers_of(std::uint64_t seed, std::uint64_t stream, std::uint64_t block, float* out) {
  const D64 d64;
  const D32 d32;
  const DF df;
  const std::size_t blocks = hn::Lanes(d64);
  // Interleaving below takes the even lanes into the lower vector and the odd ones into the upper.
  HWY_ALIGN std::uint64_t counters[kMostNumbers / 4];
  for (std::size_t lane = 0; lane < blocks; ++lane) counters[lane] = block + lane / 2 + lane % 2 * (blocks / 2);
  V64 c0 = hn::Load(d64, counters);
  V64 c1 = hn::ShiftRight<32>(c0);
  V64 c2 = hn::Set(d64, stream);
  V64 c3 = hn::Set(d64, stream >> 32);
  const V32 factor0 = hn::Set(d32, kFactor[0]), factor1 = hn::Set(d32, kFactor[1]);
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const V64 product0 = hn::MulEven(factor0, hn::BitCast(d32, c0));
    const V64 product1 = hn::MulEven(factor1, hn::BitCast(d32, c2));
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), c1), hn::Set(d64, std::uint64_t{key0}));
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), c3), hn::Set(d64, std::uint64_t{key1}));
    c1 = product1;
    c3 = product0;
    key0 += kKeyStep[0];
    key1 += kKeyStep[1];
  }
  VF first, second;
  Kind::convert(df, side_by_side(c0, c2), side_by_side(c1, c3), first, second);
  hn::StoreU(hn::InterleaveLower(df, first, second), df, out);
  hn::StoreU(hn::InterleaveUpper(df, first, second), df, out + 2 * blocks);
}

#endif

template <class Kind>
HWY_INLINE void fill(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, float* out,
                     std::size_t count) {
  const std::size_t together = numbers_at_a_time();
  std::uint64_t block = first_counter / 4;
  std::size_t skip = first_counter % 4;  // numbers before the first that is wanted
  while (count > 0) {
    std::size_t taken = together;
    if (skip == 0 && count >= together) {
      numbers_of<Kind>(seed, stream, block, out);
    } else {
      float numbers[kMostNumbers];
      numbers_of<Kind>(seed, stream, block, numbers);
      taken = std::min(count, together - skip);
      std::memcpy(out, numbers + skip, taken * sizeof(float));
      skip = 0;
    }
    out += taken;
    count -= taken;
    block += together / 4;
  }
}

void gaussians_here(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, float* out,
                    std::size_t count) {
  fill<Gaussian>(seed, stream, first_counter, out, count);
}

void uniforms_here(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, float* out,
                   std::size_t count) {
  fill<Uniform>(seed, stream, first_counter, out, count);
}

}  // namespace
}  // namespace danaus::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace danaus {

HWY_EXPORT(gaussians_here);
HWY_EXPORT(uniforms_here);

void random_gaussians(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(gaussians_here)(seed, stream, first_counter, out.data(), out.size());
}

void random_uniforms(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_counter, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(uniforms_here)(seed, stream, first_counter, out.data(), out.size());
}

}  // namespace danaus

#endif  // HWY_ONCE
