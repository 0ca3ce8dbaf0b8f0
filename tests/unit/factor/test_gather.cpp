// Gathered blocks: the choice by magnitude against numpy, and what is exact against the dense operator.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "danaus/core/files.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/choose.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "oracle.h"

using namespace danaus;
using namespace danaus::factor;

namespace {

std::string chosen(std::uint32_t out, std::uint32_t in, double compression, std::uint32_t group) {
  Policy policy;
  policy.kind = Policy::Kind::gather;
  policy.compression = compression;
  policy.group = group;
  const Result<Structure> structure = choose_structure(out, in, policy, 256);
  return structure ? to_string(*structure) : structure.error().id;
}

}  // namespace

TEST_CASE("the columns with the largest norms, as numpy finds them") {
  struct Case {
    std::uint32_t out, in, group, kept;
    double error;
    std::uint64_t checksum;
  };
  for (const Case& c : std::vector<Case>{{64, 48, 32, 6, 0.917876796140, 2047},
                                         {70, 33, 32, 11, 0.797576168476, 9813},
                                         {5, 97, 5, 13, 0.880610661313, 6354},
                                         {128, 64, 16, 32, 0.672066886680, 1041109},
                                         {31, 31, 1, 4, 0.817811719935, 107598},
                                         {96, 128, 96, 127, 0.070574798805, 687877}}) {
    CAPTURE(c.out);
    const std::vector<float> weights = oracle::weights_of(c.out, c.in);
    const Result<Projection> projection = project(weights, Structure::gather(c.out, c.in, c.group, c.kept));
    REQUIRE(projection.has_value());
    CHECK(projection->error.relative == doctest::Approx(c.error).epsilon(1e-11));
    const Structure& structure = projection->factors.structure;
    CHECK(check_selection(structure).has_value());
    std::uint64_t checksum = 0;
    for (std::size_t n = 0; n < structure.selection.size(); ++n) checksum += (n + 1) * structure.selection.numbers()[n];
    CHECK(checksum == c.checksum);

    // The error is that of the matrix that the factors stand for, and the factors compute that matrix.
    const std::vector<float> dense = reconstruct(projection->factors);
    double squared_error = 0, squared_norm = 0;
    for (std::size_t n = 0; n < dense.size(); ++n) {
      const double own = static_cast<double>(dense[n]), whole = static_cast<double>(weights[n]);
      CHECK((dense[n] == 0 || dense[n] == weights[n]));
      squared_error += (own - whole) * (own - whole);
      squared_norm += whole * whole;
    }
    CHECK(std::sqrt(squared_error / squared_norm) == doctest::Approx(c.error).epsilon(1e-11));
    CHECK(projection->error.squared_norm == doctest::Approx(squared_norm).epsilon(1e-12));
    const std::vector<float> x = oracle::gaussian(c.in, 3);
    std::vector<float> y(c.out);
    apply(projection->factors, x, y);
    for (std::uint32_t row = 0; row < c.out; ++row) {
      double expected = 0;
      for (std::uint32_t column = 0; column < c.in; ++column)
        expected += static_cast<double>(dense[row * c.in + column]) * static_cast<double>(x[column]);
      CHECK(std::abs(static_cast<double>(y[row]) - expected) < 1e-5);
    }
  }
}

TEST_CASE("all inputs: the weights themselves, without error") {
  for (const auto& [out, in, group] : std::vector<std::array<std::uint32_t, 3>>{{40, 30, 40}, {40, 30, 7}, {1, 9, 1}}) {
    const std::vector<float> weights = oracle::gaussian(std::size_t{out} * in, out);
    const Result<Projection> projection = project(weights, Structure::gather(out, in, group, in));
    REQUIRE(projection.has_value());
    CHECK(projection->error.relative == 0);
    CHECK(projection->factors.right == weights);
    CHECK(reconstruct(projection->factors) == weights);
  }
}

