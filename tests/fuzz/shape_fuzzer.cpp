#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "danaus/model/shape_file.h"

// Any text is an error or a shape whose canonical text reads back and whose graph can be built.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus::model;
  const danaus::Result<Shape> shape =
      parse_shape(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.toml");
  if (!shape) return 0;
  const danaus::Result<Shape> again = parse_shape(to_toml(*shape), "again.toml");
  if (!again || *again != *shape) std::abort();
  const Dimensions& dimensions = shape->dimensions;
  if (dimensions.layers + dimensions.decoder_layers <= 64 && dimensions.experts <= 64) (void)model_from_shape(*shape);
  return 0;
}
