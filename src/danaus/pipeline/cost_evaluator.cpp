// A cache of programs with their dependence graphs, by what the compiler sees of a point.
//
// A slot of the cache is made under its own lock: whoever comes second waits there. Making one runs nothing in
// parallel, so a thread that waits can never be one that the maker needs.

#include "danaus/pipeline/cost_evaluator.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "danaus/machine/dependence_graph.h"
#include "danaus/pipeline/map_result.h"

namespace danaus::pipeline {
namespace {

/// What the compiler sees of a point.
struct Key {
  Digest model;
  std::string model_name, map;
  factor::Policy policy;
  std::optional<AdcBits> adc_bits;
  compile::EmitOptions emit;
  std::uint64_t seed = 0;
  std::uint32_t copies = 0, least_arrays = 0, sliver = 0;
  compile::Objective objective{};
  bool reload = false;
  AutoOptions automatic;
  chip::Chip chip;  ///< reduced
  bool operator==(const Key&) const = default;
};

struct Compiled {
  program::Program program;
  ProgramFacts facts;
  Digest digest;
  std::optional<AutoReport> report;
  std::optional<machine::DependenceGraph> graph;
};

std::size_t bytes_of(const Compiled& compiled) {
  const program::Program& program = compiled.program;
  std::size_t bytes = program.code.size() * sizeof(program::Record) + program.patches.size() * sizeof(program::Patch) +
                      program.constants.size() * sizeof(program::Constant) +
                      2 * program.kv.size() * sizeof(program::KvRegion) +
                      2 * program.intent.nodes.size() * sizeof(Node);  // the facts have them, too
  for (const program::Group& group : program.groups) bytes += sizeof(group) + group.members.size() * sizeof(TileId);
  for (const IndexList& list : program.lists) bytes += list.size() * sizeof(std::uint32_t);
  return bytes + (compiled.graph ? compiled.graph->bytes() : 0);
}

Result<Compiled> compile(const model::Model& model, const Key& key, const RunOptions& options) {
  Compiled compiled;
  DANAUS_TRY(program, compile_model(model, key.chip, key.map, options, no_progress(), &compiled.report));
  DANAUS_TRY(proof, prove(program, key.map, options.seed));
  compiled.facts = facts_of(program, proof, work_of(program.intent, model, options));
  compiled.digest = program::digest_of(program);
  DANAUS_TRY(graph, machine::DependenceGraph::make(program, key.chip));
  compiled.graph = std::move(graph);
  compiled.program = std::move(program);
  return compiled;
}

Result<machine::Timing> time(const Compiled& compiled, const chip::Chip& chip, const RunOptions& options,
                             bool linear_only) {
  if (compiled.graph) return compiled.graph->time(compiled.program, chip, linear_only);
  const machine::Routing routing{.seed = options.seed, .first = {}};
  return machine::simulate(compiled.program, chip,
                           {.linear_only = linear_only, .routing = routing, .any_converters = true, .trace = {}});
}

/// Nothing but the sections that decide what an activation and a message take, without their energies and areas: a key
/// that is added to a section is in it, a new section has to be named here.
chip::Chip chip_of_times(const chip::Chip& chip) {
  chip::Chip times;
  times.array = chip.array;
  times.input = chip.input;
  times.adc = chip.adc;
  times.network = chip.network;
  const chip::Chip free;
  times.array.cell_energy_pj = times.array.cell_area_um2 = times.array.activation_energy_pj = 0;
  times.array.devices_per_weight = free.array.devices_per_weight;
  times.input.row_energy_pj = times.input.row_area_um2 = 0;
  times.adc.share_energy_pj = times.adc.share_area_um2 = 0;
  times.adc.node_nm = free.adc.node_nm;
  times.adc.energy_pj = times.adc.area_um2 = free.adc.energy_pj;
  times.adc.sample_hold_energy_pj = times.adc.sample_hold_area_um2 = times.adc.shift_add_energy_pj = 0;
  times.adc.calibration = free.adc.calibration;
  times.adc.calibration_high = free.adc.calibration_high;
  times.adc.allow_extrapolation = free.adc.allow_extrapolation;
  times.network.energy_pj_per_bit_hop = times.network.router_area_um2 = 0;
  return times;
}

}  // namespace

/// Slots in the order of their last use, the latest first.
class CostEvaluator::Cache {
 public:
  explicit Cache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  /// Nothing if it cannot be compiled.
  std::shared_ptr<const Compiled> get(const model::Model& model, Key key, const RunOptions& options) {
    const std::shared_ptr<Slot> slot = slot_of(std::move(key));
    const std::lock_guard making(slot->mutex);
    if (!slot->is_made) {
      Result<Compiled> compiled = compile(model, slot->key, options);
      slot->is_made = true;
      if (compiled) slot->compiled = std::make_shared<const Compiled>(std::move(*compiled));
      account(slot);
    }
    return slot->compiled;
  }

