#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "danaus/core/error.h"

namespace danaus {

/// One block of a stage: an in_count x out_count piece of weights. Its element (a, b) multiplies stage input
/// in_first + a (always neighbours) and is summed into stage output out_first + b * out_step.
struct Block {
  std::uint32_t in_first = 0;
  std::uint32_t in_count = 0;
  std::uint32_t out_first = 0;
  std::uint32_t out_step = 1;
  std::uint32_t out_count = 0;
  bool operator==(const Block&) const = default;
};

/// How a linear operator of shape out x in is made of blocks.
///
/// dense:  one stage, one block, no padding.
/// blocks: the family (k, l, r): stage 0 (R) has k blocks of in_block inputs and l*r outputs, stage 1 (L) has l blocks
/// of
///         k*r inputs and out_block outputs. R's output (i, rho) of block j is stage output (i*r + rho)*k + j (the
///         plain transposition (j, i, rho) -> (i, rho, j)), so that every L block reads neighbours. Without `trimmed`,
///         inputs and outputs are zero-padded at the end to k*in_block and l*out_block and the padding counts as real
///         cells. With it, the last block of R (L) is shorter and dead blocks do not exist.
///
/// k = l = 1 is low rank. in_block = ceil(in / k) and out_block = ceil(out / l) unless the operator was padded further.
struct Structure {
  enum class Kind : std::uint8_t { dense, blocks };

  Kind kind = Kind::dense;
  std::uint32_t out = 0;
  std::uint32_t in = 0;
  std::uint32_t k = 1;
  std::uint32_t l = 1;
  std::uint32_t r = 1;
  std::uint32_t in_block = 0;
  std::uint32_t out_block = 0;
  bool trimmed = false;

  static Structure dense(std::uint32_t out, std::uint32_t in);
  /// The member (k, l, r) for any shape; k, l, r >= 1.
  static Structure blocks(std::uint32_t out, std::uint32_t in, std::uint32_t k, std::uint32_t l, std::uint32_t r);
  /// The paper's policy: padded to n x n with n = max(out, in), k = l = ceil(sqrt n), r = 1.
  static Structure padded_square(std::uint32_t out, std::uint32_t in);
  /// The same function without dead rows, columns and blocks.
  Structure trim() const;

  std::uint32_t stages() const { return kind == Kind::dense ? 1 : 2; }
  std::uint32_t block_count(std::uint32_t stage) const;
  Block block(std::uint32_t stage, std::uint32_t number) const;
  /// Elements that the stage reads / produces, padding included.
  std::uint32_t stage_inputs(std::uint32_t stage) const;
  std::uint32_t stage_outputs(std::uint32_t stage) const;
  /// Weights, padding included = multiply-accumulates per vector.
  std::uint64_t parameters() const;
  std::uint64_t dense_parameters() const { return std::uint64_t{out} * in; }

  bool operator==(const Structure&) const = default;
};

/// "dense" or "blocks 32x48:2", then " size PxS" (in_block x out_block) where they differ from the ceilings,
/// then " trim". The shape is not part of it.
std::string to_string(const Structure& structure);
/// The inverse, for an operator of the given shape. Error id structure.syntax or structure.range.
Result<Structure> parse_structure(std::string_view text, std::uint32_t out, std::uint32_t in);

}  // namespace danaus
