// Walks the code once and counts how often the pass in the cells changes in the sequential order. A serial loop goes
// through its passes once per iteration; in any other loop all iterations go through one pass before the next is
// programmed. Before the program the cells hold the pass that it ends with, as when programs follow one another.

#include "danaus/machine/reload.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "danaus/chip/cost.h"

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
  explicit Walk(const program::Program& program) : writes_(program.chip.passes()) {
    for (const program::Record& record : program.code) {
      const program::Command command = program::decode_unchecked(record);
      if (const program::Repeat* repeat = std::get_if<program::Repeat>(&command)) {
        loop_ = *repeat;
        first_in_loop_.reset();
      } else if (std::holds_alternative<program::End>(command)) {
        end_loop();
      } else if (const program::Mvm* mvm = std::get_if<program::Mvm>(&command)) {
        visit(program.chip.pass_of(mvm->array));
      }
    }
    if (first_ && *first_ != *resident_) ++writes_[*first_];
  }
  const std::vector<std::uint64_t>& writes() const { return writes_; }

 private:
  void visit(std::uint32_t pass) {
    if (!first_) first_ = pass;
    if (resident_ && *resident_ != pass && !first_in_loop_) ++writes_[pass];  // once, when the loop is entered
    if (resident_ && *resident_ != pass && first_in_loop_) writes_[pass] += loop_.serial ? loop_.n : 1;
    if (!first_in_loop_) first_in_loop_ = pass;
    resident_ = pass;
  }

  void end_loop() {
    if (loop_.serial && first_in_loop_ && *first_in_loop_ != *resident_) writes_[*first_in_loop_] += loop_.n - 1;
    loop_ = {};
  }

  std::vector<std::uint64_t> writes_;
  program::Repeat loop_;  // of the code at hand: once outside a loop
  std::optional<std::uint32_t> first_, resident_;
  std::optional<std::uint32_t> first_in_loop_;
};

}  // namespace

Reload reload_of(const program::Program& program, const chip::Chip& chip) {
  Reload reload;
  reload.passes = program.chip.passes();
  if (reload.passes == 1) return reload;
  const std::vector<PassCost> costs = cost_of_passes(program, chip);
  const Walk walk(program);
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
