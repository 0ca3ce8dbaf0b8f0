#include "danaus/program/program.h"

// Commands to records and back. The layout of each command is written once, as a template over the direction: a Packer
// reads the fields of a command and fills the record, an Unpacker reads the record and fills the fields. What the bits
// cannot say (canonical form) is one list of rules per command that both directions obey.

#include <fmt/format.h>

#include <type_traits>

#include "danaus/core/internal_error.h"
#include "danaus/program/widths.h"

namespace danaus::program {
namespace {

enum class Opcode : std::uint8_t { mvm = 1, move, vec, attend, rep, end, halt, when };

/// Command to record; remembers the first field that does not fit.
class Packer {
 public:
  /// Stores value - least in `bits` bits.
  template <typename T>
  void number(std::string_view name, unsigned bits, const T& value, std::uint64_t least = 0) {
    const std::uint64_t plain = static_cast<std::uint64_t>(value);
    const std::uint64_t most = least + values_of(bits) - 1;
    if (plain < least || plain > most) complain(name, fmt::format("{}", plain), fmt::format("{} to {}", least, most));
    put(plain - least, bits);
  }

  void signed_number(std::string_view name, unsigned bits, const std::int32_t& value) {
    const std::int64_t half = std::int64_t{1} << (bits - 1);
    if (value < -half || value >= half)
      complain(name, fmt::format("{}", value), fmt::format("{} to {}", -half, half - 1));
    put(static_cast<std::uint64_t>(value), bits);
  }

  const std::string& problem() const { return problem_; }
  const Record& record() const { return record_; }

 private:
  void put(std::uint64_t value, unsigned bits) {
    value &= values_of(bits) - 1;
    const unsigned word = position_ / 64;
    const unsigned shift = position_ % 64;
    record_.words[word] |= value << shift;
    if (shift + bits > 64) record_.words[word + 1] |= value >> (64 - shift);
    position_ += bits;
  }

  void complain(std::string_view name, const std::string& value, const std::string& possible) {
    if (problem_.empty()) problem_ = fmt::format("{} {} does not fit, {} are possible", name, value, possible);
  }

  Record record_;
  unsigned position_ = 0;
  std::string problem_;
};

/// Record to command.
class Unpacker {
 public:
  explicit Unpacker(const Record& record) : record_(record) {}

  template <typename T>
  void number(std::string_view, unsigned bits, T& value, std::uint64_t least = 0) {
    value = static_cast<T>(take(bits) + least);
  }

  void signed_number(std::string_view, unsigned bits, std::int32_t& value) {
    const std::uint64_t sign = values_of(bits - 1);
    value = static_cast<std::int32_t>(static_cast<std::int64_t>(take(bits) ^ sign) - static_cast<std::int64_t>(sign));
  }

  /// Whether all bits after those that were read are zero.
  bool rest_is_zero() const {
    unsigned word = position_ / 64;
    if (word < 4 && (record_.words[word] >> (position_ % 64)) != 0) return false;
    while (++word < 4) {
      if (record_.words[word] != 0) return false;
    }
    return true;
  }

 private:
  std::uint64_t take(unsigned bits) {
    const unsigned word = position_ / 64;
    const unsigned shift = position_ % 64;
    std::uint64_t value = record_.words[word] >> shift;
    if (shift + bits > 64) value |= record_.words[word + 1] << (64 - shift);
    position_ += bits;
    return value & (values_of(bits) - 1);
  }

