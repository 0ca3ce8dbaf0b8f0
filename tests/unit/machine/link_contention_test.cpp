// Messages that take the links of their ways, on a mesh of 4 by 4 tiles: the schedules are worked out by hand. And the
// ways themselves against walking them step by step.

#include <algorithm>
#include <random>
#include <set>

#include "danaus/machine/mesh.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

using Schedule = std::vector<std::pair<Picoseconds, Picoseconds>>;

// A message of 16 elements has 160 bits: 2 ns per hop and 3 ns.
chip::Chip links_chip(Settings more = {}) {
  Settings settings = {{"network.contention", "links"}};
  settings.insert(settings.end(), more.begin(), more.end());
  return moves_chip(settings);
}

// Tile n is at column n % 4 and row n / 4. Group 0 is tiles 3 and 12, two corners; group 1 tiles 1 and 3.
program::Program on_mesh(const std::string& commands) {
  program::Program program = code("", 32);
  program.groups = {{{TileId{3}, TileId{12}}}, {{TileId{1}, TileId{3}}}};
  const std::string text = program::to_text(program);
  return parse_good(text.substr(0, text.find("halt")) + commands + "halt\n");
}

// Start and end in ns. Timing the dependences alone gives the same.
Schedule schedule(const program::Program& program, const chip::Chip& chip = links_chip()) {
  Schedule result;
  for (const Event& event : events_of(program, chip)) result.emplace_back(event.start / kNs, event.end / kNs);
  simulate_good(program, chip);
  return result;
}
Schedule schedule(const std::string& commands) { return schedule(on_mesh(commands)); }

}  // namespace

TEST_CASE("messages with a common link go one after the other") {
  const std::string commands =
      "move t0 0+16 -> t2 0\n"    // 0 > 1 > 2
      "move t1 0+16 -> t3 20\n";  // 1 > 2 > 3
  CHECK(schedule(commands) == Schedule{{0, 7}, {7, 14}});
  const Timing timing = simulate_good(on_mesh(commands), links_chip());
  CHECK(timing.critical_path == Breakdown{.network = 14 * kNs});
  CHECK(timing.busiest_mesh_link == 14 * kNs);  // 1 > 2
  CHECK(schedule(on_mesh(commands), moves_chip()) == Schedule{{0, 7}, {0, 7}});
  CHECK(simulate_good(on_mesh(commands), moves_chip()).busiest_mesh_link == 0);
  CHECK(simulate_good(on_mesh(commands), links_chip(), {.linear_only = true, .trace = {}}).total == 14 * kNs);
  // Every iteration takes its links anew.
  CHECK(simulate_good(on_mesh("rep 3 b1+50\nmove t0 0+16 -> t2 0@1\nmove t1 0+16 -> t3 20@1\nend\n"), links_chip())
            .busiest_mesh_link == 42 * kNs);
}

// 160 bits leave in 3 ns and arrive 2 ns per hop later.
TEST_CASE("with wormhole switching what a message takes is free when it has left") {
  const std::string commands =
      "move t0 0+16 -> t2 0\n"     // 0 > 1 > 2
      "move t0 0+16 -> t4 20\n"    // down: the same port
      "move t1 0+16 -> t3 40\n"    // 1 > 2 > 3
      "move t3 40+16 -> t7 60\n";  // reads what the one before brings
  const Settings wormhole = {{"network.switching", "wormhole"}};
  CHECK(schedule(on_mesh(commands), moves_chip(wormhole)) == Schedule{{0, 7}, {3, 8}, {0, 7}, {7, 12}});
  CHECK(schedule(on_mesh(commands), links_chip(wormhole)) == Schedule{{0, 7}, {3, 8}, {3, 10}, {10, 15}});
  CHECK(simulate_good(on_mesh(commands), links_chip(wormhole)).busiest_mesh_link == 6 * kNs);  // 1 > 2
  CHECK(simulate_good(on_mesh(commands), links_chip(wormhole)).critical_path == Breakdown{.network = 15 * kNs});
  // Circuit switching: until it has arrived.
  CHECK(schedule(on_mesh(commands), moves_chip()) == Schedule{{0, 7}, {7, 12}, {0, 7}, {7, 12}});
}

