#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/nn/merge.h"
#include "danaus/nn/pieces.h"
#include "danaus/nn/tokenizer.h"
#include "danaus/nn/vocabulary.h"

namespace danaus::nn {

struct ByteLevelBpe {
  MergeTable merges;
  bool whole_words_first = false;  ///< a word that is a token stays whole, whatever the merges say
};

struct SentencePieceBpe {
  bool space_prefix = true;  ///< a space in front of the text
};

struct WordPiece {
  std::string starting;            ///< in front of the first token of a word
  std::string continuing;          ///< in front of the others
  std::size_t longest_word = 100;  ///< in characters; longer words are unknown
};

using Algorithm = std::variant<ByteLevelBpe, SentencePieceBpe, WordPiece>;

/// What the readers of files make and Tokenizer runs.
struct Tokenizer::Parts {
  Vocabulary vocabulary;
  std::vector<Normaliser> normalisers;
  std::vector<Splitter> splitters;
  Algorithm algorithm;
  std::optional<TokenId> unknown;
  std::vector<TokenId> before;  ///< special tokens in front of a text
  std::vector<TokenId> after;
  std::vector<TokenId> ends;  ///< what a model says when it has nothing more to say
  /// Ids of the user-defined tokens, ordered by text.
  std::vector<TokenId> user_defined;

  /// Checks special ids and collects the user-defined tokens. Errors: nn.special-token.
  Result<void> finish(std::string_view file);
};

/// "A B" of two token texts -> rank. Errors: nn.merge.
Result<void> add_merge(MergeTable& merges, const Vocabulary& vocabulary, std::string_view left, std::string_view right,
                       std::size_t rank, std::string_view file);

/// `eos_token_id` of a config.json or generation_config.json: one, several or none. Errors: nn.json.
Result<std::vector<TokenId>> read_ends(std::string_view json, std::string_view file);

/// BERT's normalisation, in its order (google-research/bert, tokenization.py).
std::vector<Normaliser> bert_normalisers(bool clean_text, bool space_ideographs, bool strip_accents, bool lower_case);

}  // namespace danaus::nn
