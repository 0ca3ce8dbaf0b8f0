#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/graph.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {

/// A structure that operators may get: "dense", "given" (what --structure, --blocks, --policy and so on say),
/// "monarch:C", "lowrank:C", "gather:C[:S]" (C the compression, S the group) or "blocks:K[xL][:R]".
struct Candidate {
  std::string name;
  factor::Policy policy;
  Graph graph;  ///< the model's, with this structure for every operator
  /// Per linear operator, additive, of the budget `Candidates::most_error`. kNotAllowed: the operator may not have it.
  std::vector<double> errors;
};
inline constexpr double kNotAllowed = std::numeric_limits<double>::infinity();

struct Candidates {
  std::vector<Candidate> all;       ///< at least one
  bool has_errors = false;          ///< otherwise all errors are 0 or kNotAllowed
  double most_error = kNotAllowed;  ///< for the sum of `errors`
  bool squared = false;             ///< errors are squares: the figure of the user is the root of the sum
  /// What the user calls the error of a sum of errors.
  double figure(double sum) const;
};

/// "given" stands for `given`. Error auto.candidate.
Result<factor::Policy> parse_candidate(std::string_view text, const factor::Policy& given);

/// All families at 2, 4 and 8 times.
std::vector<std::string> candidate_ladder();

/// The structures that were chosen as a policy file, a rule per operator; what options besides `--structure`,
/// `--blocks`,
/// `--compression` and `--group` gave (trimming) stays an option. `given`: the policy of the run, without file and
/// padding.
Result<std::string> policy_of(const AutoReport& report, const factor::Policy& given);

/// Those that the options name; by default dense and given, and with a limit of the error candidate_ladder() too; with
/// a sensitivity file those that it names. With a limit and no file the weights are projected onto every candidate.
/// Errors: auto.candidate, auto.no-errors, auto.sensitivity-*, factor.*.
Result<Candidates> make_candidates(const model::Model& model, const chip::Chip& chip, const RunOptions& options,
                                   Progress& progress);

}  // namespace danaus::pipeline
