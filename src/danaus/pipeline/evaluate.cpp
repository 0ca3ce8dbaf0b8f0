// Text or ids -> tokens -> linear backend -> transformer -> perplexity, embeddings or text. What can be refused without
// work is refused before weights are read.

#include "danaus/pipeline/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "danaus/core/parallel.h"
#include "danaus/model/embedded.h"
#include "danaus/model/gguf.h"
#include "danaus/nn/tokenizer.h"
#include "danaus/nn/transformer.h"
#include "danaus/pipeline/run.h"
#include "danaus/pipeline/token_list.h"

namespace danaus::pipeline {
namespace {

using nn::TokenId;

constexpr std::string_view kUntrained =
    "the blocks are a projection of the weights without training: a starting point, not what the structure can reach";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Error wrong_factors(const std::filesystem::path& file, std::string text) {
  return Error("eval.factors", Failure::bad_input, std::move(text))
      .in_file(file.string())
      .with_hint("project this model anew: danaus project MODEL -o FILE");
}

/// The factors of a file in the order of model.linear; operators that it leaves out stay dense.
Result<std::vector<factor::Factors>> factors_of_file(const model::Model& model, const std::filesystem::path& file,
                                                     Linear& into, Progress& progress) {
  LinearReport& report = into.report;
  DANAUS_TRY(read, factor::read_factors(file));
  into.constants = std::move(read.constants);
  std::map<std::string_view, std::size_t> numbers;
  for (std::size_t number = 0; number < model.linear.size(); ++number) numbers[model.linear[number].name] = number;
  std::vector<std::optional<factor::Factors>> found(model.linear.size());
  for (auto& [name, factors] : read.operators) {
    const std::map<std::string_view, std::size_t>::const_iterator number = numbers.find(name);
    if (number == numbers.end())
      return fail(wrong_factors(file, fmt::format("'{}' has no linear operator '{}'", model.name, name)));
    const model::LinearOperator& linear = model.linear[number->second];
    if (factors.structure.out != linear.out || factors.structure.in != linear.in)
      return fail(wrong_factors(file, fmt::format("the factors of '{}' are {}x{}, the operator is {}x{}", name,
                                                  factors.structure.out, factors.structure.in, linear.out, linear.in)));
    found[number->second] = std::move(factors);
  }
  const auto dense =
      std::count_if(found.begin(), found.end(), [](const std::optional<factor::Factors>& one) { return !one; });
  struct Difference {
    double squared_norm = 0, squared_error = 0;
  };
  std::vector<Difference> differences(model.linear.size());
  std::vector<factor::Factors> operators(model.linear.size());
  progress.begin("compare with the weights", 0);
  parallel_for(model.linear.size(), 1, [&](std::size_t first, std::size_t last) {
    for (std::size_t number = first; number < last; ++number) {
      const model::LinearOperator& linear = model.linear[number];
      std::vector<float> weights = model::read_weights(linear);
      Difference& sums = differences[number];
      for (const float weight : weights) sums.squared_norm += double{weight} * double{weight};
      if (!found[number]) {
        operators[number] = {Structure::dense(linear.out, linear.in), std::move(weights), {}};
        continue;
      }
      const std::vector<float> blocks = factor::reconstruct(*found[number]);
      for (std::size_t n = 0; n < weights.size(); ++n) {
        const double difference = double{weights[n]} - double{blocks[n]};
        sums.squared_error += difference * difference;
      }
      operators[number] = std::move(*found[number]);
    }
  });
  double squared_error = 0, squared_norm = 0;
  for (const Difference& sums : differences) {
    squared_error += sums.squared_error;
    squared_norm += sums.squared_norm;
  }
  progress.end();
  if (dense != 0)
    report.notes.push_back(
        fmt::format("{} of {} operators are not in the factor file: they stay dense", dense, model.linear.size()));
  report.relative_error = squared_norm > 0 ? std::sqrt(squared_error / squared_norm) : 0;
  return operators;
}

Result<std::vector<factor::Factors>> projected(const model::Model& model, const factor::Policy& policy,
                                               std::uint32_t array_edge, LinearReport& report, Progress& progress) {
  DANAUS_TRY(structures, factor::choose_structures(model, policy, array_edge));
  std::vector<factor::Factors> operators;
  const auto keep = [&](std::string_view, const factor::Projection& projection) -> Result<void> {
    operators.push_back(projection.factors);
    return {};
  };
  const auto all = [](std::string_view) { return true; };
  DANAUS_TRY(layers, factor::project_model(model, structures, all, keep, progress));
  report.relative_error = total_relative_error(layers);
  report.notes.emplace_back(kUntrained);
  return operators;
}

/// A folder, or the file itself where it holds the tokenizer too.
std::filesystem::path home_of(const std::filesystem::path& path) {
  std::error_code ignored;
  if (model::is_gguf(path) || std::filesystem::is_directory(path, ignored)) return path;
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

Result<nn::Tokenizer> tokenizer_of(const model::Model& model, const std::string& path, std::string_view way_out) {
  const std::filesystem::path home = home_of(path);
  std::error_code ignored;
  if (!model::is_gguf(home) && !std::filesystem::exists(home / "tokenizer.json", ignored))
    return fail(Error("eval.no-tokenizer", Failure::bad_input,
                      fmt::format("'{}' has no tokenizer: there is no tokenizer.json beside it", model.name))
                    .in_file(path)
                    .with_hint(std::string(way_out)));
  DANAUS_TRY(tokenizer, nn::Tokenizer::read(home));
  DANAUS_CHECK(tokenizer.check_embedding(model.dimensions.vocab));
  return tokenizer;
}

/// Without the line ends LF and CR LF; what stands behind the last one is a line unless it is nothing.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
  }
  return lines;
}

enum class Role { encoder, decoder };

/// What the model is for; no weight is read. Errors: as evaluate.
Result<Role> role_of(const model::Model& model) {
  DANAUS_TRY(backend, nn::float_backend(model, {.resident_bytes = 0}));
  DANAUS_TRY(transformer, nn::Transformer::create(model, *backend));
  if (!transformer.has_encoder()) return Role::decoder;
  if (!transformer.has_decoder()) return Role::encoder;
  return fail(Error("eval.encoder-decoder", Failure::unsupported,
                    fmt::format("'{}' is an encoder-decoder model: it answers one text with another", model.name))
                  .with_hint("perplexity and generation are there for decoders, embeddings for encoders"));
}

Result<void> read_tokens(const model::Model& model, const std::string& path, const EvaluateInput& input,
                         Evaluation& result) {
  if (input.kind == EvaluateInput::Kind::ids) {
    if (result.encoder) {
      DANAUS_TRY(lists, parse_token_lists(input.content, input.name));
      result.tokens = std::move(lists);
    } else {
      DANAUS_TRY(list, parse_token_list(input.content, input.name));
      result.tokens = {std::move(list)};
    }
    const bool none = result.tokens.empty() || (!result.encoder && result.tokens.front().empty());
    if (none)
      return fail(Error("eval.empty-text", Failure::bad_input, "the list has no token ids").in_file(input.name));
    return {};
  }
  if (input.content.empty())
    return fail(Error("eval.empty-text", Failure::bad_input, "the text is empty").in_file(input.name));
  DANAUS_TRY(tokenizer, tokenizer_of(model, path, "give token ids instead of text: --ids FILE"));
  if (result.encoder) {
    result.sentences = lines_of(input.content);
    for (const std::string& sentence : result.sentences) {
      DANAUS_TRY(ids, tokenizer.encode(sentence));
      result.tokens.push_back(std::move(ids));
    }
  } else {
    DANAUS_TRY(ids, tokenizer.encode(input.content));
    result.tokens.push_back(std::move(ids));
  }
  return {};
}

/// The request with its converter range resolved.
AnalogRequest resolved(AnalogRequest request) {
  chip::Chip& chip = request.options.chip;
  if (chip.adc.rule == chip::AdcRule::lossless) chip.noise.adc_range = chip::AdcRange::lossless;
  if (chip.noise.adc_range == chip::AdcRange::automatic)
    chip.noise.adc_range = request.calibration ? chip::AdcRange::cal_shared : chip::AdcRange::l1;
  return request;
}

/// What is known of it before it has computed anything.
AnalogReport report_of(const AnalogBackend& backend) {
  AnalogReport report;
  report.chip = backend.chip().name;
  report.device = chip::value_text(backend.chip(), "noise.device");
  report.map = backend.map();
  report.adc_range = chip::value_text(backend.chip(), "noise.adc_range");
  report.input_scale = chip::value_text(backend.chip(), "noise.input_scale");
  report.arrays = backend.arrays();
  report.proof_tokens = backend.proof_tokens();
  report.program_digest = backend.program_digest();
  report.time_s = backend.chip().noise.time_s;
  const chip::Chip defaults;
  for (const chip::KeyInfo& key : chip::keys()) {
    if (!key.key.starts_with("noise.")) continue;
    const std::string value = chip::value_text(backend.chip(), key.key);
    if (value != chip::value_text(defaults, key.key)) report.noise.emplace_back(key.key.substr(6), value);
  }
  return report;
}

Result<void> put_on_chip(const model::Model& model, const AnalogRequest& request,
                         std::optional<std::vector<factor::Factors>> operators, Linear& linear, Progress& progress) {
  const AnalogOptions options = resolved(request).options;
  const bool calibrates = needs_calibration(options.chip);
  if (!calibrates && request.calibration)
    linear.report.notes.emplace_back("the calibration text is not used: no range comes from data");
  if (options.channel_scale == ChannelScale::rms && (!calibrates || !operators))
    linear.report.notes.emplace_back(
        "--channel-scale rms changes nothing: it takes blocks and ranges that come from data");
  DANAUS_TRY(backend, AnalogBackend::create(model, options, std::move(operators), progress));
  linear.report.analog = report_of(*backend);
  linear.analog = backend.get();
  linear.backend = std::move(backend);
  return {};
}

/// A run of so many tokens in calibration and evaluation is no accident.
constexpr std::size_t kSameTokens = 32;

Error overlap(const EvaluateInput& calibration, std::string text) {
  return Error("analog.calibration-overlap", Failure::usage, std::move(text))
      .in_file(calibration.name)
      .with_hint("ranges that are set with the test data make the result look better than it is: take another text");
}

/// Token ids to calibrate on, one list per sequence: windows of a text for decoders, lines for encoders; none if no
/// range comes from data. `evaluated`: what is evaluated afterwards.
Result<std::vector<std::vector<TokenId>>> calibration_tokens(const model::Model& model, const std::string& path,
                                                             const AnalogRequest& given, const Evaluation& evaluated) {
  constexpr std::size_t kWindow = 256;
  const AnalogRequest request = resolved(given);
  std::vector<std::vector<TokenId>> sequences;
  if (!needs_calibration(request.options.chip)) return sequences;
  if (!request.calibration)
    return fail(Error("analog.not-calibrated", Failure::usage,
                      "ranges of converters or inputs are to come from data, but there is no calibration text")
                    .with_hint("give --calibrate FILE, or noise.adc_range = \"l1\" and noise.input_scale = \"token\""));
  Evaluation read;
  read.encoder = evaluated.encoder;
  DANAUS_CHECK(read_tokens(model, path, *request.calibration, read));
  if (evaluated.encoder) {
    const std::set<std::vector<TokenId>> lines(evaluated.tokens.begin(), evaluated.tokens.end());
    std::uint64_t count = 0;
    for (std::size_t n = 0; n < read.tokens.size() && count < request.calibration_tokens; ++n) {
      const bool is_empty = read.sentences.empty() ? read.tokens[n].empty() : read.sentences[n].empty();
      if (is_empty) continue;
      if (lines.contains(read.tokens[n]))
        return fail(
            overlap(*request.calibration, fmt::format("line {} of the calibration text is evaluated, too", n + 1)));
      count += read.tokens[n].size();
      sequences.push_back(std::move(read.tokens[n]));
    }
    return sequences;
  }
  std::vector<TokenId>& all = read.tokens.front();
  if (all.size() > request.calibration_tokens) all.resize(request.calibration_tokens);
  if (common_run(all, evaluated.tokens.front(), kSameTokens))
    return fail(overlap(
        *request.calibration,
        fmt::format("the calibration text and the evaluated text have {} tokens in a row in common", kSameTokens)));
  const std::size_t length = std::min<std::size_t>(kWindow, model.dimensions.context);
  for (std::size_t first = 0; first < all.size(); first += length)
    sequences.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(first),
                           all.begin() + static_cast<std::ptrdiff_t>(std::min(first + length, all.size())));
  return sequences;
}

