#pragma once

#include <cstdint>
#include <vector>

#include "danaus/core/graph.h"
#include "danaus/machine/timing.h"

namespace danaus::machine {

/// Which gates are not zero: a function of (routing, node, token) alone. Keeps the last answer, since the branches of
/// one router follow each other.
class Experts {
 public:
  Experts(const Graph& intent, const Routing& routing) : intent_(intent), routing_(routing) {}

  bool is_chosen(NodeId gates, std::uint32_t token, std::uint32_t element);

 private:
  void choose(NodeId gates, std::uint32_t token);

  const Graph& intent_;
  const Routing routing_;
  std::vector<bool> chosen_;
  NodeId gates_{};
  std::uint32_t token_ = 0;
  std::vector<std::uint32_t> order_;
};

}  // namespace danaus::machine
