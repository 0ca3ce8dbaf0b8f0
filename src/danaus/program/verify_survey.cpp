// The static checks, table by table and then command by command.
//
// Addresses are affine in (element, run, register) and registers are 0 up to a known maximum, so bounds are interval
// arithmetic over all iterations. Coverage is a fingerprint: the rectangle of inputs [f, f+n) and outputs [g, g+m) has
// the value (x^f + ... + x^(f+n-1)) (y^g + ... + y^(g+m-1)) for random x, y of the prime field, and the sum over
// everything that is read equals the sum over all blocks (up to a chance of 2^-36) only if every weight is read once: a
// polynomial identity in O(1) per rectangle. Which weight it is, is counted only when the fingerprints differ.
#include "danaus/program/verify_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "danaus/core/graph.h"
#include "danaus/program/field.h"

namespace danaus::program {
namespace {

/// The last command of a tile that is looked at after all commands.
constexpr std::uint32_t kKeep = std::numeric_limits<std::uint32_t>::max();

/// b^f + ... + b^(f+n-1), times (b - 1), for exponents below 2^27.
class Powers {
 public:
  explicit Powers(std::uint64_t base) {
    for (std::size_t digit = 0; digit < tables_.size(); ++digit) {
      tables_[digit][0] = 1;
      for (std::size_t n = 1; n < kDigit; ++n) tables_[digit][n] = field::multiply(tables_[digit][n - 1], base);
      base = field::power(base, kDigit);
    }
  }
  std::uint64_t range(std::uint64_t first, std::uint64_t count) const {
    return field::subtract(power(first + count), power(first));
  }

 private:
  static constexpr std::size_t kDigit = 512;
  std::uint64_t power(std::uint64_t exponent) const {
    return field::multiply(field::multiply(tables_[0][exponent % kDigit], tables_[1][exponent / kDigit % kDigit]),
                           tables_[2][exponent / kDigit / kDigit % kDigit]);
  }
  std::array<std::array<std::uint64_t, kDigit>, 3> tables_{};
};

/// Stage names as in patches: R and L, W for an only stage.
std::string stage_name(const Node& node, std::uint32_t stage) {
  return fmt::format("{}.{}", node.name, node.structure.stages() == 1 ? 'W' : stage == 0 ? 'R' : 'L');
}

std::uint64_t largest_register(const Repeat& repeat, std::uint8_t base, std::uint32_t iterations) {
  const std::uint64_t step = base == 0 ? 0 : repeat.step[base - 1];
  const std::uint64_t modulus = base == 0 ? 0 : repeat.modulus[base - 1];
  const std::uint64_t last = (iterations - 1) * step;
  if (modulus == 0 || last < modulus) return last;
  return modulus - std::gcd(step, modulus);  // every value is a multiple of their common divisor
}

/// How many different values a register takes before the first one comes back.
std::uint64_t period(const Repeat& repeat, std::uint8_t base) {
  const std::uint64_t step = repeat.step[base - 1], modulus = repeat.modulus[base - 1];
  return step == 0 ? 1 : modulus / std::gcd(step, modulus);
}

/// Whether a register gets back to smaller values; otherwise its modulus, if it has one, does not matter.
bool turns(const Repeat& repeat, std::uint8_t base, std::uint32_t iterations) {
  const std::uint64_t step = repeat.step[base - 1], modulus = repeat.modulus[base - 1];
  return step != 0 && modulus != 0 && (iterations - 1) * step >= modulus;
}

/// Whether a register that turns has slots that the proof does not use, or none that it uses twice.
bool has_unproved_slots(const Repeat& repeat, std::uint8_t base, const Survey& survey) {
  return turns(repeat, base, survey.tokens) &&
         survey.proof_tokens < std::min<std::uint64_t>(survey.tokens, period(repeat, base) + 1);
}

/// How many tokens the proof executes: see verify.cpp.
std::uint32_t proof_tokens(const Survey& survey) {
  constexpr std::uint32_t kMostTokens = 64;
  constexpr std::uint64_t kLittleWork = std::uint64_t{1} << 22;  // elements: a few milliseconds
  constexpr std::uint64_t kMuchWork = std::uint64_t{1} << 34;
  const std::uint32_t most = std::min(survey.tokens, kMostTokens);
  std::uint32_t tokens = std::min(most, survey.slots + 1);
  while (tokens > 2 && tokens * survey.work > kMuchWork) --tokens;
  while (tokens < most && (tokens + 1) * survey.work <= kLittleWork) ++tokens;
  return tokens;
}

class Surveyor {
 public:
  Surveyor(const Program& program, const Images& images, Faults& faults)
      : program_(program),
        images_(images),
        faults_(faults),
        x_powers_(field::reduce(field::hash({0x78}))),
        y_powers_(field::reduce(field::hash({0x79}))) {}

  Survey run() {
    if (check_tables() && check_loops()) {
      check_images();
      check_intent();
      if (survey_.executable) check_commands();
    }
    for (const Location& output : program_.outputs) {
      if (survey_.executable) survey_.last_command.at(index(output.tile)) = kKeep;
    }
    return std::move(survey_);
  }

 private:
  bool check_tables();
  bool check_loops();
  void check_images();
  void check_copies();
  void check_intent();
  void check_locations(const std::vector<Location>& locations, bool inputs);
  void check_constants();
  void check_distances();
  void check_commands();
  void check(const Mvm& mvm);
  void check(const Move& move);
  void check(const Vec& vec);
  bool check_gather(const Vec& vec);
  void check(const Attend& attend);
  void check(const Repeat&) {}
  void check(const When& when);
  void check(const End&) {}
  void check(const Halt&) {}
  void check_isolation(const Mvm& mvm);
  void check_coverage();
  void check_idle_images();
  void explain_coverage(std::size_t stage);
  void check_kv();

  /// An error after which the program cannot be executed.
  void broken(Error error) {
    survey_.executable = false;
    faults_.add(std::move(error));
  }
  void out_of_bounds(std::string text) { broken(Error("verify.bounds", Failure::check, std::move(text))); }

  /// Gives up on programs that nobody can wait for.
  bool too_large() {
    if (survey_.work <= kMostWork) return false;
    broken(Error("verify.proof-size", Failure::unsupported, "the program is too large to be verified"));
    faults_.stop();
    return true;
  }

  bool undecodable(std::uint32_t command, Error error) {
    faults_.at_command(command);
    broken(std::move(error));
    faults_.at_no_command();
    return false;
  }

