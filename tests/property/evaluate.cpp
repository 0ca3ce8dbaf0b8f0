// The cost evaluator against the whole line, every field: random models, maps and modes on chips that differ in keys
// that the compiler reads and in keys that it does not.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "danaus/chip/keys.h"
#include "danaus/core/parallel.h"
#include "danaus/pipeline/capacity.h"
#include "danaus/pipeline/cost_evaluator.h"
#include "random_program.h"

namespace danaus {
namespace {

/// Keys that no program depends on.
void change_costs(test::Dice& dice, chip::Chip& chip) {
  const auto some = [&](std::vector<double> values) { return dice.pick(values); };
  chip.array.settle_ns = some({0, 1, 10, 12.3456});
  chip.array.slices = dice.roll(1, 3);
  chip.array.cell_energy_pj = some({0, 0.013});
  chip.array.idle_columns_draw = dice.coin();
  chip.array.activation_energy_pj = some({0, 5});
  chip.input.kind = dice.pick(std::vector{chip::InputKind::pwm, chip::InputKind::bit_serial, chip::InputKind::fixed});
  chip.input.clock_ns = some({0, 1});
  chip.input.bit_ns = some({0.5, 2});
  chip.input.time_ns = some({0, 3});
  chip.input.row_energy_pj = some({0, 0.4});
  chip.adc.per_array = dice.roll(1, chip.array.cols);
  chip.adc.kind = dice.pick(std::vector{chip::AdcKind::sar, chip::AdcKind::ramp, chip::AdcKind::fixed});
  chip.adc.step_ns = some({1, 0.25});
  chip.adc.lsb_ns = some({0.3, 1});
  chip.adc.time_ns = some({1, 2});
  chip.adc.sample_hold = dice.coin();
  chip.adc.double_buffer = chip.adc.sample_hold && dice.coin();
  chip.adc.static_precision = dice.coin();
  chip.adc.sharing = dice.pick(std::vector{chip::AdcSharing::column, chip::AdcSharing::array, chip::AdcSharing::group});
  const bool is_serial = chip.input.kind == chip::InputKind::bit_serial;
  if (chip.adc.sharing == chip::AdcSharing::group && (is_serial || !chip.adc.sample_hold))
    chip.adc.sharing = chip::AdcSharing::array;
  chip.adc.group_arrays = dice.coin() ? 1 : chip.network.arrays_per_tile;
  chip.adc.share_ns = some({0, 0.3});
  chip.adc.share_energy_pj = some({0, 0.1});
  chip.adc.share_area_um2 = some({0, 2});
  chip.adc.energy_pj = some({-1, 0.5});
  chip.adc.calibration = some({1, 120});
  chip.digital.units = dice.roll(0, 3);
  chip.digital.hub = dice.coin();
  chip.digital.lanes = dice.pick(std::vector<std::uint32_t>{0, 3, 16});
  for (double* time : {&chip.digital.add_ns, &chip.digital.gelu_ns, &chip.digital.moments_ns, &chip.digital.norm_ns,
                       &chip.digital.rope_ns, &chip.digital.silu_ns})
    *time = some({0, 1, 10});
  chip.digital.add_pj = some({0, 0.02});
  chip.digital.passive_mw = some({0, 1});
  chip.attention.units = dice.roll(0, 2);
  chip.attention.macs_per_ns = some({0, 4});
  chip.attention.softmax_ns = some({0, 10});
  chip.attention.append_ns = some({0, 1});
  chip.attention.energy_pj_per_mac = some({0, 0.1});
  chip.network.topology = dice.roll(0, 2) == 0 ? chip::Topology::ideal : chip::Topology::mesh;
  chip.network.contention = dice.coin() ? chip::Contention::links : chip::Contention::port;
  chip.network.switching = dice.coin() ? chip::Switching::wormhole : chip::Switching::circuit;
  chip.network.hop_ns = some({0, 2});
  chip.network.clock_ns = some({0, 1});
  chip.network.link_bits = dice.pick(std::vector<std::uint32_t>{8, 64});
  chip.network.energy_pj_per_bit_hop = some({0, 0.01});
  chip.system.passive_mw_per_array = some({0, 0.01});
  chip.system.link_gbps = some({0, 100});
  chip.system.link_latency_ns = some({0, 20});
  chip.programming.iterations = dice.roll(0, 2);
  chip.programming.pulse_ns = some({10, 200});
  chip.programming.energy_pj = 20;
}

pipeline::RunOptions options_of(const test::Case& random, test::Dice& dice) {
  pipeline::RunOptions options;
  options.maps = {"linear", "sparse", "dense"};
  options.policy.blocks = dice.pick(std::vector<std::string>{"2", "3x2", "2x4:2"});
  options.emit = random.emit;
  options.emit.tokens = std::max(1u, options.emit.tokens);
  options.seed = dice.roll(1, 2);
  options.routings = 2;
  options.reload = dice.coin();
  options.copies = dice.roll(0, 3) == 0 ? dice.roll(1, 4) : 0;
  options.project_weights = false;
  options.time_linear = dice.roll(0, 3) > 0;
  options.find_bounds = dice.coin();
  return options;
}

void check_same(Result<pipeline::RunResult> evaluated, Result<pipeline::RunResult> expected) {
  REQUIRE(evaluated.has_value() == expected.has_value());
  if (!expected) {
    CHECK(to_string(evaluated.error()) == to_string(expected.error()));
    return;
  }
  REQUIRE(evaluated->results.size() == expected->results.size());
  for (std::size_t n = 0; n < expected->results.size(); ++n) {
    CHECK(evaluated->results[n].program_digest != Digest{});
    evaluated->results[n].program_digest = expected->results[n].program_digest;  // that of the reduced chip
    CHECK(evaluated->results[n].timing == expected->results[n].timing);
  }
  CHECK(*evaluated == *expected);
}

TEST_CASE("evaluate gives what run gives") {
  pipeline::CostEvaluator evaluator;
  int good = 0, points = 0;
  for (std::uint64_t number = 0; number < 150; ++number) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    test::Dice dice(1000 + number);
    pipeline::RunOptions options = options_of(random, dice);
    if (number % 3 == 0) {  // their placement reads more of the chip
      options.maps = {"striped", "linear-striped"};
      options.objective = dice.pick(std::vector{compile::Objective::latency, compile::Objective::energy});
    }
    for (int point = 0; point < 4; ++point) {
      CAPTURE(point);
      change_costs(dice, random.chip);
      if (dice.roll(0, 2) == 0) {  // what the compiler reads as well
        random.chip.input.bits = dice.roll(2, 9);
        random.chip.adc.rule =
            dice.pick(std::vector{chip::AdcRule::rows, chip::AdcRule::fixed, chip::AdcRule::lossless});
        random.chip.adc.bits = dice.roll(4, 8);
        random.chip.adc.second_bits = dice.coin() ? 0 : dice.roll(4, 6);
        random.chip.buffer.bytes_per_tile = dice.roll(0, 3) == 0 ? dice.roll(1, 2000) : 0;
      }
      const Result<pipeline::RunResult> expected = pipeline::run(random.model, random.chip, options, no_progress());
      check_same(evaluator.evaluate(random.model, random.chip, options), expected);
      good += expected ? 1 : 0;
      ++points;
    }
  }
  MESSAGE(good << " of " << points << " points have a cost, " << evaluator.programs_made() << " programs");
  CHECK(good > points / 2);
  CHECK(evaluator.programs_made() < static_cast<std::uint64_t>(3 * points));
}

TEST_CASE("points that differ in times and converters share a program, under any limit and from any thread") {
  const test::Case random = test::random_case(3);
  test::Dice dice(7);
  pipeline::RunOptions options = options_of(random, dice);
  options.copies = 0;
  std::vector<chip::Chip> chips(8, random.chip);
  for (chip::Chip& chip : chips) {
    change_costs(dice, chip);
    chip.array.slices = 1;
    chip.network.switching = chip::Switching::circuit;
  }
  for (std::size_t n = 0; n < 4; ++n) {  // dependences of their own
    chips[n].network.topology = chip::Topology::mesh;
    chips[n].network.contention = chip::Contention::links;
  }
  chips[2].network.switching = chip::Switching::wormhole;
  for (std::size_t n = 4; n < 8; ++n) chips[n].network.contention = chip::Contention::port;
  for (std::size_t n = 1; n < chips.size(); n += 2) {  // the same times: one schedule for both
    chips[n] = chips[n - 1];
    chips[n].array.cell_energy_pj += 1;
    chips[n].digital.passive_mw += 3;
  }
  std::vector<Result<pipeline::RunResult>> expected;
  for (const chip::Chip& chip : chips) expected.push_back(pipeline::run(random.model, chip, options, no_progress()));
  for (const std::size_t limit : {std::size_t{1} << 30, std::size_t{0}}) {
    pipeline::CostEvaluator evaluator(limit);
    std::vector<Result<pipeline::RunResult>> results(chips.size() * 4, pipeline::RunResult{});
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::size_t n = 0; n < chips.size(); ++n)
          results[thread * chips.size() + n] = evaluator.evaluate(random.model, chips[n], options);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t n = 0; n < results.size(); ++n) check_same(results[n], expected[n % chips.size()]);
    if (limit > 0) CHECK(evaluator.programs_made() == 3 * options.maps.size());
  }
}

