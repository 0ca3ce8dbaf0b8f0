// Structures to choose from, and what each takes of the error that is allowed. Relative errors add up as squares: the
// relative error of all weights is the root of (sum of squared errors / sum of squared norms).

#include "danaus/pipeline/auto/candidates.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "danaus/compile/compile.h"
#include "danaus/core/internal_error.h"
#include "danaus/factor/choose.h"
#include "danaus/pipeline/auto/sensitivity.h"

namespace danaus::pipeline {
namespace {

constexpr std::string_view kDense = "dense", kGiven = "given";

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t first = 0;;) {
    const std::size_t end = text.find(':', first);
    parts.push_back(text.substr(first, end - first));
    if (end == std::string_view::npos) return parts;
    first = end + 1;
  }
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Error bad_candidate(std::string_view text, std::string message) {
  const std::string_view close =
      nearest(split(text).front(), {"dense", "given", "monarch", "lowrank", "gather", "blocks"});
  return Error("auto.candidate", Failure::usage, fmt::format("candidate '{}': {}", text, message))
      .with_hint(close.empty() || text.starts_with(close)
                     ? "candidates: dense, given, monarch:8, lowrank:8, gather:8:32, blocks:16x64:2"
                     : fmt::format("did you mean '{}'?", close));
}

/// The names when the user gives none.
std::vector<std::string> default_names(const AutoOptions& options, const std::vector<SensitivityRule>& rules) {
  std::vector<std::string> names = {std::string(kDense)};
  if (!rules.empty()) {
    for (const SensitivityRule& rule : rules) {
      for (const auto& [name, cost] : rule.costs) names.push_back(name);
    }
    return names;
  }
  names.emplace_back(kGiven);
  if (!options.most_error) return names;
  for (std::string& name : candidate_ladder()) names.push_back(std::move(name));
  return names;
}

/// Of every operator by the rules; dense costs nothing unless a rule says so.
Result<void> set_costs(const model::Model& model, const std::string& file, const std::vector<SensitivityRule>& rules,
                       std::vector<Candidate>& candidates) {
  std::vector<bool> used(rules.size());
  for (std::size_t o = 0; o < model.linear.size(); ++o) {
    const SensitivityRule* decisive = nullptr;
    for (std::size_t r = 0; r < rules.size(); ++r) {
      if (!factor::matches(rules[r].pattern, model.linear[o].name)) continue;
      used[r] = true;
      if (decisive == nullptr) decisive = &rules[r];
    }
    for (Candidate& candidate : candidates) {
      candidate.errors[o] = candidate.name == kDense ? 0 : kNotAllowed;
      if (decisive == nullptr) continue;
      for (const auto& [name, cost] : decisive->costs) {
        if (name == candidate.name) candidate.errors[o] = cost;
      }
    }
  }
  for (std::size_t r = 0; r < rules.size(); ++r) {
    if (used[r]) continue;
    std::vector<std::string_view> names;
    for (const model::LinearOperator& linear : model.linear) names.push_back(linear.name);
    const std::string_view near = nearest(rules[r].pattern, names);
    return fail(Error("auto.sensitivity-match", Failure::bad_input,
                      fmt::format("no linear operator of '{}' matches '{}'", model.name, rules[r].pattern))
                    .in_file(file)
                    .at_line(rules[r].line)
                    .with_hint(near.empty() ? "names are listed by `danaus project --json`"
                                            : fmt::format("did you mean '{}'?", near)));
  }
  return {};
}

/// Projects the weights onto every candidate.
Result<void> set_projection_errors(const model::Model& model, const std::vector<std::vector<Structure>>& structures,
                                   std::vector<Candidate>& candidates, Progress& progress) {
  double squared_norm = 0;
  std::vector<std::vector<double>> squared(candidates.size(), std::vector<double>(model.linear.size()));
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const auto all = [](std::string_view) { return true; };
    const auto drop = [](std::string_view, const factor::Projection&) { return Result<void>{}; };
    const bool is_dense = std::all_of(structures[c].begin(), structures[c].end(), [](const Structure& structure) {
      return structure.kind == Structure::Kind::dense;
    });
    if (is_dense && candidates.size() > 1) continue;
    DANAUS_TRY(layers, factor::project_model(model, structures[c], all, drop, progress));
    squared_norm = 0;
    for (std::size_t o = 0; o < layers.size(); ++o) {
      squared[c][o] = layers[o].squared_error;
      squared_norm += layers[o].squared_norm;
    }
  }
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    for (std::size_t o = 0; o < model.linear.size(); ++o)
      candidates[c].errors[o] = squared_norm > 0 ? squared[c][o] / squared_norm : 0;
  }
  return {};
}

}  // namespace

