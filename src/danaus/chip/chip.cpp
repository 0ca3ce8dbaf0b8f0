// Reads a chip file with toml++, checks every key against the key table, then the rules between keys. A file is a list
// of assignments on top of the defaults (or of the preset that it names as its base); --set assignments come after it.

#include "danaus/chip/chip.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "danaus/chip/cost.h"
#include "danaus/chip/device/device.h"
#include "danaus/chip/keys.h"
#include "danaus/core/files.h"
#include "danaus/core/toml.h"

namespace danaus::embedded {
const std::vector<std::pair<std::string_view, std::string_view>>& chips();
}  // namespace danaus::embedded

namespace danaus::chip {
namespace {

constexpr std::size_t kLongestName = 64;
constexpr int kMostBases = 8;  // a chain of presets

// Where a value was given: in the file, or on the command line.
struct Origin {
  Location where;
  bool setting = false;
};

// A chip on its way, with the origin of every key that was given.
struct Draft {
  Chip chip;
  std::map<std::string_view, Origin> origins;
};

// One `key = value` of a file.
struct Entry {
  std::string key;  // section.key, or the bare key of the top level
  const toml::node* node = nullptr;
  Location where;
};

// A wrong setting is a wrong command line, not a bad file.
Error placed(Error error, const Origin& origin) {
  if (origin.setting) {
    error.message = "--set: " + error.message;
    if (error.failure == Failure::bad_input) error.failure = Failure::usage;
  }
  error.where = origin.where;
  return error;
}

bool is_good_chip_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

std::vector<std::string_view> key_names() {
  std::vector<std::string_view> names = {"name", "base"};
  for (const Key& key : key_table()) names.push_back(key.name);
  return names;
}

std::string spelling_hint(std::string_view word, const std::vector<std::string_view>& candidates) {
  const std::string_view best = nearest(word, candidates);
  return best.empty() ? std::string() : fmt::format("did you mean '{}'?", best);
}

Error unknown_preset(std::string_view name, const Origin& origin) {
  std::string list;
  for (const std::string_view preset : preset_names()) list += fmt::format("{}{}", list.empty() ? "" : ", ", preset);
  const std::string hint = spelling_hint(name, preset_names());
  return placed(Error("chip.unknown-preset", Failure::bad_input,
                      fmt::format("there is no chip preset '{}'", name.substr(0, kLongestName)))
                    .note("presets: " + list)
                    .with_hint(hint.empty() ? "give a preset or the path of a chip file" : hint),
                origin);
}

Error unknown_key(const std::string& key, const Origin& origin) {
  const std::string hint = spelling_hint(key, key_names());
  return placed(Error("chip.unknown-key", Failure::bad_input,
                      fmt::format("there is no key '{}'", key.substr(0, 2 * kLongestName)))
                    .with_hint(hint.empty() ? "danaus show keys lists them" : hint),
                origin);
}

const Key* find_key(std::string_view name) {
  const std::vector<Key>& table = key_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const Key& key) { return key.name == name; });
  return found == table.end() ? nullptr : &*found;
}

Result<void> set_name(Draft& draft, const Value& value, const Origin& origin) {
  const std::string* name = std::get_if<std::string>(&value);
  if (name == nullptr) return fail(placed(Error("chip.type", Failure::bad_input, "name must be a string"), origin));
  if (!is_good_chip_name(*name)) {
    return fail(
        placed(Error("chip.range", Failure::bad_input,
                     fmt::format("name must be 1 to {} printable ASCII characters without quotes and backslashes",
                                 kLongestName)),
               origin));
  }
  draft.chip.name = *name;
  return {};
}

Result<void> set_key(Draft& draft, const std::string& name, const Value& value, const Origin& origin) {
  if (name == "name") return set_name(draft, value, origin);
  const Key* key = find_key(name);
  if (key == nullptr) return fail(unknown_key(name, origin));
  const Assignment assignment = assign(draft.chip, *key, value);
  const std::string about = fmt::format("danaus explain {}", name);
  switch (assignment.problem) {
    case Problem::none:
      break;
    case Problem::type:
      return fail(placed(Error("chip.type", Failure::bad_input, assignment.text).with_hint(about), origin));
    case Problem::range:
      return fail(placed(Error("chip.range", Failure::bad_input, assignment.text).with_hint(about), origin));
  }
  draft.origins[key->name] = origin;
  return {};
}

