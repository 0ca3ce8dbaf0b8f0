#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/ids.h"
#include "danaus/core/structure.h"

namespace danaus {

/// What a node of the operator graph computes. Every value is a vector of `Node::size` elements.
enum class NodeKind : std::uint8_t {
  input,   ///< one vector per token from outside
  norm,    ///< (x - mean) / sigma * gain (layer) or x / rms * gain (rms); sources {x}; constant = gain
  linear,  ///< W x; sources {x}; structure says how W is made; configs: one mvm configuration per stage
  bias,    ///< x + constant; sources {x}
  rope,    ///< rotary embedding, each head of `config.size` elements; position = token counter + start; sources {x}
  attend,  ///< softmax(q K^T / sqrt(size)) V over the entries that `span` says; sources {q, k, v}
  add,     ///< sources {a, b}
  mul,     ///< sources {a, b}, element by element
  silu,
  gelu,  ///< exact: x (1 + erf(x / sqrt 2)) / 2
  relu,
  route,     ///< gates: softmax over the config.k largest elements, zero elsewhere; sources {logits}
  blend,     ///< a + gates[element] * b, or a where the gate is zero; sources {a, b}; its guard says which gate
  gelu_tanh  ///< x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, sources {x}
};

std::string_view name_of(NodeKind kind);
bool parse_node_kind(std::string_view text, NodeKind& kind);
std::uint32_t source_count(NodeKind kind);
/// 1 to 255 letters, digits, '.', '_', '-', '/'.
bool is_good_name(std::string_view name);

/// Parameters of a command or node that are not addresses. One table for a whole graph or program; entry 0 always
/// exists.
struct Config {
  enum class Kind : std::uint8_t { mvm, norm, rope, move, route };
  enum class Norm : std::uint8_t { rms, layer };
  enum class Pairs : std::uint8_t { half, adjacent };  ///< element e pairs with e + size/2, or 2e with 2e + 1
  /// How the range of the analog-to-digital converters is set: integers as they are; so that nothing can clip; by the
  /// sum of a column's weights; by data, for all columns of a block or for each; by the user.
  enum class Range : std::uint8_t { lossless, full, l1, cal_shared, cal_column, user };

  Kind kind = Kind::mvm;
  // mvm
  std::uint8_t dac_bits = 8;
  std::uint8_t adc_bits = 8;
  Range range = Range::lossless;
  // norm
  Norm norm = Norm::rms;
  std::uint32_t n = 0;  ///< elements of the normalised vector
  double epsilon = 0;
  // rope
  std::uint32_t size = 0;     ///< head size
  std::uint32_t rotated = 0;  ///< elements of a head that are turned, the first ones (partial rotation); 0 = all
  double theta = 0;
  Pairs pairs = Pairs::half;
  // move
  std::uint8_t bits = 8;  ///< bits per element on the network
  // route
  std::uint32_t k = 0;  ///< gates that are not zero

  /// rope: elements of a head that are turned.
  std::uint32_t turned() const { return rotated == 0 ? size : rotated; }
  bool operator==(const Config&) const = default;
};

/// Which entries an attend node sees.
enum class Span : std::uint8_t {
  earlier,  ///< of this token and those before it
  all,      ///< of all tokens (encoder)
  other     ///< of another token stream: keys and values come from the encoder, queries from the decoder
};
std::string_view name_of(Span span);

/// A node with a guard is computed only for the tokens whose gate is not zero (mixture of experts).
struct Guard {
  NodeId gates{};  ///< a route node
  std::uint32_t element = 0;
  bool operator==(const Guard&) const = default;
};

struct Node {
  std::string name;  ///< unique; letters, digits, '.', '_', '-', '/'
  NodeKind kind = NodeKind::input;
  std::vector<NodeId> sources;
  std::uint32_t size = 0;      ///< elements of the value
  std::string constant;        ///< norm: gain, bias: addend; empty otherwise
  Structure structure;         ///< linear only
  ConfigId configs[2] = {};    ///< linear: mvm configuration of each stage; norm, rope, route: [0]; others 0
  std::optional<Guard> guard;  ///< blend has one always
  /// The program does not execute this node: its weights lie on arrays and wait. Encoder-decoder models are executed
  /// part by part: keys and values of a span `other` are appended when the encoder runs, read when the decoder does.
  bool idle = false;
  // attend only
  KvId kv_first = {};  ///< region of the first kv head; head h uses region kv_first + h
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_size = 0;
  Span span = Span::earlier;

  bool operator==(const Node&) const = default;
};

/// The operator graph: nodes in an order in which every source comes before its users.
/// The model importers make it (all linear nodes dense); the compiler sets structures and configurations and puts it
/// into the program as its intent; the verifier evaluates it as the reference.
struct Graph {
  std::vector<Config> configs = std::vector<Config>(1);
  std::vector<Node> nodes;
  std::vector<NodeId> outputs;

  const Node& at(NodeId id) const { return nodes[index(id)]; }
  Node& at(NodeId id) { return nodes[index(id)]; }
  bool operator==(const Graph&) const = default;
};

/// Whether the program appends keys and values of an attend node / computes its context. For span `other` a program
/// does one of the two, for other spans both or none.
bool appends(const Graph& graph, const Node& attend);
bool computes_context(const Node& attend);

/// The nodes that an encoder-decoder model computes for encoder tokens: what the keys and values of span `other` are
/// made from. All false if there is no such span.
std::vector<bool> encoder_nodes(const Graph& graph);

/// Checks order, names, source counts and sizes of every node (error ids graph.*).
Result<void> validate(const Graph& graph);

}  // namespace danaus
