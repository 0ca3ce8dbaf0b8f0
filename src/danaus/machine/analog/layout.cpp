// The stage outputs get slots in the order in which activations first read them. Every group of every activation covers
// a few ranges of slots; all slots are cut where any such range begins or ends, so that between two cuts all columns
// take part in the same conversions: a run, with one term for each of them.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "danaus/machine/analog/stage.h"

namespace danaus::machine {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

class Layout {
 public:
  Layout(const program::Program& program, const StagePlan& plan, const Environment& environment)
      : program_(program), plan_(plan), environment_(environment) {}

  Result<Stage> build() {
    stage_.plan = &plan_;
    stage_.structure = program_.intent.at(plan_.node).structure;
    stage_.number = plan_.stage;
    stage_.inputs = stage_.structure.stage_inputs(plan_.stage);
    stage_.outputs = stage_.structure.stage_outputs(plan_.stage);
    stage_.statistics.node = plan_.node;
    stage_.statistics.stage = plan_.stage;
    DANAUS_CHECK(take_configuration());
    DANAUS_CHECK(give_slots());
    for (std::uint32_t a = 0; a < plan_.activations.size(); ++a) {
      for (std::uint32_t g = 0; g < plan_.activations[a].groups.size(); ++g) add_terms(a, g);
    }
    for (auto& [first, run] : runs_) stage_.runs.push_back(std::move(run));
    std::size_t panels = 0, converters = 0;
    for (Run& run : stage_.runs) {
      for (Term& term : run.terms) {
        term.panels = panels;
        term.converters = converters;
        panels += run.panels() * term.rows.size() * kernel::kPanel;
        converters += run.panels();
      }
    }
    stage_.panel_size = panels;
    stage_.converter_count = converters;
    return std::move(stage_);
  }

 private:
  const Config& config_of(const PlannedActivation& activation) const {
    return program_.intent.configs[index(activation.config)];
  }

  Result<void> take_configuration() {
    bool is_first = true;
    for (const PlannedActivation& activation : plan_.activations) {
      const Config& config = config_of(activation);
      if (!is_first && (config.dac_bits != stage_.dac_bits || config.range != stage_.range))
        return fail(Error("analog.unsupported", Failure::unsupported,
                          fmt::format("activations of one stage of '{}' have different input bits or converter ranges",
                                      program_.intent.at(plan_.node).name)));
      if (config.range == Config::Range::lossless && environment_.chip.noise.weight_bits == 0)
        return fail(
            Error("analog.unsupported", Failure::unsupported,
                  "weights that are not quantised (noise.weight_bits = 0) have no integers for lossless converters")
                .with_hint("set noise.weight_bits, or adc.rule = \"fixed\" with many bits"));
      is_first = false;
      stage_.dac_bits = config.dac_bits;
      stage_.range = config.range;
      if (config.range != Config::Range::lossless)
        stage_.statistics.adc_bits = std::max<std::uint32_t>(stage_.statistics.adc_bits, config.adc_bits);
    }
    return {};
  }

  std::uint32_t output_of(const PlannedGroup& group, std::uint32_t column) const {
    return group.out_first + column * group.out_step;
  }

  /// Columns [first, last) of a group whose slots are neighbours, one after the other.
  template <typename Visit>
  void for_ranges(const PlannedGroup& group, const Visit& visit) const {
    for (std::uint32_t first = 0; first < group.columns;) {
      std::uint32_t last = first + 1;
      const std::uint32_t slot = slot_of_[output_of(group, first)];
      while (last < group.columns && slot_of_[output_of(group, last)] == slot + (last - first)) ++last;
      visit(first, last, slot);
      first = last;
    }
  }

  Result<void> give_slots() {
    slot_of_.assign(stage_.outputs, kNone);
    for (const PlannedActivation& activation : plan_.activations) {
      for (const PlannedGroup& group : activation.groups) {
        for (std::uint32_t column = 0; column < group.columns; ++column) {
          const std::uint32_t output = output_of(group, column);
          if (output >= stage_.outputs)
            return fail(Error("analog.activation", Failure::check,
                              fmt::format("command {} reads an output that '{}' does not have", activation.command,
                                          program_.intent.at(plan_.node).name)));
          if (slot_of_[output] != kNone) continue;
          slot_of_[output] = static_cast<std::uint32_t>(stage_.output_of_slot.size());
          stage_.output_of_slot.push_back(output);
        }
      }
    }
    for (const PlannedActivation& activation : plan_.activations) {
      for (const PlannedGroup& group : activation.groups) {
        for_ranges(group, [&](std::uint32_t first, std::uint32_t last, std::uint32_t slot) {
          cuts_.insert(slot);
          cuts_.insert(slot + (last - first));
        });
      }
    }
    return {};
  }

