#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/compile/compile.h"
#include "danaus/core/random.h"
#include "danaus/model/builder.h"
#include "danaus/model/families.h"
#include "danaus/model/shape_file.h"

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
  std::uint32_t copies = 0;      ///< arrays to spend on copies
  bool weighs_messages = false;  ///< the placement weighs what messages cost on the chip's mesh
};

/// Heads of random sizes for the graphs below; the family only names the model.
inline model::Shape random_heads(Dice& dice) {
  model::Shape shape;
  shape.name = "random";
  model::Dimensions& d = shape.dimensions;
  d.kv_heads = dice.roll(1, 2);
  d.heads = d.kv_heads * dice.roll(1, 2);
  d.head_size = 2 * dice.roll(1, 4);
  d.hidden = d.heads * d.head_size;
  d.ffn = dice.roll(1, 33);
  return shape;
}

/// Queries from one value, keys and values from another or the same; with the residual.
inline NodeId attention(model::GraphBuilder& builder, const model::Shape& shape, const std::string& name, NodeId x,
                        NodeId entries, Span span, std::optional<ConfigId> rope = std::nullopt) {
  const model::Dimensions& d = shape.dimensions;
  NodeId query = builder.linear(name + ".q", name + ".q.weight", x, d.heads * d.head_size);
  const NodeId key = builder.linear(name + ".k", name + ".k.weight", entries, d.kv_heads * d.head_size);
  const NodeId value = builder.linear(name + ".v", name + ".v.weight", entries, d.kv_heads * d.head_size);
  NodeId full_key = builder.bias(name + ".k.bias", key);
  if (rope) {
    query = builder.rope(name + ".q.rope", query, *rope);
    full_key = builder.rope(name + ".k.rope", full_key, *rope);
  }
  const NodeId context = builder.attend(name + ".attend", query, full_key, value, span);
  const NodeId result = builder.linear(name + ".o", name + ".o.weight", context, d.hidden);
  return builder.combine(NodeKind::add, name + ".add", x, result);
}

/// Layers whose feed-forward part is a mixture of experts.
inline model::Model random_mixture(Dice& dice) {
  const model::Shape shape = random_heads(dice);
  const std::uint32_t hidden = shape.dimensions.hidden, ffn = shape.dimensions.ffn;
  model::GraphBuilder builder(shape, std::nullopt);
  const ConfigId norm = builder.config({.kind = Config::Kind::norm, .n = hidden, .epsilon = 1e-5});
  const std::uint32_t experts = dice.roll(1, 4);
  const ConfigId route = builder.config({.kind = Config::Kind::route, .k = dice.roll(1, experts)});
  const std::uint32_t head_size = shape.dimensions.head_size;
  const ConfigId rope = builder.config({.kind = Config::Kind::rope,
                                        .size = head_size,
                                        .rotated = 2 * dice.roll(0, head_size / 2 - 1),
                                        .theta = 100,
                                        .pairs = dice.pick(std::vector{Config::Pairs::half, Config::Pairs::adjacent})});
  const bool tall = dice.coin();
  NodeId x = builder.input("x", hidden);
  const std::uint32_t layers = dice.roll(1, 2);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    const std::string name = "l" + std::to_string(layer);
    if (dice.coin()) x = attention(builder, shape, name + ".a", x, x, Span::earlier, rope);
    const NodeId inner = builder.norm(name + ".n", x, norm, name + ".gain");
    const NodeId gates =
        builder.route(name + ".route", builder.linear(name + ".r", name + ".r.weight", inner, experts), route);
    for (std::uint32_t e = 0; e < experts; ++e) {
      const std::string expert = name + ".e" + std::to_string(e);
      builder.set_guard(gates, e);
      const NodeId up = builder.linear(expert + ".up", expert + ".up.weight", inner, ffn);
      NodeId wide = up;
      if (tall) {
        const NodeId gate = builder.linear(expert + ".gate", expert + ".gate.weight", inner, ffn);
        wide = builder.combine(NodeKind::mul, expert + ".mul", gate, up);
      }
      const NodeId down = builder.linear(expert + ".down", expert + ".down.weight", wide, hidden);
      x = builder.blend(expert + ".blend", x, down);
      builder.clear_guard();
    }
  }
  builder.output(builder.norm("n", x, norm, "gain"));
  Result<model::Model> model = std::move(builder).finish();
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : to_string(model.error())));
  return std::move(*model);
}

