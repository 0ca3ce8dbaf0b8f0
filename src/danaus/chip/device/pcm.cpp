// Phase-change memory. Figures from
//   doped Ge2Sb2Te5 mushroom cells, 1M devices, 25 uS: Nandakumar et al., "Phase-change memory models for deep learning
//     training and inference", ICECS 2019, and Joshi et al., Nature Communications 2020, as tabulated in IBM's
//     aihwkit 1.2.0 (noise/pcm.py);
//   the HERMES chip: Le Gallo et al., Nature Electronics 2023, with one device per polarity and with two (Vasilopoulos
//     et al., IEEE TED 2023), as tabulated in aihwkit 1.2.0 (noise/hermes.py);
//   Joshi et al. 2020 again, as fitted by CrossSim 3.2.0: programming only.

#include <cmath>
#include <limits>

#include "danaus/chip/device/device.h"

namespace danaus::chip::device {
namespace {

constexpr double kEverywhere = std::numeric_limits<double>::infinity();

// The mean of the drift exponent of the HERMES devices, for one device and for two.
constexpr Curve kHermesMean = {.split = 0.0945,
                               .log_slope = -0.0387,
                               .log_offset = -0.0182,
                               .least = 0.072,
                               .most = 0.13,
                               .polynomial = {0.0736, -0.0126, -0.0436}};
constexpr double kHermesRead = 512e-9;

}  // namespace

const Device& pcm() {
  static const Device device = {
      .g_max_us = 25,
      .programming_us = {.polynomial = {0.26348, 1.9650, -1.1731}},
      .drift =
          Drift{.t0_s = 20,
                .nu_mean =
                    {.split = kEverywhere, .log_slope = -0.0155, .log_offset = 0.0244, .least = 0.049, .most = 0.1},
                .nu_sd =
                    {.split = kEverywhere, .log_slope = -0.0125, .log_offset = -0.0059, .least = 0.008, .most = 0.045}},
      // Q = min(0.2, 0.0088 / r^0.65)
      .flicker = Flicker{.read_s = 250e-9,
                         .q = {.split = kEverywhere,
                               .power = true,
                               .log_slope = -0.65,
                               .log_offset = std::log(0.0088),
                               .most = 0.2}},
  };
  return device;
}

const Device& pcm_hermes_one() {
  static const Device device = {
      .g_max_us = 10.35,
      .programming_us = {.polynomial = {0.15782, 2.32444, -2.16311, 0.68842}},
      .drift = Drift{.t0_s = 200,
                     .nu_mean = kHermesMean,
                     .nu_sd = {.split = 0.3039,
                               .log_slope = -0.0120,
                               .log_offset = -0.0023,
                               .least = 0.0124,
                               .most = 0.04,
                               .polynomial = {0.0104, 0.0116, -0.0165}}},
      .flicker = Flicker{.read_s = kHermesRead,
                         .q = {.split = 0.1591,
                               .log_slope = -0.0078,
                               .log_offset = 0.0038,
                               .least = 0.0179,
                               .most = 0.04,
                               .polynomial = {0.0088, 0.0768, -0.1352, 0.0664}}},
  };
  return device;
}

const Device& pcm_hermes_two() {
  static const Device device = {
      .g_max_us = 20.7,
      .programming_us = {.polynomial = {0.16603, 4.71806, -8.48101, 4.68961}},
      .drift = Drift{.t0_s = 300,
                     .nu_mean = kHermesMean,
                     .nu_sd = {.split = 0.3055,
                               .log_slope = -0.0117,
                               .log_offset = -0.0057,
                               .least = 0.0091,
                               .most = 0.04,
                               .polynomial = {0.0073, 0.0093, -0.0118}}},
      .flicker = Flicker{.read_s = kHermesRead,
                         .q = {.split = 0.16,
                               .log_slope = -0.0117,
                               .log_offset = -0.0069,
                               .least = 0.015,
                               .most = 0.04,
                               .polynomial = {0.0123, 0.0211, -0.0280, 0.0069}}},
  };
  return device;
}

const Device& pcm_joshi() {
  // 0.28639 + 0.07586 g - 0.0017877 g^2 uS, g up to 25 uS.
  static const Device device = {
      .g_max_us = 25,
      .programming_us = {.polynomial = {0.28639, 0.07586 * 25, -0.0017877 * 25 * 25}},
  };
  return device;
}

}  // namespace danaus::chip::device
