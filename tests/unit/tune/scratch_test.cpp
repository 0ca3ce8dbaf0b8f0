// Training from nothing: gradients of embedding and head, same bits, and a file that is a model.

#include "danaus/tune/scratch.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "tune_support.h"

namespace danaus::tune {
namespace {

struct Made {
  TrainingNetwork training;
  std::unique_ptr<Engine> engine;
};

Made made_from_scratch(const model::Model& model) {
  TrainingNetwork training = value_of(make_network(model, random_start(model, 3), 1, true));
  add_matrices(model, 3, 1, training);
  Network network = training.network;
  return {std::move(training), value_of(make_engine(std::move(network), single_options()))};
}

Shard shard_of(const std::vector<std::vector<nn::TokenId>>& texts) {
  Shard shard{texts.size(), texts.front().size(), {}, {}, 0};
  for (const std::vector<nn::TokenId>& text : texts) shard.ids.insert(shard.ids.end(), text.begin(), text.end());
  return shard;
}

TEST_CASE("scratch: embedding and head are trained, tied or not, and their gradients are slopes") {
  if (!has_engine()) return;
  for (const char* name : {"llama", "llama-tied"}) {
    CAPTURE(name);
    const model::Model model = small_model(name);
    Made made = made_from_scratch(model);
    std::vector<Parameter>& parameters = made.training.parameters;
    CHECK(made.training.network.trained_embedding.has_value());
    CHECK((made.training.network.trained_embedding == made.training.network.trained_head) == model.head->tied);
    const std::vector<Shard> shards = {shard_of(random_texts(2, 7, model.dimensions.vocab)),
                                       shard_of(random_texts(3, 5, model.dimensions.vocab))};
    const LossParts weights{0, 0, 0, 0, 1};
    std::vector<std::vector<float>> gradients(parameters.size());
    value_of(made.engine->gradients(shards, weights, parameters, gradients));
    for (const std::size_t p : {*made.training.network.trained_embedding, *made.training.network.trained_head}) {
      CAPTURE(parameters[p].name);
      double length = 0;
      for (const float g : gradients[p]) length += double{g} * double{g};
      length = std::sqrt(length);
      REQUIRE(length > 1e-3);
      const double step = 2e-3;  // of vectors of deviation 0.02, which norms make long
      const auto moved = [&](double sign) {
        std::vector<Parameter> there = parameters;
        for (std::size_t n = 0; n < there[p].values.size(); ++n)
          there[p].values[n] += static_cast<float>(sign * step * double{gradients[p][n]} / length);
        return value_of(made.engine->losses(shards, weights, there)).language;
      };
      CHECK((moved(1) - moved(-1)) / (2 * step) == doctest::Approx(length).epsilon(0.05));
    }
  }
}

TEST_CASE("scratch: the start is random, of the deviation that it says, and gains are 1") {
  const model::Model model = small_model("llama");
  const factor::FactorFile start = random_start(model, 1), other = random_start(model, 2);
  REQUIRE(start.operators.size() == model.linear.size());
  double squares = 0, expected = 0;
  for (std::size_t n = 0; n < start.operators.size(); ++n) {
    const std::vector<float>& weights = start.operators[n].second.right;
    CHECK(weights.size() == std::size_t{model.linear[n].out} * model.linear[n].in);
    CHECK(weights != other.operators[n].second.right);
    for (const float w : weights) squares += double{w} * double{w};
    expected += static_cast<double>(model.linear[n].out) / 4;  // out * in weights of variance 1 / (4 in)
  }
  CHECK(squares == doctest::Approx(expected).epsilon(0.1));
  for (const auto& [name, values] : start.constants) {
    CAPTURE(name);
    for (const float value : values) CHECK(value == 1.0F);
  }
}

TEST_CASE("scratch: what was trained is written, and read as a model that has learned") {
  if (!has_engine()) return;
  const std::filesystem::path source = std::string(DANAUS_SOURCE_DIR) + "/data/tiny-kjv/tiny-kjv.gguf";
  const std::filesystem::path target = std::filesystem::temp_directory_path() / "danaus-unit-scratch.gguf";
  const model::Model model = value_of(model::load(source.string()));
  // A text that repeats itself: learned in a few steps.
  std::vector<std::vector<nn::TokenId>> texts(1);
  for (std::uint32_t n = 0; n < 4096; ++n) texts[0].push_back(static_cast<nn::TokenId>(300 + n % 16));
  Options options;
  options.from_scratch = true;
  options.steps = 30;
  options.batch_tokens = 128;
  options.lengths = {32};
  options.precision = Precision::single;
  const auto keep = [](const Record&) -> Result<void> { return {}; };
  const auto trained = [&] {
    return value_of(tune(model, random_start(model, 1), {false, texts, {}}, options, keep, no_progress()));
  };
  const Tuned tuned = trained();
  CHECK(tuned.last_loss < 3);
  set_thread_count(1);
  const Tuned again = trained();
  set_thread_count(0);
  CHECK(again.matrices == tuned.matrices);
  CHECK(again.factors.constants == tuned.factors.constants);

  CHECK(write_model(target, model, tuned).has_value());
  const model::Model written = value_of(model::load(target.string()));
  CHECK(written.dimensions == model.dimensions);
  CHECK(written.tensors.size() == model.tensors.size());
  std::vector<float> row(128);
  model::dequantise_rows(written.embeddings.front().tokens.tensor, 301, 1, row);
  REQUIRE(tuned.matrices.size() == 1);
  float largest = 0, off = 0;
  for (std::size_t n = 0; n < row.size(); ++n) {
    const float exact = tuned.matrices[0].second[301 * row.size() + n];
    largest = std::max(largest, std::abs(exact));
    off = std::max(off, std::abs(exact - row[n]));
  }
  CHECK(off < largest / 200);  // half a unit of Q8_0 and its scale's rounding
  const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(written));
  nn::Transformer transformer = value_of(nn::Transformer::create(written, *backend));
  nn::Sequence sequence = transformer.sequence();
  const std::vector<nn::Step> steps = {{&sequence, std::span<const nn::TokenId>(texts[0]).first(24)}};
  const std::vector<float> hidden = value_of(transformer.decode(steps));
  const std::vector<float> last(hidden.end() - 128, hidden.end());
  const std::vector<float> logits = value_of(transformer.logits(last));
  CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == 300 + 24 % 16);
  std::filesystem::remove(target);
}

TEST_CASE("scratch: what cannot be trained from nothing is refused") {
  const auto id = [](const Result<void>& result) { return result ? std::string() : result.error().id; };
  for (const char* name : {"bert", "gpt2", "bart"}) {
    CAPTURE(name);
    CHECK(id(check_from_scratch(small_model(name))) == "tune.unsupported");
  }
  CHECK(id(check_from_scratch(value_of(model::load("bert-large")))) == "tune.unsupported");
  CHECK(id(check_from_scratch(value_of(model::load("tiny-kjv")))) == "tune.unsupported");  // no file
  CHECK(id(check_from_scratch(small_model("llama"))).empty());
}

}  // namespace
}  // namespace danaus::tune
