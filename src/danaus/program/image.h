#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "danaus/program/program.h"

/// The programmed cells of the arrays, and which of them an activation uses.
namespace danaus::program {

/// The patches of a program by array.
class Images {
 public:
  explicit Images(const Program& program);
  /// Patches of an array, sorted by (row, column).
  std::span<const Patch> of(ArrayId array) const;
  /// Arrays that have patches.
  std::span<const ArrayId> arrays() const { return arrays_; }

 private:
  std::span<const Patch> patches_;
  std::vector<ArrayId> arrays_;       ///< ascending
  std::vector<std::uint32_t> begin_;  ///< first patch of arrays_[n]; one more at the end
};

/// The block of its stage that contains a patch and which of the block's outputs is the patch's first; nothing if there
/// is none.
struct BlockPart {
  std::uint32_t block = 0;
  std::uint32_t first_output = 0;  ///< counted in the block
};
std::optional<BlockPart> locate(const Structure& structure, const Patch& patch);

/// Two patches of one array that share a cell, as positions in `patches` (sorted by row and column).
std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::span<const Patch> patches);

/// A rectangle of an activation: neighbouring driven rows and read columns within one patch.
struct Piece {
  const Patch* patch = nullptr;
  std::uint32_t row_element = 0;  ///< position of its first row in the row window (= in the source)
  std::uint32_t rows = 0;
  std::uint32_t column_element = 0;  ///< position of its first column in the column window (= in the destination)
  std::uint32_t columns = 0;
  std::uint32_t in_first = 0;   ///< stage input of its first row
  std::uint32_t out_first = 0;  ///< stage output of its first column
  std::uint32_t row = 0;        ///< of the array
  std::uint32_t column = 0;
};

/// Neighbouring cells of a window that is cut where it wraps.
struct Segment {
  std::uint32_t cell = 0;
  std::uint32_t length = 0;
  std::uint32_t element = 0;  ///< position of the first cell in the window
};

/// Where an activation breaks the isolation rule.
struct IsolationFault {
  enum class Kind : std::uint8_t { mixed_column, idle_row, idle_column };
  Kind kind{};
  std::uint32_t cell = 0;        ///< row or column of the array
  const Patch* first = nullptr;  ///< mixed column: the two patches
  const Patch* second = nullptr;
};

/// Finds the pieces of activations; keeps its memory from one to the next.
class Activation {
 public:
  /// False if a window has a cell twice (then there are no pieces).
  bool resolve(const Mvm& mvm, std::span<const Patch> patches, const ChipShape& chip);
  std::span<const Piece> pieces() const { return pieces_; }
  std::span<const Segment> row_segments() const { return rows_; }
  /// The static half of the isolation rule for the last resolved activation.
  std::optional<IsolationFault> isolation_fault() const;

 private:
  static constexpr std::uint32_t kLongestEdge = 1024;

  std::vector<Segment> rows_, columns_;
  std::vector<Segment> used_columns_;  // scratch: parts of one patch
  std::vector<Piece> pieces_;
};

}  // namespace danaus::program
