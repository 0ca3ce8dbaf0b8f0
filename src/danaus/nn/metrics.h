#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/nn/token_id.h"
#include "danaus/nn/transformer.h"

namespace danaus::nn {

/// How a text that is longer than the context is cut into windows. Window n holds tokens [n * stride, n * stride +
/// length), as far as the text goes; the first window that reaches the end is the last. A window scores those of its
/// tokens that no window before it held, without its own first token, which nothing stands before. So a text of at most
/// `length` tokens is one window that scores tokens 2 ... N, and with stride = length every window but the last one
/// leaves one token out; a smaller stride gives every scored token at least length - stride tokens before it.
struct WindowRule {
  std::uint32_t length = 0;  ///< 0: the model's context
  std::uint32_t stride = 0;  ///< 1 ... length; 0: the length
};

struct Perplexity {
  std::uint64_t tokens = 0;  ///< of the text
  std::uint64_t scored = 0;  ///< tokens in the mean
  std::uint64_t windows = 0;
  std::uint32_t length = 0, stride = 0;  ///< of the rule that was used
  std::optional<double> nll;             ///< mean of -ln p; none if no token was scored
  std::optional<double> perplexity;      ///< exp(nll)
};

/// Perplexity of a decoder over token ids. Windows follow one another with tokens numbered on (noise differs from
/// window to window); computed `chunk` tokens at a time. Progress counts tokens. Errors: nn.no-tokens, nn.window
/// (length or stride is impossible), nn.no-decoder, nn.no-head, nn.not-encoded (encoder-decoder models need an encoder
/// text), those of Transformer::decode.
Result<Perplexity> perplexity(Transformer& transformer, std::span<const TokenId> ids, const WindowRule& rule = {},
                              Progress& progress = no_progress(), std::uint32_t chunk = 512);

/// How the outputs of a text's tokens become one vector.
struct Pooling {
  enum class Kind : std::uint8_t { mean, first, last, max };
  Kind kind = Kind::mean;
  bool normalise = true;  ///< to length 1 (a vector of zeros stays)
};

/// "mean", "first", "last" or "max".
std::string_view name_of(Pooling::Kind kind);

/// The pooling that a sentence-transformers folder asks for: modules.json (normalise if there is a Normalize module)
/// and 1_Pooling/config.json. Without these files mean and normalise. Errors: nn.pooling, file.*.
Result<Pooling> read_pooling(const std::filesystem::path& folder);

/// One vector per text; texts of at most `batch_tokens` tokens together are computed at once.
/// Errors: those of Transformer::encode, with the number of the text.
Result<std::vector<std::vector<float>>> embed(Transformer& transformer, std::span<const std::vector<TokenId>> texts,
                                              const Pooling& pooling, Progress& progress = no_progress(),
                                              std::uint32_t batch_tokens = 1024);

/// Cosine of the angle between two vectors, in double precision; 0 if one of them is zero.
double cosine(std::span<const float> a, std::span<const float> b);

}  // namespace danaus::nn
