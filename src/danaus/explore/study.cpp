// Reads a study with toml++: [study] (what is fixed and wanted), [sweep] (what varies), [accuracy]. Every run option
// and every key of the chip file may stand in [study] with one value or in [sweep] with several; dotted and quoted
// names, and sub-tables of the sections of a chip file, mean the same.

#include "danaus/explore/study.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>

#include "danaus/core/files.h"
#include "danaus/core/toml.h"
#include "danaus/explore/options.h"

namespace danaus::explore {
namespace {

constexpr std::uint64_t kMostValues = 1'000'000;  // of one axis
constexpr std::size_t kLongestName = 64;

constexpr std::array<std::string_view, 17> kUnits = {
    "ns",  "us", "s",    "pj",   "nj",    "uj",           "um2",         "mm2",   "mw",
    "ohm", "nm", "gbps", "bits", "bytes", "tokens_per_s", "macs_per_ns", "per_ns"};

using Names = std::vector<std::string_view>;

const Names& study_keys() {
  static const Names names = {"name", "objective", "objectives", "constraint", "constraints", "budget", "sampling"};
  return names;
}
const Names& accuracy_keys() {
  static const Names names = {"text", "ids", "tokens", "window", "analog", "calibrate", "calibration_tokens"};
  return names;
}
const Names& range_keys() {
  static const Names names = {"from", "to", "step", "factor", "points", "log"};
  return names;
}

bool contains(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// One `key = value` of a section, dotted names put together.
struct Entry {
  std::string key;
  const toml::node* node = nullptr;
  Location key_at, value_at;
};

Error located(Error error, const Location& where) {
  error.where = where;
  return error;
}

// What all functions here need to say where something is.
class Reader {
 public:
  Reader(std::string_view text, std::string file, std::uint64_t seed) : file_(std::move(file)) {
    study_.file = file_;
    study_.text = text;
    study_.seed = seed;
  }

  Result<Study> read(const toml::table& root);

 private:
  Result<void> read_sections(const toml::table& root);
  Result<void> read_study(const toml::table& table);
  Result<void> read_sweep(const toml::table& table);
  Result<void> read_accuracy(const toml::table& table);
  Result<void> read_objectives(const Entry& entry);
  Result<void> read_constraints(const Entry& entry);
  Result<void> read_budget(const Entry& entry);
  Result<void> read_sampling(const Entry& entry);
  Result<Axis> read_list(const Entry& entry, const toml::array& list) const;
  Result<Axis> read_range(const Entry& entry, const toml::table& table) const;
  Result<void> check_once(const Entry& entry);
  Result<void> check_together() const;
  Result<void> check_bounds() const;

  std::vector<Entry> entries_of(const toml::table& table, const std::string& prefix) const;
  Error unknown_key(const Entry& entry, const Names& more) const;
  Result<Value> value_of(std::string_view key, const toml::node& node) const;
  Result<std::vector<std::pair<std::string, Location>>> texts_of(const Entry& entry) const;
  Result<std::size_t> metric_of(std::string_view name, const Location& where) const;
  Location at(const toml::node& node) const { return location_of(node.source(), file_); }
  /// Given values of a key: the fixed one or those of the axis.
  std::vector<Value> values_of(std::string_view key) const;

  std::string file_;
  Study study_;
  std::map<std::string, Location, std::less<>> seen_;
  std::vector<Location> objectives_at_;
  std::vector<Location> constraints_at_;
};

std::string in_quotes(std::string_view text) { return fmt::format("'{}'", text.substr(0, 2 * kLongestName)); }

std::string hint_for(std::string_view word, const Names& names) {
  const std::string_view near = nearest(word, names);
  return near.empty() ? std::string() : fmt::format("did you mean '{}'?", near);
}

bool is_section(std::string_view name) {
  const std::vector<chip::Key>& keys = chip::key_table();
  return std::any_of(keys.begin(), keys.end(), [&](const chip::Key& key) {
    return key.name.size() > name.size() && key.name.starts_with(name) && key.name[name.size()] == '.';
  });
}

Names sweepable() {
  Names names;
  for (const Option& option : option_table()) names.push_back(option.name);
  names.push_back("chips");
  for (const chip::Key& key : chip::key_table()) names.push_back(key.name);
  return names;
}

// The name with a unit, where `name` is one of `names` without.
std::string_view with_unit(std::string_view name, const Names& names) {
  for (const std::string_view known : names) {
    if (known.size() <= name.size() + 1 || !known.starts_with(name) || known[name.size()] != '_') continue;
    if (std::find(kUnits.begin(), kUnits.end(), known.substr(name.size() + 1)) != kUnits.end()) return known;
  }
  return {};
}

// The same quantity in our unit, where `name` is given in another one: latency_us -> latency_ns.
std::string_view with_other_unit(std::string_view name, const Names& names) {
  for (const std::string_view unit : kUnits) {
    if (name.size() > unit.size() + 1 && name.ends_with(unit) && name[name.size() - unit.size() - 1] == '_') {
      const std::string_view known = with_unit(name.substr(0, name.size() - unit.size() - 1), names);
      if (!known.empty()) return known;
    }
  }
  return {};
}

std::vector<Entry> Reader::entries_of(const toml::table& table, const std::string& prefix) const {
  std::vector<Entry> entries;
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const toml::table* inner = node.as_table();
    const bool is_range = inner != nullptr && std::any_of(range_keys().begin(), range_keys().end(),
                                                          [&](std::string_view word) { return inner->contains(word); });
    if (inner != nullptr && prefix.empty() && is_section(name) && !is_range) {
      for (Entry& entry : entries_of(*inner, name + ".")) entries.push_back(std::move(entry));
      continue;
    }
    Entry entry{prefix + name, &node, location_of(key.source(), file_), at(node)};
    if (entry.key == "chips") entry.key = "chip.chips";
    entries.push_back(std::move(entry));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.key_at.line, a.key_at.column) < std::pair(b.key_at.line, b.key_at.column);
  });
  return entries;
}

