// Activations by the isolation rule. A set of patches fires together when rows that two of them share carry the same
// value, no column is programmed by two of them, no other patch of the array has a cell on a driven row and a read
// column, and rows and columns are windows with affine addresses. All candidates are tried at once first (SparseMap:
// the whole array), then greedily one after the other (DenseMap).
#include "danaus/compile/activation.h"

#include <algorithm>
#include <numeric>

#include "danaus/compile/injection.h"

namespace danaus::compile {

using program::Patch;

std::optional<WindowAndPlace> factor_window(std::span<const std::uint32_t> cells,
                                            std::span<const std::uint32_t> addresses) {
  const auto count = static_cast<std::uint32_t>(cells.size());
  const auto address_step = [&](std::uint32_t from, std::uint32_t to) {
    return static_cast<std::int64_t>(addresses[to]) - static_cast<std::int64_t>(addresses[from]);
  };
  std::uint32_t longest = 1;
  while (longest < count && cells[longest] == cells[longest - 1] + 1 &&
         address_step(longest - 1, longest) == address_step(0, 1))
    ++longest;
  for (std::uint32_t length = longest; length >= 1; --length) {
    if (count % length != 0) continue;
    const std::uint32_t runs = count / length;
    const std::uint32_t stride = runs > 1 ? cells[length] - cells[0] : 0;
    const std::int64_t element_stride = length > 1 ? address_step(0, 1) : 1;
    const std::int64_t run_stride = runs > 1 ? address_step(0, length) : 0;
    bool fits = true;
    for (std::uint32_t n = 0; n < DANAUS_BUG(10, count, length) && fits; ++n) {
      const std::uint32_t run = n / length, element = n % length;
      fits = cells[n] == cells[0] + run * stride + element &&
             address_step(0, n) == (length > 1 ? element * element_stride : 0) + run * run_stride;
    }
    if (!fits) continue;
    const auto narrow = [](std::uint32_t value) { return static_cast<std::uint16_t>(value); };
    return WindowAndPlace{.window = {.first = narrow(cells[0]),
                                     .length = narrow(length),
                                     .count = narrow(runs),
                                     .stride = narrow(stride)},
                          .place = {.offset = addresses[0],
                                    .element_stride = static_cast<std::int32_t>(element_stride),
                                    .run_stride = static_cast<std::int32_t>(run_stride)}};
  }
  return std::nullopt;
}

namespace {

constexpr std::uint32_t kNone = 0xffffffff;

/// Tries sets of candidates of one array. Keeps its tables between tries.
class Merger {
 public:
  Merger(std::span<const Patch> others, std::span<const Patch* const> candidates,
         std::span<const PatchAddresses> addresses, std::uint32_t rows, std::uint32_t columns)
      : others_(others),
        candidates_(candidates),
        addresses_(addresses),
        row_source_(rows),
        column_destination_(columns) {}

  std::optional<program::Mvm> try_together(std::span<const std::uint32_t> members) {
    std::fill(row_source_.begin(), row_source_.end(), kNone);
    std::fill(column_destination_.begin(), column_destination_.end(), kNone);
    for (const std::uint32_t member : members) {
      const Patch& patch = *candidates_[member];
      const PatchAddresses& address = addresses_[member];
      for (std::uint32_t i = 0; i < patch.rows; ++i) {
        std::uint32_t& source = row_source_[patch.row + i];
        if (DANAUS_BUG(8, source != kNone && source != address.source + i, false)) return std::nullopt;
        source = address.source + i;
      }
      for (std::uint32_t j = 0; j < patch.columns; ++j) {
        std::uint32_t& destination = column_destination_[patch.column + j];
        if (DANAUS_BUG(9, destination != kNone, false)) return std::nullopt;
        destination = static_cast<std::uint32_t>(static_cast<std::int64_t>(address.destination) +
                                                 std::int64_t{j} * address.destination_step);
      }
    }
    const std::optional<WindowAndPlace> row_window = window_of(row_source_);
    if (!row_window) return std::nullopt;
    const std::optional<WindowAndPlace> column_window = window_of(column_destination_);
    if (!column_window || !isolated(members)) return std::nullopt;
    program::Mvm command;
    command.array = candidates_[members[0]]->array;
    command.rows = row_window->window;
    command.src = row_window->place;
    command.columns = column_window->window;
    command.dst = column_window->place;
    return command;
  }

