// The operations of a token, in the order of the simulator's own trace: the order in which the readers of a result
// become ready decides ties.

#include "danaus/machine/list/operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "danaus/core/internal_error.h"

namespace danaus::machine::list {
namespace {

/// The simulator says how many elements the choice of a token writes.
constexpr std::uint32_t kSampleElements = 512;

// Floating point operations by the simulator's formulas.
constexpr double kNormFlops = 10, kGeluFlops = 6, kReluFlops = 1, kAddFlops = 1;  // per element

double mvm_flops(std::uint32_t rows, std::uint32_t cols, const chip::Chip& chip) {
  const double array_rows = chip.array.rows, array_cols = chip.array.cols;
  const double utilisation = static_cast<double>(rows) * cols / (array_rows * array_cols);
  return utilisation * (array_rows * array_cols + array_rows * (array_cols - 1));
}

/// Where `count` numbers from `first` on are when they are sorted as text (8, 9, 10, 11: 2, 3, 0, 1).
std::vector<std::uint32_t> text_order(std::uint64_t first, std::uint32_t count) {
  std::vector<std::string> names;
  names.reserve(count);
  for (std::uint32_t n = 0; n < count; ++n) names.push_back(std::to_string(first + n));
  std::vector<std::uint32_t> sorted(count), position(count);
  std::iota(sorted.begin(), sorted.end(), 0u);
  std::sort(sorted.begin(), sorted.end(), [&](std::uint32_t a, std::uint32_t b) { return names[a] < names[b]; });
  for (std::uint32_t n = 0; n < count; ++n) position[sorted[n]] = n;
  return position;
}

/// A result and what it is worth in bytes.
struct Value {
  std::uint32_t operation = kNone;
  std::uint32_t bytes = 0;
};

class Builder {
 public:
  /// `first_number`: of the part's tile operations, for encoders.
  Builder(const Transformer& transformer, const chip::Chip& chip, std::uint64_t first_number = 0)
      : transformer_(transformer),
        chip_(chip),
        first_number_(first_number),
        flat_(chip.network.topology != chip::Topology::ideal) {}

  std::uint32_t add_operation(Kind kind, double flops) {
    Operation operation;
    operation.kind = kind;
    part_.operations.push_back(operation);
    readers_.emplace_back();
    count(kind);
    part_.flops += flops;
    return static_cast<std::uint32_t>(part_.operations.size() - 1);
  }

  void connect(std::uint32_t from, std::uint32_t to) {
    readers_[from].push_back(to);
    ++at(to).operands;
  }

  /// `reader` is the only one of `value`, or the last one to start.
  void read_last(const Value& value, std::uint32_t reader) {
    connect(value.operation, reader);
    at(reader).freed_bytes += value.bytes;
  }

  /// An operation on one vector. Its result has one reader or one that is certainly last.
  Value digital(Kind kind, double flops_per_element, std::uint32_t elements) {
    const std::uint32_t operation = add_operation(kind, flops_per_element * elements);
    at(operation).written_bytes = elements;
    return {operation, elements};
  }

  /// One tile operation. `source` kNone: it waits for nothing, or for what came before the part.
  std::uint32_t tile_operation(const Matrix& matrix, std::uint32_t row_part, std::uint32_t column_part,
                               std::uint32_t source, bool communicated) {
    const std::uint32_t rows = std::min(matrix.in - row_part * chip_.array.rows, chip_.array.rows);
    const std::uint32_t cols = std::min(matrix.out - column_part * chip_.array.cols, chip_.array.cols);
    const std::uint32_t mvm = add_operation(Kind::mvm, mvm_flops(rows, cols, chip_));
    at(mvm).tile = matrix.tiles[std::size_t{row_part} * matrix.column_parts + column_part];
    at(mvm).written_bytes = cols;
    if (flat_ && communicated) {
      const std::uint32_t message = add_operation(Kind::communication, 0);
      connect(message, mvm);
      if (source != kNone) connect(source, message);
      if (source == kNone) part_.roots.push_back(message);
    } else {
      if (source != kNone) connect(source, mvm);
      if (source == kNone) part_.roots.push_back(mvm);
    }
    return mvm;
  }

  /// What a reader of a tile's result waits for.
  Value sent(std::uint32_t mvm) {
    const std::uint32_t bytes = at(mvm).written_bytes;
    if (!flat_) return {mvm, bytes};
    const std::uint32_t message = add_operation(Kind::communication, 0);
    connect(mvm, message);
    return {message, bytes};
  }

