#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"

namespace danaus::nn {

/// Who multiplies with the weights of the linear operators: float, factors, an analog machine. A backend that wants to
/// see the inputs wraps another one.
class LinearBackend {
 public:
  virtual ~LinearBackend() = default;
  /// y = W x for as many vectors as there are `tokens`: x {tokens, in}, y {tokens, out}, row-major. `number` counts
  /// Model::linear. `tokens`: the running number of each vector in the whole evaluation, ascending (draws of noise are
  /// keyed by it; the tokens of an expert have gaps). Called from one thread at a time.
  virtual Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                                std::span<float> y) = 0;
};

struct FloatOptions {
  /// Weights are converted to float once and held, in the order of the graph, as long as they fit into so many bytes;
  /// those of the other operators are converted anew whenever they are used.
  std::uint64_t resident_bytes = std::uint64_t{8} << 30;
};

/// The dense operators with the model's own weights in float32. `model` must outlive it. Errors: nn.no-weights.
Result<std::unique_ptr<LinearBackend>> float_backend(const model::Model& model, const FloatOptions& options = {});

/// Factors in place of the weights, stage after stage in float32: one per operator, in the order of model.linear
/// (dense operators: the weights themselves). Errors: nn.factors (number or shapes do not belong to the model).
Result<std::unique_ptr<LinearBackend>> factor_backend(const model::Model& model,
                                                      std::vector<factor::Factors> operators);

}  // namespace danaus::nn
