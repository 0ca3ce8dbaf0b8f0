// The picture is a grid of at most 800 x 128 cells. Each takes one colour (what its arrays do longer) and one of four
// depths (for how much of the time); neighbours in a row that look alike are one line, so the file stays small whatever
// the program.

#include "danaus/report/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "danaus/report/units.h"

namespace danaus::report {
namespace {

using chip::Picoseconds;
using pipeline::Activity;
using pipeline::Trace;

constexpr std::uint32_t kColumns = 800;
constexpr std::uint32_t kMostRows = 128;
constexpr std::uint32_t kLevels = 4;
constexpr std::uint32_t kLeft = 90, kTop = 78, kStrip = 36, kStripGap = 22;
constexpr std::string_view kInputColour = "#2b6cb0", kConversionColour = "#dd6b20";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char letter : text) {
    if (letter == '&')
      result += "&amp;";
    else if (letter == '<')
      result += "&lt;";
    else if (letter == '>')
      result += "&gt;";
    else
      result += letter;
  }
  return result;
}

/// Columns of time: the n-th begins at n/800 of the way from the first to the last instant of the picture.
class Columns {
 public:
  Columns(Picoseconds first, Picoseconds last) : first_(first), total_(std::max<Picoseconds>(1, last - first)) {}
  Picoseconds begin(std::uint32_t column) const {
    return first_ + total_ / kColumns * column + total_ % kColumns * column / kColumns;
  }
  /// Calls add(column, time) for what of [start, end) lies in each column.
  template <typename Add>
  void spread(Picoseconds start, Picoseconds end, Add add) const {
    start = std::max(start, first_);
    end = std::min(end, first_ + total_);
    if (start >= end) return;
    auto column =
        static_cast<std::uint32_t>(static_cast<double>(start - first_) / static_cast<double>(total_) * kColumns);
    column = std::min(column, kColumns - 1);
    while (column > 0 && begin(column) > start) --column;
    for (; column < kColumns && begin(column) < end; ++column) {
      const Picoseconds inside = std::min(end, begin(column + 1)) - std::max(start, begin(column));
      if (inside > 0) add(column, inside);
    }
  }
  Picoseconds total() const { return total_; }

 private:
  Picoseconds first_, total_;
};

struct Cell {
  Picoseconds driving = 0, converting = 0;
};

class Picture {
 public:
  Picture(const Trace& trace, Picoseconds first, Picoseconds last)
      : trace_(trace),
        first_(first),
        columns_(first, last),
        arrays_(std::max(1u, trace.arrays)),
        per_row_((arrays_ + kMostRows - 1) / kMostRows),
        rows_((arrays_ + per_row_ - 1) / per_row_),
        row_height_(std::clamp(512u / rows_, 3u, 24u)),
        cells_(std::size_t{rows_} * kColumns) {
    for (const Activity& activity : trace.activities) {
      if (activity.kind != Activity::Kind::array) {
        std::array<Picoseconds, kColumns>& strip = strips_[static_cast<std::size_t>(activity.kind) - 1];
        columns_.spread(activity.start, activity.end, [&](std::uint32_t c, Picoseconds time) { strip[c] += time; });
        continue;
      }
      Cell* row = &cells_[std::size_t{activity.unit / per_row_} * kColumns];
      columns_.spread(activity.start, activity.start + activity.driving, [&](std::uint32_t c, Picoseconds time) {
        row[c].driving += time;
        driving_ += time;
      });
      columns_.spread(activity.conversion, activity.conversion + activity.converting,
                      [&](std::uint32_t c, Picoseconds time) {
                        row[c].converting += time;
                        converting_ += time;
                      });
    }
  }

