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
#include "danaus/core/parallel.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {
namespace {

/// The programs that execute all operators between them.
Result<std::vector<program::Program>> compile_parts(const model::Model& model, const Graph& graph,
                                                    const std::string& map, const AnalogOptions& options) {
  RunOptions run;
  run.emit.share_inputs = options.share_inputs;
  run.emit.tokens = 1;
  run.emit.kv = 1;
  DANAUS_TRY(placement, place(graph, model, options.chip, map, run));
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

/// What a scale is chosen on: so many of the calibration vectors, evenly spread.
constexpr std::size_t kChoiceVectors = 64;

std::vector<float> pick_vectors(std::span<const float> x, std::size_t tokens, std::size_t count) {
  const std::size_t width = x.size() / tokens;
  std::vector<float> picked;
  picked.reserve(count * width);
  for (std::size_t n = 0; n < count; ++n) {
    const auto first = x.begin() + static_cast<std::ptrdiff_t>(n * tokens / count * width);
    picked.insert(picked.end(), first, first + static_cast<std::ptrdiff_t>(width));
  }
  return picked;
}

/// Root mean square of each stage output of R over vectors.
std::vector<double> channel_sizes(const factor::Factors& factors, std::span<const float> x, std::size_t count) {
  const Structure& structure = factors.structure;
  const std::size_t width = x.size() / count;
  std::vector<double> squares(structure.stage_outputs(0));
  const std::uint32_t blocks = structure.block_count(0);
  std::vector<std::size_t> first(blocks + 1);
  for (std::uint32_t b = 0; b < blocks; ++b) {
    const Block block = structure.block(0, b);
    first[b + 1] = first[b] + std::size_t{block.in_count} * block.out_count;
  }
  parallel_for(blocks, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      const Block block = structure.block(0, static_cast<std::uint32_t>(b));
      const float* weights = factors.right.data() + first[b];
      const std::size_t inputs =
          block.in_first >= width ? 0 : std::min<std::size_t>(block.in_count, width - block.in_first);
      for (std::uint32_t j = 0; j < block.out_count; ++j, weights += block.in_count) {
        double& square = squares[block.out_first + j * block.out_step];  // of this block alone
        for (std::size_t t = 0; t < count; ++t) {
          double sum = 0;
          for (std::size_t i = 0; i < inputs; ++i)
            sum += static_cast<double>(weights[i]) * static_cast<double>(x[t * width + block.in_first + i]);
          square += sum * sum;
        }
      }
    }
  });
  for (double& square : squares) square = std::sqrt(square / static_cast<double>(count));
  return squares;
}

/// The same operator with channel c times 1 / sizes[c] on the way in and sizes[c] on the way out.
factor::Factors rescale(factor::Factors factors, const std::vector<double>& sizes) {
  const auto scale_of = [&](std::uint32_t channel) { return sizes[channel] > 0 ? sizes[channel] : 1.0; };
  for (const std::uint32_t stage : {0u, 1u}) {
    float* weight = stage == 0 ? factors.right.data() : factors.left.data();
    for (std::uint32_t b = 0; b < factors.structure.block_count(stage); ++b) {
      const Block block = factors.structure.block(stage, b);
      for (std::uint32_t j = 0; j < block.out_count; ++j) {
        for (std::uint32_t i = 0; i < block.in_count; ++i, ++weight) {
          const double scale =
              stage == 0 ? 1 / scale_of(block.out_first + j * block.out_step) : scale_of(block.in_first + i);
          *weight = static_cast<float>(static_cast<double>(*weight) * scale);
        }
      }
    }
  }
  return factors;
}

}  // namespace

Result<std::unique_ptr<AnalogBackend>> AnalogBackend::create(const model::Model& model, const AnalogOptions& options,
                                                             std::optional<std::vector<factor::Factors>> operators,
                                                             Progress& progress) {
  std::vector<Structure> structures;
  for (std::size_t number = 0; number < model.linear.size(); ++number) {
    const model::LinearOperator& linear = model.linear[number];
    structures.push_back(operators ? (*operators)[number].structure : Structure::dense(linear.out, linear.in));
  }
  const std::string map = !options.map.empty() ? options.map : operators ? "sparse" : "linear";
  DANAUS_TRY(graph, with_adc_bits(compile::with_structures(model.graph, structures, options.chip), options.adc_bits,
                                  map, options.chip));
  progress.begin("compile and prove", 0);
  DANAUS_TRY(programs, compile_parts(model, graph, map, options));
  std::uint32_t proof_tokens = 0;
  for (const program::Program& program : programs) {
    DANAUS_TRY(report, prove(program, map, options.seed));
    proof_tokens = std::max(proof_tokens, report.proof_tokens);
  }
  progress.end();
  std::vector<const program::Program*> parts;
  for (const program::Program& program : programs) parts.push_back(&program);
  DANAUS_TRY(machine, machine::AnalogMachine::create(parts, options.chip, options.seed));
  std::unique_ptr<AnalogBackend> backend(new AnalogBackend(model, std::move(machine)));
  backend->chip_ = options.chip;
  backend->map_ = map;
  backend->channel_scale_ = options.channel_scale;
  backend->arrays_ = programs.front().chip.arrays;
  backend->proof_tokens_ = proof_tokens;
  backend->program_digest_ = program::digest_of(programs.front());
  DANAUS_CHECK(backend->write(std::move(operators), progress));
  return backend;
}

