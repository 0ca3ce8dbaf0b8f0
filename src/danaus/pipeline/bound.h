#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/compile/compile.h"
#include "danaus/core/error.h"
#include "danaus/core/graph.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

/// What no mapping of the same structures onto the same chip can do better. Equations and proofs: docs/bounds.md.
namespace danaus::pipeline {

/// What any placement of a stage of a linear operator has to do for one token.
struct StageDemand {
  std::uint64_t conversions = 0;  ///< columns, times the arrays that a column higher than an array needs
  std::uint64_t cells = 0;        ///< weights, padding included
  std::uint64_t inputs = 0;       ///< elements that are driven at least once
  std::uint8_t dac_bits = 0, adc_bits = 0;
};

/// Stages that may share activations: those of operators with one source.
struct DemandGroup {
  struct Member {
    std::uint32_t node = 0;
    std::uint32_t stage = 0;
    StageDemand demand;
  };
  std::vector<Member> members;
  std::optional<Guard> guard;  ///< of all members

  std::uint64_t conversions() const;
  /// Rows that are driven, counted once per activation.
  std::uint64_t drives(std::uint32_t columns_of_array) const;
};

/// What a program does whatever the placement and the chip's times and energies are.
struct Demand {
  Graph graph;  ///< its intent
  std::vector<DemandGroup> groups;
  std::vector<program::KvRegion> regions;
  std::uint64_t parameters = 0;  ///< of all operators, idle ones too
  std::uint32_t rows = 0, columns = 0;
  std::uint32_t most_adc_bits = 0;  ///< of a stage
  std::uint32_t tokens = 1;
  bool serial = false;  ///< tokens one after the other: decode
};
Demand demand_of(const program::Program& program);

/// What a result used of the chip; its bounds hold for any mapping that uses no more.
struct Used {
  std::uint32_t arrays = 0;  ///< that work at the same time, copies included
  std::uint32_t tiles = 0;
  std::uint32_t chips = 1;
};

/// Each figure of a result and what it cannot be better than.
struct Bound {
  std::uint32_t arrays = 0;            ///< ceil(cells / m^2)
  double linear_latency_ns = 0;        ///< on the arrays that were used
  double fewest_arrays_linear_ns = 0;  ///< on `arrays` arrays: of a result that reaches that bound
  /// The sum over dependent stages, each begun when the one before is complete: what programs reach whose stages do not
  /// overlap. On the arrays that were used, and on `arrays` arrays.
  double stage_by_stage_ns = 0, fewest_arrays_stage_by_stage_ns = 0;
  double latency_ns = 0;               ///< with digital units and attention
  double throughput_tokens_per_s = 0;  ///< from above; 0 = nothing takes time
  double energy_nj = 0;                ///< active and passive
  bool operator==(const Bound&) const = default;
};

/// Time from the first to the last command; linear_only as machine::SimulateOptions.
chip::Picoseconds least_time(const Demand& demand, const chip::Chip& chip, const Used& used, bool linear_only);
/// The same of the linear operators if no stage begins before the one before is complete.
chip::Picoseconds stage_by_stage(const Demand& demand, const chip::Chip& chip, const Used& used);

/// One stage alone on all arrays: input window, settling and its rounds.
struct StageBound {
  std::uint64_t rounds = 0;
  chip::Picoseconds time = 0;
};
StageBound stage_bound(const Demand& demand, const DemandGroup& group, const chip::Chip& chip, std::uint32_t arrays);

/// `timing` is that of the result: attention does the same in every mapping, and passive power counts its time.
/// Errors: chip.adc-bits, chip.adc-rate.
Result<Bound> bound_of(const Demand& demand, const chip::Chip& chip, const Used& used, const machine::Timing& timing);

}  // namespace danaus::pipeline