TEST_CASE("messages without a common link do not wait for each other") {
  CHECK(schedule("move t0 0+16 -> t1 0\n"
                 "move t2 0+16 -> t3 0\n"
                 "move t4 0+16 -> t7 0\n") == Schedule{{0, 5}, {0, 5}, {0, 9}});
  // Both directions of a way.
  CHECK(schedule("move t0 0+16 -> t3 0\n"
                 "move t3 20+16 -> t0 20\n"
                 "move t0 40+16 -> t3 40\n") == Schedule{{0, 9}, {0, 9}, {9, 18}});
  CHECK(schedule("move t1 0+16 -> t13 0\n"
                 "move t13 20+16 -> t1 20\n") == Schedule{{0, 9}, {0, 9}});
  // Along the row first: 0 > 1 > 5 and 4 > 5 > 1; then 1 > 5 > 9, which shares with the first.
  CHECK(schedule("move t0 0+16 -> t5 0\n"
                 "move t4 0+16 -> t1 20\n"
                 "move t1 40+16 -> t9 0\n") == Schedule{{0, 7}, {0, 7}, {7, 14}});
  // Ways that cross in a router.
  CHECK(schedule("move t4 0+16 -> t7 0\n"
                 "move t2 0+16 -> t14 0\n") == Schedule{{0, 9}, {0, 9}});
}

TEST_CASE("a tile sends one message at a time in whatever direction") {
  CHECK(schedule("move t5 0+16 -> t6 0\n"
                 "move t5 20+16 -> t4 0\n"
                 "move t5 40+16 -> t1 0\n") == Schedule{{0, 5}, {5, 10}, {10, 15}});
  // Nothing within a tile.
  CHECK(schedule("move t5 0+16 -> t6 0\n"
                 "move t5 20+16 -> t5 40\n") == Schedule{{0, 5}, {0, 0}});
}

TEST_CASE("a multicast takes all links of its tree, each once, for as long as the farthest member takes") {
  // 0 > 1 > 2 > 3 and 0 > 4 > 8 > 12.
  CHECK(schedule("move t0 0+16 -> g0 0\n"
                 "move t1 20+16 -> t2 20\n"
                 "move t8 20+16 -> t12 20\n"
                 "move t12 40+16 -> t8 40\n"
                 "move t5 20+16 -> t6 20\n") == Schedule{{0, 9}, {9, 14}, {9, 14}, {0, 5}, {0, 5}});
  CHECK(simulate_good(on_mesh("move t0 0+16 -> g0 0\n"), links_chip()).busiest_mesh_link == 9 * kNs);
  // Two trees with one common link, 1 > 2.
  CHECK(schedule("move t1 0+16 -> g0 0\n"
                 "move t0 0+16 -> g1 20\n") == Schedule{{0, 11}, {11, 20}});
}

TEST_CASE("a deal takes the links of all its messages until the last has arrived") {
  // Messages of 96 bits, 2 ns: the second leaves at 2 and takes three hops.
  CHECK(schedule("move t0 0+8x2^8 -> g1 0 deal\n"
                 "move t0 20+16 -> t4 0\n"
                 "move t1 20+16 -> t2 20\n"
                 "move t2 40+16 -> t1 40\n") == Schedule{{0, 10}, {10, 15}, {10, 15}, {0, 5}});
  CHECK(simulate_good(on_mesh("move t0 0+8x2^8 -> g1 0 deal\n"), links_chip()).busiest_mesh_link == 10 * kNs);
}

TEST_CASE("a message that waits holds nothing") {
  // The second waits for 2 > 3; the third, younger, takes 1 > 2 meanwhile, and the fourth the port of tile 1.
  CHECK(schedule("move t2 0+16 -> t3 0\n"
                 "move t1 0+16 -> t3 20\n"
                 "move t0 0+16 -> t2 40\n"
                 "move t1 20+16 -> t5 0\n") == Schedule{{0, 5}, {7, 14}, {0, 7}, {0, 5}});
}

