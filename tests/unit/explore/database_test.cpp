#include "danaus/explore/database.h"

#include <sqlite3.h>

#include <fstream>
#include <limits>

#include "danaus/explore/results.h"
#include "explore_test.h"

using namespace danaus;
using namespace danaus::explore;

namespace {

DatabaseHead head() {
  DatabaseHead head;
  head.version = "1.2.3";
  head.study_file = "s.toml";
  head.study_text =
      "[study]\nmodel = \"gpt2\"\nconstraint = \"arrays <= 19\"\n[sweep]\nmap = [\"linear\", \"dense\"]\n"
      "adc.energy = [2, \"regression\"]\nrelative_error = [true, false]\n"
      "compression = {from = 1, to = 16, points = 31}\n";
  head.plan = digest_of(std::string_view("plan"));
  head.axes = {"map", "adc.energy", "relative_error", "compression"};
  head.points = 100;
  return head;
}

Row row(std::uint64_t number, double seed = 0.1) {
  Row row;
  row.outcome.number = number;
  row.id = digest_of(std::string_view(std::to_string(number)));
  row.parameters = {{"map", Value(std::string("dense"))},
                    {"adc.energy", number % 2 == 0 ? Value(std::string("regression")) : Value(2.0)},
                    {"relative_error", Value(number % 2 == 0)},
                    {"compression", number % 2 == 0 ? Value(std::int64_t{8}) : Value(2.5)}};
  for (std::size_t n = 0; n < metrics().size(); ++n) {
    const double value = seed * static_cast<double>(n) / 3;
    row.outcome.values.push_back(n % 5 == 2           ? std::nullopt
                                 : metrics()[n].whole ? std::optional(static_cast<double>(number + n))
                                                      : std::optional(value));
  }
  row.feasible = number + *find_metric("arrays") <= 19;
  row.infeasible_because = row.feasible ? "" : "arrays <= 19 is not kept";
  return row;
}

Row failed_row(std::uint64_t number) {
  Row failed = row(number);
  failed.outcome.values.clear();
  failed.outcome.error = PointError{"place.capacity", "it's 'too' large: \"4\", 5\n"};
  failed.feasible = false;
  failed.infeasible_because.clear();
  return failed;
}

/// Runs SQL in the file as anyone can.
void change(const std::string& path, const std::string& sql) {
  sqlite3* connection = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &connection) == SQLITE_OK);
  char* problem = nullptr;
  const int code = sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, &problem);
  CAPTURE(sql);
  if (code != SQLITE_OK) FAIL(std::string(problem));
  sqlite3_close(connection);
}

Database create(const std::string& path, const DatabaseHead& wanted) {
  Result<Database> database = Database::open(path, Database::Open::create, &wanted);
  if (!database) FAIL(to_string(database.error()));
  return std::move(*database);
}

}  // namespace

TEST_CASE("rows come back to the bit, in study order, after reopening") {
  const TemporaryFolder folder;
  const std::vector<Row> rows = {row(17, std::numeric_limits<double>::denorm_min()), row(2, 1e300), failed_row(4)};
  {
    Database database = create(folder / "a.db", head());
    REQUIRE(database.add(rows));
    REQUIRE(database.add(rows));  // a second time changes nothing
  }
  const Result<Database> database = Database::open(folder / "a.db", Database::Open::read);
  REQUIRE(database);
  CHECK(database->head() == head());
  const Result<std::vector<Row>> read = database->rows();
  REQUIRE(read);
  CHECK(*read == std::vector<Row>{rows[1], rows[2], rows[0]});
}

TEST_CASE("a database is created once and resumed by its own study only") {
  const TemporaryFolder folder;
  const DatabaseHead mine = head();
  CHECK(Database::open(folder / "a.db", Database::Open::read).error().id == "explore.no-database");
  REQUIRE(create(folder / "a.db", mine).add(std::vector<Row>{row(1)}));
  CHECK(Database::open(folder / "a.db", Database::Open::create, &mine).error().id == "explore.exists");
  CHECK(Database::open(folder / "a.db", Database::Open::resume, &mine)->rows()->size() == 1);
  DatabaseHead other = mine;
  other.plan.low ^= 1;
  CHECK(Database::open(folder / "a.db", Database::Open::resume, &other).error().id == "explore.other-study");
  other = mine;
  other.version = "1.2.4";
  CHECK(Database::open(folder / "a.db", Database::Open::resume, &other).error().id == "explore.other-study");
  other = mine;
  other.shard = "1/2";
  CHECK(Database::open(folder / "a.db", Database::Open::resume, &other).error().id == "explore.other-study");
  other = mine;
  other.points = 200;  // a larger budget
  REQUIRE(Database::open(folder / "a.db", Database::Open::resume, &other));
  CHECK(Database::open(folder / "a.db", Database::Open::read)->head().points == 200);
  const Error smaller = Database::open(folder / "a.db", Database::Open::resume, &mine).error();
  CHECK(smaller.id == "explore.other-study");
  CHECK(smaller.message == "this database is of 200 points, the study has 100 now: a budget can only grow");
  CHECK(Database::open(folder / "a.db", Database::Open::read)->head().points == 200);
}

