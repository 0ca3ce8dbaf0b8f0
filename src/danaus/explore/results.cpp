// What a database says is compared with the study that it carries: the points that it can have, and which are feasible.

#include "danaus/explore/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "danaus/explore/pareto.h"
#include "danaus/explore/shard.h"
#include "danaus/explore/space.h"

namespace danaus::explore {
namespace {

Result<void> check(const Database& database, const Study& study, const std::vector<Row>& rows) {
  const DatabaseHead& head = database.head();
  const bool same_axes = std::equal(head.axes.begin(), head.axes.end(), study.axes.begin(), study.axes.end(),
                                    [](const std::string& name, const Axis& axis) { return name == axis.key; });
  const Result<std::uint64_t> size = Space::size_of(study);
  if (!same_axes || !size || head.points > *size)
    return fail(database.damaged("the study in this database is not the one that its table is for"));
  if (rows.size() > head.points)
    return fail(database.damaged(fmt::format("there are {} rows, the study has {} points", rows.size(), head.points)));
  for (const Row& row : rows) {
    const std::uint64_t number = row.outcome.number;
    if (number >= *size)
      return fail(database.damaged(fmt::format("there is a point {}, the study has {}", number, *size)));
    DANAUS_CHECK(check_feasible(database, study, row));
  }
  return {};
}

/// Shards of which there is no database; nothing if all were given, or one has no shard.
std::vector<std::string> missing_shards(const std::vector<std::string>& shards) {
  std::set<std::uint32_t> given;
  std::uint32_t count = 0;
  for (const std::string& text : shards) {
    const Result<Shard> shard = parse_shard(text);
    if (!shard || (count != 0 && shard->count != count)) return {};
    count = shard->count;
    given.insert(shard->number);
  }
  std::vector<std::string> missing;
  for (std::uint32_t number = 1; number <= count; ++number)
    if (!given.contains(number)) missing.push_back(fmt::format("{}/{}", number, count));
  return missing;
}

}  // namespace

Result<void> check_feasible(const Database& database, const Study& study, const Row& row) {
  if (row.outcome.error || row.infeasible_because == why_infeasible(study, row.outcome.values)) return {};
  return fail(database.damaged(
      fmt::format("by its figures point {} is feasible or not for other reasons than it says", row.outcome.number)));
}

Result<Results> read_results(const std::string& path) {
  DANAUS_TRY(database, Database::open(path, Database::Open::read));
  Results results;
  results.head = database.head();
  Result<Study> study = parse_study(results.head.study_text, results.head.study_file);
  if (!study)
    return fail(
        database.damaged("the study in this database cannot be read")
            .note(fmt::format("{}:{}: {}", study.error().where.file, study.error().where.line, study.error().message)));
  results.study = std::move(*study);
  DANAUS_TRY(rows, database.rows());
  DANAUS_CHECK(check(database, results.study, rows));
  results.rows = std::move(rows);
  results.front = pareto_front(results.study.objectives, results.rows);
  return results;
}

Result<Merged> merge(const std::vector<std::string>& inputs, const std::string& output) {
  std::map<std::uint64_t, std::pair<Row, std::string>> all;
  std::optional<DatabaseHead> head;
  std::vector<std::string> shards;
  for (const std::string& path : inputs) {
    DANAUS_TRY(results, read_results(path));
    DatabaseHead there = std::move(results.head);
    shards.push_back(std::exchange(there.shard, {}));
    if (head && (there.plan != head->plan || there.version != head->version))
      return fail(Error("explore.merge", Failure::bad_input,
                        fmt::format("this database and {} are of different studies or versions", inputs.front()))
                      .in_file(path)
                      .with_hint("merge the shards of one study"));
    if (!head || there.points > head->points) head = std::move(there);
    for (const Row& row : results.rows) {
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
  Result<Database> merged = Database::open(output, Database::Open::create, &*head);
  if (!merged && merged.error().id == "explore.exists")
    return fail(std::move(merged).error().with_hint("merge writes a new one: give another -o, or remove this one"));
  if (!merged) return fail(std::move(merged).error());
  DANAUS_CHECK(merged->add(rows));
  return Merged{rows.size(), head->points, missing_shards(shards)};
}

}  // namespace danaus::explore
