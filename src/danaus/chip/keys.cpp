// One row per key: name, help, and a typed reference to the field with its range. Everything that reads or writes a
// chip file visits the row's kind.

#include "danaus/chip/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace danaus::chip {
namespace {

constexpr double kMostNs = 1e9;  // a second
constexpr double kMostPj = 1e9;  // a millijoule
constexpr double kMostUm2 = 1e9;
constexpr double kMostMw = 1e9;
constexpr std::uint32_t kMostUnits = 1u << 20;

template <typename... Visitors>
struct Overload : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overload(Visitors...) -> Overload<Visitors...>;

std::string shown(const Value& value) {
  return std::visit(Overload{[](const std::string& text) { return fmt::format("\"{}\"", text.substr(0, 64)); },
                             [](bool flag) { return std::string(flag ? "true" : "false"); },
                             [](auto number) { return fmt::format("{}", number); }},
                    value);
}

// The table's accessors: a chip and a path to a field.
#define DANAUS_FIELD(path) [](Chip& chip) -> auto& { return chip.path; }
#define DANAUS_CHOICE(path, Type)                                         \
  [](const Chip& chip) { return static_cast<std::uint32_t>(chip.path); }, \
      [](Chip& chip, std::uint32_t word) { chip.path = static_cast<Type>(word); }

std::vector<Key> make_table() {
  const auto count = [](std::uint32_t& (*at)(Chip&), std::uint32_t least, std::uint32_t most) {
    return Count{at, least, most};
  };
  const auto ns = [](double& (*at)(Chip&)) { return Number{at, 0, kMostNs}; };
  const auto pj = [](double& (*at)(Chip&)) { return Number{at, 0, kMostPj}; };
  const auto um2 = [](double& (*at)(Chip&)) { return Number{at, 0, kMostUm2}; };
  const auto factor = [](double& (*at)(Chip&)) { return Number{at, 0, 100}; };
  const auto mw = [](double& (*at)(Chip&)) { return Number{at, 0, kMostMw}; };
  return {
      {"array.rows", "rows (inputs) of an array", count(DANAUS_FIELD(array.rows), 1, 1024)},
      {"array.cols", "weights per row (outputs) of an array", count(DANAUS_FIELD(array.cols), 1, 1024)},
      {"array.slices", "physical columns per weight; they share a converter", count(DANAUS_FIELD(array.slices), 1, 8)},
      {"array.settle_ns", "settling of the column currents", ns(DANAUS_FIELD(array.settle_ns))},
      {"array.cell_energy_pj", "one cell (all its devices) during one input window",
       pj(DANAUS_FIELD(array.cell_energy_pj))},
      {"array.cell_area_um2", "one device with its selector", um2(DANAUS_FIELD(array.cell_area_um2))},
      {"array.devices_per_weight", "devices per cell, for area and programming",
       count(DANAUS_FIELD(array.devices_per_weight), 1, 64)},
      {"array.idle_columns", "do columns that are not read draw current on driven rows",
       Choice{{"float", "draw"}, DANAUS_CHOICE(array.idle_columns_draw, bool)}},
      {"array.activation_energy_pj", "fixed part of every activation", pj(DANAUS_FIELD(array.activation_energy_pj))},

      {"input.bits", "bits of an input", count(DANAUS_FIELD(input.bits), 1, 16)},
      {"input.kind", "how rows are driven",
       Choice{{"pwm", "bit-serial", "voltage", "fixed"}, DANAUS_CHOICE(input.kind, InputKind)}},
      {"input.clock_ns", "pwm: one step; the window is 2^(bits-1) steps", ns(DANAUS_FIELD(input.clock_ns))},
      {"input.bit_ns", "bit-serial: one bit", ns(DANAUS_FIELD(input.bit_ns))},
      {"input.time_ns", "voltage, fixed: the input window", ns(DANAUS_FIELD(input.time_ns))},
      {"input.row_energy_pj", "driving one row (bit-serial: per bit)", pj(DANAUS_FIELD(input.row_energy_pj))},
      {"input.row_area_um2", "one row driver", um2(DANAUS_FIELD(input.row_area_um2))},

      {"adc.per_array", "converters per array; adc.wiring says which columns each of them has",
       count(DANAUS_FIELD(adc.per_array), 1, 1024)},
      {"adc.bits", "resolution with rule = fixed", count(DANAUS_FIELD(adc.bits), 1, 16)},
      {"adc.second_bits", "resolution of second stages (L) with rule = fixed; 0 = adc.bits",
       count(DANAUS_FIELD(adc.second_bits), 0, 16)},
      {"adc.rule", "how the resolution of a stage is found; calibrated = from a table (--adc-bits)",
       Choice{{"fixed", "rows", "lossless", "calibrated"}, DANAUS_CHOICE(adc.rule, AdcRule)}},
      {"adc.kind", "kind of converter", Choice{{"sar", "ramp", "flash", "fixed"}, DANAUS_CHOICE(adc.kind, AdcKind)}},
      {"adc.step_ns", "sar: one step; a conversion takes bits+1", ns(DANAUS_FIELD(adc.step_ns))},
      {"adc.lsb_ns", "ramp: one level; a conversion takes 2^bits", ns(DANAUS_FIELD(adc.lsb_ns))},
      {"adc.time_ns", "flash, fixed: a conversion", ns(DANAUS_FIELD(adc.time_ns))},
      {"adc.sample_hold", "columns are sampled and held; without it every round repeats the input window",
       Flag{DANAUS_FIELD(adc.sample_hold)}},
      {"adc.double_buffer", "the next input is driven while the held columns are converted",
       Flag{DANAUS_FIELD(adc.double_buffer)}},
      {"adc.wiring",
       "which columns share a converter: those per_array apart, or neighbours (cols / per_array of them, rounded up)",
       Choice{{"interleaved", "blocked"}, DANAUS_CHOICE(adc.wiring, Wiring)}},
      {"adc.precision",
       "a conversion has the bits of its stage, or all have those of the program's stage that needs the most",
       Choice{{"dynamic", "static"}, DANAUS_CHOICE(adc.static_precision, bool)}},
      {"adc.sharing", "which converters a column may use: the one it is wired to, any of its array, any of its group",
       Choice{{"column", "array", "group"}, DANAUS_CHOICE(adc.sharing, AdcSharing)}},
      {"adc.group_arrays", "sharing = group: neighbouring arrays of a tile that share their converters",
       count(DANAUS_FIELD(adc.group_arrays), 1, 65536)},
      {"adc.share_ns", "sharing = array, group: the switch, added to a conversion", ns(DANAUS_FIELD(adc.share_ns))},
      {"adc.share_energy_pj", "sharing = array, group: the switch, per conversion",
       pj(DANAUS_FIELD(adc.share_energy_pj))},
      {"adc.share_area_um2", "sharing = array, group: one crosspoint of the switch, from a column to a converter",
       um2(DANAUS_FIELD(adc.share_area_um2))},
      {"adc.node_nm", "technology node for the regression", Number{DANAUS_FIELD(adc.node_nm), 1, 1000}},
      {"adc.energy", "energy of a conversion, pJ", Number{DANAUS_FIELD(adc.energy_pj), 0, kMostPj, "regression"}},
      {"adc.area", "area of a converter, um2", Number{DANAUS_FIELD(adc.area_um2), 0, kMostUm2, "regression"}},
      {"adc.sample_hold_energy_pj", "sampling one column", pj(DANAUS_FIELD(adc.sample_hold_energy_pj))},
      {"adc.sample_hold_area_um2", "one sample-and-hold, per column", um2(DANAUS_FIELD(adc.sample_hold_area_um2))},
      {"adc.shift_add_energy_pj", "digital scaling and adding, per conversion",
       pj(DANAUS_FIELD(adc.shift_add_energy_pj))},
      {"adc.calibration", "factor on the energy of a conversion (1 = best case)",
       Number{DANAUS_FIELD(adc.calibration), 0, 1e6}},
      {"adc.calibration_high", "the other end of the band of that factor, for reports; 0 = no band",
       Number{DANAUS_FIELD(adc.calibration_high), 0, 1e6}},
      {"adc.allow_extrapolation", "use the regression below 4 bits and above 10 GS/s",
       Flag{DANAUS_FIELD(adc.allow_extrapolation)}},

      {"digital.units", "vector units per tile (location = hub: for the chip); 0 = unlimited",
       count(DANAUS_FIELD(digital.units), 0, kMostUnits)},
      {"digital.location", "where the vector units are", Choice{{"tile", "hub"}, DANAUS_CHOICE(digital.hub, bool)}},
      {"digital.lanes", "elements at a time; 0 = times are flat", count(DANAUS_FIELD(digital.lanes), 0, 65536)},
      {"digital.add_ns", "add", ns(DANAUS_FIELD(digital.add_ns))},
      {"digital.mul_ns", "multiply", ns(DANAUS_FIELD(digital.mul_ns))},
      {"digital.silu_ns", "SiLU", ns(DANAUS_FIELD(digital.silu_ns))},
      {"digital.gelu_ns", "GELU", ns(DANAUS_FIELD(digital.gelu_ns))},
      {"digital.relu_ns", "ReLU", ns(DANAUS_FIELD(digital.relu_ns))},
      {"digital.rope_ns", "rotary embedding", ns(DANAUS_FIELD(digital.rope_ns))},
      {"digital.moments_ns", "norm, part 1: sum and sum of squares", ns(DANAUS_FIELD(digital.moments_ns))},
      {"digital.stat_ns", "norm, part 2: mean and 1/sigma", ns(DANAUS_FIELD(digital.stat_ns))},
      {"digital.norm_ns", "norm, part 3: scaling the elements", ns(DANAUS_FIELD(digital.norm_ns))},
      {"digital.route_ns", "mixture of experts: choosing the gates", ns(DANAUS_FIELD(digital.route_ns))},
      {"digital.layernorm_ns", "short for the three parts of a norm: 40 %, 20 %, 40 %",
       Shorthand{[](Chip& chip, double time) {
                   chip.digital.moments_ns = 0.4 * time;
                   chip.digital.stat_ns = 0.2 * time;
                   chip.digital.norm_ns = 0.4 * time;
                 },
                 kMostNs}},
      {"digital.add_pj", "add, per element", pj(DANAUS_FIELD(digital.add_pj))},
      {"digital.mul_pj", "multiply, per element", pj(DANAUS_FIELD(digital.mul_pj))},
      {"digital.silu_pj", "SiLU, per element", pj(DANAUS_FIELD(digital.silu_pj))},
      {"digital.gelu_pj", "GELU, per element", pj(DANAUS_FIELD(digital.gelu_pj))},
      {"digital.relu_pj", "ReLU, per element", pj(DANAUS_FIELD(digital.relu_pj))},
      {"digital.rope_pj", "rotary embedding, per element", pj(DANAUS_FIELD(digital.rope_pj))},
      {"digital.moments_pj", "norm, part 1, per element", pj(DANAUS_FIELD(digital.moments_pj))},
      {"digital.stat_pj", "norm, part 2, per element", pj(DANAUS_FIELD(digital.stat_pj))},
      {"digital.norm_pj", "norm, part 3, per element", pj(DANAUS_FIELD(digital.norm_pj))},
      {"digital.route_pj", "choosing the gates, per expert", pj(DANAUS_FIELD(digital.route_pj))},
      {"digital.energy_per", "are these energies per element or flat per operation",
       Choice{{"element", "operation"}, DANAUS_CHOICE(digital.energy_per_operation, bool)}},
      {"digital.sample_ns", "choosing the next token", ns(DANAUS_FIELD(digital.sample_ns))},
      {"digital.sample_pj", "choosing the next token", pj(DANAUS_FIELD(digital.sample_pj))},
      {"digital.passive_mw", "idle power per unit", mw(DANAUS_FIELD(digital.passive_mw))},
      {"digital.area_um2", "one unit", um2(DANAUS_FIELD(digital.area_um2))},

      {"attention.units", "attention units of the chip; 0 = one per KV region",
       count(DANAUS_FIELD(attention.units), 0, kMostUnits)},
      {"attention.macs_per_ns", "speed of a unit; 0 = infinitely fast",
       Number{DANAUS_FIELD(attention.macs_per_ns), 0, 1e9}},
      {"attention.softmax_ns", "softmax, once per context", ns(DANAUS_FIELD(attention.softmax_ns))},
      {"digital.softmax_ns", "short for attention.softmax_ns",
       Shorthand{[](Chip& chip, double time) { chip.attention.softmax_ns = time; }, kMostNs}},
      {"attention.append_ns", "appending an entry", ns(DANAUS_FIELD(attention.append_ns))},
      {"attention.energy_pj_per_mac", "a multiply-accumulate", pj(DANAUS_FIELD(attention.energy_pj_per_mac))},
      {"attention.kv_bytes_per_ns", "reading keys and values, per unit; 0 = infinitely fast",
       Number{DANAUS_FIELD(attention.kv_bytes_per_ns), 0, 1e9}},
      {"attention.kv_energy_pj_per_byte", "reading or writing keys and values",
       pj(DANAUS_FIELD(attention.kv_energy_pj_per_byte))},
      {"attention.context_pj", "reading the context, flat part per operation", pj(DANAUS_FIELD(attention.context_pj))},
      {"attention.passive_mw", "idle power per unit", mw(DANAUS_FIELD(attention.passive_mw))},
      {"attention.area_um2", "one unit", um2(DANAUS_FIELD(attention.area_um2))},
      {"attention.kv_passive_mw", "idle power of the memory of keys and values, for the chip",
       mw(DANAUS_FIELD(attention.kv_passive_mw))},

      {"network.topology", "mesh of tiles, ideal (no time, no energy) or flat (hop_ns and one hop for every message)",
       Choice{{"mesh", "ideal", "flat"}, DANAUS_CHOICE(network.topology, Topology)}},
      {"network.contention", "what a message on the mesh occupies: the port of its tile, or all links of its way, too",
       Choice{{"port", "links"}, DANAUS_CHOICE(network.contention, Contention)}},
      {"network.switching",
       "how long a message on the mesh occupies it: circuit until it has arrived, wormhole until its end has left",
       Choice{{"circuit", "wormhole"}, DANAUS_CHOICE(network.switching, Switching)}},
      {"network.arrays_per_tile", "arrays that share a buffer, vector units and a router",
       count(DANAUS_FIELD(network.arrays_per_tile), 1, 65536)},
      {"network.hop_ns", "router and link, per hop", ns(DANAUS_FIELD(network.hop_ns))},
      {"network.link_bits", "width of a link", count(DANAUS_FIELD(network.link_bits), 1, 65536)},
      {"network.clock_ns", "one transfer of link_bits", ns(DANAUS_FIELD(network.clock_ns))},
      {"network.header_bits", "per message", count(DANAUS_FIELD(network.header_bits), 0, 65536)},
      {"network.energy_pj_per_bit_hop", "per bit and hop", pj(DANAUS_FIELD(network.energy_pj_per_bit_hop))},
      {"network.router_area_um2", "one router, per tile", um2(DANAUS_FIELD(network.router_area_um2))},

      {"buffer.bytes_per_tile", "0 = as much as needed",
       LargeCount{DANAUS_FIELD(buffer.bytes_per_tile), 0, 1ull << 40}},
      {"buffer.energy_pj_per_byte", "reading or writing", pj(DANAUS_FIELD(buffer.energy_pj_per_byte))},
      {"buffer.area_um2_per_byte", "area of the buffer", um2(DANAUS_FIELD(buffer.area_um2_per_byte))},

      {"chip.arrays", "arrays of the chip; 0 = as many as needed", count(DANAUS_FIELD(system.arrays), 0, 1u << 24)},
      {"chip.issue", "which ready command a free resource takes",
       Choice{{"ready", "program"}, DANAUS_CHOICE(system.issue, Issue)}},
      {"chip.scheduling", "the timing machine's scoreboard, or list scheduling as in the 3D-CiM simulator",
       Choice{{"scoreboard", "list"}, DANAUS_CHOICE(system.scheduling, Scheduling)}},
      {"chip.tiers", "weight planes per array; more than 1 only with list scheduling",
       count(DANAUS_FIELD(system.tiers), 1, 1024)},
      {"chip.one_tier_at_a_time", "list scheduling: an array computes with one of its tiers at a time",
       Flag{DANAUS_FIELD(system.one_tier_at_a_time)}},
      {"chip.passive_mw_per_array", "idle power", mw(DANAUS_FIELD(system.passive_mw_per_array))},
      {"chip.control_area_um2_per_array", "control logic", um2(DANAUS_FIELD(system.control_area_um2_per_array))},
      {"chip.chips", "equal chips that share the model's arrays, each linked to a switch (--chips)",
       count(DANAUS_FIELD(system.chips), 1, 65536)},
      {"chip.link_gbps", "a chip's link to the switch, each way; 0 = infinitely fast",
       Number{DANAUS_FIELD(system.link_gbps), 0, 1e9}},
      {"chip.link_latency_ns", "from one chip to another, beside the transfer",
       ns(DANAUS_FIELD(system.link_latency_ns))},
      {"chip.link_energy_pj_per_bit", "from one chip to another", pj(DANAUS_FIELD(system.link_energy_pj_per_bit))},
      {"chip.link_area_um2", "a chip's link, with several chips", um2(DANAUS_FIELD(system.link_area_um2))},

      {"program.iterations", "program-and-verify cycles per row",
       count(DANAUS_FIELD(programming.iterations), 0, 1u << 20)},
      {"program.pulse_ns", "programming pulse", ns(DANAUS_FIELD(programming.pulse_ns))},
      {"program.verify_ns", "verifying read", ns(DANAUS_FIELD(programming.verify_ns))},
      {"program.energy_pj", "one cycle, per device", pj(DANAUS_FIELD(programming.energy_pj))},
      {"program.arrays_at_a_time", "arrays of a chip that are written in parallel; 0 = all",
       count(DANAUS_FIELD(programming.arrays_at_a_time), 0, 1u << 24)},
      {"program.endurance", "cycles that a device survives; 0 = no figure",
       Number{DANAUS_FIELD(programming.endurance), 0, 1e18}},

      {"measured.product_ns", "silicon, one product with a whole array, for comparison only; 0 = no figure",
       ns(DANAUS_FIELD(measured.product_ns))},
      {"measured.product_nj", "silicon, energy of that product, for comparison only; 0 = no figure",
       Number{DANAUS_FIELD(measured.product_nj), 0, kMostPj}},
      {"measured.product_mm2", "silicon, area of that array with its periphery, for comparison only; 0 = no figure",
       Number{DANAUS_FIELD(measured.product_mm2), 0, 1e6}},

      {"noise.device", "whose published spread, drift and 1/f noise the devices have (docs/analog.md)",
       Choice{{"ideal", "generic", "pcm", "pcm-hermes-one", "pcm-hermes-two", "pcm-joshi", "reram-wan", "reram-cmo",
               "reram-milo", "sonos"},
              DANAUS_CHOICE(noise.device, DeviceKind)}},
      {"noise.g_max_us", "conductance of the largest code, uS; published spreads scale with it",
       Number{DANAUS_FIELD(noise.g_max_us), 1e-3, 1e6, "device"}},
      {"noise.g_min_us", "conductance of code 0, uS; 0 = infinite on/off ratio",
       Number{DANAUS_FIELD(noise.g_min_us), 0, 1e6, "device"}},
      {"noise.weight_bits", "signed weight codes in +-(2^(bits-1) - 1), over all slices; 0 = not quantised",
       count(DANAUS_FIELD(noise.weight_bits), 0, 16)},
      {"noise.weight_scale",
       "one scale from weight to code per block of weights (a dense operator is one) or per output column",
       Choice{{"matrix", "column"}, DANAUS_CHOICE(noise.weight_scale, WeightScale)}},
      {"noise.pair",
       "a weight on two devices of which one stays at g_min, on two that both move, or on one against a reference",
       Choice{{"one-sided", "two-sided", "offset"}, DANAUS_CHOICE(noise.pair, Pair)}},
      {"noise.programming", "factor on the published standard deviation right after programming; 0 = exact",
       factor(DANAUS_FIELD(noise.programming))},
      {"noise.drift", "factor on the published drift; 0 = none", factor(DANAUS_FIELD(noise.drift))},
      {"noise.flicker", "factor on the published 1/f noise accumulated since programming; 0 = none",
       factor(DANAUS_FIELD(noise.flicker))},
      {"noise.time_s", "age of the devices, s, from the source's first read after programming",
       Number{DANAUS_FIELD(noise.time_s), 0, 1e10}},
      {"noise.compensation",
       "digital factor that makes up for mean drift: none, one per operator stage, one per column",
       Choice{{"none", "global", "column"}, DANAUS_CHOICE(noise.compensation, Compensation)}},
      {"noise.stuck_low", "probability that a device is stuck at g_min", Number{DANAUS_FIELD(noise.stuck_low), 0, 1}},
      {"noise.stuck_high", "probability that a device is stuck at g_max", Number{DANAUS_FIELD(noise.stuck_high), 0, 1}},
      {"noise.read_noise", "noise of each read: none, one draw per output of equal distribution, or one per cell",
       Choice{{"none", "output", "cell"}, DANAUS_CHOICE(noise.read_noise, ReadNoise)}},
      {"noise.read_kind", "read noise of a weight w: sd constant, read_sd * sqrt|w|, or as the device publishes it",
       Choice{{"constant", "root", "device"}, DANAUS_CHOICE(noise.read_kind, ReadKind)}},
      {"noise.read_sd", "constant, root: standard deviation of the read noise of a full-scale weight, in such weights",
       Number{DANAUS_FIELD(noise.read_sd), 0, 1}},
      {"noise.read", "factor on the standard deviation of the read noise", factor(DANAUS_FIELD(noise.read))},
      {"noise.output_sd",
       "noise before the converter, sd in cells (the current of a device at g_max and full-scale input)",
       Number{DANAUS_FIELD(noise.output_sd), 0, 1e3}},
      {"noise.ir_drop", "voltage drop along wires: none, a cubic closed form, or the exact nodal solution",
       Choice{{"none", "closed", "nodal"}, DANAUS_CHOICE(noise.ir_drop, IrDrop)}},
      {"noise.wire_ohm", "wire from cell to cell, of rows and columns, ohm",
       Number{DANAUS_FIELD(noise.wire_ohm), 0, 1e6}},
      {"noise.terminal_ohm", "driver of a row and input of a converter, ohm (nodal only)",
       Number{DANAUS_FIELD(noise.terminal_ohm), 0, 1e6}},
      {"noise.idle_cells", "do cells without a weight conduct g_min on driven rows of read columns",
       Choice{{"off", "leak"}, DANAUS_CHOICE(noise.idle_leak, bool)}},
      {"noise.undriven_row_leakage", "drive of rows that are not driven, part of a full-scale input",
       Number{DANAUS_FIELD(noise.undriven_row_leakage), 0, 1}},
      {"noise.input_scale", "range of the DAC: the largest input of each token, or one range for all",
       Choice{{"token", "tensor"}, DANAUS_CHOICE(noise.input_scale, InputScale)}},
      {"noise.adc_range", "range of the converters; auto = l1 without calibration data, cal-shared with",
       Choice{{"auto", "full", "l1", "cal-shared", "cal-column", "user", "lossless"},
              DANAUS_CHOICE(noise.adc_range, AdcRange)}},
      {"noise.adc_range_user", "range with adc_range = user, in cells",
       Number{DANAUS_FIELD(noise.adc_range_user), 0, 1e6}},
      {"noise.subtract", "the pair's currents are subtracted before or after the conversion",
       Choice{{"analog", "digital"}, DANAUS_CHOICE(noise.subtract, Subtract)}},
      {"noise.current_limit", "largest current of a column, in cells; 0 = no limit",
       Number{DANAUS_FIELD(noise.current_limit), 0, 1e6}},
      {"noise.adc_gain_sd", "spread of the converters' gain, relative", Number{DANAUS_FIELD(noise.adc_gain_sd), 0, 1}},
      {"noise.adc_offset_sd", "spread of the converters' offset, in steps of the conversion",
       Number{DANAUS_FIELD(noise.adc_offset_sd), 0, 1e3}},
  };
}

#undef DANAUS_FIELD
#undef DANAUS_CHOICE

// A number that a count can hold, or why not.
Problem whole(const Value& value, std::uint64_t least, std::uint64_t most, std::uint64_t& result) {
  const std::int64_t* number = std::get_if<std::int64_t>(&value);
  if (number == nullptr) return Problem::type;
  if (*number < 0 || static_cast<std::uint64_t>(*number) < least || static_cast<std::uint64_t>(*number) > most)
    return Problem::range;
  result = static_cast<std::uint64_t>(*number);
  return Problem::none;
}

Problem real(const Value& value, double least, double most, double& result) {
  if (const std::int64_t* number = std::get_if<std::int64_t>(&value)) {
    result = static_cast<double>(*number);
  } else if (const double* fraction = std::get_if<double>(&value)) {
    result = *fraction;
  } else {
    return Problem::type;
  }
  return result >= least && result <= most ? Problem::none : Problem::range;  // not-a-number fails both
}

}  // namespace

