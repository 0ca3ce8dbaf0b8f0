#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/graph.h"

/// The table of converter bits that `adc.rule = "calibrated"` takes (docs/formats.md): `danaus precision` writes one.
namespace danaus::pipeline {

struct AdcBits {
  /// One [[stage]]. The first rule that fits a stage decides.
  struct Rule {
    std::string pattern;                 ///< of the operator's name, with * and ?
    std::string map;                     ///< of this mapping only; empty = of any
    std::optional<std::uint32_t> stage;  ///< 0 = R (or the only one), 1 = L; nothing = both
    std::uint32_t bits = 8;              ///< 1 to 16
    std::optional<double> snr_db;        ///< what was measured with them; nothing computes with it
    bool operator==(const Rule&) const = default;
  };
  std::string file;
  std::vector<Rule> rules;
  bool operator==(const AdcBits&) const = default;
};

/// Errors: pipeline.adc-bits-syntax, pipeline.adc-bits-key, pipeline.adc-bits-value, with line and column; file.*.
Result<AdcBits> parse_adc_bits(std::string_view text, const std::string& file);
Result<AdcBits> read_adc_bits(const std::string& path);
/// parse_adc_bits(to_toml(table)) has the same rules.
std::string to_toml(const AdcBits& table);

/// The graph with the table's bits in the configurations of its linear operators where adc.rule is "calibrated"; as it
/// is for other rules. Errors: pipeline.adc-bits-table (a rule without a table or a table without the rule),
/// pipeline.adc-bits-rule (a stage that no rule fits).
Result<Graph> with_adc_bits(Graph graph, const std::optional<AdcBits>& table, std::string_view map,
                            const chip::Chip& chip);

}  // namespace danaus::pipeline
