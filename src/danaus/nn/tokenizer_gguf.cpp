#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/model/text.h"
#include "danaus/nn/tokenizer.h"
#include "danaus/nn/tokenizer_parts.h"

// Tokenizers from the metadata of GGUF files. What a value of tokenizer.ggml.pre means is defined by llama.cpp alone;
// the table below says it as patterns that are applied one after the other.

namespace danaus::nn {
namespace {

using model::GgufFile;
using model::GgufValue;

/// Value of tokenizer.ggml.pre -> patterns, empty ones are none.
struct PreTokenizer {
  std::string_view name;
  std::array<std::string_view, 4> patterns;
  bool whole_words_first;
};
constexpr std::array kPreTokenizers = {
    PreTokenizer{"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"}, false},
    PreTokenizer{"gpt-2", {kGpt2Pattern}, false},
    PreTokenizer{"llama-bpe", {kLlama3Pattern}, true},
    PreTokenizer{"smollm", {R"(\p{N})", kGpt2Pattern}, false},
    PreTokenizer{"qwen2", {kQwen2Pattern}, false},
};

/// The keys tokenizer.ggml.* of one file.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {}
  const std::string& file_name() const { return file_.name; }

  const GgufValue* find(std::string_view name) const { return file_.find(fmt::format("tokenizer.ggml.{}", name)); }

  Result<const GgufValue*> need(std::string_view name) const {
    if (const GgufValue* value = find(name)) return value;
    return fail(Error("nn.missing-key", Failure::bad_input, fmt::format("there is no key tokenizer.ggml.{}", name))
                    .in_file(file_.name)
                    .with_hint("the file has no usable tokenizer: take one that was converted with it"));
  }

  /// The value as one of the optionals of GgufValue.
  template <typename T>
  Result<T> as(std::string_view name, const GgufValue& value, const std::optional<T>& converted) const {
    if (converted) return *converted;
    return fail(Error("nn.key-type", Failure::bad_input,
                      fmt::format("the key tokenizer.ggml.{} has a value of the wrong type", name))
                    .in_file(file_.name)
                    .at_offset(value.offset));
  }

  Result<std::string_view> text(std::string_view name) const {
    DANAUS_TRY(value, need(name));
    return as(name, *value, value->text());
  }

  Result<bool> truth(std::string_view name, bool if_missing) const {
    const GgufValue* value = find(name);
    if (value == nullptr) return if_missing;
    return as(name, *value, value->truth());
  }

  /// The first of the names that is there.
  Result<std::optional<TokenId>> token(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      const GgufValue* value = find(name);
      if (value == nullptr) continue;
      DANAUS_TRY(id, as(name, *value, value->whole()));
      if (id > UINT32_MAX) return as<std::optional<TokenId>>(name, *value, std::nullopt);
      return std::optional<TokenId>(static_cast<TokenId>(id));
    }
    return std::optional<TokenId>();
  }

  /// A token that a rule of the file needs.
  Result<TokenId> special(std::string_view what, std::initializer_list<std::string_view> names) const {
    DANAUS_TRY(id, token(names));
    if (id) return *id;
    return fail(
        Error("nn.special-token", Failure::bad_input,
              fmt::format("the tokenizer needs the id of its {} token, and the key tokenizer.ggml.{} is missing", what,
                          *names.begin()))
            .in_file(file_.name));
  }

 private:
  const GgufFile& file_;
};

Result<Vocabulary> read_vocabulary(const Keys& keys, bool byte_level) {
  DANAUS_TRY(value, keys.need("tokens"));
  DANAUS_TRY(texts, keys.as("tokens", *value, value->texts()));
  std::vector<std::int64_t> types;
  if (const GgufValue* list = keys.find("token_type")) {
    DANAUS_TRY(read, keys.as("token_type", *list, list->integers()));
    types = std::move(read);
  }
  std::vector<double> scores;
  if (const GgufValue* list = keys.find("scores")) {
    DANAUS_TRY(read, keys.as("scores", *list, list->reals()));
    scores = std::move(read);
  }
  const auto check_size = [&](std::string_view name, std::size_t size) -> Result<void> {
    if (size == 0 || size == texts.size()) return {};
    return fail(
        Error("nn.vocabulary", Failure::bad_input,
              fmt::format("there are {} tokens, but tokenizer.ggml.{} has {} entries", texts.size(), name, size))
            .in_file(keys.file_name()));
  };
  DANAUS_CHECK(check_size("token_type", types.size()));
  DANAUS_CHECK(check_size("scores", scores.size()));

  std::vector<Token> tokens(texts.size());
  for (std::size_t id = 0; id < texts.size(); ++id) {
    Token& token = tokens[id];
    const std::int64_t type = types.empty() ? 1 : types[id];
    if (type < 1 || type > 6)
      return fail(Error("nn.vocabulary", Failure::bad_input,
                        fmt::format("token {} has the type {}; types are 1 to 6", id, type))
                      .in_file(keys.file_name()));
    token.kind = static_cast<TokenKind>(type - 1);
    token.bytes = texts[id];
    if (token.kind == TokenKind::normal && byte_level) {
      std::optional<std::string> bytes = byte_level_bytes(texts[id]);
      token.reachable = bytes.has_value();
      if (bytes) token.bytes = std::move(*bytes);
    }
    if (scores.empty()) continue;
    token.score = static_cast<float>(scores[id]);
    if (!std::isfinite(token.score))
      return fail(Error("nn.vocabulary", Failure::bad_input, fmt::format("token {} has a score that is no number", id))
                      .in_file(keys.file_name()));
  }
  return Vocabulary::make(std::move(tokens), keys.file_name());
}

