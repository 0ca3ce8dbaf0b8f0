#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "danaus/model/element.h"
#include "danaus/model/gguf.h"
#include "small_files.h"

// Every type of GGUF that danaus reads, against the Python package gguf: tests/oracle/gguf_types.py made the file and
// prints the figures; test_gguf.py beside it compares whole models through the program.

using namespace danaus;
using namespace danaus::model;
using small_files::Bytes;
using small_files::Gguf;
using small_files::put;

namespace {

struct Figures {
  std::string name;
  float first;
  std::uint64_t checksum;  ///< sum over n of (n + 1) * bits(element n), modulo 2^64
};

const std::vector<Figures> kFigures = {
    {"F32", -0x1.7923c4p-12f, 0x0003ff1f43f0309c}, {"F16", 0x1.1cp-13f, 0x0003ea4cc6046000},
    {"BF16", -0x1.0ep-16f, 0x0003ea3c9c6c0000},    {"F64", 0x1.69a35cp-21f, 0x0003c31f927372bf},
    {"Q4_0", -0x1.68p-8f, 0x00038e5e18ee1000},     {"Q4_1", 0x1.42d8p-11f, 0x00043a80a5043461},
    {"Q5_0", -0x1.27p-14f, 0x00038bff7e38f400},    {"Q5_1", 0x1.61ap-12f, 0x0004175d743eca0f},
    {"Q8_0", 0x1.80d08p+0f, 0x0003b0ba9d7efa00},   {"Q2_K", -0x1.5f8016p-1f, 0x00023fe2a9ebde30},
    {"Q3_K", 0x1.1fb8p-5f, 0x00035f8b522f4380},    {"Q4_K", -0x1.c1c4ap+1f, 0x0003118da7594bd5},
    {"Q5_K", -0x1.f41cp-8f, 0x0003182fffe5b55c},   {"Q6_K", -0x1.70d8p-5f, 0x0003b897a4d8a520},
};

const std::filesystem::path kCorpus = std::filesystem::path(DANAUS_SOURCE_DIR) / "tests/data/gguf/quantised.gguf";

std::uint64_t checksum_of(const std::vector<float>& values) {
  std::uint64_t checksum = 0, position = 0;
  for (const float value : values) checksum += ++position * std::bit_cast<std::uint32_t>(value);
  return checksum;
}

/// A file with one tensor of that type, two rows of `columns`, `row_bytes` each.
Gguf one_tensor(std::uint32_t type, std::uint64_t columns, std::uint64_t row_bytes) {
  Gguf file;
  Bytes data;
  for (std::uint64_t n = 0; n < 2 * row_bytes; ++n) put<std::uint8_t>(data, static_cast<std::uint8_t>(n * 37 + 11));
  file.tensors.push_back({"w", {columns, 2}, type, data, 0});
  return file;
}

struct Layout {
  std::uint32_t number;
  std::string name;
  std::uint64_t elements, bytes;
};
// Numbers and sizes: GGML_QUANT_SIZES of the package.
const std::vector<Layout> kLayouts = {{2, "Q4_0", 32, 18},    {3, "Q4_1", 32, 20},    {6, "Q5_0", 32, 22},
                                      {7, "Q5_1", 32, 24},    {8, "Q8_0", 32, 34},    {10, "Q2_K", 256, 84},
                                      {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176},
                                      {14, "Q6_K", 256, 210}};

}  // namespace

TEST_CASE("every type has the values of the reference, bit for bit") {
  const Result<GgufFile> file = read_gguf(kCorpus);
  REQUIRE(file);
  REQUIRE(file->tensors.size() == kFigures.size());
  for (std::size_t n = 0; n < kFigures.size(); ++n) {
    const Tensor& tensor = file->tensors[n];
    CAPTURE(tensor.name);
    CHECK(tensor.name == kFigures[n].name);
    CHECK(name_of(tensor.type) == tensor.name);
    REQUIRE(tensor.shape == std::vector<std::uint64_t>{2, 512});
    std::vector<float> values(2 * 512);
    dequantise_rows(tensor, 0, 2, values);
    CHECK(values[0] == kFigures[n].first);
    CHECK(checksum_of(values) == kFigures[n].checksum);
    std::vector<float> second(512);
    dequantise_rows(tensor, 1, 1, second);
    CHECK(checksum_of(second) == checksum_of({values.begin() + 512, values.end()}));
  }
}

