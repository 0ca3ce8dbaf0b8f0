#include <cstddef>
#include <cstdint>
#include <string_view>

#include "danaus/model/hugging_face.h"

// Any text is an error or a complete shape.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)danaus::model::parse_hugging_face_config(text, "config.json");
  return 0;
}
