// danaus reproduce: the published claims against our figures. gnuplot, a program of its own, draws the figures; it is
// started without a shell, in the output folder.

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "cli/commands.h"
#include "danaus/report/reproduction.h"
#include "danaus/reproduce/claims.h"
#include "danaus/reproduce/measure.h"

namespace danaus::cli {
namespace {

namespace fs = std::filesystem;

Result<void> make_folder(const fs::path& folder) {
  std::error_code status;
  fs::create_directories(folder, status);
  if (!status && fs::is_directory(folder, status)) return {};
  const std::string why = status ? status.message() : "there is a file of that name";
  return fail(Error("reproduce.folder", Failure::io, fmt::format("the folder cannot be made: {}", why))
                  .in_file(folder.string())
                  .with_hint("-o names a folder for several files; choose one that you may write"));
}

/// gnuplot with a script, in `folder`. Its talk goes to our stderr.
Result<void> draw(const fs::path& folder, const std::string& script) {
  const auto error = [&](std::string message) {
    return fail(
        Error("reproduce.gnuplot", Failure::unsupported, std::move(message))
            .with_hint(fmt::format("install gnuplot (apt-get install gnuplot-nox) and repeat, or run gnuplot {} in "
                                   "the folder {}; all other files are written",
                                   script, folder.string())));
  };
  std::string program = "gnuplot", argument = script;
  char* arguments[] = {program.data(), argument.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure == ENOENT) return error("gnuplot, which draws the figures, is not installed");
  if (failure != 0)
    return error(fmt::format("gnuplot cannot be started: {}", std::generic_category().message(failure)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return error(fmt::format("gnuplot did not draw {}", script));
  return {};
}

/// Everything that needs no gnuplot first.
Result<void> write_folder(const fs::path& folder, const report::Reproduction& reproduction, const std::string& json) {
  DANAUS_CHECK(make_folder(folder / "data"));
  DANAUS_CHECK(make_folder(folder / "figures"));
  DANAUS_CHECK(write_output(folder / "reproduction.json", json));
  if (reproduction.outcomes.size() == reproduce::claims().size())
    DANAUS_CHECK(write_output(folder / "reproduction.md", report::reproduction_page(reproduction)));
  const std::vector<report::Plot> plots = report::reproduction_plots(reproduction);
  for (const report::Plot& plot : plots) {
    DANAUS_CHECK(write_output(folder / "data" / (plot.name + ".tsv"), plot.data));
    DANAUS_CHECK(write_output(folder / "data" / (plot.name + ".gnuplot"), plot.script));
  }
  for (const report::Plot& plot : plots) DANAUS_CHECK(draw(folder, fmt::format("data/{}.gnuplot", plot.name)));
  return {};
}

}  // namespace

Result<int> reproduce_command(const Arguments& arguments, Console& console) {
  if (arguments.list) {
    const report::Listing listing = report::claim_listing();
    DANAUS_CHECK(console.result(arguments.json ? report::listing_json(listing) : report::listing_table(listing)));
    return 0;
  }
  DANAUS_TRY(claims, reproduce::find_claims(arguments.topic));
  const fs::path folder = arguments.output;
  if (!folder.empty()) DANAUS_CHECK(make_folder(folder));  // before the work
  DANAUS_TRY(results, reproduce::measure(arguments.chip, arguments.settings, reproduce::scope_of(claims),
                                         arguments.seed, console.progress()));
  report::Reproduction reproduction{.results = std::move(results), .outcomes = {}};
  for (const reproduce::Claim& claim : claims)
    reproduction.outcomes.push_back(reproduce::judge(claim, reproduction.results));
  const std::string json = report::reproduction_json(reproduction, provenance(arguments));
  DANAUS_CHECK(console.result(arguments.json ? json : report::reproduction_table(reproduction, arguments.verbose)));
  if (!folder.empty()) {
    DANAUS_CHECK(write_folder(folder, reproduction, json));
    console.talk(fmt::format("wrote {}: reproduction.json, figures and their data{}", folder.string(),
                             claims.size() == reproduce::claims().size() ? ", and the page reproduction.md" : ""));
  }
  return 0;
}

}  // namespace danaus::cli
