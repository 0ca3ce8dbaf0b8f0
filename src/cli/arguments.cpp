// The options of every subcommand, declared in one place and parsed by CLI11. Before CLI11 sees the line, our own scan
// finds unknown subcommands and options, because a spelling hint needs the word as it was typed; CLI11's own errors
// become cli.arguments.

#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>

#include "cli/version.h"
#include "danaus/core/words.h"

namespace danaus::cli {
namespace {

constexpr std::string_view kModelHelp =
    "Preset (danaus show models), shape .toml, .gguf, .safetensors, .onnx or Hugging Face folder";

/// A whole number in [least, most], in words that name the range.
std::function<std::string(const std::string&)> whole_number(std::uint64_t least, std::uint64_t most) {
  return [least, most](const std::string& text) -> std::string {
    std::uint64_t value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status == std::errc() && end == text.data() + text.size() && value >= least && value <= most) return "";
    return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
  };
}

std::string compression_check(const std::string& text) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value >= 1) return "";
  return fmt::format("'{}' is not a number of at least 1", text);
}

std::string setting_check(const std::string& text) {
  const std::size_t equals = text.find('=');
  return equals != std::string::npos && equals != 0 ? "" : fmt::format("'{}' is not key=value", text);
}

/// An option whose value is one of a few words.
template <typename Value>
CLI::Option* add_choice(CLI::App& app, const std::string& name, Value& target, const std::string& help,
                        const std::vector<std::pair<std::string, Value>>& choices) {
  std::vector<std::string> words;
  for (const auto& [word, value] : choices) words.push_back(word);
  const std::string list = fmt::format("{}", fmt::join(words, "|"));
  const auto check = [list, words](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end() ? ""
                                                                      : fmt::format("'{}' is none of {}", text, list);
  };
  const auto assign = [&target, choices](const CLI::results_t& texts) {
    for (const auto& [word, value] : choices) {
      if (word == texts.back()) target = value;
    }
    return true;
  };
  return app.add_option(name, assign, help)->type_name(list)->check(check);
}

constexpr std::uint32_t kMostTokens = 1u << 20;
constexpr std::uint32_t kMostSequences = 4096;

void add_common(CLI::App& app, Arguments& arguments) {
  app.set_help_flag("-h,--help", "Print this help and exit")->group("Common");
  app.add_option("--threads", arguments.threads, "Threads [all]")
      ->type_name("N")
      ->check(whole_number(1, 4096))
      ->group("Common");
  app.add_option("--seed", arguments.seed, "Seed of everything random [1]")
      ->type_name("N")
      ->check(whole_number(0, ~0ull))
      ->group("Common");
  CLI::Option* quiet = app.add_flag("-q,--quiet", arguments.quiet, "No talk on stderr, only errors")->group("Common");
  app.add_flag("-v,--verbose", arguments.verbose, "More detail")->group("Common")->excludes(quiet);
  add_choice<ProgressStyle>(app, "--progress", arguments.progress,
                            "Progress of long steps on stderr [auto: on a terminal]",
                            {{"auto", ProgressStyle::automatic},
                             {"plain", ProgressStyle::plain},
                             {"json", ProgressStyle::json},
                             {"none", ProgressStyle::none}})
      ->group("Common");
}

/// For subcommands whose result is a document.
void add_json(CLI::App& app, Arguments& arguments) {
  app.add_flag("--json", arguments.json, "One JSON document on stdout; errors as JSON on stderr")->group("Common");
}

void add_model(CLI::App& app, Arguments& arguments) {
  app.add_option("MODEL", arguments.model, std::string(kModelHelp))->required()->type_name("");
}

void add_chip(CLI::App& app, Arguments& arguments, const std::string& default_chip, const std::string& default_text) {
  arguments.chip = default_chip;
  app.add_option("--chip", arguments.chip, fmt::format("Chip preset (danaus show chips) or file [{}]", default_text))
      ->type_name("CHIP")
      ->group("Chip");
  const auto add_setting = [&arguments](const CLI::results_t& texts) {
    for (const std::string& text : texts) {
      const std::size_t equals = text.find('=');
      arguments.settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    return true;
  };
  app.add_option("--set", add_setting, "Override a key of the chip file, such as adc.per_array=8 (repeatable)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(setting_check)
      ->group("Chip");
}

/// What to do with a model that is larger than a chip.
void add_system(CLI::App& app, Arguments& arguments) {
  const auto set_chips = [&arguments](const CLI::results_t& texts) {
    arguments.settings.emplace_back("chip.chips", texts.back());
    return true;
  };
  app.add_option("--chips", set_chips, "Deal the arrays to N equal chips, linked to a switch [chip.chips]")
      ->type_name("N")
      ->check(whole_number(1, 65536))
      ->group("Chip");
  app.add_option("--replicate", arguments.copies,
                 "Spend up to N arrays on copies of the busiest ones: throughput of prefill and encode")
      ->type_name("N")
      ->check(whole_number(0, 1u << 24))
      ->group("Chip");
  app.add_option("--least-arrays", arguments.least_arrays,
                 "Striped maps and dense-diagonal: take at least N arrays, however few hold the blocks")
      ->type_name("N")
      ->check(whole_number(0, 1u << 24))
      ->group("Chip");
  const auto set_sliver = [&arguments](const CLI::results_t& texts) {
    if (texts.back() == "auto" || texts.back() == "whole") {
      arguments.sliver = texts.back() == "auto" ? 0 : 1024;  // no array is wider
      return true;
    }
    return CLI::detail::lexical_cast(texts.back(), arguments.sliver) && arguments.sliver > 0;
  };
  app.add_option("--sliver", set_sliver, "Striped maps: columns of a sliver [auto: as many as all arrays can share]")
      ->type_name("auto|whole|N")
      ->group("Chip");
  using compile::Objective;
  add_choice<Objective>(
      app, "--objective", arguments.objective,
      "What striped maps and auto make least: latency (decode: of one token; else of all), energy per token, area, "
      "or arrays [latency]",
      {{"latency", Objective::latency},
       {"energy", Objective::energy},
       {"area", Objective::area},
       {"arrays", Objective::arrays}})
      ->group("Chip");
  app.add_flag("--reload", arguments.reload,
               "Program a model that is larger than the chips in passes; time and energy count")
      ->group("Chip");
}

/// A number above zero.
std::string positive_check(const std::string& text) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value > 0) return "";
  return fmt::format("'{}' is not a number above 0", text);
}

