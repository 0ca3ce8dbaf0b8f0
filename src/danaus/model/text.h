#pragma once

#include <string>
#include <string_view>

#include "danaus/core/error.h"

namespace danaus::model {

/// Text of a file as an error message may show it: printable ASCII stays, other bytes become \xNN, long text is cut.
std::string printable(std::string_view text);

/// The line and column (from 1) of a byte of a text.
Location location_in(std::string_view text, std::size_t byte, std::string_view file);

}  // namespace danaus::model
