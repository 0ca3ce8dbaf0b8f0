// danaus calibrate: the second moments of every linear operator's input over a text.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "danaus/factor/moments.h"
#include "danaus/nn/transformer.h"

namespace danaus::cli {

Result<pipeline::CalibrateOptions> calibrate_options(const Arguments& arguments, const std::string& text) {
  pipeline::CalibrateOptions options;
  DANAUS_TRY(input, read_input(text));
  options.text = std::move(input);
  options.window = arguments.window;
  options.weights = arguments.token_weights;
  options.memory_bytes = std::uint64_t{arguments.memory_gb} << 30;
  return options;
}

Result<factor::MomentSet> moments_of(const Arguments& arguments, const model::Model& model, Console& console) {
  if (!arguments.calibration.ends_with(".safetensors")) {
    DANAUS_TRY(options, calibrate_options(arguments, arguments.calibration));
    return pipeline::calibrate(model, arguments.model, options, console.progress());
  }
  const nn::TokenWeights defaults;
  if (arguments.window != 0 || arguments.token_weights != defaults)
    return fail(Error("cli.arguments", Failure::usage,
                      fmt::format("{} has been calibrated: --window, --first-token and --normalise come too late",
                                  arguments.calibration))
                    .with_hint("give them to danaus calibrate, or a text to --calibrate"));
  return factor::read_moments(arguments.calibration);
}

Result<int> calibrate_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(options, calibrate_options(arguments, arguments.text));
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  std::optional<factor::MomentSet> earlier;
  std::error_code ignored;
  if (arguments.resume && std::filesystem::exists(arguments.output, ignored)) {
    DANAUS_TRY(read, factor::read_moments(arguments.output));
    earlier = std::move(read);
  }
  const auto save = [&](factor::MomentSet& set) -> Result<void> {
    const UninterruptedWriting guard;
    DANAUS_CHECK(factor::write_moments(arguments.output, set));
    if (guard.interrupted()) return fail(Error("cli.interrupted", Failure::interrupted, "interrupted"));
    const bool between_passes =
        std::all_of(set.inputs.begin(), set.inputs.end(), [](const auto& input) { return input.sums.empty(); });
    if (!between_passes) return {};
    DANAUS_TRY(written, factor::read_moments(arguments.output));  // out of the memory
    set.inputs = std::move(written.inputs);
    return {};
  };
  DANAUS_TRY(set, pipeline::calibrate(model, arguments.model, options, std::move(earlier), save, console.progress()));
  report::Provenance made = provenance(arguments);
  made.blas = nn::blas_description();
  DANAUS_CHECK(console.result(arguments.json ? report::calibration_json(set, made) : report::calibration_table(set)));
  return 0;
}

}  // namespace danaus::cli
