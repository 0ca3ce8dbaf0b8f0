#pragma once

#include <string>

#include "danaus/report/report.h"
#include "danaus/tune/tune.h"

namespace danaus::report {

struct Tuning {
  std::string model;
  std::string structure, blocks;                       ///< as in pipeline::LinearReport
  std::uint64_t parameters = 0, dense_parameters = 0;  ///< of the operators that were trained
  const tune::Tuned* tuned = nullptr;
  std::string output;  ///< the file
};

/// A record as one line of talk, without its end.
std::string record_line(const tune::Record& record);
/// As one line of JSON: {"step","steps","tokens","loss","parts",...,"seconds"}.
std::string record_json(const tune::Record& record);
/// `tune`: what was trained, and how the loss fell.
std::string tuning_table(const Tuning& tuning);
/// Schema danaus.tune/1.
std::string tuning_json(const Tuning& tuning, const Provenance& provenance);

}  // namespace danaus::report
