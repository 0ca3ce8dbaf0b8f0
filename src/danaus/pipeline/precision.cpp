// Operator by operator: a graph of its own, placed, emitted and proved once. The program with other bits in its
// configurations is the same program, so each number of bits is a machine that is written and measured. A stage is
// given the exact values of the stage before, so that its ratio is its own.

#include "danaus/pipeline/precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "danaus/compile/compile.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/factor/choose.h"
#include "danaus/machine/analog/analog_machine.h"
#include "danaus/pipeline/explain_mapping.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {
namespace {

constexpr std::uint64_t kWeightStream = 0x70726563'00000000, kInputStream = 0x70726563'80000000;
constexpr NodeId kOperator{1};

/// Vectors as one matrix {count, width}.
struct Vectors {
  std::size_t count = 0;
  std::vector<float> values;
  std::span<const float> first_half() const { return std::span(values).first(values.size() / 2); }
  std::span<const float> second_half() const { return std::span(values).last(values.size() / 2); }
};

/// Squares of exact outputs and of the differences to them.
struct Sums {
  double signal = 0, noise = 0;
  double db() const {
    // Outputs that are all zero say nothing of the converters: such an operator does not decide for others.
    return noise == 0 || signal == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  }
};

Sums compare(std::span<const double> exact, std::span<const float> answer) {
  ensure(exact.size() == answer.size(), "the stage answers with all of its outputs");
  Sums sums;
  for (std::size_t n = 0; n < exact.size(); ++n) {
    const double error = static_cast<double>(answer[n]) - exact[n];
    sums.signal += exact[n] * exact[n];
    sums.noise += error * error;
  }
  return sums;
}

/// x {count, inputs} through a stage, in double precision.
std::vector<double> exact_stage(const Structure& structure, std::uint32_t stage, std::span<const float> weights,
                                std::span<const float> x, std::size_t count) {
  const std::size_t inputs = structure.stage_inputs(stage), outputs = structure.stage_outputs(stage);
  std::vector<double> y(count * outputs);
  parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const float* weight = weights.data();
      for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
        const Block block = structure.block(stage, b);
        for (std::uint32_t j = 0; j < block.out_count; ++j, weight += block.in_count) {
          double sum = 0;
          for (std::uint32_t i = 0; i < block.in_count; ++i)
            sum += static_cast<double>(weight[i]) * static_cast<double>(x[t * inputs + block.in_first + i]);
          y[t * outputs + block.out_first + std::size_t{j} * block.out_step] = sum;
        }
      }
    }
  });
  return y;
}

/// What the first stage reads: padded with zeros, or gathered.
std::vector<float> first_inputs(const Structure& structure, std::span<const float> x, std::size_t count) {
  const std::size_t in = structure.in, inputs = structure.stage_inputs(0);
  std::vector<float> result(count * inputs);
  for (std::size_t t = 0; t < count; ++t) {
    const std::span<const float> from = x.subspan(t * in, in);
    const std::span<float> to = std::span(result).subspan(t * inputs, inputs);
    if (structure.kind == Structure::Kind::gather) {
      gather_inputs<float>(structure, from, to);
    } else {
      std::copy(from.begin(), from.end(), to.begin());
    }
  }
  return result;
}

/// The chip with cells that hold their codes and are read without noise.
chip::Chip ideal_cells(chip::Chip chip) {
  const chip::Chip::Noise given = chip.noise;
  chip.noise = chip::Chip().noise;
  chip.noise.weight_bits = given.weight_bits;
  chip.noise.weight_scale = given.weight_scale;
  chip.noise.input_scale = given.input_scale;
  chip.noise.adc_range = given.adc_range;
  chip.noise.adc_range_user = given.adc_range_user;
  return chip;
}

/// One operator of the model.
struct Measured {
  std::array<std::array<double, kMostBits - kFewestBits + 1>, 2> snr_db{};
  std::array<double, 2> cells_db{}, codes_db{};
};

