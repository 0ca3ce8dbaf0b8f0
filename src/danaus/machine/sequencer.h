#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/machine/experts.h"
#include "danaus/machine/hazards.h"
#include "danaus/machine/instances.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

namespace danaus::machine {

/// Goes through a program in its sequential order and finds what each command waits for. Knows no time.
class Sequencer {
 public:
  /// An attend command: its entries so far decide what it costs.
  struct Attention {
    std::uint32_t region = 0;
    bool append = false;
    std::uint64_t entries = 0;
  };

  Sequencer(const program::Program& program, const Outline& outline, const Routing& routing,
            const InstanceTable& instances);

  bool is_at_end() const { return segment_ == outline_.segments.size(); }
  /// The next iteration to open.
  const Segment& segment() const { return outline_.segments[segment_]; }
  std::uint32_t iteration() const { return iteration_; }

  /// Its commands come one after the other: issue() as often as the segment has commands, then end_iteration().
  void begin_iteration();
  /// The next command gets this ordinal. False: it is in a branch that is not taken, or is the end of one.
  /// `other_state`: edges that the caller keeps. Errors: machine.invalid, machine.too-large.
  Result<bool> issue(std::uint32_t ordinal, std::size_t other_state);
  void end_iteration();

  // Of the command that was issued last:
  const std::vector<std::uint32_t>& start_after() const { return hazards_.start_after(); }
  const std::vector<std::uint32_t>& end_after() const { return hazards_.end_after(); }
  const Attention* attention() const { return is_attention_ ? &attention_ : nullptr; }
  std::uint32_t position() const { return position_; }

  /// Of attention, and the bytes that it moves: so far.
  const Counts& counts() const { return counts_; }

 private:
  struct RegionState {
    std::uint64_t entries = 0;
    std::vector<std::uint32_t> appends;  // that may not have completed
  };
  enum class Access : std::uint8_t { read, write, accumulate };

  Result<void> open_command(std::uint32_t ordinal);
  void enter_branch(const Branch& branch, std::uint32_t ordinal);
  void forget_unused();

  void touch(std::uint32_t tile, std::uint64_t first, std::uint32_t count, Access access);
  Result<void> touch(TileId tile, const program::Place& place, std::uint32_t length, std::uint32_t count,
                     Access access);
  Result<void> touch(TileId tile, const program::Address& address, std::uint32_t length, Access access);
  Result<void> check_state() const;

  Result<void> operands(const program::Mvm& mvm, std::uint32_t ordinal);
  Result<void> operands(const program::Move& move, std::uint32_t ordinal);
  Result<void> operands(const program::Vec& vec, std::uint32_t ordinal);
  Result<void> operands(const program::Attend& attend, std::uint32_t ordinal);
  Result<void> operands(const program::When& when, std::uint32_t ordinal);
  Result<void> operands(const program::Repeat&, std::uint32_t) { return {}; }
  Result<void> operands(const program::End&, std::uint32_t) { return {}; }
  Result<void> operands(const program::Halt&, std::uint32_t) { return {}; }

  const program::Program& program_;
  const Outline& outline_;
  const InstanceTable& instances_;
  Hazards hazards_;
  Experts experts_;
  std::vector<RegionState> regions_;
  Counts counts_;
  std::size_t other_state_ = 0;

  std::size_t segment_ = 0;
  std::uint32_t iteration_ = 0;
  std::uint32_t offset_ = 0;  // of the next command in its segment
  std::array<std::uint64_t, 4> registers_{};
  std::uint32_t position_ = 0;
  Attention attention_;
  bool is_attention_ = false;
  std::size_t next_last_use_ = 0;
  std::size_t next_branch_ = 0, first_branch_ = 0;  // of the code, of the segment
  const Branch* branch_ = nullptr;                  // that contains the command
  std::uint32_t branch_ordinal_ = 0;
  bool skips_ = false;
};

}  // namespace danaus::machine
