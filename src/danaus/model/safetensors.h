#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/files.h"
#include "danaus/model/model.h"

namespace danaus::model {

/// A safetensors file: tensors in place and the free metadata.
struct SafetensorsFile {
  std::string name;                             ///< of the file, for errors
  std::vector<Tensor> tensors;                  ///< in the order of their bytes; BOOL is read as U8
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
};

/// Reads a safetensors file that is in memory. `file` keeps the bytes alive, if anything has to.
/// The tensors must fill the data exactly: no hole, no overlap, nothing behind the last. Errors: safetensors.*.
Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes, std::string_view name,
                                          std::shared_ptr<const MappedFile> file = nullptr);
Result<SafetensorsFile> read_safetensors(const std::filesystem::path& path);

/// One tensor of a file that is to be written.
struct TensorEntry {
  std::string name;
  std::string_view type;  ///< "F32"
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes = 0;
};
/// What a file with these tensors, in this order, begins with: the length of the header and the header, padded to eight
/// bytes. The bytes of the tensors follow it.
std::string safetensors_start(std::string_view metadata_key, std::string_view metadata,
                              std::span<const TensorEntry> tensors);

/// A file without a config: every real 2-D tensor is a linear operator with its own input "<name>.x", and an output.
/// Vectors are ignored; other tensors are listed as digital. Errors: model.no-matrices, graph.*.
Result<Model> model_from_matrices(SafetensorsFile file);

}  // namespace danaus::model
