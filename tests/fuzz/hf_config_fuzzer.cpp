#include <cstddef>
#include <cstdint>
#include <string_view>

#include "danaus/model/hugging_face.h"
#include "danaus/model/shape_file.h"

// Any text is an error or a complete shape whose graph can be built.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const danaus::Result<danaus::model::Shape> shape = danaus::model::parse_hugging_face_config(text, "config.json");
  if (!shape) return 0;
  const danaus::model::Dimensions& dimensions = shape->dimensions;
  if (dimensions.layers + dimensions.decoder_layers <= 64 && dimensions.experts <= 64)
    (void)danaus::model::model_from_shape(*shape);
  return 0;
}
