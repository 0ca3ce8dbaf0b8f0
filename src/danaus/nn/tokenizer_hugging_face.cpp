#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "danaus/model/text.h"
#include "danaus/nn/tokenizer.h"
#include "danaus/nn/tokenizer_parts.h"

// tokenizer.json of Hugging Face: a pipeline of named parts. Each part that is understood becomes a step of ours; each
// other one, and each option that would change ids, is refused by its name.

namespace danaus::nn {
namespace {

using Json = nlohmann::json;

/// Parts within parts ("Sequence"); real files have two levels.
constexpr int kDeepest = 8;

class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  tl::unexpected<Error> wrong(std::string message) const {
    return fail(Error("nn.json", Failure::bad_input, std::move(message)).in_file(file_));
  }
  tl::unexpected<Error> refuse(std::string_view what) const {
    return fail(
        Error("nn.unsupported", Failure::unsupported, fmt::format("{} of this tokenizer.json is not supported", what))
            .in_file(file_)
            .with_hint("give token ids instead of text"));
  }

  Result<Json> parse(std::string_view text) const {
    std::vector<std::set<std::string>> keys;
    std::optional<std::string> duplicate;
    bool too_deep = false;
    const Json::parser_callback_t watch = [&](int depth, Json::parse_event_t event, Json& value) {
      too_deep = too_deep || depth > 64;
      if (too_deep) return false;
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key) {
        const std::string& key = value.get_ref<const std::string&>();
        if (!keys.back().insert(key).second && !duplicate) duplicate = key;
      }
      return true;
    };
    Json document;
    try {
      document = Json::parse(text, watch);
    } catch (const Json::parse_error& error) {
      return fail(
          Error("nn.json", Failure::bad_input, fmt::format("this is not JSON: {}", model::printable(error.what())))
              .at(model::location_in(text, error.byte == 0 ? 0 : error.byte - 1, file_)));
    } catch (const Json::exception& error) {
      return wrong(fmt::format("this JSON is not usable: {}", model::printable(error.what())));
    }
    if (too_deep) return wrong("the JSON is nested too deeply");
    if (duplicate) return wrong(fmt::format("the key '{}' appears twice", model::printable(*duplicate)));
    if (!document.is_object()) return wrong("the document is not an object");
    return document;
  }

