// danaus: arguments -> one subcommand -> exit code. Exceptions end here; only broken invariants and a full memory raise
// any.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"

namespace danaus::cli {
namespace {

struct Entry {
  std::string_view name;
  Command command;
};
constexpr Entry kCommands[] = {{"run", run_command},
                               {"project", project_command},
                               {"precision", precision_command},
                               {"compile", compile_command},
                               {"eval", eval_command},
                               {"generate", generate_command},
                               {"verify", verify_command},
                               {"disasm", disasm_command},
                               {"asm", asm_command},
                               {"simulate", simulate_command},
                               {"reproduce", reproduce_command},
                               {"explore", explore_command},
                               {"show", show_command},
                               {"explain", explain_command},
                               {"trace", trace_command},
                               {"calibrate", calibrate_command},
                               {"sensitivity", sensitivity_command},
                               {"tune", tune_command}};

Result<int> run(int argc, const char* const* argv) {
  DANAUS_TRY(parsed, parse_arguments(argc, argv));
  if (const Notice* notice = std::get_if<Notice>(&parsed)) {
    const Arguments plain;
    DANAUS_CHECK(Console(plain).result(notice->text));
    return 0;
  }
  const Arguments& arguments = std::get<Arguments>(parsed);
  set_thread_count(arguments.threads);
  Console console(arguments);
  const Entry* entry = std::find_if(std::begin(kCommands), std::end(kCommands),
                                    [&](const Entry& one) { return one.name == arguments.subcommand; });
  ensure(entry != std::end(kCommands), "every declared subcommand has a function");
  return entry->command(arguments, console);
}

/// A standard stream that the caller closed must not become the descriptor of a file that we write. Results written to
/// a closed stdout still fail: it is opened for reading only.
void occupy_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {  // open takes the lowest that is free
    if (::fcntl(descriptor, F_GETFD) < 0)
      static_cast<void>(::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  }
}

/// Exceptions are broken invariants, or memory that ran out.
Result<int> run_guarded(int argc, const char* const* argv) {
  try {
    return run(argc, argv);
  } catch (const InternalError& error) {
    return fail(Error("cli.internal", Failure::internal, error.what())
                    .with_hint("this is a mistake of danaus; please report it with the command line"));
  } catch (const std::bad_alloc&) {
    return fail(Error("cli.memory", Failure::internal, "the memory of this machine is not enough")
                    .with_hint("try one map at a time, or a smaller model"));
  }
}

}  // namespace
}  // namespace danaus::cli

int main(int argc, char** argv) {
  danaus::cli::occupy_standard_streams();
  danaus::cli::install_interrupt_handler();
  const danaus::Result<int> code = danaus::cli::run_guarded(argc, argv);
  if (code) return *code;
  danaus::cli::print_error(code.error(), danaus::cli::wants_json(argc, argv));
  return static_cast<int>(code.error().failure);
}
