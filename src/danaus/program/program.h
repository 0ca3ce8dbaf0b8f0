#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/graph.h"
#include "danaus/core/ids.h"

/// The command program: what the compiler emits and every machine interprets. See README.md in this folder for the
/// semantics (sequential), the text form and the binary form.
namespace danaus::program {

/// Runs of neighbouring rows or columns, cell-exact: run q covers first + q*stride + [0, length), modulo the array
/// edge.
struct Window {
  std::uint16_t first = 0;
  std::uint16_t length = 1;  ///< neighbours per run, 1..1024
  std::uint16_t count = 1;   ///< runs, 1..1024
  std::uint16_t stride = 0;  ///< distance of runs; 0 when count = 1
  std::uint32_t cells() const { return std::uint32_t{length} * count; }
  bool operator==(const Window&) const = default;
};

/// A two-level address pattern: element e of run q lies at offset + e*element_stride + q*run_stride + register[base].
/// base 0 = no register. Canonical: element_stride = 1 when runs have one element, run_stride = 0 when there is one
/// run.
struct Place {
  std::uint32_t offset = 0;         ///< 24 bits
  std::int32_t element_stride = 1;  ///< 12 bits signed in mvm, 16 in move
  std::int32_t run_stride = 0;      ///< 16 bits signed in mvm, 20 in move
  std::uint8_t base = 0;            ///< 2 bits
  bool operator==(const Place&) const = default;
};

/// offset + register[base]; elements are neighbours.
struct Address {
  std::uint32_t offset = 0;  ///< 24 bits
  std::uint8_t base = 0;     ///< 2 bits
  bool operator==(const Address&) const = default;
};

/// One analog activation: drive the row window with src, read the column window into dst, in the array's own tile.
struct Mvm {
  ArrayId array{};  ///< 24 bits
  Window rows{};
  Window columns{};
  Place src{};  ///< element order = row window order
  Place dst{};
  bool add = false;  ///< add to dst instead of setting it
  ConfigId config{};
  bool operator==(const Mvm&) const = default;
};

/// The only command that uses the network. Copies count runs of length elements to a tile or to every member of a
/// group; with `deal`, member q gets run q (count = members) and dst describes one run.
struct Move {
  TileId from{};  ///< 20 bits
  Place src{};
  std::uint32_t length = 1;  ///< 1..65536
  std::uint32_t count = 1;   ///< 1..65536
  bool to_group = false;
  bool deal = false;
  std::uint32_t to = 0;  ///< TileId or GroupId, 20 bits
  Place dst{};
  ConfigId config{};  ///< a move configuration: bits per element; 0 = 8 bits
  bool operator==(const Move&) const = default;
};

enum class VecOp : std::uint8_t {
  add,  ///< a + b
  mul,  ///< a * b
  silu,
  gelu,
  relu,
  rope,       ///< n = config.size exactly; position = token counter + kv start of the graph
  moments,    ///< (sum x, sum x^2): n elements in, 2 out
  stat,       ///< (sum, sum of squares) -> (mean, 1/sigma) by config; n = 2
  norm,       ///< (x - mean)/sigma * gain: sources x (n), pair (2), gain (n)
  route,      ///< logits -> gates: softmax over the config.k largest, zero elsewhere; equal logits: the first ones
  scale,      ///< a * b: sources a (n), b (1)
  gelu_tanh,  ///< gelu is exact, this its approximation (NodeKind)
  gather      ///< element list[first + e] of the source for e < n; reads the whole source, Vec::picked_from elements
};
std::string_view name_of(VecOp op);
bool parse_vec_op(std::string_view text, VecOp& op);
std::uint32_t source_count(VecOp op);

struct Vec {
  VecOp op{};
  TileId tile{};
  std::uint32_t length = 1;  ///< 1..65536
  std::array<Address, 3> src{};
  Address dst{};
  ConfigId config{};  ///< of stat and norm, rope, route; 0 otherwise
  bool operator==(const Vec&) const = default;