/// Sets converter ranges on the calibration text.
Result<void> calibrate(const std::vector<std::vector<TokenId>>& texts, Linear& linear, nn::Transformer& transformer,
                       Progress& progress) {
  if (texts.empty()) return {};
  AnalogBackend& backend = *linear.analog;
  std::uint64_t count = 0;
  for (const std::vector<TokenId>& text : texts) count += text.size();
  if (count < 1000)
    linear.report.notes.push_back(
        fmt::format("calibrated on {} tokens; ranges are reliable from about 1000 on", count));
  progress.begin("calibrate", 0);
  std::vector<nn::Sequence> sequences;
  for (std::size_t n = 0; n < texts.size(); ++n) sequences.push_back(transformer.sequence());
  std::vector<nn::Step> steps;
  for (std::size_t n = 0; n < texts.size(); ++n) steps.push_back({&sequences[n], texts[n]});
  backend.set_calibrating(true);
  const Result<std::vector<float>> outputs =
      transformer.has_decoder() ? transformer.decode(steps) : transformer.encode(steps);
  backend.set_calibrating(false);
  progress.end();
  if (!outputs) return fail(outputs.error());
  transformer.set_next_token(0);
  linear.report.analog->calibration_tokens = count;
  if (const std::size_t unseen = backend.accept_uncalibrated(); unseen != 0)
    linear.report.notes.push_back(
        fmt::format("{} operators (of experts) saw no token of the calibration: their ranges are l1", unseen));
  return {};
}

