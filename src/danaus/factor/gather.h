#pragma once

#include <cstddef>
#include <span>

#include "danaus/core/error.h"
#include "danaus/core/structure.h"
#include "danaus/factor/factor.h"

namespace danaus::factor {

/// The projection onto gathered blocks: each block keeps the in_block columns of its rows of W with the largest norms,
/// of equal ones the first. That is the least error for these groups, so `optimum` is the error. The selection of
/// `structure` does not matter. Errors: factor.non-finite.
Result<Projection> project_gathered(const ReadRows& read, const Structure& structure);

/// Names the first weight that is not finite; there is one. `weights` begins with row `first_row`.
Error not_finite(std::span<const float> weights, const Structure& structure, std::size_t first_row);

}  // namespace danaus::factor
