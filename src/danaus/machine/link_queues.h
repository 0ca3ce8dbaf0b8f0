#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <span>
#include <vector>

#include "danaus/machine/mesh.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/pool.h"

namespace danaus::machine {

/// Messages that wait until all links of their way are free, and those links. A message takes them all at once or none;
/// of those that could, the oldest goes first. Messages are named by their ordinals, ways by their resources.
class LinkQueues {
 public:
  /// For an outline with link contention, which must outlive it.
  explicit LinkQueues(const Outline& outline);

  bool is_way(std::uint32_t resource) const { return outline_.resources[resource].kind == Resource::Kind::way; }

  /// The message is ready at this instant.
  void arrive(std::uint32_t ordinal, std::uint32_t way) { candidates_.push({ordinal, way, kNone}); }
  /// The message that took the way has ended at this instant. `handle` names it until the end of the instant.
  void release(std::uint32_t way, std::uint32_t handle);

  struct Grant {
    std::uint32_t ordinal = 0;
    std::uint32_t way = 0;
    std::uint32_t released_by = kNone;  ///< who freed the link that it waited for; kNone: it arrived at this instant
  };
  /// The oldest message whose links are free has taken them. To be called after all arrivals and releases of an
  /// instant, until there is nothing.
  std::optional<Grant> grant();

 private:
  struct Link {
    std::uint32_t waiting = kNone;      ///< in heaps_: messages that found it taken, as keys
    std::uint32_t released_by = kNone;  ///< meaningful at the instant and if messages wait for it
  };
  /// A message that may be able to start: it has arrived, or is the oldest that waits for a link that is free.
  struct Candidate {
    std::uint32_t ordinal = 0;
    std::uint32_t way = 0;
    std::uint32_t link = kNone;
    auto operator<=>(const Candidate&) const = default;
  };

  std::span<const LinkRange> ranges(std::uint32_t way) const;
  bool is_taken(std::uint32_t link) const { return (taken_[link / 64] >> (link % 64) & 1) != 0; }
  std::uint32_t first_taken(std::uint32_t way) const;
  void take(std::uint32_t way);
  void wait(const Candidate& candidate, std::uint32_t link);
  void stop_waiting(std::uint32_t link);
  void consider(std::uint32_t link);

  const Outline& outline_;
  std::vector<Link> links_;
  std::vector<std::uint64_t> taken_, awaited_;  // bits by link
  Pool<std::vector<std::uint64_t>> heaps_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

}  // namespace danaus::machine
