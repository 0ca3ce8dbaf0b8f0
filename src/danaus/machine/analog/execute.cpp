// A job is a run of slots for a chunk of tokens. Panel by panel it multiplies the inputs of each term with what its
// cells conduct, applies the effects of the moment (read noise, IR drop, current limit), converts, and adds up in
// program order. Draws are keyed by command, column and number of the token.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/machine/analog/cells.h"
#include "danaus/machine/analog/converter_range.h"
#include "danaus/machine/analog/draws.h"
#include "danaus/machine/analog/ir_drop.h"
#include "danaus/machine/analog/stage.h"

namespace danaus::machine {
namespace {

using kernel::kPanel;

constexpr std::size_t kChunk = 64;  ///< tokens of a job

/// Numbers of draws: 2^20 columns (or cells) per token. Tokens from kCalibration on are those of a calibration, whose
/// noise is not that of the evaluation.
constexpr std::uint64_t kCalibration = std::uint64_t{1} << 43;
std::uint64_t draw_number(std::uint64_t token, std::uint32_t column) { return token << 20 | column; }

/// One job's share of the work, with its own memory.
class Job {
 public:
  Job(const Stage& stage, const Run& run, const Driven& driven, std::span<const std::uint64_t> numbers,
      const Environment& environment, std::size_t begin, std::size_t end)
      : stage_(stage),
        run_(run),
        driven_(driven),
        numbers_(numbers),
        environment_(environment),
        noise_(environment.chip.noise),
        begin_(begin),
        tokens_(end - begin) {}

  std::size_t columns(std::size_t panel) const { return std::min(kPanel, run_.count - panel * kPanel); }

  /// Sums of a term on their way to the converters, for a panel and a plane of input bits: tokens x kPanel.
  const float* currents(const Term& term, std::size_t panel, std::size_t plane) {
    const std::size_t weights = term.panels + panel * term.rows.size() * kPanel;
    multiply(driven_.codes, plane, term, stage_.panels, weights, panel, value_);
    if (noise_.ir_drop == chip::IrDrop::closed) drop_voltage(term, weights, panel, plane);
    if (!stage_.variance.empty()) add_read_noise(term, weights, panel, plane);
    if (noise_.output_sd != 0) add_output_noise(term, panel, plane);
    if (noise_.current_limit != 0) limit_current();
    return value_.data();
  }

  /// All terms of a panel, converted and added up: tokens x kPanel.
  const double* totals(std::size_t panel, kernel::ConversionCounts& counts) {
    total_.fill(0);
    for (const Term& term : run_.terms) {
      kernel::Converters converters = stage_.converters[term.converters + panel];
      for (std::size_t c = 0; c < columns(panel); ++c)
        converters.offset[c] += static_cast<float>(leakage(term, panel, c)) * converters.per_lsb[c];
      for (std::size_t plane = 0; plane < driven_.planes; ++plane) {
        const float* sums = currents(term, panel, plane);
        counts += kernel::convert_panel(sums, tokens_, columns(panel), converters, total_.data());
        for (float& value : converters.value) value *= 2;  // of the next input bit
      }
    }
    return total_.data();
  }

  /// Rows that are not driven are not quite off: a constant current in each column.
  double leakage(const Term& term, std::size_t panel, std::size_t c) const {
    if (stage_.driven_sums.empty()) return 0;
    const std::uint32_t array = index(stage_.plan->activations[term.activation].array);
    const std::uint32_t column = first_column(term, panel) + static_cast<std::uint32_t>(c);
    const auto sum_of = [&](Side side) {
      return environment_.column_sums[environment_.column_number(array, term.slice, side, column)];
    };
    const double plus = sum_of(Side::plus), minus = sum_of(Side::minus);
    const double all = term.side == Side::plus ? plus : term.side == Side::minus ? minus : plus - minus;
    return (all - stage_.driven_sums[(term.converters + panel) * kPanel + c]) * noise_.undriven_row_leakage *
           static_cast<double>(driven_.full_scale);
  }