TEST_CASE("only a point that is there keeps its row; an id that two points have is damage") {
  const TemporaryFolder folder;
  Database database = create(folder / "a.db", head());
  REQUIRE(database.add(std::vector<Row>{row(1)}));
  REQUIRE(database.add(std::vector<Row>{row(1, 0.7)}));
  CHECK(*database.rows() == std::vector<Row>{row(1)});
  Row twin = row(2);
  twin.id = row(1).id;
  const Error error = database.add(std::vector<Row>{twin}).error();
  CHECK(error.id == "explore.database");
  CHECK(error.failure == Failure::bad_input);
}

TEST_CASE("whatever a row or the table meta says that cannot be is an error of the database") {
  const std::vector<std::string> changes = {
      // rows
      "UPDATE points SET feasible = 1, error = 'place.capacity', latency_ns = NULL WHERE number = 4",
      "UPDATE points SET feasible = 1 WHERE number = 4",
      "UPDATE points SET feasible = 1 WHERE number = 17",
      "UPDATE points SET feasible = 2 WHERE number = 1",
      "UPDATE points SET feasible = 'yes' WHERE number = 1",
      "UPDATE points SET feasible = 0, message = 'arrays <= 19 is not kept' WHERE number = 1",
      "UPDATE points SET message = 'for no reason' WHERE number = 17",
      "UPDATE points SET message = NULL WHERE number = 4",
      "UPDATE points SET error = NULL WHERE number = 4",
      "UPDATE points SET error = 5.5 || x'00ff', message = x'00' WHERE number = 4",
      "UPDATE points SET error = 'place.capacity', feasible = 0, message = 'm' WHERE number = 1",
      "UPDATE points SET id = 'f' WHERE number = 1",
      "UPDATE points SET id = x'0011' WHERE number = 1",
      "UPDATE points SET number = -1 WHERE number = 1",
      "UPDATE points SET number = 999999 WHERE number = 1",
      "UPDATE points SET latency_ns = 'fast' WHERE number = 1",
      "UPDATE points SET latency_ns = x'00' WHERE number = 1",
      "UPDATE points SET latency_ns = -1 WHERE number = 1",
      "UPDATE points SET arrays = 2.5 WHERE number = 1",
      "UPDATE points SET arrays = 1e300 WHERE number = 1",
      "UPDATE points SET arrays = 400 WHERE number = 1",
      "UPDATE points SET map = NULL WHERE number = 1",
      "UPDATE points SET map = x'6d' WHERE number = 1",
      // columns
      "ALTER TABLE points RENAME COLUMN latency_ns TO latency",
      "ALTER TABLE points RENAME COLUMN map TO mapping",
      "ALTER TABLE points RENAME COLUMN error TO mistake",
      "ALTER TABLE points RENAME COLUMN number TO nr",
      "ALTER TABLE points DROP COLUMN energy_nj; ALTER TABLE points ADD COLUMN energy_nj TEXT",
      "ALTER TABLE points RENAME TO p; CREATE VIEW points AS SELECT * FROM p",
      "DROP TABLE points",
      "ALTER TABLE meta RENAME COLUMN value TO text",
      // meta
      "UPDATE meta SET value = value || ' ' WHERE key = 'study'",
      "UPDATE meta SET value = 'no study' WHERE key = 'study'",
      "UPDATE meta SET value = x'00' WHERE key = 'study_file'",
      "UPDATE meta SET value = '1000' WHERE key = 'points'",
      "UPDATE meta SET value = 'many' WHERE key = 'points'",
      "UPDATE meta SET value = '1/2' WHERE key = 'shard'",
      "UPDATE meta SET value = 'map' WHERE key = 'axes'",
      "UPDATE meta SET value = '0' WHERE key = 'plan'",
      "UPDATE meta SET value = '1.2.4' WHERE key = 'version'",
      "UPDATE meta SET value = 'danaus.explore/9' WHERE key = 'schema'",
      "DELETE FROM meta WHERE key = 'digest'",
      "DELETE FROM meta",
  };
  const TemporaryFolder folder;
  REQUIRE(create(folder / "good.db", head()).add(std::vector<Row>{row(1), failed_row(4), row(17)}));
  REQUIRE(read_results(folder / "good.db"));
  for (const std::string& sql : changes) {
    CAPTURE(sql);
    std::filesystem::copy_file(folder / "good.db", folder / "bad.db",
                               std::filesystem::copy_options::overwrite_existing);
    change(folder / "bad.db", sql);
    const Result<Results> results = read_results(folder / "bad.db");
    REQUIRE_FALSE(results);
    CHECK(results.error().id == "explore.database");
    CHECK(results.error().failure == Failure::bad_input);
    CHECK(results.error().where.file == folder / "bad.db");
  }
}

