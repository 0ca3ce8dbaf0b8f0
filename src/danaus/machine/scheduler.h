#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/core/error.h"
#include "danaus/machine/link_queues.h"
#include "danaus/machine/plan.h"
#include "danaus/machine/pool.h"
#include "danaus/machine/timing.h"

namespace danaus::machine {

/// A ready or running instance. `Path`: how it was released, for the critical path.
template <typename Path>
struct Live {
  Path path{};  ///< until it was released; its own time included once its own work is done
  Picoseconds ready = 0, start = 0;
  std::uint32_t step = kNone;  ///< of Outline::later_steps, once the first one has ended
};

/// The rules of README.md on an event queue: when instances that are ready run. Who is ready when is the business of
/// `Machine`, which derives from this and has:
///
///   Live<Path>& live(ordinal)                       of a ready or running instance
///   std::uint32_t handle(ordinal)                   names its live entry until the end of this instant
///   const Path& path(handle)
///   std::uint32_t resource_of, next_step (ordinal)  of the step that it is at
///   Picoseconds duration_of(ordinal)
///   Path extended(path, ordinal)                    the path and the time of the step
///   bool may_commit(ordinal)                        all steps are done; false: it waits for others to commit
///   void complete(ordinal)                          releases its successors by make_ready
///   bool may_open(), Result<void> open_iteration()
///   void end_instant()
///
/// At one instant: completions and released resources, then commands of zero length and newly opened iterations to a
/// fixed point, then the rest.
template <typename Machine, typename Path>
class Scheduler {
 protected:
  Scheduler(const Outline& outline, const Plan& plan) : plan_(plan), resources_(plan.capacity.size()) {
    if (outline.link_contention) messages_ = std::make_unique<LinkQueues>(outline);
  }

  Result<void> execute() {
    while (true) {
      DANAUS_CHECK(settle());
      start_waiting();
      machine().end_instant();
      if (events_.empty()) return {};
      now_ = events_.top().time;
      if (now_ >= chip::kLongestTime) return fail(takes_too_long());
      while (!events_.empty() && events_.top().time == now_) {
        const std::uint32_t ordinal = events_.top().ordinal;
        events_.pop();
        const std::uint32_t resource = machine().resource_of(ordinal);  // before its next step
        work_done(ordinal);
        release_resource(resource, ordinal);
      }
    }
  }

  /// All that it waits for has completed.
  void make_ready(std::uint32_t ordinal, const Path& path) {
    machine().live(ordinal) = {path, now_, now_, kNone};
    queue(ordinal);
  }

  /// Its own work is done and nothing that it must wait for to commit is left.
  void commit(std::uint32_t ordinal) { completing_.push_back(ordinal); }

  Picoseconds now() const { return now_; }
  Picoseconds busy(std::uint32_t resource) const { return resources_[resource].busy; }

 private:
  // The work of an instance is done.
  struct QueuedEvent {
    Picoseconds time = 0;
    std::uint32_t ordinal = 0;
    auto operator<=>(const QueuedEvent&) const = default;
  };
  struct ResourceState {
    std::uint32_t running = 0;
    std::uint32_t waiting = kNone;      // heap of keys in the pool of heaps
    std::uint32_t released_by = kNone;  // handle of the command that released it; meaningful at that instant
    Picoseconds busy = 0;
  };

  Machine& machine() { return static_cast<Machine&>(*this); }

  // ---- one instant ----

  // Completions, opened iterations and commands of zero length, to a fixed point.
  Result<void> settle() {
    while (true) {
      if (!completing_.empty()) {
        const std::uint32_t ordinal = completing_.front();
        completing_.pop_front();
        machine().complete(ordinal);
      } else if (machine().may_open()) {
        DANAUS_CHECK(machine().open_iteration());
      } else if (!zero_length_.empty()) {
        const std::uint32_t ordinal = zero_length_.top();
        zero_length_.pop();
        run_zero_length(ordinal);
      } else {
        return {};
      }
    }
  }

  void start_waiting() {
    for (const std::uint32_t number : touched_) {
      ResourceState& resource = resources_[number];
      while (resource.waiting != kNone && resource.running < plan_.capacity[number])
        start(pop_waiting(resource), number);
    }
    touched_.clear();
    if (messages_) start_messages();
  }

