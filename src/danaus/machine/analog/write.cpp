// Weights -> scale and code -> slices -> cells (cells.h) -> panels, and the digital value of a unit of the sums.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "danaus/chip/cost.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/machine/analog/cells.h"
#include "danaus/machine/analog/draws.h"
#include "danaus/machine/analog/ir_drop.h"
#include "danaus/machine/analog/stage.h"

namespace danaus::machine {
namespace {

using kernel::kPanel;

constexpr float kNoLimit = 1e30f;

/// Codes of a block, inputs x outputs, and per output the weight of a code of 1.
struct Quantised {
  std::vector<float> codes;
  std::vector<float> unit;
};

Quantised quantise(std::span<const float> weights, std::size_t inputs, std::size_t outputs,
                   const chip::Chip::Noise& noise, float full_scale) {
  Quantised result{std::vector<float>(inputs * outputs), std::vector<float>(outputs)};
  float most = 0;
  for (std::size_t j = 0; j < outputs; ++j) {
    result.unit[j] = kernel::largest_magnitude(weights.subspan(j * inputs, inputs));
    most = std::max(most, result.unit[j]);
  }
  if (noise.weight_scale == chip::WeightScale::matrix) std::fill(result.unit.begin(), result.unit.end(), most);
  for (std::size_t j = 0; j < outputs; ++j) {
    if (result.unit[j] == 0) continue;
    // In double, so that a code does not depend on how the division rounds.
    const double factor = static_cast<double>(full_scale) / static_cast<double>(result.unit[j]);
    for (std::size_t i = 0; i < inputs; ++i) {
      const double code = static_cast<double>(weights[j * inputs + i]) * factor;
      result.codes[i * outputs + j] = static_cast<float>(noise.weight_bits == 0 ? code : std::nearbyint(code));
    }
    result.unit[j] = static_cast<float>(1 / factor);
  }
  return result;
}

class Writer {
 public:
  Writer(Stage& stage, std::span<const float> weights, Environment& environment)
      : stage_(stage), weights_(weights), environment_(environment), noise_(environment.chip.noise) {}

  Result<void> write() {
    if (!std::isfinite(kernel::largest_magnitude(weights_)))
      return fail(Error("analog.non-finite", Failure::bad_input, "a weight is infinite or not a number")
                      .with_hint("the model file is damaged"));
    program_blocks();
    compensate();
    stage_.variance.assign(has_variance_ ? stage_.panel_size : 0, 0.0f);
    const std::size_t closed = noise_.ir_drop == chip::IrDrop::closed ? stage_.panel_size : 0;
    stage_.absolute.assign(closed, 0.0f);
    stage_.weighted.assign(closed, 0.0f);
    stage_.panels.assign(stage_.panel_size, 0.0f);
    stage_.converters.resize(stage_.converter_count);
    const bool leaks = noise_.undriven_row_leakage != 0;
    if (leaks) stage_.driven_sums.assign(stage_.converters.size() * kPanel, 0.0);
    if (noise_.ir_drop == chip::IrDrop::nodal) solve_networks();
    parallel_for(stage_.runs.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        for (const Term& term : stage_.runs[r].terms) write_term(stage_.runs[r], term);
      }
    });
    if (leaks) add_column_sums();
    stage_.is_written = true;
    stage_.is_calibrated = stage_.saw_nothing = false;
    return {};
  }

 private:
  struct BlockCells {
    Block block;
    std::vector<std::vector<float>> digits;  ///< per slice
    std::vector<Conductances> conductances;  ///< per slice
  };

