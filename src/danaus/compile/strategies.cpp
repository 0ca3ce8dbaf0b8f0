#include <fmt/format.h>

#include "danaus/compile/compile.h"

namespace danaus::compile {

Result<const StrategyInfo*> find_strategy(std::string_view name) {
  std::vector<std::string_view> names;
  std::string listed;
  for (const StrategyInfo& strategy : strategies()) {
    if (strategy.name == name) return &strategy;
    names.push_back(strategy.name);
    listed += fmt::format("{}{}", listed.empty() ? "" : ", ", strategy.name);
  }
  const std::string_view close = nearest(name, names);
  return fail(Error("place.unknown-map", Failure::usage, fmt::format("there is no mapping '{}'", name))
                  .with_hint(close.empty() ? "mappings: " + listed
                                           : fmt::format("did you mean '{}'? (mappings: {})", close, listed)));
}

std::string_view name_of(Objective objective) {
  switch (objective) {
    case Objective::latency:
      return "latency";
    case Objective::energy:
      return "energy";
    case Objective::area:
      return "area";
    case Objective::arrays:
      return "arrays";
  }
  return "";
}

}  // namespace danaus::compile
