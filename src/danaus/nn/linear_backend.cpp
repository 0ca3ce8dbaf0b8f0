// The linear operators in float32: dense, as two stages of blocks, or as gathered blocks.
//
// A gathered operator is one stage: each block picks its inputs and multiplies them.
// Stage 0 of a block operator: block j multiplies a slice of the inputs. Its output (i, rho) is the intermediate
// element (i * r + rho) * k + j, which stage 1 reads as neighbours, so the results of a block are scattered with
// distance k. Inputs behind the end of x are zero and outputs behind the end of y are dropped: the blocks that have
// them are cut.

#include "danaus/nn/linear_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "danaus/core/internal_error.h"
#include "danaus/core/parallel.h"
#include "danaus/nn/matrix.h"

namespace danaus::nn {
namespace {

class FloatBackend final : public LinearBackend {
 public:
  FloatBackend(const model::Model& model, const FloatOptions& options) {
    std::uint64_t left = options.resident_bytes;
    for (const model::LinearOperator& operation : model.linear) {
      const std::uint64_t bytes = std::uint64_t{operation.out} * operation.in * sizeof(float);
      const bool resident = bytes <= left;
      if (resident) left -= bytes;
      matrices_.emplace_back(operation, resident);
    }
  }

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override {
    ensure(number < matrices_.size(), "the operator exists");
    matrices_[number].multiply(x, tokens.size(), y);
    return {};
  }

 private:
  std::vector<FloatMatrix> matrices_;
};

class FactorBackend final : public LinearBackend {
 public:
  explicit FactorBackend(std::vector<factor::Factors> operators) : operators_(std::move(operators)) {}

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> numbers,
                        std::span<float> y) override {
    const std::size_t tokens = numbers.size();
    ensure(number < operators_.size(), "the operator exists");
    const factor::Factors& factors = operators_[number];
    const Structure& structure = factors.structure;
    ensure(x.size() == tokens * structure.in && y.size() == tokens * structure.out,
           "vectors have the sizes of the operator");
    if (structure.kind == Structure::Kind::dense) {
      multiply_tokens(structure.out, structure.in, factors.right.data(), x, tokens, y.data(), structure.out);
      return {};
    }
    if (structure.kind == Structure::Kind::gather) {
      multiply_gathered(factors, x, tokens, y);
      return {};
    }
    std::fill(y.begin(), y.end(), 0.0f);
    for (std::size_t first = 0; first < tokens; first += kTokens) {
      const std::size_t count = std::min(kTokens, tokens - first);
      multiply_blocks(factors, x.subspan(first * structure.in, count * structure.in), count,
                      y.subspan(first * structure.out, count * structure.out));
    }
    return {};
  }

 private:
  static constexpr std::size_t kTokens = 256;          // at once, so that what lies between the stages stays small
  static constexpr std::size_t kChunkWork = 1u << 18;  // multiplications

  static std::size_t blocks_at_once(std::size_t work_of_block) {
    return std::max<std::size_t>(1, kChunkWork / std::max<std::size_t>(1, work_of_block));
  }

  /// Each block with its own inputs, one next to the other; an only block with all threads.
  static void multiply_gathered(const factor::Factors& factors, std::span<const float> x, std::size_t tokens,
                                std::span<float> y) {
    const Structure& structure = factors.structure;
    const std::size_t width = structure.in_block, out = structure.out;
    const std::span<const std::uint32_t> selection = structure.selection.numbers();
    const auto gather = [&](std::size_t block, std::vector<float>& inputs) {
      const std::span<const std::uint32_t> numbers = selection.subspan(block * width, width);
      inputs.resize(tokens * width);
      for (std::size_t token = 0; token < tokens; ++token) {
        for (std::size_t n = 0; n < width; ++n) inputs[token * width + n] = x[token * structure.in + numbers[n]];
      }
    };
    if (structure.k == 1) {
      std::vector<float> inputs;
      gather(0, inputs);
      multiply_tokens(out, width, factors.right.data(), inputs, tokens, y.data(), out);
      return;
    }
    parallel_for(structure.k, blocks_at_once(width * structure.out_block * tokens),
                 [&](std::size_t begin, std::size_t end) {
                   std::vector<float> inputs;
                   for (std::size_t number = begin; number < end; ++number) {
                     const Block block = structure.block(0, static_cast<std::uint32_t>(number));
                     gather(number, inputs);
                     multiply_transposed(tokens, block.out_count, width, inputs.data(), width,
                                         factors.right.data() + std::size_t{block.out_first} * width, width,
                                         y.data() + block.out_first, out);
                   }
                 });
  }

