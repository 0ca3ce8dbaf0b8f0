// Random models, mappings and chips on the analog machine: without effects the answer is the integer product, bit for
// bit; with all of them it depends neither on threads nor on how tokens are batched, and the devices are the same in
// every mapping.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "danaus/core/parallel.h"
#include "danaus/machine/analog/analog_machine.h"
#include "danaus/machine/analog/mvm_plan.h"
#include "danaus/program/verify.h"
#include "random_program.h"

namespace danaus {
namespace {

using machine::AnalogMachine;

constexpr std::uint64_t kCases = 200;
constexpr std::size_t kTokens = 9;

struct Weights {
  std::vector<float> stages[2];
};

Weights random_weights(const Structure& structure, std::uint64_t seed) {
  Weights weights;
  for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
    for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
      const Block block = structure.block(stage, b);
      for (std::uint32_t n = 0; n < block.in_count * block.out_count; ++n)
        weights.stages[stage].push_back(static_cast<float>(random_gaussian(seed, stage, std::uint64_t{b} << 32 | n)));
    }
  }
  return weights;
}

std::vector<float> random_inputs(std::uint32_t size, std::uint64_t seed) {
  std::vector<float> x(kTokens * size);
  for (std::size_t n = 0; n < x.size(); ++n) x[n] = static_cast<float>(random_gaussian(seed, 77, n));
  return x;
}

float magnitude(const float* x, std::size_t count) {
  float most = 0;
  for (std::size_t n = 0; n < count; ++n) most = std::max(most, std::fabs(x[n]));
  return most;
}

/// Straight from the definition: codes of 8 bits for weights (a scale per output) and inputs (a scale per vector).
std::vector<float> integer_product(const Structure& structure, const Weights& weights, std::vector<float> x) {
  if (structure.kind == Structure::Kind::gather) {
    std::vector<float> picked;
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (const std::uint32_t input : structure.selection.numbers()) picked.push_back(x[t * structure.in + input]);
    }
    x = std::move(picked);
  }
  for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
    const std::size_t inputs = structure.stage_inputs(stage), outputs = structure.stage_outputs(stage);
    const std::size_t width = x.size() / kTokens;
    std::vector<float> y(kTokens * outputs);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const float unit = magnitude(x.data() + t * width, width) / 127.0f;
      std::vector<double> codes(inputs);
      for (std::size_t i = 0; i < width && unit != 0; ++i)
        codes[i] = std::clamp(std::nearbyint(static_cast<double>(x[t * width + i] * (1 / unit))), -127.0, 127.0);
      const float* block_weights = weights.stages[stage].data();
      for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
        const Block block = structure.block(stage, b);
        for (std::uint32_t j = 0; j < block.out_count; ++j, block_weights += block.in_count) {
          const float most = magnitude(block_weights, block.in_count);
          if (most == 0) continue;
          const double factor = 127.0 / static_cast<double>(most);
          double sum = 0;
          for (std::uint32_t i = 0; i < block.in_count; ++i)
            sum += codes[block.in_first + i] * std::nearbyint(static_cast<double>(block_weights[i]) * factor);
          y[t * outputs + block.out_first + j * block.out_step] =
              static_cast<float>(sum * static_cast<double>(static_cast<float>(1 / factor)) * static_cast<double>(unit));
        }
      }
    }
    x = std::move(y);
  }
  return x;
}

std::vector<NodeId> linear_nodes_of(const Graph& graph) {
  std::vector<NodeId> nodes;
  for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].kind == NodeKind::linear && !graph.nodes[n].idle) nodes.push_back(NodeId{n});
  }
  return nodes;
}

program::Program compile_case(test::Case& random, const std::string& strategy, Config::Range range) {
  for (Config& config : random.graph.configs) {
    if (config.kind != Config::Kind::mvm) continue;
    config.range = range;
    config.dac_bits = 8;
  }
  const auto found = compile::find_strategy(strategy);
  REQUIRE(found);
  Result<compile::Placement> placement = (*found)->place(random.graph, random.place);
  if (!placement) FAIL(to_string(placement.error()));
  Result<program::Program> program = compile::emit(random.graph, std::move(*placement), random.chip, random.emit);
  if (!program) FAIL(to_string(program.error()));
  return std::move(*program);
}

