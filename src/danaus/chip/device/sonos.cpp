// Charge-trap (SONOS) memory, up to 3200 nA of read current: Xiao et al., "An accurate, error-tolerant, and
// energy-efficient neural network inference engine based on SONOS analog memory", IEEE TCAS-I 2022, as fitted by
// CrossSim 3.2.0. Currents are taken at 1 V, so that 3200 nA count as 3.2 uS. sd = A (1 - exp(-I / B)).

#include "danaus/chip/device/device.h"

namespace danaus::chip::device {
namespace {

constexpr double kLargest = 3200;  // nA

constexpr Curve spread(double a, double b) { return {.saturation = a * 1e-3, .saturation_r = b / kLargest}; }

}  // namespace

const Device& sonos() {
  static const Snapshot snapshots[] = {{.time_s = 86400, .spread_us = spread(25.59, 186.9)}};
  static const Device device = {
      .g_max_us = kLargest * 1e-3,
      .programming_us = spread(19.887, 176.3),
      .snapshots = snapshots,
      .read_us = spread(12.580, 215.37),
  };
  return device;
}

}  // namespace danaus::chip::device