/// Structures to choose from.
void add_candidates(CLI::App& app, std::vector<std::string>& candidates, const std::string& help,
                    const std::string& group) {
  const auto split = [&candidates](const CLI::results_t& texts) {
    candidates = words_between_commas(texts.back());
    return true;
  };
  app.add_option("--candidates", split, help)->type_name("A,B")->group(group);
}

/// What --map auto may choose, and what for.
void add_auto(CLI::App& app, Arguments& arguments) {
  pipeline::AutoOptions& automatic = arguments.automatic;
  const std::string group = "Map auto";
  app.add_option("--max-arrays", automatic.most_arrays, "At most so many arrays, copies included")
      ->type_name("N")
      ->check(whole_number(1, 1u << 24))
      ->group(group);
  app.add_option("--max-area-mm2", automatic.most_area_mm2, "At most so large")
      ->type_name("A")
      ->check(positive_check)
      ->group(group);
  app.add_option("--max-energy-nj", automatic.most_energy_nj, "At most so much energy per token")
      ->type_name("E")
      ->check(positive_check)
      ->group(group);
  app.add_option("--max-latency-us", automatic.most_latency_us, "At most so long")
      ->type_name("T")
      ->check(positive_check)
      ->group(group);
  app.add_option("--max-error", automatic.most_error,
                 "At most so much relative error of all weights, or sum of the costs of --sensitivity")
      ->type_name("E")
      ->check(positive_check)
      ->group(group);
  add_candidates(app, automatic.candidates,
                 "Structures to choose from: dense, given, monarch:8, lowrank:8, gather:8:32, blocks:16x64:2 "
                 "[dense,given; with --max-error all families at 2, 4 and 8 times]",
                 group);
  app.add_option("--sensitivity", automatic.sensitivity, "TOML file: what a structure costs an operator, as measured")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--time-budget", automatic.time_budget_s, "Seconds; then the best so far [none]")
      ->type_name("S")
      ->check(positive_check)
      ->group(group);
}

void add_structure(CLI::App& app, Arguments& arguments) {
  using Kind = factor::Policy::Kind;
  factor::Policy& policy = arguments.policy;
  const std::string group = "Structure";
  CLI::Option* structure =
      add_choice<Kind>(
          app, "--structure", policy.kind, "What block operators are made of [monarch]",
          {{"monarch", Kind::monarch}, {"lowrank", Kind::lowrank}, {"gather", Kind::gather}, {"dense", Kind::dense}})
          ->group(group);
  CLI::Option* blocks =
      app.add_option("--blocks", policy.blocks, "Input x output blocks and rank, such as 32 or 16x64:2")
          ->type_name("K[xL][:R]")
          ->group(group);
  CLI::Option* gathered =
      app.add_option("--group", policy.group, "Gathered blocks: outputs of a block, which picks its inputs [32]")
          ->type_name("S")
          ->check(whole_number(1, 1u << 24))
          ->needs(structure)
          ->group(group);
  CLI::Option* compression =
      app.add_option("--compression", policy.compression, "Dense parameters over block parameters to aim at [8]")
          ->type_name("C")
          ->check(compression_check)
          ->group(group);
  app.add_option("--policy", policy.file, "TOML file with a structure per layer")->type_name("FILE")->group(group);
  CLI::Option* pad = add_choice<bool>(app, "--pad", policy.pad_square,
                                      "square: pad every operator to n x n, sqrt(n) blocks", {{"square", true}})
                         ->group(group);
  app.add_flag("--trim", policy.trim, "Remove dead rows, columns and blocks of padding")->group(group);
  blocks->excludes(compression)->excludes(pad)->excludes(gathered);
  compression->excludes(pad);
}

void add_adc_bits(CLI::App& app, Arguments& arguments) {
  app.add_option("--adc-bits", arguments.adc_bits,
                 "TOML file with the converters' bits per stage (danaus precision), for adc.rule = calibrated")
      ->type_name("FILE")
      ->group("Chip");
}

/// What computes the linear operators of eval and generate: float, blocks of the weights, or a factor file.
void add_linear(CLI::App& app, Arguments& arguments) {
  add_structure(app, arguments);
  app.get_option("--structure")
      ->description("Blocks in place of the weights, as one of these options asks; without any the weights [monarch]");
  const std::vector<std::string> structure = {"--structure", "--blocks", "--compression", "--group",
                                              "--policy",    "--pad",    "--trim"};
  CLI::Option* factors = app.add_option("--factors", arguments.factors,
                                        "Factors instead of weights (danaus project -o); excludes the rest")
                             ->type_name("FILE")
                             ->group("Structure");
  for (const std::string& name : structure) factors->excludes(app.get_option(name));
  app.callback([&app, &arguments, structure] {
    arguments.structured =
        std::any_of(structure.begin(), structure.end(), [&](const std::string& name) { return app.count(name) != 0; });
  });
  add_chip(app, arguments, "pcm-14nm", "pcm-14nm; its array edge guides the choice of blocks");
  add_adc_bits(app, arguments);
  const std::string analog = "Analog machine";
  CLI::Option* on = app.add_flag("--analog", arguments.analog,
                                 "What the arrays of the chip answer: devices, converters and ranges of its [noise] "
                                 "section (danaus show keys)")
                        ->group(analog);
  app.add_option("--map", arguments.analog_map, "Mapping of the operators [linear; sparse for blocks]")
      ->type_name("MAP")
      ->group(analog)
      ->needs(on);
  app.add_option("--calibrate", arguments.calibration,
                 "Text (.json: token ids) that sets the converters' ranges, another one than is evaluated: "
                 "noise.adc_range is then cal-shared unless it is set")
      ->type_name("FILE")
      ->group(analog)
      ->needs(on);
  app.add_option("--calibration-tokens", arguments.calibration_tokens,
                 "About so many tokens of it, in windows of 256 or whole lines [1024]")
      ->type_name("N")
      ->check(whole_number(1, kMostTokens))
      ->group(analog)
      ->needs(on);
  using pipeline::ChannelScale;
  add_choice<ChannelScale>(
      app, "--channel-scale", arguments.channel_scale,
      "Scales between the stages of a block operator: balanced (as projected), rms (equal on the "
      "calibration text), auto (the better of both, per operator) [auto]",
      {{"balanced", ChannelScale::balanced}, {"rms", ChannelScale::rms}, {"auto", ChannelScale::automatic}})
      ->group(analog)
      ->needs(on);
}

