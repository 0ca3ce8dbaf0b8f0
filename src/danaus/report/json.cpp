// Results -> JSON. Keys keep the order of the documents. Totals of time and energy are the sum, left to right, of the
// parts that are printed, so that adding the parts of a document gives its total to the last bit.

#include <cmath>
#include <nlohmann/json.hpp>

#include "danaus/model/summary.h"
#include "danaus/report/automatic.h"
#include "danaus/report/precision.h"
#include "danaus/report/report.h"
#include "danaus/report/reproduction.h"

namespace danaus::report {
namespace {

using Json = nlohmann::ordered_json;

std::string document(const Json& json) {
  // Names and paths may hold any bytes; what is not UTF-8 becomes U+FFFD.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json to_json(const Provenance& provenance) {
  Json json = {{"version", provenance.version}, {"command", provenance.command}, {"seed", provenance.seed},
               {"threads", provenance.threads}, {"host", provenance.host},       {"time", provenance.time},
               {"wall_s", provenance.wall_s}};
  if (provenance.tokens_per_s) json["tokens_per_s"] = *provenance.tokens_per_s;
  if (!provenance.blas.empty()) json["blas"] = provenance.blas;
  return json;
}

Json optional_number(const std::optional<double>& number) { return number ? Json(*number) : Json(nullptr); }

double sum(const Json& parts) {
  double total = 0;
  for (const Json& part : parts) total += part.get<double>();
  return total;
}

Json breakdown_ns(const machine::Breakdown& path) {
  const auto ns = chip::to_nanoseconds;
  return {{"input", ns(path.input)},         {"settle", ns(path.settle)}, {"adc", ns(path.adc)},
          {"network", ns(path.network)},     {"link", ns(path.link)},     {"digital", ns(path.digital)},
          {"attention", ns(path.attention)}, {"wait", ns(path.wait)},     {"reload", ns(path.reload)}};
}

Json breakdown_active_nj(const machine::Energy& energy) {
  return {{"rows", energy.rows / 1000},           {"cells", energy.cells / 1000},   {"adc", energy.adc / 1000},
          {"network", energy.network / 1000},     {"link", energy.link / 1000},     {"digital", energy.digital / 1000},
          {"attention", energy.attention / 1000}, {"buffer", energy.buffer / 1000}, {"reload", energy.reload / 1000}};
}

Json counts_json(const machine::Counts& counts) {
  return {{"commands", counts.commands},
          {"activations", counts.activations},
          {"conversions", counts.conversions},
          {"adc_rounds", counts.adc_rounds},
          {"driven_rows", counts.driven_rows},
          {"active_cells", counts.active_cells},
          {"messages", counts.messages},
          {"message_bits", counts.message_bits},
          {"bit_hops", counts.bit_hops},
          {"link_messages", counts.link_messages},
          {"link_bits", counts.link_bits},
          {"vector_ops", counts.vector_ops},
          {"vector_elements", counts.vector_elements},
          {"attention_macs", counts.attention_macs},
          {"kv_bytes", counts.kv_bytes},
          {"buffer_bytes", counts.buffer_bytes}};
}

/// Latency, energy and their parts of a simulation.
void add_timing(Json& json, const machine::Timing& timing) {
  const Json time = breakdown_ns(timing.critical_path);
  Json energy = breakdown_active_nj(timing.energy);
  const double active = sum(energy);
  energy["passive"] = timing.energy.passive / 1000;
  json["latency_ns"] = sum(time);
  json["energy_nj"] = sum(energy);
  json["energy_active_nj"] = active;
  json["energy_high_nj"] = pipeline::energy_high_pj(timing) / 1000;
  json["breakdown_ns"] = time;
  json["breakdown_nj"] = std::move(energy);
  json["counts"] = counts_json(timing.counts);
  json["busiest_link_ns"] = chip::to_nanoseconds(timing.busiest_link);
  json["busiest_mesh_link_ns"] = chip::to_nanoseconds(timing.busiest_mesh_link);
  json["reload"] = {{"passes", timing.reload.passes}, {"writes", timing.reload.writes}};
}

/// What list scheduling does not model.
void add_hardware(Json& json, const pipeline::MapResult& result) {
  json["area_mm2"] = result.area.total_mm2();
  json["breakdown_mm2"] = {{"arrays", result.area.arrays_mm2},   {"adcs", result.area.adcs_mm2},
                           {"digital", result.area.digital_mm2}, {"attention", result.area.attention_mm2},
                           {"buffers", result.area.buffers_mm2}, {"network", result.area.network_mm2},
                           {"links", result.area.links_mm2}};
  json["programming"] = {{"time_us", result.programming_time_us},
                         {"energy_uj", result.programming_energy_uj},
                         {"break_even_tokens", optional_number(result.break_even_tokens)}};
}

/// What no mapping can do better, and how far the result is from it (ratios, 1 = reached; null where a bound is
/// nothing).
Json bound_json(const pipeline::MapResult& result) {
  const pipeline::Bound& bound = result.bound;
  Json json = {{"arrays", bound.arrays}};
  if (result.is_scheduled_by_list()) return json;
  const auto ratio = [](double worse, double better) { return better > 0 ? Json(worse / better) : Json(nullptr); };
  json["linear_latency_ns"] = bound.linear_latency_ns;
  json["stage_by_stage_ns"] = bound.stage_by_stage_ns;
  json["on_fewest_arrays"] = {{"linear_latency_ns", bound.fewest_arrays_linear_ns},
                              {"stage_by_stage_ns", bound.fewest_arrays_stage_by_stage_ns}};
  json["latency_ns"] = bound.latency_ns;
  json["throughput_tokens_per_s"] = bound.throughput_tokens_per_s > 0 ? Json(bound.throughput_tokens_per_s) : nullptr;
  json["energy_nj"] = bound.energy_nj;
  json["gap"] = {{"arrays", ratio(result.arrays, bound.arrays)},
                 {"linear_latency", ratio(result.linear_latency_ns, bound.linear_latency_ns)},
                 {"latency", ratio(result.latency_ns, bound.latency_ns)},
                 {"throughput", ratio(bound.throughput_tokens_per_s, result.throughput_tokens_per_s)},
                 {"energy", ratio(result.timing.energy.total() / 1000, bound.energy_nj)}};
  return json;
}

Json map_json(const pipeline::MapResult& result) {
  Json json = {{"map", result.map},
               {"structure", result.structure},
               {"blocks", result.blocks},
               {"parameters", result.parameters},
               {"macs", result.macs},
               {"arrays", result.arrays},
               {"tiles", result.tiles},
               {"utilisation", result.utilisation},
               {"activations", result.activations},
               {"conversions", result.conversions},
               {"adc_rounds", result.adc_rounds},
               {"linear_latency_ns", result.linear_latency_ns}};
  add_timing(json, result.timing);
  json["throughput_tokens_per_s"] = result.throughput_tokens_per_s;
  if (result.is_scheduled_by_list()) {
    for (const char* const name : {"conversions", "adc_rounds", "area_mm2", "breakdown_mm2", "programming"})
      json[name] = nullptr;
    for (const char* const name :
         {"commands", "conversions", "adc_rounds", "driven_rows", "active_cells", "link_messages", "link_bits",
          "vector_elements", "attention_macs", "kv_bytes", "buffer_bytes"})
      json["counts"][name] = nullptr;
  } else {
    add_hardware(json, result);
  }
  if (result.routing) {
    json["routing"] = {{"draws", result.routing->draws},
                       {"expected_latency_ns", result.routing->expected_latency_ns},
                       {"expected_energy_nj", result.routing->expected_energy_nj},
                       {"worst_seen_latency_ns", result.routing->worst_seen_latency_ns},
                       {"worst_seen_energy_nj", result.routing->worst_seen_energy_nj}};
  }
  json["copies"] = result.copies;
  json["bound"] = bound_json(result);
  json["relative_error"] = optional_number(result.relative_error);
  if (result.automatic) json["automatic"] = Json::parse(automatic_json(*result.automatic));
  json["arrays_per_chip"] = result.arrays_per_chip;
  json["chips_used"] = result.chips_used;
  json["reload"]["tokens_until_worn_out"] = optional_number(result.tokens_until_worn_out);
  if (result.flops) json["flops"] = *result.flops;
  if (result.is_scheduled_by_list()) {
    json["peak_buffer_bytes"] = *result.peak_buffer_bytes;
    return json;
  }
  json["program"] = {{"commands", result.commands},
                     {"buffer_bytes_per_tile", result.buffer_bytes},
                     {"proof_tokens", result.proof_tokens},
                     {"digest", to_string(result.program_digest)}};
  return json;
}

Json to_json(const Error& error) {
  Json where = Json::object();
  if (!error.where.file.empty()) where["file"] = error.where.file;
  if (error.where.line != 0) where["line"] = error.where.line;
  if (error.where.column != 0) where["column"] = error.where.column;
  if (error.where.offset) where["offset"] = *error.where.offset;
  return {{"id", error.id}, {"message", error.message}, {"where", where}, {"notes", error.notes}, {"hint", error.hint}};
}

Json layer_json(std::string_view name, const Structure& structure) {
  Json json = {{"name", name},
               {"out", structure.out},
               {"in", structure.in},
               {"k", structure.k},
               {"l", structure.l},
               {"r", structure.r},
               {"parameters", structure.parameters()}};
  if (structure.kind == Structure::Kind::gather) {
    json["group"] = structure.out_block;
    json["inputs"] = structure.in_block;
  }
  return json;
}

Json analog_json(const pipeline::AnalogReport& analog) {
  Json noise = Json::object();
  for (const auto& [key, value] : analog.noise) noise[key] = value;
  Json stages = Json::array();
  for (const pipeline::AnalogStage& stage : analog.stages) {
    const machine::kernel::ConversionCounts& adc = stage.statistics.adc;
    const auto part = [](std::uint64_t count, std::uint64_t of) {
      return of == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(of);
    };
    stages.push_back({{"name", stage.name},
                      {"adc_bits", stage.statistics.adc_bits},
                      {"conversions", adc.conversions},
                      {"clipped", part(adc.clipped, adc.conversions)},
                      {"zero_codes", part(adc.zero, adc.conversions)},
                      {"clipped_inputs", part(stage.statistics.clipped_inputs, stage.statistics.inputs)}});
  }
  return {{"chip", analog.chip},
          {"device", analog.device},
          {"time_s", analog.time_s},
          {"noise", std::move(noise)},
          {"map", analog.map},
          {"arrays", analog.arrays},
          {"adc_range", analog.adc_range},
          {"input_scale", analog.input_scale},
          {"calibration_tokens", analog.calibration_tokens},
          {"rescaled_operators", analog.rescaled},
          {"proof_tokens", analog.proof_tokens},
          {"program_digest", to_string(analog.program_digest)},
          {"stages", std::move(stages)}};
}

Json linear_json(const pipeline::LinearReport& linear) {
  return {{"structure", linear.structure},
          {"blocks", linear.blocks},
          {"parameters", linear.parameters},
          {"dense_parameters", linear.dense_parameters},
          {"relative_error", optional_number(linear.relative_error)},
          {"analog", linear.analog ? analog_json(*linear.analog) : Json(nullptr)},
          {"notes", linear.notes}};
}

std::string_view name_of(nn::Generated::End end) {
  switch (end) {
    case nn::Generated::End::token:
      return "token";
    case nn::Generated::End::length:
      return "length";
    case nn::Generated::End::context:
      return "context";
    case nn::Generated::End::stopped:
      return "stopped";
  }
  return "";
}

}  // namespace

std::string evaluation_json(const pipeline::Evaluation& evaluation, const Provenance& provenance) {
  Json json = {{"schema", "danaus.eval/1"}, {"provenance", to_json(provenance)}, {"model", evaluation.model}};
  if (evaluation.encoder) {
    json["tokens"] = evaluation.tokens;
    json["embeddings"] = evaluation.embeddings;
    json["pooling"] = {{"kind", nn::name_of(evaluation.pooling.kind)}, {"normalise", evaluation.pooling.normalise}};
  } else {
    const nn::Perplexity& perplexity = evaluation.perplexity;
    json["tokens"] = evaluation.tokens.front();
    json["nll"] = optional_number(perplexity.nll);
    json["perplexity"] = optional_number(perplexity.perplexity);
    json["scored"] = perplexity.scored;
    json["windows"] = {{"number", perplexity.windows}, {"length", perplexity.length}, {"stride", perplexity.stride}};
  }
  json["linear"] = linear_json(evaluation.linear);
  return line(json) + "\n";  // thousands of numbers: one per line would be no easier to read
}

std::string continuation_json(const pipeline::Continuation& continuation, const Provenance& provenance) {
  return line({{"schema", "danaus.generate/1"},
               {"provenance", to_json(provenance)},
               {"model", continuation.model},
               {"prompt", continuation.prompt},
               {"ids", continuation.generated.ids},
               {"text", continuation.text},
               {"end", name_of(continuation.generated.end)},
               {"linear", linear_json(continuation.linear)}}) +
         "\n";
}

std::string_view mode_name(const pipeline::RunResult& result) {
  return result.generation ? "generate" : compile::name_of(result.mode);
}

std::string provenance_json(const Provenance& provenance) { return to_json(provenance).dump(); }

std::string run_json(const pipeline::RunResult& result, const Provenance& provenance) {
  Json json = {{"schema", "danaus.run/1"},
               {"provenance", to_json(provenance)},
               {"model", result.model},
               {"chip", result.chip.name},
               {"chip_digest", to_string(chip::digest_of(result.chip))},
               {"chips", result.chip.system.chips},
               {"mode", mode_name(result)},
               {"tokens", result.tokens},
               {"sequences", result.sequences},
               {"kv", result.kv},
               {"encoder_tokens", result.encoder_tokens}};
  if (result.generation)
    json["generation"] = {{"prompt", result.generation->prompt}, {"kv_cache", result.generation->kv_cache}};
  json["results"] = Json::array();
  for (const pipeline::MapResult& map : result.results) json["results"].push_back(map_json(map));
  const chip::Chip::Adc& adc = result.chip.adc;
  const pipeline::EnergyOrder order = pipeline::energy_order(result.results);
  json["adc"] = {{"rule", chip::value_text(result.chip, "adc.rule")},
                 {"precision", chip::value_text(result.chip, "adc.precision")},
                 {"sharing", chip::value_text(result.chip, "adc.sharing")},
                 {"group_arrays", adc.sharing == chip::AdcSharing::group ? Json(adc.group_arrays) : Json(nullptr)},
                 {"calibration", adc.calibration},
                 {"calibration_high", adc.calibration_high > 0 ? Json(adc.calibration_high) : Json(nullptr)},
                 {"energy_order", order.low},
                 {"energy_order_high", order.high},
                 {"energy_order_depends", order.depends_on_converters()}};
  json["references"] = Json::array();
  for (const pipeline::Estimate& estimate : result.references)
    json["references"].push_back({{"name", estimate.reference.key},
                                  {"machine", estimate.reference.name},
                                  {"precision", estimate.reference.precision},
                                  {"estimate", true},
                                  {"latency_ns", estimate.latency_ns},
                                  {"energy_nj", estimate.energy_nj},
                                  {"memory_ns", estimate.memory_ns},
                                  {"compute_ns", estimate.compute_ns}});
  json["chip_sources"] = result.chip_sources;
  return document(json);
}

std::string calibration_json(const factor::MomentSet& set, const Provenance& provenance) {
  Json json = {{"schema", "danaus.calibrate/1"},
               {"provenance", to_json(provenance)},
               {"model", set.model},
               {"weighting", set.weighting},
               {"texts", set.texts},
               {"inputs", Json::array()}};
  for (const factor::InputMoments& input : set.inputs)
    json["inputs"].push_back(
        {{"name", input.name},
         {"operators", input.operators},
         {"in", input.in},
         {"tokens", input.first_tokens + input.tokens},
         {"first_tokens", input.first_tokens},
         {"energy",
          {{"first", input.energy.first}, {"other", input.energy.other}, {"largest", input.energy.largest}}}});
  return document(json);
}

std::string project_json(const Projection& projection, const Provenance& provenance) {
  Json json = {{"schema", "danaus.project/1"},
               {"provenance", to_json(provenance)},
               {"model", projection.model},
               {"layers", Json::array()}};
  std::uint64_t parameters = 0, dense_parameters = 0;
  for (const Projection::Layer& layer : projection.layers) {
    Json entry = layer_json(layer.name, layer.structure);
    entry["relative_error"] = optional_number(layer.relative_error);
    if (layer.output)
      entry["output_error"] = {
          {"plain", layer.output->plain}, {"fitted", layer.output->fitted}, {"sweeps", layer.output->sweeps}};
    json["layers"].push_back(std::move(entry));
    parameters += layer.structure.parameters();
    dense_parameters += layer.structure.dense_parameters();
  }
  json["total"] = {{"layers", projection.layers.size()},
                   {"parameters", parameters},
                   {"macs", parameters},
                   {"dense_parameters", dense_parameters},
                   {"relative_error", optional_number(projection.relative_error)}};
  return document(json);
}

std::string precision_json(const pipeline::Precision& precision, const Provenance& provenance) {
  Json json = {{"schema", "danaus.precision/1"},
               {"provenance", to_json(provenance)},
               {"model", precision.model},
               {"chip", precision.chip},
               {"map", precision.map},
               {"adc_range", precision.adc_range},
               {"least_snr_db", precision.least_snr_db},
               {"vectors", precision.vectors},
               {"weights", precision.has_weights ? "model" : "random"},
               {"inputs", precision.has_text ? "text" : "random"},
               {"stages", Json::array()},
               {"notes", precision.notes}};
  std::uint32_t below = 0;
  Json limits = Json::object();
  for (const auto& [limit, count] : below_floor(precision)) {
    below += count;
    limits[std::string(name_of(limit))] = count;
  }
  json["below_floor"] = {{"stages", below}, {"of", precision.stages.size()}, {"limits", std::move(limits)}};
  const auto decibels = [](double db) { return std::isfinite(db) ? Json(db) : Json(nullptr); };
  for (const pipeline::StagePrecision& stage : precision.stages) {
    Json by_bits = Json::object();
    for (std::uint32_t bits = pipeline::kFewestBits; bits <= pipeline::kMostBits; ++bits)
      by_bits[std::to_string(bits)] = decibels(stage.snr_of(bits));
    const bool is_limited = stage.limit != pipeline::PrecisionLimit::none;
    json["stages"].push_back({{"match", stage.pattern},
                              {"stage", stage.stages == 1 ? Json(nullptr) : Json(stage.stage == 0 ? "R" : "L")},
                              {"operators", stage.operators},
                              {"measured", stage.measured},
                              {"rows", stage.rows},
                              {"snr_db", by_bits},
                              {"snr_db_without_adc", decibels(stage.cells_db)},
                              {"snr_db_ideal_cells", decibels(stage.codes_db)},
                              {"bits", stage.bits},
                              {"limit", is_limited ? Json(name_of(stage.limit)) : Json(nullptr)}});
  }
  return document(json);
}

std::string simulation_json(const Simulation& simulation, const Provenance& provenance) {
  Json json = {{"schema", "danaus.simulate/1"},
               {"provenance", to_json(provenance)},
               {"program", {{"file", simulation.file}, {"digest", to_string(simulation.program_digest)}}},
               {"chip", simulation.chip.name},
               {"chip_digest", to_string(chip::digest_of(simulation.chip))},
               {"iterations", simulation.timing.token_end.size()},
               {"linear_latency_ns", chip::to_nanoseconds(simulation.linear.total)},
               {"adc_rounds", simulation.linear.critical_rounds}};
  add_timing(json, simulation.timing);
  return document(json);
}

std::string verify_json(std::string_view file, const program::VerifyReport& report,
                        const std::vector<std::string>& notes, const Provenance& provenance) {
  Json json = {{"schema", "danaus.verify/1"},
               {"provenance", to_json(provenance)},
               {"file", file},
               {"verified", report.ok()},
               {"proof", {{"commands", report.commands}, {"tokens", report.proof_tokens}}},
               {"buffer_used", report.buffer_used},
               {"notes", notes},
               {"errors", Json::array()}};
  for (const Error& error : report.errors) json["errors"].push_back(to_json(error));
  return document(json);
}

std::string listing_json(const Listing& listing) {
  Json json = {{"schema", "danaus.show/1"}, {"kind", listing.kind}, {"items", Json::array()}};
  for (const std::vector<Listing::Cell>& row : listing.rows) {
    Json item = Json::object();
    for (std::size_t c = 0; c < row.size(); ++c)
      std::visit([&](const auto& cell) { item[listing.columns[c]] = cell; }, row[c]);
    json["items"].push_back(std::move(item));
  }
  return document(json);
}

std::string model_json(const model::Model& model) {
  const model::Summary summary = model::summarise(model);
  const model::Dimensions& size = model.dimensions;
  Json json = {{"schema", "danaus.model/1"}, {"model", model.name}, {"family", name_of(model.family)}};
  json["dimensions"] = {{"layers", size.layers},
                        {"decoder_layers", size.decoder_layers},
                        {"hidden", size.hidden},
                        {"ffn", size.ffn},
                        {"heads", size.heads},
                        {"kv_heads", size.kv_heads},
                        {"head_size", size.head_size},
                        {"vocab", size.vocab},
                        {"context", size.context},
                        {"experts", size.experts},
                        {"experts_per_token", size.experts_per_token}};
  json["notes"] = model.notes;
  json["mapped"] = {{"operators", summary.operator_count},
                    {"weights", summary.operator_weights},
                    {"weights_per_token", summary.weights_per_token},
                    {"groups", Json::array()}};
  for (const model::MatrixGroup& group : summary.operators)
    json["mapped"]["groups"].push_back({{"name", group.name},
                                        {"number", group.count},
                                        {"out", group.rows},
                                        {"in", group.cols},
                                        {"type", group.type.empty() ? Json(nullptr) : Json(group.type)}});
  json["digital"] = {{"matrices", Json::array()}, {"nodes", Json::array()}};
  for (const model::MatrixGroup& group : summary.digital)
    json["digital"]["matrices"].push_back({{"name", group.name},
                                           {"number", group.count},
                                           {"rows", group.rows},
                                           {"cols", group.cols},
                                           {"reason", group.reason}});
  for (const model::NodeCount& count : summary.nodes)
    json["digital"]["nodes"].push_back(
        {{"kind", name_of(count.kind)}, {"number", count.count}, {"reason", count.reason}});
  if (!model.digital_nodes.empty()) json["digital"]["file_nodes"] = Json::array();
  for (const model::DigitalNode& node : model.digital_nodes)
    json["digital"]["file_nodes"].push_back(
        {{"name", node.name}, {"operation", node.operation}, {"reason", node.reason}});
  json["memory"] = {{"files", summary.files},
                    {"file_bytes", summary.file_bytes},
                    {"largest_operator", summary.largest_operator},
                    {"largest_operator_bytes", summary.largest_operator_bytes},
                    {"projection_bytes", summary.projection_bytes}};
  return document(json);
}

std::string reproduction_json(const Reproduction& reproduction, const Provenance& provenance) {
  using namespace reproduce;
  const auto unit = [](Unit of) {
    return of == Unit::times ? "times" : of == Unit::bits ? "bits" : of == Unit::points ? "points" : "fraction";
  };
  const Results& results = reproduction.results;
  Json json = {{"schema", "danaus.reproduce/1"}, {"provenance", to_json(provenance)},
               {"chip", results.chip.name},      {"chip_digest", to_string(chip::digest_of(results.chip))},
               {"claims", Json::array()},        {"models", Json::array()},
               {"programs", Json::array()}};
  for (const Outcome& outcome : reproduction.outcomes) {
    const Claim& claim = outcome.claim;
    Json values = Json::array();
    for (const Value& value : outcome.values) {
      Json setting = Json::object();
      for (std::size_t a = 0; a < outcome.axes.size(); ++a)
        setting[outcome.axes[a].name] = outcome.axes[a].words[value.setting[a]];
      values.push_back({{"setting", std::move(setting)},
                        {"ours", value.ours},
                        {"holds", value.holds},
                        {"borrowed", value.borrowed}});
    }
    json["claims"].push_back({{"claim", claim.id},
                              {"text", claim.text},
                              {"where", claim.where},
                              {"published", claim.published},
                              {"relation", claim.relation == Relation::about ? "about" : "more than"},
                              {"tolerance", claim.tolerance},
                              {"unit", unit(claim.unit)},
                              {"ours", outcome.ours()},
                              {"ratio", outcome.ours() / claim.published},
                              {"status", name_of(outcome.status)},
                              {"under", outcome.under},
                              {"reason", outcome.reason},
                              {"explanation", outcome.explanation},
                              {"values", std::move(values)}});
  }
  for (const Shapes& shapes : results.shapes)
    json["models"].push_back(
        {{"model", shapes.name},
         {"layers", shapes.layers},
         {"tokens", shapes.tokens},
         {"dense_weights", shapes.dense_weights},
         {"digital_weights", shapes.digital_weights},
         {"attention_macs", shapes.attention_macs},
         {"causal_attention_macs", shapes.causal_attention_macs},
         {"weights", {{"published policy", shapes.weights[0]}, {"no dead blocks", shapes.weights[1]}}},
         {"arrays_one_index_lost", shapes.arrays_one_index_lost}});
  for (const auto& [key, figure] : results.figures) {
    const auto& [model, map, setting] = key;
    json["programs"].push_back({{"model", kModels[model]},
                                {"map", name_of(map)},
                                {"converter", name_of(setting.converter)},
                                {"bits", name_of(setting.bits)},
                                {"policy", name_of(setting.policy)},
                                {"adcs", setting.adcs},
                                {"arrays", figure.arrays},
                                {"adc_bits", figure.adc_bits},
                                {"weights", figure.weights},
                                {"utilisation", figure.utilisation},
                                {"activations", figure.activations},
                                {"conversions", figure.conversions},
                                {"latency_ns", figure.latency_ns},
                                {"settle_ns", figure.settle_ns},
                                {"adc_ns", figure.adc_ns},
                                {"energy_nj", figure.energy_nj()},
                                {"energy_active_nj", figure.active_nj},
                                {"energy_passive_nj", figure.passive_nj},
                                {"energy_adc_nj", figure.adc_nj},
                                {"area_mm2", figure.area_mm2}});
  }
  return document(json);
}

std::string error_json(const Error& error) {
  Json json;
  json["error"] = to_json(error);
  return line(json);
}

std::string progress_json(std::string_view event, std::string_view step, std::uint64_t done, std::uint64_t total,
                          std::optional<double> eta_s) {
  const Json json = {
      {"event", event}, {"step", step}, {"done", done}, {"total", total}, {"eta_s", optional_number(eta_s)}};
  return line(json);
}

}  // namespace danaus::report
