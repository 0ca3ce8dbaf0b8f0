// The decoder layer of tests/data/example-dense.txt: golden times, schedule, counts and energies, worked out by an
// independent prototype (times) or re-derived here command by command (counts).

#include <algorithm>
#include <type_traits>

#include "machine_test.h"

namespace danaus::machine {

std::vector<Event> events_of(const program::Program& program, const chip::Chip& chip) {
  std::vector<Event> events;
  SimulateOptions options;
  options.trace = [&](const Event& event) { events.push_back(event); };
  simulate_good(program, chip, options);
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::pair(a.iteration, a.command) < std::pair(b.iteration, b.command);
  });
  return events;
}

namespace {

// The example for other numbers of tokens and slots: 176 elements per slot, then constants, then the two streams.
program::Program example(std::uint32_t tokens, std::uint32_t slots, bool serial = false) {
  constexpr std::uint32_t kSlot = 176;
  program::Program program = parse_good(read_text(DANAUS_SOURCE_DIR "/tests/data/example-dense.txt").value());
  program.chip.buffer = slots * kSlot + 16 + 16 * tokens;
  program.kv[0].capacity = tokens;
  const auto move_address = [&](auto& address) {
    if (address.base == 1) return;
    REQUIRE(address.offset >= 2 * kSlot);
    const bool is_output = address.base == 2 && address.offset >= 384;
    address.offset = address.offset - 2 * kSlot + slots * kSlot + (is_output ? 8 * tokens - 16 : 0);
  };
  change_commands(program, [&](auto& command) {
    using Command = std::decay_t<decltype(command)>;
    if constexpr (std::is_same_v<Command, program::Repeat>) {
      command.n = tokens;
      command.serial = serial;
      command.modulus[0] = slots * kSlot;
    } else if constexpr (std::is_same_v<Command, program::Vec>) {
      for (std::uint32_t s = 0; s < program::source_count(command.op); ++s) move_address(command.src[s]);
      move_address(command.dst);
    }
  });
  return program;
}

std::vector<Picoseconds> ends(const program::Program& program, const chip::Chip& chip) {
  std::vector<Picoseconds> result = simulate_good(program, chip).token_end;
  for (Picoseconds& end : result) {
    CHECK(end % kNs == 0);
    end /= kNs;
  }
  return result;
}

// Time per token in the steady state, in multiples of 1/24 ns.
Picoseconds steady(std::uint32_t slots, const chip::Chip& chip) {
  return ends(example(40, slots), chip).back() - ends(example(16, slots), chip).back();
}

using Ends = std::vector<Picoseconds>;

}  // namespace

TEST_CASE("example on the unit chip: finish of each token") {
  const chip::Chip chip = small_chip();
  CHECK(ends(example(1, 2), chip) == Ends{119});
  CHECK(ends(example(2, 2, true), chip) == Ends{119, 238});
  CHECK(ends(example(2, 1), chip) == Ends{119, 225});
  CHECK(ends(example(2, 2), chip) == Ends{122, 171});
  CHECK(ends(example(2, 3), chip) == Ends{122, 171});
}

TEST_CASE("example with a network and digital times: finish of each token") {
  const chip::Chip chip = moves_chip();
  CHECK(ends(example(1, 2), chip) == Ends{211});
  CHECK(ends(example(2, 2, true), chip) == Ends{211, 422});
  CHECK(ends(example(2, 1), chip) == Ends{222, 330});
  CHECK(ends(example(2, 2), chip) == Ends{224, 272});
  CHECK(ends(example(2, 3), chip) == Ends{224, 272});
  CHECK(ends(example(2, 2), moves_chip({{"network.switching", "wormhole"}})).back() == 271);
}

TEST_CASE("example: steady state") {
  const chip::Chip unit = small_chip();
  CHECK(steady(1, unit) == 106 * 24);
  CHECK(2 * steady(2, unit) == 155 * 24);
  CHECK(steady(4, unit) == 71 * 24);
  const chip::Chip moves = moves_chip();
  CHECK(2 * steady(1, moves) == 241 * 24);
  CHECK(steady(2, moves) == 71 * 24);
  CHECK(steady(4, moves) / 24 >= 68);  // "about 70": token 16 to token 40 is not yet quite steady
  CHECK(steady(4, moves) / 24 <= 71);
}

