// Random models of both families, all strategies, chips and modes: the program that comes out is verified, equals its
// text and binary forms, and computes what the graph says.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <functional>

#include "../unit/compile/example_graph.h"
#include "danaus/machine/timing.h"
#include "danaus/program/interpreter_float.h"
#include "danaus/program/verify.h"
#include "random_program.h"

namespace danaus {
namespace {

constexpr std::uint64_t kCases = 300;

/// Numbers of a float execution: gaussians by name, zero for the weights of padding.
double number_for(std::uint64_t kind, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return random_gaussian(kind, a, b << 24 | c);
}
double weight(const Graph& graph, NodeId node, std::uint32_t stage, std::uint32_t in, std::uint32_t out) {
  const Structure& structure = graph.at(node).structure;
  const bool is_last = stage + 1 == structure.stages();
  const bool pads = stage == 0 && structure.kind != Structure::Kind::gather;
  if ((pads && in >= structure.in) || (is_last && out >= structure.out)) return 0;
  return number_for(index(node) * 2 + stage, in, out, 0) / std::sqrt(structure.block(stage, 0).in_count);
}
double constant(std::string_view name, std::uint32_t element) {
  return name == "zero" ? 0 : 1 + 0.1 * number_for(1000, digest_of(name).low, element, 0);
}
double input(NodeId node, std::uint32_t token, std::uint32_t element) {
  return number_for(1001, index(node), token, element);
}
double prior(KvId region, bool is_value, std::uint32_t entry, std::uint32_t element) {
  return number_for(is_value ? 1002 : 1003, index(region), entry, element);
}

using Vector = std::vector<double>;

/// M x with M written out entry by entry from the definition of the family (k, l, r), not stage by stage.
Vector linear(const Graph& graph, NodeId id, const Vector& x) {
  const Structure& s = graph.at(id).structure;
  Vector y(s.out);
  if (s.kind == Structure::Kind::gather) {
    for (std::uint32_t row = 0; row < s.out; ++row) {
      const std::uint32_t first = row / s.out_block * s.in_block;
      for (std::uint32_t n = first; n < first + s.in_block; ++n)
        y[row] += weight(graph, id, 0, n, row) * x[s.selection.numbers()[n]];
    }
    return y;
  }
  for (std::uint32_t row = 0; row < s.out; ++row) {
    for (std::uint32_t column = 0; column < s.in; ++column) {
      double entry = 0;
      if (s.kind == Structure::Kind::dense) {
        entry = weight(graph, id, 0, column, row);
      } else {
        const std::uint32_t i = row / s.out_block, j = column / s.in_block;
        for (std::uint32_t rank = 0; rank < s.r; ++rank) {
          const std::uint32_t middle = (i * s.r + rank) * s.k + j;
          entry += weight(graph, id, 1, middle, row) * weight(graph, id, 0, column, middle);
        }
      }
      y[row] += entry * x[column];
    }
  }
  return y;
}

Vector softmax_context(const Node& node, std::uint32_t head, const Vector& query, const std::vector<Vector>& keys,
                       const std::vector<Vector>& values) {
  std::vector<double> scores;
  double largest = -INFINITY, sum = 0;
  for (const Vector& key : keys) {
    double score = 0;
    for (std::uint32_t e = 0; e < node.head_size; ++e) score += query[head * node.head_size + e] * key[e];
    scores.push_back(score / std::sqrt(node.head_size));
    largest = std::max(largest, scores.back());
  }
  for (double& score : scores) sum += score = std::exp(score - largest);
  Vector context(node.head_size);
  for (std::size_t t = 0; t < keys.size(); ++t) {
    for (std::uint32_t e = 0; e < node.head_size; ++e) context[e] += scores[t] / sum * values[t][e];
  }
  return context;
}

/// Softmax over the k largest logits.
Vector gates(const Vector& logits, std::uint32_t k) {
  Vector sorted = logits, result(logits.size());
  std::sort(sorted.rbegin(), sorted.rend());
  double sum = 0;
  for (std::size_t e = 0; e < logits.size(); ++e) {
    if (logits[e] >= sorted[k - 1]) sum += result[e] = std::exp(logits[e] - sorted[0]);
  }
  for (double& gate : result) gate /= sum;
  return result;
}

/// The executed part of the graph evaluated straight from its definition, node by node over all tokens.
std::vector<Vector> evaluate(const Graph& graph, std::uint32_t tokens, const std::vector<program::KvRegion>& regions) {
  std::vector<std::vector<Vector>> values;  // node, token
  for (std::uint32_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const NodeId id{n};
    const Config& config = graph.configs[index(node.configs[0])];
    std::vector<Vector> results;
    for (std::uint32_t token = 0; token < tokens; ++token) {
      const auto source = [&](std::size_t s) -> const Vector& { return values[index(node.sources[s])][token]; };
      if (node.idle) break;
      Vector y(node.size);
      const double gate = node.guard ? values[index(node.guard->gates)][token][node.guard->element] : 1;
      if (gate == 0) {  // what a guarded node would compute must not matter
        results.push_back(node.kind == NodeKind::blend ? source(0) : Vector(node.size, NAN));
        continue;
      }
      switch (node.kind) {
        case NodeKind::input:
          for (std::uint32_t e = 0; e < node.size; ++e) y[e] = input(id, token, e);
          break;
        case NodeKind::linear:
          y = linear(graph, id, source(0));
          break;
        case NodeKind::norm: {
          double mean = 0, square = 0;
          for (const double x : source(0)) mean += x / node.size;
          if (config.norm == Config::Norm::rms) mean = 0;
          for (const double x : source(0)) square += (x - mean) * (x - mean) / node.size;
          for (std::uint32_t e = 0; e < node.size; ++e)
            y[e] = (source(0)[e] - mean) / std::sqrt(square + config.epsilon) * constant(node.constant, e);
          break;
        }
        case NodeKind::bias:
          for (std::uint32_t e = 0; e < node.size; ++e) y[e] = source(0)[e] + constant(node.constant, e);
          break;
        case NodeKind::route:
          y = gates(source(0), config.k);
          break;
        case NodeKind::blend:
          for (std::uint32_t e = 0; e < node.size; ++e) y[e] = source(0)[e] + gate * source(1)[e];
          break;
        case NodeKind::rope:
          for (std::uint32_t e = 0; e < node.size; ++e) {
            const bool half = config.pairs == Config::Pairs::half;
            const std::uint32_t in_head = e % config.size, head = e - in_head;
            const std::uint32_t turned = config.rotated == 0 ? config.size : config.rotated;
            if (in_head >= turned) {
              y[e] = source(0)[e];
              continue;
            }
            const std::uint32_t pair = half ? in_head % (turned / 2) : in_head / 2;
            const bool is_second = half ? in_head >= turned / 2 : in_head % 2 == 1;
            const double angle = (token + regions[0].start) * std::pow(config.theta, -2.0 * pair / turned);
            const double a = source(0)[head + (half ? pair : 2 * pair)];
            const double b = source(0)[head + (half ? pair + turned / 2 : 2 * pair + 1)];
            y[e] = is_second ? a * std::sin(angle) + b * std::cos(angle) : a * std::cos(angle) - b * std::sin(angle);
          }
          break;
        case NodeKind::attend:
          for (std::uint32_t head = 0; head < node.query_heads; ++head) {
            const std::uint32_t kv_head = head / (node.query_heads / node.kv_heads);
            const KvId region{index(node.kv_first) + kv_head};
            std::vector<Vector> keys, kv_values;
            for (std::uint32_t entry = 0; entry < regions[index(region)].start; ++entry) {
              keys.emplace_back(), kv_values.emplace_back();
              for (std::uint32_t e = 0; e < node.head_size; ++e) {
                keys.back().push_back(prior(region, false, entry, e));
                kv_values.back().push_back(prior(region, true, entry, e));
              }
            }
            const std::uint32_t own = node.span == Span::other ? 0 : node.span == Span::all ? tokens : token + 1;
            for (std::uint32_t t = 0; t < own; ++t) {
              const auto of_head = [&](std::size_t s) {
                const Vector& all = values[index(node.sources[s])][t];
                return Vector(all.begin() + kv_head * node.head_size, all.begin() + (kv_head + 1) * node.head_size);
              };
              keys.push_back(of_head(1)), kv_values.push_back(of_head(2));
            }
            const Vector context = softmax_context(node, head, source(0), keys, kv_values);
            std::copy(context.begin(), context.end(), y.begin() + head * node.head_size);
          }
          break;
        default:
          for (std::uint32_t e = 0; e < node.size; ++e) {
            const double a = source(0)[e];
            switch (node.kind) {
              case NodeKind::add:
                y[e] = a + source(1)[e];
                break;
              case NodeKind::mul:
                y[e] = a * source(1)[e];
                break;
              case NodeKind::silu:
                y[e] = a / (1 + std::exp(-a));
                break;
              case NodeKind::gelu:
                y[e] = a * 0.5 * std::erfc(-a / std::sqrt(2.0));
                break;
              case NodeKind::gelu_tanh:
                y[e] = a / (1 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0)) * (a + 0.044715 * std::pow(a, 3))));
                break;
              default:
                y[e] = std::max(a, 0.0);
            }
          }
      }
      results.push_back(std::move(y));
    }
    values.push_back(std::move(results));
  }
  std::vector<Vector> outputs(tokens);
  for (std::uint32_t token = 0; token < tokens; ++token) {
    for (const NodeId output : graph.outputs) {
      if (graph.at(output).idle) continue;
      outputs[token].insert(outputs[token].end(), values[index(output)][token].begin(),
                            values[index(output)][token].end());
    }
  }
  return outputs;
}

