#pragma once

// The smallest model with blocks and arrays that fit it: figures can be counted by hand.

#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {

inline model::Model tiny() { return model::load(DANAUS_SOURCE_DIR "/tests/golden/tiny.toml").value(); }

/// 16x16 arrays, 4 converters. On the preset "unit": 10 ns for inputs and settling, 1 ns a round.
inline chip::Chip small_chip(const std::vector<std::pair<std::string, std::string>>& settings = {},
                             const std::string& preset = "unit") {
  std::vector<std::pair<std::string, std::string>> all = {
      {"array.rows", "16"}, {"array.cols", "16"}, {"adc.per_array", "4"}};
  all.insert(all.end(), settings.begin(), settings.end());
  return chip::load(preset, all).value();
}

/// Square blocks of 4.
inline RunOptions small_blocks() {
  RunOptions options;
  options.policy.blocks = "4";
  return options;
}

}  // namespace danaus::pipeline
