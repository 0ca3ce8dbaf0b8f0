#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/factor/factor.h"
#include "danaus/model/model.h"
#include "danaus/pipeline/adc_bits.h"
#include "danaus/pipeline/evaluate.h"

/// How many converter bits each stage needs: signal-to-noise ratios on the analog machine. What `danaus precision`
/// does.
namespace danaus::pipeline {

inline constexpr std::uint32_t kFewestBits = 4, kMostBits = 10;

struct PrecisionOptions {
  chip::Chip chip;  ///< adc.rule and adc.bits have no effect; adc_range "auto" becomes cal-shared
  std::string map = "linear";
  factor::Policy policy;  ///< for maps of block operators
  double least_snr_db = 30;
  std::uint64_t seed = 1;
  std::uint32_t vectors = 64;         ///< that are measured, and as many others for the ranges
  std::optional<EvaluateInput> text;  ///< the inputs of operators are those of this text; otherwise normal numbers
};

/// What keeps a stage below the floor whatever its converters are.
enum class PrecisionLimit : std::uint8_t {
  none,
  codes,      ///< of inputs and weights: with ideal cells and no converter
  cells,      ///< devices, reads and wires: without a converter
  converters  ///< their range and errors, with the most bits
};
std::string_view name_of(PrecisionLimit limit);

/// A stage of the operators that differ in nothing but the layer; ratios in dB, the least of those operators.
struct StagePrecision {
  std::string pattern;  ///< "blk.*.attn_q"
  std::uint32_t stage = 0, stages = 1;
  std::uint32_t operators = 0;                               ///< that fit the pattern
  std::uint32_t measured = 0;                                ///< of them
  std::uint32_t rows = 0;                                    ///< the most that an array sums
  std::array<double, kMostBits - kFewestBits + 1> snr_db{};  ///< by bits
  double cells_db = 0, codes_db = 0;                         ///< without converters; and with ideal cells
  std::uint32_t bits = 0;  ///< the fewest with the floor, or within kSaturation of the most bits where none has it
  PrecisionLimit limit = PrecisionLimit::none;

  double snr_of(std::uint32_t of_bits) const { return snr_db[of_bits - kFewestBits]; }
  bool operator==(const StagePrecision&) const = default;
};
/// Bits that gain less than so much are not spent.
inline constexpr double kSaturationDb = 0.5;

struct Precision {
  std::string model, chip, map, adc_range;
  double least_snr_db = 0;
  std::uint32_t vectors = 0;
  bool has_weights = false, has_text = false;
  std::vector<StagePrecision> stages;  ///< in the order of the graph
  std::vector<std::string> notes;
};

/// Each operator is put on arrays of its own by the map, its program proved, its weights written (a normal draw for a
/// model without), and each stage measured against the exact product of its exact inputs. `path`: where the model was
/// loaded from. Errors: precision.range (a converter range that knows no bits), those of evaluate, project_model,
/// placement, proof and machine.
Result<Precision> find_precision(const model::Model& model, const std::string& path, const PrecisionOptions& options,
                                 Progress& progress);

/// The table for --adc-bits.
AdcBits bits_of(const Precision& precision);
/// The same as a file with comments that say how it came about.
std::string bits_file(const Precision& precision);

}  // namespace danaus::pipeline
