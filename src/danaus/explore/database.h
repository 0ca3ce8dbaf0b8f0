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
  bool feasible = false;                                  ///< has figures that keep all constraints
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
    resume,  ///< create it, or go on: explore.other-study if it is of another study, version or shard
    read     ///< explore.no-database if there is none
  };
  /// Errors beside: explore.database (no database of ours, damaged, or SQLite says no).
  static Result<Database> open(const std::string& path, Open how, const DatabaseHead* head = nullptr);

  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  const DatabaseHead& head() const { return head_; }
  /// Numbers of the points that are there.
  Result<std::vector<std::uint64_t>> done() const;
  /// All rows in study order.
  Result<std::vector<Row>> rows() const;
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

/// All rows of several databases of one study into a new one. Errors: explore.merge (different studies, or one point
/// with two results), those of open.
Result<std::uint64_t> merge(const std::vector<std::string>& inputs, const std::string& output);

}  // namespace danaus::explore