  /// All tile operations of a matrix, first those of the first row part; sums over row parts are chains. `each`:
  /// called with each tile operation and its number.
  template <typename Each>
  std::vector<Value> linear(const Matrix& matrix, std::uint32_t source, bool communicated, Each&& each) {
    std::vector<std::uint32_t> mvms;
    for (std::uint32_t i = 0; i < matrix.row_parts; ++i) {
      for (std::uint32_t j = 0; j < matrix.column_parts; ++j) {
        mvms.push_back(tile_operation(matrix, i, j, source, communicated));
        each(mvms.back(), static_cast<std::uint32_t>(mvms.size() - 1));
      }
    }
    std::vector<Value> results;
    for (std::uint32_t j = 0; j < matrix.column_parts; ++j) {
      Value sum = sent(mvms[j]);
      for (std::uint32_t i = 1; i < matrix.row_parts; ++i) {
        const Value next = digital(Kind::add, kAddFlops, chip_.array.cols);
        read_last(sum, next.operation);
        read_last(sent(mvms[std::size_t{i} * matrix.column_parts + j]), next.operation);
        sum = next;
      }
      results.push_back(sum);
    }
    return results;
  }

  static void ignore(std::uint32_t, std::uint32_t) {}

  /// A linear operation that alone reads `source`. The simulator gives each row part a buffer of the whole vector, but
  /// counts only the last one.
  std::vector<Value> linear_of(const Matrix& matrix, const Value& source) {
    const std::uint32_t buffer = shared(source.bytes, matrix.column_parts);
    const std::vector<std::uint32_t> positions = order(matrix.parts());
    return linear(matrix, source.operation, true, [&](std::uint32_t mvm, std::uint32_t n) {
      if (positions[n] / matrix.column_parts + 1 == matrix.row_parts) at(mvm).shared = buffer;
    });
  }

  /// Query, key and value: the attention waits for them. `is_alone`: nobody else reads `source`.
  void attention_inputs(const Layer& layer, const Value& source, bool communicated, bool is_alone) {
    const Matrix& any = layer.query;
    const std::uint32_t buffer = is_alone ? shared(source.bytes, 3 * any.column_parts) : kNone;
    const std::vector<std::uint32_t> positions = order(any.parts());
    for (const Matrix* matrix : {&layer.query, &layer.key, &layer.value}) {
      const std::vector<Value> results =
          linear(*matrix, source.operation, communicated, [&](std::uint32_t mvm, std::uint32_t n) {
            if (is_alone && positions[n] / any.column_parts + 1 == any.row_parts) at(mvm).shared = buffer;
          });
      for (const Value& result : results) {
        at(result.operation).to_attention = true;
        ++part_.to_attention;
        part_.attention_freed_bytes += result.bytes;
      }
    }
  }

  /// The projection of what attention gives; its row parts are the first shared buffers of the part.
  std::vector<Value> attention_output(const Matrix& matrix) {
    ensure(part_.shared.empty(), "attention's results come first");
    for (std::uint32_t i = 0; i < matrix.row_parts; ++i) shared(matrix.in, matrix.column_parts);
    const std::vector<std::uint32_t> positions = order(matrix.parts());
    return linear(matrix, kNone, true,
                  [&](std::uint32_t mvm, std::uint32_t n) { at(mvm).shared = positions[n] / matrix.column_parts; });
  }

  /// The sum of a linear operation's results and another vector, which it reads last. That vector is of the part before
  /// if it has no operation.
  Value residual(const std::vector<Value>& results, const Value& other) {
    const Value sum = digital(Kind::add, kAddFlops, transformer_.hidden);
    for (const Value& result : results) read_last(result, sum.operation);
    if (other.operation != kNone) connect(other.operation, sum.operation);
    at(sum.operation).freed_bytes += other.bytes;
    return sum;
  }

  Value norm(const Value& of, bool is_last_reader) {
    const Value result = digital(Kind::norm, kNormFlops, transformer_.hidden);
    connect(of.operation, result.operation);
    if (is_last_reader) at(result.operation).freed_bytes += of.bytes;
    return result;
  }

  /// Up, activation, down.
  std::vector<Value> feed_forward(const Layer& layer, const std::vector<Value>& up) {
    const Value activation = digital(Kind::activation, transformer_.gelu ? kGeluFlops : kReluFlops, transformer_.ffn);
    for (const Value& result : up) read_last(result, activation.operation);
    return linear_of(layer.down, activation);
  }

