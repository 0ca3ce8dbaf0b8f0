// The table of metrics. Totals of time and energy are summed part by part, in the order of danaus.run/1, so that a
// point has the same bits as `danaus run --json`.

#include "danaus/explore/metric.h"

#include <algorithm>

#include "danaus/core/internal_error.h"

namespace danaus::explore {
namespace {

using pipeline::MapResult;
using Read = std::optional<double> (*)(const MapResult&);

struct Entry {
  Metric metric;
  Read read;  // null: not of a run
};

double latency_ns(const MapResult& result) {
  const machine::Breakdown& path = result.timing.critical_path;
  double total = 0;
  for (const chip::Picoseconds part : {path.input, path.settle, path.adc, path.network, path.link, path.digital,
                                       path.attention, path.wait, path.reload})
    total += chip::to_nanoseconds(part);
  return total;
}

double active_energy_nj(const MapResult& result) {
  const machine::Energy& energy = result.timing.energy;
  double total = 0;
  for (const double part : {energy.rows, energy.cells, energy.adc, energy.network, energy.link, energy.digital,
                            energy.attention, energy.buffer, energy.reload})
    total += part / 1000;
  return total;
}

double count(std::uint64_t number) { return static_cast<double>(number); }

/// What list scheduling does not model is nothing, not 0.
std::optional<double> of_program(const MapResult& result, double value) {
  return result.is_scheduled_by_list() ? std::nullopt : std::optional(value);
}

constexpr Metric bound(std::string_view name, std::string_view help, Direction better, bool whole = false) {
  return {.name = name, .help = help, .better = better, .whole = whole, .bound = true};
}

/// Every model takes an array or more: a bound of none was not found.
std::optional<double> if_found(const MapResult& result, double value) {
  return result.bound.arrays == 0 ? std::nullopt : of_program(result, value);
}

const std::vector<Entry>& table() {
  using enum Direction;
  static const std::vector<Entry> entries = {
      {{"latency_ns", "decode: one token; otherwise from the first to the last command", least},
       [](const MapResult& r) -> std::optional<double> { return latency_ns(r); }},
      {{"linear_latency_ns", "the same with digital and attention times zero", least},
       [](const MapResult& r) -> std::optional<double> { return r.linear_latency_ns; }},
      {{"throughput_tokens_per_s", "tokens over latency", most},
       [](const MapResult& r) -> std::optional<double> { return r.throughput_tokens_per_s; }},
      {{"energy_nj", "active and passive energy", least},
       [](const MapResult& r) -> std::optional<double> {
         return active_energy_nj(r) + r.timing.energy.passive / 1000;
       }},
      {{"energy_active_nj", "energy of what is executed", least},
       [](const MapResult& r) -> std::optional<double> { return active_energy_nj(r); }},
      {{"area_mm2", "all chips", least}, [](const MapResult& r) { return of_program(r, r.area.total_mm2()); }},
      {{"arrays", "arrays that hold weights", least, true},
       [](const MapResult& r) -> std::optional<double> { return r.arrays; }},
      {{"tiles", "tiles of all chips", least, true},
       [](const MapResult& r) -> std::optional<double> { return r.tiles; }},
      {{"chips_used", "chips that hold weights", least, true},
       [](const MapResult& r) -> std::optional<double> { return r.chips_used; }},
      {{"utilisation", "parameters over cells of these arrays", most, false, false, 1},
       [](const MapResult& r) -> std::optional<double> { return r.utilisation; }},
      {{"parameters", "of all mapped operators", least, true},
       [](const MapResult& r) -> std::optional<double> { return count(r.parameters); }},
      {{"macs", "multiply-accumulates per token", least, true},
       [](const MapResult& r) -> std::optional<double> { return count(r.macs); }},
      {{"activations", "per token", least, true},
       [](const MapResult& r) -> std::optional<double> { return count(r.activations); }},
      {{"conversions", "per token", least, true},
       [](const MapResult& r) { return of_program(r, count(r.conversions)); }},
      {{"adc_rounds", "along the critical path of linear_latency_ns, per token", least, true},
       [](const MapResult& r) { return of_program(r, count(r.adc_rounds)); }},
      {{"buffer_bytes", "buffer of the fullest tile", least, true},
       [](const MapResult& r) { return of_program(r, r.buffer_bytes); }},
      {{"programming_time_us", "writing all weights once", least},
       [](const MapResult& r) { return of_program(r, r.programming_time_us); }},
      {{"programming_energy_uj", "writing all weights once", least},
       [](const MapResult& r) { return of_program(r, r.programming_energy_uj); }},
      {{"relative_error", "of the blocks against the weights, with relative_error = true", least},
       [](const MapResult& r) { return r.relative_error; }},
      {{"driven_rows", "in all, an input window each", least, true},
       [](const MapResult& r) { return of_program(r, count(r.timing.counts.driven_rows)); }},
      {{"active_cells", "weights that draw current in these windows", least, true},
       [](const MapResult& r) { return of_program(r, count(r.timing.counts.active_cells)); }},
      {{"energy_cells_nj", "what they take", least},
       [](const MapResult& r) { return of_program(r, r.timing.energy.cells / 1000); }},
      {{"busiest_array_ns", "the longest that an array is taken: tokens cannot follow each other faster", least},
       [](const MapResult& r) { return of_program(r, chip::to_nanoseconds(r.timing.busiest_array)); }},
      {{"busiest_digital_ns", "likewise the vector units of a tile", least},
       [](const MapResult& r) { return of_program(r, chip::to_nanoseconds(r.timing.busiest_digital)); }},
      {bound("bound_arrays", "no mapping takes fewer arrays (docs/bounds.md)", least, true),
       [](const MapResult& r) { return if_found(r, r.bound.arrays); }},
      {bound("bound_linear_latency_ns", "no mapping on as many arrays has a smaller linear_latency_ns", least),
       [](const MapResult& r) { return if_found(r, r.bound.linear_latency_ns); }},
      {bound("bound_stage_by_stage_ns", "likewise, of mappings whose stages do not overlap", least),
       [](const MapResult& r) { return if_found(r, r.bound.stage_by_stage_ns); }},
      {bound("bound_fewest_arrays_linear_latency_ns", "likewise on bound_arrays arrays", least),
       [](const MapResult& r) { return if_found(r, r.bound.fewest_arrays_linear_ns); }},
      {bound("bound_fewest_arrays_stage_by_stage_ns", "on bound_arrays arrays, stages that do not overlap", least),
       [](const MapResult& r) { return if_found(r, r.bound.fewest_arrays_stage_by_stage_ns); }},
      {bound("bound_latency_ns", "no mapping on as many arrays has a smaller latency_ns", least),
       [](const MapResult& r) { return if_found(r, r.bound.latency_ns); }},
      {bound("bound_throughput_tokens_per_s", "no mapping on as many arrays has a larger throughput", most),
       [](const MapResult& r) { return if_found(r, r.bound.throughput_tokens_per_s); }},
      {bound("bound_energy_nj", "no mapping on as many arrays takes less", least),
       [](const MapResult& r) { return if_found(r, r.bound.energy_nj); }},
      {{"perplexity", "[accuracy]: of the text, decoders", least, false, true}, nullptr},
      {{"nll", "[accuracy]: mean of -ln p of the scored tokens, decoders", least, false, true}, nullptr},
      {{"similarity", "[accuracy]: mean cosine to the float model's embeddings, encoders", most, false, true, 1, -1},
       nullptr},
  };
  return entries;
}

std::optional<double>& slot(MetricValues& values, std::string_view name) {
  const std::optional<std::size_t> metric = find_metric(name);
  ensure(metric && *metric < values.size(), "the metrics of a point have the size of the table");
  return values[*metric];
}

}  // namespace

const std::vector<Metric>& metrics() {
  static const std::vector<Metric> list = [] {
    std::vector<Metric> result;
    for (const Entry& entry : table()) result.push_back(entry.metric);
    return result;
  }();
  return list;
}

std::optional<std::size_t> find_metric(std::string_view name) {
  const std::vector<Metric>& list = metrics();
  const auto found = std::find_if(list.begin(), list.end(), [&](const Metric& metric) { return metric.name == name; });
  if (found == list.end()) return std::nullopt;
  return static_cast<std::size_t>(found - list.begin());
}

std::vector<std::string_view> metric_names() {
  std::vector<std::string_view> names;
  for (const Metric& metric : metrics()) names.push_back(metric.name);
  return names;
}

MetricValues metrics_of(const MapResult& result) {
  MetricValues values;
  for (const Entry& entry : table()) values.push_back(entry.read != nullptr ? entry.read(result) : std::nullopt);
  return values;
}

void add_metrics(MetricValues& values, const pipeline::Evaluation& evaluation) {
  slot(values, "perplexity") = evaluation.perplexity.perplexity;
  slot(values, "nll") = evaluation.perplexity.nll;
}

void add_similarity(MetricValues& values, double similarity) {
  slot(values, "similarity") = std::clamp(similarity, -1.0, 1.0);  // beyond by rounding alone
}

}  // namespace danaus::explore
