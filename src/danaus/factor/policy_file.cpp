// The per-layer policy file: TOML with one [[layer]] table per rule; the first rule that matches a name decides.

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"
#include "danaus/factor/choose.h"
#include "danaus/factor/rule_file.h"

namespace danaus::factor {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;
constexpr std::int64_t kLargestGroup = std::int64_t{1} << 24;

Result<LayerRule> read_rule(const RuleFile& format, const toml::table& table, const Policy& base) {
  DANAUS_CHECK(format.check_keys(table, {"match", "structure", "blocks", "compression", "group"}));
  LayerRule rule{{}, table.source().begin.line, base};
  rule.policy.file.clear();
  DANAUS_TRY(pattern, format.pattern_of(table, "layers"));
  rule.pattern = pattern;

  DANAUS_TRY(structure, format.text_of(table, "structure"));
  if (!structure.empty()) {
    rule.policy.blocks.clear();
    rule.policy.pad_square = false;
    if (structure == "monarch") {
      rule.policy.kind = Policy::Kind::monarch;
    } else if (structure == "lowrank") {
      rule.policy.kind = Policy::Kind::lowrank;
    } else if (structure == "dense") {
      rule.policy.kind = Policy::Kind::dense;
    } else if (structure == "gather") {
      rule.policy.kind = Policy::Kind::gather;
    } else {
      const std::string_view near = nearest(structure, {"monarch", "lowrank", "gather", "dense"});
      return fail(format.wrong_value(
          *table.get("structure"), fmt::format("there is no structure '{}'", structure),
          near.empty() ? "choose monarch, lowrank, gather or dense" : fmt::format("did you mean '{}'?", near)));
    }
  }
  DANAUS_TRY(blocks, format.text_of(table, "blocks"));
  if (!blocks.empty()) {
    rule.policy.blocks = blocks;
    rule.policy.pad_square = false;
  }
  if (const toml::node* const node = table.get("compression"); node != nullptr) {
    const std::optional<double> ratio = node->is_number() ? node->value<double>() : std::nullopt;
    if (!ratio)
      return fail(format.wrong_value(*node, "'compression' is a number", "write for example compression = 8"));
    if (!blocks.empty())
      return fail(format.wrong_value(*node, "blocks and compression exclude each other", "leave out one of them"));
    rule.policy.compression = *ratio;
    rule.policy.blocks.clear();
    rule.policy.pad_square = false;
  }
  if (const toml::node* const node = table.get("group"); node != nullptr) {
    const std::int64_t group = node->value_exact<std::int64_t>().value_or(0);
    if (group < 1 || group > kLargestGroup)
      return fail(format.wrong_value(*node, fmt::format("'group' is a whole number from 1 to {}", kLargestGroup),
                                     "write for example group = 32"));
    if (rule.policy.kind != Policy::Kind::gather)
      return fail(format.wrong_value(*node, "only gathered blocks have a group", "add structure = \"gather\""));
    rule.policy.group = static_cast<std::uint32_t>(group);
  }
  return rule;
}

std::string_view name_of(Policy::Kind kind) {
  switch (kind) {
    case Policy::Kind::monarch:
      return "monarch";
    case Policy::Kind::lowrank:
      return "lowrank";
    case Policy::Kind::gather:
      return "gather";
    case Policy::Kind::dense:
      break;
  }
  return "dense";
}

}  // namespace

Result<std::vector<LayerRule>> parse_policy(std::string_view text, const std::string& file, const Policy& base) {
  DANAUS_TRY(root, parse_toml(text, "a policy file",
                              Error("factor.policy-syntax", Failure::bad_input, "")
                                  .in_file(file)
                                  .with_hint("a policy file is TOML with [[layer]] tables")));
  const RuleFile format("layer", Error("factor.policy-value", Failure::bad_input, "").in_file(file),
                        Error("factor.policy-key", Failure::bad_input, "").in_file(file));
  DANAUS_TRY(tables, format.tables(root));
  std::vector<LayerRule> rules;
  for (const toml::table* table : tables) {
    DANAUS_TRY(rule, read_rule(format, *table, base));
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<std::vector<LayerRule>> read_policy(const std::string& path, const Policy& base) {
  DANAUS_TRY(text, read_text(path, kLargestFile));
  return parse_policy(text, path, base);
}

std::string policy_text(const std::vector<LayerRule>& rules) {
  std::string text;
  for (const LayerRule& rule : rules) {
    std::ostringstream match;
    match << toml::value(rule.pattern);
    const Policy& policy = rule.policy;
    text += fmt::format("{}[[layer]]\nmatch = {}\nstructure = \"{}\"\n", text.empty() ? "" : "\n",
                        std::move(match).str(), name_of(policy.kind));
    if (policy.kind == Policy::Kind::dense) continue;
    text += policy.blocks.empty() ? fmt::format("compression = {}\n", policy.compression)
                                  : fmt::format("blocks = \"{}\"\n", policy.blocks);
    if (policy.kind == Policy::Kind::gather) text += fmt::format("group = {}\n", policy.group);
  }
  return text;
}

bool matches(std::string_view pattern, std::string_view name) {
  // Greedy with one point of return: the last star takes one more character when the rest does not fit.
  std::size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace danaus::factor
