#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/chip/chip.h"

/// The one table of chip file keys. Parsing, writing, --set, spelling hints, help and range checks all read it.
namespace danaus::chip {

/// A whole number, `least` to `most`.
struct Count {
  std::uint32_t& (*at)(Chip&);
  std::uint32_t least, most;
};
struct LargeCount {
  std::uint64_t& (*at)(Chip&);
  std::uint64_t least, most;
};
/// A finite number, `least` to `most`, or `word`, which is kept as -1.
struct Number {
  double& (*at)(Chip&);
  double least, most;
  std::string_view word = {};
};
struct Flag {
  bool& (*at)(Chip&);
};
/// One of some words; the position of the word is the value.
struct Choice {
  std::vector<std::string_view> words;
  std::uint32_t (*get)(const Chip&);
  void (*set)(Chip&, std::uint32_t);
};
/// Stands for other keys; is not written.
struct Shorthand {
  void (*set)(Chip&, double);
  double most;
};

struct Key {
  std::string_view name;  ///< section.key
  std::string_view help;
  std::variant<Count, LargeCount, Number, Flag, Choice, Shorthand> kind;
};

/// In the order of sections and keys that to_toml writes.
const std::vector<Key>& key_table();

/// What other keys must say for a key to act: while it does not hold, no figure of a chip depends on the key.
struct Condition {
  std::string_view key;
  std::string_view needs;  ///< "adc.rule = \"fixed\""
  bool (*holds)(const Chip&);
};
/// Null for keys that act on every chip, or on those that no simple rule tells from others.
const Condition* condition_of(std::string_view key);

/// A value as a TOML file or a --set argument gives it.
using Value = std::variant<std::int64_t, double, bool, std::string>;

enum class Problem : std::uint8_t { none, type, range };
struct Assignment {
  Problem problem = Problem::none;
  std::string text;  ///< what is wrong: "must be a whole number from 1 to 1024, not 0"
};
/// Sets the key, or says what is wrong with the value and leaves the chip as it is.
Assignment assign(Chip& chip, const Key& key, const Value& value);
/// The chip with other values of some keys; the rules between keys hold again. Errors: chip.unknown-key, chip.type,
/// chip.range, without a location.
Result<Chip> with_values(const Chip& base, const std::vector<std::pair<std::string, Value>>& values);
/// The value in TOML.
std::string written(const Chip& chip, const Key& key);
/// "whole number from 1 to 1024", "one of sar, ramp, flash, fixed".
std::string expectation(const Key& key);

}  // namespace danaus::chip
