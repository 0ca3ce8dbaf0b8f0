// create() plans the activations and lays out each stage (layout.cpp); write() fills cells and panels (write.cpp);
// multiply() drives, converts and adds up stage after stage (execute.cpp).
#include "danaus/machine/analog/analog_machine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/machine/analog/mvm_plan.h"
#include "danaus/machine/analog/stage.h"

namespace danaus::machine {

struct AnalogMachine::Implementation {
  Environment environment;
  std::vector<MvmPlan> plans;                 ///< of each program
  std::vector<std::vector<Stage>> operators;  ///< per linear node, in graph order

  std::vector<Stage>& of(NodeId node) {
    const std::uint32_t number = plans.front().number_of_node[index(node)];
    ensure(number < operators.size(), "the node is a linear operator");
    return operators[number];
  }
};

namespace {

/// What the panels of all operators will take, against the memory of this machine.
Result<void> check_memory(std::vector<std::vector<Stage>>& operators, const chip::Chip& chip) {
  const std::uint64_t copies = 1 + (chip.noise.read_noise == chip::ReadNoise::none ? 0u : 1u) +
                               (chip.noise.ir_drop == chip::IrDrop::closed ? 2u : 0u);
  std::uint64_t bytes = 0;
  for (const std::vector<Stage>& stages : operators) {
    for (const Stage& stage : stages)
      bytes += stage.panel_size * sizeof(float) * copies + stage.converter_count * sizeof(kernel::Converters);
  }
  const std::uint64_t memory =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  if (bytes <= memory) return {};
  constexpr double kGigabyte = 1e9;
  return fail(Error("analog.too-large", Failure::does_not_fit,
                    fmt::format("the cells of this model need {:.1f} GB of memory, the machine has {:.1f} GB",
                                static_cast<double>(bytes) / kGigabyte, static_cast<double>(memory) / kGigabyte))
                  .with_hint("take a smaller model or fewer effects: read noise doubles the need, ir_drop = \"closed\" "
                             "triples it, every slice counts"));
}

/// The first `out` elements of each vector: without the outputs of padding.
void cut_padding(std::span<const float> value, std::size_t tokens, std::size_t out, std::span<float> y) {
  const std::size_t computed = tokens == 0 ? out : value.size() / tokens;
  ensure(out <= computed && y.size() == tokens * out, "an operator has at most the outputs of its last stage");
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::span<const float> vector = value.subspan(t * computed, out);
    std::copy(vector.begin(), vector.end(), y.begin() + static_cast<std::ptrdiff_t>(t * out));
  }
}

}  // namespace

