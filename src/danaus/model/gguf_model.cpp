#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "danaus/model/families.h"
#include "danaus/model/gguf.h"
#include "danaus/model/text.h"
#include "danaus/model/transformer.h"

// The metadata of a GGUF file to a shape (keys: github.com/ggml-org/ggml, docs/gguf.md). Keys begin with the name of
// the architecture, "llama.block_count"; what an architecture does differently from its family stands in
// kArchitectures.

namespace danaus::model {
namespace {

/// An architecture and in what it differs from its family.
struct Architecture {
  std::string_view name;
  Family family = Family::llama;
  void (*adapt)(Shape& shape, StackNames& layers) = nullptr;
};

constexpr Architecture kArchitectures[] = {
    {"llama", Family::llama,
     [](Shape& shape, StackNames&) { shape.pairs = Config::Pairs::adjacent; }},  // the converter permutes q and k
    {"qwen2", Family::llama, [](Shape& shape, StackNames&) { shape.biases = Biases::qkv; }},
    {"phi3", Family::llama,
     [](Shape&, StackNames& layers) {
       layers.fused_qkv = "attn_qkv";
       layers.fused_gate_up = "ffn_up";
     }},
    {"phi2", Family::llama,
     [](Shape& shape, StackNames& layers) {
       shape.norm = Config::Norm::layer;
       shape.biases = Biases::all;
       shape.gated = false;
       shape.parallel = true;
       shape.activation = NodeKind::gelu_tanh;
       layers.fused_qkv = "attn_qkv";
     }},
    {"falcon", Family::llama,
     [](Shape& shape, StackNames& layers) {
       shape.norm = Config::Norm::layer;
       shape.gated = false;
       shape.parallel = true;
       shape.activation = NodeKind::gelu;
       layers.fused_qkv = "attn_qkv";
     }},
    {"gpt2", Family::gpt2},
    {"bert", Family::bert}};

tl::unexpected<Error> wrong_key_type(const GgufFile& file, const GgufValue& value, std::string_view key,
                                     std::string_view wanted) {
  return fail(Error("gguf.key-type", Failure::bad_input, fmt::format("the metadata key '{}' is not {}", key, wanted))
                  .in_file(file.name)
                  .at_offset(value.offset));
}

tl::unexpected<Error> missing_key(const GgufFile& file, std::string_view key) {
  return fail(
      Error("gguf.missing-key", Failure::bad_input, fmt::format("the metadata has no '{}'", key)).in_file(file.name));
}

/// Typed access to the keys of one architecture.
class Metadata {
 public:
  Metadata(const GgufFile& file, std::string_view architecture) : file_(file), architecture_(architecture) {}

  const GgufValue* find(std::string_view name) const { return file_.find(key(name)); }

  /// A positive number of 32 bits; `otherwise` if the key is absent.
  Result<std::uint32_t> dimension(std::string_view name, std::optional<std::uint32_t> otherwise = {}) const {
    const GgufValue* value = find(name);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return missing_key(file_, key(name));
    }
    const std::optional<std::uint64_t> number = value->whole();
    if (!number || *number == 0 || *number > UINT32_MAX)
      return wrong_key_type(file_, *value, key(name), "one positive number of 32 bits");
    return static_cast<std::uint32_t>(*number);
  }
  /// What most files do not have: 0 says the same as no key.
  Result<std::uint32_t> optional(std::string_view name) const {
    const GgufValue* value = find(name);
    if (value != nullptr && value->whole() == 0u) return 0u;
    return dimension(name, 0);
  }
  Result<double> real_number(std::string_view name, std::optional<double> otherwise = {}) const {
    const GgufValue* value = find(name);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return missing_key(file_, key(name));
    }
    const std::optional<double> number = value->real();
    if (!number) return wrong_key_type(file_, *value, key(name), "a real number");
    return *number;
  }
  tl::unexpected<Error> refuse(std::string_view name, std::string_view what) const {
    return fail(
        Error("gguf.unsupported-key", Failure::unsupported, fmt::format("{} ('{}') is not supported", what, key(name)))
            .in_file(file_.name)
            .at_offset(find(name)->offset));
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }

  const GgufFile& file_;
  std::string_view architecture_;
};

/// What files can ask for beyond the plain architecture.
Result<void> refuse_variants(const GgufFile& file, const Metadata& metadata, const Shape& shape) {
  const GgufValue* parts = file.find("split.count");
  if (parts != nullptr && parts->whole().value_or(2) > 1)
    return fail(
        Error("gguf.unsupported-key", Failure::unsupported, "a model in several files ('split.count') is not supported")
            .in_file(file.name)
            .at_offset(parts->offset)
            .with_hint("join the files with the tool that split them"));
  const GgufValue* causal = metadata.find("attention.causal");
  if (causal != nullptr && causal->truth() == info_of(shape.family).encoder)
    return metadata.refuse("attention.causal", "attention of the other direction");
  if (!info_of(shape.family).rotary) return {};
  const GgufValue* scaling = metadata.find("rope.scaling.type");
  if (scaling != nullptr && scaling->text() != "none")
    return metadata.refuse("rope.scaling.type", "scaling of the rotary embedding");
  const GgufValue* linear_scale = metadata.find("rope.scale_linear");
  if (linear_scale != nullptr && linear_scale->real() != 1.0)
    return metadata.refuse("rope.scale_linear", "scaling of the rotary embedding");
  const std::uint32_t head_size = shape.dimensions.head_size;
  DANAUS_TRY(value_size, metadata.dimension("attention.value_length", head_size));
  if (value_size != head_size)
    return metadata.refuse("attention.value_length", "a value size that differs from the key size");
  return {};
}

