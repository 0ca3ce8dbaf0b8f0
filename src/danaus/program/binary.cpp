#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <tuple>
#include <unordered_set>

#include "danaus/core/files.h"
#include "danaus/core/internal_error.h"
#include "danaus/program/crc32.h"
#include "danaus/program/intent.h"
#include "danaus/program/program.h"
#include "danaus/program/scanner.h"
#include "danaus/program/widths.h"

// The binary form of a program (docs/program-format.md): header, section table, sections in a fixed order without gaps,
// CRC-32. Everything is little endian and written byte by byte, so the host does not matter. Reading trusts nothing,
// not even a good CRC: every number has a range, every count is compared with the bytes that are left before anything
// is allocated for it.

namespace danaus::program {
namespace {

constexpr std::string_view kMagic = "DANAUSPR";
constexpr std::uint32_t kVersion = 2;

/// The sections in the order of the file; the names are the tags.
constexpr std::array<std::string_view, 14> kSections = {"CHIP", "NOTE", "CONF", "KVRG", "GRUP", "LIST", "GRPH",
                                                        "INPT", "OUTP", "CNST", "SINK", "PTCH", "COPY", "CODE"};
enum Section : std::size_t {
  kChip,
  kNotes,
  kConfigs,
  kKv,
  kGroups,
  kLists,
  kGraph,
  kInputs,
  kOutputs,
  kConstants,
  kSinks,
  kPatches,
  kCopies,
  kCode
};

constexpr std::size_t kFixedHeaderBytes = 56;  // magic, version, flags, two digests, section count, zero
constexpr std::size_t kTableEntryBytes = 24;   // tag, count, offset, size
constexpr std::size_t kHeaderBytes = kFixedHeaderBytes + kSections.size() * kTableEntryBytes;
constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kPatchBytes = 32;
constexpr std::size_t kCopyBytes = 8;
constexpr std::size_t kRecordBytes = 32;

// Writing.

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& bytes) : bytes_(bytes) {}

  void u8(std::uint64_t value) { put<1>(value); }
  void u16(std::uint64_t value) { put<2>(value); }
  void u32(std::uint64_t value) { put<4>(value); }
  void u64(std::uint64_t value) { put<8>(value); }
  void characters(std::string_view text) {
    const std::span<const std::byte> raw = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
  }
  void name(std::string_view text) {
    u8(text.size());
    characters(text);
  }
  void address(const Address& address) { u32(address.offset | std::uint32_t{address.base} << kOffsetBits); }

 private:
  template <std::size_t size>
  void put(std::uint64_t value) {
    std::array<std::byte, size> raw;
    for (std::size_t b = 0; b < size; ++b) raw[b] = static_cast<std::byte>(value >> (8 * b) & 0xff);
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
  }

  std::vector<std::byte>& bytes_;
};

void write(Writer& writer, const Note& note) {
  writer.name(note.key);
  writer.u32(note.text.size());
  writer.characters(note.text);
}

void write(Writer& writer, const Config& config) {
  std::uint64_t small[3] = {};
  std::uint32_t n = 0;
  double real = 0;
  switch (config.kind) {
    case Config::Kind::mvm:
      small[0] = config.dac_bits;
      small[1] = config.adc_bits;
      small[2] = static_cast<std::uint64_t>(config.range);
      break;
    case Config::Kind::norm:
      small[0] = static_cast<std::uint64_t>(config.norm);
      n = config.n;
      real = config.epsilon;
      break;
    case Config::Kind::rope:
      small[0] = static_cast<std::uint64_t>(config.pairs);
      n = config.size;
      real = config.theta;
      break;
    case Config::Kind::move:
      small[0] = config.bits;
      break;
    case Config::Kind::route:
      n = config.k;
      break;
  }
  writer.u8(static_cast<std::uint64_t>(config.kind));
  for (const std::uint64_t value : small) writer.u8(value);
  writer.u32(n);
  writer.u32(config.rotated);
  writer.u64(std::bit_cast<std::uint64_t>(real));
}

void write(Writer& writer, const KvRegion& region) {
  writer.u32(index(region.tile));
  writer.u32(region.queries);
  writer.u32(region.size);
  writer.u32(region.capacity);
  writer.u32(region.start);
}

void write(Writer& writer, const Group& group) {
  writer.u32(group.members.size());
  for (const TileId member : group.members) writer.u32(index(member));
}

void write(Writer& writer, const IndexList& list) {
  writer.u32(list.size());
  for (const std::uint32_t number : list.numbers()) writer.u32(number);
}

