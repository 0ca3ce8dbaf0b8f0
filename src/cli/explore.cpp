// danaus explore: a study to a database; and what can be done with databases: export, pareto, merge.

#include "danaus/explore/explore.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/parquet.h"
#include "cli/version.h"
#include "danaus/core/parallel.h"
#include "danaus/explore/evaluate_point.h"
#include "danaus/explore/options.h"

namespace danaus::cli {
namespace {

Error wrong(std::string message, std::string hint) {
  return Error("cli.arguments", Failure::usage, std::move(message)).with_hint(std::move(hint));
}

/// Options that have no meaning here are not silently ignored.
Result<void> refuse(bool given, std::string_view option, std::string_view what) {
  if (!given) return {};
  return fail(wrong(fmt::format("{} does not go with danaus explore {}", option, what), "see danaus explore --help"));
}

Result<void> check_options(const Arguments& arguments, std::string_view verb) {
  const bool is_export = verb == "export";
  const bool is_study = verb == "STUDY";
  DANAUS_CHECK(refuse(!is_export && !arguments.format.empty(), "--format", verb));
  DANAUS_CHECK(refuse(!is_export && arguments.front, "--pareto", verb));
  DANAUS_CHECK(refuse(!is_study && arguments.resume, "--resume", verb));
  DANAUS_CHECK(refuse(!is_study && !arguments.shard.empty(), "--shard", verb));
  DANAUS_CHECK(refuse(verb == "pareto" && !arguments.output.empty(), "-o", verb));
  if (verb == "merge" && arguments.output.empty())
    return fail(wrong("merge needs a database to write", "add -o study.db"));
  if (verb == "merge" && arguments.study.size() < 2)
    return fail(wrong("merge needs databases", "danaus explore merge A.db B.db -o C.db"));
  if ((verb == "export" || verb == "pareto") && arguments.study.size() != 2)
    return fail(wrong(fmt::format("{} needs one database", verb), fmt::format("danaus explore {} study.db", verb)));
  if (is_study && arguments.study.size() != 1)
    return fail(
        wrong(fmt::format("'{}' is more than one study", fmt::format("{} {}", arguments.study[0], arguments.study[1])),
              "danaus explore study.toml, or export, pareto or merge first"));
  return {};
}

/// "1 point in x.db"
std::string points_in(std::uint64_t count, const std::string& database) {
  return fmt::format("{} point{} in {}", count, count == 1 ? "" : "s", database);
}

std::string default_database(const explore::Study& study) { return study.name + ".db"; }

void tell_how_many_are_missing(const explore::Results& results, const std::string& database, Console& console) {
  if (results.rows.size() >= results.head.points || !results.head.shard.empty()) return;
  const bool is_default = std::filesystem::path(database).lexically_normal() == default_database(results.study);
  console.talk(fmt::format("note: {} of {} points are there; danaus explore {}{} --resume computes the rest",
                           results.rows.size(), results.head.points, results.head.study_file,
                           is_default ? "" : " -o " + database));
}

/// Where no point has figures: what to do about the error of the first. Rows do not hold it.
void tell_hint(const explore::Results& results, const explore::Plan& plan, Console& console) {
  const bool all_failed = std::all_of(results.rows.begin(), results.rows.end(),
                                      [](const explore::Row& row) { return row.outcome.error.has_value(); });
  if (!all_failed || results.rows.empty()) return;
  const std::uint64_t number = results.rows.front().outcome.number;
  const Result<explore::MetricValues> again = explore::PointEvaluator(plan).values_of(number);
  if (!again && !again.error().hint.empty())
    console.talk(fmt::format("hint for point {}: {}", number, explore::in_words_of_a_study(again.error().hint)));
}

/// A study that has nothing to choose from has failed; a shard of one has not.
Result<void> check_usable(const explore::Results& results) {
  std::size_t failed = 0, outside = 0;
  for (const explore::Row& row : results.rows) {
    if (row.feasible) return {};
    ++(row.outcome.error ? failed : outside);
  }
  if (!results.head.shard.empty()) return {};
  std::string why = fmt::format("{} with an error", failed);
  if (outside > 0) why = (failed > 0 ? why + ", " : "") + fmt::format("{} outside the constraints", outside);
  return fail(Error("explore.no-point", Failure::check, fmt::format("no point of the study is usable: {}", why))
                  .with_hint("the table says why, reason by reason; change what is fixed, swept or constrained"));
}

/// An interrupt waits until the database is closed: SQLite removes its log then.
Result<explore::Results> read_results(const std::string& database) {
  const UninterruptedWriting guard;
  return explore::read_results(database);
}

Result<int> export_results(const Arguments& arguments, Console& console) {
  DANAUS_TRY(results, read_results(arguments.study[1]));
  tell_how_many_are_missing(results, arguments.study[1], console);
  const bool as_json = arguments.format == "json" || (arguments.format.empty() && arguments.json);
  std::string text;
  if (arguments.format == "parquet") {
    DANAUS_TRY(bytes, parquet_of(report::study_json(results, arguments.front)));
    text = std::move(bytes);
  } else {
    text = as_json ? report::study_json(results, arguments.front) : report::study_csv(results, arguments.front);
  }
  if (!arguments.output.empty()) {
    DANAUS_CHECK(write_output(arguments.output, text));
  } else {
    DANAUS_CHECK(console.result(text));
  }
  return 0;
}

/// A whole study that has just been computed, or, without a plan, the front of a database.
Result<int> show_results(const std::string& database, const Arguments& arguments, Console& console,
                         const explore::Plan* plan) {
  DANAUS_TRY(results, read_results(database));
  if (plan == nullptr) tell_how_many_are_missing(results, database, console);
  DANAUS_CHECK(console.result(arguments.json ? report::study_json(results, plan == nullptr, provenance(arguments))
                                             : report::study_table(results)));
  if (plan == nullptr) return 0;
  tell_hint(results, *plan, console);
  DANAUS_CHECK(check_usable(results));
  return 0;
}

Result<int> merge_databases(const Arguments& arguments, Console& console) {
  const std::vector<std::string> inputs(arguments.study.begin() + 1, arguments.study.end());
  const UninterruptedWriting guard;
  DANAUS_TRY(merged, explore::merge(inputs, arguments.output));
  console.talk(points_in(merged.rows, arguments.output));
  if (merged.rows < merged.points)
    console.talk(fmt::format("note: {} of {} points are missing{}; danaus explore STUDY -o {} --resume computes them",
                             merged.points - merged.rows, merged.points,
                             merged.missing.empty()
                                 ? ""
                                 : fmt::format(", of shard {} there is no database", fmt::join(merged.missing, ", ")),
                             arguments.output));
  return 0;
}

Result<explore::Plan> make_plan(const Arguments& arguments, Progress& progress) {
  DANAUS_TRY(study, explore::load_study(arguments.study[0], arguments.seed));
  return explore::Plan::create(std::move(study), build(), progress);
}

/// "front 5, best latency_ns 1728"
std::string best_so_far(const explore::Plan& plan, const explore::Front& front) {
  const explore::Objective& objective = plan.study().objectives.front();
  std::optional<double> best;
  for (const explore::Row& row : front.rows()) {
    const double value = *row.outcome.values[objective.metric];
    if (!best || (objective.direction == explore::Direction::least ? value < *best : value > *best)) best = value;
  }
  return fmt::format("front {}, best {} {:.4g}", front.size(), explore::metrics()[objective.metric].name,
                     best.value_or(0));
}

Result<int> run_study(const Arguments& arguments, Console& console) {
  explore::ExploreOptions options;
  std::unique_ptr<explore::Communicator> ranks;
  if (arguments.shard.empty()) {
    DANAUS_TRY(connected, explore::connect_mpi());
    ranks = std::move(connected);
  } else {
    DANAUS_TRY(shard, explore::parse_shard(arguments.shard));
    options.shard = shard;
  }
  const bool leads = ranks == nullptr || ranks->rank() == 0;
  if (ranks != nullptr && arguments.threads == 0) set_thread_count(1);
  options.threads = thread_count();
  options.communicator = ranks.get();
  options.resume = arguments.resume;

  /// Every rank says goodbye, with or without an error.
  struct Goodbye {
    explore::Communicator* ranks;
    ~Goodbye() {
      if (ranks != nullptr) ranks->finish();
    }
  };
  const Goodbye goodbye{ranks.get()};
  Result<explore::Plan> plan = make_plan(arguments, leads ? console.progress() : no_progress());
  const Result<void> agreed = ranks != nullptr ? explore::agree(*ranks, plan) : Result<void>{};
  // Rank 0 says it: a launcher that saw another rank fail first would end rank 0 before it has.
  if (!leads && (!plan || !agreed)) return 0;
  DANAUS_CHECK(agreed);
  if (!plan) return fail(std::move(plan).error());
  if (!leads) {
    DANAUS_CHECK(explore::explore(*plan, options, no_progress()));
    return 0;
  }
  for (const std::string& note : plan->notes()) console.talk("note: " + note);
  options.database = arguments.output.empty() ? default_database(plan->study()) : arguments.output;

  std::optional<UninterruptedWriting> guard(std::in_place);
  options.interrupted = [&] { return guard->interrupted(); };
  options.stopping = [&](std::uint64_t done, std::uint64_t total) {
    console.talk(fmt::format("\n{} of {} points are in {}; the same command with --resume goes on", done, total,
                             options.database));
    guard.reset();  // does not return
  };
  options.improved = [&](const explore::Front& front) { console.progress_note(best_so_far(*plan, front)); };
  DANAUS_TRY(exploration, explore::explore(*plan, options, console.progress()));
  console.talk(fmt::format("{}: {} computed, {} there before{}", points_in(exploration.total, options.database),
                           exploration.computed, exploration.before,
                           exploration.failed > 0 ? fmt::format(", {} with an error", exploration.failed) : ""));
  guard.reset();
  return show_results(options.database, arguments, console, &*plan);
}

}  // namespace

Result<int> explore_command(const Arguments& arguments, Console& console) {
  const std::string& first = arguments.study[0];
  const bool is_verb = first == "export" || first == "pareto" || first == "merge";
  DANAUS_CHECK(check_options(arguments, is_verb ? first : "STUDY"));
  if (first == "export") return export_results(arguments, console);
  if (first == "pareto") return show_results(arguments.study[1], arguments, console, nullptr);
  if (first == "merge") return merge_databases(arguments, console);
  return run_study(arguments, console);
}

}  // namespace danaus::cli
