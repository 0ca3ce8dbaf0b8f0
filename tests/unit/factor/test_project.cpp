#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <cmath>
#include <limits>

#include "danaus/core/digest.h"
#include "danaus/core/parallel.h"
#include "danaus/factor/factor.h"
#include "oracle.h"

using namespace danaus;
using namespace danaus::factor;

namespace {

Projection must_project(std::span<const float> weights, const Structure& structure) {
  Result<Projection> projection = project(weights, structure);
  REQUIRE(projection.has_value());
  return std::move(*projection);
}

/// Against the oracle: the promised tolerance, the reported figures and the two ways to use the factors.
void check_projection(std::span<const float> weights, const Structure& structure) {
  INFO(to_string(structure), " of ", structure.out, "x", structure.in);
  const Projection projection = must_project(weights, structure);
  const std::vector<float> dense = reconstruct(projection.factors);
  REQUIRE(dense.size() == weights.size());
  const double norm = oracle::squared_norm(weights);
  const double best = oracle::optimum(weights, structure);
  const double error = oracle::squared_distance(weights, dense);
  CHECK(error <= best * (1 + 1e-6) * (1 + 1e-6) + 1e-12 * norm);
  CHECK(error >= best * (1 - 1e-6) - 1e-12 * norm);
  if (norm > 0) {
    CHECK(projection.error.relative == doctest::Approx(std::sqrt(error / norm)).epsilon(1e-5).scale(1e-2));
    CHECK(projection.error.optimum == doctest::Approx(std::sqrt(best / norm)).epsilon(1e-5).scale(1e-1));
    CHECK(projection.error.optimum <= projection.error.relative);
  }

  const std::vector<float> x = oracle::gaussian(structure.in, 99);
  std::vector<float> y(structure.out);
  apply(projection.factors, x, y);
  for (std::size_t i = 0; i < structure.out; ++i) {
    double expected = 0, size = 0;
    for (std::size_t j = 0; j < structure.in; ++j) {
      const double term = static_cast<double>(dense[i * structure.in + j]) * static_cast<double>(x[j]);
      expected += term;
      size += std::abs(term);
    }
    CHECK(std::abs(static_cast<double>(y[i]) - expected) <= 1e-6 * size + 1e-35);
  }
}

Digest digest_of(const Factors& factors) {
  std::vector<float> all = factors.right;
  all.insert(all.end(), factors.left.begin(), factors.left.end());
  return danaus::digest_of(std::as_bytes(std::span<const float>(all)));
}

}  // namespace

TEST_CASE("the projection is the optimum of the family for random weights of awkward shapes") {
  struct Case {
    std::uint32_t out, in, k, l, r;
  };
  for (const Case c :
       {Case{1, 1, 1, 1, 1}, Case{1, 37, 5, 1, 1}, Case{41, 1, 1, 6, 1}, Case{17, 31, 3, 4, 1}, Case{64, 64, 8, 8, 1},
        Case{61, 53, 7, 5, 2}, Case{96, 36, 6, 8, 2}, Case{30, 70, 3, 2, 5}, Case{12, 9, 20, 15, 1},
        Case{13, 11, 2, 3, 9}, Case{128, 32, 1, 1, 1}, Case{43, 172, 1, 1, 4}, Case{172, 64, 2, 2, 7},
        Case{24, 48, 24, 1, 1}, Case{130, 140, 1, 1, 6}, Case{150, 40, 1, 1, 40}, Case{200, 7, 1, 3, 3}})
    check_projection(oracle::gaussian(std::size_t{c.out} * c.in, c.out), Structure::blocks(c.out, c.in, c.k, c.l, c.r));
}

TEST_CASE("the projection is the optimum for shapes of real models") {
  check_projection(oracle::gaussian(576 * 48, 1), Structure::blocks(48, 576, 24, 2, 1));
  check_projection(oracle::gaussian(1536 * 48, 2), Structure::blocks(48, 1536, 32, 1, 2));
  check_projection(oracle::gaussian(11008 * 16, 3), Structure::blocks(16, 11008, 86, 1, 1));
  check_projection(oracle::gaussian(90 * 60, 5), Structure::padded_square(90, 60));
  check_projection(oracle::gaussian(90 * 60, 5), Structure::padded_square(90, 60).trim());
  check_projection(oracle::gaussian(90 * 61, 6), Structure::blocks(90, 61, 7, 8, 2).trim());
}

