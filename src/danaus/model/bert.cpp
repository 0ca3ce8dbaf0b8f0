#include "danaus/model/bert.h"

#include <fmt/format.h>

#include "danaus/model/builder.h"

// The bert family: post-norm encoder layers with biases (Devlin et al. 2019, arXiv:1810.04805).

namespace danaus::model {

BertNames gguf_bert_names() {
  return {.prefix = "",
          .token_embedding = "token_embd",
          .position_embedding = "position_embd",
          .type_embedding = "token_types",
          .embedding_norm = "token_embd_norm",
          .layer_prefix = "blk.",
          .query = "attn_q",
          .key = "attn_k",
          .value = "attn_v",
          .attention_output = "attn_output",
          .attention_norm = "attn_output_norm",
          .gate = "ffn_gate",
          .up = "ffn_up",
          .down = "ffn_down",
          .feed_forward_norm = "layer_output_norm"};
}

BertNames hugging_face_bert_names(const std::string& prefix, bool old_norms) {
  return {.prefix = prefix,
          .token_embedding = prefix + "embeddings.word_embeddings",
          .position_embedding = prefix + "embeddings.position_embeddings",
          .type_embedding = prefix + "embeddings.token_type_embeddings",
          .embedding_norm = prefix + "embeddings.LayerNorm",
          .layer_prefix = prefix + "encoder.layer.",
          .query = "attention.self.query",
          .key = "attention.self.key",
          .value = "attention.self.value",
          .attention_output = "attention.output.dense",
          .attention_norm = "attention.output.LayerNorm",
          .gate = "intermediate.gate",
          .up = "intermediate.dense",
          .down = "output.dense",
          .feed_forward_norm = "output.LayerNorm",
          .gain = old_norms ? ".gamma" : ".weight",
          .offset = old_norms ? ".beta" : ".bias"};
}

Result<Model> build_bert(const Shape& shape, const BertNames& names, std::optional<std::vector<Tensor>> tensors) {
  const Dimensions& d = shape.dimensions;
  GraphBuilder builder(shape, std::move(tensors));
  const ConfigId norm_config = builder.config(
      {.kind = Config::Kind::norm, .norm = Config::Norm::layer, .n = d.hidden, .epsilon = shape.epsilon});

  const std::string looked_up = "embedding: a row is looked up";
  builder.matrix_outside(names.token_embedding, names.token_embedding + ".weight", d.vocab, d.hidden, looked_up);
  builder.matrix_outside(names.position_embedding, names.position_embedding + ".weight", d.context, d.hidden,
                         "position " + looked_up);
  builder.outside(names.type_embedding + ".weight", "token type " + looked_up);
  builder.outside_beginning(names.embedding_norm + ".", "norm of the embedding");

  NodeId x = builder.input("x", d.hidden);
  for (std::uint32_t layer = 0; layer < d.layers && !builder.failed(); ++layer) {
    builder.set_layer(layer);
    const std::string prefix = fmt::format("{}{}.", names.layer_prefix, layer);
    const auto linear = [&](const std::string& part, NodeId source, std::uint32_t out) {
      return builder.linear(prefix + part, prefix + part + ".weight", source, out);
    };
    const auto bias = [&](const std::string& part, NodeId source) {
      return builder.bias(prefix + part + ".bias", source);
    };
    const auto norm = [&](const std::string& part, NodeId source) {
      const NodeId scaled = builder.norm(prefix + part, source, norm_config, prefix + part + names.gain);
      return builder.bias(prefix + part + names.offset, scaled);
    };

    const std::uint32_t kv_size = d.kv_heads * d.head_size;
    const NodeId query = linear(names.query, x, d.heads * d.head_size);
    const NodeId key = linear(names.key, x, kv_size);
    const NodeId value = linear(names.value, x, kv_size);
    const NodeId full_query = bias(names.query, query);
    const NodeId full_key = bias(names.key, key);
    const NodeId full_value = bias(names.value, value);
    const NodeId context = builder.attend(prefix + "attend", full_query, full_key, full_value, Span::all);
    const NodeId attended = bias(names.attention_output, linear(names.attention_output, context, d.hidden));
    x = norm(names.attention_norm, builder.combine(NodeKind::add, prefix + "attn.add", x, attended));

    NodeId inner{};
    if (shape.gated) {
      const NodeId gate = linear(names.gate, x, d.ffn);
      const NodeId up = linear(names.up, x, d.ffn);
      const NodeId active_gate = builder.activation(prefix + "ffn.", bias(names.gate, gate));
      inner = builder.combine(NodeKind::mul, prefix + "ffn.mul", active_gate, bias(names.up, up));
    } else {
      inner = builder.activation(prefix + "ffn.", bias(names.up, linear(names.up, x, d.ffn)));
    }
    const NodeId fed_forward = bias(names.down, linear(names.down, inner, d.hidden));
    x = norm(names.feed_forward_norm, builder.combine(NodeKind::add, prefix + "ffn.add", x, fed_forward));
  }
  builder.output(x);

  builder.outside(names.prefix + "embeddings.position_ids", "position numbers");
  builder.outside_beginning(names.prefix + "pooler.", "pooler: used once per sequence");
  for (const char* head : {"cls.", "classifier.", "qa_outputs."}) {
    builder.outside_beginning(head, "task head: not part of the encoder");
  }
  return std::move(builder).finish();
}

}  // namespace danaus::model
