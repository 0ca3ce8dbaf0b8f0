// The engine against the reference transformer of nn (values) and against differences of its own losses (derivatives).

#include "danaus/tune/engine.h"

#include <filesystem>
#include <optional>

#include "tune_support.h"

namespace danaus::tune {
namespace {

const std::vector<std::string> kModels = {"bert", "llama", "llama-tied", "qwen2", "mistral", "phi", "falcon", "gpt2"};

/// What nn makes of the texts, with these factors and constants or, without, with the weights.
std::vector<float> reference_outputs(const model::Model& model, const std::vector<std::vector<nn::TokenId>>& texts,
                                     const factor::FactorFile* file) {
  std::unique_ptr<nn::LinearBackend> backend;
  if (file == nullptr) {
    backend = value_of(nn::float_backend(model));
  } else {
    std::vector<factor::Factors> operators;
    for (const auto& [name, factors] : file->operators) operators.push_back(factors);
    backend = value_of(nn::factor_backend(model, std::move(operators)));
  }
  nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
  if (file != nullptr) REQUIRE(transformer.set_constants(file->constants).has_value());
  std::vector<nn::Sequence> sequences(texts.size(), transformer.sequence());
  std::vector<nn::Step> steps;
  for (std::size_t n = 0; n < texts.size(); ++n) steps.push_back({&sequences[n], texts[n]});
  return value_of(transformer.has_decoder() ? transformer.decode(steps) : transformer.encode(steps));
}

TEST_CASE("engine: teacher and student say what nn says, for every family and structure") {
  if (!has_engine()) return;
  for (const std::string& name : kModels) {
    for (const bool staged : {false, true}) {
      CAPTURE(name);
      CAPTURE(staged);
      const model::Model model = small_model(name);
      factor::FactorFile file = mixed_factors(model);
      TrainingNetwork made = value_of(make_network(model, file, 1, true));
      shake(made.parameters);
      file = trained_factors(file, made.parameters, made.constants);
      // Trimmed padding has no place in a file, so what was shaken there must not count either.
      const TrainingNetwork again = value_of(make_network(model, file, 1, true));
      for (NetworkOperator& operation : made.network.operators)
        operation.staged = staged && operation.structure.kind == Structure::Kind::blocks;
      const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
      const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
      const std::vector<std::vector<nn::TokenId>> texts = random_texts(3, 9, model.dimensions.vocab);
      const Shard shard = shard_of(transformer, texts);
      const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), single_options()));
      CHECK(worst(value_of(engine->outputs(shard, false, again.parameters)), reference_outputs(model, texts, nullptr)) <
            1e-5);
      CHECK(worst(value_of(engine->outputs(shard, true, again.parameters)), reference_outputs(model, texts, &file)) <
            1e-5);
    }
  }
}

TEST_CASE("engine: real models say what nn says") {
  if (!has_engine()) return;
  for (const char* name : {"all-MiniLM-L6-v2", "SmolLM2-135M-Instruct.Q4_1.gguf"}) {
    CAPTURE(name);
    const std::string path = std::string(DANAUS_SOURCE_DIR) + "/models/" + name;
    if (!std::filesystem::exists(path)) {
      MESSAGE("no model: make models");
      continue;
    }
    const model::Model model = value_of(model::load(path));
    TrainingNetwork made = value_of(make_network(model, {}, 1, false));
    const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
    const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
    const std::vector<std::vector<nn::TokenId>> texts = random_texts(2, 24, model.dimensions.vocab);
    const Shard shard = shard_of(transformer, texts);
    const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), single_options()));
    const std::vector<float> expected = reference_outputs(model, texts, nullptr);
    CHECK(worst(value_of(engine->outputs(shard, false, made.parameters)), expected) < 1e-4);
    CHECK(worst(value_of(engine->outputs(shard, true, made.parameters)), expected) < 1e-4);
  }
}

