#include "danaus/explore/database.h"

#include <fstream>
#include <limits>

#include "explore_test.h"

using namespace danaus;
using namespace danaus::explore;

namespace {

DatabaseHead head() {
  DatabaseHead head;
  head.version = "1.2.3";
  head.study_file = "s.toml";
  head.study_text = "[study]\nmodel = \"bert-base\"\n";
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
  row.feasible = number % 3 == 0;
  for (std::size_t n = 0; n < metrics().size(); ++n)
    row.outcome.values.push_back(n % 5 == 4 ? std::nullopt : std::optional(seed * static_cast<double>(n) / 3));
  return row;
}

Database create(const std::string& path, const DatabaseHead& wanted) {
  Result<Database> database = Database::open(path, Database::Open::create, &wanted);
  if (!database) FAIL(to_string(database.error()));
  return std::move(*database);
}

}  // namespace

TEST_CASE("rows come back to the bit, in study order, after reopening") {
  const TemporaryFolder folder;
  std::vector<Row> rows = {row(7, std::numeric_limits<double>::denorm_min()), row(2, 1e300), row(4)};
  rows[2].outcome.values.clear();
  rows[2].outcome.error = PointError{"place.capacity", "it's 'too' large: \"4\", 5\n"};
  rows[2].feasible = false;
  {
    Database database = create(folder / "a.db", head());
    REQUIRE(database.add(rows));
    REQUIRE(database.add(rows));  // a second time changes nothing
  }
  const Result<Database> database = Database::open(folder / "a.db", Database::Open::read);
  REQUIRE(database);
  CHECK(database->head() == head());
  CHECK(*database->done() == std::vector<std::uint64_t>{2, 4, 7});
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
  CHECK(Database::open(folder / "a.db", Database::Open::resume, &mine)->done()->size() == 1);
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
    if (const Result<Database> database = Database::open(folder / "b.db", Database::Open::read))
      static_cast<void>(database->rows());
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
  REQUIRE(merge({folder / "a.db", folder / "b.db"}, folder / "c.db"));
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
