// A search from the start: tables are short.

#include "danaus/core/config_table.h"

#include <algorithm>

namespace danaus {

ConfigId entry_for(std::vector<Config>& table, const Config& config) {
  const auto found = std::find(table.begin(), table.end(), config);
  const ConfigId id{static_cast<std::uint16_t>(found - table.begin())};
  if (found == table.end()) table.push_back(config);
  return id;
}

}  // namespace danaus