  std::string to_svg() {
    const std::uint32_t grid = rows_ * row_height_;
    const std::uint32_t height = kTop + grid + 40 + 3 * (kStrip + kStripGap);
    text_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        kLeft + kColumns + 20, height);
    add_head();
    text_ += fmt::format("<g transform=\"translate({},{}) scale(1,{})\" shape-rendering=\"crispEdges\">\n", kLeft, kTop,
                         row_height_);
    text_ += fmt::format("<rect width=\"{}\" height=\"{}\" fill=\"#f4f4f4\"/>\n", kColumns, rows_);
    add_cells();
    text_ += "</g>\n";
    add_rows();
    add_time(kTop + grid);
    std::uint32_t top = kTop + grid + 40;
    constexpr std::array<std::string_view, 3> kNames = {"network", "digital", "attention"};
    constexpr std::array<std::string_view, 3> kUnits = {"messages", "vector operations", "heads"};
    for (std::size_t n = 0; n < strips_.size(); ++n) {
      add_strip(kNames[n], kUnits[n], strips_[n], top);
      top += kStrip + kStripGap;
    }
    return text_ + "</svg>\n";
  }

 private:
  void label(double x, double y, std::string_view anchor, std::string_view text) {
    text_ += fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(text));
  }

  void add_head() {
    const double all = static_cast<double>(columns_.total()) * arrays_;
    const auto share = [&](Picoseconds time) { return all > 0 ? static_cast<double>(time) / all : 0.0; };
    text_ += fmt::format("<title>{} on {}</title>\n", escaped(trace_.program), escaped(trace_.chip));
    label(kLeft, 22, "start",
          fmt::format("{} on {}: {} arrays in {} tiles, {}", trace_.program, trace_.chip, trace_.arrays, trace_.tiles,
                      format_time(chip::to_nanoseconds(trace_.timing.total))));
    label(kLeft, 42, "start",
          fmt::format("array time: {} input windows, {} conversions, {} idle", format_percent(share(driving_)),
                      format_percent(share(converting_)), format_percent(1 - share(driving_ + converting_))));
    text_ += fmt::format(
        "<rect x=\"{0}\" y=\"54\" width=\"12\" height=\"12\" fill=\"{2}\"/><rect x=\"{1}\" y=\"54\" width=\"12\" "
        "height=\"12\" fill=\"{3}\"/>\n",
        kLeft, kLeft + 130, kInputColour, kConversionColour);
    label(kLeft + 18, 64, "start", "input window");
    label(kLeft + 148, 64, "start", "conversion");
    label(kLeft + 250, 64, "start", "pale: part of the time, or some of the arrays of a row");
  }

  /// 0 = idle; 1..kLevels: inputs; then conversions.
  std::uint32_t look(const Cell& cell, std::uint32_t row, std::uint32_t column) const {
    const Picoseconds busy = cell.driving + cell.converting;
    if (busy == 0) return 0;
    const std::uint32_t arrays = std::min(per_row_, arrays_ - row * per_row_);
    const double whole = static_cast<double>(columns_.begin(column + 1) - columns_.begin(column)) * arrays;
    const double level = whole > 0 ? static_cast<double>(busy) / whole * kLevels : kLevels;
    const auto depth = static_cast<std::uint32_t>(std::clamp(level, 0.0, kLevels - 0.5)) + 1;
    return cell.converting > cell.driving ? kLevels + depth : depth;
  }

  void add_cells() {
    std::array<std::string, 2 * kLevels> paths;
    for (std::uint32_t row = 0; row < rows_; ++row) {
      std::uint32_t first = 0, current = 0;
      for (std::uint32_t column = 0; column <= kColumns; ++column) {
        const std::uint32_t now =
            column == kColumns ? 0 : look(cells_[std::size_t{row} * kColumns + column], row, column);
        if (now == current && column != kColumns) continue;
        if (current != 0)
          fmt::format_to(std::back_inserter(paths[current - 1]), "M{} {}h{}", first, row, column - first);
        first = column;
        current = now;
      }
    }
    for (std::uint32_t n = 0; n < paths.size(); ++n) {
      if (paths[n].empty()) continue;
      text_ += fmt::format(
          "<path transform=\"translate(0,0.5)\" stroke=\"{}\" stroke-opacity=\"{:g}\" stroke-width=\"1\" d=\"{}\"/>\n",
          n < kLevels ? kInputColour : kConversionColour, (n % kLevels + 1.0) / kLevels, paths[n]);
    }
  }

  void add_rows() {
    const std::uint32_t grid = rows_ * row_height_;
    // Borders of tiles where they are borders of rows and far enough apart.
    const std::uint32_t tile = trace_.arrays_per_tile;
    if (tile % per_row_ == 0 && tile / per_row_ * row_height_ >= 6) {
      std::string path;
      for (std::uint32_t array = tile; array < arrays_; array += tile)
        path += fmt::format("M{} {}h{}", kLeft, kTop + array / per_row_ * row_height_, kColumns);
      if (!path.empty()) text_ += fmt::format("<path stroke=\"#bbb\" stroke-width=\"0.5\" d=\"{}\"/>\n", path);
    }
    const std::uint32_t every = std::max(1u, rows_ / 8);
    for (std::uint32_t row = 0; row < rows_; row += every)
      label(kLeft - 6, kTop + row * row_height_ + std::min(row_height_, 12u), "end",
            fmt::format("array {}", row * per_row_));
    text_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888\"/>\n", kLeft,
                         kTop, kColumns, grid);
  }

  void add_time(std::uint32_t y) {
    constexpr std::uint32_t kTicks = 5;
    for (std::uint32_t tick = 0; tick <= kTicks; ++tick) {
      const std::uint32_t x = kLeft + kColumns * tick / kTicks;
      text_ += fmt::format("<path stroke=\"#888\" d=\"M{} {}v5\"/>\n", x, y);
      label(x, y + 18,
            tick == 0        ? "start"
            : tick == kTicks ? "end"
                             : "middle",
            format_time(chip::to_nanoseconds(first_) + chip::to_nanoseconds(columns_.total()) * tick / kTicks));
    }
  }

  /// How many work at once, as an area under the mean of each column.
  void add_strip(std::string_view name, std::string_view units, const std::array<Picoseconds, kColumns>& strip,
                 std::uint32_t top) {
    std::array<double, kColumns> at_once{};
    for (std::uint32_t c = 0; c < kColumns; ++c) {
      const Picoseconds width = columns_.begin(c + 1) - columns_.begin(c);
      at_once[c] = width > 0 ? static_cast<double>(strip[c]) / static_cast<double>(width) : 0;
    }
    const double most = *std::max_element(at_once.begin(), at_once.end());
    label(kLeft - 6, top + 22, "end", name);
    label(kLeft, top - 5, "start", fmt::format("up to {:.3g} {} at once", most, units));
    std::string path = fmt::format("M0 {}", kStrip);
    for (std::uint32_t c = 0; c < kColumns; ++c) {
      const double y = most > 0 ? kStrip * (1 - at_once[c] / most) : kStrip;
      path += fmt::format("V{:.1f}h1", y);
    }
    text_ += fmt::format(
        "<g transform=\"translate({},{})\"><rect width=\"{}\" height=\"{}\" fill=\"#f4f4f4\"/><path fill=\"#555\" "
        "d=\"{}V{}z\"/></g>\n",
        kLeft, top, kColumns, kStrip, path, kStrip);
  }

  const Trace& trace_;
  const Picoseconds first_;
  const Columns columns_;
  const std::uint32_t arrays_, per_row_, rows_, row_height_;
  std::vector<Cell> cells_;
  std::array<std::array<Picoseconds, kColumns>, 3> strips_{};  // network, digital, attention
  Picoseconds driving_ = 0, converting_ = 0;
  std::string text_;
};

