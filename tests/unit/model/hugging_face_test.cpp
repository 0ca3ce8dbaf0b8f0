#include "danaus/model/hugging_face.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "danaus/core/files.h"
#include "small_files.h"

using namespace danaus;
using namespace danaus::model;
using small_files::Bytes;

namespace {

using Tensors = std::vector<std::pair<std::string, std::vector<std::uint64_t>>>;

const std::string kBertConfig =
    R"({"architectures":["BertModel"],"hidden_act":"gelu","hidden_size":8,"intermediate_size":12,
"layer_norm_eps":1e-12,"max_position_embeddings":16,"num_attention_heads":2,"num_hidden_layers":1,"vocab_size":5})";
const std::string kLlamaConfig =
    R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":8,"intermediate_size":12,
"rms_norm_eps":1e-6,"max_position_embeddings":16,"num_attention_heads":4,
"num_key_value_heads":2,"num_hidden_layers":1,"vocab_size":5,
"rope_theta":500})";

Tensors bert_tensors(const std::string& prefix, const std::string& gain = "weight",
                     const std::string& offset = "bias") {
  const std::string layer = prefix + "encoder.layer.0.";
  return {{prefix + "embeddings.word_embeddings.weight", {5, 8}},
          {prefix + "embeddings.position_embeddings.weight", {16, 8}},
          {prefix + "embeddings.token_type_embeddings.weight", {2, 8}},
          {prefix + "embeddings.LayerNorm." + gain, {8}},
          {prefix + "embeddings.LayerNorm." + offset, {8}},
          {layer + "attention.self.query.weight", {8, 8}},
          {layer + "attention.self.query.bias", {8}},
          {layer + "attention.self.key.weight", {8, 8}},
          {layer + "attention.self.key.bias", {8}},
          {layer + "attention.self.value.weight", {8, 8}},
          {layer + "attention.self.value.bias", {8}},
          {layer + "attention.output.dense.weight", {8, 8}},
          {layer + "attention.output.dense.bias", {8}},
          {layer + "attention.output.LayerNorm." + gain, {8}},
          {layer + "attention.output.LayerNorm." + offset, {8}},
          {layer + "intermediate.dense.weight", {12, 8}},
          {layer + "intermediate.dense.bias", {12}},
          {layer + "output.dense.weight", {8, 12}},
          {layer + "output.dense.bias", {8}},
          {layer + "output.LayerNorm." + gain, {8}},
          {layer + "output.LayerNorm." + offset, {8}}};
}

Tensors llama_tensors(const std::string& prefix) {
  const std::string layer = prefix + "layers.0.";
  return {{prefix + "embed_tokens.weight", {5, 8}},
          {layer + "input_layernorm.weight", {8}},
          {layer + "self_attn.q_proj.weight", {8, 8}},
          {layer + "self_attn.k_proj.weight", {4, 8}},
          {layer + "self_attn.v_proj.weight", {4, 8}},
          {layer + "self_attn.o_proj.weight", {8, 8}},
          {layer + "post_attention_layernorm.weight", {8}},
          {layer + "mlp.gate_proj.weight", {12, 8}},
          {layer + "mlp.up_proj.weight", {12, 8}},
          {layer + "mlp.down_proj.weight", {8, 12}},
          {prefix + "norm.weight", {8}},
          {"lm_head.weight", {5, 8}}};
}

/// A folder that is gone when the test ends.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / fmt::format("danaus-model-{}-{}", ::getpid(), count_++)) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, std::string_view text) const { REQUIRE(write_file(path_ / name, text)); }
  void write(const std::string& name, const Bytes& bytes) const {
    write(name, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

 private:
  static inline int count_ = 0;
  std::filesystem::path path_;
};

Result<Model> load_with(const std::string& config, const Tensors& tensors) {
  const Folder folder;
  folder.write("config.json", config);
  folder.write("model.safetensors", small_files::safetensors_of(tensors));
  return load_hugging_face(folder.path());
}

std::string error_of(const Result<Model>& model) { return model ? "" : model.error().id; }

std::string replace(std::string text, std::string_view what, std::string_view by) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), by);
}

std::string config_error(const std::string& config) {
  const Result<Shape> shape = parse_hugging_face_config(config, "config.json");
  if (shape) return "";
  CHECK(shape.error().where.file == "config.json");
  CHECK((shape.error().failure == Failure::unsupported) == (shape.error().id.starts_with("hf.unsupported")));
  return shape.error().id;
}

}  // namespace

