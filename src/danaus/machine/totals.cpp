// Event counts times the chip's constants.

#include "danaus/machine/totals.h"

#include <array>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"

namespace danaus::machine {

namespace {

// Passive power counts the whole time, the reload included.
Energy energy_of(const program::ChipShape& shape, const chip::Chip& chip, const Plan& plan, const Counts& counts,
                 Picoseconds total) {
  const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
  const chip::Chip::Digital& digital = chip.digital;
  const std::array<double, kVecOps> element_pj = {
      digital.add_pj,     digital.mul_pj,  digital.silu_pj, digital.gelu_pj,  digital.relu_pj, digital.rope_pj,
      digital.moments_pj, digital.stat_pj, digital.norm_pj, digital.route_pj, digital.mul_pj,  digital.gelu_pj};
  Energy result = plan.energy;
  result.network = number(counts.bit_hops) * chip.network.energy_pj_per_bit_hop;
  for (std::size_t op = 0; op < kVecOps; ++op) result.digital += number(counts.op_elements[op]) * element_pj[op];
  result.link = number(counts.link_bits) * chip.system.link_energy_pj_per_bit;
  result.attention = number(counts.attention_macs) * chip.attention.energy_pj_per_mac +
                     number(counts.kv_bytes) * chip.attention.kv_energy_pj_per_byte;
  result.buffer = number(counts.buffer_bytes) * chip.buffer.energy_pj_per_byte;
  double arrays = chip.system.arrays != 0 ? chip.system.arrays : shape.arrays;
  double pools = digital.hub ? 1 : shape.tiles();
  if (shape.is_dealt()) {  // all chips, idle ones too
    arrays = double{1} * shape.chips * shape.arrays_per_chip;
    pools = double{1} * shape.chips * (digital.hub ? 1 : shape.tiles_per_chip());
  }
  const double passive_mw = arrays * chip.system.passive_mw_per_array + pools * digital.units * digital.passive_mw;
  constexpr double kPjPerMwPs = 1e-3;
  result.passive = passive_mw * static_cast<double>(total) * kPjPerMwPs;
  return result;
}

}  // namespace

void add_to_path(const Cost& cost, Breakdown& time, std::uint64_t& rounds) {
  time.input += cost.input;
  time.settle += cost.settle;
  time.adc += cost.adc;
  time.network += cost.network;
  time.link += cost.link;
  time.digital += cost.digital;
  time.attention += cost.attention;
  rounds += cost.rounds;
}

void add_attention(const Counts& attention, Counts& counts) {
  counts.kv_bytes += attention.kv_bytes;
  counts.attention_macs += attention.attention_macs;
  counts.buffer_bytes += attention.buffer_bytes;
}

Result<Timing> finished(const program::ChipShape& shape, const chip::Chip& chip, const Plan& plan, const Reload& reload,
                        Timing timing) {
  if (reload.time >= chip::kLongestTime - timing.total) return fail(takes_too_long());
  timing.reload = reload;
  timing.total += reload.time;
  timing.critical_path.reload = reload.time;
  ensure(timing.critical_path.total() == timing.total, "the critical path sums to the total time");
  timing.energy = energy_of(shape, chip, plan, timing.counts, timing.total);
  timing.energy.reload = reload.energy_pj;
  return timing;
}

}  // namespace danaus::machine