void end_report(Linear& linear) {
  if (linear.analog == nullptr) return;
  linear.report.analog->rescaled = linear.analog->rescaled();
  linear.report.analog->stages = linear.analog->stages();
}

Error no_windows(const model::Model& model, std::string hint) {
  return Error("nn.window", Failure::usage,
               fmt::format("'{}' is an encoder: every line is seen at once, without windows", model.name))
      .with_hint(std::move(hint));
}

}  // namespace

Result<TokenSequences> token_sequences(const model::Model& model, const std::string& path, const EvaluateInput& input,
                                       std::uint32_t window) {
  constexpr std::uint32_t kWindow = 512;
  DANAUS_TRY(role, role_of(model));
  Evaluation read;
  read.encoder = role == Role::encoder;
  if (read.encoder && window != 0) return fail(no_windows(model, "leave --window out"));
  const std::uint32_t context = model.dimensions.context;
  if (window > context)
    return fail(Error("nn.window", Failure::usage,
                      fmt::format("a window of {} tokens is longer than the context, {}", window, context))
                    .with_hint("give a shorter --window"));
  DANAUS_CHECK(read_tokens(model, path, input, read));
  TokenSequences sequences{read.encoder, {}};
  if (read.encoder) {
    for (std::size_t n = 0; n < read.tokens.size(); ++n) {
      const bool is_empty = read.sentences.empty() ? read.tokens[n].empty() : read.sentences[n].empty();
      if (!is_empty) sequences.tokens.push_back(std::move(read.tokens[n]));
    }
    if (sequences.tokens.empty())
      return fail(Error("eval.empty-text", Failure::bad_input, "all lines are empty").in_file(input.name));
    return sequences;
  }
  const std::vector<TokenId>& all = read.tokens.front();
  const std::size_t length = window != 0 ? window : std::min(context, kWindow);
  for (std::size_t first = 0; first < all.size(); first += length)
    sequences.tokens.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(first),
                                  all.begin() + static_cast<std::ptrdiff_t>(std::min(first + length, all.size())));
  return sequences;
}

