// A board of points to do and outcomes that came back, between threads that compute, ranks that compute and one writer.
// Accuracy points go first, one at a time: they take long, and a long one that started last would be waited for. Cost
// points go to ranks in chunks that take about a tenth of a second, and shrink towards the end. Nothing of this shows in the results: an outcome depends on
// its point alone, and rows are read back in study order.

#include "danaus/explore/explore.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/explore/evaluate_point.h"
#include "danaus/explore/results.h"
#include "danaus/explore/wire.h"

namespace danaus::explore {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 1024;              // rows at most in one transaction
constexpr std::chrono::milliseconds kFlush{200};  // a row waits at most so long to be written
constexpr std::chrono::microseconds kPoll{500};   // between looks at messages
constexpr std::chrono::milliseconds kIdle{50};    // between looks at interrupts
constexpr std::chrono::milliseconds kTurn{100};   // a rank should be busy so long with a chunk
constexpr std::uint64_t kLargestChunk = 4096;     // points that a rank gets at once

class Step {
 public:
  Step(Progress& progress, const std::string& name, std::uint64_t total) : progress_(progress) {
    progress_.begin(name, total);
  }
  ~Step() { progress_.end(); }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  Progress& progress_;
};

/// Points to do and outcomes. Thread-safe.
class Board {
 public:
  explicit Board(std::vector<Point> todo) : todo_(std::move(todo)) {}

  /// The next points, nothing when there are no more: `most` cost points, or all that share what the model makes of
  /// the text.
  std::vector<std::uint64_t> take(std::uint64_t most) {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> taken;
    for (; !stopped_ && next_ < todo_.size(); ++next_) {
      const Point& point = todo_[next_];
      if (!taken.empty() && (point.accuracy != todo_[next_ - 1].accuracy || (!point.accuracy && taken.size() >= most)))
        break;
      taken.push_back(point.number);
    }
    return taken;
  }
  std::uint64_t left() const {
    const std::lock_guard lock(mutex_);
    return todo_.size() - next_;
  }
  void give(Result<Outcome> outcome) {
    {
      const std::lock_guard lock(mutex_);
      if (outcome) {
        outcomes_.push_back(std::move(*outcome));
      } else {
        stopped_ = true;
        if (!error_) error_ = std::move(outcome).error();
      }
    }
    arrived_.notify_one();
  }
  /// Hands out nothing more.
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  /// Outcomes since the last call; waits a while for one.
  template <typename Duration>
  std::vector<Outcome> collect(Duration patience) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, patience, [&] { return !outcomes_.empty() || error_; });
    return std::exchange(outcomes_, {});
  }
  std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Point> todo_;
  std::size_t next_ = 0;
  std::vector<Outcome> outcomes_;
  std::optional<Error> error_;
  bool stopped_ = false;
};

/// Null if there is none.
const Point* find_point(const Plan& plan, std::uint64_t number) {
  const auto point = std::lower_bound(plan.points().begin(), plan.points().end(), number,
                                      [](const Point& a, std::uint64_t wanted) { return a.number < wanted; });
  return point != plan.points().end() && point->number == number ? &*point : nullptr;
}

const Point& point_of(const Plan& plan, std::uint64_t number) {
  const Point* const point = find_point(plan, number);
  ensure(point != nullptr, "ranks talk about points of the plan");
  return *point;
}

/// Rows that a database has already are those of the plan's points.
Result<void> check_rows(const Plan& plan, const Shard& shard, const Database& database, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const std::uint64_t number = row.outcome.number;
    const Point* const point = find_point(plan, number);
    if (point == nullptr || !shard.holds(number))
      return fail(database.damaged(fmt::format("there is a point {}, which is none of the study or shard", number)));
    const auto same = [](const std::pair<std::string, Value>& a, const std::pair<std::string, Value>& b) {
      return a.first == b.first && to_string(a.second) == to_string(b.second);
    };
    const std::vector<std::pair<std::string, Value>> parameters = plan.parameters(number);
    if (row.id != point->id ||
        !std::equal(row.parameters.begin(), row.parameters.end(), parameters.begin(), parameters.end(), same))
      return fail(database.damaged(fmt::format("point {} has another id or other parameters in the study", number)));
    DANAUS_CHECK(check_feasible(database, plan.study(), row));
  }
  return {};
}

DatabaseHead head_of(const Plan& plan, const Shard& shard) {
  DatabaseHead head;
  head.version = plan.version();
  head.study_file = plan.study().file;
  head.study_text = plan.study().text;
  head.plan = plan.digest();
  for (const Axis& axis : plan.study().axes) head.axes.push_back(axis.key);
  head.points = plan.points().size();
  if (shard.count > 1) head.shard = fmt::format("{}/{}", shard.number, shard.count);
  return head;
}

