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
  /// Of a step on pooled converters: columns that have none yet, and that have one now.
  std::uint32_t columns_left = 0, converting = 0;
  Picoseconds step_start = 0, step_end = 0;  ///< of its work
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
  Scheduler(const Outline& outline, const Plan& plan)
      : plan_(plan), later_steps_(outline.later_steps), resources_(plan.capacity.size()) {
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
        const QueuedEvent event = events_.top();
        events_.pop();
        const std::uint32_t resource = machine().resource_of(event.ordinal);  // before its next step
        if (event.conversions != kNone) {
          end_conversions(event.conversions, resource);
          continue;
        }
        const bool is_held = is_held_by_next(event.ordinal);
        work_done(event.ordinal);
        if (!is_held) release_resource(resource, event.ordinal);
      }
    }
  }

  /// All that it waits for has completed.
  void make_ready(std::uint32_t ordinal, const Path& path) {
    machine().live(ordinal) = {.path = path, .ready = now_, .start = now_, .step_start = now_};
    queue(ordinal);
  }

  /// Its own work is done and nothing that it must wait for to commit is left.
  void commit(std::uint32_t ordinal) { completing_.push_back(ordinal); }

  Picoseconds now() const { return now_; }
  Picoseconds busy(std::uint32_t resource) const { return resources_[resource].busy; }

 private:
  // The work of an instance is done, or some conversions of it.
  struct QueuedEvent {
    Picoseconds time = 0;
    std::uint32_t ordinal = 0;
    std::uint32_t conversions = kNone;  // in the pool of conversions
    auto operator<=>(const QueuedEvent&) const = default;
  };
  // Columns of an instance that are converted at the same time.
  struct Conversions {
    std::uint32_t ordinal = 0;
    std::uint32_t columns = 0;
    Path path{};  // until they began
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
      while (resource.waiting != kNone && resource.running < plan_.capacity[number]) {
        const std::uint32_t oldest = static_cast<std::uint32_t>(heaps_[resource.waiting].front());
        if (columns_of(oldest) != 0) {
          convert(oldest, number);
        } else {
          start(pop_waiting(resource), number);
        }
      }
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
    if (takes_no_time(ordinal) && resources_[resource].running < plan_.capacity[resource]) {
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
    live.step_start = now_;
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

  // All free converters of a pool, as far as the activation has columns for them.
  void convert(std::uint32_t ordinal, std::uint32_t number) {
    Live<Path>& live = machine().live(ordinal);
    ResourceState& resource = resources_[number];
    if (live.converting == 0 && live.columns_left == columns_of(ordinal)) begin(ordinal);
    const std::uint32_t columns = std::min(plan_.capacity[number] - resource.running, live.columns_left);
    live.columns_left -= columns;
    live.converting += columns;
    if (live.columns_left == 0) pop_waiting(resource);
    const Picoseconds duration = machine().duration_of(ordinal);
    resource.running += columns;
    resource.busy += static_cast<Picoseconds>(columns) * duration;
    const std::uint32_t conversions = conversions_.take();
    conversions_[conversions] = {ordinal, columns,
                                 live.ready == now_ ? live.path : machine().path(resource.released_by)};
    events_.push({now_ + duration, ordinal, conversions});
  }

  void end_conversions(std::uint32_t number, std::uint32_t resource) {
    const Conversions ended = conversions_[number];
    conversions_.give_back(number);
    Live<Path>& live = machine().live(ended.ordinal);
    live.converting -= ended.columns;
    live.path = ended.path;
    if (live.columns_left == 0 && live.converting == 0) {
      work_done(ended.ordinal);
    } else {
      live.path = machine().extended(live.path, ended.ordinal);  // for what its converters take now
    }
    release_resource(resource, ended.ordinal, ended.columns);
  }

  // A step of the instance's own work is done. After the last one it completes, unless it must wait to commit.
  void work_done(std::uint32_t ordinal) {
    Live<Path>& live = machine().live(ordinal);
    live.path = machine().extended(live.path, ordinal);
    live.step_end = now_;
    if (const Step* step = later_step(ordinal); step != nullptr && step->holds != kNone) {
      const std::uint32_t held = plan_.shared[step->holds];
      resources_[held].busy += now_ - live.ready;  // since the step before ended
      release_resource(held, ordinal);
    }
    if (const std::uint32_t next = machine().next_step(ordinal); next != kNone) {
      live.step = next;
      live.ready = now_;
      live.columns_left = later_steps_[next].columns;
      queue(ordinal);
      return;
    }
    if (machine().may_commit(ordinal)) commit(ordinal);
  }

  // ---- resources ----

  const Step* later_step(std::uint32_t ordinal) {
    const std::uint32_t step = machine().live(ordinal).step;
    return step == kNone ? nullptr : &later_steps_[step];
  }
  std::uint32_t columns_of(std::uint32_t ordinal) {
    const Step* step = later_step(ordinal);
    return step == nullptr ? 0 : step->columns;
  }
  bool is_held_by_next(std::uint32_t ordinal) {
    const std::uint32_t next = machine().next_step(ordinal);
    return next != kNone && later_steps_[next].holds != kNone;
  }
  // What is held for the next step has to be taken first.
  bool takes_no_time(std::uint32_t ordinal) { return machine().duration_of(ordinal) == 0 && !is_held_by_next(ordinal); }

  void release_resource(std::uint32_t number, std::uint32_t ordinal, std::uint32_t units = 1) {
    ResourceState& resource = resources_[number];
    resource.running -= units;
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
    heap.push_back(waiting_key(ordinal, takes_no_time(ordinal)));
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
  const std::vector<Step>& later_steps_;
  std::vector<ResourceState> resources_;
  Pool<Conversions> conversions_;
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
