// Sequences of one length are computed together without padding. The order of a pass is that of random keys, of which
// element n of pass p has the number n of the stream p.

#include "danaus/tune/batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "danaus/core/internal_error.h"
#include "danaus/core/random.h"

namespace danaus::tune {
namespace {

using nn::TokenId;

/// 0 ... count - 1 in random order.
std::vector<std::uint32_t> shuffled(std::size_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> keys(count);
  for (std::size_t n = 0; n < count; ++n) keys[n] = {random_bits(seed, stream, n), static_cast<std::uint32_t>(n)};
  std::sort(keys.begin(), keys.end());
  std::vector<std::uint32_t> order(count);
  for (std::size_t n = 0; n < count; ++n) order[n] = keys[n].second;
  return order;
}

/// Whether all texts have the same first (last) token, and there are several.
bool is_marker(std::span<const std::vector<TokenId>> texts, bool first) {
  const auto token = [first](const std::vector<TokenId>& text) { return first ? text.front() : text.back(); };
  return texts.size() > 1 && std::all_of(texts.begin(), texts.end(), [&](const std::vector<TokenId>& text) {
           return text.size() > 2 && token(text) == token(texts.front());
         });
}

}  // namespace

Result<Batches> Batches::create(std::span<const std::vector<TokenId>> texts, std::vector<std::uint32_t> lengths,
                                std::size_t shard_tokens, std::size_t context, std::uint64_t seed) {
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  if (lengths.empty() || lengths.front() < 2 || lengths.back() > context)
    return fail(Error("tune.lengths", Failure::usage,
                      lengths.empty() ? "there is no length of sequences"
                                      : fmt::format("sequences of {} tokens cannot be trained on",
                                                    lengths.front() < 2 ? lengths.front() : lengths.back()))
                    .with_hint(fmt::format("lengths are from 2 to the context of the model, {}", context)));
  Batches batches;
  batches.seed_ = seed;
  for (const std::uint32_t length : lengths) batches.groups_.push_back({length, {}});
  const bool begins = is_marker(texts, true), ends = is_marker(texts, false);
  const std::size_t around = std::size_t{begins} + std::size_t{ends};
  for (const std::vector<TokenId>& text : texts) {
    std::span<const TokenId> left(text);
    if (begins) left = left.subspan(1);
    if (ends) left = left.first(left.size() - 1);
    while (true) {
      const auto fits = std::find_if(batches.groups_.rbegin(), batches.groups_.rend(), [&](const Group& group) {
        return group.length > around && group.length - around <= left.size();
      });
      if (fits == batches.groups_.rend()) break;
      const std::span<const TokenId> piece = left.first(fits->length - around);
      if (begins) fits->ids.push_back(text.front());
      fits->ids.insert(fits->ids.end(), piece.begin(), piece.end());
      if (ends) fits->ids.push_back(text.back());
      left = left.subspan(piece.size());
    }
  }
  batches.shard_tokens_ = shard_tokens;
  for (const Group& group : batches.groups_)
    batches.shards_per_pass_ += group.sequences() / batches.sequences_per_shard(group);
  if (batches.shards_per_pass_ == 0)
    return fail(Error("tune.little-text", Failure::bad_input,
                      fmt::format("the text has not even {} tokens in sequences of one length", shard_tokens))
                    .with_hint("give more text (one sentence or paragraph per line for an encoder), smaller batches or "
                               "shorter sequences"));
  return batches;
}

std::size_t Batches::sequences_per_shard(const Group& group) const {
  return std::max<std::size_t>(1, shard_tokens_ / group.length);
}

std::uint64_t Batches::tokens() const {
  return std::accumulate(groups_.begin(), groups_.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Group& group) { return sum + group.ids.size(); });
}

void Batches::arrange(std::uint64_t pass) {
  const std::uint64_t streams = groups_.size() + 1;
  order_.clear();
  std::vector<Place> places;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const std::size_t at_once = sequences_per_shard(groups_[g]);
    order_.push_back(shuffled(groups_[g].sequences(), seed_, pass * streams + g + 1));
    for (std::size_t first = 0; first + at_once <= groups_[g].sequences(); first += at_once)
      places.push_back({static_cast<std::uint32_t>(g), static_cast<std::uint32_t>(first)});
  }
  places_.clear();
  for (const std::uint32_t n : shuffled(places.size(), seed_, pass * streams)) places_.push_back(places[n]);
  pass_ = pass;
}

Batches::Part Batches::shard(std::uint64_t number) {
  const std::uint64_t pass = number / shards_per_pass_;
  if (pass != pass_) arrange(pass);
  const Place place = places_[number % shards_per_pass_];
  const Group& group = groups_[place.group];
  Part part{group.length, {}};
  for (std::size_t n = 0; n < sequences_per_shard(group); ++n) {
    const std::size_t sequence = order_[place.group][place.first + n];
    const auto first = group.ids.begin() + static_cast<std::ptrdiff_t>(sequence * group.length);
    part.ids.insert(part.ids.end(), first, first + static_cast<std::ptrdiff_t>(group.length));
  }
  return part;
}

}  // namespace danaus::tune
