#pragma once

#include <limits>
#include <string>

#include "danaus/pipeline/trace.h"

namespace danaus::report {

/// A picture, SVG, less than 2 MB: arrays from top to bottom (several to a row where there are many), time from left to
/// right, input windows and conversions by colour, how much of a row works by depth; below them how many tiles send,
/// how many vector units and attention units work. From the instant `first` to `last`, which is later.
std::string trace_svg(const pipeline::Trace& trace, chip::Picoseconds first = 0,
                      chip::Picoseconds last = std::numeric_limits<chip::Picoseconds>::max());
/// Trace events of the Chrome browser (chrome://tracing, Perfetto): processes are tiles, threads their arrays, network
/// port, vector units and attention. Times in microseconds, exact to the picosecond.
std::string trace_json(const pipeline::Trace& trace);

}  // namespace danaus::report
