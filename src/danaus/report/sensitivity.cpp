// One row per operator, one column per candidate.

#include "danaus/report/sensitivity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "danaus/report/table.h"

namespace danaus::report {
namespace {

using Json = nlohmann::ordered_json;
using Candidate = pipeline::Sensitivity::Candidate;

template <typename Text>
void add_row(Table& table, std::string head, const std::vector<Candidate>& candidates, const Text& text) {
  std::vector<std::string> row = {std::move(head)};
  for (const Candidate& candidate : candidates) row.push_back(text(candidate));
  table.add(std::move(row));
}

}  // namespace

std::string sensitivity_table(const pipeline::Sensitivity& sensitivity) {
  const std::vector<Candidate>& candidates = sensitivity.candidates;
  std::vector<Table::Align> columns(candidates.size() + 1, Table::Align::right);
  columns.front() = Table::Align::left;
  Table table(std::move(columns));
  add_row(table, "operator", candidates, [](const Candidate& candidate) { return candidate.name; });
  for (std::size_t n = 0; n < sensitivity.operators.size(); ++n)
    add_row(table, sensitivity.operators[n], candidates,
            [&](const Candidate& candidate) { return fmt::format("{:.4f}", candidate.damages[n]); });
  table.gap();
  add_row(table, "sum", candidates, [](const Candidate& candidate) { return fmt::format("{:.4f}", candidate.sum); });
  add_row(table, "all at once", candidates, [](const Candidate& candidate) {
    return candidate.together ? fmt::format("{:.4f}", *candidate.together) : "-";
  });
  add_row(table, "parameters", candidates, [&](const Candidate& candidate) {
    return fmt::format("{:.3f}x",
                       static_cast<double>(candidate.parameters) / static_cast<double>(sensitivity.dense_parameters));
  });
  std::string text = table.to_string() + fmt::format("\n{}\n", sensitivity.unit());
  if (!sensitivity.unused.empty())
    text += fmt::format("note: no token reached {}: they are not in the file\n", fmt::join(sensitivity.unused, ", "));
  return text;
}

std::string sensitivity_json(const pipeline::Sensitivity& sensitivity, const Provenance& provenance) {
  Json json = {{"schema", "danaus.sensitivity/1"},
               {"provenance", Json::parse(provenance_json(provenance))},
               {"model", sensitivity.model},
               {"measure", sensitivity.encoder ? "1-cosine" : "kl-nats"},
               {"texts", sensitivity.texts},
               {"tokens", sensitivity.tokens},
               {"operators", sensitivity.operators},
               {"unused", sensitivity.unused},
               {"dense_parameters", sensitivity.dense_parameters},
               {"candidates", Json::array()}};
  for (const Candidate& candidate : sensitivity.candidates)
    json["candidates"].push_back({{"name", candidate.name},
                                  {"parameters", candidate.parameters},
                                  {"costs", candidate.damages},
                                  {"sum", candidate.sum},
                                  {"together", candidate.together ? Json(*candidate.together) : Json()}});
  return json.dump(2) + "\n";
}

}  // namespace danaus::report