TEST_CASE("large slices") {
  check_projection(oracle::gaussian(190 * 260, 7), Structure::blocks(190, 260, 1, 1, 24));
  check_projection(oracle::gaussian(300 * 290, 8), Structure::blocks(300, 290, 2, 1, 3));
}

TEST_CASE("a member of the family is recovered") {
  for (const Structure& structure : {Structure::blocks(60, 80, 5, 6, 1), Structure::blocks(64, 64, 2, 4, 3),
                                     Structure::blocks(33, 47, 4, 3, 2), Structure::blocks(200, 300, 1, 1, 10)}) {
    Factors factors{structure, oracle::gaussian(std::size_t{structure.l} * structure.r * structure.stage_inputs(0), 1),
                    oracle::gaussian(std::size_t{structure.k} * structure.r * structure.stage_outputs(1), 2)};
    const std::vector<float> weights = reconstruct(factors);
    const Projection projection = must_project(weights, structure);
    CHECK(projection.error.relative < 5e-7);
    CHECK(oracle::squared_distance(weights, reconstruct(projection.factors)) < 2.5e-13 * oracle::squared_norm(weights));
  }
}

TEST_CASE("a slice of rank above its smaller side is exact") {
  const std::vector<float> weights = oracle::gaussian(24 * 18, 3);
  const Projection projection = must_project(weights, Structure::blocks(24, 18, 3, 2, 8));
  CHECK(projection.error.relative < 5e-7);
}

TEST_CASE("degenerate spectra: identity, equal singular values, rank-deficient and zero slices") {
  std::vector<float> identity(64 * 64);
  for (std::size_t i = 0; i < 64; ++i) identity[i * 64 + i] = 1;
  for (const std::uint32_t r : {1u, 2u, 7u, 16u}) check_projection(identity, Structure::blocks(64, 64, 2, 2, r));
  check_projection(identity, Structure::blocks(64, 64, 1, 1, 5));
  for (const std::uint32_t k : {2u, 4u}) check_projection(identity, Structure::blocks(64, 64, k, k, 64 / k));

  std::vector<float> two = oracle::gaussian(40 * 40, 4);
  for (std::size_t i = 0; i < 40; ++i)
    for (std::size_t j = 0; j < 40; ++j)
      two[i * 40 + j] = (i < 10 && j < 10) ? static_cast<float>(i == j) : two[i * 40 + j];
  for (std::size_t i = 20; i < 40; ++i)
    for (std::size_t j = 0; j < 20; ++j) two[i * 40 + j] = 0;
  for (const std::uint32_t r : {1u, 3u}) check_projection(two, Structure::blocks(40, 40, 4, 4, r));
  check_projection(std::vector<float>(30 * 20), Structure::blocks(30, 20, 4, 3, 2));

  std::vector<float> ones(32 * 32, 1.0f);
  check_projection(ones, Structure::blocks(32, 32, 4, 4, 1));
  check_projection(ones, Structure::blocks(32, 32, 1, 1, 3));
}

TEST_CASE("a wide range of singular values within a slice") {
  // Columns that fall by a factor 3: sigma from 1 to 1e-9 of the largest.
  std::vector<float> weights = oracle::gaussian(48 * 20, 5);
  for (std::size_t i = 0; i < 48; ++i)
    for (std::size_t j = 0; j < 20; ++j)
      weights[i * 20 + j] *= static_cast<float>(std::pow(3.0, -static_cast<double>(j)));
  for (const std::uint32_t r : {1u, 2u, 5u, 8u, 12u}) check_projection(weights, Structure::blocks(48, 20, 1, 1, r));
}

