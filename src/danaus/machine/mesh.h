#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace danaus::machine {

/// Links first .. first + count - 1.
struct LinkRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  bool operator==(const LinkRange&) const = default;
};

/// What messages on a square mesh occupy: the port by which a tile sends, and the directed links between neighbours.
/// All have numbers, such that the links along a straight way are neighbours: first the ports by place, then eastward
/// and westward links row by row, southward and northward ones column by column, by the place that they leave. Place n
/// is at x = n % side, y = n / side; y grows to the south.
class Mesh {
 public:
  explicit Mesh(std::uint32_t side) : side_(side) {}
  std::uint32_t side() const { return side_; }
  std::uint64_t links() const { return 5 * std::uint64_t{side_} * side_; }

  std::uint32_t port(std::uint32_t place) const { return place; }
  bool is_port(std::uint32_t link) const { return link < side_ * side_; }
  /// Links of the XY tree: along the row of the source first, then up and down the columns of the stops. For one stop
  /// its way. No link is in two ranges. Needs links() below 2^32.
  std::vector<LinkRange> tree(std::uint32_t source, std::span<const std::uint32_t> stops) const;

 private:
  std::uint32_t side_;
};

}  // namespace danaus::machine
