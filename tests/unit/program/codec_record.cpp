#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "codec_support.h"
#include "danaus/core/random.h"
#include "danaus/program/program.h"

using namespace danaus;
using namespace danaus::program;

namespace {

/// The bytes of a record in file order.
std::string hex_of(const Record& record) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t byte = 0; byte < 32; ++byte) {
    const std::uint64_t value = record.words[byte / 8] >> (8 * (byte % 8)) & 0xff;
    text += kDigits[value >> 4];
    text += kDigits[value & 15];
  }
  return text;
}

struct Golden {
  std::string_view text;
  std::string_view record;
};

// Computed apart from this code: the fields of the README's table appended to one big integer in Python.
constexpr Golden kGolden[] = {
    {"mvm a0 r0+4 c0+6 6@1 -> 14*2@1 set k0", "0100000000000a800100000080020000c00000200000001c0000040000000000"},
    {"mvm a16777215 r1023+1024 c5+2x7^9 16777215*-2048@3 -> 1*2047^-32768@2 add k65535",
     "01fffffffffff7ffff0100a080000c48e0ffff1f000100020000fe0f00100000"},
    {"move t1 36+2x2^4@1 -> t0 36^4@1", "0200000100400200500040004000000100000000240000050010000000000000"},
    {"move t1048575 7+65536*-32768x3^-524288@2 -> g9 8*32767@3 deal k258",
     "020201ffff7f0000e0ff3f00a0000000009e0000080000ffff01000000000000"},
    {"vec t1 norm n4 74@1 86@2 360 -> 88@3 k1", "0308010001003000a00400901500806801006001000c00000000000000000000"},
    {"vec t2 silu n65536 104 -> 128@1 k0", "030200000200f0ff8f0600000000000000000002000400000000000000000000"},
    {"attend kv5@2 append 50@1 38@3", "042d0000900100c8040060000000000000000000000000000000000000000000"},
    {"attend kv0 context 42@1 -> 54@1", "04000000500100c8060020000000000000000000000000000000000000000000"},
    {"rep 2 b1+176%352 b2+8", "0504000000600100c00200100000000000000000000000000000000000000000"},
    {"rep 4294967295 serial b3+16777215%16777214", "05ffffffff010000000000000000000000fefffffdffff010000000000000000"},
    {"end", "0600000000000000000000000000000000000000000000000000000000000000"},
    {"halt", "0700000000000000000000000000000000000000000000000000000000000000"}};

/// One line of code, read through the text form.
Result<Record> record_of(std::string_view line) {
  const Result<Program> program = parse_text(codec::with_code(line), "test");
  if (!program) return fail(program.error());
  return program->code.front();
}

/// Random commands, canonical by construction, with extreme values often.
class RandomCommands {
 public:
  explicit RandomCommands(std::uint64_t seed) : seed_(seed) {}

  Command next() {
    switch (below(8)) {
      case 0:
        return mvm();
      case 1:
        return move();
      case 2:
        return vec();
      case 3:
        return Attend{
            .region = KvId{edge(1 << 24)}, .region_base = base(), .append = flag(), .a = address(), .b = address()};
      case 4: {
        Repeat repeat{.n = 1 + below(0xffffffff), .serial = flag()};
        for (std::uint32_t& step : repeat.step) step = edge(1 << 24);
        for (std::uint32_t& modulus : repeat.modulus) modulus = edge(1 << 24);
        return repeat;
      }
      case 5:
        return End{};
      case 6:
        return When{.tile = TileId{edge(1 << 20)},
                    .gate = address(),
                    .gates = NodeId{below(1u << 31)},
                    .element = edge(1 << 24)};
      default:
        return Halt{};
    }
  }

 private:
  std::uint32_t below(std::uint64_t n) { return static_cast<std::uint32_t>(random_bits(seed_, 0, counter_++) % n); }
  /// 0, n - 1 or anything between.
  std::uint32_t edge(std::uint32_t n) {
    const std::uint32_t choice = below(4);
    return choice == 0 ? 0 : choice == 1 ? n - 1 : below(n);
  }
  std::int32_t stride(int bits) { return static_cast<std::int32_t>(edge(1u << bits)) - (1 << (bits - 1)); }
  bool flag() { return below(2) == 1; }
  std::uint8_t base() { return static_cast<std::uint8_t>(below(4)); }
  Address address() { return {.offset = edge(1 << 24), .base = base()}; }
  ConfigId config() { return ConfigId{static_cast<std::uint16_t>(edge(1 << 16))}; }

