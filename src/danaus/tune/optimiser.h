#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "danaus/tune/engine.h"

namespace danaus::tune {

/// Part of the largest learning rate in step `step` (from 0) of `steps`: rises in `warm_up` steps, then a cosine down
/// to nearly 0 in the last one.
double schedule(std::uint64_t step, std::uint64_t steps, std::uint64_t warm_up);

/// Adam with decoupled weight decay, which is 0 here (Loshchilov, Hutter 2019, arXiv:1711.05101): running means of
/// gradients and their squares, in single precision like the parameters. The same bits for any thread count.
class Optimiser {
 public:
  explicit Optimiser(std::span<const Parameter> parameters);

  /// Shortens the gradients, all together, to the length `most`, and moves the parameters by `part` of their rates.
  /// `step` counts from 0. Returns the length before.
  double apply(std::uint64_t step, double part, double most, std::span<const std::vector<float>> gradients,
               std::span<Parameter> parameters);

  std::vector<std::vector<float>>& means() { return means_; }
  std::vector<std::vector<float>>& squares() { return squares_; }

 private:
  std::vector<std::vector<float>> means_, squares_;
};

}  // namespace danaus::tune
