// Many tokens, and programs that are no programs at all.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "danaus/core/random.h"
#include "danaus/program/verify.h"
#include "verify_example.h"

using namespace danaus;
using namespace danaus::program;

namespace {

/// The example for 1000 tokens: outputs behind all inputs.
std::string long_example(std::string_view loop) {
  std::string text = example_text();
  text = with_line(text, "chip rows 8 cols 8 adcs 2 arrays 4 tile 2 buffer 400",
                   "chip rows 8 cols 8 adcs 2 arrays 4 tile 2 buffer 200000");
  text = with_line(text, "kv 0 tile 0 queries 2 size 4 capacity 2 start 0",
                   "kv 0 tile 0 queries 2 size 4 capacity 1000 start 0");
  text = with_line(text, "at y 0+4 t0 384@2", "at y 0+4 t0 8384@2");
  text = with_line(text, "at y 4+4 t1 388@2", "at y 4+4 t1 8388@2");
  text = with_line(text, "vec t0 add n4 74@1 156@1 -> 384@2 k0", "vec t0 add n4 74@1 156@1 -> 8384@2 k0");
  text = with_line(text, "vec t1 add n4 78@1 160@1 -> 388@2 k0", "vec t1 add n4 78@1 160@1 -> 8388@2 k0");
  return with_line(text, "rep 2 b1+176%352 b2+8", loop);
}

std::string first_id(const VerifyReport& report) { return report.ok() ? "" : report.errors.front().id; }

}  // namespace

TEST_CASE("a program of many tokens is proved by some, its addresses are checked for all") {
  const VerifyReport report = verify(parse(long_example("rep 1000 b1+176%352 b2+8")));
  CHECK_MESSAGE(report.ok(), (report.ok() ? "" : to_string(report.errors.front())));
  CHECK(report.proof_tokens == 64);
  CHECK(report.buffer_used == 8392 + 999 * 8);
  CHECK(verify(parse(long_example("rep 1000 b2+8"))).ok());  // one slot
  // Slots that never come back reach the constants, soon or only after the tokens of the proof.
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+176 b2+8")))) == "verify.loop");
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+1 b2+8")))) == "verify.loop");
  // The slot of the last token of the proof ends at 352, where the constants begin.
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+3 b2+8")))) == "verify.loop");
  CHECK(first_id(verify(parse(long_example("rep 1001 b1+176%352 b2+8")))) == "verify.capacity");
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+176%352 b2+9")))) == "verify.intent");
  CHECK(first_id(verify(parse(long_example("rep 4000000000 b1+176%352 b2+8")))) == "verify.bounds");
  CHECK(first_id(verify(parse(long_example("rep 4000000000 b1+176%352")))) ==
        "verify.intent");  // inputs of all tokens in one place
}

TEST_CASE("slots that are used again are proved") {
  // Three slots, the last of which reaches into the constants at 352.
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+110%330 b2+8")))) == "verify.row-value");
}

TEST_CASE("slots that the proof does not reach keep clear of everything else") {
  // A slot has 164 elements and the constants begin at 352; the proof executes 64 tokens.
  const VerifyReport apart = verify(parse(long_example("rep 1000 b1+2%180 b2+8")));
  CHECK_MESSAGE(apart.ok(), (apart.ok() ? "" : to_string(apart.errors.front())));
  CHECK(apart.proof_tokens == 64);
  // The 100th slot lies on the constants, the 64th does not.
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+2%200 b2+8")))) == "verify.loop");
  CHECK(first_id(verify(parse(long_example("rep 100 b1+2%200 b2+8")))) == "verify.loop");
  // Slots that come back shifted.
  CHECK(first_id(verify(parse(long_example("rep 1000 b1+2%181 b2+8")))) == "verify.loop");
}

