#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/chip/cost.h"
#include "danaus/core/error.h"
#include "danaus/machine/mesh.h"
#include "danaus/machine/pool.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

/// What can be said about a program before it runs: its loops, and of each command the resource it occupies and what it
/// costs.
namespace danaus::machine {

/// Code that is executed in one go: a loop's body with its registers, or the code between two loops (one iteration).
struct Segment {
  std::uint32_t first = 0;  ///< position in the code
  std::uint32_t count = 0;  ///< commands
  program::Repeat loop;     ///< n = 1 and no steps outside a loop
  bool is_loop = false;

  /// The value of base register 1..3 in an iteration; register 0 is 0.
  std::uint64_t register_value(std::uint32_t base, std::uint32_t iteration) const {
    if (base == 0) return 0;
    const std::uint64_t value = std::uint64_t{iteration} * loop.step[base - 1];
    return loop.modulus[base - 1] == 0 ? value : value % loop.modulus[base - 1];
  }
};

/// The time of a command by kind. Its resource is occupied that long.
struct Cost {
  Picoseconds input = 0, settle = 0, adc = 0, network = 0, link = 0, digital = 0, attention = 0;
  std::uint64_t rounds = 0;
  Picoseconds duration() const { return input + settle + adc + network + link + digital + attention; }
  bool operator==(const Cost&) const = default;
};

/// One array, one tile's vector units, ... : what the program can occupy. Number 0 is what needs nothing. With link
/// contention ways stand in for ports: the port and the links of the meshes that a message takes together.
struct Resource {
  enum class Kind : std::uint8_t { free, array, converters, digital, port, link, attention, way };
  Kind kind = Kind::free;
  std::uint32_t chip = 0;
  std::uint32_t units = 1;                    ///< an array and its copies
  std::uint32_t number = 0;                   ///< of the array, the tile or the chip
  std::uint32_t first_range = 0, ranges = 0;  ///< of a way, in Outline::ranges
};

/// kNone where the operands' registers decide (attend). A message to another chip is a step on its own mesh, then one
/// on the link, then one on the mesh beyond (with link contention two, of which the second takes the links there); with
/// wormhole switching the rest of a way that needs no resource any more is a step of its own: each
/// waits for its resource and starts when the one before it has ended.
struct Step {
  std::uint32_t resource = 0;  ///< in Outline::resources
  std::uint32_t cost = kNone;  ///< in Plan::costs
  std::uint32_t then = kNone;  ///< the next step of the same command, in Outline::later_steps
  /// Pooled converters: so many columns, each of which takes one of the resource's units for the time of the cost, one
  /// after the other or at the same time, as they get free. 0 = the step takes one unit, once.
  std::uint32_t columns = 0;
  std::uint32_t holds = kNone;  ///< the resource of the step before, which is given back at the end of this one
};

/// A branch by the position of its `when`.
struct Branch {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;  ///< of its `end`
  NodeId gates{};
  std::uint32_t element = 0;
  std::uint32_t iterations = 0;  ///< of the segment that it is in
};

/// A message, or its part on the mesh of one chip.
struct Leg {
  std::uint32_t message = 0;  ///< of the move: they leave one after the other
  std::uint32_t chip = 0;
  bool is_own_chip = false;    ///< of the tile that it comes from
  bool crosses = false;        ///< the message goes to other chips, too
  std::uint32_t farthest = 0;  ///< hops
  std::uint64_t links = 0;     ///< of the tree
};

/// Commands that cost and count the same on any chip: what a command's costs and counts depend on.
struct Work {
  enum class Kind : std::uint8_t { mvm, move, vec, attend, when };
  Kind kind = Kind::when;
  std::uint32_t branch = kNone;  ///< in Outline::branches; kNone = always executed
  std::uint64_t times = 0;       ///< executed in all; in a branch: commands
  std::uint64_t elements = 0;    ///< read and written by one of them
  std::uint32_t cost = kNone;    ///< in Plan::costs; of a move to other chips the first of three or four

