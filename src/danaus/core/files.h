#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "danaus/core/error.h"

namespace danaus {

/// A whole file, mapped read-only. Errors: file.missing, file.unreadable, file.not-regular.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& name() const { return name_; }
  /// Tells the system that these bytes are not needed any more (keeps resident memory small when streaming).
  void release(std::span<const std::byte> part) const;

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string name_;
};

/// Reads a text file of at most `limit` bytes (file.too-large beyond).
Result<std::string> read_text(const std::filesystem::path& path, std::size_t limit = 64u << 20);

/// Writes to a temporary beside `path`, then renames: readers see the old file or the whole new one.
/// Follows symbolic links. Errors: file.not-writable, file.not-regular. "-" is not special here.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();  ///< removes the temporary unless commit() succeeded

  Result<void> write(std::span<const std::byte> bytes);
  Result<void> write(std::string_view text);
  Result<void> commit();

 private:
  AtomicFile() = default;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

Result<void> write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace danaus
