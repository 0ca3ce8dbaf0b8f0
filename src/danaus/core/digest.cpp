#include "danaus/core/digest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

namespace danaus {

Digest digest_of(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

Digest digest_of(std::string_view text) { return digest_of(std::as_bytes(std::span(text.data(), text.size()))); }

std::string to_string(const Digest& digest) { return fmt::format("{:016x}{:016x}", digest.high, digest.low); }

bool parse_digest(std::string_view text, Digest& digest) {
  if (text.size() != 32) return false;
  const auto half = [](std::string_view digits, std::uint64_t& value) {
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    return status == std::errc() && end == digits.data() + digits.size();
  };
  return half(text.substr(0, 16), digest.high) && half(text.substr(16), digest.low);
}

}  // namespace danaus