TEST_CASE("a column that someone has added does no harm") {
  const TemporaryFolder folder;
  REQUIRE(create(folder / "a.db", head()).add(std::vector<Row>{row(1)}));
  change(folder / "a.db", "ALTER TABLE points ADD COLUMN remark TEXT; UPDATE points SET remark = 'mine'");
  CHECK(read_results(folder / "a.db")->rows == std::vector<Row>{row(1)});
}

TEST_CASE("names that mean something in a URI are names") {
  const TemporaryFolder folder;
  for (const std::string name : {"a%20b.db", "what?.db", "a?immutable=1.db", "c#d.db"}) {
    CAPTURE(name);
    REQUIRE(create(folder / name, head()).add(std::vector<Row>{row(1)}));
    CHECK(std::filesystem::exists(folder / name));
    CHECK(read_results(folder / name)->rows.size() == 1);
  }
}

TEST_CASE("what is left of a creation that was killed is as good as nothing") {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.db").close();
  CHECK(Database::open(folder / "a.db", Database::Open::read).error().id == "explore.database");
  create(folder / "a.db", head());
  CHECK(Database::open(folder / "a.db", Database::Open::read));
}

TEST_CASE("any damaged database is an error or a database, never a crash") {
  const TemporaryFolder folder;
  REQUIRE(create(folder / "a.db", head()).add(std::vector<Row>{row(1), row(2), row(3)}));
  std::ifstream file(folder / "a.db", std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto probe = [&](const std::string& content) {
    std::ofstream(folder / "b.db", std::ios::binary)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    static_cast<void>(read_results(folder / "b.db"));
  };
  for (std::size_t n = 0; n < good.size(); n += 97) {
    probe(good.substr(0, n));
    std::string damaged = good;
    damaged[n] = static_cast<char>(damaged[n] ^ 0x55);
    probe(damaged);
  }
  probe("not a database at all, but long enough to be looked at by anyone who opens it as such");
  CHECK(Database::open(folder / "b.db", Database::Open::read).error().id == "explore.database");
}

TEST_CASE("shards merge; one point with two results does not") {
  const TemporaryFolder folder;
  DatabaseHead shard = head();
  shard.shard = "1/2";
  REQUIRE(create(folder / "a.db", shard).add(std::vector<Row>{row(0), row(2)}));
  shard.shard = "2/2";
  REQUIRE(create(folder / "b.db", shard).add(std::vector<Row>{row(1), row(2)}));
  const Result<Merged> both = merge({folder / "a.db", folder / "b.db"}, folder / "c.db");
  REQUIRE(both);
  CHECK(both->rows == 3);
  CHECK(both->points == 100);
  CHECK(both->missing.empty());
  CHECK(merge({folder / "b.db"}, folder / "one.db")->missing == std::vector<std::string>{"1/2"});
  const Result<Database> merged = Database::open(folder / "c.db", Database::Open::read);
  REQUIRE(merged);
  CHECK(merged->head() == head());
  CHECK(*merged->rows() == std::vector<Row>{row(0), row(1), row(2)});

  REQUIRE(create(folder / "d.db", shard).add(std::vector<Row>{row(2, 0.2)}));
  CHECK(merge({folder / "a.db", folder / "d.db"}, folder / "e.db").error().id == "explore.merge");
  CHECK_FALSE(std::filesystem::exists(folder / "e.db"));
  shard.plan.high ^= 1;
  create(folder / "f.db", shard);
  CHECK(merge({folder / "a.db", folder / "f.db"}, folder / "e.db").error().id == "explore.merge");
  CHECK(merge({folder / "a.db"}, folder / "b.db").error().id == "explore.exists");
}