/// The points of the shard that the database lacks, accuracy points first, those with the same accuracy in a row.
std::vector<Point> missing(const Plan& plan, const Shard& shard, const std::vector<Row>& done) {
  std::vector<Point> todo;
  std::size_t row = 0;  // both are in study order
  for (const Point& point : plan.points()) {
    while (row < done.size() && done[row].outcome.number < point.number) ++row;
    const bool is_done = row < done.size() && done[row].outcome.number == point.number;
    if (shard.holds(point.number) && !is_done) todo.push_back(point);
  }
  std::map<std::string, std::uint64_t> first;  // by digest
  for (const Point& point : todo)
    if (point.accuracy) first.emplace(to_string(*point.accuracy), point.number);
  std::stable_sort(todo.begin(), todo.end(), [&](const Point& a, const Point& b) {
    if (!a.accuracy || !b.accuracy) return a.accuracy.has_value() && !b.accuracy;
    return first.at(to_string(*a.accuracy)) < first.at(to_string(*b.accuracy));
  });
  return todo;
}

/// Rank 0, or the only process: hands out, collects, writes.
class Leader {
 public:
  Leader(const Plan& plan, const ExploreOptions& options, Progress& progress)
      : plan_(plan), options_(options), progress_(progress), front_(plan.study().objectives) {
    if (options.communicator != nullptr) workers_ = options.communicator->size() - 1;
  }
  /// Whatever happened, no rank is left waiting.
  ~Leader() { release_workers(); }

  Result<Exploration> run() {
    const DatabaseHead head = head_of(plan_, options_.shard);
    DANAUS_TRY(database, Database::open(options_.database,
                                        options_.resume ? Database::Open::resume : Database::Open::create, &head));
    database_ = std::move(database);
    DANAUS_TRY(rows, database_->rows());
    DANAUS_CHECK(check_rows(plan_, options_.shard, *database_, rows));
    for (const Row& row : rows) front_.add(row);
    if (front_.size() > 0 && options_.improved) options_.improved(front_);
    board_.emplace(missing(plan_, options_.shard, rows));
    const std::uint64_t todo = board_->left();
    for (const Point& point : plan_.points()) result_.total += options_.shard.holds(point.number) ? 1 : 0;
    result_.before = result_.total - todo;
    if (todo == 0) return result_;
    return work(todo);
  }

 private:
  Result<Exploration> work(std::uint64_t todo) {
    const Step step(progress_, fmt::format("explore {}", plan_.study().name), todo);
    PointEvaluator evaluator(plan_);
    std::vector<std::jthread> threads;
    const std::uint64_t count =
        std::min<std::uint64_t>(todo, static_cast<std::uint64_t>(std::max(1, options_.threads)));
    struct StopBoard {  // before the threads are waited for
      Board& board;
      ~StopBoard() { board.stop(); }
    };
    const StopBoard stop{*board_};
    for (std::uint64_t n = 0; n < count; ++n) {
      threads.emplace_back([&] {
        for (std::vector<std::uint64_t> next = board_->take(1); !next.empty(); next = board_->take(1))
          for (const std::uint64_t number : next) board_->give(evaluator.evaluate(number));
      });
    }
    Clock::time_point flushed = Clock::now();
    while (result_.computed < todo) {
      DANAUS_CHECK(answer_workers());
      for (Outcome& outcome : workers_ > 0 ? board_->collect(kPoll) : board_->collect(kIdle))
        accept(std::move(outcome));
      progress_.update(result_.computed);
      const bool interrupted = options_.interrupted && options_.interrupted();
      const std::optional<Error> error = board_->error();
      if (batch_.size() >= kBatch || Clock::now() - flushed >= kFlush || interrupted || error) {
        DANAUS_CHECK(flush());
        flushed = Clock::now();
      }
      if (error) return fail(*error);
      if (interrupted) {
        board_->stop();
        database_.reset();  // SQLite puts its log into the file and removes it
        result_.interrupted = true;
        if (options_.stopping) options_.stopping(result_.before + result_.computed, result_.total);
        return result_;
      }
    }
    DANAUS_CHECK(flush());
    return result_;
  }

  void accept(Outcome outcome) {
    Row row;
    row.id = point_of(plan_, outcome.number).id;
    row.parameters = plan_.parameters(outcome.number);
    if (!outcome.error) {
      row.infeasible_because = why_infeasible(plan_.study(), outcome.values);
      row.feasible = row.infeasible_because.empty();
    }
    row.outcome = std::move(outcome);
    ++result_.computed;
    if (row.outcome.error) ++result_.failed;
    if (front_.add(row) && options_.improved) options_.improved(front_);
    batch_.push_back(std::move(row));
  }

  Result<void> flush() {
    DANAUS_CHECK(database_->add(batch_));
    batch_.clear();
    return {};
  }

  /// What a rank is busy with.
  struct Turn {
    std::uint64_t points = 1;
    Clock::time_point began = Clock::now();
  };

  /// Twice as many points as the last time if they came back early, half as many if late.
  std::uint64_t chunk(int rank) {
    Turn& turn = turns_[rank];
    const Clock::duration took = Clock::now() - turn.began;
    if (took < kTurn / 2) turn.points *= 2;
    if (took > kTurn * 2) turn.points /= 2;
    const std::uint64_t hands = static_cast<std::uint64_t>(workers_ + std::max(1, options_.threads));
    turn.points = std::clamp<std::uint64_t>(turn.points, 1, kLargestChunk);
    turn.began = Clock::now();
    return std::clamp<std::uint64_t>(board_->left() / (4 * hands), 1, turn.points);
  }

