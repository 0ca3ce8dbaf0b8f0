// Imported ONNX graphs compute what the reference evaluator of PyPI onnx says they compute: the operator graph is
// evaluated in double precision on the same inputs. tests/oracle/make_onnx_models.py makes the files and the figures.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "danaus/model/model.h"
#include "danaus/program/interpreter_float.h"
#include "danaus/program/reference.h"

namespace danaus {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(DANAUS_SOURCE_DIR) / "tests/data/onnx";

struct Rows {
  std::uint32_t size = 0;
  std::vector<double> values;  ///< tokens * size
};

struct Figures {
  std::uint32_t tokens = 0;
  std::vector<std::string> kinds;
  std::map<std::string, Rows> inputs, outputs;
};

Figures read_figures(const std::string& name) {
  std::ifstream file(kFolder / (name + ".txt"));
  Figures figures;
  std::string word;
  while (file >> word) {
    if (word == "tokens") {
      file >> figures.tokens;
    } else if (word == "kinds") {
      std::size_t count = 0;
      file >> count;
      figures.kinds.resize(count);
      for (std::string& kind : figures.kinds) file >> kind;
    } else {
      std::string node;
      Rows rows;
      file >> node >> rows.size;
      rows.values.resize(std::size_t{rows.size} * figures.tokens);
      for (double& value : rows.values) file >> value;
      (word == "input" ? figures.inputs : figures.outputs)[node] = rows;
    }
  }
  return figures;
}

class Weights : public program::StageWeights<double> {
 public:
  explicit Weights(const model::Model& model) {
    for (const model::LinearOperator& operation : model.linear)
      weights_[operation.node] = {model::read_weights(operation), operation.in};
  }
  void multiply(NodeId node, std::uint32_t, std::uint32_t in_first, std::span<const double> x, std::uint32_t out_first,
                std::uint32_t out_step, std::span<double> y) override {
    const auto& [weights, columns] = weights_.at(node);
    for (std::size_t j = 0; j < y.size(); ++j) {
      for (std::size_t i = 0; i < x.size(); ++i)
        y[j] += double{weights[(out_first + j * out_step) * columns + in_first + i]} * x[i];
    }
  }

 private:
  std::map<NodeId, std::pair<std::vector<float>, std::size_t>> weights_;
};

class Data : public program::ExecutionData<double> {
 public:
  Data(const model::Model& model, const Figures& figures) : model_(model), figures_(figures) {}
  void input(NodeId node, std::uint32_t token, std::uint32_t first, std::span<double> out) const override {
    const Rows& rows = figures_.inputs.at(model_.graph.at(node).name);
    for (std::size_t e = 0; e < out.size(); ++e) out[e] = rows.values[token * rows.size + first + e];
  }
  void constant(std::string_view name, std::uint32_t first, std::span<double> out) const override {
    for (const model::ConstantView& view : model_.constants) {
      if (view.name != name) continue;
      model::Tensor flat = view.tensor;
      flat.shape = {flat.elements()};
      std::vector<float> values(flat.elements());
      model::dequantise_rows(flat, 0, 1, values);
      for (std::size_t e = 0; e < out.size(); ++e) out[e] = values[view.first + first + e];
      return;
    }
    FAIL("there is no constant " << name);
  }
  void prior(KvId, bool, std::uint32_t, std::span<double>) const override { FAIL("nothing is prior"); }

 private:
  const model::Model& model_;
  const Figures& figures_;
};

/// The largest difference to the figures, relative to 1 + the figure.
double compare(const std::string& name) {
  CAPTURE(name);
  const Result<model::Model> model = model::load((kFolder / (name + ".onnx")).string());
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : to_string(model.error())));
  const Figures figures = read_figures(name);
  REQUIRE(figures.tokens > 1);
  std::vector<std::string> kinds;
  std::size_t inputs = 0;
  for (const Node& node : model->graph.nodes) {
    kinds.emplace_back(name_of(node.kind));
    if (node.kind != NodeKind::input) continue;
    ++inputs;
    REQUIRE_MESSAGE(figures.inputs.contains(node.name), "input " << node.name);
    CHECK(figures.inputs.at(node.name).size == node.size);
  }
  CHECK(kinds == figures.kinds);
  CHECK(inputs == figures.inputs.size());
  CHECK(model->graph.outputs.size() == figures.outputs.size());

  const program::FloatArithmetic arithmetic;
  Weights weights(*model);
  const Data data(*model, figures);
  program::Reference<program::FloatArithmetic> reference(model->graph, arithmetic, weights, data,
                                                         {.tokens = figures.tokens});
  double worst = 0;
  for (const NodeId output : model->graph.outputs) {
    const Node& node = model->graph.at(output);
    REQUIRE_MESSAGE(figures.outputs.contains(node.name), "output " << node.name);
    const Rows& rows = figures.outputs.at(node.name);
    REQUIRE(rows.size == node.size);
    for (std::uint32_t token = 0; token < figures.tokens; ++token) {
      const std::span<const double> values = reference.value(token, output);
      for (std::size_t e = 0; e < values.size(); ++e) {
        const double expected = rows.values[token * rows.size + e];
        worst = std::max(worst, std::abs(values[e] - expected) / (1 + std::abs(expected)));
      }
    }
  }
  return worst;
}

TEST_CASE("graphs with linear operators, norms and activations in every spelling") {
  for (const char* name : {"mlp", "functions", "external"}) CHECK(compare(name) < 1e-5);
}

TEST_CASE("what is not understood is cut out of the graph without changing the rest") {
  for (const char* name : {"digital", "attention-biased", "attention-unscaled"}) CHECK(compare(name) < 1e-5);
}

TEST_CASE("attention with a computed mask") { CHECK(compare("attention-causal") < 1e-5); }

TEST_CASE("encoders and a llama as torch exports them") {
  for (const char* name : {"torch-encoder", "torch-bert", "torch-llama"}) CHECK(compare(name) < 1e-5);
}

TEST_CASE("a gpt2 as torch exports it") {
  // Its gelu is the tanh form; the exact one would differ by up to 5e-4.
  CHECK(compare("torch-gpt2") < 1e-5);
}

}  // namespace
}  // namespace danaus
