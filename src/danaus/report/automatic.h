#pragma once

#include <string>

#include "danaus/pipeline/auto/auto_options.h"

/// What --map auto chose.
namespace danaus::report {

/// Below a table: the winner, the gap, what was timed as well, the limits.
std::string automatic_lines(const pipeline::AutoReport& report);
/// `explain mapping auto`: who got what and why, operators of all layers with the same answer together.
std::string automatic_text(const pipeline::AutoReport& report);
/// An object; figures in the unit of the objective (ns, nJ, mm2, arrays).
std::string automatic_json(const pipeline::AutoReport& report);

}  // namespace danaus::report