TEST_CASE("very small and very large weights neither vanish nor overflow, also side by side") {
  for (const double scale : {1e-30, 1e-18, 1e15, 1e30})
    for (const std::uint32_t r : {1u, 3u})
      check_projection(oracle::gaussian(36 * 44, 6, scale), Structure::blocks(36, 44, 3, 4, r));
  check_projection(oracle::gaussian(200 * 200, 6, 1e-30), Structure::blocks(200, 200, 1, 1, 3));
  std::vector<float> mixed = oracle::gaussian(64 * 64, 7);
  for (std::size_t i = 0; i < mixed.size(); ++i) mixed[i] *= i % 64 < 32 ? 1e-25f : 1e20f;
  const Structure structure = Structure::blocks(64, 64, 8, 8, 1);
  const std::vector<float> dense = reconstruct(must_project(mixed, structure).factors);
  for (const bool large : {false, true}) {
    std::vector<float> half, half_dense;
    for (std::size_t i = 0; i < mixed.size(); ++i) {
      if ((i % 64 >= 32) != large) continue;
      half.push_back(mixed[i]);
      half_dense.push_back(dense[i]);
    }
    const double best = oracle::optimum(half, Structure::blocks(64, 32, 4, 8, 1));
    CHECK(oracle::squared_distance(half, half_dense) == doctest::Approx(best).epsilon(2e-6));
  }
}

TEST_CASE("weights that are not finite are refused with their position") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::uint32_t k : {1u, 4u}) {
      std::vector<float> weights = oracle::gaussian(200 * 160, 8);
      weights[123 * 160 + 45] = bad;
      weights[150 * 160 + 7] = bad;
      const Result<Projection> projection = project(weights, Structure::blocks(200, 160, k, k, 1));
      REQUIRE_FALSE(projection.has_value());
      CHECK(projection.error().id == "factor.non-finite");
      CHECK(projection.error().message.find("row 123, column 45") != std::string::npos);
    }
  }
  std::vector<float> dense = {1, 2, std::numeric_limits<float>::infinity(), 4};
  CHECK_FALSE(project(dense, Structure::dense(2, 2)).has_value());
}

TEST_CASE("the dense structure keeps the weights") {
  const std::vector<float> weights = oracle::gaussian(5 * 7, 9);
  const Projection projection = must_project(weights, Structure::dense(5, 7));
  CHECK(projection.factors.right == weights);
  CHECK(projection.factors.left.empty());
  CHECK(projection.error.relative == 0);
  CHECK(reconstruct(projection.factors) == weights);
}

TEST_CASE("both factors carry sqrt(sigma), in the layout of the structure") {
  // W = 9 e_3 e_7^T: one slice of the family is not zero.
  std::vector<float> weights(8 * 12);
  weights[3 * 12 + 7] = 9;
  const Structure structure = Structure::blocks(8, 12, 3, 4, 2);  // p = 4, s = 2; slice (1, 1), element (1, 3)
  const Factors factors = must_project(weights, structure).factors;
  REQUIRE(factors.right.size() == 3 * 8 * 4);
  REQUIRE(factors.left.size() == 4 * 2 * 6);
  double right_sum = 0, left_sum = 0;
  for (const float value : factors.right) right_sum += std::abs(static_cast<double>(value));
  for (const float value : factors.left) left_sum += std::abs(static_cast<double>(value));
  // R block 1, row (i = 1, rho = 0), column 3; L block 1, row 1, column (rho = 0) * k + (j = 1).
  CHECK(std::abs(factors.right[(1 * 8 + 1 * 2) * 4 + 3]) == doctest::Approx(3).epsilon(1e-6));
  CHECK(std::abs(factors.left[(1 * 2 + 1) * 6 + 1]) == doctest::Approx(3).epsilon(1e-6));
  CHECK(right_sum == doctest::Approx(3).epsilon(1e-5));
  CHECK(left_sum == doctest::Approx(3).epsilon(1e-5));
}

TEST_CASE("weights of padding are exactly zero") {
  // 10 x 7 in slices of 3 x 4: the last row block has 1 row, the last column block 3 columns.
  for (const std::uint32_t r : {1u, 2u, 3u}) {
    const Structure structure = Structure::blocks(10, 7, 2, 4, r);
    REQUIRE(structure.in_block == 4);
    REQUIRE(structure.out_block == 3);
    const Factors factors = must_project(oracle::gaussian(10 * 7, 13, 1e-10), structure).factors;
    for (std::size_t row = 0; row < 4 * r; ++row) CHECK(factors.right[(4 * r + row) * 4 + 3] == 0);
    for (std::size_t row = 1; row < 3; ++row)
      for (std::size_t column = 0; column < 2 * r; ++column) CHECK(factors.left[(3 * 3 + row) * 2 * r + column] == 0);
  }
}

