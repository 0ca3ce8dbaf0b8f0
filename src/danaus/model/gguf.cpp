#include "danaus/model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "danaus/model/element.h"
#include "danaus/model/embedded.h"
#include "danaus/model/formats.h"
#include "danaus/model/text.h"

// GGUF reader (format: github.com/ggml-org/ggml, docs/gguf.md).
//   header: "GGUF", version u32, tensor count u64, metadata count u64
//   metadata: key string, type u32, value       string: length u64 and characters; array: type u32, count u64, elements
//   tensor: name string, rank u32, sizes u64 (fastest first), type u32, offset u64 from the start of the data
//   data: begins at the next multiple of general.alignment, each tensor at such a multiple
// Every count and length is checked against the bytes that are left before it is believed, so a damaged file can
// neither lead outside of its bytes nor to an allocation larger than a small multiple of its size.

namespace danaus::model {
namespace {

using Type = GgufValue::Type;

constexpr std::uint64_t kMostMetadata = 1u << 16;
constexpr std::uint64_t kMostTensors = 1u << 20;
constexpr std::uint64_t kSmallestMetadata = 8 + 1 + 4 + 1;        // key of one letter, type, one byte
constexpr std::uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;  // name of one letter, one dimension
constexpr std::uint64_t kLongestName = 255;                       // as long as a node's name can be
constexpr std::string_view kPerhapsCut = "if the file was downloaded, it may have been cut off: compare its size";
constexpr std::uint32_t kMostDimensions = 4;
constexpr std::uint32_t kDeepestArray = 4;
constexpr std::uint64_t kLargestAlignment = 1u << 20;

/// Bytes of a scalar; 0 for strings and arrays.
std::uint64_t size_of(Type type) {
  switch (type) {
    case Type::u8:
    case Type::i8:
    case Type::boolean:
      return 1;
    case Type::u16:
    case Type::i16:
      return 2;
    case Type::u32:
    case Type::i32:
    case Type::f32:
      return 4;
    case Type::u64:
    case Type::i64:
    case Type::f64:
      return 8;
    case Type::string:
    case Type::array:
      return 0;
  }
  return 0;
}

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t n = 0; n < bytes.size(); ++n) value |= std::to_integer<std::uint64_t>(bytes[n]) << (8 * n);
  return value;
}

