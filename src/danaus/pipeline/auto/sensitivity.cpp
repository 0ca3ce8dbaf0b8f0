// The sensitivity file: TOML with one [[operator]] table per rule; the first rule that matches an operator says what
// each structure costs it.

#include "danaus/pipeline/auto/sensitivity.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <cmath>
#include <optional>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"

namespace danaus::pipeline {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;

Error wrong_value(const toml::node& node, const std::string& file, std::string message, std::string hint) {
  return Error("auto.sensitivity-value", Failure::bad_input, std::move(message))
      .at(location_of(node.source(), file))
      .with_hint(std::move(hint));
}

Error unknown_key(const toml::key& key, const std::string& file, std::string hint) {
  return Error("auto.sensitivity-key", Failure::bad_input, fmt::format("there is no key '{}' here", key.str()))
      .at(location_of(key.source(), file))
      .with_hint(std::move(hint));
}

Result<SensitivityRule> read_rule(const toml::table& table, const std::string& file) {
  for (const auto& [key, node] : table) {
    if (key.str() != "match" && key.str() != "costs")
      return fail(unknown_key(key, file, "an [[operator]] has match and costs"));
  }
  SensitivityRule rule{.pattern = {}, .line = table.source().begin.line, .costs = {}};
  const std::optional<std::string> pattern = table["match"].value_exact<std::string>();
  if (!pattern || pattern->empty())
    return fail(wrong_value(table, file, "this rule does not say which operators it is for",
                            "add match = \"name or pattern with * and ?\""));
  rule.pattern = *pattern;
  const toml::table* const costs = table["costs"].as_table();
  if (costs == nullptr)
    return fail(wrong_value(table, file, "this rule does not say what structures cost",
                            "add costs = { \"monarch:8\" = 0.02, \"dense\" = 0 }"));
  for (const auto& [key, node] : *costs) {
    const std::optional<double> cost = node.is_number() ? node.value<double>() : std::nullopt;
    if (!cost || !std::isfinite(*cost) || *cost < 0)
      return fail(wrong_value(node, file, fmt::format("the cost of '{}' is a number of at least 0", key.str()),
                              "write for example \"monarch:8\" = 0.02"));
    rule.costs.emplace_back(key.str(), *cost);
  }
  return rule;
}

}  // namespace

Result<std::vector<SensitivityRule>> parse_sensitivity(std::string_view text, const std::string& file) {
  const TomlLimits limits;
  Result<toml::table> parsed = parse_toml(text, "a sensitivity file",
                                          Error("auto.sensitivity-syntax", Failure::bad_input, "")
                                              .in_file(file)
                                              .with_hint("a sensitivity file is TOML with [[operator]] tables"),
                                          limits);
  if (!parsed && text.size() > limits.text) parsed.error().hint = "use patterns: match = \"blk.*.ffn_up\"";
  DANAUS_TRY(table, std::move(parsed));
  for (const auto& [key, node] : table) {
    if (key.str() != "operator") return fail(unknown_key(key, file, "the file has [[operator]] tables only"));
  }
  std::vector<SensitivityRule> rules;
  const toml::node* const operators = table.get("operator");
  if (operators == nullptr) return rules;
  if (operators->as_array() == nullptr)
    return fail(
        wrong_value(*operators, file, "'operator' is a list of tables", "write [[operator]] with two brackets"));
  for (const toml::node& node : *operators->as_array()) {
    if (node.as_table() == nullptr)
      return fail(wrong_value(node, file, "'operator' is a list of tables", "write [[operator]] with two brackets"));
    DANAUS_TRY(rule, read_rule(*node.as_table(), file));
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<std::vector<SensitivityRule>> read_sensitivity(const std::string& path) {
  DANAUS_TRY(text, read_text(path, kLargestFile));
  return parse_sensitivity(text, path);
}

}  // namespace danaus::pipeline
