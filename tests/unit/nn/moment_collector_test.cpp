// The moments of small models against sums of outer products in double precision.
#include "danaus/nn/moment_collector.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "danaus/core/parallel.h"
#include "nn_support.h"

namespace danaus::nn {
namespace {

/// Keeps what every operator sees.
class Recorder final : public LinearBackend {
 public:
  explicit Recorder(LinearBackend& backend) : backend_(backend) {}
  struct Seen {
    std::vector<float> x;
    std::vector<std::uint64_t> tokens;
  };
  std::map<std::size_t, Seen> seen;

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override {
    Seen& own = seen[number];
    own.x.insert(own.x.end(), x.begin(), x.end());
    own.tokens.insert(own.tokens.end(), tokens.begin(), tokens.end());
    return backend_.multiply(number, x, tokens, y);
  }

 private:
  LinearBackend& backend_;
};

/// Runs two texts of a model at once.
void run(Transformer& transformer, const std::vector<std::vector<TokenId>>& texts) {
  std::vector<Sequence> sequences(texts.size(), transformer.sequence());
  std::vector<Step> steps;
  for (std::size_t n = 0; n < texts.size(); ++n) steps.push_back({&sequences[n], texts[n]});
  REQUIRE((transformer.has_decoder() ? transformer.decode(steps) : transformer.encode(steps)).has_value());
}

}  // namespace

TEST_CASE("second moments, means and energies are those of what the operators see") {
  for (const char* name : {"llama", "bert", "gpt2", "mixtral"}) {
    CAPTURE(name);
    Reference reference(data_folder(name));
    const std::vector<std::vector<TokenId>> texts = {{1, 5, 9, 2, 7, 3, 3, 8, 4}, {4, 2, 2, 6, 1}};
    Recorder recorder(*reference.backend);
    Result<Transformer> recording = Transformer::create(*reference.model, recorder);
    REQUIRE(recording.has_value());
    run(*recording, texts);
    for (const TokenWeights& weights : {TokenWeights{}, TokenWeights{3, 1}, TokenWeights{0, 0.5}}) {
      std::vector<factor::InputMoments> inputs = inputs_of(*reference.model);
      std::size_t operators = 0;
      for (factor::InputMoments& input : inputs) {
        input.sums.assign(factor::triangle(input.in) + input.in, 0.0);
        operators += input.operators.size();
      }
      CHECK(operators == reference.model->linear.size());
      CHECK(inputs.size() < operators);
      MomentCollector collector(*reference.backend, *reference.model, inputs, weights);
      collector.set_first_tokens({0, texts[0].size()});
      Result<Transformer> transformer = Transformer::create(*reference.model, collector);
      REQUIRE(transformer.has_value());
      run(*transformer, texts);
      for (factor::InputMoments& input : inputs) {
        CAPTURE(input.name);
        std::size_t number = 0;
        while (reference.model->linear[number].name != input.name) ++number;
        const Recorder::Seen& seen = recorder.seen[number];
        const std::size_t in = input.in;
        std::vector<double> sums(input.sums.size());
        double weight = 0, first = 0, other = 0;
        for (std::size_t t = 0; t < seen.tokens.size(); ++t) {
          double energy = 0;
          for (std::size_t i = 0; i < in; ++i) energy += double{seen.x[t * in + i]} * double{seen.x[t * in + i]};
          const bool is_first = seen.tokens[t] == 0 || seen.tokens[t] == texts[0].size();
          (is_first ? first : other) += energy;
          const double own = (is_first ? weights.first_token : 1) * std::pow(energy, -weights.normalise);
          weight += own;
          for (std::size_t i = 0; i < in; ++i) {
            for (std::size_t j = 0; j <= i; ++j)
              sums[factor::triangle(i) + j] += own * double{seen.x[t * in + i]} * double{seen.x[t * in + j]};
            sums[factor::triangle(in) + i] += own * double{seen.x[t * in + i]};
          }
        }
        REQUIRE(input.first_tokens + input.tokens == seen.tokens.size());
        CHECK(input.weight == doctest::Approx(weight));
        if (input.first_tokens != 0)
          CHECK(input.energy.first == doctest::Approx(first / static_cast<double>(input.first_tokens)));
        if (input.tokens != 0) CHECK(input.energy.other == doctest::Approx(other / static_cast<double>(input.tokens)));
        double most = 0, difference = 0;
        for (std::size_t n = 0; n < sums.size(); ++n) {
          most = std::max(most, std::abs(sums[n]));
          difference = std::max(difference, std::abs(sums[n] - input.sums[n]));
        }
        CHECK(difference <= 2e-6 * most);
      }
    }
  }
}

TEST_CASE("many wide vectors, one of them huge: the same sums for any thread count, and none is lost") {
  model::Model model;
  model.linear.emplace_back();
  model.linear.front().name = "wide";
  model.linear.front().in = 450;
  model.linear.front().out = 1;
  model.graph.nodes.resize(2);
  model.graph.nodes[1].sources = {NodeId{0}};
  model.linear.front().node = NodeId{1};
  class Nothing final : public LinearBackend {
    Result<void> multiply(std::size_t, std::span<const float>, std::span<const std::uint64_t>,
                          std::span<float>) override {
      return {};
    }
  } nothing;
  constexpr std::size_t kIn = 450, kTokens = 700;
  std::vector<float> x(kIn * kTokens);
  for (std::size_t n = 0; n < x.size(); ++n) x[n] = static_cast<float>((n * 7919 + n / kIn * 31) % 1009) / 1009 - 0.5f;
  x[17] = 2000;
  std::vector<std::uint64_t> tokens(kTokens);
  for (std::size_t t = 0; t < kTokens; ++t) tokens[t] = t;
  std::vector<double> before;
  for (const int threads : {0, 1}) {
    set_thread_count(threads);
    std::vector<factor::InputMoments> inputs = inputs_of(model);
    REQUIRE(inputs.size() == 1);
    inputs[0].sums.assign(factor::triangle(kIn) + kIn, 0.0);
    MomentCollector collector(nothing, model, inputs, {});
    collector.set_first_tokens({0});
    std::vector<float> y(kTokens);
    REQUIRE(collector.multiply(0, x, tokens, y).has_value());
    if (threads == 1) CHECK(inputs[0].sums == before);
    before = inputs[0].sums;
  }
  set_thread_count(0);
  for (const auto& [i, j] : {std::pair{449u, 0u}, {449u, 449u}, {200u, 17u}, {17u, 17u}, {300u, 193u}}) {
    double sum = 0, scale = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      sum += double{x[t * kIn + i]} * double{x[t * kIn + j]};
      scale += std::abs(double{x[t * kIn + i]} * double{x[t * kIn + j]});
    }
    CHECK(std::abs(before[factor::triangle(i) + j] - sum) <= 1e-6 * scale);
  }
}

}  // namespace danaus::nn