  std::uint64_t tiles() const { return program_.chip.tiles(); }
  bool check_tile(TileId tile) {
    if (index(tile) < tiles()) return true;
    out_of_bounds(fmt::format("there is no tile {}, the program has {}", index(tile), tiles()));
    return false;
  }
  bool check_config(ConfigId config, Config::Kind kind, std::string_view what) {
    const std::vector<Config>& configs = program_.intent.configs;
    if (index(config) < configs.size() && configs[index(config)].kind == kind) return true;
    broken(
        Error("verify.config", Failure::check, fmt::format("configuration {} is not one for {}", index(config), what)));
    return false;
  }
  void use(TileId tile) { survey_.last_command.at(index(tile)) = command_ + 1; }
  void check_later_tokens();
  void check_range(TileId tile, std::uint64_t offset, std::uint64_t length, std::uint8_t base, std::string_view what);
  /// The addresses of a place, without the register, as [first, second); checked.
  std::pair<std::uint64_t, std::uint64_t> check_place(TileId tile, const Place& place, std::uint32_t length,
                                                      std::uint32_t count, std::string_view what);
  void note_addresses(TileId tile, std::uint64_t first, std::uint64_t end, std::uint8_t base);
  void check_distinct(const Place& place, std::uint32_t length, std::uint32_t count);

