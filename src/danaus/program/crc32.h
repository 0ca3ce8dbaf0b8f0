#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace danaus::program {

/// CRC-32 of ISO 3309 and zlib (polynomial 0x04c11db7 reflected, start and final complement): crc32("123456789") =
/// 0xcbf43926.
std::uint32_t crc32(std::span<const std::byte> bytes);

}  // namespace danaus::program
