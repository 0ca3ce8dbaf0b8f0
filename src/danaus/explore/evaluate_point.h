#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "danaus/explore/database.h"
#include "danaus/explore/plan.h"
#include "danaus/pipeline/cost_evaluator.h"

namespace danaus::explore {

/// Computes points of a plan, which must outlive it. Thread-safe; an outcome depends on the point alone.
class PointEvaluator {
 public:
  explicit PointEvaluator(const Plan& plan) : plan_(plan) {}

  /// A point that cannot be (it does not fit, its chip has no converter time) is an outcome with an error. Errors here
  /// say nothing about the point: a file cannot be read, memory ran out, danaus is wrong.
  Result<Outcome> evaluate(std::uint64_t number);

  /// What became of a point, with the whole of its error: an outcome keeps id and message alone.
  Result<MetricValues> values_of(std::uint64_t number);

 private:
  /// The float model's answers to the text, once per encoder.
  struct Reference {
    std::once_flag once;
    Result<std::vector<std::vector<float>>> embeddings = std::vector<std::vector<float>>();
  };

  Result<pipeline::MapResult> cost_of(const Setup& setup);
  Result<MetricValues> accuracy_of(const Setup& setup);
  Result<void> add_accuracy(const Setup& setup, MetricValues& values);
  Result<pipeline::EvaluateInput> input_for(const Setup& setup) const;
  Result<const std::vector<std::vector<float>>*> reference_of(const Setup& setup);

  const Plan& plan_;
  pipeline::CostEvaluator costs_;
  std::mutex mutex_;  // of what follows
  std::map<std::string, std::shared_ptr<Reference>> references_;
  std::map<std::string, MetricValues> accuracies_;  // by Setup::accuracy; the other metrics are empty
};

}  // namespace danaus::explore
