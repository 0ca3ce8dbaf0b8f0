#include "danaus/core/graph.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <unordered_set>

namespace danaus {
namespace {

struct KindInfo {
  std::string_view name;
  std::uint32_t sources;
};
constexpr std::array<KindInfo, 11> kKinds = {{{"input", 0},
                                              {"norm", 1},
                                              {"linear", 1},
                                              {"bias", 1},
                                              {"rope", 1},
                                              {"attend", 3},
                                              {"add", 2},
                                              {"mul", 2},
                                              {"silu", 1},
                                              {"gelu", 1},
                                              {"relu", 1}}};

}  // namespace

std::string_view name_of(NodeKind kind) { return kKinds[static_cast<std::size_t>(kind)].name; }
std::uint32_t source_count(NodeKind kind) { return kKinds[static_cast<std::size_t>(kind)].sources; }

bool parse_node_kind(std::string_view text, NodeKind& kind) {
  for (std::size_t number = 0; number < kKinds.size(); ++number) {
    if (kKinds[number].name == text) {
      kind = static_cast<NodeKind>(number);
      return true;
    }
  }
  return false;
}

bool is_good_name(std::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  for (const char c : name) {
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-' || c == '/')) return false;
  }
  return true;
}

Result<void> validate(const Graph& graph) {
  constexpr std::uint32_t kLargestVector = 1u << 24;
  const auto bad = [](std::string_view id, std::string text) {
    return fail(Error(id, Failure::bad_input, std::move(text)));
  };
  if (graph.configs.empty() || graph.configs.size() > 65536)
    return bad("graph.config", "the configuration table needs 1 to 65536 entries");
  std::unordered_set<std::string_view> names;
  for (std::size_t number = 0; number < graph.nodes.size(); ++number) {
    const Node& node = graph.nodes[number];
    if (!is_good_name(node.name)) return bad("graph.name", fmt::format("'{}' is not a good node name", node.name));
    if (!names.insert(node.name).second) return bad("graph.name", fmt::format("two nodes are called '{}'", node.name));
    if (node.sources.size() != source_count(node.kind))
      return bad("graph.sources", fmt::format("node '{}' ({}) needs {} sources, it has {}", node.name,
                                              name_of(node.kind), source_count(node.kind), node.sources.size()));
    for (const NodeId source : node.sources) {
      if (index(source) >= number)
        return bad("graph.order", fmt::format("node '{}' uses a node that does not come before it", node.name));
    }
    if (node.size == 0 || node.size > kLargestVector)
      return bad("graph.size",
                 fmt::format("node '{}' has {} elements (1 to {} are possible)", node.name, node.size, kLargestVector));
    for (const ConfigId config : node.configs) {
      if (index(config) >= graph.configs.size())
        return bad("graph.config", fmt::format("node '{}' uses configuration {}, there are {}", node.name,
                                               index(config), graph.configs.size()));
    }
    const auto source_size = [&](std::size_t s) { return graph.at(node.sources[s]).size; };
    const Config& config = graph.configs[index(node.configs[0])];
    const auto mismatch = [&](std::string_view what) {
      return bad("graph.size", fmt::format("node '{}' ({}): {}", node.name, name_of(node.kind), what));
    };
    switch (node.kind) {
      case NodeKind::input:
        break;
      case NodeKind::linear:
        if (node.structure.in != source_size(0) || node.structure.out != node.size)
          return mismatch("shape and source do not agree");
        for (const ConfigId c : node.configs) {
          if (graph.configs[index(c)].kind != Config::Kind::mvm)
            return bad("graph.config", fmt::format("node '{}' needs mvm configurations", node.name));
        }
        break;
      case NodeKind::attend: {
        const std::uint64_t kv_size = std::uint64_t{node.kv_heads} * node.head_size;
        if (node.kv_heads == 0 || node.head_size == 0 || node.query_heads % node.kv_heads != 0 ||
            source_size(0) != std::uint64_t{node.query_heads} * node.head_size || source_size(1) != kv_size ||
            source_size(2) != kv_size || node.size != source_size(0))
          return mismatch("heads and sources do not agree");
        break;
      }
      case NodeKind::rope:
        if (config.kind != Config::Kind::rope)
          return bad("graph.config", fmt::format("node '{}' needs a rope configuration", node.name));
        if (config.size == 0 || config.size % 2 != 0 || node.size % config.size != 0)
          return mismatch("head size does not fit");
        if (node.size != source_size(0)) return mismatch("size differs from the source");
        break;
      case NodeKind::norm:
        if (config.kind != Config::Kind::norm)
          return bad("graph.config", fmt::format("node '{}' needs a norm configuration", node.name));
        if (config.n != node.size) return mismatch("configuration is for another size");
        [[fallthrough]];
      case NodeKind::bias:
        if (!is_good_name(node.constant))
          return bad("graph.name", fmt::format("node '{}' needs a constant", node.name));
        [[fallthrough]];
      default:
        for (std::size_t s = 0; s < node.sources.size(); ++s) {
          if (node.size != source_size(s)) return mismatch("size differs from the source");
        }
    }
  }
  for (const NodeId output : graph.outputs) {
    if (index(output) >= graph.nodes.size()) return bad("graph.output", "an output names a node that does not exist");
  }
  return {};
}

}  // namespace danaus
