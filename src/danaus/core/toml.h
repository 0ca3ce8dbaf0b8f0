#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "danaus/core/error.h"

// The types of toml++ that are named here; <toml++/toml.h> is for the sources that look into a table.
namespace toml {
inline namespace v3 {
class table;
struct source_region;
}  // namespace v3
}  // namespace toml

namespace danaus {

/// How many bytes a TOML text and one of its lines may have. toml++ takes tables apart by recursion: without a limit,
/// one long dotted key could exhaust the stack.
struct TomlLimits {
  std::size_t text = std::size_t{1} << 16;
  std::size_t line = text;
};

/// Where a value or a key of a TOML file begins.
Location location_of(const toml::source_region& source, std::string_view file);

/// The only caller of toml::parse. `what` names the kind of file ("a chip file"). `syntax` is the error of a text that
/// is too long or not TOML: its id and its file are kept and so is its hint, unless a better one is known; message and
/// place are filled in.
///
/// Characters outside ASCII are for comments and for values and keys in quotes; toml++ has undefined behaviour where
/// some of them stand elsewhere, so those never reach it. For the same reason a text with such characters has no
/// strings in three quotes.
Result<toml::table> parse_toml(std::string_view text, std::string_view what, Error syntax,
                               const TomlLimits& limits = {});

}  // namespace danaus