void write(Writer& writer, const Node& node, const std::vector<IndexList>& lists) {
  writer.u8(static_cast<std::uint64_t>(node.kind));
  writer.name(node.name);
  for (const NodeId source : node.sources) writer.u32(index(source));
  const Structure& structure = node.structure;
  switch (node.kind) {
    case NodeKind::input:
      writer.u32(node.size);
      break;
    case NodeKind::linear:
      writer.u8(static_cast<std::uint64_t>(structure.kind));
      writer.u8(structure.trimmed);
      for (const std::uint32_t number : {structure.out, structure.in, structure.k, structure.l, structure.r,
                                         structure.in_block, structure.out_block})
        writer.u32(number);
      if (structure.kind == Structure::Kind::gather) writer.u32(list_of(structure, lists));
      for (const ConfigId config : node.configs) writer.u16(index(config));
      break;
    case NodeKind::norm:
      writer.name(node.constant);
      writer.u16(index(node.configs[0]));
      break;
    case NodeKind::bias:
      writer.name(node.constant);
      break;
    case NodeKind::rope:
    case NodeKind::route:
      writer.u16(index(node.configs[0]));
      break;
    case NodeKind::attend:
      writer.u32(index(node.kv_first));
      writer.u8(static_cast<std::uint64_t>(node.span));
      break;
    default:
      break;
  }
  writer.u8(node.idle);
  writer.u8(node.guard.has_value());
  if (!node.guard) return;
  writer.u32(index(node.guard->gates));
  writer.u32(node.guard->element);
}

void write(Writer& writer, const Location& location) {
  writer.u32(index(location.node));
  writer.u32(location.first);
  writer.u32(location.length);
  writer.u32(index(location.tile));
  writer.address(location.address);
}

void write(Writer& writer, const Constant& constant) {
  writer.name(constant.name);
  writer.u32(constant.first);
  writer.u32(constant.length);
  writer.u32(index(constant.tile));
  writer.u32(constant.offset);
}

void write(Writer& writer, const Sink& sink) {
  writer.u32(index(sink.tile));
  writer.address(sink.address);
  writer.u32(sink.length);
}

void write(Writer& writer, const Patch& patch) {
  writer.u32(index(patch.array));
  writer.u32(index(patch.node));
  writer.u16(patch.row);
  writer.u16(patch.column);
  writer.u16(patch.rows);
  writer.u16(patch.columns);
  writer.u32(patch.in_first);
  writer.u32(patch.out_first);
  writer.u16(patch.in_step);
  writer.u16(patch.out_step);
  writer.u32(patch.stage);
}
void write(Writer& writer, const Copy& copy) {
  writer.u32(index(copy.array));
  writer.u32(index(copy.of));
}

void write(Writer& writer, const Record& record) {
  for (const std::uint64_t word : record.words) writer.u64(word);
}

/// Writes sections one after the other and keeps their table.
class FileWriter {
 public:
  FileWriter() : bytes_(kHeaderBytes), writer_(bytes_) {}

  template <typename T>
  void section(const std::vector<T>& entries) {
    begin(entries.size());
    for (const T& entry : entries) write(writer_, entry);
  }
  Writer& begin(std::size_t count) {
    ensure(count <= 0xffffffff, "a section has less than 2^32 entries");
    table_.push_back({count, bytes_.size()});
    return writer_;
  }

  /// Makes room for what is still to come, exactly.
  void expect(std::size_t more) { bytes_.reserve(bytes_.size() + more); }

  std::vector<std::byte> finish(const Program& program) {
    std::vector<std::byte> header;
    Writer writer(header);
    writer.characters(kMagic);
    writer.u32(kVersion);
    writer.u32(0);
    for (const Digest& digest : {program.chip_digest, program.model_digest}) {
      writer.u64(digest.high);
      writer.u64(digest.low);
    }
    writer.u32(kSections.size());
    writer.u32(0);
    for (std::size_t s = 0; s < kSections.size(); ++s) {
      const std::size_t end = s + 1 < table_.size() ? table_[s + 1].offset : bytes_.size();
      writer.characters(kSections[s]);
      writer.u32(table_[s].count);
      writer.u64(table_[s].offset);
      writer.u64(end - table_[s].offset);
    }
    std::copy(header.begin(), header.end(), bytes_.begin());
    writer_.u32(crc32(bytes_));
    return std::move(bytes_);
  }

 private:
  struct Entry {
    std::size_t count = 0;
    std::size_t offset = 0;
  };
  std::vector<std::byte> bytes_;
  Writer writer_;
  std::vector<Entry> table_;
};

}  // namespace

