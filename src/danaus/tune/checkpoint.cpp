// Tensors lie in the order of the parameters, so the header says where before any of them is written.

#include "danaus/tune/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "danaus/core/files.h"
#include "danaus/model/safetensors.h"

namespace danaus::tune {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little endian");

constexpr std::string_view kMetadataKey = "danaus.tune";
constexpr int kVersion = 1;
constexpr std::array<std::string_view, 3> kSuffixes = {"", ".mean", ".square"};

Error bad_checkpoint(const std::filesystem::path& path, std::string text) {
  return Error("tune.checkpoint", Failure::bad_input, std::move(text))
      .in_file(path.string())
      .with_hint("start anew without --resume, or give the options that this checkpoint was made with");
}

}  // namespace

Result<void> write_checkpoint(const std::filesystem::path& path, const Progressed& progressed,
                              const std::string& training, std::span<const Parameter> parameters,
                              Optimiser& optimiser) {
  using nlohmann::ordered_json;
  ordered_json header;
  const ordered_json description = {
      {"version", kVersion}, {"step", progressed.step}, {"steps", progressed.steps}, {"training", training}};
  header["__metadata__"] = {{std::string(kMetadataKey), description.dump()}};
  std::uint64_t offset = 0;
  for (const Parameter& parameter : parameters) {
    const std::uint64_t bytes = parameter.values.size() * sizeof(float);
    for (const std::string_view suffix : kSuffixes) {
      header[parameter.name + std::string(suffix)] = {
          {"dtype", "F32"}, {"shape", {parameter.values.size()}}, {"data_offsets", {offset, offset + bytes}}};
      offset += bytes;
    }
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(std::as_bytes(std::span(&length, 1))));
  DANAUS_CHECK(file.write(text));
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    for (const std::vector<float>* const values : std::initializer_list<const std::vector<float>*>{
             &parameters[p].values, &optimiser.means()[p], &optimiser.squares()[p]})
      DANAUS_CHECK(file.write(std::as_bytes(std::span<const float>(*values))));
  }
  return file.commit();
}

Result<Progressed> read_checkpoint(const std::filesystem::path& path, const std::string& training,
                                   std::span<Parameter> parameters, Optimiser& optimiser) {
  DANAUS_TRY(file, model::read_safetensors(path));
  const auto found = file.metadata.find(std::string(kMetadataKey));
  if (found == file.metadata.end())
    return fail(bad_checkpoint(path, fmt::format("this is not a checkpoint: it has no metadata '{}'", kMetadataKey)));
  const nlohmann::json description = nlohmann::json::parse(found->second, nullptr, false);
  const auto is_number = [&](const char* key) {
    return description.contains(key) && description[key].is_number_unsigned();
  };
  if (!description.is_object() || !is_number("version") || description["version"] != kVersion || !is_number("step") ||
      !is_number("steps") || !description.contains("training") || !description["training"].is_string())
    return fail(bad_checkpoint(path, fmt::format("the metadata '{}' is not of version {}", kMetadataKey, kVersion)));
  const std::string made = description["training"].get<std::string>();
  if (made != training)
    return fail(bad_checkpoint(path, "the checkpoint is of another training")
                    .note("it was made with " + made)
                    .note("this one is " + training));
  const Progressed progressed{description["step"].get<std::uint64_t>(), description["steps"].get<std::uint64_t>()};
  if (progressed.step > progressed.steps)
    return fail(bad_checkpoint(path, fmt::format("{} of {} steps are done", progressed.step, progressed.steps)));
  std::map<std::string_view, const model::Tensor*> tensors;
  for (const model::Tensor& tensor : file.tensors) tensors.emplace(tensor.name, &tensor);
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const std::array<std::vector<float>*, 3> targets = {&parameters[p].values, &optimiser.means()[p],
                                                        &optimiser.squares()[p]};
    for (std::size_t n = 0; n < targets.size(); ++n) {
      const std::string name = parameters[p].name + std::string(kSuffixes[n]);
      const auto tensor = tensors.find(name);
      if (tensor == tensors.end() || tensor->second->type != model::ElementType::f32 ||
          tensor->second->bytes.size() != targets[n]->size() * sizeof(float))
        return fail(
            bad_checkpoint(path, fmt::format("it has no tensor '{}' of {} F32 elements", name, targets[n]->size())));
      std::memcpy(targets[n]->data(), tensor->second->bytes.data(), tensor->second->bytes.size());
      if (!std::all_of(targets[n]->begin(), targets[n]->end(), [](float value) { return std::isfinite(value); }))
        return fail(bad_checkpoint(path, fmt::format("the tensor '{}' has values that are no finite numbers", name)));
    }
  }
  return progressed;
}

}  // namespace danaus::tune
