#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <optional>

#include "danaus/core/parallel.h"
#include "danaus/core/random.h"
#include "danaus/optimise/optimise.h"
#include "instances.h"

using danaus::random_bits;
using danaus::set_thread_count;
using danaus::optimise::Item;
using danaus::optimise::Option;
using danaus::optimise::Problem;
using danaus::optimise::Solution;
using danaus::optimise::solve;
using danaus::optimise::SolveOptions;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The optimum by trying everything.
std::optional<double> brute_force(const Problem& problem) {
  std::optional<double> best;
  std::vector<std::size_t> chosen(problem.items.size());
  while (true) {
    double cost = 0;
    std::vector<double> uses(problem.budgets.size());
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const Option& option = problem.items[i].options[chosen[i]];
      cost += option.cost;
      for (std::size_t b = 0; b < uses.size(); ++b) uses[b] += option.uses[b];
    }
    bool keeps = true;
    for (std::size_t b = 0; b < uses.size(); ++b) keeps = keeps && uses[b] <= problem.budgets[b];
    if (keeps && (!best || cost < *best)) best = cost;
    std::size_t i = 0;
    while (i < chosen.size() && ++chosen[i] == problem.items[i].options.size()) chosen[i++] = 0;
    if (i == chosen.size()) return best;
  }
}

/// The optimum for one budget by dynamic programming over what is used: whole numbers only.
std::optional<double> by_table(const Problem& problem) {
  const std::size_t budget = static_cast<std::size_t>(problem.budgets[0]);
  std::vector<double> best(budget + 1, 0.0);  // with at most so much used
  for (const Item& item : problem.items) {
    std::vector<double> next(budget + 1, kInfinity);
    for (const Option& option : item.options)
      for (std::size_t used = static_cast<std::size_t>(option.uses[0]); used <= budget; ++used)
        next[used] = std::min(next[used], best[used - static_cast<std::size_t>(option.uses[0])] + option.cost);
    best = std::move(next);
  }
  return best[budget] == kInfinity ? std::nullopt : std::optional(best[budget]);
}

Problem random_problem(std::uint64_t seed, std::size_t items, std::size_t budgets) {
  std::uint64_t counter = 0;
  const auto draw = [&](std::uint64_t below) { return static_cast<double>(random_bits(seed, 77, counter++) % below); };
  Problem problem;
  const std::uint64_t classes = 1 + random_bits(seed, 78, 0) % items;  // equal items are usual
  for (std::size_t i = 0; i < items; ++i) {
    if (i >= classes) {
      problem.items.push_back(problem.items[i % classes]);
      continue;
    }
    Item& item = problem.items.emplace_back();
    const std::size_t options = 1 + static_cast<std::size_t>(draw(5));
    for (std::size_t o = 0; o < options; ++o) {
      Option& option = item.options.emplace_back();
      option.cost = draw(60) - 10;
      for (std::size_t b = 0; b < budgets; ++b) option.uses.push_back(draw(20));
    }
  }
  for (std::size_t b = 0; b < budgets; ++b) problem.budgets.push_back(static_cast<double>(items) * (3 + draw(9)));
  return problem;
}

}  // namespace

TEST_CASE("worked by hand") {
  // Two operators, dense (time 4, 4 arrays) or blocks (time 6, 1 array); 5 arrays: one of them must be blocks.
  const Item item{{{4, {4}}, {6, {1}}}};
  Problem problem{{item, item}, {5}};
  Solution solution = solve(problem, {});
  REQUIRE(solution.feasible);
  CHECK(solution.cost == 10);
  CHECK(solution.chosen == std::vector<std::uint32_t>{0, 1});  // of equal solutions the one with ascending options
  // Price p per array: 2 min(4 + 4p, 6 + p) - 5p is largest at p = 2/3, where it is 10.
  CHECK(solution.bound == doctest::Approx(10));
  CHECK(solution.bound <= 10);

  problem.budgets = {8};  // both dense
  solution = solve(problem, {});
  CHECK(solution.cost == 8);
  CHECK(solution.bound == 8);
  problem.budgets = {6};  // room that nothing fills: the relaxation takes 4/3 of a dense one
  solution = solve(problem, {});
  CHECK(solution.cost == 10);
  CHECK(solution.bound == doctest::Approx(12 - 2 * 4.0 / 3));
  problem.budgets = {1};  // not even blocks fit
  solution = solve(problem, {});
  CHECK_FALSE(solution.feasible);
  CHECK(solution.chosen.empty());
  CHECK(solution.bound == kInfinity);
}

