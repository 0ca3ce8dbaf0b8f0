// Windows, pooling, sampling and generation; functions of vectors against the C library.

#include "danaus/nn/metrics.h"

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <map>

#include "danaus/nn/elementwise.h"
#include "danaus/nn/generate.h"
#include "nn_support.h"

namespace danaus::nn {
namespace {

TEST_CASE("elementwise: functions are those of the C library, of any length and far out") {
  const double pi = std::acos(-1.0);
  for (const std::size_t n : {1, 7, 16, 1000}) {
    std::vector<float> x(n), y(n);
    for (std::size_t e = 0; e < n; ++e) x[e] = static_cast<float>(20 * std::sin(static_cast<double>(e * e + 1)));
    if (n > 500) x[1] = -1e30f, x[2] = 1e30f, x[3] = 0, x[4] = 1e-20f;
    const auto check = [&](auto reference) {
      for (std::size_t e = 0; e < n; ++e) {
        const double v = double{x[e]};
        CAPTURE(v);
        CHECK(std::abs(double{y[e]} - reference(v)) <= 3e-7 * (1 + std::abs(v)));
      }
    };
    silu(x.data(), y.data(), n);
    check([](double v) { return v / (1 + std::exp(-v)); });
    gelu(x.data(), y.data(), n);
    check([](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2.0)); });
    gelu_tanh(x.data(), y.data(), n);
    check([&](double v) { return 0.5 * v * (1 + std::tanh(std::sqrt(2 / pi) * (v + 0.044715 * v * v * v))); });
  }
}

TEST_CASE("elementwise: softmax and its logarithm do not overflow") {
  for (const std::size_t n : {1, 5, 300, 50000}) {
    std::vector<float> x(n);
    for (std::size_t e = 0; e < n; ++e) x[e] = static_cast<float>(1000 + 9 * std::sin(static_cast<double>(e * e)));
    double sum = 0;
    for (const float v : x) sum += std::exp(double{v} - 1000);
    CHECK(std::abs(log_sum_exp(x.data(), n) - (1000 + std::log(sum))) < 1e-6);
    std::vector<float> y = x;
    softmax(y.data(), n);
    for (std::size_t e = 0; e < n; e += 1 + n / 50)
      CHECK(double{y[e]} == doctest::Approx(std::exp(double{x[e]} - 1000) / sum).epsilon(2e-6));
  }
}

TEST_CASE("elementwise: what is no finite number is found wherever it stands") {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (std::size_t at = 0; at < 37; ++at) {
      std::vector<float> x(37, 3e38f);
      CHECK(all_finite(x.data(), x.size()));
      x[at] = bad;
      CHECK_FALSE(all_finite(x.data(), x.size()));
      softmax(x.data(), x.size());
      const bool is_gone = bad < 0;  // a weight of zero
      CHECK(all_finite(x.data(), x.size()) == is_gone);
    }
  }
}

