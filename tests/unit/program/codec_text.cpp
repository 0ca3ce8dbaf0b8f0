#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "codec_support.h"
#include "danaus/core/random.h"
#include "danaus/program/program.h"

using namespace danaus;
using namespace danaus::program;

namespace {

Program parse_good(const std::string& text) {
  Result<Program> program = parse_text(text, "test");
  REQUIRE_MESSAGE(program.has_value(), to_string(program.error()));
  return *program;
}

/// Replaces one line (counted from 1) of a text, parses, and checks id and position of the error.
void check_error(const std::string& text, std::size_t line, const std::string& replacement, std::string_view id,
                 std::uint32_t column, std::string_view part = {}) {
  std::vector<std::string> lines = codec::lines_of(text);
  lines[line - 1] = replacement;
  const Result<Program> program = parse_text(codec::joined(lines), "file.txt");
  REQUIRE_MESSAGE(!program.has_value(), replacement);
  const std::string report = to_string(program.error());
  INFO(report);
  CHECK(program.error().id == id);
  CHECK(program.error().where.file == "file.txt");
  CHECK(program.error().where.line == line);
  CHECK(program.error().where.column == column);
  CHECK(report.find(part) != std::string::npos);
}

/// The number of the first line that starts like this.
std::size_t line_of(const std::string& text, std::string_view start) {
  const std::vector<std::string> lines = codec::lines_of(text);
  for (std::size_t line = 0; line < lines.size(); ++line) {
    if (lines[line].starts_with(start)) return line + 1;
  }
  FAIL(start);
  return 0;
}

void check_rich(std::string_view start, const std::string& replacement, std::string_view id, std::uint32_t column,
                std::string_view part = {}) {
  const std::string text = codec::rich_text();
  check_error(text, line_of(text, start), replacement, id, column, part);
}

void check_code(const std::string& line, std::string_view id, std::uint32_t column, std::string_view part = {}) {
  check_error(codec::with_code("halt"), 4, line, id, column, part);
}

/// A damaged program is refused with an error of this module, the graph or the structure, or is a program that
/// round-trips.
void check_damaged(const std::string& text) {
  const Result<Program> program = parse_text(text, "damaged");
  if (program) {
    const Result<Program> again = parse_text(to_text(*program), "again");
    REQUIRE_MESSAGE(again.has_value(), to_string(again.error()));
    CHECK(*again == *program);
  } else {
    CHECK(program.error().failure != Failure::internal);
    CHECK(program.error().where.line > 0);
  }
}

}  // namespace

TEST_CASE("the example reads as what it says and prints as it is") {
  const std::string text = codec::example_text();
  const Program program = parse_good(text);
  CHECK(to_text(program) == text);
  CHECK(program.chip == ChipShape{.rows = 8, .cols = 8, .adcs = 2, .arrays = 4, .arrays_per_tile = 2, .buffer = 400});
  CHECK(program.chip.tiles() == 2);
  REQUIRE(program.intent.configs.size() == 3);
  CHECK(program.intent.configs[0] == Config{});
  CHECK(program.intent.configs[1].epsilon == 1e-5);
  CHECK(program.intent.configs[2].theta == 10000);
  REQUIRE(program.kv.size() == 1);
  CHECK(program.kv[0] == KvRegion{.tile = TileId{0}, .queries = 2, .size = 4, .capacity = 2, .start = 0});
  REQUIRE(program.intent.nodes.size() == 17);
  const Node& attend = program.intent.nodes[7];
  CHECK(attend.name == "c");
  CHECK(attend.size == 8);
  CHECK(attend.query_heads == 2);
  CHECK(attend.kv_heads == 1);
  CHECK(attend.head_size == 4);
  CHECK(program.intent.nodes[2].structure == Structure::blocks(8, 8, 2, 2, 1));
  CHECK(program.intent.outputs == std::vector<NodeId>{NodeId{16}});
  CHECK(program.inputs.size() == 2);
  CHECK(program.outputs.size() == 2);
  CHECK(program.outputs[1] ==
        danaus::program::Location{
            .node = NodeId{16}, .first = 4, .length = 4, .tile = TileId{1}, .address = {.offset = 388, .base = 2}});
  CHECK(program.constants.size() == 4);
  CHECK(program.patches.size() == 28);
  CHECK(program.code.size() == 65);
  CHECK(std::get<Repeat>(decode_unchecked(program.code[0])) ==
        Repeat{.n = 2, .step = {176, 8, 0}, .modulus = {352, 0, 0}});
  const Mvm first{.array = ArrayId{0},
                  .rows = {.first = 0, .length = 4},
                  .columns = {.first = 0, .length = 6},
                  .src = {.offset = 6, .base = 1},
                  .dst = {.offset = 14, .element_stride = 2, .base = 1}};
  CHECK(std::get<Mvm>(decode_unchecked(program.code[9])) == first);
}

