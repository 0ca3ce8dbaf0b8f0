// One job is one program: a model, a map, a policy, ADC bits and a number of ADCs. It is compiled and proved once and
// timed with both kinds of converters, which change times only. The dense operator knows no policy and has 8 bits
// either way, so its jobs are fewer. Jobs write into slots of their own; the map of figures is filled afterwards.

#include "danaus/reproduce/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/factor.h"
#include "danaus/machine/timing.h"
#include "danaus/model/model.h"
#include "danaus/model/summary.h"
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
  std::uint32_t adcs = 0;
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

Result<chip::Chip> chip_for(const std::string& name, Settings settings, Converter converter, const Job& job) {
  settings.emplace_back("adc.kind", converter == Converter::ramp ? "ramp" : "sar");
  settings.emplace_back("adc.rule", job.bits == Bits::paper ? "fixed" : "rows");
  settings.emplace_back("adc.bits", fmt::format("{}", paper_bits(job.map)));
  settings.emplace_back("adc.per_array", fmt::format("{}", job.adcs));
  return chip::load(name, settings);
}

std::vector<Job> jobs_for(Scope scope) {
  std::vector<Job> jobs;
  if (scope == Scope::shapes) return jobs;
  for (std::size_t model = 0; model < kModels.size(); ++model) {
    for (const Map map : {Map::dense, Map::dense_diagonal, Map::sparse, Map::linear}) {  // longest first
      for (const Policy policy : kPolicies) {
        for (const Bits bits : kBits) {
          for (const std::uint32_t adcs : kAdcs) {
            if (scope == Scope::arrays && (bits != Bits::paper || adcs != kAdcs.back())) continue;
            if (map == Map::linear && (policy != Policy::published || bits != Bits::paper)) continue;
            jobs.push_back({.model = model, .map = map, .bits = bits, .policy = policy, .adcs = adcs});
          }
        }
      }
    }
  }
  return jobs;
}

double nanoseconds(chip::Picoseconds time) { return static_cast<double>(time) / 1000; }

using PerConverter = std::array<Figure, kConverters.size()>;

Result<PerConverter> execute(const Job& job, const model::Model& model, const std::string& chip_name,
                             const Settings& settings, std::uint64_t seed) {
  pipeline::RunOptions options;
  options.policy = policy_of(job.policy);
  options.seed = seed;
  const std::string map(name_of(job.map));
  DANAUS_TRY(first_chip, chip_for(chip_name, settings, kConverters[0], job));
  DANAUS_TRY(program, pipeline::compile_model(model, first_chip, map, options, no_progress()));
  DANAUS_TRY(proof, pipeline::prove(program, map, seed));
  PerConverter figures;
  for (std::size_t c = 0; c < kConverters.size(); ++c) {
    DANAUS_TRY(chip, chip_for(chip_name, settings, kConverters[c], job));
    DANAUS_TRY(timing, machine::simulate(program, chip));
    Figure& figure = figures[c];
    figure.arrays = program.chip.arrays;
    for (const Node& node : program.intent.nodes) {
      if (node.kind != NodeKind::linear) continue;
      figure.weights += node.structure.parameters();
      for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage)
        figure.adc_bits =
            std::max<std::uint32_t>(figure.adc_bits, program.intent.configs[index(node.configs[stage])].adc_bits);
    }
    const double cells = double{1} * program.chip.rows * program.chip.cols * figure.arrays;
    figure.utilisation = static_cast<double>(figure.weights) / cells;
    figure.activations = timing.counts.activations;
    figure.conversions = timing.counts.conversions;
    figure.latency_ns = nanoseconds(timing.total);
    figure.settle_ns = nanoseconds(timing.critical_path.settle);
    figure.adc_ns = nanoseconds(timing.critical_path.adc);
    figure.active_nj = timing.energy.active() / 1000;
    figure.passive_nj = timing.energy.passive / 1000;
    figure.adc_nj = timing.energy.adc / 1000;
    const std::uint64_t buffer_bytes = (std::uint64_t{proof.buffer_used} * chip.input.bits + 7) / 8;
    DANAUS_TRY(area, chip::system_area(chip, figure.arrays,
                                       {.buffer_bytes = buffer_bytes,
                                        .largest_adc_bits = figure.adc_bits,
                                        .kv_regions = static_cast<std::uint32_t>(program.kv.size())}));
    figure.area_mm2 = area.total_mm2();
  }
  return figures;
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
  std::vector<model::Model> models;
  for (const std::string_view name : kModels) {
    DANAUS_TRY(model, model::load(std::string(name)));
    DANAUS_TRY(shapes, shapes_of(model, std::min(base.array.rows, base.array.cols)));
    results.shapes.push_back(std::move(shapes));
    models.push_back(std::move(model));
  }
  const std::vector<Job> jobs = jobs_for(scope);
  std::vector<Result<PerConverter>> done(jobs.size(), PerConverter{});
  std::atomic<std::uint64_t> finished = 0;
  if (!jobs.empty()) progress.begin("compile, prove and time", jobs.size());
  parallel_for(jobs.size(), 1, [&](std::size_t first, std::size_t last) {
    for (std::size_t n = first; n < last; ++n) {
      done[n] = execute(jobs[n], models[jobs[n].model], chip, settings, seed);
      progress.update(++finished);
    }
  });
  if (!jobs.empty()) progress.end();
  for (std::size_t n = 0; n < jobs.size(); ++n) {
    if (!done[n]) return fail(done[n].error());
    const Job& job = jobs[n];
    for (std::size_t c = 0; c < kConverters.size(); ++c) {
      for (const Bits bits : kBits) {
        for (const Policy policy : kPolicies) {
          if (job.map != Map::linear && (bits != job.bits || policy != job.policy)) continue;
          const Setting setting{.converter = kConverters[c], .bits = bits, .policy = policy, .adcs = job.adcs};
          results.figures[{job.model, job.map, setting}] = (*done[n])[c];
        }
      }
    }
  }
  return results;
}

}  // namespace danaus::reproduce
