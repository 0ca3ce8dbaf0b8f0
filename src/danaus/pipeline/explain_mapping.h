#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/machine/timing.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"

/// Why a mapping takes as long as it does: the critical path of one token, stage by stage.
namespace danaus::pipeline {

/// A stage of the operators with one source, of all layers that have it.
struct ExplainedStage {
  std::string name;               ///< "blk.*.attn_q+attn_k+attn_v R": layers as *, R and L the stages of blocks
  std::string structure;          ///< as MapResult, with the blocks
  std::uint32_t layers = 0;       ///< how often it occurs
  std::uint64_t conversions = 0;  ///< of one layer; this and what follows: of the first one
  std::uint32_t adc_bits = 0;
  std::uint32_t arrays = 0;                           ///< that hold something of it
  std::uint32_t patches = 0;                          ///< parts of blocks on them
  std::uint32_t least_columns = 0, most_columns = 0;  ///< of an activation
  std::uint64_t activations = 0;
  std::uint32_t most_activations = 0;  ///< of an array
  std::uint64_t most_rounds = 0;       ///< of an array: its activations together
  std::uint64_t bound_rounds = 0;      ///< if all arrays shared the conversions
  double bound_ns = 0;                 ///< of all layers: window, settling and those rounds
  // On the critical path, all layers together.
  machine::Breakdown time;    ///< of its activations, and of what is between them and the stage before
  std::uint64_t windows = 0;  ///< activations
  std::uint64_t rounds = 0;
  std::string limit;                 ///< "input window", "ADC", "network", "link", "digital", "attention", "nothing"
  std::vector<std::string> reasons;  ///< sentences
};

struct MappingExplanation {
  std::string model;
  chip::Chip chip;
  std::uint32_t kv = 0;
  MapResult result;
  std::vector<ExplainedStage> stages;  ///< in the order of execution
  machine::Breakdown rest;             ///< after the last stage, and the reload
};

/// Compiles, proves and times one token (decode) with this map. The times of the stages and of the rest add up to the
/// latency. Errors: those of `run`.
Result<MappingExplanation> explain_mapping(const model::Model& model, const chip::Chip& chip, const std::string& map,
                                           const RunOptions& options, Progress& progress);

/// The pattern of an operator and its like in other layers: "blk.12.attn_q" -> "blk.*.attn_q".
std::string without_layer(const std::string& name);

}  // namespace danaus::pipeline
