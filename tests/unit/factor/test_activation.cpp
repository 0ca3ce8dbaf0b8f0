// Projections that see the activations: against numpy, and what is exact about them.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "danaus/core/parallel.h"
#include "danaus/factor/activation.h"
#include "danaus/factor/eliminate.h"
#include "oracle.h"

using namespace danaus;
using namespace danaus::factor;

namespace {

constexpr std::uint64_t kTokens = 400;

/// As tests/oracle/make_activation_figures.py makes them.
InputMoments moments_of(std::uint64_t in) {
  std::vector<double> x(kTokens * in);
  const auto z = [](std::uint64_t t, std::uint64_t j) {
    return static_cast<double>((t * t * 31 + j * 7919 + t * j * j * 13) % 997) / 1024 - 0.5;
  };
  for (std::uint64_t t = 0; t < kTokens; ++t) {
    for (std::uint64_t j = 0; j < in; ++j)
      x[t * in + j] = j == 5 ? 0 : z(t, j) + 0.75 * z(t, (j + 1) % in) + 0.5 * z(t, (j * 5 + 2) % in);
  }
  x[3] = 24;
  InputMoments input;
  input.name = "x";
  input.operators = {"x"};
  input.in = static_cast<std::uint32_t>(in);
  input.tokens = kTokens;
  input.weight = static_cast<double>(kTokens);
  input.sums.assign(triangle(in) + in, 0.0);
  for (std::uint64_t t = 0; t < kTokens; ++t) {
    for (std::uint64_t i = 0; i < in; ++i) {
      for (std::uint64_t j = 0; j <= i; ++j) input.sums[triangle(i) + j] += x[t * in + i] * x[t * in + j];
      input.sums[triangle(in) + i] += x[t * in + i];
    }
  }
  input.finish();
  return input;
}

/// tr(X C X^T) in double precision, from the definition.
double energy(const std::vector<float>& x, const InputMoments& input) {
  const std::size_t in = input.in;
  double sum = 0;
  for (std::size_t row = 0; row < x.size() / in; ++row) {
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t j = 0; j < in; ++j)
        sum += double{x[row * in + i]} * double{x[row * in + j]} *
               double{input.moments[triangle(std::max(i, j)) + std::min(i, j)]};
    }
  }
  return sum;
}

double output_error(const std::vector<float>& weights, const Factors& factors, const InputMoments& input) {
  std::vector<float> rest = reconstruct(factors);
  for (std::size_t n = 0; n < rest.size(); ++n) rest[n] = weights[n] - rest[n];
  return std::sqrt(energy(rest, input) / energy(weights, input));
}

Projection fitted(const std::vector<float>& weights, const Structure& structure, const InputMoments& input,
                  const ActivationOptions& options = {}) {
  Metric metric(input, 0.01);
  Result<Projection> projection = project(weights, structure, metric, options);
  REQUIRE(projection.has_value());
  return std::move(*projection);
}

}  // namespace

TEST_CASE("blocks have numpy's errors, whatever the number of threads") {
  struct Case {
    std::uint32_t out, in, k, l, r, sweeps;
    double plain, start, end;
  };
  for (const Case& c : std::vector<Case>{{48, 40, 1, 1, 7, 0, 0.708182819, 0.576791313, 0.576791313},
                                         {36, 40, 1, 3, 4, 0, 0.667817003, 0.573165195, 0.573165195},
                                         {48, 40, 4, 3, 2, 5, 0.747762463, 0.603473438, 0.562475765},
                                         {45, 38, 4, 4, 3, 3, 0.573312526, 0.439342730, 0.394354269},
                                         {64, 24, 8, 8, 1, 10, 0.698920081, 0.472041082, 0.415134160},
                                         {16, 96, 6, 2, 5, 4, 0.362352968, 0.301396559, 0.230049079}}) {
    CAPTURE(c.out);
    CAPTURE(c.in);
    const std::vector<float> weights = oracle::weights_of(c.out, c.in);
    const InputMoments input = moments_of(c.in);
    for (const bool trimmed : {false, true}) {
      Structure structure = Structure::blocks(c.out, c.in, c.k, c.l, c.r);
      if (trimmed) structure = structure.trim();
      ActivationOptions options;
      options.tolerance = -1;
      options.most_sweeps = c.sweeps;
      const Projection projection = fitted(weights, structure, input, options);
      CHECK(projection.error.output->plain == doctest::Approx(c.plain).epsilon(1e-5));
      CHECK(projection.error.output->fitted == doctest::Approx(c.end).epsilon(1e-4));
      CHECK(output_error(weights, projection.factors, input) == doctest::Approx(c.end).epsilon(1e-4));
      CHECK(projection.error.output->sweeps == (c.k == 1 ? 0 : c.sweeps));
      CHECK(c.end <= c.start);
      set_thread_count(1);
      const Projection alone = fitted(weights, structure, input, options);
      set_thread_count(0);
      CHECK(alone.factors.left == projection.factors.left);
      CHECK(alone.factors.right == projection.factors.right);
    }
  }
}

