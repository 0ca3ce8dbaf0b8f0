#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "danaus/program/program.h"

/// What both readers (text and binary) derive and check about the intent and the tables that belong to it.
namespace danaus::program {

/// Fills in what follows from a node's sources and KV regions: its size, and the heads of an attend node. Kind, sources
/// (all before it in the graph), structure and the size of an input are known. Errors: program.heads.
Result<void> complete_node(Node& node, const Graph& graph, const std::vector<KvRegion>& kv);

/// The selections of a graph's gathered operators, each once, in the order of first use: the lists of its program.
std::vector<IndexList> selections_of(const Graph& graph);
/// The number of a gathered operator's selection among the lists of its program.
std::uint32_t list_of(const Structure& structure, const std::vector<IndexList>& lists);

/// Reads lists and their users so that equal programs have equal lists: different ones, in the order of first use, all
/// of them used. Errors: program.list.
class ListReader {
 public:
  Result<void> add(IndexList list, std::vector<IndexList>& lists);
  /// An operator names list `number`, which becomes its selection.
  Result<void> take(std::uint32_t number, const std::vector<IndexList>& lists, Structure& structure);
  Result<void> check_used(const std::vector<IndexList>& lists) const;

 private:
  std::set<std::pair<std::uint64_t, std::uint64_t>> known_;  ///< digests
  std::size_t used_ = 0;
};

/// Marks a node as an output. Errors: program.output (an input, or already an output).
Result<void> add_output(Graph& graph, NodeId id, std::vector<bool>& is_output);

}  // namespace danaus::program
