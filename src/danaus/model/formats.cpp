#include "danaus/model/formats.h"

#include <fmt/format.h>

#include "danaus/model/families.h"
#include "danaus/model/gguf.h"
#include "danaus/model/hugging_face.h"

// The page of supported formats is made from this list, and the list from the importers' tables.

namespace danaus::model {

std::vector<SupportEntry> supported_formats() {
  std::vector<SupportEntry> entries;
  for (const FileKind& kind : file_kinds()) entries.push_back({"file", std::string(kind.name), std::string(kind.what)});
  for (const FamilyInfo& family : families())
    entries.push_back({"family", std::string(family.name), std::string(family.help)});
  const auto add_architectures = [&](std::string_view group, const std::vector<ArchitectureInfo>& architectures) {
    for (const FamilyInfo& family : families()) {
      std::vector<std::string_view> names;
      for (const ArchitectureInfo& architecture : architectures) {
        if (architecture.family == family.family) names.push_back(architecture.name);
      }
      if (!names.empty())
        entries.push_back({group, std::string(family.name), fmt::format("{}", fmt::join(names, ", "))});
    }
  };
  add_architectures("GGUF architecture", gguf_architectures());
  add_architectures("Hugging Face architecture", hugging_face_architectures());
  const auto add_types = [&](std::string_view group, const StoredTypes& types) {
    entries.push_back({group, "read", fmt::format("{}", fmt::join(types.read, ", "))});
    entries.push_back({group, "refused", fmt::format("{}", fmt::join(types.refused, ", "))});
  };
  add_types("GGUF element types", gguf_types());
  add_types("safetensors element types", safetensors_types());
  add_types("ONNX element types", onnx_types());
  return entries;
}

}  // namespace danaus::model
