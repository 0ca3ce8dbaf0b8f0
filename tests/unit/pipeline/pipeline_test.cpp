#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "danaus/pipeline/run.h"
#include "small_example.h"

using namespace danaus;
using namespace danaus::pipeline;

TEST_CASE("run: the figures of a model small enough to count by hand") {
  // 16 wide: q, k, v, o of 16x16 and gate, up, down of 32x16 and 16x32 on 16x16 arrays with 4 ADCs.
  const RunResult result = run(tiny(), small_chip(), small_blocks(), no_progress()).value();
  REQUIRE(result.results.size() == 4);
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
  CHECK(dense.bound.arrays == 5);  // 1088 / 256
  CHECK(dense.arrays >= dense.bound.arrays);
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

namespace {

/// The chip of the other tests with 4 arrays in tiles of 2, links and programming: 16 rows * 10 * 5 ns = 800 ns and
/// 16 * 16 * 10 * 2 pJ = 5.12 nJ for an array.
chip::Chip four_arrays(std::uint32_t chips) {
  return chip::load("unit", {{"array.rows", "16"},
                             {"array.cols", "16"},
                             {"adc.per_array", "4"},
                             {"network.arrays_per_tile", "2"},
                             {"network.header_bits", "32"},
                             {"chip.arrays", "4"},
                             {"chip.chips", std::to_string(chips)},
                             {"chip.link_gbps", "16"},
                             {"chip.link_latency_ns", "7"},
                             {"chip.link_energy_pj_per_bit", "2"},
                             {"program.iterations", "10"},
                             {"program.pulse_ns", "3"},
                             {"program.verify_ns", "2"},
                             {"program.energy_pj", "2"},
                             {"program.endurance", "1e6"}})
      .value();
}

RunOptions reloading() {
  RunOptions options = small_blocks();
  options.reload = true;
  return options;
}

}  // namespace

TEST_CASE("a model larger than the chip is an error that shows the arithmetic") {
  const Result<RunResult> result = run(tiny(), four_arrays(1), small_blocks(), no_progress());
  REQUIRE_FALSE(result);
  const Error& error = result.error();
  CHECK(error.id == "place.capacity");
  CHECK(error.failure == Failure::does_not_fit);
  // q, k, v and o take an array each, so the gate is the first that finds none. 10 arrays are 3 times 4. Passes hold
  // whole operators: q k v o | gate up | down, of 4, 4 and 2 arrays.
  CHECK(error.message == "the placement needs 10 arrays, the chip has 4: a shortfall of 6");
  REQUIRE(error.notes.size() == 4);
  CHECK(error.notes[0] == "first operator that does not fit: blk.0.ffn_gate");
  CHECK(error.notes[1] == "--chips 3: 3 x 4 = 12 arrays");
  CHECK(
      error.notes[2] ==
      "--reload: 3 passes, at most 3 x 0.0008 ms = 0.0024 ms and 5.12e-05 mJ to write them, in decode for every token");
  CHECK(error.notes[3].starts_with("other maps: dense needs 5 arrays and does not fit; "));
  CHECK(error.notes[3].find("; sparse needs 17 arrays and does not fit") != std::string::npos);

  RunOptions linear = small_blocks();
  linear.maps = {"linear"};
  const Result<RunResult> on_two = run(tiny(), four_arrays(2), linear, no_progress());
  REQUIRE_FALSE(on_two);
  CHECK(on_two.error().message == "the placement needs 10 arrays, 2 chips of 4 have 8: a shortfall of 2");
  CHECK(run(tiny(), four_arrays(3), linear, no_progress()).has_value());

  // A placement from outside is held to the same.
  const model::Model model = tiny();
  const Graph graph = structured_graph(model, small_chip(), "linear", linear).value();
  const compile::Placement placement = place(graph, model, small_chip(), "linear", linear).value();
  CHECK(emit_program(graph, placement, model, four_arrays(1), linear).error().id == "place.capacity");
}

TEST_CASE("passes: figures by hand") {
  const RunResult result = run(tiny(), four_arrays(1), reloading(), no_progress()).value();
  const MapResult& linear = result.results[0];
  CHECK(linear.arrays == 10);
  CHECK(linear.tiles == 2);
  CHECK(linear.arrays_per_chip == 4);
  CHECK(linear.chips_used == 1);
  CHECK(linear.timing.reload ==
        machine::Reload{.passes = 3, .writes = 3, .time = 3 * 800'000, .energy_pj = 10 * 256 * 20.0});
  CHECK(linear.latency_ns == 56 + 2400);  // as on a large chip, and the passes
  CHECK(linear.linear_latency_ns == linear.latency_ns);
  CHECK(linear.throughput_tokens_per_s == doctest::Approx(1e9 / 2456));
  CHECK(linear.programming_time_us == doctest::Approx(2.4));
  CHECK_FALSE(linear.break_even_tokens);                                    // written for every token
  CHECK(*linear.tokens_until_worn_out == doctest::Approx(1e6 / (3 * 10)));  // 3 writes of 10 cycles per token
  // Dense packs each pass by itself: no pass is needed twice.
  const MapResult& dense = result.results[2];
  CHECK(dense.timing.reload.writes == dense.timing.reload.passes);
  CHECK(dense.timing.reload.passes == 2);  // 5 arrays in all

  RunOptions prefill = reloading();
  prefill.emit.mode = compile::Mode::prefill;
  prefill.emit.tokens = 6;
  const MapResult together = run(tiny(), four_arrays(1), prefill, no_progress()).value().results[0];
  CHECK(together.timing.reload.writes == 3);
  CHECK(together.timing.critical_path.reload == 3 * 800'000);
  CHECK(*together.tokens_until_worn_out == doctest::Approx(6 * 1e6 / (3 * 10)));
}

TEST_CASE("a chip that holds the model is as it was, with and without the options") {
  const chip::Chip free = chip::load("pcm-14nm", {{"array.rows", "16"}, {"array.cols", "16"}}).value();
  const RunResult before = run(tiny(), free, small_blocks(), no_progress()).value();
  const RunResult after = run(tiny(), free, reloading(), no_progress()).value();
  for (std::size_t m = 0; m < before.results.size(); ++m) {
    CHECK(before.results[m].program_digest == after.results[m].program_digest);
    CHECK(before.results[m].timing.total == after.results[m].timing.total);
    CHECK(before.results[m].timing.reload == machine::Reload{});
    CHECK(before.results[m].arrays_per_chip == 0);
    CHECK(before.results[m].area.total_mm2() == after.results[m].area.total_mm2());
    const double energy_pj = before.results[m].timing.energy.total();
    CHECK(*before.results[m].break_even_tokens ==
          doctest::Approx(before.results[m].programming_energy_uj * 1e6 / energy_pj));
  }
}

// The bits on the links, from the moves of the program alone.
TEST_CASE("link bits are those of the messages between chips") {
  const model::Model model = tiny();
  std::uint64_t crossing_programs = 0;
  for (const std::string map : {"linear", "sparse", "dense"}) {
    for (const auto& [chips, mode] : {std::pair{2u, compile::Mode::decode},
                                      {3u, compile::Mode::prefill},
                                      {5u, compile::Mode::decode},
                                      {12u, compile::Mode::prefill}}) {
      CAPTURE(map);
      CAPTURE(chips);
      RunOptions options = reloading();
      options.emit.mode = mode;
      options.emit.tokens = mode == compile::Mode::decode ? 1 : 5;
      const chip::Chip chip = four_arrays(chips);
      const program::Program program = compile_model(model, chip, map, options, no_progress()).value();
      std::uint64_t bits = 0, messages = 0, times = 1;
      for (const program::Record& record : program.code) {
        const program::Command command = program::decode_unchecked(record);
        if (const program::Repeat* loop = std::get_if<program::Repeat>(&command)) times = loop->n;
        if (std::holds_alternative<program::End>(command)) times = 1;
        const program::Move* move = std::get_if<program::Move>(&command);
        if (move == nullptr) continue;
        std::multiset<std::uint32_t> targets;
        if (move->to_group) {
          for (const TileId member : program.groups[move->to].members) targets.insert(program.chip.chip_of(member));
        } else {
          targets.insert(program.chip.chip_of(TileId{move->to}));
        }
        targets.erase(program.chip.chip_of(move->from));
        const std::uint64_t copies =
            move->deal ? targets.size() : std::set<std::uint32_t>(targets.begin(), targets.end()).size();
        const std::uint64_t elements = std::uint64_t{move->length} * (move->deal ? 1 : move->count);
        const std::uint32_t width = index(move->config) == 0 ? 8 : program.intent.configs[index(move->config)].bits;
        bits += times * copies * (elements * width + 32);
        messages += times * copies;
      }
      const machine::Timing timing = machine::simulate(program, chip).value();
      CHECK(timing.counts.link_bits == bits);
      CHECK(timing.counts.link_messages == messages);
      CHECK(timing.energy.link == doctest::Approx(2.0 * static_cast<double>(bits)));
      CHECK(timing.critical_path.total() == timing.total);
      if (messages > 0) ++crossing_programs;
      // The program in its stored forms is the same to the machine.
      const program::Program stored = program::parse_binary(program::to_binary(program), "p").value();
      CHECK(stored == program);
      CHECK(program::parse_text(program::to_text(program), "p").value() == program);
      CHECK(program::verify(stored, {}).ok());
    }
  }
  CHECK(crossing_programs >= 8);
}
