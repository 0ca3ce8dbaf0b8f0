#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/explore/database.h"

/// What ranks say to one another, as bytes. All ranks are the same program on machines of the same byte order.
namespace danaus::explore {

/// A worker to rank 0: the plan it has made; outcomes, and a wish for more; or an error that ends the study. What is
/// read of an error comes back as the error of the result.
std::vector<std::byte> write_hello(const Digest& plan);
std::vector<std::byte> write_outcomes(const std::vector<Outcome>& outcomes);
std::vector<std::byte> write_error(const Error& error);
Result<Digest> read_hello(const std::vector<std::byte>& bytes);
Result<std::vector<Outcome>> read_outcomes(const std::vector<std::byte>& bytes);

/// Rank 0 to a worker: numbers of points to compute; none: the end.
std::vector<std::byte> write_numbers(const std::vector<std::uint64_t>& numbers);
std::vector<std::uint64_t> read_numbers(const std::vector<std::byte>& bytes);

}  // namespace danaus::explore
