#include "danaus/model/gguf.h"

#include <doctest/doctest.h>

#include "small_files.h"

using namespace danaus;
using namespace danaus::model;
using small_files::Bytes;
using small_files::Gguf;

namespace {

std::string parse_error(const Gguf& file) {
  const Bytes bytes = file.bytes();
  const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
  if (parsed) return "";
  CHECK(parsed.error().where.file == "small.gguf");
  CHECK(parsed.error().where.offset.has_value());
  return parsed.error().id;
}

std::string model_error(const Gguf& file, Failure failure = Failure::bad_input) {
  const Bytes bytes = file.bytes();
  const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
  REQUIRE(parsed);
  const Result<Model> model = model_from_gguf(*parsed);
  if (model) return "";
  CHECK(model.error().failure == failure);
  return model.error().id;
}

/// What a user of the file would do; nothing of it may crash.
void use_everything(std::span<const std::byte> bytes) {
  const Result<GgufFile> file = parse_gguf(bytes, "damaged.gguf");
  if (!file) return;
  for (const auto& [key, value] : file->metadata) {
    (void)value.texts();
    (void)value.integers();
    (void)value.reals();
  }
  const Result<Model> model = model_from_gguf(*file);
  if (!model) return;
  for (const Tensor& tensor : model->tensors) {
    std::vector<float> row(tensor.shape.back());
    dequantise_rows(tensor, 0, 1, row);
  }
}

}  // namespace

TEST_CASE("gguf: a small llama") {
  const Bytes bytes = small_files::small_llama().bytes();
  const Result<GgufFile> file = parse_gguf(bytes, "folder/small.gguf");
  REQUIRE(file);
  CHECK(file->version == 3);
  CHECK(file->find("general.architecture")->text() == "llama");
  CHECK(file->find("llama.block_count")->whole() == 2u);
  CHECK(file->find("llama.rope.freq_base")->real() == 5000.0);
  CHECK(file->find("tokenizer.ggml.add_bos_token")->truth() == true);
  CHECK(file->find("tokenizer.ggml.tokens")->texts() == std::vector<std::string_view>{"a", "b", "", "dd", "e"});
  CHECK(!file->find("tokenizer.ggml.tokens")->whole());
  CHECK(file->find("nothing") == nullptr);

  const Result<Model> model = model_from_gguf(*file);
  REQUIRE(model);
  CHECK(model->name == "small");
  CHECK(model->family == Family::llama);
  CHECK(model->dimensions ==
        Dimensions{
            .layers = 2, .hidden = 8, .ffn = 12, .heads = 4, .kv_heads = 2, .head_size = 2, .vocab = 5, .context = 16});
  std::vector<std::string> names;
  for (const Node& node : model->graph.nodes) names.push_back(node.name);
  std::vector<std::string> expected = {"x"};
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    for (const char* part :
         {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_q.rope", "attn_k.rope", "attend", "attn_output", "attn.add",
          "ffn_norm", "ffn_gate", "ffn_up", "ffn.silu", "ffn.mul", "ffn_down", "ffn.add"})
      expected.push_back(layer + part);
  }
  expected.push_back("output_norm");
  CHECK(names == expected);
  REQUIRE(model->linear.size() == 14);
  const LinearOperator& second_value = model->linear[9];
  CHECK(second_value.name == "blk.1.attn_v");
  CHECK(second_value.layer == 1);
  CHECK(second_value.out == 4);
  CHECK(second_value.in == 8);
  CHECK(model->graph.at(second_value.node).name == "blk.1.attn_v");
  // Tensor 18 of the file begins at 18; its row 1 has elements 8 … 15.
  std::vector<float> row(8);
  dequantise_rows(second_value.weight->tensor, 1, 1, row);
  CHECK(row[0] == 18.0f + 8.0f / 1024);
  CHECK(row[7] == 18.0f + 15.0f / 1024);

  const Node& attend = model->graph.nodes[7 + 16];
  CHECK(attend.kind == NodeKind::attend);
  CHECK(index(attend.kv_first) == 2);
  CHECK(attend.query_heads == 4);
  CHECK(attend.kv_heads == 2);
  CHECK(attend.head_size == 2);
  CHECK(attend.span == Span::earlier);
  const Config& rope = model->graph.configs[index(model->graph.nodes[5].configs[0])];
  CHECK(rope.theta == 5000.0);
  CHECK(rope.pairs == Config::Pairs::adjacent);
  const Node& norm = model->graph.nodes[1];
  CHECK(norm.constant == "blk.0.attn_norm.weight");
  CHECK(model->graph.configs[index(norm.configs[0])].epsilon == 0x1p-17);
  REQUIRE(model->digital.size() == 2);
  CHECK(model->digital[0].name == "token_embd");
  CHECK(model->digital[1].name == "output");
  CHECK(model->digital[1].reason == "lm head (tied to the embedding)");
  CHECK(model->graph.outputs == std::vector<NodeId>{NodeId{33}});
}

