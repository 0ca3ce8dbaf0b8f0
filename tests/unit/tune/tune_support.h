#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../nn/nn_support.h"
#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/transformer.h"
#include "danaus/tune/network.h"
#include "danaus/tune/tune.h"

namespace danaus::tune {

using nn::value_of;
using nn::worst;

inline model::Model small_model(const std::string& name) {
  Result<model::Model> loaded = model::load(nn::data_folder(name));
  REQUIRE_MESSAGE(loaded.has_value(), (loaded ? "" : to_string(loaded.error())));
  return std::move(*loaded);
}

/// The weights of a model projected onto structures of all kinds, one after the other.
inline factor::FactorFile mixed_factors(const model::Model& model) {
  std::vector<Structure> structures;
  for (std::size_t n = 0; n < model.linear.size(); ++n) {
    const std::uint32_t out = model.linear[n].out, in = model.linear[n].in;
    switch (n % 6) {
      case 0:
        structures.push_back(Structure::blocks(out, in, 3, 5, 2));
        break;
      case 1:
        structures.push_back(Structure::gather(out, in, std::min(5u, out), in / 2));
        break;
      case 2:
        structures.push_back(Structure::blocks(out, in, 1, 1, 7));
        break;
      case 3:
        structures.push_back(Structure::padded_square(out, in).trim());
        break;
      case 4:
        structures.push_back(Structure::dense(out, in));
        break;
      default:
        structures.push_back(Structure::blocks(out, in, 5, 3, 1).trim());
    }
  }
  factor::FactorFile file;
  const auto keep = [&](std::string_view name, const factor::Projection& projection) -> Result<void> {
    file.operators.emplace_back(name, projection.factors);
    return {};
  };
  const auto all = [](std::string_view) { return true; };
  value_of(factor::project_model(model, structures, all, keep, no_progress()));
  return file;
}

/// Gains and biases a little away from the model's.
inline void shake(std::vector<Parameter>& parameters) {
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    for (std::size_t n = 0; n < parameters[p].values.size(); ++n)
      parameters[p].values[n] += static_cast<float>(0.02 * random_gaussian(5, p, n));
  }
}

inline std::vector<std::vector<nn::TokenId>> random_texts(std::size_t count, std::size_t length, std::uint32_t vocab) {
  std::vector<std::vector<nn::TokenId>> texts(count);
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t n = 0; n < length; ++n) texts[t].push_back(static_cast<nn::TokenId>(random_bits(3, t, n) % vocab));
  }
  return texts;
}

inline EngineOptions single_options() {
  EngineOptions options;
  options.for_each = [](std::size_t count, const std::function<void(std::size_t)>& body) {
    parallel_for(count, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t n = first; n < last; ++n) body(n);
    });
  };
  return options;
}

/// A shard of sequences of one length.
inline Shard shard_of(const nn::Transformer& transformer, const std::vector<std::vector<nn::TokenId>>& texts) {
  std::vector<nn::Step> steps;
  Shard shard{texts.size(), texts.front().size(), {}, {}, 0};
  for (const std::vector<nn::TokenId>& text : texts) {
    steps.push_back({nullptr, text});
    shard.ids.insert(shard.ids.end(), text.begin(), text.end());
  }
  shard.vectors = value_of(transformer.embed(steps));
  return shard;
}

}  // namespace danaus::tune
