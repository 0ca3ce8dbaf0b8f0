// Two tables: meta (key, value) and points, one row a point with a column per axis and per metric, so that a query
// needs no knowledge of danaus. The tables come into being in one transaction; a file without tables is as good as no
// file, which makes creation whole or nothing. Axes' columns have no type: a value comes back as the type that it went
// in. Anything can stand in a file that others can write: columns, types and what must go together in a row are checked
// before they are used, and meta has a digest of its own.

#include "danaus/explore/database.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

namespace danaus::explore {
namespace {

constexpr std::string_view kSchema = "danaus.explore/1";
constexpr int kBusyMs = 30'000;
constexpr int kLargestText = 1 << 24;     // of a cell, in bytes
constexpr double kLargestCount = 0x1p63;  // metrics that count stay below
constexpr int kFirstAxis = 5;             // columns before: number, id, feasible, error, message

struct CloseConnection {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
};
struct Finalise {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalise>;

std::string identifier(std::string_view name) {
  return fmt::format("\"{}\"", name);
}  // names of columns hold no quotes

std::string column_text(sqlite3_stmt* row, int column) {
  const unsigned char* text = sqlite3_column_text(row, column);
  const int size = sqlite3_column_bytes(row, column);
  return text == nullptr ? std::string()
                         : std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, "\n")); }

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

/// Codes that say something about the machine; all others say something about the file.
bool is_of_the_machine(int extended_code) {
  if (extended_code == SQLITE_IOERR_SHORT_READ) return false;
  constexpr std::array<int, 11> kCodes = {SQLITE_CANTOPEN, SQLITE_IOERR,    SQLITE_FULL,     SQLITE_READONLY,
                                          SQLITE_BUSY,     SQLITE_LOCKED,   SQLITE_PERM,     SQLITE_AUTH,
                                          SQLITE_NOMEM,    SQLITE_PROTOCOL, SQLITE_INTERRUPT};
  return std::find(kCodes.begin(), kCodes.end(), extended_code & 0xff) != kCodes.end();
}

/// A column as `PRAGMA table_info` describes it.
struct Column {
  std::string name, type;
};

/// In the order in which rows are read and written.
std::vector<Column> columns_of(const std::vector<std::string>& axes) {
  std::vector<Column> columns = {
      {"number", "INTEGER"}, {"id", "TEXT"}, {"feasible", "INTEGER"}, {"error", "TEXT"}, {"message", "TEXT"}};
  for (const std::string& axis : axes) columns.push_back({column_of(axis), ""});
  for (const Metric& metric : metrics()) columns.push_back({std::string(metric.name), "REAL"});
  return columns;
}

std::string names_of(const std::vector<Column>& columns) {
  std::string names;
  for (const Column& column : columns) names += fmt::format("{}{}", names.empty() ? "" : ", ", identifier(column.name));
  return names;
}

/// What the table meta says, in this order.
std::vector<std::pair<std::string, std::string>> entries_of(const DatabaseHead& head) {
  std::vector<std::pair<std::string, std::string>> entries = {{"schema", std::string(kSchema)},
                                                              {"version", head.version},
                                                              {"study_file", head.study_file},
                                                              {"study", head.study_text},
                                                              {"plan", to_string(head.plan)},
                                                              {"axes", joined(head.axes)},
                                                              {"points", fmt::format("{}", head.points)},
                                                              {"shard", head.shard}};
  std::string text;
  for (const auto& [key, value] : entries) text += fmt::format("{} {} {}\n", key, value.size(), value);
  entries.emplace_back("digest", to_string(digest_of(std::string_view(text))));
  return entries;
}

}  // namespace

std::string column_of(std::string_view key) {
  return find_metric(key) ? fmt::format("option.{}", key) : std::string(key);
}

struct Database::Connection {
  std::unique_ptr<sqlite3, CloseConnection> handle;
  std::string path;

  Error error(std::string_view what) const {
    const bool damaged = !is_of_the_machine(sqlite3_extended_errcode(handle.get()));
    std::error_code ignored;
    const bool has_log = std::filesystem::exists(path + "-wal", ignored);
    return Error("explore.database", damaged ? Failure::bad_input : Failure::io,
                 fmt::format("{}: {}", what, sqlite3_errmsg(handle.get())))
        .in_file(path)
        .with_hint(damaged   ? "this is no database of danaus explore, or a damaged one"
                   : has_log ? "the file with -wal beside it belongs to it: both and their folder must be writable"
                             : "is the folder there, writable and not full?");
  }

