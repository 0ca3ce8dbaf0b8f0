// The published claims and our figures, for people: the table of the terminal and the Markdown page. The page is
// docs/reproduction.md, so it holds nothing that varies from run to run.

#include "danaus/report/reproduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "danaus/report/table.h"
#include "danaus/report/units.h"

namespace danaus::report {
namespace {

using reproduce::Claim;
using reproduce::Converter;
using reproduce::Figure;
using reproduce::Map;
using reproduce::Outcome;
using reproduce::Relation;
using reproduce::Results;
using reproduce::Setting;
using reproduce::Status;
using reproduce::Unit;
using Align = Table::Align;

constexpr std::size_t kBert = 0;

std::string amount(double value, Unit unit) {
  switch (unit) {
    case Unit::times:
      return fmt::format("{:.2f}x", value);
    case Unit::percent:
      return fmt::format("{:.1f} %", 100 * value);
    case Unit::points:
      return fmt::format("{:.1f} points", 100 * value);
    case Unit::bits:
      break;
  }
  return fmt::format("{:.0f} bits", value);
}

std::string published(const Claim& claim) {
  return fmt::format("{}{}", claim.relation == Relation::more_than ? "> " : "", amount(claim.published, claim.unit));
}

std::string range(const Outcome& outcome) {
  const double least = outcome.least(), most = outcome.most();
  if (least == most) return "";
  const std::string from = amount(least, outcome.claim.unit);
  const std::string_view number = std::string_view(from).substr(0, from.find_first_of("x "));
  return fmt::format("{} to {}", number, amount(most, outcome.claim.unit));
}

/// "2 of 96 settings"
std::string held(const Outcome& outcome) {
  return fmt::format("{} of {} settings", outcome.held(), outcome.values.size());
}

/// Of a claim that differs: the setting that comes nearest; "" where there is nothing to choose.
std::string closest(const Outcome& outcome) {
  if (outcome.status != Status::differs || outcome.values.size() < 2) return "";
  const reproduce::Value& value = outcome.closest();
  return fmt::format("{} under {}", amount(value.ours, outcome.claim.unit), describe(outcome.axes, value.setting));
}

/// As many of the settings as few words say: "SAR, 4 ADCs; and others".
std::string few_settings(const std::string& under) {
  constexpr std::size_t kFew = 130;
  if (under.size() <= kFew) return under;
  const std::size_t first = under.find("; ");
  const std::size_t end = std::max(first, under.rfind("; ", kFew));
  return first == std::string::npos ? under : under.substr(0, end) + "; and others";
}

/// "reproduced", "reproduced under SAR, 4 ADCs (2 of 96 settings)", "differs: why".
std::string short_status(const Outcome& outcome) {
  std::string text(name_of(outcome.status));
  if (!outcome.under.empty()) text += fmt::format(" {} ({})", few_settings(outcome.under), held(outcome));
  const std::string why = outcome.reason.empty() ? closest(outcome) : outcome.reason;
  if (!why.empty()) text += ": " + why;
  return text;
}

/// Words in lines of at most `width` characters, each indented.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string result, line;
  const auto flush = [&] {
    if (!line.empty()) result += fmt::format("{:{}}{}\n", "", indent, line);
    line.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) flush();
    line += fmt::format("{}{}", line.empty() ? "" : " ", word);
    at = end + 1;
  }
  flush();
  return result;
}

std::size_t count(const Reproduction& reproduction, Status status_wanted) {
  return static_cast<std::size_t>(
      std::count_if(reproduction.outcomes.begin(), reproduction.outcomes.end(),
                    [&](const Outcome& outcome) { return outcome.status == status_wanted; }));
}

std::string summary(const Reproduction& reproduction) {
  const std::size_t consistent = count(reproduction, Status::consistent);
  return fmt::format(
      "{} of {} claims are reproduced, {} under some settings, {}{} differ.", count(reproduction, Status::reproduced),
      reproduction.outcomes.size(), count(reproduction, Status::reproduced_under),
      consistent == 0 ? "" : fmt::format("{} only consistent with another figure of the paper, ", consistent),
      count(reproduction, Status::differs));
}