/// A number in [least, most], in words that name the range.
std::function<std::string(const std::string&)> number(double least, double most) {
  return [least, most](const std::string& text) -> std::string {
    double value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status == std::errc() && end == text.data() + text.size() && value >= least && value <= most) return "";
    return fmt::format("'{}' is not a number from {} to {}", text, least, most);
  };
}

void add_program_options(CLI::App& app, Arguments& arguments, bool generates) {
  using compile::Mode;
  const std::string group = "Program";
  std::vector<std::pair<std::string, Arguments::ModeChoice>> modes = {
      {"decode", {.mode = Mode::decode}}, {"prefill", {.mode = Mode::prefill}}, {"encode", {.mode = Mode::encode}}};
  if (generates) modes.push_back({"generate", {.mode = Mode::decode, .generate = true}});
  add_choice<Arguments::ModeChoice>(
      app, "--mode", arguments.mode,
      generates ? "One token, a pipelined prompt, an encoder pass, or token after token [decode]"
                : "One token, a pipelined prompt, or an encoder pass [decode]",
      modes)
      ->group(group);
  app.add_option("--tokens", arguments.tokens,
                 generates ? "Tokens for prefill and encode; generate: the total length [the context, at most 512]"
                           : "Tokens for prefill and encode [the context, at most 512]")
      ->type_name("N")
      ->check(whole_number(1, kMostTokens))
      ->group(group);
  if (generates) {
    app.add_option("--prompt", arguments.prompt_tokens, "Generate: tokens of the prompt [1]")
        ->type_name("N")
        ->check(whole_number(1, kMostTokens))
        ->group(group);
    app.add_flag("--no-kv-cache", arguments.no_kv_cache, "Generate: every token reads all tokens so far again")
        ->group(group);
    app.add_option("--sequences", arguments.sequences, "Sequences of that length that share the chip [1]")
        ->type_name("N")
        ->check(whole_number(1, kMostSequences))
        ->group(group);
  }
  app.add_option("--kv", arguments.kv, "KV length for decode, the new token included [the context]")
      ->type_name("N")
      ->check(whole_number(1, kMostTokens))
      ->group(group);
  app.add_option("--encoder-tokens", arguments.encoder_tokens,
                 "Encoder-decoder models, decode and prefill: tokens of the encoder [the context]")
      ->type_name("N")
      ->check(whole_number(1, kMostTokens))
      ->group(group);
  app.add_option("--slots", arguments.slots, "Tokens in flight [decode 1, else 2]")
      ->type_name("N")
      ->check(whole_number(1, 4096))
      ->group(group);
  add_choice<bool>(app, "--share-inputs", arguments.share_inputs,
                   "Operators with the same input share activations [on]", {{"on", true}, {"off", false}})
      ->group(group);
}

/// Names between commas, in one word.
CLI::Option* add_maps(CLI::App& app, Arguments& arguments, const std::string& type, const std::string& help) {
  const auto split = [&arguments](const CLI::results_t& texts) {
    arguments.maps = words_between_commas(texts.back());
    return true;
  };
  const auto each_once = [](const std::string& text) -> std::string {
    std::vector<std::string> names = words_between_commas(text);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    return twice == names.end() ? "" : fmt::format("'{}' names {} twice", text, *twice);
  };
  return app.add_option("--map", split, help)->type_name(type)->check(each_once)->group("Program");
}

std::string not_empty(const std::string& text) { return text.empty() ? "an empty text names nothing" : ""; }

void add_output(CLI::App& app, Arguments& arguments, const std::string& help, bool required) {
  app.add_option("-o,--output", arguments.output, help)->type_name("FILE")->required(required)->check(not_empty);
}

/// A text that a command cannot do without.
void add_text(CLI::App& app, Arguments& arguments, const std::string& lines) {
  app.add_option("--text", arguments.text, "The text (.json: token ids), - for stdin; encoders: " + lines)
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
}

/// How the tokens of a calibration count; for --calibrate of project too.
void add_token_weights(CLI::App& app, Arguments& arguments) {
  const std::string group = "Calibration";
  app.add_option("--window", arguments.window, "Decoders: tokens that are seen at once [the context, at most 512]")
      ->type_name("N")
      ->check(whole_number(1, kMostTokens))
      ->group(group);
  app.add_option("--first-token", arguments.token_weights.first_token,
                 "Weight of the first token of a text, which some models use as a sink of huge activations [1]")
      ->type_name("W")
      ->check(number(0, 1e9))
      ->group(group);
  app.add_option("--normalise", arguments.token_weights.normalise,
                 "Weight of a token by its energy, |x|^(-2 N): 0 as it is, 1 all tokens equally [0]")
      ->type_name("N")
      ->check(number(0, 1))
      ->group(group);
}

void add_only(CLI::App& app, Arguments& arguments) {
  app.add_option("--only", arguments.only, "Only operators whose name matches one of these globs")
      ->type_name("NAME...");
}