/// An integer of any type as 64 bits, sign extended; nothing for other types.
std::optional<std::int64_t> integer_of(Type type, std::span<const std::byte> bytes) {
  if (size_of(type) == 0) return std::nullopt;
  const std::uint64_t raw = little_endian(bytes);
  switch (type) {
    case Type::u8:
    case Type::u16:
    case Type::u32:
      return static_cast<std::int64_t>(raw);
    case Type::i8:
      return static_cast<std::int8_t>(raw);
    case Type::i16:
      return static_cast<std::int16_t>(raw);
    case Type::i32:
      return static_cast<std::int32_t>(raw);
    case Type::i64:
      return static_cast<std::int64_t>(raw);
    case Type::u64:
      if (raw > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(raw);
    default:
      return std::nullopt;
  }
}

std::optional<double> real_of(Type type, std::span<const std::byte> bytes) {
  if (type == Type::f32) return std::bit_cast<float>(static_cast<std::uint32_t>(little_endian(bytes)));
  if (type == Type::f64) return std::bit_cast<double>(little_endian(bytes));
  return std::nullopt;
}

std::string_view characters(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Tensor types of the format by number (GGMLQuantizationType of the Python package gguf 0.19, and those that were
/// removed from the format but exist in files). Those that danaus reads have a `type`, the others the reason why not.
struct TensorType {
  std::uint32_t number;
  std::string_view name;
  std::optional<ElementType> type;
  std::string_view reason;
};

constexpr std::string_view kCodebook = "it looks up values in a codebook";
constexpr std::string_view kTernary = "it packs ternary weights";
constexpr std::string_view kMicroscaled = "it is a microscaled floating-point format";
constexpr std::string_view kBits = "it packs weights of one bit";
constexpr std::string_view kRepacked = "it was repacked for one kind of processor and has been removed from the format";
constexpr std::string_view kIntermediate = "it is meant for intermediate results, not for files";

constexpr TensorType kTensorTypes[] = {{0, "F32", ElementType::f32, {}},    {1, "F16", ElementType::f16, {}},
                                       {2, "Q4_0", ElementType::q4_0, {}},  {3, "Q4_1", ElementType::q4_1, {}},
                                       {6, "Q5_0", ElementType::q5_0, {}},  {7, "Q5_1", ElementType::q5_1, {}},
                                       {8, "Q8_0", ElementType::q8_0, {}},  {9, "Q8_1", {}, kIntermediate},
                                       {10, "Q2_K", ElementType::q2_k, {}}, {11, "Q3_K", ElementType::q3_k, {}},
                                       {12, "Q4_K", ElementType::q4_k, {}}, {13, "Q5_K", ElementType::q5_k, {}},
                                       {14, "Q6_K", ElementType::q6_k, {}}, {15, "Q8_K", {}, kIntermediate},
                                       {16, "IQ2_XXS", {}, kCodebook},      {17, "IQ2_XS", {}, kCodebook},
                                       {18, "IQ3_XXS", {}, kCodebook},      {19, "IQ1_S", {}, kCodebook},
                                       {20, "IQ4_NL", {}, kCodebook},       {21, "IQ3_S", {}, kCodebook},
                                       {22, "IQ2_S", {}, kCodebook},        {23, "IQ4_XS", {}, kCodebook},
                                       {24, "I8", ElementType::i8, {}},     {25, "I16", ElementType::i16, {}},
                                       {26, "I32", ElementType::i32, {}},   {27, "I64", ElementType::i64, {}},
                                       {28, "F64", ElementType::f64, {}},   {29, "IQ1_M", {}, kCodebook},
                                       {30, "BF16", ElementType::bf16, {}}, {31, "Q4_0_4_4", {}, kRepacked},
                                       {32, "Q4_0_4_8", {}, kRepacked},     {33, "Q4_0_8_8", {}, kRepacked},
                                       {34, "TQ1_0", {}, kTernary},         {35, "TQ2_0", {}, kTernary},
                                       {36, "IQ4_NL_4_4", {}, kRepacked},   {37, "IQ4_NL_4_8", {}, kRepacked},
                                       {38, "IQ4_NL_8_8", {}, kRepacked},   {39, "MXFP4", {}, kMicroscaled},
                                       {40, "NVFP4", {}, kMicroscaled},     {41, "Q1_0", {}, kBits}};

/// The names of the types that danaus reads, for messages.
std::string supported_types() {
  std::vector<std::string_view> names;
  for (const TensorType& type : kTensorTypes) {
    if (type.type) names.push_back(type.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

/// A position in the bytes; every read is checked.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  std::uint64_t offset() const { return offset_; }
  std::uint64_t left() const { return bytes_.size() - offset_; }
  std::string_view name() const { return name_; }

  Result<std::span<const std::byte>> take(std::uint64_t count, std::string_view what) {
    if (count > left())
      return fail(Error("gguf.truncated", Failure::bad_input,
                        fmt::format("{} needs {} bytes, {} are left in the file", what, count, left()))
                      .in_file(name_)
                      .at_offset(offset_)
                      .with_hint("the file is damaged or its download was not finished"));
    const std::span<const std::byte> taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  Result<std::uint32_t> u32(std::string_view what) {
    DANAUS_TRY(raw, take(4, what));
    return static_cast<std::uint32_t>(little_endian(raw));
  }

  Result<std::uint64_t> u64(std::string_view what) {
    DANAUS_TRY(raw, take(8, what));
    return little_endian(raw);
  }

  Result<std::string_view> text(std::string_view what) {
    DANAUS_TRY(length, u64(what));
    DANAUS_TRY(raw, take(length, what));
    return characters(raw);
  }

  /// A key or tensor name: 1 to kLongestName characters.
  Result<std::string_view> identifier(std::string_view what) {
    const std::uint64_t start = offset_;
    DANAUS_TRY(found, text(what));
    if (found.empty() || found.size() > kLongestName)
      return fail(Error("gguf.name", Failure::bad_input,
                        fmt::format("{} has {} characters (1 to {} are possible)", what, found.size(), kLongestName))
                      .in_file(name_)
                      .at_offset(start));
    return found;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view name_;
  std::uint64_t offset_ = 0;
};

Result<Type> read_type(Cursor& cursor) {
  const std::uint64_t start = cursor.offset();
  DANAUS_TRY(number, cursor.u32("the type of a metadata value"));
  if (number > static_cast<std::uint32_t>(Type::f64))
    return fail(Error("gguf.value-type", Failure::bad_input, fmt::format("{} is no type of a metadata value", number))
                    .in_file(cursor.name())
                    .at_offset(start));
  return static_cast<Type>(number);
}

/// Moves over `count` values of one type, checking them. Every element takes at least one byte, so the loops end with
/// the file.
Result<void> skip_values(Cursor& cursor, Type type, std::uint64_t count, std::uint32_t depth) {
  const std::uint64_t start = cursor.offset();
  if (const std::uint64_t size = size_of(type); size != 0) {
    if (count > cursor.left() / size)
      return fail(Error("gguf.truncated", Failure::bad_input,
                        fmt::format("{} metadata values of {} bytes do not fit into the {} bytes that are left", count,
                                    size, cursor.left()))
                      .in_file(cursor.name())
                      .at_offset(start)
                      .with_hint("the file is damaged or its download was not finished"));
    DANAUS_TRY(raw, cursor.take(count * size, "a metadata value"));
    if (type == Type::boolean) {
      for (std::size_t n = 0; n < raw.size(); ++n) {
        if (std::to_integer<unsigned>(raw[n]) > 1)
          return fail(Error("gguf.boolean", Failure::bad_input,
                            fmt::format("a truth value is {}, not 0 or 1", std::to_integer<unsigned>(raw[n])))
                          .in_file(cursor.name())
                          .at_offset(start + n));
      }
    }
    return {};
  }
  for (std::uint64_t n = 0; n < count; ++n) {
    if (type == Type::string) {
      DANAUS_CHECK(cursor.text("a metadata string"));
      continue;
    }
    if (depth == kDeepestArray)
      return fail(Error("gguf.nesting", Failure::bad_input, "metadata arrays are nested too deeply")
                      .in_file(cursor.name())
                      .at_offset(cursor.offset()));
    DANAUS_TRY(element, read_type(cursor));
    DANAUS_TRY(length, cursor.u64("the length of a metadata array"));
    DANAUS_CHECK(skip_values(cursor, element, length, depth + 1));
  }
  return {};
}

Result<GgufValue> read_value(Cursor& cursor, std::span<const std::byte> bytes) {
  GgufValue value;
  DANAUS_TRY(type, read_type(cursor));
  value.type = type;
  if (type == Type::string) {
    DANAUS_TRY(length, cursor.u64("the length of a metadata string"));
    value.offset = cursor.offset();
    DANAUS_TRY(raw, cursor.take(length, "a metadata string"));
    value.bytes = raw;
    return value;
  }
  if (type == Type::array) {
    DANAUS_TRY(element, read_type(cursor));
    DANAUS_TRY(count, cursor.u64("the length of a metadata array"));
    value.element = element;
    value.count = count;
  }
  value.offset = cursor.offset();
  DANAUS_CHECK(skip_values(cursor, type == Type::array ? value.element : type, value.count, 1));
  value.bytes = bytes.subspan(value.offset, cursor.offset() - value.offset);
  return value;
}

/// A tensor as the file describes it, before its bytes are known.
struct TensorInfo {
  Tensor tensor;
  std::uint64_t described_at = 0;
  std::uint64_t offset = 0;  ///< from the start of the data
  std::uint64_t size = 0;
};

Result<TensorInfo> read_tensor_info(Cursor& cursor) {
  TensorInfo info;
  info.described_at = cursor.offset();
  DANAUS_TRY(name, cursor.identifier("the name of a tensor"));
  info.tensor.name = name;
  const std::string shown = printable(name);
  const auto located = [&](Error error) {
    return fail(std::move(error).in_file(cursor.name()).at_offset(info.described_at));
  };
  DANAUS_TRY(rank, cursor.u32("the rank of a tensor"));
  if (rank == 0 || rank > kMostDimensions)
    return located(
        Error("gguf.rank", Failure::bad_input,
              fmt::format("the tensor '{}' has {} dimensions (1 to {} are possible)", shown, rank, kMostDimensions)));
  for (std::uint32_t n = 0; n < rank; ++n) {
    DANAUS_TRY(size, cursor.u64("a dimension of a tensor"));
    if (size == 0)
      return located(
          Error("gguf.dimension", Failure::bad_input, fmt::format("the tensor '{}' has a dimension of 0", shown)));
    info.tensor.shape.push_back(size);
  }
  std::reverse(info.tensor.shape.begin(), info.tensor.shape.end());
  DANAUS_TRY(number, cursor.u32("the type of a tensor"));
  DANAUS_TRY(offset, cursor.u64("the offset of a tensor"));
  info.offset = offset;
  const TensorType* type = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                        [&](const TensorType& entry) { return entry.number == number; });
  if (type == std::end(kTensorTypes))
    return located(Error("gguf.tensor-type", Failure::bad_input,
                         fmt::format("the tensor '{}' has the type {}, which GGUF does not have", shown, number))
                       .with_hint("the file is damaged, or newer than this version of danaus"));
  if (!type->type)
    return located(Error("gguf.unsupported-type", Failure::unsupported,
                         fmt::format("the tensor '{}' has the type {}, which is not supported: {}", shown, type->name,
                                     type->reason))
                       .note(fmt::format("supported are {}", supported_types()))
                       .with_hint("take the same model as Q4_K_M, Q8_0 or F16, or convert it: llama-quantize "
                                  "--allow-requantize IN.gguf OUT.gguf Q8_0"));
  info.tensor.type = *type->type;
  const std::uint64_t row = info.tensor.shape.back();
  const std::uint32_t block = layout_of(info.tensor.type).block_elements;
  if (row % block != 0)
    return located(Error("gguf.dimension", Failure::bad_input,
                         fmt::format("the rows of the tensor '{}' have {} elements, the type {} stores blocks of {}",
                                     shown, row, type->name, block))
                       .with_hint("the file is damaged: rows are whole blocks"));
  const std::optional<std::uint64_t> size = storage_bytes(info.tensor.type, info.tensor.shape);
  if (!size)
    return located(Error(
        "gguf.dimension", Failure::bad_input,
        fmt::format("the dimensions {} of the tensor '{}' are too large", fmt::join(info.tensor.shape, " x "), shown)));
  info.size = *size;
  return info;
}

/// Gives every tensor its bytes: aligned, inside the file, not overlapping.
Result<void> locate_tensors(std::vector<TensorInfo>& infos, std::span<const std::byte> bytes, const GgufFile& file,
                            std::uint64_t header_end, const std::shared_ptr<const MappedFile>& mapped) {
  const std::uint64_t padding = (file.alignment - header_end % file.alignment) % file.alignment;
  const std::uint64_t available = bytes.size() - header_end < padding ? 0 : bytes.size() - header_end - padding;
  for (TensorInfo& info : infos) {
    const std::string shown = printable(info.tensor.name);
    if (info.offset % file.alignment != 0)
      return fail(Error("gguf.alignment", Failure::bad_input,
                        fmt::format("the offset {} of the tensor '{}' is not a multiple of the alignment {}",
                                    info.offset, shown, file.alignment))
                      .in_file(file.name)
                      .at_offset(info.described_at));
    if (info.offset > available || info.size > available - info.offset)
      return fail(Error("gguf.truncated", Failure::bad_input,
                        fmt::format("the tensor '{}' needs {} bytes at {} of the data, the file has {}", shown,
                                    info.size, info.offset, available))
                      .in_file(file.name)
                      .at_offset(info.described_at)
                      .with_hint("the file is damaged or its download was not finished"));
    info.tensor.bytes = bytes.subspan(header_end + padding + info.offset, info.size);
    info.tensor.file = mapped;
  }
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& info : infos) by_offset.push_back(&info);
  std::stable_sort(by_offset.begin(), by_offset.end(),
                   [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (std::size_t n = 1; n < by_offset.size(); ++n) {
    if (by_offset[n]->offset - by_offset[n - 1]->offset < by_offset[n - 1]->size)
      return fail(Error("gguf.overlap", Failure::bad_input,
                        fmt::format("the tensors '{}' and '{}' overlap", printable(by_offset[n - 1]->tensor.name),
                                    printable(by_offset[n]->tensor.name)))
                      .in_file(file.name)
                      .at_offset(by_offset[n]->described_at));
  }
  return {};
}

Result<void> read_alignment(GgufFile& file) {
  const GgufValue* value = file.find("general.alignment");
  if (value == nullptr) return {};
  const std::optional<std::uint64_t> alignment = value->whole();
  if (!alignment || !std::has_single_bit(*alignment) || *alignment > kLargestAlignment)
    return fail(Error("gguf.alignment", Failure::bad_input,
                      fmt::format("general.alignment is not a power of two between 1 and {}", kLargestAlignment))
                    .in_file(file.name)
                    .at_offset(value->offset));
  file.alignment = *alignment;
  return {};
}

}  // namespace

std::optional<std::uint64_t> GgufValue::whole() const {
  const std::optional<std::int64_t> value = integer_of(type, bytes);
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<double> GgufValue::real() const { return real_of(type, bytes); }

std::optional<bool> GgufValue::truth() const {
  if (type != Type::boolean) return std::nullopt;
  return bytes[0] != std::byte{0};
}

std::optional<std::string_view> GgufValue::text() const {
  if (type != Type::string) return std::nullopt;
  return characters(bytes);
}

std::optional<std::vector<std::string_view>> GgufValue::texts() const {
  if (type != Type::array || element != Type::string) return std::nullopt;
  std::vector<std::string_view> found;
  found.reserve(count);
  for (std::uint64_t position = 0; position < bytes.size();) {
    const std::uint64_t length = little_endian(bytes.subspan(position, 8));
    found.push_back(characters(bytes.subspan(position + 8, length)));
    position += 8 + length;
  }
  return found;
}

std::optional<std::vector<double>> GgufValue::reals() const {
  if (type != Type::array || (element != Type::f32 && element != Type::f64)) return std::nullopt;
  const std::uint64_t size = size_of(element);
  std::vector<double> found;
  found.reserve(count);
  for (std::uint64_t n = 0; n < count; ++n) found.push_back(*real_of(element, bytes.subspan(n * size, size)));
  return found;
}

std::optional<std::vector<std::int64_t>> GgufValue::integers() const {
  const std::uint64_t size = size_of(element);
  if (type != Type::array || size == 0) return std::nullopt;
  std::vector<std::int64_t> found;
  found.reserve(count);
  for (std::uint64_t n = 0; n < count; ++n) {
    const std::optional<std::int64_t> value = integer_of(element, bytes.subspan(n * size, size));
    if (!value) return std::nullopt;
    found.push_back(*value);
  }
  return found;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const std::map<std::string, GgufValue, std::less<>>::const_iterator found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, std::string_view name,
                            std::shared_ptr<const MappedFile> mapped) {
  GgufFile file;
  file.name = name;
  file.file = mapped;
  Cursor cursor(bytes, name);
  DANAUS_TRY(magic, cursor.take(4, "the magic number"));
  if (characters(magic) != "GGUF")
    return fail(Error("gguf.magic", Failure::bad_input, "this is not a GGUF file: it does not begin with \"GGUF\"")
                    .in_file(name)
                    .at_offset(0));
  DANAUS_TRY(version, cursor.u32("the version"));
  if (version != 2 && version != 3) {
    const bool swapped = version != 0 && (version & 0xffffu) == 0;
    return fail(Error("gguf.unsupported-version", Failure::unsupported,
                      swapped ? std::string("big-endian GGUF files are not supported")
                              : fmt::format("GGUF version {} is not supported (2 and 3 are)", version))
                    .in_file(name)
                    .at_offset(4)
                    .with_hint("convert the model again with a current converter"));
  }
  file.version = version;
  DANAUS_TRY(tensor_count, cursor.u64("the number of tensors"));
  DANAUS_TRY(metadata_count, cursor.u64("the number of metadata entries"));
  if (tensor_count > kMostTensors || tensor_count > cursor.left() / kSmallestTensor)
    return fail(
        Error("gguf.count", Failure::bad_input,
              fmt::format("{} tensors are more than a file of {} bytes can describe", tensor_count, bytes.size()))
            .in_file(name)
            .at_offset(8)
            .with_hint(std::string(kPerhapsCut)));
  if (metadata_count > kMostMetadata || metadata_count > cursor.left() / kSmallestMetadata)
    return fail(Error("gguf.count", Failure::bad_input,
                      fmt::format("{} metadata entries are more than a file of {} bytes can have", metadata_count,
                                  bytes.size()))
                    .in_file(name)
                    .at_offset(16)
                    .with_hint(std::string(kPerhapsCut)));

  for (std::uint64_t n = 0; n < metadata_count; ++n) {
    const std::uint64_t start = cursor.offset();
    DANAUS_TRY(key, cursor.identifier("a metadata key"));
    DANAUS_TRY(value, read_value(cursor, bytes));
    if (!file.metadata.emplace(key, value).second)
      return fail(Error("gguf.duplicate-key", Failure::bad_input,
                        fmt::format("the metadata key '{}' appears twice", printable(key)))
                      .in_file(name)
                      .at_offset(start));
  }
  DANAUS_CHECK(read_alignment(file));

  std::vector<TensorInfo> infos;
  std::set<std::string_view> names;
  for (std::uint64_t n = 0; n < tensor_count; ++n) {
    DANAUS_TRY(info, read_tensor_info(cursor));
    infos.push_back(std::move(info));
  }
  for (const TensorInfo& info : infos) {
    if (!names.insert(info.tensor.name).second)
      return fail(Error("gguf.duplicate-tensor", Failure::bad_input,
                        fmt::format("two tensors are called '{}'", printable(info.tensor.name)))
                      .in_file(name)
                      .at_offset(info.described_at));
  }
  DANAUS_CHECK(locate_tensors(infos, bytes, file, cursor.offset(), mapped));
  for (TensorInfo& info : infos) file.tensors.push_back(std::move(info.tensor));
  return file;
}

Result<GgufFile> read_gguf(const std::filesystem::path& path) {
  if (const std::optional<std::span<const std::byte>> bytes = embedded_model(path.string()))
    return parse_gguf(*bytes, path.string());
  DANAUS_TRY(file, MappedFile::open(path));
  return parse_gguf(file->bytes(), file->name(), file);
}

StoredTypes gguf_types() {
  StoredTypes types;
  for (const TensorType& type : kTensorTypes) (type.type ? types.read : types.refused).push_back(type.name);
  return types;
}

}  // namespace danaus::model