Error Reader::unknown_key(const Entry& entry, const Names& more) const {
  Names names = sweepable();
  for (const auto& [other, known] : other_names()) {
    if (other == entry.key)
      return located(
          Error("explore.unknown-key", Failure::bad_input, fmt::format("there is no key {}", in_quotes(entry.key)))
              .with_hint(fmt::format("write {}", known)),
          entry.key_at);
  }
  if (const std::string_view known = with_unit(entry.key, names); !known.empty())
    return located(Error("explore.unit", Failure::bad_input, fmt::format("key {} has no unit", in_quotes(entry.key)))
                       .with_hint(fmt::format("write {}", known)),
                   entry.key_at);
  if (const std::string_view known = with_other_unit(entry.key, names); !known.empty())
    return located(Error("explore.unit", Failure::bad_input,
                         fmt::format("there is no key {}: this quantity has another unit", in_quotes(entry.key)))
                       .with_hint(fmt::format("write {}", known)),
                   entry.key_at);
  names.insert(names.end(), more.begin(), more.end());
  std::string hint = hint_for(entry.key, names);
  if (contains(study_keys(), entry.key) || entry.key == "models") hint = "it belongs into [study]";
  if (contains(accuracy_keys(), entry.key) && !contains(names, entry.key)) hint = "it belongs into [accuracy]";
  if (hint.empty()) hint = "run options and keys of the chip file (danaus show keys) can be given here";
  return located(
      Error("explore.unknown-key", Failure::bad_input, fmt::format("there is no key {}", in_quotes(entry.key)))
          .with_hint(std::move(hint)),
      entry.key_at);
}

Result<Value> Reader::value_of(std::string_view key, const toml::node& node) const {
  Value value;
  if (node.is_integer()) {
    value = node.as_integer()->get();
  } else if (node.is_floating_point()) {
    value = node.as_floating_point()->get();
  } else if (node.is_boolean()) {
    value = node.as_boolean()->get();
  } else if (node.is_string()) {
    value = node.as_string()->get();
  } else {
    return fail(Error("explore.type", Failure::bad_input,
                      fmt::format("{} must be a number, a text or true or false", in_quotes(key)))
                    .at(at(node)));
  }
  Result<Value> good = checked(key, value);
  if (!good) return fail(located(std::move(good).error(), at(node)));
  return good;
}

Result<void> Reader::check_once(const Entry& entry) {
  const auto [first, fresh] = seen_.emplace(entry.key, entry.key_at);
  if (fresh) return {};
  return fail(Error("explore.conflict", Failure::bad_input, fmt::format("{} is given twice", in_quotes(entry.key)))
                  .at(entry.key_at)
                  .note(fmt::format("first in line {}", first->second.line))
                  .with_hint("a key is fixed in [study] or varies in [sweep]"));
}

// A text, or a list of texts, with their places.
Result<std::vector<std::pair<std::string, Location>>> Reader::texts_of(const Entry& entry) const {
  std::vector<std::pair<std::string, Location>> texts;
  const auto add = [&](const toml::node& node) {
    if (node.is_string()) texts.emplace_back(node.as_string()->get(), at(node));
    return node.is_string();
  };
  bool good = true;
  if (const toml::array* list = entry.node->as_array()) {
    for (const toml::node& node : *list) good = good && add(node);
    good = good && !texts.empty();
  } else {
    good = add(*entry.node);
  }
  if (good) return texts;
  return fail(Error("explore.type", Failure::bad_input,
                    fmt::format("{} must be a text in quotes, or a list of such", in_quotes(entry.key)))
                  .at(entry.value_at)
                  .with_hint(entry.key.starts_with("objective")
                                 ? "write objective = [\"min latency_ns\", \"min area_mm2\"]"
                             : entry.key.starts_with("constraint") ? "write constraint = [\"area_mm2 <= 50\"]"
                                                                   : ""));
}

