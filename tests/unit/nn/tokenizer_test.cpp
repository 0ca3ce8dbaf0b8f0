#include "danaus/nn/tokenizer.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "danaus/core/files.h"

// The figures are those of PyPI tokenizers and sentencepiece: tests/oracle/make_tokenizer_figures.py.

using namespace danaus;
using nn::TokenId;
using nn::Tokenizer;
using Json = nlohmann::json;

namespace {

const std::filesystem::path kRoot = DANAUS_SOURCE_DIR;
const std::filesystem::path kFolder = kRoot / "tests/data/tokenizers";

std::string file_text(const std::filesystem::path& path) {
  const Result<std::string> text = read_text(path);
  REQUIRE(text);
  return *text;
}

Tokenizer tokenizer(const std::filesystem::path& path) {
  const Result<Tokenizer> read = Tokenizer::read(path);
  INFO((read ? path.string() : to_string(read.error())));
  REQUIRE(read);
  return *read;
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text, bool add_special = true) {
  const Result<std::vector<TokenId>> ids = tokenizer.encode(text, {add_special});
  INFO((ids ? std::string() : to_string(ids.error())));
  REQUIRE(ids);
  return *ids;
}

std::string decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  const Result<std::string> text = tokenizer.decode(ids);
  REQUIRE(text);
  return *text;
}

std::string random_bytes(std::mt19937& random, std::size_t size) {
  // Mostly characters that words, numbers and white space are made of, sometimes any byte.
  constexpr std::string_view kCommon = "abcdefgh ABC 123 '\n\t.,st\xC3\xA9\xE4\xBD\xA0";
  std::string text;
  for (std::size_t index = 0; index < size; ++index)
    text += random() % 3 == 0 ? static_cast<char>(random() % 256) : kCommon[random() % kCommon.size()];
  return text;
}

std::string error_of(std::string_view json) {
  const Result<Tokenizer> made = Tokenizer::from_hugging_face(json, "tokenizer.json");
  return made ? "" : made.error().id;
}

/// A small valid byte-level tokenizer.json, to be damaged.
Json small_document() {
  return Json::parse(R"({
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}},
    "added_tokens": [{"id": 5, "content": "<s>", "special": true}, {"id": 6, "content": "<br>", "special": false}],
    "model": {"type": "BPE", "unk_token": null, "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "abab": 4},
              "merges": ["a b", ["ab", "ab"]]}})");
}

}  // namespace

TEST_CASE("ids and texts are those of independent tokenizers") {
  const Json document = Json::parse(file_text(kFolder / "figures.json"));
  std::size_t checked = 0;
  for (const auto& [name, rows] : document["figures"].items()) {
    const bool real = name.starts_with("models/");
    const std::filesystem::path path = real ? kRoot / name : kFolder / name;
    if (real && !std::filesystem::exists(path)) {
      MESSAGE("skipped: " << name << " is not there (scripts/fetch-models.sh)");
      continue;
    }
    const Tokenizer made = tokenizer(path);
    for (const Json& row : rows) {
      const std::string text = row["text"];
      CAPTURE(name);
      CAPTURE(text);
      CHECK(encode(made, text) == row["ids"].get<std::vector<TokenId>>());
      ++checked;
    }
  }
  CHECK(checked >= 500);
}

TEST_CASE("byte-level BPE keeps every byte of any text") {
  std::mt19937 random(7);
  for (const char* name : {"default.gguf", "gpt-2.gguf", "llama-bpe.gguf", "smollm.gguf", "qwen2.gguf", "gpt-2.json"}) {
    const Tokenizer made = tokenizer(kFolder / name);
    CHECK(made.kind() == "byte-level BPE");
    CHECK(made.size() == 480);
    for (std::size_t round = 0; round < 300; ++round) {
      const std::string text = random_bytes(random, round);
      CHECK(decode(made, encode(made, text)) == text);
    }
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text(1, static_cast<char>(byte));
      CHECK(encode(made, text, false).size() == 1);
    }
  }
}

