#include "danaus/model/hugging_face.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "danaus/model/families.h"
#include "danaus/model/safetensors.h"
#include "danaus/model/text.h"
#include "danaus/model/transformer.h"

// Hugging Face importer: config.json gives the shape, the safetensors files the weights.
// Checkpoints of one architecture differ in what stands before the names ("bert.", "model.", nothing); the prefix is
// found from the token embedding, which every one of them has.

namespace danaus::model {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestConfig = 4u << 20;
constexpr std::size_t kLargestIndex = 64u << 20;

/// An object; a key that appears twice in one object is an error, which the library alone would not see.
Result<Json> parse_object(std::string_view text, std::string_view file_name) {
  std::vector<std::set<std::string>> keys;
  std::optional<std::string> duplicate;
  const Json::parser_callback_t watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && !duplicate) duplicate = key;
    }
    return true;
  };
  Json document;
  try {
    document = Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    const std::size_t byte = error.byte == 0 ? 0 : error.byte - 1;
    return fail(Error("hf.json", Failure::bad_input, fmt::format("this is not JSON: {}", printable(error.what())))
                    .at(location_in(text, byte, file_name)));
  } catch (const Json::exception& error) {
    return fail(
        Error("hf.json", Failure::bad_input, fmt::format("this JSON is not usable: {}", printable(error.what())))
            .in_file(file_name));
  }
  if (duplicate)
    return fail(Error("hf.json", Failure::bad_input, fmt::format("the key '{}' appears twice", printable(*duplicate)))
                    .in_file(file_name));
  if (!document.is_object())
    return fail(Error("hf.json", Failure::bad_input, "the document is not an object").in_file(file_name));
  return document;
}

/// Typed access to the keys of config.json; a null counts as absent.
class ConfigReader {
 public:
  ConfigReader(const Json& document, std::string_view file_name) : document_(document), file_name_(file_name) {}

  bool has(const char* key) const { return document_.contains(key); }
  const Json* find(const char* key) const {
    const Json::const_iterator found = document_.find(key);
    return found == document_.end() || found->is_null() ? nullptr : &*found;
  }

  /// A positive number of 32 bits.
  Result<std::uint32_t> dimension(const char* key, std::optional<std::uint32_t> otherwise = {}) const {
    const Json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) return missing(key);
    if (!value->is_number_unsigned() || *value == 0u || value->get<std::uint64_t>() > UINT32_MAX)
      return wrong(key, "a positive whole number of 32 bits");
    return value->get<std::uint32_t>();
  }
  Result<double> number(const char* key, double otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) return wrong(key, "a number");
    return value->get<double>();
  }
  Result<bool> truth(const char* key, bool otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return wrong(key, "true or false");
    return value->get<bool>();
  }
  Result<std::string> text(const char* key, std::string otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) return wrong(key, "a string");
    return value->get<std::string>();
  }
  tl::unexpected<Error> unsupported(const char* key, std::string what) const {
    return fail(Error("hf.unsupported-key", Failure::unsupported, fmt::format("{} ('{}') is not supported", what, key))
                    .in_file(file_name_));
  }
  tl::unexpected<Error> wrong(const char* key, std::string_view wanted) const {
    return fail(
        Error("hf.key", Failure::bad_input, fmt::format("the key '{}' is not {}", key, wanted)).in_file(file_name_));
  }
  tl::unexpected<Error> missing(const char* key) const {
    return fail(Error("hf.key", Failure::bad_input, fmt::format("the key '{}' is missing", key)).in_file(file_name_));
  }

 private:
  const Json& document_;
  std::string_view file_name_;
};

using Reader = Result<void> (*)(const ConfigReader& config, Shape& shape);

/// The dimensions by the names that most configurations have.
Result<void> read_dimensions(const ConfigReader& config, Shape& shape) {
  DANAUS_TRY(layers, config.dimension("num_hidden_layers"));
  DANAUS_TRY(hidden, config.dimension("hidden_size"));
  DANAUS_TRY(ffn, config.dimension("intermediate_size"));
  DANAUS_TRY(heads, config.dimension("num_attention_heads"));
  DANAUS_TRY(vocab, config.dimension("vocab_size"));
  DANAUS_TRY(context, config.dimension("max_position_embeddings"));
  shape.dimensions = {
      .layers = layers, .hidden = hidden, .ffn = ffn, .heads = heads, .vocab = vocab, .context = context};
  return {};
}

