// danaus verify, disasm, asm, simulate and trace: what can be done with a program alone.

#include "danaus/program/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/commands.h"
#include "danaus/chip/cost.h"
#include "danaus/core/files.h"
#include "danaus/machine/timing.h"
#include "danaus/pipeline/list.h"
#include "danaus/pipeline/trace.h"
#include "danaus/program/verify.h"
#include "danaus/report/trace.h"

namespace danaus::cli {
namespace {

/// The chip that a program carries in its note "chip", or the one of --chip.
Result<chip::Chip> chip_for(const Arguments& arguments, const program::Program& program) {
  if (!arguments.chip.empty()) return chip::load(arguments.chip, arguments.settings);
  const auto note = std::find_if(program.notes.begin(), program.notes.end(),
                                 [](const program::Note& one) { return one.key == "chip"; });
  if (note == program.notes.end())
    return fail(Error("cli.no-chip", Failure::usage, "the program does not carry its chip")
                    .in_file(arguments.input)
                    .with_hint("give one with --chip"));
  return chip::parse(note->text, fmt::format("{} (note chip)", arguments.input), arguments.settings);
}

program::VerifyReport prove(const program::Program& program, const Arguments& arguments, Console& console) {
  program::VerifyOptions options;
  options.seed = arguments.seed;
  options.full_weights = arguments.full;
  console.progress().begin("prove", 0);
  program::VerifyReport report = program::verify(program, options);
  console.progress().end();
  return report;
}

/// The exit code for a program that does not prove, with its errors told. Figures are only printed of one that does.
std::optional<int> refuted(const program::Program& program, const Arguments& arguments, Console& console) {
  const program::VerifyReport report = prove(program, arguments, console);
  if (report.ok()) return std::nullopt;
  for (const Error& error : report.errors) console.error(error);
  return static_cast<int>(Failure::check);
}

}  // namespace

Result<int> verify_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(program, program::load(arguments.input));
  program::VerifyReport report = prove(program, arguments, console);
  std::vector<std::string> notes;
  if (!arguments.model.empty()) {
    DANAUS_TRY(model, model::load(arguments.model));
    for (Error& error : pipeline::compare_intent(program.intent, model)) report.errors.push_back(std::move(error));
    if (program.model_digest != model.digest)
      notes.push_back(fmt::format("the program was compiled from another file than '{}'", arguments.model));
  }
  const int code = report.ok() ? 0 : static_cast<int>(Failure::check);
  if (arguments.json) {
    DANAUS_CHECK(console.result(report::verify_json(arguments.input, report, notes, provenance(arguments))));
    return code;
  }
  for (const std::string& note : notes) console.talk("note: " + note);
  for (const Error& error : report.errors) console.error(error);
  if (report.ok()) DANAUS_CHECK(console.result(report::verify_text(arguments.input, report)));
  return code;
}

Result<int> disasm_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(program, program::load(arguments.input));
  const std::string text = program::to_text(program);
  if (arguments.output.empty()) {
    DANAUS_CHECK(console.result(text));
  } else {
    DANAUS_CHECK(write_output(arguments.output, text));
  }
  return 0;
}

Result<int> asm_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(text, read_text(arguments.input, std::size_t{1} << 30));
  DANAUS_TRY(program, program::parse_text(text, arguments.input));
  DANAUS_CHECK(write_output(arguments.output, program::to_binary(program)));
  console.talk(fmt::format("wrote {}: {} commands", arguments.output, program.code.size()));
  return 0;
}

Result<int> simulate_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(program, program::load(arguments.input));
  DANAUS_TRY(chip, chip_for(arguments, program));
  DANAUS_CHECK(pipeline::check_runs_programs(chip));
  if (const std::optional<int> code = refuted(program, arguments, console)) return *code;
  report::Simulation simulation{
      .file = arguments.input, .program_digest = program::digest_of(program), .chip = chip, .timing = {}, .linear = {}};
  const machine::Routing routing{.seed = arguments.seed, .first = {}};
  DANAUS_TRY(timing, machine::simulate(program, chip, {.routing = routing, .trace = {}}, console.progress()));
  simulation.timing = std::move(timing);
  DANAUS_TRY(linear, machine::simulate(program, chip, {.linear_only = true, .routing = routing, .trace = {}},
                                       console.progress()));
  simulation.linear = std::move(linear);
  DANAUS_CHECK(console.result(arguments.json ? report::simulation_json(simulation, provenance(arguments))
                                             : report::simulation_table(simulation)));
  return 0;
}

Result<int> trace_command(const Arguments& arguments, Console& console) {
  const std::filesystem::path output(arguments.output);
  if (output.extension() != ".svg" && output.extension() != ".json")
    return fail(Error("cli.trace-format", Failure::usage,
                      fmt::format("'{}' is neither a picture (.svg) nor trace events (.json)", arguments.output))
                    .with_hint("danaus trace PROGRAM -o NAME.svg, or NAME.json"));
  const bool draws = output.extension() == ".svg";
  if (!draws && !arguments.between.empty())
    return fail(Error("cli.arguments", Failure::usage, "--between is for pictures: viewers of trace events zoom")
                    .with_hint("leave --between out, or give -o NAME.svg"));
  DANAUS_TRY(program, program::load(arguments.input));
  DANAUS_TRY(chip, chip_for(arguments, program));
  DANAUS_CHECK(pipeline::check_runs_programs(chip));
  if (const std::optional<int> code = refuted(program, arguments, console)) return *code;
  DANAUS_TRY(trace, pipeline::trace_program(program, chip, {.seed = arguments.seed, .first = {}}, console.progress()));
  chip::Picoseconds first = 0, last = trace.timing.total;
  if (!arguments.between.empty()) {
    first = chip::to_picoseconds(arguments.between[0]);
    last = std::min(last, chip::to_picoseconds(arguments.between[1]));
    if (first >= last)
      return fail(
          Error("cli.arguments", Failure::usage,
                fmt::format("--between {} {}: nothing lies between; the program ends at {} ns", arguments.between[0],
                            arguments.between[1], chip::to_nanoseconds(trace.timing.total)))
              .with_hint("see danaus trace --help"));
  }
  const std::string text = draws ? report::trace_svg(trace, first, last) : report::trace_json(trace);
  DANAUS_CHECK(write_output(output, text));
  console.talk(fmt::format("wrote {}: {} commands that take time", arguments.output, trace.activities.size()));
  return 0;
}

}  // namespace danaus::cli