/// GGUF says it by a number, sentence-transformers by a file; without either the mean.
Result<nn::Pooling> pooling_of(const std::string& path) {
  const std::filesystem::path home = home_of(path);
  if (!model::is_gguf(home)) return nn::read_pooling(home);
  DANAUS_TRY(file, model::read_gguf(home));
  nn::Pooling pooling;
  const model::GgufValue* architecture = file.find("general.architecture");
  if (architecture == nullptr || !architecture->text()) return pooling;
  const model::GgufValue* kind = file.find(fmt::format("{}.pooling_type", *architecture->text()));
  if (kind == nullptr) return pooling;
  const std::optional<std::uint64_t> number = kind->whole();
  if (number == 1u) return pooling;
  if (number == 2u || number == 3u) {
    pooling.kind = number == 2u ? nn::Pooling::Kind::first : nn::Pooling::Kind::last;
    return pooling;
  }
  return fail(
      Error("nn.pooling", Failure::unsupported,
            fmt::format("the key {}.pooling_type asks for a pooling that is not supported", *architecture->text()))
          .in_file(path)
          .with_hint("supported are 1 (mean), 2 (first token) and 3 (last token)"));
}

Result<Linear> make_backend(const model::Model& model, const LinearOptions& options, Progress& progress) {
  Linear linear;
  for (const model::LinearOperator& operation : model.linear)
    linear.report.dense_parameters += std::uint64_t{operation.out} * operation.in;
  linear.report.parameters = linear.report.dense_parameters;
  std::optional<factor::Policy> policy = options.policy;
  if (options.analog && !options.analog->options.map.empty()) {
    DANAUS_TRY(strategy, compile::find_strategy(options.analog->options.map));
    if (strategy->dense_operator && (options.policy || options.factors))
      return fail(Error("eval.map", Failure::usage,
                        fmt::format("--map {} places dense operators, but blocks are asked for", strategy->name))
                      .with_hint("leave out the structure, or take --map sparse or dense"));
    if (!strategy->dense_operator && !options.factors && !policy) policy.emplace();
  }
  if (!policy && !options.factors) {
    if (options.analog) {
      DANAUS_CHECK(put_on_chip(model, *options.analog, std::nullopt, linear, progress));
      return linear;
    }
    DANAUS_TRY(backend, nn::float_backend(model));
    linear.backend = std::move(backend);
    return linear;
  }
  std::vector<factor::Factors> operators;
  if (options.factors) {
    DANAUS_TRY(read, factors_of_file(model, *options.factors, linear, progress));
    operators = std::move(read);
  } else {
    DANAUS_TRY(made, projected(model, *policy, options.array_edge, linear.report, progress));
    operators = std::move(made);
  }
  std::vector<Structure> structures;
  for (const factor::Factors& factors : operators) structures.push_back(factors.structure);
  linear.report.structure = common(structures, family_of);
  linear.report.blocks = common(structures, blocks_of);
  linear.report.parameters = 0;
  for (const Structure& structure : structures) linear.report.parameters += structure.parameters();
  if (options.analog) {
    DANAUS_CHECK(put_on_chip(model, *options.analog, std::move(operators), linear, progress));
    return linear;
  }
  DANAUS_TRY(backend, nn::factor_backend(model, std::move(operators)));
  linear.backend = std::move(backend);
  return linear;
}

