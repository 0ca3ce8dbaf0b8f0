#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <protozero/pbf_reader.hpp>
#include <utility>

#include "danaus/model/builder.h"
#include "danaus/model/element.h"
#include "danaus/model/formats.h"
#include "danaus/model/onnx/onnx.h"
#include "danaus/model/text.h"

// ONNX reader (format: onnx.proto of the ONNX project, a protocol buffer).
// protozero walks the messages field by field without copying; a tensor's bytes stay where they are. Every field is
// taken with its wire type: a known field with another one is an error, an unknown field is skipped. protozero reports
// damage by exceptions, which parse_onnx catches; `position` is then the last field that was begun.

namespace danaus::model {
namespace {

using protozero::pbf_wire_type;

constexpr std::size_t kMostItems = 1'000'000;  // nodes, tensors, values; real models have some ten thousand
constexpr std::size_t kMostDimensions = 16;
constexpr int kDeepestBody = 16;  // bodies of If in bodies of If
constexpr std::size_t kLongestName = 1024;

/// Thrown and caught in this file: the way out of nested messages.
struct Refused {
  Error error;
};

struct TypeInfo {
  std::int32_t number;
  std::string_view name;
  std::optional<ElementType> type;     ///< as it is stored in raw_data
  std::optional<ElementType> widened;  ///< when danaus has no such type: what its elements are converted to
};
constexpr TypeInfo kTypes[] = {{1, "FLOAT", ElementType::f32, {}},
                               {2, "UINT8", ElementType::u8, {}},
                               {3, "INT8", ElementType::i8, {}},
                               {4, "UINT16", ElementType::i16, ElementType::i32},
                               {5, "INT16", ElementType::i16, {}},
                               {6, "INT32", ElementType::i32, {}},
                               {7, "INT64", ElementType::i64, {}},
                               {8, "STRING", {}, {}},
                               {9, "BOOL", ElementType::u8, {}},
                               {10, "FLOAT16", ElementType::f16, {}},
                               {11, "DOUBLE", ElementType::f64, {}},
                               {12, "UINT32", ElementType::i32, ElementType::i64},
                               {13, "UINT64", ElementType::i64, ElementType::i64},
                               {14, "COMPLEX64", {}, {}},
                               {15, "COMPLEX128", {}, {}},
                               {16, "BFLOAT16", ElementType::bf16, {}},
                               {17, "FLOAT8E4M3FN", {}, {}},
                               {18, "FLOAT8E4M3FNUZ", {}, {}},
                               {19, "FLOAT8E5M2", {}, {}},
                               {20, "FLOAT8E5M2FNUZ", {}, {}},
                               {21, "UINT4", {}, {}},
                               {22, "INT4", {}, {}},
                               {23, "FLOAT4E2M1", {}, {}},
                               {24, "FLOAT8E8M0", {}, {}},
                               {25, "UINT2", {}, {}},
                               {26, "INT2", {}, {}},
                               {27, "FLOAT6E2M3", {}, {}},
                               {28, "FLOAT6E3M2", {}, {}}};

const TypeInfo* find_type(std::int32_t number) {
  for (const TypeInfo& type : kTypes) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

class Parser;

/// One message; `next` moves to its next field.
class Message {
 public:
  Message(Parser& parser, const protozero::data_view& bytes) : parser_(parser), reader_(bytes) {}
  bool next();
  std::uint32_t field() const { return reader_.tag(); }
  void skip() { reader_.skip(); }
  std::int64_t integer();
  float real();
  protozero::data_view bytes();
  std::string_view text();
  std::string name();
  /// Calls `take` for every number of a repeated field, packed or not.
  template <typename Take>
  void integers(const Take& take);
  /// A repeated field of `width` bytes an element: the bytes, which are all elements if the field is packed.
  std::span<const std::byte> fixed(std::size_t width);

 private:
  void expect(pbf_wire_type type);
  Parser& parser_;
  protozero::pbf_reader reader_;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::shared_ptr<const MappedFile> file,
         const std::optional<std::filesystem::path>& folder)
      : bytes_(bytes), mapped_(std::move(file)), folder_(folder) {}

  OnnxFile model();
  std::uint64_t position() const { return position_; }

  /// Leaves with an error at the last field that was begun.
  [[noreturn]] void refuse(Error error) const { throw Refused{std::move(error).at_offset(position_)}; }
  [[noreturn]] void refuse_damaged(std::string_view what) const {
    refuse(Error("onnx.protobuf", Failure::bad_input, fmt::format("the file is not a readable ONNX model: {}", what))
               .with_hint("the file is damaged, its download was not finished, or it is not an ONNX file"));
  }
  void begin_field(const char* place) {
    position_ = static_cast<std::uint64_t>(place - reinterpret_cast<const char*>(bytes_.data()));
  }

 private:
  template <typename Item>
  void check_count(const std::vector<Item>& items, std::string_view what) const {
    if (items.size() >= kMostItems)
      refuse(Error("onnx.count", Failure::bad_input, fmt::format("there are more than {} {}", kMostItems, what)));
  }
  void graph(Message message, OnnxFile& out);
  OnnxNode node(Message message, int depth);
  OnnxAttribute attribute(Message message, OnnxNode& owner, int depth);
  void body(Message message, OnnxNode& owner, int depth);
  OnnxValue value(Message message);
  void value_type(Message message, OnnxValue& out);
  Tensor tensor(Message message);

  struct TensorData {
    std::vector<std::span<const std::byte>> parts;  ///< of float_data or double_data
    std::size_t width = 0;                          ///< bytes of an element of `parts`
    std::optional<std::span<const std::byte>> raw;
    std::vector<std::int64_t> integers;
    bool has_integers = false;
    bool is_external = false;
    std::map<std::string, std::string, std::less<>> external;
  };
  std::span<const std::byte> external_bytes(const Tensor& tensor, const TensorData& data, std::uint64_t size,
                                            std::shared_ptr<const MappedFile>& file);
  void take_data(Tensor& tensor, const TypeInfo& type, TensorData& data);
  void own(Tensor& tensor, std::vector<std::byte> bytes) const;

  std::span<const std::byte> bytes_;
  std::shared_ptr<const MappedFile> mapped_;
  std::optional<std::filesystem::path> folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>, std::less<>> data_files_;
  std::uint64_t position_ = 0;
};

bool Message::next() {
  const char* place = reader_.data().data();
  if (reader_.length() == 0) return false;
  parser_.begin_field(place);
  return reader_.next();
}

void Message::expect(pbf_wire_type type) {
  if (!reader_.has_wire_type(type))
    parser_.refuse_damaged(
        fmt::format("field {} has wire type {}", reader_.tag(), static_cast<unsigned>(reader_.wire_type())));
}

std::int64_t Message::integer() {
  expect(pbf_wire_type::varint);
  return reader_.get_int64();
}
float Message::real() {
  expect(pbf_wire_type::fixed32);
  return reader_.get_float();
}
protozero::data_view Message::bytes() {
  expect(pbf_wire_type::length_delimited);
  return reader_.get_view();
}
std::string_view Message::text() {
  const protozero::data_view view = bytes();
  return {view.data(), view.size()};
}
std::string Message::name() {
  const std::string_view view = text();
  if (view.size() > kLongestName)
    parser_.refuse(Error("onnx.name", Failure::bad_input,
                         fmt::format("a name has {} characters (at most {} are possible)", view.size(), kLongestName)));
  return std::string(view);
}

template <typename Take>
void Message::integers(const Take& take) {
  if (reader_.has_wire_type(pbf_wire_type::varint)) {
    take(reader_.get_int64());
    return;
  }
  expect(pbf_wire_type::length_delimited);
  const protozero::data_view packed = reader_.get_view();
  const char* place = packed.data();
  const char* end = place + packed.size();
  while (place != end) take(static_cast<std::int64_t>(protozero::decode_varint(&place, end)));
}

std::span<const std::byte> Message::fixed(std::size_t width) {
  if (reader_.has_wire_type(width == 4 ? pbf_wire_type::fixed32 : pbf_wire_type::fixed64)) {
    const char* place = reader_.data().data();
    reader_.skip();
    return std::as_bytes(std::span(place, width));
  }
  const protozero::data_view packed = bytes();
  if (packed.size() % width != 0) parser_.refuse_damaged("a list of numbers ends within a number");
  return std::as_bytes(std::span(packed.data(), packed.size()));
}

OnnxFile Parser::model() {
  OnnxFile file;
  file.file = mapped_;
  bool has_graph = false;
  Message message(*this, {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()});
  while (message.next()) {
    if (message.field() == 8) {
      std::string_view domain;
      std::int64_t version = 0;
      Message opset(*this, message.bytes());
      while (opset.next()) {
        if (opset.field() == 1) {
          domain = opset.text();
        } else if (opset.field() == 2) {
          version = opset.integer();
        } else {
          opset.skip();
        }
      }
      if (domain.empty() || domain == "ai.onnx") file.opset = version;
      continue;
    }
    if (message.field() != 7) {
      message.skip();
      continue;
    }
    if (has_graph) refuse_damaged("it has two graphs");
    has_graph = true;
    graph(Message(*this, message.bytes()), file);
  }
  if (!has_graph) refuse_damaged("it has no graph");
  return file;
}

void Parser::graph(Message message, OnnxFile& out) {
  while (message.next()) {
    switch (message.field()) {
      case 1:
        check_count(out.nodes, "nodes");
        out.nodes.push_back(node(Message(*this, message.bytes()), 0));
        break;
      case 5:
        check_count(out.tensors, "initialisers");
        out.tensors.push_back(tensor(Message(*this, message.bytes())));
        break;
      case 11:
        check_count(out.inputs, "inputs");
        out.inputs.push_back(value(Message(*this, message.bytes())));
        break;
      case 12:
        check_count(out.outputs, "outputs");
        out.outputs.push_back(value(Message(*this, message.bytes())));
        break;
      case 13:
        check_count(out.values, "value types");
        out.values.push_back(value(Message(*this, message.bytes())));
        break;
      case 15:
        refuse(Error("onnx.unsupported-type", Failure::unsupported, "sparse initialisers are not supported")
                   .with_hint("export the weights as dense tensors"));
      default:
        message.skip();
    }
  }
}

OnnxNode Parser::node(Message message, int depth) {
  OnnxNode out;
  out.offset = position_;
  while (message.next()) {
    switch (message.field()) {
      case 1:
        check_count(out.inputs, "operands of a node");
        out.inputs.push_back(message.text());
        break;
      case 2:
        check_count(out.outputs, "results of a node");
        out.outputs.push_back(message.text());
        break;
      case 3:
        out.name = message.text();
        break;
      case 4:
        out.operation = message.text();
        break;
      case 5: {
        check_count(out.attributes, "attributes of a node");
        OnnxAttribute read = attribute(Message(*this, message.bytes()), out, depth);
        out.attributes.push_back(std::move(read));
        break;
      }
      case 7:
        out.domain = message.text();
        break;
      default:
        message.skip();
    }
  }
  if (out.domain == "ai.onnx") out.domain = {};
  return out;
}

OnnxAttribute Parser::attribute(Message message, OnnxNode& owner, int depth) {
  OnnxAttribute out;
  while (message.next()) {
    switch (message.field()) {
      case 1:
        out.name = message.text();
        break;
      case 2:
        out.real = message.real();
        break;
      case 3:
        out.integer = message.integer();
        break;
      case 4:
        out.text = message.text();
        break;
      case 5:
        out.tensor = tensor(Message(*this, message.bytes()));
        break;
      case 6:
      case 11:
        body(Message(*this, message.bytes()), owner, depth + 1);
        break;
      case 7: {
        const std::span<const std::byte> bytes = message.fixed(4);
        for (std::size_t first = 0; first < bytes.size(); first += 4) {
          float number = 0;
          std::memcpy(&number, bytes.data() + first, 4);
          out.reals.push_back(number);
        }
        break;
      }
      case 8:
        message.integers([&](std::int64_t number) { out.integers.push_back(number); });
        break;
      default:
        message.skip();
    }
  }
  return out;
}

/// The body of an If, Loop or Scan: not understood, but what it takes from outside has to be known.
void Parser::body(Message message, OnnxNode& owner, int depth) {
  if (depth > kDeepestBody)
    refuse(
        Error("onnx.count", Failure::bad_input, fmt::format("more than {} bodies lie in one another", kDeepestBody)));
  while (message.next()) {
    if (message.field() == 1) {
      check_count(owner.captured, "values that bodies use");
      const OnnxNode inner = node(Message(*this, message.bytes()), depth);
      owner.captured.insert(owner.captured.end(), inner.inputs.begin(), inner.inputs.end());
      owner.captured.insert(owner.captured.end(), inner.captured.begin(), inner.captured.end());
    } else if (message.field() == 12) {
      owner.captured.push_back(value(Message(*this, message.bytes())).name);
    } else {
      message.skip();
    }
  }
}

OnnxValue Parser::value(Message message) {
  OnnxValue out;
  while (message.next()) {
    if (message.field() == 1) {
      out.name = message.text();
    } else if (message.field() == 2) {
      value_type(Message(*this, message.bytes()), out);
    } else {
      message.skip();
    }
  }
  return out;
}

void Parser::value_type(Message message, OnnxValue& out) {
  while (message.next()) {
    if (message.field() != 1) {  // sequences, maps and others are no tensors
      message.skip();
      continue;
    }
    Message tensor_type(*this, message.bytes());
    while (tensor_type.next()) {
      if (tensor_type.field() == 1) {
        out.element_type = static_cast<std::int32_t>(tensor_type.integer());
      } else if (tensor_type.field() == 2) {
        out.dimensions.emplace();
        Message shape(*this, tensor_type.bytes());
        while (shape.next()) {
          if (shape.field() != 1) {
            shape.skip();
            continue;
          }
          if (out.dimensions->size() == kMostDimensions)
            refuse(
                Error("onnx.count", Failure::bad_input,
                      fmt::format("the value '{}' has more than {} dimensions", printable(out.name), kMostDimensions)));
          OnnxValue::Dimension dimension;
          Message sizes(*this, shape.bytes());
          while (sizes.next()) {
            if (sizes.field() == 1) {
              const std::int64_t size = sizes.integer();
              if (size >= 0) dimension.size = size;  // old exporters write -1 for a size that is not fixed
            } else if (sizes.field() == 2) {
              dimension.symbol = sizes.text();
            } else {
              sizes.skip();
            }
          }
          out.dimensions->push_back(dimension);
        }
      } else {
        tensor_type.skip();
      }
    }
  }
}

Tensor Parser::tensor(Message message) {
  const std::uint64_t start = position_;
  Tensor out;
  TensorData data;
  std::int32_t type_number = 0;
  const auto take_fixed = [&](std::size_t width) {
    check_count(data.parts, "pieces of a tensor");
    data.width = width;
    data.parts.push_back(message.fixed(width));
  };
  while (message.next()) {
    switch (message.field()) {
      case 1:
        message.integers([&](std::int64_t size) {
          if (size < 0 || out.shape.size() == kMostDimensions)
            refuse(Error("onnx.tensor", Failure::bad_input,
                         size < 0 ? fmt::format("a tensor has a dimension of {}", size)
                                  : fmt::format("a tensor has more than {} dimensions", kMostDimensions)));
          out.shape.push_back(static_cast<std::uint64_t>(size));
        });
        break;
      case 2:
        type_number = static_cast<std::int32_t>(message.integer());
        break;
      case 3:
        refuse(Error("onnx.tensor", Failure::unsupported, "a tensor in segments is not supported"));
      case 4:
        take_fixed(4);
        break;
      case 10:
        take_fixed(8);
        break;
      case 5:
      case 7:
      case 11:
        data.has_integers = true;
        message.integers([&](std::int64_t number) { data.integers.push_back(number); });
        break;
      case 8:
        out.name = message.name();
        break;
      case 9: {
        const std::string_view raw = message.text();
        data.raw = std::as_bytes(std::span(raw.data(), raw.size()));
        break;
      }
      case 13: {
        std::string key, entry;
        Message pair(*this, message.bytes());
        while (pair.next()) {
          if (pair.field() == 1) {
            key = pair.name();
          } else if (pair.field() == 2) {
            entry = pair.text();
          } else {
            pair.skip();
          }
        }
        data.external[key] = entry;
        break;
      }
      case 14:
        data.is_external = message.integer() == 1;
        break;
      default:
        message.skip();
    }
  }
  position_ = start;
  const TypeInfo* type = find_type(type_number);
  if (type == nullptr || !type->type)
    refuse(Error("onnx.unsupported-type", Failure::unsupported,
                 fmt::format("the tensor '{}' has the element type {}, which is not supported", printable(out.name),
                             type == nullptr ? fmt::format("{}", type_number) : std::string(type->name)))
               .with_hint("supported are FLOAT, FLOAT16, BFLOAT16, DOUBLE, BOOL and the integers of 8 to 64 bits"));
  out.type = *type->type;
  take_data(out, *type, data);
  return out;
}

void Parser::own(Tensor& tensor, std::vector<std::byte> bytes) const {
  const std::shared_ptr<const std::vector<std::byte>> memory =
      std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  tensor.bytes = *memory;
  tensor.memory = memory;
  tensor.file = nullptr;
}

/// Gives the tensor its bytes: in place where the file has them as they are, otherwise put together.
void Parser::take_data(Tensor& tensor, const TypeInfo& type, TensorData& data) {
  const std::string shown = printable(tensor.name);
  const std::optional<std::uint64_t> size = storage_bytes(tensor.type, tensor.shape);
  if (!size)
    refuse(Error("onnx.tensor", Failure::bad_input,
                 fmt::format("the shape {} of the tensor '{}' is not possible", shape_text(tensor.shape), shown)));
  const std::uint64_t width = layout_of(tensor.type).block_bytes;
  const int forms = static_cast<int>(data.raw.has_value()) + static_cast<int>(!data.parts.empty()) +
                    static_cast<int>(data.has_integers) + static_cast<int>(data.is_external);
  if (forms > 1 || (data.width != 0 && (data.width != width || !is_real(tensor.type))) ||
      (data.has_integers && (type.name == "FLOAT" || type.name == "DOUBLE")))
    refuse(
        Error("onnx.tensor", Failure::bad_input,
              fmt::format("the data of the tensor '{}' are in a form that {} tensors do not have", shown, type.name)));
  std::uint64_t found = 0;
  if (data.is_external) {
    tensor.bytes = external_bytes(tensor, data, *size, tensor.file);
    found = tensor.bytes.size();
  } else if (data.raw) {
    tensor.bytes = *data.raw;
    tensor.file = mapped_;
    found = tensor.bytes.size();
  } else if (data.has_integers) {
    found = data.integers.size() * width;
    std::vector<std::byte> bytes;
    bytes.reserve(found);
    for (const std::int64_t number : data.integers) {
      for (std::uint64_t n = 0; n < width; ++n)
        bytes.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(number) >> (8 * n) & 0xff));
    }
    own(tensor, std::move(bytes));
  } else if (data.parts.size() == 1) {
    tensor.bytes = data.parts.front();
    tensor.file = mapped_;
    found = tensor.bytes.size();
  } else {
    std::vector<std::byte> bytes;
    for (const std::span<const std::byte> part : data.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    found = bytes.size();
    own(tensor, std::move(bytes));
  }
  if (found != *size)
    refuse(Error("onnx.tensor", Failure::bad_input,
                 fmt::format("the tensor '{}' of shape {} and type {} needs {} bytes, the file has {}", shown,
                             shape_text(tensor.shape), type.name, *size, found)));
  if (!type.widened) return;
  // An unsigned type that danaus does not have: its elements in the next signed one.
  const std::uint64_t wide = layout_of(*type.widened).block_bytes;
  std::vector<std::byte> bytes;
  bytes.reserve(*size / width * wide);
  for (std::uint64_t first = 0; first < *size; first += width) {
    for (std::uint64_t n = 0; n < wide; ++n) bytes.push_back(n < width ? tensor.bytes[first + n] : std::byte{0});
    if (wide == width && (bytes.back() & std::byte{0x80}) != std::byte{0})
      refuse(
          Error("onnx.tensor", Failure::unsupported, fmt::format("the tensor '{}' has an element above 2^63", shown)));
  }
  tensor.type = *type.widened;
  own(tensor, std::move(bytes));
}

/// A number of an external_data entry: decimal digits, at most 2^63 - 1.
std::optional<std::uint64_t> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  std::uint64_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return number;
}