TEST_CASE("metrics: windows, their scores and impossible rules") {
  Reference reference(data_folder("llama"));
  std::vector<TokenId> ids;
  for (TokenId n = 0; n < 60; ++n) ids.push_back(n * n % 29);
  // By hand: every window is a text of its own.
  const auto by_hand = [&](std::size_t length, std::size_t stride) {
    double sum = 0;
    std::size_t scored = 0, held = 0;
    for (std::size_t first = 0; held < ids.size(); first += stride) {
      const std::vector<TokenId> window(
          ids.begin() + static_cast<std::ptrdiff_t>(first),
          ids.begin() + static_cast<std::ptrdiff_t>(std::min(first + length, ids.size())));
      const std::vector<float> logits = value_of(reference->logits(decode_all(*reference, window)));
      for (std::size_t t = 1; t < window.size(); ++t) {
        if (first + t < held) continue;
        double total = 0;
        for (std::size_t e = 0; e < 29; ++e) total += std::exp(double{logits[(t - 1) * 29 + e]});
        sum += std::log(total) - double{logits[(t - 1) * 29 + window[t]]};
        ++scored;
      }
      held = first + window.size();
    }
    return std::pair(sum / static_cast<double>(scored), scored);
  };
  for (const auto& [length, stride] : std::map<std::uint32_t, std::uint32_t>{{24, 24}, {20, 7}, {1, 1}, {13, 12}}) {
    CAPTURE(length);
    for (const std::uint32_t chunk : {512u, 5u, 1u}) {
      const Perplexity found =
          value_of(perplexity(*reference, ids, {.length = length, .stride = stride}, no_progress(), chunk));
      if (length == 1) {
        CHECK(found.scored == 0);
        CHECK_FALSE(found.nll.has_value());
        CHECK_FALSE(found.perplexity.has_value());
        CHECK(found.windows == 60);
        continue;
      }
      const auto [nll, scored] = by_hand(length, stride);
      CHECK(*found.nll == doctest::Approx(nll).epsilon(1e-5));
      CHECK(found.scored == scored);
      CHECK(found.tokens == 60);
    }
  }
  const Perplexity usual = value_of(perplexity(*reference, ids));
  CHECK(usual.windows == 3);
  CHECK(usual.length == 24);
  CHECK(usual.stride == 24);
  CHECK(usual.scored == 57);
  CHECK(error_of(perplexity(*reference, ids, {.length = 25})) == "nn.window");
  CHECK(error_of(perplexity(*reference, ids, {.length = 10, .stride = 11})) == "nn.window");
  CHECK(error_of(perplexity(*reference, {})) == "nn.no-tokens");
  CHECK_FALSE(value_of(perplexity(*reference, std::span(ids).first(1))).nll.has_value());
}

TEST_CASE("metrics: pooling and batches of texts") {
  Reference reference(data_folder("bert"));
  const std::vector<Json> figures = texts_of("bert");
  std::vector<std::vector<TokenId>> texts;
  for (const Json& text : figures) texts.push_back(ids_of(text.at("ids")));
  for (const Pooling::Kind kind :
       {Pooling::Kind::mean, Pooling::Kind::first, Pooling::Kind::last, Pooling::Kind::max}) {
    for (const bool normalise : {false, true}) {
      for (const std::uint32_t batch : {1u, 21u, 1000u}) {
        const std::vector<std::vector<float>> found =
            value_of(embed(*reference, texts, {kind, normalise}, no_progress(), batch));
        REQUIRE(found.size() == texts.size());
        for (std::size_t n = 0; n < texts.size(); ++n) {
          const Json& hidden = figures[n].at("hidden");
          std::vector<float> expected(16);
          double squares = 0;
          for (std::size_t e = 0; e < 16; ++e) {
            std::vector<double> column;
            for (const Json& row : hidden) column.push_back(row.at(e).get<double>());
            double sum = 0;
            for (const double v : column) sum += v / static_cast<double>(column.size());
            const double value = kind == Pooling::Kind::mean    ? sum
                                 : kind == Pooling::Kind::first ? column.front()
                                 : kind == Pooling::Kind::last  ? column.back()
                                                                : *std::max_element(column.begin(), column.end());
            squares += value * value;
            expected[e] = static_cast<float>(value);
          }
          if (normalise) {
            for (float& value : expected) value /= static_cast<float>(std::sqrt(squares));
          }
          CHECK(worst(found[n], expected) < 1e-5);
        }
      }
    }
  }
  texts.push_back({29});
  const Result<std::vector<std::vector<float>>> failed = embed(*reference, texts, {}, no_progress(), 1);
  REQUIRE(error_of(failed) == "nn.token-id");
  CHECK(failed.error().notes.front() == "it is text 4 of 4");
  Reference decoder(data_folder("llama"));
  CHECK(error_of(embed(*decoder, texts, {})) == "nn.no-encoder");
}

