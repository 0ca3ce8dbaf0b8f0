#include "danaus/nn/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "danaus/core/files.h"
#include "danaus/core/internal_error.h"
#include "danaus/model/embedded.h"
#include "danaus/model/text.h"
#include "danaus/nn/tokenizer_parts.h"

// Encoding: user-defined tokens cut the text; what is between them is normalised, split into words, and each word goes
// through the algorithm of the vocabulary.

namespace danaus::nn {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string replaced;
  replaced.reserve(text.size());
  for (std::size_t position = 0;;) {
    const std::size_t found = text.find(from, position);
    replaced.append(text.substr(position, found - position));
    if (found == std::string_view::npos) return replaced;
    replaced.append(to);
    position = found + from.size();
  }
}

/// The bytes in front of a character that ends too early at the end of the text, but could still become whole.
std::size_t whole_characters(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const unsigned char byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const std::size_t bytes = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF8 ? 4 : 1;
    return bytes > back ? text.size() - back : text.size();
  }
  return text.size();
}

/// The token for a byte, or the unknown token.
Result<TokenId> encode_byte(const Tokenizer::Parts& parts, char character) {
  const unsigned char byte = static_cast<unsigned char>(character);
  if (const std::optional<TokenId> id = parts.vocabulary.byte_token(byte)) return *id;
  if (parts.unknown) return *parts.unknown;
  return fail(Error("nn.byte", Failure::unsupported,
                    fmt::format("the vocabulary has no token for the byte 0x{:02X} of the text", byte))
                  .with_hint("such bytes stand in no UTF-8 text of the model's training: is this the right file?"));
}

/// One run over one text: the ids so far and the words seen in it.
struct Encoder {
  const Tokenizer::Parts& parts;
  std::vector<TokenId> ids;
  TextMap<std::vector<TokenId>> seen;

  Result<void> operator()(const ByteLevelBpe& bpe, std::string_view text) {
    return each_word(text, [&](std::string_view word) -> Result<std::vector<TokenId>> {
      if (bpe.whole_words_first)
        if (const std::optional<TokenId> id = parts.vocabulary.find(word)) return std::vector<TokenId>{*id};
      std::vector<TokenId> symbols;
      symbols.reserve(word.size());
      for (const char character : word) {
        DANAUS_TRY(id, encode_byte(parts, character));
        symbols.push_back(id);
      }
      return merge_ranked(std::move(symbols), bpe.merges);
    });
  }

  Result<void> operator()(const WordPiece& word_piece, std::string_view text) {
    return each_word(text, [&](std::string_view word) -> Result<std::vector<TokenId>> {
      const std::ptrdiff_t characters = std::count_if(word.begin(), word.end(), [](char character) {
        return (static_cast<unsigned char>(character) & 0xC0) != 0x80;
      });
      std::optional<std::vector<TokenId>> found;
      if (static_cast<std::size_t>(characters) <= word_piece.longest_word)
        found = match_longest(word, parts.vocabulary, word_piece.starting, word_piece.continuing);
      if (found) return std::move(*found);
      return std::vector<TokenId>{*parts.unknown};
    });
  }

  Result<void> operator()(const SentencePieceBpe&, std::string_view text) {
    std::vector<std::string_view> characters;
    // A byte that is not UTF-8 is a character of its own: it becomes one lone surrogate, which narrows to one byte.
    const std::u16string wide = widen(text);
    std::size_t begin = 0;
    for (std::size_t position = 0; position < wide.size();) {
      const char32_t code_point = next_code_point(wide, position);
      const bool single = code_point < 0x80 || (code_point >= 0xDC00 && code_point < 0xDD00);
      const std::size_t bytes = single ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
      characters.push_back(text.substr(begin, bytes));
      begin += bytes;
    }
    bool last_unknown = false;
    for (const std::string_view piece : merge_scored(characters, parts.vocabulary)) {
      if (const std::optional<TokenId> id = parts.vocabulary.find(piece)) {
        ids.push_back(*id);
        last_unknown = false;
        continue;
      }
      for (const char character : piece) {
        DANAUS_TRY(id, encode_byte(parts, character));
        const bool unknown = parts.unknown == id;
        // A run of characters without tokens is one unknown token.
        if (!unknown || !last_unknown) ids.push_back(id);
        last_unknown = unknown;
      }
    }
    return {};
  }

  template <typename EncodeWord>
  Result<void> each_word(std::string_view text, const EncodeWord& encode_word) {
    std::u16string wide = apply(parts.normalisers, widen(text));
    for (const Span& span : split(parts.splitters, wide)) {
      const std::string word = narrow(std::u16string_view(wide).substr(span.begin, span.end - span.begin));
      TextMap<std::vector<TokenId>>::iterator known = seen.find(word);
      if (known == seen.end()) {
        DANAUS_TRY(word_ids, encode_word(word));
        known = seen.emplace(word, std::move(word_ids)).first;
      }
      ids.insert(ids.end(), known->second.begin(), known->second.end());
    }
    return {};
  }

