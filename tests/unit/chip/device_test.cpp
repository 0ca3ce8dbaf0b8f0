// The device models against figures worked out by hand from the published formulas, and against statistics that IBM's
// aihwkit 1.2.0 gave for phase-change memory.

#include "danaus/chip/device/device.h"

#include <doctest/doctest.h>

#include <cmath>

namespace {

using namespace danaus::chip;
using namespace danaus::chip::device;
using doctest::Approx;

Approx close(double expected, double relative = 1e-4) { return Approx(expected).epsilon(relative); }

Chip::Noise noise_of(DeviceKind kind, double time_s = 0) {
  Chip::Noise noise;
  noise.device = kind;
  noise.time_s = time_s;
  return noise;
}

}  // namespace

TEST_CASE("pcm: spread, drift exponents and 1/f noise of aihwkit") {
  const Device& pcm = device_of(DeviceKind::pcm);
  const struct {
    double g, spread, nu_mean, nu_sd, flicker_fresh, flicker_day;
  } rows[] = {{2.5, 0.4482, 0.0601, 0.0229, 0.1645, 0.2000},
              {6.25, 0.6814, 0.0490, 0.0114, 0.0907, 0.1102},
              {12.5, 0.9527, 0.0490, 0.0080, 0.0578, 0.0702},
              {25, 1.0554, 0.0490, 0.0080, 0.0368, 0.0448}};
  for (const auto& row : rows) {
    CAPTURE(row.g);
    const double r = row.g / 25;
    CHECK(std::abs(value(pcm.programming_us, r) - row.spread) < 1e-4);
    CHECK(std::abs(value(pcm.drift->nu_mean, r) - row.nu_mean) < 1e-4);
    CHECK(std::abs(value(pcm.drift->nu_sd, r) - row.nu_sd) < 1e-4);
    CHECK(std::abs(flicker_sd(*pcm.flicker, r, 20) - row.flicker_fresh) < 1e-4);
    CHECK(std::abs(flicker_sd(*pcm.flicker, r, 86420) - row.flicker_day) < 1e-4);
  }
  CHECK(value(pcm.drift->nu_mean, 0) == 0.1);  // clipped
  CHECK(value(pcm.drift->nu_sd, 0) == 0.045);
  CHECK(value(pcm.flicker->q, 0) == 0.2);
  CHECK(drift_factor(0.05, 3600, 20) == close(std::pow(181, -0.05), 1e-12));
  CHECK(drift_factor(0.05, 0, 20) == 1);
}

TEST_CASE("pcm of the HERMES chip, one and two devices") {
  const Device& one = device_of(DeviceKind::pcm_hermes_one);
  const Device& two = device_of(DeviceKind::pcm_hermes_two);
  CHECK(one.g_max_us == 10.35);
  CHECK(two.g_max_us == 20.7);
  CHECK(one.drift->t0_s == 200);
  CHECK(two.drift->t0_s == 300);
  CHECK(value(one.programming_us, 0) == close(0.15782));
  CHECK(value(one.programming_us, 0.5) == close(0.865315));
  CHECK(value(one.programming_us, 1) == close(1.00757));
  CHECK(value(two.programming_us, 0.25) == close(0.888757));
  CHECK(value(two.programming_us, 1) == close(1.09269));
  for (const Device* device : {&one, &two}) {
    CHECK(value(device->drift->nu_mean, 0.01) == 0.13);
    CHECK(value(device->drift->nu_mean, 0.05) == close(0.0977348));
    CHECK(value(device->drift->nu_mean, 0.5) == close(0.0564));
    CHECK(value(device->drift->nu_mean, 1) == close(0.0174));
  }
  CHECK(value(one.drift->nu_sd, 0.2) == close(0.0170133));
  CHECK(value(one.drift->nu_sd, 0.5) == close(0.012075));
  CHECK(value(two.drift->nu_sd, 0.2) == close(0.0131304));
  CHECK(value(two.drift->nu_sd, 0.5) == close(0.009));
  CHECK(value(one.flicker->q, 0.1) == close(0.0217602));
  CHECK(value(one.flicker->q, 1) == close(0.0168));
  CHECK(value(two.flicker->q, 0.1) == close(0.0200402));
  CHECK(value(two.flicker->q, 0.5) == close(0.0167125));
  CHECK(flicker_sd(*two.flicker, 0.5, 300) == close(0.0167125 * std::sqrt(std::log(300.000000512 / 1.024e-6))));
}