TEST_CASE("gguf: version 2 and other alignments read the same") {
  Gguf file = small_files::small_llama();
  file.version = 2;
  file.alignment = 64;
  file.number("general.alignment", 64);
  const Bytes bytes = file.bytes();
  const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
  REQUIRE(parsed);
  CHECK(parsed->alignment == 64);
  std::vector<float> row(8);
  dequantise_rows(parsed->tensors.back(), 0, 1, row);
  CHECK(row[7] == 19.0f + 7.0f / 1024);
}

TEST_CASE("gguf: the digest follows the header, not the name") {
  const Bytes bytes = small_files::small_llama().bytes();
  Gguf changed = small_files::small_llama();
  changed.set_number("llama.context_length", 17);
  const Bytes changed_bytes = changed.bytes();
  const Digest digest = model_from_gguf(*parse_gguf(bytes, "a.gguf"))->digest;
  CHECK(digest == model_from_gguf(*parse_gguf(bytes, "b.gguf"))->digest);
  CHECK(digest != model_from_gguf(*parse_gguf(changed_bytes, "a.gguf"))->digest);
}

TEST_CASE("gguf: every kind of damage has its error") {
  const Gguf good = small_files::small_llama();
  const auto damaged = [&](const std::function<void(Gguf&)>& damage) {
    Gguf file = good;
    damage(file);
    return parse_error(file);
  };
  CHECK(damaged([](Gguf&) {}) == "");
  CHECK(damaged([](Gguf& f) { f.version = 1; }) == "gguf.unsupported-version");
  CHECK(damaged([](Gguf& f) { f.version = 0x03000000; }) == "gguf.unsupported-version");
  CHECK(damaged([](Gguf& f) { f.extra_tensors = 1ll << 40; }) == "gguf.count");
  CHECK(damaged([](Gguf& f) { f.extra_entries = 1ll << 40; }) == "gguf.count");
  CHECK(damaged([](Gguf& f) { f.extra_tensors = -static_cast<std::int64_t>(f.tensors.size()) - 1; }) == "gguf.count");
  CHECK(damaged([](Gguf& f) { f.number("general.alignment", 48); }) == "gguf.alignment");
  CHECK(damaged([](Gguf& f) { f.number("general.alignment", 0); }) == "gguf.alignment");
  CHECK(damaged([](Gguf& f) { f.number("general.alignment", 1u << 31); }) == "gguf.alignment");
  CHECK(damaged([](Gguf& f) { f.text("general.alignment", "32"); }) == "gguf.alignment");
  CHECK(damaged([](Gguf& f) { f.number("llama.block_count", 2); }) == "gguf.duplicate-key");
  CHECK(damaged([](Gguf& f) { f.number("", 2); }) == "gguf.name");
  CHECK(damaged([](Gguf& f) { f.number(std::string(256, 'k'), 2); }) == "gguf.name");
  CHECK(damaged([](Gguf& f) { f.entry("k", 13); }) == "gguf.value-type");
  CHECK(damaged([](Gguf& f) { f.truth("k", 2); }) == "gguf.boolean");
  CHECK(damaged([](Gguf& f) { small_files::put<std::uint64_t>(f.entry("k", small_files::kString), 1ull << 63); }) ==
        "gguf.truncated");
  CHECK(damaged([](Gguf& f) {
          Bytes& value = f.entry("k", small_files::kArray);
          small_files::put(value, small_files::kU64);
          small_files::put<std::uint64_t>(value, 1ull << 61);  // times 8 is 0 in 64 bits
        }) == "gguf.truncated");
  CHECK(damaged([](Gguf& f) {
          Bytes& value = f.entry("k", small_files::kArray);
          for (int depth = 0; depth < 5; ++depth) {
            small_files::put(value, small_files::kArray);
            small_files::put<std::uint64_t>(value, 1);
          }
          small_files::put(value, small_files::kU32);
          small_files::put<std::uint64_t>(value, 0);
        }) == "gguf.nesting");
  CHECK(damaged([](Gguf& f) { f.tensors[1].name = f.tensors[0].name; }) == "gguf.duplicate-tensor");
  CHECK(damaged([](Gguf& f) { f.tensors[1].name = ""; }) == "gguf.name");
  CHECK(damaged([](Gguf& f) { f.tensors[1].sizes = {}; }) == "gguf.rank");
  CHECK(damaged([](Gguf& f) { f.tensors[1].sizes = {1, 1, 1, 1, 8}; }) == "gguf.rank");
  CHECK(damaged([](Gguf& f) { f.tensors[1].sizes = {0}; }) == "gguf.dimension");
  CHECK(damaged([](Gguf& f) { f.tensors[1].sizes = {1ull << 32, 1ull << 32}; }) == "gguf.dimension");
  CHECK(damaged([](Gguf& f) { f.tensors[1].type = small_files::kQ8_0; }) ==
        "gguf.dimension");  // 8 elements are no block
  CHECK(damaged([](Gguf& f) { f.tensors[1].type = 4; }) == "gguf.tensor-type");
  CHECK(damaged([](Gguf& f) { f.tensors[1].type = 1000; }) == "gguf.tensor-type");
  CHECK(damaged([](Gguf& f) { f.tensors[1].extra_offset = 1; }) == "gguf.alignment");
  CHECK(damaged([](Gguf& f) { f.tensors[1].extra_offset = 32; }) == "gguf.overlap");
  CHECK(damaged([](Gguf& f) { f.tensors.back().extra_offset = 32; }) == "gguf.truncated");
  CHECK(damaged([](Gguf& f) { f.tensors.back().extra_offset = 1ull << 63; }) == "gguf.truncated");
  CHECK(damaged([](Gguf& f) { f.tensors.back().sizes = {1ull << 40}; }) == "gguf.truncated");

  const Bytes other = {std::byte{'G'}, std::byte{'G'}, std::byte{'M'}, std::byte{'L'}};
  CHECK(parse_gguf(other, "x").error().id == "gguf.magic");
}

