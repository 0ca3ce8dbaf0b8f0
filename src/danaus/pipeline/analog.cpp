// Model -> structures -> placement -> program (two for an encoder-decoder model, on one placement) -> proof -> analog
// machine. The program is that of one decoded token: its activations are those of every token in every mode.
#include "danaus/pipeline/analog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "danaus/compile/compile.h"
#include "danaus/core/internal_error.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {
namespace {

/// The programs that execute all operators between them.
Result<std::vector<program::Program>> compile_parts(const model::Model& model, const AnalogOptions& options) {
  RunOptions run;
  run.policy = options.policy;
  run.seed = options.seed;
  run.emit.share_inputs = options.share_inputs;
  run.emit.tokens = 1;
  run.emit.kv = 1;
  DANAUS_TRY(graph, structured_graph(model, options.chip, options.map, run));
  DANAUS_TRY(placement, place(graph, model, options.chip, options.map, run));
  const std::vector<bool> encoder = encoder_nodes(graph);
  std::vector<compile::Mode> modes = {compile::Mode::decode};
  if (std::find(encoder.begin(), encoder.end(), true) != encoder.end()) {
    modes.push_back(compile::Mode::encode);
    run.emit.encoder_tokens = 1;
  }
  std::vector<program::Program> programs;
  for (const compile::Mode mode : modes) {
    run.emit.mode = mode;
    DANAUS_TRY(program, emit_program(graph, placement, model, options.chip, run));
    programs.push_back(std::move(program));
  }
  return programs;
}

}  // namespace

Result<std::unique_ptr<AnalogBackend>> AnalogBackend::create(const model::Model& model, const AnalogOptions& options,
                                                             std::optional<std::vector<factor::Factors>> factors,
                                                             Progress& progress) {
  progress.begin("compile and prove", 0);
  DANAUS_TRY(programs, compile_parts(model, options));
  std::uint32_t proof_tokens = 0;
  for (const program::Program& program : programs) {
    DANAUS_TRY(report, prove(program, options.map, options.seed));
    proof_tokens = std::max(proof_tokens, report.proof_tokens);
  }
  progress.end();
  std::vector<const program::Program*> parts;
  for (const program::Program& program : programs) parts.push_back(&program);
  DANAUS_TRY(machine, machine::AnalogMachine::create(parts, options.chip, options.seed));
  std::unique_ptr<AnalogBackend> backend(new AnalogBackend(model, std::move(machine)));
  backend->chip_ = options.chip;
  backend->arrays_ = programs.front().chip.arrays;
  backend->proof_tokens_ = proof_tokens;
  backend->program_digest_ = program::digest_of(programs.front());
  DANAUS_CHECK(backend->write(programs.front().intent, std::move(factors), progress));
  return backend;
}

Result<void> AnalogBackend::write(const Graph& graph, std::optional<std::vector<factor::Factors>> factors,
                                  Progress& progress) {
  std::uint64_t all = 0, done = 0;
  for (const model::LinearOperator& linear : model_.linear) all += std::uint64_t{linear.out} * linear.in;
  progress.begin("write the cells", all);
  double squared_error = 0, squared_norm = 0;
  for (std::size_t number = 0; number < model_.linear.size(); ++number) {
    const model::LinearOperator& linear = model_.linear[number];
    const Structure& structure = graph.at(linear.node).structure;
    if (factors) {
      const factor::Factors& own = (*factors)[number];
      ensure(own.structure == structure, "the factors have the structures of the program");
      DANAUS_CHECK(machine_.write(linear.node, {{own.right, own.left}}));
      (*factors)[number] = {};
    } else {
      const std::vector<float> weights = model::read_weights(linear);
      if (structure.kind == Structure::Kind::dense) {
        DANAUS_CHECK(machine_.write(linear.node, {{weights, {}}}));
      } else {
        DANAUS_TRY(projection, factor::project(weights, structure));
        DANAUS_CHECK(machine_.write(linear.node, {{projection.factors.right, projection.factors.left}}));
        squared_norm += projection.error.squared_norm;
        squared_error += projection.error.relative * projection.error.relative * projection.error.squared_norm;
      }
    }
    done += std::uint64_t{linear.out} * linear.in;
    progress.update(done);
  }
  progress.end();
  if (squared_norm > 0) relative_error_ = std::sqrt(squared_error / squared_norm);
  return {};
}

Result<void> AnalogBackend::multiply(std::size_t number, std::span<const float> x, std::size_t tokens,
                                     std::uint64_t first_token, std::span<float> y) {
  const model::LinearOperator& linear = model_.linear[number];
  const auto with_name = [&](Error error) {
    error.notes.push_back(fmt::format("in operator '{}'", linear.name));
    return fail(std::move(error));
  };
  if (!calibrating_) {
    Result<void> done = machine_.multiply(linear.node, x, tokens, first_token, y);
    if (!done) return with_name(std::move(done.error()));
    return {};
  }
  Result<std::vector<float>> answer = machine_.calibrate(linear.node, x, tokens);
  if (!answer) return with_name(std::move(answer.error()));
  const std::size_t computed = answer->size() / tokens;  // with the outputs of padding
  for (std::size_t t = 0; t < tokens; ++t)
    std::copy_n(answer->data() + t * computed, linear.out, y.data() + t * linear.out);
  return {};
}

bool AnalogBackend::needs_calibration() const {
  return chip_.noise.adc_range == chip::AdcRange::cal_shared || chip_.noise.adc_range == chip::AdcRange::cal_column ||
         chip_.noise.input_scale == chip::InputScale::tensor;
}

std::vector<AnalogStage> AnalogBackend::stages() const {
  std::unordered_map<std::uint32_t, std::size_t> number_of;  // looked up only
  for (std::size_t number = 0; number < model_.linear.size(); ++number)
    number_of[index(model_.linear[number].node)] = number;
  const std::vector<machine::StageStatistics> statistics = machine_.statistics();
  std::vector<AnalogStage> stages;
  for (const machine::StageStatistics& stage : statistics) {
    const std::string& name = model_.linear[number_of[index(stage.node)]].name;
    const bool is_first_of_two = stage.stage == 0 && &stage != &statistics.back() && (&stage)[1].node == stage.node;
    stages.push_back({stage.stage == 1 ? name + ".L" : is_first_of_two ? name + ".R" : name, stage});
  }
  return stages;
}

std::optional<std::size_t> common_run(std::span<const nn::TokenId> a, std::span<const nn::TokenId> b,
                                      std::size_t length) {
  if (length == 0 || a.size() < length || b.size() < length) return std::nullopt;
  const auto hash = [&](std::span<const nn::TokenId> run) {
    std::uint64_t value = 0;
    for (const nn::TokenId id : run) value = value * 0x9e3779b97f4a7c15u + id + 1;
    return value;
  };
  std::unordered_multimap<std::uint64_t, std::size_t> runs;  // looked up only
  for (std::size_t n = 0; n + length <= a.size(); ++n) runs.emplace(hash(a.subspan(n, length)), n);
  for (std::size_t n = 0; n + length <= b.size(); ++n) {
    const auto [first, last] = runs.equal_range(hash(b.subspan(n, length)));
    for (auto found = first; found != last; ++found) {
      if (std::equal(b.begin() + static_cast<std::ptrdiff_t>(n), b.begin() + static_cast<std::ptrdiff_t>(n + length),
                     a.begin() + static_cast<std::ptrdiff_t>(found->second)))
        return found->second;
    }
  }
  return std::nullopt;
}

}  // namespace danaus::pipeline