TEST_CASE("the other devices") {
  const Device& joshi = device_of(DeviceKind::pcm_joshi);
  CHECK(value(joshi.programming_us, 0.5) == close(0.955312));
  CHECK(value(joshi.programming_us, 1) == close(1.065578));
  CHECK_FALSE(joshi.drift);

  const Device& wan = device_of(DeviceKind::reram_wan);
  CHECK(wan.g_max_us == 40);
  CHECK(value(wan.programming_us, 0.5) == close(2.022937, 1e-5));
  CHECK(value(wan.snapshots[0].spread_us, 0.5) == close(3.909, 1e-3));
  CHECK(value(wan.snapshots[1].spread_us, 0.5) == close(3.928, 1e-3));

  const Device& cmo = device_of(DeviceKind::reram_cmo);
  CHECK(value(cmo.programming_us, 50 / 88.19) == close(0.57572));

  const Device& milo = device_of(DeviceKind::reram_milo);
  CHECK(value(milo.programming_us, 50.0 / 225) == close(4.3265));
  CHECK(value(milo.programming_us, 1) == close(2.73225));
  CHECK(ageing_of(noise_of(DeviceKind::reram_milo)).r_min == close(50.0 / 225));

  const Device& sonos = device_of(DeviceKind::sonos);
  CHECK(value(sonos.programming_us, 0) == 0);
  CHECK(value(sonos.programming_us, 100.0 / 3200) == close(8.60900e-3));
  CHECK(value(sonos.snapshots[0].spread_us, 100.0 / 3200) == close(10.6028e-3));
  CHECK(value(*sonos.read_us, 100.0 / 3200) == close(4.67298e-3));
  CHECK(value(device_of(DeviceKind::generic).programming_us, 0.3) == 0.2);
}

TEST_CASE("[noise] scales a device") {
  SUBCASE("ideal: nothing happens") {
    const Ageing ageing = ageing_of(noise_of(DeviceKind::ideal, 1e6));
    CHECK(value(ageing.programming, 0.7) == 0);
    CHECK(ageing.drift_log == 0);
    CHECK(ageing.flicker_root == 0);
    CHECK(ageing.settled_weight == 0);
    CHECK_FALSE(ageing.read);
  }
  SUBCASE("factors") {
    Chip::Noise noise = noise_of(DeviceKind::pcm, 3600);
    noise.drift = 0.5;
    noise.flicker = 2;
    const Ageing ageing = ageing_of(noise);
    CHECK(value(ageing.programming, 1) == close(1.05538 / 25));
    CHECK(ageing.drift_log == close(0.5 * std::log(181)));
    CHECK(ageing.flicker_root == close(2 * std::sqrt(std::log(3620 / 500e-9))));
  }
  SUBCASE("another largest conductance keeps the curves over r") {
    Chip::Noise noise = noise_of(DeviceKind::reram_milo);
    noise.g_max_us = 450;
    const Ageing ageing = ageing_of(noise);
    CHECK(ageing.g_max_us == 450);
    CHECK(ageing.r_min == close(50.0 / 225));
    CHECK(value(ageing.programming, 1) == close(2.73225 / 225));
    noise.g_min_us = 45;
    CHECK(ageing_of(noise).r_min == close(0.1));
  }
  SUBCASE("relaxation and snapshots") {
    const Ageing cmo = ageing_of(noise_of(DeviceKind::reram_cmo, 86400));
    CHECK(value(cmo.settled, 0.3) * 88.19 == close(0.889215));
    CHECK(cmo.shift * 88.19 == close(-1.087856));
    CHECK(cmo.settled_weight == 1);
    CHECK(ageing_of(noise_of(DeviceKind::reram_cmo)).settled_weight == 0);
    const Ageing sonos = ageing_of(noise_of(DeviceKind::sonos, 86400));
    CHECK(value(sonos.settled, 100.0 / 3200) * 3.2 == close(10.6028e-3));
    CHECK(value(*sonos.read, 100.0 / 3200) * 3.2 == close(4.67298e-3));
  }
}
