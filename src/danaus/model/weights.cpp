// The weights of an operator as one matrix: rows of a tensor, or columns of it, turned in strips that stay in the
// cache.

#include <algorithm>

#include "danaus/core/internal_error.h"
#include "danaus/model/element.h"
#include "danaus/model/model.h"

namespace danaus::model {
namespace {

constexpr std::uint64_t kStripRows = 64;

}  // namespace

std::vector<float> read_weights(const LinearOperator& operation) {
  ensure(operation.weight.has_value(), "the operator has weights");
  const WeightView& view = *operation.weight;
  const std::uint64_t out = operation.out, in = operation.in;
  std::vector<float> weights(out * in);
  if (!view.transposed) {
    dequantise_rows(view.tensor, view.first, out, weights);
  } else {
    const std::uint64_t columns = view.tensor.shape.back();
    std::vector<float> strip(std::min(kStripRows, in) * columns);
    for (std::uint64_t first = 0; first < in; first += kStripRows) {
      const std::uint64_t rows = std::min(kStripRows, in - first);
      dequantise_rows(view.tensor, first, rows, std::span(strip).first(rows * columns));
      for (std::uint64_t output = 0; output < out; ++output) {
        for (std::uint64_t row = 0; row < rows; ++row)
          weights[output * in + first + row] = strip[row * columns + view.first + output];
      }
    }
  }
  if (view.tensor.file) view.tensor.file->release(view.tensor.bytes);
  return weights;
}

}  // namespace danaus::model
