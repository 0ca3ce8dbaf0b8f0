// Blocks are independent: each reads its rows of W once for the norms of their columns and once for the weights that it
// keeps. Rows are read and dropped a few blocks at a time. Sums are in double precision and in the order of rows, then
// columns, then blocks, whatever the number of threads.
#include "danaus/factor/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "danaus/core/parallel.h"

namespace danaus::factor {
namespace {

constexpr std::size_t kElements = std::size_t{1} << 24;  // of W in memory at a time

struct BlockError {
  double squared_norm = 0, squared_error = 0;
};

/// Chooses the columns of a block and copies their weights; `rows` are its rows of W.
BlockError project_block(const Structure& structure, std::span<const float> rows, std::span<std::uint32_t> selection,
                         std::span<float> weights) {
  const std::size_t in = structure.in, kept = selection.size(), count = rows.size() / in;
  std::vector<double> norms(in);
  for (std::size_t row = 0; row < count; ++row) {
    for (std::size_t column = 0; column < in; ++column) {
      const auto value = static_cast<double>(rows[row * in + column]);
      norms[column] += value * value;
    }
  }
  std::vector<std::uint32_t> order(in);
  std::iota(order.begin(), order.end(), 0u);
  const auto border = order.begin() + static_cast<std::ptrdiff_t>(kept);
  std::nth_element(order.begin(), border - 1, order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return norms[a] != norms[b] ? norms[a] > norms[b] : a < b;
  });
  std::sort(order.begin(), border);
  std::sort(border, order.end());
  std::copy(order.begin(), border, selection.begin());
  for (std::size_t row = 0; row < count; ++row) {
    for (std::size_t n = 0; n < kept; ++n) weights[row * kept + n] = rows[row * in + selection[n]];
  }
  BlockError error;
  for (const double norm : norms) error.squared_norm += norm;
  for (auto column = border; column != order.end(); ++column) error.squared_error += norms[*column];
  return error;
}

}  // namespace

Error not_finite(std::span<const float> weights, const Structure& structure, std::size_t first_row) {
  const auto bad = std::find_if_not(weights.begin(), weights.end(), [](float value) { return std::isfinite(value); });
  const auto at = static_cast<std::size_t>(bad - weights.begin());
  return Error("factor.non-finite", Failure::bad_input,
               fmt::format("the weight in row {}, column {} is {}", first_row + at / structure.in, at % structure.in,
                           *bad))
      .with_hint("rows and columns count from 0; repair the model file: a projection needs finite weights");
}

Result<Projection> project_gathered(const ReadRows& read, const Structure& structure) {
  const std::size_t in = structure.in, kept = structure.in_block, group = structure.out_block, blocks = structure.k;
  std::vector<float> kept_weights(structure.parameters());
  std::vector<std::uint32_t> selection(structure.stage_inputs(0));
  std::vector<BlockError> errors(blocks);
  const std::size_t together = std::clamp<std::size_t>(kElements / (group * in), 1, blocks);
  std::vector<float> weights;
  for (std::size_t first = 0; first < blocks; first += together) {
    const std::size_t count = std::min(together, blocks - first);
    const std::size_t first_row = first * group;
    const std::size_t rows = std::min<std::size_t>((first + count) * group, structure.out) - first_row;
    weights.resize(rows * in);
    read(static_cast<std::uint32_t>(first_row), static_cast<std::uint32_t>(rows), weights);
    // Not a number must not get into a sort.
    if (!std::all_of(weights.begin(), weights.end(), [](float value) { return std::isfinite(value); }))
      return fail(not_finite(weights, structure, first_row));
    parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t n = begin; n < end; ++n) {
        const std::size_t block = first + n, row = n * group;
        const std::size_t own = std::min(group, rows - row);
        errors[block] = project_block(structure, std::span(weights).subspan(row * in, own * in),
                                      std::span(selection).subspan(block * kept, kept),
                                      std::span(kept_weights).subspan((first_row + row) * kept, own * kept));
      }
    });
  }
  double squared_norm = 0, squared_error = 0;
  for (const BlockError& error : errors) {
    squared_norm += error.squared_norm;
    squared_error += error.squared_error;
  }
  const double relative = squared_norm > 0 ? std::sqrt(squared_error / squared_norm) : 0;
  Structure chosen = structure;
  chosen.selection = IndexList(std::move(selection));
  return Projection{{std::move(chosen), std::move(kept_weights), {}},
                    {.relative = relative, .optimum = relative, .squared_norm = squared_norm}};
}

}  // namespace danaus::factor
