#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "cli/arguments.h"
#include "cli/console.h"
#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/calibrate.h"
#include "danaus/pipeline/run.h"
#include "danaus/report/report.h"

namespace danaus::cli {

/// A subcommand: arguments -> calls. Its value is the exit code (0, or 1 when a requested check failed).
using Command = Result<int> (*)(const Arguments&, Console&);

Result<int> run_command(const Arguments& arguments, Console& console);
Result<int> project_command(const Arguments& arguments, Console& console);
Result<int> calibrate_command(const Arguments& arguments, Console& console);
Result<int> sensitivity_command(const Arguments& arguments, Console& console);
Result<int> compile_command(const Arguments& arguments, Console& console);
Result<int> eval_command(const Arguments& arguments, Console& console);
Result<int> generate_command(const Arguments& arguments, Console& console);
Result<int> precision_command(const Arguments& arguments, Console& console);
Result<int> verify_command(const Arguments& arguments, Console& console);
Result<int> disasm_command(const Arguments& arguments, Console& console);
Result<int> asm_command(const Arguments& arguments, Console& console);
Result<int> simulate_command(const Arguments& arguments, Console& console);
Result<int> trace_command(const Arguments& arguments, Console& console);
Result<int> reproduce_command(const Arguments& arguments, Console& console);
Result<int> show_command(const Arguments& arguments, Console& console);
Result<int> explore_command(const Arguments& arguments, Console& console);
Result<int> explain_command(const Arguments& arguments, Console& console);
Result<int> tune_command(const Arguments& arguments, Console& console);

// Shared by several of them.

/// A text to read, token ids where the name ends with .json; - is stdin. Errors: file.*.
Result<pipeline::EvaluateInput> read_input(const std::string& name);
/// What a calibration on --calibrate's or calibrate's text is asked for.
Result<pipeline::CalibrateOptions> calibrate_options(const Arguments& arguments, const std::string& text);
/// The moments of --calibrate: of a file that danaus calibrate has written, or of a text. Errors also:
/// cli.arguments (weights of tokens come too late for such a file).
Result<factor::MomentSet> moments_of(const Arguments& arguments, const model::Model& model, Console& console);
/// Whether one of the globs of --only matches, or there are none.
bool selected(const std::vector<std::string>& globs, const std::string& name);
/// Every glob must select something: a typing error must not look like an empty result. Error cli.no-operator.
Result<void> check_globs(const std::vector<std::string>& globs, const model::Model& model);
/// How this run came about; the wall time counts from the start of the process.
report::Provenance provenance(const Arguments& arguments);
/// The options of the pipeline, with the defaults that depend on the model filled in. Error cli.tokens.
Result<pipeline::RunOptions> run_options(const Arguments& arguments, const model::Model& model);
/// A note where a length is beyond the model's context; empty otherwise.
std::string length_note(const pipeline::RunOptions& options, const model::Model& model);
/// What computes the linear operators, for eval and generate. Errors: those of the chip, which guides the choice of
/// blocks.
Result<pipeline::LinearOptions> linear_options(const Arguments& arguments);
/// Writes a whole file or nothing, interrupts included.
Result<void> write_output(const std::filesystem::path& path, std::span<const std::byte> bytes);
Result<void> write_output(const std::filesystem::path& path, std::string_view text);

}  // namespace danaus::cli
