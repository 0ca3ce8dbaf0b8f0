// One row per run option: name, kind and where its value goes. The names are those of the command line with _ for -,
// but goal is --objective: a study has objectives of its own.

#include "danaus/explore/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "danaus/compile/compile.h"
#include "danaus/core/words.h"

namespace danaus::explore {
namespace {

constexpr double kMostTokens = 1u << 20;
constexpr std::uint32_t kWholeSliver = 1024;   // no array is wider
constexpr std::uint32_t kDefaultTokens = 512;  // of a prompt, or the context where that is shorter

std::uint32_t whole(const Value& value) { return static_cast<std::uint32_t>(std::get<std::int64_t>(value)); }
double real(const Value& value) {
  const std::int64_t* number = std::get_if<std::int64_t>(&value);
  return number != nullptr ? static_cast<double>(*number) : std::get<double>(value);
}
const std::string& text(const Value& value) { return std::get<std::string>(value); }

std::vector<std::string_view> map_names() {
  std::vector<std::string_view> names;
  for (const compile::StrategyInfo& strategy : compile::strategies()) names.push_back(strategy.name);
  names.push_back(pipeline::kAutoMap);
  return names;
}

std::vector<Option> make_table() {
  using Kind = Option::Kind;
  using Values = OptionValues;
  return {
      {"model",
       "preset, shape file, GGUF, safetensors or folder",
       Kind::text,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.model = text(value); }},
      {"chip",
       "chip preset or file [pcm-14nm]",
       Kind::text,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.chip = text(value); }},
      {"map", "mapping [dense; linear on chips that schedule by list]", Kind::word, 0, 0, map_names(),
       [](Values& v, const Value& value) { v.run.maps = {text(value)}; }},
      {"mode",
       "one token, a prompt, an encoder pass, or a text token by token [decode]",
       Kind::word,
       0,
       0,
       {"decode", "prefill", "encode", "generate"},
       [](Values& v, const Value& value) {
         v.generate = text(value) == "generate";
         for (const compile::Mode mode : {compile::Mode::decode, compile::Mode::prefill, compile::Mode::encode})
           if (compile::name_of(mode) == text(value)) v.run.emit.mode = mode;
       }},
      {"tokens",
       "prefill, encode: tokens; generate: the total length [the context, at most 512]",
       Kind::whole,
       1,
       kMostTokens,
       {},
       [](Values& v, const Value& value) { v.tokens = whole(value); }},
      {"kv",
       "decode: KV length, the new token included [the context]",
       Kind::whole,
       1,
       kMostTokens,
       {},
       [](Values& v, const Value& value) { v.run.emit.kv = whole(value); }},
      {"encoder_tokens",
       "encoder-decoder models: tokens of the encoder [the context]",
       Kind::whole,
       1,
       kMostTokens,
       {},
       [](Values& v, const Value& value) { v.run.emit.encoder_tokens = whole(value); }},
      {"slots",
       "tokens in flight [decode 1, else 2]",
       Kind::whole,
       1,
       4096,
       {},
       [](Values& v, const Value& value) { v.run.emit.slots = whole(value); }},
      {"sequences",
       "interleaved, all of the same length [1]",
       Kind::whole,
       1,
       4096,
       {},
       [](Values& v, const Value& value) { v.run.sequences = whole(value); }},
      {"prompt",
       "generate: tokens that are given [1]",
       Kind::whole,
       1,
       kMostTokens,
       {},
       [](Values& v, const Value& value) { v.generation.prompt = whole(value); }},
      {"kv_cache",
       "generate: false reads all tokens so far again for each [true]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.generation.kv_cache = std::get<bool>(value); }},
      {"replicate",
       "arrays to spend on copies of the busiest ones [0]",
       Kind::whole,
       0,
       1u << 24,
       {},
       [](Values& v, const Value& value) { v.run.copies = whole(value); }},
      {"sliver",
       "striped maps: columns of a sliver, auto (as many as all arrays can share) or whole [auto]",
       Kind::word_or_whole,
       1,
       kWholeSliver,
       {"auto", "whole"},
       [](Values& v, const Value& value) {
         const std::string& columns = text(value);
         v.run.sliver = columns == "auto"    ? 0
                        : columns == "whole" ? kWholeSliver
                                             : static_cast<std::uint32_t>(std::stoul(columns));
       }},
      {"goal",
       "what striped maps and auto make least [latency]",
       Kind::word,
       0,
       0,
       {"latency", "energy", "area", "arrays"},
       [](Values& v, const Value& value) {
         using compile::Objective;
         for (const Objective objective : {Objective::latency, Objective::energy, Objective::area, Objective::arrays})
           if (compile::name_of(objective) == text(value)) v.run.objective = objective;
       }},
      {"candidates",
       "map auto: structures it may choose from, \"dense,monarch:8,gather:8:32\" [dense and what is given]",
       Kind::text,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.automatic.candidates = words_between_commas(text(value)); }},
      {"max_arrays",
       "map auto: at most so many, copies included",
       Kind::whole,
       1,
       1u << 24,
       {},
       [](Values& v, const Value& value) { v.run.automatic.most_arrays = whole(value); }},
      {"max_area_mm2",
       "map auto: at most so large",
       Kind::real,
       0,
       1e9,
       {},
       [](Values& v, const Value& value) { v.run.automatic.most_area_mm2 = real(value); }},
      {"max_energy_nj",
       "map auto: at most so much energy per token",
       Kind::real,
       0,
       1e18,
       {},
       [](Values& v, const Value& value) { v.run.automatic.most_energy_nj = real(value); }},
      {"max_latency_us",
       "map auto: at most so long",
       Kind::real,
       0,
       1e18,
       {},
       [](Values& v, const Value& value) { v.run.automatic.most_latency_us = real(value); }},
      {"share_inputs",
       "operators with the same input share activations [true]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.emit.share_inputs = std::get<bool>(value); }},
      {"structure",
       "what block operators are made of [monarch]",
       Kind::word,
       0,
       0,
       {"monarch", "lowrank", "gather", "dense"},
       [](Values& v, const Value& value) {
         using Structure = factor::Policy::Kind;
         v.run.policy.kind = text(value) == "monarch"   ? Structure::monarch
                             : text(value) == "lowrank" ? Structure::lowrank
                             : text(value) == "gather"  ? Structure::gather
                                                        : Structure::dense;
       }},
      {"group",
       "gathered blocks: outputs of a block [32]",
       Kind::whole,
       1,
       1u << 24,
       {},
       [](Values& v, const Value& value) { v.run.policy.group = whole(value); }},
      {"blocks",
       "input x output blocks and rank: 32, \"16x64:2\"",
       Kind::text,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.policy.blocks = text(value); }},
      {"compression",
       "dense over block parameters to aim at [8]",
       Kind::real,
       1,
       1e9,
       {},
       [](Values& v, const Value& value) { v.run.policy.compression = real(value); }},
      {"policy",
       "TOML file with a structure per layer",
       Kind::text,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.policy.file = text(value); }},
      {"pad",
       "square: every operator padded to n x n, sqrt(n) blocks [none]",
       Kind::word,
       0,
       0,
       {"square", "none"},
       [](Values& v, const Value& value) { v.run.policy.pad_square = text(value) == "square"; }},
      {"trim",
       "without dead rows, columns and blocks of padding [false]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.policy.trim = std::get<bool>(value); }},
      {"reload",
       "a model larger than the chips is programmed in passes [false]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.run.reload = std::get<bool>(value); }},
      {"relative_error",
       "project the weights of models that have some [as objectives and constraints need it]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.relative_error = std::get<bool>(value); }},
      {"bounds",
       "find the metrics bound_..., several times the work of a point [as objectives and constraints need it]",
       Kind::flag,
       0,
       0,
       {},
       [](Values& v, const Value& value) { v.bounds = std::get<bool>(value); }},
      {"seed",
       "of sampling, proof and devices [1]",
       Kind::whole,
       0,
       4294967295.0,
       {},
       [](Values& v, const Value& value) { v.run.seed = whole(value); }},
  };
}

// "10ns" or "10": a number that someone put in quotes.
bool looks_like_number(const std::string& word) {
  return !word.empty() && (std::isdigit(static_cast<unsigned char>(word[0])) != 0 ||
                           (word.size() > 1 && (word[0] == '-' || word[0] == '.' || word[0] == '+') &&
                            std::isdigit(static_cast<unsigned char>(word[1])) != 0));
}

std::string shown(const Value& value) {
  if (const std::string* word = std::get_if<std::string>(&value)) return fmt::format("\"{}\"", word->substr(0, 64));
  return to_string(value);
}

Error quoted_number(std::string_view key, const Value& value) {
  return Error("explore.unit", Failure::bad_input, fmt::format("{} must be a number, not {}", key, shown(value)))
      .with_hint("write the number alone, without quotes: the unit, if there is one, is in the name of the key");
}

Result<Value> checked_option(const Option& option, const Value& value) {
  const auto wrong_type = [&](std::string_view wanted) {
    return fail(Error("explore.type", Failure::bad_input,
                      fmt::format("{} must be {}, not {}", option.name, wanted, shown(value)))
                    .with_hint(fmt::format("{}: {}", option.name, option.help)));
  };
  const auto in_range = [&](double number) { return number >= option.least && number <= option.most; };
  const auto out_of_range = [&](std::string_view what) {
    return fail(Error("explore.value", Failure::bad_input,
                      fmt::format("{} must be a {} from {} to {}, not {}", option.name, what, option.least, option.most,
                                  shown(value)))
                    .with_hint(fmt::format("{}: {}", option.name, option.help)));
  };
  switch (option.kind) {
    case Option::Kind::whole:
      if (!std::holds_alternative<std::int64_t>(value)) return wrong_type("a whole number");
      if (!in_range(static_cast<double>(std::get<std::int64_t>(value)))) return out_of_range("whole number");
      return value;
    case Option::Kind::real:
      if (!std::holds_alternative<std::int64_t>(value) && !std::holds_alternative<double>(value))
        return wrong_type("a number");
      if (!in_range(real(value))) return out_of_range("number");
      return value;
    case Option::Kind::flag:
      if (!std::holds_alternative<bool>(value)) return wrong_type("true or false");
      return value;
    case Option::Kind::word_or_whole:
    case Option::Kind::word: {
      const std::int64_t* const number = std::get_if<std::int64_t>(&value);
      const bool may_be_number = option.kind == Option::Kind::word_or_whole;
      if (may_be_number && number != nullptr) {
        if (!in_range(static_cast<double>(*number))) return out_of_range("whole number");
        return Value(fmt::format("{}", *number));
      }
      const std::string words =
          fmt::format("one of {}{}", fmt::join(option.words, ", "), may_be_number ? " or a whole number" : "");
      const std::string* word = std::get_if<std::string>(&value);
      if (word == nullptr) return wrong_type(words);
      if (std::find(option.words.begin(), option.words.end(), *word) != option.words.end()) return value;
      const std::string_view near = nearest(*word, option.words);
      return fail(Error("explore.value", Failure::bad_input,
                        fmt::format("{} must be {}, not {}", option.name, words, shown(value)))
                      .with_hint(near.empty() ? "" : fmt::format("did you mean '{}'?", near)));
    }
    case Option::Kind::text:
      break;
  }
  if (const std::int64_t* number = std::get_if<std::int64_t>(&value); number != nullptr && option.name == "blocks")
    return Value(fmt::format("{}", *number));
  const std::string* word = std::get_if<std::string>(&value);
  if (word == nullptr) return wrong_type("a text in quotes");
  if (word->empty()) return wrong_type("a text of at least one character");
  return value;
}

}  // namespace

const std::vector<Option>& option_table() {
  static const std::vector<Option> table = make_table();
  return table;
}

const Option* find_option(std::string_view name) {
  const std::vector<Option>& table = option_table();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Option& option) { return option.name == name; });
  return found == table.end() ? nullptr : &*found;
}

