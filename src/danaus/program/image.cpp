// An activation is intersected with every patch of its array. Windows are cut into segments of neighbouring cells, so a
// piece is a rectangle in the array, in the weights and in the addresses; the usual activation is one patch, one piece.
#include "danaus/program/image.h"

#include <algorithm>
#include <numeric>

namespace danaus::program {

Images::Images(const Program& program) : patches_(program.patches) {
  for (std::size_t p = 0; p < patches_.size(); ++p) {
    if (!arrays_.empty() && arrays_.back() == patches_[p].array) continue;
    arrays_.push_back(patches_[p].array);
    begin_.push_back(static_cast<std::uint32_t>(p));
  }
  begin_.push_back(static_cast<std::uint32_t>(patches_.size()));
}

std::span<const Patch> Images::of(ArrayId array) const {
  // Where every array has patches, its number is its position.
  std::size_t position = index(array);
  if (position >= arrays_.size() || arrays_[position] != array) {
    const auto found = std::lower_bound(arrays_.begin(), arrays_.end(), array);
    if (found == arrays_.end() || *found != array) return {};
    position = static_cast<std::size_t>(found - arrays_.begin());
  }
  return patches_.subspan(begin_[position], begin_[position + 1] - begin_[position]);
}

std::optional<BlockPart> locate(const Structure& structure, const Patch& patch) {
  if (patch.rows == 0 || patch.columns == 0 || patch.in_step != 1) return std::nullopt;
  if (patch.stage >= structure.stages() || patch.in_first >= structure.stage_inputs(patch.stage)) return std::nullopt;
  const std::uint32_t number = structure.block_of_input(patch.stage, patch.in_first);
  if (number >= structure.block_count(patch.stage)) return std::nullopt;
  const Block block = structure.block(patch.stage, number);
  if (patch.in_first - block.in_first + std::uint64_t{patch.rows} > block.in_count) return std::nullopt;
  if (patch.columns > 1 && patch.out_step != block.out_step) return std::nullopt;
  if (patch.out_first < block.out_first || (patch.out_first - block.out_first) % block.out_step != 0)
    return std::nullopt;
  const std::uint32_t first = (patch.out_first - block.out_first) / block.out_step;
  if (first + std::uint64_t{patch.columns} > block.out_count) return std::nullopt;
  return BlockPart{.block = number, .first_output = first};
}

std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::span<const Patch> patches) {
  // Sweep from the first row to the last: `owner` says for every column which patch covers it last.
  if (patches.size() < 2) return std::nullopt;
  std::array<std::uint32_t, 2048> owner{};  // position + 1
  for (std::size_t p = 0; p < patches.size(); ++p) {
    const Patch& patch = patches[p];
    for (std::uint32_t column = patch.column; column < std::uint32_t{patch.column} + patch.columns; ++column) {
      if (owner[column] != 0) {
        const Patch& above = patches[owner[column] - 1];
        if (patch.row < std::uint32_t{above.row} + above.rows) return std::pair(std::size_t{owner[column]} - 1, p);
      }
      owner[column] = static_cast<std::uint32_t>(p + 1);
    }
  }
  return std::nullopt;
}

namespace {

/// Cuts a window into segments; false if it has a cell twice.
bool cut(const Window& window, std::uint32_t edge, std::vector<Segment>& segments) {
  segments.clear();
  if (window.cells() > edge) return false;
  if (window.count == 1 && std::uint32_t{window.first} + window.length <= edge) {
    segments.push_back({window.first, window.length, 0});
    return true;
  }
  std::bitset<1024> seen;
  for (std::uint32_t run = 0; run < window.count; ++run) {
    std::uint32_t cell = (window.first + run * std::uint32_t{window.stride}) % edge;
    for (std::uint32_t done = 0; done < window.length;) {
      const std::uint32_t length = std::min(window.length - done, edge - cell);
      for (std::uint32_t n = 0; n < length; ++n) {
        if (seen.test(cell + n)) return false;
        seen.set(cell + n);
      }
      segments.push_back({cell, length, run * window.length + done});
      done += length;
      cell = 0;
    }
  }
  return true;
}

/// The part of a segment inside [first, first + length); empty (length 0) if there is none.
Segment overlap(const Segment& segment, std::uint32_t first, std::uint32_t length) {
  const std::uint32_t begin = std::max(segment.cell, first);
  const std::uint32_t end = std::min(segment.cell + segment.length, first + length);
  if (begin >= end) return {};
  return {begin, end - begin, segment.element + (begin - segment.cell)};
}

}  // namespace

