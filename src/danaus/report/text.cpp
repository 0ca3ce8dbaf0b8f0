// Results -> text. The `run` table has one row per figure and two columns per map: the value and its ratio to the first
// map.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "danaus/model/summary.h"
#include "danaus/model/text.h"
#include "danaus/nn/metrics.h"
#include "danaus/report/automatic.h"
#include "danaus/report/precision.h"
#include "danaus/report/report.h"
#include "danaus/report/table.h"
#include "danaus/report/units.h"

namespace danaus::report {
namespace {

using pipeline::MapResult;
using Align = Table::Align;

/// The rows of the `run` table: figures are numbers with a unit, so that ratios can be formed.
class MapTable {
 public:
  explicit MapTable(const std::vector<MapResult>& results) : results_(results), table_(columns(results.size())) {
    text("", [](const MapResult& result) { return result.map; });
  }

  void text(std::string label, const std::function<std::string(const MapResult&)>& cell) {
    std::vector<std::string> cells = {std::move(label)};
    for (std::size_t m = 0; m < results_.size(); ++m) {
      cells.push_back(cell(results_[m]));
      if (m != 0) cells.emplace_back();
    }
    table_.add(std::move(cells));
  }

  template <typename Value>
  void figure(std::string label, std::string (*format)(Value), const std::function<Value(const MapResult&)>& value) {
    std::vector<std::string> cells = {std::move(label)};
    const auto first = static_cast<double>(value(results_.front()));
    for (std::size_t m = 0; m < results_.size(); ++m) {
      const Value own = value(results_[m]);
      cells.push_back(format(own));
      if (m != 0) cells.push_back(format_ratio(static_cast<double>(own), first));
    }
    table_.add(std::move(cells));
  }

  void gap() { table_.gap(); }
  std::string to_string() const { return table_.to_string(); }

 private:
  static std::vector<Align> columns(std::size_t maps) {
    std::vector<Align> columns = {Align::left};
    for (std::size_t m = 0; m < maps; ++m) {
      columns.push_back(Align::right);
      if (m != 0) columns.push_back(Align::right);
    }
    return columns;
  }

