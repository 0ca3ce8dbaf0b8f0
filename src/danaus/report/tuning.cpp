// Records and results of danaus tune. Parts of the loss that are not computed are left out.

#include "danaus/report/tuning.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace danaus::report {
namespace {

using Json = nlohmann::ordered_json;

std::array<std::pair<const char*, double>, 5> parts_of(const tune::LossParts& parts) {
  return {{{"output", parts.output},
           {"embedding", parts.embedding},
           {"layers", parts.features},
           {"logits", parts.distillation},
           {"text", parts.language}}};
}

std::string duration(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

std::string record_line(const tune::Record& record) {
  std::string parts;
  for (const auto& [name, value] : parts_of(record.parts)) {
    if (value != 0) parts += fmt::format("{}{} {:.4f}", parts.empty() ? "" : ", ", name, value);
  }
  return fmt::format("step {}/{}: loss {:.4f} ({}), {} left", record.step, record.steps, record.loss, parts,
                     duration(record.seconds_left));
}

std::string record_json(const tune::Record& record) {
  Json json = {{"step", record.step}, {"steps", record.steps}, {"tokens", record.tokens}, {"loss", record.loss}};
  json["parts"] = Json::object();
  for (const auto& [name, value] : parts_of(record.parts)) {
    if (value != 0) json["parts"][name] = value;
  }
  json["gradient"] = record.gradient;
  json["rate"] = record.rate;
  json["seconds"] = record.seconds;
  return json.dump() + "\n";
}

std::string tuning_table(const Tuning& tuning) {
  const tune::Tuned& tuned = *tuning.tuned;
  std::string text = fmt::format(
      "{}: {} operators of structure {}{}{}, {} of {} parameters ({:.2f}x), and {} gains and biases\n", tuning.model,
      tuned.factors.operators.size(), tuning.structure, tuning.blocks.empty() ? "" : " ", tuning.blocks,
      tuning.parameters, tuning.dense_parameters,
      static_cast<double>(tuning.dense_parameters) / static_cast<double>(std::max<std::uint64_t>(1, tuning.parameters)),
      tuned.factors.constants.size());
  text += fmt::format(
      "{} steps, {} tokens, {:.1f} passes over a text of {} tokens\n", tuned.steps, tuned.tokens,
      static_cast<double>(tuned.tokens) / static_cast<double>(std::max<std::uint64_t>(1, tuned.text_tokens)),
      tuned.text_tokens);
  text += fmt::format("loss {:.4f} -> {:.4f}\n", tuned.first_loss, tuned.last_loss);
  return text;
}

std::string tuning_json(const Tuning& tuning, const Provenance& provenance) {
  const tune::Tuned& tuned = *tuning.tuned;
  const Json json = {{"schema", "danaus.tune/1"},
                     {"provenance", Json::parse(provenance_json(provenance))},
                     {"model", tuning.model},
                     {"file", tuning.output},
                     {"structure", tuning.structure},
                     {"blocks", tuning.blocks},
                     {"operators", tuned.factors.operators.size()},
                     {"parameters", tuning.parameters},
                     {"dense_parameters", tuning.dense_parameters},
                     {"constants", tuned.factors.constants.size()},
                     {"steps", tuned.steps},
                     {"tokens", tuned.tokens},
                     {"text_tokens", tuned.text_tokens},
                     {"resumed_from", tuned.resumed_from},
                     {"first_loss", tuned.first_loss},
                     {"last_loss", tuned.last_loss},
                     {"engine", tuned.engine}};
  return json.dump(2) + "\n";
}

}  // namespace danaus::report