/// Projections that keep what the outputs say on a text.
CLI::Option* add_calibration(CLI::App& app, Arguments& arguments) {
  const std::string group = "Calibration";
  CLI::Option* calibration =
      app.add_option("--calibrate", arguments.calibration,
                     "Keep the outputs on this text (.json: token ids), or on what danaus calibrate has written "
                     "(.safetensors), instead of the weights")
          ->type_name("FILE")
          ->check(not_empty)
          ->group(group);
  app.add_option("--damping", arguments.fit.damping,
                 "Part of the correlations between inputs that is not believed [0.003]")
      ->type_name("D")
      ->check(number(1e-6, 0.999))
      ->needs(calibration)
      ->group(group);
  app.add_option("--sweeps", arguments.fit.most_sweeps, "Of alternating least squares, at most [50]")
      ->type_name("N")
      ->check(whole_number(0, 1000000))
      ->needs(calibration)
      ->group(group);
  return calibration;
}

/// Lengths between commas.
void add_lengths(CLI::App& app, tune::Options& options, const std::string& group) {
  const auto split = [&options](const CLI::results_t& texts) {
    for (const std::string& word : words_between_commas(texts.back()))
      options.lengths.push_back(static_cast<std::uint32_t>(std::stoul(word)));
    return true;
  };
  const auto check = [](const std::string& text) -> std::string {
    for (const std::string& word : words_between_commas(text)) {
      if (std::string problem = whole_number(2, kMostTokens)(word); !problem.empty()) return problem;
    }
    return "";
  };
  app.add_option("--lengths", split,
                 "Tokens of the sequences that the text is cut into [encoders 16,32,64,128; decoders 256]")
      ->type_name("N,...")
      ->check(check)
      ->group(group);
}

void add_tune(CLI::App& app, Arguments& arguments) {
  tune::Options& options = arguments.tune;
  const std::string group = "Training";
  app.add_flag(
         "--from-scratch", options.from_scratch,
         "Train all weights of a small decoder from random ones, on the text alone; MODEL gives the shape and the "
         "tokenizer, -o is a file like it")
      ->group(group);
  CLI::Option* steps = app.add_option("--steps", options.steps, "Train so many steps [one pass over the text]")
                           ->type_name("N")
                           ->check(whole_number(1, 1u << 30))
                           ->group(group);
  CLI::Option* tokens = app.add_option("--tokens", options.tokens, "Or steps of so many tokens together")
                            ->type_name("N")
                            ->check(whole_number(1, 1ull << 40))
                            ->group(group);
  CLI::Option* minutes =
      app.add_option("--minutes", options.minutes, "Or as many steps as this machine makes in about so many minutes")
          ->type_name("M")
          ->check(number(0.01, 1e6))
          ->group(group);
  steps->excludes(tokens)->excludes(minutes);
  tokens->excludes(minutes);
  app.add_option("--batch", options.batch_tokens, "Tokens of a step [1024]")
      ->type_name("N")
      ->check(whole_number(2, 1u << 24))
      ->group(group);
  app.add_option("--shards", options.shards,
                 "Parts of a step that threads compute; the result depends on it, not on the threads [2]")
      ->type_name("N")
      ->check(whole_number(1, 1024))
      ->group(group);
  add_lengths(app, options, group);
  app.add_option("--rate", options.rate, "Times the learning rate of each structure (docs/tuning.md) [1]")
      ->type_name("X")
      ->check(number(1e-6, 1e6))
      ->group(group);
  app.add_option("--warm-up", options.warm_up, "Steps in which the rate rises, at most a tenth of all [50]")
      ->type_name("N")
      ->check(whole_number(0, 1u << 30))
      ->group(group);
  app.add_option("--clip", options.most_gradient, "Longer gradients are shortened to this length [1]")
      ->type_name("X")
      ->check(number(1e-6, 1e9))
      ->group(group);
  app.add_flag("--float32", arguments.single_precision,
               "Products in single precision [bfloat16 where the processor has fast ones]")
      ->group(group);
  const std::string loss =
      "Loss (weights; none given: encoders 1 output, embedding, layers; decoders 1 logits, 0.1 text)";
  CLI::Option* const layer_wise =
      app.add_flag("--layer-wise", options.layer_wise,
                   "Layers apart: each reads what the dense model's reads, and learns to say what that says")
          ->group(loss);
  const auto add_weight = [&](const char* name, double& target, const std::string& help) {
    app.add_option(name, target, help)->type_name("W")->check(number(0, 1e6))->group(loss)->excludes(layer_wise);
  };
  add_weight("--loss-output", options.weights.output, "Relative error of the last hidden states");
  add_weight("--loss-embedding", options.weights.embedding, "1 - cosine of the embeddings");
  add_weight("--loss-layers", options.weights.features,
             "Relative error of what each layer reads; falls to 0 in the first half");
  add_weight("--loss-logits", options.weights.distillation,
             "Divergence of the next token's probabilities from the dense model's");
  add_weight("--loss-text", options.weights.language, "-ln p of the text's next token");
  const std::string noise = "Noise (training with what arrays and converters do, docs/tuning.md)";
  app.add_option("--dac-bits", options.noise.input_bits, "Round what a stage reads to so many bits")
      ->type_name("N")
      ->check(whole_number(2, 16))
      ->group(noise);
  app.add_option("--adc-bits", options.noise.output_bits, "Round what a stage gives to so many bits")
      ->type_name("N")
      ->check(whole_number(2, 16))
      ->group(noise);
  app.add_option("--weight-noise", options.noise.weights,
                 "Spread of the weights, in the largest weight of their output, drawn anew in every step")
      ->type_name("SD")
      ->check(number(0, 1))
      ->group(noise);
  const std::string files = "Checkpoints";
  CLI::Option* checkpoint =
      app.add_option("--checkpoint", options.checkpoint, "Keep the state of the training in this file")
          ->type_name("FILE")
          ->check(not_empty)
          ->group(files);
  app.add_option("--save-minutes", options.checkpoint_minutes, "Write it every so many minutes [5]")
      ->type_name("M")
      ->check(number(0.001, 1e6))
      ->group(files)
      ->needs(checkpoint);
  app.add_option("--save-steps", options.checkpoint_steps, "And every so many steps")
      ->type_name("N")
      ->check(whole_number(1, 1u << 30))
      ->group(files)
      ->needs(checkpoint);
  app.add_flag("--resume", options.resume, "Go on with it, if it is there; the result is the same")
      ->group(files)
      ->needs(checkpoint);
  app.add_option("--log", arguments.log, "Write a line of JSON for every record")
      ->type_name("FILE")
      ->check(not_empty)
      ->group(files);
  app.add_option("--log-steps", options.log_steps, "Steps of a record [50]")
      ->type_name("N")
      ->check(whole_number(1, 1u << 30))
      ->group(files);
}

