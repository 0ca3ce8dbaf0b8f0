// Vectors are weighted, transposed and multiplied tile by tile of the lower triangle, each tile by one thread; tiles of
// at most 256 vectors go into sums in double precision. Borders depend on the sizes alone.

#include "danaus/nn/moment_collector.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/nn/matrix.h"

namespace danaus::nn {
namespace {

constexpr std::size_t kTile = 192;     // inputs
constexpr std::size_t kVectors = 256;  // in one product
constexpr std::size_t kLanes = 8;

double squared_norm(std::span<const float> x) {
  double lanes[kLanes] = {};
  for (std::size_t e = 0; e < x.size(); ++e) lanes[e % kLanes] += double{x[e]} * double{x[e]};
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

/// What an operator reads: the value, and the tokens that a guard leaves of it.
using Source = std::pair<std::uint32_t, std::pair<std::int64_t, std::uint32_t>>;

Source source_of(const Graph& graph, const model::LinearOperator& operation) {
  const Node& node = graph.at(operation.node);
  const auto gates = node.guard ? std::int64_t{index(node.guard->gates)} : -1;
  return {index(node.sources.front()), {gates, node.guard ? node.guard->element : 0}};
}

}  // namespace

std::vector<factor::InputMoments> inputs_of(const model::Model& model) {
  std::vector<factor::InputMoments> inputs;
  std::map<Source, std::size_t> known;
  for (const model::LinearOperator& operation : model.linear) {
    const auto [entry, is_new] = known.try_emplace(source_of(model.graph, operation), inputs.size());
    if (is_new) {
      inputs.emplace_back();
      inputs.back().name = operation.name;
      inputs.back().in = operation.in;
    }
    inputs[entry->second].operators.push_back(operation.name);
  }
  return inputs;
}

MomentCollector::MomentCollector(LinearBackend& backend, const model::Model& model,
                                 std::vector<factor::InputMoments>& inputs, const TokenWeights& weights)
    : backend_(backend), inputs_(inputs), weights_(weights), input_of_(model.linear.size(), inputs.size()) {
  std::map<std::string_view, std::size_t> numbers;
  for (std::size_t number = 0; number < model.linear.size(); ++number) numbers[model.linear[number].name] = number;
  for (std::size_t n = 0; n < inputs.size(); ++n) {
    const auto number = numbers.find(inputs[n].name);
    ensure(number != numbers.end() && model.linear[number->second].in == inputs[n].in, "the inputs are the model's");
    input_of_[number->second] = n;
  }
}

Result<void> MomentCollector::multiply(std::size_t number, std::span<const float> x,
                                       std::span<const std::uint64_t> tokens, std::span<float> y) {
  ensure(number < input_of_.size(), "the operator exists");
  if (input_of_[number] < inputs_.size() && !inputs_[input_of_[number]].sums.empty())
    add(inputs_[input_of_[number]], x, tokens);
  return backend_.multiply(number, x, tokens, y);
}

void MomentCollector::add(factor::InputMoments& input, std::span<const float> x,
                          std::span<const std::uint64_t> tokens) {
  const std::size_t in = input.in, count = tokens.size();
  const std::uint64_t pairs = factor::triangle(in);
  std::vector<double> energies(count);
  parallel_for(count, 16, [&](std::size_t first, std::size_t last) {
    for (std::size_t token = first; token < last; ++token) energies[token] = squared_norm(x.subspan(token * in, in));
  });
  // Running means need no second pass and no sum that a resumed run could round differently.
  std::vector<float> roots(count);
  for (std::size_t token = 0; token < count; ++token) {
    const bool is_first = std::binary_search(first_tokens_.begin(), first_tokens_.end(), tokens[token]);
    const double energy = energies[token];
    const double weight =
        energy > 0 ? (is_first ? weights_.first_token : 1) * std::pow(energy, -weights_.normalise) : 0;
    std::uint64_t& seen = is_first ? input.first_tokens : input.tokens;
    double& mean = is_first ? input.energy.first : input.energy.other;
    ++seen;
    mean += (energy - mean) / static_cast<double>(seen);
    if (!is_first) input.energy.largest = std::max(input.energy.largest, energy);
    input.weight += weight;
    roots[token] = static_cast<float>(std::sqrt(weight));
  }
  const std::size_t tiles = (in + kTile - 1) / kTile;
  for (std::size_t begin = 0; begin < count; begin += kVectors) {
    const std::size_t vectors = std::min(kVectors, count - begin);
    columns_.resize(in * vectors);
    parallel_for(in, 64, [&](std::size_t first, std::size_t last) {
      for (std::size_t token = 0; token < vectors; ++token) {
        const float* row = x.data() + (begin + token) * in;
        for (std::size_t e = first; e < last; ++e) columns_[e * vectors + token] = row[e] * roots[begin + token];
      }
    });
    parallel_for(factor::triangle(tiles), 1, [&](std::size_t from, std::size_t to) {
      std::vector<float> tile(kTile * kTile);
      for (std::size_t number = from; number < to; ++number) {
        std::size_t down = 0;
        while (factor::triangle(down + 1) <= number) ++down;
        const std::size_t across = number - factor::triangle(down);
        const std::size_t top = down * kTile, left = across * kTile;
        const std::size_t rows = std::min(kTile, in - top), width = std::min(kTile, in - left);
        multiply_transposed(rows, width, vectors, columns_.data() + top * vectors, vectors,
                            columns_.data() + left * vectors, vectors, tile.data(), width);
        for (std::size_t row = 0; row < rows; ++row) {
          double* const sums = input.sums.data() + factor::triangle(top + row) + left;
          const std::size_t own = std::min(width, top + row + 1 - left);
          for (std::size_t column = 0; column < own; ++column) sums[column] += double{tile[row * width + column]};
        }
      }
    });
    parallel_for(in, 64, [&](std::size_t first, std::size_t last) {
      for (std::size_t e = first; e < last; ++e) {
        double sum = 0;
        for (std::size_t token = 0; token < vectors; ++token)
          sum += double{columns_[e * vectors + token]} * double{roots[begin + token]};
        input.sums[pairs + e] += sum;
      }
    });
  }
}

}  // namespace danaus::nn
