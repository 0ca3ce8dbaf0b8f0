// A text with characters outside ASCII is parsed twice: first with "@" and a number in their place, which TOML allows
// in comments and in quotes only. Where that succeeds, none of them stands where toml++ would ask what kind of space or
// letter it is, a question with undefined behaviour for some; strings in three quotes, where a backslash skips spaces,
// are the one exception.

#include "danaus/core/toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>

namespace danaus {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Different characters stay different, as keys have to be.
std::string with_stand_ins(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (const char c : text) {
    const unsigned byte = static_cast<unsigned char>(c);
    if (byte < 0x80)
      plain += c;
    else
      plain += fmt::format("@{:x}", byte);
  }
  return plain;
}

/// Line `number`, from 1.
std::string_view line_of(std::string_view text, std::uint32_t number) {
  for (std::uint32_t line = 1; line < number && !text.empty(); ++line)
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  return text.substr(0, text.find('\n'));
}

Result<toml::table> parse(std::string_view text, const Error& syntax) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    Error found = syntax;
    found.message = error.description();
    found.where = location_of(error.source(), syntax.where.file);
    return fail(std::move(found));
  }
}

}  // namespace

Location location_of(const toml::source_region& source, std::string_view file) {
  return {.file = std::string(file), .line = source.begin.line, .column = source.begin.column, .offset = {}};
}

Result<toml::table> parse_toml(std::string_view text, std::string_view what, Error syntax, const TomlLimits& limits) {
  const auto too_long = [&](std::string message) {
    syntax.message = std::move(message);
    syntax.hint.clear();
    return fail(std::move(syntax));
  };
  if (text.size() > limits.text)
    return too_long(fmt::format("{} bytes are too long for {} (at most {})", text.size(), what, limits.text));
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    if (end - start > limits.line) return too_long(fmt::format("a line of more than {} bytes", limits.line));
    start = end + 1;
  }
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (is_ascii(text)) return parse(text, syntax);

  if (const std::size_t quotes = text.find("\"\"\""); quotes != std::string_view::npos) {
    syntax.message = "strings in three quotes and characters outside ASCII exclude each other";
    syntax.where.line = static_cast<std::uint32_t>(1 + std::count(text.begin(), text.begin() + quotes, '\n'));
    syntax.hint = "write the string on one line, in one quote on each side";
    return fail(std::move(syntax));
  }
  Result<toml::table> plain = parse(with_stand_ins(text), syntax);
  if (plain) return parse(text, syntax);
  Error& error = plain.error();
  if (!is_ascii(line_of(text, error.where.line))) {
    error.message = "this line is not TOML, and has characters outside ASCII";
    error.where.column = 0;  // that of the stand-ins
    error.hint = "they may stand in quotes and in comments only";
  }
  return plain;
}

}  // namespace danaus
