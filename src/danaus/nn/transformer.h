#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/token_id.h"

namespace danaus::nn {

/// What has been computed of one sequence: keys and values of every attention. Made by Transformer::sequence and valid
/// for that transformer. Copying forks the sequence.
class Sequence {
 public:
  /// Decoder tokens so far; the next one has this position.
  std::size_t length() const { return length_; }
  /// Encoder tokens; 0 before Transformer::encode.
  std::size_t encoded() const { return encoded_; }

 private:
  friend class Transformer;
  /// Entries of one attend node: per kv head one after the other, each head_size elements.
  struct Entries {
    std::vector<std::vector<float>> keys, values;
  };
  std::vector<Entries> entries_;  ///< in the order of the graph's attend nodes
  std::size_t length_ = 0;
  std::size_t encoded_ = 0;
};

/// Tokens that one sequence goes on with.
struct Step {
  Sequence* sequence = nullptr;
  std::span<const TokenId> ids;
};

/// The reference transformer: executes a model's operator graph in float32, many tokens at once, node by node. What the
/// linear operators do is the backend's.
///
/// A batch may have sequences of any lengths, one after the other without padding: the results are {tokens of all
/// steps, size}, row-major, in the order of the steps. The same bits for any thread count. Not for several threads at
/// once.
class Transformer {
 public:
  /// `model` and `backend` must outlive it. Errors: nn.no-weights, nn.no-embedding.
  static Result<Transformer> create(const model::Model& model, LinearBackend& backend);
  Transformer(Transformer&&) noexcept;
  Transformer& operator=(Transformer&&) noexcept;
  ~Transformer();

  const model::Model& model() const;
  bool has_encoder() const;  ///< bert, bart
  bool has_decoder() const;  ///< llama, gpt2, bart
  bool has_head() const;
  std::size_t hidden() const;
  std::size_t vocab() const;
  /// Tokens that a sequence can have.
  std::size_t context() const;

  /// An empty sequence.
  Sequence sequence() const;

  /// Other gains and biases in place of the model's, by the names of its constants. Error nn.constant: the model has
  /// none of that name, or one of another size.
  Result<void> set_constants(std::span<const std::pair<std::string, std::vector<float>>> constants);

  /// What the embedding makes of tokens, without running the graph: vectors {tokens of all steps, hidden}. Errors:
  /// nn.no-tokens, nn.token-id, nn.context.
  Result<std::vector<float>> embed(std::span<const Step> batch) const;

  /// Runs the encoder over whole texts: its output of every token. For an encoder-decoder model the steps' sequences
  /// must be new and hold the entries of the cross-attention afterwards; for a bare encoder the sequence may be null.
  /// Errors: nn.no-encoder, nn.no-tokens, nn.token-id, nn.context, nn.non-finite, and those of the backend.
  Result<std::vector<float>> encode(std::span<const Step> batch);

  /// Appends tokens to sequences: the output of every new token (behind the final norm, before the head).
  /// Errors: nn.no-decoder, nn.not-encoded, nn.no-tokens, nn.token-id, nn.context, nn.non-finite, and those of the
  /// backend. After an error the sequences of the batch are of no use.
  Result<std::vector<float>> decode(std::span<const Step> batch);

  /// The head: outputs {n, hidden} -> logits {n, vocab}. Errors: nn.no-head, nn.non-finite.
  Result<std::vector<float>> logits(std::span<const float> outputs) const;

  /// -ln p(target) for each output, in double precision and chunk by chunk: no more than a few MB of logits exist at
  /// once. Errors: nn.no-head, nn.token-id, nn.non-finite.
  Result<std::vector<double>> negative_log_likelihood(std::span<const float> outputs,
                                                      std::span<const TokenId> targets) const;

  /// Running number of the next vector, as the backend sees it: tokens that encode and decode have seen.
  std::uint64_t next_token() const;
  void set_next_token(std::uint64_t number);

 private:
  class Implementation;
  explicit Transformer(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

/// Name, version and kernel of the library that multiplies matrices, for the provenance of results.
std::string blas_description();

}  // namespace danaus::nn
