#include "danaus/model/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "danaus/model/builder.h"
#include "danaus/model/families.h"

// One builder for every transformer: what a layer consists of comes from the shape and its family, what the tensors are
// called from the importer's names.
// Sources: Vaswani et al. 2017 (arXiv:1706.03762), encoder and decoder; Devlin et al. 2019 (arXiv:1810.04805), bert;
// Radford et al. 2019, gpt2 (norms at the input of each branch); Lewis et al. 2019 (arXiv:1910.13461), bart;
// Touvron et al. 2023 (arXiv:2302.13971), llama; Ainslie et al. 2023 (arXiv:2305.13245), grouped queries.

namespace danaus::model {
namespace {

class Transformer {
 public:
  Transformer(const Shape& shape, const LayoutNames& names, std::optional<std::vector<Tensor>> tensors)
      : shape_(shape),
        size_(shape.dimensions),
        names_(names),
        family_(info_of(shape.family)),
        builder_(shape, std::move(tensors)) {}

  Result<Model> build() && {
    norm_config_ = builder_.config(norm_settings());
    if (family_.rotary)
      rope_config_ = builder_.config({.kind = Config::Kind::rope,
                                      .size = size_.head_size,
                                      .rotated = shape_.rotary,
                                      .theta = shape_.theta,
                                      .pairs = shape_.pairs});
    if (size_.experts != 0)
      route_config_ = builder_.config({.kind = Config::Kind::route, .k = size_.experts_per_token});
    look_up_tokens();
    Embedding embedding = embed(names_.layers);
    embedding.types = look_up_types();
    NodeId x = input("x", std::move(embedding));
    for (std::uint32_t layer = 0; layer < size_.layers && !builder_.failed(); ++layer) {
      enter(names_.layers, layer, layer);
      x = add_layer(x, family_.encoder ? Span::all : Span::earlier, std::nullopt);
    }
    if (size_.decoder_layers != 0) x = decode(x);
    if (!names_.final_norm.empty()) {
      prefix_.clear();
      x = norm(names_.final_norm, x);
    }
    builder_.output(x);
    add_head();
    set_aside(names_.unused, "");
    return std::move(builder_).finish();
  }

 private:
  /// An operator and where its weights are: `out` outputs of the `whole` of a tensor, beginning with `first`; stacked:
  /// of that many matrices, one below the other.
  struct Part {
    std::string name;
    std::string tensor;
    std::uint32_t out = 0;
    std::uint64_t whole = 0;
    std::uint64_t first = 0;
    std::uint64_t stacked = 0;
  };
  /// What cross-attention sees of the encoder, for one layer.
  struct Entries {
    NodeId key{}, value{};
  };

  std::uint32_t query_size() const { return size_.heads * size_.head_size; }
  std::uint32_t kv_size() const { return size_.kv_heads * size_.head_size; }

  void enter(const StackNames& names, std::uint32_t number, std::uint32_t layer) {
    layer_names_ = &names;
    prefix_ = fmt::format("{}{}.", names.prefix, number);
    builder_.set_layer(layer);
    set_aside(names.unused, prefix_);
  }

  void set_aside(const std::vector<UnusedTensor>& tensors, const std::string& prefix) {
    for (const UnusedTensor& unused : tensors) {
      if (unused.name.ends_with('.')) {
        builder_.outside_beginning(prefix + unused.name, unused.reason);
      } else {
        builder_.outside(prefix + unused.name, unused.reason);
      }
    }
  }

  /// The token embedding; a file has it by one of its names or several.
  void look_up_tokens() {
    std::string name = names_.token_embedding;
    for (const std::string& copy : names_.embedding_copies) {
      if (!builder_.has_tensor(name + ".weight") && builder_.has_tensor(copy + ".weight")) name = copy;
    }
    token_embedding_ =
        builder_.matrix_outside(name, name + ".weight", size_.vocab, size_.hidden, "embedding: a row is looked up");
    for (const std::string& copy : names_.embedding_copies)
      builder_.outside(copy + ".weight", "embedding: the same as " + name);
  }

