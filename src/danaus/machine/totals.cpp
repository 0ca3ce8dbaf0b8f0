// Event counts times the chip's constants.

#include "danaus/machine/totals.h"

#include <array>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"

namespace danaus::machine {

namespace {

// Passive power counts the whole time, the reload included.
Energy energy_of(const program::ChipShape& shape, const chip::Chip& chip, const Plan& plan, const Counts& counts,
                 Picoseconds total, std::uint32_t regions) {
  const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
  const chip::Chip::Digital& digital = chip.digital;
  const std::array<double, kVecOps> element_pj = {
      digital.add_pj,  digital.mul_pj,     digital.silu_pj, digital.gelu_pj, digital.relu_pj,
      digital.rope_pj, digital.moments_pj, digital.stat_pj, digital.norm_pj, digital.route_pj,
      digital.mul_pj,  digital.gelu_pj,    digital.add_pj};  // a gather counts as an addition
  Energy result = plan.energy;
  result.network = number(counts.bit_hops) * chip.network.energy_pj_per_bit_hop;
  for (std::size_t op = 0; op < kVecOps; ++op) result.digital += number(counts.op_elements[op]) * element_pj[op];
  result.link = number(counts.link_bits) * chip.system.link_energy_pj_per_bit;
  result.attention = number(counts.attention_macs) * chip.attention.energy_pj_per_mac +
                     number(counts.kv_bytes) * chip.attention.kv_energy_pj_per_byte;
  result.buffer = number(counts.buffer_bytes) * chip.buffer.energy_pj_per_byte;
  const double arrays = shape.is_dealt()          ? shape.arrays_per_chip
                        : chip.system.arrays != 0 ? chip.system.arrays
                                                  : shape.arrays;
  const double tiles = shape.is_dealt() ? shape.tiles_per_chip() : shape.tiles();
  const double chips = shape.is_dealt() ? shape.chips : 1;  // all of them, idle ones too
  const double passive_mw = chip::passive_mw(chip, arrays, tiles, chips, regions);
  constexpr double kPjPerMwPs = 1e-3;
  result.passive = passive_mw * static_cast<double>(total) * kPjPerMwPs;
  return result;
}

}  // namespace

Breakdown& Breakdown::operator+=(const Breakdown& other) {
  input += other.input;
  settle += other.settle;
  adc += other.adc;
  network += other.network;
  link += other.link;
  digital += other.digital;
  attention += other.attention;
  wait += other.wait;
  reload += other.reload;
  return *this;
}

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

Result<Timing> finished(const program::Program& program, const chip::Chip& chip, const Plan& plan, const Reload& reload,
                        Timing timing) {
  const auto regions = static_cast<std::uint32_t>(program.kv.size());
  if (reload.time >= chip::kLongestTime - timing.total) return fail(takes_too_long());
  timing.reload = reload;
  timing.total += reload.time;
  timing.critical_path.reload = reload.time;
  ensure(timing.critical_path.total() == timing.total, "the critical path sums to the total time");
  timing.energy = energy_of(program.chip, chip, plan, timing.counts, timing.total, regions);
  timing.adc_high = plan.adc_high;
  timing.energy.reload = reload.energy_pj;
  return timing;
}

}  // namespace danaus::machine
