#include "danaus/model/hugging_face.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "danaus/model/bert.h"
#include "danaus/model/llama.h"
#include "danaus/model/safetensors.h"
#include "danaus/model/text.h"

// Hugging Face importer: config.json gives the shape, the safetensors files the weights.
// Checkpoints of one architecture differ in what stands before the names ("bert.", "model.", nothing); the prefix is
// found from the token embedding, which every one of them has.

namespace danaus::model {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestConfig = 4u << 20;
constexpr std::size_t kLargestIndex = 64u << 20;

struct Architecture {
  std::string_view name;
  Family family;
};
constexpr Architecture kArchitectures[] = {{"LlamaForCausalLM", Family::llama},
                                           {"LlamaModel", Family::llama},
                                           {"BertModel", Family::bert},
                                           {"BertForMaskedLM", Family::bert},
                                           {"BertForPreTraining", Family::bert},
                                           {"BertForNextSentencePrediction", Family::bert},
                                           {"BertForSequenceClassification", Family::bert},
                                           {"BertForTokenClassification", Family::bert},
                                           {"BertForQuestionAnswering", Family::bert}};

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

Result<Family> read_family(const ConfigReader& config, std::string_view file_name) {
  std::string name;
  if (const Json* list = config.find("architectures")) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string())
      return config.wrong("architectures", "a list of one name");
    name = list->front().get<std::string>();
    for (const Architecture& architecture : kArchitectures) {
      if (architecture.name == name) return architecture.family;
    }
  } else {
    DANAUS_TRY(type, config.text("model_type", ""));
    if (type.empty()) return config.missing("architectures");
    if (type == "llama") return Family::llama;
    if (type == "bert") return Family::bert;
    name = type;
  }
  return fail(
      Error("hf.unsupported-architecture", Failure::unsupported,
            fmt::format("the architecture '{}' is not supported (LlamaForCausalLM and BertModel are)", printable(name)))
          .in_file(file_name)
          .with_hint("for the cost alone, write its dimensions into a shape file (.toml)"));
}

Result<void> read_llama(const ConfigReader& config, Shape& shape) {
  DANAUS_TRY(activation, config.text("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish")
    return config.unsupported("hidden_act", fmt::format("the activation '{}'", printable(activation)));
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    DANAUS_TRY(biased, config.truth(key, false));
    if (biased) return config.unsupported(key, "biases in a llama model");
  }
  DANAUS_TRY(kv_heads, config.dimension("num_key_value_heads", 0));
  DANAUS_TRY(head_size, config.dimension("head_dim", 0));
  DANAUS_TRY(epsilon, config.number("rms_norm_eps", 1e-6));
  DANAUS_TRY(theta, config.number("rope_theta", 10000.0));
  DANAUS_TRY(tied, config.truth("tie_word_embeddings", false));
  // Old configurations have "rope_scaling", newer ones keep theta and the kind of scaling in "rope_parameters".
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
    theta = inner_theta->get<double>();
  }
  shape.dimensions.kv_heads = kv_heads;
  shape.dimensions.head_size = head_size;
  shape.epsilon = epsilon;
  shape.theta = theta;
  shape.tied_embeddings = tied;
  return {};
}

Result<void> read_bert(const ConfigReader& config, Shape& shape) {
  DANAUS_TRY(activation, config.text("hidden_act", "gelu"));
  if (activation != "gelu" && activation != "relu")
    return config.unsupported("hidden_act", fmt::format("the activation '{}'", printable(activation)));
  DANAUS_TRY(positions, config.text("position_embedding_type", "absolute"));
  if (positions != "absolute")
    return config.unsupported("position_embedding_type",
                              fmt::format("the position embedding '{}'", printable(positions)));
  DANAUS_TRY(decoder, config.truth("is_decoder", false));
  if (decoder) return config.unsupported("is_decoder", "a bert decoder");
  DANAUS_TRY(epsilon, config.number("layer_norm_eps", 1e-12));
  shape.activation = activation == "gelu" ? NodeKind::gelu : NodeKind::relu;
  shape.gated = false;
  shape.epsilon = epsilon;
  return {};
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

Result<Shape> parse_hugging_face_config(std::string_view text, std::string_view file_name) {
  DANAUS_TRY(document, parse_object(text, file_name));
  const ConfigReader config(document, file_name);
  Shape shape;
  DANAUS_TRY(family, read_family(config, file_name));
  shape.family = family;
  DANAUS_TRY(layers, config.dimension("num_hidden_layers"));
  DANAUS_TRY(hidden, config.dimension("hidden_size"));
  DANAUS_TRY(ffn, config.dimension("intermediate_size"));
  DANAUS_TRY(heads, config.dimension("num_attention_heads"));
  DANAUS_TRY(vocab, config.dimension("vocab_size"));
  DANAUS_TRY(context, config.dimension("max_position_embeddings"));
  shape.dimensions = {
      .layers = layers, .hidden = hidden, .ffn = ffn, .heads = heads, .vocab = vocab, .context = context};
  DANAUS_CHECK(family == Family::llama ? read_llama(config, shape) : read_bert(config, shape));
  if (const std::optional<ShapeProblem> problem = complete(shape))
    return fail(Error("hf.dimensions", Failure::bad_input, fmt::format("the configuration says: {}", problem->message))
                    .in_file(file_name));
  return shape;
}

Result<Model> load_hugging_face(const std::filesystem::path& folder,
                                const std::optional<std::filesystem::path>& weights) {
  const std::filesystem::path config_path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(config_path, ignored))
    return fail(
        Error("hf.config-missing", Failure::bad_input, "the folder has no config.json, so it is no Hugging Face model")
            .in_file(folder.string()));
  DANAUS_TRY(text, read_text(config_path, kLargestConfig));
  DANAUS_TRY(shape, parse_hugging_face_config(text, config_path.string()));
  const std::filesystem::path whole = std::filesystem::absolute(folder, ignored).lexically_normal();
  shape.name = printable((whole.has_filename() ? whole : whole.parent_path()).filename().string());
  DANAUS_TRY(tensors, read_weights(folder, weights));
  if (shape.family == Family::llama) {
    const LlamaNames names = hugging_face_llama_names(prefix_before("embed_tokens.weight", tensors));
    return build_llama(shape, names, std::move(tensors));
  }
  const std::string prefix = prefix_before("embeddings.word_embeddings.weight", tensors);
  const bool old_norms = std::any_of(tensors.begin(), tensors.end(), [&](const Tensor& tensor) {
    return tensor.name == prefix + "embeddings.LayerNorm.gamma";
  });
  return build_bert(shape, hugging_face_bert_names(prefix, old_norms), std::move(tensors));
}

}  // namespace danaus::model
