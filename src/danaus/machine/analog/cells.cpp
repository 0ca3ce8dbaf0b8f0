// Codes become the targets of one or two devices; each device is stuck or programmed with its spread, and ages. All of
// it works on r = g / g_max, a row of outputs at a time, one SIMD lane per device:
//
//   programmed = max(target + programming * sd(target) * xi1, 0)
//   now        = programmed * exp(-|nu_mean(target) + nu_sd(target) * xi2| * ln((t + t0) / t0))      power-law drift,
//   or
//              = max(target + shift + sd_now(target) * xi1, 0)                                       published states
//   now        = max(now + now * q(programmed) * root * xi3, 0)                                      1/f noise
//
// A conductance is kept as its deviation from the target, so that a device without any effect is its target exactly.
// The curves are those of chip/device; xi are counter-based draws (core/random.h) keyed by the weight.

#include "danaus/machine/analog/cells.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "danaus/machine/analog/cells.cpp"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "danaus/chip/device/device.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/lane_math-inl.h"
#include "danaus/core/random.h"

#ifndef DANAUS_MACHINE_ANALOG_CELLS_ONCE
#define DANAUS_MACHINE_ANALOG_CELLS_ONCE
namespace danaus::machine {

/// Rows of draws and conductances are padded to whole vectors of the widest target.
constexpr std::size_t kPadding = 16;

/// chip::device::Curve in single precision.
struct LaneCurve {
  bool present = false;  ///< not zero everywhere
  bool power = false;
  float split = 0, log_slope = 0, log_offset = 0, least = 0, most = 0;
  float polynomial[5] = {0, 0, 0, 0, 0};
  int degree = 0;
  float saturation = 0, saturation_rate = 0;
};

/// Everything that holds for all cells of a call.
struct AgeingPlan {
  float r_min = 0, r_per_code = 0, code_per_r = 0;
  LaneCurve programming, settled, nu_mean, nu_sd, q, read;
  float programming_factor = 0, settled_weight = 0, shift = 0, drift_log = 0, flicker_root = 0;
};

/// One row of one device; all arrays have `padded` elements. Codes are those of the device, from 0.
struct DeviceRow {
  std::size_t padded = 0;
  const float* target = nullptr;
  const float *programming_draw = nullptr, *drift_draw = nullptr, *flicker_draw = nullptr;
  float *programmed = nullptr, *now = nullptr;
  float* read_variance = nullptr;  ///< squared codes; null if nobody asks
};

}  // namespace danaus::machine
#endif  // DANAUS_MACHINE_ANALOG_CELLS_ONCE

HWY_BEFORE_NAMESPACE();
namespace danaus::machine::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = lane_math::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

HWY_INLINE V splat(float value) { return hn::Set(D(), value); }

/// The curve at r, never below 0. `log_r`: ln max(r, 1e-7), if the curve has a logarithmic part.
HWY_INLINE V curve_lanes(const LaneCurve& curve, V r, V log_r) {
  V high = splat(curve.polynomial[curve.degree]);
  for (int i = curve.degree; i-- > 0;) high = hn::Add(hn::Mul(high, r), splat(curve.polynomial[i]));
  if (curve.saturation != 0) {
    const V decay = math::exp_lanes(D(), hn::Max(hn::Mul(r, splat(-curve.saturation_rate)), splat(-80)));
    high = hn::Add(high, hn::Mul(splat(curve.saturation), hn::Sub(splat(1), decay)));
  }
  if (curve.split > 0) {
    V low = hn::Add(hn::Mul(splat(curve.log_slope), log_r), splat(curve.log_offset));
    if (curve.power) low = math::exp_lanes(D(), hn::Min(hn::Max(low, splat(-80)), splat(80)));
    low = hn::Min(hn::Max(low, splat(curve.least)), splat(curve.most));
    high = hn::IfThenElse(hn::Lt(r, splat(curve.split)), low, high);
  }
  return hn::Max(high, hn::Zero(D()));
}

HWY_INLINE V log_of(const LaneCurve& first, const LaneCurve& second, V r) {
  if (first.split <= 0 && second.split <= 0) return hn::Zero(D());
  return math::log_lanes(D(), hn::Max(r, splat(static_cast<float>(chip::device::kSmallest))));
}

