#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "codec_support.h"
#include "danaus/core/random.h"
#include "danaus/program/program.h"

using namespace danaus;
using namespace danaus::program;

namespace {

using Bytes = std::vector<std::byte>;

Program example() { return parse_text(codec::example_text(), "example").value(); }
Program rich() { return parse_text(codec::rich_text(), "rich").value(); }

/// zlib's CRC-32, one bit after the other.
std::uint32_t crc_of(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
  }
  return ~crc;
}

std::uint64_t number_at(const Bytes& bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t b = size; b-- > 0;) value = value << 8 | static_cast<std::uint64_t>(bytes[offset + b]);
  return value;
}

void put(Bytes& bytes, std::size_t offset, std::size_t size, std::uint64_t value) {
  for (std::size_t b = 0; b < size; ++b) bytes.at(offset + b) = static_cast<std::byte>(value >> (8 * b) & 0xff);
}

void repair_crc(Bytes& bytes) { put(bytes, bytes.size() - 4, 4, crc_of(std::span(bytes).first(bytes.size() - 4))); }

/// Offset of the first byte of a section.
std::size_t section(const Bytes& bytes, std::size_t number) { return number_at(bytes, 56 + 24 * number + 8, 8); }

Error error_of(const Bytes& bytes) {
  const Result<Program> program = parse_binary(bytes, "file.dnx");
  REQUIRE_FALSE(program.has_value());
  CHECK(program.error().where.file == "file.dnx");
  CHECK(program.error().where.offset.has_value());
  CHECK(program.error().failure != Failure::internal);
  return program.error();
}

/// Damaged bytes with a good CRC: an error, or a program that survives both forms.
void check_damaged(const Bytes& bytes) {
  const Result<Program> program = parse_binary(bytes, "damaged");
  if (!program) {
    CHECK(program.error().where.offset.has_value());
    return;
  }
  CHECK(to_binary(*program) == bytes);
  const Result<Program> from_text = parse_text(to_text(*program), "text");
  REQUIRE_MESSAGE(from_text.has_value(), to_string(from_text.error()));
  CHECK(*from_text == *program);
}

}  // namespace

TEST_CASE("binary and text are the same program") {
  for (const std::string& text : {codec::example_text(), codec::rich_text()}) {
    const Program program = parse_text(text, "test").value();
    const Bytes bytes = to_binary(program);
    const Result<Program> again = parse_binary(bytes, "test");
    REQUIRE_MESSAGE(again.has_value(), to_string(again.error()));
    CHECK(*again == program);
    CHECK(to_text(*again) == text);
    CHECK(to_binary(*again) == bytes);
  }
}

TEST_CASE("the file is laid out as documented") {
  const Bytes bytes = to_binary(example());
  CHECK(std::memcmp(bytes.data(), "DANAUSPR", 8) == 0);
  CHECK(number_at(bytes, 8, 4) == 2);
  CHECK(number_at(bytes, 12, 4) == 0);
  CHECK(number_at(bytes, 48, 4) == 14);
  CHECK(number_at(bytes, 52, 4) == 0);
  // Entries, then bytes, of every section, counted by hand.
  struct Expected {
    const char* tag;
    std::size_t count;
    std::size_t size;
  };
  const std::vector<Expected> expected = {{"CHIP", 1, 24}, {"NOTE", 0, 0},       {"CONF", 3, 60}, {"KVRG", 1, 20},
                                          {"GRUP", 0, 0},  {"LIST", 0, 0},       {"GRPH", 17, 0}, {"INPT", 2, 40},
                                          {"OUTP", 2, 40}, {"CNST", 4, 76},      {"SINK", 0, 0},  {"PTCH", 28, 28 * 32},
                                          {"COPY", 0, 0},  {"CODE", 65, 65 * 32}};
  std::size_t offset = 56 + 14 * 24;
  for (std::size_t s = 0; s < expected.size(); ++s) {
    const std::size_t entry = 56 + 24 * s;
    CHECK(std::memcmp(bytes.data() + entry, expected[s].tag, 4) == 0);
    CHECK(number_at(bytes, entry + 4, 4) == expected[s].count);
    CHECK(number_at(bytes, entry + 8, 8) == offset);
    if (s != 6) CHECK(number_at(bytes, entry + 16, 8) == expected[s].size);
    offset += number_at(bytes, entry + 16, 8);
  }
  CHECK(offset + 4 == bytes.size());
  CHECK(number_at(bytes, offset, 4) == crc_of(std::span(bytes).first(offset)));
  CHECK(crc_of(std::as_bytes(std::span(std::string_view("123456789")))) == 0xcbf43926);
  // The first patch and the last command, field by field.
  const std::size_t patch = section(bytes, 11);
  CHECK(number_at(bytes, patch, 4) == 0);
  CHECK(number_at(bytes, patch + 4, 4) == 2);
  CHECK(number_at(bytes, patch + 12, 2) == 4);
  CHECK(number_at(bytes, patch + 14, 2) == 2);
  CHECK(number_at(bytes, patch + 26, 2) == 2);
  CHECK(number_at(bytes, bytes.size() - 36, 8) == 7);
  // Location: y 4+4 t1 388@2.
  CHECK(number_at(bytes, section(bytes, 8) + 20 + 16, 4) == (388 | 2 << 24));
}

