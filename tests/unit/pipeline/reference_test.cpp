// What a user has today: rooflines worked out by hand.

#include "danaus/pipeline/reference.h"

#include <doctest/doctest.h>

#include "danaus/core/files.h"
#include "danaus/pipeline/run.h"

namespace danaus::pipeline {
namespace {

constexpr std::string_view kFile = R"(name = "Mine"
precision = "int8"
memory_gb_per_s = 100
peak_tops = 2.0
power_w = 50
bytes_per_weight = 0.5
bytes_per_kv = 2
)";

RunResult run_good(const std::string& name, compile::Mode mode, std::uint32_t tokens, std::uint32_t kv = 0) {
  const model::Model model = model::load(name).value();
  const chip::Chip chip = chip::load("unit").value();
  RunOptions options;
  options.maps = {"linear"};
  options.emit.mode = mode;
  options.emit.tokens = tokens;
  options.emit.kv = kv;
  options.references = {load_reference("cpu").value(), parse_reference(kFile, "mine.toml").value()};
  const Result<RunResult> result = run(model, chip, options, no_progress());
  if (!result) FAIL(to_string(result.error()));
  return *result;
}

}  // namespace

TEST_CASE("a reference is read, and what is wrong is found where it is") {
  const Reference mine = parse_reference(kFile, "folder/mine.toml").value();
  CHECK(mine == Reference{"mine", "Mine", "int8", 100, 2, 50, 0.5, 2});
  for (const std::string_view key : reference_keys()) CHECK(load_reference(std::string(key)).has_value());
  const auto error = [](std::string text) { return parse_reference(text, "r.toml").error(); };
  CHECK(error(std::string(kFile) + "more = 1\n").id == "reference.key");
  CHECK(error(std::string(kFile) + "more = 1\n").where.line == 8);
  CHECK(error("[name]\n").id == "reference.value");
  CHECK(error("").id == "reference.key");
  CHECK(error(std::string(20000, '#')).id == "reference.syntax");
  CHECK(error("power_w\xc2\xa0= 1\n").id == "reference.syntax");
  CHECK(parse_reference("# 65 \xc2\xb5W\n" + std::string(kFile), "folder/mine.toml") == mine);
  CHECK(load_reference("cpus").error().hint == "did you mean 'cpu'?");
  CHECK(load_reference("no/such/file.toml").error().id == "file.missing");
}

TEST_CASE("no part and no damaged byte of a reference does harm") {
  std::string text(kFile);
  for (std::size_t length = 0; length < text.size(); ++length) {
    const Result<Reference> read = parse_reference(std::string_view(text).substr(0, length), "r.toml");
    CHECK((length >= text.size() - 1 || !read));  // the last key is missing or cut
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const char damage : {'\0', '"', '=', '\n', '[', '-', '\xff', '9'}) {
      std::string damaged = text;
      damaged[at] = damage;
      const Result<Reference> read = parse_reference(damaged, "r.toml");
      CHECK((read || read.error().id.starts_with("reference.")));
    }
  }
}

TEST_CASE("time is the slower of moving bytes and operations, energy that time at full power") {
  const Reference mine = parse_reference(kFile, "mine.toml").value();
  // 1000 weights of half a byte and 250 entries of two bytes at 100 bytes per ns: 10 ns; 1000 operations at 2000 per
  // ns.
  const Estimate memory = estimate(mine, {{.weights = 1000, .kv = 250, .linear_macs = 400, .attention_macs = 100}});
  CHECK(memory.memory_ns == 10);
  CHECK(memory.compute_ns == 0.5);
  CHECK(memory.latency_ns == 10);
  CHECK(memory.energy_nj == 500);
  const Estimate arithmetic = estimate(mine, {{.weights = 1000, .kv = 0, .linear_macs = 1e5}});
  CHECK(arithmetic.latency_ns == 100);
  // Passes add up, each with its own limit.
  const Work slow{.weights = 1000, .kv = 250, .linear_macs = 400, .attention_macs = 100};
  const Estimate both = estimate(mine, {slow, {.weights = 1000, .kv = 0, .linear_macs = 1e5}});
  CHECK(both.latency_ns == 110);
  CHECK(both.memory_ns == 15);
  CHECK(for_sequences(slow, 3) == Work{.weights = 1000, .kv = 750, .linear_macs = 1200, .attention_macs = 300});
}

