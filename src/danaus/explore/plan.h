#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/explore/space.h"
#include "danaus/explore/study.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"

namespace danaus::explore {

/// A point made ready: what pipeline::run takes.
struct Setup {
  const model::Model* model = nullptr;
  std::string model_path;  ///< a preset or where it was read from
  chip::Chip chip;
  pipeline::RunOptions options;  ///< with one map
  /// What the model makes of the text is the same for all points with the same digest; nothing: a cost point.
  std::optional<Digest> accuracy;
};

/// One point of the plan. `number` counts from 0 in study order.
struct Point {
  std::uint64_t number = 0;
  Digest id;                       ///< of the model, the effective chip, all options and the version of danaus
  std::optional<Digest> accuracy;  ///< as in Setup; takes seconds rather than hundredths of one
};

/// The chip with the defaults of all times, energies and areas: what the analog machine does not read. What it computes
/// is a function of this chip.
chip::Chip without_costs(chip::Chip chip);

/// A study with its models and chips loaded and its points listed: the same on every rank and in every shard.
class Plan {
 public:
  /// Relative paths in a study start at the folder of its file. Points that are the same are one: the first of them
  /// stays. Errors: those of Space, of models and chips,
  /// explore.accuracy (no model has weights), file.*. Everything is read here, so that points differ by their
  /// parameters alone.
  static Result<Plan> create(Study study, std::string version, Progress& progress);

  const Study& study() const { return study_; }
  const std::string& version() const { return version_; }
  const std::vector<Point>& points() const { return points_; }
  const Space& space() const { return space_; }
  /// What a resumed, merged or shared database has to agree on: version, study but for the budget, files.
  const Digest& digest() const { return digest_; }
  /// Things that a user has to know.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Key and value of every axis, in study order.
  std::vector<std::pair<std::string, Value>> parameters(std::uint64_t number) const;
  /// Errors of the point itself: a chip whose keys do not go together, blocks that do not fit the model.
  Result<Setup> setup(std::uint64_t number) const;

  /// Contents of the files that [accuracy] names.
  const std::string& accuracy_text() const { return accuracy_text_; }
  const std::string& calibration_text() const { return calibration_text_; }

 private:
  Plan() = default;
  std::string resolved(const std::string& path) const;
  std::string resolved(const std::string& word, const std::vector<std::string_view>& presets) const;
  Result<void> load_models();
  Result<void> load_chips();
  Result<void> load_files();
  void list_points(Progress& progress);
  /// Everything that the study says of one point.
  using Given = std::vector<std::pair<std::string_view, Value>>;
  Given given(std::uint64_t number) const;
  Result<Setup> setup(const Given& given) const;
  Digest id_of(const Given& given, Setup* setup) const;
  Digest accuracy_of(const Given& given, const Setup& setup) const;

  Study study_;
  std::string version_;
  Space space_;
  std::vector<Point> points_;
  Digest digest_;
  std::vector<std::string> notes_;
  // By the names in the study.
  std::map<std::string, std::string> model_paths_;
  std::map<std::string, std::shared_ptr<const model::Model>> models_;
  std::map<std::string, chip::Chip> chips_;
  std::map<std::string, Digest> policies_;
  std::string accuracy_text_, calibration_text_;
  std::string accuracy_digests_;  // of both
};

}  // namespace danaus::explore