// Rules between keys: a converter or driver without its time would silently be infinitely fast.
Result<void> check_together(const Draft& draft, const std::string& file_name) {
  const Chip& chip = draft.chip;
  const auto broken = [&](std::initializer_list<std::string_view> keys, std::string message) {
    Origin origin;
    origin.where.file = file_name;
    std::string_view blamed;
    for (const std::string_view key : keys) {  // the last one to blame, but --set before any line of the file
      const auto found = draft.origins.find(key);
      if (found == draft.origins.end() || (!found->second.setting && origin.setting)) continue;
      origin = found->second;
      blamed = key;
    }
    Error error("chip.range", Failure::bad_input, std::move(message));
    error.hint = blamed.empty() ? "start from a preset: base = \"pcm-14nm\"" : fmt::format("danaus explain {}", blamed);
    return fail(placed(std::move(error), origin));
  };
  if (chip.adc.per_array > chip.array.cols) {
    return broken(
        {"array.cols", "adc.per_array"},
        fmt::format("adc.per_array = {} is more than the {} columns of an array", chip.adc.per_array, chip.array.cols));
  }
  if (chip.adc.kind == AdcKind::sar && chip.adc.step_ns == 0)
    return broken({"adc.step_ns", "adc.kind"}, "adc.step_ns must be above 0 for adc.kind = \"sar\"");
  if (chip.adc.kind == AdcKind::ramp && chip.adc.lsb_ns == 0)
    return broken({"adc.lsb_ns", "adc.kind"}, "adc.lsb_ns must be above 0 for adc.kind = \"ramp\"");
  if (chip.adc.double_buffer && !chip.adc.sample_hold)
    return broken({"adc.sample_hold", "adc.double_buffer"},
                  "adc.double_buffer needs adc.sample_hold: nothing else keeps the columns' values");
  if (chip.adc.sharing != AdcSharing::column && chip.system.scheduling == Scheduling::list)
    return broken({"chip.scheduling", "adc.sharing"},
                  "adc.sharing = \"array\" or \"group\" needs chip.scheduling = \"scoreboard\": list scheduling has no "
                  "converters");
  if (chip.adc.sharing == AdcSharing::group) {
    if (!chip.adc.sample_hold)
      return broken({"adc.sample_hold", "adc.sharing"},
                    "adc.sharing = \"group\" needs adc.sample_hold: nothing else keeps the columns' values until "
                    "converters are free");
    if (chip.input.kind == InputKind::bit_serial)
      return broken({"input.kind", "adc.sharing"},
                    "adc.sharing = \"group\" is not modelled for input.kind = \"bit-serial\", whose bits keep an array "
                    "and its converters in step");
    if (chip.network.arrays_per_tile % chip.adc.group_arrays != 0)
      return broken({"network.arrays_per_tile", "adc.group_arrays"},
                    fmt::format("adc.group_arrays = {} does not divide the {} arrays of a tile", chip.adc.group_arrays,
                                chip.network.arrays_per_tile));
  }
  if (chip.adc.calibration_high != 0 && chip.adc.calibration_high < chip.adc.calibration)
    return broken({"adc.calibration", "adc.calibration_high"},
                  fmt::format("adc.calibration_high = {:g} is below adc.calibration = {:g}", chip.adc.calibration_high,
                              chip.adc.calibration));
  if (chip.input.kind == InputKind::pwm && chip.input.clock_ns == 0)
    return broken({"input.clock_ns", "input.kind"}, "input.clock_ns must be above 0 for input.kind = \"pwm\"");
  if (chip.input.kind == InputKind::bit_serial && chip.input.bit_ns == 0)
    return broken({"input.bit_ns", "input.kind"}, "input.bit_ns must be above 0 for input.kind = \"bit-serial\"");
  const Chip::Noise& noise = chip.noise;
  if (noise.weight_bits == 1)
    return broken({"noise.weight_bits"}, "noise.weight_bits must be 0 or from 2 to 16: one bit is the sign alone");
  if (const device::Ageing ageing = device::ageing_of(noise); ageing.r_min >= 1) {
    return broken({"noise.g_min_us", "noise.g_max_us"},
                  fmt::format("noise.g_min_us must be below noise.g_max_us, which is {} uS", ageing.g_max_us));
  }
  if (noise.stuck_low + noise.stuck_high > 1)
    return broken({"noise.stuck_low", "noise.stuck_high"},
                  "noise.stuck_low and noise.stuck_high add up to more than 1");
  if (noise.adc_range == AdcRange::user && noise.adc_range_user == 0)
    return broken({"noise.adc_range_user", "noise.adc_range"},
                  "noise.adc_range_user must be above 0 for noise.adc_range = \"user\"");
  if (const std::optional<device::Gap> gap = device::gap_of(noise))
    return broken({"noise.device", gap->key}, gap->text);
  return {};
}

