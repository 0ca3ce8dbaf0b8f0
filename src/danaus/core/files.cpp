#include "danaus/core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace danaus {
namespace {

tl::unexpected<Error> system_failure(std::string_view id, std::string_view doing, const std::filesystem::path& path) {
  const int number = errno;
  return fail(
      Error(id, Failure::io, fmt::format("cannot {}: {}", doing, std::strerror(number))).in_file(path.string()));
}

/// The file that a rename may replace: what symbolic links lead to, never a link, a device, a pipe or a folder.
Result<std::filesystem::path> writable_target(const std::filesystem::path& path) {
  std::filesystem::path target = path;
  std::error_code ignored;
  constexpr int kMostLinks = 40;  // as the system itself follows
  for (int links = 0; links < kMostLinks && std::filesystem::is_symlink(target, ignored); ++links)
    target = target.parent_path() / std::filesystem::read_symlink(target, ignored);
  const std::filesystem::file_status status = std::filesystem::symlink_status(target, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return fail(Error("file.not-regular", Failure::io, "a folder, a device or a pipe cannot be replaced by a file")
                    .in_file(path.string())
                    .with_hint("give the name of a file"));
  const std::filesystem::path folder = target.parent_path();
  if (!folder.empty() && std::filesystem::status(folder, ignored).type() == std::filesystem::file_type::not_found)
    return fail(Error("file.not-writable", Failure::io, fmt::format("the folder '{}' does not exist", folder.string()))
                    .in_file(path.string())
                    .with_hint("make the folder first, or write elsewhere"));
  return target;
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT)
      return fail(Error("file.missing", Failure::io, "there is no such file")
                      .in_file(path.string())
                      .with_hint("check the spelling; a relative path starts at the current folder"));
    return system_failure("file.unreadable", "open", path);
  }
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return system_failure("file.unreadable", "examine", path);
  if (!S_ISREG(status.st_mode))
    return fail(Error("file.not-regular", Failure::io, "this is not a regular file").in_file(path.string()));
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->name_ = path.string();
  file->size_ = static_cast<std::size_t>(status.st_size);
  if (file->size_ != 0) {
    void* data = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) {
      file->size_ = 0;
      return system_failure("file.unreadable", "map", path);
    }
    file->data_ = static_cast<const std::byte*>(data);
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  // Outwards to whole pages: what a neighbour still needs comes back from the system's cache.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = static_cast<std::size_t>(part.data() - data_) / page * page;
  const std::size_t last = static_cast<std::size_t>(part.data() - data_) + part.size();
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

Result<std::string> read_text(const std::filesystem::path& path, std::size_t limit) {
  DANAUS_TRY(file, MappedFile::open(path));
  if (file->bytes().size() > limit)
    return fail(
        Error("file.too-large", Failure::bad_input,
              fmt::format("{} bytes are more than a file of this kind can have ({})", file->bytes().size(), limit))
            .in_file(path.string()));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  AtomicFile file;
  DANAUS_TRY(target, writable_target(path));
  file.path_ = std::move(target);
  std::string pattern = file.path_.string() + ".XXXXXX";
  file.descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.descriptor_ < 0) return system_failure("file.not-writable", "write", path);
  file.temporary_ = pattern;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(file.descriptor_, 0666 & ~mask);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_failure("file.not-writable", "write", path_);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> AtomicFile::write(std::string_view text) {
  return write(std::as_bytes(std::span(text.data(), text.size())));
}

Result<void> AtomicFile::commit() {
  if (::close(std::exchange(descriptor_, -1)) != 0) return system_failure("file.not-writable", "write", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_failure("file.not-writable", "rename to", path_);
  temporary_.clear();
  return {};
}

Result<void> write_file(const std::filesystem::path& path, std::string_view text) {
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(text));
  return file.commit();
}

}  // namespace danaus