TEST_CASE("decode reads weights and keys and values once, prefill and encode the weights once for all tokens") {
  constexpr double kLayer = 4.0 * 1024 * 1024 + 2.0 * 1024 * 4096, kWeights = 24 * kLayer;
  const Work decode = run_good("gpt2-medium", compile::Mode::decode, 1, 100).results[0].passes.at(0);
  CHECK(decode.weights == kWeights);
  CHECK(decode.linear_macs == kWeights);
  CHECK(decode.kv == 24 * 2 * 1024.0 * 100);
  CHECK(decode.attention_macs == 24 * 2 * 1024.0 * 100);
  const RunResult run = run_good("gpt2-medium", compile::Mode::prefill, 4);
  const Work prefill = run.results[0].passes.at(0);
  CHECK(prefill.weights == kWeights);
  CHECK(prefill.linear_macs == 4 * kWeights);
  CHECK(prefill.kv == 24 * 2 * 1024.0 * 4);
  CHECK(prefill.attention_macs == 24 * 2 * 1024.0 * (1 + 2 + 3 + 4));
  CHECK(prefill.attention_macs == static_cast<double>(run.results[0].timing.counts.attention_macs));
  REQUIRE(run.references.size() == 2);
  CHECK(run.references[0].reference.key == "cpu");
  CHECK(run.references[1].memory_ns == doctest::Approx((kWeights * 0.5 + 24 * 2 * 1024 * 4 * 2) / 100));
  const RunResult encode = run_good("bert-large", compile::Mode::encode, 4);
  CHECK(encode.results[0].passes.at(0).attention_macs == 24 * 2 * 1024.0 * 16);
  CHECK(encode.results[0].passes.at(0).attention_macs ==
        static_cast<double>(encode.results[0].timing.counts.attention_macs));
}

TEST_CASE("generating text is the prompt and a pass per token") {
  const model::Model model = model::load("gpt2-medium").value();
  const std::vector<Work> cached = generation_work(model.graph, 4, 7, true, 0);
  CHECK(cached ==
        std::vector<Work>{work_of(model.graph, 4, 4, 0), work_of(model.graph, 1, 5, 0), work_of(model.graph, 1, 6, 0)});
  const std::vector<Work> again = generation_work(model.graph, 4, 7, false, 0);
  CHECK(again ==
        std::vector<Work>{work_of(model.graph, 4, 4, 0), work_of(model.graph, 5, 5, 0), work_of(model.graph, 6, 6, 0)});
}

TEST_CASE("of experts k of n are computed, and the weights of at most tokens * k are read") {
  Graph graph;
  graph.configs.resize(2);
  graph.configs[1].kind = Config::Kind::route;
  graph.configs[1].k = 2;
  Node input;
  input.size = 8;
  Node route;
  route.kind = NodeKind::route;
  route.size = 8;
  route.configs[0] = ConfigId{1};
  graph.nodes = {input, route};
  for (std::uint32_t expert = 0; expert < 8; ++expert) {
    Node linear;
    linear.kind = NodeKind::linear;
    linear.structure = Structure::dense(10, 10);
    linear.guard = Guard{NodeId{1}, expert};
    graph.nodes.push_back(linear);
  }
  const Work one = work_of(graph, 1, 1, 1);
  CHECK(one.weights == 200);
  CHECK(one.linear_macs == 200);
  const Work three = work_of(graph, 3, 3, 1);
  CHECK(three.weights == 600);
  CHECK(three.linear_macs == 600);
  const Work many = work_of(graph, 100, 100, 1);
  CHECK(many.weights == 800);
  CHECK(many.linear_macs == 20000);
}

}  // namespace danaus::pipeline
