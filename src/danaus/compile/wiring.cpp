// A placement counts columns as interleaved wiring does: neighbours are on different converters. With blocked wiring
// converter n has the columns n W .. n W + W - 1 (W = columns / converters), and a program is carried over by a
// permutation of the columns of each array, which changes nothing else. The permutation deals: of every w neighbours
// each converter gets w / A, the first ones the first converter. So w neighbours become A runs at stride W, one window
// again, with addresses as affine as before. w = A is interleaved wiring itself, w = columns leaves all where it is.
// What is best depends on what is read together: slivers want their own width, and where whole arrays are read any
// width does, but only the last keeps the windows of several blocks in one piece. So each array takes the width with
// which its activations, once each, take least time. Where that cuts an activation into several, all of them drive its
// rows, so it is for those that have a weight in every cell: of others some rows would be driven for nothing.
#include "danaus/compile/wiring.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "danaus/chip/cost.h"
#include "danaus/compile/activation.h"
#include "danaus/core/internal_error.h"

namespace danaus::compile {
namespace {

using program::Mvm;
using program::Patch;
using program::Place;
using program::Window;

/// The columns of one converter are neighbours.
struct Converters {
  std::uint32_t columns = 0, count = 0;
  std::uint32_t each() const { return columns / count; }

  /// The new column of `column` when `width` neighbours are dealt at a time.
  std::uint32_t dealt(std::uint32_t column, std::uint32_t width) const {
    const std::uint32_t chunk = width / count, in_group = column % width;
    return in_group / chunk * each() + column / width * chunk + in_group % chunk;
  }
  /// Widths that can be dealt, widest first.
  std::vector<std::uint32_t> widths() const {
    std::vector<std::uint32_t> all;
    for (std::uint32_t width = columns; width >= count; width -= count) {
      if (columns % width == 0) all.push_back(width);
    }
    return all;
  }
  /// Most columns on one converter.
  std::uint32_t rounds(const Window& window) const {
    std::vector<std::uint32_t> read(count);
    for (std::uint32_t run = 0; run < window.count; ++run) {
      for (std::uint32_t element = 0; element < window.length; ++element)
        ++read[(window.first + run * window.stride + element) % columns / each()];
    }
    return *std::max_element(read.begin(), read.end());
  }
};

/// Columns and the addresses they are read into.
struct Read {
  std::uint32_t column = 0, address = 0;
};

/// One window of columns in ascending order; nothing if they make none or a command cannot say it.
std::optional<WindowAndPlace> one_window(const Mvm& command, std::span<const Read> reads) {
  std::vector<std::uint32_t> columns, addresses;
  for (const Read& read : reads) {
    columns.push_back(read.column);
    addresses.push_back(read.address);
  }
  std::optional<WindowAndPlace> found = factor_window(columns, addresses);
  if (!found) return std::nullopt;
  found->place.base = command.dst.base;
  Mvm wired = command;
  wired.columns = found->window;
  wired.dst = found->place;
  return program::encode(wired) ? found : std::nullopt;
}

/// Runs of neighbours, joined while they make one window.
void cut_runs(const Mvm& command, std::span<const Read> reads, std::vector<WindowAndPlace>& windows) {
  std::size_t begin = 0;
  std::optional<WindowAndPlace> window;
  for (std::size_t next = 0; next < reads.size();) {
    std::size_t end = next + 1;
    while (end < reads.size() && reads[end].column == reads[end - 1].column + 1) ++end;
    std::optional<WindowAndPlace> longer = one_window(command, reads.subspan(begin, end - begin));
    if (!longer && window) {
      windows.push_back(*window);
      begin = next;
      longer = one_window(command, reads.subspan(begin, end - begin));
    }
    if (longer) {
      window = longer;
      next = end;
      continue;
    }
    // Neighbours with addresses that are not affine: one by one.
    for (; next < end; ++next) {
      window = one_window(command, reads.subspan(next, 1));
      ensure(window.has_value(), "one column is a window");
      windows.push_back(*window);
    }
    begin = next;
    window.reset();
  }
  if (window) windows.push_back(*window);
}

/// What a command reads, under the new names.
std::vector<WindowAndPlace> wired_windows(const Mvm& command, std::uint32_t width, const Converters& converters) {
  std::vector<std::vector<Read>> runs;
  for (std::uint32_t run = 0; run < command.columns.count; ++run) {
    runs.emplace_back();
    for (std::uint32_t element = 0; element < command.columns.length; ++element) {
      const std::uint32_t column =
          (command.columns.first + run * command.columns.stride + element) % converters.columns;
      const std::int64_t address = std::int64_t{command.dst.offset} +
                                   std::int64_t{element} * command.dst.element_stride +
                                   std::int64_t{run} * command.dst.run_stride;
      runs.back().push_back({converters.dealt(column, width), static_cast<std::uint32_t>(address)});
    }
  }
  const auto sort = [](std::vector<Read>& reads) {
    std::sort(reads.begin(), reads.end(), [](const Read& a, const Read& b) { return a.column < b.column; });
  };
  std::vector<Read> all;
  for (const std::vector<Read>& run : runs) all.insert(all.end(), run.begin(), run.end());
  sort(all);
  if (const std::optional<WindowAndPlace> window = one_window(command, all)) return {*window};
  std::vector<WindowAndPlace> windows;
  for (std::vector<Read>& run : runs) {
    sort(run);
    cut_runs(command, run, windows);
  }
  return windows;
}

/// A patch under the new names of its columns: its runs of neighbours that are neighbouring outputs, too, since cells
/// of a patch have the steps of their block.
void cut_patch(const Patch& patch, std::uint32_t width, const Converters& converters, std::vector<Patch>& patches) {
  for (std::uint32_t first = 0, end = 0; first < patch.columns; first = end) {
    const std::uint32_t column = converters.dealt(patch.column + first, width);
    end = first + 1;
    while (end < patch.columns && converters.dealt(patch.column + end, width) == column + (end - first)) ++end;
    Patch& part = patches.emplace_back(patch);
    part.column = static_cast<std::uint16_t>(column);
    part.columns = static_cast<std::uint16_t>(end - first);
    part.out_first = patch.out_first + first * patch.out_step;
    if (part.columns == 1) part.out_step = 1;
  }
}

/// Everything that the windows and the time of an activation depend on but the address and the rows; and whether it may
/// be cut.
using Shape = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::int32_t, std::int32_t,
                         std::uint32_t, bool>;
Shape shape_of(const Mvm& command, bool may_be_cut) {
  const Window& columns = command.columns;
  return {columns.first,          columns.length,        columns.count, columns.stride, command.dst.element_stride,
          command.dst.run_stride, index(command.config), may_be_cut};
}

/// Which of `size` lines a window touches.
std::vector<bool> touched(const Window& window, std::uint32_t size) {
  std::vector<bool> lines(size);
  for (std::uint32_t run = 0; run < window.count; ++run)
    for (std::uint32_t element = 0; element < window.length; ++element)
      lines[(window.first + run * window.stride + element) % size] = true;
  return lines;
}

/// The width that each array deals, by what it executes.
class Chooser {
 public:
  Chooser(const program::Program& program, const chip::Chip& chip, const Converters& converters)
      : program_(program), chip_(chip), converters_(converters), widths_(converters.widths()) {
    patches_.resize(program.chip.arrays);
    for (const Patch& patch : program.patches) patches_[index(patch.array)].push_back(&patch);
  }

