// Resistive memory. Figures from
//   Wan et al., Nature 2022, as fitted by IBM's aihwkit 1.2.0 (noise/reram.py): spread at 1 s, 1 day and 2 days, up to
//     40 uS (there another g_max leaves the spread as it is; here spreads always scale with g_max);
//   conductive metal oxide on HfOx: Falcone et al. 2024, as tabulated in aihwkit 1.2.0 (noise/reram_cmo.py): programmed
//     to 2 % of the target, then relaxation with the logarithm of time (there the 0.2 % figures are taken by default,
//     whatever the documentation says; here the documented 2 %);
//   Milo et al., IRPS 2021, as fitted by CrossSim 3.2.0: programming only, 50 to 225 uS.

#include "danaus/chip/device/device.h"

namespace danaus::chip::device {

const Device& reram_wan() {
  static const Snapshot snapshots[] = {
      {.time_s = 86400, .spread_us = {.polynomial = {0.701, 22.086, -50.773, 47.095, -16.458}}},
      {.time_s = 172800, .spread_us = {.polynomial = {0.782, 20.274, -43.507, 37.062, -11.934}}}};
  static const Device device = {
      .g_max_us = 40,
      .programming_us = {.polynomial = {0.348, 16.030, -43.853, 45.393, -16.815}},  // at 1 s
      .snapshots = snapshots,
  };
  return device;
}

const Device& reram_cmo() {
  static const Device device = {
      .g_max_us = 88.19,
      .g_min_us = 9,
      .programming_us = {.polynomial = {0.01122, 0.01129 * 88.19}},
      // A target of 50 uS is found at 49.9238 - 0.0890 ln t uS.
      .relaxation = Relaxation{.mean_us = 49.9238 - 50, .mean_log_us = -0.0890, .sd_us = 0.4118, .sd_log_us = 0.0420},
  };
  return device;
}

const Device& reram_milo() {
  static const Device device = {
      .g_max_us = 225,
      .g_min_us = 50,
      .programming_us = {.polynomial = {4.782, -0.00911 * 225}},
  };
  return device;
}

}  // namespace danaus::chip::device