  const Record& record_;
  unsigned position_ = 0;
};

// The layouts. C is `const Command` for a Packer and `Command` for an Unpacker.

template <typename Codec, typename W>
void window_fields(Codec& codec, W& window) {
  codec.number("window start", kWindowBits, window.first);
  codec.number("window length", kWindowBits, window.length, 1);
  codec.number("window count", kWindowBits, window.count, 1);
  codec.number("window stride", kWindowBits, window.stride);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, Mvm>
void fields(Codec& codec, C& mvm) {
  codec.number("configuration", kConfigBits, mvm.config);
  codec.number("array", kArrayBits, mvm.array);
  codec.number("add", 1, mvm.add);
  codec.number("source base register", kBaseBits, mvm.src.base);
  codec.number("destination base register", kBaseBits, mvm.dst.base);
  window_fields(codec, mvm.rows);
  window_fields(codec, mvm.columns);
  codec.number("source offset", kOffsetBits, mvm.src.offset);
  codec.signed_number("source element stride", kMvmElementStrideBits, mvm.src.element_stride);
  codec.signed_number("source run stride", kMvmRunStrideBits, mvm.src.run_stride);
  codec.number("destination offset", kOffsetBits, mvm.dst.offset);
  codec.signed_number("destination element stride", kMvmElementStrideBits, mvm.dst.element_stride);
  codec.signed_number("destination run stride", kMvmRunStrideBits, mvm.dst.run_stride);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, Move>
void fields(Codec& codec, C& move) {
  codec.number("configuration", kConfigBits, move.config);
  codec.number("tile", kTileBits, move.from);
  codec.number("source offset", kOffsetBits, move.src.offset);
  codec.number("source base register", kBaseBits, move.src.base);
  codec.number("run length", kLengthBits, move.length, 1);
  codec.signed_number("source element stride", kMoveElementStrideBits, move.src.element_stride);
  codec.number("run count", kLengthBits, move.count, 1);
  codec.signed_number("source run stride", kMoveRunStrideBits, move.src.run_stride);
  codec.number("to group", 1, move.to_group);
  codec.number("deal", 1, move.deal);
  codec.number("target", kTileBits, move.to);
  codec.number("destination offset", kOffsetBits, move.dst.offset);
  codec.number("destination base register", kBaseBits, move.dst.base);
  codec.signed_number("destination element stride", kMoveElementStrideBits, move.dst.element_stride);
  codec.signed_number("destination run stride", kMoveRunStrideBits, move.dst.run_stride);
}

template <typename Codec, typename A>
void address_fields(Codec& codec, A& address) {
  codec.number("offset", kOffsetBits, address.offset);
  codec.number("base register", kBaseBits, address.base);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, Vec>
void fields(Codec& codec, C& vec) {
  codec.number("operation", 8, vec.op);
  codec.number("configuration", kConfigBits, vec.config);
  codec.number("tile", kTileBits, vec.tile);
  codec.number("length", kLengthBits, vec.length, 1);
  for (auto& source : vec.src) address_fields(codec, source);
  address_fields(codec, vec.dst);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, Attend>
void fields(Codec& codec, C& attend) {
  codec.number("append", 1, attend.append);
  codec.number("region base register", kBaseBits, attend.region_base);
  codec.number("region", kRegionBits, attend.region);
  address_fields(codec, attend.a);
  address_fields(codec, attend.b);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, Repeat>
void fields(Codec& codec, C& repeat) {
  codec.number("serial", 1, repeat.serial);
  codec.number("iterations", 32, repeat.n);
  for (std::size_t b = 0; b < repeat.step.size(); ++b) {
    codec.number("register step", kOffsetBits, repeat.step[b]);
    codec.number("register modulus", kOffsetBits, repeat.modulus[b]);
  }
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, When>
void fields(Codec& codec, C& when) {
  codec.number("tile", kTileBits, when.tile);
  address_fields(codec, when.gate);
  codec.number("node of the gates", 32, when.gates);
  codec.number("element of the gates", kOffsetBits, when.element);
}

template <typename Codec, typename C>
requires std::is_same_v<std::remove_const_t<C>, End> || std::is_same_v<std::remove_const_t<C>, Halt>
void fields(Codec&, C&) {}

constexpr Opcode opcode_of(const Mvm&) { return Opcode::mvm; }
constexpr Opcode opcode_of(const Move&) { return Opcode::move; }
constexpr Opcode opcode_of(const Vec&) { return Opcode::vec; }
constexpr Opcode opcode_of(const Attend&) { return Opcode::attend; }
constexpr Opcode opcode_of(const Repeat&) { return Opcode::rep; }
constexpr Opcode opcode_of(const When&) { return Opcode::when; }
constexpr Opcode opcode_of(const End&) { return Opcode::end; }
constexpr Opcode opcode_of(const Halt&) { return Opcode::halt; }

// Canonical form: the rule that a command breaks, or nullptr. One meaning has one record, so that equal programs are
// equal bytes and a changed bit is never silently ignored.

const char* broken_rule(const Window& window) {
  if (window.count == 1 && window.stride != 0) return "a window of one run has stride 0";
  if (window.count != 1 && window.stride == 0) return "a window of several runs needs a stride";
  return nullptr;
}

const char* broken_rule(const Place& place, std::uint32_t length, std::uint32_t count) {
  if (length == 1 && place.element_stride != 1) return "runs of one element have element stride 1";
  if (count == 1 && place.run_stride != 0) return "a single run has run stride 0";
  return nullptr;
}

const char* broken_rule(const Mvm& mvm) {
  if (const char* rule = broken_rule(mvm.rows)) return rule;
  if (const char* rule = broken_rule(mvm.columns)) return rule;
  if (const char* rule = broken_rule(mvm.src, mvm.rows.length, mvm.rows.count)) return rule;
  return broken_rule(mvm.dst, mvm.columns.length, mvm.columns.count);
}

const char* broken_rule(const Move& move) {
  if (move.deal && !move.to_group) return "only a move to a group deals its runs";
  if (const char* rule = broken_rule(move.src, move.length, move.count)) return rule;
  return broken_rule(move.dst, move.length, move.deal ? 1 : move.count);  // every member gets one run
}

const char* broken_rule(const Vec& vec) {
  if (vec.op > VecOp::gather) return "there is no such vec operation";
  if (vec.op == VecOp::gather) {
    if (vec.src[1].base != 0 || vec.src[2].base != 0) return "the numbers of a gather have no base register";
    return vec.picked_from() == 0 ? "a gather picks from something" : nullptr;
  }
  for (std::uint32_t s = source_count(vec.op); s < vec.src.size(); ++s) {
    if (vec.src[s] != Address{}) return "sources that the operation does not have are 0";
  }
  const bool configured =
      vec.op == VecOp::rope || vec.op == VecOp::stat || vec.op == VecOp::norm || vec.op == VecOp::route;
  if (!configured && index(vec.config) != 0) return "only rope, stat, norm and route take a configuration";
  if (vec.op == VecOp::stat && vec.length != 2) return "stat has length 2, one pair of sums";
  return nullptr;
}

const char* broken_rule(const Repeat& repeat) { return repeat.n == 0 ? "a loop runs at least once" : nullptr; }
const char* broken_rule(const Attend&) { return nullptr; }
const char* broken_rule(const When&) { return nullptr; }
const char* broken_rule(const End&) { return nullptr; }
const char* broken_rule(const Halt&) { return nullptr; }

template <typename C>
Result<Command> decode_as(Unpacker& unpacker) {
  C command;
  fields(unpacker, command);
  if (!unpacker.rest_is_zero())
    return fail(Error("program.encoding", Failure::bad_input, "unused bits of the record are not zero"));
  if (const char* rule = broken_rule(command))
    return fail(Error("program.encoding", Failure::bad_input, fmt::format("the record is not canonical: {}", rule)));
  return command;
}

}  // namespace

Result<Record> encode(const Command& command) {
  return std::visit(
      [](const auto& concrete) -> Result<Record> {
        Packer packer;
        packer.number("opcode", 8, opcode_of(concrete));
        fields(packer, concrete);
        if (!packer.problem().empty())
          return fail(Error("program.range", Failure::bad_input, packer.problem())
                          .with_hint("the widths of all fields are in docs/program-format.md"));
        if (const char* rule = broken_rule(concrete))
          return fail(
              Error("program.encoding", Failure::bad_input, fmt::format("the command is not canonical: {}", rule)));
        return packer.record();
      },
      command);
}

Result<Command> decode(const Record& record) {
  Unpacker unpacker(record);
  Opcode opcode{};
  unpacker.number("opcode", 8, opcode);
  switch (opcode) {
    case Opcode::mvm:
      return decode_as<Mvm>(unpacker);
    case Opcode::move:
      return decode_as<Move>(unpacker);
    case Opcode::vec:
      return decode_as<Vec>(unpacker);
    case Opcode::attend:
      return decode_as<Attend>(unpacker);
    case Opcode::rep:
      return decode_as<Repeat>(unpacker);
    case Opcode::when:
      return decode_as<When>(unpacker);
    case Opcode::end:
      return decode_as<End>(unpacker);
    case Opcode::halt:
      return decode_as<Halt>(unpacker);
  }
  return fail(Error("program.encoding", Failure::bad_input,
                    fmt::format("there is no command with opcode {}", record.words[0] & 0xff)));
}

Command decode_unchecked(const Record& record) {
  Result<Command> command = decode(record);
  ensure(command.has_value(), "records of a checked program decode");
  return *command;
}

}  // namespace danaus::program
