#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/model/model.h"

namespace danaus::model {

/// Operators or digital matrices that differ only in the number of their layer or expert.
struct MatrixGroup {
  std::string name;  ///< "blk.{layer}.attn_q", "blk.{layer}.ffn_up.{expert}"
  std::uint64_t count = 0;
  std::uint64_t rows = 0, cols = 0;  ///< of each: outputs, inputs
  std::string type;                  ///< element type in the file; empty without weights
  std::string reason;                ///< why it stays digital; empty for operators
};

struct NodeCount {
  NodeKind kind = NodeKind::input;
  std::uint64_t count = 0;
  std::string_view reason;  ///< why it is no work for arrays
};

/// What a model is and what happens to it, before any work.
struct Summary {
  std::vector<MatrixGroup> operators;  ///< mapped onto arrays, in graph order
  std::vector<MatrixGroup> digital;
  std::uint64_t operator_count = 0, operator_weights = 0;  ///< of all operators
  std::uint64_t weights_per_token = 0;                     ///< of those that one token uses (experts)
  std::vector<NodeCount> nodes;                            ///< nodes without a matrix, by kind
  std::uint64_t files = 0, file_bytes = 0;                 ///< mapped into memory, read where needed
  std::string largest_operator;
  std::uint64_t largest_operator_bytes = 0;  ///< its weights as float
  /// Bound of what projection holds beside the mapped files: an operator's weights as float and as many for its
  /// factors. 0 without weights.
  std::uint64_t projection_bytes = 0;
};

Summary summarise(const Model& model);

}  // namespace danaus::model