  const std::vector<MapResult>& results_;
  Table table_;
};

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string adc_rule(const chip::Chip& chip) {
  switch (chip.adc.rule) {
    case chip::AdcRule::fixed:
      return fmt::format("{} bits", chip.adc.bits);
    case chip::AdcRule::rows:
      return "bits by rows summed";
    case chip::AdcRule::lossless:
      return "bits for lossless sums";
    case chip::AdcRule::calibrated:
      return "bits from a table";
  }
  return "";
}

std::string chip_line(const chip::Chip& chip) {
  if (chip.system.scheduling == chip::Scheduling::list) {
    return fmt::format("{} x {} arrays{}, {} digital and {} attention units, list scheduling", chip.array.rows,
                       chip.array.cols, chip.system.tiers == 1 ? "" : fmt::format(" of {} tiers", chip.system.tiers),
                       chip.digital.units, chip.attention.units);
  }
  std::string text = fmt::format("{} x {} arrays, {} ADCs each, {}", chip.array.rows, chip.array.cols,
                                 chip.adc.per_array, adc_rule(chip));
  if (chip.adc.static_precision) text += ", all converters with the most";
  if (chip.adc.sharing == chip::AdcSharing::array) text += ", shared in the array";
  if (chip.adc.sharing == chip::AdcSharing::group) text += fmt::format(", shared by {} arrays", chip.adc.group_arrays);
  return text;
}

std::string mode_line(const pipeline::RunResult& result) {
  const std::string_view tokens = result.tokens == 1 ? "token" : "tokens";
  std::string text = fmt::format("{} {}", result.tokens, tokens);
  if (result.generation)
    text = fmt::format("from {} to {} {}, {} KV cache", result.generation->prompt, result.tokens, tokens,
                       result.generation->kv_cache ? "with a" : "without");
  if (result.sequences != 1) text += fmt::format(", {} sequences", result.sequences);
  if (result.kv != 0) text += fmt::format(", KV length {}", result.kv);
  if (result.encoder_tokens != 0) text += fmt::format(", {} encoder tokens", result.encoder_tokens);
  return text;
}

struct TimePart {
  std::string_view name;
  chip::Picoseconds machine::Breakdown::*value;
};
constexpr TimePart kTimeParts[] = {{"input", &machine::Breakdown::input},
                                   {"settle", &machine::Breakdown::settle},
                                   {"adc", &machine::Breakdown::adc},
                                   {"network", &machine::Breakdown::network},
                                   {"link", &machine::Breakdown::link},
                                   {"digital", &machine::Breakdown::digital},
                                   {"attention", &machine::Breakdown::attention},
                                   {"wait", &machine::Breakdown::wait},
                                   {"reload", &machine::Breakdown::reload}};

struct EnergyPart {
  std::string_view name;
  double machine::Energy::*value;
};
constexpr EnergyPart kEnergyParts[] = {{"rows", &machine::Energy::rows},
                                       {"cells", &machine::Energy::cells},
                                       {"adc", &machine::Energy::adc},
                                       {"network", &machine::Energy::network},
                                       {"link", &machine::Energy::link},
                                       {"digital", &machine::Energy::digital},
                                       {"attention", &machine::Energy::attention},
                                       {"buffer", &machine::Energy::buffer},
                                       {"reload", &machine::Energy::reload},
                                       {"passive", &machine::Energy::passive}};

/// Where time and energy go, only the parts that are not zero everywhere.
void add_breakdown(MapTable& table, const std::vector<MapResult>& results) {
  const auto add = [&](std::string_view label, std::string (*format)(double),
                       const std::function<double(const MapResult&)>& value, bool& first) {
    if (std::none_of(results.begin(), results.end(), [&](const MapResult& result) { return value(result) != 0; }))
      return;
    if (first) table.gap();
    first = false;
    table.figure<double>(std::string(label), format, value);
  };
  bool first_time = true, first_energy = true;
  for (const TimePart& part : kTimeParts) {
    const auto value = [&part](const MapResult& result) {
      return chip::to_nanoseconds(result.timing.critical_path.*part.value);
    };
    add(fmt::format("time in {}", part.name), format_time, value, first_time);
  }
  for (const EnergyPart& part : kEnergyParts) {
    const auto value = [&part](const MapResult& result) { return result.timing.energy.*part.value / 1000; };
    add(fmt::format("energy of {}", part.name), format_energy, value, first_energy);
  }
}

bool reloads(const MapResult& result) { return result.timing.reload.passes > 1; }

/// Shares of the chips, traffic between them, weights written on the way; nothing on one chip that holds the model.
void add_system(MapTable& table, const std::vector<MapResult>& results, std::uint32_t chips) {
  if (std::any_of(results.begin(), results.end(), [](const MapResult& map) { return map.arrays_per_chip != 0; })) {
    if (chips > 1)
      table.figure<std::uint64_t>("  chips used", format_count, [](const MapResult& map) { return map.chips_used; });
    table.figure<std::uint64_t>("  per chip", format_count, [](const MapResult& map) {
      return map.arrays_per_chip != 0 ? map.arrays_per_chip : map.arrays;
    });
  }
  if (std::any_of(results.begin(), results.end(), reloads))
    table.figure<std::uint64_t>("  passes", format_count,
                                [](const MapResult& map) { return map.timing.reload.passes; });
}

/// How far a figure is from what no mapping can do better; nothing where no result has such a bound.
void add_bound(MapTable& table, const std::vector<MapResult>& results, double (*figure)(const MapResult&),
               double (*bound)(const pipeline::Bound&)) {
  if (std::none_of(results.begin(), results.end(), [&](const MapResult& map) { return bound(map.bound) > 0; })) return;
  table.text("  of its bound",
             [&](const MapResult& map) { return or_dash(format_ratio(figure(map), bound(map.bound))); });
}

/// Messages that take links: how long the link that most of them wait for is taken.
void add_mesh(MapTable& table, const std::vector<MapResult>& results) {
  if (std::none_of(results.begin(), results.end(),
                   [](const MapResult& map) { return map.timing.busiest_mesh_link != 0; }))
    return;
  table.gap();
  table.figure<double>("busiest mesh link", format_time,
                       [](const MapResult& map) { return chip::to_nanoseconds(map.timing.busiest_mesh_link); });
  table.text("  of the time", [](const MapResult& map) {
    return format_percent(chip::to_nanoseconds(map.timing.busiest_mesh_link) / chip::to_nanoseconds(map.timing.total));
  });
}

/// Parts of latency and energy that a model larger than a chip adds.
void add_system_costs(MapTable& table, const std::vector<MapResult>& results) {
  const bool linked = std::any_of(results.begin(), results.end(),
                                  [](const MapResult& map) { return map.timing.counts.link_messages != 0; });
  const bool reloaded = std::any_of(results.begin(), results.end(), reloads);
  if (linked || reloaded) table.gap();
  if (linked) {
    table.figure<std::uint64_t>("link messages", format_count,
                                [](const MapResult& map) { return map.timing.counts.link_messages; });
    table.figure<std::uint64_t>("link bits", format_count,
                                [](const MapResult& map) { return map.timing.counts.link_bits; });
    table.figure<double>("busiest link", format_time,
                         [](const MapResult& map) { return chip::to_nanoseconds(map.timing.busiest_link); });
    table.figure<double>("link time", format_time,
                         [](const MapResult& map) { return chip::to_nanoseconds(map.timing.critical_path.link); });
    table.figure<double>("link energy", format_energy,
                         [](const MapResult& map) { return map.timing.energy.link / 1000; });
  }
  if (!reloaded) return;
  table.figure<std::uint64_t>("passes written", format_count,
                              [](const MapResult& map) { return map.timing.reload.writes; });
  table.figure<double>("reload time", format_time,
                       [](const MapResult& map) { return chip::to_nanoseconds(map.timing.critical_path.reload); });
  table.figure<double>("reload energy", format_energy,
                       [](const MapResult& map) { return map.timing.energy.reload / 1000; });
  if (std::any_of(results.begin(), results.end(), [](const MapResult& map) { return map.tokens_until_worn_out; })) {
    table.text("cells worn out after", [](const MapResult& map) {
      return map.tokens_until_worn_out ? fmt::format("{:.3g} tokens", *map.tokens_until_worn_out) : "-";
    });
  }
}

/// Writing all weights once, before the first token.
void add_programming(MapTable& table, const std::vector<MapResult>& results) {
  if (std::none_of(results.begin(), results.end(), [](const MapResult& map) { return map.programming_energy_uj > 0; }))
    return;
  table.gap();
  table.figure<double>("programming time", format_time,
                       [](const MapResult& map) { return map.programming_time_us * 1000; });
  table.figure<double>("programming energy", format_energy,
                       [](const MapResult& map) { return map.programming_energy_uj * 1000; });
  table.text("  break-even", [](const MapResult& map) {
    return map.break_even_tokens ? fmt::format("{:.4g} tokens", *map.break_even_tokens) : "-";
  });
}

std::string system_line(const chip::Chip& chip) {
  const std::string rate =
      chip.system.link_gbps == 0 ? "infinitely fast" : fmt::format("{:g} Gbit/s each way", chip.system.link_gbps);
  return fmt::format("each with a link to a switch: {}, latency {:g} ns, {:g} pJ per bit", rate,
                     chip.system.link_latency_ns, chip.system.link_energy_pj_per_bit);
}

std::string reload_line(compile::Mode mode) {
  const std::string_view when = mode == compile::Mode::decode
                                    ? "all of them for every token.\n"
                                    : "each once: all tokens go through\na pass before the next. The simulated part is "
                                      "a lower bound: the activations that "
                                      "wait between two passes\nneed buffers that are not counted.\n";
  return fmt::format(
      "Reload: the model does not fit, so its weights are written in passes, {}Latency is the simulated time plus the "
      "writing time: a sum without overlap. Bringing the weights to the chip\nis not counted. See danaus explain cost "
      "reload\n",
      when);
}

std::string list_line() {
  return "Scheduled by list as in IBM's 3D-CiM simulator: there is no program, hence no proof (docs/ibm-3dcim.md).\n";
}

std::string proof_line(const std::vector<MapResult>& results) {
  std::uint32_t tokens = results.front().proof_tokens;
  for (const MapResult& result : results) tokens = std::min(tokens, result.proof_tokens);
  return fmt::format("Every program was proved over a prime field to compute the model ({} {}).\n", tokens,
                     tokens == 1 ? "token" : "tokens");
}

/// What a user has today, beside the first map.
std::string reference_table(const pipeline::RunResult& result) {
  Table table({Align::left, Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  const MapResult& map = result.results.front();
  table.add({"today", "(estimates)", "latency", "", "energy", "", "limited by"});
  for (const pipeline::Estimate& estimate : result.references)
    table.add({estimate.reference.key, fmt::format("{}, {}", estimate.reference.name, estimate.reference.precision),
               format_time(estimate.latency_ns), format_ratio(estimate.latency_ns, map.latency_ns),
               format_energy(estimate.energy_nj), format_ratio(estimate.energy_nj, map.timing.energy.total() / 1000),
               estimate.memory_ns >= estimate.compute_ns ? "memory" : "arithmetic"});
  return table.to_string() +
         "A roofline of published peak figures for the dense operators and the attention at full power: a bound from "
         "below in time.\n";
}

/// What the figures rest on: the converters' energy, the order of the maps over its band, the sources of the chip's
/// numbers.
std::string sources_lines(const pipeline::RunResult& result) {
  const chip::Chip::Adc& adc = result.chip.adc;
  std::string text;
  if (adc.energy_pj < 0)
    text +=
        fmt::format("ADC energy and area come from a published regression{}.\n",
                    adc.calibration == 1 ? ": a best case" : fmt::format(", the energy times {:g}", adc.calibration));
  if (adc.calibration_high > 0 && result.results.size() > 1) {
    const pipeline::EnergyOrder order = pipeline::energy_order(result.results);
    text += order.depends_on_converters()
                ? fmt::format(
                      "Which mapping takes least energy depends on the converters: {} at {:g} times, {} at {:g} "
                      "times the regression.\n",
                      fmt::join(order.low, " < "), adc.calibration, fmt::join(order.high, " < "), adc.calibration_high)
                : fmt::format(
                      "The order of the mappings by energy is the same with the converters at {:g} times that "
                      "energy.\n",
                      adc.calibration_high);
  }
  if (!result.chip_sources.empty())
    text += fmt::format("Numbers of the chip: {} (danaus show chips {} --sources).\n", result.chip_sources,
                        result.chip.name);
  return text;
}

void add_perplexity(Table& table, const nn::Perplexity& perplexity) {
  table.add({"tokens", format_count(perplexity.tokens)});
  table.add({"windows", fmt::format("{} of at most {} tokens{}", perplexity.windows, perplexity.length,
                                    perplexity.windows > 1 ? fmt::format(", every {}", perplexity.stride) : "")});
  table.add({"tokens scored", format_count(perplexity.scored)});
  table.add({"mean of -ln p", perplexity.nll ? fmt::format("{:.5f}", *perplexity.nll) : "- (no token to predict)"});
  if (perplexity.perplexity) table.add({"perplexity", fmt::format("{:.4f}", *perplexity.perplexity)});
}

void add_embeddings(Table& table, const pipeline::Evaluation& evaluation) {
  std::uint64_t tokens = 0;
  for (const std::vector<nn::TokenId>& ids : evaluation.tokens) tokens += ids.size();
  table.add({"texts", fmt::format("{}, {} tokens", evaluation.tokens.size(), tokens)});
  table.add({"embeddings",
             fmt::format("{} elements, {} of the tokens{}", evaluation.embeddings.front().size(),
                         nn::name_of(evaluation.pooling.kind), evaluation.pooling.normalise ? ", length 1" : "")});
}

std::string share(std::uint64_t count, std::uint64_t of) {
  return fmt::format("{:.3f}%", of == 0 ? 0.0 : 100.0 * static_cast<double>(count) / static_cast<double>(of));
}

/// Converters of the first and the second stages together, with the operator that clips most and the one that sees
/// least; with `breakdown` of every stage of every operator.
std::string converter_table(const pipeline::AnalogReport& analog, bool breakdown) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  table.add(
      {"converters", "bits", "conversions", "clipped", "zero codes", breakdown ? "" : "clips most; most zero codes"});
  const auto add = [&](const std::string& name, std::span<const pipeline::AnalogStage* const> stages) {
    machine::kernel::ConversionCounts sum;
    std::uint32_t least = 0, most = 0;
    const pipeline::AnalogStage *clips = stages.front(), *zeros = stages.front();
    const auto more = [](std::uint64_t a, std::uint64_t of_a, std::uint64_t b, std::uint64_t of_b) {
      return static_cast<double>(a) * static_cast<double>(of_b) > static_cast<double>(b) * static_cast<double>(of_a);
    };
    for (const pipeline::AnalogStage* stage : stages) {
      const machine::StageStatistics& statistics = stage->statistics;
      sum += statistics.adc;
      least = stage == stages.front() ? statistics.adc_bits : std::min(least, statistics.adc_bits);
      most = std::max(most, statistics.adc_bits);
      const machine::kernel::ConversionCounts &worst = clips->statistics.adc, &blind = zeros->statistics.adc;
      if (more(statistics.adc.clipped, statistics.adc.conversions, worst.clipped, worst.conversions)) clips = stage;
      if (more(statistics.adc.zero, statistics.adc.conversions, blind.zero, blind.conversions)) zeros = stage;
    }
    const std::string bits = most == 0       ? "lossless"
                             : least == most ? std::to_string(most)
                                             : fmt::format("{}-{}", least, most);
    const machine::kernel::ConversionCounts &worst = clips->statistics.adc, &blind = zeros->statistics.adc;
    table.add({name, bits, format_count(sum.conversions), share(sum.clipped, sum.conversions),
               share(sum.zero, sum.conversions),
               breakdown ? ""
                         : fmt::format("{} {}; {} {}", clips->name, share(worst.clipped, worst.conversions),
                                       zeros->name, share(blind.zero, blind.conversions))});
  };
  if (breakdown) {
    for (const pipeline::AnalogStage& stage : analog.stages) add(stage.name, std::array{&stage});
    return table.to_string();
  }
  std::vector<const pipeline::AnalogStage*> dense, right, left;
  for (const pipeline::AnalogStage& stage : analog.stages)
    (stage.name.ends_with(".R") ? right : stage.statistics.stage == 1 ? left : dense).push_back(&stage);
  if (!dense.empty()) add("dense", dense);
  if (!right.empty()) add("R", right);
  if (!left.empty()) add("L", left);
  return table.to_string();
}

/// Inputs beyond a static range, of all stages; nothing if there are none.
std::string clipped_inputs(const pipeline::AnalogReport& analog) {
  std::uint64_t clipped = 0, all = 0;
  for (const pipeline::AnalogStage& stage : analog.stages) {
    clipped += stage.statistics.clipped_inputs;
    all += stage.statistics.inputs;
  }
  return clipped == 0 ? "" : fmt::format("{} of the inputs were beyond their static range.\n", share(clipped, all));
}

void add_analog(Table& table, const pipeline::AnalogReport& analog) {
  table.add({"analog machine", fmt::format("{}, map {}, {} arrays; program proved", analog.chip, analog.map,
                                           format_count(analog.arrays))});
  table.add({"devices", analog.device == "ideal"
                            ? "ideal"
                            : fmt::format("{}, {:g} s after the first read", analog.device, analog.time_s)});
  std::string effects;
  for (const auto& [key, value] : analog.noise) {
    if (key == "device" || key == "time_s" || key == "adc_range") continue;
    effects += fmt::format("{}{} = {}", effects.empty() ? "" : ", ", key, value);
  }
  if (!effects.empty()) table.add({"noise settings", effects});
  std::string range = analog.adc_range;
  if (analog.calibration_tokens != 0)
    range += fmt::format(", on {} other tokens", format_count(analog.calibration_tokens));
  if (analog.rescaled != 0) range += fmt::format("; channels of {} operators made equal", analog.rescaled);
  table.add({"converter ranges", range});
}

/// Cosines between the first texts, each with its beginning.
std::string similarity_table(const pipeline::Evaluation& evaluation) {
  constexpr std::size_t kMost = 12, kLength = 40;
  const std::size_t shown = std::min(kMost, evaluation.embeddings.size());
  std::vector<Align> columns = {Align::right};
  columns.insert(columns.end(), shown, Align::right);
  columns.push_back(Align::left);
  Table table(columns);
  std::vector<std::string> head = {"cosine"};
  for (std::size_t n = 1; n <= shown; ++n) head.push_back(std::to_string(n));
  table.add(head);
  for (std::size_t row = 0; row < shown; ++row) {
    std::vector<std::string> cells = {std::to_string(row + 1)};
    for (std::size_t column = 0; column < shown; ++column)
      cells.push_back(fmt::format("{:.4f}", nn::cosine(evaluation.embeddings[row], evaluation.embeddings[column])));
    if (row < evaluation.sentences.size()) {
      const std::string text = model::printable(evaluation.sentences[row]);
      cells.push_back(text.size() > kLength ? text.substr(0, kLength) + "..." : text);
    }
    table.add(cells);
  }
  std::string text = table.to_string();
  if (evaluation.embeddings.size() > shown)
    text +=
        fmt::format("The first {} of {} texts; --json gives all embeddings.\n", shown, evaluation.embeddings.size());
  return text;
}

}  // namespace

std::string run_table(const pipeline::RunResult& result, bool breakdown) {
  Table head({Align::left, Align::left, Align::left});
  head.add({"model", result.model,
            fmt::format("{} layers, {} linear operators, {} weights{}", result.layers, result.operators,
                        format_count(result.dense_parameters), result.has_weights ? "" : " (shapes only)")});
  head.add({"chip", result.chip.name, chip_line(result.chip)});
  if (result.chip.system.chips > 1)
    head.add({"chips", format_count(result.chip.system.chips), system_line(result.chip)});
  head.add({"mode", std::string(mode_name(result)), mode_line(result)});
  std::string text = head.to_string();
  if (result.results.empty()) return text;

  const std::vector<MapResult>& results = result.results;
  MapTable table(results);
  table.text("structure", [](const MapResult& map) { return map.structure; });
  table.text("blocks", [](const MapResult& map) { return or_dash(map.blocks); });
  table.figure<std::uint64_t>("parameters", format_count, [](const MapResult& map) { return map.parameters; });
  table.figure<std::uint64_t>("arrays", format_count, [](const MapResult& map) { return map.arrays; });
  if (std::any_of(results.begin(), results.end(), [](const MapResult& map) { return map.copies != 0; }))
    table.figure<std::uint64_t>("  copies", format_count, [](const MapResult& map) { return map.copies; });
  add_bound(
      table, results, [](const MapResult& map) { return double{1} * map.arrays; },
      [](const pipeline::Bound& bound) { return double{1} * bound.arrays; });
  add_system(table, results, result.chip.system.chips);
  table.text("utilisation", [](const MapResult& map) { return format_percent(map.utilisation); });
  const bool by_list = results.front().is_scheduled_by_list();
  if (!by_list)
    table.figure<std::uint64_t>("conversions/token", format_count,
                                [](const MapResult& map) { return map.conversions; });
  table.figure<double>("linear latency", format_time, [](const MapResult& map) { return map.linear_latency_ns; });
  add_bound(
      table, results, [](const MapResult& map) { return map.linear_latency_ns; },
      [](const pipeline::Bound& bound) { return bound.linear_latency_ns; });
  table.figure<double>("latency", format_time, [](const MapResult& map) { return map.latency_ns; });
  add_bound(
      table, results, [](const MapResult& map) { return map.latency_ns; },
      [](const pipeline::Bound& bound) { return bound.latency_ns; });
  if (results.front().routing) {
    table.figure<double>("  expected", format_time,
                         [](const MapResult& map) { return map.routing->expected_latency_ns; });
    table.figure<double>("  worst seen", format_time,
                         [](const MapResult& map) { return map.routing->worst_seen_latency_ns; });
  }
  table.figure<double>("throughput (tokens)", format_rate,
                       [](const MapResult& map) { return map.throughput_tokens_per_s; });
  table.figure<double>("energy", format_energy, [](const MapResult& map) { return map.timing.energy.total() / 1000; });
  add_bound(
      table, results, [](const MapResult& map) { return map.timing.energy.total() / 1000; },
      [](const pipeline::Bound& bound) { return bound.energy_nj; });
  table.figure<double>("  active", format_energy,
                       [](const MapResult& map) { return map.timing.energy.active() / 1000; });
  table.figure<double>("  passive", format_energy,
                       [](const MapResult& map) { return map.timing.energy.passive / 1000; });
  if (result.chip.adc.calibration_high > 0)
    table.figure<double>(fmt::format("  with ADCs x {:g}", result.chip.adc.calibration_high), format_energy,
                         [](const MapResult& map) { return pipeline::energy_high_pj(map.timing) / 1000; });
  if (!by_list) table.figure<double>("area", format_area, [](const MapResult& map) { return map.area.total_mm2(); });
  const bool errors =
      std::any_of(results.begin(), results.end(), [](const MapResult& map) { return map.relative_error; });
  if (errors) {
    table.text("relative error", [](const MapResult& map) {
      return map.relative_error ? fmt::format("{:.3f}", *map.relative_error) : "-";
    });
  }
  if (by_list) {
    table.figure<std::uint64_t>("peak of buffers (bytes)", format_count,
                                [](const MapResult& map) { return map.peak_buffer_bytes.value_or(0); });
    table.figure<std::uint64_t>("operations", format_count, [](const MapResult& map) { return map.flops.value_or(0); });
  }
  add_mesh(table, results);
  add_system_costs(table, results);
  if (breakdown) {
    add_programming(table, results);
    add_breakdown(table, results);
  }
  text += "\n" + table.to_string() + "\n";
  for (const MapResult& map : results) {
    if (map.automatic) text += automatic_lines(*map.automatic) + "\n";
  }
  if (!result.references.empty()) text += reference_table(result) + "\n";
  text += by_list ? list_line() : proof_line(results);
  if (std::any_of(results.begin(), results.end(), reloads)) text += reload_line(result.mode);
  if (std::any_of(results.begin(), results.end(), reloads) && result.chip.programming.iterations == 0)
    text += "The chip file does not say what writing takes (program.iterations = 0): the reload counts as nothing.\n";
  if (errors)
    text += "The relative error is that of projection alone: without training it is a starting point, not a result.\n";
  text += sources_lines(result);
  return text;
}

std::string analog_table(const pipeline::AnalogReport& analog, bool breakdown) {
  return converter_table(analog, breakdown) + clipped_inputs(analog);
}

std::string evaluation_table(const pipeline::Evaluation& evaluation, bool breakdown) {
  Table table({Align::left, Align::left});
  table.add({"model", evaluation.model});
  const pipeline::LinearReport& linear = evaluation.linear;
  std::string operators = linear.structure;
  if (!linear.blocks.empty() && linear.blocks != linear.structure) operators += " " + linear.blocks;
  if (linear.relative_error)
    operators +=
        fmt::format(", {} of the parameters, relative error {:.4f}",
                    format_ratio(static_cast<double>(linear.parameters), static_cast<double>(linear.dense_parameters)),
                    *linear.relative_error);
  table.add({"linear operators", operators});
  if (linear.analog) add_analog(table, *linear.analog);
  if (evaluation.encoder)
    add_embeddings(table, evaluation);
  else
    add_perplexity(table, evaluation.perplexity);
  std::string text = table.to_string();
  if (evaluation.encoder && evaluation.embeddings.size() > 1) text += "\n" + similarity_table(evaluation);
  if (linear.analog) text += "\n" + analog_table(*linear.analog, breakdown);
  for (const std::string& note : linear.notes) text += "note: " + note + "\n";
  return text;
}

std::string calibration_table(const factor::MomentSet& set) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::right});
  table.add({"input of", "operators", "inputs", "tokens", "first / other", "largest / other"});
  bool few = false;
  const auto ratio = [](double energy, double other) {
    return other > 0 ? fmt::format("{:.3g}", energy / other) : "-";
  };
  for (const factor::InputMoments& input : set.inputs) {
    const std::uint64_t tokens = input.first_tokens + input.tokens;
    few |= tokens < 5 * std::uint64_t{input.in};
    table.add({input.name, fmt::format("{}", input.operators.size()), fmt::format("{}", input.in),
               fmt::format("{}", tokens), ratio(input.energy.first, input.energy.other),
               ratio(input.energy.largest, input.energy.other)});
  }
  std::string text = table.to_string();
  text += "\nEnergies |x|^2: mean of the first tokens and largest of the others, over the mean of the others.\n";
  if (few) text += "note: some inputs are wider than a fifth of the tokens: a longer text makes better moments\n";
  return text;
}

