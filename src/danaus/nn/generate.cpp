// Text token by token: the prompt through the cache in chunks, then one token at a time. Draws are a function of the
// seed and of how many tokens were drawn before, so a text does not depend on threads or on how the prompt was cut.

#include "danaus/nn/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "danaus/core/random.h"

namespace danaus::nn {
namespace {

constexpr std::size_t kPromptChunk = 512;
constexpr std::uint64_t kStream = 0x73616d706c65;  // draws of this module, by a number of its own

Result<void> check(const Sampling& sampling) {
  const auto bad = [](std::string text, std::string hint) {
    return fail(Error("nn.sampling", Failure::usage, std::move(text)).with_hint(std::move(hint)));
  };
  if (!(sampling.temperature >= 0 && sampling.temperature <= 1e6))
    return bad(fmt::format("the temperature {} is not possible", sampling.temperature),
               "0 takes the likeliest token, 1 draws by the model's probabilities");
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    return bad(fmt::format("top-p = {} is not possible", sampling.top_p), "a probability above 0 and up to 1");
  return {};
}

}  // namespace

Result<TokenId> sample(std::span<const float> logits, const Sampling& sampling, std::uint64_t number) {
  DANAUS_CHECK(check(sampling));
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (!std::isfinite(logits[token]))
      return fail(
          Error("nn.non-finite", Failure::bad_input, fmt::format("the logit of token {} is no finite number", token)));
  }
  if (sampling.temperature == 0)
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  // Likeliest first, of equals the smaller id.
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), TokenId{0});
  std::size_t kept = logits.size();
  if (sampling.top_k != 0) kept = std::min<std::size_t>(kept, sampling.top_k);
  const auto likelier = [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  if (kept < order.size() || sampling.top_p < 1)
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), likelier);
  const double most = double{*std::max_element(logits.begin(), logits.end())};
  std::vector<double> weights(kept);
  double sum = 0;
  for (std::size_t n = 0; n < kept; ++n)
    sum += weights[n] = std::exp((double{logits[order[n]]} - most) / sampling.temperature);
  if (sampling.top_p < 1) {
    double reached = 0;
    for (std::size_t n = 0; n < kept; ++n) {
      reached += weights[n];
      if (reached >= sampling.top_p * sum) kept = n + 1;
    }
    sum = reached = std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
  }
  double left = random_uniform(sampling.seed, kStream, number) * sum;
  for (std::size_t n = 0; n + 1 < kept; ++n) {
    left -= weights[n];
    if (left < 0) return order[n];
  }
  return order[kept - 1];
}

Result<Generated> generate(Transformer& transformer, std::span<const TokenId> prompt, const GenerateOptions& options,
                           const std::function<bool(TokenId)>& sink) {
  DANAUS_CHECK(check(options.sampling));
  Sequence sequence = transformer.sequence();
  if (transformer.has_encoder() && transformer.has_decoder()) {
    const Step text = {&sequence, prompt};
    DANAUS_CHECK(transformer.encode(std::span(&text, 1)));
    prompt = options.decoder_prompt;
  }
  std::vector<float> outputs;
  const auto advance = [&](std::span<const TokenId> ids) -> Result<void> {
    const Step step = {&sequence, ids};
    DANAUS_TRY(computed, transformer.decode(std::span(&step, 1)));
    outputs = std::move(computed);
    return {};
  };
  // An empty prompt is refused as every empty step is.
  std::size_t first = 0;
  do {
    const std::size_t count = std::min(kPromptChunk, prompt.size() - first);
    DANAUS_CHECK(advance(prompt.subspan(first, count)));
    first += count;
  } while (first < prompt.size());
  Generated generated;
  while (generated.ids.size() < options.tokens) {
    DANAUS_TRY(logits, transformer.logits(std::span(outputs).last(transformer.hidden())));
    DANAUS_TRY(token, sample(logits, options.sampling, generated.ids.size()));
    if (std::find(options.end_tokens.begin(), options.end_tokens.end(), token) != options.end_tokens.end()) {
      generated.end = Generated::End::token;
      return generated;
    }
    generated.ids.push_back(token);
    if (!sink(token)) {
      generated.end = Generated::End::stopped;
      return generated;
    }
    if (generated.ids.size() == options.tokens) break;
    if (sequence.length() == transformer.context()) {
      generated.end = Generated::End::context;
      return generated;
    }
    const TokenId next = token;
    DANAUS_CHECK(advance(std::span(&next, 1)));
  }
  return generated;
}

}  // namespace danaus::nn