  /// What happens to a token before the first layer.
  Embedding embed(const StackNames& names) {
    Embedding embedding;
    embedding.vocab = size_.vocab;
    embedding.size = size_.hidden;
    embedding.scale = shape_.embedding_scale;
    if (token_embedding_ != nullptr) embedding.tokens.tensor = *token_embedding_;
    if (!names.position_embedding.empty()) {
      const Tensor* positions = builder_.matrix_outside(names.position_embedding, names.position_embedding + ".weight",
                                                        std::uint64_t{size_.context} + names_.unused_positions,
                                                        size_.hidden, "position embedding: a row is looked up");
      if (positions != nullptr)
        embedding.positions = WeightView{.tensor = *positions, .first = names_.unused_positions};
      embedding.position_count = size_.context;
    }
    if (!names.embedding_norm.empty()) {
      embedding.gain = builder_.constant_outside(names.embedding_norm + names_.gain, size_.hidden);
      if (shape_.norm == Config::Norm::layer)
        embedding.offset = builder_.constant_outside(names.embedding_norm + names_.offset, size_.hidden);
      embedding.norm = norm_settings();
    }
    return embedding;
  }

  /// The token type embedding, which some files lack; all text is of the first type.
  std::optional<WeightView> look_up_types() {
    const std::string name = names_.type_embedding + ".weight";
    if (names_.type_embedding.empty() || !builder_.has_tensor(name)) return std::nullopt;
    const Tensor* types =
        builder_.matrix_outside(names_.type_embedding, name, std::max<std::uint64_t>(1, rows_of(name)), size_.hidden,
                                "token type embedding: a row is looked up");
    if (types == nullptr) return std::nullopt;
    return WeightView{.tensor = *types};
  }

  std::uint64_t rows_of(const std::string& tensor) const {
    const std::vector<std::uint64_t>& shape = builder_.tensor(tensor).shape;
    return shape.empty() ? 0 : shape.front();
  }

  NodeId input(const std::string& name, Embedding embedding) {
    embedding.input = builder_.input(name, size_.hidden);
    const NodeId node = embedding.input;
    if (token_embedding_ != nullptr) builder_.embedding(std::move(embedding));
    return node;
  }

  Config norm_settings() const {
    return {.kind = Config::Kind::norm, .norm = shape_.norm, .n = size_.hidden, .epsilon = shape_.epsilon};
  }

  /// A part that is a tensor of its own.
  static Part own(const std::string& name, std::uint32_t out) {
    return {.name = name, .tensor = name, .out = out, .whole = out};
  }

  NodeId linear(const Part& part, NodeId source) {
    const std::string tensor = prefix_ + part.tensor + ".weight";
    GraphBuilder::Piece piece = {.tensor = tensor,
                                 .shape = {part.whole, builder_.size_of(source)},
                                 .first = part.first,
                                 .transposed = names_.transposed};
    if (names_.transposed) std::swap(piece.shape[0], piece.shape[1]);
    if (part.stacked != 0) piece.shape.insert(piece.shape.begin(), part.stacked);
    return builder_.linear(prefix_ + part.name, piece, source, part.out);
  }

  NodeId bias(const Part& part, NodeId source) {
    const std::string tensor = prefix_ + part.tensor + ".bias";
    return builder_.bias(prefix_ + part.name + ".bias", {.tensor = tensor, .shape = {part.whole}, .first = part.first},
                         source);
  }

  /// Operators with the same source: the linear nodes first, as neighbours, then their biases.
  std::vector<NodeId> linears(const std::vector<Part>& parts, NodeId source, bool biased) {
    std::vector<NodeId> results;
    for (const Part& part : parts) results.push_back(linear(part, source));
    if (!biased) return results;
    for (std::size_t n = 0; n < parts.size(); ++n) results[n] = bias(parts[n], results[n]);
    return results;
  }

  NodeId norm(const std::string& part, NodeId source) {
    const NodeId scaled = builder_.norm(prefix_ + part, source, norm_config_, prefix_ + part + names_.gain);
    if (shape_.norm == Config::Norm::rms) return scaled;
    return builder_.bias(prefix_ + part + names_.offset, scaled);
  }

  NodeId add(const std::string& name, NodeId a, NodeId b) {
    return builder_.combine(NodeKind::add, prefix_ + name, a, b);
  }

  bool has_biases() const { return shape_.biases == Biases::all; }
  bool has_qkv_biases() const { return shape_.biases != Biases::none; }

