// The sensitivity file: TOML with one [[operator]] table per rule; the first rule that matches an operator says what
// each structure costs it.

#include "danaus/pipeline/auto/sensitivity.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <sstream>
#include <utility>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"
#include "danaus/factor/rule_file.h"

namespace danaus::pipeline {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;
// An operator has its line, which names every candidate.
constexpr TomlLimits kLimits = {.text = kLargestFile, .line = std::size_t{1} << 15};

Result<SensitivityRule> read_rule(const factor::RuleFile& format, const toml::table& table) {
  DANAUS_CHECK(format.check_keys(table, {"match", "costs"}, "an [[operator]] has match and costs"));
  SensitivityRule rule{.pattern = {}, .line = table.source().begin.line, .costs = {}};
  DANAUS_TRY(pattern, format.pattern_of(table, "operators"));
  rule.pattern = pattern;
  const toml::table* const costs = table["costs"].as_table();
  if (costs == nullptr)
    return fail(format.wrong_value(table, "this rule does not say what structures cost",
                                   "add costs = { \"monarch:8\" = 0.02, \"dense\" = 0 }"));
  for (const auto& [key, node] : *costs) {
    const std::optional<double> cost = node.is_number() ? node.value<double>() : std::nullopt;
    if (!cost || !std::isfinite(*cost) || *cost < 0)
      return fail(format.wrong_value(node, fmt::format("the cost of '{}' is a number of at least 0", key.str()),
                                     "write for example \"monarch:8\" = 0.02"));
    rule.costs.emplace_back(key.str(), *cost);
  }
  return rule;
}

}  // namespace

Result<std::vector<SensitivityRule>> parse_sensitivity(std::string_view text, const std::string& file) {
  Result<toml::table> parsed = parse_toml(text, "a sensitivity file",
                                          Error("auto.sensitivity-syntax", Failure::bad_input, "")
                                              .in_file(file)
                                              .with_hint("a sensitivity file is TOML with [[operator]] tables"),
                                          kLimits);
  // A text that is too long comes back without a hint.
  if (!parsed && parsed.error().hint.empty()) parsed.error().hint = "use patterns: match = \"blk.*.ffn_up\"";
  DANAUS_TRY(root, std::move(parsed));
  const factor::RuleFile format("operator", Error("auto.sensitivity-value", Failure::bad_input, "").in_file(file),
                                Error("auto.sensitivity-key", Failure::bad_input, "").in_file(file));
  DANAUS_TRY(tables, format.tables(root));
  std::vector<SensitivityRule> rules;
  for (const toml::table* table : tables) {
    DANAUS_TRY(rule, read_rule(format, *table));
    rules.push_back(std::move(rule));
  }
  return rules;
}

namespace {

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::value(text);
  return std::move(stream).str();
}

}  // namespace

std::string sensitivity_text(const std::vector<SensitivityRule>& rules, std::string_view comment) {
  std::string text = fmt::format("# {}\n", comment);
  // Names of models are any bytes.
  std::replace_if(
      text.begin(), text.end() - 1, [](char byte) { return byte < ' ' || byte > '~'; }, '?');
  for (const SensitivityRule& rule : rules) {
    text += fmt::format("\n[[operator]]\nmatch = {}\ncosts = {{", quoted(rule.pattern));
    std::string_view separator = " ";
    for (const auto& [name, cost] : rule.costs) {
      text += fmt::format("{}{} = {:.4g}", separator, quoted(name), cost);
      separator = ", ";
    }
    text += " }\n";
  }
  return text;
}

Result<std::vector<SensitivityRule>> read_sensitivity(const std::string& path) {
  DANAUS_TRY(text, read_text(path, kLargestFile));
  return parse_sensitivity(text, path);
}

}  // namespace danaus::pipeline
