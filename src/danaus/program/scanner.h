#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "danaus/core/error.h"

namespace danaus::program {

/// Reads one line from left to right. The first failure sticks: it is kept with its position, and everything that is
/// read after it is empty or zero, so a statement is scanned without a test after every part. Blanks (spaces and tabs)
/// separate words; inside a word nothing is skipped. Columns count bytes from 1.
class Scanner {
 public:
  Scanner(std::string_view line, std::uint32_t line_number) : line_(line), line_number_(line_number) {}

  bool good() const { return !error_; }
  /// The failure; only when not good().
  Error take_error() { return std::move(*error_); }

  /// Whether no word is left.
  bool at_end() {
    if (!good()) return true;
    skip_blanks();
    return position_ == line_.size();
  }
  /// The column where the next word starts.
  std::uint32_t column() {
    skip_blanks();
    return static_cast<std::uint32_t>(position_ + 1);
  }
  /// The next word without reading it; empty at the end.
  std::string_view peek() { return at_end() ? std::string_view() : line_.substr(position_, word_end() - position_); }
  /// The next word, which is `what` (for the message when there is none).
  std::string_view word(std::string_view what);
  /// Reads the next word if it is this one.
  bool take_word(std::string_view expected);
  void expect_word(std::string_view expected);

  // Inside a word.
  /// Goes to the next word, which has to start like this.
  void expect_start(std::string_view prefix, std::string_view what);
  bool take(char c) {
    if (!good() || position_ == line_.size() || line_[position_] != c) return false;
    ++position_;
    return true;
  }
  void expect(char c, std::string_view what);
  /// A decimal integer without sign and leading zeros.
  std::uint32_t number(std::string_view what, std::uint64_t least, std::uint64_t most);
  /// The same with an optional '-', within `bits` bits of two's complement.
  std::int32_t signed_number(std::string_view what, unsigned bits);
  void end_of_word(std::string_view what) {
    if (good() && position_ != line_.size() && !is_blank(line_[position_])) fail_at_rest(what);
  }

  // Whole words.
  std::uint32_t number_word(std::string_view what, std::uint64_t least, std::uint64_t most);
  /// A finite number that is not negative.
  double real_word(std::string_view what);
  /// A JSON string.
  std::string quoted(std::string_view what);

  /// Nothing may follow.
  void finish();

  void fail_syntax(std::uint32_t column, std::string message, std::string hint = {});
  /// `word` is not one of the candidates: names the nearest.
  void fail_unknown(std::uint32_t column, std::string_view what, std::string_view word,
                    const std::vector<std::string_view>& candidates);
  /// Takes over an error that was found elsewhere and puts it at this column.
  void fail_with(std::uint32_t column, Error error);

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t'; }
  void skip_blanks() {
    while (position_ != line_.size() && is_blank(line_[position_])) ++position_;
  }
  std::size_t word_end() const {
    std::size_t end = position_;
    while (end != line_.size() && !is_blank(line_[end])) ++end;
    return end;
  }
  /// The word that should have ended goes on.
  void fail_at_rest(std::string_view what);
  /// The rest of the current word, for messages.
  std::string found() const;

  std::string_view line_;
  std::size_t position_ = 0;
  std::uint32_t line_number_;
  std::optional<Error> error_;
};

/// A word from a damaged file as a message can show it: short and printable.
std::string shown(std::string_view word);

/// Appends text as a JSON string with its quotes; UTF-8 passes through. The inverse of Scanner::quoted.
void append_quoted(std::string& out, std::string_view text);

/// Appends the shortest decimal number that reads back the same, exponent without sign '+' and leading zeros: 1e-5,
/// 10000.
void append_real(std::string& out, double value);

}  // namespace danaus::program
