#include "danaus/explore/pareto.h"

#include <algorithm>

#include "danaus/core/random.h"
#include "explore_test.h"

using namespace danaus;
using namespace danaus::explore;

namespace {

const std::vector<Objective> kObjectives = {{0, Direction::least}, {2, Direction::most}, {5, Direction::least}};

Row row(std::uint64_t number, double a, double b, double c, bool feasible = true) {
  Row result;
  result.outcome.number = number;
  result.outcome.values.resize(metrics().size());
  result.outcome.values[0] = a;
  result.outcome.values[2] = b;
  result.outcome.values[5] = c;
  result.feasible = feasible;
  return result;
}

/// By the definition, signs written out.
bool beats(const Row& a, const Row& b) {
  const auto loss = [](const Row& r, int n) {
    return n == 0 ? *r.outcome.values[0] : n == 1 ? -*r.outcome.values[2] : *r.outcome.values[5];
  };
  bool no_worse = true, better = false;
  for (int n = 0; n < 3; ++n) {
    no_worse = no_worse && loss(a, n) <= loss(b, n);
    better = better || loss(a, n) < loss(b, n);
  }
  return no_worse && better;
}

}  // namespace

TEST_CASE("the front is what no feasible point beats") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<Row> rows;
    const auto draw = [&](std::uint64_t n) { return static_cast<double>(random_bits(seed, 1, n) % 12); };
    for (std::uint64_t n = 0; n < 150; ++n)
      rows.push_back(row(n, draw(4 * n), draw(4 * n + 1), draw(4 * n + 2), draw(4 * n + 3) > 3));
    std::vector<std::size_t> expected;
    for (std::size_t n = 0; n < rows.size(); ++n) {
      const bool beaten = std::any_of(rows.begin(), rows.end(),
                                      [&](const Row& other) { return other.feasible && beats(other, rows[n]); });
      if (rows[n].feasible && !beaten) expected.push_back(n);
    }
    CHECK(pareto_front(kObjectives, rows) == expected);
    Front front(kObjectives);
    for (const Row& one : rows) front.add(one);
    std::vector<std::size_t> numbers;
    for (const Row& one : front.rows()) numbers.push_back(one.outcome.number);
    std::sort(numbers.begin(), numbers.end());
    CHECK(numbers == expected);
  }
}

TEST_CASE("rows without figures are on no front") {
  std::vector<Row> rows = {row(0, 1, 1, 1), row(1, 0, 2, 0)};
  rows[1].outcome.values[5].reset();
  CHECK(pareto_front(kObjectives, rows) == std::vector<std::size_t>{0});
  rows[1].outcome.values.clear();
  rows[1].outcome.error = PointError{"place.capacity", "does not fit"};
  rows[1].feasible = false;
  CHECK(pareto_front(kObjectives, rows) == std::vector<std::size_t>{0});
}
