// The line of danaus: structures -> placement -> program -> proof -> timing, one map after the other. One program is
// alive at a time, and its placement is gone before the proof starts, so the largest models need the memory of one
// program.

#include "danaus/pipeline/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/machine/array_work.h"
#include "danaus/pipeline/auto/auto.h"
#include "danaus/pipeline/capacity.h"
#include "danaus/pipeline/list.h"
#include "danaus/pipeline/map_result.h"

namespace danaus::pipeline {
namespace {

/// Steps of one map: its name goes before theirs.
class MapProgress final : public Progress {
 public:
  MapProgress(Progress& progress, const std::string& map) : progress_(progress), map_(map) {}
  void begin(std::string_view step, std::uint64_t total) override {
    progress_.begin(fmt::format("{}: {}", map_, step), total);
  }
  void update(std::uint64_t done) override { progress_.update(done); }
  void end() override { progress_.end(); }

 private:
  Progress& progress_;
  const std::string& map_;
};

/// The proof and the simulations as one step: its units are those of the simulations, which take longest.
class ProveAndTimeProgress final : public Progress {
 public:
  ProveAndTimeProgress(Progress& progress, std::uint64_t simulations)
      : progress_(progress), simulations_(simulations) {}
  ~ProveAndTimeProgress() override {
    if (begun_) progress_.end();
  }
  void begin(std::string_view, std::uint64_t total) override {
    total_ = total;
    if (!begun_) progress_.begin("prove and time", simulations_ * total);
    begun_ = true;
  }
  void update(std::uint64_t done) override { progress_.update(before_ + done); }
  void end() override {
    before_ += total_;
    progress_.update(before_);
  }

