// Attention tile by tile: up to 64 queries of one head of one sequence. Scores by one product of matrices, softmax row
// by row (the largest score is subtracted), context by another product; entries that a query does not see have weight
// 0. Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2; grouped queries: Ainslie et al. 2023
// (arXiv:2305.13245).

#include "danaus/nn/attention.h"

#include <algorithm>
#include <cmath>

#include "danaus/core/parallel.h"
#include "danaus/nn/elementwise.h"
#include "danaus/nn/matrix.h"

namespace danaus::nn {
namespace {

constexpr std::size_t kTile = 64;
constexpr std::size_t kChunkWork = 1u << 18;  // multiplications

void attend_tile(const AttentionShape& shape, const AttentionPart& part, std::size_t head, std::size_t first,
                 std::size_t count, std::vector<float>& scores) {
  const std::size_t stride = shape.query_heads * shape.head_size;
  const std::size_t kv_head = head / (shape.query_heads / shape.kv_heads);
  const std::size_t entries = std::min(part.entries, part.visible + first + count - 1);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_size)));
  const std::size_t offset = first * stride + head * shape.head_size;
  scores.resize(count * entries);
  multiply_transposed(count, entries, shape.head_size, part.queries + offset, stride, (*part.keys)[kv_head].data(),
                      shape.head_size, scores.data(), entries, scale);
  for (std::size_t token = 0; token < count; ++token) {
    const std::size_t seen = std::min(entries, part.visible + first + token);
    float* row = scores.data() + token * entries;
    softmax(row, seen);
    std::fill(row + seen, row + entries, 0.0f);
  }
  multiply(count, shape.head_size, entries, scores.data(), entries, (*part.values)[kv_head].data(), shape.head_size,
           part.context + offset, stride);
}

}  // namespace

void attend(const AttentionShape& shape, std::span<const AttentionPart> parts) {
  struct Tile {
    const AttentionPart* part;
    std::size_t first;
  };
  std::vector<Tile> tiles;
  std::size_t work = 0;
  for (const AttentionPart& part : parts) {
    for (std::size_t first = 0; first < part.tokens; first += kTile) tiles.push_back({&part, first});
    work += part.tokens * part.entries * shape.head_size;
  }
  if (tiles.empty()) return;
  // Small ones together: one head of one tile is `work / tiles` multiplications on average.
  const std::size_t chunk = std::max<std::size_t>(1, kChunkWork / std::max<std::size_t>(1, work / tiles.size()));
  parallel_for(tiles.size() * shape.query_heads, chunk, [&](std::size_t begin, std::size_t end) {
    std::vector<float> scores;
    for (std::size_t n = begin; n < end; ++n) {
      const Tile& tile = tiles[n / shape.query_heads];
      attend_tile(shape, *tile.part, n % shape.query_heads, tile.first, std::min(kTile, tile.part->tokens - tile.first),
                  scores);
    }
  });
}

}  // namespace danaus::nn
