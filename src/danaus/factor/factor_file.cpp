// Factor files. A safetensors file starts with the length and the text of a JSON header that says where every tensor
// lies; all sizes follow from the structures, so the header can be written before the first operator is projected.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "danaus/core/graph.h"
#include "danaus/core/internal_error.h"
#include "danaus/factor/factor.h"
#include "danaus/model/safetensors.h"

namespace danaus::factor {
namespace {

static_assert(std::endian::native == std::endian::little, "factor files are little endian");

constexpr std::string_view kMetadataKey = "danaus.factors";
constexpr int kVersion = 1;
constexpr std::string_view kVector = "";  // the suffix of a constant
constexpr std::string_view kSelection = ".selection";  // the suffix of a gathered operator's inputs

/// One tensor of an operator: `blocks` matrices of rows x columns, the last of which may be stored shorter in memory.
struct Part {
  std::string_view suffix;
  std::uint64_t blocks, rows, columns;
  std::uint64_t last_rows, last_columns;
  std::vector<std::uint64_t> shape() const {
    if (suffix == kVector) return {rows};
    return suffix == ".W" ? std::vector<std::uint64_t>{rows, columns}
                          : std::vector<std::uint64_t>{blocks, rows, columns};
  }
  std::uint64_t bytes() const { return blocks * rows * columns * sizeof(float); }
};

std::vector<Part> parts_of(const Structure& structure) {
  if (structure.kind == Structure::Kind::dense)
    return {{".W", 1, structure.out, structure.in, structure.out, structure.in}};
  if (structure.kind == Structure::Kind::gather)  // its blocks lie below each other
    return {{".W", 1, structure.out, structure.in_block, structure.out, structure.in_block}};
  const Block right = structure.block(0, structure.k - 1);
  const Block left = structure.block(1, structure.l - 1);
  return {{".R", structure.k, right.out_count, structure.in_block, right.out_count, right.in_count},
          {".L", structure.l, structure.out_block, left.in_count, left.out_count, left.in_count}};
}

std::string start_of(const std::vector<std::pair<std::string, Structure>>& operators, const Constants& constants) {
  using nlohmann::ordered_json;
  ordered_json list = ordered_json::array();
  std::vector<model::TensorEntry> tensors;
  for (const auto& [name, structure] : operators) {
    list.push_back({{"name", name}, {"out", structure.out}, {"in", structure.in}, {"structure", to_string(structure)}});
    for (const Part& part : parts_of(structure))
      tensors.push_back({name + std::string(part.suffix), "F32", part.shape(), part.bytes()});
    if (structure.kind != Structure::Kind::gather) continue;
    const std::uint64_t bytes = std::uint64_t{structure.stage_inputs(0)} * sizeof(std::uint32_t);
    tensors.push_back({name + std::string(kSelection), "I32", {structure.k, structure.in_block}, bytes});
  }
  ordered_json description = {{"version", kVersion}, {"operators", std::move(list)}};
  for (const auto& [name, values] : constants) {
    description["constants"].push_back(name);
    tensors.push_back({name, "F32", {values.size()}, values.size() * sizeof(float)});
  }
  return model::safetensors_start(kMetadataKey, description.dump(), tensors);
}

std::span<const float> weights_of(const Factors& factors, const Part& part) {
  return part.suffix == ".L" ? factors.left : factors.right;
}

Error bad_metadata(std::string message, std::string_view file) {
  return Error("factor.metadata", Failure::bad_input, std::move(message))
      .in_file(file)
      .with_hint("factor files are written by `danaus project -o`");
}

/// A projection may choose other inputs than those that were announced.
bool same_but_selection(Structure a, Structure b) {
  a.selection = b.selection = IndexList();
  return a == b;
}

struct Announced {
  std::string name;
  Structure structure;
};

Result<std::vector<Announced>> announced(const model::SafetensorsFile& file) {
  const auto found = file.metadata.find(std::string(kMetadataKey));
  if (found == file.metadata.end())
    return fail(
        bad_metadata(fmt::format("this is not a factor file: it has no metadata '{}'", kMetadataKey), file.name));
  const nlohmann::json description = nlohmann::json::parse(found->second, nullptr, false);
  const auto unreadable = [&](std::string_view what) {
    return fail(bad_metadata(fmt::format("the metadata '{}' {}", kMetadataKey, what), file.name));
  };
  if (!description.is_object()) return unreadable("is not a JSON object");
  if (!description.contains("version") || description["version"] != kVersion)
    return unreadable(fmt::format("is not of version {}", kVersion));
  if (!description.contains("operators") || !description["operators"].is_array())
    return unreadable("has no list of operators");
  std::vector<Announced> list;
  std::set<std::string> names;
  for (const nlohmann::json& entry : description["operators"]) {
    const auto dimension = [&entry](const char* key) -> std::uint32_t {
      if (!entry.contains(key) || !entry[key].is_number_unsigned()) return 0;
      const std::uint64_t value = entry[key].get<std::uint64_t>();
      return value <= UINT32_MAX ? static_cast<std::uint32_t>(value) : 0;
    };
    const auto text = [&entry](const char* key) {
      return entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>() : std::string();
    };
    if (!entry.is_object()) return unreadable("lists an operator that is not an object");
    const std::string name = text("name");
    if (!is_good_name(name)) return unreadable("lists an operator without a proper name");
    if (!names.insert(name).second) return unreadable(fmt::format("lists the operator '{}' twice", name));
    Result<Structure> structure = parse_structure(text("structure"), dimension("out"), dimension("in"));
    if (!structure)
      return fail(bad_metadata(fmt::format("the operator '{}' has no proper shape and structure", name), file.name)
                      .note(structure.error().message));
    list.push_back({name, *structure});
  }
  return list;
}

/// Names of the trained constants; the metadata is an object.
Result<std::vector<std::string>> announced_constants(const model::SafetensorsFile& file) {
  const nlohmann::json description = nlohmann::json::parse(file.metadata.at(std::string(kMetadataKey)));
  std::vector<std::string> names;
  if (!description.contains("constants")) return names;
  const nlohmann::json& list = description["constants"];
  const bool are_names = list.is_array() && std::all_of(list.begin(), list.end(), [](const nlohmann::json& name) {
                           return name.is_string() && is_good_name(name.get_ref<const std::string&>());
                         });
  if (!are_names)
    return fail(bad_metadata(fmt::format("the constants in the metadata '{}' are no list of names", kMetadataKey), file.name));
  for (const nlohmann::json& name : list) names.push_back(name.get<std::string>());
  return names;
}

/// The weights of one part as they are in memory: what the file pads must be zero.
Result<std::vector<float>> weights_from(const model::Tensor& tensor, const Part& part, std::string_view file) {
  const std::string name = tensor.name;
  if (tensor.type != model::ElementType::f32 || tensor.shape != part.shape() || tensor.bytes.size() != part.bytes())
    return fail(
        Error("factor.tensor", Failure::bad_input,
              fmt::format("the tensor '{}' is not of type F32 and shape {}", name, fmt::join(part.shape(), " x ")))
            .in_file(file)
            .with_hint("its structure in the metadata says so"));
  std::vector<float> padded(tensor.bytes.size() / sizeof(float));
  if (!padded.empty()) std::memcpy(padded.data(), tensor.bytes.data(), tensor.bytes.size());
  const auto bad = std::find_if_not(padded.begin(), padded.end(), [](float value) { return std::isfinite(value); });
  if (bad != padded.end())
    return fail(Error("factor.non-finite", Failure::bad_input,
                      fmt::format("element {} of the tensor '{}' is {}", bad - padded.begin(), name, *bad))
                    .in_file(file)
                    .with_hint("elements count from 0"));
  if (part.last_rows == part.rows && part.last_columns == part.columns) return padded;
  const std::size_t whole = (part.blocks - 1) * part.rows * part.columns;
  std::vector<float> weights(padded.begin(), padded.begin() + static_cast<std::ptrdiff_t>(whole));
  for (std::size_t row = 0; row < part.rows; ++row) {
    for (std::size_t column = 0; column < part.columns; ++column) {
      const float value = padded[whole + row * part.columns + column];
      if (row < part.last_rows && column < part.last_columns) {
        weights.push_back(value);
      } else if (value != 0) {
        return fail(Error("factor.padding", Failure::bad_input,
                          fmt::format("the tensor '{}' has the weight {} where its operator was trimmed", name, value))
                        .in_file(file)
                        .with_hint("write zeros beyond the last row and column of the operator"));
      }
    }
  }
  return weights;
}

/// The inputs that the blocks of a gathered operator read.
Result<IndexList> selection_from(const model::Tensor& tensor, const Structure& structure, std::string_view file) {
  const std::vector<std::uint64_t> shape = {structure.k, structure.in_block};
  std::vector<std::uint32_t> numbers(structure.stage_inputs(0));
  const std::size_t bytes = numbers.size() * sizeof(std::uint32_t);
  if (tensor.type != model::ElementType::i32 || tensor.shape != shape || tensor.bytes.size() != bytes)
    return fail(
        Error("factor.tensor", Failure::bad_input,
              fmt::format("the tensor '{}' is not of type I32 and shape {}", tensor.name, fmt::join(shape, " x ")))
            .in_file(file)
            .with_hint("its structure in the metadata says so"));
  std::memcpy(numbers.data(), tensor.bytes.data(), bytes);  // a negative number is larger than any input
  Structure selecting = structure;
  selecting.selection = IndexList(std::move(numbers));
  if (Result<void> good = check_selection(selecting); !good)
    return fail(Error("factor.selection", Failure::bad_input,
                      fmt::format("the tensor '{}' does not select inputs: {}", tensor.name, good.error().message))
                    .in_file(file)
                    .with_hint("each row has ascending numbers of inputs, counted from 0"));
  return selecting.selection;
}

Result<FactorFile> factors_from(const model::SafetensorsFile& file) {
  DANAUS_TRY(operators, announced(file));
  DANAUS_TRY(constants, announced_constants(file));
  std::map<std::string_view, const model::Tensor*> tensors;
  for (const model::Tensor& tensor : file.tensors) tensors.emplace(tensor.name, &tensor);
  const auto take_named = [&](const std::string& name) -> Result<const model::Tensor*> {
    const auto found = tensors.find(name);
    if (found == tensors.end())
      return fail(Error("factor.tensor", Failure::bad_input, fmt::format("the tensor '{}' is missing", name))
                      .in_file(file.name)
                      .with_hint("the metadata announces it; write the file again"));
    const model::Tensor* const tensor = found->second;
    tensors.erase(found);
    return tensor;
  };
  FactorFile result;
  for (const Announced& operation : operators) {
    Factors factors{operation.structure, {}, {}};
    const auto take = [&](std::string_view suffix) { return take_named(operation.name + std::string(suffix)); };
    for (const Part& part : parts_of(operation.structure)) {
      DANAUS_TRY(tensor, take(part.suffix));
      DANAUS_TRY(weights, weights_from(*tensor, part, file.name));
      (part.suffix == ".L" ? factors.left : factors.right) = std::move(weights);
    }
    if (operation.structure.kind == Structure::Kind::gather) {
      DANAUS_TRY(tensor, take(kSelection));
      DANAUS_TRY(selection, selection_from(*tensor, operation.structure, file.name));
      factors.structure.selection = selection;
    }
    result.operators.emplace_back(operation.name, std::move(factors));
  }
  for (const std::string& name : constants) {
    DANAUS_TRY(tensor, take_named(name));
    const std::uint64_t size = tensor->elements();
    DANAUS_TRY(values, weights_from(*tensor, {kVector, 1, size, 1, size, 1}, file.name));
    result.constants.emplace_back(name, std::move(values));
  }
  if (!tensors.empty())
    return fail(Error("factor.tensor", Failure::bad_input,
                      fmt::format("the tensor '{}' belongs to no operator", tensors.begin()->first))
                    .in_file(file.name)
                    .with_hint("the metadata does not announce it; write the file again"));
  return result;
}

}  // namespace

Result<FactorWriter> FactorWriter::create(const std::filesystem::path& path,
                                          std::vector<std::pair<std::string, Structure>> operators,
                                          Constants constants) {
  for (const auto& [name, structure] : operators) ensure(is_good_name(name), "operators have good names");
  for (const auto& [name, values] : constants) ensure(is_good_name(name), "constants have good names");
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(start_of(operators, constants)));
  return FactorWriter(std::move(file), std::move(operators), std::move(constants));
}