std::string project_table(const Projection& projection) {
  const bool calibrated = std::any_of(projection.layers.begin(), projection.layers.end(),
                                      [](const Projection::Layer& layer) { return layer.output.has_value(); });
  std::vector<Align> columns = {Align::left, Align::right, Align::left, Align::right, Align::right, Align::right};
  std::vector<std::string> head = {"layer", "shape", "structure", "parameters", "", "relative error"};
  if (calibrated) {
    columns.insert(columns.end(), 2, Align::right);
    head.insert(head.end(), {"of outputs, plain", "calibrated"});
  }
  Table table(columns);
  table.add(head);
  const auto error_cell = [](const std::optional<double>& error) {
    return error ? fmt::format("{:.4f}", *error) : "-";
  };
  std::uint64_t parameters = 0, dense_parameters = 0;
  for (const Projection::Layer& layer : projection.layers) {
    const std::uint64_t own = layer.structure.parameters(), dense = layer.structure.dense_parameters();
    std::vector<std::string> cells = {layer.name,
                                      fmt::format("{}x{}", layer.structure.out, layer.structure.in),
                                      to_string(layer.structure),
                                      format_count(own),
                                      format_ratio(static_cast<double>(own), static_cast<double>(dense)),
                                      error_cell(layer.relative_error)};
    if (layer.output)
      cells.insert(cells.end(),
                   {fmt::format("{:.4f}", layer.output->plain), fmt::format("{:.4f}", layer.output->fitted)});
    table.add(std::move(cells));
    parameters += own;
    dense_parameters += dense;
  }
  table.gap();
  std::vector<std::string> total = {
      "total",
      "",
      fmt::format("{} operators", projection.layers.size()),
      format_count(parameters),
      format_ratio(static_cast<double>(parameters), static_cast<double>(dense_parameters)),
      error_cell(projection.relative_error)};
  if (calibrated) total.insert(total.end(), 2, "");
  table.add(std::move(total));
  return table.to_string();
}

