// Progress: the library reports units of work, a thread of ours looks at them four times a second, so that work which
// reports rarely still shows that it is alive. A step shorter than two seconds shows nothing, except as JSON events.

#include "cli/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "danaus/report/report.h"

namespace danaus::cli {
namespace {

using Clock = std::chrono::steady_clock;

void to_stderr(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

class ConsoleProgress final : public Progress {
 public:
  explicit ConsoleProgress(ProgressStyle style)
      : style_(style), ticker_([this](const std::stop_token& stop) { tick(stop); }) {}

  void begin(std::string_view step, std::uint64_t total) override {
    const std::lock_guard lock(mutex_);
    step_ = step;
    done_ = 0;
    total_ = total;
    start_ = Clock::now();
    shown_ = start_;
    visible_ = false;
    if (style_ == ProgressStyle::json) event("begin");
  }
  void update(std::uint64_t done) override {
    const std::lock_guard lock(mutex_);
    done_ = std::max(done_, done);
  }
  void note(std::string text) {
    const std::lock_guard lock(mutex_);
    note_ = std::move(text);
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    note_.clear();
    if (style_ == ProgressStyle::json) event("end");
    if (visible_ && style_ == ProgressStyle::automatic) to_stderr("\r\x1b[K");
    if (visible_ && style_ == ProgressStyle::plain)
      to_stderr(fmt::format("{}: done in {:.1f} s\n", step_, seconds_since(start_)));
    step_.clear();
  }

 private:
  static constexpr double kSilent = 2;  // seconds

  static double seconds_since(Clock::time_point then) {
    return std::chrono::duration<double>(Clock::now() - then).count();
  }

  std::optional<double> eta() const {
    if (done_ == 0 || done_ > total_) return std::nullopt;
    return seconds_since(start_) * static_cast<double>(total_ - done_) / static_cast<double>(done_);
  }

  void event(std::string_view name) { to_stderr(report::progress_json(name, step_, done_, total_, eta()) + "\n"); }

  void tick(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, stop, std::chrono::milliseconds(250), [] { return false; }) && !stop.stop_requested())
      show();
  }

  void show() {
    if (step_.empty() || seconds_since(start_) < kSilent) return;
    const double pause = style_ == ProgressStyle::automatic ? 0 : style_ == ProgressStyle::json ? 1 : 5;
    if (visible_ && seconds_since(shown_) < pause) return;
    visible_ = true;
    shown_ = Clock::now();
    if (style_ == ProgressStyle::json) return event("update");
    std::string text;
    if (total_ == 0) {
      text = fmt::format("{}  {:.0f} s", step_, seconds_since(start_));
    } else {
      const double fraction = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
      const auto filled = static_cast<std::size_t>(24 * fraction);
      text = fmt::format("{}  {}{}  {:.0f} %", step_, std::string(filled, '#'), std::string(24 - filled, '-'),
                         100 * fraction);
      if (const std::optional<double> left = eta()) text += fmt::format("  eta {:.0f} s", *left);
    }
    if (!note_.empty()) text += "  " + note_;
    to_stderr(style_ == ProgressStyle::automatic ? "\r" + text + "\x1b[K" : text + "\n");
  }

  const ProgressStyle style_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::string step_;  // empty: no step is running
  std::string note_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  Clock::time_point start_;
  Clock::time_point shown_;
  bool visible_ = false;
  std::jthread ticker_;  // last: starts when all else is there, stops before anything else goes
};

}  // namespace

Console::Console(const Arguments& arguments) : arguments_(arguments) {
  const bool wanted = arguments.progress != ProgressStyle::none && !arguments.quiet;
  const bool seen = arguments.progress != ProgressStyle::automatic || ::isatty(STDERR_FILENO) == 1;
  if (!wanted || !seen) return;
  auto progress = std::make_unique<ConsoleProgress>(arguments.progress);
  note_ = [shown = progress.get()](std::string text) { shown->note(std::move(text)); };
  progress_ = std::move(progress);
}

Console::~Console() = default;

Result<void> Console::result(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (!written) return fail(Error("cli.stdout", Failure::io, "the result cannot be written to stdout"));
  return {};
}

void Console::talk(std::string_view text) {
  if (!arguments_.quiet) to_stderr(fmt::format("{}\n", text));
}

void Console::detail(std::string_view text) {
  if (arguments_.verbose) to_stderr(fmt::format("{}\n", text));
}

void Console::error(const Error& error) { print_error(error, arguments_.json); }

void Console::progress_note(std::string text) {
  if (note_) note_(std::move(text));
}

Progress& Console::progress() { return progress_ ? *progress_ : no_progress(); }

void print_error(const Error& error, bool json) {
  to_stderr((json ? report::error_json(error) : to_string(error)) + "\n");
}

}  // namespace danaus::cli
