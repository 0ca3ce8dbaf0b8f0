#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "danaus/model/gguf.h"
#include "danaus/model/hugging_face.h"
#include "danaus/model/model.h"
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
    "MODEL is a preset, a shape file (.toml), a .gguf, a .safetensors or a Hugging Face folder";

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

struct Importer {
  std::string_view extension;
  Loader load;
};
constexpr std::array<Importer, 3> kImporters = {
    {{".toml", load_shape_file}, {".gguf", load_gguf}, {".safetensors", load_safetensors}}};

Result<Model> load_path(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return load_hugging_face(path);
  const std::string extension = path.extension().string();
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
  return std::any_of(kImporters.begin(), kImporters.end(),
                     [&](const Importer& importer) { return word.ends_with(importer.extension); });
}

}  // namespace

std::string_view name_of(Family family) {
  constexpr std::array<std::string_view, 3> kNames = {"llama", "bert", "matrices"};
  return kNames[static_cast<std::size_t>(family)];
}

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  for (const std::pair<std::string_view, std::string_view>& file : embedded::shapes()) names.push_back(file.first);
  std::sort(names.begin(), names.end());
  return names;
}

Result<Model> load(const std::string& name_or_path) {
  for (const std::pair<std::string_view, std::string_view>& file : embedded::shapes()) {
    if (file.first == name_or_path) return load_shape_text(file.second, fmt::format("{}.toml", file.first));
  }
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
