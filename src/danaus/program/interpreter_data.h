#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "danaus/core/graph.h"

/// What an execution needs from outside, for any scalar: weights and data. Program and reference get the same.
namespace danaus::program {

/// The weights of the linear operators, stage by stage.
template <typename Scalar>
class StageWeights {
 public:
  virtual ~StageWeights() = default;
  /// y[j] += sum over i of weight(in_first + i -> out_first + j * out_step) * x[i], within one block of the stage.
  virtual void multiply(NodeId node, std::uint32_t stage, std::uint32_t in_first, std::span<const Scalar> x,
                        std::uint32_t out_first, std::uint32_t out_step, std::span<Scalar> y) = 0;
};

/// Everything else that is loaded before a program starts.
template <typename Scalar>
class ExecutionData {
 public:
  virtual ~ExecutionData() = default;
  /// Elements first ... of an input node for a token.
  virtual void input(NodeId node, std::uint32_t token, std::uint32_t first, std::span<Scalar> out) const = 0;
  /// Elements first ... of a named constant ("zero" is never asked for).
  virtual void constant(std::string_view name, std::uint32_t first, std::span<Scalar> out) const = 0;
  /// The key or the value of an entry that a KV region holds before the program starts.
  virtual void prior(KvId region, bool value, std::uint32_t entry, std::span<Scalar> out) const = 0;
};

}  // namespace danaus::program
