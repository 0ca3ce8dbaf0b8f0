// k of n experts: a partial Fisher-Yates shuffle with counter-based random numbers.

#include "danaus/machine/experts.h"

#include <numeric>
#include <utility>

#include "danaus/core/random.h"

namespace danaus::machine {

bool Experts::is_chosen(NodeId gates, std::uint32_t token, std::uint32_t element) {
  if (chosen_.empty() || gates != gates_ || token != token_) choose(gates, token);
  return chosen_[element];
}

void Experts::choose(NodeId gates, std::uint32_t token) {
  const Node& node = intent_.at(gates);
  const std::uint32_t count = node.size, k = intent_.configs[index(node.configs[0])].k;
  gates_ = gates;
  token_ = token;
  chosen_.assign(count, false);
  if (routing_.first) {
    for (std::uint32_t n = 0; n < k; ++n) chosen_[(std::uint64_t{*routing_.first} + n) % count] = true;
    return;
  }
  order_.resize(count);
  std::iota(order_.begin(), order_.end(), 0u);
  for (std::uint32_t n = 0; n < k; ++n) {
    const std::uint64_t stream = std::uint64_t{index(gates)} << 32 | token;
    const std::uint32_t other = n + static_cast<std::uint32_t>(random_bits(routing_.seed, stream, n) % (count - n));
    std::swap(order_[n], order_[other]);
    chosen_[order_[n]] = true;
  }
}

}  // namespace danaus::machine
