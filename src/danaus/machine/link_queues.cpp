// A message that finds a link of its way taken waits at that link alone: as long as it is not free, the message need
// not be looked at. When a link is released, the messages that wait there are tried in the order of age until one takes
// it; one that finds another link taken moves there. Candidates of all links that are free are merged by age, so that
// the order is that of trying every waiting message, oldest first.

#include "danaus/machine/link_queues.h"

#include <algorithm>
#include <bit>

namespace danaus::machine {
namespace {

constexpr std::uint32_t kBits = 64;

/// Calls do_word(word, mask of the links in it) until it returns true.
template <typename DoWord>
void for_words(const LinkRange& range, DoWord do_word) {
  const std::uint32_t end = range.first + range.count;
  for (std::uint32_t first = range.first; first < end;) {
    const std::uint32_t offset = first % kBits, count = std::min(kBits - offset, end - first);
    if (do_word(first / kBits, ~std::uint64_t{0} >> (kBits - count) << offset)) return;
    first += count;
  }
}

std::uint64_t waiting_key(std::uint32_t ordinal, std::uint32_t way) { return std::uint64_t{ordinal} << 32 | way; }

}  // namespace

LinkQueues::LinkQueues(const Outline& outline)
    : outline_(outline),
      links_(outline.mesh_links),
      taken_((outline.mesh_links + kBits - 1) / kBits),
      awaited_(taken_.size()) {}

std::span<const LinkRange> LinkQueues::ranges(std::uint32_t way) const {
  const Resource& resource = outline_.resources[way];
  return {outline_.ranges.data() + resource.first_range, resource.ranges};
}

std::uint32_t LinkQueues::first_taken(std::uint32_t way) const {
  for (const LinkRange& range : ranges(way)) {
    std::uint32_t found = kNone;
    for_words(range, [&](std::uint32_t word, std::uint64_t mask) {
      const std::uint64_t taken = taken_[word] & mask;
      if (taken != 0) found = word * kBits + static_cast<std::uint32_t>(std::countr_zero(taken));
      return taken != 0;
    });
    if (found != kNone) return found;
  }
  return kNone;
}

void LinkQueues::take(std::uint32_t way) {
  for (const LinkRange& range : ranges(way)) {
    for_words(range, [&](std::uint32_t word, std::uint64_t mask) {
      taken_[word] |= mask;
      return false;
    });
  }
}

void LinkQueues::release(std::uint32_t way, std::uint32_t handle) {
  for (const LinkRange& range : ranges(way)) {
    for_words(range, [&](std::uint32_t word, std::uint64_t mask) {
      taken_[word] &= ~mask;
      for (std::uint64_t awaited = awaited_[word] & mask; awaited != 0; awaited &= awaited - 1) {
        const std::uint32_t link = word * kBits + static_cast<std::uint32_t>(std::countr_zero(awaited));
        links_[link].released_by = handle;
        consider(link);
      }
      return false;
    });
  }
}

std::optional<LinkQueues::Grant> LinkQueues::grant() {
  while (!candidates_.empty()) {
    const Candidate candidate = candidates_.top();
    candidates_.pop();
    const std::uint32_t link = candidate.link;
    if (link != kNone) {
      if (is_taken(link)) continue;  // by an older one: the next release
      stop_waiting(link);
    }
    const std::uint32_t taken = first_taken(candidate.way);
    if (taken == kNone) {
      take(candidate.way);
      return Grant{candidate.ordinal, candidate.way, link == kNone ? kNone : links_[link].released_by};
    }
    wait(candidate, taken);
    if (link != kNone) consider(link);
  }
  return std::nullopt;
}

void LinkQueues::wait(const Candidate& candidate, std::uint32_t link) {
  if (links_[link].waiting == kNone) {
    links_[link].waiting = heaps_.take();
    awaited_[link / kBits] |= std::uint64_t{1} << (link % kBits);
  }
  std::vector<std::uint64_t>& heap = heaps_[links_[link].waiting];
  heap.push_back(waiting_key(candidate.ordinal, candidate.way));
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
}

// The oldest.
void LinkQueues::stop_waiting(std::uint32_t link) {
  std::vector<std::uint64_t>& heap = heaps_[links_[link].waiting];
  std::pop_heap(heap.begin(), heap.end(), std::greater<>());
  heap.pop_back();
  if (!heap.empty()) return;
  heaps_.give_back(links_[link].waiting);
  links_[link].waiting = kNone;
  awaited_[link / kBits] &= ~(std::uint64_t{1} << (link % kBits));
}

void LinkQueues::consider(std::uint32_t link) {
  if (links_[link].waiting == kNone) return;
  const std::uint64_t oldest = heaps_[links_[link].waiting].front();
  candidates_.push({static_cast<std::uint32_t>(oldest >> 32), static_cast<std::uint32_t>(oldest), link});
}

}  // namespace danaus::machine
