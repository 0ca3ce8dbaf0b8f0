// Dependences by last writer and readers since then, on runs of elements. Predecessors that have completed are dropped when they
// are met, so histories stay as short as the window of instances.

#include "danaus/machine/hazards.h"

#include <algorithm>

namespace danaus::machine {

void Hazards::begin(std::uint32_t ordinal) {
  current_ = ordinal;
  start_after_.clear();
  end_after_.clear();
}

void Hazards::read(std::uint32_t tile, std::uint32_t first, std::uint32_t count) {
  for_each_page(tile, first, count, [&](Page& page, std::size_t begin, std::size_t end) {
    for (std::size_t number = begin; number < end; ++number) {
      add_predecessor(start_after_, page[number].writer);
      add_reader(page[number]);
    }
  });
}

void Hazards::write(std::uint32_t tile, std::uint32_t first, std::uint32_t count, bool accumulate) {
  for_each_page(tile, first, count, [&](Page& page, std::size_t begin, std::size_t end) {
    for (std::size_t number = begin; number < end; ++number) {
      add_predecessor(accumulate ? end_after_ : start_after_, page[number].writer);
      release_readers(page[number]);
      page[number].writer = current_;
    }
    if (page.size() == kPage) return;
    page.erase(page.begin() + static_cast<std::ptrdiff_t>(begin + 1), page.begin() + static_cast<std::ptrdiff_t>(end));
    run_count_ -= end - begin - 1;
  });
}

void Hazards::end() {
  const auto make_unique = [](std::vector<std::uint32_t>& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  make_unique(start_after_);
  make_unique(end_after_);
  std::erase_if(end_after_, [&](std::uint32_t ordinal) {
    return std::binary_search(start_after_.begin(), start_after_.end(), ordinal);
  });
}

// Calls action(page, begin, end) for each page of a range, cut so that runs [begin, end) are exactly the range.
template <typename Action>
void Hazards::for_each_page(std::uint32_t tile, std::uint32_t first, std::uint32_t count, Action action) {
  while (count > 0) {
    const std::uint32_t begin = first % kPage;
    const std::uint32_t here = std::min(count, kPage - begin);
    Page& runs = page(tile, first / kPage);
    make_room(runs);
    const std::size_t begin_run = cut(runs, begin);
    const std::size_t end_run = begin + here == kPage ? runs.size() : cut(runs, begin + here);
    action(runs, begin_run, end_run);
    first += here;
    count -= here;
  }
}

Hazards::Page& Hazards::page(std::uint32_t tile, std::uint32_t number) {
  const std::uint64_t key = std::uint64_t{tile} << 32 | number;
  if (key != last_key_) {
    last_key_ = key;
    last_page_ = page_numbers_.index_of(key);
    if (last_page_ == pages_.size()) {
      pages_.emplace_back(1);
      ++run_count_;
    }
  }
  return pages_[last_page_];
}

// A range needs at most two more cuts.
void Hazards::make_room(Page& runs) {
  if (runs.size() + 2 <= kMostRuns || runs.size() == kPage) return;
  Page all(kPage);
  for (std::size_t number = 0; number < runs.size(); ++number) {
    const std::uint32_t end = number + 1 < runs.size() ? runs[number + 1].first : kPage;
    for (std::uint32_t element = runs[number].first; element < end; ++element) {
      const bool original = element == runs[number].first;
      all[element] = {element, runs[number].writer, original ? runs[number].readers : copy_readers(runs[number].readers)};
    }
  }
  run_count_ += kPage - runs.size();
  runs = std::move(all);
}

// The run that begins at the element, made by cutting the one that holds it if need be.
std::size_t Hazards::cut(Page& runs, std::uint32_t element) {
  if (runs.size() == kPage) return element;
  const auto after = std::upper_bound(runs.begin(), runs.end(), element,
                                      [](std::uint32_t value, const Run& run) { return value < run.first; });
  const std::size_t number = static_cast<std::size_t>(after - runs.begin()) - 1;
  if (runs[number].first == element) return number;
  const Run second{element, runs[number].writer, copy_readers(runs[number].readers)};
  runs.insert(after, second);
  ++run_count_;
  return number + 1;
}

void Hazards::add_predecessor(std::vector<std::uint32_t>& list, std::uint32_t ordinal) {
  if (ordinal == kNone || ordinal == current_ || (!list.empty() && list.back() == ordinal)) return;
  if (!instances_.is_completed(ordinal)) list.push_back(ordinal);
}

void Hazards::add_reader(Run& run) {
  if (run.readers == kNone || run.readers == current_) {
    run.readers = current_;
    return;
  }
  if (run.readers < kList) {
    if (instances_.is_completed(run.readers)) {
      run.readers = current_;
      return;
    }
    const std::uint32_t only = readers_.take();
    readers_[only] = {run.readers, only};
    run.readers = kList + only;
  }
  std::uint32_t last = run.readers - kList;
  if (readers_[last].ordinal == current_) return;
  // Forget the oldest ones that have completed.
  std::uint32_t oldest = readers_[last].next;
  while (oldest != last && instances_.is_completed(readers_[oldest].ordinal)) {
    readers_[last].next = readers_[oldest].next;
    readers_.give_back(oldest);
    oldest = readers_[last].next;
  }
  const std::uint32_t node = readers_.take();
  readers_[node] = {current_, readers_[last].next};
  readers_[last].next = node;
  run.readers = kList + node;
}

// The readers become predecessors of the write that ends their history.
void Hazards::release_readers(Run& run) {
  if (run.readers != kNone && run.readers < kList) add_predecessor(start_after_, run.readers);
  if (run.readers != kNone && run.readers >= kList) {
    const std::uint32_t last = run.readers - kList;
    std::uint32_t node = readers_[last].next;
    while (true) {
      const std::uint32_t next = readers_[node].next;
      add_predecessor(start_after_, readers_[node].ordinal);
      readers_.give_back(node);
      if (node == last) break;
      node = next;
    }
  }
  run.readers = kNone;
}

std::uint32_t Hazards::copy_readers(std::uint32_t readers) {
  if (readers == kNone || readers < kList) return readers;
  const std::uint32_t last = readers - kList;
  std::uint32_t copy_last = kNone;
  std::uint32_t node = last;
  do {
    node = readers_[node].next;  // oldest first, `last` at the end
    const std::uint32_t copy = readers_.take();
    readers_[copy] = {readers_[node].ordinal, copy};
    if (copy_last != kNone) {
      readers_[copy].next = readers_[copy_last].next;
      readers_[copy_last].next = copy;
    }
    copy_last = copy;
  } while (node != last);
  return kList + copy_last;
}

}  // namespace danaus::machine
