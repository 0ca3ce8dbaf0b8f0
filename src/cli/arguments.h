#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/compile/compile.h"
#include "danaus/core/error.h"
#include "danaus/factor/factor.h"
#include "danaus/nn/moment_collector.h"
#include "danaus/pipeline/analog.h"
#include "danaus/pipeline/auto/auto_options.h"
#include "danaus/tune/tune.h"

namespace danaus::cli {

enum class ProgressStyle { automatic, plain, json, none };

/// A command line, parsed. One struct for all subcommands: each reads the members that its options set.
struct Arguments {
  std::vector<std::string> line;  ///< the command line itself, for the provenance
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();  ///< for the provenance
  std::string subcommand;

  // Common to all.
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  int threads = 0;  ///< 0 = all
  std::uint64_t seed = 1;
  ProgressStyle progress = ProgressStyle::automatic;

  std::string model;
  std::string chip;
  std::vector<std::pair<std::string, std::string>> settings;  ///< --set key=value
  std::vector<std::string> maps;                              ///< run: empty = those that the chip can run
  factor::Policy policy;
  std::string adc_bits;        ///< file, of adc.rule = "calibrated"
  double least_snr_db = 30;    ///< precision
  std::uint32_t vectors = 64;  ///< precision: that are measured, and as many for the ranges
  /// --mode: generate is decode, token after token.
  struct ModeChoice {
    compile::Mode mode = compile::Mode::decode;
    bool generate = false;
  } mode;
  std::optional<std::uint32_t> tokens;
  std::uint32_t sequences = 1;
  std::optional<std::uint32_t> prompt_tokens;  ///< --mode generate
  bool no_kv_cache = false;                    ///< --mode generate
  std::uint32_t kv = 0;
  std::uint32_t encoder_tokens = 0;
  std::uint32_t slots = 0;
  bool share_inputs = true;
  bool reload = false;
  std::uint32_t copies = 0;
  std::uint32_t least_arrays = 0;   ///< 0 = as few as possible
  std::uint32_t sliver = 0;         ///< 0 = automatic
  compile::Objective objective{};   ///< latency
  pipeline::AutoOptions automatic;  ///< map auto
  std::string policy_out;           ///< map auto: file of the structures that it chose
  bool no_error = false;
  std::vector<std::string> only;  ///< project: globs of operator names
  std::string input;              ///< the program or text file
  std::string output;             ///< -o
  std::string placement_out;
  std::string placement_in;
  std::vector<std::string> references;  ///< run: keys or files
  bool sources = false;                 ///< show chips NAME
  bool full = false;                    ///< verify: independent random weights
  std::vector<std::string> topic;       ///< explain, show; reproduce: claims
  bool list = false;                    ///< reproduce
  bool structured = false;              ///< eval, generate: some option asks for blocks
  std::string text;                     ///< eval: file, "-" = stdin
  std::string ids;                      ///< eval: file of token ids, "-" = stdin
  std::string factors;                  ///< eval, generate: a factor file
  bool analog = false;                  ///< eval, generate: on the analog machine
  std::string analog_map;               ///< empty: by the structure
  std::string calibration;              ///< file, "-" = stdin
  std::uint32_t calibration_tokens = 1024;
  nn::TokenWeights token_weights;  ///< calibrate, project
  factor::ActivationOptions fit;   ///< project --calibrate
  std::uint32_t memory_gb = 4;     ///< calibrate
  pipeline::ChannelScale channel_scale = pipeline::ChannelScale::automatic;
  std::vector<std::string> study;  ///< explore: the study, or export, pareto or merge and databases
  bool resume = false;
  std::string shard;         ///< "i/N"
  std::string format;        ///< of explore export: csv, json, parquet; empty = csv
  bool front = false;        ///< explore export: the front alone
  std::uint32_t window = 0;  ///< eval: 0 = the context
  std::uint32_t stride = 0;  ///< eval: 0 = half the window
  std::string prompt;
  double temperature = 0;
  std::uint32_t top_k = 0;
  double top_p = 1;
  /// trace: the first and the last ns of a picture; empty = all.
  std::vector<double> between;
  tune::Options tune;
  bool single_precision = false;  ///< tune: float32 whatever the processor can do
  std::string log;                ///< tune: file of records
  /// explain: an option that means nothing without a model.
  std::string of_model;
};

/// Text to print instead of doing anything: --help, --version.
struct Notice {
  std::string text;
};

/// Errors: cli.no-subcommand, cli.unknown-subcommand, cli.unknown-option (with spelling hints), cli.arguments.
Result<std::variant<Arguments, Notice>> parse_arguments(int argc, const char* const* argv);

/// Whether --json stands on the command line, however wrong the rest of it is: decides how errors are printed.
bool wants_json(int argc, const char* const* argv);

}  // namespace danaus::cli
