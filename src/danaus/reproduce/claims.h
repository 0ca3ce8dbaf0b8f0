#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/reproduce/measure.h"

/// The published claims as data, and what becomes of each.
namespace danaus::reproduce {

/// What a claim leaves open, or where we try more than it says. The settings of a claim are the product of its axes.
struct Axis {
  std::string name;
  std::vector<std::string> words;
  std::string suffix = "";                            ///< after the words: " ADCs"
  std::size_t reference = 0;                          ///< of the figure that is shown first
  std::optional<std::size_t> claimed = std::nullopt;  ///< the word that the paper means, if it says so
  /// Words that put in another published figure or a guess made to explain one: what holds there agrees with the
  /// paper's other figures and is found by none of ours.
  std::vector<std::size_t> borrowed = {};
};

/// A figure of ours under one setting.
struct Value {
  std::vector<std::size_t> setting;  ///< a word per axis
  double ours = 0;
  bool holds = false;
  bool borrowed = false;  ///< a word of the setting is
};

enum class Relation : std::uint8_t { about, more_than };
enum class Unit : std::uint8_t { times, percent, points, bits };

struct Claim {
  std::string_view id;
  std::string_view text;
  std::string_view where;  ///< in the paper
  double published = 0;
  Relation relation = Relation::about;
  /// about: |ours / published - 1| <= tolerance or, for percentages, |ours - published| <= tolerance. more_than: none,
  /// and equal is not more.
  double tolerance = 0;
  Unit unit = Unit::times;
  Scope scope = Scope::shapes;
};

enum class Status : std::uint8_t {
  reproduced,        ///< under all settings of what the paper says
  reproduced_under,  ///< under some settings
  consistent,        ///< under borrowed ones alone
  differs            ///< under none
};

struct Outcome {
  Claim claim;
  std::vector<Axis> axes;
  std::vector<Value> values;  ///< settings that make no sense are missing
  std::size_t reference = 0;  ///< in `values`
  Status status = Status::differs;
  std::string under;        ///< reproduced_under, consistent: the settings, in words; "" otherwise
  std::string reason;       ///< consistent, differs: why, in a few words; "" if the figures bear out no cause
  std::string explanation;  ///< where the figures come from and, for those that differ, why

  double ours() const { return values[reference].ours; }
  std::size_t held() const;      ///< number of settings that the status rests on
  const Value& closest() const;  ///< to the published figure, as a ratio
  double least() const;
  double most() const;
};

/// Every claim, in the order of the page.
const std::vector<Claim>& claims();
/// The claims of these names, in the order of the page; all of them without names. Error reproduce.unknown-claim with a
/// spelling hint.
Result<std::vector<Claim>> find_claims(std::span<const std::string> ids);
/// The largest scope that these claims need.
Scope scope_of(std::span<const Claim> selected);

/// Compares. Results must have the claim's scope.
Outcome judge(const Claim& claim, const Results& results);

/// "reproduced", "reproduced under", "consistent with", "differs"
std::string_view name_of(Status status);
/// The words of a setting: "ramp, paper bits, 32 ADCs".
std::string describe(const std::vector<Axis>& axes, const std::vector<std::size_t>& setting);
/// A set of settings in as few words as a product of axes allows: "SAR, 4 or 8 ADCs; ramp, 32 ADCs".
std::string describe(const std::vector<Axis>& axes, const std::vector<std::vector<std::size_t>>& settings);

}  // namespace danaus::reproduce