std::vector<std::string> candidate_ladder() {
  std::vector<std::string> names;
  for (const char* const family : {"monarch", "lowrank", "gather"}) {
    for (const int compression : {2, 4, 8}) names.push_back(fmt::format("{}:{}", family, compression));
  }
  return names;
}

double Candidates::figure(double sum) const { return squared ? std::sqrt(sum) : sum; }

Result<factor::Policy> parse_candidate(std::string_view text, const factor::Policy& given) {
  using Kind = factor::Policy::Kind;
  if (text == kGiven) return given;
  const std::vector<std::string_view> parts = split(text);
  const std::string_view family = parts.front();
  factor::Policy policy = given;
  policy.file.clear();
  policy.blocks.clear();
  policy.pad_square = false;
  if (family == kDense && parts.size() == 1) {
    policy.kind = Kind::dense;
    return policy;
  }
  if (family == "blocks") {
    policy.kind = Kind::monarch;
    if (parts.size() < 2) return fail(bad_candidate(text, "it does not say which blocks"));
    policy.blocks = text.substr(family.size() + 1);
    return policy;
  }
  if (family == "monarch") {
    policy.kind = Kind::monarch;
  } else if (family == "lowrank") {
    policy.kind = Kind::lowrank;
  } else if (family == "gather") {
    policy.kind = Kind::gather;
  } else {
    return fail(bad_candidate(text, "there is no such structure"));
  }
  const std::optional<double> compression = parts.size() < 2 ? std::nullopt : number<double>(parts[1]);
  if (!compression || !std::isfinite(*compression) || *compression < 1)
    return fail(bad_candidate(text, "the compression is a number of at least 1"));
  policy.compression = *compression;
  if (parts.size() == 2) return policy;
  const std::optional<std::uint32_t> group = number<std::uint32_t>(parts[2]);
  if (parts.size() > 3 || policy.kind != Kind::gather) return fail(bad_candidate(text, "it has too many parts"));
  if (!group || *group == 0 || *group > 1u << 24)
    return fail(bad_candidate(text, "the group is a whole number of at least 1"));
  policy.group = *group;
  return policy;
}

Result<std::string> policy_of(const AutoReport& report, const factor::Policy& given) {
  ensure(given.file.empty() && !given.pad_square, "a policy file holds structures alone");
  std::vector<factor::LayerRule> rules;
  for (const Choice& choice : report.choices) {
    DANAUS_TRY(policy, parse_candidate(choice.candidate, given));
    rules.push_back({choice.name, 0, std::move(policy)});
  }
  return factor::policy_text(rules);
}

Result<Candidates> make_candidates(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                                   Progress& progress) {
  const AutoOptions& wanted = options.automatic;
  std::vector<SensitivityRule> rules;
  if (!wanted.sensitivity.empty()) {
    DANAUS_TRY(read, read_sensitivity(wanted.sensitivity));
    rules = std::move(read);
  }
  if (wanted.most_error && wanted.sensitivity.empty() && !model.has_weights())
    return fail(Error("auto.no-errors", Failure::usage,
                      fmt::format("'{}' has no weights, so nothing says how wrong a structure is", model.name))
                    .with_hint("give measured costs with --sensitivity, or leave --max-error out"));

  std::vector<std::string> names = wanted.candidates.empty() ? default_names(wanted, rules) : wanted.candidates;
  std::vector<std::string> once;
  for (const std::string& name : names) {
    if (std::find(once.begin(), once.end(), name) == once.end()) once.push_back(name);
  }
  Candidates candidates;
  std::vector<std::vector<Structure>> structures;
  for (const std::string& name : once) {
    DANAUS_TRY(policy, parse_candidate(name, options.policy));
    DANAUS_TRY(own, factor::choose_structures(model, policy, std::min(chip.array.rows, chip.array.cols)));
    candidates.all.push_back({.name = name,
                              .policy = policy,
                              .graph = compile::with_structures(model.graph, own, chip),
                              .errors = std::vector<double>(model.linear.size())});
    structures.push_back(std::move(own));
  }
  candidates.has_errors = wanted.most_error.has_value() || !wanted.sensitivity.empty();
  if (!wanted.sensitivity.empty()) {
    DANAUS_CHECK(set_costs(model, wanted.sensitivity, rules, candidates.all));
    if (wanted.most_error) candidates.most_error = *wanted.most_error;
  } else if (wanted.most_error) {
    DANAUS_CHECK(set_projection_errors(model, structures, candidates.all, progress));
    candidates.most_error = *wanted.most_error * *wanted.most_error;
    candidates.squared = true;
  }
  return candidates;
}

}  // namespace danaus::pipeline