TEST_CASE("in floating point, programs compute the graph up to rounding") {
  double worst = 0;
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    const test::Case random = test::random_case(number);
    const program::Program program = test::compile_case(random);
    const Graph& graph = program.intent;
    const program::FloatSource source = {
        .weight = [&](NodeId node, std::uint32_t stage, std::uint32_t in,
                      std::uint32_t out) { return weight(graph, node, stage, in, out); },
        .constant = constant,
        .input = input,
        .prior = prior};
    const Result<std::vector<Vector>> outputs = program::execute(program, source);
    REQUIRE_MESSAGE(outputs.has_value(), (outputs ? "" : to_string(outputs.error())));
    const std::vector<Vector> expected = evaluate(graph, random.emit.tokens, program.kv);
    REQUIRE(outputs->size() == expected.size());
    for (std::size_t token = 0; token < expected.size(); ++token) {
      REQUIRE((*outputs)[token].size() == expected[token].size());
      double scale = 0, difference = 0;
      for (std::size_t e = 0; e < expected[token].size(); ++e) {
        scale = std::max(scale, std::abs(expected[token][e]));
        difference = std::max(difference, std::abs(expected[token][e] - (*outputs)[token][e]));
      }
      CHECK(difference <= 1e-9 * scale);
      if (scale > 0) worst = std::max(worst, difference / scale);
    }
  }
  MESSAGE("largest difference relative to the largest output: " << worst);
}

