#include "danaus/model/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "danaus/model/builder.h"
#include "danaus/model/element.h"
#include "danaus/model/formats.h"
#include "danaus/model/text.h"

// Safetensors reader (format: github.com/huggingface/safetensors).
//   header length u64, header (JSON), data
//   header: {"__metadata__": {text: text}, tensor name: {"dtype": text, "shape": [n…], "data_offsets": [begin, end]},
//   …}
// The header is read as a stream of JSON events, never as a document: duplicate names are seen (a document would drop
// them) and deep nesting or huge arrays are refused where they begin, so memory stays in proportion to the tensors
// described.

namespace danaus::model {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr std::size_t kMostDimensions = 8;
constexpr std::size_t kLongestName = 255;  // as long as a node's name can be

struct TypeName {
  std::string_view name;
  std::optional<ElementType> type;
};
constexpr TypeName kTypeNames[] = {
    {"F32", ElementType::f32}, {"F16", ElementType::f16}, {"BF16", ElementType::bf16}, {"F64", ElementType::f64},
    {"I8", ElementType::i8},   {"U8", ElementType::u8},   {"BOOL", ElementType::u8},   {"I16", ElementType::i16},
    {"I32", ElementType::i32}, {"I64", ElementType::i64}, {"U16", std::nullopt},       {"U32", std::nullopt},
    {"U64", std::nullopt},     {"F8_E4M3", std::nullopt}, {"F8_E5M2", std::nullopt},   {"F8_E8M0", std::nullopt},
    {"F4", std::nullopt},      {"F6_E2M3", std::nullopt}, {"F6_E3M2", std::nullopt},   {"C64", std::nullopt}};

struct Entry {
  std::string name;
  std::optional<std::string> type;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

/// Receives the events of the header. A callback that returns false stops the parser; `error` says why.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::optional<Error> error;

  bool start_object(std::size_t) override {
    ++depth_;
    if (depth_ == 1 || (depth_ == 2 && !in_array_)) return true;
    return wrong("an object where none is possible");
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) return begin_entry(name);
    key_ = name;
    if (in_metadata_) return true;
    const Entry& entry = entries.back();
    const bool known = name == "dtype" || name == "shape" || name == "data_offsets";
    const bool seen = (name == "dtype" && entry.type) || (name == "shape" && entry.shape) ||
                      (name == "data_offsets" && entry.offsets);
    if (!known) return wrong(fmt::format("the unknown field '{}'", printable(name)));
    if (seen) return wrong(fmt::format("the field '{}' twice", name));
    return true;
  }
  bool string(string_t& value) override {
    if (depth_ != 2 || in_array_) return wrong("a string where none is possible");
    if (in_metadata_) {
      if (!metadata.emplace(key_, value).second) return wrong(fmt::format("the key '{}' twice", printable(key_)));
      return true;
    }
    if (key_ != "dtype") return wrong(fmt::format("a string as '{}'", key_));
    entries.back().type = value;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_array_ || in_metadata_ || key_ == "dtype") return wrong("an array where none is possible");
    in_array_ = true;
    (key_ == "shape" ? entries.back().shape : entries.back().offsets).emplace();
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) return wrong("a number where none is possible");
    const bool shape = key_ == "shape";
    std::vector<std::uint64_t>& list = shape ? *entries.back().shape : *entries.back().offsets;
    if (list.size() == (shape ? kMostDimensions : 2)) return wrong(fmt::format("too many numbers in '{}'", key_));
    list.push_back(value);
    return true;
  }
  bool number_integer(number_integer_t value) override { return wrong(fmt::format("the negative number {}", value)); }
  bool number_float(number_float_t, const string_t& text) override {
    return wrong(fmt::format("the number {}, which is no integer of 64 bits", printable(text)));
  }
  bool null() override { return wrong("a null"); }
  bool boolean(bool) override { return wrong("a truth value"); }
  bool binary(binary_t&) override { return wrong("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& exception) override {
    error = Error("safetensors.json", Failure::bad_input,
                  fmt::format("the header is not JSON: {}", printable(exception.what())))
                .at_offset(kLengthBytes + (position == 0 ? 0 : position - 1));
    return false;
  }

 private:
  bool begin_entry(const std::string& name) {
    in_metadata_ = name == "__metadata__";
    if (!names_.insert(name).second) {
      error =
          Error("safetensors.duplicate", Failure::bad_input, fmt::format("the header has '{}' twice", printable(name)))
              .at_offset(kLengthBytes);
      return false;
    }
    if (name.empty() || name.size() > kLongestName) {
      error = Error("safetensors.name", Failure::bad_input,
                    fmt::format("a tensor's name has {} characters (1 to {} are possible)", name.size(), kLongestName))
                  .at_offset(kLengthBytes);
      return false;
    }
    if (!in_metadata_) entries.push_back({.name = name, .type = {}, .shape = {}, .offsets = {}});
    return true;
  }
  bool wrong(std::string_view what) {
    const std::string_view owner = in_metadata_      ? "__metadata__"
                                   : entries.empty() ? ""
                                                     : std::string_view(entries.back().name);
    error = Error("safetensors.header", Failure::bad_input,
                  owner.empty() ? fmt::format("the header has {}", what)
                                : fmt::format("the header has, for '{}', {}", printable(owner), what))
                .at_offset(kLengthBytes);
    return false;
  }

  int depth_ = 0;
  bool in_array_ = false;
  bool in_metadata_ = false;
  std::string key_;
  std::set<std::string> names_;
};