  // A gather has one source; the other fields say what it picks.
  std::uint32_t list() const { return index(config); }          ///< number in Program::lists
  std::uint32_t first_picked() const { return src[1].offset; }  ///< position in the list
  std::uint32_t picked_from() const { return src[2].offset; }   ///< elements of the source
};
/// dst[e] = src[list[first + e]] for e < length; the source has picked_from elements.
Vec gather(TileId tile, std::uint32_t length, Address src, std::uint32_t picked_from, std::uint32_t list,
           std::uint32_t first, Address dst);
/// Elements of the buffer that the command depends on at source s / writes.
std::uint32_t source_length(const Vec& vec, std::uint32_t source);
std::uint32_t result_length(const Vec& vec);
/// Elements that it fetches from source s: of those it depends on, a gather takes the ones that it picks.
std::uint32_t fetched_length(const Vec& vec, std::uint32_t source);

/// append: a = key, b = value, one entry of head_size elements each. context: a = queries (queries*size), b = dst.
struct Attend {
  KvId region{};
  std::uint8_t region_base = 0;  ///< register added to the region index (interleaved sequences)
  bool append = false;
  Address a{};
  Address b{};
  bool operator==(const Attend&) const = default;
};

/// Register b = (iteration * step[b-1]) mod modulus[b-1], modulus 0 = none. Loops do not nest.
struct Repeat {
  std::uint32_t n = 1;
  bool serial = false;                     ///< an iteration starts after the last one ended
  std::array<std::uint32_t, 3> step{};     ///< 24 bits
  std::array<std::uint32_t, 3> modulus{};  ///< 24 bits
  bool operator==(const Repeat&) const = default;
};
/// The commands up to the matching `end` are executed only if the gate that lies at this address is not zero: element
/// `element` of the value of the route node `gates`. Blocks do not nest and contain no loop.
struct When {
  TileId tile{};  ///< 20 bits
  Address gate{};
  NodeId gates{};             ///< 32 bits
  std::uint32_t element = 0;  ///< 24 bits
  bool operator==(const When&) const = default;
};
/// Ends the innermost `rep` or `when`.
struct End {
  bool operator==(const End&) const = default;
};
struct Halt {
  bool operator==(const Halt&) const = default;
};

using Command = std::variant<Mvm, Move, Vec, Attend, Repeat, When, End, Halt>;

/// A command in its stored form: 32 bytes, little endian, fields packed from bit 0, unused bits zero.
/// Code is kept in this form; decode on the fly.
struct Record {
  std::array<std::uint64_t, 4> words{};
  bool operator==(const Record&) const = default;
};

/// Result ids: program.range when a field does not fit its width, program.encoding when the command is not canonical
/// (strides that mean nothing are 1 or 0, unused sources and configurations 0: the rules are in
/// docs/program-format.md).
Result<Record> encode(const Command& command);
/// Result ids: program.encoding (unknown opcode, unused bits set, not canonical).
Result<Command> decode(const Record& record);
/// For records that are known to be good (already verified or just encoded): throws InternalError otherwise.
Command decode_unchecked(const Record& record);

/// The part of the chip that a program depends on.
struct ChipShape {
  std::uint32_t rows = 0;
  std::uint32_t cols = 0;
  std::uint32_t adcs = 0;    ///< per array
  std::uint32_t arrays = 0;  ///< arrays that the program uses: 0..arrays-1
  std::uint32_t arrays_per_tile = 1;
  std::uint32_t buffer = 0;  ///< elements per tile
  std::uint32_t chips = 1;   ///< equal chips that work together
  /// 0: one chip holds all arrays. Otherwise arrays are dealt in order of number, this many to each chip; what is left
  /// when every chip has its share is the next pass: it is programmed into the same cells, over the one before.
  std::uint32_t arrays_per_chip = 0;