TEST_CASE("programs of random models are proved, with rank-1 and with full weights") {
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    const test::Case random = test::random_case(number);
    const program::Program program = test::compile_case(random);
    const program::VerifyReport report = program::verify(program, {.full_weights = number % 3 == 0});
    CHECK_MESSAGE(report.ok(), (report.ok() ? "" : to_string(report.errors.front())));
  }
}

TEST_CASE("gathered operators of any shape, in every block mapping: proof and conversions") {
  test::Dice dice(77);
  const std::vector<std::array<std::uint32_t, 4>> awkward = {// out, in, group, inputs
                                                             {1, 1, 1, 1},     {1, 17, 1, 17},  {17, 1, 17, 1},
                                                             {31, 29, 31, 29}, {31, 29, 7, 1},  {2, 64, 2, 63},
                                                             {64, 8, 1, 5},    {53, 47, 53, 3}, {40, 40, 8, 40}};
  for (std::uint64_t number = 0; number < 150; ++number) {
    CAPTURE(number);
    std::array<std::uint32_t, 4> shape{};
    if (number < awkward.size()) {
      shape = awkward[number];
    } else {
      shape[0] = dice.roll(1, 60), shape[1] = dice.roll(1, 60);
      shape[2] = dice.roll(1, shape[0]), shape[3] = dice.roll(1, shape[1]);
    }
    Result<chip::Chip> chip = chip::load("unit", {});
    REQUIRE(chip.has_value());
    chip->array.rows = dice.roll(4, 24);
    chip->array.cols = dice.roll(4, 24);
    chip->adc.per_array = dice.roll(1, 4);
    chip->network.arrays_per_tile = dice.roll(1, 5);
    for (const char* map : {"sparse", "dense", "dense-diagonal", "striped"}) {
      CAPTURE(map);
      Graph plain;
      const NodeId x = test::add_node(plain, "x", NodeKind::input, {}, shape[1]);
      std::vector<Structure> structures;
      std::uint64_t conversions = 0, weights = 0;
      for (const char* name : {"a", "b"}) {  // operators of one source
        plain.outputs.push_back(test::add_node(plain, name, NodeKind::linear, {x}, shape[0]));
        structures.push_back(Structure::gather(shape[0], shape[1], shape[2], shape[3]));
        structures.back().selection = draw_selection(structures.back(), number, structures.size());
        conversions += shape[0] * std::uint64_t{(shape[3] + chip->array.rows - 1) / chip->array.rows};
        weights += std::uint64_t{shape[0]} * shape[3];
        plain.nodes.back().structure = structures.back();
      }
      const Graph graph = compile::with_structures(plain, structures, *chip);
      const compile::PlaceOptions options{.rows = chip->array.rows,
                                          .cols = chip->array.cols,
                                          .arrays_per_tile = chip->network.arrays_per_tile,
                                          .adcs = chip->adc.per_array,
                                          .least_arrays = static_cast<std::uint32_t>(number % 4 * 5)};
      Result<compile::Placement> placement = (*compile::find_strategy(map))->place(graph, options);
      REQUIRE(placement.has_value());
      std::uint64_t cells = 0;
      for (const program::Patch& patch : placement->patches) cells += std::uint64_t{patch.rows} * patch.columns;
      CHECK(cells == weights);
      const Result<program::Program> program =
          compile::emit(graph, std::move(*placement), *chip, {.kv = 1, .model_name = {}, .model_digest = {}});
      REQUIRE_MESSAGE(program.has_value(), (program ? "" : to_string(program.error())));
      CHECK(program->lists.size() == (structures[0].selection == structures[1].selection ? 1 : 2));
      const program::VerifyReport report = program::verify(*program, {.full_weights = number % 2 == 0});
      CHECK_MESSAGE(report.ok(), (report.ok() ? "" : to_string(report.errors.front())));
      const Result<machine::Timing> timing = machine::simulate(*program, *chip);
      REQUIRE(timing.has_value());
      CHECK(timing->counts.conversions == conversions);
      const Result<program::Program> again = program::parse_text(program::to_text(*program), "p.txt");
      REQUIRE_MESSAGE(again.has_value(), (again ? "" : to_string(again.error())));
      CHECK(*again == *program);
    }
  }
}

