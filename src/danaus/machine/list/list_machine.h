#pragma once

#include <cstdint>
#include <vector>

#include "danaus/chip/chip.h"
#include "danaus/core/error.h"
#include "danaus/core/progress.h"

/// The list machine: reproduces IBM's 3D-CiM-LLM-Inference-Simulator. It schedules the operations of a transformer of
/// that simulator directly; there is no program, hence no proof. README.md has the rules.
namespace danaus::machine::list {

/// The two transformers that the simulator knows: a bare encoder (each part followed by a norm), and a decoder with
/// token embedding, head and sampling.
struct Transformer {
  bool decoder = false;
  std::uint32_t layers = 1;
  std::uint32_t hidden = 1;
  std::uint32_t ffn = 1;
  bool gelu = false;          ///< else ReLU
  std::uint32_t vocab = 0;    ///< decoder: rows of the embedding, outputs of the head
  std::uint32_t context = 0;  ///< decoder: rows of the position embedding, which takes tiers and no time
  bool operator==(const Transformer&) const = default;
};

/// All layers once, over so many tokens at a time.
struct Pass {
  std::uint32_t tokens = 1;
  std::uint32_t attended = 1;  ///< tokens whose keys and values the attention reads, the pass's own included
  bool operator==(const Pass&) const = default;
};

struct Work {
  std::uint32_t sequences = 1;  ///< each does all passes, one after the other; they share the chip
  std::vector<Pass> passes = {{}};
  bool kv_cache = false;  ///< keys and values of earlier passes are kept, in a memory that takes power
};

/// One pass over `tokens` tokens.
Work one_pass(std::uint32_t tokens, std::uint32_t sequences);
/// Token after token from `prompt` to `total` tokens: with a cache, the passes after the first have one token each.
Work generation(std::uint32_t prompt, std::uint32_t total, bool kv_cache, std::uint32_t sequences);

/// Operations by kind.
struct Counts {
  std::uint64_t mvms = 0, communications = 0, adds = 0, norms = 0, activations = 0, samples = 0, attentions = 0;
  bool operator==(const Counts&) const = default;
};

struct Energy {  // pJ
  double mvms = 0, communications = 0, digital = 0, attention = 0, passive = 0;
  double total() const { return mvms + communications + digital + attention + passive; }
};

/// Along the chain of operations that ends last, each of which became ready when the one before it ended. `wait`:
/// ready, but the tile or unit was busy.
struct Path {
  chip::Picoseconds mvm = 0, communication = 0, digital = 0, attention = 0, wait = 0;
  std::uint64_t mvms = 0;
  chip::Picoseconds total() const { return mvm + communication + digital + attention + wait; }
  bool operator==(const Path&) const = default;
};

struct Schedule {
  chip::Picoseconds total = 0;
  Path path;  ///< sums to total
  Counts counts;
  Energy energy;
  double flops = 0;
  std::uint64_t peak_bytes = 0;  ///< live operands, a byte per element
  std::uint32_t tiles = 0;       ///< of the chip: chip.arrays or as many as needed
  std::uint64_t tiers = 0;       ///< that hold weights
  std::uint64_t parameters = 0;  ///< in all of them
};

struct Options {
  bool linear_only = false;  ///< digital and attention times zero, communication kept
};

/// Errors: list.capacity (more tiers are needed than the chip has), list.too-large (more than 2^32 operations, 2^29
/// bytes of state or 65,535 operands of one operation).
Result<Schedule> schedule(const Transformer& transformer, const Work& work, const chip::Chip& chip,
                          const Options& options = {}, Progress& progress = no_progress());

}  // namespace danaus::machine::list
