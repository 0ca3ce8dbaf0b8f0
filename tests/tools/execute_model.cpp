// execute_model MODEL prefill|encode < request.json: compiles a model for the chip `unit` (dense operators), executes
// the program in double precision with the model's own weights and constants, and prints the outputs.
//   in:  {"inputs": {"x": [[element, ...], ...]}, "prior": {"cross_attend": [keys, values]}}
//        per input node one vector per token; per cross-attention of a decoder one vector per encoder token
//   out: [[element, ...], ...]            per token the outputs of the graph, one after the other
#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/run.h"
#include "danaus/program/interpreter_float.h"

namespace danaus {
namespace {

using Json = nlohmann::json;

Result<Json> execute(const std::string& name, compile::Mode mode, const Json& request) {
  const Json& inputs = request.at("inputs");
  const Json& prior = request.at("prior");
  DANAUS_TRY(model, model::load(name));
  DANAUS_TRY(chip, chip::load("unit"));
  pipeline::RunOptions options;
  options.emit.mode = mode;
  options.emit.tokens = static_cast<std::uint32_t>(inputs.begin()->size());
  if (!prior.empty()) options.emit.encoder_tokens = static_cast<std::uint32_t>(prior.begin()->at(0).size());
  Progress& progress = no_progress();
  DANAUS_TRY(program, pipeline::compile_model(model, chip, "linear", options, progress));

  std::map<std::uint32_t, std::vector<float>> weights;
  std::map<std::uint32_t, std::uint32_t> inputs_of;
  for (const model::LinearOperator& operation : model.linear) {
    weights[index(operation.node)] = model::read_weights(operation);
    inputs_of[index(operation.node)] = operation.in;
  }
  std::map<std::string, std::vector<float>, std::less<>> constants;
  for (const model::ConstantView& constant : model.constants) {
    std::vector<float> whole(constant.tensor.elements());
    model::dequantise_rows(constant.tensor, 0, whole.size() / constant.tensor.shape.back(), whole);
    const auto first = whole.begin() + static_cast<std::ptrdiff_t>(constant.first);
    constants[constant.name].assign(first, first + constant.count);
  }
  program::FloatSource source;
  source.weight = [&](NodeId node, std::uint32_t, std::uint32_t in, std::uint32_t out) {
    return static_cast<double>(weights.at(index(node)).at(std::size_t{out} * inputs_of.at(index(node)) + in));
  };
  source.constant = [&](std::string_view constant, std::uint32_t element) {
    return constant == "zero" ? 0.0 : static_cast<double>(constants.find(constant)->second.at(element));
  };
  source.input = [&](NodeId node, std::uint32_t token, std::uint32_t element) {
    return inputs.at(model.graph.at(node).name).at(token).at(element).get<double>();
  };
  source.prior = [&](KvId region, bool value, std::uint32_t entry, std::uint32_t element) {
    for (const Node& node : model.graph.nodes) {
      const std::uint32_t head = index(region) - index(node.kv_first);
      if (node.kind != NodeKind::attend || index(region) < index(node.kv_first) || head >= node.kv_heads) continue;
      return prior.at(node.name).at(value ? 1 : 0).at(entry).at(head * node.head_size + element).get<double>();
    }
    return 0.0;
  };
  DANAUS_TRY(outputs, program::execute(program, source));
  return Json(outputs);
}

}  // namespace
}  // namespace danaus

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: execute_model MODEL prefill|encode < request.json\n", stderr);
    return 2;
  }
  const danaus::compile::Mode mode =
      std::string(argv[2]) == "encode" ? danaus::compile::Mode::encode : danaus::compile::Mode::prefill;
  const nlohmann::json request = nlohmann::json::parse(std::cin);
  const danaus::Result<nlohmann::json> outputs = danaus::execute(argv[1], mode, request);
  if (!outputs) {
    std::fprintf(stderr, "%s: %s\n", std::string(outputs.error().id).c_str(), outputs.error().message.c_str());
    return 1;
  }
  std::puts(outputs->dump().c_str());
  return 0;
}
