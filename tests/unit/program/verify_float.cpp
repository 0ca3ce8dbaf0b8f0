// The example executed in double precision against a plain evaluation of a transformer layer with dense matrices.
#include "danaus/program/interpreter_float.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "danaus/core/random.h"
#include "verify_example.h"
#include "verify_mutation.h"

using namespace danaus;
using namespace danaus::program;

namespace {

using Vector = std::vector<double>;

/// Gaussian weights, gains and inputs, by name.
struct Numbers {
  const Graph& graph;

  double weight(NodeId node, std::uint32_t stage, std::uint32_t in, std::uint32_t out) const {
    return 0.5 * random_gaussian(7, index(node) * 2 + stage, std::uint64_t{out} * 4096 + in);
  }
  double constant(std::string_view name, std::uint32_t element) const {
    return 1 + 0.1 * random_gaussian(8, static_cast<std::uint64_t>(name.back()), element);
  }
  double input(std::uint32_t token, std::uint32_t element) const { return random_gaussian(9, token, element); }
  double prior(KvId region, bool value, std::uint32_t entry, std::uint32_t element) const {
    return random_gaussian(value ? 10 : 11, index(region), std::uint64_t{entry} * 64 + element);
  }

  FloatSource source() const {
    return {.weight = [this](NodeId node, std::uint32_t stage, std::uint32_t in,
                             std::uint32_t out) { return weight(node, stage, in, out); },
            .constant = [this](std::string_view name, std::uint32_t element) { return constant(name, element); },
            .input = [this](NodeId, std::uint32_t token, std::uint32_t element) { return input(token, element); },
            .prior = [this](KvId region, bool value, std::uint32_t entry,
                            std::uint32_t element) { return prior(region, value, entry, element); }};
  }

  /// y = M x, M[o][x] = sum over rho of L_i[o, (rho, j)] R_j[(i, rho), x] with o in slice i, x in slice j; k = l = 2, r
  /// = 1.
  Vector linear(std::string_view name, const Vector& x) const {
    std::uint32_t number = 0;
    while (graph.nodes[number].name != name) ++number;
    const Node& node = graph.nodes[number];
    Vector y(node.size);
    const std::uint32_t p = static_cast<std::uint32_t>(x.size()) / 2, s = node.size / 2;
    for (std::uint32_t o = 0; o < node.size; ++o) {
      for (std::uint32_t c = 0; c < x.size(); ++c) {
        const std::uint32_t middle = o / s * 2 + c / p;
        y[o] += weight(NodeId{number}, 1, middle, o) * weight(NodeId{number}, 0, c, middle) * x[c];
      }
    }
    return y;
  }

  Vector rms_norm(std::string_view gain, const Vector& x) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    Vector y = x;
    for (std::uint32_t e = 0; e < y.size(); ++e)
      y[e] *= constant(gain, e) / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
    return y;
  }
};

/// Rotary embedding of heads of 4: element e pairs with e + 2.
Vector rope(Vector x, std::uint32_t position) {
  for (std::uint32_t head = 0; head < x.size(); head += 4) {
    for (std::uint32_t pair = 0; pair < 2; ++pair) {
      const double angle = position * (pair == 0 ? 1.0 : 1.0 / 100);  // 10000^(-2 pair / 4)
      const double a = x[head + pair], b = x[head + pair + 2];
      x[head + pair] = a * std::cos(angle) - b * std::sin(angle);
      x[head + pair + 2] = a * std::sin(angle) + b * std::cos(angle);
    }
  }
  return x;
}

Vector operator+(Vector a, const Vector& b) {
  for (std::size_t e = 0; e < a.size(); ++e) a[e] += b[e];
  return a;
}

