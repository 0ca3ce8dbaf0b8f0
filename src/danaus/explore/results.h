#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/explore/database.h"
#include "danaus/explore/study.h"

namespace danaus::explore {

/// A database as data: what reports and exports are made of.
struct Results {
  Study study;
  DatabaseHead head;
  std::vector<Row> rows;           ///< in study order
  std::vector<std::size_t> front;  ///< positions in rows
};

/// Whether a row says of itself what its figures say. Error explore.database.
Result<void> check_feasible(const Database& database, const Study& study, const Row& row);

/// Errors: those of Database; explore.database for rows that cannot be of the study, or a study that cannot be read.
Result<Results> read_results(const std::string& database);

/// What a merged database holds.
struct Merged {
  std::uint64_t rows = 0, points = 0;  ///< that are there; of the study
  std::vector<std::string> missing;    ///< shards ("2/4") of which no database was given, as far as that can be told
};

/// All rows of several databases of one study into a new one, all points or not. Errors: explore.merge (different
/// studies, or one point with two results), those of read_results and Database::open.
Result<Merged> merge(const std::vector<std::string>& inputs, const std::string& output);

}  // namespace danaus::explore
