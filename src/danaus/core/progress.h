#pragma once

#include <cstdint>
#include <string_view>

namespace danaus {

/// Receives progress of long work. The library reports, the command line renders (or is silent).
class Progress {
 public:
  virtual ~Progress() = default;
  /// A step begins: `total` units of work (0 = unknown).
  virtual void begin(std::string_view step, std::uint64_t total) = 0;
  /// `done` units of the current step are finished. Thread-safe.
  virtual void update(std::uint64_t done) = 0;
  virtual void end() = 0;
};

/// Does nothing.
Progress& no_progress();

}  // namespace danaus