  NodeId self_attention(NodeId source, Span span) {
    const StackNames& names = *layer_names_;
    std::vector<Part> parts = {own(names.query, query_size()), own(names.key, kv_size()), own(names.value, kv_size())};
    if (!names.fused_qkv.empty()) {
      const std::uint64_t whole = std::uint64_t{query_size()} + 2 * std::uint64_t{kv_size()};
      const std::string& fused = names.fused_qkv;
      parts = {{fused + ".q", fused, query_size(), whole, 0},
               {fused + ".k", fused, kv_size(), whole, query_size()},
               {fused + ".v", fused, kv_size(), whole, std::uint64_t{query_size()} + kv_size()}};
    }
    const std::vector<NodeId> qkv = linears(parts, source, has_qkv_biases());
    NodeId query = qkv[0], key = qkv[1];
    if (family_.rotary) {
      query = builder_.rope(prefix_ + parts[0].name + ".rope", query, rope_config_);
      key = builder_.rope(prefix_ + parts[1].name + ".rope", key, rope_config_);
    }
    const NodeId context = builder_.attend(prefix_ + "attend", query, key, qkv[2], span);
    return linears({own(names.attention_output, size_.hidden)}, context, has_biases()).front();
  }

  NodeId cross_attention(NodeId source, const Entries& entries) {
    const StackNames& names = *layer_names_;
    const NodeId query = linears({own(names.cross_query, query_size())}, source, has_qkv_biases()).front();
    const NodeId context = builder_.attend(prefix_ + "cross_attend", query, entries.key, entries.value, Span::other);
    return linears({own(names.cross_output, size_.hidden)}, context, has_biases()).front();
  }

  /// [gate and] up, activation, down; `infix` tells the nodes of one expert from those of another.
  NodeId multilayer_perceptron(const std::vector<Part>& gate_up, const Part& down, NodeId source,
                               const std::string& infix) {
    const std::vector<NodeId> wide = linears(gate_up, source, has_biases());
    NodeId inner = builder_.activation(prefix_ + infix, wide.front());
    if (shape_.gated) inner = builder_.combine(NodeKind::mul, prefix_ + infix + "mul", inner, wide.back());
    return linears({down}, inner, has_biases()).front();
  }

  NodeId feed_forward(NodeId source) {
    const StackNames& names = *layer_names_;
    std::vector<Part> gate_up = {own(names.up, size_.ffn)};
    if (shape_.gated) gate_up.insert(gate_up.begin(), own(names.gate, size_.ffn));
    if (shape_.gated && !names.fused_gate_up.empty()) {
      const std::uint64_t whole = 2 * std::uint64_t{size_.ffn};
      gate_up = {{names.fused_gate_up + ".gate", names.fused_gate_up, size_.ffn, whole, 0},
                 {names.fused_gate_up + ".up", names.fused_gate_up, size_.ffn, whole, size_.ffn}};
    }
    return multilayer_perceptron(gate_up, own(names.down, size_.hidden), source, "ffn.");
  }

  /// A part of one expert: a tensor of its own, or one matrix of a stack.
  Part expert_part(const std::string& name, std::uint32_t expert, std::uint32_t out) const {
    if (layer_names_->stacked_experts)
      return {fmt::format("{}.{}", name, expert), name, out, out, std::uint64_t{expert} * out, size_.experts};
    std::string numbered = name;
    numbered.replace(numbered.find('*'), 1, fmt::format("{}", expert));
    return own(numbered, out);
  }

  /// x and the outputs of those experts that the router chooses, by their gates (Fedus et al. 2021, arXiv:2101.03961;
  /// Jiang et al. 2024, arXiv:2401.04088).
  NodeId add_experts(NodeId x, NodeId source) {
    const StackNames& names = *layer_names_;
    const NodeId logits = linears({own(names.router, size_.experts)}, source, has_biases()).front();
    const NodeId gates = builder_.route(prefix_ + "ffn.route", logits, route_config_);
    for (std::uint32_t expert = 0; expert < size_.experts && !builder_.failed(); ++expert) {
      const std::string infix = fmt::format("ffn.{}.", expert);
      std::vector<Part> gate_up = {expert_part(names.expert_up, expert, size_.ffn)};
      if (shape_.gated) gate_up.insert(gate_up.begin(), expert_part(names.expert_gate, expert, size_.ffn));
      builder_.set_guard(gates, expert);
      const NodeId result =
          multilayer_perceptron(gate_up, expert_part(names.expert_down, expert, size_.hidden), source, infix);
      x = builder_.blend(prefix_ + infix + "blend", x, result);
      builder_.clear_guard();
    }
    return x;
  }

