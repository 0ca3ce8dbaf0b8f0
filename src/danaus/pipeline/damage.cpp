// What stands before the first replaced operator computes what it computed in the dense model, so its products are kept
// and not computed again; over all operators that is half of the work. With p and z the dense model's probabilities and
// logits and z' the others, KL = sum p (z - z') + log-sum-exp z' - log-sum-exp z; sum p z is kept beside p.

#include "danaus/pipeline/damage.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/nn/elementwise.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/transformer.h"

namespace danaus::pipeline {
namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

/// The dense operators, some of them replaced. The first run over the text records products.
class ReplacingBackend final : public nn::LinearBackend {
 public:
  static Result<std::unique_ptr<ReplacingBackend>> create(const model::Model& model) {
    DANAUS_TRY(dense, nn::float_backend(model));
    return std::make_unique<ReplacingBackend>(model, std::move(dense));
  }
  ReplacingBackend(const model::Model& model, std::unique_ptr<nn::LinearBackend> dense)
      : model_(model),
        dense_(std::move(dense)),
        place_(model.linear.size(), kNever),
        replaced_(model.linear.size(), kNever) {}

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override {
    if (recording_ && place_[number] == kNever) place_[number] = places_++;
    if (place_[number] == 0) ++pass_;
    if (replaced_[number] != kNever) return factors_->multiply(replaced_[number], x, tokens, y);
    if (recording_) {
      DANAUS_CHECK(dense_->multiply(number, x, tokens, y));
      if (y.size_bytes() > left_) return {};
      left_ -= y.size_bytes();
      kept_[{pass_, number}].assign(y.begin(), y.end());
      return {};
    }
    const auto kept = place_[number] < first_place_ ? kept_.find({pass_, number}) : kept_.end();
    if (kept != kept_.end()) {
      ensure(kept->second.size() == y.size(), "what stands before the first replaced operator sees the same tokens");
      std::copy(kept->second.begin(), kept->second.end(), y.begin());
      return {};
    }
    return dense_->multiply(number, x, tokens, y);
  }

  void end_recording() { recording_ = false; }
  bool is_used(std::size_t number) const { return place_[number] != kNever; }

  /// Before each run over the text.
  Result<void> start(std::span<const Replacement> replacements) {
    pass_ = 0;
    first_place_ = kNever;
    std::fill(replaced_.begin(), replaced_.end(), kNever);
    model::Model part;
    std::vector<factor::Factors> operators;
    for (const auto& [number, factors] : replacements) {
      replaced_[number] = operators.size();
      first_place_ = std::min(first_place_, place_[number]);
      part.linear.push_back(model_.linear[number]);
      operators.push_back(*factors);
    }
    DANAUS_TRY(backend, nn::factor_backend(part, std::move(operators)));
    factors_ = std::move(backend);
    return {};
  }

 private:
  const model::Model& model_;
  std::unique_ptr<nn::LinearBackend> dense_, factors_;
  bool recording_ = true;
  std::vector<std::size_t> place_;     ///< by operator: when it was executed first
  std::vector<std::size_t> replaced_;  ///< by operator: its number in factors_
  std::size_t places_ = 0, first_place_ = kNever;
  std::size_t pass_ = 0;                     ///< over the graph; each begins with the operator that was executed first
  std::size_t left_ = std::size_t{2} << 30;  ///< bytes that may still be kept
  std::map<std::pair<std::size_t, std::size_t>, std::vector<float>> kept_;  ///< products by pass and operator
};

}  // namespace

class DamageProbe::Implementation {
 public:
  Implementation(TokenSequences text, const nn::Pooling& pooling, std::unique_ptr<ReplacingBackend> backend,
                 nn::Transformer transformer)
      : text_(std::move(text)), pooling_(pooling), backend_(std::move(backend)), transformer_(std::move(transformer)) {}

  Result<void> read_dense(std::uint64_t probability_bytes) {
    DANAUS_CHECK(backend_->start({}));
    if (text_.encoder) {
      DANAUS_TRY(embeddings, nn::embed(transformer_, text_.tokens, pooling_));
      embeddings_ = std::move(embeddings);
    } else {
      std::uint64_t tokens = 0;
      for (const std::vector<nn::TokenId>& ids : text_.tokens) tokens += ids.size();
      if (tokens > probability_bytes / sizeof(float) / std::max<std::size_t>(1, transformer_.vocab()))
        return fail(Error("sensitivity.tokens", Failure::unsupported,
                          fmt::format("the probabilities of {} tokens do not fit: the vocabulary has {} words", tokens,
                                      transformer_.vocab()))
                        .with_hint("measure on fewer --tokens"));
      probabilities_.resize(tokens * transformer_.vocab());
      expected_.resize(tokens);
      const auto keep = [&](std::size_t token, std::span<const float> logits) {
        float* const p = probabilities_.data() + token * logits.size();
        std::copy(logits.begin(), logits.end(), p);
        nn::softmax(p, logits.size());
        expected_[token] = mean_logit(token, logits) - nn::log_sum_exp(logits.data(), logits.size());
      };
      DANAUS_CHECK(for_each_logits(keep));
    }
    backend_->end_recording();
    return {};
  }

