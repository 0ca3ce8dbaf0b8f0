#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace danaus::nn {

/// The queries of one sequence and what they see.
struct AttentionPart {
  const float* queries = nullptr;  ///< {tokens, heads * head_size}
  float* context = nullptr;        ///< the same shape
  std::size_t tokens = 0;
  const std::vector<std::vector<float>>* keys = nullptr;  ///< per kv head {entries, head_size}
  const std::vector<std::vector<float>>* values = nullptr;
  std::size_t entries = 0;
  /// Token t sees the entries before visible + t, at most `entries`: the position of its own plus one where it sees the
  /// tokens before it, `entries` where it sees all.
  std::size_t visible = 0;
};

struct AttentionShape {
  std::size_t query_heads = 0, kv_heads = 0, head_size = 0;
};

/// softmax(q K^T / sqrt(head size)) V of all parts, on all threads; the bits of a part do not depend on the others.
void attend(const AttentionShape& shape, std::span<const AttentionPart> parts);

}  // namespace danaus::nn
