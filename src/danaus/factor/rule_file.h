#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/toml.h"

namespace toml {
inline namespace v3 {
class node;
}  // namespace v3
}  // namespace toml

namespace danaus::factor {

/// What the TOML files have in common that are a list of rules, one [[section]] table each, of which the first that
/// matches a name decides. Errors carry the ids that they are given here.
class RuleFile {
 public:
  /// `wrong_value` and `unknown_key` are the errors to make: their ids and their file are kept.
  RuleFile(std::string_view section, Error wrong_value, Error unknown_key)
      : section_(section), wrong_value_(std::move(wrong_value)), unknown_key_(std::move(unknown_key)) {}

  /// The tables of the rules, in the order of the file; none where it has no such section. They live in `root`, of
  /// which an error of another key or of a section that is no list of tables is found.
  Result<std::vector<const toml::table*>> tables(const toml::table& root) const;

  /// An error where `table` has a key that is not one of `known`; without a `hint` it names the nearest one or all.
  Result<void> check_keys(const toml::table& table, const std::vector<std::string_view>& known,
                          const std::string& hint = {}) const;

  /// The text of `key`, empty where there is none; an error where it is no text, or the empty one.
  Result<std::string> text_of(const toml::table& table, std::string_view key) const;

  /// The text of `match`, which every rule has; `what` names the things that it is for ("layers").
  Result<std::string> pattern_of(const toml::table& table, std::string_view what) const;

  Error wrong_value(const toml::node& node, std::string message, std::string hint) const;

 private:
  std::string section_;
  Error wrong_value_, unknown_key_;
};

}  // namespace danaus::factor
