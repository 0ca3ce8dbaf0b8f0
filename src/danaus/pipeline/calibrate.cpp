// The text is cut into batches of whole sequences, always the same ones. Inputs whose sums fit the memory are collected
// together; each such pass reads the whole text. What is saved lies between two batches, sums in double precision, so
// going on is the same as never having stopped.

#include "danaus/pipeline/calibrate.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "danaus/nn/transformer.h"

namespace danaus::pipeline {
namespace {

constexpr std::size_t kBatchTokens = 1024;

Digest digest_of_texts(const TokenSequences& texts) {
  std::string bytes;
  for (const std::vector<nn::TokenId>& text : texts.tokens) {
    const auto count = static_cast<std::uint64_t>(text.size());
    bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
    bytes.append(reinterpret_cast<const char*>(text.data()), text.size() * sizeof(nn::TokenId));
  }
  return digest_of(bytes);
}

Result<void> check_earlier(const factor::MomentSet& earlier, const factor::MomentSet& set) {
  std::string other;
  if (earlier.model_digest != set.model_digest) other = fmt::format("of another model, '{}'", earlier.model);
  if (other.empty() && earlier.text_digest != set.text_digest) other = "of another text, or of other windows";
  if (other.empty() && earlier.weighting != set.weighting)
    other = fmt::format("with other weights of the tokens ({})", earlier.weighting);
  bool same_inputs = earlier.inputs.size() == set.inputs.size();
  for (std::size_t n = 0; same_inputs && n < set.inputs.size(); ++n)
    same_inputs = earlier.inputs[n].operators == set.inputs[n].operators && earlier.inputs[n].in == set.inputs[n].in;
  if (other.empty() && (!same_inputs || earlier.texts != set.texts)) other = "of other inputs";
  if (other.empty()) return {};
  return fail(Error("calibrate.resume", Failure::usage, fmt::format("the moments so far are {}", other))
                  .with_hint("go on with what the run was started with, or leave --resume out"));
}

/// The end of the batch that begins with text `first`.
std::size_t batch_end(const TokenSequences& texts, std::size_t first) {
  std::size_t end = first, count = 0;
  while (end < texts.tokens.size() && (end == first || count + texts.tokens[end].size() <= kBatchTokens))
    count += texts.tokens[end++].size();
  return end;
}

/// Begins the sums of the next inputs, as many as fit.
void begin_pass(factor::MomentSet& set, std::uint64_t memory_bytes) {
  std::uint64_t bytes = 0;
  for (factor::InputMoments& input : set.inputs) {
    if (!input.moments.empty()) continue;
    const std::uint64_t count = factor::triangle(input.in) + input.in;
    bytes += count * sizeof(double);
    if (bytes > memory_bytes && bytes != count * sizeof(double)) return;
    input.sums.assign(count, 0.0);
  }
}

bool any_sums(const factor::MomentSet& set) {
  for (const factor::InputMoments& input : set.inputs)
    if (!input.sums.empty()) return true;
  return false;
}

}  // namespace

std::string weighting_text(const CalibrateOptions& options) {
  return fmt::format("first-token {} normalise {}", options.weights.first_token, options.weights.normalise);
}

Result<factor::MomentSet> calibrate(const model::Model& model, const std::string& path, const CalibrateOptions& options,
                                    std::optional<factor::MomentSet> earlier,
                                    const std::function<Result<void>(factor::MomentSet&)>& save, Progress& progress) {
  DANAUS_TRY(texts, token_sequences(model, path, options.text, options.window));
  factor::MomentSet set;
  set.model = model.name;
  set.model_digest = model.digest;
  set.text_digest = digest_of_texts(texts);
  set.weighting = weighting_text(options);
  set.texts = texts.tokens.size();
  set.inputs = nn::inputs_of(model);
  if (earlier) {
    DANAUS_CHECK(check_earlier(*earlier, set));
    set = std::move(*earlier);
  }
  DANAUS_TRY(backend, nn::float_backend(model));
  nn::MomentCollector collector(*backend, model, set.inputs, options.weights);
  DANAUS_TRY(transformer, nn::Transformer::create(model, collector));
  std::uint64_t all_tokens = 0;
  for (const std::vector<nn::TokenId>& text : texts.tokens) all_tokens += text.size();
  using Clock = std::chrono::steady_clock;
  Clock::time_point saved = Clock::now();
  while (!set.finished()) {
    if (!any_sums(set)) begin_pass(set, options.memory_bytes);
    progress.begin("calibrate", all_tokens);
    std::uint64_t tokens = 0;
    for (std::size_t n = 0; n < set.done; ++n) tokens += texts.tokens[n].size();
    while (set.done < set.texts) {
      const std::size_t end = batch_end(texts, set.done);
      std::vector<nn::Sequence> sequences;
      sequences.reserve(end - set.done);
      std::vector<nn::Step> steps;
      std::vector<std::uint64_t> first_tokens;
      for (std::size_t n = set.done; n < end; ++n) {
        first_tokens.push_back(tokens);
        sequences.push_back(transformer.sequence());
        steps.push_back({&sequences.back(), texts.tokens[n]});
        tokens += texts.tokens[n].size();
      }
      transformer.set_next_token(first_tokens.front());
      collector.set_first_tokens(std::move(first_tokens));
      const Result<std::vector<float>> outputs = texts.encoder ? transformer.encode(steps) : transformer.decode(steps);
      if (!outputs) return fail(outputs.error());
      set.done = end;
      progress.update(tokens);
      if (std::chrono::duration<double>(Clock::now() - saved).count() < options.save_interval_s) continue;
      DANAUS_CHECK(save(set));
      saved = Clock::now();
    }
    for (factor::InputMoments& input : set.inputs) {
      if (!input.sums.empty()) input.finish();
    }
    set.done = 0;
    progress.end();
    DANAUS_CHECK(save(set));
    saved = Clock::now();
  }
  return set;
}

Result<factor::MomentSet> calibrate(const model::Model& model, const std::string& path, const CalibrateOptions& options,
                                    Progress& progress) {
  const auto keep = [](factor::MomentSet&) -> Result<void> { return {}; };
  CalibrateOptions once = options;
  once.memory_bytes = ~std::uint64_t{0};
  return calibrate(model, path, once, std::nullopt, keep, progress);
}

}  // namespace danaus::pipeline
