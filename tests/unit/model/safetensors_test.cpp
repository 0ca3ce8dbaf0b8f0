#include "danaus/model/safetensors.h"

#include <doctest/doctest.h>

#include "small_files.h"

using namespace danaus;
using namespace danaus::model;
using small_files::Bytes;

namespace {

std::string error_of(std::string_view header, std::size_t data_size = 8) {
  const Bytes bytes = small_files::safetensors(header, Bytes(data_size));
  const Result<SafetensorsFile> file = parse_safetensors(bytes, "small.safetensors");
  if (file) return "";
  CHECK(file.error().where.file == "small.safetensors");
  CHECK(file.error().where.offset.has_value());
  return file.error().id;
}

}  // namespace

TEST_CASE("safetensors: tensors and metadata") {
  const Bytes bytes = small_files::safetensors_of({{"b", {2, 3}}, {"a", {4}}, {"scalar", {}}, {"none", {0, 5}}},
                                                  R"({"format":"pt","text":"\u00e9\n"})");
  const Result<SafetensorsFile> file = parse_safetensors(bytes, "small.safetensors");
  REQUIRE(file);
  CHECK(file->metadata == std::map<std::string, std::string>{{"format", "pt"}, {"text", "\xc3\xa9\n"}});
  REQUIRE(file->tensors.size() == 4);
  CHECK(file->tensors[0].name == "b");
  CHECK(file->tensors[0].shape == std::vector<std::uint64_t>{2, 3});
  std::vector<float> row(3);
  dequantise_rows(file->tensors[0], 1, 1, row);
  CHECK(row == std::vector<float>{3.0f / 1024, 4.0f / 1024, 5.0f / 1024});
  CHECK(file->tensors[2].elements() == 1);
  CHECK(file->tensors[3].elements() == 0);
}

TEST_CASE("safetensors: tensors come in the order of their bytes, spaces may follow the header") {
  const Bytes bytes = small_files::safetensors(
      R"({"late":{"dtype":"I64","shape":[1],"data_offsets":[4,12]},
"early":{"shape":[2],"data_offsets":[0,4],"dtype":"BF16"}}   )",
      Bytes(12));
  const Result<SafetensorsFile> file = parse_safetensors(bytes, "x");
  REQUIRE(file);
  CHECK(file->tensors[0].name == "early");
  CHECK(file->tensors[0].type == ElementType::bf16);
  CHECK(file->tensors[1].type == ElementType::i64);
}

TEST_CASE("safetensors: every kind of damage has its error") {
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})") == "");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}x)") == "safetensors.json");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})") == "safetensors.json");
  CHECK(error_of(R"([])") == "safetensors.json");
  CHECK(error_of(R"()") == "safetensors.json");
  CHECK(error_of("{\"\xff\":1}") == "safetensors.json");
  CHECK(error_of(R"({"a":1})") == "safetensors.header");
  CHECK(error_of(R"({"a":"F32"})") == "safetensors.header");
  CHECK(error_of(R"({"a":[1]})") == "safetensors.header");
  CHECK(error_of(R"({"a":null})") == "safetensors.header");
  CHECK(error_of(R"({"a":{}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})") ==
        "safetensors.header");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})") == "safetensors.header");
  CHECK(error_of(R"({"__metadata__":{"k":1}})", 0) == "safetensors.header");
  CHECK(error_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0) == "safetensors.header");
  CHECK(error_of(R"({"__metadata__":{},"__metadata__":{}})", 0) == "safetensors.duplicate");
  CHECK(error_of(
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})") == "safetensors.duplicate");
  CHECK(error_of(R"({"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})") == "safetensors.name");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})") == "safetensors.truncated");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})") == "safetensors.truncated");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})") == "safetensors.size");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})") ==
        "safetensors.size");
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})") == "safetensors.offsets");  // hole
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})") == "safetensors.offsets");  // rest
  CHECK(error_of(
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})") == "safetensors.offsets");  // overlap
  CHECK(error_of(std::string(100000, '[')) == "safetensors.json");
  CHECK(error_of("{\"a\":" + std::string(100000, '[')) == "safetensors.header");
}