  Window window() {
    Window window{.first = static_cast<std::uint16_t>(edge(1024)),
                  .length = static_cast<std::uint16_t>(1 + edge(1024))};
    if (flag()) {
      window.count = static_cast<std::uint16_t>(2 + edge(1023));
      window.stride = static_cast<std::uint16_t>(1 + edge(1023));
    }
    return window;
  }
  Place place(std::uint32_t length, std::uint32_t count, int element_bits, int run_bits) {
    return {.offset = edge(1 << 24),
            .element_stride = length == 1 ? 1 : stride(element_bits),
            .run_stride = count == 1 ? 0 : stride(run_bits),
            .base = base()};
  }
  Mvm mvm() {
    Mvm mvm{.array = ArrayId{edge(1 << 24)}, .rows = window(), .columns = window(), .add = flag(), .config = config()};
    mvm.src = place(mvm.rows.length, mvm.rows.count, 12, 16);
    mvm.dst = place(mvm.columns.length, mvm.columns.count, 12, 16);
    return mvm;
  }
  Move move() {
    Move move{.from = TileId{edge(1 << 20)},
              .length = 1 + edge(1 << 16),
              .count = flag() ? 1 : 1 + edge(1 << 16),
              .to_group = flag()};
    move.deal = move.to_group && flag();
    move.to = edge(1 << 20);
    move.src = place(move.length, move.count, 16, 20);
    move.dst = place(move.length, move.deal ? 1 : move.count, 16, 20);
    move.config = config();
    return move;
  }
  Vec vec() {
    Vec vec{.op = static_cast<VecOp>(below(13)),
            .tile = TileId{edge(1 << 20)},
            .length = 1 + edge(1 << 16),
            .dst = address()};
    for (std::uint32_t s = 0; s < source_count(vec.op); ++s) vec.src[s] = address();
    if (vec.op == VecOp::stat) vec.length = 2;
    if (vec.op == VecOp::gather)
      return gather(vec.tile, vec.length, vec.src[0], 1 + edge((1 << 24) - 1), edge(1 << 16), edge(1 << 24), vec.dst);
    if (vec.op == VecOp::rope || vec.op == VecOp::stat || vec.op == VecOp::norm || vec.op == VecOp::route)
      vec.config = config();
    return vec;
  }

  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

void check_refused(const Command& command, std::string_view id, std::string_view part_of_message) {
  const Result<Record> record = encode(command);
  REQUIRE_FALSE(record.has_value());
  CHECK(record.error().id == id);
  CHECK_MESSAGE(record.error().message.find(part_of_message) != std::string::npos, record.error().message);
}

}  // namespace

TEST_CASE("records are the bits of the table") {
  for (const Golden& golden : kGolden) {
    const Result<Record> record = record_of(golden.text);
    REQUIRE_MESSAGE(record.has_value(), to_string(record.error()));
    CHECK_MESSAGE(hex_of(*record) == golden.record, golden.text);
    CHECK(to_text(decode_unchecked(*record)) == golden.text);
  }
}

TEST_CASE("random commands survive record and text") {
  RandomCommands random(1);
  for (int n = 0; n < 20000; ++n) {
    const Command command = random.next();
    const Result<Record> record = encode(command);
    REQUIRE_MESSAGE(record.has_value(), to_text(command), to_string(record.error()));
    const Result<Command> decoded = decode(*record);
    REQUIRE(decoded.has_value());
    CHECK(*decoded == command);
    if (n % 20 == 0) {
      const Result<Record> from_text = record_of(to_text(command));
      REQUIRE_MESSAGE(from_text.has_value(), to_string(from_text.error()));
      CHECK(*from_text == *record);
    }
  }
}

TEST_CASE("a changed bit of a record is refused or another command") {
  RandomCommands random(2);
  for (int n = 0; n < 300; ++n) {
    const Record record = encode(random.next()).value();
    for (std::size_t bit = 0; bit < 256; ++bit) {
      Record changed = record;
      changed.words[bit / 64] ^= std::uint64_t{1} << (bit % 64);
      const Result<Command> command = decode(changed);
      if (command)
        CHECK(encode(*command) == changed);
      else
        CHECK(command.error().id == "program.encoding");
    }
  }
}

TEST_CASE("fields that do not fit are named") {
  const Place far{.offset = 1 << 24};
  check_refused(Mvm{.array = ArrayId{1 << 24}}, "program.range", "array 16777216");
  check_refused(Mvm{.src = far}, "program.range", "source offset 16777216");
  check_refused(Mvm{.dst = far}, "program.range", "destination offset");
  check_refused(Mvm{.src = {.base = 4}}, "program.range", "source base register 4");
  check_refused(Mvm{.rows = {.first = 1024}}, "program.range", "window start 1024");
  check_refused(Mvm{.rows = {.length = 0}}, "program.range", "window length 0");
  check_refused(Mvm{.rows = {.length = 1025}}, "program.range", "window length 1025");
  check_refused(Mvm{.columns = {.count = 1025, .stride = 1}}, "program.range", "window count 1025");
  check_refused(Mvm{.columns = {.count = 2, .stride = 1024}}, "program.range", "window stride 1024");
  check_refused(Mvm{.rows = {.length = 2}, .src = {.element_stride = 2048}}, "program.range",
                "source element stride 2048");
  check_refused(Mvm{.rows = {.count = 2, .stride = 1}, .src = {.run_stride = -32769}}, "program.range",
                "source run stride -32769");
  check_refused(Move{.from = TileId{1 << 20}}, "program.range", "tile 1048576");
  check_refused(Move{.length = 65537}, "program.range", "run length 65537");
  check_refused(Move{.count = 0}, "program.range", "run count 0");
  check_refused(Move{.to = 1 << 20}, "program.range", "target");
  check_refused(Move{.count = 2, .dst = {.run_stride = 524288}}, "program.range", "destination run stride 524288");
  check_refused(Vec{.length = 65537}, "program.range", "length 65537");
  check_refused(Vec{.dst = {.base = 4}}, "program.range", "base register 4");
  check_refused(Attend{.region = KvId{1 << 24}}, "program.range", "region 16777216");
  check_refused(Repeat{.step = {0, 1 << 24, 0}}, "program.range", "register step 16777216");
}