TEST_CASE("slots that the proof does not reach do not keep values from loop to loop") {
  const auto two_loops = [](std::string_view first, std::string_view second) {
    return parse(
        "danaus program 1\n"
        "chip rows 8 cols 8 adcs 2 arrays 2 tile 2 buffer 2000\n"
        "input x 4\n"
        "node a relu x\n"
        "node y silu a\n"
        "output y\n"
        "at x 0+4 t0 600@2\n"
        "at y 0+4 t0 1112@2\n"
        "code\n"
        "rep 128 " +
        std::string(first) +
        " b2+4\n"
        "vec t0 relu n4 600@2 -> 0@1 k0\n"
        "end\n"
        "rep 128 " +
        std::string(second) +
        " b2+4\n"
        "vec t0 silu n4 0@1 -> 1112@2 k0\n"
        "end\n"
        "halt\n");
  };
  const VerifyReport enough = verify(two_loops("b1+4%512", "b1+4%512"));
  CHECK_MESSAGE(enough.ok(), (enough.ok() ? "" : to_string(enough.errors.front())));
  CHECK(enough.proof_tokens == 64);
  CHECK(verify(two_loops("b1+4", "b1+4")).ok());
  CHECK_FALSE(verify(two_loops("b1+4%400", "b1+4%400")).ok());  // tokens 100 to 127 use slots of tokens 0 to 27
  CHECK(first_id(verify(two_loops("b1+4%512", "b1+4%400"))) == "verify.loop");
  CHECK_FALSE(verify(two_loops("serial", "b1+4%400")).ok());
}

TEST_CASE("whatever a reader accepts can be verified: damaged text") {
  const std::string text = example_text();
  const std::string alphabet = "0123456789abgtkx+*^@%.- \n";
  int accepted = 0, refused = 0;
  for (std::uint64_t round = 0; round < 6000; ++round) {
    std::string damaged = text;
    const std::uint64_t changes = 1 + random_bits(1, round, 0) % 3;
    for (std::uint64_t change = 0; change < changes; ++change) {
      const std::size_t at = random_bits(2, round, change) % damaged.size();
      const char letter = alphabet[random_bits(3, round, change) % alphabet.size()];
      if (random_bits(4, round, change) % 2 == 0)
        damaged[at] = letter;
      else
        damaged.insert(at, 1, letter);
    }
    const Result<Program> program = parse_text(damaged, "damaged");
    if (!program) continue;
    ++accepted;
    const VerifyReport report = verify(*program);
    refused += report.ok() ? 0 : 1;
    for (const Error& error : report.errors) CHECK_FALSE(error.message.empty());
  }
  CHECK(accepted > 200);
  CHECK(refused > accepted / 2);
}

TEST_CASE("whatever a reader accepts can be verified: random bits of records") {
  const Program program = parse(example_text());
  int accepted = 0;
  for (std::uint64_t round = 0; round < 6000; ++round) {
    Program damaged = program;
    const std::size_t command = random_bits(5, round, 0) % program.code.size();
    for (std::uint64_t bit = 0; bit < 1 + round % 3; ++bit) {
      const std::uint64_t position = random_bits(6, round, bit) % 256;
      damaged.code[command].words[position / 64] ^= std::uint64_t{1} << (position % 64);
    }
    const bool good = decode(damaged.code[command]).has_value();
    accepted += good ? 1 : 0;
    const VerifyReport report = verify(damaged, {.most_errors = 3});
    if (!good) CHECK_FALSE(report.ok());
  }
  CHECK(accepted > 2000);
}

TEST_CASE("enormous programs are refused, not executed") {
  // Sixty thousand reads of the same element, sixty thousand times, to a million tiles.
  std::string text =
      "danaus program 1\n"
      "chip rows 8 cols 8 adcs 2 arrays 16777216 tile 16 buffer 16777216\n"
      "cfg 0 mvm dac 8 adc 8 lossless\n"
      "group 0 t0+1048576\n"
      "input x 16777216\n"
      "node y relu x\n"
      "output y\n"
      "at x 0+16777216 t0 0\n"
      "at y 0+16777216 t1 0\n"
      "code\n"
      "rep 4294967295\n";
  for (int n = 0; n < 100; ++n) text += "move t0 0+65536x256^65536 -> g0 0^65536\n";
  text += "end\nhalt\n";
  const VerifyReport report = verify(parse(text));
  REQUIRE_FALSE(report.ok());
  CHECK(report.errors.front().id == "verify.intent");  // all inputs in one place
  std::string once = text;
  once.replace(once.find("rep 4294967295"), 14, "rep 1");
  const VerifyReport large = verify(parse(once));
  REQUIRE_FALSE(large.ok());
  CHECK(large.errors.front().id == "verify.proof-size");
}
