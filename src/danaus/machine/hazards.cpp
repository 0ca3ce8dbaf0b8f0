// Dependences by last writer and readers since then, on runs of elements. Predecessors that have completed are dropped
// when they are met, so histories stay as short as the window of instances.

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
    for (std::size_t run = begin; run < end; ++run) {
      add_predecessor(start_after_, page.runs[run].writer);
      add_reader(page.runs[run]);
    }
  });
}

void Hazards::write(std::uint32_t tile, std::uint32_t first, std::uint32_t count, bool accumulate) {
  std::vector<std::uint32_t>& list = accumulate ? end_after_ : start_after_;
  for_each_page(tile, first, count, [&](Page& page, std::size_t begin, std::size_t end) {
    for (std::size_t run = begin; run < end; ++run) {
      add_predecessor(list, page.runs[run].writer);
      take_readers(page.runs[run], [&](std::uint32_t reader) { add_predecessor(list, reader); });
      page.runs[run].writer = current_;
    }
    if (page.firsts.empty()) return;
    const auto erase = [&](auto& items) {  // the range has one history now
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(begin + 1),
                  items.begin() + static_cast<std::ptrdiff_t>(end));
    };
    erase(page.runs);
    erase(page.firsts);
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

void Hazards::forget(std::uint32_t tile) {
  std::uint32_t& first = first_page_of(tile);
  for (std::uint32_t number = first; number != kNone; number = pages_[number].next_of_tile) {
    Page& page = pages_[number];
    for (History& history : page.runs) take_readers(history, [](std::uint32_t) {});
    run_count_ -= page.runs.size();
    page.runs = std::vector<History>();
    page.firsts = std::vector<std::uint16_t>();
  }
  first = kNone;
}

// Calls action(page, begin, end) for each page of a range, cut so that runs [begin, end) are exactly the range.
template <typename Action>
void Hazards::for_each_page(std::uint32_t tile, std::uint32_t first, std::uint32_t count, Action action) {
  while (count > 0) {
    const std::uint32_t begin = first % kPage;
    const std::uint32_t here = std::min(count, kPage - begin);
    Page& target = page(tile, first / kPage);
    if (!target.firsts.empty()) make_room(target);
    if (target.firsts.empty()) {
      action(target, begin, begin + here);
    } else {
      const std::size_t begin_run = cut(target, begin);
      action(target, begin_run, begin + here == kPage ? target.runs.size() : cut(target, begin + here));
    }
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
      std::uint32_t& first = first_page_of(tile);
      pages_.push_back({std::vector<History>(1), {0}, first});
      first = last_page_;
      ++run_count_;
    }
  }
  return pages_[last_page_];
}

std::uint32_t& Hazards::first_page_of(std::uint32_t tile) {
  const std::uint32_t number = tile_numbers_.index_of(tile);
  if (number == first_page_.size()) first_page_.push_back(kNone);
  return first_page_[number];
}

// A range needs at most two more cuts; a page without room for them gets one run per element.
void Hazards::make_room(Page& page) {
  if (page.runs.size() + 2 <= kMostRuns) return;
  std::vector<History> all(kPage);
  for (std::size_t run = 0; run < page.runs.size(); ++run) {
    const std::uint32_t first = page.firsts[run];
    const std::uint32_t end = run + 1 < page.runs.size() ? page.firsts[run + 1] : kPage;
    const History& history = page.runs[run];
    std::fill(all.begin() + first, all.begin() + end, history);
    if (history.readers == kNone || history.readers < kList) continue;
    for (std::uint32_t element = first + 1; element < end; ++element)
      all[element].readers = copy_readers(history.readers);
  }
  run_count_ += kPage - page.runs.size();
  page.runs = std::move(all);
  page.firsts = std::vector<std::uint16_t>();
}

// The run that begins at the element, made by cutting the one that holds it if need be.
std::size_t Hazards::cut(Page& page, std::uint32_t element) {
  const auto after = std::upper_bound(page.firsts.begin(), page.firsts.end(), element);
  const std::ptrdiff_t number = after - page.firsts.begin() - 1;
  if (page.firsts[static_cast<std::size_t>(number)] == element) return static_cast<std::size_t>(number);
  const History& whole = page.runs[static_cast<std::size_t>(number)];
  const History second{whole.writer, copy_readers(whole.readers)};
  page.firsts.insert(after, static_cast<std::uint16_t>(element));
  page.runs.insert(page.runs.begin() + number + 1, second);
  ++run_count_;
  return static_cast<std::size_t>(number + 1);
}

void Hazards::add_predecessor(std::vector<std::uint32_t>& list, std::uint32_t ordinal) {
  if (ordinal == kNone || ordinal == current_) return;
  // Neighbours mostly share their history: a look at the last few keeps the list short, end() removes the rest.
  const std::size_t checked = std::min<std::size_t>(4, list.size());
  for (std::size_t back = 1; back <= checked; ++back) {
    if (list[list.size() - back] == ordinal) return;
  }
  if (!instances_.is_completed(ordinal)) list.push_back(ordinal);
}

void Hazards::add_reader(History& history) {
  if (history.readers == kNone || history.readers == current_) {
    history.readers = current_;
    return;
  }
  if (history.readers < kList) {
    if (instances_.is_completed(history.readers)) {
      history.readers = current_;
      return;
    }
    const std::uint32_t only = readers_.take();
    readers_[only] = {history.readers, only};
    history.readers = kList + only;
  }
  const std::uint32_t last = history.readers - kList;
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
  history.readers = kList + node;
}

// Empties the list of readers and calls action(ordinal) for each of them.
template <typename Action>
void Hazards::take_readers(History& history, Action action) {
  if (history.readers == kNone) return;
  if (history.readers < kList) {
    action(history.readers);
  } else {
    const std::uint32_t last = history.readers - kList;
    std::uint32_t node = readers_[last].next;
    while (true) {
      const Reader reader = readers_[node];
      action(reader.ordinal);
      readers_.give_back(node);
      if (node == last) break;
      node = reader.next;
    }
  }
  history.readers = kNone;
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
