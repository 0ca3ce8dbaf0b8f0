// Executes the operator graph of a model node by node over all tokens of a batch. An encoder-decoder model is executed
// part by part: the encoder with the keys and values of the cross-attentions, then the decoder.
//
// A value is {rows, size}: one row per token, or, for a node of one expert (guard), one row per token whose gate is not
// zero. A buffer goes back to the pool when the last user of its value is done.
// Sums of norms are in double precision over eight fixed lanes; angles of the rotary embedding too.

#include "danaus/nn/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/nn/attention.h"
#include "danaus/nn/elementwise.h"
#include "danaus/nn/matrix.h"

namespace danaus::nn {
namespace {

constexpr std::size_t kChunkElements = 1u << 14;

/// body(first, last) for chunks of rows of `size` elements.
template <typename Body>
void for_rows(std::size_t rows, std::size_t size, const Body& body) {
  const std::size_t chunk = std::max<std::size_t>(1, kChunkElements / std::max<std::size_t>(1, size));
  if (rows <= chunk) {
    if (rows != 0) body(std::size_t{0}, rows);
    return;
  }
  parallel_for(rows, chunk, body);
}

/// Sum of f(x[e]) over eight lanes in fixed order.
template <typename Function>
double sum_of(const float* x, std::size_t n, Function f) {
  std::array<double, 8> lanes = {};
  std::size_t e = 0;
  for (; e + lanes.size() <= n; e += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] += f(static_cast<double>(x[e + lane]));
  }
  for (std::size_t lane = 0; e < n; ++e, ++lane) lanes[lane] += f(static_cast<double>(x[e]));
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// One row: (x - mean) / sigma * gain, the mean of a rms norm being zero.
void normalise(const Config& config, const float* x, const float* gain, float* y, std::size_t n) {
  const double count = static_cast<double>(n);
  const double mean = config.norm == Config::Norm::layer ? sum_of(x, n, [](double v) { return v; }) / count : 0;
  const double variance = sum_of(x, n, [mean](double v) { return (v - mean) * (v - mean); }) / count;
  const double inverse = 1 / std::sqrt(variance + config.epsilon);
  for (std::size_t e = 0; e < n; ++e) y[e] = static_cast<float>((static_cast<double>(x[e]) - mean) * inverse) * gain[e];
}

std::vector<float> read_constant(const model::ConstantView& view) {
  const std::uint64_t columns = view.tensor.shape.back();
  std::vector<float> whole(view.tensor.elements());
  model::dequantise_rows(view.tensor, 0, whole.size() / columns, whole);
  return {whole.begin() + static_cast<std::ptrdiff_t>(view.first),
          whole.begin() + static_cast<std::ptrdiff_t>(view.first + view.count)};
}

/// Buffers that are used again: fresh memory would cost a page fault per 4 KB, again and again.
class Pool {
 public:
  struct Buffer {
    std::unique_ptr<float[]> data;
    std::size_t capacity = 0;
  };
  Buffer take(std::size_t size) {
    std::size_t best = free_.size();
    for (std::size_t n = 0; n < free_.size(); ++n) {
      if (free_[n].capacity >= size && (best == free_.size() || free_[n].capacity < free_[best].capacity)) best = n;
    }
    if (best == free_.size()) return {std::make_unique_for_overwrite<float[]>(size), size};
    Buffer buffer = std::move(free_[best]);
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(best));
    return buffer;
  }
  void give_back(Buffer buffer) {
    if (buffer.data) free_.push_back(std::move(buffer));
  }

 private:
  std::vector<Buffer> free_;
};

struct Value {
  Pool::Buffer buffer;
  std::size_t rows = 0;
  std::size_t users = 0;  ///< that are still to come
  float* data() const { return buffer.data.get(); }
};

/// What comes before the graph, ready to be looked up.
struct Lookup {
  const model::Embedding* source = nullptr;
  std::vector<float> type, gain, offset;
};

/// Tokens of one sequence in a batch.
struct Segment {
  Sequence* sequence = nullptr;
  std::span<const TokenId> ids;
  std::size_t first = 0;  ///< row of its first token
  std::size_t start = 0;  ///< position of its first token
};

}  // namespace

