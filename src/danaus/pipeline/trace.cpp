// The events of the timing machine with what they occupied. An event ends when its command commits; an activation that
// adds to a sum may have left its array before, so its parts follow from its costs.

#include "danaus/pipeline/trace.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/machine/plan.h"
#include "danaus/program/image.h"

namespace danaus::pipeline {
namespace {

class Recorder {
 public:
  Recorder(const program::Program& program, const chip::Chip& chip, std::size_t most, Trace& trace)
      : program_(program),
        chip_(chip),
        images_(program),
        most_bits_(machine::most_adc_bits(program.intent)),
        most_(most),
        trace_(trace) {}

  void operator()(const machine::Event& event) {
    if (is_full_ || event.start == event.end) return;
    if (trace_.activities.size() == most_) {
      is_full_ = true;
      return;
    }
    activity_ = {.iteration = event.iteration, .start = event.start, .end = event.end};
    const program::Command command = program::decode_unchecked(program_.code[event.command]);
    if (const auto* mvm = std::get_if<program::Mvm>(&command)) {
      add(event, *mvm);
    } else if (const auto* move = std::get_if<program::Move>(&command)) {
      add(Activity::Kind::network, index(move->from), index(move->from), "move");
    } else if (const auto* vec = std::get_if<program::Vec>(&command)) {
      add(Activity::Kind::digital, index(vec->tile), index(vec->tile), std::string(program::name_of(vec->op)));
    } else if (const auto* attend = std::get_if<program::Attend>(&command)) {
      const std::uint32_t region = index(attend->region);
      add(Activity::Kind::attention, region, index(program_.kv[region].tile), attend->append ? "append" : "context");
    }
  }
  bool is_full() const { return is_full_; }

 private:
  void add(Activity::Kind kind, std::uint32_t unit, std::uint32_t tile, const std::string& name) {
    activity_.kind = kind;
    activity_.unit = unit;
    activity_.tile = tile;
    const auto [found, is_new] = names_.try_emplace(name, static_cast<std::uint32_t>(trace_.names.size()));
    if (is_new) trace_.names.push_back(name);
    activity_.name = found->second;
    trace_.activities.push_back(activity_);
  }

  void add(const machine::Event& event, const program::Mvm& mvm) {
    const Config& config = program_.intent.configs[index(mvm.config)];
    const std::uint32_t bits = chip::converter_bits(chip_, config.adc_bits, most_bits_);
    const chip::ActivationTime time =
        chip::activation_parts(chip_, config.dac_bits, bits, machine::rounds_of(mvm.columns, chip_));
    activity_.driving = time.input + time.settle;
    const bool is_apart = chip_.adc.double_buffer || chip::are_converters_pooled(chip_);
    activity_.conversion = is_apart ? event.last_start : activity_.start + activity_.driving;
    activity_.end = is_apart ? event.last_end : activity_.conversion + time.adc;
    activity_.converting = activity_.end - activity_.conversion;
    add(Activity::Kind::array, index(mvm.array), index(program_.tile_of(mvm.array)), name_of(event.command, mvm));
  }

  std::string name_of(std::uint32_t position, const program::Mvm& mvm) {
    const auto [found, is_new] = activations_.try_emplace(position, "mvm");
    if (!is_new) return found->second;
    if (!resolver_.resolve(mvm, images_.of(mvm.array), program_.chip) || resolver_.pieces().empty())
      return found->second;
    const program::Patch& patch = *resolver_.pieces().front().patch;
    const Node& node = program_.intent.at(patch.node);
    found->second = node.name;
    if (node.structure.stages() > 1) found->second += patch.stage == 0 ? " R" : " L";
    return found->second;
  }

  const program::Program& program_;
  const chip::Chip& chip_;
  const program::Images images_;
  const std::uint32_t most_bits_;  // of a stage
  const std::size_t most_;
  Trace& trace_;
  program::Activation resolver_;
  std::map<std::uint32_t, std::string> activations_;  // names by position
  std::map<std::string, std::uint32_t> names_;
  Activity activity_;
  bool is_full_ = false;
};

}  // namespace

Result<Trace> trace_program(const program::Program& program, const chip::Chip& chip, const machine::Routing& routing,
                            Progress& progress, std::size_t most) {
  Trace trace;
  for (const program::Note& note : program.notes) {
    if (note.key == "model") trace.program = note.text;
  }
  trace.chip = chip.name;
  trace.arrays = program.chip.arrays;
  trace.arrays_per_tile = program.chip.arrays_per_tile;
  trace.tiles = program.chip.tiles();
  trace.regions = static_cast<std::uint32_t>(program.kv.size());
  Recorder recorder(program, chip, most, trace);
  DANAUS_TRY(timing,
             machine::simulate(program, chip,
                               {.routing = routing, .trace = [&](const machine::Event& event) { recorder(event); }},
                               progress));
  if (recorder.is_full())
    return fail(Error("pipeline.trace", Failure::unsupported,
                      fmt::format("more than {} commands take time: that is no picture anyone could read", most))
                    .with_hint("compile the program for fewer --tokens"));
  trace.timing = std::move(timing);
  return trace;
}

}  // namespace danaus::pipeline
