#pragma once

#include <string>

#include "danaus/pipeline/measure_sensitivity.h"
#include "danaus/report/report.h"

namespace danaus::report {

/// `sensitivity`: what each structure costs each operator, their sums, and what it costs to replace all at once.
std::string sensitivity_table(const pipeline::Sensitivity& sensitivity);
/// Schema danaus.sensitivity/1.
std::string sensitivity_json(const pipeline::Sensitivity& sensitivity, const Provenance& provenance);

}  // namespace danaus::report
