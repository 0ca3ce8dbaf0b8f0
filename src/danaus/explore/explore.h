#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/explore/communicator.h"
#include "danaus/explore/database.h"
#include "danaus/explore/pareto.h"
#include "danaus/explore/plan.h"
#include "danaus/explore/shard.h"

namespace danaus::explore {

struct ExploreOptions {
  std::string database;
  bool resume = false;
  Shard shard;
  int threads = 1;                       ///< of this process, that compute
  Communicator* communicator = nullptr;  ///< null: this process alone
  std::function<bool()> interrupted;     ///< asked often; true: keep what is there and stop
  /// Called once when interrupted, everything kept and the database closed; it may end the process rather than wait for
  /// the points that are being computed.
  std::function<void(std::uint64_t done, std::uint64_t total)> stopping;
  std::function<void(const Front& front)> improved;  ///< the front has changed
};

struct Exploration {
  std::uint64_t total = 0;   ///< points of this shard
  std::uint64_t before = 0;  ///< that the database had
  std::uint64_t computed = 0;
  std::uint64_t failed = 0;  ///< of those computed, with an error
  bool interrupted = false;
  bool leader = true;  ///< rank 0: the one that has the results
};

/// Before explore, on every rank: all have made the same plan, or none goes on. Errors: that of a rank that has none,
/// explore.mpi.
Result<void> agree(Communicator& ranks, const Result<Plan>& plan);

/// Computes the points that the database lacks. Ranks other than 0 only compute; rank 0 writes. Errors: those of
/// Database, and of a point that say nothing about the point (file.*, internal).
Result<Exploration> explore(const Plan& plan, const ExploreOptions& options, Progress& progress);

}  // namespace danaus::explore