/// True when `path` leads to a file below `folder`, with all symbolic links followed.
bool lies_within(const std::filesystem::path& path, const std::filesystem::path& folder) {
  std::error_code problem;
  const std::filesystem::path root = std::filesystem::weakly_canonical(folder, problem);
  if (problem) return false;
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, problem);
  if (problem) return false;
  const std::filesystem::path relative = real.lexically_relative(root);
  return !relative.empty() && *relative.begin() != "..";
}

std::span<const std::byte> Parser::external_bytes(const Tensor& tensor, const TensorData& data, std::uint64_t size,
                                                  std::shared_ptr<const MappedFile>& file) {
  const std::string shown = printable(tensor.name);
  const auto find = [&](std::string_view key) -> std::optional<std::string_view> {
    const std::map<std::string, std::string, std::less<>>::const_iterator entry = data.external.find(key);
    if (entry == data.external.end()) return std::nullopt;
    return entry->second;
  };
  const std::string location(find("location").value_or(""));
  const std::filesystem::path relative(location);
  bool climbs = false;
  for (const std::filesystem::path& part : relative) climbs = climbs || part == "..";
  if (!folder_ || location.empty() || location.find('\0') != std::string::npos || relative.is_absolute() || climbs ||
      !lies_within(*folder_ / relative, *folder_))
    refuse(
        Error("onnx.external-path", Failure::bad_input,
              fmt::format("the tensor '{}' is in the file '{}', which is not below the model's folder", shown,
                          printable(location)))
            .with_hint("external data have to be real files beside the model or below it, without '..' or links out"));
  std::shared_ptr<const MappedFile>& mapped = data_files_[location];
  if (!mapped) {
    Result<std::shared_ptr<const MappedFile>> opened = MappedFile::open(*folder_ / relative);
    if (!opened) throw Refused{std::move(opened.error()).note(fmt::format("the tensor '{}' is in it", shown))};
    mapped = std::move(*opened);
  }
  const std::optional<std::uint64_t> offset = parse_number(find("offset").value_or("0"));
  const std::optional<std::uint64_t> length = find("length") ? parse_number(*find("length")) : size;
  const std::uint64_t available = mapped->bytes().size();
  if (!offset || length != size || *offset > available || size > available - *offset)
    refuse(
        Error("onnx.external-data", Failure::bad_input,
              fmt::format("the tensor '{}' needs {} bytes at offset {} of '{}', which has {}; its stated length is {}",
                          shown, size, printable(find("offset").value_or("0")), printable(location), available,
                          printable(find("length").value_or("(none)"))))
            .with_hint("the data file is damaged or belongs to another model"));
  file = mapped;
  return mapped->bytes().subspan(*offset, size);
}

}  // namespace