  void store(std::size_t panel, const double* totals, std::span<float> y) const {
    for (std::size_t c = 0; c < columns(panel); ++c) {
      const std::uint32_t output = stage_.output_of_slot[run_.first + panel * kPanel + c];
      const double value = static_cast<double>(stage_.value[output]);
      for (std::size_t t = 0; t < tokens_; ++t) {
        const double unit = static_cast<double>(driven_.unit[begin_ + t]);
        y[(begin_ + t) * stage_.outputs + output] = static_cast<float>(totals[t * kPanel + c] * value * unit);
      }
    }
  }

 private:
  using Sums = std::array<float, kChunk * kPanel>;

  void multiply(const std::vector<float>& x, std::size_t plane, const Term& term, const std::vector<float>& panels,
                std::size_t first, std::size_t panel, Sums& sums) const {
    const float* inputs = x.data() + (plane * driven_.tokens + begin_) * driven_.stride;
    kernel::multiply_panel(inputs, driven_.stride, tokens_, term.runs, panels.data() + first, columns(panel),
                           sums.data());
  }

  void drop_voltage(const Term& term, std::size_t weights, std::size_t panel, std::size_t plane) {
    multiply(driven_.absolute, plane, term, stage_.absolute, weights, panel, other_);
    multiply(driven_.codes, plane, term, stage_.weighted, weights, panel, weighted_);
    const ClosedForm form = ClosedForm::of(environment_.chip.array.rows, g_max_us(), noise_.wire_ohm);
    const double cell = cell_current();
    for (std::size_t n = 0; n < tokens_ * kPanel; ++n) {
      value_[n] =
          static_cast<float>(form.apply(static_cast<double>(value_[n]) / cell, static_cast<double>(other_[n]) / cell,
                                        static_cast<double>(weighted_[n]) / cell) *
                             cell);
    }
  }

  void add_read_noise(const Term& term, std::size_t weights, std::size_t panel, std::size_t plane) {
    const std::uint32_t column = first_column(term, panel);
    if (noise_.read_noise == chip::ReadNoise::cell) {
      add_noise_of_cells(term, weights, panel, plane, column);
      return;
    }
    multiply(driven_.squares, plane, term, stage_.variance, weights, panel, other_);
    const std::uint64_t stream = stream_of(Draw::read, key_of(term, plane));
    std::array<float, kPanel> draws;
    for (std::size_t t = 0; t < tokens_; ++t) {
      random_gaussians(environment_.seed, stream, draw_number(numbers_[begin_ + t], column),
                       std::span(draws).first(columns(panel)));
      for (std::size_t c = 0; c < columns(panel); ++c)
        value_[t * kPanel + c] += std::sqrt(other_[t * kPanel + c]) * draws[c];
    }
  }

  /// The reference: every cell has a draw of its own.
  void add_noise_of_cells(const Term& term, std::size_t weights, std::size_t panel, std::size_t plane,
                          std::uint32_t column) {
    std::array<float, kPanel> draws;
    for (std::size_t t = 0; t < tokens_; ++t) {
      const float* inputs = driven_.codes.data() + (plane * driven_.tokens + begin_ + t) * driven_.stride;
      std::size_t row = 0;
      for (const kernel::InputRun& run : term.runs) {
        for (std::uint32_t k = 0; k < run.count; ++k, ++row) {
          random_gaussians(environment_.seed, stream_of(Draw::read_cell, key_of(term, plane)),
                           draw_number(numbers_[begin_ + t], term.rows[row] << 10 | column),
                           std::span(draws).first(columns(panel)));
          for (std::size_t c = 0; c < columns(panel); ++c)
            value_[t * kPanel + c] +=
                inputs[run.first + k] * std::sqrt(stage_.variance[weights + row * kPanel + c]) * draws[c];
        }
      }
    }
  }

  void add_output_noise(const Term& term, std::size_t panel, std::size_t plane) {
    const auto deviation = static_cast<float>(noise_.output_sd * cell_current());
    std::array<float, kPanel> draws;
    for (std::size_t t = 0; t < tokens_; ++t) {
      random_gaussians(environment_.seed, stream_of(Draw::output, key_of(term, plane)),
                       draw_number(numbers_[begin_ + t], first_column(term, panel)),
                       std::span(draws).first(columns(panel)));
      for (std::size_t c = 0; c < columns(panel); ++c) value_[t * kPanel + c] += deviation * draws[c];
    }
  }