 private:
  Progress& progress_;
  std::uint64_t simulations_;
  bool begun_ = false;
  std::uint64_t before_ = 0;  // units of the simulations that have ended
  std::uint64_t total_ = 0;   // of the current one
};

/// A step of unknown length, for as long as it is in scope.
class Step {
 public:
  Step(Progress& progress, std::string_view what) : progress_(progress) { progress_.begin(what, 0); }
  ~Step() { progress_.end(); }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  Progress& progress_;
};

bool is_dense(const Structure& structure) { return structure.kind == Structure::Kind::dense; }

Result<std::vector<Structure>> structures_for(const model::Model& model, const chip::Chip& chip, bool dense_operator,
                                              const factor::Policy& policy) {
  if (!dense_operator) return factor::choose_structures(model, policy, std::min(chip.array.rows, chip.array.cols));
  std::vector<Structure> structures;
  structures.reserve(model.linear.size());
  for (const model::LinearOperator& linear : model.linear)
    structures.push_back(Structure::dense(linear.out, linear.in));
  return structures;
}

/// KV length of a decoded token: as asked for, else the context, else (a bag of matrices has none) the token alone.
std::uint32_t kv_length(const model::Model& model, const RunOptions& options) {
  if (options.emit.kv != 0) return options.emit.kv;
  return std::max(1u, model.dimensions.context);
}

/// Encoder tokens that a decoder's cross-attention sees: as asked for, else the context.
std::uint32_t encoder_tokens(const model::Model& model, const RunOptions& options) {
  if (options.emit.encoder_tokens != 0) return options.emit.encoder_tokens;
  return std::max(1u, model.dimensions.context);
}

/// The parameters of a norm or a rotary embedding, for messages.
std::string parameters_of(const Config& config) {
  if (config.kind == Config::Kind::norm)
    return fmt::format("{} norm with epsilon {}", config.norm == Config::Norm::rms ? "rms" : "layer", config.epsilon);
  if (config.kind == Config::Kind::route) return fmt::format("route to {} experts", config.k);
  return fmt::format("rope with theta {} and {} pairs", config.theta,
                     config.pairs == Config::Pairs::half ? "half" : "adjacent");
}

/// Pieces of blocks on arrays: each becomes a patch, so that their number decides how much memory a placement takes.
Result<void> check_pieces(const Graph& graph, const chip::Chip& chip) {
  constexpr std::uint64_t kMostPieces = 1u << 24;  // as many as there can be arrays
  std::uint64_t pieces = 0;
  for (const Node& node : graph.nodes) {
    if (node.kind != NodeKind::linear) continue;
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
      const Block block = node.structure.block(stage, 0);
      const auto parts = [](std::uint64_t length, std::uint32_t edge) { return (length + edge - 1) / edge; };
      pieces += node.structure.block_count(stage) * parts(block.in_count, chip.array.rows) *
                parts(block.out_count, chip.array.cols);
    }
    if (pieces <= kMostPieces) continue;
    return fail(Error("place.pieces", Failure::unsupported,
                      fmt::format("on arrays of {}x{} the operators up to '{}' fall into more than {} pieces",
                                  chip.array.rows, chip.array.cols, node.name, kMostPieces))
                    .with_hint("use larger arrays, or larger or fewer blocks"));
  }
  return {};
}

/// Programs of one sequence, without generation.
Result<void> check_one_sequence(const RunOptions& options) {
  if (options.sequences == 1 && !options.generation) return {};
  return fail(Error("pipeline.sequences", Failure::unsupported,
                    options.generation ? "programs do not generate text" : "programs have one sequence")
                  .with_hint("use a chip with list scheduling (--chip ibm-3dcim), or another --mode and one sequence"));
}

/// What projecting all weights onto these structures loses.
Result<double> projection_error(const model::Model& model, const std::vector<Structure>& structures,
                                Progress& progress) {
  const auto all = [](std::string_view) { return true; };
  const auto drop = [](std::string_view, const factor::Projection&) { return Result<void>{}; };
  DANAUS_TRY(layers, factor::project_model(model, structures, all, drop, progress));
  return total_relative_error(layers);
}

Result<MapResult> run_map(const model::Model& model, const chip::Chip& chip, const std::string& map,
                          const RunOptions& options, Progress& progress) {
  MapProgress map_progress(progress, map);
  std::optional<AutoReport> report;
  std::optional<machine::Timing> known, known_linear;  // map auto has timed its choice
  program::Program program;
  if (map == kAutoMap) {
    DANAUS_TRY(chosen, choose_automatically(model, chip, options, map_progress));
    program = std::move(chosen.program);
    report = std::move(chosen.report);
    known = std::move(chosen.timing);
    known_linear = std::move(chosen.linear_timing);
  } else {
    DANAUS_TRY(compiled, compile_model(model, chip, map, options, progress));
    program = std::move(compiled);
  }
  // The proof and the timing read the same program and nothing of each other.
  Result<program::VerifyReport> proof;
  Result<machine::Timing> full, linear;
  {
    const int simulations = (known ? 0 : 1) + (options.time_linear && !known_linear ? 1 : 0);
    ProveAndTimeProgress prove_and_time(map_progress, static_cast<std::uint64_t>(simulations));
    parallel_for(2, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t task = first; task < last; ++task) {
        if (task == 0) {
          proof = prove(program, map, options.seed);
          continue;
        }
        const machine::Routing routing{.seed = options.seed, .first = {}};
        full = known ? std::move(*known)
                     : machine::simulate(program, chip, {.routing = routing, .trace = {}}, prove_and_time);
        if (known_linear) {
          linear = std::move(*known_linear);
        } else if (full && options.time_linear) {
          linear =
              machine::simulate(program, chip, {.linear_only = true, .routing = routing, .trace = {}}, prove_and_time);
        }
      }
    });
  }
  if (!proof) return fail(proof.error());
  if (!full) return fail(full.error());
  if (!linear) return fail(linear.error());
  DANAUS_TRY(result, map_result(facts_of(program, *proof, work_of(program.intent, model, options)), chip, map, options,
                                std::move(*full), *linear));
  DANAUS_TRY(routing, routing_cost(program, chip, options, result.timing, map_progress));
  result.routing = routing;
  result.program_digest = program::digest_of(program);
  if (report && model.has_weights() && options.project_weights) {
    std::vector<Structure> structures;
    for (const model::LinearOperator& operation : model.linear)
      structures.push_back(program.intent.at(operation.node).structure);
    DANAUS_TRY(error, projection_error(model, structures, map_progress));
    result.relative_error = error;
  }
  result.automatic = std::move(report);
  return result;
}

}  // namespace

