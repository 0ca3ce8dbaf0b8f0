// create() plans the activations and lays out each stage (layout.cpp); write() fills cells and panels (write.cpp);
// multiply() drives, converts and adds up stage after stage (execute.cpp).
#include "danaus/machine/analog/analog_machine.h"

#include <fmt/format.h>

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
  return AnalogMachine(std::move(made));
}

Result<void> AnalogMachine::write(NodeId node, const OperatorWeights& weights) {
  std::vector<Stage>& stages = implementation_->of(node);
  for (std::size_t s = 0; s < stages.size(); ++s)
    DANAUS_CHECK(write_stage(stages[s], weights.stages[s], implementation_->environment));
  return {};
}

Result<std::vector<float>> AnalogMachine::calibrate(NodeId node, std::span<const float> x, std::size_t tokens) {
  Environment& environment = implementation_->environment;
  std::vector<float> value(x.begin(), x.end());
  for (Stage& stage : implementation_->of(node)) {
    ensure(stage.is_written, "an operator is written before it is calibrated");
    if (environment.chip.noise.input_scale == chip::InputScale::tensor)
      stage.static_unit = kernel::largest_magnitude(value) / largest_code(stage.dac_bits);
    DANAUS_TRY(driven, drive(stage, value, tokens, environment));
    value.assign(tokens * stage.outputs, 0.0f);
    calibrate_stage(stage, driven, environment, value);
    stage.statistics = {.node = node, .stage = stage.number, .adc_bits = stage.statistics.adc_bits, .adc = {}};
  }
  return value;
}

Result<void> AnalogMachine::multiply(NodeId node, std::span<const float> x, std::size_t tokens,
                                     std::uint64_t first_token, std::span<float> y) {
  Environment& environment = implementation_->environment;
  if (tokens == 0) return {};
  std::vector<float> value;
  std::span<const float> inputs = x;
  for (Stage& stage : implementation_->of(node)) {
    ensure(stage.is_written, "an operator is written before it is read");
    if (stage.takes_data() && !stage.is_calibrated)
      return fail(Error("analog.not-calibrated", Failure::usage,
                        "the converters' range comes from data, but there is no calibration")
                      .with_hint("give a calibration text, or set noise.adc_range to l1, full or user"));
    DANAUS_TRY(driven, drive(stage, inputs, tokens, environment));
    std::vector<float> outputs(tokens * stage.outputs);
    execute_stage(stage, driven, first_token, environment, outputs);
    value = std::move(outputs);
    inputs = value;
  }
  // Without the outputs of padding.
  const std::size_t out = y.size() / tokens, computed = value.size() / tokens;
  ensure(out <= computed, "an operator has at most the outputs of its last stage");
  for (std::size_t t = 0; t < tokens; ++t)
    std::copy_n(value.begin() + static_cast<std::ptrdiff_t>(t * computed), out,
                y.begin() + static_cast<std::ptrdiff_t>(t * out));
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