namespace {

/// A transformer on its backend, which is calibrated if it has to be.
struct Ready {
  Linear linear;
  nn::Transformer transformer;
};

/// `evaluated`: whether an encoder computes, and the tokens that a calibration must not have in common with it.
Result<Ready> prepare(const model::Model& model, const std::string& path, const LinearOptions& options,
                      const Evaluation& evaluated, Progress& progress) {
  // What is wrong with the calibration is said before anything is compiled.
  std::vector<std::vector<TokenId>> calibration;
  if (options.analog) {
    DANAUS_TRY(read, calibration_tokens(model, path, *options.analog, evaluated));
    calibration = std::move(read);
  }
  DANAUS_TRY(linear, make_backend(model, options, progress));
  DANAUS_TRY(transformer, nn::Transformer::create(model, *linear.backend));
  DANAUS_CHECK(transformer.set_constants(linear.constants));
  DANAUS_CHECK(calibrate(calibration, linear, transformer, progress));
  return Ready{std::move(linear), std::move(transformer)};
}

}  // namespace

Result<Evaluation> evaluate(const model::Model& model, const std::string& path, const EvaluateOptions& options,
                            Progress& progress) {
  DANAUS_TRY(role, role_of(model));
  Evaluation result;
  result.model = model.name;
  result.encoder = role == Role::encoder;
  if (result.encoder && (options.window.length != 0 || options.window.stride != 0))
    return fail(no_windows(model, "leave --window and --stride out"));
  DANAUS_CHECK(read_tokens(model, path, options.input, result));
  if (result.encoder) {
    DANAUS_TRY(pooling, pooling_of(path));
    result.pooling = pooling;
  }
  DANAUS_TRY(ready, prepare(model, path, options.linear, result, progress));
  auto& [linear, transformer] = ready;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  if (result.encoder) {
    DANAUS_TRY(embeddings, nn::embed(transformer, result.tokens, result.pooling, progress));
    result.embeddings = std::move(embeddings);
  } else {
    nn::WindowRule window = options.window;
    if (window.length == 0) window.length = static_cast<std::uint32_t>(transformer.context());
    if (window.stride == 0) window.stride = (window.length + 1) / 2;
    DANAUS_TRY(perplexity, nn::perplexity(transformer, result.tokens.front(), window, progress));
    result.perplexity = perplexity;
  }
  result.seconds = seconds_since(start);
  result.computed = transformer.next_token();
  end_report(linear);
  result.linear = std::move(linear.report);
  return result;
}

