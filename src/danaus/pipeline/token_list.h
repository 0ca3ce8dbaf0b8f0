#pragma once

#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/nn/token_id.h"

namespace danaus::pipeline {

/// Token ids from JSON: a list of whole numbers, as one text. `file` is for errors. Error eval.ids, with the line and
/// column.
Result<std::vector<nn::TokenId>> parse_token_list(std::string_view json, std::string_view file);
/// A list of such lists, one per text.
Result<std::vector<std::vector<nn::TokenId>>> parse_token_lists(std::string_view json, std::string_view file);

}  // namespace danaus::pipeline