  /// `entries`: of the encoder, for cross-attention.
  NodeId add_layer(NodeId x, Span span, const std::optional<Entries>& entries) {
    const StackNames& names = *layer_names_;
    if (family_.norm_after) {
      x = norm(names.attention_norm, add("attn.add", x, self_attention(x, span)));
      if (entries) x = norm(names.cross_norm, add("cross.add", x, cross_attention(x, *entries)));
      return norm(names.feed_forward_norm, add("ffn.add", x, feed_forward(x)));
    }
    const NodeId attended = norm(names.attention_norm, x);
    x = add("attn.add", x, self_attention(attended, span));
    const NodeId source = shape_.parallel ? attended : norm(names.feed_forward_norm, x);
    return size_.experts == 0 ? add("ffn.add", x, feed_forward(source)) : add_experts(x, source);
  }

  /// The decoder of an encoder-decoder model. Keys and values of its cross-attention are made from the encoder's output
  /// alone, for all layers at once.
  NodeId decode(NodeId encoded) {
    Embedding embedding = embed(names_.decoder_layers);
    std::vector<Entries> entries;
    for (std::uint32_t layer = 0; layer < size_.decoder_layers && !builder_.failed(); ++layer) {
      enter(names_.decoder_layers, layer, size_.layers + layer);
      const StackNames& names = *layer_names_;
      const std::vector<NodeId> both =
          linears({own(names.cross_key, kv_size()), own(names.cross_value, kv_size())}, encoded, has_qkv_biases());
      entries.push_back({both[0], both[1]});
    }
    NodeId y = input("y", std::move(embedding));
    for (std::uint32_t layer = 0; layer < size_.decoder_layers && !builder_.failed(); ++layer) {
      enter(names_.decoder_layers, layer, size_.layers + layer);
      y = add_layer(y, Span::earlier, entries[layer]);
    }
    return y;
  }

  void add_head() {
    if (names_.head.empty()) return builder_.outside(names_.head_bias, "bias of the lm head");
    Head head;
    head.name = names_.head;
    head.vocab = size_.vocab;
    head.size = size_.hidden;
    head.tied = shape_.tied_embeddings;
    // Some files keep a tied head although it is the embedding again.
    const std::string weight = names_.head + ".weight";
    const std::string reason = shape_.tied_embeddings ? "lm head (tied to the embedding)" : "lm head";
    const Tensor* tensor = token_embedding_;
    if (shape_.tied_embeddings && !builder_.has_tensor(weight)) {
      builder_.list_outside(names_.head, size_.vocab, size_.hidden, reason);
    } else {
      tensor = builder_.matrix_outside(names_.head, weight, size_.vocab, size_.hidden, reason);
    }
    if (!names_.head_bias.empty() && builder_.has_tensor(names_.head_bias)) head.bias = head_bias();
    if (tensor == nullptr) return;
    head.weight.tensor = *tensor;
    builder_.head(std::move(head));
  }

  /// {vocab}, or {1, vocab} as bart has it.
  std::optional<ConstantView> head_bias() {
    if (builder_.tensor(names_.head_bias).shape.size() != 2)
      return builder_.constant_outside(names_.head_bias, size_.vocab);
    const Tensor* row =
        builder_.matrix_outside(names_.head_bias, names_.head_bias, 1, size_.vocab, "bias of the lm head");
    if (row == nullptr) return std::nullopt;
    return ConstantView{.name = names_.head_bias, .tensor = *row, .first = 0, .count = size_.vocab};
  }

  const Shape& shape_;
  const Dimensions& size_;
  const LayoutNames& names_;
  const FamilyInfo& family_;
  GraphBuilder builder_;
  const Tensor* token_embedding_ = nullptr;
  ConfigId norm_config_{}, rope_config_{}, route_config_{};
  const StackNames* layer_names_ = nullptr;
  std::string prefix_;  ///< of the layer that is being built
};

}  // namespace

Result<Model> build_transformer(const Shape& shape, const LayoutNames& names,
                                std::optional<std::vector<Tensor>> tensors) {
  return Transformer(shape, names, std::move(tensors)).build();
}

}  // namespace danaus::model
