#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/files.h"
#include "danaus/model/model.h"

namespace danaus::model {

/// An attribute of a node. Texts are views of the file.
struct OnnxAttribute {
  std::string_view name;
  std::optional<float> real;
  std::optional<std::int64_t> integer;
  std::optional<std::string_view> text;
  std::vector<float> reals;
  std::vector<std::int64_t> integers;
  std::optional<Tensor> tensor;
};

struct OnnxNode {
  std::string_view name, operation, domain;
  std::vector<std::string_view> inputs;  ///< an empty name is an operand that is left out
  std::vector<std::string_view> outputs;
  std::vector<std::string_view> captured;  ///< names that bodies of If, Loop and Scan use; some are their own
  std::vector<OnnxAttribute> attributes;
  std::uint64_t offset = 0;  ///< of the node in the file

  const OnnxAttribute* find(std::string_view attribute) const;
};

/// The declared type of an input, an output or a value between.
struct OnnxValue {
  struct Dimension {
    std::optional<std::int64_t> size;
    std::string_view symbol;  ///< of a size that is not fixed; may be empty
  };
  std::string_view name;
  std::int32_t element_type = 0;                     ///< as ONNX numbers them; 0: not a tensor or unknown
  std::optional<std::vector<Dimension>> dimensions;  ///< nothing: unknown rank
  bool is_real() const;
};

/// An ONNX file: the main graph, its tensors in place. External data files are mapped, each once.
/// The views are valid as long as the bytes are.
struct OnnxFile {
  std::string name;  ///< of the file, for errors
  std::vector<OnnxNode> nodes;
  std::vector<Tensor> tensors;  ///< initialisers
  std::int64_t opset = 0;       ///< of the operators without a domain; 0: not stated
  std::vector<OnnxValue> inputs, outputs, values;
  std::shared_ptr<const MappedFile> file;
};

/// Reads an ONNX file that is in memory. `file` keeps the bytes alive, if anything has to; `folder` is where external
/// data files may lie, nothing refuses them.
/// Element types: FLOAT, FLOAT16, BFLOAT16, DOUBLE and the integers; BOOL is read as U8, UINT16 as I32, UINT32 and
/// UINT64 as I64; the others are refused. Tensors stay where they are in the file unless ONNX stores them in another
/// form than their own (halves as varints). Errors: onnx.*, with the byte offset; file.*.
Result<OnnxFile> parse_onnx(std::span<const std::byte> bytes, std::string_view name,
                            std::shared_ptr<const MappedFile> file = nullptr,
                            const std::optional<std::filesystem::path>& folder = std::nullopt);
Result<OnnxFile> read_onnx(const std::filesystem::path& path);

/// The model of an ONNX graph: what is understood becomes the operator graph, the rest is listed in `digital_nodes`.
/// Errors: onnx.undefined-value, onnx.duplicate-value, onnx.no-operators, graph.*.
Result<Model> model_from_onnx(const OnnxFile& file);

}  // namespace danaus::model
