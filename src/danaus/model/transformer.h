#pragma once

#include <optional>
#include <vector>

#include "danaus/model/names.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// The graph of a complete shape of any family; with `tensors`, its weights too. The input is the embedded token (where
/// the family says so, with its position and normalised).
///
/// A layer of a pre-norm family: norm, q k v [bias] [rope of q and k], attend, o [bias], add; norm, [gate] up [bias],
/// activation [mul], down [bias], add; after the last layer the final norm, which is the output. A parallel layer has
/// one norm for both branches. Post-norm: no norm before a branch, one behind each addition. A layer norm is a norm and
/// a bias. Experts: a router (linear, route), then per expert, guarded by its gate, up to down, and a blend.
///
/// Encoder-decoder: behind the encoder the keys and values of all cross-attentions; then the input "y" and the decoder,
/// whose layers have a cross-attention behind their own. Errors: those of GraphBuilder.
Result<Model> build_transformer(const Shape& shape, const LayoutNames& names,
                                std::optional<std::vector<Tensor>> tensors);

}  // namespace danaus::model
