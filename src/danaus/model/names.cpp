#include "danaus/model/names.h"

#include "danaus/model/families.h"

// The vocabularies of the file formats, one function each.

namespace danaus::model {

LayoutNames gguf_names(Family family) {
  LayoutNames names;
  names.token_embedding = "token_embd";
  names.final_norm = "output_norm";
  names.head = "output";
  StackNames& layers = names.layers;
  layers.prefix = "blk.";
  layers.attention_norm = "attn_norm";
  layers.query = "attn_q";
  layers.key = "attn_k";
  layers.value = "attn_v";
  layers.attention_output = "attn_output";
  layers.feed_forward_norm = "ffn_norm";
  layers.gate = "ffn_gate";
  layers.up = "ffn_up";
  layers.down = "ffn_down";
  layers.router = "ffn_gate_inp";
  layers.expert_gate = "ffn_gate_exps";
  layers.expert_up = "ffn_up_exps";
  layers.expert_down = "ffn_down_exps";
  layers.stacked_experts = true;
  if (!info_of(family).rotary) layers.position_embedding = "position_embd";
  if (family == Family::gpt2) layers.fused_qkv = "attn_qkv";
  if (info_of(family).norm_after) {
    names.final_norm.clear();
    layers.embedding_norm = "token_embd_norm";
    layers.attention_norm = "attn_output_norm";
    layers.feed_forward_norm = "layer_output_norm";
  }
  if (family == Family::bert) {
    names.type_embedding = "token_types";
    names.head.clear();
    names.unused = {{"cls.", "task head: not part of the encoder"}};
  }
  if (family == Family::bart) {
    names.decoder_layers = layers;
    layers.prefix = "enc.blk.";
    layers.position_embedding = "enc.position_embd";
    layers.embedding_norm = "enc.token_embd_norm";
    StackNames& decoder = names.decoder_layers;
    decoder.prefix = "dec.blk.";
    decoder.position_embedding = "dec.position_embd";
    decoder.embedding_norm = "dec.token_embd_norm";
    decoder.cross_query = "cross_attn_q";
    decoder.cross_key = "cross_attn_k";
    decoder.cross_value = "cross_attn_v";
    decoder.cross_output = "cross_attn_output";
    decoder.cross_norm = "cross_attn_output_norm";
  }
  return names;
}

LayoutNames hugging_face_llama_names(const std::string& root) {
  LayoutNames names;
  names.token_embedding = root + "embed_tokens";
  names.final_norm = root + "norm";
  names.head = "lm_head";
  StackNames& layers = names.layers;
  layers.prefix = root + "layers.";
  layers.attention_norm = "input_layernorm";
  layers.query = "self_attn.q_proj";
  layers.key = "self_attn.k_proj";
  layers.value = "self_attn.v_proj";
  layers.attention_output = "self_attn.o_proj";
  layers.feed_forward_norm = "post_attention_layernorm";
  layers.gate = "mlp.gate_proj";
  layers.up = "mlp.up_proj";
  layers.down = "mlp.down_proj";
  layers.unused = {{"self_attn.rotary_emb.inv_freq", "rotary frequencies: made from theta"}};
  return names;
}

LayoutNames hugging_face_mixtral_names(const std::string& root) {
  LayoutNames names = hugging_face_llama_names(root);
  names.layers.router = "block_sparse_moe.gate";
  names.layers.expert_gate = "block_sparse_moe.experts.*.w1";
  names.layers.expert_up = "block_sparse_moe.experts.*.w3";
  names.layers.expert_down = "block_sparse_moe.experts.*.w2";
  return names;
}

LayoutNames hugging_face_phi3_names(const std::string& root) {
  LayoutNames names = hugging_face_llama_names(root);
  names.layers.fused_qkv = "self_attn.qkv_proj";
  names.layers.fused_gate_up = "mlp.gate_up_proj";
  return names;
}

LayoutNames hugging_face_phi_names(const std::string& root) {
  LayoutNames names = hugging_face_llama_names(root);
  names.final_norm = root + "final_layernorm";
  names.layers.attention_output = "self_attn.dense";
  names.layers.up = "mlp.fc1";
  names.layers.down = "mlp.fc2";
  names.head_bias = "lm_head.bias";
  return names;
}

LayoutNames hugging_face_falcon_names(const std::string& root) {
  LayoutNames names;
  names.token_embedding = root + "word_embeddings";
  names.final_norm = root + "ln_f";
  names.head = "lm_head";
  StackNames& layers = names.layers;
  layers.prefix = root + "h.";
  layers.attention_norm = "input_layernorm";
  layers.fused_qkv = "self_attention.query_key_value";
  layers.attention_output = "self_attention.dense";
  layers.up = "mlp.dense_h_to_4h";
  layers.down = "mlp.dense_4h_to_h";
  layers.unused = {{"self_attention.rotary_emb.inv_freq", "rotary frequencies: made from theta"}};
  return names;
}

LayoutNames hugging_face_gpt2_names(const std::string& root) {
  LayoutNames names;
  names.token_embedding = root + "wte";
  names.final_norm = root + "ln_f";
  names.head = "lm_head";
  names.transposed = true;  // modules of class Conv1D
  StackNames& layers = names.layers;
  layers.position_embedding = root + "wpe";
  layers.prefix = root + "h.";
  layers.attention_norm = "ln_1";
  layers.fused_qkv = "attn.c_attn";
  layers.attention_output = "attn.c_proj";
  layers.feed_forward_norm = "ln_2";
  layers.up = "mlp.c_fc";
  layers.down = "mlp.c_proj";
  layers.unused = {{"attn.bias", "causal mask: attention sees earlier tokens only"},
                   {"attn.masked_bias", "causal mask: attention sees earlier tokens only"}};
  return names;
}

LayoutNames hugging_face_bart_names(const std::string& root) {
  LayoutNames names;
  names.token_embedding = root + "shared";
  names.head = "lm_head";
  names.head_bias = "final_logits_bias";
  names.unused_positions = 2;
  names.embedding_copies = {root + "encoder.embed_tokens", root + "decoder.embed_tokens"};
  names.unused = {{"classification_head.", "task head: not part of encoder and decoder"},
                  {"qa_outputs.", "task head: not part of encoder and decoder"}};
  const auto stack = [&](const std::string& name) {
    StackNames layers;
    layers.position_embedding = root + name + ".embed_positions";
    layers.embedding_norm = root + name + ".layernorm_embedding";
    layers.prefix = root + name + ".layers.";
    layers.query = "self_attn.q_proj";
    layers.key = "self_attn.k_proj";
    layers.value = "self_attn.v_proj";
    layers.attention_output = "self_attn.out_proj";
    layers.attention_norm = "self_attn_layer_norm";
    layers.up = "fc1";
    layers.down = "fc2";
    layers.feed_forward_norm = "final_layer_norm";
    return layers;
  };
  names.layers = stack("encoder");
  names.decoder_layers = stack("decoder");
  StackNames& decoder = names.decoder_layers;
  decoder.cross_query = "encoder_attn.q_proj";
  decoder.cross_key = "encoder_attn.k_proj";
  decoder.cross_value = "encoder_attn.v_proj";
  decoder.cross_output = "encoder_attn.out_proj";
  decoder.cross_norm = "encoder_attn_layer_norm";
  return names;
}

LayoutNames hugging_face_bert_names(const std::string& root) {
  LayoutNames names;
  names.token_embedding = root + "embeddings.word_embeddings";
  names.type_embedding = root + "embeddings.token_type_embeddings";
  const std::string task_head = "task head: not part of the encoder";
  names.unused = {{root + "embeddings.position_ids", "position numbers"},
                  {root + "pooler.", "pooler: used once per sequence"},
                  {"cls.", task_head},
                  {"classifier.", task_head},
                  {"qa_outputs.", task_head}};
  StackNames& layers = names.layers;
  layers.position_embedding = root + "embeddings.position_embeddings";
  layers.embedding_norm = root + "embeddings.LayerNorm";
  layers.prefix = root + "encoder.layer.";
  layers.query = "attention.self.query";
  layers.key = "attention.self.key";
  layers.value = "attention.self.value";
  layers.attention_output = "attention.output.dense";
  layers.attention_norm = "attention.output.LayerNorm";
  layers.up = "intermediate.dense";
  layers.down = "output.dense";
  layers.feed_forward_norm = "output.LayerNorm";
  return names;
}

}  // namespace danaus::model