  Error damaged(std::string what) const {
    return Error("explore.database", Failure::bad_input, std::move(what))
        .in_file(path)
        .with_hint("this database is damaged, or was changed: compute it again with -o FILE");
  }

  /// A name in double quotes is a column, never a text; nothing in the file is executed.
  void be_strict() const {
    for (const int option : {SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL, SQLITE_DBCONFIG_ENABLE_TRIGGER,
                             SQLITE_DBCONFIG_ENABLE_VIEW, SQLITE_DBCONFIG_TRUSTED_SCHEMA})
      sqlite3_db_config(handle.get(), option, 0, nullptr);
    sqlite3_limit(handle.get(), SQLITE_LIMIT_LENGTH, kLargestText);
    sqlite3_busy_timeout(handle.get(), kBusyMs);
  }

  /// What cannot be written and has no log beside it is read as it stands: SQLite wants to write a log to read.
  Result<void> connect(int flags) {
    std::error_code ignored;
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    const bool can_write =
        ::access(path.c_str(), W_OK) == 0 && ::access(folder.empty() ? "." : folder.c_str(), W_OK) == 0;
    const bool exists = std::filesystem::exists(path, ignored);
    const std::uintmax_t log = std::filesystem::file_size(path + "-wal", ignored);
    const bool frozen = flags == 0 && exists && !can_write && (ignored || log == 0);
    // Names such as ":memory:" mean something to SQLite, and so do some characters in a URI.
    std::string name = "file:";
    for (const char c : path.starts_with('/') ? path : "./" + path)
      name += c == '%' || c == '?' || c == '#' ? fmt::format("%{:02X}", c) : std::string(1, c);
    if (frozen) name += "?immutable=1";
    sqlite3* opened = nullptr;
    const int mode = frozen ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | flags;
    const int code = sqlite3_open_v2(name.c_str(), &opened, mode | SQLITE_OPEN_URI, nullptr);
    handle.reset(opened);
    if (code != SQLITE_OK) return fail(error("the database cannot be opened"));
    be_strict();
    return {};
  }

  Result<void> execute(const std::string& sql) const {
    if (sqlite3_exec(handle.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
      return fail(error("the database cannot be used"));
    return {};
  }

  Result<Statement> prepare(const std::string& sql) const {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle.get(), sql.c_str(), -1, &statement, nullptr) != SQLITE_OK)
      return fail(error("the database cannot be read"));
    return Statement(statement);
  }

