#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"

namespace danaus::factor {

/// Arrays of `array_edge` that the block operator needs when its blocks lie along diagonals: blocks larger than an
/// array are cut into equal tiles, and floor(edge / max(rows, columns)) tiles of one stage share an array.
std::uint64_t arrays_needed(const Structure& structure, std::uint32_t array_edge);

/// The structure that one policy (its `file` aside) gives an operator, without a selection. Errors: factor.blocks,
/// factor.compression, factor.group, factor.policy-conflict.
Result<Structure> choose_structure(std::uint32_t out, std::uint32_t in, const Policy& policy, std::uint32_t array_edge);

/// One [[layer]] of a policy file: operators whose name matches `pattern` follow `policy`.
struct LayerRule {
  std::string pattern;
  std::uint32_t line = 0;
  Policy policy;
};

/// Reads a policy file; what a rule does not say is as in `base`. Errors: factor.policy-*, file.*.
Result<std::vector<LayerRule>> read_policy(const std::string& path, const Policy& base);

Result<std::vector<LayerRule>> parse_policy(std::string_view text, const std::string& file, const Policy& base);

/// The file of these rules. Policies that come from a file, or pad, have no rule: the rule says the rest of them.
std::string policy_text(const std::vector<LayerRule>& rules);

/// Whether the whole name matches: '*' stands for any text, '?' for any one character.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace danaus::factor