TEST_CASE("one meaning has one record") {
  check_refused(Mvm{.rows = {.stride = 1}}, "program.encoding", "stride 0");
  check_refused(Mvm{.rows = {.count = 2}}, "program.encoding", "needs a stride");
  check_refused(Mvm{.src = {.element_stride = 2}}, "program.encoding", "element stride 1");
  check_refused(Mvm{.dst = {.run_stride = 2}}, "program.encoding", "run stride 0");
  check_refused(Move{.deal = true}, "program.encoding", "deals");
  check_refused(Move{.count = 2, .to_group = true, .deal = true, .dst = {.run_stride = 4}}, "program.encoding",
                "run stride 0");
  check_refused(Vec{.op = VecOp::silu, .src = {Address{}, Address{.offset = 1}}}, "program.encoding", "sources");
  check_refused(Vec{.op = VecOp::add, .config = ConfigId{1}}, "program.encoding", "configuration");
  check_refused(Vec{.op = VecOp::stat, .length = 4}, "program.encoding", "length 2");
  check_refused(Repeat{.n = 0}, "program.encoding", "at least once");
  // Runs that touch are legal: runs drive the addresses.
  CHECK(encode(Mvm{.rows = {.length = 2, .count = 2, .stride = 2}, .src = {.run_stride = 7}}).has_value());
}

TEST_CASE("unknown opcodes and operations are refused") {
  for (std::uint64_t opcode = 0; opcode < 256; ++opcode) {
    const Result<Command> command = decode(Record{{opcode, 0, 0, 0}});
    // With all other bits zero: strides 0 of mvm and move and a loop of no iterations are not canonical.
    CHECK(command.has_value() == (opcode == 3 || opcode == 4 || (opcode >= 6 && opcode <= 8)));
  }
  CHECK_FALSE(decode(Record{{3 | 13 << 8, 0, 0, 0}}).has_value());
}

TEST_CASE("vec operations have names and lengths") {
  for (std::uint8_t number = 0; number < 13; ++number) {
    VecOp op{};
    REQUIRE(parse_vec_op(name_of(static_cast<VecOp>(number)), op));
    CHECK(op == static_cast<VecOp>(number));
  }
  VecOp op{};
  CHECK_FALSE(parse_vec_op("softmax", op));
  CHECK(source_count(VecOp::add) == 2);
  CHECK(source_count(VecOp::rope) == 1);
  CHECK(source_count(VecOp::norm) == 3);
  const auto of = [](VecOp which, std::uint32_t length) { return Vec{.op = which, .length = length}; };
  CHECK(source_length(of(VecOp::norm, 12), 0) == 12);
  CHECK(source_length(of(VecOp::norm, 12), 1) == 2);
  CHECK(source_length(of(VecOp::norm, 12), 2) == 12);
  CHECK(source_length(of(VecOp::stat, 2), 0) == 2);
  CHECK(source_length(of(VecOp::moments, 12), 0) == 12);
  CHECK(result_length(of(VecOp::moments, 12)) == 2);
  CHECK(result_length(of(VecOp::stat, 2)) == 2);
  CHECK(result_length(of(VecOp::gelu, 12)) == 12);
  // A gather waits for all that it may pick from and fetches what it picks.
  const Vec picks = gather(TileId{1}, 12, {.offset = 5, .base = 1}, 90, 3, 7, {.offset = 100});
  CHECK(source_count(picks.op) == 1);
  CHECK(source_length(picks, 0) == 90);
  CHECK(fetched_length(picks, 0) == 12);
  CHECK(result_length(picks) == 12);
  CHECK(to_text(Command(picks)) == "vec t1 gather n12 5+90@1 list 3 from 7 -> 100");
}

TEST_CASE("a gather names its numbers, not addresses") {
  const Vec good = gather(TileId{0}, 4, {.offset = 5}, 9, 0, 2, {.offset = 30});
  REQUIRE(encode(good).has_value());
  Vec bad = good;
  bad.src[1].base = 1;
  check_refused(bad, "program.encoding", "no base register");
  bad = good;
  bad.src[2].base = 3;
  check_refused(bad, "program.encoding", "no base register");
  bad = good;
  bad.src[2].offset = 0;
  check_refused(bad, "program.encoding", "picks from something");
}