TEST_CASE("example: golden schedule") {
  // Start of every mvm on the arrays of tile 0; tile 1 is the same (a2 as a0, a3 as a1).
  const auto starts = [](const program::Program& program, std::uint32_t iteration, std::uint32_t array) {
    Ends result;
    for (const Event& event : events_of(program, small_chip())) {
      const program::Command command = program::decode_unchecked(program.code[event.command]);
      const program::Mvm* mvm = std::get_if<program::Mvm>(&command);
      if (mvm != nullptr && index(mvm->array) == array && event.iteration == iteration)
        result.push_back(event.start / kNs);
    }
    return result;
  };
  const program::Program alone = example(1, 2);
  const program::Program two = example(2, 2);
  for (const std::uint32_t tile : {0u, 1u}) {
    CAPTURE(tile);
    CHECK(starts(alone, 0, 2 * tile) == Ends{0, 13, 35, 46, 58});
    CHECK(starts(alone, 0, 2 * tile + 1) == Ends{13, 24, 70, 83, 96, 107});
    CHECK(starts(two, 0, 2 * tile) == Ends{0, 13, 38, 49, 61});
    CHECK(starts(two, 0, 2 * tile + 1) == Ends{13, 24, 73, 86, 99, 110});
    CHECK(starts(two, 1, 2 * tile) == Ends{25, 73, 85, 96, 108});
    CHECK(starts(two, 1, 2 * tile + 1) == Ends{38, 49, 122, 135, 148, 159});
  }
}

TEST_CASE("example: issue order does not matter with one sequence, and a run repeats exactly") {
  const program::Program program = example(5, 2);
  const std::vector<Event> first = events_of(program, moves_chip());
  const std::vector<Event> second = events_of(program, moves_chip({{"chip.issue", "program"}}));
  REQUIRE(first.size() == second.size());
  for (std::size_t number = 0; number < first.size(); ++number) {
    CHECK(first[number].start == second[number].start);
    CHECK(first[number].end == second[number].end);
  }
}

TEST_CASE("example: critical path") {
  // Alone on the unit chip all of it is activations: 8 stages, where q.L, k.L, v.L and the like share arrays.
  const Timing alone = simulate_good(example(1, 2), small_chip());
  CHECK(alone.critical_path.settle + alone.critical_path.adc == 119 * kNs);
  CHECK(alone.critical_path.settle == 100 * kNs);  // 10 activations in series: 119 = 10 * 10 + 19 rounds
  CHECK(alone.critical_path.adc == 19 * kNs);
  CHECK(alone.critical_rounds == 19);
  CHECK(alone.busiest_array == 71 * kNs);
  CHECK(alone.busiest_digital == 0);

  const Timing moves = simulate_good(example(1, 2), moves_chip());
  CHECK(moves.critical_path.total() == 211 * kNs);
  CHECK(moves.critical_path.network > 0);
  CHECK(moves.critical_path.digital > 0);
  CHECK(moves.critical_path.attention == 8 * kNs);
  CHECK(moves.busiest_digital == 70 * kNs);
  CHECK(moves.busiest_array == 71 * kNs);

  // Linear operators only: the network stays.
  SimulateOptions options;
  options.linear_only = true;
  const Timing linear = simulate_good(example(1, 2), moves_chip(), options);
  CHECK(linear.critical_path.digital == 0);
  CHECK(linear.critical_path.attention == 0);
  CHECK(linear.critical_path.network > 0);
  CHECK(linear.total < moves.total);
  CHECK(linear.total > 119 * kNs);
  CHECK(linear.counts == moves.counts);
  const Timing ideal = simulate_good(example(1, 2), moves_chip({{"network.topology", "ideal"}}), options);
  CHECK(ideal.total == 119 * kNs);
}

