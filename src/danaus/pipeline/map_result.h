#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/machine/timing.h"
#include "danaus/pipeline/run.h"
#include "danaus/program/program.h"
#include "danaus/program/verify.h"

namespace danaus::pipeline {

/// What a row of the table says of a program whatever the chip's times, energies and areas are.
struct ProgramFacts {
  program::ChipShape shape;
  std::string structure, blocks;
  std::uint64_t parameters = 0, macs = 0;
  std::uint64_t programmed_weights = 0;  ///< those of copies as well
  std::uint32_t arrays = 0;              ///< that hold weights
  std::uint32_t copies = 0;
  std::uint32_t largest_adc_bits = 0;
  std::uint64_t commands = 0;
  std::uint32_t proof_tokens = 0;
  std::uint32_t buffer_used = 0;  ///< elements of a tile in one pass
  std::uint32_t kv_regions = 0;
  Work work;
  Demand demand;
};
/// Of the arrays that hold weights those that can work at the same time.
std::uint32_t arrays_at_work(const program::ChipShape& shape, std::uint32_t arrays);
ProgramFacts facts_of(const program::Program& program, const program::VerifyReport& proof, const Work& work);

/// What a chip that executes the program has to have beside its arrays.
chip::Equipment equipment_of(const ProgramFacts& facts, const chip::Chip& chip);

/// The row without the cost of other choices of experts, the digest and the error of projected weights. Errors of the
/// area: chip.adc-bits, chip.adc-rate.
Result<MapResult> map_result(const ProgramFacts& facts, const chip::Chip& chip, const std::string& map,
                             const RunOptions& options, machine::Timing full, const machine::Timing& linear);

/// Simulates other choices of experts than the first draw, several at a time. Nothing without experts.
Result<std::optional<RoutingCost>> routing_cost(const program::Program& program, const chip::Chip& chip,
                                                const RunOptions& options, const machine::Timing& first,
                                                Progress& progress);

}  // namespace danaus::pipeline
