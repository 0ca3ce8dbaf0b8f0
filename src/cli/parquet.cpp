// Runs `python3 -c SCRIPT` with the JSON on its standard input and takes what it writes. The script reads everything
// before it writes anything, so one pipe after the other is enough.

#include "cli/parquet.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

extern char** environ;

namespace danaus::embedded {
const std::vector<std::pair<std::string_view, std::string_view>>& python();
}  // namespace danaus::embedded

namespace danaus::cli {
namespace {

constexpr int kNoPyarrow = 3;  // exit code of the script

/// Both ends of a pipe, closed when they are left.
struct Pipe {
  std::array<int, 2> ends = {-1, -1};
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) ends = {-1, -1};
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(std::size_t end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
};

Error broken(std::string message) {
  return Error("explore.parquet", Failure::unsupported, std::move(message))
      .with_hint("python3 -m pip install pyarrow, or take --format csv or json");
}

}  // namespace

Result<std::string> parquet_of(std::string_view json) {
  std::string script;
  for (const auto& [name, text] : embedded::python())
    if (name == "parquet") script = text;
  Pipe input, output;
  if (input.ends[0] < 0 || output.ends[0] < 0) return fail(broken("no pipe to Python can be opened"));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.ends[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  std::string program = "python3", flag = "-c";
  std::array<char*, 4> words = {program.data(), flag.data(), script.data(), nullptr};
  pid_t child = 0;
  const int started = ::posix_spawnp(&child, "python3", &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (started != 0) return fail(broken("parquet is written by python3, which cannot be started"));
  input.close(0);
  output.close(1);
  while (!json.empty()) {
    const ssize_t written = ::write(input.ends[1], json.data(), json.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;  // it has ended; its exit code says why
    json.remove_prefix(static_cast<std::size_t>(written));
  }
  input.close(1);
  std::string bytes;
  std::array<char, 1 << 16> part;
  for (;;) {
    const ssize_t count = ::read(output.ends[0], part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    bytes.append(part.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoPyarrow)
    return fail(broken("parquet is written by Python's pyarrow, which is not installed"));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(broken("Python could not write the parquet file"));
  return bytes;
}

}  // namespace danaus::cli
