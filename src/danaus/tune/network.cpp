// Parameters have the layout of factor::Factors without trimming: the engine knows whole blocks only.

#include "danaus/tune/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "danaus/tune/tune.h"

namespace danaus::tune {
namespace {

/// The structure without trimming, and back: blocks that were cut get zeros, which training leaves zero, because
/// nothing depends on them.
Structure untrimmed(Structure structure) {
  structure.trimmed = false;
  return structure;
}

/// Elements of a stage as they are stored: rows of the last block may be shorter (stage 0), or fewer (stage 1).
std::vector<float> converted(const std::vector<float>& weights, const Structure& from, const Structure& to,
                             std::uint32_t stage) {
  std::vector<float> result;
  std::size_t at = 0;
  for (std::uint32_t n = 0; n < from.block_count(stage); ++n) {
    const Block a = from.block(stage, n), b = to.block(stage, n);
    const std::size_t first = result.size();
    result.resize(first + std::size_t{b.out_count} * b.in_count);
    const std::size_t columns = std::min(a.in_count, b.in_count);
    for (std::size_t row = 0; row < std::min(a.out_count, b.out_count); ++row)
      std::copy_n(weights.begin() + static_cast<std::ptrdiff_t>(at + row * a.in_count), columns,
                  result.begin() + static_cast<std::ptrdiff_t>(first + row * b.in_count));
    at += std::size_t{a.out_count} * a.in_count;
  }
  return result;
}

/// Blocks that are worth being applied stage by stage: there is less to do, in pieces that are not too small.
bool is_staged(const Structure& structure) {
  if (structure.kind != Structure::Kind::blocks) return false;
  const std::uint32_t least =
      std::min({structure.in_block, structure.out_block, structure.l * structure.r, structure.k * structure.r});
  return least >= 32 && 2 * structure.parameters() <= structure.dense_parameters();
}

std::vector<float> values_of(const model::ConstantView& view) {
  std::vector<float> whole(view.tensor.elements());
  model::dequantise_rows(view.tensor, 0, whole.size() / view.tensor.shape.back(), whole);
  return {whole.begin() + static_cast<std::ptrdiff_t>(view.first),
          whole.begin() + static_cast<std::ptrdiff_t>(view.first + view.count)};
}

/// What each layer but the first reads.
std::vector<NodeId> features_of(const model::Model& model) {
  std::vector<NodeId> features;
  for (std::size_t n = 1; n < model.linear.size(); ++n) {
    if (model.linear[n].layer != model.linear[n - 1].layer)
      features.push_back(model.graph.at(model.linear[n].node).sources.front());
  }
  return features;
}

}  // namespace

double default_rate(const Structure& structure) {
  switch (structure.kind) {
    case Structure::Kind::dense:
      return 3e-4;
    case Structure::Kind::gather:
      return 3e-3;
    case Structure::Kind::blocks:
      break;
  }
  const double most = structure.k == 1 && structure.l == 1 ? 8e-3 : 4e-3;
  return most / std::sqrt(static_cast<double>(structure.r));
}

Result<TrainingNetwork> make_network(const model::Model& model, const factor::FactorFile& start, double rate,
                                     bool with_head) {
  TrainingNetwork made;
  Network& network = made.network;
  network.graph = model.graph;
  std::map<std::string_view, const factor::Factors*> given;
  for (const auto& [name, factors] : start.operators) given.emplace(name, &factors);
  for (const model::LinearOperator& linear : model.linear) {
    NetworkOperator operation{model::read_weights(linear), Structure::dense(linear.out, linear.in), {}, {}, {}, false};
    if (const auto found = given.find(linear.name); found != given.end()) {
      const factor::Factors& factors = *found->second;
      if (factors.structure.out != linear.out || factors.structure.in != linear.in)
        return fail(Error("tune.factors", Failure::bad_input,
                          fmt::format("the factors of '{}' are {}x{}, the operator is {}x{}", linear.name,
                                      factors.structure.out, factors.structure.in, linear.out, linear.in))
                        .with_hint("project this model anew: danaus project MODEL -o FILE"));
      const Structure whole = untrimmed(factors.structure);
      operation.structure = whole;
      operation.staged = is_staged(whole);
      const std::span<const std::uint32_t> selection = whole.selection.numbers();
      operation.selection.assign(selection.begin(), selection.end());
      const double own_rate = rate * default_rate(whole);
      operation.right = made.parameters.size();
      const bool two = whole.stages() == 2;
      made.parameters.push_back(
          {linear.name + (two ? ".R" : ".W"), converted(factors.right, factors.structure, whole, 0), own_rate});
      if (two) {
        operation.left = made.parameters.size();
        made.parameters.push_back({linear.name + ".L", converted(factors.left, factors.structure, whole, 1), own_rate});
      }
      given.erase(found);
    }
    network.operators.push_back(std::move(operation));
  }
  if (!given.empty())
    return fail(Error("tune.factors", Failure::bad_input,
                      fmt::format("'{}' has no linear operator '{}'", model.name, given.begin()->first))
                    .with_hint("project this model anew: danaus project MODEL -o FILE"));
  std::map<std::string_view, const model::ConstantView*> views;
  for (const model::ConstantView& view : model.constants) views[view.name] = &view;
  std::map<std::string_view, std::size_t> trained;
  for (const Node& node : model.graph.nodes) {
    network.constants.emplace_back();
    network.trained.emplace_back();
    if (node.constant.empty()) continue;
    network.constants.back() = values_of(*views.at(node.constant));
    const auto [entry, is_new] = trained.try_emplace(node.constant, made.parameters.size());
    if (is_new) {
      made.parameters.push_back({node.constant, network.constants.back(), rate * kConstantRate});
      made.constants.push_back(node.constant);
    }
    network.trained.back() = entry->second;
  }
  for (const auto& [name, values] : start.constants) {
    const auto found = trained.find(name);
    if (found == trained.end() || made.parameters[found->second].values.size() != values.size())
      return fail(Error("tune.factors", Failure::bad_input,
                        fmt::format("'{}' has no gain or bias '{}' of {} elements", model.name, name, values.size()))
                      .with_hint("the factors belong to another model"));
    made.parameters[found->second].values = values;
  }
  network.features = features_of(model);
  if (with_head && model.head) {
    model::LinearOperator head;
    head.name = model.head->name;
    head.out = model.head->vocab;
    head.in = model.head->size;
    head.weight = model.head->weight;
    network.head = model::read_weights(head);
    if (model.head->bias) network.head_bias = values_of(*model.head->bias);
  }
  return made;
}

factor::FactorFile trained_factors(const factor::FactorFile& start, std::span<const Parameter> parameters,
                                   std::span<const std::string> constants) {
  std::map<std::string_view, const std::vector<float>*> values;
  for (const Parameter& parameter : parameters) values[parameter.name] = &parameter.values;
  factor::FactorFile result;
  for (const auto& [name, factors] : start.operators) {
    const Structure& structure = factors.structure;
    const Structure whole = untrimmed(structure);
    factor::Factors trained{structure, {}, {}};
    trained.right = converted(*values.at(name + (structure.stages() == 2 ? ".R" : ".W")), whole, structure, 0);
    if (structure.stages() == 2) trained.left = converted(*values.at(name + ".L"), whole, structure, 1);
    result.operators.emplace_back(name, std::move(trained));
  }
  for (const std::string& name : constants) result.constants.emplace_back(name, *values.at(name));
  return result;
}

}  // namespace danaus::tune