std::optional<Value> value_of(const toml::node& node) {
  if (node.is_integer()) return Value(node.as_integer()->get());
  if (node.is_floating_point()) return Value(node.as_floating_point()->get());
  if (node.is_boolean()) return Value(node.as_boolean()->get());
  if (node.is_string()) return Value(node.as_string()->get());
  return std::nullopt;
}

// A setting's value by its looks: true, false, a number, or else a word, quotes allowed.
Value value_of(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front())
    return std::string(text.substr(1, text.size() - 2));
  const char* first = text.data();
  const char* last = first + text.size();
  std::int64_t whole = 0;
  if (const std::from_chars_result read = std::from_chars(first, last, whole);
      read.ec == std::errc{} && read.ptr == last)
    return whole;
  double real = 0;
  if (const std::from_chars_result read = std::from_chars(first, last, real);
      read.ec == std::errc{} && read.ptr == last)
    return real;
  return std::string(text);
}

// All keys of the file in the order of their lines, sections opened; anything else is refused.
Result<std::vector<Entry>> entries_of(const toml::table& root, const std::string& file_name) {
  std::vector<std::string_view> sections;
  for (const Key& key : key_table()) {
    const std::string_view section = key.name.substr(0, key.name.find('.'));
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) sections.push_back(section);
  }
  std::vector<Entry> entries;
  for (const auto& [name, node] : root) {
    const std::string key(name.str());
    const toml::table* section = node.as_table();
    if (std::find(sections.begin(), sections.end(), key) == sections.end()) {
      if (key != "name" && key != "base") {
        std::vector<std::string_view> candidates = sections;
        if (section == nullptr) candidates = key_names();
        const std::string hint = spelling_hint(key, candidates);
        return fail(Error("chip.unknown-key", Failure::bad_input,
                          fmt::format("there is no {} '{}'", section != nullptr ? "section" : "key",
                                      key.substr(0, kLongestName)))
                        .at(location_of(node.source(), file_name))
                        .with_hint(hint.empty() ? "danaus show keys lists them" : hint));
      }
      entries.push_back({key, &node, location_of(node.source(), file_name)});
      continue;
    }
    if (section == nullptr) {
      return fail(Error("chip.type", Failure::bad_input, fmt::format("'{}' must be a section: [{}]", key, key))
                      .at(location_of(node.source(), file_name)));
    }
    for (const auto& [inner_name, inner] : *section)
      entries.push_back({key + "." + std::string(inner_name.str()), &inner, location_of(inner.source(), file_name)});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.where.line, a.where.column) < std::pair(b.where.line, b.where.column);
  });
  return entries;
}

Result<Draft> read(std::string_view text, const std::string& file_name, int bases) {
  DANAUS_TRY(root, parse_toml(text, "a chip file", Error("chip.syntax", Failure::bad_input, "").in_file(file_name)));
  DANAUS_TRY(entries, entries_of(root, file_name));
  Draft draft;
  for (const Entry& entry : entries) {
    if (entry.key != "base") continue;
    const Origin origin{entry.where, false};
    const std::optional<Value> value = value_of(*entry.node);
    const std::string* base = value ? std::get_if<std::string>(&*value) : nullptr;
    if (base == nullptr)
      return fail(placed(Error("chip.type", Failure::bad_input, "base must be the name of a preset"), origin));
    const std::string_view base_text = preset_text(*base);
    if (base_text.empty() || bases == 0) return fail(unknown_preset(*base, origin));
    DANAUS_TRY(base_draft, read(base_text, *base, bases - 1));
    draft.chip = std::move(base_draft.chip);  // its origins are no lines of this file
  }
  draft.chip.name = std::filesystem::path(file_name).stem().string();
  if (!is_good_chip_name(draft.chip.name)) draft.chip.name = "chip";
  for (const Entry& entry : entries) {
    if (entry.key == "base") continue;
    const Origin origin{entry.where, false};
    const std::optional<Value> value = value_of(*entry.node);
    if (!value && find_key(entry.key) == nullptr && entry.key != "name") return fail(unknown_key(entry.key, origin));
    if (!value) {
      return fail(placed(Error("chip.type", Failure::bad_input,
                               fmt::format("{} must be a number, a string or true or false", entry.key)),
                         origin));
    }
    DANAUS_CHECK(set_key(draft, entry.key, *value, origin));
  }
  if (std::all_of(entries.begin(), entries.end(), [](const Entry& entry) { return entry.key == "name"; }))
    return fail(Error("chip.empty", Failure::bad_input, "this chip file describes no chip")
                    .in_file(file_name)
                    .with_hint("start from a preset: base = \"pcm-14nm\""));
  return draft;
}

}  // namespace