/// The command that gives these results, as far as figures depend on it.
std::string command(const Results& results) {
  std::string text = "danaus reproduce";
  if (results.chip_name != "paper") text += " --chip " + results.chip_name;
  for (const auto& [key, value] : results.settings) text += fmt::format(" --set {}={}", key, value);
  return text;
}

/// What the figures rest on.
std::string basis(const Results& results) {
  if (results.figures.empty()) return "These figures are arithmetic on the shapes of the models: no program was made.";
  const std::string chip =
      results.is_reconstruction
          ? "the reconstruction of the paper's chip, of which nothing was fitted to its results"
          : "not the reconstruction of the paper's chip, so that figures differ from docs/reproduction.md";
  return fmt::format("Figures are of {} programs, each proved to compute its model, on chip {}: {}.",
                     results.programs(), results.chip.name, chip);
}

// A Markdown table.
std::string markdown_row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) row += fmt::format(" {} |", cell);
  return row + "\n";
}
/// Columns are set to the right but for the first few and, if there is text in it, the last.
std::string markdown_head(const std::vector<std::string>& cells, std::size_t left = 1, bool last_is_text = false) {
  std::string rule = "|";
  for (std::size_t c = 0; c < cells.size(); ++c)
    rule += c < left || (last_is_text && c + 1 == cells.size()) ? "---|" : "---:|";
  return markdown_row(cells) + rule + "\n";
}

double speed(const Results& results, std::size_t model, Map map, const Setting& setting) {
  return results.at(model, Map::linear, setting).latency_ns / results.at(model, map, setting).latency_ns;
}

std::string times(double value) { return fmt::format("{:.2f}x", value); }

std::string claims_section(const Reproduction& reproduction) {
  std::string page = markdown_head({"claim", "the paper says", "published", "ours", "ratio", "status"}, 2, true);
  for (const Outcome& outcome : reproduction.outcomes) {
    const Claim& claim = outcome.claim;
    page += markdown_row({fmt::format("[{}](#{})", claim.id, claim.id), std::string(claim.text), published(claim),
                          amount(outcome.ours(), claim.unit), times(outcome.ours() / claim.published),
                          short_status(outcome)});
  }
  return page;
}

std::string claim_by_claim(const Reproduction& reproduction) {
  std::string page;
  for (const Outcome& outcome : reproduction.outcomes) {
    const Claim& claim = outcome.claim;
    page += fmt::format("### {}\n\n{} ({}). ", claim.id, claim.text, claim.where);
    page += fmt::format("Ours: {} under {}", amount(outcome.ours(), claim.unit),
                        describe(outcome.axes, outcome.values[outcome.reference].setting));
    const std::string all = range(outcome);
    page += all.empty() ? ".\n\n" : fmt::format("; {} over all {} settings.\n\n", all, outcome.values.size());
    page += fmt::format("**{}**", name_of(outcome.status));
    if (!outcome.under.empty()) page += fmt::format(" {} ({})", outcome.under, held(outcome));
    if (claim.relation == Relation::about && claim.tolerance > 0) {
      const bool absolute = claim.unit == Unit::percent || claim.unit == Unit::points;
      page += fmt::format(" (within {:.0f} {})", 100 * claim.tolerance,
                          !absolute                 ? "%"
                          : claim.tolerance == 0.01 ? "percentage point"
                                                    : "percentage points");
    }
    if (const std::string nearest_to = closest(outcome); !nearest_to.empty())
      page += fmt::format("; closest: {}", nearest_to);
    page += fmt::format(". {}\n\n", outcome.explanation);
  }
  return page;
}