  void program_blocks() {
    const std::uint32_t count = stage_.structure.block_count(stage_.number);
    blocks_.resize(count);
    stage_.value.assign(stage_.outputs, 0.0f);
    std::vector<std::size_t> first(count);
    std::size_t next = 0;
    for (std::uint32_t b = 0; b < count; ++b) {
      blocks_[b].block = stage_.structure.block(stage_.number, b);
      first[b] = next;
      next += std::size_t{blocks_[b].block.in_count} * blocks_[b].block.out_count;
    }
    parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t b = begin; b < end; ++b) program_block(blocks_[b], first[b]);
    });
    for (const BlockCells& cells : blocks_)
      has_variance_ = has_variance_ || !cells.conductances[0].read_variance.empty();
  }

  void program_block(BlockCells& cells, std::size_t first) {
    const Block& block = cells.block;
    const Slicing& slicing = environment_.slicing;
    const std::size_t size = std::size_t{block.in_count} * block.out_count;
    const Quantised quantised =
        quantise(weights_.subspan(first, size), block.in_count, block.out_count, noise_, slicing.full_scale);
    for (std::uint32_t j = 0; j < block.out_count; ++j)
      stage_.value[block.out_first + j * block.out_step] = quantised.unit[j];
    const CellKeys keys{.node = index(stage_.plan->node),
                        .stage = stage_.number,
                        .in_first = block.in_first,
                        .in_step = 1,
                        .inputs = block.in_count,
                        .out_first = block.out_first,
                        .out_step = block.out_step,
                        .outputs = block.out_count};
    for (std::uint32_t slice = 0; slice < slicing.slices; ++slice) {
      std::vector<float> digits = quantised.codes;
      for (float& digit : digits) digit = slicing.digit(digit, slice);
      cells.conductances.push_back(program(slice, keys, digits));
      cells.digits.push_back(std::move(digits));
    }
  }

  /// Cells of a block, a few inputs at a time on all threads: a cell does not depend on how the block is cut.
  Conductances program(std::uint32_t slice, const CellKeys& block, std::span<const float> digits) const {
    constexpr std::uint32_t kInputs = 64;
    const std::uint32_t chunks = (block.inputs + kInputs - 1) / kInputs;
    std::vector<Conductances> parts(chunks);
    parallel_for(chunks, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t n = begin; n < end; ++n) {
        CellKeys keys = block;
        const auto first = static_cast<std::uint32_t>(n) * kInputs;
        keys.in_first += first * keys.in_step;
        keys.inputs = std::min(kInputs, block.inputs - first);
        parts[n] =
            program_cells(noise_, environment_.seed, slice, keys,
                          digits.subspan(std::size_t{first} * block.outputs, std::size_t{keys.inputs} * block.outputs),
                          environment_.slicing.digit_full_scale);
      }
    });
    Conductances all = std::move(parts[0]);
    for (std::size_t n = 1; n < parts.size(); ++n) {
      all.plus.insert(all.plus.end(), parts[n].plus.begin(), parts[n].plus.end());
      all.minus.insert(all.minus.end(), parts[n].minus.begin(), parts[n].minus.end());
      all.read_variance.insert(all.read_variance.end(), parts[n].read_variance.begin(), parts[n].read_variance.end());
      for (std::uint32_t j = 0; j < block.outputs; ++j) {
        all.programmed_sum[j] += parts[n].programmed_sum[j];
        all.present_sum[j] += parts[n].present_sum[j];
      }
    }
    return all;
  }

  /// Drift is compensated by a digital factor: what the cells conducted when they were programmed over what they
  /// conduct now.
  void compensate() {
    if (noise_.compensation == chip::Compensation::none) return;
    std::vector<double> programmed(stage_.outputs), present(stage_.outputs);
    for (const BlockCells& cells : blocks_) {
      for (std::uint32_t slice = 0; slice < environment_.slicing.slices; ++slice) {
        const double value = static_cast<double>(environment_.slicing.value(slice));
        for (std::uint32_t j = 0; j < cells.block.out_count; ++j) {
          const std::uint32_t output = cells.block.out_first + j * cells.block.out_step;
          programmed[output] += value * cells.conductances[slice].programmed_sum[j];
          present[output] += value * cells.conductances[slice].present_sum[j];
        }
      }
    }
    if (noise_.compensation == chip::Compensation::global) {
      double all_programmed = 0, all_present = 0;
      for (const double sum : programmed) all_programmed += sum;
      for (const double sum : present) all_present += sum;
      std::fill(programmed.begin(), programmed.end(), all_programmed);
      std::fill(present.begin(), present.end(), all_present);
    }
    for (std::uint32_t output = 0; output < stage_.outputs; ++output) {
      if (present[output] > 0)
        stage_.value[output] =
            static_cast<float>(static_cast<double>(stage_.value[output]) * programmed[output] / present[output]);
    }
  }

  /// Element (input, output) of a block, both counted in the block.
  float cell(const Conductances& cells, Side side, std::size_t element) const {
    switch (side) {
      case Side::difference:
        return cells.plus[element] - cells.minus[element];
      case Side::plus:
        return cells.plus[element] + background();
      case Side::minus:
        return cells.minus[element] + background();
    }
    return 0;
  }
  float background() const {
    return static_cast<float>(background_code(noise_, environment_.slicing.digit_full_scale));
  }

  /// Element of the block's matrices that lies in row i of a part and in a column of its group; columns that follow are
  /// the elements that follow.
  std::size_t element_of(const PlannedGroup& group, const PlannedGroup::Part& part, std::uint32_t i,
                         std::uint32_t column) const {
    const Block& block = blocks_[group.block].block;
    return std::size_t{part.in_first + i - block.in_first} * block.out_count +
           (group.out_first - block.out_first) / block.out_step + column;
  }

  /// Where the cell of a term is in the panels.
  static std::size_t place_in(const Term& term, std::size_t row, std::size_t column) {
    return term.panels + (column / kPanel * term.rows.size() + row) * kPanel + column % kPanel;
  }

  void write_term(const Run& run, const Term& term) {
    const PlannedActivation& activation = stage_.plan->activations[term.activation];
    const PlannedGroup& group = activation.groups[term.group];
    const BlockCells& cells = blocks_[group.block];
    const Conductances& conductances = cells.conductances[term.slice];
    const std::size_t height = term.rows.size();
    const std::uint32_t array = index(activation.array);
    std::vector<double> largest_sums(run.count);  // of ideal cells, per unit of input
    const auto place = [&](std::size_t row, std::size_t column) { return place_in(term, row, column); };
    std::size_t row = 0;
    for (const PlannedGroup::Part& part : group.parts) {
      for (std::uint32_t i = 0; i < part.rows; ++i, ++row) {
        const std::size_t first = element_of(group, part, i, term.first);
        for (std::uint32_t c = 0; c < run.count; ++c) {
          stage_.panels[place(row, c)] = cell(conductances, term.side, first + c);
          largest_sums[c] += static_cast<double>(ideal(cells.digits[term.slice][first + c], term.side));
          if (!stage_.driven_sums.empty())
            stage_.driven_sums[term.converters * kPanel + c] += static_cast<double>(stage_.panels[place(row, c)]);
          if (has_variance_)
            stage_.variance[place(row, c)] =
                conductances.read_variance[first + c] * (term.side == Side::difference ? 1.0f : 0.5f);
        }
      }
    }
    for (; row < height; ++row) {
      const Conductances idle = idle_cells(noise_, environment_.seed, term.slice, array, term.rows[row], 1,
                                           group.column + term.first, run.count, environment_.slicing.digit_full_scale);
      for (std::uint32_t c = 0; c < run.count; ++c) {
        stage_.panels[place(row, c)] = cell(idle, term.side, c);
        if (has_variance_ && !idle.read_variance.empty())
          stage_.variance[place(row, c)] = idle.read_variance[c] * (term.side == Side::difference ? 1.0f : 0.5f);
      }
    }
    if (noise_.ir_drop == chip::IrDrop::nodal) drop_voltages(run, term);
    if (!stage_.absolute.empty()) {
      for (row = 0; row < height; ++row) {
        const auto weight = static_cast<float>(ClosedForm::row_weight(term.rows[row], environment_.chip.array.rows));
        for (std::uint32_t c = 0; c < run.count; ++c) {
          stage_.absolute[place(row, c)] = std::fabs(stage_.panels[place(row, c)]);
          stage_.weighted[place(row, c)] = stage_.panels[place(row, c)] * weight;
        }
      }
    }
    set_ranges(stage_, run, term, environment_, range_without_data(run, term, largest_sums));
  }

  /// What a cell with this code conducts at most, beside g_min, on a side of the pair.
  float ideal(float code, Side side) const {
    const float full_scale = environment_.slicing.digit_full_scale;
    if (side == Side::difference) return std::fabs(code);
    const float sign = side == Side::plus ? 1.0f : -1.0f;
    switch (noise_.pair) {
      case chip::Pair::one_sided:
        return std::max(sign * code, 0.0f);
      case chip::Pair::two_sided:
        return (full_scale + sign * code) / 2;
      case chip::Pair::offset:
        return side == Side::plus ? full_scale + code : full_scale;
    }
    return 0;
  }

  /// Modes that take data begin with l1, too.
  std::vector<float> range_without_data(const Run& run, const Term& term,
                                        const std::vector<double>& largest_sums) const {
    const double input = environment_.chip.input.kind == chip::InputKind::bit_serial
                             ? 1.0
                             : static_cast<double>(largest_code(stage_.dac_bits));
    const float full_scale = environment_.slicing.digit_full_scale;
    const double idle = term.side == Side::difference
                            ? 0
                            : static_cast<double>(background()) * static_cast<double>(term.rows.size()) +
                                  (noise_.pair == chip::Pair::one_sided ? 0 : static_cast<double>(full_scale)) *
                                      static_cast<double>(term.rows.size() - term.programmed);
    std::vector<float> ranges(run.count);
    for (std::uint32_t c = 0; c < run.count; ++c) {
      double range = (largest_sums[c] + idle) * input;
      if (stage_.range == Config::Range::full)
        range = (static_cast<double>(ideal(full_scale, term.side == Side::minus ? Side::plus : term.side)) *
                     term.programmed +
                 idle) *
                input;
      if (stage_.range == Config::Range::user) range = noise_.adc_range_user * full_conductance(environment_) * input;
      ranges[c] = static_cast<float>(range);
    }
    return ranges;
  }

  /// Currents of each activation's columns per unit of input on each row, in the network of wires: all driven rows and
  /// all cells of the array that hold weights of this stage; others conduct g_min.
  void solve_networks() {
    const std::size_t count = stage_.plan->activations.size() * environment_.slicing.slices * 2;
    transfers_.resize(count);
    parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t n = begin; n < end; ++n) {
        const std::size_t activation = n / (std::size_t{environment_.slicing.slices} * 2);
        transfers_[n] =
            solve(stage_.plan->activations[activation], static_cast<std::uint32_t>(n / 2 % environment_.slicing.slices),
                  n % 2 == 0 ? Side::plus : Side::minus);
      }
    });
  }

  std::vector<double> solve(const PlannedActivation& activation, std::uint32_t slice, Side side) const {
    const std::uint32_t rows = environment_.chip.array.rows, cols = environment_.chip.array.cols;
    const double siemens_of_code = code_unit_us(noise_, environment_.slicing.digit_full_scale) * 1e-6;
    std::vector<std::uint8_t> driven(rows);
    for (const CarriedRow& row : activation.carried) driven[row.row] = 1;
    std::vector<double> siemens(std::size_t{rows} * cols, static_cast<double>(background()) * siemens_of_code);
    for (const PlannedActivation& other : stage_.plan->activations) {
      if (other.array != activation.array) continue;
      for (const PlannedGroup& columns : other.groups) {
        const Conductances& conductances = blocks_[columns.block].conductances[slice];
        for (const PlannedGroup::Part& part : columns.parts) {
          for (std::uint32_t i = 0; i < part.rows; ++i) {
            const std::size_t first = element_of(columns, part, i, 0);
            for (std::uint32_t c = 0; c < columns.columns; ++c) {
              // A device that noise has brought to g_min may be a rounding below it.
              const double code = std::max(0.0, static_cast<double>(cell(conductances, side, first + c)));
              siemens[std::size_t{part.row + i} * cols + columns.column + c] = code * siemens_of_code;
            }
          }
        }
      }
    }
    std::vector<double> transfer = transfer_matrix({.rows = rows,
                                                    .cols = cols,
                                                    .siemens = siemens,
                                                    .wire_ohm = noise_.wire_ohm,
                                                    .terminal_ohm = noise_.terminal_ohm},
                                                   driven);
    for (double& current : transfer) current /= siemens_of_code;
    return transfer;
  }

  /// Replaces the cells of a term's panels by what the network gives.
  void drop_voltages(const Run& run, const Term& term) {
    const PlannedGroup& group = stage_.plan->activations[term.activation].groups[term.group];
    const std::uint32_t cols = environment_.chip.array.cols;
    const std::size_t first = (std::size_t{term.activation} * environment_.slicing.slices + term.slice) * 2;
    const std::vector<double>&plus = transfers_[first], &minus = transfers_[first + 1];
    for (std::size_t row = 0; row < term.rows.size(); ++row) {
      for (std::uint32_t c = 0; c < run.count; ++c) {
        const std::size_t cell = std::size_t{term.rows[row]} * cols + group.column + term.first + c;
        const double current = term.side == Side::plus    ? plus[cell]
                               : term.side == Side::minus ? minus[cell]
                                                          : plus[cell] - minus[cell];
        stage_.panels[place_in(term, row, c)] = static_cast<float>(current);
      }
    }
  }

  /// Adds the cells of this stage to the sums of their columns, instead of those that were written before.
  void add_column_sums() {
    std::vector<double> sums;
    for (const PlannedActivation& activation : stage_.plan->activations) {
      for (const PlannedGroup& group : activation.groups) {
        for (std::uint32_t slice = 0; slice < environment_.slicing.slices; ++slice) {
          for (const Side side : {Side::plus, Side::minus}) {
            for (std::uint32_t c = 0; c < group.columns; ++c) {
              const std::size_t number = sums.size();
              sums.push_back(sum_of_cells(group, slice, side, c));
              const double before = stage_.column_sums.empty() ? 0 : stage_.column_sums[number];
              environment_
                  .column_sums[environment_.column_number(index(activation.array), slice, side, group.column + c)] +=
                  sums.back() - before;
            }
          }
        }
      }
    }
    stage_.column_sums = std::move(sums);
  }

  double sum_of_cells(const PlannedGroup& group, std::uint32_t slice, Side side, std::uint32_t column) const {
    const Conductances& conductances = blocks_[group.block].conductances[slice];
    double sum = 0;
    for (const PlannedGroup::Part& part : group.parts) {
      for (std::uint32_t i = 0; i < part.rows; ++i)
        sum += static_cast<double>(cell(conductances, side, element_of(group, part, i, column)));
    }
    return sum;
  }

  Stage& stage_;
  std::span<const float> weights_;
  Environment& environment_;
  const chip::Chip::Noise& noise_;
  std::vector<BlockCells> blocks_;
  std::vector<std::vector<double>> transfers_;  ///< nodal: per activation, slice and side, rows x cols
  bool has_variance_ = false;
};

}  // namespace