TEST_CASE("hugging face: bert with and without prefix, old and new norms") {
  for (const std::string prefix : {"", "bert."}) {
    for (const bool old_norms : {false, true}) {
      CAPTURE(prefix);
      Tensors tensors = bert_tensors(prefix, old_norms ? "gamma" : "weight", old_norms ? "beta" : "bias");
      tensors.push_back({prefix + "pooler.dense.weight", {8, 8}});
      tensors.push_back({prefix + "pooler.dense.bias", {8}});
      tensors.push_back({"cls.predictions.transform.dense.weight", {8, 8}});
      const Result<Model> model = load_with(kBertConfig, tensors);
      REQUIRE(model);
      CHECK(model->family == Family::bert);
      REQUIRE(model->linear.size() == 6);
      CHECK(model->linear[5].name == prefix + "encoder.layer.0.output.dense");
      CHECK(model->linear[5].weight->tensor.name == prefix + "encoder.layer.0.output.dense.weight");
      CHECK(model->graph.nodes[11].name == prefix + "encoder.layer.0.attention.output.LayerNorm");
      CHECK(model->graph.nodes[12].constant ==
            prefix + "encoder.layer.0.attention.output.LayerNorm." + (old_norms ? "beta" : "bias"));
      REQUIRE(model->digital.size() == 5);
      CHECK(model->digital[3].name == prefix + "pooler.dense");
      CHECK(model->digital[3].reason == "pooler: used once per sequence");
    }
  }
}

TEST_CASE("hugging face: llama") {
  const Result<Model> model = load_with(kLlamaConfig, llama_tensors("model."));
  REQUIRE(model);
  REQUIRE(model->linear.size() == 7);
  CHECK(model->linear[0].name == "model.layers.0.self_attn.q_proj");
  CHECK(model->graph.nodes[5].name == "model.layers.0.self_attn.q_proj.rope");
  const Config& rope = model->graph.configs[index(model->graph.nodes[5].configs[0])];
  CHECK(rope.pairs == Config::Pairs::half);
  CHECK(rope.theta == 500.0);
  CHECK(rope.size == 2);
  CHECK(model->digital[1].name == "lm_head");
  CHECK(model->digital[1].reason == "lm head");

  Tensors tied = llama_tensors("");
  tied.pop_back();
  CHECK(error_of(load_with(kLlamaConfig, tied)) == "model.missing-tensor");
  const std::string tied_config =
      replace(kLlamaConfig, "\"vocab_size\"", "\"tie_word_embeddings\":true,\"vocab_size\"");
  REQUIRE(load_with(tied_config, tied));
  CHECK(load_with(tied_config, tied)->digital[1].reason == "lm head (tied to the embedding)");
  const Result<Model> kept = load_with(tied_config, llama_tensors(""));
  REQUIRE(kept);
  CHECK(kept->digital.size() == 2);
  CHECK(kept->digital[1].reason == "lm head (tied to the embedding)");
}

TEST_CASE("hugging face: shards") {
  const Tensors all = llama_tensors("model.");
  const Tensors first(all.begin(), all.begin() + 5), second(all.begin() + 5, all.end());
  std::string map;
  for (std::size_t n = 0; n < all.size(); ++n) {
    map += fmt::format("{}\"{}\":\"part-{}.safetensors\"", n == 0 ? "" : ",", all[n].first, n < 5 ? 1 : 2);
  }
  const Folder folder;
  folder.write("config.json", kLlamaConfig);
  folder.write("part-1.safetensors", small_files::safetensors_of(first));
  folder.write("part-2.safetensors", small_files::safetensors_of(second));
  const auto load_index = [&](const std::string& index) {
    folder.write("model.safetensors.index.json", index);
    return load_hugging_face(folder.path());
  };
  REQUIRE(load_index("{\"weight_map\":{" + map + "}}"));
  CHECK(load_hugging_face(folder.path())->tensors.size() == 12);
  CHECK(error_of(load_index("{\"weight_map\":{" + replace(map, "part-2", "part-1") + "}}")) == "hf.index");
  CHECK(error_of(load_index("{\"weight_map\":{" + replace(map, "part-2", "../part-2") + "}}")) == "hf.index");
  CHECK(error_of(load_index("{\"weight_map\":{\"a\":1}}")) == "hf.index");
  CHECK(error_of(load_index("{}")) == "hf.index");
  CHECK(error_of(load_index("{")) == "hf.json");
  CHECK(error_of(load_index("{\"weight_map\":{\"a\":\"part-3.safetensors\"}}")) == "file.missing");
}

TEST_CASE("hugging face: weights that do not belong to the configuration") {
  const std::string two_layers = replace(kBertConfig, "\"num_hidden_layers\":1", "\"num_hidden_layers\":2");
  CHECK(error_of(load_with(two_layers, bert_tensors(""))) == "model.missing-tensor");
  CHECK(error_of(load_with(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":16"), bert_tensors(""))) ==
        "model.tensor-shape");
  Tensors more = bert_tensors("");
  more.push_back({"adapter.weight", {8, 8}});
  const Result<Model> model = load_with(kBertConfig, more);
  REQUIRE(!model);
  CHECK(model.error().id == "model.unsupported-tensor");
  CHECK(model.error().failure == Failure::unsupported);
  CHECK(error_of(load_with(kBertConfig, {})) == "model.missing-tensor");
}

TEST_CASE("hugging face: folders that are none") {
  const Folder folder;
  CHECK(error_of(load_hugging_face(folder.path())) == "hf.config-missing");
  folder.write("config.json", kBertConfig);
  CHECK(error_of(load_hugging_face(folder.path())) == "hf.weights-missing");
}

