#include "danaus/model/llama.h"

#include <fmt/format.h>

#include "danaus/model/builder.h"

// The llama family: pre-norm decoder layers with rotary embedding, grouped-query attention and a gated feed-forward
// part (Touvron et al. 2023, arXiv:2302.13971; grouped queries: Ainslie et al. 2023, arXiv:2305.13245).

namespace danaus::model {

LlamaNames gguf_llama_names() {
  return {.embedding = "token_embd",
          .final_norm = "output_norm",
          .head = "output",
          .layer_prefix = "blk.",
          .attention_norm = "attn_norm",
          .query = "attn_q",
          .key = "attn_k",
          .value = "attn_v",
          .attention_output = "attn_output",
          .feed_forward_norm = "ffn_norm",
          .gate = "ffn_gate",
          .up = "ffn_up",
          .down = "ffn_down"};
}

LlamaNames hugging_face_llama_names(const std::string& prefix) {
  return {.embedding = prefix + "embed_tokens",
          .final_norm = prefix + "norm",
          .head = "lm_head",
          .layer_prefix = prefix + "layers.",
          .attention_norm = "input_layernorm",
          .query = "self_attn.q_proj",
          .key = "self_attn.k_proj",
          .value = "self_attn.v_proj",
          .attention_output = "self_attn.o_proj",
          .feed_forward_norm = "post_attention_layernorm",
          .gate = "mlp.gate_proj",
          .up = "mlp.up_proj",
          .down = "mlp.down_proj"};
}

Result<Model> build_llama(const Shape& shape, const LlamaNames& names, std::optional<std::vector<Tensor>> tensors) {
  const Dimensions& d = shape.dimensions;
  GraphBuilder builder(shape, std::move(tensors));
  const ConfigId norm_config =
      builder.config({.kind = Config::Kind::norm, .norm = Config::Norm::rms, .n = d.hidden, .epsilon = shape.epsilon});
  const ConfigId rope_config =
      builder.config({.kind = Config::Kind::rope, .size = d.head_size, .theta = shape.theta, .pairs = shape.pairs});

  builder.matrix_outside(names.embedding, names.embedding + ".weight", d.vocab, d.hidden,
                         "embedding: a row is looked up");
  NodeId x = builder.input("x", d.hidden);
  for (std::uint32_t layer = 0; layer < d.layers && !builder.failed(); ++layer) {
    builder.set_layer(layer);
    const std::string prefix = fmt::format("{}{}.", names.layer_prefix, layer);
    const auto linear = [&](const std::string& part, NodeId source, std::uint32_t out) {
      return builder.linear(prefix + part, prefix + part + ".weight", source, out);
    };
    const auto norm = [&](const std::string& part, NodeId source) {
      return builder.norm(prefix + part, source, norm_config, prefix + part + ".weight");
    };

    const NodeId attention_in = norm(names.attention_norm, x);
    const NodeId query = linear(names.query, attention_in, d.heads * d.head_size);
    const NodeId key = linear(names.key, attention_in, d.kv_heads * d.head_size);
    const NodeId value = linear(names.value, attention_in, d.kv_heads * d.head_size);
    const NodeId turned_query = builder.rope(prefix + names.query + ".rope", query, rope_config);
    const NodeId turned_key = builder.rope(prefix + names.key + ".rope", key, rope_config);
    const NodeId context = builder.attend(prefix + "attend", turned_query, turned_key, value, Span::earlier);
    x = builder.combine(NodeKind::add, prefix + "attn.add", x, linear(names.attention_output, context, d.hidden));

    const NodeId feed_forward_in = norm(names.feed_forward_norm, x);
    NodeId inner{};
    if (shape.gated) {
      const NodeId gate = linear(names.gate, feed_forward_in, d.ffn);
      const NodeId up = linear(names.up, feed_forward_in, d.ffn);
      inner = builder.combine(NodeKind::mul, prefix + "ffn.mul", builder.activation(prefix + "ffn.", gate), up);
    } else {
      inner = builder.activation(prefix + "ffn.", linear(names.up, feed_forward_in, d.ffn));
    }
    x = builder.combine(NodeKind::add, prefix + "ffn.add", x, linear(names.down, inner, d.hidden));
    builder.outside(prefix + "self_attn.rotary_emb.inv_freq", "rotary frequencies: made from theta");
  }
  builder.output(builder.norm(names.final_norm, x, norm_config, names.final_norm + ".weight"));
  // Some files keep a tied head although it is the embedding again.
  const std::string head_weight = names.head + ".weight";
  const std::string head_reason = shape.tied_embeddings ? "lm head (tied to the embedding)" : "lm head";
  if (shape.tied_embeddings && !builder.has_tensor(head_weight)) {
    builder.list_outside(names.head, d.vocab, d.hidden, head_reason);
  } else {
    builder.matrix_outside(names.head, head_weight, d.vocab, d.hidden, head_reason);
  }
  return std::move(builder).finish();
}

}  // namespace danaus::model
