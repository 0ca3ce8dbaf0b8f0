#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/nn/tokenizer.h"

namespace danaus::nn {

/// What a token is for. Only normal tokens are made from text by BPE and WordPiece.
enum class TokenKind : std::uint8_t { normal, unknown, control, user_defined, unused, byte };

struct Token {
  std::string bytes;   ///< what the token stands for: text; of byte-level BPE the bytes themselves
  float score = 0.0F;  ///< SentencePiece: the pair with the highest score is merged first
  TokenKind kind = TokenKind::unused;
  bool reachable = true;  ///< false: `bytes` is a name that no text spells
};

/// Looks up std::string_view without a copy.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

/// Tokens and the ways from text to them. Lookups only, never an iteration over a hash container.
class Vocabulary {
 public:
  /// Errors: nn.duplicate-token, nn.vocabulary (too many or too long tokens).
  static Result<Vocabulary> make(std::vector<Token> tokens, std::string_view file);

  const std::vector<Token>& tokens() const { return tokens_; }
  /// The normal token of exactly this text.
  std::optional<TokenId> find(std::string_view text) const;
  std::optional<TokenId> byte_token(unsigned char byte) const;
  /// In bytes.
  std::size_t longest() const { return longest_; }

 private:
  std::vector<Token> tokens_;
  TextMap<TokenId> ids_;
  std::vector<std::optional<TokenId>> byte_tokens_;  ///< [256]; a byte token, else the normal token of one byte
  std::size_t longest_ = 0;
};

/// What byte-level BPE of GPT-2 writes for a byte: printable ones stand for themselves, the others move to U+0100
/// and up in order.
char32_t byte_level_character(unsigned char byte);
/// The bytes that such a text stands for; nothing when it has a character that stands for no byte.
std::optional<std::string> byte_level_bytes(std::string_view text);

}  // namespace danaus::nn