TEST_CASE("of those whose links are free the oldest goes first; the others may pass it") {
  // All at 5.
  CHECK(schedule("move t1 0+16 -> t2 0\n"
                 "move t2 100+16 -> t3 0\n"
                 "move t0 0+16 -> t3 20\n"
                 "move t1 20+16 -> t2 40\n") == Schedule{{0, 5}, {0, 5}, {5, 14}, {14, 19}});
  // Of 48 elements, 9 ns: there is always one that takes a part of the third one's way.
  CHECK(schedule("move t1 0+16 -> t2 0\n"
                 "move t2 100+48 -> t3 100\n"
                 "move t0 0+16 -> t3 20\n"
                 "move t1 20+48 -> t2 200\n"
                 "move t2 150+48 -> t3 200\n") == Schedule{{0, 5}, {0, 9}, {18, 27}, {5, 14}, {9, 18}});
  // The second and third wait for the same link.
  CHECK(schedule("move t0 0+16 -> t2 0\n"
                 "move t1 0+16 -> t2 20\n"
                 "move t0 20+16 -> t2 40\n") == Schedule{{0, 7}, {7, 12}, {12, 19}});
}

TEST_CASE("where messages take no time or there is no mesh links are not taken") {
  const program::Program program = on_mesh("move t0 0+16 -> t2 0\nmove t1 0+16 -> t3 20\n");
  CHECK(schedule(program, links_chip({{"network.hop_ns", "0"}, {"network.clock_ns", "0"}})) ==
        Schedule{{0, 0}, {0, 0}});
  CHECK(schedule(program, links_chip({{"network.topology", "ideal"}})) == Schedule{{0, 0}, {0, 0}});
  CHECK(schedule(program, links_chip({{"network.topology", "flat"}})) == Schedule{{0, 2}, {0, 2}});
}

TEST_CASE("a message to another chip takes links on its mesh, the link between the chips, links beyond") {
  // Chips of 2 by 2 tiles, 80 bits per ns and 20 ns between them.
  const chip::Chip chip =
      links_chip({{"chip.chips", "3"}, {"chip.arrays", "8"}, {"chip.link_gbps", "80"}, {"chip.link_latency_ns", "20"}});
  program::Program shape = code("", 24);
  shape.chip.chips = 3;
  shape.chip.arrays_per_chip = 8;
  const std::string text = program::to_text(shape);
  const auto on_chips = [&](const std::string& commands) {
    return parse_good(text.substr(0, text.find("halt")) + commands + "halt\n");
  };
  // Two hops and 3 ns to the gate, 2 ns on the link, 20 ns, a hop and 3 ns.
  CHECK(schedule(on_chips("move t3 0+16 -> t5 0\n"), chip) == Schedule{{0, 7 + 2 + 20 + 5}});
  CHECK(simulate_good(on_chips("move t3 0+16 -> t5 0\n"), chip).critical_path ==
        Breakdown{.network = 12 * kNs, .link = 22 * kNs});
  // On their own mesh: 3 > 2 > 0 and 2 > 0. The first has left it when it is on the link.
  CHECK(schedule(on_chips("move t3 0+16 -> t4 0\n"
                          "move t2 0+16 -> t0 0\n"),
                 chip) == Schedule{{0, 29}, {7, 12}});
  // On the mesh beyond, from different chips: 4 > 5.
  CHECK(schedule(on_chips("move t0 0+16 -> t5 0\n"
                          "move t8 0+16 -> t5 20\n"),
                 chip) == Schedule{{0, 27}, {0, 32}});
  // The same places on different chips.
  CHECK(schedule(on_chips("move t0 0+16 -> t1 0\n"
                          "move t4 0+16 -> t5 20\n"),
                 chip) == Schedule{{0, 5}, {0, 5}});
  // In passes tiles 0 and 4 are one tile, and so are their links.
  const chip::Chip one = links_chip({{"chip.arrays", "8"}});
  program::Program passes = on_chips("move t0 0+16 -> t1 0\nmove t4 0+16 -> t5 20\n");
  passes.chip.chips = 1;
  CHECK(schedule(passes, one) == Schedule{{0, 5}, {5, 10}});
}

