// Moment files. All sizes follow from the list of inputs, so the header is written before any tensor.

#include "danaus/factor/moments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "danaus/core/files.h"
#include "danaus/core/graph.h"
#include "danaus/core/internal_error.h"
#include "danaus/model/safetensors.h"

namespace danaus::factor {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "moment files are little endian");

constexpr std::string_view kMetadataKey = "danaus.moments";
constexpr int kVersion = 1;
constexpr std::uint32_t kWidest = 1u << 20;  // inputs of an operator

std::uint64_t sum_count(std::uint64_t in) { return triangle(in) + in; }

std::string start_of(const MomentSet& set) {
  ordered_json inputs = ordered_json::array();
  std::vector<model::TensorEntry> tensors;
  for (const InputMoments& input : set.inputs) {
    inputs.push_back({{"name", input.name},
                      {"operators", input.operators},
                      {"in", input.in},
                      {"first_tokens", input.first_tokens},
                      {"tokens", input.tokens},
                      {"weight", input.weight},
                      {"energy_first", input.energy.first},
                      {"energy_other", input.energy.other},
                      {"energy_largest", input.energy.largest}});
    if (!input.sums.empty()) {
      const std::uint64_t count = sum_count(input.in);
      tensors.push_back({input.name + ".sums", "F64", {count}, count * sizeof(double)});
    } else if (!input.moments.empty()) {
      const std::uint64_t count = triangle(input.in);
      tensors.push_back({input.name + ".moments", "F32", {count}, count * sizeof(float)});
      tensors.push_back({input.name + ".mean", "F32", {input.in}, input.in * sizeof(float)});
    }
  }
  const ordered_json description = {{"version", kVersion},
                                    {"model", set.model},
                                    {"model_digest", to_string(set.model_digest)},
                                    {"text_digest", to_string(set.text_digest)},
                                    {"weighting", set.weighting},
                                    {"texts", set.texts},
                                    {"done", set.done},
                                    {"inputs", std::move(inputs)}};
  return model::safetensors_start(kMetadataKey, description.dump(), tensors);
}

Error bad_metadata(std::string_view file, std::string message) {
  return Error("moments.metadata", Failure::bad_input, std::move(message))
      .in_file(file)
      .with_hint("moment files are written by `danaus calibrate`");
}

/// Members of a JSON object with the type that they must have; `good` turns false at the first that has not.
struct Reader {
  const json& object;
  bool good = true;

  std::string text(const char* key) {
    if (!object.contains(key) || !object[key].is_string()) return good = false, std::string();
    return object[key].get<std::string>();
  }
  std::uint64_t whole(const char* key, std::uint64_t most = ~std::uint64_t{0}) {
    if (!object.contains(key) || !object[key].is_number_unsigned()) return good = false, 0;
    const std::uint64_t value = object[key].get<std::uint64_t>();
    good &= value <= most;
    return value;
  }
  double number(const char* key) {
    if (!object.contains(key) || !object[key].is_number()) return good = false, 0.0;
    const double value = object[key].get<double>();
    good &= std::isfinite(value) && value >= 0;
    return value;
  }
  Digest digest(const char* key) {
    Digest value;
    good &= parse_digest(text(key), value);
    return value;
  }
};

Result<MomentSet> described(const model::SafetensorsFile& file) {
  const auto found = file.metadata.find(std::string(kMetadataKey));
  if (found == file.metadata.end())
    return fail(bad_metadata(file.name, fmt::format("this is no moment file: it has no metadata '{}'", kMetadataKey)));
  const json description = json::parse(found->second, nullptr, false);
  const auto unreadable = [&](std::string_view what) {
    return fail(bad_metadata(file.name, fmt::format("the metadata '{}' {}", kMetadataKey, what)));
  };
  if (!description.is_object()) return unreadable("is not a JSON object");
  Reader reader{description};
  if (reader.whole("version") != kVersion) return unreadable(fmt::format("is not of version {}", kVersion));
  MomentSet set;
  set.model = reader.text("model");
  set.model_digest = reader.digest("model_digest");
  set.text_digest = reader.digest("text_digest");
  set.weighting = reader.text("weighting");
  set.texts = reader.whole("texts");
  set.done = reader.whole("done", set.texts);
  if (!reader.good || !description.contains("inputs") || !description["inputs"].is_array())
    return unreadable("lacks a part or has one that is not possible");
  std::set<std::string> names;
  for (const json& entry : description["inputs"]) {
    if (!entry.is_object()) return unreadable("lists an input that is not an object");
    Reader part{entry};
    InputMoments input;
    input.name = part.text("name");
    input.in = static_cast<std::uint32_t>(part.whole("in", kWidest));
    input.first_tokens = part.whole("first_tokens");
    input.tokens = part.whole("tokens");
    input.weight = part.number("weight");
    input.energy = {part.number("energy_first"), part.number("energy_other"), part.number("energy_largest")};
    if (!part.good || !is_good_name(input.name) || input.in == 0 || !entry.contains("operators") ||
        !entry["operators"].is_array())
      return unreadable("lists an input with a part that is missing or not possible");
    for (const json& operation : entry["operators"]) {
      if (!operation.is_string() || !is_good_name(operation.get<std::string>()))
        return unreadable(fmt::format("lists an operator of '{}' without a proper name", input.name));
      input.operators.push_back(operation.get<std::string>());
      if (!names.insert(input.operators.back()).second)
        return unreadable(fmt::format("lists the operator '{}' twice", input.operators.back()));
    }
    if (input.operators.empty() || input.operators.front() != input.name)
      return unreadable(fmt::format("does not name the input '{}' after its first operator", input.name));
    set.inputs.push_back(std::move(input));
  }
  return set;
}

