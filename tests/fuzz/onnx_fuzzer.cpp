#include <cstddef>
#include <cstdint>

#include "danaus/model/onnx/onnx.h"

// Any bytes are an error or a file whose model is valid and whose weights can be read.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus::model;
  const danaus::Result<OnnxFile> file = parse_onnx(std::as_bytes(std::span(data, size)), "fuzz.onnx");
  if (!file) return 0;
  const danaus::Result<Model> model = model_from_onnx(*file);
  if (!model) return 0;
  if (!validate(model->graph)) __builtin_trap();
  for (const LinearOperator& operation : model->linear) (void)read_weights(operation);
  return 0;
}
