#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace danaus {

/// A 128-bit content digest (XXH3). Not cryptographic: it tells values apart, it does not resist attack.
struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Digest&) const = default;
};

Digest digest_of(std::span<const std::byte> bytes);
Digest digest_of(std::string_view text);
/// 32 hexadecimal digits.
std::string to_string(const Digest& digest);
bool parse_digest(std::string_view text, Digest& digest);

}  // namespace danaus