class Meter {
 public:
  /// Compiles and proves a program of the operator alone. Errors: those of placement, emit and proof.
  static Result<Meter> create(const Structure& structure, const PrecisionOptions& options) {
    Graph graph;
    graph.nodes.resize(2);
    graph.nodes[0].name = "x";
    graph.nodes[0].size = structure.in;
    graph.nodes[1].name = "w";
    graph.nodes[1].kind = NodeKind::linear;
    graph.nodes[1].sources = {NodeId{0}};
    graph.nodes[1].size = structure.out;
    graph.outputs = {kOperator};
    Meter meter(structure, options);
    meter.chip_.adc.rule = chip::AdcRule::fixed;
    meter.chip_.system.arrays = 0;  // it has arrays of its own
    meter.chip_.system.chips = 1;
    meter.chip_.buffer.bytes_per_tile = 0;
    RunOptions run;
    run.emit.kv = 1;
    model::Model alone;
    alone.graph = graph;
    const Graph structured = compile::with_structures(graph, {structure}, meter.chip_);
    DANAUS_TRY(placement, place(structured, alone, meter.chip_, options.map, run));
    DANAUS_TRY(program, compile::emit(structured, std::move(placement), meter.chip_, run.emit));
    DANAUS_CHECK(prove(program, options.map, options.seed));
    meter.program_ = std::move(program);
    return meter;
  }

  /// `x` {count, in}: one half for the ranges, the other one is measured.
  Result<Measured> measure(const factor::Factors& factors, const Vectors& x) {
    const std::size_t count = x.count / 2;
    std::vector<std::vector<float>> inputs = {first_inputs(structure_, x.second_half(), count)};
    std::vector<std::vector<double>> exact;
    for (std::uint32_t stage = 0; stage < structure_.stages(); ++stage) {
      exact.push_back(exact_stage(structure_, stage, stage == 0 ? factors.right : factors.left, inputs.back(), count));
      inputs.emplace_back(exact.back().begin(), exact.back().end());  // in float
    }
    Measured result;
    const auto compare_stages = [&](const chip::Chip& chip, std::uint32_t bits, bool has_converters,
                                    const auto& keep) -> Result<void> {
      for (Config& config : program_.intent.configs) {
        if (config.kind == Config::Kind::mvm) config.adc_bits = static_cast<std::uint8_t>(bits);
      }
      const program::Program* program = &program_;
      DANAUS_TRY(machine, machine::AnalogMachine::create(std::span(&program, 1), chip, options_.seed));
      DANAUS_CHECK(machine.write(kOperator, {{factors.right, factors.left}}));
      DANAUS_CHECK(machine.calibrate(kOperator, x.first_half(), count));
      std::vector<std::uint64_t> numbers(count);
      for (std::size_t n = 0; n < count; ++n) numbers[n] = n;
      for (std::uint32_t stage = 0; stage < structure_.stages(); ++stage) {
        DANAUS_TRY(answer, machine.answer_of_stage(kOperator, stage, inputs[stage], numbers, has_converters));
        keep(stage, compare(exact[stage], answer).db());
      }
      return {};
    };
    for (std::uint32_t bits = kFewestBits; bits <= kMostBits; ++bits) {
      DANAUS_CHECK(compare_stages(
          chip_, bits, true, [&](std::uint32_t stage, double db) { result.snr_db[stage][bits - kFewestBits] = db; }));
    }
    DANAUS_CHECK(
        compare_stages(chip_, kMostBits, false, [&](std::uint32_t stage, double db) { result.cells_db[stage] = db; }));
    DANAUS_CHECK(compare_stages(ideal_cells(chip_), kMostBits, false,
                                [&](std::uint32_t stage, double db) { result.codes_db[stage] = db; }));
    return result;
  }

 private:
  Meter(const Structure& structure, const PrecisionOptions& options)
      : structure_(structure), options_(options), chip_(options.chip) {}

  Structure structure_;
  const PrecisionOptions& options_;
  chip::Chip chip_;
  program::Program program_;
};

/// Weights of an operator of a model that has none: of unit variance per output of each stage.
factor::Factors drawn_factors(const Structure& structure, std::uint64_t seed, std::uint64_t number) {
  factor::Factors factors{structure, {}, {}};
  for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
    std::vector<float>& weights = stage == 0 ? factors.right : factors.left;
    weights.resize(structure.stage_parameters(stage));
    random_gaussians(seed, kWeightStream + number * 2 + stage, 0, weights);
    const float scale = 1 / std::sqrt(static_cast<float>(structure.block(stage, 0).in_count));
    for (float& weight : weights) weight *= scale;
  }
  return factors;
}

Vectors drawn_inputs(std::size_t count, std::uint32_t in, std::uint64_t seed, std::uint64_t number) {
  Vectors x{count, std::vector<float>(count * in)};
  random_gaussians(seed, kInputStream + number, 0, x.values);
  return x;
}

