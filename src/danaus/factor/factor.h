#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/core/structure.h"
#include "danaus/model/model.h"

namespace danaus::factor {

/// How structures are chosen for the linear operators of a model.
struct Policy {
  enum class Kind : std::uint8_t { monarch, lowrank, dense };
  Kind kind = Kind::monarch;
  std::string blocks;          ///< "k[xl][:r]" on the command line; empty = by compression
  double compression = 8;      ///< dense parameters / block parameters aimed at when `blocks` is empty
  bool pad_square = false;     ///< --pad square: sets the blocks itself
  bool trim = false;
  std::string file;            ///< per-layer policy file (TOML: [[layer]] match = "glob", structure, blocks, compression)
};

/// One structure per linear operator, in the order of model.linear. Shapes only; weights are not read.
/// `array_edge` is used to prefer members whose blocks divide the array (fewest cells on arrays including padding).
Result<std::vector<Structure>> choose_structures(const model::Model& model, const Policy& policy, std::uint32_t array_edge);

/// Weights of a BlockOperator. right: for each block of stage 0 a row-major (outputs x inputs) matrix, one after the other;
/// left: the same for stage 1. Dense operators have `right` = W only.
struct Factors {
  Structure structure;
  std::vector<float> right;
  std::vector<float> left;
};

struct ProjectionError {
  double relative = 0;        ///< ||W - M||_F / ||W||_F over the unpadded operator
  double optimum = 0;         ///< sqrt(sum of discarded sigma^2) / ||W||_F
};

struct Projection {
  Factors factors;
  ProjectionError error;
};

/// Best approximation of W (out x in, row-major) in the Frobenius norm: truncated SVD of every slice (Eckart-Young per
/// slice is the global optimum), sqrt(sigma) to both sides. Deterministic for any thread count and SIMD target.
/// Errors: factor.non-finite.
Result<Projection> project(std::span<const float> weights, const Structure& structure);

/// M as a dense matrix (out x in), for checks. apply: y = M x.
std::vector<float> reconstruct(const Factors& factors);
void apply(const Factors& factors, std::span<const float> x, std::span<float> y);

struct LayerReport {
  std::string name;
  Structure structure;
  double relative_error = 0;
  double squared_norm = 0;    ///< ||W||_F^2
  double squared_error = 0;   ///< ||W - M||_F^2
};

/// Projects every (selected) linear operator of a model with weights, tensor by tensor; `sink` gets each one and may drop it.
Result<std::vector<LayerReport>> project_model(
    const model::Model& model, const std::vector<Structure>& structures,
    const std::function<bool(std::string_view)>& selected,
    const std::function<Result<void>(std::string_view, const Projection&)>& sink, Progress& progress);

/// Factor files: safetensors with <name>.R {k, l*r, in_block}, <name>.L {l, out_block, k*r} (F32) and metadata
/// "danaus.factors" = JSON with the structure of every operator. Errors: factor.* and safetensors.*.
Result<void> write_factors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Factors>>& factors);
Result<std::vector<std::pair<std::string, Factors>>> read_factors(const std::filesystem::path& path);

}  // namespace danaus::factor
