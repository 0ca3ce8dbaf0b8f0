// What codes become on cells: exact without effects, the published statistics with them, and the same for any cut of an
// operator into rectangles and on every SIMD target.

#include "danaus/machine/analog/cells.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include "danaus/chip/device/device.h"
#include "danaus/core/random.h"

namespace {

using namespace danaus;
using namespace danaus::machine;
using chip::DeviceKind;
using chip::Pair;
using doctest::Approx;
using Noise = chip::Chip::Noise;

Noise noise_of(DeviceKind kind, double time_s = 0) {
  Noise noise;
  noise.device = kind;
  noise.time_s = time_s;
  return noise;
}

CellKeys rectangle(std::uint32_t inputs, std::uint32_t outputs) {
  CellKeys keys;
  keys.node = 17;
  keys.stage = 1;
  keys.inputs = inputs;
  keys.outputs = outputs;
  return keys;
}

/// Integer codes -127 ... 127.
std::vector<float> codes_of(const CellKeys& keys) {
  std::vector<float> codes;
  for (std::uint32_t i = 0; i < keys.inputs; ++i) {
    for (std::uint32_t j = 0; j < keys.outputs; ++j) {
      const std::uint32_t in = keys.in_first + i * keys.in_step, out = keys.out_first + j * keys.out_step;
      codes.push_back(static_cast<float>(static_cast<int>((in * 89 + out * 31) % 255) - 127));
    }
  }
  return codes;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

struct Moments {
  double mean = 0, sd = 0;
};

Moments moments_of(std::span<const float> values, double unit = 1) {
  double sum = 0, squares = 0;
  for (const float value : values) sum += static_cast<double>(value);
  const double n = static_cast<double>(values.size()), mean = sum / n;
  for (const float value : values) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
  return {mean * unit, std::sqrt(squares / n) * unit};
}

/// 400,000 devices with target `r`, in parts of the largest conductance.
std::vector<float> devices(const Noise& noise, double r) {
  const CellKeys keys = rectangle(400, 1000);
  const std::vector<float> codes(400'000, static_cast<float>(r));
  return program_cells(noise, 1, 0, keys, codes, 1).plus;
}

/// All effects of [noise] at once.
Noise everything() {
  Noise noise = noise_of(DeviceKind::pcm, 3600);
  noise.stuck_low = noise.stuck_high = 0.01;
  noise.g_min_us = 1;
  noise.read_noise = chip::ReadNoise::output;
  noise.read_kind = chip::ReadKind::root;
  return noise;
}

}  // namespace

TEST_CASE("without effects the difference of the devices is the code, bit for bit") {
  const CellKeys keys = rectangle(9, 37);
  const std::vector<float> codes = codes_of(keys);
  for (const Pair pair : {Pair::one_sided, Pair::two_sided, Pair::offset}) {
    for (const double g_min : {0.0, 2.5}) {
      for (const DeviceKind kind : {DeviceKind::ideal, DeviceKind::pcm, DeviceKind::reram_wan, DeviceKind::sonos}) {
        Noise noise = noise_of(kind, 0);
        if (kind != DeviceKind::ideal) noise.programming = noise.drift = noise.flicker = 0;
        noise.pair = pair;
        noise.g_min_us = g_min * chip::device::device_of(kind).g_max_us / 25;
        const Conductances cells = program_cells(noise, 3, 0, keys, codes, 127);
        std::vector<float> difference(codes.size());
        for (std::size_t i = 0; i < codes.size(); ++i) difference[i] = cells.plus[i] - cells.minus[i];
        CHECK(std::equal(difference.begin(), difference.end(), codes.begin()));
        CHECK(cells.read_variance.empty());
        CHECK(cells.programmed_sum == cells.present_sum);
        double sum = 0;
        for (std::uint32_t i = 0; i < keys.inputs; ++i) sum += std::abs(static_cast<double>(codes[i * 37 + 5]));
        CHECK(cells.present_sum[5] == sum);
        if (pair == Pair::one_sided) CHECK(cells.plus[3] * cells.minus[3] == 0);
        if (pair == Pair::two_sided) CHECK(cells.plus[3] + cells.minus[3] == 127);
        if (pair == Pair::offset) CHECK(cells.minus[3] == 127);
      }
    }
  }
  // Codes that are not integers: exact with one side at rest.
  std::vector<float> real(codes);
  for (float& code : real) code *= 0.7310586f;
  const Conductances cells = program_cells(Noise{}, 3, 0, keys, real, 127);
  for (std::size_t i = 0; i < real.size(); ++i) CHECK(cells.plus[i] - cells.minus[i] == real[i]);
}

TEST_CASE("statistics of pcm: 400,000 samples of IBM's aihwkit 1.2.0") {
  const struct {
    double g, programmed_sd;
    double mean[4], sd[4];  // at 0, 1 hour, 1 day, 30 days
  } rows[] = {
      {2.5, 0.4486, {2.4982, 1.8404, 1.5366, 1.2746}, {0.6072, 0.5277, 0.5121, 0.5019}},
      {6.25, 0.6799, {6.2509, 4.8543, 4.1674, 3.5432}, {0.8866, 0.7836, 0.7598, 0.7448}},
      {12.5, 0.9531, {12.5006, 9.6966, 8.3110, 7.0505}, {1.1973, 1.0565, 1.0263, 1.0072}},
      {25, 1.0552, {25.0022, 19.3985, 16.6283, 14.1076}, {1.4010, 1.4085, 1.5139, 1.6080}},
  };
  const double times[] = {0, 3600, 86400, 30 * 86400.0};
  constexpr double kRounding = 5e-5;
  const double n = 400'000;
  for (const auto& row : rows) {
    CAPTURE(row.g);
    Noise fresh = noise_of(DeviceKind::pcm);
    fresh.flicker = 0;
    const Moments programmed = moments_of(devices(fresh, row.g / 25), 25);
    CHECK(std::abs(programmed.sd - row.programmed_sd) < 3 * row.programmed_sd / std::sqrt(n) + kRounding);
    for (std::size_t t = 0; t < 4; ++t) {
      CAPTURE(times[t]);
      const Moments now = moments_of(devices(noise_of(DeviceKind::pcm, times[t]), row.g / 25), 25);
      // Three standard errors of both samples.
      CHECK(std::abs(now.mean - row.mean[t]) < 3 * row.sd[t] * std::sqrt(2 / n) + kRounding);
      CHECK(std::abs(now.sd - row.sd[t]) < 3 * row.sd[t] / std::sqrt(n) + kRounding);
    }
  }
}

TEST_CASE("drift exponents and 1/f noise of pcm on their own") {
  const struct {
    double g, nu_mean, nu_sd, flicker_fresh, flicker_day;
  } rows[] = {{2.5, 0.0602, 0.0227, 0.1645, 0.2000},
              {6.25, 0.0490, 0.0114, 0.0907, 0.1102},
              {12.5, 0.0490, 0.0080, 0.0578, 0.0702},
              {25, 0.0490, 0.0080, 0.0368, 0.0448}};
  for (const auto& row : rows) {
    CAPTURE(row.g);
    const double r = row.g / 25;
    Noise drift = noise_of(DeviceKind::pcm, 86400);
    drift.programming = drift.flicker = 0;
    std::vector<float> nu = devices(drift, r);
    for (float& value : nu)
      value = static_cast<float>(-std::log(static_cast<double>(value) / r) / std::log(86420.0 / 20));
    const Moments exponent = moments_of(nu);
    CHECK(std::abs(exponent.mean - row.nu_mean) < 3 * row.nu_sd * std::sqrt(2 / 4e5) + 5e-5);
    CHECK(std::abs(exponent.sd - row.nu_sd) < 3 * row.nu_sd / std::sqrt(4e5) + 5e-5);
    for (const double time : {0.0, 86400.0}) {
      Noise flicker = noise_of(DeviceKind::pcm, time);
      flicker.programming = flicker.drift = 0;
      const double expected = time > 0 ? row.flicker_day : row.flicker_fresh;
      CHECK(moments_of(devices(flicker, r)).sd / r == Approx(expected).epsilon(0.004));
    }
  }
}

TEST_CASE("spreads of the other devices") {
  const struct {
    DeviceKind kind;
    double r, time_s, mean_us, sd_us;
  } rows[] = {
      {DeviceKind::generic, 0.5, 0, 12.5, 0.2},
      {DeviceKind::pcm_joshi, 1, 0, 25, 1.06558},
      {DeviceKind::pcm_joshi, 0.5, 1e6, 12.5, 0.955312},  // does not drift
      {DeviceKind::reram_wan, 0.5, 0, 20, 2.022938},
      {DeviceKind::reram_wan, 0.5, 86400, 20, 3.909},
      {DeviceKind::reram_wan, 0.5, 172800, 20, 3.929125},
      {DeviceKind::reram_milo, 1, 0, 225, 2.73225},
      {DeviceKind::sonos, 100.0 / 3200, 0, 0.1, 8.60903e-3},
      {DeviceKind::sonos, 100.0 / 3200, 86400, 0.1, 10.60340e-3},
  };
  for (const auto& row : rows) {
    CAPTURE(static_cast<int>(row.kind));
    CAPTURE(row.time_s);
    const Noise noise = noise_of(row.kind, row.time_s);
    const chip::device::Ageing ageing = chip::device::ageing_of(noise);
    Noise no_minimum = noise;
    no_minimum.g_min_us = 0;
    const Moments now = moments_of(devices(no_minimum, row.r), ageing.g_max_us);
    CHECK(std::abs(now.mean - row.mean_us) < 4 * row.sd_us / std::sqrt(4e5));
    CHECK(std::abs(now.sd / row.sd_us - 1) < 4 / std::sqrt(8e5));
  }
  // HERMES right after programming, without the 1/f noise.
  for (const DeviceKind kind : {DeviceKind::pcm_hermes_one, DeviceKind::pcm_hermes_two}) {
    Noise noise = noise_of(kind);
    noise.flicker = 0;
    const bool one = kind == DeviceKind::pcm_hermes_one;
    CHECK(moments_of(devices(noise, 1), one ? 10.35 : 20.7).sd == Approx(one ? 1.00757 : 1.09269).epsilon(0.005));
  }
  // CMO relaxes: mean and spread at a day, independent of the state.
  Noise cmo = noise_of(DeviceKind::reram_cmo, 86400);
  cmo.g_min_us = 0;
  for (const double g : {30.0, 60.0}) {
    const Moments now = moments_of(devices(cmo, g / 88.19), 88.19);
    CHECK(now.mean == Approx(g - 1.08784).epsilon(2e-4));
    CHECK(now.sd == Approx(0.889203).epsilon(0.005));
  }
}

TEST_CASE("a spread at two times is that of the same device") {
  const std::vector<float> fresh = devices(noise_of(DeviceKind::sonos), 0.5);
  const std::vector<float> day = devices(noise_of(DeviceKind::sonos, 86400), 0.5);
  for (std::size_t i = 0; i < 1000; ++i)
    CHECK((day[i] - 0.5f) / (fresh[i] - 0.5f) == Approx(25.59 / 19.887).epsilon(0.01));
}

TEST_CASE("stuck devices") {
  Noise noise;
  noise.stuck_low = 0.02;
  noise.stuck_high = 0.005;
  const std::vector<float> plus = devices(noise, 0.25);
  const auto low = std::count(plus.begin(), plus.end(), 0.0f), high = std::count(plus.begin(), plus.end(), 1.0f);
  CHECK(std::abs(static_cast<double>(low) / 4e5 - 0.02) < 4 * std::sqrt(0.02 / 4e5));
  CHECK(std::abs(static_cast<double>(high) / 4e5 - 0.005) < 4 * std::sqrt(0.005 / 4e5));
  CHECK(std::count(plus.begin(), plus.end(), 0.25f) == 400'000 - low - high);
  noise.stuck_low = 1;
  noise.stuck_high = 0;
  const std::vector<float> all = devices(noise, 0.25);
  CHECK(std::count(all.begin(), all.end(), 0.0f) == 400'000);
}

TEST_CASE("a finite on/off ratio, pairs and units") {
  Noise noise = noise_of(DeviceKind::pcm_joshi);
  noise.g_min_us = 2.5;
  CHECK(code_unit_us(noise, 127) == Approx(22.5 / 127));
  CHECK(background_code(noise, 127) * code_unit_us(noise, 127) == Approx(2.5));
  // Code 0 is 2.5 uS with the spread that is published there.
  const auto joshi = [](double g) { return 0.28639 + 0.07586 * g - 0.0017877 * g * g; };
  CHECK(moments_of(devices(noise, 0), 22.5).sd == Approx(joshi(2.5)).epsilon(0.005));
  CHECK(moments_of(devices(noise, 1), 22.5).sd == Approx(joshi(25)).epsilon(0.005));
  noise.g_min_us = 0;
  const CellKeys keys = rectangle(400, 1000);
  const std::vector<float> zeros(400'000, 0.0f);
  const auto difference = [&](Pair pair) {
    noise.pair = pair;
    Conductances cells = program_cells(noise, 1, 0, keys, zeros, 1);
    for (std::size_t i = 0; i < zeros.size(); ++i) cells.plus[i] -= cells.minus[i];
    return moments_of(cells.plus, 25);
  };
  // Code 0: both devices at g_min (clipped there: half a normal each), both in the middle, or one in the middle, whose
  // unit is half as large.
  const double clipped = joshi(0) * std::sqrt(0.5 - 0.5 / 3.14159265358979);
  CHECK(difference(Pair::one_sided).sd == Approx(clipped * std::sqrt(2)).epsilon(0.005));
  CHECK(difference(Pair::two_sided).sd == Approx(joshi(12.5) * std::sqrt(2)).epsilon(0.005));
  CHECK(difference(Pair::offset).sd == Approx(joshi(12.5) * 2).epsilon(0.005));
  noise.pair = Pair::offset;
  CHECK(code_unit_us(noise, 127) == Approx(25.0 / 254));
}

TEST_CASE("read noise") {
  const CellKeys keys = rectangle(1, 3);
  const std::vector<float> codes = {0, 50, -100};
  Noise noise;
  noise.read_noise = chip::ReadNoise::output;
  noise.read_sd = 0.02;
  noise.read = 1.5;
  for (const float variance : program_cells(noise, 1, 0, keys, codes, 100).read_variance) CHECK(variance == Approx(9));
  noise.read_kind = chip::ReadKind::root;
  const std::vector<float> root = program_cells(noise, 1, 0, keys, codes, 100).read_variance;
  CHECK(root[0] == 0);
  CHECK(root[1] == Approx(0.03 * 0.03 * 50 * 100));
  CHECK(root[2] == Approx(9));
  // SONOS: 50 of 100 is 1600 nA; the other device carries nothing.
  noise = noise_of(DeviceKind::sonos);
  noise.programming = 0;
  noise.read_noise = chip::ReadNoise::cell;
  noise.read_kind = chip::ReadKind::device;
  const std::vector<float> sonos = program_cells(noise, 1, 0, keys, codes, 100).read_variance;
  CHECK(sonos[0] == 0);
  CHECK(sonos[1] == Approx(std::pow(12.580 * (1 - std::exp(-1600 / 215.37)) / 32, 2)));
}

TEST_CASE("one draw per output is distributed like one draw per cell") {
  constexpr std::uint32_t kRows = 256, kColumns = 4;
  constexpr std::size_t kReads = 20'000;
  const CellKeys keys = rectangle(kRows, kColumns);
  Noise noise = noise_of(DeviceKind::pcm);
  noise.read_noise = chip::ReadNoise::cell;
  noise.read_kind = chip::ReadKind::root;
  const std::vector<float> variance = program_cells(noise, 1, 0, keys, codes_of(keys), 127).read_variance;
  std::vector<float> inputs(kRows), cell_noise(kRows * kColumns);
  random_gaussians(1, 1, 0, inputs);
  double predicted[kColumns] = {};
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t j = 0; j < kColumns; ++j)
      predicted[j] += static_cast<double>(variance[i * kColumns + j] * inputs[i] * inputs[i]);
  }
  double squares[kColumns] = {}, fourth[kColumns] = {}, neighbours = 0;
  for (std::size_t read = 0; read < kReads; ++read) {
    random_gaussians(1, std::uint64_t{1} << 63, read * cell_noise.size(), cell_noise);
    double sum[kColumns] = {};
    for (std::uint32_t i = 0; i < kRows; ++i) {
      for (std::uint32_t j = 0; j < kColumns; ++j)
        sum[j] += static_cast<double>(std::sqrt(variance[i * kColumns + j]) * inputs[i] * cell_noise[i * kColumns + j]);
    }
    for (std::uint32_t j = 0; j < kColumns; ++j) {
      const double z = sum[j] / std::sqrt(predicted[j]);
      squares[j] += z * z;
      fourth[j] += z * z * z * z;
    }
    neighbours += sum[0] / std::sqrt(predicted[0]) * sum[1] / std::sqrt(predicted[1]);
  }
  const double n = kReads;
  for (std::uint32_t j = 0; j < kColumns; ++j) {
    CHECK(std::abs(std::sqrt(squares[j] / n) - 1) < 3 / std::sqrt(2 * n));
    CHECK(std::abs(fourth[j] / n / (squares[j] / n * squares[j] / n) - 3) < 3 * std::sqrt(24 / n));
  }
  CHECK(std::abs(neighbours / n) < 3 / std::sqrt(n));
}

TEST_CASE("the cut of an operator into rectangles changes nothing") {
  for (const Pair pair : {Pair::one_sided, Pair::offset}) {
    Noise noise = everything();
    noise.pair = pair;
    const CellKeys whole = rectangle(60, 190);
    const Conductances all = program_cells(noise, 5, 2, whole, codes_of(whole), 127);
    CHECK(moments_of(all.plus).sd > 1);
    const struct {
      std::uint32_t in_first, in_step, inputs, out_first, out_step, outputs;
    } parts[] = {{0, 1, 60, 0, 1, 95}, {13, 1, 20, 95, 1, 95}, {59, 1, 1, 189, 1, 1},
                 {2, 3, 17, 5, 7, 26}, {1, 5, 11, 3, 45, 4},   {7, 1, 3, 2, 2, 90}};
    for (const auto& part : parts) {
      CellKeys keys = whole;
      keys.in_first = part.in_first;
      keys.in_step = part.in_step;
      keys.inputs = part.inputs;
      keys.out_first = part.out_first;
      keys.out_step = part.out_step;
      keys.outputs = part.outputs;
      const Conductances cells = program_cells(noise, 5, 2, keys, codes_of(keys), 127);
      bool same = true;
      for (std::uint32_t i = 0; i < part.inputs; ++i) {
        for (std::uint32_t j = 0; j < part.outputs; ++j) {
          const std::size_t here = std::size_t{i} * part.outputs + j;
          const std::size_t there =
              std::size_t{part.in_first + i * part.in_step} * 190 + part.out_first + j * part.out_step;
          same = same && cells.plus[here] == all.plus[there] && cells.minus[here] == all.minus[there] &&
                 cells.read_variance[here] == all.read_variance[there];
        }
      }
      CHECK(same);
    }
  }
}

TEST_CASE("seed, node, stage, slice and device have draws of their own") {
  const CellKeys keys = rectangle(4, 50);
  const std::vector<float> codes(200, 0.0f);
  const Noise noise = everything();
  const Conductances cells = program_cells(noise, 5, 2, keys, codes, 127);
  CellKeys other = keys;
  other.node = 18;
  CHECK_FALSE(same_bits(program_cells(noise, 5, 2, other, codes, 127).plus, cells.plus));
  other = keys;
  other.stage = 0;
  CHECK_FALSE(same_bits(program_cells(noise, 5, 2, other, codes, 127).plus, cells.plus));
  CHECK_FALSE(same_bits(program_cells(noise, 6, 2, keys, codes, 127).plus, cells.plus));
  CHECK_FALSE(same_bits(program_cells(noise, 5, 1, keys, codes, 127).plus, cells.plus));
  CHECK_FALSE(same_bits(cells.minus, cells.plus));
  std::set<std::uint64_t> streams;
  for (const Effect effect : {Effect::stuck, Effect::programming, Effect::drift, Effect::flicker, Effect::idle}) {
    for (const std::uint32_t node : {0u, 1u, 0xffffffffu}) {
      for (const std::uint32_t stage : {0u, 1u, 255u}) {
        for (const std::uint32_t slice : {0u, 7u}) {
          for (const std::uint32_t device : {0u, 1u}) streams.insert(stream_of(effect, node, stage, slice, device));
        }
      }
    }
  }
  CHECK(streams.size() == 5 * 3 * 3 * 2 * 2);
  CHECK(counter_of(1, 0) != counter_of(0, 0xffffffffu));
}

TEST_CASE("idle cells") {
  Noise noise = everything();
  noise.stuck_low = 0;
  const Conductances idle = idle_cells(noise, 5, 0, 3, 10, 50, 20, 100, 127);
  const auto high = std::count(idle.plus.begin(), idle.plus.end(), 127.0f);
  CHECK(high > 20);  // 50 of 5000 are expected
  CHECK(high < 100);
  CHECK(std::count(idle.plus.begin(), idle.plus.end(), 0.0f) == 5000 - high);
  const Conductances part = idle_cells(noise, 5, 0, 3, 11, 1, 25, 10, 127);
  CHECK(same_bits(part.plus, std::span<const float>(idle.plus).subspan(105, 10)));
  CHECK_FALSE(same_bits(idle_cells(noise, 5, 0, 4, 10, 50, 20, 100, 127).plus, idle.plus));
}

TEST_CASE("every SIMD target gives the same cells") {
  const CellKeys keys = rectangle(20, 203);
  const std::vector<float> codes = codes_of(keys);
  std::vector<Noise> noises = {everything(), noise_of(DeviceKind::pcm_hermes_one, 86400),
                               noise_of(DeviceKind::reram_cmo, 3600), noise_of(DeviceKind::sonos, 86400)};
  noises[3].read_noise = chip::ReadNoise::output;
  noises[3].read_kind = chip::ReadKind::device;
  for (const Noise& noise : noises) {
    const Conductances cells = program_cells(noise, 5, 2, keys, codes, 127);
    for (std::int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
      CAPTURE(hwy::TargetName(targets & -targets));
      hwy::SetSupportedTargetsForTest(targets & -targets);
      hwy::GetChosenTarget().DeInit();
      const Conductances again = program_cells(noise, 5, 2, keys, codes, 127);
      CHECK(same_bits(again.plus, cells.plus));
      CHECK(same_bits(again.minus, cells.minus));
      CHECK(same_bits(again.read_variance, cells.read_variance));
      CHECK(again.present_sum == cells.present_sum);
      hwy::SetSupportedTargetsForTest(0);
      hwy::GetChosenTarget().DeInit();
    }
  }
}
