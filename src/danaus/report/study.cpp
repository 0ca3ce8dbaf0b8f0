// Results of a study -> table, CSV and JSON. CSV and JSON are functions of the rows alone: the same bytes however the
// study was computed.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "danaus/report/report.h"
#include "danaus/report/table.h"

namespace danaus::report {
namespace {

using Json = nlohmann::ordered_json;
using explore::Metric;
using explore::Row;

std::string number_text(double value) { return fmt::format("{}", value); }

/// Counts that a double holds exactly are written without an exponent.
std::string metric_text(const Metric& metric, double value) {
  return metric.whole ? fmt::format("{:.0f}", value) : number_text(value);
}

std::string cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

std::vector<bool> on_front(const explore::Results& results) {
  std::vector<bool> front(results.rows.size());
  for (const std::size_t position : results.front) front[position] = true;
  return front;
}

Json value_json(const explore::Value& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json row_json(const Row& row, bool front) {
  Json json = {{"point", row.outcome.number}, {"id", to_string(row.id)}};
  Json parameters = Json::object();
  for (const auto& [key, value] : row.parameters) parameters[key] = value_json(value);
  json["parameters"] = std::move(parameters);
  if (row.outcome.error) {
    json["metrics"] = nullptr;
    json["feasible"] = false;
    json["pareto"] = false;
    json["error"] = {{"id", row.outcome.error->id}, {"message", row.outcome.error->message}};
    return json;
  }
  Json values = Json::object();
  for (std::size_t n = 0; n < row.outcome.values.size(); ++n) {
    const Metric& metric = explore::metrics()[n];
    const std::optional<double>& value = row.outcome.values[n];
    const std::string name(metric.name);
    if (!value) {
      values[name] = nullptr;
    } else if (metric.whole) {
      values[name] = static_cast<std::uint64_t>(*value);
    } else {
      values[name] = *value;
    }
  }
  json["metrics"] = std::move(values);
  json["feasible"] = row.feasible;
  if (!row.feasible) json["infeasible_because"] = row.infeasible_because;
  json["pareto"] = front;
  json["error"] = nullptr;
  return json;
}

std::string shown(double value) { return fmt::format("{:.4g}", value); }

/// Why points are not feasible or have no figures: how many for each reason, and the first of them. Nothing for none.
std::string reasons_table(const explore::Results& results) {
  struct Group {
    std::uint64_t count = 0, first = 0;
    std::string message;
  };
  std::map<std::string, Group> errors, constraints;
  for (const Row& row : results.rows) {
    if (row.feasible) continue;
    Group& group = row.outcome.error ? errors[row.outcome.error->id] : constraints[row.infeasible_because];
    if (group.count++ > 0) continue;
    group.first = row.outcome.number;
    if (row.outcome.error) group.message = row.outcome.error->message;
  }
  std::string text;
  for (const auto& [id, group] : errors)
    text += fmt::format("{} x {}, such as point {}: {}\n", group.count, id, group.first, group.message);
  for (const auto& [reason, group] : constraints)
    text += fmt::format("{} x {}, such as point {}\n", group.count, reason, group.first);
  return text.empty() ? text : text + "\n";
}

}  // namespace

std::string study_csv(const explore::Results& results, bool front_only) {
  std::string text = "point,id";
  for (const std::string& axis : results.head.axes) text += "," + cell(explore::column_of(axis));
  for (const Metric& metric : explore::metrics()) text += fmt::format(",{}", metric.name);
  text += ",feasible,pareto,error,message\n";
  const std::vector<bool> front = on_front(results);
  for (std::size_t n = 0; n < results.rows.size(); ++n) {
    const Row& row = results.rows[n];
    if (front_only && !front[n]) continue;
    text += fmt::format("{},{}", row.outcome.number, to_string(row.id));
    for (const auto& [key, value] : row.parameters) text += "," + cell(explore::to_string(value));
    for (std::size_t metric = 0; metric < explore::metrics().size(); ++metric) {
      text += ',';
      if (!row.outcome.error && row.outcome.values[metric])
        text += metric_text(explore::metrics()[metric], *row.outcome.values[metric]);
    }
    text += fmt::format(",{},{}", row.feasible, bool{front[n]});
    const std::string& message = row.outcome.error ? row.outcome.error->message : row.infeasible_because;
    text += fmt::format(",{},{}\n", cell(row.outcome.error ? row.outcome.error->id : ""), cell(message));
  }
  return text;
}

std::string study_json(const explore::Results& results, bool front_only, const std::optional<Provenance>& provenance) {
  Json json = {{"schema", "danaus.explore/1"}};
  if (provenance) json["provenance"] = Json::parse(provenance_json(*provenance));
  Json objectives = Json::array(), constraints = Json::array();
  for (const explore::Objective& objective : results.study.objectives) objectives.push_back(to_string(objective));
  for (const explore::Constraint& constraint : results.study.constraints) constraints.push_back(to_string(constraint));
  json["study"] = {{"name", results.study.name},  {"version", results.head.version}, {"objectives", objectives},
                   {"constraints", constraints},  {"parameters", results.head.axes}, {"points", results.head.points},
                   {"done", results.rows.size()}, {"front", results.front.size()}};
  Json points = Json::array();
  const std::vector<bool> front = on_front(results);
  for (std::size_t n = 0; n < results.rows.size(); ++n)
    if (front[n] || !front_only) points.push_back(row_json(results.rows[n], front[n]));
  json["points"] = std::move(points);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string study_table(const explore::Results& results) {
  constexpr std::size_t kMostRows = 20;
  std::size_t failed = 0, infeasible = 0;
  for (const Row& row : results.rows) {
    failed += row.outcome.error ? 1 : 0;
    infeasible += !row.outcome.error && !row.feasible ? 1 : 0;
  }
  std::string text = fmt::format("{}: {} of {} point{}", results.study.name, results.rows.size(), results.head.points,
                                 results.head.points == 1 ? "" : "s");
  if (failed > 0) text += fmt::format(", {} with an error", failed);
  if (infeasible > 0) text += fmt::format(", {} outside the constraints", infeasible);
  text += fmt::format(", {} on the front\n\n", results.front.size());
  text += reasons_table(results);
  if (results.rows.empty()) return text + "no point is computed yet\n";
  if (failed == results.rows.size()) return text + "no point has figures\n";
  if (results.front.empty()) return text + "no point keeps all constraints and has all that the objectives ask for\n";

  std::vector<std::size_t> best = results.front;
  const explore::Objective& first = results.study.objectives.front();
  std::stable_sort(best.begin(), best.end(), [&](std::size_t a, std::size_t b) {
    const double x = *results.rows[a].outcome.values[first.metric], y = *results.rows[b].outcome.values[first.metric];
    return first.direction == explore::Direction::least ? x < y : y < x;
  });
  // Objectives, then what the constraints look at, each metric once.
  std::vector<std::size_t> columns;
  const auto add = [&](std::size_t metric) {
    if (std::find(columns.begin(), columns.end(), metric) == columns.end()) columns.push_back(metric);
  };
  for (const explore::Objective& objective : results.study.objectives) add(objective.metric);
  for (const explore::Constraint& constraint : results.study.constraints) add(constraint.metric);
  std::vector<Table::Align> aligns(1 + results.head.axes.size() + columns.size(), Table::Align::right);
  std::vector<std::string> heading = {"point"};
  for (const std::string& axis : results.head.axes) heading.push_back(axis);
  for (const std::size_t metric : columns) heading.emplace_back(explore::metrics()[metric].name);
  Table table(aligns);
  table.add(heading);
  for (std::size_t n = 0; n < std::min(best.size(), kMostRows); ++n) {
    const Row& row = results.rows[best[n]];
    std::vector<std::string> cells = {fmt::format("{}", row.outcome.number)};
    for (const auto& [key, value] : row.parameters) {
      const double* number = std::get_if<double>(&value);
      cells.push_back(number != nullptr ? shown(*number) : explore::to_string(value));
    }
    for (const std::size_t metric : columns) {
      const std::optional<double>& value = row.outcome.values[metric];
      cells.push_back(!value ? "" : explore::metrics()[metric].whole ? fmt::format("{:.0f}", *value) : shown(*value));
    }
    table.add(std::move(cells));
  }
  text += table.to_string();
  if (best.size() > kMostRows) text += fmt::format("... and {} more\n", best.size() - kMostRows);
  return text;
}

}  // namespace danaus::report
