// The table of converter bits: what it may say, and every truncation and changed byte of one.
#include "danaus/pipeline/adc_bits.h"

#include <doctest/doctest.h>

#include "danaus/compile/compile.h"
#include "danaus/pipeline/run.h"

using namespace danaus;
using namespace danaus::pipeline;

namespace {

const std::string kTable =
    "# comment\n[[stage]]\nmatch = \"blk.*.attn_?\"\nmap = \"sparse\"\nstage = \"R\"\nbits = 5\nsnr_db = 31.25\n\n"
    "[[stage]]\nmatch = \"*\"\nbits = 7\n";

AdcBits good(const std::string& text) {
  const Result<AdcBits> table = parse_adc_bits(text, "bits.toml");
  if (!table) FAIL(to_string(table.error()));
  return *table;
}

Error bad(const std::string& text) {
  const Result<AdcBits> table = parse_adc_bits(text, "bits.toml");
  if (table) FAIL("accepted: " << text);
  return table.error();
}

Graph two_operators() {
  Graph graph;
  graph.nodes.resize(3);
  graph.nodes[0].size = 16;
  for (std::uint32_t n : {1u, 2u}) {
    graph.nodes[n].kind = NodeKind::linear;
    graph.nodes[n].sources = {NodeId{n - 1}};
    graph.nodes[n].size = 16;
  }
  graph.nodes[1].name = "blk.0.attn_q";
  graph.nodes[2].name = "blk.0.down";
  graph.outputs = {NodeId{2}};
  return graph;
}

}  // namespace

TEST_CASE("a table of bits as it is written and read") {
  const AdcBits table = good(kTable);
  REQUIRE(table.rules.size() == 2);
  CHECK(table.rules[0] == AdcBits::Rule{"blk.*.attn_?", "sparse", 0, 5, 31.25});
  CHECK(table.rules[1] == AdcBits::Rule{"*", "", std::nullopt, 7, std::nullopt});
  CHECK(good(to_toml(table)) == table);
}

TEST_CASE("wrong tables of bits") {
  CHECK(bad("[[stage]\n").id == "pipeline.adc-bits-syntax");
  CHECK(bad(std::string(2'000'000, '\n')).id == "pipeline.adc-bits-syntax");
  CHECK(bad("x = " + std::string(5000, '[')).id == "pipeline.adc-bits-syntax");
  CHECK(bad("\xff").id == "pipeline.adc-bits-syntax");
  CHECK(bad("# a\nage\xef\xbb\xaf]]]\n").where.line == 2);
  CHECK(good("# \xc3\xa9\n" + std::string(kTable)).rules.size() == 2);
  CHECK(bad("[[stage]]\nmatch = \"\xc3\xa9\"\nbits = 4\n").id == "pipeline.adc-bits-value");
  const Error key = bad("[[stage]]\nmatch = \"*\"\nbit = 4\n");
  CHECK(key.id == "pipeline.adc-bits-key");
  CHECK(key.where.line == 3);
  CHECK(key.hint == "did you mean 'bits'?");
  CHECK(bad("[[layer]]\nmatch = \"*\"\n").id == "pipeline.adc-bits-key");
  for (const std::string text :
       {"", "stage = 4\n", "stage = [4]\n", "[stage]\nmatch = \"*\"\n", "[[stage]]\nbits = 4\n",
        "[[stage]]\nmatch = \"*\"\n", "[[stage]]\nmatch = \"*\"\nbits = 0\n", "[[stage]]\nmatch = \"*\"\nbits = 17\n",
        "[[stage]]\nmatch = \"*\"\nbits = 4.0\n", "[[stage]]\nmatch = \"*\"\nbits = \"4\"\n",
        "[[stage]]\nmatch = 4\nbits = 4\n", "[[stage]]\nmatch = \"\"\nbits = 4\n",
        "[[stage]]\nmatch = \"a b\"\nbits = 4\n", "[[stage]]\nmatch = \"*\"\nstage = \"W\"\nbits = 4\n",
        "[[stage]]\nmatch = \"*\"\nbits = 4\nsnr_db = inf\n", "[[stage]]\nmatch = \"*\"\nbits = 4\nsnr_db = \"a\"\n"}) {
    CAPTURE(text);
    const Error error = bad(text);
    CHECK(error.id == "pipeline.adc-bits-value");
    CHECK_FALSE(error.hint.empty());
  }
}

TEST_CASE("every truncation and every changed byte of a table is a table or an error") {
  const auto check = [](const std::string& text) {
    const Result<AdcBits> table = parse_adc_bits(text, "bits.toml");
    if (table) {
      CHECK(good(to_toml(*table)).rules.size() == table->rules.size());
    } else {
      CHECK(table.error().id.starts_with("pipeline.adc-bits-"));
    }
  };
  for (std::size_t size = 0; size < kTable.size(); ++size) check(kTable.substr(0, size));
  for (std::size_t at = 0; at < kTable.size(); ++at) {
    for (const char byte : {'\0', '"', '[', '*', '9', '\xff'}) {
      std::string text = kTable;
      text[at] = byte;
      check(text);
    }
  }
}

TEST_CASE("the first rule that fits a stage decides") {
  const chip::Chip chip = chip::load("unit", {{"adc.rule", "calibrated"}, {"array.rows", "16"}}).value();
  const std::vector<Structure> structures = {Structure::blocks(16, 16, 4, 4, 1), Structure::dense(16, 16)};
  const Graph graph = compile::with_structures(two_operators(), structures, chip);
  const auto bits = [&](const std::string& text, std::string_view map) {
    const Result<Graph> result = with_adc_bits(graph, good(text), map, chip);
    if (!result) FAIL(to_string(result.error()));
    std::vector<int> found;
    for (const std::uint32_t n : {1u, 2u}) {
      for (std::uint32_t stage = 0; stage < result->nodes[n].structure.stages(); ++stage)
        found.push_back(result->configs[index(result->nodes[n].configs[stage])].adc_bits);
    }
    return found;
  };
  CHECK(bits(kTable, "sparse") == std::vector{5, 7, 7});
  CHECK(bits(kTable, "dense") == std::vector{7, 7, 7});
  CHECK(bits("[[stage]]\nmatch = \"*q\"\nstage = \"L\"\nbits = 9\n" + kTable, "sparse") == std::vector{5, 9, 7});
  const std::string last = "[[stage]]\nmatch = \"blk.0.attn_q\"\nbits = 4\n";
  const Result<Graph> missing = with_adc_bits(graph, good(last), "sparse", chip);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().id == "pipeline.adc-bits-rule");
  CHECK(missing.error().message == "no rule is for 'blk.0.down' with map 'sparse'");
}

TEST_CASE("a table and the rule that takes it go together") {
  const chip::Chip chip = chip::load("unit", {{"adc.rule", "calibrated"}}).value();
  CHECK(with_adc_bits(Graph(), std::nullopt, "sparse", chip).error().id == "pipeline.adc-bits-table");
  CHECK(with_adc_bits(Graph(), good(kTable), "sparse", chip::load("unit").value()).error().id ==
        "pipeline.adc-bits-table");
  CHECK(with_adc_bits(Graph(), std::nullopt, "sparse", chip::load("unit").value()).has_value());
}
