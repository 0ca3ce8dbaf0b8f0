#include <cstddef>
#include <cstdint>
#include <string_view>

#include "danaus/nn/tokenizer.h"

// A tokenizer.json, a zero byte, a text: an error, or ids that decode. tests/data/tokenizers has files to start from.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace danaus;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const Result<nn::Tokenizer> tokenizer = nn::Tokenizer::from_hugging_face(input.substr(0, end), "fuzz.json");
  if (!tokenizer) return 0;
  const std::string_view text = end == std::string_view::npos ? "some text, 12" : input.substr(end + 1);
  const Result<std::vector<nn::TokenId>> ids = tokenizer->encode(text);
  if (ids && !tokenizer->decode(*ids)) __builtin_trap();
  return 0;
}
