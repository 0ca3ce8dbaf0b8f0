#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/error.h"

namespace danaus::chip {

/// Time is integer picoseconds everywhere behind the chip file.
using Picoseconds = std::int64_t;
/// For results, which are in nanoseconds.
inline double to_nanoseconds(Picoseconds time) { return static_cast<double>(time) / 1000; }

enum class InputKind : std::uint8_t { pwm, bit_serial, voltage, fixed };
enum class AdcKind : std::uint8_t { sar, ramp, flash, fixed };
enum class AdcRule : std::uint8_t { fixed, rows, lossless, calibrated };
/// Whose converters an activation takes; README.md has the hardware of each.
enum class AdcSharing : std::uint8_t { column, array, group };
enum class Wiring : std::uint8_t { interleaved, blocked };
enum class Topology : std::uint8_t { mesh, ideal, flat };
enum class Contention : std::uint8_t { port, links };
enum class Switching : std::uint8_t { circuit, wormhole };
enum class Issue : std::uint8_t { ready, program };
enum class Scheduling : std::uint8_t { scoreboard, list };

/// Published device models; device/device.h has the formulas and their sources.
enum class DeviceKind : std::uint8_t {
  ideal,
  generic,
  pcm,
  pcm_hermes_one,
  pcm_hermes_two,
  pcm_joshi,
  reram_wan,
  reram_cmo,
  reram_milo,
  sonos
};
enum class WeightScale : std::uint8_t { matrix, column };
enum class Pair : std::uint8_t { one_sided, two_sided, offset };
enum class Compensation : std::uint8_t { none, global, column };
enum class ReadNoise : std::uint8_t { none, output, cell };
enum class ReadKind : std::uint8_t { constant, root, device };
enum class IrDrop : std::uint8_t { none, closed, nodal };
enum class InputScale : std::uint8_t { token, tensor };
enum class AdcRange : std::uint8_t { automatic, full, l1, cal_shared, cal_column, user, lossless };
enum class Subtract : std::uint8_t { analog, digital };

/// A chip file, every key with its default. Units are in the names. See README.md for the meaning of each key and
/// chips/*.toml for sources. `cols` counts weights per row; a weight is made of `slices` physical columns that share
/// its converter.
struct Chip {
  std::string name;
  struct Array {
    std::uint32_t rows = 256, cols = 256, slices = 1;
    double settle_ns = 10, cell_energy_pj = 0, cell_area_um2 = 0;
    std::uint32_t devices_per_weight = 1;
    bool idle_columns_draw = false;   ///< idle_columns = "draw" | "float"
    double activation_energy_pj = 0;  ///< fixed part of an activation
    bool operator==(const Array&) const = default;
  } array;
  struct Input {
    std::uint32_t bits = 8;
    InputKind kind = InputKind::fixed;
    double clock_ns = 0, bit_ns = 0, time_ns = 0, row_energy_pj = 0, row_area_um2 = 0;
    bool operator==(const Input&) const = default;
  } input;
  struct Adc {
    std::uint32_t per_array = 8, bits = 8;
    std::uint32_t second_bits = 0;  ///< of second stages (L), rule = fixed; 0 = as `bits`
    AdcRule rule = AdcRule::rows;
    AdcKind kind = AdcKind::sar;
    double step_ns = 0, lsb_ns = 0, time_ns = 0;
    bool sample_hold = true;
    bool double_buffer = false;  ///< the next input is driven while the held columns are converted
    Wiring wiring = Wiring::interleaved;
    bool static_precision = false;  ///< precision = "dynamic" | "static": all conversions at the program's most bits
    AdcSharing sharing = AdcSharing::column;
    std::uint32_t group_arrays = 4;            ///< neighbours of a tile that share their converters (sharing = group)
    double share_ns = 0, share_energy_pj = 0;  ///< of the switch, per conversion (sharing = array or group)
    double share_area_um2 = 0;                 ///< of one of its crosspoints
    double node_nm = 14;
    double energy_pj = -1;  ///< -1 = regression
    double area_um2 = -1;   ///< -1 = regression
    double sample_hold_energy_pj = 0, sample_hold_area_um2 = 0, shift_add_energy_pj = 0;
    double calibration = 1.0;
    double calibration_high = 0;  ///< the other end of the band that reports carry; 0 = no band
    bool allow_extrapolation = false;
    bool operator==(const Adc&) const = default;
  } adc;
  struct Digital {
    std::uint32_t units = 1;  ///< per tile or, with location = "hub", for the chip; 0 = unlimited
    bool hub = false;
    std::uint32_t lanes = 0;  ///< 0: times are flat; otherwise per ceil(length / lanes)
    double add_ns = 0, mul_ns = 0, silu_ns = 0, gelu_ns = 0, relu_ns = 0, rope_ns = 0;
    double moments_ns = 0, stat_ns = 0, norm_ns = 0, route_ns = 0;
    double add_pj = 0, mul_pj = 0, silu_pj = 0, gelu_pj = 0, relu_pj = 0, rope_pj = 0;  ///< per element
    double moments_pj = 0, stat_pj = 0, norm_pj = 0, route_pj = 0;                      ///< per element
    bool energy_per_operation = false;    ///< energy_per = "operation": the energies above are flat
    double sample_ns = 0, sample_pj = 0;  ///< choosing the next token, once per token
    double passive_mw = 0, area_um2 = 0;  ///< per unit
    bool operator==(const Digital&) const = default;
  } digital;
  struct Attention {
    std::uint32_t units = 0;  ///< for the chip; 0 = one per KV region
    double macs_per_ns = 0;   ///< 0 = infinitely fast
    double softmax_ns = 0, append_ns = 0;
    double energy_pj_per_mac = 0, kv_bytes_per_ns = 0, kv_energy_pj_per_byte = 0;  ///< kv_bytes_per_ns 0 = infinite
    double context_pj = 0;                                                         ///< flat part of reading the context
    double passive_mw = 0, area_um2 = 0;                                           ///< per unit
    double kv_passive_mw = 0;  ///< of the memory of keys and values, for the chip
    bool operator==(const Attention&) const = default;
  } attention;
  struct Network {
    Topology topology = Topology::ideal;
    Contention contention = Contention::port;  ///< what a message on the mesh occupies
    Switching switching = Switching::circuit;  ///< and for how long
    std::uint32_t arrays_per_tile = 16;
    double hop_ns = 0;
    std::uint32_t link_bits = 64;
    double clock_ns = 1;
    std::uint32_t header_bits = 32;
    double energy_pj_per_bit_hop = 0, router_area_um2 = 0;
    bool operator==(const Network&) const = default;
  } network;
  struct Buffer {
    std::uint64_t bytes_per_tile = 0;  ///< 0 = as much as needed
    double energy_pj_per_byte = 0, area_um2_per_byte = 0;
    bool operator==(const Buffer&) const = default;
  } buffer;
  struct System {
    std::uint32_t arrays = 0;  ///< 0 = as many as needed
    Issue issue = Issue::ready;
    Scheduling scheduling = Scheduling::scoreboard;
    std::uint32_t tiers = 1;
    bool one_tier_at_a_time = true;
    double passive_mw_per_array = 0, control_area_um2_per_array = 0;
    std::uint32_t chips = 1;  ///< equal chips, each with one link to a switch; `arrays` and all the rest are per chip
    double link_gbps = 0;     ///< each way; 0 = infinitely fast. A single chip has no link
    double link_latency_ns = 0, link_energy_pj_per_bit = 0, link_area_um2 = 0;
    bool operator==(const System&) const = default;
  } system;  ///< [chip] in the file
  struct Programming {
    std::uint32_t iterations = 0;
    double pulse_ns = 0, verify_ns = 0, energy_pj = 0;
    std::uint32_t arrays_at_a_time = 0;  ///< arrays of a chip that are written in parallel; 0 = all
    double endurance = 0;                ///< cycles that a device survives; 0 = no figure
    bool operator==(const Programming&) const = default;
  } programming;  ///< [program] in the file
  /// What was measured on silicon for one product with a whole array; 0 = no figure. Nothing computes with it: `explain
  /// cost activation` prints the ratios.
  struct Measured {
    double product_ns = 0, product_nj = 0, product_mm2 = 0;
    bool operator==(const Measured&) const = default;
  } measured;
  /// What makes the analog machine differ from the exact product; time, energy and area ignore it. Every default is the
  /// exact choice but the converters' ranges, the integer weight codes and the scale of the inputs. A weight of
  /// full-scale code times a full-scale input is one *cell*: the unit of currents at the converter.
  struct Noise {
    DeviceKind device = DeviceKind::ideal;
    double g_max_us = -1;           ///< conductance of the largest code; -1 = the device's
    double g_min_us = -1;           ///< conductance of code 0; -1 = the device's; 0 = infinite on/off ratio
    std::uint32_t weight_bits = 8;  ///< signed codes in +-(2^(bits-1) - 1); 0 = weights are not quantised
    WeightScale weight_scale = WeightScale::column;
    Pair pair = Pair::one_sided;
    double programming = 1;  ///< factor on the published standard deviation
    double drift = 1;        ///< factor on the published drift (exponent, or change with time)
    double flicker = 1;      ///< factor on the published 1/f noise that has accumulated since programming
    double time_s = 0;       ///< after the source's first read, which is t0 after programming
    Compensation compensation = Compensation::none;
    double stuck_low = 0, stuck_high = 0;  ///< probabilities per device: at g_min, at g_max
    ReadNoise read_noise = ReadNoise::none;
    ReadKind read_kind = ReadKind::constant;
    double read_sd = 0.01;  ///< constant: of a weight, in full-scale weights; root: of a full-scale weight
    double read = 1;        ///< factor on the standard deviation of the read noise
    double output_sd = 0;   ///< added to each column before the converter, in cells
    IrDrop ir_drop = IrDrop::none;
    double wire_ohm = 0.35, terminal_ohm = 0;  ///< per segment between neighbours; at the ends of rows and columns
    bool idle_leak = false;                    ///< idle_cells = "off" | "leak": idle cells conduct g_min
    double undriven_row_leakage = 0;           ///< drive of rows that are not driven, in full-scale inputs
    InputScale input_scale = InputScale::token;
    AdcRange adc_range = AdcRange::automatic;  ///< l1 without calibration data, cal-shared with
    double adc_range_user = 0;                 ///< in cells
    Subtract subtract = Subtract::analog;      ///< of the pair's currents: before or after the converter
    double current_limit = 0;                  ///< of a column, in cells; 0 = none
    double adc_gain_sd = 0;                    ///< relative, per converter
    double adc_offset_sd = 0;                  ///< in steps of the conversion, per converter
    bool operator==(const Noise&) const = default;
  } noise;

