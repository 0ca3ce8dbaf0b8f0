#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"
#include "danaus/core/graph.h"

/// What a user has today: the roofline of a CPU or GPU beside the figures of a chip. An estimate from published peak
/// figures, and so a bound from below that no program reaches.
namespace danaus::pipeline {

/// A file of data/reference.
struct Reference {
  std::string key;        ///< "cpu", or the file's stem
  std::string name;       ///< "AMD EPYC 9654"
  std::string precision;  ///< of weights and operations, in words
  double memory_gb_per_s = 0, peak_tops = 0, power_w = 0, bytes_per_weight = 0, bytes_per_kv = 0;
  bool operator==(const Reference&) const = default;
};

/// Errors: reference.syntax, reference.key (unknown or missing), reference.value, with line and column.
Result<Reference> parse_reference(std::string_view toml, const std::string& file_name);
/// An embedded one by its key, or a file (a name with a '/' or ".toml"). Errors: reference.unknown, the above, file.*.
Result<Reference> load_reference(const std::string& key_or_path);
std::vector<std::string_view> reference_keys();

/// What a pass of a model asks of a machine that holds its dense weights in memory, whatever the mapping.
struct Work {
  double weights = 0;         ///< read once for all tokens of a pass
  double kv = 0;              ///< keys and values, elements, each read once
  double linear_macs = 0;     ///< of all tokens
  double attention_macs = 0;  ///< of all tokens
  bool operator==(const Work&) const = default;
};
/// Of the operators that a program with this intent executes, `tokens` at a time. Experts: k of n per token; of their
/// weights at most tokens * k are read. `self_entries`, `other_entries`: length of the attention to itself and to an
/// encoder.
Work work_of(const Graph& intent, std::uint64_t tokens, std::uint64_t self_entries, std::uint64_t other_entries);

/// Passes that generate the tokens after a prompt of `prompt` until there are `tokens`: the prompt, then one token
/// each, or without a cache of keys and values all tokens so far.
std::vector<Work> generation_work(const Graph& intent, std::uint32_t prompt, std::uint32_t tokens, bool kv_cache,
                                  std::uint64_t other_entries);
/// The same for several sequences at a time: the weights are read once for all.
Work for_sequences(const Work& work, std::uint32_t sequences);

/// Of each pass time = max(bytes / bandwidth, operations / peak); energy = power * time.
struct Estimate {
  Reference reference;
  double latency_ns = 0;                 ///< sum over the passes
  double memory_ns = 0, compute_ns = 0;  ///< the same if only bytes or only operations took time
  double energy_nj = 0;
  bool operator==(const Estimate&) const = default;
};
Estimate estimate(const Reference& reference, const std::vector<Work>& passes);

}  // namespace danaus::pipeline
