// The weights of an operator as one matrix: rows of a tensor, or columns of it, turned in strips that stay in the
// cache. Models are larger than the memory, so pages that were read are given back to the system at once.

#include <algorithm>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/model/element.h"
#include "danaus/model/model.h"

namespace danaus::model {
namespace {

constexpr std::uint64_t kStripRows = 64;
constexpr std::uint64_t kChunkElements = 1u << 16;

/// Rows [first, first + count) of the tensor, chunk by chunk on all threads.
void read_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t count, std::uint64_t columns, float* weights) {
  parallel_for(count, std::max<std::uint64_t>(1, kChunkElements / columns), [&](std::size_t begin, std::size_t end) {
    dequantise_rows(tensor, first + begin, end - begin, {weights + begin * columns, (end - begin) * columns});
  });
}

/// Columns [first, first + count) of the tensor as rows of `weights`.
void read_columns(const Tensor& tensor, std::uint64_t rows, std::uint64_t first, std::uint64_t count, float* weights) {
  const ElementLayout layout = layout_of(tensor.type);
  const std::uint64_t row_bytes = tensor.bytes.size() / rows;
  // Whole blocks around the columns.
  const std::uint64_t first_block = first / layout.block_elements;
  const std::uint64_t blocks = (first + count - 1) / layout.block_elements + 1 - first_block;
  const std::uint64_t width = blocks * layout.block_elements, skipped = first - first_block * layout.block_elements;
  parallel_for(rows, kStripRows, [&](std::size_t begin, std::size_t end) {
    std::vector<float> strip((end - begin) * width);
    for (std::size_t row = begin; row < end; ++row)
      dequantise_blocks(
          tensor.type,
          tensor.bytes.subspan(row * row_bytes + first_block * layout.block_bytes, blocks * layout.block_bytes),
          std::span(strip).subspan((row - begin) * width, width));
    for (std::uint64_t output = 0; output < count; ++output) {
      for (std::size_t row = begin; row < end; ++row)
        weights[output * rows + row] = strip[(row - begin) * width + skipped + output];
    }
  });
}

}  // namespace

std::vector<float> read_weights(const LinearOperator& operation) {
  std::vector<float> weights(std::uint64_t{operation.out} * operation.in);
  read_weights(operation, 0, operation.out, weights);
  return weights;
}

void read_weights(const LinearOperator& operation, std::uint32_t first, std::uint32_t count, std::span<float> weights) {
  ensure(operation.weight.has_value(), "the operator has weights");
  ensure(first <= operation.out && count <= operation.out - first, "the outputs are in the operator");
  ensure(weights.size() == std::uint64_t{count} * operation.in, "the weights have the size of the outputs");
  if (weights.empty()) return;
  const Tensor& tensor = operation.weight->tensor;
  const std::uint64_t start = operation.weight->first + first;
  if (operation.weight->transposed) {
    read_columns(tensor, operation.in, start, count, weights.data());
    if (tensor.file) tensor.file->release(tensor.bytes);
    return;
  }
  read_rows(tensor, start, count, operation.in, weights.data());
  if (!tensor.file) return;
  const std::uint64_t row_bytes = tensor.bytes.size() / (tensor.elements() / operation.in);
  tensor.file->release(tensor.bytes.subspan(start * row_bytes, count * row_bytes));
}

}  // namespace danaus::model
