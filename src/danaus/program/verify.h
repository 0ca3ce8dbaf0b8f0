#pragma once

#include <cstdint>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/program/program.h"

namespace danaus::program {

struct VerifyOptions {
  std::uint64_t seed = 1;
  bool full_weights = false;       ///< full random weights instead of rank-1 per block
  std::uint32_t most_errors = 10;  ///< stop after that many
  bool proof = true;
};

struct VerifyReport {
  std::vector<Error> errors;   ///< empty = verified; ids verify.*
  std::uint64_t commands = 0;  ///< executed in the proof run
  std::uint32_t proof_tokens = 0;
  std::uint32_t buffer_used = 0;  ///< highest element address used + 1, over all tiles, for the whole program
  bool ok() const { return errors.empty(); }
};

/// All checks of the program: static ones first, then the proof run. Failure::check for semantic violations.
VerifyReport verify(const Program& program, const VerifyOptions& options = {});

}  // namespace danaus::program
