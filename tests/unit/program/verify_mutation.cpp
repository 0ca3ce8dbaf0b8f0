// Every number of every command of the example one up and one down, every deletion and every duplication: refused by the encoding,
// found by the verifier, or provably without effect.
#include "verify_mutation.h"

#include <doctest/doctest.h>

#include "verify_example.h"

using namespace danaus;
using namespace danaus::program;

TEST_CASE("exhaustive mutation of the example") {
  const Program program = parse(example_text());
  const MutationCounts counts = mutate(program);
  MESSAGE("mutants ", counts.total, ", refused by the encoding ", counts.refused, ", found ", counts.found);
  for (const Mutant& survivor : counts.survivors) MESSAGE(survivor.name);
}
