#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/model/gguf.h"
#include "danaus/nn/token_id.h"

namespace danaus::nn {

struct EncodeOptions {
  /// Adds what the metadata puts around a text: a token of beginning or end, [CLS] … [SEP] of BERT. Often nothing.
  bool add_special = true;
};

/// Text to token ids and back: a value, cheap to copy, usable from any number of threads.
///
/// Kinds: byte-level BPE, SentencePiece-style BPE with scores, WordPiece. Special tokens that stand in a text are not
/// parsed: they are text. Tokens that a file declares as user-defined (not special) are found in it, longest first.
class Tokenizer {
 public:
  /// From the keys tokenizer.ggml.* of a GGUF file. A byte-level vocabulary without `tokenizer.ggml.pre` is split as
  /// "default" is. Without `tokenizer.ggml.add_bos_token` no token of beginning is added; BERT's [CLS] and [SEP]
  /// always. Errors: nn.missing-key, nn.key-type, nn.unsupported, nn.duplicate-token, nn.merge, nn.special-token,
  /// nn.vocabulary.
  static Result<Tokenizer> from_gguf(const model::GgufFile& file);
  /// From the text of a Hugging Face tokenizer.json; `name` is for errors. Truncation and padding are left out: a text
  /// that is too long is for the caller to refuse. `ends`: see ends(). Errors: as from_gguf, nn.json.
  static Result<Tokenizer> from_hugging_face(std::string_view json, std::string_view name,
                                             std::vector<TokenId> ends = {});
  /// From a .gguf file, a tokenizer.json, or a folder with a tokenizer.json; the folder's generation_config.json and
  /// config.json say what ends a text (`eos_token_id`). Errors: also file.*, gguf.*.
  static Result<Tokenizer> read(const std::filesystem::path& path);

  /// The ids of a text of any bytes. Byte-level BPE and SentencePiece keep every byte, also where the text is not
  /// UTF-8; WordPiece drops bytes that are not UTF-8, as it drops control characters.
  /// Errors: nn.text-size (64 MiB), nn.byte (the vocabulary has no token for a byte).
  Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The text of ids, without special tokens. Byte-level: exactly the encoded bytes (unless a normaliser changed them);
  /// SentencePiece: without the space that encode put in front; WordPiece: words joined with spaces.
  /// Errors: nn.token-id.
  Result<std::string> decode(std::span<const TokenId> ids) const;

  /// The tokens after which a model has nothing more to say, in increasing order; empty when no file names them.
  std::span<const TokenId> ends() const;

  /// Ids are below this.
  std::size_t size() const;
  /// "byte-level BPE", "SentencePiece BPE" or "WordPiece".
  std::string_view kind() const;

  /// Whether every id has a row in an embedding of `rows` rows; more rows than ids are padding and fine.
  /// Errors: nn.embedding-rows.
  Result<void> check_embedding(std::size_t rows) const;

  struct Parts;  ///< vocabulary and steps; tokenizer_parts.h

 private:
  friend class TextStream;
  explicit Tokenizer(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

/// decode() token by token, for text that appears while it is made. What is not yet a whole character waits.
class TextStream {
 public:
  explicit TextStream(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  /// The text that is certain now and was not before. Errors: nn.token-id.
  Result<std::string> add(TokenId id);
  /// The rest: bytes of a character that never became whole.
  std::string finish() { return std::exchange(waiting_, {}); }

 private:
  Tokenizer tokenizer_;
  std::string waiting_;   ///< the first bytes of a character
  bool at_start_ = true;  ///< no token has given text yet
};

}  // namespace danaus::nn
