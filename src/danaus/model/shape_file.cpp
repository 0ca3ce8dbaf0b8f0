#include "danaus/model/shape_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <vector>

#include "danaus/core/internal_error.h"
#include "danaus/core/toml.h"
#include "danaus/model/families.h"
#include "danaus/model/text.h"
#include "danaus/model/transformer.h"

// Shape files: dimensions only, in TOML. Unknown keys are errors, because a misspelt optional key would silently be a
// default.

namespace danaus::model {
namespace {

constexpr std::size_t kLargestShapeFile = 16384;

const std::vector<std::string_view>& known_keys() {
  static const std::vector<std::string_view> keys = {"name",
                                                     "family",
                                                     "layers",
                                                     "decoder_layers",
                                                     "hidden",
                                                     "ffn",
                                                     "heads",
                                                     "kv_heads",
                                                     "vocab",
                                                     "head_size",
                                                     "context",
                                                     "window",
                                                     "norm",
                                                     "biases",
                                                     "activation",
                                                     "gated",
                                                     "parallel",
                                                     "experts",
                                                     "experts_per_token",
                                                     "rotary",
                                                     "theta",
                                                     "epsilon",
                                                     "rope_pairs",
                                                     "tied_embeddings"};
  return keys;
}

std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates) {
  const std::string_view close = nearest(word, candidates);
  return close.empty() ? fmt::format("possible are: {}", fmt::join(candidates, ", "))
                       : fmt::format("did you mean '{}'?", close);
}

/// Typed access to the keys of the file.
class ShapeReader {
 public:
  ShapeReader(const toml::table& table, std::string_view file_name) : table_(table), file_name_(file_name) {}

  Location where(std::string_view key) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr) {
      Location whole;
      whole.file = file_name_;
      return whole;
    }
    return location_of(value->source(), file_name_);
  }
  Result<std::uint32_t> dimension(std::string_view key, std::optional<std::uint32_t> otherwise = {}) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) return missing(key);
    const std::optional<std::int64_t> number = value->value_exact<std::int64_t>();
    if (!number || *number < 1 || *number > UINT32_MAX) return wrong(key, "a positive whole number of 32 bits");
    return static_cast<std::uint32_t>(*number);
  }
  /// A number of 32 bits that is 0 where the key is absent.
  Result<std::uint32_t> count(std::string_view key) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr) return 0u;
    const std::optional<std::int64_t> number = value->value_exact<std::int64_t>();
    if (!number || *number < 0 || *number > UINT32_MAX) return wrong(key, "a whole number of 32 bits");
    return static_cast<std::uint32_t>(*number);
  }
  Result<double> number(std::string_view key, double otherwise) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) return wrong(key, "a number");
    return *value->value<double>();
  }
  Result<bool> truth(std::string_view key, bool otherwise) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return wrong(key, "true or false");
    return *value->value_exact<bool>();
  }
  Result<std::string> text(std::string_view key, std::optional<std::string> otherwise = {}) const {
    const toml::node* value = table_.get(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) return missing(key);
    if (!value->is_string()) return wrong(key, "a string");
    return *value->value_exact<std::string>();
  }
  /// One of a few words.
  Result<std::string> choice(std::string_view key, std::string_view otherwise,
                             const std::vector<std::string_view>& words) const {
    DANAUS_TRY(word, text(key, std::string(otherwise)));
    if (std::find(words.begin(), words.end(), word) == words.end())
      return fail(
          Error("shape.choice", Failure::bad_input, fmt::format("'{}' is no value of '{}'", printable(word), key))
              .at(where(key))
              .with_hint(suggestion(word, words)));
    return word;
  }

 private:
  tl::unexpected<Error> missing(std::string_view key) const {
    return fail(
        Error("shape.missing-key", Failure::bad_input, fmt::format("the key '{}' is missing", key))
            .in_file(file_name_)
            .with_hint("a shape file needs name, family, layers, hidden, ffn, heads, vocab, context and activation"));
  }
  tl::unexpected<Error> wrong(std::string_view key, std::string_view wanted) const {
    return fail(Error("shape.type", Failure::bad_input, fmt::format("'{}' is not {}", key, wanted)).at(where(key)));
  }

  const toml::table& table_;
  std::string_view file_name_;
};

Result<toml::table> parse_table(std::string_view text, std::string_view file_name) {
  if (text.size() > kLargestShapeFile)
    return fail(Error("shape.too-large", Failure::bad_input,
                      fmt::format("{} bytes are more than a shape file can have ({})", text.size(), kLargestShapeFile))
                    .in_file(file_name));
  Result<toml::table> table =
      parse_toml(text, "a shape file", Error("shape.syntax", Failure::bad_input, "").in_file(file_name));
  if (!table) table.error().message = printable(table.error().message);
  return table;
}

Result<Family> read_family(const ShapeReader& reader) {
  DANAUS_TRY(name, reader.text("family"));
  std::vector<std::string_view> names;
  for (const FamilyInfo& family : families()) {
    if (family.name == name) return family.family;
    names.push_back(family.name);
  }
  return fail(Error("shape.family", Failure::bad_input, fmt::format("'{}' is no family of models", printable(name)))
                  .at(reader.where("family"))
                  .with_hint(suggestion(name, names)));
}