AnalogMachine machine_of(const program::Program& program, const chip::Chip& chip) {
  Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, chip, 5);
  if (!machine) FAIL(to_string(machine.error()));
  return std::move(*machine);
}

std::vector<float> multiply(AnalogMachine& machine, const Structure& structure, NodeId node, std::span<const float> x,
                            std::size_t first = 0, std::size_t tokens = kTokens) {
  std::vector<float> y(tokens * structure.out);
  std::vector<std::uint64_t> numbers(tokens);
  std::iota(numbers.begin(), numbers.end(), first);
  const Result<void> done = machine.multiply(node, x.subspan(first * structure.in, tokens * structure.in), numbers, y);
  if (!done) FAIL(to_string(done.error()));
  return y;
}

void cut_padding(std::vector<float>& y, std::size_t out) {
  const std::size_t width = y.size() / kTokens;
  for (std::size_t t = 0; t < kTokens; ++t) std::copy_n(y.data() + t * width, out, y.data() + t * out);
  y.resize(kTokens * out);
}

TEST_CASE("without effects the answer is the integer product, whatever the mapping") {
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    random.chip.noise = {};
    const program::Program program = compile_case(random, random.strategy, Config::Range::lossless);
    AnalogMachine machine = machine_of(program, random.chip);
    for (const NodeId node : linear_nodes_of(program.intent)) {
      CAPTURE(index(node));
      const Structure& structure = random.graph.at(node).structure;
      const Weights weights = random_weights(structure, number * 1000 + index(node));
      REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
      const std::vector<float> x = random_inputs(structure.in, number);
      std::vector<float> expected = integer_product(structure, weights, x);
      cut_padding(expected, structure.out);
      const std::vector<float> y = multiply(machine, structure, node, x);
      CHECK(y == expected);
    }
  }
}

/// Everything that random numbers are for, and what depends on places.
chip::Chip::Noise all_effects() {
  const Result<chip::Chip> chip = chip::load("unit", {{"noise.device", "pcm"},
                                                      {"noise.time_s", "3600"},
                                                      {"noise.compensation", "column"},
                                                      {"noise.stuck_low", "0.01"},
                                                      {"noise.stuck_high", "0.01"},
                                                      {"noise.read_noise", "output"},
                                                      {"noise.output_sd", "0.01"},
                                                      {"noise.adc_gain_sd", "0.02"},
                                                      {"noise.adc_offset_sd", "0.3"}});
  if (!chip) FAIL(to_string(chip.error()));
  return chip->noise;
}

/// The same with other kinds of each effect.
std::vector<chip::Chip> chips_with_effects(const chip::Chip& base) {
  const std::vector<std::vector<std::pair<std::string, std::string>>> variants = {
      {{"noise.read_noise", "cell"}, {"noise.subtract", "digital"}, {"noise.idle_cells", "leak"}},
      {{"noise.read_noise", "output"}, {"noise.read_kind", "root"}, {"noise.ir_drop", "closed"}},
      {{"noise.undriven_row_leakage", "0.01"}, {"noise.current_limit", "3"}, {"noise.pair", "offset"}},
      {{"input.kind", "bit-serial"}, {"input.bit_ns", "1"}, {"noise.pair", "two-sided"}, {"array.slices", "2"}}};
  std::vector<chip::Chip> chips;
  for (std::vector<std::pair<std::string, std::string>> settings : variants) {
    settings.emplace_back("noise.device", "pcm");
    const Result<chip::Chip> chip = chip::load("unit", settings);
    if (!chip) FAIL(to_string(chip.error()));
    chips.push_back(base);
    chips.back().noise = chip->noise;
    chips.back().input.kind = chip->input.kind;
    chips.back().array.slices = chip->array.slices;
  }
  chips.push_back(base);
  chips.back().noise = all_effects();
  return chips;
}

