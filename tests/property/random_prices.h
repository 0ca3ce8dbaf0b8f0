#pragma once

#include <vector>

#include "danaus/chip/cost.h"
#include "random_program.h"

namespace danaus::test {

/// Every price and time drawn, in whole ns so that sums are exact.
inline chip::Chip priced(chip::Chip chip, Dice& dice) {
  const auto ns = [&] { return static_cast<double>(dice.roll(0, 9)); };
  const auto price = [&] { return static_cast<double>(dice.roll(1, 64)) / 16; };
  chip.array.slices = dice.roll(1, 3);
  chip.array.settle_ns = ns();
  chip.array.cell_energy_pj = price();
  chip.array.idle_columns_draw = dice.coin();
  chip.array.activation_energy_pj = price();
  chip.input.kind = dice.pick(std::vector{chip::InputKind::pwm, chip::InputKind::bit_serial, chip::InputKind::fixed});
  chip.input.clock_ns = 1;
  chip.input.bit_ns = dice.roll(1, 9);
  chip.input.time_ns = ns();
  chip.input.row_energy_pj = price();
  chip.adc.kind = dice.pick(std::vector{chip::AdcKind::sar, chip::AdcKind::ramp, chip::AdcKind::flash});
  chip.adc.step_ns = chip.adc.lsb_ns = 1;
  chip.adc.time_ns = ns();
  chip.adc.sample_hold = dice.roll(0, 3) != 0;
  chip.adc.double_buffer = chip.adc.sample_hold && dice.coin();
  chip.adc.energy_pj = price();
  chip.adc.calibration = 2;
  chip.adc.calibration_high = dice.coin() ? 5 : 0;
  chip.adc.sample_hold_energy_pj = price();
  chip.adc.shift_add_energy_pj = price();
  chip.digital.units = dice.roll(0, 3);
  chip.digital.hub = dice.coin();
  chip.digital.lanes = dice.roll(0, 4);
  chip::Chip::Digital& digital = chip.digital;
  for (double* time : {&digital.add_ns, &digital.mul_ns, &digital.silu_ns, &digital.gelu_ns, &digital.relu_ns,
                       &digital.rope_ns, &digital.moments_ns, &digital.stat_ns, &digital.norm_ns, &digital.route_ns})
    *time = ns();
  for (double* energy : {&digital.add_pj, &digital.mul_pj, &digital.silu_pj, &digital.gelu_pj, &digital.relu_pj,
                         &digital.rope_pj, &digital.moments_pj, &digital.stat_pj, &digital.norm_pj, &digital.route_pj})
    *energy = price();
  chip.digital.passive_mw = price();
  chip.attention.units = dice.roll(0, 2);
  chip.attention.macs_per_ns = dice.roll(0, 2);
  chip.attention.kv_bytes_per_ns = dice.roll(0, 2);
  chip.attention.softmax_ns = ns();
  chip.attention.append_ns = ns();
  chip.attention.energy_pj_per_mac = price();
  chip.attention.kv_energy_pj_per_byte = price();
  chip.attention.passive_mw = price();
  chip.attention.kv_passive_mw = price();
  chip.network.topology = dice.coin() ? chip::Topology::mesh : chip::Topology::ideal;
  chip.network.contention = dice.coin() ? chip::Contention::links : chip::Contention::port;
  chip.network.switching = dice.coin() ? chip::Switching::wormhole : chip::Switching::circuit;
  chip.network.hop_ns = ns();
  chip.network.energy_pj_per_bit_hop = price();
  chip.buffer.energy_pj_per_byte = price();
  chip.system.passive_mw_per_array = price();
  chip.system.link_gbps = dice.roll(0, 8);
  chip.system.link_latency_ns = ns();
  chip.system.link_energy_pj_per_bit = price();
  chip.programming.iterations = dice.roll(0, 3);
  chip.programming.pulse_ns = ns();
  chip.programming.energy_pj = price();
  chip.adc.static_precision = dice.roll(0, 3) == 0;
  if (dice.roll(0, 3) == 0) chip.adc.sharing = chip::AdcSharing::array;
  if (chip::are_converters_pooled(chip)) chip.adc.sharing = chip::AdcSharing::column;
  chip.adc.share_ns = dice.roll(0, 2);
  chip.adc.share_energy_pj = price();
  return chip;
}

/// With converters that are taken column by column, where that is modelled.
inline chip::Chip with_pooled_converters(chip::Chip chip, Dice& dice) {
  if (!chip.adc.sample_hold) return chip;
  if (chip.input.kind == chip::InputKind::bit_serial) chip.input.kind = chip::InputKind::fixed;
  std::vector<std::uint32_t> divisors;
  for (std::uint32_t group = 1; group <= chip.network.arrays_per_tile; ++group) {
    if (chip.network.arrays_per_tile % group == 0) divisors.push_back(group);
  }
  chip.adc.group_arrays = dice.pick(divisors);
  chip.adc.sharing = chip.adc.double_buffer && dice.coin() ? chip::AdcSharing::array : chip::AdcSharing::group;
  return chip;
}

}  // namespace danaus::test
