// One point: the cost of its map, and for accuracy points what the model then says of the text.

#include "danaus/explore/evaluate_point.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>

#include "danaus/model/embedded.h"
#include "danaus/nn/tokenizer.h"
#include "danaus/pipeline/evaluate.h"
#include "danaus/pipeline/token_list.h"

namespace danaus::explore {
namespace {

/// Errors that would be others on another day or machine.
bool is_of_the_point(const Error& error) {
  return error.failure != Failure::io && error.failure != Failure::internal && error.failure != Failure::interrupted;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, a_squared = 0, b_squared = 0;
  for (std::size_t n = 0; n < a.size(); ++n) {
    product += double{a[n]} * double{b[n]};
    a_squared += double{a[n]} * double{a[n]};
    b_squared += double{b[n]} * double{b[n]};
  }
  const double norms = std::sqrt(a_squared) * std::sqrt(b_squared);
  return norms > 0 ? product / norms : 0;
}

bool is_dense_operator(const std::string& map) {
  const Result<const compile::StrategyInfo*> strategy = compile::find_strategy(map);
  return strategy && (*strategy)->dense_operator;
}

}  // namespace

Result<pipeline::MapResult> PointEvaluator::cost_of(const Setup& setup) {
  Result<pipeline::RunResult> result = setup.options.project_weights
                                           ? pipeline::run(*setup.model, setup.chip, setup.options, no_progress())
                                           : costs_.evaluate(*setup.model, setup.chip, setup.options);
  if (!result) return fail(std::move(result).error());
  return std::move(result->results.front());
}

Result<pipeline::EvaluateInput> PointEvaluator::input_for(const Setup& setup) const {
  using Kind = pipeline::EvaluateInput::Kind;
  const Accuracy& accuracy = *plan_.study().accuracy;
  pipeline::EvaluateInput input;
  input.kind = accuracy.ids ? Kind::ids : Kind::text;
  input.content = plan_.accuracy_text();
  input.name = accuracy.file;
  const bool decoder = setup.model->head.has_value();
  if (accuracy.tokens == 0 || !decoder) return input;
  std::vector<nn::TokenId> ids;
  if (accuracy.ids) {
    DANAUS_TRY(read, pipeline::parse_token_list(input.content, input.name));
    ids = std::move(read);
  } else {
    std::filesystem::path home = setup.model_path;
    std::error_code ignored;
    if (!model::is_gguf(home) && !std::filesystem::is_directory(home, ignored)) home = home.parent_path();
    DANAUS_TRY(tokenizer, nn::Tokenizer::read(home));
    DANAUS_TRY(encoded, tokenizer.encode(input.content));
    ids = std::move(encoded);
  }
  if (ids.size() > accuracy.tokens) ids.resize(accuracy.tokens);
  std::string list;
  for (const nn::TokenId id : ids) list += fmt::format("{}{}", list.empty() ? "[" : ", ", id);
  input.kind = Kind::ids;
  input.content = list + "]";
  return input;
}

Result<const std::vector<std::vector<float>>*> PointEvaluator::reference_of(const Setup& setup) {
  std::shared_ptr<Reference> reference;
  {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Reference>& slot = references_[setup.model_path];
    if (slot == nullptr) slot = std::make_shared<Reference>();
    reference = slot;
  }
  std::call_once(reference->once, [&] {
    reference->embeddings = [&]() -> Result<std::vector<std::vector<float>>> {
      pipeline::EvaluateOptions options;
      DANAUS_TRY(input, input_for(setup));
      options.input = std::move(input);
      DANAUS_TRY(evaluation, pipeline::evaluate(*setup.model, setup.model_path, options, no_progress()));
      return std::move(evaluation.embeddings);
    }();
  });
  if (!reference->embeddings) return fail(reference->embeddings.error());
  return &*reference->embeddings;  // references_ keeps it
}

Result<MetricValues> PointEvaluator::accuracy_of(const Setup& setup) {
  MetricValues values(metrics().size());
  const Accuracy& accuracy = *plan_.study().accuracy;
  pipeline::EvaluateOptions options;
  DANAUS_TRY(input, input_for(setup));
  options.input = std::move(input);
  options.window.length = accuracy.window;
  options.linear.array_edge = std::min(setup.chip.array.rows, setup.chip.array.cols);
  const std::string& map = setup.options.maps.front();
  if (!is_dense_operator(map)) options.linear.policy = setup.options.policy;
  if (accuracy.analog) {
    pipeline::AnalogRequest& request = options.linear.analog.emplace();
    request.options.chip = without_costs(setup.chip);
    request.options.map = map;
    request.options.seed = setup.options.seed;
    request.options.share_inputs = setup.options.emit.share_inputs;
    request.calibration_tokens = accuracy.calibration_tokens;
    if (!accuracy.calibration.empty()) {
      const bool ids = accuracy.calibration.ends_with(".json");
      request.calibration = {ids ? pipeline::EvaluateInput::Kind::ids : pipeline::EvaluateInput::Kind::text,
                             plan_.calibration_text(), accuracy.calibration};
    }
  }
  DANAUS_TRY(evaluation, pipeline::evaluate(*setup.model, setup.model_path, options, no_progress()));
  if (!evaluation.encoder) {
    add_metrics(values, evaluation);
    return values;
  }
  DANAUS_TRY(reference, reference_of(setup));
  double sum = 0;
  for (std::size_t n = 0; n < reference->size(); ++n) sum += cosine((*reference)[n], evaluation.embeddings[n]);
  add_similarity(values, sum / static_cast<double>(std::max<std::size_t>(1, reference->size())));
  return values;
}

Result<void> PointEvaluator::add_accuracy(const Setup& setup, MetricValues& values) {
  const std::string key = danaus::to_string(*setup.accuracy);
  std::optional<MetricValues> known;
  {
    const std::lock_guard lock(mutex_);
    if (const auto entry = accuracies_.find(key); entry != accuracies_.end()) known = entry->second;
  }
  if (!known) {
    DANAUS_TRY(computed, accuracy_of(setup));
    known = std::move(computed);
    const std::lock_guard lock(mutex_);
    accuracies_.emplace(key, *known);
  }
  for (std::size_t metric = 0; metric < values.size(); ++metric)
    if ((*known)[metric]) values[metric] = (*known)[metric];
  return {};
}

Result<MetricValues> PointEvaluator::values_of(std::uint64_t number) {
  DANAUS_TRY(setup, plan_.setup(number));
  DANAUS_TRY(cost, cost_of(setup));
  MetricValues values = metrics_of(cost);
  if (setup.accuracy) DANAUS_CHECK(add_accuracy(setup, values));
  return values;
}

Result<Outcome> PointEvaluator::evaluate(std::uint64_t number) {
  try {
    Result<MetricValues> values = values_of(number);
    if (values) return Outcome{number, std::move(*values), {}};
    if (is_of_the_point(values.error()))
      return Outcome{number, {}, PointError{values.error().id, values.error().message}};
    return fail(std::move(values).error().note(fmt::format("while computing point {}", number)));
  } catch (const std::exception& exception) {
    return fail(Error("explore.internal", Failure::internal, exception.what())
                    .note(fmt::format("while computing point {}", number))
                    .with_hint("the points that are done are kept; if it is not for lack of memory, please report it"));
  }
}

}  // namespace danaus::explore
