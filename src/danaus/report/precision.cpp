// Stages are counted as the table has them: one for all layers that differ in nothing else.

#include "danaus/report/precision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace danaus::report {

std::vector<std::pair<pipeline::PrecisionLimit, std::uint32_t>> below_floor(const pipeline::Precision& precision) {
  using Limit = pipeline::PrecisionLimit;
  std::vector<std::pair<Limit, std::uint32_t>> counts;
  for (const Limit limit : {Limit::codes, Limit::cells, Limit::converters}) {
    const std::ptrdiff_t count =
        std::count_if(precision.stages.begin(), precision.stages.end(),
                      [&](const pipeline::StagePrecision& stage) { return stage.limit == limit; });
    if (count > 0) counts.emplace_back(limit, static_cast<std::uint32_t>(count));
  }
  return counts;
}

std::string floor_line(const pipeline::Precision& precision) {
  std::size_t below = 0;
  std::vector<std::string> reasons;
  for (const auto& [limit, count] : below_floor(precision)) {
    below += count;
    reasons.push_back(fmt::format("{} by {}", count, name_of(limit)));
  }
  const std::size_t stages = precision.stages.size();
  if (below == 0) return fmt::format("Every stage keeps the floor of {:g} dB.\n", precision.least_snr_db);
  return fmt::format(
      "{} of {} stages cannot keep the floor of {:g} dB with any converter: limited {}.\n"
      "They have the bits beyond which less than {:g} dB is gained; --min-snr-db sets the floor.\n",
      below, stages, precision.least_snr_db, fmt::join(reasons, ", "), pipeline::kSaturationDb);
}

}  // namespace danaus::report