Result<void> FactorWriter::add(std::string_view name, const Factors& factors) {
  ensure(next_ < operators_.size() && operators_[next_].first == name &&
             same_but_selection(operators_[next_].second, factors.structure),
         "operators come in the order in which they were announced");
  ++next_;
  for (const Part& part : parts_of(factors.structure)) {
    const std::span<const float> weights = weights_of(factors, part);
    const std::size_t whole = (part.blocks - 1) * part.rows * part.columns;
    ensure(weights.size() == whole + part.last_rows * part.last_columns, "factors have the size of their structure");
    if (part.last_rows == part.rows && part.last_columns == part.columns) {
      DANAUS_CHECK(file_.write(std::as_bytes(weights)));
      continue;
    }
    std::vector<float> last(part.rows * part.columns);
    for (std::size_t row = 0; row < part.last_rows; ++row)
      std::copy_n(weights.begin() + static_cast<std::ptrdiff_t>(whole + row * part.last_columns), part.last_columns,
                  last.begin() + static_cast<std::ptrdiff_t>(row * part.columns));
    DANAUS_CHECK(file_.write(std::as_bytes(weights.first(whole))));
    DANAUS_CHECK(file_.write(std::as_bytes(std::span<const float>(last))));
  }
  return file_.write(std::as_bytes(factors.structure.selection.numbers()));
}

Result<void> FactorWriter::commit() {
  ensure(next_ == operators_.size(), "every announced operator was added");
  for (const auto& [name, values] : constants_) DANAUS_CHECK(file_.write(std::as_bytes(std::span(values))));
  return file_.commit();
}

Result<void> write_factors(const std::filesystem::path& path,
                           const std::vector<std::pair<std::string, Factors>>& factors, Constants constants) {
  std::vector<std::pair<std::string, Structure>> operators;
  for (const auto& [name, factor] : factors) operators.emplace_back(name, factor.structure);
  DANAUS_TRY(writer, FactorWriter::create(path, std::move(operators), std::move(constants)));
  for (const auto& [name, factor] : factors) DANAUS_CHECK(writer.add(name, factor));
  return writer.commit();
}

Result<FactorFile> read_factors(const std::filesystem::path& path) {
  DANAUS_TRY(file, model::read_safetensors(path));
  return factors_from(file);
}

Result<FactorFile> parse_factors(std::span<const std::byte> bytes, std::string_view name) {
  DANAUS_TRY(file, model::parse_safetensors(bytes, name));
  return factors_from(file);
}

}  // namespace danaus::factor