  const Program& program_;
  const Images& images_;
  Faults& faults_;
  Survey survey_;
  std::uint32_t command_ = 0;
  /// The addresses that a tile's commands and locations form with one base register, before it is added.
  struct Extent {
    std::uint64_t first = kNever;
    std::uint64_t end = 0;
    bool works = false;  ///< also outside inputs and outputs, which are compared one by one
  };
  /// Where an input or output of the first token lies.
  struct TokenPlace {
    TileId tile{};
    std::uint8_t base = 0;
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    auto operator<=>(const TokenPlace&) const = default;
  };
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  SparseTable<std::array<Extent, 4>> extents_;  ///< by tile; only if there are several tokens
  std::vector<TokenPlace> places_;              ///< sorted
  std::array<bool, 4> grows_{};                 ///< registers that in some loop only grow
  bool in_code_ = false;
  const Loop* loop_ = nullptr;                       ///< that contains the current command
  const Branch* branch_ = nullptr;                   ///< that contains the current command
  std::array<std::uint64_t, 4> largest_register_{};  ///< of the current loop
  Activation activation_;
  Powers x_powers_, y_powers_;
  std::vector<std::uint64_t> idle_fingerprints_;  ///< of what lies on arrays, of idle operators
  std::vector<std::uint64_t> fingerprints_;       ///< node * 2 + stage: of what is read
  std::vector<bool> region_used_,
      appends_;                          ///< per KV region: a context of the intent is computed, entries are appended
  bool regions_move_ = false;            ///< a register says which region
  std::vector<std::uint64_t> appended_;  ///< per KV region
};

bool Surveyor::check_tables() {
  const ChipShape& chip = program_.chip;
  if (chip.rows < 1 || chip.rows > 1024 || chip.cols < 1 || chip.cols > 1024 || chip.arrays_per_tile < 1 ||
      chip.buffer > 1u << 24) {
    out_of_bounds(fmt::format("a chip of {}x{} arrays, {} in a tile of {} elements is not possible", chip.rows,
                              chip.cols, chip.arrays_per_tile, chip.buffer));
    return false;
  }
  if (chip.is_dealt() && (chip.chips == 0 || chip.arrays_per_chip == 0)) {
    out_of_bounds(fmt::format("{} chips of {} arrays are not possible", chip.chips, chip.arrays_per_chip));
    return false;
  }
  if (Result<void> valid = validate(program_.intent); !valid) {
    broken(std::move(valid).error());
    return false;
  }
  for (const Group& group : program_.groups) {
    if (!group.members.empty() && !check_tile(group.members.back())) return false;
    if (!std::is_sorted(group.members.begin(), group.members.end(), std::less_equal<>())) {
      out_of_bounds("the members of a group are not in ascending order, each once");
      return false;
    }
  }
  for (const KvRegion& region : program_.kv) {
    if (!check_tile(region.tile)) return false;
  }
  for (const Node& node : program_.intent.nodes) {
    if (node.kind != NodeKind::linear) continue;
    // The rules of structures are those of their text form.
    Result<Structure> same = parse_structure(to_string(node.structure), node.structure.out, node.structure.in);
    if (same) same->selection = node.structure.selection;  // it has been checked with the graph
    if (!same || *same != node.structure) {
      broken(Error("verify.image", Failure::check, fmt::format("the structure of '{}' is not possible", node.name)));
      return false;
    }
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
      const Config& config = program_.intent.configs[index(node.configs[stage])];
      if (config.adc_bits >= 1 && config.adc_bits <= 36 && config.dac_bits >= 1 && config.dac_bits <= 16) continue;
      faults_.add(Error("verify.adc-range", Failure::check,
                        fmt::format("{} has {} DAC bits and {} ADC bits", stage_name(node, stage), config.dac_bits,
                                    config.adc_bits))
                      .with_hint("1 to 16 DAC bits and 1 to 36 ADC bits are possible"));
    }
  }
  return true;
}

// A copy stands in for its original everywhere: it has to be an array of its own beside it.
void Surveyor::check_copies() {
  const ChipShape& chip = program_.chip;
  const auto holds_cells = [&](ArrayId array) {
    const auto found = std::lower_bound(program_.patches.begin(), program_.patches.end(), array,
                                        [](const Patch& patch, ArrayId number) { return patch.array < number; });
    return found != program_.patches.end() && found->array == array;
  };
  const bool sorted = std::is_sorted(program_.copies.begin(), program_.copies.end(),
                                     [](const Copy& a, const Copy& b) { return a.array <= b.array; });
  for (const Copy& copy : program_.copies) {
    std::string_view problem;
    if (!sorted) problem = "copies are sorted by array, each once";
    if (index(copy.array) >= chip.arrays || index(copy.of) >= chip.arrays) problem = "there is no such array";
    if (problem.empty() && holds_cells(copy.array)) problem = "it has patches of its own";
    if (problem.empty() && !holds_cells(copy.of)) problem = "the other has no patches";
    if (problem.empty() && chip.tile_of(copy.array) != chip.tile_of(copy.of)) problem = "they are on different tiles";
    if (problem.empty() && chip.passes() > 1) problem = "arrays that are written again are not copied";
    if (problem.empty()) continue;
    broken(Error("verify.copy", Failure::check,
                 fmt::format("array {} cannot be a copy of array {}: {}", index(copy.array), index(copy.of), problem)));
    return;
  }
}

bool Surveyor::check_loops() {
  const auto bad = [&](std::uint32_t command, std::string text) {
    faults_.at_command(command);
    broken(Error("verify.loop", Failure::check, std::move(text)));
    faults_.at_no_command();
    return false;
  };
  const auto size = static_cast<std::uint32_t>(program_.code.size());
  bool open = false, branches = false;
  bool halted = false;
  for (std::uint32_t command = 0; command < size; ++command) {
    // Opcodes, see README.md; other commands do not matter here.
    constexpr std::uint64_t kRep = 5, kEnd = 6, kHalt = 7, kWhen = 8;
    switch (program_.code[command].words[0] & 0xff) {
      case kWhen: {
        if (branches) return bad(command, "'when' does not nest");
        branches = true;
        const Result<Command> decoded = decode(program_.code[command]);
        if (!decoded) return undecodable(command, decoded.error());
        survey_.branches.push_back({.begin = command, .end = 0, .when = std::get<When>(*decoded)});
        break;
      }
      case kRep: {
        if (branches) return bad(command, "a loop inside 'when'");
        if (open) return bad(command, "loops do not nest");
        open = true;
        const Result<Command> decoded = decode(program_.code[command]);
        if (!decoded) return undecodable(command, decoded.error());
        survey_.loops.push_back({.begin = command, .end = 0, .repeat = std::get<Repeat>(*decoded)});
        break;
      }
      case kEnd:
        if (branches) {
          branches = false;
          survey_.branches.back().end = command;
          break;
        }
        if (!open) return bad(command, "'end' without 'rep' or 'when'");
        open = false;
        survey_.loops.back().end = command;
        break;
      case kHalt:
        if (open || branches) return bad(command, "'halt' inside a loop or 'when'");
        if (command + 1 != size) return bad(command, "commands after 'halt'");
        halted = true;
        break;
      default:
        break;
    }
  }
  if (!halted) {
    broken(Error("verify.loop", Failure::check, "the last command is not 'halt'"));
    return false;
  }
  for (const Loop& loop : survey_.loops) {
    const Repeat& first = survey_.loops.front().repeat;
    if (loop.repeat.n != first.n)
      return bad(loop.begin,
                 fmt::format("this loop has {} iterations, the first one {}: every loop passes over all tokens",
                             loop.repeat.n, first.n));
    for (std::uint8_t base = 1; base < 4; ++base) {
      const std::uint64_t step = loop.repeat.step[base - 1], modulus = loop.repeat.modulus[base - 1];
      if (step != 0 && modulus != 0)
        survey_.slots =
            std::max<std::uint32_t>(survey_.slots, static_cast<std::uint32_t>(modulus / std::gcd(step, modulus)));
    }
  }
  if (!survey_.loops.empty()) {
    survey_.repeat = survey_.loops.front().repeat;
    survey_.tokens = survey_.repeat.n;
  }
  // Locations are per token: the registers they name have to mean the same in every loop.
  std::array<bool, 4> named{};
  for (const auto* list : {&program_.inputs, &program_.outputs}) {
    for (const Location& location : *list) named[location.address.base & 3] = true;
  }
  for (const Sink& sink : program_.sinks) named[sink.address.base & 3] = true;
  for (const Loop& loop : survey_.loops) {
    for (std::uint8_t base = 1; base < 4; ++base) {
      if (named[base] && (loop.repeat.step[base - 1] != survey_.repeat.step[base - 1] ||
                          loop.repeat.modulus[base - 1] != survey_.repeat.modulus[base - 1]))
        return bad(loop.begin, fmt::format("register {} says where inputs, outputs or sinks are, but this loop counts "
                                           "it differently from the first",
                                           base));
    }
  }
  return true;
}

void Surveyor::check_images() {
  const ChipShape& chip = program_.chip;
  const auto order = [](const Patch& p) { return std::tuple(p.array, p.row, p.column); };
  for (std::size_t p = 0; p < program_.patches.size() && !faults_.full(); ++p) {
    const Patch& patch = program_.patches[p];
    const auto where = [&] {
      return fmt::format("patch {} (array {}, row {}, column {})", p, index(patch.array), patch.row, patch.column);
    };
    if (p > 0 && order(patch) < order(program_.patches[p - 1])) {
      broken(Error("verify.image", Failure::check,
                   where() + " is out of order: patches are sorted by array, row and column"));
      return;
    }
    if (index(patch.array) >= chip.arrays) {
      out_of_bounds(fmt::format("{}: the program has {} arrays", where(), chip.arrays));
      continue;
    }
    if (patch.row + std::uint32_t{patch.rows} > chip.rows || patch.column + std::uint32_t{patch.columns} > chip.cols) {
      out_of_bounds(fmt::format("{}: {}x{} cells reach beyond an array of {}x{}", where(), patch.rows, patch.columns,
                                chip.rows, chip.cols));
      continue;
    }
    const bool linear =
        index(patch.node) < program_.intent.nodes.size() && program_.intent.at(patch.node).kind == NodeKind::linear;
    if (linear && locate(program_.intent.at(patch.node).structure, patch)) continue;
    broken(Error(
        "verify.image", Failure::check,
        linear ? fmt::format(
                     "{}: {}x{} cells from input {} (step {}) to output {} (step {}) do not lie in one block of {}",
                     where(), patch.rows, patch.columns, patch.in_first, patch.in_step, patch.out_first, patch.out_step,
                     stage_name(program_.intent.at(patch.node), patch.stage))
               : where() + " belongs to no linear operator"));
  }
  if (!survey_.executable) return;
  for (const ArrayId array : images_.arrays()) {
    const std::span<const Patch> patches = images_.of(array);
    const auto overlap = find_overlap(patches);
    if (!overlap) continue;
    const Patch &a = patches[overlap->first], &b = patches[overlap->second];
    broken(
        Error("verify.overlap", Failure::check,
              fmt::format("array {}: the patch of {} at row {}, column {} lies on the one of {} at row {}, column {}",
                          index(array), stage_name(program_.intent.at(b.node), b.stage), b.row, b.column,
                          stage_name(program_.intent.at(a.node), a.stage), a.row, a.column)));
    if (faults_.full()) return;
  }
  check_copies();
}

void Surveyor::check_range(TileId tile, std::uint64_t offset, std::uint64_t length, std::uint8_t base,
                           std::string_view what) {
  const std::uint64_t end = offset + length + largest_register_[base];
  if (length != 0 && end <= program_.chip.buffer) {
    survey_.buffer_used = std::max(survey_.buffer_used, static_cast<std::uint32_t>(end));
    note_addresses(tile, offset, offset + length, base);
    return;
  }
  out_of_bounds(
      fmt::format("{} reaches element {} of a buffer of {}", what, end == 0 ? 0 : end - 1, program_.chip.buffer));
}

void Surveyor::check_intent() {
  if (!survey_.loops.empty()) {
    for (std::uint8_t base = 1; base < 4; ++base)
      largest_register_[base] = largest_register(survey_.repeat, base, survey_.tokens);
  }
  check_locations(program_.inputs, true);
  check_locations(program_.outputs, false);
  check_constants();
  for (const Sink& sink : program_.sinks) {
    if (check_tile(sink.tile))
      check_range(sink.tile, sink.address.offset, sink.length, sink.address.base & 3, "a sink");
  }
  std::vector<bool> used(program_.kv.size());
  region_used_.assign(program_.kv.size(), false);
  appends_.assign(program_.kv.size(), false);
  std::array<std::optional<std::uint32_t>, 2> starts;  // of regions of its own, of span `other`
  for (const Node& node : program_.intent.nodes) {
    if (node.kind != NodeKind::attend) continue;
    std::optional<std::uint32_t>& start = starts[node.span == Span::other ? 1 : 0];
    const bool is_used = computes_context(node) || appends(program_.intent, node);
    if (node.span == Span::other && computes_context(node) && appends(program_.intent, node))
      broken(Error("verify.intent", Failure::check,
                   fmt::format("'{}' attends to another token stream: a program executes either its keys and values or "
                               "its context",
                               node.name)));
    for (std::uint32_t head = 0; head < node.kv_heads; ++head) {
      const std::uint64_t number = std::uint64_t{index(node.kv_first)} + head;
      const auto bad = [&](std::string_view text) {
        broken(
            Error("verify.intent", Failure::check, fmt::format("KV region {} of '{}': {}", number, node.name, text)));
      };
      if (number >= program_.kv.size()) {
        bad("there is no such region");
        break;
      }
      const KvRegion& region = program_.kv[number];
      if (used[number]) bad("it belongs to another head or node already");
      used[number] = true;
      if (region.size != node.head_size || region.queries != node.query_heads / node.kv_heads)
        bad("its shape is not that of the heads");
      region_used_[number] = computes_context(node);
      appends_[number] = appends(program_.intent, node);
      if (!is_used) continue;
      if (node.span == Span::other && computes_context(node) && region.start == 0)
        bad("it has no entries of the other token stream");
      if (!start) start = region.start;
      if (region.start != *start) bad("it starts at another position than the other regions");
    }
  }
  survey_.start = starts[0].value_or(0);
  survey_.other_start = starts[1].value_or(0);
  if (survey_.executable) check_distances();
}

/// Every element of every input (or output) has one location.
void Surveyor::check_locations(const std::vector<Location>& locations, bool inputs) {
  const Graph& graph = program_.intent;
  std::vector<Location> sorted = locations;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Location& a, const Location& b) {
    return std::pair(a.node, a.first) < std::pair(b.node, b.first);
  });
  std::vector<bool> wanted(graph.nodes.size());
  for (std::size_t n = 0; n < graph.nodes.size(); ++n)
    wanted[n] = inputs && graph.nodes[n].kind == NodeKind::input && !graph.nodes[n].idle;
  for (const NodeId output : graph.outputs) {
    if (!inputs) wanted[index(output)] = !graph.at(output).idle;
  }
  std::vector<std::uint64_t> covered(graph.nodes.size());
  for (const Location& location : sorted) {
    if (index(location.node) >= graph.nodes.size() || !wanted[index(location.node)]) {
      broken(Error("verify.intent", Failure::check,
                   fmt::format("a location is for node {}, which is no {} of this program", index(location.node),
                               inputs ? "input" : "output")));
      return;
    }
    const Node& node = graph.at(location.node);
    const std::string what = fmt::format("elements {} to {} of '{}'", location.first,
                                         std::uint64_t{location.first} + location.length - 1, node.name);
    if (location.first + std::uint64_t{location.length} > node.size || location.length == 0)
      return broken(Error("verify.intent", Failure::check, fmt::format("{}: it has {} elements", what, node.size)));
    if (location.first != covered[index(location.node)])
      return broken(Error("verify.intent", Failure::check,
                          fmt::format("{} come after element {}: every element has one location", what,
                                      covered[index(location.node)])));
    covered[index(location.node)] += location.length;
    if (check_tile(location.tile))
      check_range(location.tile, location.address.offset, location.length, location.address.base & 3, what);
  }
  for (std::size_t n = 0; n < wanted.size(); ++n) {
    if (wanted[n] && covered[n] != graph.nodes[n].size)
      return broken(Error("verify.intent", Failure::check,
                          fmt::format("the {} '{}' has {} elements, {} have a location", inputs ? "input" : "output",
                                      graph.nodes[n].name, graph.nodes[n].size, covered[n])));
  }
}

