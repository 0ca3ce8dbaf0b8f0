#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "danaus/model/builder.h"
#include "danaus/model/model.h"

namespace danaus::model {
namespace {

Tensor matrix(const std::vector<float>& values, std::vector<std::uint64_t> shape) {
  Tensor tensor;
  tensor.name = "t";
  tensor.shape = std::move(shape);
  tensor.bytes = std::as_bytes(std::span(values));
  return tensor;
}

/// Element (row, column) is 1000 * row + column.
std::vector<float> numbered(std::uint32_t rows, std::uint32_t columns) {
  std::vector<float> values;
  for (std::uint32_t row = 0; row < rows; ++row) {
    for (std::uint32_t column = 0; column < columns; ++column)
      values.push_back(static_cast<float>(1000 * row + column));
  }
  return values;
}

TEST_CASE("a piece of a matrix is its rows, or its columns turned") {
  // 130 rows are more than two strips of the transposition.
  for (const std::uint32_t rows : {1u, 7u, 64u, 130u}) {
    const std::uint32_t columns = 11;
    const std::vector<float> values = numbered(rows, columns);
    LinearOperator plain;
    plain.out = rows - rows / 2;
    plain.in = columns;
    plain.weight = WeightView{.tensor = matrix(values, {rows, columns}), .first = rows / 2};
    const std::vector<float> lower = read_weights(plain);
    REQUIRE(lower.size() == plain.out * plain.in);
    for (std::uint32_t o = 0; o < plain.out; ++o) {
      for (std::uint32_t i = 0; i < plain.in; ++i)
        CHECK(lower[o * plain.in + i] == static_cast<float>(1000 * (rows / 2 + o) + i));
    }
    LinearOperator turned;
    turned.out = 4;
    turned.in = rows;
    turned.weight = WeightView{.tensor = matrix(values, {rows, columns}), .first = 5, .transposed = true};
    const std::vector<float> columns_turned = read_weights(turned);
    REQUIRE(columns_turned.size() == 4 * rows);
    for (std::uint32_t o = 0; o < 4; ++o) {
      for (std::uint32_t i = 0; i < rows; ++i)
        CHECK(columns_turned[o * rows + i] == static_cast<float>(1000 * i + 5 + o));
    }
  }
}

TEST_CASE("outputs piece by piece are the outputs at once, quantised and turned too") {
  // 96 rows of 3 blocks of Q8_0: scale 1/2 and any bytes.
  std::vector<std::byte> blocks(96 * 3 * 34);
  for (std::size_t n = 0; n < blocks.size(); ++n) blocks[n] = static_cast<std::byte>(n * 37 + n / 256);
  for (std::size_t block = 0; block < 96 * 3; ++block) {
    blocks[block * 34] = std::byte{0x00};
    blocks[block * 34 + 1] = std::byte{0x38};
  }
  const auto value = [&](std::size_t row, std::size_t column) {
    const std::byte q = blocks[(row * 3 + column / 32) * 34 + 2 + column % 32];
    return 0.5f * static_cast<float>(static_cast<std::int8_t>(q));
  };
  Tensor tensor;
  tensor.type = ElementType::q8_0;
  tensor.shape = {96, 96};
  tensor.bytes = blocks;
  for (const bool transposed : {false, true}) {
    LinearOperator operation;
    operation.out = 61;
    operation.in = 96;
    operation.weight = WeightView{.tensor = tensor, .first = 30, .transposed = transposed};
    const std::vector<float> all = read_weights(operation);
    for (std::size_t o = 0; o < 61; ++o) {
      for (std::size_t i = 0; i < 96; ++i)
        REQUIRE(all[o * 96 + i] == (transposed ? value(i, 30 + o) : value(30 + o, i)));
    }
    for (const std::uint32_t size : {1u, 2u, 7u, 33u, 61u}) {
      for (std::uint32_t first = 0; first + size <= 61; first += size) {
        std::vector<float> part(std::size_t{size} * 96);
        read_weights(operation, first, size, part);
        CHECK(std::equal(part.begin(), part.end(), all.begin() + first * 96));
      }
    }
  }
}

TEST_CASE("leading dimensions are rows, one matrix below the other") {
  const std::vector<float> values = numbered(6, 4);
  LinearOperator second;
  second.out = 3;
  second.in = 4;
  second.weight = WeightView{.tensor = matrix(values, {2, 3, 4}), .first = 3};
  const std::vector<float> weights = read_weights(second);
  CHECK(weights.front() == 3000);
  CHECK(weights.back() == 5003);
}

TEST_CASE("the builder cuts operators and constants out of shared tensors") {
  const std::vector<float> weight = numbered(2, 6), addend = {0, 1, 2, 3, 4, 5}, gain = {7, 8};
  std::vector<Tensor> tensors = {matrix(weight, {2, 6}), matrix(addend, {6}), matrix(gain, {2})};
  tensors[0].name = "w";
  tensors[1].name = "b";
  tensors[2].name = "g";
  Shape shape;
  shape.name = "m";
  GraphBuilder builder(shape, tensors);
  const ConfigId config = builder.config({.kind = Config::Kind::norm, .n = 2, .epsilon = 1e-5});
  const NodeId x = builder.norm("n", builder.input("x", 2), config, "g");
  const NodeId second = builder.linear("w.2", {.tensor = "w", .shape = {2, 6}, .first = 3, .transposed = true}, x, 3);
  builder.output(builder.bias("b.2", {.tensor = "b", .shape = {6}, .first = 3}, second));
  const Result<Model> model = std::move(builder).finish();
  REQUIRE(model.has_value());
  CHECK(read_weights(model->linear[0]) == std::vector<float>{3, 1003, 4, 1004, 5, 1005});
  REQUIRE(model->constants.size() == 2);
  CHECK(model->constants[0].name == "g");
  CHECK(model->constants[0].count == 2);
  CHECK(model->constants[1].name == "b.2");
  CHECK(model->constants[1].first == 3);
  CHECK(model->constants[1].count == 3);
}

}  // namespace
}  // namespace danaus::model