/// Old configurations have "rope_scaling", newer ones keep theta and the kind of scaling in "rope_parameters".
Result<void> read_rope(const ConfigReader& config, Shape& shape) {
  DANAUS_TRY(theta, config.number("rope_theta", 10000.0));
  shape.theta = theta;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* rope = config.find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) return config.wrong(key, "an object");
    const ConfigReader inner(*rope, "");
    if (inner.find("rope_type") != nullptr ? *inner.find("rope_type") != "default" : inner.find("type") != nullptr)
      return config.unsupported(key, "scaling of the rotary embedding");
    const Json* inner_theta = inner.find("rope_theta");
    if (inner_theta == nullptr) continue;
    if (!inner_theta->is_number()) return config.wrong(key, "an object whose rope_theta is a number");
    shape.theta = inner_theta->get<double>();
  }
  DANAUS_TRY(part, config.number("partial_rotary_factor", 1.0));
  if (!(part > 0 && part <= 1)) return config.wrong("partial_rotary_factor", "a number above 0 and up to 1");
  const Dimensions& size = shape.dimensions;
  const std::uint32_t head_size = size.head_size != 0 ? size.head_size : size.hidden / std::max(1u, size.heads);
  if (part < 1) shape.rotary = static_cast<std::uint32_t>(part * head_size);
  if (part < 1 && shape.rotary == 0) return config.wrong("partial_rotary_factor", "as large as a pair of elements");
  return {};
}

/// A configuration key that has to be as here, wherever it is present.
Result<void> require(const ConfigReader& config, const char* key, bool wanted, std::string_view what) {
  DANAUS_TRY(value, config.truth(key, wanted));
  if (value != wanted) return config.unsupported(key, std::string(what));
  return {};
}

/// The activation function; several names are the same function up to how it is computed.
Result<void> read_activation(const ConfigReader& config, const char* key, std::string_view usual, Shape& shape) {
  DANAUS_TRY(name, config.text(key, std::string(usual)));
  constexpr std::pair<std::string_view, NodeKind> kActivations[] = {
      {"silu", NodeKind::silu},          {"swish", NodeKind::silu},          {"gelu", NodeKind::gelu},
      {"gelu_new", NodeKind::gelu_tanh}, {"gelu_fast", NodeKind::gelu_tanh}, {"gelu_pytorch_tanh", NodeKind::gelu_tanh},
      {"relu", NodeKind::relu}};
  for (const std::pair<std::string_view, NodeKind>& activation : kActivations) {
    if (activation.first != name) continue;
    shape.activation = activation.second;
    return {};
  }
  return config.unsupported(key, fmt::format("the activation '{}'", printable(name)));
}

/// Pre-norm decoders with rotary embedding; grouped queries where num_key_value_heads says so.
Result<void> read_llama(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_dimensions(config, shape));
  DANAUS_CHECK(read_activation(config, "hidden_act", "silu", shape));
  for (const char* key : {"attention_bias", "mlp_bias"})
    DANAUS_CHECK(require(config, key, false, "biases in a llama model"));
  DANAUS_TRY(kv_heads, config.dimension("num_key_value_heads", 0));
  DANAUS_TRY(head_size, config.dimension("head_dim", 0));
  DANAUS_TRY(epsilon, config.number("rms_norm_eps", 1e-6));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", false));
  DANAUS_TRY(rotated, config.number("partial_rotary_factor", 1.0));
  if (rotated != 1.0) return config.unsupported("partial_rotary_factor", "a rotary embedding over a part of each head");
  DANAUS_CHECK(read_rope(config, shape));
  shape.dimensions.kv_heads = kv_heads;
  shape.dimensions.head_size = head_size;
  shape.epsilon = epsilon;
  shape.tied_embeddings = tied;
  return {};
}

Result<void> read_phi3(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_llama(config, shape));
  DANAUS_TRY(window, config.dimension("sliding_window", 0));
  shape.window = window;
  return {};
}

Result<void> read_mistral(const ConfigReader& config, Shape& shape) {
  constexpr std::uint32_t kUsualWindow = 4096;  // without the key; null means none
  DANAUS_CHECK(read_phi3(config, shape));
  if (!config.has("sliding_window")) shape.window = kUsualWindow;
  return {};
}