Result<program::VerifyReport> prove(const program::Program& program, const std::string& map, std::uint64_t seed) {
  program::VerifyOptions verify_options;
  verify_options.seed = seed;
  program::VerifyReport report = program::verify(program, verify_options);
  if (report.ok()) return report;
  Error error("pipeline.proof", Failure::internal,
              fmt::format("the program compiled for map '{}' does not compute the model", map));
  constexpr std::size_t kShown = 3;
  for (std::size_t n = 0; n < std::min(kShown, report.errors.size()); ++n)
    error.notes.push_back(fmt::format("{}: {}", report.errors[n].id, report.errors[n].message));
  error.hint = "this is a mistake of danaus; please report it with the command line";
  return fail(std::move(error));
}

double energy_high_pj(const machine::Timing& timing) {
  return timing.energy.total() - timing.energy.adc + timing.adc_high;
}

EnergyOrder energy_order(const std::vector<MapResult>& results) {
  const auto sorted = [&](double (*energy)(const machine::Timing&)) {
    std::vector<const MapResult*> order;
    for (const MapResult& result : results) order.push_back(&result);
    std::stable_sort(order.begin(), order.end(),
                     [&](const MapResult* a, const MapResult* b) { return energy(a->timing) < energy(b->timing); });
    std::vector<std::string> names;
    for (const MapResult* result : order) names.push_back(result->map);
    return names;
  };
  return {.low = sorted([](const machine::Timing& timing) { return timing.energy.total(); }),
          .high = sorted(energy_high_pj)};
}

std::string family_of(const Structure& structure) {
  if (is_dense(structure)) return "dense";
  if (structure.kind == Structure::Kind::gather) return "gather";
  return structure.k == 1 && structure.l == 1 ? "lowrank" : "monarch";
}

std::string blocks_of(const Structure& structure) {
  if (structure.kind == Structure::Kind::gather) return fmt::format("group {}", structure.out_block);
  return is_dense(structure) ? "" : fmt::format("{}x{}:{}", structure.k, structure.l, structure.r);
}

std::string common(std::span<const Structure> structures, std::string (*describe)(const Structure&)) {
  const std::string text = structures.empty() ? "" : describe(structures.front());
  const bool differ = std::any_of(structures.begin(), structures.end(),
                                  [&](const Structure& structure) { return describe(structure) != text; });
  return differ ? "mixed" : text;
}

Work work_of(const Graph& intent, const model::Model& model, const RunOptions& options) {
  const std::uint64_t tokens = std::max(1u, options.emit.tokens);
  const std::uint64_t entries = options.emit.mode == compile::Mode::decode ? kv_length(model, options) : tokens;
  return work_of(intent, tokens, entries, encoder_tokens(model, options));
}

Result<Graph> structured_graph(const model::Model& model, const chip::Chip& chip, const std::string& map,
                               const RunOptions& options) {
  DANAUS_TRY(strategy, compile::find_strategy(map));
  DANAUS_TRY(structures, structures_for(model, chip, strategy->dense_operator, options.policy));
  return with_adc_bits(compile::with_structures(model.graph, structures, chip), options.adc_bits, map, chip);
}

Result<void> check_map(const std::string& map) {
  if (map == kAutoMap) return {};
  DANAUS_CHECK(compile::find_strategy(map));
  return {};
}

