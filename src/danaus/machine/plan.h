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

struct Resource {
  enum class Kind : std::uint8_t { array, converters, digital, port, link, attention, free };
  Kind kind = Kind::free;
  std::uint32_t capacity = 0;  ///< commands at a time
};

/// kNone where the operands' registers decide (attend). A message to another chip is a step on its own mesh, then one
/// on the link, then one on the mesh beyond: each waits for its resource and starts when the one before it has ended.
struct Step {
  std::uint32_t resource = 0;
  std::uint32_t cost = kNone;
  std::uint32_t then = kNone;  ///< the next step of the same command, in Plan::later_steps
};

/// A branch by the position of its `when`.
struct Branch {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;  ///< of its `end`
  NodeId gates{};
  std::uint32_t element = 0;
};

struct Plan {
  std::vector<Segment> segments;
  std::vector<Step> steps;  ///< by position in the code
  std::vector<Branch> branches;
  std::vector<Step> later_steps;
  std::vector<Cost> costs;
  std::vector<Resource> resources;
  std::vector<std::uint32_t> region_resource;  ///< resource of each KV region's attention unit
  /// (position, tile): no command after this position uses the tile's buffer. Sorted by position.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> last_uses;
  std::uint64_t commands = 0;    ///< of all iterations, those that branches skip included
  std::uint64_t iterations = 0;  ///< of all segments
  std::uint32_t largest_segment = 0;
  Counts counts;        ///< without attention and the bytes that attend moves
  Energy energy;        ///< rows, cells and adc only
  double adc_high = 0;  ///< pJ, Timing::adc_high
  Picoseconds busiest_incoming_link = 0;
};

/// Operations on one resource are checked here once, operands' addresses when they are used (registers move them).
/// Errors: machine.shape, machine.invalid, machine.too-long, chip.adc-bits, chip.adc-rate.
Result<Plan> make_plan(const program::Program& program, const chip::Chip& chip, const SimulateOptions& options);

/// Time of reading all entries so far, or of appending one.
Cost attend_cost(const chip::Chip& chip, const program::KvRegion& region, bool append, std::uint64_t entries,
                 bool linear_only);

/// Most read columns that share a converter; a window that wraps or overlaps itself counts cell by cell.
std::uint32_t rounds_of(const program::Window& columns, std::uint32_t cols, std::uint32_t adcs);

/// machine.invalid at a command of the code.
Error invalid_command(const program::Program& program, std::uint32_t position, const std::string& problem);

}  // namespace danaus::machine
