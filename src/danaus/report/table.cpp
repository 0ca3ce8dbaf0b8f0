// Two passes: widths, then text. Cells are ASCII, so a byte is a column.

#include "danaus/report/table.h"

#include <algorithm>

#include "danaus/core/internal_error.h"

namespace danaus::report {

void Table::add(std::vector<std::string> cells) {
  ensure(cells.size() <= columns_.size(), "a table row has no more cells than the table has columns");
  rows_.push_back(std::move(cells));
}

std::string Table::to_string() const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const std::vector<std::string>& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows_) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c != 0) line += "  ";
      const std::string padding(widths[c] - row[c].size(), ' ');
      line += columns_[c] == Align::right ? padding + row[c] : row[c] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace danaus::report