Result<compile::Placement> with_copies(const Graph& graph, compile::Placement placement, const model::Model& model,
                                       const chip::Chip& chip, const RunOptions& options) {
  const std::uint32_t per_tile = chip.network.arrays_per_tile;
  if (chip.system.chips > 1 && chip.system.arrays % per_tile != 0)
    return fail(
        Error("place.copies", Failure::unsupported,
              fmt::format("arrays are not copied on chips of {} arrays, {} to a tile", chip.system.arrays, per_tile))
            .with_hint("give chip.arrays in whole tiles"));
  DANAUS_TRY(program, emit_program(graph, placement, model, chip, options));
  std::uint64_t copies = options.copies;
  if (chip.system.arrays != 0)  // what is left over
    copies = std::min<std::uint64_t>(copies, chip::system_arrays(chip) - placement.arrays);
  return compile::replicate(std::move(placement), machine::array_work(program, chip),
                            static_cast<std::uint32_t>(copies), per_tile);
}

Result<compile::Placement> place(const Graph& graph, const model::Model& model, const chip::Chip& chip,
                                 const std::string& map, const RunOptions& options) {
  DANAUS_TRY(strategy, compile::find_strategy(map));
  DANAUS_CHECK(check_pieces(graph, chip));
  const compile::PlaceOptions place_options = place_options_for(chip, options);
  DANAUS_TRY(placement, strategy->place(graph, place_options));
  if (fits(placement, chip) && options.copies > 0)
    return with_copies(graph, std::move(placement), model, chip, options);
  if (fits(placement, chip)) return placement;
  if (options.reload) return compile::place_in_passes(graph, *strategy, place_options, chip::system_arrays(chip));
  Error error = capacity_error(graph, placement, chip);
  for (std::string& note : ways_out(graph, placement, *strategy, chip, options)) error.notes.push_back(std::move(note));
  error.notes.push_back(other_maps(model, chip, map, options));
  return fail(std::move(error));
}

Result<program::Program> emit_program(const Graph& graph, compile::Placement placement, const model::Model& model,
                                      const chip::Chip& chip, const RunOptions& options) {
  DANAUS_CHECK(check_runs_programs(chip));
  if (!options.reload && !fits(placement, chip)) return fail(capacity_error(graph, placement, chip));
  compile::EmitOptions emit_options = options.emit;
  emit_options.model_name = model.name;
  emit_options.model_digest = model.digest;
  if (emit_options.mode == compile::Mode::decode) emit_options.kv = kv_length(model, options);
  emit_options.encoder_tokens = encoder_tokens(model, options);
  return compile::emit(graph, std::move(placement), chip, emit_options);
}

Result<program::Program> compile_model(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                       const RunOptions& options, Progress& progress,
                                       std::optional<AutoReport>* report) {
  MapProgress map_progress(progress, map);
  if (map == kAutoMap) {
    DANAUS_CHECK(check_runs_programs(chip));
    DANAUS_TRY(chosen, choose_automatically(model, chip, options, map_progress));
    if (report != nullptr) *report = std::move(chosen.report);
    return std::move(chosen.program);
  }
  Step step(map_progress, "compile");
  DANAUS_TRY(graph, structured_graph(model, chip, map, options));
  DANAUS_TRY(placement, place(graph, model, chip, map, options));
  return emit_program(graph, std::move(placement), model, chip, options);
}

double total_relative_error(const std::vector<factor::LayerReport>& layers) {
  double squared_error = 0, squared_norm = 0;
  for (const factor::LayerReport& layer : layers) {
    squared_error += layer.squared_error;
    squared_norm += layer.squared_norm;
  }
  return squared_norm > 0 ? std::sqrt(squared_error / squared_norm) : 0;
}

RunResult describe_run(const model::Model& model, const chip::Chip& chip, const RunOptions& options) {
  RunResult run_result;
  run_result.model = model.name;
  run_result.has_weights = model.has_weights();
  run_result.layers = model.dimensions.layers;
  run_result.operators = static_cast<std::uint32_t>(model.linear.size());
  for (const model::LinearOperator& linear : model.linear)
    run_result.dense_parameters += std::uint64_t{linear.out} * linear.in;
  run_result.chip = chip;
  run_result.mode = options.emit.mode;
  run_result.tokens = std::max(1u, options.emit.tokens);
  if (options.emit.mode == compile::Mode::decode) run_result.kv = kv_length(model, options);
  const std::vector<bool> is_encoder = encoder_nodes(model.graph);
  if (options.emit.mode != compile::Mode::encode &&
      std::find(is_encoder.begin(), is_encoder.end(), true) != is_encoder.end())
    run_result.encoder_tokens = encoder_tokens(model, options);
  run_result.sequences = options.sequences;
  run_result.generation = options.generation;
  if (options.generation) run_result.kv = 0;
  return run_result;
}

