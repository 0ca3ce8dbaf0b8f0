// danaus compile: one map, one program; the placement may leave or enter on the way.

#include <fmt/format.h>

#include <utility>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "danaus/core/files.h"
#include "danaus/pipeline/capacity.h"
#include "danaus/program/verify.h"

namespace danaus::cli {
namespace {

Result<compile::Placement> placement_for(const Arguments& arguments, const Graph& graph, const model::Model& model,
                                         const chip::Chip& chip, const std::string& map,
                                         const pipeline::RunOptions& options) {
  if (arguments.placement_in.empty()) return pipeline::place(graph, model, chip, map, options);
  DANAUS_TRY(text, read_text(arguments.placement_in, std::size_t{1} << 30));
  return compile::placement_from_json(graph, text, arguments.placement_in);
}

/// Map auto: structures and placement are chosen together.
Result<int> compile_automatically(const Arguments& arguments, const model::Model& model, const chip::Chip& chip,
                                  pipeline::RunOptions options, Console& console) {
  if (!arguments.placement_in.empty())
    return fail(Error("cli.arguments", Failure::usage, "--from-placement is a placement, --map auto looks for one")
                    .with_hint("leave out one of them"));
  const StopOnInterrupt interrupt;
  options.stop = StopOnInterrupt::wanted;
  std::optional<pipeline::AutoReport> report;
  DANAUS_TRY(program,
             pipeline::compile_model(model, chip, arguments.maps.front(), options, console.progress(), &report));
  if (!arguments.placement_out.empty()) {
    const compile::Placement placement{
        .arrays = program.chip.arrays, .patches = program.patches, .copies = program.copies};
    DANAUS_CHECK(write_output(arguments.placement_out, compile::to_json(program.intent, placement)));
  }
  DANAUS_CHECK(write_output(arguments.output, program::to_binary(program)));
  console.talk(fmt::format("wrote {}: {}, {} commands on {} arrays; prove it with danaus verify {}", arguments.output,
                           report->winner, program.code.size(), program.chip.arrays, arguments.output));
  return 0;
}

}  // namespace

Result<int> compile_command(const Arguments& arguments, Console& console) {
  const auto place_of = [](const std::string& path) {
    std::error_code ignored;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
  };
  if (!arguments.placement_out.empty() && place_of(arguments.placement_out) == place_of(arguments.output))
    return fail(Error("cli.arguments", Failure::usage, "--placement and -o name the same file")
                    .with_hint("the program and its placement are two files"));
  const std::string& map = arguments.maps.front();
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  DANAUS_TRY(model, model::load(arguments.model));
  DANAUS_TRY(options, run_options(arguments, model));
  if (map == pipeline::kAutoMap) return compile_automatically(arguments, model, chip, options, console);
  DANAUS_TRY(graph, pipeline::structured_graph(model, chip, map, options));
  DANAUS_TRY(placement, placement_for(arguments, graph, model, chip, map, options));
  if (!arguments.placement_out.empty()) {
    DANAUS_CHECK(write_output(arguments.placement_out, compile::to_json(graph, placement)));
    console.talk(fmt::format("wrote {}: {} patches on {} arrays", arguments.placement_out, placement.patches.size(),
                             placement.arrays));
  }
  DANAUS_TRY(program, pipeline::emit_program(graph, std::move(placement), model, chip, options));
  if (!arguments.placement_in.empty()) {
    // The strategies' placements are proved by tests and by `run`; this one comes from outside.
    const program::VerifyReport report = program::verify(program, {.seed = arguments.seed});
    for (const Error& error : report.errors) console.error(error);
    if (!report.ok()) return static_cast<int>(Failure::check);
  }
  if (const std::string note = length_note(options, model); !note.empty()) console.talk(note);
  if (options.copies != 0 && program.copies.empty() && arguments.placement_in.empty()) {
    DANAUS_TRY(reason, pipeline::why_no_copies(model, chip, map, options));
    console.talk("note: " + reason);
  }
  DANAUS_CHECK(write_output(arguments.output, program::to_binary(program)));
  console.talk(
      fmt::format("wrote {}: {} commands on {} arrays; {}", arguments.output, program.code.size(), program.chip.arrays,
                  arguments.placement_in.empty() ? "prove it with danaus verify " + arguments.output : "it is proved"));
  return 0;
}

}  // namespace danaus::cli