TEST_CASE("every statement and command prints as it was read") {
  const std::string text = codec::rich_text();
  const Program program = parse_good(text);
  CHECK(to_text(program) == text);
  CHECK(parse_good(to_text(program)) == program);
  CHECK(program.notes[0].text == "name = \"unit\"\n[array]\x01\\ gr\xc3\xbcn \xe9\x87\x8f");
  CHECK(program.groups[1].members.size() == 8);
  CHECK(program.intent.nodes[10].kv_heads == 2);
  CHECK(program.intent.nodes[10].span == Span::all);
  CHECK(program.patches[1].node == NodeId{3});
}

TEST_CASE("blanks, comments and line ends are free") {
  std::string text = codec::example_text();
  const Program program = parse_good(text);
  std::string loose = "# a comment\r\n\n  \t\n";
  for (const std::string& line : codec::lines_of(text)) {
    loose += "\t ";
    for (const char c : line) loose += c == ' ' ? std::string(" \t ") : std::string(1, c);
    loose += "  \r\n \t# comment\n\r\n";
  }
  CHECK(parse_good(loose) == program);
  text.pop_back();
  CHECK(parse_good(text) == program);
}

TEST_CASE("omitted parts have their defaults") {
  CHECK(parse_good(codec::with_code("mvm a0 r0+1x1^0 c0 0*1^0@0 -> 0 set")) ==
        parse_good(codec::with_code("mvm a0 r0 c0 0 -> 0 set k0")));
  CHECK(parse_good(codec::with_code("move t0 0+2*1x1^0 -> t0 2 k0")) ==
        parse_good(codec::with_code("move t0 0+2 -> t0 2")));
  CHECK(parse_good(codec::with_code("vec t0 relu n1 0 -> 0")) ==
        parse_good(codec::with_code("vec t0 relu n1 0@0 -> 0 k0")));
}

TEST_CASE("JSON strings") {
  const auto text_of = [](const std::string& quoted) {
    return parse_text(
        "danaus program 1\nnote k " + quoted + "\nchip rows 1 cols 1 adcs 1 arrays 0 tile 1 buffer 0\ncode\n", "test");
  };
  CHECK(text_of(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud834\udd1e")")->notes[0].text ==
        "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e");
  for (const char* bad : {R"("\x")", R"("\u12g4")", R"("\u-123")", R"("\ud834")", R"("\ud834\u0041")", R"("\udd1e")",
                          R"("open)", R"("open\)", "\"a\tb\"", R"("a"b)", R"("a" "b")", "word", ""})
    CHECK_MESSAGE(text_of(bad).error().id == "program.syntax", bad);
  Program program = *text_of("\"\"");
  for (int byte = 0; byte < 256; ++byte) program.notes[0].text += static_cast<char>(byte);
  CHECK(parse_good(to_text(program)) == program);
}

TEST_CASE("real numbers are shortest and exact") {
  Program program = parse_good(codec::example_text());
  for (const auto& [value, text] : std::vector<std::pair<double, std::string>>{{0, "0"},
                                                                               {1e-5, "1e-5"},
                                                                               {1e-6, "1e-6"},
                                                                               {10000, "10000"},
                                                                               {1e6, "1e6"},
                                                                               {0.1, "0.1"},
                                                                               {1e-300, "1e-300"},
                                                                               {1e300, "1e300"},
                                                                               {0.1 + 0.2, "0.30000000000000004"},
                                                                               {5e-324, "5e-324"},
                                                                               {1.5e-10, "1.5e-10"}}) {
    program.intent.configs[1].epsilon = value;
    const std::string printed = to_text(program);
    CHECK_MESSAGE(printed.find("eps " + text + "\n") != std::string::npos, text);
    CHECK(parse_good(printed) == program);
  }
}

