#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/pipeline/evaluate.h"
#include "danaus/pipeline/run.h"

/// What a study can ask of a point: figures of a run (docs/formats.md, danaus.run/1) and of an evaluation.
namespace danaus::explore {

enum class Direction : std::uint8_t { least, most };

struct Metric {
  std::string_view name;  ///< with its unit: "latency_ns"
  std::string_view help;
  Direction better;        ///< where nothing else is said
  bool whole = false;      ///< a count
  bool accuracy = false;   ///< needs the weights of a model and a text
  double largest = 1e300;  ///< no value is above it
  double smallest = 0;     ///< none is below it
  bool bound = false;      ///< of pipeline::Bound, found only where a study asks for it
};

/// In the order of the columns of a database and of an export.
const std::vector<Metric>& metrics();
/// Position in metrics().
std::optional<std::size_t> find_metric(std::string_view name);
std::vector<std::string_view> metric_names();

/// One value per metric; nothing where a point has no such figure.
using MetricValues = std::vector<std::optional<double>>;

/// Of one map of a run; the accuracy metrics stay empty.
MetricValues metrics_of(const pipeline::MapResult& result);
/// Adds the accuracy metrics of a decoder.
void add_metrics(MetricValues& values, const pipeline::Evaluation& evaluation);
/// Adds those of an encoder: how similar its sentences' embeddings are to those of the float model.
void add_similarity(MetricValues& values, double similarity);

}  // namespace danaus::explore