  Result<double> damage(std::span<const Replacement> replacements) {
    DANAUS_CHECK(backend_->start(replacements));
    double sum = 0;
    if (text_.encoder) {
      DANAUS_TRY(embeddings, nn::embed(transformer_, text_.tokens, pooling_));
      for (std::size_t n = 0; n < embeddings.size(); ++n)
        sum += std::max(0.0, 1 - nn::cosine(embeddings[n], embeddings_[n]));
      return sum / static_cast<double>(embeddings.size());
    }
    std::vector<double> divergences(expected_.size());
    const auto compare = [&](std::size_t token, std::span<const float> logits) {
      const double found = mean_logit(token, logits) - nn::log_sum_exp(logits.data(), logits.size());
      divergences[token] = std::max(0.0, expected_[token] - found);
    };
    DANAUS_CHECK(for_each_logits(compare));
    for (const double divergence : divergences) sum += divergence;
    return sum / static_cast<double>(divergences.size());
  }

  bool is_used(std::size_t number) const { return backend_->is_used(number); }

 private:
  /// Sum p z over the words, p of the dense model.
  double mean_logit(std::size_t token, std::span<const float> logits) const {
    const float* const p = probabilities_.data() + token * logits.size();
    double sum = 0;
    for (std::size_t word = 0; word < logits.size(); ++word) sum += double{p[word]} * double{logits[word]};
    return sum;
  }

  /// Calls visit(number of the token, its logits) on all threads.
  template <typename Visit>
  Result<void> for_each_logits(const Visit& visit) {
    constexpr std::size_t kLogits = 1u << 23;  // at once
    const std::size_t vocab = transformer_.vocab(), hidden = transformer_.hidden();
    const std::size_t at_once = std::clamp<std::size_t>(kLogits / std::max<std::size_t>(1, vocab), 16, 512);
    std::size_t done = 0;
    for (const std::vector<nn::TokenId>& ids : text_.tokens) {
      nn::Sequence sequence = transformer_.sequence();
      const nn::Step step = {&sequence, ids};
      DANAUS_TRY(outputs, transformer_.decode(std::span(&step, 1)));
      for (std::size_t first = 0; first < ids.size(); first += at_once) {
        const std::size_t count = std::min(at_once, ids.size() - first);
        DANAUS_TRY(logits, transformer_.logits(std::span(outputs).subspan(first * hidden, count * hidden)));
        parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
          for (std::size_t n = begin; n < end; ++n)
            visit(done + first + n, std::span<const float>(logits).subspan(n * vocab, vocab));
        });
      }
      done += ids.size();
    }
    return {};
  }

  TokenSequences text_;
  nn::Pooling pooling_;
  std::unique_ptr<ReplacingBackend> backend_;
  nn::Transformer transformer_;
  std::vector<std::vector<float>> embeddings_;  ///< encoders
  std::vector<float> probabilities_;            ///< decoders: {tokens, vocab}
  std::vector<double> expected_;                ///< by token: sum p ln p
};

DamageProbe::DamageProbe(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
DamageProbe::DamageProbe(DamageProbe&&) noexcept = default;
DamageProbe::~DamageProbe() = default;

Result<DamageProbe> DamageProbe::create(const model::Model& model, TokenSequences text, const nn::Pooling& pooling,
                                        std::uint64_t probability_bytes) {
  DANAUS_TRY(backend, ReplacingBackend::create(model));
  DANAUS_TRY(transformer, nn::Transformer::create(model, *backend));
  DamageProbe probe(
      std::make_unique<Implementation>(std::move(text), pooling, std::move(backend), std::move(transformer)));
  DANAUS_CHECK(probe.implementation_->read_dense(probability_bytes));
  return probe;
}

Result<double> DamageProbe::damage(std::span<const Replacement> replacements) {
  return implementation_->damage(replacements);
}

bool DamageProbe::is_used(std::size_t number) const { return implementation_->is_used(number); }

}  // namespace danaus::pipeline
