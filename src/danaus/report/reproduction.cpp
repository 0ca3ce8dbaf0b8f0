// The published claims and our figures, for people: the table of the terminal and the Markdown page. The page is
// docs/reproduction.md, so it holds nothing that varies from run to run.

#include "danaus/report/reproduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

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

/// "reproduced", "differs", or "reproduced under SAR, 4 ADCs (2 of 96 settings)", the settings only where they take few
/// words.
std::string short_status(const Outcome& outcome) {
  const std::string name(name_of(outcome.status));
  if (outcome.status != Status::reproduced_under) return name;
  constexpr std::size_t kFew = 70;
  return outcome.under.size() <= kFew ? fmt::format("{} {} ({})", name, outcome.under, held(outcome))
                                      : fmt::format("{} {}", name, held(outcome));
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

/// Of a claim that differs: the setting that comes nearest; "" where there is nothing to choose.
std::string closest(const Outcome& outcome) {
  if (outcome.status != Status::differs || outcome.values.size() < 2) return "";
  const reproduce::Value& value = outcome.closest();
  return fmt::format("{} under {}", amount(value.ours, outcome.claim.unit), describe(outcome.axes, value.setting));
}

std::size_t count(const Reproduction& reproduction, Status status_wanted) {
  return static_cast<std::size_t>(
      std::count_if(reproduction.outcomes.begin(), reproduction.outcomes.end(),
                    [&](const Outcome& outcome) { return outcome.status == status_wanted; }));
}

std::string summary(const Reproduction& reproduction) {
  return fmt::format("{} of {} claims are reproduced, {} under some settings, {} differ.",
                     count(reproduction, Status::reproduced), reproduction.outcomes.size(),
                     count(reproduction, Status::reproduced_under), count(reproduction, Status::differs));
}

// A Markdown table.
std::string markdown_row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) row += fmt::format(" {} |", cell);
  return row + "\n";
}
std::string markdown_head(const std::vector<std::string>& cells, std::size_t left = 1) {
  std::string rule = "|";
  for (std::size_t c = 0; c < cells.size(); ++c) rule += c < left ? "---|" : "---:|";
  return markdown_row(cells) + rule + "\n";
}

double speed(const Results& results, std::size_t model, Map map, const Setting& setting) {
  return results.at(model, Map::linear, setting).latency_ns / results.at(model, map, setting).latency_ns;
}

std::string times(double value) { return fmt::format("{:.2f}x", value); }

std::string claims_section(const Reproduction& reproduction) {
  std::string page = markdown_head({"claim", "the paper says", "published", "ours", "ratio", "status"}, 2);
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
    if (outcome.status == Status::reproduced_under) page += fmt::format(" {} ({})", outcome.under, held(outcome));
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
    if (outcome.status == Status::reproduced_under)
      text += wrapped(fmt::format("under {}: {}", held(outcome), outcome.under), kIndent, kWidth);
    if (const std::string nearest_to = closest(outcome); !nearest_to.empty())
      text += wrapped("closest: " + nearest_to, kIndent, kWidth);
    if (explain || outcome.status == Status::differs)
      text += wrapped((outcome.status == Status::differs ? "because: " : "") + outcome.explanation, kIndent, kWidth);
  }
  const chip::Chip& chip = reproduction.results.chip;
  text += "\n" + summary(reproduction) + "\n";
  text += wrapped(
      fmt::format("ours: chip {}, ramp converters, the paper's ADC bits, its policy (--pad square), 32 ADCs per "
                  "array. Nothing was fitted. Every program was proved to compute its model.",
                  chip.name),
      0, kWidth);
  return text;
}

