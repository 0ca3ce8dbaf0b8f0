// Bugs in the strategies and in emit, one at a time, over random models: whatever program comes out is refused, by the
// compiler or by the verifier. A case in which the bug changes nothing says nothing; each bug must change some.
#include "danaus/compile/injection.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <exception>

#include "danaus/core/internal_error.h"
#include "danaus/program/verify.h"
#include "random_program.h"

namespace danaus {
namespace {

constexpr std::uint64_t kCases = 300;
constexpr int kEnough = 8;  // changed programs per bug
/// Freeing a value early only moves addresses unless something else takes its place while it is needed: such a program
/// computes the same, and the verifier is right to accept it. So does a program whose blocks read all inputs and pick
/// them from elsewhere in their lists. Others of these programs must be refused.
constexpr bool is_sometimes_harmless(int bug) { return bug == 22 || bug == 31 || bug == 32; }

struct Outcome {
  bool refused = false;
  std::optional<program::Program> program;
};

Outcome compile_with_bug(const test::Case& random, int bug) {
  compile::injected_bug = bug;
  Outcome outcome;
  try {
    Result<compile::Placement> placement = test::place_case(random);
    if (placement) {
      Result<program::Program> program = compile::emit(random.graph, std::move(*placement), random.chip, random.emit);
      if (program) outcome.program = std::move(*program);
    }
  } catch (const std::exception&) {
    // An invariant of the compiler noticed.
  }
  compile::injected_bug = 0;
  outcome.refused = !outcome.program.has_value();
  return outcome;
}

TEST_CASE("every injected bug is found") {
  for (int bug = 1; bug <= compile::kInjectableBugs; ++bug) {
    CAPTURE(bug);
    int changed = 0, refused = 0;
    for (std::uint64_t number = 0; number < kCases && changed < kEnough; ++number) {
      CAPTURE(number);
      const test::Case random = test::random_case(number);
      const program::Program right = test::compile_case(random);
      const Outcome outcome = compile_with_bug(random, bug);
      if (outcome.refused) {
        ++changed;
        ++refused;
        continue;
      }
      if (*outcome.program == right) continue;
      ++changed;
      const bool found = !program::verify(*outcome.program).ok();
      refused += found;
      if (!is_sometimes_harmless(bug)) CHECK(found);
    }
    CHECK_MESSAGE(refused > 0, "no case shows this bug");
  }
}

}  // namespace
}  // namespace danaus