Result<void> read_qwen2(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_llama(config, shape));
  shape.biases = Biases::qkv;
  // Layers from max_window_layers on have the window; the shortest sight counts.
  DANAUS_TRY(windowed, config.truth("use_sliding_window", false));
  DANAUS_TRY(window, config.dimension("sliding_window", 0));
  DANAUS_TRY(whole_layers, config.number("max_window_layers", 0));
  if (windowed && whole_layers < shape.dimensions.layers) shape.window = window;
  return {};
}

Result<void> read_mixtral(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_phi3(config, shape));
  DANAUS_TRY(experts, config.dimension("num_local_experts", 8));
  DANAUS_TRY(experts_per_token, config.dimension("num_experts_per_tok", 2));
  shape.dimensions.experts = experts;
  shape.dimensions.experts_per_token = experts_per_token;
  return {};
}

Result<void> read_phi(const ConfigReader& config, Shape& shape) {
  shape.norm = Config::Norm::layer;
  shape.biases = Biases::all;
  shape.gated = false;
  shape.parallel = true;
  DANAUS_CHECK(read_dimensions(config, shape));
  DANAUS_CHECK(read_activation(config, "hidden_act", "gelu_new", shape));
  DANAUS_CHECK(require(config, "qk_layernorm", false, "a norm of queries and keys"));
  DANAUS_TRY(kv_heads, config.dimension("num_key_value_heads", 0));
  DANAUS_TRY(epsilon, config.number("layer_norm_eps", 1e-5));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", false));
  shape.dimensions.kv_heads = kv_heads;
  shape.epsilon = epsilon;
  shape.tied_embeddings = tied;
  DANAUS_CHECK(read_rope(config, shape));
  // Half of each head where the configuration does not say.
  if (!config.has("partial_rotary_factor")) shape.rotary = shape.dimensions.hidden / shape.dimensions.heads / 2;
  return {};
}

Result<void> read_falcon(const ConfigReader& config, Shape& shape) {
  shape.norm = Config::Norm::layer;
  shape.gated = false;
  shape.parallel = true;
  DANAUS_CHECK(require(config, "parallel_attn", true, "a falcon model whose branches follow each other"));
  DANAUS_CHECK(require(config, "new_decoder_architecture", false, "the newer falcon layer"));
  DANAUS_CHECK(require(config, "bias", false, "biases in a falcon model"));
  DANAUS_CHECK(require(config, "alibi", false, "a position bias of the attention"));
  DANAUS_CHECK(require(config, "multi_query", true, "a falcon model whose queries have keys of their own"));
  DANAUS_CHECK(read_activation(config, "activation", "gelu", shape));
  DANAUS_TRY(layers, config.dimension("num_hidden_layers"));
  DANAUS_TRY(hidden, config.dimension("hidden_size"));
  DANAUS_TRY(ffn, config.dimension("ffn_hidden_size", 0));
  DANAUS_TRY(heads, config.dimension("num_attention_heads"));
  DANAUS_TRY(vocab, config.dimension("vocab_size"));
  DANAUS_TRY(context, config.dimension("max_position_embeddings", 2048));
  DANAUS_TRY(epsilon, config.number("layer_norm_epsilon", 1e-5));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", true));
  if (ffn == 0 && hidden > UINT32_MAX / 4) return config.wrong("hidden_size", "a possible size");
  shape.dimensions = {.layers = layers,
                      .hidden = hidden,
                      .ffn = ffn == 0 ? 4 * hidden : ffn,
                      .heads = heads,
                      .kv_heads = 1,
                      .vocab = vocab,
                      .context = context};
  shape.epsilon = epsilon;
  shape.tied_embeddings = tied;
  return read_rope(config, shape);
}

Result<void> read_gpt2(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_activation(config, "activation_function", "gelu_new", shape));
  DANAUS_CHECK(require(config, "scale_attn_weights", true, "attention without scaling"));
  DANAUS_CHECK(require(config, "scale_attn_by_inverse_layer_idx", false, "attention scaled by the layer's number"));
  DANAUS_CHECK(require(config, "add_cross_attention", false, "a gpt2 model with cross-attention"));
  DANAUS_TRY(layers, config.dimension("n_layer"));
  DANAUS_TRY(hidden, config.dimension("n_embd"));
  DANAUS_TRY(ffn, config.dimension("n_inner", 0));
  DANAUS_TRY(heads, config.dimension("n_head"));
  DANAUS_TRY(vocab, config.dimension("vocab_size"));
  DANAUS_TRY(context, config.dimension("n_positions"));
  DANAUS_TRY(epsilon, config.number("layer_norm_epsilon", 1e-5));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", true));
  if (ffn == 0 && hidden > UINT32_MAX / 4) return config.wrong("n_embd", "a possible size");
  shape.dimensions = {.layers = layers,
                      .hidden = hidden,
                      .ffn = ffn == 0 ? 4 * hidden : ffn,
                      .heads = heads,
                      .vocab = vocab,
                      .context = context};
  shape.epsilon = epsilon;
  shape.tied_embeddings = tied;
  return {};
}