TEST_CASE("threads and batches change nothing") {
  for (std::uint64_t number = 0; number < kCases; number += 7) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    const std::vector<chip::Chip> chips = chips_with_effects(random.chip);
    const chip::Chip& chip = chips[number % chips.size()];
    const Config::Range range = number % 2 == 0 ? Config::Range::l1 : Config::Range::cal_column;
    const program::Program program = compile_case(random, random.strategy, range);
    for (const NodeId node : linear_nodes_of(program.intent)) {
      const Structure& structure = random.graph.at(node).structure;
      const Weights weights = random_weights(structure, number * 1000 + index(node));
      const std::vector<float> x = random_inputs(structure.in, number);
      std::vector<std::vector<float>> answers;
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        AnalogMachine machine = machine_of(program, chip);
        REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
        const auto calibrated = machine.calibrate(node, random_inputs(structure.in, number + 1), kTokens);
        if (!calibrated) FAIL(to_string(calibrated.error()));
        answers.push_back(*calibrated);
        CHECK(answers.back() == answers.front());
      }
      answers.clear();
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        AnalogMachine machine = machine_of(program, chip);
        REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
        REQUIRE(machine.calibrate(node, random_inputs(structure.in, number + 1), kTokens));
        answers.push_back(multiply(machine, structure, node, x));
        // The same tokens in two calls.
        std::vector<float> parts = multiply(machine, structure, node, x, 0, 4);
        const std::vector<float> rest = multiply(machine, structure, node, x, 4, kTokens - 4);
        parts.insert(parts.end(), rest.begin(), rest.end());
        answers.push_back(parts);
      }
      set_thread_count(0);
      for (const std::vector<float>& answer : answers) CHECK(answer == answers[0]);
    }
  }
}

TEST_CASE("ranges without data never clip without noise, however the pair is made and converted") {
  for (std::uint64_t number = 0; number < kCases; number += 11) {
    CAPTURE(number);
    for (const char* const pair : {"one-sided", "two-sided", "offset"}) {
      for (const char* const subtract : {"analog", "digital"}) {
        for (const Config::Range range : {Config::Range::l1, Config::Range::full}) {
          CAPTURE(pair);
          CAPTURE(subtract);
          const Result<chip::Chip> chip = chip::load("unit", {{"noise.pair", pair},
                                                              {"noise.subtract", subtract},
                                                              {"noise.g_max_us", "20"},
                                                              {"noise.g_min_us", "2"},
                                                              {"noise.idle_cells", "leak"}});
          if (!chip) FAIL(to_string(chip.error()));
          test::Case random = test::random_case(number);
          random.chip.noise = chip->noise;
          const program::Program program = compile_case(random, random.strategy, range);
          AnalogMachine machine = machine_of(program, random.chip);
          for (const NodeId node : linear_nodes_of(program.intent)) {
            const Structure& structure = random.graph.at(node).structure;
            const Weights weights = random_weights(structure, number * 1000 + index(node));
            REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
            multiply(machine, structure, node, random_inputs(structure.in, number));
          }
          std::uint64_t clipped = 0;
          for (const machine::StageStatistics& stage : machine.statistics()) clipped += stage.adc.clipped;
          CHECK(clipped == 0);
        }
      }
    }
  }
}

TEST_CASE("noisy cells in the network of wires") {
  double differences = 0;
  for (std::uint64_t number = 0; number < 40; number += 3) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    if (random.chip.array.rows * random.chip.array.cols > 1024) continue;
    for (const std::uint32_t slices : {1u, 2u}) {
      const Result<chip::Chip> chip = chip::load(
          "unit",
          {{"noise.device", "pcm"}, {"noise.g_min_us", "0.5"}, {"noise.ir_drop", "nodal"}, {"noise.wire_ohm", "2"}});
      if (!chip) FAIL(to_string(chip.error()));
      random.chip.noise = chip->noise;
      random.chip.array.slices = slices;
      const program::Program program = compile_case(random, random.strategy, Config::Range::l1);
      AnalogMachine machine = machine_of(program, random.chip);
      random.chip.noise.ir_drop = chip::IrDrop::none;
      AnalogMachine ideal_wires = machine_of(program, random.chip);
      double difference = 0, all = 0;
      for (const NodeId node : linear_nodes_of(program.intent)) {
        const Structure& structure = random.graph.at(node).structure;
        const Weights weights = random_weights(structure, number * 1000 + index(node));
        REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
        REQUIRE(ideal_wires.write(node, {{weights.stages[0], weights.stages[1]}}));
        const std::vector<float> x = random_inputs(structure.in, number);
        const std::vector<float> a = multiply(machine, structure, node, x),
                                 b = multiply(ideal_wires, structure, node, x);
        for (std::size_t n = 0; n < a.size(); ++n) {
          difference += std::fabs(static_cast<double>(a[n]) - static_cast<double>(b[n]));
          all += std::fabs(static_cast<double>(b[n]));
        }
      }
      CHECK(difference < 0.2 * all);  // 25 uS and 2 ohm: small drops
      differences += difference;      // of single cases it may hide behind the converters' steps
    }
  }
  CHECK(differences > 0);
}

