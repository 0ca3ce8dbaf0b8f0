// Systematic damage to programs of the compiler: every number of every command up and down by one, every deletion,
// every duplication. Whatever the encoding and the verifier accept computes the same outputs, bit for bit. There is
// such damage: a base register that is always 0 instead of another, another distance of slots, an address among zeros
// or sinks, a copy of something that is already there.
#include <doctest/doctest.h>

#include "../unit/program/verify_mutation.h"
#include "danaus/program/interpreter_float.h"
#include "random_program.h"

namespace danaus {
namespace {

double number_for(std::uint64_t kind, std::uint64_t a, std::uint64_t b) { return random_gaussian(kind, a, b); }

/// Any numbers do: both programs get the same. Weights of padding are zero.
program::FloatSource numbers(const Graph& graph) {
  return {.weight =
              [&graph](NodeId node, std::uint32_t stage, std::uint32_t in, std::uint32_t out) {
                const Structure& structure = graph.at(node).structure;
                const bool padding =
                    (stage == 0 && in >= structure.in) || (stage + 1 == structure.stages() && out >= structure.out);
                return padding ? 0.0 : number_for(index(node) * 2 + stage, in, out) / 4;
              },
          .constant = [](std::string_view name,
                         std::uint32_t element) { return number_for(1000, digest_of(name).low, element); },
          .input = [](NodeId node, std::uint32_t token,
                      std::uint32_t element) { return number_for(1001, index(node) * 100 + token, element); },
          .prior =
              [](KvId region, bool value, std::uint32_t entry, std::uint32_t element) {
                return number_for(value ? 1002 : 1003, index(region) * 100 + entry, element);
              }};
}

TEST_CASE("damaged programs are refused, or compute the same") {
  constexpr std::uint64_t kCases = 60;
  constexpr std::size_t kCommands = 12;  // damaged in each program
  std::uint64_t total = 0, refused = 0, found = 0, harmless = 0;
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    const program::Program original = test::compile_case(test::random_case(number));
    const program::FloatSource source = numbers(original.intent);
    const auto outputs = program::execute(original, source);
    REQUIRE_MESSAGE(outputs.has_value(), (outputs ? "" : to_string(outputs.error())));
    const std::size_t every = std::max<std::size_t>(1, original.code.size() / kCommands);
    const program::MutationCounts counts = program::mutate(original, every);
    total += counts.total, refused += counts.refused, found += counts.found, harmless += counts.survivors.size();
    for (const program::Mutant& mutant : counts.survivors) {
      CAPTURE(mutant.name);
      const auto same = program::execute(mutant.program, source);
      REQUIRE_MESSAGE(same.has_value(), (same ? "" : to_string(same.error())));
      for (std::size_t token = 0; token < std::min(same->size(), outputs->size()); ++token)
        CHECK((*same)[token] == (*outputs)[token]);
    }
  }
  MESSAGE("mutants " << total << ", refused by the encoding " << refused << ", found " << found << ", without effect "
                     << harmless);
  CHECK(total > 10000);
  CHECK(harmless < total / 10);
}

}  // namespace
}  // namespace danaus
