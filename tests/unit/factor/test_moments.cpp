// Moment files: round trips, and damage.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "danaus/factor/activation.h"
#include "danaus/factor/moments.h"
#include "danaus/model/model.h"

using namespace danaus;
using namespace danaus::factor;

namespace {

/// One finished input, one with sums, one whose turn has not come.
MomentSet some_set() {
  MomentSet set;
  set.model = "a model";
  set.model_digest = digest_of("model");
  set.text_digest = digest_of("text");
  set.weighting = "first-token 1 normalise 0";
  set.texts = 9;
  set.done = 4;
  for (const std::uint32_t in : {3u, 2u, 4u}) {
    InputMoments input;
    input.name = "operator." + std::to_string(in);
    input.operators = {input.name, input.name + ".too"};
    input.in = in;
    input.first_tokens = 2;
    input.tokens = 5;
    input.weight = 7.1;
    input.energy = {1.5, 0.1, 3};
    if (in != 4) {
      for (std::uint32_t n = 0; n < triangle(in) + in; ++n) input.sums.push_back(0.1 * (n + 1));
    }
    if (in == 3) input.finish();
    set.inputs.push_back(std::move(input));
  }
  return set;
}

std::filesystem::path scratch(const std::string& name) {
  return std::filesystem::temp_directory_path() / (std::to_string(::getpid()) + "-" + name);
}

std::vector<char> bytes_of(const MomentSet& set) {
  const std::filesystem::path path = scratch("moments.safetensors");
  REQUIRE(write_moments(path, set).has_value());
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::filesystem::remove(path);
  return bytes;
}

std::string parsed(const std::vector<char>& bytes) {
  const Result<MomentSet> set = parse_moments(std::as_bytes(std::span(bytes)), "m");
  return set ? "" : set.error().id;
}

std::string with(std::vector<char> bytes, std::string_view from, std::string_view to) {
  std::string text(bytes.begin(), bytes.end());
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(from.size() == to.size());
  text.replace(at, from.size(), to);
  return parsed({text.begin(), text.end()});
}

}  // namespace

TEST_CASE("a set is the same after writing and reading, in a file and from memory") {
  const MomentSet set = some_set();
  const std::filesystem::path path = scratch("same.safetensors");
  REQUIRE(write_moments(path, set).has_value());
  const Result<MomentSet> read = read_moments(path);
  std::filesystem::remove(path);
  const std::vector<char> bytes = bytes_of(set);
  const Result<MomentSet> from_memory = parse_moments(std::as_bytes(std::span(bytes)), "m");
  for (const Result<MomentSet>* result : {&read, &from_memory}) {
    REQUIRE(result->has_value());
    const MomentSet& copy = **result;
    CHECK(copy.model == set.model);
    CHECK(copy.model_digest == set.model_digest);
    CHECK(copy.text_digest == set.text_digest);
    CHECK(copy.weighting == set.weighting);
    CHECK(copy.texts == set.texts);
    CHECK(copy.done == set.done);
    REQUIRE(copy.inputs.size() == set.inputs.size());
    for (std::size_t n = 0; n < set.inputs.size(); ++n) {
      const InputMoments &a = copy.inputs[n], &b = set.inputs[n];
      CHECK(a.name == b.name);
      CHECK(a.operators == b.operators);
      CHECK(a.in == b.in);
      CHECK(a.first_tokens == b.first_tokens);
      CHECK(a.tokens == b.tokens);
      CHECK(a.weight == b.weight);
      CHECK(a.energy == b.energy);
      CHECK(a.sums == b.sums);
      CHECK(std::equal(a.moments.begin(), a.moments.end(), b.moments.begin(), b.moments.end()));
      CHECK(std::equal(a.mean.begin(), a.mean.end(), b.mean.begin(), b.mean.end()));
    }
  }
  CHECK(!set.finished());
  CHECK(set.find("operator.2.too") == &set.inputs[1]);
  CHECK(set.find("operator") == nullptr);
  CHECK(set.inputs[0].moments[2] == doctest::Approx(0.3 / 7.1));
  CHECK(set.inputs[0].mean[1] == doctest::Approx(0.8 / 7.1));
}

