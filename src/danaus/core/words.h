#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace danaus {

/// "linear, dense" as {"linear", "dense"}: what stands between commas, without blanks around it. At least one word; an
/// empty one where nothing stands.
std::vector<std::string> words_between_commas(std::string_view list);

}  // namespace danaus