  ConfigId config{};          // mvm
  bool add = false;           // mvm
  std::uint32_t rows = 0;     // mvm: driven
  program::Window columns{};  // mvm
  program::VecOp op{};        // vec
  std::uint32_t length = 0;   // vec
  std::uint32_t bits = 0;     // move: of an element
  std::uint64_t message = 0;  // move: elements of a message
  std::uint32_t first_leg = 0, legs = 0;
};

/// What a program is on any chip of its shape that takes the same steps.
struct Outline {
  bool double_buffer = false;    ///< an activation is two steps: its array, then the array's converters
  bool pooled = false;           ///< the same with converters that are taken column by column
  bool link_contention = false;  ///< messages take the links of their ways
  bool wormhole = false;         ///< a message frees its port or way before it has arrived: one more step
  Mesh mesh{1};                  ///< of a chip
  std::vector<Segment> segments;
  std::vector<Step> steps;  ///< by position in the code
  std::vector<Step> later_steps;
  std::vector<Branch> branches;
  std::vector<Work> works;
  std::vector<Leg> legs;
  std::uint32_t costs = 0;
  std::vector<Resource> resources;
  std::uint32_t mesh_links = 0;   ///< with link contention: of all chips; those of chip n from n * mesh.links()
  std::vector<LinkRange> ranges;  ///< of ways
  std::vector<std::uint32_t> region_resource;  ///< resource of each KV region's attention unit
  /// (position, tile): no command after this position uses the tile's buffer. Sorted by position.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> last_uses;
  std::uint64_t commands = 0;    ///< of all iterations, those that branches skip included
  std::uint64_t iterations = 0;  ///< of all segments
  std::uint32_t largest_segment = 0;
};

/// The sequencer's window: iterations, and commands of all iterations that are open.
inline constexpr std::size_t kWindowIterations = 64;
std::uint64_t most_open(const Outline& outline);
/// The segment whose iterations are the tokens: the last loop; without one, the last segment.
const Segment* measured_segment(const Outline& outline);

/// Which resources a chip has once for many, and how many units.
struct Sharing {
  bool has_network = false;  ///< messages take time: they need a port
  bool hub = false;
  std::uint32_t vector_units = 0, attention_units = 0;  ///< 0 = unlimited; one per region
  std::uint32_t pool_arrays = 0, pool_converters = 0;   ///< arrays that share converters, and those of each; 0 = none
  bool operator==(const Sharing&) const = default;
};

/// What an outline takes on one chip. Its schedule follows from costs and sharing.
struct Plan {
  std::vector<Cost> costs;
  Sharing sharing;
  std::vector<std::uint32_t> shared;    ///< by resource: the one that stands for it (vector units of a hub ...)
  std::vector<std::uint32_t> capacity;  ///< by resource: commands (of pooled converters columns) at a time
  Counts counts;                        ///< without attention and the bytes that attend moves
  Energy energy;                        ///< rows, cells and adc only
  double adc_high = 0;                  ///< pJ, Timing::adc_high
  Picoseconds busiest_incoming_link = 0;
};

/// Error machine.shape when program and chip differ.
Result<void> check_shape(const program::ChipShape& shape, const chip::Chip& chip);

/// Operations on one resource are checked here once, operands' addresses when they are used (registers move them).
/// The shape of the program must be that of a chip. Of the chip only the steps count that a command takes
/// (adc.double_buffer, pooled converters, network.contention, network.switching). Errors: machine.invalid,
/// machine.too-long, machine.too-large, machine.shared-copies.
Result<Outline> make_outline(const program::Program& program, const chip::Chip& chip);

/// The outline must be for a chip that takes the same steps. Errors: machine.too-long, chip.adc-bits, chip.adc-rate.
Result<Plan> make_plan(const program::Program& program, const Outline& outline, const chip::Chip& chip,
                       bool linear_only, const Routing& routing);

/// Time of reading all entries so far, or of appending one.
Cost attend_cost(const chip::Chip& chip, const program::KvRegion& region, bool append, std::uint64_t entries,
                 bool linear_only);

/// Conversions one after the other when the array's own converters serve them: the most read columns that share a
/// converter, where a window that wraps or overlaps itself counts cell by cell. With a switch they share them evenly.
std::uint32_t rounds_of(const program::Window& columns, const chip::Chip& chip);

/// The bits of the stage that needs the most: what all converters have with adc.precision = "static".
std::uint32_t most_adc_bits(const Graph& intent);

/// machine.too-long: beyond what integer picoseconds hold.
Error takes_too_long();

/// machine.invalid at a command of the code.
Error invalid_command(const program::Program& program, std::uint32_t position, const std::string& problem);

}  // namespace danaus::machine
