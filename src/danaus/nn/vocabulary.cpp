#include "danaus/nn/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "danaus/model/text.h"
#include "danaus/nn/unicode.h"

// The vocabulary holds bytes, not the printable spelling of the files: the spelling is undone once, when it is read.

namespace danaus::nn {
namespace {

bool stands_for_itself(unsigned char byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// character - U+0000 -> byte, for the 324 characters that byte_level_character gives; -1 elsewhere.
std::array<int, 0x144> byte_of_character() {
  std::array<int, 0x144> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[byte_level_character(static_cast<unsigned char>(byte))] = byte;
  return bytes;
}

/// "<0x4F>" -> 0x4F.
std::optional<unsigned char> byte_of_name(std::string_view name) {
  if (name.size() != 6 || !name.starts_with("<0x") || name.back() != '>') return std::nullopt;
  unsigned int value = 0;
  const std::from_chars_result result = std::from_chars(name.data() + 3, name.data() + 5, value, 16);
  if (result.ec != std::errc() || result.ptr != name.data() + 5) return std::nullopt;
  return static_cast<unsigned char>(value);
}

}  // namespace

char32_t byte_level_character(unsigned char byte) {
  if (stands_for_itself(byte)) return byte;
  char32_t moved = 0x100;
  for (unsigned char before = 0; before < byte; ++before)
    if (!stands_for_itself(before)) ++moved;
  return moved;
}

std::optional<std::string> byte_level_bytes(std::string_view text) {
  static const std::array<int, 0x144> kBytes = byte_of_character();
  std::string bytes;
  const std::u16string wide = widen(text);
  for (std::size_t position = 0; position < wide.size();) {
    const char32_t character = next_code_point(wide, position);
    if (character >= kBytes.size() || kBytes[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[character]);
  }
  return bytes;
}

Result<Vocabulary> Vocabulary::make(std::vector<Token> tokens, std::string_view file) {
  constexpr std::size_t kMostTokens = 1u << 24;
  constexpr std::size_t kLongestToken = 1u << 16;
  if (tokens.empty() || tokens.size() > kMostTokens)
    return fail(Error("nn.vocabulary", Failure::bad_input, fmt::format("the vocabulary has {} tokens", tokens.size()))
                    .in_file(file)
                    .with_hint("1 to 16777216 tokens are possible"));
  Vocabulary vocabulary;
  vocabulary.tokens_ = std::move(tokens);
  vocabulary.byte_tokens_.resize(256);
  vocabulary.ids_.reserve(vocabulary.tokens_.size());
  TextMap<TokenId> others;
  for (std::size_t index = 0; index < vocabulary.tokens_.size(); ++index) {
    const TokenId id = static_cast<TokenId>(index);
    const Token& token = vocabulary.tokens_[index];
    if (token.bytes.size() > kLongestToken)
      return fail(Error("nn.vocabulary", Failure::bad_input,
                        fmt::format("token {} has {} bytes, more than {}", id, token.bytes.size(), kLongestToken))
                      .in_file(file));
    if (token.kind == TokenKind::unused && token.bytes.empty()) continue;
    const bool from_text = token.kind == TokenKind::normal && token.reachable;
    TextMap<TokenId>& names = from_text ? vocabulary.ids_ : others;
    const auto [place, is_new] = names.emplace(token.bytes, id);
    if (!is_new)
      return fail(Error("nn.duplicate-token", Failure::bad_input,
                        fmt::format("tokens {} and {} are both '{}'", place->second, id, model::printable(token.bytes)))
                      .in_file(file)
                      .with_hint("the file is damaged: two ids for one text have no meaning"));
    if (from_text) vocabulary.longest_ = std::max(vocabulary.longest_, token.bytes.size());
    if (token.kind == TokenKind::byte) {
      const std::optional<unsigned char> byte = byte_of_name(token.bytes);
      if (!byte)
        return fail(
            Error("nn.vocabulary", Failure::bad_input,
                  fmt::format("the byte token {} is named '{}', not like <0x4F>", id, model::printable(token.bytes)))
                .in_file(file));
      vocabulary.byte_tokens_[*byte] = id;
    }
  }
  for (std::size_t byte = 0; byte < 256; ++byte)
    if (!vocabulary.byte_tokens_[byte])
      vocabulary.byte_tokens_[byte] = vocabulary.find(std::string(1, static_cast<char>(byte)));
  // From here on a byte token stands for its byte.
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (!vocabulary.byte_tokens_[byte]) continue;
    Token& token = vocabulary.tokens_[*vocabulary.byte_tokens_[byte]];
    if (token.kind == TokenKind::byte) token.bytes = std::string(1, static_cast<char>(byte));
  }
  return vocabulary;
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  const TextMap<TokenId>::const_iterator found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<TokenId> Vocabulary::byte_token(unsigned char byte) const { return byte_tokens_[byte]; }

}  // namespace danaus::nn
