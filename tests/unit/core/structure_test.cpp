// Gathered structures, and what all structures share, against their definitions.
#include "danaus/core/structure.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <vector>

using namespace danaus;

namespace {

Structure gathered(std::uint32_t out, std::uint32_t in, std::uint32_t group, std::uint32_t inputs) {
  Structure structure = Structure::gather(out, in, group, inputs);
  structure.selection = draw_selection(structure, 1, 0);
  return structure;
}

}  // namespace

TEST_CASE("lists are equal when their numbers are") {
  const IndexList none, empty{std::vector<std::uint32_t>{}}, a({1, 2, 3}), same({1, 2, 3}), other({1, 2, 4});
  CHECK(none == empty);
  CHECK(a == same);
  CHECK_FALSE(a == other);
  CHECK_FALSE(a == none);
  CHECK(a.size() == 3);
  CHECK(none.numbers().empty());
  const IndexList copy = a;
  CHECK(copy.numbers().data() == a.numbers().data());
}

TEST_CASE("every output of a gathered operator lies in one block, every parameter in one cell") {
  for (const auto& [out, in, group, inputs] : std::vector<std::array<std::uint32_t, 4>>{
           {1, 1, 1, 1}, {7, 13, 3, 5}, {64, 32, 32, 8}, {64, 32, 64, 32}, {65, 31, 32, 1}, {5, 100, 1, 99}}) {
    CAPTURE(out);
    const Structure structure = gathered(out, in, group, inputs);
    CHECK(structure.stages() == 1);
    CHECK(structure.parameters() == std::uint64_t{out} * inputs);
    CHECK(structure.inputs() == in);
    CHECK(structure.stage_outputs(0) == out);
    std::vector<int> covered(out);
    std::uint64_t cells = 0;
    std::uint32_t next_input = 0;
    for (std::uint32_t b = 0; b < structure.block_count(0); ++b) {
      const Block block = structure.block(0, b);
      CHECK(block.in_first == next_input);
      CHECK(block.in_count == inputs);
      CHECK(block.out_step == 1);
      CHECK(block.out_count >= 1);
      CHECK((block.out_count == group || b + 1 == structure.block_count(0)));
      for (std::uint32_t j = 0; j < block.out_count; ++j) ++covered.at(block.out_first + j);
      for (std::uint32_t i = 0; i < inputs; ++i) CHECK(structure.block_of_input(0, next_input + i) == b);
      next_input += block.in_count;
      cells += std::uint64_t{block.in_count} * block.out_count;
    }
    CHECK(next_input == structure.stage_inputs(0));
    CHECK(cells == structure.parameters());
    CHECK(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }));
    CHECK(structure.trim() == structure);
  }
}

TEST_CASE("parameters of a stage add up") {
  for (const Structure& structure :
       {Structure::dense(5, 7), Structure::blocks(30, 20, 4, 3, 2), Structure::blocks(31, 21, 4, 3, 2).trim(),
        Structure::padded_square(40, 10), gathered(31, 21, 4, 3)}) {
    std::uint64_t all = 0;
    for (std::uint32_t stage = 0; stage < structure.stages(); ++stage) {
      std::uint64_t cells = 0;
      for (std::uint32_t b = 0; b < structure.block_count(stage); ++b)
        cells += std::uint64_t{structure.block(stage, b).in_count} * structure.block(stage, b).out_count;
      CHECK(structure.stage_parameters(stage) == cells);
      all += cells;
    }
    CHECK(structure.parameters() == all);
  }
}

