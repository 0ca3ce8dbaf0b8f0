// The answer of --map auto as lines, as sentences and as JSON.

#include "danaus/report/automatic.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "danaus/pipeline/explain_mapping.h"
#include "danaus/report/units.h"

namespace danaus::report {
namespace {

using Json = nlohmann::ordered_json;
using pipeline::AutoReport;

std::string figure(const AutoReport& report, double value) {
  switch (report.objective) {
    case compile::Objective::latency:
      return format_time(value);
    case compile::Objective::energy:
      return format_energy(value) + " per token";
    case compile::Objective::area:
      return format_area(value);
    case compile::Objective::arrays:
      return fmt::format("{:.6g} arrays", value);
  }
  return "";
}

std::string limits(const AutoReport& report) {
  std::vector<std::string> parts;
  for (const pipeline::LimitUse& limit : report.limits)
    parts.push_back(fmt::format("{} {:.6g} of {:.6g}", limit.name, limit.used, limit.most));
  return parts.empty() ? "" : fmt::format("limits: {}\n", fmt::join(parts, ", "));
}

std::string map_name(const pipeline::Choice& choice) {
  std::string text = choice.map;
  if (choice.sliver != 0) text += fmt::format(", slivers of {}", choice.sliver);
  if (choice.copies != 0) text += fmt::format(", {} copies", choice.copies);
  return text;
}

}  // namespace

std::string automatic_lines(const AutoReport& report) {
  std::string text = fmt::format("auto: {}, {}", report.winner, figure(report, report.figure));
  if (report.gap() > 0) text += fmt::format("; by the closed forms {:.4f} times the least of any choice", report.gap());
  std::vector<std::string> others;
  for (const pipeline::Tried& tried : report.tried) {
    if (tried.figure && tried.name != report.winner)
      others.push_back(fmt::format("{} {}{}", tried.name, figure(report, *tried.figure),
                                   tried.note.empty() ? "" : fmt::format(" ({})", tried.note)));
  }
  if (!others.empty()) text += fmt::format("\ntimed as well: {}", fmt::join(others, ", "));
  text += "\n" + limits(report);
  if (report.stopped) text += "Stopped before all was tried: the best so far.\n";
  return text;
}

std::string automatic_text(const AutoReport& report) {
  std::string text = automatic_lines(report);
  for (const pipeline::Tried& tried : report.tried) {
    if (!tried.note.empty())
      text += fmt::format("  out: {}{}: {}\n", tried.name,
                          tried.arrays == 0 ? "" : fmt::format(" ({} arrays)", tried.arrays), tried.note);
  }
  text += "\n";
  using Group = std::tuple<std::string, std::string, std::string>;
  std::map<std::string, std::uint32_t> of_name;
  std::map<std::tuple<std::string, Group>, std::uint32_t> counts;
  std::vector<std::tuple<std::string, Group>> order;
  for (const pipeline::Choice& choice : report.choices) {
    const std::string name = pipeline::without_layer(choice.name);
    ++of_name[name];
    const std::tuple<std::string, Group> key(name, Group(choice.structure, map_name(choice), choice.reason));
    if (++counts[key] == 1) order.push_back(key);
  }
  for (const auto& key : order) {
    const auto& [name, group] = key;
    const auto& [structure, map, reason] = group;
    const std::uint32_t count = counts[key], all = of_name[name];
    text += fmt::format("{}{}: {}, {}: {}\n", name, count == all ? "" : fmt::format(" ({} of {})", count, all),
                        structure, map, reason);
  }
  return text;
}

std::string automatic_json(const AutoReport& report) {
  const auto number_or_null = [](double number) { return number > 0 ? Json(number) : Json(nullptr); };
  Json json = {{"objective", compile::name_of(report.objective)},
               {"winner", report.winner},
               {"figure", report.figure},
               {"modelled", number_or_null(report.modelled)},
               {"optimum_bound", number_or_null(report.optimum_bound)},
               {"gap", number_or_null(report.gap())},
               {"stopped", report.stopped}};
  json["limits"] = Json::array();
  for (const pipeline::LimitUse& limit : report.limits)
    json["limits"].push_back({{"name", limit.name}, {"most", limit.most}, {"used", limit.used}});
  json["tried"] = Json::array();
  for (const pipeline::Tried& tried : report.tried)
    json["tried"].push_back({{"name", tried.name},
                             {"figure", tried.figure ? Json(*tried.figure) : Json(nullptr)},
                             {"arrays", tried.arrays == 0 ? Json(nullptr) : Json(tried.arrays)},
                             {"note", tried.note}});
  json["choices"] = Json::array();
  for (const pipeline::Choice& choice : report.choices)
    json["choices"].push_back({{"name", choice.name},
                               {"candidate", choice.candidate},
                               {"structure", choice.structure},
                               {"map", choice.map},
                               {"sliver", choice.sliver == 0 ? Json("auto") : Json(choice.sliver)},
                               {"copies", choice.copies},
                               {"error", choice.error},
                               {"reason", choice.reason}});
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace danaus::report