using Declare = void (*)(CLI::App&, Arguments&);

struct Subcommand {
  std::string_view name;
  std::string_view purpose;
  std::string_view examples;
  Declare declare;
};

constexpr Subcommand kSubcommands[] = {
    {"run", "Compile, prove and time a model on a chip, one column per mapping",
     "danaus run bert-large\n"
     "danaus run llama-7b --chip unit --map linear,dense --blocks 64\n"
     "danaus run model.gguf --set adc.per_array=32 --json\n"
     "danaus run bert-large --structure gather --compression 8 --group 32 --map sparse,dense,striped\n"
     "danaus run llama-7b --set chip.arrays=4096 --chips 32 --map linear\n"
     "danaus run bert-large --map linear,striped,auto --max-arrays 2000\n"
     "danaus run bert-large --map auto --objective arrays --max-latency-us 70\n"
     "danaus run model.gguf --map auto --max-error 0.3 --candidates dense,monarch:4,gather:4:32 --time-budget 60",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       add_maps(app, arguments, "A,B",
                "Mappings, the columns of the table; auto chooses per operator [linear,sparse,dense,striped; list "
                "scheduling: linear]");
       add_program_options(app, arguments, true);
       add_structure(app, arguments);
       add_auto(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm");
       add_adc_bits(app, arguments);
       add_system(app, arguments);
       app.add_option("--save-policy", arguments.policy_out, "Write the structures that auto chose, for --policy")
           ->type_name("FILE")
           ->check(not_empty)
           ->excludes(app.get_option("--policy"))
           ->excludes(app.get_option("--pad"))
           ->group("Map auto");
       app.add_flag("--no-error", arguments.no_error, "Do not project the weights: no relative error, no wait")
           ->group("Structure");
       arguments.references = {"cpu", "gpu"};
       const auto split_references = [&arguments](const CLI::results_t& texts) {
         arguments.references = words_between_commas(texts.back());
         if (texts.back() == "none") arguments.references.clear();
         return true;
       };
       app.add_option(
              "--reference", split_references,
              "Rooflines of machines of today beside the maps (danaus show references), files, or none [cpu,gpu]")
           ->type_name("A,B");
       add_json(app, arguments);
     }},
    {"project", "Approximate the weights of a model by blocks: error, parameters and MACs per layer",
     "danaus project model.gguf --blocks 24\n"
     "danaus project model.safetensors --only '*ffn*' --blocks 16x64:2 -o factors.safetensors\n"
     "danaus project model.gguf --calibrate book.txt --structure gather --group 8 --compression 2 -o "
     "factors.safetensors",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       add_only(app, arguments);
       add_output(app, arguments, "Write the factors as safetensors", false);
       CLI::Option* calibration = add_calibration(app, arguments);
       add_token_weights(app, arguments);
       for (const char* name : {"--window", "--first-token", "--normalise"}) app.get_option(name)->needs(calibration);
       add_structure(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm; its array edge guides the choice of blocks");
       add_json(app, arguments);
     }},
    {"precision", "How many converter bits each stage needs for a signal-to-noise ratio on the analog machine",
     "danaus precision bert-large --map sparse --min-snr-db 15 -o bits.toml\n"
     "danaus precision model.gguf --text book.txt --set noise.device=pcm -o bits.toml\n"
     "danaus run model.gguf --map linear --set adc.rule=calibrated --adc-bits bits.toml",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       arguments.maps = {"linear"};
       add_maps(app, arguments, "NAME", "Mapping of the operators [linear]")->check([](const std::string& text) {
         return text.find(',') == std::string::npos ? "" : fmt::format("'{}' is more than one mapping", text);
       });
       app.add_option("--min-snr-db", arguments.least_snr_db, "Least signal-to-noise ratio of every stage, dB [30]")
           ->type_name("DB")
           ->check(CLI::Range(0.0, 100.0));
       app.add_option("--text", arguments.text,
                      "Inputs of the operators come from this text, - for stdin; token ids if it ends with .json")
           ->type_name("FILE");
       app.add_option("--vectors", arguments.vectors,
                      "Vectors that are measured, and as many others that set the converters' ranges [64]")
           ->type_name("N")
           ->check(whole_number(1, 4096));
       add_output(app, arguments, "Write the table for --adc-bits", false);
       add_structure(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm");
       add_json(app, arguments);
     }},
    {"calibrate", "Collect what the linear operators of a model see while it reads a text, for project --calibrate",
     "danaus calibrate model.gguf --text book.txt -o moments.safetensors\n"
     "danaus calibrate model.gguf --text book.txt -o moments.safetensors --resume\n"
     "danaus project model.gguf --calibrate moments.safetensors --compression 2 -o factors.safetensors",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       add_text(app, arguments, "one sentence per line");
       add_output(app, arguments, "The moments, as safetensors; what there is every half minute", true);
       app.add_flag("--resume", arguments.resume, "Go on with this file, or start it");
       add_token_weights(app, arguments);
       app.add_option("--memory", arguments.memory_gb,
                      "GB of sums at a time; the text is read as often as that takes [4]")
           ->type_name("GB")
           ->check(whole_number(1, 1u << 20))
           ->group("Calibration");
       add_json(app, arguments);
     }},
    {"sensitivity", "Measure what structures cost a model, one operator at a time, for --map auto --sensitivity",
     "danaus sensitivity all-MiniLM-L6-v2 --text sentences.txt --calibrate moments.safetensors -o costs.toml\n"
     "danaus sensitivity model.gguf --text book.txt --candidates monarch:4,gather:4:8 --only '*ffn*' -o costs.toml\n"
     "danaus run model.gguf --map auto --objective arrays --sensitivity costs.toml --max-error 0.5",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       add_text(app, arguments, "one sentence per line");
       add_output(app, arguments, "The costs, as TOML; written after every candidate", true);
       arguments.tokens = 1024;
       app.add_option("--tokens", arguments.tokens, "Read about so many tokens of the text [1024]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens));
       add_candidates(
           app, arguments.automatic.candidates,
           "Structures to measure: dense, monarch:8, lowrank:8, gather:8:32, blocks:16x64:2 [all families at "
           "2, 4 and 8 times]",
           "Options");
       add_only(app, arguments);
       add_calibration(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm; its array edge guides the choice of blocks");
       add_json(app, arguments);
     }},
    {"compile", "Compile a model for one mapping into a program",
     "danaus compile bert-large --map dense --blocks 32 -o bert.dnx\n"
     "danaus compile bert-large --placement placement.json -o bert.dnx\n"
     "danaus compile bert-large --from-placement placement.json -o bert.dnx",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       arguments.maps = {"dense"};
       add_maps(app, arguments, "NAME", "Mapping, or auto [dense]")->check([](const std::string& text) {
         return text.find(',') == std::string::npos ? "" : fmt::format("'{}' is more than one mapping", text);
       });
       add_program_options(app, arguments, false);
       CLI::Option* out = app.add_option("--placement", arguments.placement_out, "Also write the placement as JSON")
                              ->type_name("FILE")
                              ->group("Program");
       app.add_option("--from-placement", arguments.placement_in, "Use this placement instead of the mapping's own")
           ->type_name("FILE")
           ->excludes(out)
           ->group("Program");
       add_structure(app, arguments);
       add_auto(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm");
       add_adc_bits(app, arguments);
       add_system(app, arguments);
       add_output(app, arguments, "The program", true);
     }},
    {"eval", "What a model says of a text: perplexity of decoders, embeddings and similarity of encoders",
     "danaus eval model.gguf --text book.txt\n"
     "danaus eval model.gguf --text book.txt --structure lowrank --compression 2\n"
     "danaus eval all-MiniLM-L6-v2 --text sentences.txt --json\n"
     "danaus eval model.gguf --text book.txt --analog --calibrate other.txt --set adc.rule=fixed --set adc.bits=6\n"
     "danaus eval model.gguf --text book.txt --analog --set noise.time_s=86400 --set noise.compensation=global\n"
     "danaus project model.gguf --blocks 24 -o f.safetensors; danaus eval model.gguf --text book.txt --factors "
     "f.safetensors",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       CLI::Option* text = app.add_option("--text", arguments.text,
                                          "The text, every byte of it, - for stdin; encoders: one sentence per line")
                               ->type_name("FILE");
       CLI::Option* ids = app.add_option("--ids", arguments.ids,
                                         "Token ids instead, - for stdin: a JSON list; for encoders a list of lists")
                              ->type_name("FILE");
       ids->excludes(text);
       app.add_option("--window", arguments.window,
                      "Decoders: tokens that are seen at once; a longer text is cut into windows [the context]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens));
       app.add_option("--stride", arguments.stride,
                      "From one window to the next; what windows share is scored once [half a window]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens));
       add_linear(app, arguments);
       add_json(app, arguments);
     }},
    {"tune", "Train the blocks of a model until they say what the model says, end to end",
     "danaus tune all-MiniLM-L6-v2 --text sentences.txt --compression 4 --minutes 60 -o tuned.safetensors\n"
     "danaus tune all-MiniLM-L6-v2 --text sentences.txt --factors projected.safetensors --steps 2000 \\\n"
     "            --checkpoint run.safetensors --resume -o tuned.safetensors\n"
     "danaus eval all-MiniLM-L6-v2 --text other.txt --factors tuned.safetensors\n"
     "danaus tune start.gguf --from-scratch --text book.txt --tokens 20000000 -o model.gguf",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       add_text(app, arguments, "one sentence or paragraph per line");
       add_output(app, arguments, "The trained factors, gains and biases, for eval --factors (from scratch: the model)",
                  true);
       add_tune(app, arguments);
       add_structure(app, arguments);
       CLI::Option* factors = app.add_option("--factors", arguments.factors,
                                             "Start from these factors (danaus project -o); excludes the rest")
                                  ->type_name("FILE")
                                  ->check(not_empty)
                                  ->group("Structure");
       CLI::Option* scratch = app.get_option("--from-scratch")->excludes(factors);
       for (const char* name : {"--structure", "--blocks", "--compression", "--group", "--policy", "--pad", "--trim"}) {
         factors->excludes(app.get_option(name));
         scratch->excludes(app.get_option(name));
       }
       for (const char* name :
            {"--layer-wise", "--loss-output", "--loss-embedding", "--loss-layers", "--loss-logits", "--loss-text"})
         scratch->excludes(app.get_option(name));
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm; its array edge guides the choice of blocks");
       add_json(app, arguments);
     }},
    {"generate", "Go on from a prompt, token by token. The prompt is used as it is: no chat template is applied",
     "danaus generate tiny-kjv \"In the beginning\"\n"
     "danaus generate model.gguf \"The monarch butterfly\"\n"
     "danaus generate model.gguf \"Once upon a time\" --temperature 0.8 --seed 7 --tokens 64\n"
     "danaus generate model.gguf \"The monarch butterfly\" --blocks 24",
     [](CLI::App& app, Arguments& arguments) {
       add_model(app, arguments);
       app.add_option("PROMPT", arguments.prompt, "The text to go on from")->required()->type_name("");
       arguments.tokens = 128;
       app.add_option("--tokens", arguments.tokens, "At most so many new tokens [128]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens));
       app.add_option("--temperature", arguments.temperature,
                      "0: always the likeliest token; 1: by the model's probabilities [0]")
           ->type_name("T")
           ->check(number(0, 1000));
       app.add_option("--top-k", arguments.top_k, "Draw from the K likeliest tokens only [all]")
           ->type_name("K")
           ->check(whole_number(1, 1u << 24));
       app.add_option("--top-p", arguments.top_p,
                      "Draw from the likeliest tokens that together have this probability [1]")
           ->type_name("P")
           ->check(number(0.000001, 1));
       add_linear(app, arguments);
       add_json(app, arguments);
     }},
    {"verify", "Check a program, with a proof run over a prime field",
     "danaus verify bert.dnx\n"
     "danaus verify bert.dnx --model bert-large --full",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("PROGRAM", arguments.input, "A program, binary or text")->required()->type_name("");
       app.add_flag("--full", arguments.full, "Independent random weights instead of rank-1 blocks (slower)");
       app.add_option("--model", arguments.model, "Also check that the program computes this model")
           ->type_name("MODEL");
       add_json(app, arguments);
     }},
    {"disasm", "Print a program as text",
     "danaus disasm bert.dnx\n"
     "danaus disasm bert.dnx -o bert.txt",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("PROGRAM", arguments.input, "A program")->required()->type_name("");
       add_output(app, arguments, "Write the text here [stdout]", false);
     }},
    {"asm", "Assemble the text of a program", "danaus asm bert.txt -o bert.dnx",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("TEXT", arguments.input, "The text of a program")->required()->type_name("");
       add_output(app, arguments, "The program", true);
     }},
    {"simulate", "Time a program and count its energy",
     "danaus simulate bert.dnx\n"
     "danaus simulate bert.dnx --set adc.kind=ramp --set adc.lsb_ns=0.3",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("PROGRAM", arguments.input, "A program, binary or text")->required()->type_name("");
       add_chip(app, arguments, "", "the one the program carries");
       add_json(app, arguments);
     }},
    {"trace", "What every array does while a program runs: a picture, or events for a trace viewer",
     "danaus trace bert.dnx -o bert.svg\n"
     "danaus trace bert.dnx -o layer.svg --between 0 1500\n"
     "danaus trace bert.dnx -o bert.json --set adc.kind=ramp --set adc.lsb_ns=0.3",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("PROGRAM", arguments.input, "A program, binary or text")->required()->type_name("");
       add_output(app, arguments, "NAME.svg, or NAME.json: trace events (chrome://tracing, Perfetto)", true);
       app.add_option("--between", arguments.between, "Of the picture only what lies between two times in ns [all]")
           ->type_name("A B")
           ->expected(2)
           ->check(number(0, 1e14));
       add_chip(app, arguments, "", "the one the program carries");
     }},
    {"reproduce",
     "Compare the published claims of arXiv 2510.11192 with our figures, under every assumption it leaves open",
     "danaus reproduce\n"
     "danaus reproduce --list\n"
     "danaus reproduce latency-sparse latency-dense -v\n"
     "danaus reproduce -o reproduction\n"
     "danaus reproduce --set array.settle_ns=10 --set digital.units=4",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("CLAIM", arguments.topic, "Claims, by name [all]")->type_name("")->expected(0, 64);
       app.add_flag("--list", arguments.list, "Only list the claims");
       app.add_option("-o,--output", arguments.output,
                      "Write figures (SVG, by gnuplot), their data, the JSON document and a Markdown page here")
           ->type_name("DIR")
           ->check(not_empty);
       add_chip(app, arguments, "paper", "paper, our reconstruction");
       app.get_option("--set")->description("Override a key of the chip file, such as array.settle_ns=10 (repeatable)");
       add_json(app, arguments);
     }},
    {"explore", "Compute the points of a study, and show those that nothing else beats",
     "danaus explore study.toml\n"
     "danaus explore study.toml -o study.db --resume\n"
     "danaus explore export study.db --format csv > study.csv\n"
     "danaus explore pareto study.db\n"
     "danaus explore study.toml --shard 2/8 -o part2.db\n"
     "danaus explore merge part1.db part2.db -o study.db\n"
     "mpirun -n 16 danaus explore study.toml -o study.db --resume",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("STUDY", arguments.study, "A study file (docs/explore.md), or export DB, pareto DB, merge DB...")
           ->required()
           ->type_name("")
           ->expected(1, 1 << 16);
       add_output(app, arguments, "The database [NAME.db]; of export the file [stdout]", false);
       app.add_flag("--resume", arguments.resume, "Go on with a database, or start it: compute what is missing");
       app.add_option("--shard", arguments.shard, "Every N-th point from the i-th on, into a database of its own")
           ->type_name("i/N")
           ->check(not_empty);
       add_choice<std::string>(app, "--format", arguments.format, "export: parquet needs Python with pyarrow [csv]",
                               {{"csv", "csv"}, {"json", "json"}, {"parquet", "parquet"}});
       app.add_flag("--pareto", arguments.front, "export: only points on the front");
       add_json(app, arguments);
     }},
    {"show",
     "List models, chips, mappings, keys of a chip file, formats or reference machines, or show one model or chip",
     "danaus show models\n"
     "danaus show models gpt2-medium\n"
     "danaus show chips pcm-14nm\n"
     "danaus show chips pcm-14nm --sources\n"
     "danaus show keys adc.",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("WHAT", arguments.topic,
                      "models, chips, maps, keys, formats, references, models MODEL, chips NAME, or keys BEGINNING")
           ->required()
           ->type_name("")
           ->expected(1, 2);
       app.add_flag("--sources", arguments.sources,
                    "With chips NAME: every key with its value and where it comes from, measured to assumed");
       add_json(app, arguments);
     }},
    {"explain", "Explain an error, a cost, a mapping, a structure or a key of the chip file",
     "danaus explain gguf.truncated\n"
     "danaus explain cost\n"
     "danaus explain cost activation --chip hermes-14nm\n"
     "danaus explain mapping dense\n"
     "danaus explain mapping striped bert-large --kv 512 --set adc.per_array=4\n"
     "danaus explain mapping auto bert-large --max-arrays 2000\n"
     "danaus explain structure gather\n"
     "danaus explain adc.per_array",
     [](CLI::App& app, Arguments& arguments) {
       app.add_option("TOPIC", arguments.topic,
                      "An error id, a chip key, cost [TOPIC] (without: lists them), structure NAME, or mapping NAME "
                      "[MODEL]: with a model why a decoded token takes as long as it does")
           ->required()
           ->type_name("")
           ->expected(1, 3);
       app.add_option("--kv", arguments.kv, "mapping NAME MODEL: KV length, the new token included [the context]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens))
           ->group("Program");
       app.add_option("--encoder-tokens", arguments.encoder_tokens,
                      "mapping NAME MODEL, encoder-decoder models: tokens of the encoder [the context]")
           ->type_name("N")
           ->check(whole_number(1, kMostTokens))
           ->group("Program");
       add_structure(app, arguments);
       add_auto(app, arguments);
       add_chip(app, arguments, "pcm-14nm", "pcm-14nm");
       add_adc_bits(app, arguments);
       add_system(app, arguments);
       add_json(app, arguments);
       app.callback([&app, &arguments] {
         for (const CLI::Option* option : app.get_options()) {
           const std::string group = option->get_group();
           const bool of_chip = option->check_name("--chip") || option->check_name("--set");
           if (option->count() != 0 && !of_chip &&
               (group == "Program" || group == "Structure" || group == "Chip" || group == "Map auto"))
             arguments.of_model = option->get_name();
         }
       });
     }},
};