std::vector<std::byte> to_binary(const Program& program) {
  FileWriter file;
  Writer& shape = file.begin(1);
  const ChipShape& chip = program.chip;
  for (const std::uint32_t number : {chip.rows, chip.cols, chip.adcs, chip.arrays, chip.arrays_per_tile, chip.buffer})
    shape.u32(number);
  if (chip.is_dealt()) shape.u32(chip.chips), shape.u32(chip.arrays_per_chip);
  file.section(program.notes);
  file.section(program.intent.configs);
  file.section(program.kv);
  file.section(program.groups);
  for (const IndexList& list : program.lists) file.expect((list.size() + std::size_t{1}) * 4);
  file.section(program.lists);
  Writer& graph = file.begin(program.intent.nodes.size());
  for (const Node& node : program.intent.nodes) write(graph, node, program.lists);
  graph.u32(program.intent.outputs.size());
  for (const NodeId output : program.intent.outputs) graph.u32(index(output));
  file.section(program.inputs);
  file.section(program.outputs);
  file.section(program.constants);
  file.section(program.sinks);
  file.expect(program.patches.size() * kPatchBytes + program.copies.size() * kCopyBytes +
              program.code.size() * kRecordBytes + kCrcBytes);
  file.section(program.patches);
  file.section(program.copies);
  file.section(program.code);
  return file.finish(program);
}

namespace {

// Reading.

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t b = 0; b < bytes.size(); ++b) value |= std::to_integer<std::uint64_t>(bytes[b]) << (8 * b);
  return value;
}