AnalogMachine::AnalogMachine(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
AnalogMachine::AnalogMachine(AnalogMachine&&) noexcept = default;
AnalogMachine& AnalogMachine::operator=(AnalogMachine&&) noexcept = default;
AnalogMachine::~AnalogMachine() = default;

Result<AnalogMachine> AnalogMachine::create(std::span<const program::Program* const> programs, const chip::Chip& chip,
                                            std::uint64_t seed) {
  ensure(!programs.empty(), "there is a program");
  auto made = std::make_unique<Implementation>();
  Environment& environment = made->environment;
  environment.chip = chip;
  environment.seed = seed;
  if (chip.noise.weight_bits == 0 && chip.array.slices > 1)
    return fail(Error("analog.unsupported", Failure::unsupported,
                      "weights that are not quantised (noise.weight_bits = 0) cannot be cut into slices")
                    .with_hint("set noise.weight_bits, or array.slices = 1"));
  const bool has_spread = chip.noise.adc_gain_sd != 0 || chip.noise.adc_offset_sd != 0;
  if (has_spread && chip.adc.sharing != chip::AdcSharing::column)
    return fail(
        Error("analog.unsupported", Failure::unsupported,
              "which converter a column gets depends on the schedule where converters are shared, so that their "
              "own errors cannot be told")
            .with_hint("set adc.sharing = \"column\", or noise.adc_gain_sd and noise.adc_offset_sd = 0"));
  environment.slicing = Slicing::of(chip.noise.weight_bits, chip.array.slices);
  if (chip.noise.undriven_row_leakage != 0) {
    std::size_t arrays = 0;
    for (const program::Program* program : programs) arrays = std::max<std::size_t>(arrays, program->chip.arrays);
    environment.column_sums.resize(arrays * chip.array.slices * 2 * chip.array.cols);
  }
  for (const program::Program* program : programs) {
    DANAUS_TRY(plan, plan_activations(*program));
    made->plans.push_back(std::move(plan));
  }
  const MvmPlan& first = made->plans.front();
  for (std::size_t s = 0; s < first.stages.size(); s += 2) {
    // The program that executes the operator; if none does, there is nothing to lay out.
    std::size_t executes = 0;
    while (executes + 1 < programs.size() && made->plans[executes].stages[s].activations.empty()) ++executes;
    const program::Program& program = *programs[executes];
    const MvmPlan& plan = made->plans[executes];
    ensure(plan.stages.size() == first.stages.size(), "the programs have the same graph");
    std::vector<Stage>& stages = made->operators.emplace_back();
    const Structure& structure = program.intent.at(plan.stages[s].node).structure;
    for (std::uint32_t number = 0; number < structure.stages(); ++number) {
      DANAUS_TRY(stage, lay_out(program, plan.stages[s + number], environment));
      stages.push_back(std::move(stage));
    }
  }
  DANAUS_CHECK(check_memory(made->operators, chip));
  return AnalogMachine(std::move(made));
}

Result<void> AnalogMachine::write(NodeId node, const OperatorWeights& weights) {
  std::vector<Stage>& stages = implementation_->of(node);
  for (std::size_t s = 0; s < stages.size(); ++s)
    DANAUS_CHECK(write_stage(stages[s], weights.stages[s], implementation_->environment));
  return {};
}

namespace {

/// What the blocks of a gathered operator read of x {tokens, in}; empty for other structures, whose input it is.
std::vector<float> gathered(const Structure& structure, std::span<const float> x, std::size_t tokens) {
  if (structure.kind != Structure::Kind::gather) return {};
  const std::size_t in = structure.in, inputs = structure.stage_inputs(0);
  std::vector<float> value(tokens * inputs);
  for (std::size_t token = 0; token < tokens; ++token)
    gather_inputs<float>(structure, x.subspan(token * in, in), std::span(value).subspan(token * inputs, inputs));
  return value;
}

}  // namespace

Result<std::vector<float>> AnalogMachine::calibrate(NodeId node, std::span<const float> x, std::size_t tokens) {
  Environment& environment = implementation_->environment;
  std::vector<float> value = gathered(implementation_->of(node).front().structure, x, tokens);
  if (value.empty()) value.assign(x.begin(), x.end());
  for (Stage& stage : implementation_->of(node)) {
    ensure(stage.is_written, "an operator is written before it is calibrated");
    if (environment.chip.noise.input_scale == chip::InputScale::tensor) {
      const float most = kernel::largest_magnitude(value);
      if (most > 0) stage.static_unit = most / largest_code(stage.dac_bits);
      stage.saw_nothing = most == 0;
    }
    DANAUS_TRY(driven, drive(stage, value, tokens, environment));
    value.assign(tokens * stage.outputs, 0.0f);
    calibrate_stage(stage, driven, environment, value);
    stage.statistics = {.node = node, .stage = stage.number, .adc_bits = stage.statistics.adc_bits, .adc = {}};
  }
  const std::size_t out = implementation_->of(node).front().structure.out;
  std::vector<float> y(tokens * out);
  cut_padding(value, tokens, out, y);
  return y;
}

std::size_t AnalogMachine::accept_uncalibrated() {
  const bool is_static = implementation_->environment.chip.noise.input_scale == chip::InputScale::tensor;
  std::size_t count = 0;
  for (std::vector<Stage>& stages : implementation_->operators) {
    bool is_new = false;
    for (Stage& stage : stages) {
      if (!stage.is_written || stage.is_calibrated || !(stage.takes_data() || is_static)) continue;
      stage.is_calibrated = stage.saw_nothing = is_new = true;
    }
    count += is_new ? 1 : 0;
  }
  return count;
}

namespace {

/// What a stage has to have before it converts.
Result<void> check_ready(const Stage& stage) {
  ensure(stage.is_written, "an operator is written before it is read");
  if (stage.runs.empty())
    return fail(Error("analog.activation", Failure::check, "no activation of the program executes this operator")
                    .with_hint("`danaus verify` says what is wrong with the program"));
  if (stage.takes_data() && !stage.is_calibrated)
    return fail(Error("analog.not-calibrated", Failure::usage,
                      "the converters' range comes from data, but there is no calibration")
                    .with_hint("give a calibration text, or set noise.adc_range to l1, full or user"));
  return {};
}

}  // namespace

Result<std::vector<float>> AnalogMachine::answer_of_stage(NodeId node, std::uint32_t number, std::span<const float> x,
                                                          std::span<const std::uint64_t> tokens, bool has_converters) {
  const Environment& environment = implementation_->environment;
  ensure(number < implementation_->of(node).size(), "the operator has such a stage");
  Stage& stage = implementation_->of(node)[number];
  DANAUS_CHECK(check_ready(stage));
  DANAUS_TRY(driven, drive(stage, x, tokens.size(), environment));
  std::vector<float> y(tokens.size() * stage.outputs);
  if (has_converters) {
    execute_stage(stage, driven, tokens, environment, y);
  } else {
    calibrate_stage(stage, driven, environment, y);
  }
  return y;
}

Result<void> AnalogMachine::multiply(NodeId node, std::span<const float> x, std::span<const std::uint64_t> numbers,
                                     std::span<float> y) {
  Environment& environment = implementation_->environment;
  const std::size_t tokens = numbers.size();
  if (tokens == 0) return {};
  std::vector<float> value = gathered(implementation_->of(node).front().structure, x, tokens);
  std::span<const float> inputs = value.empty() ? x : value;
  for (Stage& stage : implementation_->of(node)) {
    DANAUS_CHECK(check_ready(stage));
    DANAUS_TRY(driven, drive(stage, inputs, tokens, environment));
    std::vector<float> outputs(tokens * stage.outputs);
    execute_stage(stage, driven, numbers, environment, outputs);
    value = std::move(outputs);
    inputs = value;
  }
  cut_padding(value, tokens, implementation_->of(node).front().structure.out, y);
  return {};
}

std::vector<StageStatistics> AnalogMachine::statistics() const {
  std::vector<StageStatistics> all;
  for (const std::vector<Stage>& stages : implementation_->operators) {
    for (const Stage& stage : stages) {
      if (stage.statistics.adc.conversions != 0) all.push_back(stage.statistics);
    }
  }
  return all;
}

void AnalogMachine::reset_statistics() {
  for (std::vector<Stage>& stages : implementation_->operators) {
    for (Stage& stage : stages)
      stage.statistics = {
          .node = stage.plan->node, .stage = stage.number, .adc_bits = stage.statistics.adc_bits, .adc = {}};
  }
}

}  // namespace danaus::machine