TEST_CASE("errors of the frame") {
  const std::string text = codec::example_text();
  check_error(text, 1, "danaus programm 1", "program.magic", 1, "danaus program 1");
  check_error(text, 1, "hello", "program.magic", 1);
  check_error(text, 1, "danaus program 2", "program.version", 16);
  check_error(text, 1, "danaus program 1 1", "program.syntax", 18);
  CHECK(parse_text("# only\nhello\n", "t").error().where.line == 2);
  CHECK(parse_text("", "t").error().id == "program.incomplete");
  CHECK(parse_text("danaus program 1\n", "t").error().id == "program.incomplete");
  CHECK(parse_text("danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 1 tile 1 buffer 16\n", "t").error().id ==
        "program.incomplete");
  CHECK(parse_text("danaus program 1\ncode\n", "t").error().id == "program.incomplete");
  check_error(text, line_of(text, "code"), "cod", "program.name", 1, "did you mean 'code'?");
  check_error(text, line_of(text, "patch"), "pacth a0 0,0 4x2 q.R in 0 out 0*2", "program.name", 1,
              "did you mean 'patch'?");
  check_error(text, line_of(text, "rep"), "repp 2", "program.name", 1, "did you mean 'rep'?");
  check_error(text, line_of(text, "rep"), "patch a0 0,0 1x1 q.R in 0 out 0", "program.name", 1);
}

TEST_CASE("errors of tables have a position") {
  check_rich("digest", "digest chip 0123 model 00000000000000000000000000000001", "program.syntax", 13);
  check_rich("note model", "note mod\xc3\xa9l \"\"", "program.name", 6);
  check_rich("note model", "digest chip 0123456789abcdeffedcba9876543210 model 0123456789abcdeffedcba9876543210",
             "program.duplicate", 1);
  check_rich("chip", "chip rows 1025 cols 16 adcs 3 arrays 7 tile 3 buffer 9", "program.range", 11, "1 to 1024");
  check_rich("chip", "chip rows 8 cols 16 adcs 0 arrays 7 tile 3 buffer 9", "program.range", 26);
  check_rich("chip", "chip rows 8 cols 16 adcs 3 arrays 7 tile 0 buffer 9", "program.range", 42);
  check_rich("chip", "chip rows 8 columns 16", "program.syntax", 13, "expected 'cols'");
  check_rich("chip", "chip rows 08 cols 16 adcs 3 arrays 7 tile 3 buffer 9", "program.syntax", 11, "leading zeros");
  check_rich("chip", "chip rows +8 cols 16 adcs 3 arrays 7 tile 3 buffer 9", "program.syntax", 11);
  check_rich("chip", "chip rows 8 cols 16 adcs 3 arrays 7 tile 3 buffer 9 9", "program.syntax", 53);
  check_rich("cfg 1", "cfg 0 mvm dac 8 adc 8 full", "program.duplicate", 5);
  check_rich("cfg 1", "cfg 2 mvm dac 8 adc 8 full", "program.order", 5);
  check_rich("cfg 1", "cfg 1 mvm dac 8 adc 8 lossles", "program.name", 23, "did you mean 'lossless'?");
  check_rich("cfg 1", "cfg 1 mwm dac 8 adc 8 full", "program.name", 7, "did you mean 'mvm'?");
  check_rich("cfg 1", "cfg 1 mvm dac 65 adc 8 full", "program.range", 15);
  check_rich("cfg 2", "cfg 2 norm rms n 8 eps nan", "program.syntax", 24);
  check_rich("cfg 2", "cfg 2 norm rms n 8 eps -1", "program.syntax", 24);
  check_rich("cfg 2", "cfg 2 norm rms n 8 eps 1e400", "program.range", 24);
  check_rich("cfg 2", "cfg 2 norm rms n 8 eps 0x1p3", "program.syntax", 24);
  check_rich("kv 1", "kv 1 tile 1048576 queries 2 size 2 capacity 9 start 3", "program.range", 11);
  check_rich("kv 1", "kv 1 tile 2 queries 2 size 0 capacity 9 start 3", "program.range", 28);
  check_rich("group 0", "group 0", "program.syntax", 8);
  check_rich("group 1", "group 1 t3+4 t6", "program.syntax", 14, "ascending");
  check_rich("group 1", "group 1 t1048575+2", "program.range", 18);
}