TEST_CASE("safetensors: an unsupported type is refused by its name") {
  const Bytes bytes =
      small_files::safetensors(R"({"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", Bytes(8));
  const Result<SafetensorsFile> file = parse_safetensors(bytes, "x");
  REQUIRE(!file);
  CHECK(file.error().id == "safetensors.unsupported-type");
  CHECK(file.error().failure == Failure::unsupported);
  CHECK(file.error().message == "the tensor 'w' has the type F8_E4M3, which is not supported");
}

TEST_CASE("safetensors: lengths of the header that cannot be") {
  Bytes bytes;
  small_files::put<std::uint64_t>(bytes, 100'000'001);
  CHECK(parse_safetensors(bytes, "x").error().id == "safetensors.header-length");
  bytes.clear();
  small_files::put<std::uint64_t>(bytes, 2);
  CHECK(parse_safetensors(bytes, "x").error().id == "safetensors.truncated");
}

TEST_CASE("safetensors: a bag of matrices") {
  const Bytes bytes =
      small_files::safetensors_of({{"up.weight", {3, 2}}, {"up.bias", {3}}, {"cube", {2, 2, 2}}, {"down", {2, 3}}});
  const Result<Model> model = model_from_matrices(*parse_safetensors(bytes, "bag.safetensors"));
  REQUIRE(model);
  CHECK(model->family == Family::matrices);
  CHECK(model->name == "bag");
  REQUIRE(model->graph.nodes.size() == 4);
  CHECK(model->graph.nodes[0].name == "up.weight.x");
  CHECK(model->graph.nodes[0].size == 2);
  CHECK(model->graph.nodes[1].name == "up.weight");
  CHECK(model->graph.nodes[1].size == 3);
  CHECK(model->graph.nodes[3].name == "down");
  CHECK(model->graph.outputs == std::vector<NodeId>{NodeId{1}, NodeId{3}});
  REQUIRE(model->linear.size() == 2);
  CHECK(model->linear[1].weight->tensor.shape == std::vector<std::uint64_t>{2, 3});
  REQUIRE(model->digital.size() == 1);
  CHECK(model->digital[0].name == "cube");
  CHECK(model->digital[0].rows == 4);

  const Bytes vectors = small_files::safetensors_of({{"a", {3}}});
  CHECK(model_from_matrices(*parse_safetensors(vectors, "x")).error().id == "model.no-matrices");
  const Bytes empty = small_files::safetensors_of({{"a", {0, 3}}});
  CHECK(model_from_matrices(*parse_safetensors(empty, "x")).error().id == "graph.size");
}

TEST_CASE("safetensors: every truncation is an error") {
  const Bytes bytes = small_files::safetensors_of({{"a", {3, 2}}, {"b", {3}}}, R"({"format":"pt"})");
  small_files::for_every_truncation(bytes, [](std::span<const std::byte> part, std::size_t size) {
    CAPTURE(size);
    const Result<SafetensorsFile> file = parse_safetensors(part, "short");
    REQUIRE(!file);
    CHECK(file.error().id == "safetensors.truncated");
  });
}

TEST_CASE("safetensors: every flipped bit of the header gives an error or a usable model") {
  const Bytes bytes = small_files::safetensors_of({{"a", {3, 2}}, {"b", {3}}}, R"({"format":"pt"})");
  small_files::for_every_bit_flip(bytes, bytes.size() - 9 * sizeof(float), [](std::span<const std::byte> damaged) {
    Result<SafetensorsFile> file = parse_safetensors(damaged, "damaged");
    if (!file) return;
    const Result<Model> model = model_from_matrices(std::move(*file));
    if (!model) return;
    for (const Tensor& tensor : model->tensors) {
      std::vector<float> row(tensor.shape.empty() ? 1 : tensor.shape.back());
      if (!row.empty() && tensor.elements() != 0) dequantise_rows(tensor, 0, 1, row);
    }
  });
}
