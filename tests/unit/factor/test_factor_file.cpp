#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "danaus/core/files.h"
#include "danaus/factor/factor.h"
#include "danaus/model/safetensors.h"
#include "oracle.h"

using namespace danaus;
using namespace danaus::factor;

namespace {

using NamedFactors = std::vector<std::pair<std::string, Factors>>;

Factors random_factors(const Structure& structure, std::uint64_t stream) {
  if (structure.kind == Structure::Kind::dense)
    return {structure, oracle::gaussian(structure.dense_parameters(), stream), {}};
  return {structure, oracle::gaussian(std::size_t{structure.l} * structure.r * structure.stage_inputs(0), stream),
          oracle::gaussian(std::size_t{structure.k} * structure.r * structure.stage_outputs(1), stream + 1)};
}

/// A safetensors file with this JSON header and data.
std::string file_of(std::string header, std::size_t data_bytes) {
  while (header.size() % 8 != 0) header += ' ';
  const std::uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(data_bytes, '\0');
}

std::string id_of(const std::string& text) {
  const auto result = parse_factors(std::as_bytes(std::span(text.data(), text.size())), "f");
  return result ? "" : result.error().id;
}

struct TemporaryFile {
  std::filesystem::path path;
  explicit TemporaryFile(const char* name) : path(std::filesystem::temp_directory_path() / name) {}
  ~TemporaryFile() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("factor files keep trained constants") {
  const TemporaryFile file("danaus-unit-constants.safetensors");
  const NamedFactors factors = {{"a", random_factors(Structure::blocks(6, 4, 2, 2, 1), 1)}};
  const Constants constants = {{"norm.weight", {1, 2, 3}}, {"a.bias", {-4}}};
  REQUIRE(write_factors(file.path, factors, constants).has_value());
  const Result<FactorFile> read = read_factors(file.path);
  REQUIRE(read.has_value());
  CHECK(read->constants == constants);
  CHECK(read->operators.size() == 1);

  const std::string good = read_text(file.path, 1u << 20).value();
  const auto parse = [](const std::string& text) {
    return parse_factors(std::as_bytes(std::span(text.data(), text.size())), "f");
  };
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_FALSE(parse(good.substr(0, length)).has_value());
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    if (const auto result = parse(damaged); !result) CHECK(result.error().failure != Failure::internal);
  }
  const auto replaced = [&](std::string_view from, std::string_view to) {
    REQUIRE(from.size() == to.size());
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return id_of(text);
  };
  CHECK(replaced("norm.weight\\\"", "morm.weight\\\"") == "factor.tensor");
  CHECK(replaced("\\\"a.bias\\\"]", "\\\"a bias\\\"]") == "factor.metadata");
  CHECK(replaced("\"shape\":[3]", "\"shape\":[2]") != "");
  std::string infinite = good;
  infinite.replace(good.size() - 4, 4, std::string("\0\0\x80\x7f", 4));
  CHECK(id_of(infinite) == "factor.non-finite");
}

TEST_CASE("factor files round-trip, trimmed and dense operators too") {
  const TemporaryFile file("danaus-unit-factors.safetensors");
  const NamedFactors factors = {{"a.q", random_factors(Structure::blocks(30, 20, 4, 3, 2), 1)},
                                {"a.up", random_factors(Structure::blocks(31, 21, 4, 3, 2).trim(), 3)},
                                {"b", random_factors(Structure::dense(5, 7), 5)},
                                {"c", random_factors(Structure::padded_square(40, 10).trim(), 7)},
                                {"d", random_factors(Structure::padded_square(40, 10), 9)}};
  REQUIRE(write_factors(file.path, factors).has_value());
  const Result<FactorFile> whole = read_factors(file.path);
  REQUIRE(whole.has_value());
  CHECK(whole->constants.empty());
  const NamedFactors* const read = &whole->operators;
  REQUIRE(read->size() == factors.size());
  for (std::size_t n = 0; n < factors.size(); ++n) {
    INFO(factors[n].first);
    CHECK((*read)[n].first == factors[n].first);
    CHECK((*read)[n].second.structure == factors[n].second.structure);
    CHECK((*read)[n].second.right == factors[n].second.right);
    CHECK((*read)[n].second.left == factors[n].second.left);
  }
  // Foreign readers see ordinary tensors.
  const auto tensors = model::read_safetensors(file.path);
  REQUIRE(tensors.has_value());
  CHECK(tensors->tensors.size() == 9);
  for (const model::Tensor& tensor : tensors->tensors) {
    if (tensor.name == "a.up.R") CHECK(tensor.shape == std::vector<std::uint64_t>{4, 6, 6});
    if (tensor.name == "a.up.L") CHECK(tensor.shape == std::vector<std::uint64_t>{3, 11, 8});
    if (tensor.name == "b.W") CHECK(tensor.shape == std::vector<std::uint64_t>{5, 7});
  }
}

TEST_CASE("a writer that is not committed leaves nothing behind") {
  const TemporaryFile file("danaus-unit-factors-abandoned.safetensors");
  const Structure structure = Structure::blocks(8, 8, 2, 2, 1);
  {
    Result<FactorWriter> writer = FactorWriter::create(file.path, {{"a", structure}, {"b", structure}});
    REQUIRE(writer.has_value());
    REQUIRE(writer->add("a", random_factors(structure, 1)).has_value());
  }
  CHECK_FALSE(std::filesystem::exists(file.path));
  CHECK_FALSE(FactorWriter::create("/nowhere/at/all.safetensors", {{"a", structure}}).has_value());
}

TEST_CASE("damaged factor files are refused") {
  CHECK(id_of(file_of("{}", 0)) == "factor.metadata");
  const auto with = [](const std::string& description, const std::string& tensors, std::size_t bytes) {
    std::string quoted;
    for (const char c : description) quoted += c == '"' ? "\\\"" : std::string(1, c);
    return id_of(file_of("{\"__metadata__\":{\"danaus.factors\":\"" + quoted + "\"}" + tensors + "}", bytes));
  };
  const auto operators = [](const std::string& list) { return "{\"version\":1,\"operators\":[" + list + "]}"; };
  const std::string dense = R"({"name":"a","out":2,"in":3,"structure":"dense"})";
  const auto tensor = [](const std::string& name, const std::string& type, const std::string& shape, int bytes) {
    return ",\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":[0," +
           std::to_string(bytes) + "]}";
  };
  CHECK(with(operators(dense), tensor("a.W", "F32", "[2,3]", 24), 24) == "");
  CHECK(with(operators(dense), tensor("a.W", "F32", "[3,2]", 24), 24) == "factor.tensor");
  CHECK(with(operators(dense), tensor("a.W", "F16", "[2,3]", 12), 12) == "factor.tensor");
  CHECK(with(operators(dense), tensor("b.W", "F32", "[2,3]", 24), 24) == "factor.tensor");
  CHECK(with(operators(dense), "", 0) == "factor.tensor");
  CHECK(with(operators(""), tensor("a.W", "F32", "[2,3]", 24), 24) == "factor.tensor");
  CHECK(with(operators(dense + "," + dense), tensor("a.W", "F32", "[2,3]", 24), 24) == "factor.metadata");
  for (const char* wrong : {"not json", "[]", "{}", R"({"version":2,"operators":[]})", R"({"version":1})",
                            R"({"version":1,"operators":{}})"})
    CHECK(with(wrong, "", 0) == "factor.metadata");
  for (const char* wrong :
       {"3", R"({"out":2,"in":3,"structure":"dense"})", R"({"name":"a","out":2,"in":3})",
        R"({"name":"a","out":-2,"in":3,"structure":"dense"})", R"({"name":"a","out":2.5,"in":3,"structure":"dense"})",
        R"({"name":"a","out":99999999999,"in":3,"structure":"dense"})",
        R"({"name":"a","out":2,"in":3,"structure":"blocks 99999999x99999999:1"})",
        R"({"name":"a b","out":2,"in":3,"structure":"dense"})"})
    CHECK(with(operators(wrong), tensor("a.W", "F32", "[2,3]", 24), 24) == "factor.metadata");
}

TEST_CASE("weights in the file are finite, and zero where the operator was trimmed") {
  const TemporaryFile file("danaus-unit-factors-damaged.safetensors");
  const Structure structure = Structure::blocks(5, 5, 2, 2, 1).trim();  // last blocks of 2 instead of 3
  const NamedFactors factors = {{"a", random_factors(structure, 1)}};
  REQUIRE(write_factors(file.path, factors).has_value());
  const std::string good = *read_text(file.path);
  REQUIRE(id_of(good) == "");
  const std::size_t data = good.size() - (2 * 2 * 3 + 2 * 3 * 2) * sizeof(float);
  const auto with_weight = [&](std::size_t element, float value) {
    std::string text = good;
    std::memcpy(text.data() + data + element * sizeof(float), &value, sizeof value);
    return id_of(text);
  };
  CHECK(with_weight(0, 3.0f) == "");
  CHECK(with_weight(0, INFINITY) == "factor.non-finite");
  CHECK(with_weight(8, 1.0f) == "factor.padding");           // R: block 1, row 0, column 2
  CHECK(with_weight(12 + 6 + 4, 1.0f) == "factor.padding");  // L: block 1, row 2, column 0
  CHECK(with_weight(12 + 6 + 3, 1.0f) == "");
}

TEST_CASE("a model is projected operator by operator") {
  model::Model model;
  std::vector<std::vector<float>> weights;
  for (std::size_t n = 0; n < 3; ++n) weights.push_back(oracle::gaussian(24 * 16, 20 + n));
  for (std::size_t n = 0; n < 3; ++n) {
    model::LinearOperator operation;
    operation.name = "w" + std::to_string(n);
    operation.out = 24;
    operation.in = 16;
    model::Tensor tensor;
    tensor.name = operation.name;
    tensor.shape = {24, 16};
    tensor.bytes = std::as_bytes(std::span<const float>(weights[n]));
    operation.weight = model::WeightView{.tensor = tensor};
    model.linear.push_back(operation);
  }
  const std::vector<Structure> structures(3, Structure::blocks(24, 16, 4, 4, 1));
  std::vector<std::string> seen;
  const auto sink = [&](std::string_view name, const Projection& projection) -> Result<void> {
    seen.emplace_back(name);
    const std::size_t n = static_cast<std::size_t>(name.back() - '0');
    CHECK(projection.factors.right == project(weights[n], structures[n])->factors.right);
    return {};
  };
  const auto reports = project_model(
      model, structures, [](std::string_view name) { return name != "w1"; }, sink, no_progress());
  REQUIRE(reports.has_value());
  CHECK(seen == std::vector<std::string>{"w0", "w2"});
  CHECK((*reports)[1].name == "w2");
  CHECK((*reports)[1].squared_norm == doctest::Approx(oracle::squared_norm(weights[2])));
  CHECK((*reports)[1].squared_error == doctest::Approx(oracle::optimum(weights[2], structures[2])).epsilon(1e-5));

  weights[2][5] = NAN;
  const auto broken = project_model(
      model, structures, [](std::string_view) { return true; }, sink, no_progress());
  REQUIRE_FALSE(broken.has_value());
  CHECK(broken.error().id == "factor.non-finite");
  CHECK(broken.error().message.starts_with("w2: "));
  model.linear[1].weight.reset();
  const auto shapes = project_model(
      model, structures, [](std::string_view) { return true; }, sink, no_progress());
  REQUIRE_FALSE(shapes.has_value());
  CHECK(shapes.error().id == "factor.no-weights");
}
