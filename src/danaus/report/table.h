#pragma once

#include <string>
#include <vector>

namespace danaus::report {

/// Columns of text, each as wide as its widest cell, two spaces apart. Trailing blanks are cut.
class Table {
 public:
  enum class Align { left, right };

  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  /// Missing cells at the end are empty; more cells than columns are a programming error.
  void add(std::vector<std::string> cells);
  /// An empty line.
  void gap() { rows_.emplace_back(); }
  /// One line per row, each with a newline.
  std::string to_string() const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace danaus::report