/// A tensor with its place in the data.
struct Placed {
  Tensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Result<Placed> place(const Entry& entry, std::span<const std::byte> data) {
  const std::string shown = printable(entry.name);
  if (!entry.type || !entry.shape || !entry.offsets || entry.offsets->size() != 2)
    return fail(Error("safetensors.header", Failure::bad_input,
                      fmt::format("the tensor '{}' needs dtype, shape and two data_offsets", shown))
                    .at_offset(kLengthBytes));
  const TypeName* type = std::find_if(std::begin(kTypeNames), std::end(kTypeNames),
                                      [&](const TypeName& known) { return known.name == *entry.type; });
  if (type == std::end(kTypeNames) || !type->type)
    return fail(
        Error("safetensors.unsupported-type", Failure::unsupported,
              fmt::format("the tensor '{}' has the type {}, which is not supported", shown, printable(*entry.type)))
            .at_offset(kLengthBytes)
            .with_hint("supported are F64, F32, F16, BF16 and the integers I8, U8, I16, I32, I64"));
  Placed placed;
  placed.tensor.name = entry.name;
  placed.tensor.type = *type->type;
  placed.tensor.shape = *entry.shape;
  placed.begin = entry.offsets->front();
  placed.end = entry.offsets->back();
  if (placed.begin > placed.end || placed.end > data.size())
    return fail(Error("safetensors.truncated", Failure::bad_input,
                      fmt::format("the tensor '{}' lies at bytes {} to {} of the data, the file has {}", shown,
                                  placed.begin, placed.end, data.size()))
                    .at_offset(kLengthBytes)
                    .with_hint("the file is damaged or its download was not finished"));
  const std::optional<std::uint64_t> size = storage_bytes(placed.tensor.type, placed.tensor.shape);
  if (size != placed.end - placed.begin)
    return fail(Error("safetensors.size", Failure::bad_input,
                      fmt::format("the tensor '{}' of shape {} and type {} has {} bytes", shown,
                                  shape_text(*entry.shape), *entry.type, placed.end - placed.begin))
                    .at_offset(kLengthBytes));
  placed.tensor.bytes = data.subspan(placed.begin, placed.end - placed.begin);
  return placed;
}

/// The tensors fill the data, one after the other.
Result<void> check_contiguous(const std::vector<Placed>& placed, std::uint64_t data_start, std::uint64_t data_size) {
  std::uint64_t expected = 0;
  for (const Placed& tensor : placed) {
    if (tensor.begin != expected)
      return fail(Error("safetensors.offsets", Failure::bad_input,
                        fmt::format("the tensor '{}' begins at byte {} of the data, the one before ends at {}",
                                    printable(tensor.tensor.name), tensor.begin, expected))
                      .at_offset(data_start + tensor.begin)
                      .with_hint("tensors may neither overlap nor leave holes"));
    expected = tensor.end;
  }
  if (expected != data_size)
    return fail(Error("safetensors.offsets", Failure::bad_input,
                      fmt::format("the tensors end at byte {} of the data, the file has {}", expected, data_size))
                    .at_offset(data_start + expected));
  return {};
}

Result<SafetensorsFile> parse(std::span<const std::byte> bytes, const std::shared_ptr<const MappedFile>& mapped) {
  if (bytes.size() < kLengthBytes)
    return fail(Error("safetensors.truncated", Failure::bad_input,
                      fmt::format("{} bytes are too few for the length of the header", bytes.size()))
                    .at_offset(0)
                    .with_hint("the file is damaged or its download was not finished"));
  std::uint64_t length = 0;
  for (std::size_t n = 0; n < kLengthBytes; ++n) length |= std::to_integer<std::uint64_t>(bytes[n]) << (8 * n);
  if (length > kLargestHeader)
    return fail(Error("safetensors.header-length", Failure::bad_input,
                      fmt::format("a header of {} bytes is longer than the format allows ({})", length, kLargestHeader))
                    .at_offset(0)
                    .with_hint("this is probably not a safetensors file"));
  if (length > bytes.size() - kLengthBytes)
    return fail(Error("safetensors.truncated", Failure::bad_input,
                      fmt::format("a header of {} bytes is announced, {} are left in the file", length,
                                  bytes.size() - kLengthBytes))
                    .at_offset(0)
                    .with_hint("the file is damaged or its download was not finished"));
  const std::span<const std::byte> header = bytes.subspan(kLengthBytes, length);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  const char* text = reinterpret_cast<const char*>(header.data());
  if (header.empty() || text[0] != '{')
    return fail(
        Error("safetensors.json", Failure::bad_input, "the header does not begin with '{'").at_offset(kLengthBytes));
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text, text + header.size(), &reader)) return fail(std::move(*reader.error));

  std::vector<Placed> placed;
  for (const Entry& entry : reader.entries) {
    DANAUS_TRY(tensor, place(entry, data));
    placed.push_back(std::move(tensor));
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  DANAUS_CHECK(check_contiguous(placed, kLengthBytes + length, data.size()));
  SafetensorsFile file;
  file.metadata = std::move(reader.metadata);
  for (Placed& tensor : placed) {
    tensor.tensor.file = mapped;
    file.tensors.push_back(std::move(tensor.tensor));
  }
  return file;
}

}  // namespace

Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes, std::string_view name,
                                          std::shared_ptr<const MappedFile> file) {
  Result<SafetensorsFile> parsed = parse(bytes, file);
  if (!parsed) return fail(std::move(parsed.error()).in_file(name));
  parsed->name = name;
  return parsed;
}

