#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

/// What the parts of a chip do while a program runs.
namespace danaus::pipeline {

/// A command at work.
struct Activity {
  enum class Kind : std::uint8_t { array, network, digital, attention };
  Kind kind{};
  std::uint32_t unit = 0;  ///< array (of copies the first one), tile that sends, tile, or KV region
  std::uint32_t tile = 0;
  std::uint32_t name = 0;  ///< in Trace::names
  std::uint32_t iteration = 0;
  chip::Picoseconds start = 0;
  chip::Picoseconds driving = 0;     ///< arrays: from the start on, input window and settling
  chip::Picoseconds converting = 0;  ///< arrays: from `conversion` on
  chip::Picoseconds conversion = 0;
  chip::Picoseconds end = 0;
};

struct Trace {
  std::string program;
  std::string chip;
  std::uint32_t arrays = 0, arrays_per_tile = 1, tiles = 0, regions = 0;
  std::vector<std::string> names;    ///< "blk.0.attn_q R", "gelu", "move"
  std::vector<Activity> activities;  ///< those that take time, by (end, sequential order)
  machine::Timing timing;
};

/// Simulates a proved program. Errors: those of simulate, pipeline.trace (more than `most` commands that take time).
Result<Trace> trace_program(const program::Program& program, const chip::Chip& chip, const machine::Routing& routing,
                            Progress& progress, std::size_t most = 4'000'000);

}  // namespace danaus::pipeline