Result<RunResult> run(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                      Progress& progress) {
  const auto add_references = [&](RunResult& run_result) {
    if (run_result.results.empty()) return;
    for (const Reference& reference : options.references)
      run_result.references.push_back(estimate(reference, run_result.results.front().passes));
  };
  if (schedules_by_list(chip)) {
    DANAUS_TRY(run_result, run_list(model, chip, options, progress));
    add_references(run_result);
    return std::move(run_result);
  }
  DANAUS_CHECK(check_runs_programs(chip));
  DANAUS_CHECK(check_one_sequence(options));
  RunResult run_result = describe_run(model, chip, options);

  // All names first: a typing error in the last one must not cost the work for the others.
  bool blocks_wanted = false;
  for (const std::string& map : options.maps) {
    DANAUS_CHECK(check_map(map));
    blocks_wanted = blocks_wanted || (map != kAutoMap && !(*compile::find_strategy(map))->dense_operator);
  }
  const bool projects = model.has_weights() && options.project_weights;
  std::optional<double> blocks_error;  // all block maps share the policy's structures, hence one projection
  if (blocks_wanted && projects) {
    DANAUS_TRY(structures, structures_for(model, chip, false, options.policy));
    DANAUS_TRY(error, projection_error(model, structures, progress));
    blocks_error = error;
  }
  for (const std::string& map : options.maps) {
    DANAUS_TRY(result, run_map(model, chip, map, options, progress));
    if (map != kAutoMap && !(*compile::find_strategy(map))->dense_operator) result.relative_error = blocks_error;
    run_result.results.push_back(std::move(result));
  }
  add_references(run_result);
  return run_result;
}

std::vector<Error> compare_intent(const Graph& intent, const model::Model& model, std::uint32_t most) {
  std::vector<Error> errors;
  const auto differs = [&](std::string text) {
    if (errors.size() < most) errors.push_back(Error("verify.model", Failure::check, std::move(text)));
  };
  const Graph& expected = model.graph;
  if (intent.nodes.size() != expected.nodes.size() || intent.outputs != expected.outputs) {
    differs(fmt::format("the program computes {} nodes and {} outputs, model '{}' has {} and {}", intent.nodes.size(),
                        intent.outputs.size(), model.name, expected.nodes.size(), expected.outputs.size()));
    return errors;
  }
  for (std::size_t n = 0; n < expected.nodes.size(); ++n) {
    Node want = expected.nodes[n];
    Node have = intent.nodes[n];
    if (want.kind == have.kind &&
        (want.kind == NodeKind::norm || want.kind == NodeKind::rope || want.kind == NodeKind::route)) {
      const Config& wanted = expected.configs[index(want.configs[0])];
      const Config& found = intent.configs[index(have.configs[0])];
      if (wanted != found)
        differs(
            fmt::format("node '{}' has {}, the model has {}", have.name, parameters_of(found), parameters_of(wanted)));
    }
    const bool same_shape = want.structure.out == have.structure.out && want.structure.in == have.structure.in;
    // What the compiler chooses is not the model's: structure, configurations, KV regions, and with the mode the
    // attention span.
    for (Node* node : {&want, &have}) {
      node->structure = {};
      node->configs[0] = node->configs[1] = ConfigId{};
      node->kv_first = KvId{};
      if (node->span != Span::other) node->span = Span::earlier;
      node->idle = false;
    }
    if (want != have || !same_shape)
      differs(fmt::format("node {} is {} '{}' of {} elements, the model has {} '{}' of {}", n, name_of(have.kind),
                          have.name, have.size, name_of(want.kind), want.name, want.size));
  }
  return errors;
}

}  // namespace danaus::pipeline