Result<void> read_bert(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_dimensions(config, shape));
  DANAUS_CHECK(read_activation(config, "hidden_act", "gelu", shape));
  DANAUS_TRY(positions, config.text("position_embedding_type", "absolute"));
  if (positions != "absolute")
    return config.unsupported("position_embedding_type",
                              fmt::format("the position embedding '{}'", printable(positions)));
  DANAUS_CHECK(require(config, "is_decoder", false, "a bert decoder"));
  DANAUS_TRY(epsilon, config.number("layer_norm_eps", 1e-12));
  shape.epsilon = epsilon;
  return {};
}

Result<void> read_bart(const ConfigReader& config, Shape& shape) {
  DANAUS_CHECK(read_activation(config, "activation_function", "gelu", shape));
  DANAUS_CHECK(require(config, "normalize_before", false, "a bart model with norms before its branches"));
  DANAUS_CHECK(require(config, "add_final_layer_norm", false, "a norm behind the last layer"));
  DANAUS_CHECK(require(config, "normalize_embedding", true, "an embedding without norm"));
  DANAUS_CHECK(require(config, "static_position_embeddings", false, "position embeddings that are computed"));
  DANAUS_TRY(hidden, config.dimension("d_model"));
  DANAUS_TRY(layers, config.dimension("encoder_layers"));
  DANAUS_TRY(decoder_layers, config.dimension("decoder_layers"));
  DANAUS_TRY(heads, config.dimension("encoder_attention_heads"));
  DANAUS_TRY(decoder_heads, config.dimension("decoder_attention_heads", heads));
  if (decoder_heads != heads)
    return config.unsupported("decoder_attention_heads", "another number of heads than the encoder's");
  DANAUS_TRY(ffn, config.dimension("encoder_ffn_dim"));
  DANAUS_TRY(decoder_ffn, config.dimension("decoder_ffn_dim", ffn));
  if (decoder_ffn != ffn) return config.unsupported("decoder_ffn_dim", "another feed-forward size than the encoder's");
  DANAUS_TRY(vocab, config.dimension("vocab_size"));
  DANAUS_TRY(context, config.dimension("max_position_embeddings"));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", true));
  shape.dimensions = {.layers = layers,
                      .decoder_layers = decoder_layers,
                      .hidden = hidden,
                      .ffn = ffn,
                      .heads = heads,
                      .vocab = vocab,
                      .context = context};
  DANAUS_TRY(scaled, config.truth("scale_embedding", false));
  if (scaled) shape.embedding_scale = std::sqrt(static_cast<double>(hidden));
  shape.tied_embeddings = tied;
  return {};
}

/// An architecture: how its configuration is read, how its tensors are called, and which tensor shows what stands
/// before their names.
struct Architecture {
  std::string_view name;
  std::string_view model_type;
  Family family = Family::llama;
  Reader read = nullptr;
  LayoutNames (*names)(const std::string& root) = nullptr;
  std::string_view marker;
  bool bare = false;  ///< without a head, as a rule
};

