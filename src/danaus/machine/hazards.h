#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/machine/index_map.h"
#include "danaus/machine/instances.h"
#include "danaus/machine/pool.h"

namespace danaus::machine {

/// Who touched each buffer element last: finds the RAW, WAR and WAW predecessors of an instance.
///
/// A buffer is pages of 1024 elements; a page is a sorted list of runs of elements with the same history. Contiguous
/// operands, the common case of large programs, stay a few runs; a page that falls into many runs is laid out one run
/// per element, so that strided operands need no search. Pages exist when touched.
class Hazards {
 public:
  explicit Hazards(const InstanceTable& instances) : instances_(instances) {}

  /// Reads and writes of the next instance: reads first, then writes.
  void begin(std::uint32_t ordinal);
  void read(std::uint32_t tile, std::uint32_t first, std::uint32_t count);
  /// `accumulate`: earlier readers and writers must complete before the instance ends, not before it starts.
  void write(std::uint32_t tile, std::uint32_t first, std::uint32_t count, bool accumulate);
  /// The instance also waits for this one (a KV entry).
  void after(std::uint32_t ordinal) { add_predecessor(start_after_, ordinal); }
  /// Sorts the predecessors: each once, none in both lists.
  void end();

  const std::vector<std::uint32_t>& start_after() const { return start_after_; }
  const std::vector<std::uint32_t>& end_after() const { return end_after_; }
  /// Nothing will touch this tile's buffer any more.
  void forget(std::uint32_t tile);
  /// Runs and readers on record, for a limit on memory.
  std::size_t size() const { return run_count_ + readers_.in_use(); }

 private:
  /// Of the elements of a run. `readers` is kNone, an ordinal, or kList + the last node of a circular list, oldest
  /// first.
  struct History {
    std::uint32_t writer = kNone;
    std::uint32_t readers = kNone;
  };
  /// Run n holds the elements from firsts[n] up to firsts[n + 1]. A page with one run per element needs no firsts.
  struct Page {
    std::vector<History> runs;
    std::vector<std::uint16_t> firsts;
    std::uint32_t next_of_tile = kNone;
  };
  struct Reader {
    std::uint32_t ordinal = 0;
    std::uint32_t next = 0;
  };
  static constexpr std::uint32_t kPage = 1024;      // elements
  static constexpr std::size_t kMostRuns = 64;      // then a page gets one run per element
  static constexpr std::uint32_t kList = 1u << 31;  // ordinals stay below

  template <typename Action>
  void for_each_page(std::uint32_t tile, std::uint32_t first, std::uint32_t count, Action action);
  Page& page(std::uint32_t tile, std::uint32_t number);
  std::uint32_t& first_page_of(std::uint32_t tile);
  void make_room(Page& page);
  std::size_t cut(Page& page, std::uint32_t element);
  void add_predecessor(std::vector<std::uint32_t>& list, std::uint32_t ordinal);
  void add_reader(History& history);
  template <typename Action>
  void take_readers(History& history, Action action);
  std::uint32_t copy_readers(std::uint32_t readers);

  const InstanceTable& instances_;
  std::uint32_t current_ = 0;
  std::vector<std::uint32_t> start_after_, end_after_;
  IndexMap page_numbers_;
  std::vector<Page> pages_;
  IndexMap tile_numbers_;
  std::vector<std::uint32_t> first_page_;  // by tile number: the list of its pages
  std::uint64_t last_key_ = ~std::uint64_t{0};
  std::uint32_t last_page_ = 0;
  Pool<Reader> readers_;
  std::size_t run_count_ = 0;
};

}  // namespace danaus::machine