TEST_CASE("bytes that are not UTF-8 are characters that are neither letters nor numbers nor white space") {
  const Tokenizer made = tokenizer(kFolder / "gpt-2.gguf");
  // The tokens of the parts: a broken character ends the word before it and starts no new letter.
  const auto joined = [&](std::initializer_list<std::string_view> parts) {
    std::vector<TokenId> ids;
    for (const std::string_view part : parts) {
      const std::vector<TokenId> more = encode(made, part);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  };
  CHECK(encode(made, "the\xFFthe") == joined({"the", "\xFF", "the"}));
  CHECK(encode(made, "the\xC3 the") == joined({"the", "\xC3", " the"}));
  CHECK(encode(made, "\xED\xA0\x80").size() == 3);  // an encoded surrogate is not UTF-8
}

TEST_CASE("SentencePiece keeps every byte when it has byte tokens") {
  std::mt19937 random(11);
  const Tokenizer made = tokenizer(kFolder / "llama.gguf");
  CHECK(made.kind() == "SentencePiece BPE");
  for (std::size_t round = 0; round < 300; ++round) {
    std::string text = random_bytes(random, round);
    CHECK(decode(made, encode(made, text)) == text);
  }
}

TEST_CASE("decoding WordPiece joins words") {
  for (const char* name : {"bert.json", "bert.gguf"}) {
    const Tokenizer made = tokenizer(kFolder / name);
    CHECK(made.kind() == "WordPiece");
    CHECK(decode(made, encode(made, "The Quick\tbrown  fox, jumps")) == "the quick brown fox , jumps");
    CHECK(encode(made, "").size() == 2);
    CHECK(encode(made, "", false).empty());
  }
}

TEST_CASE("user-defined tokens are found in a text, special ones are text") {
  Json document = small_document();
  document["model"]["vocab"].update({{"<", 7}, {"s", 8}, {">", 9}});
  const Result<Tokenizer> made = Tokenizer::from_hugging_face(document.dump(), "t");
  REQUIRE(made);
  CHECK(encode(*made, "ab<br>abab b<s>") == std::vector<TokenId>{5, 2, 6, 4, 3, 1, 7, 8, 9});
  CHECK(encode(*made, "ab<br>", false) == std::vector<TokenId>{2, 6});
  CHECK(decode(*made, {5, 2, 6}) == "ab<br>");
  const Result<std::vector<TokenId>> unknown = made->encode("c");
  REQUIRE(!unknown);
  CHECK(unknown.error().id == "nn.byte");
  const Result<std::string> beyond = made->decode(std::vector<TokenId>{10});
  REQUIRE(!beyond);
  CHECK(beyond.error().id == "nn.token-id");
}

TEST_CASE("very long words and texts") {
  const Tokenizer made = tokenizer(kFolder / "gpt-2.gguf");
  // Quadratic merging would take hours here.
  std::string words;
  while (words.size() < 2000000) words += "the fox, 12 ";
  for (const std::string& text :
       {words, std::string(2000000, 'a'), std::string(1000000, ' '), std::string(1000000, '\n')})
    CHECK(decode(made, encode(made, text)) == text);
  const Tokenizer scored = tokenizer(kFolder / "llama.gguf");
  const std::string text(1000000, 'a');
  CHECK(decode(scored, encode(scored, text)) == text);
  const Result<std::vector<TokenId>> too_large = made.encode(std::string((std::size_t{64} << 20) + 1, 'a'));
  REQUIRE(!too_large);
  CHECK(too_large.error().id == "nn.text-size");
}

TEST_CASE("threads that share a tokenizer get the same ids") {
  const Tokenizer made = tokenizer(kFolder / "llama-bpe.json");
  std::mt19937 random(3);
  std::vector<std::string> texts;
  for (std::size_t index = 0; index < 64; ++index) texts.push_back(random_bytes(random, 200));
  std::vector<std::vector<TokenId>> alone;
  for (const std::string& text : texts) alone.push_back(encode(made, text));
  std::array<std::vector<std::vector<TokenId>>, 4> shared;
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < shared.size(); ++thread)
    threads.emplace_back([&, thread] {
      shared[thread].resize(texts.size());
      for (std::size_t step = 0; step < texts.size(); ++step) {
        const std::size_t index = thread % 2 == 0 ? step : texts.size() - 1 - step;
        shared[thread][index] = made.encode(texts[index]).value();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<std::vector<TokenId>>& ids : shared) CHECK(ids == alone);
}

TEST_CASE("the embedding needs a row for every id") {
  const Tokenizer made = tokenizer(kFolder / "gpt-2.json");
  CHECK(made.check_embedding(480));
  CHECK(made.check_embedding(512));
  const Result<void> short_of_one = made.check_embedding(479);
  REQUIRE(!short_of_one);
  CHECK(short_of_one.error().id == "nn.embedding-rows");
}

TEST_CASE("what is wrong in a tokenizer.json is named") {
  CHECK(error_of(small_document().dump()).empty());
  const auto damaged = [](const char* pointer, const Json& value) {
    Json document = small_document();
    document[Json::json_pointer(pointer)] = value;
    return error_of(document.dump());
  };
  CHECK(error_of("") == "nn.json");
  CHECK(error_of("[]") == "nn.json");
  CHECK(error_of("{\"model\": 1, \"model\": 2}") == "nn.json");
  CHECK(error_of(std::string(5000, '[')) == "nn.json");
  CHECK(damaged("/model/vocab/a", -1) == "nn.json");
  CHECK(damaged("/model/vocab/a", 4000000000U) == "nn.vocabulary");
  CHECK(damaged("/model/vocab/a", 1) == "nn.duplicate-token");
  CHECK(damaged("/added_tokens/1/content", "<s>") == "nn.duplicate-token");
  CHECK(damaged("/model/merges/0", "a c") == "nn.merge");
  CHECK(damaged("/model/merges/0", "b a") == "nn.merge");
  CHECK(damaged("/model/merges/0", "ab") == "nn.merge");
  CHECK(damaged("/model/merges/0", "") == "nn.merge");
  CHECK(damaged("/model/merges/0", "ab ab") == "nn.merge");  // twice
  CHECK(damaged("/model/merges/0", 1) == "nn.json");
  CHECK(damaged("/model/unk_token", "<unk>") == "nn.special-token");
  CHECK(damaged("/post_processor/special_tokens/<s>/ids/0", 7) == "nn.special-token");
  CHECK(damaged("/model/type", "Unigram") == "nn.unsupported");
  CHECK(damaged("/model/dropout", 0.1) == "nn.unsupported");
  CHECK(damaged("/model/byte_fallback", true) == "nn.unsupported");
  CHECK(damaged("/pre_tokenizer", {{"type", "Metaspace"}}) == "nn.unsupported");
  CHECK(damaged("/pre_tokenizer", nullptr) == "nn.unsupported");
  CHECK(damaged("/normalizer", {{"type", "Precompiled"}}) == "nn.unsupported");
  CHECK(damaged("/post_processor/type", "Other") == "nn.unsupported");
  CHECK(damaged("/added_tokens/1/lstrip", true) == "nn.unsupported");
  const auto with_pattern = [&](const char* pattern) {
    return damaged("/pre_tokenizer",
                   Json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated",
                                   "pattern": {"Regex": ")" +
                               std::string(pattern) + R"("}}, {"type": "ByteLevel"}]})"));
  };
  CHECK(with_pattern(R"(\\p{N})").empty());
  CHECK(with_pattern("b+") == "nn.unsupported");
}