Result<std::size_t> Reader::metric_of(std::string_view name, const Location& where) const {
  if (const std::optional<std::size_t> metric = find_metric(name)) return *metric;
  const Names names = metric_names();
  if (const std::string_view known = with_unit(name, names); !known.empty())
    return fail(Error("explore.unit", Failure::bad_input, fmt::format("{} has no unit", in_quotes(name)))
                    .at(where)
                    .with_hint(fmt::format("write {}", known)));
  if (const std::string_view known = with_other_unit(name, names); !known.empty())
    return fail(Error("explore.unit", Failure::bad_input,
                      fmt::format("there is no {}: this quantity has another unit", in_quotes(name)))
                    .at(where)
                    .with_hint(fmt::format("write {}, with its numbers in that unit", known)));
  const std::string hint = hint_for(name, names);
  return fail(Error("explore.unknown-metric", Failure::bad_input, fmt::format("there is no metric {}", in_quotes(name)))
                  .at(where)
                  .with_hint(hint.empty() ? fmt::format("metrics: {}", fmt::join(names, ", ")) : hint));
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Result<void> Reader::read_objectives(const Entry& entry) {
  DANAUS_TRY(texts, texts_of(entry));
  for (const auto& [text, where] : texts) {
    std::string_view rest = trimmed(text);
    const std::string_view word = rest.substr(0, rest.find(' '));
    std::optional<Direction> direction;
    if (word == "min" || word == "minimise" || word == "minimize") direction = Direction::least;
    if (word == "max" || word == "maximise" || word == "maximize") direction = Direction::most;
    if (direction) rest = trimmed(rest.substr(word.size()));
    if (rest.empty() || rest.find(' ') != std::string_view::npos)
      return fail(Error("explore.value", Failure::bad_input,
                        fmt::format("objective {} is not 'min METRIC' or 'max METRIC'", in_quotes(text)))
                      .at(where)
                      .with_hint("write for example \"min latency_ns\" or \"max throughput_tokens_per_s\""));
    DANAUS_TRY(metric, metric_of(rest, where));
    for (const Objective& other : study_.objectives) {
      if (other.metric == metric)
        return fail(
            Error("explore.duplicate", Failure::bad_input, fmt::format("objective {} is given twice", in_quotes(rest)))
                .at(where)
                .with_hint("leave one of them out"));
    }
    study_.objectives.push_back({metric, direction.value_or(metrics()[metric].better)});
    objectives_at_.push_back(where);
  }
  return {};
}

Result<void> Reader::read_constraints(const Entry& entry) {
  DANAUS_TRY(texts, texts_of(entry));
  for (const auto& [text, where] : texts) {
    const std::string_view whole = text;
    const std::size_t sign = whole.find_first_of("<>=");
    const auto wrong = [&, &place = where](std::string why) {
      return fail(Error("explore.value", Failure::bad_input,
                        fmt::format("constraint {} is not METRIC <= NUMBER: {}", in_quotes(whole), why))
                      .at(place)
                      .with_hint("write for example \"area_mm2 <= 50\"; signs are <=, >=, < and >"));
    };
    if (sign == std::string_view::npos) return wrong("there is no sign");
    const bool or_equal = sign + 1 < whole.size() && whole[sign + 1] == '=';
    if (whole[sign] == '=') return wrong("a figure is hardly ever equal to a number");
    const std::string_view name = trimmed(whole.substr(0, sign));
    const std::string_view number = trimmed(whole.substr(sign + (or_equal ? 2 : 1)));
    if (name.empty()) return wrong("there is no metric on the left");
    DANAUS_TRY(metric, metric_of(name, where));
    Constraint constraint;
    constraint.metric = metric;
    constraint.comparison = whole[sign] == '<' ? (or_equal ? Comparison::at_most : Comparison::below)
                                               : (or_equal ? Comparison::at_least : Comparison::above);
    const char* const end = number.data() + number.size();
    const std::from_chars_result read = std::from_chars(number.data(), end, constraint.bound);
    if (read.ec != std::errc() || !std::isfinite(constraint.bound)) return wrong("there is no number on the right");
    if (read.ptr != end)
      return fail(Error("explore.unit", Failure::bad_input,
                        fmt::format("constraint {}: {} is no number", in_quotes(whole), in_quotes(number)))
                      .at(where)
                      .with_hint(fmt::format("the unit is in the name {}: write the number alone", name)));
    study_.constraints.push_back(constraint);
    constraints_at_.push_back(where);
  }
  return {};
}

Result<void> Reader::read_budget(const Entry& entry) {
  const toml::value<std::int64_t>* const number = entry.node->as_integer();
  if (number == nullptr || number->get() < 1)
    return fail(
        Error("explore.budget", Failure::bad_input, "budget must be a whole number of at least 1: points to compute")
            .at(entry.value_at)
            .with_hint("leave it out to compute the full product"));
  study_.budget = static_cast<std::uint64_t>(number->get());
  study_.budget_at = entry.value_at;
  return {};
}

Result<void> Reader::read_sampling(const Entry& entry) {
  const toml::value<std::string>* const word = entry.node->as_string();
  const Names names = {"grid", "random", "latin-hypercube"};
  const auto found = word == nullptr ? names.end() : std::find(names.begin(), names.end(), word->get());
  if (found == names.end())
    return fail(Error(word == nullptr ? "explore.type" : "explore.value", Failure::bad_input,
                      "sampling must be \"grid\", \"random\" or \"latin-hypercube\"")
                    .at(entry.value_at)
                    .with_hint(word == nullptr ? "" : hint_for(word->get(), names)));
  study_.sampling = static_cast<Sampling>(found - names.begin());
  return {};
}

Result<void> Reader::read_study(const toml::table& table) {
  for (const Entry& entry : entries_of(table, "")) {
    DANAUS_CHECK(check_once(entry));
    if (entry.key == "objective" || entry.key == "objectives") {
      DANAUS_CHECK(read_objectives(entry));
    } else if (entry.key == "constraint" || entry.key == "constraints") {
      DANAUS_CHECK(read_constraints(entry));
    } else if (entry.key == "budget") {
      DANAUS_CHECK(read_budget(entry));
    } else if (entry.key == "sampling") {
      DANAUS_CHECK(read_sampling(entry));
    } else if (entry.key == "name") {
      const toml::value<std::string>* const name = entry.node->as_string();
      const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
      };
      if (name == nullptr || name->get().empty() || name->get().size() > kLongestName || name->get()[0] == '.' ||
          name->get()[0] == '-' || !std::all_of(name->get().begin(), name->get().end(), good))
        return fail(Error("explore.value", Failure::bad_input,
                          fmt::format("name must be 1 to {} letters, digits, '-', '_' and '.'", kLongestName))
                        .at(entry.value_at)
                        .with_hint("it names the database: NAME.db"));
      study_.name = name->get();
    } else if (find_option(entry.key) == nullptr && find_chip_key(entry.key) == nullptr) {
      return fail(unknown_key(entry, study_keys()));
    } else if (const toml::array* list = entry.node->as_array(); list != nullptr && entry.key == "model") {
      DANAUS_TRY(axis, read_list(entry, *list));
      study_.axes.push_back(std::move(axis));
    } else if (entry.node->is_array() || entry.node->is_table()) {
      return fail(Error("explore.type", Failure::bad_input, fmt::format("{} has several values", in_quotes(entry.key)))
                      .at(entry.value_at)
                      .with_hint("what varies belongs into [sweep]"));
    } else {
      DANAUS_TRY(value, value_of(entry.key, *entry.node));
      if (entry.key == "seed") study_.seed = static_cast<std::uint64_t>(std::get<std::int64_t>(value));
      study_.fixed.push_back({entry.key, std::move(value), entry.value_at});
    }
  }
  return {};
}