StoredTypes onnx_types() {
  StoredTypes types;
  for (const TypeInfo& type : kTypes) (type.type ? types.read : types.refused).push_back(type.name);
  return types;
}

const OnnxAttribute* OnnxNode::find(std::string_view attribute) const {
  for (const OnnxAttribute& candidate : attributes) {
    if (candidate.name == attribute) return &candidate;
  }
  return nullptr;
}

bool OnnxValue::is_real() const {
  const TypeInfo* type = find_type(element_type);
  return type != nullptr && type->type && model::is_real(*type->type);
}

Result<OnnxFile> parse_onnx(std::span<const std::byte> bytes, std::string_view name,
                            std::shared_ptr<const MappedFile> file,
                            const std::optional<std::filesystem::path>& folder) {
  Parser parser(bytes, std::move(file), folder);
  std::optional<Error> error;
  try {
    OnnxFile read = parser.model();
    read.name = name;
    return read;
  } catch (const Refused& refused) {
    error = refused.error;
  } catch (const protozero::exception& damage) {
    try {
      parser.refuse_damaged(damage.what());
    } catch (const Refused& refused) {
      error = refused.error;
    }
  }
  if (error->where.file.empty()) error->where.file = name;
  return fail(std::move(*error));
}

Result<OnnxFile> read_onnx(const std::filesystem::path& path) {
  DANAUS_TRY(file, MappedFile::open(path));
  return parse_onnx(file->bytes(), file->name(), file,
                    path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace danaus::model
