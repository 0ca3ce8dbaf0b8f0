#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/files.h"
#include "danaus/program/program.h"

/// What the tests of the text and binary forms share.
namespace codec {

/// The example program with every kind of statement that the dense placement of one decoder layer needs.
inline std::string example_text() {
  return danaus::read_text(std::string(DANAUS_SOURCE_DIR) + "/tests/data/example-dense.txt").value();
}

/// A program that uses everything that the example does not: notes, digests, groups, sinks, encoder attention, several
/// kv heads, dense, padded, trimmed and gathered operators, every configuration, and every form of every command.
inline std::string rich_text() {
  return R"(danaus program 1
digest chip 0123456789abcdeffedcba9876543210 model 00000000000000000000000000000001
note chip "name = \"unit\"\n[array]\u0001\\ grün 量"
note model ""
chip rows 1024 cols 16 adcs 3 arrays 7 tile 3 buffer 16777216
cfg 0 mvm dac 1 adc 64 full
cfg 1 mvm dac 6 adc 9 l1
cfg 2 norm layer n 8 eps 1e-12
cfg 3 rope size 2 theta 5e5 pairs adjacent
cfg 4 move bits 16
cfg 5 norm rms n 9 eps 0.30000000000000004
kv 0 tile 1048575 queries 4 size 1 capacity 0 start 16777216
kv 1 tile 2 queries 2 size 2 capacity 9 start 3
kv 2 tile 1 queries 2 size 2 capacity 8 start 3
group 0 t7
group 1 t0 t3+4 t9+2 t1048575
list 0 0 3 2 7 1 4
list 1 2 3
input in/x.0 8
node a linear in/x.0 8x8 dense
input second_input 8
node a.R linear a 8x8 dense cfg 1
node b linear second_input 4x8 blocks 3x2:2 cfg 1 1
node b2 linear second_input 4x8 blocks 3x2:1 size 4x3 cfg 0 1
node b3 linear second_input 4x8 blocks 2x2:1 size 5x3 trim cfg 1
node biased bias b b.bias
node n norm in/x.0 gain.1 cfg 2
node rot rope n cfg 3
node ctx attend rot b2 b3 kv 1 all
node ctx2 attend rot b2 b3 kv 1
node gelu gelu ctx
node relu relu ctx2
node m mul gelu relu
node picked linear second_input 7x8 gather 3:2 list 0 cfg 1
node picked2 linear in/x.0 1x8 gather 1:2 list 1
node picked3 linear in/x.0 9x8 gather 3:2 list 0 cfg 0 1
output m
output biased
at in/x.0 0+8 t0 0
at second_input 0+4 t1 16777215@3
at second_input 4+4 t2 5@1
at m 7+1 t0 9@2
at biased 0+16777216 t3 9
const gain.1 0+8 t0 64
const b.bias 0+4 t0 72
const zero 3+100 t1048575 0
sink t2 128+3
sink t0 16777215+16777216@3
patch a0 0,0 8x8 a.W in 0 out 0
patch a0 8,0 8x8 a.R.W in 0 out 0
patch a0 8,0 3x4 b.R in 0 out 0*3
patch a0 8,4 1x1 b.L in 6*7 out 2
patch a6 1023,15 1024x1024 b3.L in 16777215*65535 out 16777215*65535
patch a6 1023,15 2x3 picked.W in 4*3 out 6
copy a1 of a0
copy a16777215 of a6
code
rep 1 serial
mvm a0 r0 c0 0 -> 0 set k0
mvm a6 r1016+8x2^16 c3+2x2^2 9*-3^-16@2 -> 0*0^7@3 add k1
end
rep 4294967295 b1+0%7 b2+16777215 b3+1%2
move t0 1+1 -> t1 2
move t0 1+2x3^0@2 -> g1 2*-1^5 k4
move t0 1+2*0x4^-524288 -> g1 2*9@1 deal
vec t0 add n65536 1 2@3 -> 3 k0
vec t0 mul n1 1 2 -> 3 k0
vec t0 gelu n1 1 -> 3 k0
vec t0 relu n1 1 -> 3 k0
vec t0 moments n1 1 -> 3 k0
vec t0 stat n2 1 -> 3 k2
vec t0 norm n3 1 2 3 -> 4 k2
vec t0 rope n4 1 -> 4 k3
vec t0 gather n2 5+8@1 list 0 from 3 -> 9@2
vec t1048575 gather n65536 0+16777215 list 65535 from 16777215 -> 0
attend kv1@3 append 1 2
attend kv16777215 context 1@1 -> 2@2
end
halt
)";
}

/// A small program around a line of code.
inline std::string with_code(std::string_view line) {
  return "danaus program 1\nchip rows 8 cols 8 adcs 2 arrays 1 tile 1 buffer 16\ncode\n" + std::string(line) + "\n";
}

inline std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

inline std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace codec
