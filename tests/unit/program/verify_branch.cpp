// A mixture of two experts, by hand: the program verifies, damage to its branches is found, and values are right.
#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "danaus/program/interpreter_float.h"
#include "danaus/program/verify.h"
#include "verify_example.h"

namespace danaus::program {
namespace {

/// y = x + gate_e * W_e x for the one expert e with the larger logit; tokens 8 elements apart in the stream.
std::string mixture_text() {
  return R"(danaus program 1
chip rows 8 cols 8 adcs 2 arrays 1 tile 2 buffer 48
cfg 0 mvm dac 8 adc 8 lossless
cfg 1 route k 1
input x 2
node r linear x 2x2 dense
node g route r cfg 1
node e0 linear x 2x2 dense when g 0
node b0 blend x e0 when g 0
node e1 linear x 2x2 dense when g 1
node b1 blend b0 e1 when g 1
output b1
at x 0+2 t0 0@2
at b1 0+2 t0 4@2
patch a0 0,0 2x2 r.W in 0 out 0
patch a0 0,2 2x2 e0.W in 0 out 0
patch a0 0,4 2x2 e1.W in 0 out 0
code
rep 4 serial b2+8
mvm a0 r0+2 c0+2 0@2 -> 32 set k0
vec t0 route n2 32 -> 34 k1
move t0 0+2@2 -> t0 4@2
when t0 34 node 2 element 0
mvm a0 r0+2 c2+2 0@2 -> 36 set k0
vec t0 scale n2 36 34 -> 38 k0
vec t0 add n2 4@2 38 -> 4@2 k0
end
when t0 35 node 2 element 1
mvm a0 r0+2 c4+2 0@2 -> 36 set k0
vec t0 scale n2 36 35 -> 38 k0
vec t0 add n2 4@2 38 -> 4@2 k0
end
end
halt
)";
}

std::set<std::string> ids_of(const Program& program) {
  std::set<std::string> ids;
  for (const Error& error : verify(program).errors) ids.insert(std::string(error.id));
  return ids;
}

TEST_CASE("a mixture of experts verifies and computes the chosen expert") {
  const Program program = parse(mixture_text());
  CHECK(ids_of(program) == std::set<std::string>{});
  CHECK(to_text(program) == mixture_text());
  CHECK(parse_binary(to_binary(program), "p").value() == program);
  // Router: the identity; expert e: (e + 1) times the identity. Tokens (3, 1), (1, 3), (2, 2), (0, 5).
  const std::vector<std::vector<double>> x = {{3, 1}, {1, 3}, {2, 2}, {0, 5}};
  const FloatSource source = {
      .weight = [](NodeId node, std::uint32_t, std::uint32_t in,
                   std::uint32_t out) { return in == out ? (index(node) == 5 ? 2.0 : 1.0) : 0.0; },
      .constant = [](std::string_view, std::uint32_t) { return 0.0; },
      .input = [&](NodeId, std::uint32_t token, std::uint32_t e) { return x[token][e]; },
      .prior = [](KvId, bool, std::uint32_t, std::uint32_t) { return 0.0; }};
  const Result<std::vector<std::vector<double>>> y = execute(program, source);
  REQUIRE(y.has_value());
  // One gate of one is 1. Equal logits: the first expert.
  CHECK(*y == std::vector<std::vector<double>>{{6, 2}, {3, 9}, {4, 4}, {0, 15}});
}

TEST_CASE("gates are a softmax over the largest logits") {
  const std::vector<double> logits = {0.5, 2, -1, 1};
  std::vector<double> gates(4);
  Config config;
  config.kind = Config::Kind::route;
  config.k = 2;
  FloatArithmetic().route(config, 0, logits, gates);
  CHECK(gates[0] == 0);
  CHECK(gates[2] == 0);
  CHECK(gates[1] == doctest::Approx(1 / (1 + std::exp(-1.0))).epsilon(1e-15));  // 0.731
  CHECK(gates[1] + gates[3] == doctest::Approx(1).epsilon(1e-15));
}

TEST_CASE("damage to branches is found") {
  struct Damage {
    std::string_view from, to;
    std::string id;
  };
  const std::vector<Damage> damages = {
      {"when t0 34 node 2 element 0", "when t0 35 node 2 element 0", "verify.guard"},  // the other gate
      {"when t0 34 node 2 element 0", "when t0 34 node 2 element 1", "verify.guard"},  // another expert's branch
      {"when t0 34 node 2 element 0", "when t0 34 node 2 element 2", "verify.guard"},  // no such gate
      {"when t0 34 node 2 element 0", "when t0 34 node 1 element 0", "verify.guard"},  // no route
      {"when t0 34 node 2 element 0", "when t0 48 node 2 element 0", "verify.bounds"},
      {"when t0 34 node 2 element 0", "when t1 34 node 2 element 0", "verify.bounds"},
      {"when t0 35 node 2 element 1", "vec t0 add n1 34 35 -> 40 k0", "verify.loop"},  // its `end` ends the loop
      {"vec t0 scale n2 36 34 -> 38 k0", "vec t0 scale n2 36 35 -> 38 k0", "verify.output"},
      {"move t0 0+2@2 -> t0 4@2", "vec t0 add n2 0@2 0@2 -> 4@2 k0", "verify.output"},
      {"cfg 1 route k 1", "cfg 1 route k 2", ""},  // the same program for two experts a token
  };
  for (const Damage& damage : damages) {
    CAPTURE(damage.from);
    CAPTURE(damage.to);
    const std::set<std::string> ids = ids_of(parse(with_line(mixture_text(), damage.from, damage.to)));
    if (damage.id.empty())
      CHECK(ids == std::set<std::string>{});
    else
      CHECK(ids.contains(damage.id));
  }
}

TEST_CASE("branches do not depend on each other, whichever gates the proof opens") {
  const std::string once = with_line(mixture_text(), "rep 4 serial b2+8", "rep 1 serial b2+8");
  const std::string_view copy = "move t0 0+2@2 -> t0 4@2", first = "when t0 34 node 2 element 0",
                         second = "when t0 35 node 2 element 1", e0 = "mvm a0 r0+2 c2+2 0@2 -> 36 set k0",
                         e1 = "mvm a0 r0+2 c4+2 0@2 -> 36 set k0";
  // Both experts use a copy that only the first one's branch makes.
  std::string shared = with_line(once, e0, "move t0 0+2@2 -> t0 40\nmvm a0 r0+2 c2+2 40 -> 36 set k0");
  shared = with_line(shared, e1, "mvm a0 r0+2 c4+2 40 -> 36 set k0");
  // What the experts are added to is copied in one of the branches.
  std::string in_first = with_line(once, copy, "");
  in_first = with_line(in_first, first, std::string(first) + "\n" + std::string(copy));
  // The same where something else lay before.
  const std::string over_old = with_line(in_first, "vec t0 route n2 32 -> 34 k1",
                                         "move t0 32+2 -> t0 4@2\nmove t0 4+2@2 -> t0 32\nvec t0 route n2 32 -> 34 k1");
  for (const std::string& text : {shared, in_first, over_old}) {
    for (const std::uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u})
      CHECK_FALSE(verify(parse(text), {.seed = seed}).ok());
  }
  // A copy for both that is made outside is fine, although one of them may not use it.
  std::string outside = with_line(once, copy, std::string(copy) + "\nmove t0 0+2@2 -> t0 40");
  outside = with_line(outside, e1, "mvm a0 r0+2 c4+2 40 -> 36 set k0");
  CHECK(verify(parse(outside)).ok());
  CHECK(verify(parse(with_line(outside, second, second))).ok());
}

