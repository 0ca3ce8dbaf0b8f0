#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/chip/cost.h"
#include "danaus/compile/compile.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/machine/timing.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/adc_bits.h"
#include "danaus/pipeline/auto/auto_options.h"
#include "danaus/pipeline/bound.h"
#include "danaus/pipeline/reference.h"
#include "danaus/program/verify.h"

/// The whole line in one call: what `danaus run` and `danaus compile` do.
namespace danaus::pipeline {

/// Generating text: `prompt` tokens, then one at a time until there are `tokens` in all (EmitOptions::tokens).
struct Generation {
  std::uint32_t prompt = 1;
  bool kv_cache = true;  ///< without it every step reads all tokens so far again
  bool operator==(const Generation&) const = default;
};

struct RunOptions {
  std::vector<std::string> maps = {"linear", "sparse", "dense", "striped"};
  factor::Policy policy;
  std::optional<AdcBits> adc_bits;  ///< of adc.rule = "calibrated"
  compile::EmitOptions emit;        ///< model name and digest are filled in from the model
  std::uint64_t seed = 1;           ///< of the proof run
  std::uint32_t copies = 0;         ///< arrays to spend on copies of the busiest ones
  std::uint32_t least_arrays = 0;   ///< striped maps, diagonals: take so many, however few hold the cells
  std::uint32_t sliver = 0;         ///< striped maps: columns of a sliver; 0 = found for each stage
  compile::Objective objective =
      compile::Objective::latency;       ///< of striped maps, which slivers are as wide as it asks
  std::uint32_t sequences = 1;           ///< interleaved, all of the same length
  std::optional<Generation> generation;  ///< mode generate
  std::uint32_t routings = 4;            ///< mixture of experts: draws that the expected cost is the mean of
  bool reload = false;                   ///< a model that needs more arrays than the chips have is programmed in passes
  std::vector<Reference> references;     ///< what a user has today, estimated beside the maps
  bool project_weights = true;           ///< project the weights of a model that has some, for `relative_error`
  bool time_linear = true;  ///< programs: time them without digital and attention, too, for `linear_latency_ns`
  AutoOptions automatic;    ///< map "auto"
  /// Map "auto": asked now and then whether to end with the best so far; by several threads at a time.
  std::function<bool()> stop;
  bool find_bounds = true;  ///< programs: MapResult::bound; several times the work of the other figures of a point
};

/// What a mixture of experts costs over the choices of its routers. The timing of a result is that of the first draw.
struct RoutingCost {
  std::uint32_t draws = 0;                                 ///< for each token and router, k experts drawn
  double expected_latency_ns = 0, expected_energy_nj = 0;  ///< mean of the draws
  /// The largest of the draws and of choices in which all tokens and routers take the same k neighbours: no bound,
  /// since not all choices of all routers are tried.
  double worst_seen_latency_ns = 0, worst_seen_energy_nj = 0;
  bool operator==(const RoutingCost&) const = default;
};

/// One row of the table.
struct MapResult {
  std::string map;
  std::string structure;         ///< "dense", "monarch", "lowrank", "gather", "mixed"
  std::string blocks;            ///< "32x32:1", "mixed", "" for dense
  std::uint64_t parameters = 0;  ///< of all mapped operators
  std::uint64_t macs = 0;        ///< per token of those that the program executes; of experts, the k that are chosen
  std::uint32_t arrays = 0, tiles = 0;             ///< arrays that hold weights, over all passes; tiles of all chips
  std::uint32_t arrays_per_chip = 0;               ///< dealt to each chip; 0 = one chip holds all
  std::uint32_t chips_used = 1;                    ///< that hold weights
  double utilisation = 0;                          ///< parameters / (arrays * rows * cols)
  std::uint64_t activations = 0, conversions = 0;  ///< per token
  std::uint32_t adc_bits = 0;                      ///< the most of any stage
  std::uint64_t adc_rounds = 0;  ///< along the critical path of linear_latency, per token; 0 without that
  double linear_latency_ns = 0;  ///< digital and attention times zero; 0 if it was not asked for
  double latency_ns = 0, throughput_tokens_per_s = 0;
  machine::Timing timing;  ///< the full simulation
  chip::Area area;
  double programming_time_us = 0, programming_energy_uj = 0;  ///< writing all weights once
  /// Tokens whose inference takes as much energy as writing all weights once. Nothing when weights are written for
  /// every token or inference takes no energy.
  std::optional<double> break_even_tokens;
  /// Tokens until the cells are worn out by reloading. Nothing without a reload or an endurance.
  std::optional<double> tokens_until_worn_out;
  std::uint64_t commands = 0;      ///< records in the program
  std::uint32_t proof_tokens = 0;  ///< the proof ran over so many tokens (it passed: a failure is an error)
  std::uint32_t buffer_bytes = 0;  ///< per tile, high water
  Bound bound;                     ///< of list scheduling only `arrays`
  std::uint32_t copies = 0;        ///< arrays that repeat another one
  Digest program_digest;
  std::vector<Work> passes;              ///< what the model asks for, the same for every map
  std::optional<RoutingCost> routing;    ///< of models with experts
  std::optional<double> relative_error;  ///< when weights were projected
  std::optional<AutoReport> automatic;   ///< map "auto": what it chose and why
  // List scheduling only; there is no program then, so no proof.
  std::optional<std::uint64_t> flops;              ///< floating point operations of everything
  std::optional<std::uint64_t> peak_buffer_bytes;  ///< live operands of the chip, high water
  /// Then there are no figures of area, conversions, adc_rounds, programming, commands, proof_tokens and buffer_bytes.
  bool is_scheduled_by_list() const { return peak_buffer_bytes.has_value(); }
  bool operator==(const MapResult&) const = default;
};

struct RunResult {
  std::string model;
  bool has_weights = false;
  std::uint32_t layers = 0;
  std::uint32_t operators = 0;         ///< linear operators that are mapped
  std::uint64_t dense_parameters = 0;  ///< of those, before any structure
  chip::Chip chip;
  std::string chip_sources = {};  ///< chip::summary of its numbers' sources, if the caller knows the file
  compile::Mode mode{};
  std::uint32_t tokens = 1, kv = 0;  ///< kv: length of the last token's attention in decode, 0 otherwise
  std::uint32_t encoder_tokens = 0;  ///< that a decoder's cross-attention sees, 0 without
  std::uint32_t sequences = 1;
  std::optional<Generation> generation;  ///< `tokens` is the total length then
  std::vector<MapResult> results;
  std::vector<Estimate> references;  ///< none without results
  bool operator==(const RunResult&) const = default;
};

/// The head of a result: model, chip and mode.
RunResult describe_run(const model::Model& model, const chip::Chip& chip, const RunOptions& options);

/// What a run of a program with this intent asks of any machine.
Work work_of(const Graph& intent, const model::Model& model, const RunOptions& options);

/// The operator graph with the structures that `map` asks for (the dense operator or the policy's blocks).
/// Errors: place.unknown-map and those of choose_structures.
Result<Graph> structured_graph(const model::Model& model, const chip::Chip& chip, const std::string& map,
                               const RunOptions& options);
/// Blocks of the graph onto arrays of the chips by the strategy `map`, in passes if need be and options.reload.
/// Error place.capacity when they do not fit, with the arithmetic and the ways out.
Result<compile::Placement> place(const Graph& graph, const model::Model& model, const chip::Chip& chip,
                                 const std::string& map, const RunOptions& options);
/// Copies of the arrays that a program of this placement keeps busiest, options.copies of them at most and no more than
/// there are arrays. Errors: place.copies and those of emit_program.
Result<compile::Placement> with_copies(const Graph& graph, compile::Placement placement, const model::Model& model,
                                       const chip::Chip& chip, const RunOptions& options);
/// Graph + placement -> program that carries its chip file in the note "chip". Error place.capacity when the placement
/// has more arrays than the chips and there is no reload.
Result<program::Program> emit_program(const Graph& graph, compile::Placement placement, const model::Model& model,
                                      const chip::Chip& chip, const RunOptions& options);

/// Whether there is a map of that name, "auto" included. Error place.unknown-map.
Result<void> check_map(const std::string& map);

/// Model + chip + one map -> program (not yet verified). With "auto" its choices go to `report`, if there is one.
Result<program::Program> compile_model(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                       const RunOptions& options, Progress& progress,
                                       std::optional<AutoReport>* report = nullptr);
/// The proof of a program that this pipeline compiled for a map. One that fails is a mistake of our own:
/// pipeline.proof.
Result<program::VerifyReport> prove(const program::Program& program, const std::string& map, std::uint64_t seed);
/// All maps, each compiled, verified with the proof, and timed. A program that fails its proof is an internal error.
Result<RunResult> run(const model::Model& model, const chip::Chip& chip, const RunOptions& options, Progress& progress);

/// Total energy in pJ with the converters at adc.calibration_high; the same as the total where the chip has no band.
double energy_high_pj(const machine::Timing& timing);
/// Names of the maps from least to most energy, with the converters at either end of their band. Energy is linear in
/// the factor between: equal orders hold for the whole band.
struct EnergyOrder {
  std::vector<std::string> low, high;
  bool depends_on_converters() const { return low != high; }
};
EnergyOrder energy_order(const std::vector<MapResult>& results);

/// "dense", "lowrank", "gather" or "monarch".
std::string family_of(const Structure& structure);
/// "32x32:1"; "" for dense.
std::string blocks_of(const Structure& structure);
/// What all structures have in common, "mixed" where they differ, "" for none.
std::string common(std::span<const Structure> structures, std::string (*describe)(const Structure&));

/// sqrt(sum of squared errors / sum of squared norms) over layers.
double total_relative_error(const std::vector<factor::LayerReport>& layers);

/// Where the intent of a program is not what the model asks for (structures aside, which the program chooses): one
/// error verify.model per difference, at most `most`. Empty = the program computes this model.
std::vector<Error> compare_intent(const Graph& intent, const model::Model& model, std::uint32_t most = 10);

}  // namespace danaus::pipeline