TEST_CASE("every shorter file and every damaged byte is an error or a set that can be used") {
  const std::vector<char> bytes = bytes_of(some_set());
  REQUIRE(parsed(bytes).empty());
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK(!parsed({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)}).empty());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int change : {1, 0x20, 0x80, 0xff}) {
      std::vector<char> damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      const Result<MomentSet> set = parse_moments(std::as_bytes(std::span(damaged)), "m");
      if (!set) continue;
      for (const InputMoments& input : set->inputs) {
        if (input.moments.empty()) continue;
        Metric metric(input, 0.01);
        const std::vector<float> weights(2 * input.in, 1.0f);
        const Result<Projection> projection = project(weights, Structure::gather(2, input.in, 1, 1), metric, {});
        if (projection) continue;
        const bool named = projection.error().id == "moments.value" || projection.error().id == "moments.damping";
        CHECK(named);
      }
    }
  }
}

TEST_CASE("what is wrong is named") {
  const std::vector<char> bytes = bytes_of(some_set());
  CHECK(with(bytes, "danaus.moments", "danaus.factors") == "moments.metadata");
  CHECK(with(bytes, "\\\"version\\\":1", "\\\"version\\\":2") == "moments.metadata");
  CHECK(with(bytes, "\\\"texts\\\":9", "\\\"texts\\\":3") == "moments.metadata");
  CHECK(with(bytes, "\\\"in\\\":3", "\\\"in\\\":5") == "moments.tensor");
  CHECK(with(bytes, "\\\"in\\\":2", "\\\"in\\\":5") == "moments.tensor");
  CHECK(with(bytes, "operator.3.mean", "operator.3.main") == "moments.tensor");
  CHECK(with(bytes, "operator.3.moments", "operator.3.moment_") == "moments.metadata");
  MomentSet set = some_set();
  const std::vector<float> negative = {1, 0, -1, 0, 0, 1};
  set.inputs[0].moments = negative;
  CHECK(parsed(bytes_of(set)) == "moments.value");
  set = some_set();
  set.inputs[1].sums[1] = NAN;
  CHECK(parsed(bytes_of(set)) == "moments.value");
}

TEST_CASE("models are projected with moments that are theirs and finished") {
  const Result<model::Model> model = model::load(std::string(DANAUS_SOURCE_DIR) + "/tests/data/nn/llama");
  REQUIRE(model.has_value());
  std::vector<Structure> structures;
  for (const model::LinearOperator& operation : model->linear)
    structures.push_back(Structure::dense(operation.out, operation.in));
  const auto all = [](std::string_view) { return true; };
  const auto drop = [](std::string_view, const Projection&) { return Result<void>{}; };
  const auto outcome = [&](const MomentSet& set) {
    const Result<std::vector<LayerReport>> layers =
        project_model(*model, structures, set, {}, all, drop, no_progress());
    return layers ? std::string() : layers.error().id;
  };
  CHECK(outcome(some_set()) == "moments.unfinished");
  MomentSet set;
  CHECK(outcome(set) == "moments.model");
  set.model_digest = model->digest;
  CHECK(outcome(set) == "moments.operator");
  std::vector<std::vector<float>> identities;
  for (const model::LinearOperator& operation : model->linear) {
    InputMoments input;
    input.name = operation.name;
    input.operators = {operation.name};
    input.in = operation.in;
    identities.emplace_back(triangle(operation.in));
    for (std::uint64_t i = 0; i < operation.in; ++i) identities.back()[triangle(i) + i] = 1;
    set.inputs.push_back(input);
  }
  for (std::size_t n = 0; n < identities.size(); ++n) set.inputs[n].moments = identities[n];
  CHECK(outcome(set).empty());
  set.inputs[1].in = 7;
  CHECK(outcome(set) == "moments.operator");
}
