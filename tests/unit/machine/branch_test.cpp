// Branches: what they cost is what is executed, after the sequencer knows the gate.

#include <array>

#include "danaus/machine/experts.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

/// Per token: router, choice of one of two experts, one expert's product, scale and add.
std::string mixture_text(std::string_view loop) {
  return "danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 2 tile 2 buffer 100\n"
         "cfg 0 mvm dac 8 adc 8 lossless\ncfg 1 route k 1\ninput x 2\nnode r linear x 2x2 dense\n"
         "node g route r cfg 1\nnode e0 linear x 2x2 dense when g 0\nnode b0 blend x e0 when g 0\n"
         "node e1 linear x 2x2 dense when g 1\nnode b1 blend b0 e1 when g 1\noutput b1\n"
         "at x 0+2 t0 0@2\nat b1 0+2 t0 4@2\n"
         "patch a0 0,0 2x2 r.W in 0 out 0\npatch a0 0,2 2x2 e0.W in 0 out 0\npatch a1 0,0 2x2 e1.W in 0 out 0\n"
         "code\n" +
         std::string(loop) +
         "\nmvm a0 r0+2 c0+2 0@2 -> 72 set k0\nvec t0 route n2 72 -> 74 k1\nmove t0 0+2@2 -> t0 4@2\n"
         "when t0 74 node 2 element 0\nmvm a0 r0+2 c2+2 0@2 -> 76 set k0\nvec t0 scale n2 76 74 -> 78 k0\n"
         "vec t0 add n2 4@2 78 -> 4@2 k0\nend\n"
         "when t0 75 node 2 element 1\nmvm a1 r0+2 c0 0@2 -> 76 set k0\nmvm a1 r0+2 c1 0@2 -> 77 set k0\nvec t0 scale "
         "n2 76 75 -> 78 k0\n"
         "vec t0 add n2 4@2 78 -> 4@2 k0\nend\nend\nhalt\n";
}

TEST_CASE("a branch waits for its gate and costs nothing where it is skipped") {
  const chip::Chip chip = small_chip(
      {{"digital.route_ns", "5"}, {"digital.mul_ns", "3"}, {"digital.add_ns", "2"}, {"digital.route_pj", "7"}});
  const program::Program program = parse_good(mixture_text("rep 1 serial"));
  // Router 10 + 1 round, choice 5, expert 0 the same 11 (expert 1 column by column: 22), scale 3, add 2.
  const Timing first = simulate_good(program, chip, {.routing = {.first = 0}, .trace = {}});
  CHECK(first.total == 32 * kNs);
  CHECK(first.counts.activations == 2);
  CHECK(first.counts.conversions == 4);
  CHECK(first.counts.commands == 6);  // mvm, route, move, mvm, scale, add
  CHECK(first.energy.digital == 2 * 7);
  const Timing second = simulate_good(program, chip, {.routing = {.first = 1}, .trace = {}});
  CHECK(second.total == 43 * kNs);
  CHECK(second.counts.activations == 3);
  CHECK(second.counts.conversions == 4);
}

TEST_CASE("counts of a loop are those of the tokens that take the branch") {
  const chip::Chip chip = small_chip({{"digital.route_ns", "5"}});
  const program::Program program = parse_good(mixture_text("rep 7 serial b2+8"));
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    Experts experts(program.intent, {.seed = seed, .first = {}});
    std::uint64_t taken = 0;
    for (std::uint32_t token = 0; token < 7; ++token) {
      CHECK(experts.is_chosen(NodeId{2}, token, 0) != experts.is_chosen(NodeId{2}, token, 1));
      taken += experts.is_chosen(NodeId{2}, token, 1) ? 1 : 0;
    }
    std::uint64_t executed = 0;
    SimulateOptions options;
    options.routing.seed = seed;
    options.trace = [&](const Event& event) {
      const program::Command command = program::decode_unchecked(program.code[event.command]);
      executed += std::holds_alternative<program::Mvm>(command) ? 1 : 0;
    };
    const Timing timing = simulate_good(program, chip, options);
    CHECK(executed == 14 + taken);
    CHECK(timing.counts.activations == 14 + taken);
    CHECK(timing.counts.conversions == 7 * 4);
    CHECK(timing.total == (7 * (11 + 5 + 11) + 11 * taken) * kNs);
  }
}

TEST_CASE("experts are drawn k at a time, all equally often, by token and router") {
  Graph graph;
  Node logits;
  logits.size = 8;
  Node route;
  route.kind = NodeKind::route;
  route.size = 8;
  route.configs[0] = ConfigId{1};
  graph.nodes = {logits, route};
  Config config;
  config.kind = Config::Kind::route;
  config.k = 2;
  graph.configs.push_back(config);
  Experts experts(graph, {.seed = 5, .first = {}});
  constexpr std::uint32_t kTokens = 40'000;
  std::array<std::uint32_t, 8> chosen{};
  for (std::uint32_t token = 0; token < kTokens; ++token) {
    std::uint32_t together = 0;
    for (std::uint32_t e = 0; e < 8; ++e) {
      const bool is_chosen = experts.is_chosen(NodeId{1}, token, e);
      chosen[e] += is_chosen ? 1 : 0;
      together += is_chosen ? 1 : 0;
    }
    REQUIRE(together == 2);
  }
  // A quarter each; five standard deviations of a binomial are 433.
  for (const std::uint32_t count : chosen) CHECK(std::abs(static_cast<int>(count) - 10'000) < 433);
  Experts fixed(graph, {.seed = 5, .first = 7});
  CHECK(fixed.is_chosen(NodeId{1}, 3, 7));
  CHECK(fixed.is_chosen(NodeId{1}, 9, 0));
  CHECK_FALSE(fixed.is_chosen(NodeId{1}, 9, 1));
}

TEST_CASE("a branch writes the pass of its expert only where a token takes it") {
  // One array on the chip: router and expert 0 are the first pass, expert 1 is the second.
  const chip::Chip chip = small_chip({{"chip.arrays", "1"}, {"program.iterations", "1"}, {"program.pulse_ns", "5"}});
  const auto in_passes = [](std::string_view loop) {
    program::Program program = parse_good(mixture_text(loop));
    program.chip.arrays_per_chip = 1;
    return program;
  };
  const program::Program one = in_passes("rep 1 serial");
  CHECK(simulate_good(one, chip, {.routing = {.first = 0}, .trace = {}}).reload.writes == 0);
  const Reload both = simulate_good(one, chip, {.routing = {.first = 1}, .trace = {}}).reload;
  CHECK(both.writes == 2);
  CHECK(both.time == 2 * 8 * 5 * kNs);
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const program::Program seven = in_passes("rep 7 serial b2+8");
    Experts experts(seven.intent, {.seed = seed, .first = {}});
    std::uint64_t taken = 0;
    for (std::uint32_t token = 0; token < 7; ++token) taken += experts.is_chosen(NodeId{2}, token, 1) ? 1 : 0;
    REQUIRE(taken > 0);
    const SimulateOptions options{.routing = {.seed = seed, .first = {}}, .trace = {}};
    CHECK(simulate_good(seven, chip, options).reload.writes == 2 * taken);  // there and back for each such token
    CHECK(simulate_good(in_passes("rep 7 b2+8"), chip, options).reload.writes == 2);
  }
}

}  // namespace
}  // namespace danaus::machine
