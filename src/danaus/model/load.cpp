#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "danaus/model/embedded.h"
#include "danaus/model/formats.h"
#include "danaus/model/gguf.h"
#include "danaus/model/hugging_face.h"
#include "danaus/model/model.h"
#include "danaus/model/onnx/onnx.h"
#include "danaus/model/safetensors.h"
#include "danaus/model/shape_file.h"
#include "danaus/model/text.h"

// What MODEL of the command line means: a preset's name first, then whatever is at that path, by extension.

namespace danaus::embedded {
/// The files of shapes/, generated: (file stem, text), sorted by name.
const std::vector<std::pair<std::string_view, std::string_view>>& shapes();
}  // namespace danaus::embedded

namespace danaus::model {
namespace {

constexpr std::string_view kWhatModelCanBe =
    "MODEL is a preset, a shape file (.toml), a .gguf, a .safetensors, an .onnx or a Hugging Face folder";

using Loader = Result<Model> (*)(const std::filesystem::path& path);

Result<Model> load_shape_text(std::string_view text, std::string_view name) {
  DANAUS_TRY(shape, parse_shape(text, name));
  return model_from_shape(shape);
}

Result<Model> load_shape_file(const std::filesystem::path& path) {
  DANAUS_TRY(text, read_text(path));
  return load_shape_text(text, path.string());
}

Result<Model> load_gguf(const std::filesystem::path& path) {
  DANAUS_TRY(file, read_gguf(path));
  return model_from_gguf(file);
}

Result<Model> load_safetensors(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (std::filesystem::exists(folder / "config.json", ignored)) return load_hugging_face(folder, path);
  DANAUS_TRY(file, read_safetensors(path));
  return model_from_matrices(std::move(file));
}

Result<Model> load_onnx(const std::filesystem::path& path) {
  DANAUS_TRY(file, read_onnx(path));
  return model_from_onnx(file);
}

struct Importer {
  std::string_view extension;
  Loader load = nullptr;
  std::string_view what;
};
constexpr Importer kImporters[] = {
    {".toml", load_shape_file, "a shape file: dimensions without weights, as the presets are"},
    {".gguf", load_gguf, "GGUF, version 2 or 3"},
    {".safetensors", load_safetensors,
     "with a config.json beside it that model, otherwise a bag of matrices: every 2-D tensor an operator named after "
     "it"},
    {".onnx", load_onnx, "ONNX: the graph of the file itself; what is not understood stays digital and is listed"}};
constexpr std::string_view kFolderIs =
    "Hugging Face: config.json and model.safetensors, or shards and model.safetensors.index.json";

Result<Model> load_path(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return load_hugging_face(path);
  const std::string extension = path.extension().string();
  const bool is_known = std::any_of(std::begin(kImporters), std::end(kImporters),
                                    [&](const Importer& importer) { return importer.extension == extension; });
  if (!is_known && !std::filesystem::exists(path, ignored))
    return fail(Error("file.missing", Failure::io, "there is no such file or folder")
                    .in_file(path.string())
                    .with_hint(std::string(kWhatModelCanBe)));
  for (const Importer& importer : kImporters) {
    if (importer.extension == extension) return importer.load(path);
  }
  return fail(Error("model.unsupported-format", Failure::unsupported,
                    fmt::format("'{}' is no extension of a model file", printable(extension)))
                  .in_file(path.string())
                  .with_hint(std::string(kWhatModelCanBe)));
}

/// A word that looks like a path names a file, whether it exists or not.
bool looks_like_path(const std::string& word) {
  if (word.find('/') != std::string::npos) return true;
  return std::any_of(std::begin(kImporters), std::end(kImporters),
                     [&](const Importer& importer) { return word.ends_with(importer.extension); });
}

}  // namespace

std::vector<FileKind> file_kinds() {
  std::vector<FileKind> kinds;
  for (const Importer& importer : kImporters) kinds.push_back({importer.extension, importer.what});
  kinds.push_back({"folder", kFolderIs});
  return kinds;
}

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  for (const std::pair<std::string_view, std::string_view>& file : embedded::shapes()) names.push_back(file.first);
  for (const std::string_view name : embedded_model_names()) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<Model> load(const std::string& name_or_path) {
  for (const std::pair<std::string_view, std::string_view>& file : embedded::shapes()) {
    if (file.first == name_or_path) return load_shape_text(file.second, fmt::format("{}.toml", file.first));
  }
  if (embedded_model(name_or_path)) return load_gguf(name_or_path);
  std::error_code ignored;
  if (!looks_like_path(name_or_path) && !std::filesystem::exists(name_or_path, ignored)) {
    const std::vector<std::string_view> names = preset_names();
    const std::string_view close = nearest(name_or_path, names);
    return fail(
        Error("model.unknown", Failure::usage,
              fmt::format("'{}' is neither a preset nor a file", printable(name_or_path)))
            .note(fmt::format("presets: {}", fmt::join(names, ", ")))
            .with_hint(close.empty() ? std::string(kWhatModelCanBe) : fmt::format("did you mean '{}'?", close)));
  }
  Result<Model> model = load_path(name_or_path);
  if (!model && model.error().where.file.empty()) return fail(std::move(model.error()).in_file(name_or_path));
  return model;
}

}  // namespace danaus::model