/// A dozen operators of 64 x 64: 192 arrays of 16 x 16, six regions at most.
model::Model long_chain() {
  model::Shape shape;
  shape.name = "chain";
  model::GraphBuilder builder(shape, std::nullopt);
  NodeId x = builder.input("x", 64);
  for (int n = 0; n < 12; ++n) {
    const std::string name = "l" + std::to_string(n);
    x = builder.linear(name, name + ".weight", x, 64);
  }
  builder.output(x);
  return std::move(builder).finish().value();
}

chip::Chip mesh_chip() {
  chip::Chip chip = chip::load("pcm-14nm").value();
  return chip::with_values(chip, {{"array.rows", std::int64_t{16}},
                                  {"array.cols", std::int64_t{16}},
                                  {"adc.per_array", std::int64_t{2}},
                                  {"network.arrays_per_tile", std::int64_t{2}}})
      .value();
}

pipeline::RunOptions striped_options() {
  pipeline::RunOptions options;
  options.maps = {"linear-striped", "striped"};
  options.policy.blocks = "8";
  options.project_weights = false;
  return options;
}

/// Other values than the chip's.
std::vector<chip::Value> other_values(chip::Chip chip, const chip::Key& key) {
  std::vector<chip::Value> values;
  const auto whole = [&](std::uint64_t now, std::uint64_t most) {
    values.emplace_back(static_cast<std::int64_t>(std::min(most, 2 * now + 1)));
    values.emplace_back(static_cast<std::int64_t>(now / 2));
  };
  if (const auto* count = std::get_if<chip::Count>(&key.kind)) whole(count->at(chip), count->most);
  if (const auto* count = std::get_if<chip::LargeCount>(&key.kind)) whole(count->at(chip), count->most);
  if (const auto* number = std::get_if<chip::Number>(&key.kind)) {
    const double now = number->at(chip);
    values = {now * 20, now / 20, now + 100, now + 0.5};
  }
  if (const auto* flag = std::get_if<chip::Flag>(&key.kind)) values.emplace_back(!flag->at(chip));
  if (const auto* choice = std::get_if<chip::Choice>(&key.kind)) {
    for (const std::string_view word : choice->words) values.emplace_back(std::string(word));
  }
  return values;
}

