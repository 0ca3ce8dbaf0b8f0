// One job is what shares a program: a model, a map, a policy and ADC bits, timed with both kinds of converters and
// every number of them. The cost evaluator compiles and proves the program at the first of these chips and finds it
// again at the others. The dense operator knows no policy and has 8 bits either way, so its jobs are fewer. Jobs write
// into slots of their own; the map of figures is filled afterwards.

#include "danaus/reproduce/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <span>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/factor.h"
#include "danaus/machine/timing.h"
#include "danaus/model/model.h"
#include "danaus/model/summary.h"
#include "danaus/pipeline/cost_evaluator.h"
#include "danaus/pipeline/list.h"
#include "danaus/pipeline/run.h"

namespace danaus::reproduce {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

/// Keys that a condition sets.
constexpr std::string_view kVaried[] = {"adc.kind", "adc.rule", "adc.bits", "adc.second_bits", "adc.per_array"};

struct Job {
  std::size_t model = 0;
  Map map{};
  Bits bits{};
  Policy policy{};
};

factor::Policy policy_of(Policy policy) {
  factor::Policy result;
  result.pad_square = true;
  result.trim = policy == Policy::trimmed;
  return result;
}

std::uint32_t paper_bits(Map map) {
  switch (map) {
    case Map::linear:
      return 8;
    case Map::sparse:
      return 5;
    case Map::dense_diagonal:
    case Map::dense:
      break;
  }
  return 3;
}

Result<chip::Chip> chip_for(const std::string& name, Settings settings, Converter converter, const Job& job,
                            std::uint32_t adcs) {
  settings.emplace_back("adc.kind", converter == Converter::ramp ? "ramp" : "sar");
  settings.emplace_back("adc.rule", job.bits == Bits::paper ? "fixed" : "rows");
  settings.emplace_back("adc.bits", fmt::format("{}", paper_bits(job.map)));
  settings.emplace_back("adc.per_array", fmt::format("{}", adcs));
  return chip::load(name, settings);
}

std::vector<Job> jobs_for(Scope scope) {
  std::vector<Job> jobs;
  if (scope == Scope::shapes) return jobs;
  for (std::size_t model = 0; model < kModels.size(); ++model) {
    for (const Map map : {Map::dense, Map::dense_diagonal, Map::sparse, Map::linear}) {  // longest first
      for (const Policy policy : kPolicies) {
        for (const Bits bits : kBits) {
          if (scope == Scope::arrays && bits != Bits::paper) continue;
          if (map == Map::linear && (policy != Policy::published || bits != Bits::paper)) continue;
          jobs.push_back({.model = model, .map = map, .bits = bits, .policy = policy});
        }
      }
    }
  }
  return jobs;
}

Figure figure_of(const pipeline::MapResult& result) {
  constexpr double kPjPerNj = 1000, kPsPerNs = 1000;
  const machine::Timing& timing = result.timing;
  Figure figure;
  figure.arrays = result.arrays;
  figure.adc_bits = result.adc_bits;
  figure.weights = result.parameters;
  figure.utilisation = result.utilisation;
  figure.activations = timing.counts.activations;
  figure.conversions = timing.counts.conversions;
  figure.latency_ns = result.latency_ns;
  figure.settle_ns = static_cast<double>(timing.critical_path.settle) / kPsPerNs;
  figure.adc_ns = static_cast<double>(timing.critical_path.adc) / kPsPerNs;
  figure.active_nj = timing.energy.active() / kPjPerNj;
  figure.passive_nj = timing.energy.passive / kPjPerNj;
  figure.adc_nj = timing.energy.adc / kPjPerNj;
  figure.area_mm2 = result.area.total_mm2();
  figure.arrays_mm2 = result.area.arrays_mm2 + result.area.adcs_mm2;
  figure.program = result.program_digest;
  return figure;
}

/// Figures of a job for each number of converters, and for each kind.
using Sweep = std::vector<std::array<Figure, kConverters.size()>>;

Result<Sweep> execute(const Job& job, const model::Model& model, const std::string& chip_name, const Settings& settings,
                      std::span<const std::uint32_t> adcs, std::uint64_t seed, pipeline::CostEvaluator& evaluator) {
  pipeline::RunOptions options;
  options.maps = {std::string(name_of(job.map))};
  options.policy = policy_of(job.policy);
  options.seed = seed;
  options.time_linear = false;
  options.find_bounds = false;
  Sweep sweep(adcs.size());
  for (std::size_t n = 0; n < adcs.size(); ++n) {
    for (std::size_t c = 0; c < kConverters.size(); ++c) {
      DANAUS_TRY(chip, chip_for(chip_name, settings, kConverters[c], job, adcs[n]));
      DANAUS_TRY(result, evaluator.evaluate(model, chip, options));
      sweep[n][c] = figure_of(result.results.front());
    }
  }
  return sweep;
}

/// Blocks of b x b cells in arrays of `edge`: (edge / b) blocks lie along each of (edge / b) diagonals, of which one is
/// not used.
std::uint64_t arrays_with_one_index_lost(const std::map<std::uint32_t, std::uint64_t>& blocks_by_edge,
                                         std::uint32_t edge) {
  std::uint64_t arrays = 0;
  for (const auto& [block, count] : blocks_by_edge) {
    const std::uint64_t slots = std::max(1u, edge / block);
    const std::uint64_t usable = slots * std::max<std::uint64_t>(1, slots - 1);
    arrays += (count + usable - 1) / usable;
  }
  return arrays;
}

Result<Shapes> shapes_of(const model::Model& model, std::uint32_t array_edge) {
  Shapes shapes;
  shapes.name = model.name;
  shapes.layers = model.dimensions.layers + model.dimensions.decoder_layers;
  shapes.tokens = model.dimensions.context;
  for (const model::LinearOperator& linear : model.linear) {
    shapes.dense_weights += std::uint64_t{linear.out} * linear.in;
    if (linear.out != linear.in) shapes.feed_forward_weights += std::uint64_t{linear.out} * linear.in;
  }
  for (const Node& node : model.graph.nodes) {
    if (node.kind != NodeKind::attend) continue;
    const std::uint64_t macs = std::uint64_t{2} * model.dimensions.context * model.dimensions.hidden;
    shapes.attention_macs += macs;
    shapes.causal_attention_macs += node.span == Span::earlier ? macs / 2 : macs;
  }
  // The lm heads of these models are their embeddings once more.
  for (const model::MatrixGroup& group : model::summarise(model).digital) {
    if (group.name != "output") shapes.digital_weights += group.count * group.rows * group.cols;
  }
  std::map<std::uint32_t, std::uint64_t> blocks_by_edge;
  for (const Policy policy : kPolicies) {
    DANAUS_TRY(structures, factor::choose_structures(model, policy_of(policy), array_edge));
    const auto p = static_cast<std::size_t>(policy);
    for (const Structure& structure : structures) {
      shapes.weights[p] += structure.parameters();
      if (structure.out != structure.in) shapes.feed_forward_blocks[p] += structure.parameters();
      if (structure.out > structure.in && shapes.expansion[p].in == 0) shapes.expansion[p] = structure;
      if (policy != Policy::published) continue;
      (structure.out != structure.in ? shapes.feed_forward_rows : shapes.attention_rows) = structure.in_block;
      for (std::uint32_t stage = 0; stage < structure.stages(); ++stage)
        blocks_by_edge[structure.in_block] += structure.block_count(stage);
    }
  }
  shapes.arrays_one_index_lost = arrays_with_one_index_lost(blocks_by_edge, array_edge);
  return shapes;
}

}  // namespace