class Transformer::Implementation {
 public:
  Implementation(const model::Model& model, LinearBackend& backend) : model_(model), backend_(backend) {
    const Graph& graph = model.graph;
    constants_.resize(graph.nodes.size());
    number_.assign(graph.nodes.size(), 0);
    std::map<std::string_view, const model::ConstantView*> views;
    for (const model::ConstantView& view : model.constants) views[view.name] = &view;
    std::size_t attends = 0;
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (!node.constant.empty()) constants_[n] = read_constant(*views.at(node.constant));
      if (node.kind == NodeKind::attend) {
        number_[n] = attends++;
        has_encoder_ |= node.span != Span::earlier;
        has_decoder_ |= node.span == Span::earlier;
      }
    }
    attends_ = attends;
    for (std::size_t n = 0; n < model.linear.size(); ++n) number_[index(model.linear[n].node)] = n;
    is_encoder_ = encoder_nodes(graph);
    crosses_ = std::find(is_encoder_.begin(), is_encoder_.end(), true) != is_encoder_.end();
    if (!crosses_ && has_encoder_) is_encoder_.assign(graph.nodes.size(), true);
    encoder_output_ = crosses_ ? cross_source() : graph.outputs.front();
    for (const model::Embedding& embedding : model.embeddings) lookups_.push_back(prepare(embedding));
    if (model.head) {
      model::LinearOperator operation;
      operation.name = model.head->name;
      operation.out = model.head->vocab;
      operation.in = model.head->size;
      operation.weight = model.head->weight;
      head_.emplace(std::move(operation), true);
      if (model.head->bias) head_bias_ = read_constant(*model.head->bias);
    }
  }

  const model::Model& model() const { return model_; }
  bool has_encoder() const { return has_encoder_; }
  bool has_decoder() const { return has_decoder_; }
  bool crosses() const { return crosses_; }
  bool has_head() const { return head_.has_value(); }
  std::size_t context() const {
    std::size_t most = model_.dimensions.context;
    for (const model::Embedding& embedding : model_.embeddings) {
      if (embedding.position_count != 0) most = std::min<std::size_t>(most, embedding.position_count);
    }
    return most;
  }
  std::size_t attends() const { return attends_; }
  std::uint64_t next_token() const { return next_token_; }
  void set_next_token(std::uint64_t number) { next_token_ = number; }

  /// Checks a batch and numbers its rows. Encoders begin at position 0, decoders behind what the sequence has.
  Result<std::vector<Segment>> segments(std::span<const Step> batch, bool encoder) const {
    std::vector<Segment> segments;
    std::size_t rows = 0;
    for (std::size_t n = 0; n < batch.size(); ++n) {
      const Step& step = batch[n];
      const auto which = [&] {
        return batch.size() == 1 ? std::string() : fmt::format("text {} of the batch: ", n + 1);
      };
      const std::size_t start = encoder || step.sequence == nullptr ? 0 : step.sequence->length_;
      if (step.ids.empty())
        return fail(Error("nn.no-tokens", Failure::bad_input, which() + "there are no tokens")
                        .with_hint("the text is empty, or the tokenizer made nothing of it"));
      if (start + step.ids.size() > context())
        return fail(Error("nn.context", Failure::bad_input,
                          fmt::format("{}{} tokens are more than the {} that the model can see at once", which(),
                                      start + step.ids.size(), context()))
                        .with_hint("shorten the text, or cut it into windows"));
      for (std::size_t t = 0; t < step.ids.size(); ++t) {
        if (step.ids[t] >= model_.dimensions.vocab)
          return fail(Error("nn.token-id", Failure::bad_input,
                            fmt::format("{}token {} is {}, the vocabulary has {}", which(), t + 1, step.ids[t],
                                        model_.dimensions.vocab))
                          .with_hint("the ids belong to the vocabulary of another model"));
      }
      segments.push_back({step.sequence, step.ids, rows, start});
      rows += step.ids.size();
    }
    return segments;
  }

  Result<void> set_constants(std::span<const std::pair<std::string, std::vector<float>>> constants) {
    const std::vector<Node>& nodes = model_.graph.nodes;
    for (const auto& [name, values] : constants) {
      bool is_known = false;
      for (std::size_t n = 0; n < nodes.size(); ++n) {
        if (nodes[n].constant != name || constants_[n].size() != values.size()) continue;
        constants_[n] = values;
        is_known = true;
      }
      if (!is_known)
        return fail(Error("nn.constant", Failure::bad_input,
                          fmt::format("'{}' has no gain or bias '{}' of {} elements", model_.name, name, values.size()))
                        .with_hint("the constants belong to another model"));
    }
    return {};
  }

  /// Vectors that go into the graph of a model with one input.
  std::vector<float> embed_all(const std::vector<Segment>& segments) const {
    const NodeId input = lookups_.front().source->input;
    std::size_t rows = 0;
    for (const Segment& segment : segments) rows += segment.ids.size();
    std::vector<float> vectors(rows * lookups_.front().source->size);
    embed(input, segments, vectors.data());
    return vectors;
  }

  /// Runs one part of the graph; the rows of `wanted`.
  Result<std::vector<float>> run(std::vector<Segment>& segments, bool encoder, NodeId wanted) {
    const Graph& graph = model_.graph;
    std::vector<Value> values(graph.nodes.size());
    std::size_t rows = 0;
    for (const Segment& segment : segments) rows += segment.ids.size();
    count_users(values, encoder, wanted);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::uint32_t>> chosen;
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      const bool crosses = node.kind == NodeKind::attend && node.span == Span::other;
      if (encoder && crosses) {
        append(node, n, values, segments);
        release(values, node.sources[1]);
        release(values, node.sources[2]);
      }
      if (is_encoder_[n] != encoder) continue;
      const std::vector<std::uint32_t>* subset = nullptr;
      if (node.guard) {
        const std::pair<std::uint32_t, std::uint32_t> gate = {index(node.guard->gates), node.guard->element};
        const auto [entry, is_new] = chosen.try_emplace(gate);
        if (is_new) entry->second = rows_with_gate(values[gate.first], graph.nodes[gate.first].size, gate.second);
        subset = &entry->second;
      }
      Value& value = values[n];
      value.rows = is_compact(node) ? subset->size() : rows;
      value.buffer = pool_.take(std::max<std::size_t>(1, value.rows * node.size));
      DANAUS_CHECK(compute(n, values, segments, subset));
      DANAUS_CHECK(check_finite(node, value, segments, is_compact(node) ? subset : nullptr));
      for (std::size_t s = 0; s < node.sources.size(); ++s) {
        if (!(crosses && s != 0)) release(values, node.sources[s]);
      }
      if (node.guard) release(values, node.guard->gates);
      if (value.users == 0) give_back(value);
    }
    const Value& result = values[index(wanted)];
    std::vector<float> outputs(result.data(), result.data() + result.rows * graph.at(wanted).size);
    next_token_ += rows;
    for (Value& value : values) give_back(value);
    return outputs;
  }

  NodeId encoder_output() const { return encoder_output_; }

  Result<void> logits(std::span<const float> outputs, std::span<float> logits, std::size_t first_row) const {
    const std::size_t tokens = outputs.size() / head_->in(), vocab = head_->out();
    head_->multiply(outputs, tokens, logits);
    std::vector<std::uint8_t> finite(tokens);
    for_rows(tokens, vocab, [&](std::size_t first, std::size_t last) {
      for (std::size_t token = first; token < last; ++token) {
        float* row = logits.data() + token * vocab;
        for (std::size_t e = 0; e < head_bias_.size(); ++e) row[e] += head_bias_[e];
        finite[token] = all_finite(row, vocab) ? 1 : 0;
      }
    });
    for (std::size_t token = 0; token < tokens; ++token) {
      if (finite[token] == 0)
        return fail(Error("nn.non-finite", Failure::bad_input,
                          fmt::format("the lm head '{}' gives a value that is no finite number for output {}",
                                      model_.head->name, first_row + token + 1)));
    }
    return {};
  }

 private:
  static Lookup prepare(const model::Embedding& embedding) {
    Lookup lookup;
    lookup.source = &embedding;
    if (embedding.types) {
      lookup.type.resize(embedding.size);
      model::dequantise_rows(embedding.types->tensor, embedding.types->first, 1, lookup.type);
    }
    if (embedding.gain) lookup.gain = read_constant(*embedding.gain);
    if (embedding.offset) lookup.offset = read_constant(*embedding.offset);
    return lookup;
  }

  /// The output of the encoder: what the keys of the first cross-attention are made from.
  NodeId cross_source() const {
    const Graph& graph = model_.graph;
    for (const Node& node : graph.nodes) {
      if (node.kind != NodeKind::attend || node.span != Span::other) continue;
      NodeId source = node.sources[1];
      while (graph.at(source).kind != NodeKind::linear) source = graph.at(source).sources.front();
      return graph.at(source).sources.front();
    }
    ensure(false, "there is a cross-attention");
    return {};
  }

  void count_users(std::vector<Value>& values, bool encoder, NodeId wanted) const {
    const Graph& graph = model_.graph;
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      const bool crosses = node.kind == NodeKind::attend && node.span == Span::other;
      for (std::size_t s = 0; s < node.sources.size(); ++s) {
        // Keys and values of a cross-attention are taken over by the encoder's run.
        const bool is_here = crosses && s != 0 ? encoder : is_encoder_[n] == encoder;
        if (is_here) ++values[index(node.sources[s])].users;
      }
      if (node.guard && is_encoder_[n] == encoder) ++values[index(node.guard->gates)].users;
    }
    ++values[index(wanted)].users;
  }

  void give_back(Value& value) {
    pool_.give_back(std::move(value.buffer));
    value.buffer = {};
  }
  void release(std::vector<Value>& values, NodeId id) {
    Value& value = values[index(id)];
    if (--value.users == 0) give_back(value);
  }

  /// Rows whose gate is not zero; gates {rows, size}.
  static std::vector<std::uint32_t> rows_with_gate(const Value& gates, std::size_t size, std::uint32_t element) {
    std::vector<std::uint32_t> chosen;
    for (std::size_t row = 0; row < gates.rows; ++row) {
      if (gates.data()[row * size + element] != 0) chosen.push_back(static_cast<std::uint32_t>(row));
    }
    return chosen;
  }

  bool is_compact(const Node& node) const { return node.guard && node.kind != NodeKind::blend; }

  /// A source's rows for a node that is computed for `subset` only: gathered into `buffer` unless it has just these.
  const float* gathered(NodeId id, const Value& value, const std::vector<std::uint32_t>* subset, Pool::Buffer& buffer) {
    const Node& source = model_.graph.at(id);
    if (subset == nullptr || is_compact(source)) return value.data();
    buffer = pool_.take(std::max<std::size_t>(1, subset->size() * source.size));
    for (std::size_t row = 0; row < subset->size(); ++row)
      std::copy_n(value.data() + std::size_t{(*subset)[row]} * source.size, source.size,
                  buffer.data.get() + row * source.size);
    return buffer.data.get();
  }

  Result<void> compute(std::size_t n, std::vector<Value>& values, const std::vector<Segment>& segments,
                       const std::vector<std::uint32_t>* subset) {
    const Node& node = model_.graph.nodes[n];
    Value& value = values[n];
    const std::size_t size = node.size;
    float* y = value.data();
    if (node.kind == NodeKind::input) {
      embed(NodeId{static_cast<std::uint32_t>(n)}, segments, y);
      return {};
    }
    if (node.kind == NodeKind::attend) {
      if (node.span != Span::other) append(node, n, values, segments);
      attend_segments(node, n, values, segments, y);
      return {};
    }
    if (node.kind == NodeKind::blend) {
      blend(node, values, *subset, y);
      return {};
    }
    std::array<Pool::Buffer, 2> buffers;
    std::array<const float*, 2> sources = {};
    for (std::size_t s = 0; s < node.sources.size(); ++s)
      sources[s] = gathered(node.sources[s], values[index(node.sources[s])], subset, buffers[s]);
    const float *a = sources[0], *b = sources[1];
    const Config& config = model_.graph.configs[index(node.configs[0])];
    const float* constant = constants_[n].data();
    Result<void> result;
    switch (node.kind) {
      case NodeKind::linear:
        result = multiply(number_[n], a, node, value, subset);
        break;
      case NodeKind::rope:
        rotate(config, a, value.rows, size, segments, subset, y);
        break;
      default:
        for_rows(value.rows, size, [&](std::size_t first, std::size_t last) {
          for (std::size_t row = first; row < last; ++row)
            compute_row(node.kind, config, a + row * size, b == nullptr ? nullptr : b + row * size, constant, size,
                        y + row * size);
        });
    }
    for (Pool::Buffer& buffer : buffers) pool_.give_back(std::move(buffer));
    return result;
  }

  static void compute_row(NodeKind kind, const Config& config, const float* a, const float* b, const float* constant,
                          std::size_t n, float* y) {
    switch (kind) {
      case NodeKind::norm:
        return normalise(config, a, constant, y, n);
      case NodeKind::bias:
        for (std::size_t e = 0; e < n; ++e) y[e] = a[e] + constant[e];
        return;
      case NodeKind::add:
        for (std::size_t e = 0; e < n; ++e) y[e] = a[e] + b[e];
        return;
      case NodeKind::mul:
        for (std::size_t e = 0; e < n; ++e) y[e] = a[e] * b[e];
        return;
      case NodeKind::silu:
        return silu(a, y, n);
      case NodeKind::gelu:
        return gelu(a, y, n);
      case NodeKind::gelu_tanh:
        return gelu_tanh(a, y, n);
      case NodeKind::relu:
        for (std::size_t e = 0; e < n; ++e) y[e] = std::max(a[e], 0.0f);
        return;
      case NodeKind::route:
        return route(config.k, a, n, y);
      default:
        ensure(false, "a node that is computed row by row");
    }
  }

  /// Softmax over the k largest, of equals the first ones; zero elsewhere.
  static void route(std::size_t k, const float* logits, std::size_t n, float* gates) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    std::fill(gates, gates + n, 0.0f);
    double sum = 0;
    for (std::size_t e = 0; e < k; ++e) sum += std::exp(double{logits[order[e]]} - double{logits[order[0]]});
    for (std::size_t e = 0; e < k; ++e)
      gates[order[e]] = static_cast<float>(std::exp(double{logits[order[e]]} - double{logits[order[0]]}) / sum);
  }

  void blend(const Node& node, const std::vector<Value>& values, const std::vector<std::uint32_t>& subset, float* y) {
    const Value &base = values[index(node.sources[0])], &addend = values[index(node.sources[1])];
    const std::size_t size = node.size, experts = model_.graph.at(node.guard->gates).size;
    const float* gates = values[index(node.guard->gates)].data();
    std::copy_n(base.data(), base.rows * size, y);
    for_rows(subset.size(), size, [&](std::size_t first, std::size_t last) {
      for (std::size_t row = first; row < last; ++row) {
        const std::size_t token = subset[row];
        const float gate = gates[token * experts + node.guard->element];
        for (std::size_t e = 0; e < size; ++e) y[token * size + e] += gate * addend.data()[row * size + e];
      }
    });
  }

  Result<void> multiply(std::size_t number, const float* x, const Node& node, const Value& value,
                        const std::vector<std::uint32_t>* subset) {
    if (value.rows == 0) return {};
    std::vector<std::uint64_t> tokens(value.rows);
    for (std::size_t row = 0; row < value.rows; ++row)
      tokens[row] = next_token_ + (subset == nullptr ? row : (*subset)[row]);
    return backend_.multiply(number, {x, value.rows * node.structure.in}, tokens,
                             {value.data(), value.rows * node.size});
  }

  /// Position of every row of a batch.
  static std::vector<std::size_t> positions_of(const std::vector<Segment>& segments) {
    std::vector<std::size_t> positions;
    for (const Segment& segment : segments) {
      for (std::size_t t = 0; t < segment.ids.size(); ++t) positions.push_back(segment.start + t);
    }
    return positions;
  }

  /// Source: Su et al. 2021 (arXiv:2104.09864).
  void rotate(const Config& config, const float* x, std::size_t rows, std::size_t size,
              const std::vector<Segment>& segments, const std::vector<std::uint32_t>* subset, float* y) {
    const std::vector<std::size_t> positions = positions_of(segments);
    const std::size_t half = config.turned() / 2, head_size = config.size;
    const std::vector<float>& table = turns(config, *std::max_element(positions.begin(), positions.end()) + 1);
    const bool is_adjacent = config.pairs == Config::Pairs::adjacent;
    for_rows(rows, size, [&](std::size_t first, std::size_t last) {
      for (std::size_t row = first; row < last; ++row) {
        const float* turn = table.data() + positions[subset == nullptr ? row : (*subset)[row]] * 2 * half;
        for (std::size_t head = 0; head < size; head += head_size) {
          const float* from = x + row * size + head;
          float* to = y + row * size + head;
          std::copy(from + 2 * half, from + head_size, to + 2 * half);
          for (std::size_t pair = 0; pair < half; ++pair) {
            const std::size_t e = is_adjacent ? 2 * pair : pair, partner = is_adjacent ? e + 1 : e + half;
            const float cosine = turn[pair], sine = turn[half + pair];
            const float a = from[e], b = from[partner];
            to[e] = a * cosine - b * sine;
            to[partner] = a * sine + b * cosine;
          }
        }
      }
    });
  }

  /// Cosines and sines {positions, 2, pairs} of a configuration, at least for so many positions.
  const std::vector<float>& turns(const Config& config, std::size_t positions) {
    std::vector<std::pair<Config, std::vector<float>>>::iterator found =
        std::find_if(turns_.begin(), turns_.end(), [&](const auto& entry) { return entry.first == config; });
    if (found == turns_.end()) found = turns_.insert(turns_.end(), {config, {}});
    std::vector<float>& table = found->second;
    const std::size_t half = config.turned() / 2;
    for (std::size_t position = table.size() / (2 * half); position < positions; ++position) {
      table.resize((position + 1) * 2 * half);
      float* turn = table.data() + position * 2 * half;
      for (std::size_t pair = 0; pair < half; ++pair) {
        const double angle =
            static_cast<double>(position) * std::pow(config.theta, -2.0 * static_cast<double>(pair) / config.turned());
        turn[pair] = static_cast<float>(std::cos(angle));
        turn[half + pair] = static_cast<float>(std::sin(angle));
      }
    }
    return table;
  }

  void embed(NodeId input, const std::vector<Segment>& segments, float* y) const {
    const Lookup* lookup = nullptr;
    for (const Lookup& entry : lookups_) {
      if (entry.source->input == input) lookup = &entry;
    }
    ensure(lookup != nullptr, "the input takes tokens");
    const model::Embedding& source = *lookup->source;
    const std::size_t size = source.size;
    const float scale = static_cast<float>(source.scale);
    for (const Segment& segment : segments) {
      for_rows(segment.ids.size(), size, [&](std::size_t first, std::size_t last) {
        std::vector<float> position(size);
        for (std::size_t t = first; t < last; ++t) {
          float* row = y + (segment.first + t) * size;
          model::dequantise_rows(source.tokens.tensor, source.tokens.first + segment.ids[t], 1, {row, size});
          if (source.scale != 1) {
            for (std::size_t e = 0; e < size; ++e) row[e] *= scale;
          }
          for (std::size_t e = 0; e < lookup->type.size(); ++e) row[e] += lookup->type[e];
          if (source.positions) {
            model::dequantise_rows(source.positions->tensor, source.positions->first + segment.start + t, 1, position);
            for (std::size_t e = 0; e < size; ++e) row[e] += position[e];
          }
          if (!lookup->gain.empty()) normalise(source.norm, row, lookup->gain.data(), row, size);
          for (std::size_t e = 0; e < lookup->offset.size(); ++e) row[e] += lookup->offset[e];
        }
      });
    }
  }

  /// Keys and values of new tokens behind those that a sequence has.
  void append(const Node& node, std::size_t n, const std::vector<Value>& values, const std::vector<Segment>& segments) {
    const std::size_t heads = node.kv_heads, size = node.head_size;
    const float *keys = values[index(node.sources[1])].data(), *entries = values[index(node.sources[2])].data();
    for (const Segment& segment : segments) {
      Sequence::Entries& store = segment.sequence->entries_[number_[n]];
      store.keys.resize(heads), store.values.resize(heads);
      parallel_for(heads, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t head = first; head < last; ++head) {
          for (std::size_t t = 0; t < segment.ids.size(); ++t) {
            const std::size_t offset = ((segment.first + t) * heads + head) * size;
            store.keys[head].insert(store.keys[head].end(), keys + offset, keys + offset + size);
            store.values[head].insert(store.values[head].end(), entries + offset, entries + offset + size);
          }
        }
      });
    }
  }

  void attend_segments(const Node& node, std::size_t n, const std::vector<Value>& values,
                       const std::vector<Segment>& segments, float* y) const {
    const float* queries = values[index(node.sources[0])].data();
    std::vector<AttentionPart> parts;
    for (const Segment& segment : segments) {
      const Sequence::Entries& store = segment.sequence->entries_[number_[n]];
      AttentionPart part;
      part.queries = queries + segment.first * node.size;
      part.context = y + segment.first * node.size;
      part.tokens = segment.ids.size();
      part.keys = &store.keys;
      part.values = &store.values;
      part.entries = store.keys.front().size() / node.head_size;
      part.visible = node.span == Span::earlier ? segment.start + 1 : part.entries;
      parts.push_back(part);
    }
    attend({.query_heads = node.query_heads, .kv_heads = node.kv_heads, .head_size = node.head_size}, parts);
  }

  Result<void> check_finite(const Node& node, const Value& value, const std::vector<Segment>& segments,
                            const std::vector<std::uint32_t>* subset) const {
    std::vector<std::uint8_t> finite(value.rows);
    for_rows(value.rows, node.size, [&](std::size_t first, std::size_t last) {
      for (std::size_t row = first; row < last; ++row)
        finite[row] = all_finite(value.data() + row * node.size, node.size) ? 1 : 0;
    });
    const std::vector<std::uint8_t>::const_iterator bad = std::find(finite.begin(), finite.end(), std::uint8_t{0});
    if (bad == finite.end()) return {};
    std::size_t row = static_cast<std::size_t>(bad - finite.begin());
    if (subset != nullptr) row = (*subset)[row];
    std::size_t text = 0;
    while (text + 1 < segments.size() && segments[text + 1].first <= row) ++text;
    const std::size_t token = row - segments[text].first;
    return fail(Error("nn.non-finite", Failure::bad_input,
                      fmt::format("{} '{}' gives a value that is no finite number for token {}{}", name_of(node.kind),
                                  node.name, segments[text].start + token + 1,
                                  segments.size() == 1 ? "" : fmt::format(" of text {} of the batch", text + 1)))
                    .note(fmt::format("the token's id is {}", segments[text].ids[token]))
                    .with_hint("the weights are damaged, or the numbers grow beyond single precision"));
  }

  const model::Model& model_;
  LinearBackend& backend_;
  std::vector<std::vector<float>> constants_;  ///< by node
  std::vector<std::size_t> number_;            ///< by node: of the linear operator, of the attention
  std::vector<bool> is_encoder_;               ///< by node
  std::size_t attends_ = 0;
  bool has_encoder_ = false, has_decoder_ = false, crosses_ = false;
  NodeId encoder_output_{};
  std::vector<Lookup> lookups_;
  std::optional<FloatMatrix> head_;
  std::vector<float> head_bias_;
  std::vector<std::pair<Config, std::vector<float>>> turns_;
  Pool pool_;
  std::uint64_t next_token_ = 0;
};