/// The chip as it is measured.
Result<chip::Chip> measured_chip(chip::Chip chip) {
  if (chip.noise.adc_range == chip::AdcRange::automatic) chip.noise.adc_range = chip::AdcRange::cal_shared;
  if (chip.noise.adc_range == chip::AdcRange::lossless)
    return fail(Error("precision.range", Failure::usage,
                      "with noise.adc_range = \"lossless\" converters give every integer: there are no bits to find")
                    .with_hint("set noise.adc_range to cal-shared, cal-column, l1, full or user"));
  return chip;
}

/// What is known of a stage, or a new entry.
StagePrecision& entry(Precision& precision, const std::string& pattern, std::uint32_t stage) {
  const auto found = std::find_if(precision.stages.begin(), precision.stages.end(), [&](const StagePrecision& known) {
    return known.pattern == pattern && known.stage == stage;
  });
  if (found != precision.stages.end()) return *found;
  StagePrecision& fresh = precision.stages.emplace_back();
  fresh.pattern = pattern;
  fresh.stage = stage;
  fresh.snr_db.fill(std::numeric_limits<double>::infinity());
  fresh.cells_db = fresh.codes_db = std::numeric_limits<double>::infinity();
  return fresh;
}

/// The fewest bits with the floor, or what stands in the way.
void choose_bits(StagePrecision& stage, double least_db) {
  const auto found = std::find_if(stage.snr_db.begin(), stage.snr_db.end(), [&](double db) { return db >= least_db; });
  if (found != stage.snr_db.end()) {
    stage.bits = kFewestBits + static_cast<std::uint32_t>(found - stage.snr_db.begin());
    return;
  }
  const auto saturated = std::find_if(stage.snr_db.begin(), stage.snr_db.end(),
                                      [&](double db) { return db >= stage.snr_db.back() - kSaturationDb; });
  stage.bits = kFewestBits + static_cast<std::uint32_t>(saturated - stage.snr_db.begin());
  stage.limit = stage.codes_db < least_db   ? PrecisionLimit::codes
                : stage.cells_db < least_db ? PrecisionLimit::cells
                                            : PrecisionLimit::converters;
}

}  // namespace

std::string_view name_of(PrecisionLimit limit) {
  switch (limit) {
    case PrecisionLimit::none:
      return "";
    case PrecisionLimit::codes:
      return "codes of inputs and weights";
    case PrecisionLimit::cells:
      return "devices, reads and wires";
    case PrecisionLimit::converters:
      return "range and errors of converters";
  }
  return "";
}