  std::vector<std::uint32_t> run() {
    std::vector<std::map<Shape, std::pair<Mvm, std::int64_t>>> activations(program_.chip.arrays);
    for (const program::Record& record : program_.code) {
      const program::Command command = program::decode_unchecked(record);
      const Mvm* mvm = std::get_if<Mvm>(&command);
      if (mvm == nullptr) continue;
      const Shape shape = shape_of(*mvm, is_full(*mvm));
      ++activations[index(mvm->array)].try_emplace(shape, *mvm, 0).first->second.second;
      most_bits_ = std::max<std::uint32_t>(most_bits_, program_.intent.configs[index(mvm->config)].adc_bits);
    }
    std::vector<std::uint32_t> chosen;
    for (const auto& of_array : activations) {
      std::vector<chip::Picoseconds> sums(widths_.size());
      for (const auto& [shape, activation] : of_array) {
        const std::vector<chip::Picoseconds>& times = times_of(shape, activation.first);
        for (std::size_t w = 0; w < widths_.size(); ++w) {
          const bool is_longest = times[w] >= chip::kLongestTime / activation.second;
          sums[w] =
              is_longest ? chip::kLongestTime : std::min(chip::kLongestTime, sums[w] + activation.second * times[w]);
        }
      }
      chosen.push_back(widths_[static_cast<std::size_t>(std::min_element(sums.begin(), sums.end()) - sums.begin())]);
    }
    return chosen;
  }