Transformer::Transformer(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Transformer::Transformer(Transformer&&) noexcept = default;
Transformer& Transformer::operator=(Transformer&&) noexcept = default;
Transformer::~Transformer() = default;

Result<Transformer> Transformer::create(const model::Model& model, LinearBackend& backend) {
  if (!model.has_weights())
    return fail(
        Error("nn.no-weights", Failure::bad_input, fmt::format("'{}' is a shape without weights", model.name))
            .with_hint("values need a model with weights: a .gguf, .safetensors or .onnx file or a Hugging Face folder"));
  if (model.embeddings.empty())
    return fail(
        Error("nn.no-embedding", Failure::unsupported,
              fmt::format("'{}' does not say how tokens become vectors", model.name))
            .with_hint("a bag of matrices and an ONNX graph have no embedding that danaus knows; take the model "
                       "as a GGUF file or a Hugging Face folder"));
  return Transformer(std::make_unique<Implementation>(model, backend));
}

const model::Model& Transformer::model() const { return implementation_->model(); }
bool Transformer::has_encoder() const { return implementation_->has_encoder(); }
bool Transformer::has_decoder() const { return implementation_->has_decoder(); }
bool Transformer::has_head() const { return implementation_->has_head(); }
std::size_t Transformer::hidden() const { return model().dimensions.hidden; }
std::size_t Transformer::vocab() const { return model().dimensions.vocab; }
std::size_t Transformer::context() const { return implementation_->context(); }
std::uint64_t Transformer::next_token() const { return implementation_->next_token(); }
void Transformer::set_next_token(std::uint64_t number) { implementation_->set_next_token(number); }

Sequence Transformer::sequence() const {
  Sequence sequence;
  sequence.entries_.resize(implementation_->attends());
  return sequence;
}

Result<void> Transformer::set_constants(std::span<const std::pair<std::string, std::vector<float>>> constants) {
  return implementation_->set_constants(constants);
}

Result<std::vector<float>> Transformer::embed(std::span<const Step> batch) const {
  DANAUS_TRY(segments, implementation_->segments(batch, true));
  return implementation_->embed_all(segments);
}

Result<std::vector<float>> Transformer::encode(std::span<const Step> batch) {
  if (!has_encoder())
    return fail(
        Error("nn.no-encoder", Failure::bad_input, fmt::format("'{}' is a decoder, it has no encoder", model().name))
            .with_hint("embeddings of texts need an encoder, a model of the family bert"));
  DANAUS_TRY(segments, implementation_->segments(batch, true));
  // A bare encoder needs keys and values for this run only.
  std::vector<Sequence> own(segments.size());
  for (std::size_t n = 0; n < segments.size(); ++n) {
    if (segments[n].sequence == nullptr || !has_decoder()) {
      own[n] = sequence();
      segments[n].sequence = &own[n];
    } else {
      ensure(segments[n].sequence->encoded_ == 0, "a sequence has one text of the encoder");
    }
  }
  DANAUS_TRY(outputs, implementation_->run(segments, true, implementation_->encoder_output()));
  for (Segment& segment : segments) segment.sequence->encoded_ = segment.ids.size();
  return std::move(outputs);
}

Result<std::vector<float>> Transformer::decode(std::span<const Step> batch) {
  if (!has_decoder())
    return fail(Error("nn.no-decoder", Failure::bad_input,
                      fmt::format("'{}' is an encoder: it does not say what comes next", model().name))
                    .with_hint("perplexity and generation need a decoder; an encoder gives embeddings"));
  DANAUS_TRY(segments, implementation_->segments(batch, false));
  for (std::size_t n = 0; n < segments.size(); ++n) {
    const Sequence* sequence = segments[n].sequence;
    ensure(sequence != nullptr && sequence->entries_.size() == implementation_->attends(),
           "the sequence belongs to the transformer");
    for (std::size_t other = 0; other < n; ++other)
      ensure(segments[other].sequence != sequence, "a sequence appears once in a batch");
    if (implementation_->crosses() && sequence->encoded_ == 0)
      return fail(Error("nn.not-encoded", Failure::usage,
                        fmt::format("the decoder of '{}' needs the text of its encoder first", model().name))
                      .with_hint("an encoder-decoder model answers a text; it has no perplexity over one alone"));
  }
  DANAUS_TRY(outputs, implementation_->run(segments, false, model().graph.outputs.front()));
  for (Segment& segment : segments) segment.sequence->length_ += segment.ids.size();
  return std::move(outputs);
}

namespace {

Result<void> need_head(const Transformer& transformer) {
  if (transformer.has_head()) return {};
  return fail(Error("nn.no-head", Failure::bad_input,
                    fmt::format("'{}' has no lm head: it gives no probabilities of tokens", transformer.model().name))
                  .with_hint(transformer.has_decoder() ? "take the model with its head (…ForCausalLM)"
                                                       : "an encoder gives embeddings, it has no perplexity"));
}

}  // namespace

Result<std::vector<float>> Transformer::logits(std::span<const float> outputs) const {
  DANAUS_CHECK(need_head(*this));
  ensure(outputs.size() % hidden() == 0, "outputs are whole vectors");
  std::vector<float> logits(outputs.size() / hidden() * vocab());
  DANAUS_CHECK(implementation_->logits(outputs, logits, 0));
  return logits;
}

Result<std::vector<double>> Transformer::negative_log_likelihood(std::span<const float> outputs,
                                                                 std::span<const TokenId> targets) const {
  constexpr std::size_t kLogits = 1u << 23;  // at once
  DANAUS_CHECK(need_head(*this));
  ensure(outputs.size() == targets.size() * hidden(), "one target for each output");
  const std::size_t at_once = std::clamp<std::size_t>(kLogits / vocab(), 16, 512);
  std::vector<double> results(targets.size());
  std::vector<float> logits(std::min(at_once, targets.size()) * vocab());
  for (std::size_t first = 0; first < targets.size(); first += at_once) {
    const std::size_t count = std::min(at_once, targets.size() - first);
    for (std::size_t n = first; n < first + count; ++n) {
      if (targets[n] >= vocab())
        return fail(Error("nn.token-id", Failure::bad_input,
                          fmt::format("target {} is {}, the vocabulary has {}", n + 1, targets[n], vocab()))
                        .with_hint("the ids belong to the vocabulary of another model"));
    }
    const std::span<float> part = std::span(logits).first(count * vocab());
    DANAUS_CHECK(implementation_->logits(outputs.subspan(first * hidden(), count * hidden()), part, first));
    for_rows(count, vocab(), [&](std::size_t begin, std::size_t end) {
      for (std::size_t n = begin; n < end; ++n) {
        const float* row = part.data() + n * vocab();
        results[first + n] = log_sum_exp(row, vocab()) - double{row[targets[first + n]]};
      }
    });
  }
  return results;
}

}  // namespace danaus::nn
