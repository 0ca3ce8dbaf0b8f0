#include "danaus/model/embedded.h"

#include <algorithm>
#include <string>
#include <utility>

namespace danaus::embedded {
/// The files of data/tiny-kjv/*.gguf, generated: (file stem, bytes), sorted by name.
const std::vector<std::pair<std::string_view, std::span<const std::byte>>>& models();
}  // namespace danaus::embedded

namespace danaus::model {

std::optional<std::span<const std::byte>> embedded_model(std::string_view name) {
  for (const auto& [stem, bytes] : embedded::models()) {
    if (stem == name) return bytes;
  }
  return {};
}

std::vector<std::string_view> embedded_model_names() {
  std::vector<std::string_view> names;
  for (const auto& [stem, bytes] : embedded::models()) names.push_back(stem);
  return names;
}

bool is_gguf(const std::filesystem::path& name_or_path) {
  return name_or_path.extension() == ".gguf" || embedded_model(name_or_path.string()).has_value();
}

}  // namespace danaus::model
