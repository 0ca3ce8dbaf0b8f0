// The timing rules one by one, on programs of a few commands whose schedule is worked out by hand: each resource and
// each kind of dependence holds a command back until exactly the instant at which it is released.

#include <algorithm>

#include "danaus/machine/array_work.h"
#include "danaus/machine/plan.h"
#include "machine_test.h"

namespace danaus::machine {
namespace {

// Start and end of every command in ns, in the order of (iteration, command).
std::vector<std::pair<Picoseconds, Picoseconds>> schedule(const std::string& commands, const chip::Chip& chip,
                                                          std::uint32_t arrays = 4) {
  std::vector<std::pair<Picoseconds, Picoseconds>> result;
  for (const Event& event : events_of(code(commands, arrays), chip))
    result.emplace_back(event.start / kNs, event.end / kNs);
  return result;
}
using Schedule = std::vector<std::pair<Picoseconds, Picoseconds>>;

Picoseconds total_ns(const std::string& commands, const chip::Chip& chip, std::uint32_t arrays = 4) {
  return simulate_good(code(commands, arrays), chip).total / kNs;
}

}  // namespace

TEST_CASE("an array and its copies do so many activations at a time") {
  // Three of 11 ns: the third waits for the first two with one copy, none waits with two.
  program::Program three = code(
      "mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
      "mvm a0 r0+2 c0+2 2 -> 12 set k0\n"
      "mvm a0 r0+2 c0+2 4 -> 14 set k0\n");
  CHECK(simulate_good(three, small_chip()).total == 33 * kNs);
  three.copies = {{.array = ArrayId{1}, .of = ArrayId{0}}};
  const Timing two = simulate_good(three, small_chip());
  CHECK(two.total == 22 * kNs);
  CHECK(two.busiest_array == 33 * kNs / 2);
  CHECK(two.counts.activations == 3);
  three.copies.push_back({.array = ArrayId{2}, .of = ArrayId{0}});
  CHECK(simulate_good(three, small_chip()).total == 11 * kNs);
  // What one writes and the next reads is not done at once by any number of copies.
  program::Program chain = code(
      "mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
      "mvm a0 r0+2 c0+2 10 -> 12 set k0\n");
  chain.copies = three.copies;
  CHECK(simulate_good(chain, small_chip()).total == 22 * kNs);
  chain.copies = {{.array = ArrayId{1}, .of = ArrayId{99}}};
  CHECK(simulate(chain, small_chip()).error().id == "machine.invalid");
}

TEST_CASE("how long arrays work in an iteration of the loop that keeps them busiest") {
  const program::Program program = code(
      "mvm a2 r0+2 c0+2 0 -> 10 set k0\n"
      "rep 5\nmvm a0 r0+2 c0+2 0 -> 10 set k0\nmvm a0 r0+2 c0+4 0 -> 12 set k0\n"
      "mvm a1 r0+2 c0+2 0 -> 16 set k0\nend\n"
      "rep 9\nmvm a1 r0+2 c0+8 0 -> 16 set k0\nend\n");
  CHECK(array_work(program, small_chip()) == std::vector<Picoseconds>{23 * kNs, 14 * kNs, 11 * kNs, 0});
}

TEST_CASE("an array does one activation at a time, arrays work in parallel") {
  // 2 columns: 11 ns; 4 columns on 2 converters: 12 ns.
  CHECK(schedule("mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
                 "mvm a0 r2+2 c2+4 2 -> 20 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 30 set k0\n",
                 small_chip()) == Schedule{{0, 11}, {11, 23}, {0, 11}});
}

TEST_CASE("a free array takes the oldest ready command") {
  // The third command waits for the first's result; meanwhile the array takes the fourth, younger but ready.
  CHECK(schedule("mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+4 0 -> 20 set k0\n"
                 "mvm a1 r0+2 c0+2 10 -> 30 set k0\n"
                 "mvm a1 r2+2 c0+2 2 -> 40 set k0\n",
                 small_chip()) == Schedule{{0, 11}, {0, 12}, {12, 23}, {23, 34}});
  // Ready only 1 ns after the array became free: not preempted.
  CHECK(schedule("mvm a0 r0+2 c0+4 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 20 set k0\n"
                 "mvm a1 r0+2 c0+2 10 -> 30 set k0\n"
                 "mvm a1 r2+2 c0+2 2 -> 40 set k0\n",
                 small_chip()) == Schedule{{0, 12}, {0, 11}, {22, 33}, {11, 22}});
}

TEST_CASE("RAW, WAR and WAW hold at single elements and are released at completion") {
  const chip::Chip chip = small_chip();
  const std::string first = "mvm a0 r0+4 c0+4 0 -> 10 set k0\n";  // reads 0-3, writes 10-13, ends at 12
  const auto second_start = [&](const std::string& second) { return schedule(first + second, chip)[1].first; };
  CHECK(second_start("mvm a1 r0+2 c0+2 13 -> 20 set k0\n") == 12);  // RAW on the last element
  CHECK(second_start("mvm a1 r0+2 c0+2 14 -> 20 set k0\n") == 0);   // one further
  CHECK(second_start("mvm a1 r0+2 c0+2 8 -> 20 set k0\n") == 0);    // one before
  CHECK(second_start("mvm a1 r0+2 c0+2 9 -> 20 set k0\n") == 12);
  CHECK(second_start("mvm a1 r0+2 c0+2 20 -> 3 set k0\n") == 12);  // WAR
  CHECK(second_start("mvm a1 r0+2 c0+2 20 -> 4 set k0\n") == 0);
  CHECK(second_start("mvm a1 r0+2 c0+2 20 -> 13 set k0\n") == 12);  // WAW
  CHECK(second_start("mvm a1 r0+2 c0+2 20 -> 14 set k0\n") == 0);
  CHECK(second_start("mvm a1 r0+2 c0+2 20*-8 -> 30 set k0\n") == 12);    // reads 20 and 12
  CHECK(second_start("mvm a1 r0+2x2^4 c0+2 5^7 -> 30 set k0\n") == 12);  // reads 5, 6 and 12, 13
  CHECK(second_start("mvm a1 r0+2x2^4 c0+2 5^9 -> 30 set k0\n") == 0);   // reads 5, 6 and 14, 15
  CHECK(second_start("mvm a2 r0+2 c0+2 10 -> 20 set k0\n") == 0);        // another tile's buffer
  CHECK(second_start("mvm a1 r0+2 c0+2 0 -> 20 set k0\n") == 0);         // two readers
}

TEST_CASE("a write waits for all readers") {
  CHECK(schedule("mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+8 0 -> 20 set k0\n"
                 "vec t0 relu n2 0 -> 30 k0\n"
                 "vec t0 relu n2 40 -> 0 k0\n",
                 small_chip()) == Schedule{{0, 11}, {0, 14}, {0, 0}, {14, 14}});
}

TEST_CASE("add waits for what is earlier on its destination at its end only, and commits in program order") {
  const chip::Chip chip = small_chip();
  // Partial sums do not serialise.
  CHECK(schedule("mvm a0 r0+2 c0+4 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+4 4 -> 10 add k0\n",
                 chip) == Schedule{{0, 12}, {0, 12}});
  // A short add commits with the longer set before it; the reader waits for both; its array is free meanwhile.
  CHECK(schedule("mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+2 4 -> 16 add k0\n"
                 "mvm a1 r2+2 c0+2 6 -> 30 set k0\n"
                 "mvm a0 r0+2 c0+2 16 -> 40 set k0\n",
                 chip) == Schedule{{0, 14}, {0, 14}, {11, 22}, {14, 25}});
  // A set after an add is an ordinary write; a chain of adds completes in order.
  CHECK(schedule("mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 10 add k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 10 add k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 10 set k0\n",
                 chip) == Schedule{{0, 14}, {0, 14}, {11, 22}, {22, 33}});
  // Readers before an add hold it at its end, too: nothing touches the destination before.
  CHECK(schedule("mvm a0 r0+2 c0+8 10 -> 20 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 10 add k0\n",
                 chip) == Schedule{{0, 14}, {0, 14}});
  // An add that has to wait for a writer on its own array does not block it.
  CHECK(schedule("mvm a0 r0+2 c0+8 0 -> 30 set k0\n"
                 "mvm a1 r0+2 c0+2 30 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 10 add k0\n",
                 chip) == Schedule{{0, 14}, {14, 25}, {0, 25}});
}

TEST_CASE("commands of zero length reach a fixed point before the others start") {
  // At 11 the chain of zero-length commands makes the third mvm ready; being older than the fourth it gets the array.
  CHECK(schedule("mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
                 "mvm a1 r0+2 c0+2 0 -> 20 set k0\n"
                 "move t0 10+2 -> t1 10\n"
                 "vec t1 relu n2 10 -> 12 k0\n"
                 "move t1 12+2 -> t0 12\n"
                 "mvm a1 r0+2 c0+2 12 -> 30 set k0\n"
                 "mvm a1 r0+2 c0+2 2 -> 40 set k0\n",
                 small_chip()) == Schedule{{0, 11}, {0, 11}, {11, 11}, {11, 11}, {11, 11}, {11, 22}, {22, 33}});
}

TEST_CASE("vector units: per tile, several, unlimited, at a hub, and by lanes") {
  const std::string two_tiles =
      "vec t0 relu n4 0 -> 10 k0\nvec t0 relu n4 4 -> 20 k0\nvec t0 relu n4 0 -> 30 k0\nvec t1 relu n9 0 -> 10 k0\n";
  CHECK(schedule(two_tiles, moves_chip()) == Schedule{{0, 5}, {5, 10}, {10, 15}, {0, 5}});
  CHECK(schedule(two_tiles, moves_chip({{"digital.units", "2"}})) == Schedule{{0, 5}, {0, 5}, {5, 10}, {0, 5}});
  CHECK(schedule(two_tiles, moves_chip({{"digital.units", "0"}})) == Schedule{{0, 5}, {0, 5}, {0, 5}, {0, 5}});
  CHECK(schedule(two_tiles, moves_chip({{"digital.location", "hub"}})) ==
        Schedule{{0, 5}, {5, 10}, {10, 15}, {15, 20}});
  CHECK(schedule(two_tiles, moves_chip({{"digital.lanes", "4"}})) == Schedule{{0, 5}, {5, 10}, {10, 15}, {0, 15}});
  // A zero-length command needs a free unit, too, and goes before what is longer.
  CHECK(schedule(
            "vec t0 relu n4 0 -> 10 k0\nvec t0 silu n4 4 -> 20 k0\nmove t1 0+4 -> t0 50\nvec t0 gelu n4 50 -> 60 k0\n",
            moves_chip({{"digital.gelu_ns", "0"}})) == Schedule{{0, 5}, {5, 10}, {0, 3}, {5, 5}});
  const Timing timing = simulate_good(code(two_tiles), moves_chip({{"digital.units", "2"}}));
  CHECK(timing.busiest_digital == 7500);  // 15 ns on two units
  CHECK(timing.critical_path.digital == 10 * kNs);
}

TEST_CASE("moves: time, port, width, and the tile itself") {
  const chip::Chip chip = moves_chip();
  // 4 elements of 8 bits + 32 = 64 bits: 1 ns + 2 ns per hop. The port is taken until the message has arrived.
  CHECK(schedule("move t0 0+4 -> t1 0\nmove t0 4+5 -> t1 4\nmove t1 20+4 -> t0 20\n", chip) ==
        Schedule{{0, 3}, {3, 7}, {0, 3}});
  CHECK(schedule("move t0 0+4 -> t1 0 k1\n", chip) == Schedule{{0, 4}});  // 16 bits: 96 bits, 2 ns
  CHECK(schedule("move t0 0+4 -> t0 10\nmove t0 10+4 -> t0 20\n", chip) == Schedule{{0, 0}, {0, 0}});
  CHECK(schedule("move t0 0+4 -> t1 0\nmove t0 20+4 -> t0 30\n", chip) == Schedule{{0, 3}, {0, 0}});  // needs no port
  // 18 arrays = 9 tiles = a 3x3 mesh.
  CHECK(total_ns("move t0 0+4 -> t8 0\n", chip, 18) == 4 * 2 + 1);
  CHECK(total_ns("move t2 0+4 -> t3 0\n", chip, 18) == 3 * 2 + 1);
  CHECK(total_ns("move t0 0+4 -> t8 0\n", small_chip(), 18) == 0);
  const Counts local = simulate_good(code("move t0 0+4 -> t0 10\n"), chip).counts;
  CHECK(local.messages == 0);
  CHECK(local.bit_hops == 0);
  CHECK(local.buffer_bytes == 8);
  CHECK(simulate_good(code("move t0 0+4 -> t1 0 k1\n"), chip).counts.buffer_bytes == 16);
}

TEST_CASE("multicast: the farthest member's time, each link once") {
  const chip::Chip chip = moves_chip();
  // Group 0 = tiles 1, 3 and 8 of the 3x3 mesh; from tile 0: links 0-1, 1-2, 2-5, 5-8 and 0-3; farthest 4 hops.
  const Timing timing = simulate_good(code("move t0 0+4 -> g0 0\n", 18), chip);
  CHECK(timing.total == (4 * 2 + 1) * kNs);
  CHECK(timing.counts.messages == 1);
  CHECK(timing.counts.message_bits == 64);
  CHECK(timing.counts.bit_hops == 64 * 5);
  CHECK(timing.counts.buffer_bytes == 4 + 3 * 4);
  // From tile 4 in the middle: 4-3; 4-1 (up); 4-5 for column 2, then 5-8: also 4 links.
  CHECK(simulate_good(code("move t4 0+4 -> g0 0\n", 18), chip).counts.bit_hops == 64 * 4);
  // Group 1 = tiles 0, 1 and 4; the sender is a member.
  CHECK(simulate_good(code("move t0 0+4 -> g1 10\n", 18), chip).counts.bit_hops == 64 * 2);
  CHECK(total_ns("move t0 0+4 -> g1 10\n", chip, 18) == 2 * 2 + 1);
  // Every member waits for it, and it waits for every member.
  CHECK(schedule("mvm a16 r0+2 c0+2 20 -> 0 set k0\nmove t0 0+4 -> g0 0\nmvm a6 r0+2 c0+2 2 -> 10 set k0\n", chip,
                 18) == Schedule{{0, 11}, {11, 20}, {20, 31}});
}

TEST_CASE("a flat network: one hop for every message, no port") {
  const chip::Chip chip = moves_chip({{"network.topology", "flat"}, {"network.energy_pj_per_bit_hop", "0.5"}});
  CHECK(schedule("move t0 0+4 -> t1 0\nmove t0 4+5 -> t1 4\nmove t0 20+4 -> t0 30\n", chip) ==
        Schedule{{0, 2}, {0, 2}, {0, 0}});
  CHECK(total_ns("move t0 0+4 -> t8 0\n", chip, 18) == 2);
  const Timing timing = simulate_good(code("move t0 0+4 -> g0 0\n", 18), chip);
  CHECK(timing.total == 2 * kNs);
  CHECK(timing.counts.messages == 1);
  CHECK(timing.counts.bit_hops == 64);
  CHECK(timing.energy.network == 32);
  CHECK(total_ns("move t0 0+4x3^4 -> g0 0 deal\n", chip, 18) == 2);
}

TEST_CASE("energies of vector operations per element or per operation") {
  const std::string two = "vec t0 relu n4 0 -> 10 k0\nvec t0 relu n6 0 -> 20 k0\n";
  CHECK(simulate_good(code(two), moves_chip({{"digital.relu_pj", "3"}})).energy.digital == 3 * (4 + 6));
  const chip::Chip flat = moves_chip({{"digital.relu_pj", "3"}, {"digital.energy_per", "operation"}});
  CHECK(simulate_good(code(two), flat).energy.digital == 3 * 2);
}

TEST_CASE("deal: one run for each member, one message after the other") {
  const chip::Chip chip = moves_chip();
  // To tiles 1, 3, 8 (1, 1, 4 hops), 64 bits each: leave at 0, 1, 2; arrive at 3, 4, 11.
  const Timing timing = simulate_good(code("move t0 0+4x3^4 -> g0 0 deal\n", 18), chip);
  CHECK(timing.total == 11 * kNs);
  CHECK(timing.counts.messages == 3);
  CHECK(timing.counts.bit_hops == 64 * 6);
  CHECK(timing.counts.buffer_bytes == 12 + 12);
  // Member q gets run q only: 4 elements from 0 on.
  CHECK(schedule("move t0 0+4x3^4 -> g0 0 deal\nmvm a2 r0+2 c0+2 3 -> 20 set k0\nmvm a6 r0+2 c0+2 4 -> 20 set k0\n",
                 chip, 18) == Schedule{{0, 11}, {11, 22}, {0, 11}});
}

TEST_CASE("attention: context waits for all entries so far; units per region or a pool") {
  const chip::Chip chip = moves_chip({{"attention.append_ns", "1"}});
  CHECK(
      schedule("attend kv0 append 0 4\nattend kv0 append 8 12\nattend kv0 context 20 -> 40\nattend kv0 append 60 64\n",
               chip) == Schedule{{0, 1}, {1, 2}, {2, 10}, {10, 11}});
  CHECK(schedule(
            "attend kv0 append 0 4\nattend kv1 append 0 4\nattend kv0 context 20 -> 40\nattend kv1 context 20 -> 40\n",
            chip) == Schedule{{0, 1}, {0, 1}, {1, 9}, {1, 9}});
  CHECK(schedule(
            "attend kv0 append 0 4\nattend kv1 append 0 4\nattend kv0 context 20 -> 40\nattend kv1 context 20 -> 40\n",
            moves_chip({{"attention.append_ns", "1"}, {"attention.units", "1"}})) ==
        Schedule{{0, 1}, {1, 2}, {2, 10}, {10, 18}});
  // A context does not wait for entries after it, even when an earlier one is late.
  CHECK(schedule("mvm a0 r0+2 c0+2 90 -> 80 set k0\nattend kv0 context 20 -> 40\nattend kv0 append 80 4\n", chip) ==
        Schedule{{0, 11}, {0, 8}, {11, 12}});
  CHECK(schedule("mvm a0 r0+2 c0+2 90 -> 80 set k0\nattend kv0 append 80 4\nattend kv0 context 20 -> 40\n", chip) ==
        Schedule{{0, 11}, {11, 12}, {12, 20}});
  // Time by work: 2 * 8 MACs per entry and 2 * 4 bytes; region 1 starts with 3 entries.
  const chip::Chip working = moves_chip({{"attention.macs_per_ns", "2"}, {"attention.kv_bytes_per_ns", "8"}});
  CHECK(total_ns("attend kv1 append 0 4\nattend kv1 context 20 -> 40\n", working) == 2 * 8 * 4 / 2 + 8);
  const chip::Chip reading = moves_chip({{"attention.macs_per_ns", "200"}, {"attention.kv_bytes_per_ns", "0.5"}});
  CHECK(total_ns("attend kv1 append 0 4\nattend kv1 context 20 -> 40\n", reading) == 2 * 4 * 4 * 2 + 8);
  // The region's base register: iteration i uses region i.
  const Timing interleaved =
      simulate_good(code("rep 2 b3+1\nattend kv0@3 append 0 4\nattend kv0@3 context 20 -> 40\nend\n"), chip);
  CHECK(interleaved.counts.kv_bytes == 2 * 8 + 8 * (1 + 4));
  CHECK(interleaved.counts.attention_macs == 2 * 8 * (1 + 4));
}

TEST_CASE("loops: serial, overlapping, one after the other") {
  const chip::Chip chip = small_chip();
  const std::string body = "mvm a0 r0+2 c0+2 0 -> 10 set k0\nmvm a1 r0+2 c0+2 10 -> 20 set k0\nend\n";
  CHECK(schedule("rep 2 serial\n" + body, chip) == Schedule{{0, 11}, {11, 22}, {22, 33}, {33, 44}});
  // One slot: the second iteration overwrites 10 and 11 when the first has read them.
  CHECK(schedule("rep 2\n" + body, chip) == Schedule{{0, 11}, {11, 22}, {22, 33}, {33, 44}});
  const std::string slots = "mvm a0 r0+2 c0+2 0 -> 10@1 set k0\nmvm a1 r0+2 c0+2 10@1 -> 20@1 set k0\nend\n";
  CHECK(schedule("rep 3 b1+20%40\n" + slots, chip) ==
        Schedule{{0, 11}, {11, 22}, {11, 22}, {22, 33}, {22, 33}, {33, 44}});
  // A loop after a loop overlaps through its dependences only.
  const Timing both = simulate_good(code("rep 2 b1+20\nmvm a0 r0+2 c0+2 0 -> 10@1 set k0\nend\n"
                                         "rep 2 b1+20\nmvm a1 r0+2 c0+2 10@1 -> 20@1 set k0\nend\n"),
                                    chip);
  CHECK(both.token_end == std::vector<Picoseconds>{22 * kNs, 33 * kNs});
  CHECK(both.total == 33 * kNs);
  // Code outside loops belongs to no token; without loops the whole program is one.
  CHECK(simulate_good(code("rep 2\n" + body + "mvm a0 r0+2 c0+2 20 -> 30 set k0\n"), chip).token_end.size() == 2);
  CHECK(simulate_good(code("mvm a0 r0+2 c0+2 20 -> 30 set k0\n"), chip).token_end ==
        std::vector<Picoseconds>{11 * kNs});
  CHECK(simulate_good(code(""), chip).total == 0);
  CHECK(simulate_good(code("rep 3\nend\n"), chip).token_end == std::vector<Picoseconds>(3));
}

TEST_CASE("64 iterations are open at a time") {
  // Per iteration 4 ns on array 0 and an independent 1 ns on array 1. Array 1 runs ahead until it needs iteration i
  // before iteration i - 64 has ended, at 4 (i - 63) ns: from i = 85 on.
  const chip::Chip chip = small_chip({{"array.settle_ns", "0"}, {"adc.time_ns", "1"}});
  const std::vector<Event> events =
      events_of(code("rep 100 b1+2\nmvm a0 r0+2 c0+8 0 -> 10 set k0\nmvm a1 r0+1 c0+1 4 -> 100@1 set k0\nend\n"), chip);
  REQUIRE(events.size() == 200);
  for (std::size_t iteration = 0; iteration < 100; ++iteration) {
    const Picoseconds expected =
        std::max<Picoseconds>(static_cast<Picoseconds>(iteration), 4 * (static_cast<Picoseconds>(iteration) - 63));
    CHECK(events[2 * iteration + 1].start / kNs == expected);
  }
}

TEST_CASE("rounds of a window: most columns on one converter") {
  const auto rounds = [](program::Window window, std::uint32_t cols, std::uint32_t adcs) {
    std::vector<std::uint32_t> read(adcs);
    for (std::uint32_t q = 0; q < window.count; ++q) {
      for (std::uint32_t e = 0; e < window.length; ++e) ++read[(window.first + q * window.stride + e) % cols % adcs];
    }
    chip::Chip chip;
    chip.array.cols = cols;
    chip.adc.per_array = adcs;
    CHECK(rounds_of(window, chip) == *std::max_element(read.begin(), read.end()));
    return rounds_of(window, chip);
  };
  CHECK(rounds({0, 256, 1, 0}, 256, 32) == 8);
  CHECK(rounds({3, 33, 1, 0}, 256, 32) == 2);
  CHECK(rounds({0, 2, 2, 4}, 8, 4) == 2);      // 0 1 4 5 on 4 converters
  CHECK(rounds({0, 1, 8, 32}, 256, 32) == 8);  // all on one converter
  CHECK(rounds({250, 10, 1, 0}, 256, 32) == 1);
  CHECK(rounds({5, 4, 1, 0}, 7, 2) == 2);  // wraps: 5 6 0 1
  CHECK(rounds({5, 3, 1, 0}, 7, 2) == 2);  // wraps: 5 6 0: two on converter 0
}

TEST_CASE("the configuration decides bits") {
  const chip::Chip chip = small_chip({{"adc.kind", "sar"}, {"adc.step_ns", "1"}, {"adc.energy", "1"}});
  program::Program program = code("mvm a0 r0+2 c0+2 0 -> 10 set k0\n");
  CHECK(simulate_good(program, chip).total == (10 + 9) * kNs);
  program.intent.configs[0].adc_bits = 5;
  CHECK(simulate_good(program, chip).total == (10 + 6) * kNs);
  program.intent.configs[0].adc_bits = 12;
  program.intent.configs[0].dac_bits = 4;
  CHECK(simulate_good(program, chip).total == (10 + 13) * kNs);
  CHECK(simulate_good(program, chip).counts.buffer_bytes == 2 + 2 * 2);
}

TEST_CASE("serial input bits and slices repeat conversions") {
  const chip::Chip chip = small_chip({{"input.kind", "bit-serial"}, {"input.bit_ns", "2"}, {"array.slices", "2"}});
  const Timing timing = simulate_good(code("mvm a0 r0+2 c0+4 0 -> 10 set k0\n"), chip);
  CHECK(timing.total == 8 * (2 + 10 + 2 * 2 * 1) * kNs);
  CHECK(timing.counts.conversions == 4 * 2 * 8);
  CHECK(timing.counts.adc_rounds == 2 * 2 * 8);
  CHECK(timing.critical_rounds == 2 * 2 * 8);
  CHECK(timing.critical_path.input == 16 * kNs);
  CHECK(timing.critical_path.settle == 80 * kNs);
  CHECK(timing.critical_path.adc == 32 * kNs);
}

TEST_CASE("progress counts iterations") {
  struct Recorder : Progress {
    std::uint64_t total = 0, last = 0;
    bool ended = false;
    void begin(std::string_view, std::uint64_t of) override { total = of; }
    void update(std::uint64_t done) override { last = done; }
    void end() override { ended = true; }
  } recorder;
  REQUIRE(simulate(code("rep 7\nmvm a0 r0+2 c0+2 0 -> 10 set k0\nend\n"), small_chip(), {}, recorder).has_value());
  CHECK(recorder.total == 7);
  CHECK(recorder.last == 7);
  CHECK(recorder.ended);
}

}  // namespace danaus::machine