  void start_messages() {
    while (const std::optional<LinkQueues::Grant> grant = messages_->grant()) {
      inherit_release(grant->ordinal, grant->released_by);
      occupy(grant->ordinal, grant->way);
    }
  }

  // Its resource, or the queue for it.
  void queue(std::uint32_t ordinal) {
    const std::uint32_t resource = machine().resource_of(ordinal);
    if (machine().duration_of(ordinal) == 0 && resources_[resource].running < plan_.capacity[resource]) {
      zero_length_.push(ordinal);
    } else if (messages_ && messages_->is_way(resource)) {
      messages_->arrive(ordinal, resource);
    } else {
      push_waiting(resource, ordinal);
    }
  }

  void run_zero_length(std::uint32_t ordinal) {
    inherit_release(ordinal, resources_[machine().resource_of(ordinal)].released_by);
    begin(ordinal);
    work_done(ordinal);
  }

  void begin(std::uint32_t ordinal) {
    Live<Path>& live = machine().live(ordinal);
    if (live.step == kNone) live.start = now_;
  }

  void start(std::uint32_t ordinal, std::uint32_t number) {
    inherit_release(ordinal, resources_[number].released_by);
    occupy(ordinal, number);
  }

  void occupy(std::uint32_t ordinal, std::uint32_t number) {
    begin(ordinal);
    const Picoseconds duration = machine().duration_of(ordinal);
    ResourceState& resource = resources_[number];
    ++resource.running;
    resource.busy += duration;
    events_.push({now_ + duration, ordinal});
  }

  // A step of the instance's own work is done. After the last one it completes, unless it must wait to commit.
  void work_done(std::uint32_t ordinal) {
    Live<Path>& live = machine().live(ordinal);
    live.path = machine().extended(live.path, ordinal);
    if (const std::uint32_t next = machine().next_step(ordinal); next != kNone) {
      live.step = next;
      live.ready = now_;
      queue(ordinal);
      return;
    }
    if (machine().may_commit(ordinal)) commit(ordinal);
  }

  // ---- resources ----

  void release_resource(std::uint32_t number, std::uint32_t ordinal) {
    ResourceState& resource = resources_[number];
    --resource.running;
    resource.released_by = machine().handle(ordinal);
    if (messages_ && messages_->is_way(number)) return messages_->release(number, resource.released_by);
    touched_.push_back(number);
    while (resource.waiting != kNone && is_zero_length(heaps_[resource.waiting].front()))
      zero_length_.push(pop_waiting(resource));
  }

  // A command that waited for its resource was released last by the command that freed it just now.
  void inherit_release(std::uint32_t ordinal, std::uint32_t released_by) {
    Live<Path>& live = machine().live(ordinal);
    if (live.ready == now_) return;
    live.path = machine().path(released_by);
  }

  // Waiting commands of a resource: those of zero length first, then by age.
  static std::uint64_t waiting_key(std::uint32_t ordinal, bool zero_length) {
    return (zero_length ? 0 : std::uint64_t{1} << 32) | ordinal;
  }
  static bool is_zero_length(std::uint64_t key) { return key >> 32 == 0; }

  void push_waiting(std::uint32_t number, std::uint32_t ordinal) {
    ResourceState& resource = resources_[number];
    if (resource.waiting == kNone) resource.waiting = heaps_.take();
    std::vector<std::uint64_t>& heap = heaps_[resource.waiting];
    heap.push_back(waiting_key(ordinal, machine().duration_of(ordinal) == 0));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
    touched_.push_back(number);
  }

  std::uint32_t pop_waiting(ResourceState& resource) {
    std::vector<std::uint64_t>& heap = heaps_[resource.waiting];
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const std::uint32_t ordinal = static_cast<std::uint32_t>(heap.back());
    heap.pop_back();
    if (heap.empty()) {
      heaps_.give_back(resource.waiting);
      resource.waiting = kNone;
    }
    return ordinal;
  }

  const Plan& plan_;
  std::vector<ResourceState> resources_;
  std::unique_ptr<LinkQueues> messages_;  // with link contention
  Pool<std::vector<std::uint64_t>> heaps_;

  // This instant.
  Picoseconds now_ = 0;
  std::priority_queue<QueuedEvent, std::vector<QueuedEvent>, std::greater<>> events_;
  std::deque<std::uint32_t> completing_;
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> zero_length_;
  std::vector<std::uint32_t> touched_;  // resources that may have work to start
};

}  // namespace danaus::machine
