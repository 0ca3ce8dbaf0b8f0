#include <cstdint>
#include <cstdlib>
#include <vector>

#include "danaus/program/crc32.h"
#include "danaus/program/program.h"

// Any bytes, with the CRC put right so that the reader behind it is reached, are refused with an error, or are a
// program that writes the same bytes again and reads back equal from its text.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(input.begin(), input.end());
  if (bytes.size() >= 4) {
    const std::size_t body = bytes.size() - 4;
    const std::uint32_t crc = program::crc32(std::span(bytes).first(body));
    for (std::size_t b = 0; b < 4; ++b) bytes[body + b] = static_cast<std::byte>(crc >> (8 * b) & 0xff);
  }
  const Result<program::Program> program = program::parse_binary(bytes, "fuzz");
  if (!program) {
    if (program.error().failure == Failure::internal || !program.error().where.offset) std::abort();
    return 0;
  }
  if (program::to_binary(*program) != bytes) std::abort();
  const Result<program::Program> from_text = program::parse_text(program::to_text(*program), "text");
  if (!from_text || *from_text != *program) std::abort();
  return 0;
}
