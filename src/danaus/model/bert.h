#pragma once

#include <optional>
#include <string>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// How an importer's files name the parts of a bert model. A layer's part is layer prefix + number + "." + part; its
/// tensors have ".weight" (norms: `gain`) and ".bias" (norms: `offset`) behind.
struct BertNames {
  std::string prefix;  ///< before every name of the encoder and its embeddings
  std::string token_embedding, position_embedding, type_embedding, embedding_norm;
  std::string layer_prefix;
  std::string query, key, value, attention_output, attention_norm;
  std::string gate, up, down, feed_forward_norm;
  std::string gain = ".weight", offset = ".bias";
};

/// Names of GGUF files, used for shape files ("blk.0.attn_q").
BertNames gguf_bert_names();
/// Names of Hugging Face files; `prefix` is "", "bert." and the like; `old_norms`: gamma and beta instead of weight and
/// bias.
BertNames hugging_face_bert_names(const std::string& prefix, bool old_norms);

/// The graph of a complete bert shape, the bare encoder; with `tensors`, its weights too. The input is the embedded and
/// normalised token. Per layer: q k v with bias, attend over all tokens, o, bias, add, layer norm with bias; up [and
/// gate] with bias, activation [, mul], down, bias, add, layer norm with bias, which is the output after the last
/// layer.
Result<Model> build_bert(const Shape& shape, const BertNames& names, std::optional<std::vector<Tensor>> tensors);

}  // namespace danaus::model