TEST_CASE("errors of the graph have a position") {
  check_rich("input second", "input in/x.0 8", "program.duplicate", 7);
  check_rich("input second", "input second,input 8", "program.name", 7);
  check_rich("input second", "input second_input 16777217", "program.range", 20);
  check_rich("node a linear", "node a linear in/x.1 8x8 dense", "program.name", 15, "did you mean 'in/x.0'?");
  check_rich("node a linear", "node a linear a 8x8 dense", "program.name", 15);
  check_rich("node a linear", "node a liner in/x.0 8x8 dense", "program.name", 8, "did you mean 'linear'?");
  check_rich("node a linear", "node a input in/x.0 8x8 dense", "program.name", 8);
  check_rich("node a linear", "node a linear in/x.0 8x8 blocks 2x2", "structure.syntax", 26);
  check_rich("node a linear", "node a linear in/x.0 8x8 blocks 0x2:1", "structure.range", 26);
  check_rich("node a linear", "node a linear in/x.0 8x9 dense", "graph.size", 6);
  check_rich("node a linear", "node a linear in/x.0 8x8 dense cfg 2", "graph.config", 6);
  check_rich("node a linear", "node a linear in/x.0 8x8 dense cfg 77", "graph.config", 6);
  check_rich("node n norm", "node n norm in/x.0 gain.1 cfg 5", "graph.size", 6);
  check_rich("node rot", "node rot rope n cfg 2", "graph.config", 6);
  check_rich("node m", "node m mul gelu b", "graph.size", 6);
  check_rich("node ctx attend", "node ctx attend rot b2 b3 kv 3", "program.heads", 6, "no KV region 3");
  check_rich("node ctx attend", "node ctx attend rot b2 b3 kv 2", "program.heads", 6, "need the KV regions 2 to 3");
  check_rich("node ctx attend", "node ctx attend b2 rot b3 kv 1", "program.heads", 6, "do not split evenly");
  check_rich("node ctx2 attend", "node ctx2 attend rot b2 b3 kv 0", "program.heads", 6, "need the KV regions 0 to 3");
  check_rich("output m", "output in/x.0", "program.output", 8);
  check_rich("output biased", "output m", "program.output", 8);
  check_rich("output m", "output mm", "program.name", 8);
}

TEST_CASE("errors of lists have a position") {
  check_rich("list 1", "list 1 2 16777216", "program.range", 10);
  check_rich("list 1", "list 1 2 -3", "program.syntax", 10);
  check_rich("list 1", "list 1", "program.syntax", 7);
  check_rich("list 1", "list 2 2 3", "program.order", 6);
  check_rich("list 1", "list 1 0 3 2 7 1 4", "program.list", 6, "same entries");
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3:2 cfg 1", "program.syntax", 48,
             "expected 'list'");
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3:2 list 2", "program.list", 53,
             "there is no list 2");
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3:2 list 1", "program.list", 53,
             "order of first use");
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3:9 list 0", "structure.range", 37);
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 8:2 list 0", "structure.range", 37);
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3x2 list 0", "structure.syntax", 37);
  check_rich("node picked linear", "node picked linear second_input 7x8 gather 3:1 list 0", "structure.selection", 6,
             "has 6");
  // What is wrong with a list for an operator is found at the operator.
  for (const char* list : {"list 0 0 3 2 7 1 1", "list 0 0 3 2 8 1 4"}) {
    std::vector<std::string> lines = codec::lines_of(codec::rich_text());
    lines[line_of(codec::rich_text(), "list 0") - 1] = list;
    const Result<Program> program = parse_text(codec::joined(lines), "test");
    REQUIRE_FALSE(program.has_value());
    CHECK(program.error().id == "structure.selection");
    CHECK(program.error().where.line == line_of(codec::rich_text(), "node picked linear"));
  }
}

TEST_CASE("every list has a user") {
  std::vector<std::string> lines = codec::lines_of(codec::rich_text());
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("node picked2"); });
  const Result<Program> program = parse_text(codec::joined(lines), "test");
  REQUIRE_FALSE(program.has_value());
  CHECK(program.error().id == "program.list");
}

TEST_CASE("equal selections are one list") {
  const Program program = parse_good(codec::rich_text());
  REQUIRE(program.lists.size() == 2);
  const std::vector<Node>& nodes = program.intent.nodes;
  const std::size_t last = nodes.size() - 1;
  CHECK(nodes[last].structure.selection == program.lists[0]);
  CHECK(nodes[last - 1].structure.selection == program.lists[1]);
  CHECK(nodes[last - 2].structure.selection.numbers().data() == program.lists[0].numbers().data());
  const Vec picks = std::get<Vec>(decode_unchecked(program.code[program.code.size() - 6]));
  CHECK(picks.op == VecOp::gather);
  CHECK(picks.list() == 0);
  CHECK(picks.first_picked() == 3);
  CHECK(picks.picked_from() == 8);
}