std::string precision_table(const pipeline::Precision& precision) {
  constexpr std::size_t kBits = pipeline::kMostBits - pipeline::kFewestBits + 1;
  std::vector<Align> columns(kBits + 7, Align::right);
  columns.front() = columns.back() = Align::left;
  Table table(std::move(columns));
  std::vector<std::string> head = {"dB", "layers", "rows"};
  for (std::uint32_t bits = pipeline::kFewestBits; bits <= pipeline::kMostBits; ++bits)
    head.push_back(fmt::format("{} bits", bits));
  head.insert(head.end(), {"no ADC", "ideal cells", "bits", "limited by"});
  table.add(std::move(head));
  table.gap();
  const auto decibels = [](double db) { return std::isfinite(db) ? fmt::format("{:.1f}", db) : std::string("exact"); };
  for (const pipeline::StagePrecision& stage : precision.stages) {
    std::vector<std::string> cells = {stage.pattern + (stage.stages == 1  ? ""
                                                       : stage.stage == 0 ? " R"
                                                                          : " L"),
                                      format_count(stage.operators), format_count(stage.rows)};
    for (const double db : stage.snr_db) cells.push_back(decibels(db));
    cells.insert(cells.end(), {decibels(stage.cells_db), decibels(stage.codes_db), fmt::format("{}", stage.bits),
                               std::string(name_of(stage.limit))});
    table.add(std::move(cells));
  }
  std::string text =
      fmt::format(
          "Signal-to-noise ratio of every stage against the exact product: '{}' on '{}', map {}, ranges {},\n"
          "{} vectors; the least of the layers, floor {:g} dB\n\n",
          precision.model, precision.chip, precision.map, precision.adc_range, precision.vectors,
          precision.least_snr_db) +
      table.to_string();
  if (!precision.notes.empty()) text += "\n";
  for (const std::string& note : precision.notes) text += fmt::format("note: {}\n", note);
  return text + "\n" + floor_line(precision);
}

