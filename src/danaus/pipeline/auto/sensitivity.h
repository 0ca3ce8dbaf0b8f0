#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/error.h"

namespace danaus::pipeline {

/// One [[operator]] of a sensitivity file: what structures cost operators whose name matches `pattern`.
struct SensitivityRule {
  std::string pattern;
  std::uint32_t line = 0;
  std::vector<std::pair<std::string, double>> costs;  ///< candidate, cost of each operator; in the order of the names
  bool operator==(const SensitivityRule&) const = default;
};

/// Errors: auto.sensitivity-syntax, auto.sensitivity-key, auto.sensitivity-value, file.*.
Result<std::vector<SensitivityRule>> read_sensitivity(const std::string& path);
Result<std::vector<SensitivityRule>> parse_sensitivity(std::string_view text, const std::string& file);

/// The file that parse_sensitivity reads, costs to four digits, with a comment at its head.
std::string sensitivity_text(const std::vector<SensitivityRule>& rules, std::string_view comment);

}  // namespace danaus::pipeline