std::vector<Vector> plain_layer(const Numbers& numbers, std::uint32_t tokens, std::uint32_t start) {
  std::vector<Vector> outputs, keys, values;
  for (std::uint32_t entry = 0; entry < start; ++entry) {
    keys.emplace_back(4), values.emplace_back(4);
    for (std::uint32_t e = 0; e < 4; ++e)
      keys.back()[e] = numbers.prior(KvId{0}, false, entry, e),
      values.back()[e] = numbers.prior(KvId{0}, true, entry, e);
  }
  for (std::uint32_t token = 0; token < tokens; ++token) {
    Vector x(8);
    for (std::uint32_t e = 0; e < 8; ++e) x[e] = numbers.input(token, e);
    const Vector n1 = numbers.rms_norm("g1", x);
    const Vector q = rope(numbers.linear("q", n1), start + token);
    keys.push_back(rope(numbers.linear("k", n1), start + token));
    values.push_back(numbers.linear("v", n1));
    Vector context(8);
    for (std::uint32_t head = 0; head < 2; ++head) {
      Vector weight(keys.size());
      double sum = 0;
      for (std::size_t entry = 0; entry < keys.size(); ++entry) {
        for (std::uint32_t e = 0; e < 4; ++e) weight[entry] += q[head * 4 + e] * keys[entry][e] / 2;  // sqrt(4)
        sum += weight[entry] = std::exp(weight[entry]);
      }
      for (std::size_t entry = 0; entry < keys.size(); ++entry) {
        for (std::uint32_t e = 0; e < 4; ++e) context[head * 4 + e] += weight[entry] / sum * values[entry][e];
      }
    }
    const Vector x2 = x + numbers.linear("o", context);
    const Vector n2 = numbers.rms_norm("g2", x2);
    Vector h = numbers.linear("g", n2);
    const Vector u = numbers.linear("u", n2);
    for (std::size_t e = 0; e < h.size(); ++e) h[e] = h[e] / (1 + std::exp(-h[e])) * u[e];
    outputs.push_back(x2 + numbers.linear("d", h));
  }
  return outputs;
}

}  // namespace

TEST_CASE("the example computes a transformer layer in floats") {
  for (const std::uint32_t start : {0u, 7u}) {
    std::string text = example_text();
    text = with_line(text, "kv 0 tile 0 queries 2 size 4 capacity 2 start 0",
                     "kv 0 tile 0 queries 2 size 4 capacity 9 start " + std::to_string(start));
    const Program program = parse(text);
    const Numbers numbers{program.intent};
    const Result<std::vector<Vector>> outputs = execute(program, numbers.source());
    REQUIRE(outputs.has_value());
    const std::vector<Vector> expected = plain_layer(numbers, 2, start);
    REQUIRE(outputs->size() == 2);
    for (std::size_t token = 0; token < 2; ++token) {
      REQUIRE((*outputs)[token].size() == 8);
      for (std::size_t e = 0; e < 8; ++e)
        CHECK((*outputs)[token][e] == doctest::Approx(expected[token][e]).epsilon(1e-12));
    }
    CHECK(expected[0][0] != expected[1][0]);
  }
}

TEST_CASE("a damaged program is not executed") {
  const Program program = parse(with_line(example_text(), "mvm a0 r0+4 c0+6 6@1 -> 14*2@1 set k0", ""));
  const Numbers numbers{program.intent};
  const Result<std::vector<Vector>> outputs = execute(program, numbers.source());
  REQUIRE_FALSE(outputs.has_value());
  CHECK(outputs.error().id == "verify.coverage");
}

TEST_CASE("every number, deletion and duplication: refused, found, or without effect") {
  const Program program = parse(example_text());
  const Numbers numbers{program.intent};
  const Result<std::vector<Vector>> outputs = execute(program, numbers.source());
  REQUIRE(outputs.has_value());
  const MutationCounts counts = mutate(program);
  CHECK(counts.total > 1500);
  CHECK(counts.refused + counts.found + counts.survivors.size() == counts.total);
  // Other distances of slots and tokens that still keep them apart, a register that nothing names, and one token less.
  const std::string loop = "command 0 'rep 2 b1+176%352 b2+8': ";
  std::vector<std::string> names;
  for (const Mutant& mutant : counts.survivors) {
    names.push_back(mutant.name);
    const Result<std::vector<Vector>> same = execute(mutant.program, numbers.source());
    REQUIRE(same.has_value());
    REQUIRE(same->size() == (mutant.name == loop + "n - 1" ? 1 : 2));
    for (std::size_t token = 0; token < same->size(); ++token) CHECK((*same)[token] == (*outputs)[token]);
  }
  CHECK(names == std::vector<std::string>{loop + "n - 1", loop + "step 1 - 1", loop + "step 1 + 1",
                                          loop + "modulus 1 - 1", loop + "modulus 1 + 1", loop + "step 2 - 1",
                                          loop + "step 3 + 1", loop + "modulus 3 + 1"});
}
