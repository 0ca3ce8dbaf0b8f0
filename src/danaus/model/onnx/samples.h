#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "danaus/core/graph.h"

/// Arithmetic recognised by what it does: a function of a vector, known by its results on a few sample vectors.
namespace danaus::model::onnx {

constexpr std::size_t kSampleLength = 8;
constexpr std::size_t kSampleGroups = 3;

using Samples = std::array<double, kSampleLength * kSampleGroups>;
/// Three vectors: usual size, so small that an epsilon of a norm shows, and mixed.
constexpr Samples kSamples = {-3.7,   -1.9,    -0.6,   -0.11,  0.23,    0.8,     1.7,    4.1,      //
                              0.0031, -0.0017, 0.0008, 0.0022, -0.0029, -0.0004, 0.0013, -0.0036,  //
                              0.05,   -2.6,    1.2,    -0.9,   3.3,     -0.02,   -1.4,   0.6};

/// The mean of one sample vector.
double group_mean(const Samples& samples, std::size_t group);

/// The activation that a function is. The tolerance takes in constants of half precision; of the two forms of gelu,
/// which differ by 5e-4, it is the nearer one.
std::optional<NodeKind> activation_of(const Samples& samples);

struct NormForm {
  Config::Norm kind = Config::Norm::layer;
  double epsilon = 0;
};
/// The norm without gain that a function is, its epsilon solved from the small sample vector.
std::optional<NormForm> norm_of(const Samples& samples);

/// c when the function is c x.
std::optional<double> factor_of(const Samples& samples);

}  // namespace danaus::model::onnx
