#include <doctest/doctest.h>
#include <fmt/format.h>

#include "danaus/model/shape_file.h"

using namespace danaus;
using namespace danaus::model;

namespace {

const std::string kSmallBert =
    "name = \"small\"\n"
    "family = \"bert\"\n"
    "layers = 2\n"
    "hidden = 8\n"
    "ffn = 16\n"
    "heads = 2\n"
    "vocab = 10\n"
    "context = 32\n"
    "activation = \"gelu\"\n";

/// The text with one line replaced.
std::string with(std::string text, const std::string& line, const std::string& replacement) {
  const std::size_t at = text.find(line);
  REQUIRE(at != std::string::npos);
  return text.replace(at, line.size(), replacement);
}

std::string summary(std::string_view text) {
  const Result<Shape> shape = parse_shape(text, "s.toml");
  if (shape) return "";
  const Error& error = shape.error();
  CHECK(error.failure == Failure::bad_input);
  CHECK(error.where.file == "s.toml");
  return fmt::format("{} {}:{}", error.id, error.where.line, error.where.column);
}

std::uint64_t parameters(const Model& model) {
  std::uint64_t sum = 0;
  for (const LinearOperator& operation : model.linear) sum += std::uint64_t{operation.out} * operation.in;
  return sum;
}

}  // namespace

TEST_CASE("shape: defaults") {
  const Result<Shape> shape = parse_shape(kSmallBert, "s.toml");
  REQUIRE(shape);
  CHECK(shape->dimensions.kv_heads == 2);
  CHECK(shape->dimensions.head_size == 4);
  CHECK(!shape->gated);
  CHECK(shape->epsilon == 1e-12);
  const Result<Shape> llama = parse_shape(with(kSmallBert, "\"bert\"", "\"llama\""), "s.toml");
  REQUIRE(llama);
  CHECK(llama->gated);
  CHECK(llama->theta == 10000.0);
  CHECK(llama->epsilon == 1e-5);
}

TEST_CASE("shape: the canonical text reads back") {
  const Shape shape =
      *parse_shape(kSmallBert + "theta = 1e6\nepsilon = 1.25e-7\nrope_pairs = \"adjacent\"\ngated = true\n", "s.toml");
  const Result<Shape> again = parse_shape(to_toml(shape), "s.toml");
  REQUIRE(again);
  CHECK(*again == shape);
  CHECK(to_toml(*again) == to_toml(shape));
}

TEST_CASE("shape: errors with their lines") {
  CHECK(summary(kSmallBert) == "");
  CHECK(summary("name = \n") == "shape.syntax 1:8");
  CHECK(summary("name\xc2\xa0= \"a\"\n") == "shape.syntax 1:0");
  CHECK(summary("# \xc3\xa9\n" + kSmallBert) == "");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 2\nheads = 2")).starts_with("shape.syntax 7:"));
  CHECK(summary(with(kSmallBert, "heads = 2", "head = 2")) == "shape.unknown-key 6:1");
  CHECK(summary(with(kSmallBert, "heads = 2", "")) == "shape.missing-key 0:0");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = \"2\"")) == "shape.type 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 2.0")) == "shape.type 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 0")) == "shape.type 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = -1")) == "shape.type 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 4294967296")) == "shape.type 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 3")) == "shape.range 6:9");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 4\nkv_heads = 3")) == "shape.range 7:12");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 2\nkv_heads = 4")) == "shape.range 7:12");
  CHECK(summary(with(kSmallBert, "layers = 2", "layers = 4000000000")) == "shape.range 3:10");
  CHECK(summary(with(kSmallBert, "hidden = 8", "hidden = 4000000000")) == "shape.range 4:10");
  CHECK(summary(with(kSmallBert, "ffn = 16", "ffn = 16777217")) == "shape.range 5:7");
  CHECK(summary(with(kSmallBert, "heads = 2", "heads = 2\nhead_size = 16777216")) == "shape.range 7:13");
  CHECK(summary(with(kSmallBert, "layers = 2", "layers = 4096") + "kv_heads = 2\n") == "");
  CHECK(summary(with(with(kSmallBert, "layers = 2", "layers = 4096"), "heads = 2", "heads = 8192\nhead_size = 2")) ==
        "shape.range 0:0");
  CHECK(summary(with(kSmallBert, "\"bert\"", "\"brt\"")) == "shape.family 2:10");
  CHECK(summary(with(kSmallBert, "\"gelu\"", "\"tanh\"")) == "shape.activation 9:14");
  CHECK(summary(with(kSmallBert, "\"gelu\"", "\"add\"")) == "shape.activation 9:14");
  CHECK(summary(with(kSmallBert, "\"small\"", "\"a b\"")) == "shape.name 1:8");
  CHECK(summary(kSmallBert + "rope_pairs = \"odd\"\n") == "shape.rope-pairs 10:14");
  CHECK(summary(kSmallBert + "epsilon = 0\n") == "shape.range 10:11");
  CHECK(summary(kSmallBert + "theta = inf\n") == "shape.range 10:9");
  CHECK(summary(kSmallBert + "theta = \"x\"\n") == "shape.type 10:9");
  CHECK(summary(kSmallBert + "gated = 1\n") == "shape.type 10:9");
  CHECK(summary(with(with(kSmallBert, "\"bert\"", "\"llama\""), "heads = 2", "heads = 8")) ==
        "shape.range 0:0");  // head size 1
  CHECK(parse_shape(with(kSmallBert, "heads", "hedas"), "s.toml").error().hint == "did you mean 'heads'?");
  CHECK(parse_shape(with(kSmallBert, "\"bert\"", "\"brt\""), "s.toml").error().hint == "did you mean 'bert'?");
}