void age_here(const AgeingPlan& plan, const DeviceRow& row) {
  const D d;
  const V zero = hn::Zero(d);
  for (std::size_t i = 0; i < row.padded; i += hn::Lanes(d)) {
    const V code = hn::LoadU(d, row.target + i);
    const V target = hn::Add(hn::Mul(code, splat(plan.r_per_code)), splat(plan.r_min));
    V programmed = target;
    V draw = zero, spread = zero;
    if (plan.programming.present) {
      draw = hn::LoadU(d, row.programming_draw + i);
      spread = curve_lanes(plan.programming, target, zero);
      const V deviation = hn::Mul(hn::Mul(spread, splat(plan.programming_factor)), draw);
      programmed = hn::Max(hn::Add(target, deviation), zero);
    }
    V now = programmed;
    if (plan.settled_weight != 0) {
      const V settled = curve_lanes(plan.settled, target, zero);
      const V sd = hn::Add(hn::Mul(splat(plan.programming_factor), spread),
                           hn::Mul(splat(plan.settled_weight), hn::Sub(settled, spread)));
      now = hn::Max(hn::Add(hn::Add(target, splat(plan.shift)), hn::Mul(sd, draw)), zero);
    }
    if (plan.drift_log != 0) {
      const V log_r = log_of(plan.nu_mean, plan.nu_sd, target);
      const V nu = hn::Abs(hn::Add(curve_lanes(plan.nu_mean, target, log_r),
                                   hn::Mul(curve_lanes(plan.nu_sd, target, log_r), hn::LoadU(d, row.drift_draw + i))));
      now = hn::Mul(now, math::exp_lanes(d, hn::Max(hn::Mul(nu, splat(-plan.drift_log)), splat(-80))));
    }
    if (plan.flicker_root != 0) {
      const V q = curve_lanes(plan.q, programmed, log_of(plan.q, plan.q, programmed));
      const V noise = hn::Mul(hn::Mul(q, splat(plan.flicker_root)), hn::LoadU(d, row.flicker_draw + i));
      now = hn::Max(hn::Add(now, hn::Mul(now, noise)), zero);
    }
    const V scale = splat(plan.code_per_r);
    hn::StoreU(hn::Add(code, hn::Mul(hn::Sub(programmed, target), scale)), d, row.programmed + i);
    hn::StoreU(hn::Add(code, hn::Mul(hn::Sub(now, target), scale)), d, row.now + i);
    if (row.read_variance != nullptr) {
      const V sd = hn::Mul(curve_lanes(plan.read, now, zero), scale);
      hn::StoreU(hn::Mul(sd, sd), d, row.read_variance + i);
    }
  }
}

}  // namespace
}  // namespace danaus::machine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace danaus::machine {

HWY_EXPORT(age_here);

namespace {

using chip::Chip;
using chip::Pair;

LaneCurve lanes_of(const chip::device::Curve& curve) {
  LaneCurve result;
  result.power = curve.power;
  result.split = static_cast<float>(curve.split);
  result.log_slope = static_cast<float>(curve.log_slope);
  result.log_offset = static_cast<float>(curve.log_offset);
  result.least = static_cast<float>(curve.least);
  result.most = static_cast<float>(curve.most);
  for (int i = 0; i < 5; ++i) {
    result.polynomial[i] = static_cast<float>(curve.polynomial[i]);
    if (curve.polynomial[i] != 0) result.degree = i;
  }
  result.saturation = static_cast<float>(curve.saturation);
  result.saturation_rate = static_cast<float>(1 / curve.saturation_r);
  result.present =
      curve.split > 0 || curve.saturation != 0 ||
      std::any_of(std::begin(curve.polynomial), std::end(curve.polynomial), [](double c) { return c != 0; });
  return result;
}

/// Largest code of a single device.
float device_scale(const Chip::Noise& noise, float full_scale) {
  return noise.pair == Pair::offset ? 2 * full_scale : full_scale;
}

AgeingPlan plan_of(const Chip::Noise& noise, float full_scale) {
  const chip::device::Ageing ageing = chip::device::ageing_of(noise);
  const double largest = static_cast<double>(device_scale(noise, full_scale));
  AgeingPlan plan;
  plan.r_min = static_cast<float>(ageing.r_min);
  plan.r_per_code = static_cast<float>((1 - ageing.r_min) / largest);
  plan.code_per_r = static_cast<float>(largest / (1 - ageing.r_min));
  plan.programming = lanes_of(ageing.programming);
  plan.settled = lanes_of(ageing.settled);
  plan.nu_mean = lanes_of(ageing.nu_mean);
  plan.nu_sd = lanes_of(ageing.nu_sd);
  plan.q = lanes_of(ageing.q);
  if (ageing.read) plan.read = lanes_of(*ageing.read);
  plan.programming_factor = static_cast<float>(ageing.programming_factor);
  plan.settled_weight = static_cast<float>(ageing.settled_weight);
  plan.shift = static_cast<float>(ageing.shift);
  plan.drift_log = static_cast<float>(ageing.drift_log);
  plan.flicker_root = static_cast<float>(ageing.flicker_root);
  if (plan.programming_factor == 0 && plan.settled_weight == 0) plan.programming.present = false;  // nothing to draw
  return plan;
}

/// A plan under which nothing happens to a device.
AgeingPlan at_rest(AgeingPlan plan) {
  plan.programming = LaneCurve{};
  plan.settled_weight = plan.shift = plan.drift_log = plan.flicker_root = 0;
  return plan;
}

/// Where the numbers of a rectangle's rows come from.
struct Draws {
  std::uint64_t seed = 0;
  std::uint32_t node = 0, stage = 0, slice = 0;
  std::uint32_t out_first = 0, out_step = 1;
  std::size_t outputs = 0;
  std::vector<float> span;  // numbers between strided outputs