TEST_CASE("a branch of no gate, and an output that is not always there, are errors and nothing worse") {
  CHECK(ids_of(parse(with_line(mixture_text(), "when t0 35 node 2 element 1", "when t0 35 node 16777215 element 1")))
            .contains("verify.guard"));
  std::string output = with_line(mixture_text(), "output b1", "output e0");
  output = with_line(output, "at b1 0+2 t0 4@2", "at e0 0+2 t0 4@2");
  const Result<Program> refused = parse_text(output, "p");
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().id == "graph.execution");
}

TEST_CASE("an operator without a guard has no place in a branch, one with a guard none outside") {
  std::string always = mixture_text();
  for (const std::string_view line : {"when t0 34 node 2 element 0\n"}) always.erase(always.find(line), line.size());
  const std::size_t end = always.find("end\n");
  always.erase(end, 4);
  CHECK(ids_of(parse(always)).contains("verify.guard"));
}

TEST_CASE("guards and idle nodes of the intent are consistent") {
  const auto refused = [](std::string_view from, std::string_view to) {
    const Result<Program> program = parse_text(with_line(mixture_text(), from, to), "p");
    REQUIRE_FALSE(program.has_value());
    return program.error();
  };
  for (const auto& [from, to] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"node e0 linear x 2x2 dense when g 0", "node e0 linear x 2x2 dense when g 1"},
           {"node b0 blend x e0 when g 0", "node b0 blend x e0"},             // a blend of every token
           {"node b0 blend x e0 when g 0", "node b0 blend x e0 when g 1"},    // of another expert's tokens
           {"node b0 blend x e0 when g 0", "node b0 blend e0 e0 when g 0"},   // based on what may not exist
           {"node b1 blend b0 e1 when g 1", "node b1 blend b0 e1 when r 1"},  // no route
           {"node b1 blend b0 e1 when g 1", "node b1 blend b0 e1 when g 2"},  // no such gate
           {"node r linear x 2x2 dense", "node r linear x 2x2 dense idle"},   // g uses it
           {"input x 2", "input x 2 idle"}}) {
    CAPTURE(to);
    CHECK(refused(from, to).id == "graph.execution");
  }
  CHECK(refused("node g route r cfg 1", "node g route r cfg 0").id == "graph.config");
  CHECK(refused("cfg 1 route k 1", "cfg 1 route k 3").id == "graph.size");
  CHECK(refused("cfg 1 route k 1", "cfg 1 route k 0").id == "program.range");
}

