#include <array>

#include "danaus/core/internal_error.h"
#include "danaus/program/command_text.h"
#include "danaus/program/program.h"
#include "danaus/program/widths.h"

// The names of commands and vec operations, and one command as a line of text.

namespace danaus::program {
namespace {

struct VecOpInfo {
  std::string_view name;
  std::uint32_t sources;
};
constexpr std::array<VecOpInfo, 13> kVecOps = {{{"add", 2},
                                                {"mul", 2},
                                                {"silu", 1},
                                                {"gelu", 1},
                                                {"relu", 1},
                                                {"rope", 1},
                                                {"moments", 1},
                                                {"stat", 1},
                                                {"norm", 3},
                                                {"route", 1},
                                                {"scale", 2},
                                                {"gelu_tanh", 1},
                                                {"gather", 1}}};

}  // namespace

std::string_view name_of(VecOp op) { return kVecOps[static_cast<std::size_t>(op)].name; }

bool parse_vec_op(std::string_view text, VecOp& op) {
  for (std::size_t number = 0; number < kVecOps.size(); ++number) {
    if (kVecOps[number].name == text) {
      op = static_cast<VecOp>(number);
      return true;
    }
  }
  return false;
}

std::uint32_t source_count(VecOp op) { return kVecOps[static_cast<std::size_t>(op)].sources; }

Vec gather(TileId tile, std::uint32_t length, Address src, std::uint32_t picked_from, std::uint32_t list,
           std::uint32_t first, Address dst) {
  ensure(list < kMostConfigs, "lists are numbered like configurations");
  return {.op = VecOp::gather,
          .tile = tile,
          .length = length,
          .src = {src, Address{.offset = first}, Address{.offset = picked_from}},
          .dst = dst,
          .config = ConfigId{static_cast<std::uint16_t>(list)}};
}

std::uint32_t source_length(const Vec& vec, std::uint32_t source) {
  if (vec.op == VecOp::norm && source == 1) return 2;   // the pair (mean, 1/sigma)
  if (vec.op == VecOp::scale && source == 1) return 1;  // the factor
  return vec.op == VecOp::gather ? vec.picked_from() : vec.length;
}

std::uint32_t result_length(const Vec& vec) {
  return vec.op == VecOp::moments || vec.op == VecOp::stat ? 2 : vec.length;  // a pair
}

std::uint32_t fetched_length(const Vec& vec, std::uint32_t source) {
  return vec.op == VecOp::gather ? vec.length : source_length(vec, source);
}

namespace {

void append_window(std::string& text, char letter, const Window& window) {
  text += letter;
  append_number(text, window.first);
  if (window.length != 1) append_number(text, '+', window.length);
  if (window.count != 1) {
    append_number(text, 'x', window.count);
    append_number(text, '^', window.stride);
  }
}

void append_base(std::string& text, std::uint8_t base) {
  if (base != 0) append_number(text, '@', base);
}

void append_place(std::string& text, const Place& place) {
  append_number(text, place.offset);
  if (place.element_stride != 1) append_number(text, '*', place.element_stride);
  if (place.run_stride != 0) append_number(text, '^', place.run_stride);
  append_base(text, place.base);
}

void append_range(std::string& text, const Place& place, std::uint32_t length, std::uint32_t count) {
  append_number(text, place.offset);
  append_number(text, '+', length);
  if (place.element_stride != 1) append_number(text, '*', place.element_stride);
  if (count != 1) {
    append_number(text, 'x', count);
    append_number(text, '^', place.run_stride);
  }
  append_base(text, place.base);
}

void append_configuration(std::string& text, ConfigId config) {
  text += " k";
  append_number(text, index(config));
}

void append(std::string& text, const Mvm& mvm) {
  text += "mvm a";
  append_number(text, index(mvm.array));
  text += ' ';
  append_window(text, 'r', mvm.rows);
  text += ' ';
  append_window(text, 'c', mvm.columns);
  text += ' ';
  append_place(text, mvm.src);
  text += " -> ";
  append_place(text, mvm.dst);
  text += mvm.add ? " add" : " set";
  append_configuration(text, mvm.config);
}

void append(std::string& text, const Move& move) {
  text += "move t";
  append_number(text, index(move.from));
  text += ' ';
  append_range(text, move.src, move.length, move.count);
  text += move.to_group ? " -> g" : " -> t";
  append_number(text, move.to);
  text += ' ';
  append_place(text, move.dst);
  if (move.deal) text += " deal";
  if (index(move.config) != 0) append_configuration(text, move.config);
}

void append(std::string& text, const Vec& vec) {
  text += "vec t";
  append_number(text, index(vec.tile));
  text += ' ';
  text += name_of(vec.op);
  text += " n";
  append_number(text, vec.length);
  if (vec.op == VecOp::gather) {
    append_number(text, ' ', vec.src[0].offset);
    append_number(text, '+', vec.picked_from());
    append_base(text, vec.src[0].base);
    text += " list ";
    append_number(text, vec.list());
    text += " from ";
    append_number(text, vec.first_picked());
    text += " -> ";
    append_address(text, vec.dst);
    return;
  }
  for (std::uint32_t s = 0; s < source_count(vec.op); ++s) {
    text += ' ';
    append_address(text, vec.src[s]);
  }
  text += " -> ";
  append_address(text, vec.dst);
  append_configuration(text, vec.config);
}

void append(std::string& text, const Attend& attend) {
  text += "attend kv";
  append_number(text, index(attend.region));
  append_base(text, attend.region_base);
  text += attend.append ? " append " : " context ";
  append_address(text, attend.a);
  text += attend.append ? " " : " -> ";
  append_address(text, attend.b);
}

void append(std::string& text, const Repeat& repeat) {
  text += "rep ";
  append_number(text, repeat.n);
  if (repeat.serial) text += " serial";
  for (std::size_t b = 0; b < repeat.step.size(); ++b) {
    if (repeat.step[b] == 0 && repeat.modulus[b] == 0) continue;
    text += " b";
    append_number(text, b + 1);
    append_number(text, '+', repeat.step[b]);
    if (repeat.modulus[b] != 0) append_number(text, '%', repeat.modulus[b]);
  }
}

void append(std::string& text, const When& when) {
  text += "when t";
  append_number(text, index(when.tile));
  text += ' ';
  append_address(text, when.gate);
  text += " node ";
  append_number(text, index(when.gates));
  text += " element ";
  append_number(text, when.element);
}

void append(std::string& text, const End&) { text += "end"; }
void append(std::string& text, const Halt&) { text += "halt"; }

// Reading. The bounds are those of the record's fields, so a number that does not fit is reported at its column.

Window scan_window(Scanner& scanner, std::string_view letter, std::string_view what) {
  Window window;
  scanner.expect_start(letter, what);
  window.first = static_cast<std::uint16_t>(scanner.number("the window's start", 0, kLongestEdge - 1));
  if (scanner.take('+'))
    window.length = static_cast<std::uint16_t>(scanner.number("the window's length", 1, kLongestEdge));
  if (scanner.take('x')) {
    window.count = static_cast<std::uint16_t>(scanner.number("the number of runs", 1, kLongestEdge));
    scanner.expect('^', "a window of several runs");
    window.stride = static_cast<std::uint16_t>(scanner.number("the window's stride", 0, kLongestEdge - 1));
  }
  scanner.end_of_word("the window");
  return window;
}

std::uint8_t scan_base(Scanner& scanner) {
  if (!scanner.take('@')) return 0;
  return static_cast<std::uint8_t>(scanner.number("the base register", 0, values_of(kBaseBits) - 1));
}

std::uint32_t scan_offset(Scanner& scanner, std::string_view what) {
  scanner.expect_start("", what);
  return scanner.number(what, 0, values_of(kOffsetBits) - 1);
}

Place scan_place(Scanner& scanner, std::string_view what, unsigned element_stride_bits, unsigned run_stride_bits) {
  Place place;
  place.offset = scan_offset(scanner, what);
  if (scanner.take('*')) place.element_stride = scanner.signed_number("the element stride", element_stride_bits);
  if (scanner.take('^')) place.run_stride = scanner.signed_number("the run stride", run_stride_bits);
  place.base = scan_base(scanner);
  scanner.end_of_word(what);
  return place;
}

std::uint32_t scan_indexed(Scanner& scanner, std::string_view prefix, std::string_view what, unsigned bits) {
  scanner.expect_start(prefix, what);
  return scanner.number(what, 0, values_of(bits) - 1);
}

/// An optional kN.
ConfigId scan_configuration(Scanner& scanner) {
  if (!scanner.peek().starts_with('k')) return ConfigId{};
  const std::uint32_t number = scan_indexed(scanner, "k", "the configuration", kConfigBits);
  scanner.end_of_word("the configuration");
  return ConfigId{static_cast<std::uint16_t>(number)};
}

TileId scan_tile_word(Scanner& scanner) {
  const std::uint32_t tile = scan_indexed(scanner, "t", "a tile like t0", kTileBits);
  scanner.end_of_word("the tile");
  return TileId{tile};
}

Mvm scan_mvm(Scanner& scanner) {
  Mvm mvm;
  mvm.array = ArrayId{scan_indexed(scanner, "a", "an array like a0", kArrayBits)};
  scanner.end_of_word("the array");
  mvm.rows = scan_window(scanner, "r", "a row window like r0+4");
  mvm.columns = scan_window(scanner, "c", "a column window like c0+4");
  mvm.src = scan_place(scanner, "the source", kMvmElementStrideBits, kMvmRunStrideBits);
  scanner.expect_word("->");
  mvm.dst = scan_place(scanner, "the destination", kMvmElementStrideBits, kMvmRunStrideBits);
  mvm.add = scanner.take_word("add");
  if (!mvm.add && !scanner.take_word("set")) scanner.fail_syntax(scanner.column(), "expected 'set' or 'add'");
  mvm.config = scan_configuration(scanner);
  return mvm;
}

Move scan_move(Scanner& scanner) {
  Move move;
  move.from = scan_tile_word(scanner);
  move.src.offset = scan_offset(scanner, "the source");
  scanner.expect('+', "a range like 16+4");
  move.length = scanner.number("the run length", 1, values_of(kLengthBits));
  if (scanner.take('*')) move.src.element_stride = scanner.signed_number("the element stride", kMoveElementStrideBits);
  if (scanner.take('x')) {
    move.count = scanner.number("the number of runs", 1, values_of(kLengthBits));
    scanner.expect('^', "a range of several runs");
    move.src.run_stride = scanner.signed_number("the run stride", kMoveRunStrideBits);
  }
  move.src.base = scan_base(scanner);
  scanner.end_of_word("the range");
  scanner.expect_word("->");
  move.to_group = scanner.peek().starts_with('g');
  move.to = scan_indexed(scanner, move.to_group ? "g" : "t", "a tile like t1 or a group like g0", kTileBits);
  scanner.end_of_word("the target");
  move.dst = scan_place(scanner, "the destination", kMoveElementStrideBits, kMoveRunStrideBits);
  move.deal = scanner.take_word("deal");
  move.config = scan_configuration(scanner);
  return move;
}

Vec scan_vec(Scanner& scanner) {
  Vec vec;
  vec.tile = scan_tile_word(scanner);
  const std::uint32_t column = scanner.column();
  const std::string_view name = scanner.word("the vec operation");
  if (!scanner.good()) return vec;
  if (!parse_vec_op(name, vec.op)) {
    std::vector<std::string_view> names;
    for (const VecOpInfo& op : kVecOps) names.push_back(op.name);
    scanner.fail_unknown(column, "vec operation", name, names);
    return vec;
  }
  scanner.expect_start("n", "a length like n4");
  vec.length = scanner.number("the length", 1, values_of(kLengthBits));
  scanner.end_of_word("the length");
  if (vec.op == VecOp::gather) {
    Address source;
    source.offset = scan_offset(scanner, "the source");
    scanner.expect('+', "a source like 16+64");
    const std::uint32_t picked_from = scanner.number("the length of the source", 1, values_of(kOffsetBits) - 1);
    source.base = scan_base(scanner);
    scanner.end_of_word("the source");
    scanner.expect_word("list");
    const std::uint32_t list = scanner.number_word("the list", 0, kMostConfigs - 1);
    scanner.expect_word("from");
    const std::uint32_t first = scanner.number_word("the position in the list", 0, values_of(kOffsetBits) - 1);
    scanner.expect_word("->");
    return gather(vec.tile, vec.length, source, picked_from, list, first, scan_address(scanner, "the destination"));
  }
  for (std::uint32_t s = 0; s < source_count(vec.op); ++s) vec.src[s] = scan_address(scanner, "a source");
  scanner.expect_word("->");
  vec.dst = scan_address(scanner, "the destination");
  vec.config = scan_configuration(scanner);
  return vec;
}

Attend scan_attend(Scanner& scanner) {
  Attend attend;
  attend.region = KvId{scan_indexed(scanner, "kv", "a KV region like kv0", kRegionBits)};
  attend.region_base = scan_base(scanner);
  scanner.end_of_word("the KV region");
  attend.append = scanner.take_word("append");
  if (!attend.append && !scanner.take_word("context"))
    scanner.fail_syntax(scanner.column(), "expected 'append' or 'context'");
  attend.a = scan_address(scanner, attend.append ? "the key" : "the queries");
  if (!attend.append) scanner.expect_word("->");
  attend.b = scan_address(scanner, attend.append ? "the value" : "the destination");
  return attend;
}

Repeat scan_repeat(Scanner& scanner) {
  Repeat repeat;
  repeat.n = scanner.number_word("the number of iterations", 1, values_of(32) - 1);
  repeat.serial = scanner.take_word("serial");
  std::uint32_t last = 0;
  while (!scanner.at_end()) {
    const std::uint32_t column = scanner.column();
    scanner.expect_start("b", "a register like b1+16");
    const std::uint32_t number = scanner.number("the register", 1, repeat.step.size());
    if (scanner.good() && number <= last) scanner.fail_syntax(column, "registers are in ascending order, each once");
    last = number;
    scanner.expect('+', "a register like b1+16");
    const std::uint32_t step = scanner.number("the step", 0, values_of(kOffsetBits) - 1);
    const std::uint32_t modulus = scanner.take('%') ? scanner.number("the modulus", 0, values_of(kOffsetBits) - 1) : 0;
    scanner.end_of_word("the register");
    if (!scanner.good()) break;
    repeat.step[number - 1] = step;
    repeat.modulus[number - 1] = modulus;
  }
  return repeat;
}

When scan_when(Scanner& scanner) {
  When when;
  when.tile = scan_tile_word(scanner);
  when.gate = scan_address(scanner, "the address of the gate");
  scanner.expect_word("node");
  when.gates = NodeId{scanner.number_word("the node of the gates", 0, values_of(32) - 1)};
  scanner.expect_word("element");
  when.element = scanner.number_word("the element of the gates", 0, values_of(kOffsetBits) - 1);
  return when;
}

Command scan_one(Scanner& scanner) {
  const std::uint32_t column = scanner.column();
  const std::string_view name = scanner.word("a command");
  if (name == "mvm") return scan_mvm(scanner);
  if (name == "move") return scan_move(scanner);
  if (name == "vec") return scan_vec(scanner);
  if (name == "attend") return scan_attend(scanner);
  if (name == "rep") return scan_repeat(scanner);
  if (name == "when") return scan_when(scanner);
  if (name == "end") return End{};
  if (name == "halt") return Halt{};
  scanner.fail_unknown(column, "command", name, {"mvm", "move", "vec", "attend", "rep", "when", "end", "halt"});
  return Halt{};
}

}  // namespace

Address scan_address(Scanner& scanner, std::string_view what) {
  Address address;
  address.offset = scan_offset(scanner, what);
  address.base = scan_base(scanner);
  scanner.end_of_word(what);
  return address;
}

Record scan_command(Scanner& scanner) {
  const std::uint32_t column = scanner.column();
  const Command command = scan_one(scanner);
  scanner.finish();
  if (!scanner.good()) return {};
  Result<Record> record = encode(command);
  if (!record) {
    scanner.fail_with(column, std::move(record).error());
    return {};
  }
  return *record;
}

void append_address(std::string& text, const Address& address) {
  append_number(text, address.offset);
  append_base(text, address.base);
}

void append_command(std::string& text, const Command& command) {
  std::visit([&](const auto& concrete) { append(text, concrete); }, command);
}

std::string to_text(const Command& command) {
  std::string text;
  append_command(text, command);
  return text;
}

}  // namespace danaus::program
