#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/files.h"
#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// A metadata value, in place: nothing is copied out of the file until asked for.
struct GgufValue {
  enum class Type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

  Type type = Type::u8;
  Type element = Type::u8;           ///< arrays: type of the elements
  std::uint64_t count = 1;           ///< arrays: number of elements
  std::span<const std::byte> bytes;  ///< the number, the characters of the string, or the elements of the array
  std::uint64_t offset = 0;          ///< of `bytes` in the file

  /// Nothing when the value is of another kind (or, for `whole`, negative).
  std::optional<std::uint64_t> whole() const;
  std::optional<double> real() const;
  std::optional<bool> truth() const;
  std::optional<std::string_view> text() const;
  /// Elements of an array of strings, of real numbers, of integers.
  std::optional<std::vector<std::string_view>> texts() const;
  std::optional<std::vector<double>> reals() const;
  std::optional<std::vector<std::int64_t>> integers() const;
};

/// A GGUF file: metadata and tensors, the bytes of the tensors in place.
struct GgufFile {
  std::string name;  ///< of the file, for errors
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<Tensor> tensors;             ///< in file order; shapes turned to {out, in}
  std::shared_ptr<const MappedFile> file;  ///< keeps the metadata alive, which points into it

  const GgufValue* find(std::string_view key) const;
};

/// Reads a GGUF file (version 2 or 3, little endian) that is in memory. `file` keeps the bytes alive, if anything has
/// to. Errors: gguf.*, with the byte offset.
Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, std::string_view name,
                            std::shared_ptr<const MappedFile> file = nullptr);
/// Of a file, or of an embedded model (embedded.h).
Result<GgufFile> read_gguf(const std::filesystem::path& name_or_path);

/// The model of a GGUF file of one of gguf_architectures(). Errors: gguf.missing-key, gguf.key-type, gguf.dimensions,
/// gguf.unsupported-architecture, gguf.unsupported-key, model.*.
Result<Model> model_from_gguf(const GgufFile& file);
/// Values of general.architecture that are supported.
std::vector<ArchitectureInfo> gguf_architectures();

}  // namespace danaus::model
