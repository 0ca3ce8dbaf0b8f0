#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/nn/token_id.h"
#include "danaus/nn/transformer.h"

namespace danaus::nn {

/// How the next token is chosen.
struct Sampling {
  double temperature = 0;   ///< 0: always the likeliest (of equals the smallest id); otherwise logits are divided by it
  std::uint32_t top_k = 0;  ///< only the k likeliest; 0: all
  double top_p = 1;         ///< only the likeliest that together have this probability
  std::uint64_t seed = 0;
};

/// The next token after `logits`; `number` counts the tokens drawn so far: the draw is a function of (seed, number).
/// Errors: nn.sampling (an impossible parameter), nn.non-finite.
Result<TokenId> sample(std::span<const float> logits, const Sampling& sampling, std::uint64_t number);

struct GenerateOptions {
  Sampling sampling;
  std::uint32_t tokens = 256;           ///< at most so many new tokens
  std::vector<TokenId> end_tokens;      ///< the text ends at one of them, which is not part of it
  std::vector<TokenId> decoder_prompt;  ///< encoder-decoder models: what the decoder starts with
};

struct Generated {
  enum class End : std::uint8_t { token, length, context, stopped };
  std::vector<TokenId> ids;  ///< the new ones
  End end = End::length;     ///< an end token; as many as asked for; the context is full; the callback said so
};

/// Goes on from a prompt, token by token. `sink` gets every new token at once and may return false to stop.
/// For encoder-decoder models the prompt is the encoder's text. The prompt is computed in chunks.
/// Errors: nn.no-decoder, nn.no-head, nn.sampling, those of Transformer::encode and decode.
Result<Generated> generate(Transformer& transformer, std::span<const TokenId> prompt, const GenerateOptions& options,
                           const std::function<bool(TokenId)>& sink);

}  // namespace danaus::nn