  Operation& at(std::uint32_t operation) { return part_.operations[operation]; }

  /// Head and choice of the next token.
  void choose_token(const Matrix& head, const Value& vector) {
    std::vector<Value> logits;
    if (head.row_parts > 1) {
      logits = linear_of(head, vector);
    } else {
      // What the head's tiles give is not buffered, and one communication for all of them follows.
      const std::uint32_t buffer = shared(vector.bytes, head.column_parts);
      for (std::uint32_t j = 0; j < head.column_parts; ++j) {
        const std::uint32_t mvm = tile_operation(head, 0, j, vector.operation, true);
        at(mvm).shared = buffer;
        at(mvm).written_bytes = 0;
        logits.push_back({mvm, 0});
      }
    }
    const std::uint32_t sample = add_operation(Kind::sample, kSampleElements);
    std::uint32_t joined = sample;
    if (flat_) {
      joined = add_operation(Kind::communication, 0);
      connect(joined, sample);
    }
    for (const Value& logit : logits) {
      connect(logit.operation, joined);
      at(sample).freed_bytes += logit.bytes;
    }
  }

  TokenPart finish() {
    for (std::size_t n = 0; n < part_.operations.size(); ++n) {
      part_.operations[n].first_reader = static_cast<std::uint32_t>(part_.readers.size());
      part_.operations[n].readers = static_cast<std::uint32_t>(readers_[n].size());
      part_.readers.insert(part_.readers.end(), readers_[n].begin(), readers_[n].end());
    }
    return std::move(part_);
  }

 private:
  std::uint32_t shared(std::uint32_t bytes, std::uint32_t readers) {
    part_.shared.push_back({bytes, readers});
    return static_cast<std::uint32_t>(part_.shared.size() - 1);
  }

  // Of the tile operations of the next matrix, by name.
  std::vector<std::uint32_t> order(std::uint32_t parts) const {
    return text_order(transformer_.decoder ? 0 : first_number_ + part_.counts.mvms, parts);
  }

  void count(Kind kind) {
    switch (kind) {
      case Kind::mvm:
        ++part_.counts.mvms;
        break;
      case Kind::communication:
        ++part_.counts.communications;
        break;
      case Kind::add:
        ++part_.counts.adds;
        break;
      case Kind::norm:
        ++part_.counts.norms;
        break;
      case Kind::activation:
        ++part_.counts.activations;
        break;
      case Kind::sample:
        ++part_.counts.samples;
        break;
      case Kind::attention:
        ++part_.counts.attentions;
        break;
    }
  }

