#include "danaus/program/crc32.h"

#include <array>

// Slicing by eight: table s gives the effect of a byte that is followed by s more bytes, so eight bytes are eight
// independent look-ups (Kounavis and Berry, "A systematic approach to building high performance software-based CRC
// generators", 2005).

namespace danaus::program {
namespace {

constexpr std::size_t kSlices = 8;
using Tables = std::array<std::array<std::uint32_t, 256>, kSlices>;

constexpr Tables make_tables() {
  constexpr std::uint32_t kReflectedPolynomial = 0xedb88320;
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? kReflectedPolynomial : 0);
    tables[0][byte] = remainder;
  }
  for (std::size_t s = 1; s < kSlices; ++s) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[s - 1][byte];
      tables[s][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffff;
  while (bytes.size() >= kSlices) {
    std::uint32_t next = 0;
    for (std::size_t b = 0; b < kSlices; ++b) {
      std::uint32_t byte = std::to_integer<std::uint32_t>(bytes[b]);
      if (b < 4) byte ^= crc >> (8 * b) & 0xff;
      next ^= kTables[kSlices - 1 - b][byte];
    }
    crc = next;
    bytes = bytes.subspan(kSlices);
  }
  for (const std::byte byte : bytes) crc = crc >> 8 ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  return ~crc;
}

}  // namespace danaus::program