/// CLI11's help without its remarks on relations between options, and with single empty lines.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }

  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_name().empty() ? std::string() : " " + option->get_type_name();
  }
  std::string make_option_usage(const CLI::Option* option) const override {
    return option->get_required() ? option->get_name(true) : "[" + option->get_name(true) + "]";
  }
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (std::size_t at = text.find("\n\n\n"); at != std::string::npos; at = text.find("\n\n\n")) text.erase(at, 1);
    return text;
  }
};

std::unique_ptr<CLI::App> declare(Arguments& arguments, std::string_view selected) {
  auto app = std::make_unique<CLI::App>(
      "danaus: compiler and simulator for transformers on analog compute-in-memory chips", "danaus");
  app->formatter(std::make_shared<HelpFormatter>());
  app->set_help_flag("-h,--help", "Print this help and exit");
  app->set_version_flag("--version", fmt::format("danaus {}", version()));
  app->require_subcommand(1);
  app->footer("Help on one of them: danaus SUBCOMMAND --help");
  for (const Subcommand& entry : kSubcommands) {
    CLI::App* sub = app->add_subcommand(std::string(entry.name), std::string(entry.purpose));
    if (entry.name != selected) continue;  // its options write into the same struct, and set defaults there
    entry.declare(*sub, arguments);
    add_common(*sub, arguments);
    std::string footer = "Examples:";
    for (std::size_t at = 0; at < entry.examples.size();) {
      const std::size_t end = std::min(entry.examples.find('\n', at), entry.examples.size());
      footer += fmt::format("\n  {}", entry.examples.substr(at, end - at));
      at = end + 1;
    }
    sub->footer(footer);
  }
  return app;
}

