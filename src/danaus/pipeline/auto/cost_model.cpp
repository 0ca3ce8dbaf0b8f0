// A striped stage on N shared arrays with A converters each takes one window and as many rounds as its slivers are
// wide, over A, once more for every N slivers (the rule of the width is that of compile/place/striped). On
// arrays of its own a stage takes one window and the rounds of its widest array. Stages of an operator come one after
// the other. Before every stage there is a message over the arrays that the stage lies on.

#include "danaus/pipeline/auto/cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "danaus/chip/cost.h"
#include "danaus/compile/place/pieces.h"
#include "danaus/pipeline/capacity.h"

namespace danaus::pipeline {
namespace {

std::uint64_t ceil_divide(std::uint64_t count, std::uint64_t by) { return count / by + (count % by != 0); }

double share_of(const Graph& graph, const Node& node) {
  if (node.idle) return 0;
  if (!node.guard) return 1;
  const Node& router = graph.at(node.guard->gates);
  return static_cast<double>(graph.configs[index(router.configs[0])].k) / router.size;
}

/// All operators alike, or two structures in any distribution.
std::vector<std::vector<std::uint32_t>> combinations(std::size_t operators, std::uint32_t candidates) {
  std::vector<std::vector<std::uint32_t>> all;
  for (std::uint32_t c = 0; c < candidates; ++c) all.emplace_back(operators, c);
  constexpr std::size_t kMostMixed = 6;  // operators of a unit: 2^6 distributions of two structures
  if (operators < 2 || operators > kMostMixed) return all;
  for (std::uint32_t a = 0; a < candidates; ++a) {
    for (std::uint32_t b = a + 1; b < candidates; ++b) {
      for (std::uint32_t set = 1; set + 1 < 1u << operators; ++set) {
        std::vector<std::uint32_t> chosen(operators);
        for (std::size_t o = 0; o < operators; ++o) chosen[o] = (set >> o & 1) != 0 ? b : a;
        all.push_back(std::move(chosen));
      }
    }
  }
  return all;
}

}  // namespace

Result<CostModel> CostModel::make(const model::Model& model, const chip::Chip& chip, const Candidates& candidates,
                                  const compile::PlaceOptions& place) {
  CostModel costs(chip, place);
  const Graph& graph = model.graph;
  std::map<std::string, std::size_t> kind_of;
  for (std::uint32_t o = 0; o < model.linear.size(); ++o) {
    const bool joins = o > 0 && compile::reads_with(graph, model.linear[o - 1].node, model.linear[o].node);
    if (!joins) costs.units_.emplace_back();
    costs.units_.back().operators.push_back(o);
    costs.units_.back().nodes.push_back(model.linear[o].node);
  }
  for (Unit& unit : costs.units_) {
    std::string key;
    for (const std::uint32_t o : unit.operators) {
      const NodeId node = model.linear[o].node;
      key += fmt::format("{}x{}*{}", model.linear[o].out, model.linear[o].in, share_of(graph, graph.at(node)));
      for (const Candidate& candidate : candidates.all)
        key += fmt::format(";{}", to_string(candidate.graph.at(node).structure));
      key += "|";
    }
    const auto [found, is_new] = kind_of.try_emplace(key, costs.kinds_.size());
    unit.kind = found->second;
    if (!is_new) continue;
    DANAUS_TRY(kind, costs.make_kind(model, unit, candidates));
    costs.kinds_.push_back(std::move(kind));
  }
  return costs;
}

Result<CostModel::Kind> CostModel::make_kind(const model::Model& model, const Unit& unit,
                                             const Candidates& candidates) const {
  Kind kind;
  kind.share = share_of(model.graph, model.graph.at(unit.nodes.front()));
  std::set<std::string> seen;
  for (std::vector<std::uint32_t>& chosen :
       combinations(unit.operators.size(), static_cast<std::uint32_t>(candidates.all.size()))) {
    // Errors of candidates may differ where their structures do not: the same structure twice is left to the errors.
    std::string key;
    for (std::size_t n = 0; n < chosen.size(); ++n)
      key += to_string(candidates.all[chosen[n]].graph.at(unit.nodes[n]).structure) + "|";
    if (!candidates.has_errors && !seen.insert(key).second) continue;
    DANAUS_TRY(work, make_work(unit, candidates, chosen));
    kind.works.push_back(std::move(work));
    std::vector<std::uint32_t> slivers = {0};
    // Wider than the rule's, and narrower where it is made for many tokens or for energy.
    const bool is_narrow = compile::least_sliver_width(place_) == 1;
    for (std::uint32_t width = std::bit_ceil(place_.adcs) * (is_narrow ? 4 : 1); width < place_.cols;
         width *= is_narrow ? 4 : 2)
      slivers.push_back(width);
    slivers.push_back(place_.cols);
    for (const std::uint32_t sliver : slivers) {
      kind.options.push_back({.candidates = chosen, .map = UnitMap::striped, .sliver = sliver});
      kind.work_of.push_back(kind.works.size() - 1);
    }
    kind.options.push_back({.candidates = std::move(chosen), .map = UnitMap::own, .sliver = 0});
    kind.work_of.push_back(kind.works.size() - 1);
  }
  return kind;
}

Result<CostModel::Work> CostModel::make_work(const Unit& unit, const Candidates& candidates,
                                             const std::vector<std::uint32_t>& chosen) const {
  Work work;
  for (std::uint8_t number = 0; number < 2; ++number) {
    Stage stage;
    std::map<std::tuple<compile::InputSpace, std::uint32_t, std::uint32_t>, std::uint64_t> joined;  // columns
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint64_t> counts;  // of (rows, columns)
    double own_time = 0, span = 0;
    bool any = false;
    for (std::size_t n = 0; n < chosen.size(); ++n) {
      const Graph& graph = candidates.all[chosen[n]].graph;
      const NodeId id = unit.nodes[n];
      const Node& node = graph.at(id);
      if (number >= node.structure.stages()) continue;
      any = true;
      const bool is_dense = node.structure.kind == Structure::Kind::dense;
      const Config& config = graph.configs[index(node.configs[number])];
      DANAUS_TRY(energy, chip::activation_energy_parts(chip_, config.dac_bits, config.adc_bits));
      if (config.adc_bits >= stage.adc_bits) {
        stage.dac_bits = config.dac_bits;
        stage.adc_bits = config.adc_bits;
        stage.energy = energy;
      }
      const std::vector<compile::Piece> pieces = compile::cut(graph, id, number, place_, is_dense);
      const Block block = node.structure.block(number, 0);
      stage.row_tiles = std::max(stage.row_tiles, ceil_divide(block.in_count, place_.rows));
      std::uint32_t rows = 1, columns = 1;
      double drives = 0, cells = 0;
      std::uint64_t conversions = 0;
      for (const compile::Piece& piece : pieces) {
        rows = std::max(rows, piece.rows);
        columns = std::max(columns, piece.columns);
        drives += piece.rows;
        cells += double{1} * piece.rows * piece.columns;
        conversions += piece.columns;
        if (number == 0)
          joined[{compile::input_space(graph, id), piece.in_first, piece.rows}] += piece.columns;
        else
          ++counts[{piece.rows, piece.columns}];
      }
      stage.columns += conversions;
      stage.cells += cells;
      // On arrays of its own.
      const std::uint32_t per_array = is_dense ? 1 : std::min(place_.rows / rows, place_.cols / columns);
      const auto arrays = static_cast<double>(ceil_divide(pieces.size(), per_array));
      const std::uint64_t in_array = std::min<std::uint64_t>(per_array, pieces.size());
      const auto rounds = static_cast<std::uint32_t>(ceil_divide(in_array * columns, place_.adcs));
      const auto time = static_cast<double>(chip::activation_time(chip_, config.dac_bits, config.adc_bits, rounds));
      const auto windows = static_cast<double>(chip::input_windows(chip_, rounds));
      own_time = std::max(own_time, time);
      span = std::max(span, arrays);
      work.own_arrays += arrays;
      work.own_pieces += static_cast<double>(pieces.size());
      work.own_busy_ps = std::max(work.own_busy_ps, time);
      if (chip_.array.idle_columns_draw) cells = drives * windows * place_.cols;
      work.own_energy_pj += windows * drives * energy.row_pj + cells * energy.cell_pj +
                            static_cast<double>(conversions) * energy.column_pj + arrays * energy.activation_pj;
    }
    if (!any) break;
    for (const auto& [input, columns] : joined) ++counts[{std::get<2>(input), columns}];
    for (const auto& [size, count] : counts)
      stage.blocks.push_back({.rows = size.first, .columns = size.second, .count = count});
    work.striped.push_back(std::move(stage));
    work.own_time_ps += own_time;
    work.own_span.push_back(span);
  }
  return work;
}

/// To a stage that lies on so many arrays; where outputs are sums of several tiles also to where they are added, one
/// after the other.
double CostModel::message_ps(double arrays, std::uint64_t partial_sums) const {
  const auto tiles = static_cast<std::uint32_t>(std::max(1.0, arrays / place_.arrays_per_tile));
  // Half of the way across a square of so many tiles in either direction.
  const auto one =
      static_cast<double>(chip::message_time(chip_, place_.adcs, chip_.input.bits, chip::mesh_side(tiles)));
  if (partial_sums == 1) return one;
  return 2 * one +
         static_cast<double>(partial_sums - 1) * static_cast<double>(chip::to_picoseconds(chip_.digital.add_ns));
}

UnitCost CostModel::cost(const Unit& unit, std::size_t option, std::uint32_t shared_arrays) const {
  const Kind& kind = kinds_[unit.kind];
  const UnitOption& chosen = kind.options[option];
  const Work& work = kind.works[kind.work_of[option]];
  UnitCost cost;
  if (chosen.map == UnitMap::own) {
    cost.time_ps = work.own_time_ps;
    for (std::size_t s = 0; s < work.own_span.size(); ++s)
      // `linear` has the row tiles of an output side by side.
      cost.time_ps += message_ps(work.own_span[s], ceil_divide(work.striped[s].row_tiles, place_.arrays_per_tile));
    cost.energy_pj = work.own_energy_pj;
    cost.own = work.own_arrays;
    cost.pieces = work.own_pieces;
    cost.busy_ps = work.own_busy_ps;
  } else {
    const std::uint64_t arrays = std::max(1u, shared_arrays);
    const double in_array = double{1} * place_.rows * place_.cols;
    for (const Stage& stage : work.striped) {
      const std::uint64_t width = chosen.sliver != 0 ? std::min(chosen.sliver, place_.cols)
                                                     : compile::sliver_width(stage.blocks, arrays, place_);
      const std::uint64_t count = compile::sliver_count(stage.blocks, width);
      std::uint64_t widest = 0;
      for (const compile::JoinedBlocks& blocks : stage.blocks)
        widest = std::max(widest, std::min(blocks.columns, width));
      const auto rounds = static_cast<std::uint32_t>(ceil_divide(widest, place_.adcs));
      const auto time = static_cast<double>(chip::activation_time(chip_, stage.dac_bits, stage.adc_bits, rounds));
      cost.time_ps += static_cast<double>(ceil_divide(count, arrays)) * time;
      cost.time_ps += message_ps(static_cast<double>(std::min(count, arrays)), stage.row_tiles);
      cost.busy_ps += static_cast<double>(count) * time;
      cost.pieces += static_cast<double>(count);
      const auto windows = static_cast<double>(chip::input_windows(chip_, rounds));
      double drives = 0;
      for (const compile::JoinedBlocks& blocks : stage.blocks)
        drives += static_cast<double>(blocks.count * ceil_divide(blocks.columns, width) * blocks.rows);
      drives *= windows;
      const double cells = chip_.array.idle_columns_draw ? drives * place_.cols : stage.cells;
      cost.energy_pj += drives * stage.energy.row_pj + cells * stage.energy.cell_pj +
                        static_cast<double>(stage.columns) * stage.energy.column_pj +
                        static_cast<double>(count) * stage.energy.activation_pj;
      cost.shared += stage.cells / in_array;
    }
  }
  cost.time_ps *= kind.share;
  cost.energy_pj *= kind.share;
  cost.busy_ps *= kind.share;
  return cost;
}

double CostModel::passive_mw_per_array() const {
  const double tile = chip_.digital.hub ? 0 : double{1} * chip_.digital.units * chip_.digital.passive_mw;
  return chip_.system.passive_mw_per_array + tile / place_.arrays_per_tile;
}

}  // namespace danaus::pipeline
