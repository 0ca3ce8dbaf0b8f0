#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "danaus/model/model.h"

namespace danaus::model {

/// A tensor that a file may have and that the graph does not need; a name that ends with '.' means all that begin so.
struct UnusedTensor {
  std::string name;
  std::string reason;
};

/// How files name the parts of a stack of layers. A layer's part is `prefix` + number + "." + part; its tensor has
/// ".weight" behind, its bias ".bias" (norms: LayoutNames::gain and offset). Several operators may be one tensor:
/// `fused_*` instead of the single names. '*' stands for the number of an expert.
struct StackNames {
  std::string position_embedding, embedding_norm;
  std::string prefix;
  std::string attention_norm, query, key, value, attention_output;
  std::string cross_norm, cross_query, cross_key, cross_value, cross_output;
  std::string feed_forward_norm, gate, up, down;
  std::string router, expert_gate, expert_up, expert_down;
  std::string fused_qkv;             ///< outputs of q, then k, then v
  std::string fused_gate_up;         ///< outputs of gate, then up
  bool stacked_experts = false;      ///< one tensor {experts, out, in} per part; its name has no '*'
  std::vector<UnusedTensor> unused;  ///< parts of every layer
};

/// How an importer's files name and store a transformer; a part that the family does not have stays empty.
struct LayoutNames {
  std::string token_embedding, type_embedding, final_norm, head;
  std::string head_bias;                      ///< whole name of the tensor
  std::vector<std::string> embedding_copies;  ///< other names that the token embedding may have
  StackNames layers, decoder_layers;
  std::string gain = ".weight", offset = ".bias";
  bool transposed = false;             ///< weights are {in, out}
  std::uint32_t unused_positions = 0;  ///< rows of the position embedding before that of position 0
  std::vector<UnusedTensor> unused;
};

/// Names of GGUF files ("blk.0.attn_q"), used for shape files too; GGUF has no bart, whose names follow the pattern
/// ("enc.blk.0.attn_q").
LayoutNames gguf_names(Family family);

// Names of Hugging Face files; `root` stands before them: "model.", "bert." and the like, or nothing.
LayoutNames hugging_face_llama_names(const std::string& root);
LayoutNames hugging_face_mixtral_names(const std::string& root);
LayoutNames hugging_face_phi_names(const std::string& root);
LayoutNames hugging_face_phi3_names(const std::string& root);
LayoutNames hugging_face_falcon_names(const std::string& root);
LayoutNames hugging_face_gpt2_names(const std::string& root);
LayoutNames hugging_face_bart_names(const std::string& root);
LayoutNames hugging_face_bert_names(const std::string& root);

}  // namespace danaus::model
