// The registry of devices, the evaluation of their curves, and how a chip's [noise] scales them.

#include "danaus/chip/device/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "danaus/core/internal_error.h"

namespace danaus::chip::device {
namespace {

const Device& ideal() {
  static const Device device = {};
  return device;
}

// aihwkit 1.2.0 (noise/custom.py): state-independent programming noise and drift.
const Device& generic() {
  static const Device device = {
      .g_max_us = 25,
      .programming_us = {.polynomial = {0.2}},
      .drift = Drift{.t0_s = 20, .nu_mean = {.polynomial = {0.1}}, .nu_sd = {.polynomial = {0.05}}},
  };
  return device;
}

// The curve in parts of the published g_max, times a factor.
Curve relative(Curve curve, double factor) {
  for (double& coefficient : curve.polynomial) coefficient *= factor;
  curve.saturation *= factor;
  return curve;
}

const Snapshot* snapshot_at(const Device& device, double time_s) {
  for (const Snapshot& snapshot : device.snapshots) {
    if (snapshot.time_s == time_s) return &snapshot;
  }
  return nullptr;
}

// Right after programming, for devices that are characterised at a few times only.
bool is_fresh(double time_s) { return time_s <= 1; }

}  // namespace

const Device& device_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::ideal:
      return ideal();
    case DeviceKind::generic:
      return generic();
    case DeviceKind::pcm:
      return pcm();
    case DeviceKind::pcm_hermes_one:
      return pcm_hermes_one();
    case DeviceKind::pcm_hermes_two:
      return pcm_hermes_two();
    case DeviceKind::pcm_joshi:
      return pcm_joshi();
    case DeviceKind::reram_wan:
      return reram_wan();
    case DeviceKind::reram_cmo:
      return reram_cmo();
    case DeviceKind::reram_milo:
      return reram_milo();
    case DeviceKind::sonos:
      return sonos();
  }
  throw InternalError("device_of: unknown device");
}

double value(const Curve& curve, double r) {
  double result = 0;
  if (r < curve.split) {
    result = curve.log_slope * std::log(std::max(r, kSmallest)) + curve.log_offset;
    if (curve.power) result = std::exp(result);
    result = std::clamp(result, curve.least, curve.most);
  } else {
    for (std::size_t i = std::size(curve.polynomial); i-- > 0;) result = result * r + curve.polynomial[i];
    if (curve.saturation != 0) result += curve.saturation * (1 - std::exp(-r / curve.saturation_r));
  }
  return std::max(result, 0.0);
}

double drift_factor(double nu, double time_s, double t0_s) { return std::exp(-nu * std::log1p(time_s / t0_s)); }

double flicker_root(const Flicker& flicker, double since_s) {
  return std::sqrt(std::max(std::log((since_s + flicker.read_s) / (2 * flicker.read_s)), 0.0));
}

double flicker_sd(const Flicker& flicker, double r, double since_s) {
  return value(flicker.q, r) * flicker_root(flicker, since_s);
}

Ageing ageing_of(const Chip::Noise& noise) {
  const Device& device = device_of(noise.device);
  Ageing ageing;
  ageing.g_max_us = noise.g_max_us < 0 ? device.g_max_us : noise.g_max_us;
  // Another largest conductance scales the published smallest one, too, so that the on/off ratio stays.
  const double g_min_us = noise.g_min_us < 0 ? device.g_min_us * (ageing.g_max_us / device.g_max_us) : noise.g_min_us;
  ageing.r_min = g_min_us / ageing.g_max_us;
  const double part = 1 / device.g_max_us;
  ageing.programming = relative(device.programming_us, part);
  ageing.programming_factor = noise.programming;
  if (const Snapshot* snapshot = snapshot_at(device, noise.time_s); snapshot != nullptr) {
    ageing.settled = relative(snapshot->spread_us, part);
    ageing.settled_weight = noise.drift;
  } else if (device.relaxation && noise.time_s > 0) {
    const double log_time = std::log(std::max(noise.time_s, 1.0));
    ageing.settled.polynomial[0] = (device.relaxation->sd_us + device.relaxation->sd_log_us * log_time) * part;
    ageing.settled_weight = noise.drift;
    ageing.shift = noise.drift * (device.relaxation->mean_us + device.relaxation->mean_log_us * log_time) * part;
  }
  if (device.drift) {
    ageing.nu_mean = device.drift->nu_mean;
    ageing.nu_sd = device.drift->nu_sd;
    ageing.drift_log = noise.drift * std::log1p(noise.time_s / device.drift->t0_s);
  }
  if (device.flicker) {
    ageing.q = device.flicker->q;
    const double since_s = noise.time_s + (device.drift ? device.drift->t0_s : 0);
    ageing.flicker_root = noise.flicker * flicker_root(*device.flicker, since_s);
  }
  if (device.read_us) ageing.read = relative(*device.read_us, part * noise.read);
  return ageing;
}

std::optional<Gap> gap_of(const Chip::Noise& noise) {
  const Device& device = device_of(noise.device);
  if (noise.read_noise != ReadNoise::none && noise.read_kind == ReadKind::device && !device.read_us)
    return Gap{"noise.read_kind",
               "this noise.device publishes no read noise: noise.read_kind must be constant or root"};
  if (!device.snapshots.empty() && noise.drift > 0 && !is_fresh(noise.time_s) &&
      snapshot_at(device, noise.time_s) == nullptr) {
    std::string times = "0";
    for (const Snapshot& snapshot : device.snapshots) times += fmt::format(", {}", snapshot.time_s);
    return Gap{"noise.time_s",
               fmt::format("this noise.device is published at noise.time_s = {} only, not at {}", times, noise.time_s)};
  }
  return std::nullopt;
}

}  // namespace danaus::chip::device