TEST_CASE("KV regions of one node agree") {
  const std::string text = codec::rich_text();
  const std::size_t node_line = line_of(text, "node ctx attend");
  for (const char* other :
       {"kv 2 tile 1 queries 2 size 2 capacity 8 start 4", "kv 2 tile 1 queries 2 size 1 capacity 8 start 3",
        "kv 2 tile 1 queries 1 size 2 capacity 8 start 3"}) {
    std::vector<std::string> lines = codec::lines_of(text);
    lines[line_of(text, "kv 2") - 1] = other;
    const Result<Program> program = parse_text(codec::joined(lines), "test");
    REQUIRE_MESSAGE(!program.has_value(), other);
    CHECK(program.error().id == "program.heads");
    CHECK(program.error().where.line == node_line);
  }
}

TEST_CASE("errors of addresses and patches have a position") {
  check_rich("at m", "at n 0+1 t0 0", "program.name", 4, "neither an input nor an output");
  check_rich("at m", "at m 0+0 t0 0", "program.range", 8);
  check_rich("at m", "at m 0+1 t0 0@4", "program.range", 15);
  check_rich("const gain.1", "const gain.2 0+8 t0 64", "program.name", 7, "did you mean 'gain.1'?");
  check_rich("const gain.1", "const gain.1 0+8 t0 16777216", "program.range", 21);
  check_rich("sink t2", "sink t2 128", "program.syntax", 12);
  check_rich("patch a0 0,0", "patch a0 0,0 8x8 a in 0 out 0", "program.syntax", 18);
  check_rich("patch a0 0,0", "patch a0 0,0 8x8 a.R in 0 out 0", "program.syntax", 18,
             "stage of a dense or gathered operator is W");
  check_rich("patch a0 0,0", "patch a0 0,0 8x8 b.W in 0 out 0", "program.syntax", 18, "R and L");
  check_rich("patch a0 0,0", "patch a0 0,0 8x8 n.R in 0 out 0", "program.syntax", 18, "no weights");
  check_rich("patch a0 0,0", "patch a0 0,0 8x8 z.R in 0 out 0", "program.name", 18);
  check_rich("patch a0 8,4", "patch a0 8,3 1x1 b.L in 6*0 out 2", "program.range", 27);
  check_rich("patch a0 8,4", "patch a0 7,9 1x1 b.L in 6 out 2", "program.order", 7);
}

TEST_CASE("errors of commands have a position") {
  check_code("mvm x0 r0 c0 0 -> 0 set", "program.syntax", 5, "an array like a0, found 'x0'");
  check_code("mvm a16777216 r0 c0 0 -> 0 set", "program.range", 6);
  check_code("mvm a0 r0+ c0 0 -> 0 set", "program.syntax", 11);
  check_code("mvm a0 r1024 c0 0 -> 0 set", "program.range", 9);
  check_code("mvm a0 r0 c0+1025 0 -> 0 set", "program.range", 14);
  check_code("mvm a0 r0 c0x2 0 -> 0 set", "program.syntax", 15);
  check_code("mvm a0 r0 c0x2^0 0 -> 0 set", "program.encoding", 1, "stride");
  check_code("mvm a0 r0 c0 0*2 -> 0 set", "program.encoding", 1);
  check_code("mvm a0 r0+2 c0 0*2048 -> 0 set", "program.range", 18);
  check_code("mvm a0 r0+2 c0 0*-2049 -> 0 set", "program.range", 18);
  check_code("mvm a0 r0+2 c0 0*-0 -> 0 set", "program.syntax", 18);
  check_code("mvm a0 r0 c0 0 > 0 set", "program.syntax", 16);
  check_code("mvm a0 r0 c0 0 -> 0", "program.syntax", 20, "'set' or 'add'");
  check_code("mvm a0 r0 c0 0 -> 0 set k65536", "program.range", 26);
  check_code("mvm a0 r0 c0 0 -> 0 set k0 k0", "program.syntax", 28);
  check_code("move t0 0 -> t0 0", "program.syntax", 10);
  check_code("move t0 0+1 -> a0 0", "program.syntax", 16);
  check_code("move t0 0+1 -> t0 0 deal", "program.encoding", 1);
  check_code("vec t0 sillu n1 0 -> 0", "program.name", 8, "did you mean 'silu'?");
  check_code("vec t0 add n1 0 -> 0", "program.syntax", 17);
  check_code("vec t0 silu n1 0 0 -> 0", "program.syntax", 18);
  check_code("vec t0 silu n0 0 -> 0", "program.range", 14);
  check_code("vec t0 silu n1 0 -> 0 k1", "program.encoding", 1);
  check_code("vec t0 gather n1 0 list 0 from 0 -> 0", "program.syntax", 19);
  check_code("vec t0 gather n1 0+0 list 0 from 0 -> 0", "program.range", 20);
  check_code("vec t0 gather n1 0+4 lists 0 from 0 -> 0", "program.syntax", 22);
  check_code("vec t0 gather n1 0+4 list 65536 from 0 -> 0", "program.range", 27);
  check_code("vec t0 gather n1 0+4 list 0 from 16777216 -> 0", "program.range", 34);
  check_code("vec t0 gather n1 0+4 list 0 from 0 -> 0 k0", "program.syntax", 41);
  check_code("attend k0 append 0 0", "program.syntax", 8);
  check_code("attend kv0 apend 0 0", "program.syntax", 12);
  check_code("rep 0", "program.range", 5);
  check_code("rep 4294967296", "program.range", 5);
  check_code("rep 1 b4+1", "program.range", 8);
  check_code("rep 1 b2+1 b1+1", "program.syntax", 12);
  check_code("rep 1 b1+1 b1+1", "program.syntax", 12);
  check_code("end end", "program.syntax", 5);
  check_code("hallt", "program.name", 1, "did you mean 'halt'?");
  check_code("mvm a99999999999999999999999999 r0 c0 0 -> 0 set", "program.range", 6);
}

