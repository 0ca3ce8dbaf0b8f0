// Bounds counted by hand, where a mapping reaches them exactly, and that each of their terms can be the one that binds.
#include "danaus/pipeline/bound.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "danaus/model/builder.h"
#include "danaus/pipeline/run.h"
#include "small_example.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

MapResult result_of(const std::string& map, const chip::Chip& chip, compile::Mode mode = compile::Mode::decode,
                    std::uint32_t tokens = 1) {
  RunOptions options = small_blocks();
  options.maps = {map};
  options.emit.mode = mode;
  options.emit.tokens = tokens;
  options.emit.slots = std::min(tokens, 8u);
  return run(tiny(), chip, options, no_progress()).value().results[0];
}

Demand demand_for(const std::string& map, const chip::Chip& chip) {
  return demand_of(compile_model(tiny(), chip, map, small_blocks(), no_progress()).value());
}

}  // namespace

TEST_CASE("bound: dense operators, one array for each m x m tile") {
  const chip::Chip chip = small_chip();
  const MapResult linear = result_of("linear", chip);
  CHECK(linear.bound.arrays == 10);  // 4 * 256 + 3 * 512 weights in 256 cells
  CHECK(linear.arrays == 10);
  // Three sections, the last with gate and up, then down. On 10 arrays there are 40 converters: q k v have 48 columns,
  // two rounds; o 16; gate and up 64, two rounds; down 16 columns two arrays high, 32 conversions. A chain of four
  // activations of one round takes 4 * 11, and one more round for q k v and for gate and up.
  CHECK(linear.bound.linear_latency_ns == 4 * 11 + 1 + 1);
  CHECK(linear.linear_latency_ns == 4 * 14);
}

TEST_CASE("bound: dense operators dealt over all arrays reach theirs") {
  // As many converters as conversions of any stage: every stage takes one round on any chip.
  const chip::Chip chip = small_chip({{"adc.per_array", "16"}});
  const MapResult linear = result_of("linear", chip);
  CHECK(linear.linear_latency_ns == 4 * 11);
  CHECK(linear.bound.linear_latency_ns == 4 * 11);
  CHECK(linear.latency_ns == linear.bound.latency_ns);  // nothing else takes time on this chip
  CHECK(linear.throughput_tokens_per_s == doctest::Approx(linear.bound.throughput_tokens_per_s));
}

