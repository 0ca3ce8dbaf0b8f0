#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "danaus/core/graph.h"
#include "danaus/model/model.h"

namespace danaus::model {

/// Which linear operators have biases: none, those of q, k and v, or all.
enum class Biases : std::uint8_t { none, qkv, all };
std::string_view name_of(Biases biases);
std::string_view name_of(Config::Norm norm);

/// A model without weights: its family, its dimensions, and in what its layers differ from the family's usual ones.
/// Every importer (shape file, GGUF metadata, config.json) makes one of these, beginning with shape_of(family).
struct Shape {
  std::string name;
  Family family = Family::llama;
  Dimensions dimensions;                  ///< kv_heads and head_size 0: their defaults, set by complete()
  NodeKind activation = NodeKind::silu;   ///< silu, gelu, gelu_tanh or relu
  bool gated = true;                      ///< feed-forward: activation(gate) * up instead of activation(up)
  Config::Norm norm = Config::Norm::rms;  ///< a layer norm has a bias behind its gain
  Biases biases = Biases::none;
  bool parallel = false;                      ///< x + attention(norm(x)) + feed_forward(norm(x)), one norm for both
  double theta = 10000;                       ///< base of the rotary embedding
  double epsilon = 1e-5;                      ///< of the norms
  Config::Pairs pairs = Config::Pairs::half;  ///< of the rotary embedding
  std::uint32_t rotary = 0;                   ///< elements of a head that the rotary embedding turns; 0: all
  std::uint32_t window = 0;                   ///< a token sees so many tokens, itself included; 0: all before it
  bool tied_embeddings = false;               ///< the lm head is the token embedding
  double embedding_scale = 1;                 ///< of the token embedding; no key of shape files, it costs nothing
  bool operator==(const Shape&) const = default;
};

/// An architecture that an importer knows by this name.
struct ArchitectureInfo {
  std::string_view name;
  Family family = Family::llama;
};

/// A dimension that is impossible, by the key of the shape file.
struct ShapeProblem {
  std::string_view key;
  std::string message;
};

/// Sets kv_heads (= heads) and head_size (= hidden / heads) where they are 0, then checks every dimension: each in its
/// range, heads and kv heads divide, vectors have at most 2^24 elements, the family has what is asked for. Only a shape
/// that passed may be built.
std::optional<ShapeProblem> complete(Shape& shape);

/// The canonical text of a complete shape: a shape file with every key, in fixed order.
std::string to_toml(const Shape& shape);

}  // namespace danaus::model
