#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/files.h"
#include "danaus/core/progress.h"
#include "danaus/core/structure.h"
#include "danaus/model/model.h"

namespace danaus::factor {

/// How structures are chosen for the linear operators of a model.
struct Policy {
  enum class Kind : std::uint8_t { monarch, lowrank, dense, gather };
  Kind kind = Kind::monarch;
  std::string blocks;        ///< "k[xl][:r]" on the command line (low rank: "1:r"); empty = by compression
  double compression = 8;    ///< dense parameters / block parameters aimed at when `blocks` is empty; at least 1
  std::uint32_t group = 32;  ///< gather: outputs of a block, at least 1; operators with fewer have one block
  std::uint64_t seed = 1;    ///< gather: of the selections of operators without weights
  bool pad_square = false;   ///< --pad square: sets the blocks itself
  bool trim = false;
  std::string file;  ///< per-layer policy file, see the README; what a rule does not say is as given here
  bool operator==(const Policy&) const = default;
};

/// One structure per linear operator, in the order of model.linear. Shapes only; weights are not read.
///
/// By compression c, k divides `in` or is a power of two, l likewise for `out`, and r is next to the aim, out * in / c
/// parameters. Of the members within 1/16 of the aim the best has the fewest arrays of `array_edge` when blocks lie
/// along diagonals, then is nearest to the aim, then has the smallest r, |k - l| and k. If there is none, it is the
/// nearest below the aim, else the smallest; an operator that would not get smaller stays dense. A gathered block has
/// ceil(in / c) inputs. Its selection is drawn: operators of one shape have the same, except those that read one value.
/// What has weights chooses anew when it is projected. Errors: factor.blocks, factor.compression,
/// factor.policy-conflict, and for the policy file factor.policy-syntax, factor.policy-key,
/// factor.policy-value, factor.policy-match, file.*.
Result<std::vector<Structure>> choose_structures(const model::Model& model, const Policy& policy,
                                                 std::uint32_t array_edge);

/// Weights of a BlockOperator. right: for each block of stage 0 a row-major (outputs x inputs) matrix, one after the
/// other; left: the same for stage 1. Dense operators have `right` = W only, gathered ones the blocks of one stage.
struct Factors {
  Structure structure;
  std::vector<float> right;
  std::vector<float> left;
};

/// ||(W - M) C^(1/2)||_F / ||W C^(1/2)||_F, C the second moments of the inputs on a calibration text.
struct OutputError {
  double plain = 0;          ///< of the projection that does not see C
  double fitted = 0;         ///< of the one that does
  std::uint32_t sweeps = 0;  ///< of alternating least squares, the most of any group of outputs
  bool operator==(const OutputError&) const = default;
};

/// How a projection that sees the inputs goes on. The defaults are what docs/d2s.md measures.
struct ActivationOptions {
  double damping = 0.003;          ///< of correlations between inputs, 0 < damping < 1
  std::uint32_t most_sweeps = 50;  ///< of alternating least squares
  double tolerance = 1e-4;         ///< ends when a sweep takes away less of the squared error than this part of it
  std::uint32_t candidates = 16;   ///< gathered blocks: inputs that a step of the elimination looks at; at least 1
};

struct ProjectionError {
  double relative = 0;      ///< ||W - M||_F / ||W||_F over the unpadded operator
  double optimum = 0;       ///< sqrt(sum of discarded sigma^2) / ||W||_F, or a proved lower bound next to it
  double squared_norm = 0;  ///< ||W||_F^2
  std::optional<OutputError> output = std::nullopt;  ///< of projections that see the inputs; `optimum` is then 0
};

struct Projection {
  Factors factors;
  ProjectionError error;
};

/// Best approximation of W (out x in, row-major) in the Frobenius norm: truncated SVD of every slice (Eckart-Young per
/// slice is the global optimum), sqrt(sigma) to both sides: ||W - M||^2 <= optimum^2 (1 + 1e-6)^2 + 1e-12 ||W||^2. For
/// gathered blocks the columns with the largest norms (gather.h); the factors' structure has the selection.
/// Deterministic for any thread count and SIMD target. `weights` has out * in elements. Errors: factor.non-finite.
Result<Projection> project(std::span<const float> weights, const Structure& structure);

/// The same for weights that are not in memory at once: `read` is called for rows [first, first + count) of W, from the
/// first to the last, and fills `weights` with them. Holds the rows of a few blocks per thread.
using ReadRows = std::function<void(std::uint32_t first, std::uint32_t count, std::span<float> weights)>;
Result<Projection> project(const ReadRows& read, const Structure& structure);

/// M as a dense matrix (out x in), for checks. apply: y = M x.
std::vector<float> reconstruct(const Factors& factors);
void apply(const Factors& factors, std::span<const float> x, std::span<float> y);

struct LayerReport {
  std::string name;
  Structure structure;
  double relative_error = 0;
  double squared_norm = 0;   ///< ||W||_F^2
  double squared_error = 0;  ///< ||W - M||_F^2
  std::optional<OutputError> output = std::nullopt;
};

/// Projects every selected linear operator of a model with weights, one at a time, in the order of model.linear; `sink`
/// gets each one and may drop it. `structures` has one per model.linear. Progress counts weights. Errors:
/// factor.no-weights, factor.non-finite, and those of `sink`.
Result<std::vector<LayerReport>> project_model(
    const model::Model& model, const std::vector<Structure>& structures,
    const std::function<bool(std::string_view)>& selected,
    const std::function<Result<void>(std::string_view, const Projection&)>& sink, Progress& progress);

struct MomentSet;

/// The same with projections that see the inputs (activation.h). Errors also: moments.unfinished, moments.model
/// (another model), moments.operator (an operator has no moments, or those of another width), moments.damping,
/// moments.value.
Result<std::vector<LayerReport>> project_model(
    const model::Model& model, const std::vector<Structure>& structures, const MomentSet& moments,
    const ActivationOptions& options, const std::function<bool(std::string_view)>& selected,
    const std::function<Result<void>(std::string_view, const Projection&)>& sink, Progress& progress);

/// Factor files: safetensors with F32 tensors <name>.R {k, l*r, in_block} and <name>.L {l, out_block, k*r}, or <name>.W
/// {out, in} for a dense operator, or <name>.W {out, in_block} and the I32 tensor <name>.selection {k, in_block} for a
/// gathered one, and metadata "danaus.factors" = JSON with the structure of every operator. The tensors of a trimmed
/// operator have the full shape, zeros where it was cut.
///
/// Factors that were trained come with the gains and biases that were trained with them (Model::constants): F32 tensors
/// with the names of the constants, and "constants", a list of these names, in the metadata.
using Constants = std::vector<std::pair<std::string, std::vector<float>>>;

/// The writer takes operators one by one, in the order in which they were announced, and holds none of them.
class FactorWriter {
 public:
  static Result<FactorWriter> create(const std::filesystem::path& path,
                                     std::vector<std::pair<std::string, Structure>> operators,
                                     Constants constants = {});
  Result<void> add(std::string_view name, const Factors& factors);
  /// All announced operators are there: the file appears under its name. Without it nothing is left behind.
  Result<void> commit();

 private:
  FactorWriter(AtomicFile file, std::vector<std::pair<std::string, Structure>> operators, Constants constants)
      : file_(std::move(file)), operators_(std::move(operators)), constants_(std::move(constants)) {}
  AtomicFile file_;
  std::vector<std::pair<std::string, Structure>> operators_;
  Constants constants_;
  std::size_t next_ = 0;
};

Result<void> write_factors(const std::filesystem::path& path,
                           const std::vector<std::pair<std::string, Factors>>& factors, Constants constants = {});

struct FactorFile {
  std::vector<std::pair<std::string, Factors>> operators;
  Constants constants;
};
/// Errors: factor.metadata, factor.tensor, factor.padding, factor.selection, factor.non-finite, safetensors.*, file.*.
Result<FactorFile> read_factors(const std::filesystem::path& path);
/// The same from memory; `name` is the file's name in errors.
Result<FactorFile> parse_factors(std::span<const std::byte> bytes, std::string_view name);

}  // namespace danaus::factor
