#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "danaus/chip/chip.h"

/// What is published about memory devices: how far a programmed conductance is from its target, how it drifts, and how
/// noisy it is to read. Pure data with pure functions; conductances are microsiemens, times seconds, and
/// r = g / (largest characterised conductance). A chip that uses another largest conductance gets the spreads scaled
/// with it, that is, the same curves over r.
namespace danaus::chip::device {

constexpr double kSmallest = 1e-7;

/// A function of r: below `split`, clip(log_slope ln r + log_offset, least, most) (of its exponential, if `power`);
/// from there on, the polynomial sum polynomial[i] r^i + saturation (1 - exp(-r / saturation_r)). Never below 0; the
/// logarithm takes r as at least kSmallest.
struct Curve {
  double split = 0;
  bool power = false;
  double log_slope = 0, log_offset = 0, least = 0, most = 0;
  double polynomial[5] = {0, 0, 0, 0, 0};
  double saturation = 0, saturation_r = 1;
};
double value(const Curve& curve, double r);

/// A later state of devices that are characterised at a few times: the deviation from the target keeps its sign and
/// has this standard deviation.
struct Snapshot {
  double time_s = 0;
  Curve spread_us = {};
};

/// 1/f noise that has accumulated at T after programming:
/// sd = g_now * q(g_programmed) * sqrt(ln((T + t_read) / (2 t_read))).
struct Flicker {
  double read_s = 0;  ///< t_read
  Curve q = {};
};

/// Change from 1 s on with the logarithm of time t, equal for all states: the mean moves by mean_us + mean_log_us ln t,
/// the standard deviation becomes sd_us + sd_log_us ln t.
struct Relaxation {
  double mean_us = 0, mean_log_us = 0, sd_us = 0, sd_log_us = 0;
};

/// Drift as a power law: g = g_programmed ((t + t0) / t0)^(-nu), nu = |mean(r) + sd(r) xi| with r of the target.
struct Drift {
  double t0_s = 0;
  Curve nu_mean = {}, nu_sd = {};
};

struct Device {
  double g_max_us = 25;       ///< of the published curves
  double g_min_us = 0;        ///< smallest characterised target; 0 = no finite on/off ratio
  Curve programming_us = {};  ///< standard deviation right after programming
  std::optional<Drift> drift = {};
  std::optional<Flicker> flicker = {};
  std::span<const Snapshot> snapshots = {};  ///< in order of time
  std::optional<Relaxation> relaxation = {};
  std::optional<Curve> read_us = {};  ///< standard deviation of one read of one device
};

/// The published device.
const Device& device_of(DeviceKind kind);

/// What [noise] makes of a device: conductances resolved, factors and age applied. All spreads are parts of g_max.
struct Ageing {
  double g_max_us = 25, r_min = 0;  ///< r_min = g_min / g_max
  Curve programming;                ///< sd right after programming, over r of the target
  double programming_factor = 0;
  Curve settled;  ///< sd of the published devices now; only with settled_weight above 0
  /// The sd now is programming_factor * programming + settled_weight * (settled - programming).
  double settled_weight = 0;
  double shift = 0;  ///< of every device since programming
  Curve nu_mean = {}, nu_sd = {};
  double drift_log = 0;  ///< noise.drift * ln((t + t0) / t0); 0 = no drift
  Curve q = {};
  double flicker_root = 0;  ///< noise.flicker * sqrt(ln((T + t_read) / (2 t_read))), T = t + t0; 0 = no 1/f noise
  std::optional<Curve> read = {};  ///< sd of one read of one device, noise.read applied
};
Ageing ageing_of(const Chip::Noise& noise);

/// What of [noise] the device has no figures for; nothing if all is well.
struct Gap {
  std::string_view key;  ///< that is to blame
  std::string text;
};
std::optional<Gap> gap_of(const Chip::Noise& noise);

/// ((t + t0) / t0)^(-nu).
double drift_factor(double nu, double time_s, double t0_s);
/// sqrt(ln((T + t_read) / (2 t_read))), T = since_s; 0 where the logarithm is negative.
double flicker_root(const Flicker& flicker, double since_s);
/// Relative standard deviation of the 1/f noise that has accumulated `since_s` after programming.
double flicker_sd(const Flicker& flicker, double r, double since_s);

// The families, in their own files.
const Device& pcm();             // pcm.cpp
const Device& pcm_hermes_one();  // pcm.cpp
const Device& pcm_hermes_two();  // pcm.cpp
const Device& pcm_joshi();       // pcm.cpp
const Device& reram_wan();       // reram.cpp
const Device& reram_cmo();       // reram.cpp
const Device& reram_milo();      // reram.cpp
const Device& sonos();           // sonos.cpp

}  // namespace danaus::chip::device