namespace {

/// Keeps what the operators read.
class Recorder : public nn::LinearBackend {
 public:
  Recorder(const model::Model& model, nn::LinearBackend& inner, std::size_t vectors)
      : inputs(model.linear.size()), model_(model), inner_(inner), vectors_(vectors) {}

  Result<void> multiply(std::size_t number, std::span<const float> x, std::span<const std::uint64_t> tokens,
                        std::span<float> y) override {
    std::vector<float>& kept = inputs[number];
    const std::size_t in = model_.linear[number].in;
    const std::size_t more = std::min(tokens.size(), vectors_ - kept.size() / in);
    kept.insert(kept.end(), x.begin(), x.begin() + static_cast<std::ptrdiff_t>(more * in));
    return inner_.multiply(number, x, tokens, y);
  }

  std::vector<std::vector<float>> inputs;

 private:
  const model::Model& model_;
  nn::LinearBackend& inner_;
  std::size_t vectors_;
};

}  // namespace

Result<std::vector<std::vector<float>>> operator_inputs(const model::Model& model, const std::string& path,
                                                        const EvaluateInput& text, std::size_t vectors,
                                                        Progress& progress) {
  Evaluation read;
  DANAUS_TRY(role, role_of(model));
  read.encoder = role == Role::encoder;
  DANAUS_CHECK(read_tokens(model, path, text, read));
  std::vector<std::vector<TokenId>> texts;
  std::size_t count = 0;
  for (std::vector<TokenId>& tokens : read.tokens) {
    if (tokens.empty() || count >= vectors) continue;
    const std::size_t most = std::min<std::size_t>(vectors - count, model.dimensions.context);
    if (!read.encoder && tokens.size() > most) tokens.resize(most);
    count += tokens.size();
    texts.push_back(std::move(tokens));
  }
  if (count < vectors)
    return fail(Error("precision.text", Failure::bad_input,
                      fmt::format("the text has {} tokens, {} are measured", count, vectors))
                    .in_file(text.name)
                    .with_hint("give a longer text, or fewer --vectors"));
  DANAUS_TRY(backend, nn::float_backend(model));
  Recorder recorder(model, *backend, vectors);
  DANAUS_TRY(transformer, nn::Transformer::create(model, recorder));
  progress.begin("read the text", 0);
  std::vector<nn::Sequence> sequences;
  for (std::size_t n = 0; n < texts.size(); ++n) sequences.push_back(transformer.sequence());
  std::vector<nn::Step> steps;
  for (std::size_t n = 0; n < texts.size(); ++n) steps.push_back({&sequences[n], texts[n]});
  DANAUS_CHECK(transformer.has_decoder() ? transformer.decode(steps) : transformer.encode(steps));
  progress.end();
  return std::move(recorder.inputs);
}

