// The places are sorted by column: the source's row is taken from the first column to the last, and each column from
// that row to its outermost stops.

#include "danaus/machine/mesh.h"

#include <algorithm>
#include <compare>

namespace danaus::machine {

std::vector<LinkRange> Mesh::tree(std::uint32_t source, std::span<const std::uint32_t> stops) const {
  struct Position {
    std::uint32_t x, y;
    auto operator<=>(const Position&) const = default;
  };
  const std::uint32_t x = source % side_, y = source / side_;
  std::vector<Position> places;
  places.reserve(stops.size() + 1);
  places.push_back({x, y});
  for (const std::uint32_t stop : stops) places.push_back({stop % side_, stop / side_});
  std::sort(places.begin(), places.end());

  const std::uint32_t all = side_ * side_;
  const std::uint32_t east = all, west = 2 * all, south = 3 * all, north = 4 * all;
  std::vector<LinkRange> ranges;
  // On a row or column, from one place to another: `up` where the second lies behind the first.
  const auto add = [&](std::uint32_t line, std::uint32_t from, std::uint32_t to, std::uint32_t up, std::uint32_t down) {
    if (to > from) ranges.push_back({up + line * side_ + from, to - from});
    if (to < from) ranges.push_back({down + line * side_ + to + 1, from - to});
  };
  add(y, x, places.back().x, east, west);
  add(y, x, places.front().x, east, west);
  for (std::size_t first = 0, last = 0; first < places.size(); first = last) {
    const std::uint32_t column = places[first].x;
    while (last < places.size() && places[last].x == column) ++last;
    add(column, y, std::max(y, places[last - 1].y), south, north);
    add(column, y, std::min(y, places[first].y), south, north);
  }
  return ranges;
}

}  // namespace danaus::machine