  void limit_current() {
    const auto limit = static_cast<float>(noise_.current_limit * cell_current());
    for (std::size_t n = 0; n < tokens_ * kPanel; ++n) value_[n] = std::clamp(value_[n], -limit, limit);
  }

  /// The current of a cell that conducts g_max, at full-scale input.
  double cell_current() const { return full_conductance(environment_) * static_cast<double>(driven_.full_scale); }
  double g_max_us() const {
    return code_unit_us(noise_, environment_.slicing.digit_full_scale) * full_conductance(environment_);
  }
  std::uint32_t first_column(const Term& term, std::size_t panel) const {
    const PlannedGroup& group = stage_.plan->activations[term.activation].groups[term.group];
    return group.column + term.first + static_cast<std::uint32_t>(panel * kPanel);
  }
  /// Of the conversions of a term: command, slice, side and plane.
  std::uint64_t key_of(const Term& term, std::size_t plane) const {
    return std::uint64_t{stage_.plan->activations[term.activation].command} << 16 | std::uint64_t{term.slice} << 8 |
           std::uint64_t{plane} << 2 | static_cast<std::uint64_t>(term.side);
  }

  const Stage& stage_;
  const Run& run_;
  const Driven& driven_;
  std::span<const std::uint64_t> numbers_;  ///< of the tokens
  const Environment& environment_;
  const chip::Chip::Noise& noise_;
  std::size_t begin_, tokens_;
  Sums value_, other_, weighted_;
  std::array<double, kChunk * kPanel> total_;
};

}  // namespace

Result<Driven> drive(Stage& stage, std::span<const float> x, std::size_t tokens, const Environment& environment) {
  const std::size_t count = tokens == 0 ? 0 : x.size() / tokens;
  ensure(count * tokens == x.size() && count <= stage.inputs, "vectors have as many elements as the stage has inputs");
  const chip::Chip& chip = environment.chip;
  const bool is_static = chip.noise.input_scale == chip::InputScale::tensor && !stage.saw_nothing;
  if (is_static && !stage.static_unit)
    return fail(Error("analog.not-calibrated", Failure::usage,
                      "noise.input_scale = \"tensor\" needs ranges of the inputs, but there is no calibration")
                    .with_hint("give a calibration text, or use noise.input_scale = \"token\""));
  const float limit = largest_code(stage.dac_bits);
  const bool is_serial = chip.input.kind == chip::InputKind::bit_serial;
  Driven driven;
  driven.tokens = tokens;
  driven.stride = stage.inputs;
  driven.planes = is_serial ? std::max<std::uint32_t>(stage.dac_bits, 2) - 1 : 1;
  driven.full_scale = is_serial ? 1 : limit;
  driven.unit.resize(tokens);
  driven.codes.assign(driven.planes * tokens * driven.stride, 0.0f);
  std::vector<std::uint64_t> clipped(tokens);
  std::vector<std::uint8_t> is_finite(tokens);
  parallel_for(tokens, 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<const float> vector = x.subspan(t * count, count);
      const float most = kernel::largest_magnitude(vector);
      is_finite[t] = std::isfinite(most) ? 1 : 0;
      if (is_finite[t] == 0) continue;
      const float unit = is_static ? *stage.static_unit : most / limit;
      driven.unit[t] = unit;
      if (unit == 0) continue;  // all inputs are zero
      clipped[t] = kernel::to_codes(vector, 1 / unit, limit, driven.codes.data() + t * driven.stride);
    }
  });
  for (std::size_t t = 0; t < tokens; ++t) {
    if (is_finite[t] == 0)
      return fail(
          Error("analog.non-finite", Failure::check,
                fmt::format("input vector {} of an operator has an element that is infinite or not a number", t)));
    stage.statistics.clipped_inputs += clipped[t];
  }
  stage.statistics.inputs += x.size();
  const std::size_t plane = tokens * driven.stride;
  if (is_serial) {
    // Plane n has bit n of the magnitude, with the sign; the codes themselves are in plane 0 until it is its turn.
    for (std::size_t n = 0; n < plane; ++n) {
      const float code = driven.codes[n];
      const auto magnitude = static_cast<std::uint32_t>(std::fabs(code));
      for (std::size_t bit = 0; bit < driven.planes; ++bit)
        driven.codes[bit * plane + n] = (magnitude >> bit & 1) == 0 ? 0.0f : code < 0 ? -1.0f : 1.0f;
    }
  }
  if (!stage.variance.empty() && chip.noise.read_noise == chip::ReadNoise::output) {
    driven.squares = driven.codes;
    for (float& code : driven.squares) code *= code;
  }
  if (!stage.absolute.empty()) {
    driven.absolute = driven.codes;
    for (float& code : driven.absolute) code = std::fabs(code);
  }
  return driven;
}

