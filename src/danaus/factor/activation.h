#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/factor/moments.h"

/// Projections that see the activations: min ||(W - M) C^(1/2)||_F with C = E[x x^T] from a calibration text.
namespace danaus::factor {

/// C of one input, in units in which every input has the second moment 1: D^-1 C D^-1 with D = diag(C)^(1/2), the
/// elements beside the diagonal times 1 - damping. So damping has the same meaning for a channel of any size, which a
/// multiple of the identity has not where one channel is larger than all others by orders of magnitude.
class Metric {
 public:
  /// Inputs that are (almost) never anything but zero count as much as the millionth part of the median input; where
  /// all are, they count equally.
  Metric(const InputMoments& input, double damping);

  std::size_t in() const { return scale_.size(); }
  double damping() const { return damping_; }
  std::span<const float> scale() const { return scale_; }              ///< diagonal of D
  std::span<const float> correlation() const { return correlation_; }  ///< {in, in}, damped
  /// The inverse of `correlation`, {in, in}; made at the first call. Not for several threads at once. Error
  /// moments.damping or moments.value: the moments are none of any vectors, with so little damping or at all.
  Result<std::span<const float>> inverse();

  /// tr(X C X^T) of the undamped C for each row of X {rows, in}, which is in the scaled units (a row of W times D).
  std::vector<double> row_energies(std::span<const float> scaled, std::size_t rows) const;

 private:
  double damping_;
  std::vector<float> scale_;
  std::vector<float> correlation_;
  std::vector<float> inverse_;
};

/// The best approximation of W (out x in, row-major) in the metric that this program can find.
/// Blocks: truncated SVD of every slice, whitened by the Cholesky factor of its inputs' C_jj: with k = 1 (low rank)
/// that is the optimum. With k > 1 alternating least squares from there on: L given R exactly, then R chunk by chunk,
/// each exactly; the error never grows. Gathered blocks: see eliminate.h. Dense: W itself. `error.output` is set. The
/// same bits for any thread count. Errors: factor.non-finite, moments.damping, moments.value.
Result<Projection> project(std::span<const float> weights, const Structure& structure, Metric& metric,
                           const ActivationOptions& options);

/// ||(W - M) C^(1/2)||_F / ||W C^(1/2)||_F; 0 if W C^(1/2) is 0.
double relative_output_error(std::span<const float> weights, const Factors& factors, const Metric& metric);

}  // namespace danaus::factor