  void add_terms(std::uint32_t activation, std::uint32_t number) {
    const PlannedActivation& planned = plan_.activations[activation];
    const PlannedGroup& group = planned.groups[number];
    for_ranges(group, [&](std::uint32_t first, std::uint32_t last, std::uint32_t slot) {
      for (auto cut = cuts_.find(slot); *cut != slot + (last - first); ++cut) {
        const std::uint32_t begin = *cut, end = *std::next(cut);
        Run& run = runs_.try_emplace(begin, Run{.first = begin, .count = end - begin, .terms = {}}).first->second;
        add_terms(run, activation, number, first + (begin - slot));
      }
    });
  }

  void add_terms(Run& run, std::uint32_t activation, std::uint32_t number, std::uint32_t first) {
    const PlannedActivation& planned = plan_.activations[activation];
    const Config& config = config_of(planned);
    Term term;
    term.activation = activation;
    term.group = number;
    term.first = first;
    term.limit = config.range == Config::Range::lossless ? 0 : largest_code(config.adc_bits);
    add_rows(term, planned, planned.groups[number]);
    for (std::uint32_t slice = 0; slice < environment_.slicing.slices; ++slice) {
      term.slice = slice;
      term.value = environment_.slicing.value(slice);
      if (environment_.chip.noise.subtract == chip::Subtract::analog) {
        term.side = Side::difference;
        run.terms.push_back(term);
        continue;
      }
      term.side = Side::plus;
      run.terms.push_back(term);
      term.side = Side::minus;
      term.value = -term.value;
      run.terms.push_back(term);
    }
  }

  /// Rows of the group's cells, then driven rows that have idle cells in its columns.
  void add_rows(Term& term, const PlannedActivation& planned, const PlannedGroup& group) const {
    std::set<std::uint32_t> rows;
    const auto add = [&](std::uint32_t row, std::uint32_t input) {
      term.rows.push_back(row);
      if (!term.runs.empty() && term.runs.back().first + term.runs.back().count == input) {
        ++term.runs.back().count;
      } else {
        term.runs.push_back({input, 1});
      }
    };
    for (const PlannedGroup::Part& part : group.parts) {
      for (std::uint32_t row = 0; row < part.rows; ++row) {
        add(part.row + row, part.in_first + row);
        rows.insert(part.row + row);
      }
    }
    term.programmed = static_cast<std::uint32_t>(term.rows.size());
    const chip::Chip::Noise& noise = environment_.chip.noise;
    if (!noise.idle_leak && noise.ir_drop != chip::IrDrop::nodal) return;
    for (const CarriedRow& row : planned.carried) {
      if (!rows.contains(row.row)) add(row.row, row.input);
    }
  }

  const program::Program& program_;
  const StagePlan& plan_;
  const Environment& environment_;
  Stage stage_;
  std::vector<std::uint32_t> slot_of_;
  std::set<std::uint32_t> cuts_;
  std::map<std::uint32_t, Run> runs_;
};

}  // namespace

Slicing Slicing::of(std::uint32_t weight_bits, std::uint32_t slices) {
  Slicing slicing;
  slicing.slices = slices;
  if (weight_bits == 0) return slicing;
  slicing.full_scale = largest_code(weight_bits);
  slicing.digit_bits = (std::max(weight_bits, 2u) - 1 + slices - 1) / slices;
  slicing.digit_full_scale = static_cast<float>((std::uint32_t{1} << slicing.digit_bits) - 1);
  return slicing;
}

float Slicing::digit(float code, std::uint32_t slice) const {
  if (slices == 1) return code;
  const auto magnitude = static_cast<std::uint32_t>(std::fabs(code));
  const auto digit = static_cast<float>(magnitude >> (slice * digit_bits) & ((std::uint32_t{1} << digit_bits) - 1));
  return code < 0 ? -digit : digit;
}

Result<Stage> lay_out(const program::Program& program, const StagePlan& plan, const Environment& environment) {
  return Layout(program, plan, environment).build();
}

}  // namespace danaus::machine