TEST_CASE("gathered blocks are numpy's, whatever the number of threads") {
  struct Case {
    std::uint32_t out, in, group, kept, candidates;
    double error;
    std::uint64_t checksum;
  };
  for (const Case& c : std::vector<Case>{{64, 48, 16, 24, 16, 0.414394880, 117589},
                                         {40, 72, 8, 18, 16, 0.615551343, 170393},
                                         {33, 50, 8, 25, 16, 0.386446853, 206649},
                                         {24, 96, 24, 40, 1, 0.516184865, 51499}}) {
    CAPTURE(c.out);
    const std::vector<float> weights = oracle::weights_of(c.out, c.in);
    const InputMoments input = moments_of(c.in);
    const Structure structure = Structure::gather(c.out, c.in, c.group, c.kept);
    ActivationOptions options;
    options.candidates = c.candidates;
    const Projection projection = fitted(weights, structure, input, options);
    CHECK(check_selection(projection.factors.structure).has_value());
    std::uint64_t checksum = 0, n = 0;
    for (const std::uint32_t number : projection.factors.structure.selection.numbers()) checksum += ++n * number;
    CHECK(checksum == c.checksum);
    CHECK(projection.error.output->fitted == doctest::Approx(c.error).epsilon(1e-4));
    CHECK(output_error(weights, projection.factors, input) == doctest::Approx(c.error).epsilon(1e-4));
    set_thread_count(1);
    CHECK(fitted(weights, structure, input, options).factors.right == projection.factors.right);
    set_thread_count(0);
  }
}

TEST_CASE("no sweep makes it worse, and together they make it better than the projection that does not see") {
  const InputMoments input = moments_of(60);
  const std::vector<float> weights = oracle::weights_of(56, 60);
  for (const auto& [k, l, r] : {std::array{5u, 4u, 2u}, {4u, 7u, 1u}, {12u, 2u, 3u}}) {
    double before = 1;
    for (std::uint32_t sweeps = 1; sweeps < 12; ++sweeps) {
      ActivationOptions options;
      options.tolerance = -1;
      options.most_sweeps = sweeps;
      const OutputError error = *fitted(weights, Structure::blocks(56, 60, k, l, r), input, options).error.output;
      CHECK(error.fitted <= before * (1 + 1e-6));
      CHECK(error.fitted < error.plain);
      before = error.fitted;
    }
    const OutputError converged = *fitted(weights, Structure::blocks(56, 60, k, l, r), input).error.output;
    CHECK(converged.fitted < before * 1.01);
    CHECK(converged.sweeps <= 50);
  }
}

TEST_CASE("blocks of full rank, all inputs and dense operators are exact") {
  const InputMoments input = moments_of(40);
  const std::vector<float> weights = oracle::weights_of(24, 40);
  for (const Structure& structure : {Structure::blocks(24, 40, 1, 1, 24), Structure::blocks(24, 40, 5, 3, 8),
                                     Structure::blocks(24, 40, 3, 5, 5), Structure::gather(24, 40, 8, 40)}) {
    CAPTURE(to_string(structure));
    const Projection projection = fitted(weights, structure, input);
    CHECK(projection.error.output->fitted < 2e-3);
    CHECK(projection.error.relative < 2e-3);
  }
  const Projection dense = fitted(weights, Structure::dense(24, 40), input);
  CHECK(dense.factors.right == weights);
  CHECK(*dense.error.output == OutputError{});
}

TEST_CASE("what an elimination keeps is the least-squares fit, and its cost is the error") {
  const std::size_t in = 64, rows = 12, keep = 21;
  const InputMoments input = moments_of(in);
  Metric metric(input, 0.01);
  std::vector<float> weights = oracle::weights_of(rows, in);
  const Elimination left = eliminate(weights, rows, metric.inverse().value(), in, keep, 8);
  REQUIRE(left.kept.size() == keep);
  CHECK(std::is_sorted(left.kept.begin(), left.kept.end()));
  std::vector<double> rest(weights.begin(), weights.end());
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t n = 0; n < keep; ++n) rest[row * in + left.kept[n]] -= double{left.weights[row * keep + n]};
  double cost = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    std::vector<double> gradient(in);
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t j = 0; j < in; ++j) gradient[i] += double{metric.correlation()[i * in + j]} * rest[row * in + j];
      cost += gradient[i] * rest[row * in + i];
    }
    for (const std::uint32_t j : left.kept) CHECK(std::abs(gradient[j]) < 2e-5);
  }
  CHECK(left.squared_error == doctest::Approx(cost).epsilon(1e-4));
}

