#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/digest.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"
#include "danaus/core/structure.h"

/// What the published claims of arXiv 2510.11192 are compared with: figures of compiled and proved programs, and
/// arithmetic on the shapes of its models.
namespace danaus::reproduce {

/// How the time of a conversion grows with its bits: SAR in proportion, ramp as 2^bits.
enum class Converter : std::uint8_t { ramp, sar };
/// paper: 8 bits for Linear, 5 for SparseMap, 3 for DenseMap. honest: ceil(log2(rows summed)), at least 4.
enum class Bits : std::uint8_t { paper, honest };
/// published: every operator padded to a square, dead blocks kept. trimmed: dead rows, columns and blocks removed.
enum class Policy : std::uint8_t { published, trimmed };

inline constexpr std::array kConverters = {Converter::ramp, Converter::sar};
inline constexpr std::array kBits = {Bits::paper, Bits::honest};
inline constexpr std::array kPolicies = {Policy::published, Policy::trimmed};
inline constexpr std::array<std::uint32_t, 4> kAdcs = {4, 8, 16, 32};
inline constexpr std::array<std::string_view, 3> kModels = {"bert-large", "bart-large", "gpt2-medium"};

/// Linear, SparseMap, DenseMap stepping through diagonals as published, and our dense mapping.
enum class Map : std::uint8_t { linear, sparse, dense_diagonal, dense };
inline constexpr std::array kMaps = {Map::linear, Map::sparse, Map::dense_diagonal, Map::dense};

std::string_view name_of(Converter converter);
std::string_view name_of(Bits bits);
std::string_view name_of(Policy policy);
std::string_view name_of(Map map);  ///< as on the command line

struct Setting {
  Converter converter = Converter::ramp;
  Bits bits = Bits::paper;
  Policy policy = Policy::published;
  std::uint32_t adcs = 32;
  auto operator<=>(const Setting&) const = default;
};

/// Of one proved program in decode: one token, the context full.
struct Figure {
  std::uint32_t arrays = 0, adc_bits = 0;  ///< adc_bits: the most of any stage
  std::uint64_t weights = 0;               ///< of the mapped operators, padding included
  double utilisation = 0;
  std::uint64_t activations = 0, conversions = 0;
  double latency_ns = 0, settle_ns = 0, adc_ns = 0;  ///< the latter two along the critical path
  double active_nj = 0, passive_nj = 0, adc_nj = 0;  ///< adc_nj is part of active_nj
  double area_mm2 = 0, arrays_mm2 = 0;               ///< of all; of the arrays with their converters
  Digest program;                                    ///< of the program that was proved
  double energy_nj() const { return active_nj + passive_nj; }
};

/// A model by its shapes.
struct Shapes {
  std::string name;
  std::uint32_t layers = 0, tokens = 0;                ///< tokens: its context
  std::uint64_t dense_weights = 0;                     ///< of the operators that are mapped
  std::uint64_t feed_forward_weights = 0;              ///< of those that are not square
  std::uint64_t digital_weights = 0;                   ///< embeddings, which are not mapped
  std::uint64_t attention_macs = 0;                    ///< scores and value products, per token at full context
  std::uint64_t causal_attention_macs = 0;             ///< the same where decoders see earlier tokens only, on average
  std::array<std::uint64_t, 2> weights{};              ///< of the blocks, by policy
  std::array<std::uint64_t, 2> feed_forward_blocks{};  ///< of those, the blocks of operators that are not square
  /// Published policy: DenseMap's arrays if one diagonal index of each were lost (a hypothesis, not a program).
  std::uint64_t arrays_one_index_lost = 0;
  std::uint32_t attention_rows = 0, feed_forward_rows = 0;  ///< that sum in a column: the edge of a block
  std::array<Structure, 2> expansion{};  ///< by policy: the first operator with more outputs than inputs
};

enum class Scope : std::uint8_t { shapes, arrays, all };  ///< arrays: 32 ADCs, ramp and paper bits only

struct Results {
  chip::Chip chip;
  std::string chip_name;                                      ///< preset or file
  std::vector<std::pair<std::string, std::string>> settings;  ///< keys that were changed
  bool is_reconstruction = false;                             ///< the preset `paper` as it is
  Scope scope = Scope::shapes;
  std::vector<Shapes> shapes;                                       ///< in the order of kModels
  std::map<std::tuple<std::size_t, Map, Setting>, Figure> figures;  ///< number of the model first

  const Figure& at(std::size_t model, Map map, const Setting& setting) const;
  /// Latency of DenseMap if its steps counted as one: the array time of SparseMap, which fires once per stage, in place
  /// of its own. Arithmetic: no legal program does that.
  double steps_as_one_ns(std::size_t model, const Setting& setting) const;
  /// Different programs behind the figures; each was proved to compute its model.
  std::size_t programs() const;
};

/// Compiles, proves and times what `scope` asks for, in parallel; deterministic. `chip` and `settings` as for
/// chip::load. Progress counts programs. Errors: reproduce.setting for keys that are varied here, pipeline.list-chip
/// for chips that run no programs, those of chip::load and of the pipeline.
Result<Results> measure(const std::string& chip, const std::vector<std::pair<std::string, std::string>>& settings,
                        Scope scope, std::uint64_t seed, Progress& progress);

}  // namespace danaus::reproduce