Result<Axis> Reader::read_list(const Entry& entry, const toml::array& list) const {
  Axis axis;
  axis.key = entry.key;
  axis.where = entry.value_at;
  std::map<std::string, Location> places;
  for (const toml::node& node : list) {
    DANAUS_TRY(value, value_of(entry.key, node));
    const auto [first, fresh] = places.emplace(to_string(value), at(node));
    if (!fresh)
      return fail(Error("explore.duplicate", Failure::bad_input,
                        fmt::format("{} has the value {} twice", in_quotes(entry.key), to_string(value)))
                      .at(at(node))
                      .with_hint("every value once"));
    axis.values.push_back(std::move(value));
  }
  if (axis.values.empty())
    return fail(
        Error("explore.empty-range", Failure::bad_input, fmt::format("the list of {} is empty", in_quotes(entry.key)))
            .at(entry.value_at)
            .with_hint("give at least one value, or leave the key out"));
  return axis;
}

// {from, to, step}, {from, to, factor}, {from, to, points, log}, or {from, to} for samples.
Result<Axis> Reader::read_range(const Entry& entry, const toml::table& table) const {
  Axis axis;
  axis.key = entry.key;
  axis.where = entry.value_at;
  const auto wrong = [&](const Location& where, std::string_view id, std::string message, std::string hint) {
    return Error(id, Failure::bad_input, fmt::format("range of {}: {}", in_quotes(entry.key), message))
        .at(where)
        .with_hint(std::move(hint));
  };
  const std::string example =
      "write {from = 4, to = 32, step = 4}, {from = 4, to = 32, factor = 2} or "
      "{from = 1, to = 100, points = 5, log = true}";
  for (const auto& [key, node] : table) {
    if (!contains(range_keys(), key.str())) {
      const std::string hint = hint_for(key.str(), range_keys());
      return fail(wrong(location_of(key.source(), file_), "explore.unknown-key",
                        fmt::format("there is no {}", in_quotes(key.str())), hint.empty() ? example : hint));
    }
  }
  if (!is_number(entry.key))
    return fail(wrong(entry.value_at, "explore.type", "its values are no numbers", "give a list of values"));
  const auto number = [&](std::string_view name) -> Result<std::optional<double>> {
    const toml::node* const node = table.get(name);
    if (node == nullptr) return std::nullopt;
    if (const toml::value<std::string>* word = node->as_string())
      return fail(
          wrong(at(*node), "explore.unit",
                fmt::format("{} must be a number, not \"{}\"", name, word->get().substr(0, kLongestName)),
                "write the number alone, without quotes: the unit, if there is one, is in the name of the key"));
    const std::optional<double> value = node->is_number() ? node->value<double>() : std::nullopt;
    if (!value || !std::isfinite(*value))
      return fail(wrong(at(*node), "explore.type", fmt::format("{} must be a number", name), example));
    return *value;
  };
  DANAUS_TRY(from, number("from"));
  DANAUS_TRY(to, number("to"));
  DANAUS_TRY(step, number("step"));
  DANAUS_TRY(factor, number("factor"));
  DANAUS_TRY(points, number("points"));
  if (!from || !to)
    return fail(
        wrong(entry.value_at, "explore.missing-key", fmt::format("'{}' is missing", from ? "to" : "from"), example));
  bool logarithmic = false;
  if (const toml::node* const node = table.get("log")) {
    const std::optional<bool> flag = node->value_exact<bool>();
    if (!flag) return fail(wrong(at(*node), "explore.type", "log must be true or false", example));
    logarithmic = *flag;
  }
  const int ways = (step ? 1 : 0) + (factor ? 1 : 0) + (points ? 1 : 0);
  if (ways > 1 || (logarithmic && (step || factor)))
    return fail(wrong(entry.value_at, "explore.conflict",
                      "step, factor and points exclude each other; log goes with points", example));
  if (*from > *to)
    return fail(wrong(at(*table.get("from")), "explore.empty-range",
                      fmt::format("from = {} is above to = {}, so it is empty", *from, *to),
                      "exchange them: values are counted upwards"));
  if ((factor || logarithmic) && *from <= 0)
    return fail(wrong(at(*table.get("from")), "explore.value", "from must be above 0 for a logarithmic range",
                      "start above 0"));
  if (step && !(*step > 0))
    return fail(wrong(at(*table.get("step")), "explore.value", "step must be above 0", example));
  if (factor && !(*factor > 1))
    return fail(wrong(at(*table.get("factor")), "explore.value", "factor must be above 1", example));
  if (points && (*points < 1 || *points > static_cast<double>(kMostValues) || *points != std::floor(*points)))
    return fail(wrong(at(*table.get("points")), "explore.value",
                      fmt::format("points must be a whole number from 1 to {}", kMostValues), example));

  const bool whole = is_whole(entry.key);
  const auto add = [&](double value) -> Result<void> {
    Value candidate = value;
    constexpr double kMostWhole = 9e15;
    if (whole && value == std::floor(value) && std::abs(value) < kMostWhole)
      candidate = static_cast<std::int64_t>(value);
    Result<Value> good = checked(entry.key, candidate);
    if (!good) {
      Error error = std::move(good).error();
      error.where = entry.value_at;
      return fail(std::move(error));
    }
    if (axis.values.empty() || axis.values.back() != *good) axis.values.push_back(std::move(*good));
    return {};
  };
  if (ways == 0) {
    // The ends are checked; what lies between is drawn.
    DANAUS_CHECK(add(*from));
    DANAUS_CHECK(add(*to));
    axis.from = *from;
    axis.to = *to;
    axis.logarithmic = logarithmic;
    if (study_.sampling == Sampling::grid)
      return fail(wrong(entry.value_at, "explore.missing-key", "a grid needs step, factor or points", example));
    axis.values.clear();
    // Few whole numbers are a list; of many, or with equal ratios, what is drawn is rounded.
    if (whole && !logarithmic && *to - *from < static_cast<double>(kMostValues))
      for (double value = *from; value <= *to; value += 1) DANAUS_CHECK(add(value));
    return axis;
  }
  // A last value that only rounding puts above `to` counts.
  constexpr double kSlack = 1e-9;
  double last = points.value_or(1);
  if (step) last = std::floor((*to - *from) / *step + kSlack) + 1;
  if (factor) last = std::floor(std::log(*to / *from) / std::log(*factor) + kSlack) + 1;
  if (!(last <= static_cast<double>(kMostValues)))
    return fail(wrong(entry.value_at, "explore.too-many-points", fmt::format("more than {} values", kMostValues),
                      "take a larger step"));
  const std::uint64_t count = static_cast<std::uint64_t>(last);
  for (std::uint64_t n = 0; n < count; ++n) {
    const double i = static_cast<double>(n);
    double value = *from;
    if (step) value = *from + i * *step;
    if (factor) value = *from * std::pow(*factor, i);
    if (points && n > 0) {
      const double part = i / (last - 1);
      value = n + 1 == count ? *to : logarithmic ? *from * std::pow(*to / *from, part) : *from + part * (*to - *from);
      if (whole) value = std::round(value);
    }
    if (whole && factor) value = std::round(value);
    DANAUS_CHECK(add(std::min(value, *to)));
  }
  return axis;
}

