#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/program/program.h"

/// The timing machine: executes a program against a scoreboard and counts events. Knows nothing of the compiler.
namespace danaus::machine {

using chip::Picoseconds;

/// One executed command, for traces and golden schedules.
struct Event {
  std::uint32_t command = 0;    ///< position in the code
  std::uint32_t iteration = 0;  ///< token
  Picoseconds start = 0;
  Picoseconds end = 0;
  Picoseconds last_start = 0, last_end = 0;  ///< of its last step: the conversions, if they are a step of their own
};

/// Which experts a route node chooses. The machine has no values, so it is told: drawn, or always the same.
struct Routing {
  std::uint64_t seed = 1;  ///< drawn: for each token and route node, k different experts, all sets equally likely
  std::optional<std::uint32_t> first;  ///< always experts first, first + 1, ..., modulo their number
};

inline constexpr std::size_t kVecOps = 13;

/// Integer event counts over the whole program; energies are these times constants (README.md says what each counts).
struct Counts {
  std::uint64_t commands = 0, activations = 0, conversions = 0, adc_rounds = 0, driven_rows = 0, active_cells = 0;
  std::uint64_t messages = 0, message_bits = 0, bit_hops = 0;
  std::uint64_t link_messages = 0, link_bits = 0;  ///< between chips
  std::uint64_t vector_ops = 0, vector_elements = 0;
  /// vector_elements (digital.energy_per = "operation": vector_ops) by operation, in the order of program::VecOp.
  std::array<std::uint64_t, kVecOps> op_elements{};
  std::uint64_t attention_macs = 0, kv_bytes = 0;
  std::uint64_t buffer_bytes = 0;
  bool operator==(const Counts&) const = default;
};

/// Where time and energy go. The parts sum to the total exactly (time: along the critical path).
struct Breakdown {
  Picoseconds input = 0, settle = 0, adc = 0, network = 0, link = 0, digital = 0, attention = 0, wait = 0, reload = 0;
  Picoseconds total() const { return input + settle + adc + network + link + digital + attention + wait + reload; }
  Breakdown& operator+=(const Breakdown& other);
  bool operator==(const Breakdown&) const = default;
};
/// A command on the critical path, or one of the steps of a message to another chip.
struct PathStep {
  std::uint32_t command = 0;  ///< position in the code
  std::uint32_t iteration = 0;
  Breakdown time;  ///< those of all steps sum to the breakdown of the timing without its reload
  std::uint64_t rounds = 0;
};

struct SimulateOptions {
  bool linear_only = false;  ///< digital and attention times zero, network kept: linear_latency_ns
  Routing routing = {};
  bool any_converters = false;  ///< the chip may have more or fewer converters per array than the program says
  std::function<void(const Event&)> trace;  ///< called at each completion, in the order of (end, sequential order)
  /// Called at the end for each command on the critical path, first to last.
  std::function<void(const PathStep&)> critical_path = {};
};

struct Energy {  // pJ
  double rows = 0, cells = 0, adc = 0, network = 0, link = 0, digital = 0, attention = 0, buffer = 0, reload = 0,
         passive = 0;
  double active() const { return rows + cells + adc + network + link + digital + attention + buffer + reload; }
  double total() const { return active() + passive; }
  bool operator==(const Energy&) const = default;
};

/// Writing weights while the program runs: nothing unless its arrays are more than the chips have (README.md).
struct Reload {
  std::uint32_t passes = 1;
  std::uint64_t writes = 0;  ///< passes programmed during the program, the first one included
  Picoseconds time = 0;      ///< of all writes
  double energy_pj = 0;      ///< of all writes
  bool operator==(const Reload&) const = default;
};

struct Timing {
  Picoseconds total = 0;  ///< first command to last, and the reload
  std::vector<Picoseconds>
      token_end;  ///< completion of each iteration of the last loop; of everything if there is no loop
  Counts counts;
  Breakdown critical_path;            ///< sums to total
  std::uint64_t critical_rounds = 0;  ///< ADC rounds along the critical path
  Energy energy;
  double adc_high = 0;  ///< pJ of the converters at adc.calibration_high; as energy.adc where the chip has no band
  Picoseconds busiest_array = 0, busiest_digital = 0;  ///< busy time of the busiest resource
  Picoseconds busiest_link = 0;       ///< the most time of serialisation on a chip's link, over both directions
  Picoseconds busiest_mesh_link = 0;  ///< likewise on a link of a mesh; 0 without link contention
  Reload reload;
  bool operator==(const Timing&) const = default;
};

/// Errors: machine.shape (program and chip differ in array edge, ADCs, tile or chips), machine.invalid (a command that
/// a verified program cannot have, with its position), machine.too-long (more than 2e9 executed commands, 2^24
/// iterations, 1e12 elements read and written or 28 hours), machine.too-large (too much state to track), chip.adc-bits,
/// chip.adc-rate.
Result<Timing> simulate(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options = {},
                        Progress& progress = no_progress());

}  // namespace danaus::machine
