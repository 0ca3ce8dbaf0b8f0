// danaus precision: how many converter bits each stage needs.

#include "danaus/pipeline/precision.h"

#include <fmt/format.h>

#include "cli/commands.h"

namespace danaus::cli {

Result<int> precision_command(const Arguments& arguments, Console& console) {
  pipeline::PrecisionOptions options;
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  options.chip = std::move(chip);
  options.map = arguments.maps.front();
  options.policy = arguments.policy;
  options.policy.seed = arguments.seed;
  options.seed = arguments.seed;
  options.least_snr_db = arguments.least_snr_db;
  options.vectors = arguments.vectors;
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  if (!arguments.text.empty()) {
    if (!model.has_weights())
      return fail(Error("cli.no-weights", Failure::usage,
                        fmt::format("'{}' is a shape: without weights no text goes through it", model.name))
                      .with_hint("leave --text out, or give a .gguf, a .safetensors or a Hugging Face folder"));
    DANAUS_TRY(text, read_input(arguments.text));
    options.text = std::move(text);
  }
  DANAUS_TRY(precision, pipeline::find_precision(model, arguments.model, options, console.progress()));
  if (!arguments.output.empty()) {
    DANAUS_CHECK(write_output(arguments.output, pipeline::bits_file(precision)));
    console.talk(fmt::format("wrote {}: bits of {} stages", arguments.output, precision.stages.size()));
  }
  DANAUS_CHECK(console.result(arguments.json ? report::precision_json(precision, provenance(arguments))
                                             : report::precision_table(precision)));
  return 0;
}

}  // namespace danaus::cli