Result<void> Reader::read_sweep(const toml::table& table) {
  for (const Entry& entry : entries_of(table, "")) {
    if (find_option(entry.key) == nullptr && find_chip_key(entry.key) == nullptr) return fail(unknown_key(entry, {}));
    DANAUS_CHECK(check_once(entry));
    if (const toml::array* list = entry.node->as_array()) {
      DANAUS_TRY(axis, read_list(entry, *list));
      study_.axes.push_back(std::move(axis));
    } else if (const toml::table* range = entry.node->as_table()) {
      DANAUS_TRY(axis, read_range(entry, *range));
      study_.axes.push_back(std::move(axis));
    } else {
      DANAUS_TRY(value, value_of(entry.key, *entry.node));
      return fail(Error("explore.type", Failure::bad_input,
                        fmt::format("{} = {} is a single value", in_quotes(entry.key), to_string(value)))
                      .at(entry.value_at)
                      .with_hint("write a list or a range here; a fixed value belongs into [study]"));
    }
  }
  return {};
}

Result<void> Reader::read_accuracy(const toml::table& table) {
  Accuracy accuracy;
  accuracy.where = location_of(table.source(), file_);
  const auto text_of = [&](const Entry& entry) -> Result<std::string> {
    const toml::value<std::string>* const text = entry.node->as_string();
    if (text != nullptr && !text->get().empty()) return text->get();
    return fail(
        Error("explore.type", Failure::bad_input, fmt::format("{} must be the path of a file", in_quotes(entry.key)))
            .at(entry.value_at));
  };
  const auto count_of = [&](const Entry& entry) -> Result<std::uint32_t> {
    constexpr std::int64_t kMost = 1 << 20;
    const toml::value<std::int64_t>* const number = entry.node->as_integer();
    if (number != nullptr && number->get() >= 1 && number->get() <= kMost)
      return static_cast<std::uint32_t>(number->get());
    return fail(Error("explore.value", Failure::bad_input,
                      fmt::format("{} must be a whole number from 1 to {}", in_quotes(entry.key), kMost))
                    .at(entry.value_at));
  };
  for (const Entry& entry : entries_of(table, "")) {
    if (!contains(accuracy_keys(), entry.key)) {
      const std::string hint = hint_for(entry.key, accuracy_keys());
      return fail(Error("explore.unknown-key", Failure::bad_input,
                        fmt::format("[accuracy] has no key {}", in_quotes(entry.key)))
                      .at(entry.key_at)
                      .with_hint(hint.empty() ? fmt::format("keys: {}", fmt::join(accuracy_keys(), ", ")) : hint));
    }
    if (entry.key == "text" || entry.key == "ids") {
      if (!accuracy.file.empty())
        return fail(Error("explore.conflict", Failure::bad_input, "text and ids exclude each other").at(entry.key_at));
      DANAUS_TRY(file, text_of(entry));
      accuracy.file = std::move(file);
      accuracy.ids = entry.key == "ids";
    } else if (entry.key == "calibrate") {
      DANAUS_TRY(file, text_of(entry));
      accuracy.calibration = std::move(file);
    } else if (entry.key == "analog") {
      const std::optional<bool> flag = entry.node->value_exact<bool>();
      if (!flag)
        return fail(Error("explore.type", Failure::bad_input, "'analog' must be true or false").at(entry.value_at));
      accuracy.analog = *flag;
    } else {
      DANAUS_TRY(count, count_of(entry));
      (entry.key == "tokens"   ? accuracy.tokens
       : entry.key == "window" ? accuracy.window
                               : accuracy.calibration_tokens) = count;
    }
  }
  if (accuracy.file.empty())
    return fail(Error("explore.missing-key", Failure::bad_input, "[accuracy] does not say what is evaluated")
                    .at(accuracy.where)
                    .with_hint("add text = \"book.txt\" or ids = \"ids.json\""));
  study_.accuracy = std::move(accuracy);
  return {};
}