const std::vector<std::pair<std::string_view, std::string_view>>& other_names() {
  static const std::vector<std::pair<std::string_view, std::string_view>> names = {
      {"most_arrays", "max_arrays"},
      {"most_area_mm2", "max_area_mm2"},
      {"no_kv_cache", "kv_cache = false"},
      {"no_error", "relative_error = false"}};
  return names;
}

std::string in_words_of_a_study(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t start = text.find("--");
    result += text.substr(0, start);
    if (start == std::string_view::npos) break;
    text.remove_prefix(start);
    constexpr std::string_view kSet = "--set ";
    if (text.starts_with(kSet)) {  // a key of the chip file has the same name in both
      text.remove_prefix(kSet.size());
      continue;
    }
    const std::string_view option = text.substr(0, text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"));
    std::string key(option.substr(2));
    std::replace(key.begin(), key.end(), '-', '_');
    if (key == "objective") key = "goal";
    const bool is_key = key == "chips" || find_option(key) != nullptr;
    result += is_key ? key : std::string(option);
    text.remove_prefix(option.size());
  }
  return result;
}

const chip::Key* find_chip_key(std::string_view name) {
  const std::vector<chip::Key>& table = chip::key_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const chip::Key& key) { return key.name == name; });
  return found == table.end() ? nullptr : &*found;
}