constexpr std::string_view kLlamaMarker = "embed_tokens.weight", kBertMarker = "embeddings.word_embeddings.weight";
constexpr std::string_view kBartMarker = "encoder.embed_positions.weight";
// The first of a model_type stands for it where a configuration names no architecture.
constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", "llama", Family::llama, read_llama, hugging_face_llama_names, kLlamaMarker},
    {"LlamaModel", "llama", Family::llama, read_llama, hugging_face_llama_names, kLlamaMarker, true},
    {"MistralForCausalLM", "mistral", Family::llama, read_mistral, hugging_face_llama_names, kLlamaMarker},
    {"MistralModel", "mistral", Family::llama, read_mistral, hugging_face_llama_names, kLlamaMarker, true},
    {"Qwen2ForCausalLM", "qwen2", Family::llama, read_qwen2, hugging_face_llama_names, kLlamaMarker},
    {"Qwen2Model", "qwen2", Family::llama, read_qwen2, hugging_face_llama_names, kLlamaMarker, true},
    {"MixtralForCausalLM", "mixtral", Family::llama, read_mixtral, hugging_face_mixtral_names, kLlamaMarker},
    {"MixtralModel", "mixtral", Family::llama, read_mixtral, hugging_face_mixtral_names, kLlamaMarker, true},
    {"PhiForCausalLM", "phi", Family::llama, read_phi, hugging_face_phi_names, kLlamaMarker},
    {"Phi3ForCausalLM", "phi3", Family::llama, read_phi3, hugging_face_phi3_names, kLlamaMarker},
    {"FalconForCausalLM", "falcon", Family::llama, read_falcon, hugging_face_falcon_names, "word_embeddings.weight"},
    {"FalconModel", "falcon", Family::llama, read_falcon, hugging_face_falcon_names, "word_embeddings.weight", true},
    {"GPT2LMHeadModel", "gpt2", Family::gpt2, read_gpt2, hugging_face_gpt2_names, "wte.weight"},
    {"GPT2Model", "gpt2", Family::gpt2, read_gpt2, hugging_face_gpt2_names, "wte.weight", true},
    {"BertModel", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker, true},
    {"BertForMaskedLM", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BertForPreTraining", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BertForNextSentencePrediction", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BertForSequenceClassification", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BertForTokenClassification", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BertForQuestionAnswering", "bert", Family::bert, read_bert, hugging_face_bert_names, kBertMarker},
    {"BartForConditionalGeneration", "bart", Family::bart, read_bart, hugging_face_bart_names, kBartMarker},
    {"BartModel", "bart", Family::bart, read_bart, hugging_face_bart_names, kBartMarker, true},
    {"BartForSequenceClassification", "bart", Family::bart, read_bart, hugging_face_bart_names, kBartMarker, true},
    {"BartForQuestionAnswering", "bart", Family::bart, read_bart, hugging_face_bart_names, kBartMarker, true}};

Result<const Architecture*> find_architecture(const ConfigReader& config, std::string_view file_name) {
  std::string name;
  if (const Json* list = config.find("architectures")) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string())
      return config.wrong("architectures", "a list of one name");
    name = list->front().get<std::string>();
    for (const Architecture& architecture : kArchitectures) {
      if (architecture.name == name) return &architecture;
    }
  } else {
    DANAUS_TRY(type, config.text("model_type", ""));
    if (type.empty()) return config.missing("architectures");
    for (const Architecture& architecture : kArchitectures) {
      if (architecture.model_type == type) return &architecture;
    }
    name = type;
  }
  std::vector<std::string_view> known;
  for (const Architecture& architecture : kArchitectures) known.push_back(architecture.name);
  return fail(Error("hf.unsupported-architecture", Failure::unsupported,
                    fmt::format("the architecture '{}' is not supported", printable(name)))
                  .in_file(file_name)
                  .note(fmt::format("supported are {}", fmt::join(known, ", ")))
                  .with_hint("for the cost alone, write its dimensions into a shape file (.toml)"));
}

/// The shape that a configuration describes.
Result<Shape> read_shape(const ConfigReader& config, const Architecture& architecture, std::string_view file_name) {
  Shape shape = shape_of(architecture.family);
  DANAUS_CHECK(architecture.read(config, shape));
  if (const std::optional<ShapeProblem> problem = complete(shape))
    return fail(Error("hf.dimensions", Failure::bad_input, fmt::format("the configuration says: {}", problem->message))
                    .in_file(file_name));
  return shape;
}

/// What stands before `name` in the one tensor that ends with it; empty if there is none.
std::string prefix_before(std::string_view name, const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    if (tensor.name.ends_with(name)) return tensor.name.substr(0, tensor.name.size() - name.size());
  }
  return "";
}

