#include "danaus/explore/plan.h"

#include <fstream>
#include <set>

#include "explore_test.h"

namespace danaus::explore {
namespace {

std::string data(const std::string& path) { return std::string(DANAUS_SOURCE_DIR) + "/tests/data/" + path; }

Plan good_plan(const std::string& text) {
  Result<Study> study = parse_study(text, "s.toml");
  if (!study) FAIL(to_string(study.error()));
  Result<Plan> plan = Plan::create(std::move(*study), "1", no_progress());
  if (!plan) FAIL(to_string(plan.error()));
  return std::move(*plan);
}

}  // namespace

TEST_CASE("points share their accuracy when only costs tell them apart") {
  const TemporaryFolder folder;
  std::ofstream(folder / "ids.json") << "[1, 2, 3, 4, 5]";
  const std::string head = "[study]\nchip = \"unit\"\nmodel = \"" + data("nn/llama") + "\"\n[sweep]\n";
  const std::string tail = "[accuracy]\nids = \"" + folder / "ids.json" + "\"\n";
  struct Case {
    std::string sweep;
    std::size_t points, accuracies, accuracies_in_float;
  };
  const std::vector<Case> cases = {
      {"array.settle_ns = [1, 2.5]\nadc.energy = [1, 2]\ndigital.area_um2 = [1, 2]\n", 8, 1, 1},
      {"kv = [1, 2]\nsequences = [1, 2]\nmode = [\"decode\", \"prefill\"]\n", 8, 1, 1},
      {"array.settle_ns = [1, 2]\nadc.bits = [4, 5, 6]\n", 6, 3, 1},
      {"noise.time_s = [1, 2]\nnoise.wire_ohm = [1, 2]\n", 4, 4, 1},
      {"array.rows = [16, 32]\nseed = [1, 2]\nadc.step_ns = [1, 2]\n", 8, 4, 4},
      {"map = [\"linear\", \"sparse\"]\nblocks = [2, 4]\n", 4, 4, 4},
      {"chip.scheduling = [\"scoreboard\", \"list\"]\n", 2, 2, 2},  // another map by default
      {"map = [\"linear-striped\"]\nsliver = [\"auto\", 4]\n", 2, 1, 1},
      {"share_inputs = [true, false]\ninput.bits = [4, 8]\n", 4, 4, 2},
  };
  for (const Case& one : cases) {
    CAPTURE(one.sweep);
    for (const bool analog : {true, false}) {
      const Plan plan = good_plan(head + one.sweep + tail + (analog ? "" : "analog = false\n"));
      CHECK(plan.points().size() == one.points);
      std::set<std::string> accuracies;
      for (const Point& point : plan.points()) {
        REQUIRE(point.accuracy);
        accuracies.insert(danaus::to_string(*point.accuracy));
      }
      CHECK(accuracies.size() == (analog ? one.accuracies : one.accuracies_in_float));
    }
  }
}

TEST_CASE("a chip without costs keeps everything that is no time, energy, power or area") {
  chip::Chip defaults;
  chip::Chip chip;
  for (const chip::Key& key : chip::key_table())
    if (const chip::Number* number = std::get_if<chip::Number>(&key.kind))
      number->at(chip) = number->at(chip) / 2 + 0.25;
  chip.array.rows = 17;
  const chip::Chip cut = without_costs(chip);
  CHECK(cut.array.rows == 17);
  CHECK(cut.array.settle_ns == defaults.array.settle_ns);
  CHECK(cut.noise.time_s == chip.noise.time_s);
  for (const chip::Key& key : chip::key_table())
    if (key.name.starts_with("noise.")) CHECK(chip::written(cut, key) == chip::written(chip, key));
}

}  // namespace danaus::explore
