#include "danaus/model/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

// Names and positions in texts that come from files, made safe and useful for error messages.

namespace danaus::model {

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::string shown;
  for (const char c : text.substr(0, kLongest)) {
    if (c >= ' ' && c <= '~') {
      shown += c;
    } else {
      fmt::format_to(std::back_inserter(shown), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kLongest) shown += "...";
  return shown;
}

Location location_in(std::string_view text, std::size_t byte, std::string_view file) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const std::size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  Location where;
  where.file = file;
  where.line = static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1);
  where.column = static_cast<std::uint32_t>(before.size() - line_start + 1);
  return where;
}

}  // namespace danaus::model
