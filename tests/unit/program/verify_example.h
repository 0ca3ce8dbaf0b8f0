#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "danaus/core/files.h"
#include "danaus/program/program.h"

/// The example program and ways to change it.
namespace danaus::program {

inline std::string example_text() {
  const Result<std::string> text = read_text(std::string(DANAUS_SOURCE_DIR) + "/tests/data/example-dense.txt");
  REQUIRE(text.has_value());
  return *text;
}

/// `text` with the one line `from` replaced by `to` (several lines, or none if empty).
inline std::string with_line(const std::string& text, std::string_view from, std::string_view to) {
  const std::string whole = "\n" + std::string(from) + "\n";
  const std::size_t at = text.find(whole);
  REQUIRE_MESSAGE(at != std::string::npos, "no such line: ", std::string(from));
  REQUIRE(text.find(whole, at + 1) == std::string::npos);
  return text.substr(0, at + 1) + std::string(to) + (to.empty() ? "" : "\n") + text.substr(at + whole.size());
}

inline Program parse(std::string_view text) {
  Result<Program> program = parse_text(text, "example");
  if (!program) FAIL(to_string(program.error()));
  return std::move(*program);
}

}  // namespace danaus::program