std::string reproduction_page(const Reproduction& reproduction) {
  const Results& results = reproduction.results;
  const Setting reference;
  const auto outcome_of = [&](std::string_view id) -> const Outcome& {
    return *std::find_if(reproduction.outcomes.begin(), reproduction.outcomes.end(),
                         [&](const Outcome& outcome) { return outcome.claim.id == id; });
  };
  const reproduce::Shapes& bert = results.shapes[kBert];
  const Setting trimmed{.policy = reproduce::Policy::trimmed};
  std::string page =
      fmt::format(R"(# What of the published figures can be reproduced

This page is written by `danaus reproduce -o DIR`, and a test checks that it is current. It compares the claims of *Efficient
In-Memory Acceleration of Sparse Block Diagonal LLMs* (arXiv 2510.11192) with what danaus finds. No other implementation is public, and
the paper does not say how long a conversion takes, so every claim about time and energy is tried under eight conditions and four numbers
of ADCs per array, and this page says under which of them it holds. Nothing was tuned until numbers matched.

- **converter**: *ramp* converts b bits in 2^b steps of {} ns, *SAR* in b + 1 of {} ns; both sample and hold, and an array takes {} ns.
- **bits**: *paper bits* are 8 for Linear, 5 for SparseMap, 3 for DenseMap; *honest bits* are ceil(log2(rows that add into a column)).
- **policy**: *published policy* pads feed-forward matrices to 4096 x 4096 (`--pad square`); *no dead blocks* drops what the padding added
  (`--trim`), which changes no function.
- **DenseMap**: *steps in series* is the mapping as published (`--map dense-diagonal`: whole diagonals, one block after the other);
  *steps counted as one* is arithmetic: SparseMap's array times in place of its own; *blocks dealt to all arrays* is danaus's own `--map dense`: the
  blocks of a stage fire side by side, which helps one token at a time and not a chip that is busy with many.

Array counts, times and energies are of compiled programs, each proved over a prime field to compute its model: one token at full context
(decode; of BART-large the decoder's part). Speeds are geometric means over BERT-large, BART-large and GPT-2-medium unless a claim says
otherwise. The chip is `{}` (`danaus show chips paper`), a reconstruction: each constant has its source or the word "assumed".

## The claims

)",
                  results.chip.adc.lsb_ns, results.chip.adc.step_ns, results.chip.array.settle_ns, results.chip.name);
  page += claims_section(reproduction);
  page += fmt::format(
      "\n*ours*: ramp, paper bits, published policy, 32 ADCs, steps in series. {} With "
      "so many settings some figure comes near a published one by chance: a claim that holds under two of 96 "
      "is not explained by them.\n\n",
      summary(reproduction));
  page += "![ours over published](figures/claims.svg)\n\n";
  page += R"(## What does not add up

)";
  page += fmt::format(
      "- **3 bits for DenseMap.** {}\n"
      "- **1.59x and 1.73x together.** {}\n"
      "- **78.8 %.** {}\n"
      "- **Energy.** {}\n\n",
      outcome_of("bits-dense").explanation, outcome_of("latency-together").explanation,
      outcome_of("utilisation").explanation, outcome_of("energy").explanation);
  page += fmt::format(
      "## The free win over the published policy\n\n"
      "When 1024 inputs are padded to 4096, 48 of the 64 blocks of the first factor see only zeros, and so do 48 of "
      "the 64 inputs of "
      "every block of the second; when 1024 of 4096 outputs are kept, it is the same from the other end. `--pad square "
      "--trim` "
      "drops them: the same function with {:.1f} "
      "times fewer weights than "
      "the dense matrices instead of {:.1f}, {} instead of {} arrays for DenseMap and {} instead of {} for SparseMap "
      "(BERT-large).\n\n",
      static_cast<double>(bert.dense_weights) / static_cast<double>(bert.weights[1]),
      static_cast<double>(bert.dense_weights) / static_cast<double>(bert.weights[0]),
      results.at(kBert, Map::dense_diagonal, trimmed).arrays, results.at(kBert, Map::dense_diagonal, reference).arrays,
      results.at(kBert, Map::sparse, trimmed).arrays, results.at(kBert, Map::sparse, reference).arrays);
  page += "## Claim by claim\n\n" + claim_by_claim(reproduction);
  page += "## Arrays, weights, FLOPs\n\nWeights and FLOPs: dense over blocks, FLOPs at full context.\n\n" +
          arrays_section(results) + "\n![arrays and utilisation](figures/arrays.svg)\n\n";
  page += "## Work per layer and token\n\nBERT-large, published policy.\n\n" + work_section(results) + "\n";
  page +=
      "## Latency\n\nBERT-large, one token: Linear's latency, and how many times faster the others are.\n\n" +
      latency_section(results) +
      "\n![latency over ADCs per array](figures/sweep.svg)\n\n![speed and energy at 32 ADCs](figures/ratios.svg)\n\n";
  page +=
      "## Energy\n\nBERT-large, one token, published policy, 32 ADCs per array. Passive energy is 5 W times the "
      "latency.\n\n" +
      energy_section(results);
  return page;
}

}  // namespace danaus::report