TEST_CASE("rows that are not whole blocks are refused with the tensor's name") {
  for (const Layout& layout : kLayouts) {
    CAPTURE(layout.name);
    const Bytes good = one_tensor(layout.number, 2 * layout.elements, 2 * layout.bytes).bytes();
    const Result<GgufFile> file = parse_gguf(good, "good.gguf");
    REQUIRE(file);
    CHECK(name_of(file->tensors[0].type) == layout.name);
    CHECK(file->tensors[0].bytes.size() == 4 * layout.bytes);

    // One element more, or half a block (of 256: a whole block of 32 would fit), and one byte less.
    for (const std::uint64_t columns : {2 * layout.elements + 1, layout.elements / 2 * 3}) {
      const Bytes bytes = one_tensor(layout.number, columns, 4 * layout.bytes).bytes();
      const Result<GgufFile> parsed = parse_gguf(bytes, "ragged.gguf");
      REQUIRE(!parsed);
      CHECK(parsed.error().id == "gguf.dimension");
      CHECK(parsed.error().message.find("'w'") != std::string::npos);
      CHECK(parsed.error().message.find(layout.name) != std::string::npos);
    }
    const Result<GgufFile> cut = parse_gguf(std::span(good).first(good.size() - 1), "cut.gguf");
    REQUIRE(!cut);
    CHECK(cut.error().id == "gguf.truncated");
  }
}

TEST_CASE("types that are not supported are refused by name, with the reason and what to do") {
  for (const auto& [number, name] : std::vector<std::pair<std::uint32_t, std::string>>{
           {9, "Q8_1"},   {15, "Q8_K"},       {16, "IQ2_XXS"},    {17, "IQ2_XS"},     {18, "IQ3_XXS"},
           {19, "IQ1_S"}, {20, "IQ4_NL"},     {21, "IQ3_S"},      {22, "IQ2_S"},      {23, "IQ4_XS"},
           {29, "IQ1_M"}, {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"},
           {35, "TQ2_0"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {39, "MXFP4"},
           {40, "NVFP4"}, {41, "Q1_0"}}) {
    CAPTURE(name);
    const Bytes bytes = one_tensor(number, 512, 1024).bytes();
    const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
    REQUIRE(!parsed);
    CHECK(parsed.error().id == "gguf.unsupported-type");
    CHECK(parsed.error().failure == Failure::unsupported);
    CHECK(parsed.error().message.starts_with("the tensor 'w' has the type " + name + ", which is not supported: it "));
    REQUIRE(parsed.error().notes.size() == 1);
    CHECK(parsed.error().notes[0] ==
          "supported are F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, I8, I16, I32, I64, F64, "
          "BF16");
    CHECK(parsed.error().hint.find("Q8_0") != std::string::npos);
  }
  for (const std::uint32_t number : {4u, 5u, 42u, 1000u}) {
    CAPTURE(number);
    const Bytes bytes = one_tensor(number, 512, 1024).bytes();
    CHECK(parse_gguf(bytes, "small.gguf").error().id == "gguf.tensor-type");
  }
}

TEST_CASE("a block of any bytes converts: scales that are infinite or not a number stay inside their block") {
  for (const Layout& layout : kLayouts) {
    CAPTURE(layout.name);
    Gguf file = one_tensor(layout.number, 2 * layout.elements, 2 * layout.bytes);
    const Bytes before = file.tensors[0].data;
    Bytes broken = before;
    std::fill_n(broken.begin() + static_cast<std::ptrdiff_t>(layout.bytes), layout.bytes, std::byte{0xff});
    const auto values_of = [&](const Bytes& payload) {
      file.tensors[0].data = payload;
      const Bytes bytes = file.bytes();
      const Result<GgufFile> parsed = parse_gguf(bytes, "small.gguf");
      REQUIRE(parsed);
      std::vector<float> values(4 * layout.elements);
      dequantise_rows(parsed->tensors[0], 0, 2, values);
      return values;
    };
    const std::vector<float> good = values_of(before);
    const std::vector<float> damaged = values_of(broken);
    for (std::size_t n = 0; n < good.size(); ++n) {
      if (n / layout.elements == 1) {
        CHECK(std::isnan(damaged[n]));
      } else {
        CHECK(std::bit_cast<std::uint32_t>(damaged[n]) == std::bit_cast<std::uint32_t>(good[n]));
      }
    }
  }
}

TEST_CASE("every truncation and every flipped bit of the header of a file with all types") {
  const Result<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(kCorpus);
  REQUIRE(mapped);
  const Bytes bytes((*mapped)->bytes().begin(), (*mapped)->bytes().end());
  for (std::size_t size = 0; size < bytes.size(); size += size < 1024 ? 1 : 97) {
    CAPTURE(size);
    const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const Result<GgufFile> file = parse_gguf(part, "short.gguf");
    REQUIRE(!file);
    CHECK((file.error().id == "gguf.truncated" || file.error().id == "gguf.count"));
  }
  const Result<GgufFile> whole = parse_gguf(bytes, "whole.gguf");
  REQUIRE(whole);
  const auto header = static_cast<std::size_t>(whole->tensors.front().bytes.data() - bytes.data());
  small_files::for_every_bit_flip(bytes, header, [](std::span<const std::byte> damaged) {
    const Result<GgufFile> file = parse_gguf(damaged, "damaged.gguf");
    if (!file) return;
    for (const Tensor& tensor : file->tensors) {
      const std::uint64_t length = tensor.shape.back();
      std::vector<float> row(length);
      dequantise_rows(tensor, 0, 1, row);
      dequantise_rows(tensor, tensor.elements() / length - 1, 1, row);
    }
  });
}