TEST_CASE("with links of their own messages take the time that they take with ports alone") {
  std::mt19937 random(8);
  const auto number = [&](std::uint32_t most) { return std::uniform_int_distribution<std::uint32_t>(0, most)(random); };
  const auto text = [](std::uint32_t n) { return std::to_string(n); };
  for (int round = 0; round < 50; ++round) {
    std::string commands;
    for (int message = 0; message < 30; ++message) {  // between tile 2n and tile 2n + 1
      const std::uint32_t from = number(15);
      commands += "move t" + text(from) + " " + text(number(300)) + "+" + text(1 + number(60)) + " -> t" +
                  text(from ^ 1u) + " " + text(number(300)) + "\n";
    }
    CAPTURE(commands);
    Timing links = simulate_good(on_mesh(commands), links_chip());
    CHECK(links.busiest_mesh_link > 0);
    CHECK(links.busiest_mesh_link <= links.total);
    links.busiest_mesh_link = 0;
    CHECK(links == simulate_good(on_mesh(commands), moves_chip()));
  }
}

TEST_CASE("the tree of a message is what walking along its row and then its columns takes") {
  std::mt19937 random(9);
  const auto number = [&](std::uint32_t least, std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(least, most)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    const std::uint32_t side = number(1, 9), all = side * side;
    const Mesh mesh(side);
    const std::uint32_t source = number(0, all - 1);
    std::vector<std::uint32_t> stops(number(1, 12));
    for (std::uint32_t& stop : stops) stop = number(0, all - 1);
    std::set<std::uint32_t> expected;
    for (const std::uint32_t stop : stops) {
      std::uint32_t x = source % side, y = source / side;
      while (x < stop % side) expected.insert(all + y * side + x++);
      while (x > stop % side) expected.insert(2 * all + y * side + x--);
      while (y < stop / side) expected.insert(3 * all + x * side + y++);
      while (y > stop / side) expected.insert(4 * all + x * side + y--);
    }
    std::vector<std::uint32_t> links;
    for (const LinkRange& range : mesh.tree(source, stops)) {
      CHECK(range.count > 0);
      for (std::uint32_t n = 0; n < range.count; ++n) links.push_back(range.first + n);
    }
    std::sort(links.begin(), links.end());
    CHECK(links == std::vector<std::uint32_t>(expected.begin(), expected.end()));
    CHECK(mesh.links() == 5 * all);
    CHECK(std::none_of(links.begin(), links.end(), [&](std::uint32_t link) { return mesh.is_port(link); }));
    CHECK(mesh.is_port(mesh.port(source)));
  }
}

TEST_CASE("links are kept for meshes of a size that a machine can hold") {
  const auto error_of = [](const program::Program& program) {
    const Result<Timing> timing = simulate(program, links_chip());
    REQUIRE_FALSE(timing.has_value());
    CHECK(timing.error().id == "machine.too-large");
    CHECK(timing.error().hint == "set network.contention = \"port\"");
    return timing.error().message;
  };
  program::Program large = code("move t0 0+16 -> t1 0\n");
  large.chip.arrays = 1u << 24;
  CHECK(error_of(large) == "the meshes have 41963045 links and ports, at most 16777216 are kept");
  CHECK(simulate(large, moves_chip()).has_value());
  // Trees of a thousand columns from more than four thousand tiles.
  std::string moves;
  for (int tile = 0; tile < 5000; ++tile) moves += "move t" + std::to_string(tile) + " 0+4 -> g0 0\n";
  program::Program many = code(moves);
  many.chip.arrays = 2'000'000;
  many.groups[0].members.clear();
  for (std::uint32_t column = 0; column < 1000; ++column) many.groups[0].members.push_back(TileId{500'000 + column});
  CHECK(error_of(many) == "the ways of messages have more than 4194304 straight parts");
}

}  // namespace danaus::machine