TEST_CASE("all mappings of an operator see the same devices") {
  for (std::uint64_t number = 0; number < kCases; number += 5) {
    CAPTURE(number);
    std::vector<std::vector<float>> answers;
    for (const std::string strategy : {"sparse", "dense"}) {
      test::Case random = test::random_case(number);
      random.chip.noise = all_effects();
      random.chip.noise.read_noise = chip::ReadNoise::none;  // drawn per conversion, and these are others
      random.chip.noise.output_sd = random.chip.noise.adc_gain_sd = random.chip.noise.adc_offset_sd = 0;
      // Fine steps instead of none: lossless conversions round to whole units.
      const program::Program program = compile_case(random, strategy, Config::Range::lossless);
      AnalogMachine machine = machine_of(program, random.chip);
      std::vector<float> all;
      for (const NodeId node : linear_nodes_of(program.intent)) {
        const Structure& structure = random.graph.at(node).structure;
        if (structure.stages() == 2) continue;  // a rounding may change an input code of the second stage
        const Weights weights = random_weights(structure, number * 1000 + index(node));
        REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
        const std::vector<float> y = multiply(machine, structure, node, random_inputs(structure.in, number));
        all.insert(all.end(), y.begin(), y.end());
      }
      answers.push_back(all);
    }
    REQUIRE(answers[0].size() == answers[1].size());
    const float most = magnitude(answers[0].data(), answers[0].size());
    // Partial sums are rounded to whole units, at most one for each activation, of 127 * 127.
    for (std::size_t n = 0; n < answers[0].size(); ++n) CHECK(std::fabs(answers[0][n] - answers[1][n]) <= 0.02f * most);
  }
}

TEST_CASE("values come from the program: a damaged window changes them") {
  std::uint64_t changed = 0, tried = 0;
  for (std::uint64_t number = 0; number < kCases; number += 3) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    random.chip.noise = {};
    program::Program program = compile_case(random, random.strategy, Config::Range::lossless);
    const auto answers = [&]() -> std::vector<float> {
      std::vector<float> all;
      Result<AnalogMachine> machine = AnalogMachine::create({{&program}}, random.chip, 5);
      if (!machine) return all;  // refused
      for (const NodeId node : linear_nodes_of(program.intent)) {
        const Structure& structure = random.graph.at(node).structure;
        const Weights weights = random_weights(structure, number * 1000 + index(node));
        REQUIRE(machine->write(node, {{weights.stages[0], weights.stages[1]}}));
        const std::vector<float> y = multiply(*machine, structure, node, random_inputs(structure.in, number));
        all.insert(all.end(), y.begin(), y.end());
      }
      return all;
    };
    const std::vector<float> before = answers();
    const Result<machine::MvmPlan> plan = machine::plan_activations(program);
    REQUIRE(plan);
    // Commands of first stages whose last driven row carries an input that is not padding into an output that is not.
    std::set<std::uint32_t> candidates;
    for (const machine::StagePlan& stage : plan->stages) {
      if (stage.stage != 0) continue;
      const Structure& structure = random.graph.at(stage.node).structure;
      for (const machine::PlannedActivation& activation : stage.activations) {
        const program::Command command = program::decode_unchecked(program.code[activation.command]);
        const auto& mvm = std::get<program::Mvm>(command);
        const std::uint32_t last = (mvm.rows.first + mvm.rows.length - 1u) % random.chip.array.rows;
        for (const machine::PlannedGroup& group : activation.groups) {
          const bool is_read = structure.stages() == 1 ||
                               group.out_first / structure.k / structure.r * structure.out_block < structure.out;
          for (const machine::PlannedGroup::Part& part : group.parts) {
            const bool drives_it = last >= part.row && last < part.row + part.rows;
            const bool pads =
                structure.kind != Structure::Kind::gather && part.in_first + (last - part.row) >= structure.in;
            if (is_read && drives_it && !pads) candidates.insert(activation.command);
          }
        }
      }
    }
    test::Dice dice(number);
    for (const std::uint32_t position : candidates) {
      program::Record& record = program.code[position];
      program::Command command = program::decode_unchecked(record);
      auto& mvm = std::get<program::Mvm>(command);
      if (mvm.rows.length < 2 || mvm.rows.count != 1 || mvm.src.element_stride != 1) continue;
      if (dice.roll(0, 3) != 0) continue;
      --mvm.rows.length;
      if (mvm.rows.length == 1) mvm.src.run_stride = 0;
      const Result<program::Record> damaged = program::encode(command);
      if (!damaged) continue;
      record = *damaged;
      ++tried;
      changed += answers() != before ? 1 : 0;
      break;
    }
  }
  CHECK(tried > 20);
  CHECK(changed == tried);
}