Result<Precision> find_precision(const model::Model& model, const std::string& path, const PrecisionOptions& given,
                                 Progress& progress) {
  PrecisionOptions options = given;
  DANAUS_TRY(measured, measured_chip(given.chip));
  options.chip = std::move(measured);
  DANAUS_TRY(strategy, compile::find_strategy(options.map));
  Precision result{.model = model.name,
                   .chip = options.chip.name,
                   .map = options.map,
                   .adc_range = chip::value_text(options.chip, "noise.adc_range"),
                   .least_snr_db = options.least_snr_db,
                   .vectors = options.vectors,
                   .has_weights = model.has_weights(),
                   .has_text = options.text.has_value(),
                   .stages = {},
                   .notes = {}};
  const std::uint32_t edge = std::min(options.chip.array.rows, options.chip.array.cols);
  std::vector<Structure> structures;
  for (const model::LinearOperator& linear : model.linear)
    structures.push_back(Structure::dense(linear.out, linear.in));
  if (!strategy->dense_operator) {
    DANAUS_TRY(chosen, factor::choose_structures(model, options.policy, edge));
    structures = std::move(chosen);
  }
  std::vector<std::vector<float>> inputs;
  if (options.text) {
    DANAUS_TRY(seen, operator_inputs(model, path, *options.text, 2 * options.vectors, progress));
    inputs = std::move(seen);
  }
  std::vector<factor::Factors> factors(model.linear.size());
  if (model.has_weights() && !strategy->dense_operator) {
    std::size_t next = 0;
    const auto keep = [&](std::string_view, const factor::Projection& projection) -> Result<void> {
      factors[next++] = projection.factors;
      return {};
    };
    DANAUS_CHECK(factor::project_model(
        model, structures, [](std::string_view) { return true; }, keep, progress));
  }
  if (!model.has_weights())
    result.notes.emplace_back(
        "the model has no weights: they are drawn from a normal distribution, one operator of a kind");
  if (!options.text)
    result.notes.emplace_back("inputs are drawn from a normal distribution; --text FILE measures real ones");

  std::optional<Meter> meter;
  Structure of_meter;
  std::set<std::pair<std::string, std::string>> kinds;  // of models without weights: pattern, shape and structure
  std::uint32_t unseen = 0;
  progress.begin("measure", model.linear.size());
  for (std::size_t number = 0; number < model.linear.size(); ++number) {
    progress.update(number);
    const model::LinearOperator& linear = model.linear[number];
    const std::string pattern = without_layer(linear.name);
    Structure structure = structures[number];
    const std::string kind = fmt::format("{}x{} {}", linear.out, linear.in, to_string(structure));
    for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) ++entry(result, pattern, stage).operators;
    if (!model.has_weights() && !kinds.insert({pattern, kind}).second) continue;  // layers that differ in nothing
    if (structure.kind == Structure::Kind::gather && structure.selection.size() == 0)
      structure.selection = draw_selection(structure, options.seed, number);
    factor::Factors own = std::move(factors[number]);
    if (!model.has_weights()) {
      own = drawn_factors(structure, options.seed, number);
    } else if (strategy->dense_operator) {
      own = {structure, model::read_weights(linear), {}};
    }
    Vectors x;
    if (options.text) x = {inputs[number].size() / linear.in / 2 * 2, std::move(inputs[number])};
    x.values.resize(x.count * linear.in);
    if (x.count == 0) {
      unseen += options.text ? 1 : 0;  // experts that no token of the text chooses
      x = drawn_inputs(std::size_t{2} * options.vectors, linear.in, options.seed, number);
    }
    const auto in_operator = [&](Error error) {
      error.notes.push_back(fmt::format("in operator '{}'", linear.name));
      return fail(std::move(error));
    };
    if (!meter || !(of_meter == own.structure)) {
      Result<Meter> made = Meter::create(own.structure, options);
      if (!made) return in_operator(std::move(made.error()));
      meter.emplace(std::move(*made));
      of_meter = own.structure;
    }
    const Result<Measured> one = meter->measure(own, x);
    if (!one) return in_operator(one.error());
    for (std::uint32_t n = 0; n < own.structure.stages(); ++n) {
      StagePrecision& stage = entry(result, pattern, n);
      ++stage.measured;
      stage.stages = std::max(stage.stages, own.structure.stages());
      stage.rows = std::max(stage.rows, std::min(options.chip.array.rows, own.structure.block(n, 0).in_count));
      for (std::size_t b = 0; b < stage.snr_db.size(); ++b)
        stage.snr_db[b] = std::min(stage.snr_db[b], one->snr_db[n][b]);
      stage.cells_db = std::min(stage.cells_db, one->cells_db[n]);
      stage.codes_db = std::min(stage.codes_db, one->codes_db[n]);
    }
  }
  progress.end();
  for (StagePrecision& stage : result.stages) choose_bits(stage, options.least_snr_db);
  if (unseen != 0)
    result.notes.push_back(fmt::format("{} operators saw no vector of the text: their inputs are drawn", unseen));
  return result;
}

AdcBits bits_of(const Precision& precision) {
  AdcBits table;
  for (const StagePrecision& stage : precision.stages) {
    const double snr_db = stage.snr_of(stage.bits);
    table.rules.push_back({.pattern = stage.pattern,
                           .map = precision.map,
                           .stage = stage.stages == 1 ? std::nullopt : std::optional(stage.stage),
                           .bits = stage.bits,
                           .snr_db = std::isfinite(snr_db) ? std::optional(snr_db) : std::nullopt});
  }
  return table;
}

namespace {

/// As a comment of a table of bits may say it.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace

std::string bits_file(const Precision& precision) {
  std::string text = fmt::format(
      "# Converter bits of '{}' on chip '{}' with map {}: the fewest with a signal-to-noise ratio of {:g} dB in every\n"
      "# stage (ranges: {}, {} vectors). Written by danaus precision, read by --adc-bits.\n",
      plain(precision.model), precision.chip, precision.map, precision.least_snr_db, precision.adc_range,
      precision.vectors);
  for (const std::string& note : precision.notes) text += fmt::format("# {}\n", note);
  for (const StagePrecision& stage : precision.stages) {
    if (stage.limit == PrecisionLimit::none) continue;
    text += fmt::format("# {}{}: {:g} dB cannot be met, because of {}\n", stage.pattern,
                        stage.stages == 1  ? ""
                        : stage.stage == 0 ? " R"
                                           : " L",
                        precision.least_snr_db, name_of(stage.limit));
  }
  return text + "\n" + to_toml(bits_of(precision));
}

}  // namespace danaus::pipeline
