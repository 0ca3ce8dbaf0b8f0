#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "danaus/model/onnx/array.h"
#include "danaus/model/onnx/layout.h"
#include "danaus/model/onnx/onnx.h"
#include "small_files.h"

using namespace danaus;
using namespace danaus::model;
using namespace danaus::model::onnx;
using small_files::Bytes;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(DANAUS_SOURCE_DIR) / "tests/data/onnx";

Bytes read(const std::string& name) {
  std::ifstream file(kFolder / name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  Bytes bytes;
  for (const char c : text.str()) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

/// A message of a protocol buffer, written field by field.
struct Message {
  Bytes bytes;
  Message& varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::byte>(value | 0x80));
    bytes.push_back(static_cast<std::byte>(value));
    return *this;
  }
  Message& number(std::uint32_t field, std::uint64_t value) { return varint(field << 3).varint(value); }
  Message& data(std::uint32_t field, const Bytes& content) {
    varint(field << 3 | 2).varint(content.size());
    bytes.insert(bytes.end(), content.begin(), content.end());
    return *this;
  }
  Message& text(std::uint32_t field, std::string_view content) {
    Bytes characters;
    for (const char c : content) characters.push_back(static_cast<std::byte>(c));
    return data(field, characters);
  }
  Message& message(std::uint32_t field, const Message& content) { return data(field, content.bytes); }
};

Message tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint64_t type = 1) {
  Message out;
  for (const std::uint64_t size : shape) out.number(1, size);
  return out.number(2, type).text(8, name);
}
Message node(std::string_view operation, const std::vector<std::string>& inputs, const std::string& output) {
  Message out;
  for (const std::string& input : inputs) out.text(1, input);
  return out.text(2, output).text(3, output + "_node").text(4, operation);
}
Message value(std::string_view name, const std::vector<std::uint64_t>& shape) {
  Message sizes;
  for (const std::uint64_t size : shape) sizes.message(1, Message().number(1, size));
  return Message().text(1, name).message(2, Message().message(1, Message().number(1, 1).message(2, sizes)));
}
Bytes model_of(const Message& graph) { return Message().number(1, 8).message(7, graph).bytes; }

/// y = W x, 3 x 2, with whatever is added.
Message product() {
  return Message()
      .message(1, node("MatMul", {"x", "w"}, "y"))
      .message(5, tensor("w", {2, 3}).data(9, small_files::floats({1, 2, 3, 4, 5, 6})))
      .message(11, value("x", {4, 2}))
      .message(12, value("y", {4, 3}));
}

Error error_of(const Bytes& bytes, const std::optional<std::filesystem::path>& folder = std::nullopt) {
  const Result<OnnxFile> file = parse_onnx(bytes, "m.onnx", nullptr, folder);
  if (!file) return file.error();
  const Result<Model> model = model_from_onnx(*file);
  REQUIRE(!model);
  return model.error();
}

/// Any bytes are an error or a valid model.
void check_harmless(std::span<const std::byte> bytes) {
  const Result<OnnxFile> file = parse_onnx(bytes, "m.onnx");
  if (!file) {
    CHECK(!file.error().message.empty());
    return;
  }
  const Result<Model> model = model_from_onnx(*file);
  if (!model) {
    CHECK(!model.error().message.empty());
    return;
  }
  CHECK(validate(model->graph).has_value());
  for (const LinearOperator& operation : model->linear)
    CHECK(read_weights(operation).size() == std::size_t{operation.out} * operation.in);
}

}  // namespace

TEST_CASE("onnx: a product by hand") {
  const Bytes bytes = model_of(product());
  const Result<OnnxFile> file = parse_onnx(bytes, "m.onnx");
  REQUIRE(file);
  CHECK(file->tensors[0].bytes.data() > bytes.data());  // in place
  const Result<Model> model = model_from_onnx(*file);
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : to_string(model.error())));
  CHECK(model->family == Family::graph);
  CHECK(model->name == "m");
  REQUIRE(model->linear.size() == 1);
  CHECK(model->linear[0].name == "w");
  CHECK(model->linear[0].out == 3);
  CHECK(read_weights(model->linear[0]) == std::vector<float>{1, 4, 2, 5, 3, 6});
  REQUIRE(model->graph.nodes.size() == 2);
  CHECK(model->graph.nodes[0].name == "x");
  CHECK(model->digital_nodes.empty());
}

