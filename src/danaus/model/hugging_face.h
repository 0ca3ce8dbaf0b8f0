#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/model/model.h"
#include "danaus/model/shape.h"

namespace danaus::model {

/// The shape that a config.json describes (a complete one; without a name). Errors: hf.json, hf.key, hf.dimensions,
/// hf.unsupported-architecture, hf.unsupported-key.
Result<Shape> parse_hugging_face_config(std::string_view text, std::string_view file_name);

/// Names in "architectures" that are supported.
std::vector<ArchitectureInfo> hugging_face_architectures();

/// A Hugging Face folder: config.json and model.safetensors, or shards listed by model.safetensors.index.json; with
/// `weights`, that file holds the weights. Errors also: hf.config-missing, hf.weights-missing, hf.index, safetensors.*,
/// model.*.
Result<Model> load_hugging_face(const std::filesystem::path& folder,
                                const std::optional<std::filesystem::path>& weights = std::nullopt);

}  // namespace danaus::model
