// Programs that a verifier would refuse: an error that names the command, never a crash or an endless run.

#include <algorithm>
#include <random>

#include "machine_test.h"

namespace danaus::machine {
namespace {

Error error_of(const program::Program& program, const chip::Chip& chip = small_chip()) {
  const Result<Timing> timing = simulate(program, chip);
  if (timing) FAIL("simulated");
  return timing.error();
}

// The error of a program with one damaged command at position 1 (position 0 is good).
void check_invalid(const std::string& command) {
  CAPTURE(command);
  const Error error = error_of(code("mvm a0 r0+2 c0+2 0 -> 10 set k0\n" + command + "\n"));
  CHECK(error.id == "machine.invalid");
  CHECK(error.failure == Failure::bad_input);
  CHECK(error.message.find("command 1: " + command.substr(0, 6)) != std::string::npos);
}

}  // namespace

TEST_CASE("a chip of another shape is refused") {
  const program::Program program = code("mvm a0 r0+2 c0+2 0 -> 10 set k0\n");
  for (const Settings& settings :
       {Settings{{"array.rows", "16"}}, Settings{{"array.cols", "16"}}, Settings{{"adc.per_array", "4"}},
        Settings{{"network.arrays_per_tile", "3"}}, Settings{{"chip.arrays", "3"}}}) {
    CAPTURE(settings[0].first);
    const Error error = error_of(program, small_chip(settings));
    CHECK(error.id == "machine.shape");
    CHECK(error.failure == Failure::bad_input);
  }
  CHECK(simulate(program, small_chip({{"chip.arrays", "4"}})).has_value());
  program::Program no_tiles = program;
  no_tiles.chip.arrays_per_tile = 0;
  CHECK(error_of(no_tiles).id == "machine.shape");
}

TEST_CASE("converter bits that the chip cannot price") {
  program::Program program = code("mvm a0 r0+2 c0+2 0 -> 10 set k0\n");
  const chip::Chip chip = small_chip({{"adc.energy", "regression"}});
  CHECK(simulate(program, chip).has_value());
  program.intent.configs[0].adc_bits = 3;
  CHECK(error_of(program, chip).id == "chip.adc-bits");
}

TEST_CASE("ids and addresses out of range name the command") {
  check_invalid("mvm a4 r0+2 c0+2 0 -> 10 set k0");
  check_invalid("mvm a0 r0+2 c0+2 0 -> 10 set k1");  // a move configuration
  check_invalid("mvm a0 r0+2 c0+2 0 -> 10 set k9");
  check_invalid("mvm a0 r8+2 c0+2 0 -> 10 set k0");
  check_invalid("mvm a0 r0+9 c0+2 0 -> 10 set k0");
  check_invalid("mvm a0 r0+2 c0+3x3^3 0 -> 10 set k0");
  check_invalid("mvm a0 r0+2 c0+2 399 -> 10 set k0");
  check_invalid("mvm a0 r0+2 c0+2 0 -> 399 set k0");
  check_invalid("mvm a0 r0+2 c0+2 0*-1 -> 10 set k0");
  check_invalid("mvm a0 r0+2 c0+2x2^2 0 -> 10^-20 set k0");
  check_invalid("move t2 0+2 -> t0 0");
  check_invalid("move t0 0+2 -> t2 0");
  check_invalid("move t0 399+2 -> t1 0");
  check_invalid("move t0 0+2 -> t1 399");
  check_invalid("move t0 0+401 -> t1 0");
  check_invalid("move t0 0+2x60000^1 -> t1 0");
  check_invalid("move t0 0+2 -> t1 0 k7");
  check_invalid("move t0 0+2 -> g1 0");
  check_invalid("move t0 0+2x3^2 -> g0 0 deal");  // two members
  check_invalid("vec t2 relu n2 0 -> 10 k0");
  check_invalid("vec t0 relu n2 399 -> 10 k0");
  check_invalid("vec t0 relu n2 0 -> 399 k0");
  check_invalid("vec t0 norm n4 0 399 8 -> 10 k0");
  check_invalid("attend kv2 append 0 4");
  check_invalid("attend kv0 append 0 397");
  check_invalid("attend kv0 context 393 -> 0");
}

TEST_CASE("registers that lead out of range name the iteration") {
  const Error error = error_of(code("rep 5 b1+100\nmvm a0 r0+2 c0+2 0@1 -> 10 set k0\nend\n"));
  CHECK(error.id == "machine.invalid");
  CHECK(error.message.find("iteration 4") != std::string::npos);
  CHECK(simulate(code("rep 5 b1+100%400\nmvm a0 r0+2 c0+2 0@1 -> 10 set k0\nend\n"), small_chip()).has_value());
  CHECK(error_of(code("rep 5 b1+1\nattend kv0@1 append 0 4\nend\n")).id == "machine.invalid");
  CHECK(error_of(code("rep 51\nattend kv0 append 0 4\nend\n")).id == "machine.invalid");  // capacity 50
  CHECK(simulate(code("rep 50\nattend kv0 append 0 4\nend\n"), small_chip()).has_value());
}

TEST_CASE("loops and halt") {
  const auto damaged = [](std::vector<program::Command> commands) {
    program::Program program = code("");
    program.code.clear();
    for (const program::Command& command : commands) program.code.push_back(program::encode(command).value());
    return error_of(program).id;
  };
  CHECK(damaged({}) == "machine.invalid");
  CHECK(damaged({program::End{}, program::Halt{}}) == "machine.invalid");
  CHECK(damaged({program::Repeat{}, program::Halt{}}) == "machine.invalid");
  CHECK(damaged({program::Repeat{}, program::Repeat{}, program::End{}, program::End{}, program::Halt{}}) ==
        "machine.invalid");
  CHECK(damaged({program::Halt{}, program::Halt{}}) == "machine.invalid");
  CHECK(damaged({program::Repeat{}}) == "machine.invalid");
}

TEST_CASE("tables out of range") {
  program::Program program = code("attend kv0 append 0 4\nmove t0 0+2 -> g0 0\n");
  program.groups[0].members.push_back(TileId{7});
  CHECK(error_of(program).id == "machine.invalid");
  program = code("attend kv0 append 0 4\n");
  program.kv[0].tile = TileId{2};
  CHECK(error_of(program).id == "machine.invalid");
  program.kv[0].tile = TileId{0};
  program.kv[0].queries = 0xffffffffu;
  program.kv[0].size = 0xffffffffu;
  CHECK(error_of(program).id == "machine.invalid");
  program = code("attend kv0 append 0 4\n");
  program.kv[0].size = 0;
  CHECK(error_of(program).id == "machine.invalid");
}

TEST_CASE("programs that are too long") {
  const std::string body = "mvm a0 r0+2 c0+2 0 -> 10 set k0\nend\n";
  Error error = error_of(code("rep 4294967295\n" + body));
  CHECK(error.id == "machine.too-long");
  CHECK(error.failure == Failure::unsupported);
  CHECK(error_of(code("rep 20000000\nend\n")).id == "machine.too-long");  // iterations
  std::string many;
  for (int copy = 0; copy < 30; ++copy) many += "rep 4294967295\n" + body;
  CHECK(error_of(code(many)).id == "machine.too-long");
  // Elements: 100 commands of 400 elements, 16 million times.
  many = "rep 16000000\n";
  for (int copy = 0; copy < 100; ++copy) many += "move t0 0+400 -> t1 0\n";
  CHECK(error_of(code(many + "end\n")).id == "machine.too-long");
  // Time: 3 seconds an activation, a hundred thousand times.
  CHECK(error_of(code("rep 200000\n" + body), small_chip({{"array.settle_ns", "1e9"}})).id == "machine.too-long");
}

TEST_CASE("any bit flipped: a result or an error with the machine's ids") {
  const program::Program good = parse_good(read_text(DANAUS_SOURCE_DIR "/tests/data/example-dense.txt").value());
  const chip::Chip chip = moves_chip();
  std::size_t simulated = 0;
  std::size_t refused = 0;
  for (std::size_t position = 0; position < good.code.size(); ++position) {
    for (std::size_t bit = 0; bit < 256; ++bit) {
      program::Program damaged = good;
      damaged.code[position].words[bit / 64] ^= std::uint64_t{1} << (bit % 64);
      const Result<program::Command> command = program::decode(damaged.code[position]);
      const program::Repeat* repeat = command ? std::get_if<program::Repeat>(&*command) : nullptr;
      if (repeat != nullptr && repeat->n > 100) continue;
      const Result<Timing> timing = simulate(damaged, chip);
      if (timing) {
        CHECK(timing->critical_path.total() == timing->total);
        ++simulated;
      } else {
        CHECK(timing.error().id == "machine.invalid");
        ++refused;
      }
    }
  }
  CHECK(simulated > 1000);
  CHECK(refused > 1000);
}

}  // namespace danaus::machine