  bool operator==(const Chip&) const = default;
};

/// `name_or_path`: an embedded preset or a file; `settings`: "--set key=value" pairs such as {"adc.per_array", "8"}.
/// A file may say `base = "preset"` and then name only what differs from it. `name` defaults to the file's name.
/// Errors: chip.unknown-preset, chip.syntax, chip.unknown-key (with spelling hint), chip.type, chip.range,
/// all with line and column (bad_input) or naming the setting (usage); file.*.
Result<Chip> load(const std::string& name_or_path,
                  const std::vector<std::pair<std::string, std::string>>& settings = {});
/// The same from text (for programs that carry their chip file, and for tests).
Result<Chip> parse(std::string_view toml, const std::string& file_name,
                   const std::vector<std::pair<std::string, std::string>>& settings = {});
/// Canonical TOML with every key; parse(to_toml(c)) == c.
std::string to_toml(const Chip& chip);
Digest digest_of(const Chip& chip);
std::vector<std::string_view> preset_names();
/// The text of a preset file, comments with sources included; empty if there is none of that name.
std::string_view preset_text(std::string_view name);

/// The value of a key ("noise.device" -> pcm) as text, without quotes; empty if there is no such key.
std::string value_text(const Chip& chip, std::string_view key);

/// Every key with its help line, unit and default, for `--help`, `explain` and the docs.
struct KeyInfo {
  std::string_view key;
  std::string_view help;
};
const std::vector<KeyInfo>& keys();

}  // namespace danaus::chip