  std::uint64_t made() const {
    const std::lock_guard lock(mutex_);
    return made_;
  }

 private:
  struct Slot {
    Key key;
    std::mutex mutex;
    bool is_made = false;
    std::shared_ptr<const Compiled> compiled;
    std::size_t bytes = 0;  ///< under the lock of the cache
  };

  std::shared_ptr<Slot> slot_of(Key key) {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(slots_.begin(), slots_.end(), [&](const std::shared_ptr<Slot>& slot) { return slot->key == key; });
    if (found != slots_.end()) {
      slots_.splice(slots_.begin(), slots_, found);
    } else {
      slots_.push_front(std::make_shared<Slot>());
      slots_.front()->key = std::move(key);
    }
    return slots_.front();
  }

  // Its size is known now: others go that were not used for long. Who still holds one keeps it.
  void account(const std::shared_ptr<Slot>& slot) {
    const std::lock_guard lock(mutex_);
    ++made_;
    slot->bytes = sizeof(Slot) + (slot->compiled ? bytes_of(*slot->compiled) : 0);
    bytes_ += slot->bytes;
    for (auto last = slots_.end(); bytes_ > most_bytes_ && last != slots_.begin();) {
      --last;
      if (*last == slot || (*last)->bytes == 0) continue;  // this one, or one that is being made
      bytes_ -= (*last)->bytes;
      last = slots_.erase(last);
    }
  }