TEST_CASE("bound: a way, the rounds of a stage, or all conversions of a section") {
  const chip::Chip chip = small_chip();
  const Demand demand = demand_for("sparse", chip);
  const auto least = [&](std::uint32_t arrays, const chip::Chip& on) {
    return least_time(demand, on, {.arrays = arrays, .tiles = 1, .chips = 1}, true);
  };
  // 48, 48, 16, 16 conversions up to the second norm, 32, 64 (gate and up: 2 * 16, 2 * 32) and 16, 16 after it.
  // Enough converters: eight activations of one round.
  CHECK(least(1000, chip) == 8 * 11'000);
  // 12 arrays, 48 converters: one more round for the 64 columns.
  CHECK(least(12, chip) == 8 * 11'000 + 1000);
  // One array: 128 conversions on 4 converters are 32 rounds, of a section that drives inputs at least twice; the way
  // with 12 rounds of q k v is 4 * 11 + 11 = 55. Then 128 conversions and 2 * 10 again, or 4 * 11 + 15 = 59.
  CHECK(least(1, chip) == 55'000 + 59'000);
  // Stage by stage on one array: 12, 12, 4, 4, 8, 16, 4, 4 rounds.
  CHECK(stage_by_stage(demand, chip, {.arrays = 1, .tiles = 1, .chips = 1}) == (8 * 10 + 64) * 1000);
  CHECK(stage_by_stage(demand, chip, {.arrays = 1000, .tiles = 1, .chips = 1}) == 8 * 11'000);
  // A round of 10 ns: 32 rounds and two times 10 ns, twice.
  CHECK(least(1, small_chip({{"adc.time_ns", "10"}})) == 2 * (320'000 + 20'000));
}

TEST_CASE("bound: what reads the same value in different sections, and one of several experts") {
  model::Shape shape;
  shape.name = "mixture";
  model::GraphBuilder builder(shape, std::nullopt);
  const ConfigId norm = builder.config({.kind = Config::Kind::norm, .n = 8, .epsilon = 1e-5});
  const ConfigId route = builder.config({.kind = Config::Kind::route, .k = 1});
  const NodeId x = builder.input("x", 8);
  const NodeId inner = builder.norm("n", x, norm, "gain");
  const NodeId gates = builder.route("route", builder.linear("r", "r.weight", inner, 2), route);
  NodeId sum = builder.combine(NodeKind::add, "shared.add", x, builder.linear("shared", "s.weight", inner, 8));
  for (const std::uint32_t expert : {0u, 1u}) {
    builder.set_guard(gates, expert);
    const std::string name = "e" + std::to_string(expert);
    sum = builder.blend(name + ".blend", sum, builder.linear(name, name + ".weight", inner, 8));
    builder.clear_guard();
  }
  builder.output(builder.norm("out", sum, norm, "gain2"));
  const model::Model model = std::move(builder).finish().value();
  const chip::Chip chip = small_chip();
  const Demand demand = demand_of(compile_model(model, chip, "linear", {}, no_progress()).value());
  const auto least = [&](const chip::Chip& on) {
    return least_time(demand, on, {.arrays = 1, .tiles = 1, .chips = 1}, true);
  };
  // The router's 2 columns on 4 converters: one round. Then an expert of one round at least; the shared operator's
  // 8 columns do not belong to the router's section.
  CHECK(least(chip) == 2 * 11'000);
  // Rounds of 100 ns: after the router 8 columns of the shared operator and 8 of one expert are 4 rounds. They may
  // begin with the router, so 10 ns of inputs come before all, not before each.
  CHECK(least(small_chip({{"adc.time_ns", "100"}})) == 410'000);
}

TEST_CASE("bound: tokens that follow each other") {
  // A slow converter: each of 10 arrays has an activation of 10 + 4 * 20 ns for every token, and nothing less would do.
  const chip::Chip chip = small_chip({{"adc.time_ns", "20"}});
  const std::uint32_t tokens = 50;
  const MapResult linear = result_of("linear", chip, compile::Mode::prefill, tokens);
  const double busy_ns = tokens * (10 + 4 * 20.0);
  CHECK(linear.bound.linear_latency_ns == doctest::Approx(busy_ns).epsilon(1e-9));
  CHECK(linear.bound.throughput_tokens_per_s == doctest::Approx(1e9 * tokens / busy_ns).epsilon(1e-9));
  // The pipeline fills and drains: four activations of which one is among those counted.
  CHECK(linear.linear_latency_ns == busy_ns + 3 * (10 + 4 * 20.0));
}

TEST_CASE("bound: digital work and attention") {
  const chip::Chip chip = small_chip({{"adc.per_array", "16"},
                                      {"digital.add_ns", "3"},
                                      {"digital.moments_ns", "1"},
                                      {"digital.stat_ns", "2"},
                                      {"digital.norm_ns", "4"},
                                      {"attention.softmax_ns", "100"}});
  const Bound bound = result_of("linear", chip).bound;
  CHECK(bound.linear_latency_ns == 44);
  // Two residual adds, three norms (the last of the model), one attention.
  CHECK(bound.latency_ns == 44 + 2 * 3 + 3 * 7 + 100);
}

TEST_CASE("bound: energy of dense operators is what any mapping takes") {
  const chip::Chip chip =
      small_chip({{"adc.energy", "2"}, {"input.row_energy_pj", "3"}, {"array.cell_energy_pj", "0.5"}});
  const MapResult linear = result_of("linear", chip);
  // 160 columns, 2560 cells; rows: q, k, v, o, gate and up take 16 a tile, 16 tiles columns in all: 10 arrays of 16.
  CHECK(linear.bound.energy_nj * 1000 == doctest::Approx(160 * 2 + 160 * 3 + 2560 * 0.5));
  CHECK(linear.timing.energy.total() == doctest::Approx(linear.bound.energy_nj * 1000));
}
