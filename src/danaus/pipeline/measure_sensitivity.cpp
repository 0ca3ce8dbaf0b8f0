// Candidate by candidate: each operator is projected, and the text is read with the projection in its place. Beside the
// sum of these damages, which is what map auto adds up, that of all operators together, which shows how far adding up
// can be believed.

#include "danaus/pipeline/measure_sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "danaus/pipeline/auto/candidates.h"
#include "danaus/pipeline/damage.h"

namespace danaus::pipeline {
namespace {

/// The start of a text: whole lines of encoders, windows of decoders, the last one cut.
void shorten(TokenSequences& text, std::uint64_t most) {
  std::uint64_t count = 0;
  std::size_t kept = 0;
  while (kept < text.tokens.size() && count < most) {
    std::vector<nn::TokenId>& tokens = text.tokens[kept++];
    if (!text.encoder) tokens.resize(std::min<std::size_t>(tokens.size(), most - count));
    count += tokens.size();
  }
  text.tokens.resize(kept);
}

/// The candidates by name, each with a structure for every operator.
Result<std::vector<std::pair<std::string, std::vector<Structure>>>> structures_of(const model::Model& model,
                                                                                  const SensitivityOptions& options) {
  std::vector<std::pair<std::string, std::vector<Structure>>> all;
  for (const std::string& name : options.candidates.empty() ? candidate_ladder() : options.candidates) {
    if (name == "given")
      return fail(Error("auto.candidate", Failure::usage, "candidate 'given': a file cannot say which one that was")
                      .with_hint("name it, for example monarch:8, gather:8:32 or blocks:16x64:2"));
    DANAUS_TRY(policy, parse_candidate(name, {}));
    DANAUS_TRY(structures, factor::choose_structures(model, policy, options.array_edge));
    const auto is_same = [&](const auto& other) { return other.first == name; };
    if (std::none_of(all.begin(), all.end(), is_same)) all.emplace_back(name, std::move(structures));
  }
  return all;
}

/// Projects and measures with one candidate.
class Measurement {
 public:
  Measurement(const model::Model& model, const SensitivityOptions& options, DamageProbe& probe)
      : model_(model), options_(options), probe_(probe) {
    for (std::size_t number = 0; number < model.linear.size(); ++number) {
      if (options.selected(model.linear[number].name) && probe.is_used(number))
        numbers_.emplace(model.linear[number].name, number);
    }
  }
  const std::map<std::string_view, std::size_t>& numbers() const { return numbers_; }

  /// `done` is called after each operator.
  Result<Sensitivity::Candidate> measure(const std::string& name, const std::vector<Structure>& structures,
                                         const std::function<void()>& done) {
    constexpr std::uint64_t kMostTogether = std::uint64_t{1} << 30;  // parameters
    Sensitivity::Candidate candidate;
    candidate.name = name;
    for (const auto& [operation, number] : numbers_) candidate.parameters += structures[number].parameters();
    const bool is_kept = candidate.parameters <= kMostTogether;
    std::vector<std::pair<std::size_t, factor::Factors>> kept;
    const auto sink = [&](std::string_view operation, const factor::Projection& projection) -> Result<void> {
      const Replacement replacement = {numbers_.at(operation), &projection.factors};
      DANAUS_TRY(damage, probe_.damage({&replacement, 1}));
      candidate.damages.push_back(damage);
      candidate.sum += damage;
      if (is_kept) kept.emplace_back(replacement.first, projection.factors);
      done();
      return {};
    };
    const auto wanted = [&](std::string_view operation) { return numbers_.contains(operation); };
    DANAUS_CHECK(options_.moments != nullptr ? factor::project_model(model_, structures, *options_.moments,
                                                                     options_.fit, wanted, sink, no_progress())
                                             : factor::project_model(model_, structures, wanted, sink, no_progress()));
    if (!is_kept) return candidate;
    std::vector<Replacement> replacements;
    for (const auto& [number, factors] : kept) replacements.emplace_back(number, &factors);
    DANAUS_TRY(together, probe_.damage(replacements));
    candidate.together = together;
    return candidate;
  }

 private:
  const model::Model& model_;
  const SensitivityOptions& options_;
  DamageProbe& probe_;
  std::map<std::string_view, std::size_t> numbers_;  ///< of the operators that are measured
};

}  // namespace

std::string Sensitivity::unit() const {
  return fmt::format("{} of {}, one operator replaced, over {} texts of {} tokens",
                     encoder ? "1 - cosine of the embeddings" : "KL divergence of the next token in nats", model, texts,
                     tokens);
}

std::vector<SensitivityRule> rules_of(const Sensitivity& sensitivity) {
  std::vector<SensitivityRule> rules;
  for (std::size_t n = 0; n < sensitivity.operators.size(); ++n) {
    SensitivityRule& rule = rules.emplace_back();
    rule.pattern = sensitivity.operators[n];
    for (const Sensitivity::Candidate& candidate : sensitivity.candidates)
      rule.costs.emplace_back(candidate.name, candidate.damages[n]);
  }
  return rules;
}

Result<Sensitivity> measure_sensitivity(const model::Model& model, const std::string& path,
                                        const SensitivityOptions& options,
                                        const std::function<Result<void>(const Sensitivity&)>& save,
                                        Progress& progress) {
  DANAUS_TRY(structures, structures_of(model, options));
  DANAUS_TRY(text, token_sequences(model, path, options.text, options.window));
  shorten(text, options.tokens);
  Sensitivity result;
  result.model = model.name;
  result.encoder = text.encoder;
  result.texts = text.tokens.size();
  for (const std::vector<nn::TokenId>& tokens : text.tokens) result.tokens += tokens.size();
  nn::Pooling pooling;
  if (text.encoder) {
    DANAUS_TRY(found, pooling_of(path));
    pooling = found;
  }
  progress.begin("read the text", 0);
  Result<DamageProbe> probe = DamageProbe::create(model, std::move(text), pooling);
  progress.end();
  if (!probe) return fail(probe.error());
  Measurement measurement(model, options, *probe);
  for (std::size_t number = 0; number < model.linear.size(); ++number) {
    const model::LinearOperator& operation = model.linear[number];
    if (measurement.numbers().contains(operation.name)) {
      result.operators.push_back(operation.name);
      result.dense_parameters += std::uint64_t{operation.out} * operation.in;
    } else if (options.selected(operation.name)) {
      result.unused.push_back(operation.name);
    }
  }
  std::uint64_t done = 0;
  progress.begin("measure", structures.size() * result.operators.size());
  for (const auto& [name, own] : structures) {
    Result<Sensitivity::Candidate> candidate = measurement.measure(name, own, [&] { progress.update(++done); });
    if (!candidate) {
      progress.end();
      return fail(candidate.error());
    }
    result.candidates.push_back(std::move(*candidate));
    DANAUS_CHECK(save(result));
  }
  progress.end();
  return result;
}

}  // namespace danaus::pipeline