bool Activation::resolve(const Mvm& mvm, std::span<const Patch> patches, const ChipShape& chip) {
  pieces_.clear();
  if (!cut(mvm.rows, chip.rows, rows_) || !cut(mvm.columns, chip.cols, columns_)) return false;
  for (const Patch& patch : patches) {
    used_columns_.clear();
    for (const Segment& segment : columns_) {
      const Segment part = overlap(segment, patch.column, patch.columns);
      if (part.length != 0) used_columns_.push_back(part);
    }
    if (used_columns_.empty()) continue;
    for (const Segment& segment : rows_) {
      const Segment row = overlap(segment, patch.row, patch.rows);
      if (row.length == 0) continue;
      for (const Segment& column : used_columns_) {
        pieces_.push_back({.patch = &patch,
                           .row_element = row.element,
                           .rows = row.length,
                           .column_element = column.element,
                           .columns = column.length,
                           .in_first = patch.in_first + (row.cell - patch.row),
                           .out_first = patch.out_first + (column.cell - patch.column) * patch.out_step,
                           .row = row.cell,
                           .column = column.cell});
      }
    }
  }
  return true;
}

std::optional<IsolationFault> Activation::isolation_fault() const {
  const auto cells = [](const std::vector<Segment>& segments) {
    return std::accumulate(segments.begin(), segments.end(), 0u,
                           [](std::uint32_t sum, const Segment& segment) { return sum + segment.length; });
  };
  if (pieces_.size() == 1 && pieces_[0].rows == cells(rows_) && pieces_[0].columns == cells(columns_))
    return std::nullopt;
  std::bitset<kLongestEdge> rows, columns;
  std::array<const Piece*, kLongestEdge> owner;  // of a column, where `columns` is set
  const auto output = [](const Piece& piece, std::uint32_t column) {
    return piece.out_first + (column - piece.column) * piece.patch->out_step;
  };
  for (const Piece& piece : pieces_) {
    for (std::uint32_t row = piece.row; row < piece.row + piece.rows; ++row) rows.set(row);
    for (std::uint32_t column = piece.column; column < piece.column + piece.columns; ++column) {
      if (!columns.test(column)) {
        columns.set(column);
        owner[column] = &piece;
        continue;
      }
      const Piece& other = *owner[column];
      if (other.patch->node != piece.patch->node || other.patch->stage != piece.patch->stage ||
          output(other, column) != output(piece, column))
        return IsolationFault{IsolationFault::Kind::mixed_column, column, other.patch, piece.patch};
    }
  }
  const auto idle = [](const std::vector<Segment>& segments,
                       const std::bitset<kLongestEdge>& used) -> std::optional<std::uint32_t> {
    for (const Segment& segment : segments) {
      for (std::uint32_t cell = segment.cell; cell < segment.cell + segment.length; ++cell) {
        if (!used.test(cell)) return cell;
      }
    }
    return std::nullopt;
  };
  if (const auto row = idle(rows_, rows)) return IsolationFault{IsolationFault::Kind::idle_row, *row, nullptr, nullptr};
  if (const auto column = idle(columns_, columns))
    return IsolationFault{IsolationFault::Kind::idle_column, *column, nullptr, nullptr};
  return std::nullopt;
}

}  // namespace danaus::program
