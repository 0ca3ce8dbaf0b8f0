#pragma once

#include <vector>

#include "danaus/core/graph.h"

namespace danaus {

/// The number of this configuration in the table, which gets it at its end unless it has it. A table beyond the numbers
/// that there are is one that `validate` refuses.
ConfigId entry_for(std::vector<Config>& table, const Config& config);

}  // namespace danaus
