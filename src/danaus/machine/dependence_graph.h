#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/sequencer.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

namespace danaus::machine {

/// Who waits for whom in a program, found once: dependences are the same on every chip of its shape, whatever its times
/// are. Timing many chips is then a matter of scheduling. Reads the program no more once it is made.
class DependenceGraph {
 public:
  /// Nothing if not all commands are open from the start, or if there are more than a graph should keep: programs with
  /// branches, with a serial loop of several iterations, or with more than 64 iterations, a million commands or sixteen
  /// million dependences. `simulate` does those. Errors: machine.invalid, machine.too-long, machine.too-large.
  /// Of the chip only the steps count that a command takes (adc.double_buffer, pooled converters, network.contention,
  /// network.switching).
  static Result<std::optional<DependenceGraph>> make(const program::Program& program, const chip::Chip& chip);

  /// The same timing as `simulate(program, chip, {.linear_only = linear_only})`, bit for bit; `program` is the one that
  /// the graph was made of, the number of converters per array apart, which is the chip's. Chips on which everything
  /// takes the same time share one schedule, as long as it is among the last few. Thread-safe.
  Result<Timing> time(const program::Program& program, const chip::Chip& chip, bool linear_only) const;

  std::size_t bytes() const;

 private:
  friend class Replay;

  /// A command: what it costs and occupies, and how many others it waits for.
  struct Node {
    std::uint32_t start_after = 0;  ///< earlier commands that must complete before it may start
    std::uint32_t end_after = 0;    ///< earlier commands that must complete before it may, plus 1 for its own work
    std::uint32_t resource = 0;     ///< in Outline::resources
    std::uint32_t cost = 0;         ///< in Plan::costs; those of attention follow
    std::uint32_t then = kNone;     ///< in Outline::later_steps
  };
  /// Who waits for a command: for its start, or (the highest bit) for its commit. Newest first.
  static constexpr std::uint32_t kForEnd = 1u << 31;

  Result<void> build(const program::Program& program);

  /// Schedules of late, by what they follow from.
  struct Schedule {
    std::vector<Cost> costs;
    Sharing sharing;
    Timing timing;  ///< without counts, reload and energies
  };
  struct Recent {
    std::mutex mutex;
    std::list<std::shared_ptr<const Schedule>> schedules;  ///< the last used first
  };
  static constexpr std::size_t kMostRecent = 16;
  Result<std::shared_ptr<const Schedule>> schedule(const Plan& plan) const;

  std::unique_ptr<Recent> recent_ = std::make_unique<Recent>();
  Outline outline_;
  std::vector<Node> nodes_;                     ///< in sequential order
  std::vector<std::uint32_t> first_successor_;  ///< by node, one more at the end
  std::vector<std::uint32_t> successors_;
  std::vector<Sequencer::Attention> attention_;  ///< different costs of attention
  Counts attention_counts_;
  std::uint32_t measured_first_ = 0, measured_count_ = 0, measured_iterations_ = 0;  ///< nodes of the tokens
};

}  // namespace danaus::machine