TEST_CASE("engine: gradients are the slopes of the losses") {
  if (!has_engine()) return;
  struct Case {
    std::string model;
    LossParts weights;
    Pooling pooling = Pooling::mean;
    bool layer_wise = false;
  };
  const std::vector<Case> cases = {{"bert", {1, 0, 0, 0, 0}},
                                   {"bert", {0.5, 1, 0.7, 0, 0}},
                                   {"bert", {0, 1, 0, 0, 0}, Pooling::first},
                                   {"llama", {0, 0, 0, 1, 0}},
                                   {"gpt2", {0.2, 0, 0.3, 0.5, 0.4}},
                                   {"phi", {0, 0, 0, 0, 1}},
                                   {"bert", {1, 0, 2, 0, 0}, {}, true},
                                   {"llama", {1, 0, 2, 0, 0}, {}, true},
                                   {"phi", {1, 0, 2, 0, 0}, {}, true}};
  for (const Case& one : cases) {
    CAPTURE(one.model);
    const model::Model model = small_model(one.model);
    const factor::FactorFile file = mixed_factors(model);
    TrainingNetwork made = value_of(make_network(model, file, 1, true));
    shake(made.parameters);
    const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
    const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
    const std::vector<Shard> shards = {shard_of(transformer, random_texts(2, 7, model.dimensions.vocab)),
                                       shard_of(transformer, random_texts(3, 5, model.dimensions.vocab))};
    EngineOptions options = single_options();
    options.pooling = one.pooling;
    options.layer_wise = one.layer_wise;
    const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), std::move(options)));
    const auto loss = [&](std::span<const Parameter> parameters) {
      const LossParts parts = value_of(engine->losses(shards, one.weights, parameters));
      return one.weights.output * parts.output + one.weights.embedding * parts.embedding +
             one.weights.features * parts.features + one.weights.distillation * parts.distillation +
             one.weights.language * parts.language;
    };
    std::vector<std::vector<float>> gradients(made.parameters.size());
    value_of(engine->gradients(shards, one.weights, made.parameters, gradients));
    // Along the gradient of each parameter the loss grows by its squared length times the step.
    double checked = 0;
    for (std::size_t p = 0; p < made.parameters.size(); ++p) {
      double length = 0;
      for (const float g : gradients[p]) length += double{g} * double{g};
      length = std::sqrt(length);
      if (length < 1e-3) continue;  // lost in the rounding of the loss
      CAPTURE(made.parameters[p].name);
      const double step = 5e-3;
      const auto moved = [&](double sign) {
        std::vector<Parameter> there = made.parameters;
        for (std::size_t n = 0; n < there[p].values.size(); ++n)
          there[p].values[n] += static_cast<float>(sign * step * double{gradients[p][n]} / length);
        return loss(there);
      };
      CHECK((moved(1) - moved(-1)) / (2 * step) == doctest::Approx(length).epsilon(0.05));
      ++checked;
    }
    CHECK(checked > 5);
  }
}

TEST_CASE("engine: layers apart do not see each other's errors") {
  if (!has_engine()) return;
  for (const char* name : {"bert", "llama", "gpt2", "phi", "falcon"}) {
    CAPTURE(name);
    const model::Model model = small_model(name);
    const std::uint32_t last = model.linear.back().layer;
    REQUIRE(last > 0);
    const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
    const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
    const std::vector<Shard> shards = {shard_of(transformer, random_texts(2, 7, model.dimensions.vocab))};
    // Only operators of the layers that are asked for have factors; all others are the teacher's.
    const auto losses = [&](bool of_last, bool of_others, bool layer_wise) {
      factor::FactorFile file = mixed_factors(model);
      std::erase_if(file.operators, [&](const auto& operation) {
        const auto is_it = [&](const model::LinearOperator& linear) { return linear.name == operation.first; };
        const bool is_last = std::find_if(model.linear.begin(), model.linear.end(), is_it)->layer == last;
        return is_last ? !of_last : !of_others;
      });
      TrainingNetwork made = value_of(make_network(model, file, 1, false));
      EngineOptions options = single_options();
      options.layer_wise = layer_wise;
      const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), std::move(options)));
      return value_of(engine->losses(shards, {1, 0, 1, 0, 0}, made.parameters));
    };
    const LossParts last_alone = losses(true, false, true), others = losses(false, true, true),
                    all = losses(true, true, true);
    CHECK(last_alone.features < 1e-9);
    CHECK(others.output < 1e-9);
    CHECK(last_alone.output > 1e-4);
    CHECK(others.features > 1e-4);
    CHECK(all.output == last_alone.output);
    CHECK(all.features == others.features);
    CHECK(losses(true, true, false).output != all.output);
    CHECK(losses(true, false, false).output == doctest::Approx(last_alone.output));
  }
}

