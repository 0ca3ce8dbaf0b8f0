#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/explore/results.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/calibrate.h"
#include "danaus/pipeline/evaluate.h"
#include "danaus/pipeline/precision.h"
#include "danaus/pipeline/run.h"

/// Results as text for people and as JSON for programs. Every JSON document ends with a newline and holds whatever
/// varies from run to run (time, host, threads, command line) under "provenance" and nowhere else. docs/formats.md
/// lists the keys.
namespace danaus::report {

/// How a result came about.
struct Provenance {
  std::string version;
  std::vector<std::string> command;  ///< the command line
  std::uint64_t seed = 1;
  int threads = 0;
  std::string host;  ///< system and machine
  std::string time;  ///< UTC, ISO 8601
  double wall_s = 0;
  std::optional<double> tokens_per_s = std::nullopt;  ///< of commands that compute tokens
  std::string blas = {};                              ///< what multiplied matrices for them, with its kernel
};

/// "decode", "prefill", "encode" or "generate".
std::string_view mode_name(const pipeline::RunResult& result);
/// As it stands in every document.
std::string provenance_json(const Provenance& provenance);

/// `run`: maps as columns, ratios to the first map. `breakdown` adds where time and energy go.
std::string run_table(const pipeline::RunResult& result, bool breakdown);
/// Schema danaus.run/1.
std::string run_json(const pipeline::RunResult& result, const Provenance& provenance);

/// What the converters of the analog machine did.
std::string analog_table(const pipeline::AnalogReport& analog, bool breakdown);
/// `eval`: the perplexity, or how similar the sentences are (of at most 12 sentences). `breakdown`: the converters of
/// every stage of every operator.
std::string evaluation_table(const pipeline::Evaluation& evaluation, bool breakdown);
/// Schema danaus.eval/1.
std::string evaluation_json(const pipeline::Evaluation& evaluation, const Provenance& provenance);

/// `generate`: schema danaus.generate/1.
std::string continuation_json(const pipeline::Continuation& continuation, const Provenance& provenance);

/// `precision`: ratios by bits, without converters, and what was chosen.
std::string precision_table(const pipeline::Precision& precision);
/// Schema danaus.precision/1.
std::string precision_json(const pipeline::Precision& precision, const Provenance& provenance);

/// `calibrate`: what the inputs have seen.
std::string calibration_table(const factor::MomentSet& set);
/// Schema danaus.calibrate/1.
std::string calibration_json(const factor::MomentSet& set, const Provenance& provenance);

/// What `project` found out. Layers without weights have no error.
struct Projection {
  std::string model;
  struct Layer {
    std::string name;
    Structure structure;
    std::optional<double> relative_error;
    std::optional<factor::OutputError> output;  ///< calibrated
  };
  std::vector<Layer> layers;
  std::optional<double> relative_error;  ///< over all layers
};
std::string project_table(const Projection& projection);
/// Schema danaus.project/1.
std::string project_json(const Projection& projection, const Provenance& provenance);

/// `simulate`: one program on one chip.
struct Simulation {
  std::string file;
  Digest program_digest;
  chip::Chip chip;
  machine::Timing timing;
  machine::Timing linear;  ///< digital and attention times zero
};
std::string simulation_table(const Simulation& simulation);
/// Schema danaus.simulate/1.
std::string simulation_json(const Simulation& simulation, const Provenance& provenance);

/// `verify`. Text only for a verified program: errors are printed as errors are.
std::string verify_text(std::string_view file, const program::VerifyReport& report);
/// Schema danaus.verify/1. `notes`: remarks that are no errors.
std::string verify_json(std::string_view file, const program::VerifyReport& report,
                        const std::vector<std::string>& notes, const Provenance& provenance);

/// `show`: rows of named cells under one heading. Schema danaus.show/1: {"kind", "items": [{column: cell}]}.
struct Listing {
  using Cell = std::variant<std::string, std::uint64_t>;
  std::string kind;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
};
std::string listing_table(const Listing& listing);
std::string listing_json(const Listing& listing);

/// `show models MODEL`: what is in it, what is mapped, what stays digital, memory. Schema danaus.model/1.
std::string model_table(const model::Model& model);
std::string model_json(const model::Model& model);

/// `explore`: how many points there are, and the front (of it at most 20 points) with its objectives.
std::string study_table(const explore::Results& results);
/// Every row in study order (`front_only`: of the front), without anything that varies from run to run: a head line,
/// then one line a point. Texts with commas, quotes or line ends are quoted (RFC 4180).
std::string study_csv(const explore::Results& results, bool front_only);
/// The same as JSON, schema danaus.explore/1.
std::string study_json(const explore::Results& results, bool front_only,
                       const std::optional<Provenance>& provenance = std::nullopt);

/// One line: {"error":{"id","message","where","notes","hint"}}.
std::string error_json(const Error& error);
/// One line: {"event","step","done","total","eta_s"}; the progress events of `--progress json`.
std::string progress_json(std::string_view event, std::string_view step, std::uint64_t done, std::uint64_t total,
                          std::optional<double> eta_s);

}  // namespace danaus::report
