#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "danaus/program/image.h"
#include "danaus/program/program.h"
#include "danaus/program/state.h"
#include "danaus/program/verify_faults.h"

/// The static half of verification, and what it finds out for the execution.
namespace danaus::program {

/// A token loop: commands begin+1 .. end-1 are its body.
struct Loop {
  std::uint32_t begin = 0;  ///< of `rep`
  std::uint32_t end = 0;    ///< of `end`
  Repeat repeat;
};

/// Register b of a loop in an iteration.
inline std::uint32_t register_value(const Repeat& repeat, std::uint8_t base, std::uint32_t iteration) {
  if (base == 0) return 0;
  const std::uint64_t product = std::uint64_t{iteration} * repeat.step[base - 1];
  const std::uint32_t modulus = repeat.modulus[base - 1];
  return static_cast<std::uint32_t>(modulus == 0 ? product : product % modulus);
}

/// Commands begin+1 .. end-1 are executed if a gate is not zero.
struct Branch {
  std::uint32_t begin = 0;  ///< of `when`
  std::uint32_t end = 0;    ///< of its `end`
  When when;
};

struct Survey {
  std::vector<Loop> loops;                  ///< in order; all with the same number of iterations
  std::vector<Branch> branches;             ///< in order
  Repeat repeat;                            ///< the registers for `at` and `sink` lines: those of the loops
  std::uint32_t tokens = 1;                 ///< iterations of every loop
  std::uint32_t slots = 1;                  ///< most different values that a register with a modulus takes
  std::uint32_t start = 0;                  ///< of every KV region that this program appends to
  std::uint32_t other_start = 0;            ///< of those with span `other`
  std::uint32_t buffer_used = 0;            ///< highest element address used + 1
  std::uint32_t proof_tokens = 1;           ///< iterations that the proof executes
  std::uint64_t work = 0;                   ///< elements touched in one pass over the code
  SparseTable<std::uint32_t> last_command;  ///< by tile: the last command that uses it, + 1
  bool executable = true;                   ///< safe to execute (errors such as a missing activation do not matter)
};

/// Elements that one pass over a program may touch: what can be verified in minutes.
inline constexpr std::uint64_t kMostWork = std::uint64_t{1} << 36;

/// Leaves the registers of an executable survey only as many slots as the proof uses again: proof_tokens - 1. A value
/// that a program wrongly keeps in a slot from one loop to the next is then lost in the proof too, which by itself does
/// not get to the token that overwrites it.
void prove_with_fewer_slots(Survey& survey);

/// All checks that need no values.
Survey survey(const Program& program, const Images& images, Faults& faults);

}  // namespace danaus::program
