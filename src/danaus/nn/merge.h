#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "danaus/nn/vocabulary.h"

namespace danaus::nn {

/// Merges of byte-pair encoding: a pair of tokens -> its rank and the token that it becomes.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId token = 0;
  };
  void reserve(std::size_t merges) { merges_.reserve(merges); }
  /// False when the pair is already there.
  bool add(TokenId left, TokenId right, Merge merge) { return merges_.emplace(key(left, right), merge).second; }
  std::optional<Merge> find(TokenId left, TokenId right) const {
    const auto found = merges_.find(key(left, right));
    if (found == merges_.end()) return std::nullopt;
    return found->second;
  }

 private:
  static std::uint64_t key(TokenId left, TokenId right) { return (std::uint64_t{left} << 32) | right; }
  std::unordered_map<std::uint64_t, Merge> merges_;
};

/// Byte-pair encoding: merges the adjacent pair of lowest rank (the leftmost of equals) until none is left.
/// O(n log n) for n symbols.
std::vector<TokenId> merge_ranked(std::vector<TokenId> symbols, const MergeTable& merges);

/// SentencePiece's variant: the adjacent pair whose joined text is the token of highest score. `symbols` are the
/// characters of the text, adjacent; gives the merged pieces, of which single characters may be no token.
std::vector<std::string_view> merge_scored(const std::vector<std::string_view>& symbols, const Vocabulary& vocabulary);

/// WordPiece: from left to right the longest token, `continuing` in front of all but the first, which gets `starting`.
/// Nothing when some part of the word has no token.
std::optional<std::vector<TokenId>> match_longest(std::string_view word, const Vocabulary& vocabulary,
                                                  std::string_view starting, std::string_view continuing);

}  // namespace danaus::nn