  const Transformer& transformer_;
  const chip::Chip& chip_;
  std::uint64_t first_number_;
  bool flat_;  // messages take time, so they are operations
  TokenPart part_;
  std::vector<std::vector<std::uint32_t>> readers_;
};

/// Part 0 of an encoder: what comes from outside is there, without a message.
TokenPart encoder_start(const Transformer& transformer, const Mapping& mapping, const chip::Chip& chip) {
  Builder builder(transformer, chip);
  builder.attention_inputs(mapping.layers.front(), {}, false, false);
  return builder.finish();
}

/// Attention's results to the next attention, or to the end: sum, norm, feed-forward, sum, norm.
TokenPart encoder_layer(const Transformer& transformer, const Mapping& mapping, const chip::Chip& chip, std::uint32_t n,
                        std::uint64_t first_number) {
  Builder builder(transformer, chip, first_number);
  const Layer& layer = mapping.layers[n];
  // The input of the first layer is not in a buffer.
  const Value input{kNone, n == 0 ? 0 : transformer.hidden};
  const Value attended = builder.norm(builder.residual(builder.attention_output(layer.output), input), true);
  // The sum after it reads `attended` last, so its buffer is not shared.
  const std::vector<Value> up = builder.linear(layer.up, attended.operation, true, Builder::ignore);
  const Value output = builder.norm(builder.residual(builder.feed_forward(layer, up), attended), true);
  if (n + 1 < transformer.layers) {
    builder.attention_inputs(mapping.layers[n + 1], output, true, false);
  } else {
    builder.at(output.operation).is_kept = true;
  }
  return builder.finish();
}

TokenPart decoder_start(const Transformer& transformer, const Mapping& mapping, const chip::Chip& chip,
                        bool after_sample) {
  Builder builder(transformer, chip);
  std::vector<Value> rows;
  for (std::uint32_t j = 0; j < mapping.embedding.column_parts; ++j) {
    const std::uint32_t mvm = builder.tile_operation(mapping.embedding, 0, j, kNone, after_sample);
    builder.at(mvm).reads_sample = after_sample;
    rows.push_back(builder.sent(mvm));
  }
  const Value sum = builder.residual(rows, {});
  builder.attention_inputs(mapping.layers.front(), sum, true, false);
  return builder.finish();
}

/// Attention's results to the next attention, or to the end: sum, then norm, feed-forward, sum; the norm of the next
/// layer, or that before the head.
TokenPart decoder_layer(const Transformer& transformer, const Mapping& mapping, const chip::Chip& chip, std::uint32_t n,
                        bool choose) {
  Builder builder(transformer, chip);
  const Layer& layer = mapping.layers[n];
  const Value attended = builder.residual(builder.attention_output(layer.output), {kNone, transformer.hidden});
  const Value normed = builder.norm(attended, false);
  const Value output = builder.residual(builder.feed_forward(layer, builder.linear_of(layer.up, normed)), attended);
  const bool is_last = n + 1 == transformer.layers;
  if (!is_last) {
    builder.attention_inputs(mapping.layers[n + 1], builder.norm(output, false), true, true);
  } else if (choose) {
    builder.choose_token(mapping.head, builder.norm(output, true));
  } else {
    builder.at(output.operation).written_bytes = 0;  // nobody reads it
  }
  return builder.finish();
}

Result<void> check_operands(const TokenPart& part) {
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint16_t>::max();
  const auto too_many = [=](const auto& of, std::uint32_t count) {
    return fail(Error("list.too-large", Failure::unsupported,
                      fmt::format("{} has {} operands or readers, more than {}", of, count, kMost))
                    .with_hint("set larger arrays: --set array.rows=..., --set array.cols=..."));
  };
  for (const Operation& operation : part.operations) {
    if (operation.operands > kMost) return too_many("an operation", operation.operands);
  }
  for (const Shared& shared : part.shared) {
    if (shared.readers > kMost) return too_many("a buffer", shared.readers);
  }
  return {};
}

}  // namespace

Result<Operations> operations_of(const Transformer& transformer, const Mapping& mapping, std::uint32_t tokens,
                                 const chip::Chip& chip) {
  Operations operations;
  std::uint64_t first_number = 0;  // of an encoder's tile operations in the next part
  for (std::uint32_t n = 0; n <= transformer.layers; ++n) {
    Part part;
    if (transformer.decoder) {
      part.tokens = n == 0 ? decoder_start(transformer, mapping, chip, false)
                           : decoder_layer(transformer, mapping, chip, n - 1, false);
      if (n == transformer.layers) part.last_token = decoder_layer(transformer, mapping, chip, n - 1, true);
    } else if (n == 0) {
      part.tokens = encoder_start(transformer, mapping, chip);
      first_number += tokens * part.tokens.counts.mvms;
    } else {
      // Any number of all digits: nothing gets a digit more behind it.
      constexpr std::uint64_t kPlain = 1'000'000'000'000;
      part.tokens = encoder_layer(transformer, mapping, chip, n - 1, kPlain);
      const std::uint64_t each = part.tokens.counts.mvms;
      for (std::uint64_t power = 10; power < first_number + tokens * each; power *= 10) {
        if (power <= first_number || (power - first_number) % each == 0) continue;
        const std::uint64_t token = (power - first_number) / each;
        part.otherwise.emplace(static_cast<std::uint32_t>(token),
                               encoder_layer(transformer, mapping, chip, n - 1, first_number + token * each));
      }
      first_number += tokens * each;
    }
    operations.parts.push_back(std::move(part));
  }
  if (transformer.decoder) {
    operations.after_sample.tokens = decoder_start(transformer, mapping, chip, true);
    operations.sample_bytes = kSampleElements;
  }
  for (const Part& part : operations.parts) {
    DANAUS_CHECK(check_operands(part.tokens));
    if (part.last_token) DANAUS_CHECK(check_operands(*part.last_token));
  }
  operations.attention_bytes = mapping.layers.front().output.row_parts * transformer.hidden;
  return operations;
}

}  // namespace danaus::machine::list
