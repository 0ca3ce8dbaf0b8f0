#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/program/program.h"

namespace danaus::program {

/// Collects errors; adds which command (and token) they belong to.
class Faults {
 public:
  Faults(const Program& program, std::uint32_t most) : program_(program), most_(most == 0 ? 1 : most) {}

  /// From now on errors belong to this command.
  void at_command(std::uint32_t command, std::optional<std::uint32_t> token = std::nullopt) {
    command_ = command;
    token_ = token;
  }
  void at_no_command() { command_.reset(), token_.reset(); }

  void add(Error error);
  /// No more errors are wanted.
  bool full() const { return stopped_ || errors_.size() >= most_; }
  /// It makes no sense to go on.
  void stop() { stopped_ = true; }
  bool empty() const { return errors_.empty(); }
  std::vector<Error> take() { return std::move(errors_); }

 private:
  const Program& program_;
  std::size_t most_;
  std::optional<std::uint32_t> command_, token_;
  bool stopped_ = false;
  std::vector<Error> errors_;
};

}  // namespace danaus::program