TEST_CASE("groups cannot blow up memory") {
  std::string text = "danaus program 1\nchip rows 1 cols 1 adcs 1 arrays 0 tile 1 buffer 0\n";
  for (int group = 0; group < 100; ++group) text += "group " + std::to_string(group) + " t0+1048576\n";
  const Result<Program> program = parse_text(text + "code\n", "test");
  REQUIRE_FALSE(program.has_value());
  CHECK(program.error().id == "program.range");
  CHECK(program.error().where.line == 3 + 16);
}

TEST_CASE("deleted and doubled lines") {
  for (const std::string& text : {codec::example_text(), codec::rich_text()}) {
    const std::vector<std::string> lines = codec::lines_of(text);
    for (std::size_t line = 0; line < lines.size(); ++line) {
      std::vector<std::string> fewer = lines;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(line));
      check_damaged(codec::joined(fewer));
      std::vector<std::string> more = lines;
      more.insert(more.begin() + static_cast<std::ptrdiff_t>(line), lines[line]);
      check_damaged(codec::joined(more));
      check_damaged(codec::joined({lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(line)}));
    }
  }
}

TEST_CASE("the shares of several chips") {
  std::string text = codec::example_text();
  const auto with = [&](const std::string& shares) {
    std::string changed = text;
    changed.insert(changed.find("buffer 400") + 10, shares);
    return changed;
  };
  const Program program = parse_good(with(" chips 2 each 3"));
  CHECK(program.chip.chips == 2);
  CHECK(program.chip.arrays_per_chip == 3);
  CHECK(to_text(program) == with(" chips 2 each 3"));
  CHECK(parse_binary(to_binary(program), "p").value() == program);
  CHECK(to_binary(program).size() == to_binary(parse_good(text)).size() + 8);
  for (const char* bad : {" chips 0 each 3", " chips 2 each 0", " chips 2", " each 2", " chips 2 each 3 x",
                          " chips 16777217 each 1", " chips 2 each 16777217", " chips each 3"}) {
    CAPTURE(bad);
    const Result<Program> refused = parse_text(with(bad), "bad");
    REQUIRE_FALSE(refused.has_value());
    CHECK((refused.error().id == "program.syntax" || refused.error().id == "program.range"));
  }
}

TEST_CASE("changed characters") {
  for (const std::string& text : {codec::example_text(), codec::rich_text()}) {
    for (std::uint64_t n = 0; n < 300; ++n) {
      const std::size_t position = random_bits(3, 0, n) % text.size();
      for (const char c : std::string_view("\0\n\t 0129-+*^@%x,.#\"\\ankrtz\x80\xff", 28)) {
        std::string damaged = text;
        damaged[position] = c;
        check_damaged(damaged);
      }
      std::string shorter = text;
      shorter.erase(position, 1);
      check_damaged(shorter);
    }
  }
}
