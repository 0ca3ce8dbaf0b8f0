#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/digest.h"
#include "danaus/core/error.h"

namespace danaus::factor {

/// Elements of the lower triangle of a matrix {n, n}; row by row, element (i, j <= i) is number triangle(i) + j.
constexpr std::uint64_t triangle(std::uint64_t n) { return n * (n + 1) / 2; }

/// What is known of the energies ||x||^2 of an input's vectors, without weights.
struct InputEnergy {
  double first = 0;    ///< mean over the first tokens of the texts
  double other = 0;    ///< mean over all others
  double largest = 0;  ///< the largest of a token that is not the first
  bool operator==(const InputEnergy&) const = default;
};

/// Second moments of one input of linear operators: C = sum(w x x^T) / sum(w), not centred. Operators that read the
/// same value share it.
struct InputMoments {
  std::string name;                    ///< that of the first operator
  std::vector<std::string> operators;  ///< all that read it
  std::uint32_t in = 0;
  std::uint64_t first_tokens = 0;  ///< vectors so far that are the first of their text
  std::uint64_t tokens = 0;        ///< all others so far
  double weight = 0;               ///< sum of the weights
  InputEnergy energy;

  /// Lower triangle of C and mean of x; empty while `sums` are not done.
  std::span<const float> moments, mean;
  std::shared_ptr<const void> owner;  ///< of both
  /// While vectors are still to come: sums of w x x^T (the triangle), then of w x.
  std::vector<double> sums;

  /// `sums` become `moments` and `mean`.
  void finish();
};

/// The moments of a model's inputs, or those so far.
struct MomentSet {
  std::string model;  ///< name
  Digest model_digest;
  Digest text_digest;       ///< of the token ids
  std::string weighting;    ///< what the tokens weigh, as its options say it
  std::uint64_t texts = 0;  ///< sequences
  std::uint64_t done = 0;   ///< sequences that `sums` have seen
  std::vector<InputMoments> inputs;

  bool finished() const;
  /// The input of an operator; nullptr if it is not there.
  const InputMoments* find(std::string_view operation) const;
};

/// Moment files: safetensors with F32 tensors <input>.moments {n (n + 1) / 2} and <input>.mean {n}, or F64 <input>.sums
/// {n (n + 1) / 2 + n} where vectors are still to come, and metadata "danaus.moments" = JSON with the rest. The file
/// appears under its name as a whole. Errors: file.*.
Result<void> write_moments(const std::filesystem::path& path, const MomentSet& set);
/// The moments stay in the mapped file. Errors: moments.metadata, moments.tensor, moments.value, safetensors.*, file.*.
Result<MomentSet> read_moments(const std::filesystem::path& path);
/// The same from memory; `name` is the file's name in errors.
Result<MomentSet> parse_moments(std::span<const std::byte> bytes, std::string_view name);

}  // namespace danaus::factor