  Result<void> encode_between(std::string_view text) {
    if (text.empty()) return {};
    return std::visit([&](const auto& algorithm) { return (*this)(algorithm, text); }, parts.algorithm);
  }
};

/// The longest user-defined token that the text starts with.
std::optional<TokenId> user_defined_at_start(const Tokenizer::Parts& parts, std::string_view text) {
  const std::vector<Token>& tokens = parts.vocabulary.tokens();
  // Ordered by text: whatever is a prefix of the text stands before it, the longest last; most texts stop at once.
  std::vector<TokenId>::const_iterator place =
      std::upper_bound(parts.user_defined.begin(), parts.user_defined.end(), text,
                       [&](std::string_view value, TokenId id) { return value < tokens[id].bytes; });
  while (place != parts.user_defined.begin()) {
    const std::string& candidate = tokens[*--place].bytes;
    if (text.starts_with(candidate)) return *place;
    if (candidate.empty() || candidate.front() != text.front()) break;
  }
  return std::nullopt;
}

}  // namespace

Result<void> Tokenizer::Parts::finish(std::string_view file) {
  const std::size_t size = vocabulary.tokens().size();
  std::vector<TokenId> special = before;
  special.insert(special.end(), after.begin(), after.end());
  if (unknown) special.push_back(*unknown);
  for (const TokenId id : special)
    if (id >= size)
      return fail(Error("nn.special-token", Failure::bad_input,
                        fmt::format("a special token has the id {}, but the vocabulary has {} tokens", id, size))
                      .in_file(file));
  if (std::holds_alternative<WordPiece>(algorithm) && !unknown)
    return fail(Error("nn.special-token", Failure::bad_input,
                      "WordPiece needs the id of the unknown token, and the file gives none")
                    .in_file(file));
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  for (TokenId id = 0; id < size; ++id)
    if (vocabulary.tokens()[id].kind == TokenKind::user_defined && !vocabulary.tokens()[id].bytes.empty())
      user_defined.push_back(id);
  std::sort(user_defined.begin(), user_defined.end(), [&](TokenId left, TokenId right) {
    return vocabulary.tokens()[left].bytes < vocabulary.tokens()[right].bytes;
  });
  return {};
}

Result<void> add_merge(MergeTable& merges, const Vocabulary& vocabulary, std::string_view left, std::string_view right,
                       std::size_t rank, std::string_view file) {
  const auto wrong = [&](std::string_view what) {
    return fail(
        Error("nn.merge", Failure::bad_input,
              fmt::format("merge {} ('{}' and '{}') {}", rank, model::printable(left), model::printable(right), what))
            .in_file(file));
  };
  const std::optional<std::string> left_bytes = byte_level_bytes(left);
  const std::optional<std::string> right_bytes = byte_level_bytes(right);
  if (!left_bytes || !right_bytes) return wrong("has characters that stand for no byte");
  const std::optional<TokenId> left_id = vocabulary.find(*left_bytes);
  const std::optional<TokenId> right_id = vocabulary.find(*right_bytes);
  const std::optional<TokenId> merged = vocabulary.find(*left_bytes + *right_bytes);
  if (!left_id || !right_id) return wrong("names a token that is not in the vocabulary");
  if (!merged) return wrong("makes a token that is not in the vocabulary");
  if (!merges.add(*left_id, *right_id, {static_cast<std::uint32_t>(rank), *merged})) return wrong("appears twice");
  return {};
}

std::vector<Normaliser> bert_normalisers(bool clean_text, bool space_ideographs, bool strip_accents, bool lower_case) {
  std::vector<Normaliser> steps;
  if (clean_text) steps.emplace_back(CleanText{});
  if (space_ideographs) steps.emplace_back(SpaceIdeographs{});
  if (strip_accents) {
    steps.emplace_back(Normalise{NormalForm::nfd});
    steps.emplace_back(DropMarks{});
  }
  if (lower_case) steps.emplace_back(LowerCase{});
  return steps;
}

Tokenizer::Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