inline model::Model random_encoder_decoder(Dice& dice) {
  const model::Shape shape = random_heads(dice);
  const std::uint32_t hidden = shape.dimensions.hidden;
  model::GraphBuilder builder(shape, std::nullopt);
  const ConfigId norm =
      builder.config({.kind = Config::Kind::norm, .norm = Config::Norm::layer, .n = hidden, .epsilon = 1e-5});
  NodeId x = builder.input("x", hidden);
  const std::uint32_t encoders = dice.roll(0, 2), decoders = dice.roll(1, 2);
  for (std::uint32_t layer = 0; layer < encoders; ++layer) {
    const std::string name = "e" + std::to_string(layer);
    x = attention(builder, shape, name, x, x, Span::all);
    x = builder.norm(name + ".n", x, norm, name + ".gain");
  }
  NodeId y = builder.input("y", hidden);
  for (std::uint32_t layer = 0; layer < decoders; ++layer) {
    const std::string name = "d" + std::to_string(layer);
    if (dice.coin()) y = attention(builder, shape, name + ".self", y, y, Span::earlier);
    y = attention(builder, shape, name + ".cross", y, x, Span::other);
  }
  builder.output(builder.norm("n", y, norm, "gain"));
  Result<model::Model> model = std::move(builder).finish();
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : to_string(model.error())));
  return std::move(*model);
}

/// Linear operators one after the other, which may be outputs too: padded values of every region.
inline model::Model random_chain(Dice& dice) {
  model::Shape shape;
  shape.name = "random";
  model::GraphBuilder builder(shape, std::nullopt);
  NodeId x = builder.input("x", dice.roll(1, 7));
  const std::uint32_t length = dice.roll(1, 6);
  const std::uint32_t size = dice.roll(1, 7);
  for (std::uint32_t n = 0; n < length; ++n) {
    const std::string name = "l" + std::to_string(n);
    x = builder.linear(name, name + ".weight", x, dice.coin() ? size : dice.roll(1, 7));
    if (n + 1 == length || dice.roll(0, 3) == 0) builder.output(x);
  }
  Result<model::Model> model = std::move(builder).finish();
  REQUIRE_MESSAGE(model.has_value(), (model ? "" : to_string(model.error())));
  return std::move(*model);
}

inline model::Model random_transformer(Dice& dice) {
  model::Shape shape = model::shape_of(dice.coin() ? model::Family::llama : model::Family::bert);
  shape.name = "random";
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
  shape.activation = shape.family == model::Family::llama
                         ? NodeKind::silu
                         : dice.pick(std::vector{NodeKind::gelu, NodeKind::gelu_tanh, NodeKind::relu});
  shape.pairs = dice.coin() ? Config::Pairs::half : Config::Pairs::adjacent;
  const std::optional<model::ShapeProblem> problem = model::complete(shape);
  REQUIRE_MESSAGE(!problem.has_value(), (problem ? problem->message : ""));
  Result<model::Model> model = model::model_from_shape(shape);
  REQUIRE(model.has_value());
  return std::move(*model);
}

inline model::Model random_model(Dice& dice) {
  switch (dice.roll(0, 6)) {
    case 0:
      return random_mixture(dice);
    case 1:
      return random_encoder_decoder(dice);
    case 2:
      return random_chain(dice);
    default:
      return random_transformer(dice);
  }
}

/// Gathered blocks of any size; operators of one shape may have the same selection.
inline Structure random_gather(Dice& dice, std::uint32_t out, std::uint32_t in) {
  const std::uint32_t inputs = dice.roll(0, 4) == 0 ? (dice.coin() ? in : 1) : dice.roll(1, in);
  Structure structure = Structure::gather(out, in, dice.roll(1, out), inputs);
  structure.selection = draw_selection(structure, 1, dice.roll(0, 2));
  return structure;
}