Result<void> AnalogBackend::write(std::optional<std::vector<factor::Factors>> operators, Progress& progress) {
  std::uint64_t all = 0, done = 0;
  for (const model::LinearOperator& linear : model_.linear) all += std::uint64_t{linear.out} * linear.in;
  progress.begin("write the cells", all);
  uncalibrated_.resize(model_.linear.size());
  for (std::size_t number = 0; number < model_.linear.size(); ++number) {
    const model::LinearOperator& linear = model_.linear[number];
    factor::Factors own;
    if (operators) {
      own = std::move((*operators)[number]);
    } else {
      own = {Structure::dense(linear.out, linear.in), model::read_weights(linear), {}};
    }
    DANAUS_CHECK(rewrite(number, own));
    if (own.structure.stages() == 2 && needs_calibration(chip_) && channel_scale_ != ChannelScale::balanced)
      uncalibrated_[number] = std::move(own);
    done += std::uint64_t{linear.out} * linear.in;
    progress.update(done);
  }
  progress.end();
  return {};
}

Result<void> AnalogBackend::multiply(std::size_t number, std::span<const float> x,
                                     std::span<const std::uint64_t> numbers, std::span<float> y) {
  const model::LinearOperator& linear = model_.linear[number];
  const std::size_t tokens = numbers.size();
  const auto with_name = [&](Error error) {
    error.notes.push_back(fmt::format("in operator '{}'", linear.name));
    return fail(std::move(error));
  };
  if (!calibrating_) {
    Result<void> done = machine_.multiply(linear.node, x, numbers, y);
    if (!done) return with_name(std::move(done.error()));
    return {};
  }
  Result<std::vector<float>> answer = calibrate(number, x, tokens);
  if (!answer) return with_name(std::move(answer.error()));
  std::copy(answer->begin(), answer->end(), y.begin());
  return {};
}

Result<void> AnalogBackend::rewrite(std::size_t number, const factor::Factors& factors) {
  return machine_.write(model_.linear[number].node, {{factors.right, factors.left}});
}

Result<std::vector<float>> AnalogBackend::calibrate(std::size_t number, std::span<const float> x, std::size_t tokens) {
  const NodeId node = model_.linear[number].node;
  if (!uncalibrated_[number]) return machine_.calibrate(node, x, tokens);
  const factor::Factors balanced = std::move(*uncalibrated_[number]);
  uncalibrated_[number].reset();
  const std::size_t count = std::min(tokens, kChoiceVectors), out = model_.linear[number].out;
  const std::vector<float> sample = pick_vectors(x, tokens, count);
  const factor::Factors equal = rescale(balanced, channel_sizes(balanced, sample, count));
  std::vector<float> exact(count * out), answer(count * out);
  const std::size_t in = sample.size() / count;
  parallel_for(count, 4, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t)
      factor::apply(balanced, std::span(sample).subspan(t * in, in), std::span(exact).subspan(t * out, out));
  });
  struct Trial {
    double squared_error = 0;   ///< of the whole operator, converters included, on the sample
    std::vector<float> answer;  ///< of the cells to all vectors
  };
  const auto try_out = [&](const factor::Factors& factors) -> Result<Trial> {
    DANAUS_CHECK(rewrite(number, factors));
    DANAUS_TRY(of_cells, machine_.calibrate(node, x, tokens));
    DANAUS_CHECK(machine_.multiply(node, sample, std::vector<std::uint64_t>(count), answer));
    Trial trial{0, std::move(of_cells)};
    for (std::size_t n = 0; n < exact.size(); ++n) {
      const double error = static_cast<double>(answer[n]) - static_cast<double>(exact[n]);
      trial.squared_error += error * error;
    }
    return trial;
  };
  if (channel_scale_ == ChannelScale::automatic) {
    // The one that most operators keep comes last, so that it is in the cells.
    DANAUS_TRY(with_equal, try_out(equal));
    DANAUS_TRY(with_balanced, try_out(balanced));
    if (with_balanced.squared_error <= with_equal.squared_error) return std::move(with_balanced.answer);
  }
  ++rescaled_;
  DANAUS_CHECK(rewrite(number, equal));
  return machine_.calibrate(node, x, tokens);
}

void AnalogBackend::set_calibrating(bool on) {
  calibrating_ = on;
  machine_.reset_statistics();
}

bool needs_calibration(const chip::Chip& chip) {
  return chip.noise.adc_range == chip::AdcRange::cal_shared || chip.noise.adc_range == chip::AdcRange::cal_column ||
         chip.noise.input_scale == chip::InputScale::tensor;
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
  std::unordered_map<std::uint64_t, std::size_t> runs;  // looked up only; the first of those with one hash
  for (std::size_t n = 0; n + length <= a.size(); ++n) runs.emplace(hash(a.subspan(n, length)), n);
  for (std::size_t n = 0; n + length <= b.size(); ++n) {
    const auto found = runs.find(hash(b.subspan(n, length)));
    if (found != runs.end() && std::ranges::equal(a.subspan(found->second, length), b.subspan(n, length)))
      return found->second;
  }
  return std::nullopt;
}

}  // namespace danaus::pipeline
