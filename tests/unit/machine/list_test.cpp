// Rules of list scheduling, each against a time worked out by hand. Constants of ibm-3dcim: a tile's product 100 ns, a
// message 10, an add 10, ReLU 1, a norm 50, attention 2.

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/machine/list/list_machine.h"
#include "danaus/machine/list/tiers.h"

using namespace danaus;
using namespace danaus::machine;

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

chip::Chip chip_with(Settings more) {
  Settings settings = {{"digital.units", "0"}, {"attention.units", "0"}};
  settings.insert(settings.end(), more.begin(), more.end());
  const Result<chip::Chip> chip = chip::load("ibm-3dcim", settings);
  REQUIRE(chip);
  return *chip;
}

list::Transformer encoder(std::uint32_t hidden, std::uint32_t layers = 1) {
  return {.decoder = false, .layers = layers, .hidden = hidden, .ffn = 4 * hidden, .gelu = false};
}

std::int64_t nanoseconds(const list::Transformer& transformer, const list::Work& work, Settings settings = {}) {
  const Result<list::Schedule> schedule = list::schedule(transformer, work, chip_with(std::move(settings)));
  REQUIRE(schedule);
  CHECK(schedule->path.total() == schedule->total);
  CHECK(schedule->path.wait >= 0);
  CHECK(schedule->total % 1000 == 0);
  return schedule->total / 1000;
}

}  // namespace

TEST_CASE("one token meets the closed formula where nothing is short") {
  for (const std::uint32_t hidden : {1u, 256u, 257u, 512u, 1024u}) {
    for (const std::uint32_t layers : {1u, 2u, 5u}) {
      CAPTURE(hidden);
      CAPTURE(layers);
      const auto stage = [](std::uint32_t in, bool from_outside) {
        return (from_outside ? 0 : 10) + 100 + 10 + static_cast<std::int64_t>((in + 255) / 256 - 1) * 10;
      };
      const std::int64_t rest = 2 + 1 + 2 * 10 + 2 * 50;  // attention, ReLU, residual adds, norms
      const std::int64_t layer = 3 * stage(hidden, false) + stage(4 * hidden, false) + rest;
      CHECK(nanoseconds(encoder(hidden, layers), list::one_pass(1, 1)) == layers * layer - 10);
    }
  }
}

TEST_CASE("a tile takes the next token when it is free, not before") {
  // Query, key and value of n tokens, then the other stages one behind the other: each tile works n times 100 ns.
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 1)) == 623);
  CHECK(nanoseconds(encoder(256), list::one_pass(2, 1)) == 623 + 2 * 100);
  CHECK(nanoseconds(encoder(256), list::one_pass(5, 1)) == 623 + 8 * 100);
  // A sequence that comes second is one product behind everywhere.
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 2)) == 623 + 100);
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 4)) == 623 + 3 * 100);
}

TEST_CASE("without one tier at a time a tile takes all that is ready, and nothing while it works") {
  const Settings all = {{"chip.one_tier_at_a_time", "false"}};
  CHECK(nanoseconds(encoder(256), list::one_pass(5, 1), all) == 623);
  CHECK(nanoseconds(encoder(256), list::one_pass(3, 4), all) == 623);
}

TEST_CASE("tiers of one tile work one after the other") {
  // All 12 parts of the model in one tile: query, key, value in turn, then 1 + 4 + 4 products. Four at a time leave
  // their messages and activations in the shadow of the products, the chain of adds runs behind the last one.
  const Settings one_tile = {{"chip.arrays", "1"}, {"chip.tiers", "12"}};
  const std::int64_t attention = 300 + 10 + 2, output = 10 + 100 + 10 + 10 + 50, up = 10 + 400 + 10 + 1,
                     down = 10 + 400 + 10 + 10 + 10 + 50;
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 1), one_tile) == attention + output + up + down);
}

TEST_CASE("adds wait for a digital unit") {
  // Hidden 512, two row parts and two columns: 6, 2, 8 adds at once, then two chains of 7.
  const std::int64_t free_ns = nanoseconds(encoder(512), list::one_pass(1, 1));
  CHECK(nanoseconds(encoder(512), list::one_pass(1, 1), {{"digital.units", "8"}}) == free_ns);
  CHECK(nanoseconds(encoder(512), list::one_pass(1, 1), {{"digital.units", "7"}}) == free_ns + 10);
  CHECK(nanoseconds(encoder(512), list::one_pass(1, 1), {{"digital.units", "2"}}) == free_ns + 20 + 0 + 30 + 0);
  CHECK(nanoseconds(encoder(512), list::one_pass(1, 1), {{"digital.units", "1"}}) == free_ns + 50 + 10 + 70 + 70);
}

TEST_CASE("the attention of a sequence waits for its last token and for a unit") {
  const Settings slow = {{"attention.softmax_ns", "1000"}};
  // Results of query, key and value at 110 and 210, 511 ns after the attention.
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 2), slow) == 210 + 1000 + 511);
  Settings one_unit = slow;
  one_unit.emplace_back("attention.units", "1");
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 2), one_unit) == 110 + 2 * 1000 + 511);
  // One attention for both tokens; the second token is a product behind after it.
  CHECK(nanoseconds(encoder(256), list::one_pass(2, 1), one_unit) == 210 + 1000 + 511 + 100);
}

