#pragma once

#include <string_view>

#include "danaus/core/error.h"
#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// Reads a shape file; docs/formats.md has its keys. Errors, with line and column: shape.too-large, shape.syntax,
/// shape.unknown-key, shape.missing-key, shape.type, shape.family, shape.activation, shape.choice, shape.rope-pairs,
/// shape.name, shape.range.
Result<Shape> parse_shape(std::string_view text, std::string_view file_name);

/// The graph of a complete shape, without weights. Errors: graph.*.
Result<Model> model_from_shape(const Shape& shape);

}  // namespace danaus::model