std::string arrays_section(const Results& results) {
  std::string page = markdown_head(
      {"model", "policy", "Linear", "SparseMap", "its utilisation", "DenseMap", "its utilisation", "weights", "FLOPs"},
      2);
  for (std::size_t model = 0; model < reproduce::kModels.size(); ++model) {
    for (const reproduce::Policy policy : reproduce::kPolicies) {
      const Setting setting{.policy = policy};
      const reproduce::Shapes& shapes = results.shapes[model];
      const Figure& sparse = results.at(model, Map::sparse, setting);
      const Figure& dense = results.at(model, Map::dense_diagonal, setting);
      const double dense_weights = static_cast<double>(shapes.dense_weights);
      const double blocks = static_cast<double>(shapes.weights[static_cast<std::size_t>(policy)]);
      const double attention = static_cast<double>(shapes.attention_macs);
      page += markdown_row({shapes.name, std::string(name_of(policy)),
                            fmt::format("{}", results.at(model, Map::linear, setting).arrays),
                            fmt::format("{}", sparse.arrays), format_percent(sparse.utilisation),
                            fmt::format("{}", dense.arrays), format_percent(dense.utilisation),
                            times(dense_weights / blocks), times((dense_weights + attention) / (blocks + attention))});
    }
  }
  return page;
}

std::string work_section(const Results& results) {
  std::string page = markdown_head({"map", "activations", "conversions", "ADC bits, paper", "ADC bits, honest"});
  const double layers = results.shapes[kBert].layers;
  for (const Map map : reproduce::kMaps) {
    const Figure& paper = results.at(kBert, map, {});
    const Figure& honest = results.at(kBert, map, {.bits = reproduce::Bits::honest});
    page += markdown_row({fmt::format("`{}`", name_of(map)),
                          fmt::format("{:.0f}", static_cast<double>(paper.activations) / layers),
                          fmt::format("{:.0f}", static_cast<double>(paper.conversions) / layers),
                          fmt::format("{}", paper.adc_bits), fmt::format("{}", honest.adc_bits)});
  }
  return page;
}

std::string latency_section(const Results& results) {
  std::string page = markdown_head({"converter", "bits", "policy", "ADCs", "Linear", "SparseMap",
                                    "DenseMap, steps in series", "steps counted as one", "blocks dealt to all arrays"},
                                   3);
  for (const Converter converter : reproduce::kConverters) {
    for (const reproduce::Bits bits : reproduce::kBits) {
      for (const reproduce::Policy policy : reproduce::kPolicies) {
        for (const std::uint32_t adcs : reproduce::kAdcs) {
          const Setting setting{.converter = converter, .bits = bits, .policy = policy, .adcs = adcs};
          const double linear = results.at(kBert, Map::linear, setting).latency_ns;
          page += markdown_row({std::string(name_of(converter)), std::string(name_of(bits)),
                                std::string(name_of(policy)), fmt::format("{}", adcs), format_time(linear),
                                times(speed(results, kBert, Map::sparse, setting)),
                                times(speed(results, kBert, Map::dense_diagonal, setting)),
                                times(linear / results.steps_as_one_ns(kBert, setting)),
                                times(speed(results, kBert, Map::dense, setting))});
        }
      }
    }
  }
  return page;
}

std::string energy_section(const Results& results) {
  std::string page =
      markdown_head({"converter", "bits", "map", "active", "of it converters", "passive", "sum", "Linear / it"}, 3);
  for (const Converter converter : reproduce::kConverters) {
    for (const reproduce::Bits bits : reproduce::kBits) {
      for (const Map map : reproduce::kMaps) {
        const Setting setting{.converter = converter, .bits = bits};
        const Figure& figure = results.at(kBert, map, setting);
        page += markdown_row({std::string(name_of(converter)), std::string(name_of(bits)),
                              fmt::format("`{}`", name_of(map)), format_energy(figure.active_nj),
                              format_energy(figure.adc_nj), format_energy(figure.passive_nj),
                              format_energy(figure.energy_nj()),
                              times(results.at(kBert, Map::linear, setting).energy_nj() / figure.energy_nj())});
      }
    }
  }
  return page;
}