TEST_CASE("every length that is too short is refused") {
  for (const Program& program : {example(), rich()}) {
    const Bytes bytes = to_binary(program);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const Error error = error_of(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
      CHECK(error.id == "program.truncated");
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    CHECK(error_of(longer).id == "program.section");
    repair_crc(longer);
    CHECK(error_of(longer).id == "program.section");
  }
}

TEST_CASE("every changed bit is found") {
  for (const Program& program : {example(), rich()}) {
    Bytes bytes = to_binary(program);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      const std::byte mask = static_cast<std::byte>(1 << (bit % 8));
      bytes[bit / 8] ^= mask;
      CHECK_FALSE(parse_binary(bytes, "test").has_value());
      bytes[bit / 8] ^= mask;
    }
  }
}

TEST_CASE("every changed bit under a good CRC is refused or means another program") {
  for (const Program& program : {example(), rich()}) {
    const Bytes bytes = to_binary(program);
    for (std::size_t bit = 0; bit < (bytes.size() - 4) * 8; ++bit) {
      Bytes changed = bytes;
      changed[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
      repair_crc(changed);
      check_damaged(changed);
    }
  }
}

TEST_CASE("random bytes under a good CRC") {
  const Bytes bytes = to_binary(rich());
  for (std::uint64_t n = 0; n < 5000; ++n) {
    Bytes changed = bytes;
    for (std::uint64_t change = 0; change < 3; ++change) {
      const std::size_t at = 48 + random_bits(5, n, 2 * change) % (bytes.size() - 52);
      changed[at] = static_cast<std::byte>(random_bits(5, n, 2 * change + 1) & 0xff);
    }
    repair_crc(changed);
    check_damaged(changed);
  }
}

TEST_CASE("each kind of damage has its error") {
  const Bytes good = to_binary(example());
  const auto changed = [&](std::size_t offset, std::size_t size, std::uint64_t value) {
    Bytes bytes = good;
    put(bytes, offset, size, value);
    repair_crc(bytes);
    return error_of(bytes);
  };
  CHECK(changed(0, 1, 'd').id == "program.magic");
  CHECK(changed(8, 4, 1).id == "program.version");
  CHECK(changed(8, 4, 1).failure == Failure::unsupported);
  CHECK(changed(12, 4, 1).id == "program.section");
  CHECK(changed(48, 4, 13).id == "program.section");
  CHECK(changed(56 + 16, 8, ~std::uint64_t{0}).id == "program.truncated");
  CHECK(changed(56 + 24 * 13 + 4, 4, 0xffffffff).id == "program.section");
  CHECK(changed(56 + 4, 4, 2).id == "program.section");
  CHECK(changed(section(good, 0), 4, 1025).id == "program.range");
  CHECK(changed(section(good, 2), 1, 4).id == "program.range");
  CHECK(changed(section(good, 3), 4, 1 << 20).id == "program.range");
  CHECK(changed(section(good, 11), 4, 1).id == "program.order");
  CHECK(changed(section(good, 11) + 4, 4, 0).id == "program.name");
  CHECK(changed(section(good, 13), 1, 99).id == "program.encoding");
  CHECK(changed(section(good, 13), 1, 99).where.offset == section(good, 13));
  Bytes bytes = good;
  bytes.back() ^= std::byte{1};
  CHECK(error_of(bytes).id == "program.crc");
}

TEST_CASE("each kind of damage to lists has its error") {
  const Bytes good = to_binary(rich());
  const std::size_t lists = section(good, 5);
  const auto changed = [&](std::size_t offset, std::uint64_t value) {
    Bytes bytes = good;
    put(bytes, offset, 4, value);
    repair_crc(bytes);
    return error_of(bytes);
  };
  // List 0 is {6: 0 3 2 7 1 4}, list 1 {2: 2 3}.
  CHECK(number_at(good, lists, 4) == 6);
  CHECK(number_at(good, lists + 8, 4) == 3);
  CHECK(number_at(good, lists + 28, 4) == 2);
  CHECK(changed(lists, 0).id == "program.range");
  CHECK(changed(lists, 5).id == "program.section");
  CHECK(changed(lists, 1 << 24).id == "program.section");
  CHECK(changed(lists, 0xffffffff).id == "program.range");
  CHECK(changed(lists + 4, 1 << 24).id == "program.range");
  CHECK(changed(lists + 4, 8).id == "structure.selection");   // the operator has 8 inputs
  CHECK(changed(lists + 8, 0).id == "structure.selection");   // twice the same
  CHECK(changed(lists + 16, 0).id == "structure.selection");  // not ascending
  CHECK(changed(56 + 24 * 5 + 4, 1).id == "program.section");
  CHECK(changed(56 + 24 * 5 + 4, 0xffffffff).id == "program.section");
}

TEST_CASE("load tells the forms apart") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "danaus-codec-test";
  std::filesystem::create_directories(folder);
  const Program program = example();
  const Bytes bytes = to_binary(program);
  const auto write = [&](const char* name, std::string_view content) {
    std::ofstream(folder / name, std::ios::binary) << content;
    return folder / name;
  };
  const std::string_view raw(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  CHECK(load(write("binary", raw)).value() == program);
  CHECK(load(write("text", codec::example_text())).value() == program);
  CHECK(load(write("empty", "")).error().id == "program.incomplete");
  CHECK(load(write("other", "hello")).error().id == "program.magic");
  std::string no_magic(raw);
  no_magic[3] = 'x';
  CHECK(load(write("no-magic", no_magic)).error().id == "program.magic");
  CHECK(load(write("cut", raw.substr(0, 100))).error().id == "program.truncated");
  CHECK_FALSE(load(folder / "missing").has_value());
  std::filesystem::remove_all(folder);
}

TEST_CASE("the digest is that of the binary form") {
  const Program program = example();
  CHECK(program::digest_of(program) == danaus::digest_of(std::span<const std::byte>(to_binary(program))));
  Program other = program;
  other.chip.buffer += 1;
  CHECK(program::digest_of(other) != program::digest_of(program));
}