  Result<void> answer_workers() {
    if (workers_ == 0) return {};
    while (std::optional<Message> message = options_.communicator->poll()) {
      Result<std::vector<Outcome>> outcomes = read_outcomes(message->bytes);
      if (!outcomes) {
        options_.communicator->send(message->sender, write_numbers({}));
        --waiting_for();
        return fail(std::move(outcomes).error());
      }
      for (Outcome& outcome : *outcomes) accept(std::move(outcome));
      const std::vector<std::uint64_t> next = board_->take(chunk(message->sender));
      options_.communicator->send(message->sender, write_numbers(next));
      if (next.empty()) --waiting_for();
    }
    return {};
  }

  int& waiting_for() {
    if (!waiting_) waiting_ = workers_;
    return *waiting_;
  }

  void release_workers() {
    if (workers_ == 0 || result_.interrupted) return;
    while (waiting_for() > 0) {
      if (const std::optional<Message> message = options_.communicator->poll()) {
        options_.communicator->send(message->sender, write_numbers({}));
        --waiting_for();
      } else {
        std::this_thread::sleep_for(kPoll);
      }
    }
  }

  const Plan& plan_;
  const ExploreOptions& options_;
  Progress& progress_;
  Front front_;
  int workers_ = 0;             // other ranks
  std::optional<int> waiting_;  // of them, that have not been told to end
  std::map<int, Turn> turns_;   // by rank
  std::optional<Database> database_;
  std::optional<Board> board_;
  std::vector<Row> batch_;  // accepted, not yet written
  Exploration result_;
};

/// Any other rank: asks, computes, answers, until it gets nothing.
Result<Exploration> follow(const Plan& plan, const ExploreOptions& options) {
  PointEvaluator evaluator(plan);
  Communicator& leader = *options.communicator;
  std::vector<std::byte> report = write_outcomes({});
  for (;;) {
    leader.send(0, report);
    std::optional<Message> message;
    while (!(message = leader.poll())) std::this_thread::sleep_for(kPoll);
    const std::vector<std::uint64_t> numbers = read_numbers(message->bytes);
    if (numbers.empty()) break;
    std::vector<Result<Outcome>> results(numbers.size(), Outcome{});
    // Of points that share their accuracy the first one computes it, on all threads.
    const std::size_t alone = point_of(plan, numbers.front()).accuracy ? 1 : 0;
    if (alone > 0) results.front() = evaluator.evaluate(numbers.front());
    parallel_for(numbers.size() - alone, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t n = first + alone; n < last + alone; ++n) results[n] = evaluator.evaluate(numbers[n]);
    });
    std::vector<Outcome> outcomes;
    std::optional<Error> error;
    for (Result<Outcome>& result : results) {
      if (result) {
        outcomes.push_back(std::move(*result));
      } else if (!error) {
        error = std::move(result).error();
      }
    }
    report = error ? write_error(*error) : write_outcomes(outcomes);
  }
  Exploration result;
  result.leader = false;
  return result;
}

}  // namespace

Result<void> agree(Communicator& ranks, const Result<Plan>& plan) {
  const auto stopped = [] { return Error("explore.mpi", Failure::check, "rank 0 has stopped"); };
  if (ranks.rank() != 0) {
    ranks.send(0, plan ? write_hello(plan->digest()) : write_error(plan.error()));
    std::optional<Message> message;
    while (!(message = ranks.poll())) std::this_thread::sleep_for(kPoll);
    if (!plan) return fail(plan.error());
    if (read_numbers(message->bytes).empty()) return fail(stopped());
    return {};
  }
  std::optional<Error> error;
  if (!plan) error = plan.error();
  for (int waiting = ranks.size() - 1; waiting > 0;) {
    const std::optional<Message> message = ranks.poll();
    if (!message) {
      std::this_thread::sleep_for(kPoll);
      continue;
    }
    --waiting;
    const Result<Digest> digest = read_hello(message->bytes);
    if (error) continue;
    if (!digest) {
      error = digest.error();
      error->notes.push_back(fmt::format("on rank {}", message->sender));
    } else if (*digest != plan->digest()) {
      error = Error("explore.mpi", Failure::bad_input,
                    fmt::format("rank {} sees another study, model or chip than rank 0", message->sender))
                  .with_hint("all ranks need the same files under the same names, and the same danaus");
    }
  }
  for (int rank = 1; rank < ranks.size(); ++rank)
    ranks.send(rank, write_numbers(error ? std::vector<std::uint64_t>{} : std::vector<std::uint64_t>{1}));
  if (error) return fail(std::move(*error));
  return {};
}

Result<Exploration> explore(const Plan& plan, const ExploreOptions& options, Progress& progress) {
  if (options.communicator != nullptr && options.communicator->rank() != 0) return follow(plan, options);
  Leader leader(plan, options, progress);
  return leader.run();
}

}  // namespace danaus::explore
