#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/explore/study.h"
#include "danaus/pipeline/run.h"

/// The one table of run options that a study can fix or vary; beside them it can name every key of the chip file.
namespace danaus::explore {

/// What the options of a point add up to, before the defaults that depend on the model.
struct OptionValues {
  std::string model, chip = "pcm-14nm";
  pipeline::RunOptions run;
  std::optional<std::uint32_t> tokens;
  bool generate = false;  ///< mode = "generate", which `run` says by its generation
  pipeline::Generation generation;
  bool relative_error = false;
  bool bounds = false;
};

struct Option {
  enum class Kind : std::uint8_t { whole, real, flag, word, word_or_whole, text };
  std::string_view name;
  std::string_view help;
  Kind kind;
  double least = 0, most = 0;           ///< whole, real, word_or_whole
  std::vector<std::string_view> words;  ///< word, word_or_whole
  void (*set)(OptionValues&, const Value&);
};

const std::vector<Option>& option_table();
const Option* find_option(std::string_view name);

/// What someone may write for an option, and what a study calls it.
const std::vector<std::pair<std::string_view, std::string_view>>& other_names();
/// A hint for the command line with the names of a study: "raise --max-arrays" as "raise max_arrays".
std::string in_words_of_a_study(std::string_view text);

/// A key of the chip file, or null.
const chip::Key* find_chip_key(std::string_view name);

/// Whether values of the key are whole numbers, or numbers at all.
bool is_whole(std::string_view key);
bool is_number(std::string_view key);

/// The value as the key keeps it (blocks = 32 and sliver = 32 are the text "32"), or what is wrong with it. Errors
/// explore.type, explore.value, explore.unit (a number in quotes, with its unit), without a
/// location.
Result<Value> checked(std::string_view key, const Value& value);

/// Defaults that depend on the model; sizes that do not apply to the mode (kv in prefill) are left out.
pipeline::RunOptions run_options(const OptionValues& values, const model::Model& model);

}  // namespace danaus::explore