TEST_CASE("engine: noise is what it says") {
  if (!has_engine()) return;
  const model::Model model = small_model("bert");
  const factor::FactorFile file = mixed_factors(model);
  const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
  const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
  Shard shard = shard_of(transformer, random_texts(4, 16, model.dimensions.vocab));
  const auto outputs = [&](const Noise& noise) {
    TrainingNetwork made = value_of(make_network(model, file, 1, false));
    EngineOptions options = single_options();
    options.noise = noise;
    const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), std::move(options)));
    return value_of(engine->outputs(shard, true, made.parameters));
  };
  const std::vector<float> exact = outputs({});
  // Converters of many bits change little, each bit less doubles the error.
  const double fine = worst(outputs({16, 16, 0, 1}), exact);
  CHECK(fine < 2e-3);
  const double coarse = worst(outputs({8, 8, 0, 1}), exact), coarser = worst(outputs({5, 5, 0, 1}), exact);
  CHECK(coarse > 4 * fine);
  CHECK(coarser > 4 * coarse);
  CHECK(coarser < 64 * coarse);
  // Weights: the same draws for the same shard and seed, others for others; twice the spread, about twice the error.
  const std::vector<float> once = outputs({0, 0, 0.001, 1});
  CHECK(once == outputs({0, 0, 0.001, 1}));
  CHECK(once != outputs({0, 0, 0.001, 2}));
  CHECK(worst(outputs({0, 0, 0.002, 1}), exact) == doctest::Approx(2 * worst(once, exact)).epsilon(0.1));
  shard.number = 1;
  CHECK(once != outputs({0, 0, 0.001, 1}));
  shard.number = 0;

  // Derivatives go straight through: with fine converters they are those without.
  const auto gradients = [&](const Noise& noise) {
    TrainingNetwork made = value_of(make_network(model, file, 1, false));
    EngineOptions options = single_options();
    options.noise = noise;
    const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), std::move(options)));
    std::vector<std::vector<float>> found(made.parameters.size());
    value_of(engine->gradients(std::span(&shard, 1), {1, 1, 0, 0, 0}, made.parameters, found));
    std::vector<float> all;
    for (const std::vector<float>& one : found) all.insert(all.end(), one.begin(), one.end());
    return all;
  };
  CHECK(worst(gradients({16, 16, 0, 1}), gradients({})) < 0.05);
}

TEST_CASE("engine: the same bits for any thread count") {
  if (!has_engine()) return;
  const model::Model model = small_model("bert");
  std::optional<std::vector<std::vector<float>>> first;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    TrainingNetwork made = value_of(make_network(model, mixed_factors(model), 1, false));
    const std::unique_ptr<nn::LinearBackend> backend = value_of(nn::float_backend(model));
    const nn::Transformer transformer = value_of(nn::Transformer::create(model, *backend));
    std::vector<Shard> shards;
    for (std::size_t length : {5, 9, 7, 11})
      shards.push_back(shard_of(transformer, random_texts(4, length, model.dimensions.vocab)));
    for (const Precision precision : {Precision::single}) {
      EngineOptions options = single_options();
      options.precision = precision;
      const std::unique_ptr<Engine> engine = value_of(make_engine(std::move(made.network), std::move(options)));
      std::vector<std::vector<float>> gradients(made.parameters.size());
      value_of(engine->gradients(shards, {1, 1, 1, 0, 0}, made.parameters, gradients));
      if (!first) first = gradients;
      CHECK(*first == gradients);
    }
  }
  set_thread_count(0);
}

}  // namespace
}  // namespace danaus::tune
