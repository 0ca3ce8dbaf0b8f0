#include "danaus/model/summary.h"

#include <doctest/doctest.h>

#include "danaus/model/formats.h"
#include "danaus/model/gguf.h"
#include "danaus/model/safetensors.h"
#include "small_files.h"

using namespace danaus;
using namespace danaus::model;

TEST_CASE("summary: a small llama from GGUF") {
  const small_files::Bytes bytes = small_files::small_llama().bytes();
  const Result<Model> model = model_from_gguf(*parse_gguf(bytes, "small.gguf"));
  REQUIRE(model);
  const Summary summary = summarise(*model);
  REQUIRE(summary.operators.size() == 7);
  CHECK(summary.operators[1].name == "blk.{layer}.attn_k");
  CHECK(summary.operators[1].count == 2);
  CHECK(summary.operators[1].rows == 4);
  CHECK(summary.operators[1].cols == 8);
  CHECK(summary.operators[1].type == "F32");
  CHECK(summary.operator_count == 14);
  CHECK(summary.operator_weights == 2 * (2 * 8 * 8 + 2 * 4 * 8 + 3 * 8 * 12));
  CHECK(summary.weights_per_token == summary.operator_weights);
  REQUIRE(summary.digital.size() == 2);
  CHECK(summary.digital[0].reason == "embedding: a row is looked up");
  CHECK(summary.largest_operator == "blk.0.ffn_gate");
  CHECK(summary.largest_operator_bytes == 8 * 12 * 4);
  std::uint64_t nodes = summary.operator_count + 1;  // and the input
  for (const NodeCount& count : summary.nodes) nodes += count.count;
  CHECK(nodes == model->graph.nodes.size());
}

TEST_CASE("summary: a bag of matrices is grouped by name and shape") {
  const small_files::Bytes bytes = small_files::safetensors_of(
      {{"h.0.e.0.w", {4, 6}}, {"h.0.e.1.w", {4, 6}}, {"h.1.e.0.w", {4, 6}}, {"h.2.e.0.w", {6, 4}}, {"w2", {2, 2}}});
  const Result<Model> model = model_from_matrices(*parse_safetensors(bytes, "m.safetensors"));
  REQUIRE(model);
  const Summary summary = summarise(*model);
  REQUIRE(summary.operators.size() == 3);
  CHECK(summary.operators[0].name == "h.{layer}.e.{expert}.w");
  CHECK(summary.operators[0].count == 3);
  CHECK(summary.operators[1].count == 1);
  CHECK(summary.operators[2].name == "w2");
}

TEST_CASE("formats: every family and every element type is listed once") {
  const std::vector<SupportEntry> entries = supported_formats();
  const auto what = [&](std::string_view group, std::string_view name) {
    std::string found;
    for (const SupportEntry& entry : entries) {
      if (entry.group == group && entry.name == name) found += found.empty() ? entry.what : "twice";
    }
    return found;
  };
  CHECK(what("family", "bert").starts_with("post-norm encoder"));
  CHECK(what("GGUF architecture", "bert") == "bert");
  CHECK(what("safetensors element types", "read") == "F32, F16, BF16, F64, I8, U8, BOOL, I16, I32, I64");
  CHECK(what("file", ".gguf") == "GGUF, version 2 or 3");
}