void execute_stage(Stage& stage, const Driven& driven, std::span<const std::uint64_t> tokens,
                   const Environment& environment, std::span<float> y) {
  const std::size_t chunks = (driven.tokens + kChunk - 1) / kChunk;
  std::vector<kernel::ConversionCounts> counts(stage.runs.size() * chunks);
  std::fill(y.begin(), y.end(), 0.0f);
  parallel_for(counts.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t job = begin; job < end; ++job) {
      const Run& run = stage.runs[job % stage.runs.size()];
      const std::size_t first = job / stage.runs.size() * kChunk;
      Job work(stage, run, driven, tokens, environment, first, std::min(first + kChunk, driven.tokens));
      for (std::size_t panel = 0; panel < run.panels(); ++panel) work.store(panel, work.totals(panel, counts[job]), y);
    }
  });
  for (const kernel::ConversionCounts& count : counts) stage.statistics.adc += count;
}

void calibrate_stage(Stage& stage, const Driven& driven, const Environment& environment, std::span<float> y) {
  std::fill(y.begin(), y.end(), 0.0f);
  std::vector<std::uint64_t> numbers(driven.tokens);
  std::iota(numbers.begin(), numbers.end(), kCalibration);
  parallel_for(stage.runs.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const Run& run = stage.runs[r];
      const std::size_t rows = driven.planes * driven.tokens;
      std::vector<double> totals(run.panels() * driven.tokens * kPanel);
      std::vector<float> sums(rows * run.count);
      std::vector<float> ranges(run.count);
      for (const Term& term : run.terms) {
        for (std::size_t first = 0; first < driven.tokens; first += kChunk) {
          const std::size_t end_token = std::min(first + kChunk, driven.tokens);
          Job work(stage, run, driven, numbers, environment, first, end_token);
          for (std::size_t panel = 0; panel < run.panels(); ++panel) {
            float value = term.value;
            for (std::size_t plane = 0; plane < driven.planes; ++plane, value *= 2) {
              const float* currents = work.currents(term, panel, plane);
              for (std::size_t t = first; t < end_token; ++t) {
                for (std::size_t c = 0; c < work.columns(panel); ++c) {
                  const float sum =
                      currents[(t - first) * kPanel + c] + static_cast<float>(work.leakage(term, panel, c));
                  sums[(plane * driven.tokens + t) * run.count + panel * kPanel + c] = sum;
                  totals[(panel * driven.tokens + t) * kPanel + c] += static_cast<double>(sum * value);
                }
              }
            }
          }
        }
        if (!stage.takes_data()) continue;
        if (stage.range == Config::Range::cal_column) {
          column_ranges(sums, run.count, term.limit, ranges);
        } else {
          std::fill(ranges.begin(), ranges.end(), best_range(sums, term.limit));
        }
        for (std::uint32_t c = 0; c < run.count; ++c) {
          // Nothing was seen of it: the range that it has had since it was written.
          const kernel::Converters& written = stage.converters[term.converters + c / kPanel];
          if (ranges[c] == 0) ranges[c] = written.value[c % kPanel] / term.value * term.limit;
        }
        set_ranges(stage, run, term, environment, ranges);
      }
      for (std::size_t panel = 0; panel < run.panels(); ++panel) {
        for (std::size_t first = 0; first < driven.tokens; first += kChunk) {
          const Job work(stage, run, driven, numbers, environment, first, std::min(first + kChunk, driven.tokens));
          work.store(panel, totals.data() + (panel * driven.tokens + first) * kPanel, y);
        }
      }
    }
  });
  stage.is_calibrated = true;
}

}  // namespace danaus::machine
