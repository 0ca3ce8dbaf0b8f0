#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/transformer.h"

namespace danaus::nn {

using Json = nlohmann::json;

inline std::string data_folder(const std::string& name) {
  return std::string(DANAUS_SOURCE_DIR) + "/tests/data/nn/" + name;
}

inline Json read_json(const std::string& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path);
  return Json::parse(file);
}

/// The texts and figures of a model of tests/data/nn.
inline std::vector<Json> texts_of(const std::string& name) {
  const Json figures = read_json(data_folder(name) + "/figures.json");
  std::vector<Json> texts = figures.at("texts").get<std::vector<Json>>();
  REQUIRE(!texts.empty());
  return texts;
}

/// A model with its float backend and transformer.
struct Reference {
  std::unique_ptr<model::Model> model;
  std::unique_ptr<LinearBackend> backend;
  std::optional<Transformer> transformer;

  explicit Reference(const std::string& path, const FloatOptions& options = {}) {
    Result<model::Model> loaded = model::load(path);
    REQUIRE_MESSAGE(loaded.has_value(), (loaded ? "" : to_string(loaded.error())));
    model = std::make_unique<model::Model>(std::move(*loaded));
    Result<std::unique_ptr<LinearBackend>> made = float_backend(*model, options);
    REQUIRE(made.has_value());
    backend = std::move(*made);
    Result<Transformer> created = Transformer::create(*model, *backend);
    REQUIRE_MESSAGE(created.has_value(), (created ? "" : to_string(created.error())));
    transformer.emplace(std::move(*created));
  }
  Transformer& operator*() { return *transformer; }
  Transformer* operator->() { return &*transformer; }
};

inline std::vector<TokenId> ids_of(const Json& list) { return list.get<std::vector<TokenId>>(); }

inline std::vector<float> flattened(const Json& rows) {
  std::vector<float> values;
  for (const Json& row : rows) {
    for (const Json& value : row) values.push_back(value.get<float>());
  }
  return values;
}

/// Largest difference relative to the largest value.
inline double worst(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0, difference = 0;
  for (std::size_t n = 0; n < a.size(); ++n) {
    most = std::max(most, std::abs(double{b[n]}));
    difference = std::max(difference, std::abs(double{a[n]} - double{b[n]}));
  }
  return difference / most;
}

template <typename T>
T value_of(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : to_string(result.error())));
  return std::move(*result);
}

template <typename T>
std::string error_of(const Result<T>& result) {
  return result ? "" : result.error().id;
}

/// The outputs of new sequences for whole texts, `chunk` tokens at a time (0: all at once).
inline std::vector<float> decode_all(Transformer& transformer, const std::vector<TokenId>& ids, std::size_t chunk = 0) {
  Sequence sequence = transformer.sequence();
  std::vector<float> outputs;
  if (chunk == 0) chunk = ids.size();
  for (std::size_t first = 0; first < ids.size(); first += chunk) {
    const Step step = {&sequence, std::span(ids).subspan(first, std::min(chunk, ids.size() - first))};
    const std::vector<float> part = value_of(transformer.decode(std::span(&step, 1)));
    outputs.insert(outputs.end(), part.begin(), part.end());
  }
  return outputs;
}

}  // namespace danaus::nn
