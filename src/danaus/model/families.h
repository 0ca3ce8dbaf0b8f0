#pragma once

#include <span>
#include <string_view>

#include "danaus/model/shape.h"

namespace danaus::model {

/// A family: what all its models have in common, and the defaults of what differs from model to model.
struct FamilyInfo {
  Family family = Family::llama;
  std::string_view name;
  bool rotary = true;       ///< positions turn queries and keys; otherwise they are added to the embedding
  bool norm_after = false;  ///< post-norm: the norm follows the addition instead of standing before the branch
  bool encoder = false;     ///< its layers see all tokens; decoder layers, if any, follow
  NodeKind activation = NodeKind::silu;
  bool gated = true;
  Config::Norm norm = Config::Norm::rms;
  Biases biases = Biases::none;
  double epsilon = 1e-5;
  std::string_view help;
};

/// The families that shape files can name, in the order of the documentation.
std::span<const FamilyInfo> families();
/// What is known of a family that has shapes (all but `matrices`).
const FamilyInfo& info_of(Family family);
/// A shape with the defaults of its family and no dimensions.
Shape shape_of(Family family);

}  // namespace danaus::model
