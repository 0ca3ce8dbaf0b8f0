#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"

/// Where the numbers of a chip file come from, as its comments say (README.md has the convention).
namespace danaus::chip {

/// measured: on silicon; published: a design study's or a simulator's figure; regressed: a fit over many designs;
/// fitted: chosen so that a measured total comes out; assumed: nobody says; set: on the command line; unstated: the
/// comment says nothing of the kind.
enum class SourceClass : std::uint8_t { measured, published, regressed, fitted, assumed, set, unstated };
inline constexpr SourceClass kSourceClasses[] = {SourceClass::measured, SourceClass::published, SourceClass::regressed,
                                                 SourceClass::fitted,   SourceClass::assumed,   SourceClass::set,
                                                 SourceClass::unstated};
std::string_view name_of(SourceClass source);

/// A key that the chip file, a preset it is based on, or the command line gives.
struct KeySource {
  std::string key;    ///< section.key
  std::string value;  ///< as written
  SourceClass source = SourceClass::unstated;
  std::string comment;
  /// A number, or a regression in place of one, that costs depend on: not a word, not of [noise] or [measured].
  bool counts = false;
};

/// From the text of a chip file, `base` included. What is no chip file gives nonsense: `parse` is what checks it.
std::vector<KeySource> sources_of(std::string_view toml);
/// The same for a preset or file and `--set` pairs. Errors: file.*.
Result<std::vector<KeySource>> sources(const std::string& name_or_path,
                                       const std::vector<std::pair<std::string, std::string>>& settings = {});
/// "12 measured, 3 regressed, 40 assumed": of those that count, classes that occur; empty if none does.
std::string summary(const std::vector<KeySource>& sources);

}  // namespace danaus::chip
