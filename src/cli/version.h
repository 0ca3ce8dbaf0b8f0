#pragma once

#include <string>
#include <string_view>

namespace danaus::cli {

/// "0.1.0"
std::string_view version();
/// With a digest of the sources, "0.1.0+7f83b1657ff1fc53": the same for the same sources, other for others.
std::string build();

}  // namespace danaus::cli