/// Options as typed, "--share_inputs" read as "--share-inputs"; the first that does not exist is an error.
Result<void> check_options(const CLI::App& sub, std::vector<std::string>& words) {
  std::vector<std::string> known;
  for (const CLI::Option* option : sub.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : option->get_snames()) known.push_back("-" + name);
  }
  for (std::string& word : words) {
    if (word == "--") break;
    if (word.size() < 2 || word[0] != '-' || std::isdigit(static_cast<unsigned char>(word[1])) || word[1] == '.')
      continue;
    const std::size_t length = word[1] == '-' ? std::min(word.find('='), word.size()) : 2;
    std::string name = word.substr(0, length);
    std::replace(name.begin(), name.end(), '_', '-');
    if (std::find(known.begin(), known.end(), name) != known.end()) {
      word.replace(0, length, name);
      continue;
    }
    const std::string_view near = nearest(name, std::vector<std::string_view>(known.begin(), known.end()));
    return fail(
        Error("cli.unknown-option", Failure::usage, fmt::format("danaus {} has no option '{}'", sub.get_name(), name))
            .with_hint(near.empty() ? fmt::format("danaus {} --help lists them", sub.get_name())
                                    : fmt::format("did you mean '{}'?", near)));
  }
  return {};
}

}  // namespace

