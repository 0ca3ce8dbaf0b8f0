#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/nn/generate.h"
#include "danaus/nn/linear_backend.h"
#include "danaus/nn/metrics.h"
#include "danaus/nn/token_id.h"
#include "danaus/pipeline/analog.h"

/// What a model says: perplexity, embeddings, generated text. What `danaus eval` and `danaus generate` do.
namespace danaus::pipeline {

/// What is evaluated: a text, or token ids as JSON.
struct EvaluateInput {
  enum class Kind : std::uint8_t { text, ids };
  Kind kind = Kind::text;
  std::string content;
  std::string name;  ///< of the file, for errors
};

/// A text cut into sequences of tokens that a model sees one by one: lines that are not empty for encoders, windows one
/// after the other for decoders.
struct TokenSequences {
  bool encoder = false;
  std::vector<std::vector<nn::TokenId>> tokens;
};

/// `path`: where the model was loaded from, for its tokenizer. `window`: tokens of a decoder's window; 0: the context,
/// at most 512. Errors: nn.no-weights, nn.no-embedding, eval.no-tokenizer, eval.empty-text, eval.ids,
/// eval.encoder-decoder, nn.window (there are no windows for encoders, or it is longer than the context).
Result<TokenSequences> token_sequences(const model::Model& model, const std::string& path, const EvaluateInput& input,
                                       std::uint32_t window);

/// How an encoder's outputs become an embedding, as the model's files say; without a word in them the mean, normalised.
/// Errors: nn.pooling, file.*, gguf.*.
Result<nn::Pooling> pooling_of(const std::string& path);

/// The linear operators on the analog machine.
struct AnalogRequest {
  AnalogOptions options;                     ///< adc_range "auto" becomes cal-shared with a calibration, l1 without
  std::optional<EvaluateInput> calibration;  ///< text for the ranges of converters
  std::uint32_t calibration_tokens = 1024;   ///< about so many tokens of it: windows of 256, or whole lines
};

/// What multiplies with the weights of the linear operators. Nothing set: the dense operators in float.
struct LinearOptions {
  std::optional<factor::Policy> policy;          ///< the weights projected onto blocks, in memory
  std::optional<std::filesystem::path> factors;  ///< or the factors of a file (danaus project -o)
  std::uint32_t array_edge = 256;                ///< guides the choice of blocks
  std::optional<AnalogRequest> analog;           ///< of those operators, whatever they are
};

/// What the analog machine did.
struct AnalogReport {
  std::string chip, device, map, adc_range, input_scale;  ///< as their keys say it
  std::uint32_t arrays = 0;
  std::uint32_t proof_tokens = 0;
  Digest program_digest;
  double time_s = 0;
  /// Keys of [noise] that differ from their defaults, with their values.
  std::vector<std::pair<std::string, std::string>> noise;
  std::uint64_t calibration_tokens = 0;
  std::uint64_t rescaled = 0;       ///< operators whose channels between the stages were made equally large
  std::vector<AnalogStage> stages;  ///< of the evaluation alone
};

/// How the linear operators were computed.
struct LinearReport {
  std::string structure = "dense";  ///< "monarch", "lowrank", "gather", "mixed"
  std::string blocks;               ///< "32x32:1", "group 32", "mixed", "" for dense
  std::uint64_t parameters = 0;     ///< of all linear operators
  std::uint64_t dense_parameters = 0;
  std::optional<double> relative_error;  ///< ||W - M||_F / ||W||_F over all operators; nothing for dense
  std::optional<AnalogReport> analog;
  std::vector<std::string> notes;  ///< what a reader of the result has to know
};

struct Linear {
  std::unique_ptr<nn::LinearBackend> backend;
  AnalogBackend* analog = nullptr;  ///< the backend, where it is one
  factor::Constants constants;      ///< of a factor file: gains and biases that were trained with the factors
  LinearReport report;
};

/// `model` must outlive the backend. Errors: nn.no-weights, eval.factors (the file is not of this model), those of
/// choose_structures, project_model, read_factors and AnalogBackend.
Result<Linear> make_backend(const model::Model& model, const LinearOptions& options, Progress& progress);

struct EvaluateOptions {
  EvaluateInput input;
  nn::WindowRule window;  ///< decoders; length 0: the context; stride 0: half the length, so that every token is scored
  LinearOptions linear;
};

/// Decoders: the perplexity of the text, every byte of which counts. Encoders: one embedding per line; a line ends with
/// LF or CR LF, and an empty line is a sentence too, so that numbers stay those of the lines.
struct Evaluation {
  std::string model;
  bool encoder = false;
  std::vector<std::vector<nn::TokenId>> tokens;  ///< one list per text, as the model sees them
  nn::Perplexity perplexity;                     ///< decoders
  std::vector<std::string> sentences;            ///< encoders, from text
  std::vector<std::vector<float>> embeddings;    ///< encoders, one per text
  nn::Pooling pooling;                           ///< encoders
  LinearReport linear;
  double seconds = 0;          ///< of the forward passes
  std::uint64_t computed = 0;  ///< tokens in them, those of overlapping windows as often as they were computed
};

/// `path`: where the model was loaded from, for its tokenizer and pooling. Errors: nn.*, eval.no-tokenizer,
/// eval.empty-text, eval.ids, eval.encoder-decoder, analog.not-calibrated, analog.calibration-overlap, those of
/// make_backend.
Result<Evaluation> evaluate(const model::Model& model, const std::string& path, const EvaluateOptions& options,
                            Progress& progress);

/// What the linear operators of the model (dense, in float) read while it reads the start of a text: for each of
/// model.linear at most `vectors` vectors, one after the other; fewer of experts. Errors: as evaluate.
Result<std::vector<std::vector<float>>> operator_inputs(const model::Model& model, const std::string& path,
                                                        const EvaluateInput& text, std::size_t vectors,
                                                        Progress& progress);

struct ContinueOptions {
  std::string prompt;
  std::uint32_t tokens = 128;  ///< at most so many new ones
  nn::Sampling sampling;
  LinearOptions linear;
};

/// What a decoder says after a prompt.
struct Continuation {
  std::string model;
  std::vector<nn::TokenId> prompt;
  nn::Generated generated;
  std::string text;  ///< of the new tokens
  LinearReport linear;
  double seconds = 0;
};

/// `sink` gets the text piece by piece, whole characters only, and may return false to stop. Errors: as evaluate.
Result<Continuation> continue_text(const model::Model& model, const std::string& path, const ContinueOptions& options,
                                   const std::function<bool(std::string_view)>& sink, Progress& progress);

}  // namespace danaus::pipeline