/// The latency table's short form for every model: the two ends of the sweep.
std::string models_section(const Results& results) {
  std::string page =
      markdown_head({"model", "converter", "bits", "ADCs", "Linear", "SparseMap", "DenseMap, steps in series",
                     "steps counted as one", "blocks dealt to all arrays", "energy, steps in series"},
                    3);
  for (std::size_t model = 0; model < reproduce::kModels.size(); ++model) {
    for (const Converter converter : reproduce::kConverters) {
      for (const reproduce::Bits bits : reproduce::kBits) {
        for (const std::uint32_t adcs : {reproduce::kAdcs.front(), reproduce::kAdcs.back()}) {
          const Setting setting{.converter = converter, .bits = bits, .adcs = adcs};
          const Figure& linear = results.at(model, Map::linear, setting);
          page +=
              markdown_row({results.shapes[model].name, std::string(name_of(converter)), std::string(name_of(bits)),
                            fmt::format("{}", adcs), format_time(linear.latency_ns),
                            times(speed(results, model, Map::sparse, setting)),
                            times(speed(results, model, Map::dense_diagonal, setting)),
                            times(linear.latency_ns / results.steps_as_one_ns(model, setting)),
                            times(speed(results, model, Map::dense, setting)),
                            times(linear.energy_nj() / results.at(model, Map::dense_diagonal, setting).energy_nj())});
        }
      }
    }
  }
  return page;
}

/// " Passive energy is 5 W times the latency." where it is the same power for all.
std::string passive_power(const Results& results) {
  double least = 0, most = 0;
  for (const Converter converter : reproduce::kConverters) {
    for (const reproduce::Bits bits : reproduce::kBits) {
      for (const Map map : reproduce::kMaps) {
        const Figure& figure = results.at(kBert, map, {.converter = converter, .bits = bits});
        const double watts = figure.passive_nj / figure.latency_ns;
        least = most == 0 ? watts : std::min(least, watts);
        most = std::max(most, watts);
      }
    }
  }
  constexpr double kRounding = 1e-6;
  return most - least <= kRounding * most ? fmt::format(" Passive energy is {:.4g} W times the latency.", most) : "";
}

/// Of the claims that hold under some settings the one that holds under the smallest share of them.
std::string chance(const Reproduction& reproduction) {
  const auto share = [](const Outcome& outcome) {
    return static_cast<double>(outcome.held()) / static_cast<double>(outcome.values.size());
  };
  const Outcome* rarest = nullptr;
  for (const Outcome& outcome : reproduction.outcomes) {
    if (outcome.status == Status::reproduced_under && (rarest == nullptr || share(outcome) < share(*rarest)))
      rarest = &outcome;
  }
  constexpr double kRare = 0.1;
  if (rarest == nullptr || share(*rarest) > kRare) return "";
  return fmt::format(
      " With so many settings some figure comes near a published one by chance: a claim that holds under {}, as `{}` "
      "does, is not explained by them.",
      held(*rarest), rarest->claim.id);
}

/// The explanations that belong together, of those claims that are not simply reproduced.
std::string open_questions(const Reproduction& reproduction) {
  constexpr std::pair<std::string_view, std::string_view> kQuestions[] = {
      {"bits-dense", "3 bits for DenseMap"},
      {"latency-together", "1.59x and 1.73x together"},
      {"utilisation", "78.8 %"},
      {"energy", "Energy"}};
  std::string questions;
  for (const auto& [id, title] : kQuestions) {
    for (const Outcome& outcome : reproduction.outcomes) {
      if (outcome.claim.id == id && outcome.status != Status::reproduced)
        questions += fmt::format("- **{}.** {}\n", title, outcome.explanation);
    }
  }
  return questions.empty() ? "" : "## What does not add up\n\n" + questions + "\n";
}

