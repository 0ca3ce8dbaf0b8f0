// From a study to its points. Models, chips, policies and texts are read once, before the first point; what a point is
// made of afterwards is in memory, and its id is a digest of all of it.

#include "danaus/explore/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <tuple>

#include "danaus/chip/keys.h"
#include "danaus/core/files.h"
#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/explore/options.h"
#include "danaus/factor/choose.h"
#include "danaus/model/formats.h"
#include "danaus/pipeline/list.h"

namespace danaus::explore {
namespace {

constexpr std::size_t kLargestText = std::size_t{64} << 20;

/// Every value that a key has in a study, with the place of the key.
std::vector<std::pair<std::string, Location>> texts_of(const Study& study, std::string_view key) {
  std::vector<std::pair<std::string, Location>> texts;
  for (const Setting& setting : study.fixed)
    if (setting.key == key) texts.emplace_back(to_string(setting.value), setting.where);
  for (const Axis& axis : study.axes)
    if (axis.key == key)
      for (const Value& value : axis.values) texts.emplace_back(to_string(value), axis.where);
  return texts;
}

/// An error of something that the study names is an error of the study, unless it has a place of its own.
Error named_by(Error error, const Location& where) {
  if (error.where.file.empty()) {
    error.where = where;
    if (error.failure == Failure::usage) error.failure = Failure::bad_input;
  } else {
    error.notes.push_back(fmt::format("named by {}:{}:{}", where.file, where.line, where.column));
  }
  return error;
}

/// Its value is a time, an energy, a power or an area, says its name.
bool is_cost(std::string_view key) {
  constexpr std::array<std::string_view, 9> kWords = {"ns", "pj", "nj", "mw", "um2", "mm2", "gbps", "energy", "area"};
  if (key.starts_with("noise.")) return false;
  for (std::size_t at = key.find('.') + 1; at < key.size();) {
    const std::size_t end = std::min(key.find('_', at), key.size());
    if (std::find(kWords.begin(), kWords.end(), key.substr(at, end - at)) != kWords.end()) return true;
    at = end + 1;
  }
  return false;
}

template <typename T>
void append_bytes(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Name and keys of a chip, byte by byte: writing its file for every point would take most of the time of a plan.
void append(std::string& text, chip::Chip& chip) {
  text += chip.name + "\n";
  for (const chip::Key& key : chip::key_table()) {
    if (const chip::Count* count = std::get_if<chip::Count>(&key.kind)) append_bytes(text, count->at(chip));
    if (const chip::LargeCount* count = std::get_if<chip::LargeCount>(&key.kind)) append_bytes(text, count->at(chip));
    if (const chip::Number* number = std::get_if<chip::Number>(&key.kind)) append_bytes(text, number->at(chip));
    if (const chip::Flag* flag = std::get_if<chip::Flag>(&key.kind)) append_bytes(text, flag->at(chip));
    if (const chip::Choice* choice = std::get_if<chip::Choice>(&key.kind)) append_bytes(text, choice->get(chip));
  }
}

std::string line_of(std::string_view key, const Value& value) {
  std::string line(key);
  line += " = ";
  line += to_string(value);
  line += '\n';
  return line;
}

/// Run options that change what a run costs, never what it computes.
bool is_of_cost_alone(std::string_view option) {
  constexpr std::array<std::string_view, 19> kOptions = {
      "mode",           "tokens",     "kv",           "encoder_tokens", "sequences",     "slots", "prompt",
      "kv_cache",       "replicate",  "sliver",       "reload",         "bounds",        "goal",  "candidates",
      "relative_error", "max_arrays", "max_area_mm2", "max_energy_nj",  "max_latency_us"};
  return std::find(kOptions.begin(), kOptions.end(), option) != kOptions.end();
}

/// Whether an objective or a constraint asks for a metric of which `wanted` holds.
template <typename Wanted>
bool uses(const Study& study, Wanted wanted) {
  return std::any_of(study.objectives.begin(), study.objectives.end(),
                     [&](const Objective& objective) { return wanted(metrics()[objective.metric]); }) ||
         std::any_of(study.constraints.begin(), study.constraints.end(),
                     [&](const Constraint& constraint) { return wanted(metrics()[constraint.metric]); });
}

}  // namespace

chip::Chip without_costs(chip::Chip chip) {
  chip::Chip defaults;
  for (const chip::Key& key : chip::key_table())
    if (const chip::Number* number = std::get_if<chip::Number>(&key.kind); number != nullptr && is_cost(key.name))
      number->at(chip) = number->at(defaults);
  return chip;
}

/// A file that the study names.
std::string Plan::resolved(const std::string& path) const {
  return (std::filesystem::path(study_.file).parent_path() / path).string();
}

/// A preset, or a file that the study names.
std::string Plan::resolved(const std::string& word, const std::vector<std::string_view>& presets) const {
  if (std::find(presets.begin(), presets.end(), word) != presets.end()) return word;
  const std::vector<model::FileKind> kinds = model::file_kinds();
  const bool is_path =
      word.find('/') != std::string::npos || std::any_of(kinds.begin(), kinds.end(), [&](const model::FileKind& kind) {
        return kind.name.starts_with('.') && word.ends_with(kind.name);
      });
  std::string path = resolved(word);
  std::error_code ignored;
  // What is neither here nor in the working directory is a preset with a typing error.
  if (is_path || std::filesystem::exists(path, ignored) || std::filesystem::exists(word, ignored)) return path;
  return word;
}

Result<void> Plan::load_models() {
  bool some_have_weights = false;
  for (const auto& [name, where] : texts_of(study_, "model")) {
    Result<model::Model> loaded = model::load(model_paths_[name] = resolved(name, model::preset_names()));
    if (!loaded) return fail(named_by(std::move(loaded).error(), where));
    some_have_weights = some_have_weights || loaded->has_weights();
    if (study_.accuracy && !loaded->has_weights())
      notes_.push_back(fmt::format("model {} has no weights: its points are cost points", name));
    models_[name] = std::make_shared<const model::Model>(std::move(*loaded));
  }
  if (study_.accuracy && !some_have_weights)
    return fail(
        Error("explore.accuracy", Failure::bad_input, "[accuracy] needs a model with weights; this study has none")
            .at(study_.accuracy->where)
            .with_hint("give a GGUF, safetensors or Hugging Face model, or leave [accuracy] out"));
  return {};
}

Result<void> Plan::load_chips() {
  std::vector<std::pair<std::string, Location>> names = texts_of(study_, "chip");
  if (names.empty()) names.emplace_back(OptionValues().chip, Location{});
  for (const auto& [name, where] : names) {
    Result<chip::Chip> loaded = chip::load(resolved(name, chip::preset_names()));
    if (!loaded) return fail(named_by(std::move(loaded).error(), where));
    chips_[name] = std::move(*loaded);
  }
  return {};
}

Result<void> Plan::load_files() {
  for (const auto& [path, where] : texts_of(study_, "policy")) {
    const std::string file = resolved(path);
    Result<std::string> text = read_text(file, kLargestText);
    if (!text) return fail(named_by(std::move(text).error(), where));
    DANAUS_CHECK(factor::parse_policy(*text, file, {}));
    policies_[path] = danaus::digest_of(std::string_view(*text));
  }
  if (!study_.accuracy) return {};
  const auto read = [&](const std::string& path, std::string& target) -> Result<void> {
    if (path.empty()) return {};
    Result<std::string> text = read_text(resolved(path), kLargestText);
    if (!text) return fail(named_by(std::move(text).error(), study_.accuracy->where));
    target = std::move(*text);
    return {};
  };
  DANAUS_CHECK(read(study_.accuracy->file, accuracy_text_));
  DANAUS_CHECK(read(study_.accuracy->calibration, calibration_text_));
  accuracy_digests_ = fmt::format("{} {}", danaus::to_string(danaus::digest_of(std::string_view(accuracy_text_))),
                                  danaus::to_string(danaus::digest_of(std::string_view(calibration_text_))));
  return {};
}

Plan::Given Plan::given(std::uint64_t number) const {
  Given given;
  for (const Setting& setting : study_.fixed) given.emplace_back(setting.key, setting.value);
  std::vector<Value> values = space_.values(number);
  for (std::size_t axis = 0; axis < values.size(); ++axis)
    given.emplace_back(study_.axes[axis].key, std::move(values[axis]));
  return given;
}

std::vector<std::pair<std::string, Value>> Plan::parameters(std::uint64_t number) const {
  std::vector<std::pair<std::string, Value>> parameters;
  const std::vector<Value> values = space_.values(number);
  for (std::size_t axis = 0; axis < values.size(); ++axis) parameters.emplace_back(study_.axes[axis].key, values[axis]);
  return parameters;
}

Result<Setup> Plan::setup(std::uint64_t number) const { return setup(given(number)); }

Result<Setup> Plan::setup(const Given& given) const {
  OptionValues values;
  values.run.maps.clear();  // by default one, which depends on the chip
  values.run.seed = study_.seed;
  values.relative_error = uses(study_, [](const Metric& metric) { return metric.name == "relative_error"; });
  values.bounds = uses(study_, [](const Metric& metric) { return metric.bound; });
  std::vector<std::pair<std::string, Value>> chip_values;
  for (const auto& [key, value] : given) {
    if (const Option* option = find_option(key)) {
      option->set(values, value);
    } else {
      chip_values.emplace_back(key, value);
    }
  }
  Setup setup;
  const auto model = models_.find(values.model);
  const auto chip = chips_.find(values.chip);
  ensure(model != models_.end() && chip != chips_.end(), "models and chips of a plan are loaded");
  setup.model = model->second.get();
  setup.model_path = model_paths_.at(values.model);
  if (!values.run.policy.file.empty()) values.run.policy.file = resolved(values.run.policy.file);
  DANAUS_TRY(effective, chip::with_values(chip->second, chip_values));
  setup.chip = std::move(effective);
  if (values.run.maps.empty()) values.run.maps = {pipeline::schedules_by_list(setup.chip) ? "linear" : "dense"};
  setup.options = run_options(values, *setup.model);
  if (study_.accuracy && values.run.maps.front() == pipeline::kAutoMap)
    return fail(Error("explore.conflict", Failure::bad_input,
                      "[accuracy] is of one mapping, and map auto chooses for every operator")
                    .with_hint("leave [accuracy] out, or name the mappings"));
  if (study_.accuracy && setup.model->has_weights()) setup.accuracy = accuracy_of(given, setup);
  if (setup.options.generation && setup.options.generation->prompt >= setup.options.emit.tokens)
    return fail(Error("explore.conflict", Failure::bad_input,
                      fmt::format("a prompt of {} tokens leaves nothing to generate: the total length is {}",
                                  setup.options.generation->prompt, setup.options.emit.tokens)));
  if (setup.options.emit.slots > setup.options.emit.tokens)
    return fail(Error("explore.conflict", Failure::bad_input,
                      fmt::format("slots = {} is more than the number of tokens, {}", setup.options.emit.slots,
                                  setup.options.emit.tokens)));
  return setup;
}

Digest Plan::id_of(const Given& given, Setup* setup) const {
  std::vector<std::string> lines;
  std::string model;
  for (const auto& [key, value] : given) {
    if (key == "model") model = to_string(value);
    // A chip that holds together is its keys; one that does not is what was asked for.
    const bool in_chip = key == "chip" || find_chip_key(key) != nullptr;
    if (key == "model" || (in_chip && setup != nullptr)) continue;
    lines.push_back(line_of(key, value));
    if (key == "policy") lines.back() += danaus::to_string(policies_.at(to_string(value)));
  }
  std::sort(lines.begin(), lines.end());
  std::string text = fmt::format("danaus {}\nmodel {} {}\n", version_, models_.at(model)->name,
                                 danaus::to_string(models_.at(model)->digest));
  for (const std::string& line : lines) text += line;
  text += fmt::format("seed {}\n", study_.seed);
  if (setup == nullptr) return danaus::digest_of(std::string_view(text));
  if (setup->accuracy)
    text += fmt::format("accuracy {} {} {} {} {}\n", accuracy_digests_, study_.accuracy->tokens,
                        study_.accuracy->window, study_.accuracy->analog, study_.accuracy->calibration_tokens);
  append(text, setup->chip);
  return danaus::digest_of(std::string_view(text));
}

Digest Plan::accuracy_of(const Given& given, const Setup& setup) const {
  std::vector<std::string> lines;
  for (const auto& [key, value] : given)
    if (key != "chip" && find_chip_key(key) == nullptr && !is_of_cost_alone(key)) lines.push_back(line_of(key, value));
  std::sort(lines.begin(), lines.end());
  std::string text = fmt::format("{} x {}\n{}map {}\n", setup.chip.array.rows, setup.chip.array.cols,
                                 fmt::join(lines, ""), setup.options.maps.front());
  if (study_.accuracy->analog) {
    chip::Chip machine = without_costs(setup.chip);
    append(text, machine);
  }
  return danaus::digest_of(std::string_view(text));
}

void Plan::list_points(Progress& progress) {
  std::vector<Point> all(space_.size());
  std::atomic<bool> some_are_ready = false;
  std::vector<const chip::Condition*> conditions;  // of the axes
  for (const Axis& axis : study_.axes) conditions.push_back(chip::condition_of(axis.key));
  std::vector<std::atomic<bool>> acts(conditions.size());
  constexpr std::size_t kChunk = 64;
  constexpr std::size_t kReport = 1u << 14;
  progress.begin(fmt::format("plan {}", study_.name), all.size());
  for (std::size_t start = 0; start < all.size(); start += kReport) {
    parallel_for(std::min(kReport, all.size() - start), kChunk, [&](std::size_t first, std::size_t last) {
      for (std::size_t n = start + first; n < start + last; ++n) {
        const Given values = given(n);
        Result<Setup> ready = setup(values);
        all[n] = {n, id_of(values, ready ? &*ready : nullptr), ready ? ready->accuracy : std::nullopt};
        if (!ready) continue;
        some_are_ready = true;
        for (std::size_t axis = 0; axis < acts.size(); ++axis)
          if (conditions[axis] != nullptr && conditions[axis]->holds(ready->chip)) acts[axis] = true;
      }
    });
    progress.update(std::min(start + kReport, all.size()));
  }
  progress.end();
  for (std::size_t axis = 0; axis < acts.size(); ++axis)
    if (conditions[axis] != nullptr && some_are_ready && !acts[axis])
      notes_.push_back(fmt::format("{} changes no figure: it needs {}, which no point has", conditions[axis]->key,
                                   conditions[axis]->needs));
  // By id, the first point of each in front; then the first ones in study order.
  const auto key = [](const Point& point) { return std::tuple(point.id.high, point.id.low, point.number); };
  std::sort(all.begin(), all.end(), [&](const Point& a, const Point& b) { return key(a) < key(b); });
  points_ = std::move(all);
  points_.erase(
      std::unique(points_.begin(), points_.end(), [](const Point& a, const Point& b) { return a.id == b.id; }),
      points_.end());
  std::sort(points_.begin(), points_.end(), [](const Point& a, const Point& b) { return a.number < b.number; });
  if (points_.size() < space_.size())
    notes_.push_back(fmt::format("{} points are the same as others", space_.size() - points_.size()));
  if (study_.sampling == Sampling::grid && space_.product() && *space_.product() > space_.size())
    notes_.push_back(fmt::format("budget: the first {} points of {} in the grid; --resume goes on with a larger budget",
                                 space_.size(), *space_.product()));
}

Result<Plan> Plan::create(Study study, std::string version, Progress& progress) {
  Plan plan;
  plan.study_ = std::move(study);
  plan.version_ = std::move(version);
  DANAUS_TRY(space, Space::create(plan.study_));
  plan.space_ = std::move(space);
  DANAUS_CHECK(plan.load_chips());
  DANAUS_CHECK(plan.load_files());
  DANAUS_CHECK(plan.load_models());
  std::string text = fmt::format("danaus {}\n{}", plan.version_, canonical_text(plan.study_));
  for (const auto& [name, model] : plan.models_)
    text += fmt::format("model {} {}\n", name, danaus::to_string(model->digest));
  for (const auto& [name, chip] : plan.chips_)
    text += fmt::format("chip {} {}\n", name, danaus::to_string(chip::digest_of(chip)));
  for (const auto& [name, digest] : plan.policies_)
    text += fmt::format("policy {} {}\n", name, danaus::to_string(digest));
  for (const std::string* file : {&plan.accuracy_text_, &plan.calibration_text_})
    text += fmt::format("text {}\n", danaus::to_string(danaus::digest_of(std::string_view(*file))));
  plan.digest_ = danaus::digest_of(std::string_view(text));
  plan.list_points(progress);
  return plan;
}

}  // namespace danaus::explore
