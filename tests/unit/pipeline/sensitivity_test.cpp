// Damages against a model that was computed as a whole, with plain sums in double precision.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/transformer.h"
#include "danaus/pipeline/damage.h"
#include "danaus/pipeline/measure_sensitivity.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

std::string folder(const std::string& name) { return std::string(DANAUS_SOURCE_DIR) + "/tests/data/nn/" + name; }

template <typename Value>
Value value_of(Result<Value> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : to_string(result.error())));
  return std::move(*result);
}

/// Texts of 15 tokens, or one of several windows.
SensitivityOptions options_of(const model::Model& model, bool encoder) {
  nlohmann::json ids = nlohmann::json::array();
  for (std::uint32_t n = 0; n < 60; ++n) {
    const std::uint32_t id = (n * n * 31 + n * 7) % model.dimensions.vocab;
    if (!encoder)
      ids.push_back(id);
    else if (n % 15 == 0)
      ids.push_back({id});
    else
      ids.back().push_back(id);
  }
  SensitivityOptions options;
  options.text = {EvaluateInput::Kind::ids, ids.dump(), "ids.json"};
  options.candidates = {"lowrank:2", "gather:4:3"};
  return options;
}

Sensitivity measured(const model::Model& model, const std::string& name, const SensitivityOptions& options) {
  const auto drop = [](const Sensitivity&) -> Result<void> { return {}; };
  return value_of(measure_sensitivity(model, folder(name), options, drop, no_progress()));
}

/// Of all operators with this candidate.
std::vector<factor::Factors> projected(const model::Model& model, const factor::Policy& policy) {
  const std::vector<Structure> structures = value_of(factor::choose_structures(model, policy, 256));
  std::vector<factor::Factors> factors;
  const auto keep = [&](std::string_view, const factor::Projection& projection) -> Result<void> {
    factors.push_back(projection.factors);
    return {};
  };
  REQUIRE(factor::project_model(
      model, structures, [](std::string_view) { return true; }, keep, no_progress()));
  return factors;
}

/// Without replacements that are kept and computed in part: every operator in its place, window by window.
double expected_damage(const model::Model& model, const std::string& name, const SensitivityOptions& options,
                       const std::vector<std::size_t>& replaced, const std::vector<factor::Factors>& factors) {
  std::vector<factor::Factors> operators;
  for (std::size_t n = 0; n < model.linear.size(); ++n) {
    const bool is_replaced = std::find(replaced.begin(), replaced.end(), n) != replaced.end();
    const model::LinearOperator& linear = model.linear[n];
    operators.push_back(
        is_replaced ? factors[n] : factor::Factors{Structure::dense(linear.out, linear.in), read_weights(linear), {}});
  }
  const auto dense_backend = value_of(nn::float_backend(model));
  const auto other_backend = value_of(nn::factor_backend(model, std::move(operators)));
  nn::Transformer dense = value_of(nn::Transformer::create(model, *dense_backend));
  nn::Transformer other = value_of(nn::Transformer::create(model, *other_backend));
  const TokenSequences text = value_of(token_sequences(model, folder(name), options.text, 0));
  double sum = 0;
  std::size_t count = 0;
  for (const std::vector<nn::TokenId>& ids : text.tokens) {
    if (text.encoder) {
      const nn::Pooling pooling = value_of(pooling_of(folder(name)));
      const std::vector<float> a = value_of(nn::embed(dense, {&ids, 1}, pooling))[0];
      const std::vector<float> b = value_of(nn::embed(other, {&ids, 1}, pooling))[0];
      sum += 1 - nn::cosine(a, b);
      ++count;
      continue;
    }
    const auto log_probabilities = [&](nn::Transformer& transformer) {
      nn::Sequence sequence = transformer.sequence();
      const nn::Step step = {&sequence, ids};
      const std::vector<float> logits = value_of(transformer.logits(value_of(transformer.decode(std::span(&step, 1)))));
      std::vector<double> result(logits.begin(), logits.end());
      for (std::size_t first = 0; first < result.size(); first += transformer.vocab()) {
        double total = 0;
        for (std::size_t n = first; n < first + transformer.vocab(); ++n) total += std::exp(result[n]);
        for (std::size_t n = first; n < first + transformer.vocab(); ++n) result[n] -= std::log(total);
      }
      return result;
    };
    const std::vector<double> p = log_probabilities(dense), q = log_probabilities(other);
    for (std::size_t n = 0; n < p.size(); ++n) sum += std::exp(p[n]) * (p[n] - q[n]);
    count += ids.size();
  }
  return sum / static_cast<double>(count);
}

}  // namespace

TEST_CASE("damages are those of the whole model with one operator, or all, replaced") {
  for (const std::string name : {"bert", "llama", "gpt2", "mixtral"}) {
    CAPTURE(name);
    const model::Model model = value_of(model::load(folder(name)));
    const SensitivityOptions options = options_of(model, name == "bert");
    const Sensitivity found = measured(model, name, options);
    CHECK(found.operators.size() + found.unused.size() == model.linear.size());
    CHECK(found.texts == (name == "bert" ? 4u : 3u));
    CHECK(found.tokens >= 60);
    REQUIRE(found.candidates.size() == 2);
    factor::Policy policy;
    policy.kind = factor::Policy::Kind::lowrank;
    policy.compression = 2;
    const std::vector<factor::Factors> factors = projected(model, policy);
    std::vector<std::size_t> all;
    double sum = 0;
    for (std::size_t n = 0; n < found.operators.size(); ++n) {
      const auto linear = std::find_if(model.linear.begin(), model.linear.end(),
                                       [&](const auto& one) { return one.name == found.operators[n]; });
      all.push_back(static_cast<std::size_t>(linear - model.linear.begin()));
      const double expected = expected_damage(model, name, options, {all.back()}, factors);
      CHECK(found.candidates[0].damages[n] == doctest::Approx(expected).epsilon(1e-3));
      sum += found.candidates[0].damages[n];
    }
    CHECK(found.candidates[0].sum == doctest::Approx(sum));
    CHECK(*found.candidates[0].together ==
          doctest::Approx(expected_damage(model, name, options, all, factors)).epsilon(1e-3));
    CHECK(found.candidates[0].sum > 1e-3);  // there is something to measure
  }
}

