#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

/// Models with weights that the program carries, so that something real runs without a network.
namespace danaus::model {

/// The bytes of a GGUF file, for as long as the program runs; nothing if no model of this name is embedded.
std::optional<std::span<const std::byte>> embedded_model(std::string_view name);
std::vector<std::string_view> embedded_model_names();

/// Whether MODEL is one GGUF file, on disk or embedded, which brings its tokenizer.
bool is_gguf(const std::filesystem::path& name_or_path);

}  // namespace danaus::model