TEST_CASE("branches do not nest and contain no loop") {
  const std::string_view first = "when t0 34 node 2 element 0";
  const std::string twice = std::string(first) + "\n" + std::string(first);
  CHECK(ids_of(parse(with_line(mixture_text(), first, twice))).contains("verify.loop"));
  CHECK(ids_of(parse(with_line(mixture_text(), "vec t0 scale n2 36 34 -> 38 k0", "rep 2"))).contains("verify.loop"));
  CHECK(ids_of(parse(with_line(mixture_text(), "halt", "when t0 34 node 2 element 0\nhalt"))).contains("verify.loop"));
}

TEST_CASE("keys and values of another token stream are proved, and idle weights are not read") {
  // The encoder's half: key and value of x are appended; the decoder's query and context are idle.
  const std::string encoder = R"(danaus program 1
chip rows 8 cols 8 adcs 2 arrays 1 tile 2 buffer 48
cfg 0 mvm dac 8 adc 8 lossless
kv 0 tile 0 queries 1 size 2 capacity 3 start 0
input x 2
node k linear x 2x2 dense
node v linear x 2x2 dense
input y 2 idle
node q linear y 2x2 dense idle
node c attend q k v kv 0 other idle
output c
at x 0+2 t0 0@2
patch a0 0,0 2x2 k.W in 0 out 0
patch a0 0,2 2x2 v.W in 0 out 0
patch a0 0,4 2x2 q.W in 0 out 0
code
rep 3 serial b2+8
mvm a0 r0+2 c0+2 0@2 -> 32 set k0
mvm a0 r0+2 c2+2 0@2 -> 34 set k0
attend kv0 append 32 34
end
halt
)";
  const Program program = parse(encoder);
  CHECK(ids_of(program) == std::set<std::string>{});
  CHECK(to_text(program) == encoder);
  CHECK(parse_binary(to_binary(program), "p").value() == program);
  CHECK(ids_of(parse(with_line(encoder, "attend kv0 append 32 34", "attend kv0 append 34 32"))) ==
        std::set<std::string>{"verify.output"});
  CHECK(ids_of(parse(with_line(encoder, "mvm a0 r0+2 c2+2 0@2 -> 34 set k0", "mvm a0 r0+2 c4+2 0@2 -> 34 set k0")))
            .contains("verify.coverage"));
  // Entries that no node appends, and idle weights that lie nowhere.
  CHECK(ids_of(parse(with_line(encoder, "attend kv0 append 32 34", "attend kv0 append 32 34\nattend kv0 append 32 34")))
            .contains("verify.intent"));
  CHECK(ids_of(parse(with_line(encoder, "patch a0 0,4 2x2 q.W in 0 out 0", ""))) ==
        std::set<std::string>{"verify.coverage"});
  CHECK(ids_of(parse(with_line(encoder, "patch a0 0,4 2x2 q.W in 0 out 0", "patch a0 0,4 2x1 q.W in 0 out 0"))) ==
        std::set<std::string>{"verify.coverage"});
  // The decoder's half: the context is computed from the entries that are there.
  std::string decoder = encoder;
  for (const auto& [from, to] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"kv 0 tile 0 queries 1 size 2 capacity 3 start 0", "kv 0 tile 0 queries 1 size 2 capacity 3 start 3"},
           {"input x 2", "input x 2 idle"},
           {"node k linear x 2x2 dense", "node k linear x 2x2 dense idle"},
           {"node v linear x 2x2 dense", "node v linear x 2x2 dense idle"},
           {"input y 2 idle", "input y 2"},
           {"node q linear y 2x2 dense idle", "node q linear y 2x2 dense"},
           {"node c attend q k v kv 0 other idle", "node c attend q k v kv 0 other"},
           {"at x 0+2 t0 0@2", "at y 0+2 t0 0@2\nat c 0+2 t0 4@2"},
           {"mvm a0 r0+2 c0+2 0@2 -> 32 set k0", "mvm a0 r0+2 c4+2 0@2 -> 32 set k0"},
           {"mvm a0 r0+2 c2+2 0@2 -> 34 set k0", "attend kv0 context 32 -> 4@2"}})
    decoder = with_line(decoder, from, to);
  const std::string with_append = decoder;
  decoder.erase(decoder.find("attend kv0 append 32 34\n"), std::string_view("attend kv0 append 32 34\n").size());
  CHECK(ids_of(parse(decoder)) == std::set<std::string>{});
  CHECK_FALSE(ids_of(parse(with_append)).empty());  // an entry of its own: too many for the region
  CHECK(ids_of(parse(with_line(decoder, "kv 0 tile 0 queries 1 size 2 capacity 3 start 3",
                               "kv 0 tile 0 queries 1 size 2 capacity 3 start 0"))) ==
        std::set<std::string>{"verify.intent"});
  // Both halves in one program would mix two token streams.
  std::string both = with_append;
  for (const std::string_view node : {"input x 2", "node k linear x 2x2 dense", "node v linear x 2x2 dense"})
    both = with_line(both, std::string(node) + " idle", node);
  CHECK(ids_of(parse(both)).contains("verify.intent"));
}

}  // namespace
}  // namespace danaus::program
