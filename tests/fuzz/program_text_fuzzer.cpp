#include <cstdint>
#include <cstdlib>

#include "danaus/program/program.h"

// Any text is refused with an error, or is a program that reads back equal from its text and from its bytes.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const Result<program::Program> program = program::parse_text({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!program) {
    if (program.error().failure == Failure::internal || program.error().where.line == 0) std::abort();
    return 0;
  }
  const Result<program::Program> from_text = program::parse_text(program::to_text(*program), "text");
  if (!from_text || *from_text != *program) std::abort();
  const Result<program::Program> from_binary = program::parse_binary(program::to_binary(*program), "binary");
  if (!from_binary || *from_binary != *program) std::abort();
  return 0;
}