template <typename Number>
bool all_finite(std::span<const Number> values) {
  return std::all_of(values.begin(), values.end(), [](Number value) { return std::isfinite(value); });
}

/// The numbers of a tensor, copied: its place in the file need not be aligned.
template <typename Number>
std::vector<Number> numbers_of(const model::Tensor& tensor) {
  std::vector<Number> values(tensor.bytes.size() / sizeof(Number));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(Number));
  return values;
}

/// The numbers of a mapped tensor where they are, or a copy.
std::span<const float> floats_of(const model::Tensor& tensor, std::shared_ptr<const void>& owner) {
  const std::size_t count = tensor.bytes.size() / sizeof(float);
  if (tensor.file && reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(float) == 0)
    return {reinterpret_cast<const float*>(tensor.bytes.data()), count};
  const auto copy = std::make_shared<const std::vector<float>>(numbers_of<float>(tensor));
  owner = copy;
  return *copy;
}

Result<MomentSet> moments_from(const model::SafetensorsFile& file) {
  DANAUS_TRY(set, described(file));
  std::map<std::string_view, const model::Tensor*> tensors;
  for (const model::Tensor& tensor : file.tensors) tensors[tensor.name] = &tensor;
  const auto take = [&](const std::string& name) -> const model::Tensor* {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return nullptr;
    const model::Tensor* tensor = found->second;
    tensors.erase(found);
    return tensor;
  };
  const auto wrong = [&](const std::string& name) {
    return fail(
        Error("moments.tensor", Failure::bad_input,
              fmt::format("the tensor '{}' is missing, of another type or of another shape than its input", name))
            .in_file(file.name)
            .with_hint("the file is damaged: write it anew with `danaus calibrate`"));
  };
  const auto impossible = [&](const std::string& name) {
    return fail(
        Error("moments.value", Failure::bad_input, fmt::format("'{}' has numbers that no sum of squares has", name))
            .in_file(file.name)
            .with_hint("the file is damaged: write it anew with `danaus calibrate`"));
  };
  for (InputMoments& input : set.inputs) {
    if (const model::Tensor* sums = take(input.name + ".sums"); sums != nullptr) {
      if (sums->type != model::ElementType::f64 || sums->shape != std::vector<std::uint64_t>{sum_count(input.in)})
        return wrong(input.name + ".sums");
      input.sums = numbers_of<double>(*sums);
      if (!all_finite<double>(input.sums)) return impossible(input.name + ".sums");
      continue;
    }
    const model::Tensor* const moments = take(input.name + ".moments");
    if (moments == nullptr) continue;  // its turn has not come
    const model::Tensor* const mean = take(input.name + ".mean");
    if (moments->type != model::ElementType::f32 || moments->shape != std::vector<std::uint64_t>{triangle(input.in)})
      return wrong(input.name + ".moments");
    if (mean == nullptr || mean->type != model::ElementType::f32 || mean->shape != std::vector<std::uint64_t>{input.in})
      return wrong(input.name + ".mean");
    std::shared_ptr<const void> owners[2] = {moments->file, mean->file};
    input.moments = floats_of(*moments, owners[0]);
    input.mean = floats_of(*mean, owners[1]);
    input.owner = std::make_shared<const std::array<std::shared_ptr<const void>, 2>>(
        std::array<std::shared_ptr<const void>, 2>{owners[0], owners[1]});
    bool possible = all_finite(input.moments) && all_finite(input.mean);
    for (std::uint64_t i = 0; i < input.in; ++i) possible &= input.moments[triangle(i) + i] >= 0;
    if (!possible) return impossible(input.name);
  }
  if (!tensors.empty())
    return fail(bad_metadata(file.name, fmt::format("there is a tensor '{}' of no input", tensors.begin()->first)));
  return std::move(set);
}

}  // namespace

void InputMoments::finish() {
  ensure(sums.size() == sum_count(in), "finish: there are sums");
  const auto values = std::make_shared<std::vector<float>>(sums.size());
  const double scale = weight > 0 ? 1 / weight : 0;
  for (std::size_t n = 0; n < sums.size(); ++n) (*values)[n] = static_cast<float>(sums[n] * scale);
  moments = std::span<const float>(*values).first(triangle(in));
  mean = std::span<const float>(*values).subspan(triangle(in));
  owner = values;
  sums = {};
}

bool MomentSet::finished() const {
  return std::all_of(inputs.begin(), inputs.end(), [](const InputMoments& input) { return !input.moments.empty(); });
}

const InputMoments* MomentSet::find(std::string_view operation) const {
  for (const InputMoments& input : inputs) {
    if (std::find(input.operators.begin(), input.operators.end(), operation) != input.operators.end()) return &input;
  }
  return nullptr;
}

Result<void> write_moments(const std::filesystem::path& path, const MomentSet& set) {
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(start_of(set)));
  for (const InputMoments& input : set.inputs) {
    DANAUS_CHECK(file.write(std::as_bytes(std::span<const double>(input.sums))));
    if (!input.sums.empty()) continue;
    DANAUS_CHECK(file.write(std::as_bytes(input.moments)));
    DANAUS_CHECK(file.write(std::as_bytes(input.mean)));
  }
  return file.commit();
}

Result<MomentSet> read_moments(const std::filesystem::path& path) {
  DANAUS_TRY(file, model::read_safetensors(path));
  return moments_from(file);
}

Result<MomentSet> parse_moments(std::span<const std::byte> bytes, std::string_view name) {
  DANAUS_TRY(file, model::parse_safetensors(bytes, name));
  return moments_from(file);
}

}  // namespace danaus::factor
