#pragma once

#include <cstddef>
#include <span>

namespace danaus::machine {

/// The range of a converter with `limit` codes to each side (its largest code means the range) with the least squared
/// error on these values; 0 if all are 0. Looked for among max |value| * 2^(-n/16), n = 0 ... 159.
float best_range(std::span<const float> values, float limit);

/// A range for each of `columns` columns of sums {rows, columns}: the shape of the distribution comes from all columns,
/// scaled by each column's root mean square, so that few vectors suffice. 0 where a column is always 0.
void column_ranges(std::span<const float> sums, std::size_t columns, float limit, std::span<float> ranges);

}  // namespace danaus::machine