std::vector<Value> Reader::values_of(std::string_view key) const {
  for (const Setting& setting : study_.fixed)
    if (setting.key == key) return {setting.value};
  for (const Axis& axis : study_.axes)
    if (axis.key == key) return axis.values;
  return {};
}

// What can be seen wrong without a model: options that exclude each other or apply to no point.
Result<void> Reader::check_together() const {
  const auto where = [&](std::string_view key) { return seen_.find(key)->second; };
  const auto given = [&](std::string_view key) { return seen_.contains(key); };
  const std::array<std::string_view, 3> structure = {"blocks", "compression", "pad"};
  for (std::size_t a = 0; a < structure.size(); ++a) {
    for (std::size_t b = a + 1; b < structure.size(); ++b) {
      if (given(structure[a]) && given(structure[b]))
        return fail(Error("explore.conflict", Failure::bad_input,
                          fmt::format("'{}' and '{}' exclude each other", structure[a], structure[b]))
                        .at(where(structure[b]))
                        .with_hint("leave one of them out"));
    }
  }
  std::vector<Value> modes = values_of("mode");
  if (modes.empty()) modes = {Value(std::string("decode"))};
  const auto some_mode = [&](std::initializer_list<std::string_view> wanted) {
    return std::any_of(modes.begin(), modes.end(), [&](const Value& mode) {
      return std::find(wanted.begin(), wanted.end(), std::get<std::string>(mode)) != wanted.end();
    });
  };
  const auto for_no_point = [&](std::string_view key, std::string_view which, std::string_view hint) {
    return fail(Error("explore.conflict", Failure::bad_input,
                      fmt::format("'{}' is for mode = {}, which no point has", key, which))
                    .at(where(key))
                    .with_hint(std::string(hint)));
  };
  if (given("kv") && !some_mode({"decode"}))
    return for_no_point("kv", "\"decode\"", "tokens sets the length of the text");
  if (given("tokens") && !some_mode({"prefill", "encode", "generate"}))
    return for_no_point("tokens", "\"prefill\", \"encode\" and \"generate\"",
                        "kv sets the length of the text so far; or add mode = \"prefill\"");
  for (const std::string_view key : {"prompt", "kv_cache"})
    if (given(key) && !some_mode({"generate"})) return for_no_point(key, "\"generate\"", "add mode = \"generate\"");
  if (study_.sampling != Sampling::grid && !study_.budget)
    return fail(Error("explore.missing-key", Failure::bad_input, "a sample needs a budget: how many points to draw")
                    .at(where("sampling"))
                    .with_hint("add budget = 100"));
  const auto needs_accuracy = [&](std::size_t metric, const Location& place) -> Result<void> {
    if (!metrics()[metric].accuracy || study_.accuracy) return {};
    return fail(Error("explore.missing-key", Failure::bad_input,
                      fmt::format("'{}' needs a section [accuracy]", metrics()[metric].name))
                    .at(place)
                    .with_hint("add [accuracy] with text = \"book.txt\""));
  };
  for (std::size_t n = 0; n < study_.objectives.size(); ++n)
    DANAUS_CHECK(
        needs_accuracy(study_.objectives[n].metric, n < objectives_at_.size() ? objectives_at_[n] : Location{}));
  for (std::size_t n = 0; n < study_.constraints.size(); ++n)
    DANAUS_CHECK(needs_accuracy(study_.constraints[n].metric, constraints_at_[n]));
  return {};
}