TEST_CASE("onnx: every element type in every form, as onnx.numpy_helper reads it") {
  const Bytes bytes = read("types.onnx");
  const Result<OnnxFile> file = parse_onnx(bytes, "types.onnx");
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : to_string(file.error())));
  std::ifstream figures(kFolder / "types.txt");
  std::string name;
  std::size_t count = 0, found = 0;
  while (figures >> name >> count) {
    CAPTURE(name);
    REQUIRE(found < file->tensors.size());
    const Tensor& read_tensor = file->tensors[found++];
    CHECK(read_tensor.name == name);
    const std::optional<Array> values = to_array(read_tensor);
    REQUIRE(values);
    REQUIRE(values->values.size() == count);
    for (const double actual : values->values) {
      double expected = 0;
      figures >> expected;
      CHECK(std::abs(actual - expected) <= 1e-7 * std::abs(expected));
    }
  }
  CHECK(found == 26);
  CHECK(found == file->tensors.size());
}

TEST_CASE("onnx: what is digital is named") {
  const Bytes bytes = read("digital.onnx");
  const Result<Model> model = model_from_onnx(*parse_onnx(bytes, "digital.onnx"));
  REQUIRE(model);
  REQUIRE(model->digital_nodes.size() == 5);
  const char* names[] = {"squash", "gate", "scaling", "pooling", "pooler"};
  const char* operations[] = {"Tanh", "Softmax", "Mul", "ReduceMean", "Gemm"};
  for (std::size_t n = 0; n < 5; ++n) {
    CHECK(model->digital_nodes[n].name == names[n]);
    CHECK(model->digital_nodes[n].operation == operations[n]);
    CHECK(!model->digital_nodes[n].reason.empty());
  }
  REQUIRE(model->digital.size() == 1);
  CHECK(model->digital[0].name == "pooler");
  CHECK(model->digital[0].reason == "used once per sequence");
}

TEST_CASE("onnx: dimensions and digital matrices of an exported decoder") {
  const Bytes bytes = read("torch-llama.onnx");
  const Result<Model> model = model_from_onnx(*parse_onnx(bytes, "llama.onnx"));
  REQUIRE(model);
  CHECK(
      model->dimensions ==
      Dimensions{
          .layers = 1, .hidden = 16, .ffn = 20, .heads = 4, .kv_heads = 2, .head_size = 4, .vocab = 19, .context = 0});
  REQUIRE(model->digital.size() == 2);
  CHECK(model->digital[0].reason == "embedding: a row is looked up");
  CHECK(model->digital[1].reason == "lm head");
  CHECK(model->digital[1].rows == 19);
  CHECK(model->digital[1].cols == 16);
  CHECK(model->graph.configs[index(model->graph.nodes[5].configs[0])].theta == 5000);
  for (const LinearOperator& operation : model->linear) CHECK(operation.layer == 0);
}

