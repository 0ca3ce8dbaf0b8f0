#include "danaus/explore/space.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "explore_test.h"

using namespace danaus;
using namespace danaus::explore;

namespace {

Space space_of(const std::string& sweep, const std::string& more = "") {
  Result<Space> space = Space::create(good_study(sweep, more));
  if (!space) FAIL(to_string(space.error()));
  return std::move(*space);
}

std::vector<std::string> listed(const Space& space) {
  std::vector<std::string> points;
  for (std::uint64_t n = 0; n < space.size(); ++n) {
    std::string text;
    for (const Value& value : space.values(n)) text += to_string(value) + " ";
    points.push_back(text);
  }
  return points;
}

}  // namespace

TEST_CASE("a grid is the full product, the first key slowest") {
  CHECK(listed(space_of("map = [\"linear\", \"dense\"]\nkv = [1, 2, 3]")) ==
        std::vector<std::string>{"linear 1 ", "linear 2 ", "linear 3 ", "dense 1 ", "dense 2 ", "dense 3 "});
  CHECK(listed(space_of("map = [\"linear\", \"dense\"]\nkv = [1, 2, 3]", "budget = 4")) ==
        std::vector<std::string>{"linear 1 ", "linear 2 ", "linear 3 ", "dense 1 "});
  CHECK(space_of("").size() == 1);
}

TEST_CASE("a product that is too large is an error, whatever its size") {
  const std::string many = "{from = 1, to = 1000000, step = 1}";
  const std::string sweep = "kv = " + many + "\nslots = {from = 1, to = 4096, step = 1}\nseed = " + many +
                            "\nencoder_tokens = " + many + "\n\"noise.time_s\" = " + many;
  CHECK(Space::create(good_study(sweep)).error().id == "explore.too-many-points");
  CHECK(space_of(sweep, "sampling = \"random\"\nbudget = 5").size() == 5);
  // "[study]" and the model are in front of the further lines.
  const Error hypercube =
      Space::create(good_study("kv = [1]", "sampling = \"latin-hypercube\"\nbudget = 9000000000000")).error();
  CHECK(hypercube.id == "explore.too-many-points");
  CHECK(hypercube.message == "the study has 9000000000000 points, at most 1000000 can be listed: the budget");
  CHECK(to_string(hypercube).find("s.toml:4:10") != std::string::npos);
  const Error grid =
      Space::create(good_study("kv = {from = 1, to = 2000, step = 1}\nslots = {from = 1, to = 4000, step = 1}",
                               "budget = 9000000"))
          .error();
  CHECK(grid.message == "the study has 8000000 points, at most 1000000 can be listed: kv (2000) x slots (4000)");
  CHECK(to_string(grid).find("s.toml:6:") != std::string::npos);
}

TEST_CASE("samples of whole numbers are whole, whatever their range") {
  const std::string sweep =
      "kv = {from = 1, to = 4096, log = true}\nblocks = {from = 2, to = 32, log = true}\n"
      "\"buffer.bytes_per_tile\" = {from = 0, to = 1000000000000}";
  for (const std::string sampling : {"random", "latin-hypercube"}) {
    const Space space = space_of(sweep, "sampling = \"" + sampling + "\"\nbudget = 1200");
    std::uint64_t below_64 = 0, below_half = 0;
    std::set<std::string> blocks;
    for (std::uint64_t n = 0; n < space.size(); ++n) {
      const std::vector<Value> values = space.values(n);
      const std::int64_t kv = std::get<std::int64_t>(values[0]);
      const std::int64_t bytes = std::get<std::int64_t>(values[2]);
      CHECK((1 <= kv && kv <= 4096 && 0 <= bytes && bytes <= 1'000'000'000'000));
      below_64 += kv < 64 ? 1 : 0;
      below_half += bytes < 500'000'000'000 ? 1 : 0;
      blocks.insert(std::get<std::string>(values[1]));
    }
    // 64 and the middle halve the ranges: 600 of 1200 are expected, with a standard deviation below 18.
    CHECK((530 < below_64 && below_64 < 670));
    CHECK((530 < below_half && below_half < 670));
    CHECK(blocks.size() == 31);  // 2 to 32
  }
  CHECK(study_of("kv = {from = 1, to = 8, log = true}").error().id == "explore.missing-key");  // a grid
}

TEST_CASE("a random sample is of different points, and a larger one begins with the smaller") {
  const std::string sweep = "kv = {from = 1, to = 20, step = 1}\nslots = {from = 1, to = 10, step = 1}";
  const std::vector<std::string> few = listed(space_of(sweep, "sampling = \"random\"\nbudget = 50"));
  CHECK(few.size() == 50);
  CHECK(std::set<std::string>(few.begin(), few.end()).size() == 50);
  std::vector<std::string> all = listed(space_of(sweep, "sampling = \"random\"\nbudget = 1000"));
  CHECK(all.size() == 200);
  CHECK(std::equal(few.begin(), few.end(), all.begin()));
  CHECK(all != listed(space_of(sweep)));
  std::vector<std::string> grid = listed(space_of(sweep));
  std::sort(all.begin(), all.end());
  std::sort(grid.begin(), grid.end());
  CHECK(all == grid);
  CHECK(few != listed(space_of(sweep, "sampling = \"random\"\nbudget = 50\nseed = 2")));
}

TEST_CASE("a Latin hypercube has one point in every part of every axis") {
  constexpr std::uint64_t kPoints = 40;
  const Space space = space_of(
      "\"array.settle_ns\" = {from = 10, to = 50}\n\"adc.step_ns\" = {from = 1, to = 10000, log = true}\n"
      "kv = {from = 1, to = 400, step = 1}\nslots = {from = 1, to = 8, step = 1}",
      "sampling = \"latin-hypercube\"\nbudget = 40");
  REQUIRE(space.size() == kPoints);
  std::vector<std::multiset<int>> parts(4);
  for (std::uint64_t n = 0; n < kPoints; ++n) {
    const std::vector<Value> values = space.values(n);
    const double settle = std::get<double>(values[0]), step = std::get<double>(values[1]);
    CHECK(settle >= 10);
    CHECK(settle < 50);
    parts[0].insert(static_cast<int>(settle - 10));                                   // 40 parts of width 1
    parts[1].insert(static_cast<int>(std::log10(step) * 10));                         // 40 parts of a tenth of a decade
    parts[2].insert(static_cast<int>((std::get<std::int64_t>(values[2]) - 1) / 10));  // 40 parts of ten values
    parts[3].insert(static_cast<int>(std::get<std::int64_t>(values[3]) - 1));         // 8 values, five points each
  }
  for (int part = 0; part < 40; ++part) {
    CHECK(parts[0].count(part) == 1);
    CHECK(parts[1].count(part) == 1);
    CHECK(parts[2].count(part) == 1);
  }
  for (int value = 0; value < 8; ++value) CHECK(parts[3].count(value) == 5);
}
