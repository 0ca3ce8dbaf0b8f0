// Copies of arrays: what a copy has to be. That it changes no value is for the property tests.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "danaus/program/verify.h"
#include "verify_example.h"

using namespace danaus;
using namespace danaus::program;

namespace {

Copy copy(std::uint32_t array, std::uint32_t of) { return {.array = ArrayId{array}, .of = ArrayId{of}}; }

}  // namespace

TEST_CASE("a copy is an empty array on the tile of an array with cells") {
  const Program example = parse(example_text());
  REQUIRE(example.chip.arrays == 4);
  REQUIRE(example.chip.arrays_per_tile == 2);
  const auto problem = [](const VerifyReport& report) {
    REQUIRE(report.errors.size() >= 1);
    CHECK(report.errors.front().id == "verify.copy");
    return report.errors.front().message;
  };
  // Arrays 0 and 1 are tile 0, 2 and 3 tile 1, 4 and 5 nothing yet.
  Program program = example;
  program.chip.arrays = 6;
  program.copies = {copy(5, 3)};
  CHECK(problem(verify(program)) == "array 5 cannot be a copy of array 3: they are on different tiles");
  program.copies = {copy(1, 0)};
  CHECK(problem(verify(program)) == "array 1 cannot be a copy of array 0: it has patches of its own");
  program.copies = {copy(4, 5)};
  CHECK(problem(verify(program)) == "array 4 cannot be a copy of array 5: the other has no patches");
  program.copies = {copy(6, 0)};
  CHECK(problem(verify(program)) == "array 6 cannot be a copy of array 0: there is no such array");
  program.copies = {copy(4, 77)};
  CHECK(problem(verify(program)) == "array 4 cannot be a copy of array 77: there is no such array");
  program.copies = {copy(4, 3), copy(4, 3)};
  CHECK(problem(verify(program)) == "array 4 cannot be a copy of array 3: copies are sorted by array, each once");
}