TEST_CASE("onnx: errors") {
  Message graph = product();
  CHECK(error_of({}).id == "onnx.protobuf");
  CHECK(error_of(Message().number(1, 8).bytes).id == "onnx.protobuf");
  CHECK(error_of(Message().data(7, graph.bytes).data(7, graph.bytes).bytes).id == "onnx.protobuf");
  const Error wire = error_of(Message().number(7, 1).bytes);
  CHECK(wire.id == "onnx.protobuf");
  CHECK(wire.where.offset == 0);
  CHECK(wire.where.file == "m.onnx");

  const auto with_tensor = [](const Message& added) { return model_of(product().message(5, added)); };
  const Bytes six = small_files::floats({1, 2, 3, 4, 5, 6});
  CHECK(error_of(with_tensor(tensor("t", {2, 3}, 8))).id == "onnx.unsupported-type");
  const Error fp8 = error_of(with_tensor(tensor("t", {2, 3}, 17)));
  CHECK(fp8.message.find("'t'") != std::string::npos);
  CHECK(fp8.message.find("FLOAT8E4M3FN") != std::string::npos);
  CHECK(error_of(with_tensor(tensor("t", {2, 3}, 99))).id == "onnx.unsupported-type");
  CHECK(error_of(model_of(product().message(15, Message()))).id == "onnx.unsupported-type");
  CHECK(error_of(with_tensor(tensor("t", {2, 2}).data(9, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {2, 3}))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {1ull << 62, 8}).data(9, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {~0ull}).data(9, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {2, 3}).data(9, six).data(4, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {2, 3}, 7).data(4, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", std::vector<std::uint64_t>(17, 1)).data(9, six))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor("t", {1}, 13).number(11, 1ull << 63))).id == "onnx.tensor");
  CHECK(error_of(with_tensor(tensor(std::string(2000, 'n'), {2, 3}).data(9, six))).id == "onnx.name");
  CHECK(error_of(with_tensor(tensor("w", {2, 3}).data(9, six))).id == "onnx.duplicate-value");
  const Error undefined = error_of(model_of(product().message(1, node("Relu", {"nowhere"}, "z"))));
  CHECK(undefined.id == "onnx.undefined-value");
  CHECK(undefined.message.find("'z_node'") != std::string::npos);
  CHECK(undefined.message.find("'nowhere'") != std::string::npos);
  CHECK(undefined.where.offset > 0u);
  CHECK(error_of(model_of(product().message(12, value("nothing", {1})))).id == "onnx.undefined-value");
  CHECK(error_of(model_of(product().message(1, node("Relu", {"x"}, "y")))).id == "onnx.duplicate-value");
  CHECK(error_of(model_of(Message().message(1, node("Relu", {"x"}, "y")).message(11, value("x", {4, 2})))).id ==
        "onnx.no-operators");
  Message deep;
  for (int level = 0; level < 40; ++level)
    deep = Message().message(1, Message().text(4, "If").message(5, Message().text(1, "then").message(6, deep)));
  CHECK(error_of(model_of(deep)).id == "onnx.count");
}

TEST_CASE("onnx: external data stay below the model's folder") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "danaus_onnx_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "inside");
  const Bytes six = small_files::floats({1, 2, 3, 4, 5, 6});
  for (const std::filesystem::path& path : {folder / "outside.data", folder / "inside" / "good.data"}) {
    std::ofstream file(path, std::ios::binary);
    file.write("1234", 4);
    file.write(reinterpret_cast<const char*>(six.data()), static_cast<std::streamsize>(six.size()));
  }
  std::filesystem::create_symlink("../outside.data", folder / "inside" / "link.data");
  std::filesystem::create_symlink("good.data", folder / "inside" / "near.data");
  const auto at = [&](std::string_view location, std::string_view offset, std::string_view length) {
    Message added = tensor("w", {2, 3}).number(14, 1);
    added.message(13, Message().text(1, "location").text(2, location));
    if (!offset.empty()) added.message(13, Message().text(1, "offset").text(2, offset));
    if (!length.empty()) added.message(13, Message().text(1, "length").text(2, length));
    return model_of(Message()
                        .message(1, node("MatMul", {"x", "w"}, "y"))
                        .message(5, added)
                        .message(11, value("x", {4, 2}))
                        .message(12, value("y", {4, 3})));
  };
  const std::filesystem::path home = folder / "inside";
  for (const char* location : {"good.data", "./good.data", "near.data"}) {
    CAPTURE(location);
    const Bytes bytes = at(location, "4", "24");
    const Result<OnnxFile> file = parse_onnx(bytes, "m.onnx", nullptr, home);
    REQUIRE_MESSAGE(file.has_value(), (file ? "" : to_string(file.error())));
    CHECK(file->tensors[0].file != nullptr);
    const Result<Model> model = model_from_onnx(*file);
    REQUIRE(model);
    CHECK(read_weights(model->linear[0]) == std::vector<float>{1, 4, 2, 5, 3, 6});
  }
  for (const std::string& location :
       {std::string("../outside.data"), std::string("link.data"), (home / "good.data").string(), std::string(),
        std::string("a/../good.data"), std::string("good.data\0x", 11)}) {
    CAPTURE(location);
    CHECK(error_of(at(location, "4", "24"), home).id == "onnx.external-path");
  }
  CHECK(error_of(at("good.data", "4", "24")).id == "onnx.external-path");  // in memory: no folder
  CHECK(error_of(at("missing.data", "4", "24"), home).id == "file.missing");
  for (const auto& [offset, length] :
       {std::pair("5", "24"), std::pair("4", "23"), std::pair("-4", "24"), std::pair("99999999999999999999", "24"),
        std::pair("18446744073709551612", ""), std::pair("4", "x"), std::pair("1000", "")}) {
    CAPTURE(offset);
    CHECK(error_of(at("good.data", offset, length), home).id == "onnx.external-data");
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("onnx: every truncation and every damaged byte is an error or a valid model") {
  for (const char* name : {"mlp.onnx", "functions.onnx", "digital.onnx", "attention-causal.onnx", "types.onnx"}) {
    const Bytes bytes = read(name);
    CAPTURE(name);
    small_files::for_every_truncation(bytes,
                                      [](std::span<const std::byte> part, std::size_t) { check_harmless(part); });
    small_files::for_every_bit_flip(bytes, bytes.size(), check_harmless);
  }
}

TEST_CASE("onnx: damage to an exported model, every seventh byte") {
  for (const char* name : {"torch-llama.onnx", "torch-encoder.onnx"}) {
    Bytes bytes = read(name);
    for (std::size_t n = 0; n < bytes.size(); n += 7) {
      const std::byte good = bytes[n];
      bytes[n] = static_cast<std::byte>(n * 131 + 17);
      check_harmless(bytes);
      bytes[n] = good;
    }
  }
}

TEST_CASE("onnx: sizes that would take memory are followed as sizes only") {
  // A constant of 2^60 elements, its sum, and a product with it: nothing of it is made.
  const Message huge = tensor("sizes", {2}, 7).number(7, 1ull << 30).number(7, 1ull << 30);
  Message graph = product().message(5, huge);
  graph.message(1, node("ConstantOfShape", {"sizes"}, "c"));
  graph.message(1, node("Expand", {"y", "sizes"}, "e"));
  graph.message(1, node("Reshape", {"e", "sizes"}, "r"));
  graph.message(1, node("Range", {"c", "sizes", "e"}, "s"));
  check_harmless(model_of(graph));
}

TEST_CASE("layouts: reshape, transpose and slice as arrays do") {
  const std::vector<std::int64_t> shape = {2, 5, 24};
  const Layout rows = rows_layout(shape);
  CHECK(row_length(rows) == 24);
  const std::optional<Layout> heads = reshape(rows, std::vector<std::int64_t>{2, 5, 3, 2, 4});
  REQUIRE(heads);
  CHECK(!row_length(*heads));
  CHECK(vector_length(*heads) == 24);
  std::int64_t offset = 0;
  const std::optional<Layout> keys = slice(*heads, 2, 1, 1, offset);
  REQUIRE(keys);
  CHECK(offset == 8);
  CHECK(vector_length(*keys) == 8);
  const std::optional<Layout> turned = transpose(*keys, std::vector<std::int64_t>{2, 0, 3, 1, 4});
  REQUIRE(turned);
  CHECK(shape_of(*turned) == std::vector<std::int64_t>{1, 2, 2, 5, 4});
  const std::optional<Layout> back = transpose(*turned, std::vector<std::int64_t>{1, 3, 0, 2, 4});
  REQUIRE(back);
  CHECK(row_length(*reshape(*back, std::vector<std::int64_t>{10, 8})) == 8);
  CHECK(!reshape(rows, std::vector<std::int64_t>{5, 2, 24}));    // cuts a run of tokens
  CHECK(!reshape(rows, std::vector<std::int64_t>{2, 5, 5, 5}));  // another number of elements
  CHECK(!slice(rows, 1, 0, 2, offset));                          // some of the tokens
  const std::optional<Layout> shared =
      expand(*reshape(rows, std::vector<std::int64_t>{2, 5, 2, 1, 12}), std::vector<std::int64_t>{2, 5, 2, 3, 12});
  REQUIRE(shared);
  CHECK(vector_length(*shared) == 24);
  CHECK(size_of((*shared)[3]) == 3);
}
