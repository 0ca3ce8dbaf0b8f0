// The original simulator's own results: unmodified sources, PyTorch 1.13 on a CPU, default constants, 256 x 256 tiers
// unless said. Times to the nanosecond, energies to 1e-9, peak of live bytes and operations exactly.

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/machine/list/list_machine.h"

using namespace danaus;
using namespace danaus::machine;

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

list::Transformer encoder(std::uint32_t hidden, std::uint32_t layers, bool gelu) {
  return {.decoder = false, .layers = layers, .hidden = hidden, .ffn = 4 * hidden, .gelu = gelu};
}

list::Schedule run(const list::Transformer& transformer, const list::Work& work, const Settings& settings = {}) {
  const Result<chip::Chip> chip = chip::load("ibm-3dcim", settings);
  REQUIRE(chip);
  const Result<list::Schedule> schedule = list::schedule(transformer, work, *chip);
  REQUIRE(schedule);
  CHECK(schedule->path.total() == schedule->total);
  return *schedule;
}

void check(const list::Schedule& schedule, std::int64_t ns, double nj, std::uint64_t peak_bytes, double flops = 0) {
  CHECK(schedule.total == ns * 1000);
  CHECK(schedule.energy.total() / 1000 == doctest::Approx(nj).epsilon(1e-9));
  CHECK(schedule.peak_bytes == peak_bytes);
  if (flops != 0) CHECK(schedule.flops == flops);
}

}  // namespace

TEST_CASE("encoders take the time and energy of the original") {
  SUBCASE("one layer, one token") {
    check(run(encoder(256, 1, false), list::one_pass(1, 1)), 623, 3317.43008, 1280, 1578244);
  }
  SUBCASE("adds wait for the four digital units") {
    check(run(encoder(1024, 1, false), list::one_pass(1, 1)), 983, 8453.88128, 17408, 25187332);
  }
  SUBCASE("they do not wait for 64") {
    check(run(encoder(1024, 1, true), list::one_pass(1, 1), {{"digital.units", "64"}}), 842, 58268.88128, 17408,
          25207812);
  }
  SUBCASE("two layers, four tokens") {
    check(run(encoder(256, 2, false), list::one_pass(4, 1)), 2156, 12387.6864, 4096);
  }
  SUBCASE("eight tokens") {
    check(run(encoder(1024, 1, false), list::one_pass(8, 1)), 3846, 47527.05024, 61184, 201728249);
  }
  SUBCASE("two layers, eight tokens, GELU") {
    check(run(encoder(1024, 2, true), list::one_pass(8, 1)), 7894, 96071.9648, 68352);
  }
  SUBCASE("without communication") {
    check(run(encoder(1024, 2, true), list::one_pass(8, 1), {{"network.topology", "ideal"}}), 7854, 95754, 61440);
  }
  SUBCASE("four tiers share a tile") {
    check(run(encoder(1024, 2, true), list::one_pass(8, 1),
              {{"digital.units", "64"}, {"chip.arrays", "96"}, {"chip.tiers", "4"}}),
          5094, 387711.9648, 63488);
  }
  SUBCASE("BERT-base of the original's own test") {
    check(run(encoder(768, 12, false), list::one_pass(32, 1),
              {{"array.rows", "512"},
               {"array.cols", "512"},
               {"chip.arrays", "500"},
               {"digital.units", "288"},
               {"attention.units", "96"},
               {"array.settle_ns", "40"}}),
          21426, 8493810.56256, 124416, 5480693388);
  }
}

TEST_CASE("decoders take the time and energy of the original") {
  const list::Transformer decoder{
      .decoder = true, .layers = 3, .hidden = 512, .ffn = 2048, .gelu = false, .vocab = 1024, .context = 12};
  const Settings settings{{"array.rows", "512"}, {"array.cols", "512"}, {"chip.arrays", "100"}, {"chip.tiers", "1024"}};
  SUBCASE("to four tokens") {
    check(run(decoder, list::generation(1, 4, false, 1), settings), 7667, 42121.51392, 6144);
  }
  SUBCASE("to twelve tokens: the example of the original's README") {
    check(run(decoder, list::generation(1, 12, false, 1), settings), 45739, 269552.35936, 22528, 1295718083);
  }
}
