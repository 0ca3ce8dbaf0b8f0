#pragma once

#include <string>
#include <string_view>

#include "danaus/core/error.h"

namespace danaus::cli {

/// The JSON export of a study as the bytes of a Parquet file, by Python with pyarrow. Error explore.parquet when there
/// is none.
Result<std::string> parquet_of(std::string_view json);

}  // namespace danaus::cli