bool wants_json(int argc, const char* const* argv) {
  return std::any_of(argv, argv + argc, [](const char* word) { return std::string_view(word) == "--json"; });
}

Result<std::variant<Arguments, Notice>> parse_arguments(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  Arguments arguments;
  arguments.line = words;
  arguments.line.insert(arguments.line.begin(), "danaus");
  if (words.empty())
    return fail(
        Error("cli.no-subcommand", Failure::usage, "a subcommand is needed").with_hint("danaus --help lists them"));
  std::vector<std::string_view> names;
  for (const Subcommand& entry : kSubcommands) names.push_back(entry.name);
  const std::string_view first = words.front();
  arguments.subcommand = first;
  const std::unique_ptr<CLI::App> app = declare(arguments, first);
  if (!first.starts_with('-')) {
    if (std::find(names.begin(), names.end(), first) == names.end()) {
      const std::string_view near = nearest(first, names);
      return fail(Error("cli.unknown-subcommand", Failure::usage, fmt::format("there is no subcommand '{}'", first))
                      .with_hint(near.empty() ? "danaus --help lists them" : fmt::format("did you mean '{}'?", near)));
    }
    DANAUS_CHECK(check_options(*app->get_subcommand(std::string(first)), words));
  } else if (first != "-h" && first != "--help" && first != "--version") {
    return fail(Error("cli.unknown-option", Failure::usage, fmt::format("danaus has no option '{}'", first))
                    .with_hint("options come after the subcommand: danaus run MODEL --chip unit"));
  }
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // CLI11 wants them so
    app->parse(reversed);
  } catch (const CLI::CallForVersion& version_text) {
    return Notice{std::string(version_text.what()) + "\n"};
  } catch (const CLI::CallForHelp&) {
    return Notice{app->help()};
  } catch (const CLI::ParseError& error) {
    return fail(
        Error("cli.arguments", Failure::usage, error.what()).with_hint(fmt::format("see danaus {} --help", first)));
  }
  return arguments;
}

}  // namespace danaus::cli
