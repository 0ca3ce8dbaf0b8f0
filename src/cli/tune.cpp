// danaus tune: blocks trained end to end, or a model from nothing.

#include "danaus/tune/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "danaus/report/tuning.h"
#include "danaus/tune/scratch.h"

namespace danaus::cli {
namespace {

/// What training starts from: a file, or the weights projected.
Result<factor::FactorFile> start_of(const Arguments& arguments, const model::Model& model, Console& console) {
  if (!arguments.factors.empty()) return factor::read_factors(arguments.factors);
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  DANAUS_TRY(structures,
             factor::choose_structures(model, arguments.policy, std::min(chip.array.rows, chip.array.cols)));
  factor::FactorFile start;
  const auto keep = [&](std::string_view name, const factor::Projection& projection) -> Result<void> {
    start.operators.emplace_back(name, projection.factors);
    return {};
  };
  const auto all = [](std::string_view) { return true; };
  DANAUS_CHECK(factor::project_model(model, structures, all, keep, console.progress()));
  return start;
}

/// Lines of JSON, each written at once.
class Log {
 public:
  static Result<Log> create(const std::string& path, bool append) {
    Log log;
    if (path.empty()) return log;
    log.file_.open(path, append ? std::ios::app : std::ios::trunc);
    log.path_ = path;
    DANAUS_CHECK(log.check());
    return log;
  }
  Result<void> add(const std::string& line) {
    if (path_.empty()) return {};
    file_ << line << std::flush;
    return check();
  }

 private:
  Result<void> check() const {
    if (file_) return {};
    return fail(Error("file.not-writable", Failure::io, "the log cannot be written").in_file(path_));
  }
  std::string path_;
  std::ofstream file_;
};

}  // namespace

Result<int> tune_command(const Arguments& arguments, Console& console) {
  if (!tune::has_engine())
    return fail(Error("tune.no-engine", Failure::unsupported, "this danaus was built without the engine of tune")
                    .with_hint("make tune builds it; it needs LibTorch (scripts/install-dependencies.sh tune)"));
  tune::Options options = arguments.tune;
  options.seed = arguments.seed;
  options.precision =
      arguments.single_precision || !tune::has_fast_bfloat() ? tune::Precision::single : tune::Precision::bfloat;
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  DANAUS_TRY(input, read_input(arguments.text));
  // A decoder's text is cut into windows of the longest length.
  const std::uint32_t window =
      model.family == model::Family::bert || options.lengths.empty()
          ? 0
          : std::min(*std::max_element(options.lengths.begin(), options.lengths.end()), model.dimensions.context);
  DANAUS_TRY(sequences, pipeline::token_sequences(model, arguments.model, input, window));
  tune::Text text{sequences.encoder, std::move(sequences.tokens), {}};
  if (text.encoder) {
    DANAUS_TRY(pooling, pipeline::pooling_of(arguments.model));
    text.pooling = pooling;
  }
  factor::FactorFile start;
  if (options.from_scratch) {
    DANAUS_CHECK(tune::check_from_scratch(model));
    start = tune::random_start(model, options.seed);
  } else {
    DANAUS_TRY(found, start_of(arguments, model, console));
    start = std::move(found);
  }
  DANAUS_TRY(log, Log::create(arguments.log, options.resume));
  const auto record = [&](const tune::Record& one) -> Result<void> {
    console.talk(report::record_line(one));
    return log.add(report::record_json(one));
  };
  DANAUS_TRY(tuned, tune::tune(model, start, text, options, record, console.progress()));
  {
    const UninterruptedWriting guard;
    if (options.from_scratch) {
      DANAUS_CHECK(tune::write_model(arguments.output, model, tuned));
    } else {
      DANAUS_CHECK(factor::write_factors(arguments.output, tuned.factors.operators, tuned.factors.constants));
    }
  }
  console.talk(fmt::format("wrote {}: {} of {} operators, {} gains and biases", arguments.output,
                           options.from_scratch ? "all weights" : "factors", tuned.factors.operators.size(),
                           tuned.factors.constants.size()));
  report::Tuning tuning;
  tuning.model = model.name;
  tuning.tuned = &tuned;
  tuning.output = arguments.output;
  std::vector<Structure> structures;
  for (const auto& [name, factors] : tuned.factors.operators) {
    structures.push_back(factors.structure);
    tuning.parameters += factors.structure.parameters();
    tuning.dense_parameters += factors.structure.dense_parameters();
  }
  tuning.structure = pipeline::common(structures, pipeline::family_of);
  tuning.blocks = pipeline::common(structures, pipeline::blocks_of);
  report::Provenance made = provenance(arguments);
  made.blas = tuned.engine;
  if (tuned.seconds > 0) made.tokens_per_s = static_cast<double>(tuned.computed_tokens) / tuned.seconds;
  DANAUS_CHECK(console.result(arguments.json ? report::tuning_json(tuning, made) : report::tuning_table(tuning)));
  console.detail(fmt::format("{:.1f} tokens/s; {}", made.tokens_per_s.value_or(0), tuned.engine));
  return 0;
}

}  // namespace danaus::cli