std::string_view name_of(Converter converter) { return converter == Converter::ramp ? "ramp" : "SAR"; }
std::string_view name_of(Bits bits) { return bits == Bits::paper ? "paper bits" : "honest bits"; }
std::string_view name_of(Policy policy) { return policy == Policy::published ? "published policy" : "no dead blocks"; }
std::string_view name_of(Map map) {
  switch (map) {
    case Map::linear:
      return "linear";
    case Map::sparse:
      return "sparse";
    case Map::dense_diagonal:
      return "dense-diagonal";
    case Map::dense:
      break;
  }
  return "dense";
}

const Figure& Results::at(std::size_t model, Map map, const Setting& setting) const {
  const auto found = figures.find({model, map, setting});
  ensure(found != figures.end(), "a claim asks for figures of its scope only");
  return found->second;
}

double Results::steps_as_one_ns(std::size_t model, const Setting& setting) const {
  const Figure& serial = at(model, Map::dense_diagonal, setting);
  return serial.latency_ns - serial.settle_ns + at(model, Map::sparse, setting).settle_ns;
}

std::size_t Results::programs() const {
  std::set<std::string> programs;
  for (const auto& [key, figure] : figures) programs.insert(to_string(figure.program));
  return programs.size();
}

Result<Results> measure(const std::string& chip, const Settings& settings, Scope scope, std::uint64_t seed,
                        Progress& progress) {
  for (const auto& [key, value] : settings) {
    if (std::find(std::begin(kVaried), std::end(kVaried), key) == std::end(kVaried)) continue;
    return fail(Error("reproduce.setting", Failure::usage, fmt::format("'{}' is what danaus reproduce varies", key))
                    .with_hint(fmt::format("leave --set {}={} out; danaus run MODEL takes it", key, value)));
  }
  Results results;
  results.scope = scope;
  DANAUS_TRY(base, chip::load(chip, settings));
  results.chip = base;
  results.chip_name = chip;
  results.settings = settings;
  DANAUS_TRY(reconstruction, chip::load("paper", {}));
  results.is_reconstruction = base == reconstruction;
  std::vector<model::Model> models;
  for (const std::string_view name : kModels) {
    DANAUS_TRY(model, model::load(std::string(name)));
    DANAUS_TRY(shapes, shapes_of(model, std::min(base.array.rows, base.array.cols)));
    results.shapes.push_back(std::move(shapes));
    models.push_back(std::move(model));
  }
  const std::vector<Job> jobs = jobs_for(scope);
  if (!jobs.empty()) DANAUS_CHECK(pipeline::check_runs_programs(base));
  const std::span<const std::uint32_t> all_adcs = kAdcs;
  const std::span<const std::uint32_t> adcs = scope == Scope::arrays ? all_adcs.last(1) : all_adcs;
  std::vector<Result<Sweep>> done(jobs.size(), Sweep{});
  std::atomic<std::uint64_t> finished = 0;
  pipeline::CostEvaluator evaluator;
  if (!jobs.empty()) progress.begin("compile, prove and time", jobs.size());
  parallel_for(jobs.size(), 1, [&](std::size_t first, std::size_t last) {
    for (std::size_t n = first; n < last; ++n) {
      done[n] = execute(jobs[n], models[jobs[n].model], chip, settings, adcs, seed, evaluator);
      progress.update(++finished);
    }
  });
  if (!jobs.empty()) progress.end();
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    if (!done[j]) return fail(done[j].error());
    const Job& job = jobs[j];
    for (const Bits bits : kBits) {
      for (const Policy policy : kPolicies) {
        if (job.map != Map::linear && (bits != job.bits || policy != job.policy)) continue;
        for (std::size_t n = 0; n < adcs.size(); ++n) {
          for (std::size_t c = 0; c < kConverters.size(); ++c) {
            const Setting setting{.converter = kConverters[c], .bits = bits, .policy = policy, .adcs = adcs[n]};
            results.figures[{job.model, job.map, setting}] = (*done[j])[n][c];
          }
        }
      }
    }
  }
  return results;
}

}  // namespace danaus::reproduce
