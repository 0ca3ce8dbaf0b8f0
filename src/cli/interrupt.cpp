// The handler may only call what is safe in a signal: write and _exit. A signal has nowhere to keep state but in static
// storage, hence the flags; any thread may receive it, hence they are atomic.

#include "cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

namespace danaus::cli {
namespace {

constexpr int kInterrupted = 130;
constinit std::atomic<bool> writing{false};
constinit std::atomic<bool> pending{false};
constinit std::atomic<bool> stoppable{false};
constinit std::atomic<bool> stop_wanted{false};

[[noreturn]] void end_now() {
  constexpr std::string_view kText = "\nerror[cli.interrupted]: interrupted\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(kInterrupted);
}

extern "C" void on_interrupt(int signal) {
  if (signal == SIGINT && stoppable.load() && !stop_wanted.exchange(true)) return;
  if (!writing.load()) end_now();
  pending.store(true);
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write, reported like any other
}

UninterruptedWriting::UninterruptedWriting() { writing.store(true); }

UninterruptedWriting::~UninterruptedWriting() {
  writing.store(false);
  if (pending.load()) end_now();
}

StopOnInterrupt::StopOnInterrupt() { stoppable.store(true); }

StopOnInterrupt::~StopOnInterrupt() {
  stoppable.store(false);
  stop_wanted.store(false);
}

bool StopOnInterrupt::wanted() { return stop_wanted.load(); }

bool UninterruptedWriting::interrupted() const { return pending.load(); }

}  // namespace danaus::cli
