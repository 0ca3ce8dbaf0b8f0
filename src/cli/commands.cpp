// What several subcommands share: defaults that depend on the model, provenance, and writing of files.

#include "cli/commands.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "cli/interrupt.h"
#include "cli/version.h"
#include "danaus/core/files.h"
#include "danaus/core/parallel.h"

namespace danaus::cli {
namespace {

/// Prefill and encode without --tokens: a prompt of this length, or the context where that is shorter.
constexpr std::uint32_t kDefaultTokens = 512;

std::string host() {
  utsname names = {};
  if (::uname(&names) != 0) return "unknown";
  return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts = {};
  ::gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace

bool selected(const std::vector<std::string>& globs, const std::string& name) {
  return globs.empty() || std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
           return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
         });
}

Result<void> check_globs(const std::vector<std::string>& globs, const model::Model& model) {
  for (const std::string& glob : globs) {
    std::vector<std::string_view> names;
    for (const model::LinearOperator& linear : model.linear) names.push_back(linear.name);
    const bool found = std::any_of(names.begin(), names.end(),
                                   [&](std::string_view name) { return selected({glob}, std::string(name)); });
    if (found) continue;
    const std::string_view near = nearest(glob, names);
    return fail(Error("cli.no-operator", Failure::usage,
                      fmt::format("--only: no linear operator of '{}' matches '{}'", model.name, glob))
                    .with_hint(near.empty() ? fmt::format("the first one is '{}'", names.empty() ? "" : names.front())
                                            : fmt::format("did you mean '{}'?", near)));
  }
  return {};
}

report::Provenance provenance(const Arguments& arguments) {
  return {.version = std::string(version()),
          .command = arguments.line,
          .seed = arguments.seed,
          .threads = thread_count(),
          .host = host(),
          .time = utc_now(),
          .wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - arguments.start).count(),
          .tokens_per_s = std::nullopt,
          .blas = {}};
}

Result<pipeline::RunOptions> run_options(const Arguments& arguments, const model::Model& model) {
  const compile::Mode mode = arguments.mode.mode;
  const bool generate = arguments.mode.generate;
  const bool decode = mode == compile::Mode::decode && !generate;
  if (decode && arguments.tokens.value_or(1) != 1)
    return fail(
        Error("cli.tokens", Failure::usage, fmt::format("--mode decode is one token, not {}", *arguments.tokens))
            .with_hint("use --mode prefill or encode, or --kv for the length of the text so far"));
  if (!decode && arguments.kv != 0)
    return fail(Error("cli.tokens", Failure::usage,
                      fmt::format("--kv is for --mode decode, not {}", generate ? "generate" : compile::name_of(mode)))
                    .with_hint("--tokens sets the length of the text"));
  const std::vector<bool> is_encoder = encoder_nodes(model.graph);
  const bool has_decoder = std::find(is_encoder.begin(), is_encoder.end(), true) != is_encoder.end();
  if (arguments.encoder_tokens != 0 && (!has_decoder || mode == compile::Mode::encode))
    return fail(Error("cli.tokens", Failure::usage,
                      has_decoder ? "--encoder-tokens is for --mode decode and prefill, which run the decoder"
                                  : fmt::format("'{}' is no encoder-decoder model", model.name))
                    .with_hint(has_decoder ? "--tokens sets the length of what the encoder reads"
                                           : "leave --encoder-tokens out"));
  const std::uint32_t context = model.dimensions.context;
  const std::uint32_t tokens =
      decode ? 1 : arguments.tokens.value_or(context == 0 ? 1 : std::min(context, kDefaultTokens));
  if (!generate && (arguments.prompt_tokens || arguments.no_kv_cache))
    return fail(Error("cli.tokens", Failure::usage,
                      fmt::format("{} is for --mode generate", arguments.prompt_tokens ? "--prompt" : "--no-kv-cache"))
                    .with_hint("--tokens sets the length of the text"));
  if (generate && arguments.prompt_tokens.value_or(1) >= tokens)
    return fail(Error("cli.tokens", Failure::usage,
                      fmt::format("a prompt of {} tokens leaves nothing to generate: the total length is {}",
                                  arguments.prompt_tokens.value_or(1), tokens))
                    .with_hint("--tokens is the total length, prompt included"));
  if (arguments.slots > tokens)
    return fail(
        Error("cli.tokens", Failure::usage,
              fmt::format("--slots {} is more than the number of tokens, {}", arguments.slots, tokens))
            .with_hint(decode ? "decode is one token: leave --slots out" : "give fewer slots or more --tokens"));
  const bool is_auto =
      std::find(arguments.maps.begin(), arguments.maps.end(), pipeline::kAutoMap) != arguments.maps.end() ||
      std::find(arguments.topic.begin(), arguments.topic.end(), pipeline::kAutoMap) != arguments.topic.end();
  if (!is_auto && (arguments.automatic != pipeline::AutoOptions{} || !arguments.policy_out.empty()))
    return fail(Error("cli.arguments", Failure::usage, "limits and candidates are for --map auto")
                    .with_hint("add auto to --map, or leave them out (see Map auto in --help)"));
  pipeline::RunOptions options;
  if (!arguments.maps.empty()) options.maps = arguments.maps;
  options.sequences = arguments.sequences;
  if (generate)
    options.generation = {.prompt = arguments.prompt_tokens.value_or(1), .kv_cache = !arguments.no_kv_cache};
  options.policy = arguments.policy;
  options.policy.seed = arguments.seed;
  if (!arguments.adc_bits.empty()) {
    DANAUS_TRY(bits, pipeline::read_adc_bits(arguments.adc_bits));
    options.adc_bits = std::move(bits);
  }
  options.seed = arguments.seed;
  options.reload = arguments.reload;
  options.copies = arguments.copies;
  options.least_arrays = arguments.least_arrays;
  options.sliver = arguments.sliver;
  options.objective = arguments.objective;
  options.automatic = arguments.automatic;
  options.project_weights = !arguments.no_error;
  options.emit.mode = mode;
  options.emit.tokens = tokens;
  options.emit.kv = arguments.kv;
  options.emit.encoder_tokens = arguments.encoder_tokens;
  options.emit.slots = arguments.slots;
  options.emit.share_inputs = arguments.share_inputs;
  return options;
}

std::string length_note(const pipeline::RunOptions& options, const model::Model& model) {
  const std::uint32_t context = model.dimensions.context;
  const std::uint32_t longest = std::max({options.emit.tokens, options.emit.kv, options.emit.encoder_tokens});
  if (context == 0 || longest <= context) return "";
  return fmt::format("note: {} tokens are beyond the context of '{}', {}: the cost is that of a model that takes them",
                     longest, model.name, context);
}

Result<void> write_output(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const UninterruptedWriting guard;
  DANAUS_TRY(file, AtomicFile::create(path));
  DANAUS_CHECK(file.write(bytes));
  return file.commit();
}

Result<void> write_output(const std::filesystem::path& path, std::string_view text) {
  return write_output(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace danaus::cli
