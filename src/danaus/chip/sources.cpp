// Reads the comments of a chip file, which the TOML parser drops. A line `key = value  # text` is classed by its text:
// "assumed" or "fitted" anywhere in it, else the first source of the header's list that it names, else the one named *.
// A line without a comment shares that of the line above.

#include "danaus/chip/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "danaus/core/files.h"

namespace danaus::chip {
namespace {

constexpr int kMostBases = 8;  // as in chip.cpp

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

/// Where `word` stands alone in the text.
std::size_t find_word(std::string_view text, std::string_view word) {
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_word_character(text[at - 1])) && (end == text.size() || !is_word_character(text[end])))
      return at;
  }
  return std::string_view::npos;
}

bool has_word(std::string_view text, std::string_view word) { return find_word(text, word) != std::string_view::npos; }

/// The part of a line before its comment and the comment; a # within quotes is none.
std::pair<std::string_view, std::string_view> split_comment(std::string_view line) {
  char quote = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char c = line[at];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      return {trimmed(line.substr(0, at)), trimmed(line.substr(at + 1))};
    }
  }
  return {trimmed(line), {}};
}

using SourceList = std::map<std::string, SourceClass, std::less<>>;

/// A line of the header's list, "#   NAME   class: what it is"; the class is published if it is left out.
void add_to_list(std::string_view comment, SourceList& list) {
  const std::size_t name_end = std::min(comment.find(' '), comment.size());
  const std::string_view rest = trimmed(comment.substr(name_end));
  if (rest.empty()) return;
  SourceClass source = SourceClass::published;
  for (const SourceClass known : {SourceClass::measured, SourceClass::regressed, SourceClass::assumed}) {
    if (rest.starts_with(fmt::format("{}:", name_of(known)))) source = known;
  }
  list.emplace(comment.substr(0, name_end), source);
}

SourceClass class_of(std::string_view comment, const SourceList& list) {
  if (has_word(comment, "assumed")) return SourceClass::assumed;
  if (has_word(comment, "fitted")) return SourceClass::fitted;
  const auto all_others = list.find("*");
  SourceClass source = all_others == list.end() ? SourceClass::unstated : all_others->second;
  std::size_t first = std::string_view::npos;
  for (const auto& [name, known] : list) {
    if (name == "*") continue;
    const std::size_t at = find_word(comment, name);
    if (at < first) {
      first = at;
      source = known;
    }
  }
  return source;
}

bool does_count(std::string_view key, std::string_view value) {
  if (value.empty() || key.starts_with("noise.") || key.starts_with("measured.")) return false;
  return value == "\"regression\"" || (value[0] >= '0' && value[0] <= '9');
}

void put(std::vector<KeySource>& all, KeySource entry) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const KeySource& old) { return old.key == entry.key; });
  if (found == all.end())
    all.push_back(std::move(entry));
  else
    *found = std::move(entry);
}

std::vector<KeySource> read(std::string_view toml, int bases) {
  std::vector<KeySource> all;
  SourceList list;
  bool in_list = false;
  std::string section;
  KeySource above;
  for (std::size_t at = 0; at < toml.size();) {
    const std::size_t end = std::min(toml.find('\n', at), toml.size());
    const std::string_view line = toml.substr(at, end - at);
    at = end + 1;
    const auto [code, comment] = split_comment(line);
    if (code.empty()) {
      if (comment == "Sources")
        in_list = true;
      else if (in_list && line.starts_with("#   ") && line.size() > 4 && line[4] != ' ')
        add_to_list(comment, list);
      continue;
    }
    if (code.front() == '[') {
      section = std::string(code.substr(1, std::min(code.find(']'), code.size()) - 1)) + ".";
      above = KeySource{};
      continue;
    }
    const std::size_t equals = code.find('=');
    if (equals == std::string_view::npos) continue;
    KeySource entry;
    entry.key = section + std::string(trimmed(code.substr(0, equals)));
    entry.value = std::string(trimmed(code.substr(equals + 1)));
    if (entry.key == "base" && bases > 0 && entry.value.size() > 2) {
      const std::vector<KeySource> own = std::exchange(
          all, read(preset_text(std::string_view(entry.value).substr(1, entry.value.size() - 2)), bases - 1));
      for (const KeySource& key : own) put(all, key);
    }
    if (entry.key == "base" || entry.key == "name") continue;
    entry.comment = std::string(comment.empty() ? std::string_view(above.comment) : comment);
    entry.source = comment.empty() && !above.key.empty() ? above.source : class_of(comment, list);
    entry.counts = does_count(entry.key, entry.value);
    above = entry;
    put(all, std::move(entry));
  }
  return all;
}

}  // namespace

std::string_view name_of(SourceClass source) {
  switch (source) {
    case SourceClass::measured:
      return "measured";
    case SourceClass::published:
      return "published";
    case SourceClass::regressed:
      return "regressed";
    case SourceClass::fitted:
      return "fitted";
    case SourceClass::assumed:
      return "assumed";
    case SourceClass::set:
      return "set";
    case SourceClass::unstated:
      return "unstated";
  }
  return "";
}

std::vector<KeySource> sources_of(std::string_view toml) { return read(toml, kMostBases); }

Result<std::vector<KeySource>> sources(const std::string& name_or_path,
                                       const std::vector<std::pair<std::string, std::string>>& settings) {
  std::vector<KeySource> all;
  const std::string_view preset = preset_text(name_or_path);
  if (!preset.empty()) {
    all = sources_of(preset);
  } else {
    constexpr std::size_t kLargestFile = 1u << 20;
    DANAUS_TRY(text, read_text(name_or_path, kLargestFile));
    all = sources_of(text);
  }
  for (const auto& [key, value] : settings)
    put(all, KeySource{.key = key,
                       .value = value,
                       .source = SourceClass::set,
                       .comment = "--set",
                       .counts = does_count(key, value)});
  return all;
}

std::string summary(const std::vector<KeySource>& sources) {
  std::string text;
  for (const SourceClass source : kSourceClasses) {
    const auto count = std::count_if(sources.begin(), sources.end(),
                                     [&](const KeySource& key) { return key.counts && key.source == source; });
    if (count != 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name_of(source));
  }
  return text;
}

}  // namespace danaus::chip