const std::vector<Key>& key_table() {
  static const std::vector<Key> table = make_table();
  return table;
}

const Condition* condition_of(std::string_view key) {
  constexpr auto kFixedRule = [](const Chip& chip) { return chip.adc.rule == AdcRule::fixed; };
  constexpr auto kMesh = [](const Chip& chip) { return chip.network.topology == Topology::mesh; };
  constexpr auto kNetwork = [](const Chip& chip) { return chip.network.topology != Topology::ideal; };
  constexpr auto kSeveralChips = [](const Chip& chip) { return chip.system.chips > 1; };
  constexpr auto kRegression = [](const Chip& chip) { return chip.adc.energy_pj < 0 || chip.adc.area_um2 < 0; };
  constexpr auto kShared = [](const Chip& chip) { return chip.adc.sharing != AdcSharing::column; };
  constexpr std::string_view kIsShared = "adc.sharing = \"array\" or \"group\"";
  constexpr std::string_view kIsFixedRule = "adc.rule = \"fixed\"";
  constexpr std::string_view kIsMesh = "network.topology = \"mesh\"";
  constexpr std::string_view kIsNetwork = "network.topology = \"mesh\" or \"flat\"";
  constexpr std::string_view kAreSeveralChips = "chip.chips above 1";
  constexpr std::string_view kIsRegression = "adc.energy or adc.area = \"regression\"";
  static constexpr std::array kConditions = {
      Condition{"adc.bits", kIsFixedRule, kFixedRule},
      Condition{"adc.second_bits", kIsFixedRule, kFixedRule},
      Condition{"adc.step_ns", "adc.kind = \"sar\"", [](const Chip& chip) { return chip.adc.kind == AdcKind::sar; }},
      Condition{"adc.lsb_ns", "adc.kind = \"ramp\"", [](const Chip& chip) { return chip.adc.kind == AdcKind::ramp; }},
      Condition{"adc.time_ns", "adc.kind = \"flash\" or \"fixed\"",
                [](const Chip& chip) { return chip.adc.kind == AdcKind::flash || chip.adc.kind == AdcKind::fixed; }},
      Condition{"adc.group_arrays", "adc.sharing = \"group\"",
                [](const Chip& chip) { return chip.adc.sharing == AdcSharing::group; }},
      Condition{"adc.share_ns", kIsShared, kShared},
      Condition{"adc.share_energy_pj", kIsShared, kShared},
      Condition{"adc.share_area_um2", kIsShared, kShared},
      Condition{"adc.node_nm", kIsRegression, kRegression},
      Condition{"adc.allow_extrapolation", kIsRegression, kRegression},
      Condition{"input.clock_ns", "input.kind = \"pwm\"",
                [](const Chip& chip) { return chip.input.kind == InputKind::pwm; }},
      Condition{"input.bit_ns", "input.kind = \"bit-serial\"",
                [](const Chip& chip) { return chip.input.kind == InputKind::bit_serial; }},
      Condition{"input.time_ns", "input.kind = \"voltage\" or \"fixed\"",
                [](const Chip& chip) {
                  return chip.input.kind != InputKind::pwm && chip.input.kind != InputKind::bit_serial;
                }},
      Condition{"network.contention", kIsMesh, kMesh},
      Condition{"network.switching", kIsMesh, kMesh},
      Condition{"network.link_bits", kIsMesh, kMesh},
      Condition{"network.clock_ns", kIsMesh, kMesh},
      Condition{"network.hop_ns", kIsNetwork, kNetwork},
      Condition{"network.energy_pj_per_bit_hop", kIsNetwork, kNetwork},
      Condition{"network.router_area_um2", kIsNetwork, kNetwork},
      Condition{"chip.one_tier_at_a_time", "chip.scheduling = \"list\"",
                [](const Chip& chip) { return chip.system.scheduling == Scheduling::list; }},
      Condition{"chip.link_gbps", kAreSeveralChips, kSeveralChips},
      Condition{"chip.link_latency_ns", kAreSeveralChips, kSeveralChips},
      Condition{"chip.link_energy_pj_per_bit", kAreSeveralChips, kSeveralChips},
      Condition{"chip.link_area_um2", kAreSeveralChips, kSeveralChips},
  };
  const auto* const found = std::find_if(kConditions.begin(), kConditions.end(),
                                         [&](const Condition& condition) { return condition.key == key; });
  return found == kConditions.end() ? nullptr : found;
}

