// danaus eval and danaus generate: what a model says.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "cli/commands.h"
#include "danaus/core/files.h"
#include "danaus/nn/transformer.h"
#include "danaus/pipeline/evaluate.h"

namespace danaus::cli {
namespace {

/// Texts and lists of ids: as much as a tokenizer takes.
constexpr std::size_t kLargestInput = std::size_t{64} << 20;

Result<std::string> read_stdin() {
  std::string text;
  std::array<char, 1 << 16> part;
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(Error("file.unreadable", Failure::io, "stdin cannot be read"));
    if (count == 0) return text;
    text.append(part.data(), static_cast<std::size_t>(count));
    if (text.size() > kLargestInput)
      return fail(
          Error("file.too-large", Failure::bad_input, fmt::format("stdin has more than {} bytes", kLargestInput)));
  }
}

Result<pipeline::EvaluateInput> read_evaluated(const std::string& name, pipeline::EvaluateInput::Kind kind) {
  pipeline::EvaluateInput input;
  input.kind = kind;
  input.name = name == "-" ? "stdin" : name;
  DANAUS_TRY(content, name == "-" ? read_stdin() : read_text(name, kLargestInput));
  input.content = std::move(content);
  return input;
}

Result<pipeline::EvaluateInput> read_input(const Arguments& arguments) {
  if (arguments.text.empty() == arguments.ids.empty())
    return fail(Error("cli.arguments", Failure::usage, "what is to be evaluated?")
                    .with_hint("--text FILE for a text, --ids FILE for token ids, - for stdin"));
  if (arguments.ids.empty()) return read_evaluated(arguments.text, pipeline::EvaluateInput::Kind::text);
  return read_evaluated(arguments.ids, pipeline::EvaluateInput::Kind::ids);
}

double rate(std::uint64_t tokens, double seconds) { return static_cast<double>(tokens) / std::max(seconds, 1e-9); }

}  // namespace

Result<pipeline::EvaluateInput> read_input(const std::string& name) {
  using Kind = pipeline::EvaluateInput::Kind;
  return read_evaluated(name, name.ends_with(".json") ? Kind::ids : Kind::text);
}

Result<pipeline::LinearOptions> linear_options(const Arguments& arguments) {
  DANAUS_TRY(chip, chip::load(arguments.chip, arguments.settings));
  pipeline::LinearOptions options;
  options.array_edge = std::min(chip.array.rows, chip.array.cols);
  if (arguments.structured) options.policy = arguments.policy;
  if (!arguments.factors.empty()) options.factors = arguments.factors;
  if (!arguments.analog) return options;
  pipeline::AnalogRequest& request = options.analog.emplace();
  request.options = {.chip = std::move(chip),
                     .map = arguments.analog_map,
                     .seed = arguments.seed,
                     .share_inputs = true,
                     .channel_scale = arguments.channel_scale};
  if (!arguments.adc_bits.empty()) {
    DANAUS_TRY(bits, pipeline::read_adc_bits(arguments.adc_bits));
    request.options.adc_bits = std::move(bits);
  }
  request.calibration_tokens = arguments.calibration_tokens;
  if (!arguments.calibration.empty()) {
    DANAUS_TRY(calibration, read_input(arguments.calibration));
    request.calibration = std::move(calibration);
  }
  return options;
}

Result<int> eval_command(const Arguments& arguments, Console& console) {
  pipeline::EvaluateOptions options;
  DANAUS_TRY(linear, linear_options(arguments));
  options.linear = std::move(linear);
  options.window = {arguments.window, arguments.stride};
  DANAUS_TRY(input, read_input(arguments));
  options.input = std::move(input);
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  DANAUS_TRY(evaluation, pipeline::evaluate(model, arguments.model, options, console.progress()));
  report::Provenance made = provenance(arguments);
  made.blas = nn::blas_description();
  made.tokens_per_s = rate(evaluation.computed, evaluation.seconds);
  DANAUS_CHECK(console.result(arguments.json ? report::evaluation_json(evaluation, made)
                                             : report::evaluation_table(evaluation, arguments.verbose)));
  console.detail(fmt::format("{} tokens in {:.2f} s: {:.1f} tokens/s", evaluation.computed, evaluation.seconds,
                             *made.tokens_per_s));
  return 0;
}

Result<int> generate_command(const Arguments& arguments, Console& console) {
  pipeline::ContinueOptions options;
  DANAUS_TRY(linear, linear_options(arguments));
  options.linear = std::move(linear);
  options.prompt = arguments.prompt;
  options.tokens = *arguments.tokens;
  options.sampling = {
      .temperature = arguments.temperature, .top_k = arguments.top_k, .top_p = arguments.top_p, .seed = arguments.seed};
  DANAUS_TRY(model, model::load(arguments.model));
  for (const std::string& note : model.notes) console.talk("note: " + note);
  Result<void> written;
  const auto show = [&](std::string_view text) {
    if (!arguments.json) written = console.result(text);
    return written.has_value();
  };
  DANAUS_TRY(continuation, pipeline::continue_text(model, arguments.model, options, show, console.progress()));
  DANAUS_CHECK(written);
  report::Provenance made = provenance(arguments);
  made.blas = nn::blas_description();
  made.tokens_per_s = rate(continuation.generated.ids.size(), continuation.seconds);
  DANAUS_CHECK(console.result(arguments.json ? report::continuation_json(continuation, made) : "\n"));
  if (continuation.linear.analog) console.talk(report::analog_table(*continuation.linear.analog, arguments.verbose));
  for (const std::string& note : continuation.linear.notes) console.talk("note: " + note);
  if (continuation.linear.relative_error)
    console.talk(fmt::format("relative error of the blocks: {:.4f}", *continuation.linear.relative_error));
  if (continuation.generated.end == nn::Generated::End::context) console.talk("the context of the model is full");
  console.detail(fmt::format("{} tokens in {:.2f} s: {:.1f} tokens/s", continuation.generated.ids.size(),
                             continuation.seconds, *made.tokens_per_s));
  return 0;
}

}  // namespace danaus::cli
