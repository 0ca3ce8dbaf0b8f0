// A roofline: the slower of moving every byte once and doing every operation at the peak rate. Two operations per
// multiply-accumulate.

#include "danaus/pipeline/reference.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"

namespace danaus::embedded {
const std::vector<std::pair<std::string_view, std::string_view>>& references();
}  // namespace danaus::embedded

namespace danaus::pipeline {
namespace {

constexpr std::size_t kLongestFile = 16384;

struct NumberKey {
  std::string_view name;
  double Reference::*value;
};
constexpr NumberKey kNumbers[] = {{"memory_gb_per_s", &Reference::memory_gb_per_s},
                                  {"peak_tops", &Reference::peak_tops},
                                  {"power_w", &Reference::power_w},
                                  {"bytes_per_weight", &Reference::bytes_per_weight},
                                  {"bytes_per_kv", &Reference::bytes_per_kv}};

std::vector<std::string_view> known_keys() {
  std::vector<std::string_view> keys = {"name", "precision"};
  for (const NumberKey& number : kNumbers) keys.push_back(number.name);
  return keys;
}

Error missing(std::string_view key, const std::string& file_name) {
  return Error("reference.key", Failure::bad_input, fmt::format("'{}' is missing", key))
      .in_file(file_name)
      .with_hint(fmt::format("a reference has the keys {}", fmt::join(known_keys(), ", ")));
}

Result<std::string> text_of(const toml::table& table, std::string_view key, const std::string& file_name) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return fail(missing(key, file_name));
  const std::optional<std::string> text = node->value_exact<std::string>();
  constexpr std::size_t kLongest = 64;
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (!text || text->empty() || text->size() > kLongest || !std::all_of(text->begin(), text->end(), printable)) {
    return fail(Error("reference.value", Failure::bad_input,
                      fmt::format("'{}' must be a text of 1 to {} printable ASCII characters", key, kLongest))
                    .at(location_of(node->source(), file_name)));
  }
  return *text;
}

Result<double> number_of(const toml::table& table, std::string_view key, const std::string& file_name) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return fail(missing(key, file_name));
  const std::optional<double> number =
      node->is_number() ? node->value<double>() : std::optional<double>();  // whole numbers, too
  constexpr double kLeast = 1e-6, kMost = 1e9;
  if (!number || !(*number >= kLeast && *number <= kMost)) {
    return fail(Error("reference.value", Failure::bad_input,
                      fmt::format("'{}' must be a number from {:g} to {:g}", key, kLeast, kMost))
                    .at(location_of(node->source(), file_name)));
  }
  return *number;
}

}  // namespace

Result<Reference> parse_reference(std::string_view toml, const std::string& file_name) {
  DANAUS_TRY(table,
             parse_toml(toml, "a reference", Error("reference.syntax", Failure::bad_input, "").in_file(file_name),
                        {.text = kLongestFile}));
  const std::vector<std::string_view> known = known_keys();
  for (const auto& [key, node] : table) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    const std::string_view near = nearest(key.str(), known);
    return fail(Error("reference.key", Failure::bad_input,
                      fmt::format("there is no key '{}'", std::string_view(key.str()).substr(0, 64)))
                    .at(location_of(node.source(), file_name))
                    .with_hint(near.empty() ? fmt::format("the keys are {}", fmt::join(known, ", "))
                                            : fmt::format("did you mean '{}'?", near)));
  }
  Reference reference;
  reference.key = std::filesystem::path(file_name).stem().string();
  DANAUS_TRY(name, text_of(table, "name", file_name));
  reference.name = name;
  DANAUS_TRY(precision, text_of(table, "precision", file_name));
  reference.precision = precision;
  for (const NumberKey& number : kNumbers) {
    DANAUS_TRY(value, number_of(table, number.name, file_name));
    reference.*number.value = value;
  }
  return reference;
}