  const std::size_t most_bytes_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<Slot>> slots_;
  std::size_t bytes_ = 0;
  std::uint64_t made_ = 0;
};

CostEvaluator::CostEvaluator(std::size_t most_bytes) : cache_(std::make_unique<Cache>(most_bytes)) {}
CostEvaluator::~CostEvaluator() = default;

std::uint64_t CostEvaluator::programs_made() const { return cache_->made(); }

Result<RunResult> CostEvaluator::evaluate(const model::Model& model, const chip::Chip& chip,
                                          const RunOptions& options) {
  RunOptions cost_only = options;
  cost_only.project_weights = false;
  // Other machines share nothing between points.
  const bool has_program = chip.system.scheduling == chip::Scheduling::scoreboard && chip.system.tiers == 1;
  if (!has_program || options.sequences != 1 || options.generation) return run(model, chip, cost_only, no_progress());
  RunResult result = describe_run(model, chip, options);
  for (const std::string& map : options.maps) DANAUS_CHECK(check_map(map));
  for (const std::string& map : options.maps) {
    const bool is_auto = map == kAutoMap;
    const bool uses_converters = is_auto || (*compile::find_strategy(map))->uses_converters;
    Key key{.model = model.digest,
            .model_name = model.name,
            .map = map,
            .policy = options.policy,
            .adc_bits = options.adc_bits,
            .emit = options.emit,
            .seed = options.seed,
            .copies = options.copies,
            .least_arrays = options.least_arrays,
            .sliver = options.sliver,
            .objective = options.objective,
            .reload = options.reload,
            .automatic = is_auto ? options.automatic : AutoOptions{},
            // What is copied and what is chosen depend on times.
            .chip = options.copies == 0 && !is_auto ? reduced_chip(chip, uses_converters) : chip};
    const std::shared_ptr<const Compiled> compiled = cache_->get(model, std::move(key), options);
    if (compiled == nullptr) return run(model, chip, cost_only, no_progress());  // the error, with this chip's figures
    DANAUS_TRY(full, time(*compiled, chip, options, false));
    machine::Timing linear;
    if (options.time_linear) {
      DANAUS_TRY(timed, time(*compiled, chip, options, true));
      linear = std::move(timed);
    }
    DANAUS_TRY(row, map_result(compiled->facts, chip, map, options, std::move(full), linear));
    DANAUS_TRY(routing, routing_cost(compiled->program, chip, options, row.timing, no_progress()));
    row.routing = routing;
    row.program_digest = compiled->digest;
    row.automatic = compiled->report;
    result.results.push_back(std::move(row));
  }
  if (!result.results.empty()) {
    for (const Reference& reference : options.references)
      result.references.push_back(estimate(reference, result.results.front().passes));
  }
  return result;
}

chip::Chip reduced_chip(const chip::Chip& chip, bool uses_converters) {
  // On a mesh these maps weigh what activations and messages take.
  const bool weighs_times = uses_converters && chip.network.topology == chip::Topology::mesh;
  chip::Chip reduced = weighs_times ? chip_of_times(chip) : chip::Chip();
  reduced.name = "reduced";
  reduced.array.rows = chip.array.rows;
  reduced.array.cols = chip.array.cols;
  // With blocked wiring the columns of what is read together are chosen by its time.
  const bool is_rewired = chip.adc.wiring == chip::Wiring::blocked && chip.adc.sharing == chip::AdcSharing::column;
  // A program says how many converters there are, but is the same for any number, unless somebody asks.
  reduced.adc.per_array = uses_converters || is_rewired ? chip.adc.per_array : 1;
  reduced.adc.double_buffer = chip.adc.double_buffer;
  if (uses_converters) reduced.array.idle_columns_draw = chip.array.idle_columns_draw;
  if (is_rewired) {
    reduced.adc.wiring = chip.adc.wiring;
    reduced.adc.static_precision = chip.adc.static_precision;
    reduced.array.slices = chip.array.slices;
    reduced.array.settle_ns = chip.array.settle_ns;
    reduced.input = chip.input;
    reduced.input.row_energy_pj = reduced.input.row_area_um2 = 0;
    reduced.adc.kind = chip.adc.kind;
    reduced.adc.step_ns = chip.adc.step_ns;
    reduced.adc.lsb_ns = chip.adc.lsb_ns;
    reduced.adc.time_ns = chip.adc.time_ns;
    reduced.adc.sample_hold = chip.adc.sample_hold;
  }
  // Activations that take converters column by column are two steps; which arrays share them is a matter of times.
  if (!weighs_times && chip::are_converters_pooled(chip)) reduced.adc.sharing = chip::AdcSharing::group;
  // The links that messages take are part of a program's dependences; elsewhere than on a mesh there are none.
  const bool other_steps =
      chip.network.contention == chip::Contention::links || chip.network.switching == chip::Switching::wormhole;
  if (chip.network.topology == chip::Topology::mesh && other_steps) {
    reduced.network.topology = chip::Topology::mesh;
    reduced.network.contention = chip.network.contention;
    reduced.network.switching = chip.network.switching;
  }
  reduced.input.bits = chip.input.bits;
  reduced.adc.rule = chip.adc.rule;
  if (chip.adc.rule == chip::AdcRule::fixed) {
    reduced.adc.bits = chip.adc.bits;
    reduced.adc.second_bits = chip.adc.second_bits;
  }
  if (chip.adc.rule == chip::AdcRule::lossless) {
    reduced.array.slices = chip.array.slices;
    reduced.input.kind = chip.input.kind;
  }
  reduced.noise.adc_range = chip.noise.adc_range;
  reduced.network.arrays_per_tile = chip.network.arrays_per_tile;
  reduced.buffer.bytes_per_tile = chip.buffer.bytes_per_tile;
  reduced.system.arrays = chip.system.arrays;
  reduced.system.chips = chip.system.chips;
  return reduced;
}

}  // namespace danaus::pipeline