// Bounds of one metric that leave nothing between them.
Result<void> Reader::check_bounds() const {
  struct Bound {
    double at;
    bool open = false;
    std::optional<std::size_t> by = {};  // which constraint
  };
  for (std::size_t metric = 0; metric < metrics().size(); ++metric) {
    Bound low{metrics()[metric].smallest}, high{metrics()[metric].largest};
    for (std::size_t n = 0; n < study_.constraints.size(); ++n) {
      const Constraint& constraint = study_.constraints[n];
      if (constraint.metric != metric) continue;
      const bool is_low = constraint.comparison == Comparison::above || constraint.comparison == Comparison::at_least;
      const bool open = constraint.comparison == Comparison::above || constraint.comparison == Comparison::below;
      Bound& bound = is_low ? low : high;
      const bool tighter = is_low ? constraint.bound > bound.at : constraint.bound < bound.at;
      if (tighter || (constraint.bound == bound.at && open && !bound.open)) bound = {constraint.bound, open, n};
      if (low.at < high.at || (low.at == high.at && !low.open && !high.open)) continue;
      const std::optional<std::size_t> other = is_low ? high.by : low.by;
      Error error(
          "explore.contradiction", Failure::bad_input,
          other ? fmt::format("no point can keep both '{}' and '{}'", to_string(constraint),
                              to_string(study_.constraints[*other]))
                : fmt::format("no point can keep '{}': {} is {} {}", to_string(constraint), metrics()[metric].name,
                              is_low ? "at most" : "at least", is_low ? high.at : low.at));
      if (other) error.notes.push_back(fmt::format("the other one is in line {}", constraints_at_[*other].line));
      error.hint = "leave one out, or move a bound";
      return fail(std::move(error).at(constraints_at_[n]));
    }
  }
  return {};
}

Result<void> Reader::read_sections(const toml::table& root) {
  const Names sections = {"study", "sweep", "accuracy"};
  std::map<std::string, const toml::table*> tables;
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    if (!contains(sections, name)) {
      std::string hint = hint_for(name, sections);
      const Names fixed = sweepable();
      if (contains(study_keys(), name) || contains(fixed, name)) hint = "it belongs into [study] or [sweep]";
      return fail(
          Error("explore.unknown-key", Failure::bad_input, fmt::format("there is no section {}", in_quotes(name)))
              .at(location_of(key.source(), file_))
              .with_hint(hint.empty() ? "sections: [study], [sweep], [accuracy]" : hint));
    }
    if (!node.is_table())
      return fail(Error("explore.type", Failure::bad_input, fmt::format("'{}' must be a section: [{}]", name, name))
                      .at(location_of(key.source(), file_)));
    tables[name] = node.as_table();
  }
  if (tables["study"] == nullptr)
    return fail(Error("explore.missing-key", Failure::bad_input, "a study needs a section [study]")
                    .in_file(file_)
                    .with_hint("start with [study] and model = \"bert-large\""));
  DANAUS_CHECK(read_study(*tables["study"]));
  if (tables["sweep"] != nullptr) DANAUS_CHECK(read_sweep(*tables["sweep"]));
  if (tables["accuracy"] != nullptr) DANAUS_CHECK(read_accuracy(*tables["accuracy"]));
  if (!seen_.contains("model"))
    return fail(Error("explore.missing-key", Failure::bad_input, "the study names no model")
                    .at(location_of(tables["study"]->source(), file_))
                    .with_hint("add model = \"bert-large\", or a list of models"));
  return {};
}

