#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "danaus/program/program.h"

/// The isolation rule as a builder: which patches of an array may fire together, and as which command.
namespace danaus::compile {

/// What emit knows of a patch that the patch itself does not say.
struct PatchAddresses {
  std::uint32_t source = 0;       ///< buffer offset of the value on its first row; row i carries source + i
  std::uint32_t destination = 0;  ///< buffer offset of its first column
  std::int32_t destination_step = 1;
  /// What else the command says: regions of both addresses and the configuration. Only equal ones fire together.
  std::uint32_t setting = 0;
};

/// One activation: the patches it reads and the command, without base registers, set/add and configuration.
struct Activation {
  std::vector<std::uint32_t> patches;  ///< indices into the candidates
  program::Mvm command;
};

/// Merges the candidates, all in one array, greedily into activations. `others`: every patch of that array, candidates
/// included; a patch that is not read must have no programmed cell on a driven row and a read column.
/// Patches with `alone[i]` are not merged with others. Candidates point into `others`.
std::vector<Activation> find_activations(std::span<const program::Patch> others,
                                         std::span<const program::Patch* const> candidates,
                                         std::span<const PatchAddresses> addresses, const std::vector<bool>& alone,
                                         std::uint32_t rows, std::uint32_t columns);

/// Cells (ascending) with one address each, as a window of equal runs and a two-level place; empty if they are not of
/// that form. Canonical: the longest run with which both patterns fit.
struct WindowAndPlace {
  program::Window window;
  program::Place place;
};
std::optional<WindowAndPlace> factor_window(std::span<const std::uint32_t> cells,
                                            std::span<const std::uint32_t> addresses);

}  // namespace danaus::compile
