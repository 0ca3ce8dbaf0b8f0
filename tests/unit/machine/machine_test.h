#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/files.h"
#include "danaus/machine/dependence_graph.h"
#include "danaus/machine/timing.h"
#include "danaus/program/program.h"

/// Programs and chips for the tests of the timing machine.
namespace danaus::machine {

/// 0, 1, 2 ...
inline std::vector<std::uint64_t> token_numbers(std::size_t count) {
  std::vector<std::uint64_t> numbers(count);
  for (std::size_t n = 0; n < count; ++n) numbers[n] = n;
  return numbers;
}

using Settings = std::vector<std::pair<std::string, std::string>>;

/// The chip of the example: 8x8 arrays with 2 converters, two arrays per tile; an activation takes 10 ns + 1 ns per
/// round, the rest nothing.
inline chip::Chip small_chip(Settings more = {}) {
  Settings settings = {
      {"array.rows", "8"}, {"array.cols", "8"}, {"adc.per_array", "2"}, {"network.arrays_per_tile", "2"}};
  settings.insert(settings.end(), more.begin(), more.end());
  const Result<chip::Chip> chip = chip::load("unit", settings);
  if (!chip) FAIL(to_string(chip.error()));
  return *chip;
}

/// The same with 5 ns per vector operation, 8 ns per context and a mesh of 2 ns per hop and 64 bits per ns.
inline chip::Chip moves_chip(Settings more = {}) {
  Settings settings = {{"attention.softmax_ns", "8"}, {"network.topology", "mesh"}, {"network.hop_ns", "2"},
                       {"network.clock_ns", "1"},     {"network.link_bits", "64"},  {"network.header_bits", "32"}};
  for (const char* op : {"add", "mul", "silu", "gelu", "relu", "rope", "moments", "stat", "norm"})
    settings.emplace_back("digital." + std::string(op) + "_ns", "5");
  settings.insert(settings.end(), more.begin(), more.end());
  return small_chip(settings);
}

inline program::Program parse_good(std::string_view text) {
  const Result<program::Program> program = program::parse_text(text, "test.txt");
  if (!program) FAIL(to_string(program.error()));
  return *program;
}

/// A program from its code alone: four arrays of 8x8 on two tiles, buffers of 400, cfg 0 mvm, cfg 1 move of 16 bits,
/// KV regions 0 and 1 of size 4.
inline program::Program code(const std::string& commands, std::uint32_t arrays = 4) {
  return parse_good(
      "danaus program 1\nchip rows 8 cols 8 adcs 2 arrays " + std::to_string(arrays) +
      " tile 2 buffer 400\n"
      "cfg 0 mvm dac 8 adc 8 lossless\ncfg 1 move bits 16\n"
      "kv 0 tile 0 queries 2 size 4 capacity 50 start 0\nkv 1 tile 1 queries 2 size 4 capacity 50 start 3\n" +
      (arrays >= 18 ? "group 0 t1 t3 t8\ngroup 1 t0+2 t4\n" : "group 0 t0+2\n") + "code\n" + commands + "halt\n");
}

/// A replay of the program's dependences gives the same, where there is one.
inline bool check_replay(const program::Program& program, const chip::Chip& chip, bool linear_only,
                         const Timing& timing) {
  const Result<std::optional<DependenceGraph>> graph = DependenceGraph::make(program, chip);
  if (!graph) FAIL(to_string(graph.error()));
  if (!*graph) return false;
  const Result<Timing> replayed = (*graph)->time(program, chip, linear_only);
  if (!replayed) FAIL(to_string(replayed.error()));
  CHECK(*replayed == timing);
  return true;
}

inline Timing simulate_good(const program::Program& program, const chip::Chip& chip,
                            const SimulateOptions& options = {}) {
  const Result<Timing> timing = simulate(program, chip, options);
  if (!timing) FAIL(to_string(timing.error()));
  CHECK(timing->critical_path.total() == timing->total);
  if (!options.trace) check_replay(program, chip, options.linear_only, *timing);
  return *timing;
}

/// All events in the order of (iteration, command).
std::vector<Event> events_of(const program::Program& program, const chip::Chip& chip);

/// Applies `change` to every command of the code.
template <typename Change>
void change_commands(program::Program& program, Change change) {
  for (program::Record& record : program.code) {
    program::Command command = program::decode_unchecked(record);
    std::visit([&](auto& concrete) { change(concrete); }, command);
    record = program::encode(command).value();
  }
}

inline constexpr Picoseconds kNs = 1000;

}  // namespace danaus::machine
