#pragma once

#include <cstdint>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/graph.h"
#include "danaus/program/program.h"

/// What the activations of a program do to each stage of each linear operator.
namespace danaus::machine {

/// A driven row of the array and the stage input that it carries.
struct CarriedRow {
  std::uint32_t row = 0;
  std::uint32_t input = 0;
};

/// Columns of an activation that are read into stage outputs, and the rows that conduct into them.
struct PlannedGroup {
  /// Neighbouring programmed cells of the group's columns, as many rows of them as `rows`: cell (i, j) lies at (row +
  /// i, column + j) of the array and holds the weight from stage input in_first + i.
  struct Part {
    std::uint32_t row = 0;
    std::uint32_t rows = 0;
    std::uint32_t in_first = 0;
  };
  std::uint32_t block = 0;   ///< of the stage: whose weights these are
  std::uint32_t column = 0;  ///< of the array
  std::uint32_t columns = 0;
  std::uint32_t out_first = 0;  ///< stage outputs out_first + j * out_step
  std::uint32_t out_step = 1;
  std::vector<Part> parts;  ///< by row window
};

/// One `mvm` command, as far as it reads outputs of one stage.
struct PlannedActivation {
  ArrayId array{};
  std::uint32_t command = 0;  ///< position in the code
  ConfigId config{};
  std::vector<CarriedRow> carried;   ///< driven rows whose value is known to be an input of this stage, ascending
  std::vector<PlannedGroup> groups;  ///< disjoint columns
};

/// Activations of a stage in program order: the order in which partial sums are added.
struct StagePlan {
  NodeId node{};
  std::uint32_t stage = 0;
  std::vector<PlannedActivation> activations;
};

/// The activations of a token, taken apart by the stages that they serve. Derived from the windows of the `mvm`
/// commands and the programmed cells alone. What a row carries is what its cells expect: of a verified program that is
/// proved.
struct MvmPlan {
  std::vector<StagePlan> stages;  ///< 2 * linear node number (in graph order) + stage; empty for a missing stage
  std::vector<std::uint32_t> number_of_node;  ///< node -> number among the linear nodes; 0xffffffff for others
  const StagePlan& of(NodeId node, std::uint32_t stage) const {
    return stages[std::size_t{number_of_node[index(node)]} * 2 + stage];
  }
};

/// Errors: analog.activation (a window has a cell twice, a patch outside its operator: what `verify` refuses, too).
Result<MvmPlan> plan_activations(const program::Program& program);

}  // namespace danaus::machine
