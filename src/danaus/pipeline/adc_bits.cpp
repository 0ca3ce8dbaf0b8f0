// The table of converter bits: TOML with one [[stage]] table per rule; the first rule that fits a stage decides.

#include "danaus/pipeline/adc_bits.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>

#include "danaus/core/config_table.h"
#include "danaus/core/files.h"
#include "danaus/core/toml.h"
#include "danaus/factor/choose.h"
#include "danaus/factor/rule_file.h"

namespace danaus::pipeline {
namespace {

constexpr std::size_t kLongestText = std::size_t{1} << 20;
constexpr std::size_t kLongestLine = std::size_t{1} << 12;
constexpr std::int64_t kMostBits = 16;

/// Empty where there is no such key.
Result<std::string> name_of(const factor::RuleFile& format, const toml::table& table, std::string_view key) {
  DANAUS_TRY(text, format.text_of(table, key));
  const bool is_printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 127; });
  if (!is_printable || text.find_first_of("\"\\") != std::string::npos)
    return fail(format.wrong_value(*table.get(key), fmt::format("'{}' has a character that no name has", key),
                                   "names are of letters, digits and ._-/"));
  return std::move(text);
}

Result<AdcBits::Rule> read_rule(const factor::RuleFile& format, const toml::table& table) {
  DANAUS_CHECK(format.check_keys(table, {"match", "map", "stage", "bits", "snr_db"}));
  AdcBits::Rule rule;
  DANAUS_CHECK(format.pattern_of(table, "operators"));
  DANAUS_TRY(pattern, name_of(format, table, "match"));
  rule.pattern = pattern;
  DANAUS_TRY(map, name_of(format, table, "map"));
  rule.map = map;
  DANAUS_TRY(stage, name_of(format, table, "stage"));
  if (!stage.empty() && stage != "R" && stage != "L")
    return fail(format.wrong_value(*table.get("stage"), fmt::format("there is no stage '{}'", stage),
                                   "stage is \"R\" (the first or only one) or \"L\" (the second); without it both"));
  if (!stage.empty()) rule.stage = stage == "R" ? 0 : 1;
  const toml::node* const bits = table.get("bits");
  const std::int64_t number = bits == nullptr ? 0 : bits->value_exact<std::int64_t>().value_or(0);
  if (number < 1 || number > kMostBits)
    return fail(format.wrong_value(bits == nullptr ? static_cast<const toml::node&>(table) : *bits,
                                   fmt::format("'bits' is a whole number from 1 to {}", kMostBits),
                                   "write for example bits = 6"));
  rule.bits = static_cast<std::uint32_t>(number);
  if (const toml::node* const node = table.get("snr_db"); node != nullptr) {
    const std::optional<double> snr_db = node->is_number() ? node->value<double>() : std::nullopt;
    if (!snr_db || !std::isfinite(*snr_db))
      return fail(
          format.wrong_value(*node, "'snr_db' is a number", "write for example snr_db = 31.5, or leave it out"));
    rule.snr_db = *snr_db;
  }
  return rule;
}

std::string_view name_of_stage(std::uint32_t stage) { return stage == 0 ? "R" : "L"; }

}  // namespace

Result<AdcBits> parse_adc_bits(std::string_view text, const std::string& file) {
  DANAUS_TRY(root, parse_toml(text, "a table of bits",
                              Error("pipeline.adc-bits-syntax", Failure::bad_input, "")
                                  .in_file(file)
                                  .with_hint("a table of bits is TOML with [[stage]] tables"),
                              {.text = kLongestText, .line = kLongestLine}));
  const factor::RuleFile format("stage", Error("pipeline.adc-bits-value", Failure::bad_input, "").in_file(file),
                                Error("pipeline.adc-bits-key", Failure::bad_input, "").in_file(file));
  DANAUS_TRY(tables, format.tables(root));
  if (root.get("stage") == nullptr)
    return fail(
        format.wrong_value(root, "a table of bits is a list of [[stage]] tables", "write [[stage]] with two brackets"));
  AdcBits result;
  result.file = file;
  for (const toml::table* table : tables) {
    DANAUS_TRY(rule, read_rule(format, *table));
    result.rules.push_back(std::move(rule));
  }
  return result;
}

Result<AdcBits> read_adc_bits(const std::string& path) {
  DANAUS_TRY(text, read_text(path, kLongestText));
  return parse_adc_bits(text, path);
}

std::string to_toml(const AdcBits& table) {
  std::string text;
  for (const AdcBits::Rule& rule : table.rules) {
    text += fmt::format("{}[[stage]]\nmatch = \"{}\"\n", text.empty() ? "" : "\n", rule.pattern);
    if (!rule.map.empty()) text += fmt::format("map = \"{}\"\n", rule.map);
    if (rule.stage) text += fmt::format("stage = \"{}\"\n", name_of_stage(*rule.stage));
    text += fmt::format("bits = {}\n", rule.bits);
    if (rule.snr_db) text += fmt::format("snr_db = {:.2f}\n", *rule.snr_db);
  }
  return text;
}

Result<Graph> with_adc_bits(Graph graph, const std::optional<AdcBits>& table, std::string_view map,
                            const chip::Chip& chip) {
  const bool is_calibrated = chip.adc.rule == chip::AdcRule::calibrated;
  if (is_calibrated != table.has_value()) {
    return fail(is_calibrated
                    ? Error("pipeline.adc-bits-table", Failure::usage,
                            "adc.rule = \"calibrated\" takes the converters' bits from a table, and there is none")
                          .with_hint("give one with --adc-bits FILE; `danaus precision` writes it")
                    : Error("pipeline.adc-bits-table", Failure::usage,
                            fmt::format("the table of bits '{}' has no effect with adc.rule = \"{}\"", table->file,
                                        chip::value_text(chip, "adc.rule")))
                          .with_hint("set adc.rule = \"calibrated\", or leave out --adc-bits"));
  }
  if (!is_calibrated) return graph;
  for (Node& node : graph.nodes) {
    if (node.kind != NodeKind::linear) continue;
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
      const auto rule = std::find_if(table->rules.begin(), table->rules.end(), [&](const AdcBits::Rule& candidate) {
        return factor::matches(candidate.pattern, node.name) && (candidate.map.empty() || candidate.map == map) &&
               candidate.stage.value_or(stage) == stage;
      });
      if (rule == table->rules.end()) {
        return fail(
            Error("pipeline.adc-bits-rule", Failure::bad_input,
                  fmt::format("no rule is for {}'{}' with map '{}'",
                              node.structure.stages() == 1 ? "" : fmt::format("stage {} of ", name_of_stage(stage)),
                              node.name, map))
                .in_file(table->file)
                .with_hint("add a last rule with match = \"*\""));
      }
      Config config = graph.configs[index(node.configs[stage])];
      config.adc_bits = static_cast<std::uint8_t>(rule->bits);
      node.configs[stage] = entry_for(graph.configs, config);
    }
  }
  return graph;
}

}  // namespace danaus::pipeline