TEST_CASE("damping has the same meaning for large and small inputs, and what never happens costs nothing") {
  const std::size_t in = 48;
  InputMoments input = moments_of(in);
  const std::vector<float> weights = oracle::weights_of(32, in);
  const Structure structure = Structure::gather(32, in, 8, 12);
  const Projection before = fitted(weights, structure, input);
  // Every input in another unit, in powers of two: the outputs are the same.
  std::vector<float> moments(input.moments.begin(), input.moments.end()), turned = weights;
  const auto unit = [](std::size_t j) { return std::ldexp(1.0f, static_cast<int>(j * 7 % 5) - 2); };
  for (std::size_t i = 0; i < in; ++i) {
    for (std::size_t j = 0; j <= i; ++j) moments[triangle(i) + j] *= unit(i) * unit(j);
    for (std::size_t row = 0; row < 32; ++row) turned[row * in + i] /= unit(i);
  }
  input.moments = moments;
  const Projection after = fitted(turned, structure, input);
  CHECK(after.factors.structure.selection == before.factors.structure.selection);
  CHECK(after.error.output->fitted == doctest::Approx(before.error.output->fitted).epsilon(1e-4));
  const std::span<const std::uint32_t> kept = before.factors.structure.selection.numbers();
  CHECK(std::find(kept.begin(), kept.end(), 5) == kept.end());

  std::vector<float> nothing(triangle(in), 0.0f);
  input.moments = nothing;
  const Projection blind = fitted(weights, Structure::blocks(32, in, 4, 4, 2), input);
  CHECK(blind.error.output->fitted == doctest::Approx(blind.error.relative).epsilon(1e-5));
}

TEST_CASE("moments that no vectors have are refused") {
  InputMoments input = moments_of(16);
  std::vector<float> moments(input.moments.begin(), input.moments.end());
  for (std::size_t i = 1; i < 16; ++i) moments[triangle(i)] *= 30;
  input.moments = moments;
  Metric metric(input, 0.01);
  for (const Structure& structure : {Structure::gather(16, 16, 8, 3), Structure::blocks(16, 16, 1, 1, 2)}) {
    const Result<Projection> projection = project(oracle::weights_of(16, 16), structure, metric, {});
    REQUIRE(!projection.has_value());
    CHECK(projection.error().id == "moments.value");
  }
}

TEST_CASE("too little damping for moments as they are rounded says which would do") {
  // Correlations c beside the diagonal: the smallest eigenvalue is 1 + (n - 1) c = -5e-5, with damping d more than 0
  // where d > 5e-5.
  constexpr std::uint64_t n = 16;
  std::vector<float> moments(triangle(n), static_cast<float>(-(1 + 5e-5) / (n - 1)));
  for (std::uint64_t i = 0; i < n; ++i) moments[triangle(i) + i] = 1;
  InputMoments input;
  input.in = n;
  input.moments = moments;
  for (const Structure& structure : {Structure::gather(n, n, 8, 3), Structure::blocks(n, n, 1, 1, 2)}) {
    Metric metric(input, 1e-6), damped(input, 1e-4);
    const Result<Projection> refused = project(oracle::weights_of(n, n), structure, metric, {});
    REQUIRE(!refused.has_value());
    CHECK(refused.error().id == "moments.damping");
    CHECK(refused.error().hint == "try --damping 0.0001 (the default is 0.003)");
    CHECK(project(oracle::weights_of(n, n), structure, damped, {}).has_value());
  }
}

TEST_CASE("weights that are not finite are refused") {
  const InputMoments input = moments_of(8);
  std::vector<float> weights = oracle::weights_of(6, 8);
  weights[13] = INFINITY;
  Metric metric(input, 0.01);
  for (const Structure& structure :
       {Structure::dense(6, 8), Structure::gather(6, 8, 2, 3), Structure::blocks(6, 8, 2, 2, 1)}) {
    const Result<Projection> projection = project(weights, structure, metric, {});
    REQUIRE(!projection.has_value());
    CHECK(projection.error().id == "factor.non-finite");
  }
}
