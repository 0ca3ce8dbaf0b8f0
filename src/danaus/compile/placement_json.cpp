// Placements as JSON: {"schema": "danaus.placement/1", "arrays": N, "patches": [...], "copies": [...]}, one patch a
// line, so that people can edit them and tools can compare them line by line.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "danaus/compile/compile.h"

namespace danaus::compile {
namespace {

constexpr std::string_view kSchema = "danaus.placement/1";

std::string_view stage_name(const Structure& structure, std::uint32_t stage) {
  if (structure.stages() == 1) return "W";
  return stage == 0 ? "R" : "L";
}

/// Reads one patch; what is missing, of another type or too large is named.
class PatchReader {
 public:
  PatchReader(const nlohmann::json& object, std::size_t number, const std::string& file_name)
      : object_(object), number_(number), file_name_(file_name) {}

  template <typename Number>
  Number number(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_number_unsigned() ||
        found->get<std::uint64_t>() > std::numeric_limits<Number>::max()) {
      complain(fmt::format("'{}' must be a whole number from 0 to {}", key, std::numeric_limits<Number>::max()));
      return 0;
    }
    return found->get<Number>();
  }
  std::string text(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_string()) {
      complain(fmt::format("'{}' must be a string", key));
      return {};
    }
    return found->get<std::string>();
  }
  void complain(std::string what, std::string hint = {}) {
    if (!error_)
      error_ = Error("placement.patch", Failure::bad_input, fmt::format("patch {}: {}", number_, what))
                   .in_file(file_name_)
                   .with_hint(std::move(hint));
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  const nlohmann::json& object_;
  std::size_t number_;
  const std::string& file_name_;
  std::optional<Error> error_;
};

}  // namespace

std::string to_json(const Graph& graph, const Placement& placement) {
  std::string text = fmt::format("{{\"schema\": \"{}\", \"arrays\": {}, \"patches\": [", kSchema, placement.arrays);
  const char* separator = "\n";
  for (const program::Patch& patch : placement.patches) {
    const Node& node = graph.at(patch.node);
    // Node names have no characters that JSON would escape (core/graph.h).
    text += fmt::format(
        "{}{{\"array\": {}, \"row\": {}, \"column\": {}, \"rows\": {}, \"columns\": {}, \"operator\": \"{}\", "
        "\"stage\": \"{}\", \"in\": {}, \"out\": {}, \"out_step\": {}}}",
        separator, index(patch.array), patch.row, patch.column, patch.rows, patch.columns, node.name,
        stage_name(node.structure, patch.stage), patch.in_first, patch.out_first, patch.out_step);
    separator = ",\n";
  }
  text += "\n]";
  if (!placement.copies.empty()) {
    text += ", \"copies\": [";
    separator = "\n";
    for (const program::Copy& copy : placement.copies) {
      text += fmt::format("{}{{\"array\": {}, \"of\": {}}}", separator, index(copy.array), index(copy.of));
      separator = ",\n";
    }
    text += "\n]";
  }
  text += "}\n";
  return text;
}

Result<Placement> placement_from_json(const Graph& graph, std::string_view text, const std::string& file_name) {
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return fail(Error("placement.syntax", Failure::bad_input, "this is not JSON")
                    .in_file(file_name)
                    .at_offset(error.byte)
                    .note(error.what()));
  }
  const auto bad = [&](std::string what) {
    return fail(Error("placement.syntax", Failure::bad_input, std::move(what))
                    .in_file(file_name)
                    .with_hint("`danaus compile --placement FILE` writes a placement to start from"));
  };
  if (!document.is_object() || document.value("schema", nlohmann::json()) != kSchema)
    return bad(fmt::format("this is not a placement (schema {})", kSchema));
  const auto arrays = document.find("arrays");
  const auto patches = document.find("patches");
  if (arrays == document.end() || !arrays->is_number_unsigned() || arrays->get<std::uint64_t>() > (1u << 24))
    return bad(fmt::format("'arrays' must be a whole number up to {}", 1u << 24));
  if (patches == document.end() || !patches->is_array()) return bad("'patches' must be a list");

  std::map<std::string_view, NodeId> nodes;
  std::vector<std::string_view> names;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].kind != NodeKind::linear) continue;
    nodes[graph.nodes[n].name] = NodeId{static_cast<std::uint32_t>(n)};
    names.push_back(graph.nodes[n].name);
  }
  Placement placement{.arrays = arrays->get<std::uint32_t>(), .patches = {}, .copies = {}};
  placement.patches.reserve(patches->size());
  for (std::size_t number = 0; number < patches->size(); ++number) {
    const nlohmann::json& object = (*patches)[number];
    if (!object.is_object()) return bad(fmt::format("patch {} is not an object", number));
    PatchReader reader(object, number, file_name);
    program::Patch patch;
    patch.array = ArrayId{reader.number<std::uint32_t>("array")};
    patch.row = reader.number<std::uint16_t>("row");
    patch.column = reader.number<std::uint16_t>("column");
    patch.rows = reader.number<std::uint16_t>("rows");
    patch.columns = reader.number<std::uint16_t>("columns");
    patch.in_first = reader.number<std::uint32_t>("in");
    patch.out_first = reader.number<std::uint32_t>("out");
    patch.out_step = reader.number<std::uint16_t>("out_step");
    const std::string name = reader.text("operator");
    const std::string stage = reader.text("stage");
    const auto node = nodes.find(name);
    if (node == nodes.end()) {
      const std::string_view close = nearest(name, names);
      reader.complain(fmt::format("there is no linear operator '{}'", name),
                      close.empty() ? "" : fmt::format("did you mean '{}'?", close));
    } else {
      patch.node = node->second;
      const Structure& structure = graph.at(patch.node).structure;
      while (patch.stage < structure.stages() && stage_name(structure, patch.stage) != stage) ++patch.stage;
      if (patch.stage == structure.stages())
        reader.complain(fmt::format("operator '{}' has no stage '{}'", name, stage));
    }
    if (reader.error()) return fail(*reader.error());
    placement.patches.push_back(patch);
  }
  if (const auto copies = document.find("copies"); copies != document.end()) {
    if (!copies->is_array()) return bad("'copies' must be a list");
    for (const nlohmann::json& object : *copies) {
      const auto number = [&](const char* key) -> std::optional<std::uint32_t> {
        const auto found = object.is_object() ? object.find(key) : object.end();
        if (!object.is_object() || found == object.end() || !found->is_number_unsigned() ||
            found->get<std::uint64_t>() >= placement.arrays)
          return std::nullopt;
        return found->get<std::uint32_t>();
      };
      const std::optional<std::uint32_t> array = number("array"), of = number("of");
      if (!array || !of)
        return bad(fmt::format("copy {} needs an 'array' and the array it is a copy 'of', both below {}",
                               placement.copies.size(), placement.arrays));
      placement.copies.push_back({.array = ArrayId{*array}, .of = ArrayId{*of}});
    }
    std::sort(placement.copies.begin(), placement.copies.end(),
              [](const program::Copy& a, const program::Copy& b) { return a.array < b.array; });
  }
  std::sort(placement.patches.begin(), placement.patches.end(), [](const program::Patch& a, const program::Patch& b) {
    return std::tuple(a.array, a.row, a.column) < std::tuple(b.array, b.row, b.column);
  });
  return placement;
}

}  // namespace danaus::compile
