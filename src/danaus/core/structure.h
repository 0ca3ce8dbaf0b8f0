#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "danaus/core/error.h"
#include "danaus/core/index_list.h"

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
///         k = l = 1 is low rank. in_block = ceil(in / k) and out_block = ceil(out / l) unless the operator was padded
///         further.
/// gather: one stage of k = l = ceil(out / out_block) blocks without padding. Block g has the outputs from
///         g*out_block on (the last one may have fewer) and in_block inputs of its own choice: stage input g*in_block +
///         a is operator input selection[g*in_block + a]. So its blocks read neighbours like all others, once somebody
///         has gathered the stage inputs.
struct Structure {
  enum class Kind : std::uint8_t { dense, blocks, gather };

  Kind kind = Kind::dense;
  std::uint32_t out = 0;
  std::uint32_t in = 0;
  std::uint32_t k = 1;
  std::uint32_t l = 1;
  std::uint32_t r = 1;
  std::uint32_t in_block = 0;
  std::uint32_t out_block = 0;
  bool trimmed = false;
  IndexList selection = {};  ///< gather: k*in_block inputs of the operator, ascending within a block; otherwise empty

  static Structure dense(std::uint32_t out, std::uint32_t in);
  /// The member (k, l, r) for any shape; k, l, r >= 1.
  static Structure blocks(std::uint32_t out, std::uint32_t in, std::uint32_t k, std::uint32_t l, std::uint32_t r);
  /// The paper's policy: padded to n x n with n = max(out, in), k = l = ceil(sqrt n), r = 1.
  static Structure padded_square(std::uint32_t out, std::uint32_t in);
  /// Blocks of `group` outputs and `inputs` inputs each, 1 <= group <= out, 1 <= inputs <= in; no selection yet.
  static Structure gather(std::uint32_t out, std::uint32_t in, std::uint32_t group, std::uint32_t inputs);
  /// The same function without dead rows, columns and blocks.
  Structure trim() const;

  std::uint32_t stages() const { return kind == Kind::blocks ? 2 : 1; }
  std::uint32_t block_count(std::uint32_t stage) const;
  Block block(std::uint32_t stage, std::uint32_t number) const;
  /// The block that reads a stage input.
  std::uint32_t block_of_input(std::uint32_t stage, std::uint32_t input) const;
  /// Elements of the operator's input that the first stage reads or gathers from, padding included.
  std::uint32_t inputs() const { return kind == Kind::gather ? in : stage_inputs(0); }
  /// Elements that the stage reads / produces, padding included.
  std::uint32_t stage_inputs(std::uint32_t stage) const;
  std::uint32_t stage_outputs(std::uint32_t stage) const;
  /// Weights, padding included = multiply-accumulates per vector.
  std::uint64_t parameters() const;
  /// Those of one stage.
  std::uint64_t stage_parameters(std::uint32_t stage) const;
  std::uint64_t dense_parameters() const { return std::uint64_t{out} * in; }

  bool operator==(const Structure&) const = default;
};

/// "dense", "gather 32:128" (out_block:in_block; the selection is not part of it) or "blocks 32x48:2", then " size PxS"
/// (in_block x out_block) where they differ from the ceilings, then " trim". The shape is not part of it.
std::string to_string(const Structure& structure);
/// The inverse, for an operator of the given shape. Error id structure.syntax or structure.range.
Result<Structure> parse_structure(std::string_view text, std::uint32_t out, std::uint32_t in);

/// Whether a selection is one: of the right length, ascending within each block, of inputs that exist. Other structures
/// have none. Error id structure.selection.
Result<void> check_selection(const Structure& structure);

/// A selection for an operator without weights: for each block in_block different inputs, all sets equally likely. A
/// function of the shape, seed and stream alone.
IndexList draw_selection(const Structure& structure, std::uint64_t seed, std::uint64_t stream);

/// The stage inputs of a gathered operator: to[i] = x[selection[i]].
template <typename Scalar>
void gather_inputs(const Structure& structure, std::span<const Scalar> x, std::span<Scalar> to) {
  const std::span<const std::uint32_t> numbers = structure.selection.numbers();
  for (std::size_t i = 0; i < numbers.size(); ++i) to[i] = x[numbers[i]];
}

}  // namespace danaus