// Four dense operators of 300x300 on 300 arrays of 300x4, each array a tile: 300 slivers of one column, an output on
// every tile. Brought together, four outputs to a tile, each value comes from at most 75 tiles, whatever reads it.
TEST_CASE("what all blocks read comes from few tiles") {
  Result<chip::Chip> chip = chip::load(
      "unit", {{"array.rows", "300"}, {"array.cols", "4"}, {"adc.per_array", "1"}, {"network.arrays_per_tile", "1"}});
  REQUIRE(chip.has_value());
  Graph plain;
  NodeId last = test::add_node(plain, "x", NodeKind::input, {}, 300);
  for (const char* name : {"a", "b", "c", "d"}) {
    last = test::add_node(plain, name, NodeKind::linear, {last}, 300);
    plain.at(last).structure = Structure::dense(300, 300);
  }
  plain.outputs.push_back(last);
  const Graph graph = compile::with_structures(plain, std::vector<Structure>(4, Structure::dense(300, 300)), *chip);
  const compile::StrategyInfo& strategy = **compile::find_strategy("linear-striped");
  Result<compile::Placement> placement =
      strategy.place(graph, {.rows = 300, .cols = 4, .arrays_per_tile = 1, .adcs = 1});
  REQUIRE(placement.has_value());
  CHECK(placement->arrays == 300);
  CHECK(placement->patches.size() == 1200);
  const Result<program::Program> program =
      compile::emit(graph, std::move(*placement), *chip, {.kv = 1, .model_name = {}, .model_digest = {}});
  REQUIRE(program.has_value());
  CHECK(program::verify(*program).ok());
  std::uint32_t to_all = 0, to_one = 0;
  for (const program::Record& record : program->code) {
    const program::Command command = program::decode_unchecked(record);
    if (const program::Move* move = std::get_if<program::Move>(&command)) ++(move->to_group ? to_all : to_one);
  }
  // The input and three values that are read on; what is at home already is not moved.
  CHECK(to_all == 4 * 75);
  CHECK(to_one == 4 * (300 - 75));
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

TEST_CASE("the example layer: arrays, activations and latency by hand") {
  // hidden 8, 2 query heads on 1 kv head of 4, feed-forward 12, all operators (2, 2, 1), on 8x8 arrays with 2 ADCs, 10
  // ns to settle and 1 ns a round. SparseMap, stage by stage (rounds of the widest array): qkv.R 4 columns 2, qkv.L 8
  // columns 4, o.R 2, o.L 4, gu.R 2, gu.L 6 columns 3, d.R 2 columns 1, d.L 4: eight times 10 plus 22.
  const Result<chip::Chip> chip = chip::load(
      "unit", {{"array.rows", "8"}, {"array.cols", "8"}, {"adc.per_array", "2"}, {"network.arrays_per_tile", "2"}});
  REQUIRE(chip.has_value());
  const Graph graph = test::decoder_layer(8, 2, 1, 12, 2, 2, 1);
  const compile::PlaceOptions options{.rows = 8, .cols = 8, .arrays_per_tile = 2};
  const auto timing_of = [&](const char* strategy, std::uint32_t arrays) {
    Result<compile::Placement> placement = (*compile::find_strategy(strategy))->place(graph, options);
    REQUIRE(placement.has_value());
    CHECK(placement->arrays == arrays);
    const Result<program::Program> program =
        compile::emit(graph, std::move(*placement), *chip, {.kv = 1, .model_name = {}, .model_digest = {}});
    REQUIRE(program.has_value());
    CHECK(program::verify(*program).ok());
    const Result<machine::Timing> timing = machine::simulate(*program, *chip);
    REQUIRE(timing.has_value());
    return *timing;
  };
  const machine::Timing sparse = timing_of("sparse", 17);
  CHECK(sparse.counts.activations == 17);
  CHECK(sparse.total == 102'000);
  const machine::Timing dense = timing_of("dense", 4);  // 232 weights, 64 cells an array: 4 is the bound
  CHECK(dense.counts.conversions == sparse.counts.conversions);
  CHECK(dense.total > sparse.total);
}

TEST_CASE("blocked wiring: the columns have other names, and no other work is done") {
  for (std::uint64_t number = 0; number < kCases; ++number) {
    CAPTURE(number);
    test::Case random = test::random_case(number);
    const program::Program interleaved = test::compile_case(random);
    random.chip.adc.wiring = chip::Wiring::blocked;
    const program::Program blocked = test::compile_case(random);
    CHECK(program::verify(blocked).ok());
    const Result<machine::Timing> before = machine::simulate(interleaved, random.chip);
    const Result<machine::Timing> after = machine::simulate(blocked, random.chip);
    REQUIRE(before.has_value() == after.has_value());
    if (!before) continue;
    CHECK(after->counts.conversions == before->counts.conversions);
    if (random.chip.array.cols % random.chip.adc.per_array != 0) CHECK(blocked.code == interleaved.code);
  }
}

TEST_CASE("blocked wiring: slivers and whole arrays take as long as with interleaved wiring") {
  const auto chip_with = [](const char* wiring) {
    Result<chip::Chip> chip = chip::load("unit", {{"array.rows", "32"},
                                                  {"array.cols", "32"},
                                                  {"adc.per_array", "4"},
                                                  {"adc.wiring", wiring},
                                                  {"network.arrays_per_tile", "2"}});
    REQUIRE(chip.has_value());
    return std::move(*chip);
  };
  const chip::Chip interleaved = chip_with("interleaved"), blocked = chip_with("blocked");
  for (const std::uint32_t hidden : {64u, 128u, 256u}) {
    for (const char* map : {"linear", "linear-striped", "striped"}) {
      CAPTURE(hidden);
      CAPTURE(map);
      const compile::StrategyInfo& strategy = **compile::find_strategy(map);
      const std::uint32_t k = strategy.dense_operator ? 0 : 8;
      const Graph graph = test::decoder_layer(hidden, 4, 2, 2 * hidden, k, k, 1);
      const compile::PlaceOptions options{.rows = 32, .cols = 32, .arrays_per_tile = 2, .adcs = 4};
      const auto timing_of = [&](const chip::Chip& compiled_for, const chip::Chip& on) {
        Result<compile::Placement> placement = strategy.place(graph, options);
        REQUIRE(placement.has_value());
        const Result<program::Program> program =
            compile::emit(graph, std::move(*placement), compiled_for, {.kv = 1, .model_name = {}, .model_digest = {}});
        REQUIRE(program.has_value());
        CHECK(program::verify(*program).ok());
        const Result<machine::Timing> timing = machine::simulate(*program, on);
        REQUIRE(timing.has_value());
        return *timing;
      };
      const machine::Timing expected = timing_of(interleaved, interleaved), timing = timing_of(blocked, blocked);
      CHECK(timing.total == expected.total);
      CHECK(timing.counts.activations == expected.counts.activations);
      CHECK(timing.counts.adc_rounds == expected.counts.adc_rounds);
      // Neighbours on one converter: what the wiring says where nothing is done about it.
      const machine::Timing neighbours = timing_of(interleaved, blocked);
      if (std::string_view(map) == "linear")
        CHECK(neighbours.total == expected.total);
      else
        CHECK(neighbours.total > expected.total);
    }
  }
}

TEST_CASE("compiling twice gives the same program") {
  for (std::uint64_t number = 0; number < kCases; number += 20)
    CHECK(digest_of(test::compile_case(test::random_case(number))) ==
          digest_of(test::compile_case(test::random_case(number))));
}

}  // namespace
}  // namespace danaus
