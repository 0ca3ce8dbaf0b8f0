// Every `mvm` is intersected with the patches of its array. The pieces are sorted by the stage that they belong to, and
// within it cut at every column where a piece begins or ends: between two cuts the same rows conduct into every column.
#include "danaus/machine/analog/mvm_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <variant>

#include "danaus/program/image.h"

namespace danaus::machine {
namespace {

constexpr std::uint32_t kNoNumber = std::numeric_limits<std::uint32_t>::max();

Error refused(std::size_t command, std::string_view what) {
  return Error("analog.activation", Failure::check, fmt::format("command {}: {}", command, what))
      .with_hint("`danaus verify` says what is wrong with the program");
}

/// The part of an activation that serves one stage.
class StageBuilder {
 public:
  explicit StageBuilder(const program::Program& program) : program_(program) {}

  Result<PlannedActivation> build(std::size_t command, const program::Mvm& mvm,
                                  std::span<const program::Piece> pieces) const {
    PlannedActivation planned;
    planned.array = mvm.array;
    planned.command = static_cast<std::uint32_t>(command);
    planned.config = mvm.config;
    std::vector<std::uint32_t> cuts;
    for (const program::Piece& piece : pieces) {
      for (std::uint32_t row = 0; row < piece.rows; ++row)
        planned.carried.push_back({piece.row + row, piece.in_first + row});
      cuts.push_back(piece.column);
      cuts.push_back(piece.column + piece.columns);
    }
    const auto by_row = [](const CarriedRow& a, const CarriedRow& b) { return a.row < b.row; };
    std::stable_sort(planned.carried.begin(), planned.carried.end(), by_row);
    planned.carried.erase(std::unique(planned.carried.begin(), planned.carried.end(),
                                      [](const CarriedRow& a, const CarriedRow& b) { return a.row == b.row; }),
                          planned.carried.end());
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
      PlannedGroup group;
      group.column = cuts[c];
      group.columns = cuts[c + 1] - cuts[c];
      for (const program::Piece& piece : pieces) {
        if (piece.column > cuts[c] || piece.column + piece.columns <= cuts[c]) continue;
        const std::uint32_t out_first = piece.out_first + (cuts[c] - piece.column) * piece.patch->out_step;
        const std::uint32_t out_step = group.columns == 1 ? 1 : piece.patch->out_step;
        const auto part = program::locate(program_.intent.at(piece.patch->node).structure, *piece.patch);
        if (!part) return fail(refused(command, "a patch of its array is not a part of a block of its operator"));
        if (group.parts.empty()) {
          group.block = part->block;
          group.out_first = out_first;
          group.out_step = out_step;
        } else if (group.out_first != out_first || group.out_step != out_step || group.block != part->block) {
          return fail(refused(command, fmt::format("column {} of array {} mixes outputs", cuts[c], index(mvm.array))));
        }
        group.parts.push_back({piece.row, piece.rows, piece.in_first});
      }
      if (!group.parts.empty()) planned.groups.push_back(std::move(group));
    }
    return planned;
  }

 private:
  const program::Program& program_;
};

}  // namespace

Result<MvmPlan> plan_activations(const program::Program& program) {
  const Graph& graph = program.intent;
  MvmPlan plan;
  plan.number_of_node.assign(graph.nodes.size(), kNoNumber);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].kind != NodeKind::linear) continue;
    plan.number_of_node[n] = static_cast<std::uint32_t>(plan.stages.size() / 2);
    for (std::uint32_t stage = 0; stage < 2; ++stage)
      plan.stages.push_back({NodeId{static_cast<std::uint32_t>(n)}, stage, {}});
  }
  const program::Images images(program);
  const StageBuilder builder(program);
  program::Activation activation;
  for (std::size_t c = 0; c < program.code.size(); ++c) {
    const program::Command command = program::decode_unchecked(program.code[c]);
    const auto* mvm = std::get_if<program::Mvm>(&command);
    if (mvm == nullptr) continue;
    if (!activation.resolve(*mvm, images.of(mvm->array), program.chip))
      return fail(refused(c, "a window has a cell twice"));
    // Several operators may share an activation (q, k and v).
    std::map<std::size_t, std::vector<program::Piece>> by_stage;
    for (const program::Piece& piece : activation.pieces()) {
      const std::uint32_t node = index(piece.patch->node);
      if (node >= graph.nodes.size() || plan.number_of_node[node] == kNoNumber || piece.patch->stage > 1 ||
          piece.patch->in_step != 1)
        return fail(refused(c, "a patch of its array is not a part of a linear operator"));
      by_stage[std::size_t{plan.number_of_node[node]} * 2 + piece.patch->stage].push_back(piece);
    }
    for (const auto& [stage, pieces] : by_stage) {
      DANAUS_TRY(planned, builder.build(c, *mvm, pieces));
      plan.stages[stage].activations.push_back(std::move(planned));
    }
  }
  return plan;
}

}  // namespace danaus::machine
