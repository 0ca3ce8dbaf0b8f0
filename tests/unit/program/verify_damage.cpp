// The example verifies, and every damage to it is found, by the check that is responsible for it.
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "danaus/program/verify.h"
#include "verify_example.h"

using namespace danaus;
using namespace danaus::program;

namespace {

std::string described(const VerifyReport& report) {
  std::string text;
  for (const Error& error : report.errors) text += to_string(error) + "\n";
  return text;
}

}  // namespace

TEST_CASE("the example program verifies") {
  const Program program = parse(example_text());
  for (const bool full : {false, true}) {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      const VerifyReport report = verify(program, {.seed = seed, .full_weights = full});
      INFO(described(report));
      CHECK(report.ok());
      CHECK(report.proof_tokens == 2);       // the program has two tokens
      CHECK(report.commands == 2 * 62 + 1);  // 62 commands a token, and halt
      CHECK(report.buffer_used == 400);      // y of token 1: 388 + 8 + 4
    }
  }
  const VerifyReport without = verify(program, {.proof = false});
  CHECK(without.ok());
  CHECK(without.commands == 0);
}

namespace {

struct Damage {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string_view>> lines;  // replaced, one after the other
  std::set<std::string> expected;                                    // all of these ids have to be reported
};

std::string damaged(const Damage& damage) {
  std::string text = example_text();
  for (const auto& [from, to] : damage.lines) text = with_line(text, from, to);
  return text;
}

}  // namespace