/// The shards that an index lists, each name checked to be a file of the same folder.
Result<std::map<std::string, std::set<std::string>>> read_index(const std::filesystem::path& path) {
  DANAUS_TRY(text, read_text(path, kLargestIndex));
  DANAUS_TRY(document, parse_object(text, path.string()));
  const Json::const_iterator map = document.find("weight_map");
  if (map == document.end() || !map->is_object() || map->empty())
    return fail(Error("hf.index", Failure::bad_input, "the index has no object 'weight_map'").in_file(path.string()));
  std::map<std::string, std::set<std::string>> shards;
  for (Json::const_iterator entry = map->begin(); entry != map->end(); ++entry) {
    const std::string shard = entry->is_string() ? entry->get<std::string>() : "";
    if (!shard.ends_with(".safetensors") || shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos)
      return fail(Error("hf.index", Failure::bad_input,
                        fmt::format("'weight_map' does not give a .safetensors file of this folder for '{}'",
                                    printable(entry.key())))
                      .in_file(path.string()));
    shards[shard].insert(entry.key());
  }
  return shards;
}

Result<std::vector<Tensor>> read_shards(const std::filesystem::path& folder, const std::filesystem::path& index) {
  DANAUS_TRY(shards, read_index(index));
  std::vector<Tensor> tensors;
  for (const auto& [shard, names] : shards) {
    DANAUS_TRY(file, read_safetensors(folder / shard));
    std::set<std::string> present;
    for (Tensor& tensor : file.tensors) {
      present.insert(tensor.name);
      tensors.push_back(std::move(tensor));
    }
    if (present != names)
      return fail(Error("hf.index", Failure::bad_input,
                        fmt::format("the index and the tensors of '{}' do not agree", printable(shard)))
                      .in_file(index.string())
                      .with_hint("the shards belong to different versions, or one is damaged"));
  }
  return tensors;
}

Result<std::vector<Tensor>> read_weights(const std::filesystem::path& folder,
                                         const std::optional<std::filesystem::path>& weights) {
  std::error_code ignored;
  const std::filesystem::path single = weights.value_or(folder / "model.safetensors");
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (weights || std::filesystem::exists(single, ignored)) {
    DANAUS_TRY(file, read_safetensors(single));
    return std::move(file.tensors);
  }
  if (std::filesystem::exists(index, ignored)) return read_shards(folder, index);
  return fail(
      Error("hf.weights-missing", Failure::bad_input,
            "the folder has neither model.safetensors nor model.safetensors.index.json")
          .in_file(folder.string())
          .with_hint("convert other weight formats to safetensors; for the cost alone, write a shape file (.toml)"));
}

}  // namespace

std::vector<ArchitectureInfo> hugging_face_architectures() {
  std::vector<ArchitectureInfo> found;
  for (const Architecture& architecture : kArchitectures) found.push_back({architecture.name, architecture.family});
  return found;
}

Result<Shape> parse_hugging_face_config(std::string_view text, std::string_view file_name) {
  DANAUS_TRY(document, parse_object(text, file_name));
  const ConfigReader config(document, file_name);
  DANAUS_TRY(architecture, find_architecture(config, file_name));
  return read_shape(config, *architecture, file_name);
}

Result<Model> load_hugging_face(const std::filesystem::path& folder,
                                const std::optional<std::filesystem::path>& weights) {
  const std::filesystem::path config_path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(config_path, ignored))
    return fail(
        Error("hf.config-missing", Failure::bad_input, "the folder has no config.json, so it is no Hugging Face model")
            .in_file(folder.string()));
  const std::string config_name = config_path.string();
  DANAUS_TRY(text, read_text(config_path, kLargestConfig));
  DANAUS_TRY(document, parse_object(text, config_name));
  const ConfigReader config(document, config_name);
  DANAUS_TRY(architecture, find_architecture(config, config_name));
  DANAUS_TRY(shape, read_shape(config, *architecture, config_name));
  const std::filesystem::path whole = std::filesystem::absolute(folder, ignored).lexically_normal();
  shape.name = printable((whole.has_filename() ? whole : whole.parent_path()).filename().string());
  DANAUS_TRY(tensors, read_weights(folder, weights));
  LayoutNames names = architecture->names(prefix_before(architecture->marker, tensors));
  const auto has = [&](const std::string& name) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const Tensor& tensor) { return tensor.name == name; });
  };
  if (architecture->bare && !has(names.head + ".weight")) names.head.clear();
  if (has(names.layers.embedding_norm + ".gamma")) {  // checkpoints that were converted long ago
    names.gain = ".gamma";
    names.offset = ".beta";
  }
  return build_transformer(shape, names, std::move(tensors));
}

}  // namespace danaus::model
