#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/explore/metric.h"
#include "danaus/explore/plan.h"

namespace danaus::explore {

/// Why a point has no figures.
struct PointError {
  std::string id, message;
  bool operator==(const PointError&) const = default;
};

/// What became of a point: figures or an error.
struct Outcome {
  std::uint64_t number = 0;
  MetricValues values;  ///< empty when there is an error
  std::optional<PointError> error;
  bool operator==(const Outcome&) const = default;
};

/// One row: an outcome with everything that tells it apart.
struct Row {
  Outcome outcome;
  Digest id;
  std::vector<std::pair<std::string, Value>> parameters;  ///< of the axes, in study order
  bool feasible = false;           ///< has figures that keep all constraints, and all that objectives ask for
  std::string infeasible_because;  ///< why a point with figures is not: why_infeasible
  bool operator==(const Row&) const = default;
};

/// What a database is about.
struct DatabaseHead {
  std::string version;     ///< of danaus
  std::string study_file;  ///< its name, for errors
  std::string study_text;
  Digest plan;                    ///< Plan::digest()
  std::vector<std::string> axes;  ///< their keys, in study order
  std::uint64_t points = 0;       ///< of the whole study
  std::string shard;              ///< "" = all points, "2/4" = the second of four shards
  bool operator==(const DatabaseHead&) const = default;
};

/// Results of a study in an SQLite file (WAL): tables meta and points. Rows are only ever added, a batch in one
/// transaction, so a process that is killed leaves a database with some rows, all of them whole.
class Database {
 public:
  enum class Open : std::uint8_t {
    create,  ///< error explore.exists if there is one that holds anything
    resume,  ///< create it, or go on: explore.other-study if it is of another study, version or shard, or of more
             ///< points
    read     ///< explore.no-database if there is none
  };
  /// Errors beside: explore.database (no database of ours, damaged, or SQLite says no). What is only read needs not be
  /// writable, file or folder.
  static Result<Database> open(const std::string& path, Open how, const DatabaseHead* head = nullptr);

  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  const DatabaseHead& head() const { return head_; }
  /// All rows in study order, each whole: with figures or an error. Error explore.database.
  Result<std::vector<Row>> rows() const;
  /// Error explore.database for a row that is whole, but cannot be of the study.
  Error damaged(std::string what) const;
  /// Adds rows in one transaction; a point that is there already is left as it is.
  Result<void> add(std::span<const Row> rows);

 private:
  struct Connection;
  explicit Database(std::unique_ptr<Connection> connection);

  std::unique_ptr<Connection> connection_;
  DatabaseHead head_;
};

/// The name of an axis as a column of databases and exports: its key, "option.relative_error" where a metric has it.
std::string column_of(std::string_view key);

}  // namespace danaus::explore
