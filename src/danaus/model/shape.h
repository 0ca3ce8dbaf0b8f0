#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "danaus/core/graph.h"
#include "danaus/model/model.h"

namespace danaus::model {

/// All that a family needs to build its graph. Every importer (shape file, GGUF metadata, config.json) makes one of
/// these.
struct Shape {
  std::string name;
  Family family = Family::llama;
  Dimensions dimensions;                      ///< kv_heads and head_size 0: their defaults, set by complete()
  NodeKind activation = NodeKind::silu;       ///< silu, gelu or relu
  bool gated = true;                          ///< feed-forward: activation(gate) * up instead of activation(up)
  double theta = 10000;                       ///< base of the rotary embedding (llama)
  double epsilon = 1e-5;                      ///< of the norms
  Config::Pairs pairs = Config::Pairs::half;  ///< of the rotary embedding (llama)
  bool tied_embeddings = false;               ///< the lm head is the token embedding (llama)
  bool operator==(const Shape&) const = default;
};

/// A dimension that is impossible, by the key of the shape file.
struct ShapeProblem {
  std::string_view key;
  std::string message;
};

/// Sets kv_heads (= heads) and head_size (= hidden / heads) where they are 0, then checks every dimension: each in its
/// range, heads and kv heads divide, vectors have at most 2^24 elements. Only a shape that passed may be built.
std::optional<ShapeProblem> complete(Shape& shape);

/// The canonical text of a complete shape: a shape file with every key, in fixed order.
std::string to_toml(const Shape& shape);

}  // namespace danaus::model