Result<Continuation> continue_text(const model::Model& model, const std::string& path, const ContinueOptions& options,
                                   const std::function<bool(std::string_view)>& sink, Progress& progress) {
  DANAUS_TRY(role, role_of(model));
  if (role == Role::encoder)
    return fail(Error("nn.no-decoder", Failure::bad_input,
                      fmt::format("'{}' is an encoder: it does not say what comes next", model.name))
                    .with_hint("danaus eval gives embeddings of texts"));
  DANAUS_TRY(tokenizer, tokenizer_of(model, path, "text needs one: take the model with its tokenizer"));
  Continuation result;
  result.model = model.name;
  DANAUS_TRY(prompt, tokenizer.encode(options.prompt));
  result.prompt = std::move(prompt);
  if (result.prompt.empty())
    return fail(Error("eval.empty-text", Failure::bad_input, "the prompt is empty")
                    .with_hint("the model needs at least one token to go on from"));
  Evaluation prompted;
  prompted.tokens = {result.prompt};
  DANAUS_TRY(ready, prepare(model, path, options.linear, prompted, progress));
  auto& [linear, transformer] = ready;
  // The text of the new tokens depends on what stands before them: a space at the very beginning is left out.
  nn::TextStream stream(tokenizer);
  for (const TokenId id : result.prompt) DANAUS_CHECK(stream.add(id));
  nn::GenerateOptions generate;
  generate.sampling = options.sampling;
  generate.tokens = options.tokens;
  generate.end_tokens.assign(tokenizer.ends().begin(), tokenizer.ends().end());
  std::optional<Error> wrong;
  const auto show = [&](std::string_view text) {
    result.text += text;
    return text.empty() || sink(text);
  };
  const auto next = [&](TokenId id) {
    const Result<std::string> text = stream.add(id);
    if (!text) wrong = text.error();
    return text && show(*text);
  };
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  DANAUS_TRY(generated, nn::generate(transformer, result.prompt, generate, next));
  if (wrong) return fail(std::move(*wrong));
  result.seconds = seconds_since(start);
  result.generated = std::move(generated);
  show(stream.finish());
  end_report(linear);
  result.linear = std::move(linear.report);
  return result;
}

}  // namespace danaus::pipeline