TEST_CASE("text appears token by token, never half a character") {
  std::mt19937 random(19);
  for (const char* name : {"gpt-2.gguf", "llama.gguf", "bert.json"}) {
    const Tokenizer made = tokenizer(kFolder / name);
    for (const std::string& text : {std::string("The Stra\u00dfe, \u4f60\u597d \U0001f44d\U0001f3fd end \U0001f600"),
                                    random_bytes(random, 200)}) {
      const std::vector<TokenId> ids = encode(made, text);
      nn::TextStream stream(made);
      std::string joined;
      for (const TokenId id : ids) {
        const Result<std::string> more = stream.add(id);
        REQUIRE(more);
        if (text.starts_with("The")) CHECK(nlohmann::json(*more).dump().size() >= 2);  // throws unless it is UTF-8
        joined += *more;
      }
      CHECK(joined + stream.finish() == decode(made, ids));
    }
  }
  // The first two bytes of a character wait for the third, and come out when it never comes.
  const Tokenizer made = tokenizer(kFolder / "gpt-2.gguf");
  const TokenId first = encode(made, "\xF0", false).front();
  const TokenId second = encode(made, "\x9F", false).front();
  nn::TextStream stream(made);
  CHECK(stream.add(first).value().empty());
  CHECK(stream.add(second).value().empty());
  CHECK(stream.add(first).value() == "\xF0\x9F");
  CHECK(stream.finish() == "\xF0");
  CHECK(stream.finish().empty());
}

