#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "danaus/pipeline/precision.h"

/// Whether the floor of `danaus precision` is kept, and what stands in the way.
namespace danaus::report {

/// How many of `precision.stages` are below the floor with any converter, in some layer at least, by what limits them.
std::vector<std::pair<pipeline::PrecisionLimit, std::uint32_t>> below_floor(const pipeline::Precision& precision);
/// The same in a sentence or two, with a line break at the end.
std::string floor_line(const pipeline::Precision& precision);

}  // namespace danaus::report