  /// A member, or null.
  static const Json& member(const Json& object, const char* key) {
    static const Json kNull;
    if (!object.is_object()) return kNull;
    const Json::const_iterator found = object.find(key);
    return found == object.end() ? kNull : *found;
  }
  Result<std::string> text(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (value.is_string()) return value.get<std::string>();
    return wrong(fmt::format("'{}' is missing or not a string", key));
  }
  Result<bool> truth(const Json& object, const char* key, bool if_missing) const {
    const Json& value = member(object, key);
    if (value.is_null()) return if_missing;
    if (value.is_boolean()) return value.get<bool>();
    return wrong(fmt::format("'{}' is neither true nor false", key));
  }
  Result<TokenId> token_id(const Json& value) const {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() < std::numeric_limits<TokenId>::max())
      return value.get<TokenId>();
    return wrong("a token id is not a whole number of 32 bits");
  }
  /// The members of a list called `key`.
  Result<const Json*> list(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (value.is_array()) return &value;
    return wrong(fmt::format("'{}' is missing or not a list", key));
  }

  Result<void> normaliser(const Json& part, std::vector<Normaliser>& steps, int depth = 0) const {
    if (part.is_null()) return {};
    DANAUS_TRY(type, text(part, "type"));
    if (type == "Sequence" && depth < kDeepest) {
      DANAUS_TRY(inner, list(part, "normalizers"));
      for (const Json& one : *inner) DANAUS_CHECK(normaliser(one, steps, depth + 1));
    } else if (type == "NFC") {
      steps.emplace_back(Normalise{NormalForm::nfc});
    } else if (type == "NFD") {
      steps.emplace_back(Normalise{NormalForm::nfd});
    } else if (type == "NFKC") {
      steps.emplace_back(Normalise{NormalForm::nfkc});
    } else if (type == "NFKD") {
      steps.emplace_back(Normalise{NormalForm::nfkd});
    } else if (type == "Lowercase") {
      steps.emplace_back(LowerCase{});
    } else if (type == "BertNormalizer") {
      DANAUS_TRY(clean, truth(part, "clean_text", true));
      DANAUS_TRY(ideographs, truth(part, "handle_chinese_chars", true));
      DANAUS_TRY(lower, truth(part, "lowercase", true));
      DANAUS_TRY(accents, truth(part, "strip_accents", lower));
      for (Normaliser& step : bert_normalisers(clean, ideographs, accents, lower)) steps.push_back(std::move(step));
    } else {
      return refuse(fmt::format("the normalizer '{}'", model::printable(type)));
    }
    return {};
  }

  Result<void> add_split(std::string_view pattern, bool keep_match, bool keep_between,
                         std::vector<Splitter>& steps) const {
    const Pattern* known = find_pattern(pattern);
    if (known == nullptr) return refuse(fmt::format("the regular expression '{}'", model::printable(pattern)));
    steps.emplace_back(SplitMatches{known, keep_match, keep_between});
    return {};
  }

  Result<void> split_part(const Json& part, std::vector<Splitter>& steps) const {
    DANAUS_TRY(behavior, text(part, "behavior"));
    DANAUS_TRY(invert, truth(part, "invert", false));
    if (behavior != "Isolated" && behavior != "Removed")
      return refuse(fmt::format("the behavior '{}' of a Split", model::printable(behavior)));
    const bool isolated = behavior == "Isolated";
    const Json& pattern = member(part, "pattern");
    if (const Json& literal = member(pattern, "String"); literal.is_string()) {
      const std::u16string wide = widen(literal.get<std::string>());
      if (wide.empty()) return wrong("a Split has an empty pattern");
      steps.emplace_back(SplitMatches{wide, isolated || invert, isolated || !invert});
      return {};
    }
    DANAUS_TRY(expression, text(pattern, "Regex"));
    return add_split(expression, isolated || invert, isolated || !invert, steps);
  }

  /// `byte_level` becomes true when the part maps bytes to characters.
  Result<void> splitter(const Json& part, std::vector<Splitter>& steps, bool& byte_level, int depth = 0) const {
    if (part.is_null()) return {};
    DANAUS_TRY(type, text(part, "type"));
    if (byte_level) return refuse(fmt::format("the pre_tokenizer '{}' after ByteLevel", model::printable(type)));
    if (type == "Sequence" && depth < kDeepest) {
      DANAUS_TRY(inner, list(part, "pretokenizers"));
      for (const Json& one : *inner) DANAUS_CHECK(splitter(one, steps, byte_level, depth + 1));
    } else if (type == "ByteLevel") {
      byte_level = true;
      DANAUS_TRY(prefix, truth(part, "add_prefix_space", true));
      DANAUS_TRY(regex, truth(part, "use_regex", true));
      if (prefix) steps.emplace_back(PrefixSpace{});
      if (regex) DANAUS_CHECK(add_split(kGpt2Pattern, true, true, steps));
    } else if (type == "Split") {
      DANAUS_CHECK(split_part(part, steps));
    } else if (type == "Digits") {
      DANAUS_TRY(individual, truth(part, "individual_digits", false));
      steps.emplace_back(SplitDigits{individual});
    } else if (type == "BertPreTokenizer") {
      steps.emplace_back(SplitBert{});
    } else if (type == "WhitespaceSplit") {
      DANAUS_CHECK(add_split(R"(\s+)", false, true, steps));
    } else if (type == "Whitespace") {
      DANAUS_CHECK(add_split(R"(\w+|[^\w\s]+)", true, false, steps));
    } else {
      return refuse(fmt::format("the pre_tokenizer '{}'", model::printable(type)));
    }
    return {};
  }

  Result<void> post_processor(const Json& part, Tokenizer::Parts& parts, int depth = 0) const {
    if (part.is_null()) return {};
    DANAUS_TRY(type, text(part, "type"));
    if (type == "ByteLevel") return {};  // moves offsets only
    if (type == "Sequence" && depth < kDeepest) {
      DANAUS_TRY(inner, list(part, "processors"));
      for (const Json& one : *inner) DANAUS_CHECK(post_processor(one, parts, depth + 1));
      return {};
    }
    if (!parts.before.empty() || !parts.after.empty()) return refuse("a second post_processor that adds tokens");
    if (type == "TemplateProcessing") return template_processing(part, parts);
    if (type != "BertProcessing" && type != "RobertaProcessing")
      return refuse(fmt::format("the post_processor '{}'", model::printable(type)));
    for (const auto& [key, ids] : {std::pair("cls", &parts.before), std::pair("sep", &parts.after)}) {
      DANAUS_TRY(pair, list(part, key));
      if (pair->size() != 2) return wrong(fmt::format("'{}' is not a token and its id", key));
      DANAUS_TRY(id, token_id((*pair)[1]));
      *ids = {id};
    }
    return {};
  }

  Result<void> template_processing(const Json& part, Tokenizer::Parts& parts) const {
    DANAUS_TRY(single, list(part, "single"));
    bool text_seen = false;
    for (const Json& item : *single) {
      if (item.is_object() && item.contains("Sequence")) {
        if (text_seen) return refuse("a template with the text twice");
        text_seen = true;
        continue;
      }
      DANAUS_TRY(name, text(member(item, "SpecialToken"), "id"));
      DANAUS_TRY(ids, list(member(member(part, "special_tokens"), name.c_str()), "ids"));
      for (const Json& value : *ids) {
        DANAUS_TRY(id, token_id(value));
        (text_seen ? parts.after : parts.before).push_back(id);
      }
    }
    if (!text_seen) return wrong("the template of the post_processor has no place for the text");
    return {};
  }

  /// `byte_level`: the texts of the model's tokens spell bytes; added tokens are plain text always.
  Result<std::vector<Token>> tokens(const Json& document, bool byte_level, bool normalised) const {
    const Json& words = member(member(document, "model"), "vocab");
    if (!words.is_object()) return wrong("'model.vocab' is missing or not an object of ids");
    const Json& added = member(document, "added_tokens");
    if (!added.is_null() && !added.is_array()) return wrong("'added_tokens' is not a list");
    // Ids may have holes, but not so many that memory is the file's to choose.
    const std::size_t most = 2 * (words.size() + added.size()) + 1024;
    std::vector<Token> tokens;
    const auto place = [&](const Json& value) -> Result<Token*> {
      DANAUS_TRY(id, token_id(value));
      if (id >= most)
        return fail(
            Error("nn.vocabulary", Failure::bad_input,
                  fmt::format("a token has the id {}, but there are only {} tokens", id, words.size() + added.size()))
                .in_file(file_));
      if (id >= tokens.size()) tokens.resize(id + std::size_t{1});
      return &tokens[id];
    };
    for (const auto& [word, id] : words.items()) {
      DANAUS_TRY(token, place(id));
      if (token->kind != TokenKind::unused)
        return fail(Error("nn.duplicate-token", Failure::bad_input,
                          fmt::format("two tokens have the id of '{}'", model::printable(word)))
                        .in_file(file_));
      token->kind = TokenKind::normal;
      token->bytes = word;
      if (!byte_level) continue;
      std::optional<std::string> bytes = byte_level_bytes(word);
      token->reachable = bytes.has_value();
      if (bytes) token->bytes = std::move(*bytes);
    }
    for (const Json& item : added) {
      DANAUS_TRY(content, text(item, "content"));
      DANAUS_TRY(special, truth(item, "special", false));
      DANAUS_TRY(token, place(member(item, "id")));
      for (const char* option : {"lstrip", "rstrip", "single_word"}) {
        DANAUS_TRY(set, truth(item, option, false));
        if (set && !special)
          return refuse(fmt::format("the option '{}' of the added token '{}'", option, model::printable(content)));
      }
      DANAUS_TRY(match_normalised, truth(item, "normalized", !special));
      if (!special && match_normalised && normalised)
        return refuse(fmt::format("the option 'normalized' of the added token '{}'", model::printable(content)));
      token->kind = special ? TokenKind::control : TokenKind::user_defined;
      token->bytes = content;
    }
    return tokens;
  }

  Result<Tokenizer::Parts> parts(const Json& document) const {
    const Json& algorithm = member(document, "model");
    DANAUS_TRY(type, text(algorithm, "type"));
    if (type != "BPE" && type != "WordPiece") return refuse(fmt::format("the model '{}'", model::printable(type)));

    std::vector<Normaliser> normalisers;
    DANAUS_CHECK(normaliser(member(document, "normalizer"), normalisers));
    std::vector<Splitter> splitters;
    bool byte_level = false;
    DANAUS_CHECK(splitter(member(document, "pre_tokenizer"), splitters, byte_level));
    if (byte_level != (type == "BPE"))
      return refuse(byte_level ? "the pre_tokenizer 'ByteLevel' with WordPiece" : "a BPE without ByteLevel");

    DANAUS_TRY(all, tokens(document, byte_level, !normalisers.empty()));
    // The unknown token is found by its name, also where that is not the spelling of bytes.
    std::optional<TokenId> unknown;
    if (const Json& name = member(algorithm, "unk_token"); name.is_string()) {
      const std::string wanted = name.get<std::string>();
      const std::vector<Token>::iterator found =
          std::find_if(all.begin(), all.end(), [&](const Token& token) { return token.bytes == wanted; });
      if (found == all.end())
        return fail(Error("nn.special-token", Failure::bad_input,
                          fmt::format("the unknown token '{}' is not in the vocabulary", model::printable(wanted)))
                        .in_file(file_));
      found->kind = TokenKind::unknown;
      unknown = static_cast<TokenId>(found - all.begin());
    }
    DANAUS_TRY(vocabulary, Vocabulary::make(std::move(all), file_));
    Tokenizer::Parts made{
        std::move(vocabulary), std::move(normalisers), std::move(splitters), {}, unknown, {}, {}, {}, {}};
    DANAUS_CHECK(type == "BPE" ? byte_pairs(algorithm, made) : word_piece(algorithm, made));
    DANAUS_CHECK(post_processor(member(document, "post_processor"), made));
    return made;
  }

  Result<void> byte_pairs(const Json& algorithm, Tokenizer::Parts& parts) const {
    for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const Json& value = member(algorithm, option); !value.is_null() && value != Json(""))
        return refuse(fmt::format("the option '{}' of a BPE", option));
    if (const Json& dropout = member(algorithm, "dropout"); !dropout.is_null() && dropout != Json(0.0))
      return refuse("the option 'dropout' of a BPE");
    DANAUS_TRY(fallback, truth(algorithm, "byte_fallback", false));
    if (fallback) return refuse("the option 'byte_fallback' of a BPE");
    ByteLevelBpe bpe;
    DANAUS_TRY(whole_words, truth(algorithm, "ignore_merges", false));
    bpe.whole_words_first = whole_words;
    DANAUS_TRY(merges, list(algorithm, "merges"));
    bpe.merges.reserve(merges->size());
    for (std::size_t rank = 0; rank < merges->size(); ++rank) {
      const Json& merge = (*merges)[rank];
      std::string left;
      std::string right;
      if (merge.is_string()) {
        const std::string& pair = merge.get_ref<const std::string&>();
        const std::size_t blank = std::min(pair.find(' '), pair.size());
        left = pair.substr(0, blank);
        right = pair.substr(std::min(blank + 1, pair.size()));
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else {
        return wrong(fmt::format("merge {} is neither a string nor a pair of strings", rank));
      }
      DANAUS_CHECK(add_merge(bpe.merges, parts.vocabulary, left, right, rank, file_));
    }
    parts.algorithm = std::move(bpe);
    return {};
  }

  Result<void> word_piece(const Json& algorithm, Tokenizer::Parts& parts) const {
    WordPiece pieces;
    DANAUS_TRY(continuing, text(algorithm, "continuing_subword_prefix"));
    if (continuing.empty()) return refuse("a WordPiece without continuing_subword_prefix");
    pieces.continuing = std::move(continuing);
    if (const Json& longest = member(algorithm, "max_input_chars_per_word"); !longest.is_null()) {
      if (!longest.is_number_unsigned()) return wrong("'max_input_chars_per_word' is not a whole number");
      pieces.longest_word = longest.get<std::size_t>();
    }
    parts.algorithm = std::move(pieces);
    return {};
  }

 private:
  std::string_view file_;
};

}  // namespace

Result<std::vector<TokenId>> read_ends(std::string_view json, std::string_view file) {
  const Reader reader(file);
  DANAUS_TRY(document, reader.parse(json));
  const Json& value = Reader::member(document, "eos_token_id");
  std::vector<TokenId> ends;
  if (value.is_null()) return ends;
  for (const Json& one : value.is_array() ? value : Json::array({value})) {
    DANAUS_TRY(id, reader.token_id(one));
    ends.push_back(id);
  }
  return ends;
}

Result<Tokenizer> Tokenizer::from_hugging_face(std::string_view json, std::string_view name,
                                               std::vector<TokenId> ends) {
  const Reader reader(name);
  DANAUS_TRY(document, reader.parse(json));
  DANAUS_TRY(parts, reader.parts(document));
  parts.ends = std::move(ends);
  DANAUS_CHECK(parts.finish(name));
  return Tokenizer(std::make_shared<const Parts>(std::move(parts)));
}

}  // namespace danaus::nn
