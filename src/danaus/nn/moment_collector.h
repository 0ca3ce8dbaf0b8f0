#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"

namespace danaus::nn {

/// How much a token counts in the moments: (first_token if it is the first of its text, else 1) * ||x||^(-2 *
/// normalise).
struct TokenWeights {
  double first_token = 1;  ///< at least 0; 0 leaves first tokens out
  double normalise = 0;    ///< 0: vectors as they are; 1: vectors of length 1; at most 1
  bool operator==(const TokenWeights&) const = default;
};

/// The inputs of a model's linear operators, each once: operators that read the same value, under the same guard, share
/// it. In graph order, without numbers.
std::vector<factor::InputMoments> inputs_of(const model::Model& model);

/// Sees the inputs of all operators and adds up their second moments; the products are another backend's. In double
/// precision, from products of at most 256 vectors in single precision: a token that is larger than all others by
/// orders of magnitude costs the others no accuracy that matters. The same bits for any thread count.
class MomentCollector final : public LinearBackend {
 public:
  /// `inputs` as inputs_of gives them; those with `sums` (of the right size) are added to. All must outlive it.
  MomentCollector(LinearBackend& backend, const model::Model& model, std::vector<factor::InputMoments>& inputs,
                  const TokenWeights& weights);

  /// Numbers of the first tokens of the texts that are computed next, ascending.
  void set_first_tokens(std::vector<std::uint64_t> numbers) { first_tokens_ = std::move(numbers); }

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override;

 private:
  void add(factor::InputMoments& input, std::span<const float> x, std::span<const std::uint64_t> tokens);

  LinearBackend& backend_;
  std::vector<factor::InputMoments>& inputs_;
  TokenWeights weights_;
  std::vector<std::size_t> input_of_;  ///< of every operator that is the first of an input; else inputs_.size()
  std::vector<std::uint64_t> first_tokens_;
  std::vector<float> columns_;  ///< weighted vectors, transposed
};

}  // namespace danaus::nn