/// What the padding of the published policy costs, by the shapes of a feed-forward matrix of BERT-large.
std::string free_win(const Results& results) {
  const reproduce::Shapes& bert = results.shapes[kBert];
  const Structure &padded = bert.expansion[0], &live = bert.expansion[1];
  const Setting published, trimmed{.policy = reproduce::Policy::trimmed};
  const auto fewer_weights = [&](std::size_t policy) {
    return static_cast<double>(bert.dense_weights) / static_cast<double>(bert.weights[policy]);
  };
  const auto arrays = [&](Map map, const Setting& setting) { return results.at(kBert, map, setting).arrays; };
  return fmt::format(
      "## The free win over the published policy\n\n"
      "When {} inputs are padded to {}, {} of the {} blocks of the first factor see only zeros, and so do {} of "
      "the {} inputs of every block of the second; when {} of {} outputs are kept, it is the same from the other end. "
      "`--pad square --trim` drops them: the same function with {:.1f} times fewer weights than "
      "the dense matrices instead of {:.1f}, {} instead of {} arrays for DenseMap and {} instead of {} for SparseMap "
      "(BERT-large).\n\n",
      padded.in, padded.k * padded.in_block, padded.k - live.k, padded.k, (padded.k - live.k) * padded.r,
      padded.k * padded.r, padded.in, padded.l * padded.out_block, fewer_weights(1), fewer_weights(0),
      arrays(Map::dense_diagonal, trimmed), arrays(Map::dense_diagonal, published), arrays(Map::sparse, trimmed),
      arrays(Map::sparse, published));
}

}  // namespace

Listing claim_listing() {
  Listing listing{.kind = "claims", .columns = {"claim", "published", "the paper says", "where"}, .rows = {}};
  for (const Claim& claim : reproduce::claims())
    listing.rows.push_back(
        {std::string(claim.id), published(claim), std::string(claim.text), std::string(claim.where)});
  return listing;
}

std::string reproduction_table(const Reproduction& reproduction, bool explain) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::left, Align::left});
  table.add({"claim", "published", "ours", "ratio", "status", "over all settings"});
  for (const Outcome& outcome : reproduction.outcomes) {
    const Claim& claim = outcome.claim;
    table.add({std::string(claim.id), published(claim), amount(outcome.ours(), claim.unit),
               times(outcome.ours() / claim.published), std::string(name_of(outcome.status)), range(outcome)});
  }
  // The rows of the table, with the words of each claim under its own.
  constexpr std::size_t kIndent = 4, kWidth = 120;
  const std::string rows = table.to_string();
  std::string text;
  std::size_t at = 0;
  for (std::size_t n = 0; n <= reproduction.outcomes.size(); ++n) {
    const std::size_t end = rows.find('\n', at) + 1;
    text += rows.substr(at, end - at);
    at = end;
    if (n == 0) continue;
    const Outcome& outcome = reproduction.outcomes[n - 1];
    if (explain) text += wrapped(fmt::format("The paper: {}.", outcome.claim.text), kIndent, kWidth);
    if (!outcome.under.empty())
      text += wrapped(fmt::format("{} {}: {}", outcome.status == Status::consistent ? "with" : "under", held(outcome),
                                  outcome.under),
                      kIndent, kWidth);
    if (const std::string nearest_to = closest(outcome); !nearest_to.empty())
      text += wrapped("closest: " + nearest_to, kIndent, kWidth);
    const bool needs_reason = outcome.status == Status::differs || outcome.status == Status::consistent;
    if (explain || needs_reason) {
      const std::string why = outcome.reason.empty() ? "" : fmt::format("because: {}. ", outcome.reason);
      text += wrapped(why + outcome.explanation, kIndent, kWidth);
    }
  }
  text += "\n" + summary(reproduction) + "\n";
  text += wrapped((reproduction.results.scope == reproduce::Scope::shapes
                       ? "ours: the paper's policy (--pad square). "
                       : fmt::format("ours: ramp converters, the paper's ADC bits, its policy (--pad square), {} ADCs "
                                     "per array, DenseMap's steps in series. ",
                                     Setting{}.adcs)) +
                      basis(reproduction.results),
                  0, kWidth);
  return text;
}