TEST_CASE("a token is chosen before the next pass begins") {
  const list::Transformer decoder{
      .decoder = true, .layers = 1, .hidden = 256, .ffn = 1024, .gelu = false, .vocab = 256, .context = 16};
  // Embedding, add; query, key, value, attention; output, add, norm; up, ReLU; down, adds, add; norm, head, sampling.
  const std::int64_t pass = 100 + 10 + 10 + 120 + 2 + 120 + 10 + 50 + 120 + 1 + 120 + 30 + 10 + 50 + 10 + 100 + 10 + 10;
  CHECK(nanoseconds(decoder, list::one_pass(1, 1)) == pass);
  CHECK(nanoseconds(decoder, list::generation(1, 2, true, 1)) == pass);
  // The later passes wait for a message with the token.
  CHECK(nanoseconds(decoder, list::generation(1, 5, true, 1)) == 4 * pass + 3 * 10);
  // Without a cache a pass of two tokens: three products behind in the embedding and before and after attention.
  CHECK(nanoseconds(decoder, list::generation(1, 3, false, 1)) == 2 * pass + 10 + 2 * 100);
}

TEST_CASE("passes of a generation") {
  const auto passes = [](std::uint32_t prompt, std::uint32_t total, bool kv_cache) {
    return list::generation(prompt, total, kv_cache, 1).passes;
  };
  CHECK(passes(2, 5, true) == std::vector<list::Pass>{{2, 2}, {1, 3}, {1, 4}});
  CHECK(passes(2, 5, false) == std::vector<list::Pass>{{2, 2}, {3, 3}, {4, 4}});
  CHECK(passes(4, 5, true) == std::vector<list::Pass>{{4, 4}});
}

TEST_CASE("parts go to the tile with the fewest tiers, the parts of an embedding below each other") {
  const list::Transformer decoder{
      .decoder = true, .layers = 1, .hidden = 512, .ffn = 512, .gelu = false, .vocab = 600, .context = 256};
  const Result<list::Mapping> mapping =
      list::map_weights(decoder, chip_with({{"chip.arrays", "5"}, {"chip.tiers", "64"}}));
  REQUIRE(mapping);
  // Three rows of parts by two columns on tiles 0 and 1; the positions then on the emptiest, 2 and 3.
  CHECK(mapping->embedding.tiles == std::vector<std::uint32_t>{0, 1, 0, 1, 0, 1});
  CHECK(mapping->positions.tiles == std::vector<std::uint32_t>{2, 3});
  // Tile 4 has none yet, then 2, 3 and 4 have one each; tiles 0 and 1 have three.
  CHECK(mapping->layers[0].query.tiles == std::vector<std::uint32_t>{4, 2, 3, 4});
  CHECK(mapping->layers[0].key.tiles == std::vector<std::uint32_t>{2, 3, 4, 0});
  CHECK(mapping->tiers == 6 + 2 + 6 * 4 + 2 * 3);
  // A full tile: the rest of the embedding goes elsewhere.
  const Result<list::Mapping> full = list::map_weights(decoder, chip_with({{"chip.arrays", "0"}, {"chip.tiers", "2"}}));
  REQUIRE(full);
  CHECK(full->tiles == 19);
  CHECK(full->embedding.tiles == std::vector<std::uint32_t>{0, 1, 0, 1, 2, 3});
}

TEST_CASE("a message of every kind of network") {
  // Eight messages lie on the way of a token through a layer, one less in the first.
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 1), {{"network.topology", "ideal"}}) == 623 - 7 * 10);
  CHECK(nanoseconds(encoder(256), list::one_pass(1, 1), {{"network.hop_ns", "3"}}) == 623 - 7 * 7);
}

TEST_CASE("the linear operators alone: digital units and attention take no time") {
  const Result<list::Schedule> schedule = list::schedule(encoder(1024, 2), list::one_pass(1, 1),
                                                         chip_with({{"digital.units", "4"}}), {.linear_only = true});
  REQUIRE(schedule);
  CHECK(schedule->total == 1000 * (2 * 4 * 120 - 10));
  CHECK(schedule->path.digital == 0);
}

TEST_CASE("what the simulator does not model is refused") {
  for (const auto& [key, value] : Settings{{"network.topology", "mesh"},
                                           {"digital.energy_per", "element"},
                                           {"digital.lanes", "64"},
                                           {"attention.macs_per_ns", "1"},
                                           {"chip.chips", "2"}}) {
    CAPTURE(key);
    const Result<list::Schedule> schedule =
        list::schedule(encoder(256), list::one_pass(1, 1), chip_with({{key, value}}));
    REQUIRE_FALSE(schedule);
    CHECK(schedule.error().id == "list.unsupported");
  }
}
