#pragma once

#include <cstdint>
#include <optional>
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
#include "danaus/program/verify.h"

/// The whole line in one call: what `danaus run` and `danaus compile` do.
namespace danaus::pipeline {

struct RunOptions {
  std::vector<std::string> maps = {"linear", "sparse", "dense"};
  factor::Policy policy;
  compile::EmitOptions emit;
};

/// One row of the table.
struct MapResult {
  std::string map;
  std::string structure;            ///< "dense", "monarch", "lowrank"
  std::string blocks;               ///< "32x32:1", "mixed", "" for dense
  std::uint64_t parameters = 0, macs = 0;
  std::uint32_t arrays = 0, tiles = 0;
  double utilisation = 0;           ///< parameters / (arrays * rows * cols)
  std::uint64_t activations = 0, conversions = 0;   ///< per token
  std::uint64_t adc_rounds = 0;     ///< along the critical path of linear_latency, per token
  double linear_latency_ns = 0, latency_ns = 0, throughput_tokens_per_s = 0;
  machine::Timing timing;           ///< the full simulation
  chip::Area area;
  std::uint64_t commands = 0;       ///< records in the program
  std::uint32_t proof_tokens = 0;   ///< the proof ran over so many tokens (it passed: a failure is an error)
  std::uint32_t buffer_bytes = 0;   ///< per tile, high water
  std::uint32_t array_bound = 0;    ///< ceil(parameters / cells)
  Digest program_digest;
  std::optional<double> relative_error;  ///< when weights were projected
};

struct RunResult {
  std::string model;
  chip::Chip chip;
  compile::Mode mode{};
  std::uint32_t tokens = 1, kv = 0;
  std::vector<MapResult> results;
};

/// Model + chip + one map -> program (not yet verified).
Result<program::Program> compile_model(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                       const RunOptions& options, Progress& progress);
/// All maps, each compiled, verified with the proof, and timed.
Result<RunResult> run(const model::Model& model, const chip::Chip& chip, const RunOptions& options, Progress& progress);

}  // namespace danaus::pipeline