bool is_whole(std::string_view key) {
  if (const Option* option = find_option(key))
    return option->kind == Option::Kind::whole || option->kind == Option::Kind::word_or_whole ||
           option->name == "blocks";
  const chip::Key* known = find_chip_key(key);
  return known != nullptr &&
         (std::holds_alternative<chip::Count>(known->kind) || std::holds_alternative<chip::LargeCount>(known->kind));
}

bool is_number(std::string_view key) {
  if (is_whole(key)) return true;
  if (const Option* option = find_option(key)) return option->kind == Option::Kind::real;
  const chip::Key* known = find_chip_key(key);
  return known != nullptr &&
         (std::holds_alternative<chip::Number>(known->kind) || std::holds_alternative<chip::Shorthand>(known->kind));
}

Result<Value> checked(std::string_view key, const Value& value) {
  const std::string* word = std::get_if<std::string>(&value);
  if (is_number(key) && key != "blocks" && word != nullptr && looks_like_number(*word))
    return fail(quoted_number(key, value));
  if (const Option* option = find_option(key)) return checked_option(*option, value);
  chip::Chip scratch;
  const std::string about = fmt::format("danaus explain {}", key);
  const chip::Assignment assignment = chip::assign(scratch, *find_chip_key(key), value);
  switch (assignment.problem) {
    case chip::Problem::none:
      return value;
    case chip::Problem::type:
      return fail(Error("explore.type", Failure::bad_input, assignment.text).with_hint(about));
    case chip::Problem::range:
      break;
  }
  return fail(Error("explore.value", Failure::bad_input, assignment.text).with_hint(about));
}

pipeline::RunOptions run_options(const OptionValues& values, const model::Model& model) {
  pipeline::RunOptions options = values.run;
  if (values.generate) options.generation = values.generation;
  const bool decode = options.emit.mode == compile::Mode::decode && !values.generate;
  const std::uint32_t context = model.dimensions.context;
  options.emit.tokens = decode ? 1 : values.tokens.value_or(context == 0 ? 1 : std::min(context, kDefaultTokens));
  if (!decode) options.emit.kv = 0;
  if (options.emit.mode == compile::Mode::encode) options.emit.encoder_tokens = 0;
  options.project_weights = values.relative_error;
  options.find_bounds = values.bounds;
  return options;
}

}  // namespace danaus::explore
