#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/auto/sensitivity.h"
#include "danaus/pipeline/evaluate.h"

/// What structures cost operators, measured end to end, one operator at a time: what `danaus sensitivity` writes and
/// `--map auto --sensitivity` reads.
namespace danaus::pipeline {

struct SensitivityOptions {
  EvaluateInput text;
  std::uint32_t window = 0;                    ///< decoders: tokens that are seen at once; 0: the context, at most 512
  std::uint64_t tokens = 1024;                 ///< about so many tokens of the text: whole lines, or windows
  std::vector<std::string> candidates;         ///< as those of map auto, without "given"; empty: candidate_ladder()
  std::uint32_t array_edge = 256;              ///< guides the choice of blocks
  const factor::MomentSet* moments = nullptr;  ///< projections that see the inputs; null: of the weights alone
  factor::ActivationOptions fit;
  std::function<bool(std::string_view)> selected = [](std::string_view) { return true; };
};

struct Sensitivity {
  struct Candidate {
    std::string name;
    std::uint64_t parameters = 0;    ///< of the operators that were measured
    std::vector<double> damages;     ///< by operator, DamageProbe
    double sum = 0;                  ///< of them
    std::optional<double> together;  ///< with all operators replaced at once; none if that takes too much memory
  };
  std::string model;
  bool encoder = false;
  std::size_t texts = 0, tokens = 0;   ///< that were read
  std::vector<std::string> operators;  ///< that were measured
  std::uint64_t dense_parameters = 0;  ///< of them
  std::vector<std::string> unused;     ///< operators of experts that no token reached
  std::vector<Candidate> candidates;
  /// What damages are, in one line.
  std::string unit() const;
};

/// One rule per operator, with what all candidates cost it.
std::vector<SensitivityRule> rules_of(const Sensitivity& sensitivity);

/// `save` gets what there is after every candidate. `path`: where the model was loaded from. Errors: those of
/// token_sequences, parse_candidate, choose_structures, project_model, DamageProbe and `save`.
Result<Sensitivity> measure_sensitivity(const model::Model& model, const std::string& path,
                                        const SensitivityOptions& options,
                                        const std::function<Result<void>(const Sensitivity&)>& save,
                                        Progress& progress);

}  // namespace danaus::pipeline