 private:
  /// Whether all driven rows have a weight on every column that is read.
  bool is_full(const Mvm& command) const {
    const std::vector<bool> rows = touched(command.rows, chip_.array.rows);
    const std::vector<bool> columns = touched(command.columns, converters_.columns);
    std::ptrdiff_t cells = 0;
    for (const Patch* patch : patches_[index(command.array)]) {
      const auto row = rows.begin() + patch->row, column = columns.begin() + patch->column;
      cells += std::count(row, row + patch->rows, true) * std::count(column, column + patch->columns, true);
    }
    return cells == std::count(rows.begin(), rows.end(), true) * std::count(columns.begin(), columns.end(), true);
  }

  /// By width; the longest there is where an activation would be cut that may not be.
  const std::vector<chip::Picoseconds>& times_of(const Shape& shape, const Mvm& command) {
    const auto [entry, is_new] = times_.try_emplace(shape);
    if (!is_new) return entry->second;
    const Config& config = program_.intent.configs[index(command.config)];
    const std::uint32_t bits = chip::converter_bits(chip_, config.adc_bits, most_bits_);
    for (const std::uint32_t width : widths_) {
      chip::Picoseconds time = 0;
      const std::vector<WindowAndPlace> windows = wired_windows(command, width, converters_);
      for (const WindowAndPlace& window : windows)
        time += chip::activation_time(chip_, config.dac_bits, bits, converters_.rounds(window.window));
      if (windows.size() > 1 && !std::get<bool>(shape)) time = chip::kLongestTime;
      entry->second.push_back(time);
    }
    return entry->second;
  }

  const program::Program& program_;
  const chip::Chip& chip_;
  const Converters& converters_;
  const std::vector<std::uint32_t> widths_;
  std::vector<std::vector<const Patch*>> patches_;  ///< by array
  std::uint32_t most_bits_ = 0;
  std::map<Shape, std::vector<chip::Picoseconds>> times_;
};

}  // namespace

void wire_columns(program::Program& program, const chip::Chip& chip) {
  const Converters converters{.columns = chip.array.cols, .count = chip.adc.per_array};
  if (chip.adc.wiring != chip::Wiring::blocked || chip.adc.sharing != chip::AdcSharing::column ||
      converters.columns % converters.count != 0)
    return;
  const std::vector<std::uint32_t> widths = Chooser(program, chip, converters).run();
  std::vector<program::Record> code;
  code.reserve(program.code.size());
  for (const program::Record& record : program.code) {
    const program::Command command = program::decode_unchecked(record);
    const Mvm* mvm = std::get_if<Mvm>(&command);
    if (mvm == nullptr || widths[index(mvm->array)] == converters.columns) {
      code.push_back(record);
      continue;
    }
    for (const WindowAndPlace& window : wired_windows(*mvm, widths[index(mvm->array)], converters)) {
      Mvm wired = *mvm;
      wired.columns = window.window;
      wired.dst = window.place;
      const Result<program::Record> encoded = program::encode(wired);
      ensure(encoded.has_value(), "a window that was found to be good");
      code.push_back(*encoded);
    }
  }
  program.code = std::move(code);

  std::vector<Patch> patches;
  patches.reserve(program.patches.size());
  for (const Patch& patch : program.patches) cut_patch(patch, widths[index(patch.array)], converters, patches);
  const auto position = [](const Patch& patch) { return std::tuple(patch.array, patch.row, patch.column); };
  std::sort(patches.begin(), patches.end(), [&](const Patch& a, const Patch& b) { return position(a) < position(b); });
  program.patches = std::move(patches);
}

}  // namespace danaus::compile
