// Two tables: meta (key, value) and points, one row a point with a column per axis and per metric, so that a query
// needs no knowledge of danaus. The tables come into being in one transaction; a file without tables is as good as no
// file, which makes creation whole or nothing. Axes' columns have no type: a value comes back as the type that it went
// in.

#include "danaus/explore/database.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <map>

namespace danaus::explore {
namespace {

constexpr std::string_view kSchema = "danaus.explore/1";
constexpr int kBusyMs = 30'000;

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

}  // namespace

std::string column_of(std::string_view key) {
  return find_metric(key) ? fmt::format("option.{}", key) : std::string(key);
}

struct Database::Connection {
  std::unique_ptr<sqlite3, CloseConnection> handle;
  std::string path;

  Error error(std::string_view what) const {
    const int code = sqlite3_errcode(handle.get()) & 0xff;
    const bool damaged = code == SQLITE_NOTADB || code == SQLITE_CORRUPT;
    return Error("explore.database", damaged ? Failure::bad_input : Failure::io,
                 fmt::format("{}: {}", what, sqlite3_errmsg(handle.get())))
        .in_file(path)
        .with_hint(damaged ? "this is no database of danaus explore, or a damaged one"
                           : "is the folder there, writable and not full?");
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
    const std::vector<std::pair<std::string, std::string>> entries = {{"schema", std::string(kSchema)},
                                                                      {"version", head.version},
                                                                      {"study_file", head.study_file},
                                                                      {"study", head.study_text},
                                                                      {"plan", to_string(head.plan)},
                                                                      {"axes", joined(head.axes)},
                                                                      {"points", fmt::format("{}", head.points)},
                                                                      {"shard", head.shard}};
    for (const auto& [key, value] : entries) {
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
    DANAUS_TRY(select, prepare("SELECT key, value FROM meta"));
    std::map<std::string, std::string> meta;
    for (;;) {
      DANAUS_TRY(more, step(select));
      if (!more) break;
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
      return foreign("the table meta of this database is damaged");
    return head;
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
                 "start a new database with -o; only the budget of a study may grow");
  if (there.shard != wanted.shard)
    return other(fmt::format("this database is of {}, not of {}",
                             there.shard.empty() ? "the whole study" : "shard " + there.shard,
                             wanted.shard.empty() ? "the whole study" : "shard " + wanted.shard),
                 "give each shard a database of its own, then danaus explore merge");
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
  // Names such as ":memory:" mean something to SQLite.
  const std::string name = path.starts_with('/') ? path : "./" + path;
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | (how == Open::read ? 0 : SQLITE_OPEN_CREATE);
  int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  connection->handle.reset(handle);
  if (code != SQLITE_OK && how == Open::read) {
    code = sqlite3_open_v2(name.c_str(), &handle, SQLITE_OPEN_READONLY, nullptr);
    connection->handle.reset(handle);
  }
  if (code != SQLITE_OK) return fail(connection->error("the database cannot be opened"));
  sqlite3_busy_timeout(handle, kBusyMs);
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

Result<std::vector<std::uint64_t>> Database::done() const {
  DANAUS_TRY(select, connection_->prepare("SELECT number FROM points ORDER BY number"));
  std::vector<std::uint64_t> numbers;
  for (;;) {
    DANAUS_TRY(more, connection_->step(select));
    if (!more) return numbers;
    numbers.push_back(static_cast<std::uint64_t>(sqlite3_column_int64(select.get(), 0)));
  }
}

Result<std::vector<Row>> Database::rows() const {
  std::string columns = "number, id, feasible, error, message";
  for (const std::string& axis : head_.axes) columns += fmt::format(", {}", identifier(column_of(axis)));
  for (const Metric& metric : metrics()) columns += fmt::format(", {}", identifier(metric.name));
  DANAUS_TRY(select, connection_->prepare(fmt::format("SELECT {} FROM points ORDER BY number", columns)));
  sqlite3_stmt* const row = select.get();
  std::vector<Row> rows;
  for (;;) {
    DANAUS_TRY(more, connection_->step(select));
    if (!more) return rows;
    Row one;
    one.outcome.number = static_cast<std::uint64_t>(sqlite3_column_int64(row, 0));
    if (!parse_digest(column_text(row, 1), one.id))
      return fail(Error("explore.database", Failure::bad_input, fmt::format("point {} has no id", one.outcome.number))
                      .in_file(connection_->path)
                      .with_hint("this database is damaged"));
    one.feasible = sqlite3_column_int(row, 2) != 0;
    int column = 5;
    for (const std::string& axis : head_.axes) {
      Value value;
      switch (sqlite3_column_type(row, column)) {
        case SQLITE_INTEGER:
          value = std::int64_t{sqlite3_column_int64(row, column)};
          break;
        case SQLITE_FLOAT:
          value = sqlite3_column_double(row, column);
          break;
        default: {
          const std::string text = column_text(row, column);
          value = text == "true" ? Value(true) : text == "false" ? Value(false) : Value(text);
        }
      }
      one.parameters.emplace_back(axis, std::move(value));
      ++column;
    }
    if (sqlite3_column_type(row, 3) != SQLITE_NULL) {
      one.outcome.error = PointError{column_text(row, 3), column_text(row, 4)};
    } else {
      for (std::size_t metric = 0; metric < metrics().size(); ++metric, ++column) {
        const bool none = sqlite3_column_type(row, column) == SQLITE_NULL;
        one.outcome.values.push_back(none ? std::nullopt : std::optional(sqlite3_column_double(row, column)));
      }
    }
    rows.push_back(std::move(one));
  }
}

Result<void> Database::add(std::span<const Row> rows) {
  if (rows.empty()) return {};
  std::string names = "number, id, feasible, error, message", places = "?, ?, ?, ?, ?";
  for (const std::string& axis : head_.axes) names += fmt::format(", {}", identifier(column_of(axis))), places += ", ?";
  for (const Metric& metric : metrics()) names += fmt::format(", {}", identifier(metric.name)), places += ", ?";
  DANAUS_TRY(insert, connection_->prepare(
                         fmt::format("INSERT INTO points({}) VALUES ({}) ON CONFLICT DO NOTHING", names, places)));
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
    }
    int column = 6;
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

Result<std::uint64_t> merge(const std::vector<std::string>& inputs, const std::string& output) {
  std::map<std::uint64_t, std::pair<Row, std::string>> all;
  std::optional<DatabaseHead> head;
  for (const std::string& path : inputs) {
    DANAUS_TRY(database, Database::open(path, Database::Open::read));
    DatabaseHead there = database.head();
    there.shard.clear();
    if (head && (there.plan != head->plan || there.version != head->version))
      return fail(Error("explore.merge", Failure::bad_input,
                        fmt::format("this database and {} are of different studies or versions", inputs.front()))
                      .in_file(path)
                      .with_hint("merge the shards of one study"));
    if (!head || there.points > head->points) head = std::move(there);
    DANAUS_TRY(rows, database.rows());
    for (Row& row : rows) {
      const std::uint64_t number = row.outcome.number;
      const auto [entry, fresh] = all.emplace(number, std::pair(row, path));
      if (fresh || entry->second.first == row) continue;
      return fail(Error("explore.merge", Failure::bad_input,
                        fmt::format("point {} has another result here than in {}", number, entry->second.second))
                      .in_file(path)
                      .with_hint("one of the databases was changed, or written by another build: compute it again"));
    }
  }
  std::vector<Row> rows;
  for (auto& [number, entry] : all) rows.push_back(std::move(entry.first));
  DANAUS_TRY(merged, Database::open(output, Database::Open::create, &*head));
  DANAUS_CHECK(merged.add(rows));
  return rows.size();
}

}  // namespace danaus::explore