std::string expectation(const Key& key) {
  return std::visit(
      Overload{[](const Count& c) { return fmt::format("a whole number from {} to {}", c.least, c.most); },
               [](const LargeCount& c) { return fmt::format("a whole number from {} to {}", c.least, c.most); },
               [](const Number& n) {
                 return fmt::format("{}a number from {} to {}", n.word.empty() ? "" : fmt::format("\"{}\" or ", n.word),
                                    n.least, n.most);
               },
               [](const Flag&) { return std::string("true or false"); },
               [](const Choice& c) { return fmt::format("one of {}", fmt::join(c.words, ", ")); },
               [](const Shorthand& s) { return fmt::format("a number from 0 to {}", s.most); }},
      key.kind);
}

Assignment assign(Chip& chip, const Key& key, const Value& value) {
  Problem problem = Problem::none;
  std::visit(Overload{[&](const Count& c) {
                        std::uint64_t number = 0;
                        problem = whole(value, c.least, c.most, number);
                        if (problem == Problem::none) c.at(chip) = static_cast<std::uint32_t>(number);
                      },
                      [&](const LargeCount& c) {
                        std::uint64_t number = 0;
                        problem = whole(value, c.least, c.most, number);
                        if (problem == Problem::none) c.at(chip) = number;
                      },
                      [&](const Number& n) {
                        const std::string* word = std::get_if<std::string>(&value);
                        double number = -1;
                        if (word == nullptr || n.word.empty() || *word != n.word)
                          problem = real(value, n.least, n.most, number);
                        if (problem == Problem::none) n.at(chip) = number;
                      },
                      [&](const Flag& f) {
                        const bool* flag = std::get_if<bool>(&value);
                        if (flag == nullptr) problem = Problem::type;
                        if (flag != nullptr) f.at(chip) = *flag;
                      },
                      [&](const Choice& c) {
                        const std::string* word = std::get_if<std::string>(&value);
                        if (word == nullptr) {
                          problem = Problem::type;
                        } else if (const auto found = std::find(c.words.begin(), c.words.end(), *word);
                                   found == c.words.end()) {
                          problem = Problem::range;
                        } else {
                          c.set(chip, static_cast<std::uint32_t>(found - c.words.begin()));
                        }
                      },
                      [&](const Shorthand& s) {
                        double number = 0;
                        problem = real(value, 0, s.most, number);
                        if (problem == Problem::none) s.set(chip, number);
                      }},
             key.kind);
  if (problem == Problem::none) return {};
  return {problem, fmt::format("{} must be {}, not {}", key.name, expectation(key), shown(value))};
}

std::string written(const Chip& chip, const Key& key) {
  Chip copy = chip;  // the table's accessors give writable references
  return std::visit(Overload{[&](const Count& c) { return fmt::format("{}", c.at(copy)); },
                             [&](const LargeCount& c) { return fmt::format("{}", c.at(copy)); },
                             [&](const Number& n) {
                               const double number = n.at(copy);
                               return number < 0 ? fmt::format("\"{}\"", n.word) : fmt::format("{}", number);
                             },
                             [&](const Flag& f) { return std::string(f.at(copy) ? "true" : "false"); },
                             [&](const Choice& c) { return fmt::format("\"{}\"", c.words[c.get(copy)]); },
                             [](const Shorthand&) { return std::string(); }},
                    key.kind);
}

}  // namespace danaus::chip