TEST_CASE("channels between the stages scaled by a power of two change nothing") {
  for (std::uint64_t number = 0; number < kCases; number += 5) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    random.chip.noise = all_effects();
    const program::Program program = compile_case(random, random.strategy, Config::Range::l1);
    for (const NodeId node : linear_nodes_of(program.intent)) {
      const Structure& structure = random.graph.at(node).structure;
      if (structure.stages() != 2) continue;
      Weights weights = random_weights(structure, number * 1000 + index(node));
      const std::vector<float> x = random_inputs(structure.in, number);
      AnalogMachine machine = machine_of(program, random.chip);
      REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
      const std::vector<float> before = multiply(machine, structure, node, x);
      for (float& weight : weights.stages[0]) weight *= 8;
      for (float& weight : weights.stages[1]) weight /= 8;
      REQUIRE(machine.write(node, {{weights.stages[0], weights.stages[1]}}));
      CHECK(multiply(machine, structure, node, x) == before);
    }
  }
}

// Signal-to-noise ratios of converters, measured elsewhere (numpy, other random numbers): Gaussian weights and inputs,
// 8 bit weights with a scale per column, 8 bit inputs with one static scale, ranges from other vectors of the same
// kind.

constexpr std::uint32_t kEdge = 1024;
constexpr std::size_t kVectors = 192;

struct Setting {
  std::uint32_t rows = 32;
  std::string map = "linear";
  std::uint32_t bits = 8, second_bits = 0;
  std::string range = "cal-shared";
};

