#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "danaus/core/ids.h"
#include "danaus/program/state.h"

namespace danaus::program {

/// Which elements of the buffers are there whatever the gates say. An element that a branch writes may be read by the
/// same branch; others may read it only if it was written before the branches of this token began, so that something
/// is there when the branch is skipped (what, the values of the proof tell).
class BranchTracker {
 public:
  /// `branch` counts from 1, 0 outside of branches.
  void at(std::uint32_t token, std::uint32_t branch) {
    token_ = token + 1;
    branch_ = branch;
  }

  /// The first element that only another branch has written.
  std::optional<std::uint32_t> read(TileId tile, std::uint32_t first, std::uint32_t length) const {
    const std::unique_ptr<Marks>* marks = tiles_.find(index(tile));
    if (!marks || !*marks) return std::nullopt;
    for (std::uint32_t element = first; element < first + length; ++element) {
      const Mark* mark = (*marks)->find(element);
      if (mark && mark->branch != 0 && mark->branch != branch_ && !mark->has_base) return element;
    }
    return std::nullopt;
  }

  void write(TileId tile, std::uint32_t first, std::uint32_t length) {
    std::unique_ptr<Marks>& marks = tiles_.at(index(tile));
    if (!marks) marks = std::make_unique<Marks>();
    for (std::uint32_t element = first; element < first + length; ++element) {
      Mark& mark = marks->at(element);
      const bool is_of_token = mark.token == token_;
      const bool has_base = is_of_token && (mark.branch == 0 || mark.has_base);
      mark = {token_, branch_, branch_ != 0 && has_base};
    }
  }

  void forget(TileId tile) {
    if (tiles_.find(index(tile))) tiles_.at(index(tile)).reset();
  }

 private:
  /// Of the last write. Token 0: never written.
  struct Mark {
    std::uint32_t token = 0;
    std::uint32_t branch = 0;
    bool has_base = false;
  };
  using Marks = SparseTable<Mark>;

  std::uint32_t token_ = 0;
  std::uint32_t branch_ = 0;
  SparseTable<std::unique_ptr<Marks>> tiles_;
};

}  // namespace danaus::program