std::string simulation_table(const Simulation& simulation) {
  const machine::Timing& timing = simulation.timing;
  Table table({Align::left, Align::right, Align::right});
  const auto share = [](double part, double whole) { return whole > 0 ? format_percent(part / whole) : std::string(); };
  table.add({"program", simulation.file});
  table.add({"chip", simulation.chip.name});
  table.add({"iterations", format_count(timing.token_end.size())});
  table.add({"activations", format_count(timing.counts.activations)});
  table.add({"conversions", format_count(timing.counts.conversions)});
  table.add({"messages", format_count(timing.counts.messages)});
  if (timing.counts.link_messages != 0) {
    table.add({"  between chips", format_count(timing.counts.link_messages)});
    table.add({"busiest link", format_time(chip::to_nanoseconds(timing.busiest_link))});
  }
  if (timing.reload.passes > 1) {
    table.add({"passes", format_count(timing.reload.passes)});
    table.add({"passes written", format_count(timing.reload.writes)});
  }
  if (timing.busiest_mesh_link != 0)
    table.add({"busiest mesh link", format_time(chip::to_nanoseconds(timing.busiest_mesh_link)),
               share(chip::to_nanoseconds(timing.busiest_mesh_link), chip::to_nanoseconds(timing.total))});
  table.add({"linear latency", format_time(chip::to_nanoseconds(simulation.linear.total))});
  table.add({"latency", format_time(chip::to_nanoseconds(timing.total))});
  for (const TimePart& part : kTimeParts) {
    const double own = chip::to_nanoseconds(timing.critical_path.*part.value);
    if (own > 0)
      table.add({fmt::format("  {}", part.name), format_time(own), share(own, chip::to_nanoseconds(timing.total))});
  }
  table.add({"energy", format_energy(timing.energy.total() / 1000)});
  for (const EnergyPart& part : kEnergyParts) {
    const double own = timing.energy.*part.value / 1000;
    if (own > 0)
      table.add({fmt::format("  {}", part.name), format_energy(own), share(own, timing.energy.total() / 1000)});
  }
  return table.to_string();
}