TEST_CASE("on a mesh striped maps are evaluated as they are run, whatever key of the chip is another one") {
  const model::Model model = long_chain();
  const pipeline::RunOptions options = striped_options();
  pipeline::CostEvaluator evaluator;
  int points = 0;
  for (const char* sharing : {"column", "array"}) {
    const chip::Chip base = chip::with_values(mesh_chip(), {{"adc.sharing", std::string(sharing)}}).value();
    check_same(evaluator.evaluate(model, base, options), pipeline::run(model, base, options, no_progress()));
    for (const chip::Key& key : chip::key_table()) {
      CAPTURE(key.name);
      for (const chip::Value& value : other_values(base, key)) {
        const Result<chip::Chip> chip = chip::with_values(base, {{std::string(key.name), value}});
        if (!chip) continue;  // out of range, or against a rule
        const Result<pipeline::RunResult> expected = pipeline::run(model, *chip, options, no_progress());
        check_same(evaluator.evaluate(model, *chip, options), expected);
        points += expected ? 1 : 0;
      }
    }
  }
  CHECK(points > 400);
  // What a hop and the switch before converters take decides how many regions there are.
  const auto placement = [&](double hop_ns, double share_ns) {
    const chip::Chip chip = chip::with_values(mesh_chip(), {{"adc.sharing", std::string("array")},
                                                            {"network.hop_ns", hop_ns},
                                                            {"adc.share_ns", share_ns}})
                                .value();
    const compile::PlaceOptions place = pipeline::place_options_for(chip, options);
    const Graph graph = pipeline::structured_graph(model, chip, "linear-striped", options).value();
    return (*compile::find_strategy("linear-striped"))->place(graph, place).value();
  };
  CHECK_FALSE(placement(0, 0) == placement(100, 0));
  CHECK_FALSE(placement(20, 0) == placement(20, 1000));
}

TEST_CASE("striped programs are the same for any number of threads") {
  const model::Model model = long_chain();
  const chip::Chip chip = mesh_chip();
  std::vector<Digest> digests;
  for (const int threads : {1, 2}) {
    set_thread_count(threads);
    const Result<pipeline::RunResult> result = pipeline::run(model, chip, striped_options(), no_progress());
    REQUIRE(result);
    for (const pipeline::MapResult& map : result->results) digests.push_back(map.program_digest);
  }
  set_thread_count(0);
  CHECK(digests[0] == digests[2]);
  CHECK(digests[1] == digests[3]);
}

}  // namespace
}  // namespace danaus
