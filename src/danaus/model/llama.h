#pragma once

#include <optional>
#include <string>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// How an importer's files name the parts of a llama model. A layer's part is layer prefix + number + "." + part; its
/// tensor has ".weight" behind.
struct LlamaNames {
  std::string embedding, final_norm, head;
  std::string layer_prefix;
  std::string attention_norm, query, key, value, attention_output;
  std::string feed_forward_norm, gate, up, down;
};

/// Names of GGUF files, used for shape files too ("blk.0.attn_q").
LlamaNames gguf_llama_names();
/// Names of Hugging Face files; `prefix` is "model." as a rule.
LlamaNames hugging_face_llama_names(const std::string& prefix);

/// The graph of a complete llama shape; with `tensors`, its weights too.
/// Per layer: rms norm, q k v, rope of q and k, attend, o, add; rms norm, [gate] up, activation [, mul], down, add.
/// Then the final norm, which is the output.
Result<Model> build_llama(const Shape& shape, const LlamaNames& names, std::optional<std::vector<Tensor>> tensors);

}  // namespace danaus::model
