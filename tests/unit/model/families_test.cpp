// Every family from the small files of every importer that has it: the graphs are the same but for their names.
#include "danaus/model/families.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "danaus/core/files.h"
#include "danaus/model/gguf.h"
#include "danaus/model/hugging_face.h"
#include "danaus/model/shape_file.h"
#include "danaus/model/summary.h"
#include "small_files.h"

using namespace danaus;
using namespace danaus::model;
using small_files::Bytes;
using small_files::Gguf;

namespace {

using Tensors = std::vector<std::pair<std::string, std::vector<std::uint64_t>>>;

/// The graph without names: kinds, sources, sizes, parameters.
std::vector<std::string> skeleton(const Graph& graph) {
  std::vector<std::string> lines;
  for (const Node& node : graph.nodes) {
    std::string line = fmt::format("{} {}", name_of(node.kind), node.size);
    for (const NodeId source : node.sources) line += fmt::format(" {}", index(source));
    const Config& config = graph.configs[index(node.configs[0])];
    if (node.kind == NodeKind::norm)
      line += fmt::format(" {} {}", config.norm == Config::Norm::rms ? "rms" : "layer", config.epsilon);
    if (node.kind == NodeKind::rope) line += fmt::format(" {} {}", config.size, config.theta);
    if (node.kind == NodeKind::attend)
      line += fmt::format(" {} {} {} {}", node.query_heads, node.kv_heads, node.head_size, index(node.kv_first));
    lines.push_back(line);
  }
  for (const NodeId output : graph.outputs) lines.push_back(fmt::format("output {}", index(output)));
  return lines;
}

/// The names of a graph's nodes of one kind.
std::vector<std::string> names(const Model& model, NodeKind kind) {
  std::vector<std::string> found;
  for (const Node& node : model.graph.nodes) {
    if (node.kind == kind) found.push_back(node.name);
  }
  return found;
}

/// Dimensions of all small models: 2 layers, hidden 8, ffn 12, 4 heads of 2, vocabulary 5, context 16.
std::string shape_text(std::string_view family, std::string_view activation, std::string_view more) {
  return fmt::format(
      "name = \"small\"\nfamily = \"{}\"\nlayers = 2\nhidden = 8\nffn = 12\nheads = 4\nvocab = 5\ncontext = 16\n"
      "activation = \"{}\"\nepsilon = 9.5367431640625e-07\n{}",
      family, activation, more);
}
constexpr float kEpsilon = 0x1p-20f;  // 9.5367431640625e-07

Model from_shape(const std::string& text) {
  const Result<Shape> shape = parse_shape(text, "small.toml");
  REQUIRE_MESSAGE(shape.has_value(), (shape ? "" : shape.error().message));
  Result<Model> model = model_from_shape(*shape);
  REQUIRE(model);
  return std::move(*model);
}

/// Metadata that every architecture has.
Gguf gguf(const std::string& architecture, std::string_view epsilon_key) {
  Gguf file;
  file.text("general.architecture", architecture);
  file.number(architecture + ".block_count", 2);
  file.number(architecture + ".context_length", 16);
  file.number(architecture + ".embedding_length", 8);
  file.number(architecture + ".feed_forward_length", 12);
  file.number(architecture + ".attention.head_count", 4);
  file.real(fmt::format("{}.attention.{}", architecture, epsilon_key), kEpsilon);
  return file;
}

void add(Gguf& file, const Tensors& tensors) {
  float start = 0;
  for (const auto& [name, shape] : tensors) {
    std::uint64_t elements = 1;
    for (const std::uint64_t size : shape) elements *= size;
    file.tensors.push_back(
        {name, {shape.rbegin(), shape.rend()}, small_files::kF32, small_files::ramp(elements, start), 0});
    start += 1;
  }
}

Result<Model> from_gguf(const Gguf& file, Bytes& bytes) {
  bytes = file.bytes();
  const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
  REQUIRE(parsed);
  return model_from_gguf(*parsed);
}

class Folder {
 public:
  Folder(const std::string& config, const Tensors& tensors)
      : path_(std::filesystem::temp_directory_path() / fmt::format("danaus-family-{}-{}", ::getpid(), count_++)) {
    std::filesystem::create_directories(path_);
    REQUIRE(write_file(path_ / "config.json", config));
    const Bytes bytes = small_files::safetensors_of(tensors);
    REQUIRE(write_file(path_ / "model.safetensors",
                       std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Result<Model> load() const { return load_hugging_face(path_); }

 private:
  static inline int count_ = 0;
  std::filesystem::path path_;
};

/// The tensors of layers 0 and 1 between those before and those behind.
Tensors layered(Tensors all, const std::string& prefix, const Tensors& layer, const Tensors& behind) {
  for (const char* number : {"0.", "1."}) {
    for (const auto& [name, shape] : layer) all.push_back({prefix + number + name, shape});
  }
  all.insert(all.end(), behind.begin(), behind.end());
  return all;
}

const std::string kLlamaKeys =
    R"("hidden_size":8,"intermediate_size":12,"rms_norm_eps":9.5367431640625e-07,"max_position_embeddings":16,)"
    R"("num_attention_heads":4,"num_key_value_heads":2,"num_hidden_layers":2,"vocab_size":5)";

Tensors llama_layer(bool biased) {
  Tensors layer = {{"input_layernorm.weight", {8}},     {"self_attn.q_proj.weight", {8, 8}},
                   {"self_attn.k_proj.weight", {4, 8}}, {"self_attn.v_proj.weight", {4, 8}},
                   {"self_attn.o_proj.weight", {8, 8}}, {"post_attention_layernorm.weight", {8}},
                   {"mlp.gate_proj.weight", {12, 8}},   {"mlp.up_proj.weight", {12, 8}},
                   {"mlp.down_proj.weight", {8, 12}}};
  if (biased)
    layer.insert(layer.end(),
                 {{"self_attn.q_proj.bias", {8}}, {"self_attn.k_proj.bias", {4}}, {"self_attn.v_proj.bias", {4}}});
  return layer;
}

Tensors gguf_llama_layer(bool biased) {
  Tensors layer = {{"attn_norm.weight", {8}},    {"attn_q.weight", {8, 8}},      {"attn_k.weight", {4, 8}},
                   {"attn_v.weight", {4, 8}},    {"attn_output.weight", {8, 8}}, {"ffn_norm.weight", {8}},
                   {"ffn_gate.weight", {12, 8}}, {"ffn_up.weight", {12, 8}},     {"ffn_down.weight", {8, 12}}};
  if (biased) layer.insert(layer.end(), {{"attn_q.bias", {8}}, {"attn_k.bias", {4}}, {"attn_v.bias", {4}}});
  return layer;
}

Tensors gpt2_tensors(const std::string& root) {
  return layered({{root + "wte.weight", {5, 8}}, {root + "wpe.weight", {16, 8}}}, root + "h.",
                 {{"ln_1.weight", {8}},
                  {"ln_1.bias", {8}},
                  {"attn.bias", {1, 1, 16, 16}},
                  {"attn.c_attn.weight", {8, 24}},
                  {"attn.c_attn.bias", {24}},
                  {"attn.c_proj.weight", {8, 8}},
                  {"attn.c_proj.bias", {8}},
                  {"ln_2.weight", {8}},
                  {"ln_2.bias", {8}},
                  {"mlp.c_fc.weight", {8, 12}},
                  {"mlp.c_fc.bias", {12}},
                  {"mlp.c_proj.weight", {12, 8}},
                  {"mlp.c_proj.bias", {8}}},
                 {{root + "ln_f.weight", {8}}, {root + "ln_f.bias", {8}}});
}

const std::string kGpt2Config =
    R"({"architectures":["GPT2LMHeadModel"],"activation_function":"gelu_new","n_layer":2,"n_embd":8,"n_inner":12,)"
    R"("n_head":4,"n_positions":16,"vocab_size":5,"layer_norm_epsilon":9.5367431640625e-07})";

}  // namespace

TEST_CASE("families: gpt2 is the same from a shape, GGUF and Hugging Face") {
  const Model shape = from_shape(shape_text("gpt2", "gelu_tanh", "tied_embeddings = true\n"));
  Gguf file = gguf("gpt2", "layer_norm_epsilon");
  add(file, layered({{"token_embd.weight", {5, 8}}, {"position_embd.weight", {16, 8}}}, "blk.",
                    {{"attn_norm.weight", {8}},
                     {"attn_norm.bias", {8}},
                     {"attn_qkv.weight", {24, 8}},
                     {"attn_qkv.bias", {24}},
                     {"attn_output.weight", {8, 8}},
                     {"attn_output.bias", {8}},
                     {"ffn_norm.weight", {8}},
                     {"ffn_norm.bias", {8}},
                     {"ffn_up.weight", {12, 8}},
                     {"ffn_up.bias", {12}},
                     {"ffn_down.weight", {8, 12}},
                     {"ffn_down.bias", {8}}},
                    {{"output_norm.weight", {8}}, {"output_norm.bias", {8}}}));
  Bytes bytes;
  const Result<Model> from_file = from_gguf(file, bytes);
  REQUIRE(from_file);
  CHECK(skeleton(from_file->graph) == skeleton(shape.graph));
  CHECK(names(*from_file, NodeKind::linear) == names(shape, NodeKind::linear));
  CHECK(names(*from_file, NodeKind::linear)[1] == "blk.0.attn_qkv.k");
  for (const std::string root : {"", "transformer."}) {
    const Folder folder(kGpt2Config, gpt2_tensors(root));
    const Result<Model> model = folder.load();
    REQUIRE(model);
    CHECK(skeleton(model->graph) == skeleton(shape.graph));
    CHECK(names(*model, NodeKind::linear)[1] == root + "h.0.attn.c_attn.k");
    CHECK(model->digital.size() == 5);  // two embeddings, the tied head, two masks
    // Tensor 5 of the file begins at 5: element (i, o) of {8, 24} is 5 + (24 i + o) / 1024.
    const LinearOperator& key = model->linear[1];
    CHECK(key.out == 8);
    CHECK(key.in == 8);
    const std::vector<float> weights = read_weights(key);
    CHECK(weights[0] == 5.0f + 8.0f / 1024);  // output 0 is column 8
    CHECK(weights[3 * 8 + 2] == 5.0f + (2 * 24 + 8 + 3) / 1024.0f);
    CHECK(model->constants[4].name == root + "h.0.attn.c_attn.v.bias");
    CHECK(model->constants[4].first == 16);
  }
  // Per layer: 11 nodes with the attention, 9 with the feed-forward part; input, final norm and its bias.
  CHECK(shape.graph.nodes.size() == 1 + 2 * 20 + 2);
  CHECK(skeleton(shape.graph)[1] == "norm 8 0 layer 9.5367431640625e-07");
}

TEST_CASE("families: gpt2 variants are refused by name") {
  const auto error = [](std::string_view what, std::string_view by) {
    std::string config = kGpt2Config;
    config.replace(config.find(what), what.size(), by);
    const Result<Shape> shape = parse_hugging_face_config(config, "config.json");
    return shape ? std::string() : shape.error().message;
  };
  CHECK(error("\"n_head\":4", "\"n_head\":4,\"add_cross_attention\":true").find("cross-attention") !=
        std::string::npos);
  CHECK(error("\"n_head\":4", "\"n_head\":4,\"scale_attn_weights\":false").find("scaling") != std::string::npos);
  CHECK(error("\"n_inner\":12", "\"n_inner\":null") == "");
  CHECK(error("\"n_embd\":8,\"n_inner\":12", "\"n_embd\":4294967292") != "");
}

TEST_CASE("families: qwen2 has biases of q, k and v") {
  const Model shape = from_shape(shape_text("llama", "silu", "kv_heads = 2\nbiases = \"qkv\"\n"));
  Gguf file = gguf("qwen2", "layer_norm_rms_epsilon");
  file.number("qwen2.attention.head_count_kv", 2);
  add(file, layered({{"token_embd.weight", {5, 8}}}, "blk.", gguf_llama_layer(true),
                    {{"output_norm.weight", {8}}, {"output.weight", {5, 8}}}));
  Bytes bytes;
  const Result<Model> from_file = from_gguf(file, bytes);
  REQUIRE(from_file);
  CHECK(skeleton(from_file->graph) == skeleton(shape.graph));
  CHECK(from_file->graph.configs[2].pairs == Config::Pairs::half);
  const Folder folder("{\"architectures\":[\"Qwen2ForCausalLM\"]," + kLlamaKeys + "}",
                      layered({{"model.embed_tokens.weight", {5, 8}}}, "model.layers.", llama_layer(true),
                              {{"model.norm.weight", {8}}, {"lm_head.weight", {5, 8}}}));
  const Result<Model> model = folder.load();
  REQUIRE(model);
  CHECK(skeleton(model->graph) == skeleton(shape.graph));
  CHECK(names(*model, NodeKind::bias)[1] == "model.layers.0.self_attn.k_proj.bias");
}

TEST_CASE("families: a window of the attention limits the context and is said") {
  const Tensors tensors =
      layered({{"embed_tokens.weight", {5, 8}}}, "layers.", llama_layer(false), {{"norm.weight", {8}}});
  const auto load = [&](const std::string& architecture, const std::string& more) {
    const Folder folder("{\"architectures\":[\"" + architecture + "\"]," + kLlamaKeys + more + "}", tensors);
    Result<Model> model = folder.load();
    REQUIRE(model);
    return std::move(*model);
  };
  const Model cut = load("MistralModel", ",\"sliding_window\":6");
  CHECK(cut.dimensions.context == 6);
  REQUIRE(cut.notes.size() == 1);
  CHECK(cut.notes[0].find("the context is 6 tokens, the attention window") == 0);
  CHECK(load("MistralModel", ",\"sliding_window\":null").dimensions.context == 16);
  CHECK(load("MistralModel", "").notes.empty());  // 4096, more than the context
  CHECK(skeleton(cut.graph) == skeleton(from_shape(shape_text("llama", "silu", "kv_heads = 2\n")).graph));
  const Model shape = from_shape(shape_text("llama", "silu", "window = 7\n"));
  CHECK(shape.dimensions.context == 7);
  const auto qwen = [&](const std::string& more) {
    return parse_hugging_face_config("{\"model_type\":\"qwen2\"," + kLlamaKeys + more + "}", "config.json")->window;
  };
  CHECK(qwen(",\"sliding_window\":6") == 0);
  CHECK(qwen(",\"sliding_window\":6,\"use_sliding_window\":true,\"max_window_layers\":2") == 0);
  CHECK(qwen(",\"sliding_window\":6,\"use_sliding_window\":true,\"max_window_layers\":1") == 6);
}

TEST_CASE("families: phi3 has fused tensors") {
  const Model shape = from_shape(shape_text("llama", "silu", "kv_heads = 2\n"));
  Gguf file = gguf("phi3", "layer_norm_rms_epsilon");
  file.number("phi3.attention.head_count_kv", 2);
  add(file, layered({{"token_embd.weight", {5, 8}}}, "blk.",
                    {{"attn_norm.weight", {8}},
                     {"attn_qkv.weight", {16, 8}},
                     {"attn_output.weight", {8, 8}},
                     {"ffn_norm.weight", {8}},
                     {"ffn_up.weight", {24, 8}},
                     {"ffn_down.weight", {8, 12}}},
                    {{"output_norm.weight", {8}}, {"output.weight", {5, 8}}}));
  Bytes bytes;
  const Result<Model> from_file = from_gguf(file, bytes);
  REQUIRE(from_file);
  CHECK(skeleton(from_file->graph) == skeleton(shape.graph));
  const Folder folder("{\"architectures\":[\"Phi3ForCausalLM\"]," + kLlamaKeys + "}",
                      layered({{"model.embed_tokens.weight", {5, 8}}}, "model.layers.",
                              {{"input_layernorm.weight", {8}},
                               {"self_attn.qkv_proj.weight", {16, 8}},
                               {"self_attn.o_proj.weight", {8, 8}},
                               {"post_attention_layernorm.weight", {8}},
                               {"mlp.gate_up_proj.weight", {24, 8}},
                               {"mlp.down_proj.weight", {8, 12}}},
                              {{"model.norm.weight", {8}}, {"lm_head.weight", {5, 8}}}));
  const Result<Model> model = folder.load();
  REQUIRE(model);
  CHECK(skeleton(model->graph) == skeleton(shape.graph));
  const LinearOperator& value = model->linear[2];
  CHECK(value.name == "model.layers.0.self_attn.qkv_proj.v");
  CHECK(value.weight->first == 12);
  CHECK(model->linear[5].name == "model.layers.0.mlp.gate_up_proj.up");
  CHECK(model->linear[5].weight->first == 12);
}

TEST_CASE("families: falcon has parallel branches behind one norm") {
  const Model shape = from_shape(shape_text(
      "llama", "gelu", "kv_heads = 1\ngated = false\nnorm = \"layer\"\nparallel = true\ntied_embeddings = true\n"));
  CHECK(names(shape, NodeKind::norm) == std::vector<std::string>{"blk.0.attn_norm", "blk.1.attn_norm", "output_norm"});
  Gguf file = gguf("falcon", "layer_norm_epsilon");
  file.number("falcon.attention.head_count_kv", 1);
  add(file, layered({{"token_embd.weight", {5, 8}}}, "blk.",
                    {{"attn_norm.weight", {8}},
                     {"attn_norm.bias", {8}},
                     {"attn_qkv.weight", {12, 8}},
                     {"attn_output.weight", {8, 8}},
                     {"ffn_up.weight", {12, 8}},
                     {"ffn_down.weight", {8, 12}}},
                    {{"output_norm.weight", {8}}, {"output_norm.bias", {8}}}));
  Bytes bytes;
  const Result<Model> from_file = from_gguf(file, bytes);
  REQUIRE(from_file);
  CHECK(skeleton(from_file->graph) == skeleton(shape.graph));
  const std::string config =
      R"({"architectures":["FalconForCausalLM"],"hidden_size":8,"ffn_hidden_size":12,"num_hidden_layers":2,)"
      R"("num_attention_heads":4,"vocab_size":5,"max_position_embeddings":16,"layer_norm_epsilon":9.5367431640625e-07)";
  const Folder folder(config + "}", layered({{"transformer.word_embeddings.weight", {5, 8}}}, "transformer.h.",
                                            {{"input_layernorm.weight", {8}},
                                             {"input_layernorm.bias", {8}},
                                             {"self_attention.query_key_value.weight", {12, 8}},
                                             {"self_attention.dense.weight", {8, 8}},
                                             {"mlp.dense_h_to_4h.weight", {12, 8}},
                                             {"mlp.dense_4h_to_h.weight", {8, 12}}},
                                            {{"transformer.ln_f.weight", {8}}, {"transformer.ln_f.bias", {8}}}));
  const Result<Model> model = folder.load();
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  CHECK(skeleton(model->graph) == skeleton(shape.graph));
  for (const char* key : {R"(,"new_decoder_architecture":true})", R"(,"alibi":true})", R"(,"bias":true})",
                          R"(,"parallel_attn":false})", R"(,"multi_query":false})"}) {
    CAPTURE(key);
    const Result<Shape> refused = parse_hugging_face_config(config + key, "config.json");
    REQUIRE(!refused);
    CHECK(refused.error().id == "hf.unsupported-key");
  }
}

TEST_CASE("families: bert is the same from a shape, GGUF and Hugging Face") {
  const Model shape = from_shape(shape_text("bert", "gelu", ""));
  Gguf file = gguf("bert", "layer_norm_epsilon");
  file.truth("bert.attention.causal", 0);
  const std::vector<std::pair<std::string, std::vector<std::uint64_t>>> parts = {
      {"attn_q", {8, 8}},  {"attn_k", {8, 8}},    {"attn_v", {8, 8}},        {"attn_output", {8, 8}},
      {"ffn_up", {12, 8}}, {"ffn_down", {8, 12}}, {"attn_output_norm", {8}}, {"layer_output_norm", {8}}};
  Tensors layer;
  for (const auto& [name, size] : parts) {
    layer.push_back({name + ".weight", size});
    layer.push_back({name + ".bias", {size.front()}});
  }
  add(file, layered({{"token_embd.weight", {5, 8}},
                     {"position_embd.weight", {16, 8}},
                     {"token_types.weight", {2, 8}},
                     {"token_embd_norm.weight", {8}},
                     {"token_embd_norm.bias", {8}}},
                    "blk.", layer, {}));
  Bytes bytes;
  const Result<Model> model = from_gguf(file, bytes);
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  CHECK(skeleton(model->graph) == skeleton(shape.graph));
  CHECK(names(*model, NodeKind::bias) == names(shape, NodeKind::bias));
  CHECK(model->digital.size() == 3);
  file.find("bert.attention.causal").value[0] = std::byte{1};
  const Result<Model> causal = from_gguf(file, bytes);
  REQUIRE(!causal);
  CHECK(causal.error().id == "gguf.unsupported-key");
}

TEST_CASE("families: what a family does not have is refused") {
  const auto error = [](const std::string& text) {
    const Result<Shape> shape = parse_shape(text, "small.toml");
    return shape ? std::string() : shape.error().message;
  };
  CHECK(error(shape_text("bert", "gelu", "parallel = true\n")) == "parallel is not possible in the family bert");
  CHECK(error(shape_text("bert", "gelu", "window = 4\n")) == "window is not possible in the family bert");
  CHECK(error(shape_text("llama", "silu", "decoder_layers = 2\n")) ==
        "decoder_layers is not possible in the family llama");
  CHECK(error(shape_text("gpt2", "gelu_tanh", "norm = \"batch\"\n")) == "'batch' is no value of 'norm'");
  CHECK(error(shape_text("gpt2", "gelu_tanh", "biases = \"some\"\n")) == "'some' is no value of 'biases'");
}

TEST_CASE("families: a mixture of experts from a shape, both kinds of GGUF, and Hugging Face") {
  const Model shape = from_shape(shape_text("llama", "silu", "kv_heads = 2\nexperts = 3\nexperts_per_token = 2\n"));
  // Per layer: 9 nodes with the attention, norm, router, route, and per expert gate, up, silu, mul, down and blend.
  CHECK(shape.graph.nodes.size() == 1 + 2 * (9 + 3 + 3 * 6) + 1);
  for (const Node& node : shape.graph.nodes)
    CHECK(node.guard.has_value() ==
          (node.name.find("_exps.") != std::string::npos || node.name.find("ffn.0.") != std::string::npos ||
           node.name.find("ffn.1.") != std::string::npos || node.name.find("ffn.2.") != std::string::npos));
  const Summary summary = summarise(shape);
  CHECK(summary.operator_weights == 2 * (192 + 24 + 3 * 288));
  CHECK(summary.weights_per_token == 2 * (192 + 24 + 2 * 288));
  Tensors attention = gguf_llama_layer(false);
  attention.resize(6);
  attention.push_back({"ffn_gate_inp.weight", {3, 8}});
  for (const bool stacked : {true, false}) {
    CAPTURE(stacked);
    Tensors layer = attention;
    if (stacked) {
      layer.insert(layer.end(), {{"ffn_gate_exps.weight", {3, 12, 8}},
                                 {"ffn_up_exps.weight", {3, 12, 8}},
                                 {"ffn_down_exps.weight", {3, 8, 12}}});
    } else {
      for (int expert = 0; expert < 3; ++expert)
        layer.insert(layer.end(), {{fmt::format("ffn_gate.{}.weight", expert), {12, 8}},
                                   {fmt::format("ffn_up.{}.weight", expert), {12, 8}},
                                   {fmt::format("ffn_down.{}.weight", expert), {8, 12}}});
    }
    Gguf file = gguf("llama", "layer_norm_rms_epsilon");
    file.number("llama.attention.head_count_kv", 2);
    file.number("llama.expert_count", 3);
    file.number("llama.expert_used_count", 2);
    add(file, layered({{"token_embd.weight", {5, 8}}}, "blk.", layer,
                      {{"output_norm.weight", {8}}, {"output.weight", {5, 8}}}));
    Bytes bytes;
    const Result<Model> model = from_gguf(file, bytes);
    REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
    CHECK(skeleton(model->graph) == skeleton(shape.graph));
    // Expert 1, down: rows 8 to 15 of the stack, or a tensor of its own.
    const LinearOperator& down = model->linear[5 + 5];
    CHECK(down.name == (stacked ? "blk.0.ffn_down_exps.1" : "blk.0.ffn_down.1"));
    CHECK(down.weight->first == (stacked ? 8 : 0));
    CHECK(read_weights(down).size() == 96);
    file.set_number("llama.expert_used_count", 4);
    CHECK(from_gguf(file, bytes).error().id == "gguf.dimensions");
  }
  Tensors layer = llama_layer(false);
  layer.resize(6);
  layer.push_back({"block_sparse_moe.gate.weight", {3, 8}});
  for (int expert = 0; expert < 3; ++expert) {
    const std::string prefix = fmt::format("block_sparse_moe.experts.{}.", expert);
    layer.insert(layer.end(),
                 {{prefix + "w1.weight", {12, 8}}, {prefix + "w2.weight", {8, 12}}, {prefix + "w3.weight", {12, 8}}});
  }
  const Folder folder("{\"architectures\":[\"MixtralForCausalLM\"]," + kLlamaKeys + ",\"num_local_experts\":3}",
                      layered({{"model.embed_tokens.weight", {5, 8}}}, "model.layers.", layer,
                              {{"model.norm.weight", {8}}, {"lm_head.weight", {5, 8}}}));
  const Result<Model> model = folder.load();
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  CHECK(skeleton(model->graph) == skeleton(shape.graph));
}

TEST_CASE("families: phi turns a part of each head") {
  const std::string more =
      "norm = \"layer\"\nbiases = \"all\"\ngated = false\nparallel = true\nhead_size = 4\nrotary = 2\n";
  std::string text = shape_text("llama", "gelu_tanh", more);
  text.replace(text.find("heads = 4"), 9, "heads = 2");
  const Model shape = from_shape(text);
  CHECK(shape.graph.configs[2].rotated == 2);
  Gguf file = gguf("phi2", "layer_norm_epsilon");
  file.set_number("phi2.attention.head_count", 2);
  file.number("phi2.rope.dimension_count", 2);
  Tensors layer;
  for (const auto& [name, size] : Tensors{{"attn_norm", {8}},
                                          {"attn_qkv", {24, 8}},
                                          {"attn_output", {8, 8}},
                                          {"ffn_up", {12, 8}},
                                          {"ffn_down", {8, 12}}}) {
    layer.push_back({name + ".weight", size});
    layer.push_back({name + ".bias", {size.front()}});
  }
  add(file,
      layered(
          {{"token_embd.weight", {5, 8}}}, "blk.", layer,
          {{"output_norm.weight", {8}}, {"output_norm.bias", {8}}, {"output.weight", {5, 8}}, {"output.bias", {5}}}));
  Bytes bytes;
  const Result<Model> from_file = from_gguf(file, bytes);
  REQUIRE_MESSAGE(from_file.has_value(), (from_file ? "" : from_file.error().message));
  CHECK(skeleton(from_file->graph) == skeleton(shape.graph));
  CHECK(from_file->graph.configs[2].rotated == 2);
  const auto rotary = [](std::string_view factor) {
    return parse_hugging_face_config(
        fmt::format("{{\"model_type\":\"phi\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
                    "\"num_attention_heads\":1,\"vocab_size\":5,\"max_position_embeddings\":16{}}}",
                    factor),
        "config.json");
  };
  CHECK(rotary("")->rotary == 4);
  CHECK(rotary(",\"partial_rotary_factor\":0.25")->rotary == 2);
  CHECK(rotary(",\"partial_rotary_factor\":1.0")->rotary == 0);
  CHECK(rotary(",\"partial_rotary_factor\":0.4").error().id == "hf.dimensions");  // 3 elements are no pairs
  CHECK(rotary(",\"partial_rotary_factor\":1.5").error().id == "hf.key");
}

TEST_CASE("families: bart is the same from a shape and Hugging Face, under every name of its embedding") {
  const Model shape = from_shape(shape_text("bart", "gelu", "decoder_layers = 1\ntied_embeddings = true\n"));
  const Model encoder = from_shape(shape_text("bert", "gelu", ""));
  // The encoder is bert's; behind it 2 linear nodes and biases for the cross-attention, and the second input.
  const std::vector<std::string> lines = skeleton(shape.graph), encoder_lines = skeleton(encoder.graph);
  const std::size_t encoder_nodes = encoder.graph.nodes.size();
  CHECK(std::equal(encoder_lines.begin(), encoder_lines.begin() + static_cast<std::ptrdiff_t>(encoder_nodes),
                   lines.begin()));
  CHECK(lines[encoder_nodes + 4] == "input 8");
  const std::vector<std::string> attends = names(shape, NodeKind::attend);
  CHECK(attends ==
        std::vector<std::string>{"enc.blk.0.attend", "enc.blk.1.attend", "dec.blk.0.attend", "dec.blk.0.cross_attend"});
  CHECK(shape.graph.outputs.size() == 1);
  CHECK(danaus::encoder_nodes(shape.graph)[encoder_nodes + 3]);
  CHECK(!danaus::encoder_nodes(shape.graph)[encoder_nodes + 4]);

  const std::string config =
      R"({"architectures":["BartForConditionalGeneration"],"d_model":8,"encoder_layers":2,"decoder_layers":1,)"
      R"("encoder_attention_heads":4,"decoder_attention_heads":4,"encoder_ffn_dim":12,"decoder_ffn_dim":12,"vocab_size":5,)"
      R"("max_position_embeddings":16,"activation_function":"gelu","extra_pos_embeddings":2)";
  Tensors tensors;
  const auto with_bias = [&](const std::string& name, const std::vector<std::uint64_t>& size) {
    tensors.push_back({name + ".weight", size});
    tensors.push_back({name + ".bias", {size.front()}});
  };
  const auto attention = [&](const std::string& prefix) {
    for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) with_bias(prefix + part, {8, 8});
  };
  for (const std::string layer : {"model.encoder.layers.0.", "model.encoder.layers.1.", "model.decoder.layers.0."}) {
    attention(layer + "self_attn.");
    with_bias(layer + "self_attn_layer_norm", {8});
    if (layer.find("decoder") != std::string::npos) {
      attention(layer + "encoder_attn.");
      with_bias(layer + "encoder_attn_layer_norm", {8});
    }
    with_bias(layer + "fc1", {12, 8});
    with_bias(layer + "fc2", {8, 12});
    with_bias(layer + "final_layer_norm", {8});
  }
  for (const std::string stack : {"model.encoder.", "model.decoder."}) {
    tensors.push_back({stack + "embed_positions.weight", {18, 8}});
    with_bias(stack + "layernorm_embedding", {8});
  }
  tensors.push_back({"final_logits_bias", {1, 5}});
  for (const std::vector<std::string>& embeddings : {std::vector<std::string>{"shared"},
                                                     {"encoder.embed_tokens"},
                                                     {"shared", "encoder.embed_tokens", "decoder.embed_tokens"}}) {
    Tensors all = tensors;
    for (const std::string& name : embeddings) all.push_back({"model." + name + ".weight", {5, 8}});
    const Folder folder(config + "}", all);
    const Result<Model> model = folder.load();
    REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
    CHECK(model->dimensions.decoder_layers == 1);
    std::vector<std::string> from_file = skeleton(model->graph), expected = lines;
    for (std::string& line : expected) {
      if (line.starts_with("norm")) line = line.substr(0, line.rfind(' ')) + " 1e-05";
    }
    CHECK(from_file == expected);
    CHECK(model->digital[0].name == "model." + embeddings.front());
  }
  for (const char* key : {R"(,"normalize_before":true})", R"(,"add_final_layer_norm":true})",
                          R"(,"static_position_embeddings":true})", R"(,"normalize_embedding":false})"}) {
    CAPTURE(key);
    CHECK(parse_hugging_face_config(config + key, "config.json").error().id == "hf.unsupported-key");
  }
}

TEST_CASE("families: damaged configurations give an error or a shape") {
  for (const std::string& config : {kGpt2Config, "{\"model_type\":\"mixtral\"," + kLlamaKeys + "}"}) {
    REQUIRE(parse_hugging_face_config(config, "config.json"));
    for (std::size_t size = 0; size < config.size(); ++size)
      CHECK(!parse_hugging_face_config(config.substr(0, size), "config.json"));
    for (std::size_t n = 0; n < config.size(); ++n) {
      for (const char c : {'0', '9', '-', '"', '}', '\xff'}) {
        std::string damaged = config;
        damaged[n] = c;
        (void)parse_hugging_face_config(damaged, "config.json");
      }
    }
  }
}