double full_conductance(const Environment& environment) {
  const chip::Chip::Noise& noise = environment.chip.noise;
  const double codes = static_cast<double>(environment.slicing.digit_full_scale);
  return (noise.pair == chip::Pair::offset ? 2 : 1) * codes +
         background_code(noise, environment.slicing.digit_full_scale);
}

Result<void> write_stage(Stage& stage, std::span<const float> weights, Environment& environment) {
  return Writer(stage, weights, environment).write();
}

void set_ranges(Stage& stage, const Run& run, const Term& term, const Environment& environment,
                std::span<const float> ranges) {
  const PlannedActivation& activation = stage.plan->activations[term.activation];
  const PlannedGroup& group = activation.groups[term.group];
  const chip::Chip& chip = environment.chip;
  for (std::size_t panel = 0; panel < run.panels(); ++panel) {
    kernel::Converters& converters = stage.converters[term.converters + panel];
    converters = {};
    converters.limit = term.limit == 0 ? kNoLimit : term.limit;
    for (std::size_t c = 0; c < kPanel && panel * kPanel + c < run.count; ++c) {
      const std::size_t column = panel * kPanel + c;
      // A column that is always zero has a range of zero: any step will do.
      const float step = term.limit == 0 || ranges[column] == 0 ? 1.0f : ranges[column] / term.limit;
      converters.per_lsb[c] = 1 / step;
      converters.value[c] = step * term.value;
      if (chip.noise.adc_gain_sd == 0 && chip.noise.adc_offset_sd == 0) continue;
      const auto cell = static_cast<std::uint32_t>(group.column + term.first + column);
      const std::uint32_t adc = chip::converter_of(chip, cell);
      const std::uint64_t counter = std::uint64_t{index(activation.array)} << 16 | adc;
      const double gain = random_gaussian(environment.seed, stream_of(Draw::adc_gain, 0), counter);
      const double offset = random_gaussian(environment.seed, stream_of(Draw::adc_offset, 0), counter);
      converters.per_lsb[c] *= static_cast<float>(1 + chip.noise.adc_gain_sd * gain);
      converters.offset[c] = static_cast<float>(chip.noise.adc_offset_sd * offset);
    }
  }
}

}  // namespace danaus::machine
