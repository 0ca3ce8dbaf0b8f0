#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"

namespace danaus::chip {

/// An equation of cost.cpp, or several that belong together.
struct CostTopic {
  std::string_view name;
  std::string_view help;  ///< one line
};
const std::vector<CostTopic>& cost_topics();

/// Each equation of a topic with its symbols, with the chip's numbers put in, and its result. Empty if there is no such
/// topic. A figure that the chip refuses (bits outside the regression) is printed as its refusal.
std::string explain_cost(const Chip& chip, std::string_view topic);

}  // namespace danaus::chip
