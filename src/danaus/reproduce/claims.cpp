// Each claim is a row of the table and an evaluator: its axes, a figure for every setting, and an explanation that is
// put together from the figures. Whether a claim holds is decided by the row's tolerance alone; explanations that say
// why something differs are written only where the figures show the condition they name.

#include "danaus/reproduce/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "danaus/chip/cost.h"
#include "danaus/core/internal_error.h"

namespace danaus::reproduce {
namespace {

constexpr double kSparseSpeed = 1.59, kDenseSpeed = 1.73;  ///< of the paper, over Linear
constexpr double kPublishedPacking = 0.788;                ///< mean utilisation of DenseMap in the paper
constexpr std::size_t kBert = 0, kBart = 1;

// The axes that claims share.

Axis converter_axis() { return {.name = "converter", .words = {"ramp", "SAR"}}; }
Axis bits_axis() { return {.name = "bits", .words = {"paper bits", "honest bits"}}; }
Axis policy_axis() { return {.name = "policy", .words = {"published policy", "no dead blocks"}, .claimed = 0}; }
Axis adc_axis() { return {.name = "adcs", .words = {"4", "8", "16", "32"}, .suffix = " ADCs", .reference = 3}; }
/// How DenseMap's blocks fire. `serial` is the reconstruction of the paper's mapping; `at once` is what no legal
/// program does; `dealt` is danaus's own mapping.
Axis steps_axis() {
  return {.name = "DenseMap", .words = {"steps in series", "steps counted as one", "blocks dealt to all arrays"}};
}
enum Steps : std::size_t { kSerial, kAtOnce, kDealt };

Setting timed_setting(std::size_t converter, std::size_t bits, std::size_t policy, std::size_t adcs) {
  return {.converter = kConverters[converter], .bits = kBits[bits], .policy = kPolicies[policy], .adcs = kAdcs[adcs]};
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}
double least_of(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }
double most_of(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }
double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

template <typename Function>
std::vector<double> for_models(const Function& function) {
  std::vector<double> values;
  for (std::size_t model = 0; model < kModels.size(); ++model) values.push_back(function(model));
  return values;
}

double number(std::uint64_t count) { return static_cast<double>(count); }

double dense_latency(const Results& results, std::size_t model, const Setting& setting, std::size_t steps) {
  if (steps == kDealt) return results.at(model, Map::dense, setting).latency_ns;
  if (steps == kSerial) return results.at(model, Map::dense_diagonal, setting).latency_ns;
  return results.steps_as_one_ns(model, setting);
}
double sparse_speed(const Results& results, std::size_t model, const Setting& setting) {
  return results.at(model, Map::linear, setting).latency_ns / results.at(model, Map::sparse, setting).latency_ns;
}
double dense_speed(const Results& results, std::size_t model, const Setting& setting, std::size_t steps) {
  return results.at(model, Map::linear, setting).latency_ns / dense_latency(results, model, setting, steps);
}

double utilisation(const Results& results, std::size_t model, Map map, std::size_t policy) {
  return results.at(model, map, {.policy = kPolicies[policy]}).utilisation;
}

/// To which the published policy pads feed-forward matrices.
std::uint32_t padded_edge(const Shapes& shapes) { return shapes.expansion[0].k * shapes.expansion[0].in_block; }

/// Rows of a block that add into a column; blocks larger than the array are cut.
std::uint32_t summed_rows(const Results& results, std::uint32_t block) {
  return std::min(block, results.chip.array.rows);
}

/// Arrays of a model under the policy; with one converter setting, on which they do not depend.
double arrays(const Results& results, std::size_t model, Map map, std::size_t policy) {
  return results.at(model, map, {.policy = kPolicies[policy]}).arrays;
}

/// How DenseMap's arrays are filled: by the program, or by arithmetic.
std::string own_packing() { return fmt::format("the paper's own {:.1f} %", 100 * kPublishedPacking); }
Axis packing_axis() {
  return {.name = "packing",
          .words = {"our packing", own_packing(), "one diagonal index lost"},
          .borrowed = {1, 2}};  // the last is a guess at the reason of the other
}
std::optional<double> dense_arrays(const Results& results, std::size_t model, std::size_t policy, std::size_t packing) {
  const Shapes& shapes = results.shapes[model];
  if (packing == 0) return arrays(results, model, Map::dense_diagonal, policy);
  if (packing == 1) {
    const double cells = double{1} * results.chip.array.rows * results.chip.array.cols;
    return number(shapes.weights[policy]) / (kPublishedPacking * cells);
  }
  if (policy != 0) return std::nullopt;  // the hypothesis is about square blocks
  return number(shapes.arrays_one_index_lost);
}

// Evaluators fill axes, values and explanation.

using Evaluate = void (*)(const Results& results, Outcome& outcome);
using Figures = std::function<std::optional<double>(const std::vector<std::size_t>&)>;

bool holds(const Claim& claim, double ours) {
  if (claim.relation == Relation::more_than) return ours > claim.published * (1 + claim.tolerance);
  const bool absolute = claim.unit == Unit::percent || claim.unit == Unit::points;
  return std::abs(absolute ? ours - claim.published : ours / claim.published - 1) <= claim.tolerance;
}

bool is_claimed(const std::vector<Axis>& axes, const Value& value) {
  for (std::size_t a = 0; a < axes.size(); ++a) {
    if (axes[a].claimed && value.setting[a] != *axes[a].claimed) return false;
  }
  return true;
}

bool is_borrowed(const std::vector<Axis>& axes, const std::vector<std::size_t>& setting) {
  for (std::size_t a = 0; a < axes.size(); ++a) {
    if (std::find(axes[a].borrowed.begin(), axes[a].borrowed.end(), setting[a]) != axes[a].borrowed.end()) return true;
  }
  return false;
}

/// All settings, the last axis fastest; then the status, so that explanations can be about it.
void fill(Outcome& outcome, std::vector<Axis> axes, const Figures& figures) {
  outcome.axes = std::move(axes);
  std::vector<std::size_t> setting(outcome.axes.size(), 0);
  for (bool more = true; more;) {
    if (const std::optional<double> ours = figures(setting)) {
      const bool is_reference = std::equal(setting.begin(), setting.end(), outcome.axes.begin(),
                                           [](std::size_t word, const Axis& axis) { return word == axis.reference; });
      if (is_reference) outcome.reference = outcome.values.size();
      outcome.values.push_back({setting, *ours, holds(outcome.claim, *ours), is_borrowed(outcome.axes, setting)});
    }
    more = false;
    for (std::size_t a = setting.size(); a-- > 0 && !more;) {
      more = ++setting[a] < outcome.axes[a].words.size();
      if (!more) setting[a] = 0;
    }
  }
  std::vector<std::vector<std::size_t>> held, missed, borrowed;
  bool all_claimed = true;
  for (const Value& value : outcome.values) {
    if (value.borrowed) {
      if (value.holds) borrowed.push_back(value.setting);
      continue;
    }
    (value.holds ? held : missed).push_back(value.setting);
    all_claimed = all_claimed && (value.holds || !is_claimed(outcome.axes, value));
  }
  outcome.status = all_claimed         ? Status::reproduced
                   : !held.empty()     ? Status::reproduced_under
                   : !borrowed.empty() ? Status::consistent
                                       : Status::differs;
  if (outcome.status == Status::consistent) outcome.under = describe(outcome.axes, borrowed);
  if (outcome.status != Status::reproduced_under) return;
  outcome.under = describe(outcome.axes, held);
  const std::string but = describe(outcome.axes, missed);
  const bool is_one_product = but.find("; ") == std::string::npos;
  if (is_one_product && missed.size() < held.size() && but.size() < outcome.under.size())
    outcome.under = "all but " + but;
}

/// Least and most of the values whose setting has these words.
struct Range {
  double least = 0, most = 0;
};
using Where = std::vector<std::pair<std::string_view, std::size_t>>;  ///< axis, word
Range range_of(const Outcome& outcome, const Where& where = {}) {
  Range range;
  bool found = false;
  for (const Value& value : outcome.values) {
    const bool matches = std::all_of(where.begin(), where.end(), [&](const auto& wanted) {
      for (std::size_t a = 0; a < outcome.axes.size(); ++a) {
        if (outcome.axes[a].name == wanted.first) return value.setting[a] == wanted.second;
      }
      return false;
    });
    if (!matches) continue;
    range.least = found ? std::min(range.least, value.ours) : value.ours;
    range.most = found ? std::max(range.most, value.ours) : value.ours;
    found = true;
  }
  ensure(found, "an explanation asks for settings of its claim");
  return range;
}
std::string text(const Range& range) { return fmt::format("{:.2f} to {:.2f}x", range.least, range.most); }

void add(Outcome& outcome, std::string sentence) {
  if (!outcome.explanation.empty()) outcome.explanation += ' ';
  outcome.explanation += sentence;
}

void arrays_against_linear(const Results& results, Outcome& outcome) {
  fill(outcome, {packing_axis(), policy_axis()}, [&](const auto& setting) -> std::optional<double> {
    std::vector<double> fewer;
    for (std::size_t model = 0; model < kModels.size(); ++model) {
      const std::optional<double> dense = dense_arrays(results, model, setting[1], setting[0]);
      if (!dense) return std::nullopt;
      fewer.push_back(1 - *dense / arrays(results, model, Map::linear, setting[1]));
    }
    return mean(fewer);
  });
  const Shapes& bert = results.shapes[kBert];
  const double packed =
      mean(for_models([&](std::size_t model) { return utilisation(results, model, Map::dense_diagonal, 0); }));
  if (packed > kPublishedPacking && outcome.ours() > outcome.claim.published + outcome.claim.tolerance) {
    outcome.reason = fmt::format("ours packs {:.1f} % of the cells", 100 * packed);
    add(outcome,
        fmt::format("Ours needs fewer arrays: it packs {:.1f} % of their cells, the paper's DenseMap {:.1f} %.",
                    100 * packed, 100 * kPublishedPacking));
  }
  add(outcome,
      fmt::format("BERT-large: {} arrays for Linear, {} for DenseMap with what our mappings pack, {:.0f} at the "
                  "published mean utilisation, {} if one diagonal index of each array is lost.",
                  arrays(results, kBert, Map::linear, 0), arrays(results, kBert, Map::dense_diagonal, 0),
                  *dense_arrays(results, kBert, 0, 1), bert.arrays_one_index_lost));
  if (outcome.status == Status::consistent)
    add(outcome,
        fmt::format("So two published figures agree with each other, given the counting rule: feed-forward matrices "
                    "padded to {0} x {0} with blocks of {1}, and blocks of {2} in the attention (--pad square).",
                    padded_edge(bert), bert.feed_forward_rows, bert.attention_rows));
  add(outcome, fmt::format("Without the dead blocks of the padding (--trim) DenseMap needs {:.0f}.",
                           arrays(results, kBert, Map::dense_diagonal, 1)));
}

void arrays_against_sparse(const Results& results, Outcome& outcome) {
  fill(outcome, {packing_axis(), policy_axis()}, [&](const auto& setting) -> std::optional<double> {
    std::vector<double> fewer;
    for (std::size_t model = 0; model < kModels.size(); ++model) {
      const std::optional<double> dense = dense_arrays(results, model, setting[1], setting[0]);
      if (!dense) return std::nullopt;
      fewer.push_back(1 - *dense / arrays(results, model, Map::sparse, setting[1]));
    }
    return mean(fewer);
  });
  add(outcome, fmt::format("BERT-large: {} arrays for Linear, {} for SparseMap and {} for DenseMap.",
                           arrays(results, kBert, Map::linear, 0), arrays(results, kBert, Map::sparse, 0),
                           arrays(results, kBert, Map::dense_diagonal, 0)));
}

void utilisation_dense(const Results& results, Outcome& outcome) {
  const Axis packing{.name = "packing", .words = {"our packing", "one diagonal index lost"}, .borrowed = {1}};
  fill(outcome, {packing, policy_axis()}, [&](const auto& setting) -> std::optional<double> {
    if (setting[0] == 1 && setting[1] == 1) return std::nullopt;
    return mean(for_models([&](std::size_t model) {
      if (setting[0] == 0) return utilisation(results, model, Map::dense_diagonal, setting[1]);
      const double cells = double{1} * results.chip.array.rows * results.chip.array.cols;
      return number(results.shapes[model].weights[0]) / (cells * number(results.shapes[model].arrays_one_index_lost));
    }));
  });
  const double ours = outcome.ours(), lost = range_of(outcome, {{"packing", 1}}).least;
  const Shapes& bert = results.shapes[kBert];
  const std::uint32_t edge = results.chip.array.rows, small = bert.attention_rows, large = bert.feed_forward_rows;
  if (ours > outcome.claim.published + outcome.claim.tolerance) {
    outcome.reason = fmt::format("ours is better: {:.1f} % of the cells hold weights", 100 * ours);
    add(outcome, fmt::format("Ours is better: {}diagonals of all layers share arrays, and {:.1f} % of their cells hold "
                             "weights.",
                             edge % small == 0 && edge % large == 0
                                 ? fmt::format("blocks of {} and {} divide the array, ", small, large)
                                 : "",
                             100 * ours));
  }
  if (edge / large < 2) return;
  add(outcome,
      fmt::format("If the diagonal index that is its own inverse were lost in every array (a hypothesis: {} of {} "
                  "are left for blocks of {}, {} of {} for {}), it would be {:.1f} %.",
                  edge / small - 1, edge / small, small, edge / large - 1, edge / large, large, 100 * lost));
}

void utilisation_sparse(const Results& results, Outcome& outcome) {
  const Shapes& bert = results.shapes[kBert];
  fill(outcome,
       {{.name = "matrices",
         .words = {fmt::format("attention, blocks of {}", bert.attention_rows), "all mapped matrices"},
         .claimed = 0},
        policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         // Blocks on the main diagonal of an array: a block's edge over the array's.
         if (setting[0] == 0) return double{1} * summed_rows(results, bert.attention_rows) / results.chip.array.rows;
         return mean(
             for_models([&](std::size_t model) { return utilisation(results, model, Map::sparse, setting[1]); }));
       });
  add(outcome,
      fmt::format(
          "Arithmetic: the edge of a block over that of the array, {} / {}. Programs hold feed-forward matrices, "
          "too: {:.1f} % of their cells with the published policy, {:.1f} % without dead blocks.",
          bert.attention_rows, results.chip.array.rows, 100 * range_of(outcome, {{"matrices", 1}, {"policy", 0}}).least,
          100 * range_of(outcome, {{"matrices", 1}, {"policy", 1}}).least));
}

void utilisation_full(const Results& results, Outcome& outcome) {
  fill(outcome, {{.name = "DenseMap", .words = {"steps in series", "blocks dealt to all arrays"}}, policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Map map = setting[0] == 0 ? Map::dense_diagonal : Map::dense;
         return mean(for_models([&](std::size_t model) { return utilisation(results, model, map, setting[1]); }));
       });
  add(outcome, "The paper's own mean is the claim above.");
}

void utilisation_ratio(const Results& results, Outcome& outcome) {
  fill(outcome, {{.name = "packing", .words = {"our packing", own_packing()}, .borrowed = {1}}, policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         return geometric_mean(for_models([&](std::size_t model) {
           const double dense =
               setting[0] == 0 ? utilisation(results, model, Map::dense_diagonal, setting[1]) : kPublishedPacking;
           return dense / utilisation(results, model, Map::sparse, setting[1]);
         }));
       });
  const double sparse =
      mean(for_models([&](std::size_t model) { return utilisation(results, model, Map::sparse, 0); }));
  const Shapes& bert = results.shapes[kBert];
  const double edge = results.chip.array.rows, attention = summed_rows(results, bert.attention_rows) / edge,
               feed_forward = summed_rows(results, bert.feed_forward_rows) / edge;
  add(outcome,
      fmt::format("SparseMap uses {:.1f} % of its cells (blocks of {}: {:.1f} %, of {}: {:.1f} %, by arrays); {:.1f} % "
                  "is {:.1f} times that.",
                  100 * sparse, bert.attention_rows, 100 * attention, bert.feed_forward_rows, 100 * feed_forward,
                  100 * kPublishedPacking, kPublishedPacking / sparse));
  if (outcome.least() > outcome.claim.published * (1 + outcome.claim.tolerance))
    outcome.reason = fmt::format("ours is better; {:.1f} % would be {:.1f} times", 100 * kPublishedPacking,
                                 kPublishedPacking / sparse);
  if (outcome.status == Status::differs)
    add(outcome, fmt::format("Of the feed-forward layers' {:.1f} % alone it is {:.1f} times.", 100 * feed_forward,
                             kPublishedPacking / feed_forward));
}

void utilisation_points(const Results& results, Outcome& outcome) {
  fill(outcome, {{.name = "packing", .words = {"our packing", own_packing()}, .borrowed = {1}}, policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         return mean(for_models([&](std::size_t model) {
           const double dense =
               setting[0] == 0 ? utilisation(results, model, Map::dense_diagonal, setting[1]) : kPublishedPacking;
           return dense - utilisation(results, model, Map::sparse, setting[1]);
         }));
       });
  const double least = least_of(for_models([&](std::size_t model) {
    return utilisation(results, model, Map::dense_diagonal, 0) / utilisation(results, model, Map::sparse, 0);
  }));
  add(outcome,
      fmt::format("Read as percentage points over SparseMap; as a ratio ours is at least {:.2f} times SparseMap's.",
                  least));
}

void parameters(const Results& results, Outcome& outcome) {
  const Shapes& bert = results.shapes[kBert];
  fill(outcome, {{.name = "matrices", .words = {"all mapped matrices", "feed-forward matrices"}}, policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         return setting[0] == 0 ? number(bert.dense_weights) / number(bert.weights[setting[1]])
                                : number(bert.feed_forward_weights) / number(bert.feed_forward_blocks[setting[1]]);
       });
  add(outcome, fmt::format("BERT-large: {:.1f} million weights in the mapped matrices, {:.1f} in their blocks.",
                           number(bert.dense_weights) / 1e6, number(bert.weights[0]) / 1e6));
  const Structure &padded = bert.expansion[0], &live = bert.expansion[1];
  add(outcome,
      fmt::format(
          "A feed-forward matrix has {} x {} weights, its blocks {} x {} x {} + {} x {} x {}: {:g} times fewer; "
          "an attention matrix {:g} times.",
          padded.in, padded.out, padded.k, padded.in_block, padded.l * padded.r, padded.l, padded.k * padded.r,
          padded.out_block, number(padded.dense_parameters()) / number(padded.parameters()),
          number(bert.dense_weights - bert.feed_forward_weights) /
              number(bert.weights[0] - bert.feed_forward_blocks[0])));
  add(outcome,
      fmt::format("Without dead blocks {} of the {} blocks of the first factor are left, and {} of {} inputs of each "
                  "block of the second: {:.1f} times fewer over all.",
                  live.k, padded.k, live.k * live.r, padded.k * padded.r,
                  number(bert.dense_weights) / number(bert.weights[1])));
}

double whole_ratio(const Shapes& shapes, std::size_t policy) {
  return number(shapes.dense_weights + shapes.digital_weights) /
         number(shapes.weights[policy] + shapes.digital_weights);
}

/// Of the models where the ratio is smallest, as a claim that says "more than" means all of them.
void model_size(const Results& results, Outcome& outcome) {
  fill(outcome, {{.name = "counted", .words = {"mapped matrices", "with embeddings"}}, policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const std::vector<double> ratios = for_models([&](std::size_t model) {
           const Shapes& shapes = results.shapes[model];
           return setting[0] == 0 ? number(shapes.dense_weights) / number(shapes.weights[setting[1]])
                                  : whole_ratio(shapes, setting[1]);
         });
         return least_of(ratios);
       });
  const std::vector<double> whole =
      for_models([&](std::size_t model) { return whole_ratio(results.shapes[model], 0); });
  add(outcome, fmt::format("The smallest of the three models is shown. With the embeddings, which stay as they are, "
                           "{:.2f}x for BERT-large, {:.2f}x for BART-large and {:.2f}x for GPT-2-medium.",
                           whole[0], whole[1], whole[2]));
}

double flop_ratio(const Shapes& shapes, std::size_t policy, bool causal = false) {
  const std::uint64_t attention = causal ? shapes.causal_attention_macs : shapes.attention_macs;
  return number(shapes.dense_weights + attention) / number(shapes.weights[policy] + attention);
}

void flops_at_512(const Results& results, Outcome& outcome) {
  const Shapes& bert = results.shapes[kBert];
  fill(outcome, {policy_axis()},
       [&](const auto& setting) -> std::optional<double> { return flop_ratio(bert, setting[0]); });
  const double layers = bert.layers;
  add(outcome,
      fmt::format("Multiply-accumulates per layer and token at {} tokens: {:.0f} in dense matrices, {:.0f} in their "
                  "blocks, and {:.0f} for scores and value products on both sides.",
                  bert.tokens, number(bert.dense_weights) / layers, number(bert.weights[0]) / layers,
                  number(bert.attention_macs) / layers));
}

void flops(const Results& results, Outcome& outcome) {
  Axis models{.name = "model", .words = {}};
  for (const Shapes& shapes : results.shapes)
    models.words.push_back(fmt::format("{} at {}", shapes.name, shapes.tokens));
  const Axis keys{.name = "attention", .words = {"all tokens seen", "decoders see earlier tokens only"}};
  fill(outcome, {models, keys, policy_axis()}, [&](const auto& setting) -> std::optional<double> {
    const Shapes& shapes = results.shapes[setting[0]];
    return flop_ratio(shapes, setting[2], setting[1] == 1);
  });
  const Shapes& bart = results.shapes[kBart];
  add(outcome,
      fmt::format("BART-large counts its encoder and its decoder, with the cross-attention, at full length: {:.2f}x "
                  "if every query sees the whole context, {:.2f}x if the decoder sees earlier tokens only.",
                  flop_ratio(bart, 0), flop_ratio(bart, 0, true)));
}

void memory(const Results& results, Outcome& outcome) {
  Axis models{.name = "model", .words = {}};
  for (const Shapes& shapes : results.shapes) models.words.push_back(shapes.name);
  fill(outcome, {models, policy_axis()}, [&](const auto& setting) -> std::optional<double> {
    return whole_ratio(results.shapes[setting[0]], setting[1]);
  });
  add(outcome, "All weights with the embeddings.");
}

/// The published policy with ramp converters: does this speed fall as the number of ADCs grows?
using Speed = double (*)(const Results& results, std::size_t model, const Setting& setting);
bool falls_with_adcs(const Results& results, Speed speed, std::size_t bits) {
  std::vector<double> speeds;
  for (std::size_t adcs = 0; adcs < kAdcs.size(); ++adcs) {
    const Setting setting = timed_setting(0, bits, 0, adcs);
    speeds.push_back(geometric_mean(for_models([&](std::size_t model) { return speed(results, model, setting); })));
  }
  return std::is_sorted(speeds.rbegin(), speeds.rend());
}
double serial_over_sparse(const Results& results, std::size_t model, const Setting& setting) {
  return dense_speed(results, model, setting, kSerial) / sparse_speed(results, model, setting);
}

/// Where the time of Linear and of SparseMap goes.
void add_parts(const Results& results, const Setting& setting, Outcome& outcome) {
  const Figure& linear = results.at(kBert, Map::linear, setting);
  const Figure& sparse = results.at(kBert, Map::sparse, setting);
  add(outcome,
      fmt::format("BERT-large with {} {} converters: conversions of {} bits take {:.1f} us, those of Linear's {} bits "
                  "{:.1f} us; arrays {:.1f} us and {:.1f} us.",
                  setting.adcs, name_of(setting.converter), sparse.adc_bits, sparse.adc_ns / 1000, linear.adc_bits,
                  linear.adc_ns / 1000, sparse.settle_ns / 1000, linear.settle_ns / 1000));
}

void latency_sparse(const Results& results, Outcome& outcome) {
  fill(outcome, {converter_axis(), bits_axis(), policy_axis(), adc_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Setting timed = timed_setting(setting[0], setting[1], setting[2], setting[3]);
         return geometric_mean(for_models([&](std::size_t model) { return sparse_speed(results, model, timed); }));
       });
  const Range sar = range_of(outcome, {{"converter", 1}, {"policy", 0}});
  const Range ramp_paper = range_of(outcome, {{"converter", 0}, {"bits", 0}, {"policy", 0}});
  const Range ramp_honest = range_of(outcome, {{"converter", 0}, {"bits", 1}, {"policy", 0}});
  if (sar.most < 1) {
    add(outcome, fmt::format("Under the published policy SAR converters make it slower ({}).", text(sar)));
    add_parts(results, {.converter = Converter::sar}, outcome);
  }
  if (ramp_honest.least > 1 && ramp_paper.least > 1) {
    add(outcome, fmt::format("Under the published policy ramp converters make it faster: {} with the paper's bits, {} "
                             "with honest ones ({} bits at most){}.",
                             text(ramp_paper), text(ramp_honest),
                             results.at(kBert, Map::sparse, {.bits = Bits::honest}).adc_bits,
                             falls_with_adcs(results, sparse_speed, 0) && falls_with_adcs(results, sparse_speed, 1)
                                 ? ", more with fewer ADCs"
                                 : ""));
    add_parts(results, {.converter = Converter::ramp}, outcome);
  }
  const Range any_sar = range_of(outcome, {{"converter", 1}}), any_ramp = range_of(outcome, {{"converter", 0}});
  if (any_sar.most < kSparseSpeed && any_ramp.least > kSparseSpeed)
    outcome.reason = fmt::format("less with SAR ({}), more with ramp converters ({})", text(any_sar), text(any_ramp));
}

/// The speed of DenseMap over Linear under every setting, of the three models together by `combined`.
void fill_dense_speeds(const Results& results, Outcome& outcome, double (*combined)(const std::vector<double>&)) {
  fill(outcome, {steps_axis(), converter_axis(), bits_axis(), policy_axis(), adc_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Setting timed = timed_setting(setting[1], setting[2], setting[3], setting[4]);
         return combined(for_models([&](std::size_t model) { return dense_speed(results, model, timed, setting[0]); }));
       });
}

void latency_dense(const Results& results, Outcome& outcome) {
  fill_dense_speeds(results, outcome, geometric_mean);
  const Range sar = range_of(outcome, {{"DenseMap", kSerial}, {"converter", 1}});
  const Range ramp = range_of(outcome, {{"DenseMap", kSerial}, {"converter", 0}, {"bits", 0}, {"policy", 0}});
  const Range at_once = range_of(outcome, {{"DenseMap", kAtOnce}, {"converter", 0}, {"bits", 0}, {"policy", 0}});
  const Range dealt = range_of(outcome, {{"DenseMap", kDealt}, {"converter", 0}, {"bits", 1}, {"policy", 0}});
  if (sar.most < 1)
    add(outcome,
        fmt::format("With SAR converters and steps in series DenseMap is slower than Linear ({}).", text(sar)));
  const Figure& serial = results.at(kBert, Map::dense_diagonal, {});
  const Figure& sparse = results.at(kBert, Map::sparse, {});
  add(outcome, fmt::format("With ramp converters and {} bits {}.", serial.adc_bits, text(ramp)));
  if (serial.settle_ns > sparse.settle_ns)
    add(outcome, fmt::format("A diagonal takes an array time for every one of its blocks: {:.1f} us in all where "
                             "SparseMap's are {:.1f} us (BERT-large).",
                             serial.settle_ns / 1000, sparse.settle_ns / 1000));
  add(outcome,
      fmt::format("If the steps of a stage counted as one, {}; no program may do that, since the rows of other "
                  "blocks would add into the same columns.",
                  text(at_once)));
  if (dealt.least > outcome.claim.published)
    add(outcome,
        fmt::format("danaus's own dense mapping deals the blocks of a stage to all arrays, so that they fire side "
                    "by side on as many converters: {} with honest bits.",
                    text(dealt)));
}

void latency_dense_most(const Results& results, Outcome& outcome) {
  fill_dense_speeds(results, outcome, most_of);
  std::string each;
  for (std::size_t model = 0; model < kModels.size(); ++model)
    each += fmt::format("{}{:.2f}x for {}", each.empty() ? "" : ", ", dense_speed(results, model, {}, kSerial),
                        results.shapes[model].name);
  add(outcome, fmt::format("The best of the three models; with the settings of the first figure {}.", each));
}

/// Settings in which both of the published speeds are met, within the tolerance of the claims about each.
std::size_t both_met(const Results& results, double tolerance) {
  std::size_t met = 0;
  for (std::size_t steps : {kSerial, kAtOnce, kDealt}) {
    for (const Converter converter : kConverters) {
      for (const Bits bits : kBits) {
        for (const Policy policy : kPolicies) {
          for (const std::uint32_t adcs : kAdcs) {
            const Setting setting{.converter = converter, .bits = bits, .policy = policy, .adcs = adcs};
            const double sparse =
                geometric_mean(for_models([&](std::size_t model) { return sparse_speed(results, model, setting); }));
            const double dense = geometric_mean(
                for_models([&](std::size_t model) { return dense_speed(results, model, setting, steps); }));
            met += std::abs(sparse / kSparseSpeed - 1) <= tolerance && std::abs(dense / kDenseSpeed - 1) <= tolerance
                       ? 1
                       : 0;
          }
        }
      }
    }
  }
  return met;
}

void latency_together(const Results& results, Outcome& outcome) {
  fill(outcome, {steps_axis(), converter_axis(), bits_axis(), policy_axis(), adc_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Setting timed = timed_setting(setting[1], setting[2], setting[3], setting[4]);
         return geometric_mean(for_models([&](std::size_t model) {
           return dense_speed(results, model, timed, setting[0]) / sparse_speed(results, model, timed);
         }));
       });
  const Range serial = range_of(outcome, {{"DenseMap", kSerial}, {"bits", 0}, {"policy", 0}});
  const Figure& many = results.at(kBert, Map::dense_diagonal, {});
  const Range honest = range_of(outcome, {{"DenseMap", kSerial}, {"bits", 1}});
  add(outcome,
      fmt::format("The two figures together say that DenseMap is {:.2f} times as fast as SparseMap. With steps in "
                  "series and the paper's bits it is {}{}.",
                  outcome.claim.published, text(serial),
                  falls_with_adcs(results, serial_over_sparse, 0) && many.settle_ns > 0.5 * many.latency_ns
                      ? ": the more ADCs, the more of its time are array times (ramp converters)"
                      : ""));
  const Setting honest_setting{.bits = Bits::honest};
  const bool same_bits = results.at(kBert, Map::sparse, honest_setting).adc_bits ==
                         results.at(kBert, Map::dense_diagonal, honest_setting).adc_bits;
  if (honest.most < 1)
    add(outcome, fmt::format("With honest bits{} it is slower everywhere ({}).",
                             same_bits ? ", which are SparseMap's," : "", text(honest)));
  const std::size_t met = both_met(results, outcome.claim.tolerance);
  add(outcome,
      fmt::format("{} of the {} settings {} {:.2f}x and {:.2f}x at once.", met == 0 ? "None" : fmt::format("{}", met),
                  outcome.values.size(), met <= 1 ? "gives" : "give", kSparseSpeed, kDenseSpeed));
}

/// The regression behind the converters' energy is a best case: 120 times as much fits the measured HERMES core.
constexpr double kConverterFactors[] = {1, 120};
/// What energy means: with the passive part or without.
double energy_of(const Figure& figure, double converter_factor, bool with_passive) {
  return figure.active_nj + (converter_factor - 1) * figure.adc_nj + (with_passive ? figure.passive_nj : 0);
}

void energy(const Results& results, Outcome& outcome) {
  const Axis mapping{.name = "mapping",
                     .words = {"DenseMap, steps in series", "DenseMap, steps counted as one",
                               "DenseMap, blocks dealt to all arrays", "SparseMap"}};
  constexpr std::size_t kSparse = 3;
  const Axis parts{.name = "energy", .words = {"active and passive", "active alone"}};
  const Axis converters{.name = "converter energy", .words = {"converters at best", "converters at 120 times"}};
  fill(
      outcome, {mapping, parts, converters, converter_axis(), bits_axis(), policy_axis(), adc_axis()},
      [&](const auto& setting) -> std::optional<double> {
        const Setting timed = timed_setting(setting[3], setting[4], setting[5], setting[6]);
        const std::vector<double> ratios = for_models([&](std::size_t model) {
          const Map map = setting[0] == kSparse ? Map::sparse : setting[0] == kDealt ? Map::dense : Map::dense_diagonal;
          Figure figure = results.at(model, map, timed);
          // Steps that count as one change the time and with it the passive energy.
          if (setting[0] == kAtOnce) figure.passive_nj *= results.steps_as_one_ns(model, timed) / figure.latency_ns;
          const double factor = kConverterFactors[setting[2]];
          return energy_of(results.at(model, Map::linear, timed), factor, setting[1] == 0) /
                 energy_of(figure, factor, setting[1] == 0);
        });
        return most_of(ratios);
      });
  const Setting reference;
  const Figure& linear = results.at(kBert, Map::linear, reference);
  const Figure& dense = results.at(kBert, Map::dense_diagonal, reference);
  add(outcome,
      fmt::format("The best of the three models. Passive power times latency is {:.0f} % of Linear's energy and "
                  "{:.0f} % of DenseMap's (BERT-large, ramp, paper bits, {} ADCs){}. "
                  "The active energy alone is {:.1f} times less, that of the converters {:.1f} times.",
                  100 * linear.passive_nj / linear.energy_nj(), 100 * dense.passive_nj / dense.energy_nj(),
                  reference.adcs,
                  std::min(linear.passive_nj / linear.energy_nj(), dense.passive_nj / dense.energy_nj()) > 0.5
                      ? ", so that the sum follows latency"
                      : "",
                  linear.active_nj / dense.active_nj, linear.adc_nj / dense.adc_nj));
  const Range active = range_of(outcome, {{"energy", 1}});
  if (active.least > outcome.claim.published * (1 + outcome.claim.tolerance))
    add(outcome, fmt::format("No mapping under any setting saves as little active energy as that ({}).", text(active)));
}

double margin_of_dense(const Results& results, const Setting& setting, std::size_t steps) {
  return geometric_mean(for_models([&](std::size_t model) {
    const double dense = dense_speed(results, model, setting, steps);
    return dense / std::max(1.0, sparse_speed(results, model, setting));
  }));
}
double margin_of_sparse(const Results& results, const Setting& setting, std::size_t steps) {
  return geometric_mean(for_models([&](std::size_t model) {
    const double dense = dense_speed(results, model, setting, steps);
    return sparse_speed(results, model, setting) / std::max(1.0, dense);
  }));
}

void sweep_few(const Results& results, Outcome& outcome) {
  fill(outcome, {steps_axis(), converter_axis(), bits_axis(), policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         return margin_of_dense(results, timed_setting(setting[1], setting[2], setting[3], 0), setting[0]);
       });
  const Range paper = range_of(outcome, {{"DenseMap", kSerial}, {"bits", 0}});
  const Range honest = range_of(outcome, {{"DenseMap", kSerial}, {"bits", 1}});
  add(outcome, fmt::format("Speed over the faster of Linear and SparseMap at {} ADCs; a lead of less than {:g} % does "
                           "not count.",
                           kAdcs.front(), 100 * outcome.claim.tolerance));
  if (paper.most < 1 && honest.most < 1)
    add(outcome, fmt::format("With steps in series it is behind under every setting: {} with the paper's bits, {} with "
                             "honest ones.",
                             text(paper), text(honest)));
}

void sweep_many(const Results& results, Outcome& outcome) {
  fill(outcome, {steps_axis(), converter_axis(), bits_axis(), policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         return margin_of_sparse(results, timed_setting(setting[1], setting[2], setting[3], 3), setting[0]);
       });
  add(outcome,
      fmt::format("Speed over the faster of Linear and DenseMap at {} ADCs; a lead of less than {:g} % does not "
                  "count.",
                  kAdcs.back(), 100 * outcome.claim.tolerance));
  // Over Linear, which the figures of the claim do not say.
  std::vector<double> sparse, dense;
  for (std::size_t bits = 0; bits < kBits.size(); ++bits) {
    for (std::size_t policy = 0; policy < kPolicies.size(); ++policy) {
      const Setting sar = timed_setting(1, bits, policy, kAdcs.size() - 1);
      sparse.push_back(geometric_mean(for_models([&](std::size_t m) { return sparse_speed(results, m, sar); })));
      dense.push_back(geometric_mean(for_models([&](std::size_t m) { return dense_speed(results, m, sar, kSerial); })));
    }
  }
  if (most_of(sparse) < 1 && most_of(dense) < 1)
    add(outcome,
        fmt::format("With SAR converters Linear is faster than both: SparseMap {}, DenseMap {} with steps in "
                    "series.",
                    text(Range{least_of(sparse), most_of(sparse)}), text(Range{least_of(dense), most_of(dense)})));
}

void crossover(const Results& results, Outcome& outcome) {
  fill(outcome, {steps_axis(), converter_axis(), bits_axis(), policy_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Setting few = timed_setting(setting[1], setting[2], setting[3], 0);
         const Setting many = timed_setting(setting[1], setting[2], setting[3], 3);
         return std::min(margin_of_dense(results, few, setting[0]), margin_of_sparse(results, many, setting[0]));
       });
  add(outcome, fmt::format("The smaller of the two margins above: DenseMap's at {} ADCs and SparseMap's at {}.",
                           kAdcs.front(), kAdcs.back()));
  // The time of conversions is in proportion to the ramp's step, that of the array is not.
  const Setting few = timed_setting(0, 0, 0, 0);
  const Figure& sparse = results.at(kBert, Map::sparse, few);
  const Figure& serial = results.at(kBert, Map::dense_diagonal, few);
  const double saved = sparse.adc_ns - serial.adc_ns, lost = serial.latency_ns - sparse.latency_ns + saved;
  constexpr double kRounding = 1e-6;
  const bool only_steps = std::abs(serial.settle_ns - sparse.settle_ns - lost) <= kRounding * lost;
  if (saved > 0 && lost > saved)
    add(outcome,
        fmt::format("With ramp converters, paper bits and {} ADCs, {} bits instead of {} save {:.1f} us of converters "
                    "(BERT-large), and {} {:.1f} us more: it takes converters of {:.2f} ns per "
                    "step instead of {} for DenseMap to win there (--set adc.lsb_ns).",
                    few.adcs, serial.adc_bits, sparse.adc_bits, saved / 1000,
                    only_steps ? "steps in series take" : "all else takes", lost / 1000,
                    results.chip.adc.lsb_ns * lost / saved, results.chip.adc.lsb_ns));
  if (outcome.status != Status::differs) return;
  const auto leads = [&](auto&& margin, std::size_t adcs) {
    return std::count_if(outcome.values.begin(), outcome.values.end(), [&](const Value& value) {
      const std::vector<std::size_t>& words = value.setting;
      return holds(outcome.claim, margin(results, timed_setting(words[1], words[2], words[3], adcs), words[0]));
    });
  };
  outcome.reason = fmt::format(
      "of {} settings DenseMap leads at {} ADCs in {}, SparseMap at {} in {}, never in the same", outcome.values.size(),
      kAdcs.front(), leads(margin_of_dense, 0), kAdcs.back(), leads(margin_of_sparse, kAdcs.size() - 1));
}

void area(const Results& results, Outcome& outcome) {
  fill(outcome,
       {{.name = "DenseMap", .words = {"steps in series", "blocks dealt to all arrays"}},
        converter_axis(),
        bits_axis(),
        policy_axis(),
        adc_axis()},
       [&](const auto& setting) -> std::optional<double> {
         const Setting timed = timed_setting(setting[1], setting[2], setting[3], setting[4]);
         const std::vector<double> ratios = for_models([&](std::size_t model) {
           const Map map = setting[0] == 0 ? Map::dense_diagonal : Map::dense;
           return results.at(model, Map::linear, timed).area_mm2 / results.at(model, map, timed).area_mm2;
         });
         return least_of(ratios);
       });
  const Figure& linear = results.at(kBert, Map::linear, {});
  const Figure& dense = results.at(kBert, Map::dense_diagonal, {});
  constexpr double kUm2PerMm2 = 1e6;
  add(outcome,
      fmt::format("The smallest of the three models is shown. Arrays with their converters are {:.0f} % of Linear's "
                  "area and {:.0f} % of DenseMap's. DenseMap needs {:.2f} times fewer arrays (BERT-large); with {} "
                  "converters of {} bits one takes {:.0f} um2, one of Linear's with {} bits {:.0f} um2.",
                  100 * linear.arrays_mm2 / linear.area_mm2, 100 * dense.arrays_mm2 / dense.area_mm2,
                  double{1} * linear.arrays / dense.arrays, Setting{}.adcs, dense.adc_bits,
                  kUm2PerMm2 * dense.arrays_mm2 / dense.arrays, linear.adc_bits,
                  kUm2PerMm2 * linear.arrays_mm2 / linear.arrays));
  add(outcome, "What the paper adds for buffers, rotation and control, it does not say.");
}

/// ceil(log2(rows)), without the floor of 4 bits that the converter regression has.
double bits_for(double rows) { return std::ceil(std::log2(rows)); }

void bits_linear(const Results& results, Outcome& outcome) {
  fill(outcome, {{.name = "rows", .words = {fmt::format("{} rows", results.chip.array.rows)}}},
       [&](const auto&) -> std::optional<double> { return bits_for(results.chip.array.rows); });
  add(outcome, "ceil(log2(rows that add into a column)), as for the others.");
}

void bits_of_blocks(const Results& results, Outcome& outcome) {
  const Shapes& bert = results.shapes[kBert];
  fill(outcome,
       {{.name = "rows",
         .words = {fmt::format("attention, blocks of {}", bert.attention_rows),
                   fmt::format("feed-forward, blocks of {}", bert.feed_forward_rows)}}},
       [&](const auto& setting) -> std::optional<double> {
         return bits_for(summed_rows(results, setting[0] == 0 ? bert.attention_rows : bert.feed_forward_rows));
       });
}
void bits_sparse(const Results& results, Outcome& outcome) {
  bits_of_blocks(results, outcome);
  add(outcome, "All rows are driven, but in a column only those of its own block hold cells.");
}
/// What the regression says of converters with so few bits, if it is in use.
void add_regression(chip::Chip chip, std::uint32_t bits, Outcome& outcome) {
  const Result<double> fewer = chip::conversion_energy_pj(chip, bits);
  const Result<double> next = chip::conversion_energy_pj(chip, bits + 1);
  chip.adc.allow_extrapolation = false;
  const Result<double> covered = chip::conversion_energy_pj(chip, bits);
  if (!fewer || !next || covered || covered.error().id != "chip.adc-bits") return;
  add(outcome,
      fmt::format("The converter regression does not cover {} bits{}.", bits,
                  *fewer > *next ? fmt::format("; carried on to that many, a conversion takes more energy than "
                                               "with {} bits ({:.4f} and {:.4f} pJ)",
                                               bits + 1, *fewer, *next)
                                 : ""));
}

void bits_dense(const Results& results, Outcome& outcome) {
  bits_of_blocks(results, outcome);
  const Shapes& bert = results.shapes[kBert];
  const std::uint32_t small = summed_rows(results, bert.attention_rows),
                      large = summed_rows(results, bert.feed_forward_rows);
  const std::uint32_t diagonals = results.chip.array.rows / small;
  const Range range = range_of(outcome);
  if (range.least <= outcome.claim.published) return;
  outcome.reason = fmt::format("{} or {} rows add into a column", small, large);
  add(outcome,
      fmt::format("A step drives the rows of one block, and all of them add into each of its columns: {} rows, "
                  "{} bits; {} rows, {} bits.",
                  small, range.least, large, range.most));
  const auto bits = static_cast<std::uint32_t>(outcome.claim.published);
  const std::uint32_t rows = 1u << bits;
  if (diagonals == rows)
    add(outcome,
        fmt::format("{} = log2({}) is the number of diagonals that share an array of blocks of {}, not of rows "
                    "that add up.",
                    bits, diagonals, small));
  add(outcome, fmt::format("Driving only {} rows at a time would take {} bits, but {} or {} times as many steps and "
                           "conversions.",
                           rows, bits, small / rows, large / rows));
  add_regression(results.chip, bits, outcome);
}

struct Row {
  Claim claim;
  Evaluate evaluate;
};

const std::vector<Row>& table() {
  using enum Relation;
  static const std::vector<Row> rows = {
      {{"arrays-linear", "DenseMap needs 87 % fewer arrays than Linear", "evaluation", 0.87, about, 0.01, Unit::percent,
        Scope::arrays},
       arrays_against_linear},
      {{"arrays-sparse", "DenseMap needs more than 73 % fewer arrays than SparseMap", "evaluation", 0.73, more_than, 0,
        Unit::percent, Scope::arrays},
       arrays_against_sparse},
      {{"utilisation", "mean utilisation of DenseMap 78.8 %", "evaluation", 0.788, about, 0.01, Unit::percent,
        Scope::arrays},
       utilisation_dense},
      {{"utilisation-full", "DenseMap fills its arrays where the blocks divide them", "mapping", 1, about, 0.01,
        Unit::percent, Scope::arrays},
       utilisation_full},
      {{"utilisation-sparse", "utilisation of SparseMap 12.5 % (n = 1024, arrays of 256)", "mapping", 0.125, about,
        0.01, Unit::percent, Scope::arrays},
       utilisation_sparse},
      {{"utilisation-ratio", "DenseMap's utilisation is about 3 times SparseMap's", "evaluation", 3, about, 0.1,
        Unit::times, Scope::arrays},
       utilisation_ratio},
      {{"utilisation-gain", "array utilisation up by more than 50 %", "abstract", 0.5, more_than, 0, Unit::points,
        Scope::arrays},
       utilisation_points},
      {{"parameters", "8 times fewer parameters (BERT-large)", "D2S", 8, about, 0.05, Unit::times, Scope::shapes},
       parameters},
      {{"model-size", "model size down by more than 6.7 times", "abstract", 6.7, more_than, 0, Unit::times,
        Scope::shapes},
       model_size},
      {{"flops-512", "5.7 times fewer FLOPs (BERT-large, 512 tokens)", "D2S", 5.7, about, 0.05, Unit::times,
        Scope::shapes},
       flops_at_512},
      {{"flops", "FLOPs down by more than 4 times", "abstract", 4, more_than, 0, Unit::times, Scope::shapes}, flops},
      {{"memory", "memory down by more than 4 times", "abstract", 4, more_than, 0, Unit::times, Scope::shapes}, memory},
      {{"bits-linear", "8 ADC bits for Linear", "evaluation", 8, about, 0, Unit::bits, Scope::shapes}, bits_linear},
      {{"bits-sparse", "5 ADC bits for SparseMap", "evaluation", 5, about, 0, Unit::bits, Scope::shapes}, bits_sparse},
      {{"bits-dense", "3 ADC bits for DenseMap", "evaluation", 3, about, 0, Unit::bits, Scope::shapes}, bits_dense},
      {{"latency-sparse", "SparseMap is 1.59 times faster than Linear", "evaluation", kSparseSpeed, about, 0.05,
        Unit::times, Scope::all},
       latency_sparse},
      {{"latency-dense", "DenseMap is 1.73 times faster than Linear", "evaluation", kDenseSpeed, about, 0.05,
        Unit::times, Scope::all},
       latency_dense},
      {{"latency-dense-most", "DenseMap is up to 1.74 times faster than Linear", "evaluation", 1.74, about, 0.05,
        Unit::times, Scope::all},
       latency_dense_most},
      {{"latency-together", "DenseMap is 1.73 / 1.59 times faster than SparseMap", "evaluation",
        kDenseSpeed / kSparseSpeed, about, 0.05, Unit::times, Scope::all},
       latency_together},
      {{"energy", "energy down by up to 1.74 times", "evaluation", 1.74, about, 0.05, Unit::times, Scope::all}, energy},
      {{"sweep-few", "DenseMap is fastest with few ADCs (4 per array)", "evaluation", 1, more_than, 0.01, Unit::times,
        Scope::all},
       sweep_few},
      {{"sweep-many", "SparseMap is fastest with 32 ADCs per array", "evaluation", 1, more_than, 0.01, Unit::times,
        Scope::all},
       sweep_many},
      {{"crossover", "both, on one chip: the ADC sweep crosses over", "evaluation", 1, more_than, 0.01, Unit::times,
        Scope::all},
       crossover},
      {{"area", "area down by more than 4 times", "evaluation", 4, more_than, 0, Unit::times, Scope::all}, area}};
  return rows;
}

/// The words of each axis that occur.
std::vector<std::set<std::size_t>> projections(std::size_t axes,
                                               const std::vector<std::vector<std::size_t>>& settings) {
  std::vector<std::set<std::size_t>> result(axes);
  for (const std::vector<std::size_t>& setting : settings) {
    for (std::size_t a = 0; a < axes; ++a) result[a].insert(setting[a]);
  }
  return result;
}

std::string describe_words(const Axis& axis, const std::set<std::size_t>& words) {
  std::string result;
  for (const std::size_t word : words) result += fmt::format("{}{}", result.empty() ? "" : " or ", axis.words[word]);
  return result + axis.suffix;
}

}  // namespace

std::size_t Outcome::held() const {
  return static_cast<std::size_t>(std::count_if(values.begin(), values.end(), [&](const Value& value) {
    return value.holds && value.borrowed == (status == Status::consistent);
  }));
}
const Value& Outcome::closest() const {
  const auto distance = [&](const Value& value) { return std::abs(std::log(value.ours / claim.published)); };
  return *std::min_element(values.begin(), values.end(),
                           [&](const Value& a, const Value& b) { return distance(a) < distance(b); });
}
double Outcome::least() const { return range_of(*this).least; }
double Outcome::most() const { return range_of(*this).most; }

const std::vector<Claim>& claims() {
  static const std::vector<Claim> all = [] {
    std::vector<Claim> result;
    for (const Row& row : table()) result.push_back(row.claim);
    return result;
  }();
  return all;
}

Result<std::vector<Claim>> find_claims(std::span<const std::string> ids) {
  if (ids.empty()) return claims();
  std::vector<std::string_view> names;
  for (const Claim& claim : claims()) names.push_back(claim.id);
  for (const std::string& id : ids) {
    if (std::find(names.begin(), names.end(), id) != names.end()) continue;
    const std::string_view near = nearest(id, names);
    return fail(
        Error("reproduce.unknown-claim", Failure::usage, fmt::format("there is no claim '{}'", id))
            .with_hint(near.empty() ? "danaus reproduce --list lists them" : fmt::format("did you mean '{}'?", near)));
  }
  std::vector<Claim> result;
  for (const Claim& claim : claims()) {
    if (std::find(ids.begin(), ids.end(), claim.id) != ids.end()) result.push_back(claim);
  }
  return result;
}

Scope scope_of(std::span<const Claim> selected) {
  Scope scope = Scope::shapes;
  for (const Claim& claim : selected) scope = std::max(scope, claim.scope);
  return scope;
}

Outcome judge(const Claim& claim, const Results& results) {
  ensure(results.scope >= claim.scope, "what a claim needs was measured");
  Outcome outcome;
  outcome.claim = claim;
  for (const Row& row : table()) {
    if (row.claim.id == claim.id) row.evaluate(results, outcome);
  }
  // Evaluators look at the figures alone: a tolerance may still call them the published ones.
  if (outcome.status == Status::reproduced || outcome.status == Status::reproduced_under) outcome.reason.clear();
  return outcome;
}

std::string_view name_of(Status status) {
  switch (status) {
    case Status::reproduced:
      return "reproduced";
    case Status::reproduced_under:
      return "reproduced under";
    case Status::consistent:
      return "consistent with";
    case Status::differs:
      break;
  }
  return "differs";
}

std::string describe(const std::vector<Axis>& axes, const std::vector<std::size_t>& setting) {
  std::string result;
  for (std::size_t a = 0; a < axes.size(); ++a)
    result += fmt::format("{}{}{}", result.empty() ? "" : ", ", axes[a].words[setting[a]], axes[a].suffix);
  return result;
}

std::string describe(const std::vector<Axis>& axes, const std::vector<std::vector<std::size_t>>& settings) {
  const std::vector<std::set<std::size_t>> words = projections(axes.size(), settings);
  std::size_t product = 1;
  for (const std::set<std::size_t>& of_axis : words) product *= of_axis.size();
  std::string result;
  if (product == settings.size()) {
    for (std::size_t a = 0; a < axes.size(); ++a) {
      if (words[a].size() == axes[a].words.size()) continue;  // all of them: says nothing
      result += fmt::format("{}{}", result.empty() ? "" : ", ", describe_words(axes[a], words[a]));
    }
    return result;
  }
  // No product: word by word along the axis that gives the shortest text.
  for (std::size_t a = 0; a < axes.size(); ++a) {
    if (words[a].size() == 1) continue;
    std::string by_axis;
    for (const std::size_t word : words[a]) {
      std::vector<std::vector<std::size_t>> part;
      for (const std::vector<std::size_t>& setting : settings) {
        if (setting[a] == word) part.push_back(setting);
      }
      by_axis += fmt::format("{}{}", by_axis.empty() ? "" : "; ", describe(axes, part));
    }
    if (result.empty() || by_axis.size() < result.size()) result = std::move(by_axis);
  }
  return result;
}

}  // namespace danaus::reproduce
