#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/compile/compile.h"

/// What the user asks of --map auto and what it answers. docs/auto.md
namespace danaus::pipeline {

/// The name beside those of the strategies.
inline constexpr std::string_view kAutoMap = "auto";

struct AutoOptions {
  std::optional<std::uint32_t> most_arrays;  ///< copies included
  std::optional<double> most_area_mm2, most_energy_nj;
  std::optional<double> most_latency_us;
  /// Without a sensitivity file the relative error of all weights (MapResult::relative_error), with one the sum of its
  /// costs over the operators.
  std::optional<double> most_error;
  std::vector<std::string> candidates;  ///< structures, see Candidate; empty = by default
  std::string sensitivity;              ///< file; "" = none
  double time_budget_s = 0;             ///< then the best so far; 0 = none
  bool operator==(const AutoOptions&) const = default;
};

/// What an operator got.
struct Choice {
  std::string name;
  std::string candidate;  ///< "monarch:8"
  std::string structure;  ///< of core's to_string
  std::string map;
  std::uint32_t sliver = 0;  ///< striped: columns, as PlaceOptions::sliver
  std::uint32_t copies = 0;  ///< of each of its arrays, at least
  double error = 0;          ///< in the unit of the limit; 0 without one
  std::string reason;
  bool operator==(const Choice&) const = default;
};

/// A limit and how much of it the result takes.
struct LimitUse {
  std::string name;  ///< "arrays", "mm2", "nJ", "us", "error"
  double most = 0, used = 0;
  bool operator==(const LimitUse&) const = default;
};

/// A combination that was compiled and timed, or why it was not.
struct Tried {
  std::string name;
  std::optional<double> figure;  ///< of the objective, measured; nothing if it was not
  std::uint32_t arrays = 0;      ///< 0 if it was not placed
  std::string note;              ///< why it is out
  bool operator==(const Tried&) const = default;
};

struct AutoReport {
  compile::Objective objective{};
  std::string winner;        ///< one of `tried`
  double figure = 0;         ///< measured: ns, nJ per token, mm2, arrays
  double modelled = 0;       ///< what the model of the search says of the winner; 0 where it has none for it
  double optimum_bound = 0;  ///< no choice costs less by that model
  std::vector<LimitUse> limits;
  std::vector<Choice> choices;  ///< one per linear operator
  std::vector<Tried> tried;
  bool stopped = false;  ///< by the time budget or an interrupt: the best so far
  /// modelled / optimum_bound; 0 where there is none.
  double gap() const { return optimum_bound > 0 && modelled > 0 ? modelled / optimum_bound : 0; }
  bool operator==(const AutoReport&) const = default;
};

}  // namespace danaus::pipeline
