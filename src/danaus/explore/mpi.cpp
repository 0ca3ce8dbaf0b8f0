// MPI without building against it. A cluster has its own MPI library, and a program that was linked with another one
// does not run there; a single machine has none, and need not. So the library that the launcher belongs to is loaded
// when a launcher has started us, and its C functions are looked up. What a header would say is in two tables: Open MPI
// (handles are addresses of exported objects) and the MPICH ABI (handles are numbers; MPICH, Intel MPI, Cray MPI and
// MVAPICH share it by agreement). Messages are a fixed header (sender, size), then the bytes; so no MPI_Status, whose
// layout differs, is needed. All calls come from one thread.

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "danaus/explore/communicator.h"

namespace danaus::explore {
namespace {

constexpr int kHeaderTag = 1;
constexpr int kBodyTag = 2;
constexpr int kThreadsFunneled = 1;  // MPI_THREAD_FUNNELED in both

/// How a launcher shows itself in the environment, and the library that goes with it.
struct Flavour {
  std::string_view name;
  std::string_view library;
  bool handles_are_addresses;
  int any_source;
  std::uintptr_t status_ignore;
  std::uintptr_t world, byte;  ///< handles, where they are numbers
};
constexpr Flavour kOpenMpi{"Open MPI", "libmpi.so.40", true, -1, 0, 0, 0};
constexpr Flavour kMpich{"MPICH", "libmpi.so.12", false, -2, 1, 0x44000000, 0x4c00010d};
constexpr Flavour kMpichOfDebian{"MPICH", "libmpich.so.12", false, -2, 1, 0x44000000, 0x4c00010d};

/// 0 where it is not set.
int number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

/// How many of us srun has started, 0 if it has not. A batch script and a shell of salloc have the number of the tasks
/// of their job, too, but are one process, outside any step or in the step "batch".
int tasks_of_srun() {
  const char* const step = std::getenv("SLURM_STEP_ID");
  if (step == nullptr || *step < '0' || *step > '9') return 0;
  return number_in(std::getenv("SLURM_STEP_NUM_TASKS") != nullptr ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
}

/// Which libraries to try: none if no launcher has started several of us.
std::vector<Flavour> flavours() {
  if (number_in("OMPI_COMM_WORLD_SIZE") > 1) return {kOpenMpi};
  if (number_in("PMI_SIZE") > 1) return {kMpich, kMpichOfDebian, kOpenMpi};
  if (std::getenv("PMIX_RANK") != nullptr && tasks_of_srun() > 1) return {kOpenMpi, kMpich, kMpichOfDebian};
  return {};
}

// Handles are pointers in one ABI and ints in the other; both are passed in one register, so every handle parameter is
// declared as a word of pointer size.
using Handle = std::uintptr_t;
using Init = int(int*, char***, int, int*);
using Initialised = int(int*);
using Finish = int();
using Rank = int(Handle, int*);
using Send = int(const void*, int, Handle, int, int, Handle);
using Receive = int(void*, int, Handle, int, int, Handle, Handle);
using Probe = int(int, int, Handle, int*, Handle);

class Mpi final : public Communicator {
 public:
  static Result<std::unique_ptr<Mpi>> load(const Flavour& flavour) {
    // Open MPI's own plug-ins look for its symbols among the global ones.
    void* const library = ::dlopen(std::string(flavour.library).c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr)
      return fail(
          Error("explore.mpi", Failure::unsupported,
                fmt::format("several ranks were started, but {} ({}) cannot be loaded", flavour.name, flavour.library))
              .with_hint("install it where its loader finds it (LD_LIBRARY_PATH), or use --shard i/N"));
    auto mpi = std::unique_ptr<Mpi>(new Mpi);
    const auto find = [&](const char* name) { return ::dlsym(library, name); };
    const auto take = [&](auto*& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(find(name));
      return function != nullptr;
    };
    Init* init = nullptr;
    bool good = take(init, "MPI_Init_thread") && take(mpi->finalise_, "MPI_Finalize") && take(mpi->send_, "MPI_Send") &&
                take(mpi->receive_, "MPI_Recv") && take(mpi->probe_, "MPI_Iprobe");
    Rank* rank = nullptr;
    Rank* size = nullptr;
    good = good && take(rank, "MPI_Comm_rank") && take(size, "MPI_Comm_size");
    mpi->world_ = flavour.handles_are_addresses ? reinterpret_cast<Handle>(find("ompi_mpi_comm_world")) : flavour.world;
    mpi->byte_ = flavour.handles_are_addresses ? reinterpret_cast<Handle>(find("ompi_mpi_byte")) : flavour.byte;
    mpi->any_source_ = flavour.any_source;
    mpi->ignore_ = flavour.status_ignore;
    const bool is_open_mpi = find("ompi_mpi_comm_world") != nullptr;
    int provided = 0;
    if (!good || is_open_mpi != flavour.handles_are_addresses || mpi->world_ == 0 || mpi->byte_ == 0 ||
        init(nullptr, nullptr, kThreadsFunneled, &provided) != 0 || rank(mpi->world_, &mpi->rank_number_) != 0 ||
        size(mpi->world_, &mpi->size_) != 0)
      return fail(Error("explore.mpi", Failure::unsupported, fmt::format("{} does not start", flavour.library))
                      .with_hint("is it the library of this mpirun? --shard i/N needs none"));
    if (mpi->size_ > 1) return mpi;
    // A library that does not understand the launcher takes every rank for a process alone.
    mpi->finish();
    return fail(
        Error("explore.mpi", Failure::unsupported,
              fmt::format("several ranks were started, but {} ({}) sees one", flavour.name, flavour.library))
            .with_hint("use the mpirun of that library; srun may need another --mpi; --shard i/N needs no MPI"));
  }

  int rank() const override { return rank_number_; }
  int size() const override { return size_; }

  void send(int receiver, const std::vector<std::byte>& bytes) override {
    const std::array<std::uint64_t, 2> header = {static_cast<std::uint64_t>(rank_number_), bytes.size()};
    // Errors of MPI end the job by themselves (MPI_ERRORS_ARE_FATAL).
    send_(header.data(), sizeof header, byte_, receiver, kHeaderTag, world_);
    send_(bytes.data(), static_cast<int>(bytes.size()), byte_, receiver, kBodyTag, world_);
  }

  std::optional<Message> poll() override {
    int there = 0;
    probe_(any_source_, kHeaderTag, world_, &there, ignore_);
    if (there == 0) return std::nullopt;
    std::array<std::uint64_t, 2> header = {};
    receive_(header.data(), sizeof header, byte_, any_source_, kHeaderTag, world_, ignore_);
    Message message;
    message.sender = static_cast<int>(header[0]);
    message.bytes.resize(header[1]);
    receive_(message.bytes.data(), static_cast<int>(header[1]), byte_, message.sender, kBodyTag, world_, ignore_);
    return message;
  }

  void finish() override { finalise_(); }

 private:
  Mpi() = default;
  Finish* finalise_ = nullptr;
  Send* send_ = nullptr;
  Receive* receive_ = nullptr;
  Probe* probe_ = nullptr;
  Handle world_ = 0, byte_ = 0, ignore_ = 0;
  int any_source_ = 0, rank_number_ = 0, size_ = 1;
};

}  // namespace

Result<std::unique_ptr<Communicator>> connect_mpi() {
  std::optional<Error> error;
  for (const Flavour& flavour : flavours()) {
    Result<std::unique_ptr<Mpi>> mpi = Mpi::load(flavour);
    if (mpi) return std::unique_ptr<Communicator>(std::move(*mpi));
    if (!error) error = std::move(mpi).error();
  }
  if (error) return fail(std::move(*error));
  const bool knows_ranks = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMI_SIZE") != nullptr;
  if (const int tasks = tasks_of_srun(); tasks > 1 && !knows_ranks)
    return fail(
        Error(
            "explore.mpi", Failure::usage,
            fmt::format("srun has started {} tasks that know nothing of each other: each would compute the whole study",
                        tasks))
            .with_hint("srun --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH; or one task, or --shard i/N for each"));
  return std::unique_ptr<Communicator>();
}

}  // namespace danaus::explore
