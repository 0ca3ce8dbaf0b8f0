#pragma once

#include <string_view>

#include "danaus/core/error.h"
#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// Reads a shape file. Keys: name, family ("llama" or "bert"), layers, hidden, ffn, heads, vocab, context, activation
/// ("silu", "gelu" or "relu"); optional kv_heads (= heads), head_size (= hidden / heads), gated (llama: true, bert:
/// false), theta (10000), epsilon (llama: 1e-5, bert: 1e-12), rope_pairs ("half" or "adjacent"), tied_embeddings
/// (false). Errors, with line and column: shape.too-large, shape.syntax, shape.unknown-key, shape.missing-key,
/// shape.type, shape.family, shape.activation, shape.rope-pairs, shape.name, shape.range.
Result<Shape> parse_shape(std::string_view text, std::string_view file_name);

/// The graph of a complete shape, without weights. Errors: graph.*.
Result<Model> model_from_shape(const Shape& shape);

}  // namespace danaus::model
