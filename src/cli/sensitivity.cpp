// danaus sensitivity: what structures cost, measured end to end with one operator at a time.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "danaus/nn/transformer.h"
#include "danaus/pipeline/measure_sensitivity.h"
#include "danaus/report/sensitivity.h"

namespace danaus::cli {

Result<int> sensitivity_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  pipeline::SensitivityOptions options;
  DANAUS_TRY(input, read_input(arguments.text));
  options.text = std::move(input);
  options.tokens = *arguments.tokens;
  options.candidates = arguments.automatic.candidates;
  options.array_edge = std::min(chip.array.rows, chip.array.cols);
  options.fit = arguments.fit;
  options.selected = [&](std::string_view name) { return selected(arguments.only, std::string(name)); };
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  DANAUS_CHECK(check_globs(arguments.only, model));
  std::optional<factor::MomentSet> moments;
  if (!arguments.calibration.empty()) {
    DANAUS_TRY(read, moments_of(arguments, model, console));
    moments = std::move(read);
    options.moments = &*moments;
  }
  const auto save = [&](const pipeline::Sensitivity& measured) {
    return write_output(arguments.output, pipeline::sensitivity_text(pipeline::rules_of(measured), measured.unit()));
  };
  DANAUS_TRY(measured, pipeline::measure_sensitivity(model, arguments.model, options, save, console.progress()));
  console.talk(fmt::format("wrote {}: {} operators, {} candidates", arguments.output, measured.operators.size(),
                           measured.candidates.size()));
  report::Provenance made = provenance(arguments);
  made.blas = nn::blas_description();
  DANAUS_CHECK(
      console.result(arguments.json ? report::sensitivity_json(measured, made) : report::sensitivity_table(measured)));
  return 0;
}

}  // namespace danaus::cli