TEST_CASE("weights that are read in pieces, on any number of threads, give the same factors") {
  const std::uint32_t out = 5003, in = 4001;  // more than is read at a time
  const Structure structure = Structure::gather(out, in, 32, 11);
  const auto read = [&](std::uint32_t first, std::uint32_t count, std::span<float> rows) {
    for (std::size_t n = 0; n < std::size_t{count} * in; ++n)
      rows[n] = static_cast<float>((first * std::uint64_t{in} + n) * 7919 % 100003) - 50000.0f;
  };
  std::vector<float> whole(structure.dense_parameters());
  read(0, out, whole);
  const Result<Projection> at_once = project(whole, structure);
  REQUIRE(at_once.has_value());
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    const Result<Projection> in_pieces = project(read, structure);
    REQUIRE(in_pieces.has_value());
    CHECK(in_pieces->factors.structure == at_once->factors.structure);
    CHECK(in_pieces->factors.right == at_once->factors.right);
    CHECK(in_pieces->error.relative == at_once->error.relative);
  }
  set_thread_count(0);
}

TEST_CASE("no weights, and weights that are not finite") {
  const Result<Projection> zero = project(std::vector<float>(20), Structure::gather(4, 5, 3, 2));
  REQUIRE(zero.has_value());
  CHECK(zero->error.relative == 0);
  CHECK(zero->factors.structure.selection == IndexList({0, 1, 0, 1}));  // of equal ones the first
  std::vector<float> bad(20, 1.0f);
  bad[13] = std::numeric_limits<float>::quiet_NaN();
  const Result<Projection> refused = project(bad, Structure::gather(4, 5, 3, 2));
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().id == "factor.non-finite");
  CHECK(refused.error().message.find("row 2, column 3") != std::string::npos);
}

TEST_CASE("inputs by compression, groups as asked for") {
  CHECK(chosen(1024, 1024, 8, 32) == "gather 32:128");
  CHECK(chosen(1024, 4096, 8, 32) == "gather 32:512");
  CHECK(chosen(1000, 1009, 8, 32) == "gather 32:127");  // ceil(1009 / 8)
  CHECK(chosen(1024, 1024, 1, 32) == "gather 32:1024");
  CHECK(chosen(1024, 1024, 1e6, 32) == "gather 32:1");
  CHECK(chosen(10, 64, 2, 32) == "gather 10:32");  // a group is at most all outputs
  CHECK(chosen(10, 64, 2, 0) == "factor.group");
  CHECK(chosen(100000, 4096, 1, 1) == "factor.group");  // more stage inputs than addresses
  CHECK(chosen(10, 64, 0.5, 32) == "factor.compression");
  Policy policy;
  policy.kind = Policy::Kind::gather;
  policy.blocks = "32";
  CHECK(choose_structure(64, 64, policy, 256).error().id == "factor.policy-conflict");
  policy.blocks.clear();
  policy.pad_square = true;
  CHECK(choose_structure(64, 64, policy, 256).error().id == "factor.policy-conflict");
}

TEST_CASE("gathered layers in a policy file") {
  const Policy base;
  const auto parse = [&](const std::string& keys) {
    return parse_policy("[[layer]]\nmatch = \"a\"\n" + keys, "f", base);
  };
  const auto rules = parse("structure = \"gather\"\ngroup = 8\ncompression = 4\n[[layer]]\nmatch = \"b\"\n");
  REQUIRE(rules.has_value());
  CHECK((*rules)[0].policy.kind == Policy::Kind::gather);
  CHECK((*rules)[0].policy.group == 8);
  CHECK((*rules)[0].policy.compression == 4);
  CHECK((*rules)[1].policy == base);
  for (const char* group : {"0", "-3", "1.5", "\"8\"", "16777217", "true"})
    CHECK_MESSAGE(parse("structure = \"gather\"\ngroup = " + std::string(group)).error().id == "factor.policy-value",
                  group);
  CHECK(parse("group = 8").error().id == "factor.policy-value");
  CHECK(parse("structure = \"gathr\"").error().hint.find("'gather'") != std::string::npos);
}