TEST_CASE("metrics: cosine") {
  const std::vector<float> a = {3, 4}, b = {4, 3}, zero = {0, 0};
  CHECK(cosine(a, b) == doctest::Approx(0.96));
  CHECK(cosine(a, a) == doctest::Approx(1));
  CHECK(cosine(a, zero) == 0);
}

/// A folder that goes away at the end.
struct Scratch {
  std::filesystem::path path;
  Scratch() : path(std::filesystem::temp_directory_path() / ("danaus-nn-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path / "1_Pooling");
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
};

TEST_CASE("metrics: the pooling of a sentence-transformers folder") {
  const Scratch scratch;
  const Pooling usual = value_of(read_pooling(scratch.path));
  CHECK(usual.kind == Pooling::Kind::mean);
  CHECK(usual.normalise);
  scratch.write("modules.json", R"([{"type":"sentence_transformers.models.Transformer"},
                                    {"type":"sentence_transformers.models.Pooling"}])");
  CHECK_FALSE(value_of(read_pooling(scratch.path)).normalise);
  for (const auto& [key, kind] :
       {std::pair("cls_token", Pooling::Kind::first), std::pair("lasttoken", Pooling::Kind::last),
        std::pair("max_tokens", Pooling::Kind::max), std::pair("mean_tokens", Pooling::Kind::mean)}) {
    scratch.write("1_Pooling/config.json",
                  std::string(R"({"word_embedding_dimension":8,"pooling_mode_)") + key + "\":true}");
    CHECK(value_of(read_pooling(scratch.path)).kind == kind);
  }
  for (const char* text : {"{", "[]", "{}", R"({"pooling_mode_mean_tokens":1})",
                           R"({"pooling_mode_mean_tokens":false})", R"({"pooling_mode_mean_sqrt_len_tokens":true})",
                           R"({"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true})"}) {
    CAPTURE(text);
    scratch.write("1_Pooling/config.json", text);
    CHECK(error_of(read_pooling(scratch.path)) == "nn.pooling");
  }
  scratch.write("1_Pooling/config.json", R"({"pooling_mode_mean_tokens":true})");
  for (const char* text : {"[", "{}", "[1]", R"([{"type":1}])", R"([{"type":"sentence_transformers.models.Dense"}])"}) {
    CAPTURE(text);
    scratch.write("modules.json", text);
    CHECK(error_of(read_pooling(scratch.path)) == "nn.pooling");
  }
}

TEST_CASE("sampling: greedy, frequencies, top-k and top-p") {
  const std::vector<float> logits = {0, 1, 2, 2, -1};
  CHECK(value_of(sample(logits, {}, 0)) == 2);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} / 1.5);
  constexpr std::uint64_t kDraws = 20000;
  const auto frequencies = [&](const Sampling& sampling) {
    std::vector<double> counts(logits.size());
    for (std::uint64_t n = 0; n < kDraws; ++n) counts[value_of(sample(logits, sampling, n))] += 1.0 / kDraws;
    return counts;
  };
  const std::vector<double> all = frequencies({.temperature = 1.5, .seed = 7});
  for (std::size_t e = 0; e < logits.size(); ++e)
    CHECK(std::abs(all[e] - std::exp(double{logits[e]} / 1.5) / sum) < 0.012);
  const std::vector<double> two = frequencies({.temperature = 1.5, .top_k = 2});
  CHECK(two[2] == doctest::Approx(0.5).epsilon(0.03));
  CHECK(two[2] + two[3] == doctest::Approx(1));
  // e^2 + e^2 of 19.0 have 0.78 of the probability at temperature 1, with e^1 0.92.
  const std::vector<double> likely = frequencies({.temperature = 1, .top_p = 0.9});
  CHECK(likely[0] + likely[4] == 0);
  CHECK(likely[1] == doctest::Approx(std::exp(1.0) / (std::exp(1.0) + 2 * std::exp(2.0))).epsilon(0.06));
  CHECK(value_of(sample(logits, {.temperature = 1, .top_p = 1e-9}, 3)) == 2);
  CHECK(error_of(sample(logits, {.temperature = -1}, 0)) == "nn.sampling");
  CHECK(error_of(sample(logits, {.temperature = std::nan("")}, 0)) == "nn.sampling");
  CHECK(error_of(sample(logits, {.temperature = 1, .top_p = 0}, 0)) == "nn.sampling");
  CHECK(error_of(sample(std::vector<float>{0, std::nanf("")}, {}, 0)) == "nn.non-finite");
}