TEST_CASE("hugging face: configurations that cannot be") {
  CHECK(config_error(kBertConfig) == "");
  CHECK(config_error(kLlamaConfig) == "");
  CHECK(config_error("") == "hf.json");
  CHECK(config_error("[]") == "hf.json");
  CHECK(config_error("{\"a\":\"\xff\"}") == "hf.json");
  CHECK(config_error(std::string(100000, '[')) == "hf.json");
  CHECK(config_error(R"({"architectures":["BertModel"],"architectures":["LlamaForCausalLM"]})") == "hf.json");
  CHECK(config_error("{}") == "hf.key");
  CHECK(config_error(replace(kBertConfig, "BertModel", "T5Model")) == "hf.unsupported-architecture");
  CHECK(config_error(replace(kBertConfig, "[\"BertModel\"]", "\"BertModel\"")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"architectures\":[\"BertModel\"]", "\"model_type\":\"bert\"")) == "");
  CHECK(config_error(replace(kBertConfig, "\"architectures\":[\"BertModel\"]", "\"model_type\":\"qwen3\"")) ==
        "hf.unsupported-architecture");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8,", "")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":8.5")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":-8")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":0")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":4294967296")) == "hf.key");
  CHECK(config_error(replace(kBertConfig, "\"hidden_size\":8", "\"hidden_size\":9")) == "hf.dimensions");
  CHECK(config_error(replace(kBertConfig, "\"gelu\"", "\"tanh\"")) == "hf.unsupported-key");
  CHECK(config_error(replace(kBertConfig, "\"gelu\"", "\"gelu\",\"position_embedding_type\":\"relative_key\"")) ==
        "hf.unsupported-key");
  CHECK(config_error(replace(kBertConfig, "\"gelu\"", "\"gelu\",\"is_decoder\":true")) == "hf.unsupported-key");
  CHECK(config_error(replace(kBertConfig, "1e-12", "\"small\"")) == "hf.key");
  CHECK(config_error(replace(kLlamaConfig, "\"silu\"", "\"silu\",\"attention_bias\":true")) == "hf.unsupported-key");
  CHECK(config_error(replace(kLlamaConfig, "\"silu\"", "\"silu\",\"rope_scaling\":{\"rope_type\":\"llama3\"}")) ==
        "hf.unsupported-key");
  CHECK(config_error(replace(kLlamaConfig, "\"silu\"", "\"silu\",\"rope_scaling\":{\"type\":\"linear\"}")) ==
        "hf.unsupported-key");
  CHECK(config_error(replace(kLlamaConfig, "\"silu\"", "\"silu\",\"rope_scaling\":null")) == "");
  CHECK(config_error(replace(kLlamaConfig, "\"silu\"", "\"tanh\"")) == "hf.unsupported-key");
  const Result<Shape> newer = parse_hugging_face_config(
      replace(kLlamaConfig, "\"rope_theta\":500", "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":700}"),
      "config.json");
  REQUIRE(newer);
  CHECK(newer->theta == 700.0);
}

TEST_CASE("hugging face: errors of JSON have a line and a column") {
  const Result<Shape> shape = parse_hugging_face_config("{\n  \"a\": 1,\n  b\n}", "config.json");
  REQUIRE(!shape);
  CHECK(shape.error().where.line == 3);
  CHECK(shape.error().where.column == 3);
}

TEST_CASE("load: what MODEL can be") {
  const Result<Model> unknown = load("bert-larg");
  REQUIRE(!unknown);
  CHECK(unknown.error().id == "model.unknown");
  CHECK(unknown.error().failure == Failure::usage);
  CHECK(unknown.error().hint == "did you mean 'bert-large'?");
  CHECK(load("").error().id == "model.unknown");
  CHECK(load("nothing/like/this").error().id == "file.missing");
  CHECK(load("missing.gguf").error().id == "file.missing");

  const Folder folder;
  folder.write("notes.txt", "text");
  CHECK(load((folder.path() / "notes.txt").string()).error().id == "model.unsupported-format");
  folder.write("small.gguf", small_files::small_llama().bytes());
  const Result<Model> gguf = load((folder.path() / "small.gguf").string());
  REQUIRE(gguf);
  CHECK(gguf->name == "small");
  CHECK(gguf->tensors[0].file != nullptr);
  folder.write("m.safetensors", small_files::safetensors_of(bert_tensors("")));
  CHECK(load((folder.path() / "m.safetensors").string())->family == Family::matrices);
  folder.write("config.json", kBertConfig);
  CHECK(load((folder.path() / "m.safetensors").string())->family == Family::bert);
  folder.write("shape.toml", "name = 1\n");
  const Result<Model> shape = load((folder.path() / "shape.toml").string());
  REQUIRE(!shape);
  CHECK(shape.error().where.file == (folder.path() / "shape.toml").string());
  CHECK(shape.error().where.line == 1);
  folder.write("empty.gguf", "");
  CHECK(load((folder.path() / "empty.gguf").string()).error().id == "gguf.truncated");
  folder.write("empty.safetensors", "");
  std::filesystem::remove(folder.path() / "config.json");
  CHECK(load((folder.path() / "empty.safetensors").string()).error().id == "safetensors.truncated");
}
