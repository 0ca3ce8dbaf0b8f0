// Opens commands in the sequential order of the program: evaluates their addresses and asks the hazards who comes
// before.

#include "danaus/machine/sequencer.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

namespace danaus::machine {
namespace {

constexpr std::size_t kMostState = 1u << 27;  // runs, readers and edges: 8 to 12 bytes each

}  // namespace

Sequencer::Sequencer(const program::Program& program, const Outline& outline, const Routing& routing,
                     const InstanceTable& instances)
    : program_(program),
      outline_(outline),
      instances_(instances),
      hazards_(instances),
      experts_(program.intent, routing),
      regions_(program.kv.size()) {
  for (std::size_t region = 0; region < regions_.size(); ++region) regions_[region].entries = program.kv[region].start;
}

void Sequencer::begin_iteration() {
  if (iteration_ == 0) first_branch_ = next_branch_;
  next_branch_ = first_branch_;
  offset_ = 0;
  registers_ = {0, segment().register_value(1, iteration_), segment().register_value(2, iteration_),
                segment().register_value(3, iteration_)};
}

Result<bool> Sequencer::issue(std::uint32_t ordinal, std::size_t other_state) {
  other_state_ = other_state;
  position_ = segment().first + offset_++;
  is_attention_ = false;
  if (next_branch_ < outline_.branches.size() && position_ == outline_.branches[next_branch_].begin)
    enter_branch(outline_.branches[next_branch_++], ordinal);
  bool executes = true;
  if (branch_ != nullptr && position_ == branch_->end) {
    branch_ = nullptr;
    skips_ = false;
    executes = false;
  } else if (skips_ && position_ != branch_->begin) {
    executes = false;
  } else {
    DANAUS_CHECK(open_command(ordinal));
  }
  if (iteration_ + 1 == segment().loop.n) forget_unused();
  return executes;
}

void Sequencer::end_iteration() {
  if (++iteration_ == segment().loop.n) {
    iteration_ = 0;
    ++segment_;
  }
}

Result<void> Sequencer::open_command(std::uint32_t ordinal) {
  hazards_.begin(ordinal);
  const program::Command command = program::decode_unchecked(program_.code[position_]);
  DANAUS_CHECK(std::visit([&](const auto& concrete) { return operands(concrete, ordinal); }, command));
  // The sequencer has to know the gate.
  if (branch_ != nullptr && ordinal != branch_ordinal_ && !instances_.is_completed(branch_ordinal_))
    hazards_.after(branch_ordinal_);
  hazards_.end();
  return {};
}

void Sequencer::enter_branch(const Branch& branch, std::uint32_t ordinal) {
  branch_ = &branch;
  branch_ordinal_ = ordinal;
  skips_ = !experts_.is_chosen(branch.gates, iteration_, branch.element);
}

// In the last iteration: buffers that nothing uses after this command.
void Sequencer::forget_unused() {
  while (next_last_use_ < outline_.last_uses.size() && outline_.last_uses[next_last_use_].first <= position_)
    hazards_.forget(outline_.last_uses[next_last_use_++].second);
}

void Sequencer::touch(std::uint32_t tile, std::uint64_t first, std::uint32_t count, Access access) {
  const std::uint32_t element = static_cast<std::uint32_t>(first);
  if (access == Access::read) {
    hazards_.read(tile, element, count);
  } else {
    hazards_.write(tile, element, count, access == Access::accumulate);
  }
}

// All elements of an operand, in runs of neighbours as long as the strides allow.
Result<void> Sequencer::touch(TileId tile_id, const program::Place& place, std::uint32_t length, std::uint32_t count,
                              Access access) {
  const std::uint32_t tile = index(tile_id);
  const std::int64_t first = static_cast<std::int64_t>(place.offset + registers_[place.base]);
  const std::int64_t along_run = std::int64_t{place.element_stride} * (length - 1);
  const std::int64_t along_runs = std::int64_t{place.run_stride} * (count - 1);
  const std::int64_t lowest = first + std::min<std::int64_t>(0, along_run) + std::min<std::int64_t>(0, along_runs);
  const std::int64_t highest = first + std::max<std::int64_t>(0, along_run) + std::max<std::int64_t>(0, along_runs);
  if (lowest < 0 || highest >= std::int64_t{program_.chip.buffer}) {
    return fail(invalid_command(program_, position_,
                                fmt::format("it addresses elements {} to {} of a buffer of {} in iteration {}", lowest,
                                            highest, program_.chip.buffer, iteration_)));
  }
  const bool neighbours = length == 1 || place.element_stride == 1;
  if (neighbours && (count == 1 || place.run_stride == std::int64_t{length})) {
    touch(tile, static_cast<std::uint64_t>(first), length * count, access);
  } else {
    for (std::int64_t run = 0; run < count; ++run) {
      const std::int64_t run_first = first + run * place.run_stride;
      if (neighbours) {
        touch(tile, static_cast<std::uint64_t>(run_first), length, access);
        continue;
      }
      for (std::int64_t element = 0; element < length; ++element)
        touch(tile, static_cast<std::uint64_t>(run_first + element * place.element_stride), 1, access);
    }
  }
  return check_state();
}

Result<void> Sequencer::touch(TileId tile, const program::Address& address, std::uint32_t length, Access access) {
  return touch(tile, program::Place{address.offset, 1, 0, address.base}, length, 1, access);
}

Result<void> Sequencer::check_state() const {
  if (hazards_.size() + other_state_ <= kMostState) return {};
  return fail(
      Error("machine.too-large", Failure::unsupported,
            fmt::format("command {}: more than {} element histories and dependences to keep", position_, kMostState))
          .with_hint("simulate fewer tokens, or a program with fewer strided operands"));
}

Result<void> Sequencer::operands(const program::Mvm& mvm, std::uint32_t) {
  const TileId tile = program_.tile_of(mvm.array);
  DANAUS_CHECK(touch(tile, mvm.src, mvm.rows.length, mvm.rows.count, Access::read));
  return touch(tile, mvm.dst, mvm.columns.length, mvm.columns.count, mvm.add ? Access::accumulate : Access::write);
}

Result<void> Sequencer::operands(const program::Move& move, std::uint32_t) {
  DANAUS_CHECK(touch(move.from, move.src, move.length, move.count, Access::read));
  if (!move.to_group) return touch(TileId{move.to}, move.dst, move.length, move.count, Access::write);
  for (const TileId member : program_.groups[move.to].members)
    DANAUS_CHECK(touch(member, move.dst, move.length, move.deal ? 1 : move.count, Access::write));
  return {};
}

Result<void> Sequencer::operands(const program::Vec& vec, std::uint32_t) {
  for (std::uint32_t source = 0; source < program::source_count(vec.op); ++source)
    DANAUS_CHECK(touch(vec.tile, vec.src[source], program::source_length(vec, source), Access::read));
  return touch(vec.tile, vec.dst, program::result_length(vec), Access::write);
}

// An append writes an entry of its own; a context waits for all entries so far.
Result<void> Sequencer::operands(const program::Attend& attend, std::uint32_t ordinal) {
  const std::uint64_t number = index(attend.region) + registers_[attend.region_base];
  if (number >= regions_.size()) {
    return fail(invalid_command(program_, position_, fmt::format("there is no KV region {}", number)));
  }
  const program::KvRegion& region = program_.kv[number];
  RegionState& state = regions_[number];
  if (region.size == 0 || region.queries == 0)
    return fail(invalid_command(program_, position_, "the KV region has no size or no queries"));
  const std::uint32_t vector = attend.append ? region.size : region.queries * region.size;
  DANAUS_CHECK(touch(region.tile, attend.a, vector, Access::read));
  DANAUS_CHECK(touch(region.tile, attend.b, vector, attend.append ? Access::read : Access::write));
  if (attend.append) {
    if (++state.entries > region.capacity) {
      return fail(
          invalid_command(program_, position_, fmt::format("KV region {} holds {} entries", number, region.capacity)));
    }
    state.appends.push_back(ordinal);
    counts_.kv_bytes += 2 * std::uint64_t{region.size};
  } else {
    std::erase_if(state.appends, [&](std::uint32_t append) { return instances_.is_completed(append); });
    for (const std::uint32_t append : state.appends) hazards_.after(append);
    counts_.kv_bytes += 2 * std::uint64_t{region.size} * state.entries;
    counts_.attention_macs += 2 * std::uint64_t{vector} * state.entries;
  }
  counts_.buffer_bytes += 2 * std::uint64_t{vector};
  attention_ = {static_cast<std::uint32_t>(number), attend.append, state.entries};
  is_attention_ = true;
  return check_state();
}

Result<void> Sequencer::operands(const program::When& when, std::uint32_t) {
  return touch(when.tile, when.gate, 1, Access::read);
}

}  // namespace danaus::machine