TEST_CASE("generation: greedy is the largest logit again and again; ends, stops and full contexts") {
  Reference reference(data_folder("llama"));
  std::vector<TokenId> ids = {3, 1, 4};
  const std::vector<TokenId> prompt = ids;
  for (int n = 0; n < 6; ++n) {
    const std::vector<float> logits = value_of(reference->logits(decode_all(*reference, ids)));
    const auto row = logits.end() - 29;
    ids.push_back(static_cast<TokenId>(std::max_element(row, logits.end()) - row));
  }
  const std::vector<TokenId> expected(ids.begin() + 3, ids.end());
  GenerateOptions options;
  options.tokens = 6;
  std::vector<TokenId> seen;
  const auto note = [&](TokenId token) {
    seen.push_back(token);
    return true;
  };
  Generated found = value_of(generate(*reference, prompt, options, note));
  CHECK(found.ids == expected);
  CHECK(seen == expected);
  CHECK(found.end == Generated::End::length);

  found = value_of(generate(*reference, prompt, options, [](TokenId) { return false; }));
  CHECK(found.ids.size() == 1);
  CHECK(found.end == Generated::End::stopped);

  options.end_tokens = {expected[2]};
  found = value_of(generate(*reference, prompt, options, note));
  const auto end = std::find(expected.begin(), expected.end(), expected[2]);
  CHECK(found.ids == std::vector<TokenId>(expected.begin(), end));
  CHECK(found.end == Generated::End::token);

  options.end_tokens.clear();
  options.tokens = 1000;
  options.sampling.temperature = 1;
  found = value_of(generate(*reference, prompt, options, note));
  CHECK(found.end == Generated::End::context);
  CHECK(found.ids.size() == 24 - 3 + 1);  // the last one has no room to be read
  CHECK(value_of(generate(*reference, prompt, options, note)).ids == found.ids);
  options.sampling.seed = 1;
  CHECK(value_of(generate(*reference, prompt, options, note)).ids != found.ids);
  options.tokens = 0;
  CHECK(value_of(generate(*reference, prompt, options, note)).ids.empty());
  CHECK(error_of(generate(*reference, {}, options, note)) == "nn.no-tokens");
  Reference encoder(data_folder("bert"));
  CHECK(error_of(generate(*encoder, prompt, options, note)) == "nn.no-decoder");
}

TEST_CASE("generation: an encoder-decoder model answers a text") {
  Reference reference(data_folder("bart"));
  GenerateOptions options;
  options.tokens = 4;
  options.decoder_prompt = {2};
  const std::vector<TokenId> prompt = {3, 1, 4};
  const Generated found = value_of(generate(*reference, prompt, options, [](TokenId) { return true; }));
  Sequence sequence = reference->sequence();
  const Step text = {&sequence, prompt};
  value_of(reference->encode(std::span(&text, 1)));
  std::vector<TokenId> ids = {2};
  for (const TokenId token : found.ids) {
    Sequence copy = sequence;
    const Step step = {&copy, ids};
    const std::vector<float> logits = value_of(reference->logits(value_of(reference->decode(std::span(&step, 1)))));
    const auto row = logits.end() - 29;
    CHECK(token == static_cast<TokenId>(std::max_element(row, logits.end()) - row));
    ids.push_back(token);
  }
  options.decoder_prompt.clear();
  CHECK(error_of(generate(*reference, prompt, options, [](TokenId) { return true; })) == "nn.no-tokens");
}

}  // namespace
}  // namespace danaus::nn
