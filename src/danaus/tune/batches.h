#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/nn/token_id.h"

namespace danaus::tune {

/// Texts cut into sequences of a few lengths, and the order in which training sees them: a function of the seed and the
/// number of the shard alone, so training can go on anywhere.
class Batches {
 public:
  /// Sequences of one length, one after the other.
  struct Group {
    std::size_t length = 0;
    std::vector<nn::TokenId> ids;
    std::size_t sequences() const { return ids.size() / length; }
  };

  /// Cuts every text from its start into pieces, each of the largest length that is left; what is left over is
  /// dropped. Of texts that all begin (end) with one token every piece begins (ends) with it: the markers of an
  /// encoder. Shards have `shard_tokens` tokens, rounded down to whole sequences, at least one.
  /// Errors: tune.lengths (none, below 2, or beyond `context`), tune.little-text (less than one shard of any length).
  static Result<Batches> create(std::span<const std::vector<nn::TokenId>> texts, std::vector<std::uint32_t> lengths,
                                std::size_t shard_tokens, std::size_t context, std::uint64_t seed);

  struct Part {
    std::size_t length = 0;
    std::vector<nn::TokenId> ids;
  };
  /// The shard of this number: every pass over the text has its own order; sequences that fill no shard are left out of
  /// it.
  Part shard(std::uint64_t number);

  std::uint64_t tokens() const;
  std::uint64_t shards_per_pass() const { return shards_per_pass_; }
  const std::vector<Group>& groups() const { return groups_; }

 private:
  struct Place {
    std::uint32_t group = 0;
    std::uint32_t first = 0;  ///< in the order of its group
  };
  void arrange(std::uint64_t pass);
  std::size_t sequences_per_shard(const Group& group) const;

  std::vector<Group> groups_;
  std::size_t shard_tokens_ = 0;
  std::uint64_t seed_ = 0, shards_per_pass_ = 0;
  std::uint64_t pass_ = ~0ull;                     ///< that the order below is of
  std::vector<std::vector<std::uint32_t>> order_;  ///< of the sequences of each group
  std::vector<Place> places_;                      ///< of the shards
};

}  // namespace danaus::tune
