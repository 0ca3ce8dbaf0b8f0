// Every error is one of the two that the file was given, with its message, place and hint filled in.

#include "danaus/factor/rule_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>

namespace danaus::factor {

Result<std::vector<const toml::table*>> RuleFile::tables(const toml::table& root) const {
  DANAUS_CHECK(check_keys(root, {section_}));
  std::vector<const toml::table*> tables;
  const toml::node* const section = root.get(section_);
  if (section == nullptr) return tables;
  const auto no_list = [this](const toml::node& node) {
    return fail(wrong_value(node, fmt::format("'{}' is a list of tables", section_),
                            fmt::format("write [[{}]] with two brackets", section_)));
  };
  if (section->as_array() == nullptr) return no_list(*section);
  for (const toml::node& node : *section->as_array()) {
    if (node.as_table() == nullptr) return no_list(node);
    tables.push_back(node.as_table());
  }
  return tables;
}

Result<void> RuleFile::check_keys(const toml::table& table, const std::vector<std::string_view>& known,
                                  const std::string& hint) const {
  for (const auto& [key, node] : table) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    const std::string_view near = nearest(key.str(), known);
    Error error = unknown_key_;
    error.message = fmt::format("there is no key '{}' here", key.str());
    error.where = location_of(key.source(), error.where.file);
    error.hint = !hint.empty()  ? hint
                 : near.empty() ? fmt::format("known keys: {}", fmt::join(known, ", "))
                                : fmt::format("did you mean '{}'?", near);
    return fail(std::move(error));
  }
  return {};
}

Result<std::string> RuleFile::text_of(const toml::table& table, std::string_view key) const {
  const toml::node* const node = table.get(key);
  if (node == nullptr) return std::string();
  const std::optional<std::string> text = node->value_exact<std::string>();
  if (!text || text->empty())
    return fail(
        wrong_value(*node, fmt::format("'{}' is a text in quotes", key), fmt::format("write {} = \"...\"", key)));
  return *text;
}

Result<std::string> RuleFile::pattern_of(const toml::table& table, std::string_view what) const {
  DANAUS_TRY(pattern, text_of(table, "match"));
  if (pattern.empty())
    return fail(wrong_value(table, fmt::format("this rule does not say which {} it is for", what),
                            "add match = \"name or pattern with * and ?\""));
  return std::move(pattern);
}

Error RuleFile::wrong_value(const toml::node& node, std::string message, std::string hint) const {
  Error error = wrong_value_;
  error.message = std::move(message);
  error.where = location_of(node.source(), error.where.file);
  error.hint = std::move(hint);
  return error;
}

}  // namespace danaus::factor
