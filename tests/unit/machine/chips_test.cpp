// Several chips and passes, on programs of a few commands: times, counts and energies worked out by hand.

#include <algorithm>

#include "machine_test.h"

namespace danaus::machine {
namespace {

// Three chips of four arrays: two tiles each, numbered 0 1 | 2 3 | 4 5, the link at the first. A message of 16 elements
// has 16 * 8 + 32 = 160 bits: 3 ns on a mesh link of 64 bits, 2 ns a hop, 2 ns on a link of 80 Gbit/s.
const Settings kThreeChips = {{"chip.chips", "3"},
                              {"chip.arrays", "4"},
                              {"chip.link_gbps", "80"},
                              {"chip.link_latency_ns", "20"},
                              {"chip.link_energy_pj_per_bit", "3"}};

chip::Chip three_chips(Settings more = {}) {
  Settings settings = kThreeChips;
  settings.insert(settings.end(), more.begin(), more.end());
  return moves_chip(settings);
}

program::Program on_chips(const std::string& commands, std::uint32_t chips, std::uint32_t each,
                          std::uint32_t arrays = 12) {
  program::Program program = code("", arrays);
  program.groups = {{{TileId{0}, TileId{1}}}, {{TileId{1}, TileId{3}, TileId{5}}}, {{TileId{2}, TileId{3}}}};
  program.chip.chips = chips;
  program.chip.arrays_per_chip = each;
  program::Program text =
      parse_good(program::to_text(program).substr(0, program::to_text(program).find("halt")) + commands + "halt\n");
  return text;
}

using Schedule = std::vector<std::pair<Picoseconds, Picoseconds>>;
Schedule schedule(const std::string& commands, const chip::Chip& chip) {
  Schedule result;
  for (const Event& event : events_of(on_chips(commands, 3, 4), chip))
    result.emplace_back(event.start / kNs, event.end / kNs);
  return result;
}

}  // namespace

TEST_CASE("tiles of several chips, the last of a chip with fewer arrays") {
  const program::ChipShape shape{.rows = 8,
                                 .cols = 8,
                                 .adcs = 2,
                                 .arrays = 12,
                                 .arrays_per_tile = 2,
                                 .buffer = 1,
                                 .chips = 2,
                                 .arrays_per_chip = 5};
  CHECK(shape.tiles_per_chip() == 3);
  // Arrays 0 1 | 2 3 | 4 on the first chip, 5 6 | 7 8 | 9 on the second, 10 11 in the next pass on the first.
  const std::uint32_t tiles[] = {0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6};
  for (std::uint32_t array = 0; array < 12; ++array) {
    CHECK(index(shape.tile_of(ArrayId{array})) == tiles[array]);
    CHECK(shape.chip_of(TileId{tiles[array]}) == (array >= 5 && array < 10 ? 1 : 0));
    CHECK(shape.pass_of(ArrayId{array}) == array / 10);
  }
  CHECK(shape.tiles() == 7);
  CHECK(shape.passes() == 2);
}

TEST_CASE("a message crosses its mesh, the link and the mesh beyond") {
  // One hop and 3 ns to the link, 2 ns on it, 20 ns of latency, one hop and 3 ns.
  const Timing timing = simulate_good(on_chips("move t1 0+16 -> t3 0\n", 3, 4), three_chips());
  CHECK(timing.total == 32 * kNs);
  CHECK(timing.critical_path == Breakdown{.network = 10 * kNs, .link = 22 * kNs});
  CHECK(timing.counts.messages == 1);
  CHECK(timing.counts.message_bits == 160);
  CHECK(timing.counts.bit_hops == 2 * 160);
  CHECK(timing.counts.link_messages == 1);
  CHECK(timing.counts.link_bits == 160);
  CHECK(timing.energy.link == 160 * 3);
  CHECK(timing.busiest_link == 2 * kNs);
  // From the tile of one link to that of another.
  CHECK(schedule("move t0 0+16 -> t4 0\n", three_chips()) == Schedule{{0, 22}});
  // Within a chip the link takes no part; linear_only keeps it.
  CHECK(schedule("move t2 0+16 -> t3 0\n", three_chips()) == Schedule{{0, 5}});
  CHECK(simulate_good(on_chips("move t1 0+16 -> t3 0\n", 3, 4), three_chips(), {.linear_only = true, .trace = {}})
            .total == 32 * kNs);
  // Infinitely fast links and an ideal network.
  CHECK(schedule("move t1 0+16 -> t3 0\n", three_chips({{"chip.link_gbps", "0"}, {"chip.link_latency_ns", "0"}})) ==
        Schedule{{0, 10}});
  CHECK(schedule("move t1 0+16 -> t3 0\n", three_chips({{"network.topology", "ideal"}})) == Schedule{{0, 22}});
}

TEST_CASE("a link takes one message at a time, while the port of the tile is free again") {
  const chip::Chip chip = three_chips({{"chip.link_gbps", "16"}});  // 10 ns for a message
  CHECK(schedule("move t0 0+16 -> t2 0\n"                           // on the link from 0 to 10
                 "move t1 0+16 -> t2 40\n"                          // at the link at 5, on it from 10 to 20
                 "move t1 20+16 -> t0 80\n"                         // the port of tile 1 is free at 5
                 "move t2 200+16 -> t0 120\n"                       // the link of the other chip
                 ,
                 chip) == Schedule{{0, 30}, {0, 40}, {5, 10}, {0, 30}});
  // The oldest that is there goes first: the second comes from farther away but before the third.
  CHECK(schedule("move t0 0+32 -> t2 0\n"    // 288 bits: 18 ns
                 "move t1 0+16 -> t2 40\n"   // there at 5
                 "move t0 40+16 -> t2 80\n"  // there at 0
                 ,
                 chip) == Schedule{{0, 38}, {0, 48}, {0, 58}});
}

TEST_CASE("a multicast takes the link once per other chip") {
  // Group 1 is tiles 1, 3 and 5, one on each chip: its own after a hop, the others after two turns on the link.
  const Timing timing = simulate_good(on_chips("move t0 0+16 -> g1 0\n", 3, 4), three_chips());
  CHECK(timing.total == (5 + 2 * 2 + 20 + 5) * kNs);
  CHECK(timing.counts.messages == 1);
  CHECK(timing.counts.link_messages == 2);
  CHECK(timing.counts.link_bits == 2 * 160);
  CHECK(timing.counts.bit_hops == 3 * 160);
  CHECK(timing.busiest_link == 4 * kNs);
  // To both tiles of another chip: once.
  const Timing pair = simulate_good(on_chips("move t0 0+16 -> g2 0\n", 3, 4), three_chips());
  CHECK(pair.total == (0 + 2 + 20 + 5) * kNs);
  CHECK(pair.counts.link_bits == 160);
  // Dealt out: a message of 8 elements (96 bits: 2 ns on the mesh, 1.2 ns on the link) each to tiles 2 and 3.
  const Timing dealt = simulate_good(on_chips("move t1 0+8x2^8 -> g2 0 deal\n", 3, 4), three_chips());
  CHECK(dealt.total == (4 + 2) * kNs + 2400 + (20 + 4) * kNs);
  CHECK(dealt.counts.messages == 2);
  CHECK(dealt.counts.link_bits == 2 * 96);
  CHECK(dealt.counts.bit_hops == (1 + 2) * 96);
}

TEST_CASE("the way into a chip is never waited for, and its load is reported") {
  // Tiles 0 and 4 send to chip 1 at the same time.
  const std::string commands = "move t0 0+16 -> t2 0\nmove t4 0+16 -> t2 40\n";
  CHECK(schedule(commands, three_chips()) == Schedule{{0, 22}, {0, 22}});
  CHECK(simulate_good(on_chips(commands, 3, 4), three_chips()).busiest_link == 4 * kNs);
  // Iterations count.
  CHECK(simulate_good(on_chips("rep 3\n" + commands + "end\n", 3, 4), three_chips()).busiest_link == 12 * kNs);
}

TEST_CASE("pools of a chip: every chip has its own") {
  const std::string vectors = "vec t0 relu n2 0 -> 30 k0\nvec t1 relu n2 0 -> 30 k0\nvec t2 relu n2 0 -> 30 k0\n";
  CHECK(schedule(vectors, three_chips({{"digital.location", "hub"}})) == Schedule{{0, 5}, {5, 10}, {0, 5}});
  // KV regions 0 and 1 are on tiles 0 and 1; region 1 moves to the second chip.
  const std::string contexts = "attend kv0 context 0 -> 10\nattend kv1 context 0 -> 10\n";
  program::Program program = on_chips(contexts, 3, 4);
  const chip::Chip chip = three_chips({{"attention.units", "1"}});
  CHECK(simulate_good(program, chip).total == 16 * kNs);
  program.kv[1].tile = TileId{2};
  CHECK(simulate_good(program, chip).total == 8 * kNs);
}

TEST_CASE("all chips draw passive power, idle ones too") {
  const chip::Chip chip =
      three_chips({{"chip.passive_mw_per_array", "1"}, {"digital.passive_mw", "10"}, {"digital.units", "2"}});
  // 12 arrays and 3 chips of 2 tiles with 2 units each, 5 ns, 1 mW = 1 pJ per ns.
  const program::Program program = on_chips("vec t0 relu n2 0 -> 30 k0\n", 3, 4, 1 + 3);
  program::Program few = program;
  few.kv.clear();
  CHECK(simulate_good(few, chip).energy.passive == doctest::Approx((12 * 1 + 6 * 2 * 10) * 5));
}

TEST_CASE("passes share arrays, tiles and ports; writing them is added") {
  // One chip of 4 arrays, a program of 12: arrays 0, 4 and 8 are the same cells, tiles 0, 2 and 4 the same tile.
  const Settings one_chip = {{"chip.arrays", "4"},
                             {"program.iterations", "10"},
                             {"program.pulse_ns", "3"},
                             {"program.verify_ns", "2"},
                             {"program.energy_pj", "7"},
                             {"array.devices_per_weight", "2"},
                             {"program.arrays_at_a_time", "1"},
                             {"chip.link_gbps", "80"},
                             {"chip.passive_mw_per_array", "1"}};
  const chip::Chip chip = moves_chip(one_chip);
  const auto patch = [](std::uint32_t array, std::uint16_t rows) {
    return program::Patch{.array = ArrayId{array}, .rows = rows, .columns = 4};
  };
  const auto in_passes = [&](const std::string& commands) {
    program::Program program = on_chips(commands, 1, 4);
    program.patches = {patch(0, 8), patch(1, 2), patch(4, 4), patch(8, 1)};
    return program;
  };
  const std::string three =
      "mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
      "mvm a4 r0+2 c0+2 0 -> 10 set k0\n"
      "mvm a8 r0+2 c0+2 0 -> 10 set k0\n"
      "move t0 60+16 -> t2 60\n";
  // A pass of n arrays on the chip takes n * 8 rows * 10 * 5 ns = n * 400 ns, a weight 2 * 10 * 7 pJ.
  const Timing once = simulate_good(in_passes(three), chip);
  CHECK(once.reload ==
        Reload{.passes = 3, .writes = 3, .time = (2 + 1 + 1) * 400 * kNs, .energy_pj = (40 + 16 + 4) * 140});
  CHECK(once.total == (33 + 1600) * kNs);  // the three activations use one array
  CHECK(once.critical_path.reload == 1600 * kNs);
  CHECK(once.energy.reload == 60 * 140);
  CHECK(once.energy.passive == doctest::Approx(4 * 1633));
  CHECK(once.counts.link_bits == 0);
  CHECK(once.counts.bit_hops == 0);
  // Four tokens one after the other write all passes every time; pipelined, they go through each pass together.
  CHECK(simulate_good(in_passes("rep 4 serial\n" + three + "end\n"), chip).reload.writes == 12);
  CHECK(simulate_good(in_passes("rep 4\n" + three + "end\n"), chip).reload.writes == 3);
  CHECK(simulate_good(in_passes("rep 4 serial\n" + three + "end\n"), chip).reload.time == 4 * 1600 * kNs);
  // Going back and forth is counted: 0 1 0 1 in a loop, then 2.
  const std::string back = "mvm a0 r0+2 c0+2 0 -> 10 set k0\nmvm a4 r0+2 c0+2 0 -> 10 set k0\n";
  CHECK(simulate_good(in_passes("rep 4 serial\n" + back + back + "end\nmvm a8 r0+2 c0+2 0 -> 10 set k0\n"), chip)
            .reload.writes == 4 * 4 - 1 + 1 + 1);
  CHECK(simulate_good(in_passes("rep 4\n" + back + back + "end\nmvm a8 r0+2 c0+2 0 -> 10 set k0\n"), chip)
            .reload.writes == 3 + 1 + 1);
  // A program that stays in one of its passes writes nothing.
  CHECK(simulate_good(in_passes("mvm a8 r0+2 c0+2 0 -> 10 set k0\n"), chip).reload.writes == 0);
  // 1e9 iterations * 8 rows * 2 s: too long.
  CHECK(simulate(
            in_passes(three),
            moves_chip({{"chip.arrays", "4"}, {"program.iterations", "1000000"}, {"program.pulse_ns", "1000000000"}}))
            .error()
            .id == "machine.too-long");
}

TEST_CASE("the chips of the program and those of the chip file must be the same") {
  const std::string commands = "vec t0 relu n2 0 -> 30 k0\n";
  const auto shape_error = [&](const program::Program& program, const chip::Chip& chip) {
    const Result<Timing> timing = simulate(program, chip);
    REQUIRE_FALSE(timing.has_value());
    CHECK(timing.error().id == "machine.shape");
    return timing.error().message;
  };
  CHECK(shape_error(on_chips(commands, 2, 4), three_chips()) ==
        "the program is dealt to 2 chips of 4 arrays; 'unit' is 3 of 4");
  shape_error(on_chips(commands, 3, 5), three_chips());
  shape_error(on_chips(commands, 3, 4), moves_chip());
  CHECK(shape_error(code(commands), three_chips()) == "the program is for one chip, 'unit' is 3");
  program::Program broken = on_chips(commands, 3, 4);
  broken.chip.chips = 0;
  shape_error(broken, three_chips());
}

}  // namespace danaus::machine