  bool is_dealt() const { return chips != 1 || arrays_per_chip != 0; }
  std::uint32_t tiles_per_chip() const {
    return arrays_per_chip / arrays_per_tile + (arrays_per_chip % arrays_per_tile != 0);
  }
  /// Tiles are numbered share by share; the last tile of a share may have fewer arrays.
  TileId tile_of(ArrayId array) const {
    const std::uint32_t number = index(array);
    if (arrays_per_chip == 0) return TileId{number / arrays_per_tile};
    return TileId{number / arrays_per_chip * tiles_per_chip() + number % arrays_per_chip / arrays_per_tile};
  }
  std::uint32_t tiles() const { return arrays == 0 ? 0 : index(tile_of(ArrayId{arrays - 1})) + 1; }
  std::uint32_t chip_of(TileId tile) const { return arrays_per_chip == 0 ? 0 : index(tile) / tiles_per_chip() % chips; }
  std::uint32_t pass_of(ArrayId array) const {
    return arrays_per_chip == 0 ? 0 : index(array) / arrays_per_chip / chips;
  }
  std::uint32_t passes() const { return arrays == 0 ? 1 : pass_of(ArrayId{arrays - 1}) + 1; }
  bool operator==(const ChipShape&) const = default;
};

/// A rectangle of programmed cells: cell (i, j) at (row + i, column + j) holds the weight from stage input
/// in_first + i*in_step to stage output out_first + j*out_step of the stage of the linear node. 40 bytes at most.
struct Patch {
  ArrayId array{};
  NodeId node{};
  std::uint16_t row = 0;
  std::uint16_t column = 0;
  std::uint16_t rows = 0;  ///< patches do not wrap
  std::uint16_t columns = 0;
  std::uint32_t in_first = 0;
  std::uint32_t out_first = 0;
  std::uint16_t in_step = 1;
  std::uint16_t out_step = 1;
  std::uint8_t stage = 0;
  bool operator==(const Patch&) const = default;
};

/// Replication: `array` has no patches of its own; it holds the cells of `of`, on the same tile. Commands name `of`,
/// and an activation takes whichever of them is free, so copies change when things happen and nothing else.
struct Copy {
  ArrayId array{};
  ArrayId of{};
  bool operator==(const Copy&) const = default;
};

/// Attention state of one kv head: append-only list of (key, value) pairs of `size` elements on one tile.
struct KvRegion {
  TileId tile{};
  std::uint32_t queries = 1;   ///< query heads that read it
  std::uint32_t size = 0;      ///< head size
  std::uint32_t capacity = 0;  ///< entries
  std::uint32_t start = 0;     ///< entries present before the program starts
  bool operator==(const KvRegion&) const = default;
};

struct Group {
  std::vector<TileId> members;  ///< ascending, no duplicates
  bool operator==(const Group&) const = default;
};

/// Elements first..first+length-1 of a graph value (input or output) live at this address.
struct Location {
  NodeId node{};
  std::uint32_t first = 0;
  std::uint32_t length = 0;
  TileId tile{};
  Address address{};
  bool operator==(const Location&) const = default;
};

/// Elements of a named constant (gain, bias; "zero" = zeros, for padding) are loaded here before the program starts.
struct Constant {
  std::string name;
  std::uint32_t first = 0;
  std::uint32_t length = 0;
  TileId tile{};
  std::uint32_t offset = 0;
  bool operator==(const Constant&) const = default;
};

/// Outputs of padding go here; exempt from the dead-data check and never read.
struct Sink {
  TileId tile{};
  Address address{};
  std::uint32_t length = 0;
  bool operator==(const Sink&) const = default;
};

/// Free text carried along ("chip" = the resolved chip file, "model" = name); no meaning to the machines.
struct Note {
  std::string key;
  std::string text;
  bool operator==(const Note&) const = default;
};

struct Program {
  ChipShape chip;
  Digest chip_digest;
  Digest model_digest;
  std::vector<Note> notes;
  Graph intent;  ///< what the program must compute; its configs are the program's configuration table
  std::vector<KvRegion> kv;
  std::vector<Group> groups;
  std::vector<IndexList>
      lists;  ///< the selections of the intent's gathered operators, each once, in order of first use
  std::vector<Location> inputs;
  std::vector<Location> outputs;
  std::vector<Constant> constants;
  std::vector<Sink> sinks;
  std::vector<Patch> patches;  ///< sorted by (array, row, column)
  std::vector<Copy> copies;    ///< sorted by array
  std::vector<Record> code;

  TileId tile_of(ArrayId array) const { return chip.tile_of(array); }
  bool operator==(const Program&) const = default;
};

/// The text of a program whose names, keys of notes and node ids are good and whose records decode; patches should be
/// sorted.
std::string to_text(const Program& program);
/// Errors, all with line and column: program.magic, version, incomplete, syntax, range, name, duplicate, order, output,
/// heads, list, encoding; graph.* and structure.* of core.
Result<Program> parse_text(std::string_view text, const std::string& file_name);
std::vector<std::byte> to_binary(const Program& program);
/// Errors, all with the byte offset: program.magic, version, truncated, crc, section, range, name, order, output,
/// heads, list, encoding; graph.* and structure.* of core.
Result<Program> parse_binary(std::span<const std::byte> bytes, const std::string& file_name);
/// Reads either form (told apart by the magic).
Result<Program> load(const std::filesystem::path& path);
/// Digest of the binary form.
Digest digest_of(const Program& program);

/// One line of text form for a command, without newline: "mvm a0 r0+4 c0+6 6@1 -> 14*2@1 set k0".
std::string to_text(const Command& command);

}  // namespace danaus::program
