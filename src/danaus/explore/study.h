#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/chip/keys.h"
#include "danaus/core/error.h"
#include "danaus/explore/metric.h"

/// A study file: what is fixed, what varies, what is wanted.
namespace danaus::explore {

using Value = chip::Value;

enum class Sampling : std::uint8_t { grid, random, latin_hypercube };

struct Objective {
  std::size_t metric = 0;  ///< position in metrics()
  Direction direction = Direction::least;
  bool operator==(const Objective&) const = default;
};

enum class Comparison : std::uint8_t { below, at_most, above, at_least };

struct Constraint {
  std::size_t metric = 0;
  Comparison comparison = Comparison::at_most;
  double bound = 0;
  bool operator==(const Constraint&) const = default;
  bool holds(double value) const;
};

/// A run option or a key of the chip file with its value.
struct Setting {
  std::string key;
  Value value;
  Location where;
};

/// What varies: a list of different values, or (random and Latin hypercube only) all numbers between two,
/// rounded where the key takes whole ones.
struct Axis {
  std::string key;
  std::vector<Value> values;  ///< empty: all numbers in [from, to]
  double from = 0, to = 0;
  bool logarithmic = false;  ///< equal ratios are equally likely
  Location where;
  bool is_continuous() const { return values.empty(); }
};

/// What accuracy points evaluate beside their cost.
struct Accuracy {
  bool ids = false;          ///< `file` is a JSON list of token ids, otherwise a text
  std::string file;          ///< what is evaluated
  std::uint32_t tokens = 0;  ///< at most so many tokens of it; 0 = all
  std::uint32_t window = 0;  ///< 0 = the context
  bool analog = true;        ///< on the analog machine, with the chip of the point; otherwise in float
  std::string calibration;   ///< text that sets the converters' ranges; empty = none
  std::uint32_t calibration_tokens = 1024;
  Location where;
  bool operator==(const Accuracy&) const = default;
};

struct Study {
  std::string file;  ///< where it was read from, for errors
  std::string text;  ///< the file itself
  std::string name;
  std::vector<Setting> fixed;  ///< in the order of the file
  std::vector<Axis> axes;      ///< in the order of the file; the first one varies slowest
  std::vector<Objective> objectives;
  std::vector<Constraint> constraints;
  std::optional<std::uint64_t> budget;  ///< points at most
  Location budget_at;
  Sampling sampling = Sampling::grid;
  std::uint64_t seed = 1;
  std::optional<Accuracy> accuracy;
};

/// Checks everything that does not need another file. `seed`: of the command line, where the study names none.
/// Errors, with line and column: explore.syntax, explore.unknown-key, explore.missing-key, explore.type, explore.value,
/// explore.conflict, explore.empty-range, explore.duplicate, explore.unit, explore.unknown-metric,
/// explore.contradiction, explore.budget, place.unknown-map.
Result<Study> parse_study(std::string_view text, const std::string& file_name, std::uint64_t seed = 1);
/// The same of a file; file.*.
Result<Study> load_study(const std::string& path, std::uint64_t seed = 1);

/// Everything that decides about the study's points, their figures and their order: two studies of the same text have
/// the same points, but for the budget.
std::string canonical_text(const Study& study);

/// "min latency_ns", "area_mm2 <= 50".
std::string to_string(const Objective& objective);
std::string to_string(const Constraint& constraint);
/// A value as it stands in canonical parameters and exports: 8 and 8.0 alike, words without quotes.
std::string to_string(const Value& value);

/// Empty for figures that keep every constraint and have every metric of an objective; otherwise what they lack:
/// "latency_ns <= 5 is not kept; there is no area_mm2".
std::string why_infeasible(const Study& study, const MetricValues& values);

}  // namespace danaus::explore
