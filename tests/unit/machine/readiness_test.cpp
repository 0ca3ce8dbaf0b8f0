// Every resource alike: a command that becomes ready at some instant starts at the later of that instant and the one at
// which its resource is free, neither earlier nor later. The resource is held until one before, at, and one after.

#include <algorithm>
#include <functional>

#include "machine_test.h"

namespace danaus::machine {
namespace {

constexpr Picoseconds kReady = 20 * kNs;  // settle 16 + 4 rounds of 1 ns

struct Contest {
  std::string name;
  std::string holder;   // takes the resource at 0 for as long as the setting says
  std::string user;     // reads what a0 writes at kReady
  std::string setting;  // in ns
  Settings more = {};
  Picoseconds offset = 0;  // what the holder takes beside the setting
  bool chips = false;      // needs several
  std::uint32_t arrays = 4;
};

// Picoseconds as the ns of a setting.
std::string in_ns(Picoseconds time) {
  return std::to_string(time / 1000) + "." + std::to_string(1000 + time % 1000).substr(1);
}

program::Program on_two_chips(const std::string& commands) {
  program::Program program = code("", 4);
  program.chip.chips = 2;
  program.chip.arrays_per_chip = 2;
  const std::string text = program::to_text(program);
  return parse_good(text.substr(0, text.find("halt")) + commands + "halt\n");
}

// a0 on tile 0 writes 10-17 at kReady; a0 has nothing else to do.
const std::string kProducer = "mvm a0 r0+4 c0+8 0 -> 10 set k0\n";

}  // namespace

TEST_CASE("a command is not ready a moment before, and starts the moment it is ready and its resource free") {
  const Settings mesh = {{"network.topology", "mesh"}, {"network.clock_ns", "0"}};
  const std::vector<Contest> contests = {
      {"vector unit", "vec t0 gelu n4 40 -> 50 k0\n", "vec t0 relu n4 10 -> 60 k0\n", "digital.gelu_ns"},
      {"hub",
       "vec t1 gelu n4 40 -> 50 k0\n",
       "vec t0 relu n4 10 -> 60 k0\n",
       "digital.gelu_ns",
       {{"digital.location", "hub"}}},
      {"port", "move t0 40+4 -> t1 0\n", "move t0 10+4 -> t1 40\n", "network.hop_ns", mesh},
      {"link of a mesh",
       "move t1 40+4 -> t2 0\n",
       "move t0 10+4 -> t2 40\n",  // by tile 1
       "network.hop_ns",
       {{"network.topology", "mesh"}, {"network.clock_ns", "0"}, {"network.contention", "links"}},
       0,
       false,
       18},
      {"attention unit",
       "attend kv1 context 40 -> 60\n",
       "attend kv0 append 10 14\n",
       "attention.softmax_ns",
       {{"attention.units", "1"}}},
      {"attention unit of a region", "attend kv0 context 40 -> 60\n", "attend kv0 append 10 14\n",
       "attention.softmax_ns"},
      {"link",
       "move t0 40+4 -> t1 0\n",
       "move t0 10+4 -> t1 40\n",
       "",
       {{"chip.chips", "2"}, {"chip.arrays", "2"}},
       0,
       true},
  };
  for (const Contest& contest : contests) {
    for (const Picoseconds held : {kReady - 1000, kReady - 1, kReady, kReady + 1, kReady + 1000}) {
      CAPTURE(contest.name);
      CAPTURE(held);
      Settings settings = {{"array.settle_ns", "16"}, {"digital.relu_ns", "5"}, {"attention.append_ns", "5"}};
      settings.insert(settings.end(), contest.more.begin(), contest.more.end());
      chip::Chip chip = small_chip(settings);
      if (contest.chips) {
        // The holder's message has 64 bits, as the user's: 64 bits in `held` ps.
        chip.system.link_gbps = 64 / (static_cast<double>(held) / 1000);
      } else {
        settings.emplace_back(contest.setting, in_ns(held));
        chip = small_chip(settings);
      }
      const std::string commands = kProducer + contest.holder + contest.user;
      const std::vector<Event> events =
          events_of(contest.chips ? on_two_chips(commands) : code(commands, contest.arrays), chip);
      REQUIRE(events.size() == 3);
      CHECK(events[0].end == kReady);
      CHECK(events[1].start == 0);
      const Picoseconds start = std::max(kReady, held);
      if (contest.chips) {
        // The command begins with its step on its own mesh, which takes nothing; the link is taken from `start` on.
        CHECK(events[2].end == start + held);
      } else {
        CHECK(events[1].end == held);
        CHECK(events[2].start == start);
      }
    }
  }
}

TEST_CASE("the same for an array") {
  // The producer has `mine` rounds of 1 ps, the holder of array 1 `others`; the user waits for both.
  for (const std::uint32_t mine : {1u, 2u, 3u, 4u}) {
    for (const std::uint32_t others : {1u, 2u, 3u, 4u}) {
      const std::string commands = "mvm a0 r0+4 c0+" + std::to_string(2 * mine) + " 0 -> 10 set k0\n" +
                                   "mvm a1 r0+4 c0+" + std::to_string(2 * others) + " 40 -> 50 set k0\n" +
                                   "mvm a1 r0+4 c0+2 8 -> 60 set k0\n";  // reads 8 to 11
      const std::vector<Event> events =
          events_of(code(commands), small_chip({{"array.settle_ns", "16"}, {"adc.time_ns", "0.001"}}));
      CHECK(events[2].start == 16 * kNs + std::max(mine, others));
    }
  }
}

TEST_CASE("double buffering: an array drives its next inputs while its converters work") {
  // 10 ns to drive; 4 rounds, 2 rounds, 8 rounds... of 5 ns.
  const Settings settings = {{"adc.double_buffer", "true"}, {"adc.time_ns", "5"}};
  const auto ends = [&](const std::string& commands) {
    std::vector<Picoseconds> result;
    for (const Event& event : events_of(code(commands), small_chip(settings))) result.push_back(event.end / kNs);
    return result;
  };
  // Driven 0-10, 10-20, 20-30; converted 10-30, 30-50, 50-60.
  CHECK(ends("mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
             "mvm a0 r0+2 c0+8 2 -> 20 set k0\n"
             "mvm a0 r0+2 c0+4 4 -> 30 set k0\n") == std::vector<Picoseconds>{30, 50, 60});
  // Fast converters: driving sets the pace. Driven 0-10, 10-20, 20-30, converted for 5 after each.
  CHECK(ends("mvm a0 r0+2 c0+2 0 -> 10 set k0\n"
             "mvm a0 r0+2 c0+2 2 -> 20 set k0\n"
             "mvm a0 r0+2 c0+2 4 -> 30 set k0\n") == std::vector<Picoseconds>{15, 25, 35});
  // What reads the result waits for the conversion.
  CHECK(ends("mvm a0 r0+2 c0+8 0 -> 10 set k0\n"
             "mvm a0 r0+2 c0+2 10 -> 20 set k0\n") == std::vector<Picoseconds>{30, 45});
  const Timing timing =
      simulate_good(code("rep 10 b1+8%160\nmvm a0 r0+2 c0+8 0 -> 200@1 set k0\nend\n"), small_chip(settings));
  CHECK(timing.total == (10 + 10 * 20) * kNs);
  CHECK(timing.busiest_array == 10 * 20 * kNs);
  CHECK(timing.critical_path.settle == 10 * kNs);
  CHECK(timing.critical_path.adc == 200 * kNs);
}

TEST_CASE("the unloaded latency of a chain is the sum of its parts") {
  chip::Chip chip = moves_chip({{"array.settle_ns", "3"},
                                {"input.kind", "pwm"},
                                {"input.clock_ns", "0.5"},
                                {"adc.kind", "sar"},
                                {"adc.step_ns", "0.25"},
                                {"attention.append_ns", "6"},
                                {"digital.gelu_ns", "11"}});
  const Timing timing = simulate_good(code("mvm a0 r0+4 c0+8 0 -> 10 set k0\n"  // tile 0
                                           "vec t0 gelu n8 10 -> 20 k0\n"
                                           "move t0 20+8 -> t1 20\n"
                                           "mvm a2 r0+8 c0+4 20 -> 30 set k0\n"  // tile 1
                                           "attend kv1 append 30 34\n"
                                           "attend kv1 context 30 -> 40\n"),
                                      chip);
  // Inputs of 8 bits: 128 * 0.5 ns. Conversions of 8 bits: 9 * 0.25 ns, 4 and 2 rounds. 8 * 8 + 32 = 96 bits: a hop of
  // 2 ns and two flits of 1 ns. The context reads 4 entries infinitely fast, and 8 ns of softmax.
  CHECK(timing.critical_path.input == 2 * 64 * kNs);
  CHECK(timing.critical_path.settle == 2 * 3 * kNs);
  CHECK(timing.critical_path.adc == (4 + 2) * 2250);
  CHECK(timing.critical_path.digital == 11 * kNs);
  CHECK(timing.critical_path.network == (2 + 2) * kNs);
  CHECK(timing.critical_path.attention == (6 + 8) * kNs);
  CHECK(timing.total == 128 * kNs + 6 * kNs + 6 * 2250 + 11 * kNs + 4 * kNs + 14 * kNs);
  CHECK(timing.critical_rounds == 6);
}

}  // namespace danaus::machine
