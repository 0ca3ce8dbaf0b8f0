#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace danaus::model {

/// What danaus can read, from the tables that the importers themselves use.
struct SupportEntry {
  std::string_view group;  ///< "file", "family", "GGUF architecture", ...
  std::string name;
  std::string what;
};

/// Files, families, architectures by family, and element types, in the order of the documentation.
std::vector<SupportEntry> supported_formats();

/// Element types of a file format by the format's names: those that are read, and those that are refused by name.
struct StoredTypes {
  std::vector<std::string_view> read, refused;
};
StoredTypes gguf_types();
StoredTypes safetensors_types();
StoredTypes onnx_types();

/// A kind of file that can be a MODEL.
struct FileKind {
  std::string_view name;
  std::string_view what;
};
std::vector<FileKind> file_kinds();

}  // namespace danaus::model