Result<Tokenizer> Tokenizer::read(const std::filesystem::path& path) {
  if (model::embedded_model(path.string())) {
    DANAUS_TRY(file, model::read_gguf(path));
    return from_gguf(file);
  }
  if (path.extension() == ".gguf") {
    // A file without tensors keeps nothing alive itself: the mapping stays here while the metadata is read.
    DANAUS_TRY(mapped, MappedFile::open(path));
    DANAUS_TRY(file, model::parse_gguf(mapped->bytes(), mapped->name(), mapped));
    return from_gguf(file);
  }
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    DANAUS_TRY(text, read_text(path));
    return from_hugging_face(text, path.string());
  }
  DANAUS_TRY(text, read_text(path / "tokenizer.json"));
  std::vector<TokenId> ends;
  for (const char* name : {"config.json", "generation_config.json"}) {
    const std::filesystem::path file = path / name;
    if (!std::filesystem::exists(file, ignored)) continue;
    DANAUS_TRY(configuration, read_text(file));
    DANAUS_TRY(more, read_ends(configuration, file.string()));
    ends.insert(ends.end(), more.begin(), more.end());
  }
  return from_hugging_face(text, (path / "tokenizer.json").string(), std::move(ends));
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  // Normalisation may make several characters of one; this keeps all lengths below 2^31.
  constexpr std::size_t kLargestText = std::size_t{64} << 20;
  if (text.size() > kLargestText)
    return fail(Error("nn.text-size", Failure::unsupported,
                      fmt::format("the text has {} bytes, more than {}", text.size(), kLargestText))
                    .with_hint("split the text"));
  Encoder encoder{*parts_, {}, {}};
  if (options.add_special) encoder.ids = parts_->before;
  std::string escaped;
  if (const SentencePieceBpe* sentence_piece = std::get_if<SentencePieceBpe>(&parts_->algorithm)) {
    if (sentence_piece->space_prefix && !text.empty()) escaped = kSpaceMark;
    escaped += replace_all(text, " ", kSpaceMark);
    text = escaped;
  }
  std::size_t done = 0;
  if (!parts_->user_defined.empty()) {
    for (std::size_t position = 0; position < text.size();) {
      const std::optional<TokenId> id = user_defined_at_start(*parts_, text.substr(position));
      if (!id) {
        ++position;
        continue;
      }
      DANAUS_CHECK(encoder.encode_between(text.substr(done, position - done)));
      encoder.ids.push_back(*id);
      position += parts_->vocabulary.tokens()[*id].bytes.size();
      done = position;
    }
  }
  DANAUS_CHECK(encoder.encode_between(text.substr(done)));
  if (options.add_special) encoder.ids.insert(encoder.ids.end(), parts_->after.begin(), parts_->after.end());
  return std::move(encoder.ids);
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids) const {
  TextStream stream(*this);
  std::string text;
  for (const TokenId id : ids) {
    DANAUS_TRY(more, stream.add(id));
    text += more;
  }
  return text + stream.finish();
}

Result<std::string> TextStream::add(TokenId id) {
  const Tokenizer::Parts& parts = *tokenizer_.parts_;
  if (id >= tokenizer_.size())
    return fail(Error("nn.token-id", Failure::bad_input,
                      fmt::format("the token id {} is not below the vocabulary's size {}", id, tokenizer_.size()))
                    .with_hint("are the ids from another tokenizer?"));
  const Token& token = parts.vocabulary.tokens()[id];
  if (token.kind == TokenKind::control) return std::string();
  std::string_view piece = token.bytes;
  if (const WordPiece* word_piece = std::get_if<WordPiece>(&parts.algorithm)) {
    // Only one of both prefixes is not empty: a file marks either the start of words or what continues them.
    const bool marks_starts = word_piece->continuing.empty();
    const std::string_view mark = marks_starts ? word_piece->starting : word_piece->continuing;
    const bool marked = piece.starts_with(mark);
    if (marked == marks_starts && !at_start_) waiting_ += ' ';
    if (marked) piece.remove_prefix(mark.size());
  }
  waiting_ += piece;
  const std::size_t whole = whole_characters(waiting_);
  std::string text = waiting_.substr(0, whole);
  waiting_.erase(0, whole);
  if (const SentencePieceBpe* sentence_piece = std::get_if<SentencePieceBpe>(&parts.algorithm)) {
    text = replace_all(text, kSpaceMark, " ");
    if (sentence_piece->space_prefix && at_start_ && text.starts_with(' ')) {
      text.erase(0, 1);
      at_start_ = false;
    }
  }
  at_start_ = at_start_ && text.empty();
  return text;
}

std::span<const TokenId> Tokenizer::ends() const { return parts_->ends; }

std::size_t Tokenizer::size() const { return parts_->vocabulary.tokens().size(); }

std::string_view Tokenizer::kind() const {
  if (std::holds_alternative<ByteLevelBpe>(parts_->algorithm)) return "byte-level BPE";
  if (std::holds_alternative<SentencePieceBpe>(parts_->algorithm)) return "SentencePiece BPE";
  return "WordPiece";
}

Result<void> Tokenizer::check_embedding(std::size_t rows) const {
  if (size() <= rows) return {};
  return fail(Error("nn.embedding-rows", Failure::bad_input,
                    fmt::format("the tokenizer has {} tokens, but the embedding only {} rows", size(), rows))
                  .with_hint("the tokenizer belongs to another model"));
}

}  // namespace danaus::nn