/// Constants lie in buffers, and all elements of those that the graph uses exist somewhere.
void Surveyor::check_constants() {
  std::unordered_map<std::string_view, std::vector<std::pair<std::uint64_t, std::uint64_t>>> ranges;  // looked up only
  for (const Constant& constant : program_.constants) {
    const std::string what = fmt::format("the constant '{}'", constant.name);
    if (check_tile(constant.tile)) check_range(constant.tile, constant.offset, constant.length, 0, what);
    ranges[constant.name].emplace_back(constant.first, std::uint64_t{constant.first} + constant.length);
  }
  for (auto& [name, list] : ranges) std::sort(list.begin(), list.end());
  for (const Node& node : program_.intent.nodes) {
    if (node.idle || node.constant.empty() || node.constant == "zero") continue;
    std::uint64_t covered = 0;
    if (const auto found = ranges.find(node.constant); found != ranges.end()) {
      for (const auto& [first, end] : found->second) {
        if (first <= covered) covered = std::max(covered, end);
      }
    }
    if (covered < node.size)
      broken(Error("verify.intent", Failure::check,
                   fmt::format("node '{}' needs {} elements of the constant '{}', element {} is nowhere", node.name,
                               node.size, node.constant, covered)));
  }
}

/// Inputs, outputs and constants keep clear of each other for all tokens; only an output may use the place of the same
/// output of an earlier token.
void Surveyor::check_distances() {
  struct Range {
    TileId tile{};
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    std::size_t line = 0;
    bool output = false;
    std::string_view name;
  };
  constexpr std::size_t kMostRanges = std::size_t{1} << 21;
  const std::size_t lines = program_.inputs.size() + program_.outputs.size();
  const std::size_t tokens =
      std::min<std::size_t>(survey_.tokens, std::max<std::size_t>(2, kMostRanges / std::max<std::size_t>(1, lines)));
  std::vector<Range> ranges;
  std::size_t line = 0;
  for (const Constant& constant : program_.constants)
    ranges.push_back({constant.tile, constant.offset, std::uint64_t{constant.offset} + constant.length, ++line, false,
                      constant.name});
  for (const auto* list : {&program_.inputs, &program_.outputs}) {
    for (const Location& location : *list) {
      ++line;
      for (std::uint32_t token = 0; token < tokens; ++token) {
        const std::uint64_t first =
            std::uint64_t{location.address.offset} + register_value(survey_.repeat, location.address.base & 3, token);
        ranges.push_back({location.tile, first, first + location.length, line, list == &program_.outputs,
                          program_.intent.at(location.node).name});
      }
    }
  }
  const auto key = [](const Range& range) { return std::tuple(range.tile, range.first, range.line); };
  std::sort(ranges.begin(), ranges.end(), [&](const Range& a, const Range& b) { return key(a) < key(b); });
  ranges.erase(std::unique(ranges.begin(), ranges.end(),
                           [&](const Range& a, const Range& b) { return a.output && key(a) == key(b); }),
               ranges.end());
  for (std::size_t n = 1; n < ranges.size(); ++n) {
    const Range &a = ranges[n - 1], &b = ranges[n];
    if (a.tile != b.tile || a.end <= b.first) continue;
    return broken(
        Error("verify.intent", Failure::check,
              fmt::format("'{}' at elements {} to {} of tile {} overlaps '{}' at {} to {} (possibly of another token)",
                          b.name, b.first, b.end - 1, index(b.tile), a.name, a.first, a.end - 1))
            .with_hint("raise the step of the register, or move one of them"));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Commands

void Surveyor::check_commands() {
  for (const auto* list : {&program_.inputs, &program_.outputs}) {
    for (const Location& location : *list)
      places_.push_back({location.tile, location.address.base, location.address.offset,
                         std::uint64_t{location.address.offset} + location.length});
  }
  std::sort(places_.begin(), places_.end());
  for (const Loop& loop : survey_.loops) {
    for (std::uint8_t base = 1; base < 4; ++base)
      grows_[base] = grows_[base] || (loop.repeat.step[base - 1] != 0 && !turns(loop.repeat, base, survey_.tokens));
  }
  in_code_ = true;
  fingerprints_.assign(program_.intent.nodes.size() * 2, 0);
  appended_.assign(program_.kv.size(), 0);
  largest_register_ = {};
  std::size_t next_loop = 0, next_branch = 0;
  const auto size = static_cast<std::uint32_t>(program_.code.size());
  for (command_ = 0; command_ < size && !faults_.full(); ++command_) {
    if (next_loop < survey_.loops.size() && command_ == survey_.loops[next_loop].begin) {
      loop_ = &survey_.loops[next_loop++];
      for (std::uint8_t base = 1; base < 4; ++base)
        largest_register_[base] = largest_register(loop_->repeat, base, survey_.tokens);
    }
    faults_.at_command(command_);
    const Result<Command> decoded = decode(program_.code[command_]);
    if (!decoded) {
      undecodable(command_, decoded.error());
      return;
    }
    if (next_branch < survey_.branches.size() && command_ == survey_.branches[next_branch].begin)
      branch_ = &survey_.branches[next_branch++];
    std::visit([&](const auto& command) { check(command); }, *decoded);
    if (branch_ && command_ == branch_->end) branch_ = nullptr;
    if (loop_ && command_ == loop_->end) {
      loop_ = nullptr;
      largest_register_ = {};
    }
  }
  faults_.at_no_command();
  if (!survey_.executable || faults_.full()) return;
  check_coverage();
  check_kv();
  survey_.proof_tokens = proof_tokens(survey_);
  if (survey_.proof_tokens < survey_.tokens) check_later_tokens();
}

/// The proof runs few tokens. What a register reaches in later ones must not be what something else uses, and tokens
/// far apart must not share addresses of a register that only grows. Conservative: whole ranges of addresses are
/// compared, tile by tile.
///
/// Slots that the proof does not reach keep clear of everything else for all tokens. Then what a token does in its slot
/// depends on nothing but the token: an element of a slot that is read before the token writes it is undefined in the
/// proof's first token. Across loops, see prove_with_fewer_slots.
void Surveyor::check_later_tokens() {
  struct Step {
    std::uint64_t least = kNever;  ///< over the loops in which the register only grows
    std::uint64_t most = 0;
  };
  const std::uint64_t proved = survey_.proof_tokens;
  std::array<Step, 4> steps;
  std::array<std::uint64_t, 4> reach{};  // largest value
  std::array<bool, 4> slots{}, unproved{};
  std::uint64_t together = 1;  // tokens after which the slots of all registers come back together
  for (const Loop& loop : survey_.loops) {
    for (std::uint8_t base = 1; base < 4; ++base) {
      reach[base] = std::max(reach[base], largest_register(loop.repeat, base, survey_.tokens));
      const std::uint64_t step = loop.repeat.step[base - 1];
      if (turns(loop.repeat, base, survey_.tokens)) {
        slots[base] = true;
        unproved[base] = unproved[base] || has_unproved_slots(loop.repeat, base, survey_);
        if (together < survey_.tokens) together = std::lcm(together, period(loop.repeat, base));
      } else if (step != 0) {
        steps[base].least = std::min(steps[base].least, step);
        steps[base].most = std::max(steps[base].most, step);
      }
    }
  }
  for (const Loop& loop : survey_.loops) {
    const Repeat& repeat = loop.repeat;
    for (std::uint8_t base = 1; base < 4; ++base) {
      if (!unproved[base]) continue;
      const bool alike = repeat.step[base - 1] == survey_.repeat.step[base - 1] &&
                         repeat.modulus[base - 1] == survey_.repeat.modulus[base - 1];
      // Where the first loop does not count it at all, the loop that does is the one to report.
      if (alike && (repeat.step[base - 1] == 0 || repeat.modulus[base - 1] % repeat.step[base - 1] == 0)) continue;
      faults_.at_command(loop.begin);
      broken(
          Error("verify.loop", Failure::check,
                alike ? fmt::format("the modulus {} of register {} is no multiple of its step {}",
                                    repeat.modulus[base - 1], base, repeat.step[base - 1])
                      : fmt::format("this loop counts register {} differently from the first", base))
              .note(fmt::format("the proof executes {} of {} tokens, which does not reach all values of the register",
                                proved, survey_.tokens))
              .with_hint("let the register step through the same whole slots in every loop"));
      faults_.at_no_command();
      return;
    }
  }
  const bool mixed = proved < std::min<std::uint64_t>(survey_.tokens, together + 1);
  for (std::uint8_t base = 1; base < 4; ++base) unproved[base] = unproved[base] || (slots[base] && mixed);
  bool reported = false;
  const auto bad = [&](std::uint32_t tile, std::uint8_t base, std::string_view what) {
    reported = true;
    broken(
        Error("verify.loop", Failure::check,
              fmt::format("register {} brings later tokens to elements of tile {} that {} use", base, tile, what))
            .note(
                fmt::format("{} of {} tokens are executed in the proof, the others must not collide by their addresses",
                            proved, survey_.tokens))
            .with_hint("keep the address ranges of the base registers apart, and those of one token within its step"));
  };
  extents_.for_each([&](std::uint32_t tile, std::array<Extent, 4>& extents) {
    for (std::uint8_t base = 1; base < 4 && !reported; ++base) {
      const Extent& own = extents[base];
      const bool grows = steps[base].most != 0;
      if ((!grows && !unproved[base]) || own.end == 0) continue;
      if (grows && own.works && own.end - own.first > steps[base].least * proved)
        return bad(tile, base, "tokens before them");
      const std::uint64_t first = own.first + (unproved[base] ? 0 : steps[base].least * proved);
      const std::uint64_t end = own.end + reach[base];
      for (std::uint8_t other = 0; other < 4; ++other) {
        const Extent& theirs = extents[other];
        if (other != base && theirs.end != 0 && theirs.first < end && first < theirs.end + reach[other])
          return bad(tile, base,
                     other == 0 ? "constants or addresses without register" : "addresses with another register");
      }
    }
  });
}

std::pair<std::uint64_t, std::uint64_t> Surveyor::check_place(TileId tile, const Place& place, std::uint32_t length,
                                                              std::uint32_t count, std::string_view what) {
  const std::int64_t inner = std::int64_t{length - 1} * place.element_stride;
  const std::int64_t outer = std::int64_t{count - 1} * place.run_stride;
  const std::int64_t first = place.offset + std::min<std::int64_t>(inner, 0) + std::min<std::int64_t>(outer, 0);
  const std::int64_t last = place.offset + std::max<std::int64_t>(inner, 0) + std::max<std::int64_t>(outer, 0);
  if (first < 0) {
    out_of_bounds(fmt::format("{} begins at element {} of a buffer", what, first));
    return {};
  }
  check_range(tile, static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(last - first + 1), place.base, what);
  return {static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(last + 1)};
}

void Surveyor::note_addresses(TileId tile, std::uint64_t first, std::uint64_t end, std::uint8_t base) {
  if (survey_.tokens == 1) return;
  if (in_code_ && !loop_) base = 0;  // registers are 0 outside loops
  Extent& extent = extents_.at(index(tile))[base];
  extent.first = std::min(extent.first, first);
  extent.end = std::max(extent.end, end);
  if (!grows_[base] || extent.works) return;
  const auto after = std::upper_bound(places_.begin(), places_.end(), TokenPlace{tile, base, first, kNever});
  const bool known = after != places_.begin() && std::prev(after)->tile == tile && std::prev(after)->base == base &&
                     end <= std::prev(after)->end;
  extent.works = in_code_ && !known;
}

/// No element is written twice by one command.
void Surveyor::check_distinct(const Place& place, std::uint32_t length, std::uint32_t count) {
  const std::uint64_t inner = static_cast<std::uint64_t>(std::abs(std::int64_t{place.element_stride}));
  const std::uint64_t outer = static_cast<std::uint64_t>(std::abs(std::int64_t{place.run_stride}));
  bool twice = (length > 1 && inner == 0) || (count > 1 && outer == 0);
  if (!twice && length > 1 && count > 1) {
    // e * inner = q * outer has its smallest solution at e = outer / divisor, q = inner / divisor.
    const std::uint64_t divisor = std::gcd(inner, outer);
    twice = outer / divisor < length && inner / divisor < count;
  }
  if (twice)
    broken(Error("verify.dead", Failure::check, "the destination has an element twice: one of the two is lost"));
}

void Surveyor::check(const Mvm& mvm) {
  const ChipShape& chip = program_.chip;
  if (index(mvm.array) >= chip.arrays)
    return out_of_bounds(fmt::format("there is no array {}, the program has {}", index(mvm.array), chip.arrays));
  if (mvm.rows.first >= chip.rows || mvm.rows.stride >= chip.rows || mvm.columns.first >= chip.cols ||
      mvm.columns.stride >= chip.cols)
    return out_of_bounds(
        fmt::format("a window begins (or has a stride) beyond the edge of a {}x{} array", chip.rows, chip.cols));
  const TileId tile = program_.tile_of(mvm.array);
  check_place(tile, mvm.src, mvm.rows.length, mvm.rows.count, "the source");
  check_place(tile, mvm.dst, mvm.columns.length, mvm.columns.count, "the destination");
  check_distinct(mvm.dst, mvm.columns.length, mvm.columns.count);
  use(tile);
  const std::span<const Patch> patches = images_.of(mvm.array);
  survey_.work += mvm.rows.cells() + mvm.columns.cells() + patches.size() * mvm.rows.count * mvm.columns.count;
  if (too_large()) return;
  if (!activation_.resolve(mvm, patches, chip)) return out_of_bounds("a window has a row or column twice");
  check_isolation(mvm);
}

void Surveyor::check_isolation(const Mvm& mvm) {
  const Graph& graph = program_.intent;
  if (const auto fault = activation_.isolation_fault()) {
    switch (fault->kind) {
      case IsolationFault::Kind::mixed_column:
        faults_.add(Error("verify.isolation", Failure::check,
                          fmt::format("column {} of array {} mixes an output of {} with one of {}", fault->cell,
                                      index(mvm.array), stage_name(graph.at(fault->first->node), fault->first->stage),
                                      stage_name(graph.at(fault->second->node), fault->second->stage)))
                        .with_hint("programmed cells on driven rows of a read column have to belong to one output"));
        break;
      case IsolationFault::Kind::idle_row:
        faults_.add(Error("verify.idle-row", Failure::check,
                          fmt::format("row {} of array {} is driven, but no column that is read has a weight on it",
                                      fault->cell, index(mvm.array))));
        break;
      case IsolationFault::Kind::idle_column:
        faults_.add(Error("verify.idle-column", Failure::check,
                          fmt::format("column {} of array {} is read, but has no weight on a driven row", fault->cell,
                                      index(mvm.array))));
        break;
    }
  }
  for (const Piece& piece : activation_.pieces()) {
    const Node& node = graph.at(piece.patch->node);
    const std::uint32_t stage = piece.patch->stage;
    if (node.configs[stage] != mvm.config) {
      faults_.add(Error("verify.config", Failure::check,
                        fmt::format("{} has configuration {}, the command says {}", stage_name(node, stage),
                                    index(node.configs[stage]), index(mvm.config))));
      break;
    }
    const std::optional<Guard> guard =
        branch_ ? std::optional(Guard{.gates = branch_->when.gates, .element = branch_->when.element}) : std::nullopt;
    if (node.guard != guard) {
      const auto text = [&](const std::optional<Guard>& g) {
        return g ? fmt::format("when element {} of '{}' is not zero", g->element, graph.at(g->gates).name)
                 : std::string("always");
      };
      faults_.add(Error("verify.guard", Failure::check,
                        fmt::format("{} is computed {}, the command is executed {}", stage_name(node, stage),
                                    text(node.guard), text(guard))));
      break;
    }
    const BlockPart part = *locate(node.structure, *piece.patch);  // exists: the images are checked
    const std::uint64_t output = std::uint64_t{part.block} * node.structure.block(stage, 0).out_count +
                                 part.first_output + (piece.column - piece.patch->column);
    std::uint64_t& fingerprint = fingerprints_[std::size_t{index(piece.patch->node)} * 2 + stage];
    fingerprint = field::add(fingerprint, field::multiply(x_powers_.range(piece.in_first, piece.rows),
                                                          y_powers_.range(output, piece.columns)));
  }
}

void Surveyor::check(const Move& move) {
  if (!check_tile(move.from)) return;
  if (index(move.config) != 0) check_config(move.config, Config::Kind::move, "moves");
  std::uint64_t targets = 1;
  if (!move.to_group) {
    if (!check_tile(TileId{move.to})) return;
  } else if (move.to >= program_.groups.size()) {
    return out_of_bounds(fmt::format("there is no group {}, the program has {}", move.to, program_.groups.size()));
  } else {
    targets = program_.groups[move.to].members.size();
    if (targets == 0) return out_of_bounds(fmt::format("group {} has no members", move.to));
    if (move.deal && targets != move.count)
      return out_of_bounds(fmt::format("{} runs are dealt to {} members", move.count, targets));
  }
  check_place(move.from, move.src, move.length, move.count, "the source");
  const TileId one{move.to};
  const std::span<const TileId> members =
      move.to_group ? std::span<const TileId>(program_.groups[move.to].members) : std::span(&one, 1);
  const auto [first, end] =
      check_place(members.front(), move.dst, move.length, move.deal ? 1 : move.count, "the destination");
  check_distinct(move.dst, move.length, move.deal ? 1 : move.count);
  if (!survey_.executable) return;
  survey_.work += std::uint64_t{move.length} * move.count * (move.deal ? 1 : targets);
  if (too_large()) return;
  use(move.from);
  for (const TileId member : members) {
    use(member);
    note_addresses(member, first, end, move.dst.base);
  }
}

void Surveyor::check(const Vec& vec) {
  if (!check_tile(vec.tile)) return;
  if (vec.op == VecOp::stat || vec.op == VecOp::norm) check_config(vec.config, Config::Kind::norm, "norms");
  if (vec.op == VecOp::route) check_config(vec.config, Config::Kind::route, "routes");
  if (vec.op == VecOp::gather && !check_gather(vec)) return;
  if (vec.op == VecOp::rope && check_config(vec.config, Config::Kind::rope, "rope")) {
    const std::uint32_t size = program_.intent.configs[index(vec.config)].size;
    if (vec.length != size)
      broken(Error("verify.config", Failure::check,
                   fmt::format("rope of {} elements with a configuration for {}", vec.length, size)));
  }
  for (std::uint32_t s = 0; s < source_count(vec.op); ++s)
    check_range(vec.tile, vec.src[s].offset, source_length(vec, s), vec.src[s].base, "a source");
  check_range(vec.tile, vec.dst.offset, result_length(vec), vec.dst.base, "the destination");
  survey_.work += vec.op == VecOp::gather ? std::uint64_t{vec.length} + vec.picked_from() : vec.length;
  if (too_large()) return;
  use(vec.tile);
}

/// A gather picks what the list has, within its source.
bool Surveyor::check_gather(const Vec& vec) {
  const std::size_t lists = program_.lists.size();
  if (vec.list() >= lists) {
    out_of_bounds(fmt::format("there is no list {}, the program has {}", vec.list(), lists));
    return false;
  }
  const std::span<const std::uint32_t> numbers = program_.lists[vec.list()].numbers();
  if (std::uint64_t{vec.first_picked()} + vec.length > numbers.size()) {
    out_of_bounds(fmt::format("list {} has {} entries, {} from {} on are picked", vec.list(), numbers.size(),
                              vec.length, vec.first_picked()));
    return false;
  }
  const std::span<const std::uint32_t> picked = numbers.subspan(vec.first_picked(), vec.length);
  const std::uint32_t largest = *std::max_element(picked.begin(), picked.end());
  if (largest < vec.picked_from()) return true;
  out_of_bounds(fmt::format("element {} is picked from {}", largest, vec.picked_from()));
  return false;
}

void Surveyor::check(const When& when) {
  const Graph& graph = program_.intent;
  if (!check_tile(when.tile)) return;
  if (index(when.gates) >= graph.nodes.size() || graph.at(when.gates).kind != NodeKind::route ||
      when.element >= graph.at(when.gates).size || graph.at(when.gates).idle) {
    branch_ = nullptr;  // the branch of no gate: its commands are looked at as if they stood outside
    return broken(Error("verify.guard", Failure::check,
                        fmt::format("node {} has no gate {} in this program", index(when.gates), when.element)));
  }
  check_range(when.tile, when.gate.offset, 1, when.gate.base, "the gate");
  survey_.work += 1;
  use(when.tile);
}

void Surveyor::check(const Attend& attend) {
  const std::uint64_t last = index(attend.region) + largest_register_[attend.region_base];
  if (last >= program_.kv.size())
    return out_of_bounds(fmt::format("there is no KV region {}, the program has {}", last, program_.kv.size()));
  const std::uint32_t iterations = loop_ ? survey_.tokens : 1;
  const bool moves = attend.region_base != 0 && loop_;
  regions_move_ = regions_move_ || moves;
  survey_.work += moves ? iterations : 1;
  if (too_large()) return;
  std::uint64_t previous = program_.kv.size();
  for (std::uint32_t token = 0; token < (moves ? iterations : 1); ++token) {
    const std::uint64_t number =
        index(attend.region) + (moves ? register_value(loop_->repeat, attend.region_base, token) : 0);
    if (attend.append) appended_[number] += moves ? 1 : iterations;
    if (!attend.append && !moves && !region_used_[number])
      return broken(Error("verify.intent", Failure::check,
                          fmt::format("no node that this program executes has its context in KV region {}", number)));
    if (number == previous) continue;
    previous = number;
    const KvRegion& region = program_.kv[number];
    const std::uint64_t length = attend.append ? region.size : std::uint64_t{region.size} * region.queries;
    check_range(region.tile, attend.a.offset, length, attend.a.base, attend.append ? "the key" : "the queries");
    check_range(region.tile, attend.b.offset, length, attend.b.base, attend.append ? "the value" : "the destination");
    survey_.work += length;
    use(region.tile);
    if (!survey_.executable) return;
  }
}

void Surveyor::check_kv() {
  for (std::size_t number = 0; number < program_.kv.size(); ++number) {
    const KvRegion& region = program_.kv[number];
    const std::uint64_t wanted = appends_[number] ? survey_.tokens : 0;
    if (!regions_move_ && appended_[number] != wanted)
      faults_.add(
          Error("verify.intent", Failure::check,
                fmt::format("KV region {} gets {} entries, the intent appends {}", number, appended_[number], wanted)));
    if (region.start + appended_[number] <= region.capacity) continue;
    broken(Error("verify.capacity", Failure::check,
                 fmt::format("KV region {} holds {} entries, but starts with {} and gets {} more", number,
                             region.capacity, region.start, appended_[number])));
  }
}

/// The weights of an idle operator lie on arrays, each once.
void Surveyor::check_idle_images() {
  for (const Patch& patch : program_.patches) {
    const Node& node = program_.intent.at(patch.node);
    if (!node.idle) continue;
    const BlockPart part = *locate(node.structure, patch);  // exists: the images are checked
    const std::uint64_t outputs = y_powers_.range(
        std::uint64_t{part.block} * node.structure.block(patch.stage, 0).out_count + part.first_output, patch.columns);
    std::uint64_t inputs = 0;
    for (std::uint32_t row = 0; patch.in_step != 1 && row < patch.rows; ++row)
      inputs = field::add(inputs, x_powers_.range(patch.in_first + std::uint64_t{row} * patch.in_step, 1));
    if (patch.in_step == 1) inputs = x_powers_.range(patch.in_first, patch.rows);
    std::uint64_t& fingerprint = idle_fingerprints_[std::size_t{index(patch.node)} * 2 + patch.stage];
    fingerprint = field::add(fingerprint, field::multiply(inputs, outputs));
  }
}

void Surveyor::check_coverage() {
  idle_fingerprints_.assign(fingerprints_.size(), 0);
  check_idle_images();
  for (std::size_t n = 0; n < program_.intent.nodes.size() && !faults_.full(); ++n) {
    const Node& node = program_.intent.nodes[n];
    if (node.kind != NodeKind::linear) continue;
    for (std::uint32_t stage = 0; stage < node.structure.stages(); ++stage) {
      std::uint64_t expected = 0;
      const std::uint32_t outputs = node.structure.block(stage, 0).out_count;
      for (std::uint32_t b = 0; b < node.structure.block_count(stage); ++b) {
        const Block block = node.structure.block(stage, b);
        expected = field::add(expected, field::multiply(x_powers_.range(block.in_first, block.in_count),
                                                        y_powers_.range(std::uint64_t{b} * outputs, block.out_count)));
      }
      if (node.idle && expected != idle_fingerprints_[n * 2 + stage])
        faults_.add(Error("verify.coverage", Failure::check,
                          fmt::format("the weights of {} do not lie on arrays, each once", stage_name(node, stage))));
      if ((node.idle ? 0 : expected) != fingerprints_[n * 2 + stage]) explain_coverage(n * 2 + stage);
    }
  }
}

/// Counts how often each weight of a stage is read and names the first that is not read once.
void Surveyor::explain_coverage(std::size_t stage_number) {
  const auto node_number = static_cast<std::uint32_t>(stage_number / 2);
  const auto stage = static_cast<std::uint32_t>(stage_number % 2);
  const Node& node = program_.intent.nodes[node_number];
  const Structure& structure = node.structure;
  Error error("verify.coverage", Failure::check,
              node.idle
                  ? fmt::format("weights of {} are read, which this program does not execute", stage_name(node, stage))
                  : fmt::format("not every weight of {} is read exactly once", stage_name(node, stage)));
  error.hint = "a weight may be missing from the images, or an activation is missing or doubled";
  constexpr std::uint64_t kMostCounts = std::uint64_t{1} << 24;
  std::vector<std::uint64_t> first_weight;  // per block
  std::uint64_t weights = 0;
  for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
    first_weight.push_back(weights);
    const Block block = structure.block(stage, b);
    weights += std::uint64_t{block.in_count} * block.out_count;
  }
  if (weights <= kMostCounts && !node.idle) {
    std::vector<std::uint8_t> counts(weights);
    for (const Record& record : program_.code) {
      const Command command = decode_unchecked(record);
      const Mvm* mvm = std::get_if<Mvm>(&command);
      if (!mvm || !activation_.resolve(*mvm, images_.of(mvm->array), program_.chip)) continue;
      for (const Piece& piece : activation_.pieces()) {
        if (index(piece.patch->node) != node_number || piece.patch->stage != stage) continue;
        const BlockPart part = *locate(structure, *piece.patch);
        const Block block = structure.block(stage, part.block);
        const std::uint32_t output = part.first_output + (piece.column - piece.patch->column);
        for (std::uint32_t i = piece.in_first - block.in_first; i < piece.in_first - block.in_first + piece.rows; ++i) {
          for (std::uint32_t j = output; j < output + piece.columns; ++j) {
            std::uint8_t& count = counts[first_weight[part.block] + std::uint64_t{i} * block.out_count + j];
            count = static_cast<std::uint8_t>(std::min(255, count + 1));
          }
        }
      }
    }
    for (std::uint32_t b = 0; b < structure.block_count(stage); ++b) {
      const Block block = structure.block(stage, b);
      const std::uint64_t size = std::uint64_t{block.in_count} * block.out_count;
      for (std::uint64_t w = 0; w < size; ++w) {
        const std::uint32_t count = counts[first_weight[b] + w];
        if (count == 1) continue;
        error.message = fmt::format("the weight of {} from input {} to output {} is read {} times for a token",
                                    stage_name(node, stage), block.in_first + w / block.out_count,
                                    block.out_first + w % block.out_count * block.out_step, count);
        return faults_.add(std::move(error));
      }
    }
  }
  faults_.add(std::move(error));
}

}  // namespace

void prove_with_fewer_slots(Survey& survey) {
  const auto shorten = [&](Repeat& repeat) {
    for (std::uint8_t base = 1; base < 4; ++base) {
      if (has_unproved_slots(repeat, base, survey))
        repeat.modulus[base - 1] = repeat.step[base - 1] * (survey.proof_tokens - 1);
    }
  };
  shorten(survey.repeat);
  for (Loop& loop : survey.loops) shorten(loop.repeat);
}

Survey survey(const Program& program, const Images& images, Faults& faults) {
  return Surveyor(program, images, faults).run();
}

}  // namespace danaus::program
