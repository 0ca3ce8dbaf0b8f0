#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/model/gguf.h"

// Any bytes are an error or a file whose metadata, model and tensors can be used: first and last row of every tensor,
// and the weights of every operator. tests/data/gguf holds a file with every element type to start from.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus::model;
  const danaus::Result<GgufFile> file = parse_gguf(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!file) return 0;
  for (const auto& [key, value] : file->metadata) {
    (void)value.whole();
    (void)value.texts();
    (void)value.integers();
    (void)value.reals();
  }
  for (const Tensor& tensor : file->tensors) {
    std::vector<float> row(tensor.shape.back());
    dequantise_rows(tensor, 0, 1, row);
    dequantise_rows(tensor, tensor.elements() / row.size() - 1, 1, row);
  }
  const danaus::Result<Model> model = model_from_gguf(*file);
  if (!model) return 0;
  for (const LinearOperator& operation : model->linear) (void)read_weights(operation);
  return 0;
}
