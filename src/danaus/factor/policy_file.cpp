// The per-layer policy file: TOML with one [[layer]] table per rule; the first rule that matches a name decides.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"
#include "danaus/factor/choose.h"

namespace danaus::factor {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;
constexpr std::int64_t kLargestGroup = std::int64_t{1} << 24;

Error wrong_value(const toml::node& node, const std::string& file, std::string message, std::string hint) {
  return Error("factor.policy-value", Failure::bad_input, std::move(message))
      .at(location_of(node.source(), file))
      .with_hint(std::move(hint));
}

Error unknown_key(std::string_view key, const toml::source_region& source, const std::string& file,
                  const std::vector<std::string_view>& known) {
  const std::string_view near = nearest(key, known);
  return Error("factor.policy-key", Failure::bad_input, fmt::format("there is no key '{}' here", key))
      .at(location_of(source, file))
      .with_hint(near.empty() ? fmt::format("known keys: {}", fmt::join(known, ", "))
                              : fmt::format("did you mean '{}'?", near));
}

Result<std::string> text_of(const toml::table& table, std::string_view key, const std::string& file) {
  const toml::node* const node = table.get(key);
  if (node == nullptr) return std::string();
  const std::optional<std::string> text = node->value_exact<std::string>();
  if (!text || text->empty())
    return fail(
        wrong_value(*node, file, fmt::format("'{}' is a text in quotes", key), fmt::format("write {} = \"...\"", key)));
  return *text;
}

Result<LayerRule> read_rule(const toml::table& table, const std::string& file, const Policy& base) {
  const std::vector<std::string_view> known = {"match", "structure", "blocks", "compression", "group"};
  for (const auto& [key, node] : table)
    if (std::find(known.begin(), known.end(), key.str()) == known.end())
      return fail(unknown_key(key.str(), key.source(), file, known));

  LayerRule rule{{}, table.source().begin.line, base};
  rule.policy.file.clear();
  DANAUS_TRY(pattern, text_of(table, "match", file));
  if (pattern.empty())
    return fail(wrong_value(table, file, "this rule does not say which layers it is for",
                            "add match = \"name or pattern with * and ?\""));
  rule.pattern = pattern;

  DANAUS_TRY(structure, text_of(table, "structure", file));
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
      return fail(wrong_value(
          *table.get("structure"), file, fmt::format("there is no structure '{}'", structure),
          near.empty() ? "choose monarch, lowrank, gather or dense" : fmt::format("did you mean '{}'?", near)));
    }
  }
  DANAUS_TRY(blocks, text_of(table, "blocks", file));
  if (!blocks.empty()) {
    rule.policy.blocks = blocks;
    rule.policy.pad_square = false;
  }
  if (const toml::node* const node = table.get("compression"); node != nullptr) {
    const std::optional<double> ratio = node->is_number() ? node->value<double>() : std::nullopt;
    if (!ratio) return fail(wrong_value(*node, file, "'compression' is a number", "write for example compression = 8"));
    if (!blocks.empty())
      return fail(wrong_value(*node, file, "blocks and compression exclude each other", "leave out one of them"));
    rule.policy.compression = *ratio;
    rule.policy.blocks.clear();
    rule.policy.pad_square = false;
  }
  if (const toml::node* const node = table.get("group"); node != nullptr) {
    const std::int64_t group = node->value_exact<std::int64_t>().value_or(0);
    if (group < 1 || group > kLargestGroup)
      return fail(wrong_value(*node, file, fmt::format("'group' is a whole number from 1 to {}", kLargestGroup),
                              "write for example group = 32"));
    if (rule.policy.kind != Policy::Kind::gather)
      return fail(wrong_value(*node, file, "only gathered blocks have a group", "add structure = \"gather\""));
    rule.policy.group = static_cast<std::uint32_t>(group);
  }
  return rule;
}

}  // namespace

Result<std::vector<LayerRule>> parse_policy(std::string_view text, const std::string& file, const Policy& base) {
  DANAUS_TRY(table, parse_toml(text, "a policy file",
                               Error("factor.policy-syntax", Failure::bad_input, "")
                                   .in_file(file)
                                   .with_hint("a policy file is TOML with [[layer]] tables")));
  for (const auto& [key, node] : table)
    if (key.str() != "layer") return fail(unknown_key(key.str(), key.source(), file, {"layer"}));
  std::vector<LayerRule> rules;
  const toml::node* const layers = table.get("layer");
  if (layers == nullptr) return rules;
  if (layers->as_array() == nullptr)
    return fail(wrong_value(*layers, file, "'layer' is a list of tables", "write [[layer]] with two brackets"));
  for (const toml::node& node : *layers->as_array()) {
    if (node.as_table() == nullptr)
      return fail(wrong_value(node, file, "'layer' is a list of tables", "write [[layer]] with two brackets"));
    DANAUS_TRY(rule, read_rule(*node.as_table(), file, base));
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<std::vector<LayerRule>> read_policy(const std::string& path, const Policy& base) {
  DANAUS_TRY(text, read_text(path, kLargestFile));
  return parse_policy(text, path, base);
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
