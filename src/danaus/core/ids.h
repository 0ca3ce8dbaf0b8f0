#pragma once

#include <cstdint>
#include <type_traits>

namespace danaus {

/// Strong integer ids: an id of one kind does not convert to another. `index(id)` gives the plain number.
enum class ArrayId : std::uint32_t {};  ///< a crossbar array of the chip
enum class TileId : std::uint32_t {};   ///< a tile: neighbouring arrays with one buffer; tile = array / arrays_per_tile
enum class NodeId : std::uint32_t {};   ///< a node of the operator graph
enum class ConfigId : std::uint16_t {};  ///< an entry of the configuration table
enum class GroupId : std::uint32_t {};   ///< a multicast group of tiles
enum class KvId : std::uint32_t {};      ///< a KV region

template <typename Id>
  requires std::is_enum_v<Id>
constexpr auto index(Id id) {
  return static_cast<std::underlying_type_t<Id>>(id);
}

}  // namespace danaus