TEST_CASE("measuring one operator, in any order and with any number of threads, gives the same bits") {
  for (const std::string name : {"bert", "llama", "mixtral"}) {
    CAPTURE(name);
    const model::Model model = value_of(model::load(folder(name)));
    SensitivityOptions options = options_of(model, name == "bert");
    const Sensitivity all = measured(model, name, options);
    set_thread_count(1);
    std::swap(options.candidates[0], options.candidates[1]);
    for (std::size_t n = 0; n < all.operators.size(); n += 3) {
      options.selected = [&](std::string_view one) { return one == all.operators[n]; };
      const Sensitivity one = measured(model, name, options);
      CHECK(one.operators == std::vector<std::string>{all.operators[n]});
      CHECK(one.candidates[0].damages == std::vector<double>{all.candidates[1].damages[n]});
      CHECK(one.candidates[1].damages == std::vector<double>{all.candidates[0].damages[n]});
      CHECK(one.candidates[0].together == one.candidates[0].sum);
    }
    set_thread_count(0);
  }
}

TEST_CASE("dense operators do no damage; a text is read as far as is asked for") {
  for (const std::string name : {"bert", "llama"}) {
    const model::Model model = value_of(model::load(folder(name)));
    SensitivityOptions options = options_of(model, name == "bert");
    options.candidates = {"dense"};
    options.tokens = 30;
    const Sensitivity found = measured(model, name, options);
    CHECK(found.texts == 2);
    CHECK(found.tokens >= 30);
    CHECK(found.tokens < 40);
    CHECK(found.candidates[0].sum < 1e-6);
    CHECK(found.candidates[0].parameters == found.dense_parameters);
  }
}

TEST_CASE("what is measured is written as rules that map auto reads") {
  Sensitivity found;
  found.operators = {"blk.0.attn_q", "a \"quoted\" \\ name"};
  found.candidates = {{.name = "gather:4:8", .parameters = 1, .damages = {0.25, 1e-7}, .sum = 0, .together = {}},
                      {.name = "monarch:4", .parameters = 1, .damages = {0, 12345.5}, .sum = 0, .together = {}}};
  const std::vector<SensitivityRule> rules =
      value_of(parse_sensitivity(sensitivity_text(rules_of(found), "of m\n\xff\x7f["), "f"));
  REQUIRE(rules.size() == 2);
  using Costs = std::vector<std::pair<std::string, double>>;
  CHECK(rules[0].pattern == found.operators[0]);
  CHECK(rules[0].costs == Costs{{"gather:4:8", 0.25}, {"monarch:4", 0}});
  CHECK(rules[1].pattern == found.operators[1]);
  CHECK(rules[1].costs == Costs{{"gather:4:8", 1e-7}, {"monarch:4", 12350}});

  // A large model has more rules than could be written by hand.
  std::vector<SensitivityRule> many;
  for (int n = 0; n < 1000; ++n) many.push_back({fmt::format("blk.{}.ffn_down", n), 0, rules[0].costs});
  const std::string text = sensitivity_text(many, "many");
  CHECK(text.size() > 65536);
  CHECK(value_of(parse_sensitivity(text, "f")).size() == 1000);
  // But keys of any depth could exhaust the stack.
  const auto deep = [](int depth) {
    std::string key = "a";
    for (int n = 0; n < depth; ++n) key += ".a";
    return parse_sensitivity(key + " = 1", "f").error().id;
  };
  CHECK(deep(15000) == "auto.sensitivity-key");
  CHECK(deep(20000) == "auto.sensitivity-syntax");
}

TEST_CASE("measurements that cannot be made are refused") {
  const model::Model model = value_of(model::load(folder("llama")));
  SensitivityOptions options = options_of(model, false);
  const auto error = [&] {
    const auto drop = [](const Sensitivity&) -> Result<void> { return {}; };
    const auto found = measure_sensitivity(model, folder("llama"), options, drop, no_progress());
    return found ? std::string() : found.error().id;
  };
  options.candidates = {"given"};
  CHECK(error() == "auto.candidate");
  options.candidates = {"monark:4"};
  CHECK(error() == "auto.candidate");
  const model::Model bart = value_of(model::load(folder("bart")));
  const auto drop = [](const Sensitivity&) -> Result<void> { return {}; };
  CHECK(measure_sensitivity(bart, folder("bart"), options_of(bart, false), drop, no_progress()).error().id ==
        "eval.encoder-decoder");
  const TokenSequences text = {false, {{1, 2, 3}}};
  const std::uint64_t bytes = 3 * sizeof(float) * model.dimensions.vocab;
  CHECK(DamageProbe::create(model, text, {}, bytes).has_value());
  CHECK(DamageProbe::create(model, text, {}, bytes - 1).error().id == "sensitivity.tokens");
}
