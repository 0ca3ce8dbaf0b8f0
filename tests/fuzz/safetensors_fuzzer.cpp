#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/model/safetensors.h"

// Any bytes are an error or a file whose tensors can be used.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus::model;
  danaus::Result<SafetensorsFile> file = parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  if (!file) return 0;
  for (const Tensor& tensor : file->tensors) {
    if (tensor.elements() == 0) continue;
    std::vector<float> row(tensor.shape.empty() ? 1 : tensor.shape.back());
    dequantise_rows(tensor, 0, 1, row);
  }
  (void)model_from_matrices(std::move(*file));
  return 0;
}
