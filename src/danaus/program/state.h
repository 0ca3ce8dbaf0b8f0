#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "danaus/core/ids.h"
#include "danaus/core/internal_error.h"

/// The buffers of all tiles while a program is executed.
namespace danaus::program {

/// A table by tile (or any other dense number) of which only the touched parts exist.
template <typename T>
class SparseTable {
 public:
  T& at(std::uint32_t number) {
    const std::size_t part = number / kPart;
    if (part >= parts_.size()) parts_.resize(part + 1);
    if (!parts_[part]) parts_[part] = std::make_unique<T[]>(kPart);
    return parts_[part][number % kPart];
  }
  const T* find(std::uint32_t number) const {
    const std::size_t part = number / kPart;
    return part < parts_.size() && parts_[part] ? &parts_[part][number % kPart] : nullptr;
  }
  /// visit(number, value), ascending, over all parts that exist.
  template <typename Visit>
  void for_each(const Visit& visit) {
    for (std::size_t part = 0; part < parts_.size(); ++part) {
      for (std::uint32_t n = 0; parts_[part] && n < kPart; ++n)
        visit(static_cast<std::uint32_t>(part * kPart + n), parts_[part][n]);
    }
  }

 private:
  static constexpr std::uint32_t kPart = 64;
  std::vector<std::unique_ptr<T[]>> parts_;
};

/// 256 flags.
class Flags {
 public:
  bool test(std::uint32_t n) const { return (words_[n / 64] >> (n % 64) & 1) != 0; }
  void set_range(std::uint32_t first, std::uint32_t length) {
    for_words(first, length, [&](std::size_t word, std::uint64_t mask) { words_[word] |= mask; });
  }
  bool all(std::uint32_t first, std::uint32_t length) const {
    bool result = true;
    for_words(first, length,
              [&](std::size_t word, std::uint64_t mask) { result = result && (words_[word] & mask) == mask; });
    return result;
  }

 private:
  template <typename Visit>
  static void for_words(std::uint32_t first, std::uint32_t length, const Visit& visit) {
    const std::uint32_t end = first + length;
    while (first < end) {
      const std::uint32_t bit = first % 64;
      const std::uint32_t count = std::min(64 - bit, end - first);
      visit(first / 64, (~std::uint64_t{0} >> (64 - count)) << bit);
      first += count;
    }
  }

  std::uint64_t words_[4] = {};
};

/// What goes wrong with the memory; the interpreter turns it into errors.
class MemoryEvents {
 public:
  virtual ~MemoryEvents() = default;
  virtual void undefined(TileId tile, std::uint32_t address) = 0;
  /// Written, and now overwritten or gone without having been read.
  virtual void dead(TileId tile, std::uint32_t address) = 0;
};

/// One buffer of elements per tile, lazily allocated, with two flags for every element: defined and read.
///
/// An element that exists is in one of two places. Extents hold up to 256 neighbouring elements of one write; their
/// values are immutable and shared, so a multicast costs one extent per member and no copies. Pages hold single
/// elements and short or strided writes, 64 addresses each. An extent is never split: when a part of it is overwritten,
/// the whole of it goes to pages.
template <typename Scalar>
class Memory {
  struct Block;

 public:
  /// The values of an extent: immutable once shared, counted references.
  class Values {
   public:
    Values() = default;
    Values(Memory& memory, std::uint32_t length) : block_(memory.allocate(length)) {}
    Values(const Values& other) : block_(other.block_) {
      if (block_) ++block_->references;
    }
    Values(Values&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    Values& operator=(Values other) noexcept {
      std::swap(block_, other.block_);
      return *this;
    }
    ~Values() {
      if (block_ && --block_->references == 0) block_->memory->free(block_);
    }
    Scalar* data() { return reinterpret_cast<Scalar*>(block_ + 1); }

   private:
    Block* block_ = nullptr;
  };

  /// A piece of a copied range.
  struct Part {
    Values values;
    const Scalar* data = nullptr;
    std::uint32_t length = 0;
  };

  static constexpr std::uint32_t kLeastExtent = 32;  ///< shorter writes go to pages

