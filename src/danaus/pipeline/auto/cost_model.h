#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/chip/cost.h"
#include "danaus/compile/compile.h"
#include "danaus/compile/place/striped/width.h"
#include "danaus/core/error.h"
#include "danaus/core/graph.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/auto/candidates.h"

/// What the choices of --map auto cost by closed forms (docs/auto.md): the arrays' windows and rounds, their energy,
/// and the messages before them. What all choices have in common (digital units, attention) is left out.
namespace danaus::pipeline {

/// Where the operators of a unit lie.
enum class UnitMap : std::uint8_t {
  striped,  ///< on the arrays that all striped units share
  own       ///< on arrays of their own: dense operators as `linear`, blocks as `sparse`
};

/// One way to do a unit.
struct UnitOption {
  std::vector<std::uint32_t> candidates;  ///< one per operator
  UnitMap map = UnitMap::striped;
  std::uint32_t sliver = 0;  ///< striped: as PlaceOptions::sliver
  bool operator==(const UnitOption&) const = default;
};

/// Operators that read one value: their stages are executed together.
struct Unit {
  std::vector<std::uint32_t> operators;  ///< numbers in model.linear
  std::vector<NodeId> nodes;             ///< of the operators
  std::size_t kind = 0;                  ///< units of one kind have the same options and costs
};

struct UnitCost {
  double time_ps = 0;    ///< from the first input window to the last conversion, stage after stage
  double energy_pj = 0;  ///< of the arrays, per token
  double shared = 0;     ///< arrays of the shared ones that its cells fill
  double own = 0;        ///< arrays of its own
  double pieces = 0;     ///< of blocks
  double busy_ps = 0;    ///< per token: of its busiest own array, or of all shared arrays together
};

class CostModel {
 public:
  /// `place`: as the striped operators will be placed; slivers without a width of their own get the one that it asks
  /// for. Errors: chip.adc-bits, chip.adc-rate.
  static Result<CostModel> make(const model::Model& model, const chip::Chip& chip, const Candidates& candidates,
                                const compile::PlaceOptions& place);

  const std::vector<Unit>& units() const { return units_; }
  const std::vector<UnitOption>& options(const Unit& unit) const { return kinds_[unit.kind].options; }
  /// `shared_arrays`: how many all striped units share.
  UnitCost cost(const Unit& unit, std::size_t option, std::uint32_t shared_arrays) const;
  std::size_t kinds() const { return kinds_.size(); }
  /// mW of one more array, its share of a tile included.
  double passive_mw_per_array() const;

 private:
  struct Stage {
    std::vector<compile::JoinedBlocks> blocks;
    std::uint64_t columns = 0;
    double cells = 0;
    std::uint8_t dac_bits = 0, adc_bits = 0;
    std::uint64_t row_tiles = 1;  ///< partial sums of an output
    chip::ActivationEnergy energy;
  };
  /// Of options with the same structures.
  struct Work {
    std::vector<Stage> striped;
    double own_time_ps = 0, own_energy_pj = 0, own_arrays = 0, own_busy_ps = 0, own_pieces = 0;
    std::vector<double> own_span;  ///< by stage: arrays that an operator of the stage lies on, at most
  };
  struct Kind {
    std::vector<UnitOption> options;
    std::vector<std::size_t> work_of;  ///< by option
    std::vector<Work> works;
    double share = 1;  ///< of the tokens that execute it; experts k / n, idle operators 0
  };

  CostModel(const chip::Chip& chip, compile::PlaceOptions place) : chip_(chip), place_(std::move(place)) {}
  Result<Kind> make_kind(const model::Model& model, const Unit& unit, const Candidates& candidates) const;
  Result<Work> make_work(const Unit& unit, const Candidates& candidates,
                         const std::vector<std::uint32_t>& chosen) const;
  double message_ps(double arrays, std::uint64_t partial_sums) const;

  chip::Chip chip_;
  compile::PlaceOptions place_;
  std::vector<Unit> units_;
  std::vector<Kind> kinds_;
};

}  // namespace danaus::pipeline
