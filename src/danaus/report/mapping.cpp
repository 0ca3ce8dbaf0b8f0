// Where the time of a mapping goes, stage by stage: the table's times and the rest add up to the latency.

#include "danaus/report/mapping.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "danaus/report/automatic.h"
#include "danaus/report/table.h"
#include "danaus/report/units.h"

namespace danaus::report {
namespace {

using Align = Table::Align;
using Json = nlohmann::ordered_json;
using pipeline::ExplainedStage;
using pipeline::MappingExplanation;

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

/// Input window, settling and conversions: what the stage's own arrays take.
double array_time(const machine::Breakdown& time) { return chip::to_nanoseconds(time.input + time.settle + time.adc); }

std::string range(std::uint32_t least, std::uint32_t most) {
  return least == most ? fmt::format("{}", most) : fmt::format("{}-{}", least, most);
}

std::string part(chip::Picoseconds time) { return time == 0 ? "-" : format_time(chip::to_nanoseconds(time)); }

/// The parts of a row, from the input windows to the attention.
void add_parts(const machine::Breakdown& time, double total_ns, std::vector<std::string>& cells) {
  const double own = chip::to_nanoseconds(time.total());
  cells.insert(cells.end(),
               {format_time(own), total_ns > 0 ? format_percent(own / total_ns) : "", part(time.input + time.settle),
                part(time.adc), part(time.network + time.link), part(time.digital), part(time.attention)});
}

Json parts_json(const machine::Breakdown& time) {
  return {{"input", chip::to_nanoseconds(time.input)},
          {"settle", chip::to_nanoseconds(time.settle)},
          {"adc", chip::to_nanoseconds(time.adc)},
          {"network", chip::to_nanoseconds(time.network)},
          {"link", chip::to_nanoseconds(time.link)},
          {"digital", chip::to_nanoseconds(time.digital)},
          {"attention", chip::to_nanoseconds(time.attention)},
          {"wait", chip::to_nanoseconds(time.wait)},
          {"reload", chip::to_nanoseconds(time.reload)}};
}

Json ratio(double worse, double better) { return better > 0 ? Json(worse / better) : Json(nullptr); }

}  // namespace

std::string mapping_text(const MappingExplanation& explanation) {
  const pipeline::MapResult& result = explanation.result;
  const double total_ns = chip::to_nanoseconds(result.timing.total);
  std::string text = fmt::format("{} for {} on {}: one token, KV length {}\n\n", result.map, explanation.model,
                                 explanation.chip.name, explanation.kv);
  Table head({Align::left, Align::right, Align::left, Align::left});
  const auto figure = [&](std::string name, std::string value, double own, double bound, std::string bound_text) {
    head.add({std::move(name), std::move(value), or_dash(format_ratio(own, bound)), "of its bound, " + bound_text});
  };
  const pipeline::Bound& bound = result.bound;
  figure("arrays", format_count(result.arrays), result.arrays, bound.arrays, format_count(bound.arrays));
  figure("linear latency", format_time(result.linear_latency_ns), result.linear_latency_ns, bound.linear_latency_ns,
         format_time(bound.linear_latency_ns));
  figure("latency", format_time(result.latency_ns), result.latency_ns, bound.latency_ns, format_time(bound.latency_ns));
  text += head.to_string() + "\n";

  if (result.automatic) text += automatic_text(*result.automatic) + "\n";
  Table table({Align::left, Align::right, Align::left, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::right, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::left});
  table.add({"stage", "layers", "structure", "arrays", "columns", "rounds", "time", "", "input", "ADC", "network",
             "digital", "attention", "bound", "", "limited by"});
  for (const ExplainedStage& stage : explanation.stages) {
    std::vector<std::string> cells = {stage.name,
                                      fmt::format("{}", stage.layers),
                                      stage.structure,
                                      fmt::format("{}", stage.arrays),
                                      range(stage.least_columns, stage.most_columns),
                                      fmt::format("{}", stage.most_rounds)};
    add_parts(stage.time, total_ns, cells);
    cells.push_back(format_time(stage.bound_ns));
    cells.push_back(format_ratio(array_time(stage.time), stage.bound_ns));
    cells.push_back(stage.limit);
    table.add(std::move(cells));
  }
  std::vector<std::string> rest = {"after the last stage", "", "", "", "", ""};
  add_parts(explanation.rest, total_ns, rest);
  table.add(std::move(rest));
  std::vector<std::string> sum = {"sum", "", "", "", "", ""};
  add_parts(result.timing.critical_path, total_ns, sum);
  table.add(std::move(sum));
  text += table.to_string();
  text +=
      "\nTimes are those on the critical path, all layers together; what lies between a stage and the one before it "
      "counts "
      "to it.\nColumns of an activation; rounds of the busiest array in one layer. Bound of a stage: one window and "
      "its "
      "rounds shared by all arrays.\n";
  for (const ExplainedStage& stage : explanation.stages) {
    text += fmt::format("\n{}: limited by {}\n", stage.name, stage.limit);
    for (const std::string& reason : stage.reasons) text += fmt::format("  {}\n", reason);
  }
  return text;
}

std::string mapping_json(const MappingExplanation& explanation, const Provenance& provenance) {
  const pipeline::MapResult& result = explanation.result;
  Json json = {{"schema", "danaus.mapping/1"},
               {"provenance", Json::parse(provenance_json(provenance))},
               {"model", explanation.model},
               {"chip", explanation.chip.name},
               {"map", result.map},
               {"kv", explanation.kv},
               {"arrays", result.arrays},
               {"linear_latency_ns", result.linear_latency_ns},
               {"latency_ns", result.latency_ns},
               {"bound",
                {{"arrays", result.bound.arrays},
                 {"linear_latency_ns", result.bound.linear_latency_ns},
                 {"stage_by_stage_ns", result.bound.stage_by_stage_ns},
                 {"latency_ns", result.bound.latency_ns}}}};
  if (result.automatic) json["automatic"] = Json::parse(automatic_json(*result.automatic));
  json["stages"] = Json::array();
  for (const ExplainedStage& stage : explanation.stages) {
    json["stages"].push_back({{"name", stage.name},
                              {"layers", stage.layers},
                              {"structure", stage.structure},
                              {"arrays", stage.arrays},
                              {"patches", stage.patches},
                              {"columns", {stage.least_columns, stage.most_columns}},
                              {"activations", stage.activations},
                              {"activations_of_busiest_array", stage.most_activations},
                              {"conversions", stage.conversions},
                              {"adc_bits", stage.adc_bits},
                              {"rounds_of_busiest_array", stage.most_rounds},
                              {"rounds_bound", stage.bound_rounds},
                              {"critical", {{"activations", stage.windows}, {"adc_rounds", stage.rounds}}},
                              {"breakdown_ns", parts_json(stage.time)},
                              {"bound_ns", stage.bound_ns},
                              {"gap", ratio(array_time(stage.time), stage.bound_ns)},
                              {"limited_by", stage.limit},
                              {"reasons", stage.reasons}});
  }
  json["rest_ns"] = parts_json(explanation.rest);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace danaus::report