TEST_CASE("every damage to the example is found by the check that is responsible") {
  const std::vector<Damage> damages = {
      {"row window one row too high",
       {{"mvm a0 r6+2 c4+4 14@1 -> 26@1 set k0", "mvm a0 r5+2 c4+4 14@1 -> 26@1 set k0"}},
       {"verify.isolation"}},
      {"foreign outputs overlap",
       {{"mvm a0 r6+2 c4+4 14@1 -> 26@1 set k0", "mvm a0 r4+4 c4+4 12@1 -> 26@1 set k0"}},
       {"verify.isolation"}},
      {"column window takes one column of o.R",
       {{"mvm a0 r0+4 c0+6 6@1 -> 14*2@1 set k0", "mvm a0 r0+4 c0+7 6@1 -> 14*2@1 set k0"}},
       {"verify.row-value"}},
      {"k.L and v.L fired together",
       {{"mvm a1 r4+2 c6+2 18@1 -> 34@1 set k0", "mvm a1 r4+4 c6+4 18@1 -> 34@1 set k0"},
        {"mvm a1 r6+2 c0+2 22@1 -> 38@1 set k0", ""}},
       {"verify.undefined", "verify.row-value"}},
      {"column window one short",
       {{"mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0", "mvm a1 r0+2 c2+5 96@1 -> 104@1 set k0"}},
       {"verify.coverage", "verify.undefined"}},
      {"mvm deleted", {{"mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0", ""}}, {"verify.coverage", "verify.undefined"}},
      {"add for set",
       {{"mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0", "mvm a1 r0+2 c2+6 96@1 -> 104@1 add k0"}},
       {"verify.undefined"}},
      {"move to the wrong tile", {{"move t1 84+2@1 -> t0 84@1", "move t1 84+2@1 -> t1 84@1"}}, {"verify.undefined"}},
      {"transposition between R and L forgotten",
       {{"move t0 16+3*4@1 -> t1 16*4@1", "move t0 16+3@1 -> t1 16@1"}},
       {"verify.undefined"}},
      {"context before append",
       {{"attend kv0 append 50@1 38@1", "attend kv0 context 42@1 -> 54@1"},
        {"attend kv0 context 42@1 -> 54@1\nmove t0 58+4@1 -> t1 58@1",
         "attend kv0 append 50@1 38@1\nmove t0 58+4@1 -> t1 58@1"}},
       {"verify.row-value"}},
      {"heads exchanged",
       {{"vec t0 rope n4 26@1 -> 42@1 k2", "vec t0 rope n4 26@1 -> 46@1 k2"},
        {"vec t1 rope n4 30@1 -> 46@1 k2", "vec t1 rope n4 30@1 -> 42@1 k2"},
        {"move t1 46+4@1 -> t0 46@1", "move t1 42+4@1 -> t0 42@1"}},
       {"verify.row-value"}},
      {"mvm run twice with add",
       {{"mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0",
         "mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0\nmvm a1 r0+2 c2+6 96@1 -> 104@1 add k0"}},
       {"verify.coverage", "verify.row-value"}},
      {"move source off by one", {{"move t0 64+1@1 -> t1 64@1", "move t0 63+1@1 -> t1 64@1"}}, {"verify.undefined"}},
      {"mvm source off by one",
       {{"mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k0", "mvm a0 r4+4 c0+4 87@1 -> 96*2@1 set k0"}},
       {"verify.row-value"}},
      {"key without rope", {{"attend kv0 append 50@1 38@1", "attend kv0 append 34@1 38@1"}}, {"verify.row-value"}},
      {"key and value exchanged",
       {{"attend kv0 append 50@1 38@1", "attend kv0 append 38@1 50@1"}},
       {"verify.row-value"}},
      {"partial sum of a norm left out", {{"vec t0 add n2 0@1 2@1 -> 0@1 k0", ""}}, {"verify.row-value"}},
      {"other gain",
       {{"vec t0 norm n4 74@1 86@1 360 -> 88@1 k1", "vec t0 norm n4 74@1 86@1 352 -> 88@1 k1"}},
       {"verify.row-value"}},
      {"residual from the normed vector",
       {{"vec t0 add n4 368@2 66@1 -> 74@1 k0", "vec t0 add n4 6@1 66@1 -> 74@1 k0"}},
       {"verify.row-value"}},
      {"gelu for silu",
       {{"vec t0 silu n6 104@1 -> 128@1 k0", "vec t0 gelu n6 104@1 -> 128@1 k0"}},
       {"verify.row-value"}},
      {"gate and up exchanged",
       {{"vec t0 silu n6 104@1 -> 128@1 k0", "vec t0 silu n6 116@1 -> 128@1 k0"},
        {"vec t0 mul n6 128@1 116@1 -> 140@1 k0", "vec t0 mul n6 128@1 104@1 -> 140@1 k0"}},
       {"verify.row-value"}},
      {"slot address without its register",
       {{"mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k0", "mvm a0 r4+4 c0+4 88 -> 96*2@1 set k0"}},
       {"verify.row-value"}},
      {"residual left out after the last mvm",
       {{"vec t0 add n4 74@1 156@1 -> 384@2 k0", "vec t0 add n4 156@1 156@1 -> 384@2 k0"}},
       {"verify.output"}},
      {"patch on another patch",
       {{"patch a0 4,4 2x4 o.L in 0 out 0", "patch a0 4,3 2x4 o.L in 0 out 0"}},
       {"verify.overlap"}},
      {"input map of the wrong block",
       {{"patch a0 4,4 2x4 o.L in 0 out 0", "patch a0 4,4 2x4 o.L in 2 out 0"}},
       {"verify.image"}},
      {"missing array",
       {{"mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k0", "mvm a4 r4+4 c0+4 88@1 -> 96*2@1 set k0"}},
       {"verify.bounds"}},
      {"address past the end",
       {{"mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k0", "mvm a0 r4+4 c0+4 88@1 -> 396*2@1 set k0"}},
       {"verify.bounds"}},
      {"address past the end in the last token only",
       {{"vec t1 add n4 78@1 160@1 -> 388@2 k0", "vec t1 add n4 78@1 160@1 -> 389@2 k0"}},
       {"verify.bounds"}},
      {"wrong configuration of an mvm",
       {{"mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k0", "mvm a0 r4+4 c0+4 88@1 -> 96*2@1 set k1"}},
       {"verify.config"}},
      {"wrong configuration of a norm",
       {{"vec t0 norm n4 74@1 86@1 360 -> 88@1 k1", "vec t0 norm n4 74@1 86@1 360 -> 88@1 k2"}},
       {"verify.config"}},
      {"mvm executed twice",
       {{"mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0",
         "mvm a1 r0+2 c2+6 96@1 -> 104@1 set k0\nmvm a1 r0+2 c2+6 96@1 -> 104@1 set k0"}},
       {"verify.dead", "verify.coverage"}},
      {"move executed twice",
       {{"move t1 46+4@1 -> t0 46@1", "move t1 46+4@1 -> t0 46@1\nmove t1 46+4@1 -> t0 46@1"}},
       {"verify.dead"}},
      {"move one element too long", {{"move t1 2+2@1 -> t0 2@1", "move t1 2+3@1 -> t0 2@1"}}, {"verify.undefined"}},
      {"move one element too long, of something that exists",
       {{"move t0 58+4@1 -> t1 58@1", "move t0 57+5@1 -> t1 57@1"}},
       {"verify.dead"}},
      {"a driven row that no read column needs",
       {{"mvm a1 r4+2 c6+2 18@1 -> 34@1 set k0", "mvm a1 r3+3 c6+2 17@1 -> 34@1 set k0"}},
       {"verify.isolation"}},
      {"a driven row without weights in the read columns",
       {{"mvm a1 r6+2 c0+2 22@1 -> 38@1 set k0", "mvm a1 r6+3 c0+2 22@1 -> 38@1 set k0"}},
       {"verify.row-value"}},
      {"loop not closed", {{"end", ""}}, {"verify.loop"}},
      {"no halt", {{"halt", ""}}, {"verify.loop"}},
      {"loops nested", {{"attend kv0 append 50@1 38@1", "rep 2\nattend kv0 append 50@1 38@1\nend"}}, {"verify.loop"}},
      {"one token more than the KV region holds",
       {{"rep 2 b1+176%352 b2+8", "rep 3 b1+176%352 b2+8"}},
       {"verify.bounds"}},
      {"outputs of two tokens overlap", {{"rep 2 b1+176%352 b2+8", "rep 2 b1+176%352 b2+3"}}, {"verify.intent"}},
      {"half of an output has no place", {{"at y 4+4 t1 388@2", ""}}, {"verify.intent"}},
      {"a gain is missing", {{"const g1 4+4 t1 356", ""}}, {"verify.intent"}},
      {"a KV region that is too small",
       {{"kv 0 tile 0 queries 2 size 4 capacity 2 start 0", "kv 0 tile 0 queries 2 size 4 capacity 1 start 0"}},
       {"verify.capacity"}},
      {"an ADC of too many bits",
       {{"cfg 0 mvm dac 8 adc 8 lossless", "cfg 0 mvm dac 8 adc 37 lossless"}},
       {"verify.adc-range"}},
      {"a weight without a cell",
       {{"patch a0 4,4 2x4 o.L in 0 out 0", "patch a0 4,4 2x3 o.L in 0 out 0"}},
       {"verify.idle-column", "verify.coverage"}},
      {"a row without a cell",
       {{"patch a0 0,6 4x2 o.R in 0 out 0*2", "patch a0 0,6 3x2 o.R in 0 out 0*2"}},
       {"verify.idle-row", "verify.coverage"}},
  };
  for (const Damage& damage : damages) {
    INFO(std::string(damage.name));
    const VerifyReport report = verify(parse(damaged(damage)), {.most_errors = 100});
    INFO(described(report));
    CHECK_FALSE(report.ok());
    std::set<std::string> found;
    for (const Error& error : report.errors) {
      found.insert(error.id);
      CHECK(error.failure == Failure::check);
    }
    for (const std::string& id : damage.expected) CHECK_MESSAGE(found.contains(id), id, " is missing");
  }
}
