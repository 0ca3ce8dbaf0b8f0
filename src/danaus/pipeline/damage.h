#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/nn/metrics.h"
#include "danaus/pipeline/evaluate.h"

namespace danaus::pipeline {

/// The number of an operator (of model.linear) and what takes its place.
using Replacement = std::pair<std::size_t, const factor::Factors*>;

/// How far a model is from its dense self on a text, with factors in place of some operators. Encoders: 1 - cosine of
/// the embeddings, the mean over the texts. Decoders: KL(dense || replaced) of the next token's probabilities in nats,
/// the mean over the tokens. Never negative.
class DamageProbe {
 public:
  /// Reads the text with the dense model and keeps what it says. `model` must outlive the probe; `pooling` is for
  /// encoders. Errors: nn.*, sensitivity.tokens (the dense model's probabilities of so many tokens
  /// take more than `probability_bytes`).
  static Result<DamageProbe> create(const model::Model& model, TokenSequences text, const nn::Pooling& pooling,
                                    std::uint64_t probability_bytes = std::uint64_t{8} << 30);
  DamageProbe(DamageProbe&&) noexcept;
  ~DamageProbe();

  /// Errors: nn.factors (the factors are not of the operator's shape), nn.non-finite.
  Result<double> damage(std::span<const Replacement> replacements);
  /// Whether any token of the text reached the operator; those of experts may be left out.
  bool is_used(std::size_t number) const;

 private:
  class Implementation;
  explicit DamageProbe(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace danaus::pipeline