TEST_CASE("nothing to choose, nothing to keep") {
  CHECK(solve({}, {}).feasible);
  CHECK(solve({}, {}).cost == 0);
  CHECK(solve({{}, {0, kInfinity}}, {}).feasible);
  CHECK_FALSE(solve({{}, {-1}}, {}).feasible);
  CHECK_FALSE(solve({{Item{}}, {}}, {}).feasible);
  CHECK(solve({{Item{}}, {}}, {}).bound == kInfinity);

  // No budgets, infinite ones, or larger ones than anything uses: the cheapest options, and the bound is the optimum.
  const Item item{{{0.3, {1, 9}}, {0.1, {5, 2}}, {0.2, {0, 0}}}};
  Problem problem{{item, item, item}, {kInfinity, 27}};
  Solution solution = solve(problem, {});
  CHECK(solution.chosen == std::vector<std::uint32_t>{1, 1, 1});
  CHECK(solution.cost == 0.1 + 0.1 + 0.1);
  CHECK(solution.bound == solution.cost);
  problem.budgets = {15, 6};  // binding for others, kept exactly by the cheapest
  solution = solve(problem, {});
  CHECK(solution.chosen == std::vector<std::uint32_t>{1, 1, 1});
  CHECK(solution.bound == solution.cost);
  problem.budgets = {0, 0};  // a budget of nothing leaves what uses nothing
  CHECK(solve(problem, {}).chosen == std::vector<std::uint32_t>{2, 2, 2});
  problem.budgets = {0, 0.5};
  CHECK(solve(problem, {}).chosen == std::vector<std::uint32_t>{2, 2, 2});
}

TEST_CASE("two budgets that exclude each other are proved infeasible") {
  const Item item{{{1, {10, 0}}, {2, {0, 10}}}};
  const Solution solution = solve({std::vector<Item>(20, item), {90, 90}}, {});
  CHECK_FALSE(solution.feasible);
  CHECK(solution.bound == kInfinity);
  const Solution half = solve({std::vector<Item>(20, item), {100, 100}}, {});
  REQUIRE(half.feasible);
  CHECK(half.cost == 30);
}

TEST_CASE("small random problems against brute force") {
  int solved = 0, equal = 0, infeasible = 0, proved = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const Problem problem = random_problem(seed, 1 + seed % 7, seed % 4);
    CAPTURE(seed);
    const std::optional<double> optimum = brute_force(problem);
    const Solution solution = solve(problem, {.seed = seed});
    CHECK(consistent(problem, solution));
    CHECK(solution.feasible == optimum.has_value());
    if (!optimum) {
      ++infeasible;
      proved += solution.bound == kInfinity ? 1 : 0;
      continue;
    }
    ++solved;
    equal += solution.cost == *optimum ? 1 : 0;
    CHECK(solution.bound <= *optimum);
    CHECK(solution.cost >= *optimum);
    CHECK(solution.cost <= *optimum + 0.04 * std::abs(*optimum));
  }
  CHECK(solved > 200);
  CHECK(infeasible > 20);
  CHECK(proved * 2 > infeasible);
  CHECK(equal == solved);
}

TEST_CASE("one budget against dynamic programming") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const Problem problem = random_problem(seed + 1000, 40 + 5 * seed, 1);
    CAPTURE(seed);
    const std::optional<double> optimum = by_table(problem);
    const Solution solution = solve(problem, {});
    CHECK(consistent(problem, solution));
    REQUIRE(solution.feasible == optimum.has_value());
    if (!optimum) continue;
    CHECK(solution.bound <= *optimum);
    CHECK(solution.cost >= *optimum);
    CHECK(solution.cost - *optimum <= 0.002 * std::abs(*optimum));
  }
}

TEST_CASE("options that cannot matter do not change the solution") {
  Problem problem = instance(0, 40, 8, 2, 20, 5);
  const Solution before = solve(problem, {});
  for (Item& item : problem.items) {
    Option worse = item.options[3];
    worse.uses[1] += 1;
    item.options.push_back(worse);             // dominated
    item.options.push_back(item.options[2]);   // equal: the first is taken
    item.options.push_back({-1e6, {1e9, 0}});  // too large for the budget alone
  }
  const Solution after = solve(problem, {});
  CHECK(after.chosen == before.chosen);
  CHECK(after.bound == before.bound);
}

TEST_CASE("same bits for 1 and 2 threads, and for equal seeds") {
  for (const int kind : {0, 1, 2}) {
    const Problem problem = instance(kind, 144, 12, 3, 40, 9);
    set_thread_count(1);
    const Solution one = solve(problem, {.seed = 3, .restarts = 6});
    set_thread_count(2);
    const Solution two = solve(problem, {.seed = 3, .restarts = 6});
    set_thread_count(0);
    REQUIRE(one.feasible);
    CHECK(one.chosen == two.chosen);
    CHECK(one.cost == two.cost);
    CHECK(one.bound == two.bound);
  }
}

TEST_CASE("stop ends the search with what there is") {
  const Problem problem = instance(0, 300, 30, 3, 20, 2);
  std::atomic<int> asked = 0;
  SolveOptions options;
  options.moves = 1'000'000'000'000;  // for ever
  options.stop = [&] { return ++asked > 200; };
  Solution solution = solve(problem, options);
  CHECK(solution.stopped);
  CHECK(solution.feasible);
  CHECK(consistent(problem, solution));
  options.stop = [] { return true; };  // at once: the bound is weak, but a bound
  solution = solve(problem, options);
  CHECK(solution.stopped);
  CHECK(consistent(problem, solution));
  CHECK(solution.bound <= solve(problem, {}).bound);
  CHECK_FALSE(solve(problem, {}).stopped);
}