TEST_CASE("the same bits for every thread count and SIMD target") {
  struct Case {
    std::vector<float> weights;
    Structure structure;
  };
  std::vector<float> identity(96 * 96);
  for (std::size_t i = 0; i < 96; ++i) identity[i * 96 + i] = 1;
  const std::vector<Case> cases = {{oracle::gaussian(200 * 150, 10), Structure::blocks(200, 150, 9, 11, 1)},
                                   {oracle::gaussian(200 * 150, 11), Structure::blocks(200, 150, 5, 4, 3)},
                                   {oracle::gaussian(300 * 210, 12), Structure::blocks(300, 210, 1, 1, 17)},
                                   {identity, Structure::blocks(96, 96, 3, 3, 2)}};
  for (const Case& c : cases) {
    INFO(to_string(c.structure));
    set_thread_count(1);
    const Projection reference = must_project(c.weights, c.structure);
    set_thread_count(2);
    const Projection threaded = must_project(c.weights, c.structure);
    set_thread_count(0);
    CHECK(digest_of(threaded.factors) == digest_of(reference.factors));
    CHECK(threaded.error.relative == reference.error.relative);
    CHECK(threaded.error.optimum == reference.error.optimum);
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      INFO(hwy::TargetName(target));
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(target);
      const Projection other = must_project(c.weights, c.structure);
      hwy::SetSupportedTargetsForTest(0);
      hwy::GetChosenTarget().DeInit();
      CHECK(digest_of(other.factors) == digest_of(reference.factors));
      CHECK(other.error.relative == reference.error.relative);
      CHECK(other.error.optimum == reference.error.optimum);
    }
  }
}

TEST_CASE("weights read piece by piece give the same bits as weights at once") {
  set_thread_count(1);  // least memory: several pieces
  for (const Structure& structure :
       {Structure::blocks(3100, 3000, 48, 64, 1), Structure::blocks(3100, 3000, 5, 9, 1),
        Structure::blocks(60, 40, 4, 70, 1), Structure::blocks(3100, 3000, 60, 1, 1), Structure::dense(300, 200)}) {
    const std::vector<float> weights = oracle::gaussian(structure.dense_parameters(), 3);
    std::uint32_t pieces = 0, rows = 0;
    const auto read = [&](std::uint32_t first, std::uint32_t count, std::span<float> part) {
      REQUIRE(first == rows);
      REQUIRE(part.size() == std::size_t{count} * structure.in);
      std::copy_n(weights.begin() + std::ptrdiff_t{first} * structure.in, part.size(), part.begin());
      rows += count;
      ++pieces;
    };
    const Result<Projection> streamed = project(read, structure);
    const Result<Projection> whole = project(weights, structure);
    REQUIRE(streamed);
    REQUIRE(whole);
    CHECK(rows == structure.out);
    CHECK((pieces > 1) == (structure.out > 1000 && structure.l > 1));
    CHECK(streamed->factors.right == whole->factors.right);
    CHECK(streamed->factors.left == whole->factors.left);
    CHECK(streamed->error.relative == whole->error.relative);
    CHECK(streamed->error.optimum == whole->error.optimum);
    CHECK(streamed->error.squared_norm == whole->error.squared_norm);
    CHECK(whole->error.squared_norm == doctest::Approx(oracle::squared_norm(weights)));
  }
  const auto broken = [](std::uint32_t first, std::uint32_t count, std::span<float> part) {
    std::fill(part.begin(), part.end(), 1.0f);
    if (first <= 3000 && 3000 < first + count) part[(3000 - first) * std::size_t{3000} + 17] = NAN;
  };
  const Result<Projection> refused = project(broken, Structure::blocks(3100, 3000, 48, 64, 1));
  set_thread_count(0);
  REQUIRE(!refused);
  CHECK(refused.error().message == "the weight in row 3000, column 17 is nan");
}
