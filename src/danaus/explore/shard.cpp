// "i/N".

#include "danaus/explore/shard.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace danaus::explore {

Result<Shard> parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  Shard shard;
  const auto number = [&](std::string_view part, std::uint32_t& target) {
    const std::from_chars_result read = std::from_chars(part.data(), part.data() + part.size(), target);
    return read.ec == std::errc() && read.ptr == part.data() + part.size();
  };
  const std::string_view whole = text;
  constexpr std::uint32_t kMost = 1'000'000;
  if (slash != std::string::npos && number(whole.substr(0, slash), shard.number) &&
      number(whole.substr(slash + 1), shard.count) && shard.number >= 1 && shard.number <= shard.count &&
      shard.count <= kMost)
    return shard;
  return fail(Error("explore.shard", Failure::usage, fmt::format("'{}' is no shard", whole.substr(0, 64)))
                  .with_hint("write --shard i/N with i from 1 to N, such as --shard 2/8"));
}

}  // namespace danaus::explore