  void multiply_blocks(const factor::Factors& factors, std::span<const float> x, std::size_t tokens,
                       std::span<float> y) {
    const Structure& structure = factors.structure;
    const std::size_t middle = structure.stage_outputs(0);
    middle_.assign(tokens * middle, 0.0f);  // blocks that see only padding are left out
    run_stage(structure, 0, factors.right, x.data(), structure.in, tokens, middle_.data(), middle);
    run_stage(structure, 1, factors.left, middle_.data(), middle, tokens, y.data(), structure.out);
  }

  /// x {tokens, inputs} -> y {tokens, outputs}; what blocks have beyond these is padding.
  static void run_stage(const Structure& structure, std::uint32_t stage, const std::vector<float>& weights,
                        const float* x, std::size_t inputs, std::size_t tokens, float* y, std::size_t outputs) {
    const Block whole = structure.block(stage, 0);  // the last one may be shorter, never longer
    const std::size_t block_weights = std::size_t{whole.in_count} * whole.out_count;
    parallel_for(structure.block_count(stage), blocks_at_once(block_weights * tokens),
                 [&](std::size_t begin, std::size_t end) {
                   std::vector<float> result(tokens * whole.out_count);
                   for (std::size_t number = begin; number < end; ++number) {
                     const Block block = structure.block(stage, static_cast<std::uint32_t>(number));
                     if (block.in_first >= inputs || block.out_first >= outputs) continue;
                     const std::size_t in = std::min<std::size_t>(block.in_count, inputs - block.in_first);
                     const std::size_t out = std::min<std::size_t>(
                         block.out_count, (outputs - block.out_first + block.out_step - 1) / block.out_step);
                     multiply_transposed(tokens, out, in, x + block.in_first, inputs,
                                         weights.data() + number * block_weights, block.in_count, result.data(), out);
                     for (std::size_t token = 0; token < tokens; ++token) {
                       float* row = y + token * outputs + block.out_first;
                       const float* from = result.data() + token * out;
                       for (std::size_t b = 0; b < out; ++b) row[b * block.out_step] = from[b];
                     }
                   }
                 });
  }

  std::vector<factor::Factors> operators_;
  std::vector<float> middle_;
};

tl::unexpected<Error> wrong_factors(std::string text) {
  return fail(Error("nn.factors", Failure::bad_input, std::move(text))
                  .with_hint("project this model anew: danaus project MODEL -o FILE"));
}

}  // namespace

Result<std::unique_ptr<LinearBackend>> float_backend(const model::Model& model, const FloatOptions& options) {
  if (!model.has_weights())
    return fail(
        Error("nn.no-weights", Failure::bad_input, fmt::format("'{}' is a shape without weights", model.name))
            .with_hint("values need a model with weights: a .gguf, .safetensors or .onnx file or a Hugging Face folder"));
  return std::make_unique<FloatBackend>(model, options);
}

Result<std::unique_ptr<LinearBackend>> factor_backend(const model::Model& model,
                                                      std::vector<factor::Factors> operators) {
  if (operators.size() != model.linear.size())
    return wrong_factors(
        fmt::format("there are factors of {} operators, the model has {}", operators.size(), model.linear.size()));
  for (std::size_t number = 0; number < operators.size(); ++number) {
    const model::LinearOperator& operation = model.linear[number];
    const factor::Factors& factors = operators[number];
    const Structure& structure = factors.structure;
    const auto weights = [&](std::uint32_t stage) {
      std::uint64_t sum = 0;
      for (std::uint32_t n = 0; n < structure.block_count(stage); ++n) {
        const Block block = structure.block(stage, n);
        sum += std::uint64_t{block.in_count} * block.out_count;
      }
      return sum;
    };
    if (structure.out != operation.out || structure.in != operation.in || factors.right.size() != weights(0) ||
        factors.left.size() != (structure.stages() == 1 ? 0 : weights(1)) || !check_selection(structure))
      return wrong_factors(fmt::format("the factors of '{}' have the shape {}x{}, the operator is {}x{}",
                                       operation.name, structure.out, structure.in, operation.out, operation.in));
  }
  return std::make_unique<FactorBackend>(std::move(operators));
}

}  // namespace danaus::nn