TEST_CASE("the text form of gathered blocks") {
  const Structure structure = Structure::gather(70, 40, 32, 9);
  CHECK(to_string(structure) == "gather 32:9");
  CHECK(parse_structure("gather 32:9", 70, 40).value() == structure);
  for (const char* bad : {"gather", "gather 32", "gather 32:", "gather :9", "gather 32x9", "gather 32:9 trim",
                          "gather 32:9 ", "gather  32:9", "gather -1:9", "gather 32:9:1"})
    CHECK_MESSAGE(parse_structure(bad, 70, 40).error().id == "structure.syntax", bad);
  for (const char* bad : {"gather 0:9", "gather 71:9", "gather 32:0", "gather 32:41"})
    CHECK_MESSAGE(parse_structure(bad, 70, 40).error().id == "structure.range", bad);
  // 2^24 stage inputs are the most.
  CHECK(parse_structure("gather 1:4096", 4096, 4096).has_value());
  CHECK(parse_structure("gather 1:4096", 4097, 4096).error().id == "structure.range");
  CHECK(parse_structure("gather 1:16777215", 16777215, 16777215).error().id == "structure.range");
}

TEST_CASE("selections are ascending within a block and stay within the inputs") {
  Structure structure = Structure::gather(4, 6, 2, 3);
  const auto id_with = [&](std::vector<std::uint32_t> numbers) {
    structure.selection = IndexList(std::move(numbers));
    const Result<void> good = check_selection(structure);
    return good ? std::string() : good.error().id;
  };
  CHECK(id_with({0, 1, 2, 0, 4, 5}).empty());
  CHECK(id_with({3, 4, 5, 0, 1, 2}).empty());
  CHECK(id_with({}) == "structure.selection");
  CHECK(id_with({0, 1, 2, 0, 4}) == "structure.selection");
  CHECK(id_with({0, 1, 2, 0, 4, 5, 5}) == "structure.selection");
  CHECK(id_with({0, 1, 2, 0, 4, 6}) == "structure.selection");
  CHECK(id_with({0, 1, 1, 0, 4, 5}) == "structure.selection");
  CHECK(id_with({0, 2, 1, 0, 4, 5}) == "structure.selection");
  Structure dense = Structure::dense(4, 6);
  CHECK(check_selection(dense).has_value());
  dense.selection = IndexList({1});
  CHECK_FALSE(check_selection(dense).has_value());
}

TEST_CASE("drawn selections are selections, the same ones each time") {
  for (const auto& [out, in, group, inputs] : std::vector<std::array<std::uint32_t, 4>>{
           {1, 1, 1, 1}, {7, 13, 3, 13}, {7, 13, 3, 1}, {640, 311, 32, 77}, {9, 1024, 4, 1023}}) {
    Structure structure = Structure::gather(out, in, group, inputs);
    structure.selection = draw_selection(structure, 5, 2);
    CHECK(check_selection(structure).has_value());
    CHECK(draw_selection(structure, 5, 2) == structure.selection);
    if (structure.stage_inputs(0) < 20 || inputs == in) continue;
    CHECK_FALSE(draw_selection(structure, 6, 2) == structure.selection);
    CHECK_FALSE(draw_selection(structure, 5, 3) == structure.selection);
  }
}

TEST_CASE("all inputs are drawn equally often") {
  // 4000 blocks of 5 inputs of 20: each input is in a quarter of them, within five standard deviations.
  const Structure structure = Structure::gather(4000, 20, 1, 5);
  std::vector<int> count(20);
  std::set<std::vector<std::uint32_t>> different;
  const IndexList selection = draw_selection(structure, 1, 0);
  for (std::size_t n = 0; n < selection.size(); n += 5) {
    const auto first = selection.numbers().begin() + static_cast<std::ptrdiff_t>(n);
    different.emplace(first, first + 5);
    for (std::size_t i = 0; i < 5; ++i) ++count[selection.numbers()[n + i]];
  }
  for (const int times : count) CHECK(std::abs(times - 1000) < 5 * std::sqrt(4000 * 0.25 * 0.75));
  CHECK(different.size() > 3000);  // of 15504
}

TEST_CASE("gathered inputs are the selected elements") {
  Structure structure = Structure::gather(3, 5, 2, 2);
  structure.selection = IndexList({0, 4, 1, 2});
  const std::vector<double> x = {10, 11, 12, 13, 14};
  std::vector<double> to(4);
  gather_inputs<double>(structure, x, to);
  CHECK(to == std::vector<double>{10, 14, 11, 12});
}