  template <typename Fill>
  void fill_row(Fill fill, Effect effect, std::uint32_t device, std::uint32_t input, float* out) {
    // Up to here, drawing what lies between two outputs is cheaper than one call for each.
    constexpr std::uint32_t kWidestStep = 32;
    const std::uint64_t stream = stream_of(effect, node, stage, slice, device);
    const std::uint64_t first = counter_of(input, out_first);
    if (out_step == 1 || outputs == 1) {
      fill(seed, stream, first, std::span<float>(out, outputs));
    } else if (out_step <= kWidestStep) {
      span.resize((outputs - 1) * out_step + 1);
      fill(seed, stream, first, std::span<float>(span));
      for (std::size_t j = 0; j < outputs; ++j) out[j] = span[j * out_step];
    } else {
      for (std::size_t j = 0; j < outputs; ++j) fill(seed, stream, first + j * out_step, std::span<float>(out + j, 1));
    }
  }
};

/// Rows of scratch, each of whole vectors.
struct Scratch {
  std::size_t padded;
  std::vector<float> memory;
  std::size_t used = 0;
  Scratch(std::size_t outputs, std::size_t arrays)
      : padded((outputs + kPadding - 1) / kPadding * kPadding), memory(padded * arrays) {}
  float* row() {
    used += padded;
    ensure(used <= memory.size(), "cells: not enough scratch");
    return memory.data() + used - padded;
  }
};

/// Programs a rectangle of cells under the plan, whose weights are codes[i * outputs + j], or all 0 if there are none.
Conductances make_cells(const Chip::Noise& noise, const AgeingPlan& plan, Draws draws, Effect stuck_effect,
                        const CellKeys& keys, std::span<const float> codes, float full_scale) {
  const std::size_t outputs = keys.outputs, cells = std::size_t{keys.inputs} * outputs;
  const bool one_device = noise.pair == Pair::offset;
  const float largest = device_scale(noise, full_scale);
  const bool reads = noise.read_noise != chip::ReadNoise::none;
  const bool reads_devices = reads && noise.read_kind == chip::ReadKind::device;
  const double stuck = noise.stuck_low + noise.stuck_high;

  Conductances result;
  result.plus.resize(cells);
  result.minus.resize(cells);
  if (reads) result.read_variance.resize(cells);
  result.programmed_sum.assign(outputs, 0);
  result.present_sum.assign(outputs, 0);

  Scratch scratch(outputs, 12);
  float* const target[2] = {scratch.row(), scratch.row()};
  float* const programmed[2] = {scratch.row(), scratch.row()};
  float* const now[2] = {scratch.row(), scratch.row()};
  float* const variance[2] = {scratch.row(), scratch.row()};
  float* const programming_draw = scratch.row();
  float* const drift_draw = scratch.row();
  float* const flicker_draw = scratch.row();
  float* const stuck_draw = scratch.row();
  std::fill_n(programmed[1], scratch.padded, full_scale);  // the reference of a single device
  std::fill_n(now[1], scratch.padded, full_scale);

  for (std::uint32_t i = 0; i < keys.inputs; ++i) {
    const std::uint32_t input = keys.in_first + i * keys.in_step;
    const float* const code = codes.empty() ? nullptr : codes.data() + i * outputs;
    for (std::size_t j = 0; j < outputs; ++j) {
      const float c = code == nullptr ? 0 : code[j];
      switch (noise.pair) {
        case Pair::one_sided:
          target[0][j] = std::max(c, 0.0f);
          target[1][j] = std::max(-c, 0.0f);
          break;
        case Pair::two_sided:
          target[0][j] = (full_scale + c) / 2;
          target[1][j] = (full_scale - c) / 2;
          break;
        case Pair::offset:
          target[0][j] = full_scale + c;
          break;
      }
    }
    for (std::uint32_t device = 0; device < (one_device ? 1u : 2u); ++device) {
      if (stuck > 0) {
        draws.fill_row(random_uniforms, stuck_effect, device, input, stuck_draw);
        for (std::size_t j = 0; j < outputs; ++j) {
          const double u = static_cast<double>(stuck_draw[j]);
          if (u < stuck) target[device][j] = u < noise.stuck_low ? 0 : largest;
        }
      }
      if (plan.programming.present)
        draws.fill_row(random_gaussians, Effect::programming, device, input, programming_draw);
      if (plan.drift_log != 0) draws.fill_row(random_gaussians, Effect::drift, device, input, drift_draw);
      if (plan.flicker_root != 0) draws.fill_row(random_gaussians, Effect::flicker, device, input, flicker_draw);
      HWY_DYNAMIC_DISPATCH(age_here)
      (plan, {.padded = scratch.padded,
              .target = target[device],
              .programming_draw = programming_draw,
              .drift_draw = drift_draw,
              .flicker_draw = flicker_draw,
              .programmed = programmed[device],
              .now = now[device],
              .read_variance = reads_devices ? variance[device] : nullptr});
    }
    std::copy_n(now[0], outputs, result.plus.data() + i * outputs);
    std::copy_n(now[1], outputs, result.minus.data() + i * outputs);
    for (std::size_t j = 0; j < outputs; ++j) {
      result.programmed_sum[j] += std::abs(static_cast<double>(programmed[0][j] - programmed[1][j]));
      result.present_sum[j] += std::abs(static_cast<double>(now[0][j] - now[1][j]));
    }
    if (!reads) continue;
    float* const read_variance = result.read_variance.data() + i * outputs;
    const float relative_sd = static_cast<float>(noise.read * noise.read_sd);
    for (std::size_t j = 0; j < outputs; ++j) {
      switch (noise.read_kind) {
        case chip::ReadKind::constant:
          read_variance[j] = relative_sd * full_scale * (relative_sd * full_scale);
          break;
        case chip::ReadKind::root:
          read_variance[j] = relative_sd * relative_sd * full_scale * std::abs(now[0][j] - now[1][j]);
          break;
        case chip::ReadKind::device:
          read_variance[j] = variance[0][j] + variance[1][j];
          break;
      }
    }
  }
  return result;
}

}  // namespace

