#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "danaus/pipeline/run.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

const std::string kTiny = DANAUS_SOURCE_DIR "/tests/golden/tiny.toml";

model::Model tiny() { return model::load(kTiny).value(); }

chip::Chip small_chip() {
  return chip::load("unit", {{"array.rows", "16"}, {"array.cols", "16"}, {"adc.per_array", "4"}}).value();
}

RunOptions small_blocks() {
  RunOptions options;
  options.policy.blocks = "4";
  return options;
}

}  // namespace

TEST_CASE("run: the figures of a model small enough to count by hand") {
  // 16 wide: q, k, v, o of 16x16 and gate, up, down of 32x16 and 16x32 on 16x16 arrays with 4 ADCs.
  const RunResult result = run(tiny(), small_chip(), small_blocks(), no_progress()).value();
  REQUIRE(result.results.size() == 3);
  CHECK(result.operators == 7);
  CHECK(result.dense_parameters == 4 * 256 + 3 * 512);
  CHECK(result.kv == 8);

  const MapResult& linear = result.results[0];
  CHECK(linear.structure == "dense");
  CHECK(linear.arrays == 4 + 3 * 2);
  CHECK(linear.activations == 10);
  CHECK(linear.conversions == 10 * 16);
  CHECK(linear.utilisation == 1.0);
  CHECK(linear.linear_latency_ns == 4 * (10 + 4));  // q k v, o, gate up, down: a settle and 16 / 4 rounds each
  CHECK(linear.adc_rounds == 4 * 4);

  const MapResult& sparse = result.results[1];
  CHECK(sparse.blocks == "4x4:1");
  // Parameters k*l*s + l*k*p: 4*16 + 4*16 for a square, 4*16 + 4*32 for the others.
  CHECK(sparse.parameters == 4 * 128 + 3 * 192);
  CHECK(sparse.conversions == 4 * (16 + 16) + 2 * (16 + 32) + (16 + 16));
  // Two stages each; R of down has 8x4 blocks, two to an array, 8 columns: 2 rounds instead of 4.
  CHECK(sparse.linear_latency_ns == 7 * (10 + 4) + (10 + 2));

  const MapResult& dense = result.results[2];
  CHECK(dense.parameters == sparse.parameters);
  CHECK(dense.conversions == sparse.conversions);
  CHECK(dense.array_bound == 5);  // 1088 / 256
  CHECK(dense.arrays >= dense.array_bound);
  CHECK(dense.linear_latency_ns >= sparse.linear_latency_ns);
  CHECK_FALSE(dense.relative_error);
}

TEST_CASE("an unknown map is found before any work is done") {
  RunOptions options = small_blocks();
  options.maps = {"linear", "dence"};
  const Result<RunResult> result = run(tiny(), small_chip(), options, no_progress());
  REQUIRE_FALSE(result);
  CHECK(result.error().id == "place.unknown-map");
}

TEST_CASE("compile_model is structures, placement, program") {
  const model::Model model = tiny();
  const chip::Chip chip = small_chip();
  const RunOptions options = small_blocks();
  const Graph graph = structured_graph(model, chip, "dense", options).value();
  const compile::Placement placement = place(graph, model, chip, "dense", options).value();
  const program::Program program = emit_program(graph, placement, model, chip, options).value();
  CHECK(program == compile_model(model, chip, "dense", options, no_progress()).value());
  CHECK(std::count_if(program.notes.begin(), program.notes.end(),
                      [](const program::Note& note) { return note.key == "chip"; }) == 1);
}

TEST_CASE("compare_intent tells models apart, not structures") {
  const model::Model model = tiny();
  RunOptions options = small_blocks();
  for (const std::string map : {"linear", "dense"}) {
    const program::Program program = compile_model(model, small_chip(), map, options, no_progress()).value();
    CHECK(compare_intent(program.intent, model).empty());
    Graph changed = program.intent;
    changed.nodes[2].name += "x";
    REQUIRE(compare_intent(changed, model).size() == 1);
    CHECK(compare_intent(changed, model)[0].id == "verify.model");
    changed = program.intent;
    for (Config& config : changed.configs) config.epsilon *= 2;
    CHECK_FALSE(compare_intent(changed, model).empty());
    changed = program.intent;
    changed.nodes.pop_back();
    CHECK_FALSE(compare_intent(changed, model).empty());
  }
}

TEST_CASE("relative errors of layers add up by their norms") {
  std::vector<factor::LayerReport> layers(2);
  layers[0].squared_norm = 100;
  layers[0].squared_error = 4;
  layers[1].squared_norm = 1;
  layers[1].squared_error = 1;
  CHECK(total_relative_error(layers) == doctest::Approx(std::sqrt(5.0 / 101)));
  CHECK(total_relative_error({}) == 0);
}
