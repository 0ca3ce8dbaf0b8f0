// The real models of models/ against PyTorch (figures of tests/oracle/make_nn_model_figures.py). The models are not
// part of the repository (make models fetches them); without them these tests say so and pass.

#include <filesystem>

#include "danaus/nn/generate.h"
#include "danaus/nn/metrics.h"
#include "nn_support.h"

namespace danaus::nn {
namespace {

bool is_present(const std::string& path) {
  const bool found = std::filesystem::exists(path);
  if (!found) MESSAGE("skipped: there is no " << path << " (make models)");
  return found;
}

std::string models_folder() { return std::string(DANAUS_SOURCE_DIR) + "/models/"; }

TEST_CASE("real models: SmolLM2's logits, perplexity, windows and greedy text are those of PyTorch") {
  const std::string path = models_folder() + "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!is_present(path)) return;
  const Json figures = read_json(data_folder("real_models.json")).at("smollm2");
  const std::vector<TokenId> ids = ids_of(figures.at("ids"));
  Reference reference(path);

  const std::vector<float> outputs = decode_all(*reference, ids);
  const std::size_t hidden = reference->hidden(), vocab = reference->vocab();
  const std::vector<float> first = value_of(reference->logits(std::span(outputs).first(hidden)));
  const std::vector<float> last = value_of(reference->logits(std::span(outputs).last(hidden)));
  REQUIRE(last.size() == vocab);
  for (const auto& [name, logits] : {std::pair("first", &first), std::pair("last", &last), std::pair("best", &last)}) {
    CAPTURE(name);
    std::vector<float> chosen;
    for (const TokenId id : ids_of(figures.at(name).at("ids"))) chosen.push_back(logits->at(id));
    CHECK(worst(chosen, figures.at(name).at("logits").get<std::vector<float>>()) < 1e-4);
  }

  const std::vector<double> scores = value_of(reference->negative_log_likelihood(
      std::span(outputs).first((ids.size() - 1) * hidden), std::span(ids).subspan(1)));
  const std::vector<double> expected = figures.at("nll_of_tokens").get<std::vector<double>>();
  REQUIRE(scores.size() == expected.size());
  for (std::size_t n = 0; n < scores.size(); ++n) CHECK(std::abs(scores[n] - expected[n]) < 1e-3);
  const Perplexity whole = value_of(perplexity(*reference, ids));
  CHECK(*whole.nll == doctest::Approx(figures.at("nll").get<double>()).epsilon(1e-5));
  CHECK(whole.scored == ids.size() - 1);
  CHECK(*whole.perplexity == doctest::Approx(std::exp(*whole.nll)));
  for (const Json& window : figures.at("windows")) {
    const WindowRule rule = {.length = window.at("length"), .stride = window.at("stride")};
    const Perplexity found = value_of(perplexity(*reference, ids, rule));
    CHECK(*found.nll == doctest::Approx(window.at("nll").get<double>()).epsilon(1e-5));
    CHECK(found.scored == window.at("scored").get<std::uint64_t>());
  }

  const std::vector<TokenId> greedy = ids_of(figures.at("greedy"));
  GenerateOptions options;
  options.tokens = static_cast<std::uint32_t>(greedy.size());
  options.end_tokens = {2};
  const Generated text =
      value_of(generate(*reference, std::span(ids).first(40), options, [](TokenId) { return true; }));
  CHECK(text.ids == greedy);
}

TEST_CASE("real models: MiniLM's embeddings are those of PyTorch") {
  const std::string path = models_folder() + "all-MiniLM-L6-v2";
  if (!is_present(path)) return;
  const Json figures = read_json(data_folder("real_models.json")).at("minilm");
  Reference reference(path);
  const std::vector<std::vector<TokenId>> texts = figures.at("ids").get<std::vector<std::vector<TokenId>>>();
  const Pooling pooling = value_of(read_pooling(path));
  CHECK(pooling.kind == Pooling::Kind::mean);
  CHECK(pooling.normalise);
  const std::vector<std::vector<float>> embeddings = value_of(embed(*reference, texts, pooling));
  REQUIRE(embeddings.size() == texts.size());
  CHECK(worst(embeddings[0], figures.at("embedding").get<std::vector<float>>()) < 1e-5);
  for (std::size_t a = 0; a < texts.size(); ++a) {
    for (std::size_t b = 0; b < texts.size(); ++b)
      CHECK(std::abs(cosine(embeddings[a], embeddings[b]) - figures.at("cosines").at(a).at(b).get<double>()) < 1e-6);
  }
}

}  // namespace
}  // namespace danaus::nn
