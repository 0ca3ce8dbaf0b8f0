// danaus run: every map compiled, proved and timed.

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "danaus/chip/sources.h"
#include "danaus/pipeline/auto/auto.h"
#include "danaus/pipeline/auto/candidates.h"
#include "danaus/pipeline/capacity.h"
#include "danaus/pipeline/list.h"

namespace danaus::cli {
namespace {

/// While map auto chooses, the first interrupt ends the search; at any other time it ends the program.
class StopWhileChoosing final : public Progress {
 public:
  explicit StopWhileChoosing(Progress& progress) : progress_(progress) {}
  void begin(std::string_view step, std::uint64_t total) override {
    if (step.ends_with(pipeline::kChooseStep)) interrupt_.emplace();
    progress_.begin(step, total);
  }
  void update(std::uint64_t done) override { progress_.update(done); }
  void end() override {
    progress_.end();
    interrupt_.reset();
  }

 private:
  Progress& progress_;
  std::optional<StopOnInterrupt> interrupt_;
};

}  // namespace

Result<int> run_command(const Arguments& arguments, Console& console) {
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  DANAUS_TRY(options, run_options(arguments, model));
  if (arguments.maps.empty() && pipeline::schedules_by_list(chip)) options.maps = {"linear"};
  for (const std::string& name : arguments.references) {
    DANAUS_TRY(reference, pipeline::load_reference(name));
    options.references.push_back(std::move(reference));
  }
  StopWhileChoosing progress(console.progress());
  options.stop = StopOnInterrupt::wanted;
  DANAUS_TRY(result, pipeline::run(model, chip, options, progress));
  DANAUS_TRY(sources, chip::sources(arguments.chip, arguments.settings));
  result.chip_sources = chip::summary(sources);
  if (const std::string note = length_note(options, model); !note.empty()) console.talk(note);
  for (const pipeline::MapResult& map : result.results) {
    if (options.copies == 0 || map.copies != 0 || map.automatic) continue;
    DANAUS_TRY(reason, pipeline::why_no_copies(model, chip, map.map, options));
    console.talk("note: " + reason);
  }
  for (const pipeline::MapResult& map : result.results) {
    if (!map.automatic || arguments.policy_out.empty()) continue;
    DANAUS_TRY(policy, pipeline::policy_of(*map.automatic, options.policy));
    DANAUS_CHECK(write_output(arguments.policy_out, policy));
    console.talk(
        fmt::format("wrote {}: structures of {} operators", arguments.policy_out, map.automatic->choices.size()));
  }
  DANAUS_CHECK(console.result(arguments.json ? report::run_json(result, provenance(arguments))
                                             : report::run_table(result, arguments.verbose)));
  return 0;
}

}  // namespace danaus::cli
