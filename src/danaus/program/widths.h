#pragma once

#include <cstdint>

/// How large the numbers of a program may be: the record layout (README.md) and the same bounds for the tables, so that
/// every program that a reader accepts can be written and read again in both forms.
namespace danaus::program {

inline constexpr unsigned kConfigBits = 16;
inline constexpr unsigned kArrayBits = 24;
inline constexpr unsigned kTileBits = 20;  ///< tiles and groups
inline constexpr unsigned kRegionBits = 24;
inline constexpr unsigned kOffsetBits = 24;  ///< buffer offsets, steps and moduli of registers
inline constexpr unsigned kBaseBits = 2;
inline constexpr unsigned kWindowBits = 10;  ///< each number of a window: arrays have at most 1024 x 1024 cells
inline constexpr unsigned kLengthBits = 16;  ///< run lengths and run counts of move and vec
inline constexpr unsigned kMvmElementStrideBits = 12;
inline constexpr unsigned kMvmRunStrideBits = 16;
inline constexpr unsigned kMoveElementStrideBits = 16;
inline constexpr unsigned kMoveRunStrideBits = 20;

/// The number of values of an unsigned field.
constexpr std::uint64_t values_of(unsigned bits) { return std::uint64_t{1} << bits; }

inline constexpr std::uint32_t kMostElements = 1u << kOffsetBits;  ///< of a vector or a buffer
inline constexpr std::uint32_t kMostTiles = 1u << kTileBits;
inline constexpr std::uint32_t kMostArrays = 1u << kArrayBits;
inline constexpr std::uint32_t kLongestEdge = 1u << kWindowBits;  ///< rows or columns of an array
inline constexpr std::uint32_t kMostConfigs = 1u << kConfigBits;
inline constexpr std::uint32_t kMostBits = 64;                ///< of a DAC, an ADC or an element on the network
inline constexpr std::uint32_t kLongestStep = 65535;          ///< of a patch's index maps
inline constexpr std::uint32_t kMostGroupMembers = 1u << 24;  ///< of all groups together

}  // namespace danaus::program
