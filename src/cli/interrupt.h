#pragma once

namespace danaus::cli {

/// From now on Ctrl-C (and SIGTERM) ends the program at once with exit code 130.
void install_interrupt_handler();

/// While one lives, an interrupt waits for its end: what is being written is finished, or given up and removed by
/// whoever asks interrupted(), so no half-written file stays behind. Make it before the file.
class UninterruptedWriting {
 public:
  UninterruptedWriting();
  ~UninterruptedWriting();
  UninterruptedWriting(const UninterruptedWriting&) = delete;
  UninterruptedWriting& operator=(const UninterruptedWriting&) = delete;
  bool interrupted() const;
};

/// While one lives, the first interrupt is a wish to end with what there is, told by wanted(); the next one ends the
/// program.
class StopOnInterrupt {
 public:
  StopOnInterrupt();
  ~StopOnInterrupt();
  StopOnInterrupt(const StopOnInterrupt&) = delete;
  StopOnInterrupt& operator=(const StopOnInterrupt&) = delete;
  static bool wanted();
};

}  // namespace danaus::cli