Result<Dimensions> read_dimensions(const ShapeReader& reader) {
  DANAUS_TRY(layers, reader.dimension("layers"));
  DANAUS_TRY(decoder_layers, reader.count("decoder_layers"));
  DANAUS_TRY(hidden, reader.dimension("hidden"));
  DANAUS_TRY(ffn, reader.dimension("ffn"));
  DANAUS_TRY(heads, reader.dimension("heads"));
  DANAUS_TRY(kv_heads, reader.dimension("kv_heads", 0));
  DANAUS_TRY(head_size, reader.dimension("head_size", 0));
  DANAUS_TRY(vocab, reader.dimension("vocab"));
  DANAUS_TRY(context, reader.dimension("context"));
  DANAUS_TRY(experts, reader.count("experts"));
  DANAUS_TRY(experts_per_token, reader.count("experts_per_token"));
  return Dimensions{.layers = layers,
                    .decoder_layers = decoder_layers,
                    .hidden = hidden,
                    .ffn = ffn,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_size = head_size,
                    .vocab = vocab,
                    .context = context,
                    .experts = experts,
                    .experts_per_token = experts_per_token};
}

/// How the layers differ from those of the family, whose defaults the shape has.
Result<void> read_layers(const ShapeReader& reader, Shape& shape) {
  DANAUS_TRY(activation, reader.text("activation"));
  if (activation != "silu" && activation != "gelu" && activation != "gelu_tanh" && activation != "relu")
    return fail(
        Error("shape.activation", Failure::bad_input, fmt::format("'{}' is no activation", printable(activation)))
            .at(reader.where("activation"))
            .with_hint(suggestion(activation, {"silu", "gelu", "gelu_tanh", "relu"})));
  ensure(parse_node_kind(activation, shape.activation), "activations are node kinds");
  DANAUS_TRY(gated, reader.truth("gated", shape.gated));
  DANAUS_TRY(norm, reader.choice("norm", name_of(shape.norm), {"rms", "layer"}));
  DANAUS_TRY(biases, reader.choice("biases", name_of(shape.biases), {"none", "qkv", "all"}));
  DANAUS_TRY(parallel, reader.truth("parallel", false));
  DANAUS_TRY(rotary, reader.count("rotary"));
  DANAUS_TRY(window, reader.count("window"));
  DANAUS_TRY(theta, reader.number("theta", shape.theta));
  DANAUS_TRY(epsilon, reader.number("epsilon", shape.epsilon));
  DANAUS_TRY(pairs, reader.text("rope_pairs", "half"));
  if (pairs != "half" && pairs != "adjacent")
    return fail(
        Error("shape.rope-pairs", Failure::bad_input, fmt::format("'{}' is no order of rotary pairs", printable(pairs)))
            .at(reader.where("rope_pairs"))
            .with_hint(suggestion(pairs, {"half", "adjacent"})));
  DANAUS_TRY(tied, reader.truth("tied_embeddings", shape.tied_embeddings));
  shape.gated = gated;
  shape.norm = norm == "rms" ? Config::Norm::rms : Config::Norm::layer;
  shape.biases = biases == "none" ? Biases::none : biases == "qkv" ? Biases::qkv : Biases::all;
  shape.parallel = parallel;
  shape.rotary = rotary;
  shape.window = window;
  shape.theta = theta;
  shape.epsilon = epsilon;
  shape.pairs = pairs == "half" ? Config::Pairs::half : Config::Pairs::adjacent;
  shape.tied_embeddings = tied;
  return {};
}

}  // namespace

Result<Shape> parse_shape(std::string_view text, std::string_view file_name) {
  DANAUS_TRY(table, parse_table(text, file_name));
  for (const auto& [key, value] : table) {
    const std::vector<std::string_view>& keys = known_keys();
    if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
      return fail(Error("shape.unknown-key", Failure::bad_input,
                        fmt::format("'{}' is no key of a shape file", printable(key.str())))
                      .at(location_of(key.source(), file_name))
                      .with_hint(suggestion(key.str(), keys)));
  }

  const ShapeReader reader(table, file_name);
  DANAUS_TRY(name, reader.text("name"));
  if (!is_good_name(name))
    return fail(Error("shape.name", Failure::bad_input, fmt::format("'{}' is not a good name", printable(name)))
                    .at(reader.where("name"))
                    .with_hint("use letters, digits, '.', '_' and '-'"));
  DANAUS_TRY(family, read_family(reader));
  Shape shape = shape_of(family);
  shape.name = name;
  DANAUS_TRY(dimensions, read_dimensions(reader));
  shape.dimensions = dimensions;
  DANAUS_CHECK(read_layers(reader, shape));
  if (const std::optional<ShapeProblem> problem = complete(shape))
    return fail(Error("shape.range", Failure::bad_input, problem->message).at(reader.where(problem->key)));
  return shape;
}

Result<Model> model_from_shape(const Shape& shape) {
  return build_transformer(shape, gguf_names(shape.family), std::nullopt);
}

}  // namespace danaus::model
