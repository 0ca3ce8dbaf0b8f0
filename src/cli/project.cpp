// danaus project: the weights approximated by blocks. A model without weights still shows what its structures cost.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "danaus/factor/factor.h"
#include "danaus/factor/moments.h"

namespace danaus::cli {
namespace {

/// Projects operator by operator; with -o each goes into the file and out of the memory.
Result<std::vector<factor::LayerReport>> project_weights(const Arguments& arguments, const model::Model& model,
                                                         const std::vector<Structure>& structures, Console& console) {
  std::optional<factor::MomentSet> moments;
  if (!arguments.calibration.empty()) {
    DANAUS_TRY(read, moments_of(arguments, model, console));
    moments = std::move(read);
  }
  const auto project_model = [&](const auto& wanted, const auto& sink) {
    return moments ? factor::project_model(model, structures, *moments, arguments.fit, wanted, sink, console.progress())
                   : factor::project_model(model, structures, wanted, sink, console.progress());
  };
  const auto wanted = [&](std::string_view name) { return selected(arguments.only, std::string(name)); };
  if (arguments.output.empty()) {
    const auto drop = [](std::string_view, const factor::Projection&) { return Result<void>{}; };
    return project_model(wanted, drop);
  }
  std::vector<std::pair<std::string, Structure>> announced;
  for (std::size_t n = 0; n < structures.size(); ++n) {
    if (wanted(model.linear[n].name)) announced.emplace_back(model.linear[n].name, structures[n]);
  }
  const UninterruptedWriting guard;
  DANAUS_TRY(writer, factor::FactorWriter::create(arguments.output, announced));
  const auto write = [&](std::string_view name, const factor::Projection& projection) -> Result<void> {
    if (guard.interrupted()) return fail(Error("cli.interrupted", Failure::interrupted, "interrupted"));
    return writer.add(name, projection.factors);
  };
  DANAUS_TRY(layers, project_model(wanted, write));
  DANAUS_CHECK(writer.commit());
  console.talk(fmt::format("wrote {}: factors of {} operators", arguments.output, layers.size()));
  return layers;
}

}  // namespace

Result<int> project_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  DANAUS_TRY(model, model::load(arguments.model));
  DANAUS_CHECK(check_globs(arguments.only, model));
  if (!arguments.calibration.empty() && !model.has_weights())
    return fail(Error("cli.no-weights", Failure::usage,
                      fmt::format("'{}' is a shape: it has no weights that could see a text", model.name))
                    .with_hint("give a .gguf or a Hugging Face folder, or leave --calibrate out"));
  if (!arguments.output.empty() && !model.has_weights())
    return fail(Error("cli.no-weights", Failure::usage,
                      fmt::format("'{}' is a shape: it has no weights to project", model.name))
                    .with_hint("give a .gguf, a .safetensors, an .onnx or a Hugging Face folder, or leave -o out"));
  DANAUS_TRY(structures,
             factor::choose_structures(model, arguments.policy, std::min(chip.array.rows, chip.array.cols)));

  report::Projection projection;
  projection.model = model.name;
  if (model.has_weights()) {
    DANAUS_TRY(layers, project_weights(arguments, model, structures, console));
    for (const factor::LayerReport& layer : layers)
      projection.layers.push_back({layer.name, layer.structure, layer.relative_error, layer.output});
    projection.relative_error = pipeline::total_relative_error(layers);
  } else {
    for (std::size_t n = 0; n < structures.size(); ++n) {
      if (selected(arguments.only, model.linear[n].name))
        projection.layers.push_back({model.linear[n].name, structures[n], std::nullopt, std::nullopt});
    }
  }
  DANAUS_CHECK(console.result(arguments.json ? report::project_json(projection, provenance(arguments))
                                             : report::project_table(projection)));
  return 0;
}

}  // namespace danaus::cli