Result<Chip> parse(std::string_view toml, const std::string& file_name,
                   const std::vector<std::pair<std::string, std::string>>& settings) {
  DANAUS_TRY(draft, read(toml, file_name, kMostBases));
  for (const auto& [key, text] : settings) DANAUS_CHECK(set_key(draft, key, value_of(text), Origin{{}, true}));
  DANAUS_CHECK(check_together(draft, file_name));
  return std::move(draft.chip);
}

Result<Chip> load(const std::string& name_or_path, const std::vector<std::pair<std::string, std::string>>& settings) {
  const std::string_view preset = preset_text(name_or_path);
  if (!preset.empty()) return parse(preset, name_or_path, settings);
  const bool looks_like_path = name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".toml");
  std::error_code ignored;
  if (!looks_like_path && !std::filesystem::exists(name_or_path, ignored)) {
    Error error = unknown_preset(name_or_path, Origin{});
    error.failure = Failure::usage;  // the name comes from the command line, not from a file
    return fail(std::move(error));
  }
  constexpr std::size_t kLargestFile = 1u << 20;
  DANAUS_TRY(text, read_text(name_or_path, kLargestFile));
  return parse(text, name_or_path, settings);
}

Result<Chip> with_values(const Chip& base, const std::vector<std::pair<std::string, Value>>& values) {
  Draft draft;
  draft.chip = base;
  for (const auto& [key, value] : values) DANAUS_CHECK(set_key(draft, key, value, Origin{}));
  DANAUS_CHECK(check_together(draft, ""));
  return std::move(draft.chip);
}

std::string to_toml(const Chip& chip) {
  std::string text = fmt::format("name = \"{}\"\n", chip.name);
  std::string_view section;
  for (const Key& key : key_table()) {
    if (std::holds_alternative<Shorthand>(key.kind)) continue;
    const std::size_t dot = key.name.find('.');
    if (key.name.substr(0, dot) != section) {
      section = key.name.substr(0, dot);
      text += fmt::format("\n[{}]\n", section);
    }
    text += fmt::format("{} = {}\n", key.name.substr(dot + 1), written(chip, key));
  }
  return text;
}

std::string value_text(const Chip& chip, std::string_view key) {
  for (const Key& known : key_table()) {
    if (known.name != key) continue;
    std::string text = written(chip, known);
    std::erase(text, '"');
    return text;
  }
  return "";
}

Digest digest_of(const Chip& chip) { return danaus::digest_of(std::string_view(to_toml(chip))); }

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  for (const auto& [name, text] : embedded::chips()) names.push_back(name);
  return names;
}

std::string_view preset_text(std::string_view name) {
  for (const auto& [preset, text] : embedded::chips()) {
    if (preset == name) return text;
  }
  return {};
}

const std::vector<KeyInfo>& keys() {
  static const std::vector<std::string> lines = [] {
    std::vector<std::string> result;
    const Chip defaults;
    for (const Key& key : key_table()) {
      const std::string value = written(defaults, key);
      result.push_back(fmt::format("{}: {}{}", key.help, expectation(key), value.empty() ? "" : "; default " + value));
    }
    return result;
  }();
  static const std::vector<KeyInfo> infos = [] {
    std::vector<KeyInfo> result;
    for (std::size_t number = 0; number < lines.size(); ++number)
      result.push_back({key_table()[number].name, lines[number]});
    return result;
  }();
  return infos;
}

}  // namespace danaus::chip