TEST_CASE("example: counts are those of the commands") {
  constexpr std::uint64_t kTokens = 3;
  const program::Program program = example(kTokens, 2);
  const chip::Chip chip = moves_chip();
  Counts expected;
  for (const program::Record& record : program.code) {
    const program::Command command = program::decode_unchecked(record);
    if (const program::Mvm* mvm = std::get_if<program::Mvm>(&command)) {
      const std::uint64_t rows = mvm->rows.length;  // one run each in the example
      const std::uint64_t columns = mvm->columns.length;
      expected.activations += kTokens;
      expected.conversions += kTokens * columns;
      expected.adc_rounds += kTokens * ((columns + 1) / 2);
      expected.driven_rows += kTokens * rows;
      expected.active_cells += kTokens * rows * columns;
      expected.buffer_bytes += kTokens * (rows + columns);
      ++expected.commands;
    } else if (const program::Move* move = std::get_if<program::Move>(&command)) {
      const std::uint64_t elements = std::uint64_t{move->length} * move->count;
      expected.messages += kTokens;
      expected.message_bits += kTokens * (8 * elements + 32);
      expected.bit_hops += kTokens * (8 * elements + 32);  // two tiles: one hop
      expected.buffer_bytes += kTokens * 2 * elements;
      ++expected.commands;
    } else if (const program::Vec* vec = std::get_if<program::Vec>(&command)) {
      expected.vector_ops += kTokens;
      expected.vector_elements += kTokens * vec->length;
      expected.op_elements[static_cast<std::size_t>(vec->op)] += kTokens * vec->length;
      const std::uint64_t pair = 2;
      const std::uint64_t n = vec->length;
      std::uint64_t bytes = 2 * n;
      if (vec->op == program::VecOp::add || vec->op == program::VecOp::mul) bytes = 3 * n;
      if (vec->op == program::VecOp::moments) bytes = n + pair;
      if (vec->op == program::VecOp::norm) bytes = 3 * n + pair;
      expected.buffer_bytes += kTokens * bytes;
      ++expected.commands;
    } else if (const program::Attend* attend = std::get_if<program::Attend>(&command)) {
      ++expected.commands;
      if (attend->append) {
        expected.kv_bytes += kTokens * 2 * 4;
        expected.buffer_bytes += kTokens * 2 * 4;
      } else {
        for (std::uint64_t entries = 1; entries <= kTokens; ++entries) {
          expected.kv_bytes += 2 * 4 * entries;
          expected.attention_macs += 2 * (2 * 4) * entries;
        }
        expected.buffer_bytes += kTokens * 2 * 8;
      }
    }
  }
  CHECK(expected.commands == 65 - 3);  // all but rep, end and halt
  CHECK(expected.activations == 22 * kTokens);
  expected.commands *= kTokens;
  const Counts counts = simulate_good(program, chip).counts;
  CHECK(counts.adc_rounds == expected.adc_rounds);
  CHECK(counts.buffer_bytes == expected.buffer_bytes);
  CHECK(counts == expected);
}

TEST_CASE("example: energies are counts times constants") {
  chip::Chip chip = moves_chip({{"chip.passive_mw_per_array", "0.5"},
                                {"digital.passive_mw", "2"},
                                {"digital.units", "3"},
                                {"array.cell_energy_pj", "0.25"},
                                {"array.activation_energy_pj", "7"},
                                {"input.row_energy_pj", "1.5"},
                                {"adc.energy", "2"},
                                {"adc.calibration", "4"},
                                {"adc.shift_add_energy_pj", "0.5"},
                                {"network.energy_pj_per_bit_hop", "0.125"},
                                {"attention.energy_pj_per_mac", "0.75"},
                                {"attention.kv_energy_pj_per_byte", "3"},
                                {"buffer.energy_pj_per_byte", "0.0625"},
                                {"digital.add_pj", "1"},
                                {"digital.mul_pj", "2"},
                                {"digital.silu_pj", "3"},
                                {"digital.rope_pj", "4"},
                                {"digital.moments_pj", "5"},
                                {"digital.stat_pj", "6"},
                                {"digital.norm_pj", "7"}});
  const program::Program program = example(3, 2);
  const Timing timing = simulate_good(program, chip);
  const Counts& counts = timing.counts;
  const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
  CHECK(timing.energy.rows == number(counts.driven_rows) * 1.5);
  CHECK(timing.energy.cells == number(counts.active_cells) * 0.25 + number(counts.activations) * 7);
  CHECK(timing.energy.adc == number(counts.conversions) * (4 * 2 + 0.5));
  CHECK(timing.energy.network == number(counts.bit_hops) * 0.125);
  CHECK(timing.energy.attention == number(counts.attention_macs) * 0.75 + number(counts.kv_bytes) * 3);
  CHECK(timing.energy.buffer == number(counts.buffer_bytes) * 0.0625);
  // Per token: add 2 + 2 (norm pairs) and 4 times 4 (residuals), mul 12, silu 12, rope 12, moments 16, stat 4, norm 16.
  CHECK(timing.energy.digital == 3 * (20 * 1 + 12 * 2 + 12 * 3 + 12 * 4 + 16 * 5 + 4 * 6 + 16 * 7));
  // 4 arrays at 0.5 mW and 2 tiles with 3 units at 2 mW: 14 mW; 1 mW for 1 ns is 1 pJ.
  CHECK(timing.energy.passive == doctest::Approx(14.0 * static_cast<double>(timing.total) / kNs));
  CHECK(timing.energy.total() == timing.energy.active() + timing.energy.passive);

  chip.array.idle_columns_draw = true;
  const Timing drawing = simulate_good(program, chip);
  CHECK(drawing.counts.active_cells == drawing.counts.driven_rows * 8);
  chip.system.arrays = 10;
  CHECK(simulate_good(program, chip).energy.passive == doctest::Approx(17.0 * static_cast<double>(timing.total) / kNs));
}

}  // namespace danaus::machine
