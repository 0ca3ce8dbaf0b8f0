// Random models of both families, all strategies, chips and modes: the program that comes out is verified, equals its
// text and binary forms, and computes what the graph says.
#include <doctest/doctest.h>

#include "danaus/machine/timing.h"
#include "danaus/program/verify.h"
#include "random_program.h"

namespace danaus {
namespace {

constexpr std::uint64_t kCases = 300;

TEST_CASE("programs of random models are proved, with rank-1 and with full weights") {
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    const test::Case random = test::random_case(number);
    const program::Program program = test::compile_case(random);
    const program::VerifyReport report = program::verify(program, {.full_weights = number % 3 == 0});
    CHECK_MESSAGE(report.ok(), (report.ok() ? "" : to_string(report.errors.front())));
  }
}

TEST_CASE("text and binary forms of random programs read back the same") {
  for (std::uint64_t number = 0; number < kCases; number += 5) {
    CAPTURE(number);
    const program::Program program = test::compile_case(test::random_case(number));
    const Result<program::Program> from_text = program::parse_text(program::to_text(program), "p.txt");
    REQUIRE_MESSAGE(from_text.has_value(), (from_text ? "" : to_string(from_text.error())));
    CHECK(*from_text == program);
    const Result<program::Program> from_binary = program::parse_binary(program::to_binary(program), "p.dnx");
    REQUIRE(from_binary.has_value());
    CHECK(*from_binary == program);
  }
}

TEST_CASE("compiling twice gives the same program") {
  for (std::uint64_t number = 0; number < kCases; number += 20)
    CHECK(digest_of(test::compile_case(test::random_case(number))) == digest_of(test::compile_case(test::random_case(number))));
}

}  // namespace
}  // namespace danaus
