// Walks the code once and counts how often the pass in the cells changes in the sequential order. A serial loop goes
// through its passes once per iteration; in any other loop all iterations go through one pass before the next is
// programmed. A branch counts where it is taken. Before the program the cells hold the pass that it ends with, as when
// programs follow one another.

#include "danaus/machine/reload.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/machine/experts.h"

namespace danaus::machine {
namespace {

constexpr double kPicosecondsPerMicrosecond = 1e6;
constexpr double kPjPerUj = 1e6;

/// What programming one pass takes.
struct PassCost {
  double time_us = 0, energy_uj = 0;
};

std::vector<PassCost> cost_of_passes(const program::Program& program, const chip::Chip& chip) {
  const program::ChipShape& shape = program.chip;
  std::vector<std::uint64_t> weights(shape.passes());
  std::vector<std::map<std::uint32_t, std::uint32_t>> arrays(shape.passes());  // written, by chip
  const program::Patch* before = nullptr;
  for (const program::Patch& patch : program.patches) {
    if (index(patch.array) >= shape.arrays) continue;  // of a program that was not verified; nothing can read it
    const std::uint32_t pass = shape.pass_of(patch.array);
    weights[pass] += std::uint64_t{patch.rows} * patch.columns;
    if (before == nullptr || before->array != patch.array) ++arrays[pass][shape.chip_of(shape.tile_of(patch.array))];
    before = &patch;
  }
  std::vector<PassCost> costs(shape.passes());
  for (std::size_t pass = 0; pass < costs.size(); ++pass) {
    for (const auto& [number, written] : arrays[pass])  // the chips are written at the same time
      costs[pass].time_us = std::max(costs[pass].time_us, chip::programming_time_us(chip, written));
    costs[pass].energy_uj = chip::programming_energy_uj(chip, weights[pass]);
  }
  return costs;
}

/// How often each pass is programmed.
class Walk {
 public:
  Walk(const program::Program& program, const Outline& outline, const Routing& routing)
      : program_(program), outline_(outline), experts_(program.intent, routing), writes_(program.chip.passes()) {
    for (const Segment& segment : outline.segments) {
      const std::vector<Visit> visits = visits_of(segment);
      const std::uint32_t rounds = segment.loop.serial ? segment.loop.n : 1;
      for (std::uint32_t round = 0; round < rounds; ++round) {
        for (const Visit& visit : visits) {
          if (segment.loop.serial ? is_taken(visit, round) : is_taken_by_any(visit, segment.loop.n)) enter(visit.pass);
        }
      }
    }
    if (first_ && *first_ != *resident_) ++writes_[*first_];
  }
  const std::vector<std::uint64_t>& writes() const { return writes_; }

 private:
  /// Neighbouring activations in one pass, in a branch or in none.
  struct Visit {
    std::uint32_t pass = 0;
    const Branch* branch = nullptr;
    bool operator==(const Visit&) const = default;
  };

  std::vector<Visit> visits_of(const Segment& segment) const {
    std::vector<Visit> visits;
    for (std::uint32_t position = segment.first; position < segment.first + segment.count; ++position) {
      const program::Command command = program::decode_unchecked(program_.code[position]);
      const program::Mvm* mvm = std::get_if<program::Mvm>(&command);
      if (mvm == nullptr) continue;
      const Visit visit{program_.chip.pass_of(mvm->array), branch_at(position)};
      if (visits.empty() || visits.back() != visit) visits.push_back(visit);
    }
    return visits;
  }

  const Branch* branch_at(std::uint32_t position) const {
    const auto after = std::upper_bound(outline_.branches.begin(), outline_.branches.end(), position,
                                        [](std::uint32_t value, const Branch& branch) { return value < branch.begin; });
    if (after == outline_.branches.begin()) return nullptr;
    const Branch& before = *(after - 1);
    return position < before.end ? &before : nullptr;
  }

  bool is_taken(const Visit& visit, std::uint32_t token) {
    return visit.branch == nullptr || experts_.is_chosen(visit.branch->gates, token, visit.branch->element);
  }
  bool is_taken_by_any(const Visit& visit, std::uint32_t tokens) {
    for (std::uint32_t token = 0; token < tokens; ++token) {
      if (is_taken(visit, token)) return true;
    }
    return false;
  }

  void enter(std::uint32_t pass) {
    if (!first_) first_ = pass;
    if (resident_ && *resident_ != pass) ++writes_[pass];
    resident_ = pass;
  }

  const program::Program& program_;
  const Outline& outline_;
  Experts experts_;
  std::vector<std::uint64_t> writes_;
  std::optional<std::uint32_t> first_, resident_;
};

}  // namespace

Reload reload_of(const program::Program& program, const chip::Chip& chip, const Outline& outline,
                 const Routing& routing) {
  Reload reload;
  reload.passes = program.chip.passes();
  if (reload.passes == 1) return reload;
  const std::vector<PassCost> costs = cost_of_passes(program, chip);
  const Walk walk(program, outline, routing);
  double time_us = 0;
  for (std::size_t pass = 0; pass < costs.size(); ++pass) {
    const auto times = static_cast<double>(walk.writes()[pass]);
    reload.writes += walk.writes()[pass];
    time_us += times * costs[pass].time_us;
    reload.energy_pj += times * costs[pass].energy_uj * kPjPerUj;
  }
  const double time_ps = time_us * kPicosecondsPerMicrosecond;
  reload.time = time_ps < static_cast<double>(chip::kLongestTime) ? std::llround(time_ps) : chip::kLongestTime;
  return reload;
}

}  // namespace danaus::machine