/// Reads one section from front to back. Like Scanner it keeps the first failure, and everything after it reads as
/// zero.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::size_t offset, std::uint32_t count)
      : bytes_(bytes), offset_(offset), count_(count) {}

  bool good() const { return !error_; }
  Error take_error() { return std::move(*error_); }
  std::uint32_t count() const { return count_; }
  std::size_t left() const { return bytes_.size() - position_; }
  std::size_t offset() const { return offset_ + position_; }

  std::uint64_t plain(std::size_t size) {
    if (!good()) return 0;
    if (size > left()) {
      fail_with(offset(), Error("program.section", Failure::bad_input, "the section ends inside an entry"));
      return 0;
    }
    position_ += size;
    return little_endian(bytes_.subspan(position_ - size, size));
  }

  std::uint32_t number(std::string_view what, std::size_t size, std::uint64_t least, std::uint64_t most) {
    const std::size_t start = offset();
    const std::uint64_t value = plain(size);
    if (!good()) return 0;
    if (value < least || value > most) {
      fail_with(start, Error("program.range", Failure::bad_input,
                             fmt::format("{} {} is out of range, {} to {} are possible", what, value, least, most)));
      return 0;
    }
    return static_cast<std::uint32_t>(value);
  }

  /// A finite number that is not negative (and not minus zero).
  double real(std::string_view what) {
    const std::size_t start = offset();
    const double value = std::bit_cast<double>(plain(8));
    if (std::isfinite(value) && !std::signbit(value)) return value;
    fail_with(start, Error("program.range", Failure::bad_input, fmt::format("{} is not a finite number from 0", what)));
    return 0;
  }

  std::string_view characters(std::size_t size) {
    if (!good()) return {};
    if (size > left()) {
      fail_with(offset(), Error("program.section", Failure::bad_input, "the section ends inside a string"));
      return {};
    }
    const std::span<const std::byte> part = bytes_.subspan(position_, size);
    position_ += size;
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  std::string name(std::string_view what) {
    const std::size_t start = offset();
    const std::string_view text = characters(plain(1));
    if (good() && !is_good_name(text))
      fail_with(start, Error("program.name", Failure::bad_input,
                             fmt::format("{}: '{}' is not a good name", what, shown(text))));
    return std::string(text);
  }

  Address address() {
    Address address;
    const std::uint32_t packed = number("address", 4, 0, values_of(kOffsetBits + kBaseBits) - 1);
    address.offset = packed & (kMostElements - 1);
    address.base = static_cast<std::uint8_t>(packed >> kOffsetBits);
    return address;
  }

  void fail_with(std::size_t offset, Error error) {
    if (good()) error_ = std::move(error).at_offset(offset);
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_;
  std::uint32_t count_;
  std::size_t position_ = 0;
  std::optional<Error> error_;
};

class FileReader {
 public:
  explicit FileReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<Program> read() {
    DANAUS_CHECK(read_header());
    DANAUS_CHECK(read_section(kChip, &FileReader::read_chip, 24));
    DANAUS_CHECK(read_section(kNotes, &FileReader::read_note, 6));
    program_.intent.configs.clear();
    DANAUS_CHECK(read_section(kConfigs, &FileReader::read_config, 16));
    DANAUS_CHECK(read_section(kKv, &FileReader::read_kv, 20));
    DANAUS_CHECK(read_section(kGroups, &FileReader::read_group, 8));
    DANAUS_CHECK(read_section(kLists, &FileReader::read_list, 8));
    DANAUS_CHECK(read_section(kGraph, &FileReader::read_node, 3, &FileReader::read_graph_outputs));
    for (const Node& node : program_.intent.nodes) {
      if (!node.constant.empty()) constants_.insert(node.constant);
    }
    DANAUS_CHECK(read_section(kInputs, &FileReader::read_input, 20));
    DANAUS_CHECK(read_section(kOutputs, &FileReader::read_output, 20));
    DANAUS_CHECK(read_section(kConstants, &FileReader::read_constant, 18));
    DANAUS_CHECK(read_section(kSinks, &FileReader::read_sink, 12));
    DANAUS_CHECK(read_section(kPatches, &FileReader::read_patch, kPatchBytes));
    DANAUS_CHECK(read_section(kCopies, &FileReader::read_copy, kCopyBytes));
    DANAUS_CHECK(read_section(kCode, &FileReader::read_record, kRecordBytes));
    return std::move(program_);
  }

 private:
  struct Entry {
    std::uint32_t count = 0;
    std::size_t offset = 0;
    std::size_t size = 0;
  };
  using ReadEntry = void (FileReader::*)(Reader&);

  std::uint64_t number_at(std::size_t offset, std::size_t size) const {
    return little_endian(bytes_.subspan(offset, size));
  }

  Result<void> read_header() {
    const std::span<const std::byte> magic = std::as_bytes(std::span(kMagic));
    const std::size_t compared =
        std::min(bytes_.size(), magic.size());  // the beginning of a program is a truncated program
    if (!std::equal(magic.begin(), magic.begin() + static_cast<std::ptrdiff_t>(compared), bytes_.begin()))
      return fail(Error("program.magic", Failure::bad_input, "this is not a danaus program in binary form")
                      .at_offset(0)
                      .with_hint("such a file starts with the letters DANAUSPR"));
    if (bytes_.size() < kHeaderBytes + kCrcBytes)
      return fail(
          Error("program.truncated", Failure::bad_input,
                fmt::format("{} bytes are too few for a program, the header alone has {}", bytes_.size(), kHeaderBytes))
              .at_offset(bytes_.size()));
    if (number_at(8, 4) != kVersion)
      return fail(Error("program.version", Failure::unsupported,
                        fmt::format("binary version {} is not supported, {} is", number_at(8, 4), kVersion))
                      .at_offset(8));
    DANAUS_CHECK(read_table());
    const std::size_t crc_offset = bytes_.size() - kCrcBytes;
    const std::uint32_t crc = crc32(bytes_.first(crc_offset));
    if (crc != number_at(crc_offset, kCrcBytes))
      return fail(Error("program.crc", Failure::bad_input,
                        fmt::format("the file is damaged: its CRC is {:08x}, it says {:08x}", crc,
                                    number_at(crc_offset, kCrcBytes)))
                      .at_offset(crc_offset)
                      .with_hint("copy or compile the program again"));
    if (number_at(12, 4) != 0 || number_at(52, 4) != 0)
      return fail(
          Error("program.section", Failure::bad_input, "reserved bytes of the header are not zero").at_offset(12));
    program_.chip_digest = {number_at(16, 8), number_at(24, 8)};
    program_.model_digest = {number_at(32, 8), number_at(40, 8)};
    return {};
  }

  /// The table says how long the file has to be, which is checked before the CRC: a file that was cut off should say
  /// so.
  Result<void> read_table() {
    const auto bad = [](std::size_t offset, std::string text) {
      return fail(Error("program.section", Failure::bad_input, std::move(text)).at_offset(offset));
    };
    if (number_at(48, 4) != kSections.size())
      return bad(
          48, fmt::format("the file has {} sections, version {} has {}", number_at(48, 4), kVersion, kSections.size()));
    const std::size_t end = bytes_.size() - kCrcBytes;
    std::size_t expected = kHeaderBytes;
    for (std::size_t s = 0; s < kSections.size(); ++s) {
      const std::size_t at = kFixedHeaderBytes + s * kTableEntryBytes;
      const std::span<const std::byte> tag = std::as_bytes(std::span(kSections[s]));
      if (!std::equal(tag.begin(), tag.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at)))
        return bad(at, fmt::format("section {} is not {}", s, kSections[s]));
      const std::uint64_t size = number_at(at + 16, 8);
      if (number_at(at + 8, 8) != expected)
        return bad(at + 8, fmt::format("section {} does not start where it should", kSections[s]));
      if (size > end - expected)
        return fail(Error("program.truncated", Failure::bad_input,
                          fmt::format("section {} has {} bytes, the file has {} left for it", kSections[s], size,
                                      end - expected))
                        .at_offset(bytes_.size())
                        .with_hint("the file is cut off or its table is damaged"));
      table_[s] = {static_cast<std::uint32_t>(number_at(at + 4, 4)), expected, static_cast<std::size_t>(size)};
      expected += static_cast<std::size_t>(size);
    }
    if (expected != end) return bad(expected, fmt::format("{} bytes follow the last section", end - expected));
    return {};
  }

  /// Reads all entries of a section, then its tail; no byte may be left. No entry is shorter than `least_bytes`.
  Result<void> read_section(Section section, ReadEntry read_entry, std::size_t least_bytes,
                            ReadEntry read_tail = nullptr) {
    const Entry& entry = table_[section];
    const auto in_section = [&](Error error) {
      return fail(std::move(error).note(fmt::format("in section {}", kSections[section])));
    };
    if (entry.count > entry.size / least_bytes)
      return in_section(Error("program.section", Failure::bad_input,
                              fmt::format("{} entries do not fit into {} bytes", entry.count, entry.size))
                            .at_offset(entry.offset));
    Reader reader(bytes_.subspan(entry.offset, entry.size), entry.offset, entry.count);
    if (section == kPatches) program_.patches.reserve(entry.count);
    if (section == kCode) program_.code.reserve(entry.count);
    for (std::uint32_t n = 0; n < entry.count && reader.good(); ++n) (this->*read_entry)(reader);
    if (reader.good() && read_tail != nullptr) (this->*read_tail)(reader);
    if (reader.good() && reader.left() != 0)
      reader.fail_with(reader.offset(), Error("program.section", Failure::bad_input,
                                              fmt::format("{} bytes follow the last entry", reader.left())));
    if (!reader.good()) return in_section(reader.take_error());
    return {};
  }

  void read_chip(Reader& reader) {
    if (reader.count() != 1)
      return reader.fail_with(reader.offset(), Error("program.section", Failure::bad_input, "a program has one chip"));
    ChipShape& chip = program_.chip;
    chip.rows = reader.number("rows", 4, 1, kLongestEdge);
    chip.cols = reader.number("cols", 4, 1, kLongestEdge);
    chip.adcs = reader.number("adcs", 4, 1, kLongestEdge);
    chip.arrays = reader.number("arrays", 4, 0, kMostArrays);
    chip.arrays_per_tile = reader.number("tile", 4, 1, kMostArrays);
    chip.buffer = reader.number("buffer", 4, 0, kMostElements);
    if (!reader.good() || reader.left() == 0) return;  // one chip holds all arrays
    chip.chips = reader.number("chips", 4, 1, kMostArrays);
    chip.arrays_per_chip = reader.number("arrays per chip", 4, 1, kMostArrays);
  }

  void read_note(Reader& reader) {
    Note note;
    note.key = reader.name("the key of a note");
    note.text = reader.characters(reader.plain(4));
    program_.notes.push_back(std::move(note));
  }

  void read_config(Reader& reader) {
    const std::size_t start = reader.offset();
    Config config;
    config.kind = static_cast<Config::Kind>(reader.number("kind of configuration", 1, 0, 4));
    std::uint8_t small[3];
    for (std::uint8_t& value : small) value = static_cast<std::uint8_t>(reader.plain(1));
    const std::uint32_t n = static_cast<std::uint32_t>(reader.plain(4));
    const std::uint32_t rotated = static_cast<std::uint32_t>(reader.plain(4));
    const double real = reader.real("the real number of a configuration");
    const auto in = [](std::uint64_t value, std::uint64_t least, std::uint64_t most) {
      return value >= least && value <= most;
    };
    bool fits = true;
    const bool rotation_fits = rotated == 0 || (config.kind == Config::Kind::rope && rotated <= kMostElements);
    config.rotated = rotated;
    switch (config.kind) {
      case Config::Kind::mvm:
        config.dac_bits = small[0];
        config.adc_bits = small[1];
        config.range = static_cast<Config::Range>(small[2]);
        fits = in(small[0], 1, kMostBits) && in(small[1], 1, kMostBits) && in(small[2], 0, 5) && n == 0 && real == 0;
        break;
      case Config::Kind::norm:
        config.norm = static_cast<Config::Norm>(small[0]);
        config.n = n;
        config.epsilon = real;
        fits = in(small[0], 0, 1) && small[1] == 0 && small[2] == 0 && in(n, 1, kMostElements);
        break;
      case Config::Kind::rope:
        config.pairs = static_cast<Config::Pairs>(small[0]);
        config.size = n;
        config.theta = real;
        fits = in(small[0], 0, 1) && small[1] == 0 && small[2] == 0 && in(n, 1, kMostElements);
        break;
      case Config::Kind::move:
        config.bits = small[0];
        fits = in(small[0], 1, kMostBits) && small[1] == 0 && small[2] == 0 && n == 0 && real == 0;
        break;
      case Config::Kind::route:
        config.k = n;
        fits = small[0] == 0 && small[1] == 0 && small[2] == 0 && in(n, 1, kMostElements) && real == 0;
        break;
    }
    if (!fits || !rotation_fits)
      reader.fail_with(
          start, Error("program.range", Failure::bad_input,
                       fmt::format("configuration {} has a number out of range", program_.intent.configs.size())));
    if (program_.intent.configs.size() == kMostConfigs)
      reader.fail_with(
          start, Error("program.range", Failure::bad_input, fmt::format("more than {} configurations", kMostConfigs)));
    program_.intent.configs.push_back(config);
  }

  void read_kv(Reader& reader) {
    KvRegion region;
    region.tile = tile(reader);
    region.queries = reader.number("queries", 4, 1, kMostElements);
    region.size = reader.number("size", 4, 1, kMostElements);
    region.capacity = reader.number("capacity", 4, 0, kMostElements);
    region.start = reader.number("start", 4, 0, kMostElements);
    if (program_.kv.size() == values_of(kRegionBits))
      reader.fail_with(reader.offset(), Error("program.range", Failure::bad_input, "too many KV regions"));
    program_.kv.push_back(region);
  }

  void read_group(Reader& reader) {
    const std::size_t start = reader.offset();
    const std::uint32_t count = reader.number("number of members", 4, 1, kMostTiles);
    group_members_ += count;
    if (count > reader.left() / 4)
      return reader.fail_with(start, Error("program.section", Failure::bad_input,
                                           fmt::format("{} members do not fit into {} bytes", count, reader.left())));
    if (group_members_ > kMostGroupMembers || program_.groups.size() == kMostTiles)
      return reader.fail_with(start,
                              Error("program.range", Failure::bad_input, "too many groups or members of groups"));
    Group group;
    group.members.reserve(count);
    for (std::uint32_t m = 0; m < count; ++m) {
      const std::size_t at = reader.offset();
      group.members.push_back(tile(reader));
      if (m > 0 && group.members[m] <= group.members[m - 1])
        return reader.fail_with(
            at, Error("program.order", Failure::bad_input, "members of a group are ascending, each once"));
    }
    program_.groups.push_back(std::move(group));
  }

  void read_list(Reader& reader) {
    const std::size_t start = reader.offset();
    const std::uint32_t count = reader.number("number of entries", 4, 1, kMostElements);
    if (count > reader.left() / 4)
      return reader.fail_with(start, Error("program.section", Failure::bad_input,
                                           fmt::format("{} entries do not fit into {} bytes", count, reader.left())));
    if (program_.lists.size() == kMostConfigs)
      return reader.fail_with(
          start, Error("program.range", Failure::bad_input, fmt::format("more than {} lists", kMostConfigs)));
    std::vector<std::uint32_t> numbers;
    numbers.reserve(count);
    for (std::uint32_t n = 0; n < count; ++n) numbers.push_back(reader.number("an element", 4, 0, kMostElements - 1));
    if (!reader.good()) return;
    Result<void> added = lists_.add(IndexList(std::move(numbers)), program_.lists);
    if (!added) reader.fail_with(start, std::move(added).error());
  }

  void read_node(Reader& reader) {
    const std::size_t start = reader.offset();
    Graph& graph = program_.intent;
    Node node;
    node.kind =
        static_cast<NodeKind>(reader.number("kind of node", 1, 0, static_cast<std::uint64_t>(NodeKind::gelu_tanh)));
    node.name = reader.name("the name of a node");
    for (std::uint32_t s = 0; s < source_count(node.kind); ++s) {
      if (graph.nodes.empty())
        return reader.fail_with(start,
                                Error("program.range", Failure::bad_input, "the first node cannot have sources"));
      node.sources.push_back(NodeId{reader.number("source", 4, 0, graph.nodes.size() - 1)});
    }
    switch (node.kind) {
      case NodeKind::input:
        node.size = reader.number("size of an input", 4, 1, kMostElements);
        break;
      case NodeKind::linear:
        read_linear(reader, node);
        break;
      case NodeKind::norm:
        node.constant = reader.name("the name of a constant");
        node.configs[0] = config(reader);
        break;
      case NodeKind::bias:
        node.constant = reader.name("the name of a constant");
        break;
      case NodeKind::rope:
      case NodeKind::route:
        node.configs[0] = config(reader);
        break;
      case NodeKind::attend:
        node.kv_first = KvId{reader.number("KV region", 4, 0, values_of(kRegionBits) - 1)};
        node.span = static_cast<Span>(reader.number("span", 1, 0, 2));
        break;
      default:
        break;
    }
    node.idle = reader.number("idle", 1, 0, 1) != 0;
    if (reader.number("guarded", 1, 0, 1) != 0) {
      if (graph.nodes.empty())
        return reader.fail_with(start,
                                Error("program.range", Failure::bad_input, "the first node cannot have a guard"));
      Guard guard{.gates = NodeId{reader.number("gates", 4, 0, graph.nodes.size() - 1)}};
      guard.element = reader.number("element of the gates", 4, 0, kMostElements - 1);
      node.guard = guard;
    }
    if (!reader.good()) return;
    Result<void> completed = complete_node(node, graph, program_.kv);
    if (!completed) return reader.fail_with(start, std::move(completed).error());
    graph.nodes.push_back(std::move(node));
  }

  void read_linear(Reader& reader, Node& node) {
    const std::size_t start = reader.offset();
    Structure& structure = node.structure;
    structure.kind = static_cast<Structure::Kind>(reader.number("kind of structure", 1, 0, 2));
    structure.trimmed = reader.number("trimmed", 1, 0, 1) != 0;
    for (std::uint32_t* value : {&structure.out, &structure.in, &structure.k, &structure.l, &structure.r,
                                 &structure.in_block, &structure.out_block})
      *value = reader.number("number of a structure", 4, 1, kMostElements);
    if (structure.kind == Structure::Kind::gather) {
      const std::size_t at = reader.offset();
      const std::uint32_t list = reader.number("list", 4, 0, kMostConfigs - 1);
      if (!reader.good()) return;
      Result<void> taken = lists_.take(list, program_.lists, structure);
      if (!taken) return reader.fail_with(at, std::move(taken).error());
    }
    for (ConfigId& id : node.configs) id = config(reader);
    if (!reader.good()) return;
    // The rules of structures are those of their text form.
    Result<Structure> same = parse_structure(to_string(structure), structure.out, structure.in);
    if (!same) return reader.fail_with(start, same.error());
    same->selection = structure.selection;  // checked with the graph
    if (*same != structure)
      reader.fail_with(
          start, Error("program.encoding", Failure::bad_input, "numbers of a structure are not those of its shape"));
  }

  void read_graph_outputs(Reader& reader) {
    Graph& graph = program_.intent;
    const std::size_t start = reader.offset();
    const std::uint32_t count = reader.number("number of outputs", 4, 0, graph.nodes.size());
    for (std::uint32_t n = 0; n < count && reader.good(); ++n) {
      const std::size_t at = reader.offset();
      const NodeId id{reader.number("output", 4, 0, graph.nodes.size() - 1)};
      if (!reader.good()) return;
      Result<void> added = add_output(graph, id, is_output_);
      if (!added) reader.fail_with(at, std::move(added).error());
    }
    if (!reader.good()) return;
    Result<void> used = lists_.check_used(program_.lists);
    if (!used) return reader.fail_with(start, std::move(used).error());
    Result<void> valid = validate(graph);
    if (!valid) reader.fail_with(start, std::move(valid).error());
  }

  Location location(Reader& reader) {
    Location location;
    const std::size_t nodes = program_.intent.nodes.size();
    location.node = nodes == 0 ? NodeId{static_cast<std::uint32_t>(reader.plain(4))}
                               : NodeId{reader.number("node", 4, 0, nodes - 1)};
    location.first = reader.number("first element", 4, 0, kMostElements - 1);
    location.length = reader.number("length", 4, 1, kMostElements);
    location.tile = tile(reader);
    location.address = reader.address();
    return location;
  }

  void read_input(Reader& reader) {
    const std::size_t start = reader.offset();
    const Location input = location(reader);
    if (!reader.good()) return;
    if (program_.intent.nodes.empty() || program_.intent.at(input.node).kind != NodeKind::input)
      return reader.fail_with(
          start, Error("program.name", Failure::bad_input, fmt::format("node {} is not an input", index(input.node))));
    program_.inputs.push_back(input);
  }

  void read_output(Reader& reader) {
    const std::size_t start = reader.offset();
    const Location output = location(reader);
    if (!reader.good()) return;
    if (index(output.node) >= is_output_.size() || !is_output_[index(output.node)])
      return reader.fail_with(start, Error("program.name", Failure::bad_input,
                                           fmt::format("node {} is not an output", index(output.node))));
    program_.outputs.push_back(output);
  }

  void read_constant(Reader& reader) {
    const std::size_t start = reader.offset();
    Constant constant;
    constant.name = reader.name("the name of a constant");
    if (constant.name != "zero" && !constants_.contains(constant.name))
      reader.fail_with(start, Error("program.name", Failure::bad_input,
                                    fmt::format("there is no constant '{}'", shown(constant.name))));
    constant.first = reader.number("first element", 4, 0, kMostElements - 1);
    constant.length = reader.number("length", 4, 1, kMostElements);
    constant.tile = tile(reader);
    constant.offset = reader.number("offset", 4, 0, kMostElements - 1);
    program_.constants.push_back(std::move(constant));
  }

  void read_sink(Reader& reader) {
    Sink sink;
    sink.tile = tile(reader);
    sink.address = reader.address();
    sink.length = reader.number("length", 4, 1, kMostElements);
    program_.sinks.push_back(sink);
  }

  void read_patch(Reader& reader) {
    const std::size_t start = reader.offset();
    const Graph& graph = program_.intent;
    Patch patch;
    patch.array = ArrayId{reader.number("array", 4, 0, kMostArrays - 1)};
    patch.node = NodeId{static_cast<std::uint32_t>(reader.plain(4))};
    patch.row = static_cast<std::uint16_t>(reader.number("row", 2, 0, kLongestEdge - 1));
    patch.column = static_cast<std::uint16_t>(reader.number("column", 2, 0, kLongestEdge - 1));
    patch.rows = static_cast<std::uint16_t>(reader.number("number of rows", 2, 1, kLongestEdge));
    patch.columns = static_cast<std::uint16_t>(reader.number("number of columns", 2, 1, kLongestEdge));
    patch.in_first = reader.number("first input", 4, 0, kMostElements - 1);
    patch.out_first = reader.number("first output", 4, 0, kMostElements - 1);
    patch.in_step = static_cast<std::uint16_t>(reader.number("input step", 2, 1, kLongestStep));
    patch.out_step = static_cast<std::uint16_t>(reader.number("output step", 2, 1, kLongestStep));
    const std::uint32_t stage = reader.number("stage", 4, 0, 1);
    if (!reader.good()) return;
    patch.stage = static_cast<std::uint8_t>(stage);
    if (index(patch.node) >= graph.nodes.size() || graph.at(patch.node).kind != NodeKind::linear ||
        stage >= graph.at(patch.node).structure.stages())
      return reader.fail_with(start, Error("program.name", Failure::bad_input,
                                           fmt::format("a patch names stage {} of node {}, which has no such weights",
                                                       stage, index(patch.node))));
    const auto order = [](const Patch& p) { return std::tuple(p.array, p.row, p.column); };
    if (!program_.patches.empty() && order(patch) < order(program_.patches.back()))
      return reader.fail_with(
          start, Error("program.order", Failure::bad_input, "patches are sorted by array, row and column"));
    program_.patches.push_back(patch);
  }

  void read_copy(Reader& reader) {
    const std::size_t start = reader.offset();
    Copy copy;
    copy.array = ArrayId{reader.number("array", 4, 0, kMostArrays - 1)};
    copy.of = ArrayId{reader.number("array that is copied", 4, 0, kMostArrays - 1)};
    if (!reader.good()) return;
    if (!program_.copies.empty() && copy.array <= program_.copies.back().array)
      return reader.fail_with(start,
                              Error("program.order", Failure::bad_input, "copies are sorted by array, each once"));
    program_.copies.push_back(copy);
  }

  void read_record(Reader& reader) {
    const std::size_t start = reader.offset();
    Record record;
    for (std::uint64_t& word : record.words) word = reader.plain(8);
    Result<Command> command = decode(record);
    if (!command)
      return reader.fail_with(start, std::move(command).error().note(fmt::format("command {}", program_.code.size())));
    program_.code.push_back(record);
  }

  static TileId tile(Reader& reader) { return TileId{reader.number("tile", 4, 0, kMostTiles - 1)}; }
  static ConfigId config(Reader& reader) { return ConfigId{static_cast<std::uint16_t>(reader.plain(2))}; }

  std::span<const std::byte> bytes_;
  std::array<Entry, kSections.size()> table_;
  Program program_;
  std::unordered_set<std::string_view> constants_;  // the names are those of the nodes, which do not move any more
  std::vector<bool> is_output_;
  std::uint64_t group_members_ = 0;
  ListReader lists_;
};

}  // namespace

Result<Program> parse_binary(std::span<const std::byte> bytes, const std::string& file_name) {
  Result<Program> program = FileReader(bytes).read();
  if (!program) return fail(std::move(program).error().in_file(file_name));
  return program;
}

Result<Program> load(const std::filesystem::path& path) {
  DANAUS_TRY(file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file->bytes();
  // Text has no zero byte; a binary file has one in its version even if its magic is damaged.
  const std::span<const std::byte> front = bytes.first(std::min<std::size_t>(bytes.size(), kFixedHeaderBytes));
  const bool binary = std::find(front.begin(), front.end(), std::byte{0}) != front.end();
  if (binary) return parse_binary(bytes, file->name());
  return parse_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file->name());
}

Digest digest_of(const Program& program) { return danaus::digest_of(to_binary(program)); }

}  // namespace danaus::program