  explicit Memory(MemoryEvents& events) : events_(events) {}
  ~Memory() {
    tiles_ = {};
    for (Block* block : free_blocks_) ::operator delete(block);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Bytes in use, for limits.
  std::uint64_t bytes() const { return bytes_; }

  /// Reads `length` neighbours: a pointer into the memory (good until the next write) or to `scratch`, which has room
  /// for them.
  const Scalar* read(TileId tile, std::uint32_t first, std::uint32_t length, Scalar* scratch) {
    Tile& buffer = tiles_.at(index(tile));
    if (Extent* extent = extent_at(buffer, first); extent && extent->end() >= first + length) {
      extent->is_read.set_range(first - extent->first, length);
      return extent->data + (first - extent->first);
    }
    for_pieces(tile, buffer, first, length,
               [&](const Scalar* data, const Values*, std::uint32_t offset, std::uint32_t count) {
                 std::copy_n(data, count, scratch + offset);
               });
    return scratch;
  }

  Scalar read_one(TileId tile, std::uint32_t address) {
    Scalar value{};
    return *read(tile, address, 1, &value);
  }

  /// Writes `length` neighbours.
  void write(TileId tile, std::uint32_t first, const Scalar* values, std::uint32_t length) {
    Tile& buffer = tiles_.at(index(tile));
    if (length < kLeastExtent) {
      for (std::uint32_t n = 0; n < length; ++n) write_page(tile, buffer, first + n, values[n]);
      return;
    }
    clear(tile, buffer, first, length);
    std::size_t position = insert_extents(buffer, first, (length + kExtent - 1) / kExtent);
    for (std::uint32_t done = 0; done < length; ++position) {
      const std::uint32_t count = std::min(kExtent, length - done);
      Values shared(*this, count);
      std::copy_n(values + done, count, shared.data());
      buffer.extents[position].set(first + done, {shared, shared.data(), count});
      done += count;
    }
  }

  void write_one(TileId tile, std::uint32_t address, Scalar value) {
    write_page(tile, tiles_.at(index(tile)), address, value);
  }

  /// Reads neighbours as pieces that can be put elsewhere without copying.
  void collect(TileId tile, std::uint32_t first, std::uint32_t length, std::vector<Part>& parts) {
    Tile& buffer = tiles_.at(index(tile));
    for_pieces(tile, buffer, first, length,
               [&](const Scalar* data, const Values* values, std::uint32_t, std::uint32_t count) {
                 if (values) {
                   parts.push_back({*values, data, count});
                   return;
                 }
                 Values copy(*this, count);
                 std::copy_n(data, count, copy.data());
                 parts.push_back({copy, copy.data(), count});
               });
  }

  /// Writes pieces one after the other from `first` on.
  void put(TileId tile, std::uint32_t first, std::span<const Part> parts) {
    Tile& buffer = tiles_.at(index(tile));
    std::uint32_t address = first;
    for (std::size_t begin = 0; begin < parts.size();) {
      // Neighbouring long parts become extents together, short ones go to pages.
      if (parts[begin].length < kLeastExtent) {
        for (std::uint32_t n = 0; n < parts[begin].length; ++n)
          write_page(tile, buffer, address + n, parts[begin].data[n]);
        address += parts[begin++].length;
        continue;
      }
      std::size_t end = begin;
      std::uint32_t length = 0;
      while (end < parts.size() && parts[end].length >= kLeastExtent) length += parts[end++].length;
      clear(tile, buffer, address, length);
      std::size_t position = insert_extents(buffer, address, end - begin);
      for (; begin < end; ++begin, ++position) {
        buffer.extents[position].set(address, parts[begin]);
        address += parts[begin].length;
      }
    }
  }

  /// Marks elements as read without using them: what is loaded, and what is looked at from outside.
  void mark_read(TileId tile, std::uint32_t first, std::uint32_t length) {
    for_pieces(tile, tiles_.at(index(tile)), first, length,
               [](const Scalar*, const Values*, std::uint32_t, std::uint32_t) {});
  }

  bool any_defined(TileId tile, std::uint32_t first, std::uint32_t length) {
    Tile& buffer = tiles_.at(index(tile));
    const std::size_t after = extent_after(buffer, first);
    if (after > 0 && buffer.extents[after - 1].end() > first) return true;
    if (after < buffer.extents.size() && buffer.extents[after].first < first + length) return true;
    for (std::uint32_t address = first; address < first + length;) {
      const std::uint32_t count = std::min(first + length - address, kPage - address % kPage);
      const Page* page = page_of(buffer, address);
      if (page && (page->defined & mask(address % kPage, count)) != 0) return true;
      address += count;
    }
    return false;
  }

  /// Reports what was never read and forgets the tile's buffer.
  void finish(TileId tile) {
    Tile& buffer = tiles_.at(index(tile));
    for (const Extent& extent : buffer.extents) check_read(tile, extent, extent.first, extent.length);
    buffer.pages.for_each([&](std::uint32_t number, std::unique_ptr<Page>& page) {
      if (!page) return;
      check_read(tile, *page, number * kPage, ~std::uint64_t{0});
      bytes_ -= sizeof(Page);
    });
    bytes_ -= buffer.extents.size() * sizeof(Extent);
    buffer = Tile();
  }

  void finish_all() {
    tiles_.for_each([&](std::uint32_t tile, Tile&) { finish(TileId{tile}); });
  }

 private:
  static constexpr std::uint32_t kExtent = 256;  ///< most elements of an extent
  static constexpr std::uint32_t kPage = 64;     ///< elements of a page
  static constexpr std::size_t kFreeBlocks = 1024;

  struct Block {  // the values follow
    Memory* memory;
    std::uint32_t references;
    std::uint32_t length;
  };
  static_assert(sizeof(Block) % alignof(Scalar) == 0);

  static std::size_t bytes_of(std::uint32_t length) { return sizeof(Block) + length * sizeof(Scalar); }

  Block* allocate(std::uint32_t length) {
    Block* block = nullptr;
    if (length == kExtent && !free_blocks_.empty()) {
      block = free_blocks_.back();
      free_blocks_.pop_back();
    } else {
      block = static_cast<Block*>(::operator new(bytes_of(length)));
    }
    *block = {this, 1, length};
    bytes_ += bytes_of(length);
    return block;
  }

  /// Full blocks are kept for the next write, some of them.
  [[gnu::noinline]] void free(Block* block) {
    bytes_ -= bytes_of(block->length);
    if (block->length == kExtent && free_blocks_.size() < kFreeBlocks)
      free_blocks_.push_back(block);
    else
      ::operator delete(block);
  }

  struct Extent {
    std::uint32_t first = 0;
    std::uint32_t length = 0;
    Values values;
    const Scalar* data = nullptr;
    Flags is_read;

    std::uint32_t end() const { return first + length; }
    void set(std::uint32_t address, const Part& part) {
      first = address;
      length = part.length;
      values = part.values;
      data = part.data;
    }
  };
  struct Page {
    std::uint64_t defined = 0;  ///< a bit for every element
    std::uint64_t is_read = 0;
    Scalar values[kPage] = {};
  };
  struct Tile {
    std::vector<Extent> extents;               ///< ascending, disjoint
    SparseTable<std::unique_ptr<Page>> pages;  ///< by address / 64
  };

  /// The bits of `count` elements of a page.
  static std::uint64_t mask(std::uint32_t first, std::uint32_t count) {
    return ~std::uint64_t{0} >> (kPage - count) << first;
  }

  /// Position of the first extent that begins after `address`.
  static std::size_t extent_after(const Tile& tile, std::uint32_t address) {
    const auto found = std::upper_bound(tile.extents.begin(), tile.extents.end(), address,
                                        [](std::uint32_t value, const Extent& extent) { return value < extent.first; });
    return static_cast<std::size_t>(found - tile.extents.begin());
  }

  static Extent* extent_at(Tile& tile, std::uint32_t address) {
    const std::size_t after = extent_after(tile, address);
    if (after == 0 || tile.extents[after - 1].end() <= address) return nullptr;
    return &tile.extents[after - 1];
  }

  static Page* page_of(const Tile& tile, std::uint32_t address) {
    const std::unique_ptr<Page>* page = tile.pages.find(address / kPage);
    return page ? page->get() : nullptr;
  }

  Page& make_page(Tile& tile, std::uint32_t address) {
    std::unique_ptr<Page>& page = tile.pages.at(address / kPage);
    if (!page) {
      page = std::make_unique<Page>();
      bytes_ += sizeof(Page);
    }
    return *page;
  }

  /// visit(data, values, offset, count) over maximal pieces of a range that lie together; marks them as read. `values`
  /// is null for pieces of pages. Undefined elements are reported once and read as zero.
  template <typename Visit>
  void for_pieces(TileId tile, Tile& buffer, std::uint32_t first, std::uint32_t length, const Visit& visit) {
    const std::uint32_t end = first + length;
    bool reported = false;
    for (std::uint32_t address = first; address < end;) {
      const std::size_t after = extent_after(buffer, address);
      if (after > 0 && buffer.extents[after - 1].end() > address) {
        Extent& extent = buffer.extents[after - 1];
        const std::uint32_t count = std::min(extent.end(), end) - address;
        extent.is_read.set_range(address - extent.first, count);
        visit(extent.data + (address - extent.first), &extent.values, address - first, count);
        address += count;
        continue;
      }
      const std::uint32_t border = after < buffer.extents.size() ? std::min(end, buffer.extents[after].first) : end;
      const std::uint32_t count = std::min(border - address, kPage - address % kPage);
      const std::uint64_t wanted = mask(address % kPage, count);
      Page* page = page_of(buffer, address);
      if (page) page->is_read |= page->defined & wanted;
      if (page && (page->defined & wanted) == wanted) {
        visit(page->values + address % kPage, nullptr, address - first, count);
        address += count;
        continue;
      }
      const bool defined = page && (page->defined & mask(address % kPage, 1)) != 0;
      if (!defined && !std::exchange(reported, true)) events_.undefined(tile, address);
      const Scalar zero{};
      visit(defined ? page->values + address % kPage : &zero, nullptr, address - first, 1);
      ++address;
    }
  }

  void check_read(TileId tile, const Extent& extent, std::uint32_t first, std::uint32_t length) {
    const std::uint32_t offset = first - extent.first;
    if (extent.is_read.all(offset, length)) return;
    for (std::uint32_t n = 0; n < length; ++n) {
      if (!extent.is_read.test(offset + n)) events_.dead(tile, first + n);
    }
  }

  void check_read(TileId tile, const Page& page, std::uint32_t address, std::uint64_t wanted) {
    for (std::uint64_t unread = page.defined & ~page.is_read & wanted; unread != 0; unread &= unread - 1)
      events_.dead(tile, address + static_cast<std::uint32_t>(std::countr_zero(unread)));
  }

  /// Moves an extent to pages.
  void scatter(Tile& buffer, std::size_t position) {
    const Extent extent = std::move(buffer.extents[position]);
    buffer.extents.erase(buffer.extents.begin() + static_cast<std::ptrdiff_t>(position));
    bytes_ -= sizeof(Extent);
    for (std::uint32_t n = 0; n < extent.length; ++n) {
      const std::uint32_t address = extent.first + n;
      Page& page = make_page(buffer, address);
      const std::uint64_t bit = mask(address % kPage, 1);
      page.values[address % kPage] = extent.data[n];
      page.defined |= bit;
      page.is_read = extent.is_read.test(n) ? page.is_read | bit : page.is_read & ~bit;
    }
  }

  void write_page(TileId tile, Tile& buffer, std::uint32_t address, Scalar value) {
    const std::size_t after = extent_after(buffer, address);
    if (after > 0 && buffer.extents[after - 1].end() > address) scatter(buffer, after - 1);
    Page& page = make_page(buffer, address);
    const std::uint64_t bit = mask(address % kPage, 1);
    if ((page.defined & ~page.is_read & bit) != 0) events_.dead(tile, address);
    page.values[address % kPage] = value;
    page.defined |= bit;
    page.is_read &= ~bit;
  }

  /// Makes a range undefined; reports what was not read.
  void clear(TileId tile, Tile& buffer, std::uint32_t first, std::uint32_t length) {
    const std::uint32_t end = first + length;
    std::size_t begin = extent_after(buffer, first);
    if (begin > 0 && buffer.extents[begin - 1].end() > first) --begin;
    std::size_t last = begin;
    while (last < buffer.extents.size() && buffer.extents[last].first < end) {
      const Extent& extent = buffer.extents[last];
      if (extent.first < first || extent.end() > end) {
        scatter(buffer, last);
        continue;
      }
      check_read(tile, extent, extent.first, extent.length);
      ++last;
    }
    bytes_ -= (last - begin) * sizeof(Extent);
    buffer.extents.erase(buffer.extents.begin() + static_cast<std::ptrdiff_t>(begin),
                         buffer.extents.begin() + static_cast<std::ptrdiff_t>(last));
    for (std::uint32_t address = first; address < end;) {
      const std::uint32_t count = std::min(end - address, kPage - address % kPage);
      if (Page* page = page_of(buffer, address)) {
        const std::uint64_t gone = mask(address % kPage, count);
        check_read(tile, *page, address - address % kPage, gone);
        page->defined &= ~gone;
      }
      address += count;
    }
  }

  /// Room for `count` extents in front of the first that begins after `address`; returns its position.
  std::size_t insert_extents(Tile& buffer, std::uint32_t address, std::size_t count) {
    const std::size_t position = extent_after(buffer, address);
    buffer.extents.insert(buffer.extents.begin() + static_cast<std::ptrdiff_t>(position), count, Extent());
    bytes_ += count * sizeof(Extent);
    return position;
  }

  MemoryEvents& events_;
  std::uint64_t bytes_ = 0;
  std::vector<Block*> free_blocks_;
  SparseTable<Tile> tiles_;
};

}  // namespace danaus::program