  /// Whether there is another row.
  Result<bool> step(const Statement& statement) const {
    const int code = sqlite3_step(statement.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return fail(error("the database cannot be read or written"));
  }

  Result<bool> has_tables() const {
    DANAUS_TRY(count, prepare("SELECT count(*) FROM sqlite_master"));
    DANAUS_CHECK(step(count));
    return sqlite3_column_int(count.get(), 0) > 0;
  }

  Result<void> write_meta(const DatabaseHead& head) const {
    DANAUS_TRY(insert, prepare("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)"));
    for (const auto& [key, value] : entries_of(head)) {
      sqlite3_reset(insert.get());
      sqlite3_bind_text(insert.get(), 1, key.c_str(), static_cast<int>(key.size()), SQLITE_STATIC);
      sqlite3_bind_text(insert.get(), 2, value.c_str(), static_cast<int>(value.size()), SQLITE_STATIC);
      DANAUS_CHECK(step(insert));
    }
    return {};
  }

  Result<void> create_tables(const DatabaseHead& head) const {
    std::string columns;
    for (const std::string& axis : head.axes) columns += fmt::format(", {}", identifier(column_of(axis)));
    for (const Metric& metric : metrics()) columns += fmt::format(", {} REAL", identifier(metric.name));
    DANAUS_CHECK(execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)"));
    DANAUS_CHECK(
        execute(fmt::format("CREATE TABLE points(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE{}, "
                            "feasible INTEGER NOT NULL, error TEXT, message TEXT)",
                            columns)));
    return write_meta(head);
  }

  Result<DatabaseHead> read_meta() const {
    const auto foreign = [&](std::string why) {
      return fail(Error("explore.database", Failure::bad_input, std::move(why))
                      .in_file(path)
                      .with_hint("give a database that danaus explore has written"));
    };
    DANAUS_TRY(tables,
               prepare("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('meta', 'points')"));
    DANAUS_CHECK(step(tables));
    if (sqlite3_column_int(tables.get(), 0) != 2) return foreign("this is a database, but not one of danaus explore");
    DANAUS_CHECK(check_columns("meta", {{"key", "TEXT"}, {"value", "TEXT"}}));
    DANAUS_TRY(select, prepare("SELECT key, value FROM meta"));
    std::map<std::string, std::string> meta;
    for (;;) {
      DANAUS_TRY(more, step(select));
      if (!more) break;
      for (const int column : {0, 1})
        if (sqlite3_column_type(select.get(), column) != SQLITE_TEXT)
          return fail(damaged("the table meta holds something that is no text"));
      meta[column_text(select.get(), 0)] = column_text(select.get(), 1);
    }
    if (meta["schema"] != kSchema)
      return foreign(
          fmt::format("this database has schema '{}', this danaus reads {}", meta["schema"].substr(0, 64), kSchema));
    DatabaseHead head;
    head.version = meta["version"];
    head.study_file = meta["study_file"];
    head.study_text = meta["study"];
    head.axes = split(meta["axes"]);
    head.shard = meta["shard"];
    const std::string& points = meta["points"];
    const std::from_chars_result read = std::from_chars(points.data(), points.data() + points.size(), head.points);
    if (!parse_digest(meta["plan"], head.plan) || read.ec != std::errc())
      return fail(damaged("the table meta has no plan or no number of points"));
    for (const auto& [key, value] : entries_of(head))
      if (meta[key] != value) return fail(damaged("the table meta does not have the digest that it gives"));
    DANAUS_CHECK(check_columns("points", columns_of(head.axes)));
    return head;
  }

  /// Whether `table` has these columns with these types; it may have others.
  Result<void> check_columns(const std::string& table, const std::vector<Column>& wanted) const {
    DANAUS_TRY(select, prepare(fmt::format("PRAGMA table_info({})", identifier(table))));
    std::map<std::string, std::string> types;
    for (;;) {
      DANAUS_TRY(more, step(select));
      if (!more) break;
      types[column_text(select.get(), 1)] = column_text(select.get(), 2);
    }
    for (const Column& column : wanted) {
      const auto there = types.find(column.name);
      if (there == types.end()) return fail(damaged(fmt::format("the table {} has no column {}", table, column.name)));
      if (there->second != column.type)
        return fail(damaged(fmt::format("the column {} of the table {} has type '{}', not '{}'", column.name, table,
                                        there->second.substr(0, 64), column.type)));
    }
    return {};
  }

  Result<Value> read_parameter(sqlite3_stmt* row, int column, const std::string& point) const {
    switch (sqlite3_column_type(row, column)) {
      case SQLITE_INTEGER:
        return Value(std::int64_t{sqlite3_column_int64(row, column)});
      case SQLITE_FLOAT:
        return Value(sqlite3_column_double(row, column));
      case SQLITE_TEXT: {
        std::string text = column_text(row, column);
        return text == "true" ? Value(true) : text == "false" ? Value(false) : Value(std::move(text));
      }
      default:
        return fail(damaged(fmt::format("{} has no {}", point, sqlite3_column_name(row, column))));
    }
  }

  Result<std::optional<double>> read_metric(sqlite3_stmt* row, int column, const Metric& metric,
                                            const std::string& point) const {
    const int type = sqlite3_column_type(row, column);
    if (type == SQLITE_NULL) return std::optional<double>();
    const double value = type == SQLITE_FLOAT ? sqlite3_column_double(row, column) : std::nan("");
    const bool good =
        metric.whole ? value >= 0 && value < kLargestCount && value == std::floor(value) : value >= metric.smallest;
    if (!good) return fail(damaged(fmt::format("{} has a {} that cannot be", point, metric.name)));
    return std::optional(value);
  }

  /// A row of columns_of(axes).
  Result<Row> read_row(sqlite3_stmt* row, const std::vector<std::string>& axes) const {
    Row one;
    if (sqlite3_column_type(row, 0) != SQLITE_INTEGER || sqlite3_column_int64(row, 0) < 0)
      return fail(damaged("a point has no number"));
    one.outcome.number = static_cast<std::uint64_t>(sqlite3_column_int64(row, 0));
    const std::string point = fmt::format("point {}", one.outcome.number);
    if (sqlite3_column_type(row, 1) != SQLITE_TEXT || !parse_digest(column_text(row, 1), one.id))
      return fail(damaged(point + " has no id"));
    const std::int64_t feasible = sqlite3_column_int64(row, 2);
    if (sqlite3_column_type(row, 2) != SQLITE_INTEGER || (feasible != 0 && feasible != 1))
      return fail(damaged(point + " is neither feasible nor not"));
    one.feasible = feasible == 1;
    for (const int column : {3, 4})
      if (const int type = sqlite3_column_type(row, column); type != SQLITE_NULL && type != SQLITE_TEXT)
        return fail(damaged(fmt::format("{} has an {} that is no text", point, column == 3 ? "error" : "message")));
    int column = kFirstAxis;
    for (const std::string& axis : axes) {
      DANAUS_TRY(value, read_parameter(row, column++, point));
      one.parameters.emplace_back(axis, std::move(value));
    }
    bool has_figures = false;
    for (const Metric& metric : metrics()) {
      DANAUS_TRY(value, read_metric(row, column++, metric, point));
      has_figures = has_figures || value;
      one.outcome.values.push_back(value);
    }
    const bool failed = sqlite3_column_type(row, 3) != SQLITE_NULL;
    const bool has_message = sqlite3_column_type(row, 4) != SQLITE_NULL;
    if (failed && (has_figures || one.feasible || !has_message))
      return fail(damaged(fmt::format("{} has an error, but {}", point,
                                      has_figures    ? "figures, too"
                                      : one.feasible ? "is feasible"
                                                     : "no message")));
    if (failed) {
      one.outcome.error = PointError{column_text(row, 3), column_text(row, 4)};
      one.outcome.values.clear();
      return one;
    }
    if (!has_figures) return fail(damaged(point + " has neither figures nor an error"));
    if (has_message == one.feasible)
      return fail(damaged(fmt::format(
          "{} {}", point, one.feasible ? "is feasible, but says why not" : "is not feasible, but does not say why")));
    one.infeasible_because = column_text(row, 4);
    return one;
  }
};

namespace {

/// Is a database of another study, version or shard taken for ours?
Result<void> check_same(const DatabaseHead& there, const DatabaseHead& wanted, const std::string& path) {
  const auto other = [&](std::string message, std::string hint) {
    return fail(
        Error("explore.other-study", Failure::bad_input, std::move(message)).in_file(path).with_hint(std::move(hint)));
  };
  if (there.version != wanted.version)
    return other(fmt::format("this database is of danaus {}, this is danaus {}", there.version, wanted.version),
                 "figures of two versions are not mixed: start a new database with -o");
  if (there.plan != wanted.plan)
    return other("this database is of another study, or a model, chip or text of the study has changed",
                 "start a new database with -o; only the budget of a grid or a random sample may grow");
  if (there.shard != wanted.shard)
    return other(fmt::format("this database is of {}, not of {}",
                             there.shard.empty() ? "the whole study" : "shard " + there.shard,
                             wanted.shard.empty() ? "the whole study" : "shard " + wanted.shard),
                 "give each shard a database of its own, then danaus explore merge");
  if (there.points > wanted.points)
    return other(fmt::format("this database is of {} points, the study has {} now: a budget can only grow",
                             there.points, wanted.points),
                 "set the budget to what it was or more, or start a new database with -o");
  return {};
}

}  // namespace

Database::Database(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& path, Open how, const DatabaseHead* head) {
  std::error_code ignored;
  if (how == Open::read && !std::filesystem::exists(path, ignored))
    return fail(Error("explore.no-database", Failure::io, "there is no such database")
                    .in_file(path)
                    .with_hint("danaus explore study.toml writes one"));
  if (std::filesystem::is_directory(path, ignored))
    return fail(
        Error("explore.database", Failure::io, "this is a folder").in_file(path).with_hint("give the name of a file"));
  auto connection = std::make_unique<Connection>();
  connection->path = path;
  DANAUS_CHECK(connection->connect(how == Open::read ? 0 : SQLITE_OPEN_CREATE));
  DANAUS_TRY(used, connection->has_tables());
  if (how == Open::read) {
    if (!used)
      return fail(Error("explore.database", Failure::bad_input,
                        "this database is empty: its study was interrupted before the first point")
                      .in_file(path)
                      .with_hint("danaus explore study.toml --resume goes on"));
    DANAUS_TRY(there, connection->read_meta());
    Database database(std::move(connection));
    database.head_ = std::move(there);
    return database;
  }
  const auto exists = [&] {
    return fail(Error("explore.exists", Failure::usage, "there is a database already")
                    .in_file(path)
                    .with_hint("--resume computes what is missing in it; -o FILE writes another one"));
  };
  if (used && how == Open::create) return exists();
  DANAUS_CHECK(connection->execute("PRAGMA journal_mode = WAL"));
  DANAUS_CHECK(connection->execute("PRAGMA synchronous = NORMAL"));
  DANAUS_CHECK(connection->execute("BEGIN IMMEDIATE"));
  DANAUS_TRY(used_now, connection->has_tables());  // by another process, meanwhile
  if (used_now && how == Open::create) return exists();
  Database database(std::move(connection));
  if (used_now) {
    DANAUS_TRY(there, database.connection_->read_meta());
    DANAUS_CHECK(check_same(there, *head, path));
    if (head->points > there.points) DANAUS_CHECK(database.connection_->write_meta(*head));
  } else {
    DANAUS_CHECK(database.connection_->create_tables(*head));
  }
  DANAUS_CHECK(database.connection_->execute("COMMIT"));
  database.head_ = *head;
  return database;
}

Result<std::vector<Row>> Database::rows() const {
  DANAUS_TRY(select, connection_->prepare(
                         fmt::format("SELECT {} FROM points ORDER BY number", names_of(columns_of(head_.axes)))));
  std::vector<Row> rows;
  for (;;) {
    DANAUS_TRY(more, connection_->step(select));
    if (!more) return rows;
    DANAUS_TRY(row, connection_->read_row(select.get(), head_.axes));
    rows.push_back(std::move(row));
  }
}

Error Database::damaged(std::string what) const { return connection_->damaged(std::move(what)); }

Result<void> Database::add(std::span<const Row> rows) {
  if (rows.empty()) return {};
  const std::vector<Column> columns = columns_of(head_.axes);
  std::string places = "?";
  for (std::size_t n = 1; n < columns.size(); ++n) places += ", ?";
  DANAUS_TRY(insert,
             connection_->prepare(fmt::format("INSERT INTO points({}) VALUES ({}) ON CONFLICT(number) DO NOTHING",
                                              names_of(columns), places)));
  sqlite3_stmt* const statement = insert.get();
  const auto bind_text = [&](int column, const std::string& text) {
    sqlite3_bind_text(statement, column, text.c_str(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  };
  DANAUS_CHECK(connection_->execute("BEGIN IMMEDIATE"));
  for (const Row& row : rows) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    sqlite3_bind_int64(statement, 1, static_cast<sqlite3_int64>(row.outcome.number));
    bind_text(2, to_string(row.id));
    sqlite3_bind_int(statement, 3, row.feasible ? 1 : 0);
    if (row.outcome.error) {
      bind_text(4, row.outcome.error->id);
      bind_text(5, row.outcome.error->message);
    } else if (!row.feasible) {
      bind_text(5, row.infeasible_because);
    }
    int column = kFirstAxis + 1;
    for (const auto& [key, value] : row.parameters) {
      if (const std::int64_t* whole = std::get_if<std::int64_t>(&value)) {
        sqlite3_bind_int64(statement, column, *whole);
      } else if (const double* number = std::get_if<double>(&value)) {
        sqlite3_bind_double(statement, column, *number);
      } else {
        bind_text(column, to_string(value));
      }
      ++column;
    }
    for (const std::optional<double>& value : row.outcome.values) {
      if (value) sqlite3_bind_double(statement, column, *value);
      ++column;
    }
    DANAUS_CHECK(connection_->step(insert));
  }
  insert.reset();
  return connection_->execute("COMMIT");
}

}  // namespace danaus::explore
