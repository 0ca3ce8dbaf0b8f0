// Greedy mapping in the simulator's order: per layer the projections that follow it in its own code (those of the next
// layer's attention belong to the layer before), then output, up and down.

#include "danaus/machine/list/tiers.h"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace danaus::machine::list {
namespace {

std::uint32_t ceil_div(std::uint32_t a, std::uint32_t b) { return a / b + (a % b != 0 ? 1 : 0); }

Matrix matrix(std::uint32_t in, std::uint32_t out, const chip::Chip& chip) {
  return {.in = in,
          .out = out,
          .row_parts = ceil_div(in, chip.array.rows),
          .column_parts = ceil_div(out, chip.array.cols),
          .tiles = {}};
}

/// Tiles by how many tiers are used.
class Tiles {
 public:
  Tiles(std::uint32_t tiles, std::uint32_t tiers) : used_(tiles, 0), tiers_(tiers) {
    for (std::uint32_t tile = 0; tile < tiles; ++tile) order_.emplace_hint(order_.end(), 0u, tile);
  }
  std::uint32_t least_used() const { return order_.begin()->second; }
  bool is_full(std::uint32_t tile) const { return used_[tile] == tiers_; }
  void use(std::uint32_t tile) {
    order_.erase({used_[tile], tile});
    order_.emplace(++used_[tile], tile);
  }

 private:
  std::vector<std::uint32_t> used_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> order_;  // (used tiers, tile)
  std::uint32_t tiers_;
};

void place(Matrix& matrix, Tiles& tiles) {
  for (std::uint32_t part = 0; part < matrix.parts(); ++part) {
    matrix.tiles.push_back(tiles.least_used());
    tiles.use(matrix.tiles.back());
  }
}

// The first row of parts as any matrix, the others below it.
void place_stacked(Matrix& matrix, Tiles& tiles) {
  for (std::uint32_t part = 0; part < matrix.parts(); ++part) {
    const bool stack = part >= matrix.column_parts && !tiles.is_full(matrix.tiles[part % matrix.column_parts]);
    matrix.tiles.push_back(stack ? matrix.tiles[part % matrix.column_parts] : tiles.least_used());
    tiles.use(matrix.tiles.back());
  }
}

}  // namespace

Result<Mapping> map_weights(const Transformer& transformer, const chip::Chip& chip) {
  const std::uint32_t hidden = transformer.hidden, ffn = transformer.ffn;
  Mapping mapping;
  const Layer layer{.query = matrix(hidden, hidden, chip),
                    .key = matrix(hidden, hidden, chip),
                    .value = matrix(hidden, hidden, chip),
                    .output = matrix(hidden, hidden, chip),
                    .up = matrix(hidden, ffn, chip),
                    .down = matrix(ffn, hidden, chip)};
  if (transformer.decoder) {
    mapping.embedding = matrix(transformer.vocab, hidden, chip);
    mapping.positions = matrix(transformer.context, hidden, chip);
    mapping.head = matrix(hidden, transformer.vocab, chip);
  }
  const auto add = [&mapping](const Matrix& of, std::uint64_t times) {
    mapping.tiers += times * of.row_parts * of.column_parts;
    mapping.parameters += times * of.in * of.out;
  };
  add(layer.query, 4ull * transformer.layers);
  add(layer.up, transformer.layers);
  add(layer.down, transformer.layers);
  add(mapping.embedding, 1);
  add(mapping.positions, 1);
  add(mapping.head, 1);

  constexpr std::uint64_t kMostTiers = 1u << 24;
  if (mapping.tiers > kMostTiers) {
    return fail(Error("list.too-large", Failure::unsupported,
                      fmt::format("the weights take {} tiers, more than {}", mapping.tiers, kMostTiers))
                    .with_hint("set larger arrays: --set array.rows=..., --set array.cols=..."));
  }
  const std::uint32_t tiers = chip.system.tiers;
  const std::uint32_t needed = static_cast<std::uint32_t>((mapping.tiers + tiers - 1) / tiers);
  mapping.tiles = chip.system.arrays == 0 ? needed : chip.system.arrays;
  if (mapping.tiles < needed) {
    return fail(Error("list.capacity", Failure::does_not_fit,
                      fmt::format("the weights take {} tiers of {} x {}, the chip has {} arrays of {}", mapping.tiers,
                                  chip.array.rows, chip.array.cols, mapping.tiles, tiers))
                    .with_hint(fmt::format("set chip.arrays to {} or more, or 0 for as many as needed", needed)));
  }

  Tiles tiles(mapping.tiles, tiers);
  if (transformer.decoder) {
    place_stacked(mapping.embedding, tiles);
    place_stacked(mapping.positions, tiles);
  }
  mapping.layers.assign(transformer.layers, layer);
  const auto place_attention = [&tiles](Layer& to) {
    place(to.query, tiles);
    place(to.key, tiles);
    place(to.value, tiles);
  };
  place_attention(mapping.layers.front());
  for (std::uint32_t n = 0; n < transformer.layers; ++n) {
    if (n + 1 < transformer.layers) place_attention(mapping.layers[n + 1]);
    place(mapping.layers[n].output, tiles);
    place(mapping.layers[n].up, tiles);
    place(mapping.layers[n].down, tiles);
  }
  if (transformer.decoder) place(mapping.head, tiles);
  return mapping;
}

}  // namespace danaus::machine::list