Result<Reference> load_reference(const std::string& key_or_path) {
  for (const auto& [key, text] : embedded::references()) {
    if (key == key_or_path) return parse_reference(text, key_or_path);
  }
  if (key_or_path.find('/') == std::string::npos && !key_or_path.ends_with(".toml")) {
    const std::string_view near = nearest(key_or_path, reference_keys());
    return fail(
        Error("reference.unknown", Failure::usage, fmt::format("there is no reference '{}'", key_or_path.substr(0, 64)))
            .note(fmt::format("references: {}", fmt::join(reference_keys(), ", ")))
            .with_hint(near.empty() ? "give one of them, the path of a file like data/reference/cpu.toml, or none"
                                    : fmt::format("did you mean '{}'?", near)));
  }
  DANAUS_TRY(text, read_text(key_or_path, kLongestFile));
  return parse_reference(text, key_or_path);
}

std::vector<std::string_view> reference_keys() {
  std::vector<std::string_view> keys;
  for (const auto& [key, text] : embedded::references()) keys.push_back(key);
  return keys;
}

Work work_of(const Graph& intent, std::uint64_t tokens, std::uint64_t self_entries, std::uint64_t other_entries) {
  Work work;
  const auto count = static_cast<double>(tokens);
  std::map<NodeId, double> of_experts;  // weights of all of a router's experts
  for (const Node& node : intent.nodes) {
    if (node.kind == NodeKind::linear && !node.idle)
      (node.guard ? of_experts[node.guard->gates] : work.weights) +=
          static_cast<double>(node.structure.dense_parameters());
    if (node.kind != NodeKind::attend || !computes_context(node)) continue;
    const std::uint64_t entries = node.span == Span::other ? other_entries : self_entries;
    const double kv_size = 1.0 * node.kv_heads * node.head_size;
    work.kv += 2 * kv_size * static_cast<double>(entries);
    // Of a prompt, each token attends to itself and those before it; otherwise every token to all entries.
    const double attended =
        node.span == Span::earlier && tokens > 1 ? count * (count + 1) / 2 : count * static_cast<double>(entries);
    work.attention_macs += 2.0 * node.query_heads * node.head_size * attended;
  }
  work.linear_macs = count * work.weights;
  for (const auto& [router, all] : of_experts) {
    const Node& gates = intent.at(router);
    const double chosen = intent.configs[index(gates.configs[0])].k, number = gates.size;
    work.linear_macs += count * all * chosen / number;
    work.weights += all * std::min(1.0, count * chosen / number);
  }
  return work;
}

std::vector<Work> generation_work(const Graph& intent, std::uint32_t prompt, std::uint32_t tokens, bool kv_cache,
                                  std::uint64_t other_entries) {
  std::vector<Work> passes;
  for (std::uint32_t known = prompt; known < tokens; ++known)
    passes.push_back(work_of(intent, kv_cache && known != prompt ? 1 : known, known, other_entries));
  return passes;
}

Work for_sequences(const Work& work, std::uint32_t sequences) {
  const double count = sequences;
  return {.weights = work.weights,
          .kv = count * work.kv,
          .linear_macs = count * work.linear_macs,
          .attention_macs = count * work.attention_macs};
}

Estimate estimate(const Reference& reference, const std::vector<Work>& passes) {
  Estimate result;
  result.reference = reference;
  for (const Work& work : passes) {
    const double bytes = work.weights * reference.bytes_per_weight + work.kv * reference.bytes_per_kv;
    const double operations = 2 * (work.linear_macs + work.attention_macs);
    const double memory_ns = bytes / reference.memory_gb_per_s;           // GB/s are bytes per ns
    const double compute_ns = operations / (reference.peak_tops * 1000);  // TOPS are thousands of operations per ns
    result.memory_ns += memory_ns;
    result.compute_ns += compute_ns;
    result.latency_ns += std::max(memory_ns, compute_ns);
  }
  result.energy_nj = reference.power_w * result.latency_ns;  // W * ns
  return result;
}

}  // namespace danaus::pipeline
