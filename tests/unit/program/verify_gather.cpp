// A gathered operator by hand: what the verifier says of it, and of it damaged.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "danaus/program/interpreter_float.h"
#include "danaus/program/verify.h"
#include "verify_example.h"
#include "verify_mutation.h"

using namespace danaus;
using namespace danaus::program;

namespace {

// 5 outputs of 6 inputs in groups of 3, each with 2 inputs: outputs 0 to 2 read inputs 1 and 4, outputs 3 and 4 inputs
// 0 and 4. Both blocks lie on one array, the second under the first. The input is on tile 0, the array on tile 1.
constexpr std::string_view kGathered = R"(danaus program 1
chip rows 4 cols 4 adcs 2 arrays 2 tile 1 buffer 32
cfg 0 mvm dac 8 adc 8 lossless
list 0 1 4 0 4
input x 6
node y linear x 5x6 gather 3:2 list 0
output y
at x 0+6 t0 0
at y 0+5 t1 20
patch a1 0,0 2x3 y.W in 0 out 0
patch a1 2,0 2x2 y.W in 2 out 3
code
move t0 0+6 -> t1 0
vec t1 gather n4 0+6 list 0 from 0 -> 10
mvm a1 r0+2 c0+3 10 -> 20 set k0
mvm a1 r2+2 c0+2 12 -> 23 set k0
halt
)";

std::string text_of() { return std::string(kGathered); }

std::string first_id(const std::string& text) {
  const VerifyReport report = verify(parse(text));
  return report.ok() ? "" : report.errors.front().id;
}

constexpr std::string_view kMove = "move t0 0+6 -> t1 0";
constexpr std::string_view kGather = "vec t1 gather n4 0+6 list 0 from 0 -> 10";

}  // namespace

TEST_CASE("a gathered operator is proved and computes its blocks") {
  const Program program = parse(text_of());
  for (const bool full : {false, true}) {
    const VerifyReport report = verify(program, {.full_weights = full});
    CHECK_MESSAGE(report.ok(), (report.ok() ? "" : to_string(report.errors.front())));
  }
  // Weight from stage input i to output j: 10 i + j; input e: 100 + e.
  const FloatSource source = {
      .weight = [](NodeId, std::uint32_t, std::uint32_t in, std::uint32_t out) { return 10.0 * in + out; },
      .constant = [](std::string_view, std::uint32_t) { return 0.0; },
      .input = [](NodeId, std::uint32_t, std::uint32_t element) { return 100.0 + element; },
      .prior = [](KvId, bool, std::uint32_t, std::uint32_t) { return 0.0; }};
  const auto outputs = execute(program, source);
  REQUIRE(outputs.has_value());
  const std::vector<double> expected = {0.0 * 101 + 10 * 104, 1.0 * 101 + 11 * 104, 2.0 * 101 + 12 * 104,
                                        23.0 * 100 + 33 * 104, 24.0 * 100 + 34 * 104};
  CHECK((*outputs)[0] == expected);
}

TEST_CASE("what a gather picks has to be there, and in its list") {
  const auto with_gather = [](std::string_view line) { return first_id(with_line(text_of(), kGather, line)); };
  CHECK(with_gather("vec t1 gather n4 0+6 list 1 from 0 -> 10") == "verify.bounds");
  CHECK(with_gather("vec t1 gather n4 0+6 list 0 from 1 -> 10") == "verify.bounds");
  CHECK(with_gather("vec t1 gather n5 0+6 list 0 from 0 -> 10") == "verify.bounds");
  CHECK(with_gather("vec t1 gather n4 0+4 list 0 from 0 -> 10") == "verify.bounds");  // picks element 4 of 4
  CHECK(with_gather("vec t1 gather n4 28+6 list 0 from 0 -> 10") == "verify.bounds");
  CHECK(with_gather("vec t1 gather n4 0+6 list 0 from 0 -> 29") == "verify.bounds");
  CHECK(with_gather("vec t2 gather n4 0+6 list 0 from 0 -> 10") == "verify.bounds");
  CHECK(with_gather("vec t1 gather n4 1+6 list 0 from 0 -> 10") == "verify.undefined");
  CHECK(with_gather("vec t1 gather n4 0+7 list 0 from 0 -> 10") == "verify.undefined");
  CHECK(with_gather("vec t1 gather n3 0+6 list 0 from 0 -> 10") == "verify.undefined");
  // Too little of the input is there, although what is picked would be; or more than is looked at.
  CHECK(first_id(with_line(text_of(), kMove, "move t0 0+5 -> t1 0")) == "verify.undefined");
  CHECK(with_gather("vec t1 gather n4 0+5 list 0 from 0 -> 10") == "verify.dead");
  // In two parts, in any order, it is the same; the wrong way round it is not.
  CHECK(with_gather("vec t1 gather n2 0+6 list 0 from 2 -> 12\nvec t1 gather n2 0+6 list 0 from 0 -> 10").empty());
  CHECK(with_gather("vec t1 gather n2 0+6 list 0 from 2 -> 10\nvec t1 gather n2 0+6 list 0 from 0 -> 12") ==
        "verify.row-value");
}

TEST_CASE("a list is part of the intent") {
  // Both blocks read other inputs: another operator, which this program computes as well.
  CHECK(first_id(with_line(text_of(), "list 0 1 4 0 4", "list 0 0 1 2 3")).empty());
  const Result<Program> bad = parse_text(with_line(text_of(), "list 0 1 4 0 4", "list 0 4 1 0 4"), "bad");
  REQUIRE_FALSE(bad.has_value());
  CHECK(bad.error().id == "structure.selection");
  Program unsound = parse(text_of());
  unsound.intent.nodes[1].structure.selection = IndexList({1, 4, 0, 6});
  CHECK(verify(unsound).errors.front().id == "structure.selection");
  // The intent reads other inputs than the commands pick.
  Program other = parse(text_of());
  other.lists[0] = IndexList({1, 4, 0, 3});
  CHECK(verify(other).errors.front().id == "verify.row-value");
}

TEST_CASE("every number of the gathered program changed by one is found, or computes the same") {
  const Program program = parse(text_of());
  const FloatSource source = {
      .weight = [](NodeId, std::uint32_t, std::uint32_t in, std::uint32_t out) { return 1.0 + 0.3 * in + 0.07 * out; },
      .constant = [](std::string_view, std::uint32_t) { return 0.0; },
      .input = [](NodeId, std::uint32_t, std::uint32_t element) { return 1.0 / (1 + element); },
      .prior = [](KvId, bool, std::uint32_t, std::uint32_t) { return 0.0; }};
  const auto outputs = execute(program, source);
  REQUIRE(outputs.has_value());
  const MutationCounts counts = mutate(program);
  CHECK(counts.total > 100);
  for (const Mutant& mutant : counts.survivors) {
    CAPTURE(mutant.name);
    const auto same = execute(mutant.program, source);
    REQUIRE(same.has_value());
    CHECK(*same == *outputs);
  }
}