TEST_CASE("files say what ends a text") {
  CHECK(std::ranges::equal(tokenizer(kFolder / "gpt-2.gguf").ends(), std::vector<TokenId>{1}));
  CHECK(tokenizer(kFolder / "gpt-2.json").ends().empty());
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("danaus-tokenizer-{}", ::getpid());
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(kFolder / "gpt-2.json", folder / "tokenizer.json",
                             std::filesystem::copy_options::overwrite_existing);
  const auto configure = [&](const char* name, const char* text) { std::ofstream(folder / name) << text; };
  configure("config.json", R"({"eos_token_id": 1})");
  CHECK(std::ranges::equal(tokenizer(folder).ends(), std::vector<TokenId>{1}));
  configure("generation_config.json", R"({"eos_token_id": [1, 0]})");
  CHECK(std::ranges::equal(tokenizer(folder).ends(), std::vector<TokenId>{0, 1}));
  configure("generation_config.json", R"({"eos_token_id": "</s>"})");
  const Result<Tokenizer> wrong = Tokenizer::read(folder);
  REQUIRE(!wrong);
  CHECK(wrong.error().id == "nn.json");
  std::filesystem::remove_all(folder);
}

TEST_CASE("what is wrong in the metadata of a GGUF file is named") {
  const std::string bytes = file_text(kFolder / "gpt-2.gguf");
  const auto error_after = [&](std::string_view from, std::string_view to) {
    REQUIRE(from.size() == to.size());
    std::string changed = bytes;
    const std::size_t place = changed.find(from);
    REQUIRE(place != std::string::npos);
    changed.replace(place, from.size(), to);
    const Result<model::GgufFile> file = model::parse_gguf(std::as_bytes(std::span(changed)), "small.gguf");
    REQUIRE(file);
    const Result<Tokenizer> made = Tokenizer::from_gguf(*file);
    return made ? std::string() : made.error().id;
  };
  CHECK(error_after("tokenizer.ggml.model", "tokenizer.ggml.Model") == "nn.missing-key");
  CHECK(error_after("tokenizer.ggml.tokens", "tokenizer.ggml.Tokens") == "nn.missing-key");
  CHECK(error_after("tokenizer.ggml.merges", "tokenizer.ggml.Merges") == "nn.missing-key");
  CHECK(error_after("tokenizer.ggml.merges", "tokenizer.ggml.scores") == "nn.key-type");
  CHECK(error_after("tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_to").empty());  // unknown keys do not matter
  CHECK(error_after("tokenizer.ggml.eos_token_id", "tokenizer.ggml.tokens_token").empty());
}

TEST_CASE("truncated and damaged files give errors, never worse") {
  const std::string gguf = file_text(kFolder / "bert.gguf");
  const auto try_gguf = [](const std::string& bytes) {
    const Result<model::GgufFile> file = model::parse_gguf(std::as_bytes(std::span(bytes)), "damaged.gguf");
    if (!file) return;
    const Result<Tokenizer> made = Tokenizer::from_gguf(*file);
    if (made) (void)made->encode("some text, 12 \xFF");
  };
  for (std::size_t size = 0; size < gguf.size(); ++size) try_gguf(gguf.substr(0, size));
  for (std::size_t place = 0; place < gguf.size(); ++place) {
    std::string damaged = gguf;
    damaged[place] = static_cast<char>(damaged[place] ^ (1 << (place % 8)));
    try_gguf(damaged);
  }
  const std::string json = small_document().dump();
  for (std::size_t size = 0; size < json.size(); ++size) CHECK(error_of(json.substr(0, size)) == "nn.json");
  for (std::size_t place = 0; place < json.size(); ++place)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = json;
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << bit));
      const Result<Tokenizer> made = Tokenizer::from_hugging_face(damaged, "t");
      if (made) (void)made->encode("abab <br>b");
    }
}
