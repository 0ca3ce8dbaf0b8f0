#pragma once

#include <vector>

#include "danaus/program/program.h"

/// What both readers (text and binary) derive and check about the intent and the tables that belong to it.
namespace danaus::program {

/// Fills in what follows from a node's sources and KV regions: its size, and the heads of an attend node. Kind, sources
/// (all before it in the graph), structure and the size of an input are known. Errors: program.heads.
Result<void> complete_node(Node& node, const Graph& graph, const std::vector<KvRegion>& kv);

/// Marks a node as an output. Errors: program.output (an input, or already an output).
Result<void> add_output(Graph& graph, NodeId id, std::vector<bool>& is_output);

}  // namespace danaus::program
