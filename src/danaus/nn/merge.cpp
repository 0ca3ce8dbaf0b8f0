#include "danaus/nn/merge.h"

#include <algorithm>
#include <cstddef>
#include <queue>
#include <string>

// Both mergers keep the symbols in a linked list over their first positions and the candidate pairs in a heap; a
// candidate whose symbols have changed since is recognised when it is taken out.

namespace danaus::nn {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

/// Neighbours of the symbols that are left; a symbol keeps the position of its first part.
struct Chain {
  explicit Chain(std::size_t size) : previous(size), next(size) {
    for (std::size_t index = 0; index < size; ++index) {
      previous[index] = index == 0 ? kNone : index - 1;
      next[index] = index + 1 == size ? kNone : index + 1;
    }
  }
  void remove(std::size_t index) {
    if (previous[index] != kNone) next[previous[index]] = next[index];
    if (next[index] != kNone) previous[next[index]] = previous[index];
  }
  std::vector<std::size_t> previous;
  std::vector<std::size_t> next;
};

struct RankedPair {
  std::uint32_t rank = 0;
  std::size_t left = 0;
  TokenId left_token = 0;
  TokenId right_token = 0;
  TokenId merged = 0;
  /// The heap's top is the largest: lower rank, then further left.
  bool operator<(const RankedPair& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

struct ScoredPair {
  float score = 0.0F;
  std::size_t left = 0;
  std::size_t right = 0;
  std::size_t bytes = 0;  ///< of both when the pair was found
  bool operator<(const ScoredPair& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

}  // namespace

std::vector<TokenId> merge_ranked(std::vector<TokenId> symbols, const MergeTable& merges) {
  constexpr TokenId kGone = 0xFFFFFFFF;
  if (symbols.size() < 2) return symbols;
  Chain chain(symbols.size());
  std::priority_queue<RankedPair> pairs;
  const auto consider = [&](std::size_t left) {
    if (left == kNone || chain.next[left] == kNone) return;
    const TokenId right_token = symbols[chain.next[left]];
    if (const std::optional<MergeTable::Merge> merge = merges.find(symbols[left], right_token))
      pairs.push({merge->rank, left, symbols[left], right_token, merge->token});
  };
  for (std::size_t index = 0; index < symbols.size(); ++index) consider(index);
  while (!pairs.empty()) {
    const RankedPair pair = pairs.top();
    pairs.pop();
    const std::size_t right = chain.next[pair.left];
    if (symbols[pair.left] != pair.left_token || right == kNone || symbols[right] != pair.right_token) continue;
    symbols[pair.left] = pair.merged;
    symbols[right] = kGone;
    chain.remove(right);
    consider(chain.previous[pair.left]);
    consider(pair.left);
  }
  std::erase(symbols, kGone);
  return symbols;
}

std::vector<std::string_view> merge_scored(const std::vector<std::string_view>& symbols, const Vocabulary& vocabulary) {
  std::vector<std::string_view> pieces = symbols;
  if (pieces.size() < 2) return pieces;
  Chain chain(pieces.size());
  std::priority_queue<ScoredPair> pairs;
  const auto consider = [&](std::size_t left) {
    if (left == kNone || chain.next[left] == kNone) return;
    const std::size_t right = chain.next[left];
    const std::size_t bytes = pieces[left].size() + pieces[right].size();
    if (bytes > vocabulary.longest()) return;
    // Adjacent pieces of one text: their join is the text under both.
    if (const std::optional<TokenId> token = vocabulary.find({pieces[left].data(), bytes}))
      pairs.push({vocabulary.tokens()[*token].score, left, right, bytes});
  };
  for (std::size_t index = 0; index < pieces.size(); ++index) consider(index);
  while (!pairs.empty()) {
    const ScoredPair pair = pairs.top();
    pairs.pop();
    if (pieces[pair.left].empty() || pieces[pair.right].empty() ||
        pieces[pair.left].size() + pieces[pair.right].size() != pair.bytes)
      continue;
    pieces[pair.left] = {pieces[pair.left].data(), pair.bytes};
    pieces[pair.right] = {};
    chain.remove(pair.right);
    consider(chain.previous[pair.left]);
    consider(pair.left);
  }
  std::erase_if(pieces, [](std::string_view piece) { return piece.empty(); });
  return pieces;
}

std::optional<std::vector<TokenId>> match_longest(std::string_view word, const Vocabulary& vocabulary,
                                                  std::string_view starting, std::string_view continuing) {
  const auto inside_character = [&](std::size_t position) {
    return position < word.size() && (static_cast<unsigned char>(word[position]) & 0xC0) == 0x80;
  };
  std::vector<TokenId> ids;
  std::string candidate;
  for (std::size_t begin = 0; begin < word.size();) {
    const std::string_view prefix = begin == 0 ? starting : continuing;
    std::optional<TokenId> found;
    std::size_t end = begin + std::min(word.size() - begin, vocabulary.longest());
    for (; end > begin; --end) {
      if (inside_character(end)) continue;
      candidate.assign(prefix).append(word.substr(begin, end - begin));
      found = vocabulary.find(candidate);
      if (found) break;
    }
    if (!found) return std::nullopt;
    ids.push_back(*found);
    begin = end;
  }
  return ids;
}

}  // namespace danaus::nn