Result<Study> Reader::read(const toml::table& root) {
  DANAUS_CHECK(read_sections(root));
  if (study_.objectives.empty())
    study_.objectives = {{*find_metric("latency_ns"), Direction::least}, {*find_metric("energy_nj"), Direction::least}};
  if (study_.name.empty()) {
    for (const char c : std::filesystem::path(file_).stem().string().substr(0, kLongestName))
      study_.name += (std::isalnum(static_cast<unsigned char>(c)) != 0 && c >= 0) || c == '-' || c == '_' ? c : '-';
    if (study_.name.empty()) study_.name = "study";
  }
  DANAUS_CHECK(check_together());
  DANAUS_CHECK(check_bounds());
  return std::move(study_);
}

std::string_view sign_of(Comparison comparison) {
  switch (comparison) {
    case Comparison::below:
      return "<";
    case Comparison::at_most:
      return "<=";
    case Comparison::above:
      return ">";
    case Comparison::at_least:
      break;
  }
  return ">=";
}

}  // namespace

bool Constraint::holds(double value) const {
  switch (comparison) {
    case Comparison::below:
      return value < bound;
    case Comparison::at_most:
      return value <= bound;
    case Comparison::above:
      return value > bound;
    case Comparison::at_least:
      break;
  }
  return value >= bound;
}

Result<Study> parse_study(std::string_view text, const std::string& file_name, std::uint64_t seed) {
  DANAUS_TRY(
      root,
      parse_toml(
          text, "a study",
          Error("explore.syntax", Failure::bad_input, "")
              .in_file(file_name)
              .with_hint("a study is TOML with the sections [study] and [sweep]; names with a dot in quotes or not")));
  Result<Study> study = Reader(text, file_name, seed).read(root);
  if (!study && study.error().hint.empty()) study.error().hint = "docs/explore.md says what a study can hold";
  return study;
}

Result<Study> load_study(const std::string& path, std::uint64_t seed) {
  constexpr std::string_view kDatabase = "SQLite format 3";
  std::string start(kDatabase.size(), '\0');
  std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start == kDatabase)
    return fail(
        Error("explore.syntax", Failure::bad_input, "this is a database, not a study")
            .in_file(path)
            .with_hint(fmt::format("danaus explore pareto {} shows it, export {} writes it as CSV", path, path)));
  DANAUS_TRY(text, read_text(path, std::size_t{1} << 20));
  return parse_study(text, path, seed);
}

std::string to_string(const Objective& objective) {
  return fmt::format("{} {}", objective.direction == Direction::least ? "min" : "max",
                     metrics()[objective.metric].name);
}

std::string to_string(const Constraint& constraint) {
  return fmt::format("{} {} {}", metrics()[constraint.metric].name, sign_of(constraint.comparison), constraint.bound);
}

std::string to_string(const Value& value) {
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const std::int64_t* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  return fmt::format("{}", std::get<double>(value));
}

std::string canonical_text(const Study& study) {
  std::string text = fmt::format("sampling {}\nseed {}\n", static_cast<int>(study.sampling), study.seed);
  // A larger budget adds points to a grid and to a random sample; a Latin hypercube is another one.
  if (study.sampling == Sampling::latin_hypercube) text += fmt::format("budget {}\n", study.budget.value_or(0));
  for (const Objective& objective : study.objectives) text += fmt::format("objective {}\n", to_string(objective));
  for (const Constraint& constraint : study.constraints) text += fmt::format("constraint {}\n", to_string(constraint));
  std::vector<std::string> fixed;
  for (const Setting& setting : study.fixed)
    fixed.push_back(fmt::format("{} = {}\n", setting.key, to_string(setting.value)));
  std::sort(fixed.begin(), fixed.end());
  for (const std::string& line : fixed) text += line;
  for (const Axis& axis : study.axes) {
    text += fmt::format("axis {}", axis.key);
    if (axis.is_continuous()) text += fmt::format(" from {} to {} log {}", axis.from, axis.to, axis.logarithmic);
    for (const Value& value : axis.values) text += fmt::format(" [{}]", to_string(value));
    text += '\n';
  }
  if (study.accuracy)
    text += fmt::format("accuracy ids {} tokens {} window {} analog {} calibrate {} calibration_tokens {}\n",
                        study.accuracy->ids, study.accuracy->tokens, study.accuracy->window, study.accuracy->analog,
                        !study.accuracy->calibration.empty(), study.accuracy->calibration_tokens);
  return text;
}

std::string why_infeasible(const Study& study, const MetricValues& values) {
  std::vector<std::string> reasons;
  for (const Constraint& constraint : study.constraints)
    if (const std::optional<double>& value = values[constraint.metric]; value && !constraint.holds(*value))
      reasons.push_back(fmt::format("{} is not kept", to_string(constraint)));
  std::vector<bool> lacks(values.size());
  for (const Constraint& constraint : study.constraints) lacks[constraint.metric] = !values[constraint.metric];
  for (const Objective& objective : study.objectives) lacks[objective.metric] = !values[objective.metric];
  for (std::size_t metric = 0; metric < lacks.size(); ++metric)
    if (lacks[metric]) reasons.push_back(fmt::format("there is no {}", metrics()[metric].name));
  return fmt::format("{}", fmt::join(reasons, "; "));
}

}  // namespace danaus::explore
