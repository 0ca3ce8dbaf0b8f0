#pragma once

#include <cstdint>

namespace danaus::nn {

/// A token's number in the vocabulary: the row of the embedding, the element of the logits.
using TokenId = std::uint32_t;

}  // namespace danaus::nn