Result<SafetensorsFile> read_safetensors(const std::filesystem::path& path) {
  DANAUS_TRY(file, MappedFile::open(path));
  return parse_safetensors(file->bytes(), file->name(), file);
}

std::string safetensors_start(std::string_view metadata_key, std::string_view metadata,
                              std::span<const TensorEntry> tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{std::string(metadata_key), std::string(metadata)}};
  std::uint64_t offset = 0;
  for (const TensorEntry& tensor : tensors) {
    header[tensor.name] = {
        {"dtype", tensor.type}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes}}};
    offset += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string start;
  for (std::size_t byte = 0; byte < kLengthBytes; ++byte) start += static_cast<char>(text.size() >> (8 * byte) & 0xff);
  return start + text;
}

Result<Model> model_from_matrices(SafetensorsFile file) {
  constexpr std::uint64_t kLongestVector = 1u << 24;  // graph validation has the same limit
  Shape shape;
  shape.name = printable(std::filesystem::path(file.name).stem().string());
  shape.family = Family::matrices;
  const std::vector<Tensor> tensors = file.tensors;
  GraphBuilder builder(shape, std::move(file.tensors));
  bool found = false;
  for (const Tensor& tensor : tensors) {
    if (tensor.shape.size() != 2 || !is_real(tensor.type)) {
      builder.outside(tensor.name, is_real(tensor.type) ? "not a matrix" : "integers");
      continue;
    }
    if (tensor.shape[0] > kLongestVector || tensor.shape[1] > kLongestVector)
      return fail(Error("model.dimensions", Failure::bad_input,
                        fmt::format("the matrix '{}' of shape {} is too large (at most {} a side)",
                                    printable(tensor.name), shape_text(tensor.shape), kLongestVector))
                      .in_file(file.name));
    const NodeId input = builder.input(tensor.name + ".x", static_cast<std::uint32_t>(tensor.shape[1]));
    builder.output(builder.linear(tensor.name, tensor.name, input, static_cast<std::uint32_t>(tensor.shape[0])));
    found = true;
  }
  if (!found)
    return fail(Error("model.no-matrices", Failure::bad_input,
                      "the file has no matrix: no tensor of real numbers with two dimensions")
                    .in_file(file.name));
  return std::move(builder).finish();
}

StoredTypes safetensors_types() {
  StoredTypes types;
  for (const TypeName& type : kTypeNames) (type.type ? types.read : types.refused).push_back(type.name);
  return types;
}

}  // namespace danaus::model
