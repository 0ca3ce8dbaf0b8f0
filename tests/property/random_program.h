#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/compile/compile.h"
#include "danaus/core/random.h"
#include "danaus/model/bert.h"
#include "danaus/model/llama.h"

/// Random small models, structures, chips and mappings, by number: the same number is the same case everywhere.
namespace danaus::test {

class Dice {
 public:
  explicit Dice(std::uint64_t number) : number_(number) {}
  /// Uniform in [least, most].
  std::uint32_t roll(std::uint32_t least, std::uint32_t most) {
    return least + static_cast<std::uint32_t>(random_bits(number_, 0x64696365, counter_++) % (most - least + 1));
  }
  bool coin() { return roll(0, 1) == 1; }
  template <typename T>
  T pick(const std::vector<T>& choices) {
    return choices[roll(0, static_cast<std::uint32_t>(choices.size() - 1))];
  }

 private:
  std::uint64_t number_;
  std::uint64_t counter_ = 0;
};

struct Case {
  model::Model model;
  Graph graph;  ///< with structures
  chip::Chip chip;
  std::string strategy;
  compile::PlaceOptions place;
  compile::EmitOptions emit;
};

inline model::Model random_model(Dice& dice) {
  model::Shape shape;
  shape.name = "random";
  shape.family = dice.coin() ? model::Family::llama : model::Family::bert;
  model::Dimensions& d = shape.dimensions;
  d.kv_heads = dice.roll(1, 3);
  d.heads = shape.family == model::Family::llama ? d.kv_heads * dice.roll(1, 3) : d.kv_heads;
  d.head_size = 2 * dice.roll(1, 5);
  d.hidden = d.heads * d.head_size;
  d.ffn = dice.roll(1, 67);
  d.layers = dice.roll(1, 2);
  d.vocab = 11;
  d.context = 64;
  shape.gated = shape.family == model::Family::llama && dice.roll(0, 3) != 0;
  shape.activation =
      shape.family == model::Family::llama ? NodeKind::silu : dice.pick(std::vector{NodeKind::gelu, NodeKind::relu});
  shape.pairs = dice.coin() ? Config::Pairs::half : Config::Pairs::adjacent;
  const std::optional<model::ShapeProblem> problem = model::complete(shape);
  REQUIRE_MESSAGE(!problem.has_value(), (problem ? problem->message : ""));
  Result<model::Model> model = shape.family == model::Family::llama
                                   ? model::build_llama(shape, model::gguf_llama_names(), std::nullopt)
                                   : model::build_bert(shape, model::gguf_bert_names(), std::nullopt);
  REQUIRE(model.has_value());
  return std::move(*model);
}

inline Structure random_structure(Dice& dice, std::uint32_t out, std::uint32_t in) {
  const auto blocks = [&] { return Structure::blocks(out, in, dice.roll(1, 9), dice.roll(1, 9), dice.roll(1, 3)); };
  switch (dice.roll(0, 6)) {
    case 0:
      return Structure::dense(out, in);
    case 1:
      return Structure::blocks(out, in, 1, 1, dice.roll(1, 8));
    case 2:
      return Structure::padded_square(out, in);
    case 3:
      return Structure::padded_square(out, in).trim();
    case 4:
      return blocks().trim();
    default:
      return blocks();
  }
}

inline Case random_case(std::uint64_t number) {
  Dice dice(number);
  Case result{.model = random_model(dice), .graph = {}, .chip = {}, .strategy = {}, .place = {}, .emit = {}};
  result.chip.array.rows = dice.roll(4, 48);
  result.chip.array.cols = dice.coin() ? result.chip.array.rows : dice.roll(4, 48);
  result.chip.adc.per_array = dice.roll(1, std::min(8u, result.chip.array.cols));
  result.chip.network.arrays_per_tile = dice.roll(1, 9);
  result.strategy = dice.pick(std::vector<std::string>{"linear", "sparse", "dense"});
  const bool mixed = dice.coin();
  std::vector<Structure> structures;
  for (const model::LinearOperator& op : result.model.linear) {
    if (result.strategy == "linear")
      structures.push_back(Structure::dense(op.out, op.in));
    else
      structures.push_back(mixed || structures.empty()
                               ? random_structure(dice, op.out, op.in)
                               : Structure::blocks(op.out, op.in, structures[0].k, structures[0].l, structures[0].r));
  }
  result.graph = compile::with_structures(result.model.graph, structures, result.chip);
  result.place = {.rows = result.chip.array.rows,
                  .cols = result.chip.array.cols,
                  .arrays_per_tile = result.chip.network.arrays_per_tile};
  const bool decodes = dice.coin();
  result.emit.mode = decodes                                      ? compile::Mode::decode
                     : result.model.family == model::Family::bert ? compile::Mode::encode
                                                                  : compile::Mode::prefill;
  result.emit.tokens = dice.roll(1, 4);
  result.emit.kv = result.emit.tokens + dice.roll(0, 5);
  result.emit.slots = dice.roll(0, 3);
  result.emit.share_inputs = dice.coin();
  return result;
}

/// Placement and program of a case. No case may fail to compile.
inline program::Program compile_case(const Case& random) {
  Result<compile::Placement> placement = (*compile::find_strategy(random.strategy))->place(random.graph, random.place);
  REQUIRE_MESSAGE(placement.has_value(), (placement ? "" : to_string(placement.error())));
  Result<program::Program> program = compile::emit(random.graph, std::move(*placement), random.chip, random.emit);
  REQUIRE_MESSAGE(program.has_value(), (program ? "" : to_string(program.error())));
  return std::move(*program);
}

}  // namespace danaus::test