std::string reproduction_page(const Reproduction& reproduction) {
  const Results& results = reproduction.results;
  const chip::Chip& chip = results.chip;
  const Structure& padded = results.shapes[kBert].expansion[0];
  const std::size_t conditions = reproduce::kConverters.size() * reproduce::kBits.size() * reproduce::kPolicies.size();
  std::string page = fmt::format(
      R"(# What of the published figures can be reproduced

This page is written by `{} -o DIR`{}. It compares the claims of *Efficient
In-Memory Acceleration of Sparse Block Diagonal LLMs* (arXiv 2510.11192) with what danaus finds. No other implementation is public, and
the paper does not say how long a conversion takes, so every claim about time and energy is tried under {} conditions and {} numbers
of ADCs per array, and this page says under which of them it holds.

- **converter**: *ramp* converts b bits in 2^b steps of {} ns, *SAR* in b + 1 of {} ns; {}an array takes {} ns.
- **bits**: *paper bits* are 8 for Linear, 5 for SparseMap, 3 for DenseMap; *honest bits* are ceil(log2(rows that add into a column)).
- **policy**: *published policy* pads feed-forward matrices to {} x {} (`--pad square`); *no dead blocks* drops what the padding added
  (`--trim`), which changes no function.
- **DenseMap**: *steps in series* is the mapping as published (`--map dense-diagonal`: whole diagonals, one block after the other);
  *steps counted as one* is arithmetic: SparseMap's array times in place of its own; *blocks dealt to all arrays* is danaus's own `--map dense`: the
  blocks of a stage fire side by side, which helps one token at a time and not a chip that is busy with many.

{}
Programs are proved over a prime field, and times and energies are those of one token at full context (decode; of BART-large the
decoder's part). Speeds are geometric means over BERT-large, BART-large and GPT-2-medium unless a claim says
otherwise.{}

## The claims

)",
      command(results), results.is_reconstruction ? ", and a test checks that it is current" : "", conditions,
      reproduce::kAdcs.size(), chip.adc.lsb_ns, chip.adc.step_ns,
      chip.adc.sample_hold ? "both sample and hold, and " : "", chip.array.settle_ns, padded.k * padded.in_block,
      padded.l * padded.out_block, basis(results),
      results.is_reconstruction
          ? " Each constant of the chip has its source or the word \"assumed\" (`danaus show chips paper`)."
          : "");
  page += claims_section(reproduction);
  page += fmt::format(
      "\n*ours*: ramp, paper bits, published policy, {} ADCs, steps in series. {}\n\n"
      "*Consistent with*: it holds when another published figure is put in, or a guess made to explain one, and under "
      "no "
      "setting of ours; that says that the paper's figures agree, not that we found them.{}\n\n",
      Setting{}.adcs, summary(reproduction), chance(reproduction));
  page += "![ours over published](figures/claims.svg)\n\n";
  page += open_questions(reproduction);
  page += free_win(results);
  page += "## Claim by claim\n\n" + claim_by_claim(reproduction);
  page += "## Arrays, weights, FLOPs\n\nWeights and FLOPs: dense over blocks, FLOPs at full context.\n\n" +
          arrays_section(results) + "\n![arrays and utilisation](figures/arrays.svg)\n\n";
  page += "## Work per layer and token\n\nBERT-large, published policy.\n\n" + work_section(results) + "\n";
  page +=
      "## Latency\n\nBERT-large, one token: Linear's latency, and how many times faster the others are.\n\n" +
      latency_section(results) +
      "\n![latency over ADCs per array](figures/sweep.svg)\n\n![speed and energy at 32 ADCs](figures/ratios.svg)\n\n"
      "All three models, published policy:\n\n" +
      models_section(results);
  page += fmt::format("\n## Energy\n\nBERT-large, one token, published policy, {} ADCs per array.{}\n\n",
                      Setting{}.adcs, passive_power(results)) +
          energy_section(results);
  return page;
}

}  // namespace danaus::report