TEST_CASE("shape: deep nesting is an error, not a full stack") {
  std::string dotted = "a";
  while (dotted.size() < 16000) dotted += ".a";
  CHECK(summary(dotted + " = 1\n") == "shape.unknown-key 1:1");
  CHECK(summary("a = " + std::string(16000, '[')).starts_with("shape.syntax 1:"));
  CHECK(summary(kSmallBert + "#" + std::string(16384, '-')) == "shape.too-large 0:0");
}

TEST_CASE("shape: the graph of a bert layer") {
  const Result<Model> model = model_from_shape(*parse_shape(kSmallBert, "s.toml"));
  REQUIRE(model);
  CHECK(!model->has_weights());
  std::vector<std::string> nodes;
  for (std::size_t n = 0; n < 20; ++n) {
    const Node& node = model->graph.nodes[n];
    std::string text = fmt::format("{} {} {}", name_of(node.kind), node.name, node.size);
    for (const NodeId source : node.sources) text += " " + std::to_string(index(source));
    nodes.push_back(text);
  }
  CHECK(nodes == std::vector<std::string>{"input x 8",
                                          "linear blk.0.attn_q 8 0",
                                          "linear blk.0.attn_k 8 0",
                                          "linear blk.0.attn_v 8 0",
                                          "bias blk.0.attn_q.bias 8 1",
                                          "bias blk.0.attn_k.bias 8 2",
                                          "bias blk.0.attn_v.bias 8 3",
                                          "attend blk.0.attend 8 4 5 6",
                                          "linear blk.0.attn_output 8 7",
                                          "bias blk.0.attn_output.bias 8 8",
                                          "add blk.0.attn.add 8 0 9",
                                          "norm blk.0.attn_output_norm 8 10",
                                          "bias blk.0.attn_output_norm.bias 8 11",
                                          "linear blk.0.ffn_up 16 12",
                                          "bias blk.0.ffn_up.bias 16 13",
                                          "gelu blk.0.ffn.gelu 16 14",
                                          "linear blk.0.ffn_down 8 15",
                                          "bias blk.0.ffn_down.bias 8 16",
                                          "add blk.0.ffn.add 8 12 17",
                                          "norm blk.0.layer_output_norm 8 18"});
  CHECK(model->graph.nodes.size() == 1 + 2 * 20);
  CHECK(model->graph.nodes[7].span == Span::all);
  CHECK(model->graph.nodes[11].constant == "blk.0.attn_output_norm.weight");
  CHECK(model->graph.nodes[12].constant == "blk.0.attn_output_norm.bias");
  CHECK(model->graph.outputs == std::vector<NodeId>{NodeId{40}});
  CHECK(model->graph.configs[index(model->graph.nodes[11].configs[0])].norm == Config::Norm::layer);
}

TEST_CASE("shape: gated and plain feed-forward parts") {
  const Model gated = *model_from_shape(*parse_shape(kSmallBert + "gated = true\n", "s.toml"));
  CHECK(gated.linear.size() == 14);
  CHECK(gated.linear[4].name == "blk.0.ffn_gate");
  CHECK(gated.linear[5].name == "blk.0.ffn_up");
  CHECK(index(gated.linear[5].node) == index(gated.linear[4].node) + 1);
  const Model plain =
      *model_from_shape(*parse_shape(with(kSmallBert, "\"bert\"", "\"llama\"") + "gated = false\n", "s.toml"));
  CHECK(plain.linear.size() == 12);
}

TEST_CASE("presets") {
  CHECK(preset_names() == std::vector<std::string_view>{"bart-large", "bert-base", "bert-large", "gpt2", "gpt2-medium",
                                                        "llama-13b", "llama-70b", "llama-7b", "mistral-7b",
                                                        "mixtral-8x7b", "qwen2-7b", "smollm2-135m", "tiny-kjv",
                                                        "tinyllama-1.1b"});
  struct Expected {
    std::string name;
    std::size_t operators;
    std::uint64_t parameters;
  };
  // Parameters per layer by hand: bert and gpt2 4 h^2 + 2 h f; llama 2 h^2 + 2 h kv + 3 h f.
  for (const Expected& expected :
       {Expected{"bert-base", 72, 12ull * (4 * 768 * 768 + 2 * 768 * 3072)}, Expected{"bert-large", 144, 301'989'888},
        Expected{"smollm2-135m", 210, 106'168'320}, Expected{"llama-7b", 224, 6'476'005'376},
        Expected{"llama-70b", 560, 68'451'041'280}, Expected{"llama-13b", 280, 12'687'769'600},
        Expected{"gpt2", 72, 84'934'656}, Expected{"gpt2-medium", 144, 301'989'888},
        Expected{"mistral-7b", 224, 6'979'321'856}, Expected{"qwen2-7b", 196, 6'525'288'448},
        Expected{"tinyllama-1.1b", 154, 968'884'224},
        // bart: an encoder layer like bert's, a decoder layer with 4 h^2 more; mixtral: 8 experts and a router 8 h.
        Expected{"bart-large", 12 * 6 + 12 * 10, 12ull * (12 + 16) * 1024 * 1024},
        Expected{"mixtral-8x7b", 32 * (4 + 1 + 24), 32ull * (41'943'040 + 8 * 4096 + 8ull * 3 * 4096 * 14336)}}) {
    CAPTURE(expected.name);
    const Result<Model> model = load(expected.name);
    REQUIRE(model);
    CHECK(model->name == expected.name);
    CHECK(model->linear.size() == expected.operators);
    CHECK(parameters(*model) == expected.parameters);
  }
  CHECK(load("bert-base")->digest != load("bert-large")->digest);
}