/// Trace events: what overlaps on one unit gets threads of its own.
class Threads {
 public:
  struct Place {
    std::uint32_t number = 0;
    bool is_new = false;
    std::size_t lane = 0;
  };
  Place place(Activity::Kind kind, std::uint32_t unit, Picoseconds start, Picoseconds end) {
    std::vector<Lane>& lanes = lanes_[{kind, unit}];
    std::size_t lane = 0;
    while (lane < lanes.size() && lanes[lane].end > start) ++lane;
    const bool is_new = lane == lanes.size();
    if (is_new) lanes.push_back({++count_, 0});
    lanes[lane].end = end;
    return {lanes[lane].number, is_new, lane};
  }

 private:
  struct Lane {
    std::uint32_t number = 0;
    Picoseconds end = 0;
  };
  std::map<std::pair<Activity::Kind, std::uint32_t>, std::vector<Lane>> lanes_;
  std::uint32_t count_ = 0;
};

std::string microseconds(Picoseconds time) { return fmt::format("{}.{:06}", time / 1'000'000, time % 1'000'000); }

std::string unit_name(const Activity& activity) {
  switch (activity.kind) {
    case Activity::Kind::array:
      return fmt::format("array {}", activity.unit);
    case Activity::Kind::network:
      return "port";
    case Activity::Kind::digital:
      return "vector unit";
    case Activity::Kind::attention:
      return fmt::format("attention, region {}", activity.unit);
  }
  return "";
}

}  // namespace

std::string trace_svg(const Trace& trace, Picoseconds first, Picoseconds last) {
  return Picture(trace, first, std::min(last, trace.timing.total)).to_svg();
}

std::string trace_json(const Trace& trace) {
  std::vector<std::uint32_t> order(trace.activities.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return trace.activities[a].start < trace.activities[b].start;
  });
  std::vector<std::string> names;
  for (const std::string& name : trace.names)
    names.push_back(nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  bool first = true;
  const auto event = [&](const std::string& body) {
    text += (first ? "\n" : ",\n") + body;
    first = false;
  };
  Threads threads;
  std::vector<bool> tile_named(trace.tiles);
  const auto add = [&](const Activity& activity, const std::string& name, bool converters, Picoseconds start,
                       Picoseconds duration) {
    if (duration == 0) return;
    const Threads::Place place = threads.place(activity.kind, activity.unit, start, start + duration);
    if (activity.tile < tile_named.size() && !tile_named[activity.tile]) {
      tile_named[activity.tile] = true;
      event(fmt::format(R"({{"name":"process_name","ph":"M","pid":{},"args":{{"name":"tile {}"}}}})", activity.tile,
                        activity.tile));
    }
    if (place.is_new)
      event(fmt::format(R"({{"name":"thread_name","ph":"M","pid":{},"tid":{},"args":{{"name":"{}{}"}}}})",
                        activity.tile, place.number, unit_name(activity),
                        place.lane == 0 ? "" : fmt::format(" ({})", place.lane + 1)));
    event(fmt::format(R"({{"name":{},"cat":"{}","ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"args":{{"token":{}}}}})",
                      name,
                      activity.kind == Activity::Kind::array     ? (converters ? "conversion" : "input")
                      : activity.kind == Activity::Kind::network ? "network"
                      : activity.kind == Activity::Kind::digital ? "digital"
                                                                 : "attention",
                      activity.tile, place.number, microseconds(start), microseconds(duration), activity.iteration));
  };
  for (const std::uint32_t number : order) {
    const Activity& activity = trace.activities[number];
    const std::string& name = names[activity.name];
    if (activity.kind == Activity::Kind::array) {
      add(activity, name, false, activity.start, activity.driving);
      add(activity, name, true, activity.conversion, activity.converting);
    } else {
      add(activity, name, false, activity.start, activity.end - activity.start);
    }
  }
  return text + "\n]}\n";
}

}  // namespace danaus::report