double signal_to_noise_db(const Setting& setting) {
  const Structure structure =
      setting.map == "linear" ? Structure::dense(kEdge, kEdge) : Structure::blocks(kEdge, kEdge, 32, 32, 1);
  const Result<chip::Chip> chip = chip::load("unit", {{"array.rows", std::to_string(setting.rows)},
                                                      {"adc.rule", "fixed"},
                                                      {"adc.bits", std::to_string(setting.bits)},
                                                      {"adc.second_bits", std::to_string(setting.second_bits)},
                                                      {"noise.input_scale", "tensor"},
                                                      {"noise.adc_range", setting.range}});
  if (!chip) FAIL(to_string(chip.error()));
  Graph graph;
  graph.nodes.resize(2);
  graph.nodes[0].name = "x";
  graph.nodes[0].size = kEdge;
  graph.nodes[1].name = "w";
  graph.nodes[1].kind = NodeKind::linear;
  graph.nodes[1].sources = {NodeId{0}};
  graph.nodes[1].size = kEdge;
  graph.outputs = {NodeId{1}};
  graph = compile::with_structures(graph, {structure}, *chip);
  const auto strategy = compile::find_strategy(setting.map);
  REQUIRE(strategy);
  Result<compile::Placement> placement = (*strategy)->place(graph, {.rows = setting.rows});
  REQUIRE(placement);
  compile::EmitOptions emit;
  emit.kv = 1;
  const Result<program::Program> program = compile::emit(graph, std::move(*placement), *chip, emit);
  if (!program) FAIL(to_string(program.error()));
  AnalogMachine machine = machine_of(*program, *chip);
  const Weights weights = random_weights(structure, 11);
  REQUIRE(machine.write(NodeId{1}, {{weights.stages[0], weights.stages[1]}}));
  std::vector<float> other(kVectors * kEdge), x(kVectors * kEdge), y(kVectors * kEdge);
  random_gaussians(21, 0, 0, other);
  random_gaussians(22, 0, 0, x);
  REQUIRE(machine.calibrate(NodeId{1}, other, kVectors));
  REQUIRE(machine.multiply(NodeId{1}, x, std::vector<std::uint64_t>(kVectors), y));
  // The exact product, stage by stage.
  std::vector<double> exact(x.begin(), x.end());
  for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
    std::vector<double> next(kVectors * kEdge);
    for (std::size_t t = 0; t < kVectors; ++t) {
      const float* block_weights = weights.stages[stage].data();
      for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
        const Block block = structure.block(stage, b);
        for (std::uint32_t j = 0; j < block.out_count; ++j) {
          double sum = 0;
          for (std::uint32_t i = 0; i < block.in_count; ++i)
            sum += exact[t * kEdge + block.in_first + i] * static_cast<double>(*block_weights++);
          next[t * kEdge + block.out_first + j * block.out_step] = sum;
        }
      }
    }
    exact = std::move(next);
  }
  double signal = 0, noise = 0;
  for (std::size_t n = 0; n < exact.size(); ++n) {
    const double error = exact[n] - static_cast<double>(y[n]);
    signal += exact[n] * exact[n];
    noise += error * error;
  }
  return 10 * std::log10(signal / noise);
}

void check_db(const Setting& setting, double expected, double tolerance) {
  const double db = signal_to_noise_db(setting);
  CAPTURE(db);
  CAPTURE(expected);
  CHECK(std::fabs(db - expected) <= tolerance);
}

TEST_CASE("calibrated converters: decibels depend on bits, not on rows") {
  check_db({.bits = 3}, 12.8, 0.3);
  check_db({.bits = 4}, 18.2, 0.3);
  check_db({.bits = 5}, 23.4, 0.3);
  check_db({.bits = 6}, 28.2, 0.3);
  check_db({.bits = 8}, 35.3, 0.3);
  check_db({.rows = 256, .bits = 8}, 35.6, 0.3);
}

TEST_CASE("converters that never clip see almost nothing") {
  check_db({.rows = 256, .bits = 8, .range = "full"}, 4.7, 0.7);
  check_db({.rows = 32, .bits = 8, .range = "full"}, 13.6, 0.7);
  check_db({.rows = 256, .bits = 8, .range = "l1"}, 17.3, 0.7);
  check_db({.rows = 32, .bits = 8, .range = "l1"}, 26.0, 0.7);
}

TEST_CASE("two conversions in series") {
  const auto pair = [](std::uint32_t right, std::uint32_t left) {
    return Setting{.map = "sparse", .bits = right, .second_bits = left};
  };
  check_db(pair(3, 3), 10.0, 0.4);
  check_db(pair(4, 4), 15.4, 0.4);
  check_db(pair(5, 5), 20.5, 0.4);
  check_db(pair(6, 6), 25.4, 0.4);
  // The other figure is 33.5, but with a floor of 34.8 dB from inputs and weights and two conversions of 40 dB each it
  // cannot be above 33; the same construction in numpy gives 32.6.
  check_db(pair(8, 8), 32.6, 0.4);
  check_db(pair(3, 8), 12.9, 0.4);
  check_db(pair(8, 3), 12.9, 0.4);
}

}  // namespace
}  // namespace danaus
