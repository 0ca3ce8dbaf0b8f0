#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "danaus/core/error.h"

namespace danaus::explore {

struct Message {
  int sender = 0;
  std::vector<std::byte> bytes;
};

/// Processes that explore one study together. Rank 0 talks to all others, the others to rank 0 alone. Called by one
/// thread of a process.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void send(int receiver, const std::vector<std::byte>& bytes) = 0;
  /// The next message from anyone, if one has come.
  virtual std::optional<Message> poll() = 0;
  /// On every rank, when all is said. A process that ends without it takes the others down.
  virtual void finish() = 0;
};

/// The ranks that mpirun, mpiexec or srun started, or nothing when this process was started alone. The MPI library is
/// loaded when it is needed: danaus is built and runs without one. Error explore.mpi.
Result<std::unique_ptr<Communicator>> connect_mpi();

}  // namespace danaus::explore