Result<void> read_byte_level(const Keys& keys, Tokenizer::Parts& parts) {
  std::string_view pre = "default";
  if (keys.find("pre") != nullptr) {
    DANAUS_TRY(name, keys.text("pre"));
    pre = name;
  }
  const PreTokenizer* variant = std::find_if(kPreTokenizers.begin(), kPreTokenizers.end(),
                                             [&](const PreTokenizer& row) { return row.name == pre; });
  if (variant == kPreTokenizers.end()) {
    std::string known;
    for (const PreTokenizer& row : kPreTokenizers) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
    return fail(
        Error("nn.unsupported", Failure::unsupported,
              fmt::format("the pre-tokenizer '{}' (tokenizer.ggml.pre) is not supported", model::printable(pre)))
            .in_file(keys.file_name())
            .with_hint(fmt::format("supported are {}; or give token ids instead of text", known)));
  }
  for (const std::string_view pattern : variant->patterns) {
    if (pattern.empty()) continue;
    const Pattern* known = find_pattern(pattern);
    ensure(known != nullptr, "the patterns of the table are known");
    parts.splitters.emplace_back(SplitMatches{known});
  }
  DANAUS_TRY(prefix, keys.truth("add_space_prefix", false));
  if (prefix) parts.splitters.emplace(parts.splitters.begin(), PrefixSpace{});

  DANAUS_TRY(value, keys.need("merges"));
  DANAUS_TRY(merges, keys.as("merges", *value, value->texts()));
  ByteLevelBpe bpe;
  bpe.whole_words_first = variant->whole_words_first;
  bpe.merges.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::size_t blank = std::min(merges[rank].find(' '), merges[rank].size());
    const std::string_view right = merges[rank].substr(std::min(blank + 1, merges[rank].size()));
    DANAUS_CHECK(add_merge(bpe.merges, parts.vocabulary, merges[rank].substr(0, blank), right, rank, keys.file_name()));
  }
  parts.algorithm = std::move(bpe);
  return {};
}

Result<void> read_ends(const Keys& keys, Tokenizer::Parts& parts) {
  DANAUS_TRY(begins, keys.truth("add_bos_token", false));
  DANAUS_TRY(ends, keys.truth("add_eos_token", false));
  if (begins) {
    DANAUS_TRY(id, keys.special("beginning", {"bos_token_id"}));
    parts.before = {id};
  }
  if (ends) {
    DANAUS_TRY(id, keys.special("end", {"eos_token_id"}));
    parts.after = {id};
  }
  // Chat models end a turn with another token than a text.
  for (const std::string_view name : {"eos_token_id", "eot_token_id"}) {
    DANAUS_TRY(id, keys.token({name}));
    if (id) parts.ends.push_back(*id);
  }
  return {};
}

}  // namespace

Result<Tokenizer> Tokenizer::from_gguf(const GgufFile& file) {
  const Keys keys(file);
  DANAUS_TRY(kind, keys.text("model"));
  if (kind != "gpt2" && kind != "llama" && kind != "bert")
    return fail(Error("nn.unsupported", Failure::unsupported,
                      fmt::format("the tokenizer '{}' (tokenizer.ggml.model) is not supported", model::printable(kind)))
                    .in_file(file.name)
                    .with_hint("supported are gpt2, llama and bert; or give token ids instead of text"));
  DANAUS_TRY(vocabulary, read_vocabulary(keys, kind == "gpt2"));
  Parts parts{std::move(vocabulary), {}, {}, {}, {}, {}, {}, {}, {}};
  if (kind == "gpt2") {
    DANAUS_CHECK(read_byte_level(keys, parts));
    DANAUS_CHECK(read_ends(keys, parts));
  } else if (kind == "llama") {
    DANAUS_CHECK(keys.need("scores"));
    DANAUS_TRY(prefix, keys.truth("add_space_prefix", true));
    parts.algorithm = SentencePieceBpe{prefix};
    DANAUS_TRY(unknown, keys.token({"unknown_token_id"}));
    parts.unknown = unknown;
    DANAUS_CHECK(read_ends(keys, parts));
  } else {
    // Converted vocabularies mark the start of words instead of what continues them.
    parts.normalisers = bert_normalisers(true, true, true, true);
    parts.splitters = {SplitBert{}};
    parts.algorithm = WordPiece{"\u2581", "", 100};
    DANAUS_TRY(unknown, keys.special("unknown", {"unknown_token_id"}));
    DANAUS_TRY(begin, keys.special("class", {"cls_token_id", "bos_token_id"}));
    // The specification of GGUF spells the first one so.
    DANAUS_TRY(end, keys.special("separator", {"seperator_token_id", "separator_token_id", "eos_token_id"}));
    parts.unknown = unknown;
    parts.before = {begin};
    parts.after = {end};
  }
  DANAUS_CHECK(parts.finish(file.name));
  return Tokenizer(std::make_shared<const Parts>(std::move(parts)));
}

}  // namespace danaus::nn
