#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <filesystem>

#include "danaus/model/model.h"

// Figures from independent readers (PyPI gguf and safetensors): tests/oracle/make_model_figures.py prints them.
// The models are not part of the repository (make models fetches them); without them these tests say so and pass.

using namespace danaus;
using namespace danaus::model;

namespace {

const std::filesystem::path kModels = std::filesystem::path(DANAUS_SOURCE_DIR) / "models";

bool present(const std::filesystem::path& path) {
  const bool found = std::filesystem::exists(path);
  if (!found) MESSAGE("skipped: there is no " << path.string() << " (make models)");
  return found;
}

struct Figures {
  std::string name;
  std::vector<std::uint64_t> shape;
  float first;
  std::uint64_t checksum;  ///< sum over n of (n + 1) * bits(element n), modulo 2^64
};

void check_figures(const Model& model, const Figures& figures) {
  CAPTURE(figures.name);
  const std::vector<Tensor>::const_iterator tensor =
      std::find_if(model.tensors.begin(), model.tensors.end(), [&](const Tensor& t) { return t.name == figures.name; });
  REQUIRE(tensor != model.tensors.end());
  CHECK(tensor->shape == figures.shape);
  const std::uint64_t length = tensor->shape.back();
  std::vector<float> row(length);
  std::uint64_t checksum = 0, position = 0;
  for (std::uint64_t number = 0; number < tensor->elements() / length; ++number) {
    dequantise_rows(*tensor, number, 1, row);
    if (number == 0) CHECK(row[0] == figures.first);
    for (const float value : row) checksum += ++position * std::bit_cast<std::uint32_t>(value);
  }
  CHECK(checksum == figures.checksum);
}

std::uint64_t parameters(const Model& model) {
  std::uint64_t sum = 0;
  for (const LinearOperator& operation : model.linear) sum += std::uint64_t{operation.out} * operation.in;
  return sum;
}

}  // namespace

TEST_CASE("SmolLM2 135M, Q4_1") {
  const std::filesystem::path path = kModels / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!present(path)) return;
  const Result<Model> model = load(path.string());
  REQUIRE(model);
  CHECK(model->linear.size() == 210);
  CHECK(parameters(*model) == 106'168'320);
  CHECK(model->tensors.size() == 272);
  const Result<Model> preset = load("smollm2-135m");
  REQUIRE(preset);
  CHECK(model->dimensions == preset->dimensions);
  // The preset is the same graph, but for the rounding of epsilon to 32 bits and the order of rotary pairs.
  REQUIRE(model->graph.nodes == preset->graph.nodes);
  CHECK(model->graph.configs[1].epsilon == double{1e-5f});
  CHECK(model->graph.configs[2].theta == 100000.0);
  for (const Figures& figures : {Figures{"token_embd.weight", {49152, 576}, -0x1.b468p-4f, 0x779fe7cb39c5bf80},
                                 Figures{"blk.0.attn_q.weight", {576, 576}, -0x1.8a8p-4f, 0x4985974afd7c1a00},
                                 Figures{"blk.0.attn_k.weight", {192, 576}, -0x1.3ep-3f, 0xb2febb5a04b6f000},
                                 Figures{"blk.0.attn_norm.weight", {576}, 0x1.cap-7f, 0x000132a306ab0000},
                                 Figures{"blk.14.ffn_gate.weight", {1536, 576}, 0x1p-12f, 0xc5d64db423dba600},
                                 Figures{"blk.29.ffn_down.weight", {576, 1536}, -0x1.17ep-2f, 0xbbdb33a363dc2000},
                                 Figures{"output_norm.weight", {576}, 0x1.c2p+0f, 0x0000a28ba9da0000}}) {
    check_figures(*model, figures);
  }
}

TEST_CASE("all-MiniLM-L6-v2") {
  const std::filesystem::path path = kModels / "all-MiniLM-L6-v2";
  if (!present(path)) return;
  const Result<Model> model = load(path.string());
  REQUIRE(model);
  CHECK(model->name == "all-MiniLM-L6-v2");
  CHECK(model->family == Family::bert);
  CHECK(model->dimensions == Dimensions{.layers = 6,
                                        .hidden = 384,
                                        .ffn = 1536,
                                        .heads = 12,
                                        .kv_heads = 12,
                                        .head_size = 32,
                                        .vocab = 30522,
                                        .context = 512});
  CHECK(model->linear.size() == 36);
  CHECK(parameters(*model) == 6ull * (4 * 384 * 384 + 2 * 384 * 1536));
  CHECK(model->digital.size() == 5);  // three embeddings, position numbers, pooler
  CHECK(load((path / "").string())->name == "all-MiniLM-L6-v2");
  for (const Figures& figures :
       {Figures{"embeddings.position_embeddings.weight", {512, 384}, -0x1.5e6e0cp-4f, 0x2d916678dc9ca5d6},
        Figures{"encoder.layer.0.attention.self.query.weight", {384, 384}, -0x1.305f7cp-3f, 0x3cca01d161afaa7e},
        Figures{"encoder.layer.5.output.dense.bias", {384}, -0x1.295934p-10f, 0x00008c6057e8bfb3}}) {
    check_figures(*model, figures);
  }
}
