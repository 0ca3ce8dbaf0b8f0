#pragma once

#include <span>
#include <string>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/tune/engine.h"

namespace danaus::tune {

/// What is trained: teacher and student for the engine, the student's parameters, and which of them are constants.
struct TrainingNetwork {
  Network network;
  std::vector<Parameter> parameters;
  std::vector<std::string> constants;
};

/// `start`: factors of some operators, all others stay dense; constants that it has not got are the model's. `rate`
/// times the default rates. Errors: tune.factors (they are of another model).
Result<TrainingNetwork> make_network(const model::Model& model, const factor::FactorFile& start, double rate,
                                     bool with_head);

/// The operators of `start` and all constants, with the values of the parameters.
factor::FactorFile trained_factors(const factor::FactorFile& start, std::span<const Parameter> parameters,
                                   std::span<const std::string> constants);

}  // namespace danaus::tune