std::uint64_t stream_of(Effect effect, std::uint32_t node, std::uint32_t stage, std::uint32_t slice,
                        std::uint32_t device) {
  ensure(stage < 256 && slice < 256 && device < 256, "stream_of: stage, slice or device above 255");
  return std::uint64_t{node} << 32 | stage << 24 | slice << 16 | device << 8 | static_cast<std::uint32_t>(effect);
}

Conductances program_cells(const Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice, const CellKeys& keys,
                           std::span<const float> codes, float full_scale) {
  ensure(codes.size() == std::size_t{keys.inputs} * keys.outputs,
         "program_cells: the codes are not the keys' rectangle");
  ensure(full_scale > 0, "program_cells: full scale must be above 0");
  Draws draws;
  draws.seed = seed;
  draws.node = keys.node;
  draws.stage = keys.stage;
  draws.slice = slice;
  draws.out_first = keys.out_first;
  draws.out_step = keys.out_step;
  draws.outputs = keys.outputs;
  return make_cells(noise, plan_of(noise, full_scale), std::move(draws), Effect::stuck, keys, codes, full_scale);
}

Conductances idle_cells(const Chip::Noise& noise, std::uint64_t seed, std::uint32_t slice, std::uint32_t array,
                        std::uint32_t first_row, std::uint32_t rows, std::uint32_t first_column, std::uint32_t columns,
                        float full_scale) {
  ensure(full_scale > 0, "idle_cells: full scale must be above 0");
  CellKeys keys;
  keys.in_first = first_row;
  keys.inputs = rows;
  keys.out_first = first_column;
  keys.outputs = columns;
  Draws draws;
  draws.seed = seed;
  draws.node = array;
  draws.slice = slice;
  draws.out_first = first_column;
  draws.outputs = columns;
  return make_cells(noise, at_rest(plan_of(noise, full_scale)), std::move(draws), Effect::idle, keys, {}, full_scale);
}

double code_unit_us(const Chip::Noise& noise, float full_scale) {
  const chip::device::Ageing ageing = chip::device::ageing_of(noise);
  return ageing.g_max_us * (1 - ageing.r_min) / static_cast<double>(device_scale(noise, full_scale));
}

double background_code(const Chip::Noise& noise, float full_scale) {
  const chip::device::Ageing ageing = chip::device::ageing_of(noise);
  return ageing.r_min / (1 - ageing.r_min) * static_cast<double>(device_scale(noise, full_scale));
}

}  // namespace danaus::machine

#endif  // HWY_ONCE