Result<Dimensions> read_dimensions(const GgufFile& file, const Metadata& metadata) {
  DANAUS_TRY(layers, metadata.dimension("block_count"));
  DANAUS_TRY(hidden, metadata.dimension("embedding_length"));
  DANAUS_TRY(ffn, metadata.dimension("feed_forward_length"));
  DANAUS_TRY(heads, metadata.dimension("attention.head_count"));
  DANAUS_TRY(kv_heads, metadata.dimension("attention.head_count_kv", 0));
  DANAUS_TRY(head_size, metadata.dimension("attention.key_length", 0));
  DANAUS_TRY(context, metadata.dimension("context_length"));
  // The number of tokens is that of the embedding; older files do not say it in the metadata.
  const std::vector<Tensor>::const_iterator embedding =
      std::find_if(file.tensors.begin(), file.tensors.end(),
                   [](const Tensor& tensor) { return tensor.name == "token_embd.weight"; });
  const std::uint64_t rows = embedding == file.tensors.end() ? 1 : embedding->shape.front();
  DANAUS_TRY(vocab,
             metadata.dimension("vocab_size", static_cast<std::uint32_t>(std::min<std::uint64_t>(rows, UINT32_MAX))));
  DANAUS_TRY(experts, metadata.optional("expert_count"));
  DANAUS_TRY(experts_per_token, metadata.optional("expert_used_count"));
  return Dimensions{.layers = layers,
                    .hidden = hidden,
                    .ffn = ffn,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_size = head_size,
                    .vocab = vocab,
                    .context = context,
                    .experts = experts,
                    .experts_per_token = experts == 0 ? 0 : experts_per_token};
}

}  // namespace

std::vector<ArchitectureInfo> gguf_architectures() {
  std::vector<ArchitectureInfo> found;
  for (const Architecture& architecture : kArchitectures) found.push_back({architecture.name, architecture.family});
  return found;
}

Result<Model> model_from_gguf(const GgufFile& file) {
  constexpr std::string_view kKey = "general.architecture";
  const GgufValue* value = file.find(kKey);
  if (value == nullptr) return missing_key(file, kKey);
  const std::optional<std::string_view> name = value->text();
  if (!name) return wrong_key_type(file, *value, kKey, "a string");
  const Architecture* architecture = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                                  [&](const Architecture& entry) { return entry.name == *name; });
  if (architecture == std::end(kArchitectures)) {
    std::vector<std::string_view> known;
    for (const Architecture& entry : kArchitectures) known.push_back(entry.name);
    return fail(Error("gguf.unsupported-architecture", Failure::unsupported,
                      fmt::format("the architecture '{}' is not supported", printable(*name)))
                    .in_file(file.name)
                    .at_offset(value->offset)
                    .note(fmt::format("supported are {}", fmt::join(known, ", ")))
                    .with_hint("for the cost alone, write its dimensions into a shape file (.toml)"));
  }

  const Metadata metadata(file, architecture->name);
  Shape shape = shape_of(architecture->family);
  shape.name = printable(std::filesystem::path(file.name).stem().string());
  LayoutNames names = gguf_names(shape.family);
  if (architecture->adapt != nullptr) architecture->adapt(shape, names.layers);
  DANAUS_TRY(dimensions, read_dimensions(file, metadata));
  shape.dimensions = dimensions;
  DANAUS_TRY(window, metadata.optional("attention.sliding_window"));
  shape.window = window;
  DANAUS_TRY(epsilon, metadata.real_number(shape.norm == Config::Norm::rms ? "attention.layer_norm_rms_epsilon"
                                                                           : "attention.layer_norm_epsilon"));
  shape.epsilon = epsilon;
  if (info_of(shape.family).rotary) {
    DANAUS_TRY(theta, metadata.real_number("rope.freq_base", 10000.0));
    DANAUS_TRY(rotary, metadata.dimension("rope.dimension_count", 0));
    shape.theta = theta;
    shape.rotary = rotary;
  }
  const auto has = [&](const std::string& wanted) {
    return std::any_of(file.tensors.begin(), file.tensors.end(),
                       [&](const Tensor& tensor) { return tensor.name == wanted; });
  };
  shape.tied_embeddings = !has(names.head + ".weight");
  names.head_bias = names.head + ".bias";
  if (has("blk.0.ffn_up.0.weight")) {  // before the experts of a layer were put into one tensor
    names.layers.stacked_experts = false;
    names.layers.expert_gate = "ffn_gate.*";
    names.layers.expert_up = "ffn_up.*";
    names.layers.expert_down = "ffn_down.*";
  }
  if (const std::optional<ShapeProblem> problem = complete(shape))
    return fail(Error("gguf.dimensions", Failure::bad_input, fmt::format("the metadata says: {}", problem->message))
                    .in_file(file.name));
  DANAUS_CHECK(refuse_variants(file, metadata, shape));
  return build_transformer(shape, names, file.tensors);
}

}  // namespace danaus::model