 private:
  /// No patch outside the set has a programmed cell on a driven row and a read column.
  bool isolated(std::span<const std::uint32_t> members) {
    if (others_.size() == members.size()) return true;  // nothing else is programmed
    if (patches_on_row_.empty()) {
      patches_on_row_.resize(row_source_.size());
      for (std::uint32_t o = 0; o < others_.size(); ++o) {
        for (std::uint32_t i = 0; i < others_[o].rows; ++i) patches_on_row_[others_[o].row + i].push_back(o);
      }
      is_member_.assign(others_.size(), false);
    }
    read_before_.assign(1, 0);
    for (const std::uint32_t destination : column_destination_)
      read_before_.push_back(read_before_.back() + (destination != kNone));
    const auto mark = [&](bool value) {
      for (const std::uint32_t member : members)
        is_member_[static_cast<std::size_t>(candidates_[member] - others_.data())] = value;
    };
    mark(true);
    bool clear = true;
    for (std::size_t row = 0; row < row_source_.size() && clear; ++row) {
      if (row_source_[row] == kNone) continue;
      clear = std::none_of(patches_on_row_[row].begin(), patches_on_row_[row].end(), [&](std::uint32_t o) {
        const Patch& other = others_[o];
        return DANAUS_BUG(7, !is_member_[o], false) &&
               read_before_[other.column + other.columns] > read_before_[other.column];
      });
    }
    mark(false);
    return clear;
  }

  std::optional<WindowAndPlace> window_of(const std::vector<std::uint32_t>& table) {
    cells_.clear();
    cell_addresses_.clear();
    for (std::uint32_t cell = 0; cell < table.size(); ++cell) {
      if (table[cell] == kNone) continue;
      cells_.push_back(cell);
      cell_addresses_.push_back(table[cell]);
    }
    return factor_window(cells_, cell_addresses_);
  }

  std::span<const Patch> others_;
  std::span<const Patch* const> candidates_;
  std::span<const PatchAddresses> addresses_;
  std::vector<std::uint32_t> row_source_;          ///< per row: the address it carries, or kNone
  std::vector<std::uint32_t> column_destination_;  ///< per column: the address it is read into, or kNone
  std::vector<std::uint32_t> cells_, cell_addresses_;
  std::vector<std::vector<std::uint32_t>> patches_on_row_;  ///< made when first needed
  std::vector<std::uint32_t> read_before_;                  ///< read columns before each column
  std::vector<bool> is_member_;
};

/// A patch on its own is a window of one run by construction, and isolated because cells do not overlap.
program::Mvm alone_command(const Patch& patch, const PatchAddresses& address) {
  program::Mvm command;
  command.array = patch.array;
  command.rows = {.first = patch.row, .length = patch.rows};
  command.src = {.offset = address.source};
  command.columns = {.first = patch.column, .length = patch.columns};
  command.dst = {.offset = address.destination, .element_stride = patch.columns > 1 ? address.destination_step : 1};
  return command;
}

}  // namespace

std::vector<Activation> find_activations(std::span<const Patch> others, std::span<const Patch* const> candidates,
                                         std::span<const PatchAddresses> addresses, const std::vector<bool>& alone,
                                         std::uint32_t rows, std::uint32_t columns) {
  std::vector<Activation> activations;
  if (candidates.size() == 1) {
    activations.push_back({.patches = {0}, .command = alone_command(*candidates[0], addresses[0])});
    return activations;
  }
  Merger merger(others, candidates, addresses, rows, columns);
  std::vector<std::uint32_t> all(candidates.size());
  std::iota(all.begin(), all.end(), 0u);
  const bool one_setting = std::all_of(addresses.begin(), addresses.end(), [&](const PatchAddresses& address) {
    return address.setting == addresses.front().setting;
  });
  if (all.size() > 1 && one_setting &&
      std::none_of(alone.begin(), alone.end(), [](bool is_alone) { return is_alone; })) {
    if (const std::optional<program::Mvm> command = merger.try_together(all)) {
      activations.push_back({.patches = std::move(all), .command = *command});
      return activations;
    }
  }
  for (const std::uint32_t candidate : all) {
    bool merged = false;
    for (Activation& activation : activations) {
      if (alone[candidate] || alone[activation.patches.front()]) continue;
      if (addresses[candidate].setting != addresses[activation.patches.front()].setting) continue;
      activation.patches.push_back(candidate);
      if (const std::optional<program::Mvm> command = merger.try_together(activation.patches)) {
        activation.command = *command;
        merged = true;
        break;
      }
      activation.patches.pop_back();
    }
    if (!merged)
      activations.push_back(
          {.patches = {candidate}, .command = alone_command(*candidates[candidate], addresses[candidate])});
  }
  return activations;
}

}  // namespace danaus::compile