TEST_CASE("operators that read one value get different inputs, layers the same") {
  const Result<model::Model> model = model::load("bert-large");
  REQUIRE(model.has_value());
  Policy policy;
  policy.kind = Policy::Kind::gather;
  const Result<std::vector<Structure>> chosen_structures = choose_structures(*model, policy, 256);
  REQUIRE(chosen_structures.has_value());
  const std::vector<Structure>& structures = *chosen_structures;
  REQUIRE(structures.size() == 24 * 6);  // q, k, v, o, up, down
  CHECK_FALSE(structures[0].selection == structures[1].selection);
  CHECK_FALSE(structures[0].selection == structures[2].selection);
  CHECK_FALSE(structures[1].selection == structures[2].selection);
  CHECK(structures[0].selection == structures[3].selection);  // of another value
  std::uint64_t parameters = 0;
  for (std::size_t n = 0; n < structures.size(); ++n) {
    CHECK(check_selection(structures[n]).has_value());
    CHECK(structures[n] == structures[n % 6]);
    parameters += structures[n].parameters();
  }
  CHECK(parameters == 24 * (4 * 1024 * 128 + 4096 * 128 + 1024 * 512));
  policy.seed = 2;
  const Result<std::vector<Structure>> others = choose_structures(*model, policy, 256);
  REQUIRE(others.has_value());
  CHECK_FALSE((*others)[0].selection == structures[0].selection);
}

TEST_CASE("factor files keep selections") {
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "danaus-unit-gathered.safetensors";
  std::vector<std::pair<std::string, Factors>> factors;
  for (const auto& [name, structure] :
       std::vector<std::pair<std::string, Structure>>{{"a", Structure::gather(30, 20, 7, 6)},
                                                      {"b", Structure::gather(3, 50, 3, 50)},
                                                      {"c", Structure::blocks(8, 8, 2, 2, 1)},
                                                      {"d", Structure::gather(5, 9, 1, 1)}}) {
    const std::vector<float> weights = oracle::gaussian(structure.dense_parameters(), 7);
    factors.emplace_back(name, project(weights, structure)->factors);
  }
  REQUIRE(write_factors(path, factors).has_value());
  const auto whole = read_factors(path);
  REQUIRE_MESSAGE(whole.has_value(), (whole ? "" : to_string(whole.error())));
  const auto* const read = &whole->operators;
  REQUIRE(read->size() == factors.size());
  for (std::size_t n = 0; n < factors.size(); ++n) {
    CHECK((*read)[n].first == factors[n].first);
    CHECK((*read)[n].second.structure == factors[n].second.structure);
    CHECK((*read)[n].second.right == factors[n].second.right);
    CHECK((*read)[n].second.left == factors[n].second.left);
  }

  // Every truncation and every changed byte: an error, or factors of the same structures.
  const std::string good = read_text(path, 1u << 20).value();
  std::filesystem::remove(path);
  const auto parse = [](const std::string& text) {
    return parse_factors(std::as_bytes(std::span(text.data(), text.size())), "f");
  };
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_FALSE(parse(good.substr(0, length)).has_value());
  std::size_t refused = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    const auto result = parse(damaged);
    if (result) {
      for (const auto& [name, factor] : result->operators) CHECK(check_selection(factor.structure).has_value());
    } else {
      ++refused;
      CHECK(result.error().failure != Failure::internal);
    }
  }
  CHECK(refused >= 3 * (30 + 50 + 5));  // three of four bytes of each entry lead out of the inputs

  // The last entry is that of the last row of d, which has 9 inputs; a's selection has 5 rows of 6.
  std::string beyond = good;
  beyond[good.size() - 4] = 9;
  CHECK(parse(beyond).error().id == "factor.selection");
  beyond[good.size() - 1] = static_cast<char>(0x80);  // negative
  CHECK(parse(beyond).error().id == "factor.selection");
  const auto replaced = [&](std::string_view from, std::string_view to) {
    REQUIRE(from.size() == to.size());
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return parse(text).error().id;
  };
  CHECK(replaced("\"shape\":[5,6]", "\"shape\":[6,5]") == "factor.tensor");
  CHECK(replaced("\"a.selection\"", "\"a.selektion\"") == "factor.tensor");
}
