#include "danaus/program/intent.h"

#include <fmt/format.h>

#include <algorithm>

#include "danaus/core/internal_error.h"

namespace danaus::program {
namespace {

/// Heads follow from the sizes of the sources and the head size of the first region. Every region that the node uses
/// has to agree: one region per kv head, the same head size and start, and the query heads split evenly.
Result<void> complete_attend(Node& node, const Graph& graph, const std::vector<KvRegion>& kv) {
  const auto bad = [&](std::string text) {
    return fail(Error("program.heads", Failure::bad_input, fmt::format("node '{}' (attend): {}", node.name, text)));
  };
  const std::uint32_t first = index(node.kv_first);
  if (first >= kv.size()) return bad(fmt::format("there is no KV region {}, there are {}", first, kv.size()));
  const KvRegion& region = kv[first];
  const std::uint32_t query_size = graph.at(node.sources[0]).size;
  const std::uint32_t key_size = graph.at(node.sources[1]).size;
  if (region.size == 0 || query_size % region.size != 0 || key_size % region.size != 0)
    return bad(fmt::format(
        "queries ({} elements) and keys ({}) are not made of heads of {} elements, the size of KV region {}",
        query_size, key_size, region.size, first));
  node.head_size = region.size;
  node.query_heads = query_size / region.size;
  node.kv_heads = key_size / region.size;
  if (node.kv_heads == 0 || node.query_heads % node.kv_heads != 0)
    return bad(fmt::format("{} query heads do not split evenly over {} kv heads", node.query_heads, node.kv_heads));
  if (node.kv_heads > kv.size() - first)
    return bad(fmt::format("{} kv heads need the KV regions {} to {}, there are {}", node.kv_heads, first,
                           std::uint64_t{first} + node.kv_heads - 1, kv.size()));
  for (std::uint32_t head = 0; head < node.kv_heads; ++head) {
    const KvRegion& other = kv[first + head];
    if (other.size != region.size || other.start != region.start)
      return bad(fmt::format("KV regions {} and {} differ in head size or start", first, first + head));
    if (other.queries != node.query_heads / node.kv_heads)
      return bad(fmt::format("KV region {} is for {} query heads, the node has {} per kv head", first + head,
                             other.queries, node.query_heads / node.kv_heads));
  }
  return {};
}

}  // namespace

Result<void> complete_node(Node& node, const Graph& graph, const std::vector<KvRegion>& kv) {
  if (node.kind == NodeKind::input) return {};
  if (node.kind == NodeKind::linear) {
    node.size = node.structure.out;
    return {};
  }
  node.size = graph.at(node.sources[0]).size;
  return node.kind == NodeKind::attend ? complete_attend(node, graph, kv) : Result<void>{};
}

std::vector<IndexList> selections_of(const Graph& graph) {
  std::vector<IndexList> lists;
  std::set<std::pair<std::uint64_t, std::uint64_t>> known;
  for (const Node& node : graph.nodes) {
    if (node.kind != NodeKind::linear || node.structure.kind != Structure::Kind::gather) continue;
    const Digest digest = node.structure.selection.digest();
    if (known.emplace(digest.high, digest.low).second) lists.push_back(node.structure.selection);
  }
  return lists;
}

std::uint32_t list_of(const Structure& structure, const std::vector<IndexList>& lists) {
  const auto found = std::find(lists.begin(), lists.end(), structure.selection);
  ensure(found != lists.end(), "the lists of a program have the selections of its operators");
  return static_cast<std::uint32_t>(found - lists.begin());
}

Result<void> ListReader::add(IndexList list, std::vector<IndexList>& lists) {
  const Digest digest = list.digest();
  if (!known_.emplace(digest.high, digest.low).second)
    return fail(Error("program.list", Failure::bad_input, "a list has the same entries as one before it")
                    .with_hint("operators with equal selections name the same list"));
  lists.push_back(std::move(list));
  return {};
}

Result<void> ListReader::take(std::uint32_t number, const std::vector<IndexList>& lists, Structure& structure) {
  if (number >= lists.size())
    return fail(Error("program.list", Failure::bad_input,
                      fmt::format("there is no list {}, there are {}", number, lists.size())));
  if (number > used_)
    return fail(Error("program.list", Failure::bad_input,
                      fmt::format("list {} is used before list {}: they are in order of first use", number, used_)));
  used_ = std::max<std::size_t>(used_, std::size_t{number} + 1);
  structure.selection = lists[number];
  return {};
}

Result<void> ListReader::check_used(const std::vector<IndexList>& lists) const {
  if (used_ == lists.size()) return {};
  return fail(Error("program.list", Failure::bad_input, fmt::format("no operator uses list {}", used_)));
}

Result<void> add_output(Graph& graph, NodeId id, std::vector<bool>& is_output) {
  is_output.resize(graph.nodes.size());
  const Node& node = graph.at(id);
  if (node.kind == NodeKind::input)
    return fail(Error("program.output", Failure::bad_input,
                      fmt::format("input '{}' cannot be an output, it is not computed", node.name)));
  if (is_output[index(id)])
    return fail(Error("program.output", Failure::bad_input, fmt::format("'{}' is an output already", node.name)));
  is_output[index(id)] = true;
  graph.outputs.push_back(id);
  return {};
}

}  // namespace danaus::program
