#pragma once

#include <string>

#include "danaus/pipeline/explain_mapping.h"
#include "danaus/report/report.h"

namespace danaus::report {

/// `explain mapping NAME MODEL`: a row per stage, then what limits each in words.
std::string mapping_text(const pipeline::MappingExplanation& explanation);
/// Schema danaus.mapping/1.
std::string mapping_json(const pipeline::MappingExplanation& explanation, const Provenance& provenance);

}  // namespace danaus::report
