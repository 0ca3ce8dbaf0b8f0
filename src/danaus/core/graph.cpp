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
constexpr std::array<KindInfo, 14> kKinds = {{{"input", 0},
                                              {"norm", 1},
                                              {"linear", 1},
                                              {"bias", 1},
                                              {"rope", 1},
                                              {"attend", 3},
                                              {"add", 2},
                                              {"mul", 2},
                                              {"silu", 1},
                                              {"gelu", 1},
                                              {"relu", 1},
                                              {"route", 1},
                                              {"blend", 2},
                                              {"gelu_tanh", 1}}};

/// Idle nodes and guards: whatever a node that is executed uses is executed too.
Result<void> check_execution(const Graph& graph, const Node& node, std::size_t number) {
  const auto bad = [&](std::string text) {
    return fail(Error("graph.execution", Failure::bad_input, fmt::format("node '{}': {}", node.name, std::move(text))));
  };
  const bool crosses = node.kind == NodeKind::attend && node.span == Span::other;
  if (crosses) {
    if (graph.at(node.sources[1]).idle != graph.at(node.sources[2]).idle)
      return bad("of its keys and values one is idle and one is not");
  }
  for (std::size_t s = 0; s < node.sources.size(); ++s) {
    const Node& source = graph.at(node.sources[s]);
    if (!node.idle && source.idle && !(crosses && s != 0))
      return bad(fmt::format("it is executed and its source '{}' is idle", source.name));
    // A guarded value exists for some tokens only, so it is used under the same guard or not at all.
    const bool is_base = node.kind == NodeKind::blend && s == 0;
    if (source.guard && source.kind != NodeKind::blend && (is_base || source.guard != node.guard))
      return bad(fmt::format("its source '{}' has another guard", source.name));
  }
  if (node.kind == NodeKind::blend && !node.guard) return bad("a blend needs a guard");
  if (!node.guard) return {};
  if (node.kind == NodeKind::input || node.kind == NodeKind::attend || node.kind == NodeKind::route)
    return bad("inputs, attention and routes cannot have a guard");
  if (index(node.guard->gates) >= number || graph.at(node.guard->gates).kind != NodeKind::route ||
      node.guard->element >= graph.at(node.guard->gates).size)
    return bad("its guard is no element of a route node before it");
  if (!node.idle && graph.at(node.guard->gates).idle) return bad("it is executed and its guard is idle");
  return {};
}

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

std::string_view name_of(Span span) {
  constexpr std::array<std::string_view, 3> kNames = {"earlier", "all", "other"};
  return kNames[static_cast<std::size_t>(span)];
}

bool appends(const Graph& graph, const Node& attend) { return !graph.at(attend.sources[1]).idle; }
bool computes_context(const Node& attend) { return !attend.idle; }

std::vector<bool> encoder_nodes(const Graph& graph) {
  std::vector<bool> is_encoder(graph.nodes.size());
  // Sources come before their users, so one pass backwards marks all that a marked node is made from.
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    for (std::size_t s = 0; s < node.sources.size(); ++s) {
      if (is_encoder[n] || (node.kind == NodeKind::attend && node.span == Span::other && s != 0))
        is_encoder[index(node.sources[s])] = true;
    }
  }
  return is_encoder;
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
    DANAUS_CHECK(check_execution(graph, node, number));
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
        if (Result<void> good = check_selection(node.structure); !good)
          return fail(std::move(good).error().note(fmt::format("node '{}'", node.name)));
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
        if (config.size == 0 || config.turned() % 2 != 0 || config.rotated >= config.size ||
            node.size % config.size != 0)
          return mismatch("head size does not fit");
        if (node.size != source_size(0)) return mismatch("size differs from the source");
        break;
      case NodeKind::route:
        if (config.kind != Config::Kind::route)
          return bad("graph.config", fmt::format("node '{}' needs a route configuration", node.name));
        if (config.k == 0 || config.k > node.size || node.size != source_size(0))
          return mismatch(fmt::format("{} of {} gates are not possible", config.k, node.size));
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
    const Node& node = graph.at(output);
    if (node.guard && node.kind != NodeKind::blend)
      return bad("graph.execution", fmt::format("node '{}': an output has a value for every token", node.name));
  }
  return {};
}

}  // namespace danaus