std::string verify_text(std::string_view file, const program::VerifyReport& report) {
  return fmt::format("{}: verified; the proof executed {} commands over {} {}; {} buffer elements per tile are used\n",
                     file, report.commands, report.proof_tokens, report.proof_tokens == 1 ? "token" : "tokens",
                     report.buffer_used);
}

std::string model_table(const model::Model& model) {
  const model::Summary summary = model::summarise(model);
  const model::Dimensions& size = model.dimensions;
  Table head({Align::left, Align::left});
  head.add({"model", fmt::format("{} ({})", model.name, name_of(model.family))});
  if (size.layers != 0) {
    std::string layers = fmt::format("{}", size.layers);
    if (size.decoder_layers != 0) layers += fmt::format(" and {} of the decoder", size.decoder_layers);
    head.add({"layers", layers});
    head.add({"hidden, feed-forward", fmt::format("{}, {}", size.hidden, size.ffn)});
    head.add({"heads", fmt::format("{} of {}, {} of keys and values", size.heads, size.head_size, size.kv_heads)});
    if (size.experts != 0)
      head.add({"experts", fmt::format("{}, {} for a token", size.experts, size.experts_per_token)});
    head.add({"vocabulary, context", fmt::format("{}, {}", size.vocab, size.context)});
  }
  for (const std::string& note : model.notes) head.add({"note", note});

  Table mapped({Align::left, Align::right, Align::right, Align::right, Align::right, Align::left});
  mapped.add({"mapped onto arrays", "number", "outputs", "inputs", "weights", "type"});
  for (const model::MatrixGroup& group : summary.operators)
    mapped.add({group.name, format_count(group.count), format_count(group.rows), format_count(group.cols),
                format_count(group.count * group.rows * group.cols), group.type});
  mapped.add({"sum", format_count(summary.operator_count), "", "", format_count(summary.operator_weights)});
  if (summary.weights_per_token != summary.operator_weights)
    mapped.add({"of it for one token", "", "", "", format_count(summary.weights_per_token)});

  Table digital({Align::left, Align::right, Align::right, Align::right, Align::left});
  digital.add({"stays digital", "number", "rows", "columns", "why"});
  for (const model::MatrixGroup& group : summary.digital)
    digital.add(
        {group.name, format_count(group.count), format_count(group.rows), format_count(group.cols), group.reason});
  for (const model::NodeCount& count : summary.nodes)
    digital.add({std::string(name_of(count.kind)), format_count(count.count), "", "", std::string(count.reason)});
  for (const model::DigitalNode& node : model.digital_nodes)
    digital.add({fmt::format("{} ({})", node.name, node.operation), "1", "", "", node.reason});

  Table memory({Align::left, Align::right, Align::left});
  memory.add({"memory"});
  if (model.has_weights()) {
    memory.add({summary.files == 1 ? "file" : fmt::format("{} files", summary.files), format_bytes(summary.file_bytes),
                "mapped; read where needed and given back"});
    memory.add({"largest operator", format_bytes(summary.largest_operator_bytes),
                fmt::format("as float: {}", summary.largest_operator)});
    memory.add({"projection", format_bytes(summary.projection_bytes),
                "at most, beside the program itself: an operator as float and its factors"});
  } else {
    memory.add({"weights", "0", "a shape has none"});
  }
  return fmt::format("{}\n{}\n{}\n{}", head.to_string(), mapped.to_string(), digital.to_string(), memory.to_string());
}

std::string listing_table(const Listing& listing) {
  std::vector<Align> aligns(listing.columns.size(), Align::left);
  if (!listing.rows.empty()) {
    for (std::size_t c = 0; c < aligns.size(); ++c) {
      if (std::holds_alternative<std::uint64_t>(listing.rows.front()[c])) aligns[c] = Align::right;
    }
  }
  Table table(std::move(aligns));
  table.add(listing.columns);
  for (const std::vector<Listing::Cell>& row : listing.rows) {
    std::vector<std::string> cells;
    for (const Listing::Cell& cell : row) {
      const std::uint64_t* number = std::get_if<std::uint64_t>(&cell);
      cells.push_back(number != nullptr ? format_count(*number) : std::get<std::string>(cell));
    }
    table.add(std::move(cells));
  }
  return table.to_string();
}

}  // namespace danaus::report
