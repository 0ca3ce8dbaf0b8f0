#include "danaus/model/shape.h"

#include <fmt/format.h>

#include <cmath>

// Checks of the dimensions of a model. The largest values are far above every known model; they keep sums and products
// of dimensions within 64 bits, the graph within memory and KV regions within the 24 bits that a command has for them.

namespace danaus::model {
namespace {

constexpr std::uint32_t kMostLayers = 4096;
constexpr std::uint32_t kMostHeads = 1u << 16;
constexpr std::uint32_t kLongestVector = 1u << 24;  // graph validation has the same limit
constexpr std::uint32_t kMostRows = 1u << 31;       // vocabulary and context
constexpr std::uint64_t kMostKvRegions = 1u << 24;

struct Range {
  std::string_view key;
  std::uint32_t value;
  std::uint32_t most;
};

}  // namespace

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
  if (std::uint64_t{d.layers} * d.kv_heads > kMostKvRegions)
    return problem("kv_heads", fmt::format("layers * kv_heads = {} is too much (at most {})",
                                           std::uint64_t{d.layers} * d.kv_heads, kMostKvRegions));
  if (shape.family == Family::llama && d.head_size % 2 != 0)
    return problem("head_size", fmt::format("head size {} is odd, the rotary embedding needs pairs", d.head_size));
  if (!std::isfinite(shape.theta) || shape.theta <= 0)
    return problem("theta", fmt::format("theta = {} is not a positive number", shape.theta));
  if (!std::isfinite(shape.epsilon) || shape.epsilon <= 0)
    return problem("epsilon", fmt::format("epsilon = {} is not a positive number", shape.epsilon));
  return std::nullopt;
}

std::string to_toml(const Shape& shape) {
  const Dimensions& d = shape.dimensions;
  return fmt::format(
      "name = \"{}\"\nfamily = \"{}\"\nlayers = {}\nhidden = {}\nffn = {}\nheads = {}\nkv_heads = {}\nhead_size = {}\n"
      "vocab = {}\ncontext = {}\nactivation = \"{}\"\ngated = {}\ntheta = {}\nepsilon = {}\nrope_pairs = \"{}\"\n"
      "tied_embeddings = {}\n",
      shape.name, name_of(shape.family), d.layers, d.hidden, d.ffn, d.heads, d.kv_heads, d.head_size, d.vocab,
      d.context, name_of(shape.activation), shape.gated, shape.theta, shape.epsilon,
      shape.pairs == Config::Pairs::half ? "half" : "adjacent", shape.tied_embeddings);
}

}  // namespace danaus::model
