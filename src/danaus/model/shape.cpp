#include "danaus/model/shape.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "danaus/model/families.h"

// Checks of the dimensions of a model. The largest values are far above every known model; they keep sums and products
// of dimensions within 64 bits, the graph within memory and KV regions within the 24 bits that a command has for them.

namespace danaus::model {
namespace {

constexpr std::uint32_t kMostLayers = 4096;
constexpr std::uint32_t kMostHeads = 1u << 16;
constexpr std::uint32_t kLongestVector = 1u << 24;  // graph validation has the same limit
constexpr std::uint32_t kMostRows = 1u << 31;       // vocabulary and context
constexpr std::uint64_t kMostKvRegions = 1u << 24;
constexpr std::uint64_t kMostExperts = 1u << 16;  // of all layers

struct Range {
  std::string_view key;
  std::uint32_t value;
  std::uint32_t most;
};

/// What only some families have. Every message names the key.
std::optional<ShapeProblem> unfitting(const Shape& shape) {
  const Dimensions& d = shape.dimensions;
  const FamilyInfo& family = info_of(shape.family);
  const auto lacks = [&](std::string_view key) {
    return ShapeProblem{key, fmt::format("{} is not possible in the family {}", key, family.name)};
  };
  if (d.decoder_layers != 0 && shape.family != Family::bart) return lacks("decoder_layers");
  if (d.decoder_layers > kMostLayers)
    return ShapeProblem{"decoder_layers",
                        fmt::format("decoder_layers = {} is not possible (0 to {})", d.decoder_layers, kMostLayers)};
  if (shape.parallel && family.norm_after) return lacks("parallel");
  if (d.experts != 0 && family.norm_after) return lacks("experts");
  if (shape.window != 0 && family.encoder) return lacks("window");
  if (std::uint64_t{d.experts} * d.layers > kMostExperts)
    return ShapeProblem{"experts", fmt::format("layers * experts = {} is too much (at most {})",
                                               std::uint64_t{d.experts} * d.layers, kMostExperts)};
  if (d.experts_per_token > d.experts || (d.experts != 0 && d.experts_per_token == 0))
    return ShapeProblem{"experts_per_token", fmt::format("experts_per_token = {} is not possible with experts = {}",
                                                         d.experts_per_token, d.experts)};
  if (d.experts != 0 && shape.biases == Biases::all)
    return ShapeProblem{"biases", "biases of experts are not possible"};
  if (shape.rotary != 0 && !family.rotary) return lacks("rotary");
  const std::uint32_t turned = shape.rotary == 0 ? d.head_size : shape.rotary;
  if (family.rotary && (turned % 2 != 0 || turned > d.head_size))
    return ShapeProblem{
        shape.rotary == 0 ? "head_size" : "rotary",
        fmt::format("the rotary embedding of {} elements of a head of {} is not possible: it turns pairs", turned,
                    d.head_size)};
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Biases biases) {
  constexpr std::array<std::string_view, 3> kNames = {"none", "qkv", "all"};
  return kNames[static_cast<std::size_t>(biases)];
}

std::string_view name_of(Config::Norm norm) { return norm == Config::Norm::rms ? "rms" : "layer"; }

std::optional<ShapeProblem> complete(Shape& shape) {
  Dimensions& d = shape.dimensions;
  const auto problem = [](std::string_view key, std::string message) { return ShapeProblem{key, std::move(message)}; };
  for (const Range& range : {Range{"layers", d.layers, kMostLayers}, Range{"hidden", d.hidden, kLongestVector},
                             Range{"ffn", d.ffn, kLongestVector}, Range{"heads", d.heads, kMostHeads},
                             Range{"vocab", d.vocab, kMostRows}, Range{"context", d.context, kMostRows}}) {
    if (range.value == 0 || range.value > range.most)
      return problem(range.key, fmt::format("{} = {} is not possible (1 to {})", range.key, range.value, range.most));
  }
  if (d.kv_heads == 0) d.kv_heads = d.heads;
  if (d.kv_heads > d.heads || d.heads % d.kv_heads != 0)
    return problem("kv_heads", fmt::format("kv_heads = {} does not divide heads = {}", d.kv_heads, d.heads));
  if (d.head_size == 0) {
    if (d.hidden % d.heads != 0)
      return problem(
          "heads", fmt::format("heads = {} does not divide hidden = {} and no head size is given", d.heads, d.hidden));
    d.head_size = d.hidden / d.heads;
  }
  if (std::uint64_t{d.heads} * d.head_size > kLongestVector)
    return problem("head_size", fmt::format("heads * head_size = {} is too much (at most {})",
                                            std::uint64_t{d.heads} * d.head_size, kLongestVector));
  if (shape.rotary == d.head_size) shape.rotary = 0;
  if (const std::optional<ShapeProblem> found = unfitting(shape)) return found;
  // A decoder layer has two attentions.
  const std::uint64_t attentions = std::uint64_t{d.layers} + std::uint64_t{2} * d.decoder_layers;
  if (attentions * d.kv_heads > kMostKvRegions)
    return problem("kv_heads", fmt::format("layers * kv_heads = {} is too much (at most {})", attentions * d.kv_heads,
                                           kMostKvRegions));
  if (!std::isfinite(shape.theta) || shape.theta <= 0)
    return problem("theta", fmt::format("theta = {} is not a positive number", shape.theta));
  if (!std::isfinite(shape.epsilon) || shape.epsilon <= 0)
    return problem("epsilon", fmt::format("epsilon = {} is not a positive number", shape.epsilon));
  return std::nullopt;
}

std::string to_toml(const Shape& shape) {
  const Dimensions& d = shape.dimensions;
  return fmt::format(
      "name = \"{}\"\nfamily = \"{}\"\nlayers = {}\ndecoder_layers = {}\nhidden = {}\nffn = {}\nheads = {}\n"
      "kv_heads = {}\nhead_size = {}\nvocab = {}\ncontext = {}\nwindow = {}\nactivation = \"{}\"\ngated = {}\n"
      "norm = \"{}\"\nbiases = \"{}\"\nparallel = {}\nexperts = {}\nexperts_per_token = {}\nrotary = {}\ntheta = {}\n"
      "epsilon = {}\nrope_pairs = \"{}\"\ntied_embeddings = {}\n",
      shape.name, name_of(shape.family), d.layers, d.decoder_layers, d.hidden, d.ffn, d.heads, d.kv_heads, d.head_size,
      d.vocab, d.context, shape.window, name_of(shape.activation), shape.gated, name_of(shape.norm),
      name_of(shape.biases), shape.parallel, d.experts, d.experts_per_token, shape.rotary, shape.theta, shape.epsilon,
      shape.pairs == Config::Pairs::half ? "half" : "adjacent", shape.tied_embeddings);
}

}  // namespace danaus::model
