#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "danaus/explore/study.h"

namespace danaus::explore {

/// A folder that goes away with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "danaus-explore-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// A study of `sweep` with further lines in [study].
inline Result<Study> study_of(const std::string& sweep, const std::string& more = "") {
  return parse_study("[study]\nmodel = \"bert-base\"\n" + more + "\n[sweep]\n" + sweep + "\n", "s.toml");
}

inline Study good_study(const std::string& sweep, const std::string& more = "") {
  Result<Study> study = study_of(sweep, more);
  if (!study) FAIL(to_string(study.error()));
  return std::move(*study);
}

}  // namespace danaus::explore