inline Structure random_structure(Dice& dice, std::uint32_t out, std::uint32_t in) {
  const auto blocks = [&] { return Structure::blocks(out, in, dice.roll(1, 9), dice.roll(1, 9), dice.roll(1, 3)); };
  switch (dice.roll(0, 8)) {
    case 7:
    case 8:
      return random_gather(dice, out, in);
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
  result.strategy = dice.pick(std::vector<std::string>{"linear", "sparse", "dense", "striped", "linear-striped"});
  const bool mixed = dice.coin();
  std::vector<Structure> structures;
  for (const model::LinearOperator& op : result.model.linear) {
    if ((*compile::find_strategy(result.strategy))->dense_operator)
      structures.push_back(Structure::dense(op.out, op.in));
    else
      structures.push_back(mixed || structures.empty() ? random_structure(dice, op.out, op.in)
                           : structures[0].kind == Structure::Kind::gather
                               ? random_gather(dice, op.out, op.in)
                               : Structure::blocks(op.out, op.in, structures[0].k, structures[0].l, structures[0].r));
  }
  result.graph = compile::with_structures(result.model.graph, structures, result.chip);
  result.place = {.rows = result.chip.array.rows,
                  .cols = result.chip.array.cols,
                  .arrays_per_tile = result.chip.network.arrays_per_tile,
                  .adcs = result.chip.adc.per_array};
  const auto has = [&](Span span) {
    return std::any_of(result.graph.nodes.begin(), result.graph.nodes.end(),
                       [&](const Node& node) { return node.kind == NodeKind::attend && node.span == span; });
  };
  std::vector<compile::Mode> modes = {compile::Mode::decode};
  if (has(Span::other) || !has(Span::earlier)) modes.push_back(compile::Mode::encode);
  if (has(Span::other) || !has(Span::all)) modes.push_back(compile::Mode::prefill);
  result.emit.mode = dice.pick(modes);
  result.emit.encoder_tokens = dice.roll(1, 4);
  result.emit.tokens = dice.roll(1, 4);
  result.emit.kv = result.emit.tokens + dice.roll(0, 5);
  result.emit.slots = dice.roll(0, 3);
  result.emit.share_inputs = dice.coin();
  if (dice.coin()) {  // several chips, in passes where they are too few
    result.chip.system.chips = dice.roll(1, 4);
    result.chip.system.arrays = dice.coin() ? dice.roll(1, 40) : 0;
  }
  if (result.chip.system.chips == 1 && result.chip.system.arrays == 0)
    result.copies = dice.coin() ? dice.roll(1, 6) : 0;
  if (dice.coin()) {
    result.weighs_messages = true;
    result.chip.network.topology = chip::Topology::mesh;
    result.chip.network.switching = dice.coin() ? chip::Switching::wormhole : chip::Switching::circuit;
    result.chip.network.hop_ns = dice.pick(std::vector<double>{0, 0.1, 2, 100});
  }
  result.place.idle_columns_draw = dice.coin();
  result.place.mode = result.emit.mode;
  result.place.objective = dice.pick(std::vector{compile::Objective::latency, compile::Objective::latency,
                                                 compile::Objective::energy, compile::Objective::arrays});
  return result;
}

/// With copies of the first arrays, which are taken for the busiest: any array may have some.
inline Result<compile::Placement> place_case(const Case& random) {
  compile::PlaceOptions options = random.place;
  if (random.weighs_messages) options.mesh = &random.chip;
  Result<compile::Placement> placement = (*compile::find_strategy(random.strategy))->place(random.graph, options);
  if (!placement || random.copies == 0) return placement;
  std::vector<std::int64_t> work(placement->arrays);
  for (std::size_t array = 0; array < work.size(); ++array) work[array] = static_cast<std::int64_t>(1000 / (array + 1));
  return compile::replicate(std::move(*placement), work, random.copies, random.place.arrays_per_tile);
}

/// Placement and program of a case. No case may fail to compile.
inline program::Program compile_case(const Case& random) {
  Result<compile::Placement> placement = place_case(random);
  REQUIRE_MESSAGE(placement.has_value(), (placement ? "" : to_string(placement.error())));
  Result<program::Program> program = compile::emit(random.graph, std::move(*placement), random.chip, random.emit);
  REQUIRE_MESSAGE(program.has_value(), (program ? "" : to_string(program.error())));
  return std::move(*program);
}

}  // namespace danaus::test