TEST_CASE("gguf: models that cannot be") {
  const Gguf good = small_files::small_llama();
  const auto damaged = [&](const std::function<void(Gguf&)>& damage, Failure failure = Failure::bad_input) {
    Gguf file = good;
    damage(file);
    return model_error(file, failure);
  };
  CHECK(damaged([](Gguf& f) { f.remove("general.architecture"); }) == "gguf.missing-key");
  CHECK(damaged([](Gguf& f) { f.remove("llama.block_count"); }) == "gguf.missing-key");
  CHECK(damaged([](Gguf& f) { f.remove("llama.attention.layer_norm_rms_epsilon"); }) == "gguf.missing-key");
  CHECK(damaged([](Gguf& f) { f.remove("general.architecture"), f.text("general.architecture", "gemma3"); },
                Failure::unsupported) == "gguf.unsupported-architecture");
  CHECK(damaged([](Gguf& f) { f.remove("llama.block_count"), f.text("llama.block_count", "2"); }) == "gguf.key-type");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.block_count", 0); }) == "gguf.key-type");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.block_count", 3); }) == "model.missing-tensor");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.block_count", 1); }, Failure::unsupported) ==
        "model.unsupported-tensor");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.block_count", 0xffffffff); }) == "gguf.dimensions");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.attention.head_count", 3); }) == "gguf.dimensions");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.attention.head_count_kv", 3); }) == "gguf.dimensions");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.attention.head_count_kv", 4); }) == "model.tensor-shape");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.feed_forward_length", 16); }) == "model.tensor-shape");
  CHECK(damaged([](Gguf& f) { f.set_number("llama.rope.dimension_count", 1); }) == "gguf.dimensions");
  CHECK(damaged([](Gguf& f) { f.number("llama.expert_count", 8); }) == "gguf.dimensions");
  CHECK(damaged([](Gguf& f) { f.number("llama.expert_count", 8), f.number("llama.expert_used_count", 2); }) ==
        "model.missing-tensor");
  CHECK(damaged([](Gguf& f) { f.text("llama.rope.scaling.type", "yarn"); }, Failure::unsupported) ==
        "gguf.unsupported-key");
  CHECK(damaged([](Gguf& f) { f.text("llama.rope.scaling.type", "none"); }) == "");
  CHECK(damaged([](Gguf& f) { f.number("llama.vocab_size", 6); }) == "model.tensor-shape");
  CHECK(damaged([](Gguf& f) { f.tensor("blk.1.attn_k.weight").name = "blk.1.attn_x.weight"; }) ==
        "model.missing-tensor");
  CHECK(damaged([](Gguf& f) { f.tensor("blk.1.attn_k.weight").type = small_files::kI32; }) == "model.tensor-type");
  CHECK(damaged(
            [](Gguf& f) {
              f.tensors.push_back({"blk.0.attn_q.bias", {8}, small_files::kF32, small_files::ramp(8, 0), 0});
            },
            Failure::unsupported) == "model.unsupported-tensor");
  CHECK(damaged([](Gguf& f) {
          f.tensors.push_back({"output.weight", {8, 5}, small_files::kF32, small_files::ramp(40, 0), 0});
        }) == "");
}

TEST_CASE("gguf: every truncation is an error") {
  const Bytes bytes = small_files::small_llama().bytes();
  small_files::for_every_truncation(bytes, [](std::span<const std::byte> part, std::size_t size) {
    CAPTURE(size);
    const Result<GgufFile> file = parse_gguf(part, "short.gguf");
    REQUIRE(!file);
    CHECK((file.error().id == "gguf.truncated" || file.error().id == "gguf.count"));
  });
}

TEST_CASE("gguf: every flipped bit of the header gives an error or a usable model") {
  const Gguf file = small_files::small_llama();
  small_files::for_every_bit_flip(file.bytes(), file.header().size(), use_everything);
}
